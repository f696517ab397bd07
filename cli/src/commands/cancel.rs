//! `darkroom cancel`: no new paid call; what is stored stays.

use client::Client;
use worker::Config;

use crate::exit::Exit;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The task's id.
    task_id: String,
    /// Why, for Temporal's history.
    #[arg(long, default_value = "by the command line")]
    reason: String,
    /// Wait for its end and print its result as JSON.
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
