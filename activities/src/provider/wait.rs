//! Reads the wait that an answer asks for, from its headers, its details or the words of its
//! message.

use std::time::Duration;

use reqwest::header::HeaderMap;

use crate::retry_after::{self, seconds};

/// Words that stand before a wait in a message, in lower case.
const BEFORE_A_WAIT: [&str; 8] = [
    "again in ",
    "again after ",
    "retry in ",
    "retry after ",
    "resets in ",
    "reset in ",
    "reset after ",
    "wait ",
];

/// Reads the wait from headers, in this order:
/// - `retry-after-ms` and `retry-after`;
/// - the reset of the limits that are used up (`x-ratelimit-remaining-…: 0`,
///   `x-ratelimit-reset-…`), the longest if there are several.
pub(super) fn of_headers(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let used_up = headers.iter().filter_map(|(name, value)| {
        let what = name.as_str().strip_prefix("x-ratelimit-remaining-")?;
        (value.to_str().ok()?.trim().parse::<f64>().ok()? <= 0.0)
            .then(|| span(text(&format!("x-ratelimit-reset-{what}"))?))?
    });
    retry_after::of_headers(headers).or_else(|| used_up.max())
}

/// Reads the wait that a message names, such as "Please try again in 12s", "in 467ms", "resets in
/// ~30s" or "retry after 20 seconds".
pub(super) fn of_message(message: &str) -> Option<Duration> {
    let message = message.to_ascii_lowercase();
    BEFORE_A_WAIT.iter().find_map(|words| {
        let (_, after) = message.split_once(words)?;
        let after = after.trim_start_matches(['~', ' ']);
        let after = after.strip_prefix("about ").unwrap_or(after);
        leading_span(after)
    })
}

/// Reads a span of time: OpenAI's `x-ratelimit-reset-…`, such as `1s`, `6m0s`, `1h2m3.5s` or
/// `20ms`, or Google's `retryDelay`. A number without a unit counts as seconds.
pub(super) fn span(text: &str) -> Option<Duration> {
    if let Ok(number) = text.parse::<f64>() {
        return seconds(number);
    }
    match pieces(text) {
        (whole, "") => whole.and_then(seconds),
        _ => None,
    }
}

/// Reads the span at the beginning of a text. A number without a unit is no span.
fn leading_span(text: &str) -> Option<Duration> {
    pieces(text).0.and_then(seconds)
}

/// Adds up the numbers with units at the beginning of a text. Returns their sum in seconds, and the
/// text after them.
fn pieces(text: &str) -> (Option<f64>, &str) {
    let mut whole = None;
    let mut rest = text;
    loop {
        let after = rest.trim_start();
        let digits = after.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(after.len());
        let (number, after) = after.split_at(digits);
        let after = after.trim_start();
        let letters = after.find(|char: char| !char.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let (Ok(number), Some(unit)) = (number.parse::<f64>(), unit_seconds(unit)) else {
            return (whole, rest);
        };
        whole = Some(whole.unwrap_or(0.0) + number * unit);
        rest = after;
    }
}

fn unit_seconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "ms" | "milliseconds" => 0.001,
        "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
        "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
        "h" | "hour" | "hours" => 3600.0,
        "d" | "day" | "days" => 86_400.0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn every_form_of_retry_after_is_read() {
        let wait = |pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, HeaderValue::from_str(value).unwrap());
            }
            of_headers(&headers)
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

    #[test]
    fn a_message_names_a_wait_in_its_own_words() {
        let cases = [
            ("Rate limit reached for images. Please try again in 12s. Visit …", Some(12_000)),
            ("Please try again in 467ms.", Some(467)),
            ("Request was throttled. Your rate limit resets in ~30s.", Some(30_000)),
            ("Please retry in 37.5s.", Some(37_500)),
            ("Please retry after 20 seconds.", Some(20_000)),
            ("Please try again in 6m0s.", Some(360_000)),
            ("Try again in about 1 minute", Some(60_000)),
            ("60 requests in 1 minute are allowed. Try again in 9s.", Some(9_000)),
            ("Please try again later.", None),
            ("Retry after 3 of them have ended", None),
            ("wait a moment", None),
            ("try again in 1e400s", None),
        ];
        for (message, expected) in cases {
            assert_eq!(of_message(message), expected.map(Duration::from_millis), "{message}");
        }
    }
}
