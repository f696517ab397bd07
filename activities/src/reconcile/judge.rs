//! Decisions of `reconcile`, each from facts alone.

use std::time::Duration;

use database::reconcile::{ImageRow, RunningRow, TaskRow};
use workflows::failure::FailureKind;
use workflows::keys::ObjectKind;
use workflows::plan;
use workflows::reconcile::Finding;
use workflows::types::{GenerateImagesOutput, MissingImage, MissingReason, PlanSpec, TaskFailure, TaskState};

/// State of a task's workflow in Temporal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Workflow {
    Open,
    /// Closed for this long, with this end.
    Closed(Duration, End),
    /// Never started, or forgotten because its history has been removed.
    Unknown,
}

/// End of a closed workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// Closed with a result, so the task was completed, partial or cancelled.
    Result(GenerateImagesOutput),
    Failed(TaskFailure),
    /// Cancelled before there was anything to record.
    Cancelled,
    /// Terminated or timed out, in Temporal's words.
    FromOutside(String),
}

/// Judges a row that says `running`. An open workflow is no finding. A task that may still be
/// started again is reported as `EndedTask`, and not repaired.
pub(super) fn running_row(row: &RunningRow, workflow: &Workflow, min_age: Duration) -> Option<Finding> {
    match workflow {
        Workflow::Open => None,
        Workflow::Closed(_, End::Result(_)) => Some(Finding::UnrecordedTask),
        Workflow::Closed(since, _) if *since < min_age => Some(Finding::EndedTask),
        Workflow::Unknown if row.age < min_age => Some(Finding::EndedTask),
        Workflow::Closed(..) | Workflow::Unknown => Some(Finding::AbandonedTask),
    }
}

/// Returns words that say how a workflow ended.
pub(super) fn end_in_words(workflow: &Workflow) -> String {
    match workflow {
        Workflow::Open => "its workflow is open".into(),
        Workflow::Closed(_, End::Result(output)) => format!("its workflow ended {}", output.state.as_str()),
        Workflow::Closed(_, End::Failed(failure)) => {
            format!("its workflow failed: {}: {}", failure.kind.as_str(), failure.message)
        }
        Workflow::Closed(_, End::Cancelled) => "its workflow was cancelled before it left a result".into(),
        Workflow::Closed(_, End::FromOutside(how)) => format!("its workflow was ended from outside: {how}"),
        Workflow::Unknown => "Temporal knows no workflow of it".into(),
    }
}

/// Returns the end that is recorded for an abandoned task. Every image is missing.
pub(super) fn ending(row: &RunningRow, workflow: &Workflow) -> (GenerateImagesOutput, Option<TaskFailure>) {
    let message = end_in_words(workflow);
    let (state, reason, failure) = match workflow {
        Workflow::Closed(_, End::Cancelled) => (TaskState::Cancelled, MissingReason::Cancelled, None),
        Workflow::Closed(_, End::Failed(failure)) => {
            (TaskState::Failed, MissingReason::Failed, Some(failure.clone()))
        }
        Workflow::Open | Workflow::Closed(..) | Workflow::Unknown => {
            let failure = TaskFailure { kind: FailureKind::Internal, message: message.clone() };
            (TaskState::Failed, MissingReason::Failed, Some(failure))
        }
    };
    // The size of the batches doesn't change which image has which prompt.
    let spec = PlanSpec { name: String::new(), images: row.images_planned, batch_size: 1 };
    let missing = plan::batches(&spec, row.prompts).into_iter().map(|batch| MissingImage {
        index: batch.first_index,
        prompt_index: batch.prompt_index,
        reason,
        message: message.clone(),
    });
    let output = GenerateImagesOutput {
        task_id: row.task_id.clone(),
        state,
        images_planned: row.images_planned,
        images: Vec::new(),
        missing: missing.collect(),
    };
    (output, failure)
}

/// The owner of an object without an image row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Owner {
    /// A task with a row.
    Row(TaskRow),
    /// A task without a row, which has this workflow.
    Workflow(Workflow),
}

/// Judges an object that no image row names, written `age` ago. `trusted` says that bucket and
/// database are known to belong together.
///
/// The age counts from the task's end as well, so that images of a task whose row was closed here
/// stay for as long again.
pub(super) fn object(
    kind: ObjectKind,
    age: Duration,
    owner: &Owner,
    min_age: Duration,
    trusted: bool,
) -> Option<Finding> {
    let finding = if trusted { Finding::StrayObject } else { Finding::UnknownObject };
    let stray = |since: Duration| (age.min(since) >= min_age).then_some(finding);
    match (owner, kind) {
        (Owner::Row(_), ObjectKind::Reference) | (Owner::Row(TaskRow::Running), _) => None,
        (Owner::Row(TaskRow::Ended(since)), _) => stray(*since),
        (Owner::Workflow(Workflow::Open), _) => None,
        // The task gets its row back by its other objects. After that, its staged bytes are stray.
        (Owner::Workflow(Workflow::Closed(_, End::Result(_))), ObjectKind::Staged) => None,
        (Owner::Workflow(Workflow::Closed(_, End::Result(_))), _) => Some(Finding::LostTask),
        (Owner::Workflow(Workflow::Closed(since, _)), _) => stray(*since),
        // The row may have been lost for longer than Temporal keeps histories. The object may be
        // all that is left of the task.
        (Owner::Workflow(Workflow::Unknown), ObjectKind::Image) => {
            (age >= min_age).then_some(Finding::UnknownObject)
        }
        (Owner::Workflow(Workflow::Unknown), _) => stray(Duration::MAX),
    }
}

/// Judges an image row by the size of its object, if it has one.
pub(super) fn image(row: &ImageRow, size_bytes: Option<u64>) -> Option<(Finding, String)> {
    let key = &row.object_key;
    match size_bytes {
        None => Some((Finding::MissingObject, key.clone())),
        Some(size) if size != row.size_bytes => {
            let example = format!("{key}: {size} bytes, its row says {}", row.size_bytes);
            Some((Finding::DifferentObject, example))
        }
        Some(_) => None,
    }
}
