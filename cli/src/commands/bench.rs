//! `darkroom bench`: a load on a whole stack, measured beside what its limits allow.

use std::path::PathBuf;

use anyhow::{Context, bail};
use bench::load::Scenario;
use bench::run::Run;
use sandbox::StoreKind;

use crate::exit::Exit;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// s1, s2, s3, single-free, single-start, single-pro, or queue-N.
    #[arg(default_value = "s1")]
    scenario: Scenario,
    /// Provider calls at once.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=1000))]
    slots: u32,
    /// Images that move at once. Default: five for each three calls.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=5000))]
    transfer_slots: Option<u32>,
    /// Worker processes; slots are shared out among them.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    workers: u32,
    /// How much faster than real the provider's clock runs.
    #[arg(long, default_value_t = 5.0)]
    speed: f64,
    /// Size of an image, in bytes.
    #[arg(long, default_value_t = 50_000)]
    image_bytes: usize,
    /// kill -9 of the first worker after so many real seconds.
    #[arg(long, value_name = "S")]
    kill_at: Option<f64>,
    /// Another is started so many seconds after the kill.
    #[arg(long, default_value_t = 10.0, value_name = "S")]
    restart_after: f64,
    /// The provider honours idempotency keys.
    #[arg(long)]
    keys_honoured: bool,
    /// Times to measure; the one of median makespan is told.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=99))]
    repeat: u32,
    /// Where the figures go as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<Exit> {
    if !(0.01..=1_000.0).contains(&args.speed) {
        bail!("--speed {} is out of range: use 0.01 to 1000; 1 is real time", args.speed);
    }
    let plan = Run {
        scenario: args.scenario,
        calls: args.slots,
        transfers: args.transfer_slots.unwrap_or((args.slots * 5 / 3).max(1)),
        workers: args.workers,
        speed: args.speed,
        image_bytes: args.image_bytes,
        store: StoreKind::InProcess,
        kill: args.kill_at.map(|at| (at, args.restart_after)),
        keys_are_honoured: args.keys_honoured,
        darkroom: std::env::current_exe().context("finding this program")?,
    };
    let mut runs = Vec::new();
    for number in 1..=args.repeat {
        eprintln!("{} ({number} of {}) …", plan.scenario, args.repeat);
        runs.push(Box::pin(bench::run::run(&plan)).await?);
    }
    runs.sort_by(|one, two| one.makespan_s.total_cmp(&two.makespan_s));
    let all: Vec<String> = runs.iter().map(|run| format!("{:.1}", run.makespan_s)).collect();
    let median = runs.swap_remove(runs.len() / 2);
    print!("{}", bench::report::table(&plan, &median));
    println!("makespans of all runs: {}", all.join(", "));
    if let Some(file) = args.json {
        let json = serde_json::to_vec_pretty(&median)?;
        std::fs::write(&file, json).with_context(|| format!("--json {}", file.display()))?;
    }
    Ok(Exit::Success)
}
