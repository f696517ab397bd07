//! The object store: one bucket behind the S3 protocol (R2, S3, MinIO, …).

pub(crate) mod listing;

use std::time::Duration;

use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use aws_smithy_http_client::tls::{Provider as Tls, rustls_provider::CryptoMode};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::incoming::{self, Incoming};

/// Section `[storage]` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The S3 endpoint, such as `https://<account>.r2.cloudflarestorage.com`; empty: AWS's own for the region.
    pub endpoint_url: String,
    /// The region; R2's is `auto`.
    pub region: String,
    /// The bucket. It must exist.
    pub bucket: String,
    /// Access key id.
    pub access_key_id: SecretString,
    /// Secret access key.
    pub secret_access_key: SecretString,
    /// Session token of temporary credentials; empty: none.
    pub session_token: SecretString,
    /// How long one request may take, in milliseconds; an upload counts as one.
    pub request_timeout_ms: u64,
}

/// What went wrong with the store, by what the caller can do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such object.
    #[error("there is no object `{key}`")]
    NotFound {
        /// The key.
        key: String,
    },
    /// The object is larger than it may be.
    #[error("object `{key}` has {size_bytes} bytes: {limit_bytes} at most")]
    TooLarge {
        /// The key.
        key: String,
        /// Its size.
        size_bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// Not reached, overloaded, or it refuses: worth another try, or the operator's eye.
    #[error("the object store could not {action}: {why}")]
    Unavailable {
        /// What was tried.
        action: String,
        /// What it said.
        why: String,
    },
}

/// The configured bucket.
#[derive(Debug, Clone)]
pub struct Storage {
    client: aws_sdk_s3::Client,
    bucket: String,
}

impl Storage {
    /// A client of the bucket. Talks to nobody yet. Retries nothing on its own: Temporal does.
    pub fn new(settings: &Settings) -> Self {
        let credentials = Credentials::new(
            settings.access_key_id.expose_secret(),
            settings.secret_access_key.expose_secret(),
            Some(settings.session_token.expose_secret()).filter(|token| !token.is_empty()).map(str::to_owned),
            None,
            "darkroom",
        );
        let request = Duration::from_millis(settings.request_timeout_ms);
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(request.min(Duration::from_secs(5)))
            .operation_timeout(request)
            .build();
        let http =
            aws_smithy_http_client::Builder::new().tls_provider(Tls::Rustls(CryptoMode::Ring)).build_https();
        let mut config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(settings.region.clone()))
            .credentials_provider(credentials)
            .force_path_style(true)
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts)
            // R2 knows neither the newer checksums nor their streaming trailers.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .http_client(http);
        if !settings.endpoint_url.is_empty() {
            config = config.endpoint_url(&settings.endpoint_url);
        }
        Self { client: aws_sdk_s3::Client::from_conf(config.build()), bucket: settings.bucket.clone() }
    }

    /// Checks that the bucket is there and may be listed, written and cleared.
    pub async fn check(&self) -> Result<(), Error> {
        let key = format!("staging/.check-{}", std::process::id());
        self.put(&key, "text/plain", Bytes::from_static(b"darkroom check")).await?;
        self.delete(&key).await?;
        let request = self.client.list_objects_v2().bucket(&self.bucket).max_keys(1);
        request
            .send()
            .await
            .map_err(|error| unavailable(format!("list bucket `{}`", self.bucket), &error))?;
        Ok(())
    }

    /// Stores bytes. Twice: the same bytes under the same key.
    pub async fn put(&self, key: &str, content_type: &str, bytes: Bytes) -> Result<(), Error> {
        self.put_body(key, content_type, None, ByteStream::from(bytes)).await
    }

    /// Stores what a stream of known length brings. A stream that ends early, or fails, stores nothing.
    pub(crate) async fn put_stream(
        &self,
        key: &str,
        content_type: &str,
        length: u64,
        stream: futures::stream::BoxStream<'static, std::io::Result<Bytes>>,
    ) -> Result<(), Error> {
        let body = ByteStream::new(SdkBody::from_body_1_x(reqwest::Body::wrap_stream(stream)));
        self.put_body(key, content_type, Some(length), body).await
    }

    /// Stores a file.
    pub(crate) async fn put_file(
        &self,
        key: &str,
        content_type: &str,
        file: tokio::fs::File,
    ) -> Result<(), Error> {
        let action = || format!("put `{key}`");
        let body = ByteStream::read_from().file(file).build().await;
        let body = body.map_err(|error| Error::Unavailable { action: action(), why: error.to_string() })?;
        self.put_body(key, content_type, None, body).await
    }

    async fn put_body(
        &self,
        key: &str,
        content_type: &str,
        length: Option<u64>,
        body: ByteStream,
    ) -> Result<(), Error> {
        let request = self.client.put_object().bucket(&self.bucket).key(key).content_type(content_type);
        let request = request.set_content_length(length.map(|length| length as i64)).body(body);
        request.send().await.map_err(|error| unavailable(format!("put `{key}`"), &error))?;
        Ok(())
    }

    /// Opens an object for reading.
    pub(crate) async fn open(&self, key: &str) -> Result<Incoming, Error> {
        let request = self.client.get_object().bucket(&self.bucket).key(key);
        let object = request.send().await.map_err(|error| match status(&error) {
            Some(404) => Error::NotFound { key: key.to_owned() },
            _ => unavailable(format!("get `{key}`"), &error),
        })?;
        let length = object.content_length().and_then(|length| u64::try_from(length).ok());
        let reading = (object.body, key.to_owned());
        let stream = futures::stream::try_unfold(reading, |(mut body, key)| async move {
            let chunk = body.try_next().await.map_err(|error| {
                let action = format!("get `{key}`");
                incoming::Error::from(Error::Unavailable { action, why: error.to_string() })
            })?;
            Ok(chunk.map(|chunk| (chunk, (body, key))))
        });
        Ok(Incoming { length, stream: stream.boxed() })
    }

    /// Reads an object of `limit_bytes` at most.
    pub async fn get(&self, key: &str, limit_bytes: u64) -> Result<Bytes, Error> {
        let Incoming { length, mut stream } = self.open(key).await?;
        let too_large = |size_bytes| Error::TooLarge { key: key.to_owned(), size_bytes, limit_bytes };
        if let Some(size_bytes) = length.filter(|&size_bytes| size_bytes > limit_bytes) {
            return Err(too_large(size_bytes));
        }
        let mut bytes = Vec::with_capacity(length.unwrap_or_default() as usize);
        let broke_off = |error: incoming::Error| {
            let action = format!("get `{key}`");
            Error::Unavailable { action, why: error.to_string() }
        };
        while let Some(chunk) = stream.try_next().await.map_err(broke_off)? {
            if (bytes.len() + chunk.len()) as u64 > limit_bytes {
                return Err(too_large((bytes.len() + chunk.len()) as u64));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.into())
    }

    /// Removes an object. One that isn't there is removed already.
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        let request = self.client.delete_object().bucket(&self.bucket).key(key);
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) if status(&error) == Some(404) => Ok(()),
            Err(error) => Err(unavailable(format!("delete `{key}`"), &error)),
        }
    }

    /// Keys and sizes of all objects under a prefix, in order.
    pub async fn list(&self, prefix: &str) -> Result<Vec<(String, u64)>, Error> {
        let mut objects = Vec::new();
        let mut pages =
            self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix).into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| unavailable(format!("list `{prefix}`"), &error))?;
            for object in page.contents.unwrap_or_default() {
                let size = object.size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default();
                objects.extend(object.key.map(|key| (key, size)));
            }
        }
        Ok(objects)
    }
}

/// HTTP status of an answer, also where its body isn't S3's XML.
fn status<E>(error: &SdkError<E>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

fn unavailable<E: ProvideErrorMetadata + std::error::Error + 'static>(
    action: String,
    error: &SdkError<E>,
) -> Error {
    let why = match (status(error), error.code()) {
        (Some(status), Some(code)) => {
            format!("HTTP {status} {code}: {}", error.message().unwrap_or("no message"))
        }
        (Some(status), None) => format!("HTTP {status}"),
        (None, _) => innermost(error),
    };
    Error::Unavailable { action, why }
}

/// The innermost cause: "connection refused" rather than "dispatch failure".
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
