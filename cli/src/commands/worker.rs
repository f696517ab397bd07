//! `darkroom worker` takes tasks from Temporal until it is told to stop.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use worker::{Config, Role, Worker};

use crate::exit::Exit;
use crate::logging;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Role of this process. May be given several times. Default: worker.roles of the
    /// configuration.
    #[arg(long = "role", value_enum, value_name = "ROLE")]
    roles: Vec<RoleArg>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum RoleArg {
    /// Workflows, and the activities prepare, insert and reconcile.
    Tasks,
    /// Activities that make paid calls.
    Generate,
    /// Downloads and uploads of images.
    Transfer,
}

/// Time beyond the grace time that the last reports to Temporal may take.
const LAST_WORDS: Duration = Duration::from_secs(5);

pub(crate) async fn run(mut config: Config, args: Args) -> anyhow::Result<Exit> {
    if !args.roles.is_empty() {
        config.worker.roles = args.roles.into_iter().map(Role::from).collect();
    }
    logging::start(&config.worker)?;
    let mut signals = Signals::new()?;
    let mut worker = Worker::new(&config).await?;
    let stop = worker.shutdown_handle();
    let grace = Duration::from_secs(config.worker.shutdown_grace_s);
    tracing::info!(roles = ?config.worker.roles, temporal = config.temporal.address, "worker runs");

    let mut run = std::pin::pin!(worker.run());
    tokio::select! {
        result = &mut run => return result.map(|()| Exit::Success),
        () = signals.next() => {}
    }
    tracing::info!(
        grace_s = grace.as_secs(),
        "stopping: running calls finish; a second signal stops immediately"
    );
    stop();
    tokio::select! {
        result = &mut run => result.map(|()| Exit::Success),
        () = tokio::time::sleep(grace + LAST_WORDS) => {
            tracing::warn!("grace time is over; activities that still ran are tried again elsewhere");
            Ok(Exit::Success)
        }
        () = signals.next() => Ok(Exit::Interrupted),
    }
}

/// Listeners for SIGTERM and Ctrl-C.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

impl From<RoleArg> for Role {
    fn from(role: RoleArg) -> Self {
        match role {
            RoleArg::Tasks => Role::Tasks,
            RoleArg::Generate => Role::Generate,
            RoleArg::Transfer => Role::Transfer,
        }
    }
}
