//! The cleaner: how full the ring may be, and which chunk is emptied next.
//!
//! ```text
//!   sealed chunk with the fewest live bytes -> its entries are relocated -> retired -> free
//! ```
//!
//! A little is cleaned with each store, so that chunks are ready when they are needed. The cleaner
//! moves entries and evicts none. Where cleaning is not enough, the writer evicts in between
//! (`space.rs`).
//!
//! # Invariants
//!
//! 1. `cleaning` names a chunk of the ring whose cleaning has begun, or none.

use super::account::Account;
use super::candidates::{Candidates, Next, Reach, WORTH_CLEANING};
use super::entries::Entries;
use super::governor::{self, Governor};
use super::large_share::LargeShare;
use crate::ring::{ChunkId, Home, Ring, Stream, Window};
use crate::stats::WriteCounts;
use crate::units::{EntryId, Location, to_u32};

/// Cleaning keeps one chunk in this many ready for writing. So writers can go on while preempted
/// readers hold other chunks.
const READY_SHARE: usize = 64;
/// The fewest chunks that are kept ready: one for fresh entries and one for survivors.
pub(super) const MIN_READY: usize = 2;
/// The bytes that open chunks and the chunk that is being cleaned leave unused, in chunks. A ring
/// of less than [`FEW_CHUNKS`] reserves half of that, as a chunk is a large part of it.
const HALF_USED: usize = 2;
const FEW_CHUNKS: usize = 64;
/// Chunks of at most this many bytes are emptied at once, and not in steps. They have few entries,
/// and a small ring has few of them to spare.
pub(super) const SMALL_CHUNK: usize = 8 << 10;
/// Bytes that are cleaned for each byte stored. This is more than the write amplification that the
/// governor aims at, so that cleaning keeps up.
const CLEAN_AHEAD: usize = 4;
/// The factor by which more is cleaned when no chunk is free.
const HURRY: usize = 8;
/// The bytes that evicting one byte ahead brings the next look for a chunk closer.
const LOOK_AGAIN: u64 = 4;
/// The cost of passing a dead entry, in bytes of copying.
const PASS_COST: usize = 8;
/// The cost of looking at an entry that is cleaned, in bytes of copying.
const LOOK_COST: usize = 64;
/// Chunks that are opened between two releases of memory that absent chunks still have.
const RELEASE_EVERY: u64 = 64;
/// Calls to the system that a release makes for each chunk that is opened.
const RELEASES: usize = 4;

/// Returns how many chunks a ring of `chunks` keeps ready for small entries.
pub(super) fn ready_chunks(chunks: usize) -> usize {
    (chunks / READY_SHARE).max(MIN_READY)
}

/// Returns how many chunks' worth of bytes the open chunks of a ring of `usable` chunks leave
/// unused.
pub(super) fn half_used_chunks(usable: usize) -> usize {
    if usable < FEW_CHUNKS { HALF_USED / 2 } else { HALF_USED }
}

/// Returns how many of a ring's bytes may be live: the target's share, and no more than what is not
/// `unused`.
pub(super) fn live_limit(bytes: usize, target: u32, unused: usize) -> usize {
    #[allow(clippy::cast_possible_truncation, reason = "a part of the ring's bytes")]
    let share = (bytes as u64 * u64::from(target) / u64::from(governor::FULL)) as usize;
    share.min(bytes.saturating_sub(unused))
}

/// The result of cleaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cleaned {
    /// A chunk has been emptied and retired.
    Chunk,
    /// The bound on the work was reached.
    Some,
    /// The search for a chunk that is worth it has to go on.
    NotFound,
    /// There is no room for survivors.
    Stuck,
    /// No chunk is worth it.
    Nothing,
}

/// The state of cleaning in a shard.
pub(super) struct Cleaner {
    governor: Governor,
    large_share: LargeShare,
    /// The chunk that is being cleaned, and how far that is, in bytes.
    cleaning: Option<(ChunkId, usize)>,
    candidates: Candidates,
    /// The inserted bytes from which on cleaning ahead is worth another look.
    clean_from: u64,
    /// The number of chunks that are to be ready for writing.
    ready: usize,
    /// See [`kept_ready`](Self::kept_ready).
    kept_ready: usize,
    /// Chunks opened for fresh entries so far.
    opened: u64,
    /// The number of chunks that were absent at the last check.
    absent_seen: u32,
    /// The chunk from which on a release of absent chunks' memory goes on, if one is under way.
    releasing: Option<usize>,
    /// The number of chunks that readers held at the last check by `clean_ahead`.
    waiting_seen: u32,
    /// When no chunk was worth cleaning last, values held at least as many that would have been as
    /// were missing.
    is_held_up: bool,
    /// The chunk from which on the next look for such chunks begins.
    held_from: usize,
}

impl Cleaner {
    pub(super) fn new() -> Self {
        Self {
            governor: Governor::new(),
            large_share: LargeShare::default(),
            cleaning: None,
            candidates: Candidates::new(),
            clean_from: 0,
            ready: 0,
            kept_ready: MIN_READY,
            opened: 0,
            absent_seen: 0,
            releasing: None,
            waiting_seen: 0,
            is_held_up: false,
            held_from: 0,
        }
    }

    /// Returns the number of chunks that cleaning keeps ready for writing. One fewer than the
    /// capacity leaves room for, so that chunks which are about to empty by themselves are not
    /// cleaned.
    pub(super) fn kept_ready(&self) -> usize {
        self.kept_ready
    }

    /// Returns the live target, from 0 to 1.
    pub(super) fn target(&self) -> f64 {
        f64::from(self.governor.target()) / f64::from(governor::FULL)
    }

    /// Returns the live target, in parts of [`governor::FULL`].
    pub(super) fn exact_target(&self) -> u32 {
        self.governor.target()
    }

    /// Sets the live target to one that a shard with such traffic had reached.
    pub(super) fn set_target(&mut self, target: u32) {
        self.governor.set_target(target);
    }

    /// Moves the live target by what has been copied lately. Returns `true` if it has changed.
    #[inline]
    pub(super) fn steer(&mut self, ring: &Ring, counts: &WriteCounts) -> bool {
        self.governor.steer(counts.inserted_bytes, counts.relocated_bytes, ring.usual_bytes())
    }

    /// Notes that entries had to be evicted because no chunk was worth cleaning.
    pub(super) fn note_crowded(&mut self) {
        self.governor.note_crowded();
    }

    /// Derives how many bytes may be live, and how many chunks are to be ready.
    pub(super) fn derive_capacity(&mut self, ring: &Ring, account: &Account) -> usize {
        // Chunks that may be in use beside what else is allocated.
        let usable = ring.chunks_in_use() + ring.affordable(account.left());
        self.ready = ready_chunks(ring.usual_chunks()) + ring.large_span();
        self.kept_ready = (self.ready - 1).max(MIN_READY);
        self.capacity_of(usable, ring)
    }

    /// Returns how many bytes may be live in `usable` chunks.
    pub(super) fn capacity_of(&self, usable: usize, ring: &Ring) -> usize {
        let unused = self.reserve(usable, ring) * ring.chunk_bytes() + ring.unused_ends();
        live_limit(usable * ring.chunk_bytes(), self.governor.target(), unused)
    }

    /// Returns how many of `usable` chunks are left to free and open ones.
    pub(super) fn reserve(&self, usable: usize, ring: &Ring) -> usize {
        match ring.has_small() {
            true => self.ready + half_used_chunks(usable),
            // One shared run is not full, and entries that have a run for themselves need nothing.
            false => ring.large_span(),
        }
    }

    /// Notes that a large entry is to be stored. Returns where it goes.
    pub(super) fn home_of_large(&mut self, charge: usize, ring: &Ring, counts: &WriteCounts) -> Home {
        self.large_share.note(charge, ring, counts);
        self.large_share.home(charge, ring, counts)
    }

    /// Does what is due once for each chunk that is opened.
    pub(super) fn after_opening(&mut self, ring: &mut Ring, counts: &WriteCounts) {
        self.opened += 1;
        if self.opened % RELEASE_EVERY == 0 {
            if !self.large_share.is_most(counts) {
                ring.seal_large_runs();
            }
            let absent = to_u32(ring.absent());
            // While the ring still grows, they are about to be used.
            if absent > 0 && absent == self.absent_seen {
                self.releasing = self.releasing.or(Some(0));
            }
            self.absent_seen = absent;
        }
        if self.releasing.is_some() {
            self.release_some(ring);
        }
    }

    #[cold]
    fn release_some(&mut self, ring: &Ring) {
        for _ in 0..RELEASES {
            self.releasing = self.releasing.and_then(|from| ring.release_absent_from(from));
        }
    }

    /// Cleans a little, so that chunks are ready when they are needed: in proportion to a store of
    /// `charge` bytes. Returns the bytes to evict ahead instead, if no chunk is worth cleaning.
    #[inline]
    pub(super) fn clean_ahead(
        &mut self,
        entries: &mut Entries,
        counts: &mut WriteCounts,
        account: &Account,
        charge: usize,
    ) -> usize {
        let ring = entries.ring();
        let are_ready = ring.counts().free >= self.kept_ready() || free_chunks(ring, account) >= self.kept_ready();
        if are_ready { 0 } else { self.clean_more(entries, counts, account, charge) }
    }

    /// Is [`clean_ahead`](Self::clean_ahead) where few chunks can be written to.
    #[inline(never)]
    fn clean_more(
        &mut self,
        entries: &mut Entries,
        counts: &mut WriteCounts,
        account: &Account,
        charge: usize,
    ) -> usize {
        let ready = self.kept_ready();
        // The slots are scanned only for chunks that were retired since the last scan: the readers
        // of the others may take long.
        if to_u32(entries.ring().waiting()) > self.waiting_seen {
            entries.ring_mut().reclaim();
        } else if entries.ring().counts().retired > 0 {
            entries.ring_mut().collect_freed();
        }
        self.waiting_seen = to_u32(entries.ring().waiting());
        let free = free_chunks(entries.ring(), account);
        if free >= ready {
            return 0;
        }
        // The more chunks are missing, the more is cleaned, so that no store has to clean a whole
        // chunk at once.
        let missing = ready - free;
        let hurry = hurry(missing, ready);
        if counts.inserted_bytes >= self.clean_from {
            let cleaned = self.clean(entries, counts, charge * CLEAN_AHEAD * hurry + LOOK_COST);
            match cleaned {
                Cleaned::Nothing | Cleaned::Stuck => {
                    // Until more is stored or evicted, a search would find the same chunks.
                    self.clean_from = counts.inserted_bytes + entries.ring().chunk_bytes() as u64 / 8;
                    self.is_held_up = entries.ring().are_held_by_values(&mut self.held_from, missing, WORTH_CLEANING);
                }
                Cleaned::NotFound if self.is_fruitless() => {}
                Cleaned::NotFound | Cleaned::Some | Cleaned::Chunk => return 0,
            }
        }
        // Where values hold the chunks that are worth cleaning, an eviction would free nothing.
        if self.is_held_up { 0 } else { charge * hurry }
    }

    /// Notes that entries of about `bytes` bytes were evicted ahead, so that a chunk may have
    /// become worth cleaning.
    pub(super) fn note_evicted_ahead(&mut self, bytes: usize) {
        self.clean_from = self.clean_from.saturating_sub(LOOK_AGAIN * bytes as u64);
    }

    /// Returns `true` if the search for the emptiest chunks has passed all of them and found
    /// nothing, and has found nothing since.
    pub(super) fn is_fruitless(&self) -> bool {
        self.candidates.is_fruitless()
    }

    /// Cleans the emptiest chunk, up to `budget` bytes of work. Looks at all chunks for it only if
    /// the budget is unlimited: then the store cannot go on without a chunk.
    pub(super) fn clean(&mut self, entries: &mut Entries, counts: &mut WriteCounts, budget: usize) -> Cleaned {
        self.clean_out_of(None, entries, counts, budget)
    }

    /// Like [`clean`](Self::clean), but opens no chunk in the window for survivors.
    pub(super) fn clean_out_of(
        &mut self,
        window: Option<Window>,
        entries: &mut Entries,
        counts: &mut WriteCounts,
        mut budget: usize,
    ) -> Cleaned {
        let reach = if budget == usize::MAX { Reach::Ring } else { Reach::Step };
        if self.cleaning.is_none() {
            match self.candidates.next(entries.ring(), counts.inserted_bytes, reach) {
                Next::Chunk(chunk) => self.begin_with(entries.ring_mut(), chunk),
                Next::NotYet => return Cleaned::NotFound,
                Next::Nothing => {}
            }
        }
        let Some((chunk, mut at)) = self.cleaning else { return Cleaned::Nothing };
        // Ends: each round passes an entry of the chunk.
        while let Some((found, next)) = entries.ring().look_at(chunk, at) {
            let cost = match found {
                None => PASS_COST,
                Some(location) => match self.relocate(entries, counts, location, next - at, window) {
                    None => {
                        self.cleaning = Some((chunk, at));
                        return Cleaned::Stuck;
                    }
                    Some(charge) => charge + LOOK_COST,
                },
            };
            budget = budget.saturating_sub(cost);
            at = next;
            if budget == 0 {
                self.cleaning = Some((chunk, at));
                return Cleaned::Some;
            }
        }
        self.cleaning = None;
        entries.ring_mut().retire(chunk);
        Cleaned::Chunk
    }

    /// Returns `true` if a chunk is being cleaned.
    pub(super) fn is_cleaning(&self) -> bool {
        self.cleaning.is_some()
    }

    /// Begins to clean a sealed chunk, or run.
    pub(super) fn begin_with(&mut self, ring: &mut Ring, chunk: ChunkId) {
        ring.begin_cleaning(chunk);
        self.cleaning = Some((chunk, 0));
    }

    /// Leaves the chunk that is being cleaned to the caller, and returns it and how far cleaning
    /// has come.
    pub(super) fn give_up(&mut self) -> Option<(ChunkId, usize)> {
        self.cleaning.take()
    }

    /// Cleans a chunk that was [left](Self::give_up) to the caller from here on.
    pub(super) fn go_on_with(&mut self, chunk: ChunkId, at: usize) {
        self.cleaning = Some((chunk, at));
    }

    /// Seals the chunk that is being cleaned again, so that another one can be cleaned.
    pub(super) fn set_aside(&mut self, ring: &mut Ring) {
        if let Some((chunk, _)) = self.cleaning.take() {
            ring.end_cleaning(chunk);
        }
    }

    /// Leaves this chunk to the caller, if it is the one that is being cleaned.
    pub(super) fn give_up_chunk(&mut self, chunk: ChunkId) {
        self.cleaning = self.cleaning.filter(|&(cleaned, _)| cleaned != chunk);
    }

    /// Moves an entry of this charge that is not dead to the survivors, out of the window. Returns
    /// the charge, or `None` if there is no chunk for it.
    pub(super) fn relocate(
        &self,
        entries: &mut Entries,
        counts: &mut WriteCounts,
        location: Location,
        charge: usize,
        window: Option<Window>,
    ) -> Option<usize> {
        let id = entries.id_at(location)?;
        let moved = match self.large_share.home(charge, entries.ring(), counts) {
            Home::Chunk => relocate_to_chunk(entries, id, location, window),
            Home::Shared(span) => relocate_to_run(entries, id, location, span, window),
            Home::Alone(span) => relocate_alone(entries, id, location, span, window),
        };
        if let Some(charge) = moved {
            counts.relocated_bytes += charge as u64;
        }
        moved
    }
}

/// Returns the factor by which more is cleaned, or evicted, while `missing` of `ready` chunks are
/// missing.
fn hurry(missing: usize, ready: usize) -> usize {
    1 + (HURRY - 1) * missing / ready
}

/// Returns `true` if a ring has fewer chunks than those of its size by far: its limit is lower than
/// it was, or it has begun to fill. Another chunk that is not full would cost it more entries than
/// one with entries that die at different times.
pub(super) fn has_few_chunks(ring: &Ring) -> bool {
    ring.chunks_in_use() < FEW_CHUNKS && ring.chunk_bytes() > SMALL_CHUNK
}

/// Returns how many chunks can be written to at once.
#[inline]
fn free_chunks(ring: &Ring, account: &Account) -> usize {
    ring.counts().free + ring.affordable(account.left())
}

fn relocate_to_chunk(entries: &mut Entries, id: EntryId, from: Location, window: Option<Window>) -> Option<usize> {
    let stream = entries.ring().stream_after(from);
    let beside_others =
        |entries: &mut Entries| Stream::OF_CHUNKS.into_iter().find_map(|stream| entries.relocate(id, from, stream));
    let moved = entries.relocate(id, from, stream);
    moved.or_else(|| if has_few_chunks(entries.ring()) { beside_others(entries) } else { None }).or_else(|| {
        entries.ring_mut().has_free(1);
        // Entries of another age are better neighbours than no chunk at all.
        match entries.ring_mut().open_next(stream, window) {
            true => entries.relocate(id, from, stream),
            false => beside_others(entries),
        }
    })
}

fn relocate_to_run(
    entries: &mut Entries,
    id: EntryId,
    from: Location,
    span: usize,
    window: Option<Window>,
) -> Option<usize> {
    entries.relocate(id, from, Stream::LargeSurvivors).or_else(|| {
        entries.ring_mut().has_free(span);
        let ring = entries.ring();
        let whole = ring.free_run(span, window).map(|first| (first, span));
        let run = whole.or_else(|| ring.longest_free(window));
        match run {
            Some((first, span)) if span >= ring.span_alone(ring.charge_of(from)) => {
                entries.ring_mut().open_run(Stream::LargeSurvivors, first, span);
                entries.relocate(id, from, Stream::LargeSurvivors)
            }
            _ => entries.relocate(id, from, Stream::Large),
        }
    })
}

fn relocate_alone(
    entries: &mut Entries,
    id: EntryId,
    from: Location,
    span: usize,
    window: Option<Window>,
) -> Option<usize> {
    entries.ring_mut().has_free(span);
    let first = entries.ring().free_run(span, window)?;
    entries.relocate_alone(id, from, first)
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::hash::{KeyHasher, StableHash};
    use crate::index::{LocationBits, Table};
    use crate::ring::{Alignment, Draft, FOUND_AT_ONCE, RingSize};
    use crate::shard::candidates::MANY_CHUNKS;
    use crate::shard::entries::Known;
    use crate::units::Stamps;

    /// The entries of a chunk of 4 KiB, at 256 bytes each.
    const IN_CHUNK: usize = 16;
    /// The live entries of the sealed chunks. There are more chunks than one search returns.
    const LIVE: [usize; 6] = [4, 6, 8, 10, 12, 13];

    /// Sealed chunks in a ring of `chunks` chunks, and the ids of their live entries.
    struct Filled {
        entries: Entries,
        ids: Vec<Vec<EntryId>>,
        starts: Vec<Location>,
        cleaner: Cleaner,
        counts: WriteCounts,
    }

    impl Filled {
        fn new(chunks: usize) -> Self {
            let mut ring =
                Ring::new(RingSize::fixed(chunks), 12, Alignment::new(1).expect("an alignment")).expect("memory");
            while ring.put_to_use() {}
            let bits = LocationBits::for_arena(chunks << 12);
            let table = Arc::new(Table::new(64, 64, bits).expect("memory"));
            let entries = Entries::new(table, ring, KeyHasher::custom(StableHash::with_seed(1)), 0);
            let (cleaner, counts) = (Cleaner::new(), WriteCounts::default());
            let mut filled = Self { entries, ids: Vec::new(), starts: Vec::new(), cleaner, counts };
            for live in LIVE {
                filled.fill_chunk(live);
            }
            assert!(filled.entries.ring_mut().open_next(Stream::Fresh, None));
            filled
        }

        /// Fills a chunk, and kills all of its entries but `live`.
        fn fill_chunk(&mut self, live: usize) {
            assert!(self.entries.ring_mut().open_next(Stream::Fresh, None));
            let mut ids = Vec::new();
            loop {
                let key = [to_u32(self.ids.len()), to_u32(ids.len())].map(u32::to_le_bytes).concat();
                let draft = Draft { key: &key, value: &[0; 244], stamps: &Stamps::NONE };
                let layout = self.entries.ring().layout(&draft);
                let Some(location) = self.entries.ring_mut().append(Stream::Fresh, &layout, &draft) else { break };
                if ids.is_empty() {
                    self.starts.push(location);
                }
                let hash = self.entries.hasher().hash(&key).within_shard(0);
                let lane = self.entries.free_lane(hash).expect("a free lane");
                self.entries.publish(lane, hash, location);
                ids.push(lane.id());
            }
            assert_eq!(ids.len(), IN_CHUNK);
            self.ids.push(ids);
            self.kill_all_but(self.ids.len() - 1, live);
        }

        fn kill_all_but(&mut self, chunk: usize, live: usize) {
            for id in self.ids[chunk].drain(live..) {
                self.entries.unlink(id, Known::default());
            }
        }

        /// Returns the chunk that the cleaner would clean next, by the order in which they were
        /// filled.
        fn next(&mut self) -> Option<usize> {
            let (ring, inserted) = (self.entries.ring(), self.counts.inserted_bytes);
            let Next::Chunk(chunk) = self.cleaner.candidates.next(ring, inserted, Reach::Step) else { return None };
            self.starts.iter().position(|&start| self.entries.ring().start_of(chunk) == Some(start))
        }
    }

    #[test]
    fn a_ring_of_many_chunks_is_searched_once_for_several_cleanings() {
        let mut filled = Filled::new(MANY_CHUNKS);
        assert_eq!(filled.next(), Some(0));
        // The emptiest from here on, which the cleaner learns of by its next search.
        filled.kill_all_but(5, 1);
        assert_eq!([(); 3].map(|()| filled.next()), [Some(1), Some(2), Some(3)]);
        assert_eq!(filled.next(), Some(5));
    }

    #[test]
    fn a_chunk_that_was_found_is_left_out_once_it_is_held_or_retired() {
        let mut filled = Filled::new(MANY_CHUNKS);
        assert_eq!(filled.next(), Some(0));
        filled.kill_all_but(1, 0);
        let live = filled.entries.live(filled.ids[2][0]).expect("an entry");
        let value = filled.entries.ring().shared().value(live);
        assert_eq!(filled.next(), Some(3));
        drop(value);
        // Nothing is left of the search, and nothing was cleaned.
        assert_eq!(filled.next(), Some(0));
        assert_eq!(filled.next(), Some(2));
    }

    #[test]
    fn a_search_is_out_of_date_after_as_many_inserted_bytes_as_it_has_found_chunks_for() {
        let mut filled = Filled::new(MANY_CHUNKS);
        assert_eq!(filled.next(), Some(0));
        filled.kill_all_but(5, 1);
        filled.counts.inserted_bytes += (FOUND_AT_ONCE << 12) as u64 - 1;
        assert_eq!(filled.next(), Some(1));
        filled.counts.inserted_bytes += 1;
        assert_eq!(filled.next(), Some(5));
    }

    #[test]
    fn a_ring_of_few_chunks_is_searched_for_each_cleaning() {
        let mut filled = Filled::new(MANY_CHUNKS - 1);
        assert_eq!(filled.next(), Some(0));
        filled.kill_all_but(5, 1);
        assert_eq!(filled.next(), Some(5));
    }

    #[test]
    fn the_hurry_depends_on_the_share_of_missing_chunks_and_not_on_their_number() {
        for ready in [2, 64, 320] {
            let factors = [1, ready / 2, ready].map(|missing| hurry(missing, ready));
            assert!(factors[0] <= factors[1] && factors[1] <= 1 + HURRY / 2 && factors[2] == HURRY, "{factors:?}");
        }
    }
}
