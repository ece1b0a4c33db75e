//! A walk through the entries of a table, home bucket by home bucket.
//!
//! Home buckets come from a high multiply, so tables of any size keep the order of hashes. The
//! place of a walk is therefore a hash. The walk goes on from there when another table replaces the
//! one in which it began.
//!
//! ```text
//!   from            the walk's place: entries with smaller hashes have been passed
//!     |  home  |    the hashes from there to the next home bucket
//!        [home] -> [next] -> [next]   buckets in which their entries may lie: the overflow counts
//!                                     say how far
//! ```
//!
//! # Invariants
//!
//! 1. A walk shows every entry that is present throughout, together with its home bucket, in
//!    whichever bucket the entry lies.
//! 2. While the table stays the same, no lane is shown twice. When the table is replaced, the walk
//!    begins its current home bucket again.
//!
//! # Synchronization
//!
//! The same as for a search: in one table, the tag, the location and the overflow counts of an
//! entry that is present throughout do not change. A walk recognises the next table by its size, as
//! an index is never replaced by one of the same size.

use super::bucket::Lanes;
use super::{Candidate, Lane, Table};
use crate::hash::KeyHash;
use crate::units::EntryId;

/// The place of a walk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk {
    /// The smallest hash that has not been passed. `None` at the end.
    from: Option<KeyHash>,
    stop: Option<Stop>,
}

/// A bucket in which entries of the home may lie.
#[derive(Clone, Copy, Debug)]
struct Stop {
    /// The size of the table.
    buckets: usize,
    number: usize,
    /// The number of buckets that have been passed, from the home bucket on.
    passed: usize,
    /// Lanes that are still to be shown.
    lanes: Lanes,
}

/// The result of a step of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A lane whose entry is to be shown, if the walk [is at](Table::is_at) its home bucket.
    Lane(EntryId),
    /// The walk has moved on to another bucket.
    Onward,
    End,
}

impl Walk {
    pub(crate) fn start() -> Self {
        Self { from: Some(KeyHash::new(0)), stop: None }
    }
}

impl Table {
    /// Takes one step of a walk.
    pub(crate) fn step(&self, walk: &mut Walk) -> Step {
        let Some(from) = walk.from else { return Step::End };
        let Some(mut stop) = walk.stop.filter(|stop| stop.buckets == self.buckets()) else {
            walk.stop = Some(self.stop(self.home(from), 0));
            return Step::Onward;
        };
        if let Some(lane) = stop.lanes.next() {
            walk.stop = Some(stop);
            return Step::Lane(EntryId::from_lane(stop.number, lane));
        }
        let passed = stop.passed + 1;
        // Ends after every bucket was passed once, even if the overflow counts are wrong.
        if self.bucket(stop.number).has_overflowed() && passed < self.buckets() {
            walk.stop = Some(self.stop(self.next(stop.number), passed));
        } else {
            *walk = Walk { from: KeyHash::first_in(self.home(from) + 1, self.buckets()), stop: None };
        }
        Step::Onward
    }

    fn stop(&self, number: usize, passed: usize) -> Stop {
        Stop { buckets: self.buckets(), number, passed, lanes: self.bucket(number).tags().used() }
    }

    /// Returns `true` if an entry with this hash is to be shown at the place of a walk.
    pub(crate) fn is_at(&self, walk: &Walk, hash: KeyHash) -> bool {
        walk.from.is_some_and(|from| hash.get() >= from.get() && self.home(hash) == self.home(from))
    }

    /// Returns the entries that a walk is about to show, as candidates.
    pub(crate) fn ahead(&self, walk: &Walk) -> impl Iterator<Item = Candidate<'_>> {
        let stop = walk.stop.filter(|stop| stop.buckets == self.buckets());
        let ids = stop.into_iter().flat_map(|stop| stop.lanes.map(move |lane| EntryId::from_lane(stop.number, lane)));
        ids.filter_map(|id| self.candidate(id))
    }

    /// Returns the lane of an id and its location, for a reader. Returns `None` if there is no
    /// entry.
    pub(crate) fn candidate(&self, id: EntryId) -> Option<Candidate<'_>> {
        let bucket = self.bucket(id.bucket());
        let lane = Lane { bucket, bits: self.bits, number: id.bucket(), lane: id.lane() };
        Candidate::in_lane(lane, bucket.word(id.lane()))
    }
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use super::*;
    use crate::index::{Index, LocationBits};
    use crate::reclaim::{Live, WriteToken};
    use crate::units::Location;

    fn table(buckets: usize) -> Arc<Table> {
        Arc::new(Table::new(buckets, LocationBits::for_arena(1 << 20)).unwrap())
    }

    fn number(live: Live<'_>) -> usize {
        live.location().offset() / 4
    }

    fn insert(index: &mut Index, number: usize, hash: KeyHash) {
        let id = index.free_lane(hash).unwrap();
        index.publish(id, hash, Location::from_offset(number * 4).unwrap());
    }

    /// Returns how often a walk shows each entry. `each` may change the index after each.
    fn met(
        index: &mut Index,
        hash_of: impl Fn(usize) -> KeyHash,
        mut each: impl FnMut(&mut Index, usize),
    ) -> HashMap<usize, u32> {
        // SAFETY: no other thread has the index.
        let token = unsafe { WriteToken::new() };
        let (mut walk, mut met) = (Walk::start(), HashMap::new());
        loop {
            let table = Arc::clone(index.table());
            match table.step(&mut walk) {
                Step::End => return met,
                Step::Onward => {}
                Step::Lane(id) => {
                    let entry = table.live(id, &token).map(number);
                    if let Some(entry) = entry.filter(|&entry| table.is_at(&walk, hash_of(entry))) {
                        *met.entry(entry).or_default() += 1;
                        each(index, entry);
                    }
                }
            }
        }
    }

    fn spread(number: usize) -> KeyHash {
        KeyHash::new((number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    #[test]
    fn tables_of_any_size_are_met_once_also_what_wraps_round() {
        for buckets in [4, 5, 7, 64, 100, 1_013] {
            for hash_of in
                [spread, |_| KeyHash::new(u64::MAX), |number| KeyHash::new(u64::MAX / 7 * (number as u64 % 8))]
            {
                let mut index = Index::new(table(buckets));
                let entries = Index::max_len_of(buckets);
                (0..entries).for_each(|number| insert(&mut index, number, hash_of(number)));
                let met = met(&mut index, hash_of, |_, _| {});
                assert_eq!(met.len(), entries, "{buckets} buckets");
                assert!(met.values().all(|&times| times == 1), "{buckets} buckets");
            }
        }
    }

    #[test]
    fn a_walk_through_growing_tables_meets_all_and_few_of_them_twice() {
        for (first, second, third) in [(4, 5, 40), (40, 41, 43), (100, 800, 900), (64, 128, 129)] {
            for (stop, again) in [(1, 2), (3, 9), (20, 25), (30, 38)] {
                let mut index = Index::new(table(first));
                let entries = Index::max_len_of(first);
                (0..entries).for_each(|number| insert(&mut index, number, spread(number)));
                // SAFETY: no other thread has the index.
                let token = unsafe { WriteToken::new() };
                let mut count = 0;
                let times = met(&mut index, spread, |index, _| {
                    count += 1;
                    let larger = if count == stop { second } else { third };
                    if count == stop || count == again {
                        index.move_to(table(larger), &token, |_| {}, |live| spread(number(live)), |_, _, _| {});
                    }
                });
                assert_eq!(times.len(), entries, "from {first} to {second} and {third} buckets");
                let twice = times.values().filter(|&&times| times > 1).count();
                // At most two home buckets are begun again, with the entries that had been shown by
                // then.
                assert!(twice <= 2 * 30 && times.values().sum::<u32>() as usize <= entries + 60);
            }
        }
    }

    #[test]
    fn removals_while_a_walk_goes_on_hide_nothing_that_stays() {
        let same_home = |number: usize| KeyHash::new(number as u64);
        let mut index = Index::new(table(40));
        (0..200).for_each(|number| insert(&mut index, number, same_home(number)));
        let find = |index: &Index, number: usize| {
            let location = Location::from_offset(number * 4).unwrap();
            index.table().find_location(same_home(number), location)
        };
        // Each entry that is shown is removed, together with one that comes much later. So overflow
        // counts fall, and the other entries must still be shown.
        let met = met(&mut index, same_home, |index, entry| {
            for gone in [entry, 199 - entry / 2] {
                if let Some(id) = find(index, gone) {
                    index.erase(id, Some(same_home(gone)));
                }
            }
        });
        assert!((0..100).all(|number| met.contains_key(&number)), "{met:?}");
        assert_eq!(index.len(), 0);
    }
}
