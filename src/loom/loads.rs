//! Loads that run while keys are invalidated, and while other loads run.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::task::Wake;

use super::*;
use crate::expiry::Lifetime;
use crate::flight::{End, Flight};
use crate::shard::{Access, Boarding, LoadResult, Outcome, Ticket, Waiter};
use crate::stats::LoadEnd;

const KEY: &[u8] = b"a";

/// A shard, and the store behind it: a version.
struct Backed {
    shard: Shard,
    version: AtomicUsize,
    loads: AtomicUsize,
}

fn backed() -> Arc<Backed> {
    drop(Slot::take());
    let shard = Shard::new(&config()).unwrap();
    Arc::new(Backed { shard, version: AtomicUsize::new(1), loads: AtomicUsize::new(0) })
}

impl Backed {
    fn board(&self) -> Boarding {
        self.shard.write(|writer| writer.board(hash(KEY[0]), KEY, true, Waiter::Thread))
    }

    /// Reads the version, like a leader does.
    fn load(&self) -> u8 {
        self.loads.fetch_add(1, Ordering::Relaxed);
        // Relaxed: only the shard's lock orders the load and the invalidation.
        u8::try_from(self.version.load(Ordering::Relaxed)).unwrap()
    }

    fn complete(&self, ticket: &Ticket, version: u8) {
        let (bytes, end) = (bytes(version), LoadEnd::Found(Duration::ZERO));
        let result = LoadResult::Value(&bytes, Lifetime::new());
        drop(self.shard.write(|writer| writer.complete(hash(KEY[0]), ticket, result, end)));
        ticket.flight.end(End::Landed(Outcome::Absent));
    }

    /// Returns the stored version.
    fn stored(&self) -> Option<u8> {
        let mut slot = Slot::take();
        self.shard.find_served(hash(KEY[0]), KEY, Access::Read, &mut slot).map(|found| whole(found.value()))
    }

    /// Loads or waits until the key is present, like a caller does.
    fn get(&self) {
        while self.stored().is_none() {
            match self.board() {
                Boarding::Lead(ticket) => self.complete(&ticket, self.load()),
                Boarding::Follow(flight) => drop(flight.wait(None)),
                Boarding::Present(_) => {}
                Boarding::Negative(_) | Boarding::NoRoom => panic!("there is room, and a value"),
            }
        }
    }

    fn change(&self, forget: impl FnOnce(&Shard)) {
        self.version.store(2, Ordering::Relaxed);
        forget(&self.shard);
    }
}

/// A load, and an invalidation after a change of the store.
///
/// Fails if `remove` (or `clear`) does not remove the flight, or if `complete` stores without a
/// lease.
fn a_load_races_with(forget: fn(&Shard)) {
    explore(3, move || {
        let backed = backed();
        let leader = {
            let backed = Arc::clone(&backed);
            thread::spawn(move || match backed.board() {
                Boarding::Lead(ticket) => backed.complete(&ticket, backed.load()),
                _ => panic!("nobody else loads"),
            })
        };
        backed.change(forget);
        assert_ne!(backed.stored(), Some(1), "read after the invalidation");
        leader.join().unwrap();
        assert_ne!(backed.stored(), Some(1), "stored after the invalidation");
    });
}

#[test]
fn a_load_that_began_before_a_removal_is_not_stored_after_it() {
    a_load_races_with(|shard| {
        shard.write(|writer| writer.remove(hash(KEY[0]), KEY));
    });
}

#[test]
fn a_load_that_began_before_a_clearing_is_not_stored_after_it() {
    a_load_races_with(|shard| shard.clear());
}

/// Two callers that miss.
///
/// Fails if `board` does not check for an entry again, or if it does not check for a flight.
#[test]
fn of_two_callers_one_loads() {
    explore(3, || {
        let backed = backed();
        let other = {
            let backed = Arc::clone(&backed);
            thread::spawn(move || backed.get())
        };
        backed.get();
        other.join().unwrap();
        assert_eq!(backed.loads.load(Ordering::Relaxed), 1);
        assert_eq!(backed.shard.loads_under_way(), (0, 0));
    });
}

/// A leader gives up while another caller arrives.
///
/// Fails if the flight ends before it is removed: then a follower boards the same flight again,
/// without end.
#[test]
fn who_follows_a_leader_that_gives_up_leads() {
    explore(3, || {
        let backed = backed();
        let Boarding::Lead(ticket) = backed.board() else { panic!("nobody else loads") };
        let follower = {
            let backed = Arc::clone(&backed);
            thread::spawn(move || backed.get())
        };
        // A leader that is dropped does the same.
        backed.shard.end_load(KEY, Some(&ticket), LoadEnd::Cancelled);
        ticket.flight.end(End::Abandoned);
        follower.join().unwrap();
        assert_eq!(backed.loads.load(Ordering::Relaxed), 1);
    });
}

type Plain = Arc<Flight<u8, ()>>;

/// Fails if `end` does not notify threads, or notifies them before the end is visible.
#[test]
fn a_thread_that_waits_sees_the_end() {
    explore(4, || {
        let flight: Plain = Arc::new(Flight::new(()));
        let waiting = {
            let flight = Arc::clone(&flight);
            thread::spawn(move || flight.wait(None))
        };
        flight.end(End::Landed(7));
        assert_eq!(waiting.join().unwrap(), Some(End::Landed(7)));
    });
}

#[derive(Default)]
struct Woken(std::sync::atomic::AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, std::sync::atomic::Ordering::SeqCst);
    }
}

/// Fails if a task registers under another hold of the lock than the one under which it found no
/// end, or if `end` does not call wakers.
#[test]
fn a_task_that_was_told_to_wait_is_woken() {
    explore(4, || {
        let flight: Plain = Arc::new(Flight::new(()));
        let ending = {
            let flight = Arc::clone(&flight);
            thread::spawn(move || flight.end(End::Landed(7)))
        };
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        flight.take_seat();
        let mut follow = Arc::clone(&flight).follow();
        let mut poll = || Pin::new(&mut follow).poll(&mut Context::from_waker(&waker));
        let first = poll();
        ending.join().unwrap();
        match first {
            Poll::Ready(end) => assert_eq!(end, End::Landed(7)),
            Poll::Pending => {
                assert!(woken.0.load(std::sync::atomic::Ordering::SeqCst), "nobody wakes it");
                assert_eq!(poll(), Poll::Ready(End::Landed(7)));
            }
        }
    });
}

/// Fails if a follower that leaves takes another's place among the tasks to wake.
#[test]
fn a_task_that_leaves_takes_no_other_with_it() {
    explore(4, || {
        let flight: Plain = Arc::new(Flight::new(()));
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        flight.take_seat();
        let mut staying = Arc::clone(&flight).follow();
        assert!(Pin::new(&mut staying).poll(&mut context).is_pending());
        let leaving = {
            flight.take_seat();
            let mut leaving = Arc::clone(&flight).follow();
            assert!(Pin::new(&mut leaving).poll(&mut Context::from_waker(Waker::noop())).is_pending());
            thread::spawn(move || drop(leaving))
        };
        let ending = {
            let flight = Arc::clone(&flight);
            thread::spawn(move || flight.end(End::Panicked))
        };
        ending.join().unwrap();
        leaving.join().unwrap();
        assert!(woken.0.load(std::sync::atomic::Ordering::SeqCst));
        drop(staying);
        assert_eq!(flight.seated(), 0);
    });
}
