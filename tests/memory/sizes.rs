//! Entries of every size, from one byte to the largest: the space that they leave unused, and the
//! places that they find.
#![allow(clippy::cast_possible_truncation, reason = "small random numbers")]

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytecache::policy::{EntryId, EvictionPolicy, Newcomer, PolicyContext, Residents};
use bytecache::testing::Inspect;
use bytecache::{Cache, Error, Policy, RemovalCause, StableHash, Value};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::support::alone;

/// Stores entries whose sizes are spread evenly over the orders of magnitude, so that runs of
/// chunks and small entries compete for space. Checks that enough of the cache is live.
fn mixed(policy: Policy, max_bytes: usize) {
    let cache = Cache::builder().max_bytes(max_bytes).shards(1).policy(policy).hasher(StableHash::with_seed(3));
    let cache = cache.build().unwrap();
    let value = vec![7; cache.max_entry_bytes() - 8];
    let mut random = SmallRng::seed_from_u64(1);
    let mut lives = Vec::new();
    for step in 0..20_000 {
        let key = random.random_range(0..2_000_u64).to_le_bytes();
        let len = (value.len() as f64).powf(random.random()) as usize;
        if !cache.contains_key(key) {
            cache.insert(key, &value[..len]).expect("rejected although no space is held");
        }
        if step % 500 == 0 {
            cache.validate();
            lives.push(cache.memory().live);
        }
    }
    let stats = cache.stats();
    // During the first quarter the cache is not full.
    let full = &lives[lives.len() / 4..];
    let live = full.iter().sum::<usize>() / full.len();
    assert!(stats.evictions > 500, "{policy} was never full: {stats:?}");
    // The smallest shard has a dozen chunks. A large entry takes three of them, and GDSF's arrays
    // as many.
    let least_live = if max_bytes == 64 << 10 { max_bytes / 5 } else { max_bytes / 5 * 2 };
    assert!(live > least_live, "{policy}: only {live} of {max_bytes} bytes are live");
    assert!(stats.write_amplification() < 3.0, "{stats:?}");
}

#[test]
fn nothing_is_rejected_while_nobody_holds_space() {
    let _alone = alone();
    for &policy in Policy::ALL {
        for max_bytes in [64 << 10, 256 << 10, 1 << 20, 8 << 20] {
            mixed(policy, max_bytes);
        }
    }
}

/// Returns the size of a shard's chunks in bytes.
fn chunk_bytes(max_bytes: usize) -> usize {
    1 << (max_bytes / 200).ilog2().clamp(12, 20)
}

/// Sizes in thousandths of a chunk. Some fill chunks well, some badly, and the last is the largest
/// possible.
const SIZES: [usize; 38] = [
    64,
    126,
    168,
    210,
    254,
    300,
    340,
    400,
    450,
    505,
    550,
    600,
    670,
    720,
    760,
    830,
    900,
    980,
    1_005,
    1_100,
    1_260,
    1_340,
    1_510,
    1_700,
    1_900,
    2_005,
    2_300,
    2_510,
    3_005,
    3_600,
    4_005,
    5_005,
    7_005,
    10_005,
    16_005,
    24_005,
    28_100,
    usize::MAX,
];

/// The keys that are requested. Each miss is stored.
#[derive(Clone, Copy, Debug)]
enum Keys {
    /// No key comes twice, so entries leave in the order in which they came.
    New,
    /// Some keys are more frequent than others, and four times as many keys exist as fit. Entries
    /// leave in any order.
    Skewed,
}

/// Returns the share of a full cache's bytes that is live, with entries of one charge.
fn live_share(policy: Policy, max_bytes: usize, charge: usize, keys: Keys) -> f64 {
    let cache = Cache::builder().max_bytes(max_bytes).shards(1).policy(policy).hasher(StableHash::with_seed(3));
    let cache = cache.build().unwrap();
    let value = vec![7; charge.min(cache.max_entry_bytes()) - 20];
    let header = if value.len() < 1 << 16 { 4 } else { 12 };
    let charge = (header + 8 + value.len()).next_multiple_of(4);
    let fits = (max_bytes / charge) as u64;
    let mut random = SmallRng::seed_from_u64(1);
    for step in 0..fits * 6 {
        let key = match keys {
            Keys::New => step,
            Keys::Skewed => ((4 * fits) as f64).powf(random.random()) as u64,
        };
        if cache.view(key.to_le_bytes(), |_| ()).is_none() {
            cache.insert(key.to_le_bytes(), &value).expect("rejected although no space is held");
        }
    }
    cache.validate();
    let (live, stats) = (cache.memory().live, cache.stats());
    assert_eq!(live, cache.len() * charge, "unused bytes were counted as live");
    assert!(stats.write_amplification() < 3.5, "{policy}, {charge} bytes: {stats:?}");
    live as f64 / max_bytes as f64
}

/// Checks that at least 75 % of the bytes are live for each size, and prints the shares.
fn assert_three_quarters_are_live(max_bytes: usize, policies: &[Policy], keys: Keys) {
    println!("live, % of {max_bytes} bytes, {keys:?} keys: {policies:?}");
    for size in SIZES {
        let charge = size.saturating_mul(chunk_bytes(max_bytes)) / 1_000;
        let shares: Vec<f64> =
            policies.iter().map(|&policy| 100.0 * live_share(policy, max_bytes, charge, keys)).collect();
        println!("{charge:8} {shares:4.1?}");
        assert!(shares.iter().all(|&share| share >= 75.0), "of {max_bytes} bytes, entries of {charge}: {shares:.1?}");
    }
}

#[test]
fn three_quarters_of_a_full_shard_are_live_whatever_the_size_of_its_entries() {
    let _alone = alone();
    assert_three_quarters_are_live(1 << 20, Policy::ALL, Keys::New);
    // The smallest number of chunks that a shard is divided into, and nearly the greatest.
    for max_bytes in [1_640_000, 6 << 20] {
        assert_three_quarters_are_live(max_bytes, &[Policy::Adaptive, Policy::Lru, Policy::TinyLfu], Keys::New);
    }
}

#[test]
fn three_quarters_are_live_also_where_entries_leave_in_any_order() {
    let _alone = alone();
    for max_bytes in [1 << 20, 6 << 20] {
        assert_three_quarters_are_live(max_bytes, &[Policy::Adaptive, Policy::Lru, Policy::S3Fifo], Keys::Skewed);
    }
}

#[test]
fn entries_of_half_a_chunk_and_more_are_kept_without_much_copying() {
    let _alone = alone();
    // Chunks have 16 KiB. Two entries of about half a chunk just fit into one, or just do not.
    for len in [7_000, 8_150, 8_300, 11_000, 16_000, 16_500, 20_000] {
        let cache = Cache::builder().max_bytes(8 << 20).shards(1).build().unwrap();
        for key in 0..5_000_u64 {
            cache.insert(key.to_le_bytes(), vec![7; len]).unwrap();
        }
        cache.validate();
        let (live, stats) = (cache.memory().live, cache.stats());
        assert!(live > 3 << 20, "{len}: only {live} bytes are live");
        assert!(stats.write_amplification() < 3.0, "{len}: {stats:?}");
    }
}

/// A full cache of small entries, a count of its evictions, and values that hold some of its
/// chunks.
struct Held {
    cache: Cache,
    /// Number of evicted entries of which the listener was notified.
    told: Arc<AtomicU64>,
    values: Vec<Value>,
    /// `true` for each chunk that a value holds.
    chunks: Vec<bool>,
}

impl Held {
    const MAX_BYTES: usize = 1 << 20;
    const CHUNK: usize = 4 << 10;

    fn new(count: usize, random: &mut SmallRng) -> Self {
        let told = Arc::new(AtomicU64::new(0));
        let listener = {
            let told = Arc::clone(&told);
            move |_: &[u8], _: &[u8], cause| {
                told.fetch_add(u64::from(cause == RemovalCause::Evicted), Ordering::Relaxed);
            }
        };
        let builder = Cache::builder().max_bytes(Self::MAX_BYTES).shards(1).policy(Policy::Lru);
        // The index never grows, so all chunks are in use.
        let cache = builder.expected_entry_bytes(100).on_removal(listener).build().unwrap();
        cache.insert(0_u64.to_le_bytes(), [7; 150]).unwrap();
        // The first entry lies at the beginning of the first chunk, after a header of 4 bytes and a
        // key of 8.
        let first = cache.get(0_u64.to_le_bytes()).unwrap().as_ptr().addr() - 12;
        for key in 1..15_000_u64 {
            cache.insert(key.to_le_bytes(), [7; 150]).unwrap();
        }
        let oldest = (1..15_000_u64).find(|key| cache.contains_key(key.to_le_bytes())).unwrap();
        let keys = oldest..15_000;
        let values: Vec<_> =
            (0..count).map(|_| cache.get(random.random_range(keys.clone()).to_le_bytes()).unwrap()).collect();
        assert_eq!(cache.stats().copied_values, 0);
        let mut chunks = vec![false; cache.memory().chunks / Self::CHUNK];
        for value in &values {
            chunks[(value.as_ptr().addr() - first) / Self::CHUNK] = true;
        }
        Self { cache, told, values, chunks }
    }

    /// Returns the greatest number of adjacent chunks that no value holds.
    fn widest_gap(&self) -> usize {
        self.chunks.split(|&is_held| is_held).map(<[bool]>::len).max().unwrap_or(0)
    }

    fn insert(&self, span: usize) -> bool {
        let before = (self.cache.len(), self.cache.stats().evictions);
        let inserted = self.cache.insert("large", vec![1; span * Self::CHUNK - 20]);
        self.cache.validate();
        let evictions = self.cache.stats().evictions;
        assert_eq!(self.told.load(Ordering::Relaxed), evictions, "the listener is notified of each eviction");
        if let Err(error) = &inserted {
            assert_eq!(*error, Error::Rejected);
            assert_eq!((self.cache.len(), evictions), before, "entries were evicted for a rejected insert");
        }
        inserted.is_ok()
    }
}

#[test]
fn a_large_entry_finds_a_place_exactly_where_enough_adjacent_chunks_are_held_by_nobody() {
    let _alone = alone();
    let mut random = SmallRng::seed_from_u64(4);
    let mut refused = 0;
    for round in 0..60 {
        let span = [2, 8, 20, 30][round % 4];
        let mut held = Held::new([3, 10, 20, 30, 40][round % 5], &mut random);
        let has_place = held.widest_gap() >= span;
        refused += usize::from(!has_place);
        assert_eq!(held.insert(span), has_place, "{span} chunks, of {}", held.widest_gap());
        held.values.clear();
        assert!(held.insert(span), "rejected although no space is held");
        assert_eq!(held.cache.get("large").unwrap().len(), span * Held::CHUNK - 20);
    }
    assert!((3..30).contains(&refused), "{refused} of 60 were refused");
}

/// A chunk that holds survivors and fresh entries is cleaned again and again, as they die at
/// different times.
#[test]
fn most_of_a_cache_of_small_entries_is_live() {
    let _alone = alone();
    for &policy in Policy::ALL {
        let builder = Cache::builder().max_bytes(4 << 20).shards(1).policy(policy).hasher(StableHash::with_seed(3));
        let cache = builder.build().unwrap();
        let (mut random, mut out) = (SmallRng::seed_from_u64(1), vec![]);
        for _ in 0..1_000_000 {
            // Few of the keys get most of the requests.
            let key = (150_000.0 * random.random::<f64>().powi(4)) as u64;
            if !cache.get_into(key.to_le_bytes(), &mut out) {
                cache.insert(key.to_le_bytes(), [7; 256]).unwrap();
            }
        }
        let (memory, stats) = (cache.memory(), cache.stats());
        let live = memory.live as f64 / memory.max as f64;
        assert!(live > 0.8, "{policy}: {live}");
        assert!(stats.write_amplification() < 2.5, "{policy}: {stats:?}");
    }
}

/// First in, first out. In every second answer, it takes a sixteenth of the cache more.
struct Changing {
    fifo: Box<dyn EvictionPolicy>,
    more: usize,
    answers: AtomicU64,
}

impl EvictionPolicy for Changing {
    fn insert(&mut self, newcomer: &Newcomer) {
        self.fifo.insert(newcomer);
    }
    fn remove(&mut self, id: EntryId, charge: u32) {
        self.fifo.remove(id, charge);
    }
    fn evict(&mut self, newcomer: Option<&Newcomer>, residents: &mut Residents<'_>) -> Option<EntryId> {
        self.fifo.evict(newcomer, residents)
    }
    fn resize(&mut self, ids: usize, max_entries: usize) -> bool {
        self.fifo.resize(ids, max_entries)
    }
    fn prepare_renames(&mut self, from: Range<u32>, to: Range<u32>) -> bool {
        self.fifo.prepare_renames(from, to)
    }
    fn rename(&mut self, from: EntryId, to: EntryId) {
        self.fifo.rename(from, to);
    }
    fn bytes(&self) -> usize {
        let is_more = self.answers.fetch_add(1, Ordering::Relaxed) % 2 == 1;
        self.fifo.bytes() + if is_more { self.more } else { 0 }
    }
}

#[test]
fn a_large_entry_finds_its_run_while_the_ring_pays_for_the_policy() {
    const MAX_BYTES: usize = 1 << 20;
    let _alone = alone();
    let policy = |context: PolicyContext| -> Box<dyn EvictionPolicy> {
        let fifo = Policy::Fifo.build(&context);
        Box::new(Changing { fifo, more: MAX_BYTES / 16, answers: AtomicU64::new(0) })
    };
    for thousandths in SIZES.into_iter().filter(|&size| size > 500) {
        let builder = Cache::builder().max_bytes(MAX_BYTES).shards(1).hasher(StableHash::with_seed(3));
        let cache = builder.custom_policy(policy).build().unwrap();
        let value =
            vec![7; (thousandths.saturating_mul(chunk_bytes(MAX_BYTES)) / 1000).min(cache.max_entry_bytes() - 8)];
        let mut random = SmallRng::seed_from_u64(1);
        for number in 0..2_000_u64 {
            // Entries leave in any order, so that runs have to be cleaned.
            cache.remove(random.random_range(number.saturating_sub(300)..=number).to_le_bytes());
            let stored = cache.insert(number.to_le_bytes(), &value);
            stored.unwrap_or_else(|error| panic!("{thousandths} thousandths, entry {number}: {error}"));
        }
    }
}
