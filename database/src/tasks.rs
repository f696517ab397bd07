//! Entity of the table `tasks`, and the queries of a task's life, which are `begin`, `find` and
//! `finish`.

use sea_orm::entity::prelude::*;
use sea_orm::{ConnectionTrait, QueryOrder, Statement};
use time::OffsetDateTime;
use workflows::failure::FailureKind;
use workflows::options::EXECUTION_TIMEOUT;
use workflows::types::{
    GenerateImagesInput, GenerateImagesOutput, Lane, MissingImage, StoredImage, TaskFailure, TaskState,
};

use crate::{Error, images};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "tasks")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) task_id: String,
    pub(crate) user_id: String,
    pub(crate) plan: String,
    pub(crate) input: Json,
    pub(crate) images_planned: i32,
    pub(crate) state: String,
    pub(crate) missing: Json,
    pub(crate) failure_kind: Option<String>,
    pub(crate) failure_message: Option<String>,
    pub(crate) created_at: TimeDateTimeWithTimeZone,
    pub(crate) finished_at: Option<TimeDateTimeWithTimeZone>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Task as its rows record it.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// Input that the task was started with.
    pub input: GenerateImagesInput,
    /// Result so far, without images while the task runs.
    pub output: GenerateImagesOutput,
    /// Failure of a task whose state is `failed`.
    pub failure: Option<TaskFailure>,
    /// Time at which the row was made.
    pub created_at: OffsetDateTime,
    /// Time at which the task ended.
    pub finished_at: Option<OffsetDateTime>,
}

/// Lanes between which `begin_task` decides.
#[derive(Debug, Clone)]
pub struct Lanes {
    /// Lane of the task's plan.
    pub plan: Lane,
    /// Number of running tasks of one user that stand in the plan's lane.
    pub tasks_in_plan: u32,
    /// Lane of the task's user, for further tasks.
    pub user: Lane,
}

/// Gives the task its row, and returns its lane. A second call finds the same row and lane, and
/// updates the number of planned images. A row of a task that has ended is left alone. A task has
/// no lane without `lanes`, or if its row was made without a lane.
pub async fn begin(
    db: &DatabaseConnection,
    input: &GenerateImagesInput,
    images_planned: u32,
    lanes: Option<&Lanes>,
) -> Result<Option<Lane>, Error> {
    let row = serde_json::json!({
        "task_id": input.task_id,
        "user_id": input.user_id,
        "plan": input.plan,
        "input": input,
        "images_planned": images_planned,
        "lane": lanes.map(|lanes| &lanes.plan.key),
        "lane_weight": lanes.map(|lanes| lanes.plan.weight),
    });
    let begun = Statement::from_sql_and_values(
        db.get_database_backend(),
        "SELECT lane, lane_weight
           FROM begin_task(jsonb_populate_record(NULL::tasks, $1), $2, $3, $4, make_interval(secs => $5))",
        [
            row.into(),
            lanes.map(|lanes| lanes.user.key.clone()).into(),
            lanes.map(|lanes| lanes.user.weight).into(),
            lanes.map(|lanes| lanes.tasks_in_plan as i32).into(),
            EXECUTION_TIMEOUT.as_secs_f64().into(),
        ],
    );
    let begun = crate::one(db, begun).await?;
    let (key, weight): (Option<String>, Option<f32>) =
        (begun.try_get("", "lane")?, begun.try_get("", "lane_weight")?);
    Ok(key.zip(weight).map(|(key, weight)| Lane { key, weight }))
}

/// Returns the task of that id, with its images in the order of their index.
pub async fn find(db: &DatabaseConnection, task_id: &str) -> Result<Option<Task>, Error> {
    let Some(row) = Entity::find_by_id(task_id).one(db).await? else { return Ok(None) };
    let images: Vec<StoredImage> = images::Entity::find()
        .filter(images::Column::TaskId.eq(task_id))
        .order_by_asc(images::Column::Index)
        .all(db)
        .await?
        .into_iter()
        .map(StoredImage::from)
        .collect();
    let unreadable = |what: &str| Error::Unreadable(format!("tasks.{what} of task {task_id}"));
    let missing: Vec<MissingImage> =
        serde_json::from_value(row.missing).map_err(|error| unreadable(&format!("missing: {error}")))?;
    let failure = row.failure_kind.map(|kind| TaskFailure {
        kind: FailureKind::parse(&kind).unwrap_or(FailureKind::Internal),
        message: row.failure_message.unwrap_or_default(),
    });
    Ok(Some(Task {
        input: serde_json::from_value(row.input).map_err(|error| unreadable(&format!("input: {error}")))?,
        output: GenerateImagesOutput {
            task_id: row.task_id,
            state: TaskState::parse(&row.state)
                .ok_or_else(|| unreadable(&format!("state: {}", row.state)))?,
            images_planned: row.images_planned as u32,
            images,
            missing,
        },
        failure,
        created_at: row.created_at,
        finished_at: row.finished_at,
    }))
}

/// Records how the task ended, with all its image rows and its final state, in one statement. A
/// transaction of two statements could be paused between them, and would lock the row for
/// everybody. The same statement empties the results of the task's calls, because the row answers
/// from now on.
///
/// Returns false if there was nothing to record, because the task has no row, or its state is final
/// already.
pub async fn finish(
    db: &DatabaseConnection,
    output: &GenerateImagesOutput,
    failure: Option<&TaskFailure>,
) -> Result<bool, Error> {
    fn column<T>(images: &[StoredImage], value: impl Fn(&StoredImage) -> T) -> sea_orm::Value
    where
        Vec<T>: Into<sea_orm::Value>,
    {
        images.iter().map(value).collect::<Vec<T>>().into()
    }
    let images = &output.images;
    // Each column is one bound array, so the number of rows has no limit.
    let finished = Statement::from_sql_and_values(
        db.get_database_backend(),
        "WITH ended AS (
             UPDATE tasks
                SET state = $2, missing = $3, failure_kind = $4, failure_message = $5, finished_at = now(), images_planned = $14
              WHERE task_id = $1 AND state = 'running'
          RETURNING task_id, forget_results(task_id)
         ), inserted AS (
             INSERT INTO images (task_id, index, prompt_index, object_key, size_bytes, content_type, width, height, sha256)
             SELECT ended.task_id, image.* FROM ended,
                    UNNEST($6::int[], $7::int[], $8::text[], $9::bigint[], $10::text[], $11::int[], $12::int[], $13::text[]) AS image
         )
         SELECT count(*) > 0 AS ended FROM ended",
        [
            output.task_id.clone().into(),
            output.state.as_str().into(),
            json(&output.missing)?.into(),
            failure.map(|failure| failure.kind.as_str()).into(),
            failure.map(|failure| failure.message.clone()).into(),
            column(images, |image| image.index as i32),
            column(images, |image| image.prompt_index as i32),
            column(images, |image| image.object.object_key.clone()),
            column(images, |image| image.object.size_bytes as i64),
            column(images, |image| image.object.content_type.clone()),
            column(images, |image| image.object.width as i32),
            column(images, |image| image.object.height as i32),
            column(images, |image| image.object.sha256.clone()),
            // The cancelled workflow may never have heard of a `prepare` that planned images
            // meanwhile.
            (output.images_planned as i32).into(),
        ],
    );
    Ok(crate::one(db, finished).await?.try_get("", "ended")?)
}

/// Returns the object keys of the image rows of a task that has ended; none while the task runs, or
/// if it has no row.
pub async fn recorded(db: &DatabaseConnection, task_id: &str) -> Result<Option<Vec<String>>, Error> {
    let statement = Statement::from_sql_and_values(
        db.get_database_backend(),
        "SELECT ARRAY(SELECT object_key FROM images WHERE images.task_id = tasks.task_id) AS keys
           FROM tasks WHERE task_id = $1 AND state <> 'running'",
        [task_id.into()],
    );
    let row = db.query_one_raw(statement).await?;
    Ok(row.map(|row| row.try_get("", "keys")).transpose()?)
}

fn json(value: &impl serde::Serialize) -> Result<Json, Error> {
    serde_json::to_value(value).map_err(|error| Error::Unreadable(error.to_string()))
}
