//! Our errors → Temporal's failures: the only place that decides whether, and when, something is tried again.

use std::time::Duration;

use temporalio_common::error::ApplicationFailure;
use temporalio_sdk::activities::ActivityError;
use workflows::failure::FailureKind;

use crate::{fetch, photo, provider, storage};

/// The longest a provider's Retry-After is obeyed.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(60);
/// The shortest, where it says "now".
const MIN_WAIT: Duration = Duration::from_millis(250);
/// When a refused call is tried again. Where it is the account that is refused, the key is closed for longer.
pub(crate) const REFUSED_WAIT: Duration = Duration::from_secs(5);
/// Tries at a user's photo whose host doesn't answer.
const MAX_PHOTO_TRIES: u32 = 6;

/// A failed attempt at an activity.
///
/// Deliberately not a `std::error::Error`: the SDK turns every foreign error into an untyped, retryable failure on `?`.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) message: String,
    pub(crate) retry: Retry,
}

/// Foreign words, fit for a history, a database and a terminal: one line of at most 500 characters.
pub(crate) fn words(text: &str) -> String {
    let mut chars = text.chars().map(|char| if char.is_control() { ' ' } else { char });
    let mut words: String = chars.by_ref().take(500).collect();
    if chars.next().is_some() {
        words.push('…');
    }
    words
}

/// Whether to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    /// It can't get better.
    Never,
    /// After the activity's own backoff.
    Backoff,
    /// After this long.
    After(Duration),
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, retry: Retry, message: impl Into<String>) -> Self {
        Self { kind, message: words(&message.into()), retry }
    }

    /// The input can't be worked with.
    pub(crate) fn invalid_input(message: impl Into<String>) -> Self {
        Self::new(FailureKind::InvalidInput, Retry::Never, message)
    }

    /// A paid call failed. The ledger counts how often that may have been billed, and stops it.
    pub(crate) fn of_call(error: provider::Error) -> Self {
        use provider::Error as E;
        let after = |wait: Option<Duration>| match wait {
            Some(wait) => Retry::After(wait.min(MAX_WAIT)),
            None => Retry::Backoff,
        };
        let (kind, retry) = match &error {
            E::Throttled { retry_after, .. } => (FailureKind::Throttled, after(*retry_after)),
            E::Unavailable { retry_after, .. } => (FailureKind::Unavailable, after(*retry_after)),
            E::Ambiguous { .. } | E::Cut { .. } | E::TimedOut => (FailureKind::Ambiguous, Retry::Backoff),
            E::Refused { .. } => (FailureKind::Refused, Retry::After(REFUSED_WAIT)),
            E::BadRequest { .. } | E::AsyncJob { .. } | E::WebPage { .. } => {
                (FailureKind::Malformed, Retry::Never)
            }
            E::BadAnswer { .. } => (FailureKind::Malformed, Retry::Backoff),
        };
        Self::new(kind, retry, error.to_string())
    }

    /// The provider key takes no call now: its place in the queue is given back for so long.
    pub(crate) fn of_limit(wait: Duration, why: &str) -> Self {
        let message = format!("the provider key takes no call now: {why}");
        Self::new(FailureKind::Throttled, Retry::After(wait.min(MAX_WAIT)), message)
    }

    /// The call is not to be made yet: its place in the queue is given back for so long.
    pub(crate) fn of_wait(wait: Duration, why: &str) -> Self {
        Self::new(FailureKind::Unavailable, Retry::After(wait.min(MAX_WAIT)), format!("not yet: {why}"))
    }

    /// The call is of a task that needs it no more.
    pub(crate) fn of_ended_task(why: String) -> Self {
        Self::new(FailureKind::Internal, Retry::Never, why)
    }

    /// As many calls of this name as may be gave no result, and each may have been billed.
    pub(crate) fn of_spent_call(why: &str) -> Self {
        Self::new(FailureKind::Ambiguous, Retry::Never, format!("the call is not made again: {why}"))
    }

    /// What the provider gave can't be recorded: the call is closed without it.
    pub(crate) fn of_unrecorded_answer() -> Self {
        let message = "the provider's answer holds what the database can't: its images are lost";
        Self::new(FailureKind::Malformed, Retry::Backoff, message)
    }

    /// The database can't hold what is to be recorded of a call: it is not made.
    pub(crate) fn of_unwritable_call(error: &database::Error) -> Self {
        Self::new(FailureKind::Internal, Retry::Never, error.to_string())
    }

    /// The bytes of an answer could not be put into the store.
    pub(crate) fn of_lost_answer(error: &storage::Error) -> Self {
        let message = format!("paid images are lost: {error}");
        Self::new(FailureKind::StorageUnavailable, Retry::Backoff, message)
    }

    /// The user's photo could not be fetched, for the `tries`th time.
    pub(crate) fn of_photo_url(error: fetch::Error, tries: u32) -> Self {
        use fetch::Error as E;
        let message = format!("photo: {error}");
        let passing = |retry| Self::new(FailureKind::PhotoUnavailable, retry, message.clone());
        match error {
            E::Refused { .. } | E::TooLarge { .. } => Self::invalid_input(message),
            E::Status { status: 400..=407 | 409..=428 | 430..=499, .. } => Self::invalid_input(message),
            E::Status { .. } | E::Unreachable { .. } | E::Cut { .. } if tries >= MAX_PHOTO_TRIES => {
                passing(Retry::Never)
            }
            E::Status { retry_after: Some(wait), .. } => passing(Retry::After(wait.min(MAX_WAIT))),
            E::Status { .. } | E::Unreachable { .. } | E::Cut { .. } => passing(Retry::Backoff),
        }
    }

    /// A generated image could not be downloaded, though its URL isn't dead.
    pub(crate) fn of_image_url(error: fetch::Error) -> Self {
        let retry = match &error {
            fetch::Error::Status { retry_after: Some(wait), .. } => Retry::After((*wait).min(MAX_WAIT)),
            fetch::Error::Status { .. }
            | fetch::Error::Unreachable { .. }
            | fetch::Error::Cut { .. }
            | fetch::Error::Refused { .. }
            | fetch::Error::TooLarge { .. } => Retry::Backoff,
        };
        Self::new(FailureKind::ImageUnavailable, retry, error.to_string())
    }

    /// The object that the user named as photo could not be read.
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
    /// Of our own objects, which must be there: a missing one is tried again, visibly, like a store that is down.
    fn from(error: storage::Error) -> Self {
        Self::new(FailureKind::StorageUnavailable, Retry::Backoff, error.to_string())
    }
}

impl From<database::Error> for Failure {
    /// Always worth another try, visibly: what is recorded there is paid for.
    fn from(error: database::Error) -> Self {
        Self::new(FailureKind::DatabaseUnavailable, Retry::Backoff, error.to_string())
    }
}

impl From<Failure> for ActivityError {
    fn from(failure: Failure) -> Self {
        let Failure { kind, message, retry } = failure;
        let next_retry_delay = match retry {
            // Temporal takes a delay of 0 for "no retry at all".
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_words_are_one_short_line() {
        assert_eq!(words("a\0b\nc\u{1b}[31m"), "a b c [31m");
        assert_eq!(words(&"ж".repeat(501)).chars().count(), 501);
        assert_eq!(words(&"ж".repeat(500)).chars().count(), 500);
    }

    #[test]
    fn a_wait_is_obeyed_up_to_a_minute() {
        let wait = Some(Duration::from_secs(3600));
        let throttled = provider::Error::Throttled { retry_after: wait, message: String::new() };
        assert_eq!(Failure::of_call(throttled).retry, Retry::After(MAX_WAIT));
    }
}
