//! Walks over all entries of a shard, without the lock.
//!
//! A [`Walk`] is a position in the order of hashes. So it goes on where it was if the index gets
//! another size meanwhile. A reader looks at one entry at a time, and holds its chunk meanwhile.

use core::time::Duration;

use super::Shard;
use super::lifetimes::Status;
use super::lookup::Advance;
use super::writer::Writer;
use crate::expiry::{Freshness, Remaining};
use crate::hash::KeyHash;
use crate::index::Walk;
use crate::reclaim::{Live, Slot};
use crate::units::Tick;

/// An entry that a walk has reached.
#[derive(Clone, Copy)]
pub(crate) struct WalkedEntry<'a> {
    pub(crate) hash: KeyHash,
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
    /// [`Gone`](Freshness::Gone) if reads miss it by now. The value is then a former one.
    pub(crate) freshness: Freshness,
    /// The time until its deadline.
    pub(crate) left: Remaining,
}

impl Shard {
    /// Advances a walk to the next entry, including those that reads miss. One of the slots holds
    /// its chunk.
    ///
    /// An entry that is present throughout the walk is shown at least once. It is shown twice only
    /// if the index gets another size meanwhile. An update shows the former value or the next one.
    pub(crate) fn advance<'a>(
        &'a self,
        walk: &mut Walk,
        hash_of: impl Fn(&[u8]) -> KeyHash,
        slot: &'a mut Slot,
        other_slot: &'a mut Option<Slot>,
    ) -> Advance<WalkedEntry<'a>> {
        match self.lookup.advance(walk, hash_of, slot, || self.time.reached()) {
            Advance::Entry((live, hash, reached)) => Advance::Entry(self.read_walked(live, hash, reached, other_slot)),
            Advance::NoneYet => Advance::NoneYet,
            Advance::End => Advance::End,
        }
    }

    /// Returns what a read would see of an entry that was found by its lane.
    fn read_walked<'a>(
        &'a self,
        live: Live<'a>,
        hash: KeyHash,
        reached: Tick,
        other_slot: &'a mut Option<Slot>,
    ) -> WalkedEntry<'a> {
        let (entry, stamps) = self.lookup.ring.arena().entry_with_stamps(live);
        let walked = |value, status: Status| {
            let Status { freshness, left, .. } = status;
            WalkedEntry { hash, key: entry.key, value, freshness, left }
        };
        match self.status_of(live, stamps, reached, Duration::ZERO) {
            Some(status) => walked(entry.value, status),
            // It may have been moved, replaced or removed.
            None => match self.find_with_status(hash, entry.key, Duration::ZERO, other_slot.insert(Slot::take())) {
                Some((found, status)) => walked(found.value(), status),
                None => walked(entry.value, Status::GONE),
            },
        }
    }
}

impl Writer<'_> {
    /// Returns `true` if there is an entry under `key`, fresh or not. One past its removal is
    /// removed.
    pub(crate) fn is_present(&mut self, hash: KeyHash, key: &[u8]) -> bool {
        self.drain_touches();
        self.find_present(hash, key).id().is_some()
    }
}
