//! `darkroom queue`: what waits for a paid call; for a task: its place, why it waits, and when it is done.

mod order;

use std::collections::HashMap;

use database::DatabaseConnection;
use database::report::{self, RunningTask};
use serde_json::{Value, json};
use worker::Config;
use workflows::plan;
use workflows::types::PlanSpec;

use super::look::{self, Format, View};
use super::{limits, workers};
use crate::exit::Exit;
use order::{Service, Waiting};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A task's id: its place, why it waits, and when it is done, as an estimate.
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
            Some(task_id) => of_task(&config, &database, temporal.as_ref(), &queue, task_id).await,
            None => of_all(&config, &database, temporal.as_ref(), &queue).await,
        }
    };
    look::show(&args.format, look).await
}

/// What waits for calls of the configured key.
struct Queue {
    tasks: Vec<RunningTask>,
    /// Of each task, in the same order.
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
    let spec = PlanSpec {
        name: task.plan.clone(),
        images: task.images_planned,
        batch_size: config.generate.batch_size.min(config.provider.images_per_call()),
    };
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
        look::table(&WAITING, &groups),
        workflows::task_queue::generate(&config.provider.route),
        look::table(&BACKLOG, &backlog),
        look::table(&limits::COLUMNS, &keys),
        look::table(&workers::COLUMNS, &workers),
    );
    Ok(View { json: json!({"waiting": groups, "temporal": backlog, "keys": keys, "workers": workers}), text })
}

const NO_WORKFLOW: &str = "it doesn't: its workflow is not open any more. Started again, the task goes on; else `darkroom reconcile` \
                           closes its row a day later";

async fn of_task(
    config: &Config,
    database: &DatabaseConnection,
    temporal: Option<&client::Client>,
    queue: &Queue,
    task_id: &str,
) -> anyhow::Result<View> {
    let Some(place) = queue.tasks.iter().position(|task| task.task_id == task_id) else {
        return not_waiting(database, temporal, task_id).await;
    };
    let (task, own) = (&queue.tasks[place], &queue.calls[place]);
    let key_name = config.provider.provider_key();
    let keys = report::limits(database).await?;
    let key = keys.into_iter().find(|key| key["provider_key"] == key_name).unwrap_or_default();
    let number = |name: &str| key[name].as_u64().unwrap_or_default() as u32;

    let is_closed = match temporal {
        Some(temporal) => match temporal.task(task_id).is_closed().await {
            Err(client::Error::NotFound { .. }) => true,
            is_closed => is_closed?,
        },
        None => false,
    };
    let ahead = (own.calls > 0).then(|| order::ahead(&queue.calls, own, 0));
    let stopped = stopped(&key, key_name);
    let why = match (&stopped, ahead) {
        _ if is_closed => NO_WORKFLOW.into(),
        _ if own.calls == 0 && task.in_flight > 0 => "it doesn't: its calls are in flight".into(),
        _ if own.calls == 0 => "it doesn't: its last images are being stored".into(),
        (Some(stopped), _) => stopped.clone(),
        (None, Some(ahead)) if ahead > 0 || number("in_flight") >= number("granted") => {
            let limit = key["calls_at_once"].as_u64().map_or("the workers' slots".to_owned(), |limit| {
                format!("all {limit} calls at once of provider key `{key_name}`")
            });
            format!("{limit} are in use, and {ahead} calls are served before its next one")
        }
        (None, _) => "it is next, and is given to a worker now".into(),
    };

    let service = report::pace(database, key_name).await?.mean_ms.map(|mean_ms| Service {
        at_once: key["calls_at_once"].as_u64().map_or(number("granted"), |limit| limit as u32),
        mean_ms,
        calls_per_minute: key["calls_per_minute"].as_u64().map(|rate| rate as u32),
    });
    let last = (own.calls + own.later).checked_sub(1);
    let last = last.map_or(0, |last| order::ahead(&queue.calls, own, last));
    let eta_s = match (&service, &stopped) {
        (Some(service), None) if !is_closed => {
            let rounds = if task.has_reference { 1.0 } else { 2.0 };
            order::begins_in_ms(service, last)
                .map(|ms| ((ms + rounds * service.mean_ms) / 100.0).round() / 10.0)
        }
        _ => None,
    };
    let method = match (&service, &stopped) {
        _ if is_closed => "no estimate: nobody works on it".to_owned(),
        (None, _) => "no estimate: no call of this key has been answered yet".to_owned(),
        (_, Some(_)) => "no estimate while no call may begin".to_owned(),
        (Some(service), None) => format!(
            "{last} calls before its last one, {} at once{}, {:.1} s each as the last 100 took; before the storing of its last images. The order: \
             lanes by their weights, within a lane as they came",
            service.at_once,
            service.calls_per_minute.map(|rate| format!(" and {rate} a minute")).unwrap_or_default(),
            service.mean_ms / 1000.0,
        ),
    };
    let text = format!(
        "task       {} of {}, plan {}\nlane       {}, weight {}\ncalls      {} of its batches answered, {} in flight, {} wait, {} come later\n{}why        {why}\n{}\
         done in    {}\nmethod     {method}\n",
        task.task_id,
        task.user_id,
        task.plan,
        task.lane,
        task.lane_weight,
        task.answered,
        task.in_flight,
        own.calls,
        own.later,
        ahead.map(|ahead| format!("position   {}\n", ahead + 1)).unwrap_or_default(),
        task.failure
            .as_ref()
            .map(|failure| format!("failed     {} of its calls, tried again: {failure}\n", task.failed))
            .unwrap_or_default(),
        eta_s.map_or("-".to_owned(), |eta| format!("{eta:.1} s, about")),
    );
    let json = json!({
        "task_id": task.task_id, "user_id": task.user_id, "plan": task.plan, "lane": task.lane, "lane_weight": task.lane_weight,
        "state": "running", "batches_answered": task.answered, "in_flight": task.in_flight, "waiting": own.calls, "later": own.later,
        "position": ahead.map(|ahead| ahead + 1), "why": why,
        "failed": task.failed, "failure": task.failure, "eta_s": eta_s, "method": method,
    });
    Ok(View { json, text })
}

/// Why no call of the key may begin, whoever's it is.
fn stopped(key: &Value, name: &str) -> Option<String> {
    let number = |name: &str| key[name].as_u64();
    let throttled_s = number("throttled_ms").unwrap_or_default().div_ceil(1000);
    if number("workers").unwrap_or_default() == 0 {
        return Some(
            "no worker makes paid calls: does `darkroom worker` run, with the role `generate`?".into(),
        );
    }
    if key["paused"] == true {
        return Some(format!("provider key `{name}` is paused: `darkroom limits resume {name}` ends that"));
    }
    if number("calls_at_once") == Some(0) {
        return Some(format!(
            "provider key `{name}` may make 0 calls at once: `darkroom limits set {name} --ceiling …`"
        ));
    }
    if throttled_s > 0 {
        if let Some(refused) = key["refused"].as_str() {
            return Some(format!(
                "the provider refuses the account: {refused}; the next try is in {throttled_s} s"
            ));
        }
        let failing = number("failing").unwrap_or_default();
        return Some(match failing {
            0..5 => format!("the provider asked to wait: for {throttled_s} s from now"),
            _ => format!(
                "the provider has failed {failing} times in a row; the next try is in {throttled_s} s"
            ),
        });
    }
    for (what, limit) in [("calls", "calls_per_minute"), ("images", "images_per_minute")] {
        if let (Some(used), Some(limit)) = (number(&format!("{what}_last_minute")), number(limit))
            && used >= limit
        {
            return Some(format!("the last minute had {used} {what}, and may have {limit}"));
        }
    }
    None
}

/// A task that isn't among those that run: it has ended, or has no row yet.
async fn not_waiting(
    database: &DatabaseConnection,
    temporal: Option<&client::Client>,
    task_id: &str,
) -> anyhow::Result<View> {
    let (state, why) = if let Some(task) = database::tasks::find(database, task_id).await? {
        (task.output.state.as_str(), format!("it doesn't: it has ended ({})", task.output.state.as_str()))
    } else {
        let not_found = || client::Error::NotFound { task_id: task_id.to_owned() };
        if temporal.ok_or_else(not_found)?.task(task_id).is_closed().await? {
            ("refused", "it doesn't: it ended before it had a row; its workflow says why".into())
        } else {
            (
                "running",
                "its input and its photo are being checked (`prepare`); it asks for no paid call before"
                    .into(),
            )
        }
    };
    let text = format!("task       {task_id}\nwhy        {why}\n");
    Ok(View { json: json!({"task_id": task_id, "state": state, "why": why}), text })
}
