//! All that an entry has comes back: its value, its lifetimes, and that it is negative.

use std::time::{Duration, Instant};

use bytecache::testing::Inspect;
use bytecache::{Cache, Lifetime, LoadError, Loaded, ManualClock, Remaining, RestoredFrom, SaveOptions, TICK};

use super::{restored, saved};
use crate::support::{timed, until};

/// The time that a test takes counts, too. So the tests count in hundreds of seconds.
fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Builds a cache with its own clock for what another one has saved.
fn again(snapshot: &[u8]) -> (Cache, ManualClock) {
    let clock = ManualClock::new();
    clock.set(seconds(1_000_000)); // Another origin.
    let builder = Cache::builder().max_bytes(1 << 20).shards(1).clock(clock.clone());
    (restored(builder, snapshot).0, clock)
}

#[test]
fn values_of_all_sizes_come_back() {
    let cache = Cache::builder().max_bytes(8 << 20).max_entry_bytes(1 << 20).build().unwrap();
    let lengths = [0, 1, 255, 65_535, 65_536, 300_000, (1 << 20) - 300];
    for (number, length) in (0_u8..).zip(lengths) {
        cache.insert(vec![7; usize::from(number) * 40], vec![number; length]).unwrap();
    }
    let snapshot = saved(&cache);
    let (cache, report) = restored(Cache::builder().max_bytes(8 << 20).max_entry_bytes(1 << 20), &snapshot);
    assert_eq!((report.origin, report.entries, report.damaged_blocks), (RestoredFrom::Snapshot, 7, 0));
    assert!(report.is_complete && report.bytes > 400_000);
    for (number, length) in (0_u8..).zip(lengths) {
        let value = cache.get(vec![7; usize::from(number) * 40]).unwrap();
        assert!(value.len() == length && value.iter().all(|&byte| byte == number));
    }
    cache.validate();
}

#[test]
fn the_progress_of_a_save_ends_with_what_was_saved() {
    let cache = Cache::builder().max_bytes(16 << 20).build().unwrap();
    // Large values have blocks of their own.
    (0..3_000_u32).for_each(|key| cache.insert(key.to_le_bytes(), [1; 200]).unwrap());
    (0..10_u32).for_each(|key| cache.insert(key.to_be_bytes(), [1; 50_000]).unwrap());
    let entries = cache.len() as u64;
    let (mut snapshot, mut calls, began) = (Vec::new(), Vec::new(), Instant::now());
    let options = SaveOptions::new().progress(|progress| {
        until(|| began.elapsed() > Duration::from_millis(2));
        calls.push(progress);
    });
    let saved = cache.save_to_with(&mut snapshot, options).unwrap();
    assert_eq!((saved.entries, saved.bytes), (entries, snapshot.len() as u64));
    assert!(saved.elapsed > Duration::from_millis(2) && saved.elapsed <= began.elapsed());
    assert!(calls.len() > 10 && calls.iter().all(|progress| progress.total_entries == entries));
    assert!(calls.is_sorted_by(|a, b| a.entries < b.entries && a.bytes < b.bytes));
    assert!(calls.iter().all(|progress| (200 * progress.entries..=saved.bytes).contains(&progress.bytes)));
    assert_eq!(calls.last().map(|last| last.entries), Some(entries));
}

#[test]
fn an_empty_cache_is_saved_and_restored() {
    let (cache, report) = restored(Cache::builder().max_bytes(1 << 20), &saved(&Cache::new(1 << 20).unwrap()));
    assert!(cache.is_empty() && report.is_complete && report.origin == RestoredFrom::Snapshot);
}

#[test]
fn a_time_to_live_goes_on_where_it_was() {
    let (cache, clock) = timed(|builder| builder);
    cache.insert_with_ttl("token", "abc", seconds(3_000)).unwrap();
    cache.insert("forever", "1").unwrap();
    clock.advance(seconds(1_000));
    let (cache, clock) = again(&saved(&cache));
    let Some(Remaining::For(left)) = cache.ttl("token") else { panic!("the deadline is lost") };
    assert!(left <= seconds(2_000) && left + 2 * TICK + seconds(100) > seconds(2_000), "{left:?}");
    assert_eq!(cache.ttl("forever"), Some(Remaining::Forever));
    clock.advance(seconds(2_000) + TICK);
    assert!(cache.get("token").is_none() && cache.get("forever").is_some());
    cache.maintain();
    assert_eq!(cache.len(), 1);
    cache.validate();
}

#[test]
fn a_time_to_idle_goes_on_and_is_extended_by_reads() {
    let (cache, clock) = timed(|builder| builder);
    cache.insert_with_lifetime("session", "Ada", Lifetime::forever().time_to_idle(seconds(10_000))).unwrap();
    clock.advance(seconds(6_000));
    let snapshot = saved(&cache);
    let (cache, clock) = again(&snapshot);
    clock.advance(seconds(4_100));
    assert!(cache.get("session").is_none(), "it was idle before");
    let (cache, clock) = again(&snapshot);
    for _ in 0..5 {
        clock.advance(seconds(3_800));
        assert!(cache.get("session").is_some());
        clock.advance(seconds(6_000));
        assert!(cache.get("session").is_some(), "a read extends it by its own time to idle");
        clock.advance(seconds(100));
        assert!(cache.get("session").is_some());
    }
    clock.advance(seconds(10_100));
    assert!(cache.get("session").is_none());
}

#[test]
fn a_stale_period_goes_on_and_differs_from_the_default_of_the_next_cache() {
    let (cache, clock) = timed(|builder| builder.stale_for(seconds(5_000)));
    cache.insert_with_ttl("rate", "1.09", seconds(1_000)).unwrap();
    clock.advance(seconds(2_000));
    let (cache, clock) = again(&saved(&cache));
    assert!(cache.get("rate").is_none());
    assert!(cache.get_or_stale("rate").is_some_and(|rate| rate.is_stale()));
    clock.advance(seconds(3_800));
    assert!(cache.get_or_stale("rate").is_some());
    clock.advance(seconds(300));
    assert!(cache.get_or_stale("rate").is_none());
}

#[test]
fn a_refresh_stays_due_or_ahead() {
    let (cache, clock) = timed(|builder| builder);
    let lifetime = |after| Lifetime::new().refresh_after(seconds(after));
    cache.insert_with_lifetime("due", "1", lifetime(500)).unwrap();
    cache.insert_with_lifetime("ahead", "2", lifetime(5_000)).unwrap();
    clock.advance(seconds(2_000));
    let (cache, clock) = again(&saved(&cache));
    assert!(cache.get_or_stale("due").is_some_and(|found| found.is_refresh_due()));
    assert!(cache.get_or_stale("ahead").is_some_and(|found| !found.is_refresh_due()));
    clock.advance(seconds(3_100));
    assert!(cache.get_or_stale("ahead").is_some_and(|found| found.is_refresh_due()));
}

#[test]
fn a_negative_entry_stays_negative() {
    let (cache, clock) = timed(|builder| builder);
    let absent = |_: &[u8]| Ok::<_, std::io::Error>(Loaded::<Vec<u8>>::Absent);
    let loader = cache.loader().negative_ttl(seconds(3_000)).build(absent).unwrap();
    assert!(matches!(loader.get("nobody"), Err(LoadError::Absent)));
    clock.advance(seconds(1_000));
    let (cache, clock) = again(&saved(&cache));
    let never = |_: &[u8]| -> Result<Loaded<Vec<u8>>, std::io::Error> { panic!("loaded although it is known") };
    let loader = cache.loader().negative_ttl(seconds(3_000)).build(never).unwrap();
    assert!(matches!(loader.get("nobody"), Err(LoadError::Absent)));
    assert!(cache.get("nobody").is_none());
    clock.advance(seconds(2_100));
    let loader = cache.loader().build(|_: &[u8]| Ok::<_, std::io::Error>("somebody")).unwrap();
    assert_eq!(loader.get("nobody").unwrap(), *b"somebody");
}

#[test]
fn what_has_expired_before_the_save_is_not_saved() {
    let (cache, clock) = timed(|builder| builder);
    // More than the save takes out beside its work.
    for key in 0..2_000_u32 {
        cache.insert_with_ttl(key.to_le_bytes(), "abc", seconds(1)).unwrap();
    }
    cache.insert("other", "1").unwrap();
    clock.advance(seconds(2));
    let mut snapshot = Vec::new();
    assert_eq!(cache.save_to(&mut snapshot).unwrap().entries, 1);
    assert!(!snapshot.windows(3).any(|window| window == b"abc"));
    assert!(cache.len() > 1, "all were taken out before");
}

#[test]
fn removed_deadlines_stay_removed() {
    let (cache, _clock) = timed(|builder| builder.ttl(seconds(30)).time_to_idle(seconds(20)));
    cache.insert("key", "value").unwrap();
    assert!(cache.persist("key"));
    let (cache, clock) = again(&saved(&cache));
    assert_eq!(cache.ttl("key"), Some(Remaining::Forever));
    clock.advance(seconds(1000));
    assert!(cache.get("key").is_some());
}
