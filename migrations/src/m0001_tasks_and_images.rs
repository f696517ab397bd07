//! `tasks` and `images`: what a task was asked, how it ended, and what it left in the bucket.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared(UP).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared("DROP TABLE images; DROP TABLE tasks;").await.map(drop)
    }
}

const UP: &str = r#"
CREATE TABLE tasks (
    task_id         text PRIMARY KEY,
    user_id         text NOT NULL,
    plan            text NOT NULL,
    input           jsonb NOT NULL,
    images_planned  integer NOT NULL CHECK (images_planned > 0),
    state           text NOT NULL DEFAULT 'running'
                    CHECK (state IN ('running', 'completed', 'partial', 'cancelled', 'failed')),
    missing         jsonb NOT NULL DEFAULT '[]',
    failure_kind    text,
    failure_message text,
    created_at      timestamptz NOT NULL DEFAULT now(),
    finished_at     timestamptz,
    CHECK ((state = 'running') = (finished_at IS NULL)),
    CHECK ((state = 'failed') = (failure_kind IS NOT NULL))
);
CREATE INDEX tasks_of_user ON tasks (user_id, created_at DESC);
CREATE INDEX tasks_running ON tasks (created_at, task_id) WHERE state = 'running';

CREATE TABLE images (
    task_id      text NOT NULL REFERENCES tasks ON DELETE CASCADE,
    index        integer NOT NULL CHECK (index >= 0),
    prompt_index integer NOT NULL CHECK (prompt_index >= 0),
    object_key   text COLLATE "C" NOT NULL UNIQUE,
    size_bytes   bigint NOT NULL CHECK (size_bytes > 0),
    content_type text NOT NULL,
    width        integer NOT NULL CHECK (width > 0),
    height       integer NOT NULL CHECK (height > 0),
    sha256       text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (task_id, index)
);

COMMENT ON TABLE tasks IS 'One row per generation task, from the moment its input was found good.';
COMMENT ON COLUMN tasks.input IS 'The workflow''s input, to tell a repeated start from another one of the same id.';
COMMENT ON COLUMN tasks.missing IS 'Planned images that were not made: [{index, prompt_index, reason, message}].';
COMMENT ON TABLE images IS 'One row per stored image; its object exists, with this size and hash.';
COMMENT ON COLUMN images.object_key IS 'Sorted by bytes, as S3 sorts its listings: `darkroom reconcile` reads both in one order.';
"#;
