//! The invariants of mission.md, checked from outside ([`violations`]), and the soak that tries to break them ([`soak`]).

mod calls;
mod facts;
mod invariants;
mod ledger;
mod links;
pub mod soak;

pub use facts::{Disruptions, Witness};
pub use invariants::{Violation, violations};
pub use links::{Link, Links};
