//! Why entries leave, and who is told.
//!
//! Entries that leave under a shard's lock are copied to a [`Departed`] list, and the listener is told of them once the
//! lock is free. Without a listener nothing is copied.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Why an entry left the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RemovalCause {
    /// Its time to live or its time to idle, and its stale period, came to an end.
    Expired,
    /// The eviction policy, or the want of space, chose it; or the policy would not have it at all.
    Evicted,
    /// A caller removed it: `remove`, `take`, `retain` or `clear`.
    Removed,
    /// A caller stored another value under its key, or a write to its key failed, which removes what is older.
    Replaced,
}

/// A function of the user's that is told of entries that left.
pub(crate) type Listener = Arc<dyn Fn(&[u8], &[u8], RemovalCause) + Send + Sync>;

/// Entries that have left and that the listener has not been told of yet.
#[derive(Debug, Default)]
pub(crate) struct Departed {
    /// Keys and values, one after the other.
    bytes: Vec<u8>,
    entries: Vec<(usize, usize, RemovalCause)>,
}

impl Departed {
    /// Bytes of keys and values.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn push(&mut self, key: &[u8], value: &[u8], cause: RemovalCause) {
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.entries.push((key.len(), value.len(), cause));
    }

    /// Calls `listener` with each entry, in the order in which they left. How many of the calls panicked.
    pub(crate) fn tell(&self, listener: &Listener) -> u64 {
        let (mut rest, mut panics) = (&self.bytes[..], 0);
        for &(key, value, cause) in &self.entries {
            let (entry, others) = rest.split_at(key + value);
            let (key, value) = entry.split_at(key);
            // The listener's own state is its own concern; nothing of the cache is lent to it.
            panics += u64::from(catch_unwind(AssertUnwindSafe(|| listener(key, value, cause))).is_err());
            rest = others;
        }
        panics
    }
}
