//! What no schedule can beat.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{Limits, Outage, Task};

/// The least that a task takes which has everything to itself: its retouching, its batches in rounds, the last download.
pub fn alone_ms(task: &Task, limits: &Limits) -> u64 {
    let rounds = u64::from(task.batches(limits).div_ceil(limits.calls.max(1)));
    (1 + rounds) * limits.call_ms + limits.download_ms
}

/// The least time from 0 until the last task is done, whatever the order of service.
///
/// The largest of three: a task alone; all calls, each as early as it can be wanted, on `calls` lines, and one download; all
/// downloads likewise on `transfers` lines. Calls are equally long, so serving them in the order in which they are
/// wanted, without a pause, is the fastest there is for them alone. Each forgets about the others: hence a bound.
pub fn makespan_ms(tasks: &[Task], limits: &Limits, outage: Option<Outage>) -> u64 {
    let alone = tasks.iter().map(|task| task.at_ms + alone_ms(task, limits)).max().unwrap_or(0);
    let mut wanted = Vec::new();
    let mut moved = Vec::new();
    for task in tasks {
        let retouched = task.at_ms + limits.call_ms;
        wanted.push(task.at_ms);
        wanted.extend((0..task.batches(limits)).map(|_| retouched));
        moved.extend((0..task.images).map(|_| retouched + limits.call_ms));
    }
    let calls = served_ms(wanted, limits.calls, limits.call_ms, outage) + limits.download_ms;
    let downloads = served_ms(moved, limits.transfers, limits.download_ms, outage);
    alone.max(calls).max(downloads)
}

/// When the last of equally long pieces of work is done, each wanted from its moment on, with `lines` served at once and
/// none begun in the outage. What runs when it begins is taken as done in time: nothing of it is lost.
fn served_ms(mut wanted: Vec<u64>, lines: u32, piece_ms: u64, outage: Option<Outage>) -> u64 {
    wanted.sort_unstable();
    let mut free: BinaryHeap<Reverse<u64>> = (0..lines.max(1)).map(|_| Reverse(0)).collect();
    let mut last = 0;
    for wanted_ms in wanted {
        let Some(Reverse(free_ms)) = free.pop() else { break };
        let mut begin = wanted_ms.max(free_ms);
        if let Some(outage) = outage.filter(|outage| (outage.from_ms..outage.to_ms).contains(&begin)) {
            begin = outage.to_ms;
        }
        last = last.max(begin + piece_ms);
        free.push(Reverse(begin + piece_ms));
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::schedule::tests::{limits, pro};

    #[test]
    fn one_task_alone_is_the_model_of_the_mission() {
        for (calls, seconds) in [(3, 50), (5, 34), (8, 26), (12, 26), (14, 18)] {
            let bound = makespan_ms(&pro(1), &limits(calls, 100), None);
            assert_eq!(bound, seconds * 1000, "{calls} calls at once");
        }
    }

    #[test]
    fn ten_pro_tasks_at_once_take_106_s_at_12_calls_and_34_s_at_48() {
        assert_eq!(makespan_ms(&pro(10), &limits(12, 20), None), 106_000);
        assert_eq!(makespan_ms(&pro(10), &limits(48, 80), None), 34_000);
    }

    #[test]
    fn few_transfers_are_a_limit_of_their_own() {
        // 70 images one by one, the first of them after two calls.
        assert_eq!(makespan_ms(&pro(1), &limits(100, 1), None), 16_000 + 140_000);
    }

    #[test]
    fn an_outage_costs_what_could_have_begun_in_it() {
        let outage = Outage { from_ms: 35_000, to_ms: 45_000, keys_honoured: true };
        // Calls begin at 0, 8, 16, 24, 32, then not at 40 but at 45.
        assert_eq!(makespan_ms(&pro(10), &limits(12, 20), Some(outage)), 111_000);
    }
}
