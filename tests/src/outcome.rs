//! A task's outcome, seen from outside: SQL, the bucket's listing, the provider's meter.

use chaos::{Disruptions, Witness};
use sandbox::Meter;
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
    /// A task's outcome, the invariants of its stack being kept.
    pub async fn outcome(&self, task: &GivenTask) -> Outcome {
        self.assert_invariants(&[task], &Disruptions::default()).await;
        self.outcome_of(task).await
    }

    /// The same without a look at invariants, where something was done to the stack that they must excuse.
    pub async fn outcome_of(&self, task: &GivenTask) -> Outcome {
        let task_id = &task.0.task_id;
        let recorded = database::tasks::find(&self.database, task_id).await.unwrap();
        let objects = self.storage.list(&keys::images_prefix(task_id)).await.unwrap();
        let rows = recorded.as_ref().map(|task| task.output.images.clone()).unwrap_or_default();
        for row in &rows {
            let bytes = self.storage.get(&row.object.object_key, 1 << 30).await.unwrap();
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
            objects: objects.len(),
            missing,
            images_billed: self.provider.bill().images,
        }
    }

    /// Every invariant holds, once the provider has nothing under way for us any more. These tasks were started, and no other.
    pub async fn assert_invariants(&self, tasks: &[&GivenTask], deeds: &Disruptions) {
        let drained = |meter: &Meter| meter.in_flight == 0 && meter.downloads_in_flight == 0;
        let meter = self.provider.meter().wait_until(drained).await.unwrap();
        let tasks: Vec<String> = tasks.iter().map(|task| task.0.task_id.clone()).collect();
        let (database, storage, client) = (&self.database, &self.storage, &self.client);
        let witness = Witness { database, storage, client, meter, tasks: &tasks, deeds };
        let found = chaos::violations(&witness).await.unwrap();
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert!(found.is_empty(), "{found:#?}");
    }
}
