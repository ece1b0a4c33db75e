//! Checks what a restart costs: a cache is saved in the middle of a trace and restored, and misses
//! about as often in the second half as a cache that went on.
//!
//! The test runs on the generated trace, and on the first part of the recorded traces if
//! `BYTECACHE_TRACES` names their folder. README.md says where they come from. Debug builds run the
//! short traces. Each thread of the machine takes one cache after the other.
//!
//! The policies go on exactly (`policy/tests.rs` in the crate checks that). But entries lie in
//! other places after a restart, so the ring may hold a little more or less. It may also evict
//! other entries that the policy had not chosen, to make room for large ones. Where such a
//! difference matters much, as for MRU, a cache whose size is one percent smaller or larger misses
//! more or less, too. The test accepts as much in addition.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use bytecache::policy::Request;
use bytecache::{Cache, CacheBuilder, Policy, StableHash};
use bytecache_tools::collection::Collection;

/// The points of the miss ratio that a restart may cost, for policies whose knowledge is all in the
/// snapshot, and for those with ghosts or a sketch.
const LOSS: f64 = 0.3;
const LOSS_WITH_GHOSTS: f64 = 1.0;
/// MRU evicts the entries that were used last, so a single eviction more may cost a hot entry for
/// good. On recorded traces a restart costs up to 1.3 points, and gains up to 2.2.
const LOSS_OF_MRU: f64 = 2.0;
/// Shards, and percent of the bytes of all keys.
const CACHES: [(usize, usize); 3] = [(1, 2), (1, 20), (4, 20)];
/// Number of requests of a trace that are replayed.
const MAX_REQUESTS: usize = 400_000;
/// Number of requests above which a trace is left out, which leaves out `arc_p3` for its time.
const LONGEST_TRACE: usize = 2_000_000;
/// Bytes of all keys above which the sizes of a trace are divided. Copying them takes the time.
const MAX_BYTES: usize = 256 << 20;
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

/// A cache, and the requests that it gets.
struct Cell<'a> {
    trace: &'a str,
    requests: &'a [Request],
    policy: Policy,
    max_bytes: usize,
    shards: usize,
    percent: usize,
}

/// What a restart costs, in points of the miss ratio.
struct Cost {
    restart: f64,
    cold_start: f64,
    /// By how much the miss ratios of caches differ that are one percent smaller or larger, if the
    /// restart costs too much without it.
    noise: f64,
}

impl Cell<'_> {
    fn builder(&self, max_bytes: usize) -> CacheBuilder {
        let builder = Cache::builder().max_bytes(max_bytes).shards(self.shards).policy(self.policy);
        builder.hasher(StableHash::with_seed(1))
    }

    fn cost(&self) -> Cost {
        let (first, second) = self.requests.split_at(self.requests.len() / 2);
        let build = |max_bytes| self.builder(max_bytes).build().unwrap();
        let cache = build(self.max_bytes);
        replay(&cache, first);
        let mut snapshot = Vec::new();
        cache.save_to(&mut snapshot).unwrap();
        let next = self.builder(self.max_bytes);
        let (next, restored) = next.restore_from(&snapshot[..], Duration::from_secs(3600)).unwrap();
        assert_eq!((restored.damaged_blocks, restored.changed), (0, 0));
        let points = 100.0 / second.len() as f64;
        let misses = |cache: Cache| replay(&cache, second) as f64 * points;
        let [went_on, restarted, cold] = [cache, next, build(self.max_bytes)].map(misses);
        let mut cost = Cost { restart: restarted - went_on, cold_start: cold - went_on, noise: 0.0 };
        if cost.restart > max_loss(self.policy) {
            let others = [99, 101].map(|percent| {
                let cache = build(self.max_bytes / 100 * percent);
                replay(&cache, first);
                misses(cache)
            });
            cost.noise = others.into_iter().fold(went_on, f64::max) - others.into_iter().fold(went_on, f64::min);
        }
        cost
    }
}

/// Returns the bytes of all keys that are requested.
fn bytes_of(requests: &[Request]) -> usize {
    let sizes: HashMap<u64, u32> = requests.iter().map(|request| (request.hash, request.charge)).collect();
    sizes.values().map(|&size| size as usize + 24).sum()
}

/// Returns the caches that get the requests of a trace.
fn cells<'a>(trace: &'a str, requests: &'a [Request]) -> Vec<Cell<'a>> {
    let bytes = bytes_of(requests);
    let of_policy = |&policy: &Policy| {
        CACHES.map(|(shards, percent)| {
            let max_bytes = (bytes * percent / 100).max(MIN_BYTES * shards);
            Cell { trace, requests, policy, max_bytes, shards, percent }
        })
    };
    Policy::ALL.iter().flat_map(of_policy).collect()
}

/// Returns the traces of this build, by name.
fn traces() -> Vec<(String, Vec<Request>)> {
    let mut traces = Vec::new();
    for collection in [Collection::Generated].into_iter().chain(Collection::recorded()) {
        let names: BTreeSet<_> = collection.cells().unwrap().into_iter().map(|cell| cell.trace).collect();
        for name in names {
            let mut requests = collection.requests(&name).unwrap();
            if requests.len() > LONGEST_TRACE {
                continue;
            }
            requests.truncate(MAX_REQUESTS);
            let divisor = u32::try_from(bytes_of(&requests).div_ceil(MAX_BYTES)).unwrap();
            requests.iter_mut().for_each(|request| request.charge = request.charge.div_ceil(divisor));
            if !cfg!(debug_assertions) || requests.len() <= MAX_SHORT_REQUESTS {
                traces.push((name, requests));
            }
        }
    }
    traces
}

#[test]
fn a_restart_costs_hardly_any_hits() {
    println!("| trace | policy | shards | bytes | points lost by a restart | by a cold start | noise |");
    println!("|---|---|---:|---:|---:|---:|---:|");
    let traces = traces();
    let cells: Vec<_> = traces.iter().flat_map(|(name, requests)| cells(name, requests)).collect();
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let work = || {
        while let Some(cell) = cells.get(next.fetch_add(1, Ordering::Relaxed)) {
            let Cell { trace, policy, shards, percent, .. } = cell;
            let Cost { restart, cold_start, noise } = cell.cost();
            println!("| {trace} | {policy} | {shards} | {percent} % | {restart:+.2} | {cold_start:+.2} | {noise:.2} |");
            if restart > max_loss(*policy) + noise {
                let failure =
                    format!("{trace}: {policy} with {shards} shards and {percent} % lost {restart:.2} points");
                failures.lock().unwrap().push(failure);
            }
        }
    };
    thread::scope(|scope| (0..threads).for_each(|_| _ = scope.spawn(work)));
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
