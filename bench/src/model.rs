//! Pure: what the limits alone allow. Two figures for a load: a lower bound, from the work there is and the longest chain of steps, and a
//! perfect schedule, which starts everything the moment that it may.
//!
//! A task is its retouching (one call; its answer comes as bytes), then its batches, a call each; a batch's images move one by one, each
//! taking a transfer slot. Calls and transfers have slots of their own. Free slots go by plan, then by time of arrival.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::load::Arrival;

/// Images a call makes.
pub const BATCH: u32 = 5;

/// What is limited, and what things take, in provider seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Provider calls at once.
    pub calls: u32,
    /// Images that move at once.
    pub transfers: u32,
    /// What a call takes.
    pub call_s: f64,
    /// What an image's transfer takes.
    pub transfer_s: f64,
}

impl Limits {
    /// The mission's times.
    pub fn of(calls: u32, transfers: u32) -> Limits {
        Limits { calls, transfers, call_s: 8.0, transfer_s: 2.0 }
    }
}

/// When each task ends, and when its first call starts, in the order of arrival.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// End of each task.
    pub ends_s: Vec<f64>,
    /// Start of each task's first call.
    pub starts_s: Vec<f64>,
}

impl Schedule {
    /// When the last task has ended.
    pub fn makespan_s(&self) -> f64 {
        self.ends_s.iter().copied().fold(0.0, f64::max)
    }
}

fn batches(arrival: &Arrival) -> u32 {
    arrival.plan.images().div_ceil(BATCH)
}

/// No schedule ends before this: neither the tasks of any last stretch of arrivals, with all slots busy from its beginning, nor any task
/// alone.
pub fn lower_bound_s(arrivals: &[Arrival], limits: Limits) -> f64 {
    let alone = |arrival: &Arrival| {
        let rounds = 1 + batches(arrival).div_ceil(limits.calls);
        let last = arrival.plan.images() - BATCH * (batches(arrival) - 1);
        let moves = f64::from(last.div_ceil(limits.transfers)) * limits.transfer_s;
        arrival.at_s + f64::from(rounds) * limits.call_s + moves
    };
    let longest = arrivals.iter().map(alone).fold(0.0, f64::max);
    let mut busiest: f64 = 0.0;
    let mut calls = 0;
    for arrival in arrivals.iter().rev() {
        calls += 1 + batches(arrival);
        // Whole rounds where all came at once; else slots end when they will, and only the work counts.
        let at_once = arrivals.iter().all(|other| other.at_s == arrival.at_s);
        let rounds = if at_once {
            f64::from(calls.div_ceil(limits.calls))
        } else {
            f64::from(calls) / f64::from(limits.calls)
        };
        busiest = busiest.max(arrival.at_s + rounds * limits.call_s + limits.transfer_s);
    }
    longest.max(busiest)
}

/// Something that ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Arrival(usize),
    Beautify(usize),
    Batch(usize, u32),
    Transfer(usize),
}

/// Work that waits for a slot: by plan, then by arrival, then in the order it came.
type Waiting = BinaryHeap<Reverse<(crate::load::Plan, usize, u32)>>;

/// Whole milliseconds, so that events sort.
fn ms(seconds: f64) -> u64 {
    (seconds * 1000.0).round() as u64
}

/// The perfect schedule.
pub fn perfect(arrivals: &[Arrival], limits: Limits) -> Schedule {
    let mut events: BinaryHeap<Reverse<(u64, End)>> = arrivals
        .iter()
        .enumerate()
        .map(|(task, arrival)| Reverse((ms(arrival.at_s), End::Arrival(task))))
        .collect();
    // Part 0 is the retouching; a batch's number otherwise. Transfers wait with their batch's size.
    let (mut calls, mut moves): (Waiting, Waiting) = (Waiting::new(), Waiting::new());
    let (mut free_calls, mut free_moves) = (limits.calls, limits.transfers);
    let mut left: Vec<u32> = arrivals.iter().map(|arrival| arrival.plan.images()).collect();
    let mut schedule =
        Schedule { ends_s: vec![0.0; arrivals.len()], starts_s: vec![f64::NAN; arrivals.len()] };
    while let Some(Reverse((now, end))) = events.pop() {
        match end {
            End::Arrival(task) => calls.push(Reverse((arrivals[task].plan, task, 0))),
            End::Beautify(task) => {
                free_calls += 1;
                calls.extend(
                    (1..=batches(&arrivals[task])).map(|batch| Reverse((arrivals[task].plan, task, batch))),
                );
            }
            End::Batch(task, batch) => {
                free_calls += 1;
                let images = BATCH.min(arrivals[task].plan.images() - BATCH * (batch - 1));
                moves.extend(
                    (0..images).map(|image| Reverse((arrivals[task].plan, task, batch * BATCH + image))),
                );
            }
            End::Transfer(task) => {
                free_moves += 1;
                left[task] -= 1;
                schedule.ends_s[task] = now as f64 / 1000.0;
            }
        }
        // Everything that ends at this moment frees its slot before any is given away.
        if events.peek().is_some_and(|Reverse((next, _))| *next == now) {
            continue;
        }
        while free_calls > 0 {
            let Some(Reverse((_, task, part))) = calls.pop() else { break };
            free_calls -= 1;
            if part == 0 {
                schedule.starts_s[task] = now as f64 / 1000.0;
            }
            let end = if part == 0 { End::Beautify(task) } else { End::Batch(task, part) };
            events.push(Reverse((now + ms(limits.call_s), end)));
        }
        while free_moves > 0 {
            let Some(Reverse((_, task, _))) = moves.pop() else { break };
            free_moves -= 1;
            events.push(Reverse((now + ms(limits.transfer_s), End::Transfer(task))));
        }
    }
    debug_assert!(left.iter().all(|left| *left == 0));
    schedule
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::load::{Plan, Scenario};

    fn figures(scenario: Scenario, calls: u32, transfers: u32) -> (f64, f64) {
        let (arrivals, limits) = (scenario.arrivals(), Limits::of(calls, transfers));
        (lower_bound_s(&arrivals, limits).round(), perfect(&arrivals, limits).makespan_s().round())
    }

    #[test]
    fn the_missions_figures_come_out() {
        assert_eq!(figures(Scenario::S1, 12, 20), (106.0, 108.0));
        assert_eq!(figures(Scenario::S1, 48, 80), (34.0, 38.0));
        assert_eq!(figures(Scenario::Single(Plan::Pro), 12, 20), (26.0, 26.0));
        assert_eq!(figures(Scenario::Single(Plan::Pro), 3, 20), (50.0, 50.0));
        assert_eq!(figures(Scenario::Single(Plan::Pro), 5, 20), (34.0, 34.0));
        assert_eq!(figures(Scenario::S2, 12, 20).0, 3614.0);
    }

    #[test]
    fn s3_keeps_every_slot_busy_but_at_its_ends() {
        let (bound, perfect) = figures(Scenario::S3, 12, 20);
        assert!((1_055.0..=1_063.0).contains(&bound), "{bound}");
        assert!((bound..=1_070.0).contains(&perfect), "{perfect}");
    }

    proptest! {
        #[test]
        fn no_schedule_beats_the_bound(
            plans in proptest::collection::vec((0_u32..100, 0_usize..3), 1..20),
            calls in 1_u32..50,
            transfers in 1_u32..50,
        ) {
            let mut arrivals: Vec<Arrival> = plans
                .iter()
                .map(|(at, plan)| Arrival { at_s: f64::from(*at), user: 0, plan: [Plan::Free, Plan::Start, Plan::Pro][*plan] })
                .collect();
            arrivals.sort_by(|one, two| one.at_s.total_cmp(&two.at_s));
            let limits = Limits::of(calls, transfers);
            let schedule = perfect(&arrivals, limits);
            prop_assert!(schedule.makespan_s() + 1e-6 >= lower_bound_s(&arrivals, limits));
            for (arrival, (start, end)) in arrivals.iter().zip(schedule.starts_s.iter().zip(&schedule.ends_s)) {
                prop_assert!(*start >= arrival.at_s && *end >= start + 18.0);
            }
        }
    }
}
