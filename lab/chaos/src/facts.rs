//! What there is, seen from outside: SQL, the bucket's listing, the provider's meter, Temporal.

use std::collections::BTreeMap;

use activities::storage::Storage;
use anyhow::{Context, Result};
use client::Client;
use database::DatabaseConnection;
use futures::{StreamExt, TryStreamExt};
use sandbox::Meter;
use sea_orm::{ConnectionTrait, Statement};
use sha2::{Digest, Sha256};
use workflows::keys;

/// Objects read at once.
const READS: usize = 8;
/// Nothing in a bucket of these runs is larger.
const MAX_OBJECT_BYTES: u64 = 1 << 30;

/// Where to look.
pub struct Witness<'a> {
    /// The database.
    pub database: &'a DatabaseConnection,
    /// The bucket.
    pub storage: &'a Storage,
    /// Temporal.
    pub client: &'a Client,
    /// What the provider says.
    pub meter: Meter,
    /// Every task that was started.
    pub tasks: &'a [String],
    /// What was done to the stack meanwhile, as far as it excuses anything.
    pub deeds: &'a Disruptions,
}

/// What was done to a stack on purpose, as far as it excuses what the invariants would not allow. Times are milliseconds since 1970.
#[derive(Debug, Clone, Default)]
pub struct Disruptions {
    /// From when until when a worker, or Temporal for it, was killed, paused or cut off: it may not have heard of a cancel.
    pub losses: Vec<(u64, u64)>,
    /// Tasks that were cancelled, and when.
    pub cancels: Vec<(String, u64)>,
}

/// A row of `tasks`.
#[derive(Debug, Clone, Default)]
pub(crate) struct TaskRow {
    pub(crate) state: String,
    pub(crate) images_planned: i32,
    /// Indexes of missing images.
    pub(crate) missing: Vec<i32>,
}

/// A row of `images`.
#[derive(Debug, Clone)]
pub(crate) struct ImageRow {
    pub(crate) task_id: String,
    pub(crate) index: i32,
    pub(crate) object_key: String,
    pub(crate) size_bytes: i64,
    pub(crate) sha256: String,
}

/// A row of `calls`. Times are milliseconds since 1970.
#[derive(Debug, Clone, Default)]
pub(crate) struct CallRow {
    pub(crate) task_id: String,
    pub(crate) name: String,
    pub(crate) state: String,
    /// Is it on record that it may have been paid for nothing?
    pub(crate) written_off: bool,
    pub(crate) images_asked: i32,
    pub(crate) images_billed: Option<i32>,
    pub(crate) request_id: Option<String>,
    pub(crate) begun_ms: i64,
    pub(crate) ended_ms: Option<i64>,
    /// How long the provider asked to wait.
    pub(crate) failure_kind: Option<String>,
    pub(crate) wait_ms: Option<i32>,
}

/// A key's limits from a moment on; none is no limit.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Limits {
    pub(crate) since_ms: u64,
    pub(crate) calls_at_once: Option<u64>,
    pub(crate) calls_per_minute: Option<u64>,
    pub(crate) images_per_minute: Option<u64>,
}

/// Everything the invariants speak of.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    pub(crate) tasks: BTreeMap<String, TaskRow>,
    pub(crate) images: Vec<ImageRow>,
    /// Objects that tasks wrote, with size; and the hash of those that rows speak of.
    pub(crate) objects: BTreeMap<String, (u64, Option<String>)>,
    /// Each task that was started: is its workflow closed?
    pub(crate) closed: BTreeMap<String, bool>,
    /// The ledger, in the order of its calls.
    pub(crate) calls: Vec<CallRow>,
    /// Every change of a key's limits, in order.
    pub(crate) limits: Vec<Limits>,
    pub(crate) meter: Meter,
    pub(crate) deeds: Disruptions,
}

impl Facts {
    pub(crate) async fn gather(witness: &Witness<'_>) -> Result<Facts> {
        let tasks = tasks(witness.database).await.context("the table tasks")?;
        let images = images(witness.database).await.context("the table images")?;
        let calls = calls(witness.database).await.context("the table calls")?;
        let limits = limits(witness.database).await.context("the table limit_changes")?;
        let mut objects = BTreeMap::new();
        for prefix in keys::OWN_PREFIXES {
            for (key, size) in witness.storage.list(prefix).await? {
                objects.insert(key, (size, None));
            }
        }
        let hashes: Vec<(String, String)> =
            futures::stream::iter(images.iter().map(|row| row.object_key.clone()))
                .filter(|key| std::future::ready(objects.contains_key(key)))
                .map(|key| async move {
                    let bytes = witness.storage.get(&key, MAX_OBJECT_BYTES).await?;
                    anyhow::Ok((key, hex(&Sha256::digest(&bytes))))
                })
                .buffer_unordered(READS)
                .try_collect()
                .await?;
        for (key, hash) in hashes {
            if let Some(object) = objects.get_mut(&key) {
                object.1 = Some(hash);
            }
        }
        let mut closed = BTreeMap::new();
        for task_id in witness.tasks {
            closed.insert(task_id.clone(), witness.client.task(task_id).is_closed().await?);
        }
        let (meter, deeds) = (witness.meter.clone(), witness.deeds.clone());
        Ok(Facts { tasks, images, objects, closed, calls, limits, meter, deeds })
    }
}

async fn tasks(db: &DatabaseConnection) -> Result<BTreeMap<String, TaskRow>> {
    let statement = "SELECT task_id, state, images_planned,
        ARRAY(SELECT (missing_image->>'index')::int FROM jsonb_array_elements(missing) AS missing_image) AS missing FROM tasks";
    let mut tasks = BTreeMap::new();
    for row in db.query_all_raw(Statement::from_string(db.get_database_backend(), statement)).await? {
        let task = TaskRow {
            state: row.try_get("", "state")?,
            images_planned: row.try_get("", "images_planned")?,
            missing: row.try_get("", "missing")?,
        };
        tasks.insert(row.try_get("", "task_id")?, task);
    }
    Ok(tasks)
}

async fn images(db: &DatabaseConnection) -> Result<Vec<ImageRow>> {
    let statement = "SELECT task_id, index, object_key, size_bytes, sha256 FROM images";
    let rows = db.query_all_raw(Statement::from_string(db.get_database_backend(), statement)).await?;
    let images = rows.iter().map(|row| {
        Ok(ImageRow {
            task_id: row.try_get("", "task_id")?,
            index: row.try_get("", "index")?,
            object_key: row.try_get("", "object_key")?,
            size_bytes: row.try_get("", "size_bytes")?,
            sha256: row.try_get("", "sha256")?,
        })
    });
    images.collect()
}

async fn calls(db: &DatabaseConnection) -> Result<Vec<CallRow>> {
    let statement = "SELECT task_id, name, state, written_off_at IS NOT NULL AS written_off, images_asked, images_billed, request_id, failure_kind, wait_ms,
        (extract(epoch FROM begun_at) * 1000)::bigint AS begun_ms, (extract(epoch FROM ended_at) * 1000)::bigint AS ended_ms
        FROM calls ORDER BY call_id";
    let rows = db.query_all_raw(Statement::from_string(db.get_database_backend(), statement)).await?;
    let calls = rows.iter().map(|row| {
        Ok(CallRow {
            task_id: row.try_get("", "task_id")?,
            name: row.try_get("", "name")?,
            state: row.try_get("", "state")?,
            written_off: row.try_get("", "written_off")?,
            images_asked: row.try_get("", "images_asked")?,
            images_billed: row.try_get("", "images_billed")?,
            request_id: row.try_get("", "request_id")?,
            begun_ms: row.try_get("", "begun_ms")?,
            ended_ms: row.try_get("", "ended_ms")?,
            failure_kind: row.try_get("", "failure_kind")?,
            wait_ms: row.try_get("", "wait_ms")?,
        })
    });
    calls.collect()
}

async fn limits(db: &DatabaseConnection) -> Result<Vec<Limits>> {
    let statement = "SELECT (extract(epoch FROM at) * 1000)::bigint AS at_ms, calls_at_once, calls_per_minute, images_per_minute
        FROM limit_changes ORDER BY at";
    let rows = db.query_all_raw(Statement::from_string(db.get_database_backend(), statement)).await?;
    let limits = rows.iter().map(|row| {
        let limit = |column| {
            Ok::<_, sea_orm::DbErr>(row.try_get::<Option<i32>>("", column)?.map(|limit| limit as u64))
        };
        Ok(Limits {
            since_ms: row.try_get::<i64>("", "at_ms")? as u64,
            calls_at_once: limit("calls_at_once")?,
            calls_per_minute: limit("calls_per_minute")?,
            images_per_minute: limit("images_per_minute")?,
        })
    });
    limits.collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
