//! The flights of a shard: loads in progress whose results may be stored, by key, and what they
//! have of the account. Also the leases of callers that load by themselves (`leases.rs`): a write
//! ends both.
//!
//! # Invariants
//!
//! 1. A key has one flight here at most. Flights that were taken out may go on beside it.
//! 2. Flights are accounted for: each with its key and its place from the moment it boards, tasks
//!    that follow from the moment they do, until nobody refers to the flight.
//!
//! # Synchronization
//!
//! The tree is for the holder of the shard's lock. A flight gives its bytes back on the thread that
//! drops the last reference to it. Tasks may leave at any time. They join, and seats are added,
//! only under the lock. So the counters are Relaxed.

use core::any::Any;
use core::ops::Bound;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::account::Account;
use super::leases::Leases;
use crate::flight::{Flight, SEAT_BYTES};
use crate::ring::Value;
use crate::sync::{AtomicUsize, Ordering};

/// The first leaf of the tree of flights, of eleven places.
pub(super) const FIRST_LEAF_BYTES: usize = 320;
/// A flight's place in the tree: leaves have eleven and are at least half full, but for the first,
/// and there are inner ones.
pub(super) const PLACE_BYTES: usize = 72;
/// The counters of the `Arc`s of a flight and its key, and what an allocator rounds up.
pub(super) const ARC_BYTES: usize = 64;
/// Tasks that are accounted for at a time: the first capacity of a list of wakers.
const SEATS: usize = 4;
/// The keys of flights, and of leases, that a step of a pass examines.
const EXAMINED: usize = 64;

/// The result of a load, for all that waited for it.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Value {
        value: Value,
        is_too_large: bool,
    },
    Absent,
    Failed(Arc<dyn Any + Send + Sync>),
    /// The load took too long, and was given up.
    TimedOut,
    /// The loader of many keys did not return a value for each key.
    WrongCount {
        keys: usize,
        values: usize,
    },
}

/// A load of one key.
pub(crate) type KeyFlight = Flight<Outcome, FlightBytes>;

/// A shard's flights that may be stored, by key.
#[derive(Debug, Default)]
pub(super) struct Flights {
    tree: BTreeMap<Arc<[u8]>, Arc<KeyFlight>>,
    /// The bytes of the tree's first leaf, while it has one.
    leaf: Option<FlightBytes>,
    pub(super) leases: Leases,
}

impl Flights {
    /// Returns `true` if there are neither flights nor leases.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.tree.is_empty() && self.leases.is_empty()
    }

    /// Returns the flight of a key.
    pub(super) fn get(&self, key: &[u8]) -> Option<&Arc<KeyFlight>> {
        self.tree.get(key)
    }

    /// Takes the flight and the leases of a key out.
    pub(super) fn remove(&mut self, key: &[u8]) {
        self.take_out(key);
        self.leases.remove(key);
    }

    fn take_out(&mut self, key: &[u8]) {
        self.tree.remove(key);
        if self.tree.is_empty() {
            self.clear_tree();
        }
    }

    /// Takes the flights and leases out whose keys satisfy `is_meant`, among the next ones of a
    /// pass. Returns `true` if more are left. Those that begin meanwhile may not be examined.
    pub(super) fn remove_some(&mut self, pass: &mut Pass, is_meant: impl Fn(&[u8]) -> bool) -> bool {
        if let Pass::Flights { after } = pass {
            let after = remove_some(&mut self.tree, after.take(), &is_meant);
            if self.tree.is_empty() {
                self.clear_tree();
            }
            if after.is_some() {
                *pass = Pass::Flights { after };
                return true;
            }
            *pass = Pass::Leases { after };
        }
        if let Pass::Leases { after } = pass {
            *after = self.leases.remove_some(after.take(), is_meant);
            return after.is_some();
        }
        false
    }

    /// Takes all flights out, and gives the first leaf's memory back, which a tree keeps.
    fn clear_tree(&mut self) {
        self.tree = BTreeMap::new();
        self.leaf = None;
    }

    /// Returns the bytes that the flight of one more key needs.
    pub(super) fn bytes_to_begin(&self, key: &[u8]) -> usize {
        FlightBytes::needed_for(key) + if self.tree.is_empty() { FIRST_LEAF_BYTES } else { 0 }
    }

    /// Begins the flight of a key that has none. The caller has taken the
    /// [bytes](Self::bytes_to_begin) for it.
    pub(super) fn begin(&mut self, account: &Arc<Account>, key: &[u8]) -> Ticket {
        self.leaf.get_or_insert_with(|| FlightBytes::of(account, FIRST_LEAF_BYTES));
        let flight = Arc::new(Flight::new(FlightBytes::of(account, FlightBytes::needed_for(key))));
        let key: Arc<[u8]> = key.into();
        self.tree.insert(Arc::clone(&key), Arc::clone(&flight));
        Ticket { key, flight }
    }

    /// Takes a flight out that has come to an end. Returns `true` if it was still there.
    pub(super) fn end_lease(&mut self, ticket: &Ticket) -> bool {
        let is_there = self.get(&ticket.key).is_some_and(|present| Arc::ptr_eq(present, &ticket.flight));
        if is_there {
            self.take_out(&ticket.key);
        }
        is_there
    }

    /// Returns how many flights there are, and how many threads and tasks wait for them.
    pub(super) fn under_way(&self) -> (usize, usize) {
        (self.tree.len(), self.tree.values().map(|flight| flight.waiting()).sum())
    }
}

/// A pass over the flights and the leases of a shard, in the order of their keys. It goes on after
/// a key, or begins.
#[derive(Debug)]
pub(crate) enum Pass {
    Flights { after: Option<Arc<[u8]>> },
    Leases { after: Option<Arc<[u8]>> },
}

impl Pass {
    pub(crate) fn new() -> Self {
        Self::Flights { after: None }
    }
}

/// Takes out what has a key that satisfies `is_meant`, among the next [`EXAMINED`] keys after
/// `after`. Returns the last of these keys, or `None` if no key follows it.
pub(super) fn remove_some<V>(
    tree: &mut BTreeMap<Arc<[u8]>, V>,
    mut after: Option<Arc<[u8]>>,
    is_meant: impl Fn(&[u8]) -> bool,
) -> Option<Arc<[u8]>> {
    for _ in 0..EXAMINED {
        let start = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let key = Arc::clone(tree.range::<[u8], _>((start, Bound::Unbounded)).next()?.0);
        if is_meant(&key) {
            tree.remove(&key);
        }
        after = Some(key);
    }
    after
}

/// The ticket with which the leader of a flight ends it.
#[derive(Clone, Debug)]
pub(crate) struct Ticket {
    pub(crate) key: Arc<[u8]>,
    pub(crate) flight: Arc<KeyFlight>,
}

/// The bytes that a flight has of the shard's account.
#[derive(Debug)]
pub(crate) struct FlightBytes {
    account: Arc<Account>,
    bytes: AtomicUsize,
    /// Tasks that are accounted for.
    seats: AtomicUsize,
}

impl FlightBytes {
    /// The bytes that are taken before [`add_seats`](Self::add_seats).
    pub(super) const MORE_SEATS: usize = SEATS * SEAT_BYTES;

    /// Creates a guard of bytes that were taken, which gives them back when it is dropped.
    pub(super) fn of(account: &Arc<Account>, bytes: usize) -> Self {
        Self { account: Arc::clone(account), bytes: AtomicUsize::new(bytes), seats: AtomicUsize::new(0) }
    }

    /// Returns the bytes that the flight of a key needs.
    fn needed_for(key: &[u8]) -> usize {
        size_of::<KeyFlight>() + ARC_BYTES + PLACE_BYTES + key.len()
    }

    /// Returns how many tasks are accounted for.
    pub(super) fn seats(&self) -> usize {
        self.seats.load(Ordering::Relaxed)
    }

    /// Accounts for some more tasks that follow.
    pub(super) fn add_seats(&self) {
        self.bytes.fetch_add(Self::MORE_SEATS, Ordering::Relaxed);
        self.seats.fetch_add(SEATS, Ordering::Relaxed);
    }
}

impl Drop for FlightBytes {
    fn drop(&mut self) {
        // Relaxed: no other reference to the flight is left.
        self.account.give_flight(self.bytes.load(Ordering::Relaxed));
    }
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use super::*;

    #[test]
    fn a_pass_examines_a_bounded_number_of_keys_at_a_time_and_all_in_the_end() {
        const COUNT: usize = 200;
        let account = Arc::new(Account::alone(1 << 20));
        let take = |bytes| {
            assert!(account.take(bytes));
            account.note_flight(bytes);
        };
        let mut flights = Flights::default();
        let leases: Vec<_> = (0..COUNT)
            .map(|number| {
                let key = number.to_be_bytes();
                take(flights.bytes_to_begin(&key));
                flights.begin(&account, &key);
                take(flights.leases.bytes_to_begin(&key));
                flights.leases.begin(&account, &key)
            })
            .collect();
        let is_odd = |key: &[u8]| key[size_of::<usize>() - 1] % 2 == 1;
        let (mut pass, mut steps, mut examined) = (Pass::new(), 0, 0);
        loop {
            let in_step = Cell::new(0);
            let has_more = flights.remove_some(&mut pass, |key| {
                in_step.set(in_step.get() + 1);
                is_odd(key)
            });
            assert!(in_step.get() <= 2 * EXAMINED);
            (steps, examined) = (steps + 1, examined + in_step.get());
            if !has_more {
                break;
            }
        }
        assert_eq!(examined, 2 * COUNT);
        assert!(steps >= COUNT / EXAMINED);
        for (number, lease) in leases.iter().enumerate() {
            let stays = number % 2 == 0;
            assert_eq!((flights.get(&number.to_be_bytes()).is_some(), flights.leases.hold(lease)), (stays, stays));
        }
        let mut pass = Pass::new();
        while flights.remove_some(&mut pass, |_| true) {}
        assert!(flights.is_empty());
        drop((flights, leases));
        assert_eq!(account.allocated(), 0);
    }

    #[test]
    fn a_flight_ends_its_lease_once_and_its_bytes_go_with_it() {
        let account = Arc::new(Account::alone(1 << 20));
        let mut flights = Flights::default();
        let begin = |flights: &mut Flights, key| {
            let bytes = flights.bytes_to_begin(key);
            assert!(account.take(bytes));
            account.note_flight(bytes);
            flights.begin(&account, key)
        };
        let (first, other) = (begin(&mut flights, b"key"), begin(&mut flights, b"other"));
        // A write takes the first one out, and the next load of its key is another flight.
        flights.remove(b"key");
        let second = begin(&mut flights, b"key");
        assert!(!flights.end_lease(&first), "its result is older than the write");
        assert!(flights.end_lease(&second) && !flights.end_lease(&second));
        assert_eq!(flights.under_way(), (1, 0));
        flights = Flights::default();
        assert!(!flights.end_lease(&other) && account.flight_bytes() > 0);
        drop((first, second, other));
        assert_eq!((account.flight_bytes(), account.allocated()), (0, 0));
    }
}
