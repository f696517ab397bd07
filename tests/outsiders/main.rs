//! Other people's programs, with Temporal's own clients: client/examples/, and the plain `temporal` command. The same tests for each.
#![allow(clippy::unwrap_used, reason = "tests")]

mod language;

use language::{Ended, Language};
use serde_json::{Value, json};
use tests::{Outcome, Stack, a_task, portrait};
use workflows::keys;
use workflows::types::TaskState;

/// The tests, in each language.
macro_rules! in_each_language {
    ($($test:ident)*) => { in_each_language!(@ typescript TypeScript, python Python, command_line CommandLine; [$($test)*]); };
    (@ $($module:ident $language:ident),*; $tests:tt) => { $(in_each_language!(@@ $module $language $tests);)* };
    (@@ $module:ident $language:ident [$($test:ident)*]) => {
        mod $module {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::Language::$language).await;
            })*
        }
    };
}

in_each_language! {
    a_task_is_started_once_followed_and_awaited
    a_cancelled_task_leaves_its_output
    bad_input_is_told_apart
}

async fn a_task_is_started_once_followed_and_awaited(language: Language) {
    let stack = Stack::start().await;
    let program = language.program(&stack);
    let given = a_task();
    let task_id = &given.0.task_id;
    stack.provider.hold();

    let started = program.start(&json!(given.0)).await;
    stack.provider.meter().wait_until(|meter| meter.in_flight == 1).await.unwrap();
    let again = program.start(&json!(given.0)).await;
    let progress = program.progress(task_id).await;
    stack.provider.release();
    let ended = program.result(task_id).await;

    assert_eq!([started, again], [keys::workflow_id(task_id), keys::workflow_id(task_id)]);
    assert_eq!((&progress["stage"], &progress["images_planned"]), (&json!("beautify"), &json!(2)));
    let output = stack.result(&stack.client.task(task_id)).await.unwrap();
    assert_eq!(ended, Ended::Well(json!(output)));
    assert_eq!(
        stack.outcome(&given).await,
        Outcome { state: Some(TaskState::Completed), rows: 2, objects: 2, missing: vec![], images_billed: 3 }
    );
}

async fn a_cancelled_task_leaves_its_output(language: Language) {
    let stack = Stack::start().await;
    let program = language.program(&stack);
    let given = a_task();
    let task_id = &given.0.task_id;
    stack.provider.hold();
    program.start(&json!(given.0)).await;
    stack.provider.meter().wait_until(|meter| meter.in_flight == 1).await.unwrap();

    program.cancel(task_id).await;
    stack.wait_until_cancel_is_heard(&stack.client.task(task_id)).await;
    stack.provider.release();
    let ended = program.result(task_id).await;

    let output = stack.result(&stack.client.task(task_id)).await.unwrap();
    assert_eq!((output.state, output.missing.len()), (TaskState::Cancelled, 2));
    assert_eq!(ended, Ended::Cancelled(json!(output)));
    assert_eq!(stack.outcome(&given).await.images_billed, 1, "the call that ran is the last");
}

async fn bad_input_is_told_apart(language: Language) {
    let stack = Stack::start().await;
    let program = language.program(&stack);

    program.start(&json!({"task_id": "bad", "user_id": "ann", "plan": "free", "prompt": "a garden"})).await;
    let ended = program.result("bad").await;

    let Ended::Failed { kind, message } = &ended else { panic!("{ended:?}") };
    assert_eq!(kind, "InvalidInput");
    assert!(message.contains("photo"), "{message}");
    assert_eq!(stack.provider.bill().calls, 0);
}

#[tokio::test]
async fn the_rust_example_runs() {
    let stack = Stack::start().await;
    let mut given = a_task();
    given.0.photo = "uploads/ann.jpg".into();
    stack.storage.put(&given.0.photo, "image/jpeg", portrait().into()).await.unwrap();

    let example = language::run(&stack, env!("CARGO_BIN_EXE_client-example"), [json!(given.0).to_string()]);
    let (code, stdout, stderr) = example.await;

    assert_eq!(code, 0, "{stderr}");
    let output = stack.result(&stack.client.task(&given.0.task_id)).await.unwrap();
    let lines: Vec<&str> = stdout.lines().collect();
    assert!(lines.len() > 1 && lines[0].starts_with("Progress"), "{stdout}");
    assert_eq!(lines.last(), Some(&format!("{output:?}").as_str()));
}

/// What was printed, as JSON.
fn parsed(stdout: &str) -> Value {
    serde_json::from_str(stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"))
}
