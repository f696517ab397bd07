//! Formats a task's result and progress for people.

use std::collections::BTreeMap;

use workflows::types::{GenerateImagesOutput, Progress, Stage, TaskState};

use crate::exit::Exit;

/// Prints a task's result.
pub fn print_output(output: &GenerateImagesOutput) {
    println!("{}: {} of {} images stored", output.state.as_str(), output.images.len(), output.images_planned);
    for image in &output.images {
        let object = &image.object;
        println!(
            "  {:>3}  {}  {}×{}  {}  {} bytes  sha256 {}…",
            image.index,
            object.object_key,
            object.width,
            object.height,
            object.content_type,
            object.size_bytes,
            &object.sha256[..object.sha256.len().min(12)]
        );
    }
    let mut reasons: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for missing in &output.missing {
        reasons.entry(&missing.message).or_default().push(missing.index);
    }
    for (reason, indices) in reasons {
        println!("  missing {indices:?}: {reason}");
    }
}

/// Returns the progress as one line.
pub fn line(progress: &Progress) -> String {
    let missing = match progress.images_missing {
        0 => String::new(),
        missing => format!(", {missing} missing"),
    };
    format!(
        "{:<9} batches generated {:>2}/{:<2}  images stored {:>2}/{:<2}{missing}",
        stage(progress.stage),
        progress.batches_generated,
        progress.batches,
        progress.images_stored,
        progress.images_planned
    )
}

/// Returns the name of a stage.
pub fn stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Prepare => "prepare",
        Stage::Beautify => "beautify",
        Stage::Generate => "generate",
        Stage::Insert => "insert",
        Stage::Done => "done",
    }
}

/// Returns the exit code for a result's state.
pub fn exit(state: TaskState) -> Exit {
    match state {
        TaskState::Completed | TaskState::Partial | TaskState::Running => Exit::Success,
        TaskState::Cancelled => Exit::TaskCancelled,
        TaskState::Failed => Exit::TaskFailed,
    }
}
