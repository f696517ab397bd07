//! Prepare: is this a task we can do, and have we done it already?

use workflows::failure::FailureKind;
use workflows::keys;
use workflows::types::{GenerateImagesInput, PlanSpec, PrepareInput, PrepareOutput, Prepared, TaskState};

use crate::failure::{Failure, Retry};
use crate::heartbeat::Done;
use crate::{Activities, photo, plans};

/// Checks the input, stores a checked copy of the photo and gives the task its row, in this order.
///
/// Returned `Ready`: the photo is stored and the row exists, running. `Finished`: the task ended before, with this result.
/// Failed: there is no row, unless there was one before; a copy of the photo may exist.
/// Twice: the row tells that the photo is there already; the answer is the same.
pub(crate) async fn prepare(
    reach: &Activities,
    photo_tries: &Done<u32>,
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
        let checked = checked_photo(reach, photo_tries, &request).await?;
        reach.storage.put(&photo_key, "image/jpeg", checked.bytes.into()).await?;
    }
    database::tasks::begin(&reach.database, &request, plan.images).await?;
    let route = reach.provider.settings().route.clone();
    Ok(PrepareOutput::Ready(Prepared { plan, route, photo_key }))
}

/// The plan's numbers, as configured now: from here on they are the task's own.
fn plan(reach: &Activities, request: &GenerateImagesInput) -> Result<PlanSpec, Failure> {
    let batch_size = reach.batch_size.min(reach.provider.settings().images_per_call());
    plans::resolve(&reach.plans, batch_size, request).map_err(Failure::invalid_input)
}

async fn checked_photo(
    reach: &Activities,
    photo_tries: &Done<u32>,
    request: &GenerateImagesInput,
) -> Result<photo::CheckedPhoto, Failure> {
    let limit = reach.fetch.max_photo_bytes;
    let bytes = if request.photo_is_url() {
        let of = |error| {
            let tries = photo_tries.change(|tries| {
                *tries += 1;
                *tries
            });
            Failure::of_photo_url(error, tries)
        };
        reach.fetcher.get(&request.photo, limit).await.map_err(of)?.bytes().await.map_err(of)?
    } else {
        reach.storage.get(&request.photo, limit).await.map_err(Failure::of_photo_key)?
    };
    // Decoding takes up to a second of CPU, and up to 600 MB.
    let closed = |_| Failure::new(FailureKind::Internal, Retry::Backoff, "the worker stops");
    let _permit = reach.decoding.acquire().await.map_err(closed)?;
    match tokio::task::spawn_blocking(move || photo::check(&bytes)).await {
        Ok(checked) => Ok(checked?),
        // The same bytes would do it again.
        Err(error) if error.is_panic() => Err(Failure::invalid_input("photo: it can't be decoded")),
        Err(error) => {
            let message = format!("checking the photo broke off: {error}");
            Err(Failure::new(FailureKind::Internal, Retry::Backoff, message))
        }
    }
}
