//! `darkroom start`: what it answers, and its exit codes.

use std::process::Command;

use serde_json::{Value, json};
use tests::{GivenTask, Stack, a_task, portrait};

use super::{darkroom, lines, run};

/// `darkroom start --stdin` with these lines: its exit code and its answers.
async fn start_lines(stack: &Stack, given: &[String]) -> (i32, Vec<Value>) {
    let (code, stdout, _) = darkroom(stack, &["start", "--stdin"], &given.join("\n")).await;
    (code, lines(&stdout))
}

/// A task's input as a line.
fn line(given: &GivenTask) -> String {
    json!(given.0).to_string()
}

/// The line of a task with a field of its own.
fn line_with(task_id: &str, field: &str, value: Value) -> String {
    let mut input = json!(a_task().id(task_id).0);
    input[field] = value;
    input.to_string()
}

fn started(line: u32, task_id: &str, existed: bool) -> Value {
    json!({"line": line, "task_id": task_id, "started": true, "existed": existed})
}

#[tokio::test]
async fn a_batch_with_refused_lines_ends_with_7_and_tells_of_each() {
    let stack = Stack::start().await;
    let exists = a_task().id("exists");
    stack.run(&exists).await;
    let refused = [
        (line_with("typo", "promt", json!("p")), json!("typo"), "promt"),
        (
            line_with("gold", "plan", json!("gold")),
            json!("gold"),
            "plan `gold` is not configured: use one of",
        ),
        (line(&a_task().id("many").prompts(["a", "b", "c"])), json!("many"), "3 prompts for the 2 images"),
        (line_with("scheme", "photo", json!("ftp://host/x")), json!("scheme"), "scheme `ftp`"),
        (line(&exists.clone().user("bob")), json!("exists"), "other input (user_id)"),
        (line_with("x", "task_id", json!(5)), json!(5), "expected a string"),
        (
            r#"["array","ann","free","p",[],"uploads/portrait.jpg"]"#.to_owned(),
            json!(null),
            "expected an object",
        ),
        ("not json".to_owned(), json!(null), "expected"),
    ];
    let mut given = vec![line(&a_task().id("first")), String::new(), line(&exists)];
    given.extend(refused.iter().map(|(line, ..)| line.clone()));
    given.push(line(&a_task().id("last")));
    given.push(line(&a_task().id("last")));

    let (code, answers) = start_lines(&stack, &given).await;

    assert_eq!(code, 7, "some were started, others refused");
    assert_eq!(answers.len(), given.len() - 1, "an answer for each line that isn't empty");
    assert_eq!(answers[..2], [started(1, "first", false), started(3, "exists", true)]);
    assert_eq!(answers[10..], [started(12, "last", false), started(13, "last", true)]);
    for (answer, (number, (_, task_id, says))) in answers[2..10].iter().zip((4..).zip(&refused)) {
        let told = (&answer["line"], &answer["task_id"], &answer["started"]);
        assert_eq!(told, (&json!(number), task_id, &json!(false)), "{answer}");
        assert!(answer["error"].as_str().unwrap().contains(says), "{answer}");
    }
    for id in ["first", "last"] {
        assert_eq!(stack.result(&stack.client.task(id)).await.unwrap().images.len(), 2);
    }
    assert_eq!(stack.provider.bill().images, 9, "three tasks were paid, and no refused line");
}

#[tokio::test]
async fn a_batch_that_is_refused_as_a_whole_ends_with_3_and_has_started_nothing() {
    let stack = Stack::start().await;
    let given = [line_with("one", "plan", json!("gold")), line_with("two", "photo", json!("a/../b"))];

    let (code, answers) = start_lines(&stack, &given).await;

    assert_eq!((code, answers.len()), (3, 2), "{answers:?}");
    for id in ["one", "two"] {
        assert_eq!(darkroom(&stack, &["watch", id], "").await.0, 6, "no workflow `{id}`");
    }
}

#[tokio::test]
async fn a_batch_of_tasks_that_are_there_and_an_empty_one_end_with_0() {
    let stack = Stack::start().await;
    let given = [line(&a_task().id("one")), line(&a_task().id("two"))];

    let first = start_lines(&stack, &given).await;
    let again = start_lines(&stack, &given).await;
    for id in ["one", "two"] {
        stack.result(&stack.client.task(id)).await.unwrap();
    }

    assert_eq!(first, (0, vec![started(1, "one", false), started(2, "two", false)]));
    assert_eq!(again, (0, vec![started(1, "one", true), started(2, "two", true)]));
    assert_eq!(start_lines(&stack, &[String::new()]).await, (0, vec![]));
}

#[tokio::test]
async fn a_batch_that_temporal_fails_ends_with_1_and_names_the_line() {
    let stack = Stack::with().without_worker().start().await;
    let given =
        [line_with("bad", "plan", json!("gold")), line(&a_task().id("two")), line(&a_task().id("three"))];
    let mut command = Command::new(env!("CARGO_BIN_EXE_darkroom"));
    command.args(["start", "--stdin"]).envs(stack.environment()).env("TEMPORAL_NAMESPACE", "nowhere");

    let (code, stdout, stderr) = run(command, &given.join("\n")).await;

    assert_eq!(code, 1, "{stderr}");
    let answers = lines(&stdout);
    assert_eq!(answers.len(), 2, "{answers:?}");
    let last = &answers[1];
    assert_eq!((&last["line"], &last["task_id"], &last["started"]), (&json!(2), &json!("two"), &json!(null)));
    assert!(stderr.contains("line 2 may have been started, later ones were not"), "{stderr}");
}

#[tokio::test]
async fn the_exit_code_tells_how_a_task_ended() {
    let stack = Stack::start().await;
    stack.provider.rejects("forbidden");
    let start = async |id: &str, prompts: &[&str]| {
        let mut arguments =
            vec!["start", "--task", id, "--user", "ann", "--plan", "free", "--wait", "--json"];
        arguments.extend(["--photo", "uploads/portrait.jpg"]);
        arguments.extend(prompts.iter().flat_map(|prompt| ["--prompt", prompt]));
        let (code, stdout, stderr) = darkroom(&stack, &arguments, "").await;
        let output = lines(&stdout).pop().unwrap_or_else(|| panic!("{stderr}"));
        (code, output["state"].clone(), output["images"].as_array().map(Vec::len), output["missing"].clone())
    };

    let (code, state, images, _) = start("all", &["a garden"]).await;
    assert_eq!((code, state, images), (0, json!("completed"), Some(2)));
    let (code, state, images, _) = start("some", &["a garden", "forbidden"]).await;
    assert_eq!((code, state, images), (0, json!("partial"), Some(1)));
    let (code, state, images, missing) = start("none", &["forbidden"]).await;
    assert_eq!((code, state, images), (0, json!("partial"), Some(0)), "a rejection never fails a task");
    assert_eq!((&missing[0]["reason"], &missing[1]["reason"]), (&json!("rejected"), &json!("rejected")));
    assert_eq!(darkroom(&stack, &["watch", "none"], "").await.0, 0);
}

#[tokio::test]
async fn a_failed_task_ends_with_4_and_one_without_a_row_is_started_again() {
    let stack = Stack::start().await;
    let photo = stack.provider.serve_busy("ann.jpg");
    let start =
        ["start", "--task", "c4", "--user", "ann", "--plan", "free", "--prompt", "p", "--photo", &photo];
    let start = [&start[..], &["--wait"]].concat();

    let (code, _, stderr) = darkroom(&stack, &start, "").await;
    assert_eq!(code, 4, "{stderr}");
    assert!(stderr.contains("PhotoUnavailable"), "{stderr}");
    stack.provider.serve_photo("ann.jpg", portrait(), "image/jpeg");

    let (code, stdout, stderr) = darkroom(&stack, &start, "").await;
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("completed: 2 of 2 images stored"), "{stdout}");
}
