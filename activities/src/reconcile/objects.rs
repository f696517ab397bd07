//! Compares objects with images and tasks. Objects and image rows are merged in the order of their
//! keys.

use std::collections::{BTreeMap, HashMap};

use database::reconcile::{self as rows, ImageRow, TaskRow};
use workflows::keys;
use workflows::reconcile::{Finding, ReconcileOutput};
use workflows::types::GenerateImagesOutput;

use super::judge::{self, End, Owner, Workflow};
use super::{Error, Run, workflow};
use crate::storage::listing::Listed;

/// Objects and image rows up to one key.
struct Merged {
    objects: Vec<Listed>,
    images: BTreeMap<String, ImageRow>,
    /// Last key of both, if more keys follow.
    next: Option<String>,
}

impl Run<'_> {
    pub(super) async fn objects(
        &self,
        prefix: &str,
        after: &str,
        output: &mut ReconcileOutput,
    ) -> Result<Option<String>, Error> {
        let Merged { objects, mut images, next } = self.merged(prefix, after).await?;
        output.looked_at.objects += objects.len() as u64;
        output.looked_at.images += images.len() as u64;
        let mut strays = Vec::new();
        for object in objects {
            match images.remove(&object.key) {
                Some(row) => self.compare(&row, object.size_bytes, output).await?,
                None => strays.push(object),
            }
        }
        for row in images.values() {
            // The listing may be older than the row, or not quite in order, so the object itself is
            // asked for.
            let size = self.env.storage.size(&row.object_key).await?;
            if let Some((finding, example)) = judge::image(row, size) {
                output.add(finding, example);
            }
        }
        self.strays(after, &strays, output).await?;
        Ok(next)
    }

    /// Reads both sequences up to the smaller of their pages' ends, so that no key of either is
    /// missed.
    async fn merged(&self, prefix: &str, after: &str) -> Result<Merged, Error> {
        let page = self.env.storage.page(prefix, after, self.env.page).await?;
        let mut objects = page.objects;
        let mut next = if page.more { objects.last().map(|object| object.key.clone()) } else { None };
        // Every image row has a key under `tasks/`.
        let mut images = if prefix == keys::OWN_PREFIXES[0] {
            rows::images(&self.env.database, after, next.as_deref(), self.env.page).await?
        } else {
            Vec::new()
        };
        if images.len() as u64 == self.env.page {
            next = images.last().map(|row| row.object_key.clone());
        }
        if let Some(next) = &next {
            objects.retain(|object| object.key <= *next);
            images.retain(|row| row.object_key <= *next);
        }
        let images = images.into_iter().map(|row| (row.object_key.clone(), row)).collect();
        Ok(Merged { objects, images, next })
    }

    async fn compare(
        &self,
        row: &ImageRow,
        size_bytes: u64,
        output: &mut ReconcileOutput,
    ) -> Result<(), Error> {
        if let Some((finding, example)) = judge::image(row, Some(size_bytes)) {
            output.add(finding, example);
        } else if self.input.deep {
            let sha256 = self.env.storage.sha256(&row.object_key).await?;
            if sha256 != row.sha256 {
                let example = format!("{}: sha256 {sha256}, its row says {}", row.object_key, row.sha256);
                output.add(Finding::DifferentObject, example);
            }
        }
        Ok(())
    }

    /// Judges the objects that no image row names, and deletes stray ones unless it is a dry run.
    async fn strays(
        &self,
        after: &str,
        objects: &[Listed],
        output: &mut ReconcileOutput,
    ) -> Result<(), Error> {
        if objects.is_empty() {
            return Ok(());
        }
        let trusted = self.belong_together().await?;
        let owners = self.owners(objects).await?;
        let mut before = after;
        for object in objects {
            let key = object.key.as_str();
            let is_first_of_task = folder(before) != folder(key);
            before = key;
            let Some((task_id, part)) = keys::parse(key) else {
                output.add(Finding::UnknownObject, format!("{key}: no task writes such a key"));
                continue;
            };
            let Some(owner) = owners.get(task_id) else { continue };
            match judge::object(part, object.age, owner, self.min_age, trusted) {
                None => {}
                Some(Finding::LostTask) => {
                    if is_first_of_task && let Some(example) = self.lost(task_id, owner).await? {
                        output.add(Finding::LostTask, example);
                    }
                }
                Some(Finding::StrayObject) => {
                    if !self.input.dry_run {
                        self.env.storage.delete(key).await?;
                    }
                    output.add(Finding::StrayObject, key.to_owned());
                }
                Some(finding) => {
                    let why = match trusted {
                        true => "neither a row nor a workflow tells of its task",
                        false => "the bucket has none of the objects of image rows",
                    };
                    output.add(finding, format!("{key}: {why}"));
                }
            }
        }
        Ok(())
    }

    /// Returns the owner of each object by task id. A task without a row is looked up in Temporal.
    async fn owners(&self, objects: &[Listed]) -> Result<HashMap<String, Owner>, Error> {
        let mut task_ids: Vec<String> = objects
            .iter()
            .filter_map(|object| keys::parse(&object.key).map(|(task_id, _)| task_id.to_owned()))
            .collect();
        task_ids.sort_unstable();
        task_ids.dedup();
        let recorded: HashMap<String, TaskRow> = rows::task_rows(&self.env.database, &task_ids).await?;
        let mut owners = HashMap::new();
        for task_id in task_ids {
            let owner = match recorded.get(&task_id) {
                Some(row) => Owner::Row(*row),
                None => Owner::Workflow(workflow::of_task(&self.env.client, &task_id).await?),
            };
            owners.insert(task_id, owner);
        }
        Ok(owners)
    }

    /// Records a task that lost its row from its workflow's history, and returns the example for
    /// the report. `None` says that the row is there after all.
    async fn lost(&self, task_id: &str, owner: &Owner) -> Result<Option<String>, Error> {
        let Owner::Workflow(workflow @ Workflow::Closed(_, End::Result(result))) = owner else {
            return Ok(None);
        };
        if database::tasks::find(&self.env.database, task_id).await?.is_some() {
            return Ok(None);
        }
        if !self.input.dry_run {
            self.restore(task_id, result).await?;
        }
        Ok(Some(format!("{task_id}: {}", judge::end_in_words(workflow))))
    }

    async fn restore(&self, task_id: &str, result: &GenerateImagesOutput) -> Result<(), Error> {
        let input = self.env.client.task(task_id).input().await;
        let input = input.map_err(|error| Error::Temporal { task_id: task_id.to_owned(), error })?;
        database::tasks::begin(&self.env.database, &input, result.images_planned, None).await?;
        database::tasks::finish(&self.env.database, result, None).await?;
        Ok(())
    }

    /// Returns whether bucket and database belong together, because at least one of a few image
    /// rows has its object. Otherwise nothing is deleted, because a wrong setting would empty
    /// somebody's bucket.
    async fn belong_together(&self) -> Result<bool, Error> {
        for key in rows::some_object_keys(&self.env.database).await? {
            if self.env.storage.size(&key).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Returns the prefix and the task of a key. The objects of a task follow each other.
fn folder(key: &str) -> Option<(&str, &str)> {
    let mut places = key.split('/');
    Some((places.next()?, places.next()?))
}
