//! `darkroom queue ID` in each state that a task's next call can be in: why it waits, and when it is done.

use std::time::Duration;

use sandbox::{ProviderFault, Rule};
use serde_json::Value;
use tests::{GivenTask, Stack, a_task};

use super::operate::shown;
use super::{darkroom, run};

/// Asks until the reason says so, and what is asked for last.
async fn waits_because(stack: &Stack, task: &GivenTask, says: &str) -> Value {
    shown_when(stack, task, |shown| shown["why"].as_str().unwrap_or_default().contains(says)).await
}

/// Asks until the answer meets a condition.
async fn shown_when(stack: &Stack, task: &GivenTask, condition: impl Fn(&Value) -> bool) -> Value {
    let mut seen = Value::Null;
    let told = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        while !condition(&seen) {
            ticks.tick().await;
            seen = shown(stack, &["queue", &task.0.task_id]).await;
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(60), told).await;
    assert!(told.is_ok(), "it is not told, but {seen}");
    seen
}

/// The estimate lies between these seconds.
fn takes(shown: &Value, seconds: std::ops::RangeInclusive<f64>) {
    let eta_s = shown["eta_s"].as_f64();
    assert!(eta_s.is_some_and(|eta_s| seconds.contains(&eta_s)), "not within {seconds:?}: {shown}");
}

fn takes_nobody_knows(shown: &Value, why: &str) {
    assert!(shown["eta_s"].is_null(), "{shown}");
    assert!(shown["method"].as_str().unwrap().contains(why), "{shown}");
}

/// A stack whose key has answered calls before, so that it is known what they take: hardly any time.
async fn stack_with_a_pace(ceiling: &str) -> Stack {
    let stack = Stack::start().await;
    let (code, _, stderr) = darkroom(&stack, &["limits", "set", "--ceiling", ceiling], "").await;
    assert_eq!(code, 0, "{stderr}");
    stack.run(&a_task()).await;
    stack
}

#[tokio::test]
async fn a_call_that_is_tried_again_later_says_when_and_why() {
    let stack = stack_with_a_pace("4").await;
    stack
        .provider
        .faults()
        .add(Rule::new(ProviderFault::Status { status: 503, retry_after_s: Some(40) }).times(1));
    let given = a_task();
    let _task = stack.begin(&given).await;

    let shown = waits_because(&stack, &given, "its next call is tried again in").await;

    assert!(shown["why"].as_str().unwrap().contains("503"), "{shown}");
    takes(&shown, 20.0..=60.0);
}

#[tokio::test]
async fn a_call_behind_one_that_nobody_waits_for_says_so() {
    let mut stack = stack_with_a_pace("1").await;
    stack.stop_worker();
    let mut worker = stack.spawn_worker(env!("CARGO_BIN_EXE_darkroom"), &[]);
    stack.provider.hold();
    let first = a_task();
    let held = stack.begin(&first).await;
    stack.provider.meter().wait_until(|meter| meter.in_flight == 1).await.unwrap();
    let second = a_task();
    let queued = stack.begin(&second).await;
    let shown = waits_because(&stack, &second, "all 1 calls of provider key `default` are in use").await;
    takes(&shown, 0.0..=10.0);
    let shown = shown_in_flight(&stack, &first).await;
    takes(&shown, 0.0..=10.0);

    worker.kill().await.unwrap();
    waits_because(&stack, &second, "no worker makes paid calls").await;
    stack.start_worker();
    let shown =
        waits_because(&stack, &second, "of them by calls whose answers nobody waits for any more").await;
    takes(&shown, 1.0..=20.0);

    stack.provider.release();
    stack.result(&held).await.unwrap();
    stack.result(&queued).await.unwrap();
}

async fn shown_in_flight(stack: &Stack, task: &GivenTask) -> Value {
    waits_because(stack, task, "it doesn't: its calls are in flight").await
}

#[tokio::test]
async fn a_task_whose_photo_does_not_come_is_being_checked() {
    let stack = Stack::start().await;
    let given = a_task().photo(&stack.provider.serve_status("photo", 503));
    let task = stack.begin(&given).await;

    waits_because(&stack, &given, "its input and its photo are being checked").await;

    task.cancel("test").await.unwrap();
}

#[tokio::test]
async fn images_that_are_stored_again_say_when_and_why() {
    let stack = stack_with_a_pace("4").await;
    stack.provider.fails_downloads(503, u64::MAX);
    let given = a_task();
    let task = stack.begin(&given).await;

    let shown =
        waits_because(&stack, &given, "its last images are being stored; what failed is tried again in")
            .await;

    takes_nobody_knows(&shown, "its paid calls are done");
    stack.provider.faults().clear();
    stack.result(&task).await.unwrap();
    waits_because(&stack, &given, "it has ended (completed)").await;
}

#[tokio::test]
async fn a_key_on_which_no_call_may_begin_says_why() {
    let status = |status, retry_after_s| ProviderFault::Status { status, retry_after_s };
    let faults = [
        (status(429, Some(30)), 1, "the provider asked to wait: for"),
        (status(503, None), u64::MAX, "the provider has failed"),
        (ProviderFault::InvalidKey, u64::MAX, "the provider refuses the account: "),
    ];
    for (fault, times, says) in faults {
        let stack = stack_with_a_pace("4").await;
        stack.provider.faults().add(Rule::new(fault).times(times));
        let given = a_task();
        let task = stack.begin(&given).await;

        let shown = waits_because(&stack, &given, says).await;

        if times == 1 {
            takes(&shown, 5.0..=60.0);
        } else {
            takes_nobody_knows(&shown, "no call may begin");
            assert!(shown["why"].as_str().unwrap().contains("try"), "{shown}");
        }
        task.cancel("test").await.unwrap();
    }
}

#[tokio::test]
async fn limits_that_hold_a_call_back_are_named() {
    let stack = stack_with_a_pace("4").await;
    let set = async |arguments: &[&str]| {
        let (code, _, stderr) = darkroom(&stack, &[&["limits", "set"], arguments].concat(), "").await;
        assert_eq!(code, 0, "{stderr}");
    };
    stack.run(&a_task()).await;
    set(&["--ceiling", "0"]).await;
    let given = a_task();
    let task = stack.begin(&given).await;
    let shown = waits_because(&stack, &given, "may make 0 calls").await;
    takes_nobody_knows(&shown, "no call may begin");

    // The last minute had those of the two tasks before.
    set(&["--ceiling", "4", "--calls-per-minute", "1"]).await;
    let shown = waits_because(&stack, &given, "calls, and may have 1").await;
    takes(&shown, 5.0..=180.0);

    // It had six images too; the next call asks for one.
    set(&["--calls-per-minute", "none", "--images-per-minute", "6"]).await;
    let shown = waits_because(&stack, &given, "had 6 images, and may have 6: its next call asks for 1").await;
    takes_nobody_knows(&shown, "images a minute are limited");
    task.cancel("test").await.unwrap();
}

#[tokio::test]
async fn a_worker_that_cannot_reach_temporal_is_named() {
    let mut stack = stack_with_a_pace("1").await;
    stack.stop_worker();
    let temporal = sandbox::Proxy::start(&stack.config.temporal.address).await.unwrap();
    let mut worker = tokio::process::Command::new(env!("CARGO_BIN_EXE_darkroom"));
    worker.arg("worker").envs(stack.environment()).env("TEMPORAL_ADDRESS", temporal.address().to_string());
    let mut worker = worker.stderr(std::process::Stdio::null()).kill_on_drop(true).spawn().unwrap();
    stack.provider.hold();
    let given = a_task();
    let task = stack.begin(&given).await;
    stack.provider.meter().wait_until(|meter| meter.in_flight == 1).await.unwrap();

    let second = a_task();
    let queued = stack.begin(&second).await;
    stack.wait_until(&queued, |progress| progress.images_planned > 0).await;
    temporal.stall();
    let shown =
        waits_because(&stack, &second, "none of the workers that make paid calls reaches Temporal").await;

    takes_nobody_knows(&shown, "no call may begin");
    temporal.mend();
    stack.provider.release();
    stack.result(&task).await.unwrap();
    stack.result(&queued).await.unwrap();
    worker.kill().await.unwrap();
}

#[tokio::test]
async fn a_task_whose_workflow_was_terminated_is_worked_on_by_nobody() {
    let stack = stack_with_a_pace("4").await;
    stack.provider.hold();
    let given = a_task();
    let task = stack.begin(&given).await;
    stack.provider.meter().wait_until(|meter| meter.in_flight == 1).await.unwrap();

    stack.terminate(&task).await;

    let shown = waits_because(&stack, &given, "its workflow is not open any more").await;
    takes_nobody_knows(&shown, "nobody works on it");
    stack.provider.release();
    shown_when(&stack, &given, |shown| shown["in_flight"] == 0).await;
}

#[tokio::test]
async fn a_minute_with_fewer_images_than_a_call_asks_for_fails_the_check() {
    let stack = Stack::with().without_worker().start().await;
    let mut set = std::process::Command::new(env!("CARGO_BIN_EXE_darkroom"));
    set.args(["limits", "set", "--images-per-minute", "3"]).envs(stack.environment());
    set.env("DARKROOM_GENERATE__BATCH_SIZE", "2");
    let (code, _, stderr) = run(set, "").await;
    assert_eq!(code, 0, "{stderr}");
    let (code, stdout, _) = darkroom(&stack, &["check", "database"], "").await;
    assert!(code == 1 && stdout.contains("may have 3 images a minute, and a call asks for 5"), "{stdout}");
}
