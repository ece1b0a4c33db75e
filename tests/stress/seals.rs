//! Many threads on small caches. No value is torn, no key has another key's value, and no thread
//! sees an older version after a newer one.
//!
//! The environment variable `BYTECACHE_STRESS=n` multiplies the work. The tests also run under
//! AddressSanitizer.

use std::collections::HashMap;
use std::sync::Barrier;
use std::thread;

use bytecache::testing::Inspect;
use bytecache::{Cache, Error, Policy, StableHash, Value};

use crate::support::{alone, build};

/// Returns the factor by which the work is multiplied.
fn effort() -> usize {
    std::env::var("BYTECACHE_STRESS").map_or(1, |factor| factor.parse().expect("BYTECACHE_STRESS is a number"))
}

/// A self-checking value. The checksum covers all other bytes. Sizes are in bytes.
///
/// ```text
/// checksum 8 | version 8 | key 4 | padding
/// ```
struct Seal;

impl Seal {
    const BYTES: usize = 20;

    fn value(key: u32, version: u64, padding: usize) -> Vec<u8> {
        let mut value = vec![0; 8];
        value.extend(version.to_le_bytes());
        value.extend(key.to_le_bytes());
        value.resize(Self::BYTES + padding, (version ^ u64::from(key)).to_le_bytes()[0]);
        let checksum = StableHash::with_seed(9).hash_bytes(&value[8..]);
        value[..8].copy_from_slice(&checksum.to_le_bytes());
        value
    }

    /// Returns the version of a value. Checks that the value is whole and belongs to `key`.
    fn open(key: u32, value: &[u8]) -> u64 {
        let (checksum, rest) = value.split_first_chunk::<8>().expect("a value was cut off");
        let expected = StableHash::with_seed(9).hash_bytes(rest);
        assert_eq!(u64::from_le_bytes(*checksum), expected, "a value is torn");
        assert_eq!(rest[8..12], key.to_le_bytes(), "another key's value");
        u64::from_le_bytes(rest[..8].try_into().unwrap())
    }
}

/// Returns the bytes of a key. Their number differs, so that both kinds of headers occur.
fn key_bytes(key: u32) -> Vec<u8> {
    let mut bytes = key.to_le_bytes().to_vec();
    bytes.resize(4 + if key % 64 == 0 { 300 } else { key as usize % 20 }, b'k');
    bytes
}

fn key_of(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes[..4].try_into().unwrap())
}

/// The part of one thread in a test.
struct Worker<'a> {
    cache: &'a Cache,
    state: u64,
    keys: u32,
    /// This thread alone writes the keys that are this number plus a multiple of `workers`.
    number: u32,
    workers: u32,
    /// The latest version that this thread has seen of each key.
    seen: HashMap<u32, u64>,
    /// The version that this thread has stored last of each of its own keys.
    stored: HashMap<u32, u64>,
    version: u64,
    held: Vec<(u32, u64, Value)>,
}

impl Worker<'_> {
    fn random(&mut self, below: u32) -> u32 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(((self.state >> 32) * u64::from(below)) >> 32).unwrap()
    }

    fn any_key(&mut self) -> u32 {
        // Half of all reads are for a few keys.
        let among = if self.random(2) == 0 { self.keys / 16 } else { self.keys };
        self.random(among)
    }

    fn own_key(&mut self) -> u32 {
        let rank = self.random(self.keys / self.workers);
        rank * self.workers + self.number
    }

    fn padding(&mut self) -> usize {
        let max = u32::try_from(self.cache.max_entry_bytes()).unwrap() - 400;
        match self.random(64) {
            0 => self.random(max) as usize,
            1..8 => self.random(2_000.min(max)) as usize,
            _ => self.random(120) as usize,
        }
    }

    /// Checks a value that was read, and returns its version.
    fn check(&mut self, key: u32, value: &[u8]) -> u64 {
        let version = Seal::open(key, value);
        let seen = self.seen.entry(key).or_default();
        assert!(version >= *seen, "version {version} of key {key} came after {seen}");
        *seen = version;
        if key % self.workers == self.number {
            assert_eq!(Some(&version), self.stored.get(&key), "the writer itself sees another version");
        }
        version
    }

    fn store(&mut self) {
        let (key, padding) = (self.own_key(), self.padding());
        self.version += 1;
        let (version, bytes) = (self.version, key_bytes(key));
        let value = Seal::value(key, version, padding);
        let stored = match self.random(8) {
            0 => self.cache.insert_if_absent(&bytes, value),
            1 => self.cache.replace(&bytes, value),
            _ => self.cache.insert(&bytes, value).map(|()| true),
        };
        match stored {
            Ok(true) => drop(self.stored.insert(key, version)),
            Ok(false) => {}
            Err(error) => {
                assert_eq!(error, Error::Rejected);
                self.stored.remove(&key); // The older entry is gone.
            }
        }
        self.read_back(key, &bytes);
    }

    /// Reads a key after a write of this thread. The thread finds this write or nothing.
    fn read_back(&mut self, key: u32, bytes: &[u8]) {
        let value = self.cache.get(bytes);
        if let Some(value) = value {
            self.check(key, &value);
        }
    }

    fn step(&mut self) {
        match self.random(100) {
            0..30 => self.store(),
            30..55 => {
                let key = self.any_key();
                let cache = self.cache;
                cache.view(key_bytes(key), |value| self.check(key, value));
            }
            55..70 => {
                let key = self.any_key();
                self.read_back(key, &key_bytes(key));
            }
            70..80 => {
                let keys: Vec<u32> = (0..self.random(40)).map(|_| self.any_key()).collect();
                let bytes: Vec<_> = keys.iter().copied().map(key_bytes).collect();
                let cache = self.cache;
                cache.get_many(&bytes, |index, value| {
                    if let Some(value) = value {
                        self.check(keys[index], value);
                    }
                });
            }
            80..86 => {
                let key = self.own_key();
                self.cache.remove(key_bytes(key));
                assert!(!self.cache.contains_key(key_bytes(key)), "a removed key came back");
                self.stored.remove(&key);
            }
            86..90 => {
                let key = self.own_key();
                if let Some(value) = self.cache.take(key_bytes(key)) {
                    self.check(key, &value);
                }
                self.stored.remove(&key);
            }
            90..96 => {
                let key = self.any_key();
                if let Some(value) = self.cache.get(key_bytes(key)) {
                    let version = self.check(key, &value);
                    self.held.push((key, version, value));
                }
            }
            96 | 97 => self.let_go(),
            98 => self.rarely(),
            _ => _ = self.cache.maintain(),
        }
    }

    /// Calls an operation on the whole cache.
    fn rarely(&mut self) {
        let (cache, divisor) = (self.cache, 20 + self.random(20));
        match self.random(40) {
            0 => cache.clear(),
            1 | 2 => cache.retain(|key, value| {
                Seal::open(key_of(key), value);
                key_of(key) % divisor != 0
            }),
            3 | 4 => cache.for_each(|key, value| {
                self.check(key_of(key), value);
            }),
            _ => {
                let memory = cache.memory();
                assert!(memory.allocated <= memory.max);
            }
        }
    }

    fn let_go(&mut self) {
        for (key, version, value) in self.held.drain(..) {
            assert_eq!(Seal::open(key, &value), version, "a held value has changed");
        }
    }
}

/// Runs `steps` steps in each of `threads` threads, and checks the cache after them.
fn stress(cache: &Cache, threads: u32, keys: u32, steps: usize) {
    let start = Barrier::new(threads as usize);
    thread::scope(|scope| {
        for number in 0..threads {
            let start = &start;
            scope.spawn(move || {
                let mut worker = Worker {
                    cache,
                    state: u64::from(number) << 20 | 1,
                    keys: keys / threads * threads,
                    number,
                    workers: threads,
                    seen: HashMap::new(),
                    stored: HashMap::new(),
                    version: 0,
                    held: Vec::new(),
                };
                start.wait();
                for _ in 0..steps * effort() {
                    worker.step();
                }
                worker.let_go();
            });
        }
    });
    cache.validate();
    cache.for_each(|key, value| {
        Seal::open(key_of(key), value);
    });
    let stats = cache.stats();
    assert!(stats.hits > 0 && stats.inserts > 0 && stats.evictions > 0, "{stats:?}");
    assert_eq!(stats.inserts - stats.removals - stats.evictions, cache.len() as u64, "{stats:?}");
    assert_eq!(cache.memory().pinned, 0);
    let memory = cache.memory();
    assert_eq!(memory.allocated, memory.chunks + memory.index + memory.policy + memory.overhead);
}

#[test]
fn sixty_four_threads_on_64_kib() {
    let _alone = alone();
    for &policy in Policy::ALL {
        stress(&build(64 << 10, 1, policy), 64, 2_000, 250);
    }
}

#[test]
fn sixteen_threads_on_shards_of_64_kib() {
    let _alone = alone();
    for &policy in Policy::ALL {
        let builder = Cache::builder().max_bytes(256 << 10).shards(4).policy(policy).value_alignment(16);
        stress(&builder.build().unwrap(), 16, 4_000, 1_000);
    }
}

#[test]
fn eight_threads_on_four_megabytes() {
    let _alone = alone();
    for &policy in Policy::ALL {
        stress(&build(4 << 20, 2, policy), 8, 16_000, 6_000);
    }
}

#[test]
fn four_threads_on_a_single_shard() {
    let _alone = alone();
    for &policy in Policy::ALL {
        stress(&build(1 << 20, 1, policy), 4, 20_000, 5_000);
    }
}

#[test]
fn readers_of_hot_keys_never_miss_while_these_are_updated_and_everything_else_is_churned() {
    let _alone = alone();
    // Two hot keys among cold ones are updated all the time. An update must not make its key absent
    // for an instant.
    let cache = Cache::builder().max_bytes(1 << 20).shards(1).policy(Policy::Lru).build().unwrap();
    let hot = [1_u32, 2];
    for key in hot {
        cache.insert(key.to_le_bytes(), Seal::value(key, 0, 50)).unwrap();
    }
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for version in 1..6_000 * effort() as u64 {
                for key in hot {
                    let value = Seal::value(key, version, usize::try_from(version % 200).unwrap());
                    let _ = cache.insert(key.to_le_bytes(), value);
                }
                let cold = 100 + u32::try_from(version % 1_500).unwrap();
                let _ = cache.insert(cold.to_le_bytes(), Seal::value(cold, version, 100));
            }
        });
        let mut latest = [0; 2];
        while !writer.is_finished() {
            for (key, latest) in hot.into_iter().zip(&mut latest) {
                let version = cache.view(key.to_le_bytes(), |value| Seal::open(key, value));
                let Some(version) = version else {
                    let is_refused = cache.stats().rejected_no_space > 0; // A rejection removes the older entry.
                    assert!(is_refused, "a key that is always present was not found");
                    continue;
                };
                assert!(version >= *latest, "an older version came back");
                *latest = version;
            }
        }
    });
    cache.validate();
}
