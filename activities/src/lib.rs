//! Activities of Darkroom's workflows. Each step has a file of its own, and the other modules hold
//! what the steps share.

mod beautify;
mod failure;
mod generate;
mod heartbeat;
mod insert;
mod media;
mod orphans;
mod paid_call;
pub mod plans;
mod prepare;
pub mod provider;
pub mod reconcile;
mod references;
mod request;
mod retry_after;
mod steps;
pub mod storage;
mod transfer;

use std::collections::BTreeMap;
use std::sync::Arc;

use database::DatabaseConnection;
use paid_calls::PaidCalls;
use tokio::sync::Semaphore;

use media::fetch::Fetcher;
use provider::Provider;
use storage::Storage;

pub use media::fetch;
pub use plans::Plan;
pub use references::References;
pub use steps::{Beautify, Generate, Insert, Prepare, Reconcile, Transfer};

/// Holds all that the steps of the role `tasks` may touch. Nothing here can make a paid call.
pub struct TaskSteps {
    /// Connection pool of Darkroom's database.
    pub database: DatabaseConnection,
    /// Object store (S3) of photos and images.
    pub storage: Storage,
    /// HTTP client for users' URLs.
    pub fetcher: Fetcher,
    /// Limits of a fetch, of which `prepare` uses `max_photo_bytes`.
    pub fetch: fetch::Settings,
    /// Configured plans, by name.
    pub plans: BTreeMap<String, Plan>,
    /// Largest number of images of a batch. The provider's limit per call may be smaller.
    pub batch_size: u32,
    /// Provider settings, of which `prepare` reads the route and the images per call.
    pub provider: provider::Settings,
    /// One permit, because decoding a picture may take hundreds of megabytes (`decode.rs`).
    pub decoding: Arc<Semaphore>,
}

/// Holds all that the steps of the role `generate` may touch. Only these steps can pay.
pub struct PaidSteps {
    /// Way to make paid calls with this worker's provider key.
    pub paid_calls: Arc<PaidCalls>,
    /// Client of the provider's API.
    pub provider: Provider,
    /// Reference images that running calls share.
    pub references: References,
    /// Prompt of the call that retouches the photo.
    pub beautify_prompt: String,
    /// Object store of the reference images, and of images that an answer brings as bytes.
    pub storage: Storage,
    /// Database that tells whether a task has ended meanwhile.
    pub database: DatabaseConnection,
}

/// Holds all that the step of the role `transfer` may touch. Nothing here can make a paid call.
pub struct TransferSteps {
    /// Object store (S3) that images come to, and that staged bytes come from.
    pub storage: Storage,
    /// HTTP client for the provider's URLs.
    pub fetcher: Fetcher,
    /// Limits of a fetch, of which `transfer` uses `max_image_bytes`.
    pub fetch: fetch::Settings,
    /// One permit, because decoding a picture may take hundreds of megabytes (`decode.rs`).
    pub decoding: Arc<Semaphore>,
    /// Permits to move images, one for each image that may move concurrently in this process.
    pub moving: Semaphore,
    /// Database that tells whether a task has ended meanwhile.
    pub database: DatabaseConnection,
}
