//! Pure: the provider's meter, read against what the tasks wanted and when.

use std::collections::BTreeMap;

use sandbox::{Call, Meter};
use workflows::keys;

use crate::timeline::{Interval, Timeline};

/// What the provider saw of the load. Times are provider milliseconds from its beginning.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Seen {
    /// Each call that the provider worked on.
    pub(crate) calls: Vec<Interval>,
    /// Each wait of a paid call from being wanted, or lost, until the provider had it.
    pub(crate) waits: Vec<Interval>,
    /// Each download.
    pub(crate) downloads: Vec<Interval>,
    /// When each task's first call began.
    pub(crate) first_call_ms: BTreeMap<String, u64>,
    pub(crate) images_billed: u64,
    pub(crate) throttled: u64,
    /// Calls refused with 503.
    pub(crate) unavailable: u64,
}

/// How our clock becomes the provider's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    /// The load's beginning, in milliseconds since 1970.
    pub(crate) began_ms: f64,
    /// How much faster than real.
    pub(crate) speed: f64,
}

impl Clock {
    /// A moment of ours, in provider milliseconds from the load's beginning; those before it are 0.
    pub(crate) fn provider_ms(self, unix_ms: f64) -> u64 {
        ((unix_ms - self.began_ms) * self.speed).round().max(0.0) as u64
    }
}

/// Reads the meter. `wanted_ms`: when each call was scheduled (our clock), by its idempotency key. `lost_ms`: when the worker
/// was killed, if it was. `call_ms`: what a call takes, for those whose end the meter doesn't know since nobody waited for it.
pub(crate) fn read(
    meter: &Meter,
    clock: Clock,
    wanted_ms: &BTreeMap<String, f64>,
    lost_ms: Option<f64>,
    call_ms: u64,
) -> Seen {
    let mut seen = Seen::default();
    let mut by_key: BTreeMap<&str, Vec<&Call>> = BTreeMap::new();
    for call in meter.calls.iter().filter(|call| call.started_ms as f64 >= clock.began_ms) {
        let from_ms = clock.provider_ms(call.started_ms as f64);
        seen.images_billed += u64::from(call.images_billed);
        seen.throttled += u64::from(call.status == Some(429));
        seen.unavailable += u64::from(call.status == Some(503));
        if call.accepted {
            let to_ms =
                call.ended_ms.map_or(from_ms + call_ms, |ended_ms| clock.provider_ms(ended_ms as f64));
            seen.calls.push(Interval { from_ms, to_ms });
        }
        let key = call.idempotency_key.as_deref().map(keys::task_and_call);
        if let Some(key) = key.filter(|_| call.accepted || call.replayed) {
            let task = key.split('/').next().unwrap_or(key);
            seen.first_call_ms.entry(task.to_owned()).or_insert(from_ms);
            by_key.entry(key).or_default().push(call);
        }
    }
    for (key, calls) in by_key {
        let mut since_ms = wanted_ms.get(key).copied();
        for call in calls {
            if let Some(since_ms) = since_ms {
                let from_ms = clock.provider_ms(since_ms);
                let to_ms = clock.provider_ms(call.started_ms as f64).max(from_ms);
                seen.waits.push(Interval { from_ms, to_ms });
            }
            since_ms = call.ended_ms.map(|ended_ms| ended_ms as f64).or(lost_ms);
        }
    }
    let downloads = meter.download_log.iter().filter(|download| download.started_ms as f64 >= clock.began_ms);
    seen.downloads = downloads
        .filter_map(|download| {
            let to_ms = clock.provider_ms(download.ended_ms? as f64);
            Some(Interval { from_ms: clock.provider_ms(download.started_ms as f64), to_ms })
        })
        .collect();
    seen
}

/// From each call's end to the arrival of the next one in its place, where one was waiting at the time. `limit`: calls at once.
pub(crate) fn freed_to_next(seen: &Seen, limit: u32) -> Vec<u64> {
    let sorted = |of: fn(&Interval) -> u64| {
        let mut moments: Vec<u64> = seen.calls.iter().map(of).collect();
        moments.sort_unstable();
        moments
    };
    let (starts, ends) = (sorted(|call| call.from_ms), sorted(|call| call.to_ms));
    let waiting = Timeline::of(seen.waits.iter().copied());
    // With all places taken, the call that begins as the (limit + n)th takes the place of the one that ends as the nth.
    let pairs = ends.into_iter().zip(starts.into_iter().skip(limit as usize));
    pairs
        .filter(|(end, start)| start >= end && waiting.at(*end) > 0)
        .map(|(end, start)| start - end)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(key: &str, started_ms: u64, ended_ms: Option<u64>) -> Call {
        Call {
            idempotency_key: Some(key.to_owned()),
            started_ms,
            ended_ms,
            accepted: true,
            status: ended_ms.map(|_| 200),
            images_billed: 5,
            client_gone: ended_ms.is_none(),
            ..Call::default()
        }
    }

    #[test]
    fn a_freed_place_is_taken_by_the_next_call_that_waits() {
        let interval = |from_ms, to_ms| Interval { from_ms, to_ms };
        let seen = Seen {
            calls: vec![interval(0, 80), interval(0, 90), interval(85, 170), interval(120, 200)],
            // Nobody waits when the second ends.
            waits: vec![interval(0, 85), interval(100, 120)],
            ..Seen::default()
        };
        assert_eq!(freed_to_next(&seen, 2), [5]);
    }

    #[test]
    fn waits_end_when_the_provider_has_the_call_and_begin_again_when_it_is_lost() {
        let throttled =
            Call { accepted: false, status: Some(429), images_billed: 0, ..call("a/2", 1_500, Some(1_501)) };
        let calls = vec![
            call("warm-up/beautify", 900, Some(950)),
            call("a/beautify", 1_100, Some(1_900)),
            throttled,
            call("a/2", 2_000, None),
            call("a/2", 2_600, Some(3_400)),
        ];
        let meter = Meter { calls, ..Meter::default() };
        let clock = Clock { began_ms: 1_000.0, speed: 10.0 };
        let wanted = BTreeMap::from([("a/beautify".to_owned(), 1_050.0), ("a/2".to_owned(), 1_400.0)]);

        let seen = read(&meter, clock, &wanted, Some(2_300.0), 8_000);

        let interval = |from_ms, to_ms| Interval { from_ms, to_ms };
        assert_eq!(seen.calls, [interval(1_000, 9_000), interval(10_000, 18_000), interval(16_000, 24_000)]);
        assert_eq!(seen.waits, [interval(4_000, 10_000), interval(13_000, 16_000), interval(500, 1_000)]);
        assert_eq!(seen.first_call_ms, BTreeMap::from([("a".to_owned(), 1_000)]));
        assert_eq!((seen.images_billed, seen.throttled), (15, 1));
    }
}
