//! Computes in which order the queue serves waiting calls and when a task's turn comes, as pure
//! code.
//!
//! Temporal gives each call a pass when the call is scheduled. The pass is the last pass of the
//! call's lane plus a stride, and a stride is a thousand divided by the lane's weight. When a slot
//! is free, the call of the smallest pass is served. Among equal passes, the call that was
//! scheduled first is served. This module computes the same from the calls that wait, as if no lane
//! had been served before.

use std::collections::VecDeque;

/// Calls of one task that wait.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    /// Task that the calls belong to.
    pub task_id: String,
    /// The lane in which the calls wait.
    pub lane: String,
    /// Weight of the lane.
    pub weight: f64,
    /// Milliseconds for which the calls have waited.
    pub since_ms: u64,
    /// Number of the calls that wait.
    pub calls: u32,
    /// Number of calls that are scheduled once these are answered.
    pub later: u32,
}

impl Waiting {
    /// Returns true if this task's calls were scheduled before the other's.
    fn goes_before(&self, other: &Waiting) -> bool {
        (std::cmp::Reverse(self.since_ms), &self.task_id)
            < (std::cmp::Reverse(other.since_ms), &other.task_id)
    }

    fn is_of_another_task(&self, other: &Waiting) -> bool {
        self.task_id != other.task_id
    }

    /// Returns what one call adds to its lane's pass, as in Temporal's matching.
    fn stride(&self) -> u64 {
        ((1_000.0 / self.weight) as u64).max(1)
    }
}

/// Returns the number of calls that are served before the task's call number `nth`, from 0. Numbers
/// from `task.calls` on stand for calls that come later.
pub fn ahead(waiting: &[Waiting], task: &Waiting, nth: u32) -> u32 {
    let comes_later = nth >= task.calls;
    let in_lane = waiting.iter().filter(|other| other.lane == task.lane && other.is_of_another_task(task));
    // A later call is scheduled behind all calls that wait now, and behind later calls of tasks
    // that go before.
    let before_in_lane: u32 = in_lane
        .map(|other| match (comes_later, other.goes_before(task)) {
            (false, true) | (true, false) => other.calls,
            (true, true) => other.calls + other.later,
            (false, false) => 0,
        })
        .sum();
    let own = before_in_lane + nth;
    let pass = u64::from(own + 1) * task.stride();
    let mut others: Vec<&Waiting> = waiting.iter().filter(|other| other.lane != task.lane).collect();
    others.sort_by(|one, other| one.lane.cmp(&other.lane));
    let of_others = others.chunk_by(|one, other| one.lane == other.lane);
    own + of_others.map(|lane| before(lane, pass, task, comes_later)).sum::<u32>()
}

/// Returns the number of calls of another lane that are served before a task's call of that pass.
fn before(lane: &[&Waiting], pass: u64, task: &Waiting, with_later: bool) -> u32 {
    let calls = |of: &Waiting| of.calls + if with_later { of.later } else { 0 };
    let all: u32 = lane.iter().map(|of| calls(of)).sum();
    let came_first: u32 = lane.iter().filter(|of| of.goes_before(task)).map(|of| calls(of)).sum();
    let stride = lane.first().map_or(1, |of| of.stride());
    let smaller = (pass - 1) / stride;
    // At most one call of that lane has the same pass, and its arrival decides.
    let same = u64::from(pass.is_multiple_of(stride) && pass / stride <= u64::from(came_first));
    u64::from(all).min(smaller + same) as u32
}

/// Capacity and pace of a provider key.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Number of calls that may be in flight.
    pub at_once: u32,
    /// Mean duration of a call in ms.
    pub mean_ms: f64,
    /// Largest number of calls a minute, and the number that the last minute had.
    pub a_minute: Option<(u32, u32)>,
    /// Time in ms until the key may begin a call.
    pub closed_ms: f64,
    /// Time in ms for which each call in flight, and each orphan, still uses capacity.
    pub busy_ms: Vec<f64>,
}

/// Returns the time in ms until a call with so many ahead of it begins, or `None` if it can't
/// begin. Each call takes the slot that is free first.
pub fn begins_in_ms(service: &Service, ahead: u32) -> Option<f64> {
    let at_once = service.at_once as usize;
    if at_once == 0 || service.a_minute.is_some_and(|(most, _)| most == 0) {
        return None;
    }
    let mut free: Vec<f64> = service.busy_ms.clone();
    free.resize(free.len().max(at_once), 0.0);
    free.sort_by(f64::total_cmp);
    // After a cut of the limit, more calls are in flight than it allows. The first calls to end
    // free no slot.
    let mut free: VecDeque<f64> = free.split_off(free.len() - at_once).into();
    for _ in 0..ahead {
        // The slots stay sorted by the time at which they are free.
        let begins = free.pop_front().unwrap_or_default().max(service.closed_ms);
        let ends = begins + service.mean_ms;
        let place = free.partition_point(|other| *other <= ends);
        free.insert(place, ends);
    }
    let by_slots = free.front().copied().unwrap_or_default().max(service.closed_ms);
    let by_rate =
        service.a_minute.map_or(0.0, |(most, had)| f64::from((had.min(most) + ahead) / most) * 60_000.0);
    Some(by_slots.max(by_rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(task: &str, lane: &str, weight: f64, since_ms: u64, calls: u32) -> Waiting {
        Waiting { task_id: task.into(), lane: lane.into(), weight, since_ms, calls, later: 0 }
    }

    #[test]
    fn a_lane_is_served_in_the_order_of_arrival() {
        let tasks: Vec<Waiting> =
            (0..3).map(|n| waiting(&format!("task-{n}"), "plan:pro", 5.0, 100 - n, 14)).collect();
        let positions = |nth| tasks.iter().map(|task| ahead(&tasks, task, nth)).collect::<Vec<_>>();
        assert_eq!(positions(0), [0, 14, 28]);
        assert_eq!(positions(13), [13, 27, 41]);
    }

    #[test]
    fn lanes_are_served_by_their_weights() {
        let free = waiting("free", "plan:free", 40.0, 1, 100);
        let pro = waiting("pro", "plan:pro", 5.0, 9, 14);
        let flood = waiting("flood", "user:1", 1.0, 99, 1_000);
        let all = [free.clone(), pro.clone(), flood.clone()];
        // The strides are 25, 200 and 1000. Of equal passes, the first to come is served.
        assert_eq!(ahead(&all, &free, 0), 0);
        assert_eq!(ahead(&all, &pro, 0), 7);
        assert_eq!(ahead(&all, &free, 7), 7 + 1, "pro's first came before");
        assert_eq!(ahead(&all, &flood, 0), 39 + 4);
        assert_eq!(ahead(&all, &pro, 4), 4 + 39 + 1);
        assert_eq!(ahead(&all, &pro, 13), 13 + 100 + 2, "no more than waits");
    }

    #[test]
    fn calls_that_come_later_go_behind_what_waits_in_the_lane() {
        let own = Waiting { later: 6, ..waiting("own", "plan:start", 10.0, 10, 1) };
        let older = Waiting { later: 6, ..waiting("older", "plan:start", 10.0, 20, 1) };
        let younger = Waiting { later: 6, ..waiting("younger", "plan:start", 10.0, 5, 1) };
        let all = [own.clone(), older, younger, waiting("busy", "plan:start", 10.0, 7, 3)];
        assert_eq!(ahead(&all, &own, 0), 1);
        assert_eq!(ahead(&all, &own, 1), 1 + 7 + 1 + 3);
        assert_eq!(ahead(&all, &own, 6), 6 + 7 + 1 + 3);
    }

    #[test]
    fn what_is_free_and_the_rate_decide_when() {
        let free = Service { at_once: 12, mean_ms: 8_000.0, a_minute: None, closed_ms: 0.0, busy_ms: vec![] };
        let busy = Service { busy_ms: vec![15_000.0, 2_000.0], at_once: 2, ..free.clone() };
        let cases = [
            (free.clone(), 24, Some(16_000.0)),
            (Service { a_minute: Some((10, 0)), ..free.clone() }, 24, Some(120_000.0)),
            (Service { a_minute: Some((10, 10)), ..free.clone() }, 0, Some(60_000.0)),
            // The rate was lowered in the last minute.
            (Service { a_minute: Some((1, 10)), ..free.clone() }, 1, Some(120_000.0)),
            (Service { a_minute: Some((0, 0)), ..free.clone() }, 0, None),
            (Service { at_once: 0, ..free.clone() }, 0, None),
            (Service { closed_ms: 5_000.0, ..free.clone() }, 12, Some(13_000.0)),
            (busy.clone(), 0, Some(2_000.0)),
            (busy.clone(), 1, Some(10_000.0)),
            (busy.clone(), 2, Some(15_000.0)),
            (busy.clone(), 3, Some(18_000.0)),
            (Service { at_once: 1, ..busy.clone() }, 0, Some(15_000.0)),
        ];
        for (service, ahead, begins_in) in cases {
            assert_eq!(begins_in_ms(&service, ahead), begins_in, "{service:?}, {ahead} ahead");
        }
    }
}
