//! A load in progress: one leader runs it, and followers wait for its end. Leaders and followers
//! are threads or tasks.
//!
//! ```text
//!   flying ----end(Landed)------> over: followers get the outcome
//!      |   ----end(Panicked)----> over: followers get an error
//!      +-------end(Abandoned)---> over: each follower starts again, and the first one leads
//! ```
//!
//! # Invariants
//!
//! 1. A flight ends once, and its end does not change.
//! 2. A task that has been told to wait has its waker in the flight's list, until the task leaves
//!    or the flight ends.
//! 3. No waker is called, cloned or dropped under the flight's lock. A waker may run user code,
//!    which may use this flight.
//!
//! # Synchronization
//!
//! The lock orders everything. A follower checks the state and registers under one hold of the
//! lock. So the follower sees the end, or the end finds the follower.
//!
//! # Not here
//!
//! The keys of flights: `shard/load.rs` keeps them under the shard's lock. The results of loads: an
//! outcome is any `T`.

use core::future::Future;
use core::mem;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use slab::Slab;

use crate::sync::{AtomicUsize, Condvar, Mutex, Ordering, wait};

/// The memory of a flight for each task that waits at the same time, in bytes.
///
/// While the list of wakers doubles, the old list exists beside a list that is twice as long.
pub(crate) const SEAT_BYTES: usize = 3 * size_of::<Option<Waker>>();

/// A load in progress. It keeps its charge `C` until the last reference to it is dropped.
#[derive(Debug)]
pub(crate) struct Flight<T, C> {
    state: Mutex<State<T>>,
    /// Threads wait on this for the end.
    ended: Condvar,
    /// The number of tasks that have a seat.
    seated: AtomicUsize,
    charge: C,
}

#[derive(Debug)]
enum State<T> {
    /// The wakers of tasks that wait, and the number of threads that do.
    Flying {
        tasks: Slab<Waker>,
        threads: usize,
    },
    Over(End<T>),
}

/// The end of a flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End<T> {
    /// The load has an outcome.
    Landed(T),
    /// The leader panicked.
    Panicked,
    /// The leader has given up: followers have to load.
    Abandoned,
}

impl<T: Clone, C> Flight<T, C> {
    /// Creates a flight without followers.
    pub(crate) fn new(charge: C) -> Self {
        Self {
            state: Mutex::new(State::Flying { tasks: Slab::new(), threads: 0 }),
            ended: Condvar::new(),
            seated: AtomicUsize::new(0),
            charge,
        }
    }

    /// Returns the charge that the flight keeps.
    pub(crate) fn charge(&self) -> &C {
        &self.charge
    }

    /// Ends the flight, and wakes its followers. Does nothing if the flight has ended before.
    pub(crate) fn end(&self, end: End<T>) {
        let mut state = self.state.lock();
        let State::Flying { tasks, .. } = &mut *state else { return };
        let tasks = mem::take(tasks);
        *state = State::Over(end);
        drop(state);
        self.ended.notify_all();
        for (_, waker) in tasks {
            // A waker that panics must not leave the other tasks waiting.
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }

    /// Blocks until the flight ends, and returns its end. Returns `None` if the time `until` comes
    /// first.
    pub(crate) fn wait(&self, until: Option<Instant>) -> Option<End<T>> {
        let mut state = self.state.lock();
        // Ends: the flight ends or `until` comes. Other wake-ups are spurious.
        loop {
            let threads = match &mut *state {
                State::Over(end) => return Some(end.clone()),
                State::Flying { threads, .. } => threads,
            };
            if until.is_some_and(|until| Instant::now() >= until) {
                return None;
            }
            *threads += 1;
            state = wait(&self.ended, state, until);
            if let State::Flying { threads, .. } = &mut *state {
                *threads -= 1;
            }
        }
    }

    /// Returns `true` if the flight has ended.
    pub(crate) fn is_over(&self) -> bool {
        matches!(*self.state.lock(), State::Over(_))
    }

    /// Returns the number of threads and tasks that wait.
    pub(crate) fn waiting(&self) -> usize {
        match &*self.state.lock() {
            State::Flying { tasks, threads } => tasks.len() + threads,
            State::Over(_) => 0,
        }
    }

    /// Returns the number of tasks that have a seat.
    pub(crate) fn seated(&self) -> usize {
        self.seated.load(Ordering::Relaxed) // A count, which orders nothing.
    }

    /// Gives a seat to one more task, which has to [`follow`](Self::follow) after that.
    pub(crate) fn take_seat(&self) {
        self.seated.fetch_add(1, Ordering::Relaxed); // A count, which orders nothing.
    }

    /// Returns a future of the flight's end, for a task that has a seat. The task gives the seat
    /// back when it drops the future.
    pub(crate) fn follow(self: Arc<Self>) -> Follow<T, C> {
        Follow { flight: self, registered: None }
    }

    /// Returns the end, or registers the waker under the key in `registered`.
    fn poll_end(&self, registered: &mut Option<usize>, context: &Context<'_>) -> Poll<End<T>> {
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
        let replaced = match *registered {
            Some(key) => tasks.get_mut(key).map(|current| mem::replace(current, waker)),
            None => {
                *registered = Some(tasks.insert(waker));
                None
            }
        };
        drop(state);
        drop(replaced);
        Poll::Pending
    }

    /// Removes the waker with the key `registered`, and gives the seat back.
    fn leave(&self, registered: Option<usize>) {
        let left = {
            let mut state = self.state.lock();
            match (&mut *state, registered) {
                (State::Flying { tasks, .. }, Some(key)) => tasks.try_remove(key),
                _ => None,
            }
        };
        self.seated.fetch_sub(1, Ordering::Relaxed); // A count, as in `take_seat`.
        drop(left);
    }
}

/// The wait of a task for the end of a flight. It may be dropped at any time.
#[derive(Debug)]
pub(crate) struct Follow<T: Clone, C> {
    flight: Arc<Flight<T, C>>,
    /// The key of the task's waker in the flight's list, once it is there.
    registered: Option<usize>,
}

impl<T: Clone, C> Future for Follow<T, C> {
    type Output = End<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<End<T>> {
        let this = &mut *self;
        this.flight.poll_end(&mut this.registered, context)
    }
}

impl<T: Clone, C> Drop for Follow<T, C> {
    fn drop(&mut self) {
        self.flight.leave(self.registered);
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
    fn a_follower_that_left_is_not_woken_and_gives_its_seat_back() {
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
    fn a_waker_that_panics_leaves_no_other_task_waiting() {
        struct Bad;
        impl Wake for Bad {
            fn wake(self: Arc<Self>) {
                panic!("the executor is gone");
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
    fn a_thread_waits_until_its_limit_and_gets_an_end_that_came_before() {
        let flight = flight();
        assert_eq!(flight.wait(Some(Instant::now() + Duration::from_millis(1))), None);
        flight.end(End::Landed(1));
        assert_eq!(flight.wait(Some(Instant::now())), Some(End::Landed(1)));
    }

    #[test]
    fn a_seat_takes_at_most_the_bytes_that_are_counted() {
        let mut waiting: Slab<Waker> = Slab::new();
        let tasks = (0..100).map(|_| waiting.insert(Waker::noop().clone())).count();
        assert!(waiting.capacity() * size_of::<Option<Waker>>() <= 2 * tasks * size_of::<Option<Waker>>());
        // A slot of the slab is a waker, or the key of the next free slot.
        assert!(SEAT_BYTES >= 3 * size_of::<Waker>());
    }
}
