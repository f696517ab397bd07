//! A run: the stack, the workers, the load.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use activities::storage::Storage;
use anyhow::{Context, Result, bail};
use client::Client;
use client::types::GenerateImagesInput;
use database::DatabaseConnection;
use futures::TryStreamExt;
use futures::stream::FuturesUnordered;
use sandbox::process::Guarded;
use sandbox::provider::Settings;
use sandbox::{Options, Stack, StoreKind};
use sea_orm::{ConnectionTrait, Statement};
use tokio::time::{Instant, sleep, sleep_until};
use worker::Config;
use workflows::keys;

use crate::figures::{Figures, Ran, figures, task_id};
use crate::load::{Arrival, Scenario};
use crate::machine::{Watch, busy_s};
use crate::model::Limits;

/// What is to be measured.
#[derive(Debug, Clone)]
pub struct Run {
    /// The load.
    pub scenario: Scenario,
    /// Provider calls at once: the provider's limit, and the workers' slots together.
    pub calls: u32,
    /// Images that move at once, over all workers.
    pub transfers: u32,
    /// Worker processes.
    pub workers: u32,
    /// How much faster than real the provider's clock runs.
    pub speed: f64,
    /// Size of an image.
    pub image_bytes: usize,
    /// The S3 server.
    pub store: StoreKind,
    /// kill -9 of a worker at this time, and another started so much later, in real seconds.
    pub kill: Option<(f64, f64)>,
    /// Whether the provider honours idempotency keys.
    pub keys_are_honoured: bool,
    /// The program `darkroom`, whose workers are run.
    pub darkroom: PathBuf,
}

impl Run {
    /// The limits, for the model.
    pub fn limits(&self) -> Limits {
        Limits::of(self.calls, self.transfers)
    }
}

/// Where the photo lies.
const PHOTO: &str = "uploads/portrait.jpg";

/// Measures once.
pub async fn run(run: &Run) -> Result<Figures> {
    let provider = Settings {
        speed: run.speed,
        max_in_flight: Some(run.calls as usize),
        image_bytes: Some(run.image_bytes),
        image_px: 256,
        idempotency_header: run.keys_are_honoured.then(|| "Idempotency-Key".to_owned()),
        // Of our time: a recovery is to find its URLs alive.
        url_ttl_ms: (3_600_000.0 * run.speed) as u64,
        ..Settings::aggregator()
    };
    let stack = Stack::start(Options { provider, store: run.store, ..Options::default() }).await?;
    let config = Config::read(None, stack.environment())?;
    let database = database::connect(&config.database, 2).await?;
    migrations::up(&database).await.context("the migrations")?;
    Storage::new(&config.storage).put(PHOTO, "image/jpeg", PORTRAIT.into()).await?;
    let watch = Watch::start();
    let mut workers = Vec::new();
    for number in 0..run.workers {
        workers.push(worker(&stack, run, number, &watch).await?);
    }
    let client = Client::connect(&config.temporal).await?;
    warm(&stack, &client, &config).await?;
    let base = Base::of(&stack, &watch, &database).await?;

    let arrivals = run.scenario.arrivals();
    let began = Instant::now();
    let killing = async {
        if let Some((at, after)) = run.kill {
            sleep_until(began + Duration::from_secs_f64(at)).await;
            workers[0].kill().await?;
            sleep(Duration::from_secs_f64(after)).await;
            workers[0] = worker(&stack, run, run.workers, &watch).await?;
        }
        anyhow::Ok(())
    };
    let tasks =
        arrivals.iter().enumerate().map(|(number, arrival)| task(&client, run, began, number, arrival));
    let tasks = tasks.collect::<FuturesUnordered<_>>().try_collect::<Vec<_>>();
    let (mut ran, ()) = tokio::try_join!(tasks, killing)?;
    ran.sort_unstable_by_key(|(number, _)| *number);
    let ran: Vec<Ran> = ran.into_iter().map(|(_, ran)| ran).collect();

    let mut meter = stack.provider.meter().snapshot();
    meter.calls.retain(|call| call.idempotency_key.as_deref().is_some_and(|key| key.starts_with("bench-")));
    meter.images_billed = meter.calls.iter().map(|call| u64::from(call.images_billed)).sum();
    let mut figures = figures(&arrivals, &ran, &meter, run.limits(), run.speed);
    base.charge(&mut figures, &stack, &watch, &database).await?;
    history(&mut figures, &client, &config, arrivals.len()).await?;
    for worker in &mut workers {
        worker.stop().await?;
    }
    drop(workers);
    drop(database);
    stack.stop().await?;
    Ok(figures)
}

async fn worker(stack: &Stack, run: &Run, number: u32, watch: &Watch) -> Result<Guarded> {
    // The last ones take what doesn't divide.
    let share = |total: u32| {
        let place = number % run.workers;
        (total / run.workers + u32::from(place < total % run.workers)).max(1).to_string()
    };
    let mut environment = stack.environment();
    for (name, value) in [
        ("DARKROOM_GENERATE__SLOTS", share(run.calls)),
        ("DARKROOM_TRANSFER__SLOTS", share(run.transfers)),
        // The meter names calls by it, honoured or not.
        ("DARKROOM_PROVIDER__IDEMPOTENCY_HEADER", "Idempotency-Key".to_owned()),
        ("DARKROOM_WORKER__LOG", "warn".to_owned()),
    ] {
        environment.push((name.to_owned(), value));
    }
    let program = stack.program(&format!("worker-{number}"), &run.darkroom)?;
    let worker = program.arg("worker").envs(environment).start().await?;
    watch.add("worker", worker.pid());
    Ok(worker)
}

/// One task of the Free plan, so that all is connected and compiled that will be.
async fn warm(stack: &Stack, client: &Client, config: &Config) -> Result<()> {
    let speed = stack.provider.settings().speed;
    stack.provider.set_speed(1_000.0);
    let task = client.start(&input("warm", 0, "free")).await?;
    task.result().await?;
    stack.provider.set_speed(speed);
    let _ = config;
    Ok(())
}

fn input(task_id: &str, user: u32, plan: &str) -> GenerateImagesInput {
    GenerateImagesInput {
        task_id: task_id.to_owned(),
        user_id: format!("user-{user}"),
        plan: plan.to_owned(),
        prompt: Some("in a garden, golden hour".to_owned()),
        prompts: Vec::new(),
        photo: PHOTO.to_owned(),
    }
}

/// Submits a task when it is due and waits for its end.
async fn task(
    client: &Client,
    run: &Run,
    began: Instant,
    number: usize,
    arrival: &Arrival,
) -> Result<(usize, Ran)> {
    sleep_until(began + Duration::from_secs_f64(arrival.at_s / run.speed)).await;
    let submitted_ms = now_ms();
    let task = client.start(&input(&task_id(number), arrival.user, arrival.plan.name())).await?;
    let output = task.result().await?;
    if output.images.len() != arrival.plan.images() as usize {
        bail!("task {number} has {} images of {}", output.images.len(), arrival.plan.images());
    }
    Ok((number, Ran { submitted_ms, ended_ms: now_ms() }))
}

/// What had been used before the load began.
struct Base {
    worker_cpu_s: f64,
    cpu_s: Vec<(&'static str, f64)>,
    busy_s: f64,
    statements: f64,
    began: Instant,
}

impl Base {
    async fn of(stack: &Stack, watch: &Watch, database: &DatabaseConnection) -> Result<Base> {
        watch.add("temporal", stack.temporal.pid());
        watch.add("postgres", stack.postgres.pid());
        watch.add("bench", std::process::id());
        // What is left of the task that warmed everything up.
        sleep(Duration::from_millis(500)).await;
        Ok(Base {
            worker_cpu_s: watch.cost("worker").cpu_s,
            cpu_s: ["temporal", "postgres"].map(|name| (name, watch.cost(name).cpu_s)).to_vec(),
            busy_s: busy_s(),
            statements: statements(database).await?,
            began: Instant::now(),
        })
    }

    async fn charge(
        self,
        figures: &mut Figures,
        stack: &Stack,
        watch: &Watch,
        database: &DatabaseConnection,
    ) -> Result<()> {
        let _ = stack;
        let images = figures.images.max(1) as f64;
        let worker = watch.cost("worker");
        let worker_cpu_s = worker.cpu_s - self.worker_cpu_s;
        figures.worker_cpu_ms_per_image = worker_cpu_s * 1000.0 / images;
        figures.worker_peak_mb = worker.peak_bytes as f64 / 1e6;
        for (name, before) in self.cpu_s {
            figures.cpu_s.insert(name.to_owned(), watch.cost(name).cpu_s - before);
        }
        // The bench's family is everything it has started; itself is the rest of it.
        let others: f64 = figures.cpu_s.values().sum::<f64>() + worker_cpu_s;
        let elapsed = self.began.elapsed().as_secs_f64();
        let busy = busy_s() - self.busy_s;
        let own = own_cpu_s();
        figures.cpu_s.insert("bench, S3 and provider".to_owned(), own);
        figures.others_cpu_s = (busy - others - own).max(0.0);
        figures.others_share = figures.others_cpu_s / elapsed;
        figures.statements_per_image = (statements(database).await? - self.statements) / images;
        Ok(())
    }
}

/// CPU seconds of this process alone.
fn own_cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> =
        stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    let ticks: u64 = fields.iter().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    ticks as f64 / 100.0
}

/// Transactions committed in this database: Darkroom sends each statement as a transaction of its own.
async fn statements(database: &DatabaseConnection) -> Result<f64> {
    let sql = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()";
    let row = database.query_one_raw(Statement::from_string(database.get_database_backend(), sql)).await?;
    let committed: i64 = row.context("no statistics")?.try_get("", "xact_commit")?;
    Ok(committed as f64)
}

/// Events and bytes of the tasks' histories, as Temporal counts them.
async fn history(figures: &mut Figures, client: &Client, config: &Config, tasks: usize) -> Result<()> {
    let _ = client;
    let temporal = config.temporal.connect("bench").await?;
    // Tasks are alike: some tell for all.
    let (mut events, mut bytes, mut looked) = (0_i64, 0_i64, 0_usize);
    for number in (0..tasks).step_by(tasks.div_ceil(20)) {
        let id = keys::workflow_id(&task_id(number));
        let handle = temporal.get_workflow_handle::<workflows::GenerateImages>(id);
        let description = handle.describe(Default::default()).await?;
        if let Some(info) = &description.raw().workflow_execution_info {
            events += info.history_length;
            bytes += info.history_size_bytes;
        }
        looked += 1;
    }
    let images = figures.images as f64 / tasks.max(1) as f64 * looked as f64;
    figures.events_per_image = events as f64 / images.max(1.0);
    figures.history_bytes_per_image = bytes as f64 / images.max(1.0);
    Ok(())
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// The sample portrait.
const PORTRAIT: &[u8] = include_bytes!("../../fixtures/portrait.jpg");
