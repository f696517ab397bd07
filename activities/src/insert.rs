//! Insert: the task's end, recorded.

use std::collections::HashSet;

use workflows::failure::FailureKind;
use workflows::keys;
use workflows::types::{InsertInput, InsertOutput};

use crate::Activities;
use crate::failure::{Failure, Retry};

/// Records all image rows and the final state in one statement, then removes what no row speaks of: staged bytes, and
/// what transfers left that didn't come to their end. `insert` is the task's last writer.
///
/// Returned: the rows and the state are there, and rows and objects agree. Failed: either both are recorded or neither is;
/// stray objects may be left. It is tried until it is done: nothing else may keep the result. Twice: nothing changes.
pub(crate) async fn insert(reach: &Activities, input: InsertInput) -> Result<InsertOutput, Failure> {
    let InsertInput { output, failure, request } = input;
    if let Some(request) = request {
        database::tasks::begin(&reach.database, &request, output.images_planned).await?;
    }
    let recorded = database::tasks::finish(&reach.database, &output, failure.as_ref()).await?;
    let recorded: HashSet<String> = recorded.into_iter().collect();
    if let Some(image) = output.images.iter().find(|image| !recorded.contains(&image.object.object_key)) {
        // Somebody removed the task's row, or recorded another end: a person has to look.
        let message = format!(
            "no row was made for `{}`: the task's row is gone, or was closed before",
            image.object.object_key
        );
        return Err(Failure::new(FailureKind::DatabaseUnavailable, Retry::Backoff, message));
    }
    let task_id = &output.task_id;
    let written = [keys::images_prefix(task_id), keys::staging_prefix(task_id)];
    for prefix in written {
        for (key, _) in reach.storage.list(&prefix).await? {
            if !recorded.contains(&key) {
                reach.storage.delete(&key).await?;
            }
        }
    }
    let rows = recorded.len() as u32;
    tracing::info!(task_id, state = output.state.as_str(), rows, "task ended");
    Ok(InsertOutput { rows })
}
