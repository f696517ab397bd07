//! Insert: the task's end, recorded.

use workflows::keys;
use workflows::types::{InsertInput, InsertOutput};

use crate::Activities;
use crate::failure::Failure;

/// Records all image rows and the final state in one transaction, then clears what was staged.
///
/// Returned: the rows and the state are there, and no staged bytes are. Failed: either both are recorded or neither is;
/// staged bytes may be left. Twice: nothing changes.
pub(crate) async fn insert(reach: &Activities, input: InsertInput) -> Result<InsertOutput, Failure> {
    let InsertInput { output, failure } = input;
    let rows = database::tasks::finish(&reach.database, &output, failure.as_ref()).await?;
    for (key, _) in reach.storage.list(&keys::staging_prefix(&output.task_id)).await? {
        reach.storage.delete(&key).await?;
    }
    tracing::info!(task_id = output.task_id, state = output.state.as_str(), rows, "task ended");
    Ok(InsertOutput { rows })
}
