//! Steps that show a planted fault where random ones would need minutes to.

use crate::steps::{CallEnd, Step};

const LONG: CallEnd = CallEnd::Answered(12_000);
const SHORT: CallEnd = CallEnd::Answered(100);
const REFUSED: CallEnd = CallEnd::Refused(100);

/// A worker stands still between asking for a call and the database's decision. Meanwhile its lease ends, and
/// another worker makes a call.
pub(crate) fn asked_under_a_lease_that_ends() -> Vec<Step> {
    let asks = [vec![Step::SetLimit(Some(1))], renewal(0), vec![Step::Poll(0), next(0, 0, LONG)]];
    let goes = [vec![Step::Pause(0), Step::Advance(4_000)], renewal(1), call(1, 0, LONG)];
    [asks.concat(), goes.concat(), vec![next(0, 0, LONG)]].concat()
}

/// A renewal from before a worker's calls arrives after them, when the limit has been lowered.
pub(crate) fn a_late_renewal() -> Vec<Step> {
    let lost = [vec![Step::SetLimit(Some(1))], renewal(0), vec![Step::Renew(0), Step::LoseRenewal(0)]];
    let calls =
        [vec![Step::SetLimit(Some(4))], renewal(0), (0..4).flat_map(|at| call(0, at, LONG)).collect()];
    let another = [vec![Step::Renew(1), Step::Renew(1)], vec![Step::LateRenewal(0)], vec![Step::Renew(1)]];
    let lowered = [vec![Step::SetLimit(Some(2))], another.concat(), renewal(1), call(1, 0, LONG)];
    [lost.concat(), calls.concat(), lowered.concat()].concat()
}

/// A minute may have two calls: one worker makes them, and half a minute later another one asks.
pub(crate) fn two_calls_a_minute() -> Vec<Step> {
    let two = [vec![Step::SetRate(Some(2)), Step::Advance(2_000)], renewal(0), called(0, 0), called(0, 0)];
    [two.concat(), vec![Step::Advance(40_000)], renewal(1), call(1, 0, SHORT)].concat()
}

/// A cut; then as many good calls as the limit, and a raise; then the refusal of a call from before the raise.
pub(crate) fn refused_after_a_raise() -> Vec<Step> {
    let cut = [vec![Step::SetLimit(Some(4))], renewal(0), call(0, 0, REFUSED), ended(0, 0)];
    let before = [vec![Step::Advance(200)], renewal(0), call(0, 0, REFUSED)];
    let good = [called(0, 1), renewal(0), called(0, 1), renewal(0)];
    [cut.concat(), before.concat(), good.concat(), ended(0, 0)].concat()
}

/// A renewal that is sent, decided and heard.
fn renewal(worker: usize) -> Vec<Step> {
    vec![Step::Renew(worker); 3]
}

/// A worker takes a call, is allowed to make it, and sends it.
fn call(worker: usize, at: usize, fate: CallEnd) -> Vec<Step> {
    [vec![Step::Poll(worker)], vec![next(worker, at, fate); 3]].concat()
}

/// A short call, from its beginning to its end.
fn called(worker: usize, at: usize) -> Vec<Step> {
    [call(worker, at, SHORT), vec![Step::Advance(200)], ended(worker, at)].concat()
}

/// A call's end is heard, and recorded.
fn ended(worker: usize, at: usize) -> Vec<Step> {
    vec![next(worker, at, SHORT); 2]
}

fn next(worker: usize, at: usize, fate: CallEnd) -> Step {
    Step::Next(worker, at, fate)
}
