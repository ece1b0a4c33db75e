//! A key that is written or removed while a save runs is absent from the snapshot, or has its last
//! value.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytecache::testing::Inspect;
use bytecache::{Cache, Policy, SaveOptions, SnapshotError};

use super::{restored, saved};
use crate::support::build;

const KEYS: u32 = 5_000;

/// Calls a function before each write, and keeps what is written. The changes during the last write
/// come after the save, so the function is called until changes have been written three times.
struct Meddling<F>(Vec<u8>, F, usize);

/// The place and the number of the kind in a block of changes.
const CHANGES: (usize, u8) = (8, 3);

impl<F: FnMut(usize)> Write for Meddling<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (place, kind) = CHANGES;
        let are_changes = bytes.starts_with(&[0xb1, b'o', b'c', b'K']) && bytes[place] == kind;
        self.2 += usize::from(are_changes);
        if self.2 <= 3 {
            (self.1)(self.0.len());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn filled(policy: Policy) -> Cache {
    let cache = build(8 << 20, 4, policy);
    (0..KEYS).for_each(|key| cache.insert(key.to_le_bytes(), [1; 200]).unwrap());
    cache
}

/// Saves a cache while `meddle` is called between writes, and restores it.
fn save_and_restore(cache: &Cache, meddle: impl FnMut(usize)) -> Cache {
    let mut writer = Meddling(Vec::new(), meddle, 0);
    cache.save_to(&mut writer).unwrap();
    restored(Cache::builder().max_bytes(8 << 20), &writer.0).0
}

#[test]
fn keys_that_change_during_a_save_are_absent_or_have_their_last_value() {
    for &policy in Policy::ALL {
        let cache = filled(policy);
        let mut step = 0_u32;
        let next = save_and_restore(&cache, |_| {
            let key = |number: u32| (step * 7 + number).wrapping_mul(2_654_435_761) % KEYS;
            cache.insert(key(0).to_le_bytes(), [2; 200]).unwrap();
            cache.remove(key(1).to_le_bytes());
            let _ = cache.set_ttl(key(2).to_le_bytes(), Duration::ZERO);
            let _ = cache.update(key(3).to_le_bytes(), |_| bytecache::Update::Store([3; 200]));
            let _ = cache.take(key(4).to_le_bytes());
            let _ = cache.swap(key(5).to_le_bytes(), [4; 10]);
            let _ = cache.insert(key(6).to_le_bytes(), vec![0; 8 << 20]);
            step += 1;
        });
        assert!(step > 10);
        let mut restored = 0;
        for key in (0..KEYS).map(u32::to_le_bytes) {
            let Some(value) = next.get(key) else { continue };
            assert_eq!(Some(&value[..]), cache.get(key).as_deref(), "{policy} {key:?}");
            restored += 1;
        }
        assert!(restored > KEYS as usize * 9 / 10, "{policy} has {restored}");
    }
}

#[test]
fn a_key_that_is_removed_after_its_entry_was_evicted_does_not_come_back() {
    let cache = build(1 << 17, 1, Policy::Fifo);
    cache.insert("secret", [1; 100]).unwrap();
    (0..300_u32).for_each(|key| cache.insert(key.to_le_bytes(), [1; 100]).unwrap());
    let mut has_run = false;
    let next = save_and_restore(&cache, |written| {
        if written > 10_000 && !has_run {
            has_run = true;
            (1000..9000_u32).for_each(|key| cache.insert(key.to_le_bytes(), [1; 100]).unwrap());
            assert!(!cache.remove("secret"));
        }
    });
    assert!(has_run && !next.contains_key("secret"));
}

#[test]
fn entries_of_a_cache_that_is_cleared_or_swept_do_not_come_back() {
    for sweep in [Cache::clear, |cache: &Cache| cache.retain(|key, _| key[0] % 2 == 0)] {
        let cache = filled(Policy::Adaptive);
        let mut has_run = false;
        let next = save_and_restore(&cache, |written| {
            if written > 500_000 && !has_run {
                has_run = true;
                sweep(&cache);
            }
        });
        assert!(has_run);
        next.for_each(|key, _| assert!(cache.contains_key(key)));
    }
}

#[test]
fn a_cache_whose_limit_changes_during_a_save_is_saved_with_its_last_values() {
    for &policy in Policy::ALL {
        let cache = Cache::builder().max_bytes(8 << 20).shards(2).policy(policy).build().unwrap();
        (0..KEYS).for_each(|key| cache.insert(key.to_le_bytes(), [1; 200]).unwrap());
        let mut step = 0_u32;
        let next = save_and_restore(&cache, |_| {
            let max_bytes = [1 << 20, 8 << 20, 2 << 20][step as usize % 3];
            let _ = cache.set_max_bytes(max_bytes);
            cache.insert((step % KEYS).to_le_bytes(), [2; 200]).unwrap();
            cache.maintain();
            step += 1;
        });
        assert!(step > 3, "{policy}");
        next.for_each(|key, value| {
            assert_eq!(Some(value), cache.get(key).as_deref(), "{policy} {key:?}");
        });
        cache.validate();
        next.validate();
    }
}

#[test]
fn a_cache_whose_index_is_changing_its_size_is_saved_whole() {
    for policy in [Policy::Adaptive, Policy::Arc, Policy::Gdsf, Policy::Lfu] {
        let cache = Cache::builder().max_bytes(32 << 20).shards(1).policy(policy).build().unwrap();
        let mut next = 0_u32;
        for growth in 1..4 {
            while cache.stats().index_growths < growth {
                cache.insert(next.to_le_bytes(), next.to_be_bytes()).unwrap();
                next += 1;
            }
            // The sweep is somewhere in the middle.
            for _ in 0..next / 100 {
                cache.insert(next.to_le_bytes(), next.to_be_bytes()).unwrap();
                next += 1;
            }
            let (copy, restored) = restored(Cache::builder().max_bytes(64 << 20), &saved(&cache));
            assert_eq!(restored.entries, u64::from(next), "{policy}");
            let is_there = |key: u32| copy.get(key.to_le_bytes()).is_some_and(|value| *value == key.to_be_bytes());
            assert!((0..next).all(is_there), "{policy}");
            cache.validate();
        }
    }
}

#[test]
fn entries_that_are_not_touched_are_all_there_beside_changes_and_growth() {
    for &policy in Policy::ALL {
        let cache = Cache::builder().max_bytes(32 << 20).shards(2).policy(policy).build().unwrap();
        (0..KEYS).for_each(|key| cache.insert(key.to_le_bytes(), [1; 200]).unwrap());
        let mut number = KEYS;
        let meddle = |_| {
            // The index grows, and reads and updates move entries about.
            for _ in 0..400 {
                number += 1;
                cache.insert(number.to_le_bytes(), [2; 20]).unwrap();
                let _ = cache.get((number * 31 % KEYS).to_le_bytes());
            }
        };
        let mut writer = Meddling(Vec::new(), meddle, 0);
        cache.save_to(&mut writer).unwrap();
        let Meddling(snapshot, ..) = writer;
        let (next, report) = restored(Cache::builder().max_bytes(32 << 20), &snapshot);
        let there = (0..KEYS).filter(|key| next.contains_key(key.to_le_bytes())).count() as u64;
        assert_eq!(report.left_out, 0, "{policy}");
        // A few share their bit of the record with a key that has changed.
        assert!(there + report.changed >= KEYS.into() && there > u64::from(KEYS) / 2, "{policy}: {there} {report:?}");
    }
}

#[test]
fn a_second_save_at_the_same_time_is_refused_and_the_first_goes_on() {
    let cache = filled(Policy::Lru);
    let mut refused = 0;
    let options = SaveOptions::new().progress(|_| {
        assert!(matches!(cache.save_to(io::sink()), Err(SnapshotError::InProgress)));
        refused += 1;
    });
    let saved = cache.save_to_with(io::sink(), options).unwrap();
    assert_eq!(saved.entries, u64::from(KEYS));
    assert!(refused > 1);
    cache.save_to(io::sink()).unwrap();
}

#[test]
fn values_of_threads_that_write_during_saves_never_go_back() {
    let cache = build(4 << 20, 2, Policy::S3Fifo);
    let (is_over, finished) = (AtomicBool::new(false), AtomicU64::new(0));
    // Each key's value is a counter. `begun` is what was last asked for.
    let begun: Vec<_> = (0..64).map(|_| AtomicU64::new(0)).collect();
    std::thread::scope(|scope| {
        for thread in 0..2_usize {
            let (cache, begun, is_over, finished) = (&cache, &begun, &is_over, &finished);
            scope.spawn(move || {
                let mut counter = 0_u64;
                while !is_over.load(Ordering::SeqCst) {
                    for key in (thread * 32..thread * 32 + 32).filter(|key| (counter + *key as u64) % 3 == 0) {
                        begun[key].store(counter, Ordering::SeqCst);
                        cache.insert(key.to_le_bytes(), counter.to_le_bytes()).unwrap();
                    }
                    counter += 1;
                    finished.store(counter, Ordering::SeqCst);
                }
            });
        }
        crate::support::until(|| finished.load(Ordering::SeqCst) > 100);
        for _ in 0..20 {
            let at_start: Vec<_> = begun.iter().map(|begun| begun.load(Ordering::SeqCst)).collect();
            let mut snapshot = Vec::new();
            cache.save_to(&mut snapshot).unwrap();
            let (next, _) = restored(Cache::builder().max_bytes(4 << 20), &snapshot);
            for (key, &at_start) in at_start.iter().enumerate() {
                if let Some(value) = next.get(key.to_le_bytes()) {
                    let value = u64::from_le_bytes(value[..].try_into().unwrap());
                    assert!(value + 3 >= at_start, "{key} went back from {at_start} to {value}");
                }
            }
        }
        is_over.store(true, Ordering::SeqCst);
    });
}
