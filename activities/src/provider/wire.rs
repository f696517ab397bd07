//! The Images API's JSON.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{AnswerFormat, Call, Error, Payload, Preset, ReferenceImage, Settings};

/// Longest URL an answer may give: a longer one is not taken into the history.
const MAX_URL_BYTES: usize = 8_192;

/// Body of `POST /images/generations`, but for `image`: megabytes, shared with other calls.
#[derive(Debug, Serialize)]
pub(super) struct Generation<'a> {
    model: &'a str,
    prompt: &'a str,
    n: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<&'static str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    size: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    quality: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    aspect_ratio: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    output_format: &'a str,
}

impl<'a> Generation<'a> {
    pub(super) fn new(settings: &'a Settings, call: &'a Call<'a>) -> Self {
        Self {
            model: &settings.model,
            prompt: call.prompt,
            n: call.images,
            response_format: response_format(settings.preset, call.answer),
            size: &settings.size,
            quality: &settings.quality,
            aspect_ratio: &settings.aspect_ratio,
            output_format: &settings.output_format,
        }
    }
}

impl Generation<'_> {
    /// Its length, and the JSON with the image in it as a data URL. Base64 needs no escapes, and the image isn't copied.
    pub(super) fn body(&self, reference: &ReferenceImage) -> (usize, reqwest::Body) {
        // An object of strings and a number always serializes, and ends with a brace.
        let mut head = serde_json::to_string(self).unwrap_or_default();
        head.pop();
        let ReferenceImage { content_type, encoded, .. } = reference;
        head.push_str(&format!(r#","image":["data:{content_type};base64,"#));
        let parts = [Bytes::from(head), encoded.clone(), Bytes::from_static(br#""]}"#)];
        let length = parts.iter().map(Bytes::len).sum();
        let parts = futures::stream::iter(parts.map(Ok::<_, std::convert::Infallible>));
        (length, reqwest::Body::wrap_stream(parts))
    }
}

/// OpenAI's own GPT models refuse `response_format`: they always answer in base64.
pub(super) fn response_format(preset: Preset, answer: AnswerFormat) -> Option<&'static str> {
    match (preset, answer) {
        (Preset::Openai, _) => None,
        (Preset::Aggregator, AnswerFormat::Url) => Some("url"),
        (Preset::Aggregator, AnswerFormat::B64Json) => Some("b64_json"),
    }
}

/// Media type by the first bytes; what we store is one of these.
pub(super) fn content_type(bytes: &[u8]) -> &'static str {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [b'R', b'I', b'F', b'F', ..] => "image/webp",
        _ => "image/jpeg",
    }
}

#[derive(Debug, Deserialize)]
struct Images {
    data: Vec<Image>,
}

#[derive(Debug, Deserialize)]
struct Image {
    url: Option<String>,
    b64_json: Option<String>,
}

/// Whether a body, whatever its status says, is the API's own error: no images, but an `error`.
pub(super) fn is_error(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Either {
        data: Option<serde::de::IgnoredAny>,
        error: Option<serde::de::IgnoredAny>,
    }
    serde_json::from_slice::<Either>(body).is_ok_and(|either| either.data.is_none() && either.error.is_some())
}

/// Reads a successful answer: at most `asked` images, whichever way each came, and how many there were.
///
/// An entry that holds no image, or a broken one, counts as missing, as in a short answer: the others are paid for.
pub(super) fn read(body: &[u8], asked: u32) -> Result<(Vec<Payload>, u32), Error> {
    let images: Images = serde_json::from_slice(body).map_err(|error| Error::BadAnswer {
        // Serde's own words quote what was sent.
        message: format!("not an Images answer ({:?} error at column {})", error.classify(), error.column()),
    })?;
    let billed = images.data.len() as u32;
    Ok((images.data.into_iter().filter_map(payload).take(asked as usize).collect(), billed))
}

fn payload(image: Image) -> Option<Payload> {
    let decode = |text: &str| BASE64_STANDARD.decode(text.trim()).ok().map(Bytes::from).map(Payload::Bytes);
    match (image.b64_json, image.url) {
        (Some(text), _) if !text.is_empty() => decode(&text),
        (_, Some(url)) if url.starts_with("data:") => decode(url.split_once(";base64,")?.1),
        (_, Some(url)) if url.is_empty() || url.len() > MAX_URL_BYTES => None,
        (_, url) => url.map(Payload::Url),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(body: &str, asked: u32) -> String {
        let payloads = read(body.as_bytes(), asked).unwrap().0.into_iter().map(|payload| match payload {
            Payload::Url(url) => url,
            Payload::Bytes(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        });
        payloads.collect::<Vec<_>>().join(" ")
    }

    #[tokio::test]
    async fn the_body_is_json_of_the_length_it_states() {
        use http_body_util::BodyExt;
        let generation = Generation {
            model: "m",
            prompt: "a \"garden\"",
            n: 2,
            response_format: Some("url"),
            size: "",
            quality: "high",
            aspect_ratio: "",
            output_format: "",
        };
        let image = ReferenceImage::new(Bytes::from_static(b"\x89PNG!"), super::super::Reference::ImageField);
        let (length, body) = generation.body(&image);
        let bytes = body.collect().await.unwrap().to_bytes();
        assert_eq!(bytes.len(), length);
        let expected = serde_json::json!({
            "model": "m", "prompt": "a \"garden\"", "n": 2, "response_format": "url", "quality": "high",
            "image": ["data:image/png;base64,iVBORyE="],
        });
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&bytes).unwrap(), expected);
    }

    #[test]
    fn an_image_is_read_whichever_way_it_came() {
        assert_eq!(
            images(r#"{"data":[{"b64_json":"b25l"},{"url":"https://x/2"}],"created":1}"#, 2),
            "one https://x/2"
        );
        assert_eq!(images(r#"{"data":[{"url":"data:image/png;base64,b25l"}]}"#, 1), "one");
        assert_eq!(images(r#"{"data":[{"b64_json":"","url":"https://x/2"}]}"#, 1), "https://x/2");
    }

    #[test]
    fn a_broken_image_costs_no_other_and_more_than_asked_are_left() {
        let body = format!(
            r#"{{"data":[{{"b64_json":"%%%"}},{{}},{{"url":"{}"}},{{"url":"data:nonsense"}},{{"b64_json":"b25l"}},{{"b64_json":"dHdv"}}]}}"#,
            "u".repeat(MAX_URL_BYTES + 1)
        );
        assert_eq!(images(&body, 1), "one");
        assert_eq!(images(&body, 5), "one two");
    }

    #[test]
    fn an_unreadable_answer_is_not_quoted() {
        let error = read(br#"{"data":"a secret of any length"}"#, 1).unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
        assert!(is_error(br#"{"error":{"code":"moderation_blocked"}}"#));
        assert!(!is_error(br#"{"data":[],"error":null}"#));
        assert!(!is_error(b"<html>"));
    }
}
