//! Keeps the answer of the query `progress`, and its short form for people, as pure code.

use crate::plan::Batch;
use crate::types::{
    GenerateImagesOutput, ImageProgress, ImageState, MissingReason, PlanSpec, Progress, Stage, StoredObject,
};

/// Returns the progress of a task that has just begun.
pub(super) fn begin() -> Progress {
    Progress {
        stage: Stage::Prepare,
        images_planned: 0,
        images_stored: 0,
        images_missing: 0,
        batches: 0,
        batches_generated: 0,
        batches_done: 0,
        calls_answered: 0,
        images: Vec::new(),
    }
}

/// Notes the plan's images and batches.
pub(super) fn plan(progress: &mut Progress, plan: &PlanSpec, batches: usize) {
    progress.images_planned = plan.images;
    progress.batches = batches as u32;
    progress.images = (0..plan.images)
        .map(|index| ImageProgress { index, state: ImageState::Queued, object_key: None, reason: None })
        .collect();
}

/// Notes that a call gave the images at `positions` of the batch, where `asked` were open.
///
/// A call that gives all open images counts the batch as generated. If a transfer finds one of them
/// dead, a further call counts the batch again.
pub(super) fn generated(progress: &mut Progress, batch: &Batch, positions: &[usize], asked: usize) {
    for &position in positions {
        image(progress, batch, position).state = ImageState::Generated;
    }
    if positions.len() == asked {
        progress.batches_generated = (progress.batches_generated + 1).min(progress.batches);
    }
}

/// Notes that the image at `position` of the batch is stored.
pub(super) fn stored(progress: &mut Progress, batch: &Batch, position: usize, object: &StoredObject) {
    let image = image(progress, batch, position);
    image.state = ImageState::Stored;
    image.object_key = Some(object.object_key.clone());
    progress.images_stored += 1;
}

/// Notes that nothing more comes of the batch. Images that are not stored are missing for `reason`.
pub(super) fn done(progress: &mut Progress, batch: &Batch, reason: Option<MissingReason>) {
    progress.batches_done += 1;
    progress.batches_generated = progress.batches_generated.max(progress.batches_done);
    for position in 0..batch.images as usize {
        let image = image(progress, batch, position);
        if image.state != ImageState::Stored {
            image.state = ImageState::Missing;
            image.reason = reason;
            progress.images_missing += 1;
        }
    }
}

/// Replaces the progress with a result that the task's row recorded before.
pub(super) fn finished(progress: &mut Progress, output: &GenerateImagesOutput) {
    let stored = output.images.iter().map(|image| ImageProgress {
        index: image.index,
        state: ImageState::Stored,
        object_key: Some(image.object.object_key.clone()),
        reason: None,
    });
    let missing = output.missing.iter().map(|image| ImageProgress {
        index: image.index,
        state: ImageState::Missing,
        object_key: None,
        reason: Some(image.reason),
    });
    let mut images: Vec<ImageProgress> = stored.chain(missing).collect();
    images.sort_by_key(|image| image.index);
    *progress = Progress {
        stage: Stage::Done,
        images_planned: output.images_planned,
        images_stored: output.images.len() as u32,
        images_missing: output.missing.len() as u32,
        images,
        ..begin()
    };
}

fn image<'a>(progress: &'a mut Progress, batch: &Batch, position: usize) -> &'a mut ImageProgress {
    &mut progress.images[batch.first_index as usize + position]
}

/// Summarises the progress for Temporal's web UI.
pub(super) fn details(progress: &Progress) -> String {
    let Progress { images_planned, images_stored, images_missing, batches, batches_generated, .. } = progress;
    let images = format!("{images_stored} of {images_planned} images stored");
    let missing = if *images_missing > 0 { format!(", {images_missing} missing") } else { String::new() };
    match progress.stage {
        Stage::Prepare => "**Prepare**: checking the input, fetching the photo".into(),
        Stage::Beautify => {
            format!("**Beautify**: retouching the photo, the reference of {images_planned} images")
        }
        Stage::Generate => {
            format!("**Generate**: {batches_generated} of {batches} batches generated, {images}{missing}")
        }
        Stage::Insert => format!("**Insert**: recording the rows; {images}{missing}"),
        Stage::Done => format!("**Done**: {images}{missing}"),
    }
}
