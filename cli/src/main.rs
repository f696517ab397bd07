//! The one binary, `darkroom`.
#![allow(clippy::print_stdout, reason = "data goes to stdout; logs go to stderr")]

mod commands;
mod exit;
mod logging;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use worker::Config;

use commands::{
    bench as bench_command, cancel, check, demo, ledger, limits, migrate, queue, reconcile, show, soak,
    start, watch, worker as worker_command, workers,
};
use exit::Exit;

/// One photo and a plan become N stored images and N rows: durable generation tasks on Temporal.
///
/// Settings come from the commented defaults (`darkroom config`), a file, then the environment
/// (DARKROOM_<SECTION>__<KEY>, and the usual DATABASE_URL, TEMPORAL_ADDRESS, AWS_…).
#[derive(Parser)]
#[command(name = "darkroom", version, after_help = exit::HELP)]
struct Cli {
    /// Configuration file (TOML).
    #[arg(long, global = true, env = "DARKROOM_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a worker: takes tasks from Temporal until SIGTERM or Ctrl-C.
    Worker(worker_command::Args),
    /// Bring the database's schema up to date, or back.
    Migrate(migrate::Args),
    /// Start a task from flags, or many from JSON lines on stdin.
    Start(start::Args),
    /// Follow a task until it has ended.
    Watch(watch::Args),
    /// Stop a task's spending; what is stored stays.
    Cancel(cancel::Args),
    /// Show a task as the database has it.
    Show(show::Args),
    /// Show what waits for a paid call, or why a task does, and when its turn comes.
    Queue(queue::Args),
    /// Show provider keys and their limits, or change them while workers run.
    Limits(limits::Args),
    /// Show who makes paid calls, and how many each may make at once.
    Workers(workers::Args),
    /// Show what was paid, for whom, and of which calls nobody knows.
    Ledger(ledger::Args),
    /// Compare rows, objects, calls and workflows; make the safe repairs and report the rest.
    Reconcile(reconcile::Args),
    /// Test every connection and say what is wrong and what to do.
    Check(check::Args),
    /// Print the commented default configuration.
    Config,
    /// Run the whole stack on this machine and a task on a real photo.
    Demo(demo::Args),
    /// Measure a load on this machine, beside what is possible under the same limits.
    Bench(bench_command::Args),
    /// Run random tasks, faults and kills on a whole stack on this machine, then check the invariants.
    Soak(soak::Args),
}

fn main() -> std::process::ExitCode {
    end_when_nobody_reads();
    let cli = Cli::parse();
    // Fails only where one is installed already, which does as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Exit::Failure.report(&anyhow::anyhow!("no async runtime: {error}")),
    };
    let result = runtime.block_on(run(cli));
    // Blocking threads, such as a read of stdin, must not keep the process.
    runtime.shutdown_background();
    match result {
        Ok(exit) => exit.into(),
        Err(error) => Exit::of(&error).report(&error),
    }
}

/// `darkroom show … | head`: who has read enough closes the pipe, and `println!` panics. End as other programs do, without a word.
fn end_when_nobody_reads() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let nobody_reads = panic
            .payload_as_str()
            .is_some_and(|why| why.starts_with("failed printing to stdout") && why.contains("Broken pipe"));
        if nobody_reads {
            std::process::exit(exit::NOBODY_READS);
        }
        usual(panic);
    }));
}

async fn run(cli: Cli) -> anyhow::Result<Exit> {
    if matches!(cli.command, Command::Config) {
        print!("{}", worker::config::DEFAULTS);
        return Ok(Exit::Success);
    }
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let config = Config::read(cli.config.as_deref(), variables)?;
    logging::check(&config.worker)?;
    match cli.command {
        Command::Worker(args) => worker_command::run(config, args).await,
        Command::Migrate(args) => migrate::run(config, args).await,
        Command::Start(args) => start::run(config, args).await,
        Command::Watch(args) => watch::run(config, args).await,
        Command::Cancel(args) => cancel::run(config, args).await,
        Command::Show(args) => show::run(config, args).await,
        Command::Queue(args) => queue::run(config, args).await,
        Command::Limits(args) => limits::run(config, args).await,
        Command::Workers(args) => workers::run(config, args).await,
        Command::Ledger(args) => ledger::run(config, args).await,
        Command::Reconcile(args) => reconcile::run(config, args).await,
        Command::Check(args) => check::run(config, args).await,
        Command::Demo(args) => demo::run(args).await,
        Command::Bench(args) => bench_command::run(args).await,
        Command::Soak(args) => soak::run(args).await,
        Command::Config => Ok(Exit::Success),
    }
}
