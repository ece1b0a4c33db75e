//! A shard's share of `max_bytes`, and what has been taken of it.
//!
//! Memory is taken from the account before it is allocated, and given back after it was freed. The
//! account is a single word. So the sum over all shards is within `max_bytes` at every instant,
//! also for a thread that only observes it.
//!
//! # Synchronization
//!
//! Relaxed throughout: the word is a limit and orders nothing. The bytes of a flight are given back
//! without the shard's lock, by the thread that drops it last.

use crate::sync::{AtomicUsize, Ordering};

/// Bytes that a shard may allocate.
#[derive(Debug)]
pub(crate) struct Account {
    budget: usize,
    allocated: AtomicUsize,
    /// The part of `allocated` that the index has.
    index: AtomicUsize,
    /// The part that loads in progress have.
    flights: AtomicUsize,
}

impl Account {
    pub(crate) fn new(budget: usize) -> Self {
        Self { budget, allocated: AtomicUsize::new(0), index: AtomicUsize::new(0), flights: AtomicUsize::new(0) }
    }

    pub(crate) fn budget(&self) -> usize {
        self.budget
    }

    pub(crate) fn allocated(&self) -> usize {
        self.allocated.load(Ordering::Relaxed)
    }

    /// Returns the bytes that can still be taken.
    pub(crate) fn left(&self) -> usize {
        self.budget - self.allocated()
    }

    /// Takes `bytes`. Returns `false` if there are fewer.
    #[must_use]
    pub(crate) fn take(&self, bytes: usize) -> bool {
        // Ends: a failure means that another thread gave something back.
        self.allocated
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |allocated| {
                let after = allocated.checked_add(bytes)?;
                (after <= self.budget).then_some(after)
            })
            .is_ok()
    }

    /// Gives `bytes` back.
    pub(crate) fn give(&self, bytes: usize) {
        let before = self.allocated.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(before >= bytes, "more was given back than taken");
    }

    pub(crate) fn index_bytes(&self) -> usize {
        self.index.load(Ordering::Relaxed)
    }

    /// Notes that `bytes` that were taken are the index's.
    pub(crate) fn note_index(&self, bytes: usize) {
        self.index.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Gives bytes of the index back.
    pub(crate) fn give_index(&self, bytes: usize) {
        self.index.fetch_sub(bytes, Ordering::Relaxed);
        self.give(bytes);
    }

    pub(crate) fn flight_bytes(&self) -> usize {
        self.flights.load(Ordering::Relaxed)
    }

    /// Notes that `bytes` that were taken are a load's.
    pub(crate) fn note_flight(&self, bytes: usize) {
        self.flights.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Gives a load's bytes back.
    pub(crate) fn give_flight(&self, bytes: usize) {
        self.flights.fetch_sub(bytes, Ordering::Relaxed);
        self.give(bytes);
    }
}
