//! Configuration from the commented defaults, a file, and then the environment. Unknown keys and
//! impossible values are errors that name the key, its place and a legal value.

mod environment;
mod validate;

use std::collections::BTreeMap;
use std::path::Path;

use activities::{Plan, fetch, provider, storage};
use figment::Figment;
use figment::error::{Actual, Kind};
use figment::providers::{Format, Toml};
use figment::value::{Dict, Value};
use serde::Deserialize;

use environment::Environment;

/// Defaults, which are also the reference of all settings.
pub const DEFAULTS: &str = include_str!("../config.toml");

/// Configuration of a process, with one field for each section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Roles and log of this process.
    pub worker: Worker,
    /// Connection to the Temporal server.
    pub temporal: client::Settings,
    /// Connection to the Postgres server.
    pub database: database::Settings,
    /// Connection to the object store.
    pub storage: storage::Settings,
    /// Account at the image provider.
    pub provider: provider::Settings,
    /// Limits on fetching the URLs of users and of the provider.
    pub fetch: fetch::Settings,
    /// Slots of workflow tasks and database steps.
    pub tasks: Tasks,
    /// Settings of the step `beautify`.
    pub beautify: Beautify,
    /// Settings of the step `generate`.
    pub generate: Generate,
    /// Settings of the step `transfer`.
    pub transfer: Transfer,
    /// Plans that users can buy, by name.
    pub plans: BTreeMap<String, Plan>,
    /// Every list by its key, as it was read. The commas of a variable decide on its entries.
    #[serde(skip)]
    pub lists: Vec<(String, Vec<String>)>,
}

/// Section `[worker]` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Worker {
    /// Roles that this process plays.
    pub roles: Vec<Role>,
    /// Seconds that running calls may take to finish after SIGTERM.
    pub shutdown_grace_s: u64,
    /// Filter of the log, in the syntax of RUST_LOG.
    pub log: String,
    /// Format of the log.
    pub log_format: LogFormat,
}

/// Part that a worker process plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Workflows, and the steps that talk to the database.
    Tasks,
    /// Paid calls to the provider.
    Generate,
    /// Downloads and uploads of images.
    Transfer,
}

/// Format of logged events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Text for people to read.
    Text,
    /// JSON for machines to read.
    Json,
}

/// Section `[tasks]` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tasks {
    /// Number of workflow tasks that run concurrently in this process.
    pub workflow_slots: usize,
    /// Number of workflows kept in memory.
    pub cached_workflows: usize,
    /// Number of database steps that run concurrently in this process.
    pub slots: usize,
}

/// Section `[beautify]` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beautify {
    /// Prompt of the call that retouches the photo.
    pub prompt: String,
}

/// Section `[generate]` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generate {
    /// Number of provider calls that run concurrently in this process.
    pub slots: usize,
    /// Largest number of images of a batch.
    pub batch_size: u32,
    /// Number of calls started per second over all workers of the queue; 0 for no limit.
    pub calls_per_second: f64,
}

/// Section `[transfer]` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// Number of images that move concurrently in this process.
    pub slots: usize,
}

/// Error of the configuration.
#[derive(Debug, thiserror::Error)]
#[error("configuration: {0}")]
pub struct Error(pub(crate) String);

impl Error {
    /// Returns an error that says what is wrong, with the key and a legal value.
    pub fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl Config {
    /// Reads the configuration from the defaults, the file and the variables, each overlaying the
    /// one before. The result is not validated yet.
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
        let figment = Environment::new(&figment, variables)?.merge_into(figment);
        let mut config: Self = figment.extract().map_err(|error| Error(explain(error)))?;
        // Only lists of words are added to the defaults. Somebody who adds a word must not lose the
        // others.
        let words: provider::Words = Figment::from(Toml::string(DEFAULTS))
            .extract_inner("provider.words")
            .map_err(|error| Error(explain(error)))?;
        config.provider.words = words.amended_by(config.provider.words);
        let all: Dict = figment.extract().unwrap_or_default();
        Ok(Self { lists: lists(&all), ..config })
    }

    /// Returns the number of images that a call asks for at most.
    pub fn images_a_call(&self) -> u32 {
        self.generate.batch_size.min(self.provider.images_per_call())
    }

    /// Returns the number of database connections that this process may open. Without a configured
    /// number, the process has one for every four steps of tasks, one for every sixteen calls, two
    /// for the lease, and one to spare. The statements take milliseconds, and each connection
    /// prepares them anew.
    pub fn pool_size(&self) -> u32 {
        let roles = &self.worker.roles;
        let tasks = if roles.contains(&Role::Tasks) { self.tasks.slots.div_ceil(4) } else { 0 };
        // Two connections hold the lease.
        let calls = if roles.contains(&Role::Generate) { self.generate.slots.div_ceil(16) + 2 } else { 0 };
        match self.database.max_connections {
            0 => (tasks + calls) as u32 + 1,
            configured => configured,
        }
    }

    /// Returns the number of connections without which the roles can't work. Paid calls need one to
    /// listen, one to renew the lease, and one for their statements.
    fn least_connections(&self) -> u32 {
        if self.worker.roles.contains(&Role::Generate) { 3 } else { 1 }
    }
}

/// Returns the keys and values of a section and of the sections in it, in order.
fn leaves(section: &Dict) -> Vec<(String, &Value)> {
    let nested = section.iter().flat_map(|(key, value)| match value.as_dict() {
        Some(section) => {
            leaves(section).into_iter().map(|(rest, value)| (format!("{key}.{rest}"), value)).collect()
        }
        None => vec![(key.clone(), value)],
    });
    nested.collect()
}

fn lists(all: &Dict) -> Vec<(String, Vec<String>)> {
    let lists = leaves(all).into_iter().filter_map(|(key, value)| {
        let entries = value.as_array()?.iter().filter_map(Value::as_str).map(str::to_owned);
        Some((key, entries.collect()))
    });
    lists.collect()
}

/// Describes the errors in one line, each with its key and its place. Values that may be secret are
/// left out.
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
        let what = match &error.kind {
            Kind::InvalidType(found, expected) | Kind::InvalidValue(found, expected) => {
                format!("expected {expected}, found {}", name(found))
            }
            Kind::Message(message) => without_excerpt(message),
            Kind::Unsupported(found) | Kind::UnsupportedKey(found, _) => {
                format!("{} is not possible here", name(found))
            }
            Kind::InvalidLength(..)
            | Kind::UnknownVariant(..)
            | Kind::UnknownField(..)
            | Kind::MissingField(_)
            | Kind::DuplicateField(_)
            | Kind::ISizeOutOfRange(_)
            | Kind::USizeOutOfRange(_) => error.kind.to_string(),
        };
        format!("{key}{what}{place}")
    });
    lines.collect::<Vec<_>>().join("; ")
}

fn name(found: &Actual) -> &'static str {
    match found {
        Actual::Bool(_) => "true or false",
        Actual::Unsigned(_) | Actual::Signed(_) | Actual::Float(_) => "a number",
        Actual::Char(_) | Actual::Str(_) => "text",
        Actual::Seq => "a list",
        Actual::Map => "a section",
        Actual::Bytes(_)
        | Actual::Unit
        | Actual::Option
        | Actual::NewtypeStruct
        | Actual::Enum
        | Actual::UnitVariant
        | Actual::NewtypeVariant
        | Actual::TupleVariant
        | Actual::StructVariant
        | Actual::Other(_) => "something else",
    }
}

/// Returns a syntax error's place and reason, without the excerpt that toml shows between them.
fn without_excerpt(message: &str) -> String {
    let mut lines = message.lines().filter(|line| !line.trim().is_empty());
    match (lines.next(), lines.next_back()) {
        (Some(place), Some(reason)) => format!("{place}: {reason}"),
        (Some(only), None) => only.to_owned(),
        (None, _) => String::new(),
    }
}
