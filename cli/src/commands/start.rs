//! `darkroom start` starts one task from flags, or many from JSON lines on stdin.

mod lines;

use std::path::{Path, PathBuf};

use activities::plans;
use activities::storage::Storage;
use client::Client;
use sha2::{Digest, Sha256};
use worker::Config;
use workflows::types::GenerateImagesInput;

use super::watch;
use crate::exit::Exit;

#[derive(clap::Args)]
#[command(after_help = "Examples:
  darkroom start --task order-1 --user ann --plan free --prompt 'in a garden' --photo-file portrait.jpg --wait
  darkroom start --stdin < tasks.jsonl     one {\"task_id\",\"user_id\",\"plan\",\"prompt\",\"photo\"} a line

The plan is looked up in this command's configuration, which must have the workers' plans.

With --stdin each line is answered by a line of JSON: \"line\", \"task_id\" and \"started\"; then \"existed\", which is true for a
task that was there already, or \"error\". \"started\" is false where the line was refused: nothing is paid for it. The exit code:
  0  every line was started, or its task was there already
  1  Temporal failed: \"started\" is null in the last answer, and later lines were not read. Give all lines again:
     no task is started twice
  3  every line was refused
  7  some lines were started, others refused")]
pub(crate) struct Args {
    /// Id of the task. Starting it again finds the same task.
    #[arg(long = "task", value_name = "ID", required_unless_present = "stdin")]
    task_id: Option<String>,
    /// Id of the task's user.
    #[arg(long = "user", value_name = "ID", required_unless_present = "stdin")]
    user_id: Option<String>,
    /// Name of a configured plan.
    #[arg(long, required_unless_present = "stdin")]
    plan: Option<String>,
    /// Description of the images. Several prompts are spread over the images.
    #[arg(long = "prompt", value_name = "TEXT", required_unless_present = "stdin")]
    prompts: Vec<String>,
    /// The photo, as an http(s) URL or as an object's key in the bucket.
    #[arg(long, value_name = "URL|KEY", required_unless_present_any = ["stdin", "photo_file"])]
    photo: Option<String>,
    /// The photo as a file, which is put into the bucket as uploads/<hash> first.
    #[arg(long, value_name = "FILE", conflicts_with = "photo")]
    photo_file: Option<PathBuf>,
    /// Follow the task to its end.
    #[arg(long, conflicts_with = "stdin")]
    wait: bool,
    /// Read inputs as JSON lines from stdin.
    #[arg(long)]
    stdin: bool,
    /// Print machine-readable output as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(config: Config, args: Args) -> anyhow::Result<Exit> {
    if args.stdin {
        return lines::start(&config).await;
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
    check(&config, &input)?;
    let client = Client::connect(&config.temporal).await?;
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

/// Refuses input that no worker with this configuration would take, before anything is started.
fn check(config: &Config, input: &GenerateImagesInput) -> Result<(), client::Error> {
    let batch_size = config.images_a_call();
    let checked = input.validate().and_then(|()| plans::resolve(&config.plans, batch_size, input));
    checked.map(drop).map_err(client::Error::InvalidInput)
}

/// A local file on its way into the bucket, so that workers on other machines can read it.
struct Upload {
    /// Object key that is derived from the bytes, so that another photo is other input.
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
