//! Changes that depend on the value under a key.
//!
//! ```text
//!   update       caller: look, run the closure --> lock: the same value? --yes--> store, remove
//!                   ^                                       | no
//!                   +---------------------------------------+
//!   replace_if   lock: the expected value? --> store
//!   increment    lock: add --> store
//!   swap         lock: hold the value --> store
//! ```
//!
//! Values are compared by their bytes. An entry that was moved is the same, and so is one that was
//! replaced by an equal one. The closure of an update gets nothing but these bytes, so its result
//! would be the same for both. An entry that reads miss counts as none.
//!
//! A value that keeps the deadlines of the entry that it replaces gets its stamps. Readers may
//! extend the idle deadline until the entry is replaced: see `ring/relay.rs`.

use super::expire::Presence;
use super::space::NoSpace;
use super::write::{Condition, NewEntry};
use super::writer::Writer;
use crate::error::Error;
use crate::expiry::{Lifetime, Schedule};
use crate::hash::KeyHash;
use crate::removal::RemovalCause;
use crate::ring::OwnedValue;
use crate::units::EntryId;

/// The deadlines of a value that is stored in place of another.
#[derive(Clone, Copy, Debug)]
pub(crate) enum DeadlineRule {
    /// Those of the entry that it replaces. A new entry gets those of this lifetime.
    Kept { new_entry: Lifetime },
    /// Those of this lifetime.
    Set(Lifetime),
}

impl Writer<'_> {
    /// Stores `value` if the key still has the value that the caller has seen. Returns `false` if
    /// it has not, and changes nothing then.
    ///
    /// `seen` is dropped before room is made: it may hold space that the store needs.
    pub(crate) fn store_if_same(
        &mut self,
        hash: KeyHash,
        key: &[u8],
        seen: Option<impl AsRef<[u8]>>,
        value: &[u8],
        deadlines: DeadlineRule,
    ) -> Result<bool, NoSpace> {
        let present = self.find_present_for_change(hash, key);
        if !self.is_same(present, seen.as_ref().map(AsRef::as_ref)) {
            return Ok(false);
        }
        drop(seen);
        self.store_over(hash, key, present, value, deadlines)?;
        Ok(true)
    }

    /// Removes the entry under `key`, if the key still has the value that the caller has seen.
    /// Returns `false` if it has not, and changes nothing then. The removal counts as a write of
    /// the key, even if there is no entry.
    pub(crate) fn remove_if_seen(&mut self, hash: KeyHash, key: &[u8], seen: Option<&[u8]>) -> bool {
        let present = self.find_present_for_change(hash, key);
        let is_same = self.is_same(present, seen);
        if is_same {
            self.detach_flight(key);
            self.remove_present(present, RemovalCause::Removed);
        }
        is_same
    }

    /// Adds `by` to the counter under `key`. A new counter starts at `by`, with this lifetime.
    pub(crate) fn increment(&mut self, hash: KeyHash, key: &[u8], by: i64, lifetime: &Lifetime) -> Result<i64, Error> {
        let present = self.find_present_for_change(hash, key);
        let sum = match self.value_of(present) {
            None => by,
            Some(value) => {
                let counter = <[u8; 8]>::try_from(value).map_err(|_| Error::NotACounter { bytes: value.len() })?;
                let value = i64::from_le_bytes(counter);
                value.checked_add(by).ok_or(Error::CounterOverflow { value, by })?
            }
        };
        let deadlines = DeadlineRule::Kept { new_entry: *lifetime };
        self.store_over(hash, key, present, &sum.to_le_bytes(), deadlines).map_err(|NoSpace| Error::Rejected)?;
        Ok(sum)
    }

    /// Stores `value` under `key`, and returns the former value.
    pub(crate) fn swap(
        &mut self,
        hash: KeyHash,
        key: &[u8],
        value: &[u8],
        lifetime: &Lifetime,
    ) -> Result<Option<OwnedValue>, NoSpace> {
        let present = self.find_present_for_change(hash, key);
        let fresh = if let Presence::Fresh(id) = present { self.state.entries.live(id) } else { None };
        let former = fresh.map(|live| self.shard.lookup.ring.value(live));
        self.store(hash, key, value, Condition::Always, lifetime)?;
        Ok(former)
    }

    /// Removes what is older than a value that is too large, if the key still has the value that
    /// the caller has seen. Returns `false` if it has not, and changes nothing then.
    pub(crate) fn refuse_if_same(&mut self, hash: KeyHash, key: &[u8], seen: Option<&[u8]>) -> bool {
        let present = self.find_present_for_change(hash, key);
        let is_same = self.is_same(present, seen);
        if is_same {
            self.remove_older(hash, key);
        }
        is_same
    }

    fn find_present_for_change(&mut self, hash: KeyHash, key: &[u8]) -> Presence {
        // The policy learns of earlier reads before it learns of the change.
        self.drain_touches();
        self.find_present(hash, key)
    }

    /// Returns the value of an entry that reads find.
    fn value_of(&self, present: Presence) -> Option<&[u8]> {
        let Presence::Fresh(id) = present else { return None };
        Some(self.ring().entry(self.state.entries.live(id)?).value)
    }

    fn is_same(&self, present: Presence, seen: Option<&[u8]>) -> bool {
        match (self.value_of(present), seen) {
            // Mostly it is in the same place, and its bytes are not compared.
            (Some(value), Some(seen)) => core::ptr::eq(value, seen) || value == seen,
            (None, None) => true,
            _ => false,
        }
    }

    /// Stores a value under a key that was just looked up. If there is no space, what is older is
    /// removed.
    fn store_over(
        &mut self,
        hash: KeyHash,
        key: &[u8],
        present: Presence,
        value: &[u8],
        deadlines: DeadlineRule,
    ) -> Result<(), NoSpace> {
        let lifetime = match (deadlines, present) {
            (DeadlineRule::Kept { .. }, Presence::Fresh(id)) => {
                return self.store_with_same_deadlines(hash, key, id, value);
            }
            (DeadlineRule::Kept { new_entry: lifetime } | DeadlineRule::Set(lifetime), _) => lifetime,
        };
        self.store(hash, key, value, Condition::Always, &lifetime).map(|_| ())
    }

    fn store_with_same_deadlines(
        &mut self,
        hash: KeyHash,
        key: &[u8],
        id: EntryId,
        value: &[u8],
    ) -> Result<(), NoSpace> {
        self.state.prefetch_to_store();
        self.detach_flight(key);
        if self.refuses_stores() {
            return Err(self.reject(hash, key));
        }
        let Some(live) = self.state.entries.live(id) else { return Err(self.reject(hash, key)) };
        let stamps = self.state.entries.stamps(live);
        let removal = self.shard.rules.times(&stamps, self.shard.time.reached()).removal;
        let schedule = &Schedule { stamps, removal };
        let entry = NewEntry { hash, lane: None, key, value, schedule, keeps_idle_stamp: true };
        let stored = self.store_entry(&entry, Presence::Fresh(id));
        stored.map(|_| ()).map_err(|NoSpace| self.reject(hash, key))
    }
}
