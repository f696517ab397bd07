//! Ledger of paid calls, with two statements around each call. Comments in
//! `sql/functions/begin_call.sql` and `end_call.sql` describe their promises.

use std::time::Duration;

use sea_orm::{DatabaseConnection, Statement, Value};
use workflows::types::GenerateOutput;

use database::Error;

use crate::Call;
use crate::outcome::Effects;

/// Intent to make a call, with the worker that makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent<'a> {
    /// Account with which the call is made.
    pub provider_key: &'a str,
    /// Worker that makes the call, as its lease names it.
    pub worker: &'a str,
    /// Name of this execution of the activity, which no other execution ever has.
    pub token: &'a str,
    /// Key by which the provider recognises a repeated call, if the provider honours such keys.
    pub idempotency_key: Option<&'a str>,
    /// Call that is to be made.
    pub call: Call<'a>,
}

impl Intent<'_> {
    /// Returns the intent under a lease as SQL, with its values from `$1` on.
    fn bind(&self, lease_id: i64, version: i64) -> (&'static str, Vec<Value>) {
        let values = vec![
            self.provider_key.into(),
            self.worker.into(),
            lease_id.into(),
            version.into(),
            self.token.into(),
            self.call.task_id.into(),
            self.call.user_id.into(),
            self.call.plan.into(),
            self.call.name.to_string().into(),
            (self.call.images as i32).into(),
            self.call.fingerprint.into(),
            self.idempotency_key.into(),
            milliseconds(self.call.timeout).into(),
            (self.call.max_billed_failures as i32).into(),
        ];
        ("ROW($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)::call_intent", values)
    }
}

/// Answer of `begin_call` to the question whether a call may be made now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// The intent is recorded. The call is sent within a second, or ended as unsent.
    Go,
    /// The call was made already, with this result.
    Done(GenerateOutput),
    /// Another attempt is making the call, and may take this long. The worker asks again.
    InFlight(Duration),
    /// The key takes no call for this long, for this reason.
    KeyBlocked(Duration, String),
    /// The key's rates allow no call for this long. A minute has as many calls or images as it may.
    RateLimited(Duration, String),
    /// The call alone may not be made for this long, for this reason.
    CallBlocked(Duration, String),
    /// The lease is over, or the limit was lowered. The worker renews the lease, and asks again.
    Renew,
    /// The task needs the call no more, for this reason.
    TaskEnded(String),
    /// The allowed number of calls of this name may have been billed, and gave no result.
    Exhausted(String),
}

/// Asks whether a call may be made, and records the intent if so. A second question with the same
/// token is about the same call.
pub async fn begin(
    db: &DatabaseConnection,
    lease_id: i64,
    version: i64,
    intent: &Intent<'_>,
) -> Result<Admission, Error> {
    let (row, values) = intent.bind(lease_id, version);
    let sql = format!("SELECT * FROM begin_call({row})");
    let row =
        database::one(db, Statement::from_sql_and_values(db.get_database_backend(), sql, values)).await?;
    let admission: String = row.try_get("", "admission")?;
    let wait_ms: i64 = row.try_get("", "wait_ms")?;
    let wait = Duration::from_millis(wait_ms.max(0) as u64);
    let why = || Ok::<_, Error>(row.try_get::<Option<String>>("", "why")?.unwrap_or_default());
    Ok(match admission.as_str() {
        "go" => Admission::Go,
        "done" => {
            // The result was emptied when the task ended, because the task's row answers now.
            let Some(result) = row.try_get::<Option<serde_json::Value>>("", "result")? else {
                return Ok(Admission::TaskEnded(format!("task `{}` has ended", intent.call.task_id)));
            };
            let unreadable = |error| Error::Unreadable(format!("calls.result of {intent:?}: {error}"));
            Admission::Done(serde_json::from_value(result).map_err(unreadable)?)
        }
        "in_flight" => Admission::InFlight(wait),
        "key_blocked" => Admission::KeyBlocked(wait, why()?),
        "rate_limited" => Admission::RateLimited(wait, why()?),
        "call_blocked" => Admission::CallBlocked(wait, why()?),
        "renew" => Admission::Renew,
        "task_ended" => Admission::TaskEnded(why()?),
        "exhausted" => Admission::Exhausted(why()?),
        other => return Err(Error::Unreadable(format!("admission `{other}` of begin_call"))),
    })
}

/// Records how a call ended. A second execution records the same. An unknown outcome never
/// overwrites a known one. `elapsed` counts from the call's begin, for a row that has to be made
/// again.
///
/// Returns true if a refusal has become this request's rejection.
pub async fn end(
    db: &DatabaseConnection,
    lease_id: i64,
    intent: &Intent<'_>,
    effects: &Effects,
    elapsed: Duration,
) -> Result<bool, Error> {
    let result = effects.result.as_ref().map(serde_json::to_value).transpose();
    let result = result.map_err(|error| Error::Unreadable(error.to_string()))?;
    let (images_billed, cost_usd) = effects.billed.unzip();
    let failure = effects.failure.as_ref();
    let (row, mut values) = intent.bind(lease_id, 0);
    let more: [Value; 11] = [
        effects.state.into(),
        images_billed.map(|images| images as i32).into(),
        cost_usd.into(),
        effects.request_id.clone().into(),
        failure.map(|failure| failure.kind.as_str()).into(),
        failure.map(|failure| failure.message.clone()).into(),
        result.into(),
        effects.still_executing.into(),
        effects.says.into(),
        effects.wait.map(milliseconds).into(),
        milliseconds(elapsed).into(),
    ];
    values.extend(more);
    let sql = format!(
        "SELECT end_call({row}, ROW($15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25)::call_end) AS state"
    );
    let row =
        database::one(db, Statement::from_sql_and_values(db.get_database_backend(), sql, values)).await?;
    let recorded: Option<String> = row.try_get("", "state")?;
    Ok(effects.says.is_some() && recorded.as_deref() == Some("rejected"))
}

fn milliseconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
