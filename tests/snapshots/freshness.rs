//! A key that is written or removed while a save runs is absent from the snapshot, or has its last
//! value.

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytecache::policy::{EntryId, EvictionPolicy, Newcomer, Residents};
use bytecache::testing::Inspect;
use bytecache::{Cache, ManualClock, Policy, SaveOptions, SnapshotError};

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
    let cache = build(1 << 20, 1, Policy::Fifo);
    cache.insert("secret", [1; 100]).unwrap();
    // More than a block of entries, and the first has the secret.
    (0..3_000_u32).for_each(|key| cache.insert(key.to_le_bytes(), [1; 100]).unwrap());
    let mut has_run = false;
    let next = save_and_restore(&cache, |written| {
        if written > 10_000 && !has_run {
            has_run = true;
            (10_000..40_000_u32).for_each(|key| cache.insert(key.to_le_bytes(), [1; 100]).unwrap());
            assert!(!cache.remove("secret"));
        }
    });
    assert!(has_run && !next.contains_key("secret"));
}

#[test]
fn keys_that_are_added_during_a_save_have_their_last_value_if_they_come_back() {
    for &policy in Policy::ALL {
        let cache = build(8 << 20, 4, policy);
        (0..KEYS).for_each(|key| cache.insert(key.to_le_bytes(), [1; 200]).unwrap());
        let mut has_run = false;
        let next = save_and_restore(&cache, |written| {
            if !has_run && written > 1_000 {
                has_run = true;
                // The save has written little yet, so most keys are added to places that it has not
                // reached.
                (KEYS..2 * KEYS).for_each(|key| cache.insert(key.to_le_bytes(), [2; 200]).unwrap());
                for key in (0..KEYS / 10).map(u32::to_le_bytes) {
                    assert!(cache.remove(key));
                    cache.insert(key, [3; 200]).unwrap();
                }
                for key in (KEYS..KEYS + KEYS / 10).map(u32::to_le_bytes) {
                    assert!(cache.remove(key));
                }
            }
        });
        next.for_each(|key, value| assert_eq!(Some(value), cache.get(key).as_deref(), "{policy} {key:?}"));
        let added = (KEYS..2 * KEYS).filter(|key| next.contains_key(key.to_le_bytes())).count();
        assert!(has_run && added > KEYS as usize / 2, "{policy}: {added} of {KEYS} added keys have come back");
    }
}

#[test]
fn entries_that_are_evicted_during_a_save_do_not_come_back() {
    for &policy in Policy::ALL {
        let cache = build(1 << 20, 1, policy);
        let insert = |key: u32| cache.insert(key.to_le_bytes(), [1; 200]).unwrap();
        (0..KEYS).for_each(insert);
        let mut evictions = 0;
        let next = save_and_restore(&cache, |written| {
            if written > 500_000 && evictions == 0 {
                let before = cache.stats().evictions;
                (KEYS..KEYS + 500).for_each(insert);
                evictions = cache.stats().evictions - before;
            }
        });
        assert!(evictions > 100, "{policy}");
        next.for_each(|key, _| assert!(cache.contains_key(key), "{policy} {key:?}"));
        assert!(next.len() > 1_500, "{policy} has {}", next.len());
    }
}

#[test]
fn entries_that_expire_during_a_save_do_not_come_back() {
    let clock = ManualClock::new();
    let cache = Cache::builder().max_bytes(8 << 20).shards(4).clock(clock.clone()).build().unwrap();
    for key in 0..KEYS {
        let seconds = if key % 2 == 0 { 1_000 } else { 100_000 };
        cache.insert_with_ttl(key.to_le_bytes(), [1; 200], Duration::from_secs(seconds)).unwrap();
    }
    let mut has_run = false;
    let next = save_and_restore(&cache, |written| {
        if written > 500_000 && !has_run {
            has_run = true;
            clock.advance(Duration::from_secs(2_000));
            while cache.maintain() {}
        }
    });
    assert_eq!((has_run, cache.len()), (true, KEYS as usize / 2));
    next.for_each(|key, _| assert!(cache.contains_key(key), "{key:?} has expired before"));
    assert!(next.len() > 1_500, "{} entries", next.len());
}

#[test]
fn entries_whose_deadline_changes_during_a_save_do_not_come_back() {
    let cache = Cache::builder().max_bytes(8 << 20).shards(4).ttl(Duration::from_secs(100_000)).build().unwrap();
    (0..KEYS).for_each(|key| cache.insert(key.to_le_bytes(), [1; 200]).unwrap());
    let mut has_run = false;
    let next = save_and_restore(&cache, |written| {
        if written > 500_000 && !has_run {
            has_run = true;
            for key in (0..200).map(u32::to_le_bytes) {
                let has_changed = if key[0] % 2 == 0 {
                    cache.persist(key)
                } else {
                    cache.set_ttl(key, Duration::from_secs(1_000)).unwrap()
                };
                assert!(has_changed);
            }
        }
    });
    let back = (0..200_u32).filter(|key| next.contains_key(key.to_le_bytes())).count();
    assert_eq!((has_run, back), (true, 0));
    assert!(next.len() > KEYS as usize * 9 / 10, "{} entries", next.len());
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

/// A policy that panics when an entry comes or leaves while it is told to. It names no victims.
struct Panicking(Arc<AtomicBool>);

impl EvictionPolicy for Panicking {
    fn insert(&mut self, _newcomer: &Newcomer) {
        assert!(!self.0.load(Ordering::Relaxed), "the policy has panicked");
    }
    fn remove(&mut self, _id: EntryId, _charge: u32) {
        assert!(!self.0.load(Ordering::Relaxed), "the policy has panicked");
    }
    fn evict(&mut self, _newcomer: Option<&Newcomer>, _residents: &mut Residents<'_>) -> Option<EntryId> {
        None
    }
    fn resize(&mut self, _ids: usize, _max_entries: usize) -> bool {
        true
    }
    fn rename(&mut self, _from: EntryId, _to: EntryId) {}
    fn bytes(&self) -> usize {
        0
    }
}

#[test]
fn entries_of_a_shard_that_a_panic_has_emptied_do_not_come_back() {
    let panics = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&panics);
    let builder = Cache::builder().max_bytes(8 << 20).shards(1);
    let cache = builder.custom_policy(move |_| Box::new(Panicking(Arc::clone(&told)))).build().unwrap();
    (0..KEYS).for_each(|key| cache.insert(key.to_le_bytes(), [1; 200]).unwrap());
    let next = save_and_restore(&cache, |written| {
        if written > 500_000 && !cache.is_empty() {
            panics.store(true, Ordering::Relaxed);
            // The policy learns of an entry when the next one is stored.
            let insert = || (0..2_u32).for_each(|_| cache.insert("key", "value").unwrap());
            assert!(catch_unwind(AssertUnwindSafe(insert)).is_err());
            panics.store(false, Ordering::Relaxed);
            assert!(cache.is_empty());
        }
    });
    assert!(cache.is_empty() && next.is_empty(), "{} entries have come back", next.len());
}

#[test]
fn a_cache_whose_policy_panics_when_a_save_begins_can_be_saved_later() {
    let panics = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&panics);
    let builder = Cache::builder().max_bytes(8 << 20).shards(1);
    let cache = builder.custom_policy(move |_| Box::new(Panicking(Arc::clone(&told)))).build().unwrap();
    // The policy learns of the entry when the save begins.
    cache.insert("key", "value").unwrap();
    panics.store(true, Ordering::Relaxed);
    assert!(catch_unwind(AssertUnwindSafe(|| cache.save_to(Vec::new()))).is_err());
    panics.store(false, Ordering::Relaxed);
    cache.insert("key", "value").unwrap();
    assert_eq!(cache.save_to(Vec::new()).unwrap().entries, 1);
}

#[test]
fn a_policy_that_panics_while_it_evicts_for_a_save_costs_no_memory() {
    let panics = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&panics);
    let builder = Cache::builder().max_bytes(8 << 20).shards(1);
    let cache = builder.custom_policy(move |_| Box::new(Panicking(Arc::clone(&told)))).build().unwrap();
    let mut key = 0_u32;
    while cache.stats().evictions < 1_000 {
        cache.insert(key.to_le_bytes(), [1; 16]).unwrap();
        key += 1;
    }
    let before = cache.memory();
    assert!(before.allocated < cache.max_bytes(), "{before:?}");
    panics.store(true, Ordering::Relaxed);
    assert!(catch_unwind(AssertUnwindSafe(|| cache.save_to(io::sink()))).is_err());
    panics.store(false, Ordering::Relaxed);
    assert_eq!(cache.memory().overhead, before.overhead);
    cache.validate();
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
fn a_save_that_is_refused_evicts_nothing() {
    let cache = Cache::builder().max_bytes(1 << 20).shards(1).build().unwrap();
    let mut key = 0_u64;
    while cache.stats().evictions < 10_000 {
        cache.insert(key.to_le_bytes(), [1; 16]).unwrap();
        key += 1;
    }
    let mut refused = 0;
    let options = SaveOptions::new().progress(|_| {
        let before = cache.len();
        assert!(matches!(cache.save_to(io::sink()), Err(SnapshotError::InProgress)));
        assert_eq!(cache.len(), before);
        refused += 1;
    });
    cache.save_to_with(io::sink(), options).unwrap();
    assert!(refused > 1);
}

#[test]
fn a_snapshot_that_is_cut_anywhere_behind_its_changes_is_not_complete() {
    let cache = build(1 << 16, 1, Policy::Lru);
    (0..30_u32).for_each(|key| cache.insert(key.to_le_bytes(), [1; 20]).unwrap());
    let mut writer = Meddling(Vec::new(), |_| cache.insert(7_u32.to_le_bytes(), [2; 20]).unwrap(), 0);
    cache.save_to(&mut writer).unwrap();
    let snapshot = writer.0;
    assert!(writer.2 > 1, "changes were written more than once");
    for length in 104..=snapshot.len() {
        let (next, report) = restored(Cache::builder().max_bytes(1 << 16).shards(1), &snapshot[..length]);
        assert_eq!(report.is_complete, length == snapshot.len(), "{length} of {} bytes", snapshot.len());
        assert!(!report.is_complete || !next.contains_key(7_u32.to_le_bytes()));
    }
}

/// Keeps what is written. Until changes are written, each write waits for work of other threads,
/// and then notes what these have finished.
struct Watching<'a> {
    bytes: Vec<u8>,
    finished: &'a [AtomicU64],
    inserts: &'a AtomicU64,
    noted: Vec<u64>,
    has_changes: bool,
}

impl Write for Watching<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (place, kind) = CHANGES;
        self.has_changes |= bytes.starts_with(&[0xb1, b'o', b'c', b'K']) && bytes[place] == kind;
        if !self.has_changes {
            let before = self.inserts.load(Ordering::SeqCst);
            crate::support::until(|| self.inserts.load(Ordering::SeqCst) > before + 300);
            self.noted = self.finished.iter().map(|finished| finished.load(Ordering::SeqCst)).collect();
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Ends the other threads of a test, also if it fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn values_of_threads_that_write_during_saves_never_go_back() {
    const KEYS: usize = 128;
    let cache = build(4 << 20, 2, Policy::S3Fifo);
    let (is_over, inserts, turn) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let seen_turns = [AtomicU64::new(0), AtomicU64::new(0)];
    // Each key's value is a counter: the last one that was stored.
    let finished: Vec<_> = (0..KEYS).map(|_| AtomicU64::new(0)).collect();
    (0..KEYS).for_each(|key| cache.insert(key.to_le_bytes(), 0_u64.to_le_bytes()).unwrap());
    std::thread::scope(|scope| {
        for (thread, seen_turn) in seen_turns.iter().enumerate() {
            let (cache, finished, is_over, inserts, turn) = (&cache, &finished, &is_over, &inserts, &turn);
            scope.spawn(move || {
                for counter in 1.. {
                    // By turns, half of the keys stay as they are.
                    let turn = turn.load(Ordering::SeqCst);
                    seen_turn.store(turn, Ordering::SeqCst);
                    for key in (0..KEYS).filter(|key| key % 4 == thread * 2 + usize::from(turn % 2 == 1)) {
                        cache.insert(key.to_le_bytes(), u64::to_le_bytes(counter)).unwrap();
                        finished[key].store(counter, Ordering::SeqCst);
                        inserts.fetch_add(1, Ordering::SeqCst);
                    }
                    if is_over.load(Ordering::SeqCst) {
                        break;
                    }
                }
            });
        }
        let _over = Over(&is_over);
        let (mut compared, mut left_out) = (0, 0);
        for round in 0..10 {
            turn.store(round, Ordering::SeqCst);
            crate::support::until(|| seen_turns.iter().all(|seen| seen.load(Ordering::SeqCst) == round));
            let mut writer = Watching {
                bytes: Vec::new(),
                finished: &finished,
                inserts: &inserts,
                noted: Vec::new(),
                has_changes: false,
            };
            cache.save_to(&mut writer).unwrap();
            let (next, report) = restored(Cache::builder().max_bytes(4 << 20), &writer.bytes);
            for (key, &noted) in writer.noted.iter().enumerate() {
                let Some(value) = next.get(key.to_le_bytes()) else { continue };
                let value = u64::from_le_bytes(value[..].try_into().unwrap());
                assert!(value >= noted, "{key} went back from {noted} to {value}");
                compared += 1;
            }
            left_out += report.changed;
        }
        assert!(compared > 10 * KEYS / 4 && left_out > 10, "{compared} keys compared, {left_out} left out");
    });
}
