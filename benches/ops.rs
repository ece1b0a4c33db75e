//! The costs of each operation in one thread: `cargo bench --bench ops`.
//!
//! Keys have 24 bytes, and values have 16, 256 and 4096 bytes. Each operation is measured with
//! entries inside the processor's caches, and with far more entries than they hold. `cargo bench
//! --bench ops -- get_hit/4096/far` fills only the cache that it needs.

use std::cell::OnceCell;
use std::hint::black_box;

use bytecache::Cache;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

const KEY_BYTES: usize = 24;
const VALUE_BYTES: [usize; 3] = [16, 256, 4096];
/// Number of keys in a batched read.
const BATCH: usize = 16;
/// Greatest number of keys in the order of requests: 24 MiB of keys, which are read in sequence.
const MAX_ASKED: usize = 1 << 20;
/// Greatest number of entries in a cache that has to be filled, which takes about as long as the
/// measurement.
const MAX_ENTRIES: usize = 4 << 20;

type Key = [u8; KEY_BYTES];

/// The amount of data.
#[derive(Clone, Copy)]
enum Place {
    /// 256 KiB: fits into the second-level cache of most processors, with the index.
    Near,
    /// 256 MiB: many times the size of the last-level cache.
    Far,
}

impl Place {
    fn name(self) -> &'static str {
        match self {
            Self::Near => "near",
            Self::Far => "far",
        }
    }

    fn entries(self, value_bytes: usize) -> usize {
        let bytes: usize = match self {
            Self::Near => 256 << 10,
            Self::Far => 256 << 20,
        };
        (bytes / (KEY_BYTES + value_bytes)).min(MAX_ENTRIES)
    }
}

fn key(number: usize) -> Key {
    let mut key = [b'k'; KEY_BYTES];
    key[..8].copy_from_slice(&number.to_le_bytes());
    key
}

/// Keys that are requested in random order, again and again.
struct Asked {
    keys: Vec<Key>,
    next: usize,
}

impl Asked {
    fn among(numbers: std::ops::Range<usize>) -> Self {
        let mut random = SmallRng::seed_from_u64(1);
        let keys = if numbers.len() <= MAX_ASKED {
            let mut keys: Vec<_> = numbers.map(key).collect();
            keys.shuffle(&mut random);
            keys
        } else {
            (0..MAX_ASKED).map(|_| key(random.random_range(numbers.clone()))).collect()
        };
        Self { keys, next: 0 }
    }

    fn next(&mut self) -> &Key {
        &self.batch(1)[0]
    }

    fn batch(&mut self, len: usize) -> &[Key] {
        if self.next + len > self.keys.len() {
            self.next = 0;
        }
        self.next += len;
        &self.keys[self.next - len..self.next]
    }
}

/// A cache and its values. The cache is filled when the first benchmark that is not filtered out
/// needs it.
struct Store {
    place: Place,
    value: Vec<u8>,
    filled: OnceCell<Cache>,
}

impl Store {
    fn new(place: Place, value_bytes: usize) -> Self {
        Self { place, value: vec![0x5a; value_bytes], filled: OnceCell::new() }
    }

    fn entries(&self) -> usize {
        self.place.entries(self.value.len())
    }

    /// Returns the cache with all keys below `entries`, and with room for a few more.
    fn cache(&self) -> &Cache {
        self.filled.get_or_init(|| {
            // Values of 4 KiB take two chunks in a small cache.
            let cache = self.build(4);
            for number in 0..self.entries() {
                cache.insert(key(number), &self.value).expect("no space is held");
            }
            assert_eq!(cache.len(), self.entries());
            cache
        })
    }

    /// Returns a cache that has been full for a while, and the number of the next new key.
    fn full(&self) -> (Cache, usize) {
        let cache = self.build(1);
        let mut next = 0;
        while cache.stats().evictions < self.entries() as u64 / 4 {
            for _ in 0..1_000 {
                cache.insert(key(next), &self.value).expect("no space is held");
                next += 1;
            }
        }
        (cache, next)
    }

    fn build(&self, room: usize) -> Cache {
        let entry_bytes = KEY_BYTES + self.value.len();
        // The index and the policy take about 24 bytes for each entry.
        let max_bytes = (self.entries() * (entry_bytes + 24) * room).max(512 << 10);
        let builder = Cache::builder().max_bytes(max_bytes).expected_entry_bytes(entry_bytes);
        builder.build().expect("a size that fits")
    }
}

type Group<'a> = BenchmarkGroup<'a, WallTime>;

fn reads(group: &mut Group<'_>, store: &Store, id: &str) {
    group.bench_function(format!("get_hit/{id}"), |bencher| {
        let (cache, mut asked) = (store.cache(), Asked::among(0..store.entries()));
        bencher.iter(|| cache.get(asked.next()));
    });
    group.bench_function(format!("get_miss/{id}"), |bencher| {
        let (cache, mut asked) = (store.cache(), Asked::among(1 << 40..(1 << 40) + store.entries()));
        bencher.iter(|| cache.get(asked.next()));
    });
    group.bench_function(format!("view/{id}"), |bencher| {
        let (cache, mut asked) = (store.cache(), Asked::among(0..store.entries()));
        // Reads the first byte, so that the value's line is really fetched.
        bencher.iter(|| cache.view(asked.next(), |value| value[0]));
    });
    group.bench_function(format!("get_into/{id}"), |bencher| {
        let (cache, mut asked) = (store.cache(), Asked::among(0..store.entries()));
        let mut buffer = Vec::with_capacity(store.value.len());
        bencher.iter(|| {
            let found = cache.get_into(asked.next(), &mut buffer);
            black_box(&buffer);
            found
        });
    });
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function(format!("get_many_{BATCH}/{id}"), |bencher| {
        let (cache, mut asked) = (store.cache(), Asked::among(0..store.entries()));
        bencher.iter(|| {
            let mut sum = 0;
            cache.get_many(asked.batch(BATCH), |_, value| sum += value.map_or(0, |value| usize::from(value[0])));
            sum
        });
    });
    group.throughput(Throughput::Elements(1));
}

fn writes(group: &mut Group<'_>, store: &Store, id: &str) {
    group.bench_function(format!("update/{id}"), |bencher| {
        let (cache, mut asked) = (store.cache(), Asked::among(0..store.entries()));
        bencher.iter(|| cache.insert(asked.next(), &store.value));
    });
    // Criterion calls the closure several times, and the keys have to continue.
    let mut full: Option<(Cache, usize)> = None;
    group.bench_function(format!("insert_evict/{id}"), |bencher| {
        let (cache, next) = full.get_or_insert_with(|| store.full());
        bencher.iter(|| {
            *next += 1;
            cache.insert(key(*next), &store.value)
        });
    });
    group.bench_function(format!("mixed_90_10/{id}"), |bencher| {
        let (cache, mut asked) = (store.cache(), Asked::among(0..store.entries()));
        let mut turn = 0_u32;
        bencher.iter(|| {
            turn = turn.wrapping_add(1);
            match turn % 10 {
                0 => cache.insert(asked.next(), &store.value).is_ok(),
                _ => cache.view(asked.next(), |value| black_box(value[0])).is_some(),
            }
        });
    });
}

fn operations(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ops");
    group.throughput(Throughput::Elements(1));
    for value_bytes in VALUE_BYTES {
        for place in [Place::Near, Place::Far] {
            let store = Store::new(place, value_bytes);
            let id = format!("{value_bytes}/{}", place.name());
            reads(&mut group, &store, &id);
            writes(&mut group, &store, &id);
        }
    }
    group.finish();
}

criterion_group!(benches, operations);
criterion_main!(benches);
