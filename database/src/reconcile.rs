//! Queries of `reconcile` on tasks and images. Each reads one bounded page, and each repair checks
//! again what it relies on.

use std::collections::HashMap;
use std::time::Duration;

use sea_orm::{DatabaseConnection, QueryResult};
use workflows::types::{GenerateImagesOutput, TaskFailure};

use crate::{Error, query};

/// Row of a task that says `running`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningRow {
    /// Id of the task.
    pub task_id: String,
    /// Number of images that the plan promised.
    pub images_planned: u32,
    /// Number of prompts that the images are spread over.
    pub prompts: u32,
    /// Time since the row was made.
    pub age: Duration,
    /// The row's place in the order of these pages.
    pub place: String,
    /// Version of the row, which changes with every change of the row.
    pub version: String,
}

/// Returns the next `limit` rows of running tasks after `place`, the oldest first. An empty place
/// is before all rows.
pub async fn running(db: &DatabaseConnection, place: &str, limit: u64) -> Result<Vec<RunningRow>, Error> {
    let (created_at, task_id) = place.split_once('|').unwrap_or(("-infinity", ""));
    let sql = "SELECT task_id, images_planned, xmin::text AS version, created_at::text || '|' || task_id AS place,
                      extract(epoch FROM now() - created_at)::float8 AS age_s,
                      greatest(1, CASE WHEN jsonb_typeof(input->'prompts') = 'array' THEN jsonb_array_length(input->'prompts') END)
                          AS prompts
                 FROM tasks WHERE state = 'running' AND (created_at, task_id) > ($1::timestamptz, $2)
                ORDER BY created_at, task_id LIMIT $3";
    let rows = query(db, sql, [created_at.into(), task_id.into(), (limit as i64).into()]).await?;
    let row = |row: &QueryResult| {
        Ok(RunningRow {
            task_id: row.try_get("", "task_id")?,
            images_planned: row.try_get::<i32>("", "images_planned")? as u32,
            prompts: row.try_get::<i32>("", "prompts")? as u32,
            age: seconds(row.try_get("", "age_s")?),
            place: row.try_get("", "place")?,
            version: row.try_get("", "version")?,
        })
    };
    rows.iter().map(row).collect()
}

/// Returns whether the row still says `running`, and nobody has changed it since it was read.
pub async fn is_unchanged(db: &DatabaseConnection, row: &RunningRow) -> Result<bool, Error> {
    let sql = "SELECT task_id FROM tasks WHERE task_id = $1 AND state = 'running' AND xmin::text = $2";
    let rows = query(db, sql, [row.task_id.clone().into(), row.version.clone().into()]).await?;
    Ok(!rows.is_empty())
}

/// Closes a row without images, and empties the results of its calls. A row that has changed since
/// it was read is left alone, because its task was started again. Returns whether the row was
/// closed.
pub async fn close(
    db: &DatabaseConnection,
    row: &RunningRow,
    output: &GenerateImagesOutput,
    failure: Option<&TaskFailure>,
) -> Result<bool, Error> {
    let sql = "WITH ended AS (
                   UPDATE tasks SET state = $3, missing = $4, failure_kind = $5, failure_message = $6, finished_at = now()
                    WHERE task_id = $1 AND state = 'running' AND xmin::text = $2
                RETURNING task_id, forget_results(task_id)
               )
               SELECT task_id FROM ended";
    let missing =
        serde_json::to_value(&output.missing).map_err(|error| Error::Unreadable(error.to_string()))?;
    let values = [
        row.task_id.clone().into(),
        row.version.clone().into(),
        output.state.as_str().into(),
        missing.into(),
        failure.map(|failure| failure.kind.as_str()).into(),
        failure.map(|failure| failure.message.clone()).into(),
    ];
    Ok(!query(db, sql, values).await?.is_empty())
}

/// An object, as its image row has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRow {
    /// Key of the object.
    pub object_key: String,
    /// Size of the object in bytes.
    pub size_bytes: u64,
    /// SHA-256 of the object, in hex.
    pub sha256: String,
}

/// Returns the next `limit` image rows whose keys are greater than `after` and not greater than
/// `to`, in the byte order of their keys.
pub async fn images(
    db: &DatabaseConnection,
    after: &str,
    to: Option<&str>,
    limit: u64,
) -> Result<Vec<ImageRow>, Error> {
    let sql = "SELECT object_key, size_bytes, sha256 FROM images
                WHERE object_key > $1 AND ($2::text IS NULL OR object_key <= $2) ORDER BY object_key LIMIT $3";
    let rows = query(db, sql, [after.into(), to.map(str::to_owned).into(), (limit as i64).into()]).await?;
    let row = |row: &QueryResult| {
        Ok(ImageRow {
            object_key: row.try_get("", "object_key")?,
            size_bytes: row.try_get::<i64>("", "size_bytes")? as u64,
            sha256: row.try_get("", "sha256")?,
        })
    };
    rows.iter().map(row).collect()
}

/// Object keys of some image rows, from both ends of their order.
pub async fn some_object_keys(db: &DatabaseConnection) -> Result<Vec<String>, Error> {
    let sql = "(SELECT object_key FROM images ORDER BY object_key LIMIT 10)
                UNION (SELECT object_key FROM images ORDER BY object_key DESC LIMIT 10)";
    let rows = query(db, sql, []).await?;
    rows.iter().map(|row| Ok(row.try_get("", "object_key")?)).collect()
}

/// Row of a task, as far as its objects are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskRow {
    /// The row says `running`.
    Running,
    /// The row has been final for this long.
    Ended(Duration),
}

/// Returns the rows of these tasks, by task id. A task without a row is left out.
pub async fn task_rows(
    db: &DatabaseConnection,
    task_ids: &[String],
) -> Result<HashMap<String, TaskRow>, Error> {
    let sql = "SELECT task_id, state = 'running' AS is_running,
                      coalesce(extract(epoch FROM now() - finished_at), 0)::float8 AS ended_s
                 FROM tasks WHERE task_id = ANY($1)";
    let rows = query(db, sql, [task_ids.to_vec().into()]).await?;
    let row = |row: &QueryResult| {
        let task = match row.try_get("", "is_running")? {
            true => TaskRow::Running,
            false => TaskRow::Ended(seconds(row.try_get("", "ended_s")?)),
        };
        Ok((row.try_get("", "task_id")?, task))
    };
    rows.iter().map(row).collect()
}

/// Returns a duration, which is zero if the number is negative.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
