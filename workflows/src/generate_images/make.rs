//! Making images: a paid call, the transfer of what it gave, and the same again for what is still missing.

use temporalio_common::error::ActivityExecutionError;
use temporalio_workflow::WorkflowContext;

use super::{GenerateImages, Task, note, outcome, progress};
use crate::activities::Steps;
use crate::failure::FailureKind;
use crate::plan::Batch;
use crate::types::{
    BeautifyInput, GenerateImagesInput, GenerateInput, GenerateOutput, MissingReason, StoredObject,
    TaskFailure, Transfer, TransferInput, Transferred,
};
use crate::{keys, options};

/// Paid calls for one batch that bring no image, at most. A call that brings one is followed by another for what is still missing: a provider
/// may give one image a call, whatever it is asked for.
const MAX_FRUITLESS_CALLS: u32 = 4;

/// What is to be made.
#[derive(Debug, Clone, Copy)]
pub(super) enum Work<'a> {
    /// The retouched photo.
    Beautify,
    /// A batch's images.
    Batch { batch: &'a Batch, total: usize, prompt: &'a str, reference_key: &'a str },
}

/// What was made: position in the work and object. With `stopped` set, the other positions will not come.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) stored: Vec<(usize, StoredObject)>,
    pub(super) stopped: Option<Stopped>,
}

/// Why no more images come.
#[derive(Debug, Clone)]
pub(super) struct Stopped {
    pub(super) reason: MissingReason,
    pub(super) message: String,
    /// The failure behind it, where it is one.
    pub(super) failure: Option<TaskFailure>,
}

/// Makes and stores the images of `work`.
///
/// A generation is repeated only for images that no transfer can bring any more: the provider gave too few, or its file is
/// dead. A failed transfer repeats the transfer (Temporal's retry), never the call.
pub(super) async fn make(ctx: &WorkflowContext<GenerateImages>, task: &Task, work: Work<'_>) -> Made {
    let mut open: Vec<usize> = (0..work.images()).collect();
    let mut stored = Vec::new();
    let mut stopped = None;
    let mut fruitless_calls = 0;
    for part in 1.. {
        let stored_before = stored.len();
        match make_part(ctx, task, work, part, &mut open, &mut stored).await {
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
            stopped = Some(Stopped::cancelled());
            break;
        }
        fruitless_calls += u32::from(stored.len() == stored_before);
        if fruitless_calls == MAX_FRUITLESS_CALLS {
            break;
        }
    }
    stored.sort_by_key(|(position, _)| *position);
    if let Work::Batch { batch, .. } = work {
        note(ctx, |progress| progress::done(progress, batch, stopped.as_ref().map(|stopped| stopped.reason)));
    }
    Made { stored, stopped }
}

/// One paid call for the open positions, and the transfer of what it gave.
///
/// `Ok`: positions may still be open, for the given reason, and another call may bring them. `Err`: nothing more will come.
async fn make_part(
    ctx: &WorkflowContext<GenerateImages>,
    task: &Task,
    work: Work<'_>,
    part: u32,
    open: &mut Vec<usize>,
    stored: &mut Vec<(usize, StoredObject)>,
) -> Result<Option<Stopped>, Stopped> {
    let answer = work.call(ctx, task, part, open.len() as u32).await.map_err(|error| Stopped::by(&error))?;
    note(ctx, |progress| progress.calls_answered += 1);
    let sources = match answer {
        GenerateOutput::Generated { images, .. } => images,
        GenerateOutput::Rejected { message, .. } => {
            return Err(Stopped::because(MissingReason::Rejected, message));
        }
    };
    let moving: Vec<usize> = open.iter().copied().take(sources.len()).collect();
    let mut why = (moving.len() < open.len()).then(|| {
        let message = format!("the provider gave {} of {} images", moving.len(), open.len());
        Stopped::because(MissingReason::ShortAnswer, message)
    });
    if let Work::Batch { batch, .. } = work {
        note(ctx, |progress| progress::generated(progress, batch, &moving, open.len()));
    }
    let transfers = moving
        .iter()
        .zip(sources)
        .map(|(&position, source)| Transfer { source, object_key: work.key(task, position, part) })
        .collect();
    let transferred = work.transfer(ctx, task, part, transfers).await.map_err(|error| Stopped::by(&error))?;
    let mut for_good = None;
    for (position, image) in moving.into_iter().zip(transferred) {
        match image {
            Transferred::Stored(object) => {
                if let Work::Batch { batch, .. } = work {
                    note(ctx, |progress| progress::stored(progress, batch, position, &object));
                }
                open.retain(|&other| other != position);
                stored.push((position, object));
            }
            Transferred::Gone { message } => why = Some(Stopped::because(MissingReason::Gone, message)),
            Transferred::Unusable { message } => {
                let failure = TaskFailure { kind: FailureKind::Malformed, message: message.clone() };
                for_good = Some(Stopped { reason: MissingReason::Failed, message, failure: Some(failure) });
            }
        }
    }
    for_good.map_or(Ok(why), Err)
}

impl Work<'_> {
    /// How many images it is.
    fn images(&self) -> usize {
        match self {
            Work::Beautify => 1,
            Work::Batch { batch, .. } => batch.images as usize,
        }
    }

    /// Where the image at `position` is stored, as call `part` made it.
    fn key(&self, task: &Task, position: usize, part: u32) -> String {
        match self {
            Work::Beautify => keys::beautified(&task.request.task_id),
            Work::Batch { batch, .. } => {
                keys::image(&task.request.task_id, batch.first_index + position as u32, part)
            }
        }
    }

    /// The paid call.
    async fn call(
        &self,
        ctx: &WorkflowContext<GenerateImages>,
        task: &Task,
        part: u32,
        images: u32,
    ) -> Result<GenerateOutput, ActivityExecutionError> {
        let (remaining, prepared, cancellable) = (task.remaining(ctx), &task.prepared, &task.cancellable);
        let GenerateImagesInput { task_id, user_id, plan, .. } = task.request.clone();
        let again = if part == 1 { String::new() } else { format!(" · call {part}") };
        match *self {
            Work::Beautify => {
                let summary = format!("beautify · retouch the photo{again}");
                let id = self.name(part);
                let options = options::paid_call(remaining, prepared, part, cancellable, id, summary);
                let input = BeautifyInput {
                    task_id,
                    user_id,
                    plan,
                    part,
                    photo_key: task.prepared.photo_key.clone(),
                };
                ctx.execute_activity(Steps::beautify, input, options).await
            }
            Work::Batch { batch, total, prompt, reference_key } => {
                let summary = format!("generate {}/{total} · {images} images{again}", batch.number);
                let id = format!("generate-{}", self.name(part));
                let options = options::paid_call(remaining, prepared, part, cancellable, id, summary);
                let input = GenerateInput {
                    task_id,
                    user_id,
                    plan,
                    batch: batch.number,
                    part,
                    images,
                    prompt: prompt.to_owned(),
                    reference_key: reference_key.to_owned(),
                };
                ctx.execute_activity(Steps::generate, input, options).await
            }
        }
    }

    /// The transfer of what a call gave.
    async fn transfer(
        &self,
        ctx: &WorkflowContext<GenerateImages>,
        task: &Task,
        part: u32,
        images: Vec<Transfer>,
    ) -> Result<Vec<Transferred>, ActivityExecutionError> {
        if images.is_empty() {
            return Ok(Vec::new());
        }
        let summary = match self {
            Work::Beautify => "transfer · the retouched photo".into(),
            Work::Batch { batch, total, .. } => {
                format!("transfer {}/{total} · {} images", batch.number, images.len())
            }
        };
        let id = format!("transfer-{}", self.name(part));
        let options = options::transfer(task.remaining(ctx), &task.detached, id, summary);
        let input = TransferInput { task_id: task.request.task_id.clone(), images };
        Ok(ctx.execute_activity(Steps::transfer, input, options).await?.images)
    }

    /// Name of a call for this work: `beautify`, `3`, `3.2`.
    fn name(&self, part: u32) -> String {
        match self {
            Work::Beautify => keys::beautify_call(part),
            Work::Batch { batch, .. } => keys::call(batch.number, part),
        }
    }
}

impl Stopped {
    fn because(reason: MissingReason, message: String) -> Self {
        Self { reason, message, failure: None }
    }

    fn by(error: &ActivityExecutionError) -> Self {
        if error.as_cancelled().is_some() {
            return Self::cancelled();
        }
        let failure = outcome::failure(error);
        let ambiguous = failure.kind == FailureKind::Ambiguous;
        let reason = if ambiguous { MissingReason::Ambiguous } else { MissingReason::Failed };
        Self { reason, message: failure.message.clone(), failure: Some(failure) }
    }

    fn cancelled() -> Self {
        Self::because(MissingReason::Cancelled, "the task was cancelled before it was made".into())
    }

    /// Why a task without a reference image fails.
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
