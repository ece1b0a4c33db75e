//! Space for what a store writes, and memory for what lies beside the ring.
//!
//! The policy says which entries leave, and the ring which bytes move:
//!
//! 1. The policy evicts until the live bytes and the new entry fit into its capacity.
//! 2. A little is cleaned with each store while few chunks are ready (`cleaner.rs`).
//! 3. When no chunk is left to write to, chunks that readers have let go are taken back. If there
//!    are none, the store cleans. If that is not enough either, the policy evicts more. This ends
//!    when a chunk is free, or when all that could be emptied is held.
//!
//! What the index, the policy, the wheel and the loads need comes from the same account. If that is
//! empty, the ring gives chunks back.

use super::cleaner::{Cleaned, MIN_READY, SMALL_CHUNK, has_few_chunks};
use super::entries::Known;
use super::evictor::{Asked, Victim};
use super::writer::Writer;
use super::{MIN_CHUNKS, State};
#[cfg(all(test, bytecache_loom))]
use crate::hash::KeyHash;
use crate::namespace::WriteCount;
use crate::reclaim;
use crate::removal::RemovalCause;
use crate::ring::{Draft, Layout, Ring, Stream, Window};
use crate::sync;
use crate::units::{EntryId, Location};

/// Entries that a store evicts beyond those that make room for its own bytes, at most. The capacity
/// falls by a hundredth of the ring at once, or by a chunk.
const MAX_SURPLUS: usize = 16;
/// The work that a write does towards a chunk that the ring gives back, as the budget of a
/// cleaning. That is 64 entries without values.
const STEP_TOWARDS_A_CHUNK: usize = 6 << 10;
/// The number of cleanings that may yield no free chunk before a store evicts.
pub(super) const MAX_FRUITLESS: usize = 3;
/// Quarters of a chunk that the policy evicts while no survivor can be moved. After that, the
/// survivors are evicted.
const MAX_STUCK: usize = 8;
/// The number of times that a store yields to readers that hold all chunks which could be freed.
const YIELDS: usize = 16;

/// No space could be had without waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoSpace;

/// The result of an eviction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evicted {
    Entry,
    /// The entry that is being stored. It will not be.
    Newcomer,
    Nothing,
}

impl Writer<'_> {
    /// Derives how many bytes may be live, and tells the policy when that has changed.
    pub(super) fn update_capacity(&mut self) {
        let former = self.state.evictor.capacity();
        self.state.update_capacity(&self.shard.account);
        if let Some(sampling) = &self.shard.sampling {
            sampling.sampler.note_capacity(former, self.state.evictor.capacity());
        }
    }

    /// Evicts until `extra` more live bytes fit. If the capacity has become smaller, the surplus
    /// leaves a few entries at a time.
    #[inline]
    pub(super) fn evict_down_to_fit(&mut self, extra: usize) {
        if self.ring().live_bytes() + extra > self.state.evictor.capacity() {
            self.evict_some_to_fit(extra);
        }
    }

    #[inline(never)]
    fn evict_some_to_fit(&mut self, extra: usize) {
        let before = self.ring().live_bytes();
        let mut surplus = 0;
        // Ends: each round evicts an entry.
        while self.ring().live_bytes() + extra > self.state.evictor.capacity() {
            if self.ring().live_bytes() + extra <= before {
                surplus += 1;
            }
            if surplus > MAX_SURPLUS || self.evict_here() != Evicted::Entry {
                return;
            }
        }
    }

    /// Evicts the entry that the policy chooses.
    pub(super) fn evict(&mut self) -> Evicted {
        self.evict_here()
    }

    /// Is [`evict`](Self::evict), inlined.
    #[inline(always)]
    fn evict_here(&mut self) -> Evicted {
        let State { evictor, pending, entries, .. } = &mut *self.state;
        let asked = Asked::new();
        match evictor.choose(pending, entries, &asked) {
            Victim::Entry { id, is_known } => {
                let known = asked.known(is_known);
                self.count_departure(id, WriteCount::Evictions);
                let hash = self.sample_eviction_of(id, known.hash);
                self.unlink(id, Known { hash, ..known }, RemovalCause::Evicted);
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
            self.evict_resident(id);
        }
    }

    /// Evicts a resident that the policy has not chosen.
    pub(super) fn evict_resident(&mut self, id: EntryId) {
        self.count_departure(id, WriteCount::Evictions);
        self.forget(id);
        let hash = self.sample_eviction_of(id, None);
        self.unlink(id, Known { hash, charge: None }, RemovalCause::Evicted);
        self.state.counts.evictions += 1;
    }

    /// Writes an entry to the open chunk, or the next one.
    #[inline(always)]
    pub(super) fn write_to_chunk(&mut self, layout: &Layout, draft: &Draft<'_>) -> Option<Location> {
        // Ends: an entry that goes to a chunk fits an empty one.
        loop {
            if let Some(location) = self.ring_mut().append(Stream::Fresh, layout, draft) {
                return Some(location);
            }
            if !self.open_fresh_chunk() {
                return None;
            }
        }
    }

    /// Opens a chunk for fresh entries. Returns `false` if that needs waiting.
    #[cold]
    fn open_fresh_chunk(&mut self) -> bool {
        let is_freed = self.free_chunk();
        if is_freed {
            self.ring_mut().open_next(Stream::Fresh, None);
            self.after_opening();
        }
        is_freed
    }

    /// Frees a chunk, and if possible a second one, for survivors. Returns `false` if that needs
    /// waiting.
    pub(super) fn free_chunk(&mut self) -> bool {
        let evictions = self.state.counts.evictions;
        // The second one comes by cleaning ahead, except in small chunks.
        let wanted = if self.ring().chunk_bytes() > SMALL_CHUNK { 1 } else { 2 };
        if !self.free_chunks(wanted) && !self.free_chunks(1) {
            return false;
        }
        if self.state.counts.evictions > evictions || core::mem::take(&mut self.state.is_crowded) {
            self.state.cleaner.note_crowded();
        }
        true
    }

    /// Does what is due once for each chunk that is opened.
    pub(super) fn after_opening(&mut self) {
        if self.shard.account.is_short() {
            self.shard.account.raise();
        }
        self.account_for_policy();
        self.update_capacity();
        self.note_usual_entry();
        let State { cleaner, entries, counts, .. } = &mut *self.state;
        cleaner.after_opening(entries.ring_mut(), counts);
        self.consider_shrinking();
    }

    fn note_usual_entry(&mut self) {
        let usual = self.ring().live_bytes() / self.state.entries.len().max(1);
        self.ring().shared().set_usual_entry(usual);
    }

    /// Frees chunks until `wanted` of them are free. Returns `false` if that needs waiting.
    ///
    /// Puts a second absent chunk to use, as [`Cleaner::clean_ahead`](super::cleaner::Cleaner)
    /// counts on it. Survivors would otherwise find no chunk, and lie among fresh entries, which
    /// die at other times. A chunk of both is cleaned again and again. A ring of
    /// [few chunks](has_few_chunks) is better without.
    fn free_chunks(&mut self, wanted: usize) -> bool {
        self.ring_mut().reclaim();
        let at_hand = if has_few_chunks(self.ring()) { wanted } else { MIN_READY };
        // Two rounds at most.
        while self.ring().counts().free < at_hand && self.put_to_use() {}
        self.free_chunks_in_use(wanted)
    }

    /// Puts an absent chunk to use. Returns `false` if there is none, or no memory for it.
    pub(super) fn put_to_use(&mut self) -> bool {
        let has_absent = self.ring().counts().absent > 0 || self.extend_ring();
        has_absent && self.shard.account.take(self.ring().chunk_bytes()) && self.ring_mut().put_to_use()
    }

    /// Gives more chunks a place in the ring's tables. Returns `false` if all have one, or if there
    /// is no memory.
    #[cold]
    fn extend_ring(&mut self) -> bool {
        let Some(extension) = self.ring().extension() else { return false };
        // Not without memory for a first chunk.
        if self.shard.account.left() < extension.bytes + self.ring().chunk_bytes() {
            return false;
        }
        let is_taken = self.shard.account.take(extension.bytes);
        if is_taken {
            self.ring_mut().extend(extension);
        }
        is_taken
    }

    /// Like [`free_chunks`](Self::free_chunks), but puts no absent chunk to use.
    pub(super) fn free_chunks_in_use(&mut self, wanted: usize) -> bool {
        // Ends: cleanings, and evictions for survivors, are counted. Each other round evicts
        // entries, empties a chunk, or retires an open one that is empty.
        let (mut fruitless, mut stuck) = (0, 0);
        loop {
            if self.ring_mut().has_free(wanted) {
                return true;
            }
            let State { cleaner, entries, counts, .. } = &mut *self.state;
            let cleaned =
                if fruitless < MAX_FRUITLESS { cleaner.clean(entries, counts, usize::MAX) } else { Cleaned::Nothing };
            match cleaned {
                Cleaned::Chunk | Cleaned::Some | Cleaned::NotFound => fruitless += 1,
                // The policy's choice comes first, although it may be anywhere in the ring.
                Cleaned::Stuck if stuck < MAX_STUCK && self.evict_chunkful() => stuck += 1,
                Cleaned::Stuck => self.evict_what_is_cleaned(|_| true),
                Cleaned::Nothing if self.ring_mut().retire_open() => {}
                Cleaned::Nothing if self.evict_chunkful() => fruitless = 0,
                Cleaned::Nothing => return yield_to_readers(self.ring_mut(), |ring| ring.has_free(wanted)),
            }
        }
    }

    /// Evicts about a quarter of a chunk. Returns `false` if nothing is left to evict.
    pub(super) fn evict_chunkful(&mut self) -> bool {
        let before = self.ring().live_bytes();
        let enough = before.saturating_sub(self.ring().chunk_bytes() / 4);
        // Ends: each round evicts an entry.
        while self.ring().live_bytes() > enough || self.ring().live_bytes() == before {
            if self.evict() != Evicted::Entry {
                return false;
            }
        }
        true
    }

    /// Cleans ahead: see [`Cleaner::clean_ahead`](super::cleaner::Cleaner::clean_ahead).
    #[inline]
    pub(super) fn clean_ahead(&mut self, charge: usize) {
        let State { cleaner, entries, counts, .. } = &mut *self.state;
        let bytes = cleaner.clean_ahead(entries, counts, &self.shard.account, charge);
        if bytes > 0 && charge <= self.ring().small_max() && self.ring().chunk_bytes() > SMALL_CHUNK {
            self.evict_ahead(bytes);
            self.state.cleaner.note_evicted_ahead(bytes);
        }
    }

    /// Evicts entries of about `bytes` bytes, so that a chunk becomes worth cleaning. Otherwise a
    /// store would have to evict a part of a chunk at once when no chunk is left.
    #[cold]
    fn evict_ahead(&mut self, bytes: usize) {
        let enough = self.ring().live_bytes().saturating_sub(bytes);
        // Ends: each round evicts an entry.
        while self.ring().live_bytes() > enough && self.evict() == Evicted::Entry {
            self.state.is_crowded = true;
        }
    }

    /// Moves an entry that is not dead to the survivors, out of the window. Returns `false` if
    /// there is no chunk for it.
    pub(super) fn relocate(&mut self, location: Location, window: Option<Window>) -> bool {
        let State { cleaner, entries, counts, .. } = &mut *self.state;
        let charge = entries.ring().charge_of(location);
        cleaner.relocate(entries, counts, location, charge, window).is_some()
    }

    /// Evicts the remaining entries of the chunk that is being cleaned, as long as `goes_on` says
    /// so. Without them it is free. If the policy chose, it might have to evict almost everything
    /// before any chunk is empty.
    #[cold]
    pub(super) fn evict_what_is_cleaned(&mut self, goes_on: impl Fn(&Self) -> bool) {
        let Some((chunk, mut at)) = self.state.cleaner.give_up() else { return };
        // Bounded by the entries of the chunk, or run.
        while let Some((location, next)) = self.ring().next_entry(chunk, at) {
            if !goes_on(self) {
                return self.state.cleaner.go_on_with(chunk, at);
            }
            at = next;
            self.evict_at(location);
        }
        self.ring_mut().retire(chunk);
    }

    /// Takes `bytes` from the account. The ring gives chunks back until the account has them.
    /// Returns `false` if it cannot, or if it would have fewer than `least` chunks left.
    pub(super) fn take_from_ring(&mut self, bytes: usize, least: usize) -> bool {
        // Ends: each round gives a chunk back. There are as many as hold `bytes`.
        loop {
            if self.shard.account.take(bytes) {
                return true;
            }
            let chunk = self.ring().chunk_bytes();
            let missing = bytes.saturating_sub(self.shard.account.left()).div_ceil(chunk);
            let in_use = self.ring().chunks_in_use();
            if in_use < missing + least {
                return false;
            }
            if !self.give_chunk_back() {
                return false;
            }
        }
    }

    /// Gives one chunk in use back to the system. Returns `false` if none can be freed.
    pub(super) fn give_chunk_back(&mut self) -> bool {
        // Two are freed and one is kept. Otherwise cleaning would have no place for survivors.
        let given = self.free_chunks_in_use(2) && self.ring_mut().give_back();
        if given {
            self.shard.account.give(self.ring().chunk_bytes());
        }
        given
    }

    /// Takes a bounded step towards giving one chunk in use back to the system. Returns `false` if
    /// none can be freed.
    ///
    /// Chunks that stores need stay free, so that none of them has to clean a whole chunk at once.
    pub(super) fn give_chunk_back_in_steps(&mut self) -> bool {
        if self.ring().chunk_bytes() <= SMALL_CHUNK {
            return self.give_chunk_back();
        }
        let kept = self.state.cleaner.kept_ready();
        if self.ring_mut().has_free(kept + 1) {
            return self.give_chunk_back();
        }
        let retired = self.ring().counts().retired;
        let State { cleaner, entries, counts, .. } = &mut *self.state;
        match cleaner.clean(entries, counts, STEP_TOWARDS_A_CHUNK) {
            // If it stays retired, a reader or a value holds it, and may hold the next one, too.
            Cleaned::Chunk => {
                self.ring_mut().reclaim();
                self.ring().counts().retired <= retired
            }
            Cleaned::Some => true,
            Cleaned::NotFound if !self.state.cleaner.is_fruitless() => true,
            Cleaned::Nothing if self.ring_mut().retire_open() => true,
            Cleaned::Nothing | Cleaned::Stuck | Cleaned::NotFound => self.evict_towards_a_chunk(),
        }
    }

    /// Evicts a bounded number of entries, so that a chunk becomes worth cleaning. Returns `false`
    /// if there are none. Stops at the entry that is being stored, if the policy refuses it.
    fn evict_towards_a_chunk(&mut self) -> bool {
        let last = (0..MAX_SURPLUS).map(|_| self.evict()).find(|&evicted| evicted != Evicted::Entry);
        last != Some(Evicted::Nothing)
    }

    /// Accounts for the memory that the policy has allocated. If there is too little for all of it,
    /// the account stays as it is.
    pub(super) fn account_for_policy(&mut self) {
        let bytes = self.state.evictor.policy().bytes();
        let known = self.state.evictor.bytes();
        if bytes < known {
            if !self.state.resizing.is_at_rest() {
                return; // The account holds what the policy is going to need.
            }
            self.shard.account.give(known - bytes);
        } else if bytes > known && !self.take_from_ring(bytes - known, MIN_CHUNKS) {
            return;
        }
        self.state.evictor.set_bytes(bytes);
    }

    /// Relocates the entry under `key`: for models.
    #[cfg(all(test, bytecache_loom))]
    pub(crate) fn relocate_key(&mut self, hash: KeyHash, key: &[u8]) {
        if let Some((_, live)) = self.state.entries.find(hash, key) {
            let location = live.location();
            assert!(self.relocate(location, None), "no room to relocate to");
        }
    }
}

/// Yields to readers that are about to finish, until `is_enough` or no chunk waits for them.
/// Returns what `is_enough` said last.
#[cold]
pub(super) fn yield_to_readers(ring: &mut Ring, mut is_enough: impl FnMut(&mut Ring) -> bool) -> bool {
    // A thread that is a reader itself might wait for itself.
    let yields = if reclaim::thread_is_reading() { 0 } else { YIELDS };
    for _ in 0..yields {
        if ring.waiting() == 0 {
            break;
        }
        sync::yield_now();
        if is_enough(ring) {
            return true;
        }
    }
    is_enough(ring)
}
