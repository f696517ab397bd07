//! The step `insert` records a task's end.

use std::collections::HashSet;

use workflows::failure::FailureKind;
use workflows::keys;
use workflows::types::{InsertInput, InsertOutput, TaskEnd};

use crate::TaskSteps;
use workflows::failure::Retry;

use crate::failure::Failure;

/// Records all image rows and the final state in one statement. Then deletes the task's images and
/// staged bytes that no row refers to. The photo and the retouched photo stay. `insert` is the
/// task's last writer.
///
/// After a return, the rows and the state are on record, and rows and objects agree. A row that is
/// gone is made again. A row that was final before stays as it is, and is returned. A failed
/// attempt has recorded everything or nothing, and may leave stray objects. Temporal repeats the
/// step until it succeeds. A second execution changes nothing.
pub(crate) async fn insert(env: &TaskSteps, input: InsertInput) -> Result<InsertOutput, Failure> {
    let InsertInput { output, failure, request } = input;
    let task_id = &output.task_id;
    let mut ended = database::tasks::finish(&env.database, &output, failure.as_ref()).await?;
    if !ended {
        database::tasks::begin(&env.database, &request, output.images_planned, None).await?;
        ended = database::tasks::finish(&env.database, &output, failure.as_ref()).await?;
    }
    let Some(recorded) = database::tasks::find(&env.database, task_id).await? else {
        let message = format!("the row of task `{task_id}` was removed while its end was recorded");
        return Err(Failure::new(FailureKind::DatabaseUnavailable, Retry::Backoff, message));
    };
    let recorded = TaskEnd { output: recorded.output, failure: recorded.failure };
    let kept: HashSet<&str> =
        recorded.output.images.iter().map(|image| image.object.object_key.as_str()).collect();
    for prefix in [keys::images_prefix(task_id), keys::staging_prefix(task_id)] {
        for (key, _) in env.storage.list(&prefix).await? {
            if !kept.contains(key.as_str()) {
                env.storage.delete(&key).await?;
            }
        }
    }
    let rows = kept.len() as u32;
    let differs = recorded.output != output;
    tracing::info!(task_id, state = recorded.output.state.as_str(), rows, ended, differs, "task ended");
    Ok(InsertOutput { rows, recorded: differs.then_some(recorded) })
}
