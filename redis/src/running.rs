//! [`Running`]: the loads of this instance that have not ended, with those that later ones have
//! overtaken.
//!
//! Redis leaves a change out of the invalidations of an instance if the *last* change of the key in
//! the same event cycle is the instance's own. So a fill can hide a deletion by another client. An
//! entry that was read before such a deletion must not stay in the local tier.
//!
//! # Invariants
//!
//! 1. A load is listed before it asks Redis, until it has ended. A load or an insert of the same
//!    key that begins later makes it no longer the latest one.
//! 2. The latest load has no other entry beside it: what was in the local tier when it began is
//!    gone. Another load that stores its value begins later, or is overtaken itself.
//! 3. A load that is not the latest one sends no fill. If another one begins while its fill is
//!    under way, it removes the local entry after the answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The loads of a key.
#[derive(Debug, Default)]
struct Loads {
    count: u32,
    /// Loads and inserts that have begun while one was running.
    begun: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Running {
    loads: Mutex<HashMap<Arc<[u8]>, Loads>>,
}

/// A load in progress. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    running: &'a Running,
    key: Arc<[u8]>,
    number: u64,
}

impl Running {
    /// Lists a load of a key.
    pub(crate) fn begin(&self, key: Arc<[u8]>) -> Run<'_> {
        let mut all = self.lock();
        let loads = all.entry(Arc::clone(&key)).or_default();
        loads.count += 1;
        loads.begun += 1;
        Run { running: self, number: loads.begun, key }
    }

    /// Makes all loads of a key that are listed no longer the latest one.
    pub(crate) fn overtake(&self, key: &[u8]) {
        if let Some(loads) = self.lock().get_mut(key) {
            loads.begun += 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<[u8]>, Loads>> {
        self.loads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Run<'_> {
    /// Returns `true` if no load or insert of the key has begun later.
    pub(crate) fn is_latest(&self) -> bool {
        self.running.lock().get(&self.key).is_some_and(|loads| loads.begun == self.number)
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        let mut all = self.running.lock();
        if let Some(loads) = all.get_mut(&self.key) {
            loads.count -= 1;
            if loads.count == 0 {
                all.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_is_the_latest_until_another_begins() {
        let running = Running::default();
        let first = running.begin(b"key"[..].into());
        let other = running.begin(b"other"[..].into());
        assert!(first.is_latest() && other.is_latest());
        let second = running.begin(b"key"[..].into());
        assert!(!first.is_latest() && second.is_latest());
        drop(second);
        assert!(!first.is_latest());
        drop(first);
        let third = running.begin(b"key"[..].into());
        assert!(third.is_latest());
        running.overtake(b"key");
        assert!(!third.is_latest() && other.is_latest());
    }

    #[test]
    fn nothing_is_kept_of_loads_that_have_ended() {
        let running = Running::default();
        running.overtake(b"key");
        drop(running.begin(b"key"[..].into()));
        assert!(running.lock().is_empty());
    }
}
