//! Loaders that load the keys of several calls at once.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use bytecache::testing::Inspect;
use bytecache::{AsyncLoader, Batch, Batched, BuildError, Cache, Lifetime, LoadError, Loaded, LoaderBuilder, Value};

use crate::support::{Gate, Hand, alone, assert_nothing_is_left, block_on, timed};

const SECOND: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(1_000);

type Answer = Result<Value, LoadError<&'static str>>;
type Given = Result<Vec<Option<Loaded<String>>>, &'static str>;
type Loading = Pin<Box<dyn Future<Output = Given> + Send>>;
type Load = Box<dyn Fn(Vec<Arc<[u8]>>) -> Loading + Send + Sync>;
type Users = AsyncLoader<Batched<Load>>;

/// A store that notes its queries, and answers each when its gate is opened.
#[derive(Clone, Default)]
struct Store {
    queries: Arc<Mutex<Vec<(String, Gate)>>>,
}

impl Store {
    fn load(&self) -> Load {
        let store = self.clone();
        Box::new(move |keys| {
            let names: Vec<_> = keys.iter().map(|key| String::from_utf8(key.to_vec()).unwrap()).collect();
            let gate = Gate::new();
            store.queries.lock().unwrap().push((names.join(" "), gate.clone()));
            Box::pin(async move {
                gate.await;
                answer(&names)
            })
        })
    }

    fn queries(&self) -> Vec<String> {
        self.queries.lock().unwrap().iter().map(|(names, _)| names.clone()).collect()
    }

    fn open(&self, query: usize) {
        let gate = self.queries.lock().unwrap()[query].1.clone();
        gate.open();
    }
}

/// Answers a query as the names of its keys say.
fn answer(names: &[String]) -> Given {
    let one = |name: &String| match name.as_str() {
        "nobody" => None,
        "short" => Some(Loaded::ValueFor("short".to_string(), Lifetime::new().ttl(SECOND))),
        "panic" => panic!("the loader does"),
        name => Some(Loaded::Value(format!("<{name}>"))),
    };
    match names.iter().find_map(|name| name.strip_prefix("error")) {
        Some(_) => Err("down"),
        None if names.iter().any(|name| name == "miscount") => Ok(vec![None; names.len() + 1]),
        None => Ok(names.iter().map(one).collect()),
    }
}

/// Builds a loader, and a runner of its spawned tasks.
fn spawning(builder: LoaderBuilder, batch: Batch, store: &Store) -> (Users, impl Fn() + use<>) {
    let tasks: Arc<Mutex<Vec<Hand<'static, ()>>>> = Arc::default();
    let queue = Arc::clone(&tasks);
    let users = builder.spawner(move |task| queue.lock().unwrap().push(Hand::new(task)));
    let users = users.build_batched_async(batch, store.load()).unwrap();
    // A refresh opens a batch, and the opener yields once.
    let run = move || {
        for _ in 0..3 {
            let mut polled = std::mem::take(&mut *tasks.lock().unwrap());
            polled.retain_mut(|task| task.poll().is_pending());
            tasks.lock().unwrap().append(&mut polled);
        }
    };
    (users, run)
}

fn call<'a>(users: &'a Users, key: &'a str) -> Hand<'a, Answer> {
    let mut call = Hand::new(users.get_async(key));
    assert!(call.poll().is_pending());
    call
}

#[track_caller]
fn is_value(poll: &Poll<Answer>, expected: &str) -> bool {
    matches!(poll, Poll::Ready(Ok(value)) if *value == *expected.as_bytes())
}

#[test]
fn keys_gather_while_earlier_batches_are_in_flight() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    let store = Store::default();
    let (users, run) = spawning(cache.loader(), Batch::up_to(3).in_flight(2), &store);
    let mut calls = vec![call(&users, "a")];
    run();
    calls.extend([call(&users, "b"), call(&users, "c")]);
    run();
    assert_eq!(store.queries(), ["a", "b c"]);
    // Two batches are in flight. The next keys wait for an end, three in a batch.
    calls.extend(["d", "e", "f", "g"].map(|key| call(&users, key)));
    // A key that waits in a batch already is not added again.
    calls.push(call(&users, "d"));
    run();
    assert_eq!(store.queries().len(), 2);
    store.open(1);
    run();
    assert_eq!(store.queries(), ["a", "b c", "d e f"]);
    store.open(0);
    run();
    assert_eq!(store.queries(), ["a", "b c", "d e f", "g"]);
    store.open(2);
    store.open(3);
    run();
    for (call, expected) in calls.iter_mut().zip(["<a>", "<b>", "<c>", "<d>", "<e>", "<f>", "<g>", "<d>"]) {
        assert!(is_value(&call.poll(), expected), "{expected}");
    }
    drop(calls);
    assert_eq!((cache.len(), cache.stats().loads, cache.stats().followers), (7, 7, 1));
    assert_nothing_is_left(&cache);
}

#[test]
fn each_key_of_a_batch_has_the_rules_of_the_loader() {
    let _alone = alone();
    let (cache, clock) = timed(|builder| builder);
    let store = Store::default();
    let rules = cache.loader().ttl(10 * SECOND).negative_ttl(SECOND).refresh_after(5 * SECOND);
    let (users, run) = spawning(rules, Batch::up_to(100), &store);
    let mut calls = ["a", "nobody", "short"].map(|key| call(&users, key));
    run();
    store.open(0);
    run();
    assert!(is_value(&calls[0].poll(), "<a>") && is_value(&calls[2].poll(), "short"));
    assert!(matches!(calls[1].poll(), Poll::Ready(Err(LoadError::Absent))));
    assert!(block_on(users.get_async("nobody")).unwrap_err().is_absent());
    clock.advance(2 * SECOND);
    assert!(cache.contains_key("a") && !cache.contains_key("short"));
    // A refresh joins a batch too. Its caller does not wait for it.
    clock.advance(4 * SECOND);
    assert_eq!(block_on(users.get_async("a")).unwrap(), *b"<a>");
    run();
    let _absent = call(&users, "nobody");
    run();
    assert_eq!(store.queries(), ["a nobody short", "a"]);
    store.open(1);
    run();
    assert_eq!(store.queries()[2..], ["nobody"]);
    assert_eq!(cache.stats().refreshes, 1);
}

#[test]
fn an_error_of_a_batch_is_that_of_each_key() {
    let _alone = alone();
    let (cache, clock) = timed(|builder| builder);
    let store = Store::default();
    let (users, run) = spawning(cache.loader().error_ttl(SECOND), Batch::up_to(100), &store);
    let mut calls = ["a", "error"].map(|key| call(&users, key));
    run();
    store.open(0);
    run();
    for call in &mut calls {
        assert!(matches!(call.poll(), Poll::Ready(Err(LoadError::Failed(error))) if *error == "down"));
    }
    assert!(matches!(block_on(users.get_async("a")), Err(LoadError::RecentFailure)));
    clock.advance(2 * SECOND);
    let mut again = call(&users, "a");
    run();
    store.open(1);
    run();
    assert!(is_value(&again.poll(), "<a>"));
}

#[test]
fn a_wrong_number_of_values_is_an_error_of_each_key_and_stores_nothing() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    let store = Store::default();
    let (users, run) = spawning(cache.loader().error_ttl(SECOND), Batch::up_to(100), &store);
    let mut calls = ["a", "miscount"].map(|key| call(&users, key));
    run();
    store.open(0);
    run();
    for call in &mut calls {
        assert!(matches!(call.poll(), Poll::Ready(Err(LoadError::WrongCount { keys: 2, values: 3 }))));
    }
    drop(calls);
    assert!(cache.is_empty());
    assert_nothing_is_left(&cache);
}

#[test]
fn a_panic_is_an_error_of_each_key_and_makes_room_for_the_next_batch() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    let tasks: Arc<Mutex<Vec<Hand<'static, ()>>>> = Arc::default();
    let queue = Arc::clone(&tasks);
    let load = |keys: Vec<Arc<[u8]>>| async move {
        assert!(!keys.iter().any(|key| **key == *b"panic"), "the loader does");
        Ok::<_, &'static str>(vec![Some("value"); keys.len()])
    };
    let users = cache.loader().spawner(move |task| queue.lock().unwrap().push(Hand::new(task)));
    let users = users.build_batched_async(Batch::up_to(100), load).unwrap();
    let mut calls = ["a", "panic"].map(|key| Hand::new(users.get_async(key)));
    assert!(calls.iter_mut().all(|call| call.poll().is_pending()));
    let mut first = tasks.lock().unwrap().pop().unwrap();
    assert!(first.poll().is_pending());
    assert!(catch_unwind(AssertUnwindSafe(|| first.poll())).is_err());
    drop(first);
    assert!(calls.iter_mut().all(|call| matches!(call.poll(), Poll::Ready(Err(LoadError::Panicked)))));
    let mut again = Hand::new(users.get_async("a"));
    assert!(again.poll().is_pending());
    let mut second = tasks.lock().unwrap().pop().unwrap();
    assert!(second.poll().is_pending() && second.poll().is_ready());
    assert!(matches!(again.poll(), Poll::Ready(Ok(value)) if value == *b"value"));
    drop((calls, again, second));
    assert_nothing_is_left(&cache);
}

#[test]
fn callers_that_go_away_cost_a_spawned_batch_nothing() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    let store = Store::default();
    let (users, run) = spawning(cache.loader(), Batch::up_to(100), &store);
    drop(["a", "b"].map(|key| call(&users, key)));
    run();
    store.open(0);
    run();
    assert_eq!((store.queries(), cache.len()), (vec!["a b".to_string()], 2));
    assert_eq!(cache.stats().load_cancellations, 0);
    assert_nothing_is_left(&cache);
}

#[test]
fn batches_and_other_loads_of_a_key_share_its_flight() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    let store = Store::default();
    let (users, run) = spawning(cache.loader(), Batch::up_to(100), &store);
    let gate = Gate::new();
    let waits = gate.clone();
    let mut other = Hand::new(cache.get_or_load_async("a", async || {
        waits.await;
        Ok::<_, &'static str>("other")
    }));
    assert!(other.poll().is_pending());
    let mut calls = ["a", "b"].map(|key| call(&users, key));
    let never = async || -> Result<&str, &'static str> { panic!("loaded twice") };
    let mut follower = Hand::new(cache.get_or_load_async("b", never));
    assert!(follower.poll().is_pending());
    run();
    assert_eq!(store.queries(), ["b"]);
    store.open(0);
    gate.open();
    run();
    assert!(is_value(&other.poll(), "other") && is_value(&calls[0].poll(), "other"));
    assert!(is_value(&calls[1].poll(), "<b>") && is_value(&follower.poll(), "<b>"));
}

#[test]
fn a_write_keeps_its_key_alone_from_being_stored() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    let store = Store::default();
    let (users, run) = spawning(cache.loader(), Batch::up_to(100), &store);
    let _calls = ["a", "b"].map(|key| call(&users, key));
    run();
    cache.remove("a");
    store.open(0);
    run();
    assert!(!cache.contains_key("a") && cache.contains_key("b"));
    assert_eq!(cache.stats().discarded_loads, 1);
}

#[test]
fn a_key_that_is_written_while_it_waits_in_a_batch_is_in_it_once() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    let store = Store::default();
    let (users, run) = spawning(cache.loader(), Batch::up_to(100), &store);
    let mut before = ["a", "b"].map(|key| call(&users, key));
    cache.remove("a");
    let mut after = call(&users, "a");
    run();
    assert_eq!(store.queries(), ["b a"]);
    // It starts again, and follows the later load.
    assert!(before[0].poll().is_pending());
    store.open(0);
    run();
    assert!(is_value(&before[0].poll(), "<a>") && is_value(&before[1].poll(), "<b>") && is_value(&after.poll(), "<a>"));
    assert!(cache.contains_key("a"));
    assert_eq!((cache.stats().loads, cache.stats().load_cancellations), (2, 1));
    drop((before, after));
    assert_nothing_is_left(&cache);
}

#[test]
fn a_key_that_cannot_be_stored_is_loaded_by_itself() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    let store = Store::default();
    let (users, _) = spawning(cache.loader(), Batch::up_to(100), &store);
    let long = "x".repeat(70_000);
    let mut loading = call(&users, &long);
    store.open(0);
    assert!(is_value(&loading.poll(), &format!("<{long}>")));
    let mut miscounts = Hand::new(users.get_async([b"miscount".as_slice(), &[b' '; 70_000]].concat()));
    assert!(miscounts.poll().is_pending());
    drop((loading, miscounts));
    assert_nothing_is_left(&cache);
}

// Without a spawner.

fn in_callers(builder: LoaderBuilder, batch: Batch, store: &Store) -> Users {
    builder.build_batched_async(batch, store.load()).unwrap()
}

#[test]
fn without_a_spawner_a_batch_runs_in_the_call_that_opened_it() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    let store = Store::default();
    let users = in_callers(cache.loader(), Batch::up_to(100), &store);
    let mut calls = ["a", "b", "c"].map(|key| call(&users, key));
    assert!(calls[1].poll().is_pending() && store.queries().is_empty());
    assert!(calls[0].poll().is_pending());
    assert_eq!(store.queries(), ["a b c"]);
    let (mut next, mut after) = (call(&users, "d"), call(&users, "e"));
    store.open(0);
    assert!(is_value(&calls[0].poll(), "<a>") && is_value(&calls[2].poll(), "<c>"));
    assert!(next.wakes() > 0, "the next batch may run");
    assert!(next.poll().is_pending() && next.poll().is_pending());
    assert_eq!(store.queries(), ["a b c", "d e"]);
    store.open(1);
    assert!(is_value(&next.poll(), "<d>") && is_value(&after.poll(), "<e>"));
    drop((calls, next, after));
    assert_nothing_is_left(&cache);
}

#[test]
fn callers_start_again_when_the_call_that_runs_their_batch_is_dropped() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    for polls_before_the_drop in [1, 2] {
        cache.clear();
        let store = Store::default();
        let users = in_callers(cache.loader(), Batch::up_to(100), &store);
        let mut opener = call(&users, "a");
        let mut others = ["a", "b", "c"].map(|key| call(&users, key));
        for _ in 1..polls_before_the_drop {
            assert!(opener.poll().is_pending());
        }
        drop(opener);
        // Each is woken, and the first of them opens a batch.
        assert!(others.iter().all(|call| call.wakes() > 0));
        for _ in 0..2 {
            assert!(others.iter_mut().all(|call| call.poll().is_pending()));
        }
        assert_eq!(store.queries().last().map(String::as_str), Some("a b c"));
        store.open(store.queries().len() - 1);
        for (call, expected) in others.iter_mut().zip(["<a>", "<b>", "<c>"]) {
            assert!(is_value(&call.poll(), expected));
        }
        drop(others);
        assert_nothing_is_left(&cache);
    }
}

#[test]
fn a_batch_that_waits_for_its_turn_and_is_dropped_does_not_hold_up_the_next_one() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    let store = Store::default();
    let users = in_callers(cache.loader(), Batch::up_to(1), &store);
    let mut first = call(&users, "a");
    assert!(first.poll().is_pending());
    let (second, mut third) = (call(&users, "b"), call(&users, "c"));
    store.open(0);
    assert!(first.poll().is_ready());
    // The second one may run, and goes away.
    drop(second);
    assert!(third.wakes() > 0);
    assert!(third.poll().is_pending() && third.poll().is_pending());
    assert_eq!(store.queries(), ["a", "c"]);
    drop((first, third));
    assert_nothing_is_left(&cache);
}

#[test]
fn a_batch_in_a_call_ends_at_the_load_timeout_for_all_its_keys() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    let (store, sleep) = (Store::default(), Gate::new());
    let waits = sleep.clone();
    let builder = cache.loader().load_timeout(LIMIT).sleep(move |_| waits.clone());
    let users = in_callers(builder, Batch::up_to(100), &store);
    let mut calls = ["a", "b"].map(|key| call(&users, key));
    assert!(calls[0].poll().is_pending());
    // This batch waits for the first one.
    let mut waiting = call(&users, "c");
    sleep.open();
    let times_out = |poll: Poll<Answer>| matches!(poll, Poll::Ready(Err(LoadError::TimedOut)));
    assert!(calls.iter_mut().all(|call| times_out(call.poll())) && times_out(waiting.poll()));
    assert_eq!(store.queries(), ["a b"]);
    drop((calls, waiting));
    assert_nothing_is_left(&cache);
}

#[test]
fn a_caller_runs_its_batch_if_the_spawner_drops_it() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    let store = Store::default();
    let users = in_callers(cache.loader().spawner(drop), Batch::up_to(100), &store);
    let mut calls = ["a", "b"].map(|key| call(&users, key));
    assert!(calls.iter_mut().all(|call| call.poll().is_pending()));
    assert_eq!(store.queries(), ["a b"]);
    store.open(0);
    assert!(is_value(&calls[0].poll(), "<a>") && is_value(&calls[1].poll(), "<b>"));
    drop(calls);
    assert_nothing_is_left(&cache);
}

#[test]
fn a_batch_without_keys_or_without_flights_is_refused() {
    let cache = Cache::new(1 << 20).unwrap();
    for batch in [Batch::up_to(0), Batch::up_to(1).in_flight(0)] {
        let error = cache.loader().build_batched_async(batch, Store::default().load()).unwrap_err();
        assert_eq!(error, BuildError::EmptyBatch);
    }
}

#[test]
fn batches_stay_within_their_limits_and_load_each_key_once_whatever_threads_do() {
    const KEYS: usize = 500;
    const TASKS: usize = 4;
    let _alone = alone();
    let cache = Cache::builder().max_bytes(4 << 20).build().unwrap();
    let (running, loaded) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
    let (counts, total) = (Arc::clone(&running), Arc::clone(&loaded));
    let load = move |keys: Vec<Arc<[u8]>>| {
        let (running, loaded) = (Arc::clone(&counts), Arc::clone(&total));
        async move {
            assert!(running.fetch_add(1, Ordering::SeqCst) < 2 && (1..=16).contains(&keys.len()));
            tokio::task::yield_now().await;
            loaded.fetch_add(keys.len(), Ordering::SeqCst);
            running.fetch_sub(1, Ordering::SeqCst);
            Ok::<_, &'static str>(keys.into_iter().map(Some).collect())
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
    for is_spawning in [true, false] {
        cache.clear();
        loaded.store(0, Ordering::SeqCst);
        let builder = cache.loader();
        let builder = if is_spawning { builder.spawner(|task| drop(tokio::spawn(task))) } else { builder };
        let users = builder.build_batched_async(Batch::up_to(16).in_flight(2), load.clone()).unwrap();
        runtime.block_on(async {
            let tasks: Vec<_> = (0..TASKS * KEYS)
                .map(|number| {
                    let users = users.clone();
                    tokio::spawn(async move {
                        let key = (number % KEYS).to_string();
                        assert_eq!(users.get_async(&key).await.unwrap(), *key.as_bytes());
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
        });
        assert_eq!((loaded.load(Ordering::SeqCst), running.load(Ordering::SeqCst)), (KEYS, 0));
    }
    drop(runtime);
    assert_nothing_is_left(&cache);
    assert_eq!(cache.loads_under_way(), (0, 0));
}
