//! Paid calls: the limits of provider keys, workers' leases of them, and the ledger of calls. The functions are the statements of
//! `database::{leases, calls, limits}`: each is one round trip, and none leaves a transaction open on a worker that is paused.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for script in [
            include_str!("m0003_paid_calls/tables.sql"),
            include_str!("m0003_paid_calls/limits.sql"),
            include_str!("m0003_paid_calls/leases.sql"),
            include_str!("m0003_paid_calls/calls.sql"),
        ] {
            manager.get_connection().execute_unprepared(script).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared(include_str!("m0003_paid_calls/down.sql")).await.map(drop)
    }
}
