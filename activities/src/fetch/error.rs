//! What can go wrong with a fetch, by what the caller can do about it.

use std::error::Error as _;
use std::time::Duration;

use ::url::Url;

use super::host::NotPublic;
use super::url::redacted;

/// Why there is no body, or only part of one. No message holds a query string.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The URL must not be fetched: scheme, port, user name, private address, too many redirects. It stays so.
    #[error("the URL was refused: {why}")]
    Refused {
        /// The rule it breaks.
        why: String,
    },
    /// The server answered, with something other than 200. The caller knows which statuses stay.
    #[error("the server answered with status {status}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// What the server asks us to wait, at most a day.
        retry_after: Option<Duration>,
    },
    /// The body is larger than the limit. It stays so.
    #[error("the file is larger than {limit_bytes} bytes")]
    TooLarge {
        /// What would have been allowed.
        limit_bytes: u64,
    },
    /// No answer, or not in time: name resolution, connection, TLS, reset, timeout. Another try may work.
    #[error("the server can't be reached: {why}")]
    Unreachable {
        /// What failed.
        why: String,
    },
    /// The answer ended before it was complete. Another try may work.
    #[error("the file was cut short: {got} bytes came{}", of(*.expected))]
    Cut {
        /// Bytes that came.
        got: u64,
        /// Bytes that were announced, if the server did.
        expected: Option<u64>,
    },
}

/// No client can be made: the settings or the machine are wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("fetch: {why}")]
pub struct Misconfigured {
    /// What to change.
    pub why: String,
}

fn of(expected: Option<u64>) -> String {
    expected.map_or_else(String::new, |expected| format!(", {expected} were announced"))
}

/// A request that got no answer.
pub(super) fn of_request(error: reqwest::Error, url: &Url) -> Error {
    let at = redacted(url.as_str());
    match refusal(&error) {
        Some(refusal) => Error::Refused { why: format!("{at}: {refusal}") },
        None => Error::Unreachable { why: format!("{at}: {}", chain(&error.without_url())) },
    }
}

/// A fetch that used up its whole time.
pub(super) fn too_slow(url: &Url, limit: Duration) -> Error {
    Error::Unreachable {
        why: format!("{}: not done within {} ms", redacted(url.as_str()), limit.as_millis()),
    }
}

/// The error and its causes in one line; reqwest's own message alone is "error sending request". The caller has taken
/// the URL out of it.
pub(super) fn chain(error: &reqwest::Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        // Some layers repeat their cause's words.
        if text.ends_with(&cause) { text } else { format!("{text}: {cause}") }
    })
}

/// The refusal of our own resolver, wherever in the chain of causes it is.
fn refusal(error: &reqwest::Error) -> Option<&NotPublic> {
    std::iter::successors(error.source(), |&cause| cause.source()).find_map(|cause| cause.downcast_ref())
}
