//! The limit on memory holds at every instant, for every thread, whatever the cache goes through.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bytecache::testing::Inspect;
use bytecache::{BuildError, Cache, Memory, Policy, Value};

use crate::support::{alone, build, random};

/// Lengths of values.
#[derive(Clone, Copy, Debug)]
enum Sizes {
    /// At most two bytes, so that the index grows as far as it can.
    Tiny,
    Large,
    /// Many tiny values, then many large ones, and so on. The ring needs space after the index has
    /// grown.
    Mixed,
}

impl Sizes {
    fn value_len(self, random: usize, step: usize, max: usize) -> usize {
        match self {
            Self::Tiny => random % 3,
            Self::Large => max / 3 + random % (max / 2),
            Self::Mixed if step / 4_000 % 2 == 0 => random % 8,
            Self::Mixed => random % (max / 2),
        }
    }
}

fn work(cache: &Cache, sizes: Sizes, seed: u64, steps: usize) {
    let mut state = seed;
    let mut held: Vec<Value> = Vec::new();
    let buffer = vec![7; cache.max_entry_bytes()];
    let max = cache.max_entry_bytes() - 4;
    for step in 0..steps {
        let number = random(&mut state);
        let key = u32::try_from(number % 50_000).unwrap().to_le_bytes();
        // A preempted thread may hold space. An insert that needs it is rejected.
        let _ = cache.insert(key, &buffer[..sizes.value_len(number, step, max)]);
        match number % 701 {
            0..10 => held.extend(cache.get(key)),
            10..14 => held.clear(),
            14..60 => drop(cache.remove(key)),
            60 if number % 211 == 0 => cache.clear(),
            61 => _ = cache.maintain(),
            _ => {}
        }
    }
}

/// Checks the conditions that every snapshot meets.
fn check(memory: &Memory, max_bytes: usize) {
    assert!(memory.allocated <= memory.max && memory.max == max_bytes, "{memory:?}");
    assert!(memory.live + memory.dead + memory.retired <= memory.chunks, "{memory:?}");
}

fn assert_adds_up(cache: &Cache) {
    let memory = cache.memory();
    assert_eq!(memory.allocated, memory.chunks + memory.index + memory.policy + memory.overhead, "{memory:?}");
    cache.validate();
}

/// Checks the limit continuously while two writers fill a cache and replace its entries.
fn stays_within_its_limit(max_bytes: usize, shards: usize, sizes: Sizes, steps: usize) {
    for &policy in Policy::ALL {
        let cache = build(max_bytes, shards, policy);
        let started = AtomicBool::new(false);
        thread::scope(|scope| {
            let writers: Vec<_> = (0..2_u64)
                .map(|seed| {
                    let (cache, started) = (&cache, &started);
                    scope.spawn(move || {
                        while !started.load(Ordering::Acquire) {
                            thread::yield_now();
                        }
                        work(cache, sizes, seed, steps);
                    })
                })
                .collect();
            let mut looks = 0_usize;
            while looks < 10 || !writers.iter().all(thread::ScopedJoinHandle::is_finished) {
                check(&cache.memory(), max_bytes);
                started.store(true, Ordering::Release);
                looks += 1;
                thread::yield_now(); // A snapshot takes the locks that the writers need.
            }
        });
        // The cache gets full at least once, whatever the writers have left in it.
        let mut new_keys = 1_000_000..;
        while cache.stats().evictions == 0 {
            for key in new_keys.by_ref().take(500) {
                let _ = cache.insert(u32::to_le_bytes(key), [7]);
            }
            check(&cache.memory(), max_bytes);
        }
        cache.maintain();
        assert_adds_up(&cache);
        let stats = cache.stats();
        assert!(!matches!(sizes, Sizes::Tiny) || stats.index_growths > 0);
        cache.clear();
        assert_adds_up(&cache);
    }
}

#[test]
fn a_cache_of_64_kib_stays_within_its_limit() {
    let _alone = alone();
    for sizes in [Sizes::Tiny, Sizes::Large, Sizes::Mixed] {
        stays_within_its_limit(64 << 10, 1, sizes, 6_000);
    }
}

#[test]
fn a_cache_of_small_shards_stays_within_its_limit() {
    let _alone = alone();
    for sizes in [Sizes::Tiny, Sizes::Mixed] {
        stays_within_its_limit(700_001, 8, sizes, 12_000);
    }
}

#[test]
fn a_cache_of_some_megabytes_stays_within_its_limit() {
    let _alone = alone();
    stays_within_its_limit(1 << 20, 1, Sizes::Tiny, 40_000);
    stays_within_its_limit(3 << 20, 2, Sizes::Large, 3_000);
    stays_within_its_limit(3 << 20, 2, Sizes::Mixed, 12_000);
}

#[test]
fn an_empty_cache_is_small() {
    let _alone = alone();
    for &policy in Policy::ALL {
        for max_bytes in [16 << 20, 256 << 20] {
            let cache = Cache::builder().max_bytes(max_bytes).policy(policy).build().unwrap();
            let memory = cache.memory();
            assert_eq!((memory.chunks, memory.live, memory.dead, memory.pinned), (0, 0, 0, 0));
            assert!(memory.allocated < max_bytes / 50, "{memory:?}");
            assert_adds_up(&cache);
        }
    }
}

#[test]
fn only_logs_that_the_policy_reads_are_counted() {
    let overhead = |policy| {
        let cache = Cache::builder().max_bytes(8 << 20).shards(1).policy(policy).build().unwrap();
        cache.memory().overhead
    };
    let [none, misses, touches] = [Policy::Fifo, Policy::Adaptive, Policy::Lru].map(overhead);
    assert!(none < misses && none < touches, "{none}, {misses} with misses, {touches} with touches");
}

#[test]
fn memory_is_taken_as_entries_come() {
    let _alone = alone();
    let cache = build(32 << 20, 2, Policy::S3Fifo);
    for key in 0..4_000_u32 {
        cache.insert(key.to_le_bytes(), [1; 1_000]).unwrap();
    }
    let memory = cache.memory();
    assert_eq!(cache.len(), 4_000);
    assert!((4_000_000..8_000_000).contains(&memory.allocated), "{memory:?}");
}

#[test]
fn pinned_bytes_are_those_of_the_chunks_that_values_hold() {
    let _alone = alone();
    let cache = build(1 << 20, 1, Policy::Lru);
    cache.insert("a", [1; 100]).unwrap();
    cache.insert("b", [2; 100]).unwrap();
    let (a, b) = (cache.get("a").unwrap(), cache.get("b").unwrap());
    let pinned = cache.memory().pinned;
    assert!(pinned > 0 && pinned <= cache.memory().chunks);
    drop(a);
    assert_eq!(cache.memory().pinned, pinned, "both were in one chunk");
    drop(b);
    assert_eq!(cache.memory().pinned, 0);
}

#[test]
fn sizes_from_64_kib_work_with_every_policy() {
    let _alone = alone();
    for &policy in Policy::ALL {
        for max_bytes in [64 << 10, (64 << 10) + 1, 70_000, 99_999, 131_071] {
            let cache = Cache::builder().max_bytes(max_bytes).policy(policy).build().unwrap();
            for key in 0..3_000_u32 {
                let _ = cache.insert(key.to_le_bytes(), [1; 40]);
            }
            assert!(cache.len() > 300, "{} entries in {max_bytes}", cache.len());
            assert_adds_up(&cache);
        }
    }
}

#[test]
fn below_the_smallest_size_the_error_names_the_smallest_which_works() {
    let _alone = alone();
    for &policy in Policy::ALL {
        for shards in [1, 2, 16, 256] {
            for (alignment, asked) in [(1, 0), (16, 1_000), (8, 30_000 * shards)] {
                let builder = Cache::builder().shards(shards).policy(policy).value_alignment(alignment);
                let error = builder.clone().max_bytes(asked).build().unwrap_err();
                let BuildError::TooSmall { max_bytes, min_bytes } = error else { panic!("{error}") };
                assert!(max_bytes == asked && min_bytes > asked);
                assert!(min_bytes <= shards * (64 << 10), "{min_bytes} for {shards} shards");
                let cache = builder.max_bytes(min_bytes).build().unwrap_or_else(|error| panic!("{shards}: {error}"));
                for key in 0..2_000_u32 {
                    let _ = cache.insert(key.to_le_bytes(), [1; 100]);
                }
                assert!(cache.len() > 10);
                assert_adds_up(&cache);
            }
        }
    }
}

#[test]
fn the_smallest_entries_fill_the_cache_as_well_as_others() {
    let _alone = alone();
    for &policy in Policy::ALL {
        let cache = build(1 << 20, 1, policy);
        for key in 0..150_000_u32 {
            cache.insert(key.to_le_bytes(), [1]).unwrap();
        }
        let memory = cache.memory();
        let used = memory.live + memory.index + memory.policy + memory.overhead;
        // These policies need more bytes for each id, so the index stops growing earlier.
        let is_heavy = matches!(policy, Policy::Lfu | Policy::TwoQueue | Policy::Arc | Policy::Gdsf);
        let least = if is_heavy { memory.max / 5 * 3 } else { memory.max / 4 * 3 };
        assert!(used > least, "{policy}: {} entries, the index has stopped growing: {memory:?}", cache.len());
    }
}
