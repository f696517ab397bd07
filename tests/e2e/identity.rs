//! The same task id again: at once, after the end, with other input, by our client and by somebody else's.

use serde_json::json;
use tests::{Outcome, Stack, a_task};
use workflows::keys;
use workflows::types::TaskState;

fn completed() -> Outcome {
    Outcome { state: Some(TaskState::Completed), rows: 2, objects: 2, missing: vec![], images_billed: 3 }
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
