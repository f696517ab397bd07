//! Insert: the task's end, recorded.

use std::collections::HashSet;

use workflows::failure::FailureKind;
use workflows::keys;
use workflows::types::{InsertInput, InsertOutput, TaskEnd};

use crate::Activities;
use crate::failure::{Failure, Retry};

/// Records all image rows and the final state in one statement, then removes the objects that no row refers to: staged bytes, and
/// what transfers left that didn't come to their end. `insert` is the task's last writer.
///
/// Returned: the rows and the state are there, and rows and objects agree. A row that is gone is made again; one that was final before
/// stays as it is, and is returned. Failed: either both are recorded or neither is; stray objects may be left. It is tried until it is done:
/// nothing else may keep the result. Twice: nothing changes.
pub(crate) async fn insert(reach: &Activities, input: InsertInput) -> Result<InsertOutput, Failure> {
    let InsertInput { output, failure, request } = input;
    let task_id = &output.task_id;
    let mut ended = database::tasks::finish(&reach.database, &output, failure.as_ref()).await?;
    if !ended {
        database::tasks::begin(&reach.database, &request, output.images_planned, None).await?;
        ended = database::tasks::finish(&reach.database, &output, failure.as_ref()).await?;
    }
    let Some(recorded) = database::tasks::find(&reach.database, task_id).await? else {
        let message = format!("the row of task `{task_id}` was removed while its end was recorded");
        return Err(Failure::new(FailureKind::DatabaseUnavailable, Retry::Backoff, message));
    };
    let recorded = TaskEnd { output: recorded.output, failure: recorded.failure };
    let kept: HashSet<&str> =
        recorded.output.images.iter().map(|image| image.object.object_key.as_str()).collect();
    for prefix in [keys::images_prefix(task_id), keys::staging_prefix(task_id)] {
        for (key, _) in reach.storage.list(&prefix).await? {
            if !kept.contains(key.as_str()) {
                reach.storage.delete(&key).await?;
            }
        }
    }
    let rows = kept.len() as u32;
    let differs = recorded.output != output;
    tracing::info!(task_id, state = recorded.output.state.as_str(), rows, ended, differs, "task ended");
    Ok(InsertOutput { rows, recorded: differs.then_some(recorded) })
}
