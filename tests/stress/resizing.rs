//! Threads that read, write and hold values while others set other limits. Sizes of entries change,
//! so indexes grow and shrink all the time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bytecache::testing::Inspect;
use bytecache::{Cache, Error, Policy, ResizeError, Value};

use crate::support::{alone, random};

const MAX_BYTES: usize = 512 << 10;
const CEILING: usize = 8 << 20;
const KEYS: usize = 30_000;

fn value(key: u32, len: usize) -> Vec<u8> {
    key.to_le_bytes().into_iter().cycle().take(len).collect()
}

fn assert_right(key: u32, bytes: &[u8]) {
    assert!(bytes.iter().zip(key.to_le_bytes().into_iter().cycle()).all(|(&byte, right)| byte == right), "{key}");
}

/// Writes, reads and holds. Values are small for a while, and then large.
fn work(cache: &Cache, seed: u64, steps: usize) {
    let mut state = seed;
    let mut held: Vec<(u32, Value)> = Vec::new();
    for step in 0..steps {
        let number = random(&mut state);
        let key = u32::try_from(number % KEYS).unwrap();
        let len = match step / 3_000 % 3 {
            0 => number % 16,
            1 => number % 500,
            _ => number % (cache.max_entry_bytes() / 2),
        };
        match number % 16 {
            0..9 => match cache.insert(key.to_le_bytes(), value(key, len)) {
                Ok(()) | Err(Error::Rejected) => {}
                Err(error) => panic!("{error}"),
            },
            9 => _ = cache.insert_with_ttl(key.to_le_bytes(), value(key, len), Duration::from_millis(200)),
            10 => _ = cache.remove(key.to_le_bytes()),
            11 if step % 64 == 0 => held.clear(),
            11 => held.extend(cache.get(key.to_le_bytes()).map(|value| (key, value))),
            12 => cache.get_many(&[key, key + 1, key + 2].map(u32::to_le_bytes), |at, bytes| {
                bytes.iter().for_each(|bytes| assert_right(key + u32::try_from(at).unwrap(), bytes));
            }),
            _ => _ = cache.view(key.to_le_bytes(), |bytes| assert_right(key, bytes)),
        }
        held.iter().for_each(|(key, value)| assert_right(*key, value));
        held.truncate(30);
    }
}

fn resize(cache: &Cache, seed: u64) {
    let mut state = seed;
    let bytes = 1 + random(&mut state) % CEILING;
    match cache.set_max_bytes(bytes) {
        Ok(()) => {}
        Err(ResizeError::TooSmall { min_bytes, .. }) => cache.set_max_bytes(min_bytes).unwrap(),
        Err(error) => panic!("{error}"),
    }
    for _ in 0..random(&mut state) % 50 {
        cache.maintain();
    }
}

#[test]
fn every_read_is_right_and_every_limit_is_kept_while_the_limit_changes() {
    let _alone = alone();
    let factor: usize = std::env::var("BYTECACHE_STRESS").map_or(1, |factor| factor.parse().unwrap());
    for &policy in Policy::ALL {
        let builder = Cache::builder().max_bytes(MAX_BYTES).max_bytes_ceiling(CEILING).shards(2);
        let cache = builder.max_entry_bytes(16 << 10).policy(policy).build().unwrap();
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let (cache, is_over) = (&cache, &is_over);
            let workers: Vec<_> = (0..3).map(|seed| scope.spawn(move || work(cache, seed, 30_000 * factor))).collect();
            for seed in 10..12 {
                scope.spawn(move || {
                    for round in 0.. {
                        if is_over.load(Ordering::Relaxed) {
                            break;
                        }
                        resize(cache, seed * 1_000_000 + round);
                        let memory = cache.memory();
                        assert!(memory.allocated <= memory.max && memory.max <= CEILING, "{memory:?}");
                        thread::yield_now();
                    }
                });
            }
            let results: Vec<_> = workers.into_iter().map(thread::ScopedJoinHandle::join).collect();
            is_over.store(true, Ordering::Relaxed);
            results.into_iter().for_each(|result| result.unwrap());
        });
        cache.validate();
        cache.set_max_bytes(MAX_BYTES).unwrap();
        while cache.maintain() {}
        let memory = cache.memory();
        assert!(memory.allocated <= MAX_BYTES && memory.max == MAX_BYTES, "{policy}: {memory:?}");
        cache.validate();
        cache.for_each(|key, bytes| assert_right(u32::from_le_bytes(key.try_into().unwrap()), bytes));
        // It is a full cache like any other.
        for key in 0..5_000_u32 {
            cache.insert(key.to_le_bytes(), value(key, 200)).unwrap();
        }
        let memory = cache.memory();
        // Some policies keep large entries from before, and the memory of some is large.
        assert!(
            memory.allocated > MAX_BYTES * 7 / 8 && memory.live > MAX_BYTES / 5,
            "{policy}: {} entries, {memory:?}",
            cache.len()
        );
    }
}
