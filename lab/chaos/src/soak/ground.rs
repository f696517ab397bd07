//! The stack it happens on, with a proxy between any two parts, and what the soak itself looks at it with.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use activities::storage::Storage;
use anyhow::{Context, Result};
use client::Client;
use paid_calls::limits::Change;
use sandbox::process::Guarded;
use sandbox::provider::Settings;
use sandbox::{Chance, Options, ProviderFault, Rule, Stack, StoreKind};
use worker::Config;

use super::Soak;
use crate::{Disruptions, Links, Violation};

/// The sample portrait, in every soak's bucket.
pub(super) const PHOTO: &str = "uploads/portrait.jpg";
/// The provider key: named after its route.
const KEY: &str = "default";
/// Prompts with this word are rejected.
pub(super) const FORBIDDEN: &str = "forbidden";
/// Calls at once, over all workers, unless a deed says otherwise.
pub(super) const LIMIT: u32 = 12;
/// How likely each fault is, at each call or download.
const FAULT: f64 = 0.004;

/// The stack, its workers, and the proxies between them.
pub(super) struct Arena {
    pub(super) stack: Stack,
    pub(super) links: Links,
    pub(super) workers: Vec<Guarded>,
    soak: Soak,
    began: Instant,
    started: usize,
}

impl Arena {
    pub(super) async fn start(soak: &Soak, mut chance: Chance) -> Result<Arena> {
        let provider = Settings {
            speed: 20.0,
            image_px: 96,
            idempotency_header: soak.keys_are_honoured.then(|| "Idempotency-Key".to_owned()),
            ..Settings::aggregator()
        };
        // A process of its own, to be killed; and the other one walks its whole bucket for each listing.
        let options = Options { provider, store: StoreKind::Versity, ..Options::default() };
        let stack = Stack::start(options).await?;
        stack.provider.rejects(FORBIDDEN);
        stack.provider.faults().seed(chance.number());
        for fault in ProviderFault::examples() {
            stack.provider.faults().add(Rule::new(fault).chance(FAULT));
        }
        let links = Links::start(&stack.environment()).await?;
        let mut ground = Arena {
            stack,
            links,
            workers: Vec::new(),
            soak: soak.clone(),
            began: Instant::now(),
            started: 0,
        };
        let config = ground.config()?;
        migrations::up(&database::connect(&config.database, 2).await?).await.context("the migrations")?;
        Storage::new(&config.storage).put(PHOTO, "image/jpeg", PORTRAIT.into()).await?;
        ground.limit(&Change { floor: Some(4), ..Change::ceiling(LIMIT) }).await?;
        for _ in 0..soak.workers {
            let worker = ground.worker().await?;
            ground.workers.push(worker);
        }
        Ok(ground)
    }

    /// How the soak itself reaches the stack: past the proxies.
    pub(super) fn config(&self) -> Result<Config> {
        Ok(Config::read(None, self.stack.environment())?)
    }

    /// One more worker process.
    pub(super) async fn worker(&mut self) -> Result<Guarded> {
        self.started += 1;
        let through = self.links.through(&self.stack.environment());
        let mut environment: BTreeMap<String, String> = through.into_iter().collect();
        // Sent even where it is ignored: the meter names calls by it.
        let mut settings = vec![("DARKROOM_PROVIDER__IDEMPOTENCY_HEADER", "Idempotency-Key")];
        if self.began.elapsed() >= self.soak.default_timeouts {
            settings.extend([
                ("DARKROOM_PROVIDER__TIMEOUT_S", "6"),
                ("DARKROOM_WORKER__SHUTDOWN_GRACE_S", "10"),
                ("DARKROOM_DATABASE__STATEMENT_TIMEOUT_MS", "3000"),
                ("DARKROOM_STORAGE__REQUEST_TIMEOUT_MS", "5000"),
                ("DARKROOM_FETCH__READ_TIMEOUT_MS", "3000"),
            ]);
        }
        environment.extend(settings.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
        let program = self.stack.program(&format!("worker-{}", self.started), &self.soak.darkroom)?;
        program.arg("worker").envs(environment).patience(Duration::from_secs(15)).start().await
    }

    /// Changes what the provider key allows.
    pub(super) async fn limit(&self, change: &Change) -> Result<()> {
        let database = database::connect(&self.config()?.database, 1).await?;
        paid_calls::limits::set(&database, KEY, change).await?;
        database.close().await?;
        Ok(())
    }

    /// Nothing goes wrong any more.
    pub(super) fn calm(&self) {
        self.stack.provider.faults().clear();
        self.stack.provider.rejects(FORBIDDEN);
        self.links.mend();
    }

    pub(super) async fn stop(mut self) -> Result<()> {
        for worker in &mut self.workers {
            worker.stop().await?;
        }
        drop(self.workers);
        self.stack.stop().await
    }
}

/// What the soak looks with, and what it has done.
pub(super) struct Reach {
    pub(super) client: Client,
    pub(super) storage: Storage,
    /// Where users' photos are served.
    pub(super) photos: Vec<String>,
    tasks: Mutex<Vec<String>>,
    deeds: Mutex<Disruptions>,
    violations: Mutex<Vec<Violation>>,
}

impl Reach {
    pub(super) async fn of(ground: &Arena) -> Result<Reach> {
        let config = ground.config()?;
        let provider = &ground.stack.provider;
        let served = provider.serve_photo("ann.jpg", PORTRAIT, "image/jpeg");
        let moved = provider.serve_redirect("moved.jpg", &served);
        let photos = vec![PHOTO.to_owned(), served, moved, provider.serve_status("gone.jpg", 404)];
        Ok(Reach {
            client: Client::connect(&config.temporal).await?,
            storage: Storage::new(&config.storage),
            photos,
            tasks: Mutex::default(),
            deeds: Mutex::default(),
            violations: Mutex::default(),
        })
    }

    pub(super) fn started(&self, task_id: &str) {
        lock(&self.tasks).push(task_id.to_owned());
    }

    pub(super) fn cancelled(&self, task_id: &str) {
        lock(&self.deeds).cancels.push((task_id.to_owned(), now_ms()));
    }

    /// Workers may not have heard of cancels since `since_ms`.
    pub(super) fn deafened(&self, since_ms: u64) {
        lock(&self.deeds).losses.push((since_ms, now_ms()));
    }

    pub(super) fn violated(&self, invariant: &'static str, what: String) {
        lock(&self.violations).push(Violation { invariant, what });
    }

    pub(super) fn tasks(&self) -> Vec<String> {
        lock(&self.tasks).clone()
    }

    pub(super) fn deeds(&self) -> Disruptions {
        lock(&self.deeds).clone()
    }

    pub(super) fn violations(&self) -> Vec<Violation> {
        lock(&self.violations).clone()
    }

    /// Waits until every task has ended and the provider has nothing under way; false where it takes too long.
    pub(super) async fn drained(&self, ground: &Arena, within: Duration) -> Result<bool> {
        let began = Instant::now();
        let mut open = self.tasks();
        loop {
            let mut left = Vec::new();
            for task_id in open {
                if !self.client.task(&task_id).is_closed().await? {
                    left.push(task_id);
                }
            }
            let meter = ground.stack.provider.meter().snapshot();
            if left.is_empty() && meter.in_flight == 0 && meter.downloads_in_flight == 0 {
                return Ok(true);
            }
            if began.elapsed() > within {
                return Ok(false);
            }
            open = left;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

pub(super) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The sample portrait.
const PORTRAIT: &[u8] = include_bytes!("../../../../fixtures/portrait.jpg");
