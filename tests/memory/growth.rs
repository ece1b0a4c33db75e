//! The index follows the number of entries, in small steps and without a loss of entries.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use core::ops::Range;

use bytecache::policy::{EntryId, EvictionPolicy, Newcomer, Residents};
use bytecache::testing::Inspect;
use bytecache::{Cache, Policy, StableHash};

use crate::support::alone;

/// Inserts `count` new keys with values of this length. Returns the largest share of entries by
/// which the cache had fewer than at an earlier time meanwhile.
fn worst_fall(cache: &Cache, next: &mut u64, count: u64, value_len: usize) -> f64 {
    let (mut most, mut fall) = (cache.len(), 0.0_f64);
    for number in 0..count {
        *next += 1;
        cache.insert(next.to_le_bytes(), vec![7; value_len]).unwrap();
        if number % 1000 == 0 {
            most = most.max(cache.len());
            fall = fall.max(1.0 - cache.len() as f64 / most as f64);
        }
    }
    fall
}

#[test]
fn a_hint_that_is_too_large_costs_no_entries() {
    let _alone = alone();
    let mut grown = 0;
    for &policy in Policy::ALL {
        let cache = Cache::builder().max_bytes(4 << 20).shards(1).policy(policy);
        let (hinted, plain) = (cache.clone().expected_entry_bytes(32).build().unwrap(), cache.build().unwrap());
        let falls = [&hinted, &plain].map(|cache| worst_fall(cache, &mut 0, 150_000, 16));
        assert!(falls.iter().all(|&fall| fall < 0.02), "{policy}: {falls:?}");
        grown += usize::from(hinted.stats().index_growths > 0);
        assert!(hinted.len() as f64 > 0.98 * plain.len() as f64, "{policy}: {} of {}", hinted.len(), plain.len());
        [hinted, plain].iter().for_each(Inspect::validate);
    }
    assert!(grown > Policy::ALL.len() / 2, "the index was too small for {grown} policies only");
}

#[test]
fn entries_that_become_smaller_cost_few_entries() {
    let _alone = alone();
    for (policy, seed) in Policy::ALL.iter().flat_map(|&policy| [(policy, 1), (policy, 3)]) {
        let builder = Cache::builder().max_bytes(4 << 20).shards(1).policy(policy);
        let cache = builder.hasher(StableHash::with_seed(seed)).build().unwrap();
        let mut next = 0;
        worst_fall(&cache, &mut next, 10_000, 1_000);
        let growths = cache.stats().index_growths;
        let fall = worst_fall(&cache, &mut next, 200_000, 16);
        assert!(fall < 0.03, "{policy}: {fall}");
        // MRU keeps the large entries.
        assert!(cache.stats().index_growths > growths || policy == Policy::Mru, "{policy}");
        cache.validate();
    }
}

#[test]
fn the_index_grows_and_shrinks_with_the_number_of_entries() {
    let _alone = alone();
    let cache = Cache::builder().max_bytes(16 << 20).shards(1).policy(Policy::Lru).build().unwrap();
    let mut next = 0;
    worst_fall(&cache, &mut next, 40_000, 1_000);
    let large = side(&cache);
    let fall = worst_fall(&cache, &mut next, 1_000_000, 16);
    assert!(fall < 0.03, "{fall}");
    let small = side(&cache);
    assert!(small > 10 * large, "{small} bytes beside {large}");
    worst_fall(&cache, &mut next, 100_000, 1_000);
    let again = side(&cache);
    assert!(again < 3 * large, "{again} bytes, {large} before");
    cache.validate();
}

/// Returns the bytes of index, policy and wheels.
fn side(cache: &Cache) -> usize {
    let memory = cache.memory();
    memory.index + memory.policy + memory.wheels
}

/// Bytes that a change of a small index may take beyond its share. What a policy needs is estimated
/// from what it has, so its fixed part counts too often.
const LITTLE: usize = 32 << 10;

#[test]
fn a_change_of_the_index_takes_at_most_a_twentieth_more_than_the_larger_size() {
    let _alone = alone();
    for &policy in Policy::ALL {
        for ttl in [None, Some(Duration::from_secs(3_600))] {
            let builder = Cache::builder().max_bytes(4 << 20).shards(1).policy(policy);
            let cache = ttl.map_or(builder.clone(), |ttl| builder.ttl(ttl)).build().unwrap();
            let (mut next, mut before, mut most) = (0_u64, 0, 0);
            let (mut larger, mut smaller) = (0, 0);
            // The index grows, shrinks, and grows at the expense of a full ring.
            for (count, value_len) in [(130_000, 16), (15_000, 1_000), (130_000, 16)] {
                for _ in 0..count {
                    next += 1;
                    cache.insert(next.to_le_bytes(), vec![7; value_len]).unwrap();
                    let side = side(&cache);
                    if cache.is_resizing() {
                        most = most.max(side);
                        continue;
                    }
                    if most > 0 {
                        let allowed = side.max(before) * 21 / 20 + LITTLE;
                        assert!(most <= allowed, "{policy}: {most} bytes on the way from {before} to {side}");
                        larger += usize::from(side > before);
                        smaller += usize::from(side < before);
                    }
                    (before, most) = (side, 0);
                }
            }
            // MRU and W-TinyLFU keep what they have.
            let is_steady = [Policy::Mru, Policy::TinyLfu].contains(&policy);
            assert!(larger >= 3 && (smaller > 0 || is_steady), "{policy}: {larger} larger sizes, {smaller} smaller");
        }
    }
}

/// LRU that notes the most renames between two new entries.
struct Counting {
    lru: Box<dyn EvictionPolicy>,
    renames: usize,
    most: Arc<AtomicUsize>,
}

impl EvictionPolicy for Counting {
    fn insert(&mut self, newcomer: &Newcomer) {
        self.most.fetch_max(core::mem::take(&mut self.renames), Ordering::Relaxed);
        self.lru.insert(newcomer);
    }
    fn remove(&mut self, id: EntryId, charge: u32) {
        self.lru.remove(id, charge);
    }
    fn evict(&mut self, newcomer: Option<&Newcomer>, residents: &mut Residents<'_>) -> Option<EntryId> {
        self.lru.evict(newcomer, residents)
    }
    fn resize(&mut self, ids: usize, max_entries: usize) -> bool {
        self.lru.resize(ids, max_entries)
    }
    fn prepare_renames(&mut self, from: Range<u32>, to: Range<u32>) -> bool {
        self.lru.prepare_renames(from, to)
    }
    fn rename(&mut self, from: EntryId, to: EntryId) {
        self.renames += 1;
        self.lru.rename(from, to);
    }
    fn bytes(&self) -> usize {
        self.lru.bytes()
    }
}

#[test]
fn a_write_moves_at_most_64_entries_whatever_the_size() {
    let _alone = alone();
    for max_bytes in [1 << 20, 16 << 20] {
        let most = Arc::new(AtomicUsize::new(0));
        let counting = {
            let most = Arc::clone(&most);
            move |context: bytecache::policy::PolicyContext| -> Box<dyn EvictionPolicy> {
                Box::new(Counting { lru: Policy::Lru.build(&context), renames: 0, most: Arc::clone(&most) })
            }
        };
        // With this hasher no home bucket has many more entries than others.
        let builder = Cache::builder().max_bytes(max_bytes).shards(1).hasher(StableHash::with_seed(1));
        let cache = builder.custom_policy(counting).build().unwrap();
        let mut next = 0;
        for value_len in [16, 1_000, 16] {
            worst_fall(&cache, &mut next, max_bytes as u64 / 16, value_len);
        }
        assert!(cache.stats().index_growths > 2);
        assert!((20..=64).contains(&most.load(Ordering::Relaxed)), "{most:?} of {}", cache.len());
    }
}

#[test]
fn chunks_that_values_hold_are_not_counted_on_for_the_entries_of_a_larger_index() {
    let _alone = alone();
    for policy in [Policy::default(), Policy::Lru] {
        let cache = Cache::builder().max_bytes(200 << 10).shards(1).policy(policy).build().unwrap();
        let mut next = 0;
        worst_fall(&cache, &mut next, 500, 1_000);
        // Values of entries that leave: their chunks cannot be used again.
        let held: Vec<_> = (0..=next).filter_map(|key| cache.get(key.to_le_bytes())).collect();
        worst_fall(&cache, &mut next, 1_000, 1_000);
        assert!(cache.memory().retired > 30 << 10, "{policy}: {:?}", cache.memory());
        let fall = worst_fall(&cache, &mut next, 50_000, 16);
        assert!(fall < 0.1, "{policy}: {fall}");
        drop(held);
    }
}
