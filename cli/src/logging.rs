//! Logs: tracing events, on stderr.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use worker::config::{LogFormat, Worker};

/// Starts logging as configured.
pub(crate) fn start(settings: &Worker) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&settings.log).map_err(|error| {
        anyhow::anyhow!("worker.log `{}`: {error}; such as `info,darkroom=debug`", settings.log)
    })?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let started = match settings.log_format {
        LogFormat::Text => log.with_target(false).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("logging: {error}"))
}
