//! `darkroom start`: one task from flags, or many from JSON lines on stdin.

use std::path::{Path, PathBuf};

use activities::storage::Storage;
use anyhow::Context;
use client::Client;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, BufReader};
use worker::Config;
use workflows::types::GenerateImagesInput;

use super::watch;
use crate::exit::Exit;

#[derive(clap::Args)]
#[command(after_help = "Examples:
  darkroom start --task order-1 --user ann --plan free --prompt 'in a garden' --photo-file portrait.jpg --wait
  darkroom start --stdin < tasks.jsonl     one {\"task_id\",\"user_id\",\"plan\",\"prompt\",\"photo\"} a line")]
pub(crate) struct Args {
    /// The task's id: starting it again finds the same task.
    #[arg(long = "task", value_name = "ID", required_unless_present = "stdin")]
    task_id: Option<String>,
    /// Whose task it is.
    #[arg(long = "user", value_name = "ID", required_unless_present = "stdin")]
    user_id: Option<String>,
    /// Name of a configured plan.
    #[arg(long, required_unless_present = "stdin")]
    plan: Option<String>,
    /// What the images show; several are spread over the images.
    #[arg(long = "prompt", value_name = "TEXT", required_unless_present = "stdin")]
    prompts: Vec<String>,
    /// The photo: an http(s) URL, or an object's key in the bucket.
    #[arg(long, value_name = "URL|KEY", required_unless_present_any = ["stdin", "photo_file"])]
    photo: Option<String>,
    /// The photo as a file: put into the bucket as uploads/<hash> first.
    #[arg(long, value_name = "FILE", conflicts_with = "photo")]
    photo_file: Option<PathBuf>,
    /// Follow the task to its end.
    #[arg(long, conflicts_with = "stdin")]
    wait: bool,
    /// Read inputs as JSON lines from stdin.
    #[arg(long)]
    stdin: bool,
    /// Machine-readable output.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(config: Config, args: Args) -> anyhow::Result<Exit> {
    let client = Client::connect(&config.temporal).await?;
    if args.stdin {
        return start_lines(&client).await;
    }
    let task_id = args.task_id.unwrap_or_default();
    let upload = args.photo_file.map(|file| Upload::read(&config, &file)).transpose()?;
    let photo = args.photo.or(upload.as_ref().map(|upload| upload.key.clone())).unwrap_or_default();
    let mut prompts = args.prompts;
    let prompt = if prompts.len() == 1 { prompts.pop() } else { None };
    let input = GenerateImagesInput {
        task_id,
        user_id: args.user_id.unwrap_or_default(),
        plan: args.plan.unwrap_or_default(),
        prompt,
        prompts,
        photo,
    };
    input.validate().map_err(client::Error::InvalidInput)?;
    if let Some(Upload { key, bytes }) = upload {
        Storage::new(&config.storage).put(&key, "application/octet-stream", bytes.into()).await?;
    }
    let task = client.start(&input).await?;
    if args.wait {
        return watch::follow(&task, args.json).await;
    }
    if args.json {
        println!(
            "{}",
            serde_json::json!({"task_id": input.task_id, "started": true, "existed": task.existed()})
        );
    } else {
        println!("{}", input.task_id);
        let what = if task.existed() { "was there already" } else { "started" };
        eprintln!("{what}; follow it with: darkroom watch {}", input.task_id);
    }
    Ok(Exit::Success)
}

/// A local file on its way into the bucket, so that workers on other machines can read it.
struct Upload {
    /// Derived from the bytes: another photo is other input.
    key: String,
    bytes: Vec<u8>,
}

impl Upload {
    fn read(config: &Config, file: &Path) -> Result<Self, client::Error> {
        let bad = |why: String| client::Error::InvalidInput(format!("photo {}: {why}", file.display()));
        let bytes = std::fs::read(file).map_err(|error| bad(error.to_string()))?;
        let limit = config.fetch.max_photo_bytes;
        if bytes.len() as u64 > limit {
            return Err(bad(format!("{} bytes: {limit} at most", bytes.len())));
        }
        let hash: String = Sha256::digest(&bytes).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { key: format!("uploads/{hash}"), bytes })
    }
}

/// One line of output for each of input. A bad line is told and skipped; it makes the exit code 3.
async fn start_lines(client: &Client) -> anyhow::Result<Exit> {
    let mut lines = BufReader::new(tokio::io::stdin()).split(b'\n');
    let (mut number, mut exit) = (0, Exit::Success);
    while let Some(line) = lines.next_segment().await.context("stdin")? {
        number += 1;
        if line.trim_ascii().is_empty() {
            continue;
        }
        let started = match serde_json::from_slice::<GenerateImagesInput>(&line) {
            Ok(input) => client.start(&input).await,
            Err(error) => Err(client::Error::InvalidInput(error.to_string())),
        };
        match started {
            Ok(task) => println!(
                "{}",
                serde_json::json!({
                    "line": number, "task_id": task.task_id(), "started": true, "existed": task.existed(),
                })
            ),
            Err(error @ client::Error::Temporal(_)) => return Err(error.into()),
            Err(error) => {
                exit = Exit::BadInput;
                println!(
                    "{}",
                    serde_json::json!({"line": number, "started": false, "error": error.to_string()})
                );
            }
        }
    }
    Ok(exit)
}
