//! The calls themselves, over HTTP. One request each: Temporal retries.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::multipart::{Form, Part};
use secrecy::ExposeSecret;

use super::error::{Unsuccessful, Wait, classify};
use super::wire::{self, Generation};
use super::{Answer, Call, Error, Reference, ReferenceImage, Settings};

/// An answer may carry ten images in base64, and no more than this.
const MAX_ANSWER_BYTES: usize = 256 << 20;

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
        Ok(Self { client, settings: settings.clone() })
    }

    /// The account's settings.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Checks that the base URL answers and takes the key. Costs nothing: asks for the list of models.
    pub async fn check(&self) -> Result<(), Error> {
        let request =
            self.client.get(self.url("models")).bearer_auth(self.settings.api_key.expose_secret().trim());
        let response = request.timeout(Duration::from_secs(10)).send().await.map_err(|error| lost(&error))?;
        match response.status().as_u16() {
            401 | 403 => {
                let message = format!("HTTP {} for the key", response.status());
                Err(Error::Refused { message })
            }
            500.. => {
                let message = format!("HTTP {}", response.status());
                Err(Error::Unavailable { retry_after: None, message })
            }
            // Some aggregators have no list of models; they answer, and that is what is asked.
            _ => Ok(()),
        }
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

        let status = response.status();
        let wait = Wait::of(response.headers());
        let header = |name: &str| response.headers().get(name)?.to_str().ok().map(str::to_owned);
        let request_id = header("x-request-id");
        let body = read(response).await?;
        if status.is_success() && !wire::is_error(&body) {
            let (images, billed) = wire::read(&body, call.images)?;
            return Ok(Answer::Images { images, billed, request_id });
        }
        match classify(status.as_u16(), wait, &body) {
            Unsuccessful::Rejected(message) => Ok(Answer::Rejected { message, request_id }),
            Unsuccessful::Failed(error) => Err(error),
        }
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

/// Reads the answer's body up to the limit. A body that breaks off is an answer lost.
async fn read(mut response: reqwest::Response) -> Result<Bytes, Error> {
    let mut body = BytesMut::new();
    // It has begun to answer: it works no more.
    let is_done = response.status().is_success();
    let broken_off = |error: reqwest::Error| {
        if is_done && !error.is_timeout() { Error::Cut { message: cause(&error) } } else { lost(&error) }
    };
    while let Some(chunk) = response.chunk().await.map_err(broken_off)? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(Error::BadAnswer { message: format!("larger than {MAX_ANSWER_BYTES} bytes") });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
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
        Error::Ambiguous { message }
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
