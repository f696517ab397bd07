//! What a failed call means: decided by the answer's `code`, then its `type`, then its status.

use std::time::{Duration, SystemTime};

use serde::Deserialize;

use crate::failure::words;

/// A failed call, by what the caller can do.
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
        /// What is wrong with it.
        message: String,
    },
}

/// Outcome of an unsuccessful answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unsuccessful {
    /// Moderation: a result, not a failure.
    Rejected(String),
    Failed(Error),
}

/// What the answer's headers say about waiting.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Wait {
    pub(super) retry_after: Option<Duration>,
}

impl Wait {
    /// `retry-after-ms`, else `retry-after` in seconds (fractions too) or as a date, taken against the answer's own `date`; else when the
    /// limits that are used up are reset (`x-ratelimit-remaining-…: 0`, `x-ratelimit-reset-…`).
    pub(super) fn of(headers: &reqwest::header::HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds.max(0.0)).ok();
        let milliseconds = text("retry-after-ms").and_then(|ms| ms.parse::<f64>().ok());
        let said = milliseconds.and_then(|ms| seconds(ms / 1000.0)).or_else(|| {
            let value = text("retry-after")?;
            if let Ok(number) = value.parse::<f64>() {
                return seconds(number);
            }
            let now = text("date").and_then(|date| httpdate::parse_http_date(date).ok());
            let until = httpdate::parse_http_date(value).ok()?;
            Some(until.duration_since(now.unwrap_or_else(SystemTime::now)).unwrap_or_default())
        });
        let used_up = headers.iter().filter_map(|(name, value)| {
            let what = name.as_str().strip_prefix("x-ratelimit-remaining-")?;
            (value.to_str().ok()?.trim().parse::<f64>().ok()? <= 0.0)
                .then(|| span(text(&format!("x-ratelimit-reset-{what}"))?))?
        });
        Self { retry_after: said.or_else(|| used_up.max()) }
    }
}

/// A span of time as OpenAI's `x-ratelimit-reset-…` gives it, such as `1s`, `6m0s`, `1h2m3.5s` or `20ms`; a number alone is seconds.
fn span(text: &str) -> Option<Duration> {
    let mut whole = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|char: char| !char.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        whole += number.parse::<f64>().ok()?
            * match unit {
                "ms" => 0.001,
                "" | "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "d" => 86_400.0,
                _ => return None,
            };
        rest = after;
    }
    Duration::try_from_secs_f64(whole).ok()
}

#[derive(Debug, Default, Deserialize)]
struct Body {
    error: Option<Detail>,
}

#[derive(Debug, Default, Deserialize)]
struct Detail {
    #[serde(default)]
    message: String,
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    param: Option<String>,
    /// A string, or at aggregators a number.
    #[serde(default)]
    code: serde_json::Value,
}

/// Codes and types of an account that can't be served.
const REFUSED: [&str; 8] = [
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
    "billing_hard_limit_reached",
    "invalid_api_key",
    "model_not_found",
];

/// Codes and types of moderation.
const REJECTED: [&str; 3] = ["moderation_blocked", "content_policy_violation", "image_generation_user_error"];

/// Decides what an answer with an unsuccessful status means.
pub(super) fn classify(status: u16, wait: Wait, body: &[u8]) -> Unsuccessful {
    let detail = serde_json::from_slice::<Body>(body).ok().and_then(|body| body.error);
    let own_word = detail.is_some();
    let detail = detail.unwrap_or_default();
    let code = match &detail.code {
        serde_json::Value::String(code) => code.clone(),
        serde_json::Value::Number(code) => code.to_string(),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Array(_)
        | serde_json::Value::Object(_) => String::new(),
    };
    let kind = detail.kind.unwrap_or_default();
    let is = |names: &[&str]| names.contains(&code.as_str()) || names.contains(&kind.as_str());

    let mut message = format!("HTTP {status}");
    for part in [&code, &kind].into_iter().filter(|part| !part.is_empty()) {
        message.push_str(&format!(" {}", words(part)));
    }
    if let Some(param) = detail.param.filter(|param| !param.is_empty()) {
        message.push_str(&format!(" ({})", words(&param)));
    }
    let said = if own_word { detail.message } else { excerpt(body) };
    if !said.is_empty() {
        message.push_str(&format!(": {}", words(&said)));
    }
    let message = words(&message);

    let retry_after = wait.retry_after;
    Unsuccessful::Failed(match status {
        200 | 400 | 422 if is(&REJECTED) => return Unsuccessful::Rejected(message),
        // Proxies give unknown models any status.
        _ if is(&REFUSED) => Error::Refused { message },
        200 => Error::BadAnswer { message },
        401..=404 => Error::Refused { message },
        429 => Error::Throttled { retry_after, message },
        408 | 409 | 500.. if own_word => Error::Unavailable { retry_after, message },
        // Somebody on the way answered, not the API: it may have worked on.
        408 | 409 | 500.. => Error::Ambiguous { message },
        _ => Error::BadRequest { message },
    })
}

/// The first words of a body that isn't the API's own error.
fn excerpt(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(200)]).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderMap, HeaderValue};

    use super::*;

    fn kind(status: u16, body: &str) -> &'static str {
        match classify(status, Wait::default(), body.as_bytes()) {
            Unsuccessful::Rejected(_) => "rejected",
            Unsuccessful::Failed(Error::Throttled { .. }) => "throttled",
            Unsuccessful::Failed(Error::Unavailable { .. }) => "unavailable",
            Unsuccessful::Failed(Error::Ambiguous { .. }) => "ambiguous",
            Unsuccessful::Failed(Error::Refused { .. }) => "refused",
            Unsuccessful::Failed(Error::TimedOut) => "timed out",
            Unsuccessful::Failed(Error::Cut { .. }) => "cut",
            Unsuccessful::Failed(Error::BadRequest { .. }) => "bad request",
            Unsuccessful::Failed(Error::BadAnswer { .. }) => "bad answer",
        }
    }

    #[test]
    fn each_documented_error_has_its_meaning() {
        let error = |kind: &str, code: &str| {
            format!(r#"{{"error":{{"message":"m","type":"{kind}","param":null,"code":{code}}}}}"#)
        };
        let cases = [
            (400, error("image_generation_user_error", r#""moderation_blocked""#), "rejected"),
            (400, error("invalid_request_error", r#""content_policy_violation""#), "rejected"),
            (400, error("invalid_request_error", "null"), "bad request"),
            (400, error("invalid_request_error", r#""model_not_found""#), "refused"),
            (413, "too large".into(), "bad request"),
            (422, error("invalid_request_error", "null"), "bad request"),
            (200, error("image_generation_user_error", r#""moderation_blocked""#), "rejected"),
            (200, error("insufficient_quota", "null"), "refused"),
            (200, error("server_error", "null"), "bad answer"),
            (401, error("invalid_request_error", r#""invalid_api_key""#), "refused"),
            (403, error("permission_error", "null"), "refused"),
            (404, error("invalid_request_error", r#""model_not_found""#), "refused"),
            (429, error("insufficient_quota", r#""insufficient_quota""#), "refused"),
            (429, error("insufficient_quota", r#""project_spend_limit_exceeded""#), "refused"),
            (429, error("requests", r#""rate_limit_exceeded""#), "throttled"),
            (429, error("", "429"), "throttled"),
            (429, "<html>slow down</html>".into(), "throttled"),
            (500, error("server_error", "null"), "unavailable"),
            (500, "<html>oops</html>".into(), "ambiguous"),
            (502, "<html>bad gateway</html>".into(), "ambiguous"),
            (503, "".into(), "ambiguous"),
            (503, error("server_error", "null"), "unavailable"),
            (503, error("", r#""model_not_found""#), "refused"),
            (504, "<html>timeout</html>".into(), "ambiguous"),
            (504, error("server_error", "504"), "unavailable"),
        ];
        for (status, body, expected) in cases {
            assert_eq!(kind(status, &body), expected, "{status} {body}");
        }
    }

    #[test]
    fn every_form_of_retry_after_is_read() {
        let wait = |pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, HeaderValue::from_str(value).unwrap());
            }
            Wait::of(&headers).retry_after
        };
        let date = ("date", "Tue, 24 Nov 2026 10:00:00 GMT");
        assert_eq!(wait(&[("retry-after", "7")]), Some(Duration::from_secs(7)));
        assert_eq!(wait(&[("retry-after", "0.5")]), Some(Duration::from_millis(500)));
        assert_eq!(
            wait(&[("retry-after-ms", "250"), ("retry-after", "9")]),
            Some(Duration::from_millis(250))
        );
        assert_eq!(
            wait(&[date, ("retry-after", "Tue, 24 Nov 2026 10:00:30 GMT")]),
            Some(Duration::from_secs(30))
        );
        assert_eq!(wait(&[date, ("retry-after", "Tue, 24 Nov 2026 09:00:00 GMT")]), Some(Duration::ZERO));
        assert_eq!(wait(&[("retry-after", "-3")]), Some(Duration::ZERO));
        assert_eq!(wait(&[("retry-after", "soon")]), None);
        let used_up =
            |reset| [("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", reset)];
        assert_eq!(wait(&used_up("1s")), Some(Duration::from_secs(1)));
        assert_eq!(wait(&used_up("6m0s")), Some(Duration::from_secs(360)));
        assert_eq!(wait(&used_up("20ms")), Some(Duration::from_millis(20)));
        assert_eq!(wait(&used_up("1h2m3.5s")), Some(Duration::from_millis(3_723_500)));
        assert_eq!(wait(&used_up("2.5")), Some(Duration::from_millis(2500)));
        assert_eq!(wait(&used_up("later")), None);
        let left = [("x-ratelimit-remaining-requests", "1"), ("x-ratelimit-reset-requests", "1s")];
        assert_eq!(wait(&left), None);
        let [a, b] = used_up("9s");
        assert_eq!(wait(&[a, b, ("retry-after", "2")]), Some(Duration::from_secs(2)));
        assert_eq!(wait(&[]), None);
    }
}
