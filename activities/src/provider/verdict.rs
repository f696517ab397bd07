//! Decides what a refusal means. Codes decide first, and the status is one of them. The words of
//! the message decide next. A word of the message also outweighs a code of the kind `unavailable`.
//! The bare status decides last. A 429 and a gateway's timeout outweigh every code and word of the
//! kind `unavailable`.

use std::time::Duration;

use super::Error;
use super::complaint::Complaint;
use super::words::{Kind, Words};
use workflows::failure::one_line;

/// Codes with which the API itself reports a timeout. A gateway's timeout says nothing about the
/// API behind the gateway.
const OWN_TIMEOUTS: [&str; 2] = ["server_error", "DEADLINE_EXCEEDED"];

/// Meaning of an answer without images.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// Moderation rejected the request. A rejection is a result, and not a failure.
    Rejected(String),
    Failed(Error),
}

/// Source of the words in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Voice {
    /// The API answered, in one of the known forms of an error.
    Api,
    /// The API or a gateway answered in plain words.
    Text,
    /// A gateway or a firewall answered, with a web page or an empty body.
    Page,
}

/// Decides what an answer means. Returns `None` if the status is a success and no word means a
/// failure.
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
    // The words of a web page mean nothing, so only the status decides.
    let codes: Vec<String> = said.codes.iter().cloned().chain([status.to_string()]).collect();
    let kind = if voice == Voice::Page { None } else { words.kind(&codes, &said.message) };
    let unavailable = |message| Error::Unavailable { retry_after, message };
    Some(Verdict::Failed(match (kind, status) {
        (Some(Kind::Rejected), _) => return Some(Verdict::Rejected(message)),
        (None, 451) if voice != Voice::Page => return Some(Verdict::Rejected(message)),
        (Some(Kind::AccountRefused), _) => Error::AccountRefused { message, certain: true },
        (Some(Kind::Throttled), _) | (_, 429) if asks_for_too_much(&said.message) => {
            let message = format!("{message} (fewer images a call may do: provider.images_per_call)");
            Error::BadRequest { message }
        }
        (Some(Kind::Throttled), _) | (_, 429) => Error::Throttled { retry_after, message },
        (_, 401..=404 | 451) if kind.is_none() => Error::AccountRefused { message, certain: false },
        // Cloudflare reports with these that it could not connect to the API.
        (_, 521..=523 | 525 | 526 | 530) => unavailable(message),
        (_, 408 | 504 | 524) if !is_own_timeout(said) => Error::Ambiguous { message, may_run: true },
        (Some(Kind::Unavailable), _) => unavailable(message),
        (None, 408 | 409 | 500..) if voice == Voice::Api => unavailable(message),
        // A gateway may have answered instead of the API, so the call may have succeeded.
        (None, 408 | 409 | 500..) => Error::Ambiguous { message, may_run: false },
        (None, 200..300) => return None,
        (None, _) => Error::BadRequest { message },
    }))
}

/// Returns the status that decides. The body's status decides where HTTP's says nothing (2xx), or
/// only that something was refused or failed (400, 5xx). But a gateway's timeout outweighs a 5xx in
/// its body, because the gateway doesn't know how the call ended.
fn effective(http: u16, inner: Option<u16>) -> u16 {
    match (http, inner) {
        (408 | 504 | 524, Some(500..)) => http,
        (200..300 | 400 | 500.., Some(inner)) => inner,
        _ => http,
    }
}

/// Tells whether the message says that one request asks for more than the limit ever allows, such
/// as "Limit 5, Requested 10". Such a request can never succeed.
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

/// Describes the error in one line.
fn describe(http: u16, status: u16, said: &Complaint) -> String {
    let by_body = if status == http { String::new() } else { format!(", {status} by its body") };
    let said = said.in_short();
    let separator = if said.is_empty() { "" } else { " " };
    one_line(&format!("HTTP {http}{by_body}{separator}{said}"))
}
