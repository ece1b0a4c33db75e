use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::index::{LocationBits, MIN_BUCKETS};
use crate::units::Location;

/// An index of entries that are numbers, and the id of each.
struct Numbers {
    index: Index,
    ids: HashMap<usize, EntryId>,
    token: WriteToken,
    hash_of: Box<dyn Fn(usize) -> KeyHash>,
}

fn spread(number: usize) -> KeyHash {
    KeyHash::new((number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn number(live: Live<'_>) -> usize {
    live.location().offset() / 4
}

fn location(number: usize) -> Location {
    Location::from_offset(number * 4).unwrap()
}

impl Numbers {
    fn new(buckets: usize, hash_of: impl Fn(usize) -> KeyHash + 'static) -> Self {
        let table = Table::new(buckets, 600, LocationBits::for_arena(1 << 20)).unwrap();
        // SAFETY: the test's only token, and no other thread has the index.
        let token = unsafe { WriteToken::new() };
        Self { index: Index::new(Arc::new(table)), ids: HashMap::new(), token, hash_of: Box::new(hash_of) }
    }

    fn toggle(&mut self, number: usize) {
        let hash = (self.hash_of)(number);
        match self.ids.remove(&number) {
            Some(id) => {
                let hash = self.index.may_be_stray(id).then_some(hash);
                self.index.erase(id, hash);
            }
            None if self.index.has_room() => {
                let lane = self.index.free_lane(hash).expect("a free lane");
                self.index.publish(lane, hash, location(number));
                self.ids.insert(number, lane.id());
            }
            None => {}
        }
    }

    /// Returns `false` if all homes have moved.
    fn sweep(&mut self) -> bool {
        let Self { index, ids, token, hash_of } = self;
        let stretch = index.next_stretch(1);
        let swept = index.sweep_home(
            &mut Vec::with_capacity(ids.len()),
            token,
            |_| {},
            |live| hash_of(number(live)),
            |from, to, live| {
                assert_eq!(ids.insert(number(live), to), Some(from));
                assert!(ids.len() > 2 * MIN_BUCKETS * LANES || stretch.is_some());
            },
        );
        assert!(!matches!(swept, Swept::Crowded(_)));
        if swept == Swept::All {
            index.end_sweep();
        }
        swept != Swept::All
    }

    fn check(&self) {
        let hash_of = |live: Live<'_>| (self.hash_of)(number(live));
        assert_eq!(self.index.validate(&self.token, hash_of).len(), self.ids.len());
        for (&number, &id) in &self.ids {
            assert_eq!(self.index.table.find_location((self.hash_of)(number), location(number)), Some(id));
        }
    }
}

#[test]
fn entries_keep_their_visits_through_a_sweep_and_none_is_lost() {
    for to in [13, 40, 600, 9] {
        let mut numbers = Numbers::new(10, spread);
        (0..90).for_each(|number| numbers.toggle(number));
        let visited = numbers.ids[&7];
        numbers.index.table.set_visits(visited, 2);
        numbers.index.begin_sweep(to);
        while numbers.sweep() {
            numbers.check();
        }
        numbers.check();
        assert_eq!(numbers.index.table.size(), to);
        assert_eq!(numbers.index.table.visits(numbers.ids[&7]), 2);
        assert!(numbers.ids.values().all(|id| id.bucket() < Table::extent(to)));
    }
}

/// Entries come and go before the sweep, so that some are strays. Few of those lie far from
/// home.
#[test]
fn usual_entries_move_within_the_ranges_of_their_stretch() {
    let random = |number: usize| {
        let bits = spread(number).get();
        KeyHash::new((bits ^ bits >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ bits >> 17)
    };
    for (from, to) in [(300, 310), (130, 590), (590, 130), (310, 300)] {
        let mut numbers = Numbers::new(from, random);
        let entries = Index::max_len_of(from.min(to));
        (0..entries).for_each(|number| numbers.toggle(number));
        for number in 0..5 * entries {
            numbers.toggle(number);
            numbers.toggle(number + entries);
        }
        numbers.index.begin_sweep(to);
        let (mut homes, mut far) = (0, 0);
        while let Some(stretch) = numbers.index.next_stretch(9) {
            while !numbers.index.has_swept(&stretch) {
                let Numbers { index, token, .. } = &mut numbers;
                let swept = index.sweep_home(
                    &mut Vec::with_capacity(entries),
                    token,
                    |_| {},
                    |live| random(number(live)),
                    |old, new, _| {
                        let is_near = stretch.from.contains(&old.get()) && stretch.to.contains(&new.get());
                        far += usize::from(!is_near);
                    },
                );
                assert!(matches!(swept, Swept::Home(_)));
                homes += 1;
            }
        }
        assert_eq!(homes, from);
        assert!(far * 1000 <= entries, "{far} of {entries}");
    }
}

/// Entries that share a few homes lie far behind them. Those beyond the end of the smaller
/// table get the lanes that are left.
fn check_sweep_of_hashes(hashes: Vec<KeyHash>, from: usize, to: usize, entries: usize) {
    let mut numbers = Numbers::new(from, move |number| hashes[number % hashes.len()]);
    (0..entries).for_each(|number| numbers.toggle(number));
    assert_eq!(numbers.ids.len(), entries);
    numbers.index.begin_sweep(to);
    while numbers.sweep() {}
    numbers.check();
    assert!(numbers.ids.values().all(|id| id.bucket() < Table::extent(to)), "from {from} to {to}");
}

#[test]
fn entries_that_share_a_home_find_room_in_a_smaller_table() {
    check_sweep_of_hashes(vec![KeyHash::new(0x20ad_d797_76a6_db17)], 147, 34, 344);
    check_sweep_of_hashes(vec![KeyHash::new((u64::MAX / 100 * 42) | 7)], 20, 4, 40);
}

#[test]
fn a_home_with_more_entries_than_scratch_memory_does_not_move() {
    let mut numbers = Numbers::new(10, |_| KeyHash::new(u64::MAX));
    (0..70).for_each(|number| numbers.toggle(number));
    numbers.index.begin_sweep(20);
    let Numbers { index, token, hash_of, .. } = &mut numbers;
    let mut moving = Vec::with_capacity(64);
    let hash = |live: Live<'_>| hash_of(number(live));
    let swept = index.sweep_home(&mut moving, token, |_| {}, hash, |_, _, _| panic!("one has moved"));
    assert_eq!((swept, moving.len(), moving.capacity()), (Swept::Crowded(70), 64, 64));
    numbers.check();
    while numbers.sweep() {}
    numbers.check();
    assert_eq!(numbers.index.table.size(), 20);
}

proptest! {
    #[test]
    fn sweeps_lose_no_entry_that_shares_its_home(
        hashes in prop::collection::vec(any::<u64>().prop_map(KeyHash::new), 1..5),
        sizes in (MIN_BUCKETS..150, MIN_BUCKETS..150),
    ) {
        check_sweep_of_hashes(hashes, sizes.0, sizes.1, Index::max_len_of(sizes.0.min(sizes.1)));
    }

    /// Inserts and removals between the steps of sweeps to any size, with good hashers and poor
    /// ones.
    #[test]
    fn nothing_is_lost_whatever_happens_between_steps(
        hasher in 0..4_usize,
        steps in prop::collection::vec((0..6_u8, 0..400_usize), 1..600),
    ) {
        let poor: fn(usize) -> KeyHash = |number| KeyHash::new(u64::MAX - (number as u64 % 3));
        let steep: fn(usize) -> KeyHash = |number| KeyHash::new(((number as u64 % 8) << 61) | (number as u64 % 256));
        let middle: fn(usize) -> KeyHash = |_| KeyHash::new((u64::MAX / 100 * 42) | 7);
        let mut numbers = Numbers::new(20, [spread, poor, steep, middle][hasher]);
        for (step, number) in steps {
            match step {
                0 if numbers.index.table.own_sweep().is_none() => {
                    let to = MIN_BUCKETS + number % 100;
                    if Index::max_len_of(to) >= numbers.ids.len() && to != numbers.index.table.size() {
                        numbers.index.begin_sweep(to);
                    }
                }
                0 | 1 => {
                    numbers.sweep();
                    numbers.check();
                }
                _ => numbers.toggle(number),
            }
        }
        numbers.check();
    }
}
