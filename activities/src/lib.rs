//! Everything that touches the outside: one file per step, and what the steps touch.

mod beautify;
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
mod prepare;
pub mod provider;
mod references;
mod steps;
pub mod storage;
mod transfer;

use std::collections::BTreeMap;
use std::sync::Arc;

use database::DatabaseConnection;
use limiter::Limiter;
use serde::Deserialize;
use tokio::sync::Semaphore;

use fetch::Fetcher;
use provider::Provider;
use storage::Storage;

pub use references::References;
pub use steps::{Beautify, Generate, Insert, Prepare, Transfer};

/// What a plan is worth; section `[plans.<name>]` of the configuration.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Images a task of this plan gets.
    pub images: u32,
    /// Weight of its lane: the calls that it gets, beside those of other lanes, while all of them have work.
    pub weight: f32,
    /// Running tasks of one user that stand in it; further ones wait in a lane of the user's own, whose weight is 1.
    #[serde(default = "one")]
    pub tasks_in_lane: u32,
}

fn one() -> u32 {
    1
}

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
    /// One permit for each photo that may be decoded at once.
    pub decoding: Semaphore,
    /// One permit for each image that may move at once in this process.
    pub moving: Semaphore,
}
