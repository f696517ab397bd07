//! Decides how a task ends from the results of its batches, as pure code.

use super::Task;
use super::job::{JobResult, StopReason};
use crate::failure::FailureKind;
use crate::plan::Batch;
use crate::types::{
    GenerateImagesInput, GenerateImagesOutput, MissingImage, MissingReason, StoredImage, TaskFailure,
    TaskState,
};

/// End of a task that is to be recorded.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) output: GenerateImagesOutput,
    /// The failure, if the state is `failed`.
    pub(super) failure: Option<TaskFailure>,
}

impl Ending {
    /// Returns the end of a task that was cancelled during `prepare`. Nothing was planned, and
    /// nothing is missing.
    ///
    /// The end goes on record. Otherwise a paused attempt at `prepare` could later give the task a
    /// row that says `running`.
    pub(super) fn before_it_began(request: &GenerateImagesInput) -> Self {
        let output = GenerateImagesOutput {
            task_id: request.task_id.clone(),
            state: TaskState::Cancelled,
            images_planned: 0,
            images: Vec::new(),
            missing: Vec::new(),
        };
        Self { output, failure: None }
    }
}

/// Decides the end of a task from the result of each batch. The first state that fits holds:
///
/// - `completed`: every image is stored, even if a cancel came in the last moment.
/// - `cancelled`: images are missing, and the task was cancelled.
/// - `failed`: no image is stored, and some are missing for another reason than a rejection.
/// - `partial`: some images are stored, or all were rejected.
pub(super) fn ending<'a>(
    task: &Task,
    made: impl Iterator<Item = (&'a Batch, JobResult)>,
    cancelled: bool,
) -> Ending {
    let mut images = Vec::new();
    let mut missing = Vec::new();
    let mut failure = None;
    for (batch, JobResult { stored, stopped }) in made {
        let mut positions: Vec<u32> = (0..batch.images).collect();
        for (position, object) in stored {
            let index = batch.first_index + position as u32;
            positions.retain(|&other| other != position as u32);
            images.push(StoredImage { index, prompt_index: batch.prompt_index, object });
        }
        if let Some(stopped) = stopped {
            missing.extend(positions.iter().map(|position| missed(batch, *position, &stopped)));
            failure = failure.or(stopped.failure);
        }
    }
    let only_rejected = missing.iter().all(|image| image.reason == MissingReason::Rejected);
    let state = if missing.is_empty() {
        TaskState::Completed
    } else if cancelled {
        TaskState::Cancelled
    } else if images.is_empty() && !only_rejected {
        TaskState::Failed
    } else {
        TaskState::Partial
    };
    conclude(task, state, images, missing, failure)
}

/// Returns the end of a task whose batches could not begin.
pub(super) fn nothing(task: &Task, batches: &[Batch], why: StopReason, cancelled: bool) -> Ending {
    let missing = batches
        .iter()
        .flat_map(|batch| (0..batch.images).map(|position| missed(batch, position, &why)))
        .collect();
    let state = if cancelled { TaskState::Cancelled } else { TaskState::Failed };
    conclude(task, state, Vec::new(), missing, why.failure)
}

fn conclude(
    task: &Task,
    state: TaskState,
    images: Vec<StoredImage>,
    missing: Vec<MissingImage>,
    failure: Option<TaskFailure>,
) -> Ending {
    let failure = (state == TaskState::Failed).then(|| {
        let first = missing.first().map(|image| image.message.clone()).unwrap_or_default();
        failure.unwrap_or(TaskFailure { kind: FailureKind::Malformed, message: first })
    });
    let task_id = task.request.task_id.clone();
    let images_planned = task.prepared.plan.images;
    let output = GenerateImagesOutput { task_id, state, images_planned, images, missing };
    Ending { output, failure }
}

fn missed(batch: &Batch, position: u32, why: &StopReason) -> MissingImage {
    MissingImage {
        index: batch.first_index + position,
        prompt_index: batch.prompt_index,
        reason: why.reason,
        message: why.message.clone(),
    }
}
