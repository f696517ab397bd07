//! Errors of the client, sorted by what the caller can do.
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
    /// The input can't be used, and nothing was started. The message says what to change.
    #[error("invalid input: {0}")]
    InvalidInput(String),
    /// A task of this id exists with other input, and this call started nothing.
    #[error("task `{task_id}` exists with other input ({}): use a new task_id for another task", fields.join(", "))]
    InputDiffers {
        /// Id of the task.
        task_id: String,
        /// Names of the fields that differ.
        fields: Vec<&'static str>,
    },
    /// The task's workflow has failed.
    #[error("task `{task_id}` failed: {:?}: {}", failure.kind, failure.message)]
    Failed {
        /// Id of the task.
        task_id: String,
        /// Kind of the failure, and its message.
        failure: TaskFailure,
    },
    /// The task was cancelled before it left a result.
    #[error("task `{task_id}` was cancelled before it left a result")]
    CancelledEarly {
        /// Id of the task.
        task_id: String,
    },
    /// The task's workflow was terminated, or outlived its execution timeout. The task's row may
    /// still say `running`, and the same input can be started again.
    #[error("task `{task_id}` was ended from outside: {how}")]
    Ended {
        /// Id of the task.
        task_id: String,
        /// Either `terminated` or `execution timeout`.
        how: String,
    },
    /// Temporal knows no such task in this namespace.
    #[error("there is no task `{task_id}`: it was never started here, or its history has been removed")]
    NotFound {
        /// Id of the task.
        task_id: String,
    },
    /// Temporal could not be reached, or refused the request.
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

    /// Tells a missing task from a missing namespace, for which Temporal also answers NotFound.
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
