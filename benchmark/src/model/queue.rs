//! A queue as Temporal serves it: by priority, then users in turns, then in the order of arrival.

use std::collections::{BTreeMap, BTreeSet};

/// What waits, and how far each user has been served.
#[derive(Debug)]
pub(super) struct Queue<T> {
    waiting: BTreeMap<Place, T>,
    /// The turn served last, by priority.
    turns: BTreeMap<u32, u64>,
    /// The last turn each user of a priority has asked for.
    asked: BTreeMap<(u32, u32), u64>,
    arrivals: u64,
}

/// A place in the queue: the smallest is served first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    priority: u32,
    turn: u64,
    arrival: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), turns: BTreeMap::new(), asked: BTreeMap::new(), arrivals: 0 }
    }
}

impl<T> Queue<T> {
    /// A user's next turn is the one after their last, but not before the one being served: waiting saves no turns up.
    pub(super) fn push(&mut self, priority: u32, user: u32, item: T) {
        let served = self.turns.get(&priority).copied().unwrap_or_default();
        let asked = self.asked.entry((priority, user)).or_default();
        *asked = served.max(*asked + 1);
        self.arrivals += 1;
        self.waiting.insert(Place { priority, turn: *asked, arrival: self.arrivals }, item);
    }

    /// Back to the place it had.
    pub(super) fn put_back(&mut self, place: Place, item: T) {
        self.waiting.insert(place, item);
    }

    pub(super) fn pop(&mut self) -> Option<(Place, T)> {
        let (place, item) = self.waiting.pop_first()?;
        self.turns.insert(place.priority, place.turn);
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
