use super::*;
use crate::model::{Limits, PlanLane, Task};

/// The lane of a Pro task, and that of a Free one.
fn pro() -> PlanLane {
    PlanLane::new(3, 5.0, 1)
}

fn free() -> PlanLane {
    PlanLane::new(1, 40.0, 3)
}

/// A run that went exactly as the model schedules it.
fn perfect(model: Vec<Task>, limits: Limits) -> Observed {
    let ran = model::schedule(&model, &limits, None);
    let tasks = model.iter().zip(&ran.tasks).map(|(task, times)| ObservedTask {
        group: if task.lane == free() { "free" } else { "pro" }.to_owned(),
        arrived_ms: task.at_ms,
        first_call_ms: Some(times.first_call_ms),
        finished_ms: Some(times.finished_ms),
        completed: true,
    });
    let images = model.iter().map(|task| u64::from(task.images)).sum();
    Observed {
        tasks: tasks.collect(),
        images_delivered: images,
        retouched: model.len() as u64,
        images_billed: images + model.len() as u64,
        calls: ran.calls.len() as u64,
        calls_throttled: 0,
        calls_unavailable: 0,
        in_flight: ran.in_flight(),
        waiting: ran.waiting(),
        downloading: Timeline::of(ran.downloads.iter().copied()),
        freed_to_next_ms: vec![0.0; ran.calls.len()],
        events: 1_000,
        history_bytes: 100_000,
        statements: 70,
        statements_how: "counted",
        adaptation: None,
        memory: Vec::new(),
        costs: Costs { worker_cpu_s: 0.7, ..Costs::default() },
        errors: Vec::new(),
        limits,
        model,
        outage: None,
    }
}

pub(crate) fn s1() -> Observed {
    let limits = Limits { calls: 12, transfers: 20, batch_size: 5, call_ms: 8_000, download_ms: 2_000 };
    perfect((0..10).map(|user| Task { at_ms: 0, images: 70, lane: pro(), user }).collect(), limits)
}

fn figure(figures: &[Figure], name: &str) -> Figure {
    figures.iter().find(|figure| figure.name == name).unwrap_or_else(|| panic!("no {name}")).clone()
}

#[test]
fn a_run_as_scheduled_is_once_the_schedule_everywhere() {
    let figures = figures(&s1());
    for figure in &figures {
        assert!(figure.times_schedule.is_none_or(|times| (times - 1.0).abs() < 1e-9), "{figure:?}");
        assert!(figure.times_bound.is_none_or(|times| times >= 1.0), "{figure:?}");
    }
    let makespan = figure(&figures, "makespan");
    assert_eq!((makespan.value, makespan.bound, makespan.schedule), (108.0, Some(106.0), Some(108.0)));
    assert_eq!(figure(&figures, "at_limit").value, 100.0);
    assert_eq!(figure(&figures, "images_billed_beyond").value, 0.0);
    assert_eq!(figure(&figures, "worker_cpu_per_image").value, 1.0);
    assert_eq!(figure(&figures, "latency_pro_p95").bound, Some(26.0));
}

#[test]
fn names_are_unique_and_all_is_told_apart_only_where_plans_differ() {
    let mut mixed = s1();
    mixed.tasks[0].group = "free".into();
    mixed.model[0].lane = free();
    for seen in [s1(), mixed] {
        let figures = figures(&seen);
        let mut names: Vec<&str> = figures.iter().map(|figure| figure.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), figures.len());
        assert_eq!(names.contains(&"latency_all_p50"), seen.groups().len() > 1);
    }
}

#[test]
fn medians_keep_the_spread_and_relate_anew() {
    let run = |makespan: u64| {
        let mut seen = s1();
        seen.tasks[9].finished_ms = Some(makespan);
        figures(&seen)
    };
    let makespan = figure(&medians(&[run(110_000), run(109_000), run(120_000)]), "makespan");
    assert_eq!((makespan.value, makespan.min, makespan.max), (110.0, 109.0, 120.0));
    assert_eq!(makespan.times_schedule, Some(110.0 / 108.0));
}

#[test]
fn tasks_that_did_not_complete_are_errors() {
    let mut seen = s1();
    assert!(seen.errors().is_empty());
    seen.tasks[3].completed = false;
    assert_eq!(seen.errors(), ["1 of 10 tasks did not complete"]);
}
