//! `generate_images` turns one photo and a plan into N stored images and N rows.
//!
//! The steps are prepare → beautify → batches → insert. All batches are scheduled together, and the
//! images of each are transferred as soon as they are there.
#![expect(missing_docs, reason = "the macro documents none of what it generates")]

mod failure;
mod job;
mod outcome;
mod progress;

use std::time::Duration;

use temporalio_common::error::ApplicationFailure;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_workflow::{
    WorkflowCancellationToken, WorkflowContext, WorkflowContextView, WorkflowResult, WorkflowTermination,
    workflows,
};

use crate::activities::Steps;
use crate::failure::FailureKind;
use crate::input::Checked;
use crate::types::{
    GenerateImagesInput, GenerateImagesOutput, InsertInput, MissingReason, PrepareInput, PrepareOutput,
    Prepared, Progress, Stage, TaskFailure, TaskState,
};
use crate::{options, plan};
use job::{Job, JobResult};
use outcome::Ending;

/// The workflow `generate_images`, and the progress that its query answers.
#[workflow]
pub struct GenerateImages {
    input: Checked<GenerateImagesInput>,
    progress: Progress,
}

/// State that the parts of a running task share.
struct Task {
    request: GenerateImagesInput,
    prepared: Prepared,
    deadline: Deadline,
    /// Token that a cancel of the workflow reaches.
    cancellable: WorkflowCancellationToken,
    /// Token that no cancel reaches, because paid images are kept and recorded.
    detached: WorkflowCancellationToken,
}

#[workflow_methods]
impl GenerateImages {
    #[init]
    fn new(_: &WorkflowContextView, input: Checked<GenerateImagesInput>) -> Self {
        Self { input, progress: progress::begin() }
    }

    /// Runs the task from its input to its recorded end.
    #[run(name = "generate_images")]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<GenerateImagesOutput> {
        let ctx: &WorkflowContext<Self> = ctx;
        let request = ctx
            .state(|workflow| workflow.input.validate(ctx.workflow_id()).cloned())
            .map_err(|why| failed(FailureKind::InvalidInput, why))?;
        let deadline = Deadline::begin(ctx);
        // By default an activity gets the workflow's own token. That token keeps everything that
        // waits on it, and so the workflow's context. A workflow that is evicted from a worker's
        // cache would never be freed. A child token is dropped together with this future.
        let cancellable = ctx.cancellation_token().child_token();
        let detached = WorkflowCancellationToken::new();

        enter(ctx, Stage::Prepare);
        let input = PrepareInput { request: request.clone() };
        let options = options::prepare(deadline.remaining(ctx), &request.user_id, &cancellable);
        let prepared = match ctx.execute_activity(Steps::prepare, input, options).await {
            Ok(PrepareOutput::Ready(prepared)) => prepared,
            Ok(PrepareOutput::Finished { output, failure }) => {
                note(ctx, |progress| progress::finished(progress, &output));
                return close(output, failure);
            }
            Err(_) if ctx.cancellation_token().is_cancelled() => {
                let ending = Ending::before_it_began(&request);
                return end(ctx, &detached, request, ending).await;
            }
            Err(error) => {
                let failure = failure::failure(&error);
                return Err(failed(failure.kind, failure.message).into());
            }
        };

        let task = Task { request, prepared, deadline, cancellable, detached };
        let batches = plan::batches(&task.prepared.plan, task.request.all_prompts().len() as u32);
        ctx.state_mut(|workflow| progress::plan(&mut workflow.progress, &task.prepared.plan, batches.len()));

        enter(ctx, Stage::Beautify);
        let ending = match beautify(ctx, &task).await {
            Ok(reference_key) => {
                enter(ctx, Stage::Generate);
                let prompts = task.request.all_prompts();
                let pipelines = batches.iter().map(|batch| {
                    let prompt = prompts[batch.prompt_index as usize];
                    let total = batches.len();
                    job::generate_and_store(
                        ctx,
                        &task,
                        Job::Batch { batch, total, prompt, reference_key: &reference_key },
                    )
                });
                let made = workflows::join_all(pipelines).await;
                outcome::ending(&task, batches.iter().zip(made), ctx.cancellation_token().is_cancelled())
            }
            Err(why) => outcome::nothing(&task, &batches, why, ctx.cancellation_token().is_cancelled()),
        };
        end(ctx, &task.detached, task.request.clone(), ending).await
    }

    /// Answers with the state of the task and of each image, while the task runs and after its end.
    #[query(name = "progress")]
    pub fn progress(&self, _: &WorkflowContextView) -> Progress {
        self.progress.clone()
    }
}

/// Returns the key of the reference image. The reference is the retouched photo, or the checked
/// photo if the provider rejects the retouching.
async fn beautify(ctx: &WorkflowContext<GenerateImages>, task: &Task) -> Result<String, job::StopReason> {
    let JobResult { stored, stopped } = job::generate_and_store(ctx, task, Job::Beautify).await;
    match stopped {
        None => Ok(stored.into_iter().map(|(_, object)| object.object_key).next().unwrap_or_default()),
        Some(why) if why.reason == MissingReason::Rejected => Ok(task.prepared.photo_key.clone()),
        Some(why) => Err(why.without_reference()),
    }
}

/// Records how the task ended and closes the workflow accordingly. If the task's row was final
/// before, the workflow closes as the row says.
async fn end(
    ctx: &WorkflowContext<GenerateImages>,
    detached: &WorkflowCancellationToken,
    request: GenerateImagesInput,
    ending: Ending,
) -> WorkflowResult<GenerateImagesOutput> {
    enter(ctx, Stage::Insert);
    let Ending { output, failure } = ending;
    let options = options::insert(&request.user_id, detached, format!("insert {} rows", output.images.len()));
    let input = InsertInput { output: output.clone(), failure: failure.clone(), request };
    let inserted = ctx.execute_activity(Steps::insert, input, options).await?;
    enter(ctx, Stage::Done);
    match inserted.recorded {
        Some(recorded) => {
            note(ctx, |progress| progress::finished(progress, &recorded.output));
            close(recorded.output, recorded.failure)
        }
        None => close(output, failure),
    }
}

/// Closes the workflow as completed, canceled or failed, according to the task's state.
fn close(output: GenerateImagesOutput, failure: Option<TaskFailure>) -> WorkflowResult<GenerateImagesOutput> {
    match output.state {
        TaskState::Cancelled => Err(WorkflowTermination::cancelled_with_details(output)),
        TaskState::Failed => {
            let (kind, message) = match failure {
                Some(failure) => (failure.kind, failure.message),
                None => (FailureKind::Internal, "the task failed; no reason was recorded".into()),
            };
            Err(failed(kind, message).into())
        }
        TaskState::Running | TaskState::Completed | TaskState::Partial => Ok(output),
    }
}

fn failed(kind: FailureKind, message: String) -> ApplicationFailure {
    ApplicationFailure::builder(message).type_name(kind.as_str().to_owned()).non_retryable(true).build()
}

/// Enters a stage, and shows it in Temporal's web UI.
fn enter(ctx: &WorkflowContext<GenerateImages>, stage: Stage) {
    note(ctx, |progress| progress.stage = stage);
}

/// Changes the progress, and shows it in Temporal's web UI.
fn note(ctx: &WorkflowContext<GenerateImages>, change: impl FnOnce(&mut Progress)) {
    let details = ctx.state_mut(|workflow| {
        change(&mut workflow.progress);
        progress::details(&workflow.progress)
    });
    ctx.set_current_details(details);
}

/// Workflow time at which the task's time is up, counted from the Unix epoch.
#[derive(Debug, Clone, Copy)]
struct Deadline(Duration);

impl Deadline {
    fn begin(ctx: &WorkflowContext<GenerateImages>) -> Self {
        Self(now(ctx) + options::TASK_DEADLINE)
    }

    fn remaining(self, ctx: &WorkflowContext<GenerateImages>) -> Duration {
        self.0.saturating_sub(now(ctx))
    }
}

/// Returns the workflow time since the Unix epoch, which is the same in a replay.
fn now(ctx: &WorkflowContext<GenerateImages>) -> Duration {
    ctx.workflow_time().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok()).unwrap_or_default()
}

impl Task {
    /// Returns the time that is left until the task's deadline.
    fn remaining(&self, ctx: &WorkflowContext<GenerateImages>) -> Duration {
        self.deadline.remaining(ctx)
    }
}
