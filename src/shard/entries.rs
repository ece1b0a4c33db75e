//! The entries of a shard: the lanes of its index, and the bytes in its ring that they lead to.
//!
//! ```text
//!   hash -> lane (its number is the entry's id) -> location in the ring -> header, key, value
//! ```
//!
//! Only this file changes locations in lanes. The [`Cleaner`](super::cleaner::Cleaner) and the
//! writer open, clean and retire the ring's chunks, through [`Entries::ring_mut`].
//!
//! # Invariants
//!
//! 1. A lane of the index points to a live entry of the ring, and each live entry has one lane. An
//!    entry that is being stored has none until it is [published](Entries::publish); else it is
//!    [discarded](Entries::discard).
//!
//! # Synchronization
//!
//! All of it is for the holder of the shard's lock. Readers look at the same table and ring without
//! it (`lookup.rs`): a change of a lane publishes the entry to them, and always comes before the
//! dead mark on what it replaces.

#![allow(unsafe_code, reason = "the token of the lock is made for the state that the lock guards")]

use core::mem::offset_of;
use core::num::NonZeroU32;
use core::ops::Range;
use std::sync::Arc;

use crate::hash::{KeyHash, KeyHasher};
use crate::index::{Candidate, FreeLane, Index, Moving, Stretch, Swept, Table};
use crate::reclaim::{Live, WriteToken};
use crate::ring::{ChunkId, Ring, Stream};
use crate::units::{EntryId, Location, Stamp, StampSet, Stamps};

/// The result of a search for a key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found {
    /// The entry, and which stamps it has.
    Entry(EntryId, StampSet),
    /// There is none. A new one gets this lane, unless it would be a stray.
    Absent(Option<FreeLane>),
}

/// The known facts of an entry that is about to leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) hash: Option<KeyHash>,
    /// Its charge in the ring.
    pub(super) charge: Option<NonZeroU32>,
}

/// Index and ring of a shard. What each store writes to comes first.
#[repr(C)]
pub(super) struct Entries {
    index: Index,
    ring: Ring,
    hasher: KeyHasher,
    shard_bits: u32,
    token: WriteToken,
}

impl Entries {
    /// The bytes at the start that each store writes to.
    pub(super) const WRITTEN_BYTES: usize = offset_of!(Self, ring) + Ring::WRITTEN_BYTES;

    pub(super) fn new(table: Arc<Table>, ring: Ring, hasher: KeyHasher, shard_bits: u32) -> Self {
        // SAFETY: a shard has one `Entries`, in the state that its lock guards. The field is
        // private. Its borrows, and each `Live` made with them, borrow this `Entries`, so they end
        // before the lock is free.
        let token = unsafe { WriteToken::new() };
        Self { index: Index::new(table), ring, hasher, shard_bits, token }
    }

    #[inline]
    pub(super) fn table(&self) -> &Arc<Table> {
        self.index.table()
    }

    #[inline]
    pub(super) fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Returns the ring, for changes to its chunks.
    #[inline]
    pub(super) fn ring_mut(&mut self) -> &mut Ring {
        &mut self.ring
    }

    pub(super) fn hasher(&self) -> &KeyHasher {
        &self.hasher
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// Returns `true` if the index has room for one more entry.
    #[inline]
    pub(super) fn have_room(&self) -> bool {
        self.index.has_room()
    }

    /// Hashes the key of an entry.
    #[inline]
    pub(super) fn hash_of(&self, live: Live<'_>) -> KeyHash {
        self.hasher.hash(self.ring.entry(live).key).within_shard(self.shard_bits)
    }

    /// Returns the charge of an entry, and hashes its key.
    #[inline]
    pub(super) fn charge_and_hash_of(&self, live: Live<'_>) -> (usize, KeyHash) {
        let (entry, charge) = self.ring.arena().entry_with_charge(live);
        (charge, self.hasher.hash(entry.key).within_shard(self.shard_bits))
    }

    /// Returns the entry with an id, or `None` if there is none. Any id is allowed.
    #[inline]
    pub(super) fn live(&self, id: EntryId) -> Option<Live<'_>> {
        self.index.table().live(id, &self.token)
    }

    /// Returns the entry under `key`, whatever its deadline.
    pub(super) fn find(&self, hash: KeyHash, key: &[u8]) -> Option<(EntryId, Live<'_>)> {
        let Found::Entry(id, _) = self.find_or_lane(hash, key) else { return None };
        Some((id, self.live(id)?))
    }

    /// Returns the entry under `key`, whatever its deadline.
    ///
    /// The first candidate mostly is the entry. So this has no loop. It is not inlined, because a
    /// store would keep less in registers.
    #[inline(never)]
    pub(super) fn find_or_lane(&self, hash: KeyHash, key: &[u8]) -> Found {
        match self.index.table().own_candidate_or_lane(hash) {
            Err(lane) => Found::Absent(lane),
            Ok(candidate) => self.look_at(candidate, key).unwrap_or_else(|| self.find_among_all(hash, key)),
        }
    }

    /// Is [`find_or_lane`](Self::find_or_lane) where the first candidate has another key.
    #[cold]
    #[inline(never)]
    fn find_among_all(&self, hash: KeyHash, key: &[u8]) -> Found {
        let mut candidates = self.index.table().own_candidates(hash);
        let found = candidates.find_map(|candidate| self.look_at(candidate, key));
        found.unwrap_or_else(|| Found::Absent(self.index.table().usual_lane_for(hash)))
    }

    /// Returns the entry in a lane, or `None` if it has another key.
    #[inline(always)]
    fn look_at(&self, candidate: Candidate<'_>, key: &[u8]) -> Option<Found> {
        let live = candidate.live(&self.token)?;
        let (entry, stamps) = self.ring.arena().entry_with_stamps(live);
        entry.has_key(key).then(|| Found::Entry(candidate.lane().id(), stamps.set))
    }

    /// Returns the entries of a bucket.
    pub(super) fn in_bucket(&self, bucket: usize) -> impl Iterator<Item = (EntryId, Live<'_>)> {
        self.index.table().entries(bucket, &self.token)
    }

    /// Returns the id of the entry at a location that [`Ring::next_entry`] gave, unless it has been
    /// marked dead since.
    pub(super) fn id_at(&self, location: Location) -> Option<EntryId> {
        let hash = self.hash_of(self.ring.live_at(location, &self.token)?);
        let found = self.index.table().find_location(hash, location);
        // With a custom hasher whose hashes change, the entry must still be found, or it could
        // never be evicted. The search examines every lane of the index.
        found.or_else(|| self.index.search(location, &self.token))
    }

    pub(super) fn stamps(&self, live: Live<'_>) -> Stamps {
        self.ring.arena().stamps(live)
    }

    /// Changes a stamp of an entry, if it has that one.
    pub(super) fn set_stamp(&self, id: EntryId, stamp: Stamp, word: u32) {
        if let Some(live) = self.live(id) {
            self.ring.arena().set_stamp(live, stamp, word);
        }
    }

    /// Prefetches the headers of a bucket's entries.
    pub(super) fn prefetch_headers(&self, bucket: usize) {
        for (_, live) in self.in_bucket(bucket) {
            self.ring.shared().prefetch_header(live.location());
        }
    }

    /// Returns the lane that a new entry would get, as [`Index::free_lane`].
    pub(super) fn free_lane(&self, hash: KeyHash) -> Option<FreeLane> {
        self.index.free_lane(hash)
    }

    /// Publishes a new entry, which was written to `location`.
    #[inline(always)]
    pub(super) fn publish(&mut self, lane: FreeLane, hash: KeyHash, location: Location) {
        self.index.publish(lane, hash, location);
    }

    /// Marks an entry as dead that was written and will not be published.
    #[inline]
    pub(super) fn discard(&mut self, location: Location) {
        self.ring.kill(location);
    }

    /// Publishes what was written to `to` in the place of the entry at `from`, which has this
    /// charge.
    #[inline]
    pub(super) fn replace(&mut self, id: EntryId, from: Location, charge: usize, to: Location) {
        self.index.replace(id, to);
        self.ring.kill_of_charge(from, charge);
    }

    /// Like [`replace`](Self::replace), but for the same value with other stamps. Changes that
    /// readers make to its idle deadline meanwhile are not lost.
    pub(super) fn replace_rewritten(&mut self, id: EntryId, from: Location, to: Location) {
        self.ring.begin_relocation(from, to);
        self.index.replace(id, to);
        self.ring.end_relocation(from, to);
        self.ring.kill(from);
    }

    /// Moves an entry to the open chunk of `stream`. Returns its charge, or `None` if that has no
    /// room.
    pub(super) fn relocate(&mut self, id: EntryId, from: Location, stream: Stream) -> Option<usize> {
        let (to, charge) = self.ring.relocate(from, stream, &self.token)?;
        self.end_relocation(id, from, to);
        Some(charge)
    }

    /// Moves an entry to a run of free chunks for itself. Returns its charge.
    pub(super) fn relocate_alone(&mut self, id: EntryId, from: Location, first: ChunkId) -> Option<usize> {
        let (to, charge) = self.ring.relocate_alone(from, first, &self.token)?;
        self.end_relocation(id, from, to);
        Some(charge)
    }

    fn end_relocation(&mut self, id: EntryId, from: Location, to: Location) {
        self.index.replace(id, to);
        self.ring.end_relocation(from, to);
    }

    /// Takes an entry out of the index and the ring. What is not known of it is looked up if it is
    /// needed.
    #[inline(always)]
    pub(super) fn unlink(&mut self, id: EntryId, known: Known) {
        let Some(live) = self.live(id) else { return };
        let location = live.location();
        let hash = match (self.index.may_be_stray(id), known.hash) {
            (false, _) => None,
            (true, Some(hash)) => Some(hash),
            (true, None) => Some(self.hash_of(live)),
        };
        self.index.erase(id, hash);
        match known.charge {
            Some(charge) => self.ring.kill_of_charge(location, charge.get() as usize),
            None => self.ring.kill(location),
        }
    }

    /// Like [`prefetch_headers`](Self::prefetch_headers), and prefetches the bucket after it. Any
    /// number is allowed.
    pub(super) fn prefetch_headers_ahead(&self, bucket: usize) {
        if bucket < self.table().buckets() {
            self.prefetch_headers(bucket);
            self.table().prefetch_lane(EntryId::from_lane(bucket + 1, 0));
        }
    }

    /// Takes all entries out. Runs no user code.
    pub(super) fn clear(&mut self) {
        self.index.clear();
        self.ring.clear();
    }

    /// Gives the memory of some buckets of an index without entries back to the system, from
    /// `bucket` on, about `bytes` of it. Returns the number of buckets.
    pub(super) fn empty_index_from(&mut self, bucket: usize, bytes: usize) -> usize {
        self.index.empty_from(bucket, bytes)
    }

    /// Takes back what an index without entries and its ring have begun: a sweep, open chunks.
    pub(super) fn restart(&mut self) {
        self.index.abandon_sweep();
        self.ring.clear();
    }

    /// Returns how many more entries the index has room for.
    #[inline]
    pub(super) fn room(&self) -> usize {
        self.index.room()
    }

    /// Begins to give the index another size: see [`Index::begin_sweep`].
    pub(super) fn begin_sweep(&mut self, buckets: usize) {
        self.index.begin_sweep(buckets);
    }

    /// Returns the next home buckets of a sweep: see [`Index::next_stretch`].
    pub(super) fn next_stretch(&self, homes: usize) -> Option<Stretch> {
        self.index.next_stretch(homes)
    }

    /// Returns `true` if a sweep has passed the homes of a stretch.
    pub(super) fn has_swept(&self, stretch: &Stretch) -> bool {
        self.index.has_swept(stretch)
    }

    /// Moves the entries of the next home bucket of a sweep, and tells `moved` of each old id, the
    /// new one, and the entry's stamps: see [`Index::sweep_home`].
    pub(super) fn sweep_home(
        &mut self,
        moving: &mut Vec<Moving>,
        mut moved: impl FnMut(EntryId, EntryId, Stamps),
    ) -> Swept {
        let Self { index, ring, hasher, shard_bits, token } = self;
        let hash = |live: Live<'_>| hasher.hash(ring.entry(live).key).within_shard(*shard_bits);
        let prefetch = |live: Live<'_>| ring.shared().prefetch_header(live.location());
        index.sweep_home(moving, token, prefetch, hash, |from, to, live| moved(from, to, ring.arena().stamps(live)))
    }

    /// Gives buckets without entries back to the system: see [`Index::release_swept`].
    pub(super) fn release_swept(&mut self, buckets: Range<usize>) {
        self.index.release_swept(buckets);
    }

    /// Ends a sweep: see [`Index::end_sweep`].
    pub(super) fn end_sweep(&mut self) {
        self.index.end_sweep();
    }

    /// Recounts everything and panics where it differs.
    pub(super) fn validate(&self) {
        let locations = self.index.validate(&self.token, |live| self.hash_of(live));
        self.ring.validate(&locations);
    }
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::LocationBits;
    use crate::ring::{Alignment, Draft, RingSize};

    /// Publishes keys in a table until both places of their common hash are full, and some stray.
    #[test]
    fn keys_of_one_hash_are_told_apart_and_an_absent_one_gets_a_lane_where_there_is_one() {
        let mut ring = Ring::new(RingSize::fixed(8), 12, Alignment::new(1).expect("an alignment")).expect("memory");
        assert!(ring.put_to_use() && ring.open_next(Stream::Fresh, None));
        let table = Table::new(16, 16, LocationBits::for_arena(ring.usual_bytes())).expect("memory");
        let mut entries = Entries::new(Arc::new(table), ring, KeyHasher::random(), 0);
        let hash = KeyHash::new(0);
        let mut ids = Vec::new();
        for key in 0..30_u8 {
            let Found::Absent(told) = entries.find_or_lane(hash, &[key]) else { panic!("{key} is not there") };
            assert_eq!(told.is_some(), key < 24, "{key}");
            let lane = entries.free_lane(hash).expect("a free lane");
            assert!(told.is_none_or(|told| told.id() == lane.id()), "{key}");
            let draft = Draft { key: &[key], value: b"value", stamps: &Stamps::NONE };
            let layout = entries.ring().layout(&draft);
            let location = entries.ring_mut().append(Stream::Fresh, &layout, &draft).expect("room in the chunk");
            entries.publish(lane, hash, location);
            ids.push(lane.id());
        }
        for (key, id) in (0..30_u8).zip(ids) {
            let found = entries.find(hash, &[key]).map(|(id, _)| id);
            assert_eq!(found, Some(id), "{key}");
        }
    }
}
