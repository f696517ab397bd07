//! Pure: how a task ends, from what its batches gave.

use temporalio_common::error::{ActivityExecutionError, ApplicationFailure, IncomingError};

use super::Task;
use super::make::{Made, Stopped};
use crate::failure::FailureKind;
use crate::plan::Batch;
use crate::types::{
    GenerateImagesInput, GenerateImagesOutput, MissingImage, MissingReason, StoredImage, TaskFailure,
    TaskState,
};

/// How a task ends.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) output: GenerateImagesOutput,
    /// Why, where the state is `failed`.
    pub(super) failure: Option<TaskFailure>,
}

impl Ending {
    /// Cancelled while `prepare` was at it: nothing was planned, nothing is missing. Its row says so, lest an attempt at `prepare`
    /// that was paused give it one that says it runs.
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

/// The ending from what each batch gave.
///
/// All there: `completed`, even where a cancel came in the last moment. Cancelled before: `cancelled`. Nothing there, and
/// some batch failed: `failed`. Else `partial`: what is missing was rejected, or there is something to keep.
pub(super) fn ending<'a>(
    task: &Task,
    made: impl Iterator<Item = (&'a Batch, Made)>,
    cancelled: bool,
) -> Ending {
    let mut images = Vec::new();
    let mut missing = Vec::new();
    let mut failure = None;
    for (batch, Made { stored, stopped }) in made {
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

/// The ending where no batch could begin.
pub(super) fn nothing(task: &Task, batches: &[Batch], why: Stopped, cancelled: bool) -> Ending {
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

fn missed(batch: &Batch, position: u32, why: &Stopped) -> MissingImage {
    MissingImage {
        index: batch.first_index + position,
        prompt_index: batch.prompt_index,
        reason: why.reason,
        message: why.message.clone(),
    }
}

/// The kind and words of an activity's failure.
pub(super) fn failure(error: &ActivityExecutionError) -> TaskFailure {
    let application = |failure: &ApplicationFailure, context: String| TaskFailure {
        kind: failure.type_name().and_then(FailureKind::parse).unwrap_or(FailureKind::Internal),
        message: format!("{context}{}", failure.source_error()),
    };
    match error.cause() {
        Some(IncomingError::Application(failure)) => application(failure, String::new()),
        Some(IncomingError::Timeout(timeout)) => {
            let ran_out = format!("out of time ({:?})", timeout.timeout_type());
            match timeout.cause() {
                Some(IncomingError::Application(failure)) => {
                    application(failure, format!("{ran_out}; last: "))
                }
                _ => TaskFailure { kind: FailureKind::Internal, message: ran_out },
            }
        }
        Some(other) => TaskFailure { kind: FailureKind::Internal, message: other.to_string() },
        None => TaskFailure { kind: FailureKind::Internal, message: error.to_string() },
    }
}
