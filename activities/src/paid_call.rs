//! Sends the request of a paid call, and stages the bytes of its answer. `paid_calls/` decides when
//! the call may be made, and records the call.

use std::time::{Duration, Instant};

use paid_calls::outcome::Bill;
use paid_calls::{Attempt, Failed, NotMade, Outcome};
use sha2::{Digest, Sha256};
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use tokio::time::sleep;
use workflows::keys;
use workflows::types::{GenerateOutput, ImageSource};

use crate::failure::Failure;
use crate::provider::{Answer, Call, Payload};
use crate::request::{PaidCall, fingerprint, hex};
use crate::{PaidSteps, orphans, storage};

/// Time after our timeout during which the provider may still be executing the call.
const RUNS_ON: Duration = Duration::from_secs(5);

/// Makes the call, unless it was made already, and stages the answer's bytes before anything else
/// happens.
///
/// After a return, the call is closed in the ledger with this result, by this attempt or another. A
/// failure means that the call was not made, or is closed in the ledger. A closed call that failed
/// may have been billed. A second attempt joins the first while the first one's worker lives. Else
/// it repeats the call under the same idempotency key, and has the possible loss on record. Only
/// the same request joins, or gets a recorded result.
pub(crate) async fn make(
    env: &PaidSteps,
    ctx: &ActivityContext,
    paid: PaidCall<'_>,
) -> Result<GenerateOutput, ActivityError> {
    let settings = env.provider.settings();
    let reference =
        env.references.get(paid.reference_key, &env.storage, &env.provider).await.map_err(Failure::from)?;
    let fingerprint = fingerprint(settings, &paid, &reference);
    let call = paid_calls::Call {
        task_id: paid.task_id,
        user_id: paid.user_id,
        plan: paid.plan,
        name: paid.name,
        images: paid.images,
        fingerprint: &fingerprint,
        honours_idempotency: settings.honours_idempotency,
        timeout: Duration::from_secs(settings.timeout_s) + RUNS_ON,
        max_billed_failures: settings.max_billed_failures,
    };
    let work = async |attempt: &Attempt| {
        let request = Call {
            prompt: paid.prompt,
            images: paid.images,
            answer: paid.answer,
            reference: &reference,
            idempotency_key: attempt.idempotency_key.clone(),
        };
        match env.provider.call(&request).await {
            Ok(answer) => made_safe(env, &call, attempt, answer).await,
            Err(failed) => Outcome::Failed(failed),
        }
    };
    match env.paid_calls.once(&call, || ctx.is_cancelled(), work).await {
        Ok(output) => Ok(output),
        Err(NotMade::Cancelled) => Err(ActivityError::cancelled()),
        Err(NotMade::Failed(failure)) => Err(Failure::from(failure).into()),
    }
}

/// Returns the outcome of an answered call once the images that came as bytes are in the store.
async fn made_safe(
    env: &PaidSteps,
    call: &paid_calls::Call<'_>,
    attempt: &Attempt,
    answer: Answer,
) -> Outcome {
    match answer {
        Answer::Rejected { message, request_id } => Outcome::Rejected { message, request_id },
        Answer::Images { images, billed, left_out, request_id } => {
            // Some providers bill a call that gave no image, and others don't. None of them says
            // so.
            let price = || (billed, env.provider.settings().price_usd(billed));
            let billed: Option<Bill> = (!images.is_empty()).then(price);
            match stage(env, call, attempt, images).await {
                Ok(images) => Outcome::Generated { images, billed, request_id, left_out },
                Err(error) => Outcome::Failed(Failed::Unstored { message: error.to_string(), billed }),
            }
        }
    }
}

/// Puts the bytes that came with an answer into the store, because they are paid for, and too large
/// for the history. Each attempt has keys of its own. So an attempt that was taken over and its
/// successor never write to one key.
async fn stage(
    env: &PaidSteps,
    call: &paid_calls::Call<'_>,
    attempt: &Attempt,
    images: Vec<Payload>,
) -> Result<Vec<ImageSource>, storage::Error> {
    let patience = Instant::now() + workflows::options::STAGING_PATIENCE;
    let attempt = &hex(&Sha256::digest(&attempt.token))[..16];
    let mut sources = Vec::with_capacity(images.len());
    for (position, image) in images.into_iter().enumerate() {
        sources.push(match image {
            Payload::Url(url) => ImageSource::Url(url),
            Payload::Bytes(bytes) => {
                let key = keys::staged(call.task_id, call.name, attempt, position);
                put_until(env, &key, bytes, patience).await?;
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
        orphans::delete_if_task_ended(&env.database, &env.storage, call.task_id, staged.into_iter()).await;
    }
    Ok(sources)
}

/// Repeats a PUT until `patience` is over. Temporal doesn't repeat it, because the activity's next
/// attempt would pay again.
async fn put_until(
    env: &PaidSteps,
    key: &str,
    bytes: bytes::Bytes,
    patience: Instant,
) -> Result<(), storage::Error> {
    let mut wait = Duration::from_millis(250);
    loop {
        match env.storage.put(key, "application/octet-stream", bytes.clone()).await {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() + wait > patience => return Err(error),
            Err(error) => tracing::warn!(key, %error, "paid bytes wait for the store"),
        }
        sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(10));
    }
}
