//! `darkroom queue ID` shows where a task stands, why it waits, and an estimate of when it is done.

use client::Pending;
use database::DatabaseConnection;
use paid_calls::queue::order::{self, Waiting};
use paid_calls::queue::{Explanation, Standing};
use paid_calls::report::{self, RunningTask};
use serde_json::json;
use worker::Config;

use super::super::output::View;
use super::Queue;

pub(super) async fn look(
    config: &Config,
    database: &DatabaseConnection,
    temporal: Option<&client::Client>,
    queue: &Queue,
    task_id: &str,
) -> anyhow::Result<View> {
    let Some(place) = queue.tasks.iter().position(|task| task.task_id == task_id) else {
        return not_running(database, temporal, task_id).await;
    };
    let (task, own) = (&queue.tasks[place], &queue.calls[place]);
    let key_name = config.provider.provider_key();
    let keys = report::limits(database).await?;
    let (is_closed, pending) = match temporal {
        Some(temporal) => of_workflow(&temporal.task(task_id)).await?,
        None => (false, Vec::new()),
    };
    let standing = Standing {
        task,
        own,
        is_closed,
        pending,
        ahead: (own.calls > 0).then(|| order::ahead(&queue.calls, own, 0)),
        // The retouching comes first, and asks for one image.
        next_images: if own.later > 0 { 1 } else { config.images_a_call() },
        key_name,
        key: keys.into_iter().find(|key| key.provider_key == key_name).unwrap_or_default(),
        pace: report::pace(database, key_name).await?,
    };
    let last = (own.calls + own.later).checked_sub(1).map(|last| order::ahead(&queue.calls, own, last));
    Ok(view(task, own, standing.explain(last)))
}

/// Returns whether a task's workflow is closed, and the activities that the workflow waits for.
async fn of_workflow(task: &client::Task) -> Result<(bool, Vec<Pending>), client::Error> {
    match task.is_closed().await {
        Ok(false) => Ok((false, task.pending().await?)),
        Ok(true) | Err(client::Error::NotFound { .. }) => Ok((true, Vec::new())),
        Err(error) => Err(error),
    }
}

fn view(task: &RunningTask, own: &Waiting, explanation: Explanation) -> View {
    let Explanation { why, position, eta_s, method } = explanation;
    let mut text = format!(
        "task       {} of {}, plan {}\nlane       {}, weight {}\ncalls      {} of its batches answered, {} in flight, {} wait, {} come later\n",
        task.task_id,
        task.user_id,
        task.plan,
        task.lane,
        task.lane_weight,
        task.answered,
        task.in_flight,
        own.calls,
        own.later,
    );
    if let Some(position) = position {
        text += &format!("position   {position}\n");
    }
    text += &format!("why        {}\n", why);
    if let Some(failure) = &task.failure {
        text += &format!("failed     {} of its calls, tried again: {failure}\n", task.failed);
    }
    let done_in = eta_s.map_or("-".to_owned(), |eta| format!("{eta:.1} s, about"));
    text += &format!("done in    {done_in}\nmethod     {method}\n");
    let json = json!({
        "task_id": task.task_id, "user_id": task.user_id, "plan": task.plan, "lane": task.lane, "lane_weight": task.lane_weight,
        "state": "running", "batches_answered": task.answered, "in_flight": task.in_flight, "waiting": own.calls, "later": own.later,
        "position": position, "why": why,
        "failed": task.failed, "failure": task.failure, "eta_s": eta_s, "method": method,
    });
    View { json, text }
}

/// Describes a task that isn't running, because it has ended or has no row yet.
async fn not_running(
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
