//! Inputs, outputs and their parts, as plain data.

mod progress;

use serde::{Deserialize, Serialize};

use crate::failure::FailureKind;

pub use progress::{ImageProgress, ImageState, Progress, Stage};

/// Input of the workflow `generate_images`, that is one photo and a plan.
///
/// Start the workflow on the task queue `darkroom` under the workflow id `task-<task_id>`. The
/// input has to be a JSON object, and an unknown field is an error (`object.rs`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GenerateImagesInput {
    /// Id of the task, chosen by the caller: 1–64 of `A–Z a–z 0–9 _ -`. Object keys and rows derive
    /// from the id.
    pub task_id: String,
    /// Id of the task's user, 1–64 bytes without control characters. A user's further tasks wait in
    /// the user's own lane.
    pub user_id: String,
    /// Name of a configured plan, such as `free`, `start` or `pro`.
    pub plan: String,
    /// One prompt for all images. Give either `prompt` or `prompts`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Several prompts, over which the images are spread evenly and in order. Give either `prompt`
    /// or `prompts`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prompts: Vec<String>,
    /// The user's photo, a JPEG, PNG or WebP. Give an http(s) URL, or the key of an object in the
    /// configured bucket.
    pub photo: String,
}

/// Output of `generate_images`. A cancelled task carries the same type as its cancellation details.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerateImagesOutput {
    /// Id of the task, as given in the input.
    pub task_id: String,
    /// State in which the task ended. A row that is read before the end says `running`.
    pub state: TaskState,
    /// Number of images that the plan promises. The number is 0 if the task was cancelled before
    /// its plan was known.
    pub images_planned: u32,
    /// The stored images, by ascending index.
    pub images: Vec<StoredImage>,
    /// Every planned image that was not made, with its reason, by ascending index.
    pub missing: Vec<MissingImage>,
}

/// State of a task, as in the column `tasks.state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// No end of the task is on record yet.
    Running,
    /// Every planned image is stored.
    Completed,
    /// Some images are missing, each with its reason, and the others are stored. A task whose
    /// requests were all rejected is partial without an image.
    Partial,
    /// The task was cancelled by request. Images that were stored by then are kept.
    Cancelled,
    /// No image was made, and not only because the provider rejected the requests.
    Failed,
}

impl TaskState {
    /// Returns the name on the wire, which is also the name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            TaskState::Running => "running",
            TaskState::Completed => "completed",
            TaskState::Partial => "partial",
            TaskState::Cancelled => "cancelled",
            TaskState::Failed => "failed",
        }
    }

    /// Returns the state of that wire name, or `None` for an unknown name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Running, Self::Completed, Self::Partial, Self::Cancelled, Self::Failed]
            .into_iter()
            .find(|state| state.as_str() == name)
    }
}

/// One image of a task that is stored in the bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredImage {
    /// Index in the task, from 0.
    pub index: u32,
    /// Index of the prompt from which the image was made, from 0.
    pub prompt_index: u32,
    /// The image's object in the bucket.
    #[serde(flatten)]
    pub object: StoredObject,
}

/// An object in the bucket, as measured while it was stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredObject {
    /// Key in the configured bucket.
    pub object_key: String,
    /// Size of the object in bytes.
    pub size_bytes: u64,
    /// Media type found in the bytes: `image/png`, `image/jpeg` or `image/webp`.
    pub content_type: String,
    /// Width of the image in pixels.
    pub width: u32,
    /// Height of the image in pixels.
    pub height: u32,
    /// SHA-256 of the bytes, 64 hex digits.
    pub sha256: String,
}

/// A planned image that was not made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingImage {
    /// Index in the task, from 0.
    pub index: u32,
    /// Index of the prompt from which the image should have been made, from 0.
    pub prompt_index: u32,
    /// The reason, as a name for programs.
    pub reason: MissingReason,
    /// The reason in words for people, with the words of the provider.
    pub message: String,
}

/// Reason why a planned image is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MissingReason {
    /// The provider rejected the request, as a rule by moderation of the prompt.
    Rejected,
    /// The provider kept answering with fewer images than it was asked for.
    ShortAnswer,
    /// The provider's file was dead or broken each time, before it could be stored.
    Gone,
    /// The task was cancelled before the image was made.
    Cancelled,
    /// Calls for the image may have been billed, and none gave a result. Darkroom doesn't ask for
    /// the image again.
    Ambiguous,
    /// The batch failed for good. The message says why.
    Failed,
}

/// A plan's numbers. `prepare` pins them in the history, so a change of the plans or of the batch
/// size does not reach running tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanSpec {
    /// Name of the plan, as in the configuration.
    pub name: String,
    /// Number of images that a task of this plan gets.
    pub images: u32,
    /// Number of images that one provider call is asked for, at most.
    pub batch_size: u32,
}

/// The lane in which a task's paid calls wait, pinned in the history by `prepare`.
///
/// Calls of one lane are served in the order in which they were scheduled. Lanes are served in
/// proportion to their weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lane {
    /// Temporal's fairness key, at most 64 bytes. An empty key stands for the one that the workflow
    /// was started with.
    pub key: String,
    /// Temporal's fairness weight of the lane.
    pub weight: f32,
}

impl Default for Lane {
    /// Returns the place of a task without a lane, which is the workflow's own fairness key with
    /// weight 1.
    fn default() -> Self {
        Self { key: String::new(), weight: 1.0 }
    }
}

/// Input of the activity `prepare`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrepareInput {
    /// The workflow's input, whose form the workflow has already checked.
    pub request: GenerateImagesInput,
}

/// Output of the activity `prepare`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum PrepareOutput {
    /// The task has its row, and its checked photo is stored.
    Ready(Prepared),
    /// The task ended before, in another run, and its row has the result.
    Finished {
        /// The result that the task's row has.
        output: GenerateImagesOutput,
        /// The failure, if the task's state is `failed`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<TaskFailure>,
    },
}

/// Values that `prepare` decides and the rest of the task works with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prepared {
    /// The plan's numbers, as configured when the task was prepared.
    pub plan: PlanSpec,
    /// Route of the task's paid calls, which wait in the queue `generate.<route>`.
    pub route: String,
    /// Object key of the checked photo.
    pub photo_key: String,
    /// The lane of the task's paid calls.
    #[serde(default)]
    pub lane: Lane,
}

/// Input of the activity `beautify`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeautifyInput {
    /// Id of the task.
    pub task_id: String,
    /// Id of the task's user.
    pub user_id: String,
    /// The name of the task's plan.
    pub plan: String,
    /// Number among the calls that retouch the photo, from 1. A later call follows one that left no
    /// image.
    pub call_number: u32,
    /// Object key of the photo to retouch.
    pub photo_key: String,
}

/// Input of the activity `generate`, which makes one provider call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerateInput {
    /// Id of the task.
    pub task_id: String,
    /// Id of the task's user.
    pub user_id: String,
    /// The name of the task's plan.
    pub plan: String,
    /// Number of the batch, from 1.
    pub batch: u32,
    /// Number among the calls for this batch, from 1. A later call asks for images that earlier
    /// calls left missing.
    pub call_number: u32,
    /// Number of images to ask for.
    pub images: u32,
    /// The prompt for all images of the call.
    pub prompt: String,
    /// Object key of the reference image.
    pub reference_key: String,
}

/// Result of a paid call, and output of `beautify` and `generate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum GenerateOutput {
    /// The provider gave images, at most as many as it was asked for. Fewer images are a short
    /// answer.
    Generated {
        /// Place of each image, in the provider's order.
        images: Vec<ImageSource>,
        /// The provider's id of the call, for its support and its invoice.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request_id: Option<String>,
    },
    /// The provider rejected the request, as a rule by moderation.
    Rejected {
        /// Words of the provider about the rejection.
        message: String,
        /// The provider's id of the call.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request_id: Option<String>,
    },
}

/// Place of a generated image until `transfer` has stored it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageSource {
    /// A URL at the provider, which expires after a short while.
    Url(String),
    /// A staging key in the bucket, if the image came as bytes.
    StagingKey(String),
}

/// Input of the activity `transfer`, with the images of one call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferInput {
    /// Id of the task.
    pub task_id: String,
    /// The images, each with its source and its destination.
    pub images: Vec<Transfer>,
}

/// One image that is to be moved into its place in the bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// Place from which the image is taken.
    pub source: ImageSource,
    /// Object key under which the image is stored.
    pub object_key: String,
}

/// Output of `transfer`: one entry for each image of the input, in its order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferOutput {
    /// Result for each image of the input.
    pub images: Vec<Transferred>,
}

/// Result of the transfer of one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Transferred {
    /// The image was stored and measured.
    Stored(StoredObject),
    /// The image is dead or broken at the provider for good. Another generation may bring a good
    /// one.
    Gone {
        /// Description of what was found instead.
        message: String,
    },
    /// The image is there and may not be stored. It is larger than allowed, has a format that
    /// Darkroom doesn't store, or lies at a forbidden address. Another generation would bring the
    /// same.
    Unusable {
        /// Description of what is wrong with the image.
        message: String,
    },
}

/// Input of the activity `insert`, with the end of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InsertInput {
    /// The final result to record.
    pub output: GenerateImagesOutput,
    /// The failure, if the task's state is `failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<TaskFailure>,
    /// The workflow's input, from which `insert` makes the task's row again if the row is gone.
    pub request: GenerateImagesInput,
}

/// Reason why a task failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskFailure {
    /// Kind of the failure, which is also the type name of the workflow's failure.
    pub kind: FailureKind,
    /// Description of the failure for people.
    pub message: String,
}

/// Output of the activity `insert`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InsertOutput {
    /// Number of image rows that the task has now.
    pub rows: u32,
    /// The end that the task's row recorded before, if that end differs. An example is a reset of a
    /// workflow whose task had ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded: Option<TaskEnd>,
}

/// End of a task, as the task's row records it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskEnd {
    /// Result of the task, with the final state.
    pub output: GenerateImagesOutput,
    /// The failure, if the task's state is `failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<TaskFailure>,
}
