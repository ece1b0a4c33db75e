//! Values that do not decode or encode, versions, keys, and what is kept apart.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytecache::testing::Inspect;
use bytecache::typed::{NoLoads, Utf8};
use bytecache::{BuildError, Error, Lifetime, RemovalCause, Typed};

use super::{Small, cache, timed_cache};

fn numbers(cache: &bytecache::Cache, mark: u8) -> Typed<String, u32, Small, NoLoads> {
    cache.namespace("numbers").typed(Small(mark)).build().unwrap()
}

#[test]
fn a_value_that_does_not_decode_is_removed_counted_and_a_miss() {
    let cache = cache();
    let (old, new) = (numbers(&cache, 1), numbers(&cache, 2));
    old.insert("key", &7).unwrap();
    assert_eq!((old.get("key"), new.get("key"), old.get("key")), (Some(7), None, None));
    let stats = new.stats();
    assert_eq!((stats.hits, stats.misses, stats.undecodable, stats.removals), (1, 2, 1, 1));
    old.insert("key", &8).unwrap();
    assert_eq!(new.peek("key"), None);
    assert_eq!((old.contains_key("key"), cache.stats().undecodable), (false, 2));
    cache.validate();
}

#[test]
fn a_version_keeps_layouts_apart() {
    let cache = cache();
    let open = |version| {
        cache.namespace("numbers").version(version).typed(Small(u8::try_from(version).unwrap())).build::<u64, u32>()
    };
    let (old, new) = (open(1).unwrap(), open(2).unwrap());
    old.insert(&1, &7).unwrap();
    assert_eq!((new.get(&1), old.get(&1)), (None, Some(7)));
    assert_eq!(cache.stats().undecodable, 0);
    new.invalidate_all();
    assert_eq!(old.get(&1), None);
}

#[test]
fn a_value_that_does_not_encode_removes_the_older_one() {
    let cache = cache();
    let causes = Arc::new(Mutex::new(vec![]));
    let log = Arc::clone(&causes);
    let builder = cache.namespace("numbers").on_removal(move |_, _, cause| log.lock().unwrap().push(cause));
    let numbers: Typed<String, u32, _, _> = builder.typed(Small(1)).build().unwrap();
    numbers.insert("key", &7).unwrap();
    let error = numbers.insert("key", &300).unwrap_err();
    assert_eq!(error, Error::Unencodable { reason: "300 is too large".to_string() });
    assert_eq!((numbers.get("key"), numbers.stats().unencodable), (None, 1));
    assert_eq!(*causes.lock().unwrap(), [RemovalCause::Replaced]);

    numbers.insert("key", &7).unwrap();
    let error = numbers.update("key", |_| bytecache::Update::Store(300)).unwrap_err();
    assert!(matches!(error, Error::Unencodable { .. }));
    assert_eq!((numbers.get("key"), numbers.stats().unencodable), (None, 2));
}

#[test]
fn an_insert_has_the_lifetime_of_the_builder_and_its_own_comes_first() {
    let (cache, clock) = timed_cache();
    let seconds = Duration::from_secs;
    let values: Typed<u64, String, _, _> =
        cache.namespace("values").typed(Utf8).ttl(seconds(60)).time_to_idle(seconds(20)).build().unwrap();
    let value = "value".to_string();
    values.insert(&1, &value).unwrap();
    values.insert(&2, &value).unwrap();
    let longer = Lifetime::new().time_to_idle(seconds(1_000)).ttl(seconds(100));
    values.insert_with_lifetime(&3, &value, longer).unwrap();
    let present = || [1, 2, 3].map(|key| values.contains_key(&key));
    clock.advance(seconds(15));
    assert!(values.get(&1).is_some());
    clock.advance(seconds(10));
    assert_eq!(present(), [true, false, true], "the second one was idle");
    for _ in 0..4 {
        let _ = values.get(&1);
        clock.advance(seconds(10));
    }
    assert_eq!(present(), [false, false, true]);
    clock.advance(seconds(40));
    assert_eq!(present(), [false; 3]);
}

#[test]
fn lifetimes_of_zero_are_errors_of_build() {
    let cache = cache();
    for builder in [
        cache.namespace("values").typed(Utf8).ttl(Duration::ZERO),
        cache.namespace("values").typed(Utf8).time_to_idle(Duration::ZERO),
    ] {
        assert_eq!(builder.build::<u64, String>().unwrap_err(), BuildError::ZeroLifetime);
    }
}

#[test]
fn each_type_of_key_finds_its_own_values() {
    let cache = cache();
    let values: Typed<(String, u32), String, _, _> = cache.namespace("values").typed(Utf8).build().unwrap();
    let keys = [("", 1), ("en", 1), ("en", 2), ("en\u{0}", 1)].map(|(text, number)| (text.to_string(), number));
    for key in &keys {
        values.insert(key, &format!("{key:?}")).unwrap();
    }
    for key in &keys {
        assert_eq!(values.get(key), Some(format!("{key:?}")));
    }
    let mut seen = BTreeMap::new();
    values.for_each(|key, value| assert!(seen.insert(key, value).is_none()));
    assert_eq!(seen.len(), keys.len());
    assert!(values.remove(&keys[0]) && !values.contains_key(&keys[0]));
    let long = ("x".repeat(70_000), 1);
    assert!(values.insert(&long, &String::new()).is_err() && values.get(&long).is_none());
}

#[test]
fn the_type_of_a_loading_namespace_names_no_function() {
    struct Service {
        numbers: Typed<u64, u32, Small>,
        other: Typed<u64, u32, Small, bytecache::typed::Threads>,
    }

    fn assert_shared<T: Send + Sync + Clone + 'static>(_: &T) {}

    let cache = cache();
    let numbers = cache.namespace("numbers").typed(Small(1));
    let other = cache.namespace("other").typed(Small(1));
    let service = Service {
        numbers: numbers.build_async(|key: u64| async move { Ok::<_, String>(u32::try_from(key).ok()) }).unwrap(),
        other: other.build_loader(|key: u64| Ok::<_, String>(u32::try_from(key).ok())).unwrap(),
    };
    assert_shared(&service.numbers);
    assert_shared(&service.other);
    assert_eq!(service.other.get(&9).unwrap(), Some(9));
}
