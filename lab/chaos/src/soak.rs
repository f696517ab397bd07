//! The soak: random tasks, plans, faults and kills on the whole stack; then calm, then the invariants.
//!
//! The seed decides what is done, in which order and with which gaps; what that meets depends on the machine's timing.

mod disruption;
mod ground;
mod load;
mod report;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use paid_calls::limits::Change;
use sandbox::Chance;

use crate::{Witness, violations};
use disruption::Disruption;
use ground::{Arena, Reach};

pub use report::Report;

/// How long everything may take to end once nothing goes wrong any more: a refused account is asked every 30 s, a backoff grows to as much.
const DRAINS_WITHIN: Duration = Duration::from_secs(300);

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Soak {
    /// Decides everything random.
    pub seed: u64,
    /// For how long things go wrong.
    pub duration: Duration,
    /// Worker processes.
    pub workers: usize,
    /// The program `darkroom`, whose workers are run.
    pub darkroom: PathBuf,
    /// Workers that start before this have the default timeouts; later ones have some of seconds, so that what hangs
    /// doesn't hang for minutes.
    pub default_timeouts: Duration,
    /// Whether the provider honours idempotency keys: then nothing at all may be paid twice.
    pub keys_are_honoured: bool,
}

/// Runs it; `tell` hears what is done, as it is done. Violations are in the report; an error is that the stack itself didn't work.
pub async fn run(soak: &Soak, mut tell: impl FnMut(&str)) -> Result<Report> {
    let mut chance = Chance::new(soak.seed);
    let mut ground = Arena::start(soak, chance.fork()).await?;
    let reach = Arc::new(Reach::of(&ground).await?);
    let began = Instant::now();
    let until = began + soak.duration;
    let load = tokio::spawn(load::run(reach.clone(), chance.fork(), until));
    let mut done = Vec::new();
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(chance.between(500, 5_000))).await;
        let deed = Disruption::random(&mut chance);
        tell(&format!("{:>6.1} s  {deed:?}", began.elapsed().as_secs_f64()));
        deed.do_it(&mut ground, &reach, &mut chance).await?;
        done.push(deed);
    }
    load.await??;
    ground.calm();
    ground.limit(&Change { paused: Some(false), ..Change::ceiling(ground::LIMIT) }).await?;
    let calm = Instant::now();
    tell(&format!(
        "{:>6.1} s  nothing goes wrong any more; waiting for what is under way",
        began.elapsed().as_secs_f64()
    ));
    let drained = reach.drained(&ground, DRAINS_WITHIN).await?;
    let drain = calm.elapsed();

    let tasks = reach.tasks();
    let deeds = reach.deeds();
    let meter = ground.stack.provider.meter().snapshot();
    // Opened now: the server was killed more than once.
    let database = database::connect(&ground.config()?.database, 4).await?;
    let witness = Witness {
        database: &database,
        storage: &reach.storage,
        client: &reach.client,
        meter,
        tasks: &tasks,
        deeds: &deeds,
    };
    let mut found = violations(&witness).await?;
    found.extend(reach.violations());
    let report = Report::of(soak, &witness, done, drained.then_some(drain), found).await?;
    ground.stop().await?;
    Ok(report)
}
