//! The step `prepare` checks that a task can be done, and that it hasn't ended already.

use std::sync::Arc;

use database::tasks::Lanes;
use sha2::{Digest, Sha256};
use temporalio_sdk::activities::ActivityContext;
use workflows::failure::FailureKind;
use workflows::heartbeats::PhotoTries;
use workflows::keys;
use workflows::types::{
    GenerateImagesInput, Lane, PlanSpec, PrepareInput, PrepareOutput, Prepared, TaskState,
};

use workflows::failure::Retry;

use crate::failure::Failure;
use crate::heartbeat::Checkpoint;
use crate::media::photo;
use crate::request::hex;
use crate::{TaskSteps, plans};

/// Number of attempts that ended while decoding a photo, after which the photo counts as invalid. A
/// single attempt may have ended for another reason.
const MAX_DEADLY_DECODINGS: u32 = 2;

/// Checks the input, stores a checked copy of the photo and gives the task its row, in this order.
///
/// `Ready` means that the photo is stored and that the row exists and says `running`. `Finished`
/// has the result of a task that ended before. A failed attempt may leave a copy of the photo. The
/// row is the last thing that an attempt makes. A second execution finds the row and leaves the
/// photo alone. A second execution returns the same lane. The plan's numbers are those of the
/// configuration at that time. If the task ended meanwhile, the row is final, and the answer has no
/// lane.
pub(crate) async fn prepare(
    env: &TaskSteps,
    ctx: &ActivityContext,
    photo_tries: &Checkpoint<PhotoTries>,
    input: PrepareInput,
) -> Result<PrepareOutput, Failure> {
    let request = input.request;
    let recorded = database::tasks::find(&env.database, &request.task_id).await?;
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
    let plan = plan(env, &request)?;
    let photo_key = keys::photo(&request.task_id);
    if is_new {
        let checked = checked_photo(env, ctx, photo_tries, &request).await?;
        env.storage.put(&photo_key, "image/jpeg", checked.bytes.into()).await?;
    }
    let lanes = lanes(env, &request);
    let lane = database::tasks::begin(&env.database, &request, plan.images, lanes.as_ref()).await?;
    let route = env.provider.route.clone();
    Ok(PrepareOutput::Ready(Prepared { plan, route, photo_key, lane: lane.unwrap_or_default() }))
}

/// Returns the lanes between which `begin_task` decides, as configured now. The decision is
/// recorded in the task's row and pinned in the history.
fn lanes(env: &TaskSteps, request: &GenerateImagesInput) -> Option<Lanes> {
    let plan = env.plans.get(&request.plan)?;
    let user = hex(&Sha256::digest(&request.user_id));
    Some(Lanes {
        plan: Lane { key: keys::plan_lane(&request.plan), weight: plan.weight },
        tasks_in_plan: plan.tasks_in_lane,
        user: Lane { key: keys::user_lane(&user), weight: USER_LANE_WEIGHT },
    })
}

/// Weight of a user's own lane. No plan may have a smaller weight.
const USER_LANE_WEIGHT: f32 = 1.0;

/// Returns the plan's numbers as configured now. The history pins these numbers for the task.
fn plan(env: &TaskSteps, request: &GenerateImagesInput) -> Result<PlanSpec, Failure> {
    let batch_size = env.batch_size.min(env.provider.images_per_call());
    plans::resolve(&env.plans, batch_size, request).map_err(Failure::invalid_input)
}

async fn checked_photo(
    env: &TaskSteps,
    ctx: &ActivityContext,
    photo_tries: &Checkpoint<PhotoTries>,
    request: &GenerateImagesInput,
) -> Result<photo::CheckedPhoto, Failure> {
    let deaths = photo_tries.get().decodings;
    if deaths >= MAX_DEADLY_DECODINGS {
        let message = format!(
            "photo: {deaths} attempts ended while they decoded it, as their worker died or their time ran out"
        );
        return Err(Failure::invalid_input(message));
    }
    let limit = env.fetch.max_photo_bytes;
    let bytes = if request.photo_is_url() {
        let of = |error| {
            let tries = photo_tries.change(|tries| {
                tries.fetches += 1;
                tries.fetches
            });
            Failure::of_photo_url(error, tries)
        };
        env.fetcher.get(&request.photo, limit).await.map_err(of)?.bytes().await.map_err(of)?
    } else {
        env.storage.get(&request.photo, limit).await.map_err(Failure::of_photo_key)?
    };
    let closed = |_| Failure::new(FailureKind::Internal, Retry::Backoff, "the worker stops");
    let permit = Arc::clone(&env.decoding).acquire_owned().await.map_err(closed)?;
    photo_tries.note(ctx, |tries| tries.decodings += 1).await;
    let decoding = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        photo::check(&bytes)
    });
    let checked = decoding.await;
    photo_tries.note(ctx, |tries| tries.decodings -= 1).await;
    match checked {
        Ok(checked) => Ok(checked?),
        // The bytes made the decoder panic. Another attempt would panic too.
        Err(error) if error.is_panic() => Err(Failure::invalid_input("photo: it can't be decoded")),
        Err(error) => {
            let message = format!("checking the photo broke off: {error}");
            Err(Failure::new(FailureKind::Internal, Retry::Backoff, message))
        }
    }
}
