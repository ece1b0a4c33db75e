//! A cache of the size that `CacheBuilder::bytes_for` returns holds the requested number of
//! entries.

use std::time::Duration;

use bytecache::{BuildError, Cache, CacheBuilder, Policy, StableHash};

use crate::support::alone;

/// Greatest relative difference between the number of entries held and the number requested.
const TOLERANCE: f64 = 0.03;
const HOUR: Duration = Duration::from_secs(3_600);

/// A number of entries, and the bytes of each key and value.
#[derive(Clone, Copy, Debug)]
struct Load {
    entries: usize,
    key_bytes: usize,
    value_bytes: usize,
}

impl Load {
    /// Returns the average number of entries that a cache of the computed size holds after it has
    /// been filled twice.
    fn entries_held(self, builder: &CacheBuilder) -> f64 {
        let max_bytes = builder.bytes_for(self.entries, self.key_bytes, self.value_bytes);
        let builder = builder.clone().max_bytes(max_bytes).hasher(StableHash::with_seed(3));
        let cache = builder.build().unwrap();
        let value = vec![7; self.value_bytes];
        let mut key = vec![0; self.key_bytes];
        let mut held = Vec::new();
        for number in 0..3 * self.entries {
            key[..8].copy_from_slice(&(number as u64).to_le_bytes());
            cache.insert(&key, &value).unwrap();
            if number >= 2 * self.entries && number % (self.entries / 16) == 0 {
                held.push(cache.len());
            }
        }
        assert!(cache.stats().evictions > 0, "the cache was never full");
        held.iter().sum::<usize>() as f64 / held.len() as f64
    }

    /// Checks caches of every policy with `shards` shards, with and without a time to live.
    fn check(self, shards: usize) {
        for &policy in Policy::ALL {
            let builder = Cache::builder().policy(policy).shards(shards);
            for builder in [builder.clone(), builder.ttl(HOUR)] {
                self.check_one(&builder, &format!("{policy}, {builder:?}"));
            }
        }
    }

    fn check_one(self, builder: &CacheBuilder, name: &str) {
        let held = self.entries_held(builder);
        let error = held / self.entries as f64 - 1.0;
        assert!(error.abs() <= TOLERANCE, "{self:?} held {held:.0}, {:+.1} %: {name}", error * 100.0);
    }
}

#[test]
fn cache_of_the_computed_size_holds_small_entries() {
    let _alone = alone();
    Load { entries: 24_000, key_bytes: 16, value_bytes: 16 }.check(1);
    Load { entries: 60_000, key_bytes: 16, value_bytes: 16 }.check(4);
}

#[test]
fn cache_of_the_computed_size_holds_entries_of_124_bytes() {
    let _alone = alone();
    Load { entries: 10_000, key_bytes: 24, value_bytes: 100 }.check(1);
    Load { entries: 20_000, key_bytes: 24, value_bytes: 100 }.check(4);
}

#[test]
fn cache_of_the_computed_size_holds_entries_of_280_bytes() {
    let _alone = alone();
    Load { entries: 4_000, key_bytes: 24, value_bytes: 256 }.check(1);
    Load { entries: 12_000, key_bytes: 24, value_bytes: 256 }.check(4);
}

#[test]
fn cache_of_the_computed_size_holds_entries_of_1_000_bytes() {
    let _alone = alone();
    Load { entries: 2_000, key_bytes: 24, value_bytes: 976 }.check(1);
    Load { entries: 6_000, key_bytes: 24, value_bytes: 976 }.check(4);
}

#[test]
fn cache_of_the_computed_size_holds_entries_larger_than_a_chunk() {
    let _alone = alone();
    for (entries, shards) in [(300, 1), (600, 2), (1_500, 8)] {
        Load { entries, key_bytes: 24, value_bytes: 19_976 }.check(shards);
    }
}

#[test]
fn alignment_and_deadlines_of_the_builder_are_accounted_for() {
    let _alone = alone();
    let load = Load { entries: 20_000, key_bytes: 17, value_bytes: 41 };
    let builder = Cache::builder().shards(2);
    let variants = [
        builder.clone().value_alignment(16),
        builder.clone().time_to_idle(HOUR),
        builder.clone().time_to_idle(HOUR).ttl(HOUR).stale_for(HOUR).ttl_jitter(0.1),
        builder.expected_entry_bytes(58),
    ];
    for builder in variants {
        load.check_one(&builder, &format!("{builder:?}"));
    }
}

#[test]
fn more_is_needed_for_more_entries_longer_ones_deadlines_and_alignment() {
    let builder = Cache::builder().shards(4);
    let bytes = builder.bytes_for(50_000, 20, 100);
    assert!(bytes > 50_000 * 120);
    assert!(builder.bytes_for(60_000, 20, 100) > bytes);
    assert!(builder.bytes_for(50_000, 20, 120) > bytes);
    assert!(builder.clone().ttl(HOUR).bytes_for(50_000, 20, 100) > bytes);
    assert!(builder.clone().value_alignment(16).bytes_for(50_000, 20, 100) > bytes);
    assert!(builder.clone().policy(Policy::Gdsf).bytes_for(50_000, 20, 100) > bytes);
    // The builder's own limit is ignored.
    assert_eq!(builder.max_bytes(1 << 30).bytes_for(50_000, 20, 100), bytes);
}

#[test]
fn any_size_that_is_returned_makes_a_cache_that_stores_such_an_entry() {
    let _alone = alone();
    let entries = [0, 1, 2, 7, 100];
    let sizes = [(0, 0), (1, 0), (16, 1), (300, 4_000), (65_535, 0), (24, 70_000), (24, (1 << 19) - 24)];
    for (key_bytes, value_bytes) in sizes {
        for shards in [None, Some(1), Some(8)] {
            for count in entries {
                let builder = shards.map_or(Cache::builder(), |shards| Cache::builder().shards(shards));
                let max_bytes = builder.bytes_for(count, key_bytes, value_bytes);
                let cache = builder.max_bytes(max_bytes).build().unwrap();
                cache.insert(vec![1; key_bytes], vec![2; value_bytes]).unwrap();
            }
        }
    }
}

#[test]
fn entries_that_no_cache_of_the_builder_holds_need_usize_max() {
    let builder = Cache::builder();
    for (entries, key_bytes, value_bytes) in [
        (usize::MAX, 24, 256),
        (usize::MAX, usize::MAX, usize::MAX),
        (1, usize::MAX, usize::MAX),
        (1, 65_536, 0),
        (1, 24, 512 << 10),
        (usize::MAX / 2, 0, 0),
    ] {
        assert_eq!(builder.bytes_for(entries, key_bytes, value_bytes), usize::MAX);
    }
    assert_eq!(builder.clone().shards(3).bytes_for(1, 24, 256), usize::MAX);
    assert_eq!(builder.clone().value_alignment(4).bytes_for(1, 24, 256), usize::MAX);
    assert_eq!(builder.clone().max_entry_bytes(100).bytes_for(1, 24, 256), usize::MAX);
    // With a higher limit or fewer entries, there is such a size.
    assert!(builder.clone().max_entry_bytes(2 << 20).bytes_for(1, 24, 1 << 20) < 32 << 20);
    assert!(builder.bytes_for(1 << 26, 0, 0) < usize::MAX);
    // The builder refuses `usize::MAX` like any other size that is too large.
    let error = builder.max_bytes(usize::MAX).build().unwrap_err();
    assert!(matches!(error, BuildError::TooManyBytes { .. }));
}
