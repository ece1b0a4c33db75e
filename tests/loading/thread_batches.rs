//! Loaders for threads that load the keys of several calls at once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytecache::testing::Inspect;
use bytecache::{
    Batch, Batched, BuildError, Cache, Lifetime, LoadError, Loaded, Loader, LoaderBuilder, Origin, Value, WarmOptions,
};

use crate::support::{Gate, alone, assert_nothing_is_left, block_on, timed, until};

const SECOND: Duration = Duration::from_secs(1);

type Answer = Result<Value, LoadError<&'static str>>;
type Given = Result<Vec<Option<Loaded<String>>>, &'static str>;
type Load = Box<dyn Fn(&[Arc<[u8]>]) -> Given + Send + Sync>;
type Users = Loader<Batched<Load>>;

/// A store that notes its queries, and answers each when its gate is opened.
#[derive(Clone, Default)]
struct Store {
    queries: Arc<Mutex<Vec<(String, Gate)>>>,
    is_open: bool,
}

impl Store {
    /// Creates a store that answers at once.
    fn open_at_once() -> Self {
        Self { is_open: true, ..Self::default() }
    }

    fn load(&self) -> Load {
        let store = self.clone();
        Box::new(move |keys| {
            let names: Vec<_> = keys.iter().map(|key| String::from_utf8(key.to_vec()).unwrap()).collect();
            let gate = Gate::new();
            store.queries.lock().unwrap().push((names.join(" "), gate.clone()));
            if !store.is_open {
                block_on(gate);
            }
            answer(&names)
        })
    }

    fn queries(&self) -> Vec<String> {
        self.queries.lock().unwrap().iter().map(|(names, _)| names.clone()).collect()
    }

    /// Answers a query, once it has come.
    fn open(&self, query: usize) {
        until(|| self.queries.lock().unwrap().len() > query);
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

type Job = Box<dyn FnOnce() + Send>;

/// The jobs that a loader has given to its executor, until the test runs them.
#[derive(Clone, Default)]
struct Jobs(Arc<Mutex<Vec<Job>>>);

impl Jobs {
    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// Runs each job on a thread of its own.
    fn start(&self) -> Vec<JoinHandle<()>> {
        std::mem::take(&mut *self.0.lock().unwrap()).into_iter().map(thread::spawn).collect()
    }

    /// Runs all jobs, and those that they lead to, up to their ends.
    fn run(&self) {
        while self.len() > 0 {
            self.start().into_iter().for_each(|job| job.join().unwrap());
        }
    }
}

/// A loader whose batches run on an executor.
struct Scene {
    cache: Cache,
    store: Store,
    users: Users,
    jobs: Jobs,
}

impl Scene {
    fn new(cache: &Cache, rules: impl FnOnce(LoaderBuilder) -> LoaderBuilder, batch: Batch, store: Store) -> Self {
        let jobs = Jobs::default();
        let queue = jobs.clone();
        let builder = rules(cache.loader()).executor(move |job| queue.0.lock().unwrap().push(job));
        let users = builder.build_batched(batch, store.load()).unwrap();
        Self { cache: cache.clone(), store, users, jobs }
    }

    /// Asks for a key on another thread, and returns once that thread waits.
    fn call(&self, key: &str) -> JoinHandle<Answer> {
        let (_, waiting) = self.cache.loads_under_way();
        let (users, key) = (self.users.clone(), key.to_string());
        let call = thread::spawn(move || users.get(key));
        until(|| self.cache.loads_under_way().1 > waiting);
        call
    }
}

#[track_caller]
fn is_value(answer: &Answer, expected: &str) -> bool {
    answer.as_ref().is_ok_and(|value| *value == *expected.as_bytes())
}

#[test]
fn keys_gather_while_earlier_batches_are_in_flight() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    let scene = Scene::new(&cache, |rules| rules, Batch::up_to(3).in_flight(2), Store::default());
    let (store, jobs) = (&scene.store, &scene.jobs);
    let mut calls = vec![scene.call("a")];
    let mut running = jobs.start();
    until(|| store.queries().len() == 1);
    calls.extend([scene.call("b"), scene.call("c")]);
    running.extend(jobs.start());
    until(|| store.queries().len() == 2);
    assert_eq!(store.queries(), ["a", "b c"]);
    // Two batches are in flight. The next keys wait for an end, three in a batch.
    calls.extend(["d", "e", "f", "g", "d"].map(|key| scene.call(key)));
    assert_eq!(jobs.len(), 2);
    jobs.run(); // They do not block their threads.
    assert_eq!(store.queries().len(), 2);
    store.open(1);
    until(|| jobs.len() == 1);
    running.extend(jobs.start());
    store.open(0);
    until(|| jobs.len() == 1);
    running.extend(jobs.start());
    store.open(2);
    store.open(3);
    for (call, expected) in calls.into_iter().zip(["<a>", "<b>", "<c>", "<d>", "<e>", "<f>", "<g>", "<d>"]) {
        assert!(is_value(&call.join().unwrap(), expected), "{expected}");
    }
    running.into_iter().for_each(|job| job.join().unwrap());
    assert_eq!(store.queries()[..2], ["a", "b c"]);
    assert!(store.queries()[2..].contains(&"d e f".to_string()) && store.queries()[2..].contains(&"g".to_string()));
    assert_eq!((cache.len(), cache.stats().loads, cache.stats().followers), (7, 7, 1));
    assert_nothing_is_left(&cache);
}

#[test]
fn each_key_of_a_batch_has_the_rules_of_the_loader() {
    let _alone = alone();
    let (cache, clock) = timed(|builder| builder);
    let rules = |rules: LoaderBuilder| rules.ttl(10 * SECOND).negative_ttl(SECOND).refresh_after(5 * SECOND);
    let scene = Scene::new(&cache, rules, Batch::up_to(100), Store::open_at_once());
    let [a, nobody, short] = ["a", "nobody", "short"].map(|key| scene.call(key));
    scene.jobs.run();
    assert!(is_value(&a.join().unwrap(), "<a>") && is_value(&short.join().unwrap(), "short"));
    assert!(nobody.join().unwrap().unwrap_err().is_absent());
    assert!(scene.users.get("nobody").unwrap_err().is_absent());
    clock.advance(2 * SECOND);
    assert!(cache.contains_key("a") && !cache.contains_key("short"));
    // A refresh joins a batch too. Its caller does not wait for it.
    clock.advance(4 * SECOND);
    assert_eq!(scene.users.get("a").unwrap(), *b"<a>");
    assert_eq!(scene.users.get_with_origin("a").unwrap().1, Origin::Cached);
    scene.jobs.run();
    assert_eq!(scene.store.queries(), ["a nobody short", "a"]);
    assert_eq!(cache.stats().refreshes, 1);
    // So do refreshes of a call for many keys, together with its loads.
    clock.advance(6 * SECOND);
    let users = scene.users.clone();
    let many = thread::spawn(move || users.get_many(&["a", "b", "a"]));
    until(|| cache.loads_under_way().1 == 1);
    scene.jobs.run();
    let many = many.join().unwrap();
    assert!(is_value(&many[0], "<a>") && is_value(&many[1], "<b>") && is_value(&many[2], "<a>"));
    assert_eq!(scene.store.queries()[2..], ["a b"]);
    assert_nothing_is_left(&cache);
}

#[test]
fn an_error_of_a_batch_is_that_of_each_key() {
    let _alone = alone();
    let (cache, clock) = timed(|builder| builder);
    let rules = |rules: LoaderBuilder| rules.error_ttl(SECOND);
    let scene = Scene::new(&cache, rules, Batch::up_to(100), Store::open_at_once());
    let calls = ["a", "error"].map(|key| scene.call(key));
    scene.jobs.run();
    for call in calls {
        assert!(matches!(call.join().unwrap(), Err(LoadError::Failed(error)) if *error == "down"));
    }
    assert!(matches!(scene.users.get("a"), Err(LoadError::RecentFailure)));
    clock.advance(2 * SECOND);
    let again = scene.call("a");
    scene.jobs.run();
    assert!(is_value(&again.join().unwrap(), "<a>"));
}

#[test]
fn a_wrong_number_of_values_is_an_error_of_each_key_and_stores_nothing() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    let scene = Scene::new(&cache, |rules| rules, Batch::up_to(100), Store::open_at_once());
    let calls = ["a", "miscount"].map(|key| scene.call(key));
    scene.jobs.run();
    for call in calls {
        assert!(matches!(call.join().unwrap(), Err(LoadError::WrongCount { keys: 2, values: 3 })));
    }
    assert!(cache.is_empty());
    assert_nothing_is_left(&cache);
}

#[test]
fn a_panic_is_an_error_of_each_key_and_makes_room_for_the_next_batch() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    let scene = Scene::new(&cache, |rules| rules, Batch::up_to(2), Store::open_at_once());
    let calls = ["a", "panic", "b"].map(|key| scene.call(key));
    // The first batch panics on its thread. The second one waits for it, or comes later.
    let ends: Vec<_> = scene.jobs.start().into_iter().map(|job| job.join().is_ok()).collect();
    assert_eq!(ends.iter().filter(|is_ok| !**is_ok).count(), 1);
    scene.jobs.run();
    let [a, panic, b] = calls.map(|call| call.join().unwrap());
    assert!(matches!((a, panic), (Err(LoadError::Panicked), Err(LoadError::Panicked))));
    assert!(is_value(&b, "<b>"));
    assert_nothing_is_left(&cache);
}

#[test]
fn batches_and_other_loads_of_a_key_share_its_flight() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    let scene = Scene::new(&cache, |rules| rules, Batch::up_to(100), Store::open_at_once());
    let (gate, of_other) = (Gate::new(), cache.clone());
    let waits = gate.clone();
    let other = thread::spawn(move || {
        of_other.get_or_load("a", || {
            block_on(waits);
            Ok::<_, &'static str>("other")
        })
    });
    until(|| cache.loads_under_way().0 == 1);
    let calls = ["a", "b"].map(|key| scene.call(key));
    scene.jobs.run();
    assert_eq!(scene.store.queries(), ["b"]);
    gate.open();
    let [a, b] = calls.map(|call| call.join().unwrap());
    assert!(is_value(&other.join().unwrap(), "other") && is_value(&a, "other") && is_value(&b, "<b>"));
    assert_nothing_is_left(&cache);
}

#[test]
fn a_write_keeps_its_key_alone_from_being_stored() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    let scene = Scene::new(&cache, |rules| rules, Batch::up_to(100), Store::default());
    let calls = ["a", "b"].map(|key| scene.call(key));
    let running = scene.jobs.start();
    until(|| !scene.store.queries().is_empty());
    cache.remove("a");
    scene.store.open(0);
    running.into_iter().for_each(|job| job.join().unwrap());
    calls.into_iter().for_each(|call| assert!(call.join().unwrap().is_ok()));
    assert!(!cache.contains_key("a") && cache.contains_key("b"));
    assert_eq!(cache.stats().discarded_loads, 1);
}

#[test]
fn a_key_that_is_written_while_it_waits_in_a_batch_is_in_it_once() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    let scene = Scene::new(&cache, |rules| rules, Batch::up_to(100), Store::open_at_once());
    let [first, b] = ["a", "b"].map(|key| scene.call(key));
    cache.remove("a"); // Its flight is not counted from here on.
    let second = scene.call("a");
    let running = scene.jobs.start();
    // The first call starts again, and follows the later load or finds its value.
    for call in [first, second] {
        assert!(is_value(&call.join().unwrap(), "<a>"));
    }
    running.into_iter().for_each(|job| job.join().unwrap());
    assert!(is_value(&b.join().unwrap(), "<b>"));
    assert_eq!(scene.store.queries(), ["b a"]);
    assert_eq!((cache.stats().loads, cache.stats().load_cancellations), (2, 1));
    assert_nothing_is_left(&cache);
}

#[test]
fn a_key_that_cannot_be_stored_is_loaded_by_itself() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    let scene = Scene::new(&cache, |rules| rules, Batch::up_to(100), Store::open_at_once());
    let long = "x".repeat(70_000);
    assert!(is_value(&scene.users.get(&long), &format!("<{long}>")));
    assert!(is_value(&scene.users.get_many(&[&long])[0], &format!("<{long}>")));
    assert_eq!((scene.store.queries().len(), scene.jobs.len()), (2, 0));
    assert_nothing_is_left(&cache);
}

#[test]
fn a_call_times_out_and_its_batch_goes_on() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    let rules = |rules: LoaderBuilder| rules.load_timeout(Duration::from_millis(1));
    let scene = Scene::new(&cache, rules, Batch::up_to(100), Store::open_at_once());
    assert!(matches!(scene.users.get("a"), Err(LoadError::TimedOut)));
    assert!(scene.users.get_many(&["a", "b"]).iter().all(|result| matches!(result, Err(LoadError::TimedOut))));
    scene.jobs.run();
    assert_eq!((scene.store.queries(), cache.len()), (vec!["a b".to_string()], 2));
    assert!(is_value(&scene.users.get("b"), "<b>"));
    assert_nothing_is_left(&cache);
}

#[test]
fn a_caller_runs_its_batch_if_the_executor_drops_it() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    let store = Store::open_at_once();
    let users = cache.loader().executor(drop).build_batched(Batch::up_to(100), store.load()).unwrap();
    assert!(is_value(&users.get("a"), "<a>"));
    assert!(users.get_many(&["b", "c"]).iter().all(Result::is_ok));
    assert_eq!(store.queries(), ["a", "b c"]);
    assert_nothing_is_left(&cache);
}

// Without an executor.

fn in_callers(builder: LoaderBuilder, batch: Batch, store: &Store) -> Users {
    builder.build_batched(batch, store.load()).unwrap()
}

#[test]
fn without_an_executor_a_batch_runs_in_the_call_that_opened_it() {
    let _alone = alone();
    let (cache, clock) = timed(|builder| builder);
    let store = Store::open_at_once();
    let users = in_callers(cache.loader().negative_ttl(SECOND).refresh_after(5 * SECOND), Batch::up_to(3), &store);
    assert_eq!(users.get_with_origin("a").unwrap().1, Origin::Loaded);
    let many = users.get_many(&["b", "a", "nobody", "b", "c", "d"]);
    for (answer, expected) in many.iter().zip(["<b>", "<a>", "", "<b>", "<c>", "<d>"]) {
        assert!(is_value(answer, expected) || answer.as_ref().is_err_and(LoadError::is_absent), "{expected}");
    }
    assert_eq!(store.queries(), ["a", "b nobody c", "d"]);
    // Refreshes run in batches, too, and the call returns what they have loaded.
    clock.advance(6 * SECOND);
    assert!(is_value(&users.get("a"), "<a>"));
    assert!(users.get_many(&["b", "e"]).iter().all(Result::is_ok));
    assert_eq!(store.queries()[3..], ["a", "b e"]);
    // The last key is in a batch of its own.
    let warmed = users.warm(["c", "f", "nobody", "error"], WarmOptions::new(1));
    assert_eq!((warmed.loaded, warmed.absent, warmed.failed), (2, 1, 1));
    assert_eq!(store.queries()[5..], ["c f nobody", "error"]);
    assert_nothing_is_left(&cache);
}

#[test]
fn a_batch_waits_for_its_turn_in_its_call_and_takes_the_keys_that_come_meanwhile() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    let store = Store::default();
    let users = in_callers(cache.loader(), Batch::up_to(100), &store);
    let call = |key: &'static str| {
        let users = users.clone();
        thread::spawn(move || users.get(key))
    };
    let first = call("a");
    until(|| store.queries().len() == 1);
    // One of these calls opens the next batch, and the others wait for its end.
    let others = ["b", "c", "d"].map(call);
    until(|| cache.loads_under_way() == (4, 2));
    store.open(0);
    store.open(1);
    assert!(is_value(&first.join().unwrap(), "<a>"));
    for (call, expected) in others.into_iter().zip(["<b>", "<c>", "<d>"]) {
        assert!(is_value(&call.join().unwrap(), expected));
    }
    assert_eq!(store.queries().len(), 2);
    assert_nothing_is_left(&cache);
}

#[test]
fn a_panic_continues_in_the_call_that_runs_the_batch_and_the_next_batch_may_run() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    let store = Store::open_at_once();
    let users = in_callers(cache.loader(), Batch::up_to(2), &store);
    assert!(catch_unwind(AssertUnwindSafe(|| users.get_many(&["a", "panic", "b"]))).is_err());
    assert!(cache.is_empty());
    assert!(users.get_many(&["a", "b", "c"]).iter().all(Result::is_ok));
    assert_nothing_is_left(&cache);
}

#[test]
fn a_listener_may_ask_for_other_keys_of_the_call_whose_batch_evicts_entries() {
    let _alone = alone();
    let long_key = |number: usize| format!("{number:0300}");
    let users: Arc<OnceLock<Users>> = Arc::default();
    let of_listener = Arc::clone(&users);
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let cache = Cache::builder().max_bytes(1 << 20).shards(1).on_removal(move |_, _, _| {
        let users = of_listener.get().unwrap();
        // The last key of the call, and one of no call. A key that this thread loads is refused.
        let is_answered = |answer: Answer| answer.is_ok() || matches!(answer, Err(LoadError::Reentrant));
        assert!(is_answered(users.get(long_key(5999))) && is_answered(users.get("other")));
        count.fetch_add(1, Ordering::Relaxed);
    });
    let cache = cache.build().unwrap();
    let store = Store::open_at_once();
    assert!(users.set(in_callers(cache.loader(), Batch::up_to(16), &store)).is_ok());
    let keys: Vec<_> = (0..6000).map(long_key).collect();
    assert!(users.get().unwrap().get_many(&keys).iter().all(Result::is_ok));
    let stats = cache.stats();
    assert!(asked.load(Ordering::Relaxed) > 100 && stats.listener_panics == 0, "{asked:?} {stats:?}");
    assert_nothing_is_left(&cache);
}

#[test]
fn a_batch_without_keys_or_without_flights_is_refused() {
    let cache = Cache::new(1 << 20).unwrap();
    for batch in [Batch::up_to(0), Batch::up_to(1).in_flight(0)] {
        let error = cache.loader().build_batched(batch, Store::default().load()).unwrap_err();
        assert_eq!(error, BuildError::EmptyBatch);
    }
    let limited = cache.loader().load_timeout(SECOND);
    let error = limited.build_batched(Batch::up_to(1), Store::default().load()).unwrap_err();
    assert_eq!(error, BuildError::NoExecutor);
}

#[test]
fn batches_stay_within_their_limits_and_load_each_key_once_whatever_threads_do() {
    const KEYS: usize = 500;
    const THREADS: usize = 8;
    let _alone = alone();
    let cache = Cache::builder().max_bytes(4 << 20).build().unwrap();
    let (running, loaded) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
    let (counts, total) = (Arc::clone(&running), Arc::clone(&loaded));
    let load = move |keys: &[Arc<[u8]>]| {
        assert!(counts.fetch_add(1, Ordering::SeqCst) < 2 && (1..=16).contains(&keys.len()));
        thread::yield_now();
        total.fetch_add(keys.len(), Ordering::SeqCst);
        counts.fetch_sub(1, Ordering::SeqCst);
        Ok::<_, &'static str>(keys.iter().cloned().map(Some).collect())
    };
    for has_executor in [true, false] {
        cache.clear();
        loaded.store(0, Ordering::SeqCst);
        let builder = cache.loader();
        let builder = if has_executor { builder.executor(|job| drop(thread::spawn(job))) } else { builder };
        let users = builder.build_batched(Batch::up_to(16).in_flight(2), load.clone()).unwrap();
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let users = &users;
                scope.spawn(move || {
                    let keys: Vec<_> = (0..KEYS).map(|number| (number * 7 % KEYS).to_string()).collect();
                    match thread % 2 {
                        0 => keys.iter().for_each(|key| assert_eq!(users.get(key).unwrap(), *key.as_bytes())),
                        _ => {
                            let found = users.get_many(&keys);
                            assert!(found.iter().zip(&keys).all(|(found, key)| is_value(found, key)));
                        }
                    }
                });
            }
        });
        until(|| cache.memory().flights == 0);
        assert_eq!((loaded.load(Ordering::SeqCst), running.load(Ordering::SeqCst)), (KEYS, 0));
    }
    assert_nothing_is_left(&cache);
}
