//! Writes logs, that is tracing events, to stderr.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use worker::config::{Error, LogFormat, Worker};

/// Returns the configured filter, or an error that names the setting.
pub(crate) fn check(settings: &Worker) -> Result<EnvFilter, Error> {
    EnvFilter::try_new(&settings.log).map_err(|error| {
        Error::new(format!(
            "worker.log `{}`: {error}; set it to a filter such as info,activities=debug",
            settings.log
        ))
    })
}

/// Starts logging as configured.
pub(crate) fn start(settings: &Worker) -> anyhow::Result<()> {
    let log = tracing_subscriber::fmt()
        .with_env_filter(check(settings)?)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let started = match settings.log_format {
        LogFormat::Text => log.with_target(false).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("logging: {error}"))
}
