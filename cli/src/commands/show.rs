//! `darkroom show` prints a task as the database has it.

use workflows::types::TaskState;

use worker::Config;

use super::render;
use crate::exit::Exit;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Id of the task.
    task_id: String,
    /// Print input, output and failure as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(config: Config, args: Args) -> anyhow::Result<Exit> {
    config.validate_database()?;
    let database = database::connect(&config.database, 1).await?;
    let Some(task) = database::tasks::find(&database, &args.task_id).await? else {
        let id = args.task_id;
        eprintln!(
            "error: the database has no task `{id}`: it was never started, no worker has begun it yet, or its input was refused; \
             what Temporal knows: darkroom watch {id}"
        );
        return Ok(Exit::NotFound);
    };
    if args.json {
        let json = serde_json::json!({"input": task.input, "output": task.output, "failure": task.failure});
        println!("{json}");
        return Ok(Exit::Success);
    }
    println!("task {} of {}, plan {}", task.output.task_id, task.input.user_id, task.input.plan);
    println!(
        "begun {}{}",
        task.created_at,
        match task.finished_at {
            Some(end) => format!(", ended {end} ({:.1} s)", (end - task.created_at).as_seconds_f64()),
            None => ", running (see: darkroom watch)".into(),
        }
    );
    if task.output.state != TaskState::Running {
        render::print_output(&task.output);
    }
    if let Some(failure) = task.failure {
        println!("{}: {}", failure.kind.as_str(), failure.message);
    }
    Ok(Exit::Success)
}
