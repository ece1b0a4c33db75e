//! The miss log: readers tell a policy which keys they did not find, without taking the lock.
//!
//! ```text
//!   places   | hash | hash |  0  | ...      filled from the beginning; a full log drops what comes
//! ```
//!
//! A reader logs the hash of a missed key. The next writer that asks the policy for anything takes
//! all hashes out.
//!
//! A policy learns from the number of misses, so the log may lose some. This keeps the cost of a
//! miss to a few instructions. Only keys that [`is_miss_reported`](crate::policy::is_miss_reported)
//! chooses are logged: one in eight.
//!
//! # Synchronization
//!
//! All accesses are Relaxed, and no read-modify-write is used:
//!
//! * Two readers may write to the same place: one of the two misses is lost.
//! * A reader may meet a drain: its miss is lost, or stays for the next drain.
//! * A drain may see the count before the hash that it counts: it skips places that are empty.
//!
//! Relaxed is enough because nothing depends on a logged hash but the policy's statistics. Every
//! value that a place can hold is a valid hash.

use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Hashes of missed keys that the policy has not learned of yet.
pub(crate) struct MissLog {
    used: AtomicU32,
    /// 0 marks an empty place.
    places: Box<[AtomicU64]>,
}

impl MissLog {
    /// Creates an empty log with room for `places` misses between two writes.
    pub(crate) fn new(places: usize) -> Self {
        Self { used: AtomicU32::new(0), places: (0..places).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Returns the bytes that a log with `places` places allocates.
    pub(crate) const fn footprint(places: usize) -> usize {
        places * size_of::<AtomicU64>()
    }

    /// Logs a miss if there is room.
    #[inline]
    pub(crate) fn push(&self, hash: u64) {
        // Relaxed here and below: see the module.
        let used = self.used.load(Ordering::Relaxed);
        if let Some(place) = self.places.get(used as usize) {
            place.store(hash, Ordering::Relaxed);
            self.used.store(used + 1, Ordering::Relaxed);
        }
    }

    /// Takes all misses out, the oldest first. Only the holder of the shard's lock calls it.
    pub(crate) fn drain(&self, mut missed: impl FnMut(u64)) {
        let used = self.used.load(Ordering::Relaxed);
        if used == 0 {
            return; // Without a write to the line that readers write to.
        }
        for place in self.places.iter().take(used as usize) {
            let hash = place.load(Ordering::Relaxed);
            place.store(0, Ordering::Relaxed);
            if hash != 0 {
                missed(hash);
            }
        }
        self.used.store(0, Ordering::Relaxed);
    }
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use super::*;

    fn drained(log: &MissLog) -> Vec<u64> {
        let mut hashes = Vec::new();
        log.drain(|hash| hashes.push(hash));
        hashes
    }

    #[test]
    fn misses_arrive_once_and_in_order() {
        let log = MissLog::new(4);
        [5, 9, 5].into_iter().for_each(|hash| log.push(hash));
        assert_eq!(drained(&log), [5, 9, 5]);
        assert_eq!(drained(&log), [0_u64; 0]);
    }

    #[test]
    fn a_full_log_keeps_the_first_and_has_room_again_after_a_drain() {
        let log = MissLog::new(4);
        (1..=8).for_each(|hash| log.push(hash));
        assert_eq!(drained(&log), [1, 2, 3, 4]);
        log.push(7);
        assert_eq!(drained(&log), [7]);
    }
}
