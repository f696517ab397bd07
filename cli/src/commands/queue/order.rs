//! Pure: in which order the queue serves what waits, and when a task's turn comes.
//!
//! Temporal gives each call a pass when it is scheduled: its lane's last pass and a stride, which is a thousand divided by the lane's weight. When
//! a slot is free, the call of the smallest pass is served, and of equal passes the one that was scheduled first. This computes the same from
//! what waits, as if no lane had been served before.

use std::collections::VecDeque;

/// A task's calls that wait.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Waiting {
    pub(crate) task_id: String,
    /// The lane in which they wait.
    pub(crate) lane: String,
    pub(crate) weight: f64,
    pub(crate) since_ms: u64,
    pub(crate) calls: u32,
    /// Calls that are scheduled once these are answered.
    pub(crate) later: u32,
}

impl Waiting {
    /// Whether its calls were scheduled before the other's.
    fn goes_before(&self, other: &Waiting) -> bool {
        (std::cmp::Reverse(self.since_ms), &self.task_id)
            < (std::cmp::Reverse(other.since_ms), &other.task_id)
    }

    fn is_of_another_task(&self, other: &Waiting) -> bool {
        self.task_id != other.task_id
    }

    /// What one call adds to its lane's pass, as in Temporal's matching.
    fn stride(&self) -> u64 {
        ((1_000.0 / self.weight) as u64).max(1)
    }
}

/// Calls that are served before the task's call number `nth` (the first is 0): of those that wait, and beyond them of those that come later.
pub(crate) fn ahead(waiting: &[Waiting], task: &Waiting, nth: u32) -> u32 {
    let comes_later = nth >= task.calls;
    let in_lane = waiting.iter().filter(|other| other.lane == task.lane && other.is_of_another_task(task));
    // A call that comes later is scheduled behind all that waits now, and behind what comes later of tasks that go before.
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

/// Calls of another lane that are served before a task's call of that pass.
fn before(lane: &[&Waiting], pass: u64, task: &Waiting, with_later: bool) -> u32 {
    let calls = |of: &Waiting| of.calls + if with_later { of.later } else { 0 };
    let all: u32 = lane.iter().map(|of| calls(of)).sum();
    let came_first: u32 = lane.iter().filter(|of| of.goes_before(task)).map(|of| calls(of)).sum();
    let stride = lane.first().map_or(1, |of| of.stride());
    let smaller = (pass - 1) / stride;
    // Of the one call of the very same pass, its arrival decides.
    let same = u64::from(pass.is_multiple_of(stride) && pass / stride <= u64::from(came_first));
    u64::from(all).min(smaller + same) as u32
}

/// What a key's calls get done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Service {
    /// Calls at once.
    pub(crate) at_once: u32,
    /// How long a call takes.
    pub(crate) mean_ms: f64,
    /// Calls a minute, at most, and how many the last one had.
    pub(crate) a_minute: Option<(u32, u32)>,
    /// No call begins before.
    pub(crate) closed_ms: f64,
    /// How much longer each call in flight, and each that nobody waits for any more, uses capacity.
    pub(crate) busy_ms: Vec<f64>,
}

/// How long until a call with so many ahead of it begins: each takes what is free first.
pub(crate) fn begins_in_ms(service: &Service, ahead: u32) -> Option<f64> {
    let at_once = service.at_once as usize;
    if at_once == 0 || service.a_minute.is_some_and(|(most, _)| most == 0) {
        return None;
    }
    let mut free: Vec<f64> = service.busy_ms.clone();
    free.resize(free.len().max(at_once), 0.0);
    free.sort_by(f64::total_cmp);
    // Where the limit was lowered, more calls are in flight than it allows: the first to end give nothing back.
    let mut free: VecDeque<f64> = free.split_off(free.len() - at_once).into();
    for _ in 0..ahead {
        // All take the same time, so the one that begins last ends last.
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
        // A stride is 25, 200, 1000. Of equal passes, the one that came first.
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
            // The rate was lowered meanwhile.
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
