//! The invariants of a stack that has drained: every task that was started has ended.
//!
//! I1–I7, I10, I14, I15, I18 and I19 hold of what lies there. I8, I11 and I17 are about what happens when: whoever runs the stack sees to them
//! (everything ended within its patience; starting twice gave one task; the bill under outages is I4's).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};

use anyhow::Result;
use sandbox::Call;
use workflows::keys;

use crate::calls::{Name, by_name};
use crate::facts::Facts;
use crate::{Witness, ledger};

/// The longest Retry-After that is obeyed; see `activities/src/failure.rs`.
const MAX_WAIT_MS: u64 = 60_000;
/// No new paid call of a task this long after its cancel, unless those who should hear of it were away then.
const CANCEL_WITHIN_MS: u64 = 5_000;
/// Downloads of a file that arrives broken, before it is taken for broken at the provider; see `activities/src/transfer.rs`.
const MAX_BROKEN: usize = 3;
/// Answers without a file, such as 404, and how long they stay, before its URL is taken for dead. Temporal's clock and ours
/// may differ by some milliseconds.
const MIN_DEAD: usize = 3;
const MIN_DEAD_MS: u64 = 29_500;

/// What of the facts must not be.
type Check = fn(&Facts) -> Vec<String>;

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which invariant, as mission.md numbers them.
    pub invariant: &'static str,
    /// What there is instead.
    pub what: String,
}

impl Display for Violation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

/// Everything that violates an invariant. An error where one of the parts could not be asked.
pub async fn violations(witness: &Witness<'_>) -> Result<Vec<Violation>> {
    Ok(of(&Facts::gather(witness).await?))
}

fn of(facts: &Facts) -> Vec<Violation> {
    let checks: [(&'static str, Check); 15] = [
        ("I1", rows_have_their_objects),
        ("I2", objects_have_their_rows),
        ("I3", every_index_once),
        ("I4", ledger::paid_once_but_for_recorded_losses),
        ("I4", ledger::ledger_is_the_bill),
        ("I5", ledger::in_flight_within_the_limit),
        ("I6", ledger::rate_within_any_minute),
        ("I7", retry_after_is_obeyed),
        ("I7", ledger::retry_after_is_obeyed_by_all),
        ("I8", all_ended),
        ("I10", cancel_stops_spending),
        ("I14", final_if_and_only_if_closed),
        ("I15", generated_again_only_for_what_is_gone),
        ("I18", ledger::paid_in_vain_at_most_so_often),
        ("I19", ledger::results_are_of_their_own_requests),
    ];
    let found = |(invariant, check): (&'static str, Check)| {
        check(facts).into_iter().map(move |what| Violation { invariant, what })
    };
    checks.into_iter().flat_map(found).collect()
}

fn rows_have_their_objects(facts: &Facts) -> Vec<String> {
    let wrong = facts.images.iter().filter_map(|row| match facts.objects.get(&row.object_key) {
        None => Some(format!("the row of `{}` has no object", row.object_key)),
        Some((size, hash)) if *size != row.size_bytes as u64 || hash.as_ref() != Some(&row.sha256) => Some(
            format!("`{}` is not what its row says: {size} bytes, sha256 {hash:?}; {row:?}", row.object_key),
        ),
        Some(_) => None,
    });
    wrong.collect()
}

fn objects_have_their_rows(facts: &Facts) -> Vec<String> {
    let mut known: BTreeSet<String> = facts.images.iter().map(|row| row.object_key.clone()).collect();
    known.extend(facts.tasks.keys().flat_map(|task_id| [keys::photo(task_id), keys::beautified(task_id)]));
    let stray = facts.objects.keys().filter(|key| !known.contains(*key));
    stray.map(|key| format!("no row speaks of `{key}`")).collect()
}

fn every_index_once(facts: &Facts) -> Vec<String> {
    let mut indexes: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for row in &facts.images {
        indexes.entry(&row.task_id).or_default().push(row.index);
    }
    let wrong = facts.tasks.iter().filter_map(|(task_id, task)| {
        let mut there = indexes.get(task_id.as_str()).cloned().unwrap_or_default();
        let stored = there.len();
        there.extend(&task.missing);
        there.sort_unstable();
        let complete = there.iter().copied().eq(0..task.images_planned);
        let state_fits = task.state != "completed" || task.missing.is_empty();
        (!complete || !state_fits).then(|| {
            format!(
                "task `{task_id}` is {}: {stored} image rows and {} missing of {}",
                task.state,
                task.missing.len(),
                task.images_planned
            )
        })
    });
    wrong.collect()
}

fn retry_after_is_obeyed(facts: &Facts) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, calls) in by_name(&facts.meter) {
        for pair in calls.windows(2) {
            let [before, after] = pair else { continue };
            let (Some(wait), Some(ended)) = (before.retry_after_ms, before.ended_ms) else { continue };
            let due = ended + wait.min(MAX_WAIT_MS);
            if after.started_ms < due {
                wrong.push(format!(
                    "{name:?} came {} ms before its Retry-After was over: {before:?}, {after:?}",
                    due - after.started_ms
                ));
            }
        }
    }
    wrong
}

fn all_ended(facts: &Facts) -> Vec<String> {
    let open = facts.closed.iter().filter(|(_, closed)| !**closed);
    open.map(|(task_id, _)| format!("task `{task_id}` has not ended")).collect()
}

fn cancel_stops_spending(facts: &Facts) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, calls) in by_name(&facts.meter) {
        let heard = |at_ms: u64| {
            !facts.deeds.losses.iter().any(|(from, to)| {
                *from <= at_ms + CANCEL_WITHIN_MS && at_ms <= to.saturating_add(CANCEL_WITHIN_MS)
            })
        };
        let cancels = facts.deeds.cancels.iter();
        for (task_id, at_ms) in cancels.filter(|(task_id, at_ms)| *task_id == name.task_id && heard(*at_ms)) {
            for call in calls.iter().filter(|call| call.started_ms > at_ms + CANCEL_WITHIN_MS) {
                wrong.push(format!(
                    "{name:?} was called {} ms after `{task_id}` was cancelled",
                    call.started_ms - at_ms
                ));
            }
        }
    }
    wrong
}

fn final_if_and_only_if_closed(facts: &Facts) -> Vec<String> {
    let wrong = facts.tasks.iter().filter_map(|(task_id, task)| {
        let closed = *facts.closed.get(task_id)?;
        let is_final = task.state != "running";
        (closed != is_final)
            .then(|| format!("task `{task_id}` is {} and its workflow closed: {closed}", task.state))
    });
    wrong.collect()
}

/// A further call of a batch asks for no more images than the one before left without a living file.
fn generated_again_only_for_what_is_gone(facts: &Facts) -> Vec<String> {
    let calls = by_name(&facts.meter);
    let wrong = calls.iter().filter_map(|(name, again)| {
        let before = Name { call: name.call.previous()?, ..name.clone() };
        let asked = again.iter().map(|call| call.n).max().unwrap_or_default();
        let gone = calls.get(&before).into_iter().flatten().map(|call| left_without(facts, call)).max();
        let gone = gone.unwrap_or_default();
        (asked > gone)
            .then(|| format!("{name:?} asked for {asked} images; {gone} of the call before were gone"))
    });
    wrong.collect()
}

/// How many of the images that a call was asked for can't be had.
fn left_without(facts: &Facts, call: &Call) -> u32 {
    let short = call.n.saturating_sub(call.images_billed);
    let dead = (0..call.images_billed).filter(|image| {
        let downloads = facts
            .meter
            .download_log
            .iter()
            .filter(|download| download.call == call.seq && download.image == *image);
        let (mut final_answer, mut broken, mut dead) = (false, 0, Vec::new());
        for download in downloads {
            final_answer |= download.status == Some(410);
            if download
                .status
                .is_some_and(|status| (400..500).contains(&status) && ![408, 425, 429].contains(&status))
            {
                dead.push(download.started_ms);
            }
            broken += usize::from(download.spoilt);
        }
        let stayed = dead.iter().max().zip(dead.iter().min()).map_or(0, |(last, first)| last - first);
        final_answer || (dead.len() >= MIN_DEAD && stayed >= MIN_DEAD_MS) || broken >= MAX_BROKEN
    });
    if call.spoilt { call.n } else { short + dead.count() as u32 }
}

#[cfg(test)]
mod tests;
