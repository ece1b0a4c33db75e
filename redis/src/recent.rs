//! [`Recent`]: keys that have just changed in Redis, while this instance had them.
//!
//! All instances that had such a key are about to load it. So its load waits for a random time
//! first. The keys are marked in a table of a fixed size. A mark that another key has replaced is
//! lost, and then one load does not wait. A mark stays until a load takes it.

use core::time::Duration;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The number of marks, in 8 KiB.
const PLACES: u64 = 1_024;
/// The time for which all keys count as marked after a change of all. Hot keys are loaded by then.
const WINDOW: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Recent {
    /// Hashes of keys. Zero is no mark.
    marks: Box<[AtomicU64]>,
    all_changed: Mutex<Option<Instant>>,
    hasher: RandomState,
}

impl Default for Recent {
    fn default() -> Self {
        let marks = (0..PLACES).map(|_| AtomicU64::new(0)).collect();
        Self { marks, all_changed: Mutex::default(), hasher: RandomState::new() }
    }
}

impl Recent {
    /// Marks a key.
    pub(crate) fn mark(&self, key: &[u8]) {
        let (place, mark) = self.find(key);
        // Relaxed: a mark publishes nothing, and may be lost.
        place.store(mark, Ordering::Relaxed);
    }

    /// Marks all keys for a short time from `now`.
    pub(crate) fn mark_all(&self, now: Instant) {
        *self.lock() = Some(now);
    }

    /// Takes the mark of a key. Returns `true` if there was one.
    pub(crate) fn take(&self, key: &[u8], now: Instant) -> bool {
        let (place, mark) = self.find(key);
        // Relaxed: as in `mark`.
        let was_marked = place.compare_exchange(mark, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        was_marked || self.lock().is_some_and(|changed| now.saturating_duration_since(changed) < WINDOW)
    }

    /// Returns the place of a key, and its mark.
    fn find(&self, key: &[u8]) -> (&AtomicU64, u64) {
        let hash = self.hasher.hash_one(key);
        // Its low bits choose the place, and the highest one tells a mark from none.
        let place = usize::try_from(hash % PLACES).unwrap_or_default();
        (&self.marks[place], hash | 1 << 63)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.all_changed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mark_of_a_key_is_taken_once() {
        let (recent, now) = (Recent::default(), Instant::now());
        assert!(!recent.take(b"key", now));
        recent.mark(b"key");
        assert!(!recent.take(b"other", now));
        assert!(recent.take(b"key", now));
        assert!(!recent.take(b"key", now));
    }

    #[test]
    fn change_of_all_marks_each_key_for_a_second() {
        let (recent, now) = (Recent::default(), Instant::now());
        recent.mark_all(now);
        assert!(recent.take(b"key", now) && recent.take(b"key", now + WINDOW - Duration::from_nanos(1)));
        assert!(!recent.take(b"key", now + WINDOW));
    }
}
