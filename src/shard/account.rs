//! A shard's share of `max_bytes`, and what has been taken of it.
//!
//! Memory is taken from the account before it is allocated, and given back after it was freed. What
//! is taken is a single word. So the sum over all shards is within `max_bytes` at every instant,
//! also for a thread that only observes it.
//!
//! ```text
//!   target <= budget: the bound of the moment
//!   when it settles: budget = max(target, min(allocated + reserve, budget))
//! ```
//!
//! The *target* is the share of the limit that was set last, and the *budget* is the bound of the
//! moment. A higher target is the budget at once. After a lower one, the budget follows what is
//! given back. A *reserve* stays available for what has to be allocated before more can be given
//! back.
//!
//! # Synchronization
//!
//! Relaxed throughout: the words are limits and order nothing. Only the holder of the shard's lock
//! takes bytes, and changes budget and target. The bytes of a flight are given back without the
//! lock, by the thread that drops it last.

use crate::sync::{AtomicU64, AtomicUsize, Ordering};

/// Bytes that a shard may allocate.
#[derive(Debug)]
pub(crate) struct Account {
    budget: AtomicUsize,
    target: AtomicUsize,
    /// The number of the call that has set the target. Calls of several threads may come to the
    /// shards in another order.
    turn: AtomicU64,
    allocated: AtomicUsize,
    /// The part of `allocated` that the index has.
    index: AtomicUsize,
    /// The part that loads in progress and namespaces have.
    flights: AtomicUsize,
    /// The part of `flights` that namespaces have. It is never given back.
    namespaces: AtomicUsize,
    /// The part of `allocated` that the record of changes has while the cache is saved.
    saves: AtomicUsize,
}

impl Account {
    pub(crate) fn new(budget: usize) -> Self {
        Self {
            budget: AtomicUsize::new(budget),
            target: AtomicUsize::new(budget),
            turn: AtomicU64::new(0),
            allocated: AtomicUsize::new(0),
            index: AtomicUsize::new(0),
            flights: AtomicUsize::new(0),
            namespaces: AtomicUsize::new(0),
            saves: AtomicUsize::new(0),
        }
    }

    /// Returns the bytes that may be allocated at this moment.
    pub(crate) fn budget(&self) -> usize {
        self.budget.load(Ordering::Relaxed)
    }

    /// Returns the bytes that may be allocated once the shard has shrunk, and not more than the
    /// [budget](Self::budget).
    pub(crate) fn target(&self) -> usize {
        self.target.load(Ordering::Relaxed)
    }

    /// Sets the target, for the call with this number, and [settles](Self::settle). Returns the
    /// former target, or `None` if a later call was here. For the holder of the lock.
    pub(crate) fn set_target(&self, turn: u64, bytes: usize, reserve: usize) -> Option<usize> {
        if turn < self.turn.load(Ordering::Relaxed) {
            return None;
        }
        self.turn.store(turn, Ordering::Relaxed);
        let before = self.target();
        self.target.store(bytes, Ordering::Relaxed);
        self.settle(reserve);
        Some(before)
    }

    /// Lowers the budget to what is allocated and the reserve, but not below the target. A reserve
    /// that is not left is not added. Returns `true` if the budget is the target. For the holder of
    /// the lock: no other thread takes anything meanwhile.
    pub(crate) fn settle(&self, reserve: usize) -> bool {
        let target = self.target();
        let budget = target.max(self.allocated().saturating_add(reserve).min(self.budget()));
        self.budget.store(budget, Ordering::Relaxed);
        budget == target
    }

    pub(crate) fn allocated(&self) -> usize {
        self.allocated.load(Ordering::Relaxed)
    }

    /// Returns the bytes that can still be taken.
    pub(crate) fn left(&self) -> usize {
        self.budget() - self.allocated()
    }

    /// Takes `bytes`. Returns `false` if there are fewer.
    #[must_use]
    pub(crate) fn take(&self, bytes: usize) -> bool {
        let budget = self.budget();
        // Ends: a failure means that another thread gave something back.
        self.allocated
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |allocated| {
                let after = allocated.checked_add(bytes)?;
                (after <= budget).then_some(after)
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

    pub(crate) fn namespace_bytes(&self) -> usize {
        self.namespaces.load(Ordering::Relaxed)
    }

    /// Notes that `bytes` that were taken are a namespace's.
    pub(crate) fn note_namespace(&self, bytes: usize) {
        self.note_flight(bytes);
        self.namespaces.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn save_bytes(&self) -> usize {
        self.saves.load(Ordering::Relaxed)
    }

    /// Takes up to `bytes` for the record of a save, as many as are left. Returns the number taken.
    /// For the holder of the lock.
    pub(crate) fn take_for_save(&self, bytes: usize) -> usize {
        let taken = bytes.min(self.left());
        if !self.take(taken) {
            return 0;
        }
        self.saves.fetch_add(taken, Ordering::Relaxed);
        taken
    }

    /// Gives bytes of the record of a save back.
    pub(crate) fn give_from_save(&self, bytes: usize) {
        self.saves.fetch_sub(bytes, Ordering::Relaxed);
        self.give(bytes);
    }

    /// Gives a load's bytes back.
    pub(crate) fn give_flight(&self, bytes: usize) {
        self.flights.fetch_sub(bytes, Ordering::Relaxed);
        self.give(bytes);
    }
}
