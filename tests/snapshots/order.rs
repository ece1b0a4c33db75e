//! A restored cache evicts what the saved one would have evicted.

use bytecache::{Cache, Policy, StableHash};

use super::{restored, saved};

fn builder(policy: Policy) -> bytecache::CacheBuilder {
    Cache::builder().max_bytes(1 << 19).shards(1).policy(policy).hasher(StableHash::with_seed(3))
}

/// A key for each step, some far more often than others.
fn key(step: u64) -> u64 {
    let random = (step + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let exponent = (random >> 60) % 13;
    (random >> 8) % (1 << exponent.max(3))
}

fn request(cache: &Cache, key: u64) -> bool {
    let found = cache.get(key.to_le_bytes()).is_some();
    if !found {
        cache.insert(key.to_le_bytes(), vec![1; 60 + (key % 7) as usize * 40]).unwrap();
    }
    found
}

#[test]
fn a_restored_cache_hits_as_often_as_one_that_went_on() {
    for &policy in Policy::ALL {
        let cache = builder(policy).build().unwrap();
        (0..40_000).for_each(|step| _ = request(&cache, key(step)));
        let (next, report) = restored(builder(policy), &saved(&cache));
        let count = |cache: &Cache| (40_000..60_000).filter(|&step| request(cache, key(step))).count();
        let (went_on, restarted) = (count(&cache), count(&next));
        let lost = (went_on as f64 - restarted as f64) / 200.0;
        println!("{policy}: {went_on} {restarted} {lost:+.2} points, {report:?}");
        assert!(lost < 1.0, "{policy} lost {lost} points of its hits: {report:?}");
    }
}
