//! Logs carry no prompt and no signed URL, whatever goes wrong.

use std::process::Stdio;

use sandbox::{ProviderFault, Rule};
use tests::{Stack, a_task};

const SECRET_PROMPT: &str = "a garden that nobody may read of";

#[tokio::test]
async fn no_log_line_carries_a_prompt_or_a_signed_url() {
    let stack = Stack::with().without_worker().start().await;
    let faults = stack.provider.faults();
    faults
        .add(Rule::new(ProviderFault::Status { status: 503, retry_after_s: None }).prompt("garden").times(1));
    faults.add(Rule::new(ProviderFault::MalformedJson).prompt("garden").times(1));
    faults.add(Rule::new(ProviderFault::DownloadStatus { status: 500 }).times(2));
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_darkroom"));
    command.arg("worker").envs(stack.environment()).env("DARKROOM_WORKER__LOG", "debug,hyper=info,h2=info");
    // A pipe that nobody reads would hold the worker up.
    let log = tempfile::NamedTempFile::new().unwrap();
    let stderr = Stdio::from(log.reopen().unwrap());
    let mut worker = command.stdout(Stdio::null()).stderr(stderr).kill_on_drop(true).spawn().unwrap();
    let given = a_task().prompt(SECRET_PROMPT);

    stack.run(&given).await;

    let pid = worker.id().unwrap().to_string();
    std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    worker.wait().await.unwrap();
    let log = std::fs::read_to_string(log.path()).unwrap();
    assert!(
        log.contains("call failed") && log.contains("attempt failed") && log.contains("generated"),
        "{log}"
    );
    let signed = ["signature=", "X-Amz-Signature", "Signature="];
    let told: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("nobody may read") || signed.iter().any(|part| line.contains(part)))
        .collect();
    assert_eq!(told, Vec::<&str>::new());
}
