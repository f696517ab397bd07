//! Makes images by a paid call and a transfer, and repeats both for images that are still missing.

use temporalio_common::error::ActivityExecutionError;
use temporalio_workflow::WorkflowContext;

use super::{GenerateImages, Task, failure, note, progress};
use crate::activities::Steps;
use crate::failure::FailureKind;
use crate::keys::{self, CallName};
use crate::options;
use crate::plan::Batch;
use crate::types::{
    BeautifyInput, GenerateImagesInput, GenerateInput, GenerateOutput, MissingReason, StoredObject,
    TaskFailure, Transfer, TransferInput, Transferred,
};

/// Largest number of paid calls of one job that bring no image. A call that brings one is followed
/// by another for the images that are still missing, because a provider may give one image a call,
/// whatever it is asked for.
const MAX_FRUITLESS_CALLS: u32 = 4;

/// Work that needs paid calls and transfers.
#[derive(Debug, Clone, Copy)]
pub(super) enum Job<'a> {
    /// Makes the retouched photo of the task.
    Beautify,
    /// Makes the images of a batch.
    Batch { batch: &'a Batch, total: usize, prompt: &'a str, reference_key: &'a str },
}

/// Stored objects of a job, each with its position in the job. With `stopped` set, the other
/// positions stay empty.
#[derive(Debug)]
pub(super) struct JobResult {
    pub(super) stored: Vec<(usize, StoredObject)>,
    pub(super) stopped: Option<StopReason>,
}

/// Reason why no more images of a job come.
#[derive(Debug, Clone)]
pub(super) struct StopReason {
    pub(super) reason: MissingReason,
    pub(super) message: String,
    /// The failure behind the reason, if there is one.
    pub(super) failure: Option<TaskFailure>,
}

/// Makes and stores the images of a job.
///
/// A further call is made only for images that no transfer can bring any more. The provider gave
/// too few, or its file is dead or broken. Temporal repeats a failed call or transfer under the
/// same name.
pub(super) async fn generate_and_store(
    ctx: &WorkflowContext<GenerateImages>,
    task: &Task,
    job: Job<'_>,
) -> JobResult {
    let mut open: Vec<usize> = (0..job.images()).collect();
    let mut stored = Vec::new();
    let mut stopped = None;
    let mut fruitless_calls = 0;
    for call_number in 1.. {
        let stored_before = stored.len();
        match call_and_transfer(ctx, task, job, call_number, &mut open, &mut stored).await {
            Ok(short) => stopped = short,
            Err(for_good) => {
                stopped = Some(for_good);
                break;
            }
        }
        if open.is_empty() {
            stopped = None;
            break;
        }
        if ctx.cancellation_token().is_cancelled() {
            stopped = Some(StopReason::cancelled());
            break;
        }
        fruitless_calls += u32::from(stored.len() == stored_before);
        if fruitless_calls == MAX_FRUITLESS_CALLS {
            break;
        }
    }
    stored.sort_by_key(|(position, _)| *position);
    if let Job::Batch { batch, .. } = job {
        note(ctx, |progress| progress::done(progress, batch, stopped.as_ref().map(|stopped| stopped.reason)));
    }
    JobResult { stored, stopped }
}

/// Makes one paid call for the open positions, and transfers the images that it gave.
///
/// `Ok` means that another call may bring the open positions. The value says why they are open.
/// `Err` means that nothing more will come.
async fn call_and_transfer(
    ctx: &WorkflowContext<GenerateImages>,
    task: &Task,
    job: Job<'_>,
    call_number: u32,
    open: &mut Vec<usize>,
    stored: &mut Vec<(usize, StoredObject)>,
) -> Result<Option<StopReason>, StopReason> {
    let answer =
        job.call(ctx, task, call_number, open.len() as u32).await.map_err(|error| StopReason::by(&error))?;
    note(ctx, |progress| progress.calls_answered += 1);
    let sources = match answer {
        GenerateOutput::Generated { images, .. } => images,
        GenerateOutput::Rejected { message, .. } => {
            return Err(StopReason::because(MissingReason::Rejected, message));
        }
    };
    let moving: Vec<usize> = open.iter().copied().take(sources.len()).collect();
    let mut why = (moving.len() < open.len()).then(|| {
        let message = format!("the provider gave {} of {} images", moving.len(), open.len());
        StopReason::because(MissingReason::ShortAnswer, message)
    });
    if let Job::Batch { batch, .. } = job {
        note(ctx, |progress| progress::generated(progress, batch, &moving, open.len()));
    }
    let transfers = moving
        .iter()
        .zip(sources)
        .map(|(&position, source)| Transfer { source, object_key: job.key(task, position, call_number) })
        .collect();
    let transferred =
        job.transfer(ctx, task, call_number, transfers).await.map_err(|error| StopReason::by(&error))?;
    let mut for_good = None;
    for (position, image) in moving.into_iter().zip(transferred) {
        match image {
            Transferred::Stored(object) => {
                if let Job::Batch { batch, .. } = job {
                    note(ctx, |progress| progress::stored(progress, batch, position, &object));
                }
                open.retain(|&other| other != position);
                stored.push((position, object));
            }
            Transferred::Gone { message } => why = Some(StopReason::because(MissingReason::Gone, message)),
            Transferred::Unusable { message } => {
                let failure = TaskFailure { kind: FailureKind::Malformed, message: message.clone() };
                for_good =
                    Some(StopReason { reason: MissingReason::Failed, message, failure: Some(failure) });
            }
        }
    }
    for_good.map_or(Ok(why), Err)
}

impl Job<'_> {
    /// Returns the number of images of the job.
    fn images(&self) -> usize {
        match self {
            Job::Beautify => 1,
            Job::Batch { batch, .. } => batch.images as usize,
        }
    }

    /// Returns the object key of the image at `position`, as call `call_number` made it.
    fn key(&self, task: &Task, position: usize, call_number: u32) -> String {
        match self {
            Job::Beautify => keys::beautified(&task.request.task_id),
            Job::Batch { batch, .. } => {
                keys::image(&task.request.task_id, batch.first_index + position as u32, call_number)
            }
        }
    }

    /// Makes the paid call for `images` images.
    async fn call(
        &self,
        ctx: &WorkflowContext<GenerateImages>,
        task: &Task,
        call_number: u32,
        images: u32,
    ) -> Result<GenerateOutput, ActivityExecutionError> {
        let (remaining, prepared, cancellable) = (task.remaining(ctx), &task.prepared, &task.cancellable);
        let GenerateImagesInput { task_id, user_id, plan, .. } = task.request.clone();
        let again = if call_number == 1 { String::new() } else { format!(" · call {call_number}") };
        match *self {
            Job::Beautify => {
                let summary = format!("beautify · retouch the photo{again}");
                let id = self.name(call_number).activity_id();
                let options = options::paid_call(remaining, prepared, call_number, cancellable, id, summary);
                let input = BeautifyInput {
                    task_id,
                    user_id,
                    plan,
                    call_number,
                    photo_key: task.prepared.photo_key.clone(),
                };
                ctx.execute_activity(Steps::beautify, input, options).await
            }
            Job::Batch { batch, total, prompt, reference_key } => {
                let summary = format!("generate {}/{total} · {images} images{again}", batch.number);
                let id = self.name(call_number).activity_id();
                let options = options::paid_call(remaining, prepared, call_number, cancellable, id, summary);
                let input = GenerateInput {
                    task_id,
                    user_id,
                    plan,
                    batch: batch.number,
                    call_number,
                    images,
                    prompt: prompt.to_owned(),
                    reference_key: reference_key.to_owned(),
                };
                ctx.execute_activity(Steps::generate, input, options).await
            }
        }
    }

    /// Transfers the images that a call gave.
    async fn transfer(
        &self,
        ctx: &WorkflowContext<GenerateImages>,
        task: &Task,
        call_number: u32,
        images: Vec<Transfer>,
    ) -> Result<Vec<Transferred>, ActivityExecutionError> {
        if images.is_empty() {
            return Ok(Vec::new());
        }
        let summary = match self {
            Job::Beautify => "transfer · the retouched photo".into(),
            Job::Batch { batch, total, .. } => {
                format!("transfer {}/{total} · {} images", batch.number, images.len())
            }
        };
        let id = self.name(call_number).transfer_id();
        let options = options::transfer(task.remaining(ctx), &task.detached, id, summary);
        let input = TransferInput { task_id: task.request.task_id.clone(), images };
        Ok(ctx.execute_activity(Steps::transfer, input, options).await?.images)
    }

    fn name(&self, call_number: u32) -> CallName {
        match self {
            Job::Beautify => CallName::beautify(call_number),
            Job::Batch { batch, .. } => CallName::batch(batch.number, call_number),
        }
    }
}

impl StopReason {
    fn because(reason: MissingReason, message: String) -> Self {
        Self { reason, message, failure: None }
    }

    fn by(error: &ActivityExecutionError) -> Self {
        if error.as_cancelled().is_some() {
            return Self::cancelled();
        }
        let failure = failure::failure(error);
        let ambiguous = failure.kind == FailureKind::Ambiguous;
        let reason = if ambiguous { MissingReason::Ambiguous } else { MissingReason::Failed };
        Self { reason, message: failure.message.clone(), failure: Some(failure) }
    }

    fn cancelled() -> Self {
        Self::because(MissingReason::Cancelled, "the task was cancelled before it was made".into())
    }

    /// Rewords the reason for a task that ends because there is no reference image.
    pub(super) fn without_reference(self) -> Self {
        let message = format!("the photo could not be retouched: {}", self.message);
        let failure = match (self.reason, self.failure) {
            (MissingReason::Cancelled, _) => None,
            (_, Some(failure)) => Some(failure),
            (_, None) => Some(TaskFailure { kind: FailureKind::Malformed, message: message.clone() }),
        };
        Self { reason: self.reason, message, failure }
    }
}
