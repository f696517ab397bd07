//! Decides when a paid call may be made, records the call, and applies the effects of its end.
//! README.md, beside this crate's manifest, describes the design.
//!
//! [`PaidCalls::once`] is the only way to pay. A step that holds no [`PaidCalls`] makes no paid
//! call.

mod backoff;
pub mod functions;
pub mod lease;
pub mod ledger;
mod limiter;
pub mod limits;
pub mod outcome;
pub mod queue;
pub mod reconcile;
pub mod report;
pub mod share;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use database::DatabaseConnection;
use tokio::time::{sleep, timeout};
use workflows::failure::{FailureKind, MAX_WAIT, Retry, one_line};
use workflows::keys::{self, CallName};
use workflows::types::GenerateOutput;

use backoff::Backoff;
use lease::Holder;
use ledger::{Admission, Intent};
use limiter::{CallGuard, Limiter};
use outcome::Effects;

pub use limiter::{Slot, TTL};
pub use outcome::{Failed, Failure, Outcome};

/// Time for which a `go` from `begin_call` is valid. A call may be sent up to 1 s after its `go`.
/// So `begin_call` counts 61 s to enforce a rate per minute. A call not sent by then is recorded as
/// `unsent` and asked for again.
const SENT_WITHIN: Duration = Duration::from_secs(1);
/// Time for which a call waits in its slot for a change of the limits. After that, the attempt
/// fails and frees the slot. Temporal queues the call again, at the end of its lane.
const WAITS_AT_MOST: Duration = Duration::from_secs(2);
/// Time between two questions about a call that another attempt is making.
const JOINED_EVERY: Duration = Duration::from_millis(250);

/// Way to pay, which joins this worker's share of one provider key with the ledger of its calls.
#[derive(Debug)]
pub struct PaidCalls {
    database: DatabaseConnection,
    limiter: Arc<Limiter>,
}

/// One paid call of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call<'a> {
    /// Task that the call belongs to.
    pub task_id: &'a str,
    /// User who started the task.
    pub user_id: &'a str,
    /// Name of the task's plan.
    pub plan: &'a str,
    /// Name of the call within the task.
    pub name: CallName,
    /// Number of images to ask for.
    pub images: u32,
    /// SHA-256 of all that is asked for, in hex. Only the same request joins, or gets a recorded
    /// result.
    pub fingerprint: &'a str,
    /// True if the provider answers a repeated call under the same idempotency key with the first
    /// call's result, and bills it once.
    pub honours_idempotency: bool,
    /// Time for which the provider may be executing the call.
    pub timeout: Duration,
    /// Number of calls of this name that may have been billed without a result, after which no
    /// further call is made.
    pub max_billed_failures: u32,
}

/// One execution of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Idempotency key that is sent to the provider, the same for every attempt at the same
    /// request.
    pub idempotency_key: String,
    /// Name of this attempt, which no other attempt ever has.
    pub token: String,
}

/// Reason why a call has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotMade {
    /// The activity was cancelled before the call was sent.
    Cancelled,
    /// The call failed, or was not made.
    Failed(Failure),
}

impl NotMade {
    /// Logs why a call was not made. A call that only waits for its key is logged at the level
    /// debug.
    fn logged(self, call: &Call<'_>) -> Self {
        if let NotMade::Failed(Failure { kind, message, retry }) = &self {
            let (task_id, call, kind) = (call.task_id, call.name.to_string(), kind.as_str());
            if kind == FailureKind::Throttled.as_str() {
                tracing::debug!(task_id, call, kind, ?retry, error = message, "call not made");
            } else {
                tracing::warn!(task_id, call, kind, ?retry, error = message, "call not made");
            }
        }
        self
    }
}

impl PaidCalls {
    /// Makes the `PaidCalls` of a starting worker. No statement is sent before [`PaidCalls::run`].
    pub fn new(database: DatabaseConnection, holder: Holder) -> Arc<Self> {
        Arc::new(Self { limiter: Limiter::new(database.clone(), holder), database })
    }

    /// Waits until a call could be made in a further slot, and returns the slot.
    pub async fn slot(&self) -> Slot {
        self.limiter.slot().await
    }

    /// Returns a slot if a call could be made in it now.
    pub fn try_slot(&self) -> Option<Slot> {
        self.limiter.try_slot()
    }

    /// Keeps the worker's lease renewed for as long as the future is polled.
    pub async fn run(&self) -> Infallible {
        self.limiter.run().await
    }

    /// Gives the lease back, once no call is in flight any more.
    pub async fn release(&self) {
        self.limiter.release().await;
    }

    /// Notes that Temporal can't be reached, or can be reached again. Without Temporal no work
    /// comes, so the worker's share goes to others.
    pub fn set_cut_off(&self, cut_off: bool) {
        self.limiter.set_cut_off(cut_off);
    }

    /// Makes a paid call. Never repeats a call that has a recorded result or still runs at a living
    /// worker. A call whose bill is in doubt is repeated, and the possible loss is on record.
    ///
    /// Returns the recorded result if an earlier attempt at the same request has it, and joins an
    /// attempt that is still executing. Otherwise waits until this worker's lease allows a call,
    /// records the intent, runs `work`, and records the outcome before the slot is released. A
    /// cancel doesn't interrupt `work`, because the call is paid for from the moment it is sent.
    pub async fn once(
        &self,
        call: &Call<'_>,
        is_cancelled: impl Fn() -> bool,
        work: impl AsyncFnOnce(&Attempt) -> Outcome,
    ) -> Result<GenerateOutput, NotMade> {
        let attempt = Attempt {
            idempotency_key: keys::idempotency(call.task_id, call.name, call.fingerprint),
            token: token(self.limiter.worker()),
        };
        let intent = Intent {
            provider_key: self.limiter.provider_key(),
            worker: self.limiter.worker(),
            token: &attempt.token,
            idempotency_key: call.honours_idempotency.then_some(attempt.idempotency_key.as_str()),
            call: *call,
        };
        let guard = match self.begin(&intent, is_cancelled).await {
            Ok(Begun::Go(guard)) => guard,
            Ok(Begun::Done(output)) => return Ok(output),
            Err(not_made) => return Err(not_made.logged(call)),
        };
        let began = Instant::now();
        let outcome = work(&attempt).await;
        let effects = outcome.effects();
        log(call, &outcome, &effects, began.elapsed());
        let recorded = self.end(guard.stamp().lease_id, &intent, &effects, began.elapsed()).await;
        guard.end(effects.still_executing);
        match (recorded, effects.failure, effects.result) {
            (Recorded::WithoutContent, None, _) => Err(failed(
                FailureKind::Malformed,
                Retry::Backoff,
                "the provider's answer holds what the database can't: its images are lost",
            )),
            (Recorded::AsRejection, _, Some(output)) | (_, None, Some(output)) => Ok(output),
            (_, Some(failure), _) => Err(NotMade::Failed(failure)),
            (_, None, None) => Err(NotMade::Cancelled),
        }
    }

    /// Asks until the call may be made, or was made by another attempt.
    ///
    /// A statement whose answer was lost is repeated until its answer is known, however long that
    /// takes. An intent of which nobody knows would hold up the attempts after this one.
    async fn begin(&self, intent: &Intent<'_>, is_cancelled: impl Fn() -> bool) -> Result<Begun, NotMade> {
        let limiter = &self.limiter;
        let mut gives_up_at = Instant::now() + WAITS_AT_MOST;
        let mut asks_again = Backoff::default();
        loop {
            if is_cancelled() && asks_again.is_fresh() {
                return Err(NotMade::Cancelled);
            }
            let remaining = gives_up_at.saturating_duration_since(Instant::now());
            let guard = match timeout(remaining, limiter.call()).await {
                Ok(guard) => guard,
                Err(_) if asks_again.is_fresh() => return Err(key_blocked(Duration::ZERO, "its limit")),
                Err(_) => limiter.call().await,
            };
            let asked = Instant::now();
            let stamp = guard.stamp();
            let admission = match ledger::begin(&self.database, stamp.lease_id, stamp.version, intent).await {
                Ok(admission) => admission,
                Err(error @ database::Error::Content(_)) => {
                    return Err(failed(FailureKind::Internal, Retry::Never, &error.to_string()));
                }
                Err(error) => {
                    drop(guard);
                    if asks_again.is_fresh() {
                        let (task_id, call) = (intent.call.task_id, intent.call.name.to_string());
                        tracing::warn!(task_id, %call, %error, "the call waits for the database");
                    }
                    asks_again.wait().await;
                    continue;
                }
            };
            asks_again = Backoff::default();
            let asked = (asked, is_cancelled());
            if let Some(begun) = self.obey(admission, intent, guard, asked, &mut gives_up_at).await? {
                return Ok(begun);
            }
        }
    }

    /// Does what the ledger has answered. `None` means that the attempt asks again.
    async fn obey(
        &self,
        admission: Admission,
        intent: &Intent<'_>,
        guard: CallGuard,
        (asked, is_cancelled): (Instant, bool),
        gives_up_at: &mut Instant,
    ) -> Result<Option<Begun>, NotMade> {
        let stamp = guard.stamp();
        match admission {
            Admission::Go if is_cancelled || asked.elapsed() > SENT_WITHIN => {
                let unsent = Outcome::Unsent.effects();
                self.end(stamp.lease_id, intent, &unsent, asked.elapsed()).await;
            }
            Admission::Go => return Ok(Some(Begun::Go(guard))),
            Admission::Done(output) => return Ok(Some(Begun::Done(output))),
            Admission::TaskEnded(why) => return Err(failed(FailureKind::Internal, Retry::Never, &why)),
            Admission::Exhausted(why) => {
                let message = format!("the call is not made again: {why}");
                return Err(failed(FailureKind::Ambiguous, Retry::Never, &message));
            }
            Admission::Renew => {
                drop(guard);
                self.limiter.renew().await;
            }
            Admission::InFlight(_) => {
                drop(guard);
                sleep(JOINED_EVERY).await;
                // The other attempt works for this one, too, however long that takes.
                *gives_up_at = Instant::now() + WAITS_AT_MOST;
            }
            // While the key is closed, the limiter gives out no slot.
            Admission::KeyBlocked(wait, why) => {
                self.limiter.close(wait);
                drop(guard);
                gives_up(wait, &why, *gives_up_at)?;
            }
            Admission::RateLimited(wait, why) => {
                self.limiter.close_for_rate(wait, stamp);
                drop(guard);
                gives_up(wait, &why, *gives_up_at)?;
            }
            Admission::CallBlocked(wait, why) => {
                drop(guard);
                if Instant::now() + wait > *gives_up_at {
                    let retry = Retry::After(wait.min(MAX_WAIT));
                    return Err(failed(FailureKind::Unavailable, retry, &format!("not yet: {why}")));
                }
                sleep(wait).await;
            }
        }
        Ok(None)
    }

    /// Closes the call in the ledger, however long the database takes. The slot is given back only
    /// afterwards, so that nobody calls in its place.
    async fn end(
        &self,
        lease_id: i64,
        intent: &Intent<'_>,
        effects: &Effects,
        elapsed: Duration,
    ) -> Recorded {
        let (task_id, call) = (intent.call.task_id, intent.call.name.to_string());
        let mut tries_again = Backoff::default();
        let mut without_content = None;
        loop {
            let effects = without_content.as_ref().unwrap_or(effects);
            match ledger::end(&self.database, lease_id, intent, effects, elapsed).await {
                Ok(is_rejection) => {
                    if !tries_again.is_fresh() {
                        tracing::info!(task_id, call, "the call's outcome is recorded");
                    }
                    return match (without_content, is_rejection) {
                        (Some(_), _) => Recorded::WithoutContent,
                        (None, true) => Recorded::AsRejection,
                        (None, false) => Recorded::AsItIs,
                    };
                }
                Err(database::Error::Content(error)) if without_content.is_none() => {
                    tracing::error!(
                        task_id,
                        call,
                        error,
                        "the call's outcome is recorded without its result"
                    );
                    without_content = Some(effects.without_content());
                }
                Err(error) => {
                    if tries_again.is_fresh() {
                        tracing::warn!(task_id, call, %error, "the call's outcome waits for the database");
                    }
                    tries_again.wait().await;
                }
            }
        }
    }
}

/// Permission to make a call, or its result.
enum Begun {
    Go(CallGuard),
    Done(GenerateOutput),
}

/// Form in which a call's end went on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recorded {
    AsItIs,
    /// The refusal has become this request's rejection.
    AsRejection,
    /// The database can't hold what was to be recorded, so the call is closed without it.
    WithoutContent,
}

fn failed(kind: FailureKind, retry: Retry, message: &str) -> NotMade {
    NotMade::Failed(Failure { kind, retry, message: one_line(message) })
}

/// Returns the failure of a call whose key takes no call now. The slot is freed, and Temporal makes
/// the next attempt after `wait`.
fn key_blocked(wait: Duration, why: &str) -> NotMade {
    let message = format!("the provider key takes no call now: {why}");
    failed(FailureKind::Throttled, Retry::After(wait.min(MAX_WAIT)), &message)
}

fn gives_up(wait: Duration, why: &str, at: Instant) -> Result<(), NotMade> {
    if Instant::now() + wait > at { Err(key_blocked(wait, why)) } else { Ok(()) }
}

/// Logs how a call ended, for every step that pays.
fn log(call: &Call<'_>, outcome: &Outcome, effects: &Effects, elapsed: Duration) {
    let (task_id, call, elapsed_ms) = (call.task_id, call.name.to_string(), elapsed.as_millis() as u64);
    match (outcome, &effects.failure) {
        (Outcome::Generated { images, billed, request_id, left_out }, _) => {
            let (images, cost_usd) = (images.len(), billed.map(|(_, cost_usd)| cost_usd));
            tracing::info!(task_id, call, images, elapsed_ms, cost_usd, request_id, left_out, "generated");
        }
        (Outcome::Rejected { message, request_id }, _) => {
            tracing::info!(task_id, call, elapsed_ms, message, request_id, "rejected");
        }
        (Outcome::Failed(_), Some(failure)) => {
            let (kind, retry, error) = (failure.kind.as_str(), failure.retry, &failure.message);
            tracing::warn!(task_id, call, elapsed_ms, kind, ?retry, error, "call failed");
        }
        (Outcome::Failed(_), None) | (Outcome::Unsent, _) => {}
    }
}

/// Returns a name for one execution of an activity.
fn token(worker: &str) -> String {
    static EXECUTIONS: AtomicU64 = AtomicU64::new(0);
    format!("{worker}/{}", EXECUTIONS.fetch_add(1, Ordering::Relaxed))
}
