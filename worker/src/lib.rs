//! Wires it: configuration, roles, slots, shutdown.

pub mod config;

use std::sync::Arc;
use std::time::Duration;

use activities::fetch::Fetcher;
use activities::provider::Provider;
use activities::storage::Storage;
use activities::{Activities, References};
use anyhow::Context;
use temporalio_sdk::runtime::PollerBehavior;
use temporalio_sdk::runtime::worker_tuner::{FixedSizeSlotSupplier, TunerHolder};
use temporalio_sdk::{Runtime, WorkerOptions};
use tokio::sync::Semaphore;
use workflows::{GenerateImages, task_queue};

pub use config::{Config, Role};

/// How long a workflow waits for the worker that knew it: what a killed worker costs its workflows.
const STICKY_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest interval between heartbeats: what a cancel takes to be heard, at most.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// One process's workers, one for each of its roles.
pub struct Worker {
    workers: Vec<temporalio_sdk::Worker>,
}

impl Worker {
    /// Connects to everything the roles need, and checks that the database pool fits into its server.
    pub async fn new(config: &Config) -> anyhow::Result<Self> {
        config.validate()?;
        let client = config.temporal.connect("darkroom-worker").await?;
        let reach = Arc::new(reach(config).await?);
        let runtime = Runtime::from_current_tokio(Default::default()).context("Temporal's runtime")?;
        let workers = config.worker.roles.iter().map(|role| {
            let options = role.options(config, &reach)?;
            temporalio_sdk::Worker::new(&runtime, client.clone(), options)
                .with_context(|| format!("worker for role {role:?}"))
        });
        Ok(Self { workers: workers.collect::<anyhow::Result<_>>()? })
    }

    /// Makes `run` end: no new work is taken, running activities finish within the grace time.
    pub fn shutdown_handle(&self) -> impl Fn() + Send + 'static {
        let handles: Vec<_> = self.workers.iter().map(temporalio_sdk::Worker::shutdown_handle).collect();
        move || handles.iter().for_each(|stop| stop())
    }

    /// Works until it is told to stop, or one of the roles can't go on: then all stop.
    pub async fn run(&mut self) -> anyhow::Result<()> {
        let stop = self.shutdown_handle();
        let runs = self.workers.iter_mut().map(|worker| async {
            let queue = worker.task_queue().to_owned();
            let result = worker.run().await.with_context(|| format!("worker of queue {queue}"));
            if result.is_err() {
                stop();
            }
            result
        });
        futures::future::join_all(runs).await.into_iter().collect()
    }
}

/// What the steps may touch.
async fn reach(config: &Config) -> anyhow::Result<Activities> {
    let wants_database = config.worker.roles.contains(&Role::Tasks);
    let connections = config.pool_size();
    let database = if wants_database {
        let database = database::connect(&config.database, connections).await?;
        database::check_capacity(&database, connections).await?;
        database
    } else {
        database::connect_lazy(&config.database, connections).await?
    };
    Ok(Activities {
        database,
        storage: Storage::new(&config.storage),
        fetcher: Fetcher::new(&config.fetch)?,
        fetch: config.fetch.clone(),
        provider: Provider::new(&config.provider).context("the provider's HTTP client")?,
        references: References::default(),
        plans: config.plans.clone(),
        batch_size: config.generate.batch_size,
        beautify_prompt: config.beautify.prompt.clone(),
        decoding: Semaphore::new(2),
        moving: Semaphore::new(config.transfer.slots),
    })
}

impl Role {
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
