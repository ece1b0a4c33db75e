//! Another limit at run time: the cache follows it in small steps, and keeps the entries that its
//! policy would keep.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use bytecache::testing::Inspect;
use bytecache::{BuildError, Cache, CacheBuilder, Error, Policy, ResizeError, StableHash, Value};

use crate::support::{alone, random};

fn resizable(max_bytes: usize, ceiling: usize, policy: Policy) -> CacheBuilder {
    Cache::builder().max_bytes(max_bytes).max_bytes_ceiling(ceiling).shards(1).policy(policy)
}

fn value(key: u64, len: usize) -> Vec<u8> {
    key.to_le_bytes().into_iter().cycle().take(len).collect()
}

/// Inserts `count` new keys with values of this length.
fn fill(cache: &Cache, next: &mut u64, count: u64, len: usize) {
    for _ in 0..count {
        *next += 1;
        cache.insert(next.to_le_bytes(), value(*next, len)).unwrap();
    }
}

/// Calls `maintain` until it has nothing left to do. Checks the limit of each moment.
fn settle(cache: &Cache) {
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
fn assert_within(cache: &Cache, max_bytes: usize) {
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
            println!("{policy} {len}: {small} {large} {} {:?}", cache.len(), cache.memory());
            assert!(cache.len() > small * 7 / 10, "{policy} {len}: {} entries, {small} before", cache.len());
            fill(&cache, &mut next, count, len);
            fill(&fixed, &mut 0, count, len);
            assert_within(&cache, 1 << 20);
            println!("fixed {:?}\n now {:?}", fixed.memory(), cache.memory());
            assert!(cache.len() > fixed.len() * 9 / 10, "{policy} {len}: {} of {}", cache.len(), fixed.len());
        }
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
            println!("{policy} {max_bytes} {ceiling}: {min_bytes}, {} {:?}", cache.len(), cache.memory());
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
