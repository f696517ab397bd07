//! What an attempt wrote that was paused, and whose task has ended without it.

use crate::Activities;

/// Removes what an attempt has just written, where its task has ended meanwhile and no row speaks of it.
///
/// `insert` records the end, then removes what no row speaks of; whoever writes asks for the end after its write. So whichever
/// comes last removes it. Where the database can't be asked, what was written stays: it does no harm.
pub(crate) async fn withdraw(reach: &Activities, task_id: &str, written: impl Iterator<Item = &str>) {
    let recorded = match database::tasks::recorded(&reach.database, task_id).await {
        Ok(None) => return,
        Ok(Some(recorded)) => recorded,
        Err(error) => {
            tracing::warn!(task_id, %error, "can't tell whether the task has ended meanwhile");
            return;
        }
    };
    for key in written.filter(|key| !recorded.iter().any(|recorded| recorded == key)) {
        match reach.storage.delete(key).await {
            Ok(()) => tracing::info!(task_id, key, "written after the task's end, and removed"),
            Err(error) => tracing::warn!(task_id, key, %error, "written after the task's end, and left"),
        }
    }
}
