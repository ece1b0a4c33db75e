//! Deadlines under many threads. Entries are replaced, relocated, read and expired while a clock
//! runs. No read finds an entry late, and none misses it early.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::thread;
use std::time::Duration;

use bytecache::testing::Inspect;
use bytecache::{Cache, Clock, Lifetime, ManualClock, Policy, TICK};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::support::alone;

const KEYS_OF_A_WRITER: u32 = 300;
const WRITES: u32 = 20_000;
/// Number of writes of a thread between its own steps of the clock.
const WRITES_OF_A_STEP: u32 = 50;

struct Shared {
    cache: Cache,
    clock: ManualClock,
    /// Locked for writing while the clock is moved, so that an insert knows the time.
    time: RwLock<()>,
    is_over: AtomicBool,
    hits: AtomicU64,
}

impl Shared {
    fn advance(&self) {
        let _moved = self.time.write().unwrap();
        self.clock.advance(TICK / 4);
    }
}

/// Returns a value that contains the time by which its entry must have expired, followed by
/// copies of a checksum byte.
fn value(latest: Duration, len: usize) -> Vec<u8> {
    let nanos = u64::try_from(latest.as_nanos()).unwrap();
    let mut value = nanos.to_le_bytes().to_vec();
    value.resize(8 + len, nanos.to_le_bytes().iter().fold(7, |sum: u8, byte| sum.wrapping_mul(31).wrapping_add(*byte)));
    value
}

/// Returns the time by which the entry must have expired, or `None` if reads extend its deadline.
fn latest(bytes: &[u8]) -> Option<Duration> {
    let nanos = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    assert_eq!(bytes, value(Duration::from_nanos(nanos), bytes.len() - 8), "a torn value");
    (nanos != 0).then(|| Duration::from_nanos(nanos))
}

fn write(shared: &Shared, writer: u32) {
    let mut random = SmallRng::seed_from_u64(writer.into());
    for write in 0..WRITES {
        // The thread that moves the clock may not run before all is written.
        if write % WRITES_OF_A_STEP == 0 {
            shared.advance();
        }
        let key = (writer * KEYS_OF_A_WRITER + random.random_range(0..KEYS_OF_A_WRITER)).to_le_bytes();
        let length = TICK * random.random_range(1..40);
        let is_idle = random.random_bool(0.3);
        let inserted = {
            let _still = shared.time.read().unwrap();
            let now = shared.clock.now();
            let (latest, lifetime) = match is_idle {
                true => (Duration::ZERO, Lifetime::forever().time_to_idle(length)),
                false => (now + length + TICK, Lifetime::forever().ttl(length)),
            };
            let value = value(latest, random.random_range(0..120));
            shared.cache.insert_with_lifetime(key, value, lifetime).map(|()| now)
        };
        // Rejected if a preempted reader holds the space.
        let Ok(now) = inserted else { continue };
        if random.random_bool(0.2) {
            thread::yield_now();
        }
        // No other thread writes to this key. So it is present, unless its deadline had passed when
        // it was looked up.
        let is_there = shared.cache.contains_key(key);
        assert!(is_there || shared.clock.now() >= now + length, "an entry expired early");
        if is_idle && random.random_bool(0.1) {
            // The value of this entry names no deadline. The entry is stored again, or changed in
            // place.
            let _still = shared.time.read().unwrap();
            if shared.cache.set_ttl(key, length).unwrap_or(false) {
                assert!(shared.cache.contains_key(key), "a deadline that was set has passed at once");
            }
        }
    }
}

fn read(shared: &Shared, reader: u32, writers: u32) {
    let mut random = SmallRng::seed_from_u64(u64::from(reader) << 32);
    let mut hits = 0;
    // After all writes, the clock stands still. A reader that has not run until then finds the
    // entries that are left.
    while !shared.is_over.load(Ordering::Relaxed) || hits == 0 {
        let key = random.random_range(0..writers * KEYS_OF_A_WRITER).to_le_bytes();
        let before = shared.clock.now();
        let found = shared.cache.view(key, |value| value.to_vec());
        let Some(found) = found else { continue };
        hits += 1;
        if let Some(latest) = latest(&found) {
            assert!(before < latest, "{before:?} is not before {latest:?}");
        }
    }
    shared.hits.fetch_add(hits, Ordering::Relaxed);
}

fn run(policy: Policy) {
    let writers = 2;
    let clock = ManualClock::new();
    // The cache is so small that chunks are cleaned all the time, but large enough for all keys.
    let builder = Cache::builder().max_bytes(256 << 10).shards(1).policy(policy).clock(clock.clone());
    let shared = Arc::new(Shared {
        cache: builder.build().unwrap(),
        clock,
        time: RwLock::new(()),
        is_over: AtomicBool::new(false),
        hits: AtomicU64::new(0),
    });
    thread::scope(|scope| {
        let shared = &*shared;
        for reader in 0..2 {
            scope.spawn(move || read(shared, reader, writers));
        }
        scope.spawn(|| {
            while !shared.is_over.load(Ordering::Relaxed) {
                shared.advance();
                thread::yield_now();
            }
        });
        let writing: Vec<_> = (0..writers).map(|writer| scope.spawn(move || write(shared, writer))).collect();
        let results: Vec<_> = writing.into_iter().map(thread::ScopedJoinHandle::join).collect();
        shared.is_over.store(true, Ordering::Relaxed);
        results.into_iter().for_each(|result| result.unwrap());
    });
    shared.cache.validate();
    let stats = shared.cache.stats();
    assert!(stats.expirations > 0 && shared.hits.load(Ordering::Relaxed) > 0, "{policy}: {stats:?}");
    assert_eq!(stats.evictions, 0, "{policy}: an evicted entry would look as if it had expired early");
    shared.clock.advance(TICK * 100);
    shared.cache.maintain();
    assert!(shared.cache.is_empty(), "{policy}: {} entries stay", shared.cache.len());
}

#[test]
fn none_is_served_late_or_missed_early_with_counted_visits() {
    let _alone = alone();
    run(Policy::S3Fifo);
}

#[test]
fn none_is_served_late_or_missed_early_with_a_touch_log() {
    let _alone = alone();
    run(Policy::Lru);
}
