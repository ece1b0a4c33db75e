//! The wall clock decides what has expired while nothing ran.

use super::*;
use crate::clock::ManualClock;
use crate::expiry::{Lifetime, Remaining};

const HOUR: Duration = Duration::from_secs(3600);

fn builder() -> CacheBuilder {
    Cache::builder().max_bytes(1 << 20).clock(ManualClock::new())
}

/// Saves a cache with an entry that lives for a minute, one that is stale for another one, and one
/// without a deadline. Returns the snapshot and its time.
fn snapshot() -> (Vec<u8>, u64) {
    let cache = builder().build().unwrap();
    let minute = Duration::from_secs(60);
    cache.insert_with_ttl("minute", "1", minute).unwrap();
    cache.insert_with_lifetime("stale", "2", Lifetime::new().ttl(minute).stale_for(minute)).unwrap();
    cache.insert("forever", "3").unwrap();
    let mut snapshot = Vec::new();
    cache.save_to(&mut snapshot).unwrap();
    let start = Header::from_bytes(&snapshot).unwrap().start_millis;
    (snapshot, start)
}

fn restored_at(snapshot: &[u8], now_millis: u64, max_age: Duration) -> (Cache, Restored) {
    restore_at(builder(), snapshot, max_age, now_millis).unwrap()
}

#[test]
fn what_has_expired_while_nothing_ran_is_left_out() {
    let (snapshot, start) = snapshot();
    let (cache, restored) = restored_at(&snapshot, start + 30_000, HOUR);
    let Some(Remaining::For(left)) = cache.ttl("minute") else { panic!("no deadline") };
    assert!((29..=30).contains(&left.as_secs()), "{left:?}");
    assert_eq!((restored.entries, restored.expired, restored.age), (3, 0, Some(Duration::from_secs(30))));

    let (cache, restored) = restored_at(&snapshot, start + 62_000, HOUR);
    assert_eq!((restored.entries, restored.expired, restored.left_out), (2, 1, 0));
    assert!(cache.get("minute").is_none() && cache.get("stale").is_none());
    assert!(cache.get_or_stale("stale").is_some_and(|found| found.is_stale()));

    let (cache, restored) = restored_at(&snapshot, start + 125_000, HOUR);
    assert_eq!((restored.entries, restored.expired), (1, 2));
    assert!(cache.contains_key("forever"));
}

#[test]
fn a_clock_that_has_gone_back_extends_nothing() {
    let (snapshot, start) = snapshot();
    let (cache, restored) = restored_at(&snapshot, start - 1_000_000, HOUR);
    assert_eq!((restored.origin, restored.age), (RestoredFrom::Snapshot, Some(Duration::ZERO)));
    let Some(Remaining::For(left)) = cache.ttl("minute") else { panic!("no deadline") };
    assert!(left <= Duration::from_secs(60), "{left:?}");
}

#[test]
fn the_greatest_age_counts_from_the_start_of_the_save_in_both_directions() {
    let (snapshot, start) = snapshot();
    let hour = 3_600_000;
    for (now, origin) in [
        (start + hour, RestoredFrom::Snapshot),
        (start + hour + 1, RestoredFrom::TooOld),
        (start - hour, RestoredFrom::Snapshot),
        (start - hour - 1, RestoredFrom::TooOld),
        (0, RestoredFrom::TooOld),
        (u64::MAX, RestoredFrom::TooOld),
    ] {
        let (cache, restored) = restored_at(&snapshot, now, HOUR);
        assert_eq!((restored.origin, cache.is_empty()), (origin, origin == RestoredFrom::TooOld), "at {now}");
    }
    assert_eq!(restored_at(&snapshot, start + 1, Duration::ZERO).1.origin, RestoredFrom::TooOld);
}

/// Returns a snapshot with one block of this kind, whose checksums are right.
fn forged(kind: u32, count: u32, length: Option<u64>, payload: &[u8]) -> Vec<u8> {
    let header = Header {
        nonce: 5,
        start_millis: 1_000,
        entries: u64::MAX,
        shards: u32::MAX,
        max_bytes: 1,
        buckets: u64::MAX,
        probe: 0,
        seeds: [u64::MAX; 4],
    };
    let payload_sum = StableHash::with_seed(5).hash_bytes(payload);
    let length = length.unwrap_or(payload.len() as u64);
    let block = BlockHeader { kind, count, length, time_millis: u64::MAX, payload_sum };
    [&header.to_bytes()[..], &block.to_bytes(5), payload].concat()
}

#[test]
fn hostile_blocks_with_the_right_checksums_do_no_harm() {
    let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    let with_lengths = [&[0][..], &huge, &huge, b"key"].concat();
    let changes = [&[0, 0x80, 0x80, 0x80, 0x04][..], &huge, &[0xff; 8]].concat();
    let payloads: [&[u8]; 6] = [b"", &[0; 100], &[0xff; 100], &huge, &with_lengths, &changes];
    for number in 0..8 {
        for payload in payloads {
            for (count, length) in [(0, None), (1, None), (u32::MAX, None), (1, Some(u64::MAX)), (9, Some(1 << 40))] {
                let file = forged(number, count, length, payload);
                let (cache, restored) = restored_at(&file, 1_000, HOUR);
                assert!(restored.damaged_blocks > 0 || number == kind::END, "it has no end");
                assert!(cache.memory().allocated <= cache.max_bytes());
                cache.validate();
            }
        }
    }
}

#[test]
fn a_record_of_changes_larger_than_the_cache_affords_is_folded() {
    let key = |number: u32| number.to_le_bytes();
    let changes = crate::shard::Changes::new(1 << 21, 9);
    (0..1_000).for_each(|number| changes.note(&key(number)));
    let mut known = ChangedKeys::new(9, 1 << 20);
    let mut writer = super::super::changed::ChangesWriter::default();
    let mut read = |payload: &[u8]| known.read(payload).ok_or(());
    assert_eq!(writer.write(&changes, &mut read), Ok(true));
    assert_eq!(writer.write(&changes, &mut read), Ok(false), "nothing has been added");
    changes.note(&key(5_000));
    assert_eq!(writer.write(&changes, &mut read), Ok(true));
    assert!((0..1_000).chain([5_000]).all(|number| known.have(&key(number))));
    let others = (10_000..20_000).filter(|&number| known.have(&key(number))).count();
    assert!(others < 1_500, "{others} of 10,000 other keys count as changed");
}
