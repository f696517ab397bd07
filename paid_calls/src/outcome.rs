//! Outcome of a paid call, as one enum and one match for all that follows from it.

use std::time::Duration;

use workflows::failure::{FailureKind, MAX_WAIT, Retry, one_line};
use workflows::types::{GenerateOutput, ImageSource};

/// Time for which a 429 without Retry-After closes the key.
const THROTTLED_FOR: Duration = Duration::from_secs(1);
/// Time after which a refused call is made again. A refused account closes its key for 30 s, which
/// the ledger decides.
const REFUSED_WAIT: Duration = Duration::from_secs(5);

/// Number of images on the provider's bill, and its amount in US dollars.
pub type Bill = (u32, f64);

/// Outcome of a paid call.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The provider answered, and every image is at a URL or in the store.
    Generated {
        /// Images in the order of the answer.
        images: Vec<ImageSource>,
        /// Bill of the call; none if the answer has no image. Some providers bill such a call, and
        /// none of them says so.
        billed: Option<Bill>,
        /// Id of the call at the provider.
        request_id: Option<String>,
        /// Description of entries of the answer without an image, for the log.
        left_out: Option<String>,
    },
    /// The provider's moderation rejected the request, and nothing was billed.
    Rejected {
        /// Words of the provider about the rejection.
        message: String,
        /// Id of the call at the provider.
        request_id: Option<String>,
    },
    /// The call failed in one of several ways.
    Failed(Failed),
    /// The call was never sent.
    Unsent,
}

/// Failure of a paid call.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Failed {
    /// The provider got too many calls, and asks to wait.
    #[error("the provider asks to wait: {message}")]
    Throttled {
        /// Time to wait, if the provider named one.
        retry_after: Option<Duration>,
        /// Words of the provider, in one line.
        message: String,
    },
    /// The provider was not reached, or failed by its own word, and nothing was billed.
    #[error("the provider is unavailable: {message}")]
    Unavailable {
        /// Time to wait, if the provider named one.
        retry_after: Option<Duration>,
        /// Description of the failure, in one line.
        message: String,
    },
    /// The answer was lost on the way, and the call may have been billed.
    #[error("the provider's answer was lost, and may have been billed: {message}")]
    Ambiguous {
        /// Description of the failure, in one line.
        message: String,
        /// True if the provider may still be executing the call. Then nobody answered, or a gateway
        /// stopped waiting for the provider.
        may_run: bool,
    },
    /// The answer broke off. The call is done and billed, as a rule.
    #[error("the provider's answer broke off, and was probably billed: {message}")]
    Cut {
        /// Description of the failure, in one line.
        message: String,
    },
    /// No answer came within the timeout. The call may have been billed, and the next call may take
    /// as long.
    #[error("the provider gave no answer within the timeout, and may have billed the call")]
    TimedOut,
    /// The provider refuses the account, because of a bad key, missing credit or an unknown model.
    #[error("the provider refuses the account: {message}")]
    AccountRefused {
        /// Words of the provider, in one line.
        message: String,
        /// True if the API's own words say that the account is refused. Otherwise only a status
        /// such as 403 says so, which may be about this one request.
        certain: bool,
    },
    /// The provider calls our request malformed. The same request fails the same way.
    #[error("the provider calls the request malformed: {message}")]
    BadRequest {
        /// Words of the provider, in one line.
        message: String,
    },
    /// The provider answered 200 with something we can't read. The call is billed, as a rule.
    #[error("the provider's answer can't be read: {message}")]
    BadAnswer {
        /// Description of what was found instead of images, without quoting it.
        message: String,
    },
    /// The provider answered with a job to be asked after. Another call would start, and pay for,
    /// another job.
    #[error("this is an asynchronous API; Darkroom can't poll it yet: {message}")]
    AsyncJob {
        /// Description of the sign by which the job was recognised.
        message: String,
    },
    /// A web page answered 200 in the API's place. The base URL is wrong, and nothing was billed.
    #[error("a web page answers in the API's place; nothing was billed: {message}")]
    WebPage {
        /// URL that was asked, and a base URL to try.
        message: String,
    },
    /// Images came as bytes and found no store. The images are paid for and gone.
    #[error("paid images are lost: {message}")]
    Unstored {
        /// Description of the store's failure.
        message: String,
        /// Bill of the call, if the answer tells it.
        billed: Option<Bill>,
    },
}

/// Effects of an outcome, as [`Outcome::effects`] decides them.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Effects {
    /// State in the ledger, as in `calls.state`.
    pub state: &'static str,
    /// Bill in the ledger, in `images_billed` and `cost_usd`; none if nobody knows.
    pub billed: Option<Bill>,
    /// Id of the call at the provider.
    pub request_id: Option<String>,
    /// Result for attempts that ask again. For a refused account, this is the rejection that the
    /// refusal becomes if it turns out to be about this request.
    pub result: Option<GenerateOutput>,
    /// True if the provider may still be executing the call. Such a call uses capacity until it is
    /// known to be over.
    pub still_executing: bool,
    /// Sign for the key, which is `throttled`, `unavailable`, `refused` or `status`.
    pub says: Option<&'static str>,
    /// Time for which the key, or this call, is closed.
    pub wait: Option<Duration>,
    /// Failure of the attempt, which says when another attempt is made.
    pub failure: Option<Failure>,
}

/// Failure of an attempt at an activity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Kind of the failure, which crosses the wire.
    pub kind: FailureKind,
    /// One line that says what happened.
    pub message: String,
    /// Decision whether and when the attempt is made again.
    pub retry: Retry,
}

impl Outcome {
    /// Returns all that follows from the outcome for the ledger, the slot, the key and the next
    /// attempt. `end_call` may still turn a refusal by status into a rejection.
    pub fn effects(&self) -> Effects {
        match self {
            Outcome::Unsent => Effects { state: "unsent", ..Effects::default() },
            Outcome::Generated { images, billed, request_id, .. } => {
                let result =
                    GenerateOutput::Generated { images: images.clone(), request_id: request_id.clone() };
                Effects {
                    state: "done",
                    billed: *billed,
                    request_id: request_id.clone(),
                    result: Some(result),
                    ..Effects::default()
                }
            }
            Outcome::Rejected { message, request_id } => Effects {
                state: "rejected",
                billed: Some((0, 0.0)),
                request_id: request_id.clone(),
                result: Some(rejection(message, request_id.clone())),
                ..Effects::default()
            },
            Outcome::Failed(failed) => failed.effects(),
        }
    }
}

impl Failed {
    fn effects(&self) -> Effects {
        let failure = |kind, retry| Some(Failure { kind, retry, message: one_line(&self.to_string()) });
        let not_billed = Effects { state: "failed", ..Effects::default() };
        let in_doubt = Effects {
            state: "ambiguous",
            failure: failure(FailureKind::Ambiguous, Retry::Backoff),
            ..Effects::default()
        };
        let unusable = Effects { state: "unusable", ..Effects::default() };
        match self {
            Failed::Throttled { retry_after, .. } => Effects {
                says: Some("throttled"),
                wait: Some(retry_after.unwrap_or(THROTTLED_FOR).min(MAX_WAIT)),
                failure: failure(FailureKind::Throttled, Retry::after(*retry_after)),
                ..not_billed
            },
            Failed::Unavailable { retry_after, .. } => Effects {
                says: Some("unavailable"),
                wait: retry_after.map(|wait| wait.min(MAX_WAIT)),
                failure: failure(FailureKind::Unavailable, Retry::after(*retry_after)),
                ..not_billed
            },
            Failed::AccountRefused { certain, message } => Effects {
                says: Some(if *certain { "refused" } else { "status" }),
                wait: Some(REFUSED_WAIT),
                result: Some(rejection(message, None)),
                failure: failure(FailureKind::AccountRefused, Retry::After(REFUSED_WAIT)),
                ..not_billed
            },
            Failed::BadRequest { .. } | Failed::WebPage { .. } => {
                Effects { failure: failure(FailureKind::Malformed, Retry::Never), ..not_billed }
            }
            Failed::Ambiguous { may_run: true, .. } | Failed::TimedOut => {
                Effects { still_executing: true, ..in_doubt }
            }
            // A gateway answered in the API's place. The provider isn't executing the call, and is
            // in trouble.
            Failed::Ambiguous { may_run: false, .. } => Effects { says: Some("unavailable"), ..in_doubt },
            Failed::Cut { .. } => in_doubt,
            Failed::BadAnswer { .. } => {
                Effects { failure: failure(FailureKind::Malformed, Retry::Backoff), ..unusable }
            }
            Failed::AsyncJob { .. } => {
                Effects { failure: failure(FailureKind::Malformed, Retry::Never), ..unusable }
            }
            Failed::Unstored { billed, .. } => Effects {
                billed: *billed,
                failure: failure(FailureKind::StorageUnavailable, Retry::Backoff),
                ..unusable
            },
        }
    }
}

impl Effects {
    /// Returns the same effects without the provider's words, for a database that can't hold them.
    /// The bill stays, and the result is lost.
    pub(crate) fn without_content(&self) -> Self {
        let kind = self.failure.as_ref().map_or(FailureKind::Malformed, |failure| failure.kind);
        let message = "the database could not hold what the provider said".to_owned();
        let retry = self.failure.as_ref().map_or(Retry::Backoff, |failure| failure.retry);
        let (state, says) = match (self.state, self.says) {
            ("done" | "rejected", _) => ("unusable", None),
            (state, Some("refused" | "status")) => (state, None),
            (state, says) => (state, says),
        };
        Self {
            state,
            says,
            wait: if says.is_some() { self.wait } else { None },
            request_id: None,
            result: None,
            failure: Some(Failure { kind, message, retry }),
            ..self.clone()
        }
    }
}

fn rejection(message: &str, request_id: Option<String>) -> GenerateOutput {
    GenerateOutput::Rejected { message: one_line(message), request_id }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_obeyed_up_to_a_minute() {
        let wait = Some(Duration::from_secs(3600));
        let throttled = Failed::Throttled { retry_after: wait, message: String::new() };
        let effects = Outcome::Failed(throttled).effects();
        assert_eq!(effects.wait, Some(MAX_WAIT));
        assert_eq!(effects.failure.map(|failure| failure.retry), Some(Retry::After(MAX_WAIT)));
    }

    #[test]
    fn what_the_database_cannot_hold_is_closed_without_it() {
        let output = Outcome::Generated {
            images: vec![ImageSource::Url("https://x/\0".into())],
            billed: Some((1, 0.04)),
            request_id: Some("r".into()),
            left_out: None,
        };
        let closed = output.effects().without_content();
        assert_eq!((closed.state, closed.billed, closed.result), ("unusable", Some((1, 0.04)), None));
    }
}
