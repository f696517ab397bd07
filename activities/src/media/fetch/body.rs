//! Reads an answer's body chunk by chunk, under a limit of bytes and of time.

use std::time::Duration;

use ::url::Url;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use tokio::time::{Instant, timeout_at};

use super::error::{self, Error};
use crate::media::incoming::Incoming;

/// Most bytes that are reserved in advance for a body in memory. An announced length isn't trusted
/// with more.
const MAX_FIRST_ALLOCATION_BYTES: u64 = 1024 * 1024;

/// Answer to one [`super::Fetcher::get`]. Dropping the body ends the download.
#[derive(Debug)]
pub struct Body {
    /// Length in bytes that the server announced, within the limit.
    pub content_length: Option<u64>,
    /// Media type that the server claims, cut to 128 characters. The content may be something else.
    pub content_type: Option<String>,
    response: reqwest::Response,
    url: Url,
    limits: Limits,
    got_bytes: u64,
}

#[derive(Debug)]
pub(super) struct Limits {
    pub(super) deadline: Instant,
    /// Whole time of the fetch, of which the deadline was computed, for the error's message.
    pub(super) total_timeout: Duration,
    pub(super) max_bytes: u64,
}

impl Body {
    /// Takes an answer whose body is still unread. Refuses a body whose announced length is beyond
    /// the limit.
    pub(super) fn new(
        response: reqwest::Response,
        url: Url,
        content_type: Option<String>,
        limits: Limits,
    ) -> Result<Self, Error> {
        let content_length = response.content_length();
        if content_length.is_some_and(|length| length > limits.max_bytes) {
            return Err(Error::TooLarge { limit_bytes: limits.max_bytes });
        }
        Ok(Self { content_length, content_type, response, url, limits, got_bytes: 0 })
    }

    /// Returns the next chunk, or `None` once the body is complete. Must not be called after an
    /// error.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Cut`], or [`Error::Unreachable`] if it takes too long.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let Limits { deadline, total_timeout, max_bytes } = self.limits;
        let cut = Error::Cut { got: self.got_bytes, expected: self.content_length };
        match timeout_at(deadline, self.response.chunk()).await {
            Err(_) => Err(error::too_slow(&self.url, total_timeout)),
            Ok(Err(error)) if error.is_timeout() => Err(error::of_request(error, &self.url)),
            Ok(Err(_)) => Err(cut),
            Ok(Ok(None)) if self.content_length.is_some_and(|length| length != self.got_bytes) => Err(cut),
            Ok(Ok(None)) => Ok(None),
            Ok(Ok(Some(chunk))) => {
                self.got_bytes = self.got_bytes.saturating_add(chunk.len() as u64);
                if self.got_bytes > max_bytes {
                    return Err(Error::TooLarge { limit_bytes: max_bytes });
                }
                Ok(Some(chunk))
            }
        }
    }

    /// Turns the body into an [`Incoming`], which bodies from the store are too.
    pub(crate) fn into_incoming(self) -> Incoming {
        let length = self.content_length;
        let chunks = futures::stream::try_unfold(self, |mut body| async move {
            let chunk = body.chunk().await?;
            Ok(chunk.map(|chunk| (chunk, body)))
        });
        Incoming { length, stream: chunks.boxed() }
    }

    /// Reads the whole body into memory, up to the limit of the fetch.
    ///
    /// # Errors
    /// The errors of [`Body::chunk`].
    pub async fn bytes(mut self) -> Result<Bytes, Error> {
        let room = self.content_length.unwrap_or(0).min(MAX_FIRST_ALLOCATION_BYTES);
        let mut bytes = BytesMut::with_capacity(usize::try_from(room).unwrap_or(0));
        while let Some(chunk) = self.chunk().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.freeze())
    }
}
