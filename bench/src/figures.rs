//! What a run was like, told from the provider's meter and the tasks' ends. Times are provider seconds.

use std::collections::BTreeMap;

use sandbox::Meter;
use serde::{Deserialize, Serialize};

use crate::load::{Arrival, Plan};
use crate::model::{Limits, lower_bound_s, perfect};

/// The figures of one run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// From the first submission to the last end.
    pub makespan_s: f64,
    /// What the limits alone allow at best.
    pub bound_s: f64,
    /// What a perfect schedule takes.
    pub perfect_s: f64,
    /// Tasks ended a minute.
    pub tasks_per_minute: f64,
    /// From submission to end: all tasks, and each plan's.
    pub latency_s: BTreeMap<String, Spread>,
    /// The same of the perfect schedule.
    pub perfect_latency_s: BTreeMap<String, Spread>,
    /// From submission to the start of the first paid call.
    pub first_call_s: Spread,
    /// The same of the perfect schedule.
    pub perfect_first_call_s: Spread,
    /// Calls at once, at most.
    pub max_in_flight: u64,
    /// Of the time in which calls waited, the share in which as many were in flight as allowed. None where none waited.
    pub share_at_limit: Option<f64>,
    /// Calls refused for the provider's limit.
    pub throttled: u64,
    /// Images delivered.
    pub images: u64,
    /// Images billed beyond those delivered and the retouched photos.
    pub images_billed_beyond: i64,
    /// Worker CPU for each image delivered, in milliseconds.
    pub worker_cpu_ms_per_image: f64,
    /// The workers' memory at its peak, in MB.
    pub worker_peak_mb: f64,
    /// CPU seconds of Temporal's server, of Postgres, and of the bench itself, which holds the S3 server and the provider.
    pub cpu_s: BTreeMap<String, f64>,
    /// CPU seconds of everything else on the machine, and the share of its time they took.
    pub others_cpu_s: f64,
    /// The same as a share of one core.
    pub others_share: f64,
    /// Temporal events for each image.
    pub events_per_image: f64,
    /// Bytes of history for each image.
    pub history_bytes_per_image: f64,
    /// SQL statements for each image.
    pub statements_per_image: f64,
    /// Calls in flight over time: seconds, calls.
    pub in_flight: Vec<(f64, u64)>,
    /// Calls that could run and didn't, over time.
    pub waiting: Vec<(f64, u64)>,
}

/// How values spread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Half are below.
    pub p50: f64,
    /// 95 of 100 are below.
    pub p95: f64,
    /// The largest.
    pub max: f64,
    /// Their mean.
    pub mean: f64,
}

impl Spread {
    /// Of these values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Spread {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let Some(max) = values.last().copied() else { return Spread::default() };
        // The smallest value that so many are not above. (nearest rank)
        let rank =
            |share: f64| values[((share * values.len() as f64).ceil() as usize).clamp(1, values.len()) - 1];
        Spread {
            p50: rank(0.5),
            p95: rank(0.95),
            max,
            mean: values.iter().sum::<f64>() / values.len() as f64,
        }
    }
}

/// When a task was submitted and when it had ended, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ran {
    /// Submission.
    pub submitted_ms: u64,
    /// End.
    pub ended_ms: u64,
}

/// The figures that the meter and the ends give.
pub fn figures(arrivals: &[Arrival], ran: &[Ran], meter: &Meter, limits: Limits, speed: f64) -> Figures {
    let began = ran.iter().map(|ran| ran.submitted_ms).min().unwrap_or_default();
    let ended = ran.iter().map(|ran| ran.ended_ms).max().unwrap_or_default();
    let seconds = |ms: u64| ms.saturating_sub(began) as f64 / 1000.0 * speed;
    let schedule = perfect(arrivals, limits);
    let latencies: Vec<f64> =
        ran.iter().map(|ran| seconds(ran.ended_ms) - seconds(ran.submitted_ms)).collect();
    let ideal: Vec<f64> =
        arrivals.iter().zip(&schedule.ends_s).map(|(arrival, end)| end - arrival.at_s).collect();
    let makespan_s = seconds(ended);
    let first_calls = first_calls(meter);
    let waits = ran.iter().enumerate().filter_map(|(task, ran)| {
        let first = first_calls.get(&task_id(task))?;
        Some(seconds(*first) - seconds(ran.submitted_ms))
    });
    let images: u64 = arrivals.iter().map(|arrival| u64::from(arrival.plan.images())).sum();
    let (in_flight, waiting) = (in_flight(meter, &seconds), waiting(arrivals, ran, meter, &seconds));
    Figures {
        makespan_s,
        bound_s: lower_bound_s(arrivals, limits),
        perfect_s: schedule.makespan_s(),
        tasks_per_minute: arrivals.len() as f64 / makespan_s * 60.0,
        latency_s: by_plan(arrivals, &latencies),
        perfect_latency_s: by_plan(arrivals, &ideal),
        first_call_s: Spread::of(waits),
        perfect_first_call_s: Spread::of(
            arrivals.iter().zip(&schedule.starts_s).map(|(arrival, start)| start - arrival.at_s),
        ),
        max_in_flight: meter.max_in_flight,
        share_at_limit: share_at_limit(&in_flight, &waiting, u64::from(limits.calls)),
        throttled: meter.throttled,
        images,
        images_billed_beyond: meter.images_billed as i64 - images as i64 - arrivals.len() as i64,
        in_flight,
        waiting,
        ..Figures::default()
    }
}

/// The id of a bench's `n`th task.
pub fn task_id(n: usize) -> String {
    format!("bench-{n}")
}

fn by_plan(arrivals: &[Arrival], values: &[f64]) -> BTreeMap<String, Spread> {
    let mut spreads = BTreeMap::from([("all".to_owned(), Spread::of(values.iter().copied()))]);
    for plan in [Plan::Free, Plan::Start, Plan::Pro] {
        let of_plan =
            arrivals.iter().zip(values).filter(|(arrival, _)| arrival.plan == plan).map(|(_, value)| *value);
        let of_plan: Vec<f64> = of_plan.collect();
        if !of_plan.is_empty() {
            spreads.insert(plan.name().to_owned(), Spread::of(of_plan));
        }
    }
    spreads
}

/// The task and the name of a call, from its idempotency key.
fn name(call: &sandbox::Call) -> Option<(&str, &str)> {
    call.idempotency_key.as_deref()?.rsplit_once('/')
}

fn first_calls(meter: &Meter) -> BTreeMap<String, u64> {
    let mut first = BTreeMap::new();
    for call in meter.calls.iter().filter(|call| call.accepted) {
        if let Some((task, _)) = name(call) {
            first.entry(task.to_owned()).or_insert(call.started_ms);
        }
    }
    first
}

/// Steps of a count: what changes it when.
fn steps(mut changes: Vec<(f64, i64)>) -> Vec<(f64, u64)> {
    changes.sort_by(|one, two| one.0.total_cmp(&two.0));
    let mut steps: Vec<(f64, u64)> = Vec::new();
    let mut count = 0;
    for (at, change) in changes {
        count += change;
        let value = u64::try_from(count).unwrap_or_default();
        match steps.last_mut() {
            Some(last) if last.0 == at => last.1 = value,
            _ => steps.push((at, value)),
        }
    }
    steps
}

fn in_flight(meter: &Meter, seconds: &impl Fn(u64) -> f64) -> Vec<(f64, u64)> {
    let accepted = meter.calls.iter().filter(|call| call.accepted && !call.replayed);
    let changes = accepted.flat_map(|call| {
        let end = call.ended_ms.unwrap_or(call.started_ms);
        [(seconds(call.started_ms), 1), (seconds(end), -1)]
    });
    steps(changes.collect())
}

/// Calls that could run: a task's retouching from its submission, its batches from the end of the retouching; until they start.
fn waiting(
    arrivals: &[Arrival],
    ran: &[Ran],
    meter: &Meter,
    seconds: &impl Fn(u64) -> f64,
) -> Vec<(f64, u64)> {
    let index: BTreeMap<String, usize> = (0..arrivals.len()).map(|task| (task_id(task), task)).collect();
    let mut changes: Vec<(f64, i64)> = ran.iter().map(|ran| (seconds(ran.submitted_ms), 1)).collect();
    let mut begun = std::collections::BTreeSet::new();
    for call in meter.calls.iter().filter(|call| call.accepted) {
        let Some((task, part)) = name(call) else { continue };
        if !begun.insert((task.to_owned(), part.to_owned())) {
            continue;
        }
        changes.push((seconds(call.started_ms), -1));
        if let (Some(end), "beautify", Some(task)) = (call.ended_ms, part, index.get(task)) {
            changes
                .push((seconds(end), i64::from(arrivals[*task].plan.images().div_ceil(crate::model::BATCH))));
        }
    }
    steps(changes)
}

/// Of the time in which something waited, the share in which the limit was reached.
fn share_at_limit(in_flight: &[(f64, u64)], waiting: &[(f64, u64)], limit: u64) -> Option<f64> {
    let mut times: Vec<f64> = in_flight.iter().chain(waiting).map(|(at, _)| *at).collect();
    times.sort_by(f64::total_cmp);
    let at = |steps: &[(f64, u64)], time: f64| match steps.partition_point(|(at, _)| *at <= time) {
        0 => 0,
        next => steps[next - 1].1,
    };
    let (mut waited, mut full) = (0.0, 0.0);
    for pair in times.windows(2) {
        let span = pair[1] - pair[0];
        if at(waiting, pair[0]) > 0 {
            waited += span;
            full += if at(in_flight, pair[0]) >= limit { span } else { 0.0 };
        }
    }
    (waited > 0.0).then_some(full / waited)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_are_by_nearest_rank() {
        let spread = Spread::of((1..=100).map(f64::from));
        assert_eq!((spread.p50, spread.p95, spread.max, spread.mean), (50.0, 95.0, 100.0, 50.5));
        assert_eq!(Spread::of([7.0]).p95, 7.0);
        assert_eq!(Spread::of([]), Spread::default());
    }

    #[test]
    fn the_share_counts_only_while_something_waits() {
        let in_flight = [(0.0, 2), (8.0, 1), (10.0, 2), (20.0, 0)];
        let waiting = [(0.0, 3), (10.0, 0)];
        assert_eq!(share_at_limit(&in_flight, &waiting, 2), Some(0.8));
        assert_eq!(share_at_limit(&in_flight, &[], 2), None);
    }
}
