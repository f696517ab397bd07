//! One test's stack: a worker, an object store and a stand-in provider of its own; Temporal and Postgres shared.

mod builder;
mod running;

use std::time::Duration;

use activities::storage::Storage;
use chaos::Links;
use client::{Client, Task};
use futures::StreamExt;
use sandbox::{Folder, ObjectStore, Provider};
use sea_orm::{ConnectionTrait, Statement};
use temporalio_client::errors::WorkflowGetResultError;
use temporalio_client::grpc::WorkflowService;
use temporalio_client::tonic;
use temporalio_client::{UntypedWorkflow, WorkflowHandle, WorkflowStartOptions};
use temporalio_common::data_converters::RawValue;
use temporalio_common::error::IncomingError;
use temporalio_common::protos::temporal::api::common::v1::{Payload, WorkflowExecution};
use temporalio_common::protos::temporal::api::enums::v1::EventType;
use temporalio_common::protos::temporal::api::history::v1::HistoryEvent;
use temporalio_common::protos::temporal::api::workflowservice::v1::ResetWorkflowExecutionRequest;
use worker::Config;
use workflows::types::{GenerateImagesOutput, Progress};

use crate::given::GivenTask;
use crate::patience::PATIENCE;
use crate::shared::Servers;
use crate::temporal_proxy::TemporalProxy;

pub use builder::Builder;
use running::RunningWorker;

/// Where the sample portrait lies in every stack's bucket.
pub(crate) const PORTRAIT_KEY: &str = "uploads/portrait.jpg";

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
    temporal_proxy: Option<TemporalProxy>,
    links: Option<Links>,
    #[expect(dead_code, reason = "holds the folder")]
    folder: Folder,
}

impl Stack {
    /// A stack with an aggregator whose calls and downloads take almost no time.
    pub async fn start() -> Stack {
        Self::with().start().await
    }

    /// A stack to be changed before it starts.
    pub fn with() -> Builder {
        Builder::new()
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

    /// Waits until a query of one truth value says so.
    pub async fn wait_for_row(&self, sql: &str) {
        let look = async || {
            let sql = format!("SELECT ({sql}) AS met");
            let statement = Statement::from_string(self.database.get_database_backend(), sql);
            let row = self.database.query_one_raw(statement).await.unwrap().unwrap();
            row.try_get::<Option<bool>>("", "met").unwrap() == Some(true)
        };
        let met = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(20));
            while !look().await {
                ticks.tick().await;
            }
        };
        tokio::time::timeout(PATIENCE, met).await.unwrap_or_else(|_| panic!("never: {sql}"));
    }

    /// Resets a task's workflow to its first workflow task, as the web UI does.
    pub async fn reset(&self, task: &Task) {
        let id = workflows::keys::workflow_id(task.task_id());
        let events = self.history(task).await;
        let first = events.iter().find(|event| event.event_type() == EventType::WorkflowTaskCompleted);
        let request = ResetWorkflowExecutionRequest {
            namespace: self.config.temporal.namespace.clone(),
            workflow_execution: Some(WorkflowExecution { workflow_id: id, run_id: String::new() }),
            reason: "test".into(),
            workflow_task_finish_event_id: first.expect("a workflow task").event_id,
            request_id: "reset".into(),
            ..Default::default()
        };
        // Not through `workflow_service()`, whose calls are never retried.
        let mut service = self.temporal.clone();
        WorkflowService::reset_workflow_execution(&mut service, tonic::Request::new(request)).await.unwrap();
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

    /// Tells whether an activity of the task was handed out more than once.
    pub async fn was_handed_out_again(&self, task: &Task) -> bool {
        use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;
        self.history(task).await.iter().any(|event| {
            matches!(&event.attributes, Some(Attributes::ActivityTaskStartedEventAttributes(started)) if started.attempt > 1)
        })
    }

    /// Waits until an activity has failed at least once and waits for another attempt.
    pub async fn wait_until_retried(&self, task: &Task, activity_id: &str) {
        self.wait_until_attempted(task, activity_id, 2).await;
    }

    /// Waits until an activity waits for a worker, or has one.
    pub async fn wait_until_scheduled(&self, task: &Task, activity_id: &str) {
        self.wait_until_attempted(task, activity_id, 1).await;
    }

    async fn wait_until_attempted(&self, task: &Task, activity_id: &str, attempts: i32) {
        let attempted = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(20));
            loop {
                ticks.tick().await;
                let pending = self.pending(task).await;
                if pending.iter().any(|(id, attempt, _)| id == activity_id && *attempt >= attempts) {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, attempted).await.expect("the activity isn't attempted so often");
    }

    /// Waits until an activity's last heartbeat says this, in JSON.
    pub async fn wait_until_noted(&self, task: &Task, activity_id: &str, says: &str) {
        let id = workflows::keys::workflow_id(task.task_id());
        let handle = self.temporal.get_workflow_handle::<workflows::GenerateImages>(id);
        let noted = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(20));
            loop {
                ticks.tick().await;
                let description = handle.describe(Default::default()).await.unwrap();
                let mut pending = description.raw().pending_activities.iter();
                let activity = pending.find(|activity| activity.activity_id == activity_id);
                let details = activity.and_then(|activity| activity.heartbeat_details.as_ref());
                let mut payloads = details.iter().flat_map(|details| &details.payloads);
                if payloads.any(|payload| String::from_utf8_lossy(&payload.data).contains(says)) {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, noted).await.expect("the activity doesn't say so");
    }

    /// The message of an activity's last failed attempt.
    pub async fn last_failure(&self, task: &Task, activity_id: &str) -> String {
        let pending = self.pending(task).await;
        pending.into_iter().find(|(id, ..)| id == activity_id).map(|(_, _, why)| why).unwrap_or_default()
    }

    /// Ends a task's workflow from outside.
    pub async fn terminate(&self, task: &Task) {
        let id = workflows::keys::workflow_id(task.task_id());
        let handle = self.temporal.get_workflow_handle::<workflows::GenerateImages>(id);
        handle.terminate(Default::default()).await.unwrap();
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
    pub fn temporal_proxy(&self) -> &TemporalProxy {
        self.temporal_proxy.as_ref().expect("a stack built with `between`")
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
