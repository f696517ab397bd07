//! `darkroom queue ID`: where a task stands, why it waits, and when it is done, as an estimate.

use std::time::SystemTime;

use client::{Pending, PendingState};
use database::DatabaseConnection;
use database::report::{self, Pace, RunningTask};
use serde_json::{Value, json};
use worker::Config;

use super::super::look::View;
use super::Queue;
use super::order::{self, Service, Waiting};

/// A task that runs, and all that decides when its next call begins.
struct Standing<'a> {
    task: &'a RunningTask,
    own: &'a Waiting,
    /// Whether its workflow is closed: nobody works on it.
    is_closed: bool,
    /// What Temporal says of its activities; nothing where it can't be asked.
    pending: Vec<Pending>,
    /// Calls that are served before its next one.
    ahead: Option<u32>,
    /// How many images its next call asks for.
    next_images: u32,
    key_name: &'a str,
    key: Value,
    pace: Pace,
}

/// Why a task waits, or that it doesn't.
struct Reason {
    why: String,
    /// How long no call of the key begins, whoever's it is.
    closed_ms: f64,
    /// Why there is no estimate.
    no_estimate: Option<&'static str>,
}

impl Reason {
    fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), closed_ms: 0.0, no_estimate: None }
    }

    fn without_estimate(why: impl Into<String>, no_estimate: &'static str) -> Self {
        Self { no_estimate: Some(no_estimate), ..Self::new(why) }
    }
}

const NO_CALL_BEGINS: &str = "no estimate while no call may begin";

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
        // Its retouching comes first, and is one image.
        next_images: if own.later > 0 { 1 } else { config.images_a_call() },
        key_name,
        key: keys.into_iter().find(|key| key["provider_key"] == key_name).unwrap_or_default(),
        pace: report::pace(database, key_name).await?,
    };
    let last = (own.calls + own.later).checked_sub(1).map(|last| order::ahead(&queue.calls, own, last));
    Ok(standing.view(last))
}

/// Whether a task's workflow is closed, and what it waits for.
async fn of_workflow(task: &client::Task) -> Result<(bool, Vec<Pending>), client::Error> {
    match task.is_closed().await {
        Ok(false) => Ok((false, task.pending().await?)),
        Ok(true) | Err(client::Error::NotFound { .. }) => Ok((true, Vec::new())),
        Err(error) => Err(error),
    }
}

impl Standing<'_> {
    fn number(&self, name: &str) -> u32 {
        self.key[name].as_u64().unwrap_or_default() as u32
    }

    fn reason(&self) -> Reason {
        if self.is_closed {
            return Reason::without_estimate(
                "it doesn't: its workflow is not open any more. Started again, the task goes on; else `darkroom reconcile` closes its \
                 row a day later",
                "no estimate: nobody works on it",
            );
        }
        let waiting = self.own.calls;
        if waiting == 0 && self.task.in_flight > 0 {
            return Reason::new("it doesn't: its calls are in flight");
        }
        if waiting == 0 {
            return Reason::without_estimate(self.storing(), "no estimate: its paid calls are done");
        }
        if let Some(stopped) = stopped(&self.key, self.key_name, self.next_images) {
            return stopped;
        }
        let is_paid = |pending: &&Pending| ["beautify", "generate"].contains(&pending.activity.as_str());
        let is_queued = |pending: &Pending| pending.state == PendingState::Queued;
        if self.pending.is_empty() || self.pending.iter().filter(is_paid).any(is_queued) {
            return Reason::new(self.in_the_queue());
        }
        if self.task.left_behind > 0 {
            return Reason::new(
                "the worker that made its call is gone: Temporal gives the call to another within seconds",
            );
        }
        let tried_again = self.tried_again("beautify").or_else(|| self.tried_again("generate"));
        Reason::new(match tried_again {
            Some(tried_again) => format!("its next call {tried_again}"),
            None => format!("a worker has its next call, and holds it until it may begin: {}", self.in_use()),
        })
    }

    fn in_the_queue(&self) -> String {
        let ahead = self.ahead.unwrap_or_default();
        if ahead == 0 && self.number("in_flight") + self.number("idle") < self.number("granted") {
            return "it is next, and is given to a worker now".into();
        }
        if ahead == 0 && self.number("in_flight") < self.number("granted") {
            return format!(
                "it is next: {} of the calls at once are kept by workers that wait for work, and a worker of its route takes it as soon as \
                 it has one",
                self.number("idle")
            );
        }
        format!("{}, and {ahead} calls are served before its next one", self.in_use())
    }

    /// What uses what the key allows.
    fn in_use(&self) -> String {
        let limit = match self.key["calls_at_once"].as_u64() {
            Some(limit) => format!("all {limit} calls at once of provider key `{}`", self.key_name),
            None => "the workers' slots".to_owned(),
        };
        let longest = self.pace.orphans_ms.iter().copied().fold(0.0, f64::max);
        match self.pace.orphans_ms.len() {
            0 => format!("{limit} are in use"),
            orphans => format!(
                "{limit} are in use, {orphans} of them by calls whose answers nobody waits for any more: the provider may still be working \
                 on them, for {} at most",
                seconds(longest)
            ),
        }
    }

    /// Where all paid calls are done.
    fn storing(&self) -> String {
        let doing = match self.tried_again("transfer").or_else(|| self.tried_again("insert")) {
            Some(tried_again) => format!("; what failed {tried_again}"),
            None => String::new(),
        };
        format!("it doesn't: its last images are being stored{doing}")
    }

    /// Where an activity of that type waits for its next attempt.
    fn tried_again(&self, activity: &str) -> Option<String> {
        let of_activity = self.pending.iter().filter(|pending| pending.activity == activity);
        let (wait_ms, failure) = of_activity
            .filter_map(|pending| Some((self.wait_ms(pending)?, pending.failure.as_deref())))
            .min_by(|one, other| one.0.total_cmp(&other.0))?;
        Some(format!("is tried again in {}, after: {}", seconds(wait_ms), failure.unwrap_or("a failure")))
    }

    /// How long until an activity's next attempt.
    fn wait_ms(&self, pending: &Pending) -> Option<f64> {
        let PendingState::TriedAgain(at) = pending.state else { return None };
        Some(at.duration_since(SystemTime::now()).unwrap_or_default().as_millis() as f64)
    }

    /// Until the answer to its last call, which has so many ahead of it; none: all are in flight.
    fn done_in_ms(&self, service: &Service, last: Option<u32>) -> Option<f64> {
        let Some(last) = last else { return Some(service.mean_ms) };
        let mut begins = order::begins_in_ms(service, last)?;
        if self.own.later > 0 {
            // Not before its retouching is done.
            let first = self.ahead.map_or(Some(0.0), |ahead| order::begins_in_ms(service, ahead))?;
            begins = begins.max(first + service.mean_ms);
        }
        let tried_again = self.pending.iter().filter_map(|pending| self.wait_ms(pending)).fold(0.0, f64::max);
        Some(begins.max(tried_again) + service.mean_ms)
    }

    fn view(&self, last: Option<u32>) -> View {
        let Self { task, own, .. } = self;
        let reason = self.reason();
        let service = self.pace.mean_ms.map(|mean_ms| Service {
            at_once: self.key["calls_at_once"].as_u64().map_or(self.number("granted"), |limit| limit as u32),
            mean_ms,
            a_minute: self.key["calls_per_minute"]
                .as_u64()
                .map(|rate| (rate as u32, self.number("calls_last_minute"))),
            closed_ms: reason.closed_ms,
            busy_ms: (self.pace.in_flight_ms.iter().map(|since_ms| (mean_ms - since_ms).max(0.0)))
                .chain(self.pace.orphans_ms.iter().copied())
                .collect(),
        });
        let images_are_limited = self.key["images_per_minute"].is_u64();
        let (done_in_ms, method) = match (&service, reason.no_estimate) {
            (_, Some(no_estimate)) => (None, no_estimate.to_owned()),
            (_, None) if images_are_limited && last.is_some() => {
                (None, "no estimate: the key's images a minute are limited".to_owned())
            }
            (None, None) => (None, "no estimate: no call of this key has been answered yet".to_owned()),
            (Some(service), None) => (self.done_in_ms(service, last), self.method(service, last)),
        };
        let eta_s = done_in_ms.map(|ms| (ms / 100.0).round() / 10.0);
        let position = self.ahead.map(|ahead| ahead + 1);
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
        text += &format!("why        {}\n", reason.why);
        if let Some(failure) = &task.failure {
            text += &format!("failed     {} of its calls, tried again: {failure}\n", task.failed);
        }
        let done_in = eta_s.map_or("-".to_owned(), |eta| format!("{eta:.1} s, about"));
        text += &format!("done in    {done_in}\nmethod     {method}\n");
        let json = json!({
            "task_id": task.task_id, "user_id": task.user_id, "plan": task.plan, "lane": task.lane, "lane_weight": task.lane_weight,
            "state": "running", "batches_answered": task.answered, "in_flight": task.in_flight, "waiting": own.calls, "later": own.later,
            "position": position, "why": reason.why,
            "failed": task.failed, "failure": task.failure, "eta_s": eta_s, "method": method,
        });
        View { json, text }
    }

    fn method(&self, service: &Service, last: Option<u32>) -> String {
        format!(
            "{} calls before its last one, {} at once{}, {:.1} s each as the last 100 took; before the storing of its last images. The order: \
             lanes by their weights, within a lane as they came",
            last.unwrap_or_default(),
            service.at_once,
            service.a_minute.map(|(most, _)| format!(" and {most} a minute")).unwrap_or_default(),
            service.mean_ms / 1000.0,
        )
    }
}

fn seconds(ms: f64) -> String {
    format!("{:.0} s", (ms / 1000.0).ceil())
}

/// Why no call of the key may begin, whoever's it is.
fn stopped(key: &Value, name: &str, next_images: u32) -> Option<Reason> {
    let number = |name: &str| key[name].as_u64().unwrap_or_default();
    let never = |why: String| Some(Reason::without_estimate(why, NO_CALL_BEGINS));
    if number("workers") == 0 && number("cut_off") > 0 {
        return never("none of the workers that make paid calls reaches Temporal".into());
    }
    if number("workers") == 0 {
        return never(
            "no worker makes paid calls: does `darkroom worker` run, with the role `generate`?".into(),
        );
    }
    if key["paused"] == true {
        return never(format!("provider key `{name}` is paused: `darkroom limits resume {name}` ends that"));
    }
    if key["calls_at_once"] == 0 {
        return never(format!(
            "provider key `{name}` may make 0 calls at once: `darkroom limits set {name} --ceiling …`"
        ));
    }
    let (throttled_ms, failing) = (number("throttled_ms"), number("failing"));
    let next_try = match throttled_ms {
        0 => "it is being tried now".to_owned(),
        wait_ms => format!("the next try is in {}", seconds(wait_ms as f64)),
    };
    if let Some(refused) = key["refused"].as_str() {
        return never(format!("the provider refuses the account: {refused}; {next_try}"));
    }
    if failing >= 5 {
        return never(format!("the provider has failed {failing} times in a row; {next_try}"));
    }
    if throttled_ms > 0 {
        let wait = seconds(throttled_ms as f64);
        let closed_ms = throttled_ms as f64;
        let why = format!("the provider asked to wait: for {wait} from now");
        return Some(Reason { closed_ms, ..Reason::new(why) });
    }
    let had = number("calls_last_minute");
    if let Some(limit) = key["calls_per_minute"].as_u64().filter(|limit| had >= *limit) {
        let why = format!("the last minute had {had} calls, and may have {limit}");
        return if limit > 0 { Some(Reason::new(why)) } else { never(why) };
    }
    let had = number("images_last_minute");
    key["images_per_minute"].as_u64().filter(|limit| had + u64::from(next_images) > *limit).map(|limit| {
        Reason::new(format!(
            "the last minute had {had} images, and may have {limit}: its next call asks for {next_images}"
        ))
    })
}

/// A task that isn't among those that run: it has ended, or has no row yet.
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

#[cfg(test)]
mod tests;
