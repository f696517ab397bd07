//! Reads the bucket in bounded steps, for `reconcile`.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::primitives::DateTime;
use futures::TryStreamExt;
use sha2::{Digest, Sha256};

use super::{Error, Storage, error};
use crate::media::incoming::Incoming;
use crate::request::hex;

/// An object as a listing describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) key: String,
    pub(crate) size_bytes: u64,
    /// Time since the object was written, by our clock.
    pub(crate) age: Duration,
}

/// One page of a listing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Page {
    /// Objects by ascending key, compared byte by byte.
    pub(crate) objects: Vec<Listed>,
    /// True if more objects follow.
    pub(crate) more: bool,
}

impl Storage {
    /// Lists the next `limit` objects under a prefix whose keys are greater than `after`. An empty
    /// `after` begins at the first object.
    pub(crate) async fn page(&self, prefix: &str, after: &str, limit: u64) -> Result<Page, Error> {
        let request =
            self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix).max_keys(limit as i32);
        let request = request.set_start_after((!after.is_empty()).then(|| after.to_owned()));
        let page = request.send().await.map_err(|error| self.unavailable("list", prefix, &error))?;
        let more = page.is_truncated.unwrap_or_default();
        let listed = page.contents.unwrap_or_default().into_iter().filter_map(|object| {
            Some(Listed {
                key: object.key?,
                size_bytes: object.size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default(),
                age: object.last_modified.map(age).unwrap_or_default(),
            })
        });
        let mut objects: Vec<Listed> = listed.collect();
        objects.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(Page { objects, more })
    }

    /// Returns the size of an object in bytes, or `None` if there is no such object.
    pub(crate) async fn size(&self, key: &str) -> Result<Option<u64>, Error> {
        match self.client.head_object().bucket(&self.bucket).key(key).send().await {
            Ok(object) => {
                Ok(Some(object.content_length().and_then(|size| size.try_into().ok()).unwrap_or_default()))
            }
            // The answer to a HEAD has no body, so no error code. The listing before has shown that
            // the bucket is there.
            Err(error) if error::status(&error) == Some(404) => Ok(None),
            Err(error) => Err(self.unavailable("head", key, &error)),
        }
    }

    /// Computes the SHA-256 of an object, in hex. The object is read as a stream and never in
    /// memory as a whole.
    pub(crate) async fn sha256(&self, key: &str) -> Result<String, Error> {
        let Incoming { mut stream, .. } = self.open(key).await?;
        let mut hash = Sha256::new();
        let broke_off = |error: crate::media::incoming::Error| Error::Unavailable {
            action: self.action("get", key),
            why: error.to_string(),
        };
        while let Some(chunk) = stream.try_next().await.map_err(broke_off)? {
            hash.update(&chunk);
        }
        Ok(hex(&hash.finalize()))
    }
}

/// Returns the time since an object was written, or zero if the store's clock is ahead of ours.
fn age(written: DateTime) -> Duration {
    let written =
        SystemTime::UNIX_EPOCH + Duration::try_from_secs_f64(written.as_secs_f64()).unwrap_or_default();
    SystemTime::now().duration_since(written).unwrap_or_default()
}
