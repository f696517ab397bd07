//! Configuration: the commented defaults, a file, then the environment. Unknown keys and impossible values are errors that
//! name the key, its place and a legal value.

mod environment;
mod validate;

use std::collections::BTreeMap;
use std::path::Path;

use activities::{Plan, fetch, provider, storage};
use figment::Figment;
use figment::providers::{Format, Toml};
use serde::Deserialize;

use environment::Environment;

/// The defaults, which are also the reference of all settings.
pub const DEFAULTS: &str = include_str!("../config.toml");

/// The whole configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// This process.
    pub worker: Worker,
    /// The Temporal server.
    pub temporal: client::Settings,
    /// Postgres.
    pub database: database::Settings,
    /// The object store.
    pub storage: storage::Settings,
    /// The image provider.
    pub provider: provider::Settings,
    /// Fetching users' and the provider's URLs.
    pub fetch: fetch::Settings,
    /// Slots of workflow tasks and database steps.
    pub tasks: Tasks,
    /// The step `beautify`.
    pub beautify: Beautify,
    /// The step `generate`.
    pub generate: Generate,
    /// The step `transfer`.
    pub transfer: Transfer,
    /// The plans, by name.
    pub plans: BTreeMap<String, Plan>,
}

/// Section `[worker]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Worker {
    /// What this process does.
    pub roles: Vec<Role>,
    /// How long running calls may take to finish after SIGTERM, in seconds.
    pub shutdown_grace_s: u64,
    /// What is logged, in the syntax of RUST_LOG.
    pub log: String,
    /// How it is logged.
    pub log_format: LogFormat,
}

/// What a worker process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Workflows, and the steps that talk to the database.
    Tasks,
    /// Provider calls.
    Generate,
    /// Downloads and uploads.
    Transfer,
}

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// Section `[tasks]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tasks {
    /// Workflow tasks at once.
    pub workflow_slots: usize,
    /// Database steps at once.
    pub slots: usize,
}

/// Section `[beautify]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beautify {
    /// What the retouching is asked for.
    pub prompt: String,
}

/// Section `[generate]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generate {
    /// Provider calls at once in this process.
    pub slots: usize,
    /// Images a batch has, at most.
    pub batch_size: u32,
    /// Calls started a second over all workers of the queue; 0: no limit.
    pub calls_per_second: f64,
}

/// Section `[transfer]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// Images that move at once in this process.
    pub slots: usize,
}

/// What is wrong with the configuration.
#[derive(Debug, thiserror::Error)]
#[error("configuration: {0}")]
pub struct Error(pub(crate) String);

impl Config {
    /// The configuration from the defaults, the file and the variables, each overlaying the one before; not validated yet.
    pub fn read(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Error> {
        let defaults = Toml::string(DEFAULTS);
        let mut figment = Figment::from(defaults);
        if let Some(file) = file {
            if !file.is_file() {
                return Err(Error(format!(
                    "there is no file {}: see `--config` and DARKROOM_CONFIG",
                    file.display()
                )));
            }
            figment = figment.merge(Toml::file_exact(file));
        }
        let environment = Environment::new(&figment, variables)?;
        environment.merge_into(figment).extract().map_err(|error| Error(explain(error)))
    }

    /// Database connections this process may open: as configured, or one for each step that talks to the database and one
    /// to spare.
    pub fn pool_size(&self) -> u32 {
        match self.database.max_connections {
            0 => self.tasks.slots as u32 + 1,
            configured => configured,
        }
    }
}

/// One line for each error: what, which key, from where.
fn explain(error: figment::Error) -> String {
    let lines = error.into_iter().map(|error| {
        let place = match &error.metadata {
            Some(metadata) => match &metadata.source {
                Some(source) => format!(" in {source}"),
                None => format!(" in {}", metadata.name),
            },
            None => String::new(),
        };
        let key = if error.path.is_empty() { String::new() } else { format!("{}: ", error.path.join(".")) };
        format!("{key}{}{place}", error.kind)
    });
    lines.collect::<Vec<_>>().join("; ")
}
