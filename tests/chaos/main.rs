//! Chaos: each activity, whichever are declared, meets what happens to activities in life. The invariants hold afterwards.
#![allow(clippy::unwrap_used, reason = "tests")]

mod activities;
mod cuts;
