//! A queue as Temporal serves it: lanes in proportion to their weights, a lane in the order of arrival.

use std::collections::{BTreeMap, BTreeSet};

/// Where something waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    /// A plan's.
    Plan(u32),
    /// A user's own.
    User(u32),
    /// The one of all.
    All,
}

/// What waits, and how far each lane has been served.
#[derive(Debug)]
pub(super) struct Queue<T> {
    waiting: BTreeMap<Place, T>,
    /// The pass served last.
    served: u64,
    /// The last pass given to each lane.
    given: BTreeMap<Lane, u64>,
    arrivals: u64,
}

/// A place in the queue: the smallest is served first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pass: u64,
    arrival: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), served: 0, given: BTreeMap::new(), arrivals: 0 }
    }
}

impl<T> Queue<T> {
    /// A lane's next pass is a stride after its last one, but not before the one that was served last: waiting saves nothing up.
    pub(super) fn push(&mut self, lane: Lane, stride: u64, item: T) {
        let given = self.given.entry(lane).or_default();
        *given = self.served.max(*given + stride);
        self.arrivals += 1;
        self.waiting.insert(Place { pass: *given, arrival: self.arrivals }, item);
    }

    /// Back to the place it had.
    pub(super) fn put_back(&mut self, place: Place, item: T) {
        self.waiting.insert(place, item);
    }

    pub(super) fn pop(&mut self) -> Option<(Place, T)> {
        let (place, item) = self.waiting.pop_first()?;
        self.served = self.served.max(place.pass);
        Some((place, item))
    }
}

/// What is served now, by the moment it is done.
#[derive(Debug)]
pub(super) struct Served<T> {
    running: BTreeMap<(u64, u64), T>,
    begun: u64,
}

impl<T> Default for Served<T> {
    fn default() -> Self {
        Self { running: BTreeMap::new(), begun: 0 }
    }
}

impl<T> Served<T> {
    pub(super) fn begin(&mut self, done_ms: u64, item: T) {
        self.begun += 1;
        self.running.insert((done_ms, self.begun), item);
    }

    pub(super) fn len(&self) -> usize {
        self.running.len()
    }

    /// When the next is done.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.running.keys().next().map(|(done_ms, _)| *done_ms)
    }

    /// What is done by now, in order.
    pub(super) fn done(&mut self, now_ms: u64) -> Vec<T> {
        let later = self.running.split_off(&(now_ms + 1, 0));
        std::mem::replace(&mut self.running, later).into_values().collect()
    }

    /// Everything that runs, with the moment it would have been done; nothing runs any more.
    pub(super) fn drain(&mut self) -> Vec<(u64, T)> {
        std::mem::take(&mut self.running).into_iter().map(|((done_ms, _), item)| (done_ms, item)).collect()
    }
}

/// The distinct moments at which something is to happen.
pub(super) type Moments = BTreeSet<u64>;
