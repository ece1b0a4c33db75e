//! Loads that run elsewhere, as tasks of a spawner or jobs of an executor, and limits on their
//! time.

use std::future::{Future, pending};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use bytecache::testing::Inspect;
use bytecache::{Cache, LoadError, LoaderBuilder, Value};

use crate::support::{Gate, Hand, alone, assert_nothing_is_left, block_on, timed, until};

const SECOND: Duration = Duration::from_secs(1);
/// A limit that comes when a test opens the gate of its sleep.
const LIMIT: Duration = Duration::from_secs(1_000);

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
type Loading = Pin<Box<dyn Future<Output = Result<&'static str, &'static str>> + Send>>;
type Answer = Result<Value, LoadError<&'static str>>;

/// The tasks that a spawner got.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<Vec<Task>>>);

impl Tasks {
    fn spawner(&self) -> impl Fn(Task) + Send + Sync + use<> {
        let tasks = self.clone();
        move |task| tasks.0.lock().unwrap().push(task)
    }

    /// Returns the only task.
    fn only(&self) -> Hand<'static, ()> {
        let mut tasks = self.0.lock().unwrap();
        assert_eq!(tasks.len(), 1);
        Hand::new(tasks.pop().unwrap())
    }
}

/// A load that waits for a gate, and counts its calls.
#[derive(Clone, Default)]
struct Slow {
    gate: Gate,
    calls: Arc<AtomicUsize>,
}

impl Slow {
    fn load(&self) -> impl Fn(Arc<[u8]>) -> Loading + Send + Sync + use<> {
        let slow = self.clone();
        move |_| {
            slow.calls.fetch_add(1, Ordering::Relaxed);
            let gate = slow.gate.clone();
            Box::pin(async {
                gate.await;
                Ok("value")
            })
        }
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

fn sleep_until(gate: &Gate) -> impl Fn(Duration) -> Gate + Send + Sync + use<> {
    let gate = gate.clone();
    move |_| gate.clone()
}

fn times_out(poll: Poll<Answer>) -> bool {
    matches!(poll, Poll::Ready(Err(LoadError::TimedOut)))
}

// Tasks.

#[test]
fn two_hundred_callers_that_give_up_before_the_load_ends_load_once_and_it_is_stored() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    let (tasks, slow) = (Tasks::default(), Slow::default());
    let loader = cache.loader().spawner(tasks.spawner()).build_async(slow.load()).unwrap();
    let call = || {
        let mut call = Hand::new(loader.get_async("key"));
        assert!(call.poll().is_pending());
        call
    };
    let first: Vec<_> = (0..100).map(|_| call()).collect();
    let mut load = tasks.only();
    assert!(load.poll().is_pending());
    drop(first);
    assert_eq!(cache.loads_under_way(), (1, 0));
    let second: Vec<_> = (0..100).map(|_| call()).collect();
    drop(second);
    slow.gate.open();
    assert!(load.poll().is_ready());
    drop(load);
    assert_eq!(cache.get("key").as_deref(), Some(&b"value"[..]));
    assert_eq!(block_on(loader.get_async("key")).unwrap(), *b"value");
    let stats = cache.stats();
    assert_eq!((slow.calls(), stats.loads, stats.load_cancellations, stats.followers), (1, 1, 0, 0));
    assert_nothing_is_left(&cache);
}

#[test]
fn a_spawned_load_goes_on_after_its_callers_have_timed_out_and_is_stored() {
    let _alone = alone();
    let limits: [fn(LoaderBuilder) -> LoaderBuilder; 2] =
        [|loader| loader.wait_limit(LIMIT), |loader| loader.load_timeout(LIMIT)];
    for limit in limits {
        let (cache, _) = timed(|builder| builder);
        let (tasks, slow, sleep) = (Tasks::default(), Slow::default(), Gate::new());
        let loader = limit(cache.loader().spawner(tasks.spawner()).sleep(sleep_until(&sleep)));
        let loader = loader.build_async(slow.load()).unwrap();
        let mut calls: Vec<_> = (0..3).map(|_| Hand::new(loader.get_async("key"))).collect();
        assert!(calls.iter_mut().all(|call| call.poll().is_pending()));
        let mut load = tasks.only();
        assert!(load.poll().is_pending());
        sleep.open();
        assert!(calls.iter_mut().all(|call| times_out(call.poll())));
        assert!(load.poll().is_pending());
        slow.gate.open();
        assert!(load.poll().is_ready());
        drop((calls, load));
        assert_eq!(cache.get("key").as_deref(), Some(&b"value"[..]));
        let stats = cache.stats();
        assert_eq!((stats.loads, stats.load_failures, stats.load_timeouts), (1, 0, 3));
        assert_nothing_is_left(&cache);
    }
}

#[test]
fn the_callers_of_a_spawned_load_get_its_value_and_those_of_other_loads_too() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    let (tasks, slow) = (Tasks::default(), Slow::default());
    let loader = cache.loader().spawner(tasks.spawner()).build_async(slow.load()).unwrap();
    let mut calls = [Hand::new(loader.get_async("key")), Hand::new(loader.get_async("key"))];
    assert!(calls.iter_mut().all(|call| call.poll().is_pending()));
    let never = async || -> Result<&str, &str> { panic!("loaded twice") };
    let mut other = Hand::new(cache.get_or_load_async("key", never));
    assert!(other.poll().is_pending());
    slow.gate.open();
    assert!(tasks.only().poll().is_ready());
    for call in &mut calls {
        assert!(matches!(call.poll(), Poll::Ready(Ok(value)) if value == *b"value"));
    }
    assert!(matches!(other.poll(), Poll::Ready(Ok(value)) if value == *b"value"));
    // The first call has begun the load, and does not count as one that waited for another.
    assert_eq!((slow.calls(), cache.stats().followers), (1, 2));
}

#[test]
fn the_caller_of_a_spawned_load_is_accounted_for_like_one_that_waits_for_another_call() {
    let _alone = alone();
    let flights = |is_spawning: bool, calls: usize| {
        let (cache, _) = timed(|builder| builder);
        let (tasks, slow) = (Tasks::default(), Slow::default());
        let builder = cache.loader();
        let builder = if is_spawning { builder.spawner(tasks.spawner()) } else { builder };
        let loader = builder.build_async(slow.load()).unwrap();
        let mut calls: Vec<_> = (0..calls).map(|_| Hand::new(loader.get_async("key"))).collect();
        assert!(calls.iter_mut().all(|call| call.poll().is_pending()));
        cache.memory().flights
    };
    assert!(flights(true, 1) > flights(false, 1));
    for callers in [1, 4, 5, 9] {
        assert_eq!(flights(true, callers), flights(false, callers + 1));
    }
}

#[test]
fn a_write_keeps_a_spawned_load_from_being_stored() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    let (tasks, slow) = (Tasks::default(), Slow::default());
    let loader = cache.loader().spawner(tasks.spawner()).build_async(slow.load()).unwrap();
    let mut call = Hand::new(loader.get_async("key"));
    assert!(call.poll().is_pending());
    let mut load = tasks.only();
    assert!(load.poll().is_pending());
    cache.remove("key");
    slow.gate.open();
    assert!(load.poll().is_ready() && call.poll().is_ready());
    assert!(cache.get("key").is_none());
    assert_eq!(cache.stats().discarded_loads, 1);
}

#[test]
fn a_caller_runs_the_load_itself_if_the_spawner_drops_it() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    let slow = Slow::default();
    let loader = cache.loader().spawner(drop).build_async(slow.load()).unwrap();
    let mut calls = [Hand::new(loader.get_async("key")), Hand::new(loader.get_async("key"))];
    assert!(calls.iter_mut().all(|call| call.poll().is_pending()));
    assert_eq!(slow.calls(), 1);
    slow.gate.open();
    assert!(calls.iter_mut().all(|call| call.poll().is_ready()));
    drop(calls);
    assert_eq!((cache.stats().loads, slow.calls()), (1, 1));
    assert_nothing_is_left(&cache);
}

#[test]
fn a_spawned_load_that_panics_is_an_error_of_its_callers() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    let tasks = Tasks::default();
    let load = |_| async { if true { panic!("the loader does") } else { Ok::<_, &str>("value") } };
    let loader = cache.loader().spawner(tasks.spawner()).build_async(load).unwrap();
    let mut call = Hand::new(loader.get_async("key"));
    assert!(call.poll().is_pending());
    let mut load = tasks.only();
    assert!(catch_unwind(AssertUnwindSafe(|| load.poll())).is_err());
    drop(load);
    assert!(matches!(call.poll(), Poll::Ready(Err(LoadError::Panicked))));
    drop(call);
    assert_nothing_is_left(&cache);
}

#[test]
fn a_spawned_load_that_asks_for_its_own_key_is_told_so() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    let tasks = Tasks::default();
    let inner = cache.clone();
    let load = move |_| {
        let inner = inner.clone();
        async move {
            let again = inner.get_or_load_async("key", async || Ok::<_, &str>("inner")).await;
            assert!(matches!(again, Err(LoadError::Reentrant)));
            Ok::<_, &str>("value")
        }
    };
    let loader = cache.loader().spawner(tasks.spawner()).build_async(load).unwrap();
    let mut call = Hand::new(loader.get_async("key"));
    assert!(call.poll().is_pending());
    assert!(tasks.only().poll().is_ready());
    assert!(matches!(call.poll(), Poll::Ready(Ok(value)) if value == *b"value"));
}

#[test]
fn a_load_in_the_task_of_a_caller_ends_at_the_load_timeout_for_all_that_wait_for_it() {
    let _alone = alone();
    struct Noted(Arc<AtomicUsize>);
    impl Drop for Noted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let (cache, clock) = timed(|builder| builder);
    let (sleep, dropped) = (Gate::new(), Arc::new(AtomicUsize::new(0)));
    let noted = Arc::clone(&dropped);
    let load = move |_| {
        let noted = Noted(Arc::clone(&noted));
        async move {
            pending::<()>().await;
            drop(noted);
            Ok::<_, &str>("value")
        }
    };
    let loader = cache.loader().load_timeout(LIMIT).error_ttl(SECOND).sleep(sleep_until(&sleep));
    let loader = loader.build_async(load).unwrap();
    let mut leader = Hand::new(loader.get_async("key"));
    let mut follower = Hand::new(cache.get_or_load_async("key", async || Ok::<_, &str>("mine")));
    assert!(leader.poll().is_pending() && follower.poll().is_pending());
    sleep.open();
    assert!(times_out(leader.poll()) && times_out(follower.poll()));
    drop((leader, follower));
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
    let stats = cache.stats();
    assert_eq!((stats.loads, stats.load_failures, stats.load_timeouts), (1, 1, 2));
    // It counts as a failure of the key.
    assert!(matches!(block_on(loader.get_async("key")), Err(LoadError::RecentFailure)));
    clock.advance(2 * SECOND);
    assert!(matches!(block_on(loader.get_async("key")), Err(LoadError::TimedOut)));
    clock.advance(2 * SECOND);
    assert_eq!(cache.get_or_load("key", || Ok::<_, &str>("later")).unwrap(), *b"later");
    assert_nothing_is_left(&cache);
}

#[test]
fn a_stale_value_answers_for_a_load_that_times_out() {
    let _alone = alone();
    let (cache, clock) = timed(|builder| builder);
    let (sleep, calls) = (Gate::new(), AtomicUsize::new(0));
    sleep.open();
    let load = move |_| {
        let is_first = calls.fetch_add(1, Ordering::Relaxed) == 0;
        async move {
            if !is_first {
                pending::<()>().await;
            }
            Ok::<_, &str>("old")
        }
    };
    let loader = cache.loader().load_timeout(LIMIT).sleep(sleep_until(&sleep));
    let loader = loader.ttl(SECOND).stale_for(10 * SECOND).build_async(load).unwrap();
    assert_eq!(block_on(loader.get_async("key")).unwrap(), *b"old");
    clock.advance(2 * SECOND);
    assert_eq!(block_on(loader.get_async("key")).unwrap(), *b"old");
    assert_eq!((cache.stats().stale_hits, cache.stats().load_timeouts), (1, 1));
}

// Threads.

type Job = Box<dyn FnOnce() + Send>;

#[test]
fn a_thread_leaves_its_load_to_the_executor_at_the_load_timeout_and_it_is_stored() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    let jobs: Arc<Mutex<Vec<Job>>> = Arc::default();
    let queue = Arc::clone(&jobs);
    let loader = cache.loader().load_timeout(Duration::from_millis(1));
    let loader = loader.executor(move |job| queue.lock().unwrap().push(job));
    let loader = loader.build(|_| Ok::<_, &str>("value")).unwrap();
    for _ in 0..2 {
        assert!(matches!(loader.get("key"), Err(LoadError::TimedOut)));
    }
    let job = jobs.lock().unwrap().pop().unwrap();
    assert!(jobs.lock().unwrap().is_empty());
    job();
    assert_eq!(cache.get("key").as_deref(), Some(&b"value"[..]));
    assert_eq!(loader.get("key").unwrap(), *b"value");
    assert_eq!((cache.stats().loads, cache.stats().load_timeouts), (1, 2));
    assert_nothing_is_left(&cache);
}

#[test]
fn a_thread_waits_for_the_load_that_the_executor_runs_and_runs_it_itself_if_that_drops_it() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    let loader = cache.loader().load_timeout(LIMIT);
    let here = thread::current().id();
    let load = move |key: &[u8]| {
        assert_eq!(thread::current().id() == here, *key == *b"dropped");
        Ok::<_, &str>("value")
    };
    let spawning = loader.clone().executor(|job| drop(thread::spawn(job))).build(load).unwrap();
    assert_eq!(spawning.get("key").unwrap(), *b"value");
    let dropping = loader.executor(drop).build(load).unwrap();
    assert_eq!(dropping.get("dropped").unwrap(), *b"value");
    assert_eq!((cache.stats().loads, cache.stats().followers), (2, 0));
    until(|| cache.memory().flights == 0);
    assert_nothing_is_left(&cache);
}

#[test]
fn a_load_that_panics_on_the_executor_is_an_error_of_its_caller() {
    let _alone = alone();
    let (cache, _) = timed(|builder| builder);
    let executor = |job: Job| assert!(thread::spawn(job).join().is_err());
    let loader = cache.loader().load_timeout(LIMIT).executor(executor);
    let loader = loader.build(|_| -> Result<&str, &str> { panic!("the loader does") }).unwrap();
    assert!(matches!(loader.get("key"), Err(LoadError::Panicked)));
    assert_nothing_is_left(&cache);
}

#[test]
fn a_loader_without_what_a_load_timeout_needs_is_refused() {
    let cache = Cache::new(1 << 20).unwrap();
    let loader = cache.loader().load_timeout(SECOND);
    assert_eq!(loader.clone().build(|_| Ok::<_, &str>("")).unwrap_err(), bytecache::BuildError::NoExecutor);
    let error = loader.build_async(|_| async { Ok::<_, &str>("") }).unwrap_err();
    assert_eq!(error, bytecache::BuildError::NoSleep);
}
