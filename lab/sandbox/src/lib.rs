//! A whole stack on one machine, for the demo, the tests and development: Postgres, Temporal's dev server, an S3 server and a stand-in
//! image provider that speaks the real wire format, makes real pictures, bills, throttles, and fails on demand.
//!
//! What it starts never outlives it: each server process has a guard (see [`process`]) that ends it when we are gone, also after
//! `kill -9`, and the folder that holds their data is removed with the last of them (see [`folder`]).
//!
//! Start at [`Stack`]; to reproduce an outage, at [`fault`].

pub mod chance;
pub mod fault;
pub mod folder;
pub mod meter;
pub mod postgres;
pub mod process;
pub mod provider;
pub mod proxy;
pub mod s3;
pub mod stack;
pub mod temporal;

mod find;
mod http;
mod port;

pub use chance::Chance;
pub use fault::{Entries, ProviderFault, Rule};
pub use folder::Folder;
pub use meter::{Bill, Call, Download, Meter};
pub use postgres::Postgres;
pub use provider::{Dialect, Format, Provider};
pub use proxy::Proxy;
pub use s3::{ObjectStore, StoreKind};
pub use stack::{Options, Stack};
pub use temporal::Temporal;
