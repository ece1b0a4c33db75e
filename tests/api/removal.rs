//! The removal listener is notified of every entry that leaves: once, with its cause, and never
//! under a lock.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytecache::policy::{EntryId, EvictionPolicy, Newcomer, Residents};
use bytecache::testing::Inspect;
use bytecache::{Cache, CacheBuilder, ManualClock, Policy, RemovalCause, StableHash, TICK};

use crate::support::alone;

type Told = (Vec<u8>, Vec<u8>, RemovalCause);
type Log = Arc<Mutex<Vec<Told>>>;
/// A listener's access to its cache. A test empties it, because otherwise the two would keep each
/// other alive.
type Handle = Arc<Mutex<Option<Cache>>>;

const MINUTE: Duration = Duration::from_secs(60);

fn listened(options: impl FnOnce(CacheBuilder) -> CacheBuilder) -> (Cache, ManualClock, Log) {
    let (clock, log) = (ManualClock::new(), Log::default());
    let listener = {
        let log = Arc::clone(&log);
        move |key: &[u8], value: &[u8], cause| log.lock().unwrap().push((key.to_vec(), value.to_vec(), cause))
    };
    let builder = Cache::builder().max_bytes(1 << 20).shards(1).policy(Policy::Lru).hasher(StableHash::with_seed(1));
    (options(builder.clock(clock.clone())).on_removal(listener).build().unwrap(), clock, log)
}

fn take(log: &Log) -> Vec<Told> {
    std::mem::take(&mut *log.lock().unwrap())
}

fn told(key: &str, value: &str, cause: RemovalCause) -> Told {
    (key.into(), value.into(), cause)
}

#[test]
fn each_way_to_leave_has_its_cause() {
    let _alone = alone();
    let (cache, clock, log) = listened(|builder| builder);
    cache.insert("key", "a").unwrap();
    assert_eq!(take(&log), []);
    cache.insert("key", "b").unwrap();
    assert_eq!(take(&log), [told("key", "a", RemovalCause::Replaced)]);
    assert!(cache.replace("key", "c").unwrap());
    assert_eq!(take(&log), [told("key", "b", RemovalCause::Replaced)]);
    assert!(cache.remove("key") && !cache.remove("key"));
    assert_eq!(take(&log), [told("key", "c", RemovalCause::Removed)]);
    cache.insert("key", "d").unwrap();
    assert_eq!(cache.take("key").unwrap(), b"d");
    assert_eq!(take(&log), [told("key", "d", RemovalCause::Removed)]);
    cache.insert("key", "e").unwrap();
    cache.retain(|_, _| false);
    assert_eq!(take(&log), [told("key", "e", RemovalCause::Removed)]);
    cache.insert_with_ttl("key", "f", TICK).unwrap();
    clock.advance(TICK);
    cache.maintain();
    assert_eq!(take(&log), [told("key", "f", RemovalCause::Expired)]);
    // The insert of the next value finds the entry expired.
    cache.insert_with_ttl("key", "g", TICK).unwrap();
    clock.advance(TICK);
    cache.insert("key", "h").unwrap();
    assert_eq!(take(&log), [told("key", "g", RemovalCause::Expired)]);
    assert!(cache.set_ttl("key", Duration::ZERO).unwrap());
    assert_eq!(take(&log), [told("key", "h", RemovalCause::Expired)]);
    cache.insert("key", "i").unwrap();
    cache.insert_with_ttl("key", "j", Duration::ZERO).unwrap();
    assert_eq!(take(&log), [told("key", "i", RemovalCause::Replaced)]);
    // An entry that is stored again for its deadline has not left.
    cache.insert("key", "k").unwrap();
    assert!(cache.set_ttl("key", MINUTE).unwrap());
    assert_eq!(take(&log), []);
    assert_eq!(cache.stats().listener_panics, 0);
}

#[test]
fn a_listener_hears_of_every_entry_that_was_stored_and_is_not_there_any_more() {
    let _alone = alone();
    for policy in Policy::ALL {
        let (cache, clock, log) = listened(|builder| builder.max_bytes(200 << 10).policy(*policy));
        let mut present: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
        let mut state = 1_u64;
        for number in 0..20_000_u32 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let key = (state >> 33) % 4_000;
            // Some entries need chunks of their own.
            let len = if number % 997 == 0 { 9_000 } else { (state >> 50) as usize % 90 };
            let (key, value) = (key.to_le_bytes().to_vec(), [number.to_le_bytes().as_slice(), &vec![5; len]].concat());
            match state % 8 {
                0 => drop(cache.remove(&key)),
                1 => cache.insert_with_ttl(&key, &value, TICK * 50).unwrap(),
                _ => cache.insert(&key, &value).unwrap(),
            }
            // The key's former value leaves first. Its new value may leave after that.
            let mut former = if state % 8 == 0 { None } else { present.insert(key.clone(), value) };
            for (name, value, _) in take(&log) {
                if name == key && former.as_ref() == Some(&value) {
                    former = None;
                } else {
                    assert_eq!(present.remove(&name), Some(value), "{policy}: a value that was not present");
                }
            }
            assert_eq!(former, None, "{policy}: the listener was not notified");
            let _ = cache.get(&key);
            if number % 16 == 0 {
                clock.advance(TICK);
            }
        }
        assert_eq!(present.len(), cache.len());
        cache.for_each(|key, value| assert_eq!(present[key], value));
        let stats = cache.stats();
        assert!(stats.evictions > 0 && stats.expirations > 0 && stats.removals > 0, "{stats:?}");
        cache.clear();
        let cleared = take(&log);
        assert_eq!(cleared.len(), present.len());
        assert!(cleared.into_iter().all(|(key, value, _)| present.get(&key) == Some(&value)));
        assert!(cache.is_empty());
        cache.validate();
    }
}

#[test]
fn an_entry_that_is_stored_anew_is_told_of_only_if_it_is_lost() {
    let _alone = alone();
    for policy in Policy::ALL {
        let (cache, _, log) = listened(|builder| builder.max_bytes(100 << 10).policy(*policy));
        for number in 0..3_000_u32 {
            cache.insert(number.to_le_bytes(), [1; 60]).unwrap();
        }
        take(&log);
        for number in 0..3_000_u32 {
            let key = number.to_le_bytes();
            let was_there = cache.contains_key(key);
            let is_set = cache.set_ttl(key, MINUTE).unwrap();
            let own = take(&log).into_iter().filter(|(told, ..)| *told == key).count();
            let is_lost = was_there && !cache.contains_key(key);
            assert_eq!(own, usize::from(is_lost), "{policy}: {number}");
            // Making room for the wheel may evict the entry itself.
            assert!(is_set == was_there || is_lost, "{policy}: {number}");
        }
        cache.validate();
    }
}

#[test]
fn a_listener_changes_nothing_about_who_leaves() {
    let _alone = alone();
    let evicted = |listen: bool| {
        let builder = Cache::builder().max_bytes(200 << 10).shards(1).hasher(StableHash::with_seed(1));
        let builder = if listen { builder.on_removal(|_, _, _| {}) } else { builder };
        let cache = builder.build().unwrap();
        let mut hits = Vec::new();
        for number in 0..30_000_usize {
            let key = (number * number % 7_919 % 3_000).to_le_bytes();
            hits.push(cache.get(key).is_some());
            cache.insert(key, vec![1; number % 90]).unwrap();
        }
        (hits, cache.stats())
    };
    assert!(evicted(true) == evicted(false));
}

#[test]
fn a_listener_may_use_the_cache() {
    let _alone = alone();
    let handle = Handle::default();
    let listener = {
        let handle = Arc::clone(&handle);
        move |key: &[u8], value: &[u8], cause| {
            let cache = handle.lock().unwrap().clone().unwrap();
            if cause == RemovalCause::Removed {
                cache.insert([b"copy of ", key].concat(), value).unwrap();
                assert!(!cache.is_empty());
                cache.validate();
            }
        }
    };
    let cache = Cache::builder().max_bytes(1 << 20).shards(1).on_removal(listener).build().unwrap();
    *handle.lock().unwrap() = Some(cache.clone());
    cache.insert("key", "value").unwrap();
    assert!(cache.remove("key"));
    assert_eq!(cache.get("copy of key").unwrap(), b"value");
    assert_eq!(cache.stats().listener_panics, 0);
    handle.lock().unwrap().take();
}

#[test]
fn panics_of_a_listener_are_caught_and_counted() {
    let _alone = alone();
    let cache = Cache::builder().max_bytes(1 << 20).shards(1).on_removal(|key, _, _| {
        assert!(key != b"bad", "on purpose");
    });
    let cache = cache.build().unwrap();
    for key in ["good", "bad", "good", "bad"] {
        cache.insert(key, "value").unwrap();
        assert!(cache.remove(key));
    }
    cache.insert("bad", "value").unwrap();
    cache.insert("good", "value").unwrap();
    cache.clear();
    assert_eq!((cache.stats().listener_panics, cache.len()), (3, 0));
    cache.insert("key", "value").unwrap();
    assert!(cache.contains_key("key"));
    cache.validate();
}

/// A policy that never names a victim.
struct Never;

impl EvictionPolicy for Never {
    fn insert(&mut self, _newcomer: &Newcomer) {}
    fn remove(&mut self, _id: EntryId, _charge: u32) {}
    fn evict(&mut self, _newcomer: Option<&Newcomer>, _residents: &mut Residents<'_>) -> Option<EntryId> {
        None
    }
    fn resize(&mut self, _ids: usize, _max_entries: usize) -> bool {
        true
    }
    fn rename(&mut self, _from: EntryId, _to: EntryId) {}
    fn bytes(&self) -> usize {
        0
    }
}

#[test]
fn an_entry_that_space_chooses_against_the_policy_is_told_as_evicted() {
    let _alone = alone();
    let (cache, _, log) = listened(|builder| builder.max_bytes(100 << 10).custom_policy(|_| Box::new(Never)));
    for number in 0..5_000_u32 {
        cache.insert(number.to_le_bytes(), [1; 60]).unwrap();
    }
    let told = take(&log);
    assert_eq!(told.len() as u64, cache.stats().evictions);
    assert!(told.iter().all(|(_, value, cause)| *value == [1; 60] && *cause == RemovalCause::Evicted));
}

#[test]
fn clearing_a_large_cache_tells_of_a_part_at_a_time() {
    let _alone = alone();
    let most = Arc::new(Mutex::new(0));
    let handle = Handle::default();
    let listener = {
        let (most, handle) = (Arc::clone(&most), Arc::clone(&handle));
        move |_: &[u8], _: &[u8], _| {
            // Entries that are present during this call have not been copied yet.
            let mut most = most.lock().unwrap();
            let cache = handle.lock().unwrap().clone().unwrap();
            *most = cache.len().max(*most);
        }
    };
    let cache = Cache::builder().max_bytes(8 << 20).shards(1).on_removal(listener).build().unwrap();
    *handle.lock().unwrap() = Some(cache.clone());
    for number in 0..4_000_u32 {
        cache.insert(number.to_le_bytes(), [1; 1000]).unwrap();
    }
    cache.clear();
    assert!(cache.is_empty());
    handle.lock().unwrap().take();
    let most = *most.lock().unwrap();
    assert!(most > 3_500, "{most} of 4000 entries were present at the first notifications");
}
