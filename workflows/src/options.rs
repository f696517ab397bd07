//! Per activity: timeouts, retry policy, heartbeat, queue, priority. Chosen from what the activity waits for.

use std::time::Duration;

use temporalio_common::{ActivityCloseTimeouts, Priority, RetryPolicy};
use temporalio_workflow::{ActivityCancellationType, ActivityOptions, WorkflowCancellationToken};

use crate::task_queue;
use crate::types::{Lane, Prepared};

/// How long a task may take in all, waiting included. What isn't made by then is recorded as missing.
pub const TASK_DEADLINE: Duration = Duration::from_secs(23 * 3600);
/// Execution timeout every start should carry. Beyond the deadline, so that a task still records what it has.
pub const EXECUTION_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// Workflow task timeout every start should carry: a workflow task takes milliseconds, and one that was given to a paused machine
/// is given to another after this long. By default that takes 10 s.
pub const WORKFLOW_TASK_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest a provider call may be configured to take. `paid_call` leaves time around it.
pub const MAX_PROVIDER_CALL: Duration = Duration::from_secs(300);

/// Heartbeat timeout: a worker's death is noticed 1 to 3 s after it, on a server as it comes. A paid call that is repeated while it runs on
/// joins the one that runs.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(2);
/// First backoff of what talks to somebody else's server; it doubles, up to `LONGEST_BACKOFF`. Short, since after a worker's death
/// it is waited for in vain.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// How long `generate` keeps trying to put paid bytes into the store.
pub const STAGING_PATIENCE: Duration = Duration::from_secs(90);

/// Temporal's priorities go from 1, which is served first, to 5. All that a task begins with has the middle one.
const REGULAR: u32 = 3;
/// The priority of what goes on with work that has begun: it never waits for what has not.
const CONTINUED: u32 = 2;
/// The one fairness key of all transfers: they are served in the order in which their calls were answered.
const TRANSFERS: &str = "transfer";

/// The place of a paid call: in its task's lane. A further call for images that an earlier one did not bring goes before all lanes: at the end of
/// its lane it would wait a second time for all that came after its task.
fn in_lane(lane: &Lane, part: u32) -> Priority {
    place(if part == 1 { REGULAR } else { CONTINUED }, &lane.key, lane.weight)
}

/// The place of a step of its own task: users take turns, so that a flood of starts delays nobody else's.
fn in_turn(priority_key: u32, user_id: &str) -> Priority {
    place(priority_key, user_id, 1.0)
}

/// Each field is named: one that is left out would be the workflow's, which its starter has chosen.
fn place(priority_key: u32, fairness_key: &str, fairness_weight: f32) -> Priority {
    Priority::builder()
        .priority_key(priority_key)
        .fairness_key(fairness_key.to_owned())
        .fairness_weight(fairness_weight)
        .build()
}

/// Waits for the photo's host, the store and the database: a download of 30 s at most, so 60 s an attempt. Tried again until
/// the deadline: what can't get better fails without a retry.
pub(crate) fn prepare(
    remaining: Duration,
    user_id: &str,
    cancellable: &WorkflowCancellationToken,
) -> ActivityOptions {
    let mut options = within(remaining, Duration::from_secs(60));
    options.activity_id = Some("prepare".into());
    options.summary = Some("prepare · check the input, fetch the photo".into());
    options.priority = Some(in_turn(REGULAR, user_id));
    options.heartbeat_timeout = Some(HEARTBEAT_TIMEOUT);
    options.cancellation_token = Some(cancellable.clone());
    options.cancellation_type = ActivityCancellationType::WaitCancellationCompleted;
    options.retry_policy = Some(retry(FIRST_BACKOFF, LONGEST_BACKOFF));
    options
}

/// Waits for the provider, up to 300 s by configuration, then for the store to take what came along; the rest is reading the
/// reference, and a last put.
///
/// A killed worker costs 2 to 3.5 s with the first backoff. A stall of Temporal costs no second payment: attempts join running calls.
/// Cancellation waits for the call, which is paid for. Tried again until the deadline: an outage of an hour is waited out.
pub(crate) fn paid_call(
    remaining: Duration,
    prepared: &Prepared,
    part: u32,
    cancellable: &WorkflowCancellationToken,
    id: String,
    summary: String,
) -> ActivityOptions {
    let mut options = within(remaining, MAX_PROVIDER_CALL + STAGING_PATIENCE + Duration::from_secs(90));
    options.activity_id = Some(id);
    options.summary = Some(summary);
    options.task_queue = Some(task_queue::generate(&prepared.route));
    options.priority = Some(in_lane(&prepared.lane, part));
    options.heartbeat_timeout = Some(HEARTBEAT_TIMEOUT);
    options.cancellation_token = Some(cancellable.clone());
    options.cancellation_type = ActivityCancellationType::WaitCancellationCompleted;
    options.retry_policy = Some(retry(FIRST_BACKOFF, LONGEST_BACKOFF));
    options
}

/// Waits for a few downloads and uploads. May be repeated freely, so it is noticed quickly when its worker has died.
/// A cancel does not reach it: what is generated is paid for, and is kept.
///
/// Oldest first, whatever the plan: the URLs that were given first expire first.
pub(crate) fn transfer(
    remaining: Duration,
    detached: &WorkflowCancellationToken,
    id: String,
    summary: String,
) -> ActivityOptions {
    let mut options = within(remaining, Duration::from_secs(300));
    options.activity_id = Some(id);
    options.summary = Some(summary);
    options.task_queue = Some(task_queue::TRANSFER.into());
    options.priority = Some(place(REGULAR, TRANSFERS, 1.0));
    options.heartbeat_timeout = Some(HEARTBEAT_TIMEOUT);
    options.cancellation_token = Some(detached.clone());
    options.retry_policy = Some(retry(Duration::from_millis(250), Duration::from_secs(15)));
    options
}

/// Waits for the database and the store's clean-up. Neither a cancel nor the deadline reaches it: the task's end is
/// recorded, however late. What ends goes before what begins.
pub(crate) fn insert(
    user_id: &str,
    detached: &WorkflowCancellationToken,
    summary: String,
) -> ActivityOptions {
    let mut options = ActivityOptions::start_to_close_timeout(Duration::from_secs(30));
    options.heartbeat_timeout = Some(HEARTBEAT_TIMEOUT);
    options.activity_id = Some("insert".into());
    options.summary = Some(summary);
    options.priority = Some(in_turn(CONTINUED, user_id));
    options.cancellation_token = Some(detached.clone());
    options.retry_policy = Some(retry(Duration::from_millis(250), Duration::from_secs(15)));
    options
}

/// Waits for the store's listings, the database and Temporal, for as long as a large bucket takes. An attempt goes on where
/// the last one was. Every run ends within a day.
pub(crate) fn reconcile(cancellable: &WorkflowCancellationToken) -> ActivityOptions {
    let day = Duration::from_secs(24 * 3600);
    let timeouts =
        ActivityCloseTimeouts::ScheduleAndStartToClose { schedule_to_close: day, start_to_close: day };
    let mut options = ActivityOptions::with_close_timeouts(timeouts).build();
    options.heartbeat_timeout = Some(Duration::from_secs(10));
    options.activity_id = Some("reconcile".into());
    options.summary = Some("reconcile · rows, objects, calls, workflows".into());
    options.cancellation_token = Some(cancellable.clone());
    options.retry_policy = Some(retry(FIRST_BACKOFF, LONGEST_BACKOFF));
    options
}

/// `attempt` for each attempt, and for all of them `remaining`, the time until the task's deadline.
fn within(remaining: Duration, attempt: Duration) -> ActivityOptions {
    let schedule_to_close = remaining.max(Duration::from_secs(1));
    let start_to_close = attempt.min(schedule_to_close);
    let timeouts = ActivityCloseTimeouts::ScheduleAndStartToClose { schedule_to_close, start_to_close };
    ActivityOptions::with_close_timeouts(timeouts).build()
}

/// Doubling from `first` to `most`, without a limit of attempts: activities say themselves what isn't worth another.
fn retry(first: Duration, most: Duration) -> RetryPolicy {
    RetryPolicy::builder().initial_interval(first).maximum_interval(most).build()
}
