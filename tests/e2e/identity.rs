//! The same task id again: at once, after the end, with other input, by our client and by somebody else's.

use std::time::Duration;

use futures::StreamExt;
use serde_json::json;
use temporalio_client::WorkflowStartOptions;
use temporalio_client::errors::WorkflowGetResultError;
use tests::{GivenTask, Outcome, Stack, a_task, portrait};
use workflows::failure::FailureKind;
use workflows::types::TaskState;
use workflows::{Checked, GenerateImages, keys, task_queue};

fn completed() -> Outcome {
    Outcome { state: Some(TaskState::Completed), rows: 2, objects: 2, missing: vec![], images_billed: 3 }
}

/// Starts a task where nobody works, and waits until it has outlived its execution timeout.
async fn time_out(stack: &Stack, given: &GivenTask) {
    let id = keys::workflow_id(&given.0.task_id);
    let options = WorkflowStartOptions::new(task_queue::TASKS, id).execution_timeout(Duration::from_secs(1));
    let input = Checked::from(given.0.clone());
    let handle = stack.temporal.start_workflow(GenerateImages::run, input, options.build()).await.unwrap();
    let ended = handle.get_result(Default::default()).await;
    assert!(matches!(ended, Err(WorkflowGetResultError::TimedOut)), "{ended:?}");
}

#[tokio::test]
async fn started_twice_at_once_it_is_one_task() {
    let stack = Stack::start().await;
    let given = a_task();

    let (one, two) = tokio::join!(stack.begin(&given), stack.begin(&given));
    let (one, two) = tokio::join!(stack.result(&one), stack.result(&two));

    assert_eq!(one.unwrap(), two.unwrap());
    assert_eq!(stack.outcome(&given).await, completed());
}

#[tokio::test]
async fn started_again_after_its_end_it_answers_with_its_result() {
    let stack = Stack::start().await;
    let given = a_task();
    let first = stack.run(&given).await;

    let again = stack.run(&given).await;

    assert_eq!(first, again);
    assert_eq!(stack.outcome(&given).await, completed());
}

#[tokio::test]
async fn other_input_is_refused_and_named_while_it_runs_and_after() {
    let stack = Stack::start().await;
    let given = a_task();
    let other = given.clone().plan("start").prompt("on a beach");
    stack.provider.hold();
    let task = stack.begin(&given).await;

    let running = stack.client.start(&other.0).await.err().unwrap();
    stack.provider.release();
    stack.result(&task).await.unwrap();
    let ended = stack.client.start(&other.0).await.err().unwrap();

    for error in [running, ended] {
        let client::Error::InputDiffers { fields, .. } = &error else { panic!("{error}") };
        assert_eq!(fields, &["plan", "prompts"]);
    }
    assert_eq!(stack.outcome(&given).await, completed());
}

#[tokio::test]
async fn another_run_of_a_finished_task_answers_with_the_recorded_result_and_pays_nothing() {
    let stack = Stack::start().await;
    let given = a_task();
    stack.run(&given).await;

    let again = stack.run_by_name(&keys::workflow_id(&given.0.task_id), &json!(given.0)).await;

    assert_eq!(again, Ok(()));
    let progress = stack.client.task(&given.0.task_id).progress().await.unwrap();
    assert_eq!(
        (progress.stage, progress.images_stored),
        (workflows::types::Stage::Done, 2),
        "of the second run"
    );
    assert_eq!(stack.outcome(&given).await, completed());
}

#[tokio::test]
async fn another_run_with_other_input_fails_and_says_what_differs() {
    let stack = Stack::start().await;
    let given = a_task();
    stack.run(&given).await;

    let other = given.clone().user("bob").photo("uploads/other.jpg");
    let again = stack.run_by_name(&keys::workflow_id(&given.0.task_id), &json!(other.0)).await;

    let (kind, message) = again.unwrap_err();
    assert_eq!(kind, "InputDiffers");
    assert!(message.contains("other input (user_id, photo)"), "{message}");
    assert_eq!(stack.outcome(&given).await, completed());
}

#[tokio::test]
async fn a_cancelled_task_started_again_stays_cancelled() {
    let stack = Stack::start().await;
    stack.provider.hold();
    let given = a_task();
    let task = stack.begin(&given).await;
    stack.provider.meter().wait_until(|meter| meter.in_flight == 1).await.unwrap();
    task.cancel("test").await.unwrap();
    stack.provider.release();
    let first = stack.result(&task).await.unwrap();

    let again = stack.run(&given).await;

    assert_eq!(first, again);
    assert_eq!(stack.provider.meter().snapshot().calls.len(), 1, "nothing more is paid");
}

#[tokio::test]
async fn a_cancelled_or_failed_task_refuses_other_input_too() {
    let stack = Stack::with().configure(|config| config.provider.size = "1x1".into()).start().await;
    let given = a_task();
    stack.result(&stack.begin(&given).await).await.unwrap_err();

    let other = stack.client.start(&given.clone().prompt("on a beach").0).await.err().unwrap();
    let same = stack.begin(&given).await;

    assert!(matches!(other, client::Error::InputDiffers { .. }), "{other}");
    assert!(same.existed());
    assert!(
        matches!(stack.result(&same).await, Err(client::Error::Failed { .. })),
        "it answers with its failure"
    );
}

#[tokio::test]
async fn a_failed_run_without_a_row_is_started_again() {
    let stack = Stack::start().await;
    let busy = stack.provider.serve_busy("ann.jpg");
    let given = a_task().photo(&busy);
    let error = stack.result(&stack.begin(&given).await).await.unwrap_err();
    let client::Error::Failed { failure, .. } = &error else { panic!("{error}") };
    assert_eq!(failure.kind, FailureKind::PhotoUnavailable, "{error}");
    stack.provider.serve_photo("ann.jpg", portrait(), "image/jpeg");

    let again = stack.begin(&given).await;

    assert!(!again.existed());
    assert_eq!(stack.result(&again).await.unwrap().images.len(), 2);
    assert_eq!(stack.outcome(&given).await, completed());
}

#[tokio::test]
async fn a_run_that_was_ended_before_it_had_a_row_is_started_again_even_with_other_input() {
    let mut stack = Stack::with().without_worker().start().await;
    let (terminated, timed_out) = (a_task(), a_task());
    let task = stack.begin(&terminated).await;
    stack.terminate(&task).await;
    time_out(&stack, &timed_out).await;
    stack.start_worker();

    for given in [&terminated, &timed_out] {
        let task = stack.begin(&given.clone().plan("start")).await;
        assert!(!task.existed());
        assert_eq!(stack.result(&task).await.unwrap().images.len(), 30);
    }
    assert_eq!(stack.provider.bill().images, 62);
}

#[tokio::test]
async fn a_terminated_task_with_a_row_goes_on_and_pays_no_recorded_call_again() {
    let stack = Stack::start().await;
    let given = a_task();
    stack.provider.hold();
    let task = stack.begin(&given).await;
    let meter = stack.provider.meter();
    meter.wait_until(|meter| meter.in_flight == 1).await.unwrap();
    stack.provider.release_one();
    stack.wait_until(&task, |progress| progress.calls_answered == 1).await;
    meter.wait_until(|meter| meter.in_flight == 1).await.unwrap();
    stack.terminate(&task).await;
    stack.provider.release();

    let other = stack.client.start(&given.clone().plan("start").0).await.err().unwrap();
    let again = stack.begin(&given).await;

    assert!(matches!(other, client::Error::InputDiffers { .. }), "{other}");
    assert!(!again.existed());
    assert_eq!(stack.result(&again).await.unwrap().images.len(), 2);
    assert_eq!(stack.outcome(&given).await, completed());
}

#[tokio::test]
async fn somebody_elses_failed_run_does_not_hide_the_recorded_result() {
    let stack = Stack::start().await;
    let given = a_task();
    let first = stack.run(&given).await;
    let other = given.clone().user("bob");
    let id = keys::workflow_id(&given.0.task_id);
    assert_eq!(stack.run_by_name(&id, &json!(other.0)).await.unwrap_err().0, "InputDiffers");

    assert_eq!(stack.run(&given).await, first);
    assert_eq!(stack.outcome(&given).await, completed());
}

#[tokio::test]
async fn a_photo_url_that_was_signed_anew_is_the_same_photo() {
    let stack = Stack::start().await;
    let url = stack.provider.serve_photo("ann.jpg", portrait(), "image/jpeg");
    let given = a_task().photo(&format!("{url}?v=1&X-Amz-Date=1&X-Amz-Signature=1"));
    let signed_anew = given.clone().photo(&format!("{url}?v=1&X-Amz-Date=2&X-Amz-Signature=2"));
    stack.provider.hold();
    let task = stack.begin(&given).await;
    let running = stack.begin(&signed_anew).await;
    stack.provider.release();
    let first = stack.result(&task).await.unwrap();

    let id = keys::workflow_id(&given.0.task_id);
    assert!(running.existed());
    assert_eq!(stack.run(&signed_anew).await, first);
    assert_eq!(stack.run_by_name(&id, &json!(signed_anew.0)).await, Ok(()), "`prepare` says so too");
    let other = given.clone().photo(&format!("{url}?v=2&X-Amz-Date=1&X-Amz-Signature=1"));
    let other = stack.client.start(&other.0).await.err().unwrap();
    assert!(matches!(other, client::Error::InputDiffers { fields, .. } if fields == ["photo"]));
    assert_eq!(stack.outcome(&given).await, completed());
}

#[tokio::test]
async fn watching_a_task_that_nobody_started_says_so() {
    let stack = Stack::with().without_worker().start().await;
    let task = stack.client.task("nobody");

    let looks: Vec<_> = task.watch(Duration::from_millis(50)).collect().await;

    assert!(matches!(looks.as_slice(), [Err(client::Error::NotFound { .. })]), "{looks:?}");
}
