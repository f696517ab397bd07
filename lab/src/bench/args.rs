//! The flags, and what they mean together.

use std::path::PathBuf;

use benchmark::scenario::{Scenario, Users};
use benchmark::settings::{Kept, size_bytes};
use benchmark::{Kill, Settings, Unavailable};
use clap::error::ErrorKind;
use sandbox::StoreKind;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The load.
    #[arg(value_enum)]
    scenario: Load,
    /// How many tasks `queue` and `flood` have.
    #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    tasks: Option<u32>,
    /// Plan of the tasks of `single`, `queue`, `flood` and `crowd`. Default: pro; of `flood`: start; of `crowd`: free.
    #[arg(long)]
    plan: Option<String>,
    /// Who starts the tasks of `s3`.
    #[arg(long, value_enum, default_value = "same")]
    users: Whose,
    /// Order of the arrivals within a round of `s3`.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How much faster than real the provider's clock runs; 1 is real: 8 s a call, 2 s a download.
    #[arg(long, default_value_t = 5.0, value_parser = speed)]
    speed: f64,
    /// By how much a call takes more or less than 8 s, evenly spread: 0 to 100 %. Else all calls that begin together end together.
    #[arg(long, default_value = "0%", value_name = "PERCENT", value_parser = percent)]
    call_spread: f64,
    /// Worker processes.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16))]
    workers: u32,
    /// Provider calls at once in each worker. Default: the limit, else 12.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    slots: Option<u32>,
    /// Provider calls at once, all workers together.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: Option<u32>,
    /// How that limit is kept.
    #[arg(long, value_enum, default_value = "leases", requires = "limit")]
    kept_by: KeptBy,
    /// Images that move at once in each worker. Default: 5 for 3 calls at once.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    transfer_slots: Option<u32>,
    /// What a picture weighs: 50KB, 1.5MB, ….
    #[arg(long, default_value = "50KB", value_name = "SIZE", value_parser = size_bytes)]
    image_bytes: usize,
    /// The S3 server: in this process, or versitygw.
    #[arg(long, value_enum, default_value = "in-process")]
    store: Store,
    /// Whether the provider honours the idempotency keys it is sent.
    #[arg(long, value_enum, default_value = "honoured")]
    keys: Keys,
    /// Kill the only worker with -9, so many provider seconds after the load's beginning. To scale at --speed 1 only.
    #[arg(long, value_name = "S", value_parser = seconds, requires = "restart_after")]
    kill_at: Option<f64>,
    /// Start another one, so many provider seconds after that.
    #[arg(long, value_name = "S", value_parser = seconds, requires = "kill_at")]
    restart_after: Option<f64>,
    /// Let the provider answer with nothing but 503, so many provider seconds after the load's beginning. To scale at --speed 1 only.
    #[arg(long, value_name = "S", value_parser = seconds, requires = "unavailable_for", conflicts_with = "kill_at")]
    unavailable_at: Option<f64>,
    /// For so many provider seconds.
    #[arg(long, value_name = "S", value_parser = seconds, requires = "unavailable_at")]
    unavailable_for: Option<f64>,
    /// Without the tasks that open the workers' connections before the load begins.
    #[arg(long)]
    cold: bool,
    /// Measure so often, and report medians.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=20))]
    repeat: u32,
    /// Write the report as JSON.
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// Write it as one page, with plots.
    #[arg(long, value_name = "FILE")]
    pub(super) html: Option<PathBuf>,
    /// Write its first plot as a picture.
    #[arg(long, value_name = "FILE")]
    pub(super) svg: Option<PathBuf>,
    /// Tell what has changed since the report in this file, written by --json.
    #[arg(long, value_name = "FILE")]
    pub(super) compare: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Load {
    /// Ten users start a Pro task at once.
    S1,
    /// Five Pro tasks a minute for an hour.
    S2,
    /// Twenty users start a task every 30 s, ten times: 30 % Free, 40 % Start, 30 % Pro.
    S3,
    /// The same twenty users once, all at once.
    S3AtOnce,
    /// One task alone.
    Single,
    /// N tasks at once.
    Queue,
    /// A provider that doesn't say how many calls at once it allows, 24, then 12, then 24, and a ceiling of 60. Real time: 240 s.
    Adapt,
    /// N tasks of one user at once (200), and one each of ten others soon after.
    Flood,
    /// 1.2 times as many tasks of a plan as there is capacity for, for ten minutes, and one of each other plan every minute.
    Crowd,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum KeptBy {
    /// A slot is a lease: what Darkroom does.
    Leases,
    /// To compare with: each call waits in its slot for a row in Postgres.
    SemaphoreRow,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Whose {
    /// The same twenty users in each round.
    Same,
    /// New ones in each round.
    New,
    /// A single one: all but the first few tasks wait in the user's own lane.
    One,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Store {
    /// s3s, in this process.
    InProcess,
    /// versitygw, a process of its own.
    Versity,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Keys {
    /// A call made again gets the first one's answer, unbilled.
    Honoured,
    /// A call made again is paid again.
    Ignored,
}

impl Args {
    /// Flags that don't go together end the program as any wrong usage does.
    pub(super) fn settings(&self) -> anyhow::Result<Settings> {
        let conflict =
            |what: &str| -> ! { clap::Error::raw(ErrorKind::ArgumentConflict, format!("{what}\n")).exit() };
        if self.scenario == Load::Queue && self.tasks.is_none() {
            conflict("queue needs the number of tasks, such as `queue 100`");
        }
        if !matches!(self.scenario, Load::Queue | Load::Flood) && self.tasks.is_some() {
            conflict("a number of tasks is for `queue` and `flood` alone");
        }
        let of_a_plan = [Load::Single, Load::Queue, Load::Flood, Load::Crowd].contains(&self.scenario);
        if self.plan.is_some() && !of_a_plan {
            conflict(
                "--plan is for `single`, `queue`, `flood` and `crowd`: the other loads have plans of their own",
            );
        }
        if self.kill_at.is_some() && self.workers > 1 {
            conflict("--kill-at kills the only worker: use it with --workers 1");
        }
        let config = worker::Config::read(None, [])?;
        let plans = &config.plans;
        let plan = self.plan.clone().unwrap_or_else(|| {
            let is = |load| matches!(&self.scenario, scenario if *scenario == load);
            (if is(Load::Flood) {
                "start"
            } else if is(Load::Crowd) {
                "free"
            } else {
                "pro"
            })
            .into()
        });
        if !plans.contains_key(&plan) {
            let known: Vec<&str> = plans.keys().map(String::as_str).collect();
            conflict(&format!("--plan {plan} is not configured: use one of {}", known.join(", ")));
        }
        let scenario = match self.scenario {
            Load::S1 => Scenario::S1,
            Load::S2 => Scenario::S2,
            Load::S3 => Scenario::S3(match self.users {
                Whose::Same => Users::Same,
                Whose::New => Users::New,
                Whose::One => Users::One,
            }),
            Load::S3AtOnce => Scenario::S3AtOnce,
            Load::Single => Scenario::Single { plan },
            Load::Queue => Scenario::Queue { tasks: self.tasks.unwrap_or(1), plan },
            Load::Adapt => Scenario::Adapt { tasks: self.tasks.unwrap_or(benchmark::ADAPT_TASKS) },
            Load::Flood => Scenario::Flood { tasks: self.tasks.unwrap_or(200), plan },
            Load::Crowd => self.crowd(plan, &config),
        };
        let limit = self.limit.or((self.scenario == Load::Adapt).then_some(benchmark::ADAPT_CEILING));
        let slots = self.slots.or(limit).unwrap_or(12);
        let calls = limit.map_or(slots, |limit| limit.min(slots * self.workers).div_ceil(self.workers));
        let kept = match self.kept_by {
            KeptBy::Leases => Kept::ByLeases,
            KeptBy::SemaphoreRow => Kept::BySemaphoreRow,
        };
        Ok(Settings {
            darkroom: crate::darkroom()?,
            scenario,
            seed: self.seed,
            speed: self.speed,
            call_spread: self.call_spread,
            workers: self.workers,
            slots,
            limit: limit.map(|limit| (limit, kept)),
            transfer_slots: self.transfer_slots.unwrap_or((calls * 5 / 3).max(1)),
            image_bytes: self.image_bytes,
            store: match self.store {
                Store::InProcess => StoreKind::InProcess,
                Store::Versity => StoreKind::Versity,
            },
            keys_honoured: self.keys == Keys::Honoured,
            kill: self
                .kill_at
                .zip(self.restart_after)
                .map(|(at_s, restart_after_s)| Kill { at_s, restart_after_s }),
            unavailable: self
                .unavailable_at
                .zip(self.unavailable_for)
                .map(|(at_s, for_s)| Unavailable { at_s, for_s }),
            cold: self.cold,
            repeat: self.repeat,
        })
    }
}

/// How many times the work of a crowd is more than there is capacity for.
const CROWDED: f64 = 1.2;

impl Args {
    /// A crowd of a plan's tasks, as many as these limits make too many.
    fn crowd(&self, plan: String, config: &worker::Config) -> Scenario {
        let calls_at_once = self.limit.or(self.slots).unwrap_or(12);
        let images = config.plans.get(&plan).map_or(1, |plan| plan.images);
        let work_ms = f64::from(1 + images.div_ceil(config.generate.batch_size)) * benchmark::CALL_MS as f64;
        let every_ms = work_ms / f64::from(calls_at_once) / CROWDED;
        let others = config.plans.keys().filter(|other| **other != plan).cloned().collect();
        Scenario::Crowd { plan, every_ms: every_ms.max(1.0) as u64, others }
    }
}

/// What the user typed.
pub(super) fn command() -> String {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    format!("darkroom {}", arguments.join(" "))
}

fn speed(text: &str) -> Result<f64, String> {
    within(text, 0.01, 1_000.0).map_err(|()| "use 0.01 to 1000; 1 is real time".into())
}

fn seconds(text: &str) -> Result<f64, String> {
    within(text, 0.0, 86_400.0).map_err(|()| "use seconds, 0 to 86400".into())
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.trim_end().trim_end_matches('%').trim_end();
    within(number, 0.0, 100.0).map(|percent| percent / 100.0).map_err(|()| "use 0% to 100%".into())
}

fn within(text: &str, least: f64, most: f64) -> Result<f64, ()> {
    text.parse::<f64>().ok().filter(|number| (least..=most).contains(number)).ok_or(())
}
