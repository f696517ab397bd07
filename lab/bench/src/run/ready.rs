//! Whether the workers take work: Temporal knows who polls.

use std::time::Duration;

use anyhow::{Result, bail};
use temporalio_client::NamespacedClient;
use temporalio_client::tonic::IntoRequest;
use temporalio_common::protos::temporal::api::enums::v1::TaskQueueType;
use temporalio_common::protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_common::protos::temporal::api::workflowservice::v1::DescribeTaskQueueRequest;
use tokio::time::{Instant, sleep};
use workflows::task_queue;

use crate::workers::Workers;

const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until every worker polls every queue; but with a limit over all of them, paid calls may be anybody's: workers that have nothing to
/// do leave it with those that came first.
pub(super) async fn wait(
    temporal: &temporalio_client::Client,
    workers: &mut Workers,
    route: &str,
    limited: bool,
) -> Result<()> {
    let began = Instant::now();
    let queues = [
        (task_queue::TASKS.to_owned(), TaskQueueType::Workflow, true),
        (task_queue::TASKS.to_owned(), TaskQueueType::Activity, true),
        (task_queue::generate(route), TaskQueueType::Activity, !limited),
        (task_queue::TRANSFER.to_owned(), TaskQueueType::Activity, true),
    ];
    for (queue, kind, all) in queues {
        loop {
            workers.sample()?;
            let pollers = pollers(temporal, &queue, kind).await?;
            let polls = |pid: &u32| pollers.iter().any(|identity| identity.ends_with(&format!("@{pid}")));
            let pids = workers.pids();
            if if all { pids.iter().all(polls) } else { pids.iter().any(polls) } {
                break;
            }
            if began.elapsed() > PATIENCE {
                bail!("the workers don't poll queue {queue} after {} s", PATIENCE.as_secs());
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

/// Who polls it: identities end with `@` and the process's id.
async fn pollers(
    temporal: &temporalio_client::Client,
    queue: &str,
    kind: TaskQueueType,
) -> Result<Vec<String>> {
    let request = DescribeTaskQueueRequest {
        namespace: temporal.namespace(),
        task_queue: Some(TaskQueue { name: queue.to_owned(), ..TaskQueue::default() }),
        task_queue_type: kind.into(),
        ..DescribeTaskQueueRequest::default()
    };
    let mut service = temporal.connection().workflow_service();
    let described = service.describe_task_queue(request.into_request()).await?.into_inner();
    Ok(described.pollers.into_iter().map(|poller| poller.identity).collect())
}
