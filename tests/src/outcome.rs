//! A task's outcome, seen from outside: SQL, the bucket's listing, the provider's meter.

use workflows::keys;
use workflows::types::{MissingReason, TaskState};

use crate::{GivenTask, Stack};

/// What a task left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// State in its row; none without a row.
    pub state: Option<TaskState>,
    /// Image rows.
    pub rows: usize,
    /// Image objects.
    pub objects: usize,
    /// Missing images, by reason.
    pub missing: Vec<(MissingReason, usize)>,
    /// Images the provider billed in this stack, the retouched photo among them.
    pub images_billed: u64,
}

impl Stack {
    /// A task's outcome. Checks on the way what must hold of every task that has ended: rows and objects agree in key, size and
    /// hash, and nothing else of the task lies in the bucket but its photo and its reference.
    pub async fn outcome(&self, task: &GivenTask) -> Outcome {
        let task_id = &task.0.task_id;
        let recorded = database::tasks::find(&self.database, task_id).await.unwrap();
        let prefix = keys::task_prefix(task_id);
        let listed = self.storage.list(&prefix).await.unwrap();
        let images: Vec<_> =
            listed.iter().filter(|(key, _)| key.starts_with(&format!("{prefix}images/"))).collect();
        for (key, _) in &listed {
            let known = [keys::photo(task_id), keys::beautified(task_id)].contains(key);
            assert!(known || images.iter().any(|(image, _)| image == key), "stray object {key}");
        }
        let staged = self.storage.list(&keys::staging_prefix(task_id)).await.unwrap();
        assert_eq!(staged, [], "staged bytes are left");

        let rows = recorded.as_ref().map(|task| task.output.images.clone()).unwrap_or_default();
        for row in &rows {
            let size = images.iter().find(|(key, _)| *key == row.object.object_key).map(|(_, size)| *size);
            assert_eq!(size, Some(row.object.size_bytes), "row without its object: {row:?}");
            let bytes = self.storage.get(&row.object.object_key, 1 << 30).await.unwrap();
            assert_eq!(crate::outcome::sha256(&bytes), row.object.sha256, "{row:?}");
            let picture = image::load_from_memory(&bytes).unwrap();
            assert_eq!((picture.width(), picture.height()), (row.object.width, row.object.height));
        }
        let mut missing: Vec<(MissingReason, usize)> = Vec::new();
        for image in recorded.iter().flat_map(|task| &task.output.missing) {
            match missing.iter_mut().find(|(reason, _)| *reason == image.reason) {
                Some((_, count)) => *count += 1,
                None => missing.push((image.reason, 1)),
            }
        }
        Outcome {
            state: recorded.map(|task| task.output.state),
            rows: rows.len(),
            objects: images.len(),
            missing,
            images_billed: self.provider.bill().images,
        }
    }
}

/// SHA-256 as 64 hex digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
