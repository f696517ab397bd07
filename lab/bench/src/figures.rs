//! Pure: from what was seen to the figures, each beside what is possible.

mod figure;
mod observed;

use crate::model::{self, Schedule};
use crate::statistics::{mean, percentile};
use crate::timeline::{Timeline, busy};

pub use figure::{Better, Figure, medians};
pub use observed::Observed;
pub(crate) use observed::{Costs, ObservedTask};

const SHARES: [(&str, f64); 3] = [("p50", 0.5), ("p95", 0.95), ("max", 1.0)];

/// All figures of a run.
pub fn figures(seen: &Observed) -> Vec<Figure> {
    // There is no schedule for a limit that nobody tells.
    if let Some(trace) = &seen.adaptation {
        return trace.figures();
    }
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
    let groups = seen.groups();
    if groups.len() > 1 {
        figures.extend(latencies(seen, &schedule, "all", |_| true));
    }
    for group in &groups {
        figures.extend(latencies(seen, &schedule, group, |task| task.group == *group));
    }
    figures.extend(waits(seen, &schedule, "first_call_wait", "wait until first call", |_| true));
    for group in groups.iter().filter(|_| groups.len() > 1) {
        let (name, label) = (format!("first_call_wait_{group}"), format!("wait until first call {group}"));
        figures.extend(waits(seen, &schedule, &name, &label, |task| task.group == *group));
    }
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
fn waits(
    seen: &Observed,
    ran: &Schedule,
    name: &str,
    label: &str,
    which: impl Fn(&ObservedTask) -> bool,
) -> Vec<Figure> {
    let (mut measured, mut scheduled) = (Vec::new(), Vec::new());
    for ((task, model), times) in seen.tasks.iter().zip(&seen.model).zip(&ran.tasks) {
        if let Some(first_call_ms) = task.first_call_ms.filter(|_| which(task)) {
            measured.push(first_call_ms.saturating_sub(task.arrived_ms) as f64 / 1e3);
            scheduled.push((times.first_call_ms - model.at_ms) as f64 / 1e3);
        }
    }
    spread(name, label, &measured, None, &scheduled)
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
    for (which, share) in [("p50", 0.5), ("p95", 0.95)] {
        figures.extend(percentile(&seen.freed_to_next_ms, share).map(|ms| {
            let (name, label) = (
                format!("freed_to_next_{which}"),
                format!("call ended to the next one sent, real time {which}"),
            );
            Figure::new(&name, &label, "ms", Better::Lower, ms).beside(Some(0.0), Some(0.0))
        }));
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
            "calls_unavailable",
            "calls refused with 503",
            "",
            Better::Lower,
            seen.calls_unavailable as f64,
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
