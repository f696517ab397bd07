//! End to end, on real parts: whole outcomes, from outside.
#![allow(clippy::unwrap_used, reason = "tests")]

mod plans;
