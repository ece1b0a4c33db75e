//! Resident memory follows the limit.
//!
//! This is a binary of its own, because it measures its process, and starts it again for each test.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use bytecache::testing::Inspect;
use bytecache::{Cache, Policy};

const MAX_BYTES: usize = 64 << 20;
/// Bytes for the allocator's own pages, for threads, and for pages that are only partly used.
const SLACK: usize = MAX_BYTES / 10 + (8 << 20);

/// Returns the process's resident memory in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
    // Pages have 4 KiB on x86-64. On systems with larger pages the result is too small, and the
    // test too easy.
    pages * 4096
}

fn fill(cache: &Cache, bytes: usize, value_len: usize) {
    let value = vec![0x5a; value_len];
    for key in 0..(bytes / (value_len + 32)) as u64 {
        cache.insert(key.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes(), &value).unwrap();
    }
}

/// Environment variable that makes glibc map large allocations, such as a policy's arrays, and give
/// them back at once. Otherwise glibc keeps up to 32 MiB of freed memory, which a test cannot tell
/// from the cache's.
const THRESHOLD: &str = "MALLOC_MMAP_THRESHOLD_";

/// Returns `true` in a process that was started for the test alone. Otherwise runs the test in such
/// a process and returns `false`.
fn is_alone(test: &str) -> bool {
    if std::env::var_os(THRESHOLD).is_some() {
        return true;
    }
    // glibc reads the variable when a process starts.
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", test, "--nocapture"]).env(THRESHOLD, "65536");
    assert!(again.status().unwrap().success());
    false
}

/// Checks that at most `most` bytes are resident beyond `before`.
#[track_caller]
fn assert_resident(before: usize, most: usize, what: &str) {
    let after = resident().saturating_sub(before);
    assert!(after <= most, "{what}: {after} bytes are resident, more than {most}");
}

#[test]
fn resident_memory_follows_the_limit() {
    if !is_alone("resident_memory_follows_the_limit") {
        return;
    }
    // A policy for each kind of memory: links, links and exact ghosts, steps, a sketch, a heap,
    // queues and sets of ghosts, and the default.
    let kinds =
        [Policy::Lru, Policy::Arc, Policy::Lfu, Policy::TinyLfu, Policy::Gdsf, Policy::S3Fifo, Policy::Adaptive];
    for policy in kinds {
        // The second case stores larger entries and then the smallest. Index and policy grow at the
        // expense of a full ring.
        for value_lens in [&[100_000][..], &[1_000, 1]] {
            let before = resident();
            let cache = Cache::builder().max_bytes(MAX_BYTES).policy(policy).build().unwrap();
            assert!(resident() < before + (8 << 20), "an empty cache takes its whole memory");
            fill(&cache, MAX_BYTES / 4, value_lens[0]);
            let (quarter, counted) = (resident() - before, cache.memory().allocated);
            assert!(quarter < counted + SLACK, "{quarter} bytes are resident, {counted} are counted");
            for &value_len in value_lens {
                fill(&cache, MAX_BYTES + MAX_BYTES / 4, value_len);
                let (full, counted) = (resident() - before, cache.memory().allocated);
                assert!(cache.stats().evictions > 0 && counted <= MAX_BYTES);
                assert!(full < MAX_BYTES + SLACK, "{full} bytes are resident with {policy}, {value_len} bytes a value");
                assert!(full > counted / 2, "{full} bytes are resident, but {counted} are counted");
            }
            drop(cache);
            let after = resident().saturating_sub(before);
            assert!(after < SLACK, "{after} bytes stay resident after the cache with {policy} was dropped");
        }
    }
}

#[test]
fn resident_memory_follows_a_lower_limit() {
    if !is_alone("resident_memory_follows_a_lower_limit") {
        return;
    }
    const LITTLE: usize = 4 << 20;
    const LOWER: usize = 16 << 20;
    for policy in [Policy::Lru, Policy::Arc, Policy::Adaptive] {
        for value_len in [1, 1_000] {
            let before = resident();
            let cache = Cache::builder().max_bytes(MAX_BYTES).policy(policy).build().unwrap();
            fill(&cache, MAX_BYTES + MAX_BYTES / 4, value_len);
            assert!(resident() - before > MAX_BYTES / 2, "{policy}: the cache was not full");
            cache.set_max_bytes(LOWER).unwrap();
            while cache.maintain() {}
            assert!(cache.memory().max == LOWER && cache.memory().live > LOWER / 8, "{:?}", cache.memory());
            assert_resident(before, LOWER + LITTLE, &format!("{policy}, {value_len} bytes a value"));
        }
    }
}

#[test]
fn memory_comes_back_with_clear_and_with_the_drop_whatever_values_hold() {
    if !is_alone("memory_comes_back_with_clear_and_with_the_drop_whatever_values_hold") {
        return;
    }
    const LITTLE: usize = 4 << 20;
    let before = resident();
    for listens in [false, true] {
        for holds in [false, true] {
            let builder = Cache::builder().max_bytes(MAX_BYTES).shards(1);
            let builder = if listens { builder.on_removal(|_, _, _| {}) } else { builder };
            let cache = builder.build().unwrap();
            fill(&cache, 2 * MAX_BYTES, 200);
            cache.insert("held", [1; 200]).unwrap();
            let mut held = holds.then(|| cache.get("held").unwrap());
            cache.clear();
            assert_resident(before, LITTLE + cache.memory().policy, "after clear");
            assert!(cache.memory().chunks <= 1 << 20, "{:?}", cache.memory());
            cache.validate();
            // The cleared cache works like any other, and the held value stays.
            fill(&cache, MAX_BYTES, 200);
            assert!(cache.memory().live > MAX_BYTES / 2);
            cache.insert("held", [2; 200]).unwrap();
            let second = holds.then(|| cache.get("held").unwrap());
            drop(cache);
            assert_resident(before, LITTLE, "after the drop");
            if let (Some(first), Some(second)) = (held.take(), second) {
                assert!(first == [1; 200] && second == [2; 200]);
            }
        }
    }
    assert_resident(before, LITTLE, "after the last value");
}

#[test]
fn few_entries_in_many_shards_take_little_more_than_is_counted() {
    if !is_alone("few_entries_in_many_shards_take_little_more_than_is_counted") {
        return;
    }
    let before = resident();
    let cache = Cache::builder().max_bytes(16 << 30).shards(256).build().unwrap();
    fill(&cache, 2_000 * 33, 1);
    let counted = cache.memory().allocated;
    assert_resident(before, counted + (16 << 20), "2,000 entries in 256 shards");
}
