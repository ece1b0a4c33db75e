//! Caches and futures that a test controls.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use bytecache::testing::Inspect;
use bytecache::{Cache, CacheBuilder, ManualClock, Policy};

/// Runs one test at a time. Readers of any cache in the process can delay reclamation in all of
/// them, so inserts of another test could be rejected.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Builds a cache from a size, a number of shards, and a policy.
pub(crate) fn build(max_bytes: usize, shards: usize, policy: Policy) -> Cache {
    Cache::builder().max_bytes(max_bytes).shards(shards).policy(policy).build().unwrap()
}

/// Advances `state` to the next number of its sequence. Returns 31 random bits.
pub(crate) fn random(state: &mut u64) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize
}

/// Checks that the counters agree with the number of entries, in a cache without deadlines.
#[track_caller]
pub(crate) fn assert_counts_add_up(cache: &Cache) {
    let stats = cache.stats();
    assert_eq!(stats.inserts - stats.removals - stats.evictions, cache.len() as u64, "{stats:?}");
}

/// Builds a cache of 1 MiB in one shard, and its clock.
pub(crate) fn timed(options: impl FnOnce(CacheBuilder) -> CacheBuilder) -> (Cache, ManualClock) {
    let clock = ManualClock::new();
    let builder = Cache::builder().max_bytes(1 << 20).shards(1).clock(clock.clone());
    (options(builder).build().unwrap(), clock)
}

/// Checks that no load has left anything behind.
#[track_caller]
pub(crate) fn assert_nothing_is_left(cache: &Cache) {
    assert_eq!(cache.loads_under_way(), (0, 0));
    assert_eq!(cache.memory().flights, 0);
    cache.validate();
}

/// A future that is pending until it is opened. Clones are handles of the same gate.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<Mutex<(bool, Vec<Waker>)>>);

impl Gate {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn open(&self) {
        let wakers = {
            let mut gate = self.0.lock().unwrap();
            gate.0 = true;
            std::mem::take(&mut gate.1)
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Future for Gate {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut gate = self.0.lock().unwrap();
        if gate.0 {
            return Poll::Ready(());
        }
        gate.1.push(context.waker().clone());
        Poll::Pending
    }
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A task that is polled by hand, whether or not it was woken.
pub(crate) struct Hand<'a, T> {
    future: Pin<Box<dyn Future<Output = T> + Send + 'a>>,
    wakes: Arc<Wakes>,
}

impl<'a, T> Hand<'a, T> {
    pub(crate) fn new(future: impl Future<Output = T> + Send + 'a) -> Self {
        Self { future: Box::pin(future), wakes: Arc::default() }
    }

    pub(crate) fn poll(&mut self) -> Poll<T> {
        self.poll_with(&Waker::from(Arc::clone(&self.wakes)))
    }

    /// Polls the task with the caller's own waker.
    pub(crate) fn poll_with(&mut self, waker: &Waker) -> Poll<T> {
        self.future.as_mut().poll(&mut Context::from_waker(waker))
    }

    /// Returns how often the task was woken.
    pub(crate) fn wakes(&self) -> usize {
        self.wakes.0.load(Ordering::SeqCst)
    }
}

/// Time that a test waits for an event before it fails. Every machine is much faster.
const PATIENCE: Duration = Duration::from_secs(120);

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread, and returns its result.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = std::pin::pin!(future);
    let end = Instant::now() + PATIENCE;
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        let left = end.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "this future was not woken within {PATIENCE:?}");
        thread::park_timeout(left);
    }
}

/// Waits until other threads make `has_come` return `true`.
#[track_caller]
pub(crate) fn until(has_come: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !has_come() {
        assert!(Instant::now() < end, "the condition was not met within {PATIENCE:?}");
        thread::yield_now();
    }
}
