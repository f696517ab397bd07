use proptest::prelude::*;

use super::*;
use crate::model::{alone_ms, makespan_ms};

pub(in crate::model) fn limits(calls: u32, transfers: u32) -> Limits {
    Limits { calls, transfers, batch_size: 5, call_ms: 8_000, download_ms: 2_000 }
}

/// Pro tasks at once, each of another user.
pub(in crate::model) fn pro(count: u32) -> Vec<Task> {
    (0..count).map(|user| Task { at_ms: 0, images: 70, priority: 3, user }).collect()
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
    tasks.push(Task { at_ms: 9_000, images: 2, priority: 1, user: 99 });
    let free = schedule(&tasks, &limits(12, 20), None).tasks[10];
    assert_eq!((free.first_call_ms, free.finished_ms), (16_000, 34_000));
}

#[test]
fn users_take_turns() {
    // One user's second task doesn't wait for the 14 batches of another's: both get half of the lines.
    let tasks = [Task { at_ms: 0, images: 500, priority: 3, user: 1 }, Task { at_ms: 9_000, ..pro(1)[0] }];
    let second = schedule(&tasks, &limits(10, 100), None).tasks[1];
    assert_eq!(second.first_call_ms, 16_000);
    // 14 batches in turns with the other's: 5 of 10 lines a round.
    assert_eq!(second.finished_ms, 24_000 + 3 * 8_000 + 2_000);
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
        let task = |(at_ms, images, priority, user)| Task { at_ms, images, priority, user };
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
        let task = |(at_ms, images, priority, user)| Task { at_ms, images, priority, user };
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
