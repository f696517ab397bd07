//! What can go wrong with a task, by what the caller can do.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "Temporal's enums may grow; what is new is told in its own words"
)]

use temporalio_client::errors::{WorkflowGetResultError, WorkflowInteractionError, WorkflowQueryError};
use temporalio_client::tonic::Status;
use temporalio_common::error::IncomingError;
use workflows::failure::FailureKind;
use workflows::types::TaskFailure;

/// An error of the client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The input can't be worked with; nothing was started.
    #[error("invalid input: {0}")]
    InvalidInput(String),
    /// A task of this id was started with other input; nothing was started.
    #[error("task `{task_id}` exists with other input ({}): use a new task_id for another task", fields.join(", "))]
    InputDiffers {
        /// The task.
        task_id: String,
        /// The fields that differ.
        fields: Vec<&'static str>,
    },
    /// The task failed.
    #[error("task `{task_id}` failed: {:?}: {}", failure.kind, failure.message)]
    Failed {
        /// The task.
        task_id: String,
        /// Why.
        failure: TaskFailure,
    },
    /// The task was cancelled before it left a result.
    #[error("task `{task_id}` was cancelled before it left a result")]
    CancelledEarly {
        /// The task.
        task_id: String,
    },
    /// The task was terminated, or outlived its execution timeout: its row tells what is there.
    #[error("task `{task_id}` was ended from outside: {how}")]
    Ended {
        /// The task.
        task_id: String,
        /// What happened.
        how: String,
    },
    /// There is no such task at this Temporal.
    #[error("there is no task `{task_id}`: it was never started here, or its history has been removed")]
    NotFound {
        /// The task.
        task_id: String,
    },
    /// Temporal could not be reached, or refused.
    #[error("Temporal: {0}")]
    Temporal(String),
}

impl Error {
    pub(crate) fn of_result(task_id: &str, error: WorkflowGetResultError) -> Self {
        let task_id = task_id.to_owned();
        match error {
            WorkflowGetResultError::Failed(failure) => {
                let failure = match *failure {
                    IncomingError::Application(failure) => TaskFailure {
                        kind: failure
                            .type_name()
                            .and_then(FailureKind::parse)
                            .unwrap_or(FailureKind::Internal),
                        message: failure.source_error().to_string(),
                    },
                    other => TaskFailure { kind: FailureKind::Internal, message: other.to_string() },
                };
                Self::Failed { task_id, failure }
            }
            WorkflowGetResultError::NotFound(status) => Self::not_found(&task_id, &status),
            WorkflowGetResultError::Terminated { .. } => Self::Ended { task_id, how: "terminated".into() },
            WorkflowGetResultError::TimedOut => Self::Ended { task_id, how: "execution timeout".into() },
            other => Self::Temporal(other.to_string()),
        }
    }

    /// A missing namespace is no missing task.
    fn not_found(task_id: &str, status: &Status) -> Self {
        if status.message().starts_with("Namespace") {
            return Self::Temporal(status.message().to_owned());
        }
        Self::NotFound { task_id: task_id.to_owned() }
    }

    pub(crate) fn of_query(task_id: &str, error: WorkflowQueryError) -> Self {
        match error {
            WorkflowQueryError::NotFound(status) => Self::not_found(task_id, &status),
            WorkflowQueryError::Rpc(status) => Self::Temporal(status.message().to_owned()),
            other => Self::Temporal(other.to_string()),
        }
    }

    pub(crate) fn of_interaction(task_id: &str, error: WorkflowInteractionError) -> Self {
        match error {
            WorkflowInteractionError::NotFound(status) => Self::not_found(task_id, &status),
            WorkflowInteractionError::Rpc(status) => Self::Temporal(status.message().to_owned()),
            other => Self::Temporal(other.to_string()),
        }
    }
}
