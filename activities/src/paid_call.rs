//! A paid call: two statements around it, and its answer made safe in between.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use database::calls::{self, End, Intent, Outcome, Verdict};
use limiter::{Ended, Pass};
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use tokio::time::{sleep, timeout};
use workflows::keys;
use workflows::types::{GenerateOutput, ImageSource};

use crate::failure::{Costly, Failure, MAX_WAIT, words};
use crate::heartbeat::Done;
use crate::provider::{Answer, AnswerFormat, Call, Error, Payload};
use crate::{Activities, late, storage};

/// From asking whether a call may be made to sending it: what is asked holds no longer. The ledger's rates count on it.
const SENT_WITHIN: Duration = Duration::from_secs(1);
/// How long a call waits in its slot for what has changed since it was given the slot; then its place in the queue is given back.
const WAITS_AT_MOST: Duration = Duration::from_secs(2);
/// How often a call that another attempt is making is asked after.
const JOINED_EVERY: Duration = Duration::from_millis(250);
/// How long a refusal without Retry-After holds everybody back.
const REFUSED_FOR: Duration = Duration::from_secs(1);
/// What the provider is given beyond our timeout to be done with a call.
const RUNS_ON: Duration = Duration::from_secs(5);

/// One paid call of a task.
pub(crate) struct PaidCall<'a> {
    pub(crate) task_id: &'a str,
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
/// possible loss is on record.
pub(crate) async fn make(
    reach: &Activities,
    ctx: &ActivityContext,
    costly: &Done<Costly>,
    paid: PaidCall<'_>,
) -> Result<GenerateOutput, ActivityError> {
    let PaidCall { task_id, name, prompt, images, answer, reference_key } = paid;
    let settings = reach.provider.settings();
    let reference =
        reach.references.get(reference_key, &reach.storage, &reach.provider).await.map_err(Failure::from)?;
    let idempotency_key = format!("{task_id}/{name}");
    let token = token(reach.limiter.worker());
    let intent = Intent {
        provider_key: reach.limiter.provider_key(),
        token: &token,
        task_id,
        name,
        images,
        idempotency_key: settings.honours_idempotency.then_some(idempotency_key.as_str()),
        timeout: Duration::from_secs(settings.timeout_s) + RUNS_ON,
    };
    let (call_id, pass) = match begin(reach, ctx, &intent).await? {
        Begun::Go { call_id, pass } => (call_id, pass),
        Begun::Done(output) => return Ok(output),
    };
    let began = Instant::now();
    let call =
        Call { prompt, images, answer, reference: &reference, idempotency_key: idempotency_key.clone() };
    let answer = reach.provider.call(&call).await;
    let elapsed_ms = began.elapsed().as_millis() as u64;

    let (end, made) = match answer {
        Ok(Answer::Images { images, billed, left_out, request_id }) => {
            let cost_usd = settings.price_usd(billed);
            tracing::info!(
                task_id,
                call = name,
                images = images.len(),
                elapsed_ms,
                cost_usd,
                request_id,
                left_out,
                "generated"
            );
            match stage(reach, task_id, name, images).await {
                Ok(images) => {
                    let output = GenerateOutput::Generated { images, request_id: request_id.clone() };
                    let outcome = Outcome::Done { result: output.clone(), images_billed: billed, cost_usd };
                    (End { outcome, request_id, failure: None }, Ok(output))
                }
                Err(error) => {
                    let lost = costly.change(|costly| {
                        costly.lost_answers += 1;
                        costly.lost_answers
                    });
                    let failure = Failure::of_lost_answer(error, lost);
                    let outcome = Outcome::Lost { billed: Some((billed, cost_usd)) };
                    (End { outcome, request_id, failure: Some(told(&failure)) }, Err(failure))
                }
            }
        }
        Ok(Answer::Rejected { message, request_id }) => {
            let message = words(&message);
            tracing::info!(task_id, call = name, elapsed_ms, message, request_id, "rejected");
            let output = GenerateOutput::Rejected { message, request_id: request_id.clone() };
            let outcome = Outcome::Done { result: output.clone(), images_billed: 0, cost_usd: 0.0 };
            (End { outcome, request_id, failure: None }, Ok(output))
        }
        Err(error) => {
            let costly = costly.change(|costly| {
                costly.bad_answers += u32::from(matches!(error, Error::BadAnswer { .. }));
                costly.timeouts += u32::from(matches!(error, Error::TimedOut));
                *costly
            });
            let outcome = outcome(&error);
            let failure = Failure::of_call(error, costly);
            let (kind, retry, error) = (failure.kind.as_str(), failure.retry, &failure.message);
            tracing::warn!(task_id, call = name, elapsed_ms, kind, ?retry, error, "call failed");
            (End { outcome, request_id: None, failure: Some(told(&failure)) }, Err(failure))
        }
    };
    record(reach, call_id, &end).await;
    pass.end(match end.outcome {
        Outcome::Ambiguous { may_run: true } => Ended::MayRunOn,
        Outcome::Done { .. }
        | Outcome::Refused { .. }
        | Outcome::Unavailable { .. }
        | Outcome::Failed
        | Outcome::Ambiguous { may_run: false }
        | Outcome::Lost { .. }
        | Outcome::Unsent => Ended::Done,
    });
    Ok(made?)
}

/// What a failed call is to the ledger.
fn outcome(error: &Error) -> Outcome {
    match error {
        Error::Throttled { retry_after, .. } => {
            Outcome::Refused { wait: retry_after.unwrap_or(REFUSED_FOR).min(MAX_WAIT) }
        }
        Error::Unavailable { retry_after, .. } => {
            Outcome::Unavailable { wait: retry_after.map(|wait| wait.min(MAX_WAIT)) }
        }
        Error::Ambiguous { may_run, .. } => Outcome::Ambiguous { may_run: *may_run },
        Error::TimedOut => Outcome::Ambiguous { may_run: true },
        Error::Cut { .. } => Outcome::Ambiguous { may_run: false },
        Error::BadAnswer { .. } | Error::AsyncJob { .. } => Outcome::Lost { billed: None },
        Error::Refused { .. } | Error::BadRequest { .. } | Error::WebPage { .. } => Outcome::Failed,
    }
}

fn told(failure: &Failure) -> (&'static str, String) {
    (failure.kind.as_str(), failure.message.clone())
}

/// May the call be made?
enum Begun {
    Go { call_id: i64, pass: Pass },
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
                asks_again.wait().await;
                continue;
            }
        };
        asks_again = Backoff::default();
        // Then no slot is given either.
        match &verdict {
            Verdict::Wait(wait, _) => limiter.close(*wait),
            Verdict::Rate(wait, _) => limiter.close_for_rate(*wait),
            Verdict::Go { .. }
            | Verdict::Done(_)
            | Verdict::Join(_)
            | Verdict::Later(..)
            | Verdict::Renew
            | Verdict::Stop(_) => {}
        }
        match verdict {
            Verdict::Go { call_id } if ctx.is_cancelled() || asked.elapsed() > SENT_WITHIN => {
                record(reach, call_id, &End { outcome: Outcome::Unsent, request_id: None, failure: None })
                    .await;
            }
            Verdict::Go { call_id } => return Ok(Begun::Go { call_id, pass }),
            Verdict::Done(output) => return Ok(Begun::Done(output)),
            Verdict::Stop(why) => return Err(Failure::of_ended_task(why).into()),
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

/// Closes the call in the ledger, however long the database takes: its slot is not given back before, so that nobody calls in its place.
async fn record(reach: &Activities, call_id: i64, end: &End) {
    let mut tries_again = Backoff::default();
    while let Err(error) = calls::end(&reach.database, call_id, end).await {
        if tries_again.is_fresh() {
            tracing::warn!(call_id, %error, "the call's outcome waits for the database");
        }
        tries_again.wait().await;
    }
    if !tries_again.is_fresh() {
        tracing::info!(call_id, "the call's outcome is recorded");
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

/// Puts bytes that came along into the store: they are paid for, and too large for the history.
async fn stage(
    reach: &Activities,
    task_id: &str,
    name: &str,
    images: Vec<Payload>,
) -> Result<Vec<ImageSource>, storage::Error> {
    let patience = Instant::now() + workflows::options::STAGING_PATIENCE;
    let mut sources = Vec::with_capacity(images.len());
    for (position, image) in images.into_iter().enumerate() {
        sources.push(match image {
            Payload::Url(url) => ImageSource::Url(url),
            Payload::Bytes(bytes) => {
                let key = keys::staged(task_id, name, position);
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
        late::withdraw(reach, task_id, staged.into_iter()).await;
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
