//! The ledger of paid calls: two statements around each. What they promise: `migrations/src/m0003_paid_calls/calls.sql`.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};
use workflows::types::GenerateOutput;

use crate::Error;

/// A call that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent<'a> {
    /// The account it is made with.
    pub provider_key: &'a str,
    /// Names this execution of the activity, and no other.
    pub token: &'a str,
    /// The task.
    pub task_id: &'a str,
    /// The call's name within the task, such as `3` or `beautify`.
    pub name: &'a str,
    /// Images asked for.
    pub images: u32,
    /// What the provider knows a repeated call by, where it does.
    pub idempotency_key: Option<&'a str>,
    /// How long the provider may work on it.
    pub timeout: Duration,
}

/// May the call be made now?
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Its intent is recorded: send it within a second, or end it as unsent.
    Go {
        /// For `end`.
        call_id: i64,
    },
    /// It was made already: this is what it gave.
    Done(GenerateOutput),
    /// Another attempt is making it, and may be for so long: ask again.
    Join(Duration),
    /// Not for so long, and why.
    Wait(Duration, String),
    /// Not for so long: a minute has as many calls or images as it may.
    Rate(Duration, String),
    /// Not for so long, and why: this call alone.
    Later(Duration, String),
    /// The lease is over, or the limit was lowered: renew, and ask again.
    Renew,
    /// Its task needs it no more, and why.
    Stop(String),
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    /// Which it is.
    pub outcome: Outcome,
    /// The provider's id of the call.
    pub request_id: Option<String>,
    /// Kind of the failure, and what was said.
    pub failure: Option<(&'static str, String)>,
}

/// What became of a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Answered: what it gave is safe, and what it costs.
    Done {
        /// For an attempt that asks again.
        result: GenerateOutput,
        /// Images on the bill.
        images_billed: u32,
        /// US dollars.
        cost_usd: f64,
    },
    /// Refused for a limit; nothing was billed.
    Refused {
        /// Nobody calls for so long.
        wait: Duration,
    },
    /// It failed by the provider's own word, or wasn't reached; nothing was billed.
    Unavailable {
        /// This call is not made for so long, where the provider says so.
        wait: Option<Duration>,
    },
    /// It failed otherwise; nothing was billed.
    Failed,
    /// Nobody knows what became of it: it may have been billed.
    Ambiguous {
        /// It was not answered: the provider may work on.
        may_run: bool,
    },
    /// Answered and billed, as a rule, but what it gave can't be used.
    Lost {
        /// Images on the bill, where they could be counted, and US dollars.
        billed: Option<(u32, f64)>,
    },
    /// It was never sent.
    Unsent,
}

/// Asks whether a call may be made, and records the intent if so. Twice with one token: the same call.
pub async fn begin(
    db: &DatabaseConnection,
    lease_id: i64,
    version: i64,
    intent: &Intent<'_>,
) -> Result<Verdict, Error> {
    let statement = Statement::from_sql_and_values(
        db.get_database_backend(),
        "SELECT * FROM begin_call($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        [
            intent.provider_key.into(),
            lease_id.into(),
            version.into(),
            intent.token.into(),
            intent.task_id.into(),
            intent.name.into(),
            (intent.images as i32).into(),
            intent.idempotency_key.into(),
            (intent.timeout.as_millis() as i32).into(),
        ],
    );
    let row = crate::one(db, statement).await?;
    let verdict: String = row.try_get("", "verdict")?;
    let wait_ms: i64 = row.try_get("", "wait_ms")?;
    let wait = Duration::from_millis(wait_ms.max(0) as u64);
    let why = || Ok::<_, Error>(row.try_get::<Option<String>>("", "why")?.unwrap_or_default());
    Ok(match verdict.as_str() {
        "go" => Verdict::Go { call_id: row.try_get("", "call_id")? },
        "done" => {
            // Emptied when the task ended, since the task's row answers now.
            let Some(result) = row.try_get::<Option<serde_json::Value>>("", "result")? else {
                return Ok(Verdict::Stop(format!("task `{}` has ended", intent.task_id)));
            };
            let unreadable = |error| Error::Unreadable(format!("calls.result of {intent:?}: {error}"));
            Verdict::Done(serde_json::from_value(result).map_err(unreadable)?)
        }
        "join" => Verdict::Join(wait),
        "wait" => Verdict::Wait(wait, why()?),
        "rate" => Verdict::Rate(wait, why()?),
        "later" => Verdict::Later(wait, why()?),
        "renew" => Verdict::Renew,
        "stop" => Verdict::Stop(why()?),
        other => return Err(Error::Unreadable(format!("verdict `{other}` of begin_call"))),
    })
}

/// Records how a call ended. Twice: the same; what is known is never overwritten by what isn't.
pub async fn end(db: &DatabaseConnection, call_id: i64, end: &End) -> Result<(), Error> {
    let (state, billed, cost_usd, result, wait) = match &end.outcome {
        Outcome::Done { result, images_billed, cost_usd } => {
            let state = match result {
                GenerateOutput::Generated { .. } => "done",
                GenerateOutput::Rejected { .. } => "rejected",
            };
            let json = serde_json::to_value(result).map_err(|error| Error::Unreadable(error.to_string()))?;
            (state, Some(*images_billed as i32), Some(*cost_usd), Some(json), None)
        }
        Outcome::Refused { wait } => ("failed", None, None, None, Some(*wait)),
        Outcome::Unavailable { wait } => ("failed", None, None, None, *wait),
        Outcome::Failed => ("failed", None, None, None, None),
        Outcome::Ambiguous { .. } => ("ambiguous", None, None, None, None),
        Outcome::Lost { billed } => {
            let (images, cost_usd) = billed.unzip();
            ("lost", images.map(|images| images as i32), cost_usd, None, None)
        }
        Outcome::Unsent => ("unsent", None, None, None, None),
    };
    let (kind, message) = end.failure.clone().unzip();
    let statement = Statement::from_sql_and_values(
        db.get_database_backend(),
        "SELECT end_call($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        [
            call_id.into(),
            state.into(),
            billed.into(),
            cost_usd.into(),
            end.request_id.clone().into(),
            kind.into(),
            message.into(),
            result.into(),
            (end.outcome == Outcome::Ambiguous { may_run: true }).into(),
            matches!(end.outcome, Outcome::Refused { .. }).into(),
            wait.map(|wait| wait.as_millis() as i32).into(),
            matches!(end.outcome, Outcome::Unavailable { .. }).into(),
        ],
    );
    db.query_one_raw(statement).await?;
    Ok(())
}
