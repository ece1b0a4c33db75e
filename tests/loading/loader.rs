//! The rules of a loader: lifetimes, negative results, refreshes, stale values, and calls for many
//! keys.

use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use bytecache::testing::Inspect;
use bytecache::{
    BuildError, Cache, Failure, Lifetime, LoadError, Loaded, ManualClock, Policy, Remaining, RemovalCause, TICK, Value,
};

use crate::support::{Gate, Hand, alone, assert_nothing_is_left, block_on, timed, until};

const SECOND: Duration = Duration::from_secs(1);

type Answer = Result<Value, LoadError<&'static str>>;
type Given = Result<Loaded<&'static str>, &'static str>;

/// The results of successive loads. One more load than results is a panic.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<VecDeque<Given>>>);

impl Script {
    fn of(given: impl IntoIterator<Item = Given>) -> Self {
        Self(Arc::new(Mutex::new(given.into_iter().collect())))
    }

    fn next(&self) -> Given {
        self.0.lock().unwrap().pop_front().expect("more loads than expected")
    }

    fn load(&self) -> impl Fn(&[u8]) -> Given + Send + Sync + 'static {
        let script = self.clone();
        move |key| {
            assert_eq!(key, b"key");
            script.next()
        }
    }

    fn load_async(&self) -> impl Fn(Arc<[u8]>) -> std::future::Ready<Given> + Send + Sync + 'static {
        let script = self.clone();
        move |_| std::future::ready(script.next())
    }

    fn is_over(&self) -> bool {
        self.0.lock().unwrap().is_empty()
    }
}

fn value(value: &'static str) -> Given {
    Ok(Loaded::Value(value))
}

fn text(answer: &Answer) -> &str {
    std::str::from_utf8(answer.as_ref().unwrap()).unwrap()
}

// Lifetimes.

#[test]
fn values_live_as_long_as_they_say_or_the_loader_or_the_cache() {
    let _alone = alone();
    let (cache, clock) = timed(|builder| builder.ttl(100 * SECOND));
    let given = [value("a"), Ok(Loaded::ValueFor("b", Lifetime::new().ttl(3 * SECOND))), value("c")];
    let script = Script::of(given);
    let loader = cache.loader().ttl(10 * SECOND).build(script.load()).unwrap();
    assert_eq!(text(&loader.get("key")), "a");
    assert_eq!(cache.ttl("key"), Some(Remaining::For(10 * SECOND)));
    clock.advance(10 * SECOND - TICK);
    assert_eq!(text(&loader.get("key")), "a");
    clock.advance(TICK);
    assert_eq!(text(&loader.get("key")), "b");
    clock.advance(3 * SECOND + TICK);
    assert!(cache.get("key").is_none());
    assert_eq!(cache.get_or_load("key", || script.next()).unwrap(), *b"c");
    assert!(matches!(cache.ttl("key"), Some(Remaining::For(left)) if left >= 100 * SECOND));
    assert!(script.is_over());
}

#[test]
fn a_builder_refuses_rules_that_make_no_sense() {
    let (cache, _) = timed(|builder| builder);
    let kind = |builder: bytecache::LoaderBuilder| {
        let error = builder.clone().build(|_| value("")).unwrap_err();
        let for_tasks = builder.build_async(|_| async { value("") }).unwrap_err();
        assert_eq!(error.to_string(), for_tasks.to_string());
        error
    };
    assert_eq!(kind(cache.loader().ttl(Duration::ZERO)), BuildError::ZeroLifetime);
    let (refresh_after, ttl) = (2 * SECOND, 2 * SECOND);
    assert_eq!(kind(cache.loader().ttl(ttl).refresh_after(ttl)), BuildError::LateRefresh { refresh_after, ttl });
    // A loader without a time to live of its own uses the cache's.
    let (with_ttl, _) = timed(|builder| builder.ttl(ttl));
    assert_eq!(kind(with_ttl.loader().refresh_after(ttl)), BuildError::LateRefresh { refresh_after, ttl });
    assert!(with_ttl.loader().refresh_after(ttl - SECOND).build(|_| value("")).is_ok());
    assert!(with_ttl.loader().ttl(2 * ttl).refresh_after(ttl).build(|_| value("")).is_ok());
    let sleepless = cache.loader().wait_limit(SECOND).build_async(|_| async { value("") });
    assert_eq!(sleepless.unwrap_err(), BuildError::NoSleep);
    for beta in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = kind(cache.loader().early_refresh(beta));
        assert!(
            matches!(error, BuildError::EarlyRefresh { beta: seen } if seen.to_bits() == beta.to_bits()),
            "{error}"
        );
    }
}

// Negative results.

#[test]
fn nothing_is_remembered_for_its_time_and_seen_by_loads_alone() {
    let _alone = alone();
    let (cache, clock) = timed(|builder| builder.stale_for(50 * SECOND));
    let script = Script::of([Ok(Loaded::Absent), value("value")]);
    let loader = cache.loader().negative_ttl(5 * SECOND).build(script.load()).unwrap();
    for _ in 0..3 {
        assert!(loader.get("key").unwrap_err().is_absent());
    }
    assert!(cache.get_or_load("key", || script.next()).unwrap_err().is_absent());
    let stats = cache.stats();
    assert_eq!((stats.loads, stats.loads_not_found, stats.negative_hits, stats.load_failures), (1, 1, 3, 0));
    assert_eq!((stats.hits, stats.misses), (3, 1));

    assert!(cache.get("key").is_none() && cache.peek("key").is_none() && cache.get_or_stale("key").is_none());
    assert!(!cache.contains_key("key") && !cache.touch("key") && !cache.persist("key"));
    assert_eq!(cache.ttl("key"), None);
    assert!(!cache.set_ttl("key", SECOND).unwrap());
    cache.for_each(|key, _| panic!("{key:?}"));
    cache.get_many(&["key"], |_, value| assert_eq!(value, None));
    assert_eq!(cache.len(), 1);
    cache.validate();

    clock.advance(5 * SECOND - TICK);
    assert!(loader.get("key").unwrap_err().is_absent());
    clock.advance(2 * TICK);
    assert_eq!(text(&loader.get("key")), "value");
    assert!(script.is_over());
    assert_nothing_is_left(&cache);
}

#[test]
fn what_is_not_there_can_be_stored_over_and_forgotten() {
    let _alone = alone();
    type Change = fn(&Cache);
    let changes: [(Change, Option<&str>); 8] = [
        (|cache| assert!(!cache.replace("key", "new").unwrap()), None),
        (|cache| assert!(!cache.set_ttl("key", Duration::ZERO).unwrap()), None),
        (|cache| cache.retain(|_, _| true), None),
        (|cache| cache.insert("key", "new").unwrap(), Some("new")),
        (|cache| assert!(cache.insert_if_absent("key", "new").unwrap()), Some("new")),
        (|cache| assert!(!cache.remove("key")), None),
        (|cache| assert!(cache.take("key").is_none()), None),
        (Cache::clear, None),
    ];
    for (change, expected) in changes {
        let told = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&told);
        let (cache, _) =
            timed(|builder| builder.on_removal(move |key, _, cause| log.lock().unwrap().push((key.to_vec(), cause))));
        let script = Script::of([Ok(Loaded::AbsentFor(SECOND)), value("loaded")]);
        let loader = cache.loader().build(script.load()).unwrap();
        assert!(loader.get("key").unwrap_err().is_absent());
        assert!(loader.get("key").unwrap_err().is_absent());
        change(&cache);
        assert_eq!(text(&loader.get("key")), expected.unwrap_or("loaded"));
        // There was no value, so the listener is not notified.
        assert_eq!(*told.lock().unwrap(), []);
        assert_nothing_is_left(&cache);
    }
}

#[test]
fn without_a_negative_ttl_nothing_is_not_remembered_and_what_there_was_is_gone() {
    let _alone = alone();
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&told);
    let (cache, clock) = timed(|builder| builder.on_removal(move |_, _, cause| log.lock().unwrap().push(cause)));
    let script = Script::of([value("old"), Ok(Loaded::Absent), Ok(None.into())]);
    let loader = cache.loader().refresh_after(SECOND).build(script.load()).unwrap();
    assert_eq!(text(&loader.get("key")), "old");
    clock.advance(2 * SECOND);
    assert!(loader.get("key").unwrap_err().is_absent());
    assert!(cache.is_empty());
    assert_eq!(*told.lock().unwrap(), [RemovalCause::Replaced]);
    assert!(loader.get("key").unwrap_err().is_absent());
    assert!(script.is_over());
}

#[test]
fn many_negative_entries_are_evicted_relocated_and_renamed_as_others_and_nobody_is_told() {
    let _alone = alone();
    // GDSF may refuse a new entry at once.
    for policy in [Policy::Adaptive, Policy::Lru, Policy::Gdsf] {
        let (cache, clock) =
            timed(|builder| builder.policy(policy).on_removal(|_, value, _| assert_eq!(*value, [7; 40])));
        for key in 0..40_000_u32 {
            let key = key.to_le_bytes();
            let absent = cache.get_or_load(key, || Ok::<Loaded<&str>, &str>(Loaded::AbsentFor(60 * SECOND)));
            assert!(absent.unwrap_err().is_absent());
            if key[0] % 3 == 0 {
                cache.insert([&key[..], b"v"].concat(), [7; 40]).unwrap();
            }
        }
        cache.validate();
        let stats = cache.stats();
        assert!(stats.evictions > 10_000 && stats.index_growths > 0 && stats.listener_panics == 0, "{stats:?}");
        cache.for_each(|key, value| assert!(key.len() == 5 && *value == [7; 40]));
        clock.advance(61 * SECOND);
        for _ in 0..100 {
            cache.maintain();
        }
        let mut values = 0;
        cache.for_each(|_, _| values += 1);
        assert_eq!(cache.len(), values);
    }
}

#[test]
fn a_failure_is_remembered_if_the_rules_say_so() {
    let _alone = alone();
    let (cache, clock) = timed(|builder| builder);
    let script = Script::of([Err("down"), value("up")]);
    let loader = cache.loader().error_ttl(2 * SECOND).build(script.load()).unwrap();
    assert!(matches!(loader.get("key"), Err(LoadError::Failed(error)) if *error == "down"));
    for _ in 0..2 {
        assert!(matches!(loader.get("key"), Err(LoadError::RecentFailure)));
    }
    assert!(matches!(
        cache.get_or_load_many(&["key"], |_| Err::<Vec<Option<&str>>, _>("")),
        Err(LoadError::RecentFailure)
    ));
    assert_eq!((cache.stats().negative_hits, cache.stats().load_failures), (3, 1));
    clock.advance(2 * SECOND);
    assert_eq!(text(&loader.get("key")), "up");
    assert!(script.is_over());
}

// Refreshes.

#[test]
fn one_reader_loads_anew_while_the_others_go_on_with_what_there_is() {
    let _alone = alone();
    let (cache, clock) = timed(|builder| builder);
    let (go, gone) = mpsc::channel();
    let gone = Mutex::new(gone);
    let loader = cache.loader().refresh_after(10 * SECOND).ttl(60 * SECOND);
    let loader = loader.build(move |_| Ok::<_, &str>(gone.lock().unwrap().recv().unwrap())).unwrap();
    go.send("old").unwrap();
    assert_eq!(text(&loader.get("key")), "old");
    clock.advance(10 * SECOND - TICK);
    assert_eq!(text(&loader.get("key")), "old");
    clock.advance(2 * TICK);
    let refreshing = {
        let loader = loader.clone();
        thread::spawn(move || loader.get("key"))
    };
    until(|| cache.loads_under_way().0 == 1);
    for _ in 0..3 {
        assert_eq!(text(&loader.get("key")), "old");
        assert_eq!(cache.get_or_load("key", || Err::<&str, _>("")).unwrap(), *b"old");
    }
    go.send("new").unwrap();
    assert_eq!(text(&refreshing.join().unwrap()), "new");
    assert_eq!(text(&loader.get("key")), "new");
    assert_eq!(cache.ttl("key"), Some(Remaining::For(60 * SECOND)));
    let stats = cache.stats();
    assert_eq!((stats.loads, stats.refreshes, stats.followers, stats.misses), (2, 1, 0, 1));
    assert_nothing_is_left(&cache);
}

#[test]
fn a_refresh_that_fails_leaves_the_value_and_is_tried_again_later() {
    let _alone = alone();
    for (error_ttl, retry) in [(None, SECOND), (Some(3 * SECOND), 3 * SECOND)] {
        let (cache, clock) = timed(|builder| builder);
        let script = Script::of([value("old"), Err("down"), Err("down"), value("new")]);
        let mut rules = cache.loader().refresh_after(10 * SECOND).ttl(60 * SECOND);
        if let Some(ttl) = error_ttl {
            rules = rules.error_ttl(ttl);
        }
        let loader = rules.build(script.load()).unwrap();
        assert_eq!(text(&loader.get("key")), "old");
        clock.advance(10 * SECOND + TICK);
        for _ in 0..2 {
            for _ in 0..3 {
                assert_eq!(text(&loader.get("key")), "old"); // The first one loads.
            }
            clock.advance(retry - TICK);
            assert_eq!(text(&loader.get("key")), "old");
            clock.advance(3 * TICK);
        }
        assert_eq!(text(&loader.get("key")), "new");
        assert!(script.is_over());
        assert_eq!((cache.stats().refreshes, cache.stats().load_failures), (3, 2));
        assert_nothing_is_left(&cache);
    }
}

#[test]
fn a_refresh_that_an_invalidation_overtakes_is_not_stored() {
    let _alone = alone();
    let (cache, clock) = timed(|builder| builder);
    let inner = cache.clone();
    let count = Mutex::new(0);
    let loader = cache.loader().refresh_after(SECOND);
    let loader = loader.build(move |_| {
        let mut count = count.lock().unwrap();
        *count += 1;
        if *count == 2 {
            assert!(inner.remove("key"));
        }
        Ok::<_, &str>(format!("{count}"))
    });
    let loader = loader.unwrap();
    let get = || loader.get("key").unwrap();
    assert_eq!(get(), *b"1");
    clock.advance(2 * SECOND);
    assert_eq!(get(), *b"2");
    assert!(cache.get("key").is_none());
    assert_eq!(get(), *b"3");
    assert_eq!(cache.stats().discarded_loads, 1);
}

type Job = Box<dyn FnOnce() + Send>;

/// Returns an executor that only collects its jobs, and the list of these jobs.
fn queue() -> (Arc<Mutex<Vec<Job>>>, impl Fn(Job) + Send + Sync + 'static) {
    let jobs: Arc<Mutex<Vec<Job>>> = Arc::default();
    let queue = Arc::clone(&jobs);
    (jobs, move |job| queue.lock().unwrap().push(job))
}

#[test]
fn an_executor_runs_refreshes_and_may_drop_them() {
    let _alone = alone();
    let (cache, clock) = timed(|builder| builder);
    let (jobs, executor) = queue();
    let script = Script::of([value("old"), value("new")]);
    let loader = cache.loader().refresh_after(10 * SECOND).executor(executor).build(script.load()).unwrap();
    assert_eq!(text(&loader.get("key")), "old");
    clock.advance(10 * SECOND + TICK);
    for _ in 0..3 {
        assert_eq!(text(&loader.get("key")), "old");
    }
    assert_eq!(jobs.lock().unwrap().len(), 1);
    jobs.lock().unwrap().clear();
    clock.advance(SECOND + 2 * TICK);
    assert_eq!(text(&loader.get("key")), "old");
    let job = jobs.lock().unwrap().pop().unwrap();
    thread::spawn(job).join().unwrap();
    assert_eq!(text(&loader.get("key")), "new");
    assert_eq!(cache.stats().refreshes, 1);
    assert_nothing_is_left(&cache);
}

#[test]
fn a_refresh_that_waits_to_be_run_holds_nobody_up_and_is_given_up_if_it_comes_too_late() {
    let _alone = alone();
    type Change = fn(&Cache, &ManualClock);
    let changes: [(Change, &str); 4] = [
        (|_, clock| clock.advance(60 * SECOND), "new"),
        (|cache, _| assert!(cache.remove("key")), "new"),
        (|cache, _| cache.insert("key", "inserted").unwrap(), "inserted"),
        (
            |cache, clock| {
                cache.insert("key", "inserted").unwrap();
                clock.advance(60 * SECOND);
            },
            "inserted",
        ),
    ];
    for (change, expected) in changes {
        let (cache, clock) = timed(|builder| builder);
        let (jobs, executor) = queue();
        let script = Script::of([value("old"), value("new")]);
        let rules = cache.loader().ttl(20 * SECOND).refresh_after(10 * SECOND).executor(executor);
        let loader = rules.build(script.load()).unwrap();
        assert_eq!(text(&loader.get("key")), "old");
        clock.advance(10 * SECOND + TICK);
        assert_eq!(text(&loader.get("key")), "old");
        change(&cache, &clock);
        assert_eq!(text(&loader.get("key")), expected);
        jobs.lock().unwrap().drain(..).for_each(|job| job());
        assert_eq!(text(&loader.get("key")), expected);
        assert_eq!(cache.stats().refreshes, 0);
        assert_nothing_is_left(&cache);
    }
}

#[test]
fn a_panic_of_a_refresh_in_place_goes_on_and_leaves_the_value() {
    let _alone = alone();
    let (cache, clock) = timed(|builder| builder);
    let script = Script::of([value("old")]);
    let loader = cache.loader().refresh_after(SECOND).build(script.load()).unwrap();
    assert_eq!(text(&loader.get("key")), "old");
    clock.advance(2 * SECOND);
    assert!(catch_unwind(AssertUnwindSafe(|| loader.get("key"))).is_err());
    assert_eq!(text(&loader.get("key")), "old");
    assert_nothing_is_left(&cache);
}

#[test]
fn a_task_refreshes_in_place_or_by_a_spawner_or_after_it_answered() {
    let _alone = alone();
    type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
    let (cache, clock) = timed(|builder| builder);
    let script = Script::of(["1", "2", "3", "4"].map(value));
    let rules = cache.loader().refresh_after(10 * SECOND);
    let plain = rules.clone().build_async(script.load_async()).unwrap();
    assert_eq!(text(&block_on(plain.get_async("key"))), "1");
    clock.advance(11 * SECOND);
    assert_eq!(text(&block_on(plain.get_async("key"))), "2");

    clock.advance(11 * SECOND);
    let tasks: Arc<Mutex<Vec<Task>>> = Arc::default();
    let queue = Arc::clone(&tasks);
    let spawning =
        rules.spawner(move |task| queue.lock().unwrap().push(task)).build_async(script.load_async()).unwrap();
    for _ in 0..2 {
        assert_eq!(text(&block_on(spawning.get_async("key"))), "2");
    }
    let task = tasks.lock().unwrap().pop().unwrap();
    block_on(task);
    assert_eq!(text(&block_on(spawning.get_async("key"))), "3");

    clock.advance(11 * SECOND);
    let (answered, refresh) = block_on(plain.get_then_refresh("key")).unwrap();
    assert_eq!(answered, *b"3");
    let (again, none) = block_on(plain.get_then_refresh("key")).unwrap();
    assert!(again == *b"3" && none.is_none());
    block_on(refresh.unwrap());
    assert_eq!(text(&block_on(plain.get_async("key"))), "4");
    assert!(script.is_over());

    clock.advance(11 * SECOND);
    let (_, refresh) = block_on(plain.get_then_refresh("key")).unwrap();
    drop(refresh);
    assert_eq!((cache.stats().refreshes, cache.stats().load_cancellations), (3, 0));
    assert_nothing_is_left(&cache);
}

/// Returns once a millisecond has passed by the system's clock, which measures loads.
fn pass_a_millisecond() {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1) {
        core::hint::spin_loop();
    }
}

#[test]
fn hot_keys_are_refreshed_early_the_likelier_the_nearer_their_deadline() {
    let _alone = alone();
    let (cache, clock) = timed(|builder| builder);
    // A load takes at least a millisecond by the system's clock. With a beta of 25, refreshes are
    // at least 25 ms early on average.
    let load = |_: &[u8]| {
        pass_a_millisecond();
        value("value")
    };
    let loader = cache.loader().ttl(1000 * SECOND).early_refresh(25.0).build(load).unwrap();
    assert_eq!(text(&loader.get("key")), "value");
    let refreshes = |reads: usize| {
        let before = cache.stats().refreshes;
        (0..reads).for_each(|_| assert_eq!(text(&loader.get("key")), "value"));
        cache.stats().refreshes - before
    };
    assert_eq!(refreshes(1000), 0); // Each has a chance of exp(-40) if a load took a second, else less.
    clock.advance(1000 * SECOND - TICK);
    assert_eq!(refreshes(1000), 1); // Then the deadline is far away again.
    assert_eq!(cache.stats().misses, 1);
    assert_nothing_is_left(&cache);
}

#[test]
fn an_early_refresh_that_fails_is_not_tried_again_at_once() {
    let _alone = alone();
    let (cache, clock) = timed(|builder| builder);
    let script = Script::of([value("old"), Err("down"), Err("down")]);
    let slow = script.clone();
    let load = move |_: &[u8]| {
        pass_a_millisecond();
        slow.next()
    };
    let loader = cache.loader().ttl(1000 * SECOND).early_refresh(1e9).build(load).unwrap();
    for _ in 0..2 {
        for _ in 0..100 {
            assert_eq!(text(&loader.get("key")), "old");
        }
        clock.advance(SECOND + 2 * TICK);
    }
    assert!(script.is_over());
    assert_eq!(cache.stats().refreshes, 2);
}

// Stale values.

#[test]
fn a_stale_value_answers_for_a_load_that_fails_until_its_own_end() {
    let _alone = alone();
    let (cache, clock) = timed(|builder| builder);
    let script = Script::of([value("old"), Err("1"), Err("2"), value("new"), Err("3"), Err("4")]);
    let loader = cache.loader().ttl(10 * SECOND).stale_for(20 * SECOND).build(script.load()).unwrap();
    assert_eq!(text(&loader.get("key")), "old");
    clock.advance(10 * SECOND);
    assert_eq!(text(&loader.get("key")), "old");
    assert!(cache.get("key").is_none());
    assert_eq!(text(&loader.get("key")), "old");
    assert_eq!((cache.stats().load_failures, cache.stats().stale_hits), (2, 2));
    assert_eq!(text(&loader.get("key")), "new");
    clock.advance(30 * SECOND - TICK);
    assert_eq!(text(&loader.get("key")), "new");
    clock.advance(TICK);
    assert!(matches!(loader.get("key"), Err(LoadError::Failed(error)) if *error == "4"));
    assert!(script.is_over());
}

#[test]
fn a_stale_value_answers_for_a_load_that_takes_another_too_long_or_panics_there() {
    let _alone = alone();
    let (cache, clock) = timed(|builder| builder);
    let script = Script::of([value("old")]);
    let rules = cache.loader().ttl(10 * SECOND).stale_for(20 * SECOND).wait_limit(Duration::from_millis(1));
    let loader = rules.build(script.load()).unwrap();
    assert_eq!(text(&loader.get("key")), "old");
    clock.advance(10 * SECOND);
    let gate = Gate::new();
    let waits = gate.clone();
    let mut leader = Hand::new(cache.get_or_load_async("key", || async {
        waits.await;
        panic!("the loader does");
        #[allow(unreachable_code, reason = "for its type")]
        Ok::<&str, &str>("")
    }));
    assert!(leader.poll().is_pending());
    assert_eq!(text(&loader.get("key")), "old");
    let patient = cache.loader().stale_for(20 * SECOND).build_async(script.load_async()).unwrap();
    let mut follower = Hand::new(patient.get_async("key"));
    assert!(follower.poll().is_pending());
    gate.open();
    assert!(catch_unwind(AssertUnwindSafe(|| leader.poll())).is_err());
    assert!(matches!(follower.poll(), Poll::Ready(answer) if text(&answer) == "old"));
    assert_eq!((cache.stats().load_timeouts, cache.stats().stale_hits), (1, 2));
}

#[test]
fn a_failure_is_remembered_beside_a_value_that_may_still_answer() {
    let _alone = alone();
    for (serves_stale, is_task) in [(true, false), (false, false), (true, true), (false, true)] {
        let (cache, clock) = timed(|builder| builder.stale_for(20 * SECOND));
        let script = Script::of([value("old"), Err("1"), Err("2"), value("new")]);
        let mut rules = cache.loader().ttl(10 * SECOND).error_ttl(3 * SECOND);
        if serves_stale {
            rules = rules.stale_for(20 * SECOND);
        }
        let for_tasks = rules.clone().build_async(script.load_async()).unwrap();
        let for_threads = rules.build(script.load()).unwrap();
        let get = || if is_task { block_on(for_tasks.get_async("key")) } else { for_threads.get("key") };
        let check = |is_first: bool| match get() {
            Ok(value) => assert!(serves_stale && value == *b"old"),
            Err(LoadError::Failed(_)) => assert!(!serves_stale && is_first),
            Err(LoadError::RecentFailure) => assert!(!serves_stale && !is_first),
            Err(other) => panic!("{other:?}"),
        };
        assert_eq!(text(&get()), "old");
        clock.advance(10 * SECOND);
        for load in 1..3 {
            for read in 0..5 {
                check(read == 0);
                assert_eq!(cache.stats().load_failures, load);
                clock.advance(if read < 4 { SECOND / 2 } else { 2 * SECOND });
            }
        }
        assert_eq!(text(&get()), "new");
        assert!(script.is_over());
        assert_nothing_is_left(&cache);
    }
}

#[test]
fn what_has_not_failed_is_loaded_when_it_has_expired() {
    let _alone = alone();
    type Change = (&'static str, fn(&Cache, &ManualClock));
    let (jobs, executor) = queue();
    let executor = Arc::new(executor);
    // Each change is applied after eight seconds, with a read after each second. The refresh is due
    // after nine.
    let changes: [Change; 4] = [
        ("claimed, and not begun", |_, clock| clock.advance(2 * SECOND)),
        ("idle", |_, clock| clock.advance(6 * SECOND)),
        ("shortened", |cache, clock| {
            assert!(cache.set_ttl("key", SECOND / 2).unwrap());
            clock.advance(SECOND);
        }),
        ("lengthened", |cache, clock| {
            assert!(cache.set_ttl("key", SECOND).unwrap() && cache.set_ttl("key", 60 * SECOND).unwrap());
            clock.advance(2 * SECOND);
        }),
    ];
    for (name, change) in changes {
        let (cache, clock) = timed(|builder| builder.time_to_idle(5 * SECOND).stale_for(60 * SECOND));
        let executor = Arc::clone(&executor);
        let script = Script::of([value("old"), value("new")]);
        let rules = cache.loader().ttl(10 * SECOND).refresh_after(9 * SECOND).error_ttl(30 * SECOND);
        let loader = rules.executor(move |job| executor(job)).build(script.load()).unwrap();
        assert_eq!(text(&loader.get("key")), "old", "{name}");
        for _ in 0..8 {
            clock.advance(SECOND);
            assert_eq!(text(&loader.get("key")), "old", "{name}");
        }
        if name.starts_with("claimed") {
            clock.advance(SECOND + 2 * TICK);
            assert_eq!(text(&loader.get("key")), "old");
            assert_eq!(jobs.lock().unwrap().drain(..).count(), 1);
        }
        change(&cache, &clock);
        if name == "lengthened" {
            assert_eq!(text(&loader.get("key")), "old");
            jobs.lock().unwrap().drain(..).for_each(|job| job());
        }
        assert_eq!(text(&loader.get("key")), "new", "{name}");
        assert!(script.is_over(), "{name}");
    }
}

#[test]
fn a_refresh_that_lies_beyond_the_deadline_is_not_taken_for_one_that_was_put_off() {
    let _alone = alone();
    for shortened in [false, true] {
        let (cache, clock) = timed(|builder| builder);
        let lifetime = Lifetime::new().ttl(if shortened { 60 * SECOND } else { 2 * SECOND });
        let script = Script::of([Ok(Loaded::ValueFor("old", lifetime)), value("new")]);
        let rules = cache.loader().refresh_after(4 * SECOND).error_ttl(5 * SECOND).stale_for(20 * SECOND);
        let loader = rules.build(script.load()).unwrap();
        assert_eq!(text(&loader.get("key")), "old");
        if shortened {
            assert!(cache.set_ttl("key", 2 * SECOND).unwrap());
        }
        clock.advance(2 * SECOND + TICK);
        assert_eq!(text(&loader.get("key")), "new");
        assert_eq!(cache.stats().stale_hits, 0);
    }
}

#[test]
fn what_was_stale_does_not_answer_after_it_was_replaced_or_removed() {
    let _alone = alone();
    type Change = (&'static str, fn(&Cache));
    let changes: [Change; 5] = [
        ("replace", |cache| assert!(!cache.replace("key", "new").unwrap())),
        ("remove", |cache| assert!(!cache.remove("key"))),
        ("take", |cache| assert!(cache.take("key").is_none())),
        ("retain", |cache| cache.retain(|_, value| value != b"old")),
        ("clear", Cache::clear),
    ];
    for (name, change) in changes {
        let (cache, clock) = timed(|builder| builder);
        let script = Script::of([value("old"), Err("down")]);
        let loader = cache.loader().ttl(10 * SECOND).stale_for(20 * SECOND).build(script.load()).unwrap();
        assert_eq!(text(&loader.get("key")), "old");
        clock.advance(10 * SECOND);
        change(&cache);
        assert!(matches!(loader.get("key"), Err(LoadError::Failed(_))), "{name}");
        assert!(cache.get_or_stale("key").is_none(), "{name}");
    }
}

// Many keys.

#[test]
fn many_keys_are_loaded_in_one_call_and_answered_in_order() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    cache.insert("b", "B").unwrap();
    let keys = ["a", "b", "c", "a", "d", "c"];
    let mut calls = 0;
    let answers = cache.get_or_load_many(&keys, |missing| {
        calls += 1;
        assert_eq!(missing, [&"a", &"c", &"d"]);
        Ok::<_, &str>(vec![Some("A"), None, Some("D")])
    });
    let expected = [Some("A"), Some("B"), None, Some("A"), Some("D"), None].map(|value| value.map(str::as_bytes));
    assert_eq!(answers.unwrap().iter().map(Option::as_deref).collect::<Vec<_>>(), expected);
    assert_eq!(calls, 1);
    assert_eq!(cache.get("d").as_deref(), Some(&b"D"[..]));
    assert!(cache.get("c").is_none());
    assert_eq!((cache.stats().loads, cache.stats().loads_not_found), (3, 1));
    let none: [&str; 0] = [];
    assert_eq!(cache.get_or_load_many(&none, |_| Err::<Vec<Option<&str>>, _>("called")).unwrap(), []);
    let hits = cache.get_or_load_many(&["a", "b"], |_| Err::<Vec<Option<&str>>, _>("called")).unwrap();
    assert_eq!(hits.len(), 2);
    assert_nothing_is_left(&cache);
}

#[test]
fn a_call_of_many_keys_waits_for_those_that_others_load_after_its_own() {
    let _alone = alone();
    for is_task in [false, true] {
        let (cache, _) = timed(|builder| builder);
        let gates = [Gate::new(), Gate::new(), Gate::new()];
        let mut others: Vec<_> = ["a", "b", "c"]
            .iter()
            .zip(&gates)
            .map(|(key, gate)| {
                let (cache, gate) = (cache.clone(), gate.clone());
                Hand::new(async move {
                    let load = async || {
                        gate.await;
                        Ok::<_, &str>("other")
                    };
                    cache.get_or_load_async(key, load).await
                })
            })
            .collect();
        assert!(others.iter_mut().all(|other| other.poll().is_pending()));
        let (begin, begun) = mpsc::channel();
        let many = {
            let cache = cache.clone();
            thread::spawn(move || {
                let load = |missing: &[&&str]| {
                    begin.send(missing.iter().map(|key| key.to_string()).collect::<Vec<_>>()).unwrap();
                    Ok::<_, &str>(missing.iter().map(|_| Some("mine")).collect())
                };
                let keys = ["a", "x", "b", "c", "y"];
                if is_task {
                    block_on(cache.get_or_load_many_async(&keys, |missing| std::future::ready(load(&missing))))
                } else {
                    cache.get_or_load_many(&keys, load)
                }
            })
        };
        assert_eq!(begun.recv().unwrap(), ["x", "y"]);
        until(|| cache.get("y").is_some());
        assert_eq!(cache.loads_under_way().0, 3);
        // The first load succeeds, the second is cancelled, and the third succeeds.
        gates[0].open();
        assert!(others[0].poll().is_ready());
        drop(others.remove(1));
        until(|| cache.loads_under_way().0 == 1);
        gates[2].open();
        assert!(others[1].poll().is_ready());
        assert_eq!(begun.recv().unwrap(), ["b"]);
        let answers = many.join().unwrap().unwrap();
        let texts: Vec<_> =
            answers.iter().map(|value| std::str::from_utf8(value.as_deref().unwrap()).unwrap()).collect();
        assert_eq!(texts, ["other", "mine", "mine", "other", "mine"]);
        assert_nothing_is_left(&cache);
    }
}

#[test]
fn a_call_of_many_keys_lands_its_own_before_it_waits_for_those_of_another_call() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    let (ready, go) = (Gate::new(), Gate::new());
    let mut first = {
        let (cache, go) = (cache.clone(), go.clone());
        Hand::new(async move {
            let load = |missing: Vec<&&str>| {
                let values = missing.iter().map(|key| Some(key.to_uppercase())).collect();
                let go = go.clone();
                async move {
                    go.await;
                    Ok::<Vec<_>, &str>(values)
                }
            };
            cache.get_or_load_many_async(&["a", "b"], load).await
        })
    };
    assert!(first.poll().is_pending());
    // The second call loads `c`, and waits for `a` of the first call. The third call waits for
    // both.
    let second = {
        let (cache, ready) = (cache.clone(), ready.clone());
        thread::spawn(move || {
            let keys = ["c", "a"];
            cache.get_or_load_many(&keys, |missing| {
                assert_eq!(missing, [&"c"]);
                block_on(ready.clone());
                Ok::<_, &str>(vec![Some("C")])
            })
        })
    };
    let mut third = {
        let cache = cache.clone();
        Hand::new(async move {
            cache
                .get_or_load_many_async(&["c", "b"], |_| async { Err::<Vec<Option<&str>>, _>("not to be called") })
                .await
        })
    };
    until(|| cache.loads_under_way().0 == 3);
    assert!(third.poll().is_pending());
    // The second call waits for the first, which does not wait for the second.
    ready.open();
    until(|| cache.get("c").is_some());
    assert!(third.poll().is_pending());
    go.open();
    assert!(matches!(first.poll(), Poll::Ready(Ok(values)) if values.len() == 2));
    let texts =
        |values: Vec<Option<Value>>| values.iter().map(|value| value.as_ref().unwrap().to_vec()).collect::<Vec<_>>();
    assert_eq!(texts(second.join().unwrap().unwrap()), [b"C", b"A"]);
    let Poll::Ready(third) = third.poll() else { panic!("all loads that it waits for have ended") };
    assert_eq!(texts(third.unwrap()), [b"C", b"B"]);
    assert_nothing_is_left(&cache);
}

#[test]
fn a_loader_of_many_keys_that_fails_or_miscounts_stores_nothing() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    let keys = ["a", "b"];
    let failed = cache.get_or_load_many(&keys, |_| Err::<Vec<Option<&str>>, _>("down"));
    assert!(matches!(failed, Err(LoadError::Failed(error)) if *error == "down"));
    for count in [0, 1, 3] {
        let answer = cache.get_or_load_many(&keys, |_| Ok::<_, &str>(vec![Some("value"); count]));
        assert!(matches!(answer, Err(LoadError::WrongCount { keys: 2, values }) if values == count));
    }
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        cache.get_or_load_many(&keys, |_| -> Result<Vec<Option<&str>>, &str> { panic!("the loader does") })
    }));
    assert!(panicked.is_err());
    assert!(cache.is_empty());
    let stats = cache.stats();
    assert_eq!((stats.loads, stats.load_failures, stats.load_cancellations), (10, 10, 0));
    assert_nothing_is_left(&cache);
}

#[test]
fn those_who_follow_a_key_of_a_loader_that_miscounts_load_for_themselves() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    let gate = Gate::new();
    let mut many = Hand::new(cache.get_or_load_many_async(&["a", "b"], |_| {
        let gate = gate.clone();
        async move {
            gate.await;
            Ok::<Vec<Option<&str>>, &str>(vec![])
        }
    }));
    assert!(many.poll().is_pending());
    let mut follower = Hand::new(cache.get_or_load_async("a", async || Ok::<_, &str>("own")));
    assert!(follower.poll().is_pending());
    gate.open();
    assert!(matches!(many.poll(), Poll::Ready(Err(LoadError::WrongCount { keys: 2, values: 0 }))));
    assert!(matches!(follower.poll(), Poll::Ready(Ok(value)) if value == *b"own"));
    drop((many, follower));
    assert_nothing_is_left(&cache);
}

#[test]
fn those_who_follow_a_key_of_many_get_its_value_or_error() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    for result in [Ok(vec![Some("A"), None]), Err("down")] {
        let gate = Gate::new();
        let (waits, given) = (gate.clone(), result.clone());
        let mut many = Hand::new(cache.get_or_load_many_async(&["a", "b"], move |_| {
            let (waits, given) = (waits.clone(), given.clone());
            async move {
                waits.await;
                given
            }
        }));
        assert!(many.poll().is_pending());
        let mut follows = ["a", "b"].map(|key| Hand::new(cache.get_or_load_async(key, async || Err::<&str, _>("own"))));
        assert!(follows.iter_mut().all(|follow| follow.poll().is_pending()));
        gate.open();
        assert!(many.poll().is_ready());
        for (follow, expected) in follows.iter_mut().zip([Some("A"), None]) {
            let Poll::Ready(answer) = follow.poll() else { panic!("the load has ended") };
            match (&result, answer) {
                (Ok(_), Ok(value)) => assert_eq!(Some(&*value), expected.map(str::as_bytes)),
                (Ok(_), Err(error)) => assert!(error.is_absent() && expected.is_none()),
                (Err(_), answer) => assert!(matches!(answer, Err(LoadError::Failed(error)) if *error == "down")),
            }
        }
        drop(follows);
        cache.clear();
        assert_nothing_is_left(&cache);
    }
}

#[test]
fn errors_say_what_happened() {
    let text = LoadError::Failed(Failure::new("no route".to_string()));
    assert_eq!(text.to_string(), "the loader failed: no route");
    let miscounted = LoadError::<String>::WrongCount { keys: 3, values: 2 };
    assert_eq!(miscounted.to_string(), "the loader returned 2 values for 3 keys");
}
