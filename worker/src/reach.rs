//! Watches whether this worker can reach Temporal. A worker that can't gets no work, and must not
//! keep a share of the provider key from the others.

use std::convert::Infallible;
use std::time::Duration;

use paid_calls::PaidCalls;
use temporalio_client::NamespacedClient;
use temporalio_client::tonic::{Code, Request, Status};
use temporalio_common::protos::temporal::api::enums::v1::TaskQueueType;
use temporalio_common::protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_common::protos::temporal::api::workflowservice::v1::DescribeTaskQueueRequest;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// Time between two questions for a sign of life.
const ASKED_EVERY: Duration = Duration::from_secs(1);
/// Longest time that an answer may take.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// Time without a sign of life after which the worker is cut off, as long as a lease.
const CUT_OFF_AFTER: Duration = paid_calls::TTL;

/// Returns whether an answer comes from the service that hands out the queue's work. No answer does
/// if the namespace is gone, or that service is down. A refusal to describe the queue is a sign of
/// life, because it says nothing about polls.
fn is_sign_of_life(error: Option<&Status>) -> bool {
    let of_this_request_alone = [Code::PermissionDenied, Code::Unimplemented, Code::ResourceExhausted];
    error.is_none_or(|status| of_this_request_alone.contains(&status.code()))
}

/// Tells the paid calls when the task queue can't be reached, and when it can again. The future
/// watches for as long as it is polled.
pub(crate) async fn watch(
    client: &temporalio_client::Client,
    task_queue: &str,
    paid_calls: &PaidCalls,
) -> Infallible {
    let mut seen_at = Instant::now();
    let mut cut_off = false;
    let mut ticks = interval(ASKED_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut service = client.connection().workflow_service();
        let request = DescribeTaskQueueRequest {
            namespace: client.namespace(),
            task_queue: Some(TaskQueue { name: task_queue.to_owned(), ..TaskQueue::default() }),
            task_queue_type: TaskQueueType::Activity.into(),
            ..DescribeTaskQueueRequest::default()
        };
        let answer = timeout(ANSWERS_WITHIN, service.describe_task_queue(Request::new(request))).await;
        if answer.is_ok_and(|answer| is_sign_of_life(answer.as_ref().err())) {
            seen_at = Instant::now();
        }
        let is_cut_off = seen_at.elapsed() > CUT_OFF_AFTER;
        if is_cut_off != cut_off {
            cut_off = is_cut_off;
            paid_calls.set_cut_off(cut_off);
            if cut_off {
                tracing::warn!(
                    "Temporal can't be reached: this worker gives its share of the provider key back"
                );
            } else {
                tracing::info!("Temporal can be reached again");
            }
        }
    }
}
