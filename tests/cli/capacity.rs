//! Capacity goes to those who can use it: not to dead, cut-off or idle workers, nor to calls that nobody waits for any more.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Stdio;
use std::time::{Duration, Instant};

use paid_calls::limits::Change;
use sandbox::{ProviderFault, Proxy, Rule};
use temporalio_client::tonic::Code;
use tests::{GivenTask, Stack, TemporalProxy, a_task, on_this_machine};
use tokio::process::{Child, Command};

const DARKROOM: &str = env!("CARGO_BIN_EXE_darkroom");
/// The limit is back long before a call's timeout (180 s by default) is over.
const SOON: Duration = Duration::from_secs(20);

/// A stack whose calls take so long, under this limit, without a worker.
async fn stack(call_ms: u64, limit: u32) -> Stack {
    let stack = Stack::with().provider(|provider| provider.batch_ms = call_ms).without_worker().start().await;
    paid_calls::limits::set(&stack.database, "default", &Change::ceiling(limit)).await.unwrap();
    stack
}

/// A worker process with some settings of its own.
fn spawn(stack: &Stack, settings: &[(&str, &str)]) -> Child {
    Command::new(DARKROOM)
        .arg("worker")
        .envs(stack.environment())
        .envs(settings.iter().copied())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn the_calls_of_a_killed_worker_hold_the_limit_only_as_long_as_calls_take() {
    let stack = stack(4_000, 4).await;
    let given = a_task().plan("start");
    let mut doomed = spawn(&stack, &[]);
    let task = stack.begin(&given).await;
    let meter = stack.provider.meter();
    meter.wait_until(|meter| meter.in_flight == 4).await.unwrap();

    doomed.start_kill().unwrap();
    doomed.wait().await.unwrap();
    let killed = Instant::now();
    let made = meter.snapshot().calls.len();
    let _other = spawn(&stack, &[]);

    let next = meter.wait_until(|meter| meter.calls.len() > made);
    tokio::time::timeout(on_this_machine(SOON), next).await.expect("no call begins").unwrap();
    eprintln!("the next paid call came {:.1} s after the kill", killed.elapsed().as_secs_f64());
    stack.result(&task).await.unwrap();
    stack.outcome(&given).await;
}

#[tokio::test]
async fn calls_of_a_provider_that_stops_when_its_client_hangs_up_hold_nothing() {
    let stack = stack(50, 4).await;
    let stops = Change { orphan_ms: Some(Some(0)), ..Change::default() };
    paid_calls::limits::set(&stack.database, "default", &stops).await.unwrap();
    let given: Vec<GivenTask> = ["ann", "bob", "cyd", "dan"].map(|user| a_task().user(user)).into();
    let mut doomed = spawn(&stack, &[]);
    let meter = stack.provider.meter();
    stack.provider.hold();
    let tasks = futures::future::join_all(given.iter().map(|given| stack.begin(given))).await;
    meter.wait_until(|meter| meter.in_flight == 4).await.unwrap();

    doomed.kill().await.unwrap();
    let _other = spawn(&stack, &[]);

    // The stand-in works on, so that its meter shows who believed that it doesn't. What calls take, nobody knows yet.
    let next = meter.wait_until(|meter| meter.in_flight == 8);
    tokio::time::timeout(on_this_machine(2 * SOON), next).await.expect("no call begins").unwrap();
    stack.provider.release();
    for task in &tasks {
        stack.result(task).await.unwrap();
    }
}

#[tokio::test]
async fn a_page_of_a_gateway_holds_no_capacity_and_many_of_them_stop_the_key() {
    let stack = stack(50, 4).await;
    stack.provider.faults().add(Rule::new(ProviderFault::Html { status: 502 }).times(6));
    let given: Vec<GivenTask> = ["ann", "bob", "cyd", "dan"].map(|user| a_task().user(user)).into();
    let _worker = spawn(&stack, &[]);

    let tasks = futures::future::join_all(given.iter().map(|given| stack.begin(given))).await;

    stack.wait_for_row("SELECT failing >= 5 FROM provider_keys").await;
    let all = futures::future::join_all(tasks.iter().map(|task| stack.result(task)));
    for ended in tokio::time::timeout(on_this_machine(2 * SOON), all).await.expect("no call begins") {
        ended.unwrap();
    }
    assert_eq!(stack.outcome_of(&given[0]).await.images_billed, 4 * 3);
}

#[tokio::test]
async fn work_resumes_soon_after_an_outage_and_more_than_one_call_at_a_time() {
    let stack = stack(4_000, 8).await;
    stack
        .provider
        .faults()
        .add(Rule::new(ProviderFault::Status { status: 503, retry_after_s: None }).times(13));
    let given: Vec<GivenTask> = ["ann", "bob", "cyd", "dan"].map(|user| a_task().user(user)).into();
    let _worker = spawn(&stack, &[]);

    let tasks = futures::future::join_all(given.iter().map(|given| stack.begin(given))).await;
    for task in &tasks {
        stack.result(task).await.unwrap();
    }

    let meter = stack.provider.meter().snapshot();
    let (refused, taken): (Vec<_>, Vec<_>) = meter.calls.iter().partition(|call| call.status == Some(503));
    let tries = refused.iter().chain(taken.first()).map(|call| call.started_ms);
    let longest = tries.clone().zip(tries.skip(1)).map(|(one, next)| next.saturating_sub(one)).max();
    // A try every 5 s at most; were the waits to double on, it would be 16 s.
    assert!(
        longest.is_some_and(|ms| Duration::from_millis(ms) < on_this_machine(Duration::from_secs(10))),
        "{longest:?}"
    );
    let first_ends_ms = taken[0].started_ms + 4_000;
    assert!(taken[1].started_ms < first_ends_ms, "the second call waits for the end of the first: {meter}");
}

#[tokio::test]
async fn idle_workers_of_another_route_leave_the_limit_to_work() {
    let stack = stack(50, 12).await;
    let other = [
        ("DARKROOM_PROVIDER__ROUTE", "other"),
        ("DARKROOM_PROVIDER__KEY_NAME", "default"),
        // `prepare` gives a task the route of its worker.
        ("DARKROOM_WORKER__ROLES", "generate"),
    ];
    let _idle: Vec<Child> = (0..3).map(|_| spawn(&stack, &other)).collect();
    stack.wait_for_row("SELECT count(*) = 3 AND sum(granted) = 12 FROM leases").await;
    stack.provider.hold();
    let _busy = spawn(&stack, &[]);

    let tasks = [a_task().plan("pro").user("ann"), a_task().plan("pro").user("bob")];
    let begun = [stack.begin(&tasks[0]).await, stack.begin(&tasks[1]).await];
    stack.provider.meter().wait_until(|meter| meter.in_flight == 2).await.unwrap();
    stack.provider.release_one();
    stack.provider.release_one();

    // Each idle worker keeps one poll.
    stack.provider.meter().wait_until(|meter| meter.in_flight == 9).await.unwrap();
    // Of the one whose row was made first.
    let waits = why(&stack, &tasks[0]).await + &why(&stack, &tasks[1]).await;
    assert!(waits.contains("of the key's calls are kept by workers that wait for work"), "{waits}");
    stack.provider.release();
    for task in &begun {
        stack.result(task).await.unwrap();
    }
}

/// What `darkroom queue ID` says of a task.
async fn why(stack: &Stack, task: &GivenTask) -> String {
    let mut queue = Command::new(DARKROOM);
    queue.args(["queue", &task.0.task_id]).envs(stack.environment());
    String::from_utf8(queue.output().await.unwrap().stdout).unwrap()
}

#[tokio::test]
async fn a_worker_whose_task_queue_is_gone_leaves_the_limit_to_others() {
    let stack = stack(50, 5).await;
    let temporal = stack.environment().into_iter().find(|(name, _)| name == "TEMPORAL_ADDRESS").unwrap().1;
    let between = TemporalProxy::start(&temporal).await;
    let _worker = spawn(&stack, &[("TEMPORAL_ADDRESS", &between.address())]);
    stack.wait_for_row("SELECT count(*) = 1 AND sum(granted) = 5 FROM leases").await;

    between.refuse("DescribeTaskQueue", Code::NotFound, Duration::MAX);

    stack.wait_for_row("SELECT bool_or(cut_off) AND sum(granted) = 0 FROM leases").await;
    let mut workers = Command::new(DARKROOM);
    let shown = workers.arg("workers").envs(stack.environment()).output().await.unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("cut off"), "{shown}");
}

#[tokio::test]
async fn a_worker_that_is_cut_off_from_temporal_leaves_the_limit_to_work() {
    let stack = stack(50, 5).await;
    let temporal = stack.environment().into_iter().find(|(name, _)| name == "TEMPORAL_ADDRESS").unwrap().1;
    let link = Proxy::start(&temporal).await.unwrap();
    let address = link.address().to_string();
    let _cut_off = spawn(&stack, &[("TEMPORAL_ADDRESS", &address)]);
    stack.wait_for_row("SELECT count(*) = 1 AND sum(granted) = 5 FROM leases").await;
    link.stall();
    stack.wait_for_row("SELECT bool_or(cut_off) FROM leases").await;
    stack.provider.hold();
    let _healthy = spawn(&stack, &[]);

    let given = a_task().plan("start");
    let task = stack.begin(&given).await;
    stack.provider.meter().wait_until(|meter| meter.in_flight == 1).await.unwrap();
    stack.provider.release_one();

    stack.provider.meter().wait_until(|meter| meter.in_flight == 5).await.unwrap();
    stack.provider.release();
    stack.result(&task).await.unwrap();
    stack.outcome(&given).await;
}
