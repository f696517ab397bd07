//! The kinds of failure that cross the wire, as the `type` of a Temporal failure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Longest Retry-After that Darkroom obeys. A longer one is cut to this.
pub const MAX_WAIT: Duration = Duration::from_secs(60);

/// Decision whether, and when, a failed attempt is made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// No further attempt is made, because another attempt fails the same way.
    Never,
    /// Another attempt is made after the backoff of the activity's retry policy.
    Backoff,
    /// Another attempt is made after this time.
    After(Duration),
}

impl Retry {
    /// Returns `After` with the requested wait, cut to [`MAX_WAIT`]. Returns `Backoff` if no wait
    /// is requested.
    pub fn after(wait: Option<Duration>) -> Self {
        wait.map_or(Self::Backoff, |wait| Self::After(wait.min(MAX_WAIT)))
    }
}

/// Makes a foreign text fit for a history, a database and a terminal. Control characters become
/// spaces, and a text of more than 500 characters is cut and ends with `…`.
pub fn one_line(text: &str) -> String {
    let mut chars = text.chars().map(|char| if char.is_control() { ' ' } else { char });
    let mut words: String = chars.by_ref().take(500).collect();
    if chars.next().is_some() {
        words.push('…');
    }
    words
}

/// Kind of a failure. The name is the failure's `type` in Temporal and `failure_kind` in the
/// database.
///
/// docs/operations.md says for each kind what the kind means, what the system does and what you do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub enum FailureKind {
    /// The input or its photo can't be used. The message says what to change. Darkroom never
    /// retries this failure.
    InvalidInput,
    /// A task of this id exists with other input. The message names the fields that differ.
    /// Darkroom never retries this failure.
    InputDiffers,
    /// The user's photo could not be fetched, for a reason that may pass.
    PhotoUnavailable,
    /// The provider asked us to wait (429), or the provider key takes no call now.
    Throttled,
    /// The provider could not be reached, or answered with its own failure. Nothing was billed.
    Unavailable,
    /// Nobody knows whether a call was billed, because the provider's answer was lost. A call also
    /// ends with this kind after several possible bills without a result
    /// (`provider.max_billed_failures`).
    Ambiguous,
    /// The provider refuses the account, for example for a bad key, no credit or an unknown model.
    AccountRefused,
    /// The provider called our request malformed, or Darkroom can't use the provider's answer.
    Malformed,
    /// A generated image could not be downloaded or was broken, for a reason that may pass.
    ImageUnavailable,
    /// The object store could not be reached, refused a request, or lacks an object of the task's
    /// own.
    StorageUnavailable,
    /// The database could not be reached, or refused a statement.
    DatabaseUnavailable,
    /// An activity ran out of time or failed without another kind, for example because its worker
    /// died or because of a bug.
    Internal,
}

impl FailureKind {
    /// Every kind, in the order of declaration.
    pub const ALL: [FailureKind; 12] = [
        Self::InvalidInput,
        Self::InputDiffers,
        Self::PhotoUnavailable,
        Self::Throttled,
        Self::Unavailable,
        Self::Ambiguous,
        Self::AccountRefused,
        Self::Malformed,
        Self::ImageUnavailable,
        Self::StorageUnavailable,
        Self::DatabaseUnavailable,
        Self::Internal,
    ];

    /// Returns the wire name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidInput => "InvalidInput",
            Self::InputDiffers => "InputDiffers",
            Self::PhotoUnavailable => "PhotoUnavailable",
            Self::Throttled => "Throttled",
            Self::Unavailable => "Unavailable",
            Self::Ambiguous => "Ambiguous",
            Self::AccountRefused => "AccountRefused",
            Self::Malformed => "Malformed",
            Self::ImageUnavailable => "ImageUnavailable",
            Self::StorageUnavailable => "StorageUnavailable",
            Self::DatabaseUnavailable => "DatabaseUnavailable",
            Self::Internal => "Internal",
        }
    }

    /// Returns the kind of that wire name, or `None` for a name that is not Darkroom's.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_words_are_one_short_line() {
        assert_eq!(one_line("a\0b\nc\u{1b}[31m"), "a b c [31m");
        assert_eq!(one_line(&"ж".repeat(501)).chars().count(), 501);
        assert_eq!(one_line(&"ж".repeat(500)).chars().count(), 500);
    }
}
