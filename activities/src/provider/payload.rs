//! Reads one image out of a text: a URL, a data URL, or base64, as leniently as a browser.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use url::Url;

use super::Payload;

/// Longest URL that an answer may give, in bytes. A longer one would burden the history.
const MAX_URL_BYTES: usize = 8_192;
/// Most `data:` prefixes that are taken off, because some gateways nest data URLs.
const MAX_PREFIXES: usize = 3;

/// Base64 decoder that, like a browser's, takes texts without padding and with stray bits at the
/// end.
const FORGIVING: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// Reads the image out of a text. The error describes the text without quoting it.
pub(super) fn read(text: &str) -> Result<Payload, String> {
    let text = text.trim();
    let mut body = text;
    for _ in 0..MAX_PREFIXES {
        if !starts_with(body, "data:") {
            break;
        }
        let (kind, data) = body.split_once(',').ok_or("a data URL without data")?;
        if !kind.trim_end().to_ascii_lowercase().ends_with("base64") {
            return Err("a data URL that isn't base64".to_owned());
        }
        body = data.trim_start();
    }
    let data = if body.len() < text.len() { percent_decoded(body) } else { Cow::Borrowed(body) };
    if starts_with(&data, "http:") || starts_with(&data, "https:") {
        return url(data.trim()).map(Payload::Url);
    }
    match base64(&data) {
        Some(bytes) if !bytes.is_empty() => Ok(Payload::Bytes(bytes)),
        Some(_) => Err("empty".to_owned()),
        None => Err(format!("{} bytes of text, neither an http(s) URL nor base64", text.len())),
    }
}

/// Checks that a URL may be stored in the history and the database, and be fetched.
fn url(text: &str) -> Result<String, String> {
    if text.len() > MAX_URL_BYTES {
        return Err(format!("a URL of {} bytes, more than {MAX_URL_BYTES}", text.len()));
    }
    if text.contains(|char: char| char.is_control()) {
        return Err("a URL with control characters".to_owned());
    }
    match Url::parse(text) {
        Ok(url) if url.has_host() => Ok(text.to_owned()),
        Ok(_) | Err(_) => Err("no valid URL".to_owned()),
    }
}

/// Decodes base64 as a browser does, and accepts the alphabet of base64url too.
fn base64(text: &str) -> Option<Bytes> {
    let is_odd = |byte: u8| byte.is_ascii_whitespace() || matches!(byte, b'-' | b'_');
    let plain = if text.bytes().any(is_odd) {
        let kept = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).map(|byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            byte => byte,
        });
        Cow::Owned(kept.collect())
    } else {
        Cow::Borrowed(text.as_bytes())
    };
    let end = plain.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    FORGIVING.decode(&plain[..end]).ok().map(Bytes::from)
}

/// Decodes the percent-encoding of a data URL's body. Bytes beyond ASCII stay encoded.
fn percent_decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        decoded.push_str(before);
        match after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if byte.is_ascii() => {
                decoded.push(char::from(byte));
                rest = &after[2..];
            }
            _ => {
                decoded.push('%');
                rest = after;
            }
        }
    }
    decoded.push_str(rest);
    Cow::Owned(decoded)
}

fn starts_with(text: &str, prefix: &str) -> bool {
    let text = text.trim_start();
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str) -> Option<String> {
        match read(text) {
            Ok(Payload::Bytes(bytes)) => Some(String::from_utf8(bytes.to_vec()).unwrap()),
            Ok(Payload::Url(_)) | Err(_) => None,
        }
    }

    #[test]
    fn base64_is_taken_as_a_browser_takes_it() {
        // `>>>???` has the two characters in which the alphabets differ.
        let cases = [
            ("Pj4+Pz8/", Some(">>>???")),
            ("Pj4-Pz8_", Some(">>>???")),
            ("  Pj4+\r\n\tPz8/\n", Some(">>>???")),
            ("b25lIQ==", Some("one!")),
            ("b25lIQ=", Some("one!")),
            ("b25lIQ", Some("one!")),
            ("b25lIR==", Some("one!")),
            ("data:image/png;base64,b25lIQ==", Some("one!")),
            ("DATA:image/png;charset=utf-8;name=\"a.png\";Base64,b25lIQ", Some("one!")),
            ("data:;base64, b25l\nIQ==", Some("one!")),
            ("data:image/png;base64,Pj4%2BPz8%2F", Some(">>>???")),
            ("data:image/png;base64,b25lIQ%3D%3D", Some("one!")),
            ("data:image/png;base64,data:image/png;base64,b25lIQ==", Some("one!")),
            ("data:image/svg+xml,<svg/>", None),
            ("data:image/png;base64", None),
            ("b25lI", None),
            ("%%%", None),
            ("", None),
            ("====", None),
        ];
        for (text, expected) in cases {
            assert_eq!(decoded(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn only_urls_that_can_be_fetched_and_recorded_are_taken() {
        let long = format!("https://x/{}", "u".repeat(MAX_URL_BYTES));
        let cases = [
            ("https://x/a.png?sig=a%2Fb&c=d", true),
            ("HTTP://x/a b.png", true),
            (" https://x/1\n", true),
            ("https://x/a\0b", false),
            ("https://x/a\nb", false),
            ("https://x/a\u{9b}b", false),
            ("https://", false),
            ("https://[::1/", false),
            ("ftp://x/a.png", false),
            ("file:///etc/passwd", false),
            ("/files/1.png", false),
            ("javascript:alert(1)", false),
            (long.as_str(), false),
        ];
        for (text, taken) in cases {
            match read(text) {
                Ok(Payload::Url(url)) => assert!(taken && url == text.trim(), "{text}"),
                Ok(Payload::Bytes(_)) => panic!("{text} is no base64"),
                Err(why) => assert!(!taken && !why.contains("sig"), "{text}: {why}"),
            }
        }
    }
}
