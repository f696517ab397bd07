//! Looks up a task's workflow in Temporal.

use std::time::{Duration, SystemTime};

use client::Client;

use super::Error;
use super::judge::{End, Workflow};

/// Time to wait for the result of a closed workflow. A closed workflow has its result immediately.
/// A workflow that was started again in this moment has none yet.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn of_task(client: &Client, task_id: &str) -> Result<Workflow, Error> {
    let task = client.task(task_id);
    let failed = |error| Error::Temporal { task_id: task_id.to_owned(), error };
    let closed_at = match task.closed_at().await {
        Ok(Some(closed_at)) => closed_at,
        Ok(None) => return Ok(Workflow::Open),
        Err(client::Error::NotFound { .. }) => return Ok(Workflow::Unknown),
        Err(error) => return Err(failed(error)),
    };
    // Temporal's clock may be ahead of ours, and the difference is zero then.
    let since = SystemTime::now().duration_since(closed_at).unwrap_or_default();
    let Ok(result) = tokio::time::timeout(PATIENCE, task.result()).await else { return Ok(Workflow::Open) };
    let end = match result {
        Ok(output) => End::Result(output),
        Err(client::Error::Failed { failure, .. }) => End::Failed(failure),
        Err(client::Error::CancelledEarly { .. }) => End::Cancelled,
        Err(client::Error::Ended { how, .. }) => End::FromOutside(how),
        Err(client::Error::NotFound { .. }) => return Ok(Workflow::Unknown),
        Err(error) => return Err(failed(error)),
    };
    Ok(Workflow::Closed(since, end))
}
