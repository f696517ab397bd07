//! Errors of the object store, and which side caused them.
//!
//! A 404 alone tells nothing about the key. A missing bucket is a 404 too, and a server that isn't
//! S3 answers 404 to everything. S3's error codes tell the difference.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

/// Errors of the object store, by what the caller can do about them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bucket is there and has no such object. S3's code is `NoSuchKey`.
    #[error("there is no object `{}` in bucket `{bucket}`", excerpt(key))]
    NotFound {
        /// Key of the object.
        key: String,
        /// Name of the bucket.
        bucket: String,
    },
    /// The store accepts no such key, or keeps its object in an archive. Another try gives the
    /// same.
    #[error("the object store refuses the key `{}`: {why}", excerpt(key))]
    KeyRefused {
        /// Key of the object.
        key: String,
        /// Status, code and message of the store's answer.
        why: String,
    },
    /// The object is larger than the caller allows.
    #[error("object `{}` has {size_bytes} bytes: {limit_bytes} at most", excerpt(key))]
    TooLarge {
        /// Key of the object.
        key: String,
        /// Size of the object in bytes, or of the part that was read.
        size_bytes: u64,
        /// Largest size that the caller allows, in bytes.
        limit_bytes: u64,
    },
    /// The store is out of reach, overloaded, misconfigured, or refuses the request. Another try
    /// may work, or an operator must look.
    #[error("the object store could not {action}: {why}")]
    Unavailable {
        /// Action that was tried, with key, bucket and endpoint.
        action: String,
        /// Answer of the store, or the reason why there is none.
        why: String,
    },
}

/// S3's code for a missing object in an existing bucket.
const NO_SUCH_KEY: &str = "NoSuchKey";

/// Error codes of S3, R2, Ceph, MinIO and StorageGRID that are only about the object's key.
/// `InvalidObjectState` means that the object is archived.
const KEY_REFUSALS: [&str; 7] = [
    "InvalidURI",
    "KeyTooLongError",
    "KeyTooLong",
    "InvalidObjectName",
    "XMinioInvalidObjectName",
    "XMinioInvalidResourceName",
    "InvalidObjectState",
];

/// Tells whether the bucket is there and the object isn't.
pub(super) fn is_no_such_key<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    error.code() == Some(NO_SUCH_KEY)
}

/// Tells whether the store refuses the key itself. Status 414 does, because a URI that is too long
/// holds only the bucket and the key.
pub(super) fn refuses_key<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    status(error) == Some(414) || error.code().is_some_and(|code| KEY_REFUSALS.contains(&code))
}

/// Returns at most 100 characters of a key for a message. A key that a user sent may be longer.
pub(super) fn excerpt(key: &str) -> String {
    match key.char_indices().nth(100) {
        Some((end, _)) => format!("{}…", &key[..end]),
        None => key.to_owned(),
    }
}

/// Returns the HTTP status of an answer, even if its body isn't S3's XML.
pub(super) fn status<E>(error: &SdkError<E>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

/// Describes the store's answer, or the reason why there is none.
pub(super) fn answer<E: ProvideErrorMetadata + std::error::Error + 'static>(error: &SdkError<E>) -> String {
    match (status(error), error.code()) {
        (Some(status), Some(code)) => {
            format!("HTTP {status} {code}: {}", error.message().unwrap_or("no message"))
        }
        (Some(status), None) => format!("HTTP {status} without an error code of S3"),
        (None, _) => innermost(error),
    }
}

/// Returns the innermost cause, such as "connection refused" instead of "dispatch failure".
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
