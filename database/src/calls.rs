//! The ledger of paid calls: two statements around each. What they promise: `migrations/src/m0003_paid_calls/calls.sql`.

use std::time::Duration;

use sea_orm::{DatabaseConnection, Statement, Value};
use workflows::types::GenerateOutput;

use crate::Error;

/// A call that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent<'a> {
    /// The account it is made with.
    pub provider_key: &'a str,
    /// The worker that makes it, as its lease names it.
    pub worker: &'a str,
    /// The call's own id: names this execution of the activity, and no other, ever.
    pub token: &'a str,
    /// The task.
    pub task_id: &'a str,
    /// The task's user.
    pub user_id: &'a str,
    /// The name of the task's plan.
    pub plan: &'a str,
    /// The call's name within the task, such as `3` or `beautify`.
    pub name: &'a str,
    /// Images asked for.
    pub images: u32,
    /// SHA-256 of all that is asked for, in hex: only the same request gets a recorded result, or joins.
    pub fingerprint: &'a str,
    /// What the provider knows a repeated call by, where it does.
    pub idempotency_key: Option<&'a str>,
    /// How long the provider may work on it.
    pub timeout: Duration,
    /// How many calls of this name may have been billed without a result; then it is not made again.
    pub max_billed_failures: u32,
}

impl Intent<'_> {
    /// The intent under a lease, as SQL and its values, from `$1` on.
    fn bind(&self, lease_id: i64, version: i64) -> (&'static str, Vec<Value>) {
        let values = vec![
            self.provider_key.into(),
            self.worker.into(),
            lease_id.into(),
            version.into(),
            self.token.into(),
            self.task_id.into(),
            self.user_id.into(),
            self.plan.into(),
            self.name.into(),
            (self.images as i32).into(),
            self.fingerprint.into(),
            self.idempotency_key.into(),
            milliseconds(self.timeout).into(),
            (self.max_billed_failures as i32).into(),
        ];
        ("ROW($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)::call_intent", values)
    }
}

/// May the call be made now?
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Its intent is recorded: send it within a second, or end it as unsent.
    Go,
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
    /// As many calls of this name as may be were made that may have been billed and gave no result.
    Spent(String),
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
    /// How long ago it began: for a row that has to be made again.
    pub elapsed: Duration,
}

impl End {
    /// The same without what the provider said, for a database that can't hold it: what was billed stays, its result is lost.
    pub fn without_content(&self) -> Self {
        let outcome = if let Outcome::Done { billed, .. } = &self.outcome {
            Outcome::Lost { billed: *billed }
        } else if let Outcome::AccountRefused { .. } = &self.outcome {
            Outcome::Failed
        } else {
            self.outcome.clone()
        };
        let said = "the database could not hold what the provider said".to_owned();
        let kind = self.failure.as_ref().map_or("Malformed", |(kind, _)| kind);
        Self { outcome, request_id: None, failure: Some((kind, said)), elapsed: self.elapsed }
    }
}

/// What became of a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Answered: what it gave is safe, and what it costs.
    Done {
        /// For an attempt that asks again.
        result: GenerateOutput,
        /// Images on the bill, where they are known, and US dollars. Nobody knows of an answer without any image.
        billed: Option<(u32, f64)>,
    },
    /// Throttled; nothing was billed.
    Throttled {
        /// Nobody calls for so long.
        wait: Duration,
    },
    /// It failed by the provider's own word, or wasn't reached; nothing was billed.
    Unavailable {
        /// This call is not made for so long, where the provider says so.
        wait: Option<Duration>,
    },
    /// The account is refused, or this request of it; nothing was billed.
    AccountRefused {
        /// The provider says in its own words that it is the account.
        certain: bool,
        /// One call tries again after so long.
        wait: Duration,
        /// What the request's refusal becomes when it comes a third time while others of the key succeed.
        rejection: GenerateOutput,
    },
    /// It failed otherwise; nothing was billed.
    Failed,
    /// Nobody knows what became of it: it may have been billed.
    Ambiguous {
        /// It was not answered: the provider may work on.
        may_run: bool,
    },
    /// A gateway answered in the API's place: it may have been billed, the provider doesn't work on, and is in trouble.
    Page,
    /// Answered and billed, as a rule, but what it gave can't be used.
    Lost {
        /// Images on the bill, where they could be counted, and US dollars.
        billed: Option<(u32, f64)>,
    },
    /// It was never sent.
    Unsent,
}

/// An outcome's columns.
#[derive(Default)]
struct Row<'a> {
    state: &'static str,
    billed: Option<(u32, f64)>,
    result: Option<&'a GenerateOutput>,
    may_run: bool,
    says: Option<&'static str>,
    wait: Option<Duration>,
}

impl Outcome {
    fn row(&self) -> Row<'_> {
        let failed = Row { state: "failed", ..Row::default() };
        match self {
            Outcome::Done { result, billed } => {
                let state = match result {
                    GenerateOutput::Generated { .. } => "done",
                    GenerateOutput::Rejected { .. } => "rejected",
                };
                Row { state, billed: *billed, result: Some(result), ..Row::default() }
            }
            Outcome::Throttled { wait } => Row { says: Some("throttled"), wait: Some(*wait), ..failed },
            Outcome::Unavailable { wait } => Row { says: Some("unavailable"), wait: *wait, ..failed },
            Outcome::AccountRefused { certain, wait, rejection } => {
                let says = Some(if *certain { "refused" } else { "status" });
                Row { says, wait: Some(*wait), result: Some(rejection), ..failed }
            }
            Outcome::Failed => failed,
            Outcome::Ambiguous { may_run } => Row { state: "ambiguous", may_run: *may_run, ..Row::default() },
            Outcome::Page => Row { state: "ambiguous", says: Some("unavailable"), ..Row::default() },
            Outcome::Lost { billed } => Row { state: "lost", billed: *billed, ..Row::default() },
            Outcome::Unsent => Row { state: "unsent", ..Row::default() },
        }
    }
}

/// Asks whether a call may be made, and records the intent if so. Twice with one token: the same call.
pub async fn begin(
    db: &DatabaseConnection,
    lease_id: i64,
    version: i64,
    intent: &Intent<'_>,
) -> Result<Verdict, Error> {
    let (row, values) = intent.bind(lease_id, version);
    let sql = format!("SELECT * FROM begin_call({row})");
    let row = crate::one(db, Statement::from_sql_and_values(db.get_database_backend(), sql, values)).await?;
    let verdict: String = row.try_get("", "verdict")?;
    let wait_ms: i64 = row.try_get("", "wait_ms")?;
    let wait = Duration::from_millis(wait_ms.max(0) as u64);
    let why = || Ok::<_, Error>(row.try_get::<Option<String>>("", "why")?.unwrap_or_default());
    Ok(match verdict.as_str() {
        "go" => Verdict::Go,
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
        "spent" => Verdict::Spent(why()?),
        other => return Err(Error::Unreadable(format!("verdict `{other}` of begin_call"))),
    })
}

/// Records how a call ended. Twice: the same; what is known is never overwritten by what isn't.
///
/// True where a refusal has become this request's rejection.
pub async fn end(
    db: &DatabaseConnection,
    lease_id: i64,
    intent: &Intent<'_>,
    end: &End,
) -> Result<bool, Error> {
    let Row { state, billed, result, may_run, says, wait } = end.outcome.row();
    let result = result.map(serde_json::to_value).transpose();
    let result = result.map_err(|error| Error::Unreadable(error.to_string()))?;
    let (images_billed, cost_usd) = billed.unzip();
    let (kind, message) = end.failure.clone().unzip();
    let (row, mut values) = intent.bind(lease_id, 0);
    let more: [Value; 11] = [
        state.into(),
        images_billed.map(|images| images as i32).into(),
        cost_usd.into(),
        end.request_id.clone().into(),
        kind.into(),
        message.into(),
        result.into(),
        may_run.into(),
        says.into(),
        wait.map(milliseconds).into(),
        milliseconds(end.elapsed).into(),
    ];
    values.extend(more);
    let sql = format!(
        "SELECT end_call({row}, ROW($15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25)::call_end) AS state"
    );
    let row = crate::one(db, Statement::from_sql_and_values(db.get_database_backend(), sql, values)).await?;
    let recorded: Option<String> = row.try_get("", "state")?;
    Ok(says.is_some() && recorded.as_deref() == Some("rejected"))
}

fn milliseconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
