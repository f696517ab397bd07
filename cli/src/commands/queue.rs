//! `darkroom queue` shows the paid calls that wait. For a task it shows its place, why it waits and
//! when it is done.

mod task;

use std::collections::HashMap;

use database::DatabaseConnection;
use paid_calls::queue::order::Waiting;
use paid_calls::report::{self, RunningTask};
use serde_json::{Value, json};
use worker::Config;
use workflows::plan;
use workflows::types::PlanSpec;

use super::output::{self, Format, View};
use super::{limits, workers};
use crate::exit::Exit;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Id of a task, to show its place, why it waits and an estimate of when it is done.
    task_id: Option<String>,
    #[command(flatten)]
    format: Format,
}

pub(crate) async fn run(config: Config, args: Args) -> anyhow::Result<Exit> {
    config.validate_database()?;
    let database = database::connect(&config.database, 1).await?;
    let temporal = match client::Client::connect(&config.temporal).await {
        Ok(temporal) => Some(temporal),
        Err(error) => {
            eprintln!("Temporal can't be asked what waits there: {error}");
            None
        }
    };
    let look = async || {
        let queue = Queue::read(&config, &database).await?;
        match &args.task_id {
            Some(task_id) => task::look(&config, &database, temporal.as_ref(), &queue, task_id).await,
            None => of_all(&config, &database, temporal.as_ref(), &queue).await,
        }
    };
    output::show(&args.format, look).await
}

/// Tasks that run, and their paid calls that wait.
struct Queue {
    tasks: Vec<RunningTask>,
    /// Waiting calls of each task, in the same order.
    calls: Vec<Waiting>,
}

impl Queue {
    async fn read(config: &Config, database: &DatabaseConnection) -> anyhow::Result<Self> {
        let tasks = report::running(database).await?;
        let calls = tasks.iter().map(|task| waiting(config, task)).collect();
        Ok(Self { tasks, calls })
    }
}

fn waiting(config: &Config, task: &RunningTask) -> Waiting {
    let spec =
        PlanSpec { name: task.plan.clone(), images: task.images_planned, batch_size: config.images_a_call() };
    let batches = plan::batches(&spec, task.prompts).len() as u32;
    let (calls, later) = if task.has_reference {
        (batches.saturating_sub(task.answered + task.in_flight), 0)
    } else {
        (1u32.saturating_sub(task.in_flight), batches)
    };
    Waiting {
        task_id: task.task_id.clone(),
        lane: task.lane.clone(),
        weight: task.lane_weight.into(),
        since_ms: task.waits_ms,
        calls,
        later,
    }
}

const WAITING: [&str; 8] =
    ["lane", "weight", "plan", "user_id", "tasks", "waiting", "in_flight", "oldest_wait_s"];
const BACKLOG: [&str; 3] = ["priority", "calls", "oldest_wait_s"];

async fn of_all(
    config: &Config,
    database: &DatabaseConnection,
    temporal: Option<&client::Client>,
    queue: &Queue,
) -> anyhow::Result<View> {
    let keys = report::limits(database).await?;
    let workers = report::workers(database).await?;
    let mut groups: Vec<Value> = Vec::new();
    let mut places: HashMap<(&str, &str, &str), usize> = HashMap::new();
    for (task, waiting) in queue.tasks.iter().zip(&queue.calls) {
        let place = *places.entry((&task.lane, &task.plan, &task.user_id)).or_insert_with(|| {
            groups.push(json!({
                "lane": task.lane, "weight": task.lane_weight, "plan": task.plan, "user_id": task.user_id,
                "tasks": 0, "waiting": 0, "in_flight": 0, "oldest_wait_s": null,
            }));
            groups.len() - 1
        });
        let group = &mut groups[place];
        let sum = |name: &str, more: u32| json!(group[name].as_u64().unwrap_or_default() + u64::from(more));
        let (tasks, calls, in_flight) =
            (sum("tasks", 1), sum("waiting", waiting.calls), sum("in_flight", task.in_flight));
        group["tasks"] = tasks;
        group["waiting"] = calls;
        group["in_flight"] = in_flight;
        if waiting.calls > 0 {
            let seconds = (task.waits_ms / 100) as f64 / 10.0;
            group["oldest_wait_s"] = json!(group["oldest_wait_s"].as_f64().unwrap_or_default().max(seconds));
        }
    }
    let weight = |group: &Value| group["weight"].as_f64().unwrap_or_default();
    groups.sort_by(|one, other| weight(other).total_cmp(&weight(one)));
    let backlog = match temporal {
        Some(temporal) => temporal.backlog(&config.provider.route).await?,
        None => Vec::new(),
    };
    let backlog: Vec<Value> = backlog
        .iter()
        .map(|backlog| {
            let seconds = (backlog.age.as_millis() / 100) as f64 / 10.0;
            json!({"priority": backlog.priority, "calls": backlog.calls, "oldest_wait_s": seconds})
        })
        .collect();
    let sum = |name: &str| groups.iter().filter_map(|group| group[name].as_u64()).sum::<u64>();
    let text = format!(
        "{} tasks run: {} calls in flight, {} wait\n\n{}\nin Temporal's queue {}\n{}\n{}\n{}",
        queue.tasks.len(),
        sum("in_flight"),
        sum("waiting"),
        output::table(&WAITING, &groups),
        workflows::task_queue::generate(&config.provider.route),
        output::table(&BACKLOG, &backlog),
        output::table(&limits::COLUMNS, &output::objects(&keys)),
        output::table(&workers::COLUMNS, &output::objects(&workers)),
    );
    Ok(View { json: json!({"waiting": groups, "temporal": backlog, "keys": keys, "workers": workers}), text })
}
