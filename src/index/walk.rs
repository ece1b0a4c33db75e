//! A walk through the entries of a table, home bucket by home bucket.
//!
//! Home buckets come from a high multiply, so a table keeps the order of hashes, whatever its size.
//! The place of a walk is therefore a hash. The walk goes on from there when a sweep gives the
//! table another size.
//!
//! ```text
//!   from ... until  the hashes that the walk is showing: those of a home bucket that were not
//!                   passed, and that lie on the same side of a sweep
//!        [home] -> alternatives -> strays   buckets in which their entries may lie (`places.rs`)
//! ```
//!
//! # Invariants
//!
//! 1. A walk shows every entry that is present throughout, together with its home bucket, in
//!    whichever bucket the entry lies.
//! 2. While no sweep passes the walk, no lane is shown twice while it keeps its tag. When a sweep
//!    passes, the walk begins its current home bucket again.
//!
//! # Synchronization
//!
//! The same as for a search: the tag, the location and the overflow counts of an entry that is
//! present throughout do not change, or a sweep has passed. A walk recognises that by the
//! [`Layout`] of its place.

use super::bucket::Lanes;
use super::places::Way;
use super::sweep::{Layout, Progress};
use super::{Candidate, Table};
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
    layout: Layout,
    /// The first hash after those that are being shown. `None` if all larger ones are.
    until: Option<KeyHash>,
    way: Way,
    number: usize,
    /// Lanes that are still to be shown.
    lanes: Lanes,
}

/// The result of a step of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A lane whose entry is to be shown, if the walk [is at](Walk::is_at) its hash.
    Lane(EntryId),
    /// The walk has moved on to another bucket.
    Onward,
    End,
}

impl Walk {
    pub(crate) fn start() -> Self {
        Self { from: Some(KeyHash::new(0)), stop: None }
    }

    /// Returns `true` if an entry with this hash is to be shown at the place of the walk.
    pub(crate) fn is_at(&self, hash: KeyHash) -> bool {
        let begins = self.from.is_some_and(|from| hash.get() >= from.get());
        let ends = |stop: &Stop| stop.until.is_some_and(|until| hash.get() >= until.get());
        begins && self.stop.is_some_and(|stop| !ends(&stop) && stop.way.leads_to(hash))
    }
}

impl Table {
    /// Takes one step of a walk, with the progress that was loaded before.
    pub(crate) fn step(&self, seen: Progress, walk: &mut Walk) -> Step {
        let Some(from) = walk.from else { return Step::End };
        let layout = self.layout(seen, from);
        let Some(mut stop) = walk.stop.filter(|stop| stop.layout == layout) else {
            let until = self.end_of_home(seen, layout, from);
            walk.stop = self.stop(layout, until, Way::new(from.bucket(layout.buckets), layout.buckets));
            return Step::Onward;
        };
        if let Some(lane) = stop.lanes.next() {
            walk.stop = Some(stop);
            return Step::Lane(EntryId::from_lane(stop.number, lane));
        }
        match self.stop(layout, stop.until, stop.way) {
            Some(next) => walk.stop = Some(next),
            None => *walk = Walk { from: stop.until, stop: None },
        }
        Step::Onward
    }

    /// Returns the next stop on a way, or `None` at its end. Goes past buckets without entries of
    /// the home, up to the last alternative.
    fn stop(&self, layout: Layout, until: Option<KeyHash>, mut way: Way) -> Option<Stop> {
        let (mut number, mut lanes) = way.next(self)?;
        while lanes.are_none() {
            let Some(next) = way.next_usual(self) else { break };
            (number, lanes) = next;
        }
        Some(Stop { layout, until, way, number, lanes })
    }

    /// Returns the first hash after `from` that has another home bucket, or that lies on the other
    /// side of a sweep.
    fn end_of_home(&self, seen: Progress, layout: Layout, from: KeyHash) -> Option<KeyHash> {
        let end = KeyHash::first_in(from.bucket(layout.buckets) + 1, layout.buckets);
        let border = self.border(seen).filter(|border| border.get() > from.get());
        match (end, border) {
            (Some(end), Some(border)) if border.get() < end.get() => Some(border),
            (None, border) => border,
            (end, _) => end,
        }
    }

    /// Returns `true` if a sweep may have passed a walk since `seen` was loaded. Then a step has to
    /// be taken again.
    pub(crate) fn may_have_passed(&self, seen: Progress, walk: &Walk) -> bool {
        walk.from.is_some_and(|from| self.may_have_moved(seen, from))
    }

    /// Returns the entries that a walk is about to show, as candidates.
    pub(crate) fn ahead(&self, walk: &Walk) -> impl Iterator<Item = Candidate<'_>> {
        let stop = walk.stop.into_iter();
        let ids = stop.flat_map(|stop| stop.lanes.map(move |lane| EntryId::from_lane(stop.number, lane)));
        ids.filter_map(|id| self.candidate(id))
    }

    /// Returns the lane of an id and its location, for a reader. Returns `None` if there is no
    /// entry.
    pub(crate) fn candidate(&self, id: EntryId) -> Option<Candidate<'_>> {
        Candidate::in_lane(self.lane(id), self.bucket(id.bucket()).word(id.lane()))
    }
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use super::*;
    use crate::index::{Index, LocationBits, Swept};
    use crate::reclaim::{Live, WriteToken};
    use crate::units::Location;

    fn table(buckets: usize) -> Arc<Table> {
        Arc::new(Table::new(buckets, 2000, LocationBits::for_arena(1 << 20)).unwrap())
    }

    fn number(live: Live<'_>) -> usize {
        live.location().offset() / 4
    }

    fn insert(index: &mut Index, number: usize, hash: KeyHash) {
        let lane = index.free_lane(hash).unwrap();
        index.publish(lane, hash, Location::from_offset(number * 4).unwrap());
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
            match table.step(table.progress(), &mut walk) {
                Step::End => return met,
                Step::Onward => {}
                Step::Lane(id) => {
                    let entry = table.live(id, &token).map(number);
                    if let Some(entry) = entry.filter(|&entry| walk.is_at(hash_of(entry))) {
                        *met.entry(entry).or_default() += 1;
                        each(index, entry);
                    }
                }
            }
        }
    }

    #[test]
    fn a_home_without_entries_takes_two_steps() {
        let index = Index::new(table(100));
        let (table, mut walk) = (index.table(), Walk::start());
        let steps = core::iter::from_fn(|| Some(table.step(table.progress(), &mut walk)));
        assert_eq!(steps.take_while(|&step| step != Step::End).count(), 200);
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
    fn a_walk_beside_sweeps_meets_all_and_few_of_them_twice() {
        for (first, second, third) in [(4, 5, 40), (40, 41, 43), (100, 800, 90), (900, 128, 129), (129, 64, 70)] {
            for homes_for_each in [1, 2, 7] {
                let mut index = Index::new(table(first));
                let entries = Index::max_len_of(first.min(second).min(third));
                (0..entries).for_each(|number| insert(&mut index, number, spread(number)));
                // SAFETY: no other thread has the index.
                let token = unsafe { WriteToken::new() };
                let mut sizes = [second, third].into_iter();
                let times = met(&mut index, spread, |index, _| {
                    for _ in 0..homes_for_each {
                        let swept = index.sweep_home(
                            &mut Vec::with_capacity(entries),
                            &token,
                            |_| {},
                            |live| spread(number(live)),
                            |_, _, _| {},
                        );
                        if swept == Swept::All {
                            index.end_sweep();
                            if let Some(size) = sizes.next() {
                                index.begin_sweep(size);
                            }
                        }
                    }
                });
                assert_eq!(times.len(), entries, "from {first} to {second} and {third} buckets");
                let twice = times.values().filter(|&&times| times > 1).count();
                // Each sweep passes the walk once, and it begins a home bucket again.
                assert!(twice <= 60, "{twice} of {entries}");
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
