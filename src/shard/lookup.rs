//! Searches without the lock: from a key to its entry, while writers change both.
//!
//! No other code searches a table without the shard's lock. Models in `loom/` run this code as it
//! is.
//!
//! # Synchronization
//!
//! A search reads lanes that may change at any time. It reads no entry that is not held:
//!
//! 1. It names the entry that a lane leads to in a slot of its thread (`reclaim/slots.rs`). That
//!    ends with a fence.
//! 2. It checks that the lane still leads there. If it does not, the search begins again.
//!
//! From then on the entry's bytes stay as they are until the slot is dropped or names another
//! entry. By the second step, the lane may lead to a newer entry at the same location. Then that
//! one is held.
//!
//! A search that finds nothing checks that no sweep has moved the entry meanwhile
//! (`index/sweep.rs`), and begins again if one may have.

#![allow(unsafe_code, reason = "a reader makes a hold into a live location")]

use std::sync::Arc;

use crate::hash::KeyHash;
use crate::index::{Candidate, Lane, Step, Table, Walk};
use crate::reclaim::{Batch, Holds, Live, Slot, SlotName};
use crate::ring::{OwnedValue, RingShared, StampsAt};
use crate::units::{EntryId, Tick};

/// The parts of a shard that a search reads.
pub(crate) struct Lookup {
    pub(crate) table: Arc<Table>,
    pub(crate) ring: Arc<RingShared>,
}

/// An entry that a reader has found, and whose chunk it holds.
///
/// Only this file makes one. So `value` is that of the entry at `live`, in the ring of the lookup
/// that has found it.
#[derive(Clone, Copy)]
pub(crate) struct FoundEntry<'a> {
    lane: Lane<'a>,
    live: Live<'a>,
    value: &'a [u8],
}

impl<'a> FoundEntry<'a> {
    /// Returns the lane in which the entry was found.
    #[inline(always)]
    pub(super) fn lane(&self) -> Lane<'a> {
        self.lane
    }

    /// Returns the entry.
    #[inline(always)]
    pub(crate) fn live(&self) -> Live<'a> {
        self.live
    }

    /// Returns the value of the entry.
    #[inline(always)]
    pub(crate) fn value(&self) -> &'a [u8] {
        self.value
    }
}

/// A lane in which the entry with some hash may be. The entry was not read.
#[derive(Clone, Copy)]
pub(crate) struct Guess<'a>(Option<Candidate<'a>>);

impl Guess<'_> {
    pub(crate) const NONE: Self = Self(None);
}

/// The most steps that one call of [`Lookup::advance`] takes without an entry. The slot is free
/// between calls.
const STEPS_PER_ADVANCE: usize = 64;

/// The result of advancing a walk.
pub(crate) enum Advance<T> {
    Entry(T),
    /// No entry in the steps of this call.
    NoneYet,
    End,
}

impl Lookup {
    /// Returns the entry under `key`, held by the slot, and what `check` says of it.
    ///
    /// `reached` is called before each search, and `check` gets its result. If `check` returns
    /// `None`, the entry has changed since it was found, and the search begins again.
    #[inline(always)]
    pub(crate) fn find<'a, T>(
        &'a self,
        hash: KeyHash,
        key: &[u8],
        slot: &'a mut Slot,
        reached: impl Fn() -> Tick,
        check: impl Fn(Live<'_>, StampsAt<'_>, Tick) -> Option<T>,
    ) -> Option<(FoundEntry<'a>, T)> {
        let slot = slot.name();
        let first = reached();
        // SAFETY: `slot` was borrowed mutably, so nothing that it found before this call is in use.
        let (found, stamps) = unsafe { self.seek(hash, key, slot) }?;
        if let Some(verdict) = check(found.live, stamps, first) {
            return Some((found, verdict));
        }
        // Ends: each round but the last follows a writer's change of the entry.
        loop {
            let reached = reached();
            // SAFETY: the result of the search before is not used any more.
            let (found, stamps) = unsafe { self.seek_all(hash, key, slot) }.map(|found| self.entry_found(found))?;
            if let Some(verdict) = check(found.live, stamps, reached) {
                return Some((found, verdict));
            }
        }
    }

    /// Returns the entry under `key`, whatever its deadline, and where its stamps are.
    ///
    /// The first candidate mostly is the entry. So this has no loop, and needs few registers.
    ///
    /// # Safety
    ///
    /// Nothing that was found with this slot before is used any more.
    #[inline(always)]
    unsafe fn seek<'a>(
        &'a self,
        hash: KeyHash,
        key: &[u8],
        slot: SlotName<'a>,
    ) -> Option<(FoundEntry<'a>, StampsAt<'a>)> {
        let seen = self.table.progress();
        if let Some(candidate) = self.table.first_candidate(seen, hash) {
            // All lines of the entry at once. Otherwise the header must arrive before the address
            // of the value is known.
            self.ring.prefetch(candidate.location());
            slot.hold(self.ring.arena().address_of(candidate.location()));
            // SAFETY: the slot names the entry, with a fence after that. It names another one only
            // in `seek_all`, after which this result is not used.
            if let Some(live) = unsafe { candidate.look_again(slot.into()) } {
                let (entry, stamps) = self.ring.arena().entry_with_stamps(live);
                if entry.has_key(key) {
                    return Some((FoundEntry { lane: candidate.lane(), live, value: entry.value }, stamps));
                }
            }
        } else if !self.table.may_have_moved(seen, hash) {
            return None;
        }
        // SAFETY: the caller's duty is the same, and what was found above is not used any more.
        unsafe { self.seek_all(hash, key, slot) }.map(|found| self.entry_found(found))
    }

    /// Like [`seek`](Self::seek), for a search with more than one candidate. Returns where the
    /// entry is. Not inlined, so that the usual search does not pay for it.
    ///
    /// # Safety
    ///
    /// The same as for [`seek`](Self::seek).
    #[cold]
    #[inline(never)]
    unsafe fn seek_all<'a>(&'a self, hash: KeyHash, key: &[u8], slot: SlotName<'a>) -> Option<(EntryId, Live<'a>)> {
        // Ends: each round but the last follows a writer's change of a lane, or a step of a sweep.
        'search: loop {
            let seen = self.table.progress();
            for candidate in self.table.candidates(seen, hash) {
                slot.hold(self.ring.arena().address_of(candidate.location()));
                // SAFETY: the slot names the entry, with a fence after that. It names another one
                // only in the next round, in which this result is not used.
                let Some(live) = (unsafe { candidate.look_again(slot.into()) }) else { continue 'search };
                if self.ring.arena().entry(live).has_key(key) {
                    return Some((candidate.lane().id(), live));
                }
            }
            if !self.table.may_have_moved(seen, hash) {
                return None;
            }
        }
    }

    /// Returns the entry that [`seek_all`](Self::seek_all) has found.
    #[inline(always)]
    fn entry_found<'a>(&'a self, (id, live): (EntryId, Live<'a>)) -> (FoundEntry<'a>, StampsAt<'a>) {
        let (entry, stamps) = self.ring.arena().entry_with_stamps(live);
        (FoundEntry { lane: self.table.lane(id), live, value: entry.value }, stamps)
    }

    /// Returns the value of an entry that this lookup has found, pinned or copied.
    #[inline(always)]
    pub(crate) fn hold(&self, found: &FoundEntry<'_>) -> OwnedValue {
        // SAFETY: this lookup has found the entry, so `live` is a location of its ring, and the
        // value is that of the entry there, as `FoundEntry` says.
        unsafe { self.ring.value_found(found.live, found.value) }
    }

    /// Advances a walk to the next entry, and holds it by the slot. Also returns its hash, and the
    /// result of `reached` before the step.
    pub(super) fn advance<'a>(
        &'a self,
        walk: &mut Walk,
        hash_of: impl Fn(&[u8]) -> KeyHash,
        slot: &'a mut Slot,
        reached: impl Fn() -> Tick,
    ) -> Advance<(Live<'a>, KeyHash, Tick)> {
        let slot = slot.name();
        for _ in 0..STEPS_PER_ADVANCE {
            let reached = reached();
            let seen = self.table.progress();
            let mut next = *walk;
            let step = self.table.step(seen, &mut next);
            // SAFETY: `slot` was borrowed mutably, so nothing that it found before this call is in
            // use. The result of the round before was dropped.
            let live = if let Step::Lane(id) = step { unsafe { self.hold_lane(id, slot) } } else { None };
            if self.table.may_have_passed(seen, walk) {
                continue; // The lanes may have been cleared. The next round takes the step again.
            }
            *walk = next;
            match (step, live) {
                (Step::End, _) => return Advance::End,
                (Step::Onward, _) => {
                    self.table.ahead(walk).for_each(|candidate| self.ring.prefetch(candidate.location()));
                }
                (Step::Lane(_), None) => {}
                (Step::Lane(_), Some(live)) => {
                    let hash = hash_of(self.ring.arena().entry(live).key);
                    if walk.is_at(hash) {
                        return Advance::Entry((live, hash, reached));
                    }
                }
            }
        }
        Advance::NoneYet
    }

    /// Returns the entry in a lane, held by the slot.
    pub(super) fn find_by_id<'a>(&'a self, id: EntryId, slot: &'a mut Slot) -> Option<Live<'a>> {
        // SAFETY: `slot` was borrowed mutably, so nothing that it found before this call is in use.
        unsafe { self.hold_lane(id, slot.name()) }
    }

    /// Holds the entry in a lane. Returns `None` if there is no entry.
    ///
    /// # Safety
    ///
    /// The same as for [`seek`](Self::seek).
    unsafe fn hold_lane<'a>(&'a self, id: EntryId, slot: SlotName<'a>) -> Option<Live<'a>> {
        // Ends: each round but the first follows a writer's change of the lane.
        loop {
            let candidate = self.table.candidate(id)?;
            slot.hold(self.ring.arena().address_of(candidate.location()));
            // SAFETY: the slot names the entry, with a fence after that. It names another one only
            // in the next round, in which this result is not used.
            let live = unsafe { candidate.look_again(slot.into()) };
            if live.is_some() {
                return live;
            }
        }
    }

    /// Guesses the lane of the entry with `hash`, prefetches the entry, and names it in a slot of
    /// the batch.
    #[inline(always)]
    pub(crate) fn guess(&self, hash: KeyHash, batch: &mut Batch, place: usize) -> Guess<'_> {
        let Some(candidate) = self.table.first_candidate(self.table.progress(), hash) else { return Guess::NONE };
        self.ring.prefetch(candidate.location());
        batch.name(place, self.ring.arena().address_of(candidate.location()));
        Guess(Some(candidate))
    }

    /// Returns the entry under `key` in the guessed lane, if it is still there, has no stamps, and
    /// is held by its slot.
    #[inline(always)]
    pub(crate) fn find_guessed<'a>(
        &'a self,
        guess: Guess<'a>,
        key: &[u8],
        holds: &'a Holds,
        place: usize,
    ) -> Option<FoundEntry<'a>> {
        let candidate = guess.0?;
        if !holds.names(place, self.ring.arena().address_of(candidate.location())) {
            return None;
        }
        // SAFETY: the slot was just seen to name the entry. It was named before the fence of
        // `Batch::hold`, and names nothing else while the holds are borrowed.
        let live = unsafe { candidate.look_again(holds.into()) }?;
        let (entry, stamps) = self.ring.arena().entry_with_stamps(live);
        // An entry with stamps needs the time that was reached before it was found.
        let is_found = stamps.set.is_empty() && entry.has_key(key);
        is_found.then_some(FoundEntry { lane: candidate.lane(), live, value: entry.value })
    }
}
