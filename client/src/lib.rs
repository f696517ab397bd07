//! Typed client for Rust backends, which starts, watches and cancels tasks.
//!
//! ```no_run
//! # async fn example() -> Result<(), client::Error> {
//! let client = client::Client::connect(&client::Settings::local()).await?;
//! let task = client.start(&serde_json::from_value(serde_json::json!({
//!     "task_id": "order-1", "user_id": "ann", "plan": "free", "prompt": "in a garden",
//!     "photo": "uploads/ann.jpg",
//! })).expect("an input")).await?;
//! let output = task.result().await?;
//! # Ok(()) }
//! ```

mod error;
mod pending;
mod retry;
mod schedule;
mod settings;
mod trace;

use std::time::{Duration, SystemTime};

use futures::{Stream, StreamExt};
use temporalio_client::NamespacedClient;
use temporalio_client::errors::{WorkflowGetResultError, WorkflowStartError};
use temporalio_client::grpc::WorkflowService;
use temporalio_client::tonic::IntoRequest;
use temporalio_client::{
    WorkflowCancelOptions, WorkflowExecutionStatus, WorkflowHandle, WorkflowIdConflictPolicy,
    WorkflowIdReusePolicy, WorkflowStartOptions,
};
use temporalio_common::Priority;
use temporalio_common::protos::temporal::api::enums::v1::TaskQueueType;
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_common::protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_common::protos::temporal::api::workflowservice::v1::{
    DescribeNamespaceRequest, DescribeTaskQueueRequest,
};
use workflows::GenerateImages;
use workflows::types::{GenerateImagesInput, GenerateImagesOutput, Progress, Stage};
use workflows::{Checked, keys, options, task_queue};

use trace::Trace;

pub use error::Error;
pub use settings::Settings;
pub use workflows::pending::{Pending, PendingState};
pub use workflows::{failure, types};

/// Longest input that is sent to Temporal, in bytes. The server refuses a blob of 2 MB.
const MAX_INPUT_BYTES: usize = 1_900_000;

/// A client of one Darkroom, that is of the Temporal namespace that its workers serve.
#[derive(Clone)]
pub struct Client {
    temporal: temporalio_client::Client,
}

impl Client {
    /// Connects to Temporal. A server that answers that it is not ready is waited for.
    pub async fn connect(settings: &Settings) -> Result<Self, Error> {
        Ok(Self { temporal: settings.connect("darkroom-client").await? })
    }

    /// Makes a client of an existing connection, whose retry options stay in force.
    pub fn over(temporal: temporalio_client::Client) -> Self {
        Self { temporal }
    }

    /// Starts a task, or finds the task of this id again.
    ///
    /// A task that runs, or that has ended with a row, is found again, and [`Task::existed`] is
    /// true. Nothing is paid twice, and the result is the one of the found task. A task whose
    /// workflow was terminated or timed out goes on in another run. A task that failed without a
    /// row, for example because its photo could not be fetched, is started again, also with other
    /// input.
    ///
    /// Returns `InvalidInput` before anything is sent, and `InputDiffers` if a task of this id has
    /// other input.
    pub async fn start(&self, input: &GenerateImagesInput) -> Result<Task, Error> {
        input.validate().map_err(Error::InvalidInput)?;
        let size = serde_json::to_vec(input).map_or(usize::MAX, |json| json.len());
        if size > MAX_INPUT_BYTES {
            let message =
                format!("the input is {size} bytes long: {MAX_INPUT_BYTES} at most; give fewer prompts");
            return Err(Error::InvalidInput(message));
        }
        // A second round is needed only if another caller has started the task in between.
        loop {
            if self.start_workflow(input, WorkflowIdReusePolicy::RejectDuplicate).await? {
                return Ok(self.task(&input.task_id));
            }
            let task = Task { existed: true, ..self.task(&input.task_id) };
            if !task.may_start_again(input).await? {
                return Ok(task);
            }
            if self.start_workflow(input, WorkflowIdReusePolicy::AllowDuplicateFailedOnly).await? {
                return Ok(self.task(&input.task_id));
            }
        }
    }

    /// Starts a workflow. Returns false if the policy forbids that because of an existing workflow.
    async fn start_workflow(
        &self,
        input: &GenerateImagesInput,
        policy: WorkflowIdReusePolicy,
    ) -> Result<bool, Error> {
        let options = WorkflowStartOptions::new(task_queue::TASKS, keys::workflow_id(&input.task_id))
            .id_conflict_policy(WorkflowIdConflictPolicy::Fail)
            .id_reuse_policy(policy)
            .execution_timeout(options::EXECUTION_TIMEOUT)
            .task_timeout(options::WORKFLOW_TASK_TIMEOUT)
            .priority(Priority::builder().fairness_key(input.user_id.clone()).build())
            .static_summary(format!("{} plan for {}", input.plan, input.user_id))
            .build();
        match self.temporal.start_workflow(GenerateImages::run, Checked::from(input.clone()), options).await {
            Ok(_) => Ok(true),
            Err(WorkflowStartError::AlreadyStarted { .. }) => Ok(false),
            Err(error) => Err(Error::Temporal(error.to_string())),
        }
    }

    /// Checks that the namespace exists. The request is not retried, because a check tells the
    /// present state.
    pub async fn check(&self) -> Result<(), Error> {
        let request = DescribeNamespaceRequest { namespace: self.temporal.namespace(), ..Default::default() };
        let mut service = self.temporal.connection().workflow_service();
        let described = service.describe_namespace(request.into_request()).await;
        described.map(drop).map_err(|status| Error::Temporal(status.message().to_owned()))
    }

    /// Returns the paid calls that wait in the queue of a route, by priority, the first priority
    /// first.
    ///
    /// Calls that wait for a retry after a failure are not among them. Temporal's numbers are
    /// approximate.
    pub async fn backlog(&self, route: &str) -> Result<Vec<Backlog>, Error> {
        let request = DescribeTaskQueueRequest {
            namespace: self.temporal.namespace(),
            task_queue: Some(TaskQueue { name: task_queue::generate(route), ..TaskQueue::default() }),
            task_queue_type: TaskQueueType::Activity.into(),
            report_stats: true,
            ..DescribeTaskQueueRequest::default()
        };
        // Requests through `workflow_service()` would never be retried.
        let mut service = self.temporal.clone();
        let described = WorkflowService::describe_task_queue(&mut service, request.into_request()).await;
        let described = described.map_err(|status| Error::Temporal(status.message().to_owned()))?;
        let mut backlog: Vec<Backlog> = described
            .into_inner()
            .stats_by_priority_key
            .into_iter()
            .map(|(priority, stats)| Backlog {
                priority: priority.max(0) as u32,
                calls: stats.approximate_backlog_count.max(0) as u64,
                age: stats.approximate_backlog_age.and_then(|age| age.try_into().ok()).unwrap_or_default(),
            })
            .collect();
        backlog.sort_by_key(|backlog| backlog.priority);
        Ok(backlog)
    }

    /// Returns a handle of a task that was started here or elsewhere. No request is made.
    pub fn task(&self, task_id: &str) -> Task {
        let handle = self.temporal.get_workflow_handle::<GenerateImages>(keys::workflow_id(task_id));
        Task { task_id: task_id.to_owned(), handle, existed: false }
    }
}

/// Calls that wait in a task queue under one priority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backlog {
    /// Priority of the calls, where 1 is served first.
    pub priority: u32,
    /// Approximate number of calls that wait.
    pub calls: u64,
    /// Time for which the oldest of them has been waiting.
    pub age: Duration,
}

/// Handle of a task that runs or has ended.
pub struct Task {
    task_id: String,
    handle: WorkflowHandle<temporalio_client::Client, GenerateImages>,
    existed: bool,
}

impl Task {
    /// Returns the id of the task.
    pub fn task_id(&self) -> &str {
        &self.task_id
    }

    /// Returns true if `start` found the task instead of starting it.
    pub fn existed(&self) -> bool {
        self.existed
    }

    /// Waits until the task has ended, and returns its result. A failed task is `Error::Failed`,
    /// while a partial or cancelled task has a result.
    ///
    /// The method waits for as long as Temporal can be asked about the task. If Temporal can't be
    /// asked, the method returns an error after a minute or two.
    pub async fn result(&self) -> Result<GenerateImagesOutput, Error> {
        loop {
            return match self.handle.get_result(Default::default()).await {
                Ok(output) => Ok(output),
                Err(WorkflowGetResultError::Cancelled { details }) => {
                    details.deserialize().map_err(|_| Error::CancelledEarly { task_id: self.task_id.clone() })
                }
                Err(WorkflowGetResultError::Rpc(status)) if retry::ends_poll_only(&status) => {
                    self.status().await?;
                    tokio::time::sleep(retry::POLLS_AGAIN_AFTER).await;
                    continue;
                }
                Err(error) => Err(Error::of_result(&self.task_id, error)),
            };
        }
    }

    /// Asks the task's workflow for its progress, which needs a running worker.
    pub async fn progress(&self) -> Result<Progress, Error> {
        let progress = self.handle.query(GenerateImages::progress, (), Default::default()).await;
        progress.map_err(|error| Error::of_query(&self.task_id, error))
    }

    /// Streams the task's progress whenever it changes, and ends when the task has ended.
    ///
    /// The stream asks every `interval`. After the first progress a failed query is an `Err` item,
    /// and the stream goes on. Before that, failed queries are skipped, because no worker may have
    /// begun the task yet. The stream of an unknown task is one `Error::NotFound`.
    pub fn watch(&self, interval: Duration) -> impl Stream<Item = Result<Progress, Error>> + '_ {
        let begin = (tokio::time::interval(interval), None, false);
        let looks = futures::stream::unfold(begin, move |(mut ticks, last, ended)| async move {
            if ended {
                return None;
            }
            ticks.tick().await;
            // The status is asked for first, so that the progress of a closed task is its last one.
            let closed = self.is_closed().await;
            let look = self.progress().await;
            let over = matches!(closed, Ok(true) | Err(Error::NotFound { .. }));
            let done = matches!(&look, Ok(Progress { stage: Stage::Done, .. }));
            let is_unknown = matches!(look, Err(Error::NotFound { .. }));
            let changed = is_unknown || look.as_ref().ok() != last.as_ref();
            let last = look.as_ref().ok().cloned().or(last);
            Some((changed.then_some(look), (ticks, last, over || done)))
        });
        looks.filter_map(futures::future::ready)
    }

    /// Asks the task to stop spending. Running calls are paid for and finish. Stored images stay,
    /// with their rows.
    pub async fn cancel(&self, reason: &str) -> Result<(), Error> {
        let options = WorkflowCancelOptions::builder().reason(reason.to_owned()).build();
        let cancelled = self.handle.cancel(options).await;
        cancelled.map_err(|error| Error::of_interaction(&self.task_id, error))
    }

    /// Returns true if the task's workflow is closed.
    pub async fn is_closed(&self) -> Result<bool, Error> {
        Ok(self.status().await? != WorkflowExecutionStatus::Running)
    }

    /// Returns the activities that the task's workflow waits for, none if the workflow is closed.
    /// An unknown task is `Error::NotFound`.
    pub async fn pending(&self) -> Result<Vec<Pending>, Error> {
        let description = self.handle.describe(Default::default()).await;
        let description = description.map_err(|error| Error::of_interaction(&self.task_id, error))?;
        Ok(description.raw_description.pending_activities.into_iter().map(pending::pending).collect())
    }

    /// Returns the time at which the task's workflow was closed, or `None` while it is open.
    pub async fn closed_at(&self) -> Result<Option<SystemTime>, Error> {
        let description = self.handle.describe(Default::default()).await;
        let description = description.map_err(|error| Error::of_interaction(&self.task_id, error))?;
        if description.status() == WorkflowExecutionStatus::Running {
            return Ok(None);
        }
        Ok(Some(description.close_time().unwrap_or(SystemTime::UNIX_EPOCH)))
    }

    async fn status(&self) -> Result<WorkflowExecutionStatus, Error> {
        let description = self.handle.describe(Default::default()).await;
        let description = description.map_err(|error| Error::of_interaction(&self.task_id, error))?;
        Ok(description.status())
    }

    /// Returns true if the latest run left no result, so that another run is due. If there is a
    /// row, the input must be the same.
    async fn may_start_again(&self, input: &GenerateImagesInput) -> Result<bool, Error> {
        let status = self.status().await?;
        let cut_off =
            [WorkflowExecutionStatus::Terminated, WorkflowExecutionStatus::TimedOut].contains(&status);
        let unsuccessful =
            [WorkflowExecutionStatus::Failed, WorkflowExecutionStatus::Canceled].contains(&status);
        let trace = if cut_off || unsuccessful { self.trace().await? } else { Trace::End };
        if trace != Trace::Nothing {
            let fields = self.input().await?.differences(input);
            if !fields.is_empty() {
                return Err(Error::InputDiffers { task_id: self.task_id.clone(), fields });
            }
        }
        Ok(cut_off || trace != Trace::End)
    }

    async fn trace(&self) -> Result<Trace, Error> {
        let history = self.handle.fetch_history(Default::default());
        Trace::of(history).await.map_err(|error| Error::of_interaction(&self.task_id, error))
    }

    /// Reads the task's input from its history.
    pub async fn input(&self) -> Result<GenerateImagesInput, Error> {
        let mut history = self.handle.fetch_history(Default::default());
        let unreadable = |why: &str| Error::Temporal(format!("the input of task `{}` {why}", self.task_id));
        let event = history.next().await.ok_or_else(|| unreadable("is not in its history"))?;
        let event = event.map_err(|error| Error::of_interaction(&self.task_id, error))?;
        let Some(Attributes::WorkflowExecutionStartedEventAttributes(started)) = event.attributes else {
            return Err(unreadable("is not where it should be"));
        };
        let payload = started.input.and_then(|input| input.payloads.into_iter().next()).unwrap_or_default();
        serde_json::from_slice(&payload.data).map_err(|error| unreadable(&format!("can't be read: {error}")))
    }
}
