//! `darkroom-lab soak`: random tasks, faults and kills on a whole stack, then the invariants.

use std::time::Duration;

use anyhow::Context;
use chaos::soak::{Soak, run as soak};
use tokio::signal::unix::{SignalKind, signal};

use cli::exit::Exit;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// For how long things go wrong.
    #[arg(long, default_value_t = 2.0, value_name = "M")]
    minutes: f64,
    /// Decides everything random: the same seed does the same things in the same order.
    #[arg(long, default_value_t = 1, value_name = "S")]
    seed: u64,
    /// Worker processes.
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16))]
    workers: u32,
    /// Minutes at the beginning in which workers start with the default timeouts; later ones have some of seconds.
    #[arg(long, default_value_t = 0.0, value_name = "M")]
    default_timeouts: f64,
    /// The provider honours idempotency keys. By default it ignores them, as image providers do.
    #[arg(long)]
    keys_honoured: bool,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<Exit> {
    let soak_for = Duration::try_from_secs_f64(args.minutes * 60.0).ok().filter(|time| !time.is_zero());
    let duration =
        soak_for.with_context(|| format!("--minutes {} is no time: use 2, or 0.5", args.minutes))?;
    let default_timeouts = Duration::try_from_secs_f64(args.default_timeouts * 60.0);
    let plan = Soak {
        seed: args.seed,
        duration,
        workers: args.workers as usize,
        darkroom: crate::darkroom()?,
        default_timeouts: default_timeouts.context("--default-timeouts is no time: use 10, or 0.5")?,
        keys_are_honoured: args.keys_honoured,
    };
    eprintln!(
        "starting Postgres, Temporal, an S3 server, a stand-in image provider and {} workers …",
        args.workers
    );
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let report = tokio::select! {
        report = Box::pin(soak(&plan, |what| eprintln!("{what}"))) => report?,
        _ = interrupt.recv() => return Ok(Exit::Interrupted),
        _ = terminate.recv() => return Ok(Exit::Interrupted),
    };
    print!("{report}");
    Ok(if report.violations.is_empty() { Exit::Success } else { Exit::Failure })
}
