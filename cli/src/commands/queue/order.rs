//! Pure: in which order the queue serves what waits, and when a task's turn comes.
//!
//! Temporal picks the next call when a slot is free: the first priority first; within one, users take turns by their weight; a user's own
//! calls in the order in which they were scheduled. This computes the same from what waits, as if no user had been served before.

/// A task's calls that wait.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Waiting {
    pub(crate) task_id: String,
    pub(crate) user_id: String,
    /// 1 is served first.
    pub(crate) priority: u32,
    /// Turns of its user, beside those of others.
    pub(crate) weight: f64,
    pub(crate) since_ms: u64,
    pub(crate) calls: u32,
}

/// Calls that are served before the task's call number `nth` of those that wait (the first is 0).
pub(crate) fn ahead(waiting: &[Waiting], task: &Waiting, nth: u32) -> u32 {
    let goes_first = |other: &Waiting| {
        (std::cmp::Reverse(other.since_ms), &other.task_id)
            < (std::cmp::Reverse(task.since_ms), &task.task_id)
    };
    let more_urgent: u32 =
        waiting.iter().filter(|other| other.priority < task.priority).map(|other| other.calls).sum();
    let equals = || waiting.iter().filter(|other| other.priority == task.priority);
    let own: u32 = nth
        + equals()
            .filter(|other| {
                other.user_id == task.user_id && other.task_id != task.task_id && goes_first(other)
            })
            .map(|other| other.calls)
            .sum::<u32>();
    let mut users: Vec<&str> =
        equals().map(|other| other.user_id.as_str()).filter(|user| *user != task.user_id).collect();
    users.sort_unstable();
    users.dedup();
    let others: u32 = users
        .into_iter()
        .map(|user| {
            let of_user = || equals().filter(|other| other.user_id == user);
            let calls: u32 = of_user().map(|other| other.calls).sum();
            let weight = of_user().map(|other| other.weight).fold(0.0, f64::max);
            let turns = f64::from(own) + f64::from(u8::from(of_user().any(goes_first)));
            calls.min((turns * weight / task.weight).round() as u32)
        })
        .sum();
    more_urgent + own + others
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

    fn waiting(task: &str, user: &str, priority: u32, since_ms: u64, calls: u32) -> Waiting {
        Waiting { task_id: task.into(), user_id: user.into(), priority, weight: 1.0, since_ms, calls }
    }

    #[test]
    fn the_first_priority_is_served_whole_and_equals_take_turns() {
        let free = waiting("free", "ann", 1, 10, 3);
        let flood: Vec<Waiting> =
            (0..20).map(|n| waiting(&format!("flood-{n:02}"), "bob", 2, 1_000 - n, 14)).collect();
        let one = waiting("one", "cyd", 2, 5, 14);
        let all: Vec<Waiting> = flood.iter().cloned().chain([free.clone(), one.clone()]).collect();

        assert_eq!(ahead(&all, &free, 2), 2, "nobody goes before the first priority");
        assert_eq!(ahead(&all, &one, 0), 3 + 1, "one of the flood, which came first, not all 280");
        assert_eq!(ahead(&all, &one, 13), 3 + 13 + 14);
        assert_eq!(ahead(&all, &flood[0], 0), 3);
        assert_eq!(ahead(&all, &flood[19], 13), 3 + 279 + 14, "the flood's own last call is last of all");
    }

    #[test]
    fn calls_that_come_later_queue_up_behind_others_turns() {
        let own = waiting("own", "ann", 1, 10, 0);
        let all = [own.clone(), waiting("other", "bob", 1, 5, 4)];
        let later = Waiting { calls: 6, ..own };
        assert_eq!(ahead(&all, &later, 5), 5 + 4);
    }

    #[test]
    fn a_heavier_user_has_more_turns() {
        let one = waiting("one", "ann", 1, 10, 10);
        let heavy = Waiting { weight: 3.0, ..waiting("heavy", "bob", 1, 5, 100) };
        assert_eq!(ahead(&[one.clone(), heavy], &one, 4), 4 + 12);
    }

    #[test]
    fn slots_and_the_rate_decide_when() {
        let service = Service { at_once: 12, mean_ms: 8_000.0, calls_per_minute: None };
        assert_eq!(begins_in_ms(&service, 24), Some(16_000.0));
        assert_eq!(begins_in_ms(&Service { calls_per_minute: Some(10), ..service }, 24), Some(120_000.0));
        assert_eq!(begins_in_ms(&Service { at_once: 0, ..service }, 0), None);
    }
}
