//! The Images API's JSON.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{AnswerFormat, Call, Error, Payload, Preset, Settings};

/// Longest URL an answer may give: a longer one is not taken into the history.
const MAX_URL_BYTES: usize = 8_192;

/// Body of `POST /images/generations`.
#[derive(Debug, Serialize)]
pub(super) struct Generation<'a> {
    model: &'a str,
    prompt: &'a str,
    n: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<[String; 1]>,
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
        let data_url = format!(
            "data:{};base64,{}",
            content_type(&call.reference),
            BASE64_STANDARD.encode(&call.reference)
        );
        Self {
            model: &settings.model,
            prompt: call.prompt,
            n: call.images,
            image: Some([data_url]),
            response_format: response_format(settings.preset, call.answer),
            size: &settings.size,
            quality: &settings.quality,
            aspect_ratio: &settings.aspect_ratio,
            output_format: &settings.output_format,
        }
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

/// Reads a successful answer: at most `asked` images, whichever way each came.
pub(super) fn read(body: &[u8], asked: u32) -> Result<Vec<Payload>, Error> {
    let malformed = |message: String| Error::BadAnswer { message };
    let images: Images =
        serde_json::from_slice(body).map_err(|error| malformed(format!("not an Images answer: {error}")))?;
    images.data.into_iter().take(asked as usize).filter_map(|image| payload(image).transpose()).collect()
}

/// `None` where an entry holds no image: it counts as missing, as in a short answer.
fn payload(image: Image) -> Result<Option<Payload>, Error> {
    let decode = |text: &str| {
        BASE64_STANDARD
            .decode(text.trim())
            .map(|bytes| Some(Payload::Bytes(Bytes::from(bytes))))
            .map_err(|error| Error::BadAnswer { message: format!("an image's base64 is broken: {error}") })
    };
    match (image.b64_json, image.url) {
        (Some(text), _) if !text.is_empty() => decode(&text),
        (_, Some(url)) if url.starts_with("data:") => match url.split_once(";base64,") {
            Some((_, text)) => decode(text),
            None => Err(Error::BadAnswer { message: "a data URL without base64".into() }),
        },
        (_, Some(url)) if url.len() > MAX_URL_BYTES => Err(Error::BadAnswer {
            message: format!("a URL of {} bytes: {MAX_URL_BYTES} at most", url.len()),
        }),
        (_, Some(url)) if !url.is_empty() => Ok(Some(Payload::Url(url))),
        _ => Ok(None),
    }
}
