//! `darkroom start --stdin` starts a task for each line, and prints an answer for each.

use anyhow::Context;
use client::{Client, Task};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use worker::Config;
use workflows::types::GenerateImagesInput;

use super::check;
use crate::exit::Exit;

/// Starts each line's task. A refused line doesn't stop the others, but a failure of Temporal does.
pub(super) async fn start(config: &Config) -> anyhow::Result<Exit> {
    let client = Client::connect(&config.temporal).await?;
    let mut lines = BufReader::new(tokio::io::stdin()).split(b'\n');
    let (mut number, mut some_started, mut some_refused) = (0, false, false);
    while let Some(line) = lines.next_segment().await.context("stdin")? {
        number += 1;
        if line.trim_ascii().is_empty() {
            continue;
        }
        let task_id = task_id(&line);
        match start_line(&client, config, &line).await {
            Ok(task) => {
                some_started = true;
                let existed = task.existed();
                println!(
                    "{}",
                    json!({"line": number, "task_id": task_id, "started": true, "existed": existed})
                );
            }
            Err(error) => {
                let refused =
                    matches!(error, client::Error::InvalidInput(_) | client::Error::InputDiffers { .. });
                some_refused |= refused;
                let started = if refused { json!(false) } else { Value::Null };
                let why = error.to_string();
                println!("{}", json!({"line": number, "task_id": task_id, "started": started, "error": why}));
                if !refused {
                    eprintln!("error: line {number} may have been started, later ones were not: {why}");
                    return Ok(Exit::Failure);
                }
            }
        }
    }
    Ok(match (some_started, some_refused) {
        (_, false) => Exit::Success,
        (false, true) => Exit::BadInput,
        (true, true) => Exit::SomeRefused,
    })
}

async fn start_line(client: &Client, config: &Config, line: &[u8]) -> Result<Task, client::Error> {
    let input: GenerateImagesInput =
        serde_json::from_slice(line).map_err(|error| client::Error::InvalidInput(error.to_string()))?;
    check(config, &input)?;
    client.start(&input).await
}

/// Returns the task's id as the line has it, even if it is no legal id. Null means that the line
/// has none.
fn task_id(line: &[u8]) -> Value {
    let value: Value = serde_json::from_slice(line).unwrap_or_default();
    value.get("task_id").cloned().unwrap_or_default()
}
