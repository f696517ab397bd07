//! Bodies of the Images API's requests.

use bytes::Bytes;
use serde::Serialize;

use super::{AnswerFormat, Call, Preset, ReferenceImage, Settings};

/// Body of `POST /images/generations` without its field `image`. The image has megabytes, which all
/// calls of a batch share.
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
    /// Returns the length of the body in bytes, and the body: JSON with the image as a data URL.
    /// Base64 needs no escapes, and the image isn't copied.
    pub(super) fn body(&self, reference: &ReferenceImage) -> (usize, reqwest::Body) {
        // An object of strings and a number always serializes and ends with a brace.
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

/// Returns the request's `response_format`. OpenAI's GPT models refuse the field, because they
/// always answer in base64.
pub(super) fn response_format(preset: Preset, answer: AnswerFormat) -> Option<&'static str> {
    match (preset, answer) {
        (Preset::Openai, _) => None,
        (Preset::Aggregator, AnswerFormat::Url) => Some("url"),
        (Preset::Aggregator, AnswerFormat::B64Json) => Some("b64_json"),
    }
}

/// Returns the media type that the first bytes tell. The image comes from our store, so it is a
/// PNG, WebP or JPEG.
pub(super) fn content_type(bytes: &[u8]) -> &'static str {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [b'R', b'I', b'F', b'F', ..] => "image/webp",
        _ => "image/jpeg",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
