//! How a call can fail, by what the caller can do.

use std::time::Duration;

/// A failed call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Too many calls: wait.
    #[error("the provider asks to wait: {message}")]
    Throttled {
        /// How long, where it said.
        retry_after: Option<Duration>,
        /// What it said.
        message: String,
    },
    /// Not reached, or it failed by its own word: nothing was billed.
    #[error("the provider is unavailable: {message}")]
    Unavailable {
        /// How long it asks to wait, where it said.
        retry_after: Option<Duration>,
        /// What happened.
        message: String,
    },
    /// The answer was lost on the way: it may have been billed.
    #[error("the provider's answer was lost, and may have been billed: {message}")]
    Ambiguous {
        /// What happened.
        message: String,
        /// The provider may still be executing the call: nobody answered, or a gateway that got tired
        /// of waiting.
        may_run: bool,
    },
    /// The answer broke off: the call is done and billed, as a rule.
    #[error("the provider's answer broke off, and was probably billed: {message}")]
    Cut {
        /// What happened.
        message: String,
    },
    /// No answer within the timeout: it may have been billed, and the next may take as long.
    #[error("the provider gave no answer within the timeout, and may have billed the call")]
    TimedOut,
    /// It refuses the account: bad key, no credit, unknown model.
    #[error("the provider refuses the account: {message}")]
    Refused {
        /// What it said.
        message: String,
        /// The API's own words say that the account is refused. Else only a status (401 to 404) says
        /// so, which may be about this one request.
        certain: bool,
    },
    /// It calls our request malformed: the same request fails the same way.
    #[error("the provider calls the request malformed: {message}")]
    BadRequest {
        /// What it said.
        message: String,
    },
    /// It answered 200 with something we can't read; billed, as a rule.
    #[error("the provider's answer can't be read: {message}")]
    BadAnswer {
        /// Describes what was found instead of images, without quoting it.
        message: String,
    },
    /// It answered with a job to be asked after. Another call would start, and pay for, another job.
    #[error("this is an asynchronous API; Darkroom can't poll it yet: {message}")]
    AsyncJob {
        /// How the job was recognised.
        message: String,
    },
    /// A web page answered 200 in the API's place: the base URL is wrong, and nothing was billed.
    #[error("a web page answers in the API's place; nothing was billed: {message}")]
    WebPage {
        /// Where it was asked, and which base URL to try.
        message: String,
    },
}
