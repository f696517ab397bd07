//! The commands of `darkroom`, one file each.

pub(crate) mod cancel;
pub(crate) mod check;
pub(crate) mod ledger;
pub(crate) mod limits;
pub(crate) mod migrate;
mod output;
pub(crate) mod queue;
pub(crate) mod reconcile;
pub mod render;
pub(crate) mod show;
pub(crate) mod start;
pub(crate) mod watch;
pub(crate) mod worker;
pub(crate) mod workers;
