//! Why a task waits for a paid call, and when it is done.

pub mod order;
#[cfg(test)]
mod tests;

use std::time::SystemTime;

use workflows::pending::{Pending, PendingState};

use crate::report::{KeyLimits, Pace, RunningTask};
use order::{Service, Waiting};

/// A task that runs, and all that decides when its next call begins.
#[derive(Debug)]
pub struct Standing<'a> {
    /// The task.
    pub task: &'a RunningTask,
    /// The task's calls that wait.
    pub own: &'a Waiting,
    /// True if the task's workflow is closed, so that nobody works on the task.
    pub is_closed: bool,
    /// Activities of the task that Temporal has pending. Empty if Temporal can't be asked.
    pub pending: Vec<Pending>,
    /// Number of calls that are served before the task's next one. `None` means that no call waits.
    pub ahead: Option<u32>,
    /// Number of images that the task's next call asks for.
    pub next_images: u32,
    /// Name of the task's provider key.
    pub key_name: &'a str,
    /// Limits of that key.
    pub key: KeyLimits,
    /// Duration of that key's calls.
    pub pace: Pace,
}

/// Reason why a task waits, or a sentence that it doesn't.
struct Reason {
    why: String,
    /// Time in ms for which no call of the key begins, for any task.
    closed_ms: f64,
    /// Reason why there is no estimate, or `None` if there can be one.
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

/// Reason and estimate, for people.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// Reason why the task waits, or a sentence that it doesn't.
    pub why: String,
    /// Place of the task's next call among all that wait, from 1.
    pub position: Option<u32>,
    /// Seconds until the task's last call is answered.
    pub eta_s: Option<f64>,
    /// Basis of the estimate, or the reason why there is none.
    pub method: String,
}

impl Standing<'_> {
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
        if ahead == 0 && self.key.in_flight + self.key.idle < self.key.granted {
            return "it is next, and is given to a worker now".into();
        }
        if ahead == 0 && self.key.in_flight < self.key.granted {
            return format!(
                "it is next: {} of the key's calls are kept by workers that wait for work, and a worker of its route takes it as soon as \
                 it has one",
                self.key.idle
            );
        }
        format!("{}, and {ahead} calls are served before its next one", self.in_use())
    }

    /// Says that the calls of the key are in use, and how many of them are orphans.
    fn in_use(&self) -> String {
        let limit = match self.key.calls_at_once {
            Some(limit) => format!("all {limit} calls of provider key `{}`", self.key_name),
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

    /// Says why a task waits whose paid calls are all answered.
    fn storing(&self) -> String {
        let doing = match self.tried_again("transfer").or_else(|| self.tried_again("insert")) {
            Some(tried_again) => format!("; what failed {tried_again}"),
            None => String::new(),
        };
        format!("it doesn't: its last images are being stored{doing}")
    }

    /// Says when an activity of that type is tried again, if it waits for its next attempt.
    fn tried_again(&self, activity: &str) -> Option<String> {
        let of_activity = self.pending.iter().filter(|pending| pending.activity == activity);
        let (wait_ms, failure) = of_activity
            .filter_map(|pending| Some((self.wait_ms(pending)?, pending.failure.as_deref())))
            .min_by(|one, other| one.0.total_cmp(&other.0))?;
        Some(format!("is tried again in {}, after: {}", seconds(wait_ms), failure.unwrap_or("a failure")))
    }

    /// Returns the time in ms until an activity's next attempt, if the activity waits for one.
    fn wait_ms(&self, pending: &Pending) -> Option<f64> {
        let PendingState::TriedAgain(at) = pending.state else { return None };
        Some(at.duration_since(SystemTime::now()).unwrap_or_default().as_millis() as f64)
    }

    /// Estimates the time in ms until the task's last call is answered. `last` is the number of
    /// calls ahead of that call. `None` means that all calls are in flight.
    fn done_in_ms(&self, service: &Service, last: Option<u32>) -> Option<f64> {
        let Some(last) = last else { return Some(service.mean_ms) };
        let mut begins = order::begins_in_ms(service, last)?;
        if self.own.later > 0 {
            // The batches begin after the retouching is done.
            let first = self.ahead.map_or(Some(0.0), |ahead| order::begins_in_ms(service, ahead))?;
            begins = begins.max(first + service.mean_ms);
        }
        let tried_again = self.pending.iter().filter_map(|pending| self.wait_ms(pending)).fold(0.0, f64::max);
        Some(begins.max(tried_again) + service.mean_ms)
    }

    /// Says why the task waits, and when it is done. `last` is the number of calls ahead of its last
    /// call. `None` means that all calls are in flight.
    pub fn explain(&self, last: Option<u32>) -> Explanation {
        let reason = self.reason();
        let service = self.pace.mean_ms.map(|mean_ms| Service {
            at_once: self.key.calls_at_once.unwrap_or(self.key.granted),
            mean_ms,
            a_minute: self.key.calls_per_minute.map(|rate| (rate, self.key.calls_last_minute)),
            closed_ms: reason.closed_ms,
            busy_ms: (self.pace.in_flight_ms.iter().map(|since_ms| (mean_ms - since_ms).max(0.0)))
                .chain(self.pace.orphans_ms.iter().copied())
                .collect(),
        });
        let images_are_limited = self.key.images_per_minute.is_some();
        let (done_in_ms, method) = match (&service, reason.no_estimate) {
            (_, Some(no_estimate)) => (None, no_estimate.to_owned()),
            (_, None) if images_are_limited && last.is_some() => {
                (None, "no estimate: the key's images a minute are limited".to_owned())
            }
            (None, None) => (None, "no estimate: no call of this key has been answered yet".to_owned()),
            (Some(service), None) => (self.done_in_ms(service, last), self.method(service, last)),
        };
        let eta_s = done_in_ms.map(|ms| (ms / 100.0).round() / 10.0);
        Explanation { why: reason.why, position: self.ahead.map(|ahead| ahead + 1), eta_s, method }
    }

    fn method(&self, service: &Service, last: Option<u32>) -> String {
        format!(
            "{} calls before its last one, {} concurrently{}, {:.1} s each, the mean of the last 100; the storing of its last images comes \
             on top. Lanes are served by their weights, and calls within a lane in the order of arrival",
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

/// Returns the reason why no call of the key may begin, for any task, or `None` if one may.
fn stopped(key: &KeyLimits, name: &str, next_images: u32) -> Option<Reason> {
    let never = |why: String| Some(Reason::without_estimate(why, NO_CALL_BEGINS));
    if key.workers == 0 && key.cut_off > 0 {
        return never("none of the workers that make paid calls reaches Temporal".into());
    }
    if key.workers == 0 {
        return never(
            "no worker makes paid calls: does `darkroom worker` run, with the role `generate`?".into(),
        );
    }
    if key.paused {
        return never(format!("provider key `{name}` is paused: `darkroom limits resume {name}` ends that"));
    }
    if key.calls_at_once == Some(0) {
        return never(format!(
            "provider key `{name}` may make 0 calls: `darkroom limits set {name} --ceiling …`"
        ));
    }
    let (throttled_ms, failing) = (key.throttled_ms, key.failing);
    let next_try = match throttled_ms {
        0 => "it is being tried now".to_owned(),
        wait_ms => format!("the next try is in {}", seconds(wait_ms as f64)),
    };
    if let Some(refused) = &key.refused {
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
    let had = key.calls_last_minute;
    if let Some(limit) = key.calls_per_minute.filter(|limit| had >= *limit) {
        let why = format!("the last minute had {had} calls, and may have {limit}");
        return if limit > 0 { Some(Reason::new(why)) } else { never(why) };
    }
    let had = key.images_last_minute;
    key.images_per_minute.filter(|limit| had + next_images > *limit).map(|limit| {
        Reason::new(format!(
            "the last minute had {had} images, and may have {limit}: its next call asks for {next_images}"
        ))
    })
}
