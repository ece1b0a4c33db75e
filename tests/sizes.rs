//! Entries of every size together, from one byte to the largest.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]
#![allow(clippy::cast_possible_truncation, reason = "small random numbers")]

use std::sync::Mutex;

use bytecache::{Cache, Policy, StableHash};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// One test at a time: a thread that is put aside in the middle of another test's read would have inserts rejected.
static ALONE: Mutex<()> = Mutex::new(());

/// Sizes spread evenly over their orders of magnitude, so that runs of chunks and small entries get in each other's way.
fn mixed(policy: Policy, max_bytes: usize) {
    let cache = Cache::builder().max_bytes(max_bytes).shards(1).policy(policy).hasher(StableHash::with_seed(3));
    let cache = cache.build().unwrap();
    let value = vec![7; cache.max_entry_bytes() - 8];
    let mut random = SmallRng::seed_from_u64(1);
    for step in 0..20_000 {
        let key = random.random_range(0..2_000_u64).to_le_bytes();
        let len = (value.len() as f64).powf(random.random()) as usize;
        if !cache.contains_key(key) {
            cache.insert(key, &value[..len]).expect("nobody holds any space");
        }
        if step % 500 == 0 {
            cache.validate();
        }
    }
    let (live, stats) = (cache.memory().live, cache.stats());
    // GDSF soon keeps most of the small entries, and evicts little.
    let least_evictions = if policy == Policy::Gdsf { 500 } else { 1_000 };
    assert!(stats.evictions > least_evictions, "{policy}: {stats:?}");
    // Of the smallest shard their arrays are a good part, and a large entry that has just left is an eighth.
    let is_heavy = matches!(policy, Policy::Gdsf | Policy::TinyLfu | Policy::Adaptive) && max_bytes == 64 << 10;
    let least_live = if is_heavy { max_bytes / 3 } else { max_bytes / 2 };
    assert!(live > least_live, "{policy}: only {live} of {max_bytes} bytes are live");
    assert!(stats.write_amplification() < 3.0, "{stats:?}");
}

#[test]
fn nothing_is_rejected_while_nobody_holds_space() {
    let _alone = ALONE.lock();
    for &policy in Policy::ALL {
        for max_bytes in [64 << 10, 256 << 10, 1 << 20, 8 << 20] {
            mixed(policy, max_bytes);
        }
    }
}

#[test]
fn entries_of_half_a_chunk_and_more_are_kept_without_much_copying() {
    let _alone = ALONE.lock();
    // 16 KiB chunks; sizes around their halves leave the least room beside each other.
    for len in [7_000, 8_150, 8_300, 11_000, 16_000, 16_500, 20_000] {
        let cache = Cache::builder().max_bytes(8 << 20).shards(1).build().unwrap();
        for key in 0..5_000_u64 {
            cache.insert(key.to_le_bytes(), vec![7; len]).unwrap();
        }
        cache.validate();
        let (live, stats) = (cache.memory().live, cache.stats());
        assert!(live > 3 << 20, "{len}: only {live} bytes are live");
        assert!(stats.write_amplification() < 3.0, "{len}: {stats:?}");
    }
}
