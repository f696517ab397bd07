//! `darkroom cancel` makes a task begin no new paid call. Stored images stay.

use client::Client;
use worker::Config;

use crate::exit::Exit;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Id of the task.
    task_id: String,
    /// Reason that Temporal's history shows.
    #[arg(long, default_value = "by the command line")]
    reason: String,
    /// Wait for the task's end, and print its result as JSON.
    #[arg(long)]
    wait: bool,
}

pub(crate) async fn run(config: Config, args: Args) -> anyhow::Result<Exit> {
    let task = Client::connect(&config.temporal).await?.task(&args.task_id);
    if task.is_closed().await? {
        eprintln!("task {} has ended: there is nothing to cancel", args.task_id);
    } else {
        task.cancel(&args.reason).await?;
        eprintln!("task {}: cancel requested", args.task_id);
    }
    if args.wait {
        let output = task.result().await?;
        println!("{}", serde_json::to_string(&output)?);
    }
    Ok(Exit::Success)
}
