//! A paid call: two statements around it, and its answer made safe in between.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use database::calls::{self, End, Intent, Outcome, Verdict};
use limiter::{Ended, Pass};
use sha2::{Digest, Sha256};
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use tokio::time::{sleep, timeout};
use workflows::keys;
use workflows::types::{GenerateOutput, ImageSource};

use crate::failure::{Failure, MAX_WAIT, REFUSED_WAIT, words};
use crate::fingerprint::{fingerprint, hex};
use crate::provider::{Answer, AnswerFormat, Call, Error, Payload};
use crate::{Activities, late, storage};

/// From asking whether a call may be made to sending it: what is asked holds no longer. The ledger's rates count on it.
const SENT_WITHIN: Duration = Duration::from_secs(1);
/// How long a call waits in its slot for what has changed since it was given the slot; then its place in the queue is given back.
const WAITS_AT_MOST: Duration = Duration::from_secs(2);
/// How often a call that another attempt is making is asked after.
const JOINED_EVERY: Duration = Duration::from_millis(250);
/// How long a 429 without Retry-After holds everybody back.
const THROTTLED_FOR: Duration = Duration::from_secs(1);
/// What the provider is given beyond our timeout to be done with a call.
const RUNS_ON: Duration = Duration::from_secs(5);

/// One paid call of a task.
pub(crate) struct PaidCall<'a> {
    pub(crate) task_id: &'a str,
    pub(crate) user_id: &'a str,
    pub(crate) plan: &'a str,
    /// Its name within the task, such as `3` or `beautify`.
    pub(crate) name: &'a str,
    pub(crate) prompt: &'a str,
    pub(crate) images: u32,
    pub(crate) answer: AnswerFormat,
    pub(crate) reference_key: &'a str,
}

/// Makes the call, unless it was made already, and makes its answer safe before anything else happens.
///
/// Returned: the call is closed in the ledger with this result, by this attempt or another. Failed: it is closed, and was not billed or
/// may have been; or it was not made. A cancel does not interrupt it: it is paid for from the moment it is sent.
/// Twice: the second attempt joins the first while its worker lives; else the call is repeated, under the same idempotency key, and the
/// possible loss is on record. Only the same request joins, or gets a recorded result.
pub(crate) async fn make(
    reach: &Activities,
    ctx: &ActivityContext,
    paid: PaidCall<'_>,
) -> Result<GenerateOutput, ActivityError> {
    let settings = reach.provider.settings();
    let reference = reach
        .references
        .get(paid.reference_key, &reach.storage, &reach.provider)
        .await
        .map_err(Failure::from)?;
    let fingerprint = fingerprint(settings, &paid, &reference);
    let idempotency_key = keys::idempotency(paid.task_id, paid.name, &fingerprint);
    let token = token(reach.limiter.worker());
    let intent = Intent {
        provider_key: reach.limiter.provider_key(),
        worker: reach.limiter.worker(),
        token: &token,
        task_id: paid.task_id,
        user_id: paid.user_id,
        plan: paid.plan,
        name: paid.name,
        images: paid.images,
        fingerprint: &fingerprint,
        idempotency_key: settings.honours_idempotency.then_some(idempotency_key.as_str()),
        timeout: Duration::from_secs(settings.timeout_s) + RUNS_ON,
        max_billed_failures: settings.max_billed_failures,
    };
    let pass = match begin(reach, ctx, &intent).await? {
        Begun::Go(pass) => pass,
        Begun::Done(output) => return Ok(output),
    };
    let began = Instant::now();
    let call = Call {
        prompt: paid.prompt,
        images: paid.images,
        answer: paid.answer,
        reference: &reference,
        idempotency_key: idempotency_key.clone(),
    };
    let answer = reach.provider.call(&call).await;
    let (end, made) = conclude(reach, &intent, answer, began).await;
    let recorded = record(reach, pass.permit().lease_id, &intent, &end).await;
    let may_run_on = end.outcome == Outcome::Ambiguous { may_run: true };
    pass.end(if may_run_on { Ended::MayRunOn } else { Ended::Done });
    match (recorded, end.outcome) {
        (Recorded::AsRejection, Outcome::AccountRefused { rejection, .. }) => Ok(rejection),
        (Recorded::WithoutContent, _) => Ok(made.and(Err(Failure::of_unrecorded_answer()))?),
        (Recorded::AsRejection | Recorded::AsItIs, _) => Ok(made?),
    }
}

/// What an answer is to the ledger, and to the task; images that came as bytes are in the store by then.
async fn conclude(
    reach: &Activities,
    intent: &Intent<'_>,
    answer: Result<Answer, Error>,
    began: Instant,
) -> (End, Result<GenerateOutput, Failure>) {
    let (task_id, call, elapsed) = (intent.task_id, intent.name, began.elapsed());
    let elapsed_ms = elapsed.as_millis() as u64;
    match answer {
        Ok(Answer::Images { images, billed, left_out, request_id }) => {
            let cost_usd = reach.provider.settings().price_usd(billed);
            // Some providers bill a call that gave no image, others don't, and none says so.
            let billed = (!images.is_empty()).then_some((billed, cost_usd));
            let count = images.len();
            tracing::info!(
                task_id,
                call,
                images = count,
                elapsed_ms,
                cost_usd,
                request_id,
                left_out,
                "generated"
            );
            match stage(reach, intent, images).await {
                Ok(images) => {
                    let output = GenerateOutput::Generated { images, request_id: request_id.clone() };
                    let outcome = Outcome::Done { result: output.clone(), billed };
                    (End { outcome, request_id, failure: None, elapsed }, Ok(output))
                }
                Err(error) => {
                    let failure = Failure::of_lost_answer(&error);
                    let outcome = Outcome::Lost { billed };
                    (End { outcome, request_id, failure: Some(told(&failure)), elapsed }, Err(failure))
                }
            }
        }
        Ok(Answer::Rejected { message, request_id }) => {
            let message = words(&message);
            tracing::info!(task_id, call, elapsed_ms, message, request_id, "rejected");
            let output = GenerateOutput::Rejected { message, request_id: request_id.clone() };
            let outcome = Outcome::Done { result: output.clone(), billed: Some((0, 0.0)) };
            (End { outcome, request_id, failure: None, elapsed }, Ok(output))
        }
        Err(error) => {
            let outcome = outcome(&error);
            let failure = Failure::of_call(error);
            let (kind, retry, error) = (failure.kind.as_str(), failure.retry, &failure.message);
            tracing::warn!(task_id, call, elapsed_ms, kind, ?retry, error, "call failed");
            (End { outcome, request_id: None, failure: Some(told(&failure)), elapsed }, Err(failure))
        }
    }
}

/// What a failed call is to the ledger.
fn outcome(error: &Error) -> Outcome {
    match error {
        Error::Throttled { retry_after, .. } => {
            Outcome::Throttled { wait: retry_after.unwrap_or(THROTTLED_FOR).min(MAX_WAIT) }
        }
        Error::Unavailable { retry_after, .. } => {
            Outcome::Unavailable { wait: retry_after.map(|wait| wait.min(MAX_WAIT)) }
        }
        Error::Ambiguous { may_run: false, .. } => Outcome::Page,
        Error::Ambiguous { may_run: true, .. } | Error::TimedOut => Outcome::Ambiguous { may_run: true },
        Error::Cut { .. } => Outcome::Ambiguous { may_run: false },
        Error::BadAnswer { .. } | Error::AsyncJob { .. } => Outcome::Lost { billed: None },
        Error::Refused { message, certain } => {
            let rejection = GenerateOutput::Rejected { message: words(message), request_id: None };
            Outcome::AccountRefused { certain: *certain, wait: REFUSED_WAIT, rejection }
        }
        Error::BadRequest { .. } | Error::WebPage { .. } => Outcome::Failed,
    }
}

fn told(failure: &Failure) -> (&'static str, String) {
    (failure.kind.as_str(), failure.message.clone())
}

/// May the call be made?
enum Begun {
    Go(Pass),
    Done(GenerateOutput),
}

/// Asks until the call may be made, or was made by another attempt.
///
/// Once a statement's answer was lost it is asked again until it is known, come what may: an intent of which nobody knows would hold up
/// the attempts after this one.
async fn begin(
    reach: &Activities,
    ctx: &ActivityContext,
    intent: &Intent<'_>,
) -> Result<Begun, ActivityError> {
    let limiter = &reach.limiter;
    let mut gives_up_at = Instant::now() + WAITS_AT_MOST;
    let mut asks_again = Backoff::default();
    loop {
        if ctx.is_cancelled() && asks_again.is_fresh() {
            return Err(ActivityError::cancelled());
        }
        let left = gives_up_at.saturating_duration_since(Instant::now());
        let pass = match timeout(left, limiter.pass()).await {
            Ok(pass) => pass,
            Err(_) if asks_again.is_fresh() => {
                return Err(Failure::of_limit(Duration::ZERO, "its limit").into());
            }
            Err(_) => limiter.pass().await,
        };
        let asked = Instant::now();
        let permit = pass.permit();
        let verdict = match calls::begin(&reach.database, permit.lease_id, permit.version, intent).await {
            Ok(verdict) => verdict,
            Err(error) => {
                if asks_again.is_fresh() {
                    let (task_id, call) = (intent.task_id, intent.name);
                    tracing::warn!(task_id, call, %error, "the call waits for the database");
                }
                drop(pass);
                if let database::Error::Content(_) = error {
                    return Err(Failure::of_unwritable_call(&error).into());
                }
                asks_again.wait().await;
                continue;
            }
        };
        asks_again = Backoff::default();
        // Then no slot is given either.
        match &verdict {
            Verdict::Wait(wait, _) => limiter.close(*wait),
            Verdict::Rate(wait, _) => limiter.close_for_rate(*wait, permit),
            Verdict::Go
            | Verdict::Done(_)
            | Verdict::Join(_)
            | Verdict::Later(..)
            | Verdict::Renew
            | Verdict::Stop(_)
            | Verdict::Spent(_) => {}
        }
        match verdict {
            Verdict::Go if ctx.is_cancelled() || asked.elapsed() > SENT_WITHIN => {
                let elapsed = asked.elapsed();
                let end = End { outcome: Outcome::Unsent, request_id: None, failure: None, elapsed };
                record(reach, permit.lease_id, intent, &end).await;
            }
            Verdict::Go => return Ok(Begun::Go(pass)),
            Verdict::Done(output) => return Ok(Begun::Done(output)),
            Verdict::Stop(why) => return Err(Failure::of_ended_task(why).into()),
            Verdict::Spent(why) => return Err(Failure::of_spent_call(&why).into()),
            Verdict::Renew => {
                drop(pass);
                limiter.renew().await;
            }
            Verdict::Join(_) => {
                drop(pass);
                sleep(JOINED_EVERY).await;
                // Whatever that takes: the other attempt is at work for this one.
                gives_up_at = Instant::now() + WAITS_AT_MOST;
            }
            Verdict::Wait(wait, why) | Verdict::Rate(wait, why) => {
                drop(pass);
                if Instant::now() + wait > gives_up_at {
                    return Err(Failure::of_limit(wait, &why).into());
                }
            }
            Verdict::Later(wait, why) => {
                drop(pass);
                if Instant::now() + wait > gives_up_at {
                    return Err(Failure::of_wait(wait, &why).into());
                }
                sleep(wait).await;
            }
        }
    }
}

/// How a call's end went on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recorded {
    AsItIs,
    /// A refusal that has become this request's rejection.
    AsRejection,
    /// The database can't hold what was to be recorded: the call is closed without it.
    WithoutContent,
}

/// Closes the call in the ledger, however long the database takes: its slot is not given back before, so that nobody calls in its place.
async fn record(reach: &Activities, lease_id: i64, intent: &Intent<'_>, end: &End) -> Recorded {
    let (task_id, call) = (intent.task_id, intent.name);
    let mut tries_again = Backoff::default();
    let mut without_content = None;
    loop {
        let end = without_content.as_ref().unwrap_or(end);
        match calls::end(&reach.database, lease_id, intent, end).await {
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
            Err(error @ database::Error::Content(_)) if without_content.is_none() => {
                tracing::error!(task_id, call, %error, "the call's outcome is recorded without its content");
                without_content = Some(end.without_content());
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

/// Waits 50 ms, then twice as long each time, up to 2 s.
#[derive(Debug, Default)]
struct Backoff(u32);

impl Backoff {
    fn is_fresh(&self) -> bool {
        self.0 == 0
    }

    async fn wait(&mut self) {
        let wait = Duration::from_millis(50 << self.0.min(6)).min(Duration::from_secs(2));
        self.0 += 1;
        sleep(wait).await;
    }
}

/// Names one execution of an activity.
fn token(worker: &str) -> String {
    static EXECUTIONS: AtomicU64 = AtomicU64::new(0);
    format!("{worker}/{}", EXECUTIONS.fetch_add(1, Ordering::Relaxed))
}

/// Puts bytes that came along into the store: they are paid for, and too large for the history. Each call has a place of its own, so that
/// one that was taken over and its successor never write to one key.
async fn stage(
    reach: &Activities,
    intent: &Intent<'_>,
    images: Vec<Payload>,
) -> Result<Vec<ImageSource>, storage::Error> {
    let patience = Instant::now() + workflows::options::STAGING_PATIENCE;
    let attempt = &hex(&Sha256::digest(intent.token))[..16];
    let mut sources = Vec::with_capacity(images.len());
    for (position, image) in images.into_iter().enumerate() {
        sources.push(match image {
            Payload::Url(url) => ImageSource::Url(url),
            Payload::Bytes(bytes) => {
                let key = keys::staged(intent.task_id, intent.name, attempt, position);
                put_until(reach, &key, bytes, patience).await?;
                ImageSource::StagingKey(key)
            }
        });
    }
    let staged: Vec<&str> = sources
        .iter()
        .filter_map(|source| match source {
            ImageSource::StagingKey(key) => Some(key.as_str()),
            ImageSource::Url(_) => None,
        })
        .collect();
    if !staged.is_empty() {
        late::withdraw(reach, intent.task_id, staged.into_iter()).await;
    }
    Ok(sources)
}

/// The one retry outside Temporal's loop: between the answer and the store lies money, and another attempt of the activity
/// would pay again.
async fn put_until(
    reach: &Activities,
    key: &str,
    bytes: bytes::Bytes,
    patience: Instant,
) -> Result<(), storage::Error> {
    let mut wait = Duration::from_millis(250);
    loop {
        match reach.storage.put(key, "application/octet-stream", bytes.clone()).await {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() + wait > patience => return Err(error),
            Err(error) => tracing::warn!(key, %error, "paid bytes wait for the store"),
        }
        sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(10));
    }
}
