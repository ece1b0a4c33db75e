//! The touch log: reads of which an ordered policy has not yet learned.
//!
//! Readers log without the lock. Each stripe is an array that they fill from its beginning. The
//! holder of the shard's lock drains it in order. A thread logs to one stripe. If the stripe is
//! full, the thread drains the log itself, or drops the touch if another thread has the lock. So
//! with one thread, touches arrive in the order of its reads, and none is lost.
//!
//! # Synchronization
//!
//! `used` hands out places (AcqRel with [`TouchLog::drain`]'s swap and Release store). If another
//! thread drains in the middle of a push, the place is taken and not yet filled. It is skipped. Its
//! touch comes one drain late, or overwrites another touch that was logged there meanwhile. Such a
//! touch is late or lost, or its id names another entry by then. That misplaces one entry in the
//! policy's order, and harms nothing. So Relaxed is enough for the places.

use crate::sync::{AtomicU32, Ordering};
use crate::units::EntryId;

/// Ids that were read and that the policy has not yet learned of.
pub(crate) struct TouchLog {
    stripes: Box<[Stripe]>,
    capacity: u32,
}

#[repr(align(64))]
struct Stripe {
    used: AtomicU32,
    /// Ids plus one; 0 is none.
    places: Box<[AtomicU32]>,
}

impl TouchLog {
    pub(crate) fn new(stripes: usize, capacity: u32) -> Self {
        let stripe = || Stripe { used: AtomicU32::new(0), places: (0..capacity).map(|_| AtomicU32::new(0)).collect() };
        Self { stripes: (0..stripes).map(|_| stripe()).collect(), capacity }
    }

    /// Returns the bytes that [`new`](Self::new) allocates.
    pub(crate) fn footprint(stripes: usize, capacity: u32) -> usize {
        stripes * (size_of::<Stripe>() + capacity as usize * size_of::<AtomicU32>())
    }

    /// Logs a touch. Returns `false` if the thread's stripe is full.
    #[inline]
    pub(crate) fn push(&self, thread: u32, id: EntryId) -> bool {
        let Stripe { used, places } = &self.stripes[thread as usize % self.stripes.len()];
        if used.load(Ordering::Relaxed) >= self.capacity {
            return false; // Without a write to the line, so that a full log costs readers little.
        }
        // AcqRel pairs with the Release store of `drain`: a place is filled after it was emptied.
        let place = used.fetch_add(1, Ordering::AcqRel);
        match places.get(place as usize) {
            Some(place) => {
                place.store(id.get() + 1, Ordering::Relaxed);
                true
            }
            None => false,
        }
    }

    /// Returns `true` if a touch is logged.
    #[inline]
    pub(crate) fn has_any(&self) -> bool {
        // Relaxed: a thread sees its own touches, and `drain` loads the number again.
        self.stripes.iter().any(|stripe| stripe.used.load(Ordering::Relaxed) != 0)
    }

    /// Removes all touches, in order within each stripe. For the holder of the shard's lock.
    pub(crate) fn drain(&self, mut touch: impl FnMut(EntryId)) {
        for Stripe { used, places } in &self.stripes {
            if used.load(Ordering::Relaxed) == 0 {
                continue;
            }
            // Full while it is drained. AcqRel pairs with `push`.
            let filled = used.swap(self.capacity, Ordering::AcqRel).min(self.capacity);
            for place in &places[..filled as usize] {
                let id = place.swap(0, Ordering::Relaxed);
                if id != 0 {
                    touch(EntryId::new(id - 1));
                }
            }
            used.store(0, Ordering::Release);
        }
    }
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use super::*;

    fn drained(log: &TouchLog) -> Vec<u32> {
        let mut ids = Vec::new();
        log.drain(|id| ids.push(id.get()));
        ids
    }

    #[test]
    fn touches_of_a_thread_arrive_once_and_in_order() {
        let log = TouchLog::new(2, 4);
        for id in [5, 0, 5] {
            assert!(log.push(1, EntryId::new(id)));
        }
        assert_eq!(drained(&log), [5, 0, 5]);
        assert_eq!(drained(&log), [0_u32; 0]);
    }

    #[test]
    fn a_full_stripe_says_so_and_loses_nothing_that_it_took() {
        let log = TouchLog::new(1, 4);
        let taken: Vec<_> = (0..6).map(|id| log.push(0, EntryId::new(id))).collect();
        assert_eq!(taken, [true, true, true, true, false, false]);
        assert_eq!(drained(&log), [0, 1, 2, 3]);
        assert!(log.push(0, EntryId::new(9)));
        assert_eq!(drained(&log), [9]);
    }
}
