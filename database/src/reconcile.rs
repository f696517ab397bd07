//! The queries of `reconcile`. Each reads one bounded page, and each repair checks again what it
//! relies on.

use std::collections::HashMap;
use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseConnection, QueryResult, Statement};
use workflows::types::{GenerateImagesOutput, TaskFailure};

use crate::Error;

/// A task whose row says `running`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningRow {
    /// The task.
    pub task_id: String,
    /// Images that its plan promised.
    pub images_planned: u32,
    /// Prompts that they are spread over.
    pub prompts: u32,
    /// Time since the row was made.
    pub age: Duration,
    /// The row's place in the order of these pages.
    pub place: String,
    /// Changes with every change of the row.
    pub version: String,
}

/// The next `limit` rows of running tasks after `place`, the oldest first. An empty place is before
/// all.
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

/// Does the row still say `running`, and has nobody changed it since it was read?
pub async fn is_unchanged(db: &DatabaseConnection, row: &RunningRow) -> Result<bool, Error> {
    let sql = "SELECT task_id FROM tasks WHERE task_id = $1 AND state = 'running' AND xmin::text = $2";
    let rows = query(db, sql, [row.task_id.clone().into(), row.version.clone().into()]).await?;
    Ok(!rows.is_empty())
}

/// Closes a row without images, and empties the results of its calls. A row that has changed since
/// it was read is left alone: its task was started again. Returns whether the row was closed.
pub async fn close(
    db: &DatabaseConnection,
    row: &RunningRow,
    output: &GenerateImagesOutput,
    failure: Option<&TaskFailure>,
) -> Result<bool, Error> {
    let sql = "WITH ended AS (
                   UPDATE tasks SET state = $3, missing = $4, failure_kind = $5, failure_message = $6, finished_at = now()
                    WHERE task_id = $1 AND state = 'running' AND xmin::text = $2
                RETURNING task_id
               ),
               emptied AS (
                   UPDATE calls SET result = NULL FROM ended WHERE calls.task_id = ended.task_id AND calls.result IS NOT NULL
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

/// A paid call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRow {
    /// The id in the ledger.
    pub call_id: i64,
    /// The task that it was made for.
    pub task_id: String,
    /// The name within the task, such as `3` or `beautify`.
    pub name: String,
}

impl CallRow {
    fn read(row: &QueryResult) -> Result<Self, Error> {
        Ok(Self {
            call_id: row.try_get("", "call_id")?,
            task_id: row.try_get("", "task_id")?,
            name: row.try_get("", "name")?,
        })
    }
}

/// A call whose end nobody will record. The lease of its worker is over, the provider is done with
/// it, and its task has ended, or should have taken it over long ago.
const ABANDONED: &str = "call.state = 'open' AND call.runs_until <= darkroom_now()
    AND NOT EXISTS (SELECT FROM leases lease WHERE lease.lease_id = call.lease_id AND is_living(lease))
    AND (call.runs_until <= darkroom_now() - $2 * interval '1 s'
         OR NOT EXISTS (SELECT FROM tasks task WHERE task.task_id = call.task_id AND task.state = 'running'))";

/// The next `limit` calls after this one whose end nobody will record.
pub async fn abandoned_calls(
    db: &DatabaseConnection,
    after: i64,
    min_age: Duration,
    limit: u64,
) -> Result<Vec<CallRow>, Error> {
    let sql = format!(
        "SELECT call_id, task_id, name FROM calls call WHERE call_id > $1 AND {ABANDONED} ORDER BY call_id LIMIT $3"
    );
    let values = [after.into(), min_age.as_secs_f64().into(), (limit as i64).into()];
    query(db, &sql, values).await?.iter().map(CallRow::read).collect()
}

/// Closes calls whose end nobody will record as `ambiguous`, each a possible loss. Returns those
/// that were closed.
pub async fn close_calls(
    db: &DatabaseConnection,
    calls: &[CallRow],
    min_age: Duration,
) -> Result<Vec<CallRow>, Error> {
    let sql = format!(
        "UPDATE calls call
            SET state = 'ambiguous', lost_at = coalesce(call.lost_at, darkroom_now()),
                message = coalesce(call.message, 'its worker is gone, and nobody took it over')
          WHERE call_id = ANY($1) AND {ABANDONED}
      RETURNING call_id, task_id, name"
    );
    let values = [ids(calls), min_age.as_secs_f64().into()];
    query(db, &sql, values).await?.iter().map(CallRow::read).collect()
}

/// A page of calls, and those among them whose result is kept though their task has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Results {
    /// The page's last call; none behind the last page.
    pub last: Option<i64>,
    /// Calls of the page.
    pub calls: u64,
    /// Calls of the page whose result nobody needs.
    pub leftover: Vec<CallRow>,
}

/// The next `limit` calls after this one.
pub async fn results(db: &DatabaseConnection, after: i64, limit: u64) -> Result<Results, Error> {
    let sql = "SELECT page.call_id, page.task_id, page.name, page.has_result AND task.state IS DISTINCT FROM 'running'
                      AND task.state IS NOT NULL AS leftover
                 FROM (SELECT call_id, task_id, name, result IS NOT NULL AS has_result FROM calls
                        WHERE call_id > $1 ORDER BY call_id LIMIT $2) AS page
            LEFT JOIN tasks task USING (task_id) ORDER BY page.call_id";
    let mut results = Results::default();
    for row in query(db, sql, [after.into(), (limit as i64).into()]).await? {
        let call = CallRow::read(&row)?;
        results.last = Some(call.call_id);
        results.calls += 1;
        if row.try_get("", "leftover")? {
            results.leftover.push(call);
        }
    }
    Ok(results)
}

/// Empties the results of these calls. A task that has ended stays ended.
pub async fn empty_results(db: &DatabaseConnection, calls: &[CallRow]) -> Result<(), Error> {
    query(db, "UPDATE calls SET result = NULL WHERE call_id = ANY($1)", [ids(calls)]).await.map(drop)
}

/// An object, as its image row has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRow {
    /// The object's key.
    pub object_key: String,
    /// The object's size.
    pub size_bytes: u64,
    /// The object's hash.
    pub sha256: String,
}

/// The next `limit` image rows whose keys are greater than `after` and not greater than `to`, by
/// the bytes of their keys.
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

/// A task's row, as far as its objects are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskRow {
    /// The row says `running`.
    Running,
    /// The row is final, for so long.
    Ended(Duration),
}

/// The rows of those of these tasks that have one.
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

fn ids(calls: &[CallRow]) -> sea_orm::Value {
    calls.iter().map(|call| call.call_id).collect::<Vec<i64>>().into()
}

/// Zero where the difference is negative.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

async fn query<const N: usize>(
    db: &DatabaseConnection,
    sql: &str,
    values: [sea_orm::Value; N],
) -> Result<Vec<QueryResult>, Error> {
    let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, values);
    Ok(db.query_all_raw(statement).await?)
}
