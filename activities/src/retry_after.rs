//! Reads the wait that an HTTP answer asks for.

use std::time::{Duration, SystemTime};

use reqwest::header::HeaderMap;

/// Reads `retry-after-ms`, else `retry-after` (RFC 9110, 10.2.3) in seconds, fractions included, or
/// as a date, compared with the answer's own `date`.
pub(crate) fn of_headers(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let milliseconds = text("retry-after-ms").and_then(|ms| ms.parse::<f64>().ok());
    if let Some(wait) = milliseconds.and_then(|ms| seconds(ms / 1000.0)) {
        return Some(wait);
    }
    let value = text("retry-after")?;
    if let Ok(number) = value.parse::<f64>() {
        return seconds(number);
    }
    let now = text("date").and_then(|date| httpdate::parse_http_date(date).ok());
    let until = httpdate::parse_http_date(value).ok()?;
    Some(until.duration_since(now.unwrap_or_else(SystemTime::now)).unwrap_or_default())
}

/// Returns a number of seconds as a duration, 0 if the number is negative.
pub(crate) fn seconds(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds.max(0.0)).ok()
}
