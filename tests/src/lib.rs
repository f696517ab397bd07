//! The harness of the suites: a stack, what a test is given, and the outcome seen from outside.
//!
//! ```no_run
//! # async fn example() {
//! let stack = tests::Stack::start().await;
//! stack.provider.rejects("forbidden");
//! let task = tests::a_task().plan("start").prompts(["a garden", "forbidden"]);
//! let ended = stack.run(&task).await;
//! # }
//! ```
#![allow(clippy::unwrap_used, reason = "a test that can't go on is to stop, loudly")]

mod given;
mod outcome;
mod paths;
mod patience;
mod queue;
mod shared;
mod stack;
mod temporal_proxy;

pub use given::{GivenTask, a_task, portrait};
pub use outcome::Outcome;
pub use paths::{PATHS, Path};
pub use patience::{PATIENCE, on_this_machine, side_by_side};
pub use shared::Servers;
pub use stack::{Builder, Stack, payload};
pub use temporal_proxy::{ActivityFault, Point, TemporalProxy};
