//! What was seen of one run.

use crate::adaptation::Trace;
use crate::model::{self, Limits, Outage, Schedule, Task};
use crate::timeline::Timeline;

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
    /// Calls refused with 503.
    pub(crate) calls_unavailable: u64,
    pub(crate) in_flight: Timeline,
    pub(crate) waiting: Timeline,
    pub(crate) downloading: Timeline,
    /// From the end of a call to the next one's arrival at the provider, while something waited. Real milliseconds.
    pub(crate) freed_to_next_ms: Vec<f64>,
    pub(crate) events: u64,
    pub(crate) history_bytes: u64,
    pub(crate) statements: u64,
    pub(crate) statements_how: &'static str,
    /// Where the provider changed what it allows.
    pub(crate) adaptation: Option<Trace>,
    /// Memory of all workers.
    pub(crate) memory: Vec<(u64, u64)>,
    pub(crate) costs: Costs,
    pub(crate) errors: Vec<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct ObservedTask {
    /// Whom it is counted with: those of its plan, as a rule.
    pub(crate) group: String,
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

    /// The groups that occur, those of the heaviest lane first.
    pub(crate) fn groups(&self) -> Vec<String> {
        let mut groups: Vec<(u64, &str)> = self
            .model
            .iter()
            .zip(&self.tasks)
            .map(|(task, seen)| (task.lane.stride, seen.group.as_str()))
            .collect();
        groups.sort_unstable();
        groups.dedup();
        groups.into_iter().map(|(_, group)| group.to_owned()).collect()
    }
}
