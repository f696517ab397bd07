//! The figures as a table.

use std::fmt::Write;

use crate::figures::{Figures, Spread};
use crate::run::Run;

/// The share of a core that others may take before the figures are doubtful.
const OTHERS: f64 = 0.1;

/// A table for people: each figure, the bound, the ratio.
pub fn table(run: &Run, figures: &Figures) -> String {
    let mut table = String::new();
    let Run { scenario, calls, transfers, workers, speed, image_bytes, .. } = run;
    let _ = writeln!(
        table,
        "{scenario}: {calls} calls and {transfers} transfers at once, {workers} worker(s), images of {} KB; provider time runs {speed}× faster than real",
        image_bytes / 1000
    );
    let _ = writeln!(table, "times in provider seconds: real ones × {speed}\n");
    let _ = writeln!(table, "{:<44} {:>10} {:>10} {:>8}", "", "measured", "at best", "ratio");
    let mut line = |name: &str, measured: f64, best: Option<f64>| {
        let best = best
            .map_or(format!("{:>10} {:>8}", "", ""), |best| format!("{best:>10.1} {:>8.3}", measured / best));
        let _ = writeln!(table, "{name:<44} {measured:>10.1} {best}");
    };
    line("makespan (at best: a perfect schedule)", figures.makespan_s, Some(figures.perfect_s));
    line("makespan (at best: the lower bound)", figures.makespan_s, Some(figures.bound_s));
    line("tasks a minute", figures.tasks_per_minute, None);
    for (plan, spread) in &figures.latency_s {
        let best = figures.perfect_latency_s.get(plan).copied().unwrap_or_default();
        for (name, of) in [("p50", (|s| s.p50) as fn(&Spread) -> f64), ("p95", |s| s.p95), ("max", |s| s.max)]
        {
            line(&format!("latency {plan} {name}"), of(spread), Some(of(&best)));
        }
    }
    line("wait until the first paid call, mean", figures.first_call_s.mean, None);
    line("wait until the first paid call, p95", figures.first_call_s.p95, None);
    line("wait until the first paid call, max", figures.first_call_s.max, None);
    line("calls in flight, at most", figures.max_in_flight as f64, Some(f64::from(run.calls)));
    if let Some(share) = figures.share_at_limit {
        line("time at the limit while calls wait, %", share * 100.0, None);
    }
    line("calls refused for the limit", figures.throttled as f64, None);
    line("images delivered", figures.images as f64, None);
    line("images billed beyond", figures.images_billed_beyond as f64, None);
    let _ = writeln!(table, "{:<44} {:>10.2}", "worker CPU, ms an image", figures.worker_cpu_ms_per_image);
    let _ = writeln!(table, "{:<44} {:>10.1}", "workers' peak memory, MB", figures.worker_peak_mb);
    for (name, cpu_s) in &figures.cpu_s {
        let _ = writeln!(table, "{:<44} {cpu_s:>10.2}", format!("CPU of {name}, s"));
    }
    let _ = writeln!(table, "{:<44} {:>10.2}", "Temporal events an image", figures.events_per_image);
    let _ = writeln!(table, "{:<44} {:>10.0}", "bytes of history an image", figures.history_bytes_per_image);
    let _ = writeln!(table, "{:<44} {:>10.2}", "SQL transactions an image", figures.statements_per_image);
    if figures.others_share > OTHERS {
        let _ = writeln!(
            table,
            "\nThe machine was busy with something else: {:.0} % of a core. Don't trust these figures.",
            figures.others_share * 100.0
        );
    }
    table
}
