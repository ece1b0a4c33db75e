//! Storing, updating and removing an entry.
//!
//! ```text
//!   insert   choose a lane -> policy: prepare_insert -> evict -> write bytes -> publish the lane
//!   update                    policy: update         -> evict -> write bytes -> change the lane
//! ```
//!
//! The policy learns of a new entry before room is made, so it may evict that entry at once. It
//! inserts the entry when the next access begins (`policy/arrival.rs`). Readers find the entry from
//! the last step on. Nothing looks for its lane between the writing of its bytes and its
//! publication.

use super::State;
use super::expire::Presence;
use super::space::NoSpace;
use super::writer::Writer;
use crate::expiry::{Lifetime, Schedule};
use crate::hash::KeyHash;
use crate::index::FreeLane;
use crate::namespace::WriteCount;
use crate::reclaim::Live;
use crate::removal::RemovalCause;
use crate::ring::{Draft, Layout, OwnedValue};
use crate::units::{EntryId, Location};

/// The condition of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Always,
    IfAbsent,
    IfPresent,
}

impl Condition {
    /// Returns `true` if an entry may be stored where this one is present.
    #[inline]
    fn holds(self, present: Presence) -> bool {
        let is_fresh = matches!(present, Presence::Fresh(_));
        match self {
            Self::Always => true,
            Self::IfAbsent => !is_fresh,
            Self::IfPresent => is_fresh,
        }
    }
}

/// The time for which a new entry with a lifetime stays.
enum Stay {
    /// It has expired already.
    Over,
    /// There is no wheel, and no need for one: the store will be declined.
    Unknown,
    Scheduled(Schedule),
}

/// The result of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    Inserted,
    Updated,
    /// The value had expired already. It only removed what was there.
    Expired,
    /// The condition did not hold.
    Declined,
}

/// An entry that is to be stored, and when it is to be removed again.
///
/// On the way of a plain insert, its parts are in registers. So no function on that way that is not
/// inlined gets a reference to it, or to its [`Draft`]. Otherwise they would lie in memory.
#[derive(Clone, Copy)]
pub(super) struct NewEntry<'a> {
    pub(super) hash: KeyHash,
    /// The lane of an entry whose key is absent, if the search for the key has found one.
    pub(super) lane: Option<FreeLane>,
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
    pub(super) schedule: &'a Schedule,
    /// Its idle stamp is that of the entry that it replaces, which readers may change meanwhile.
    pub(super) keeps_idle_stamp: bool,
}

impl<'a> NewEntry<'a> {
    /// Returns what is written to the ring.
    #[inline(always)]
    pub(super) fn draft(&self) -> Draft<'a> {
        Draft { key: self.key, value: self.value, stamps: &self.schedule.stamps }
    }
}

impl Writer<'_> {
    /// Stores `value` under `key`. If there is no space for it, what is older is removed.
    pub(crate) fn store(
        &mut self,
        hash: KeyHash,
        key: &[u8],
        value: &[u8],
        condition: Condition,
        lifetime: &Lifetime,
    ) -> Result<Stored, NoSpace> {
        self.store_here(hash, key, value, condition, lifetime)
    }

    /// Is [`store`](Self::store), inlined.
    #[inline(always)]
    pub(crate) fn store_here(
        &mut self,
        hash: KeyHash,
        key: &[u8],
        value: &[u8],
        condition: Condition,
        lifetime: &Lifetime,
    ) -> Result<Stored, NoSpace> {
        self.state.prefetch_to_store();
        // The policy learns of earlier reads before it learns of the store. The same holds for
        // removals.
        self.drain_touches();
        if self.shard.rules.need_time(lifetime) {
            return self.store_with_lifetime(lifetime, hash, key, value, condition);
        }
        self.store_scheduled(hash, key, value, const { &Schedule::ENDLESS }, condition)
    }

    /// Is [`store`](Self::store) for an entry with a lifetime.
    #[inline(never)]
    fn store_with_lifetime(
        &mut self,
        lifetime: &Lifetime,
        hash: KeyHash,
        key: &[u8],
        value: &[u8],
        condition: Condition,
    ) -> Result<Stored, NoSpace> {
        // Before the present entry is looked up, as creating the wheel may evict it.
        let is_over = match self.stay(hash, key, condition, lifetime) {
            Ok(Stay::Scheduled(schedule)) => return self.store_scheduled(hash, key, value, &schedule, condition),
            Ok(Stay::Over) => true,
            Ok(Stay::Unknown) | Err(NoSpace) => false,
        };
        let present = self.find_present(hash, key);
        if self.decline(key, present, condition) {
            return Ok(Stored::Declined);
        }
        if !is_over {
            return Err(self.reject(hash, key));
        }
        self.remove_present(present, RemovalCause::Replaced);
        Ok(Stored::Expired)
    }

    /// Is [`store`](Self::store) for an entry that is to stay as long as `schedule` says.
    #[inline(always)]
    fn store_scheduled(
        &mut self,
        hash: KeyHash,
        key: &[u8],
        value: &[u8],
        schedule: &Schedule,
        condition: Condition,
    ) -> Result<Stored, NoSpace> {
        if condition == Condition::Always {
            self.settle_early();
        }
        let (present, lane) = self.find_present_or_lane(hash, key);
        if self.decline(key, present, condition) {
            return Ok(Stored::Declined);
        }
        if self.refuses_stores() {
            return Err(self.reject(hash, key));
        }
        let entry = NewEntry { hash, lane, key, value, schedule, keeps_idle_stamp: false };
        self.store_entry_here(&entry, present).map_err(|NoSpace| self.reject(hash, key))
    }

    /// Returns how long a new entry with this lifetime stays.
    ///
    /// # Errors
    ///
    /// If there is no memory for the wheel that it needs. A store that is declined creates no
    /// wheel.
    fn stay(&mut self, hash: KeyHash, key: &[u8], condition: Condition, lifetime: &Lifetime) -> Result<Stay, NoSpace> {
        if self.shard.rules.end_at_once(lifetime) {
            return Ok(Stay::Over);
        }
        if !self.state.deadlines.has_wheel() && self.declines(hash, key, condition) {
            return Ok(Stay::Unknown);
        }
        self.schedule(lifetime, hash).map(Stay::Scheduled)
    }

    /// Gives the last newcomer its place in the policy while the bucket is being fetched. For a
    /// store before which the policy would settle it in any case.
    #[inline]
    fn settle_early(&mut self) {
        // If the index is full, the eviction that makes room in it is to compare the newcomer with
        // the others.
        if self.state.entries.have_room() {
            let State { evictor, pending, .. } = &mut *self.state;
            evictor.settle(pending);
        }
    }

    /// Returns `true` if a store is not done, as `condition` does not hold. What is older than the
    /// caller's value is removed, unless a fresh entry was not to be replaced.
    #[inline(always)]
    fn decline(&mut self, key: &[u8], present: Presence, condition: Condition) -> bool {
        let holds = condition.holds(present);
        if condition == Condition::IfAbsent && !holds {
            return true;
        }
        // The caller's value is newer than a load in progress, and than a stale entry.
        self.detach_flight(key);
        if !holds {
            self.remove_present(present, RemovalCause::Replaced);
        }
        !holds
    }

    /// Returns `true` if a listener of this thread stores while too many entries wait for theirs.
    pub(super) fn refuses_stores(&self) -> bool {
        self.shard.registry.has_listeners() && self.shard.notifier.refuses_stores()
    }

    /// Returns `true` if a store under `condition` would not be done, whatever space there is.
    fn declines(&mut self, hash: KeyHash, key: &[u8], condition: Condition) -> bool {
        !condition.holds(self.find_present(hash, key))
    }

    /// Counts a write for which no space was found, and removes what is older.
    pub(super) fn reject(&mut self, hash: KeyHash, key: &[u8]) -> NoSpace {
        self.state.counts.rejected_no_space += 1;
        self.shard.registry.count(key, WriteCount::NoSpace);
        self.remove_older(hash, key);
        NoSpace
    }

    /// Removes what is older than a value that cannot be stored. An entry that would have declined
    /// the store stays.
    pub(crate) fn refuse(&mut self, hash: KeyHash, key: &[u8], condition: Condition) {
        self.drain_touches();
        let stays = condition == Condition::IfAbsent && self.declines(hash, key, condition);
        if !stays {
            self.remove_older(hash, key);
        }
    }

    /// Removes the entry under `key` and detaches its flight, as they are older than a write that
    /// failed. Needs no space.
    pub(super) fn remove_older(&mut self, hash: KeyHash, key: &[u8]) {
        self.detach_flight(key);
        self.drain_touches();
        let present = self.find_present(hash, key);
        self.sample_absence(hash, present);
        self.remove_present(present, RemovalCause::Replaced);
    }

    /// Stores an entry instead of the one that is present, if one is. If there is no space, that
    /// one may stay.
    pub(super) fn store_entry(&mut self, entry: &NewEntry<'_>, present: Presence) -> Result<Stored, NoSpace> {
        self.store_entry_here(entry, present)
    }

    /// Is [`store_entry`](Self::store_entry), inlined.
    #[inline(always)]
    fn store_entry_here(&mut self, entry: &NewEntry<'_>, present: Presence) -> Result<Stored, NoSpace> {
        let &NewEntry { hash, key, value, schedule, keeps_idle_stamp, .. } = entry;
        let (stored, charge) = match present.id() {
            Some(id) => self.update(id, hash, key, value, schedule, keeps_idle_stamp),
            None => {
                let layout = self.ring().layout(&entry.draft());
                (self.insert(entry, &layout).map(|()| Stored::Inserted), layout.charge())
            }
        };
        if stored.is_ok() {
            self.sample_store(entry, charge);
            self.after_store(charge);
        }
        stored
    }

    /// Does what is due after an entry with this charge was stored.
    #[inline(always)]
    pub(super) fn after_store(&mut self, charge: usize) {
        let state = &mut *self.state;
        if state.cleaner.steer(state.entries.ring(), &state.counts) {
            self.update_capacity();
        }
        self.clean_ahead(charge);
        self.resize_after_store();
    }

    /// Stores an entry under a new key.
    // Inlined, as each insert calls it. Its other caller is rare.
    #[inline(always)]
    fn insert(&mut self, entry: &NewEntry<'_>, layout: &Layout) -> Result<(), NoSpace> {
        let (hash, draft, charge) = (entry.hash, &entry.draft(), layout.charge());
        if !self.may_fit(layout) {
            return Err(NoSpace);
        }
        self.make_index_room();
        let lane = entry.lane.or_else(|| self.state.entries.free_lane(hash)).ok_or(NoSpace)?;
        let id = lane.id();
        let State { evictor, pending, .. } = &mut *self.state;
        evictor.insert(pending, id, hash, charge);
        self.take_for_growth();
        self.evict_down_to_fit(charge);
        if !self.state.pending.has_newcomer() {
            // The policy has refused it.
            self.count_insert(draft);
            self.note_removal(draft);
            return Ok(());
        }
        let Some(location) = self.write_entry(layout, draft) else {
            let State { evictor, pending, .. } = &mut *self.state;
            if !evictor.undo_insert(pending) {
                // The policy evicted it while space was made.
                self.count_insert(draft);
                self.shard.registry.count(draft.key, WriteCount::Evictions);
            }
            return Err(NoSpace);
        };
        self.count_insert(draft);
        if self.state.pending.end_insert() {
            self.state.counts.inserted_bytes += charge as u64;
            self.state.entries.publish(lane, hash, location);
            self.file(id, entry.schedule.removal);
        } else {
            self.state.entries.discard(location);
            self.note_removal(draft);
        }
        Ok(())
    }

    #[inline(always)]
    fn count_insert(&mut self, draft: &Draft<'_>) {
        self.state.counts.inserts += 1;
        self.shard.registry.count(draft.key, WriteCount::Inserts);
    }

    /// Stores an entry instead of the one with this id. Its parts are those of a [`NewEntry`]. Also
    /// returns its charge.
    #[inline(never)]
    fn update(
        &mut self,
        id: EntryId,
        hash: KeyHash,
        key: &[u8],
        value: &[u8],
        schedule: &Schedule,
        keeps_idle_stamp: bool,
    ) -> (Result<Stored, NoSpace>, usize) {
        let entry = &NewEntry { hash, lane: None, key, value, schedule, keeps_idle_stamp };
        let layout = self.ring().layout(&entry.draft());
        (self.update_here(id, entry, &layout), layout.charge())
    }

    #[inline(always)]
    fn update_here(&mut self, id: EntryId, entry: &NewEntry<'_>, layout: &Layout) -> Result<Stored, NoSpace> {
        let charge = layout.charge();
        let Some(old) = self.state.entries.live(id).map(|live| self.ring().charge_at(live)) else {
            return Err(NoSpace);
        };
        if !self.may_fit(layout) {
            return Err(NoSpace);
        }
        let State { entries, evictor, pending, .. } = &mut *self.state;
        entries.table().visit(id);
        evictor.update(pending, id, old, charge);
        self.evict_down_to_fit(charge.saturating_sub(old));
        let location =
            self.state.entries.live(id).is_some().then(|| self.write_entry(layout, &entry.draft())).flatten();
        let is_there = self.state.entries.live(id).map(Live::location);
        self.state.pending.end_update();
        match (location, is_there) {
            (Some(location), Some(before)) => {
                self.state.counts.inserted_bytes += charge as u64;
                self.note_removal_of(id, RemovalCause::Replaced);
                self.note_change(entry.key);
                if entry.keeps_idle_stamp {
                    self.state.entries.replace_rewritten(id, before, location);
                } else {
                    // It may have been moved meanwhile, which keeps its charge.
                    self.state.entries.replace(id, before, old, location);
                }
                self.state.counts.updates += 1;
                self.shard.registry.count(entry.key, WriteCount::Updates);
                self.file(id, entry.schedule.removal);
                Ok(Stored::Updated)
            }
            (None, Some(_)) => {
                let State { evictor, pending, .. } = &mut *self.state;
                evictor.undo_update(pending, id, old, charge);
                Err(NoSpace)
            }
            // The policy has evicted the old entry. This one is new.
            (location, None) => {
                if let Some(location) = location {
                    self.state.entries.discard(location);
                }
                if self.rewritten == Some(id) {
                    // Readers have missed it. In another lane, walks would not see it.
                    return Ok(Stored::Declined);
                }
                self.insert_evicted(entry.hash, entry.key, entry.value, entry.schedule)
            }
        }
    }

    /// Inserts an entry whose former state was evicted while room was made for it.
    #[cold]
    #[inline(never)]
    fn insert_evicted(
        &mut self,
        hash: KeyHash,
        key: &[u8],
        value: &[u8],
        schedule: &Schedule,
    ) -> Result<Stored, NoSpace> {
        let entry = NewEntry { hash, lane: None, key, value, schedule, keeps_idle_stamp: false };
        let layout = self.ring().layout(&entry.draft());
        self.insert(&entry, &layout).map(|()| Stored::Updated)
    }

    /// Removes the entry under `key`. Returns `true` if there was one that reads would have found.
    pub(crate) fn remove(&mut self, hash: KeyHash, key: &[u8]) -> bool {
        self.detach_flight(key);
        self.drain_touches();
        let present = self.find_present(hash, key);
        self.sample_absence(hash, present);
        self.remove_present(present, RemovalCause::Removed);
        matches!(present, Presence::Fresh(_))
    }

    /// Removes the entry under `key`, fresh or not, if it has this `value` and is as negative as
    /// that was. Returns `None` if there is no entry, else `true` if it was removed.
    ///
    /// An entry that was moved is the same. So is one that was replaced by an equal one.
    pub(crate) fn remove_if_same(
        &mut self,
        hash: KeyHash,
        key: &[u8],
        value: &[u8],
        was_negative: bool,
    ) -> Option<bool> {
        self.drain_touches();
        let present = self.find_present(hash, key);
        let id = present.id()?;
        let found = self.ring().entry(self.state.entries.live(id)?).value;
        let is_negative = matches!(present, Presence::Negative(_));
        // Mostly it is in the same place, and its bytes are not compared.
        let is_same = is_negative == was_negative && (core::ptr::eq(found, value) || found == value);
        if is_same {
            self.detach_flight(key);
            self.remove_resident(id, RemovalCause::Removed);
        }
        Some(is_same)
    }

    /// Removes the entry under `key` and returns its value.
    pub(crate) fn take(&mut self, hash: KeyHash, key: &[u8]) -> Option<OwnedValue> {
        self.detach_flight(key);
        self.drain_touches();
        let present = self.find_present(hash, key);
        self.sample_absence(hash, present);
        let fresh = if let Presence::Fresh(id) = present { self.state.entries.live(id) } else { None };
        let held = fresh.map(|live| self.shard.lookup.ring.value(live));
        self.remove_present(present, RemovalCause::Removed);
        held
    }

    /// Writes an entry to the ring. Returns `None` if no space can be had. Other entries may be
    /// evicted or relocated for it.
    #[inline(always)]
    pub(super) fn write_entry(&mut self, layout: &Layout, draft: &Draft<'_>) -> Option<Location> {
        if layout.charge() > self.ring().small_max() {
            return self.write_large(draft.key, draft.value, draft.stamps);
        }
        self.write_to_chunk(layout, draft)
    }
}
