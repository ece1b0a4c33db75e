//! The view that a namespace and its cache have of each other: iterations, listeners, statistics.

use std::io;
use std::sync::{Arc, Mutex};

use bytecache::{Cache, RemovalCause, Stats};

/// Returns the keys that an iteration of a set shows, sorted.
macro_rules! keys_of {
    ($set:expr) => {{
        let mut keys = vec![];
        $set.for_each(|key, _| keys.push(key.to_vec()));
        keys.sort();
        keys
    }};
}

type Log = Arc<Mutex<Vec<(Vec<u8>, Vec<u8>, RemovalCause)>>>;

fn push_to(log: &Log) -> impl Fn(&[u8], &[u8], RemovalCause) + Send + Sync + 'static {
    let log = Arc::clone(log);
    move |key, value, cause| log.lock().unwrap().push((key.to_vec(), value.to_vec(), cause))
}

#[test]
fn retain_and_for_each_see_the_entries_of_their_set_alone() {
    let cache = Cache::new(1 << 20).unwrap();
    let [users, pages] = ["users", "pages"].map(|name| cache.namespace(name).build().unwrap());
    for key in ["1", "2"] {
        cache.insert(key, "plain").unwrap();
        users.insert(key, "user").unwrap();
        pages.insert(key, "page").unwrap();
    }
    users.retain(|key, value| {
        assert!(value == b"user" && key.len() == 1);
        key == b"1"
    });
    cache.retain(|key, value| {
        assert!(value == b"plain" && key.len() == 1);
        key == b"2"
    });
    assert_eq!(keys_of!(users), [b"1"]);
    assert_eq!(keys_of!(cache), [b"2"]);
    assert_eq!(keys_of!(pages), [b"1", b"2"]);
}

#[test]
fn retain_detaches_the_loads_of_its_set_alone() {
    let cache = Cache::new(1 << 20).unwrap();
    let space = cache.namespace("space").build().unwrap();
    let load = |retains: &dyn Fn()| {
        retains();
        Ok::<_, io::Error>("value")
    };
    space.get_or_load("1", || load(&|| cache.retain(|_, _| true))).unwrap();
    space.get_or_load("2", || load(&|| space.retain(|_, _| true))).unwrap();
    cache.get_or_load("1", || load(&|| space.retain(|_, _| true))).unwrap();
    cache.get_or_load("2", || load(&|| cache.retain(|_, _| true))).unwrap();
    assert_eq!([space.contains_key("1"), space.contains_key("2")], [true, false]);
    assert_eq!([cache.contains_key("1"), cache.contains_key("2")], [true, false]);
}

#[test]
fn a_listener_is_called_for_its_own_set_with_its_own_keys() {
    let [plain, own] = [Log::default(), Log::default()];
    let cache = Cache::builder().max_bytes(1 << 20).on_removal(push_to(&plain)).build().unwrap();
    let space = cache.namespace("space").on_removal(push_to(&own)).build().unwrap();
    let silent = cache.namespace("silent").build().unwrap();
    let marked = [0xfd, 0xc1, 1, 0, 7];
    for key in [&b"key"[..], &marked] {
        cache.insert(key, "plain").unwrap();
        space.insert(key, "old").unwrap();
        space.insert(key, "own").unwrap();
        silent.insert(key, "silent").unwrap();
        assert!(cache.remove(key) && space.remove(key) && silent.remove(key));
    }
    let entry = |key: &[u8], value: &str, cause| (key.to_vec(), value.as_bytes().to_vec(), cause);
    use RemovalCause::{Removed, Replaced};
    let expected = [entry(b"key", "plain", Removed), entry(&marked, "plain", Removed)];
    assert_eq!(*plain.lock().unwrap(), expected);
    let expected = [b"key", &marked[..]].map(|key| [entry(key, "old", Replaced), entry(key, "own", Removed)]);
    assert_eq!(*own.lock().unwrap(), expected.concat());
}

#[test]
fn a_namespace_of_a_cache_without_a_listener_has_its_own_and_hears_of_the_sweep() {
    let own = Log::default();
    let cache = Cache::new(1 << 20).unwrap();
    let space = cache.namespace("space").on_removal(push_to(&own)).build().unwrap();
    space.insert("key", "value").unwrap();
    cache.insert("key", "plain").unwrap();
    space.invalidate_all();
    assert!(own.lock().unwrap().is_empty());
    cache.maintain();
    assert_eq!(*own.lock().unwrap(), [(b"key".to_vec(), b"value".to_vec(), RemovalCause::Removed)]);
    space.insert("other", "value").unwrap();
    cache.clear();
    assert_eq!(own.lock().unwrap().len(), 2);
}

#[test]
fn a_later_listener_replaces_the_earlier_one() {
    let [first, second] = [Log::default(), Log::default()];
    let cache = Cache::new(1 << 20).unwrap();
    let space = cache.namespace("space").on_removal(push_to(&first)).build().unwrap();
    cache.namespace("space").on_removal(push_to(&second)).build().unwrap();
    space.insert("key", "value").unwrap();
    space.remove("key");
    assert_eq!((first.lock().unwrap().len(), second.lock().unwrap().len()), (0, 1));
}

#[test]
fn the_counters_of_a_namespace_are_its_own_and_part_of_the_cache() {
    let cache = Cache::builder().max_bytes(1 << 20).shards(1).build().unwrap();
    let [users, pages] = ["users", "pages"].map(|name| cache.namespace(name).build().unwrap());
    for key in 0..20_000_u32 {
        users.insert(key.to_le_bytes(), [0; 100]).unwrap();
        if key % 10 == 0 {
            cache.insert(key.to_le_bytes(), [0; 100]).unwrap();
        }
    }
    users.insert("key", "1").unwrap();
    users.insert("key", "2").unwrap();
    let _ = users.get("key");
    users.remove("key");
    let _ = users.get("key");
    let _ = pages.get("key");
    let _ = pages.get_or_load("key", || Err::<&str, _>(io::Error::other("no")));
    let (own, other, all) = (users.stats(), pages.stats(), cache.stats());
    assert_eq!((own.inserts, own.updates, own.removals, own.hits, own.misses), (20_001, 1, 1, 1, 1));
    assert!(own.evictions > 10_000 && all.evictions > own.evictions);
    assert_eq!((all.inserts, all.updates, all.removals), (22_001, 1, 1));
    assert_eq!((other.misses, other.loads, other.load_failures, other.inserts), (2, 1, 1, 0));
    assert_eq!((all.hits, all.misses, all.loads), (1, 3, 1));
    assert_eq!(pages.cache().namespace("new").build().unwrap().stats(), Stats::default());
}
