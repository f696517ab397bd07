//! The photo a picture is made from: fetched if it is a URL, decoded once, kept at the size last needed.

use std::io::Cursor;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use image::imageops::FilterType;
use image::{ImageReader, Limits, RgbImage};
use sha2::{Digest, Sha256};

use super::Shared;
use super::error::ApiError;
use super::recent::Recent;

/// The API's own limit.
const MAX_BYTES: usize = 50 * 1024 * 1024;
const MAX_EDGE_PX: u32 = 16_384;

/// A reference image as the request has it.
#[derive(Debug, Clone)]
pub(super) enum Source {
    Bytes(Bytes),
    Url(url::Url),
}

/// A reference image's bytes.
#[derive(Debug, Clone)]
pub(super) struct Reference {
    digest: [u8; 32],
    bytes: Bytes,
}

/// Decoded references by digest and size.
pub(super) type Decoded = Recent<([u8; 32], u32, u32), RgbImage>;

impl Source {
    /// Fetches it if need be. `place` counts from 1, as the API's message does.
    pub(super) async fn resolve(&self, shared: &Shared, place: usize) -> Result<Reference, ApiError> {
        let bytes = match self {
            Source::Bytes(bytes) => bytes.clone(),
            Source::Url(url) => fetch(&shared.http, url).await.map_err(|error| {
                let message = format!("Error while downloading {url}: {error:#}");
                ApiError::parameter("image", "invalid_image_url", message)
            })?,
        };
        if bytes.is_empty() || bytes.len() > MAX_BYTES {
            return Err(invalid(place));
        }
        Ok(Reference { digest: Sha256::digest(&bytes).into(), bytes })
    }
}

/// Are they all pictures? Decodes them, on a thread that may be busy, to the size at which they are kept.
pub(super) async fn check(
    shared: &Arc<Shared>,
    references: Vec<Reference>,
    (width, height): (u32, u32),
) -> Result<(), ApiError> {
    let shared = shared.clone();
    let checked = tokio::task::spawn_blocking(move || {
        for (place, reference) in references.iter().enumerate() {
            reference.decoded(&shared.decoded, width, height).map_err(|_| invalid(place + 1))?;
        }
        Ok(())
    });
    checked.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a reference image could not be checked");
        Err(ApiError::status(500, None))
    })
}

fn invalid(place: usize) -> ApiError {
    let message = format!("Invalid image file or mode for image {place}, please check your image file.");
    ApiError::parameter("image", "invalid_image_file", message)
}

async fn fetch(client: &reqwest::Client, url: &url::Url) -> Result<Bytes> {
    let mut response = client.get(url.clone()).send().await?.error_for_status()?;
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if bytes.len() + chunk.len() > MAX_BYTES {
            bail!("larger than {MAX_BYTES} bytes");
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Bytes::from(bytes))
}

impl Reference {
    /// Decoded, cropped in its middle to this shape and brought to this size.
    pub(super) fn decoded(&self, kept: &Decoded, width: u32, height: u32) -> Result<Arc<RgbImage>> {
        kept.get((self.digest, width, height), || {
            Ok(decode(&self.bytes)?.resize_to_fill(width, height, FilterType::Triangle).into_rgb8())
        })
    }

    /// The same for the same bytes.
    pub(super) fn digest(&self) -> [u8; 32] {
        self.digest
    }
}

fn decode(bytes: &[u8]) -> Result<image::DynamicImage> {
    let mut reader =
        ImageReader::new(Cursor::new(bytes)).with_guessed_format().context("reading the reference")?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_EDGE_PX);
    limits.max_image_height = Some(MAX_EDGE_PX);
    reader.limits(limits);
    reader.decode().context("the reference is no picture")
}
