//! One limit over all workers: several worker processes on one provider key.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use chaos::Disruptions;
use client::Task;
use sandbox::{Meter, ProviderFault, Rule};
use sea_orm::{ConnectionTrait, Statement};
use serde_json::json;
use tests::{GivenTask, PATIENCE, Stack, a_task, on_this_machine};
use tokio::process::Child;
use workflows::keys::task_and_call;
use workflows::types::Stage;

/// Most of these need the machine: several workers are to keep a limit full. Two only wait.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
const DARKROOM: &str = env!("CARGO_BIN_EXE_darkroom");

/// A stack whose calls take so long, with so many worker processes under this limit.
async fn stack(call_ms: u64, workers: usize, limit: u32) -> (Stack, Vec<Child>) {
    let stack = Stack::with().provider(|provider| provider.batch_ms = call_ms).without_worker().start().await;
    set(&stack, json!({ "ceiling": limit })).await;
    let workers = (0..workers).map(|_| stack.spawn_worker(DARKROOM, &[])).collect();
    (stack, workers)
}

async fn set(stack: &Stack, change: serde_json::Value) {
    let change = serde_json::from_value(change).unwrap();
    paid_calls::limits::set(&stack.database, "default", &change).await.unwrap();
}

/// Starts so many tasks of a plan, each of a user of its own.
async fn begin(stack: &Stack, tasks: usize, plan: &str) -> (Vec<GivenTask>, Vec<Task>) {
    let given: Vec<GivenTask> =
        (0..tasks).map(|user| a_task().plan(plan).user(&format!("user-{user}"))).collect();
    let begun = futures::future::join_all(given.iter().map(|given| stack.begin(given))).await;
    (given, begun)
}

/// Waits for all; the invariants hold.
async fn finish(stack: &Stack, given: &[GivenTask], tasks: &[Task]) -> Meter {
    for task in tasks {
        stack.result(task).await.unwrap();
    }
    stack.assert_invariants(&given.iter().collect::<Vec<_>>(), &Disruptions::default()).await;
    stack.provider.meter().snapshot()
}

/// One column of what a query finds, as numbers.
async fn numbers(stack: &Stack, sql: &str) -> Vec<i32> {
    let statement = Statement::from_string(stack.database.get_database_backend(), sql);
    let rows = stack.database.query_all_raw(statement).await.unwrap();
    rows.iter().map(|row| row.try_get_by_index(0).unwrap()).collect()
}

/// Waits until what a query finds is as it should be.
async fn wait_for(stack: &Stack, sql: &str, so: impl Fn(&[i32]) -> bool) -> Vec<i32> {
    let (began, mut ticks) = (Instant::now(), tokio::time::interval(Duration::from_millis(20)));
    loop {
        ticks.tick().await;
        let found = numbers(stack, sql).await;
        if so(&found) {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{found:?}");
    }
}

/// The workers' shares, in ascending order.
const SHARES: &str = "SELECT granted FROM leases WHERE ended_at IS NULL ORDER BY granted";

/// Answers held calls one by one until the workers' shares are these, and all of the limit is in use: shares move when calls end, and
/// there is work left however long a worker takes to start.
async fn share_out(stack: &Stack, expected: &[i32]) {
    let limit = expected.iter().sum::<i32>() as u64;
    let meter = stack.provider.meter();
    wait_for(stack, SHARES, |shares| shares.len() == expected.len()).await;
    loop {
        let full = meter.wait_until(|meter| meter.in_flight == limit).await.unwrap();
        if numbers(stack, SHARES).await == expected {
            return;
        }
        stack.provider.release_one();
        meter.wait_until(|meter| meter.billed_calls > full.billed_calls).await.unwrap();
    }
}

fn signal(worker: &Child, name: &str) {
    let pid = worker.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
}

#[tokio::test]
async fn four_workers_use_the_limit_and_never_more() {
    let _alone = ALONE.lock().await;
    let (stack, _workers) = stack(100, 4, 6).await;
    stack.provider.hold();
    let (given, tasks) = begin(&stack, 6, "start").await;
    stack.provider.meter().wait_until(|meter| meter.in_flight == 6).await.unwrap();
    stack.provider.release();
    let meter = finish(&stack, &given, &tasks).await;
    assert_eq!((meter.max_in_flight, meter.billed_calls, meter.throttled), (6, 6 * 7, 0));
}

#[tokio::test]
async fn a_limit_is_lowered_to_0_and_raised_while_work_waits() {
    let _alone = ALONE.lock().await;
    let (stack, _workers) = stack(200, 3, 8).await;
    stack.provider.hold();
    let (given, tasks) = begin(&stack, 24, "start").await;
    let meter = stack.provider.meter();
    meter.wait_until(|meter| meter.in_flight == 8).await.unwrap();
    set(&stack, json!({ "ceiling": 0 })).await;
    stack.provider.release();
    meter.wait_until(|meter| meter.in_flight == 0).await.unwrap();
    // However slow the machine: what may be in flight comes together.
    stack.provider.hold();
    let made = meter.snapshot().calls.len();
    set(&stack, json!({ "ceiling": 2 })).await;
    meter.wait_until(|meter| meter.in_flight == 2).await.unwrap();
    set(&stack, json!({ "ceiling": 5 })).await;
    meter.wait_until(|meter| meter.in_flight == 5).await.unwrap();
    assert!(meter.snapshot().calls.len() > made);
    set(&stack, json!({ "ceiling": null })).await;
    // No limit: as many as there are slots, or calls.
    meter.wait_until(|meter| meter.in_flight > 8).await.unwrap();
    stack.provider.release();
    finish(&stack, &given, &tasks).await;
}

#[tokio::test]
async fn a_paused_key_takes_no_call_until_it_is_resumed() {
    let _alone = ALONE.lock().await;
    let (stack, _workers) = stack(50, 2, 4).await;
    set(&stack, json!({ "paused": true })).await;
    let (given, tasks) = begin(&stack, 1, "free").await;
    stack.wait_until(&tasks[0], |progress| progress.images_planned > 0).await;
    assert_eq!(stack.provider.meter().snapshot().calls.len(), 0);
    set(&stack, json!({ "paused": false })).await;
    finish(&stack, &given, &tasks).await;
}

#[tokio::test]
async fn a_worker_that_starts_later_gets_its_share_of_a_busy_key() {
    let _alone = ALONE.lock().await;
    let (stack, mut workers) = stack(300, 1, 6).await;
    stack.provider.hold();
    let (given, tasks) = begin(&stack, 40, "start").await;
    stack.provider.meter().wait_until(|meter| meter.in_flight == 6).await.unwrap();
    workers.push(stack.spawn_worker(DARKROOM, &["generate"]));
    let started = Instant::now();
    share_out(&stack, &[3, 3]).await;
    eprintln!("half of the limit moved {:?} after the second worker's start", started.elapsed());
    stack.provider.release();
    finish(&stack, &given, &tasks).await;
}

#[tokio::test]
async fn what_a_killed_worker_held_is_used_again() {
    let _alone = ALONE.lock().await;
    let (stack, mut workers) = stack(300, 4, 8).await;
    stack.provider.hold();
    let (given, tasks) = begin(&stack, 24, "start").await;
    // Its own calls may run on for minutes: until then they use their part of the limit.
    share_out(&stack, &[2, 2, 2, 2]).await;
    workers[0].start_kill().unwrap();
    workers[0].wait().await.unwrap();
    stack.provider.release();
    let meter = finish(&stack, &given, &tasks).await;
    assert_eq!(meter.max_in_flight, 8);
}

#[tokio::test]
async fn what_a_killed_worker_waited_with_is_used_again_within_seconds() {
    let _alone = ALONE.lock().await;
    let (stack, mut workers) = stack(300, 4, 8).await;
    // Nobody works yet: most of the limit is with whoever came first.
    let sql = "SELECT (array_agg(pid ORDER BY granted DESC))[1] AS pid FROM leases WHERE ended_at IS NULL HAVING sum(granted) = 8";
    let pid = wait_for(&stack, sql, |pids| !pids.is_empty()).await[0] as u32;
    let holder = workers.iter_mut().find(|worker| worker.id() == Some(pid)).unwrap();
    holder.start_kill().unwrap();
    holder.wait().await.unwrap();
    let killed = Instant::now();
    stack.provider.hold();
    let (given, tasks) = begin(&stack, 8, "start").await;
    stack.provider.meter().wait_until(|meter| meter.in_flight == 8).await.unwrap();
    eprintln!("all of the limit was in use {:?} after the kill", killed.elapsed());
    stack.provider.release();
    finish(&stack, &given, &tasks).await;
}

#[tokio::test]
async fn a_worker_paused_for_longer_than_its_lease_calls_nobody_on_it() {
    let _alone = ALONE.lock().await;
    let (stack, workers) = stack(300, 3, 6).await;
    stack.provider.hold();
    let (given, tasks) = begin(&stack, 40, "start").await;
    let meter = stack.provider.meter();
    // Not the one that has all: its calls may run on for minutes, and use their part of the limit until then.
    share_out(&stack, &[2, 2, 2]).await;
    signal(&workers[0], "STOP");
    stack.provider.release();
    // Until another has what it held, but for its calls that may run on.
    let pid = workers[0].id().unwrap();
    let ended = format!("SELECT pid FROM leases WHERE ended_at IS NOT NULL AND pid = {pid}");
    wait_for(&stack, &ended, |pids| !pids.is_empty()).await;
    meter.wait_until(|meter| meter.billed_calls > 6 * 6).await.unwrap();
    signal(&workers[0], "CONT");
    let meter = finish(&stack, &given, &tasks).await;
    assert_eq!(meter.max_in_flight, 6);
}

#[tokio::test]
async fn one_workers_429_stops_all_of_them() {
    let _alone = ALONE.lock().await;
    let (stack, _workers) = stack(100, 4, 8).await;
    set(&stack, json!({ "floor": 8 })).await;
    let storm =
        Rule::new(ProviderFault::Status { status: 429, retry_after_s: Some(5) }).from_nth(20).times(1);
    stack.provider.faults().add(storm);
    let (given, tasks) = begin(&stack, 8, "start").await;
    let meter = finish(&stack, &given, &tasks).await;
    assert_eq!(meter.calls.iter().filter(|call| call.status == Some(429)).count(), 1);
    // From when the refusal is on record, which takes a slow machine a while. A call that was allowed before arrives within a second
    // and a half.
    let sql =
        "SELECT (extract(epoch FROM ended_at) * 1000)::bigint AS at_ms FROM calls WHERE state = 'failed'";
    let statement = Statement::from_string(stack.database.get_database_backend(), sql);
    let row = stack.database.query_one_raw(statement).await.unwrap().unwrap();
    let refused = row.try_get::<i64>("", "at_ms").unwrap() as u64;
    let stopped =
        meter.calls.iter().filter(|call| (refused + 1_500..refused + 5_000).contains(&call.started_ms));
    assert_eq!(stopped.count(), 0);
}

#[tokio::test]
async fn a_minute_of_nothing_but_503_costs_forty_calls_at_most() {
    let (stack, _workers) = stack(50, 4, 8).await;
    stack.provider.faults().add(
        Rule::new(ProviderFault::Status { status: 503, retry_after_s: None })
            .from_nth(10)
            .during(Duration::from_secs(60)),
    );
    let (given, tasks) = begin(&stack, 30, "start").await;
    let meter = stack.provider.meter();
    meter.wait_long_until(|meter| meter.billed_calls > 30).await.unwrap();
    let meter = finish(&stack, &given, &tasks).await;
    let refused = meter.calls.iter().filter(|call| call.status == Some(503)).count();
    eprintln!("{refused} calls were refused");
    assert!(refused <= 40, "{refused} calls were refused: those in flight, and a try every 5 s");
    assert_eq!(meter.calls.len() - refused, 30 * 7);
}

#[tokio::test]
async fn calls_a_minute_are_counted_exactly() {
    let (stack, _workers) = stack(20, 3, 6).await;
    set(&stack, json!({ "calls_per_minute": 10 })).await;
    let (given, tasks) = begin(&stack, 2, "start").await;
    for task in &tasks {
        tokio::time::timeout(PATIENCE, task.result()).await.unwrap().unwrap();
    }
    let meter = finish(&stack, &given, &tasks).await;
    let starts: Vec<u64> = meter.calls.iter().map(|call| call.started_ms).collect();
    let most = starts
        .iter()
        .map(|from| starts.iter().filter(|at| (*from..from + 60_000).contains(*at)).count())
        .max();
    assert_eq!((starts.len(), most), (14, Some(10)));
}

#[tokio::test]
async fn a_flood_by_one_user_holds_up_nobody_else() {
    let _alone = ALONE.lock().await;
    let (stack, _workers) = stack(100, 3, 4).await;
    let begin = async |users: &[&str]| {
        let given: Vec<GivenTask> = users.iter().map(|user| a_task().plan("start").user(user)).collect();
        let tasks = futures::future::join_all(given.iter().map(|given| stack.begin(given))).await;
        (given, tasks)
    };
    let (flood, flooding) = begin(&["flood"; 40]).await;
    let meter = stack.provider.meter();
    meter.wait_until(|meter| meter.billed_calls > 45).await.unwrap();
    stack.provider.hold();
    let (others, waiting) = begin(&["ann", "bob", "cyd", "dan", "eve"]).await;
    for task in &waiting {
        stack.wait_until(task, |progress| progress.stage == Stage::Beautify).await;
    }
    let before = meter.snapshot().calls.len();
    let is_theirs = |call: &&sandbox::Call| {
        let key = call.idempotency_key.as_deref().unwrap_or_default();
        others.iter().any(|given| task_and_call(key).starts_with(&format!("{}/", given.0.task_id)))
    };
    let theirs = |meter: &Meter| meter.calls.iter().filter(is_theirs).filter(|call| call.billed).count();
    stack.answer_one_by_one(4, &waiting, |meter| theirs(meter) == 5 * 7).await;
    // I9: their lane has ten of eleven calls. In the order of arrival it would be all 280 of the flood first.
    let made = meter.snapshot().calls.len() - before;
    assert!(made < 5 * 7 + 30, "{made} calls until the others were done");
    stack.provider.release();
    for task in &waiting {
        stack.result(task).await.unwrap();
    }
    let given: Vec<GivenTask> = flood.into_iter().chain(others).collect();
    finish(&stack, &given, &flooding).await;
}

/// I20, with so many workers: tasks of a plan, each of a user of its own, are in the queue before one task of each other plan.
async fn a_flood_of_a_plan_starves_no_other(plan: &str, workers: usize) {
    let _alone = ALONE.lock().await;
    let (stack, _workers) = stack(50, workers, 2).await;
    stack.provider.hold();
    let (mut given, mut tasks) = begin(&stack, 26, plan).await;
    for plan in ["free", "start", "pro"].into_iter().filter(|other| *other != plan) {
        let task = a_task().plan(plan).user(plan);
        tasks.push(stack.begin(&task).await);
        given.push(task);
    }
    for task in &tasks {
        stack.wait_until(task, |progress| progress.images_planned > 0).await;
    }
    stack.provider.meter().wait_until(|meter| meter.in_flight == 2).await.unwrap();
    stack.provider.release();
    let meter = finish(&stack, &given, &tasks).await;

    let weight = |plan: &str| stack.config.plans[plan].weight;
    let weights: f32 = stack.config.plans.values().map(|plan| plan.weight).sum();
    let task =
        |call: &sandbox::Call| call.idempotency_key.as_deref().unwrap().split('/').next().unwrap().to_owned();
    let order: Vec<String> = meter.calls.iter().map(task).collect();
    let first = |given: &GivenTask| order.iter().position(|task| *task == given.0.task_id).unwrap();
    let of_flood = |task: &String| given[..26].iter().any(|given| given.0.task_id == *task);
    let floods_last = order.iter().rposition(of_flood).unwrap();
    // Those in flight before, and a poll of each worker that was under way.
    let slack = (2 + 2 * workers) as f32;
    for (given, task) in given[26..].iter().zip(&tasks[26..]) {
        let (first, plan) = (first(given), &given.0.plan);
        let bound = weights / weight(plan) + slack;
        // A call may be handed to a worker whose share another worker has got meanwhile. The call
        // waits in its slot for two seconds, and is handed out again. Two seconds are a quarter of a
        // call, but twelve calls at this speed.
        let began = meter.calls[first].started_ms;
        let meanwhile = if stack.was_handed_out_again(task).await {
            meter.calls[..first].iter().filter(|call| call.started_ms + 2_500 > began).count()
        } else {
            0
        };
        let before = (first - meanwhile) as f32;
        assert!(before <= bound, "{plan} begins after {before} calls and 2.5 s, and not {bound}: {order:?}");
        assert!(first < floods_last, "{plan} has waited for the end of the flood: {order:?}");
    }
}

#[tokio::test]
async fn a_flood_of_a_plan_starves_no_other_with_1_worker() {
    a_flood_of_a_plan_starves_no_other("free", 1).await;
}

#[tokio::test]
async fn a_flood_of_a_plan_starves_no_other_with_2_workers() {
    a_flood_of_a_plan_starves_no_other("start", 2).await;
}

#[tokio::test]
async fn a_flood_of_a_plan_starves_no_other_with_8_workers() {
    for plan in ["free", "start", "pro"] {
        a_flood_of_a_plan_starves_no_other(plan, 8).await;
    }
}

#[tokio::test]
async fn the_limit_settles_at_what_the_provider_allows_and_does_not_say() {
    let _alone = ALONE.lock().await;
    // Where the machine takes longer to hear of a refusal, calls take longer too: how many are refused meanwhile is not the question.
    let call_ms = on_this_machine(Duration::from_millis(100)).as_millis() as u64;
    let secretive = Stack::with().provider(|provider| {
        provider.batch_ms = call_ms;
        provider.max_in_flight = Some(6);
        provider.retry_after_ms = 200;
    });
    let stack = secretive.without_worker().start().await;
    set(&stack, json!({ "ceiling": 20 })).await;
    let _workers = [stack.spawn_worker(DARKROOM, &[]), stack.spawn_worker(DARKROOM, &[])];
    // However slow the machine: more come together than are allowed.
    stack.provider.hold();
    let (given, tasks) = begin(&stack, 80, "start").await;
    stack.provider.meter().wait_until(|meter| meter.throttled > 0).await.unwrap();
    stack.provider.release();
    let meter = finish(&stack, &given, &tasks).await;
    let refused = |calls: &[sandbox::Call]| calls.iter().filter(|call| call.status == Some(429)).count();
    // Less than one in a hundred in the long run; these are few calls, and a raise may be of two.
    let (first, second) = meter.calls.split_at(meter.calls.len() / 2);
    eprintln!(
        "{} of {} calls refused, {} of them in the second half",
        refused(&meter.calls),
        meter.calls.len(),
        refused(second)
    );
    assert!(
        refused(first) > 0 && refused(second) * 50 <= second.len(),
        "{} of {}",
        refused(second),
        second.len()
    );
    assert_eq!(meter.max_in_flight, 6);
}
