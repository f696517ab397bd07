//! End to end, on real parts: whole outcomes, from outside.
#![allow(clippy::unwrap_used, reason = "tests")]

mod answers;
mod cancel;
mod files;
mod identity;
mod input;
mod lanes;
mod memory;
mod money;
mod outages;
mod plans;
mod reconcile;
mod refusals;
mod renewals;
mod schema;
mod stores;
mod temporal;
mod tiers;
mod urls;
