//! Configuration: the commented defaults, a file, then the environment. Unknown keys and impossible values are errors that
//! name the key, its place and a legal value.

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
    /// Every list, by its key, as it was read: a variable's commas decide what its entries are.
    #[serde(skip)]
    pub lists: Vec<(String, Vec<String>)>,
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
    /// Workflows kept in memory.
    pub cached_workflows: usize,
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

impl Error {
    /// What is wrong, with the key and a legal value.
    pub fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

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
        let figment = Environment::new(&figment, variables)?.merge_into(figment);
        let mut config: Self = figment.extract().map_err(|error| Error(explain(error)))?;
        // Lists of words are the only ones that are added to the defaults: who adds a word is not to lose the others.
        let words: provider::Words = Figment::from(Toml::string(DEFAULTS))
            .extract_inner("provider.words")
            .map_err(|error| Error(explain(error)))?;
        config.provider.words = words.amended_by(config.provider.words);
        let all: Dict = figment.extract().unwrap_or_default();
        Ok(Self { lists: lists(&all), ..config })
    }

    /// Images that a call asks for at most.
    pub fn images_a_call(&self) -> u32 {
        self.generate.batch_size.min(self.provider.images_per_call())
    }

    /// Database connections this process may open: as configured, or one for every four steps of tasks, one for every sixteen calls and two
    /// for the lease, and one to spare. What all of these ask for takes milliseconds, and each connection prepares its statements anew.
    pub fn pool_size(&self) -> u32 {
        let roles = &self.worker.roles;
        let tasks = if roles.contains(&Role::Tasks) { self.tasks.slots.div_ceil(4) } else { 0 };
        // Two hold the lease.
        let calls = if roles.contains(&Role::Generate) { self.generate.slots.div_ceil(16) + 2 } else { 0 };
        match self.database.max_connections {
            0 => (tasks + calls) as u32 + 1,
            configured => configured,
        }
    }

    /// Connections without which the roles can't work: each listens and renews with one, and needs one for its statements.
    fn least_connections(&self) -> u32 {
        if self.worker.roles.contains(&Role::Generate) { 3 } else { 1 }
    }
}

/// The keys and values of a section and of the sections in it, in order.
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

/// One line for each error: what, which key, from where. Without values: they may be secret.
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

/// A syntax error's place and reason; between them toml shows the line itself.
fn without_excerpt(message: &str) -> String {
    let mut lines = message.lines().filter(|line| !line.trim().is_empty());
    match (lines.next(), lines.next_back()) {
        (Some(place), Some(reason)) => format!("{place}: {reason}"),
        (Some(only), None) => only.to_owned(),
        (None, _) => String::new(),
    }
}
