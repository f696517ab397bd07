//! Schema of the database, one file per migration. `darkroom migrate up` applies the migrations.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, TransactionTrait};

pub mod functions;
mod m0001_tables;

/// All migrations, in order.
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(m0001_tables::Migration)]
    }
}

/// Statement that makes the schema where there is none. `search_path` holds one name as SQL spells
/// it, because `database::connect` sets it.
const MAKE_SCHEMA: &str = "DO $$ BEGIN
    IF current_schema() IS NULL THEN
        EXECUTE 'CREATE SCHEMA ' || current_setting('search_path');
    END IF;
END $$";

/// Key of the advisory lock that keeps two `up` from running concurrently. sea-orm has no such
/// lock.
const LOCK: i64 = 0x6461_726b_726f_6f6d;

/// Makes the schema that the connection names, applies all pending migrations, installs all
/// functions, and returns how many migrations there were.
///
/// Two connections of the pool are needed, because one holds the lock. Several processes may call
/// this concurrently, and then wait for each other.
pub async fn up(db: &DatabaseConnection) -> Result<usize, DbErr> {
    let lock = locked(db).await?;
    db.execute_unprepared(MAKE_SCHEMA).await?;
    let pending = pending(db).await?.len();
    Migrator::up(db, None).await?;
    functions::install(db).await?;
    lock.commit().await?;
    Ok(pending)
}

/// Reverts the last `steps` migrations, and returns how many there were to revert.
pub async fn down(db: &DatabaseConnection, steps: u32) -> Result<usize, DbErr> {
    let lock = locked(db).await?;
    let before = pending(db).await?.len();
    Migrator::down(db, Some(steps)).await?;
    let after = pending(db).await?.len();
    lock.commit().await?;
    Ok(after - before)
}

/// Returns the names of the migrations that are not applied yet, in order. The database isn't
/// changed.
pub async fn pending(db: &DatabaseConnection) -> Result<Vec<String>, DbErr> {
    let pending = Migrator::get_pending_migrations_read_only(db).await?;
    Ok(pending.iter().map(|migration| migration.name().to_owned()).collect())
}

/// Returns a transaction that holds the lock until it ends. The migrations themselves need a second
/// connection of the pool.
async fn locked(db: &DatabaseConnection) -> Result<sea_orm_migration::sea_orm::DatabaseTransaction, DbErr> {
    let transaction = db.begin().await?;
    transaction.execute_unprepared(&format!("SELECT pg_advisory_xact_lock({LOCK})")).await?;
    Ok(transaction)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sha2::{Digest, Sha256};

    /// A database that has a migration never sees its change. Until 0.1.0 nothing is deployed, so
    /// the first migration may change.
    const APPLIED: [(&str, &str); 1] =
        [("m0001_tables", "3125571f4f6224949bd9c50333ed4cf624fe5da93c58583752bf41e99ab4b0ff")];

    /// Every byte of a migration, in the order of its files.
    fn sha256(name: &str) -> String {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut files = vec![folder.join(format!("{name}.rs"))];
        let parts = std::fs::read_dir(folder.join(name)).unwrap();
        files.extend(parts.map(|file| file.unwrap().path()));
        files.sort();
        let mut hash = Sha256::new();
        files.iter().for_each(|file| hash.update(std::fs::read(file).unwrap()));
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn an_applied_migration_does_not_change() {
        let found = APPLIED.map(|(name, _)| (name, sha256(name)));
        let pinned = APPLIED.map(|(name, sum)| (name, sum.to_owned()));
        assert_eq!(found, pinned, "add a migration instead, unless this one was never released");
    }
}
