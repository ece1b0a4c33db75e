//! Checks what a restart costs: a cache is saved in the middle of a trace and restored, and misses
//! about as often in the second half as a cache that went on.
//!
//! The test runs on the generated trace, and on the recorded traces if `BYTECACHE_TRACES` names
//! their folder. README.md says where they come from. Debug builds run the short traces.
//!
//! The policies go on exactly (`policy/tests.rs` in the crate checks that). But entries lie in
//! other places after a restart, so the ring may hold a little more or less. Where such a
//! difference matters much, as for MRU, a cache whose size is one percent smaller or larger misses
//! more or less, too. The test accepts as much in addition.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use bytecache::policy::Request;
use bytecache::{Cache, CacheBuilder, Policy, StableHash};
use bytecache_tools::collection::Collection;

/// The points of the miss ratio that a restart may cost, for policies whose knowledge is all in the
/// snapshot, and for those with ghosts or a sketch.
const LOSS: f64 = 0.3;
const LOSS_WITH_GHOSTS: f64 = 1.0;
/// MRU evicts the entries that were used last, so a single eviction more may cost a hot entry for
/// good. On recorded traces a restart gains or costs up to 3.1 points.
const LOSS_OF_MRU: f64 = 4.0;
/// Shards, and percent of the bytes of all keys.
const CACHES: [(usize, usize); 3] = [(1, 2), (1, 20), (4, 20)];
/// Number of requests above which debug builds leave out a trace.
const MAX_SHORT_REQUESTS: usize = 120_001;
/// No cache is smaller.
const MIN_BYTES: usize = 400_000;

fn max_loss(policy: Policy) -> f64 {
    use Policy::{Clock, Fifo, Gdsf, Lfu, Lru, Mru, Sieve, Slru};
    match policy {
        Mru => LOSS_OF_MRU,
        Lru | Fifo | Clock | Sieve | Slru | Lfu | Gdsf => LOSS,
        _ => LOSS_WITH_GHOSTS,
    }
}

/// Replays requests, and returns the number of misses.
fn replay(cache: &Cache, requests: &[Request]) -> usize {
    let value = vec![0; cache.max_entry_bytes()];
    let mut misses = 0;
    for request in requests {
        let key = request.hash.to_le_bytes();
        if cache.view(key, |_| ()).is_none() {
            misses += 1;
            // A value that is too large for a shard is a miss each time.
            let _ = cache.insert(key, value.get(..request.charge as usize).unwrap_or(&value));
        }
    }
    misses
}

fn builder(policy: Policy, max_bytes: usize, shards: usize) -> CacheBuilder {
    Cache::builder().max_bytes(max_bytes).shards(shards).policy(policy).hasher(StableHash::with_seed(1))
}

/// What a restart costs, in points of the miss ratio.
struct Cost {
    restart: f64,
    cold_start: f64,
    /// By how much the miss ratios of caches differ that are one percent smaller or larger.
    noise: f64,
}

fn cost(policy: Policy, max_bytes: usize, shards: usize, requests: &[Request]) -> Cost {
    let (first, second) = requests.split_at(requests.len() / 2);
    let cache = builder(policy, max_bytes, shards).build().unwrap();
    replay(&cache, first);
    let mut snapshot = Vec::new();
    cache.save_to(&mut snapshot).unwrap();
    let next = builder(policy, max_bytes, shards);
    let (next, restored) = next.restore_from(&snapshot[..], Duration::from_secs(3600)).unwrap();
    assert_eq!((restored.damaged_blocks, restored.changed), (0, 0));
    let cold = builder(policy, max_bytes, shards).build().unwrap();
    let [went_on, restarted, cold] = [cache, next, cold].map(|cache| replay(&cache, second) as f64);
    let others = [max_bytes / 100 * 99, max_bytes / 100 * 101].map(|max_bytes| {
        let cache = builder(policy, max_bytes, shards).build().unwrap();
        replay(&cache, first);
        replay(&cache, second) as f64
    });
    let most = others.into_iter().fold(went_on, f64::max);
    let least = others.into_iter().fold(went_on, f64::min);
    let points = 100.0 / second.len() as f64;
    Cost {
        restart: (restarted - went_on) * points,
        cold_start: (cold - went_on) * points,
        noise: (most - least) * points,
    }
}

fn check(name: &str, requests: &[Request], failures: &mut Vec<String>) {
    let sizes: HashMap<u64, u32> = requests.iter().map(|request| (request.hash, request.charge)).collect();
    let bytes: usize = sizes.values().map(|&size| size as usize + 24).sum();
    for &policy in Policy::ALL {
        for (shards, percent) in CACHES {
            let max_bytes = (bytes * percent / 100).max(MIN_BYTES * shards);
            let Cost { restart, cold_start, noise } = cost(policy, max_bytes, shards, requests);
            println!("| {name} | {policy} | {shards} | {percent} % | {restart:+.2} | {cold_start:+.2} | {noise:.2} |");
            if restart > max_loss(policy) + noise {
                failures
                    .push(format!("{name}: {policy} with {shards} shards and {percent} % lost {restart:.2} points"));
            }
        }
    }
}

#[test]
fn a_restart_costs_hardly_any_hits() {
    println!("| trace | policy | shards | bytes | points lost by a restart | by a cold start | noise |");
    println!("|---|---|---:|---:|---:|---:|---:|");
    let mut failures = Vec::new();
    let mut collections = vec![Collection::Generated];
    collections.extend(Collection::recorded());
    for collection in collections {
        let names: BTreeSet<_> = collection.cells().unwrap().into_iter().map(|cell| cell.trace).collect();
        for name in names {
            let requests = collection.requests(&name).unwrap();
            if !cfg!(debug_assertions) || requests.len() <= MAX_SHORT_REQUESTS {
                check(&name, &requests, &mut failures);
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
