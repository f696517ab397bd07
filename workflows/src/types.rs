//! Inputs, outputs and what they are made of; only data.

use serde::{Deserialize, Serialize};

use crate::failure::FailureKind;

/// Input of the workflow `generate_images`: one photo and a plan.
///
/// Start it on task queue `darkroom` under the workflow id `task-<task_id>`. Only a JSON object is read as one, and unknown fields
/// are errors (`object.rs`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GenerateImagesInput {
    /// The task's id, chosen by the caller: 1–64 of `A–Z a–z 0–9 _ -`. Object keys and rows derive from it.
    pub task_id: String,
    /// Whose task it is: 1–64 bytes without control characters. A user's further tasks wait in a lane of his own.
    pub user_id: String,
    /// Name of a configured plan, such as `free`, `start` or `pro`.
    pub plan: String,
    /// One prompt for all images. Give either this or `prompts`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Several prompts; the images are spread over them evenly and in order. Give either this or `prompt`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prompts: Vec<String>,
    /// The user's photo: an http(s) URL, or the key of an object in the configured bucket. JPEG, PNG or WebP.
    pub photo: String,
}

/// Output of `generate_images`, and what a cancelled task carries as its cancellation details.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerateImagesOutput {
    /// The task's id, as given.
    pub task_id: String,
    /// How the task ended.
    pub state: TaskState,
    /// How many images the plan promised.
    pub images_planned: u32,
    /// The stored images, by ascending index.
    pub images: Vec<StoredImage>,
    /// Every planned image that isn't there, with its reason, by ascending index.
    pub missing: Vec<MissingImage>,
}

/// State of a task, as in the column `tasks.state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Its workflow is open.
    Running,
    /// Every planned image is stored.
    Completed,
    /// Some images are missing, each with its reason; what is there is stored.
    Partial,
    /// Cancelled by request; what was stored by then is kept.
    Cancelled,
    /// Nothing could be made, for a reason that can't get better.
    Failed,
}

impl TaskState {
    /// The wire name, which is also the database's.
    pub fn as_str(self) -> &'static str {
        match self {
            TaskState::Running => "running",
            TaskState::Completed => "completed",
            TaskState::Partial => "partial",
            TaskState::Cancelled => "cancelled",
            TaskState::Failed => "failed",
        }
    }

    /// The state of that wire name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Running, Self::Completed, Self::Partial, Self::Cancelled, Self::Failed]
            .into_iter()
            .find(|state| state.as_str() == name)
    }
}

/// One stored image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredImage {
    /// Index in the task, from 0.
    pub index: u32,
    /// Which of the task's prompts it was made from, from 0.
    pub prompt_index: u32,
    /// What lies in the bucket.
    #[serde(flatten)]
    pub object: StoredObject,
}

/// An object in the bucket, as measured while it was stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredObject {
    /// Key in the configured bucket.
    pub object_key: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Media type found in the bytes: `image/png`, `image/jpeg` or `image/webp`.
    pub content_type: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// SHA-256 of the bytes, 64 hex digits.
    pub sha256: String,
}

/// A planned image that was not made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingImage {
    /// Index in the task, from 0.
    pub index: u32,
    /// Which of the task's prompts it should have been made from, from 0.
    pub prompt_index: u32,
    /// Why it is missing.
    pub reason: MissingReason,
    /// The same for people, with what the provider said.
    pub message: String,
}

/// Why an image is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MissingReason {
    /// The provider's moderation rejected its prompt.
    Rejected,
    /// The provider kept answering with fewer images than asked.
    ShortAnswer,
    /// The provider's file was dead or broken each time, before it could be stored.
    Gone,
    /// The task was cancelled first.
    Cancelled,
    /// Each of its calls may have been billed, and none gave a result: it isn't asked for again.
    Ambiguous,
    /// Its batch failed for good; the message says how.
    Failed,
}

/// A plan's numbers, pinned into the history by `prepare`: a change of configuration does not reach running tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanSpec {
    /// The plan's name.
    pub name: String,
    /// Images a task of this plan gets.
    pub images: u32,
    /// Images a provider call is asked for, at most.
    pub batch_size: u32,
}

/// Where a task's paid calls wait: calls of one lane are served in the order in which they were scheduled, and lanes in proportion to
/// their weights. Pinned into the history by `prepare`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lane {
    /// Temporal's fairness key, at most 64 bytes; empty: the one that the workflow was started with.
    pub key: String,
    /// Temporal's fairness weight.
    pub weight: f32,
}

impl Default for Lane {
    /// The lane of a task that was prepared before there were lanes.
    fn default() -> Self {
        Self { key: String::new(), weight: 1.0 }
    }
}

/// Input of `prepare`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrepareInput {
    /// The workflow's input, whose form the workflow has checked.
    pub request: GenerateImagesInput,
}

/// Output of `prepare`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum PrepareOutput {
    /// The task has its row and its photo is stored: go on.
    Ready(Prepared),
    /// The task ended before, in another run: this is its recorded result.
    Finished {
        /// The recorded result.
        output: GenerateImagesOutput,
        /// Why it failed, where its state is `failed`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<TaskFailure>,
    },
}

/// What the rest of the task works with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prepared {
    /// The plan's numbers.
    pub plan: PlanSpec,
    /// Which provider queue serves the task: `generate.<route>`.
    pub route: String,
    /// Object key of the checked photo.
    pub photo_key: String,
    /// Where its paid calls wait.
    #[serde(default)]
    pub lane: Lane,
}

/// Input of `beautify`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeautifyInput {
    /// The task.
    pub task_id: String,
    /// The task's user.
    pub user_id: String,
    /// The name of the task's plan.
    pub plan: String,
    /// Which call for it: 1, or more when an earlier one left no image.
    pub part: u32,
    /// Object key of the photo to retouch.
    pub photo_key: String,
}

/// Input of `generate`: one provider call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerateInput {
    /// The task.
    pub task_id: String,
    /// The task's user.
    pub user_id: String,
    /// The name of the task's plan.
    pub plan: String,
    /// Number of the batch, from 1.
    pub batch: u32,
    /// Which call for this batch: 1, or more when an earlier one left images missing.
    pub part: u32,
    /// How many images to ask for.
    pub images: u32,
    /// The prompt.
    pub prompt: String,
    /// Object key of the reference image.
    pub reference_key: String,
}

/// What a paid call gave; output of `beautify` and `generate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum GenerateOutput {
    /// Images, at most as many as asked; fewer is a short answer.
    Generated {
        /// Where each image is, in the provider's order.
        images: Vec<ImageSource>,
        /// The provider's id of the call, for its support and its invoice.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request_id: Option<String>,
    },
    /// The provider's moderation rejected the call.
    Rejected {
        /// What the provider said.
        message: String,
        /// The provider's id of the call.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request_id: Option<String>,
    },
}

/// Where a generated image is until `transfer` has stored it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageSource {
    /// At the provider, under a URL that lives a short while.
    Url(String),
    /// In the bucket, under a staging key: it came as bytes.
    StagingKey(String),
}

/// Input of `transfer`: the images of one call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferInput {
    /// The task.
    pub task_id: String,
    /// What to move where.
    pub images: Vec<Transfer>,
}

/// One image to move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// Where it is.
    pub source: ImageSource,
    /// Under which key it is to be stored.
    pub object_key: String,
}

/// Output of `transfer`: one entry for each image of the input, in its order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferOutput {
    /// What became of each image.
    pub images: Vec<Transferred>,
}

/// What became of one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Transferred {
    /// Stored and measured.
    Stored(StoredObject),
    /// Dead or broken at the provider, for good; another generation may do.
    Gone {
        /// What was found instead.
        message: String,
    },
    /// There, but not to be taken: larger than allowed, or at an address that may not be fetched. Another would be the same.
    Unusable {
        /// What is wrong with it.
        message: String,
    },
}

/// Input of `insert`: all the task leaves behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InsertInput {
    /// The final result to record.
    pub output: GenerateImagesOutput,
    /// Why the task failed, where its state is `failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<TaskFailure>,
    /// What was asked: the task's row is made again where it is gone.
    pub request: GenerateImagesInput,
}

/// Why a task failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskFailure {
    /// Its kind, which is also the type name of the workflow's failure.
    pub kind: FailureKind,
    /// The same for people.
    pub message: String,
}

/// Output of `insert`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InsertOutput {
    /// How many image rows the task has now; 0 also where it was cancelled before it had a row of its own.
    pub rows: u32,
    /// How the task's row says that it ended, where that was recorded before and differs: as after a reset of a task that had ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded: Option<TaskEnd>,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskEnd {
    /// The result.
    pub output: GenerateImagesOutput,
    /// Why it failed, where its state is `failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<TaskFailure>,
}

/// Answer of the query `progress`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What the task is at.
    pub stage: Stage,
    /// How many images the plan promised; 0 until `prepare` has found out.
    pub images_planned: u32,
    /// Images stored so far: usable now.
    pub images_stored: u32,
    /// Images that will not come.
    pub images_missing: u32,
    /// Batches in all; a provider call is made for each, at least.
    pub batches: u32,
    /// Batches whose images have all been generated, or given up.
    pub batches_generated: u32,
    /// Batches with nothing left to do.
    pub batches_done: u32,
    /// Provider calls that gave an answer so far, with `beautify`'s.
    pub calls_answered: u32,
    /// Each image, by ascending index.
    pub images: Vec<ImageProgress>,
}

/// What a task is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Checking the input and fetching the photo.
    Prepare,
    /// Retouching the photo.
    Beautify,
    /// Generating images, and transferring those that are there.
    Generate,
    /// Recording rows and the final state.
    Insert,
    /// Nothing left to do.
    Done,
}

/// One image of a task under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageProgress {
    /// Index in the task, from 0.
    pub index: u32,
    /// What it is at.
    pub state: ImageState,
    /// Its key, once stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_key: Option<String>,
    /// Why it will not come, where it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<MissingReason>,
}

/// What an image is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageState {
    /// Waiting for its provider call, or in it.
    Queued,
    /// Made; being stored.
    Generated,
    /// In the bucket: usable.
    Stored,
    /// Will not come.
    Missing,
}
