//! One measurement from start to end: the stack, its workers, the load, and what there was to be seen.

mod load;
mod ready;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use activities::storage::Storage;
use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt};
use sandbox::{ObjectStore, Options, ProviderFault, Rule, Stack};
use tokio::time::Instant;
use worker::Config;

use crate::adaptation::{ALLOWED, Trace};
use crate::figures::{Costs, Observed, ObservedTask};
use crate::measure::calls::Clock;
use crate::measure::machine::Cpus;
use crate::measure::statements::Counter;
use crate::measure::{calls, history, process};
use crate::model;
use crate::semaphore::Semaphore;
use crate::settings::{Kept, Settings};
use crate::timeline::Timeline;
use crate::workers::Workers;
use load::Ended;

/// How long the provider takes for a call, and for a download.
pub const CALL_MS: u64 = 8_000;
const DOWNLOAD_MS: u64 = 2_000;
/// How long a URL of the provider lives, in provider time. Its list of them is gone through for each new one.
const URL_LIVES_MS: u64 = 600_000;
/// Between two looks at the workers.
const LOOK_EVERY: Duration = Duration::from_millis(250);
const SAY_EVERY: Duration = Duration::from_secs(10);
/// The header in which the calls' keys travel; the provider notes them whether it honours them or not.
const KEY_HEADER: &str = "Idempotency-Key";

/// A measurement under way. To be stopped, however it ends: its servers go with it.
#[derive(Default)]
pub struct Run {
    stack: Option<Stack>,
    workers: Option<Workers>,
    semaphore: Option<Semaphore>,
}

/// A user's photo, where tasks find it.
pub(crate) const PHOTO_KEY: &str = "uploads/portrait";

impl Run {
    /// Starts everything, runs the load to its end, and looks. `say` hears what happens, for people.
    pub async fn measure(
        &mut self,
        settings: &Settings,
        photo: &[u8],
        say: &dyn Fn(String),
    ) -> Result<Observed> {
        let began = Instant::now();
        let stack = self.stack.insert(Stack::start(options(settings)).await?);
        let mut environment = environment(settings, stack);
        let config = Config::read(None, environment.clone())?;
        let database = database::connect(&config.database, 2).await?;
        let counter = Counter::install(&mut stack.postgres, &database).await?;
        migrations::up(&database).await.context("applying the migrations")?;
        Storage::new(&config.storage).put(PHOTO_KEY, "image/jpeg", photo.to_vec().into()).await?;
        if let Some((limit, Kept::ByLeases)) = settings.limit {
            let key = config.provider.provider_key();
            paid_calls::limits::set(&database, key, &paid_calls::limits::Change::ceiling(limit)).await?;
        }
        if let Some((limit, Kept::BySemaphoreRow)) = settings.limit {
            let gate = Semaphore::start(&stack.provider.base_url(), &config.database, limit).await?;
            environment.push(("DARKROOM_PROVIDER__BASE_URL".to_owned(), gate.base_url()));
            self.semaphore = Some(gate);
        }
        let workers = Workers::start(stack, settings.workers, settings.darkroom.clone(), environment).await?;
        let workers = self.workers.insert(workers);
        let temporal = config.temporal.connect("darkroom-bench").await?;
        ready::wait(&temporal, workers, &config.provider.route, settings.limit.is_some()).await?;
        let client = client::Client::over(temporal.clone());
        if !settings.cold {
            load::warm_up(&client, stack, settings).await?;
        }
        say(format!("ready after {:.1} s", began.elapsed().as_secs_f64()));

        let plan = Plan::of(settings, &config)?;
        let statements_before = counter.read(&database).await?;
        workers.begin()?;
        let before = Servers::look(stack)?;
        let t0 = Moment::now();
        let loaded = drive(settings, &plan, t0, stack, workers, &client, say).await?;
        workers.sample()?;
        let after = Servers::look(stack)?;
        let statements = counter.read(&database).await?.saturating_sub(statements_before + 1);

        let meter = stack.provider.meter().wait_until(|meter| meter.in_flight == 0).await?;
        let histories = read_histories(&temporal, &loaded.ended).await?;
        let clock = Clock { began_ms: t0.unix_ms, speed: settings.speed };
        let wanted = histories.iter().flat_map(|(task_id, history)| {
            history.wanted_ms.iter().map(move |(name, at_ms)| (format!("{task_id}/{name}"), *at_ms))
        });
        let seen = calls::read(&meter, clock, &wanted.collect(), loaded.killed_ms, CALL_MS);
        let tasks = plan.arrivals.iter().enumerate().map(|(number, arrival)| {
            let task_id = load::task_id(number);
            let history = histories.get(&task_id);
            ObservedTask {
                group: arrival.group.clone(),
                arrived_ms: arrival.at_ms,
                first_call_ms: seen.first_call_ms.get(&task_id).copied(),
                finished_ms: history.map(|history| clock.provider_ms(history.closed_ms)),
                completed: history.is_some_and(|history| history.completed),
            }
        });
        let ours_s = after.sum_s() - before.sum_s() + workers.cpu_s();
        Ok(Observed {
            limits: plan.limits,
            model: plan.tasks,
            outage: plan.outage,
            tasks: tasks.collect(),
            images_delivered: loaded.ended.iter().map(|ended| ended.images).sum(),
            retouched: loaded.ended.iter().filter(|ended| ended.error.is_none()).count() as u64,
            images_billed: seen.images_billed,
            calls_throttled: seen.throttled,
            calls_unavailable: seen.unavailable,
            in_flight: Timeline::of(seen.calls.iter().copied()),
            waiting: Timeline::of(seen.waits.iter().copied()),
            downloading: Timeline::of(seen.downloads.iter().copied()),
            freed_to_next_ms: calls::freed_to_next(&seen, plan.limits.calls)
                .into_iter()
                .map(|ms| ms as f64 / settings.speed)
                .collect(),
            calls: seen.calls.len() as u64,
            events: histories.values().map(|history| history.events).sum(),
            history_bytes: histories.values().map(|history| history.bytes).sum(),
            statements,
            statements_how: counter.describe(),
            adaptation: match settings.adapts() {
                true => Some(Trace::read(&database, &meter, t0.unix_ms, settings.workers).await?),
                false => None,
            },
            memory: loaded.memory,
            costs: Costs {
                worker_cpu_s: workers.cpu_s(),
                worker_peak_bytes: workers.peak_bytes(),
                temporal_cpu_s: after.temporal_s - before.temporal_s,
                postgres_cpu_s: after.postgres_s - before.postgres_s,
                store_cpu_s: after.store_s.zip(before.store_s).map(|(after, before)| after - before),
                bench_cpu_s: after.bench_s - before.bench_s,
                others_share: after.cpus.used_by_others(before.cpus, ours_s),
            },
            errors: loaded.ended.into_iter().filter_map(|ended| ended.error).collect(),
        })
    }

    /// Stops all that was started and removes its data.
    pub async fn stop(&mut self) -> Result<()> {
        // Before the stack: they hold its folder.
        let workers = match self.workers.take() {
            Some(workers) => workers.stop().await,
            None => Ok(()),
        };
        if let Some(semaphore) = self.semaphore.take() {
            semaphore.stop().await;
        }
        match self.stack.take() {
            Some(stack) => stack.stop().await.and(workers),
            None => workers,
        }
    }
}

fn options(settings: &Settings) -> Options {
    let provider = sandbox::provider::Settings {
        speed: settings.speed,
        batch_ms: CALL_MS,
        batch_spread: settings.call_spread,
        download_ms: DOWNLOAD_MS,
        image_px: settings.image_px(),
        image_bytes: Some(settings.image_bytes),
        max_in_flight: Some(if settings.adapts() { ALLOWED[0].1 } else { settings.calls() } as usize),
        url_ttl_ms: URL_LIVES_MS,
        idempotency_header: settings.keys_honoured.then(|| KEY_HEADER.to_owned()),
        ..sandbox::provider::Settings::aggregator()
    };
    Options { provider, store: settings.store, headless: true, ..Options::default() }
}

/// What a worker needs to use the stack.
fn environment(settings: &Settings, stack: &Stack) -> Vec<(String, String)> {
    let mut environment = stack.environment();
    let mut set = |name: &str, value: String| environment.push((name.to_owned(), value));
    // As in the Dockerfile.
    set("MALLOC_ARENA_MAX", "2".into());
    set("MALLOC_MMAP_THRESHOLD_", (512 * 1024).to_string());
    set("DARKROOM_GENERATE__SLOTS", settings.slots.to_string());
    set("DARKROOM_TRANSFER__SLOTS", settings.transfer_slots.to_string());
    if let Some((_, Kept::BySemaphoreRow)) = settings.limit {
        // A call may wait for the semaphore as long as the load lasts.
        set("DARKROOM_PROVIDER__TIMEOUT_S", "300".into());
    }
    if !settings.keys_honoured {
        set("DARKROOM_PROVIDER__IDEMPOTENCY_HEADER", KEY_HEADER.to_owned());
    }
    environment
}

/// The load, and the same for the model.
struct Plan {
    arrivals: Vec<crate::scenario::Arrival>,
    tasks: Vec<model::Task>,
    limits: model::Limits,
    outage: Option<model::Outage>,
    /// In our time.
    patience: Duration,
}

impl Plan {
    fn of(settings: &Settings, config: &Config) -> Result<Self> {
        let arrivals = settings.scenario.arrivals(settings.seed);
        let tasks = arrivals.iter().map(|arrival| {
            let mut plans = (0..).zip(&config.plans);
            let plan = plans.find(|(_, (name, _))| **name == arrival.plan);
            let (number, (_, plan)) = plan.with_context(|| format!("there is no plan {}", arrival.plan))?;
            let lane = model::PlanLane::new(number, plan.weight, plan.tasks_in_lane);
            Ok(model::Task { at_ms: arrival.at_ms, images: plan.images, lane, user: arrival.user })
        });
        let tasks = tasks.collect::<Result<Vec<_>>>()?;
        let limits = model::Limits {
            calls: settings.calls(),
            transfers: settings.transfers(),
            batch_size: config.generate.batch_size,
            call_ms: CALL_MS,
            download_ms: DOWNLOAD_MS,
        };
        let outage = settings.outage();
        let expected_ms = model::schedule(&tasks, &limits, outage).makespan_ms();
        let patience = Duration::from_secs_f64(expected_ms as f64 / 1e3 * 3.0 / settings.speed + 120.0);
        Ok(Plan { arrivals, tasks, limits, outage, patience })
    }
}

/// The same moment on both clocks.
#[derive(Clone, Copy)]
struct Moment {
    instant: Instant,
    unix_ms: f64,
}

impl Moment {
    fn now() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { instant: Instant::now(), unix_ms: unix.as_secs_f64() * 1e3 }
    }
}

/// CPU seconds of everything but the workers.
struct Servers {
    cpus: Cpus,
    temporal_s: f64,
    postgres_s: f64,
    /// Where the store is a process of its own.
    store_s: Option<f64>,
    /// Our own process: the provider, the load, and the store where it is in process.
    bench_s: f64,
}

impl Servers {
    fn look(stack: &mut Stack) -> Result<Self> {
        let store_s = match &mut stack.store {
            ObjectStore::InProcess(_) => None,
            ObjectStore::Versity(versity) => Some(process::tree_cpu_s(versity.process().pid())?),
        };
        Ok(Self {
            cpus: Cpus::now()?,
            temporal_s: process::tree_cpu_s(stack.temporal.process().pid())?,
            postgres_s: process::tree_cpu_s(stack.postgres.process().pid())?,
            store_s,
            bench_s: process::usage(std::process::id())?.cpu_s,
        })
    }

    fn sum_s(&self) -> f64 {
        self.temporal_s + self.postgres_s + self.store_s.unwrap_or_default() + self.bench_s
    }
}

/// What the load left.
struct Loaded {
    ended: Vec<Ended>,
    /// Memory of all workers at moments of provider time.
    memory: Vec<(u64, u64)>,
    /// When the worker was killed, in milliseconds since 1970.
    killed_ms: Option<f64>,
}

/// Runs the load to its end, looking at the workers, and killing one where that is asked for.
async fn drive(
    settings: &Settings,
    plan: &Plan,
    t0: Moment,
    stack: &Stack,
    workers: &mut Workers,
    client: &client::Client,
    say: &dyn Fn(String),
) -> Result<Loaded> {
    let real = |provider_s: f64| t0.instant + Duration::from_secs_f64(provider_s / settings.speed);
    let never = t0.instant + plan.patience * 2;
    let (mut kill_at, mut restart_at) = match settings.kill {
        Some(kill) => (real(kill.at_s), real(kill.at_s + kill.restart_after_s)),
        None => (never, never),
    };
    let (mut unavailable_at, unavailable_for) = match settings.unavailable {
        Some(outage) => (real(outage.at_s), Duration::from_secs_f64(outage.for_s / settings.speed)),
        None => (never, Duration::ZERO),
    };
    let mut load = std::pin::pin!(load::run(client, &plan.arrivals, settings.speed, t0.instant));
    let mut allowed = ALLOWED.iter().skip(1).filter(|_| settings.adapts()).peekable();
    let mut looks = tokio::time::interval(LOOK_EVERY);
    let mut said = t0.instant;
    let (mut memory, mut killed_ms) = (Vec::new(), None);
    loop {
        tokio::select! {
            ended = &mut load => return Ok(Loaded { ended: ended?, memory, killed_ms }),
            _ = tokio::time::sleep_until(kill_at) => {
                killed_ms = Some(Moment::now().unix_ms);
                workers.kill().await?;
                kill_at = never;
                say("the worker was killed (-9)".into());
            }
            _ = tokio::time::sleep_until(restart_at) => {
                workers.restart(stack).await?;
                restart_at = never;
                say("another worker was started".into());
            }
            _ = tokio::time::sleep_until(unavailable_at) => {
                let nothing_but_503 = ProviderFault::Status { status: 503, retry_after_s: None };
                stack.provider.faults().add_first(Rule::new(nothing_but_503).during(unavailable_for));
                unavailable_at = never;
                say("the provider answers with nothing but 503".into());
            }
            _ = looks.tick() => {
                workers.sample()?;
                let elapsed = t0.instant.elapsed();
                memory.push(((elapsed.as_secs_f64() * settings.speed * 1e3) as u64, workers.memory_bytes()));
                if let Some((_, calls)) = allowed.next_if(|(at_s, _)| elapsed >= Duration::from_secs(*at_s)) {
                    stack.provider.change(|provider| provider.max_in_flight = Some(*calls as usize));
                    say(format!("the provider allows {calls} calls at once from now on"));
                }
                if elapsed > plan.patience {
                    bail!("the load is not done after {:.0} s; the provider saw {}", elapsed.as_secs_f64(),
                        stack.provider.meter().snapshot());
                }
                if said.elapsed() > SAY_EVERY {
                    said = Instant::now();
                    let meter = stack.provider.meter().snapshot();
                    say(format!("{:>6.0} s of provider time: {} images billed, {} calls in flight",
                        elapsed.as_secs_f64() * settings.speed, meter.images_billed, meter.in_flight));
                }
            }
        }
    }
}

async fn read_histories(
    temporal: &temporalio_client::Client,
    ended: &[Ended],
) -> Result<BTreeMap<String, history::History>> {
    let reads = ended
        .iter()
        .map(|ended| async { Ok((ended.task_id.clone(), history::read(temporal, &ended.task_id).await?)) });
    futures::stream::iter(reads).buffer_unordered(8).try_collect().await
}
