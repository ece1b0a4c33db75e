//! Where an exact policy and a ring meet: the policy says who leaves, the ring what moves.
//!
//! 1. Entries are evicted until the live bytes and the new entry fit under the live target.
//! 2. While fewer than two chunks are to be had, the sealed chunk with the fewest live bytes is cleaned, a
//!    little with each store: its live entries move to the survivors' chunk, then it is retired.
//! 3. When no chunk is left to write to, chunks that readers have let go are taken back. If that does not suffice,
//!    the store cleans, and then evicts more, as long as a chunk can be emptied that nobody holds.

use super::evictor::Victim;
use super::write::Writer;
use super::{State, governor};
#[cfg(bytecache_loom)]
use crate::hash::KeyHash;
use crate::reclaim;
use crate::removal::RemovalCause;
use crate::ring::{ChunkId, Draft, Layout, Stream, Window};
use crate::sync;
use crate::units::Location;

/// Chunks that cleaning keeps ready, one part in this many: enough to write to while readers that the system
/// has preempted hold some others. At least one for fresh entries and one for survivors.
const READY_SHARE: usize = 64;
const MIN_READY: usize = 2;
/// Chunks' worth of bytes that are unused in the open chunks, and in the one whose entries are leaving. In a ring of
/// few chunks fewer, as each is much of it.
const HALF_USED: usize = 2;
const FEW_CHUNKS: usize = 64;
/// Bytes that are cleaned for each byte stored. Above the write amplification that the governor aims at, so
/// that cleaning keeps up.
const CLEAN_AHEAD: usize = 4;
/// What it costs to look at an entry that is cleaned, in bytes of copying.
const LOOK_COST: usize = 64;
/// A chunk is worth cleaning if at least this part of it is dead.
const WORTH_CLEANING: usize = 8;
/// Cleanings, while a store waits for a chunk, that may end without one to spare.
pub(super) const MAX_FRUITLESS: usize = 3;
/// Quarters of a chunk that are evicted by policy while no survivor can be moved, before those that cannot are.
const MAX_STUCK: usize = 8;
/// Chunks that are opened between two looks at what is resident of absent ones.
const RELEASE_EVERY: u64 = 64;
/// Times that a store lets readers run before it gives up, when they hold all that could be emptied.
const YIELDS: usize = 16;

/// What came of an eviction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evicted {
    Entry,
    /// The entry that is being stored: it will not be.
    Newcomer,
    Nothing,
}

/// What came of cleaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cleaned {
    /// A chunk has been emptied and retired.
    Chunk,
    /// The bound on the work was reached.
    Some,
    /// There is no room for survivors.
    Stuck,
    /// No chunk is worth it.
    Nothing,
}

/// Returns how many chunks a ring of `chunks` keeps ready for small entries.
pub(super) fn ready_chunks(chunks: usize) -> usize {
    (chunks / READY_SHARE).max(MIN_READY)
}

/// Returns how many chunks' worth of bytes the open chunks of a ring of `usable` chunks leave unused.
pub(super) fn half_used_chunks(usable: usize) -> usize {
    if usable < FEW_CHUNKS { HALF_USED / 2 } else { HALF_USED }
}

/// Returns how many of a ring's bytes may be live: the target's share, and no more than what is not `unused`.
pub(super) fn live_limit(bytes: usize, target: u32, unused: usize) -> usize {
    #[allow(clippy::cast_possible_truncation, reason = "a part of the ring's bytes")]
    let share = (bytes as u64 * u64::from(target) / u64::from(governor::FULL)) as usize;
    share.min(bytes.saturating_sub(unused))
}

impl State {
    /// Chunks that may be in use beside what else is allocated.
    fn usable_chunks(&self) -> usize {
        let counts = self.entries.ring().counts();
        let more = self.entries.ring().whole_chunks(self.account.left());
        self.entries.ring().chunks() - counts.absent + more.min(counts.absent)
    }

    /// Derives how many bytes may be live, and tells the policy when that has changed.
    pub(super) fn update_capacity(&mut self) {
        let usable = self.usable_chunks();
        self.ready = ready_chunks(self.entries.ring().chunks()) + self.entries.ring().large_span();
        let reserve = match self.entries.ring().has_small() {
            true => self.ready + half_used_chunks(usable),
            // One shared run is not full, and entries that have a run for themselves need nothing.
            false => self.entries.ring().large_span(),
        };
        let unused = reserve * self.entries.ring().chunk_bytes() + self.entries.ring().unused_ends();
        let capacity = live_limit(usable * self.entries.ring().chunk_bytes(), self.governor.target(), unused);
        self.evictor.set_capacity(capacity);
    }

    /// Chunks that can be written to at once.
    fn free_chunks(&self) -> usize {
        let counts = self.entries.ring().counts();
        counts.free + self.entries.ring().whole_chunks(self.account.left()).min(counts.absent)
    }
}

impl Writer<'_> {
    /// Evicts until `extra` more live bytes fit.
    pub(super) fn evict_down_to_fit(&mut self, extra: usize) {
        while self.state.entries.ring().live_bytes() + extra > self.state.evictor.capacity() {
            if self.evict() != Evicted::Entry {
                return;
            }
        }
    }

    /// Evicts the entry that the policy chooses.
    pub(super) fn evict(&mut self) -> Evicted {
        let State { evictor, pending, entries, .. } = &mut *self.state;
        match evictor.choose(pending, entries) {
            Victim::Entry(id, hash) => {
                self.unlink_hashed(id, hash, RemovalCause::Evicted);
                self.state.counts.evictions += 1;
                Evicted::Entry
            }
            Victim::Newcomer => {
                self.state.counts.evictions += 1;
                Evicted::Newcomer
            }
            Victim::None => Evicted::Nothing,
        }
    }

    /// Evicts the entry at a location that is not marked dead.
    pub(super) fn evict_at(&mut self, location: Location) {
        if let Some(id) = self.state.entries.id_at(location) {
            self.state.forget(id);
            self.unlink(id, RemovalCause::Evicted);
            self.state.counts.evictions += 1;
        }
    }

    /// Writes an entry to the ring; `None` if no space can be had. Other entries may have been evicted or relocated.
    pub(super) fn place(&mut self, layout: &Layout, draft: &Draft<'_>) -> Option<Location> {
        if layout.charge() > self.state.entries.ring().small_max() {
            return self.place_large(layout, draft);
        }
        self.place_in_chunk(layout, draft)
    }

    /// Writes an entry to the open chunk, or the next one.
    pub(super) fn place_in_chunk(&mut self, layout: &Layout, draft: &Draft<'_>) -> Option<Location> {
        loop {
            if let Some(location) = self.state.entries.ring_mut().append(Stream::Fresh, layout, draft) {
                return Some(location);
            }
            if !self.free_chunk() {
                return None;
            }
            self.open_next(Stream::Fresh, None);
            self.after_opening();
        }
    }

    /// Sees to it that a chunk is free, and better a second one, for survivors; `false` if that cannot be had without
    /// waiting.
    pub(super) fn free_chunk(&mut self) -> bool {
        let evictions = self.state.counts.evictions;
        if !self.free_chunks(2) && !self.free_chunks(1) {
            return false;
        }
        if self.state.counts.evictions > evictions {
            self.state.governor.note_crowded();
        }
        true
    }

    /// What is done once for each chunk that is opened.
    pub(super) fn after_opening(&mut self) {
        self.account_for_policy();
        self.state.update_capacity();
        self.note_usual_entry();
        self.state.opened += 1;
        if self.state.opened % RELEASE_EVERY == 0 {
            self.seal_large_runs();
            let absent = self.state.entries.ring().counts().absent;
            // While the ring still grows, they are about to be used.
            if absent > 0 && absent == self.state.absent_seen {
                self.state.entries.ring().release_absent();
            }
            self.state.absent_seen = absent;
        }
    }

    fn note_usual_entry(&mut self) {
        let usual = self.state.entries.ring().live_bytes() / self.state.entries.len().max(1);
        self.state.entries.ring().shared().set_usual_entry(usual);
    }

    /// Opens a free chunk that is not in the window; `false` if there is none.
    pub(super) fn open_next(&mut self, stream: Stream, window: Option<Window>) -> bool {
        match self.state.entries.ring_mut().open_next(stream, window) {
            None => false,
            Some(emptied) => {
                if let Some(chunk) = emptied {
                    self.state.entries.ring_mut().retire(chunk);
                }
                true
            }
        }
    }

    /// Sees to it that `wanted` chunks are free; `false` if that cannot be had without waiting.
    fn free_chunks(&mut self, wanted: usize) -> bool {
        let chunk = self.state.entries.ring().chunk_bytes();
        self.state.entries.ring_mut().reclaim();
        while self.state.entries.ring().counts().free < wanted
            && self.state.entries.ring().counts().absent > 0
            && self.state.account.take(chunk)
        {
            self.state.entries.ring_mut().put_to_use();
        }
        self.free_chunks_in_use(wanted)
    }

    /// As [`free_chunks`](Self::free_chunks), but puts no absent chunk to use.
    pub(super) fn free_chunks_in_use(&mut self, wanted: usize) -> bool {
        let (mut fruitless, mut stuck) = (0, 0);
        loop {
            if self.has_free(wanted) {
                return true;
            }
            let cleaned = if fruitless < MAX_FRUITLESS { self.clean(usize::MAX) } else { Cleaned::Nothing };
            match cleaned {
                Cleaned::Chunk | Cleaned::Some => fruitless += 1,
                // The policy's choice comes first; but it may choose entries anywhere.
                Cleaned::Stuck if stuck < MAX_STUCK && self.evict_chunkful() => stuck += 1,
                Cleaned::Stuck => self.evict_what_is_cleaned(),
                Cleaned::Nothing if self.evict_chunkful() => fruitless = 0,
                Cleaned::Nothing => return self.yield_to_readers(|writer| writer.has_free(wanted)),
            }
        }
    }

    /// Whether so many chunks are free, once those have been taken back that nobody holds any more.
    pub(super) fn has_free(&mut self, wanted: usize) -> bool {
        if self.state.entries.ring().counts().free < wanted {
            self.state.entries.ring_mut().reclaim();
        }
        self.state.entries.ring().counts().free >= wanted
    }

    /// Lets readers that are about to finish do so, until `is_enough` or nothing waits for them; whether it is enough then.
    #[cold]
    pub(super) fn yield_to_readers(&mut self, mut is_enough: impl FnMut(&mut Self) -> bool) -> bool {
        // A thread that is a reader itself might wait for itself.
        let yields = if reclaim::thread_is_reading() { 0 } else { YIELDS };
        for _ in 0..yields {
            if self.state.entries.ring().waiting() == 0 {
                break;
            }
            sync::yield_now();
            if is_enough(self) {
                return true;
            }
        }
        is_enough(self)
    }

    /// Evicts about a quarter of a chunk, so that chunks get emptier; `false` if nothing is left to evict.
    pub(super) fn evict_chunkful(&mut self) -> bool {
        let before = self.state.entries.ring().live_bytes();
        let enough = before.saturating_sub(self.state.entries.ring().chunk_bytes() / 4);
        while self.state.entries.ring().live_bytes() > enough || self.state.entries.ring().live_bytes() == before {
            if self.evict() != Evicted::Entry {
                return false;
            }
        }
        true
    }

    /// Sees to it, little by little, that chunks are ready when they are needed: in proportion to a store of
    /// `charge` bytes.
    #[inline]
    pub(super) fn clean_ahead(&mut self, charge: usize) {
        let counts = self.state.entries.ring().counts();
        // One fewer than there is room for: chunks that are about to empty by themselves are let alone.
        let ready = (self.state.ready - 1).max(MIN_READY);
        if counts.free >= ready || self.state.free_chunks() >= ready {
            return;
        }
        // Not for those that were waiting when it was last looked: their readers may take long.
        if self.state.entries.ring().waiting() > self.state.waiting_seen {
            self.state.entries.ring_mut().reclaim();
        } else if counts.retired > 0 {
            self.state.entries.ring_mut().collect_freed();
        }
        self.state.waiting_seen = self.state.entries.ring().waiting();
        if self.state.free_chunks() >= ready {
            return;
        }
        if self.state.counts.inserted_bytes >= self.state.clean_from
            && matches!(self.clean(charge * CLEAN_AHEAD + LOOK_COST), Cleaned::Nothing | Cleaned::Stuck)
        {
            // To look again at once would show the same chunks.
            self.state.clean_from =
                self.state.counts.inserted_bytes + self.state.entries.ring().chunk_bytes() as u64 / 8;
        }
    }

    /// Cleans the emptiest chunk, up to `budget` bytes of work.
    fn clean(&mut self, mut budget: usize) -> Cleaned {
        let Some((chunk, mut at)) = self.state.cleaning.or_else(|| self.begin_cleaning()) else {
            return Cleaned::Nothing;
        };
        while let Some((location, next)) = self.state.entries.ring().next_entry(chunk, at) {
            match self.relocate(location, None) {
                None => return Cleaned::Stuck,
                Some(charge) => budget = budget.saturating_sub(charge + LOOK_COST),
            }
            at = next;
            self.state.cleaning = Some((chunk, at));
            if budget == 0 {
                return Cleaned::Some;
            }
        }
        self.state.cleaning = None;
        self.state.entries.ring_mut().retire(chunk);
        Cleaned::Chunk
    }

    /// Evicts the rest of the chunk that is being cleaned: less than a chunk, where evictions by policy might have
    /// to empty the cache until any chunk is free.
    #[cold]
    fn evict_what_is_cleaned(&mut self) {
        let Some((chunk, mut at)) = self.state.cleaning.take() else { return };
        while let Some((location, next)) = self.state.entries.ring().next_entry(chunk, at) {
            at = next;
            self.evict_at(location);
        }
        self.state.entries.ring_mut().retire(chunk);
    }

    fn begin_cleaning(&mut self) -> Option<(ChunkId, usize)> {
        let chunk = self.state.entries.ring().emptiest(WORTH_CLEANING)?;
        self.state.entries.ring_mut().begin_cleaning(chunk);
        self.state.cleaning = Some((chunk, 0));
        self.state.cleaning
    }

    /// Relocates the entry under `key`: for models.
    #[cfg(bytecache_loom)]
    pub(crate) fn relocate_key(&mut self, hash: KeyHash, key: &[u8]) {
        if let Some((_, live)) = self.state.entries.find(hash, key) {
            let location = live.location();
            assert!(self.relocate(location, None).is_some(), "no room to relocate to");
        }
    }
}
