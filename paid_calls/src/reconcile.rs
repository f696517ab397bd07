//! Queries of `reconcile` on the ledger. Each reads one bounded page, and each repair checks again
//! what it relies on.

use std::time::Duration;

use database::{Error, query};
use sea_orm::{DatabaseConnection, QueryResult};

/// Row of a paid call, as far as `reconcile` needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRow {
    /// Id of the call in the ledger.
    pub call_id: i64,
    /// Task that the call was made for.
    pub task_id: String,
    /// Name within the task, such as `3` or `beautify`.
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

/// Condition for an open call whose end nobody will record. The lease of its worker is over, and
/// the provider is done with the call. The task has ended, or should have taken the call over long
/// ago.
const ABANDONED: &str = "call.state = 'open' AND call.runs_until <= darkroom_now()
    AND NOT EXISTS (SELECT FROM leases lease WHERE lease.lease_id = call.lease_id AND is_living(lease))
    AND (call.runs_until <= darkroom_now() - $2 * interval '1 s'
         OR NOT EXISTS (SELECT FROM tasks task WHERE task.task_id = call.task_id AND task.state = 'running'))";

/// Returns the next `limit` calls after this one whose end nobody will record.
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
            SET state = 'ambiguous', written_off_at = coalesce(call.written_off_at, darkroom_now()),
                message = coalesce(call.message, 'its worker is gone, and nobody took it over')
          WHERE call_id = ANY($1) AND {ABANDONED}
      RETURNING call_id, task_id, name"
    );
    let values = [ids(calls), min_age.as_secs_f64().into()];
    query(db, &sql, values).await?.iter().map(CallRow::read).collect()
}

/// Page of calls, and those among them whose result is kept though their task has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Results {
    /// Last call of the page; none behind the last page.
    pub last: Option<i64>,
    /// Number of calls of the page.
    pub calls: u64,
    /// Calls of the page whose result nobody needs.
    pub leftover: Vec<CallRow>,
}

/// Returns the page of the next `limit` calls after this one.
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

/// Empties the results of these calls. No second check is needed, because a task that has ended
/// stays ended.
pub async fn empty_results(db: &DatabaseConnection, calls: &[CallRow]) -> Result<(), Error> {
    query(db, "UPDATE calls SET result = NULL WHERE call_id = ANY($1)", [ids(calls)]).await.map(drop)
}

fn ids(calls: &[CallRow]) -> sea_orm::Value {
    calls.iter().map(|call| call.call_id).collect::<Vec<i64>>().into()
}
