//! Loads, what they take at least, and what they take here: the real stack and real workers against the stand-in provider.
//!
//! [`scenario`] has the loads as data, [`model`] what is possible under the same limits, [`Run`] measures, [`Report`] tells.
//! Nothing here is part of the product: workers are watched from outside, by /proc, Temporal's histories, the provider's meter and
//! Postgres' own counters.

mod adaptation;
pub mod figures;
pub mod model;
pub mod report;
mod run;
pub mod scenario;
pub mod settings;
pub mod statistics;
pub mod timeline;

mod measure;
mod semaphore;
mod workers;

pub use adaptation::{CEILING as ADAPT_CEILING, TASKS as ADAPT_TASKS};
pub use report::Report;
pub use run::{CALL_MS, Run};
pub use settings::{Kill, Settings, Unavailable};
