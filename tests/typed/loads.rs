//! Loads of typed values.

use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytecache::typed::{Tasks, Threads, TypedBuilder};
use bytecache::{Cache, LoadError, ManualClock, Present, Typed};

use super::{Small, cache, timed_cache};

const MINUTE: Duration = Duration::from_secs(60);

/// A store whose values are their keys. Odd keys have no value, and 100 fails.
#[derive(Clone, Default)]
struct Store(Arc<AtomicU32>);

impl Store {
    fn load(&self, key: u32) -> Result<Option<u32>, io::Error> {
        self.0.fetch_add(1, Ordering::Relaxed);
        match key {
            100 => Err(io::Error::other("down")),
            key => Ok((key % 2 == 0).then_some(key)),
        }
    }

    fn loads(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    fn threads(&self, cache: &Cache, mark: u8) -> Typed<u32, u32, Small, Threads> {
        let store = self.clone();
        let builder = cache.namespace("numbers").typed(Small(mark)).negative_ttl(MINUTE);
        builder.build_loader(move |key| store.load(key)).unwrap()
    }

    fn tasks(&self, cache: &Cache, mark: u8) -> Typed<u32, u32, Small, Tasks> {
        let store = self.clone();
        let builder = cache.namespace("numbers").typed(Small(mark)).negative_ttl(MINUTE);
        let load = move |key| {
            let store = store.clone();
            async move { store.load(key) }
        };
        builder.build_async(load).unwrap()
    }
}

#[test]
fn what_is_missing_is_loaded_once_and_nothing_is_remembered() {
    let (cache, store) = (cache(), Store::default());
    let numbers = store.threads(&cache, 1);
    for _ in 0..3 {
        assert_eq!((numbers.get(&2).unwrap(), numbers.get(&3).unwrap()), (Some(2), None));
    }
    assert_eq!(store.loads(), 2);
    let stats = numbers.stats();
    assert_eq!((stats.hits, stats.misses, stats.loads, stats.loads_not_found, stats.negative_hits), (4, 2, 2, 1, 2));
    numbers.invalidate_all();
    assert_eq!((numbers.get(&2).unwrap(), numbers.get(&3).unwrap(), store.loads()), (Some(2), None, 4));
}

#[test]
fn get_if_present_never_loads_and_counts_a_hit_or_a_miss() {
    let ((cache, clock), store) = (timed_cache(), Store::default());
    let (numbers, other) = (store.threads(&cache, 1), store.threads(&cache, 2));
    assert_eq!((numbers.get_if_present(&2), store.loads()), (Present::Nothing, 0));
    assert_eq!((numbers.get(&2).unwrap(), numbers.get(&3).unwrap()), (Some(2), None));
    assert_eq!((numbers.get_if_present(&2), numbers.get_if_present(&3)), (Present::Value(2), Present::Absent));
    let stats = numbers.stats();
    assert_eq!((stats.hits, stats.misses, stats.negative_hits), (2, 3, 1));
    assert_eq!((other.get_if_present(&2), numbers.contains_key(&2)), (Present::Nothing, false));
    let stats = numbers.stats();
    assert_eq!((stats.hits, stats.misses, stats.undecodable), (2, 4, 1));
    clock.advance(2 * MINUTE);
    assert_eq!((numbers.get_if_present(&3), store.loads()), (Present::Nothing, 2));
}

#[test]
fn get_if_present_takes_a_record_of_a_failure_for_nothing() {
    let (cache, store) = (cache(), Store::default());
    let rules = |builder: TypedBuilder<Small>| builder.loads(|loads| loads.error_ttl(MINUTE));
    let load = {
        let store = store.clone();
        move |key| store.load(key)
    };
    let numbers = rules(cache.namespace("numbers").typed(Small(1))).build_loader(load).unwrap();
    assert!(numbers.get(&100).is_err());
    assert_eq!((numbers.get_if_present(&100), numbers.stats().hits, store.loads()), (Present::Nothing, 1, 1));
}

#[tokio::test]
async fn tasks_load_what_is_missing_once_and_nothing_is_remembered() {
    let (cache, store) = (cache(), Store::default());
    let numbers = store.tasks(&cache, 1);
    for _ in 0..3 {
        assert_eq!((numbers.get(&2).await.unwrap(), numbers.get(&3).await.unwrap()), (Some(2), None));
    }
    assert_eq!(store.loads(), 2);
    let stats = numbers.stats();
    assert_eq!((stats.hits, stats.misses, stats.loads, stats.loads_not_found, stats.negative_hits), (4, 2, 2, 1, 2));
}

#[tokio::test]
async fn a_future_can_be_sent_and_spawned() {
    let (cache, store) = (cache(), Store::default());
    let numbers = store.tasks(&cache, 1);
    let calls: Vec<_> = (0..8)
        .map(|_| {
            tokio::spawn({
                let numbers = numbers.clone();
                async move { numbers.get(&4).await }
            })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), Some(4));
    }
    assert_eq!(store.loads(), 1);
}

#[test]
fn a_value_that_does_not_decode_is_loaded_again() {
    let (cache, store) = (cache(), Store::default());
    let (old, new) = (store.threads(&cache, 1), store.threads(&cache, 2));
    assert_eq!((old.get(&2).unwrap(), store.loads()), (Some(2), 1));
    assert_eq!((new.get(&2).unwrap(), store.loads()), (Some(2), 2));
    assert_eq!((new.get(&2).unwrap(), store.loads()), (Some(2), 2));
    let stats = new.stats();
    assert_eq!((stats.hits, stats.misses, stats.undecodable), (1, 2, 1));
}

#[tokio::test]
async fn a_value_that_does_not_decode_is_loaded_again_by_a_task() {
    let (cache, store) = (cache(), Store::default());
    let (old, new) = (store.tasks(&cache, 1), store.tasks(&cache, 2));
    assert_eq!((old.get(&2).await.unwrap(), store.loads()), (Some(2), 1));
    assert_eq!((new.get(&2).await.unwrap(), store.loads()), (Some(2), 2));
    let stats = new.stats();
    assert_eq!((stats.hits, stats.misses, stats.undecodable), (0, 2, 1));
}

#[test]
fn an_error_is_the_one_of_the_function_and_the_chain_goes_on_to_it() {
    let numbers = Store::default().threads(&cache(), 1);
    let error = numbers.get(&100).unwrap_err();
    assert!(matches!(&error, LoadError::Failed(failure) if failure.to_string() == "down"));
    let source = error.source().unwrap();
    assert_eq!(source.downcast_ref::<io::Error>().map(io::Error::kind), Some(io::ErrorKind::Other));
}

#[test]
fn a_function_may_return_boxed_errors_and_texts() {
    let cache = cache();
    let boxed = cache.namespace("boxed").typed(Small(1));
    let boxed = boxed.build_loader(|_: u8| Err::<Option<u32>, Box<dyn std::error::Error + Send + Sync>>("no".into()));
    let text = cache.namespace("text").typed(Small(1)).build_loader(|_: u8| Err::<Option<u32>, _>("no"));
    let any = cache.namespace("any").typed(Small(1)).build_loader(|_: u8| Err::<Option<u32>, _>(anyhow::anyhow!("no")));
    for numbers in [boxed, text, any] {
        let error = numbers.unwrap().get(&1).unwrap_err();
        assert_eq!(error.source().unwrap().to_string(), "no");
    }
}

#[test]
fn a_loaded_value_that_does_not_encode_is_a_failed_load_that_is_counted() {
    let (cache, store) = (cache(), Store::default());
    let numbers = store.threads(&cache, 1);
    let error = numbers.get(&300).unwrap_err();
    assert_eq!(error.source().unwrap().to_string(), "300 is too large");
    assert_eq!((numbers.stats().unencodable, numbers.stats().load_failures), (1, 1));
}

#[test]
fn a_loaded_value_that_does_not_encode_removes_the_stale_one() {
    let (cache, clock) = timed_cache();
    let builder = cache.namespace("numbers").typed(Small(1)).ttl(MINUTE).stale_for(10 * MINUTE);
    let numbers = builder.build_loader(|_: u32| Ok::<_, io::Error>(Some(300))).unwrap();
    numbers.insert(&1, &7).unwrap();
    clock.advance(2 * MINUTE);
    assert!(numbers.namespace().get_or_stale(1_u32.to_be_bytes()).is_some());
    assert!(numbers.get(&1).is_err());
    assert!(numbers.namespace().get_or_stale(1_u32.to_be_bytes()).is_none());
}

#[test]
fn a_loaded_value_that_does_not_decode_is_an_error_and_no_loop() {
    struct Broken;
    impl bytecache::typed::Codec<u32> for Broken {
        fn encode(&self, _: &u32, bytes: &mut Vec<u8>) -> Result<(), bytecache::typed::EncodeError> {
            bytes.push(0);
            Ok(())
        }
        fn decode(&self, _: &[u8]) -> Option<u32> {
            None
        }
    }
    let cache = cache();
    let numbers = cache.namespace("numbers").typed(Broken).build_loader(|key: u32| Ok::<_, &str>(Some(key))).unwrap();
    assert!(matches!(numbers.get(&1), Err(LoadError::Failed(_))));
    assert_eq!((numbers.stats().loads, numbers.stats().undecodable, cache.len()), (2, 2, 0));
}

#[test]
fn loaded_values_have_the_lifetime_of_the_builder() {
    let (cache, clock) = timed_cache();
    let store = Store::default();
    let load = {
        let store = store.clone();
        move |key| store.load(key)
    };
    let builder = cache.namespace("numbers").typed(Small(1)).ttl(MINUTE).time_to_idle(MINUTE / 2);
    let numbers: Typed<u32, u32, _, _> = builder.build_loader(load).unwrap();
    let after = |time: Duration| {
        clock.advance(time);
        numbers.get(&2).unwrap();
        store.loads()
    };
    assert_eq!(after(Duration::ZERO), 1);
    assert_eq!([after(MINUTE / 3), after(MINUTE / 3)], [1, 1], "each read postpones the idle deadline");
    assert_eq!(after(MINUTE / 2), 2, "the time to live is over");
    assert_eq!(after(MINUTE * 2 / 3), 3, "it was idle");
}

#[test]
fn a_value_that_is_due_is_refreshed_by_the_read_that_finds_it() {
    let (cache, clock) = timed_cache();
    let store = Store::default();
    let load = {
        let store = store.clone();
        move |key: u32| Ok::<_, io::Error>(Some(store.load(key)?.unwrap_or(0) + store.loads()))
    };
    let numbers: Typed<u32, u32, _, _> =
        cache.namespace("numbers").typed(Small(1)).refresh_after(MINUTE).build_loader(load).unwrap();
    assert_eq!(numbers.get(&2).unwrap(), Some(3));
    clock.advance(MINUTE + Duration::from_secs(1));
    assert_eq!(numbers.peek(&2), Some(3));
    assert_eq!(numbers.get(&2).unwrap(), Some(4));
    assert_eq!(numbers.stats().refreshes, 1);
}

#[tokio::test]
async fn early_refreshes_see_each_read() {
    let clock = ManualClock::new();
    let cache = Cache::builder().max_bytes(1 << 20).clock(clock.clone()).build().unwrap();
    let store = Store::default();
    let load = {
        let store = store.clone();
        move |key| {
            let store = store.clone();
            async move { store.load(key) }
        }
    };
    let builder = cache.namespace("numbers").typed(Small(1)).ttl(MINUTE);
    // With such a beta, each read is an early one.
    let numbers: Typed<u32, u32, _> = builder.loads(|loads| loads.early_refresh(1e12)).build_async(load).unwrap();
    numbers.get(&2).await.unwrap();
    clock.advance(Duration::from_secs(5));
    numbers.get(&2).await.unwrap();
    assert_eq!((store.loads(), numbers.stats().refreshes), (2, 1));
}

#[test]
fn an_insert_during_a_load_stays() {
    let (cache, store) = (cache(), Store::default());
    let numbers = store.threads(&cache, 1);
    let other = numbers.clone();
    let slow: Typed<u32, u32, _, _> = cache
        .namespace("numbers")
        .typed(Small(1))
        .build_loader(move |key: u32| {
            other.insert(&key, &9).unwrap();
            Ok::<_, io::Error>(Some(2))
        })
        .unwrap();
    assert_eq!(slow.get(&2).unwrap(), Some(2));
    assert_eq!((numbers.get(&2).unwrap(), slow.stats().discarded_loads), (Some(9), 1));
}
