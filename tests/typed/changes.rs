//! Atomic changes of typed values.

use std::thread;
use std::time::Duration;

use bytecache::typed::{Counter, NoLoads, Utf8};
use bytecache::{Error, Lifetime, Remaining, Typed, Update};

use super::{Small, cache, timed_cache};

#[test]
fn increments_and_updates_of_many_threads_add_up() {
    const THREADS: usize = 8;
    const ROUNDS: usize = 5_000;
    let cache = cache();
    let counters: Typed<String, i64, Counter, NoLoads> = cache.namespace("counters").typed(Counter).build().unwrap();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    counters.increment("incremented", 1).unwrap();
                    counters.update("updated", |value| Update::Store(value.unwrap_or_default() + 1)).unwrap();
                }
            });
        }
    });
    let sum = i64::try_from(THREADS * ROUNDS).unwrap();
    assert_eq!((counters.get("incremented"), counters.get("updated")), (Some(sum), Some(sum)));
}

#[test]
fn a_counter_that_would_overflow_stays() {
    let cache = cache();
    let counters: Typed<u8, i64, _, _> = cache.namespace("counters").typed(Counter).build().unwrap();
    counters.insert(&1, &i64::MAX).unwrap();
    assert_eq!(counters.increment(&1, 1), Err(Error::CounterOverflow { value: i64::MAX, by: 1 }));
    assert_eq!(counters.get(&1), Some(i64::MAX));
}

#[test]
fn an_update_gives_new_entries_the_usual_lifetime_and_keeps_that_of_others() {
    let (cache, clock) = timed_cache();
    let minute = Duration::from_secs(60);
    let values: Typed<u8, String, _, _> = cache.namespace("values").typed(Utf8).ttl(minute).build().unwrap();
    let append = |key: u8| values.update(&key, |value| Update::Store(value.unwrap_or_default() + "x")).unwrap();
    let left = || match values.namespace().ttl([1]) {
        Some(Remaining::For(left)) => left,
        other => panic!("{other:?}"),
    };
    append(1);
    assert!(left() > minute * 9 / 10);
    clock.advance(minute / 2);
    append(1);
    assert!(left() <= minute / 2);
    let longer = Lifetime::new().ttl(minute * 10);
    values.update(&1, |_| Update::StoreFor("y".to_string(), longer)).unwrap();
    assert!(left() > minute * 9);
    assert!(!values.update(&1, |_| Update::Keep).unwrap());
    assert!(values.update(&1, |_| Update::Remove).unwrap() && !values.contains_key(&1));
}

#[test]
fn an_update_of_a_value_that_does_not_decode_begins_anew() {
    let cache = cache();
    let values: Typed<u8, u32, _, _> = cache.namespace("values").typed(Small(1)).build().unwrap();
    values.namespace().insert([1], "broken").unwrap();
    values.update(&1, |value| Update::Store(value.map_or(5, |value| value + 1))).unwrap();
    values.update(&1, |value| Update::Store(value.map_or(5, |value| value + 1))).unwrap();
    assert_eq!(values.get(&1), Some(6));
}

#[test]
fn a_value_is_replaced_if_it_is_the_expected_one() {
    let cache = cache();
    let values: Typed<u8, u32, _, _> = cache.namespace("values").typed(Small(1)).build().unwrap();
    values.insert(&1, &7).unwrap();
    assert!(!values.replace_if(&1, &8, &9).unwrap() && values.replace_if(&1, &7, &9).unwrap());
    assert_eq!(values.get(&1), Some(9));
    assert!(values.replace_if(&1, &9, &300).is_err());
    assert_eq!(values.get(&1), None);
}
