//! Short programs of a few threads on small caches, for Miri. They cover everything that the crate
//! does with memory.
//!
//! ```text
//! MIRIFLAGS="-Zmiri-tree-borrows -Zmiri-many-seeds=0..8" cargo +nightly miri test --test threads
//! ```
//!
//! Miri interprets them with its own schedules and with loads that return older values, and reports
//! undefined behaviour. Elsewhere they run more rounds, and show little that `stress` does not.
//! This is a binary of its own, because Miri is slow.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytecache::testing::Inspect;
use bytecache::{Cache, CacheBuilder, Error, ManualClock, Policy, StableHash, TICK};

const ROUNDS: usize = if cfg!(miri) { 1 } else { 200 };
/// Number of operations of each thread.
const STEPS: u8 = if cfg!(miri) { 12 } else { 200 };

/// Size of a shard with a few dozen chunks, which have 256 bytes under Miri and 4 KiB elsewhere.
const MAX_BYTES: usize = if cfg!(miri) { 24 << 10 } else { 160 << 10 };
/// Length of a value of which a chunk has room for a few.
const SMALL: usize = if cfg!(miri) { 60 } else { 1_000 };
/// Length of a value that takes a few chunks.
const LARGE: usize = if cfg!(miri) { 600 } else { 10_000 };

fn builder() -> CacheBuilder {
    Cache::builder().max_bytes(MAX_BYTES).shards(1).hasher(StableHash::with_seed(0))
}

/// Returns a value whose bytes are all `byte`.
fn value(byte: u8, len: usize) -> Vec<u8> {
    vec![byte; len]
}

/// Checks that all bytes are the same. Compares them in one step, which Miri runs as fast as the
/// machine does.
fn assert_whole(bytes: &[u8]) {
    assert!(bytes == value(bytes[0], bytes.len()), "a torn value");
}

/// Inserts a value, unless readers hold all space.
fn insert(cache: &Cache, key: u8, value: &[u8]) {
    if let Err(error) = cache.insert([key], value) {
        assert_eq!(error, Error::Rejected);
    }
}

/// Runs `writer` in one thread and `reader` in two, with a cache of its own in each round.
fn race(build: impl Fn() -> Cache, writer: fn(&Cache, u8), reader: fn(&Cache, u8)) {
    for _ in 0..ROUNDS {
        let cache = build();
        thread::scope(|scope| {
            let cache = &cache;
            scope.spawn(move || (0..STEPS).for_each(|step| writer(cache, step)));
            scope.spawn(move || (0..STEPS).for_each(|step| reader(cache, step)));
            (0..STEPS).for_each(|step| reader(cache, step));
        });
        cache.validate();
    }
}

/// Stores, removes and replaces entries.
fn churn(cache: &Cache, step: u8) {
    insert(cache, step % 8, &value(step, SMALL));
    insert(cache, 100 + step % 20, &value(step, SMALL));
    match step % 5 {
        0 => _ = cache.remove([step % 7]),
        1 => insert(cache, 7, &value(step, LARGE)),
        2 => _ = cache.take([step % 3]).is_some_and(|taken| taken.is_empty()),
        _ => {}
    }
}

#[test]
fn bytes_stay_while_closures_read_them() {
    race(
        || builder().build().unwrap(),
        churn,
        |cache, step| {
            let key = [step % 8];
            match step % 3 {
                0 => _ = cache.view(key, assert_whole),
                1 => {
                    let mut copy = Vec::new();
                    if cache.get_into(key, &mut copy) {
                        assert_whole(&copy);
                    }
                }
                _ => cache.get_many(&[key, [7], [step % 5]], |_, value| {
                    if let Some(value) = value {
                        assert_whole(value);
                    }
                }),
            }
        },
    );
}

#[test]
fn bytes_stay_while_values_hold_them_and_the_cache_goes() {
    for _ in 0..ROUNDS {
        let cache = Arc::new(builder().build().unwrap());
        let holders = [0, 1].map(|number| {
            let cache = Arc::clone(&cache);
            thread::spawn(move || {
                let mut held = Vec::new();
                for step in 0..STEPS {
                    held.extend(cache.get([step % 8]));
                    if step % 4 == number && held.len() > 1 {
                        held.push(held[0].clone());
                        drop(held.swap_remove(0));
                    }
                    held.iter().for_each(|value| assert_whole(value));
                }
                drop(cache);
                held.iter().for_each(|value| assert_whole(value));
            })
        });
        (0..STEPS).for_each(|step| churn(&cache, step));
        cache.clear();
        (0..STEPS).for_each(|step| churn(&cache, step));
        drop(cache);
        holders.into_iter().for_each(|holder| holder.join().unwrap());
    }
}

/// Reads record touches in a log while the index grows.
#[test]
fn readers_and_iterations_meet_a_growing_index() {
    race(
        || builder().policy(Policy::Lru).expected_entry_bytes(4 << 10).build().unwrap(),
        |cache, step| (0..5).for_each(|more| insert(cache, step.wrapping_mul(5).wrapping_add(more), &[step])),
        |cache, step| match step % 4 {
            0 => cache.for_each(|_, value| assert_whole(value)),
            1 if step % 8 == 1 => cache.retain(|key, _| key[0] % 16 != 3),
            _ => _ = cache.view([step], assert_whole),
        },
    );
}

#[test]
fn readers_put_deadlines_off_while_entries_are_relocated_and_expire() {
    let clock = ManualClock::new();
    race(
        || builder().time_to_idle(TICK * 4).clock(clock.clone()).build().unwrap(),
        |cache, step| {
            churn(cache, step);
            match step % 4 {
                0 => _ = cache.insert_with_ttl([step % 8], value(step, SMALL), TICK * 2),
                1 => _ = cache.set_ttl([step % 8], TICK * 3),
                2 => _ = cache.persist([step % 4]),
                _ => _ = cache.maintain(),
            }
        },
        |cache, step| match step % 3 {
            0 => _ = cache.ttl([step % 8]),
            1 => _ = cache.touch([step % 8]),
            _ => _ = cache.view([step % 8], assert_whole),
        },
    );
    // The clock advances between the operations of all threads.
    let cache = builder().time_to_idle(TICK * 4).clock(clock.clone()).build().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| (0..STEPS).for_each(|step| churn(&cache, step)));
        scope.spawn(|| (0..STEPS).for_each(|step| _ = cache.view([step % 8], assert_whole)));
        for _ in 0..STEPS {
            clock.advance(TICK);
            cache.maintain();
        }
    });
    clock.advance(Duration::from_secs(3600));
    cache.maintain();
    cache.validate();
}
