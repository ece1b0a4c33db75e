//! Another limit at run time, where little is left to give back: cleared caches, large entries,
//! values that are held, few entries, namespaces, listeners.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytecache::policy::{EntryId, EvictionPolicy, Newcomer, PolicyContext, Residents};
use bytecache::testing::Inspect;
use bytecache::{Cache, CacheBuilder, Policy, ResizeError, Value};

use super::resizing::{assert_within, fill, resizable, settle, value};
use crate::support::alone;

/// Returns the smallest limit that the cache accepts.
fn min_bytes(cache: &Cache) -> usize {
    match cache.set_max_bytes(1).unwrap_err() {
        ResizeError::TooSmall { min_bytes, .. } => min_bytes,
        error => panic!("{error}"),
    }
}

/// Returns the options of a cache of 4 MiB, whose smallest limit is a small part of that.
fn of_small_entries(policy: Policy) -> CacheBuilder {
    resizable(4 << 20, 4 << 20, policy).max_entry_bytes(2_000)
}

#[test]
fn a_cleared_cache_takes_entries_at_a_lower_limit() {
    let _alone = alone();
    for &policy in Policy::ALL {
        let cache = of_small_entries(policy).build().unwrap();
        let (mut next, smallest) = (0, min_bytes(&cache));
        for bytes in [smallest, 512 << 10] {
            cache.set_max_bytes(4 << 20).unwrap();
            fill(&cache, &mut next, 250_000, 8);
            cache.clear();
            assert!(cache.memory().index > 256 << 10, "{:?}", cache.memory());
            cache.set_max_bytes(bytes).unwrap();
            fill(&cache, &mut next, 1_000, 8);
            settle(&cache);
            assert_within(&cache, bytes);
            fill(&cache, &mut next, 10_000, 8);
            assert_within(&cache, bytes);
            assert!(cache.len() > 30, "{policy}: {} entries", cache.len());
        }
    }
}

/// A writer of a snapshot that does something else at its first call.
struct Interrupted<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Write for Interrupted<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(interrupt) = self.0.take() {
            interrupt();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_cache_that_is_cleared_while_it_is_saved_takes_entries_at_a_lower_limit() {
    let _alone = alone();
    for &policy in Policy::ALL {
        for clears_first in [true, false] {
            let cache = of_small_entries(policy).build().unwrap();
            let mut next = 0;
            fill(&cache, &mut next, 250_000, 8);
            let mut has_run = false;
            let interrupt = || {
                if clears_first {
                    cache.clear();
                }
                cache.set_max_bytes(512 << 10).unwrap();
                settle(&cache);
                cache.clear();
                settle(&cache);
                fill(&cache, &mut 0, 1_000, 8);
                has_run = true;
            };
            cache.save_to(Interrupted(Some(interrupt))).unwrap();
            assert!(has_run);
            settle(&cache);
            assert_within(&cache, 512 << 10);
            fill(&cache, &mut next, 10_000, 8);
            assert_within(&cache, 512 << 10);
            assert!(cache.len() > 3_000, "{policy}: {} entries", cache.len());
        }
    }
}

#[test]
fn a_limit_that_falls_during_a_save_evicts_no_more_than_without_one() {
    let _alone = alone();
    for (to, value_bytes) in [(8 << 20, 8), (2 << 20, 8), (2 << 20, 100), (2 << 20, 1_000)] {
        let lower = |cache: &Cache| {
            cache.set_max_bytes(to).unwrap();
            settle(cache);
        };
        let [without, during] = [false, true].map(|saves| {
            let cache = resizable(16 << 20, 16 << 20, Policy::Lru).max_entry_bytes(16 << 10).build().unwrap();
            let mut next = 0;
            while cache.stats().evictions < 1_000 {
                fill(&cache, &mut next, 1_000, value_bytes);
            }
            if saves {
                cache.save_to(Interrupted(Some(|| lower(&cache)))).unwrap();
                settle(&cache);
            } else {
                lower(&cache);
            }
            assert_within(&cache, to);
            cache.len()
        });
        // The record of changes has a 64th of the former limit meanwhile, and no entry leaves for
        // it.
        let least = without - without / 32;
        assert!(during >= least, "{during} entries of {value_bytes} bytes in {to} bytes, {without} without a save");
    }
}

/// A policy that cannot be resized while it is told to wait. It names no victims, and has a few
/// bytes for each id.
struct Waiting {
    ids: usize,
    is_to_wait: Arc<AtomicBool>,
    has_waited: Arc<AtomicBool>,
}

impl EvictionPolicy for Waiting {
    fn insert(&mut self, _newcomer: &Newcomer) {}
    fn remove(&mut self, _id: EntryId, _charge: u32) {}
    fn evict(&mut self, _newcomer: Option<&Newcomer>, _residents: &mut Residents<'_>) -> Option<EntryId> {
        None
    }
    fn resize(&mut self, ids: usize, _max_entries: usize) -> bool {
        let waits = self.is_to_wait.load(Ordering::Relaxed);
        self.has_waited.fetch_or(waits, Ordering::Relaxed);
        self.ids = if waits { self.ids } else { ids };
        !waits
    }
    fn rename(&mut self, _from: EntryId, _to: EntryId) {}
    fn bytes(&self) -> usize {
        8 * self.ids
    }
}

#[test]
fn a_limit_that_falls_during_a_save_while_an_index_is_about_to_grow_evicts_no_more_than_without_one() {
    let _alone = alone();
    let limit = 1_500_000;
    let [without, during] = [false, true].map(|saves| {
        let [is_to_wait, has_waited] = [true, false].map(|is| Arc::new(AtomicBool::new(is)));
        let (waits, waited) = (Arc::clone(&is_to_wait), Arc::clone(&has_waited));
        let policy = move |context: PolicyContext| {
            let (is_to_wait, has_waited) = (Arc::clone(&waits), Arc::clone(&waited));
            Box::new(Waiting { ids: context.ids(), is_to_wait, has_waited }) as _
        };
        let builder = resizable(16 << 20, 16 << 20, Policy::Lru).shards(1).expected_entry_bytes(1_000);
        let cache = builder.custom_policy(policy).build().unwrap();
        let mut next = 0;
        while !has_waited.load(Ordering::Relaxed) {
            fill(&cache, &mut next, 10, 8);
        }
        let mut lower = || {
            cache.set_max_bytes(limit).unwrap();
            is_to_wait.store(saves, Ordering::Relaxed);
            settle(&cache);
            fill(&cache, &mut next, 1_000, 8);
        };
        if saves {
            cache.save_to(Interrupted(Some(&mut lower))).unwrap();
        } else {
            lower();
        }
        is_to_wait.store(false, Ordering::Relaxed);
        settle(&cache);
        assert_within(&cache, limit);
        cache.len()
    });
    // Some of the added entries, as the index is full.
    let least = without - without / 64;
    assert!(during >= least, "{during} entries, {without} without a save");
}

#[test]
fn a_small_reduction_evicts_few_large_entries() {
    let _alone = alone();
    for &policy in Policy::ALL {
        let cache = resizable(4 << 20, 4 << 20, policy).build().unwrap();
        let mut next = 0;
        fill(&cache, &mut next, 100, 114_000);
        let before = cache.len();
        assert!(before > 30, "{before} entries");
        // Six chunks of 16 KiB, of the seven of an entry.
        let bytes = (4 << 20) - (6 << 14);
        cache.set_max_bytes(bytes).unwrap();
        settle(&cache);
        assert_within(&cache, bytes);
        assert!(cache.len() >= before - 3, "{policy}: {} of {before} entries", cache.len());
    }
}

#[test]
fn maintenance_ends_while_values_are_held() {
    let _alone = alone();
    for &policy in Policy::ALL {
        let cache = resizable(1 << 20, 4 << 20, policy).build().unwrap();
        let mut next = 0;
        fill(&cache, &mut next, 2_000, 1_000);
        let keys = (0..=next).rev().filter(|key| cache.contains_key(key.to_le_bytes()));
        let held: Vec<Value> = keys.step_by(4).take(64).map(|key| cache.get(key.to_le_bytes()).unwrap()).collect();
        cache.set_max_bytes(4 << 20).unwrap();
        fill(&cache, &mut next, 8_000, 1_000);
        cache.set_max_bytes(1 << 20).unwrap();
        let mut calls = 0;
        while cache.maintain() {
            calls += 1;
            assert!(calls < 2_000, "{policy}: {:?}", cache.memory());
        }
        let relocated = cache.stats().relocated_bytes;
        for _ in 0..100 {
            cache.remove("absent");
        }
        assert!(cache.stats().relocated_bytes - relocated < 100_000, "{policy}: writes move entries for nothing");
        cache.validate();
        drop(held);
        settle(&cache);
        assert_within(&cache, 1 << 20);
    }
}

/// A run that is being filled may be longer than a lower limit leaves room for.
#[test]
fn a_run_whose_entries_were_removed_is_given_back() {
    let _alone = alone();
    for &policy in Policy::ALL {
        let cache = resizable(100_000, 1_600_000, policy).build().unwrap();
        let smallest = min_bytes(&cache);
        for len in [12_000, 9_000, 6_000] {
            cache.set_max_bytes(1_600_000).unwrap();
            let keys = 0..100_u64;
            keys.clone().for_each(|key| cache.insert(key.to_le_bytes(), value(key, len)).unwrap());
            keys.for_each(|key| _ = cache.remove(key.to_le_bytes()));
            cache.set_max_bytes(smallest).unwrap();
            settle(&cache);
            assert_within(&cache, smallest);
            fill(&cache, &mut 0, 1_000, 100);
            assert_within(&cache, smallest);
        }
    }
}

#[test]
fn an_empty_cache_keeps_a_small_index() {
    let _alone = alone();
    let cache = of_small_entries(Policy::Lru).build().unwrap();
    let mut next = 0;
    fill(&cache, &mut next, 250_000, 8);
    cache.clear();
    cache.set_max_bytes(2 << 20).unwrap();
    settle(&cache);
    assert_within(&cache, 2 << 20);
    let memory = cache.memory();
    assert!(memory.index < 64 << 10, "{memory:?}");
    fill(&cache, &mut next, 20_000, 200);
    assert!(cache.memory().live > 1 << 20, "{:?}", cache.memory());
}

#[test]
fn a_call_of_maintain_copies_a_bounded_part_of_the_entries_for_a_listener() {
    let _alone = alone();
    let heard = Arc::new(AtomicUsize::new(0));
    let listener = Arc::clone(&heard);
    let builder = of_small_entries(Policy::Lru).on_removal(move |_, _, _| {
        listener.fetch_add(1, Ordering::Relaxed);
    });
    let cache = builder.build().unwrap();
    let mut next = 0;
    fill(&cache, &mut next, 6_000, 1_000);
    cache.set_max_bytes(1 << 20).unwrap();
    loop {
        heard.store(0, Ordering::Relaxed);
        let has_more = cache.maintain();
        let removals = heard.load(Ordering::Relaxed);
        assert!(removals <= 320, "{removals} entries were copied under the lock");
        if !has_more {
            break;
        }
    }
    assert_within(&cache, 1 << 20);
}

#[test]
fn a_call_of_maintain_evicts_at_most_1024_entries() {
    let _alone = alone();
    let cache = of_small_entries(Policy::Lru).build().unwrap();
    fill(&cache, &mut 0, 250_000, 8);
    cache.set_max_bytes(1 << 20).unwrap();
    loop {
        let before = cache.stats().evictions;
        let has_more = cache.maintain();
        let evicted = cache.stats().evictions - before;
        assert!(evicted <= 1_024, "{evicted} entries were evicted");
        if !has_more {
            break;
        }
    }
    assert_within(&cache, 1 << 20);
}

#[test]
fn the_smallest_limit_leaves_room_for_the_namespaces() {
    let _alone = alone();
    let cache = of_small_entries(Policy::Lru).build().unwrap();
    let before = min_bytes(&cache);
    for number in 0..40 {
        cache.namespace(format!("{number}{}", "x".repeat(200))).build().unwrap();
    }
    let smallest = min_bytes(&cache);
    assert_eq!(smallest - before, cache.memory().flights);
    let mut next = 0;
    fill(&cache, &mut next, 250_000, 8);
    cache.set_max_bytes(smallest).unwrap();
    settle(&cache);
    assert_within(&cache, smallest);
    fill(&cache, &mut next, 1_000, 8);
    assert_within(&cache, smallest);
}

#[test]
fn the_size_for_some_entries_includes_the_addresses_up_to_a_ceiling() {
    let _alone = alone();
    let plain = Cache::builder().shards(1);
    let builder = plain.clone().max_bytes_ceiling(16 << 20);
    for (entries, least) in [(1, 256 << 10), (5_000, 600_000), (20_000, 2_400_000)] {
        let max_bytes = builder.bytes_for(entries, 8, 100);
        assert!(max_bytes >= least.max(plain.bytes_for(entries, 8, 100) + 1), "{max_bytes} bytes");
        let cache = builder.clone().max_bytes(max_bytes).build().unwrap();
        fill(&cache, &mut 0, entries as u64, 100);
        assert!(cache.len() >= entries - entries / 25, "{} of {entries} entries", cache.len());
    }
}
