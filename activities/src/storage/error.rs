//! What went wrong with the store, and whose trouble that is.
//!
//! A status alone says nothing of the key: a missing bucket is a 404, too, and a server that isn't S3
//! answers 404 to everything. Only S3's error codes tell.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

/// What went wrong with the store, by what the caller can do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bucket is there and has no such object: S3's `NoSuchKey`.
    #[error("there is no object `{}` in bucket `{bucket}`", excerpt(key))]
    NotFound {
        /// The key.
        key: String,
        /// The bucket.
        bucket: String,
    },
    /// The store takes no such key, or keeps its object in an archive. Another try gives the same.
    #[error("the object store refuses the key `{}`: {why}", excerpt(key))]
    KeyRefused {
        /// The key.
        key: String,
        /// The store's words.
        why: String,
    },
    /// The object is larger than it may be.
    #[error("object `{}` has {size_bytes} bytes: {limit_bytes} at most", excerpt(key))]
    TooLarge {
        /// The key.
        key: String,
        /// Its size.
        size_bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// Not reached, overloaded, misconfigured, or it refuses: worth another try, or the operator's eye.
    #[error("the object store could not {action}: {why}")]
    Unavailable {
        /// What was tried, and in which bucket.
        action: String,
        /// What it said.
        why: String,
    },
}

/// S3's code for an object that isn't there, in a bucket that is.
const NO_SUCH_KEY: &str = "NoSuchKey";

/// Error codes of S3, R2, Ceph, MinIO and StorageGRID that speak of the object's key alone. The object behind
/// `InvalidObjectState` is archived.
const KEY_REFUSALS: [&str; 7] = [
    "InvalidURI",
    "KeyTooLongError",
    "KeyTooLong",
    "InvalidObjectName",
    "XMinioInvalidObjectName",
    "XMinioInvalidResourceName",
    "InvalidObjectState",
];

/// True where the bucket is there and the object isn't.
pub(super) fn is_no_such_key<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    error.code() == Some(NO_SUCH_KEY)
}

/// True where the key itself is the trouble. A URI that is too long (414) holds nothing but the bucket and the key.
pub(super) fn refuses_key<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    status(error) == Some(414) || error.code().is_some_and(|code| KEY_REFUSALS.contains(&code))
}

/// At most 100 characters of a key, more than any of our own has: a user's may fill a message.
pub(super) fn excerpt(key: &str) -> String {
    match key.char_indices().nth(100) {
        Some((end, _)) => format!("{}…", &key[..end]),
        None => key.to_owned(),
    }
}

/// HTTP status of an answer, also where its body isn't S3's XML.
pub(super) fn status<E>(error: &SdkError<E>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

/// The store's answer in words, or the reason why there is none.
pub(super) fn answer<E: ProvideErrorMetadata + std::error::Error + 'static>(error: &SdkError<E>) -> String {
    match (status(error), error.code()) {
        (Some(status), Some(code)) => {
            format!("HTTP {status} {code}: {}", error.message().unwrap_or("no message"))
        }
        (Some(status), None) => format!("HTTP {status} without an error code of S3"),
        (None, _) => innermost(error),
    }
}

/// The innermost cause: "connection refused" rather than "dispatch failure".
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
