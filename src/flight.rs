//! A load in progress: one leader runs it, followers wait for its end, threads and tasks alike.
//!
//! ```text
//!   flying ----end(Landed)------> over: followers get the outcome
//!      |   ----end(Panicked)----> over: followers are told
//!      +-------end(Abandoned)---> over: each follower starts again, and the first one leads
//! ```
//!
//! # Invariants
//!
//! 1. A flight ends once; what its end was stays.
//! 2. A task that was told to wait has its waker among the flight's until it leaves or the flight ends.
//! 3. No waker is called, cloned or dropped under the flight's lock: it may run the user's code, which may come back here.
//!
//! # Synchronization
//!
//! The lock orders all. A follower looks at the state and registers under one hold of it, so the end either is seen or
//! finds the follower.
//!
//! # Not here
//!
//! Keys, and which of their flights is under way: `shard/load.rs` has that under its lock. What is loaded: an outcome is
//! any `T`.

use core::future::Future;
use core::mem;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use slab::Slab;

use crate::sync::{AtomicUsize, Condvar, Mutex, Ordering, wait};

/// What a flight needs for each task that waits at the same time, in bytes: while the list of wakers doubles there are the
/// old places and twice as many others.
pub(crate) const SEAT_BYTES: usize = 3 * size_of::<Option<Waker>>();

/// A load in progress. `C` is held until nobody refers to the flight any more.
#[derive(Debug)]
pub(crate) struct Flight<T, C> {
    state: Mutex<State<T>>,
    is_over: Condvar,
    /// Tasks that follow at present.
    seated: AtomicUsize,
    charge: C,
}

#[derive(Debug)]
enum State<T> {
    Flying { tasks: Slab<Waker>, threads: usize },
    Over(End<T>),
}

/// How a flight ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End<T> {
    Landed(T),
    /// The leader panicked.
    Panicked,
    /// The leader was cancelled: nobody has loaded.
    Abandoned,
}

impl<T: Clone, C> Flight<T, C> {
    pub(crate) fn new(charge: C) -> Self {
        Self {
            state: Mutex::new(State::Flying { tasks: Slab::new(), threads: 0 }),
            is_over: Condvar::new(),
            seated: AtomicUsize::new(0),
            charge,
        }
    }

    pub(crate) fn charge(&self) -> &C {
        &self.charge
    }

    /// Ends the flight; the first end counts.
    pub(crate) fn end(&self, end: End<T>) {
        let mut state = self.state.lock();
        let State::Flying { tasks, .. } = &mut *state else { return };
        let tasks = mem::take(tasks);
        *state = State::Over(end);
        drop(state);
        self.is_over.notify_all();
        for (_, waker) in tasks {
            // One that panics is no reason to leave the others waiting.
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }

    /// Waits for the end, until some moment at the latest; `None` if that came first.
    pub(crate) fn wait(&self, until: Option<Instant>) -> Option<End<T>> {
        let mut state = self.state.lock();
        loop {
            let threads = match &mut *state {
                State::Over(end) => return Some(end.clone()),
                State::Flying { threads, .. } => threads,
            };
            if until.is_some_and(|until| Instant::now() >= until) {
                return None;
            }
            *threads += 1;
            state = wait(&self.is_over, state, until);
            if let State::Flying { threads, .. } = &mut *state {
                *threads -= 1;
            }
        }
    }

    /// Threads and tasks that wait at present.
    pub(crate) fn waiting(&self) -> usize {
        match &*self.state.lock() {
            State::Flying { tasks, threads } => tasks.len() + threads,
            State::Over(_) => 0,
        }
    }

    /// How many tasks have a seat.
    pub(crate) fn seated(&self) -> usize {
        self.seated.load(Ordering::Relaxed)
    }

    /// Gives a seat to one more task, which then has to [`follow`](Self::follow).
    pub(crate) fn take_seat(&self) {
        self.seated.fetch_add(1, Ordering::Relaxed); // A count, which orders nothing.
    }

    /// A future of the flight's end, for a task that has a seat, until it is dropped.
    pub(crate) fn follow(self: Arc<Self>) -> Follow<T, C> {
        Follow { flight: self, place: None }
    }

    fn poll_end(&self, place: &mut Option<usize>, context: &Context<'_>) -> Poll<End<T>> {
        let waker = context.waker().clone();
        let mut state = self.state.lock();
        let tasks = match &mut *state {
            State::Over(end) => {
                let end = end.clone();
                drop(state);
                return Poll::Ready(end);
            }
            State::Flying { tasks, .. } => tasks,
        };
        let replaced = match *place {
            Some(place) => tasks.get_mut(place).map(|present| mem::replace(present, waker)),
            None => {
                *place = Some(tasks.insert(waker));
                None
            }
        };
        drop(state);
        drop(replaced);
        Poll::Pending
    }

    fn leave(&self, place: Option<usize>) {
        let left = {
            let mut state = self.state.lock();
            match (&mut *state, place) {
                (State::Flying { tasks, .. }, Some(place)) => tasks.try_remove(place),
                _ => None,
            }
        };
        self.seated.fetch_sub(1, Ordering::Relaxed);
        drop(left);
    }
}

/// A task's wait for the end of a flight. May be dropped at any time.
#[derive(Debug)]
pub(crate) struct Follow<T: Clone, C> {
    flight: Arc<Flight<T, C>>,
    place: Option<usize>,
}

impl<T: Clone, C> Future for Follow<T, C> {
    type Output = End<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<End<T>> {
        let this = &mut *self;
        this.flight.poll_end(&mut this.place, context)
    }
}

impl<T: Clone, C> Drop for Follow<T, C> {
    fn drop(&mut self) {
        self.flight.leave(self.place);
    }
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;
    use std::time::Duration;

    use super::*;

    #[derive(Default)]
    struct Calls(AtomicUsize);

    impl Wake for Calls {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    type Plain = Arc<Flight<u8, ()>>;

    fn flight() -> Plain {
        Arc::new(Flight::new(()))
    }

    fn follow(flight: &Plain) -> Follow<u8, ()> {
        flight.take_seat();
        Arc::clone(flight).follow()
    }

    fn poll(follow: &mut Follow<u8, ()>, calls: &Arc<Calls>) -> Poll<End<u8>> {
        Pin::new(follow).poll(&mut Context::from_waker(&Arc::clone(calls).into()))
    }

    fn calls(calls: &Calls) -> usize {
        calls.0.load(Ordering::Relaxed)
    }

    #[test]
    fn every_follower_gets_the_first_end() {
        let flight = flight();
        let woken = Arc::new(Calls::default());
        let mut follows = [follow(&flight), follow(&flight)];
        assert!(follows.iter_mut().all(|follow| poll(follow, &woken).is_pending()));
        flight.end(End::Landed(7));
        flight.end(End::Panicked);
        assert_eq!(calls(&woken), 2);
        assert!(follows.iter_mut().all(|follow| poll(follow, &woken) == Poll::Ready(End::Landed(7))));
        assert_eq!(flight.wait(None), Some(End::Landed(7)));
        assert_eq!(poll(&mut follow(&flight), &woken), Poll::Ready(End::Landed(7)));
    }

    #[test]
    fn the_waker_of_the_last_poll_is_called_once() {
        let flight = flight();
        let (first, second) = (Arc::new(Calls::default()), Arc::new(Calls::default()));
        let mut follow = follow(&flight);
        for calls in [&first, &second, &second] {
            assert!(poll(&mut follow, calls).is_pending());
        }
        flight.end(End::Abandoned);
        assert_eq!((calls(&first), calls(&second)), (0, 1));
    }

    #[test]
    fn a_follower_that_left_is_not_called_and_leaves_its_seat() {
        let flight = flight();
        let (gone, here) = (Arc::new(Calls::default()), Arc::new(Calls::default()));
        let mut leaving = follow(&flight);
        assert!(poll(&mut leaving, &gone).is_pending());
        let mut staying = follow(&flight);
        assert_eq!(flight.seated(), 2);
        drop(leaving);
        assert!(poll(&mut staying, &here).is_pending());
        assert_eq!(flight.seated(), 1);
        flight.end(End::Panicked);
        assert_eq!((calls(&gone), calls(&here)), (0, 1));
        drop(staying);
        assert_eq!(flight.seated(), 0);
    }

    #[test]
    fn a_waker_that_drops_its_own_follower_finds_the_lock_free() {
        struct Owner(std::sync::Mutex<Option<Follow<u8, ()>>>);
        impl Wake for Owner {
            fn wake(self: Arc<Self>) {
                drop(self.0.lock().ok().and_then(|mut follow| follow.take()));
            }
        }
        let flight = flight();
        let owner = Arc::new(Owner(std::sync::Mutex::new(None)));
        let mut follow = follow(&flight);
        assert!(Pin::new(&mut follow).poll(&mut Context::from_waker(&Arc::clone(&owner).into())).is_pending());
        *owner.0.lock().unwrap() = Some(follow);
        flight.end(End::Landed(1));
        assert_eq!(flight.seated(), 0);
    }

    #[test]
    fn a_waker_that_panics_leaves_nobody_else_waiting() {
        struct Bad;
        impl Wake for Bad {
            fn wake(self: Arc<Self>) {
                panic!("an executor that is gone");
            }
        }
        let flight = flight();
        let woken = Arc::new(Calls::default());
        let mut bad = follow(&flight);
        assert!(Pin::new(&mut bad).poll(&mut Context::from_waker(&Arc::new(Bad).into())).is_pending());
        let mut good = follow(&flight);
        assert!(poll(&mut good, &woken).is_pending());
        flight.end(End::Landed(1));
        assert_eq!(calls(&woken), 1);
    }

    #[test]
    fn a_thread_waits_no_longer_than_it_was_told_to() {
        let flight = flight();
        assert_eq!(flight.wait(Some(Instant::now() + Duration::from_millis(1))), None);
        flight.end(End::Landed(1));
        assert_eq!(flight.wait(Some(Instant::now())), Some(End::Landed(1)));
    }

    #[test]
    fn a_seat_is_no_larger_than_is_accounted_for() {
        let mut waiting: Slab<Waker> = Slab::new();
        let places = (0..100).map(|_| waiting.insert(Waker::noop().clone())).count();
        assert!(waiting.capacity() * size_of::<Option<Waker>>() <= 2 * places * size_of::<Option<Waker>>());
        // A place is a waker or the number of the next free one.
        assert!(SEAT_BYTES >= 3 * size_of::<Waker>());
    }
}
