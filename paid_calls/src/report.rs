//! Reports of the keys, leases and calls on record, for people to read.

use database::Error;
use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Filter for the calls that are summed up.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only calls of this task.
    pub task_id: Option<String>,
    /// Only calls of this user.
    pub user_id: Option<String>,
    /// Only calls of this plan.
    pub plan: Option<String>,
    /// Only calls of this provider key.
    pub provider_key: Option<String>,
}

/// Unit by which calls are summed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// One sum for each task.
    Task,
    /// One sum for each user.
    User,
    /// One sum for each plan.
    Plan,
    /// One sum for each provider key.
    Key,
    /// One sum for each day in UTC.
    Day,
}

impl By {
    fn column(self) -> &'static str {
        match self {
            By::Task => "task_id",
            By::User => "user_id",
            By::Plan => "plan",
            By::Key => "provider_key",
            By::Day => "to_char(begun_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
        }
    }
}

/// A sum over calls of the ledger.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerSum {
    /// Task, user, plan, provider key or day of the sum.
    pub group: String,
    /// Calls that were sent.
    pub calls: u64,
    /// Calls that were answered, with images or with none.
    pub done: u64,
    /// Calls that moderation rejected, or that were refused three times.
    pub rejected: u64,
    /// Calls that failed and were not billed.
    pub failed: u64,
    /// Calls in flight, or whose worker is gone.
    pub open: u64,
    /// Calls that may have been billed, and have no result.
    pub ambiguous: u64,
    /// Calls that were written off.
    pub losses: u64,
    /// Images on the bill.
    pub images_billed: u64,
    /// US dollars on the bill.
    pub cost_usd: f64,
    /// Images that may be on the bill.
    pub images_in_doubt: u64,
}

/// Returns sums of the ledger, in the order of their groups.
pub async fn ledger(db: &DatabaseConnection, filter: &Filter, by: By) -> Result<Vec<LedgerSum>, Error> {
    let group = by.column();
    let sql = format!(
        "SELECT {group} AS \"group\", count(*) FILTER (WHERE state <> 'unsent') AS calls,
                count(*) FILTER (WHERE state = 'done') AS done, count(*) FILTER (WHERE state = 'rejected') AS rejected,
                count(*) FILTER (WHERE state = 'failed') AS failed, count(*) FILTER (WHERE state = 'open') AS open,
                count(*) FILTER (WHERE state = 'ambiguous') AS ambiguous, count(written_off_at) AS losses,
                coalesce(sum(images_billed), 0) AS images_billed, coalesce(sum(cost_usd), 0) AS cost_usd,
                coalesce(sum(images_asked) FILTER (WHERE state IN ('open', 'done', 'ambiguous', 'unusable') AND images_billed IS NULL), 0)
                    AS images_in_doubt
           FROM calls WHERE {WHERE} GROUP BY 1 ORDER BY 1"
    );
    rows(db, &sql, values(filter)).await
}

/// A call of the ledger. Times are in ISO 8601.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerCall {
    /// Id of the call in the ledger.
    pub call_id: i64,
    /// Provider key that pays for the call.
    pub provider_key: String,
    /// Task that the call was made for.
    pub task_id: String,
    /// Name of the call within its task.
    pub name: String,
    /// State, as in `calls.state`.
    pub state: String,
    /// Images that were asked for.
    pub images_asked: u32,
    /// Images on the bill, where that is known.
    pub images_billed: Option<u32>,
    /// Time at which the intent was recorded.
    pub begun_at: String,
    /// Time until which the provider may be executing the call.
    pub runs_until: String,
    /// Time at which the call was written off.
    pub written_off_at: Option<String>,
    /// Message about the failure, if there was one.
    pub message: Option<String>,
    /// Name of the worker that made the call.
    pub worker: Option<String>,
    /// Host name of that worker.
    pub host: Option<String>,
    /// Process id of that worker.
    pub pid: Option<u32>,
}

/// Returns each call that is in doubt, unusable or written off. With `open`, returns each call that
/// has not ended instead.
pub async fn calls(db: &DatabaseConnection, filter: &Filter, open: bool) -> Result<Vec<LedgerCall>, Error> {
    let which = if open {
        "state = 'open'"
    } else {
        "(state IN ('ambiguous', 'unusable') OR written_off_at IS NOT NULL)"
    };
    let sql = format!(
        "SELECT call_id, calls.provider_key, task_id, name, state, images_asked, images_billed, calls.begun_at, runs_until, written_off_at,
                message, leases.worker, leases.host, leases.pid
           FROM calls LEFT JOIN leases USING (lease_id) WHERE {which} AND {WHERE} ORDER BY call_id"
    );
    rows(db, &sql, values(filter)).await
}

/// Provider key with its limits, and how much of them is used.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyLimits {
    /// Name of the key.
    pub provider_key: String,
    /// Limit of concurrent calls now; none if only the workers' slots limit them.
    pub calls_at_once: Option<u32>,
    /// Largest value of the limit.
    pub ceiling: Option<u32>,
    /// Smallest value of the limit.
    pub floor: u32,
    /// Calls that may begin in any minute.
    pub calls_per_minute: Option<u32>,
    /// Images that may be asked for in any minute.
    pub images_per_minute: Option<u32>,
    /// True if no call may begin.
    pub paused: bool,
    /// Milliseconds until calls may begin again.
    pub throttled_ms: u64,
    /// Number of failures in a row.
    pub failing: u32,
    /// Words of the provider when it refused the account.
    pub refused: Option<String>,
    /// Milliseconds for which an orphan uses capacity; none if the span is learnt.
    pub orphan_ms: Option<u32>,
    /// Calls whose answers nobody waits for, and that may be executing.
    pub orphans: u32,
    /// Calls in flight, orphans included.
    pub in_flight: u32,
    /// Concurrent calls that leases allow.
    pub granted: u32,
    /// Granted calls that workers keep for polls without work.
    pub idle: u32,
    /// Calls that began within the last minute.
    pub calls_last_minute: u32,
    /// Images that were asked for within the last minute.
    pub images_last_minute: u32,
    /// Last change of the limit.
    pub last_change: Option<LimitChange>,
    /// Living workers that reach Temporal.
    pub workers: u32,
    /// Living workers that can't reach Temporal.
    pub cut_off: u32,
}

/// Change of a key's limit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LimitChange {
    /// Time of the change, in ISO 8601.
    pub at: String,
    /// Limit after the change.
    pub calls_at_once: Option<u32>,
    /// Reason, which is `set`, `cut`, `raised` or `raise undone`.
    pub why: String,
}

/// Returns each provider key with its limits, and how much of them is used.
pub async fn limits(db: &DatabaseConnection) -> Result<Vec<KeyLimits>, Error> {
    let sql = "SELECT key.provider_key, key.calls_at_once, key.ceiling, key.floor, key.calls_per_minute, key.images_per_minute, key.paused,
                      greatest(0, ceil(extract(epoch FROM key.throttled_until - darkroom_now()) * 1000))::bigint AS throttled_ms,
                      key.failing, key.refused, key.orphan_ms,
                      orphans.count AS orphans,
                      orphans.count +
                      (SELECT count(*) FROM calls c JOIN leases l USING (lease_id) WHERE c.provider_key = key.provider_key
                          AND c.state = 'open' AND c.runs_until > darkroom_now() AND l.ended_at IS NULL) AS in_flight,
                      (SELECT coalesce(sum(l.granted), 0) FROM leases l
                        WHERE l.provider_key = key.provider_key AND l.ended_at IS NULL) AS granted,
                      (SELECT coalesce(sum(greatest(0, least(l.idle_slots, l.granted) - l.calls)), 0) FROM leases l
                        WHERE l.provider_key = key.provider_key AND is_living(l)) AS idle,
                      (SELECT count(*) FROM calls c WHERE c.provider_key = key.provider_key AND c.state <> 'unsent'
                          AND c.begun_at > darkroom_now() - interval '1 minute') AS calls_last_minute,
                      (SELECT coalesce(sum(c.images_asked), 0) FROM calls c WHERE c.provider_key = key.provider_key
                          AND c.state <> 'unsent' AND c.begun_at > darkroom_now() - interval '1 minute') AS images_last_minute,
                      (SELECT json_build_object('at', m.at, 'calls_at_once', m.calls_at_once, 'why', m.why) FROM limit_changes m
                        WHERE m.provider_key = key.provider_key ORDER BY m.at DESC LIMIT 1) AS last_change,
                      (SELECT count(*) FROM leases l WHERE l.provider_key = key.provider_key AND is_living(l) AND NOT l.cut_off) AS workers,
                      (SELECT count(*) FROM leases l WHERE l.provider_key = key.provider_key AND is_living(l) AND l.cut_off) AS cut_off
                 FROM provider_keys key,
                      calls_without_a_lease(key, array(SELECT l.lease_id FROM leases l
                        WHERE l.provider_key = key.provider_key AND l.ended_at IS NULL)) AS orphans (count)
                ORDER BY 1";
    rows(db, sql, Vec::new()).await
}

/// Lease of a worker, for people to read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerLease {
    /// Name of the worker.
    pub worker: String,
    /// Host name of the worker.
    pub host: String,
    /// Process id of the worker.
    pub pid: u32,
    /// Provider key that the lease is of.
    pub provider_key: String,
    /// Concurrent calls that the lease allows.
    pub granted: u32,
    /// Concurrent calls that the worker could make.
    pub demand: u32,
    /// Calls in flight under the lease.
    pub in_flight: u32,
    /// Milliseconds since the last renewal.
    pub seen_ms_ago: u64,
    /// State, which is `held`, `cut off`, `expired` or `ended`.
    pub state: String,
}

/// Returns each worker's lease, and the leases that ended within the last minute.
pub async fn workers(db: &DatabaseConnection) -> Result<Vec<WorkerLease>, Error> {
    let sql = "SELECT lease.worker, lease.host, lease.pid, lease.provider_key, lease.granted, lease.demand,
                      (SELECT count(*) FROM calls c WHERE c.lease_id = lease.lease_id AND c.state = 'open') AS in_flight,
                      (extract(epoch FROM darkroom_now() - lease.seen_at) * 1000)::bigint AS seen_ms_ago,
                      CASE WHEN lease.ended_at IS NOT NULL THEN 'ended' WHEN lease.cut_off AND is_living(lease) THEN 'cut off' WHEN is_living(lease) THEN 'held' ELSE 'expired' END AS state
                 FROM leases lease
                WHERE lease.ended_at IS NULL OR lease.ended_at > darkroom_now() - interval '1 minute'
                ORDER BY lease.provider_key, lease.worker, lease.lease_id";
    rows(db, sql, Vec::new()).await
}

/// Task that runs, with its paid calls.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct RunningTask {
    /// Id of the task.
    pub task_id: String,
    /// User who started the task.
    pub user_id: String,
    /// Name of the task's plan.
    pub plan: String,
    /// Fairness key of the lane in which the task's calls wait.
    pub lane: String,
    /// Weight of that lane.
    pub lane_weight: f32,
    /// Number of images that the plan promises.
    pub images_planned: u32,
    /// Number of prompts that the images are spread over.
    pub prompts: u32,
    /// Milliseconds for which the next calls have been waiting.
    pub waits_ms: u64,
    /// True once the retouching was answered. Before that, no batch is asked for.
    pub has_reference: bool,
    /// Batches that were answered.
    pub answered: u32,
    /// Calls of the task in flight.
    pub in_flight: u32,
    /// Calls whose worker is gone, and that no other worker has taken over yet.
    pub left_behind: u32,
    /// Calls that failed and are tried again.
    pub failed: u32,
    /// Failure of the last of these calls.
    pub failure: Option<String>,
}

/// Returns the tasks that run, the oldest first.
pub async fn running(db: &DatabaseConnection) -> Result<Vec<RunningTask>, Error> {
    let sql = "SELECT task.task_id, task.user_id, task.plan, task.images_planned,
                      coalesce(task.lane, task.user_id) AS lane, coalesce(task.lane_weight, 1) AS lane_weight,
                      greatest(1, CASE WHEN jsonb_typeof(task.input->'prompts') = 'array'
                                       THEN jsonb_array_length(task.input->'prompts') ELSE 1 END) AS prompts,
                      greatest(0, extract(epoch FROM darkroom_now() - coalesce(call.has_reference_at, task.created_at)) * 1000)::bigint
                          AS waits_ms,
                      call.has_reference_at IS NOT NULL AS has_reference, call.answered, call.in_flight, call.left_behind, call.failed, call.failure
                 FROM tasks task,
              LATERAL (SELECT max(last.ended_at) FILTER (WHERE batch_of(last.name) IS NULL AND last.state IN ('done', 'rejected'))
                                  AS has_reference_at,
                              count(DISTINCT batch_of(last.name))
                                  FILTER (WHERE batch_of(last.name) IS NOT NULL AND last.state IN ('done', 'rejected')) AS answered,
                              count(*) FILTER (WHERE last.state = 'open' AND last.has_worker) AS in_flight,
                              count(*) FILTER (WHERE last.state = 'open' AND NOT last.has_worker) AS left_behind,
                              count(*) FILTER (WHERE last.state IN ('failed', 'ambiguous', 'unusable')) AS failed,
                              (array_agg(last.failure_kind || ': ' || last.message ORDER BY last.call_id DESC)
                                  FILTER (WHERE last.state IN ('failed', 'ambiguous', 'unusable')))[1] AS failure
                         FROM (SELECT DISTINCT ON (name) calls.*, coalesce(is_living(l), false) AS has_worker
                                 FROM calls LEFT JOIN leases l USING (lease_id)
                                WHERE calls.task_id = task.task_id AND state <> 'unsent'
                                ORDER BY name, state IN ('done', 'rejected') DESC, call_id DESC) AS last) AS call
                WHERE task.state = 'running' ORDER BY task.created_at, task.task_id";
    rows(db, sql, Vec::new()).await
}

/// Duration of a key's calls, and the calls that use capacity now.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Pace {
    /// Mean duration of the last 100 calls that were answered, in milliseconds.
    pub mean_ms: Option<f64>,
    /// Age of each call in flight, in milliseconds.
    pub in_flight_ms: Vec<f64>,
    /// Time for which each orphan still uses capacity, in milliseconds.
    pub orphans_ms: Vec<f64>,
}

/// Returns the duration of a key's calls, and the calls that use capacity now.
pub async fn pace(db: &DatabaseConnection, provider_key: &str) -> Result<Pace, Error> {
    let sql = "SELECT (SELECT avg(ms)::float8
                         FROM (SELECT extract(epoch FROM ended_at - begun_at) * 1000 AS ms FROM calls
                                WHERE provider_key = $1 AND state = 'done' ORDER BY begun_at DESC LIMIT 100) AS recent) AS mean_ms,
                      coalesce(array_agg(extract(epoch FROM t - begun_at) * 1000) FILTER (WHERE NOT is_orphan), '{}') AS in_flight_ms,
                      coalesce(array_agg(extract(epoch FROM orphan_until - t) * 1000) FILTER (WHERE is_orphan AND orphan_until > t), '{}')
                          AS orphans_ms
                 FROM (SELECT c.begun_at, c.state = 'ambiguous' OR l.lease_id IS NULL AS is_orphan,
                              least(c.runs_until, c.begun_at + orphan_span(key)) AS orphan_until, darkroom_now() AS t
                         FROM calls c JOIN provider_keys key USING (provider_key)
                         LEFT JOIN leases l ON l.lease_id = c.lease_id AND l.ended_at IS NULL
                        WHERE c.provider_key = $1 AND c.state IN ('open', 'ambiguous') AND c.runs_until > darkroom_now()) AS call";
    let found: Vec<Pace> = rows(db, sql, vec![provider_key.into()]).await?;
    Ok(found.into_iter().next().unwrap_or_default())
}

const WHERE: &str = "($1::text IS NULL OR task_id = $1) AND ($2::text IS NULL OR calls.user_id = $2) AND ($3::text IS NULL OR calls.plan = $3)
            AND ($4::text IS NULL OR calls.provider_key = $4)";

fn values(filter: &Filter) -> Vec<sea_orm::Value> {
    let Filter { task_id, user_id, plan, provider_key } = filter.clone();
    vec![task_id.into(), user_id.into(), plan.into(), provider_key.into()]
}

/// Returns the rows of a query, in its order. A column that the type lacks, or that has another
/// type, is an error.
async fn rows<T: DeserializeOwned>(
    db: &DatabaseConnection,
    sql: &str,
    values: Vec<sea_orm::Value>,
) -> Result<Vec<T>, Error> {
    let sql = format!("SELECT row_to_json(found) AS row FROM ({sql}) AS found");
    let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, values);
    let typed =
        |row: Value| serde_json::from_value(row).map_err(|error| Error::Unreadable(error.to_string()));
    db.query_all_raw(statement).await?.iter().map(|row| typed(row.try_get("", "row")?)).collect()
}
