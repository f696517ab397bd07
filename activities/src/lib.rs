//! Everything that touches the outside: one file per step, and what the steps touch.

mod beautify;
mod decode;
mod failure;
pub mod fetch;
mod fingerprint;
mod generate;
mod heartbeat;
mod image_file;
mod incoming;
mod insert;
mod late;
mod paid_call;
mod photo;
pub mod plans;
mod prepare;
pub mod provider;
pub mod reconcile;
mod references;
mod steps;
pub mod storage;
mod transfer;

use std::collections::BTreeMap;
use std::sync::Arc;

use database::DatabaseConnection;
use limiter::Limiter;
use tokio::sync::Semaphore;

use fetch::Fetcher;
use provider::Provider;
use storage::Storage;

pub use plans::Plan;
pub use references::References;
pub use steps::{Beautify, Generate, Insert, Prepare, Reconcile, Transfer};

/// What the steps may touch: the only way to the outside.
pub struct Activities {
    /// The database.
    pub database: DatabaseConnection,
    /// The object store.
    pub storage: Storage,
    /// The client for users' and the provider's URLs.
    pub fetcher: Fetcher,
    /// Limits of what is fetched.
    pub fetch: fetch::Settings,
    /// The provider.
    pub provider: Provider,
    /// This worker's share of what the provider takes at once.
    pub limiter: Arc<Limiter>,
    /// The reference images in use.
    pub references: References,
    /// The configured plans.
    pub plans: BTreeMap<String, Plan>,
    /// Images a batch has, at most.
    pub batch_size: u32,
    /// What `beautify` asks for.
    pub beautify_prompt: String,
    /// One permit: pictures are decoded one at a time, as each may take hundreds of megabytes (`decode.rs`).
    pub decoding: Arc<Semaphore>,
    /// One permit for each image that may move at once in this process.
    pub moving: Semaphore,
}
