//! Checks the advice of caches against whole simulations: a trace is replayed through a cache whose
//! advisor sees a share of the keys, and each advised ratio is compared with that of `simulate`
//! over all requests.
//!
//! ```sh
//! BYTECACHE_TRACES=DIR cargo test --release -p bytecache-tools --test advisor -- --nocapture
//! ```
//!
//! The test runs on the generated trace, and on the recorded traces if `BYTECACHE_TRACES` names
//! their folder. README.md says where they come from. Debug builds run the short traces.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use bytecache::policy::{Request, Unit, simulate};
use bytecache::{Advice, AdvisedRow, Advisor, Cache, Policy, StableHash};
use bytecache_tools::collection::Collection;

/// Number of sampled keys from which the limits on errors apply.
const MANY_KEYS: f64 = 4_000.0;
/// Greatest errors where so many keys are sampled, in points: the mean over the cells of a cache,
/// and that of any cell. They apply to hit ratios, and to byte hit ratios.
const MAX_MEAN_ERROR: f64 = 1.5;
const MAX_ERROR: f64 = 4.0;
/// Least share of cells whose stated error holds.
const MIN_COVERED: f64 = 0.95;
/// The largest shares of keys: the default, and a larger one.
const SHARES: [f64; 2] = [1.0 / 128.0, 1.0 / 16.0];
/// Policies, shards, and percent of the bytes of all keys.
const CACHES: [(Policy, usize, usize); 2] = [(Policy::Adaptive, 1, 5), (Policy::Lru, 4, 10)];
/// Size of values in traces that have none.
const VALUE_BYTES: u32 = 250;
/// Number of requests above which debug builds leave out a trace.
const MAX_SHORT_REQUESTS: usize = 120_001;
/// No cache is smaller.
const MIN_BYTES: usize = 2 << 20;

/// Returns the requests with the sizes of values, and with the charges that their entries have in a
/// cache.
fn sized_and_charged(mut requests: Vec<Request>) -> (Vec<Request>, Vec<Request>) {
    if requests.iter().all(|request| request.charge == 1) {
        requests.iter_mut().for_each(|request| request.charge = VALUE_BYTES);
    }
    let mut charges = BTreeMap::new();
    let scratch = Cache::builder().max_bytes(64 << 20).max_entry_bytes(8 << 20).shards(1).build().unwrap();
    let mut charge_of = |value_bytes: u32| {
        *charges.entry(value_bytes).or_insert_with(|| {
            scratch.insert([0; 8], vec![0; value_bytes as usize]).unwrap();
            u32::try_from(scratch.memory().live).unwrap()
        })
    };
    let charged = requests.iter().map(|request| Request { charge: charge_of(request.charge), ..*request }).collect();
    (requests, charged)
}

/// Replays requests with the sizes of values.
fn replay(cache: &Cache, requests: &[Request]) {
    let value = vec![0; cache.max_entry_bytes()];
    for request in requests {
        let key = request.hash.to_le_bytes();
        if cache.view(key, |_| ()).is_none() {
            // A value that is too large for the cache is a miss each time.
            let _ = cache.insert(key, value.get(..request.charge as usize).unwrap_or(&value));
        }
    }
}

/// The errors of an advice, in points, and whether each is within the stated one.
#[derive(Default)]
struct Errors {
    hits: Vec<f64>,
    are_stated: Vec<bool>,
    byte_hits: Vec<f64>,
    are_byte_errors_stated: Vec<bool>,
}

impl Errors {
    fn of(advice: &Advice, requests: &[Request], storable: &[Request]) -> Self {
        let mut errors = Self::default();
        let truths: Vec<_> = thread::scope(|scope| {
            let truth = |row| move || truth(row, requests, storable);
            let simulations: Vec<_> = advice.rows.iter().map(|row| scope.spawn(truth(row))).collect();
            simulations.into_iter().map(|simulation| simulation.join().unwrap()).collect()
        });
        for (row, (hits, byte_hits)) in advice.rows.iter().zip(truths) {
            errors.hits.push((row.hit_ratio - hits) * 100.0);
            errors.are_stated.push((row.hit_ratio - hits).abs() <= row.hit_ratio_error);
            errors.byte_hits.push((row.byte_hit_ratio - byte_hits) * 100.0);
            errors.are_byte_errors_stated.push((row.byte_hit_ratio - byte_hits).abs() <= row.byte_hit_ratio_error);
        }
        errors
    }
}

/// Returns the hit ratio and the byte hit ratio of a row. A value that the cache refuses counts no
/// bytes.
fn truth(row: &AdvisedRow, requests: &[Request], storable: &[Request]) -> (f64, f64) {
    let policy: Policy = row.policy.parse().unwrap();
    let simulation = |requests: &[Request]| simulate(&policy, row.capacity, Unit::Bytes, requests.iter().copied());
    let all = simulation(requests);
    let stored = if storable.len() == requests.len() { all } else { simulation(storable) };
    (1.0 - all.miss_ratio(), 1.0 - stored.byte_miss_ratio())
}

fn mean(errors: &[f64]) -> f64 {
    errors.iter().map(|error| error.abs()).sum::<f64>() / errors.len() as f64
}

fn worst(errors: &[f64]) -> f64 {
    errors.iter().fold(0.0, |worst, error| error.abs().max(worst))
}

#[test]
fn advised_hit_ratios_are_those_of_whole_simulations() {
    println!(
        "| trace | policy | shards | bytes | sampled keys | mean error | worst | stated | of bytes | worst | stated |"
    );
    println!("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    let (mut failures, mut stated, mut bytes_stated, mut cells) = (Vec::new(), 0, 0, 0);
    let mut collections = vec![Collection::Generated];
    collections.extend(Collection::recorded());
    for collection in collections {
        let names: BTreeSet<_> = collection.cells().unwrap().into_iter().map(|cell| cell.trace).collect();
        for name in names {
            let requests = collection.requests(&name).unwrap();
            if cfg!(debug_assertions) && requests.len() > MAX_SHORT_REQUESTS {
                continue;
            }
            let (sized, charged) = sized_and_charged(requests);
            let sizes: BTreeMap<_, _> = charged.iter().map(|request| (request.hash, request.charge)).collect();
            let bytes: usize = sizes.values().map(|&charge| charge as usize).sum();
            for (share, (policy, shards, percent)) in
                SHARES.iter().flat_map(|&share| CACHES.map(|cache| (share, cache)))
            {
                let cache = Cache::builder()
                    .max_bytes((bytes * percent / 100).max(MIN_BYTES))
                    .shards(shards)
                    .policy(policy)
                    .advisor(Advisor::new().share(share))
                    .hasher(StableHash::with_seed(1))
                    .build()
                    .unwrap();
                replay(&cache, &sized);
                let advice = cache.advice().unwrap();
                let is_storable = |value_bytes: u32| value_bytes as usize + size_of::<u64>() <= cache.max_entry_bytes();
                let storable = sized.iter().zip(&charged).filter(|(sized, _)| is_storable(sized.charge));
                let storable: Vec<_> = storable.map(|(_, charged)| *charged).collect();
                let errors = Errors::of(&advice, &charged, &storable);
                let keys = sizes.len() as f64 * advice.share;
                let held = errors.are_stated.iter().filter(|&&is_stated| is_stated).count();
                let bytes_held = errors.are_byte_errors_stated.iter().filter(|&&is_stated| is_stated).count();
                println!(
                    "| {name} | {policy} | {shards} | {percent} % | {keys:.0} | {:.2} | {:.2} | {held} of {} | {:.2} | {:.2} | {bytes_held} |",
                    mean(&errors.hits),
                    worst(&errors.hits),
                    errors.hits.len(),
                    mean(&errors.byte_hits),
                    worst(&errors.byte_hits),
                );
                let is_exact = |errors: &[f64]| mean(errors) <= MAX_MEAN_ERROR && worst(errors) <= MAX_ERROR;
                if keys >= MANY_KEYS && !(is_exact(&errors.hits) && is_exact(&errors.byte_hits)) {
                    failures.push(format!("{name}: {policy}, {shards} shards, {percent} %, share {share}"));
                }
                stated += held;
                bytes_stated += bytes_held;
                cells += errors.hits.len();
            }
        }
    }
    println!("{stated} of {cells} errors are within the stated ones, and {bytes_stated} of bytes");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(stated as f64 >= MIN_COVERED * cells as f64);
    assert!(bytes_stated as f64 >= MIN_COVERED * cells as f64);
}
