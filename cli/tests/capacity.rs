//! Capacity goes to those who can use it: not to dead, cut-off or idle workers, nor to calls that nobody waits for any more.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Stdio;
use std::time::{Duration, Instant};

use sandbox::{Fault, Proxy, Rule};
use serde_json::json;
use tests::{Stack, a_task};
use tokio::process::{Child, Command};

const DARKROOM: &str = env!("CARGO_BIN_EXE_darkroom");
/// The limit is back long before a call's timeout (180 s by default) is over.
const SOON: Duration = Duration::from_secs(90);

/// A stack whose calls take so long, under this limit, without a worker.
async fn stack(call_ms: u64, limit: u32) -> Stack {
    let stack = Stack::with().provider(|provider| provider.batch_ms = call_ms).without_worker().start().await;
    database::limits::set(&stack.database, "default", &json!({ "ceiling": limit })).await.unwrap();
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
    tokio::time::timeout(SOON, next).await.expect("no call begins").unwrap();
    eprintln!("the next paid call came {:.1} s after the kill", killed.elapsed().as_secs_f64());
    stack.result(&task).await.unwrap();
    stack.outcome(&given).await;
}

#[tokio::test]
async fn a_page_of_a_gateway_holds_no_capacity() {
    let stack = stack(50, 4).await;
    stack.provider.faults().add(Rule::new(Fault::Html { status: 502 }).times(4));
    let given = a_task();
    let _worker = spawn(&stack, &[]);

    let task = stack.begin(&given).await;

    tokio::time::timeout(SOON, stack.result(&task)).await.expect("no call begins").unwrap();
    assert_eq!(stack.outcome(&given).await.images_billed, 3);
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
    stack.provider.release();
    for task in &begun {
        stack.result(task).await.unwrap();
    }
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
