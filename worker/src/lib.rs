//! Wires it: configuration, roles, slots, shutdown.

pub mod config;
mod reach;
mod slots;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use activities::fetch::Fetcher;
use activities::provider::Provider;
use activities::storage::Storage;
use activities::{Activities, References};
use anyhow::Context;
use database::DatabaseConnection;
use database::leases::Holder;
use limiter::Limiter;
use temporalio_client::NamespacedClient;
use temporalio_sdk::WorkerOptions;
use temporalio_sdk::runtime::PollerBehavior;
use temporalio_sdk::runtime::worker_tuner::{FixedSizeSlotSupplier, TunerHolder};
use temporalio_sdk_core::{CoreRuntime, RuntimeOptions, init_worker};
use tokio::sync::Semaphore;
use workflows::{GenerateImages, Reconcile, task_queue};

pub use config::{Config, Role};

/// How long a workflow waits for the worker that knew it: what a killed worker costs its workflows.
const STICKY_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest interval between heartbeats: what a cancel takes to be heard, at most.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// One process's workers, one for each of its roles.
pub struct Worker {
    workers: Vec<temporalio_sdk::Worker>,
    client: temporalio_client::Client,
    database: DatabaseConnection,
    /// Where calls are made.
    limiter: Option<Arc<Limiter>>,
    /// The queue of the calls that it could make.
    calls_queue: String,
    /// Holds what the workers run on.
    _runtime: CoreRuntime,
}

impl Worker {
    /// Connects to everything the roles need, and checks that the database pool fits into its server.
    pub async fn new(config: &Config) -> anyhow::Result<Self> {
        config.validate()?;
        let client = config.temporal.connect("darkroom-worker").await?;
        let reach = Arc::new(reach(config).await?);
        let options = RuntimeOptions::builder().build().map_err(anyhow::Error::msg)?;
        let runtime = CoreRuntime::new_assume_tokio(options).context("Temporal's runtime")?;
        let workers = config.worker.roles.iter().map(|role| {
            role.worker(config, &reach, &runtime, &client)
                .with_context(|| format!("worker for role {role:?}"))
        });
        let limiter = config.worker.roles.contains(&Role::Generate).then(|| reach.limiter.clone());
        let database = reach.database.clone();
        Ok(Self {
            workers: workers.collect::<anyhow::Result<_>>()?,
            client,
            database,
            limiter,
            calls_queue: task_queue::generate(&config.provider.route),
            _runtime: runtime,
        })
    }

    /// Makes `run` end: no new work is taken, running activities finish within the grace time.
    pub fn shutdown_handle(&self) -> impl Fn() + Send + 'static {
        let handles: Vec<_> = self.workers.iter().map(temporalio_sdk::Worker::shutdown_handle).collect();
        move || handles.iter().for_each(|stop| stop())
    }

    /// Works until it is told to stop, or one of the roles can't go on: then all stop.
    ///
    /// Closes its database connections at the end: the SDK keeps the activities, and so the pool, for as long as the process lives.
    pub async fn run(&mut self) -> anyhow::Result<()> {
        let ended = self.work().await;
        let _ = self.database.clone().close().await;
        ended
    }

    async fn work(&mut self) -> anyhow::Result<()> {
        let stop = self.shutdown_handle();
        let runs = self.workers.iter_mut().map(|worker| async {
            let queue = worker.task_queue().to_owned();
            let result = worker.run().await.with_context(|| format!("worker of queue {queue}"));
            if result.is_err() {
                stop();
            }
            result
        });
        let runs = futures::future::join_all(runs);
        let Some(limiter) = &self.limiter else { return runs.await.into_iter().collect() };
        let ended = tokio::select! {
            ended = runs => ended,
            never = limiter.run() => match never {},
            never = reach::watch(&self.client, &self.calls_queue, limiter) => match never {},
        };
        limiter.release().await;
        ended.into_iter().collect()
    }
}

/// What the steps may touch.
async fn reach(config: &Config) -> anyhow::Result<Activities> {
    let roles = &config.worker.roles;
    let wants_database = roles.contains(&Role::Tasks) || roles.contains(&Role::Generate);
    let connections = config.pool_size();
    let database = if wants_database {
        let database = database::connect(&config.database, connections).await?;
        database::check_capacity(&database, connections).await?;
        database
    } else {
        database::connect_lazy(&config.database, connections).await?
    };
    Ok(Activities {
        limiter: limiter(config, &database),
        database,
        storage: Storage::new(&config.storage),
        fetcher: Fetcher::new(&config.fetch)?,
        fetch: config.fetch.clone(),
        provider: Provider::new(&config.provider).context("the provider's HTTP client")?,
        references: References::default(),
        plans: config.plans.clone(),
        batch_size: config.generate.batch_size,
        beautify_prompt: config.beautify.prompt.clone(),
        decoding: Arc::new(Semaphore::new(1)),
        moving: Semaphore::new(config.transfer.slots),
    })
}

/// This process's share of the provider key.
fn limiter(config: &Config, database: &DatabaseConnection) -> Arc<Limiter> {
    let host = gethostname::gethostname().to_string_lossy().into_owned();
    let pid = std::process::id();
    // Several may run in one process, as in tests.
    static STARTS: AtomicU32 = AtomicU32::new(0);
    let start = STARTS.fetch_add(1, Ordering::Relaxed);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let worker = format!("{host}/{pid}/{since}.{start}");
    let provider_key = config.provider.provider_key().to_owned();
    let most = config.generate.slots as u32;
    Limiter::new(database.clone(), Holder { provider_key, worker, host, pid, most })
}

impl Role {
    /// The worker of this role. It is made of the SDK's core, which alone takes slots of our own.
    fn worker(
        self,
        config: &Config,
        reach: &Arc<Activities>,
        runtime: &CoreRuntime,
        client: &temporalio_client::Client,
    ) -> anyhow::Result<temporalio_sdk::Worker> {
        let options = self.options(config, reach)?;
        let mut core =
            options.to_core_options(client.namespace(), client.identity()).map_err(anyhow::Error::msg)?;
        if self == Role::Generate {
            core.tuner = Some(Arc::new(slots::Leased(reach.limiter.clone())));
        }
        let worker = init_worker(runtime, core, client.connection().clone())?;
        let options = (client.options().clone(), options);
        Ok(temporalio_sdk::Worker::new_from_core_options(Arc::new(worker), options.0, options.1)?)
    }

    /// The worker of this role: its queue, what it does and how much of it at once.
    fn options(self, config: &Config, reach: &Arc<Activities>) -> anyhow::Result<WorkerOptions> {
        let grace = Duration::from_secs(config.worker.shutdown_grace_s);
        let (queue, slots) = match self {
            Role::Tasks => (task_queue::TASKS.to_owned(), config.tasks.slots),
            Role::Generate => (task_queue::generate(&config.provider.route), config.generate.slots),
            Role::Transfer => (task_queue::TRANSFER.to_owned(), config.transfer.slots),
        };
        let workflow_slots = config.tasks.workflow_slots;
        let tuner = TunerHolder::builder()
            .workflow_task_slot_supplier(FixedSizeSlotSupplier::new(workflow_slots))
            .activity_task_slot_supplier(FixedSizeSlotSupplier::new(slots))
            .local_activity_task_slot_supplier(FixedSizeSlotSupplier::new(1))
            .nexus_task_slot_supplier(FixedSizeSlotSupplier::new(1))
            .build();
        let mut options = WorkerOptions::new(queue)
            .tuner(tuner)
            .workflow_task_poller_behavior(PollerBehavior::SimpleMaximum(pollers(workflow_slots).max(2)))
            .activity_task_poller_behavior(PollerBehavior::SimpleMaximum(pollers(slots)))
            .max_cached_workflows(config.tasks.cached_workflows)
            .sticky_queue_schedule_to_start_timeout(STICKY_TIMEOUT)
            .max_heartbeat_throttle_interval(HEARTBEAT_INTERVAL)
            .graceful_shutdown_period(grace)
            .build();
        match self {
            Role::Tasks => {
                options.register_workflow::<GenerateImages>()?;
                options.register_activity::<activities::Prepare>(reach.clone());
                options.register_activity::<activities::Insert>(reach.clone());
                options.register_workflow::<Reconcile>()?;
                options.register_activity::<activities::Reconcile>(reach.clone());
            }
            Role::Generate => {
                options.register_activity::<activities::Beautify>(reach.clone());
                options.register_activity::<activities::Generate>(reach.clone());
                if config.generate.calls_per_second > 0.0 {
                    options.max_task_queue_activities_per_second = Some(config.generate.calls_per_second);
                }
            }
            Role::Transfer => {
                options.register_activity::<activities::Transfer>(reach.clone());
            }
        }
        Ok(options)
    }
}

/// Polls open at once: five keep 48 slots fed, more slots get one for ten.
fn pollers(slots: usize) -> usize {
    (slots / 10).max(5).min(slots)
}
