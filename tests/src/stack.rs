//! One test's stack: a worker, an object store and a stand-in provider of its own; Temporal and Postgres shared.

use std::thread::JoinHandle;
use std::time::Duration;

use activities::storage::Storage;
use chaos::Links;
use client::{Client, Task};
use futures::StreamExt;
use sandbox::provider::Settings;
use sandbox::{Dialect, Folder, ObjectStore, Provider, StoreKind};
use temporalio_client::errors::WorkflowGetResultError;
use temporalio_client::{UntypedWorkflow, WorkflowHandle, WorkflowStartOptions};
use temporalio_common::data_converters::RawValue;
use temporalio_common::error::IncomingError;
use temporalio_common::protos::temporal::api::common::v1::Payload;
use temporalio_common::protos::temporal::api::enums::v1::EventType;
use temporalio_common::protos::temporal::api::history::v1::HistoryEvent;
use worker::{Config, Worker};
use workflows::types::{GenerateImagesOutput, Progress};

use crate::between::Between;
use crate::given::{GivenTask, portrait};
use crate::shared::Servers;

/// Where the sample portrait lies in every stack's bucket.
pub(crate) const PORTRAIT_KEY: &str = "uploads/portrait.jpg";
/// How long anything awaited may take before the test is given up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A stack for one test.
pub struct Stack {
    /// The provider, its meter and its faults.
    pub provider: Provider,
    /// The object store.
    pub store: ObjectStore,
    /// The bucket, as the product sees it.
    pub storage: Storage,
    /// The database.
    pub database: database::DatabaseConnection,
    /// A client.
    pub client: Client,
    /// A client as any program has one.
    pub temporal: temporalio_client::Client,
    /// The configuration of its worker.
    pub config: Config,
    environment: Vec<(String, String)>,
    /// Temporal and Postgres, where they are this test's own.
    pub servers: Option<Servers>,
    worker: Option<RunningWorker>,
    // Outlives the worker, which says goodbye to Temporal.
    between: Option<Between>,
    links: Option<Links>,
    #[expect(dead_code, reason = "holds the folder")]
    folder: Folder,
}

/// What a stack is to be like.
pub struct Builder {
    provider: Settings,
    store: StoreKind,
    workers: bool,
    own_servers: bool,
    between: bool,
    proxied: bool,
    configure: Box<dyn FnOnce(&mut Config)>,
}

impl Builder {
    /// Changes how the provider behaves.
    pub fn provider(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.provider);
        self
    }

    /// OpenAI itself instead of an aggregator.
    pub fn openai(mut self) -> Self {
        let Settings { dialect, model, .. } = Settings::openai();
        self.provider = Settings { dialect, model, ..self.provider };
        self
    }

    /// The stricter S3 server.
    pub fn strict_store(mut self) -> Self {
        self.store = StoreKind::Versity;
        self
    }

    /// Temporal and Postgres for this test alone, to be killed.
    pub fn own_servers(mut self) -> Self {
        self.own_servers = true;
        self
    }

    /// The worker reaches Temporal through [`Between`].
    pub fn between(mut self) -> Self {
        self.between = true;
        self
    }

    /// The worker reaches all it talks to through proxies; see [`Stack::links`]. For tests of several threads: they go on while the
    /// test waits for its worker's end.
    pub fn proxied(mut self) -> Self {
        self.proxied = true;
        self
    }

    /// Nobody works.
    pub fn without_worker(mut self) -> Self {
        self.workers = false;
        self
    }

    /// Changes the worker's configuration.
    pub fn configure(mut self, change: impl FnOnce(&mut Config) + 'static) -> Self {
        self.configure = Box::new(change);
        self
    }

    /// Starts it.
    pub async fn start(self) -> Stack {
        // Large, and awaited by every test.
        Box::pin(self.started()).await
    }

    async fn started(self) -> Stack {
        let own = if self.own_servers { Some(Servers::start().await) } else { None };
        let servers = match &own {
            Some(servers) => servers,
            None => Servers::shared().await,
        };
        let namespace = servers.namespace();
        let database_url = servers.database(&format!("darkroom_{namespace}"), true).await;
        let folder = Folder::create().unwrap();
        let store = ObjectStore::start(self.store, &folder.sub("s3").unwrap()).await.unwrap();
        let provider = Provider::start(self.provider).await.unwrap();
        let settings = provider.settings();
        let preset = match settings.dialect {
            Dialect::Aggregator => "aggregator",
            Dialect::OpenAi => "openai",
        };
        let environment = [
            ("DATABASE_URL", database_url),
            ("TEMPORAL_ADDRESS", servers.temporal.address()),
            ("TEMPORAL_NAMESPACE", namespace),
            ("AWS_ENDPOINT_URL_S3", store.endpoint()),
            ("AWS_ACCESS_KEY_ID", store.access_key().into()),
            ("AWS_SECRET_ACCESS_KEY", store.secret_key().into()),
            ("DARKROOM_STORAGE__BUCKET", store.bucket().into()),
            ("DARKROOM_PROVIDER__PRESET", preset.into()),
            ("DARKROOM_PROVIDER__BASE_URL", provider.base_url()),
            ("DARKROOM_PROVIDER__API_KEY", settings.api_key),
            ("DARKROOM_PROVIDER__MODEL", settings.model),
            // Always sent, so that the meter can name calls; honoured where the provider's settings say so.
            ("DARKROOM_PROVIDER__IDEMPOTENCY_HEADER", "Idempotency-Key".into()),
            ("DARKROOM_FETCH__ALLOW_HOSTS", "127.0.0.1".into()),
            // A test that fails while the provider is held is to end soon.
            ("DARKROOM_WORKER__SHUTDOWN_GRACE_S", "15".into()),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let direct = Config::read(None, environment.clone()).unwrap();
        let storage = Storage::new(&direct.storage);
        storage.put(PORTRAIT_KEY, "image/jpeg", portrait().into()).await.unwrap();
        let links = if self.proxied { Some(Links::start(&environment).await.unwrap()) } else { None };
        let mut environment = links.as_ref().map_or(environment.clone(), |links| links.through(&environment));
        let mut between = None;
        if self.between {
            let temporal = environment.iter_mut().find(|(name, _)| name == "TEMPORAL_ADDRESS").unwrap();
            temporal.1 = between.insert(Between::start(&temporal.1).await).address();
        }
        let mut config = Config::read(None, environment.clone()).unwrap();
        (self.configure)(&mut config);
        Stack {
            client: Client::connect(&direct.temporal).await.unwrap(),
            temporal: direct.temporal.connect("tests").await.unwrap(),
            database: database::connect(&direct.database, 2).await.unwrap(),
            worker: if self.workers { Some(RunningWorker::start(&config)) } else { None },
            provider,
            store,
            storage,
            config,
            environment,
            between,
            links,
            servers: own,
            folder,
        }
    }
}

impl Stack {
    /// A stack with an aggregator whose calls and downloads take almost no time.
    pub async fn start() -> Stack {
        Self::with().start().await
    }

    /// A stack to be changed before it starts.
    pub fn with() -> Builder {
        let provider = Settings {
            batch_ms: 20,
            download_ms: 2,
            image_px: 96,
            idempotency_header: None,
            ..Settings::aggregator()
        };
        Builder {
            provider,
            store: StoreKind::InProcess,
            workers: true,
            own_servers: false,
            between: false,
            proxied: false,
            configure: Box::new(|_| {}),
        }
    }

    /// Starts a task.
    pub async fn begin(&self, task: &GivenTask) -> Task {
        self.client.start(&task.0).await.unwrap()
    }

    /// Runs a task to its end.
    pub async fn run(&self, task: &GivenTask) -> GenerateImagesOutput {
        self.result(&self.begin(task).await).await.unwrap()
    }

    /// Waits for a task's end.
    pub async fn result(&self, task: &Task) -> Result<GenerateImagesOutput, client::Error> {
        match tokio::time::timeout(PATIENCE, task.result()).await {
            Ok(result) => result,
            Err(_) => panic!("the task doesn't end: {:#?}", self.pending(task).await),
        }
    }

    /// Waits until a task's progress meets a condition.
    pub async fn wait_until(&self, task: &Task, condition: impl Fn(&Progress) -> bool) -> Progress {
        let looks = task.watch(Duration::from_millis(20));
        let met = looks.filter_map(|look| futures::future::ready(look.ok().filter(|look| condition(look))));
        let mut met = std::pin::pin!(met);
        tokio::time::timeout(PATIENCE, met.next())
            .await
            .expect("the condition isn't met")
            .expect("the task has ended")
    }

    /// Runs the workflow as any program would: by name, with any JSON, under the server's default policies. A failure is its
    /// type and message.
    pub async fn run_by_name(
        &self,
        workflow_id: &str,
        input: &serde_json::Value,
    ) -> Result<(), (String, String)> {
        let data = serde_json::to_vec(input).unwrap();
        self.run_with_payloads(workflow_id, vec![payload("json/plain", data)]).await
    }

    /// The same with any payloads.
    pub async fn run_with_payloads(
        &self,
        workflow_id: &str,
        payloads: Vec<Payload>,
    ) -> Result<(), (String, String)> {
        let handle = self.start_with_payloads(workflow_id, payloads).await.unwrap();
        let result = tokio::time::timeout(PATIENCE, handle.get_result(Default::default())).await;
        match result.expect("the workflow hangs") {
            Ok(_) => Ok(()),
            Err(WorkflowGetResultError::Failed(error)) => {
                let IncomingError::Application(failure) = *error else { panic!("{error:?}") };
                let kind = failure.type_name().unwrap_or_default().to_owned();
                Err((kind, failure.source_error().to_string()))
            }
            Err(other) => panic!("{other:?}"),
        }
    }

    /// Starts the workflow with any payloads. An error is what Temporal says.
    pub async fn start_with_payloads(
        &self,
        workflow_id: &str,
        payloads: Vec<Payload>,
    ) -> Result<WorkflowHandle<temporalio_client::Client, UntypedWorkflow>, String> {
        let options = WorkflowStartOptions::new(workflows::task_queue::TASKS, workflow_id).build();
        let workflow = UntypedWorkflow::new("generate_images");
        let started = self.temporal.start_workflow(workflow, RawValue::new(payloads), options).await;
        started.map_err(|error| error.to_string())
    }

    /// A task's history so far.
    pub async fn history(&self, task: &Task) -> Vec<HistoryEvent> {
        let id = workflows::keys::workflow_id(task.task_id());
        let handle = self.temporal.get_workflow_handle::<workflows::GenerateImages>(id);
        handle.fetch_history(Default::default()).into_events().await.unwrap()
    }

    /// Its activities that are not done: id, attempt and last failure.
    async fn pending(&self, task: &Task) -> Vec<(String, i32, String)> {
        let id = workflows::keys::workflow_id(task.task_id());
        let handle = self.temporal.get_workflow_handle::<workflows::GenerateImages>(id);
        let description = handle.describe(Default::default()).await.unwrap();
        let pending = description.raw().pending_activities.iter().map(|activity| {
            let failure = activity.last_failure.as_ref().map(|failure| failure.message.clone());
            (activity.activity_id.clone(), activity.attempt, failure.unwrap_or_default())
        });
        pending.collect()
    }

    /// Waits until an activity has failed at least once and waits for another attempt.
    pub async fn wait_until_retried(&self, task: &Task, activity_id: &str) {
        let retried = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(20));
            loop {
                ticks.tick().await;
                let pending = self.pending(task).await;
                if pending.iter().any(|(id, attempt, _)| id == activity_id && *attempt > 1) {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, retried).await.expect("the activity isn't retried");
    }

    /// Waits until the workflow has been told of its cancel, and has acted on it.
    pub async fn wait_until_cancel_is_heard(&self, task: &Task) {
        let heard = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(20));
            loop {
                ticks.tick().await;
                let types: Vec<EventType> =
                    self.history(task).await.iter().map(|event| event.event_type()).collect();
                let asked =
                    types.iter().position(|kind| *kind == EventType::WorkflowExecutionCancelRequested);
                if asked.is_some_and(|asked| types[asked..].contains(&EventType::WorkflowTaskCompleted)) {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, heard).await.expect("the cancel isn't heard");
    }

    /// What stands between its worker and Temporal.
    pub fn between(&self) -> &Between {
        self.between.as_ref().expect("a stack built with `between`")
    }

    /// The proxies between its worker and what it talks to.
    pub fn links(&self) -> &Links {
        self.links.as_ref().expect("a stack built with `proxied`")
    }

    /// The environment of a `darkroom` process that uses the stack.
    pub fn environment(&self) -> Vec<(String, String)> {
        self.environment.clone()
    }

    /// Starts a worker of these roles, or all of them, as a process of its own. It is killed with its handle.
    pub fn spawn_worker(&self, darkroom: &str, roles: &[&str]) -> tokio::process::Child {
        tokio::process::Command::new(darkroom)
            .arg("worker")
            .args(roles.iter().flat_map(|role| ["--role", role]))
            .envs(self.environment())
            .stderr(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    /// Starts a worker, where none runs.
    pub fn start_worker(&mut self) {
        self.worker = Some(RunningWorker::start(&self.config));
    }

    /// Stops the worker as SIGTERM would.
    pub fn stop_worker(&mut self) {
        drop(self.worker.take());
    }
}

/// A payload of that encoding.
pub fn payload(encoding: &str, data: impl Into<Vec<u8>>) -> Payload {
    let metadata = [("encoding".to_owned(), encoding.as_bytes().to_vec())];
    Payload { metadata: metadata.into(), data: data.into(), ..Default::default() }
}

/// A worker on a thread of its own: its futures don't move between threads.
struct RunningWorker {
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl RunningWorker {
    fn start(config: &Config) -> Self {
        let config = config.clone();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let mut worker = Worker::new(&config).await.unwrap();
                let shut_down = worker.shutdown_handle();
                let stopping = async {
                    let _ = stopped.await;
                    shut_down();
                };
                let (result, ()) = tokio::join!(worker.run(), stopping);
                result.unwrap();
            });
        });
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for RunningWorker {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.expect("the worker failed");
            }
        }
    }
}
