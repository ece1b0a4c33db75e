//! Checks how much more a cache misses than the bare policy, because of its shards and of a
//! capacity that follows the ring.
//!
//! Replays the trace `twitter52_a` at one percent of its bytes and more, and prints a table. Skips
//! the test if the folder that `BYTECACHE_TRACES` names does not have the trace. README.md says
//! where traces come from. Debug builds run a few policies, release builds all.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use bytecache::policy::{Request, Unit, simulate};
use bytecache::{Cache, Policy, StableHash};
use bytecache_tools::collection::Collection;

const TRACE: &str = "twitter52_a";
/// Shards and bytes of each cache, and its accepted loss in points of the miss ratio. In the first
/// two, the entries take about one percent of the bytes of the working set.
///
/// Sixteen shards of the second size are hardly larger than they have to be. The index of each has
/// about two hundred entries and no room to grow. So policies that prefer small entries run out of
/// ids before they run out of bytes. The bare policy has no limit on ids.
const CACHES: [(usize, usize, f64); 3] = [(1, 420_000, 1.0), (16, 760_000, 2.0), (16, 2_000_000, 1.0)];

/// Number of requests between two readings of the live bytes.
const LOOK_EVERY: usize = 1_000;

/// Returns the charge of an entry as documented: header, key of 8 bytes and value, rounded up to a
/// multiple of 4.
fn charge(value_len: u32) -> u32 {
    let header = if value_len <= 65_535 { 4 } else { 12 };
    (header + 8 + value_len).next_multiple_of(4)
}

/// Returns the miss ratio of a cache, and the average number of live bytes while it was full.
fn replay(policy: Policy, shards: usize, max_bytes: usize, requests: &[Request]) -> (f64, u64) {
    let hasher = StableHash::with_seed(1);
    let builder = Cache::builder().max_bytes(max_bytes).shards(shards).policy(policy).hasher(hasher);
    let cache = builder.expected_entry_bytes(200).build().unwrap();
    let value = vec![0; cache.max_entry_bytes()];
    let (mut misses, mut live, mut looks) = (0_u64, 0, 0);
    for (step, request) in requests.iter().enumerate() {
        let key = request.hash.to_le_bytes();
        if cache.view(key, |_| ()).is_none() {
            misses += 1;
            // A value that is too large for a shard is a miss each time.
            let _ = cache.insert(key, value.get(..request.charge as usize).unwrap_or(&value));
        }
        if step % LOOK_EVERY == 0 && cache.stats().evictions > 0 {
            live += cache.memory().live as u64;
            looks += 1;
        }
    }
    (misses as f64 / requests.len() as f64, live / looks)
}

#[test]
fn a_cache_of_one_percent_misses_as_often_as_the_bare_policy() {
    let Some(requests) = Collection::recorded().and_then(|traces| traces.requests(TRACE).ok()) else {
        println!("skipped: BYTECACHE_TRACES names no folder with {TRACE}.trc.zst");
        return;
    };
    let charged: Vec<_> =
        requests.iter().map(|request| Request { charge: charge(request.charge), ..*request }).collect();
    let some = [Policy::Adaptive, Policy::S3Fifo, Policy::Lru];
    let policies = if cfg!(debug_assertions) { &some[..] } else { Policy::ALL };
    println!("| policy | shards | max_bytes | live | cache % | bare policy % | loss |");
    println!("|---|---:|---:|---:|---:|---:|---:|");
    for &policy in policies {
        for (shards, max_bytes, max_loss) in CACHES {
            let (ratio, live) = replay(policy, shards, max_bytes, &requests);
            let bare = simulate(&policy, live, Unit::Bytes, charged.iter().copied()).miss_ratio();
            let loss = (ratio - bare) * 100.0;
            println!(
                "| {policy} | {shards} | {max_bytes} | {live} | {:.2} | {:.2} | {loss:+.2} |",
                ratio * 100.0,
                bare * 100.0
            );
            assert!(loss <= max_loss, "{policy} with {shards} shards");
        }
    }
}
