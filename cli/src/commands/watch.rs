//! `darkroom watch` follows a task until it has ended.

use std::time::Duration;

use client::{Client, Task};
use futures::StreamExt;
use worker::Config;

use super::render;
use crate::exit::Exit;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Id of the task.
    task_id: String,
    /// Print progress and result as JSON lines.
    #[arg(long)]
    json: bool,
}

const INTERVAL: Duration = Duration::from_millis(500);

pub(crate) async fn run(config: Config, args: Args) -> anyhow::Result<Exit> {
    let task = Client::connect(&config.temporal).await?.task(&args.task_id);
    follow(&task, args.json).await
}

/// Prints a task's progress, then its result.
pub(crate) async fn follow(task: &Task, json: bool) -> anyhow::Result<Exit> {
    let mut looks = std::pin::pin!(task.watch(INTERVAL));
    while let Some(look) = looks.next().await {
        match look {
            Ok(progress) if json => println!("{}", serde_json::to_string(&progress)?),
            Ok(progress) => eprintln!("{}", render::line(&progress)),
            Err(error @ client::Error::NotFound { .. }) => return Err(error.into()),
            Err(error) => eprintln!("no progress just now: {error}"),
        }
    }
    let output = task.result().await?;
    if json {
        println!("{}", serde_json::to_string(&output)?);
    } else {
        render::print_output(&output);
    }
    Ok(render::exit(output.state))
}
