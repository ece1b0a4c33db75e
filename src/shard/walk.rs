//! Walks over all entries of a shard: without the lock to show them, and with it to remove them.
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
use crate::index::{Step, Walk};
use crate::reclaim::{Live, Slot};
use crate::removal::RemovalCause;
use crate::units::{EntryId, Tick};

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
                Some((found, status)) => walked(found.value, status),
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

    /// Advances a walk and removes what it reaches, until it is time to notify the listener.
    /// Returns `true` at the end.
    pub(crate) fn remove_some(&mut self, walk: &mut Walk) -> bool {
        self.drain_touches();
        while !self.removals_are_many() {
            let table = self.state.entries.table();
            match table.step(table.progress(), walk) {
                Step::End => {
                    if self.state.entries.len() == 0 {
                        self.clear(); // So that the policy forgets its ghosts, as without a listener.
                    }
                    return true;
                }
                Step::Onward => {}
                Step::Lane(id) => self.remove_walked(walk, id),
            }
        }
        false
    }

    fn remove_walked(&mut self, walk: &Walk, id: EntryId) {
        let Some(live) = self.state.entries.live(id) else { return };
        let hash = self.state.entries.hash_of(live);
        let table = self.state.entries.table();
        // A hasher of the user's own that does not keep to its hashes must not make entries
        // immortal.
        let is_reached = walk.is_at(hash) || table.find_location(hash, live.location()) != Some(id);
        if is_reached {
            self.remove_resident(id, RemovalCause::Removed);
        }
    }
}
