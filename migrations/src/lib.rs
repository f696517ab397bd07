//! The schema, one file per migration. Applied by `darkroom migrate up`.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, TransactionTrait};

mod m0001_tasks_and_images;
mod m0002_tasks_without_a_plan;
mod m0003_paid_calls;
mod m0004_lanes;

/// All migrations, in order.
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_tasks_and_images::Migration),
            Box::new(m0002_tasks_without_a_plan::Migration),
            Box::new(m0003_paid_calls::Migration),
            Box::new(m0004_lanes::Migration),
        ]
    }
}

/// Key of the advisory lock that keeps two `up` from running at once: sea-orm has no lock of its own.
const LOCK: i64 = 0x6461_726b_726f_6f6d;

/// Applies all pending migrations, and returns how many. Takes two connections of the pool: one holds the lock. Safe to call from several processes at once: they wait for each
/// other.
pub async fn up(db: &DatabaseConnection) -> Result<usize, DbErr> {
    let lock = locked(db).await?;
    let pending = pending(db).await?.len();
    Migrator::up(db, None).await?;
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

/// Names of the migrations that are not applied yet, in order. Changes nothing.
pub async fn pending(db: &DatabaseConnection) -> Result<Vec<String>, DbErr> {
    let pending = Migrator::get_pending_migrations_read_only(db).await?;
    Ok(pending.iter().map(|migration| migration.name().to_owned()).collect())
}

/// A transaction that holds the lock until it ends. Needs a second connection of the pool for the migrations themselves.
async fn locked(db: &DatabaseConnection) -> Result<sea_orm_migration::sea_orm::DatabaseTransaction, DbErr> {
    let transaction = db.begin().await?;
    transaction.execute_unprepared(&format!("SELECT pg_advisory_xact_lock({LOCK})")).await?;
    Ok(transaction)
}
