//! Writers never wait for readers, however long these hold chunks. Readers cost writers only the
//! chunks that they hold.

use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use bytecache::testing::Inspect;
use bytecache::{Cache, Error, Policy, Value};

use crate::support::{alone, build};

fn value(key: u32, len: usize) -> Vec<u8> {
    key.to_le_bytes().into_iter().cycle().take(len).collect()
}

/// A reader in another thread that stays inside `view` until it is released.
struct Blocked {
    release: Sender<()>,
    thread: JoinHandle<Vec<u8>>,
}

impl Blocked {
    fn on(cache: &Cache, key: u32) -> Self {
        let (release, released) = channel();
        let (enter, entered) = channel();
        let cache = cache.clone();
        let thread = thread::spawn(move || {
            let read = cache.view(key.to_le_bytes(), |bytes| {
                enter.send(()).unwrap();
                let _ = released.recv();
                bytes.to_vec() // Read after the release.
            });
            read.expect("the key is absent")
        });
        entered.recv().unwrap();
        Self { release, thread }
    }

    /// Releases the reader, and returns the bytes that it then read.
    fn end(self) -> Vec<u8> {
        self.release.send(()).unwrap();
        self.thread.join().unwrap()
    }
}

/// Numbers of inserts by outcome.
#[derive(Debug, Default)]
struct Outcome {
    stored: u64,
    rejected: u64,
}

/// Inserts keys. Checks that each is stored or rejected, and counted as such.
fn insert(cache: &Cache, keys: impl Iterator<Item = u32>, len: usize) -> Outcome {
    let before = cache.stats();
    let mut outcome = Outcome::default();
    for key in keys {
        match cache.insert(key.to_le_bytes(), value(key, len)) {
            Ok(()) => outcome.stored += 1,
            Err(error) => {
                assert_eq!(error, Error::Rejected);
                outcome.rejected += 1;
            }
        }
        let memory = cache.memory();
        assert!(memory.allocated <= memory.max, "{memory:?}");
    }
    let after = cache.stats();
    assert_eq!(after.rejected_no_space - before.rejected_no_space, outcome.rejected);
    assert_eq!(after.inserts + after.updates - before.inserts - before.updates, outcome.stored);
    assert_eq!(after.inserts - after.removals - after.evictions, cache.len() as u64, "{after:?}");
    cache.validate();
    outcome
}

/// Checks that every present key has its own value.
fn assert_right(cache: &Cache) {
    cache.for_each(|key, bytes| {
        let key = u32::from_le_bytes(key.try_into().unwrap());
        assert_eq!(bytes, value(key, bytes.len()));
    });
}

/// Returns a value of every present entry, and so of every chunk.
fn hold_everything(cache: &Cache, keys: impl Iterator<Item = u32>) -> Vec<(u32, Value)> {
    keys.filter_map(|key| Some((key, cache.get(key.to_le_bytes())?))).collect()
}

fn check_held(held: &[(u32, Value)]) {
    for (key, bytes) in held {
        assert_eq!(*bytes, value(*key, bytes.len()), "a held value has changed");
    }
}

#[test]
fn a_blocked_reader_refuses_nothing_to_any_writer() {
    let _alone = alone();
    for &policy in Policy::ALL {
        for (max_bytes, len) in [(64 << 10, 50), (64 << 10, 6_000), (1 << 20, 200), (1 << 20, 60_000)] {
            let cache = build(max_bytes, 1, policy);
            let count = u32::try_from(max_bytes / (len + 10) * 3 + 10).unwrap();
            insert(&cache, 0..count / 3, len);
            let key = (0..count / 3).rev().find(|key| cache.contains_key(key.to_le_bytes())).unwrap();
            let blocked = Blocked::on(&cache, key);
            let before = cache.len();
            let outcome = insert(&cache, count / 3..count, len);
            assert_eq!(outcome.rejected, 0, "{policy} {max_bytes} {len}: {outcome:?}");
            assert_right(&cache);
            // The reader holds a chunk, or the run of chunks of its entry. In a ring of fourteen
            // chunks that is a large part.
            assert!(
                cache.len() * 10 / 7 + 3 >= before,
                "{policy} {max_bytes} {len}: {} entries of {before}",
                cache.len()
            );
            cache.clear();
            assert_eq!(insert(&cache, 0..count, len).rejected, 0, "{policy} {max_bytes} {len}: after clear");
            assert_eq!(blocked.end(), value(key, len), "the reader's bytes were overwritten");
            assert_eq!(insert(&cache, 0..count, len).rejected, 0);
            assert_right(&cache);
        }
    }
}

/// Checks each operation that takes a closure, with a closure that waits.
#[test]
fn a_closure_that_does_not_return_holds_up_no_cache_whatever_called_it() {
    type Enter = fn(&Cache, &mut dyn FnMut(&[u8]));
    let calls: [Enter; 4] = [
        |cache, wait| cache.view(7_u32.to_le_bytes(), |bytes| wait(bytes)).unwrap(),
        |cache, wait| {
            cache.get_many(&[7_u32.to_le_bytes(); 20], |index, bytes| {
                if index == 3 {
                    wait(bytes.unwrap())
                }
            })
        },
        |cache, wait| {
            cache.for_each(|key, bytes| {
                if key == 7_u32.to_le_bytes() {
                    wait(bytes)
                }
            })
        },
        |cache, wait| {
            cache.retain(|key, bytes| {
                if key == 7_u32.to_le_bytes() {
                    wait(bytes);
                }
                true
            });
        },
    ];
    let _alone = alone();
    for call in calls {
        let (cache, other) = (build(1 << 20, 1, Policy::default()), build(1 << 20, 1, Policy::Lru));
        insert(&cache, 0..1_000, 100);
        let (release, released) = channel::<()>();
        let (enter, entered) = channel();
        thread::scope(|scope| {
            let cache = &cache;
            scope.spawn(move || {
                call(cache, &mut |bytes| {
                    let _ = enter.send(());
                    let _ = released.recv();
                    assert_eq!(bytes, value(7, 100));
                });
            });
            entered.recv().unwrap();
            for cache in [cache, &other] {
                for key in 10_000..60_000_u32 {
                    cache.insert(key.to_le_bytes(), value(key, 100)).unwrap();
                }
                cache.validate();
            }
            release.send(()).unwrap();
            drop(release);
        });
        assert_right(&cache);
    }
}

#[test]
fn readers_that_are_blocked_in_many_chunks_cost_those_chunks_alone() {
    const READERS: u32 = 24;
    let _alone = alone();
    let cache = build(1 << 20, 1, Policy::default());
    insert(&cache, 0..20_000, 100);
    let present: Vec<u32> = (0..20_000).filter(|key: &u32| cache.contains_key(key.to_le_bytes())).collect();
    let (full, step) = (cache.len(), present.len() / READERS as usize);
    let blocked: Vec<_> = present.iter().step_by(step).map(|&key| (key, Blocked::on(&cache, key))).collect();
    assert_eq!(insert(&cache, 20_000..60_000, 100).rejected, 0);
    assert!(cache.len() >= full * 8 / 10, "{} entries of {full}", cache.len());
    for (key, blocked) in blocked {
        assert_eq!(blocked.end(), value(key, 100));
    }
    assert_eq!(insert(&cache, 60_000..100_000, 100).rejected, 0);
    assert!(cache.len() >= full * 95 / 100, "{} entries of {full}", cache.len());
}

#[test]
fn many_more_threads_than_cores_are_refused_nothing() {
    const THREADS: u32 = 64;
    let _alone = alone();
    let cache = Cache::builder().max_bytes(1 << 20).build().unwrap();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let cache = &cache;
            scope.spawn(move || {
                for number in 0..4_000_u32 {
                    let key = (number * THREADS + thread) % 30_011;
                    cache.insert(key.to_le_bytes(), value(key, 40 + key as usize % 200)).unwrap();
                    let key = (number * 17 + thread) % 30_011;
                    cache.view(key.to_le_bytes(), |bytes| assert_eq!(bytes[..4], key.to_le_bytes()));
                }
            });
        }
    });
    assert_eq!(cache.stats().rejected_no_space, 0);
    assert_right(&cache);
    cache.validate();
}

#[test]
fn an_insert_inside_a_closure_is_stored_and_never_waits_for_itself() {
    let _alone = alone();
    let cache = build(64 << 10, 1, Policy::S3Fifo);
    cache.insert(0_u32.to_le_bytes(), value(0, 100)).unwrap();
    let outcome = cache.view(0_u32.to_le_bytes(), |bytes| {
        let outcome = insert(&cache, 1..5_000, 100);
        cache.clear();
        assert_eq!(insert(&cache, 1..5_000, 100).rejected, 0);
        assert_eq!(bytes, value(0, 100));
        outcome
    });
    assert_eq!(outcome.unwrap().rejected, 0);
    cache.view(4_999_u32.to_le_bytes(), |_| cache.clear()).unwrap();
    assert_eq!(insert(&cache, 0..5_000, 100).rejected, 0);
}

/// Nests more reads than a thread has slots.
#[test]
fn values_stay_while_reads_are_nested_in_closures_of_reads() {
    fn read(cache: &Cache, depth: u32) {
        let seen = cache.view(depth.to_le_bytes(), |bytes| {
            if depth > 0 {
                read(cache, depth - 1);
            } else {
                assert_eq!(insert(cache, 1_000..6_000, 100).rejected, 0);
            }
            assert_eq!(bytes, value(depth, 100));
        });
        assert!(seen.is_some());
        cache.get_many(&[depth.to_le_bytes()], |_, bytes| {
            let Some(bytes) = bytes else { return };
            cache.get_many(&[depth.to_le_bytes()], |_, inner| assert_eq!(inner, Some(bytes)));
        });
    }
    let _alone = alone();
    let cache = build(256 << 10, 1, Policy::Fifo);
    insert(&cache, 0..20, 100);
    read(&cache, 19);
    cache.validate();
}

#[test]
fn a_cache_can_be_used_while_a_threads_locals_are_destroyed() {
    struct UsesCache(Cache);
    impl Drop for UsesCache {
        fn drop(&mut self) {
            let cache = &self.0;
            let seen = cache.view(1_u32.to_le_bytes(), |bytes| {
                assert_eq!(insert(cache, 100..3_000, 100).rejected, 0);
                assert_eq!(bytes, value(1, 100));
            });
            assert!(seen.is_some());
            cache.get_many(&[2_999_u32.to_le_bytes()], |_, bytes| assert_eq!(bytes, Some(&*value(2_999, 100))));
            assert_eq!(*cache.get(2_999_u32.to_le_bytes()).unwrap(), *value(2_999, 100));
        }
    }
    thread_local!(static LOCAL: std::cell::OnceCell<UsesCache> = const { std::cell::OnceCell::new() });
    let _alone = alone();
    // The thread's own record is destroyed before or after the local that reads.
    for reads_first in [true, false] {
        let cache = build(64 << 10, 1, Policy::Lru);
        insert(&cache, 0..10, 100);
        let thread = thread::spawn({
            let cache = cache.clone();
            move || {
                if reads_first {
                    assert!(cache.contains_key(1_u32.to_le_bytes()));
                }
                LOCAL.with(|local| assert!(local.set(UsesCache(cache.clone())).is_ok()));
                assert!(cache.contains_key(1_u32.to_le_bytes()));
            }
        });
        thread.join().unwrap();
        assert!(cache.contains_key(2_999_u32.to_le_bytes()), "the destructor has not run");
        cache.validate();
    }
}

#[test]
fn values_pin_at_most_a_quarter_of_the_chunks_and_are_right_copies_beyond() {
    let _alone = alone();
    for &policy in Policy::ALL {
        for (max_bytes, len) in [(64 << 10, 50), (64 << 10, 5_000), (1 << 20, 700), (1 << 20, 30_000)] {
            let cache = build(max_bytes, 1, policy);
            let count = u32::try_from(2 * max_bytes / len).unwrap();
            insert(&cache, 0..count, len);
            let held = hold_everything(&cache, 0..count);
            let (memory, stats) = (cache.memory(), cache.stats());
            assert!(memory.pinned > 0 && memory.pinned <= max_bytes / 4, "{memory:?}");
            assert!(stats.copied_values > 0 && stats.copied_values < held.len() as u64, "{stats:?}");
            check_held(&held);

            // Enough space is left for other entries.
            let outcome = insert(&cache, count..3 * count, len);
            assert!(
                outcome.stored > outcome.rejected,
                "{policy} {max_bytes} {len}: values in a quarter of the chunks stop the cache: {outcome:?}"
            );
            let more = hold_everything(&cache, 0..3 * count);
            assert!(cache.memory().pinned <= max_bytes / 4);
            cache.clear();
            cache.validate();
            check_held(&held);
            check_held(&more);
            drop((held, more));
            assert_eq!(cache.memory().pinned, 0);
            assert_eq!(insert(&cache, 0..count, len).rejected, 0);
            assert_right(&cache);
        }
    }
}

#[test]
fn values_that_were_let_go_make_way_for_others() {
    let _alone = alone();
    let cache = build(1 << 20, 1, Policy::Lru);
    insert(&cache, 0..4_000, 200);
    for _ in 0..20 {
        // Values are taken one at a time, from every chunk in turn, so no more than one chunk is
        // pinned.
        for key in 0..4_000_u32 {
            drop(cache.get(key.to_le_bytes()));
        }
    }
    let stats = cache.stats();
    assert!(stats.copied_values < stats.hits / 1_000, "{} of {} hits were copied", stats.copied_values, stats.hits);
}

#[test]
fn a_blocked_reader_and_every_value_that_can_be_held_stop_no_writer() {
    let _alone = alone();
    for &policy in Policy::ALL {
        let cache = build(256 << 10, 1, policy);
        insert(&cache, 0..2_000, 150);
        let key = (0..2_000_u32).rev().find(|key| cache.contains_key(key.to_le_bytes())).unwrap();
        let blocked = Blocked::on(&cache, key);
        let held = hold_everything(&cache, 0..2_000);
        assert_eq!(insert(&cache, 2_000..3_500, 150).rejected, 0);
        let others: Vec<_> = (0..3).map(|_| hold_everything(&cache, 0..6_000)).collect();
        insert(&cache, 6_000..6_500, 150);
        // Several threads write at once.
        thread::scope(|scope| {
            for thread in 0..4_u32 {
                let cache = &cache;
                scope.spawn(move || {
                    for key in 0..500 {
                        let _ = cache.insert((10_000 + thread * 1_000 + key).to_le_bytes(), value(1, 10));
                    }
                });
            }
        });
        cache.validate();
        cache.clear();
        assert_eq!(blocked.end(), value(key, 150));
        check_held(&held);
        others.iter().for_each(|held| check_held(held));
        drop((held, others));
        assert_eq!(insert(&cache, 0..4_000, 150).rejected, 0, "space did not come back");
        assert!(cache.len() > 800);
    }
}

#[test]
fn the_index_grows_while_a_reader_is_blocked_and_takes_no_more_than_it_needs() {
    let _alone = alone();
    let cache = build(8 << 20, 1, Policy::S3Fifo);
    cache.insert(0_u32.to_le_bytes(), value(0, 30)).unwrap();
    let blocked = Blocked::on(&cache, 0);
    let outcome = insert(&cache, 1..20_000, 4);
    assert_eq!((outcome.rejected, cache.len()), (0, 20_000));
    let growths = usize::try_from(cache.stats().index_growths).unwrap();
    assert!(growths > 0);
    // One bucket for five entries. The memory of the table is counted in whole pages.
    let index = cache.memory().index;
    assert!(index <= 20_000 * 64 / 5 + 4096, "{index} bytes after {growths} growths");
    assert_eq!(blocked.end(), value(0, 30));
    cache.validate();
}

#[test]
fn values_of_a_dropped_cache_stay_whole_while_another_takes_its_place() {
    let _alone = alone();
    let mut held = Vec::new();
    for round in 0..30_u32 {
        let cache = build(64 << 10, 1, Policy::Lru);
        for key in 0..500_u32 {
            cache.insert(key.to_le_bytes(), value(key + round, 70)).unwrap();
        }
        held.extend((0..500_u32).filter_map(|key| Some((key + round, cache.get(key.to_le_bytes())?))));
    }
    check_held(&held);
}

/// Environment variable that names the operation inside which the process exits.
const ENDS: &str = "BYTECACHE_TEST_ENDS";

#[test]
fn a_process_may_end_inside_a_closure_of_a_read() {
    let test = "readers::a_process_may_end_inside_a_closure_of_a_read";
    let Some(call) = std::env::var_os(ENDS) else {
        for call in ["view", "get_many", "for_each"] {
            let mut again = std::process::Command::new(std::env::current_exe().unwrap());
            let status = again.args(["--exact", test]).env(ENDS, call).status().unwrap();
            assert_eq!(status.code(), Some(7), "{call}");
        }
        return;
    };
    let cache = build(64 << 10, 1, Policy::Lru);
    cache.insert("key", "value").unwrap();
    match call.to_str().unwrap() {
        "view" => cache.view("key", |_| std::process::exit(7)).unwrap(),
        "get_many" => cache.get_many(&["key"], |_, _| std::process::exit(7)),
        _ => cache.for_each(|_, _| std::process::exit(7)),
    }
}
