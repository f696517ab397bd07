//! Reconcile compares rows, objects, calls and workflows page by page. `judge.rs` decides, and the
//! other files read and repair.

mod calls;
mod judge;
mod objects;
mod tasks;
#[cfg(test)]
mod tests;
mod workflow;

use std::time::Duration;

use client::Client;
use database::DatabaseConnection;
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use workflows::failure::FailureKind;
use workflows::keys::OWN_PREFIXES;
use workflows::reconcile::{ReconcileInput, ReconcileOutput, ReconcileProgress, Step};

use crate::TaskSteps;
use workflows::failure::Retry;

use crate::failure::Failure;
use crate::heartbeat::Checkpoint;
use crate::storage::{self, Storage};

/// Number of rows that one query reads, and of objects that one listing has. S3 lists no more.
const PAGE: u64 = 1_000;

/// Holds all that `reconcile` may touch. Nothing here can make a paid call.
pub struct Reconciler {
    database: DatabaseConnection,
    storage: Storage,
    client: Client,
    page: u64,
}

/// A part of the system that could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database could not be asked.
    #[error(transparent)]
    Database(#[from] database::Error),
    /// The object store could not be asked.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// Temporal could not be asked, or this version can't read its answer.
    #[error("the workflow of task `{task_id}`: {error}")]
    Temporal {
        /// Id of the workflow's task.
        task_id: String,
        /// Error of Darkroom's client.
        error: client::Error,
    },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Database(error) => error.into(),
            Error::Storage(error) => error.into(),
            Error::Temporal { .. } => Self::new(FailureKind::Internal, Retry::Backoff, error.to_string()),
        }
    }
}

/// Runs the activity `reconcile`.
///
/// After a return, everything was compared once, and repaired where that is safe. A failed attempt
/// may have made some of the repairs, and the next one goes on from the last heartbeat. A second
/// run finds nothing to repair, unless more has gone wrong meanwhile. A dry run repairs nothing.
pub(crate) async fn reconcile(
    env: &TaskSteps,
    ctx: &ActivityContext,
    input: ReconcileInput,
) -> Result<ReconcileOutput, ActivityError> {
    let (database, storage) = (env.database.clone(), env.storage.clone());
    let reconciler = Reconciler::new(database, storage, Client::over(ctx.client()));
    let progress = Checkpoint::resume(ctx);
    let work = async { Ok::<_, Failure>(reconciler.go_on(&input, &progress).await?) };
    let output = tokio::select! {
        output = progress.beat(ctx, work) => output.map_err(|failure| failure.logged(ctx.info()))?,
        () = ctx.cancelled() => return Err(ActivityError::cancelled()),
    };
    for found in &output.found {
        let (finding, repair, count, examples) = (found.finding, found.repair, found.count, &found.examples);
        tracing::warn!(?finding, ?repair, count, ?examples, dry_run = output.dry_run, "reconcile");
    }
    Ok(output)
}

impl Reconciler {
    /// Returns a reconciler of a database, a bucket and a namespace that belong together.
    pub fn new(database: DatabaseConnection, storage: Storage, client: Client) -> Self {
        Self { database, storage, client, page: PAGE }
    }

    /// Sets the number of rows that one query reads, and of objects that one listing has.
    pub fn with_pages_of(self, page: u64) -> Self {
        Self { page, ..self }
    }

    /// Compares everything once, and makes the repairs that are safe unless it is a dry run.
    pub async fn run(&self, input: &ReconcileInput) -> Result<ReconcileOutput, Error> {
        self.go_on(input, &Checkpoint::default()).await
    }

    /// Goes on from the progress so far. A page whose progress was lost is compared again. The
    /// repairs of that page are made already, and are not counted.
    async fn go_on(
        &self,
        input: &ReconcileInput,
        progress: &Checkpoint<ReconcileProgress>,
    ) -> Result<ReconcileOutput, Error> {
        let run = Run { env: self, input, min_age: Duration::from_secs(input.min_age_s) };
        loop {
            let ReconcileProgress { step, after, mut output } = progress.get();
            output.dry_run = input.dry_run;
            let next = match step {
                Step::Tasks => run.tasks(&after, &mut output).await?,
                Step::Calls => run.calls(&after, &mut output).await?,
                Step::Results => run.results(&after, &mut output).await?,
                Step::Objects => run.objects(OWN_PREFIXES[0], &after, &mut output).await?,
                Step::Staged => run.objects(OWN_PREFIXES[1], &after, &mut output).await?,
                Step::Done => return Ok(output),
            };
            let (step, after) = next.map_or((following(step), String::new()), |after| (step, after));
            progress.change(|progress| *progress = ReconcileProgress { step, after, output });
        }
    }
}

fn following(step: Step) -> Step {
    match step {
        Step::Tasks => Step::Calls,
        Step::Calls => Step::Results,
        Step::Results => Step::Objects,
        Step::Objects => Step::Staged,
        Step::Staged | Step::Done => Step::Done,
    }
}

/// One run over all steps. Each step takes the place after which its page begins, and returns the
/// place of the next page, if there is one.
struct Run<'a> {
    env: &'a Reconciler,
    input: &'a ReconcileInput,
    min_age: Duration,
}
