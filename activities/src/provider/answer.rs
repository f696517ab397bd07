//! Reads an answer that came over HTTP as images, a rejection or a failure.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::complaint::Complaint;
use super::images::{self, describe};
use super::verdict::{Verdict, Voice, judge};
use super::words::Words;
use super::{Error, Payload};
use workflows::failure::one_line;

/// Fields that name a job of an asynchronous API.
const JOB_IDS: [&str; 7] =
    ["task_id", "taskId", "job_id", "jobId", "prediction_id", "status_url", "polling_url"];
/// States of a job that isn't finished, in lower case.
const PENDING: [&str; 14] = [
    "submitted",
    "pending",
    "queued",
    "queueing",
    "in_queue",
    "processing",
    "starting",
    "started",
    "running",
    "in_progress",
    "not_start",
    "waiting",
    "created",
    "accepted",
];

/// A complete HTTP answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// Wait that the headers ask for.
    pub(super) wait: Option<Duration>,
    /// True if the headers call the body a web page.
    pub(super) is_html: bool,
    /// Target of a redirect, without the secret parts of its URL.
    pub(super) location: Option<String>,
    pub(super) body: Bytes,
}

/// An answer that is no failure.
#[derive(Debug)]
pub(super) enum Read {
    Images {
        images: Vec<Payload>,
        billed: u32,
        /// Provider's words about images that are not there, or a description of what is there.
        left_out: Option<String>,
    },
    Rejected(String),
}

impl Reply {
    /// Reads at most `asked` images, in whichever form each came. A web page in their place becomes
    /// an error that names `base_url`.
    ///
    /// An entry without an image, or with a broken one, doesn't spoil the others, because they are
    /// paid for. Entries that report their own rejection are left out and don't count as billed.
    ///
    /// An answer without images is judged by its own error, else by the words of its first rejected
    /// entry. An answer that may rightly be empty gives no images and no error.
    pub(super) fn read(mut self, asked: u32, words: &Words, base_url: &str) -> Result<Read, Error> {
        let Some(answer) = parse(&self.body) else { return not_json(&self, words, base_url) };
        // The parsed `answer` now holds the megabytes of the body.
        self.body = Bytes::new();
        let (status, wait) = (self.status, self.wait);
        if (200..300).contains(&status) {
            return success(status, wait, &answer, asked, words);
        }
        let (voice, said) = match Complaint::of_error(&answer) {
            Some(said) => (Voice::Api, said),
            None => (Voice::Page, Complaint::of_text(&describe(&answer))),
        };
        decided(judge(status, wait, voice, &said, words), || describe(&answer))
    }

    /// Describes a body that is no JSON, without quoting it.
    pub(super) fn without_json(&self) -> String {
        let what = if self.is_page() { "a web page" } else { "a text that is no JSON" };
        format!("{what} ({} bytes)", self.body.len())
    }

    fn is_page(&self) -> bool {
        self.is_html || self.body.trim_ascii_start().starts_with(b"<")
    }
}

fn decided(verdict: Option<Verdict>, found: impl FnOnce() -> String) -> Result<Read, Error> {
    match verdict {
        Some(Verdict::Rejected(message)) => Ok(Read::Rejected(message)),
        Some(Verdict::Failed(error)) => Err(error),
        None => Err(Error::BadAnswer { message: found() }),
    }
}

/// Reads an answer whose status is a success.
fn success(
    status: u16,
    wait: Option<Duration>,
    answer: &Value,
    asked: u32,
    words: &Words,
) -> Result<Read, Error> {
    let mut found = images::find(answer);
    let judge = |said: &Complaint| judge(status, wait, Voice::Api, said, words);
    let rejected = |said: &Complaint| one_line(&format!("rejected by its own word: {}", said.in_short()));
    if !found.images.is_empty() {
        let billed = found.billed(asked);
        let mut left_out: Vec<String> = found.rejected.iter().map(rejected).collect();
        left_out.append(&mut found.unreadable);
        let left_out = (!left_out.is_empty()).then(|| one_line(&left_out.join("; ")));
        found.images.truncate(asked as usize);
        return Ok(Read::Images { images: found.images, billed, left_out });
    }
    let is_empty = images::is_empty(answer);
    if let Some(said) = Complaint::of_success(answer) {
        let verdict = judge(&said).or_else(|| is_empty.then(|| Verdict::Rejected(rejected(&said))));
        return decided(verdict, || one_line(&format!("an error of no known kind: {}", said.in_short())));
    }
    if let Some(job) = job(answer) {
        return Err(Error::AsyncJob { message: job });
    }
    if let Some(said) = found.rejected.first() {
        return decided(judge(said).or_else(|| Some(Verdict::Rejected(rejected(said)))), String::new);
    }
    let reason = images::reason(answer);
    match judge(&reason) {
        Some(Verdict::Rejected(message)) => Ok(Read::Rejected(message)),
        _ if is_empty || !reason.is_empty() => {
            let left_out = (!reason.is_empty()).then(|| one_line(&reason.in_short()));
            Ok(Read::Images { images: Vec::new(), billed: 0, left_out })
        }
        _ if found.unreadable.is_empty() => {
            Err(Error::BadAnswer { message: format!("no images, but {}", describe(answer)) })
        }
        _ => {
            let entries = found.unreadable.iter().take(3).cloned().collect::<Vec<_>>().join("; ");
            let message = format!("none of {} entries holds an image: {entries}", found.unreadable.len());
            Err(Error::BadAnswer { message: one_line(&message) })
        }
    }
}

/// Recognises a job of an asynchronous API by its id or its state, and names that mark. The job may
/// be the answer, its `data`, `output` or `result`, or an entry of `data`.
fn job(answer: &Value) -> Option<String> {
    let entries = answer["data"].as_array().into_iter().flatten();
    let places = [answer, &answer["data"], &answer["output"], &answer["result"]];
    places.into_iter().chain(entries).find_map(|place| {
        let fields = place.as_object()?;
        let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
        let id = JOB_IDS.iter().find(|name| fields.get(**name).is_some_and(|id| !id.is_null() && *id != ""));
        let is_a_task = text("object").ends_with(".task");
        let state =
            [text("status"), text("state")].into_iter().find(|state| !state.is_empty()).unwrap_or_default();
        let is_pending = PENDING.iter().any(|pending| state.eq_ignore_ascii_case(pending));
        match id {
            Some(id) if is_pending => Some(format!("it answered with `{id}` and the state `{state}`")),
            Some(id) if state.is_empty() => Some(format!("it answered with `{id}` and no image")),
            _ if is_a_task => Some("it answered with an object of the type `….task`".to_owned()),
            _ if is_pending && fields.contains_key("id") => {
                Some(format!("it answered with `id` and the state `{state}`"))
            }
            _ => None,
        }
    })
}

/// Reads an answer that is no JSON.
fn not_json(reply: &Reply, words: &Words, base_url: &str) -> Result<Read, Error> {
    let status = reply.status;
    match status {
        200..300 if reply.is_page() => Err(Error::WebPage { message: other_base_url(base_url) }),
        200..300 => Err(Error::BadAnswer { message: reply.without_json() }),
        300..400 => {
            let to = reply.location.as_deref().unwrap_or("nowhere");
            let message = format!("HTTP {status}, a redirect to {to}: is provider.base_url right?");
            Err(Error::BadRequest { message: one_line(&message) })
        }
        _ => {
            let is_mute = reply.is_page() || reply.body.trim_ascii().is_empty();
            let voice = if is_mute { Voice::Page } else { Voice::Text };
            let said = Complaint::of_text(&excerpt(&reply.body));
            decided(judge(status, reply.wait, voice, &said, words), || reply.without_json())
        }
    }
}

/// Names the base URL at which a web page answered, and a base URL to try instead.
pub(super) fn other_base_url(base_url: &str) -> String {
    let base_url = crate::media::fetch::redacted(base_url.trim_end_matches('/'));
    let base_url = base_url.trim_end_matches('/');
    let has_version = base_url.rsplit('/').next().is_some_and(|last| {
        last.strip_prefix('v').is_some_and(|version| version.starts_with(|char: char| char.is_ascii_digit()))
    });
    if has_version {
        format!("provider.base_url is {base_url}; the API is somewhere else")
    } else {
        format!("provider.base_url is {base_url}; try {base_url}/v1")
    }
}

/// Returns the beginning of a body that isn't JSON: up to 200 bytes, in one line.
fn excerpt(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(200)]).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Reads JSON, and tolerates faults that must not cost an image:
/// - a byte order mark;
/// - halves of surrogate pairs, as from a text that was cut within an emoji;
/// - control characters within texts;
/// - bytes that are no UTF-8.
pub(super) fn parse(body: &[u8]) -> Option<Value> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    serde_json::from_slice(body).ok().or_else(|| serde_json::from_str(&mended(body)?).ok())
}

fn mended(body: &[u8]) -> Option<String> {
    if !body.trim_ascii_start().starts_with(b"{") && !body.trim_ascii_start().starts_with(b"[") {
        return None;
    }
    let text = String::from_utf8_lossy(body);
    let mut mended = String::with_capacity(text.len());
    let mut rest = text.as_ref();
    while let Some(at) = rest.find(|char: char| char == '\\' || char < ' ') {
        mended.push_str(&rest[..at]);
        rest = &rest[at..];
        let is_surrogate =
            |escape: &str| escape.starts_with("\\ud") && !escape.ends_with(|third: char| third < '8');
        let taken = match rest.get(..4).map(str::to_ascii_lowercase) {
            Some(escape) if is_surrogate(&escape) => {
                mended.push_str("\\ufffd");
                6
            }
            _ if rest.starts_with('\\') => {
                let escape = rest.chars().take(2).map(char::len_utf8).sum();
                mended.push_str(&rest[..escape]);
                escape
            }
            _ => {
                mended.push(' ');
                1
            }
        };
        rest = rest.get(taken..)?;
    }
    mended.push_str(rest);
    Some(mended)
}
