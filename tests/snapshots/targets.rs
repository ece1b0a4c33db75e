//! A snapshot fits into any cache: what does not fit is left out by rank, and counted.

use bytecache::testing::Inspect;
use bytecache::{Cache, Policy, StableHash};

use super::{restored, saved};
use crate::support::build;

#[test]
fn every_policy_takes_the_snapshot_of_every_other() {
    for &from in Policy::ALL {
        let cache = build(4 << 20, 4, from);
        (0..8_000_u32).for_each(|key| cache.insert(key.to_le_bytes(), key.to_le_bytes().repeat(20)).unwrap());
        let snapshot = saved(&cache);
        for &to in Policy::ALL {
            for (max_bytes, shards) in [(8 << 20, 1), (8 << 20, 8), (1 << 18, 2)] {
                let builder = Cache::builder().max_bytes(max_bytes).shards(shards).policy(to);
                let (cache, report) = restored(builder, &snapshot);
                assert_eq!(report.entries, cache.len() as u64);
                assert_eq!(report.entries + report.left_out, 8_000, "from {from} to {to}: {report:?}");
                assert!(report.damaged_blocks == 0 && cache.memory().allocated <= max_bytes);
                assert!(max_bytes < 1 << 20 || report.left_out == 0, "from {from} to {to}: {report:?}");
                cache.for_each(|key, value| assert_eq!(key.repeat(20), value));
                cache.validate();
                // It goes on to work.
                (0..5_000_u32).for_each(|key| cache.insert(key.to_be_bytes(), [1; 100]).unwrap());
                cache.validate();
            }
        }
    }
}

#[test]
fn entries_that_are_too_large_for_the_target_are_left_out() {
    let cache = Cache::builder().max_bytes(16 << 20).max_entry_bytes(2 << 20).shards(1).build().unwrap();
    for (key, length) in [("small", 10), ("medium", 20_000), ("large", 100_000), ("huge", (2 << 20) - 10)] {
        cache.insert(key, vec![1; length]).unwrap();
    }
    let builder = Cache::builder().max_bytes(1 << 18).shards(1);
    let (cache, report) = restored(builder, &saved(&cache));
    assert!(cache.contains_key("small") && cache.contains_key("medium"));
    assert_eq!((report.entries, report.left_out, report.damaged_blocks), (2, 2, 0));
}

#[test]
fn the_most_recently_used_entries_are_those_that_fit() {
    let cache = build(4 << 20, 4, Policy::Lru);
    (0..8_000_u32).for_each(|key| cache.insert(key.to_le_bytes(), [1; 100]).unwrap());
    // Reads turn the order round.
    (0..8_000_u32).rev().for_each(|key| assert!(cache.get(key.to_le_bytes()).is_some()));
    cache.maintain();
    let builder = Cache::builder().max_bytes(1 << 19).shards(1).policy(Policy::Lru);
    let (next, report) = restored(builder.hasher(StableHash::with_seed(9)), &saved(&cache));
    assert!(report.left_out > 0 && report.entries > 1_000);
    let recent = (0..u32::try_from(report.entries).unwrap()).filter(|key| next.contains_key(key.to_le_bytes())).count();
    // Four shards are merged by their parts, which are of different lengths.
    assert!(recent as u64 > report.entries * 95 / 100, "{recent} of {}", report.entries);
}
