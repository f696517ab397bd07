use proptest::prelude::*;

use super::*;
use crate::model::{PlanLane, alone_ms, makespan_ms};

pub(in crate::model) fn limits(calls: u32, transfers: u32) -> Limits {
    Limits { calls, transfers, batch_size: 5, call_ms: 8_000, download_ms: 2_000 }
}

/// Pro tasks at once, each of another user.
pub(in crate::model) fn pro(count: u32) -> Vec<Task> {
    (0..count).map(|user| task(0, 70, 3, user)).collect()
}

/// A task of the plan of that number: Free, Start or Pro.
fn task(at_ms: u64, images: u32, plan: u32, user: u32) -> Task {
    let lane = match plan {
        1 => PlanLane::new(1, 40.0, 3),
        2 => PlanLane::new(2, 10.0, 1),
        _ => PlanLane::new(3, 5.0, 1),
    };
    Task { at_ms, images, lane, user }
}

fn seconds(tasks: &[Task], limits: Limits) -> f64 {
    schedule(tasks, &limits, None).makespan_ms() as f64 / 1000.0
}

#[test]
fn ten_pro_tasks_at_once_take_108_s_at_12_calls_and_38_s_at_48() {
    assert_eq!(seconds(&pro(10), limits(12, 20)), 108.0);
    assert_eq!(seconds(&pro(10), limits(48, 80)), 38.0);
}

#[test]
fn one_pro_task_alone_takes_26_s_at_12_calls() {
    // The last round is two calls: 10 images, which move at once.
    assert_eq!(seconds(&pro(1), limits(12, 20)), 26.0);
}

#[test]
fn a_free_task_goes_first_once_a_line_is_free() {
    let mut tasks = pro(10);
    tasks.push(task(9_000, 2, 1, 99));
    let free = schedule(&tasks, &limits(12, 20), None).tasks[10];
    assert_eq!((free.first_call_ms, free.finished_ms), (16_000, 34_000));
}

/// When each of the tasks was done, in seconds.
fn ends(tasks: &[Task], limits: Limits) -> Vec<f64> {
    schedule(tasks, &limits, None).tasks.iter().map(|task| task.finished_ms as f64 / 1000.0).collect()
}

#[test]
fn equal_tasks_are_done_one_after_the_other() {
    // By turns of users, all ten would be done between 106 and 108 s.
    for (limits, median, last) in [(limits(12, 20), 62.0, 108.0), (limits(48, 80), 28.0, 38.0)] {
        let ends = ends(&pro(10), limits);
        assert!(ends.is_sorted(), "{ends:?}");
        assert_eq!((ends[4], ends[9]), (median, last));
    }
}

#[test]
fn a_users_further_tasks_wait_in_a_lane_of_their_own() {
    let mut tasks: Vec<Task> = (0..20).map(|_| task(0, 30, 2, 1)).collect();
    tasks.push(task(9_000, 30, 2, 2));
    let ran = schedule(&tasks, &limits(12, 20), None);
    // It is retouched at 16 s, and its six batches begin at 24 s: its lane has ten calls for each of the flood's.
    assert_eq!((ran.tasks[20].first_call_ms, ran.tasks[20].finished_ms), (16_000, 36_000));
    // The first of the flood has its answers at 16 s, and its 30 images move 20 at a time.
    assert_eq!(ran.tasks[0].finished_ms, 20_000);
    assert!(ran.tasks[1..20].iter().all(|flood| flood.finished_ms > 20_000));
}

#[test]
fn a_task_goes_into_its_plans_lane_again_once_earlier_ones_are_done() {
    let tasks = [task(0, 30, 2, 1), task(60_000, 30, 2, 1), task(61_000, 2, 1, 1), task(62_000, 30, 2, 1)];
    let limits = limits(12, 20);
    let mut run = Run::new(&tasks, &limits, None);
    while let Some(now_ms) = run.moments.pop_first() {
        run.step(now_ms);
    }
    let lanes: Vec<Lane> = run.lanes.iter().map(|(lane, _)| *lane).collect();
    assert_eq!(lanes, [Lane::Plan(2), Lane::Plan(2), Lane::Plan(1), Lane::User(1)]);
}

#[test]
fn a_killed_worker_costs_its_absence_and_where_keys_are_ignored_its_calls() {
    let (tasks, limits) = (pro(10), limits(12, 20));
    let with = |keys_honoured| {
        let outage = Outage { from_ms: 35_000, to_ms: 45_000, keys_honoured };
        schedule(&tasks, &limits, Some(outage))
    };
    // Calls began at 0, 8, 16, 24 and 32. Honoured: the answers of the last are there at 45, and 12 others begin at once.
    assert_eq!(with(true).makespan_ms(), 113_000);
    // Ignored: they are made again.
    assert_eq!(with(false).makespan_ms(), 121_000);
    assert_eq!(with(false).calls.len(), 150 + 12);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_schedule_beats_the_bound_or_breaks_a_limit(
        tasks in prop::collection::vec((0u64..60_000, 1u32..80, 1u32..4, 0u32..5), 1..12),
        calls in 1u32..20,
        transfers in 1u32..30,
    ) {
        let task = |(at_ms, images, plan, user)| task(at_ms, images, plan, user);
        let tasks: Vec<Task> = tasks.into_iter().map(task).collect();
        let limits = limits(calls, transfers);
        let ran = schedule(&tasks, &limits, None);

        prop_assert!(ran.makespan_ms() >= makespan_ms(&tasks, &limits, None));
        prop_assert!(ran.in_flight().max() <= u64::from(calls));
        prop_assert!(Timeline::of(ran.downloads.iter().copied()).max() <= u64::from(transfers));
        for (task, times) in tasks.iter().zip(&ran.tasks) {
            prop_assert!(times.first_call_ms >= task.at_ms);
            prop_assert!(times.finished_ms >= task.at_ms + alone_ms(task, &limits));
        }
        let images: u32 = tasks.iter().map(|task| task.images).sum();
        let batches: u32 = tasks.iter().map(|task| task.images.div_ceil(5)).sum();
        prop_assert_eq!(ran.downloads.len(), images as usize);
        prop_assert_eq!(ran.calls.len(), batches as usize + tasks.len());
    }

    #[test]
    fn while_a_call_waits_no_line_is_idle(
        tasks in prop::collection::vec((0u64..60_000, 1u32..80, 1u32..4, 0u32..5), 1..12),
        calls in 1u32..20,
    ) {
        let task = |(at_ms, images, plan, user)| task(at_ms, images, plan, user);
        let tasks: Vec<Task> = tasks.into_iter().map(task).collect();
        let ran = schedule(&tasks, &limits(calls, 20), None);
        let busy = crate::timeline::busy(&ran.in_flight(), &ran.waiting(), u64::from(calls));
        prop_assert!(busy.is_none_or(|busy| busy.at_limit == 1.0 && busy.used == 1.0));
    }

    #[test]
    fn more_calls_at_once_never_raise_the_bound(count in 1u32..12, calls in 1u32..60) {
        let bound = |calls| makespan_ms(&pro(count), &limits(calls, 20), None);
        prop_assert!(bound(calls + 1) <= bound(calls));
    }

    #[test]
    fn an_outage_beats_no_bound_either(from_s in 0u64..100, lasts_s in 1u64..30, honoured: bool) {
        let outage = Outage { from_ms: from_s * 1000, to_ms: (from_s + lasts_s) * 1000, keys_honoured: honoured };
        let (tasks, limits) = (pro(5), limits(12, 20));
        let ran = schedule(&tasks, &limits, Some(outage));
        prop_assert!(ran.makespan_ms() >= makespan_ms(&tasks, &limits, Some(outage)));
        prop_assert!(ran.tasks.iter().all(|task| task.finished_ms > 0));
    }
}
