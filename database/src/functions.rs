//! Functions of the database. Every `migrate up` installs them, and every worker whose roles need
//! the database checks them at its start.

use sea_orm::{ConnectionTrait, DatabaseConnection, Statement, TransactionTrait};
use sha2::{Digest, Sha256};

use crate::Error;

/// Name of a function, and the statement that makes or replaces it.
pub type Function = (&'static str, &'static str);

/// Functions on this crate's tables.
pub const FUNCTIONS: &[Function] = &[("begin_task", include_str!("../sql/functions/begin_task.sql"))];

/// Returns the SHA-256 of functions in their order, in hex.
pub fn sha256<'a>(functions: impl IntoIterator<Item = &'a Function>) -> String {
    let mut hash = Sha256::new();
    for (name, sql) in functions {
        hash.update(name);
        hash.update([0]);
        hash.update(sql);
        hash.update([0]);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes or replaces all functions in one transaction, and drops those that are not among them any
/// more.
pub async fn install(db: &DatabaseConnection, revision: i32, functions: &[Function]) -> Result<(), Error> {
    let transaction = db.begin().await?;
    // Functions that call each other can be made in any order.
    transaction.execute_unprepared("SET LOCAL check_function_bodies = off").await?;
    for (_, sql) in functions {
        transaction.execute_unprepared(sql).await?;
    }
    let names: Vec<String> = functions.iter().map(|(name, _)| (*name).to_owned()).collect();
    let drop_others = Statement::from_sql_and_values(
        transaction.get_database_backend(),
        "SELECT 'DROP FUNCTION ' || oid::regprocedure AS sql FROM pg_proc
          WHERE pronamespace = current_schema()::regnamespace AND proname <> ALL ($1)",
        [names.into()],
    );
    for row in transaction.query_all_raw(drop_others).await? {
        transaction.execute_unprepared(&row.try_get::<String>("", "sql")?).await?;
    }
    let record = Statement::from_sql_and_values(
        transaction.get_database_backend(),
        "INSERT INTO installed_functions (revision, sha256) VALUES ($1, $2)
             ON CONFLICT (one) DO UPDATE SET revision = $1, sha256 = $2, installed_at = now()",
        [revision.into(), sha256(functions).into()],
    );
    transaction.execute_raw(record).await?;
    // By default Postgres lets everybody call a function.
    transaction.execute_unprepared(REVOKE).await?;
    transaction.commit().await?;
    Ok(())
}

const REVOKE: &str = "DO $$ BEGIN
    EXECUTE format('REVOKE ALL ON ALL FUNCTIONS IN SCHEMA %I FROM PUBLIC', current_schema());
END $$";

/// Returns the revision and the hash of the functions that are installed.
pub async fn installed(db: &DatabaseConnection) -> Result<(i32, String), Error> {
    let statement =
        Statement::from_string(db.get_database_backend(), "SELECT revision, sha256 FROM installed_functions");
    let row = crate::one(db, statement).await?;
    Ok((row.try_get("", "revision")?, row.try_get("", "sha256")?))
}
