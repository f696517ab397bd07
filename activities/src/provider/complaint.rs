//! Reads an error in the API's own words, in any of its many forms.

use std::time::Duration;

use serde_json::{Map, Value};

use super::wait;
use crate::retry_after;

/// Fields that hold a code, a type, a reason or a status.
const CODES: [&str; 12] = [
    "code",
    "type",
    "status",
    "reason",
    "error_code",
    "errorCode",
    "error_type",
    "status_code",
    "statusCode",
    "finish_reason",
    "finishReason",
    "blockReason",
];
/// Fields that hold a message in words.
const MESSAGES: [&str; 9] = [
    "message",
    "msg",
    "detail",
    "error",
    "error_description",
    "error_message",
    "title",
    "raiFilteredReason",
    "finishMessage",
];
/// Fields that hold nested objects with more codes and messages.
const NESTED: [&str; 8] =
    ["error", "errors", "detail", "details", "innererror", "inner_error", "metadata", "violations"];
/// Fields that only moderation fills in, at OpenAI, Azure and OpenRouter. Each counts as a code.
const MODERATION: [&str; 4] =
    ["moderation_details", "content_filter_result", "content_filter_results", "flagged_input"];
/// Codes of success in words. As numbers, 0, 1 and 200 to 299 are successes.
const SUCCESS: [&str; 4] = ["success", "succeeded", "completed", "ok"];
/// Deepest nesting of an error that is read.
const MAX_DEPTH: u32 = 5;
/// Most codes that are kept from fields of `CODES`. An error is read within bounds, because a
/// gateway may repeat the whole request in it.
const MAX_CODES: usize = 20;
/// Most bytes of one text that are kept. A message of more bytes takes no further text.
const MAX_MESSAGE_BYTES: usize = 4_000;

/// Codes and messages of an error, including everything that is nested in it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Complaint {
    /// Codes, types, reasons and statuses in words, outermost first.
    pub(super) codes: Vec<String>,
    /// First status between 400 and 599 that the body names.
    pub(super) status: Option<u16>,
    /// Parameter of the request that the error is about.
    pub(super) param: Option<String>,
    /// Messages, outermost first, joined by `; `.
    pub(super) message: String,
    /// Wait that the error's details ask for.
    pub(super) retry_after: Option<Duration>,
}

impl Complaint {
    /// Reads the error in a body whose status is a failure. Returns `None` if the body is in no
    /// known form of an error.
    pub(super) fn of_error(body: &Value) -> Option<Self> {
        let body = first(body);
        let fields = body.as_object()?;
        let speaks =
            MESSAGES.iter().chain(&["code", "errors", "details"]).any(|name| is_something(fields, name));
        speaks.then(|| Self::of(body))
    }

    /// Reads the error in a body whose status is a success: an `error`, a code or a status of
    /// failure, or `success: false`.
    pub(super) fn of_success(body: &Value) -> Option<Self> {
        let body = first(body);
        let fields = body.as_object()?;
        let code_fails = match fields.get("code") {
            Some(Value::Number(code)) => !code.as_i64().is_some_and(is_success),
            Some(Value::String(code)) if code.is_empty() => false,
            Some(Value::String(code)) => match code.parse() {
                Ok(code) => !is_success(code),
                Err(_) => !SUCCESS.iter().any(|success| code.eq_ignore_ascii_case(success)),
            },
            None | Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) => false,
        };
        let complains = ["error", "errors"].iter().any(|name| is_something(fields, name))
            || code_fails
            || fields.get("success") == Some(&Value::Bool(false))
            || fields.get("status").and_then(Value::as_str).is_some_and(|status| {
                ["error", "failed", "fail"].iter().any(|failed| status.eq_ignore_ascii_case(failed))
            });
        complains.then(|| Self::of(body))
    }

    /// Reads the words of an entry that reports its own rejection or failure.
    pub(super) fn of_entry(entry: &Value) -> Option<Self> {
        let fields = entry.as_object()?;
        let is_rejected = fields.get("respect_moderation") == Some(&Value::Bool(false));
        let complains = is_rejected
            || is_something(fields, "error")
            || is_something(fields, "raiFilteredReason")
            || is_filtered(entry, 0);
        complains.then(|| {
            let mut complaint = Self::of(entry);
            if is_rejected {
                complaint.say("respect_moderation: false");
            }
            complaint
        })
    }

    /// Makes a complaint of plain words.
    pub(super) fn of_text(text: &str) -> Self {
        Self { message: text.to_owned(), ..Self::default() }
    }

    /// Returns the wait that the error's details ask for, else that of its message.
    pub(super) fn wait(&self) -> Option<Duration> {
        self.retry_after.or_else(|| wait::of_message(&self.message))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.codes.is_empty() && self.message.is_empty()
    }

    /// Describes the error by its first three codes, its parameter and its message.
    pub(super) fn in_short(&self) -> String {
        let codes = self.codes.iter().take(3).cloned().collect::<Vec<_>>().join(" ");
        let param = self.param.as_ref().map(|param| format!(" ({param})")).unwrap_or_default();
        let separator = if codes.is_empty() || self.message.is_empty() { "" } else { ": " };
        format!("{codes}{param}{separator}{}", self.message)
    }

    fn of(value: &Value) -> Self {
        let mut complaint = Self::default();
        complaint.collect(value, 0);
        complaint
    }

    fn collect(&mut self, value: &Value, depth: u32) {
        if depth > MAX_DEPTH {
            return;
        }
        match value {
            Value::String(text) if depth > 0 => self.say(text),
            Value::Array(all) => all.iter().for_each(|one| self.collect(one, depth + 1)),
            Value::Object(fields) => self.collect_fields(fields, depth),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn collect_fields(&mut self, fields: &Map<String, Value>, depth: u32) {
        let filled = |name: &&&str| is_something(fields, name);
        CODES.iter().filter_map(|name| fields.get(*name)).for_each(|code| self.code(code));
        self.codes.extend(MODERATION.iter().filter(filled).map(|name| (*name).to_owned()));
        // OpenRouter's field `raw` holds the words of the provider behind it.
        for text in MESSAGES.iter().chain(&["raw"]).filter_map(|name| fields.get(*name)?.as_str()) {
            match serde_json::from_str(text) {
                // A gateway passes on the error of the provider behind it as text.
                Ok(inner @ (Value::Object(_) | Value::Array(_))) => self.collect(&inner, depth + 1),
                Ok(_) | Err(_) => self.say(text),
            }
        }
        let text = |name: &str| fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        self.param = self.param.take().or_else(|| text("param").map(str::to_owned));
        if let Some(quota) = text("quotaId") {
            self.say(quota);
        }
        let number = |name: &str| fields.get(name).and_then(Value::as_f64).and_then(retry_after::seconds);
        let said = text("retryDelay").and_then(wait::span).or_else(|| number("retry_after"));
        self.retry_after = self.retry_after.or(said);
        for nested in NESTED.iter().filter_map(|name| fields.get(*name)) {
            if nested.is_object() || nested.is_array() {
                self.collect(nested, depth + 1);
            }
        }
    }

    fn code(&mut self, code: &Value) {
        let number = match code {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.parse().ok(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return,
        };
        match (number, code.as_str()) {
            (Some(number), _) => {
                let status = u16::try_from(number).ok().filter(|status| (400..600).contains(status));
                self.status = self.status.or(status);
            }
            (None, Some(text)) => {
                let is_new = !text.is_empty() && !self.codes.iter().any(|code| code == text);
                if is_new && self.codes.len() < MAX_CODES {
                    self.codes.push(text.to_owned());
                }
            }
            (None, None) => {}
        }
    }

    fn say(&mut self, text: &str) {
        let text = text.trim();
        let text = &text[..text.floor_char_boundary(MAX_MESSAGE_BYTES)];
        if text.is_empty() || self.message.len() > MAX_MESSAGE_BYTES || self.message.contains(text) {
            return;
        }
        if !self.message.is_empty() {
            self.message.push_str("; ");
        }
        self.message.push_str(text);
    }
}

fn is_success(code: i64) -> bool {
    matches!(code, 0 | 1 | 200..=299)
}

/// Returns the first entry of an array, because some APIs wrap their errors in one.
fn first(body: &Value) -> &Value {
    match body {
        Value::Array(all) => all.first().unwrap_or(body),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => body,
    }
}

/// Tells whether a field is there and not empty. `null` and `false` count as empty.
fn is_something(fields: &Map<String, Value>, name: &str) -> bool {
    match fields.get(name) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::String(text)) => !text.trim().is_empty(),
        Some(Value::Array(all)) => !all.is_empty(),
        Some(Value::Object(fields)) => !fields.is_empty(),
        Some(Value::Bool(true) | Value::Number(_)) => true,
    }
}

/// Recognises Azure's mark of a content filter that rejected, such as
/// `{"content_filter_results": {"violence": {"filtered": true}}}`.
fn is_filtered(value: &Value, depth: u32) -> bool {
    let Some(fields) = value.as_object().filter(|_| depth < 3) else { return false };
    fields.get("filtered") == Some(&Value::Bool(true))
        || fields.values().any(|value| is_filtered(value, depth + 1))
}
