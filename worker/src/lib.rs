//! Worker process, made of configuration, roles, slots and shutdown.

pub mod config;
mod reach;
mod slots;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use activities::fetch::Fetcher;
use activities::provider::Provider;
use activities::storage::Storage;
use activities::{PaidSteps, References, TaskSteps, TransferSteps};
use anyhow::Context;
use database::DatabaseConnection;
use paid_calls::PaidCalls;
use paid_calls::lease::Holder;
use temporalio_client::NamespacedClient;
use temporalio_sdk::WorkerOptions;
use temporalio_sdk::runtime::PollerBehavior;
use temporalio_sdk::runtime::worker_tuner::{FixedSizeSlotSupplier, TunerHolder};
use temporalio_sdk_core::{CoreRuntime, RuntimeOptions, init_worker};
use tokio::sync::Semaphore;
use workflows::{GenerateImages, Reconcile, task_queue};

pub use config::{Config, Role};

/// Time for which a workflow waits for the worker that knew it. A killed worker costs its workflows
/// this time.
const STICKY_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest interval between heartbeats, and so the longest time until a cancel is heard.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// Workers of one process, one for each of its roles.
pub struct Worker {
    workers: Vec<temporalio_sdk::Worker>,
    client: temporalio_client::Client,
    database: DatabaseConnection,
    /// Paid calls, if one of the roles makes them.
    paid_calls: Option<Arc<PaidCalls>>,
    /// Task queue of the paid calls that this process could make.
    calls_queue: String,
    /// Runtime that the workers need for as long as they live.
    _runtime: CoreRuntime,
}

impl Worker {
    /// Connects to everything that the roles need. If the roles need the database at the start,
    /// checks that the pool fits into its server and that the functions are there.
    pub async fn new(config: &Config) -> anyhow::Result<Self> {
        config.validate()?;
        let client = config.temporal.connect("darkroom-worker").await?;
        let steps = Steps::new(config).await?;
        let options = RuntimeOptions::builder().build().map_err(anyhow::Error::msg)?;
        let runtime = CoreRuntime::new_assume_tokio(options).context("Temporal's runtime")?;
        let workers = config.worker.roles.iter().map(|role| {
            role.worker(config, &steps, &runtime, &client)
                .with_context(|| format!("worker for role {role:?}"))
        });
        let pays = config.worker.roles.contains(&Role::Generate);
        Ok(Self {
            workers: workers.collect::<anyhow::Result<_>>()?,
            client,
            database: steps.database.clone(),
            paid_calls: pays.then(|| steps.paid.paid_calls.clone()),
            calls_queue: task_queue::generate(&config.provider.route),
            _runtime: runtime,
        })
    }

    /// Returns a function that makes `run` end. No new work is taken, and running activities finish
    /// within the grace time.
    pub fn shutdown_handle(&self) -> impl Fn() + Send + 'static {
        let handles: Vec<_> = self.workers.iter().map(temporalio_sdk::Worker::shutdown_handle).collect();
        move || handles.iter().for_each(|stop| stop())
    }

    /// Works until it is told to stop. If one of the roles can't go on, all roles stop.
    ///
    /// The database connections are closed at the end. The SDK keeps the activities, and so the
    /// pool, for as long as the process lives.
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
        let Some(paid_calls) = &self.paid_calls else { return runs.await.into_iter().collect() };
        let ended = tokio::select! {
            ended = runs => ended,
            never = paid_calls.run() => match never {},
            never = reach::watch(&self.client, &self.calls_queue, paid_calls) => match never {},
        };
        paid_calls.release().await;
        ended.into_iter().collect()
    }
}

/// Steps of all roles, with all that they may touch.
struct Steps {
    tasks: Arc<TaskSteps>,
    paid: Arc<PaidSteps>,
    transfer: Arc<TransferSteps>,
    database: DatabaseConnection,
}

impl Steps {
    async fn new(config: &Config) -> anyhow::Result<Self> {
        let database = connected(config).await?;
        let storage = Storage::new(&config.storage);
        let fetcher = Fetcher::new(&config.fetch)?;
        let decoding = Arc::new(Semaphore::new(1));
        let tasks = TaskSteps {
            database: database.clone(),
            storage: storage.clone(),
            fetcher: fetcher.clone(),
            fetch: config.fetch.clone(),
            plans: config.plans.clone(),
            batch_size: config.generate.batch_size,
            provider: config.provider.clone(),
            decoding: decoding.clone(),
        };
        let paid = PaidSteps {
            paid_calls: paid_calls(config, &database),
            provider: Provider::new(&config.provider).context("the provider's HTTP client")?,
            references: References::default(),
            beautify_prompt: config.beautify.prompt.clone(),
            storage: storage.clone(),
            database: database.clone(),
        };
        let transfer = TransferSteps {
            storage,
            fetcher,
            fetch: config.fetch.clone(),
            decoding,
            moving: Semaphore::new(config.transfer.slots),
            database: database.clone(),
        };
        Ok(Self { tasks: Arc::new(tasks), paid: Arc::new(paid), transfer: Arc::new(transfer), database })
    }
}

/// Returns the connection pool. A worker whose roles need the database at its start finds out then
/// whether its pool fits and its functions are there.
async fn connected(config: &Config) -> anyhow::Result<DatabaseConnection> {
    let roles = &config.worker.roles;
    let connections = config.pool_size();
    if !roles.contains(&Role::Tasks) && !roles.contains(&Role::Generate) {
        return Ok(database::connect_lazy(&config.database, connections).await?);
    }
    let database = database::connect(&config.database, connections).await?;
    database::check_capacity(&database, connections).await?;
    migrations::functions::check(&database).await.map_err(anyhow::Error::msg)?;
    Ok(database)
}

/// Returns this process's paid calls, with its share of the provider key.
fn paid_calls(config: &Config, database: &DatabaseConnection) -> Arc<PaidCalls> {
    let host = gethostname::gethostname().to_string_lossy().into_owned();
    let pid = std::process::id();
    // Several workers may run in one process, as in tests.
    static STARTS: AtomicU32 = AtomicU32::new(0);
    let start = STARTS.fetch_add(1, Ordering::Relaxed);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let worker = format!("{host}/{pid}/{since}.{start}");
    let provider_key = config.provider.provider_key().to_owned();
    let max_calls = config.generate.slots as u32;
    PaidCalls::new(database.clone(), Holder { provider_key, worker, host, pid, max_calls })
}

impl Role {
    /// Returns the worker of this role. The worker is made of the SDK's core, because only the core
    /// takes slots of our own.
    fn worker(
        self,
        config: &Config,
        steps: &Steps,
        runtime: &CoreRuntime,
        client: &temporalio_client::Client,
    ) -> anyhow::Result<temporalio_sdk::Worker> {
        let options = self.options(config, steps)?;
        let mut core =
            options.to_core_options(client.namespace(), client.identity()).map_err(anyhow::Error::msg)?;
        if self == Role::Generate {
            core.tuner = Some(Arc::new(slots::Leased(steps.paid.paid_calls.clone())));
        }
        let worker = init_worker(runtime, core, client.connection().clone())?;
        let options = (client.options().clone(), options);
        Ok(temporalio_sdk::Worker::new_from_core_options(Arc::new(worker), options.0, options.1)?)
    }

    /// Returns the options of this role's worker, which are its queue, its activities and its
    /// slots.
    fn options(self, config: &Config, steps: &Steps) -> anyhow::Result<WorkerOptions> {
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
                options.register_activity::<activities::Prepare>(steps.tasks.clone());
                options.register_activity::<activities::Insert>(steps.tasks.clone());
                options.register_workflow::<Reconcile>()?;
                options.register_activity::<activities::Reconcile>(steps.tasks.clone());
            }
            Role::Generate => {
                options.register_activity::<activities::Beautify>(steps.paid.clone());
                options.register_activity::<activities::Generate>(steps.paid.clone());
                if config.generate.calls_per_second > 0.0 {
                    options.max_task_queue_activities_per_second = Some(config.generate.calls_per_second);
                }
            }
            Role::Transfer => {
                options.register_activity::<activities::Transfer>(steps.transfer.clone());
            }
        }
        Ok(options)
    }
}

/// Returns the number of open polls. Five polls keep 48 slots fed. Above 50 slots, every ten slots
/// have a poll.
fn pollers(slots: usize) -> usize {
    (slots / 10).max(5).min(slots)
}
