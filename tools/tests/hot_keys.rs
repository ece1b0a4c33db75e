//! Checks that the keys with the most reads of a trace are told by a cache that replays it.
//!
//! ```sh
//! BYTECACHE_TRACES=DIR cargo test --release -p bytecache-tools --test hot_keys -- --nocapture
//! ```
//!
//! The test runs on the generated trace, and on the recorded traces if `BYTECACHE_TRACES` names
//! their folder.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::collections::{BTreeSet, HashMap};

use bytecache::policy::Request;
use bytecache::testing::begin_turns;
use bytecache::{Advisor, Cache, HotKey, StableHash};
use bytecache_tools::collection::Collection;

/// The largest shares of keys that are sampled. Twelve times as many reads count: all with the
/// first two, and one in 32 with the last.
///
/// The number beside each is that of the replays, with other hashes and other turns. If all reads
/// count, they hardly differ.
const SHARES: [(f64, u32); 3] = [(1.0, 1), (1.0 / 16.0, 1), (1.0 / 384.0, 8)];
const TOLD: usize = 10;
/// The least keys of the generated trace that are told and belong to the top ten, with any share,
/// on average over the replays.
const FOUND: usize = 8;
/// The counters of keys, at the least. A key with far more than its part of all reads has one.
const COUNTERS: f64 = 1_300.0;
/// Least share of keys that are told whose stated error holds.
const MIN_COVERED: f64 = 0.95;

/// Replays a trace through a cache, and returns the keys that it tells.
fn hottest(requests: &[Request], share: f64, seed: u32) -> Vec<HotKey> {
    let (advisor, seed) = (Advisor::new().share(share), u64::from(seed));
    let hasher = StableHash::with_seed(seed);
    let cache = Cache::builder().max_bytes(16 << 20).hasher(hasher).advisor(advisor).build().unwrap();
    begin_turns(seed);
    for request in requests {
        let key = request.hash.to_le_bytes();
        if cache.view(key, |_| ()).is_none() {
            let _ = cache.insert(key, [0; 100]);
        }
    }
    cache.hot_keys(TOLD)
}

fn key_of(hot: &HotKey) -> u64 {
    u64::from_le_bytes(hot.key[..].try_into().unwrap())
}

/// Returns what is wrong with the keys that were told: a pair in the wrong order, or a key that is
/// not told, whose counts differ by more than the errors.
fn faults(hottest: &[HotKey], counts: &HashMap<u64, f64>) -> Vec<String> {
    let told: BTreeSet<u64> = hottest.iter().map(key_of).collect();
    let most_untold = counts.iter().filter(|(key, _)| !told.contains(key)).map(|(_, &count)| count).fold(0.0, f64::max);
    let mut faults = Vec::new();
    for (place, hot) in hottest.iter().enumerate() {
        let count = counts[&key_of(hot)];
        for later in &hottest[place + 1..] {
            if counts[&key_of(later)] - count > hot.reads_error + later.reads_error {
                faults.push(format!("{hot} comes before {later}"));
            }
        }
        if most_untold - count > 2.0 * hot.reads_error {
            faults.push(format!("{hot} is told, and not a key with {most_untold} reads"));
        }
    }
    faults
}

#[test]
fn the_keys_with_the_most_reads_of_a_trace_are_told() {
    println!("| trace | share | told of the top ten | reads of the tenth | error | stated |");
    println!("|---|---:|---:|---:|---:|---:|");
    let (mut wrong, mut covered, mut all) = (Vec::new(), 0, 0);
    let collections = [Some(Collection::Generated), Collection::recorded()];
    for collection in collections.into_iter().flatten() {
        let names: BTreeSet<String> = collection.cells().unwrap().into_iter().map(|cell| cell.trace).collect();
        for name in names {
            let requests = collection.requests(&name).unwrap();
            let mut counts = HashMap::new();
            requests.iter().for_each(|request| *counts.entry(request.hash).or_insert(0.0) += 1.0);
            let mut most: Vec<f64> = counts.values().copied().collect();
            most.sort_by(|left, right| right.total_cmp(left));
            for (share, replays) in SHARES {
                let (mut found, mut stated, mut told, mut error) = (0, 0, 0, 0.0);
                for seed in 1..=replays {
                    let hottest = hottest(&requests, share, seed);
                    let is_stated = |hot: &&HotKey| (hot.reads - counts[&key_of(hot)]).abs() <= hot.reads_error;
                    stated += hottest.iter().filter(is_stated).count();
                    // Keys with as many reads as the tenth are as good.
                    found += hottest.iter().filter(|hot| counts[&key_of(hot)] >= most[TOLD - 1]).count();
                    told += hottest.len();
                    error += hottest.iter().map(|hot| hot.reads_error).sum::<f64>();
                    let faults = faults(&hottest, &counts).into_iter();
                    wrong.extend(faults.map(|fault| format!("{name}, {share}, {seed}: {fault}")));
                }
                println!(
                    "| {name} | 1/{:.0} | {:.1} | {} | ± {:.0} | {:.1} of {:.1} |",
                    1.0 / share,
                    found as f64 / f64::from(replays),
                    most[TOLD - 1],
                    error / told.max(1) as f64,
                    stated as f64 / f64::from(replays),
                    told as f64 / f64::from(replays),
                );
                let is_known = most[TOLD - 1] > 2.0 * requests.len() as f64 / COUNTERS;
                let least = match collection {
                    _ if share == 1.0 && is_known => TOLD,
                    Collection::Generated => FOUND,
                    Collection::Recorded(_) => 0,
                };
                if found < least * replays as usize {
                    wrong.push(format!("{name}, {share}: {found} are told, and not {least} in each replay"));
                }
                (covered, all) = (covered + stated, all + told);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(covered as f64 >= MIN_COVERED * all as f64, "{covered} of {all}");
}
