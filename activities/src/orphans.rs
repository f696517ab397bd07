//! Cleans up after an activity that resumed after its task had ended.

use database::DatabaseConnection;

use crate::storage::Storage;

/// Deletes the objects that an attempt has just written and that no image row refers to, if the
/// task has ended meanwhile.
///
/// `insert` records the task's end, and then deletes the images and staged bytes that no row refers
/// to. An attempt asks for the end after its write. So the later of the two deletes the object. If
/// the database can't be asked, the objects stay until `darkroom reconcile` finds them.
pub(crate) async fn delete_if_task_ended(
    database: &DatabaseConnection,
    storage: &Storage,
    task_id: &str,
    written: impl Iterator<Item = &str>,
) {
    let recorded = match database::tasks::recorded(database, task_id).await {
        Ok(None) => return,
        Ok(Some(recorded)) => recorded,
        Err(error) => {
            tracing::warn!(task_id, %error, "can't tell whether the task has ended meanwhile");
            return;
        }
    };
    for key in written.filter(|key| !recorded.iter().any(|recorded| recorded == key)) {
        match storage.delete(key).await {
            Ok(()) => tracing::info!(task_id, key, "written after the task's end, and removed"),
            Err(error) => tracing::warn!(task_id, key, %error, "written after the task's end, and left"),
        }
    }
}
