//! What is on record of keys, leases and calls, for people to look at.

use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};
use serde_json::Value;

use crate::Error;

/// What calls are to be summed up.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only of this task.
    pub task_id: Option<String>,
    /// Only of this user.
    pub user_id: Option<String>,
    /// Only of this plan.
    pub plan: Option<String>,
    /// Only of this provider key.
    pub provider_key: Option<String>,
}

/// By what they are summed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The task.
    Task,
    /// The user.
    User,
    /// The plan.
    Plan,
    /// The provider key.
    Key,
    /// The day, in UTC.
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

/// The ledger, summed up: one JSON object a group, in the order of groups.
pub async fn ledger(db: &DatabaseConnection, filter: &Filter, by: By) -> Result<Vec<Value>, Error> {
    let group = by.column();
    let sql = format!(
        "SELECT {group} AS \"group\", count(*) FILTER (WHERE state <> 'unsent') AS calls,
                count(*) FILTER (WHERE state = 'done') AS done, count(*) FILTER (WHERE state = 'rejected') AS rejected,
                count(*) FILTER (WHERE state = 'failed') AS failed, count(*) FILTER (WHERE state = 'open') AS open,
                count(*) FILTER (WHERE state = 'ambiguous') AS ambiguous, count(lost_at) AS losses,
                coalesce(sum(images_billed), 0) AS images_billed, coalesce(sum(cost_usd), 0) AS cost_usd,
                coalesce(sum(images_asked) FILTER (WHERE state IN ('open', 'done', 'ambiguous', 'lost') AND images_billed IS NULL), 0)
                    AS images_in_doubt
           FROM calls WHERE {WHERE} GROUP BY 1 ORDER BY 1"
    );
    rows(db, &sql, values(filter)).await
}

/// Each call of which nobody knows, or that was paid for nothing; with `open`, each that has not ended instead.
pub async fn calls(db: &DatabaseConnection, filter: &Filter, open: bool) -> Result<Vec<Value>, Error> {
    let which =
        if open { "state = 'open'" } else { "(state IN ('ambiguous', 'lost') OR lost_at IS NOT NULL)" };
    let sql = format!(
        "SELECT call_id, calls.provider_key, task_id, name, state, images_asked, images_billed, calls.begun_at, runs_until, lost_at,
                message, leases.worker, leases.host, leases.pid
           FROM calls LEFT JOIN leases USING (lease_id) WHERE {which} AND {WHERE} ORDER BY call_id"
    );
    rows(db, &sql, values(filter)).await
}

/// Each provider key: its limits, and how much of them is used.
pub async fn limits(db: &DatabaseConnection) -> Result<Vec<Value>, Error> {
    let sql = "SELECT key.provider_key, key.calls_at_once, key.ceiling, key.floor, key.calls_per_minute, key.images_per_minute, key.paused,
                      greatest(0, ceil(extract(epoch FROM key.throttled_until - darkroom_now()) * 1000))::bigint AS throttled_ms,
                      key.failing, key.refused, key.orphan_ms,
                      orphans.count AS orphans,
                      orphans.count +
                      (SELECT count(*) FROM calls c JOIN leases l USING (lease_id) WHERE c.provider_key = key.provider_key
                          AND c.state = 'open' AND c.runs_until > darkroom_now() AND l.ended_at IS NULL) AS in_flight,
                      (SELECT coalesce(sum(l.granted), 0) FROM leases l
                        WHERE l.provider_key = key.provider_key AND l.ended_at IS NULL) AS granted,
                      (SELECT coalesce(sum(greatest(0, least(l.keeps, l.granted) - l.calls)), 0) FROM leases l
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

/// Each worker's lease, those that have just ended too.
pub async fn workers(db: &DatabaseConnection) -> Result<Vec<Value>, Error> {
    let sql = "SELECT lease.worker, lease.host, lease.pid, lease.provider_key, lease.granted, lease.wanted,
                      (SELECT count(*) FROM calls c WHERE c.lease_id = lease.lease_id AND c.state = 'open') AS in_flight,
                      (extract(epoch FROM darkroom_now() - lease.seen_at) * 1000)::bigint AS seen_ms_ago,
                      CASE WHEN lease.ended_at IS NOT NULL THEN 'ended' WHEN lease.cut_off AND is_living(lease) THEN 'cut off' WHEN is_living(lease) THEN 'held' ELSE 'expired' END AS state
                 FROM leases lease
                WHERE lease.ended_at IS NULL OR lease.ended_at > darkroom_now() - interval '1 minute'
                ORDER BY lease.provider_key, lease.worker, lease.lease_id";
    rows(db, sql, Vec::new()).await
}

/// A task that runs, and its paid calls.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
pub struct RunningTask {
    /// Its id.
    pub task_id: String,
    /// Whose it is.
    pub user_id: String,
    /// Its plan's name.
    pub plan: String,
    /// The fairness key of the lane in which its calls wait.
    pub lane: String,
    /// That lane's weight.
    pub lane_weight: f32,
    /// Images it is to have.
    pub images_planned: u32,
    /// Prompts that they are spread over.
    pub prompts: u32,
    /// Since when its next calls have been waiting.
    pub waits_ms: u64,
    /// Whether the retouching was answered: before, nothing else is asked for.
    pub has_reference: bool,
    /// Batches that were answered.
    pub answered: u32,
    /// Calls in flight.
    pub in_flight: u32,
    /// Calls whose worker is gone, which no other has taken over yet.
    pub left_behind: u32,
    /// Calls that failed and are tried again.
    pub failed: u32,
    /// What the last of these failed with.
    pub failure: Option<String>,
}

/// Tasks that run, the oldest first.
pub async fn running(db: &DatabaseConnection) -> Result<Vec<RunningTask>, Error> {
    let sql = "SELECT task.task_id, task.user_id, task.plan, task.images_planned,
                      coalesce(task.lane, task.user_id) AS lane, coalesce(task.lane_weight, 1) AS lane_weight,
                      greatest(1, CASE WHEN jsonb_typeof(task.input->'prompts') = 'array'
                                       THEN jsonb_array_length(task.input->'prompts') ELSE 1 END) AS prompts,
                      greatest(0, extract(epoch FROM darkroom_now() - coalesce(call.has_reference_at, task.created_at)) * 1000)::bigint
                          AS waits_ms,
                      call.has_reference_at IS NOT NULL AS has_reference, call.answered, call.in_flight, call.left_behind, call.failed, call.failure
                 FROM tasks task,
              LATERAL (SELECT max(last.ended_at) FILTER (WHERE last.name = 'beautify' AND last.state IN ('done', 'rejected'))
                                  AS has_reference_at,
                              count(DISTINCT split_part(last.name, '.', 1))
                                  FILTER (WHERE last.name NOT LIKE 'beautify%' AND last.state IN ('done', 'rejected')) AS answered,
                              count(*) FILTER (WHERE last.state = 'open' AND last.has_worker) AS in_flight,
                              count(*) FILTER (WHERE last.state = 'open' AND NOT last.has_worker) AS left_behind,
                              count(*) FILTER (WHERE last.state IN ('failed', 'ambiguous', 'lost')) AS failed,
                              (array_agg(last.failure_kind || ': ' || last.message ORDER BY last.call_id DESC)
                                  FILTER (WHERE last.state IN ('failed', 'ambiguous', 'lost')))[1] AS failure
                         FROM (SELECT DISTINCT ON (name) calls.*, coalesce(is_living(l), false) AS has_worker
                                 FROM calls LEFT JOIN leases l USING (lease_id)
                                WHERE calls.task_id = task.task_id AND state <> 'unsent'
                                ORDER BY name, state IN ('done', 'rejected') DESC, call_id DESC) AS last) AS call
                WHERE task.state = 'running' ORDER BY task.created_at, task.task_id";
    rows(db, sql, Vec::new()).await?.into_iter().map(readable).collect()
}

/// What a key's calls take, and what is in flight.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
pub struct Pace {
    /// Mean duration of the last 100 calls that were answered.
    pub mean_ms: Option<f64>,
    /// Of each call in flight: since when.
    pub in_flight_ms: Vec<f64>,
    /// Of each call that nobody waits for any more: how much longer it uses capacity.
    pub orphans_ms: Vec<f64>,
}

/// What a key's calls take, and what is in flight.
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
    let found = rows(db, sql, vec![provider_key.into()]).await?;
    found.into_iter().next().map_or(Ok(Pace::default()), readable)
}

fn readable<T: serde::de::DeserializeOwned>(row: Value) -> Result<T, Error> {
    serde_json::from_value(row).map_err(|error| Error::Unreadable(error.to_string()))
}

const WHERE: &str = "($1::text IS NULL OR task_id = $1) AND ($2::text IS NULL OR calls.user_id = $2) AND ($3::text IS NULL OR calls.plan = $3)
            AND ($4::text IS NULL OR calls.provider_key = $4)";

fn values(filter: &Filter) -> Vec<sea_orm::Value> {
    let Filter { task_id, user_id, plan, provider_key } = filter.clone();
    vec![task_id.into(), user_id.into(), plan.into(), provider_key.into()]
}

/// The rows of a query as JSON objects, in its order.
async fn rows(db: &DatabaseConnection, sql: &str, values: Vec<sea_orm::Value>) -> Result<Vec<Value>, Error> {
    let sql = format!("SELECT row_to_json(found) AS row FROM ({sql}) AS found");
    let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, values);
    let rows = db.query_all_raw(statement).await?;
    rows.iter().map(|row| Ok(row.try_get("", "row")?)).collect()
}
