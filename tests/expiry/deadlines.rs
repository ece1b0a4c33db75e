//! Deadlines at their borders, the space of expired entries, and unusual clocks.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytecache::policy::{EntryId, EvictionPolicy, Newcomer, Residents};
use bytecache::testing::Inspect;
use bytecache::{
    BuildError, Cache, CacheBuilder, Clock, Lifetime, ManualClock, Policy, Remaining, StableHash, SystemClock, TICK,
};

use crate::support::alone;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

fn builder() -> CacheBuilder {
    Cache::builder().max_bytes(1 << 20).shards(1).policy(Policy::Lru).hasher(StableHash::with_seed(1))
}

/// Builds a cache with one shard, and its clock, which does not start at zero.
fn cache_with(options: impl FnOnce(CacheBuilder) -> CacheBuilder) -> (Cache, ManualClock) {
    let clock = ManualClock::new();
    clock.set(1_000_000 * TICK);
    (options(builder().clock(clock.clone())).build().unwrap(), clock)
}

fn cache() -> (Cache, ManualClock) {
    cache_with(|builder| builder)
}

/// Returns `true` if reads find `key`. Checks that all kinds of reads that move no idle deadline
/// agree.
fn is_there(cache: &Cache, key: &str) -> bool {
    let seen = cache.contains_key(key);
    assert_eq!(cache.peek(key).is_some(), seen);
    assert_eq!(cache.ttl(key).is_some(), seen);
    let mut listed = false;
    cache.for_each(|found, _| listed |= found == key.as_bytes());
    assert_eq!(listed, seen);
    cache.validate();
    seen
}

/// Like [`is_there`], but with the kinds of reads that move idle deadlines.
fn is_read(cache: &Cache, key: &str) -> bool {
    let seen = cache.get(key).is_some();
    assert_eq!(cache.view(key, |_| ()).is_some(), seen);
    assert_eq!(cache.get_into(key, &mut Vec::new()), seen);
    assert_eq!(cache.touch(key), seen);
    let mut found = false;
    cache.get_many(&[key], |_, value| found = value.is_some());
    assert_eq!(found, seen);
    seen
}

fn left(cache: &Cache, key: &str) -> Duration {
    match cache.ttl(key).expect("an entry") {
        Remaining::For(left) => left,
        Remaining::Forever => panic!("{key} has no deadline"),
    }
}

// Borders.

#[test]
fn an_entry_is_there_until_the_tick_before_its_deadline_and_gone_at_it() {
    let _alone = alone();
    for ttl in [TICK, 2 * TICK, SECOND * 2, 63 * TICK, 64 * TICK, 65 * TICK, 4096 * TICK, YEAR, YEAR * 2] {
        let (cache, clock) = cache();
        cache.insert_with_ttl("key", "value", ttl).unwrap();
        let whole = ttl.as_nanos().div_ceil(TICK.as_nanos());
        let deadline = TICK * u32::try_from(whole).unwrap();
        assert_eq!(cache.ttl("key"), Some(Remaining::For(deadline)));
        clock.advance(deadline - TICK);
        assert!(is_there(&cache, "key") && is_read(&cache, "key"), "the tick before");
        assert_eq!(left(&cache, "key"), TICK);
        clock.advance(TICK - Duration::from_nanos(1));
        assert!(is_there(&cache, "key") && is_read(&cache, "key"), "the last nanosecond");
        clock.advance(Duration::from_nanos(1));
        assert!(!is_there(&cache, "key") && !is_read(&cache, "key"), "at the deadline");
        clock.advance(TICK);
        assert!(!is_there(&cache, "key") && !is_read(&cache, "key"), "after it");
        cache.maintain();
        assert_eq!((cache.len(), cache.memory().live, cache.stats().expirations), (0, 0, 1));
    }
}

#[test]
fn a_deadline_between_ticks_is_rounded_up() {
    let _alone = alone();
    let (cache, clock) = cache();
    clock.advance(Duration::from_millis(5));
    for (ttl, deadline) in [(1, 11), (11, 11), (12, 27), (27, 27), (28, 43)] {
        cache.insert_with_ttl("key", "value", Duration::from_millis(ttl)).unwrap();
        assert_eq!(left(&cache, "key"), Duration::from_millis(deadline), "of {ttl} ms");
    }
    cache.insert_with_ttl("key", "value", Duration::from_nanos(1)).unwrap();
    assert_eq!(left(&cache, "key"), Duration::from_millis(11));
}

#[test]
fn an_idle_entry_dies_and_every_counted_read_puts_that_off() {
    let _alone = alone();
    type Read = fn(&Cache) -> bool;
    let reads: [Read; 6] = [
        |cache| cache.get("key").is_some(),
        |cache| cache.view("key", |_| ()).is_some(),
        |cache| cache.get_into("key", &mut Vec::new()),
        |cache| cache.touch("key"),
        |cache| cache.get_or_stale("key").is_some(),
        |cache| {
            let mut seen = false;
            cache.get_many(&["key"], |_, value| seen = value.is_some());
            seen
        },
    ];
    let idle = 100 * TICK;
    for read in reads {
        let (cache, clock) = cache_with(|builder| builder.time_to_idle(idle));
        cache.insert("key", "value").unwrap();
        for _ in 0..10 {
            clock.advance(idle - TICK);
            assert!(read(&cache));
            assert_eq!(left(&cache, "key"), idle);
        }
        // These reads do not extend the idle deadline.
        clock.advance(idle - TICK);
        assert!(is_there(&cache, "key"));
        cache.retain(|_, _| true);
        assert_eq!(left(&cache, "key"), TICK);
        clock.advance(TICK);
        assert!(!read(&cache) && !is_there(&cache, "key"));
        cache.maintain();
        assert_eq!((cache.len(), cache.stats().expirations), (0, 1));
    }
}

#[test]
fn of_two_deadlines_the_earlier_one_counts() {
    let _alone = alone();
    let (cache, clock) = cache_with(|builder| builder.ttl(10 * TICK).time_to_idle(4 * TICK));
    cache.insert("read", "value").unwrap();
    cache.insert("idle", "value").unwrap();
    for _ in 0..3 {
        clock.advance(3 * TICK);
        assert!(is_read(&cache, "read"));
    }
    assert!(!is_there(&cache, "idle"));
    assert_eq!(left(&cache, "read"), TICK);
    clock.advance(TICK);
    assert!(!is_there(&cache, "read"));
}

#[test]
fn an_entry_past_its_deadline_is_seen_by_get_or_stale_alone_until_its_stale_period_ends() {
    let _alone = alone();
    let (cache, clock) = cache_with(|builder| builder.ttl(10 * TICK).stale_for(5 * TICK));
    cache.insert("key", "value").unwrap();
    let fresh = cache.get_or_stale("key").unwrap();
    assert!(!fresh.is_stale() && !fresh.is_refresh_due());
    clock.advance(10 * TICK);
    for _ in 0..5 {
        assert!(!is_there(&cache, "key") && !is_read(&cache, "key"));
        let stale = cache.get_or_stale("key").unwrap();
        assert!(stale.is_stale() && stale.is_refresh_due());
        assert_eq!(*stale.value(), b"value");
        cache.maintain();
        assert_eq!(cache.len(), 1);
        clock.advance(TICK);
    }
    assert!(cache.get_or_stale("key").is_none());
    cache.maintain();
    assert_eq!(cache.len(), 0);
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.stale_hits, stats.expirations), (6, 5, 1));
}

#[test]
fn a_stale_entry_is_absent_to_all_who_do_not_ask_for_it() {
    let _alone = alone();
    let (cache, clock) = cache_with(|builder| builder.stale_for(MINUTE));
    let renew = || {
        cache.insert_with_ttl("key", "old", TICK).unwrap();
        clock.advance(TICK);
        assert!(cache.get_or_stale("key").is_some_and(|found| found.is_stale()));
    };
    renew();
    assert!(!cache.persist("key") && !cache.set_ttl("key", MINUTE).unwrap() && !cache.touch("key"));
    cache.for_each(|key, _| panic!("{key:?}"));
    cache.retain(|_, value| value == b"old");
    assert!(cache.get_or_stale("key").is_some(), "left alone");
    assert!(cache.insert_if_absent("key", "new").unwrap());
    assert_eq!(cache.get("key").unwrap(), b"new");
    renew();
    assert!(!cache.replace("key", "new").unwrap() && cache.get_or_stale("key").is_none(), "it is older");
    renew();
    cache.retain(|_, value| value != b"old");
    assert!(cache.get_or_stale("key").is_none());
    renew();
    assert!(!cache.remove("key") && cache.get_or_stale("key").is_none());
    renew();
    assert!(cache.take("key").is_none() && cache.get_or_stale("key").is_none());
    assert!(cache.is_empty());
}

#[test]
fn a_refresh_is_due_from_its_time_on() {
    let _alone = alone();
    let (cache, clock) = cache();
    let lifetime = Lifetime::new().ttl(10 * TICK).refresh_after(6 * TICK);
    cache.insert_with_lifetime("key", "value", lifetime).unwrap();
    cache.insert_with_lifetime("forever", "value", Lifetime::new().refresh_after(6 * TICK)).unwrap();
    let is_due = |key| cache.get_or_stale(key).is_some_and(|found| found.is_refresh_due());
    clock.advance(5 * TICK);
    assert!(!is_due("key") && !is_due("forever"));
    clock.advance(TICK);
    assert!(is_due("key") && is_due("forever") && is_there(&cache, "key"));
    clock.advance(4 * TICK);
    assert!(cache.get_or_stale("key").is_none() && is_there(&cache, "forever"));
    assert_eq!(cache.ttl("forever"), Some(Remaining::Forever));
}

// Changes of a lifetime.

#[test]
fn each_insert_says_anew_how_long_its_entry_lives() {
    let _alone = alone();
    let (cache, clock) = cache_with(|builder| builder.ttl(MINUTE));
    cache.insert("key", "a").unwrap();
    assert!(left(&cache, "key") >= MINUTE && left(&cache, "key") < MINUTE + TICK);
    cache.insert_with_ttl("key", "b", SECOND * 16).unwrap();
    assert_eq!(left(&cache, "key"), SECOND * 16);
    cache.insert_with_lifetime("key", "c", Lifetime::forever()).unwrap();
    assert_eq!(cache.ttl("key"), Some(Remaining::Forever));
    clock.advance(YEAR);
    assert_eq!(cache.get("key").unwrap(), b"c");
    assert!(cache.replace_with_lifetime("key", "d", Lifetime::new().ttl(16 * SECOND)).unwrap());
    assert_eq!(left(&cache, "key"), SECOND * 16);
    cache.insert("key", "e").unwrap();
    assert!(left(&cache, "key") >= MINUTE);
    assert_eq!(cache.ttl("other"), None);
}

#[test]
fn a_deadline_is_set_moved_and_taken_away_without_touching_the_value() {
    let _alone = alone();
    let (cache, clock) = cache();
    cache.insert_with_ttl("key", "value", MINUTE).unwrap();
    let value = cache.get("key").unwrap();
    let stored = cache.stats().inserted_bytes;
    assert!(cache.set_ttl("key", 10 * TICK).unwrap());
    clock.advance(9 * TICK);
    assert!(is_there(&cache, "key"));
    assert!(cache.set_ttl("key", 100 * TICK).unwrap());
    clock.advance(99 * TICK);
    assert!(is_there(&cache, "key"));
    assert!(cache.persist("key"));
    assert_eq!(cache.ttl("key"), Some(Remaining::Forever));
    clock.advance(YEAR * 3);
    cache.maintain();
    assert!(is_there(&cache, "key"));
    assert!(cache.set_ttl("key", 5 * TICK).unwrap());
    assert_eq!(cache.get("key").unwrap().as_ptr(), value.as_ptr(), "the entry was stored anew");
    assert_eq!((cache.stats().inserted_bytes, cache.stats().updates), (stored, 0));
    clock.advance(5 * TICK);
    assert!(!is_there(&cache, "key") && !cache.set_ttl("key", MINUTE).unwrap() && !cache.persist("key"));
}

#[test]
fn an_entry_without_a_deadline_is_given_one() {
    let _alone = alone();
    for key in ["key", &"k".repeat(300)] {
        let (cache, clock) = cache();
        cache.insert(key, "value").unwrap();
        assert!(cache.persist(key), "an entry without a deadline is present, too");
        assert!(cache.set_ttl(key, 10 * TICK).unwrap());
        assert_eq!(cache.get(key).unwrap(), b"value");
        cache.validate();
        clock.advance(9 * TICK);
        assert!(is_there(&cache, key));
        clock.advance(TICK);
        assert!(!is_there(&cache, key));
        assert!(!cache.set_ttl("other", MINUTE).unwrap());
    }
}

#[test]
fn an_idle_deadline_survives_a_new_time_to_live_and_not_a_persist() {
    let _alone = alone();
    let (cache, clock) = cache_with(|builder| builder.time_to_idle(10 * TICK));
    cache.insert("key", "value").unwrap();
    assert!(cache.set_ttl("key", 25 * TICK).unwrap());
    assert_eq!(left(&cache, "key"), 10 * TICK);
    clock.advance(9 * TICK);
    assert!(is_read(&cache, "key"));
    clock.advance(9 * TICK);
    assert!(is_read(&cache, "key"));
    assert_eq!(left(&cache, "key"), 7 * TICK);
    assert!(cache.persist("key"));
    clock.advance(1000 * TICK);
    assert!(is_read(&cache, "key"));
    assert_eq!(cache.ttl("key"), Some(Remaining::Forever));
}

#[test]
fn a_lifetime_of_zero_has_ended_already() {
    let _alone = alone();
    let (cache, _) = cache();
    cache.insert("key", "old").unwrap();
    cache.insert_with_ttl("key", "new", Duration::ZERO).unwrap();
    assert!(!is_there(&cache, "key") && cache.is_empty());
    cache.insert("key", "old").unwrap();
    cache.insert_with_lifetime("key", "new", Lifetime::new().time_to_idle(Duration::ZERO)).unwrap();
    assert!(!is_there(&cache, "key") && cache.is_empty());
    assert!(cache.insert_if_absent_with_lifetime("key", "new", Lifetime::new().ttl(Duration::ZERO)).unwrap());
    assert!(cache.is_empty());
    cache.insert("key", "value").unwrap();
    assert!(cache.set_ttl("key", Duration::ZERO).unwrap());
    assert!(!is_there(&cache, "key") && cache.is_empty());
    // With a stale period, the value is kept for `get_or_stale`.
    cache.insert_with_lifetime("key", "value", Lifetime::new().ttl(Duration::ZERO).stale_for(MINUTE)).unwrap();
    assert!(!is_there(&cache, "key"));
    assert!(cache.get_or_stale("key").is_some_and(|found| found.is_stale()));
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let _alone = alone();
    let kind = |builder: CacheBuilder| builder.build().unwrap_err();
    assert_eq!(kind(builder().ttl(Duration::ZERO)), BuildError::ZeroLifetime);
    assert_eq!(kind(builder().time_to_idle(Duration::ZERO)), BuildError::ZeroLifetime);
    for fraction in [-0.1, 1.01, f64::NAN, f64::INFINITY] {
        let error = builder().ttl_jitter(fraction).build().unwrap_err();
        assert!(matches!(error, BuildError::Jitter { fraction: seen } if seen.to_bits() == fraction.to_bits()));
        assert!(error.to_string().contains(&fraction.to_string()));
    }
    assert!(builder().ttl_jitter(1.0).stale_for(Duration::MAX).build().is_ok());
}

#[test]
fn lengths_beyond_the_horizon_live_to_it() {
    let _alone = alone();
    let half = YEAR / 2;
    for long in [YEAR * 3, Duration::MAX] {
        let (cache, clock) = cache();
        cache.insert_with_ttl("ttl", "value", long).unwrap();
        cache.insert_with_lifetime("both", "value", Lifetime::new().ttl(long).stale_for(long)).unwrap();
        cache.insert_with_lifetime("idle", "value", Lifetime::new().time_to_idle(long).stale_for(long)).unwrap();
        cache.insert_with_lifetime("short", "value", Lifetime::new().ttl(MINUTE).stale_for(long)).unwrap();
        cache.insert_with_lifetime("due", "value", Lifetime::forever().refresh_after(long)).unwrap();
        assert!((YEAR * 2..YEAR * 3).contains(&left(&cache, "ttl")));
        assert!((half * 3..YEAR * 2).contains(&left(&cache, "both")));
        assert!((half..YEAR).contains(&left(&cache, "idle")));
        assert!((MINUTE..MINUTE + TICK).contains(&left(&cache, "short")));
        assert!(!cache.get_or_stale("due").unwrap().is_refresh_due());
        for part in 1..=10 {
            clock.advance(YEAR / 5);
            assert!(is_there(&cache, "ttl") && is_read(&cache, "idle"));
            assert_eq!(is_there(&cache, "both"), part < 8);
            assert_eq!(cache.get_or_stale("short").is_some(), part < 3);
            assert!(part > 7 || cache.get_or_stale("due").unwrap().is_refresh_due() == (part > 2), "{part}");
            cache.maintain();
        }
        clock.advance(YEAR);
        assert!(!is_there(&cache, "ttl") && !is_there(&cache, "idle"));
    }
}

#[test]
fn a_long_stale_period_leaves_a_time_to_live_that_is_set_as_it_is() {
    let _alone = alone();
    for stale in [YEAR / 3, YEAR * 2, Duration::MAX] {
        let (cache, clock) = cache_with(|builder| builder.stale_for(stale));
        cache.insert("key", "value").unwrap();
        for ttl in [16 * SECOND, 30 * 24 * 60 * MINUTE, YEAR] {
            assert!(cache.set_ttl("key", ttl).unwrap());
            assert!(left(&cache, "key") >= ttl && left(&cache, "key") < ttl + TICK);
        }
        clock.advance(YEAR);
        assert!(!is_there(&cache, "key") && cache.get_or_stale("key").is_some());
    }
}

#[test]
fn a_long_time_to_idle_leaves_the_stale_period_as_it_is() {
    let _alone = alone();
    let (cache, clock) = cache_with(|builder| builder.time_to_idle(YEAR * 2));
    cache.insert_with_lifetime("key", "value", Lifetime::new().ttl(10 * TICK).stale_for(100 * TICK)).unwrap();
    clock.advance(109 * TICK);
    cache.maintain();
    assert!(cache.get_or_stale("key").is_some_and(|found| found.is_stale()));
    clock.advance(TICK);
    assert!(cache.get_or_stale("key").is_none());
}

#[test]
fn a_stale_period_is_kept_for_a_deadline_that_comes_later() {
    let _alone = alone();
    let (cache, clock) = cache();
    cache.insert_with_lifetime("key", "value", Lifetime::forever().stale_for(MINUTE)).unwrap();
    assert!(cache.set_ttl("key", TICK).unwrap());
    clock.advance(2 * TICK);
    assert!(cache.get_or_stale("key").is_some_and(|found| found.is_stale()));
}

#[test]
fn jitter_spreads_the_deadlines_of_inserts_over_its_fraction() {
    let _alone = alone();
    let ttl = 10_000 * TICK;
    let (cache, _) = cache_with(|builder| builder.ttl(ttl).ttl_jitter(0.25));
    let lengths: Vec<Duration> = (0..2_000)
        .map(|number| {
            let key = number.to_string();
            cache.insert(&key, "value").unwrap();
            left(&cache, &key)
        })
        .collect();
    assert!(lengths.iter().all(|&length| length >= ttl * 3 / 4 && length <= ttl));
    // Each tenth of the range contains about a tenth of the deadlines.
    for tenth in 0..10 {
        let from = ttl * 3 / 4 + ttl / 40 * tenth;
        let share = lengths.iter().filter(|&&length| length >= from && length < from + ttl / 40).count();
        assert!((140..260).contains(&share), "{share} of 2000 in tenth {tenth}");
    }
    assert!(cache.set_ttl("7", ttl).unwrap());
    assert_eq!(left(&cache, "7"), ttl);
    cache.insert_with_ttl("7", "value", ttl * 10).unwrap();
    assert!((ttl * 15 / 2..=ttl * 10).contains(&left(&cache, "7")));
}

// Space.

#[test]
fn the_space_of_what_has_expired_is_back_with_the_next_write_to_its_shard() {
    let _alone = alone();
    let (cache, clock) = cache();
    for number in 0..40 {
        cache.insert_with_ttl(format!("timed {number}"), [1; 100], 10 * TICK).unwrap();
    }
    clock.advance(9 * TICK);
    cache.insert("a", "b").unwrap();
    assert_eq!(cache.len(), 41);
    clock.advance(TICK);
    assert_eq!(cache.len(), 41, "entries left without a write");
    for write in 0..10 {
        cache.remove(format!("unknown {write}"));
    }
    assert_eq!((cache.len(), cache.stats().expirations), (1, 40));
    let alone = cache.memory().live;
    assert!(alone < 16, "{alone} bytes live");
    cache.validate();
}

/// Most entries that a write and a call of `maintain` may remove, as `docs::expiry` states.
const MOST_OF_A_WRITE: u64 = 48;
const MOST_OF_MAINTENANCE: u64 = 3_072;

#[test]
fn a_million_entries_with_one_deadline_go_step_by_step() {
    let _alone = alone();
    const ENTRIES: u32 = 1_000_000;
    let clock = ManualClock::new();
    let cache = builder().max_bytes(64 << 20).clock(clock.clone()).expected_entry_bytes(5).build().unwrap();
    let fill = || {
        for number in 0..ENTRIES {
            cache.insert_with_ttl(number.to_le_bytes(), [1], MINUTE).unwrap();
        }
        assert!(cache.len() >= ENTRIES as usize);
        clock.advance(MINUTE + TICK);
        cache.stats().expirations
    };
    let mut before = fill();
    let mut writes = 0_u32;
    while cache.len() > 1 {
        cache.insert("key", "value").unwrap();
        let expirations = cache.stats().expirations;
        assert!(expirations - before <= MOST_OF_A_WRITE, "{} in one write", expirations - before);
        before = expirations;
        writes += 1;
    }
    // Some buckets are not full, and some writes only move buckets down the levels of the wheel.
    assert!(writes <= ENTRIES / 12, "{writes} writes");
    let mut before = fill();
    let mut calls = 0;
    while cache.len() > 1 {
        cache.maintain();
        let expirations = cache.stats().expirations;
        assert!(expirations - before <= MOST_OF_MAINTENANCE, "{} in one call", expirations - before);
        before = expirations;
        calls += 1;
    }
    assert!(calls <= 1_500, "{calls} calls");
    cache.validate();
}

#[test]
fn a_deadline_costs_eight_bytes_at_most() {
    let _alone = alone();
    const ENTRIES: u32 = 400_000;
    // The live bytes and the wheel's bytes for each entry. The index is left out, because it is the
    // same in all three caches.
    let cost = |options: fn(CacheBuilder) -> CacheBuilder| {
        let builder = builder().max_bytes(128 << 20).expected_entry_bytes(60);
        let cache = options(builder).build().unwrap();
        for number in 0..ENTRIES {
            cache.insert(number.to_le_bytes(), [1; 56]).unwrap();
        }
        assert_eq!(cache.len(), ENTRIES as usize);
        let memory = cache.memory();
        let lanes = memory.index as f64 / 64.0 * 12.0;
        // The wheel's share is that of an index which is as full as it may be.
        let wheel = memory.wheels as f64 / lanes / 0.85;
        memory.live as f64 / f64::from(ENTRIES) + wheel
    };
    let plain = cost(|builder| builder);
    let with_ttl = cost(|builder| builder.ttl(MINUTE)) - plain;
    let with_idle = cost(|builder| builder.time_to_idle(MINUTE)) - plain;
    println!("bytes an entry: {plain:.2}; a time to live {with_ttl:.2} more, a time to idle {with_idle:.2}");
    assert!((4.0..8.0).contains(&with_ttl) && (4.0..8.0).contains(&with_idle));
}

#[test]
fn lifetimes_are_kept_while_entries_are_relocated_and_the_index_grows() {
    let _alone = alone();
    let (cache, clock) = cache_with(|builder| builder.max_bytes(2 << 20).time_to_idle(1000 * TICK));
    for number in 0..100_u32 {
        let lifetime = Lifetime::new().ttl(TICK * (500 + number)).stale_for(TICK * number);
        cache.insert_with_lifetime(format!("kept {number}"), [7; 50], lifetime).unwrap();
        // Neighbours that are evicted later.
        (0..10_u32).for_each(|other| cache.insert([number, other].map(u32::to_le_bytes).concat(), [1; 60]).unwrap());
    }
    clock.advance(100 * TICK);
    // Reads keep these entries in the cache, while others come and go around them.
    for number in 0..60_000_u32 {
        cache.insert(number.to_le_bytes(), [1; 60]).unwrap();
        cache.get(format!("kept {}", number % 100)).unwrap();
    }
    let stats = cache.stats();
    assert!(stats.index_growths > 0 && stats.relocated_bytes > 0 && stats.evictions > 0, "{stats:?}");
    for number in 0..100_u32 {
        assert_eq!(left(&cache, &format!("kept {number}")), TICK * (400 + number));
    }
    cache.validate();
    clock.advance(450 * TICK);
    for number in 0..100_u32 {
        let found = cache.get_or_stale(format!("kept {number}"));
        let fresh = number > 50;
        assert_eq!(found.as_ref().is_some_and(|found| !found.is_stale()), fresh);
        // Since the first advance, the deadline is at tick 400 + n, and the stale period has n
        // ticks.
        assert_eq!(found.is_some(), 2 * number > 50, "{number}");
    }
}

#[test]
fn the_smallest_caches_hold_entries_with_deadlines_too() {
    let _alone = alone();
    for policy in Policy::ALL {
        let clock = ManualClock::new();
        let cache = builder().max_bytes(64 << 10).policy(*policy).clock(clock.clone()).build().unwrap();
        // The index has the most lanes, and the ring the fewest spare chunks.
        for number in 0..20_000_u32 {
            cache.insert(number.to_le_bytes(), [1]).unwrap();
        }
        for number in 0..5_000_u32 {
            cache.insert_with_ttl(number.to_le_bytes(), [2; 20], TICK * (1 + number % 50)).unwrap();
            if number % 100 == 0 {
                clock.advance(TICK);
                cache.validate();
            }
        }
        let memory = cache.memory();
        assert!(memory.wheels > 0 && memory.allocated <= memory.max, "{policy}: {memory:?}");
        clock.advance(MINUTE);
        cache.maintain();
        cache.for_each(|_, value| assert_eq!(value, [1]));
    }
}

#[test]
fn a_held_value_outlives_its_deadline() {
    let _alone = alone();
    let (cache, clock) = cache();
    cache.insert_with_ttl("key", "value", TICK).unwrap();
    let value = cache.get("key").unwrap();
    clock.advance(TICK);
    cache.maintain();
    assert!(cache.is_empty());
    for number in 0..50_000_u32 {
        cache.insert(number.to_le_bytes(), [1; 60]).unwrap();
    }
    assert_eq!(value, b"value");
}

// Clocks.

/// A clock that counts its readings.
#[derive(Clone, Default)]
struct Counted(Arc<AtomicU64>);

impl Clock for Counted {
    fn now(&self) -> Duration {
        self.0.fetch_add(1, Ordering::Relaxed);
        SECOND
    }
}

#[test]
fn entries_without_a_deadline_never_read_the_clock() {
    let _alone = alone();
    let clock = Counted::default();
    let cache = builder().clock(clock.clone()).build().unwrap();
    let before = clock.0.load(Ordering::Relaxed);
    let work = || {
        for number in 0..50_000_u32 {
            cache.insert(number.to_le_bytes(), [1; 40]).unwrap();
        }
        cache.insert("key", "value").unwrap();
        assert!(is_there(&cache, "key") && is_read(&cache, "key") && cache.get_or_stale("key").is_some());
        assert!(cache.persist("key") && cache.replace("key", "value").unwrap() && cache.take("key").is_some());
        cache.retain(|_, value| value.len() > 1);
        cache.maintain();
    };
    work();
    assert_eq!(clock.0.load(Ordering::Relaxed), before);
    // The same holds after all entries with deadlines have left.
    cache.insert_with_ttl("timed", "value", MINUTE).unwrap();
    assert!(cache.remove("timed"));
    assert!(clock.0.load(Ordering::Relaxed) > before);
    cache.clear();
    let before = clock.0.load(Ordering::Relaxed);
    work();
    assert_eq!(clock.0.load(Ordering::Relaxed), before);
}

#[test]
fn a_clock_that_stands_still_stops_deadlines_and_nothing_else() {
    let _alone = alone();
    let (cache, _) = cache_with(|builder| builder.ttl(TICK).time_to_idle(TICK));
    for number in 0..50_000_u32 {
        cache.insert(number.to_le_bytes(), [1; 40]).unwrap();
        assert!(cache.get(number.to_le_bytes()).is_some());
    }
    assert_eq!(cache.stats().expirations, 0);
    cache.validate();
}

#[test]
fn a_clock_that_jumps_a_year_ahead_ends_what_it_passes_and_no_more() {
    let _alone = alone();
    for years in [1, 3, 50] {
        let (cache, clock) = cache();
        for number in 0..1_000_u32 {
            cache.insert_with_ttl(number.to_le_bytes(), "short", MINUTE).unwrap();
        }
        cache.insert_with_ttl("long", "value", YEAR * 2).unwrap();
        cache.insert("forever", "value").unwrap();
        clock.advance(YEAR * years);
        assert_eq!(is_there(&cache, "long"), years == 1);
        assert!((0..1_000_u32).all(|number| !cache.contains_key(number.to_le_bytes())));
        cache.insert_with_ttl("new", "value", MINUTE).unwrap();
        cache.validate();
        assert!(left(&cache, "new") >= MINUTE && left(&cache, "new") <= MINUTE + TICK);
        clock.advance(MINUTE - TICK);
        assert!(is_there(&cache, "new") && is_there(&cache, "forever"));
        clock.advance(3 * TICK);
        assert!(!is_there(&cache, "new"));
        (0..20).for_each(|_| _ = cache.maintain());
        assert_eq!(cache.len(), if years == 1 { 2 } else { 1 });
    }
}

#[test]
fn a_clock_that_goes_back_makes_nobody_die_early_and_keeps_nobody_for_long() {
    let _alone = alone();
    for back in [MINUTE, YEAR] {
        let (cache, clock) = cache();
        clock.advance(YEAR * 2);
        cache.insert_with_ttl("before", "value", 10 * SECOND).unwrap();
        clock.set(clock.now() - back);
        assert!(is_there(&cache, "before"));
        cache.insert_with_ttl("after", "value", 10 * SECOND).unwrap();
        cache.validate();
        clock.advance(10 * SECOND - TICK);
        assert!(is_there(&cache, "before") && is_there(&cache, "after"));
        clock.advance(3 * TICK);
        assert!(!is_there(&cache, "before") && !is_there(&cache, "after"));
        // The clock is set forward again, as if its first change had been a mistake.
        clock.advance(back);
        cache.insert_with_ttl("again", "value", 10 * SECOND).unwrap();
        clock.advance(10 * SECOND - TICK);
        assert!(is_there(&cache, "again"));
        clock.advance(3 * TICK);
        assert!(!is_there(&cache, "again"));
    }
}

#[test]
fn a_clock_may_start_anywhere() {
    let _alone = alone();
    for start in [Duration::ZERO, Duration::from_nanos(1), YEAR * 500, Duration::from_nanos(u64::MAX) - YEAR] {
        let clock = ManualClock::new();
        clock.set(start);
        let cache = builder().clock(clock.clone()).build().unwrap();
        cache.insert_with_ttl("key", "value", MINUTE).unwrap();
        clock.advance(MINUTE - TICK);
        assert!(is_there(&cache, "key"));
        clock.advance(3 * TICK);
        assert!(!is_there(&cache, "key"));
    }
}

#[test]
fn the_lag_of_a_clock_is_added_to_every_deadline() {
    let _alone = alone();
    struct Lagging(ManualClock);
    impl Clock for Lagging {
        fn now(&self) -> Duration {
            self.0.now()
        }
        fn max_lag(&self) -> Duration {
            3 * TICK
        }
    }
    let cache = builder().clock(Lagging(ManualClock::new())).time_to_idle(10 * TICK).build().unwrap();
    cache.insert("key", "value").unwrap();
    assert_eq!(left(&cache, "key"), 13 * TICK);
    cache.insert_with_lifetime("key", "value", Lifetime::new().ttl(5 * TICK)).unwrap();
    assert_eq!(left(&cache, "key"), 8 * TICK);
    assert_eq!(SystemClock.max_lag(), TICK);
}

#[test]
fn with_the_system_clock_entries_come_and_go_in_real_time() {
    let _alone = alone();
    let cache = builder().build().unwrap();
    cache.insert_with_ttl("key", "value", 5 * TICK).unwrap();
    let inserted = std::time::Instant::now();
    // Reads follow each other at once, so the last one that found the entry came at most this long
    // after the insert.
    while cache.contains_key("key") {}
    assert!(inserted.elapsed() >= 5 * TICK, "died after {:?}", inserted.elapsed());
    cache.insert_with_ttl("key", "value", YEAR).unwrap();
    assert!(cache.contains_key("key"));
}

// Policies that panic.

/// A policy that panics in some calls while a flag is set.
#[derive(Clone, Default)]
struct Panicking {
    in_rename: Arc<AtomicBool>,
    in_remove: Arc<AtomicBool>,
}

impl EvictionPolicy for Panicking {
    fn insert(&mut self, _newcomer: &Newcomer) {}
    fn remove(&mut self, _id: EntryId, _charge: u32) {
        assert!(!self.in_remove.load(Ordering::Relaxed), "on purpose");
    }
    fn evict(&mut self, _newcomer: Option<&Newcomer>, _residents: &mut Residents<'_>) -> Option<EntryId> {
        None
    }
    fn resize(&mut self, _ids: usize, _max_entries: usize) -> bool {
        true
    }
    fn rename(&mut self, _from: EntryId, _to: EntryId) {
        assert!(!self.in_rename.load(Ordering::Relaxed), "on purpose");
    }
    fn bytes(&self) -> usize {
        0
    }
}

fn panicking() -> (Cache, ManualClock, Panicking) {
    let policy = Panicking::default();
    let made = policy.clone();
    let (cache, clock) = cache_with(|builder| builder.custom_policy(move |_| Box::new(made.clone())));
    (cache, clock, policy)
}

#[test]
fn a_policy_that_panics_while_the_index_grows_leaves_the_wheel_accounted_for() {
    let _alone = alone();
    let (cache, clock, policy) = panicking();
    cache.insert_with_ttl("timed", "value", MINUTE).unwrap();
    policy.in_rename.store(true, Ordering::Relaxed);
    let panicked = (0..100_000_u32)
        .any(|number| catch_unwind(AssertUnwindSafe(|| cache.insert(number.to_le_bytes(), "value").unwrap())).is_err());
    assert!(panicked);
    policy.in_rename.store(false, Ordering::Relaxed);
    cache.validate();
    cache.insert_with_ttl("key", "value", MINUTE).unwrap();
    clock.advance(MINUTE - TICK);
    assert!(is_there(&cache, "key"));
    clock.advance(3 * TICK);
    assert!(!is_there(&cache, "key"));
}

#[test]
fn a_policy_that_panics_in_an_expiry_leaves_the_time_as_it_was_seen() {
    let _alone = alone();
    let (cache, clock, policy) = panicking();
    let start = clock.now();
    cache.insert_with_ttl("timed", "value", 50 * TICK).unwrap();
    clock.set(start + 55 * TICK);
    policy.in_remove.store(true, Ordering::Relaxed);
    assert!(catch_unwind(AssertUnwindSafe(|| cache.maintain())).is_err());
    policy.in_remove.store(false, Ordering::Relaxed);
    clock.set(start + 10 * TICK);
    cache.insert_with_ttl("key", "value", 20 * TICK).unwrap();
    assert!(left(&cache, "key") <= 20 * TICK);
    clock.set(start + 100 * TICK);
    assert!(!is_there(&cache, "key"));
    cache.maintain();
    assert!(cache.is_empty());
}
