//! Prepare: is this a task we can do, and have we done it already?

use std::sync::Arc;

use database::tasks::Lanes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use temporalio_sdk::activities::ActivityContext;
use workflows::failure::FailureKind;
use workflows::keys;
use workflows::types::{
    GenerateImagesInput, Lane, PlanSpec, PrepareInput, PrepareOutput, Prepared, TaskState,
};

use crate::failure::{Failure, Retry};
use crate::fingerprint::hex;
use crate::heartbeat::Done;
use crate::{Activities, photo, plans};

/// Attempts that may die while they decode a photo. One may have died of something else.
const MAX_DEADLY_DECODINGS: u32 = 2;

/// Troubles that earlier attempts had with the photo; kept in the heartbeat.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PhotoTries {
    /// Fetches that failed.
    fetches: u32,
    /// Decodings that have begun and not ended. Earlier attempts died within theirs.
    decodings: u32,
}

/// Checks the input, stores a checked copy of the photo and gives the task its row, in this order.
///
/// Returned `Ready`: the photo is stored and the row exists, running. `Finished`: the task ended before, with this result.
/// Failed: there is no row, unless there was one before; a copy of the photo may exist.
/// Twice: the row tells that the photo is there already; the answer is the same.
pub(crate) async fn prepare(
    reach: &Activities,
    ctx: &ActivityContext,
    photo_tries: &Done<PhotoTries>,
    input: PrepareInput,
) -> Result<PrepareOutput, Failure> {
    let request = input.request;
    let recorded = database::tasks::find(&reach.database, &request.task_id).await?;
    let is_new = recorded.is_none();
    if let Some(task) = recorded {
        let differences = task.input.differences(&request);
        if !differences.is_empty() {
            let message = format!(
                "task `{}` exists with other input ({}): use a new task_id for another task",
                request.task_id,
                differences.join(", ")
            );
            return Err(Failure::new(FailureKind::InputDiffers, Retry::Never, message));
        }
        if task.output.state != TaskState::Running {
            return Ok(PrepareOutput::Finished { output: task.output, failure: task.failure });
        }
    }
    let plan = plan(reach, &request)?;
    let photo_key = keys::photo(&request.task_id);
    if is_new {
        let checked = checked_photo(reach, ctx, photo_tries, &request).await?;
        reach.storage.put(&photo_key, "image/jpeg", checked.bytes.into()).await?;
    }
    let lanes = lanes(reach, &request);
    let lane = database::tasks::begin(&reach.database, &request, plan.images, lanes.as_ref()).await?;
    let route = reach.provider.settings().route.clone();
    Ok(PrepareOutput::Ready(Prepared { plan, route, photo_key, lane: lane.unwrap_or_default() }))
}

/// The lanes that the task may get, as configured now. Which one it gets is decided with its row, and pinned in the history.
fn lanes(reach: &Activities, request: &GenerateImagesInput) -> Option<Lanes> {
    let plan = reach.plans.get(&request.plan)?;
    let user = hex(&Sha256::digest(&request.user_id));
    Some(Lanes {
        plan: Lane { key: keys::plan_lane(&request.plan), weight: plan.weight },
        tasks_in_plan: plan.tasks_in_lane,
        user: Lane { key: keys::user_lane(&user), weight: USER_LANE_WEIGHT },
    })
}

/// The weight of a user's own lane; the plans' are at least as heavy.
const USER_LANE_WEIGHT: f32 = 1.0;

/// The plan's numbers, as configured now: from here on they are the task's own.
fn plan(reach: &Activities, request: &GenerateImagesInput) -> Result<PlanSpec, Failure> {
    let batch_size = reach.batch_size.min(reach.provider.settings().images_per_call());
    plans::resolve(&reach.plans, batch_size, request).map_err(Failure::invalid_input)
}

async fn checked_photo(
    reach: &Activities,
    ctx: &ActivityContext,
    photo_tries: &Done<PhotoTries>,
    request: &GenerateImagesInput,
) -> Result<photo::CheckedPhoto, Failure> {
    let deaths = photo_tries.get().decodings;
    if deaths >= MAX_DEADLY_DECODINGS {
        let message = format!(
            "photo: {deaths} attempts ended while they decoded it, as their worker died or their time ran out"
        );
        return Err(Failure::invalid_input(message));
    }
    let limit = reach.fetch.max_photo_bytes;
    let bytes = if request.photo_is_url() {
        let of = |error| {
            let tries = photo_tries.change(|tries| {
                tries.fetches += 1;
                tries.fetches
            });
            Failure::of_photo_url(error, tries)
        };
        reach.fetcher.get(&request.photo, limit).await.map_err(of)?.bytes().await.map_err(of)?
    } else {
        reach.storage.get(&request.photo, limit).await.map_err(Failure::of_photo_key)?
    };
    let closed = |_| Failure::new(FailureKind::Internal, Retry::Backoff, "the worker stops");
    let permit = Arc::clone(&reach.decoding).acquire_owned().await.map_err(closed)?;
    photo_tries.note(ctx, |tries| tries.decodings += 1).await;
    let decoding = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        photo::check(&bytes)
    });
    let checked = decoding.await;
    photo_tries.note(ctx, |tries| tries.decodings -= 1).await;
    match checked {
        Ok(checked) => Ok(checked?),
        // The same bytes would do it again.
        Err(error) if error.is_panic() => Err(Failure::invalid_input("photo: it can't be decoded")),
        Err(error) => {
            let message = format!("checking the photo broke off: {error}");
            Err(Failure::new(FailureKind::Internal, Retry::Backoff, message))
        }
    }
}
