//! The provider's meter: what it was asked, what it did, what it bills. Tests assert on it, for it sees from outside.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::fmt::{self, Display, Formatter};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::timeout;

/// How long [`Recorder::wait_until`] waits.
const WAIT_AT_MOST: Duration = Duration::from_secs(300);

/// One call as the provider saw it. Times are milliseconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The call's number, from 1, in the order of arrival; drawn on its pictures.
    pub seq: u64,
    /// Such as `/v1/images/generations`.
    pub path: String,
    /// The prompt; empty if the request couldn't be read.
    pub prompt: String,
    /// How many images it asked for; 0 if the request couldn't be read.
    pub n: u32,
    /// The idempotency key it sent, whether honoured or not.
    pub idempotency_key: Option<String>,
    /// When it arrived.
    pub started_ms: u64,
    /// When its answer was ready; none while it is under way.
    pub ended_ms: Option<u64>,
    /// The answer's status; none while it is under way, and when there was no answer (a reset, a hang).
    pub status: Option<u16>,
    /// The answer's error code, if it was an error with one.
    pub error_code: Option<String>,
    /// How long the answer asked to wait, in our time.
    pub retry_after_ms: Option<u64>,
    /// Was the answer of no use to the client, through a fault: cut, unreadable, no image in it?
    pub spoilt: bool,
    /// Was it taken into work? Not if it was refused: key, parameters, limits.
    pub accepted: bool,
    /// Was it answered with an earlier call's answer, for its idempotency key?
    pub replayed: bool,
    /// Has it been billed?
    pub billed: bool,
    /// How many images were billed.
    pub images_billed: u32,
    /// When an accepted call used no capacity any more, whether anybody heard of it or not.
    pub done_ms: Option<u64>,
    /// Did the client hang up before its answer was ready?
    pub client_gone: bool,
}

/// One download of a generated image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Download {
    /// The file's name in its URL.
    pub file: String,
    /// The call that made it.
    pub call: u64,
    /// Its place, from 0, in that call's answer.
    pub image: u32,
    /// When it was asked for.
    pub started_ms: u64,
    /// When it was answered; none while it is under way, and when the client hung up before.
    pub ended_ms: Option<u64>,
    /// The answer's status.
    pub status: Option<u16>,
    /// Was the file that came no whole image, through a fault?
    pub spoilt: bool,
}

/// What there is to pay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bill {
    /// Calls billed.
    pub calls: u64,
    /// Images billed.
    pub images: u64,
    /// Millionths of a dollar.
    pub cost_micros: u64,
}

/// The meter at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meter {
    /// Every call, in the order of arrival.
    pub calls: Vec<Call>,
    /// How many were billed.
    pub billed_calls: u64,
    /// How many images were billed.
    pub images_billed: u64,
    /// Millionths of a dollar billed.
    pub cost_micros: u64,
    /// Accepted calls under way, also those whose client hung up.
    pub in_flight: u64,
    /// The most there ever were.
    pub max_in_flight: u64,
    /// Calls answered 429 for the limits.
    pub throttled: u64,
    /// Downloads asked for.
    pub downloads: u64,
    /// Downloads under way.
    pub downloads_in_flight: u64,
    /// The most there ever were.
    pub max_downloads_in_flight: u64,
    /// Every download of a file that exists or existed, in the order of arrival.
    pub download_log: Vec<Download>,
    /// How often each served photo (and redirect, and status) was asked for.
    pub photo_hits: BTreeMap<String, u64>,
}

impl Meter {
    /// What there is to pay.
    pub fn bill(&self) -> Bill {
        Bill { calls: self.billed_calls, images: self.images_billed, cost_micros: self.cost_micros }
    }
}

impl Display for Meter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} calls ({} billed, {} throttled, {} in flight, {} at most), {} images billed, {} downloads ({} in flight, {} at most)",
            self.calls.len(),
            self.billed_calls,
            self.throttled,
            self.in_flight,
            self.max_in_flight,
            self.images_billed,
            self.downloads,
            self.downloads_in_flight,
            self.max_downloads_in_flight,
        )?;
        let last = self.calls.len().saturating_sub(10);
        for call in self.calls.iter().skip(last) {
            let prompt: String = call.prompt.chars().take(40).collect();
            write!(
                f,
                "\n  #{} {} n={} '{prompt}': {:?} {:?}",
                call.seq, call.path, call.n, call.status, call.error_code
            )?;
        }
        Ok(())
    }
}

/// Too many calls; come back later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Throttled {
    pub(crate) retry_after: Duration,
}

/// The limits a call must pass. Milliseconds of our time, not the provider's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) max_in_flight: Option<usize>,
    pub(crate) max_per_second: Option<f64>,
    pub(crate) retry_after: Duration,
}

/// Writes the meter and hands out what stands there.
#[derive(Debug)]
pub struct Recorder {
    state: Mutex<State>,
    changed: watch::Sender<()>,
    /// The same moment on both clocks: times are read off the monotonic one.
    epoch: (Instant, Duration),
}

#[derive(Debug, Default)]
struct State {
    meter: Meter,
    /// The accepted calls of the last second (or longer, for a rate below one).
    starts: VecDeque<Instant>,
}

impl Recorder {
    pub(crate) fn new() -> Recorder {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Recorder { state: Mutex::default(), changed: watch::Sender::new(()), epoch: (Instant::now(), now) }
    }

    /// What stands there now.
    pub fn snapshot(&self) -> Meter {
        self.state().meter.clone()
    }

    /// Waits until the meter fulfils a condition, and returns it as it then is. After five minutes it gives up, saying what it
    /// saw.
    pub async fn wait_until(&self, condition: impl FnMut(&Meter) -> bool) -> Result<Meter> {
        match timeout(WAIT_AT_MOST, self.wait_long_until(condition)).await {
            Ok(met) => met,
            Err(_) => {
                bail!("not met after {} s; the provider saw {}", WAIT_AT_MOST.as_secs(), self.state().meter)
            }
        }
    }

    /// The same, however long it takes. An error means that the provider has stopped.
    pub async fn wait_long_until(&self, mut condition: impl FnMut(&Meter) -> bool) -> Result<Meter> {
        let mut changes = self.changed.subscribe();
        loop {
            changes.mark_unchanged();
            let fulfilled = {
                let state = self.state();
                condition(&state.meter).then(|| state.meter.clone())
            };
            if let Some(meter) = fulfilled {
                return Ok(meter);
            }
            if changes.changed().await.is_err() {
                bail!("the provider has stopped");
            }
        }
    }

    /// A call arrives; its number.
    pub(crate) fn arrived(&self, path: &str, idempotency_key: Option<String>) -> u64 {
        let started_ms = self.now_ms();
        self.write(|state| {
            let seq = state.meter.calls.len() as u64 + 1;
            state.meter.calls.push(Call {
                seq,
                path: path.to_owned(),
                idempotency_key,
                started_ms,
                ..Call::default()
            });
            seq
        })
    }

    /// Notes something about a call.
    pub(crate) fn note(&self, seq: u64, note: impl FnOnce(&mut Call)) {
        self.write(|state| {
            if let Some(call) = call(state, seq) {
                note(call);
            }
        });
    }

    /// Takes a call into work if the limits allow. Counting and checking under one lock: the limit holds at every instant.
    pub(crate) fn accept(&self, seq: u64, limits: Limits) -> std::result::Result<(), Throttled> {
        self.write(|state| {
            let now = Instant::now();
            if let Err(throttled) = check(state, limits, now) {
                state.meter.throttled += 1;
                return Err(throttled);
            }
            if limits.max_per_second.is_some() {
                state.starts.push_back(now);
            }
            let meter = &mut state.meter;
            meter.in_flight += 1;
            meter.max_in_flight = meter.max_in_flight.max(meter.in_flight);
            if let Some(call) = call(state, seq) {
                call.accepted = true;
            }
            Ok(())
        })
    }

    /// An accepted call is done, and billed if `images` says so.
    pub(crate) fn finished(&self, seq: u64, images: Option<u32>, cost_micros: u64) {
        let done_ms = self.now_ms();
        self.write(|state| {
            if let Some(call) = call(state, seq) {
                call.done_ms = Some(done_ms);
            }
            let meter = &mut state.meter;
            meter.in_flight = meter.in_flight.saturating_sub(1);
            let Some(images) = images else { return };
            meter.billed_calls += 1;
            meter.images_billed += u64::from(images);
            meter.cost_micros += cost_micros;
            if let Some(call) = call(state, seq) {
                call.billed = true;
                call.images_billed = images;
            }
        });
    }

    /// A call's answer is ready.
    pub(crate) fn answered(&self, seq: u64, status: Option<u16>, error_code: Option<String>) {
        let ended_ms = self.now_ms();
        self.note(seq, |call| {
            call.ended_ms = Some(ended_ms);
            call.status = status;
            call.error_code = error_code;
        });
    }

    /// A download begins; where it stands in the log.
    pub(crate) fn download_began(&self, file: &str, call: u64, image: u32) -> usize {
        let started_ms = self.now_ms();
        self.write(|state| {
            let meter = &mut state.meter;
            meter.downloads += 1;
            meter.downloads_in_flight += 1;
            meter.max_downloads_in_flight = meter.max_downloads_in_flight.max(meter.downloads_in_flight);
            meter.download_log.push(Download {
                file: file.to_owned(),
                call,
                image,
                started_ms,
                ..Download::default()
            });
            meter.download_log.len() - 1
        })
    }

    /// A download ends: with this status, or none if the client went away.
    pub(crate) fn download_ended(&self, at: usize, status: Option<u16>, spoilt: bool) {
        let ended_ms = status.map(|_| self.now_ms());
        self.write(|state| {
            let meter = &mut state.meter;
            meter.downloads_in_flight = meter.downloads_in_flight.saturating_sub(1);
            if let Some(download) = meter.download_log.get_mut(at) {
                download.ended_ms = ended_ms;
                download.status = status;
                download.spoilt = spoilt;
            }
        });
    }

    /// A photo was asked for.
    pub(crate) fn photo_hit(&self, name: &str) {
        self.write(|state| *state.meter.photo_hits.entry(name.to_owned()).or_default() += 1);
    }

    /// Now, on the clock of its records: milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        let (instant, since_1970) = self.epoch;
        u64::try_from((since_1970 + instant.elapsed()).as_millis()).unwrap_or(u64::MAX)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state());
        self.changed.send_replace(());
        result
    }
}

fn call(state: &mut State, seq: u64) -> Option<&mut Call> {
    let at = usize::try_from(seq).ok()?.checked_sub(1)?;
    state.meter.calls.get_mut(at)
}

/// The rate is a sliding window: of one second, or for rates below one a second as long as one call takes.
fn check(state: &mut State, limits: Limits, now: Instant) -> std::result::Result<(), Throttled> {
    if let Some(most) = limits.max_in_flight
        && state.meter.in_flight >= most as u64
    {
        return Err(Throttled { retry_after: limits.retry_after });
    }
    let Some(rate) = limits.max_per_second else { return Ok(()) };
    let window = Duration::from_secs_f64((1.0 / rate.max(1e-3)).max(1.0));
    let most = rate.floor().max(1.0) as usize;
    while state.starts.front().is_some_and(|start| now.duration_since(*start) >= window) {
        state.starts.pop_front();
    }
    match state.starts.front() {
        Some(oldest) if state.starts.len() >= most => {
            Err(Throttled { retry_after: window.saturating_sub(now.duration_since(*oldest)) })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_sliding_window_of_a_second() {
        let limits = Limits { max_in_flight: None, max_per_second: Some(3.0), retry_after: Duration::ZERO };
        let (mut state, began) = (State::default(), Instant::now());
        let mut waits = |ms: u64| {
            let now = began + Duration::from_millis(ms);
            let checked = check(&mut state, limits, now);
            if checked.is_ok() {
                state.starts.push_back(now);
            }
            checked.err().map(|throttled| throttled.retry_after.as_millis())
        };

        let asked = [0, 100, 200, 300, 999, 1_000, 1_050, 1_100].map(&mut waits);

        assert_eq!(asked, [None, None, None, Some(700), Some(1), None, Some(50), None]);
    }
}
