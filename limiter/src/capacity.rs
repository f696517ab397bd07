//! What a worker may do with its lease: pure, without a clock of its own, so that the model-based test runs the very same code.
//!
//! Two things are counted. *Slots* are what Temporal's SDK holds: each poll under way, then the activity it brought. *Calls* are paid calls
//! between `begin` and `end`; they alone count against the key's limit. Slots are handed out only as far as calls would be allowed, so that
//! work is taken when it can be done; where the share has shrunk since, a call waits in its slot.

use std::time::{Duration, Instant};

use database::leases::{Grant, Renewal};

/// A worker that polls and was given nothing for so long keeps what it polls with: nobody has work to do.
const IDLE_AFTER: Duration = Duration::from_millis(250);

/// A worker's share of its provider key.
#[derive(Debug, Clone)]
pub struct Capacity {
    /// Slots it has at most.
    most: u32,
    lease: Option<Lease>,
    /// Slots in the SDK's hands, but those that are left.
    slots: u32,
    /// Slots whose activity has made its call: the SDK puts them back once it has told the server, which takes as long as the next poll.
    left: u32,
    /// Calls in flight under the lease.
    calls: u32,
    /// Calls in flight under earlier leases: the key's account has them apart.
    calls_before: u32,
    /// Pollers that wait for a slot.
    waiting: u32,
    /// When a poll last brought work.
    worked_at: Instant,
    /// Nobody calls before this.
    closed_until: Option<Instant>,
    /// As many calls as a minute may have, until this.
    rate_until: Option<Instant>,
    sent: Renewal,
    /// Temporal can't be reached: no work comes.
    cut_off: bool,
    /// Calls given up since the last renewal was sent: its answer may not know of them.
    given_up: u32,
}

/// The lease as last heard of.
#[derive(Debug, Clone, Copy)]
struct Lease {
    lease_id: i64,
    share: u32,
    version: i64,
    over_at: Instant,
}

/// Allows one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permit {
    /// The lease under which it is made.
    pub lease_id: i64,
    /// Goes along with the call.
    pub version: i64,
}

impl Capacity {
    /// Of a worker with so many slots, before it has a lease.
    pub fn new(most: u32, now: Instant) -> Self {
        let sent =
            Renewal { lease_id: None, number: 0, calls: 0, holds: 0, keeps: 0, wanted: 0, cut_off: false };
        Self {
            most,
            lease: None,
            slots: 0,
            left: 0,
            calls: 0,
            calls_before: 0,
            waiting: 0,
            worked_at: now,
            closed_until: None,
            rate_until: None,
            sent,
            cut_off: false,
            given_up: 0,
        }
    }

    /// Takes a slot, if a call may be made with it now.
    pub fn take_slot(&mut self, now: Instant) -> bool {
        let taken = self.is_open(now)
            && self.slots < self.most
            && self.slots.saturating_sub(self.calls_before) < self.share(now);
        self.slots += u32::from(taken);
        taken
    }

    /// An activity needs its slot no more: another may be taken before the SDK puts this one back.
    pub fn leave_slot(&mut self) {
        if self.slots > 0 {
            self.slots -= 1;
            self.left += 1;
        }
    }

    /// Puts a slot back. Which one doesn't matter: they are only counted.
    pub fn put_slot(&mut self) {
        match self.left {
            0 => self.slots = self.slots.saturating_sub(1),
            _ => self.left -= 1,
        }
    }

    /// A poller begins to wait for a slot.
    pub fn wait(&mut self) {
        self.waiting += 1;
    }

    /// A poller waits no more.
    pub fn waited(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }

    /// A poll has brought work.
    pub fn worked(&mut self, now: Instant) {
        self.worked_at = now;
    }

    /// Temporal can't be reached, or can again.
    pub fn set_cut_off(&mut self, cut_off: bool) {
        self.cut_off = cut_off;
    }

    /// Begins a call, if one may be made now.
    pub fn begin(&mut self, now: Instant) -> Option<Permit> {
        let lease = self.lease?;
        if !self.is_open(now) || self.calls >= self.share(now) {
            return None;
        }
        self.calls += 1;
        Some(Permit { lease_id: lease.lease_id, version: lease.version })
    }

    /// A call has ended, on record; or was not begun after all.
    pub fn end(&mut self, permit: Permit) {
        if self.is_current(permit) {
            self.calls = self.calls.saturating_sub(1);
        } else {
            self.calls_before = self.calls_before.saturating_sub(1);
        }
    }

    /// A call has ended, on record as one that may still run: what it uses is no longer this worker's.
    pub fn give_up(&mut self, permit: Permit) {
        if self.is_current(permit)
            && let Some(lease) = &mut self.lease
        {
            lease.share = lease.share.saturating_sub(1);
            self.given_up += 1;
        }
        self.end(permit);
    }

    /// No call may begin for so long: the limits say so.
    pub fn close(&mut self, now: Instant, wait: Duration) {
        self.closed_until = self.closed_until.max(Some(now + wait));
    }

    /// No call may begin for so long: a minute has as many as it may. Where the limits were changed since
    /// the permit was given, it does nothing.
    pub fn close_for_rate(&mut self, now: Instant, wait: Duration, permit: Permit) {
        if self.lease.is_some_and(|lease| lease.version == permit.version) {
            self.rate_until = self.rate_until.max(Some(now + wait));
        }
    }

    /// When a call may begin again, where that is only a question of time.
    pub fn opens_at(&self, now: Instant) -> Option<Instant> {
        self.closed_until.max(self.rate_until).filter(|until| *until > now)
    }

    /// What to say now, to renew the lease. Only the answer to the last one counts.
    pub fn renew(&mut self, now: Instant) -> Renewal {
        self.given_up = 0;
        self.sent = Renewal { number: self.sent.number + 1, ..self.state(now) };
        self.sent
    }

    /// The answer to the last renewal, which was sent at `sent_at` and heard now.
    pub fn granted(&mut self, grant: Grant, sent_at: Instant, now: Instant, ttl: Duration) {
        if self.lease.is_none_or(|lease| lease.lease_id != grant.lease_id) {
            self.calls_before += self.calls;
            self.calls = 0;
        }
        // The limits were changed: a minute may have more now.
        if self.lease.is_some_and(|lease| lease.version != grant.version) {
            self.rate_until = None;
        }
        self.lease = Some(Lease {
            lease_id: grant.lease_id,
            share: grant.share.unwrap_or(self.most).min(self.most).saturating_sub(self.given_up),
            version: grant.version,
            over_at: sent_at + ttl,
        });
        self.closed_until = (!grant.closed.is_zero()).then(|| now + grant.closed);
    }

    /// Would a renewal now say something that others wait for, or ask for more?
    pub fn has_news(&self, now: Instant) -> bool {
        let state = self.state(now);
        state.holds < self.sent.holds || state.wanted > self.sent.wanted || state.cut_off != self.sent.cut_off
    }

    /// The lease, while it holds.
    pub fn lease_id(&self) -> Option<i64> {
        self.lease.map(|lease| lease.lease_id)
    }

    fn state(&self, now: Instant) -> Renewal {
        let slots = self.slots.saturating_sub(self.calls_before);
        let idle = slots > self.calls && now.duration_since(self.worked_at) >= IDLE_AFTER;
        let most = self.most.saturating_sub(self.calls_before);
        Renewal {
            lease_id: self.lease_id(),
            number: self.sent.number,
            calls: self.calls,
            holds: self.share(now).max(self.calls),
            keeps: if idle { slots } else { 0 },
            wanted: if self.waiting > 0 { most } else { slots.max(self.calls).min(most) },
            cut_off: self.cut_off,
        }
    }

    fn share(&self, now: Instant) -> u32 {
        self.lease.filter(|lease| now < lease.over_at).map_or(0, |lease| lease.share)
    }

    fn is_open(&self, now: Instant) -> bool {
        self.opens_at(now).is_none()
    }

    fn is_current(&self, permit: Permit) -> bool {
        self.lease_id() == Some(permit.lease_id)
    }
}
