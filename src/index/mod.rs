//! The index: from a hash to an entry's location, in one cache line for most keys.
//!
//! An index is a table of 12-lane buckets (`bucket.rs`). A key lives in its home bucket or in one
//! alternative. If both are full, it is a *stray* in a later bucket (`places.rs`). Each bucket
//! counts the strays that went past it, so a search stops where this count is 0. At a load of 0.85,
//! an entry costs 6.3 bytes.
//!
//! A shard has one table for life. It has addresses for the largest size, and memory for the
//! present one. A sweep gives it another size in place, a few entries at a time (`sweep.rs`).
//!
//! The lane is the entry's id for policies. It changes only when a sweep moves the entry.
//!
//! # Invariants
//!
//! 1. An entry lies in its home bucket, in its alternative, or is a stray. The overflow count of
//!    every bucket from a stray's home to the one before its own includes the stray, or is at its
//!    maximum.
//! 2. `len` lanes are used, never more than `max_len`.
//!
//! # Synchronization
//!
//! Readers see lanes as `bucket.rs` says. A search finds a key that is present throughout, because
//! the tag of its lane does not change, or because it searches again after a sweep has moved the
//! key (`sweep.rs`).
//!
//! # Not here
//!
//! Keys: the caller compares those of the candidates.

#![allow(unsafe_code, reason = "a lane makes a hold into a live location")]

mod bucket;
mod places;
mod search;
mod sweep;
mod walk;

use std::sync::Arc;

use bucket::{BUCKET_BYTES, Bucket, Buckets, Lanes};
pub(crate) use bucket::{BUCKETS_OF_A_PAGE, LocationBits};
pub(crate) use places::{FreeLane, MARGIN};
pub(crate) use search::{Candidate, Lane};
pub(crate) use sweep::{Moving, Progress, Stretch, Swept};
pub(crate) use walk::{Step, Walk};

use crate::hash::KeyHash;
use crate::reclaim::{Live, WriteToken};
use crate::sync::{AtomicU32, AtomicU64};
use crate::units::{EntryId, LANES, Location, MAX_IDS, max_entries, to_u32};

/// The smallest size of a table.
pub(crate) const MIN_BUCKETS: usize = 4;
/// Home buckets for each bucket behind the last home.
const SPILL_SHARE: usize = 64;
/// The most buckets behind the last home.
const MAX_SPILL: usize = 16;

/// A table of buckets, shared with readers.
pub(crate) struct Table {
    buckets: Buckets,
    bits: LocationBits,
    /// A [`Progress`].
    progress: AtomicU64,
    /// The numbers of buckets after the last sweep and the one before. See `sweep.rs`.
    sizes: [AtomicU32; 2],
    max_size: usize,
}

impl Table {
    /// Returns the bytes that a table of this size takes.
    pub(crate) fn footprint(size: usize) -> usize {
        Buckets::footprint(Self::extent(size))
    }

    /// Returns the number of buckets of a table of this size: its home buckets, and a few for the
    /// entries that the last of those have no room for. Small tables have none of these: there, a
    /// search wraps around to the first bucket, as it does when all buckets behind the last home
    /// are full.
    #[inline]
    pub(crate) fn extent(size: usize) -> usize {
        size + (size / SPILL_SHARE).min(MAX_SPILL)
    }

    /// Returns the bytes of a bucket.
    pub(crate) const fn footprint_of_one() -> usize {
        BUCKET_BYTES
    }

    /// Returns the largest size of a table whose lanes all have ids.
    pub(crate) fn max_size() -> usize {
        MAX_IDS / LANES - MAX_SPILL
    }

    /// Creates a table of free lanes that may get any size up to `max_size`. Returns `None` if the
    /// system refuses the addresses.
    pub(crate) fn new(size: usize, max_size: usize, bits: LocationBits) -> Option<Self> {
        debug_assert!(size <= max_size && max_size <= Self::max_size());
        let memory = Buckets::reserve(Self::extent(max_size))?;
        memory.ask_for_huge_pages(Self::extent(size));
        let progress = Progress::at_rest(0, size);
        Some(Self {
            buckets: memory,
            bits,
            progress: AtomicU64::new(progress.to_word()),
            sizes: core::array::from_fn(|_| AtomicU32::new(to_u32(size))),
            max_size,
        })
    }

    /// Returns the largest size that the table has addresses for.
    pub(crate) fn size_limit(&self) -> usize {
        self.max_size
    }

    /// Returns how many lanes may be used, for the holder of the lock.
    pub(crate) fn lanes(&self) -> usize {
        self.buckets() * LANES
    }

    #[inline]
    fn bucket(&self, number: usize) -> &Bucket {
        self.buckets.as_slice().get(number).unwrap_or_else(|| no_bucket())
    }

    /// Returns the overflow count of a bucket.
    #[cfg(all(test, bytecache_loom))]
    pub(crate) fn overflow(&self, bucket: usize) -> u8 {
        self.bucket(bucket).overflow()
    }

    /// Returns the bucket in which a search for `hash` begins, for the holder of the lock.
    #[inline]
    pub(crate) fn home(&self, hash: KeyHash) -> usize {
        hash.bucket(self.size_for(self.own_progress(), hash))
    }

    /// Returns the id of the entry at `location`, or `None` if it does not have this hash. For the
    /// holder of the lock.
    #[inline]
    pub(crate) fn find_location(&self, hash: KeyHash, location: Location) -> Option<EntryId> {
        let mut candidates = self.own_candidates(hash);
        candidates.find(|candidate| candidate.location() == location).map(|candidate| candidate.lane().id())
    }

    /// Counts a visit to an entry.
    #[inline]
    pub(crate) fn visit(&self, id: EntryId) {
        self.bucket(id.bucket()).visit(id.lane());
    }

    pub(crate) fn visits(&self, id: EntryId) -> u8 {
        self.bucket(id.bucket()).visits(id.lane())
    }

    #[inline(always)]
    pub(crate) fn set_visits(&self, id: EntryId, visits: u8) {
        self.bucket(id.bucket()).set_visits(id.lane(), visits);
    }

    /// Returns the entry with an id, or `None` if there is none. Any id is allowed.
    #[inline]
    pub(crate) fn live<'a>(&'a self, id: EntryId, token: &'a WriteToken) -> Option<Live<'a>> {
        self.buckets.as_slice().get(id.bucket())?.live(id.lane(), self.bits, token)
    }

    /// Asks the processor to fetch the home bucket of a hash.
    #[inline(always)]
    pub(crate) fn prefetch_home(&self, hash: KeyHash) {
        self.buckets.prefetch(hash.bucket(self.progress().number()));
    }

    /// Like [`prefetch_home`](Self::prefetch_home), but also fetches the alternative bucket.
    #[inline]
    pub(crate) fn prefetch_places(&self, hash: KeyHash) {
        let home = hash.bucket(self.progress().number());
        self.buckets.prefetch(home);
        self.buckets.prefetch(home + places::distance(hash.low_bits()));
    }

    /// Asks the processor to fetch the lines that the erasure of the entry with this id needs. Any
    /// id is allowed.
    #[inline]
    pub(crate) fn prefetch_lane(&self, id: EntryId) {
        self.buckets.prefetch(id.bucket());
        self.buckets.prefetch(id.bucket().wrapping_sub(1));
    }

    /// Returns the entries of one bucket.
    pub(crate) fn entries<'a>(
        &'a self,
        bucket: usize,
        token: &'a WriteToken,
    ) -> impl Iterator<Item = (EntryId, Live<'a>)> {
        self.entries_in(bucket, self.bucket(bucket).tags().used(), token)
    }

    /// Returns the entries in some lanes of a bucket.
    fn entries_in<'a>(
        &'a self,
        bucket: usize,
        lanes: Lanes,
        token: &'a WriteToken,
    ) -> impl Iterator<Item = (EntryId, Live<'a>)> {
        lanes.filter_map(move |lane| {
            Some((EntryId::from_lane(bucket, lane), self.bucket(bucket).live(lane, self.bits, token)?))
        })
    }

    /// Publishes an entry in a free lane. It is counted already in the buckets that it went past.
    #[inline(always)]
    fn occupy(&self, bucket: &Bucket, lane: usize, hash: KeyHash, location: Location) {
        bucket.set_location(lane, self.bits, location, hash.extra());
        bucket.set_tag(lane, hash.tag());
    }

    /// Frees a lane. Its visits stay until the next entry is published there.
    #[inline(always)]
    fn vacate(&self, id: EntryId) {
        let bucket = self.bucket(id.bucket());
        bucket.set_tag(id.lane(), 0);
        bucket.clear_location(id.lane());
    }
}

/// Panics. A function without arguments: a search needs its registers for other things.
#[cold]
#[inline(never)]
fn no_bucket() -> ! {
    panic!("a bucket beyond the table")
}

/// The writer's side of an index. For the holder of the shard's lock.
pub(crate) struct Index {
    table: Arc<Table>,
    len: usize,
    /// The most entries that the table may have.
    max_len: usize,
}

impl Index {
    pub(crate) fn new(table: Arc<Table>) -> Self {
        let max_len = Self::max_len_of(table.size());
        Self { table, len: 0, max_len }
    }

    #[inline]
    pub(crate) fn table(&self) -> &Arc<Table> {
        &self.table
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns `true` if there is room for one more entry.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.len < self.max_len
    }

    /// Returns how many more entries there is room for.
    #[inline]
    pub(crate) fn room(&self) -> usize {
        self.max_len.saturating_sub(self.len)
    }

    /// Returns the most entries that a table of this size may have.
    pub(crate) fn max_len_of(size: usize) -> usize {
        max_entries(size * LANES)
    }

    /// Returns the smallest size for `entries` entries.
    pub(crate) fn buckets_for(entries: usize) -> usize {
        let mut buckets = entries / LANES + 1;
        while Self::max_len_of(buckets) < entries {
            buckets += buckets / 64 + 1;
        }
        buckets.max(MIN_BUCKETS)
    }

    /// Returns the lane that the next entry with this hash would get.
    pub(crate) fn free_lane(&self, hash: KeyHash) -> Option<FreeLane> {
        self.table.free_lane_for(hash)
    }

    /// Puts an entry in a free lane.
    #[inline(always)]
    pub(crate) fn publish(&mut self, lane: FreeLane, hash: KeyHash, location: Location) {
        let id = lane.id();
        debug_assert!(self.table.bucket(id.bucket()).tags().free().any(|free| free == id.lane()), "the lane is taken");
        self.len += 1;
        // The visits are those of the lane's former entry. A late reader may add to them.
        let bucket = self.table.bucket(id.bucket());
        bucket.set_visits(id.lane(), 0);
        self.table.count_way_to(lane, hash);
        self.table.occupy(bucket, id.lane(), hash, location);
    }

    /// Stores the new location of an entry, or the location of the entry that replaces it.
    #[inline]
    pub(crate) fn replace(&mut self, id: EntryId, location: Location) {
        self.table.bucket(id.bucket()).move_location(id.lane(), self.table.bits, location);
    }

    /// Returns `true` if an entry may be a stray. Then [`erase`](Self::erase) needs its hash.
    #[inline]
    pub(crate) fn may_be_stray(&self, id: EntryId) -> bool {
        match id.bucket().checked_sub(1) {
            Some(before) => self.table.bucket(before).has_overflowed(),
            // The way may have wrapped around.
            None => true,
        }
    }

    /// Frees an entry's lane. `hash` must be given if the entry [may be a
    /// stray](Self::may_be_stray).
    #[inline(always)]
    pub(crate) fn erase(&mut self, id: EntryId, hash: Option<KeyHash>) {
        self.len -= 1;
        if let Some(hash) = hash {
            let size = self.table.size_for(self.table.own_progress(), hash);
            self.table.discount_way(size, hash, id);
        }
        self.table.vacate(id);
    }

    /// Frees all lanes, and takes a sweep back. Gives the table's memory back to the system if the
    /// system can take it, and wipes the buckets otherwise. Runs no user code.
    pub(crate) fn clear(&mut self) {
        self.len = 0;
        self.table.buckets.empty(0..self.table.buckets());
        self.abandon_sweep();
    }

    /// Gives the memory of some buckets of an index without entries back to the system, from
    /// `bucket` on, about `bytes` of it. Returns the number of buckets.
    pub(crate) fn empty_from(&mut self, bucket: usize, bytes: usize) -> usize {
        debug_assert_eq!(self.len, 0);
        let end = self.table.buckets().min(bucket + bytes / BUCKET_BYTES);
        self.table.buckets.empty(bucket..end);
        end - bucket
    }

    /// Returns the id of the entry at a location, or `None` if no lane points to it. Examines every
    /// lane: for entries that their hash does not lead to.
    #[cold]
    pub(crate) fn search(&self, location: Location, token: &WriteToken) -> Option<EntryId> {
        let mut entries = (0..self.table.buckets()).flat_map(|bucket| self.table.entries(bucket, token));
        entries.find(|(_, live)| live.location() == location).map(|(id, _)| id)
    }

    /// Recounts everything, and panics where a count differs. Returns all locations.
    pub(crate) fn validate(&self, token: &WriteToken, hash_of: impl Fn(Live<'_>) -> KeyHash) -> Vec<Location> {
        let mut locations = Vec::new();
        let mut overflow = vec![0_u32; self.table.buckets()];
        for number in 0..self.table.buckets() {
            let bucket = self.table.bucket(number);
            for lane in bucket.tags().used() {
                let live = bucket.live(lane, self.table.bits, token).expect("a used lane has a location");
                let hash = hash_of(live);
                let id = EntryId::from_lane(number, lane);
                let found = self.table.find_location(hash, live.location());
                assert_eq!(found, Some(id), "an entry is not found by its hash");
                let size = self.table.size_for(self.table.own_progress(), hash);
                let mut passed = hash.bucket(size);
                // Ends, as a search has come to the bucket.
                while number != passed && number != places::alternative(hash.bucket(size), hash.low_bits(), size) {
                    overflow[passed] += 1;
                    passed = (passed + 1) % Table::extent(size);
                }
                locations.push(live.location());
            }
            for lane in bucket.tags().free() {
                assert!(bucket.live(lane, self.table.bits, token).is_none(), "a free lane has a location");
            }
        }
        for (number, expected) in overflow.into_iter().enumerate() {
            let counted = u32::from(self.table.bucket(number).overflow());
            assert!(counted == expected || counted == 255, "overflow of bucket {number}: {counted}, not {expected}");
        }
        assert_eq!(locations.len(), self.len);
        assert!(self.len <= self.max_len);
        locations
    }
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: usize = 2000;

    fn table(buckets: usize) -> Arc<Table> {
        Arc::new(Table::new(buckets, CAPACITY.max(buckets), LocationBits::for_arena(1 << 20)).unwrap())
    }

    fn hash(bits: u64) -> KeyHash {
        KeyHash::new(bits)
    }

    fn location(number: usize) -> Location {
        Location::from_offset(number * 4).unwrap()
    }

    /// Returns an index of entries with these hashes, at the locations of their numbers.
    fn filled(entries: usize, buckets: usize, hash_of: impl Fn(usize) -> KeyHash) -> Index {
        let mut index = Index::new(table(buckets));
        for entry in 0..entries {
            let lane = index.free_lane(hash_of(entry)).unwrap();
            index.publish(lane, hash_of(entry), location(entry));
        }
        index
    }

    fn find(index: &Index, hash: KeyHash, entry: usize) -> Option<EntryId> {
        index.table().find_location(hash, location(entry))
    }

    #[test]
    fn entries_that_share_home_and_tag_overflow_and_come_back() {
        // The last bucket, so that overflow wraps around to the first.
        let all = |_: usize| hash(u64::MAX);
        let mut index = filled(40, 4, all);
        assert_eq!((0..40).filter(|&entry| find(&index, all(0), entry).is_some()).count(), 40);
        for entry in (0..40).step_by(2) {
            let id = find(&index, all(0), entry).unwrap();
            index.erase(id, Some(all(0)));
        }
        for entry in 0..40 {
            assert_eq!(find(&index, all(0), entry).is_some(), entry % 2 == 1);
        }
        // SAFETY: the test's only token, and no other thread has the index.
        let token = unsafe { WriteToken::new() };
        index.validate(&token, |_| all(0));
    }

    #[test]
    fn tables_are_sized_to_stay_below_their_load() {
        for entries in [0, 1, 40, 41, 1000, 123_457] {
            let buckets = Index::buckets_for(entries);
            assert!(Index::max_len_of(buckets) >= entries);
            assert!(buckets == MIN_BUCKETS || Index::max_len_of(buckets * 63 / 64 - 2) < entries);
        }
    }
}
