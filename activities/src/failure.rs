//! Converts our errors into Temporal's failures, and decides whether another attempt follows.
//! `paid_calls/src/outcome.rs` decides the same for the ends of a paid call.

use std::time::Duration;

use temporalio_common::error::ApplicationFailure;
use temporalio_sdk::activities::{ActivityError, ActivityInfo};
use workflows::failure::{FailureKind, Retry, one_line};

use crate::media::{fetch, photo};
use crate::storage;

/// Shortest wait before another attempt, where a server asks for no wait.
const MIN_WAIT: Duration = Duration::from_millis(250);
/// Number of fetches of a user's photo, after which a failing host is given up.
const MAX_PHOTO_TRIES: u32 = 6;

/// A failed attempt at an activity.
///
/// The type is deliberately no `std::error::Error`, because the SDK turns every foreign error into
/// an untyped, retryable failure on `?`.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) message: String,
    pub(crate) retry: Retry,
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, retry: Retry, message: impl Into<String>) -> Self {
        Self { kind, message: one_line(&message.into()), retry }
    }

    /// Logs the failure of an attempt. Paid calls log theirs in `paid_calls/src/lib.rs`.
    pub(crate) fn logged(self, attempt: &ActivityInfo) -> Self {
        let workflow_id = attempt.workflow_id.as_deref().unwrap_or_default();
        tracing::warn!(
            task_id = workflow_id.strip_prefix("task-").unwrap_or(workflow_id),
            activity = attempt.activity_id,
            attempt = attempt.attempt,
            kind = self.kind.as_str(),
            retry = ?self.retry,
            error = self.message,
            "attempt failed"
        );
        self
    }

    /// Returns the failure of an input that no attempt can work with.
    pub(crate) fn invalid_input(message: impl Into<String>) -> Self {
        Self::new(FailureKind::InvalidInput, Retry::Never, message)
    }

    /// Returns the failure of the `tries`th fetch of the user's photo.
    pub(crate) fn of_photo_url(error: fetch::Error, tries: u32) -> Self {
        use fetch::Error as E;
        let message = format!("photo: {error}");
        let passing = |retry| Self::new(FailureKind::PhotoUnavailable, retry, message.clone());
        match &error {
            E::ForbiddenUrl { .. } | E::TooLarge { .. } => Self::invalid_input(message),
            _ if error.is_refusal() => Self::invalid_input(message),
            E::Status { .. } | E::Unreachable { .. } | E::Cut { .. } if tries >= MAX_PHOTO_TRIES => {
                passing(Retry::Never)
            }
            E::Status { retry_after: Some(wait), .. } => passing(Retry::after(Some(*wait))),
            E::Status { .. } | E::Unreachable { .. } | E::Cut { .. } => passing(Retry::Backoff),
        }
    }

    /// Returns the failure of downloading a generated image whose URL isn't dead.
    pub(crate) fn of_image_url(error: fetch::Error) -> Self {
        let retry = match &error {
            fetch::Error::Status { retry_after: Some(wait), .. } => Retry::after(Some(*wait)),
            fetch::Error::Status { .. }
            | fetch::Error::Unreachable { .. }
            | fetch::Error::Cut { .. }
            | fetch::Error::ForbiddenUrl { .. }
            | fetch::Error::TooLarge { .. } => Retry::Backoff,
        };
        Self::new(FailureKind::ImageUnavailable, retry, error.to_string())
    }

    /// Returns the failure of reading the object that the user named as photo.
    pub(crate) fn of_photo_key(error: storage::Error) -> Self {
        match &error {
            storage::Error::NotFound { .. }
            | storage::Error::KeyRefused { .. }
            | storage::Error::TooLarge { .. } => Self::invalid_input(format!("photo: {error}")),
            storage::Error::Unavailable { .. } => error.into(),
        }
    }
}

impl From<photo::Unusable> for Failure {
    fn from(error: photo::Unusable) -> Self {
        Self::invalid_input(format!("photo: {error}"))
    }
}

impl From<storage::Error> for Failure {
    /// Retries every error with a backoff. Our own objects must be there, so a missing object is
    /// retried like a store that is down, visibly in Temporal.
    fn from(error: storage::Error) -> Self {
        Self::new(FailureKind::StorageUnavailable, Retry::Backoff, error.to_string())
    }
}

impl From<database::Error> for Failure {
    /// Retries every error with a backoff, visibly in Temporal, because the records are paid for.
    fn from(error: database::Error) -> Self {
        Self::new(FailureKind::DatabaseUnavailable, Retry::Backoff, error.to_string())
    }
}

impl From<paid_calls::Failure> for Failure {
    fn from(failure: paid_calls::Failure) -> Self {
        let paid_calls::Failure { kind, message, retry } = failure;
        Self { kind, message, retry }
    }
}

impl From<Failure> for ActivityError {
    fn from(failure: Failure) -> Self {
        let Failure { kind, message, retry } = failure;
        let next_retry_delay = match retry {
            // Temporal reads a delay of 0 as "no retry at all".
            Retry::After(wait) => Some(wait.max(MIN_WAIT)),
            Retry::Never | Retry::Backoff => None,
        };
        let failure = ApplicationFailure::builder(message)
            .type_name(kind.as_str().to_owned())
            .non_retryable(retry == Retry::Never)
            .maybe_next_retry_delay(next_retry_delay)
            .build();
        ActivityError::application(failure)
    }
}
