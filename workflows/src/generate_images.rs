//! `generate_images`: one photo and a plan become N stored images and N rows.
//!
//! prepare → beautify → batches, all scheduled at once, each transferred as soon as it is there → insert.
#![expect(missing_docs, reason = "the macro documents none of what it generates")]

mod make;
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
use make::{Made, Work};
use outcome::Ending;

/// The workflow `generate_images`.
#[workflow]
pub struct GenerateImages {
    input: Checked<GenerateImagesInput>,
    progress: Progress,
}

/// What the parts of a running task share.
struct Task {
    request: GenerateImagesInput,
    prepared: Prepared,
    deadline: Deadline,
    /// Reached by a cancel of the workflow.
    cancellable: WorkflowCancellationToken,
    /// Reached by no cancel: what is paid for is kept and recorded.
    detached: WorkflowCancellationToken,
}

#[workflow_methods]
impl GenerateImages {
    #[init]
    fn new(_: &WorkflowContextView, input: Checked<GenerateImagesInput>) -> Self {
        Self { input, progress: progress::begin() }
    }

    /// Runs the task.
    #[run(name = "generate_images")]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<GenerateImagesOutput> {
        let ctx: &WorkflowContext<Self> = ctx;
        let request = ctx
            .state(|workflow| workflow.input.validate(ctx.workflow_id()).cloned())
            .map_err(|why| failed(FailureKind::InvalidInput, why))?;
        let deadline = Deadline::begin(ctx);
        // The workflow's own token, which an activity gets by default, keeps what waits on it, and that keeps the workflow's context:
        // evicted from a worker's cache, the workflow would never be freed. A child goes with this future.
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
                let failure = outcome::failure(&error);
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
                    make::make(
                        ctx,
                        &task,
                        Work::Batch { batch, total, prompt, reference_key: &reference_key },
                    )
                });
                let made = workflows::join_all(pipelines).await;
                outcome::ending(&task, batches.iter().zip(made), ctx.cancellation_token().is_cancelled())
            }
            Err(why) => outcome::nothing(&task, &batches, why, ctx.cancellation_token().is_cancelled()),
        };
        end(ctx, &task.detached, task.request.clone(), ending).await
    }

    /// How far the task is, with each image's state; usable while it runs and after.
    #[query(name = "progress")]
    pub fn progress(&self, _: &WorkflowContextView) -> Progress {
        self.progress.clone()
    }
}

/// The reference image of the task: the retouched photo, or the photo itself where moderation rejects retouching it.
async fn beautify(ctx: &WorkflowContext<GenerateImages>, task: &Task) -> Result<String, make::Stopped> {
    let Made { stored, stopped } = make::make(ctx, task, Work::Beautify).await;
    match stopped {
        None => Ok(stored.into_iter().map(|(_, object)| object.object_key).next().unwrap_or_default()),
        Some(why) if why.reason == MissingReason::Rejected => Ok(task.prepared.photo_key.clone()),
        Some(why) => Err(why.without_reference()),
    }
}

/// Records how the task ended and closes the workflow accordingly: as its row says, where that was final before.
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

/// Closes the workflow as the task ended: completed, canceled or failed.
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

/// Enters a stage, and tells the story in Temporal's web UI.
fn enter(ctx: &WorkflowContext<GenerateImages>, stage: Stage) {
    note(ctx, |progress| progress.stage = stage);
}

/// Notes progress, and tells the story in Temporal's web UI.
fn note(ctx: &WorkflowContext<GenerateImages>, change: impl FnOnce(&mut Progress)) {
    let details = ctx.state_mut(|workflow| {
        change(&mut workflow.progress);
        progress::details(&workflow.progress)
    });
    ctx.set_current_details(details);
}

/// When the task's time is up, in milliseconds of workflow time.
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

/// Workflow time since the epoch: the same in a replay.
fn now(ctx: &WorkflowContext<GenerateImages>) -> Duration {
    ctx.workflow_time().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok()).unwrap_or_default()
}

impl Task {
    /// The time that is left until its deadline.
    fn remaining(&self, ctx: &WorkflowContext<GenerateImages>) -> Duration {
        self.deadline.remaining(ctx)
    }
}
