//! The invariants of paid calls: what the ledger says, against what the provider's own meter says.

use std::collections::BTreeMap;

use sandbox::Call;
use workflows::failure::FailureKind;
use workflows::keys;

use crate::facts::{CallRow, Facts, Limits};

/// From when a call is allowed until it has arrived at the provider: it is sent within a second, and the network takes its time.
const ARRIVES_WITHIN_MS: u64 = 1_500;
const MINUTE_MS: u64 = 60_000;
/// As in worker/config.toml, `provider.max_billed_failures`.
const MAX_BILLED_FAILURES: usize = 5;
/// From when a refusal is recorded until nobody begins a call without knowing of it.
const KNOWN_WITHIN_MS: i64 = 200;

/// The rows of the ledger, by the name that idempotency keys have.
fn by_name(facts: &Facts) -> BTreeMap<String, Vec<&CallRow>> {
    let mut rows: BTreeMap<String, Vec<&CallRow>> = BTreeMap::new();
    for row in &facts.calls {
        rows.entry(format!("{}/{}", row.task_id, row.name)).or_default().push(row);
    }
    rows
}

/// The task and name of a call, as the provider has it.
fn name(call: &Call) -> &str {
    keys::task_and_call(call.idempotency_key.as_deref().unwrap_or_default())
}

/// I4: a call is paid once, and once more for each loss on record.
pub(crate) fn paid_once_but_for_recorded_losses(facts: &Facts) -> Vec<String> {
    let rows = by_name(facts);
    let mut billed: BTreeMap<&str, Vec<&Call>> = BTreeMap::new();
    for call in facts.meter.calls.iter().filter(|call| call.billed) {
        billed.entry(name(call)).or_default().push(call);
    }
    let wrong = billed.into_iter().filter_map(|(name, calls)| {
        let rows = rows.get(name).map(Vec::as_slice).unwrap_or_default();
        let written_off = rows.iter().filter(|row| row.written_off).count();
        (calls.len() > 1 + written_off).then(|| {
            format!(
                "`{name}` was paid {} times, {written_off} losses are on record: {rows:?} {calls:?}",
                calls.len()
            )
        })
    });
    wrong.collect()
}

/// I4: the ledger is the bill. What is done there was billed so, and what was billed is done there, or on record as unknown or unusable.
pub(crate) fn ledger_is_the_bill(facts: &Facts) -> Vec<String> {
    let rows = by_name(facts);
    let mut wrong = Vec::new();
    let by_request: BTreeMap<String, &Call> =
        facts.meter.calls.iter().map(|call| (format!("req_{:08}", call.seq), call)).collect();
    for row in facts.calls.iter().filter(|row| row.state == "done") {
        let call = row.request_id.as_deref().and_then(|id| by_request.get(id));
        // Where keys are honoured, a repeated call is answered again and not billed again. Of an answer without an image the worker can't tell.
        let fits = |call: &Call| {
            let as_recorded = [Some(call.images_billed as i32), Some(0)].contains(&row.images_billed);
            call.replayed
                || call.billed && (as_recorded || row.images_billed.is_none() && call.images_billed == 0)
        };
        if !call.is_some_and(|call| fits(call)) {
            wrong.push(format!("the ledger has a call that was billed otherwise: {row:?} {call:?}"));
        }
    }
    for call in facts.meter.calls.iter().filter(|call| call.billed) {
        let rows = rows.get(name(call)).map(Vec::as_slice).unwrap_or_default();
        let id = format!("req_{:08}", call.seq);
        // An answer whose entries are all rejected is a rejection.
        let known = rows.iter().any(|row| {
            ["done", "rejected"].contains(&row.state.as_str()) && row.request_id.as_ref() == Some(&id)
        });
        // A settled call was answered again under its key, and is billed there.
        let unknown =
            rows.iter().any(|row| ["open", "ambiguous", "settled", "unusable"].contains(&row.state.as_str()));
        if !known && !unknown {
            wrong.push(format!("a billed call is not in the ledger: {call:?}; of that name: {rows:?}"));
        }
    }
    let billed: i64 = facts.meter.calls.iter().map(|call| i64::from(call.images_billed)).sum();
    let recorded: i64 = facts.calls.iter().map(|row| i64::from(row.images_billed.unwrap_or_default())).sum();
    let unknown =
        facts.calls.iter().filter(|row| ["open", "ambiguous", "unusable"].contains(&row.state.as_str()));
    // What was billed for a call whose answer nobody read: as many images as a provider gives at once.
    let possible: i64 = unknown.map(|row| i64::from(row.images_asked).max(10)).sum();
    if !(recorded..=recorded + possible).contains(&billed) {
        wrong.push(format!(
            "{billed} images were billed; the ledger has {recorded}, and up to {possible} of which nobody knows"
        ));
    }
    wrong
}

/// I18: no call is made more than five times where each may have been billed and none gave a result.
pub(crate) fn paid_in_vain_at_most_so_often(facts: &Facts) -> Vec<String> {
    let wrong = by_name(facts).into_iter().filter_map(|(name, rows)| {
        let in_vain =
            rows.iter().filter(|row| ["ambiguous", "unusable"].contains(&row.state.as_str())).count();
        (in_vain > MAX_BILLED_FAILURES)
            .then(|| format!("`{name}` was made {in_vain} times without a result: {rows:?}"))
    });
    wrong.collect()
}

/// I19: the result in a row is the provider's answer to that row's own request.
pub(crate) fn results_are_of_their_own_requests(facts: &Facts) -> Vec<String> {
    let by_request: BTreeMap<String, &Call> =
        facts.meter.calls.iter().map(|call| (format!("req_{:08}", call.seq), call)).collect();
    let wrong = facts.calls.iter().filter(|row| row.state == "done").filter_map(|row| {
        let call = by_request.get(row.request_id.as_deref()?)?;
        (name(call) != format!("{}/{}", row.task_id, row.name))
            .then(|| format!("the row has another call's answer: {row:?} {call:?}"))
    });
    wrong.collect()
}

/// I5: no call arrives that makes more than the limit allows, or allowed when the call was begun.
pub(crate) fn in_flight_within_the_limit(facts: &Facts) -> Vec<String> {
    if facts.limits.is_empty() {
        return Vec::new();
    }
    let accepted: Vec<&Call> = facts.meter.calls.iter().filter(|call| call.accepted).collect();
    let wrong = accepted.iter().filter_map(|call| {
        let at = call.started_ms;
        let in_flight = accepted
            .iter()
            .filter(|other| {
                other.started_ms <= at && other.seq <= call.seq && other.done_ms.is_none_or(|done| done > at)
            })
            .count() as u64;
        let allowed = allowed(&facts.limits, at.saturating_sub(ARRIVES_WITHIN_MS), at)?;
        (in_flight > allowed).then(|| {
            format!("{in_flight} calls in flight, {allowed} allowed, when #{} came at {at}", call.seq)
        })
    });
    wrong.collect()
}

/// The highest limit between two moments; none where there was none for a while.
fn allowed(limits: &[Limits], from: u64, to: u64) -> Option<u64> {
    let before = limits.iter().rev().find(|limits| limits.since_ms <= from);
    let before = before.and_then(|limits| limits.calls_at_once);
    let within = limits
        .iter()
        .filter(|limits| (from..=to).contains(&limits.since_ms))
        .map(|limits| limits.calls_at_once);
    std::iter::once(before)
        .chain(within)
        .map(|limit| limit.unwrap_or(u64::MAX))
        .max()
        .filter(|limit| *limit < u64::MAX)
}

/// I6: in no minute more calls or images than a rate allows that was in force for all of it.
pub(crate) fn rate_within_any_minute(facts: &Facts) -> Vec<String> {
    let mut wrong = Vec::new();
    let ends = facts.limits.iter().skip(1).map(|next| next.since_ms).chain([u64::MAX]);
    for (limits, to) in facts.limits.iter().zip(ends) {
        let rates = [
            ("calls", limits.calls_per_minute, (|_| 1) as fn(&Call) -> u64),
            ("images", limits.images_per_minute, |call| u64::from(call.n)),
        ];
        let in_force = limits.since_ms + ARRIVES_WITHIN_MS..to;
        let calls: Vec<&Call> =
            facts.meter.calls.iter().filter(|call| in_force.contains(&call.started_ms)).collect();
        for (what, rate, weight) in rates {
            let Some(rate) = rate else { continue };
            for last in &calls {
                let minute = (last.started_ms + 1).saturating_sub(MINUTE_MS)..=last.started_ms;
                let within = calls.iter().filter(|call| minute.contains(&call.started_ms));
                let used: u64 = within.map(|call| weight(call)).sum();
                if used > rate {
                    wrong.push(format!("{used} {what} in the minute before #{}, {rate} allowed", last.seq));
                }
            }
        }
    }
    wrong
}

/// I7: once a refusal is on record, nobody begins a call before its Retry-After is over.
pub(crate) fn retry_after_is_obeyed_by_all(facts: &Facts) -> Vec<String> {
    let mut wrong = Vec::new();
    let refused = |row: &&CallRow| row.failure_kind.as_deref() == Some(FailureKind::Throttled.as_str());
    for refused in facts.calls.iter().filter(refused) {
        let (Some(wait), Some(ended)) = (refused.wait_ms, refused.ended_ms) else { continue };
        let closed = ended + KNOWN_WITHIN_MS..ended + i64::from(wait);
        for row in facts.calls.iter().filter(|row| closed.contains(&row.begun_ms) && row.state != "unsent") {
            wrong.push(format!("{row:?} began {} ms after {refused:?}", row.begun_ms - ended));
        }
    }
    wrong
}
