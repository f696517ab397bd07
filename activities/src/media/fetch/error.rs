//! Errors of a fetch, by what the caller can do about them.

use std::error::Error as _;
use std::net::IpAddr;
use std::time::Duration;

use ::url::Url;

use super::redacted::redacted;

/// Reason why a body is missing or incomplete. No message holds a query string.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The URL must not be fetched because of its scheme, port, user name, private address or too
    /// many redirects. Another try gives the same.
    #[error("the URL was refused: {why}")]
    ForbiddenUrl {
        /// Rule that the URL breaks.
        why: String,
    },
    /// The server answered with a status other than 200. The caller knows which statuses are final.
    #[error("the server answered with status {status}")]
    Status {
        /// HTTP status of the answer.
        status: u16,
        /// Wait that the server asks for, at most a day.
        retry_after: Option<Duration>,
    },
    /// The body is larger than the limit. Another try gives the same.
    #[error("the file is larger than {limit_bytes} bytes")]
    TooLarge {
        /// Largest body that was allowed, in bytes.
        limit_bytes: u64,
    },
    /// No answer came in time, because of name resolution, connection, TLS, a reset or a timeout.
    /// Another try may work.
    #[error("the server can't be reached: {why}")]
    Unreachable {
        /// Description of the failure, with its causes.
        why: String,
    },
    /// The answer ended before it was complete. Another try may work.
    #[error("the file was cut short: {got} bytes came{}", of(*.expected))]
    Cut {
        /// Number of bytes that came.
        got: u64,
        /// Number of bytes that the server announced, if it did.
        expected: Option<u64>,
    },
}

impl Error {
    /// Tells whether the server has answered that the file isn't there, or not for us: a status of
    /// 4xx other than 408, 425 and 429, which pass.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Error::Status { status: 400..=407 | 409..=424 | 426..=428 | 430..=499, .. })
    }
}

/// No client can be made, because the settings or the machine are wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("fetch: {why}")]
pub struct Misconfigured {
    /// Description of the fault, with the setting if one is wrong.
    pub why: String,
}

fn of(expected: Option<u64>) -> String {
    expected.map_or_else(String::new, |expected| format!(", {expected} were announced"))
}

/// Makes the error of a request that got no answer.
pub(super) fn of_request(error: reqwest::Error, url: &Url) -> Error {
    let at = redacted(url.as_str());
    match refusal(&error) {
        Some(refusal) => Error::ForbiddenUrl { why: format!("{at}: {refusal}") },
        None => Error::Unreachable { why: format!("{at}: {}", chain(&error.without_url())) },
    }
}

/// Makes the error of a fetch that used up its whole time.
pub(super) fn too_slow(url: &Url, limit: Duration) -> Error {
    Error::Unreachable {
        why: format!("{}: not done within {} ms", redacted(url.as_str()), limit.as_millis()),
    }
}

/// Returns the error and its causes in one line, because reqwest's own message is just "error
/// sending request". The caller has removed the URL.
pub(super) fn chain(error: &reqwest::Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        // Some layers repeat the words of their cause.
        if text.ends_with(&cause) { text } else { format!("{text}: {cause}") }
    })
}

/// Finds the refusal of our own resolver in the chain of causes.
fn refusal(error: &reqwest::Error) -> Option<&NotPublic> {
    std::iter::successors(error.source(), |&cause| cause.source()).find_map(|cause| cause.downcast_ref())
}

/// Refusal of a name that resolved to an address that isn't public. The error travels to the caller
/// within reqwest's errors.
#[derive(Debug, thiserror::Error)]
#[error("{}", not_public(*.0))]
pub(super) struct NotPublic(pub(super) IpAddr);

pub(super) fn not_public(address: IpAddr) -> String {
    format!(
        "the address {address} is not public; if that is meant to be, allow the host in the configuration"
    )
}
