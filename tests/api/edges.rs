//! Values at the ends of every range, poor hashers, closures that use the cache, and threads that
//! end. The cache stays consistent in all of them.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytecache::testing::Inspect;
use bytecache::{Cache, Error, Policy, StableHash, Value};

use crate::support::{alone, assert_counts_add_up};

fn cache(max_bytes: usize, policy: Policy) -> Cache {
    let builder = Cache::builder().max_bytes(max_bytes).shards(1).policy(policy);
    builder.hasher(StableHash::with_seed(1)).build().unwrap()
}

/// Returns `len` bytes that depend on `seed` and on their position.
fn bytes(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|place| seed.wrapping_mul(31).wrapping_add(place * 7 + place / 251).to_le_bytes()[0]).collect()
}

// Lengths.

#[test]
fn keys_of_every_length_up_to_65535_bytes_are_kept_and_longer_ones_refused() {
    let _alone = alone();
    let cache = cache(2 << 20, Policy::Lru);
    for len in [0, 1, 2, 3, 4, 5, 254, 255, 256, 257, 4095, 4096, 65_534, 65_535] {
        let key = bytes(len, len);
        cache.insert(&key, bytes(len + 1, 100)).unwrap();
        assert_eq!(cache.get(&key).unwrap(), bytes(len + 1, 100));
        assert_eq!(cache.view(&key, <[u8]>::len), Some(100));
        cache.validate();
    }
    let error = cache.insert(bytes(0, 65_536), "v").unwrap_err();
    assert_eq!(error, Error::KeyTooLong { bytes: 65_536, max: 65_535 });
    assert_eq!((cache.stats().rejected_key_too_long, cache.len()), (1, 14));
    // Reads and removals treat such a key as absent.
    let long = bytes(0, 70_000);
    assert!(cache.get(&long).is_none() && !cache.remove(&long) && cache.take(&long).is_none());
    assert!(!cache.contains_key(&long) && cache.view(&long, |_| ()).is_none());
}

#[test]
fn values_of_every_header_and_chunk_border_are_kept() {
    let _alone = alone();
    let cache = cache(4 << 20, Policy::S3Fifo);
    let chunk = 32 << 10;
    let around = |border: usize| border - 20..border + 4;
    let lengths = (0..6).chain(around(chunk)).chain(around(2 * chunk)).chain(around(65_536)).chain(around(3 * chunk));
    for len in lengths {
        cache.insert("key", bytes(len, len)).unwrap();
        assert_eq!(cache.get("key").unwrap(), bytes(len, len));
        cache.validate();
    }
    cache.insert("", "").unwrap();
    assert_eq!(cache.get("").unwrap(), b"");
    assert_eq!(cache.take("").unwrap(), b"");
    assert_eq!(cache.stats().rejected_no_space, 0);
}

#[test]
fn an_entry_of_exactly_the_largest_size_fits_and_one_more_byte_does_not() {
    let _alone = alone();
    for policy in Policy::ALL {
        for max_bytes in [64 << 10, 100_000, 1 << 20, 5 << 20] {
            for alignment in [1, 8, 16] {
                let builder = Cache::builder().max_bytes(max_bytes).policy(*policy).shards(1);
                let cache = builder.value_alignment(alignment).build().unwrap();
                let max = cache.max_entry_bytes();
                assert_eq!(max, (max_bytes / 8).min(512 << 10));
                for key_len in [0, 1, 300, 4096] {
                    let (key, value) = (bytes(1, key_len), bytes(2, max - key_len));
                    cache.insert(&key, &value).unwrap();
                    assert!(cache.peek(&key).is_none_or(|found| found == value));
                    cache.validate();
                    let error = cache.insert(&key, bytes(3, max - key_len + 1)).unwrap_err();
                    assert_eq!(error, Error::TooLarge { bytes: max + 1, max });
                }
                assert_eq!(cache.stats().rejected_too_large, 4);
            }
        }
    }
}

#[test]
fn entries_of_every_size_share_a_cache_and_none_is_rejected_without_readers() {
    let _alone = alone();
    for policy in Policy::ALL {
        for max_bytes in [64 << 10, 1 << 20] {
            let cache = cache(max_bytes, *policy);
            let max = cache.max_entry_bytes() - 8;
            let mut state = 7_u64;
            for number in 0..6_000_usize {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let random = usize::try_from(state >> 33).unwrap();
                // All powers of two are equally likely. One length in 97 is the largest.
                let size = (1 << (random % 18)) + random % 61;
                let len = if random % 97 == 0 { max } else { size.min(max) };
                let key = (random % 400).to_le_bytes();
                cache.insert(key, bytes(number, len)).unwrap();
                cache.view(key, |value| assert_eq!(value, bytes(number, len)));
                if number % 64 == 0 {
                    cache.validate();
                }
            }
            assert_counts_add_up(&cache);
        }
    }
}

// Keys.

#[test]
fn keys_that_differ_in_a_single_bit_are_told_apart() {
    let _alone = alone();
    let cache = Cache::builder().max_bytes(64 << 20).build().unwrap();
    let count = if cfg!(debug_assertions) { 200_000_u32 } else { 1_000_000 };
    // A Gray code: successive keys differ in a single bit of bytes 20 to 23.
    let key = |number: u32| {
        let mut key = [0x55; 32];
        key[20..24].copy_from_slice(&(number ^ (number >> 1)).to_be_bytes());
        key
    };
    for number in 0..count {
        cache.insert(key(number), number.to_le_bytes()).unwrap();
    }
    assert_eq!(cache.len(), count as usize);
    for number in 0..count {
        assert!(cache.view(key(number), |value| value == number.to_le_bytes()).unwrap());
    }
    for bit in 0..256 {
        let mut other = key(12_345);
        other[bit / 8] ^= 1 << (bit % 8);
        let gray = u32::from_be_bytes(other[20..24].try_into().unwrap());
        let number = (0..5).fold(gray, |number, step| number ^ (number >> (1 << step)));
        let is_there = (160..192).contains(&bit) && number < count;
        assert_eq!(cache.contains_key(other), is_there, "bit {bit}");
    }
    cache.validate();
}

/// A hasher whose hashes are the results of a closure.
#[derive(Clone)]
struct Rigged(Arc<dyn Fn() -> u64 + Send + Sync>);

impl BuildHasher for Rigged {
    type Hasher = Fixed;

    fn build_hasher(&self) -> Fixed {
        Fixed((self.0)())
    }
}

struct Fixed(u64);

impl Hasher for Fixed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {}
}

#[test]
fn keys_with_the_same_hash_are_told_apart() {
    let _alone = alone();
    for policy in Policy::ALL {
        let builder = Cache::builder().max_bytes(256 << 10).shards(1).policy(*policy);
        let cache = builder.hasher(Rigged(Arc::new(|| 42))).build().unwrap();
        for round in 0..3_usize {
            for key in 0..400_usize {
                cache.insert(key.to_le_bytes(), bytes(key + round, 20)).unwrap();
                if key % 3 == 0 {
                    assert!(cache.remove((key / 2 * 2).to_le_bytes()) || key / 2 * 2 != key);
                }
            }
            cache.validate();
            for key in 0..400_usize {
                cache.view(key.to_le_bytes(), |value| assert_eq!(value, bytes(key + round, 20)));
            }
        }
        assert!(cache.len() > 200);
        cache.retain(|_, _| false);
        assert!(cache.is_empty());
        cache.validate();
    }
}

#[test]
fn a_hasher_without_memory_corrupts_nothing_and_ends() {
    let _alone = alone();
    for shards in [1, 4] {
        let counter = AtomicU64::new(1);
        let random = move || {
            let state = counter.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
            (state ^ (state >> 31)).wrapping_mul(0xd6e8_feb8_6659_fd93)
        };
        let builder = Cache::builder().max_bytes(shards * (64 << 10)).shards(shards);
        let cache = builder.hasher(Rigged(Arc::new(random))).build().unwrap();
        let mut held: Vec<(usize, Value)> = Vec::new();
        for number in 0..8_000_usize {
            let (key, len) = (number % 300, number % 150);
            let value = [&key.to_le_bytes()[..], &bytes(key, len)].concat();
            let _ = cache.insert(key.to_le_bytes(), value);
            let (asked, answer) = (number * 7 % 300, number * 11 % 300);
            cache.view(asked.to_le_bytes(), |value| assert_eq!(value[..size_of::<usize>()], asked.to_le_bytes()));
            cache.remove(answer.to_le_bytes());
            if let Some(value) = cache.get(asked.to_le_bytes()).filter(|_| held.len() < 20) {
                held.push((asked, value));
            }
            let memory = cache.memory();
            assert!(memory.allocated <= memory.max);
        }
        cache.for_each(|key, value| assert_eq!(key, &value[..key.len()]));
        cache.retain(|key, _| key[0] % 2 == 0);
        cache.clear();
        assert!(cache.is_empty());
        cache.validate();
        for (key, value) in held {
            assert_eq!(value[..size_of::<usize>()], key.to_le_bytes());
        }
    }
}

#[test]
fn a_hasher_that_panics_reaches_the_caller_and_the_cache_goes_on() {
    let _alone = alone();
    let calls = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&calls);
    // Every 1000th hash panics, including those computed under the lock while the index grows.
    let hash = move || {
        let call = counted.fetch_add(1, Ordering::Relaxed);
        assert!(call % 1_000 != 999, "the hasher has panicked");
        call % 7 // Few hashes, so that entries are displaced and looked up again under the lock.
    };
    let cache = Cache::builder().max_bytes(128 << 10).shards(1).hasher(Rigged(Arc::new(hash))).build().unwrap();
    for number in 0..6_000_usize {
        let outcome = catch_unwind(AssertUnwindSafe(|| cache.insert(number.to_le_bytes(), bytes(number, 30))));
        assert!(outcome.is_ok_and(|stored| stored.is_ok()) || calls.load(Ordering::Relaxed) >= 1_000);
    }
    // Clearing hashes the keys of entries that are displaced.
    let _ = catch_unwind(AssertUnwindSafe(|| cache.clear()));
    assert!(cache.is_empty());
    cache.clear();
    cache.validate();
    let memory = cache.memory();
    assert_eq!(memory.allocated, memory.chunks + memory.index + memory.policy + memory.overhead);
}

#[test]
fn a_hasher_that_panics_while_the_index_grows_takes_no_memory_along() {
    let _alone = alone();
    let calls = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&calls);
    // An insert hashes its key. Only an insert that makes the index grow computes 30 hashes.
    let hash = move || {
        assert!(counted.fetch_add(1, Ordering::Relaxed) < 30, "the hasher has panicked");
        0
    };
    let cache = Cache::builder().max_bytes(1 << 20).shards(1).hasher(Rigged(Arc::new(hash))).build().unwrap();
    let before = cache.memory().index;
    for _ in 0..20 {
        let panicked = (0..2_000_usize).any(|number| {
            calls.store(0, Ordering::Relaxed);
            catch_unwind(AssertUnwindSafe(|| cache.insert(number.to_le_bytes(), [0; 8]).unwrap())).is_err()
        });
        assert!(panicked && cache.is_empty(), "the index has not grown");
        assert_eq!(cache.memory().index, before);
        cache.validate();
    }
}

// Reading.

#[test]
fn get_many_calls_once_for_each_key_in_order_with_repeated_and_missing_ones() {
    let _alone = alone();
    let cache = cache(1 << 20, Policy::Lru);
    for key in 0..50_u8 {
        cache.insert([key], bytes(key.into(), key.into())).unwrap();
    }
    let none: [&[u8]; 0] = [];
    cache.get_many(&none, |_, _| panic!("called for no key"));
    for count in [1, 15, 16, 17, 32, 33, 200] {
        let keys: Vec<[u8; 1]> = (0..count).map(|index: usize| [u8::try_from(index * index % 70).unwrap()]).collect();
        let before = cache.stats();
        let mut next = 0;
        cache.get_many(&keys, |index, value| {
            assert_eq!(index, next);
            next += 1;
            let key = keys[index][0];
            assert_eq!(value.map(<[u8]>::to_vec), (key < 50).then(|| bytes(key.into(), key.into())));
        });
        assert_eq!(next, count);
        let (found, after) = (keys.iter().filter(|key| key[0] < 50).count() as u64, cache.stats());
        assert_eq!((after.hits - before.hits, after.misses - before.misses), (found, count as u64 - found));
    }
}

#[test]
fn get_into_replaces_what_was_in_the_buffer_and_leaves_it_on_a_miss() {
    let _alone = alone();
    let cache = cache(1 << 20, Policy::Lru);
    cache.insert("key", "value").unwrap();
    let mut buffer = b"something longer".to_vec();
    assert!(!cache.get_into("other", &mut buffer) && buffer == b"something longer");
    assert!(cache.get_into("key", &mut buffer) && buffer == b"value");
}

#[test]
fn peek_and_contains_key_leave_policy_and_counters_alone() {
    let _alone = alone();
    for policy in Policy::ALL {
        // Two caches get the same operations, and one of them is also peeked into. Both must hold
        // the same keys in the end.
        let looked_into = cache(64 << 10, *policy);
        let left_alone = cache(64 << 10, *policy);
        for number in 0..8_000_u32 {
            for cache in [&looked_into, &left_alone] {
                cache.insert((number % 1_500).to_le_bytes(), [0; 50]).unwrap();
                let _ = cache.get((number * 13 % 1_500).to_le_bytes());
            }
            let _ = looked_into.peek((number * 7 % 1_500).to_le_bytes());
            let _ = looked_into.contains_key((number * 5 % 1_500).to_le_bytes());
            let _ = looked_into.contains_key("missing");
        }
        let counted = |cache: &Cache| {
            let mut stats = cache.stats();
            stats.copied_values = 0; // Depends on memory, not on reads.
            stats
        };
        assert_eq!(counted(&looked_into), counted(&left_alone));
        let keys = |cache: &Cache| {
            let mut keys = HashSet::new();
            cache.for_each(|key, _| assert!(keys.insert(key.to_vec())));
            keys
        };
        assert_eq!(keys(&looked_into), keys(&left_alone));
    }
}

#[test]
fn counters_count_each_operation_once() {
    let _alone = alone();
    let cache = cache(1 << 20, Policy::S3Fifo);
    cache.insert("a", "1").unwrap();
    cache.insert("a", "2").unwrap();
    assert!(cache.insert_if_absent("b", "1").unwrap() && !cache.insert_if_absent("b", "2").unwrap());
    assert!(cache.replace("b", "3").unwrap() && !cache.replace("c", "1").unwrap());
    let stats = cache.stats();
    assert_eq!((stats.inserts, stats.updates), (2, 2));
    assert!(cache.get("a").is_some() && cache.get("x").is_none());
    assert!(cache.view("a", |_| ()).is_some() && cache.view("x", |_| ()).is_none());
    assert!(cache.get_into("b", &mut vec![]) && !cache.get_into("x", &mut vec![]));
    cache.get_many(&["a", "x", "a"], |_, _| ());
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses), (5, 4));
    assert!((stats.hit_ratio() - 5.0 / 9.0).abs() < 1e-9);
    for key in ["c", "d", "e"] {
        cache.insert(key, "1").unwrap();
    }
    assert!(cache.remove("a") && !cache.remove("a"));
    assert!(cache.take("b").is_some() && cache.take("b").is_none());
    cache.retain(|key, _| key != b"c");
    assert_eq!(cache.stats().removals, 3);
    cache.clear();
    let stats = cache.stats();
    assert_eq!((stats.removals, stats.inserts, stats.evictions, cache.len()), (5, 5, 0, 0));
    assert_eq!((stats.hits, stats.misses), (5, 4));
}

#[test]
fn inserts_minus_removals_and_evictions_is_the_number_of_entries() {
    let _alone = alone();
    for policy in Policy::ALL {
        let cache = cache(200 << 10, *policy);
        let mut held = Vec::new();
        for number in 0..12_000_usize {
            let key = (number * 17 % 3_001).to_le_bytes();
            let _ = cache.insert(key, bytes(number, number % 190));
            match number % 11 {
                0 => drop(cache.remove((number * 5 % 3_001).to_le_bytes())),
                1 => drop(cache.take((number * 3 % 3_001).to_le_bytes())),
                2 => held.extend(cache.get(key)),
                3 if number % 5 == 0 => held.clear(),
                4 if number % 1_000 == 4 => cache.retain(|key, _| key[0] % 4 != 0),
                5 if number % 3_000 == 5 => cache.clear(),
                _ => {}
            }
            if number % 16 == 0 {
                assert_counts_add_up(&cache);
            }
        }
    }
}

// Policies.

#[test]
fn with_one_shard_and_thread_the_victims_are_the_least_recently_used() {
    let _alone = alone();
    for max_bytes in [64 << 10, 300 << 10] {
        let cache = cache(max_bytes, Policy::Lru);
        let mut stamps = HashMap::new();
        let mut order = BTreeMap::new();
        let mut use_now = |order: &mut BTreeMap<usize, usize>, key: usize, stamp: usize| {
            if let Some(old) = stamps.insert(key, stamp) {
                order.remove(&old);
            }
            order.insert(stamp, key);
        };
        let mut state = 1_u64;
        for stamp in 0..30_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let key = usize::try_from(state >> 33).unwrap() % 6_000;
            let name = key.to_le_bytes();
            let is_there = cache.contains_key(name);
            match (state >> 20) % 4 {
                0 if is_there => drop(cache.get(name)),
                1 if is_there => drop(cache.view(name, |_| ())),
                2 => {
                    cache.get_many(&[name], |_, _| ());
                    if !is_there {
                        continue;
                    }
                }
                _ => cache.insert(name, bytes(key, 10 + key % 40)).unwrap(),
            }
            use_now(&mut order, key, stamp);
            // The entries that left are the oldest ones,
            while order.first_key_value().is_some_and(|(_, key)| !cache.contains_key(key.to_le_bytes())) {
                order.pop_first();
            }
            // and no other entry has left.
            assert_eq!(order.len(), cache.len(), "an entry other than the least recently used was evicted");
        }
        assert!(order.values().all(|key| cache.contains_key(key.to_le_bytes())));
        assert!(cache.stats().evictions > 1_000);
        assert_eq!(cache.stats().dropped_touches, 0);
    }
}

// Closures.

#[test]
fn the_cache_can_be_used_inside_view() {
    let _alone = alone();
    let cache = cache(64 << 10, Policy::Lru);
    cache.insert("key", "value").unwrap();
    let outcome = cache.view("key", |value| {
        for number in 0..5_000_u32 {
            // Rejected once space is short, because this thread itself holds a chunk.
            let _ = cache.insert(number.to_le_bytes(), [7; 60]);
            cache.remove((number / 2).to_le_bytes());
        }
        cache.insert_if_absent("key", "other").ok();
        cache.view("key", |inner| assert!(inner == b"value" || inner == b"other"));
        cache.clear();
        cache.maintain();
        assert!(cache.is_empty() && cache.stats().hits > 0 && cache.memory().allocated > 0);
        cache.validate();
        value.to_vec() // Still readable, although the entry has left.
    });
    assert_eq!(outcome.unwrap(), b"value");
    cache.validate();
    for number in 0..5_000_u32 {
        cache.insert(number.to_le_bytes(), [7; 60]).unwrap();
    }
    assert!(cache.len() > 300);
}

#[test]
fn the_cache_can_be_used_inside_for_each_retain_and_get_many() {
    let _alone = alone();
    let cache = cache(256 << 10, Policy::S3Fifo);
    for number in 0..1_000_u32 {
        cache.insert(number.to_le_bytes(), number.to_le_bytes()).unwrap();
    }
    cache.for_each(|key, value| {
        if key.len() == 4 {
            assert_eq!(key, value);
            assert!(cache.remove(key));
            cache.insert([key, b"x"].concat(), value).unwrap();
        }
    });
    cache.validate();
    let visits = Cell::new(0);
    cache.retain(|key, value| {
        visits.set(visits.get() + 1);
        if key.len() == 5 {
            assert!(cache.insert(&key[..4], value).is_ok());
        }
        key.len() != 5
    });
    cache.validate();
    assert!(visits.get() >= 1_000);
    cache.for_each(|key, _| assert_eq!(key.len(), 4));
    assert_eq!(cache.len(), 1_000);
    let keys: Vec<_> = (0..100_u32).map(u32::to_le_bytes).collect();
    cache.get_many(&keys, |index, value| {
        assert_eq!(value, Some(&keys[index][..]));
        assert!(cache.remove(keys[index]));
        cache.insert(keys[99 - index], b"new").ok();
        cache.remove(keys[99 - index]);
        cache.insert(keys[99 - index], keys[99 - index]).unwrap();
    });
    cache.validate();
}

#[test]
fn get_many_sees_what_was_stored_inside_it_although_the_index_has_grown() {
    let _alone = alone();
    let cache = cache(16 << 20, Policy::Lru);
    let keys = ["first", "updated", "removed", "kept"];
    keys.iter().for_each(|key| cache.insert(key, "old").unwrap());
    let mut seen = Vec::new();
    cache.get_many(&keys, |index, value| {
        seen.push(value.map(<[u8]>::to_vec));
        if index == 0 {
            for number in 0..20_000_u32 {
                cache.insert(number.to_le_bytes(), [7; 60]).unwrap();
            }
            assert!(cache.stats().index_growths > 0);
            cache.insert("updated", "new").unwrap();
            assert!(cache.remove("removed"));
        }
    });
    let [old, new] = ["old", "new"].map(|value| Some(value.as_bytes().to_vec()));
    assert_eq!(seen, [old.clone(), new, None, old]);
    cache.validate();
}

#[test]
fn retain_shows_an_entry_again_that_was_replaced_meanwhile_and_ends() {
    let _alone = alone();
    let cache = cache(64 << 10, Policy::Lru);
    cache.insert("key", "first").unwrap();
    let mut seen = Vec::new();
    cache.retain(|key, value| {
        seen.push(value.to_vec());
        if value == b"first" {
            cache.insert(key, "second").unwrap();
        }
        false
    });
    assert_eq!(seen, [b"first".to_vec(), b"second".to_vec()]);
    assert!(cache.is_empty());
    // If the closure replaces the entry by an equal value, it is called once. The value that it
    // refuses is removed.
    cache.insert("key", [1; 100]).unwrap();
    let mut asked = 0;
    cache.retain(|key, value| {
        cache.insert(key, value).unwrap();
        asked += 1;
        false
    });
    assert_eq!((asked, cache.len()), (1, 0));
    cache.validate();
}

#[test]
fn entries_that_stay_are_all_seen_by_for_each_while_the_index_grows() {
    let _alone = alone();
    let cache = cache(16 << 20, Policy::Lru);
    let first = 20_000_u32;
    for number in 0..first {
        cache.insert(number.to_le_bytes(), []).unwrap();
    }
    let before = cache.stats().index_growths;
    let mut seen = HashSet::new();
    let mut next = first;
    cache.for_each(|key, _| {
        seen.insert(u32::from_le_bytes(key.try_into().unwrap()));
        for _ in 0..4 {
            if next < 6 * first {
                cache.insert(next.to_le_bytes(), []).unwrap();
                next += 1;
            }
        }
    });
    assert!(cache.stats().index_growths > before && cache.stats().evictions == 0);
    let missed = (0..first).filter(|number| !seen.contains(number)).count();
    assert_eq!(missed, 0, "entries that were present throughout were not seen");
}

#[test]
fn a_closure_that_panics_leaves_the_cache_whole() {
    let _alone = alone();
    let cache = cache(64 << 10, Policy::Lru);
    for number in 0..300_u32 {
        cache.insert(number.to_le_bytes(), [1; 30]).unwrap();
    }
    let panics = |work: &dyn Fn()| assert!(catch_unwind(AssertUnwindSafe(work)).is_err());
    panics(&|| cache.view(299_u32.to_le_bytes(), |_| panic!("in view")).unwrap());
    panics(&|| cache.get_many(&[299_u32.to_le_bytes()], |_, _| panic!("in get_many")));
    panics(&|| cache.for_each(|_, _| panic!("in for_each")));
    panics(&|| cache.retain(|key, _| if key[0] == 7 { panic!("in retain") } else { key[0] % 2 == 0 }));
    cache.validate();
    assert_counts_add_up(&cache);
    // No hold is left behind, so chunks are still reclaimed.
    for number in 0..10_000_u32 {
        cache.insert(number.to_le_bytes(), [1; 30]).unwrap();
    }
    cache.validate();
}

// Threads.

thread_local! {
    static EARLY: RefCell<Option<AtExit>> = const { RefCell::new(None) };
    static LATE: RefCell<Option<AtExit>> = const { RefCell::new(None) };
}

/// A thread-local value that uses a cache when its thread ends.
struct AtExit(Cache, Arc<AtomicU64>);

impl Drop for AtExit {
    fn drop(&mut self) {
        let Self(cache, done) = self;
        for number in 0..2_000_u32 {
            let _ = cache.insert(number.to_le_bytes(), [5; 40]);
            let value = cache.get(number.to_le_bytes());
            assert!(value.is_none_or(|value| value == [5; 40]));
            cache.view(number.to_le_bytes(), |value| assert_eq!(value, [5; 40]));
        }
        cache.remove(1_u32.to_le_bytes());
        cache.clear();
        done.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_cache_can_be_used_in_the_destructor_of_a_thread_local() {
    let _alone = alone();
    let done = Arc::new(AtomicU64::new(0));
    for policy in Policy::ALL {
        let cache = cache(128 << 10, *policy);
        let spawned = std::thread::spawn({
            let (cache, done) = (cache.clone(), Arc::clone(&done));
            move || {
                EARLY.set(Some(AtExit(cache.clone(), Arc::clone(&done))));
                cache.insert("key", "value").unwrap();
                assert!(cache.get("key").is_some());
                LATE.set(Some(AtExit(cache, done)));
            }
        });
        spawned.join().unwrap();
        cache.validate();
        assert!(cache.stats().hits > 1);
    }
    assert_eq!(done.load(Ordering::Relaxed), 2 * Policy::ALL.len() as u64);
}

#[test]
fn handles_are_send_sync_and_share_their_entries() {
    fn assert_shared<T: Send + Sync + Clone + 'static>() {}
    assert_shared::<Cache>();
    assert_shared::<Value>();
    let _alone = alone();
    let cache = cache(1 << 20, Policy::Lru);
    let other = cache.clone();
    std::thread::spawn(move || other.insert("key", "value")).join().unwrap().unwrap();
    assert_eq!(cache.get("key").unwrap(), b"value");
    assert!(format!("{cache:?}").contains("max_bytes: 1048576"));
}

// Values.

#[test]
fn values_outlive_their_entry_and_their_cache_and_move_to_other_threads() {
    let _alone = alone();
    for max_bytes in [64 << 10, 4 << 20] {
        let cache = cache(max_bytes, Policy::S3Fifo);
        let max = cache.max_entry_bytes() - 8;
        let lengths = [0, 1, 60, 900, 5_000, max];
        let mut held = Vec::new();
        for (number, len) in lengths.into_iter().enumerate() {
            cache.insert(number.to_le_bytes(), bytes(number, len)).unwrap();
            held.extend(cache.get(number.to_le_bytes()).map(|value| (number, len, value)));
        }
        held.extend(cache.take(2_usize.to_le_bytes()).map(|value| (2, 60, value)));
        // From here on, only the values keep their chunks.
        for number in 0..lengths.len() {
            cache.remove(number.to_le_bytes());
        }
        for number in 100..(max_bytes / 20) {
            let _ = cache.insert(number.to_le_bytes(), bytes(number, 100));
        }
        let copies = held.clone();
        drop(cache);
        let check = |held: Vec<(usize, usize, Value)>| {
            for (number, len, value) in held {
                assert_eq!(value, bytes(number, len));
            }
        };
        std::thread::spawn(move || check(copies)).join().unwrap();
        check(held);
    }
}

#[cfg(feature = "bytes")]
#[test]
fn bytes_made_of_a_value_share_its_memory_and_outlive_the_cache() {
    let _alone = alone();
    let cache = cache(1 << 20, Policy::Lru);
    cache.insert("key", "a value").unwrap();
    let value = cache.get("key").unwrap();
    let address = value.as_ptr();
    let bytes = bytes::Bytes::from(value);
    assert_eq!((bytes.as_ptr(), cache.memory().pinned > 0), (address, true));
    let part = bytes.slice(2..);
    drop((cache, bytes));
    assert_eq!(part, &b"value"[..]);
}
