//! Details of heartbeats. An attempt's progress travels in them and outlives its worker.

use serde::{Deserialize, Serialize};

use crate::types::Transferred;

/// Details of the heartbeats of `prepare`, which count the troubles of all attempts with the photo.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PhotoTries {
    /// Number of fetches that failed.
    pub fetches: u32,
    /// Number of decodings that have begun and not ended. An attempt that died while it decoded
    /// leaves one.
    pub decodings: u32,
}

/// Details of the heartbeats of `transfer`, one for each image of the call. The next attempt moves
/// only the images without a result.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TransferProgress {
    /// Result of the image's transfer, once there is one.
    pub transferred: Option<Transferred>,
    /// Number of downloads that brought a broken file.
    pub broken: u32,
    /// Answers that brought no file, if there was one.
    pub missing: Option<MissingFile>,
}

/// Answers that brought no file, counted over all attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingFile {
    /// Number of such answers so far.
    pub answers: u32,
    /// Age of the transfer at the first of them, in milliseconds.
    pub since_ms: u64,
}
