//! Requests, read as strictly as the real API reads them.

mod field;
mod multipart;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::error::ApiError;
use super::reference::Source;
use super::settings::{Dialect, Format, Settings};
use field::Fields;

const MAX_PROMPT_CHARS: usize = 32_000;
const MAX_REFERENCES: usize = 16;
const EDGE_PX: std::ops::RangeInclusive<u32> = 64..=8192;
const QUALITIES: [&str; 7] = ["auto", "low", "medium", "high", "standard", "hd", ""];
const RATIOS: [&str; 10] = ["1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"];

/// One of the two calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    Generations,
    Edits,
}

impl Endpoint {
    pub(super) fn path(self) -> &'static str {
        match self {
            Endpoint::Generations => "/v1/images/generations",
            Endpoint::Edits => "/v1/images/edits",
        }
    }
}

/// A request that is in order.
#[derive(Debug, Clone)]
pub(super) struct ImageRequest {
    pub(super) prompt: Arc<str>,
    pub(super) n: u32,
    /// Width and height, or a ratio; none is the provider's choice.
    pub(super) shape: Option<(u32, u32)>,
    pub(super) format: Option<Format>,
    pub(super) quality: Option<u8>,
    /// A URL instead of the bytes?
    pub(super) by_url: bool,
    pub(super) references: Vec<Source>,
}

/// Reads the body of a call.
pub(super) async fn read(
    endpoint: Endpoint,
    settings: &Settings,
    headers: &HeaderMap,
    body: Body,
) -> Result<ImageRequest, ApiError> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (fields, files) = if content_type.starts_with("application/json") {
        (json(body).await?, Vec::new())
    } else if content_type.starts_with("multipart/form-data") && endpoint == Endpoint::Edits {
        multipart::read(headers, body).await?
    } else {
        let message = format!("Unsupported content type: '{content_type}'.");
        return Err(ApiError::invalid(415, message));
    };
    check(endpoint, settings, fields, files)
}

async fn json(body: Body) -> Result<Fields, ApiError> {
    let bytes = Bytes::from_request(Request::new(body), &()).await.map_err(|_| too_large())?;
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(fields)) => Ok(Fields::of_json(fields)),
        Ok(_) | Err(_) => Err(ApiError::invalid(
            400,
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library \
             correctly. The API expects a JSON payload, but what was sent was not valid JSON.)"
                .to_owned(),
        )),
    }
}

fn too_large() -> ApiError {
    ApiError::invalid(413, "Maximum content size limit exceeded.".to_owned())
}

fn check(
    endpoint: Endpoint,
    settings: &Settings,
    mut fields: Fields,
    files: Vec<Bytes>,
) -> Result<ImageRequest, ApiError> {
    let aggregator = settings.dialect == Dialect::Aggregator;
    fields.refuse_unknown(&known(endpoint, aggregator))?;

    match fields.text("model")? {
        None if aggregator => return Err(ApiError::missing_parameter("model")),
        Some(model) if model != settings.model => return Err(ApiError::model_not_found(&model)),
        None | Some(_) => {}
    }
    let prompt = prompt(&mut fields)?;
    let n = match fields.integer("n")? {
        None => 1,
        Some(n) => field::within("n", n, 1, 10)?,
    };
    let ratio = fields.one_of("aspect_ratio", &RATIOS)?;
    let shape = match fields.text("size")? {
        Some(size) if size != "auto" => Some(size_of(&size)?),
        None | Some(_) => ratio.and_then(|ratio| ratio_of(&ratio)),
    };
    fields.one_of("quality", &QUALITIES)?;
    fields.one_of("background", &["auto", "opaque", "transparent"])?;
    fields.one_of("moderation", &["auto", "low"])?;
    fields.one_of("input_fidelity", &["low", "high"])?;
    let format = fields.one_of("output_format", &["png", "jpeg", "webp"])?;
    let quality = match fields.integer("output_compression")? {
        None => None,
        Some(quality) => Some(field::within("output_compression", quality, 0, 100)? as u8),
    };
    let by_url = match fields.one_of("response_format", &["url", "b64_json"])? {
        Some(answer) => answer == "url",
        None => aggregator,
    };
    fields.text("user")?;

    let mut references: Vec<Source> = files.into_iter().map(Source::Bytes).collect();
    references.extend(named_references(&mut fields)?);
    if references.len() > MAX_REFERENCES {
        let message = format!("Invalid 'image': array too long. Expected at most {MAX_REFERENCES} images.");
        return Err(ApiError::parameter("image", "array_above_max_length", message));
    }
    if references.is_empty() && endpoint == Endpoint::Edits {
        return Err(ApiError::missing_parameter("image"));
    }
    let format = format.as_deref().and_then(Format::named);
    Ok(ImageRequest { prompt, n, shape, format, quality, by_url, references })
}

fn known(endpoint: Endpoint, aggregator: bool) -> Vec<&'static str> {
    let mut known = vec!["model", "prompt", "n", "size", "quality", "output_format", "output_compression"];
    known.extend(["background", "moderation", "user"]);
    if endpoint == Endpoint::Edits {
        known.extend(["images", "input_fidelity", "mask"]);
    }
    if aggregator {
        known.extend(["aspect_ratio", "response_format"]);
        if endpoint == Endpoint::Generations {
            known.push("image");
        }
    }
    known
}

fn prompt(fields: &mut Fields) -> Result<Arc<str>, ApiError> {
    let prompt = fields.text("prompt")?.ok_or_else(|| ApiError::missing_parameter("prompt"))?;
    if prompt.is_empty() {
        let message = "Invalid 'prompt': empty string. Expected a string with minimum length 1, but got an empty string instead.";
        return Err(ApiError::parameter("prompt", "empty_string", message.to_owned()));
    }
    let chars = prompt.chars().count();
    if chars > MAX_PROMPT_CHARS {
        let message = format!(
            "Invalid 'prompt': string too long. Expected a string with maximum length {MAX_PROMPT_CHARS}, but got a string \
             with length {chars} instead."
        );
        return Err(ApiError::parameter("prompt", "string_above_max_length", message));
    }
    Ok(prompt.into())
}

fn size_of(size: &str) -> Result<(u32, u32), ApiError> {
    let edges =
        size.split_once('x').and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    edges.filter(|(width, height)| EDGE_PX.contains(width) && EDGE_PX.contains(height)).ok_or_else(|| {
        let message = format!(
            "Invalid value: '{size}'. Supported values are: '1024x1024', '1024x1536', '1536x1024', and 'auto'."
        );
        ApiError::parameter("size", "invalid_value", message)
    })
}

fn ratio_of(ratio: &str) -> Option<(u32, u32)> {
    let (width, height) = ratio.split_once(':')?;
    Some((width.parse().ok()?, height.parse().ok()?))
}

/// An aggregator's `image`: one or several URLs or data URLs. OpenAI's `images` (JSON to `edits`): objects with `image_url`.
fn named_references(fields: &mut Fields) -> Result<Vec<Source>, ApiError> {
    let mut references = Vec::new();
    match fields.take("image") {
        None => {}
        Some(Value::Array(images)) => {
            for image in &images {
                references.push(source("image", image)?);
            }
        }
        Some(image) => references.push(source("image", &image)?),
    }
    match fields.take("images") {
        None => {}
        Some(Value::Array(images)) => {
            for image in &images {
                references.push(source("images", &image["image_url"])?);
            }
        }
        Some(_) => return Err(field::wrong_type("images", "an array of objects")),
    }
    Ok(references)
}

fn source(param: &str, value: &Value) -> Result<Source, ApiError> {
    let text = value.as_str().ok_or_else(|| field::wrong_type(param, "a URL"))?;
    let invalid =
        |why: &str| ApiError::parameter(param, "invalid_image_url", format!("Invalid '{param}': {why}."));
    if let Some(data) = text.strip_prefix("data:") {
        let (kind, encoded) = data.split_once(',').ok_or_else(|| invalid("a data URL without data"))?;
        if !kind.ends_with(";base64") || !kind.starts_with("image/") {
            return Err(invalid("a data URL must be 'data:image/…;base64,…'"));
        }
        let bytes = STANDARD.decode(encoded).map_err(|_| invalid("the data URL's base64 is wrong"))?;
        return Ok(Source::Bytes(Bytes::from(bytes)));
    }
    match url::Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(Source::Url(url)),
        Ok(_) | Err(_) => Err(invalid("expected an http(s) URL or a data URL")),
    }
}

impl ImageRequest {
    /// The same for the same request, however it was encoded.
    pub(super) fn fingerprint(&self, endpoint: Endpoint) -> [u8; 32] {
        let ImageRequest { prompt, n, shape, format, quality, by_url, references } = self;
        let told = format!("{endpoint:?} {n} {shape:?} {format:?} {quality:?} {by_url} {prompt}");
        let mut hash = Sha256::new().chain_update(told.len().to_be_bytes()).chain_update(told);
        for reference in references {
            match reference {
                Source::Bytes(bytes) => hash.update(Sha256::digest(bytes)),
                Source::Url(url) => hash.update(Sha256::digest(url.as_str())),
            }
        }
        hash.finalize().into()
    }
}
