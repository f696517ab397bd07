//! The binary as scripts use it: data on stdout, words on stderr, documented exit codes.
#![allow(clippy::unwrap_used, reason = "tests")]

mod logs;
mod operate;
mod reconcile;
mod start;
mod waits;

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tests::{Stack, a_task};

/// Runs `darkroom` with the stack's environment.
async fn darkroom(stack: &Stack, arguments: &[&str], stdin: &str) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_darkroom"));
    command.args(arguments).envs(stack.environment()).env_remove("DARKROOM_CONFIG");
    run(command, stdin).await
}

async fn run(mut command: Command, stdin: &str) -> (i32, String, String) {
    let stdin = stdin.to_owned();
    let output = tokio::task::spawn_blocking(move || -> Output {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    });
    let output = output.await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

fn lines(stdout: &str) -> Vec<Value> {
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn it_ends_without_a_word_when_nobody_reads_its_output() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(env!("CARGO_BIN_EXE_darkroom")).arg("config").stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap()), (Some(141), String::new()));
}

#[tokio::test]
async fn start_waits_watches_and_shows() {
    let stack = Stack::start().await;
    let photo = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/portrait.jpg");
    let start = ["start", "--task", "c1", "--user", "ann", "--plan", "free", "--prompt", "a garden"];

    let (code, stdout, stderr) =
        darkroom(&stack, &[&start[..], &["--photo-file", photo, "--wait", "--json"]].concat(), "").await;
    assert_eq!(code, 0, "{stderr}");
    let result = lines(&stdout).pop().unwrap();
    assert_eq!((&result["state"], result["images"].as_array().unwrap().len()), (&json!("completed"), 2));

    let (code, stdout, _) = darkroom(&stack, &["show", "c1", "--json"], "").await;
    assert_eq!(code, 0);
    assert_eq!(lines(&stdout)[0]["output"], result);

    let (code, stdout, _) = darkroom(&stack, &["watch", "c1", "--json"], "").await;
    assert_eq!(code, 0);
    assert_eq!(lines(&stdout).pop().unwrap(), result, "watching a finished task ends with its result");

    let (code, stdout, _) = darkroom(&stack, &["show", "c1"], "").await;
    assert_eq!(code, 0);
    assert!(stdout.contains("completed: 2 of 2 images stored"), "{stdout}");
}

#[tokio::test]
async fn exit_codes_tell_bad_input_failure_and_absence_apart() {
    let stack = Stack::start().await;
    let start = |photo: &'static str, plan: &'static str| {
        [
            "start", "--task", "c2", "--user", "ann", "--plan", plan, "--prompt", "p", "--photo", photo,
            "--wait",
        ]
    };

    let (code, _, stderr) = darkroom(&stack, &start("ftp://host/x", "free"), "").await;
    assert_eq!(code, 3, "{stderr}");
    let (code, _, stderr) = darkroom(&stack, &start("uploads/portrait.jpg", "gold"), "").await;
    assert_eq!(code, 3, "{stderr}");
    assert!(stderr.contains("plan `gold` is not configured"), "{stderr}");
    let (code, _, stderr) = darkroom(&stack, &start("uploads/nobody.jpg", "free"), "").await;
    assert_eq!(code, 3, "{stderr}");
    assert!(stderr.contains("there is no object `uploads/nobody.jpg`"), "{stderr}");
    let (code, _, stderr) = darkroom(&stack, &["show", "c2"], "").await;
    assert_eq!(code, 6, "{stderr}");
    assert!(stderr.contains("its input was refused; what Temporal knows: darkroom watch c2"), "{stderr}");
    let (code, _, stderr) = darkroom(&stack, &["watch", "nobody"], "").await;
    assert_eq!(code, 6, "{stderr}");
    let (code, _, _) = darkroom(&stack, &["no-such-command"], "").await;
    assert_eq!(code, 2);
}

#[tokio::test]
async fn cancel_stops_a_task_and_prints_what_is_kept() {
    let stack = Stack::start().await;
    stack.provider.hold();
    let task = stack.begin(&a_task().id("c3").plan("start")).await;
    stack.provider.meter().wait_until(|meter| meter.in_flight == 1).await.unwrap();

    let (code, _, stderr) = darkroom(&stack, &["cancel", "c3", "--reason", "changed my mind"], "").await;
    assert_eq!(code, 0, "{stderr}");
    stack.provider.release();
    stack.result(&task).await.unwrap();

    let (code, stdout, stderr) = darkroom(&stack, &["watch", "c3"], "").await;
    assert_eq!(code, 5, "{stderr}");
    assert!(stdout.contains("cancelled: 0 of 30 images stored"), "{stdout}");
}

#[tokio::test]
async fn check_names_what_is_wrong_and_what_to_do() {
    let stack = Stack::with().without_worker().start().await;
    let (code, stdout, _) = darkroom(&stack, &["check"], "").await;
    assert_eq!(code, 0, "{stdout}");
    assert_eq!(stdout.lines().filter(|line| line.starts_with("ok")).count(), 5, "{stdout}");
    assert!(stdout.contains("the model is listed; whether there is credit can't be told"), "{stdout}");
    assert!(stdout.contains(r#"fetch.allow_hosts = ["127.0.0.1"]"#), "{stdout}");
    assert!(stdout.contains(r#"worker.roles = ["tasks", "generate", "transfer"]"#), "{stdout}");

    let mut command = Command::new(env!("CARGO_BIN_EXE_darkroom"));
    command.args(["check", "--json"]).envs(stack.environment());
    command.env("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1").env("DARKROOM_PROVIDER__API_KEY", "wrong");
    let (code, stdout, _) = run(command, "").await;
    assert_eq!(code, 1);
    let failed: Vec<Value> =
        lines(&stdout).into_iter().filter(|finding| finding["ok"] == json!(false)).collect();
    assert_eq!(failed.iter().map(|finding| &finding["what"]).collect::<Vec<_>>(), ["storage", "provider"]);
    assert!(failed[0]["message"].as_str().unwrap().contains("AWS_ENDPOINT_URL_S3"), "{failed:?}");
    assert!(!stdout.contains("wrong"), "the key is not shown: {stdout}");
}

#[tokio::test]
async fn migrate_goes_down_and_up() {
    let stack = Stack::with().without_worker().start().await;
    assert_eq!(darkroom(&stack, &["migrate", "status"], "").await.1, "");
    assert_eq!(darkroom(&stack, &["migrate", "down"], "").await.0, 0);
    assert_eq!(darkroom(&stack, &["migrate", "status"], "").await.1, "m0001_tables\n");
    let (code, stdout, _) = darkroom(&stack, &["check"], "").await;
    assert!(code == 1 && stdout.contains("darkroom migrate up"), "{stdout}");
    assert_eq!(darkroom(&stack, &["migrate", "up"], "").await.0, 0);
    assert_eq!(darkroom(&stack, &["migrate", "status"], "").await.1, "");
}

#[tokio::test]
async fn bad_configuration_is_told_before_anything_starts() {
    let stack = Stack::with().without_worker().start().await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_darkroom"));
    command.arg("worker").envs(stack.environment()).env("DARKROOM_GENERATE__SLOTS", "0");
    let (code, _, stderr) = run(command, "").await;
    assert_eq!(code, 3);
    assert!(stderr.contains("generate.slots is 0"), "{stderr}");
}

#[test]
fn only_a_variable_that_can_be_a_setting_stops_a_command() {
    let limits = |name: &str, value: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_darkroom"));
        command.args(["check", "configuration"]).env_clear().env(name, value);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for name in ["DARKROOM_CACHE", "DARKROOM_IMAGE_TAG", "DARKROOM_SERVICE_HOST"] {
        assert_eq!(limits(name, "x"), (Some(1), String::new()), "accounts are missing, and no more: {name}");
    }
    for (name, says) in [
        ("DARKROOM_GENERATE__SLOTZ", "slotz"),
        ("DARKROOM_GENERATE_SLOTS", "the variable of generate.slots is DARKROOM_GENERATE__SLOTS"),
    ] {
        let (code, stderr) = limits(name, "3");
        assert_eq!(code, Some(3), "{stderr}");
        assert!(stderr.contains(says), "{stderr}");
    }
}

#[tokio::test]
async fn a_worker_ends_with_0_on_sigterm_and_its_work_goes_on_elsewhere() {
    let mut stack = Stack::with().without_worker().start().await;
    let mut worker = stack.spawn_worker(env!("CARGO_BIN_EXE_darkroom"), &[]);
    stack.provider.hold();
    let given = a_task().plan("start");
    let task = stack.begin(&given).await;
    stack.provider.meter().wait_until(|meter| meter.in_flight == 1).await.unwrap();

    let pid = worker.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    stack.provider.release();
    let status = worker.wait().await.unwrap();
    stack.start_worker();

    assert_eq!(status.code(), Some(0));
    assert_eq!(stack.result(&task).await.unwrap().images.len(), 30);
    assert_eq!(stack.outcome(&given).await.images_billed, 31, "the call that ran was finished, not repeated");
}
