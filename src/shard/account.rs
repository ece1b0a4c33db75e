//! A shard's share of `max_bytes`, and what has been taken of it.
//!
//! Memory is taken from the account before it is allocated, and given back after it was freed. What
//! is taken is a single word. So the sum over all shards is within `max_bytes` at every instant. A
//! thread that adds the shards up one after the other finds the same, except while memory moves
//! from shards that follow a lower limit to others: it may count that twice.
//!
//! ```text
//!   target <= budget: the bound of the moment, or budget < target: to be raised
//!   when it settles: budget = max(target, min(allocated + reserve, budget))
//! ```
//!
//! The *target* is the share of the limit that was set last, and the *budget* is the bound of the
//! moment. After a lower target, the budget follows what is given back. A *reserve* stays available
//! for what has to be allocated before more can be given back.
//!
//! A higher target is the budget at once, unless other shards still follow a lower one: then their
//! budgets and this one could be more than the limit together. So a budget is raised by what the
//! [`Room`] has, and by the rest later.
//!
//! # Synchronization
//!
//! Relaxed throughout: the words are limits and order nothing. Only the holder of the shard's lock
//! takes bytes, and changes budget and target. The bytes of a flight are given back without the
//! lock, by the thread that drops it last.

use std::sync::Arc;

use crate::sync::{AtomicU64, AtomicUsize, Ordering};

/// The bytes by which the targets of all shards are above their budgets, taken together. It is
/// below zero, and has wrapped around, while the shards follow a lower limit.
#[derive(Debug)]
pub(crate) struct Room(AtomicUsize);

impl Room {
    pub(crate) fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    /// Adds the difference between two targets, or between a budget and the former one.
    fn add(&self, less: usize, more: usize) {
        self.0.fetch_add(more.wrapping_sub(less), Ordering::Relaxed);
    }

    /// Takes up to `most` bytes. Returns the number taken.
    fn take(&self, most: usize) -> usize {
        let taken = |room: usize| if room > usize::MAX / 2 { 0 } else { most.min(room) };
        // Ends: a failure means that another thread's change succeeded.
        let former =
            self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |room| Some(room.wrapping_sub(taken(room))));
        former.map_or(0, taken)
    }
}

/// Bytes that a shard may allocate.
#[derive(Debug)]
pub(crate) struct Account {
    room: Arc<Room>,
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
    /// Creates an account of a cache whose shards share `room`.
    pub(crate) fn new(budget: usize, room: Arc<Room>) -> Self {
        Self {
            room,
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

    /// Creates the account of a cache with one shard.
    #[cfg(all(test, not(bytecache_loom)))]
    pub(super) fn alone(budget: usize) -> Self {
        Self::new(budget, Arc::new(Room::new()))
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
        self.room.add(before, bytes);
        self.settle(reserve);
        Some(before)
    }

    /// Lowers the budget to what is allocated and the reserve, but not below the target. A reserve
    /// that is not left is not added. Returns `true` if the budget is not above the target. For the
    /// holder of the lock: no other thread takes anything meanwhile.
    pub(crate) fn settle(&self, reserve: usize) -> bool {
        let (target, before) = (self.target(), self.budget());
        if before > target {
            let budget = target.max(self.allocated().saturating_add(reserve).min(before));
            self.budget.store(budget, Ordering::Relaxed);
            self.room.add(budget, before);
            return budget == target;
        }
        self.raise();
        true
    }

    /// Returns `true` if the budget is below the target, as other shards have more than their share
    /// yet, or had when it was last [raised](Self::raise).
    #[inline]
    pub(crate) fn is_short(&self) -> bool {
        self.budget() < self.target()
    }

    /// Raises a budget that is below the target, by what the other shards leave. For the holder of
    /// the lock.
    pub(crate) fn raise(&self) {
        let before = self.budget();
        let taken = self.room.take(self.target().saturating_sub(before));
        self.budget.store(before + taken, Ordering::Relaxed);
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

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_raised_by_what_the_other_shards_leave() {
        let room = Arc::new(Room::new());
        let [first, second] = [(), ()].map(|()| Account::new(100, Arc::clone(&room)));
        let set_targets = |turn, bytes| [&first, &second].map(|account| account.set_target(turn, bytes, 0));
        let budgets = || [first.budget(), second.budget()];
        assert!(first.take(90) && second.take(10));
        set_targets(1, 20);
        assert_eq!(budgets(), [90, 20]);
        set_targets(2, 60);
        second.raise();
        assert_eq!((budgets(), second.is_short()), ([90, 30], true));
        first.give(20);
        assert!(!first.settle(0));
        second.raise();
        assert_eq!((budgets(), second.is_short()), ([70, 50], true));
        first.give(30);
        assert!(first.settle(0));
        second.raise();
        assert_eq!((budgets(), second.is_short()), ([60, 60], false));
    }
}
