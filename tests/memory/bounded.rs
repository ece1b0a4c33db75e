//! The cache's own work for a write is bounded by a constant and the bytes that the write stores.
//! The statistics before and after each write tell how many entries it has moved and removed.

use std::hash::{BuildHasher, Hasher};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use bytecache::policy::{EntryId, EvictionPolicy, Newcomer, PolicyContext, Residents};
use bytecache::testing::Inspect;
use bytecache::{Cache, Clock, Policy, StableHash, Stats};

use crate::support::alone;

/// The most entries that one of the writes has evicted, and the most bytes that one has relocated.
#[derive(Clone, Copy, Debug, Default)]
struct Most {
    evictions: u64,
    relocated_bytes: u64,
}

impl Most {
    /// Notes what a write did, which stored the difference.
    fn note(&mut self, before: &Stats, after: &Stats) {
        self.evictions = self.evictions.max(after.evictions - before.evictions);
        self.relocated_bytes = self.relocated_bytes.max(after.relocated_bytes - before.relocated_bytes);
    }
}

/// Stores values of `len(n)` bytes under `key(n)`, for all `n` below `writes`.
fn write(cache: &Cache, writes: u64, key: impl Fn(u64) -> u64, len: impl Fn(u64) -> usize) -> Most {
    let (mut most, mut before) = (Most::default(), cache.stats());
    for number in 0..writes {
        cache.insert(key(number).to_le_bytes(), vec![7; len(number)]).unwrap();
        let after = cache.stats();
        most.note(&before, &after);
        before = after;
    }
    most
}

/// Builds a cache of one shard, in chunks of 128 KiB, so that a chunk holds thousands of small
/// entries.
fn chunks_of_thousands(policy: Policy) -> Cache {
    let hasher = StableHash::with_seed(1);
    Cache::builder().max_bytes(32 << 20).shards(1).policy(policy).hasher(hasher).build().unwrap()
}

fn scattered(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44
}

#[test]
fn a_write_to_a_full_cache_evicts_and_moves_few_entries() {
    let _alone = alone();
    for policy in [Policy::default(), Policy::Lru, Policy::Clock] {
        let cache = chunks_of_thousands(policy);
        // Entries die anywhere, so that chunks have to be cleaned.
        let most = write(&cache, 1_500_000, scattered, |number| if number % 3 == 0 { 16 } else { 31 });
        assert!(cache.stats().relocated_bytes > 1 << 20, "{policy}: nothing was cleaned");
        assert!(most.evictions <= 40, "{policy}: {most:?}");
        assert!(most.relocated_bytes <= 16 << 10, "{policy}: {most:?}");
        cache.validate();
    }
}

#[test]
fn a_write_gives_up_no_whole_chunk_for_a_growing_index() {
    let _alone = alone();
    for policy in [Policy::default(), Policy::Lru] {
        let cache = chunks_of_thousands(policy);
        // The index is as small as large entries need when the small ones come.
        write(&cache, 100_000, |number| number, |_| 1_000);
        let growths = cache.stats().index_growths;
        let most = write(&cache, 1_000_000, |number| (1 << 32) + number, |_| 16);
        assert!(cache.stats().index_growths > growths + 2);
        assert!(most.evictions <= 40, "{policy}: {most:?}");
        assert!(most.relocated_bytes <= 16 << 10, "{policy}: {most:?}");
        cache.validate();
    }
}

/// The entries that were removed since the clock was read last, and the most of all times. A holder
/// of a lock reads the clock once, if entries have deadlines.
#[derive(Clone, Default)]
struct Removed(Arc<[AtomicUsize; 2]>);

impl Clock for Removed {
    fn now(&self) -> Duration {
        let [removed, most] = &*self.0;
        most.fetch_max(removed.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        Duration::from_secs(1)
    }
}

/// LRU that counts its removals.
struct Counting(Box<dyn EvictionPolicy>, Removed);

impl EvictionPolicy for Counting {
    fn insert(&mut self, newcomer: &Newcomer) {
        self.0.insert(newcomer);
    }
    fn remove(&mut self, id: EntryId, charge: u32) {
        let Removed(counts) = &self.1;
        counts[0].fetch_add(1, Ordering::Relaxed);
        self.0.remove(id, charge);
    }
    fn evict(&mut self, newcomer: Option<&Newcomer>, residents: &mut Residents<'_>) -> Option<EntryId> {
        self.0.evict(newcomer, residents)
    }
    fn resize(&mut self, ids: usize, max_entries: usize) -> bool {
        self.0.resize(ids, max_entries)
    }
    fn prepare_renames(&mut self, from: Range<u32>, to: Range<u32>) -> bool {
        self.0.prepare_renames(from, to)
    }
    fn rename(&mut self, from: EntryId, to: EntryId) {
        self.0.rename(from, to);
    }
    fn bytes(&self) -> usize {
        self.0.bytes()
    }
}

#[test]
fn clear_removes_a_bounded_number_of_entries_with_each_hold_of_the_lock() {
    let _alone = alone();
    let removed = Removed::default();
    let policy = {
        let removed = removed.clone();
        move |context: PolicyContext| -> Box<dyn EvictionPolicy> {
            Box::new(Counting(Policy::Lru.build(&context), removed.clone()))
        }
    };
    let builder = Cache::builder().max_bytes(32 << 20).shards(1).custom_policy(policy);
    let cache = builder.clock(removed.clone()).ttl(Duration::from_secs(3_600)).build().unwrap();
    write(&cache, 300_000, |number| number, |_| 16);
    let present = cache.len();
    cache.clear();
    assert!(cache.is_empty() && present > 200_000);
    removed.now(); // Counts the last hold, too.
    let most = removed.0[1].load(Ordering::Relaxed);
    assert!((100..=768).contains(&most), "{most} of {present} entries");
    cache.validate();
}

#[test]
fn clear_ends_and_removes_what_was_there_while_others_insert() {
    let _alone = alone();
    for policy in [Policy::default(), Policy::Lru, Policy::S3Fifo] {
        let cache = Cache::builder().max_bytes(8 << 20).shards(2).policy(policy).build().unwrap();
        (0..50_000_u64).for_each(|key| cache.insert(key.to_le_bytes(), [0; 16]).unwrap());
        let is_done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                // New keys, so that the index has a reason to grow.
                for key in 1 << 32.. {
                    if is_done.load(Ordering::Acquire) {
                        break;
                    }
                    cache.insert(u64::to_le_bytes(key), [1; 16]).unwrap();
                }
            });
            cache.clear();
            is_done.store(true, Ordering::Release);
        });
        assert!((0..50_000_u64).all(|key| !cache.contains_key(key.to_le_bytes())), "{policy}");
        cache.clear();
        assert!(cache.is_empty(), "{policy}");
        // The index grows again.
        (0..150_000_u64).for_each(|key| cache.insert(key.to_le_bytes(), [0; 16]).unwrap());
        cache.validate();
    }
}

/// A hasher that breaks the rules: the same key has another hash each time.
#[derive(Default)]
struct Changing(AtomicU64);

impl BuildHasher for Changing {
    type Hasher = Changed;

    fn build_hasher(&self) -> Changed {
        Changed(scattered(self.0.fetch_add(1, Ordering::Relaxed)) << 44)
    }
}

struct Changed(u64);

impl Hasher for Changed {
    fn write(&mut self, _bytes: &[u8]) {}
    fn finish(&self) -> u64 {
        self.0
    }
}

#[test]
fn clear_removes_entries_whose_hashes_have_changed() {
    let _alone = alone();
    for has_listener in [false, true] {
        let cache = Cache::builder().max_bytes(4 << 20).shards(1).policy(Policy::Lru).hasher(Changing::default());
        let cache = if has_listener { cache.on_removal(|_, _, _| {}) } else { cache };
        let cache = cache.build().unwrap();
        for round in 1..6 {
            (0..16_000 * round).for_each(|key| cache.insert(u64::to_le_bytes(key), [0; 200]).unwrap());
            assert!(cache.len() > 1_000);
            cache.clear();
            assert_eq!(cache.len(), 0, "with a listener: {has_listener}");
        }
    }
}
