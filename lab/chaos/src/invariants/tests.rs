//! Each check sees what it is there for, and nothing else.
#![allow(clippy::unwrap_used, reason = "tests")]

use sandbox::Download;

use super::*;
use crate::facts::{CallRow, ImageRow, Limits, TaskRow};

/// A task of two images that ended well, with its two calls and its two downloads.
fn sound() -> Facts {
    let call = |seq, name: &str, n| Call {
        seq,
        idempotency_key: Some(format!("t/{name}")),
        n,
        started_ms: 1_000 * seq,
        ended_ms: Some(1_000 * seq + 500),
        done_ms: Some(1_000 * seq + 500),
        status: Some(200),
        accepted: true,
        billed: true,
        images_billed: n,
        ..Call::default()
    };
    let download = |image| Download { call: 2, image, status: Some(200), ..Download::default() };
    let mut facts = Facts::default();
    facts.tasks.insert("t".into(), TaskRow { state: "completed".into(), images_planned: 2, missing: vec![] });
    facts.closed.insert("t".into(), true);
    for index in 0..2 {
        let (object_key, hash) = (keys::image("t", index, 1), "ab".repeat(32));
        facts.objects.insert(object_key.clone(), (10, Some(hash.clone())));
        let row =
            ImageRow { task_id: "t".into(), index: index as i32, object_key, size_bytes: 10, sha256: hash };
        facts.images.push(row);
    }
    facts.objects.insert(keys::photo("t"), (10, None));
    facts.meter.calls = vec![call(1, "beautify", 1), call(2, "1", 2)];
    facts.meter.download_log = vec![download(0), download(1)];
    facts
}

/// What is violated once this was done to a sound stack.
fn after(change: impl FnOnce(&mut Facts)) -> Vec<&'static str> {
    let mut facts = sound();
    change(&mut facts);
    if facts.calls.is_empty() {
        facts.calls = ledger(&facts);
    }
    of(&facts).iter().map(|violation| violation.invariant).collect()
}

/// A further call of this name, like the last one.
fn again(facts: &mut Facts, name: &str, change: impl FnOnce(&mut Call)) {
    let last = facts.meter.calls.last().unwrap();
    let mut call = Call {
        seq: last.seq + 1,
        idempotency_key: Some(format!("t/{name}")),
        started_ms: last.started_ms + 60_000,
        ended_ms: Some(last.started_ms + 61_000),
        ..last.clone()
    };
    change(&mut call);
    facts.meter.calls.push(call);
}

const NONE: [&str; 0] = [];

#[test]
fn a_sound_stack_violates_nothing() {
    assert_eq!(after(|_| {}), NONE);
}

#[test]
fn i1_rows_and_objects_agree_in_size_and_hash() {
    assert_eq!(after(|facts| _ = facts.objects.remove(&keys::image("t", 1, 1))), ["I1"]);
    assert_eq!(after(|facts| facts.images[0].size_bytes = 11), ["I1"]);
    assert_eq!(after(|facts| facts.images[0].sha256 = "cd".repeat(32)), ["I1"]);
}

#[test]
fn i2_nothing_lies_about() {
    assert_eq!(after(|facts| _ = facts.objects.insert(keys::image("t", 2, 1), (1, None))), ["I2"]);
    assert_eq!(
        after(|facts| _ = facts
            .objects
            .insert(keys::staged("t", workflows::keys::CallName::batch(1, 1), "a", 0), (1, None))),
        ["I2"]
    );
    assert_eq!(after(|facts| _ = facts.objects.insert(keys::photo("u"), (1, None))), ["I2"]);
}

#[test]
fn i3_each_index_is_a_row_or_missing() {
    let lose = |facts: &mut Facts| {
        let row = facts.images.pop().unwrap();
        facts.objects.remove(&row.object_key);
    };
    assert_eq!(after(lose), ["I3"]);
    let state = |state: &'static str, missing: Vec<i32>| {
        after(move |facts| {
            lose(facts);
            *facts.tasks.get_mut("t").unwrap() = TaskRow { state: state.into(), images_planned: 2, missing };
        })
    };
    assert_eq!(state("partial", vec![1]), NONE);
    assert_eq!(state("completed", vec![1]), ["I3"]);
    assert_eq!(state("partial", vec![0]), ["I3"]);
}

/// What a true ledger says of these calls.
fn ledger(facts: &Facts) -> Vec<CallRow> {
    let billed = facts.meter.calls.iter().filter(|call| call.billed);
    let row = |call: &Call| {
        let (task_id, name) = call.idempotency_key.as_deref().unwrap().split_once('/').unwrap();
        CallRow {
            task_id: task_id.into(),
            name: name.into(),
            state: "done".into(),
            images_asked: call.n as i32,
            images_billed: Some(call.images_billed as i32),
            request_id: Some(format!("req_{:08}", call.seq)),
            begun_ms: call.started_ms as i64,
            ended_ms: call.ended_ms.map(|ended| ended as i64),
            ..CallRow::default()
        }
    };
    billed.map(row).collect()
}

/// What is violated where the ledger of a call that was paid twice was changed so.
fn paid_twice(change: impl FnOnce(&mut CallRow)) -> Vec<&'static str> {
    let mut violated = after(|facts| {
        again(facts, "1", |_| {});
        facts.calls = ledger(facts);
        change(&mut facts.calls[1]);
    });
    violated.dedup();
    violated
}

#[test]
fn i4_a_call_is_paid_again_only_for_a_loss_on_record() {
    assert_eq!(after(|facts| again(facts, "1", |_| {})), ["I4"]);
    assert_eq!(after(|facts| again(facts, "1", |call| (call.billed, call.images_billed) = (false, 0))), NONE);
    let unknown =
        |row: &mut CallRow| (row.state, row.images_billed, row.request_id) = ("ambiguous".into(), None, None);
    assert_eq!(paid_twice(unknown), ["I4"]);
    assert_eq!(paid_twice(|row| row.written_off = true), NONE);
    let lost = |row: &mut CallRow| {
        unknown(row);
        row.written_off = true;
    };
    assert_eq!(paid_twice(lost), NONE);
}

#[test]
fn i4_the_ledger_is_the_bill() {
    let differs = |change: fn(&mut Vec<CallRow>)| {
        let mut violated = after(|facts| {
            facts.calls = ledger(facts);
            change(&mut facts.calls);
        });
        violated.dedup();
        violated
    };
    assert_eq!(differs(|_| {}), NONE);
    assert_eq!(differs(|rows| _ = rows.pop()), ["I4"]);
    assert_eq!(differs(|rows| rows[1].images_billed = Some(1)), ["I4"]);
    assert_eq!(differs(|rows| rows[1].request_id = Some("req_00000009".into())), ["I4"]);
    assert_eq!(differs(|rows| rows[1].state = "failed".into()), ["I4"]);
}

#[test]
fn i5_no_call_comes_above_the_limit() {
    let limits = |limits: &[(u64, Option<u64>)]| {
        let limits = limits.to_vec();
        after(move |facts| {
            // The first runs until the second is over.
            facts.meter.calls[0].done_ms = Some(9_000);
            let limit = |&(since_ms, calls_at_once)| Limits { since_ms, calls_at_once, ..Limits::default() };
            facts.limits = limits.iter().map(limit).collect();
        })
    };
    assert_eq!(limits(&[(0, Some(2))]), NONE);
    assert_eq!(limits(&[(0, Some(1))]), ["I5"]);
    assert_eq!(limits(&[(0, Some(2)), (1_900, Some(1))]), NONE);
    assert_eq!(limits(&[(0, Some(2)), (400, Some(1))]), ["I5"]);
    assert_eq!(limits(&[(0, Some(1)), (1_900, None)]), NONE);
}

#[test]
fn i6_a_minute_has_as_many_as_it_may() {
    let rate = |since_ms, calls_per_minute, images_per_minute| {
        after(move |facts| {
            facts.limits =
                vec![Limits { since_ms, calls_per_minute, images_per_minute, ..Limits::default() }];
            facts.meter.calls.iter_mut().for_each(|call| call.started_ms += 10_000);
        })
    };
    assert_eq!(rate(0, Some(2), Some(3)), NONE);
    assert_eq!(rate(0, Some(1), None), ["I6"]);
    assert_eq!(rate(0, None, Some(2)), ["I6"]);
    assert_eq!(rate(20_000, Some(1), None), NONE, "calls of before don't count");
}

#[test]
fn i7_nobody_calls_before_the_retry_after_is_over() {
    let refused = |wait_ms| {
        after(move |facts| {
            facts.calls = ledger(facts);
            facts.calls.push(CallRow {
                state: "failed".into(),
                ended_ms: Some(1_500),
                failure_kind: Some("Throttled".into()),
                wait_ms: Some(wait_ms),
                ..CallRow::default()
            });
        })
    };
    assert_eq!(refused(500), NONE);
    assert_eq!(refused(501), ["I7"]);
}

#[test]
fn i7_a_retry_waits_as_long_as_it_was_told() {
    let told = |wait: u64| {
        after(move |facts| {
            let call = facts.meter.calls.last_mut().unwrap();
            (call.billed, call.images_billed, call.retry_after_ms) = (false, 0, Some(wait));
            again(facts, "1", |call| {
                *call = Call { billed: true, images_billed: 2, retry_after_ms: None, ..call.clone() }
            });
            for download in &mut facts.meter.download_log {
                download.call = 3;
            }
        })
    };
    assert_eq!(told(59_000), NONE);
    assert_eq!(told(60_000), ["I7"]);
}

#[test]
fn i8_i14_what_was_started_ends_and_its_row_says_so() {
    assert_eq!(after(|facts| _ = facts.closed.insert("t".into(), false)), ["I8", "I14"]);
    assert_eq!(after(|facts| _ = facts.closed.insert("u".into(), false)), ["I8"]);
    assert_eq!(after(|facts| facts.tasks.get_mut("t").unwrap().state = "running".into()), ["I14"]);
}

#[test]
fn i10_a_cancelled_task_calls_nobody() {
    let cancelled = |at| after(move |facts| facts.deeds.cancels.push(("t".into(), at)));
    assert_eq!(cancelled(0), NONE);
    let late = after(|facts| {
        facts.deeds.cancels.push(("t".into(), 0));
        facts.meter.calls[1].started_ms = 5_001;
    });
    assert_eq!(late, ["I10"]);
}

#[test]
fn i15_images_are_made_again_only_where_they_are_gone() {
    let topped_up = |prepare: fn(&mut Facts)| {
        after(move |facts| {
            prepare(facts);
            again(facts, "1.2", |call| (call.n, call.images_billed, call.spoilt) = (1, 1, false));
        })
    };
    assert_eq!(topped_up(|_| {}), ["I15"]);
    assert_eq!(topped_up(|facts| facts.meter.calls[1].images_billed = 1), NONE);
    assert_eq!(topped_up(|facts| facts.meter.calls[1].spoilt = true), NONE);
    assert_eq!(topped_up(|facts| facts.meter.download_log[0].status = Some(410)), NONE);
    assert_eq!(topped_up(|facts| facts.meter.download_log[0].status = Some(404)), ["I15"]);
    let missing = |ages_ms: &'static [u64]| {
        after(move |facts| {
            let missing = Download { status: Some(404), ..facts.meter.download_log[0].clone() };
            let missing = ages_ms.iter().map(|&started_ms| Download { started_ms, ..missing.clone() });
            facts.meter.download_log.extend(missing);
            again(facts, "1.2", |call| (call.n, call.images_billed, call.spoilt) = (1, 1, false));
        })
    };
    assert_eq!(missing(&[0, 10_000, 30_000]), NONE);
    assert_eq!(missing(&[0, 30_000]), ["I15"]);
    assert_eq!(missing(&[0, 5_000, 29_000]), ["I15"]);
    assert_eq!(topped_up(|facts| facts.meter.download_log[0].status = Some(500)), ["I15"]);
    assert_eq!(topped_up(|facts| facts.meter.download_log[0].status = Some(429)), ["I15"]);
    let broken = |times: usize| {
        after(move |facts| {
            let broken = Download { spoilt: true, ..facts.meter.download_log[0].clone() };
            facts.meter.download_log.extend(vec![broken; times]);
            again(facts, "1.2", |call| (call.n, call.images_billed) = (1, 1));
        })
    };
    assert_eq!((broken(2), broken(3)), (vec!["I15"], vec![]));
}
