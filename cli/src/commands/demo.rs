//! `darkroom demo`: the whole stack on this machine, and tasks on a real photo. What `./demo` runs.

mod bound;
mod contact_sheet;
mod display;
mod report;
mod run;

use std::path::PathBuf;

use anyhow::Context;
use sandbox::provider::Settings;
use sandbox::{Options, Stack, StoreKind};
use tokio::signal::unix::{SignalKind, signal};

use crate::exit::Exit;

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
const PORTRAIT: &[u8] = include_bytes!("../../../fixtures/portrait.jpg");

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
    eprintln!("starting Postgres, Temporal, an S3 server and a stand-in image provider on loopback …");
    let began = std::time::Instant::now();
    let provider =
        Settings { speed: args.speed, max_in_flight: Some(args.slots as usize), ..Settings::aggregator() };
    let options = Options { provider, store: StoreKind::InProcess, headless: false, ..Options::default() };
    let running = kept.insert(Running { stack: Stack::start(options).await?, worker: None });
    let environment = running.environment(args.slots);
    run::prepare(&environment).await?;
    running.start_worker(&environment).await?;
    eprintln!("ready in {:.1} s\n", began.elapsed().as_secs_f64());

    let ended = run::tasks(args, photo, &environment, &running.stack).await?;
    let exit = report::print(args, &ended, &environment, &running.stack).await?;
    if args.keep {
        report::print_next_steps(&environment, &running.stack, running.worker_log())?;
        std::future::pending::<()>().await;
    }
    Ok(exit)
}

/// The stack and its worker.
struct Running {
    stack: Stack,
    worker: Option<sandbox::process::Guarded>,
}

impl Running {
    /// Everything a `darkroom` command needs to use the stack.
    fn environment(&self, slots: u32) -> Vec<(String, String)> {
        let mut environment = self.stack.environment();
        environment.push(("DARKROOM_GENERATE__SLOTS".into(), slots.to_string()));
        // The seed's ratio of calls to transfers.
        environment.push(("DARKROOM_TRANSFER__SLOTS".into(), (slots * 5 / 3).max(1).to_string()));
        environment
    }

    /// The worker is a process of its own, as in production: this very binary.
    async fn start_worker(&mut self, environment: &[(String, String)]) -> anyhow::Result<()> {
        let binary = std::env::current_exe().context("finding this program")?;
        let worker = self.stack.program("worker", binary)?;
        let variables = environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        self.worker = Some(worker.arg("worker").envs(variables).start().await?);
        Ok(())
    }

    fn worker_log(&self) -> Option<PathBuf> {
        self.worker.as_ref().map(sandbox::process::Guarded::log)
    }

    async fn stop(mut self) -> anyhow::Result<()> {
        // Dropped before the stack stops: it holds the stack's folder.
        if let Some(mut worker) = self.worker.take() {
            worker.stop().await?;
        }
        self.stack.stop().await
    }
}
