//! Options of each activity, that is timeouts, retry policy, heartbeat, queue and priority. Each
//! value is chosen from what the activity waits for.

use std::time::Duration;

use temporalio_common::{ActivityCloseTimeouts, Priority, RetryPolicy};
use temporalio_workflow::{ActivityCancellationType, ActivityOptions, WorkflowCancellationToken};

use crate::task_queue;
use crate::types::{Lane, Prepared};

/// Time that a task may take in all, waiting included. Images that are not made by then are
/// recorded as missing.
pub const TASK_DEADLINE: Duration = Duration::from_secs(23 * 3600);
/// Execution timeout that every start should set. The hour beyond the deadline lets a task record
/// the images that it has.
pub const EXECUTION_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// Workflow task timeout that every start should set, instead of the default of 10 s. A workflow
/// task takes milliseconds. After this time Temporal takes a workflow task away from a paused
/// machine and hands it to another.
pub const WORKFLOW_TASK_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest provider call that can be configured. `paid_call` adds time around the call.
pub const MAX_PROVIDER_CALL: Duration = Duration::from_secs(300);

/// Heartbeat timeout. Temporal notices a death 1 to 3 s after it, because the last heartbeat is up
/// to 1 s old and the server's timer up to 1 s late. The timeout may be short, because a false
/// alarm costs nothing. The second attempt joins the call that a living worker makes.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(2);
/// First backoff of activities that wait for other systems. Each backoff is twice as long as the
/// one before, up to `LONGEST_BACKOFF`. The first one is short, because after a worker's death
/// nothing has to recover.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// Time for which `beautify` and `generate` keep trying to put paid bytes into the store.
pub const STAGING_PATIENCE: Duration = Duration::from_secs(90);

/// Priority of `prepare`, of first calls and of transfers, the middle one of Temporal's five.
/// Priority 1 is served first.
const REGULAR: u32 = 3;
/// Priority of further calls and of `insert`.
const CONTINUED: u32 = 2;
/// The one fairness key of all transfers, which are therefore served in the order in which they
/// were scheduled.
const TRANSFERS: &str = "transfer";

/// Places a paid call in its task's lane.
///
/// A further call for images that an earlier one did not bring goes before all lanes. At the end of
/// its lane it would wait a second time for all tasks that came later.
fn in_lane(lane: &Lane, call_number: u32) -> Priority {
    place(if call_number == 1 { REGULAR } else { CONTINUED }, &lane.key, lane.weight)
}

/// Places a step so that users take turns. So a flood of one user's starts delays nobody else's.
fn in_turn(priority_key: u32, user_id: &str) -> Priority {
    place(priority_key, user_id, 1.0)
}

/// Builds a priority with all three fields, because Temporal fills a missing field from the
/// workflow's own priority. The starter of the workflow could choose that priority.
fn place(priority_key: u32, fairness_key: &str, fairness_weight: f32) -> Priority {
    Priority::builder()
        .priority_key(priority_key)
        .fairness_key(fairness_key.to_owned())
        .fairness_weight(fairness_weight)
        .build()
}

/// Returns the options of `prepare`, which waits for the photo's host, the store and the database.
///
/// A download takes at most 30 s by default, so an attempt has 60 s. Temporal retries until the
/// task's deadline. The activity itself ends the retries of a failure that can't get better.
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

/// Returns the options of `beautify` and `generate`, which wait for the provider.
///
/// An attempt has 300 s for the provider, 90 s for the store, and 90 s for the rest. The longest
/// configurable call takes 300 s. The store must take the bytes of the answer. The rest is reading
/// the reference and a last put.
///
/// A killed worker costs 1.5 to 3.5 s, the first backoff included. A stall of Temporal costs no
/// second payment, because later attempts join running calls. A cancel waits for the call, which is
/// paid for. Temporal retries until the deadline, so an outage of an hour is waited out.
pub(crate) fn paid_call(
    remaining: Duration,
    prepared: &Prepared,
    call_number: u32,
    cancellable: &WorkflowCancellationToken,
    id: String,
    summary: String,
) -> ActivityOptions {
    let mut options = within(remaining, MAX_PROVIDER_CALL + STAGING_PATIENCE + Duration::from_secs(90));
    options.activity_id = Some(id);
    options.summary = Some(summary);
    options.task_queue = Some(task_queue::generate(&prepared.route));
    options.priority = Some(in_lane(&prepared.lane, call_number));
    options.heartbeat_timeout = Some(HEARTBEAT_TIMEOUT);
    options.cancellation_token = Some(cancellable.clone());
    options.cancellation_type = ActivityCancellationType::WaitCancellationCompleted;
    options.retry_policy = Some(retry(FIRST_BACKOFF, LONGEST_BACKOFF));
    options
}

/// Returns the options of `transfer`, which waits for a few downloads and uploads.
///
/// A transfer may be repeated freely. A cancel does not reach the transfer, because generated
/// images are paid for and kept. The oldest transfer goes first, whatever the plan, because the
/// oldest URLs expire first.
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

/// Returns the options of `insert`, which waits for the database and the store's clean-up.
///
/// Neither a cancel nor the task's deadline ends the attempts. Only the workflow's execution
/// timeout does. `insert` goes before every `prepare`, because work that ends goes before work that
/// begins.
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

/// Returns the options of `reconcile`, which waits for the store's listings, the database and
/// Temporal.
///
/// A large bucket may take hours, and all attempts of a run together have a day. An attempt goes on
/// where the last one stopped.
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

/// Gives each attempt the time `attempt`, and all attempts together the time `remaining`.
/// `remaining` is the time until the task's deadline.
fn within(remaining: Duration, attempt: Duration) -> ActivityOptions {
    let schedule_to_close = remaining.max(Duration::from_secs(1));
    let start_to_close = attempt.min(schedule_to_close);
    let timeouts = ActivityCloseTimeouts::ScheduleAndStartToClose { schedule_to_close, start_to_close };
    ActivityOptions::with_close_timeouts(timeouts).build()
}

/// Returns a retry policy whose backoff doubles from `first` to `most`, without a limit of
/// attempts. Activities say themselves which failures are not worth another attempt.
fn retry(first: Duration, most: Duration) -> RetryPolicy {
    RetryPolicy::builder().initial_interval(first).maximum_interval(most).build()
}
