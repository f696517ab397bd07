//! Answers by idempotency key: a repeated call gets the first one's, also while that is still under way.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::answer::Answer;

type Slot = watch::Sender<Option<Answer>>;

/// The answers given, and those to come.
#[derive(Debug, Default)]
pub(super) struct Answers(Mutex<HashMap<String, Known>>);

#[derive(Debug)]
struct Known {
    fingerprint: [u8; 32],
    answer: watch::Receiver<Option<Answer>>,
}

/// What a key means for a call.
#[derive(Debug)]
pub(super) enum Turn {
    /// It is the first; whoever does the work puts the answer here.
    First(Slot),
    /// It repeats a call: here is, or will be, its answer.
    Repeat(watch::Receiver<Option<Answer>>),
    /// The key was used for another request.
    Other,
}

impl Answers {
    /// Whose turn is it? Asked and noted in one step, so that of two calls at the same moment one is the first.
    pub(super) fn turn(&self, key: &str, fingerprint: [u8; 32]) -> Turn {
        match self.known().entry(key.to_owned()) {
            Entry::Occupied(entry) if entry.get().fingerprint == fingerprint => {
                Turn::Repeat(entry.get().answer.clone())
            }
            Entry::Occupied(_) => Turn::Other,
            Entry::Vacant(entry) => {
                let slot = watch::Sender::new(None);
                entry.insert(Known { fingerprint, answer: slot.subscribe() });
                Turn::First(slot)
            }
        }
    }

    /// Nothing was done under this key: the next call is the first again.
    pub(super) fn forget(&self, key: &str) {
        self.known().remove(key);
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
