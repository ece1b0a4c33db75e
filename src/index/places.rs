//! The places of an entry: its home bucket, its alternative, and the buckets after home.
//!
//! ```text
//!   home   +4    +8    +12   ...   +32      eight alternatives, four buckets apart
//!    [A]    [ ]   [B]   [ ]         [ ]     the low bits of the tag choose one of them
//!    [A][s][s]                              strays: A and B were full
//! ```
//!
//! An entry gets a lane in the first of these that suits it:
//!
//! 1. its home bucket, if that has at least two free lanes;
//! 2. its alternative, if that has at least two;
//! 3. its home bucket, if that has one;
//! 4. its alternative, if that has one;
//! 5. the first bucket after home that has one. The entry is a *stray* then.
//!
//! A choice between two places keeps their loads even, as in "Balanced allocations" (Azar, Broder,
//! Karlin and Upfal, 1994). There, an entry goes to the emptier place. Here, it goes home while two
//! lanes are free there, so that most searches end at home. Each bucket counts the strays that went
//! past it. A search stops where this count is 0. Entries at home and at their alternative are not
//! counted.
//!
//! Buckets near each other share much of their load. So alternatives lie far enough from home that
//! they often have room when home has none, and near enough that they mostly share a page with it.
//!
//! In a table whose entries come and go, at a load of 0.85, 64 % of the entries lie at home, 30 %
//! at their alternative, and 5 % are strays. A search for an absent key examines three or four
//! buckets.
//!
//! Alternatives beyond the end of the table are mirrored there. So the last 32 homes share their
//! load with fewer buckets. In a table of 100 to 200 buckets, 16 to 20 % of their entries are
//! strays, and a search for an absent key examines 12 to 15 buckets. From 512 buckets on, the spill
//! buckets make up for this. To wrap around to the first bucket would spread the load, but those
//! ids lie outside of the [`Stretch`](super::Stretch) that a policy has prepared for.
//!
//! A reader or a sweep that goes through the entries of a home comes to all eight alternatives. The
//! low bits of a tag say which of them an entry has. So most entries of other homes are left out
//! there without a look at their hash.

use super::Table;
use super::bucket::{Lanes, Tags};
use super::sweep::Progress;
use crate::hash::{KeyHash, LOW_BITS_OF_TAG};
use crate::units::EntryId;

/// Buckets between home and the nearest alternative, and between alternatives. Searches for absent
/// keys examine half as many buckets as with 1, at a load of 0.85, and as many as with 8.
const STRIDE: usize = 4;
/// The most buckets between home and an alternative. Nearly all strays are as near. An entry lies
/// in front of its home only if its alternative was mirrored, or if it is a stray that has wrapped
/// around.
pub(crate) const MARGIN: usize = 32;
/// The number of the last alternative of a home. The first one has number 0. The number of an
/// entry's alternative is made of the low bits of its tag, and this is their mask.
const LAST_ALTERNATIVE: u8 = LOW_BITS_OF_TAG;

const _: () = assert!(STRIDE * (LAST_ALTERNATIVE as usize + 1) <= MARGIN, "usual entries lie within the margin");

/// Returns the distance from home to an alternative, before the end of the table is considered.
#[inline(always)]
pub(super) fn distance(choice: u8) -> usize {
    STRIDE + STRIDE * usize::from(choice)
}

/// Returns an alternative of a home in a table of `size` buckets. Near the end of the table, it may
/// be the home bucket.
#[inline(always)]
pub(super) fn alternative(home: usize, choice: u8, size: usize) -> usize {
    let number = home + distance(choice);
    if number < size { number } else { at_the_end(number, size) }
}

/// Returns the bucket for an alternative that may lie beyond the end of the table. These are
/// mirrored there, so that the last buckets share this load.
#[cold]
fn at_the_end(number: usize, size: usize) -> usize {
    let extent = Table::extent(size);
    match number.checked_sub(extent) {
        None => number,
        Some(beyond) if beyond < extent => extent - 1 - beyond,
        Some(beyond) => beyond % extent,
    }
}

/// Returns the bucket after another in a table with `extent` buckets.
#[inline]
pub(super) fn after(number: usize, extent: usize) -> usize {
    if number + 1 >= extent { 0 } else { number + 1 }
}

/// Returns a free lane of a home bucket or its alternative, or `None` if both are full. The buckets
/// come with their tags.
#[inline(always)]
pub(super) fn usual_lane([(home, tags), (alternative, other_tags)]: [(usize, Tags); 2]) -> Option<EntryId> {
    let (at_home, there) = (tags.free(), other_tags.free());
    let is_home = at_home.are_several() || !at_home.are_none() && !there.are_several();
    let (number, mut lanes) = if is_home { (home, at_home) } else { (alternative, there) };
    lanes.next().map(|lane| EntryId::from_lane(number, lane))
}

/// The lane that a new entry gets. It stays free until the entry is
/// [published](super::Index::publish): other entries may be erased in between, and a sweep may
/// begin, but no entry is published or moved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FreeLane {
    id: EntryId,
    /// `true` if the lane is at home or at the alternative: the entry is no stray.
    is_usual: bool,
}

impl FreeLane {
    /// Returns a lane at home or at the alternative.
    #[inline(always)]
    pub(super) fn usual(id: EntryId) -> Self {
        Self { id, is_usual: true }
    }

    /// Returns the id that the entry will have.
    #[inline(always)]
    pub(crate) fn id(self) -> EntryId {
        self.id
    }
}

impl Table {
    /// Returns the lane that the next entry with this hash would get. See the module. For the
    /// holder of the lock.
    pub(super) fn free_lane_for(&self, hash: KeyHash) -> Option<FreeLane> {
        let size = self.size_for(self.own_progress(), hash);
        let stray = || self.stray_lane(size, hash, None).map(|id| FreeLane { id, is_usual: false });
        self.usual_lane_for(hash).or_else(stray)
    }

    /// Returns the lane that the next entry with this hash would get, unless it would be a stray.
    /// For the holder of the lock.
    pub(crate) fn usual_lane_for(&self, hash: KeyHash) -> Option<FreeLane> {
        let size = self.size_for(self.own_progress(), hash);
        self.usual_lane(size, hash).map(FreeLane::usual)
    }

    /// Counts the entry that is published in a lane in the buckets that it went past. For the
    /// holder of the lock.
    #[inline(always)]
    pub(super) fn count_way_to(&self, lane: FreeLane, hash: KeyHash) {
        // It went past none on the way to a usual lane.
        if !lane.is_usual {
            self.count_way(self.size_for(self.own_progress(), hash), hash, lane.id);
        }
    }

    /// Returns the alternative of the home bucket of a hash.
    #[inline(always)]
    pub(super) fn alternative_of(&self, home: usize, seen: Progress, hash: KeyHash) -> usize {
        let number = home + distance(hash.low_bits());
        let is_usual = number < seen.number() && !seen.is_sweeping();
        if is_usual { number } else { self.unusual_alternative(home, seen, hash) }
    }

    /// Is [`alternative_of`](Self::alternative_of) near the end of the table, or within a sweep.
    #[cold]
    #[inline(never)]
    fn unusual_alternative(&self, home: usize, seen: Progress, hash: KeyHash) -> usize {
        alternative(home, hash.low_bits(), self.size_for(seen, hash))
    }

    /// Returns the lane to which a sweep moves an entry, in a table of `size` buckets. An entry
    /// whose bucket suits it stays where it is.
    pub(super) fn lane_in(&self, size: usize, hash: KeyHash, own: EntryId) -> EntryId {
        let home = hash.bucket(size);
        if own.bucket() == home || own.bucket() == alternative(home, hash.low_bits(), size) {
            return own;
        }
        let lane = self.usual_lane(size, hash).or_else(|| self.stray_lane(size, hash, Some(own)));
        lane.unwrap_or(own)
    }

    /// Returns a free lane at home or at the alternative, or `None` if both are full.
    fn usual_lane(&self, size: usize, hash: KeyHash) -> Option<EntryId> {
        let home = hash.bucket(size);
        let places = [home, alternative(home, hash.low_bits(), size)];
        usual_lane(places.map(|number| (number, self.bucket(number).tags())))
    }

    /// Returns the first free lane beyond home, or `None` if the entry's own lane comes first.
    #[cold]
    fn stray_lane(&self, size: usize, hash: KeyHash, own: Option<EntryId>) -> Option<EntryId> {
        let (mut number, extent) = (hash.bucket(size), Self::extent(size));
        for _ in 1..extent {
            number = after(number, extent);
            if own.is_some_and(|own| own.bucket() == number) {
                return None;
            }
            if let Some(lane) = self.bucket(number).tags().free().next() {
                return Some(EntryId::from_lane(number, lane));
            }
        }
        None
    }

    /// Calls `each` with the buckets that an entry went past, in a table of `size` buckets: none if
    /// it lies at home or at its alternative.
    #[inline]
    pub(super) fn for_each_passed(&self, size: usize, hash: KeyHash, id: EntryId, each: impl FnMut(usize)) {
        let (own, home) = (id.bucket(), hash.bucket(size));
        if own != home && own != alternative(home, hash.low_bits(), size) {
            Self::for_each_until(home, own, Self::extent(size), each);
        }
    }

    /// Calls `each` with the buckets from `number` on to the one before `own`.
    #[cold]
    fn for_each_until(mut number: usize, own: usize, extent: usize, mut each: impl FnMut(usize)) {
        // A custom hasher whose hashes change may lead to a layout that does not have the bucket.
        if own >= extent {
            return;
        }
        // Ends: all buckets of the layout come.
        while number != own {
            each(number);
            number = after(number, extent);
        }
    }

    /// Counts an entry in the buckets that it went past.
    #[inline]
    pub(super) fn count_way(&self, size: usize, hash: KeyHash, id: EntryId) {
        self.for_each_passed(size, hash, id, |number| self.bucket(number).add_overflow());
    }

    /// Subtracts an entry from the counts of the buckets that it went past.
    #[inline]
    pub(super) fn discount_way(&self, size: usize, hash: KeyHash, id: EntryId) {
        self.for_each_passed(size, hash, id, |number| self.bucket(number).remove_overflow());
    }
}

/// The way through the buckets in which the entries of a home may lie.
///
/// While a lane keeps its tag, it comes at most once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    home: usize,
    size: usize,
    stop: Stop,
}

/// A place on a way.
#[derive(Clone, Copy, Debug)]
enum Stop {
    /// The way has not begun.
    Before,
    Home,
    /// The alternative of entries whose tags have these low bits.
    Alternative(u8),
    /// A bucket for strays, at this distance from home.
    Beyond(usize),
}

impl Way {
    /// Returns the way of a home in a table of `size` buckets.
    pub(super) fn new(home: usize, size: usize) -> Self {
        Self { home, size, stop: Stop::Before }
    }

    /// Goes on to the next bucket. Returns its number, and the lanes whose entries may belong to
    /// the home.
    pub(super) fn next(&mut self, table: &Table) -> Option<(usize, Lanes)> {
        self.stop = match self.stop {
            Stop::Before => Stop::Home,
            Stop::Home => Stop::Alternative(0),
            Stop::Alternative(choice) if choice < LAST_ALTERNATIVE => Stop::Alternative(choice + 1),
            Stop::Alternative(_) => self.beyond(table, 0)?,
            Stop::Beyond(passed) => self.beyond(table, passed)?,
        };
        let number = self.number();
        Some((number, self.lanes(table.bucket(number).tags())))
    }

    /// Like [`next`](Self::next), but leaves strays out.
    pub(super) fn next_usual(&mut self, table: &Table) -> Option<(usize, Lanes)> {
        let is_last = matches!(self.stop, Stop::Alternative(LAST_ALTERNATIVE) | Stop::Beyond(_));
        if is_last { None } else { self.next(table) }
    }

    /// Returns the place after the bucket that is `passed` buckets away from home.
    fn beyond(&self, table: &Table, passed: usize) -> Option<Stop> {
        let has_strays = table.bucket(self.at(passed)).has_overflowed();
        // Ends after every bucket has come, even if the overflow counts are wrong.
        (has_strays && passed + 1 < Table::extent(self.size)).then_some(Stop::Beyond(passed + 1))
    }

    fn at(&self, distance: usize) -> usize {
        let (number, extent) = (self.home + distance, Table::extent(self.size));
        if number < extent { number } else { number - extent }
    }

    fn number(&self) -> usize {
        match self.stop {
            Stop::Before | Stop::Home => self.home,
            Stop::Alternative(choice) => alternative(self.home, choice, self.size),
            Stop::Beyond(distance) => self.at(distance),
        }
    }

    fn lanes(&self, tags: Tags) -> Lanes {
        let number = self.number();
        let chosen_by = |choice: u8| tags.with_low_bits(LAST_ALTERNATIVE, choice);
        match self.stop {
            Stop::Before | Stop::Home => tags.used(),
            Stop::Alternative(_) if number == self.home => Lanes::NONE,
            Stop::Alternative(choice) => chosen_by(choice),
            Stop::Beyond(_) => {
                let choices =
                    (0..=LAST_ALTERNATIVE).filter(|&choice| alternative(self.home, choice, self.size) == number);
                choices.fold(tags.used(), |lanes, choice| lanes.without(chosen_by(choice)))
            }
        }
    }

    /// Returns `true` if an entry in this bucket belongs to this place of the way. The entry has
    /// this hash, which leads to the home.
    pub(super) fn leads_to(&self, hash: KeyHash) -> bool {
        match self.stop {
            Stop::Before | Stop::Home => true,
            Stop::Alternative(choice) => hash.low_bits() == choice,
            Stop::Beyond(_) => alternative(self.home, hash.low_bits(), self.size) != self.number(),
        }
    }
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use super::*;
    use crate::index::{Index, LocationBits};
    use crate::units::{LANES, Location};

    fn index(size: usize) -> Index {
        Index::new(Arc::new(Table::new(size, size, LocationBits::for_arena(1 << 20)).unwrap()))
    }

    fn insert(index: &mut Index, hash: KeyHash) -> EntryId {
        let lane = index.free_lane(hash).unwrap();
        index.publish(lane, hash, Location::from_offset(0).unwrap());
        lane.id()
    }

    fn counts(index: &Index, buckets: core::ops::Range<usize>) -> Vec<u8> {
        buckets.map(|number| index.table().bucket(number).overflow()).collect()
    }

    /// Low bits of 2 choose the third alternative, 12 buckets behind home. Both fill up to one free
    /// lane, one after the other, before either is filled. The strays follow home.
    #[test]
    fn entries_fill_home_and_alternative_and_then_stray() {
        let (mut index, hash) = (index(40), KeyHash::new(2));
        let entries = 2 * LANES + LANES + 1;
        let ids: Vec<EntryId> = (0..entries).map(|_| insert(&mut index, hash)).collect();
        let lanes_of =
            |bucket: usize, range: core::ops::Range<usize>| ids[range].iter().all(|id| id.bucket() == bucket);
        assert!(lanes_of(0, 0..LANES - 1) && lanes_of(12, LANES - 1..2 * LANES - 2));
        assert!(lanes_of(0, 2 * LANES - 2..2 * LANES - 1) && lanes_of(12, 2 * LANES - 1..2 * LANES));
        assert!(lanes_of(1, 2 * LANES..3 * LANES) && lanes_of(2, 3 * LANES..entries));
        // Only strays are counted.
        assert_eq!(counts(&index, 0..4), [13, 1, 0, 0]);
        assert_eq!(counts(&index, 12..14), [0, 0]);
        assert_eq!(
            index.table().own_candidates(hash).map(|found| found.lane().id()).collect::<HashSet<_>>().len(),
            entries
        );
        // Entries at home and at their alternative leave the counts as they are.
        for id in [ids[0], ids[LANES]] {
            index.erase(id, Some(hash));
        }
        assert_eq!(counts(&index, 0..2), [13, 1]);
        index.erase(ids[entries - 1], Some(hash));
        assert_eq!(counts(&index, 0..2), [12, 0]);
    }

    /// Hashes of the first half of the homes, three for each lane. At the end both places of many
    /// are full.
    #[test]
    fn a_search_that_finds_nothing_tells_the_usual_lane_of_a_new_entry() {
        for size in [4, 40, 70] {
            let mut index = index(size);
            let mut strays = 0;
            for number in 0..size as u64 * LANES as u64 * 3 {
                let hash = KeyHash::new(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 1);
                let told = match index.table().own_candidate_or_lane(hash) {
                    Err(lane) => lane,
                    Ok(_) => index.table().usual_lane_for(hash),
                };
                let lane = index.free_lane(hash);
                let usual = lane.filter(|lane| lane.is_usual);
                assert_eq!(told.map(FreeLane::id), usual.map(FreeLane::id), "{number} of {size}");
                strays += usize::from(lane.is_some() && told.is_none());
                if let Some(lane) = lane.filter(|_| index.has_room()) {
                    index.publish(lane, hash, Location::from_offset(0).unwrap());
                }
            }
            assert!(strays > 0 && !index.has_room());
        }
    }

    #[test]
    fn a_new_entry_has_no_visits_of_the_one_before_it_in_its_lane() {
        let (mut index, hash) = (index(40), KeyHash::new(2));
        let first = insert(&mut index, hash);
        index.table().visit(first);
        index.erase(first, Some(hash));
        let second = insert(&mut index, hash);
        assert_eq!((second, index.table().visits(second)), (first, 0));
    }

    #[test]
    fn alternatives_lie_in_tables_of_any_size() {
        for size in (1..200).chain([1_000, 1_023, 1_024, 5_000]) {
            for home in (0..size).rev().take(80) {
                let alternatives: HashSet<usize> =
                    (0..=LAST_ALTERNATIVE).map(|choice| alternative(home, choice, size)).collect();
                assert!(alternatives.iter().all(|&number| number < Table::extent(size)), "{home} of {size}");
                assert!(size < 64 || alternatives.len() > LAST_ALTERNATIVE.into(), "{home} of {size}");
            }
        }
    }

    #[test]
    fn a_way_comes_to_each_lane_once_and_to_every_place_of_a_hash() {
        for size in [1, 4, 5, 9, 31, 40, 100] {
            let index = index(size);
            let table = index.table();
            for number in 0..Table::extent(size) {
                // Every bucket is on the way of strays.
                table.bucket(number).add_overflow();
                #[allow(clippy::cast_possible_truncation, reason = "any tags from 8 on")]
                (0..LANES).for_each(|lane| table.bucket(number).set_tag(lane, (8 + number * 5 + lane) as u8 % 120 + 8));
            }
            for home in 0..size {
                let (mut way, mut lanes) = (Way::new(home, size), HashSet::new());
                while let Some((number, of_home)) = way.next(table) {
                    for lane in of_home {
                        assert!(lanes.insert((number, lane)), "{number} of {size}");
                        let hash = KeyHash::new(u64::from(table.bucket(number).tag(lane)));
                        assert!(way.leads_to(hash));
                    }
                }
                assert_eq!(lanes.len(), Table::extent(size) * LANES);
            }
        }
    }

    /// A few entries stray where entries come and go. With alternatives next to home, or without
    /// them, there would be more.
    #[test]
    fn few_entries_stray_where_entries_come_and_go() {
        let mut index = index(512);
        let mut seed = 1_u64;
        let mut random = || {
            seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            KeyHash::new((seed ^ seed >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed >> 17)
        };
        let mut entries: Vec<(EntryId, KeyHash)> = Vec::new();
        while index.has_room() {
            let hash = random();
            entries.push((insert(&mut index, hash), hash));
        }
        for _ in 0..5 * entries.len() {
            let hash = random();
            let gone = random().bucket(entries.len());
            index.erase(entries[gone].0, Some(entries[gone].1));
            entries[gone] = (insert(&mut index, hash), hash);
        }
        let (mut at_home, mut strays) = (0, 0);
        for (id, hash) in &entries {
            let home = hash.bucket(512);
            at_home += usize::from(id.bucket() == home);
            let places = [home, alternative(home, hash.low_bits(), 512)];
            strays += usize::from(!places.contains(&id.bucket()));
        }
        let percent = |part: usize| part * 100 / entries.len();
        assert!((60..70).contains(&percent(at_home)), "{} %", percent(at_home));
        assert!(percent(strays) <= 5, "{} %", percent(strays));
    }
}
