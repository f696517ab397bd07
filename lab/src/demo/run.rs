//! The demo's tasks, from start to end.

use std::time::{Duration, Instant};

use activities::Plan;
use activities::storage::Storage;
use anyhow::{Context, bail};
use benchmark::model;
use client::{Client, Task};
use futures::StreamExt;
use sandbox::Provider;
use worker::Config;
use workflows::types::{GenerateImagesInput, GenerateImagesOutput, Progress};

use super::Args;
use super::display::Display;

/// What became of the tasks.
pub(super) struct Ended {
    pub(super) results: Vec<(String, Result<GenerateImagesOutput, client::Error>)>,
    pub(super) elapsed: Duration,
    /// The least it could take, in our seconds.
    pub(super) bound: Duration,
}

pub(super) fn config(environment: &[(String, String)]) -> anyhow::Result<Config> {
    Ok(Config::read(None, environment.iter().cloned())?)
}

/// The plan that was asked for.
fn plan<'a>(config: &'a Config, args: &Args) -> anyhow::Result<&'a Plan> {
    config.plans.get(&args.plan).with_context(|| {
        let known: Vec<&str> = config.plans.keys().map(String::as_str).collect();
        format!("--plan {} is not configured: use one of {}", args.plan, known.join(", "))
    })
}

/// The least that the tasks can take, in our time.
fn bound(args: &Args, config: &Config, plan: &Plan) -> Duration {
    let provider = sandbox::provider::Settings::aggregator();
    let limits = model::Limits {
        calls: args.slots,
        transfers: config.transfer.slots as u32,
        batch_size: config.generate.batch_size,
        call_ms: provider.batch_ms,
        download_ms: provider.download_ms,
    };
    let lane = model::PlanLane::new(0, plan.weight, plan.tasks_in_lane);
    let task = |user| model::Task { at_ms: 0, images: plan.images, lane, user };
    let tasks: Vec<_> = (0..args.tasks).map(task).collect();
    Duration::from_millis(model::makespan_ms(&tasks, &limits, None)).div_f64(args.speed)
}

/// Bad arguments are told before anything starts.
pub(super) fn check(args: &Args) -> anyhow::Result<()> {
    if !(0.01..=1_000.0).contains(&args.speed) {
        bail!("--speed {} is out of range: use 0.01 to 1000; 1 is real time", args.speed);
    }
    plan(&config(&[])?, args)?;
    Ok(())
}

/// The schema.
pub(super) async fn prepare(environment: &[(String, String)]) -> anyhow::Result<()> {
    let config = config(environment)?;
    let database = database::connect(&config.database, 2).await?;
    migrations::up(&database).await.context("applying the migrations")?;
    Ok(())
}

/// The tasks, once they have started.
pub(super) struct Begun {
    pub(super) tasks: Vec<Task>,
    /// Batches of each.
    pub(super) batches: u32,
    /// Images of each.
    pub(super) images: u32,
    pub(super) at: Instant,
    pub(super) display: Display,
    bound: Duration,
}

/// Starts the tasks, and says what they are.
pub(super) async fn begin(
    args: &Args,
    photo: Vec<u8>,
    environment: &[(String, String)],
) -> anyhow::Result<Begun> {
    let config = config(environment)?;
    let plan = plan(&config, args)?;
    let batches = plan.images.div_ceil(config.generate.batch_size);
    let bound = bound(args, &config, plan);
    eprintln!(
        "{} × {} ({} images in {batches} batches of up to {}), {} provider calls at once",
        args.tasks, args.plan, plan.images, config.generate.batch_size, args.slots
    );
    if args.speed == 1.0 {
        eprintln!(
            "provider time is real: 8 s a batch, 2 s a download; at least {:.0} s",
            bound.as_secs_f64()
        );
    } else {
        eprintln!(
            "provider time runs {}× faster than real ({:.1} s a batch instead of 8); at least {:.1} s\n",
            args.speed,
            8.0 / args.speed,
            bound.as_secs_f64()
        );
    }

    let photo_key = "uploads/portrait";
    Storage::new(&config.storage).put(photo_key, "application/octet-stream", photo.into()).await?;
    let client = Client::connect(&config.temporal).await?;
    let at = Instant::now();
    let mut tasks = Vec::new();
    for number in 1..=args.tasks {
        let input = GenerateImagesInput {
            task_id: format!("demo-{number}"),
            user_id: format!("user-{number}"),
            plan: args.plan.clone(),
            prompt: Some(args.prompt.clone()),
            prompts: Vec::new(),
            photo: photo_key.into(),
        };
        tasks.push(client.start(&input).await?);
    }
    let display = Display::new(args, plan.images, bound);
    Ok(Begun { tasks, batches, images: plan.images, at, display, bound })
}

impl Begun {
    /// Runs the tasks to their end, showing how far they are.
    pub(super) async fn end(&self, provider: &Provider) -> Ended {
        let results = futures::future::join_all(self.tasks.iter().map(Task::result));
        let mut results = std::pin::pin!(results);
        let mut ticks = tokio::time::interval(Duration::from_millis(200));
        let results = loop {
            tokio::select! {
                results = &mut results => break results,
                _ = ticks.tick() => self.show(provider).await,
            }
        };
        let elapsed = self.at.elapsed();
        self.show(provider).await;
        self.display.end();
        let ids = self.tasks.iter().map(|task| task.task_id().to_owned());
        Ended { results: ids.zip(results).collect(), elapsed, bound: self.bound }
    }

    async fn show(&self, provider: &Provider) {
        self.display.show(&self.look().await, &provider.meter().snapshot(), self.at.elapsed());
    }

    /// How far each task is, as far as it can be asked.
    pub(super) async fn look(&self) -> Vec<Option<Progress>> {
        let looks = self.tasks.iter().map(|task| async { task.progress().await.ok() });
        futures::stream::iter(looks).buffered(16).collect().await
    }
}

/// Tasks that are shown one by one; of more, only sums.
pub(super) const SHOWN: usize = 8;
