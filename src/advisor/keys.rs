//! The sampled keys that any shadow holds, in one table that all shadows share.
//!
//! ```text
//!   index   | 7 | - | 3 | ...            open addressing by the hash, 3 places for 2 slots
//!   slots   | hash charge resident ... | one for each id: the id that every shadow's policy knows
//! ```
//!
//! A key has one slot for all shadows, and a bit for each shadow that holds it. So a look-up costs
//! the same for one shadow and for 32. The visits of an entry are two bits for each shadow. They
//! lie in two words, so a read counts a visit in all shadows at once.
//!
//! # Invariants
//!
//! 1. A place of the index is a used slot plus one, or 0. Each used slot has one place.
//! 2. Bit `n` of `visits_low` and of `visits_high` means something only if bit `n` of `resident` is
//!    set.

use core::cell::Cell;
use core::num::NonZeroU32;

use super::event::Ends;
use crate::policy::{EntryId, ResidentSource, spread};
use crate::units::{MAX_VISITS, is_later};

/// The bits of all shadows that hold a key: bit `n` is that of shadow `n`.
pub(super) type ShadowSet = u32;

/// Returns the numbers of the bits that are set.
pub(super) fn bits(set: ShadowSet) -> impl Iterator<Item = usize> {
    let mut rest = set;
    core::iter::from_fn(move || {
        (rest != 0).then(|| {
            let bit = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            bit
        })
    })
}

/// The facts about one sampled key.
#[derive(Clone, Debug, Default)]
pub(super) struct KeySlot {
    pub(super) hash: u64,
    pub(super) charge: Cell<u32>,
    pub(super) resident: Cell<ShadowSet>,
    visits_low: Cell<ShadowSet>,
    visits_high: Cell<ShadowSet>,
    pub(super) life: Cell<Life>,
    is_used: bool,
    /// The tick at which the entry was stored, if that is known.
    pub(super) stored: Cell<Option<u32>>,
    /// The number of times that all keys had been removed when the key came.
    pub(super) generation: u32,
}

/// When the entry of a key was used last, and when it ends. Ticks are low halves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Life {
    /// The tick at which it was stored or read last.
    pub(super) used: u32,
    /// The tick from which reads miss it, or `None` if it has no time to live.
    pub(super) deadline: Option<NonZeroU32>,
    /// The ticks after its last use from which reads miss it, or 0 if it has no time to idle.
    pub(super) idle: u32,
}

impl Life {
    /// Returns the life of an entry that is used at `now`.
    pub(super) fn new(ends: Ends, now: u32) -> Self {
        Self { used: now, deadline: NonZeroU32::new(ends.deadline), idle: ends.idle }
    }

    /// Returns `true` if reads miss the entry at `now`.
    fn is_over(self, now: u32) -> bool {
        let is_past = |deadline: u32| !is_later(deadline, now);
        self.deadline.is_some_and(|deadline| is_past(deadline.get()))
            || self.idle != 0 && is_past(self.used.wrapping_add(self.idle))
    }
}

/// The table of sampled keys.
#[derive(Debug)]
pub(super) struct Keys {
    index: Box<[u32]>,
    slots: Box<[KeySlot]>,
    /// Slots that are not in use.
    free: Vec<u32>,
}

impl Keys {
    /// Creates an empty table with `ids` slots.
    pub(super) fn new(ids: u32) -> Self {
        let mut free = Vec::with_capacity(ids as usize);
        free.extend((0..ids).rev());
        Self {
            index: vec![0; Self::places(ids as usize)].into(),
            slots: vec![KeySlot::default(); ids as usize].into(),
            free,
        }
    }

    fn places(ids: usize) -> usize {
        ids + ids / 2 + 1
    }

    /// Returns the bytes that [`new`](Self::new) allocates.
    pub(super) fn footprint(ids: usize) -> usize {
        ids * (size_of::<KeySlot>() + size_of::<u32>()) + Self::places(ids) * size_of::<u32>()
    }

    /// Returns the number of keys in the table.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Returns the number of slots.
    pub(super) fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Returns the slot of an id.
    #[inline]
    pub(super) fn get(&self, id: EntryId) -> &KeySlot {
        &self.slots[id.index()]
    }

    /// Returns the id of a key, or `None` if it has none.
    pub(super) fn find(&self, hash: u64) -> Option<EntryId> {
        let mut place = self.home(hash);
        // Ends: a third of the places is empty.
        while self.index[place] != 0 {
            let id = EntryId::new(self.index[place] - 1);
            if self.get(id).hash == hash {
                return Some(id);
            }
            place = self.after(place);
        }
        None
    }

    /// Adds a key that has no slot, and returns its id. Returns `None` if no slot is free.
    pub(super) fn insert(&mut self, hash: u64, generation: u32) -> Option<EntryId> {
        let slot = self.free.pop()?;
        let mut place = self.home(hash);
        while self.index[place] != 0 {
            place = self.after(place);
        }
        self.index[place] = slot + 1;
        self.slots[slot as usize] = KeySlot { hash, is_used: true, generation, ..KeySlot::default() };
        Some(EntryId::new(slot))
    }

    /// Frees the slot of a key, unless a shadow holds the key or the slot is free.
    pub(super) fn free_if_unheld(&mut self, id: EntryId) {
        if self.get(id).is_used && self.get(id).resident.get() == 0 {
            self.remove(id);
        }
    }

    fn remove(&mut self, id: EntryId) {
        self.slots[id.index()].is_used = false;
        let mut hole = self.home(self.get(id).hash);
        while self.index[hole] != id.get() + 1 {
            hole = self.after(hole);
        }
        // Moves up what would not be found behind the hole. Ends at the next empty place.
        let mut place = self.after(hole);
        while self.index[place] != 0 {
            let home = self.home(self.slots[self.index[place] as usize - 1].hash);
            let is_behind_home =
                if hole <= place { home <= hole || home > place } else { home <= hole && home > place };
            if is_behind_home {
                self.index[hole] = self.index[place];
                hole = place;
            }
            place = self.after(place);
        }
        self.index[hole] = 0;
        self.free.push(id.get());
    }

    /// Counts a visit of a key in the shadows of `set`.
    #[inline]
    pub(super) fn visit(&self, id: EntryId, set: ShadowSet) {
        let slot = self.get(id);
        let (low, high) = (slot.visits_low.get(), slot.visits_high.get());
        // 0, 1, 2, 3, 3: the low bit changes unless both bits are set.
        slot.visits_low.set(low & !set | (!low | high) & set);
        slot.visits_high.set(high | low & set);
    }

    /// Notes that a shadow holds a key that was not visited.
    pub(super) fn enter(&self, id: EntryId, shadow: ShadowSet) {
        let slot = self.get(id);
        slot.resident.set(slot.resident.get() | shadow);
        slot.visits_low.set(slot.visits_low.get() & !shadow);
        slot.visits_high.set(slot.visits_high.get() & !shadow);
    }

    /// Notes that a shadow no longer holds a key.
    pub(super) fn leave(&self, id: EntryId, shadow: ShadowSet) {
        let resident = &self.get(id).resident;
        resident.set(resident.get() & !shadow);
    }

    /// Returns `true` if reads miss the entry of a key at `now`.
    pub(super) fn is_over(&self, id: EntryId, now: u32) -> bool {
        self.get(id).life.get().is_over(now)
    }

    /// Returns the key in a slot, or `None` if the slot is free.
    pub(super) fn in_slot(&self, slot: usize) -> Option<EntryId> {
        let id = EntryId::new(u32::try_from(slot).ok()?);
        (self.slots.get(slot)?.resident.get() != 0).then_some(id)
    }

    #[allow(clippy::cast_possible_truncation, reason = "the product's top half is below the number of places")]
    fn home(&self, hash: u64) -> usize {
        ((u128::from(spread(hash)) * self.index.len() as u128) >> 64) as usize
    }

    fn after(&self, place: usize) -> usize {
        if place + 1 == self.index.len() { 0 } else { place + 1 }
    }
}

/// The keys as the policy of one shadow sees them.
pub(super) struct Held<'a> {
    pub(super) keys: &'a Keys,
    pub(super) shadow: ShadowSet,
}

impl Held<'_> {
    /// Returns the slot of an entry that the shadow holds.
    pub(super) fn slot(&self, id: EntryId) -> Option<&KeySlot> {
        self.keys.slots.get(id.index()).filter(|slot| slot.resident.get() & self.shadow != 0)
    }
}

impl ResidentSource for Held<'_> {
    fn visits(&self, id: EntryId) -> u8 {
        let bit = |word: &Cell<ShadowSet>| u8::from(word.get() & self.shadow != 0);
        self.slot(id).map_or(0, |slot| bit(&slot.visits_low) + 2 * bit(&slot.visits_high))
    }

    fn set_visits(&self, id: EntryId, visits: u8) {
        let visits = visits.min(MAX_VISITS);
        let set = |word: &Cell<ShadowSet>, bit: u8| {
            let others = word.get() & !self.shadow;
            word.set(if visits & bit != 0 { others | self.shadow } else { others });
        };
        if let Some(slot) = self.slot(id) {
            set(&slot.visits_low, 1);
            set(&slot.visits_high, 2);
        }
    }

    fn hash(&self, id: EntryId) -> u64 {
        self.slot(id).map_or(0, |slot| spread(slot.hash))
    }

    fn charge(&self, id: EntryId) -> u32 {
        self.slot(id).map_or(0, |slot| slot.charge.get())
    }

    fn expect(&self, _id: EntryId) {}
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_are_found_until_they_are_removed(steps in proptest::collection::vec((0..40_u64, any::<bool>()), 1..400)) {
            let mut keys = Keys::new(24);
            let mut model = HashMap::new();
            for (hash, is_insert) in steps {
                match (keys.find(hash), is_insert) {
                    (None, true) => match keys.insert(hash, 0) {
                        Some(id) => _ = model.insert(hash, id),
                        None => prop_assert_eq!(model.len(), 24),
                    },
                    (Some(id), false) => {
                        keys.free_if_unheld(id);
                        model.remove(&hash);
                    }
                    _ => {}
                }
                for hash in 0..40 {
                    prop_assert_eq!(keys.find(hash), model.get(&hash).copied());
                }
                prop_assert_eq!(keys.len(), model.len());
            }
        }
    }

    #[test]
    fn visits_count_to_three_in_each_shadow() {
        let mut keys = Keys::new(2);
        let id = keys.insert(9, 0).expect("a free slot");
        let visits = |keys: &Keys, shadow| Held { keys, shadow }.visits(id);
        keys.enter(id, 1);
        keys.enter(id, 4);
        for (visited, first, third) in [(1, 1, 0), (5, 2, 1), (5, 3, 2), (5, 3, 3), (4, 3, 3)] {
            keys.visit(id, visited);
            assert_eq!((visits(&keys, 1), visits(&keys, 4)), (first, third));
        }
        for count in 0..=3 {
            Held { keys: &keys, shadow: 4 }.set_visits(id, count);
            assert_eq!((visits(&keys, 1), visits(&keys, 4)), (3, count));
        }
        keys.leave(id, 4);
        keys.enter(id, 4);
        assert_eq!(visits(&keys, 4), 0);
    }

    #[test]
    fn an_entry_is_over_at_its_deadline_or_when_it_was_idle_for_long_enough() {
        let life = |deadline, idle| Life { used: 20, deadline: NonZeroU32::new(deadline), idle };
        for (life, last, over) in
            [(life(50, 0), 49, 50), (life(0, 7), 26, 27), (life(50, 7), 26, 27), (life(25, 7), 24, 25)]
        {
            assert!(!life.is_over(last) && life.is_over(over), "{life:?}");
        }
        assert!(!life(0, 0).is_over(1 << 30));
    }
}
