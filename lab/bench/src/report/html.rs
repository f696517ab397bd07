//! One page that needs nothing but itself.

use super::svg::{Line, chart, escape, image};
use super::{Report, number};
use crate::adaptation::Trace;
use crate::figures::{Figure, Observed};
use crate::timeline::Timeline;

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #222; --soft: #888; --rule: #ddd; --paper: #fff;
  --a: #1f77b4; --b: #d9730d; --c: #2a9d5c; --limit: #c0392b; }
@media (prefers-color-scheme: dark) { :root { --ink: #ddd; --soft: #888; --rule: #333; --paper: #161616;
  --a: #6cb2eb; --b: #f0a35e; --c: #62c98f; --limit: #ef6f61; } }
body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.3rem; } h2 { font-size: 1.05rem; margin: 2rem 0 .3rem; } code { font-size: .9em; }
table { border-collapse: collapse; width: 100%; } td, th { padding: .15rem .5rem; text-align: right; border-bottom: 1px solid var(--rule); }
td:first-child, th:first-child, td.unit { text-align: left; } td.unit { color: var(--soft); }
svg { width: 100%; height: auto; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; list-style: none; padding: 0; margin: 0; font-size: .85rem; }
.legend .a, .legend .soft-a { color: var(--a); } .legend .b, .legend .soft-b { color: var(--b); } .legend .c, .legend .soft-c { color: var(--c); } .legend .soft { color: var(--soft); } .legend .limit { color: var(--limit); }
.warning { color: var(--limit); }";

/// What is within charts.
const LINES: &str = "
svg text { font-size: 11px; fill: var(--soft); } text.y, text.limit-name { text-anchor: end; } text.x { text-anchor: middle; }
.grid { stroke: var(--rule); } .limit { stroke: var(--limit); stroke-dasharray: 6 4; } text.limit-name { fill: var(--limit); }
.line { fill: none; stroke-width: 1.5; } .line.a { stroke: var(--a); } .line.b { stroke: var(--b); } .line.c { stroke: var(--c); }
.line.soft, .line.soft-a, .line.soft-b, .line.soft-c { stroke-dasharray: 3 3; opacity: .8; } .line.soft { stroke: var(--soft); }
.line.soft-a { stroke: var(--a); } .line.soft-b { stroke: var(--b); } .line.soft-c { stroke: var(--c); }
.line.limit { stroke-dasharray: none; stroke-width: 2; } text .a { fill: var(--a); } text .b { fill: var(--b); } text .limit { fill: var(--limit); stroke: none; }";

/// The page: conditions, plots of the run, figures. `seen` is the run that is drawn.
pub fn page(report: &Report, seen: &Observed) -> String {
    let title = escape(&report.conditions.scenario);
    let lines = report.conditions.lines();
    let about = lines.iter().skip(1).map(|line| format!("<p>{}</p>", escape(line))).collect::<String>();
    let warnings =
        report.warnings.iter().map(|warning| format!("<p class=\"warning\">{}</p>", escape(warning)));
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}{LINES}</style></head><body>\n\
         <h1>{title}</h1>{about}{}<p><code>{}</code></p>\n{}\n<h2>Figures</h2>\n{}\n</body></html>\n",
        warnings.collect::<String>(),
        escape(&report.conditions.command),
        charts(seen),
        figures(report),
    )
}

fn charts(seen: &Observed) -> String {
    if let Some(trace) = &seen.adaptation {
        let (x, y) = TRACE_AXES;
        return format!(
            "<h2>The limit, and what the provider allows</h2>{}",
            chart(x, y, &adaptation(trace), None)
        );
    }
    let ran = seen.schedule();
    let limit = f64::from(seen.limits.calls);
    let in_flight = chart("seconds", "calls", &in_flight(seen), Some((limit, "limit")));
    let queue = chart(
        "seconds",
        "calls",
        &[
            timeline("as scheduled by the model", "soft", &ran.waiting()),
            timeline("measured", "b", &seen.waiting),
        ],
        None,
    );
    let mut distributions = Vec::new();
    let classes = [("a", "soft-a"), ("b", "soft-b"), ("c", "soft-c")];
    for (group, (class, soft)) in seen.groups().iter().zip(classes.into_iter().cycle()) {
        let of_group = || seen.tasks.iter().zip(&ran.tasks).filter(|(task, _)| task.group == *group);
        let measured =
            of_group().filter_map(|(task, _)| Some(task.finished_ms?.saturating_sub(task.arrived_ms)));
        let scheduled = of_group().map(|(task, times)| times.finished_ms.saturating_sub(task.arrived_ms));
        distributions.push(distribution(
            format!("{group}, as scheduled by the model"),
            soft,
            scheduled.collect(),
        ));
        distributions.push(distribution(format!("{group}, measured"), class, measured.collect()));
    }
    let latency = chart("seconds from arrival to the last row", "% of tasks", &distributions, None);
    let memory = Line {
        name: "all workers together".into(),
        class: "c",
        points: seen.memory.iter().map(|(at_ms, bytes)| (*at_ms as f64 / 1e3, *bytes as f64 / 1e6)).collect(),
        stepped: false,
    };
    let memory = chart("seconds", "MB", &[memory], None);
    format!(
        "<h2>Calls in flight</h2>{in_flight}\n<h2>Calls that wait for a slot</h2>{queue}\n\
         <h2>Latency</h2>{latency}\n<h2>Memory of the workers</h2>{memory}"
    )
}

const TRACE_AXES: (&str, &str) = ("seconds, real time", "calls");

/// The plot of a run, as a file of its own: of the limit where the provider changes what it allows, else of the calls in flight.
pub fn plot(seen: &Observed) -> String {
    let style = format!(
        "svg {{ --ink: #222; --soft: #888; --rule: #ddd; --a: #1f77b4; --b: #d9730d; --c: #2a9d5c; --limit: #c0392b; }} {LINES}"
    );
    match &seen.adaptation {
        Some(trace) => image(TRACE_AXES.0, TRACE_AXES.1, &adaptation(trace), &style),
        None => image("seconds", "calls", &in_flight(seen), &style),
    }
}

/// The limit, the calls in flight, and what the provider allowed.
fn adaptation(trace: &Trace) -> Vec<Line> {
    let stepped = |name: &str, class, points| Line { name: name.into(), class, points, stepped: true };
    let limit = trace.limit.iter().map(|(at_ms, limit)| (*at_ms as f64 / 1e3, f64::from(*limit)));
    let until = trace.in_flight.steps().last().map_or(0, |(at_ms, _)| *at_ms) as f64 / 1e3;
    let last = trace.limit.last().map(|(_, limit)| (until, f64::from(*limit)));
    let refused = trace.refused_ms.iter().flat_map(|at_ms| {
        let at_s = *at_ms as f64 / 1e3;
        [(at_s, 0.0), (at_s, 3.0), (at_s, 0.0)]
    });
    vec![
        stepped("what the provider allows, and tells nobody", "soft", Trace::allowed()),
        timeline("calls in flight", "a", &trace.in_flight),
        stepped("the limit", "b", limit.chain(last).collect()),
        Line {
            name: "calls refused (429)".into(),
            class: "limit",
            points: refused.collect(),
            stepped: false,
        },
    ]
}

fn in_flight(seen: &Observed) -> Vec<Line> {
    vec![
        timeline("as scheduled by the model", "soft", &seen.schedule().in_flight()),
        timeline("measured", "a", &seen.in_flight),
    ]
}

fn timeline(name: &str, class: &'static str, of: &Timeline) -> Line {
    let points = of.steps().iter().map(|(at_ms, value)| (*at_ms as f64 / 1e3, *value as f64));
    Line {
        name: name.into(),
        class,
        points: std::iter::once((0.0, 0.0)).chain(points).collect(),
        stepped: true,
    }
}

/// Which share took at most so long.
fn distribution(name: String, class: &'static str, mut latencies_ms: Vec<u64>) -> Line {
    latencies_ms.sort_unstable();
    let count = latencies_ms.len() as f64;
    let points =
        (1..).zip(&latencies_ms).map(|(rank, ms)| (*ms as f64 / 1e3, f64::from(rank) / count * 100.0));
    Line { name, class, points: std::iter::once((0.0, 0.0)).chain(points).collect(), stepped: true }
}

fn figures(report: &Report) -> String {
    let maybe = |value: Option<f64>| value.map(number).unwrap_or_default();
    let times = |value: Option<f64>| value.map(|times| format!("{times:.3}")).unwrap_or_default();
    let row = |figure: &Figure| {
        let spread = if report.conditions.runs > 1 {
            format!(" ({}–{})", number(figure.min), number(figure.max))
        } else {
            String::new()
        };
        format!(
            "<tr><td>{}</td><td>{}</td><td class=\"unit\">{}{spread}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
            escape(&figure.label),
            number(figure.value),
            escape(&figure.unit),
            maybe(figure.bound),
            times(figure.times_bound),
            maybe(figure.schedule),
            times(figure.times_schedule)
        )
    };
    format!(
        "<table><tr><th></th><th>measured</th><th></th><th>bound</th><th>×</th><th>schedule</th><th>×</th></tr>\n{}</table>\n\
         <p>bound: what nothing beats under the same limits; schedule: nothing lost between two calls. × is how many times worse. \
         SQL statements: {}.</p>",
        report.figures.iter().map(row).collect::<String>(),
        escape(&report.conditions.statements)
    )
}
