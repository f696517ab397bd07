//! The object store, which is one bucket behind the S3 protocol (R2, S3, MinIO, …).

mod error;
pub(crate) mod listing;
#[cfg(test)]
mod tests;

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

use crate::media::incoming::{self, Incoming};
use error::excerpt;

pub use error::Error;

/// Section `[storage]` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// URL of the S3 endpoint, such as `https://<account>.r2.cloudflarestorage.com`. An empty URL
    /// means the endpoint of AWS in the region.
    pub endpoint_url: String,
    /// Region of the bucket, which is `auto` for R2.
    pub region: String,
    /// Name of the bucket, which must exist.
    pub bucket: String,
    /// Access key id of the credentials.
    pub access_key_id: SecretString,
    /// Secret access key of the credentials.
    pub secret_access_key: SecretString,
    /// Session token of temporary credentials. An empty token is not sent.
    pub session_token: SecretString,
    /// Timeout of one request in milliseconds. An upload is one request.
    pub request_timeout_ms: u64,
}

/// Client of the configured bucket.
#[derive(Debug, Clone)]
pub struct Storage {
    client: aws_sdk_s3::Client,
    bucket: String,
    /// Names of bucket and endpoint, for messages.
    place: String,
}

impl Storage {
    /// Makes a client of the bucket, without connecting to it. The client retries nothing, because
    /// Temporal does.
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
            // R2 supports neither the newer checksums nor their streaming trailers.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .http_client(http);
        if !settings.endpoint_url.is_empty() {
            config = config.endpoint_url(&settings.endpoint_url);
        }
        let client = aws_sdk_s3::Client::from_conf(config.build());
        Self { client, bucket: settings.bucket.clone(), place: place(settings) }
    }

    /// Checks that the bucket is there, by writing an object, deleting it and listing one page.
    pub async fn check(&self) -> Result<(), Error> {
        let key = format!("staging/.check-{}", std::process::id());
        self.put(&key, "text/plain", Bytes::from_static(b"darkroom check")).await?;
        self.delete(&key).await?;
        let request = self.client.list_objects_v2().bucket(&self.bucket).max_keys(1);
        request.send().await.map_err(|error| self.unavailable("list", "", &error))?;
        Ok(())
    }

    /// Stores bytes under a key. A second call replaces the object.
    pub async fn put(&self, key: &str, content_type: &str, bytes: Bytes) -> Result<(), Error> {
        self.put_body(key, content_type, None, ByteStream::from(bytes)).await
    }

    /// Stores a stream of known length in bytes. A stream that ends early, or fails, stores
    /// nothing.
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

    /// Stores the bytes of a file, which must stand at its beginning.
    pub(crate) async fn put_file(
        &self,
        key: &str,
        content_type: &str,
        file: tokio::fs::File,
    ) -> Result<(), Error> {
        let body = ByteStream::read_from().file(file).build().await;
        let body = body.map_err(|error| Error::Unavailable {
            action: self.action("put", key),
            why: error.to_string(),
        })?;
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
        request.send().await.map_err(|error| self.unavailable("put", key, &error))?;
        Ok(())
    }

    /// Opens an object for reading as a stream.
    pub(crate) async fn open(&self, key: &str) -> Result<Incoming, Error> {
        let request = self.client.get_object().bucket(&self.bucket).key(key);
        let object = request.send().await.map_err(|error| self.unread(key, &error))?;
        let length = object.content_length().and_then(|length| u64::try_from(length).ok());
        let reading = (object.body, self.action("get", key));
        let stream = futures::stream::try_unfold(reading, |(mut body, action)| async move {
            match body.try_next().await {
                Ok(chunk) => Ok(chunk.map(|chunk| (chunk, (body, action)))),
                Err(error) => {
                    Err(incoming::Error::from(Error::Unavailable { action, why: error.to_string() }))
                }
            }
        });
        Ok(Incoming { length, stream: stream.boxed() })
    }

    /// Reads an object of at most `limit_bytes` into memory.
    pub async fn get(&self, key: &str, limit_bytes: u64) -> Result<Bytes, Error> {
        let Incoming { length, mut stream } = self.open(key).await?;
        let too_large = |size_bytes| Error::TooLarge { key: key.to_owned(), size_bytes, limit_bytes };
        if let Some(size_bytes) = length.filter(|&size_bytes| size_bytes > limit_bytes) {
            return Err(too_large(size_bytes));
        }
        let mut bytes = Vec::with_capacity(length.unwrap_or_default() as usize);
        let broke_off = |error: incoming::Error| match error {
            incoming::Error::Storage(error) => error,
            error @ (incoming::Error::Fetch(_) | incoming::Error::Stopped) => {
                Error::Unavailable { action: self.action("get", key), why: error.to_string() }
            }
        };
        while let Some(chunk) = stream.try_next().await.map_err(broke_off)? {
            if (bytes.len() + chunk.len()) as u64 > limit_bytes {
                return Err(too_large((bytes.len() + chunk.len()) as u64));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.into())
    }

    /// Deletes an object from the bucket. Deleting an object that isn't there succeeds too.
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        let request = self.client.delete_object().bucket(&self.bucket).key(key);
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) if error::is_no_such_key(&error) => Ok(()),
            Err(error) => Err(self.unavailable("delete", key, &error)),
        }
    }

    /// Lists keys and sizes in bytes of all objects under a prefix, in the order of their keys.
    pub async fn list(&self, prefix: &str) -> Result<Vec<(String, u64)>, Error> {
        let mut objects = Vec::new();
        let mut pages =
            self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix).into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| self.unavailable("list", prefix, &error))?;
            for object in page.contents.unwrap_or_default() {
                let size = object.size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default();
                objects.extend(object.key.map(|key| (key, size)));
            }
        }
        Ok(objects)
    }

    /// Sorts the error of a failed read by what the caller can do.
    fn unread<E: ProvideErrorMetadata + std::error::Error + 'static>(
        &self,
        key: &str,
        error: &SdkError<E>,
    ) -> Error {
        if error::is_no_such_key(error) {
            return Error::NotFound { key: key.to_owned(), bucket: self.bucket.clone() };
        }
        if error::refuses_key(error) {
            return Error::KeyRefused { key: key.to_owned(), why: error::answer(error) };
        }
        self.unavailable("get", key, error)
    }

    fn unavailable<E: ProvideErrorMetadata + std::error::Error + 'static>(
        &self,
        verb: &str,
        key: &str,
        error: &SdkError<E>,
    ) -> Error {
        Error::Unavailable { action: self.action(verb, key), why: error::answer(error) }
    }

    /// Describes an action for a message, with key, bucket and endpoint.
    fn action(&self, verb: &str, key: &str) -> String {
        if key.is_empty() {
            return format!("{verb} {}", self.place);
        }
        format!("{verb} `{}` in {}", excerpt(key), self.place)
    }
}

/// Returns the names of bucket and endpoint, without the rest of the endpoint's URL.
fn place(settings: &Settings) -> String {
    let endpoint = match url::Url::parse(&settings.endpoint_url) {
        Ok(url) => url.origin().ascii_serialization(),
        Err(_) => format!("S3 in region {}", settings.region),
    };
    format!("bucket `{}` at {endpoint}", settings.bucket)
}
