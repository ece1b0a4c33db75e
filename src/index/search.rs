//! Searches: from a hash to the lanes in which its entry may be.
//!
//! A search goes through the places of the hash (`places.rs`): home, alternative, and the buckets
//! that strays may lie in. The first lane with the tag and the extra bits of the hash mostly has
//! the entry. [`Table::first_candidate`] finds no other one, and needs few instructions.
//! [`Table::candidates`] returns all of them, in the same order.
//!
//! # Synchronization
//!
//! The same for both: a key that is present throughout keeps its lane and its tag, and is included
//! in the overflow counts all the time, or a sweep has moved it. The caller checks for a sweep
//! (`sweep.rs`).

use super::Table;
use super::bucket::{Bucket, Lanes, LocationBits, Tags};
use super::places::{FreeLane, after, alternative, usual_lane};
use super::sweep::Progress;
use crate::hash::KeyHash;
use crate::reclaim::{Hold, Live, WriteToken};
use crate::units::{EntryId, Location};

impl Table {
    /// Returns the lane with an id.
    pub(crate) fn lane(&self, id: EntryId) -> Lane<'_> {
        Lane { bucket: self.bucket(id.bucket()), bits: self.bits, number: id.bucket(), lane: id.lane() }
    }

    /// Returns the lanes in which the entry with `hash` may be. The caller compares the keys.
    #[inline(always)]
    pub(crate) fn candidates(&self, seen: Progress, hash: KeyHash) -> Candidates<'_> {
        let number = hash.bucket(self.size_for(seen, hash));
        let bucket = self.bucket(number);
        let lanes = bucket.tags().matching(hash.tag());
        let (home, has_strays, extent, left) = (0, false, 0, AT_HOME);
        Candidates { table: self, hash, seen, number, bucket, lanes, home, has_strays, extent, left }
    }

    /// Returns the first of the [`candidates`](Self::candidates). A search seldom needs another
    /// one, and what it keeps for that takes time.
    #[inline(always)]
    pub(crate) fn first_candidate(&self, seen: Progress, hash: KeyHash) -> Option<Candidate<'_>> {
        let size = self.size_for(seen, hash);
        let home = hash.bucket(size);
        let alternative = alternative(home, hash.low_bits(), size);
        // A third of the entries lie there. Without this, its line is asked for after home's has
        // arrived.
        self.buckets.prefetch(alternative);
        let bucket = self.bucket(home);
        if let Some(candidate) = self.first_in(home, bucket, bucket.tags(), hash) {
            return Some(candidate);
        }
        let other = self.bucket(alternative);
        if let Some(candidate) = self.first_in(alternative, other, other.tags(), hash) {
            return Some(candidate);
        }
        if bucket.has_overflowed() { self.first_stray(home, size, hash) } else { None }
    }

    /// Returns the first candidate in a bucket with these tags.
    #[inline(always)]
    fn first_in<'a>(&'a self, number: usize, bucket: &'a Bucket, tags: Tags, hash: KeyHash) -> Option<Candidate<'a>> {
        tags.matching(hash.tag()).find_map(|lane| {
            let word = bucket.word(lane);
            let lane = Lane { bucket, bits: self.bits, number, lane };
            if self.bits.has_extra(word, hash.extra()) { Candidate::in_lane(lane, word) } else { None }
        })
    }

    /// Returns the first candidate beyond a home that strays went past, in a table of `size`
    /// buckets.
    #[inline]
    fn first_stray(&self, home: usize, size: usize, hash: KeyHash) -> Option<Candidate<'_>> {
        let extent = Self::extent(size);
        let mut number = home;
        // Ends after every bucket was searched, even if the overflow counts are wrong.
        for _ in 1..extent {
            number = after(number, extent);
            let bucket = self.bucket(number);
            let found = self.first_in(number, bucket, bucket.tags(), hash);
            if found.is_some() || !bucket.has_overflowed() {
                return found;
            }
        }
        None
    }

    /// Returns the first of the [`candidates`](Self::candidates). For the holder of the lock.
    ///
    /// # Errors
    ///
    /// If there is none, the lane that an entry with the hash gets at home or at the alternative,
    /// or `None` if both are full.
    #[inline(always)]
    pub(crate) fn own_candidate_or_lane(&self, hash: KeyHash) -> Result<Candidate<'_>, Option<FreeLane>> {
        let size = self.size_for(self.own_progress(), hash);
        let home = hash.bucket(size);
        let bucket = self.bucket(home);
        let tags = bucket.tags();
        if let Some(candidate) = self.first_in(home, bucket, tags, hash) {
            return Ok(candidate);
        }
        let alternative = alternative(home, hash.low_bits(), size);
        let other = self.bucket(alternative);
        let other_tags = other.tags();
        if let Some(candidate) = self.first_in(alternative, other, other_tags, hash) {
            return Ok(candidate);
        }
        if bucket.has_overflowed() {
            if let Some(candidate) = self.first_stray(home, size, hash) {
                return Ok(candidate);
            }
        }
        Err(usual_lane([(home, tags), (alternative, other_tags)]).map(FreeLane::usual))
    }

    /// Like [`candidates`](Self::candidates), but for the holder of the lock.
    #[inline]
    pub(crate) fn own_candidates(&self, hash: KeyHash) -> Candidates<'_> {
        self.candidates(self.own_progress(), hash)
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
    pub(super) fn in_lane(lane: Lane<'a>, word: u32) -> Option<Self> {
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
    seen: Progress,
    /// The bucket that is being searched, and its lanes that are left.
    number: usize,
    bucket: &'a Bucket,
    lanes: Lanes,
    /// The home bucket. Known when the search leaves it, like the next field.
    home: usize,
    /// Strays went past the home bucket.
    has_strays: bool,
    /// The number of buckets of the table. Computed when the search leaves the alternative.
    extent: usize,
    /// The number of buckets that may still be searched for strays, or one of the constants.
    left: usize,
}

/// The search is in the home bucket.
const AT_HOME: usize = usize::MAX;
/// The search is in the alternative bucket.
const AT_ALTERNATIVE: usize = AT_HOME - 1;

impl<'a> Iterator for Candidates<'a> {
    type Item = Candidate<'a>;

    #[inline(always)]
    fn next(&mut self) -> Option<Candidate<'a>> {
        let Self { table, hash, .. } = *self;
        loop {
            for lane in self.lanes.by_ref() {
                let word = self.bucket.word(lane);
                if !table.bits.has_extra(word, hash.extra()) {
                    continue;
                }
                let lane = Lane { bucket: self.bucket, bits: table.bits, number: self.number, lane };
                if let Some(candidate) = Candidate::in_lane(lane, word) {
                    return Some(candidate);
                }
            }
            match self.left {
                AT_HOME => {
                    self.left = AT_ALTERNATIVE;
                    self.home = self.number;
                    // The count is on the line that was just searched. A stray that comes after
                    // this load was absent at that time.
                    self.has_strays = self.bucket.has_overflowed();
                    self.number = table.alternative_of(self.home, self.seen, hash);
                }
                AT_ALTERNATIVE => {
                    if !self.has_strays {
                        return None;
                    }
                    self.extent = Table::extent(table.size_for(self.seen, hash));
                    self.left = self.extent;
                    self.number = after(self.home, self.extent);
                }
                _ => {
                    // Ends after every bucket was searched, even if the overflow counts are wrong.
                    self.left -= 1;
                    if self.left == 0 || !self.bucket.has_overflowed() {
                        return None;
                    }
                    self.number = after(self.number, self.extent);
                }
            }
            self.bucket = table.bucket(self.number);
            self.lanes = self.bucket.tags().matching(hash.tag());
        }
    }
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::index::Index;

    /// Returns hashes of four homes, so that most entries stray.
    fn spread(number: usize) -> KeyHash {
        KeyHash::new((number as u64 % 4) << 62 | (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8)
    }

    /// Compares both searches for hashes that are present and absent. Returns how many entries were
    /// found at home, at the alternative, and as strays.
    fn compare(table: &Table, hashes: usize) -> [usize; 3] {
        let (seen, mut found) = (table.progress(), [0; 3]);
        for hash in (0..hashes).map(spread) {
            let place = |candidate: Candidate<'_>| (candidate.lane().id(), candidate.location());
            let first = table.first_candidate(seen, hash).map(place);
            assert_eq!(first, table.candidates(seen, hash).next().map(place));
            if let Some((id, _)) = first {
                let size = table.size_for(seen, hash);
                let home = hash.bucket(size);
                let places = [home, alternative(home, hash.low_bits(), size)];
                found[places.iter().position(|&place| place == id.bucket()).unwrap_or(2)] += 1;
            }
        }
        found
    }

    #[test]
    fn the_first_candidate_is_that_of_the_whole_search() {
        for size in [4, 5, 40, 300] {
            let table = Table::new(size, 2 * size, LocationBits::for_arena(1 << 20)).unwrap();
            let mut index = Index::new(Arc::new(table));
            let entries = Index::max_len_of(size);
            for number in 0..entries {
                let id = index.free_lane(spread(number)).unwrap();
                index.publish(id, spread(number), Location::from_offset(number * 4).unwrap());
            }
            let found = compare(index.table(), 3 * entries);
            assert!(size < 40 || found.iter().all(|&entries| entries > 0), "{found:?} of {entries}");
            // In the middle of a sweep, and after it.
            index.begin_sweep(2 * size);
            for _ in 0..2 {
                for _ in 0..size.div_ceil(2) {
                    // SAFETY: no other thread has the index.
                    let token = unsafe { WriteToken::new() };
                    let hash_of = |live: Live<'_>| spread(live.location().offset() / 4);
                    index.sweep_home(&mut Vec::with_capacity(entries), &token, |_| {}, hash_of, |_, _, _| {});
                }
                compare(index.table(), 3 * entries);
            }
        }
    }
}
