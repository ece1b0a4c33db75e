//! The index: from a hash to an entry's location, in one cache line for most keys.
//!
//! An index is a table of 12-lane buckets (`bucket.rs`). A key lives in its home bucket or, if that
//! is full, in one of the next. Each bucket on the way counts the entries that went past it, so a
//! search stops where this count is 0. At a load of 0.85, about one entry in seventeen is
//! displaced, and an entry costs 6.3 bytes.
//!
//! The lane is the entry's id for policies. It changes only when a larger table replaces this one.
//!
//! # Invariants
//!
//! 1. The overflow count of every bucket between an entry's home bucket and its own includes the
//!    entry, or is at its maximum.
//! 2. `len` lanes are used, never more than `max_len`.
//!
//! # Synchronization
//!
//! Readers see a whole table through [`Kept`](crate::reclaim::Kept), and lanes as `bucket.rs` says.
//! A search finds a key that is present throughout, because the tag of its lane does not change.
//!
//! A table that was replaced shows entries of an earlier time, or none once its memory was given
//! back. So a reader accepts no result of such a table: it checks that its table is still the
//! current one, and otherwise searches again.
//!
//! # Not here
//!
//! Keys: the caller compares those of the candidates.

#![allow(unsafe_code, reason = "a lane makes a hold into a live location")]

mod bucket;
mod walk;

use std::sync::Arc;

pub(crate) use bucket::LocationBits;
use bucket::{Bucket, Buckets, Lanes, Use};
pub(crate) use walk::{Step, Walk};

use crate::hash::KeyHash;
use crate::reclaim::{Hold, Live, WriteToken};
use crate::sync::{AtomicUsize, Ordering};
use crate::units::{EntryId, LANES, Location, MAX_IDS, max_entries};

/// The fewest buckets of a table.
pub(crate) const MIN_BUCKETS: usize = 4;

/// A table of buckets, shared with readers.
pub(crate) struct Table {
    buckets: Buckets,
    bits: LocationBits,
}

impl Table {
    /// Returns the bytes that a table of `buckets` buckets allocates.
    pub(crate) fn footprint(buckets: usize) -> usize {
        Buckets::footprint(buckets)
    }

    /// Returns the most buckets whose lanes all have ids.
    pub(crate) fn max_buckets() -> usize {
        MAX_IDS / LANES
    }

    /// Creates a table of free lanes. Returns `None` if the system refuses the memory.
    pub(crate) fn new(buckets: usize, bits: LocationBits) -> Option<Self> {
        debug_assert!(buckets <= Self::max_buckets());
        Some(Self { buckets: Buckets::new(buckets)?, bits })
    }

    /// Gives the memory of a table that was replaced back to the system, where the system can take
    /// it. Returns the bytes of the footprint that this frees. Readers that still search the table
    /// find nothing.
    pub(crate) fn release(&self) -> usize {
        self.buckets.release(Use::HasEnded)
    }

    pub(crate) fn buckets(&self) -> usize {
        self.buckets.as_slice().len()
    }

    pub(crate) fn bits(&self) -> LocationBits {
        self.bits
    }

    pub(crate) fn lanes(&self) -> usize {
        self.buckets() * LANES
    }

    #[inline]
    fn bucket(&self, number: usize) -> &Bucket {
        &self.buckets.as_slice()[number]
    }

    /// Returns the bucket in which a search for `hash` begins.
    #[inline]
    pub(crate) fn home(&self, hash: KeyHash) -> usize {
        hash.bucket(self.buckets())
    }

    #[inline]
    fn next(&self, bucket: usize) -> usize {
        if bucket + 1 == self.buckets() { 0 } else { bucket + 1 }
    }

    /// Returns the lanes in which the entry with `hash` may be. The caller compares the keys.
    #[inline(always)]
    pub(crate) fn candidates(&self, hash: KeyHash) -> Candidates<'_> {
        let number = self.home(hash);
        let bucket = self.bucket(number);
        Candidates { table: self, hash, number, bucket, lanes: bucket.tags().matching(hash.tag()), passed: 0 }
    }

    /// Returns the id of the entry at `location`, or `None` if it does not have this hash.
    #[inline]
    pub(crate) fn find_location(&self, hash: KeyHash, location: Location) -> Option<EntryId> {
        self.candidates(hash).find(|candidate| candidate.location() == location).map(|candidate| candidate.lane().id())
    }

    /// Counts a visit to an entry.
    #[inline]
    pub(crate) fn visit(&self, id: EntryId) {
        self.bucket(id.bucket()).visit(id.lane());
    }

    pub(crate) fn visits(&self, id: EntryId) -> u8 {
        self.bucket(id.bucket()).visits(id.lane())
    }

    pub(crate) fn set_visits(&self, id: EntryId, visits: u8) {
        self.bucket(id.bucket()).set_visits(id.lane(), visits);
    }

    /// Returns the entry with an id, or `None` if there is none. Any id is allowed.
    #[inline]
    pub(crate) fn live<'a>(&'a self, id: EntryId, token: &'a WriteToken) -> Option<Live<'a>> {
        self.buckets.as_slice().get(id.bucket())?.live(id.lane(), self.bits, token)
    }

    #[inline]
    fn free_lane(&self, hash: KeyHash) -> Option<EntryId> {
        let mut number = self.home(hash);
        for _ in 0..self.buckets() {
            if let Some(lane) = self.bucket(number).tags().free().next() {
                return Some(EntryId::from_lane(number, lane));
            }
            number = self.next(number);
        }
        None
    }

    /// Asks the processor to fetch the lines that the erasure of the entry with this id needs. Any
    /// id is allowed.
    #[inline]
    pub(crate) fn prefetch_lane(&self, id: EntryId) {
        self.buckets.prefetch_pair(id.bucket());
    }

    /// Returns the entries of one bucket.
    pub(crate) fn entries<'a>(
        &'a self,
        bucket: usize,
        token: &'a WriteToken,
    ) -> impl Iterator<Item = (EntryId, Live<'a>)> {
        let lanes = self.bucket(bucket).tags().used();
        lanes.filter_map(move |lane| {
            Some((EntryId::from_lane(bucket, lane), self.bucket(bucket).live(lane, self.bits, token)?))
        })
    }
}

/// A lane of a table.
#[derive(Clone, Copy)]
pub(crate) struct Lane<'a> {
    bucket: &'a Bucket,
    bits: LocationBits,
    number: usize,
    lane: usize,
}

impl Lane<'_> {
    #[inline(always)]
    pub(crate) fn id(self) -> EntryId {
        EntryId::from_lane(self.number, self.lane)
    }

    /// Counts a visit to the entry.
    #[inline(always)]
    pub(crate) fn visit(self) {
        self.bucket.visit(self.lane);
    }
}

/// A lane that a search has found, with its location at that time. The lane may have changed since.
#[derive(Clone, Copy)]
pub(crate) struct Candidate<'a> {
    lane: Lane<'a>,
    location: Location,
}

impl<'a> Candidate<'a> {
    /// Returns `None` if the word has no location: the entry was erased after the tag of the lane
    /// was loaded.
    #[inline(always)]
    fn in_lane(lane: Lane<'a>, word: u32) -> Option<Self> {
        Some(Self { lane, location: Location::from_word(lane.bits.location(word))? })
    }

    #[inline(always)]
    pub(crate) fn lane(self) -> Lane<'a> {
        self.lane
    }

    #[inline(always)]
    pub(crate) fn location(self) -> Location {
        self.location
    }

    /// Loads the lane again. Returns the entry, or `None` if it is not where the search has found
    /// it any more.
    ///
    /// # Safety
    ///
    /// * `hold` is a slot that names the entry at this location. It names nothing else while the
    ///   result is used.
    /// * The table was the current one at some moment after the slot named the entry.
    #[inline(always)]
    pub(crate) unsafe fn look_again(self, hold: Hold<'a>) -> Option<Live<'a>> {
        let Lane { bucket, bits, lane, .. } = self.lane;
        // SAFETY: the caller's duties are the same.
        unsafe { bucket.live_again(lane, bits, self.location, hold) }
    }

    /// Returns the entry that the lane points to. The caller has held the lock since the search.
    #[inline]
    pub(crate) fn live(self, token: &'a WriteToken) -> Option<Live<'a>> {
        self.lane.bucket.live(self.lane.lane, self.lane.bits, token)
    }
}

/// A search through the buckets in which the entry with some hash may be. See
/// [`Table::candidates`].
pub(crate) struct Candidates<'a> {
    table: &'a Table,
    hash: KeyHash,
    /// The bucket that is being searched, and its lanes that are left.
    number: usize,
    bucket: &'a Bucket,
    lanes: Lanes,
    /// The number of buckets that have been searched.
    passed: usize,
}

impl<'a> Iterator for Candidates<'a> {
    type Item = Candidate<'a>;

    #[inline(always)]
    fn next(&mut self) -> Option<Candidate<'a>> {
        let Self { table, hash, .. } = *self;
        loop {
            for lane in self.lanes.by_ref() {
                let word = self.bucket.word(lane);
                if table.bits.extra(word) != table.bits.kept(hash.extra()) {
                    continue;
                }
                let lane = Lane { bucket: self.bucket, bits: table.bits, number: self.number, lane };
                if let Some(candidate) = Candidate::in_lane(lane, word) {
                    return Some(candidate);
                }
            }
            self.passed += 1;
            // Ends after every bucket was searched once, even if the overflow counts are wrong.
            if !self.bucket.has_overflowed() || self.passed >= table.buckets() {
                return None;
            }
            self.number = table.next(self.number);
            self.bucket = table.bucket(self.number);
            self.lanes = self.bucket.tags().matching(hash.tag());
        }
    }
}

/// The place of the current table, for prefetching. It may be out of date at any time.
pub(crate) struct TableHint {
    address: AtomicUsize,
    buckets: AtomicUsize,
}

impl TableHint {
    pub(crate) fn new(table: &Table) -> Self {
        let hint = Self { address: AtomicUsize::new(0), buckets: AtomicUsize::new(0) };
        hint.set(table);
        hint
    }

    pub(crate) fn set(&self, table: &Table) {
        // Relaxed: a prefetch of a wrong line is merely useless.
        self.address.store(table.buckets.address(), Ordering::Relaxed);
        self.buckets.store(table.buckets(), Ordering::Relaxed);
    }

    /// Asks the processor to fetch the home bucket of `hash`, without holding the table.
    #[inline(always)]
    pub(crate) fn prefetch(&self, hash: KeyHash) {
        let buckets = self.buckets.load(Ordering::Relaxed);
        bucket::prefetch_at(self.address.load(Ordering::Relaxed), hash.bucket(buckets));
    }

    /// Like [`prefetch`](Self::prefetch), but also fetches the next bucket. A search for an absent
    /// key often reaches it.
    #[inline]
    pub(crate) fn prefetch_with_next(&self, hash: KeyHash) {
        let (address, buckets) = (self.address.load(Ordering::Relaxed), self.buckets.load(Ordering::Relaxed));
        let home = hash.bucket(buckets);
        bucket::prefetch_at(address, home);
        bucket::prefetch_at(address, home + 1);
    }
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
        let max_len = Self::max_len_of(table.buckets());
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

    /// Returns the most entries that a table of `buckets` buckets may have.
    pub(crate) fn max_len_of(buckets: usize) -> usize {
        max_entries(buckets * LANES)
    }

    /// Returns the fewest buckets for `entries` entries.
    pub(crate) fn buckets_for(entries: usize) -> usize {
        let mut buckets = entries / LANES + 1;
        while Self::max_len_of(buckets) < entries {
            buckets += buckets / 64 + 1;
        }
        buckets.max(MIN_BUCKETS)
    }

    /// Returns the lane that the next entry with this hash would get. It stays free until
    /// [`publish`](Self::publish), even if other entries are erased in between.
    #[inline]
    pub(crate) fn free_lane(&self, hash: KeyHash) -> Option<EntryId> {
        self.table.free_lane(hash)
    }

    /// Puts an entry in a free lane.
    #[inline]
    pub(crate) fn publish(&mut self, id: EntryId, hash: KeyHash, location: Location) {
        self.len += 1;
        // A late reader may have counted a visit to the lane's former entry.
        self.table.set_visits(id, 0);
        occupy(&self.table, id, hash, location);
    }

    /// Stores the new location of an entry, or the location of the entry that replaces it.
    #[inline]
    pub(crate) fn replace(&mut self, id: EntryId, location: Location) {
        self.table.bucket(id.bucket()).move_location(id.lane(), self.table.bits, location);
    }

    /// Returns `true` if an entry may lie beyond its home bucket. Then [`erase`](Self::erase) needs
    /// its hash.
    #[inline]
    pub(crate) fn may_be_displaced(&self, id: EntryId) -> bool {
        let own = id.bucket();
        let before = if own == 0 { self.table.buckets() - 1 } else { own - 1 };
        self.table.bucket(before).has_overflowed()
    }

    /// Frees an entry's lane. `hash` must be given if the entry [may be
    /// displaced](Self::may_be_displaced).
    #[inline]
    pub(crate) fn erase(&mut self, id: EntryId, hash: Option<KeyHash>) {
        self.len -= 1;
        let own = id.bucket();
        if let Some(hash) = hash {
            let mut number = self.table.home(hash);
            while number != own {
                self.table.bucket(number).remove_overflow();
                number = self.table.next(number);
            }
        }
        let bucket = self.table.bucket(own);
        bucket.set_tag(id.lane(), 0);
        bucket.clear_location(id.lane());
        bucket.set_visits(id.lane(), 0);
    }

    /// Frees all lanes. Gives the table's memory back to the system if the system can take it, and
    /// wipes the buckets otherwise.
    pub(crate) fn clear(&mut self) {
        self.len = 0;
        if self.table.buckets.release(Use::GoesOn) == 0 {
            self.table.buckets.as_slice().iter().for_each(Bucket::wipe);
        }
    }

    /// Moves all entries to a larger table. The caller publishes it.
    ///
    /// `prefetch` is called with the entries that come next. `hash_of` returns the hash of an
    /// entry. `moved` is called with the old id, the new id and the entry. If one of them panics,
    /// the index is unchanged.
    pub(crate) fn move_to(
        &mut self,
        table: Arc<Table>,
        token: &WriteToken,
        prefetch: impl Fn(Live<'_>),
        hash_of: impl Fn(Live<'_>) -> KeyHash,
        mut moved: impl FnMut(EntryId, EntryId, Live<'_>),
    ) {
        let old = &*self.table;
        for bucket in 0..old.buckets() {
            if bucket + 1 < old.buckets() {
                old.entries(bucket + 1, token).for_each(|(_, live)| prefetch(live));
            }
            for (id, live) in old.entries(bucket, token) {
                let hash = hash_of(live);
                // There is a free lane: the table is larger than the one that held all entries.
                let Some(to) = table.free_lane(hash) else { continue };
                occupy(&table, to, hash, live.location());
                table.set_visits(to, old.visits(id));
                moved(id, to, live);
            }
        }
        self.max_len = Self::max_len_of(table.buckets());
        self.table = table;
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
                let mut passed = self.table.home(hash);
                while passed != number {
                    overflow[passed] += 1;
                    passed = self.table.next(passed);
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

/// Publishes an entry in a free lane, and counts it in the buckets that it went past.
#[inline]
fn occupy(table: &Table, id: EntryId, hash: KeyHash, location: Location) {
    let mut number = table.home(hash);
    while number != id.bucket() {
        table.bucket(number).add_overflow();
        number = table.next(number);
    }
    let bucket = table.bucket(number);
    bucket.set_location(id.lane(), table.bits, location, hash.extra());
    bucket.set_tag(id.lane(), hash.tag());
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use super::*;

    fn table(buckets: usize) -> Arc<Table> {
        Arc::new(Table::new(buckets, LocationBits::for_arena(1 << 20)).unwrap())
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
            let id = index.free_lane(hash_of(entry)).unwrap();
            index.publish(id, hash_of(entry), location(entry));
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
    fn a_move_to_a_larger_table_keeps_entries_and_visits_and_tells_where_they_went() {
        let spread = |entry: usize| hash((entry as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut index = filled(100, 10, spread);
        let visited = find(&index, spread(7), 7).unwrap();
        index.table().set_visits(visited, 2);
        // SAFETY: the test's only token, and no other thread has the index.
        let token = unsafe { WriteToken::new() };
        let hash_of = |live: Live<'_>| spread(live.location().offset() / 4);
        let mut moves = std::collections::HashMap::new();
        index.move_to(table(13), &token, |_| {}, hash_of, |from, to, _| assert_eq!(moves.insert(from, to), None));
        assert_eq!((index.table().buckets(), moves.len()), (13, 100));
        let moved = moves[&visited];
        assert_eq!((Some(moved), index.table().visits(moved)), (find(&index, spread(7), 7), 2));
        assert_eq!(index.validate(&token, hash_of).len(), 100);
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
