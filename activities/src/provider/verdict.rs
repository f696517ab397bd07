//! Decides what a refusal means: by its codes, then by its message's words, then by its status (the
//! body's own before HTTP's).

use std::time::Duration;

use super::Error;
use super::complaint::Complaint;
use super::words::{Kind, Words};
use crate::failure::words as one_line;

/// Codes of a timeout by which the API itself says that it gave up. A gateway's timeout says nothing
/// of what is behind it.
const OWN_TIMEOUTS: [&str; 2] = ["server_error", "DEADLINE_EXCEEDED"];

/// The meaning of an answer without images.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Moderation: a result, not a failure.
    Rejected(String),
    Failed(Error),
}

/// The one who speaks in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Voice {
    /// The API, in one of the forms that errors have.
    Api,
    /// Somebody in plain words: the API, or a gateway.
    Text,
    /// A gateway or a firewall, with a web page or with nothing at all.
    Page,
}

/// Decides what an answer means. None where neither its words nor its status says anything but that
/// all is well.
pub(super) fn judge(
    http_status: u16,
    header_wait: Option<Duration>,
    voice: Voice,
    said: &Complaint,
    words: &Words,
) -> Option<Verdict> {
    let status = effective(http_status, said.status);
    let message = describe(http_status, status, said);
    let retry_after = header_wait.or_else(|| said.wait());
    // Pages are full of words that mean nothing.
    let codes: Vec<String> = said.codes.iter().cloned().chain([status.to_string()]).collect();
    let kind = if voice == Voice::Page { None } else { words.kind(&codes, &said.message) };
    let unavailable = |message| Error::Unavailable { retry_after, message };
    Some(Verdict::Failed(match (kind, status) {
        (Some(Kind::Rejected), _) => return Some(Verdict::Rejected(message)),
        (None, 451) if voice != Voice::Page => return Some(Verdict::Rejected(message)),
        (Some(Kind::AccountRefused), _) => Error::Refused { message, certain: true },
        (Some(Kind::Throttled), _) | (_, 429) if asks_for_too_much(&said.message) => {
            let message = format!("{message} (fewer images a call may do: provider.images_per_call)");
            Error::BadRequest { message }
        }
        (Some(Kind::Throttled), _) | (_, 429) => Error::Throttled { retry_after, message },
        (_, 401..=404 | 451) if kind.is_none() => Error::Refused { message, certain: false },
        // Cloudflare had no connection to its origin.
        (_, 521..=523 | 525 | 526 | 530) => unavailable(message),
        (_, 408 | 504 | 524) if !is_own_timeout(said) => Error::Ambiguous { message, may_run: true },
        (Some(Kind::Unavailable), _) => unavailable(message),
        (None, 408 | 409 | 500..) if voice == Voice::Api => unavailable(message),
        // Somebody on the way answered, not the API: it may have worked.
        (None, 408 | 409 | 500..) => Error::Ambiguous { message, may_run: false },
        (None, 200..300) => return None,
        (None, _) => Error::BadRequest { message },
    }))
}

/// The status that decides: the body's, where HTTP's says nothing (200), or only that somebody
/// failed or refuses (400, 500). A gateway that got tired of waiting knows nothing of a failure
/// behind it.
fn effective(http: u16, inner: Option<u16>) -> u16 {
    match (http, inner) {
        (408 | 504 | 524, Some(500..)) => http,
        (200..300 | 400 | 500.., Some(inner)) => inner,
        _ => http,
    }
}

/// "Limit 5, Requested 10" can never succeed.
fn asks_for_too_much(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    let number = |word: &str| {
        message.match_indices(word).find_map(|(at, _)| {
            let after = message[at + word.len()..].trim_start_matches([' ', ':', '=']);
            let digits = after.find(|char: char| !char.is_ascii_digit()).unwrap_or(after.len());
            after[..digits].parse::<u64>().ok()
        })
    };
    match (number("limit"), number("requested")) {
        (Some(limit), Some(requested)) => limit > 0 && requested > limit,
        _ => false,
    }
}

fn is_own_timeout(said: &Complaint) -> bool {
    said.codes.iter().any(|code| OWN_TIMEOUTS.contains(&code.as_str()))
}

/// The error in one line.
fn describe(http: u16, status: u16, said: &Complaint) -> String {
    let by_body = if status == http { String::new() } else { format!(", {status} by its body") };
    let said = said.in_short();
    let separator = if said.is_empty() { "" } else { " " };
    one_line(&format!("HTTP {http}{by_body}{separator}{said}"))
}
