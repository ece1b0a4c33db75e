//! The cache's allocations stay within its limit, and its hot paths allocate nothing.
//!
//! This is a binary of its own because it sets the global allocator. It counts for each thread, so
//! that the harness is not counted. One test runs at a time, because any thread may run the calls
//! that another has deferred.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::future::Future;
use std::hash::{BuildHasherDefault, Hasher};
use std::hint::black_box;
use std::task::{Context, Waker};
use std::time::Duration;

use bytecache::testing::Inspect;
use bytecache::{Advisor, Cache, Memory, Policy, StableHash};

mod support;
use support::alone;

/// The system's allocator, with counters.
struct Counting;

thread_local! {
    static LIVE_BYTES: Cell<isize> = const { Cell::new(0) };
    static MOST_BYTES: Cell<isize> = const { Cell::new(0) };
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: passes every call on to `System`. The counters are cells, which allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        LIVE_BYTES.set(LIVE_BYTES.get() + signed(layout.size()));
        MOST_BYTES.set(MOST_BYTES.get().max(LIVE_BYTES.get()));
        // SAFETY: the caller's duties are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE_BYTES.set(LIVE_BYTES.get() - signed(layout.size()));
        // SAFETY: the caller's duties are those of `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Converts a size. It is exact, because an allocation has at most `isize::MAX` bytes.
fn signed(bytes: usize) -> isize {
    isize::try_from(bytes).unwrap_or(isize::MAX)
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `work`. Returns its result, the number of its allocations, and the peak of live bytes above
/// those before it.
fn counted<R>(work: impl FnOnce() -> R) -> (R, usize, usize) {
    let (calls, live) = (CALLS.get(), LIVE_BYTES.get());
    MOST_BYTES.set(live);
    let result = work();
    (result, CALLS.get() - calls, (MOST_BYTES.get() - live).unsigned_abs())
}

/// Size in bytes from which every region is mapped, so that the allocator does not see it
/// (`src/region.rs`). Some smaller regions are mapped, too.
const MAPPED_FROM: usize = 64 << 10;
/// Bytes that each thread registers once and that belong to no cache: its record and its epoch
/// data.
const THREAD: usize = 8 << 10;

/// Builds a cache. If `deadlines` is `true`, its entries have a time to live and a time to idle.
fn build(max_bytes: usize, shards: usize, policy: Policy, deadlines: bool) -> Cache {
    const HOUR: Duration = Duration::from_secs(3600);
    let builder = Cache::builder().max_bytes(max_bytes).shards(shards).policy(policy);
    let builder = if deadlines { builder.ttl(HOUR).time_to_idle(HOUR) } else { builder };
    builder.hasher(StableHash::with_seed(1)).build().unwrap()
}

/// Returns all policies without deadlines, and four with deadlines: one of queues, one of a list,
/// one of large arrays, and the default.
fn all_kinds() -> impl Iterator<Item = (Policy, bool)> {
    let with_deadlines = [Policy::S3Fifo, Policy::Lru, Policy::Arc, Policy::Adaptive].map(|policy| (policy, true));
    Policy::ALL.iter().map(|&policy| (policy, false)).chain(with_deadlines)
}

fn key(number: u32) -> [u8; 4] {
    number.wrapping_mul(0x9e37_79b1).to_le_bytes()
}

/// Fills a cache with the smallest entries, a key and one byte. Index and policy grow as far as
/// they can.
fn fill(cache: &Cache, keys: u32) {
    for number in 0..keys {
        cache.insert(key(number), [1]).unwrap();
    }
}

fn heap_stays_within_the_limit(max_bytes: usize, shards: usize, (policy, deadlines): (Policy, bool)) {
    let build = || build(max_bytes, shards, policy, deadlines);
    heap_of_stays_within_the_limit(build, max_bytes, shards, &format!("{policy}, deadlines: {deadlines}"));
}

fn heap_of_stays_within_the_limit(build: impl FnOnce() -> Cache, max_bytes: usize, shards: usize, kind: &str) {
    const STEP: u32 = 16;
    let before = LIVE_BYTES.get();
    let cache = build();
    for first in (0..u32::try_from(max_bytes / 16).unwrap()).step_by(STEP as usize) {
        // A key and one byte is the smallest entry, so index and policy grow as far as they can.
        let ((), _, more) =
            counted(|| (first..first + STEP).for_each(|number| cache.insert(key(number), [1]).unwrap()));
        let heap = (LIVE_BYTES.get() - before).unsigned_abs().max(more);
        let memory = cache.memory();
        // The allocator does not see mapped arenas and tables, so their sizes are taken from
        // `memory`. The arenas of shards of this size are mapped.
        let chunks = if max_bytes / shards >= 2 * MAPPED_FROM { memory.chunks } else { 0 };
        let index = if memory.index / shards >= MAPPED_FROM { memory.index } else { 0 };
        assert!(
            heap + chunks + index <= max_bytes + THREAD,
            "{kind}, {shards} shards: {heap} bytes of the heap, {chunks} and {index} mapped: {memory:?}"
        );
    }
    assert!(cache.stats().evictions > 0 && cache.stats().index_growths > 0);
}

fn hits_of_all_kinds_allocate_nothing(cache: &Cache, keys: &[[u8; 4]]) {
    let mut buffer = Vec::with_capacity(100);
    let mut hits = 0;
    // The first read registers this thread as a reader and allocates the values' counts.
    drop(cache.get(keys[0]));
    let (_, calls, _) = counted(|| {
        for _ in 0..5 {
            for key in keys {
                hits += usize::from(cache.view(key, |value| black_box(value.len())).is_some());
                hits += usize::from(cache.get(key).is_some());
                hits += usize::from(cache.get_into(key, &mut buffer));
                hits += usize::from(cache.contains_key(key));
            }
            cache.get_many(keys, |_, value| hits += usize::from(value.is_some()));
        }
    });
    assert!(hits > 10 * keys.len());
    assert_eq!((calls, cache.stats().copied_values), (0, 0), "allocations in {hits} hits");
    let (_, calls, _) = counted(|| {
        for number in 0..10_000_u32 {
            assert!(cache.get([number.to_le_bytes(), [0xff; 4]].concat().as_slice()).is_none());
        }
    });
    assert_eq!(calls, 10_000, "a miss allocates more than this test's own key");
}

fn inserts_do_not_allocate(cache: &Cache) {
    const INSERTS: u32 = 50_000;
    let value = [3; 40];
    for number in 0..100_000 {
        cache.insert(key(number), value).unwrap();
    }
    let growths = cache.stats().index_growths;
    let (_, calls, _) = counted(|| {
        for number in 100_000..100_000 + INSERTS {
            cache.insert(key(number), value).unwrap();
        }
    });
    assert_eq!(cache.stats().index_growths, growths, "the state was not steady");
    assert_eq!(calls, 0, "allocations in {INSERTS} inserts");
}

#[test]
fn heap_and_mappings_stay_within_the_limit() {
    let _alone = alone();
    for kind in all_kinds() {
        for (max_bytes, shards) in [(1 << 20, 1), (4 << 20, 1), (4 << 20, 4)] {
            heap_stays_within_the_limit(max_bytes, shards, kind);
        }
    }
}

#[test]
fn heap_stays_within_the_limit_when_shards_are_too_small_to_be_mapped() {
    let _alone = alone();
    for kind in all_kinds() {
        for (max_bytes, shards) in [(64 << 10, 1), (1 << 20, 16), (3 << 20, 32)] {
            heap_stays_within_the_limit(max_bytes, shards, kind);
        }
    }
}

#[test]
fn heap_stays_within_the_limit_with_an_advisor() {
    let _alone = alone();
    for policy in [Policy::Lru, Policy::Adaptive] {
        for (max_bytes, shards) in [(1 << 20, 1), (4 << 20, 4), (3 << 20, 32)] {
            let builder = Cache::builder().max_bytes(max_bytes).shards(shards).policy(policy);
            let builder = builder.advisor(Advisor::new().share(1.0)).hasher(StableHash::with_seed(1));
            heap_of_stays_within_the_limit(|| builder.build().unwrap(), max_bytes, shards, "with an advisor");
        }
    }
}

/// A hasher that leads all keys to one home.
#[derive(Clone, Copy, Default)]
struct Constant;

impl Hasher for Constant {
    fn write(&mut self, _bytes: &[u8]) {}
    fn finish(&self) -> u64 {
        1 << 60
    }
}

#[test]
fn a_step_that_has_moved_many_entries_leaves_no_memory_behind() {
    let _alone = alone();
    let before = LIVE_BYTES.get();
    let hasher = BuildHasherDefault::<Constant>::default();
    let builder = Cache::builder().max_bytes(4 << 20).shards(1).policy(Policy::Lru);
    let cache = builder.hasher(hasher).build().unwrap();
    for number in 0..4_000 {
        cache.insert(key(number), [1]).unwrap();
        let heap = (LIVE_BYTES.get() - before).unsigned_abs();
        let memory = cache.memory();
        // Chunks and index are mapped.
        let counted = memory.allocated - memory.chunks - memory.index;
        assert!(heap <= counted + THREAD, "{heap} bytes of the heap after {number} entries: {memory:?}");
    }
    assert!(cache.stats().index_growths > 1);
}

#[test]
fn the_scratch_memory_of_a_step_that_moves_many_entries_is_within_the_limit() {
    const MAX_BYTES: usize = 256 << 10;
    let _alone = alone();
    for policy in [Policy::Fifo, Policy::Clock] {
        let before = LIVE_BYTES.get();
        let hasher = BuildHasherDefault::<Constant>::default();
        let builder = Cache::builder().max_bytes(MAX_BYTES).shards(1).policy(policy);
        let cache = builder.hasher(hasher).build().unwrap();
        // The smaller entries make the index grow at the expense of a full ring.
        for (keys, value_len) in [(0..1_000, 300), (1_000..6_000, 1)] {
            for number in keys {
                let mapped = |memory: Memory| memory.chunks + memory.index;
                let (heap, memory) = (LIVE_BYTES.get().abs_diff(before), cache.memory());
                let ((), _, more) = counted(|| cache.insert(key(number), vec![7; value_len]).unwrap());
                let (peak, mapped) = (heap + more, mapped(memory).min(mapped(cache.memory())));
                // Small arrays of a policy are copied when they grow.
                let most = MAX_BYTES + THREAD + memory.policy;
                assert!(peak + mapped <= most, "{policy}: {peak} bytes of the heap, {mapped} mapped: {memory:?}");
            }
        }
        assert!(cache.stats().index_growths > 1 && cache.len() > 2_000, "{policy}: {} entries", cache.len());
        cache.validate();
    }
}

/// The entries are so large that index and policy stay small.
#[test]
fn the_tables_of_a_ring_become_larger_and_smaller_without_a_copy() {
    let _alone = alone();
    let builder = Cache::builder().max_bytes(1 << 20).max_bytes_ceiling(64 << 20).shards(1).policy(Policy::Fifo);
    let cache = builder.hasher(StableHash::with_seed(1)).build().unwrap();
    let value = vec![7; cache.max_entry_bytes() - 4];
    let first = cache.memory().overhead;
    cache.set_max_bytes(64 << 20).unwrap();
    for number in 0..1_000 {
        let ((), _, heap) = counted(|| cache.insert(key(number), &value).unwrap());
        assert!(heap <= THREAD, "{heap} bytes of the heap with {number} entries");
    }
    let largest = cache.memory().overhead;
    assert!(largest - first > 1 << 20, "{first}, then {largest} bytes beside the chunks");
    for (max_bytes, overhead) in [(40 << 20, largest / 4 * 3), (1 << 20, first)] {
        cache.set_max_bytes(max_bytes).unwrap();
        let mut has_more = true;
        while has_more {
            let (more, _, heap) = counted(|| cache.maintain());
            assert!(heap <= THREAD, "{heap} bytes of the heap: {:?}", cache.memory());
            has_more = more;
        }
        assert!(cache.memory().overhead <= overhead, "{:?}", cache.memory());
    }
}

/// Returns a full cache of 1 MiB in one shard.
fn full((policy, deadlines): (Policy, bool)) -> Cache {
    let cache = build(1 << 20, 1, policy, deadlines);
    fill(&cache, 60_000);
    cache
}

#[test]
fn hits_allocate_nothing() {
    let _alone = alone();
    for kind in all_kinds() {
        let cache = full(kind);
        let mut keys = Vec::new();
        cache.for_each(|key, _| keys.push(<[u8; 4]>::try_from(key).unwrap()));
        keys.truncate(2_000);
        hits_of_all_kinds_allocate_nothing(&cache, &keys);
    }
}

#[test]
fn loads_under_way_take_what_is_said_of_them_and_stay_within_the_limit() {
    const LOADS: u32 = 1_500;
    let _alone = alone();
    let cache = build(8 << 20, 1, Policy::Lru, false);
    let load = |number: u32| {
        let cache = cache.clone();
        let load = async || std::future::pending::<Result<[u8; 1], ()>>().await;
        let key = [key(number), [7; 4]].concat();
        Box::pin(async move { cache.get_or_load_async(key, load).await })
    };
    // A third of the calls lead, the others follow.
    let mut futures: Vec<_> = (0..3 * LOADS).map(|number| load(number % LOADS)).collect();
    let mut context = Context::from_waker(Waker::noop());
    let ((), _, heap) = counted(|| {
        for future in &mut futures {
            assert!(future.as_mut().poll(&mut context).is_pending());
        }
    });
    let memory = cache.memory();
    let loads = LOADS as usize;
    assert_eq!((cache.loads_under_way(), cache.stats().unshared_loads), ((loads, 2 * loads), 0));
    assert!(heap <= memory.flights + THREAD, "{heap} bytes of the heap: {memory:?}");
    assert!(memory.flights <= 2 * heap && memory.allocated <= memory.max, "{heap} bytes of the heap: {memory:?}");
    drop(futures);
    assert_eq!(cache.memory().flights, 0);
}

#[test]
fn inserts_in_the_steady_state_allocate_nothing() {
    let _alone = alone();
    for kind in all_kinds() {
        inserts_do_not_allocate(&full(kind));
    }
}
