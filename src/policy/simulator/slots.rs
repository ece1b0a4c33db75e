//! [`Slots`]: the residents of a simulator.

use core::cell::Cell;

use super::spread;
use crate::policy::{EntryId, ResidentSource};
use crate::units::MAX_VISITS;

/// The facts that a shard would know of each id: the source of [`Residents`].
pub(super) struct Slots(pub(super) Vec<Slot>);

#[derive(Clone, Default)]
pub(super) struct Slot {
    pub(super) key: u64,
    pub(super) charge: u32,
    pub(super) visits: Cell<u8>,
    pub(super) is_used: bool,
}

impl Slots {
    pub(super) fn get(&self, id: EntryId) -> &Slot {
        &self.0[id.index()]
    }

    pub(super) fn get_mut(&mut self, id: EntryId) -> &mut Slot {
        &mut self.0[id.index()]
    }

    /// Returns the slot of an id, or `None` if it is not in use.
    pub(super) fn entry(&self, id: EntryId) -> Option<&Slot> {
        self.0.get(id.index()).filter(|slot| slot.is_used)
    }

    pub(super) fn visit(&self, id: EntryId) {
        self.set_visits(id, self.visits(id) + 1);
    }
}

impl ResidentSource for Slots {
    fn visits(&self, id: EntryId) -> u8 {
        self.entry(id).map_or(0, |slot| slot.visits.get())
    }

    fn set_visits(&self, id: EntryId, visits: u8) {
        if let Some(slot) = self.entry(id) {
            slot.visits.set(visits.min(MAX_VISITS));
        }
    }

    fn hash(&self, id: EntryId) -> u64 {
        self.entry(id).map_or(0, |slot| spread(slot.key))
    }

    fn charge(&self, id: EntryId) -> u32 {
        self.entry(id).map_or(0, |slot| slot.charge)
    }

    fn expect(&self, _id: EntryId) {}
}
