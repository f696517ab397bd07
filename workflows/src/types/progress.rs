//! Progress of a task, as the query `progress` answers.

use serde::{Deserialize, Serialize};

use super::MissingReason;

/// Answer of the query `progress`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Stage that the task has reached.
    pub stage: Stage,
    /// Number of images that the plan promises, or 0 until `prepare` has found out.
    pub images_planned: u32,
    /// Number of images that are stored and can be used now.
    pub images_stored: u32,
    /// Number of images that will not come.
    pub images_missing: u32,
    /// Number of batches of the task. Each is made by one provider call or more.
    pub batches: u32,
    /// Number of batches whose images have all been generated or given up. A batch whose images are
    /// made again can count twice.
    pub batches_generated: u32,
    /// Number of batches for which nothing is left to do.
    pub batches_done: u32,
    /// Number of provider calls that were answered so far, those of `beautify` included.
    pub calls_answered: u32,
    /// Progress of each image, by ascending index.
    pub images: Vec<ImageProgress>,
}

/// Stage of a task, in the order of its steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The input is checked, and the photo is fetched.
    Prepare,
    /// The provider retouches the photo.
    Beautify,
    /// The provider generates images, and those that are there are transferred.
    Generate,
    /// The rows and the final state are recorded.
    Insert,
    /// Nothing is left to do.
    Done,
}

/// Progress of one image of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageProgress {
    /// Index in the task, from 0.
    pub index: u32,
    /// State of the image now.
    pub state: ImageState,
    /// Object key of the image, once the image is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_key: Option<String>,
    /// Reason why the image will not come, if it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<MissingReason>,
}

/// State of one image of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageState {
    /// The image waits for its provider call, or the call is in flight.
    Queued,
    /// The image is generated and is being stored.
    Generated,
    /// The image is in the bucket and can be used.
    Stored,
    /// The image will not come.
    Missing,
}
