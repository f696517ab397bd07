//! What goes back over the wire.

use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use super::body::{Pace, body};
use super::picture::Recipe;
use super::request::ImageRequest;
use super::settings::{Dialect, Settings};
use crate::fault::Entries;

/// What an image costs in tokens, as the real models count.
const TOKENS_PER_IMAGE: usize = 1290;
const REQUESTS_PER_MINUTE: u64 = 5000;

/// An answer, which can be given more than once.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Bytes,
    /// For the meter.
    pub(super) error_code: Option<String>,
    /// For the meter: a client can't use it.
    pub(super) spoilt: bool,
    pub(super) pace: Pace,
}

impl Answer {
    pub(super) fn json(status: u16, body: &Value) -> Answer {
        Answer {
            status,
            content_type: "application/json",
            headers: Vec::new(),
            body: Bytes::from(body.to_string()),
            error_code: None,
            spoilt: false,
            pace: Pace::AtOnce,
        }
    }

    /// What a gateway says when it is the one who answers.
    pub(super) fn html(status: u16) -> Answer {
        let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
        let title = format!("{status} {}", reason.unwrap_or("Error"));
        let body = format!(
            "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n\
             <hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
        );
        Answer { content_type: "text/html", body: Bytes::from(body), ..Answer::json(status, &Value::Null) }
    }

    /// What somebody says, as it stands.
    pub(super) fn verbatim(status: u16, body: &str) -> Answer {
        let content_type = if body.starts_with('<') { "text/html" } else { "application/json" };
        let error_code = serde_json::from_str::<Value>(body).ok().and_then(|body| {
            let code = &body["error"]["code"];
            code.as_str().map(str::to_owned).or_else(|| Some(code.as_u64()?.to_string()))
        });
        let body = Bytes::from(body.to_owned());
        Answer { content_type, body, error_code, ..Answer::json(status, &Value::Null) }
    }

    /// Its JSON ends in the middle.
    pub(super) fn cut(mut self) -> Answer {
        self.body.truncate(self.body.len() / 2);
        self.spoilt = true;
        self
    }

    /// How long it asks to wait.
    pub(super) fn retry_after_ms(&self) -> Option<u64> {
        let header = |name| self.headers.iter().find(|(header, _)| *header == name)?.1.parse::<u64>().ok();
        header("retry-after-ms").or_else(|| Some(header("retry-after")? * 1000))
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut headers = HeaderMap::new();
        let mut response = Response::new(body(self.body, self.pace, &mut headers));
        *response.headers_mut() = headers;
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        response
    }
}

/// One picture in an answer.
pub(super) enum Picture {
    Url(String),
    Bytes(Vec<u8>),
}

/// A call's success.
pub(super) fn success(
    settings: &Settings,
    request: &ImageRequest,
    created_s: u64,
    pictures: Vec<Picture>,
    recipes: &[Recipe],
    entries: Option<Entries>,
) -> Answer {
    let (text_tokens, output_tokens) = (request.prompt.len().div_ceil(4), recipes.len() * TOKENS_PER_IMAGE);
    let image_tokens = request.references.len() * TOKENS_PER_IMAGE;
    let input_tokens = text_tokens + image_tokens;
    let format = request.format.unwrap_or(settings.format);
    let mut data: Vec<Value> = pictures
        .into_iter()
        .map(|picture| match (picture, entries) {
            (Picture::Url(url), Some(Entries::BrokenBytes)) => json!({ "url": url, "b64_json": "<omitted>" }),
            (Picture::Url(url), _) => json!({ "url": url }),
            (Picture::Bytes(bytes), Some(Entries::DataUrls)) => {
                let data = STANDARD.encode(bytes);
                json!({ "b64_json": format!("data:{};base64,{data}", format.content_type()) })
            }
            (Picture::Bytes(bytes), _) => json!({ "b64_json": STANDARD.encode(bytes) }),
        })
        .collect();
    match (entries, data.first_mut()) {
        (Some(Entries::NullFirst), Some(first)) => *first = Value::Null,
        (Some(Entries::RejectedFirst), Some(first)) => {
            *first = json!({ "error": { "code": "OutputImageSensitiveContentDetected", "message": "The output image may contain sensitive information." } });
        }
        _ => {}
    }
    let mut body = json!({
        "created": created_s,
        "data": data,
        "usage": {
            "input_tokens": input_tokens,
            "input_tokens_details": { "text_tokens": text_tokens, "image_tokens": image_tokens },
            "output_tokens": output_tokens,
            "total_tokens": input_tokens + output_tokens,
        },
    });
    if settings.dialect == Dialect::OpenAi {
        let (width, height) = request.shape.unwrap_or((1024, 1024));
        body["size"] = json!(format!("{width}x{height}"));
        body["quality"] = json!("high");
        body["background"] = json!("opaque");
        body["output_format"] = json!(format.extension());
    }
    let mut answer = Answer::json(200, &body);
    answer.headers.extend([
        ("x-ratelimit-limit-requests", REQUESTS_PER_MINUTE.to_string()),
        ("x-ratelimit-remaining-requests", (REQUESTS_PER_MINUTE - 1).to_string()),
        ("x-ratelimit-reset-requests", "12ms".to_owned()),
    ]);
    answer
}
