//! `darkroom reconcile`, without a worker and on a schedule, and `darkroom queue` of a task that
//! nobody works on.

use std::time::Duration;

use serde_json::json;
use temporalio_client::WorkflowTerminateOptions;
use tests::{Stack, a_task};
use workflows::GenerateImages;

use super::{darkroom, lines};

/// A task whose workflow was terminated in its first paid call, and whose worker is gone.
async fn terminated() -> Stack {
    let mut stack = Stack::start().await;
    stack.provider.hold();
    let task = stack.begin(&a_task().id("r1")).await;
    stack.provider.meter().wait_until(|meter| meter.in_flight == 1).await.unwrap();
    let handle = stack.temporal.get_workflow_handle::<GenerateImages>(workflows::keys::workflow_id("r1"));
    handle.terminate(WorkflowTerminateOptions::default()).await.unwrap();
    assert!(task.is_closed().await.unwrap());
    stack.provider.release();
    // A worker that is stopped waits for its calls.
    let open = async || paid_calls::report::calls(&stack.database, &Default::default(), true).await.unwrap();
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    while !open().await.is_empty() {
        ticks.tick().await;
    }
    stack.stop_worker();
    stack
}

#[tokio::test]
async fn it_works_without_a_worker_and_the_queue_is_free_of_the_task() {
    let stack = terminated().await;
    let why = "it doesn't: its workflow is not open any more";
    let (code, stdout, stderr) = darkroom(&stack, &["queue", "r1"], "").await;
    assert!(code == 0 && stdout.contains(why), "{stdout}{stderr}");

    let (code, shown, stderr) =
        darkroom(&stack, &["reconcile", "--dry-run", "--min-age", "0s", "--json"], "").await;
    assert_eq!(code, 0, "{stderr}");
    let (code, text, stderr) = darkroom(&stack, &["reconcile", "--min-age", "0s"], "").await;
    assert_eq!(code, 0, "{stderr}");

    let example = "r1: its workflow was ended from outside: terminated";
    let found =
        json!({"finding": "abandoned_task", "repair": "row_closed", "count": 1, "examples": [example]});
    assert_eq!(lines(&shown)[0]["found"][0], found);
    let expected = format!(
        "repaired: 1 tasks whose row said `running` though their workflow ended long ago without a result; row closed\n    {example}\n"
    );
    // Where the photo was retouched before the end, its staged bytes are left, and nothing shows that the bucket is the right one.
    assert!(text.contains(&expected), "{text}");
    let (_, stdout, _) = darkroom(&stack, &["queue"], "").await;
    assert!(stdout.starts_with("0 tasks run"), "{stdout}");
    let (_, stdout, _) = darkroom(&stack, &["show", "r1"], "").await;
    assert!(stdout.contains("failed: 0 of 2 images stored"), "{stdout}");
}

#[tokio::test]
async fn a_schedule_is_made_replaced_and_ended() {
    let stack = Stack::with().without_worker().start().await;
    for every in ["1h", "1d"] {
        let (code, stdout, stderr) = darkroom(&stack, &["reconcile", "--every", every, "--deep"], "").await;
        assert_eq!((code, stdout.as_str()), (0, ""), "{stderr}");
    }
    let schedule = stack.temporal.get_schedule_handle(workflows::reconcile::SCHEDULE_ID);
    let description = schedule.describe(Default::default()).await.unwrap();
    let spec = description.raw().schedule.clone().unwrap().spec.unwrap();
    let intervals: Vec<i64> =
        spec.interval.iter().map(|interval| interval.interval.unwrap().seconds).collect();
    assert_eq!(intervals, [86_400]);
    for (told, arguments) in [
        ("the schedule is ended", &["reconcile", "--unschedule"][..]),
        ("there was no schedule", &["reconcile", "--unschedule"]),
    ] {
        let (code, _, stderr) = darkroom(&stack, arguments, "").await;
        assert!(code == 0 && stderr.contains(told), "{stderr}");
    }
    assert_eq!(darkroom(&stack, &["reconcile", "--every", "1s"], "").await.0, 2);
}
