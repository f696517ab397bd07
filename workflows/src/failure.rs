//! The kinds of failure that cross the wire: the type names of Temporal failures.

use serde::{Deserialize, Serialize};

/// Kind of a failure. Its name is the failure's `type` in Temporal and `failure_kind` in the database.
///
/// What each means, what the system does and what you do about it: docs/operations.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub enum FailureKind {
    /// The input can't be worked with; the message names the field and a legal value. Never retried.
    InvalidInput,
    /// A task of this id exists with other input; the message says what differs. Never retried.
    InputDiffers,
    /// The user's photo could not be fetched, for a reason that may pass.
    PhotoUnavailable,
    /// The provider asked us to wait (429).
    Throttled,
    /// The provider could not be reached, or answered with its own failure; nothing was billed.
    Unavailable,
    /// The provider's answer was lost on the way: the call may have been billed.
    Ambiguous,
    /// The provider refuses the account: bad key, no credit, unknown model.
    Refused,
    /// The provider called our request malformed, or we can't read its answer.
    Malformed,
    /// An image could not be downloaded or was broken, for a reason that may pass.
    ImageUnavailable,
    /// The object store could not be reached or refused.
    StorageUnavailable,
    /// The database could not be reached or refused.
    DatabaseUnavailable,
    /// An activity ran out of time, or failed without a kind: a worker died too often, or a bug.
    Internal,
}

impl FailureKind {
    /// Every kind.
    pub const ALL: [FailureKind; 12] = [
        Self::InvalidInput,
        Self::InputDiffers,
        Self::PhotoUnavailable,
        Self::Throttled,
        Self::Unavailable,
        Self::Ambiguous,
        Self::Refused,
        Self::Malformed,
        Self::ImageUnavailable,
        Self::StorageUnavailable,
        Self::DatabaseUnavailable,
        Self::Internal,
    ];

    /// The wire name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidInput => "InvalidInput",
            Self::InputDiffers => "InputDiffers",
            Self::PhotoUnavailable => "PhotoUnavailable",
            Self::Throttled => "Throttled",
            Self::Unavailable => "Unavailable",
            Self::Ambiguous => "Ambiguous",
            Self::Refused => "Refused",
            Self::Malformed => "Malformed",
            Self::ImageUnavailable => "ImageUnavailable",
            Self::StorageUnavailable => "StorageUnavailable",
            Self::DatabaseUnavailable => "DatabaseUnavailable",
            Self::Internal => "Internal",
        }
    }

    /// The kind of that wire name; `None` for names that aren't ours.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}
