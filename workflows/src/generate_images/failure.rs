//! Failures of activities, as the task records them.

use temporalio_common::error::{ActivityExecutionError, ApplicationFailure, IncomingError};

use crate::failure::FailureKind;
use crate::types::TaskFailure;

/// Returns the kind and the message of an activity's failure.
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
