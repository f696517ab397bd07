//! Pure: from what was seen to the figures, each beside what is possible.

use serde::{Deserialize, Serialize};

use crate::model::{self, Limits, Outage, Schedule, Task};
use crate::statistics::{mean, median, percentile};
use crate::timeline::{Timeline, busy};

/// What was seen of one run. Times are provider milliseconds from the load's beginning; CPU is real.
#[derive(Debug, Clone)]
pub struct Observed {
    pub(crate) limits: Limits,
    pub(crate) model: Vec<Task>,
    pub(crate) outage: Option<Outage>,
    /// In the order of the model's.
    pub(crate) tasks: Vec<ObservedTask>,
    pub(crate) images_delivered: u64,
    pub(crate) retouched: u64,
    pub(crate) images_billed: u64,
    pub(crate) calls: u64,
    pub(crate) calls_throttled: u64,
    pub(crate) in_flight: Timeline,
    pub(crate) waiting: Timeline,
    pub(crate) downloading: Timeline,
    pub(crate) events: u64,
    pub(crate) history_bytes: u64,
    pub(crate) statements: u64,
    pub(crate) statements_how: &'static str,
    /// Memory of all workers.
    pub(crate) memory: Vec<(u64, u64)>,
    pub(crate) costs: Costs,
    pub(crate) errors: Vec<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct ObservedTask {
    pub(crate) plan: String,
    pub(crate) arrived_ms: u64,
    pub(crate) first_call_ms: Option<u64>,
    pub(crate) finished_ms: Option<u64>,
    pub(crate) completed: bool,
}

/// CPU and memory while the load ran.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Costs {
    pub(crate) worker_cpu_s: f64,
    pub(crate) worker_peak_bytes: u64,
    pub(crate) temporal_cpu_s: f64,
    pub(crate) postgres_cpu_s: f64,
    pub(crate) store_cpu_s: Option<f64>,
    pub(crate) bench_cpu_s: f64,
    /// Share of the machine's CPU time that somebody else used.
    pub(crate) others_share: f64,
}

impl Observed {
    /// What became of tasks that didn't complete.
    pub fn errors(&self) -> Vec<String> {
        let incomplete = self.tasks.iter().filter(|task| !task.completed).count();
        let mut errors = self.errors.clone();
        if errors.is_empty() && incomplete > 0 {
            errors.push(format!("{incomplete} of {} tasks did not complete", self.tasks.len()));
        }
        errors
    }

    /// When the last task was done, in provider seconds.
    pub fn makespan_s(&self) -> f64 {
        self.makespan_ms() as f64 / 1e3
    }

    /// The same load as the model schedules it.
    pub(crate) fn schedule(&self) -> Schedule {
        model::schedule(&self.model, &self.limits, self.outage)
    }

    fn makespan_ms(&self) -> u64 {
        self.tasks.iter().filter_map(|task| task.finished_ms).max().unwrap_or(0)
    }

    /// The plans that occur, in the order of their priority.
    pub(crate) fn plans(&self) -> Vec<String> {
        let mut plans: Vec<(u32, &str)> = self
            .model
            .iter()
            .zip(&self.tasks)
            .map(|(task, seen)| (task.priority, seen.plan.as_str()))
            .collect();
        plans.sort_unstable();
        plans.dedup();
        plans.into_iter().map(|(_, plan)| plan.to_owned()).collect()
    }
}

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// Less.
    Lower,
    /// More.
    Higher,
    /// It is a circumstance.
    Neither,
}

/// One figure: the median of the runs, beside what is possible.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// For programs, such as `latency_pro_p95`.
    pub name: String,
    /// For people.
    pub label: String,
    /// `s`, `ms`, `MB`, `%`, `/min`, or empty.
    pub unit: String,
    /// Which way is better.
    pub better: Better,
    /// The median of the runs.
    pub value: f64,
    /// The smallest of the runs.
    pub min: f64,
    /// The largest of the runs.
    pub max: f64,
    /// What nothing can beat, under the same limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<f64>,
    /// How many times worse than the bound it is; 1 is as good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times_bound: Option<f64>,
    /// What the list schedule takes in which nothing is lost between two calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<f64>,
    /// How many times worse than the schedule it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times_schedule: Option<f64>,
}

impl Figure {
    fn new(name: &str, label: &str, unit: &str, better: Better, value: f64) -> Self {
        Self {
            name: name.to_owned(),
            label: label.to_owned(),
            unit: unit.to_owned(),
            better,
            value,
            min: value,
            max: value,
            bound: None,
            times_bound: None,
            schedule: None,
            times_schedule: None,
        }
    }

    fn beside(mut self, bound: Option<f64>, schedule: Option<f64>) -> Self {
        (self.bound, self.schedule) = (bound, schedule);
        self.relate();
        self
    }

    fn relate(&mut self) {
        let times = |possible: Option<f64>| match self.better {
            Better::Lower => {
                possible.filter(|possible| *possible > 0.0).map(|possible| self.value / possible)
            }
            Better::Higher => possible.filter(|_| self.value > 0.0).map(|possible| possible / self.value),
            Better::Neither => None,
        };
        (self.times_bound, self.times_schedule) = (times(self.bound), times(self.schedule));
    }
}

/// The medians of several runs' figures. What isn't in all of them is left out.
pub fn medians(runs: &[Vec<Figure>]) -> Vec<Figure> {
    let Some(first) = runs.first() else { return Vec::new() };
    let of_all = first.iter().filter_map(|figure| {
        let same =
            |run: &Vec<Figure>| run.iter().find(|other| other.name == figure.name).map(|other| other.value);
        let values: Vec<f64> = runs.iter().map(same).collect::<Option<_>>()?;
        let mut figure = Figure {
            value: median(&values)?,
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            ..figure.clone()
        };
        figure.relate();
        Some(figure)
    });
    of_all.collect()
}

const SHARES: [(&str, f64); 3] = [("p50", 0.5), ("p95", 0.95), ("max", 1.0)];

/// All figures of a run.
pub fn figures(seen: &Observed) -> Vec<Figure> {
    let schedule = seen.schedule();
    let bound_s = model::makespan_ms(&seen.model, &seen.limits, seen.outage) as f64 / 1e3;
    let (makespan_s, scheduled_s) = (seen.makespan_s(), schedule.makespan_ms() as f64 / 1e3);
    let a_minute = |seconds: f64| if seconds > 0.0 { seen.tasks.len() as f64 * 60.0 / seconds } else { 0.0 };
    let mut figures = vec![
        Figure::new("makespan", "last task done", "s", Better::Lower, makespan_s)
            .beside(Some(bound_s), Some(scheduled_s)),
        Figure::new("tasks_per_minute", "tasks a minute", "/min", Better::Higher, a_minute(makespan_s))
            .beside(Some(a_minute(bound_s)), Some(a_minute(scheduled_s))),
    ];
    let plans = seen.plans();
    if plans.len() > 1 {
        figures.extend(latencies(seen, &schedule, "all", |_| true));
    }
    for plan in &plans {
        figures.extend(latencies(seen, &schedule, plan, |task| task.plan == *plan));
    }
    figures.extend(waits(seen, &schedule));
    figures.extend(provider(seen, &schedule));
    figures.extend(costs(seen));
    figures
}

/// From arrival to the last row, of the tasks that `which` picks.
fn latencies(
    seen: &Observed,
    ran: &Schedule,
    of: &str,
    which: impl Fn(&ObservedTask) -> bool,
) -> Vec<Figure> {
    let (mut measured, mut least, mut scheduled) = (Vec::new(), Vec::new(), Vec::new());
    for ((task, model), times) in seen.tasks.iter().zip(&seen.model).zip(&ran.tasks) {
        if let Some(finished_ms) = task.finished_ms.filter(|_| which(task)) {
            measured.push(finished_ms.saturating_sub(task.arrived_ms) as f64 / 1e3);
            least.push(model::alone_ms(model, &seen.limits) as f64 / 1e3);
            scheduled.push((times.finished_ms - model.at_ms) as f64 / 1e3);
        }
    }
    spread(&format!("latency_{of}"), &format!("latency {of}"), &measured, Some(&least), &scheduled)
}

/// From arrival to the moment the provider has the task's first call.
fn waits(seen: &Observed, ran: &Schedule) -> Vec<Figure> {
    let (mut measured, mut scheduled) = (Vec::new(), Vec::new());
    for ((task, model), times) in seen.tasks.iter().zip(&seen.model).zip(&ran.tasks) {
        if let Some(first_call_ms) = task.first_call_ms {
            measured.push(first_call_ms.saturating_sub(task.arrived_ms) as f64 / 1e3);
            scheduled.push((times.first_call_ms - model.at_ms) as f64 / 1e3);
        }
    }
    spread("first_call_wait", "wait until first call", &measured, None, &scheduled)
}

fn spread(
    name: &str,
    label: &str,
    measured: &[f64],
    least: Option<&[f64]>,
    scheduled: &[f64],
) -> Vec<Figure> {
    let figure = |which: &str, of: &dyn Fn(&[f64]) -> Option<f64>| {
        let figure = Figure::new(
            &format!("{name}_{which}"),
            &format!("{label} {which}"),
            "s",
            Better::Lower,
            of(measured)?,
        );
        Some(figure.beside(least.map_or(Some(0.0), of), of(scheduled)))
    };
    let shares =
        SHARES.iter().filter_map(|(which, share)| figure(which, &|numbers| percentile(numbers, *share)));
    shares.chain(figure("mean", &mean)).collect()
}

/// What the provider saw.
fn provider(seen: &Observed, ran: &Schedule) -> Vec<Figure> {
    let limit = u64::from(seen.limits.calls);
    let percent = |share: f64| share * 100.0;
    let ideal = busy(&ran.in_flight(), &ran.waiting(), limit);
    let mut figures = vec![
        Figure::new(
            "calls_in_flight_max",
            "calls in flight, most",
            "",
            Better::Neither,
            seen.in_flight.max() as f64,
        )
        .beside(Some(limit as f64), Some(ran.in_flight().max() as f64)),
        Figure::new(
            "downloads_in_flight_max",
            "downloads in flight, most",
            "",
            Better::Neither,
            seen.downloading.max() as f64,
        )
        .beside(
            Some(f64::from(seen.limits.transfers)),
            Some(Timeline::of(ran.downloads.iter().copied()).max() as f64),
        ),
    ];
    if let Some(busy) = busy(&seen.in_flight, &seen.waiting, limit) {
        figures.push(
            Figure::new(
                "at_limit",
                "time at the limit while work waits",
                "%",
                Better::Higher,
                percent(busy.at_limit),
            )
            .beside(Some(100.0), ideal.map(|ideal| percent(ideal.at_limit))),
        );
        figures.push(
            Figure::new(
                "limit_used",
                "calls of the limit used while work waits",
                "%",
                Better::Higher,
                percent(busy.used),
            )
            .beside(Some(100.0), ideal.map(|ideal| percent(ideal.used))),
        );
    }
    let delivered = seen.images_delivered + seen.retouched;
    let least_calls = seen.model.iter().map(|task| 1 + task.images.div_ceil(seen.limits.batch_size.max(1)));
    let least_calls = f64::from(least_calls.sum::<u32>());
    figures.extend([
        Figure::new("calls", "calls the provider worked on", "", Better::Lower, seen.calls as f64)
            .beside(Some(least_calls), Some(ran.calls.len() as f64)),
        Figure::new(
            "calls_throttled",
            "calls refused with 429",
            "",
            Better::Lower,
            seen.calls_throttled as f64,
        )
        .beside(Some(0.0), Some(0.0)),
        Figure::new(
            "images_billed",
            "images billed, retouched photos included",
            "",
            Better::Lower,
            seen.images_billed as f64,
        )
        .beside(Some(seen.model.iter().map(|task| f64::from(task.images) + 1.0).sum()), None),
        Figure::new(
            "images_delivered",
            "images delivered, retouched photos included",
            "",
            Better::Higher,
            delivered as f64,
        ),
        Figure::new(
            "images_billed_beyond",
            "images billed beyond those delivered",
            "",
            Better::Lower,
            seen.images_billed as f64 - delivered as f64,
        )
        .beside(Some(0.0), None),
    ]);
    figures
}

/// What it cost us.
fn costs(seen: &Observed) -> Vec<Figure> {
    let images = (seen.images_delivered as f64).max(1.0);
    let cost = |name: &str, label: &str, unit: &str, amount: f64| {
        Figure::new(name, &format!("{label}, an image"), unit, Better::Lower, amount / images)
    };
    let costs = &seen.costs;
    let mut figures = vec![
        cost("worker_cpu_per_image", "worker's CPU", "ms", costs.worker_cpu_s * 1e3),
        Figure::new(
            "worker_memory_peak",
            "worker's peak memory",
            "MB",
            Better::Lower,
            costs.worker_peak_bytes as f64 / 1e6,
        ),
        cost("temporal_cpu_per_image", "Temporal's CPU", "ms", costs.temporal_cpu_s * 1e3),
        cost("postgres_cpu_per_image", "Postgres' CPU", "ms", costs.postgres_cpu_s * 1e3),
    ];
    figures.extend(
        costs.store_cpu_s.map(|cpu_s| cost("store_cpu_per_image", "S3 server's CPU", "ms", cpu_s * 1e3)),
    );
    let bench = match costs.store_cpu_s {
        Some(_) => "bench's CPU (provider, load)",
        None => "bench's CPU (provider, S3 server, load)",
    };
    figures.extend([
        cost("bench_cpu_per_image", bench, "ms", costs.bench_cpu_s * 1e3),
        cost("temporal_events_per_image", "Temporal's events", "", seen.events as f64),
        cost("history_bytes_per_image", "history's bytes", "", seen.history_bytes as f64),
        cost("statements_per_image", "SQL statements", "", seen.statements as f64),
        Figure::new(
            "others_cpu",
            "machine's CPU used by others",
            "%",
            Better::Neither,
            costs.others_share * 100.0,
        ),
    ]);
    figures
}

#[cfg(test)]
pub(crate) mod tests;
