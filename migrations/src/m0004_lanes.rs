//! The lane of a task: where its paid calls wait. Decided by the statement that makes the row.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared(include_str!("m0004_lanes/up.sql")).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared(DOWN).await.map(drop)
    }
}

const DOWN: &str = "DROP FUNCTION begin_task;
                    DROP INDEX tasks_running_of_user;
                    ALTER TABLE tasks DROP COLUMN lane, DROP COLUMN lane_weight;";
