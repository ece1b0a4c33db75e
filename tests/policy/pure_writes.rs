//! Keys that were only written until reads begin: recency is all that a policy knows of them. The
//! default policy finds them as often as LRU and S3-FIFO do, once three times what fits was
//! written.

use bytecache::policy::{Simulator, Unit};
use bytecache::{Cache, Policy, StableHash};

use crate::later_reads::{Before, FIRST_BEFORE, MAX_BEHIND, Random, Store, fill};

/// What is written before the first read, and while keys are read, as multiples of what fits.
const ONLY_WRITTEN: u64 = 3;
const READ: u64 = 1;
/// What filled the cache before, and when keys are read, in percent of what fits. Of popular keys
/// the default gives up only a part in this time.
const CASES: [(Before, &[u64]); 3] =
    [(Before::Nothing, &[2, 20, 60]), (Before::WrittenOnce, &[2, 20, 60]), (Before::Popular, &[2, 20])];

/// Returns the percentage of the reads that find their key.
fn found(store: &mut impl Store, before: Before, distance: u64, fits: u64) -> f64 {
    fill(store, before, fits, &mut Random(7));
    let first_read = ONLY_WRITTEN * fits;
    let mut hits = 0_u32;
    for number in 0..first_read + READ * fits {
        store.write(number);
        if number >= first_read {
            hits += u32::from(store.read(number - fits * distance / 100));
        }
    }
    f64::from(hits) * 100.0 / (READ * fits) as f64
}

/// Asserts that the default is hardly behind the better of two others.
fn compare<S: Store>(fits: u64, make: impl Fn(Policy) -> S) {
    for (before, distances) in CASES {
        for &distance in distances {
            let policies = [Policy::Adaptive, Policy::Lru, Policy::S3Fifo];
            let [ours, lru, s3_fifo] = policies.map(|policy| found(&mut make(policy), before, distance, fits));
            assert!(
                ours + MAX_BEHIND >= lru.max(s3_fifo),
                "after {distance} %, before: {before:?}: {ours} % found, LRU {lru}, S3-FIFO {s3_fifo}"
            );
        }
    }
}

#[test]
fn a_policy_learns_from_writes_alone() {
    for fits in [1000, 10_000] {
        compare(fits, |policy| Simulator::new(&policy, fits, Unit::Entries));
    }
}

fn cache(policy: Policy, shards: Option<usize>) -> Cache {
    let builder = Cache::builder().max_bytes(16 << 20).policy(policy).hasher(StableHash::with_seed(3));
    match shards {
        Some(shards) => builder.shards(shards),
        None => builder,
    }
    .build()
    .unwrap()
}

/// Returns the number of entries that a full cache has.
fn fits(shards: Option<usize>) -> u64 {
    let mut cache = cache(Policy::Lru, shards);
    (0..400_000).for_each(|number| cache.write(FIRST_BEFORE + number));
    cache.len() as u64
}

fn compare_caches(shards: Option<usize>) {
    compare(fits(shards), |policy| cache(policy, shards));
}

#[test]
fn a_cache_of_one_shard_learns_from_writes_alone() {
    compare_caches(Some(1));
}

#[test]
fn a_cache_of_any_number_of_shards_learns_from_writes_alone() {
    compare_caches(None);
}
