//! All tables and types. The tables hold tasks and images, the limits of provider keys, workers'
//! leases of them, and the ledger of paid calls. The types are arguments and answers of the
//! functions.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for script in [
            include_str!("m0001_tables/tasks.sql"),
            include_str!("m0001_tables/tables.sql"),
            include_str!("m0001_tables/types.sql"),
            include_str!("m0001_tables/comments.sql"),
            include_str!("m0001_tables/rights.sql"),
        ] {
            manager.get_connection().execute_unprepared(script).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared(include_str!("m0001_tables/down.sql")).await.map(drop)
    }
}
