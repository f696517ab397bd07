//! The product's binary, `darkroom`.
#![allow(clippy::print_stdout, reason = "data goes to stdout; logs go to stderr")]

mod commands;
pub mod exit;
mod logging;

pub use commands::render;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use worker::Config;

use commands::{
    cancel, check, ledger, limits, migrate, queue, reconcile, show, start, watch, worker as worker_command,
    workers,
};
use exit::Exit;

/// Darkroom turns one photo and a plan into N stored images and N rows, by durable tasks on
/// Temporal.
///
/// Settings come from the commented defaults (`darkroom config`), a file, then the environment
/// (DARKROOM_<SECTION>__<KEY>, and the usual DATABASE_URL, TEMPORAL_ADDRESS, AWS_…).
#[derive(Parser)]
#[command(name = "darkroom", version, after_help = exit::HELP)]
struct Cli {
    /// Path of the configuration file (TOML).
    #[arg(long, global = true, env = "DARKROOM_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a worker, which takes tasks from Temporal until SIGTERM or Ctrl-C.
    Worker(worker_command::Args),
    /// Bring the database's schema up to date, or back.
    Migrate(migrate::Args),
    /// Start a task from flags, or many from JSON lines on stdin.
    Start(start::Args),
    /// Follow a task until it has ended.
    Watch(watch::Args),
    /// Stop a task's spending, and keep the images that are stored.
    Cancel(cancel::Args),
    /// Show a task as the database has it.
    Show(show::Args),
    /// Show the paid calls that wait; for a task, its place, why it waits and when it is done.
    Queue(queue::Args),
    /// Show provider keys and their limits, or change them while workers run.
    Limits(limits::Args),
    /// Show the workers that make paid calls, and how many calls each may make concurrently.
    Workers(workers::Args),
    /// Show what was paid for whom, and the calls of which nobody knows whether they were billed.
    Ledger(ledger::Args),
    /// Compare rows, objects, calls and workflows, make the safe repairs and report the rest.
    Reconcile(reconcile::Args),
    /// Test every connection and say what is wrong and what to do.
    Check(check::Args),
    /// Print the commented default configuration.
    Config,
}

/// Runs the program with the process's arguments.
pub fn main() -> std::process::ExitCode {
    end_when_nobody_reads();
    block_on(run(Cli::parse()))
}

/// Runs a program to its end, and returns its exit code.
pub fn block_on(program: impl Future<Output = anyhow::Result<Exit>>) -> std::process::ExitCode {
    // An error means that a provider is installed already, which is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Exit::Failure.report(&anyhow::anyhow!("no async runtime: {error}")),
    };
    let result = runtime.block_on(program);
    // Blocking threads, such as a read of stdin, must not keep the process alive.
    runtime.shutdown_background();
    match result {
        Ok(exit) => exit.into(),
        Err(error) => Exit::of(&error).report(&error),
    }
}

/// Makes the process exit without a message once nobody reads its output.
///
/// In `darkroom show … | head`, `head` closes the pipe when it has read enough, and `println!`
/// panics. Other programs end without a message then, and so does this one.
pub fn end_when_nobody_reads() {
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
        Command::Config => Ok(Exit::Success),
    }
}
