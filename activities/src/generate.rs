//! Generate: one paid call for the images of a batch.

use std::time::{Duration, Instant};

use temporalio_sdk::activities::ActivityContext;
use workflows::keys;
use workflows::types::{GenerateInput, GenerateOutput, ImageSource};

use crate::failure::{Costly, Failure, words};
use crate::heartbeat::Done;
use crate::provider::{Answer, AnswerFormat, Call, Payload};
use crate::{Activities, late, provider, storage};

/// Has a batch's images generated.
///
/// Returned: every image lies at the URL or under the staging key named; nothing of the answer is lost any more.
/// Failed: no image of this attempt is kept. `Unavailable`, `Throttled`, `Refused`: nothing was billed. `Ambiguous`,
/// `Malformed`: it may have been.
/// Twice: the provider is asked twice, under the same idempotency key; staged bytes are overwritten by their like.
pub(crate) async fn generate(
    reach: &Activities,
    ctx: &ActivityContext,
    costly: &Done<Costly>,
    input: GenerateInput,
) -> Result<GenerateOutput, Failure> {
    let name = keys::call(input.batch, input.part);
    let paid = PaidCall {
        task_id: &input.task_id,
        name: &name,
        prompt: &input.prompt,
        images: input.images,
        answer: reach.provider.settings().answer(),
        reference_key: &input.reference_key,
    };
    call(reach, ctx, costly, paid).await
}

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

/// Makes the call, and makes its answer safe before anything else happens.
///
/// A cancel does not interrupt it: it is paid for from the moment it is sent.
pub(crate) async fn call(
    reach: &Activities,
    ctx: &ActivityContext,
    costly: &Done<Costly>,
    paid: PaidCall<'_>,
) -> Result<GenerateOutput, Failure> {
    let PaidCall { task_id, name, prompt, images, answer, reference_key } = paid;
    let attempt = ctx.info().attempt;
    let reference = reach.references.get(reference_key, &reach.storage, &reach.provider).await?;
    let idempotency_key = format!("{task_id}/{name}");
    let began = Instant::now();
    let answer =
        reach.provider.call(&Call { prompt, images, answer, reference: &reference, idempotency_key }).await;
    let elapsed_ms = began.elapsed().as_millis() as u64;

    match answer {
        Ok(Answer::Images { images, request_id }) => {
            let settings = reach.provider.settings();
            let cost_usd = settings.price_per_call_usd + settings.price_per_image_usd * images.len() as f64;
            tracing::info!(
                task_id,
                call = name,
                attempt,
                images = images.len(),
                elapsed_ms,
                cost_usd,
                request_id,
                "generated"
            );
            let images = stage(reach, task_id, name, images).await.map_err(|error| {
                Failure::of_lost_answer(
                    error,
                    costly.change(|costly| {
                        costly.lost_answers += 1;
                        costly.lost_answers
                    }),
                )
            })?;
            Ok(GenerateOutput::Generated { images, request_id })
        }
        Ok(Answer::Rejected { message, request_id }) => {
            let message = words(&message);
            tracing::info!(task_id, call = name, attempt, elapsed_ms, message, request_id, "rejected");
            Ok(GenerateOutput::Rejected { message, request_id })
        }
        Err(error) => {
            let costly = costly.change(|costly| {
                costly.bad_answers += u32::from(matches!(error, provider::Error::BadAnswer { .. }));
                costly.timeouts += u32::from(matches!(error, provider::Error::TimedOut));
                *costly
            });
            let failure = Failure::of_call(error, costly);
            tracing::warn!(
                task_id,
                call = name,
                attempt,
                elapsed_ms,
                kind = failure.kind.as_str(),
                retry = ?failure.retry,
                error = failure.message,
                "call failed"
            );
            Err(failure)
        }
    }
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
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(10));
    }
}
