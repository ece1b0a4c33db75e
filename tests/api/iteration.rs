//! `for_each`, `retain` and `clear` while the index grows and other threads write. Every entry that
//! is present throughout is shown, and no entry that reads miss.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use bytecache::testing::Inspect;
use bytecache::{Cache, CacheBuilder, Lifetime, Loaded, Policy, RemovalCause, StableHash, WeakCache};

use crate::support::{alone, timed, until};

const HOUR: Duration = Duration::from_secs(3600);

/// Builds a cache whose index has room for 4,096 entries at first, and which has memory for many
/// more.
fn about_to_grow(options: impl FnOnce(CacheBuilder) -> CacheBuilder) -> Cache {
    options(Cache::builder().max_bytes(64 << 20).shards(1).policy(Policy::Lru)).build().unwrap()
}

fn number(key: &[u8]) -> u32 {
    u32::from_le_bytes(key[..4].try_into().unwrap())
}

/// Returns the number of times that `for_each` shows each key. Calls `each` for each of them.
fn shown(cache: &Cache, mut each: impl FnMut(u32)) -> HashMap<u32, u32> {
    let mut shown = HashMap::new();
    cache.for_each(|key, _| {
        *shown.entry(number(key)).or_default() += 1;
        each(number(key));
    });
    shown
}

/// A hasher with few hashes: the number of a key modulo `self.0`.
#[derive(Clone)]
struct Poor(u64);

struct PoorState(u64, u64);

impl BuildHasher for Poor {
    type Hasher = PoorState;
    fn build_hasher(&self) -> PoorState {
        PoorState(self.0, 0)
    }
}

impl Hasher for PoorState {
    fn finish(&self) -> u64 {
        self.1 % self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        self.1 = u64::from(number(bytes));
    }
}

#[test]
fn what_is_there_throughout_is_met_although_the_index_grows_meanwhile() {
    let _alone = alone();
    for seed in 0..40 {
        let filled = || {
            let cache = about_to_grow(|builder| builder.hasher(StableHash::with_seed(seed)));
            (0..3_800_u32).for_each(|key| cache.insert(key.to_le_bytes(), []).unwrap());
            cache
        };
        for every in [1, 2] {
            let (cache, mut next) = (filled(), 3_800_u32);
            let growths = cache.stats().index_growths;
            let mut insert = |cache: &Cache, key: u32| {
                if next < 6_000 && key % every == 0 {
                    cache.insert(next.to_le_bytes(), []).unwrap();
                    next += 1;
                }
            };
            let shown = shown(&cache, |key| insert(&cache, key));
            assert!(cache.stats().index_growths > growths);
            assert_eq!((0..3_800).filter(|key| !shown.contains_key(key)).count(), 0, "seed {seed}: missed");
            // Only the entries of one home may be shown twice at a time.
            let twice = shown.values().filter(|&&times| times > 1).count();
            assert!(twice < 50, "seed {seed}: {twice} shown twice");

            let (cache, mut next) = (filled(), 3_800_u32);
            cache.retain(|key, _| {
                if next < 6_000 && number(key) % every == 0 {
                    cache.insert(next.to_le_bytes(), []).unwrap();
                    next += 1;
                }
                number(key) >= 3_800
            });
            let left = (0..3_800_u32).filter(|key| cache.contains_key(key.to_le_bytes())).count();
            assert_eq!(left, 0, "seed {seed}: left");
            cache.validate();
        }
    }
}

#[test]
fn each_entry_is_shown_once_while_the_index_stays() {
    let _alone = alone();
    for entries in [0, 1, 12, 13, 40, 41, 250, 262, 500, 3_000, 10_000_u32] {
        for hasher in [Poor(1), Poor(7), Poor(u64::MAX)] {
            if hasher.0 < 100 && entries > 500 {
                continue; // All would be in one chain of buckets.
            }
            let cache = Cache::builder().max_bytes(4 << 20).shards(1).hasher(hasher).build().unwrap();
            (0..entries).for_each(|key| cache.insert(key.to_le_bytes(), []).unwrap());
            let shown = shown(&cache, |_| {});
            assert_eq!(shown.len(), entries as usize);
            assert!(shown.values().all(|&times| times == 1));
            cache.retain(|key, _| number(key) % 2 == 0);
            assert_eq!(cache.len(), entries.div_ceil(2) as usize);
            cache.validate();
        }
    }
}

#[test]
fn entries_that_share_one_home_are_met_although_the_index_grows_and_their_chain_changes() {
    let _alone = alone();
    for homes in [1, 3] {
        let cache =
            Cache::builder().max_bytes(1 << 20).shards(1).policy(Policy::Lru).hasher(Poor(homes)).build().unwrap();
        (0..300_u32).for_each(|key| cache.insert(key.to_le_bytes(), []).unwrap());
        let growths = cache.stats().index_growths;
        let mut next = 300;
        let shown = shown(&cache, |key| {
            // Entries that have been shown are removed. They leave gaps in the chain, which others
            // fill.
            if key >= 100 {
                cache.remove(key.to_le_bytes());
            }
            for _ in 0..if next < 2_000 { 5 } else { 0 } {
                cache.insert((next as u32).to_le_bytes(), []).unwrap();
                next += 1;
            }
        });
        assert!(cache.stats().index_growths > growths && cache.stats().evictions == 0);
        assert!((0..300).all(|key| shown.contains_key(&key)), "of {homes}");
        cache.retain(|_, _| false);
        assert_eq!(cache.len(), 0);
    }
}

/// A guard that sets its flag when it is dropped, also by a panic.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Runs `work` while two other threads update keys below 4,000. After `work` has called its
/// argument, they also insert and remove other keys. That call returns when the index has grown.
fn beside_others(cache: &Cache, work: impl FnOnce(&dyn Fn())) {
    let (has_begun, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        for thread in 0..2_u32 {
            let (has_begun, is_over) = (&has_begun, &is_over);
            scope.spawn(move || {
                let mut next = 1_000_000 * (thread + 1);
                while !is_over.load(Ordering::SeqCst) {
                    let key = (next % 3_800).to_le_bytes();
                    let _ = cache.set_ttl(key, HOUR);
                    let _ = cache.replace(key, next.to_le_bytes());
                    if has_begun.load(Ordering::SeqCst) {
                        let _ = cache.insert(next.to_le_bytes(), [0; 8]);
                        cache.remove((next - 20_000).to_le_bytes());
                    }
                    next += 1;
                }
            });
        }
        let _over = Over(&is_over);
        let growths = cache.stats().index_growths;
        work(&|| {
            has_begun.store(true, Ordering::SeqCst);
            until(|| cache.stats().index_growths > growths);
        });
    });
}

#[test]
fn what_is_there_throughout_is_met_beside_threads_that_insert_remove_and_update() {
    let _alone = alone();
    for seed in 0..10 {
        let cache = about_to_grow(|builder| builder.hasher(StableHash::with_seed(seed)));
        (0..3_800_u32).for_each(|key| cache.insert(key.to_le_bytes(), []).unwrap());
        beside_others(&cache, |grow| {
            let mut seen = 0;
            let shown = shown(&cache, |_| {
                seen += 1;
                if seen == 1_000 {
                    grow();
                }
            });
            assert_eq!((0..3_800).filter(|key| !shown.contains_key(key)).count(), 0, "seed {seed}");
        });
        assert_eq!(cache.stats().evictions, 0);
        cache.validate();
    }
}

#[test]
fn what_retain_refuses_is_gone_although_other_threads_update_and_move_it() {
    let _alone = alone();
    for seed in 0..10 {
        let cache = about_to_grow(|builder| builder.hasher(StableHash::with_seed(seed)));
        (0..3_800_u32).for_each(|key| cache.insert(key.to_le_bytes(), []).unwrap());
        beside_others(&cache, |grow| {
            let mut seen = 0;
            cache.retain(|key, _| {
                seen += 1;
                if seen == 1_000 {
                    grow();
                }
                number(key) % 3 != 0 || number(key) >= 3_800
            });
            let left = (0..3_800_u32).filter(|key| key % 3 == 0 && cache.contains_key(key.to_le_bytes()));
            assert_eq!(left.count(), 0, "seed {seed}");
        });
        assert!((0..3_800_u32).all(|key| cache.contains_key(key.to_le_bytes()) == (key % 3 != 0)));
        cache.validate();
    }
}

#[test]
fn retain_asks_about_values_that_replace_a_refused_one_and_ends() {
    let _alone = alone();
    let cache = Cache::builder().max_bytes(1 << 20).shards(1).build().unwrap();
    cache.insert("key", "0").unwrap();
    let mut asked = 0;
    // `retain` asks about a replaced value at most 16 times, so it ends even if each value is
    // replaced.
    cache.retain(|key, _| {
        asked += 1;
        cache.insert(key, asked.to_string()).unwrap();
        false
    });
    assert!((2..100).contains(&asked), "asked {asked} times");
    // A value that equals the refused one is removed as well.
    cache.insert("key", "same").unwrap();
    cache.retain(|key, value| {
        cache.insert(key, value).unwrap();
        false
    });
    assert!(cache.is_empty());
    cache.validate();
}

#[test]
fn nothing_that_has_expired_is_shown_while_another_thread_takes_it_out() {
    let _alone = alone();
    for _ in 0..25 {
        let (cache, clock) = timed(|builder| builder.max_bytes(8 << 20));
        for key in 0..20_000_u32 {
            cache.insert_with_ttl(key.to_le_bytes(), [7; 20], Duration::from_secs(1)).unwrap();
        }
        clock.advance(HOUR);
        thread::scope(|scope| {
            let maintainer = scope.spawn(|| (0..20).for_each(|_| _ = cache.maintain()));
            while !maintainer.is_finished() {
                cache.for_each(|key, _| panic!("{} has expired an hour ago", number(key)));
            }
        });
    }
}

#[test]
fn nothing_in_its_stale_period_is_shown_while_another_thread_moves_it() {
    let _alone = alone();
    let (cache, clock) = timed(|builder| builder.stale_for(2 * HOUR).policy(Policy::Lru));
    // Each stale entry lies beside another entry. Updates of the others leave chunks half empty,
    // which are then cleaned.
    for key in 0..3_600_u32 {
        cache.insert_with_lifetime(key.to_le_bytes(), [7; 100], Lifetime::new().ttl(Duration::from_secs(1))).unwrap();
        cache.insert((1_000_000 + key).to_le_bytes(), [8; 100]).unwrap();
    }
    clock.advance(HOUR);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 0..200_000_u32 {
                // Rejected if the other thread's reads hold the space.
                let key = 1_000_000 + round.wrapping_mul(0x9e37_79b9) % 3_600;
                let _ = cache.insert(key.to_le_bytes(), [8; 100]);
                let _ = cache.get_or_stale((round * 11 % 3_600).to_le_bytes());
            }
        });
        while !writer.is_finished() {
            cache.for_each(|key, _| assert!(number(key) >= 1_000_000, "{} is stale", number(key)));
        }
    });
    assert!(cache.stats().relocated_bytes > 0);
    cache.validate();
}

#[test]
fn retain_takes_out_what_has_expired() {
    let _alone = alone();
    let (cache, clock) = timed(|builder| builder);
    for key in 0..1_000_u32 {
        cache.insert_with_ttl(key.to_le_bytes(), [], Duration::from_secs(1)).unwrap();
    }
    clock.advance(HOUR);
    cache.retain(|key, _| panic!("{} has expired an hour ago", number(key)));
    assert_eq!((cache.len(), cache.stats().expirations), (0, 1_000));
}

#[test]
fn clear_tells_of_each_entry_once_and_ends_although_its_listener_makes_the_index_grow() {
    let _alone = alone();
    let told: Arc<Mutex<HashMap<u32, u32>>> = Arc::default();
    let handle: Arc<Mutex<Option<Cache>>> = Arc::default();
    let listener = {
        let (told, handle) = (Arc::clone(&told), Arc::clone(&handle));
        move |key: &[u8], _: &[u8], cause| {
            assert_eq!(cause, RemovalCause::Removed);
            *told.lock().unwrap().entry(number(key)).or_default() += 1;
            let cache = handle.lock().unwrap().clone().unwrap();
            if number(key) < 3_800 {
                for copy in 1..4 {
                    cache.insert((number(key) + copy * 10_000).to_le_bytes(), []).unwrap();
                }
            }
        }
    };
    let cache = about_to_grow(|builder| builder.hasher(StableHash::with_seed(1)).on_removal(listener));
    *handle.lock().unwrap() = Some(cache.clone());
    (0..3_800_u32).for_each(|key| cache.insert(key.to_le_bytes(), []).unwrap());
    let growths = cache.stats().index_growths;
    cache.clear();
    assert!(cache.stats().index_growths > growths);
    handle.lock().unwrap().take();
    let told = told.lock().unwrap();
    assert!((0..3_800).all(|key| told.get(&key) == Some(&1) && !cache.contains_key(key.to_le_bytes())));
    assert!(told.values().all(|&times| times == 1));
    assert_eq!(told.len() + cache.len(), 4 * 3_800);
    cache.validate();
}

#[test]
fn an_iteration_that_can_stop_stops_and_shows_the_time_left() {
    let _alone = alone();
    let (cache, clock) = timed(|builder| builder.stale_for(Duration::from_secs(60)));
    let minutes = |number: u32| Duration::from_secs(60) * number;
    for key in 0..100_u32 {
        match key % 3 {
            0 => cache.insert(key.to_le_bytes(), []).unwrap(),
            1 => cache.insert_with_ttl(key.to_le_bytes(), [], minutes(key)).unwrap(),
            _ => cache.insert_with_lifetime(key.to_le_bytes(), [], Lifetime::new().time_to_idle(minutes(key))).unwrap(),
        }
    }
    let answer = cache.get_or_load("absent", || Ok::<_, &str>(Loaded::<&str>::AbsentFor(minutes(90))));
    assert!(answer.is_err());
    clock.advance(minutes(50) + Duration::from_secs(1));
    let mut seen = Vec::new();
    let flow = cache.try_for_each(|key, _, left| {
        assert_eq!(cache.ttl(key), Some(left));
        seen.push(number(key));
        ControlFlow::<()>::Continue(())
    });
    seen.sort_unstable();
    // Neither what is stale or gone, nor what says that there is nothing.
    let expected: Vec<_> = (0..100).filter(|key| key % 3 == 0 || *key > 50).collect();
    assert_eq!((flow, seen), (ControlFlow::Continue(()), expected));

    let mut calls = 0;
    let flow = cache.try_for_each(|_, _, _| {
        calls += 1;
        if calls == 3 { ControlFlow::Break(calls) } else { ControlFlow::Continue(()) }
    });
    assert_eq!((flow, calls), (ControlFlow::Break(3), 3));
    cache.validate();
}

#[test]
fn a_weak_handle_keeps_nothing_alive() {
    let _alone = alone();
    let weak = Arc::new(OnceLock::<WeakCache>::new());
    let handle = Arc::clone(&weak);
    let listener = move |key: &[u8], _: &[u8], _| {
        // It may be gone: what waits is told of when the last handle goes.
        if let Some(cache) = handle.get().and_then(WeakCache::upgrade) {
            cache.insert([key, b"!"].concat(), "left").unwrap();
        }
    };
    let cache = Cache::builder().max_bytes(1 << 20).shards(1).on_removal(listener).build().unwrap();
    assert!(weak.set(cache.downgrade()).is_ok());
    cache.insert("key", "value").unwrap();
    cache.remove("key");
    assert_eq!(cache.get("key!").unwrap(), *b"left");
    let other = weak.get().unwrap().upgrade().unwrap();
    drop(cache);
    assert!(weak.get().unwrap().clone().upgrade().is_some(), "there is another handle");
    assert_eq!(Arc::strong_count(&weak), 2);
    drop(other);
    assert!(weak.get().unwrap().upgrade().is_none());
    assert_eq!(Arc::strong_count(&weak), 1, "the listener is freed, and so is all that the cache owns");
}
