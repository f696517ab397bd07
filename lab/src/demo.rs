//! `darkroom-lab demo`: the whole stack on this machine, and tasks on a real photo. What `./demo` runs.

mod contact_sheet;
mod crash;
mod crash_cost;
mod crash_report;
mod display;
mod kill;
mod report;
mod run;
mod running;

use std::path::PathBuf;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use cli::exit::Exit;
use running::Running;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Plan of each task.
    #[arg(long, default_value = "pro")]
    plan: String,
    /// Users at once, one task each.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    tasks: u32,
    /// The photo. Default: the sample portrait.
    #[arg(long, value_name = "FILE")]
    photo: Option<PathBuf>,
    /// What the images show.
    #[arg(long, default_value = "in a garden, golden hour")]
    prompt: String,
    /// How much faster than real the provider's clock runs; 1 is real: 8 s a batch, 2 s a download.
    #[arg(long, default_value_t = 5.0)]
    speed: f64,
    /// Kill the worker with -9 in the middle, start another, and say what was resumed and what was paid twice: with a provider
    /// that ignores idempotency keys, then with one that honours them.
    #[arg(long)]
    crash: bool,
    /// Leave the stack up, and print its addresses and what to try next.
    #[arg(long)]
    keep: bool,
    /// Provider calls at once.
    #[arg(long, default_value_t = 12, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    slots: u32,
    /// Where the contact sheet goes.
    #[arg(long, default_value = "demo-output", value_name = "DIR")]
    output: PathBuf,
}

/// The sample photo: compiled in, so that the binary shows something wherever it is run.
const PORTRAIT: &[u8] = include_bytes!("../../fixtures/portrait.jpg");

pub(crate) async fn run(args: Args) -> anyhow::Result<Exit> {
    run::check(&args)?;
    let photo = match &args.photo {
        Some(file) => std::fs::read(file).with_context(|| format!("--photo {}", file.display()))?,
        None => PORTRAIT.to_vec(),
    };
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut stack = None;
    let exit = tokio::select! {
        exit = show(&args, photo, &mut stack) => exit,
        _ = interrupt.recv() => Ok(Exit::Interrupted),
        _ = terminate.recv() => Ok(Exit::Interrupted),
    };
    if let Some(stack) = stack.take() {
        eprintln!("\nstopping the stack …");
        tokio::select! {
            stopped = stack.stop() => stopped?,
            // Whoever can't wait: the guards of the servers see to the rest.
            _ = interrupt.recv() => return Ok(Exit::Interrupted),
            _ = terminate.recv() => return Ok(Exit::Interrupted),
        }
    }
    exit
}

/// Starts the stack, leaving it in `kept` for whoever stops it, and runs the tasks.
async fn show(args: &Args, photo: Vec<u8>, kept: &mut Option<Running>) -> anyhow::Result<Exit> {
    if args.crash {
        return crash::show(args, photo, kept).await;
    }
    let provider = running::provider(args);
    let running = Running::start(provider, running::slots(args), kept).await?;
    let ended = run::begin(args, photo, &running.environment).await?.end(&running.stack.provider).await;
    let counted = report::count(&ended, &running.environment).await?;
    report::print(args, &ended, &counted, &running.stack);
    report::contact_sheet(args, &counted, &running.environment).await?;
    keep(args, running).await?;
    Ok(counted.exit)
}

/// With `--keep`, says where everything is, and stays.
async fn keep(args: &Args, running: &Running) -> anyhow::Result<()> {
    if args.keep {
        report::print_next_steps(&running.environment, &running.stack, running.worker_log())?;
        std::future::pending::<()>().await;
    }
    Ok(())
}
