//! The contract of Darkroom and its deterministic code, without I/O.
//!
//! This crate names everything that another program sees of a task, that is the workflow type
//! `generate_images`, its input and output, the query `progress`, the activities, the task queues
//! and the ids. Wire names are explicit, snake_case and frozen. `tests/contract` pins the JSON of
//! every type.

pub mod activities;
pub mod failure;
pub mod generate_images;
pub mod heartbeats;
mod input;
pub mod keys;
mod object;
pub mod options;
pub mod pending;
pub mod plan;
pub mod reconcile;
pub mod task_queue;
pub mod types;

pub use generate_images::GenerateImages;
pub use input::Checked;
pub use reconcile::Reconcile;
