//! Makes calls over HTTP. Each is one request, because Temporal retries.

use std::time::Duration;

use bytes::BytesMut;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use reqwest::multipart::{Form, Part};
use secrecy::ExposeSecret;

use super::answer::{Read, Reply};
use super::wire::{self, Generation};
use super::{Answer, Call, Error, Reference, ReferenceImage, Settings, wait};
use workflows::failure::one_line;

/// Largest answer in bytes. An answer may hold ten images in base64.
const MAX_ANSWER_BYTES: usize = 256 << 20;
/// Timeout for the list of models.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);

/// Client of one account at one provider.
#[derive(Debug, Clone)]
pub struct Provider {
    client: reqwest::Client,
    settings: Settings,
}

impl Provider {
    /// Makes a client of the provider, without connecting to it.
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

    /// Returns the account's settings, in which overload already has its meaning as throttled or
    /// unavailable.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Makes one paid call and reads its answer. A second call with the same arguments is paid for
    /// again, unless the provider honours the idempotency key.
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
        let response = request.send().await.map_err(|error| transport_error(&error))?;

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
        let response =
            request.timeout(CHECK_TIMEOUT).send().await.map_err(|error| transport_error(&error))?;
        reply(response).await
    }

    fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.settings.base_url.trim_end_matches('/'))
    }

    /// Returns the body of `POST /images/edits`.
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

/// Reads an answer with its body, up to the limit. A body that breaks off is an error, because
/// nobody knows the rest of the answer.
async fn reply(mut response: reqwest::Response) -> Result<Reply, Error> {
    let status = response.status().as_u16();
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let is_html = header(CONTENT_TYPE).is_some_and(|kind| kind.to_ascii_lowercase().contains("html"));
    let location = header(LOCATION).and_then(|to| response.url().join(to).ok());
    let location = location.map(|to| crate::media::fetch::redacted(to.as_str()));
    let wait = wait::of_headers(response.headers());
    let broken_off = |error: reqwest::Error| {
        let message = cause(&error);
        match status {
            _ if error.is_timeout() => Error::TimedOut,
            // The provider has begun to answer, so it no longer executes the call.
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

/// Sorts the error of a request that got no answer. Only without a connection is it certain that
/// nothing was billed.
fn transport_error(error: &reqwest::Error) -> Error {
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

/// Returns the innermost cause of an error, in words.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
