//! Beginning, storing and ending leases: see [`Leases`](super::leases::Leases).

use std::sync::Arc;

use super::Shard;
use super::leases::LeaseTicket;
use super::space::NoSpace;
use super::write::Condition;
use super::writer::Writer;
use crate::expiry::Lifetime;
use crate::hash::KeyHash;

impl Writer<'_> {
    /// Begins a lease of a key. Returns `None` if there is no memory for it.
    pub(crate) fn lease(&mut self, key: &[u8]) -> Option<LeaseTicket> {
        let bytes = self.state.flights.leases.bytes_to_begin(key);
        if bytes > 0 && !self.take_for_flight(bytes) {
            return None;
        }
        let account = Arc::clone(&self.shard.account);
        Some(self.state.flights.leases.begin(&account, key))
    }

    /// Stores `value` under the key of a lease, if no write to it has come since the lease began.
    /// Returns `false` if one has, and changes nothing then.
    pub(crate) fn store_leased(
        &mut self,
        hash: KeyHash,
        ticket: &LeaseTicket,
        value: &[u8],
        lifetime: &Lifetime,
    ) -> Result<bool, NoSpace> {
        if !self.holds(ticket) {
            return Ok(false);
        }
        // This ends the lease, and all others of the key.
        self.store(hash, &ticket.key, value, Condition::Always, lifetime)?;
        Ok(true)
    }

    /// Returns `true` if no write to the key, and no invalidation of its namespace, has come since
    /// the lease began.
    fn holds(&self, ticket: &LeaseTicket) -> bool {
        self.state.flights.leases.hold(ticket) && !self.shard.registry.is_outdated(&ticket.key)
    }

    /// Removes what is older than a value that is too large, if the lease has not ended.
    pub(crate) fn refuse_leased(&mut self, hash: KeyHash, ticket: &LeaseTicket) {
        if self.holds(ticket) {
            self.remove_older(hash, &ticket.key);
        }
    }
}

impl Shard {
    /// Ends a lease. Runs no user code, as it may be called while one panics.
    pub(crate) fn end_lease(&self, ticket: LeaseTicket) {
        self.state.lock().flights.leases.end(ticket);
    }
}
