//! A task that was cancelled before its plan was resolved has a row too: nothing was planned.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared(UP).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared(DOWN).await.map(drop)
    }
}

const UP: &str = "ALTER TABLE tasks DROP CONSTRAINT tasks_images_planned_check,
                                    ADD CONSTRAINT tasks_images_planned_check CHECK (images_planned >= 0)";

/// Rows that are there stay.
const DOWN: &str = "ALTER TABLE tasks DROP CONSTRAINT tasks_images_planned_check,
                                      ADD CONSTRAINT tasks_images_planned_check CHECK (images_planned > 0) NOT VALID";
