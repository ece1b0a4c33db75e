//! From a hash to an entry's location, in one cache line for most keys.
//!
//! A table of 12-lane buckets (`bucket.rs`). A key lives in its home bucket, or, if that is full, in one of
//! the next; each bucket on the way counts the entries that went past it, so a search stops where that count
//! is 0. At a load of 0.85 about one entry in seventeen is displaced, and an entry costs 6.3 bytes.
//!
//! The lane is the entry's id for policies. It changes only when the table is replaced by a larger one.
//!
//! # Invariants
//!
//! 1. Between an entry's home bucket and its own, every bucket's overflow count includes it (or is at its
//!    end).
//! 2. `len` lanes are used, never more than `max_len`.
//!
//! # Synchronization
//!
//! Readers see a whole table through [`Kept`](crate::reclaim::Kept), lanes as `bucket.rs` says. A key that is present
//! throughout a search is found: its lane's tag does not change. A reader that searches a table which was replaced finds
//! what was there at that time, or nothing once its memory was given back. So it believes neither: it looks whether the
//! table is still the present one, and else searches again.
//!
//! # Not here
//!
//! Keys: the caller compares those of the candidates.

mod bucket;
mod walk;

use std::sync::Arc;

pub(crate) use bucket::LocationBits;
use bucket::{Bucket, Buckets, Lanes, Use};
pub(crate) use walk::{Step, Walk};

use crate::hash::KeyHash;
use crate::reclaim::{Hold, Live, WriteToken};
use crate::sync::{AtomicUsize, Ordering};
use crate::units::{EntryId, LANES, Location, MAX_IDS};

/// The largest share of lanes that may be used. Beyond it searches past the home bucket become common.
pub(crate) const MAX_LOAD: f64 = 0.85;

/// The fewest buckets that a table has.
pub(crate) const MIN_BUCKETS: usize = 4;

/// A table of buckets, shared with readers.
pub(crate) struct Table {
    buckets: Buckets,
    bits: LocationBits,
}

impl Table {
    /// What a table of `buckets` allocates.
    pub(crate) fn footprint(buckets: usize) -> usize {
        Buckets::footprint(buckets)
    }

    /// The most buckets whose lanes still have ids.
    pub(crate) fn max_buckets() -> usize {
        MAX_IDS / LANES
    }

    /// A table of free lanes, or `None` if the system refuses the memory.
    pub(crate) fn new(buckets: usize, bits: LocationBits) -> Option<Self> {
        debug_assert!(buckets <= Self::max_buckets());
        Some(Self { buckets: Buckets::new(buckets)?, bits })
    }

    /// Gives the memory of a table that was replaced back to the system, where it can be. Returns how many bytes of the
    /// footprint are free now. Readers that still search it find nothing.
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

    /// The bucket in which a search for `hash` begins.
    #[inline]
    pub(crate) fn home(&self, hash: KeyHash) -> usize {
        hash.bucket(self.buckets())
    }

    #[inline]
    fn next(&self, bucket: usize) -> usize {
        if bucket + 1 == self.buckets() { 0 } else { bucket + 1 }
    }

    /// Returns the lanes in which the entry with `hash` may be. Keys are compared by the caller.
    #[inline(always)]
    pub(crate) fn candidates(&self, hash: KeyHash) -> Candidates<'_> {
        let number = self.home(hash);
        let bucket = self.bucket(number);
        Candidates { table: self, hash, number, bucket, lanes: bucket.tags().matching(hash.tag()), passed: 0 }
    }

    /// The entry at `location`, if its hash is `hash`.
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

    /// The entry with an id, if there is one. Any id will do.
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

    /// Asks the processor to fetch what erasing the entry with this id will look at. Any id will do.
    #[inline]
    pub(crate) fn prefetch_lane(&self, id: EntryId) {
        self.buckets.prefetch_pair(id.bucket());
    }

    /// The entries of one bucket.
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

/// A lane that a search has led to, and the location that it named then. What is there now is another question.
#[derive(Clone, Copy)]
pub(crate) struct Candidate<'a> {
    lane: Lane<'a>,
    location: Location,
}

impl<'a> Candidate<'a> {
    /// `None` if the word names no location: the entry was erased after the lane's tag was read.
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

    /// Looks at the lane again, and returns the entry if it is still where the search has found it.
    ///
    /// # Safety
    ///
    /// * `hold` is a slot that names the entry at this location, and names nothing else for as long as the result is used;
    /// * the table was the present one at some moment after the slot named the entry.
    #[inline(always)]
    pub(crate) unsafe fn look_again(self, hold: Hold<'a>) -> Option<Live<'a>> {
        let Lane { bucket, bits, lane, .. } = self.lane;
        // SAFETY: the caller's duties are the same.
        unsafe { bucket.live_again(lane, bits, self.location, hold) }
    }

    /// The entry that the lane points to. For the holder of the lock, since the search.
    #[inline]
    pub(crate) fn live(self, token: &'a WriteToken) -> Option<Live<'a>> {
        self.lane.bucket.live(self.lane.lane, self.lane.bits, token)
    }
}

/// A search through the buckets in which an entry with some hash may be. See [`Table::candidates`].
pub(crate) struct Candidates<'a> {
    table: &'a Table,
    hash: KeyHash,
    /// The bucket that is being searched, and the lanes of it that are left.
    number: usize,
    bucket: &'a Bucket,
    lanes: Lanes,
    /// Buckets that have been searched before.
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
            // Ends after every bucket was searched once, however the overflow counts may be.
            if !self.bucket.has_overflowed() || self.passed >= table.buckets() {
                return None;
            }
            self.number = table.next(self.number);
            self.bucket = table.bucket(self.number);
            self.lanes = self.bucket.tags().matching(hash.tag());
        }
    }
}

/// Where the present table is, as far as a prefetch needs to know. It may be out of date at any time.
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
        // Relaxed: a prefetch of another line than the right one is merely useless.
        self.address.store(table.buckets.address(), Ordering::Relaxed);
        self.buckets.store(table.buckets(), Ordering::Relaxed);
    }

    /// Asks the processor to fetch the home bucket of `hash`, without holding the table.
    #[inline(always)]
    pub(crate) fn prefetch(&self, hash: KeyHash) {
        let buckets = self.buckets.load(Ordering::Relaxed);
        bucket::prefetch_at(self.address.load(Ordering::Relaxed), hash.bucket(buckets));
    }

    /// As [`prefetch`](Self::prefetch), with the bucket after it: whoever looks for a key that is not there often goes on to that.
    #[inline]
    pub(crate) fn prefetch_with_next(&self, hash: KeyHash) {
        let (address, buckets) = (self.address.load(Ordering::Relaxed), self.buckets.load(Ordering::Relaxed));
        let home = hash.bucket(buckets);
        bucket::prefetch_at(address, home);
        bucket::prefetch_at(address, home + 1);
    }
}

/// The writer's side of an index. All of it is for the holder of the shard's lock.
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

    /// Whether there is room for one more entry.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.len < self.max_len
    }

    /// The most entries that a table of so many buckets may have.
    pub(crate) fn max_len_of(buckets: usize) -> usize {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below the number of lanes")]
        {
            ((buckets * LANES) as f64 * MAX_LOAD) as usize
        }
    }

    /// The fewest buckets for so many entries.
    pub(crate) fn buckets_for(entries: usize) -> usize {
        let mut buckets = entries / LANES + 1;
        while Self::max_len_of(buckets) < entries {
            buckets += buckets / 64 + 1;
        }
        buckets.max(MIN_BUCKETS)
    }

    /// The lane that a new entry would get. It stays free until [`publish`](Self::publish), whatever is
    /// erased meanwhile.
    #[inline]
    pub(crate) fn free_lane(&self, hash: KeyHash) -> Option<EntryId> {
        self.table.free_lane(hash)
    }

    /// Puts an entry in a free lane.
    #[inline]
    pub(crate) fn publish(&mut self, id: EntryId, hash: KeyHash, location: Location) {
        self.len += 1;
        self.table.set_visits(id, 0); // A reader of the lane's former entry may have been late.
        occupy(&self.table, id, hash, location);
    }

    /// Stores the location that an entry has moved to, or of the value that replaces it.
    #[inline]
    pub(crate) fn replace(&mut self, id: EntryId, location: Location) {
        self.table.bucket(id.bucket()).move_location(id.lane(), self.table.bits, location);
    }

    /// Whether an entry may lie past its home bucket, so that [`erase`](Self::erase) needs its hash.
    #[inline]
    pub(crate) fn may_be_displaced(&self, id: EntryId) -> bool {
        let own = id.bucket();
        let before = if own == 0 { self.table.buckets() - 1 } else { own - 1 };
        self.table.bucket(before).has_overflowed()
    }

    /// Frees an entry's lane. `hash` must be there if the entry [may be displaced](Self::may_be_displaced).
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

    /// Frees all lanes, by way of the system where that can take the table's memory back.
    pub(crate) fn clear(&mut self) {
        self.len = 0;
        if self.table.buckets.release(Use::GoesOn) == 0 {
            self.table.buckets.as_slice().iter().for_each(Bucket::wipe);
        }
    }

    /// Moves all entries to a larger table; the caller publishes it.
    ///
    /// `prefetch` is told which entries come next, `hash_of` must give each one's hash, `moved` is told where
    /// each id went, and its entry. If one of them panics, the index is as it was.
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
                // The table is larger than the one that held all entries, so there is a lane.
                let Some(to) = table.free_lane(hash) else { continue };
                occupy(&table, to, hash, live.location());
                table.set_visits(to, old.visits(id));
                moved(id, to, live);
            }
        }
        self.max_len = Self::max_len_of(table.buckets());
        self.table = table;
    }

    /// The id of the entry at a location, from a look at every lane: for when its hash does not lead to it.
    #[cold]
    pub(crate) fn search(&self, location: Location, token: &WriteToken) -> Option<EntryId> {
        let mut entries = (0..self.table.buckets()).flat_map(|bucket| self.table.entries(bucket, token));
        entries.find(|(_, live)| live.location() == location).map(|(id, _)| id)
    }

    /// Recounts everything and panics where it differs. Returns all locations.
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

/// Publishes an entry in a free lane and counts it in the buckets that it went past.
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

    /// Entries whose hash is their location's number in the top bits and a tag that is the same for all.
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
        let all = |_: usize| hash(u64::MAX); // The last bucket: overflow wraps round to the first.
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
