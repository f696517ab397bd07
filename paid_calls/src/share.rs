//! Decides what a worker may do with its lease. The module is pure and has no clock of its own, so
//! that the model-based test runs the very same code.
//!
//! Two things are counted. *Slots* are held by Temporal's SDK, first for each poll and then for the
//! activity that the poll brought. *Calls* are paid calls between `begin` and `end`, and they alone
//! count against the key's limit. Slots are handed out only as far as calls would be allowed, so
//! that work is taken when it can be done. If the share has shrunk since, a call waits in its slot.

use std::time::{Duration, Instant};

use crate::lease::{Grant, Renewal};

/// Time without new work after which a worker's polls count as idle.
const IDLE_AFTER: Duration = Duration::from_millis(250);

/// Share of a worker in its provider key.
#[derive(Debug, Clone)]
pub struct Share {
    /// Largest number of slots that the worker has.
    max_calls: u32,
    lease: Option<Lease>,
    /// Slots in the SDK's hands, without those released early.
    slots: u32,
    /// Slots whose paid call has ended. The SDK still holds each slot until it has reported the
    /// activity's result to Temporal.
    released_early: u32,
    /// Calls in flight under the lease.
    calls: u32,
    /// Calls in flight under earlier leases. The database counts them apart from the lease.
    calls_before: u32,
    /// Pollers that wait for a slot.
    waiting: u32,
    /// Time at which a poll last brought work.
    worked_at: Instant,
    /// Time before which no call begins.
    closed_until: Option<Instant>,
    /// Time before which the key's rates allow no call.
    rate_until: Option<Instant>,
    sent: Renewal,
    /// True while Temporal can't be reached, so that no work comes.
    cut_off: bool,
    /// Calls that ended since the last renewal although the provider may still execute them. The
    /// answer to that renewal may still count these calls in the share.
    given_up: u32,
}

/// Lease as last heard of from the database.
#[derive(Debug, Clone, Copy)]
struct Lease {
    lease_id: i64,
    share: u32,
    version: i64,
    over_at: Instant,
}

/// Permission for one call, with the lease of that moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseStamp {
    /// Lease under which the call is made.
    pub lease_id: i64,
    /// Version of the key's limits. `begin_call` answers `renew` if the limits were set or cut
    /// since, or if the key has stopped.
    pub version: i64,
}

impl Share {
    /// Returns the share of a worker with so many slots, before it has a lease.
    pub fn new(max_calls: u32, now: Instant) -> Self {
        let sent = Renewal {
            lease_id: None,
            number: 0,
            calls: 0,
            in_use_bound: 0,
            idle_slots: 0,
            demand: 0,
            cut_off: false,
        };
        Self {
            max_calls,
            lease: None,
            slots: 0,
            released_early: 0,
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

    /// Takes a slot if a call may be made with it now, and returns whether it did.
    pub fn take_slot(&mut self, now: Instant) -> bool {
        let taken = self.is_open(now)
            && self.slots < self.max_calls
            && self.slots.saturating_sub(self.calls_before) < self.share(now);
        self.slots += u32::from(taken);
        taken
    }

    /// Releases a slot that its activity needs no more. Another slot may be taken before the SDK
    /// puts this one back.
    pub fn release_slot_early(&mut self) {
        if self.slots > 0 {
            self.slots -= 1;
            self.released_early += 1;
        }
    }

    /// Puts a slot back. Slots are only counted, so any slot will do.
    pub fn put_slot(&mut self) {
        match self.released_early {
            0 => self.slots = self.slots.saturating_sub(1),
            _ => self.released_early -= 1,
        }
    }

    /// Notes that a poller begins to wait for a slot.
    pub fn wait(&mut self) {
        self.waiting += 1;
    }

    /// Notes that a poller waits no more.
    pub fn waited(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }

    /// Notes that a poll has brought work.
    pub fn worked(&mut self, now: Instant) {
        self.worked_at = now;
    }

    /// Notes that Temporal can't be reached, or can be reached again.
    pub fn set_cut_off(&mut self, cut_off: bool) {
        self.cut_off = cut_off;
    }

    /// Begins a call if one may be made now.
    pub fn begin(&mut self, now: Instant) -> Option<LeaseStamp> {
        let lease = self.lease?;
        if !self.is_open(now) || self.calls >= self.share(now) {
            return None;
        }
        self.calls += 1;
        Some(LeaseStamp { lease_id: lease.lease_id, version: lease.version })
    }

    /// Notes that a call has ended on record, or was not begun after all.
    pub fn end(&mut self, stamp: LeaseStamp) {
        if self.is_current(stamp) {
            self.calls = self.calls.saturating_sub(1);
        } else {
            self.calls_before = self.calls_before.saturating_sub(1);
        }
    }

    /// Notes that nobody waits for a call any more, although the provider may still be executing
    /// the call. The call's end is on record. The call's capacity then no longer belongs to this
    /// worker.
    pub fn give_up(&mut self, stamp: LeaseStamp) {
        if self.is_current(stamp)
            && let Some(lease) = &mut self.lease
        {
            lease.share = lease.share.saturating_sub(1);
            self.given_up += 1;
        }
        self.end(stamp);
    }

    /// Lets no call begin for this long, because the limits say so.
    pub fn close(&mut self, now: Instant, wait: Duration) {
        self.closed_until = self.closed_until.max(Some(now + wait));
    }

    /// Lets no call begin for this long, because the calls or images of the last minute have
    /// reached the rate. Does nothing if the limits were changed since the stamp was given.
    pub fn close_for_rate(&mut self, now: Instant, wait: Duration, stamp: LeaseStamp) {
        if self.lease.is_some_and(|lease| lease.version == stamp.version) {
            self.rate_until = self.rate_until.max(Some(now + wait));
        }
    }

    /// Returns the time at which calls may begin again; none if they may begin now.
    pub fn opens_at(&self, now: Instant) -> Option<Instant> {
        self.closed_until.max(self.rate_until).filter(|until| *until > now)
    }

    /// Returns the renewal to send now. Only the answer to the last renewal counts.
    pub fn renew(&mut self, now: Instant) -> Renewal {
        self.given_up = 0;
        self.sent = Renewal { number: self.sent.number + 1, ..self.state(now) };
        self.sent
    }

    /// Takes the answer to the last renewal, which was sent at `sent_at` and heard at `now`.
    pub fn granted(&mut self, grant: Grant, sent_at: Instant, now: Instant, ttl: Duration) {
        if self.lease.is_none_or(|lease| lease.lease_id != grant.lease_id) {
            self.calls_before += self.calls;
            self.calls = 0;
        }
        // The limits were changed, so a minute may have more calls now.
        if self.lease.is_some_and(|lease| lease.version != grant.version) {
            self.rate_until = None;
        }
        self.lease = Some(Lease {
            lease_id: grant.lease_id,
            share: grant.share.unwrap_or(self.max_calls).min(self.max_calls).saturating_sub(self.given_up),
            version: grant.version,
            over_at: sent_at + ttl,
        });
        self.closed_until = (!grant.closed.is_zero()).then(|| now + grant.closed);
    }

    /// Returns true if the worker uses less, wants more, or has lost or regained Temporal since the
    /// last renewal.
    pub fn has_news(&self, now: Instant) -> bool {
        let state = self.state(now);
        state.in_use_bound < self.sent.in_use_bound
            || state.demand > self.sent.demand
            || state.cut_off != self.sent.cut_off
    }

    /// Returns the id of the lease last heard of, which may have expired.
    pub fn lease_id(&self) -> Option<i64> {
        self.lease.map(|lease| lease.lease_id)
    }

    fn state(&self, now: Instant) -> Renewal {
        let slots = self.slots.saturating_sub(self.calls_before);
        let idle = slots > self.calls && now.duration_since(self.worked_at) >= IDLE_AFTER;
        let max_calls = self.max_calls.saturating_sub(self.calls_before);
        Renewal {
            lease_id: self.lease_id(),
            number: self.sent.number,
            calls: self.calls,
            in_use_bound: self.share(now).max(self.calls),
            idle_slots: if idle { slots } else { 0 },
            demand: if self.waiting > 0 { max_calls } else { slots.max(self.calls).min(max_calls) },
            cut_off: self.cut_off,
        }
    }

    fn share(&self, now: Instant) -> u32 {
        self.lease.filter(|lease| now < lease.over_at).map_or(0, |lease| lease.share)
    }

    fn is_open(&self, now: Instant) -> bool {
        self.opens_at(now).is_none()
    }

    fn is_current(&self, stamp: LeaseStamp) -> bool {
        self.lease_id() == Some(stamp.lease_id)
    }
}
