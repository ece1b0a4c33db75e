//! A save holds the lock of a shard for a bounded step, and records changes in bounded memory.

use super::*;
use crate::builder::CacheBuilder;
use crate::policy::{Policy, Standing};
use crate::shard::NoPolicy;

/// The most entries whose ids one hold of the lock takes.
const MOST_ENTRIES: usize = 16;

/// The entries that one call has shown.
struct Call<'a> {
    cache: &'a Cache,
    entries: usize,
}

impl SaveSink for Call<'_> {
    fn since(&self) -> Duration {
        Duration::ZERO
    }

    fn take(&mut self, entry: &SavedEntry<'_>, held: Option<Value>) {
        assert!(self.cache.shard(0).try_write(|_| ()).is_some(), "the lock is free");
        assert_eq!(
            held.map_or(0, |value| value.len()),
            if entry.value.len() < 32 << 10 { 0 } else { entry.value.len() }
        );
        self.entries += 1;
    }

    fn is_full(&self) -> bool {
        false
    }
}

/// Checks each call in a save of a cache of one shard.
fn check_calls(cache: &Cache, name: &str) {
    for key in 0..3000_u32 {
        // Most are small, and some are large or held.
        let length = [10, 200, 5_000, (32 << 10) - 1, 64 << 10][(key.trailing_zeros() as usize / 3).min(4)];
        cache.insert(key.to_le_bytes(), vec![1; length]).expect("room");
    }
    let changes = Arc::new(Changes::new(Changes::MIN_WORDS, 1));
    let (mut walk, _) = cache.shard(0).begin_save(&changes).expect("no other save");
    let mut entries = 0;
    while walk.is_behind(None, 1) {
        let mut call = Call { cache, entries: 0 };
        cache.shard(0).save_some(&mut walk, &mut call);
        assert!(call.entries <= MOST_ENTRIES, "{name}: {} entries after one hold", call.entries);
        entries += call.entries;
    }
    cache.shard(0).end_save(&changes);
    assert_eq!(entries, cache.len(), "{name}");
}

#[test]
fn entries_are_shown_without_the_lock_and_one_hold_of_it_takes_a_bounded_number() {
    let builder = || Cache::builder().max_bytes(8 << 20).shards(1);
    for &policy in Policy::ALL {
        check_calls(&builder().policy(policy).build().expect("a cache"), policy.name());
    }
    // Its walk shows nothing, so the order of the index is left.
    check_calls(&builder().custom_policy(|_| Box::new(NoPolicy)).build().expect("a cache"), "none");
}

#[test]
fn the_record_of_changes_takes_two_bytes_for_each_entry_and_a_64th_of_the_limit_at_most() {
    let gib = 1 << 30;
    for (entries, max_bytes, least, most) in [
        (0, gib, 1 << 10, 1 << 10),
        (1_000, gib, 1 << 10, 1 << 11),
        (100_000, gib, 100_000, 200_000),
        (100_000, 4 << 20, 64 << 10, 64 << 10),
        (100_000, 64 << 10, 1 << 10, 1 << 10),
        (usize::MAX, usize::MAX, 64 << 20, 64 << 20),
    ] {
        let bytes = Changes::words_for(entries, max_bytes) * size_of::<u64>();
        assert!((least..=most).contains(&bytes), "{bytes} bytes for {entries} entries in {max_bytes}");
    }
}

/// Fills a cache, saves it, and checks its memory at each block.
fn check_memory(builder: CacheBuilder, value_bytes: usize) {
    let cache = builder.hasher(StableHash::with_seed(5)).build().expect("a cache");
    let mut key = 0_u32;
    while cache.stats().evictions < 2_000 {
        cache.insert(key.to_le_bytes(), vec![1; value_bytes]).expect("room");
        key += 1;
    }
    let record = Changes::words_for(cache.len(), cache.max_bytes()) * size_of::<u64>();
    assert!(record > 1 << 10, "{record} bytes");
    let before = cache.memory();
    let mut calls = 0;
    let check = |_| {
        let memory = cache.memory();
        let taken = memory.overhead - before.overhead;
        assert!((record..record + cache.shards()).contains(&taken), "{taken} of {record} bytes are accounted for");
        // Writes go on meanwhile.
        for _ in 0..2_000 {
            cache.insert(key.to_le_bytes(), vec![1; value_bytes]).expect("room");
            key += 1;
            assert!(cache.memory().allocated <= cache.max_bytes());
        }
        cache.validate();
        calls += 1;
    };
    cache.save_to_with(&mut Vec::new(), SaveOptions::new().progress(check)).expect("a writer that takes all");
    assert!(calls > 1);
    assert_eq!(cache.memory().overhead, before.overhead, "all was given back");
    cache.validate();
}

#[test]
fn the_record_of_changes_is_part_of_the_memory_of_a_full_cache() {
    for shards in [1, 4] {
        for value_bytes in [8, 100] {
            check_memory(Cache::builder().max_bytes(4 << 20).shards(shards), value_bytes);
        }
    }
}

#[test]
fn a_record_of_many_blocks_has_all_keys_that_were_changed() {
    // A record that a cache of this limit affords.
    let builder = || Cache::builder().max_bytes(32 << 20);
    let cache = builder().build().expect("a cache");
    let key = |number: u32| number.to_le_bytes();
    (0..100_000).for_each(|number| cache.insert(key(number), [1]).expect("room"));
    let mut save = Save::begin(&cache, 5, SaveOptions::new()).expect("no other save");
    save.changes = Arc::new(Changes::new(1 << 16, 5));
    // Nearly all words get a bit, and one key in nine shares the bit of another.
    (0..500_000).for_each(|number| save.changes.note(&key(2 * number)));
    let mut snapshot = Vec::new();
    save.write(&mut snapshot, |_| Ok(())).expect("a writer that takes all");
    let (next, report) = builder().restore_from(&snapshot[..], Duration::from_secs(3600)).expect("a snapshot");
    assert_eq!((report.damaged_blocks, report.is_complete), (0, true));
    assert!((0..50_000).all(|number| !next.contains_key(key(2 * number))), "a key that was changed has come back");
    assert!(next.len() > 40_000, "{report:?}");
}

/// Returns the size of the index of each shard.
fn index_sizes(cache: &Cache) -> Vec<usize> {
    let changes = Arc::new(Changes::new(Changes::MIN_WORDS, 1));
    let size_of = |number| {
        let (_, experience) = cache.shard(number).begin_save(&changes).expect("no other save");
        cache.shard(number).end_save(&changes);
        experience.index_size
    };
    (0..cache.shards()).map(size_of).collect()
}

#[test]
fn each_restored_shard_has_an_index_of_the_size_that_it_had() {
    let builder = || Cache::builder().max_bytes(4 << 20).shards(4).hasher(StableHash::with_seed(3));
    let cache = builder().build().expect("a cache");
    let (mut key, mut have_differed) = (0_u32, false);
    for _ in 0..100 {
        for _ in 0..50 {
            cache.insert(key.to_le_bytes(), [1; 8]).expect("room");
            key += 1;
        }
        let mut snapshot = Vec::new();
        cache.save_to(&mut snapshot).expect("a writer that takes all");
        let (next, _) = builder().restore_from(&snapshot[..], Duration::from_secs(3600)).expect("a snapshot");
        let sizes = index_sizes(&cache);
        assert_eq!(index_sizes(&next), sizes, "after {key} keys");
        have_differed |= sizes.iter().any(|&size| size != sizes[0]);
    }
    assert!(have_differed, "the indices grow one after the other");
}

/// The keys, standings and visits that a save has shown.
#[derive(Default)]
struct Entries(Vec<(Vec<u8>, Standing, u8)>);

impl SaveSink for Entries {
    fn since(&self) -> Duration {
        Duration::ZERO
    }

    fn take(&mut self, entry: &SavedEntry<'_>, _held: Option<Value>) {
        self.0.push((entry.key.to_vec(), entry.standing, entry.visits));
    }

    fn is_full(&self) -> bool {
        false
    }
}

/// Returns what a save of a cache of one shard shows.
fn shown(cache: &Cache) -> Vec<(Vec<u8>, Standing, u8)> {
    let changes = Arc::new(Changes::new(Changes::MIN_WORDS, 1));
    let (mut walk, _) = cache.shard(0).begin_save(&changes).expect("no other save");
    let mut entries = Entries::default();
    while walk.is_behind(None, 1) {
        cache.shard(0).save_some(&mut walk, &mut entries);
    }
    cache.shard(0).end_save(&changes);
    entries.0
}

#[test]
fn the_walk_of_a_policy_shows_all_of_the_few_entries_in_a_large_index() {
    let builder = Cache::builder().max_bytes(16 << 20).shards(1).expected_entry_bytes(16).policy(Policy::Gdsf);
    let cache = builder.build().expect("a cache");
    (0..200_u32).for_each(|key| cache.insert(key.to_le_bytes(), vec![1; key as usize]).expect("room"));
    let shown = shown(&cache);
    assert_eq!(shown.len(), 200);
    // GDSF counts a use of each entry that it shows.
    assert!(shown.iter().all(|(_, standing, _)| standing.uses > 0));
}

#[test]
fn visits_are_saved_and_restored() {
    let builder = || Cache::builder().max_bytes(1 << 20).shards(1).policy(Policy::Sieve);
    let cache = builder().build().expect("a cache");
    (0..300_u32).for_each(|key| cache.insert(key.to_le_bytes(), [1; 8]).expect("room"));
    for key in (0..300_u32).step_by(3) {
        assert!(cache.get(key.to_le_bytes()).is_some());
    }
    let mut snapshot = Vec::new();
    cache.save_to(&mut snapshot).expect("a writer that takes all");
    let (next, _) = builder().restore_from(&snapshot[..], Duration::from_secs(3600)).expect("a snapshot");
    for cache in [&cache, &next] {
        let shown = shown(cache);
        assert_eq!(shown.len(), 300);
        for (key, _, visits) in shown {
            let number = u32::from_le_bytes(key.try_into().expect("four bytes"));
            assert_eq!(visits > 0, number % 3 == 0, "{number} has {visits} visits");
        }
    }
}
