//! One file per verb.

pub(crate) mod bench;
pub(crate) mod cancel;
pub(crate) mod check;
pub(crate) mod demo;
pub(crate) mod ledger;
pub(crate) mod limits;
mod look;
pub(crate) mod migrate;
pub(crate) mod queue;
pub(crate) mod reconcile;
pub(crate) mod show;
pub(crate) mod soak;
pub(crate) mod start;
mod story;
pub(crate) mod watch;
pub(crate) mod worker;
pub(crate) mod workers;
