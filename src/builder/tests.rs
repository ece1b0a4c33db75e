//! The entries that fit a cache, for each number of cores, policy and size.

use super::*;
use crate::error::Error;
use crate::policy::{EntryId, Newcomer, Recency, Residents};

const CORES: [usize; 7] = [1, 2, 3, 8, 32, 64, 256];

/// Checks that entries of the limit can be stored and larger ones cannot. Returns the limit.
fn largest_that_fits(builder: &CacheBuilder, cores: usize) -> usize {
    let said = format!("{builder:?}, {cores} cores");
    let mut limits = [(0, false), (300, false), (0, true)].map(|(key_len, has_ttl)| {
        // A new cache each time: readers of other tests hold nothing of it.
        let cache = builder.clone().build_for(cores).unwrap_or_else(|error| panic!("{said}: {error}"));
        let max = cache.max_entry_bytes();
        let key = vec![7; key_len.min(max)];
        let store = |value: &[u8]| match has_ttl {
            true => cache.insert_with_ttl(&key, value, Duration::from_secs(60)),
            false => cache.insert(&key, value),
        };
        let value = vec![8; max - key.len()];
        store(&value).unwrap_or_else(|error| panic!("{said}: {error}"));
        assert!(cache.peek(&key).is_some_and(|found| found == value), "{said}: {max}, {key_len}, {has_ttl}");
        let error = store(&vec![8; value.len() + 1]).unwrap_err();
        assert_eq!(error, Error::TooLarge { bytes: max + 1, max }, "{said}");
        max
    });
    limits.sort_unstable();
    assert_eq!(limits[0], limits[2]);
    limits[0]
}

fn builder(max_bytes: usize, policy: Policy, alignment: usize, hint: Option<usize>) -> CacheBuilder {
    let builder = CacheBuilder::default().max_bytes(max_bytes).policy(policy).value_alignment(alignment);
    match hint {
        Some(bytes) => builder.expected_entry_bytes(bytes),
        None => builder,
    }
}

#[test]
fn the_same_entries_fit_on_any_number_of_cores() {
    for max_bytes in [64 << 10, 65_537, 99_999, 1 << 20, (4 << 20) - 1, 4 << 20, 5 << 20, 8 << 20, (33 << 20) + 7] {
        for (number, &policy) in Policy::ALL.iter().enumerate() {
            for hint in [None, Some(0), Some(1), Some(100), Some(usize::MAX)] {
                for alignment in [1, 8, 16] {
                    let cores = CORES[(number + alignment) % CORES.len()];
                    let max = largest_that_fits(&builder(max_bytes, policy, alignment, hint), cores);
                    assert_eq!(max, (max_bytes / 8).min(512 << 10), "{max_bytes} bytes");
                }
            }
        }
    }
}

#[test]
fn large_caches_take_the_same_entries_on_any_number_of_cores() {
    for max_bytes in [100 << 20, (1 << 30) + 12_345] {
        for cores in CORES {
            for max_entry_bytes in [None, Some(1), Some(100_000), Some(3 << 20), Some(100 << 17)] {
                let mut builder = builder(max_bytes, Policy::default(), 16, None);
                builder.max_entry_bytes = max_entry_bytes;
                let max = largest_that_fits(&builder, cores);
                assert_eq!(max, max_entry_bytes.unwrap_or(512 << 10), "{cores} cores");
            }
        }
    }
}

/// LRU that reports more memory than it takes.
struct Heavy {
    lru: Box<dyn EvictionPolicy>,
    ids: usize,
    bytes: usize,
    bytes_for_each_id: usize,
}

impl EvictionPolicy for Heavy {
    fn recency(&self) -> Recency {
        self.lru.recency()
    }
    fn insert(&mut self, newcomer: &Newcomer) {
        self.lru.insert(newcomer);
    }
    fn touch(&mut self, id: EntryId) {
        self.lru.touch(id);
    }
    fn update(&mut self, id: EntryId, old_charge: u32, charge: u32) {
        self.lru.update(id, old_charge, charge);
    }
    fn remove(&mut self, id: EntryId, charge: u32) {
        self.lru.remove(id, charge);
    }
    fn evict(&mut self, newcomer: Option<&Newcomer>, residents: &mut Residents<'_>) -> Option<EntryId> {
        self.lru.evict(newcomer, residents)
    }
    fn set_capacity(&mut self, charge: u64) {
        self.lru.set_capacity(charge);
    }
    fn resize(&mut self, ids: usize, max_entries: usize) -> bool {
        self.ids = ids;
        self.lru.resize(ids, max_entries)
    }
    fn rename(&mut self, from: EntryId, to: EntryId) {
        self.lru.rename(from, to);
    }
    fn bytes(&self) -> usize {
        (self.lru.bytes() + self.ids * self.bytes_for_each_id).saturating_add(self.bytes)
    }
}

fn with_heavy_policy(max_bytes: usize, bytes: usize, bytes_for_each_id: usize) -> CacheBuilder {
    CacheBuilder::default().max_bytes(max_bytes).custom_policy(move |context| {
        Box::new(Heavy { lru: Policy::Lru.build(&context), ids: context.ids(), bytes, bytes_for_each_id })
    })
}

#[test]
fn a_policy_leaves_room_for_the_largest_entry_or_is_refused() {
    for bytes in (0..5 << 20).step_by(100_000) {
        let builder = with_heavy_policy(5 << 20, bytes, 0);
        match builder.clone().build() {
            Ok(_) => assert_eq!(largest_that_fits(&builder, 1), 512 << 10, "{bytes} bytes"),
            Err(error) => {
                assert!(bytes > 3 << 20 && matches!(error, BuildError::TooSmall { .. }), "{error}")
            }
        }
    }
}

#[test]
fn an_index_that_grows_leaves_room_for_the_largest_entry() {
    for bytes_for_each_id in [0, 30, 100, 300] {
        let cache = with_heavy_policy(1 << 20, 0, bytes_for_each_id).build().unwrap();
        let most = (0..50_000_u32).map(|key| {
            // Rejected while readers of other tests delay the reuse of chunks.
            let _ = cache.insert(key.to_le_bytes(), []);
            cache.len()
        });
        assert!(most.max() > Some(400_000 / (50 + bytes_for_each_id)), "{bytes_for_each_id}: it does not grow");
        let value = vec![7; 128 << 10];
        let placed = (0..1_000).any(|_| cache.insert("", &value).is_ok());
        assert!(placed && cache.contains_key(""), "{bytes_for_each_id}: {:?}", cache.memory());
        cache.validate();
    }
}

#[test]
fn a_large_policy_gets_fewer_shards_and_a_too_large_one_the_same_error_on_any_number_of_cores() {
    for cores in CORES {
        assert_eq!(largest_that_fits(&with_heavy_policy(64 << 20, 20 << 20, 0), cores), 512 << 10);
        let largest = usize::try_from(1_u64 << 46).unwrap_or(usize::MAX - 1);
        for (bytes, least) in [(70 << 20, 70 << 20), (usize::MAX, largest)] {
            let error = with_heavy_policy(64 << 20, bytes, 0).build_for(cores).unwrap_err();
            let BuildError::TooSmall { min_bytes, .. } = error else { panic!("{error}") };
            assert!(min_bytes > least && (bytes == usize::MAX || min_bytes < least + (1 << 22)), "{error}");
        }
    }
}
