//! Reading: finding an entry, noting the visit, and handing out its value.
//!
//! A read that finds its entry fetches two lines from memory, one after the other: the bucket, then
//! the entry. Most reads that find nothing fetch one. There is no lock and no allocation. Under a
//! policy that counts visits, a read of a key with the most visits writes to no shared line.

use super::lookup::{FoundEntry, Guess};
use super::{Shard, State};
use crate::expiry::Freshness;
use crate::hash::KeyHash;
use crate::policy::is_miss_reported;
use crate::prefetch::prefetch_all;
use crate::reclaim::{Batch, Holds, Slot};
use crate::ring::{OwnedValue, Value};
use crate::units::EntryId;

/// The purpose of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// A read: it postpones the idle deadline of a fresh entry.
    Read,
    /// A look that changes nothing.
    Peek,
}

/// The result of telling the policy of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visit {
    Noted,
    Dropped,
}

impl Shard {
    /// Prefetches what a writer to `hash` will touch, before it takes the lock.
    #[inline]
    pub(crate) fn prefetch_to_write(&self, hash: KeyHash) {
        self.lookup.table.prefetch_places(hash);
        prefetch_all(&raw const self.state, State::WRITTEN_BYTES);
        self.policy_hint.prefetch();
    }

    /// Prefetches the bucket of `hash`.
    #[inline]
    pub(crate) fn prefetch_bucket(&self, hash: KeyHash) {
        self.lookup.table.prefetch_home(hash);
    }

    /// Guesses where an entry is: see [`Lookup::guess`](super::Lookup::guess).
    #[inline(always)]
    pub(crate) fn guess(&self, hash: KeyHash, batch: &mut Batch, place: usize) -> Guess<'_> {
        self.lookup.guess(hash, batch, place)
    }

    /// Finds an entry where it was guessed: see
    /// [`Lookup::find_guessed`](super::Lookup::find_guessed).
    #[inline(always)]
    pub(crate) fn find_guessed<'a>(
        &'a self,
        guess: Guess<'a>,
        key: &[u8],
        holds: &'a Holds,
        place: usize,
    ) -> Option<FoundEntry<'a>> {
        self.lookup.find_guessed(guess, key, holds, place)
    }

    /// Returns the entry under `key`, and how fresh it is. One past its removal is not found.
    #[inline(always)]
    pub(crate) fn find<'a>(
        &'a self,
        hash: KeyHash,
        key: &[u8],
        access: Access,
        slot: &'a mut Slot,
    ) -> Option<(FoundEntry<'a>, Freshness)> {
        // The reached time is loaded before the search: see `expiry/mod.rs`.
        let found = self.lookup.find(
            hash,
            key,
            slot,
            || self.time.reached(),
            |live, stamps, reached| {
                if stamps.set.is_empty() {
                    Some(Freshness::Fresh)
                } else {
                    self.freshness_of(live, stamps, reached, access)
                }
            },
        )?;
        (found.1 != Freshness::Gone).then_some(found)
    }

    /// Returns the entry under `key` if plain reads see it: if it is neither negative nor past its
    /// deadline.
    #[inline(always)]
    pub(crate) fn find_served<'a>(
        &'a self,
        hash: KeyHash,
        key: &[u8],
        access: Access,
        slot: &'a mut Slot,
    ) -> Option<FoundEntry<'a>> {
        let (found, freshness) = self.find(hash, key, access, slot)?;
        freshness.is_served().then_some(found)
    }

    /// Tells the policy that an entry was read.
    #[inline(always)]
    pub(crate) fn visit(&self, found: &FoundEntry<'_>, stripe: u32) -> Visit {
        match &self.touches {
            None => {
                found.lane().visit();
                Visit::Noted
            }
            Some(touches) if touches.push(stripe, found.lane().id()) => Visit::Noted,
            Some(_) => self.touch_after_draining(found.lane().id(), stripe),
        }
    }

    /// Logs a read that found nothing, if the policy wants misses and this key is one of those that
    /// are reported.
    #[inline(always)]
    pub(crate) fn note_miss(&self, hash: KeyHash) {
        if is_miss_reported(hash.get()) {
            self.log_miss(hash);
        }
    }

    /// Logs a miss. Not inlined, as hits would pay for it: the path that they share needs more
    /// registers.
    #[inline(never)]
    fn log_miss(&self, hash: KeyHash) {
        if let Some(misses) = &self.misses {
            misses.push(hash.get());
        }
    }

    /// Drains the logs, if the lock is free, and then logs the touch.
    #[cold]
    fn touch_after_draining(&self, id: EntryId, stripe: u32) -> Visit {
        let drained = self.try_write(|writer| writer.drain_touches()).is_some();
        let touches = self.touches.as_ref().filter(|_| drained);
        match touches.is_some_and(|touches| touches.push(stripe, id)) {
            true => Visit::Noted,
            false => Visit::Dropped,
        }
    }

    /// Returns the value of an entry, pinned or copied.
    #[inline(always)]
    pub(crate) fn hold(&self, found: &FoundEntry<'_>) -> OwnedValue {
        self.lookup.hold(found)
    }

    /// Returns a copy of these bytes, aligned as the values of entries are.
    pub(crate) fn copied(&self, bytes: &[u8]) -> Value {
        self.lookup.ring.copied(bytes)
    }
}
