//! What may happen, and how often.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

pub(crate) const WORKERS: usize = 3;
/// How long a call takes at the provider, at most: less than what an orphan counts for, at least.
pub(crate) const LONGEST_CALL_MS: u64 = 13_000;
/// Steps of a case, before everything is let come to its end.
const STEPS: usize = 400;

/// One run of the model.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// Calls to be made.
    pub(crate) names: usize,
    pub(crate) steps: Vec<Step>,
    /// What nothing goes wrong under any more, at its end.
    pub(crate) end: Ending,
}

impl Case {
    /// These steps, and nothing in the way of what is left.
    pub(crate) fn of(steps: Vec<Step>) -> Self {
        Self { names: 8, steps, end: Ending { limit: 3, idle: 0, cut_off: false } }
    }
}

/// Under what everything has to get done.
#[derive(Debug, Clone)]
pub(crate) struct Ending {
    pub(crate) limit: u32,
    /// Workers without work; the first one always has some.
    pub(crate) idle: usize,
    /// These can't reach Temporal, in place of being idle.
    pub(crate) cut_off: bool,
}

/// What may happen. Numbers choose among what there is.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Time goes by.
    Advance(u64),
    /// Everybody who is awake goes on with everything, as on a good day.
    Round(CallEnd),
    /// A worker takes a slot, and the next call.
    Poll(usize),
    /// A worker's call takes its next step, as far as it can.
    Next(usize, usize, CallEnd),
    /// A worker's renewal takes its next step: sent, executed, heard.
    Renew(usize),
    /// A renewal is lost on its way, or its answer is; what was not executed may be executed late.
    LoseRenewal(usize),
    /// A lost renewal arrives after all.
    LateRenewal(usize),
    Pause(usize),
    Wake(usize),
    /// Killed, and started again.
    Die(usize),
    /// A worker's clock jumps ahead.
    Jump(usize, u64),
    /// A worker loses or finds Temporal.
    Reach(usize, bool),
    /// Temporal takes an attempt for dead, and makes another.
    Retry(usize),
    SetLimit(Option<u32>),
    SetRate(Option<u32>),
    PauseKey(bool),
    /// A call's task is started again, and now asks for something else under the same name.
    AskOtherwise(usize),
    /// The replica has got so far.
    Replicate,
    /// The database fails over to the replica: all that was committed since is gone, sequences go back.
    FailOver,
}

/// How a call ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallEnd {
    Answered(u64),
    Refused(u64),
    Unavailable(Option<u64>),
    /// Its connection breaks while the provider works on.
    Unknown(u64),
    /// Its answer breaks off.
    Cut(u64),
}

/// How often things happen, against each other. What one day hardly ever shows, another shows soon.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mood {
    /// Calls to be made, at most.
    names: usize,
    advance: u32,
    advance_ms: u64,
    absence: u32,
    round: u32,
    poll: u32,
    next: u32,
    renew: u32,
    lose: u32,
    pause: u32,
    die: u32,
    jump: u32,
    reach: u32,
    retry: u32,
    limit: u32,
    rate: u32,
    pause_key: u32,
    otherwise: u32,
    fail_over: u32,
    /// Answered, refused, unavailable, unknown, cut.
    fates: [u32; 5],
}

/// A bit of everything but failovers, which excuse much for a while.
pub(crate) const EVERYDAY: Mood = Mood {
    names: 30,
    advance: 10,
    advance_ms: 1_500,
    absence: 2,
    round: 6,
    poll: 8,
    next: 30,
    renew: 24,
    lose: 5,
    pause: 2,
    die: 1,
    jump: 1,
    reach: 1,
    retry: 3,
    limit: 2,
    rate: 1,
    pause_key: 1,
    otherwise: 1,
    fail_over: 0,
    fates: [6, 1, 1, 1, 1],
};
/// The network loses things, and workers go away for a while.
pub(crate) const ABSENT: Mood =
    Mood { lose: 20, pause: 6, absence: 4, advance_ms: 2_500, round: 12, limit: 1, rate: 0, ..EVERYDAY };
/// The provider's answers don't come, and workers die.
pub(crate) const IN_VAIN: Mood =
    Mood { names: 8, die: 3, retry: 8, round: 20, limit: 1, rate: 0, fates: [3, 0, 0, 4, 4], ..EVERYDAY };
/// The provider says no.
pub(crate) const REFUSED: Mood =
    Mood { round: 20, limit: 3, rate: 0, pause_key: 0, fates: [6, 4, 2, 0, 0], ..EVERYDAY };
/// So many calls a minute.
pub(crate) const RATED: Mood = Mood {
    advance: 24,
    round: 24,
    absence: 0,
    limit: 0,
    rate: 1,
    pause_key: 0,
    die: 0,
    fates: [9, 0, 0, 0, 0],
    ..EVERYDAY
};
/// The database fails over, again and again.
pub(crate) const FAILOVERS: Mood = Mood { names: 12, fail_over: 4, die: 2, round: 10, ..EVERYDAY };
pub(crate) const MOODS: [Mood; 6] = [EVERYDAY, ABSENT, IN_VAIN, REFUSED, RATED, FAILOVERS];

/// What may happen in a case.
pub(crate) fn case(moods: &'static [Mood]) -> impl Strategy<Value = Case> {
    select(moods).prop_flat_map(|mood| {
        let end = (1..4u32, 0..WORKERS, any::<bool>()).prop_map(|(limit, idle, cut_off)| Ending {
            limit,
            idle,
            cut_off,
        });
        (2..=mood.names, vec(step(mood), 1..STEPS), end).prop_map(|(names, steps, end)| Case {
            names,
            steps,
            end,
        })
    })
}

fn step(mood: Mood) -> impl Strategy<Value = Step> {
    let worker = 0..WORKERS;
    let [answered, refused, unavailable, unknown, cut] = mood.fates;
    let fate = weighted(vec![
        (answered, (100..LONGEST_CALL_MS).prop_map(CallEnd::Answered).boxed()),
        (refused, (100..5_000u64).prop_map(CallEnd::Refused).boxed()),
        (unavailable, proptest::option::of(1_000..20_000u64).prop_map(CallEnd::Unavailable).boxed()),
        (unknown, (100..LONGEST_CALL_MS).prop_map(CallEnd::Unknown).boxed()),
        (cut, (100..LONGEST_CALL_MS).prop_map(CallEnd::Cut).boxed()),
    ]);
    let next = (worker.clone(), 0..4usize, fate.clone());
    let limit = prop_oneof![1 => Just(None), 6 => (0..5u32).prop_map(Some)];
    let rate = prop_oneof![1 => Just(None), 3 => (2..6u32).prop_map(Some)];
    weighted(vec![
        (mood.advance, (1..mood.advance_ms).prop_map(Step::Advance).boxed()),
        (mood.absence, (5_000..35_000u64).prop_map(Step::Advance).boxed()),
        (mood.round, fate.prop_map(Step::Round).boxed()),
        (mood.poll, worker.clone().prop_map(Step::Poll).boxed()),
        (mood.next, next.prop_map(|(worker, call, fate)| Step::Next(worker, call, fate)).boxed()),
        (mood.renew, worker.clone().prop_map(Step::Renew).boxed()),
        (mood.lose, worker.clone().prop_map(Step::LoseRenewal).boxed()),
        (mood.lose, (0..8usize).prop_map(Step::LateRenewal).boxed()),
        (mood.pause, worker.clone().prop_map(Step::Pause).boxed()),
        (2 * mood.pause, worker.clone().prop_map(Step::Wake).boxed()),
        (mood.die, worker.clone().prop_map(Step::Die).boxed()),
        (mood.jump, (worker.clone(), 100..5_000u64).prop_map(|(worker, ms)| Step::Jump(worker, ms)).boxed()),
        (mood.reach, (worker, any::<bool>()).prop_map(|(worker, can)| Step::Reach(worker, can)).boxed()),
        (mood.retry, (0..8usize).prop_map(Step::Retry).boxed()),
        (mood.limit, limit.prop_map(Step::SetLimit).boxed()),
        (mood.rate, rate.prop_map(Step::SetRate).boxed()),
        (mood.pause_key, any::<bool>().prop_map(Step::PauseKey).boxed()),
        (mood.otherwise, (0..mood.names).prop_map(Step::AskOtherwise).boxed()),
        (mood.fail_over, Just(Step::Replicate).boxed()),
        (mood.fail_over, Just(Step::FailOver).boxed()),
    ])
}

fn weighted<T: std::fmt::Debug + 'static>(choices: Vec<(u32, BoxedStrategy<T>)>) -> BoxedStrategy<T> {
    proptest::strategy::Union::new_weighted(choices.into_iter().filter(|(weight, _)| *weight > 0).collect())
        .boxed()
}
