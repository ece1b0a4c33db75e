//! The leases of a shard: callers that read a value elsewhere, and may store it while no write to
//! its key has come between.
//!
//! Unlike a flight, a lease makes nobody wait, and a key may have several. They share a *mark*,
//! which has a place in a tree. A write to the key takes the mark out, which ends all of them.
//! Leases that begin after that share another mark.
//!
//! # Invariants
//!
//! 1. A mark is in the tree if it has a lease, and no write to its key has come since it was put
//!    there.
//! 2. Marks are accounted for, with their key and their place, as flights are.
//!
//! # Synchronization
//!
//! The tree is for the holder of the shard's lock. Leases begin and end under it, so the count of
//! references to a mark in the tree does not change meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::account::Account;
use super::flights::{ARC_BYTES, FIRST_LEAF_BYTES, FlightBytes, PLACE_BYTES, remove_some};

/// The part that all leases of a key share. It keeps their bytes in the account.
#[derive(Debug)]
struct Mark {
    _bytes: FlightBytes,
}

/// A lease of a key.
#[derive(Debug)]
pub(crate) struct LeaseTicket {
    pub(crate) key: Arc<[u8]>,
    mark: Arc<Mark>,
}

/// The marks of keys with leases that may be stored.
#[derive(Debug, Default)]
pub(super) struct Leases {
    tree: BTreeMap<Arc<[u8]>, Arc<Mark>>,
    /// The bytes of the tree's first leaf, while it has one.
    leaf: Option<FlightBytes>,
}

impl Leases {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }

    fn bytes_for(key: &[u8]) -> usize {
        size_of::<Mark>() + ARC_BYTES + PLACE_BYTES + key.len()
    }

    /// Returns the bytes that one more lease of a key needs.
    pub(super) fn bytes_to_begin(&self, key: &[u8]) -> usize {
        match self.tree.contains_key(key) {
            true => 0,
            false => Self::bytes_for(key) + if self.is_empty() { FIRST_LEAF_BYTES } else { 0 },
        }
    }

    /// Begins a lease. The caller has taken the [bytes](Self::bytes_to_begin) for it.
    pub(super) fn begin(&mut self, account: &Arc<Account>, key: &[u8]) -> LeaseTicket {
        if let Some((key, mark)) = self.tree.get_key_value(key) {
            return LeaseTicket { key: Arc::clone(key), mark: Arc::clone(mark) };
        }
        self.leaf.get_or_insert_with(|| FlightBytes::of(account, FIRST_LEAF_BYTES));
        let mark = Arc::new(Mark { _bytes: FlightBytes::of(account, Self::bytes_for(key)) });
        let key: Arc<[u8]> = key.into();
        self.tree.insert(Arc::clone(&key), Arc::clone(&mark));
        LeaseTicket { key, mark }
    }

    /// Returns `true` if no write to the key has come since the lease began.
    pub(super) fn hold(&self, ticket: &LeaseTicket) -> bool {
        self.tree.get(&ticket.key).is_some_and(|mark| Arc::ptr_eq(mark, &ticket.mark))
    }

    /// Ends a lease. The mark leaves with its last one.
    pub(super) fn end(&mut self, ticket: LeaseTicket) {
        // The tree has one reference, and the ticket another.
        if self.hold(&ticket) && Arc::strong_count(&ticket.mark) == 2 {
            self.remove(&ticket.key);
        }
        drop(ticket);
    }

    /// Ends the leases of a key.
    pub(super) fn remove(&mut self, key: &[u8]) {
        self.tree.remove(key);
        if self.tree.is_empty() {
            self.clear();
        }
    }

    /// Ends the leases of the keys that satisfy `is_meant`, among the next ones after a key.
    /// Returns the last of those keys, or `None` if no key follows it.
    pub(super) fn remove_some(
        &mut self,
        after: Option<Arc<[u8]>>,
        is_meant: impl Fn(&[u8]) -> bool,
    ) -> Option<Arc<[u8]>> {
        let last = remove_some(&mut self.tree, after, is_meant);
        if self.tree.is_empty() {
            self.clear();
        }
        last
    }

    /// Ends all leases, and gives the first leaf's memory back, which a tree keeps.
    pub(super) fn clear(&mut self) {
        self.tree = BTreeMap::new();
        self.leaf = None;
    }
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leases_of_a_key_end_together_and_their_bytes_go_with_the_last_one() {
        let account = Arc::new(Account::alone(1 << 20));
        let mut leases = Leases::default();
        let begin = |leases: &mut Leases, key| {
            let bytes = leases.bytes_to_begin(key);
            assert!(account.take(bytes));
            account.note_flight(bytes);
            leases.begin(&account, key)
        };
        let (first, second) = (begin(&mut leases, b"key"), begin(&mut leases, b"key"));
        let bytes = account.flight_bytes();
        leases.end(first);
        assert!(leases.hold(&second));
        leases.remove(b"key");
        let third = begin(&mut leases, b"key");
        assert!(!leases.hold(&second) && leases.hold(&third));
        leases.end(second);
        assert!(leases.hold(&third) && account.flight_bytes() == bytes);
        leases.end(third);
        assert!(leases.is_empty());
        assert_eq!((account.flight_bytes(), account.allocated()), (0, 0));
    }
}
