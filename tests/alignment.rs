//! Values start at multiples of the cache's alignment, in every kind of memory, even if the
//! allocator aligns to no more than 8 bytes.
//!
//! This is a binary of its own because it sets the global allocator.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::time::Duration;

use bytecache::testing::Inspect;
use bytecache::{Cache, LoadError, Value};

mod support;
use support::{alone, assert_nothing_is_left, block_on, timed};

/// The system's allocator, except that a request for an alignment of at most 8 never gets 16.
struct Unaligned;

const SHIFT: usize = 8;

fn is_shifted(layout: Layout) -> bool {
    layout.align() <= SHIFT
}

fn larger(layout: Layout) -> Layout {
    Layout::from_size_align(layout.size() + SHIFT, 16).unwrap_or(layout)
}

// SAFETY: a shifted allocation lies inside one of `System` that is `SHIFT` bytes larger. `dealloc`
// returns that larger one.
unsafe impl GlobalAlloc for Unaligned {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !is_shifted(layout) {
            // SAFETY: the caller's duties are those of `System`.
            return unsafe { System.alloc(layout) };
        }
        // SAFETY: the caller's duties are those of `System`, and the size is not zero.
        let start = unsafe { System.alloc(larger(layout)) };
        if start.is_null() { start } else { start.wrapping_add(SHIFT) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if !is_shifted(layout) {
            // SAFETY: `alloc` got the allocation from `System` with this layout.
            return unsafe { System.dealloc(pointer, layout) };
        }
        // SAFETY: `alloc` got the allocation from `System` with the larger layout, `SHIFT` bytes
        // before `pointer`.
        unsafe { System.dealloc(pointer.wrapping_sub(SHIFT), larger(layout)) }
    }
}

#[global_allocator]
static ALLOCATOR: Unaligned = Unaligned;

const ALIGNMENTS: [usize; 3] = [1, 8, 16];
const SECOND: Duration = Duration::from_secs(1);

#[track_caller]
fn assert_aligned(value: &[u8], alignment: usize) {
    assert_eq!(value.as_ptr().addr() % alignment, 0, "{} bytes at an alignment of {alignment}", value.len());
}

/// Inserts entries and holds their values until a read returns a copy. Returns the held values.
fn hold_a_quarter(cache: &Cache) -> Vec<Value> {
    let mut held = Vec::new();
    for number in 0..10_000_u32 {
        cache.insert(number.to_le_bytes(), [3; 100]).unwrap();
        let copies = cache.stats().copied_values;
        held.extend(cache.get(number.to_le_bytes()));
        if cache.stats().copied_values > copies {
            return held;
        }
    }
    panic!("no value was copied");
}

#[test]
fn values_start_at_multiples_of_their_alignment() {
    let _alone = alone();
    for alignment in [1, 8, 16] {
        let builder = Cache::builder().max_bytes(256 << 10).value_alignment(alignment);
        let cache = builder.build().unwrap();
        for len in 0..2_000_usize {
            let key = [&len.to_le_bytes()[..], &vec![7; len % 60]].concat();
            cache.insert(&key, vec![8; len]).unwrap();
            cache.view(&key, |value| {
                assert_eq!(value.as_ptr().addr() % alignment, 0);
                assert_eq!(value, vec![8; len]);
            });
        }
        // Cleaning moves entries, which stay aligned.
        cache.for_each(|_, value| assert_eq!(value.as_ptr().addr() % alignment, 0));
        assert!(cache.stats().evictions > 0);
        cache.validate();
    }
}

#[test]
fn the_allocator_of_this_test_aligns_to_eight_only() {
    let bytes = Box::new([0_u8; 100]);
    assert_eq!(bytes.as_ptr().addr() % 16, 8);
}

#[test]
fn copies_are_aligned_as_what_they_are_copies_of() {
    let _alone = alone();
    for alignment in ALIGNMENTS {
        let (cache, clock) = timed(|builder| builder.value_alignment(alignment).stale_for(SECOND));
        let held = hold_a_quarter(&cache);
        held.iter().for_each(|value| assert_aligned(value, alignment));
        for len in (0..70).chain([1_000, 65_535, 65_536, 100_000]) {
            let expected = vec![5; len];
            let key = format!("key {len}");
            let copies = cache.stats().copied_values;
            let store = || cache.insert_with_ttl(&key, &expected, SECOND).unwrap();
            let check = |value: Value| {
                assert_eq!(value, expected);
                assert_aligned(&value, alignment);
                assert_aligned(&value.clone(), alignment);
                #[cfg(feature = "bytes")]
                {
                    let bytes = bytes::Bytes::from(value);
                    assert_aligned(&bytes, alignment);
                    assert_aligned(&bytes.clone(), alignment);
                }
            };
            store();
            check(cache.get(&key).unwrap());
            check(cache.peek(&key).unwrap());
            check(cache.get_or_stale(&key).unwrap().into_value());
            check(cache.get_or_load(&key, || Err::<&str, _>("is there")).unwrap());
            check(cache.take(&key).unwrap());
            // The load's value is stored, but its chunk cannot be pinned.
            check(cache.get_or_load(&key, || Ok::<_, String>(&expected)).unwrap());
            store();
            clock.advance(SECOND + SECOND / 2);
            check(cache.get_or_stale(&key).unwrap().into_value());
            let failing = cache.loader().stale_for(SECOND).build(|_| Err::<&str, _>("the store is down")).unwrap();
            check(failing.get(&key).unwrap());
            assert!(cache.stats().copied_values > copies, "no value of {len} bytes was copied");
        }
        drop(held);
        assert_nothing_is_left(&cache);
    }
}

#[test]
fn values_of_loads_that_were_not_stored_are_aligned() {
    let _alone = alone();
    for alignment in ALIGNMENTS {
        let (cache, _) = timed(|builder| builder.value_alignment(alignment));
        let check = |value: &Value, len: usize| {
            assert_eq!(value.len(), len);
            assert_aligned(value, alignment);
            assert_aligned(&value.clone(), alignment);
        };
        for len in (0..70).chain([1_000]) {
            let expected = vec![5; len];
            // The key changes during the load.
            let detached = cache.get_or_load("key", || {
                cache.remove("key");
                Ok::<_, String>(&expected)
            });
            check(&detached.unwrap(), len);
            assert!(!cache.contains_key("key"));
            // The key is too long to be stored.
            check(&cache.get_or_load(vec![7; 70_000], || Ok::<_, String>(&expected)).unwrap(), len);
            let loaded = block_on(cache.get_or_load_async(vec![7; 70_000], async || Ok::<_, String>(&expected)));
            check(&loaded.unwrap(), len);
            let many = cache.get_or_load_many(&[vec![7; 70_000], vec![8; 70_000]], |missing| {
                Ok::<_, String>(missing.iter().map(|_| Some(&expected)).collect())
            });
            many.unwrap().iter().flatten().for_each(|value| check(value, len));
        }
        // The value is too large.
        for more in 1..20 {
            let len = cache.max_entry_bytes() + more;
            check(&cache.get_or_load("key", || Ok::<_, String>(vec![5; len])).unwrap(), len);
        }
        assert!(matches!(cache.get_or_load("key", || Err::<&str, _>("!")), Err(LoadError::Failed(_))));
        assert_nothing_is_left(&cache);
    }
}
