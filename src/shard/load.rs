//! Loads: which caller leads and which follow, and which results may be stored.
//!
//! ```text
//!   board     the key has no flight   -> Lead: a flight begins
//!             the key has a flight    -> Follow
//!             there is an entry       -> Present, Negative
//!   a write   takes the key's flight out: its followers go on, later callers begin another
//!   complete  the flight is still there -> it is taken out, its result is stored, its followers wake
//! ```
//!
//! A flight's place among the shard's [`Flights`](super::flights::Flights) is its *lease*: a result
//! is stored only while its flight has one. A write takes the flight of its key out after the
//! caller has changed what the key stands for. A load that boards after that reads the change. So
//! no store, removal or clearing is undone by an older result.

use core::time::Duration;
use std::sync::Arc;

use super::expire::Presence;
use super::flights::{FlightBytes, KeyFlight, Ticket};
use super::write::Condition;
use super::writer::Writer;
use super::{MIN_CHUNKS, Shard};
use crate::expiry::{Freshness, Lifetime};
use crate::hash::KeyHash;
use crate::removal::RemovalCause;
use crate::ring::OwnedValue;
use crate::stats::{LoadCount, LoadCounts, LoadEnd};
use crate::units::{EntryId, Stamp, Stamps};

/// The meaning of a negative entry, which is written as its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Negative {
    /// A load found nothing.
    Absent,
    /// A load failed.
    Failed,
}

impl Negative {
    /// Returns the value of a negative entry with this meaning.
    pub(crate) fn value(self) -> &'static [u8] {
        match self {
            Self::Absent => b"",
            Self::Failed => b"!",
        }
    }

    /// Returns the meaning of a negative entry with this value.
    pub(crate) fn from_value(value: &[u8]) -> Self {
        if value.is_empty() { Self::Absent } else { Self::Failed }
    }
}

/// The kind of caller that waits if there is a flight already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiter {
    Thread,
    Task,
    /// A task whose load runs elsewhere. It has a seat even if it leads, as it waits for that load.
    Starter,
}

/// The role of a caller that has found nothing.
pub(crate) enum Boarding {
    /// It loads. If it is a [`Starter`](Waiter::Starter), it has a seat.
    Lead(Ticket),
    /// It waits. If it is a task, it has a seat.
    Follow(Arc<KeyFlight>),
    /// There is an entry by now.
    Present(OwnedValue),
    Negative(Negative),
    /// There is no memory for a flight.
    NoRoom,
}

/// The reason for which an entry is loaded again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It is past its refresh.
    Due,
    /// By chance, which is higher near its deadline. Not if it is due soon anyway, or if a caller
    /// has just got the permit.
    Early,
}

/// The permit to load an entry again. One caller gets it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RefreshPermit {
    /// The low half of the tick at which it is due again, by which the entry is recognized. `None`
    /// if it has no stamp for that.
    mark: Option<u32>,
}

/// The entry that is to be stored when a load has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LoadResult<'a> {
    Value(&'a [u8], Lifetime),
    /// Too large to be stored.
    Oversized,
    /// A negative entry: nothing was found. Its lifetime may be zero.
    Absent(Lifetime),
    /// A negative entry that lasts so long: the load failed. If there is a value, a mark on that.
    Failed(Option<Duration>),
}

/// Loads in progress have at most this part of a shard. So a backing store that does not answer
/// cannot empty the cache.
const FLIGHTS_SHARE: usize = 8;

impl Writer<'_> {
    /// Lets a caller that has found no entry lead or follow the flight of a key.
    ///
    /// A key that cannot be stored has no flight, as it may be as large as the cache.
    pub(crate) fn board(&mut self, hash: KeyHash, key: &[u8], can_be_stored: bool, waiter: Waiter) -> Boarding {
        self.drain_touches();
        let present = self.find_present(hash, key);
        let live = present.id().and_then(|id| self.state.entries.live(id));
        match (present, live) {
            (Presence::Fresh(_), Some(live)) => Boarding::Present(self.shard.lookup.ring.value(live)),
            (Presence::Negative(_), Some(live)) => {
                Boarding::Negative(Negative::from_value(self.ring().entry(live).value))
            }
            _ if can_be_stored => self.board_flight(key, waiter),
            _ => self.no_room(key),
        }
    }

    fn board_flight(&mut self, key: &[u8], waiter: Waiter) -> Boarding {
        let flight = self.state.flights.get(key).map(Arc::clone);
        let boarding = match (flight, waiter) {
            (None, _) => self.begin_flight(key, waiter).map(Boarding::Lead),
            (Some(flight), Waiter::Thread) => Some(Boarding::Follow(flight)),
            (Some(flight), Waiter::Task | Waiter::Starter) => {
                self.take_seat(&flight).then_some(Boarding::Follow(flight))
            }
        };
        boarding.unwrap_or_else(|| self.no_room(key))
    }

    fn no_room(&mut self, key: &[u8]) -> Boarding {
        self.shard.loads_of(key).add(LoadCount::Unshared, 1);
        Boarding::NoRoom
    }

    /// Begins the flight of a key that has none. Returns `None` if there is no memory.
    fn begin_flight(&mut self, key: &[u8], leader: Waiter) -> Option<Ticket> {
        let seats = if leader == Waiter::Starter { FlightBytes::MORE_SEATS } else { 0 };
        let bytes = self.state.flights.bytes_to_begin(key) + seats;
        if !self.take_for_flight(bytes) {
            return None;
        }
        let ticket = self.state.flights.begin(&self.shard.account, key);
        if seats > 0 {
            ticket.flight.charge().add_seats();
            ticket.flight.take_seat();
        }
        Some(ticket)
    }

    /// Takes `bytes` for a load. Returns `false` if that is more than loads may have together, or
    /// if the ring cannot spare it.
    pub(super) fn take_for_flight(&mut self, bytes: usize) -> bool {
        let account = Arc::clone(&self.shard.account);
        // Namespaces have none of the loads' share.
        let of_loads = account.flight_bytes().saturating_sub(account.namespace_bytes());
        if of_loads + bytes > account.target() / FLIGHTS_SHARE || !self.take_from_ring(bytes, MIN_CHUNKS) {
            return false;
        }
        account.note_flight(bytes);
        self.update_capacity(); // The ring may have given up a chunk.
        true
    }

    /// Takes `bytes` for a namespace, which keeps them. Returns `false` if the ring cannot spare
    /// them, or if a shard that needs `min_budget` without namespaces could not reach its lower
    /// limit with them.
    pub(crate) fn take_for_namespace(&mut self, bytes: usize, min_budget: usize) -> bool {
        let account = &self.shard.account;
        let needed = min_budget + account.namespace_bytes() + bytes;
        let is_reachable = !self.state.shrinking.is_under_way() || needed <= account.target();
        let is_taken = is_reachable && self.take_from_ring(bytes, MIN_CHUNKS);
        if is_taken {
            self.shard.account.note_namespace(bytes);
            self.update_capacity();
        }
        is_taken
    }

    /// Gives a seat to one more task that follows. Returns `false` if there is no memory.
    fn take_seat(&mut self, flight: &KeyFlight) -> bool {
        if flight.seated() >= flight.charge().seats() {
            if !self.take_for_flight(FlightBytes::MORE_SEATS) {
                return false;
            }
            flight.charge().add_seats();
        }
        flight.take_seat();
        true
    }

    /// Permits a caller to load an entry again, if that is still due and no flight does so. The
    /// entry is not due again for `retry`, so other readers go on with the present value.
    pub(crate) fn permit_refresh(
        &mut self,
        hash: KeyHash,
        key: &[u8],
        reason: Reason,
        retry: Duration,
    ) -> Option<RefreshPermit> {
        let now = self.now();
        let (id, stamps) = self.find_fresh(hash, key)?;
        let times = self.shard.rules.times(&stamps, self.shard.time.reached());
        let mark = self.shard.rules.refresh_after(now, retry);
        let is_due = match reason {
            Reason::Due => times.freshness(now.tick()) == Freshness::RefreshDue,
            Reason::Early => !times.is_refresh_near(now.tick(), mark),
        };
        if !is_due {
            return None;
        }
        self.state.entries.set_stamp(id, Stamp::Refresh, mark.low());
        let permit = RefreshPermit { mark: stamps.get(Stamp::Refresh).map(|_| mark.low()) };
        self.state.flights.get(key).is_none().then_some(permit)
    }

    /// Begins the load of an entry that has a permit, unless the entry has been replaced or a
    /// flight is in progress.
    pub(crate) fn board_refresh(
        &mut self,
        hash: KeyHash,
        key: &[u8],
        permit: RefreshPermit,
        waiter: Waiter,
    ) -> Option<Ticket> {
        let (_, stamps) = self.find_fresh(hash, key)?;
        if stamps.get(Stamp::Refresh) != permit.mark || self.state.flights.get(key).is_some() {
            return None;
        }
        let ticket = self.begin_flight(key, waiter)?;
        self.shard.loads_of(key).add(LoadCount::Refreshes, 1);
        Some(ticket)
    }

    fn find_fresh(&mut self, hash: KeyHash, key: &[u8]) -> Option<(EntryId, Stamps)> {
        self.drain_touches();
        let Presence::Fresh(id) = self.find_present(hash, key) else { return None };
        Some((id, self.state.entries.stamps(self.state.entries.live(id)?)))
    }

    /// Ends the lease of a flight, and stores its result if it still had one. Returns the value as
    /// it lies in the cache, if it does.
    pub(crate) fn complete(
        &mut self,
        hash: KeyHash,
        ticket: &Ticket,
        result: LoadResult<'_>,
        end: LoadEnd,
    ) -> Option<OwnedValue> {
        // A load that began before its namespace was invalidated is older than that.
        let may_store = self.state.flights.end_lease(ticket) && !self.shard.registry.is_outdated(&ticket.key);
        let loads = self.shard.loads_of(&ticket.key);
        let held = if may_store {
            self.store_result(hash, &ticket.key, result)
        } else {
            loads.add(LoadCount::Refused, u64::from(!matches!(result, LoadResult::Failed(None))));
            None
        };
        // Last: if a policy panics, the leader counts a failure.
        loads.note(end);
        held
    }

    /// Ends a load that has no flight. Its result is not stored, as it may be older than what came
    /// meanwhile. What had expired before it began is older still, and is removed.
    pub(crate) fn complete_unshared(&mut self, hash: KeyHash, key: &[u8], result: LoadResult<'_>, end: LoadEnd) {
        if !matches!(result, LoadResult::Failed(_)) {
            self.drain_touches();
            let present = self.find_present(hash, key);
            if let Presence::Stale(_) = present {
                self.remove_present(present, RemovalCause::Replaced);
            }
        }
        self.shard.loads_of(key).note(end);
    }

    fn store_result(&mut self, hash: KeyHash, key: &[u8], result: LoadResult<'_>) -> Option<OwnedValue> {
        let (value, lifetime) = match result {
            LoadResult::Value(value, lifetime) => (value, lifetime),
            LoadResult::Absent(lifetime) => (Negative::Absent.value(), lifetime),
            LoadResult::Failed(None) => return None,
            LoadResult::Failed(Some(retry)) if self.put_off(hash, key, retry) => return None,
            LoadResult::Failed(Some(retry)) => (Negative::Failed.value(), Lifetime::negative(retry)),
            LoadResult::Oversized => {
                self.remove_older(hash, key);
                return None;
            }
        };
        self.store(hash, key, value, Condition::Always, &lifetime).ok()?;
        let (_, live) = self.state.entries.find(hash, key).filter(|_| matches!(result, LoadResult::Value(..)))?;
        Some(self.shard.lookup.ring.value(live))
    }

    /// Postpones the next load of a key that still has a value, if that has a stamp for it. Returns
    /// `true` if there is a value.
    fn put_off(&mut self, hash: KeyHash, key: &[u8], retry: Duration) -> bool {
        self.drain_touches();
        match self.find_present(hash, key) {
            Presence::Fresh(id) | Presence::Stale(id) => {
                let mark = self.shard.rules.refresh_after_failure(self.now(), retry);
                self.state.entries.set_stamp(id, Stamp::Refresh, mark.low());
                true
            }
            Presence::Absent | Presence::Negative(_) => false,
        }
    }
}

impl Shard {
    /// Returns the counters of loads for a key.
    fn loads_of(&self, key: &[u8]) -> &LoadCounts {
        self.registry.loads_of(key)
    }

    /// Counts a load that brings no result, and ends its lease. That comes before its followers
    /// hear of it, as they would board it again. Runs no user code, as it may be called while one
    /// panics.
    pub(crate) fn end_load(&self, key: &[u8], ticket: Option<&Ticket>, counted: LoadEnd) {
        self.loads_of(key).note(counted);
        if let Some(ticket) = ticket {
            self.state.lock().flights.end_lease(ticket);
        }
    }

    /// Returns the number of loads whose results may be stored, and of threads and tasks that wait
    /// for them.
    pub(crate) fn loads_under_way(&self) -> (usize, usize) {
        self.state.lock().flights.under_way()
    }
}
