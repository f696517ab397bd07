//! End to end, on real parts: whole outcomes, from outside.
#![allow(clippy::unwrap_used, reason = "tests")]

mod answers;
mod cancel;
mod identity;
mod input;
mod memory;
mod outages;
mod plans;
mod reconcile;
mod schema;
mod stores;
mod tiers;
mod urls;
