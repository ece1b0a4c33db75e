//! Another limit at run time: the cache follows it in small steps, and keeps the entries that its
//! policy would keep.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bytecache::testing::Inspect;
use bytecache::{BuildError, Cache, CacheBuilder, Policy, ResizeError, StableHash, Value};

use crate::support::{alone, random};

pub(super) fn resizable(max_bytes: usize, ceiling: usize, policy: Policy) -> CacheBuilder {
    Cache::builder().max_bytes(max_bytes).max_bytes_ceiling(ceiling).shards(1).policy(policy)
}

pub(super) fn value(key: u64, len: usize) -> Vec<u8> {
    key.to_le_bytes().into_iter().cycle().take(len).collect()
}

/// Inserts `count` new keys with values of this length.
pub(super) fn fill(cache: &Cache, next: &mut u64, count: u64, len: usize) {
    for _ in 0..count {
        *next += 1;
        cache.insert(next.to_le_bytes(), value(*next, len)).unwrap();
    }
}

/// Calls `maintain` until it has nothing left to do. Checks the limit of each moment.
pub(super) fn settle(cache: &Cache) {
    let mut max = cache.memory().max;
    let mut calls = 0;
    while cache.maintain() {
        let memory = cache.memory();
        assert!(memory.allocated <= memory.max && memory.max <= max, "{memory:?}");
        max = memory.max;
        calls += 1;
        assert!(calls < 1_000_000, "{memory:?}");
    }
}

/// Checks that a cache is within a limit, and that all of its entries are right.
#[track_caller]
pub(super) fn assert_within(cache: &Cache, max_bytes: usize) {
    let memory = cache.memory();
    assert!(memory.allocated <= max_bytes && memory.max == max_bytes, "{memory:?}");
    cache.validate();
    cache.for_each(|key, bytes| assert_eq!(bytes, value(u64::from_le_bytes(key.try_into().unwrap()), bytes.len())));
}

#[test]
fn a_cache_grows_fourfold_and_back() {
    let _alone = alone();
    for &policy in Policy::ALL {
        for len in [16, 300, 3_000] {
            let cache = resizable(1 << 20, 4 << 20, policy).build().unwrap();
            let fixed = Cache::builder().max_bytes(1 << 20).shards(1).policy(policy).build().unwrap();
            let (mut next, count) = (0, (6 << 20) / (len as u64 + 20));
            fill(&cache, &mut next, count, len);
            assert_within(&cache, 1 << 20);
            let small = cache.len();
            cache.set_max_bytes(4 << 20).unwrap();
            fill(&cache, &mut next, count, len);
            assert_within(&cache, 4 << 20);
            let large = cache.len();
            assert!(large > small * 37 / 10, "{policy} {len}: {large} entries after {small}");
            cache.set_max_bytes(1 << 20).unwrap();
            settle(&cache);
            assert_within(&cache, 1 << 20);
            assert!(cache.len() > small * 7 / 10, "{policy} {len}: {} entries, {small} before", cache.len());
            fill(&cache, &mut next, count, len);
            fill(&fixed, &mut 0, count, len);
            assert_within(&cache, 1 << 20);
            assert!(cache.len() > fixed.len() * 9 / 10, "{policy} {len}: {} of {}", cache.len(), fixed.len());
        }
    }
}

/// The chunks of the cache that has shrunk are four times as large as those of the other one, so it
/// leaves a little more unused.
#[test]
fn a_cache_that_has_shrunk_keeps_nine_tenths_of_what_one_built_at_that_size_keeps() {
    let _alone = alone();
    for &policy in Policy::ALL {
        for len in [8, 100] {
            let [shrunk, built] = [16 << 20, 4 << 20].map(|max_bytes| {
                let hasher = StableHash::with_seed(1);
                let cache = resizable(max_bytes, max_bytes, policy).hasher(hasher).build().unwrap();
                let mut next = 0;
                while cache.stats().evictions < cache.len() as u64 / 4 + 1 {
                    fill(&cache, &mut next, 1_000, len);
                }
                cache
            });
            shrunk.set_max_bytes(4 << 20).unwrap();
            settle(&shrunk);
            assert_within(&shrunk, 4 << 20);
            let (live, others) = (shrunk.memory().live, built.memory().live);
            assert!(live > others * 9 / 10, "{policy} {len}: {live} live bytes, {others} in the other cache");
        }
    }
}

/// With the usual largest entry, a sixteenth of 8 MiB, the room for two of them would be nearly
/// half of the lower limit. Index and policy take nothing of that room.
#[test]
fn entries_of_a_few_bytes_fill_a_lower_limit_beside_the_room_for_the_largest_entries() {
    let _alone = alone();
    for &policy in Policy::ALL {
        let [shrunk, built] = [8 << 20, 2 << 20].map(|max_bytes| {
            let builder = resizable(max_bytes, max_bytes, policy).max_entry_bytes(64 << 10);
            let cache = builder.hasher(StableHash::with_seed(1)).build().unwrap();
            let mut next = 0_u32;
            while cache.stats().evictions < cache.len() as u64 / 4 + 1 {
                for _ in 0..1_000 {
                    next += 1;
                    cache.insert(next.to_le_bytes(), [1]).unwrap();
                }
            }
            cache
        });
        shrunk.set_max_bytes(2 << 20).unwrap();
        settle(&shrunk);
        shrunk.validate();
        let (memory, live) = (shrunk.memory(), built.memory().live);
        assert_eq!(memory.max, 2 << 20);
        assert!(memory.live > live * 88 / 100, "{policy}: {} live bytes, {live} in the other cache", memory.live);
    }
}

#[test]
fn every_policy_reaches_the_smallest_limit() {
    let _alone = alone();
    for &policy in Policy::ALL {
        for (max_bytes, ceiling) in [(1 << 20, 1 << 20), (256 << 10, 16 << 20)] {
            let cache = resizable(max_bytes, ceiling, policy).ttl(Duration::from_secs(60)).build().unwrap();
            cache.set_max_bytes(ceiling).unwrap();
            let mut next = 0;
            fill(&cache, &mut next, ceiling as u64 / 40, 16);
            fill(&cache, &mut next, ceiling as u64 / 400, 200);
            let ResizeError::TooSmall { max_bytes: 1, min_bytes } = cache.set_max_bytes(1).unwrap_err() else {
                panic!("another error");
            };
            assert_within(&cache, ceiling);
            let error = cache.set_max_bytes(min_bytes - 1).unwrap_err();
            assert_eq!(error, ResizeError::TooSmall { max_bytes: min_bytes - 1, min_bytes });
            cache.set_max_bytes(min_bytes).unwrap();
            settle(&cache);
            assert_within(&cache, min_bytes);
            cache.insert("largest", vec![1; cache.max_entry_bytes() - 7]).unwrap();
            cache.remove("largest");
            fill(&cache, &mut next, 1000, 16);
            assert_within(&cache, min_bytes);
            cache.set_max_bytes(ceiling).unwrap();
            fill(&cache, &mut next, ceiling as u64 / 40, 16);
            assert_within(&cache, ceiling);
        }
    }
}

#[test]
fn lru_keeps_the_most_recent_entries() {
    let _alone = alone();
    let cache = resizable(1 << 20, 8 << 20, Policy::Lru).build().unwrap();
    cache.set_max_bytes(8 << 20).unwrap();
    let mut next = 0;
    fill(&cache, &mut next, 60_000, 100);
    // The older half of the entries becomes the more recent one.
    let oldest = (1..next).find(|key| cache.contains_key(key.to_le_bytes())).unwrap();
    let middle = oldest + (next - oldest) / 2;
    for key in oldest..middle {
        assert!(cache.get(key.to_le_bytes()).is_some());
        if key % 50 == 0 {
            cache.maintain(); // Reads reach the policy before the log of touches is full.
        }
    }
    cache.set_max_bytes(2 << 20).unwrap();
    settle(&cache);
    assert_within(&cache, 2 << 20);
    let kept = cache.len() as u64;
    assert!(kept > 12_000, "{kept} entries");
    let are_there = |keys: core::ops::Range<u64>| keys.filter(|key| cache.contains_key(key.to_le_bytes())).count();
    let recent = are_there(middle - kept..middle) as u64;
    assert!(recent >= kept - kept / 50, "{recent} of the {kept} most recent entries are there");
    assert_eq!(are_there(middle..next), 0);
}

#[test]
fn a_write_evicts_at_most_32_entries_for_a_lower_limit() {
    let _alone = alone();
    for &policy in Policy::ALL {
        // With this hasher no home bucket has many more entries than others.
        let builder = resizable(1 << 20, 1 << 20, policy).hasher(StableHash::with_seed(1));
        let cache = builder.build().unwrap();
        let mut next = 0;
        fill(&cache, &mut next, 40_000, 8);
        let (before, value) = (cache.len(), [0; 8]);
        cache.set_max_bytes(512 << 10).unwrap();
        let mut steps = 0;
        while cache.memory().max > 512 << 10 {
            let evictions = cache.stats().evictions;
            // A removal needs no eviction of its own.
            let key = (0..=next).rev().find(|key| cache.contains_key(key.to_le_bytes())).unwrap();
            cache.remove(key.to_le_bytes());
            let evicted = cache.stats().evictions - evictions;
            assert!(evicted <= 32, "{policy}: {evicted} entries were evicted by one operation");
            steps += 1;
            assert!(steps < 100_000, "{policy}: {:?}", cache.memory());
        }
        assert!(steps > 100, "{policy}: {steps} steps");
        assert!(cache.len() + steps > before / 4, "{policy}: {} entries of {before}", cache.len());
        cache.insert("key", value).unwrap();
        assert!(cache.memory().allocated <= 512 << 10);
        cache.validate();
    }
}

#[test]
fn chunks_that_values_hold_are_given_back_when_they_are_let_go() {
    let _alone = alone();
    let cache = resizable(1 << 20, 4 << 20, Policy::Lru).build().unwrap();
    cache.set_max_bytes(4 << 20).unwrap();
    let mut next = 0;
    fill(&cache, &mut next, 40_000, 200);
    let mut held: Vec<(u64, Value)> = Vec::new();
    for key in (0..next).rev().step_by(20) {
        held.extend(cache.get(key.to_le_bytes()).map(|value| (key, value)));
    }
    assert!(cache.memory().pinned > 900_000, "{:?}", cache.memory());
    cache.set_max_bytes(1 << 20).unwrap();
    settle(&cache);
    let memory = cache.memory();
    assert!(memory.max > 1 << 20 && memory.pinned > 900_000, "{memory:?}");
    assert!(cache.len() > 2_000, "{} entries were left for what values hold", cache.len());
    fill(&cache, &mut next, 1_000, 200);
    cache.validate();
    assert!(cache.memory().max <= memory.max);
    assert!(held.iter().all(|(key, held)| *held == value(*key, 200)));
    drop(held);
    settle(&cache);
    assert_within(&cache, 1 << 20);
}

#[test]
fn of_two_calls_the_later_counts() {
    let _alone = alone();
    let cache = resizable(2 << 20, 8 << 20, Policy::default()).shards(4).build().unwrap();
    cache.set_max_bytes(8 << 20).unwrap();
    let mut next = 0;
    fill(&cache, &mut next, 60_000, 200);
    for (max_bytes, then) in [(2 << 20, 6 << 20), (3 << 20, 8 << 20), (4 << 20, 3 << 20)] {
        cache.set_max_bytes(max_bytes).unwrap();
        fill(&cache, &mut next, 100, 200);
        let max = cache.memory().max;
        assert!(max > max_bytes, "reached at once");
        cache.set_max_bytes(then).unwrap();
        assert_eq!(cache.max_bytes(), then);
        assert!(cache.memory().max <= max.max(then));
        settle(&cache);
        assert_within(&cache, then);
        fill(&cache, &mut next, 60_000, 200);
        assert_within(&cache, then);
        assert!(cache.memory().allocated > then * 9 / 10, "{:?}", cache.memory());
    }
    // Threads call it at the same time.
    thread::scope(|scope| {
        for thread in 0..4_usize {
            let cache = &cache;
            scope.spawn(move || {
                for round in 0..200 {
                    cache.set_max_bytes(((thread + round) % 7 + 2) << 20).unwrap();
                }
            });
        }
    });
    let max_bytes = cache.max_bytes();
    settle(&cache);
    assert_within(&cache, max_bytes);
}

#[test]
fn the_limit_of_the_moment_holds_while_threads_read_and_write() {
    let _alone = alone();
    for policy in [Policy::default(), Policy::Lru, Policy::TinyLfu] {
        let cache = resizable(1 << 20, 8 << 20, policy).shards(2).build().unwrap();
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let (cache, is_over) = (&cache, &is_over);
            for seed in 0..2_u64 {
                scope.spawn(move || {
                    let (mut state, mut held) = (seed, Vec::new());
                    while !is_over.load(Ordering::Relaxed) {
                        let key = random(&mut state) as u64 % 40_000;
                        let _ = cache.insert(key.to_le_bytes(), value(key, random(&mut state) % 400));
                        if let Some(found) = cache.get((key / 2).to_le_bytes()) {
                            assert_eq!(found, value(key / 2, found.len()));
                            held.push(found);
                        }
                        held.truncate(random(&mut state) % 20);
                    }
                });
            }
            let mut before = 1 << 20;
            for max_bytes in [8 << 20, 2 << 20, 4 << 20, 1 << 20, 8 << 20, 1 << 20] {
                let inserts = cache.stats().inserts;
                cache.set_max_bytes(max_bytes).unwrap();
                let mut max = before.max(max_bytes);
                while cache.stats().inserts < inserts + 30_000 {
                    let memory = cache.memory();
                    assert!(memory.allocated <= memory.max && memory.max <= max, "{memory:?}");
                    max = memory.max;
                    thread::yield_now();
                }
                before = max;
            }
            is_over.store(true, Ordering::Relaxed);
        });
        settle(&cache);
        assert_within(&cache, 1 << 20);
    }
}

#[test]
fn the_ring_uses_what_an_index_that_has_shrunk_leaves() {
    let _alone = alone();
    let builder = Cache::builder().max_bytes(4 << 20).shards(1).policy(Policy::Lru);
    let hinted = builder.clone().expected_entry_bytes(16).build().unwrap();
    let plain = builder.build().unwrap();
    for cache in [&hinted, &plain] {
        fill(cache, &mut 0, 40_000, 1_000);
    }
    assert!(hinted.len() > plain.len() * 97 / 100, "{} entries, {} without the hint", hinted.len(), plain.len());
}

#[test]
fn a_ceiling_is_from_max_bytes_to_64_times_that_and_to_what_shards_can_address() {
    let error = |builder: CacheBuilder| builder.build().unwrap_err();
    let builder = Cache::builder().max_bytes(1 << 20);
    for ceiling in [(1 << 20) - 1, (64 << 20) + 1] {
        let expected = BuildError::Ceiling { max_bytes_ceiling: ceiling, smallest: 1 << 20, largest: 64 << 20 };
        assert_eq!(error(builder.clone().max_bytes_ceiling(ceiling)), expected);
    }
    for ceiling in [1 << 20, 64 << 20] {
        let cache = builder.clone().max_bytes_ceiling(ceiling).build().unwrap();
        assert_eq!(cache.set_max_bytes(ceiling), Ok(()));
        let above = ResizeError::AboveCeiling { max_bytes: ceiling + 1, ceiling };
        assert_eq!(cache.set_max_bytes(ceiling + 1), Err(above));
        assert_eq!(cache.max_bytes(), ceiling);
    }
    let Ok(large) = usize::try_from(40_u64 << 30) else { return };
    let one = Cache::builder().max_bytes(1 << 30).shards(1).max_bytes_ceiling(large);
    let BuildError::Ceiling { largest, .. } = error(one) else { panic!("another error") };
    assert!((large / 3..large / 2).contains(&largest), "{largest}");
    // There are as many shards as it takes, on every machine.
    let cache = Cache::builder().max_bytes(1 << 30).max_bytes_ceiling(large).build().unwrap();
    assert!(cache.shards() >= 4 && cache.memory().allocated < 64 << 20);
}

#[test]
fn a_snapshot_is_restored_into_a_cache_with_a_ceiling() {
    let _alone = alone();
    let cache = resizable(1 << 20, 4 << 20, Policy::default()).build().unwrap();
    cache.set_max_bytes(4 << 20).unwrap();
    let mut next = 0;
    fill(&cache, &mut next, 20_000, 100);
    let mut file = Vec::new();
    cache.save_to(&mut file).unwrap();
    for max_bytes in [1 << 20, 4 << 20] {
        let builder = resizable(max_bytes, 8 << 20, Policy::default());
        let (restored, report) = builder.restore_from(&file[..], Duration::from_secs(60)).unwrap();
        assert_within(&restored, max_bytes);
        assert!(restored.len() as f64 > cache.len() as f64 * max_bytes as f64 / (4.0 * 1_100_000.0), "{report:?}");
        restored.set_max_bytes(8 << 20).unwrap();
        fill(&restored, &mut next, 20_000, 100);
        assert_within(&restored, 8 << 20);
    }
}

#[test]
fn a_shard_that_is_cleared_while_it_shrinks_reaches_its_limit() {
    let _alone = alone();
    for &policy in Policy::ALL {
        let cache = resizable(1 << 20, 8 << 20, policy).build().unwrap();
        cache.set_max_bytes(8 << 20).unwrap();
        let mut next = 0;
        fill(&cache, &mut next, 200_000, 8);
        cache.set_max_bytes(512 << 10).unwrap();
        fill(&cache, &mut next, 10, 8);
        cache.clear();
        settle(&cache);
        assert_within(&cache, 512 << 10);
        fill(&cache, &mut next, 20_000, 8);
        assert_within(&cache, 512 << 10);
        assert!(cache.len() > 4_000, "{policy}: {} entries", cache.len());
    }
}

/// One of two shards follows the lower limit, and the other one has not begun when the limit rises.
#[test]
fn the_bound_of_the_moment_does_not_rise_above_both_limits() {
    let _alone = alone();
    let builder = resizable(4 << 20, 4 << 20, Policy::Lru).shards(2).hasher(StableHash::with_seed(1));
    let cache = builder.build().unwrap();
    fill(&cache, &mut 0, 40_000, 100);
    cache.set_max_bytes(3 << 19).unwrap();
    let mut former = usize::MAX;
    while cache.memory().max < former {
        former = cache.memory().max;
        for _ in 0..1_000 {
            cache.insert(1_u64.to_le_bytes(), value(1, 100)).unwrap();
        }
    }
    assert!(former > 5 << 19 && former < 3 << 20, "{former}");
    cache.set_max_bytes(3 << 20).unwrap();
    assert!(cache.memory().max <= 3 << 20, "{:?}", cache.memory());
    settle(&cache);
    assert_within(&cache, 3 << 20);
    fill(&cache, &mut 0, 40_000, 100);
    assert!(cache.memory().live > 2 << 20, "{:?}", cache.memory());
}
