//! What writers do, under the shard's lock.
//!
//! Storing an entry: give it an id, let the policy evict until it fits, write its bytes, publish its
//! location. The policy knows the entry from the first step on, so that it may choose to evict it at once;
//! readers know it from the last.

use super::{Newcomer, NoPolicy, Shard, State};
use crate::hash::KeyHash;
use crate::policy::PolicyContext;
use crate::prefetch::prefetch_to_write;
use crate::reclaim::{self, Live};
use crate::ring::{Held, Layout};
use crate::sync::MutexGuard;
use crate::units::{EntryId, Location};

/// On what a store depends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Always,
    IfAbsent,
    IfPresent,
}

/// What a store did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    Inserted,
    Updated,
    /// The condition did not hold.
    Declined,
}

/// No space could be had without waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoSpace;

/// The holder of a shard's lock.
///
/// If user code panics while it exists, dropping it empties the shard.
pub(crate) struct Writer<'a> {
    pub(super) shard: &'a Shard,
    pub(super) state: MutexGuard<'a, State>,
    finished: bool,
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.state.counts.evictions += self.state.index.len() as u64;
            self.empty();
        }
    }
}

impl Shard {
    /// Runs `work` under the lock.
    pub(crate) fn write<R>(&self, work: impl FnOnce(&mut Writer<'_>) -> R) -> R {
        self.write_with(self.state.lock(), work)
    }

    /// Runs `work` under the lock if it is free.
    pub(crate) fn try_write<R>(&self, work: impl FnOnce(&mut Writer<'_>) -> R) -> Option<R> {
        Some(self.write_with(self.state.try_lock()?, work))
    }

    fn write_with<'a, R>(&'a self, state: MutexGuard<'a, State>, work: impl FnOnce(&mut Writer<'a>) -> R) -> R {
        let mut writer = Writer { shard: self, state, finished: false };
        if writer.state.policy_is_stale {
            writer.renew_policy();
        }
        let result = work(&mut writer);
        writer.finished = true;
        result
    }
}

impl State {
    pub(super) fn hash_of(&self, live: Live<'_>) -> KeyHash {
        self.hasher.hash(self.ring.entry(live).key).within_shard(self.shard_bits)
    }

    /// The entry with an id, if it is resident.
    #[inline]
    pub(super) fn live(&self, id: EntryId) -> Option<Live<'_>> {
        self.index.table().live(id, (&self.token).into())
    }

    #[inline]
    fn find(&self, hash: KeyHash, key: &[u8]) -> Option<(EntryId, Live<'_>)> {
        let is_key = |live| (self.ring.entry(live).key == key).then_some(live);
        self.index.table().find(hash, (&self.token).into(), is_key)
    }

    /// The lane that points to `location`.
    pub(super) fn find_location(&self, hash: KeyHash, location: Location) -> Option<EntryId> {
        let is_there = |live: Live<'_>| (live.location() == location).then_some(());
        let found = self.index.table().find(hash, (&self.token).into(), is_there).map(|(id, ())| id);
        // A hasher of the user's own that does not keep to its hashes must not make entries immortal.
        found.or_else(|| self.index.search(location, (&self.token).into()))
    }
}

impl Writer<'_> {
    /// Stores `value` under `key`.
    pub(crate) fn store(
        &mut self,
        hash: KeyHash,
        key: &[u8],
        value: &[u8],
        condition: Condition,
    ) -> Result<Stored, NoSpace> {
        prefetch_to_write(&*self.state.policy);
        // The policy sees what was read before the store, as the store comes after it; so with removals.
        self.drain_touches();
        let found = self.state.find(hash, key).map(|(id, _)| id);
        let stored = match (found, condition) {
            (None, Condition::IfPresent) | (Some(_), Condition::IfAbsent) => return Ok(Stored::Declined),
            (Some(id), _) => self.update(id, hash, key, value),
            (None, _) => self.insert(hash, key, value).map(|()| Stored::Inserted),
        };
        match stored {
            Ok(_) => self.after_store(self.state.ring.layout(key.len(), value.len())),
            Err(NoSpace) => self.state.counts.rejected_no_space += 1,
        }
        stored
    }

    fn after_store(&mut self, layout: Layout) {
        let charge = self.state.ring.charge(&layout);
        let state = &mut *self.state;
        let ring_bytes = state.ring.chunks() * state.ring.chunk_bytes();
        if state.governor.note_inserted(charge, ring_bytes) {
            state.settle_capacity();
        }
        self.clean_ahead(charge);
    }

    fn insert(&mut self, hash: KeyHash, key: &[u8], value: &[u8]) -> Result<(), NoSpace> {
        let layout = self.state.ring.layout(key.len(), value.len());
        let charge = self.state.ring.charge(&layout);
        self.make_index_room();
        let id = self.state.index.free_lane(hash).ok_or(NoSpace)?;
        self.state.newcomer = Some(Newcomer { id, hash, charge });
        self.state.policy.insert(id, hash.get(), charge_u32(charge));
        self.evict_down_to_fit(charge);
        if self.state.newcomer.is_none() {
            // The policy would rather not have it.
            self.state.counts.inserts += 1;
            return Ok(());
        }
        let Some(location) = self.place(&layout, key, value) else {
            match self.state.newcomer.take() {
                Some(_) => self.state.policy.remove(id),
                None => self.state.counts.inserts += 1, // And evicted while space was sought.
            }
            return Err(NoSpace);
        };
        self.state.counts.inserts += 1;
        if self.state.newcomer.take().is_some() {
            self.state.counts.inserted_bytes += charge as u64;
            self.state.index.publish(id, hash, location);
        } else {
            self.kill(location);
        }
        Ok(())
    }

    fn update(&mut self, id: EntryId, hash: KeyHash, key: &[u8], value: &[u8]) -> Result<Stored, NoSpace> {
        let layout = self.state.ring.layout(key.len(), value.len());
        let charge = self.state.ring.charge(&layout);
        let Some(old) = self.state.live(id).map(|live| self.state.ring.charge_at(live)) else {
            return Err(NoSpace);
        };
        self.state.index.table().visit(id);
        self.state.policy.update(id, charge_u32(charge));
        self.evict_down_to_fit(charge.saturating_sub(old));
        let location = self.state.live(id).is_some().then(|| self.place(&layout, key, value)).flatten();
        let is_there = self.state.live(id).map(Live::location);
        match (location, is_there) {
            (Some(location), Some(before)) => {
                self.state.counts.inserted_bytes += charge as u64;
                self.state.index.replace(id, location);
                self.kill(before);
                self.state.counts.updates += 1;
                Ok(Stored::Updated)
            }
            (None, Some(_)) => {
                self.state.policy.update(id, charge_u32(old));
                Err(NoSpace)
            }
            // The policy has chosen the old entry. What comes now is a new one.
            (location, None) => {
                if let Some(location) = location {
                    self.kill(location);
                }
                self.insert(hash, key, value).map(|()| Stored::Updated)
            }
        }
    }

    /// Removes the entry under `key`; whether there was one.
    pub(crate) fn remove(&mut self, hash: KeyHash, key: &[u8]) -> bool {
        self.drain_touches();
        let Some((id, _)) = self.state.find(hash, key) else { return false };
        self.remove_resident(id);
        true
    }

    /// Removes the entry under `key` if its value is the `same`; `None` if there is no entry, else whether it was.
    /// `same` must not be user code.
    pub(crate) fn remove_if_same(
        &mut self,
        hash: KeyHash,
        key: &[u8],
        same: impl FnOnce(&[u8]) -> bool,
    ) -> Option<bool> {
        self.drain_touches();
        let (id, live) = self.state.find(hash, key)?;
        let is_same = same(self.state.ring.entry(live).value);
        if is_same {
            self.remove_resident(id);
        }
        Some(is_same)
    }

    /// Removes the entry under `key` and hands its value out.
    pub(crate) fn take(&mut self, hash: KeyHash, key: &[u8]) -> Option<Held> {
        self.drain_touches();
        let (id, live) = self.state.find(hash, key)?;
        let held = self.shard.ring.value(live);
        self.remove_resident(id);
        Some(held)
    }

    fn remove_resident(&mut self, id: EntryId) {
        self.state.policy.remove(id);
        self.unlink(id);
        self.state.counts.removals += 1;
    }

    /// Removes all entries.
    pub(crate) fn clear(&mut self) {
        self.state.counts.removals += self.state.index.len() as u64;
        self.empty();
        self.renew_policy();
    }

    /// Empties index and ring; the policy is stale afterwards. Runs no user code: it may be called while one panics.
    fn empty(&mut self) {
        let state = &mut *self.state;
        state.index.clear();
        state.ring.clear(&reclaim::pin());
        state.cleaning = None;
        state.newcomer = None;
        state.policy_is_stale = true;
    }

    /// Makes a policy for a shard that has been emptied.
    fn renew_policy(&mut self) {
        // The old one goes first: both together might be over the budget.
        self.state.policy = Box::new(NoPolicy);
        self.settle_policy_bytes();
        if let Some(touches) = &self.shard.touches {
            touches.drain(|_| {});
        }
        let context = PolicyContext::new(self.state.index.table().lanes(), self.state.capacity as u64);
        self.state.policy = (self.state.factory)(context);
        self.state.policy_is_stale = false;
        self.settle_policy_bytes();
        self.state.settle_capacity();
    }

    /// Brings the policy up to date with what readers did.
    pub(crate) fn drain_touches(&mut self) {
        let Some(touches) = &self.shard.touches else { return };
        let State { policy, index, token, .. } = &mut *self.state;
        touches.drain(|id| {
            // A touch may be older than the entry that has the id by now, or the id older than the index.
            if index.table().live(id, (&*token).into()).is_some() {
                policy.touch(id);
            }
        });
    }

    /// Takes an entry, which the policy has forgotten, out of the index and the ring.
    #[inline]
    pub(super) fn unlink(&mut self, id: EntryId) {
        let Some(live) = self.state.live(id) else { return };
        let location = live.location();
        let hash = self.state.index.may_be_displaced(id).then(|| self.state.hash_of(live));
        self.state.index.erase(id, hash);
        self.kill(location);
    }

    /// Marks an entry that no lane points to any more as dead, and retires its chunk if it was the last.
    #[inline]
    pub(super) fn kill(&mut self, location: Location) {
        if let Some(chunk) = self.state.ring.kill(location).emptied {
            self.state.ring.retire(chunk, &reclaim::pin());
        }
    }

    /// Does deferred work, a bounded amount of it.
    pub(crate) fn maintain(&mut self) {
        self.drain_touches();
        reclaim::collect();
        self.state.ring.collect_freed();
        self.settle_policy_bytes();
        let chunk = self.state.ring.chunk_bytes();
        self.clean_ahead(chunk);
    }
}

/// Charges are at most 2 GiB, an eighth of the largest shard.
pub(super) fn charge_u32(charge: usize) -> u32 {
    debug_assert!(u32::try_from(charge).is_ok());
    #[allow(clippy::cast_possible_truncation, reason = "see above")]
    {
        charge as u32
    }
}
