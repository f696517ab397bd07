//! The laboratory's binary, `darkroom-lab`: what a whole stack on this machine shows of the product.
#![allow(clippy::print_stdout, reason = "data goes to stdout; progress goes to stderr")]

mod bench;
mod demo;
mod soak;

use std::path::PathBuf;

use anyhow::ensure;
use clap::{Parser, Subcommand};
use cli::exit;

/// Darkroom's laboratory: Temporal, Postgres, an S3 server and a stand-in image provider on this machine, and the product's own workers.
#[derive(Parser)]
#[command(name = "darkroom-lab", version, after_help = exit::HELP)]
struct Lab {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the whole stack on this machine and a task on a real photo.
    Demo(demo::Args),
    /// Measure a load on this machine, beside what is possible under the same limits.
    Bench(bench::Args),
    /// Run random tasks, faults and kills on a whole stack on this machine, then check the invariants.
    Soak(soak::Args),
}

fn main() -> std::process::ExitCode {
    cli::end_when_nobody_reads();
    let lab = Lab::parse();
    cli::block_on(async {
        match lab.command {
            Command::Demo(args) => demo::run(args).await,
            Command::Bench(args) => bench::run(args).await,
            Command::Soak(args) => soak::run(args).await,
        }
    })
}

/// The product's binary, which is built beside this one.
fn darkroom() -> anyhow::Result<PathBuf> {
    let binary = std::env::current_exe()?.with_file_name("darkroom");
    ensure!(binary.is_file(), "there is no {}: build it with `cargo build --package cli`", binary.display());
    Ok(binary)
}
