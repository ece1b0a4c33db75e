//! Every outcome of a load's leader, with every kind of follower and every change of the key during
//! the load. Checks each caller's result, the stored value, the counters, and that nothing is left.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytecache::testing::Inspect;
use bytecache::{Cache, LoadError, Value};

use crate::support::{Gate, Hand, alone, block_on, until};

const KEY: &str = "key";

/// The outcome of the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leader {
    Returns,
    Errs,
    Panics,
    /// Its future is dropped, which is possible only for a task.
    Cancelled,
    /// Its load goes on after all else has ended, and then returns.
    Stalls,
}

/// The kind of caller that waits for the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Follower {
    Thread,
    Task,
    /// A task whose future is dropped before the load ends.
    Cancelled,
    /// A thread that waits for a millisecond at most, before anything else happens.
    TimesOut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meanwhile {
    Nothing,
    Insert,
    Remove,
    Clear,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Thread,
    Task,
}

/// The outcome of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Came {
    To(&'static str),
    Failed,
    Panicked,
    TimedOut,
    /// The loader's panic went on in the caller.
    Unwound,
    /// The call's future was dropped.
    Nowhere,
}

type Answer = Result<Value, LoadError<&'static str>>;

fn came(answer: Answer) -> Came {
    match answer {
        Ok(value) => {
            Came::To(["led", "followed", "inserted"].into_iter().find(|known| value == *known.as_bytes()).unwrap())
        }
        Err(LoadError::Failed(error)) if *error == "error" => Came::Failed,
        Err(LoadError::Panicked) => Came::Panicked,
        Err(LoadError::TimedOut) => Came::TimedOut,
        Err(other) => panic!("{other:?}"),
    }
}

impl Leader {
    fn end(self) -> Result<&'static str, &'static str> {
        match self {
            Self::Errs => Err("error"),
            Self::Panics => panic!("the loader does"),
            Self::Returns | Self::Stalls | Self::Cancelled => Ok("led"),
        }
    }
}

type Task = Hand<'static, Answer>;

/// A leader whose load waits for a signal.
enum Leading {
    Thread(JoinHandle<Answer>, mpsc::Sender<()>),
    Task(Task, Gate),
}

impl Leading {
    fn begin(cache: &Cache, leader: Leader, kind: Kind) -> Self {
        let cache = cache.clone();
        match kind {
            Kind::Thread => {
                let ((go, gone), (begin, begun)) = (mpsc::channel(), mpsc::channel());
                let load = move || {
                    begin.send(()).unwrap();
                    gone.recv().unwrap();
                    leader.end()
                };
                let thread = thread::spawn(move || cache.get_or_load(KEY, load));
                begun.recv().unwrap();
                Self::Thread(thread, go)
            }
            Kind::Task => {
                let gate = Gate::new();
                let waits = gate.clone();
                let load = move || async move {
                    waits.await;
                    leader.end()
                };
                let mut task = Hand::new(async move { cache.get_or_load_async(KEY, load).await });
                assert!(task.poll().is_pending());
                Self::Task(task, gate)
            }
        }
    }

    /// Ends the load, and returns the outcome of the leader.
    fn end(self, leader: Leader) -> Came {
        let answer = match self {
            Self::Task(task, _) if leader == Leader::Cancelled => {
                drop(task);
                return Came::Nowhere;
            }
            Self::Thread(thread, go) => {
                go.send(()).unwrap();
                thread.join()
            }
            Self::Task(mut task, gate) => {
                gate.open();
                assert_eq!(task.wakes(), 1);
                catch_unwind(AssertUnwindSafe(|| match task.poll() {
                    Poll::Ready(answer) => answer,
                    Poll::Pending => panic!("pending although its gate is open"),
                }))
            }
        };
        answer.map_or(Came::Unwound, came)
    }
}

enum Following {
    Thread(JoinHandle<Answer>),
    Task(Task),
    Over(Came),
}

impl Following {
    fn begin(cache: &Cache, follower: Follower, own_loads: &Arc<AtomicUsize>) -> Self {
        let (cache, own_loads) = (cache.clone(), Arc::clone(own_loads));
        let load = move || {
            own_loads.fetch_add(1, Ordering::Relaxed);
            Ok("followed")
        };
        let watched = cache.clone();
        let following = match follower {
            Follower::Thread => Self::Thread(thread::spawn(move || cache.get_or_load(KEY, load))),
            Follower::Task | Follower::Cancelled => {
                let mut task = Hand::new(async move { cache.get_or_load_async(KEY, || async move { load() }).await });
                assert!(task.poll().is_pending());
                Self::Task(task)
            }
            Follower::TimesOut => {
                let loader = cache.loader().wait_limit(Duration::from_millis(1));
                let loader = loader.build(move |_| load()).unwrap();
                return Self::Over(came(loader.get(KEY)));
            }
        };
        until(|| watched.loads_under_way() == (1, 1));
        if follower == Follower::Cancelled {
            drop(following);
            assert_eq!(watched.loads_under_way(), (1, 0));
            return Self::Over(Came::Nowhere);
        }
        following
    }

    fn is_waiting(&mut self) -> bool {
        match self {
            Self::Thread(thread) => !thread.is_finished(),
            Self::Task(task) => task.wakes() == 0 && task.poll().is_pending(),
            Self::Over(_) => false,
        }
    }

    fn end(self) -> Came {
        match self {
            Self::Thread(thread) => came(thread.join().unwrap()),
            Self::Task(mut task) => {
                assert!(task.wakes() > 0, "the follower was not woken");
                match task.poll() {
                    Poll::Ready(answer) => came(answer),
                    Poll::Pending => panic!("pending although the load has ended"),
                }
            }
            Self::Over(came) => came,
        }
    }
}

/// Returns the expected outcome of a caller whose key another caller loads.
fn expected_of_follower(leader: Leader, follower: Follower, meanwhile: Meanwhile) -> Came {
    match (follower, leader) {
        (Follower::Cancelled, _) => Came::Nowhere,
        (Follower::TimesOut, _) => Came::TimedOut,
        (_, Leader::Returns | Leader::Stalls) => Came::To("led"),
        (_, Leader::Errs) => Came::Failed,
        (_, Leader::Panics) => Came::Panicked,
        (_, Leader::Cancelled) if meanwhile == Meanwhile::Insert => Came::To("inserted"),
        (_, Leader::Cancelled) => Came::To("followed"),
    }
}

fn expected_of_leader(leader: Leader) -> Came {
    match leader {
        Leader::Returns | Leader::Stalls => Came::To("led"),
        Leader::Errs => Came::Failed,
        Leader::Panics => Came::Unwound,
        Leader::Cancelled => Came::Nowhere,
    }
}

fn check(leader: Leader, kind: Kind, follower: Follower, meanwhile: Meanwhile) {
    let _alone = alone();
    let cache = Cache::builder().max_bytes(1 << 20).shards(1).build().unwrap();
    let own_loads = Arc::new(AtomicUsize::new(0));
    let leading = Leading::begin(&cache, leader, kind);
    let mut following = Following::begin(&cache, follower, &own_loads);
    match meanwhile {
        Meanwhile::Nothing => {}
        Meanwhile::Insert => cache.insert(KEY, "inserted").unwrap(),
        Meanwhile::Remove => assert!(!cache.remove(KEY)),
        Meanwhile::Clear => cache.clear(),
    }
    if leader == Leader::Stalls {
        let follows = matches!(follower, Follower::Thread | Follower::Task);
        assert_eq!(following.is_waiting(), follows);
        let is_leased = meanwhile == Meanwhile::Nothing;
        assert_eq!(cache.loads_under_way(), (usize::from(is_leased), usize::from(is_leased && follows)));
        assert_eq!(cache.stats().loads, 0);
    }
    assert_eq!(leading.end(leader), expected_of_leader(leader));
    let expected = expected_of_follower(leader, follower, meanwhile);
    assert_eq!(following.end(), expected);

    let takes_over = expected == Came::To("followed");
    assert_eq!(own_loads.load(Ordering::Relaxed), usize::from(takes_over));
    let has_loaded = matches!(leader, Leader::Returns | Leader::Stalls);
    let stored = match meanwhile {
        Meanwhile::Insert => Some("inserted"),
        _ if takes_over => Some("followed"),
        Meanwhile::Nothing if has_loaded => Some("led"),
        _ => None,
    };
    assert_eq!(cache.get(KEY).as_deref(), stored.map(str::as_bytes));

    let stats = cache.stats();
    let leads = leader != Leader::Cancelled;
    assert_eq!(stats.loads, u64::from(leads) + u64::from(takes_over));
    assert_eq!(stats.load_failures, u64::from(matches!(leader, Leader::Errs | Leader::Panics)));
    assert_eq!(stats.load_cancellations, u64::from(!leads));
    assert_eq!(stats.discarded_loads, u64::from(has_loaded && meanwhile != Meanwhile::Nothing));
    let brings = leads && leader != Leader::Panics;
    assert_eq!(stats.followers, u64::from(brings && matches!(follower, Follower::Thread | Follower::Task)));
    assert_eq!(stats.load_timeouts, u64::from(follower == Follower::TimesOut));
    assert_eq!(cache.loads_under_way(), (0, 0));
    assert_eq!(cache.memory().flights, 0);
    cache.validate();
}

macro_rules! meanwhile {
    ($leader:ident, $kind:ident, $follower:ident: $($name:ident $what:ident)*) => {$(
        #[test]
        fn $name() {
            super::super::check(
                super::super::Leader::$leader,
                super::super::Kind::$kind,
                super::super::Follower::$follower,
                super::super::Meanwhile::$what,
            );
        }
    )*};
}

macro_rules! followers {
    ($leader:ident, $kind:ident: $($name:ident $follower:ident)*) => {$(
        mod $name {
            meanwhile! { $leader, $kind, $follower: nothing Nothing  insert Insert  remove Remove  clear Clear }
        }
    )*};
}

macro_rules! leaders {
    ($($name:ident $leader:ident $kind:ident)*) => {$(
        mod $name {
            followers! {
                $leader, $kind:
                follower_thread Thread
                follower_task Task
                follower_cancelled Cancelled
                follower_times_out TimesOut
            }
        }
    )*};
}

leaders! {
    thread_returns Returns Thread
    thread_errs Errs Thread
    thread_panics Panics Thread
    thread_stalls Stalls Thread
    task_returns Returns Task
    task_errs Errs Task
    task_panics Panics Task
    task_cancelled Cancelled Task
    task_stalls Stalls Task
}

/// A sleep that ends when its gate is opened.
struct Nap(Gate);

impl Future for Nap {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(context)
    }
}

#[test]
fn a_task_times_out_when_its_sleep_ends_and_the_load_goes_on() {
    let _alone = alone();
    let cache = Cache::builder().max_bytes(1 << 20).shards(1).build().unwrap();
    let leading = Leading::begin(&cache, Leader::Returns, Kind::Thread);
    let alarm = Gate::new();
    let sleep = {
        let alarm = alarm.clone();
        move |limit| {
            assert_eq!(limit, Duration::from_secs(3600));
            Nap(alarm.clone())
        }
    };
    let rules = cache.loader().wait_limit(Duration::from_secs(3600)).sleep(sleep);
    let loader = rules.build_async(|_| async { Err::<&str, _>("not to be called") }).unwrap();
    let mut task = Hand::new(loader.get_async(KEY));
    assert!(task.poll().is_pending());
    alarm.open();
    assert_eq!(task.wakes(), 1);
    assert!(matches!(task.poll(), Poll::Ready(Err(LoadError::TimedOut))));
    drop(task);
    assert_eq!(leading.end(Leader::Returns), Came::To("led"));
    assert_eq!(block_on(loader.get_async(KEY)).unwrap(), *b"led");
    assert_eq!((cache.stats().load_timeouts, cache.stats().loads), (1, 1));
    assert_eq!(cache.loads_under_way(), (0, 0));
}
