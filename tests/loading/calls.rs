//! Other calls of loaders: for many keys, for what is present, with the origin of a value, and
//! those that cannot fail.

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use bytecache::testing::Inspect;
use bytecache::{Batch, Cache, LoadError, Loaded, Origin, Present, Value, WarmOptions};

use crate::support::{Gate, Hand, alone, assert_nothing_is_left, block_on, timed, until};

const SECOND: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(1_000);

type Answer = Result<Value, LoadError<&'static str>>;

/// Loads what the key says, and notes the key.
#[derive(Clone, Default)]
struct Store(Arc<Mutex<Vec<String>>>);

impl Store {
    fn load(&self, key: &[u8]) -> Result<Loaded<String>, &'static str> {
        let name = String::from_utf8(key.to_vec()).unwrap();
        self.0.lock().unwrap().push(name.clone());
        match name.as_str() {
            "nobody" => Ok(Loaded::Absent),
            "error" => Err("down"),
            _ => Ok(Loaded::Value(format!("<{name}>"))),
        }
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// Describes answers in words.
fn words(answers: &[Answer]) -> Vec<String> {
    let word = |answer: &Answer| match answer {
        Ok(value) => String::from_utf8(value.to_vec()).unwrap(),
        Err(LoadError::Failed(error)) => error.to_string(),
        Err(error) => format!("{error:?}"),
    };
    answers.iter().map(word).collect()
}

const KEYS: [&str; 6] = ["a", "nobody", "present", "error", "a", "b"];
const WORDS: [&str; 6] = ["<a>", "Absent", "value", "down", "<a>", "<b>"];

// Many keys.

#[test]
fn each_of_many_keys_has_the_result_that_a_call_for_it_alone_would_have() {
    let _alone = alone();
    let (cache, clock) = timed(|builder| builder);
    let store = Store::default();
    let loads = store.clone();
    let rules = cache.loader().negative_ttl(SECOND).error_ttl(SECOND).ttl(60 * SECOND).refresh_after(10 * SECOND);
    let loader = rules.build(move |key| loads.load(key)).unwrap();
    cache.insert("present", "value").unwrap();
    assert_eq!(words(&loader.get_many(&KEYS)), WORDS);
    assert_eq!(store.take(), ["a", "nobody", "error", "b"]);
    let again = loader.get_many(&KEYS);
    assert_eq!(words(&again), ["<a>", "Absent", "value", "RecentFailure", "<a>", "<b>"]);
    assert_eq!(store.take(), [""; 0]);
    let stats = cache.stats();
    assert_eq!((stats.loads, stats.hits, stats.misses, stats.negative_hits), (4, 7, 5, 2));

    clock.advance(11 * SECOND);
    cache.insert("b", "newer").unwrap();
    assert_eq!(words(&loader.get_many(&["a", "b", "a"])), ["<a>", "newer", "<a>"]);
    assert_eq!((store.take(), cache.stats().refreshes), (vec!["a".to_string()], 1));
    assert!(loader.get_many::<&str, _, _>(&[]).is_empty());
    assert_nothing_is_left(&cache);
}

#[test]
fn each_of_many_keys_of_a_task_has_the_result_that_a_call_for_it_alone_would_have() {
    let _alone = alone();
    for is_spawning in [false, true] {
        let (cache, clock) = timed(|builder| builder);
        let store = Store::default();
        let loads = store.clone();
        let rules = cache.loader().negative_ttl(SECOND).error_ttl(SECOND).ttl(60 * SECOND).refresh_after(10 * SECOND);
        let rules = if is_spawning { rules.spawner(|task| drop(thread::spawn(|| block_on(task)))) } else { rules };
        let load = move |key: Arc<[u8]>| {
            let loads = loads.clone();
            async move { loads.load(&key) }
        };
        let loader = rules.build_async(load).unwrap();
        cache.insert("present", "value").unwrap();
        assert_eq!(words(&block_on(loader.get_many_async(&KEYS))), WORDS);
        let again = block_on(loader.get_many_async(&KEYS));
        assert_eq!(words(&again), ["<a>", "Absent", "value", "RecentFailure", "<a>", "<b>"]);
        let mut loaded = store.take();
        loaded.sort();
        assert_eq!(loaded, ["a", "b", "error", "nobody"]);
        clock.advance(11 * SECOND);
        assert_eq!(words(&block_on(loader.get_many_async(&["a", "present"]))), ["<a>", "value"]);
        until(|| cache.stats().refreshes == 1 && cache.loads_under_way() == (0, 0));
        assert_eq!(store.take(), ["a"]);
        until(|| cache.memory().flights == 0);
        assert_nothing_is_left(&cache);
    }
}

#[test]
fn many_keys_of_a_task_are_loaded_side_by_side_and_those_of_a_batched_loader_together() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    let (gate, begun) = (Gate::new(), Arc::new(AtomicUsize::new(0)));
    let (waits, count) = (gate.clone(), Arc::clone(&begun));
    let load = move |key: Arc<[u8]>| {
        let waits = waits.clone();
        count.fetch_add(1, Ordering::Relaxed);
        async move {
            waits.await;
            Ok::<_, &str>(key)
        }
    };
    let loader = cache.loader().build_async(load).unwrap();
    let mut call = Hand::new(loader.get_many_async(&["a", "b", "c"]));
    assert!(call.poll().is_pending());
    assert_eq!(begun.load(Ordering::Relaxed), 3);
    gate.open();
    assert!(matches!(call.poll(), Poll::Ready(values) if words(&values) == ["a", "b", "c"]));
    drop(call);

    let batches: Arc<Mutex<Vec<usize>>> = Arc::default();
    let sizes = Arc::clone(&batches);
    let load = move |keys: Vec<Arc<[u8]>>| {
        sizes.lock().unwrap().push(keys.len());
        async { Ok::<_, &str>(keys.into_iter().map(Some).collect()) }
    };
    let numbers: Vec<String> = (0..50).map(|number| number.to_string()).collect();
    let batched = cache.loader().build_batched_async(Batch::up_to(20).in_flight(2), load).unwrap();
    assert_eq!(words(&block_on(batched.get_many_async(&numbers))), numbers);
    assert_eq!(*batches.lock().unwrap(), [20, 20, 10]);
    assert_nothing_is_left(&cache);
}

#[test]
fn calls_for_each_others_keys_both_end() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    let (first_begins, second_ends) = (mpsc::channel(), mpsc::channel());
    let (begin, end) = (first_begins.0, Mutex::new(second_ends.1));
    let loader = {
        let load = move |key: &[u8]| {
            if key == b"a" {
                begin.send(()).unwrap();
                end.lock().unwrap().recv().unwrap();
            }
            Ok::<_, &str>(key.to_vec())
        };
        cache.loader().build(load).unwrap()
    };
    thread::scope(|scope| {
        let first = scope.spawn(|| words(&loader.get_many(&["a", "b"])));
        first_begins.1.recv().unwrap();
        // This call follows the load of "a" after its own of "b".
        let second = scope.spawn(|| words(&loader.get_many(&["a", "b"])));
        until(|| cache.contains_key("b") && cache.loads_under_way() == (1, 1));
        second_ends.0.send(()).unwrap();
        assert_eq!(
            (first.join().unwrap(), second.join().unwrap()),
            (vec!["a".into(), "b".into()], vec!["a".into(), "b".into()])
        );
    });
    assert_eq!(cache.stats().loads, 2);
    assert_nothing_is_left(&cache);
}

#[test]
fn an_executor_gets_the_loads_of_many_keys_at_once_and_the_limit_holds_for_all() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    type Job = Box<dyn FnOnce() + Send>;
    let jobs: Arc<Mutex<Vec<Job>>> = Arc::default();
    let queue = Arc::clone(&jobs);
    let store = Store::default();
    let loads = store.clone();
    let loader = cache.loader().load_timeout(Duration::from_millis(1));
    let loader = loader.executor(move |job| queue.lock().unwrap().push(job));
    let loader = loader.build(move |key| loads.load(key)).unwrap();
    assert_eq!(words(&loader.get_many(&["a", "b"])), ["TimedOut", "TimedOut"]);
    jobs.lock().unwrap().drain(..).for_each(|job| job());
    assert_eq!(words(&loader.get_many(&["a", "b"])), ["<a>", "<b>"]);
    assert_eq!(store.take(), ["a", "b"]);
    let dropping = cache.loader().load_timeout(LIMIT).executor(drop);
    let loads = store.clone();
    let dropping = dropping.build(move |key| loads.load(key)).unwrap();
    assert_eq!(words(&dropping.get_many(&["c", "d"])), ["<c>", "<d>"]);
    assert_nothing_is_left(&cache);
}

// What is present.

#[test]
fn what_is_present_is_told_without_a_load_and_counts_once() {
    let _alone = alone();
    let (cache, clock) = timed(|builder| builder);
    let store = Store::default();
    let loads = store.clone();
    let rules = cache.loader().negative_ttl(5 * SECOND).error_ttl(5 * SECOND).ttl(10 * SECOND).refresh_after(SECOND);
    let loader = rules.stale_for(60 * SECOND).build(move |key| loads.load(key)).unwrap();
    assert!(matches!(loader.get_if_present("a"), Present::Nothing));
    assert_eq!((cache.stats().hits, cache.stats().misses), (0, 1));
    let _ = loader.get_many(&["a", "nobody", "error"]);
    assert_eq!(store.take().len(), 3);
    let before = cache.stats();
    assert!(matches!(loader.get_if_present("nobody"), Present::Absent));
    assert!(matches!(loader.get_if_present("error"), Present::Nothing));
    clock.advance(2 * SECOND);
    // Due for a refresh.
    assert_eq!(loader.get_if_present("a").value().as_deref(), Some(&b"<a>"[..]));
    let after = cache.stats();
    assert_eq!((after.hits - before.hits, after.misses - before.misses), (3, 0));
    clock.advance(9 * SECOND);
    // Stale.
    assert!(matches!(loader.get_if_present("a"), Present::Nothing));
    assert_eq!((store.take(), cache.stats().misses - after.misses), (vec![], 1));
}

#[test]
fn what_is_being_loaded_is_not_present() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    let load = |_| async {
        pending::<()>().await;
        Ok::<_, &str>("value")
    };
    let loader = cache.loader().build_async(load).unwrap();
    let mut call = Hand::new(loader.get_async("key"));
    assert!(call.poll().is_pending());
    assert!(matches!(loader.get_if_present("key"), Present::Nothing));
}

// Origins.

#[test]
fn a_value_comes_from_the_cache_or_a_load_or_is_stale_or_too_large() {
    let _alone = alone();
    let (cache, clock) = timed(|builder| builder);
    let is_up = Arc::new(AtomicUsize::new(1));
    let up = Arc::clone(&is_up);
    let load = move |key: &[u8]| match (key, up.load(Ordering::Relaxed)) {
        (_, 0) => Err("down"),
        (b"large", _) => Ok(vec![0; 1 << 20]),
        _ => Ok(vec![0]),
    };
    let rules = cache.loader().ttl(10 * SECOND).refresh_after(SECOND).stale_for(60 * SECOND);
    let loader = rules.clone().build(load.clone()).unwrap();
    let for_tasks = rules.build_async(move |key: Arc<[u8]>| std::future::ready(load(&key))).unwrap();
    let origins = |key: &str, expected: Origin| {
        assert_eq!(loader.get_with_origin(key).unwrap().1, expected, "{key}");
    };
    let origins_in_task = |key: &str, expected: Origin| {
        assert_eq!(block_on(for_tasks.get_with_origin_async(key)).unwrap().1, expected, "{key}");
    };
    origins("a", Origin::Loaded);
    origins("a", Origin::Cached);
    origins_in_task("b", Origin::Loaded);
    origins_in_task("a", Origin::Cached);
    for _ in 0..2 {
        origins("large", Origin::TooLarge);
        origins_in_task("large", Origin::TooLarge);
    }
    let long_key = "k".repeat(70_000);
    origins(&long_key, Origin::TooLarge);
    assert_eq!(cache.stats().rejected_too_large, 4);
    clock.advance(2 * SECOND);
    origins("a", Origin::Loaded);
    is_up.store(0, Ordering::Relaxed);
    clock.advance(2 * SECOND);
    origins("a", Origin::Cached);
    clock.advance(10 * SECOND);
    origins("a", Origin::Stale);
    origins_in_task("b", Origin::Stale);
}

#[test]
fn those_who_wait_for_a_value_that_is_too_large_are_told_so() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    let gate = Gate::new();
    let waits = gate.clone();
    let load = move |_| {
        let waits = waits.clone();
        async move {
            waits.await;
            Ok::<_, &str>(vec![0; 1 << 20])
        }
    };
    let loader = cache.loader().build_async(load).unwrap();
    let mut calls = [(); 2].map(|()| Hand::new(loader.get_with_origin_async("key")));
    assert!(calls.iter_mut().all(|call| call.poll().is_pending()));
    gate.open();
    for call in &mut calls {
        assert!(matches!(call.poll(), Poll::Ready(Ok((_, Origin::TooLarge)))));
    }
    assert_eq!(cache.stats().loads, 1);
}

// Loads that cannot fail.

#[test]
fn a_load_that_cannot_fail_is_shared_and_stored() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    let gate = Gate::new();
    let waits = gate.clone();
    let mut leader = Hand::new(cache.get_or_insert_with_async("key", async || {
        waits.await;
        "value"
    }));
    let mut follower = Hand::new(cache.get_or_insert_with_async("key", async || -> &str { panic!("loaded twice") }));
    assert!(leader.poll().is_pending() && follower.poll().is_pending());
    gate.open();
    assert!(matches!(leader.poll(), Poll::Ready(value) if value == *b"value"));
    assert!(matches!(follower.poll(), Poll::Ready(value) if value == *b"value"));
    assert_eq!(cache.get_or_insert_with("key", || -> &str { panic!("loaded twice") }), *b"value");
    assert_eq!((cache.stats().loads, cache.stats().followers), (1, 1));
    drop((leader, follower));
    assert_nothing_is_left(&cache);
}

#[test]
fn a_load_that_cannot_fail_replaces_what_an_earlier_one_has_not_found() {
    let _alone = alone();
    for given in [Ok(Loaded::<&str>::AbsentFor(SECOND)), Err("down")] {
        for is_task in [false, true] {
            let (cache, _) = timed(|builder| builder);
            let loader = cache.loader().error_ttl(SECOND);
            let loader = loader.build(move |_| given).unwrap();
            assert!(loader.get("key").is_err());
            let value = match is_task {
                false => cache.get_or_insert_with("key", || "value"),
                true => block_on(cache.get_or_insert_with_async("key", async || "value")),
            };
            assert_eq!(value, *b"value");
            assert_eq!(cache.get("key").as_deref(), Some(&b"value"[..]));
            assert_nothing_is_left(&cache);
        }
    }
}

#[test]
fn a_load_that_cannot_fail_and_asks_for_its_own_key_stores_the_outer_value() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    let value = cache.get_or_insert_with("key", || {
        assert_eq!(cache.get_or_insert_with("key", || "inner"), *b"inner");
        "outer"
    });
    assert_eq!(value, *b"outer");
    assert_eq!(cache.get("key").as_deref(), Some(&b"outer"[..]));
    assert_nothing_is_left(&cache);
}

#[test]
fn a_load_that_cannot_fail_goes_on_where_another_has_panicked() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    let gate = Gate::new();
    let waits = gate.clone();
    let mut leader = Hand::new(cache.get_or_insert_with_async("key", async || -> &str {
        waits.await;
        panic!("the loader does")
    }));
    let mut follower = Hand::new(cache.get_or_insert_with_async("key", async || "mine"));
    assert!(leader.poll().is_pending() && follower.poll().is_pending());
    gate.open();
    assert!(catch_unwind(AssertUnwindSafe(|| leader.poll())).is_err());
    drop(leader);
    assert!(matches!(follower.poll(), Poll::Ready(value) if value == *b"mine"));
    assert_eq!(cache.get("key").as_deref(), Some(&b"mine"[..]));
    drop(follower);
    assert_nothing_is_left(&cache);
}

#[test]
fn what_cannot_be_stored_is_returned_by_a_load_that_cannot_fail() {
    let cache = Cache::new(1 << 20).unwrap();
    let large = vec![7; cache.max_entry_bytes()];
    assert_eq!(cache.get_or_insert_with("key", || &large), large);
    assert!(cache.get("key").is_none());
    assert_eq!(cache.stats().rejected_too_large, 1);
}

#[test]
fn a_task_warms_a_cache_with_as_many_loads_at_a_time_as_the_options_permit() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    let (running, most) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
    let (counts, peak) = (Arc::clone(&running), Arc::clone(&most));
    let load = move |key: Arc<[u8]>| {
        let (running, most) = (Arc::clone(&counts), Arc::clone(&peak));
        async move {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            running.fetch_sub(1, Ordering::SeqCst);
            match &*key {
                b"nobody" => Ok(Loaded::Absent),
                b"error" => Err("down"),
                _ => Ok(Loaded::Value("value")),
            }
        }
    };
    let loader = cache.loader().build_async(load).unwrap();
    let keys = || (0..200).map(|key| key.to_string()).chain(["nobody".to_string(), "error".to_string()]);
    let reports = Mutex::new(vec![]);
    let options = WarmOptions::new(3).progress(|warmed| reports.lock().unwrap().push(warmed));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let warmed = runtime.block_on(loader.warm_async(keys(), options));
    assert_eq!((warmed.loaded, warmed.absent, warmed.failed), (200, 1, 1));
    assert_eq!((most.load(Ordering::SeqCst), cache.len()), (3, 200));
    let reports = reports.into_inner().unwrap();
    assert!((4..=6).contains(&reports.len()) && reports.last() == Some(&warmed), "{reports:?}");
    assert_nothing_is_left(&cache);

    // In batches, several keys are loaded by one query.
    cache.clear();
    let queries = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&queries);
    let load = move |keys: Vec<Arc<[u8]>>| {
        count.fetch_add(1, Ordering::SeqCst);
        async move { Ok::<_, &'static str>(vec![Some("value"); keys.len()]) }
    };
    let loader = cache.loader().build_batched_async(Batch::up_to(100), load).unwrap();
    let warming = async move { loader.warm_async(keys(), WarmOptions::new(2)).await };
    assert_eq!(runtime.block_on(async { tokio::spawn(warming).await.unwrap() }).loaded, 202);
    assert!(queries.load(Ordering::SeqCst) <= 4, "{queries:?}");
}
