//! What is costly to make and will be wanted again soon.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;

/// The things wanted last, at most so many.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    most: usize,
    /// The one wanted last in front.
    kept: Mutex<VecDeque<(K, Arc<V>)>>,
}

impl<K: PartialEq, V> Recent<K, V> {
    pub(super) fn new(most: usize) -> Recent<K, V> {
        Recent { most, kept: Mutex::default() }
    }

    /// The thing, made now if it isn't there. Two who ask at the same moment may both make it: harmless.
    pub(super) fn get(&self, key: K, make: impl FnOnce() -> Result<V>) -> Result<Arc<V>> {
        if let Some(found) = self.find(&key) {
            return Ok(found);
        }
        let made = Arc::new(make()?);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_front((key, made.clone()));
        kept.truncate(self.most);
        Ok(made)
    }

    fn find(&self, key: &K) -> Option<Arc<V>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(known, _)| known == key)?;
        let (key, found) = kept.remove(at)?;
        kept.push_front((key, found.clone()));
        Some(found)
    }
}
