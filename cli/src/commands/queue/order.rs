//! Pure: in which order the queue serves what waits, and when a task's turn comes.
//!
//! Temporal gives each call a pass when it is scheduled: its lane's last pass and a stride, which is a thousand divided by the lane's weight. When
//! a slot is free, the call of the smallest pass is served, and of equal passes the one that was scheduled first. This computes the same from
//! what waits, as if no lane had been served before.

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
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Service {
    /// Calls at once.
    pub(crate) at_once: u32,
    /// How long a call takes.
    pub(crate) mean_ms: f64,
    /// Calls a minute, at most.
    pub(crate) calls_per_minute: Option<u32>,
}

/// How long until a call with so many ahead of it begins: slots become free one after the other.
pub(crate) fn begins_in_ms(service: &Service, ahead: u32) -> Option<f64> {
    if service.at_once == 0 || service.calls_per_minute == Some(0) {
        return None;
    }
    let by_slots = f64::from(ahead) / f64::from(service.at_once) * service.mean_ms;
    let by_rate = service.calls_per_minute.map_or(0.0, |rate| f64::from(ahead / rate) * 60_000.0);
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
    fn slots_and_the_rate_decide_when() {
        let service = Service { at_once: 12, mean_ms: 8_000.0, calls_per_minute: None };
        assert_eq!(begins_in_ms(&service, 24), Some(16_000.0));
        assert_eq!(begins_in_ms(&Service { calls_per_minute: Some(10), ..service }, 24), Some(120_000.0));
        assert_eq!(begins_in_ms(&Service { at_once: 0, ..service }, 0), None);
    }
}
