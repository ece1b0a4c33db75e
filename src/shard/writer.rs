//! The writer of a shard: the holder of its lock, and what happens when the lock is taken and given
//! back.
//!
//! A writer does its work by the parts of [`State`]. The files below are its methods. Each one
//! calls only those before it:
//!
//! ```text
//!   remove.rs     take an entry out, and note it for the listener; bring the policy up to date
//!   space.rs      evict, clean and reclaim until there is a chunk; pay for what is beside the ring
//!   runs.rs       the same for runs of chunks, for large entries
//!   resizing.rs   an index of another size
//!   shrinking.rs  a lower limit
//!   expire.rs     take out what is due; find what is present
//!   write.rs      store, update, remove
//!   change.rs     store and remove what depends on the present value
//!   lifetimes.rs  change a deadline        load.rs  loads in progress        walk.rs  all entries
//!   lease.rs      leases of callers that load by themselves
//!   clear.rs      remove all entries, in steps
//!   sweep.rs      remove outdated entries of namespaces
//!   save.rs       show entries for a snapshot       restore.rs    store entries of a snapshot
//! ```
//!
//! # Invariants
//!
//! 1. If user code panics under the lock, the shard is empty when the lock is free again, and no
//!    load in progress can be stored.
//! 2. The listener is notified after the unlock, as it may use the cache.

use super::expire::{STEPS, STEPS_OF_MAINTENANCE};
use super::notice::Notice;
use super::{Shard, State};
use crate::expiry::Now;
use crate::index::Index;
use crate::policy::EvictionPolicy;
use crate::removal::Removals;
use crate::ring::Ring;
use crate::sync::MutexGuard;
use crate::units::EntryId;

/// The holder of a shard's lock.
///
/// If user code panics while it is [at work](AtWork), the shard is emptied and the loads in
/// progress are detached.
pub(crate) struct Writer<'a> {
    pub(super) shard: &'a Shard,
    pub(super) state: MutexGuard<'a, State>,
    /// The time, once it was asked for.
    now: Option<Now>,
    /// The entry that is being written again with other stamps. The listener is not notified of
    /// its former state.
    pub(super) rewritten: Option<EntryId>,
    /// Entries of which the listener will be notified.
    pub(super) removals: Option<Box<Removals>>,
}

/// A writer at work. Dropped only if user code panics.
///
/// The writer itself has no destructor, so that its parts can be taken out at the end of its work.
struct AtWork<'a, 'b>(&'b mut Writer<'a>);

impl Drop for AtWork<'_, '_> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl Shard {
    /// Runs `work` under the lock, after a bounded number of entries that are due have expired.
    #[inline]
    pub(crate) fn write<R>(&self, work: impl FnOnce(&mut Writer<'_>) -> R) -> R {
        let (result, notice) = self.write_with_notice(work);
        drop(notice);
        result
    }

    /// Runs `work` under the lock if it is free. The listener is notified at the next write, as a
    /// reader calls this.
    pub(crate) fn try_write<R>(&self, work: impl FnOnce(&mut Writer<'_>) -> R) -> Option<R> {
        let (result, notice) = self.write_under(self.state.try_lock()?, work);
        notice.defer();
        Some(result)
    }

    /// Like [`write`](Self::write), but the listener is notified when the second result is dropped.
    #[inline]
    pub(crate) fn write_with_notice<R>(&self, work: impl FnOnce(&mut Writer<'_>) -> R) -> (R, Notice<'_>) {
        self.drain_samples();
        self.write_under(self.state.lock(), |writer| {
            writer.expire_due(STEPS);
            let result = work(writer);
            writer.shrink_after_write();
            result
        })
    }

    #[inline(always)]
    fn write_under<'a, R>(
        &'a self,
        state: MutexGuard<'a, State>,
        work: impl FnOnce(&mut Writer<'a>) -> R,
    ) -> (R, Notice<'a>) {
        let mut writer = Writer { shard: self, state, now: None, rewritten: None, removals: None };
        let at_work = AtWork(&mut writer);
        if at_work.0.state.evictor.is_outdated() {
            at_work.0.renew_policy();
        }
        let result = work(at_work.0);
        core::mem::forget(at_work);
        let Writer { state, removals, .. } = writer;
        drop(state);
        (result, Notice::new(self.registry.has_listeners().then_some(&self.notifier), removals))
    }
}

impl Writer<'_> {
    /// Returns the time, the same throughout one hold of the lock.
    pub(super) fn now(&mut self) -> Now {
        *self.now.get_or_insert_with(|| self.shard.time.now_for_writer())
    }

    #[inline]
    pub(super) fn ring(&self) -> &Ring {
        self.state.entries.ring()
    }

    #[inline]
    pub(super) fn ring_mut(&mut self) -> &mut Ring {
        self.state.entries.ring_mut()
    }

    /// Ends a hold of the lock in which user code has panicked.
    #[cold]
    fn abandon(&mut self) {
        self.state.counts.evictions += self.state.entries.len() as u64;
        drop(self.detach_flights()); // Their results may be older than the write that panicked.
        self.empty();
    }

    /// Empties index and ring after user code has panicked. The policy is outdated afterwards. Runs
    /// no user code, as it is called while one panics.
    ///
    /// Takes as long as the shard is large: nothing of it can be trusted until it is empty.
    fn empty(&mut self) {
        self.note_change_of_all();
        let state = &mut *self.state;
        state.entries.clear();
        state.cleaner.give_up();
        state.pending.clear();
        state.deadlines.clear();
        state.evictor.set_outdated();
        self.abandon_resizing();
        self.note_reached();
    }

    /// Creates a policy for a shard that has been emptied.
    pub(super) fn renew_policy(&mut self) {
        // The old one goes first: both together might be over the budget.
        drop(self.state.evictor.take_policy());
        self.account_for_policy();
        self.create_policy();
    }

    /// Replaces the policy of a shard that has been emptied. If there is memory for both, `former`
    /// gets the former one, and the bytes that the account holds for it.
    pub(super) fn replace_policy(&mut self, former: &mut Option<(Box<dyn EvictionPolicy>, usize)>) {
        let bytes = self.state.evictor.bytes();
        if !self.shard.account.take(bytes) {
            return self.renew_policy();
        }
        *former = Some((self.state.evictor.take_policy(), bytes));
        self.create_policy();
    }

    fn create_policy(&mut self) {
        if let Some(touches) = &self.shard.touches {
            touches.drain(|_| {});
        }
        if let Some(misses) = &self.shard.misses {
            misses.drain(|_| {});
        }
        let table = self.state.entries.table();
        let (lanes, max_entries) = (table.lanes(), Index::max_len_of(table.size()));
        self.state.evictor.create_policy(lanes, max_entries);
        self.shard.policy_hint.set(self.state.evictor.policy());
        self.account_for_policy();
        self.update_capacity();
    }

    /// Does deferred work, a bounded amount of it. Returns `true` if another call would do more.
    pub(crate) fn maintain(&mut self) -> bool {
        self.drain_touches();
        let mut has_more = self.expire_due(STEPS_OF_MAINTENANCE);
        has_more |= self.sweep();
        self.ring_mut().reclaim();
        self.account_for_policy();
        let chunk = self.ring().chunk_bytes();
        self.clean_ahead(chunk);
        has_more |= self.resize_some();
        has_more | self.shrink_much()
    }
}
