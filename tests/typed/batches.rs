//! Typed reads of many keys, and loads in batches.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytecache::{Batch, Cache, LoadError, Typed};

use super::{Small, cache};

const MINUTE: Duration = Duration::from_secs(60);

/// The batches that a store has got.
type Batches = Arc<Mutex<Vec<Vec<u32>>>>;

/// Opens numbers whose store has even ones up to 98, and is down for 100.
fn numbers(cache: &Cache) -> (Typed<u32, u32, Small>, Batches) {
    let batches = Batches::default();
    let seen = Arc::clone(&batches);
    let load = move |keys: Vec<u32>| {
        seen.lock().unwrap().push(keys.clone());
        async move {
            if keys.contains(&100) {
                return Err(io::Error::other("down"));
            }
            Ok(keys.into_iter().map(|key| (key % 2 == 0).then_some(key)).collect())
        }
    };
    let builder = cache.namespace("numbers").typed(Small(1)).negative_ttl(MINUTE);
    (builder.build_batched_async(Batch::up_to(16), load).unwrap(), batches)
}

#[tokio::test]
async fn the_keys_of_several_calls_are_loaded_by_one() {
    let cache = cache();
    let (numbers, batches) = numbers(&cache);
    let (two, three, many) = tokio::join!(numbers.get(&2), numbers.get(&3), numbers.get_many(&[4, 5, 2]));
    assert_eq!((two.unwrap(), three.unwrap()), (Some(2), None));
    let many: Vec<_> = many.into_iter().map(Result::unwrap).collect();
    assert_eq!(many, [Some(4), None, Some(2)]);
    assert_eq!(*batches.lock().unwrap(), [vec![2, 3, 4, 5]]);
    // Remembered, also what was not found.
    assert_eq!(numbers.get(&5).await.unwrap(), None);
    assert_eq!((batches.lock().unwrap().len(), numbers.stats().loads), (1, 4));
    assert!(cache.is_empty() || !cache.contains_key(2_u32.to_be_bytes()), "plain keys are others");
}

#[tokio::test]
async fn the_error_of_a_batch_is_that_of_each_of_its_keys_and_of_no_other() {
    let cache = cache();
    let (numbers, _) = numbers(&cache);
    numbers.insert(&6, &6).unwrap();
    let found = numbers.get_many(&[6, 100, 8]).await;
    assert!(matches!(found[0], Ok(Some(6))));
    assert!(found[1..].iter().all(|result| matches!(result, Err(LoadError::Failed(_)))));
    assert_eq!(numbers.get(&8).await.unwrap(), Some(8));
}

#[tokio::test]
async fn a_batch_of_another_number_of_values_is_an_error() {
    let cache = cache();
    let load = async |_: Vec<u32>| Ok::<_, io::Error>(vec![Some(1_u32); 3]);
    let load = move |keys| Box::pin(load(keys)) as std::pin::Pin<Box<dyn Future<Output = _> + Send>>;
    let builder = cache.namespace("numbers").typed(Small(1));
    let numbers: Typed<u32, u32, _> = builder.build_batched_async(Batch::up_to(16), load).unwrap();
    assert!(matches!(numbers.get(&1).await, Err(LoadError::WrongCount { keys: 1, values: 3 })));
}

#[tokio::test]
async fn a_batch_that_began_before_an_invalidation_is_not_stored() {
    let cache = cache();
    let space = cache.namespace("numbers").build().unwrap();
    let load = move |keys: Vec<u32>| {
        space.invalidate_all();
        async move { Ok::<_, io::Error>(keys.into_iter().map(Some).collect()) }
    };
    let builder = cache.namespace("numbers").typed(Small(1));
    let numbers: Typed<u32, u32, _> = builder.build_batched_async(Batch::up_to(16), load).unwrap();
    let (one, two) = tokio::join!(numbers.get(&1), numbers.get(&2));
    assert_eq!((one.unwrap(), two.unwrap()), (Some(1), Some(2)));
    assert!(!numbers.contains_key(&1) && !numbers.contains_key(&2));
    assert_eq!(numbers.stats().discarded_loads, 2);
}

#[tokio::test]
async fn many_keys_are_read_again_where_their_bytes_do_not_decode() {
    let cache = cache();
    let (tasks, batches) = numbers(&cache);
    let threads: Typed<u32, u32, _, _> =
        cache.namespace("numbers").typed(Small(1)).build_loader(|key: u32| Ok::<_, io::Error>(Some(key))).unwrap();
    for round in 1..=2 {
        for key in [2_u32, 4] {
            tasks.namespace().insert(key.to_be_bytes(), "not a number").unwrap();
        }
        let found = match round {
            1 => threads.get_many(&[2, 4]),
            _ => tokio::spawn({
                let tasks = tasks.clone();
                async move { tasks.get_many(&[2, 4]).await }
            })
            .await
            .unwrap(),
        };
        assert_eq!(found.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [Some(2), Some(4)]);
        assert_eq!(tasks.stats().undecodable, 2 * round);
    }
    assert_eq!(batches.lock().unwrap().concat(), [2, 4]);
}

#[tokio::test]
async fn a_key_that_waits_in_two_generations_is_in_each_batch_once() {
    let cache = cache();
    let (is_open, batches) = (Arc::new(AtomicBool::new(false)), Batches::default());
    let load = {
        let (is_open, batches) = (Arc::clone(&is_open), Arc::clone(&batches));
        move |keys: Vec<u32>| {
            batches.lock().unwrap().push(keys.clone());
            let is_open = Arc::clone(&is_open);
            async move {
                while !is_open.load(Ordering::Relaxed) {
                    tokio::task::yield_now().await;
                }
                Ok::<_, io::Error>(keys.into_iter().map(Some).collect())
            }
        }
    };
    let builder = cache.namespace("numbers").typed(Small(1)).spawner(|batch| drop(tokio::spawn(batch)));
    let numbers: Typed<u32, u32, _> = builder.build_batched_async(Batch::up_to(16), load).unwrap();
    let get = |key: u32| {
        let numbers = numbers.clone();
        tokio::spawn(async move { numbers.get(&key).await.unwrap() })
    };
    let first = get(9);
    while batches.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    let before = get(1);
    while numbers.stats().misses < 2 {
        tokio::task::yield_now().await;
    }
    tokio::task::yield_now().await;
    numbers.invalidate_all();
    let after = get(1);
    while numbers.stats().misses < 3 {
        tokio::task::yield_now().await;
    }
    is_open.store(true, Ordering::Relaxed);
    assert_eq!((first.await.unwrap(), before.await.unwrap(), after.await.unwrap()), (Some(9), Some(1), Some(1)));
    let batches = batches.lock().unwrap().clone();
    assert!(batches[1..].iter().all(|keys| *keys == [1]), "{batches:?}");
    assert_eq!(numbers.peek(&1), Some(1), "the load of the present generation is stored");
}

#[test]
fn the_keys_of_a_call_on_a_thread_are_loaded_by_one_query() {
    let cache = cache();
    let batches = Batches::default();
    let seen = Arc::clone(&batches);
    let load = move |keys: Vec<u32>| {
        seen.lock().unwrap().push(keys.clone());
        match keys.contains(&100) {
            true => Err(io::Error::other("down")),
            false => Ok(keys.into_iter().map(|key| (key % 2 == 0).then_some(key)).collect()),
        }
    };
    let builder = cache.namespace("numbers").typed(Small(1)).negative_ttl(MINUTE);
    let numbers = builder.build_batched_loader(Batch::up_to(16), load).unwrap();
    let found: Vec<_> = numbers.get_many(&[4, 5, 2, 4]).into_iter().map(Result::unwrap).collect();
    assert_eq!(found, [Some(4), None, Some(2), Some(4)]);
    assert_eq!((numbers.get(&5).unwrap(), numbers.get(&6).unwrap()), (None, Some(6)));
    assert_eq!(*batches.lock().unwrap(), [vec![4, 5, 2], vec![6]]);
    let failed = numbers.get_many(&[6, 100, 8]);
    assert!(matches!(failed[0], Ok(Some(6))));
    assert!(failed[1..].iter().all(|result| matches!(result, Err(LoadError::Failed(_)))));
    // A value that does not encode is an error of its batch.
    assert!(numbers.get(&300).is_err() && numbers.stats().unencodable == 1);
}
