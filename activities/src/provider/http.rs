//! The calls themselves, over HTTP. One request each: Temporal retries.

use std::time::Duration;

use bytes::BytesMut;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use reqwest::multipart::{Form, Part};
use secrecy::ExposeSecret;

use super::answer::{Read, Reply};
use super::wire::{self, Generation};
use super::{Answer, Call, Error, Reference, ReferenceImage, Settings, wait};
use crate::failure::words as one_line;

/// An answer may carry ten images in base64, and no more than this.
const MAX_ANSWER_BYTES: usize = 256 << 20;
/// How long the list of models may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);

/// One account at one provider.
#[derive(Debug, Clone)]
pub struct Provider {
    client: reqwest::Client,
    settings: Settings,
}

impl Provider {
    /// A client of the provider. Talks to nobody yet.
    pub fn new(settings: &Settings) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .user_agent(concat!("darkroom/", env!("CARGO_PKG_VERSION")))
            .retry(reqwest::retry::never())
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .timeout(Duration::from_secs(settings.timeout_s))
            .build()?;
        let words = settings.words.clone().with_overloaded_as(settings.overloaded());
        Ok(Self { client, settings: Settings { words, ..settings.clone() } })
    }

    /// The account's settings.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// One paid call.
    pub(crate) async fn call(&self, call: &Call<'_>) -> Result<Answer, Error> {
        let request = match self.settings.reference() {
            Reference::Edits => self.client.post(self.url("images/edits")).multipart(self.form(call)?),
            Reference::ImageField => {
                let (length, body) = Generation::new(&self.settings, call).body(call.reference);
                let post = self.client.post(self.url("images/generations"));
                post.header(CONTENT_TYPE, "application/json").header(CONTENT_LENGTH, length).body(body)
            }
        };
        let mut request = request.bearer_auth(self.settings.api_key.expose_secret().trim());
        if !self.settings.idempotency_header.is_empty() {
            request = request.header(&self.settings.idempotency_header, &call.idempotency_key);
        }
        let response = request.send().await.map_err(|error| lost(&error))?;

        let request_id = response.headers().get("x-request-id").and_then(|id| id.to_str().ok()).map(one_line);
        let reply = reply(response).await?;
        Ok(match reply.read(call.images, &self.settings.words, &self.settings.base_url)? {
            Read::Images { images, billed, left_out } => {
                Answer::Images { images, billed, left_out, request_id }
            }
            Read::Rejected(message) => Answer::Rejected { message, request_id },
        })
    }

    /// Asks for the list of models, which costs nothing.
    pub(super) async fn models(&self) -> Result<Reply, Error> {
        let request =
            self.client.get(self.url("models")).bearer_auth(self.settings.api_key.expose_secret().trim());
        let response = request.timeout(CHECK_TIMEOUT).send().await.map_err(|error| lost(&error))?;
        reply(response).await
    }

    fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.settings.base_url.trim_end_matches('/'))
    }

    /// Body of `POST /images/edits`.
    fn form(&self, call: &Call<'_>) -> Result<Form, Error> {
        let ReferenceImage { content_type, encoded, .. } = call.reference;
        let name = format!("reference.{}", content_type.trim_start_matches("image/"));
        let image = Part::stream_with_length(encoded.clone(), encoded.len() as u64)
            .file_name(name)
            .mime_str(content_type)
            .map_err(|error| Error::BadRequest { message: error.to_string() })?;
        let settings = &self.settings;
        let mut form = Form::new()
            .text("model", settings.model.clone())
            .text("prompt", call.prompt.to_owned())
            .text("n", call.images.to_string())
            .part("image[]", image);
        let optional = [
            ("response_format", wire::response_format(settings.preset, call.answer).unwrap_or_default()),
            ("size", &settings.size),
            ("quality", &settings.quality),
            ("aspect_ratio", &settings.aspect_ratio),
            ("output_format", &settings.output_format),
        ];
        for (name, value) in optional.into_iter().filter(|(_, value)| !value.is_empty()) {
            form = form.text(name, value.to_owned());
        }
        Ok(form)
    }
}

/// Reads an answer, its body up to the limit. A body that breaks off is an answer lost.
async fn reply(mut response: reqwest::Response) -> Result<Reply, Error> {
    let status = response.status().as_u16();
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let is_html = header(CONTENT_TYPE).is_some_and(|kind| kind.to_ascii_lowercase().contains("html"));
    let location = header(LOCATION).and_then(|to| response.url().join(to).ok());
    let location = location.map(|to| crate::fetch::redacted(to.as_str()));
    let wait = wait::of_headers(response.headers());
    let broken_off = |error: reqwest::Error| {
        let message = cause(&error);
        match status {
            _ if error.is_timeout() => Error::TimedOut,
            // It has begun to answer: it executes no more.
            200..300 => Error::Cut { message },
            _ => Error::Ambiguous { message, may_run: matches!(status, 408 | 504 | 524) },
        }
    };
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(broken_off)? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(Error::BadAnswer { message: format!("larger than {MAX_ANSWER_BYTES} bytes") });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Reply { status, wait, is_html, location, body: body.freeze() })
}

/// A request without an answer. Only where no connection came about is it certain that nothing was billed.
fn lost(error: &reqwest::Error) -> Error {
    let message = cause(error);
    if error.is_builder() {
        Error::BadRequest { message }
    } else if error.is_connect() {
        Error::Unavailable { retry_after: None, message }
    } else if error.is_timeout() {
        Error::TimedOut
    } else {
        Error::Ambiguous { message, may_run: true }
    }
}

/// What lies at the bottom of an error.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
