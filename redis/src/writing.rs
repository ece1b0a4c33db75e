//! [`Writing`]: the keys that this instance is writing to Redis.
//!
//! Redis does not send an instance the invalidations of its own writes. So between the moment at
//! which a write takes effect in Redis and its answer, the instance must not keep an older value.
//!
//! # Invariants
//!
//! 1. A write is listed first, then removes the local entry, then sends its command. A load looks
//!    at the list when it ends. So either the load finds the write, or the removal ends the load's
//!    flight.
//! 2. A write stores its value locally only if it is the only one of its key. The order in which
//!    Redis executed two of them is not known.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Counts = HashMap<Arc<[u8]>, u32>;

#[derive(Debug, Default)]
pub(crate) struct Writing {
    counts: Mutex<Counts>,
}

/// A write in progress. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Write<'a> {
    writing: &'a Writing,
    key: Arc<[u8]>,
}

impl Writing {
    /// Lists a write of a key.
    pub(crate) fn begin(&self, key: Arc<[u8]>) -> Write<'_> {
        *self.lock().entry(Arc::clone(&key)).or_default() += 1;
        Write { writing: self, key }
    }

    /// Returns `true` if a write of the key is in progress.
    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        self.lock().contains_key(key)
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write<'_> {
    /// Returns `true` if no other write of the key is in progress.
    pub(crate) fn is_alone(&self) -> bool {
        self.writing.lock().get(&self.key) == Some(&1)
    }
}

impl Drop for Write<'_> {
    fn drop(&mut self) {
        let mut counts = self.writing.lock();
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_listed_until_its_last_write_ends() {
        let writing = Writing::default();
        let first = writing.begin(b"key"[..].into());
        assert!(first.is_alone() && writing.contains(b"key") && !writing.contains(b"other"));
        let second = writing.begin(b"key"[..].into());
        assert!(!first.is_alone() && !second.is_alone());
        drop(first);
        assert!(second.is_alone() && writing.contains(b"key"));
        drop(second);
        assert!(!writing.contains(b"key"));
    }
}
