//! Pure: how many of something there are at each moment.

/// From a moment to another; empty where they are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// The first moment.
    pub from_ms: u64,
    /// The first moment after it.
    pub to_ms: u64,
}

/// A number that changes at moments. Before the first it is 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timeline(Vec<(u64, u64)>);

impl Timeline {
    /// How many intervals cover each moment.
    pub fn of(intervals: impl IntoIterator<Item = Interval>) -> Self {
        let mut changes: Vec<(u64, i64)> = Vec::new();
        for Interval { from_ms, to_ms } in intervals {
            if from_ms < to_ms {
                changes.extend([(from_ms, 1), (to_ms, -1)]);
            }
        }
        changes.sort_unstable();
        let mut steps: Vec<(u64, u64)> = Vec::new();
        let mut now = 0i64;
        for (at_ms, change) in changes {
            now += change;
            let value = now.max(0) as u64;
            match steps.last_mut() {
                Some((last_ms, last)) if *last_ms == at_ms => *last = value,
                _ => steps.push((at_ms, value)),
            }
        }
        Self(steps)
    }

    /// Each moment of change, and the number from then on.
    pub fn steps(&self) -> &[(u64, u64)] {
        &self.0
    }

    /// The largest number.
    pub fn max(&self) -> u64 {
        self.0.iter().map(|(_, value)| *value).max().unwrap_or(0)
    }

    /// The number at a moment.
    pub fn at(&self, at_ms: u64) -> u64 {
        let next = self.0.partition_point(|(step_ms, _)| *step_ms <= at_ms);
        next.checked_sub(1).map_or(0, |last| self.0[last].1)
    }
}

/// How well a limit was used while something waited for it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Busy {
    /// Share of the time at the limit.
    pub at_limit: f64,
    /// What was used of the limit, on average.
    pub used: f64,
}

/// Over the time in which something waited; `None` where nothing ever did.
pub fn busy(in_flight: &Timeline, waiting: &Timeline, limit: u64) -> Option<Busy> {
    let mut moments: Vec<u64> = in_flight.0.iter().chain(&waiting.0).map(|(at_ms, _)| *at_ms).collect();
    moments.sort_unstable();
    moments.dedup();
    let (mut waited_ms, mut at_limit_ms, mut used) = (0, 0, 0.0);
    for pair in moments.windows(2) {
        let (from_ms, length_ms) = (pair[0], pair[1] - pair[0]);
        if waiting.at(from_ms) > 0 {
            let now = in_flight.at(from_ms);
            waited_ms += length_ms;
            at_limit_ms += if now >= limit { length_ms } else { 0 };
            used += now.min(limit) as f64 / limit.max(1) as f64 * length_ms as f64;
        }
    }
    let all = waited_ms as f64;
    (waited_ms > 0).then(|| Busy { at_limit: at_limit_ms as f64 / all, used: used / all })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline(intervals: &[(u64, u64)]) -> Timeline {
        Timeline::of(intervals.iter().map(|&(from_ms, to_ms)| Interval { from_ms, to_ms }))
    }

    #[test]
    fn intervals_that_meet_are_not_two_at_once() {
        assert_eq!(timeline(&[(0, 8), (8, 16), (3, 3)]).max(), 1);
        assert_eq!(timeline(&[(0, 8), (7, 16)]).steps(), [(0, 1), (7, 2), (8, 1), (16, 0)]);
    }

    #[test]
    fn only_the_time_in_which_something_waits_counts() {
        let in_flight = timeline(&[(0, 10), (0, 4), (6, 10)]);
        let busy = busy(&in_flight, &timeline(&[(2, 8)]), 2).unwrap();
        assert!((busy.at_limit - 4.0 / 6.0).abs() < 1e-9, "{busy:?}");
        assert!((busy.used - 5.0 / 6.0).abs() < 1e-9, "{busy:?}");
    }

    #[test]
    fn where_nothing_waits_there_is_no_share() {
        assert_eq!(busy(&timeline(&[(0, 10)]), &Timeline::default(), 2), None);
    }
}
