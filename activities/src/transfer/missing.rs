//! Decides when a missing file is given up.
//!
//! CDNs and stores may show an object seconds after they have handed out its URL. So a 404 counts
//! only if the file is still missing when Temporal has repeated the attempt.

use std::time::{Duration, Instant};

use temporalio_sdk::activities::ActivityInfo;
use workflows::heartbeats::MissingFile;

/// Number of answers, and time, after which a missing file is given up. Both must be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Patience {
    answers: u32,
    time: Duration,
}

/// Patience with the URL of a generated image.
pub(super) const OF_URL: Patience = Patience { answers: 3, time: Duration::from_secs(30) };
/// Patience with a staged object. Our PUT succeeded, so a store without the object is in trouble,
/// which takes a while to mend.
pub(super) const OF_STAGED: Patience = Patience { answers: 3, time: Duration::from_secs(600) };

/// Age of the transfer. Temporal's clock tells the age at this attempt's start, and our clock goes
/// on from there.
pub(super) struct Age {
    at_start: Duration,
    started: Instant,
}

impl Age {
    pub(super) fn of(info: &ActivityInfo) -> Self {
        let times = info.started_time.zip(info.scheduled_time);
        let at_start = times.and_then(|(started, scheduled)| started.duration_since(scheduled).ok());
        Self { at_start: at_start.unwrap_or_default(), started: Instant::now() }
    }

    pub(super) fn ms(&self) -> u64 {
        u64::try_from((self.at_start + self.started.elapsed()).as_millis()).unwrap_or(u64::MAX)
    }
}

/// Counts one more answer without the file. Returns a description once the file is to be given up.
pub(super) fn count(missing: &mut Option<MissingFile>, age_ms: u64, patience: Patience) -> Option<String> {
    let missing = missing.get_or_insert(MissingFile { answers: 0, since_ms: age_ms });
    missing.answers += 1;
    let stays = Duration::from_millis(age_ms.saturating_sub(missing.since_ms));
    (missing.answers >= patience.answers && stays >= patience.time)
        .then(|| format!("{} answers in {} s", missing.answers, stays.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_given_up_after_several_answers_over_a_time() {
        // Ages of the attempts in seconds, and whether the last of them gives up.
        for (patience, ages, gives_up) in [
            (OF_URL, &[0][..], false),
            (OF_URL, &[0, 40], false),
            (OF_URL, &[0, 1, 29], false),
            (OF_URL, &[0, 1, 30], true),
            (OF_URL, &[3600], false),
            (OF_URL, &[3600, 3601, 3629], false),
            (OF_URL, &[3600, 3601, 3630], true),
            (OF_STAGED, &[0, 30, 599], false),
            (OF_STAGED, &[0, 30, 600], true),
        ] {
            let mut missing = None;
            let given_up: Vec<bool> =
                ages.iter().map(|age| count(&mut missing, age * 1000, patience).is_some()).collect();

            let (last, before) = given_up.split_last().unwrap();
            assert_eq!((*last, before.contains(&true)), (gives_up, false), "{ages:?}");
        }
    }
}
