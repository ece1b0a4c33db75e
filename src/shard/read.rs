//! What readers do: find an entry, hold its chunk, mark its visit, and hand out its bytes.
//!
//! Two dependent cache misses for a hit (bucket, entry), one for most misses; no lock, no allocation, and no
//! shared write for a key whose visits are at their top.

use super::lookup::{FoundEntry, Guess};
use super::{Shard, State};
use crate::expiry::Freshness;
use crate::hash::KeyHash;
use crate::prefetch::prefetch_all;
use crate::reclaim::{Batch, Holds, Slot};
use crate::ring::{OwnedValue, Value};
use crate::units::EntryId;

/// What a search is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// A read: it postpones the idle deadline of a fresh entry.
    Read,
    /// A look that changes nothing.
    Peek,
}

/// Whether the policy learned of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visit {
    Noted,
    Dropped,
}

impl Shard {
    /// Asks the processor for what a writer to `hash` will touch, before the lock is taken.
    #[inline]
    pub(crate) fn prefetch_to_write(&self, hash: KeyHash) {
        self.hint.prefetch_with_next(hash);
        prefetch_all(&raw const self.state, State::WRITTEN_BYTES);
        self.policy_hint.prefetch();
    }

    /// Asks the processor to fetch the bucket of `hash`.
    #[inline]
    pub(crate) fn prefetch_bucket(&self, hash: KeyHash) {
        self.hint.prefetch(hash);
    }

    /// As [`Lookup::guess`].
    #[inline(always)]
    pub(crate) fn guess(&self, hash: KeyHash, batch: &mut Batch, place: usize) -> Guess<'_> {
        self.lookup.guess(hash, batch, place)
    }

    /// As [`Lookup::find_guessed`].
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

    /// Finds the entry under `key`, and how fresh it is. One past its removal is not found.
    #[inline(always)]
    pub(crate) fn find<'a>(
        &'a self,
        hash: KeyHash,
        key: &[u8],
        access: Access,
        slot: &'a mut Slot,
    ) -> Option<(FoundEntry<'a>, Freshness)> {
        // The time is reached before the entry is looked for: see `expiry/mod.rs`.
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

    /// As [`find`](Self::find), of entries that plain reads see: neither negative nor past their deadline.
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
                found.lane.visit();
                Visit::Noted
            }
            Some(touches) if touches.push(stripe, found.lane.id()) => Visit::Noted,
            Some(_) => self.touch_after_draining(found.lane.id(), stripe),
        }
    }

    /// Drains the full log, if the lock is free, and logs the touch after it.
    #[cold]
    fn touch_after_draining(&self, id: EntryId, stripe: u32) -> Visit {
        let drained = self.try_write(|writer| writer.drain_touches()).is_some();
        let touches = self.touches.as_ref().filter(|_| drained);
        match touches.is_some_and(|touches| touches.push(stripe, id)) {
            true => Visit::Noted,
            false => Visit::Dropped,
        }
    }

    /// The found entry's value, for as long as its holder likes.
    #[inline(always)]
    pub(crate) fn hold(&self, found: &FoundEntry<'_>) -> OwnedValue {
        self.lookup.ring.value(found.live)
    }

    /// A value of its own with these bytes, aligned as those of entries are.
    pub(crate) fn copied(&self, bytes: &[u8]) -> Value {
        self.lookup.ring.copied(bytes)
    }
}
