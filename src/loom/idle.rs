//! An idle deadline that a reader extends while its entry expires, is updated, or is relocated.

use core::time::Duration;

use super::*;
use crate::clock::{Clock, ClockSource, TICK};
use crate::expiry::{Lifetime, Remaining, Rules};
use crate::shard::DeadlineRule;
use crate::sync::AtomicU32;

/// The time to idle, in ticks.
const IDLE: u32 = 10;
/// Schedules of models with three threads. They take a few seconds, and all schedules several
/// minutes.
const SCHEDULES: usize = 10_000;

struct Timed {
    shard: Arc<Shard>,
    clock: Arc<TickClock>,
}

/// A clock that loom sees. It explores readings before and after each change of the time.
struct TickClock(AtomicU32);

impl Clock for TickClock {
    fn now(&self) -> Duration {
        TICK * self.0.load(Ordering::SeqCst)
    }
}

/// Returns a shard in which key `a` was stored at tick 0 with value 1.
fn timed() -> Arc<Timed> {
    let clock = Arc::new(TickClock(AtomicU32::new(0)));
    let mut config = config();
    config.options.rules = Rules::new(None, Some(TICK * IDLE), Duration::ZERO, 0.0);
    config.options.clock = ClockSource::Custom(clock.clone());
    let timed = Timed { shard: small_shard(&config), clock };
    timed.put(1);
    Arc::new(timed)
}

impl Timed {
    fn set_tick(&self, tick: u32) {
        self.clock.0.store(tick, Ordering::SeqCst);
    }

    fn put(&self, value: u8) {
        self.put_with(value, Lifetime::new());
    }

    fn put_with(&self, value: u8, lifetime: Lifetime) {
        let stored =
            self.shard.write(|writer| writer.store(hash(b'a'), b"a", &bytes(value), Condition::Always, &lifetime));
        stored.expect("space");
    }

    /// Reads key `a` at the current tick.
    fn read(&self) -> Option<u8> {
        let mut slot = Slot::take();
        self.shard.find_served(hash(b'a'), b"a", Access::Read, &mut slot).map(|found| whole(found.value()))
    }

    fn relocate(&self) {
        self.relocate_key(b'a');
    }

    fn relocate_key(&self, key: u8) {
        self.shard.write(|writer| writer.relocate_key(hash(key), &[key]));
    }

    /// Sets the time to `tick`, and removes the entries that have expired.
    fn expire_at(&self, tick: u32) {
        self.set_tick(tick);
        self.shard.write(|_| ());
    }

    fn ticks_left(&self) -> Option<u32> {
        self.ticks_left_of(b'a')
    }

    fn ticks_left_of(&self, key: u8) -> Option<u32> {
        match self.shard.remaining(hash(key), &[key])? {
            Remaining::Forever => Some(u32::MAX),
            Remaining::For(left) => u32::try_from(left.as_nanos() / TICK.as_nanos()).ok(),
        }
    }

    fn spawn<R: 'static>(self: &Arc<Self>, work: impl FnOnce(&Self) -> R + 'static) -> thread::JoinHandle<R> {
        let timed = Arc::clone(self);
        thread::spawn(move || work(&timed))
    }
}

/// Fails if a relocation does not end, if it does not begin, or if `freshness_of` does not check
/// the dead mark.
#[test]
fn a_read_counts_although_the_entry_is_relocated_meanwhile() {
    explore(2, || {
        let timed = timed();
        timed.set_tick(5);
        let reader = timed.spawn(Timed::read);
        timed.relocate();
        assert_eq!(reader.join().unwrap(), Some(1));
        assert_eq!(timed.ticks_left(), Some(IDLE));
        timed.expire_at(IDLE + 4);
        assert_eq!(timed.read(), Some(1));
        timed.shard.validate();
    });
}

/// Fails if `claim_if_due` stores without comparing, or if a reader takes a claimed stamp for one
/// that is late enough.
#[test]
fn either_a_read_comes_first_or_the_expiry() {
    explore(4, || {
        let timed = timed();
        timed.set_tick(IDLE - 1);
        let reader = timed.spawn(Timed::read);
        timed.expire_at(IDLE);
        let read = reader.join().unwrap();
        let is_there = timed.ticks_left().is_some();
        assert_eq!(read.is_some(), is_there, "what was read has expired, or what was missed has not");
        timed.shard.validate();
    });
}

/// Fails for the reasons of the first model and of the one before this.
#[test]
fn a_read_that_was_a_hit_keeps_the_entry_through_relocation_and_expiry() {
    explore(1, || {
        let timed = timed();
        timed.set_tick(IDLE - 1);
        let reader = timed.spawn(Timed::read);
        timed.relocate();
        timed.expire_at(IDLE);
        let read = reader.join().unwrap();
        assert_eq!(read.is_some(), timed.ticks_left().is_some());
        timed.shard.validate();
    });
}

/// Two readers: one may change the old stamp, and the other the new one.
#[test]
fn the_later_of_two_reads_counts() {
    explore_some(2, SCHEDULES, || {
        let timed = timed();
        timed.set_tick(5);
        let first = timed.spawn(Timed::read);
        let second = timed.spawn(|timed| {
            timed.set_tick(7);
            timed.read()
        });
        timed.relocate();
        assert_eq!((first.join().unwrap(), second.join().unwrap()), (Some(1), Some(1)));
        assert_eq!(timed.ticks_left(), Some(IDLE));
    });
}

/// A reader may find the stamp late enough because of another reader, whose change of the old stamp
/// was lost.
///
/// Fails if a relocation does not begin.
#[test]
fn what_one_reader_saw_of_another_is_not_lost_in_a_relocation() {
    explore_some(2, SCHEDULES, || {
        let timed = timed();
        timed.set_tick(IDLE - 1);
        let first = timed.spawn(Timed::read);
        let second = timed.spawn(|timed| {
            if timed.read().is_some() {
                timed.expire_at(IDLE);
                assert!(timed.read().is_some(), "read in one tick, gone in the next");
            }
        });
        timed.relocate();
        first.join().unwrap();
        second.join().unwrap();
    });
}

/// One thread reads the entry in the last tick before its deadline, at its old or new place, and
/// again in the next tick.
///
/// Fails if a relocation takes over the changes of the old stamp only after the new place is
/// published.
#[test]
fn what_was_hit_is_there_in_the_next_tick_while_it_is_relocated() {
    explore(1, || {
        let timed = timed();
        timed.set_tick(IDLE - 1);
        let reader = timed.spawn(|timed| {
            assert_eq!(timed.read(), Some(1));
            timed.set_tick(IDLE);
            assert_eq!(timed.read(), Some(1), "read in one tick, gone in the next");
        });
        timed.relocate();
        reader.join().unwrap();
        assert_eq!(timed.ticks_left(), Some(IDLE));
        timed.shard.validate();
    });
}

/// The reader finds the old entry. It checks the entry's freshness after another read has changed
/// the stamp of the new one.
///
/// Fails if `freshness_of` does not check the dead mark.
#[test]
fn a_reader_that_was_put_aside_sees_what_another_did_to_the_relocated_entry() {
    explore(2, || {
        let timed = timed();
        let reader = timed.spawn(Timed::read);
        timed.relocate();
        timed.set_tick(IDLE - 1);
        assert_eq!(timed.read(), Some(1));
        timed.set_tick(IDLE + 5);
        assert_eq!(reader.join().unwrap(), Some(1));
    });
}

/// Fails if an entry that is stored anew is not treated like one that is relocated.
#[test]
fn a_read_counts_although_set_ttl_stores_the_entry_anew() {
    explore(2, || {
        let timed = timed();
        timed.set_tick(5);
        let reader = timed.spawn(Timed::read);
        let set = timed.shard.write(|writer| writer.set_ttl(hash(b'a'), b"a", TICK * 1000));
        assert!(set.expect("space"));
        assert_eq!(reader.join().unwrap(), Some(1));
        assert_eq!(timed.ticks_left(), Some(IDLE));
        timed.shard.validate();
    });
}

/// Fails if a value that keeps the deadlines is not stored like an entry that is relocated.
#[test]
fn a_read_counts_although_a_new_value_keeps_the_deadline() {
    explore(2, || {
        let timed = timed();
        timed.set_tick(5);
        let reader = timed.spawn(Timed::read);
        let kept = DeadlineRule::Kept { new_entry: Lifetime::new() };
        let value = bytes(2);
        let seen = Some(bytes(1));
        let stored = timed.shard.write(|writer| writer.store_if_same(hash(b'a'), b"a", seen, &value, kept));
        assert!(stored.expect("space"));
        assert!(reader.join().unwrap().is_some());
        assert_eq!(timed.ticks_left(), Some(IDLE));
        timed.shard.validate();
    });
}

/// A reader that finds the former entry dead finds the entry in its place.
///
/// Fails if `mark_dead` is Relaxed.
#[test]
fn an_update_sets_the_deadline_whatever_a_reader_does_to_the_former_entry() {
    explore(2, || {
        let timed = timed();
        timed.set_tick(5);
        let reader = timed.spawn(Timed::read);
        timed.put(2);
        assert!(reader.join().unwrap().is_some());
        assert_eq!(timed.ticks_left(), Some(IDLE));
        timed.expire_at(IDLE + 4);
        assert_eq!(timed.read(), Some(2));
        timed.expire_at(2 * IDLE + 14);
        assert_eq!(timed.read(), None);
    });
}

/// Fails if a reader stores a stamp without comparing.
#[test]
fn an_entry_that_was_made_persistent_stays_so_whoever_reads_it() {
    explore(2, || {
        let timed = timed();
        timed.set_tick(5);
        let reader = timed.spawn(Timed::read);
        timed.shard.write(|writer| assert!(writer.persist(hash(b'a'), b"a")));
        timed.relocate();
        assert_eq!(reader.join().unwrap(), Some(1));
        assert_eq!(timed.ticks_left(), Some(u32::MAX));
    });
}

/// The reader finds the entry. It reads the clock after the entry was replaced and its deadline has
/// passed.
///
/// Fails if `freshness_of` takes an entry past its deadline for the entry under the key without
/// checking the dead mark.
#[test]
fn a_key_whose_entry_is_replaced_before_its_deadline_is_never_missed() {
    explore(2, || {
        let timed = timed();
        timed.put_with(1, Lifetime::forever().ttl(TICK * IDLE));
        let reader = timed.spawn(Timed::read);
        timed.put_with(2, Lifetime::forever());
        timed.set_tick(IDLE + 5);
        assert!(reader.join().unwrap().is_some());
    });
}

/// The entry's deadline has passed, and so has the time that the writer notes. A reader that sees
/// the later time must not take the entry's stamp for one that lies ahead of it.
///
/// Fails if `ShardTime::reach` or `ShardTime::reached` is Relaxed, or if a reader loads the time
/// reached only after it has found an entry.
#[test]
fn an_entry_that_is_being_taken_out_is_not_found_alive() {
    explore(2, || {
        let timed = timed();
        timed.put_with(1, Lifetime::forever().ttl(TICK * IDLE));
        timed.set_tick(IDLE + 5);
        let writer = timed.spawn(|timed| timed.shard.write(|_| ()));
        assert_eq!(timed.read(), None);
        assert_eq!(timed.ticks_left(), None);
        writer.join().unwrap();
        assert_eq!(timed.read(), None);
        timed.shard.validate();
    });
}

/// A thread that sees another one's change of a deadline also sees everything that this thread did
/// before. A write to another shard might be among it. The deadline is an idle one or another.
///
/// Fails if `set_stamp`, or the load in `stamp_at` or `idle_stamp`, is Relaxed.
#[test]
fn who_sees_a_deadline_changed_sees_what_was_done_before_that() {
    for lifetime in [Lifetime::new(), Lifetime::forever().ttl(TICK * IDLE)] {
        explore(2, move || {
            let timed = timed();
            timed.put_with(1, lifetime);
            let done = Arc::new(AtomicUsize::new(0));
            let writer = {
                let done = Arc::clone(&done);
                timed.spawn(move |timed| {
                    done.store(1, Ordering::Relaxed);
                    timed.shard.write(|writer| assert!(writer.persist(hash(b'a'), b"a")));
                })
            };
            if timed.ticks_left() == Some(u32::MAX) {
                assert_eq!(done.load(Ordering::Relaxed), 1);
            }
            writer.join().unwrap();
        });
    }
}
