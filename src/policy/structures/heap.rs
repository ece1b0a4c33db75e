//! A priority queue over ids: a binary heap in which every id knows its place.
//!
//! Costs 20 bytes for each id. A change is O(log n), reading the lowest is O(1). Of equals the one
//! is lower whose priority was set first.
//!
//! A *stamp* of 32 bits says when a priority was set. Stamps wrap around. An id's age is the number
//! of priorities that were set since, up to 2^31: ids that are older have the same age, and any
//! order among equals. Each change refreshes the stamp of one id that is older, so none wraps
//! around.

use crate::growable::Growable;
use crate::policy::EntryId;
use crate::units::to_u32;

/// Ids by priority.
#[derive(Debug)]
pub(crate) struct Heap {
    /// No id is lower than its parent, which is at `(place - 1) / 2`.
    order: Growable<u32>,
    len: usize,
    /// The index in `order` of each id, + 1, or `ABSENT`.
    places: Growable<u32>,
    priorities: Growable<u64>,
    stamps: Growable<u32>,
    next_stamp: u32,
    /// Priorities that were set so far, at most `u32::MAX`.
    sets: u32,
    /// The id whose stamp is refreshed next.
    refreshed: usize,
}

impl Heap {
    pub(crate) fn new(ids: usize) -> Self {
        Self {
            order: Growable::new(ids),
            len: 0,
            places: Growable::new(ids),
            priorities: Growable::new(ids),
            stamps: Growable::new(ids),
            next_stamp: 0,
            sets: 0,
            refreshed: 0,
        }
    }

    pub(crate) fn allocated(&self) -> usize {
        self.order.allocated() + self.places.allocated() + self.stamps.allocated() + self.priorities.allocated()
    }

    fn ids(&self) -> &[u32] {
        &self.order[..self.len]
    }

    /// Returns the lowest id and its priority.
    pub(crate) fn lowest(&self) -> Option<(EntryId, u64)> {
        self.ids().first().map(|&id| (EntryId::new(id), self.priorities[id as usize]))
    }

    /// Returns the priority of an id and its place in the order in which priorities were set, from
    /// 0 to [`ORDERS`]. Returns `None` if the id is not there.
    pub(crate) fn get(&self, id: EntryId) -> Option<(u64, u32)> {
        let index = id.index();
        let span = u64::from(self.sets.clamp(1, OLDEST));
        let order = span.saturating_sub(u64::from(self.age(id))) * u64::from(ORDERS) / span;
        #[allow(clippy::cast_possible_truncation, reason = "a part of 2^24")]
        (self.places[index] != ABSENT).then_some((self.priorities[index], order as u32))
    }

    /// Adds an id that is not there, with a place in the order that another heap has
    /// [told](Self::get).
    pub(crate) fn restore(&mut self, id: EntryId, priority: u64, order: u32) {
        self.set(id, priority);
        self.sets = self.sets.max(ORDERS + 1);
        self.next_stamp = self.next_stamp.max(ORDERS + 1);
        self.stamps[id.index()] = order.min(ORDERS);
        self.sift(id);
    }

    /// Sets the priority of an id. Adds the id if it is not there.
    pub(crate) fn set(&mut self, id: EntryId, priority: u64) {
        self.refresh_next();
        self.priorities[id.index()] = priority;
        self.stamps[id.index()] = self.next_stamp;
        self.next_stamp = self.next_stamp.wrapping_add(1);
        self.sets = self.sets.saturating_add(1);
        if self.places[id.index()] == ABSENT {
            self.len += 1;
            self.put(self.len - 1, id);
        }
        self.sift(id);
    }

    /// Removes an id that is there.
    pub(crate) fn remove(&mut self, id: EntryId) {
        let Some(place) = self.place_of(id) else { return };
        self.places[id.index()] = ABSENT;
        self.len -= 1;
        if place < self.len {
            let moved = EntryId::new(self.order[self.len]);
            self.put(place, moved);
            self.sift(moved);
        }
    }

    fn place_of(&self, id: EntryId) -> Option<usize> {
        (self.places[id.index()] as usize).checked_sub(1)
    }

    fn put(&mut self, place: usize, id: EntryId) {
        self.order[place] = id.get();
        self.places[id.index()] = to_u32(place + 1);
    }

    fn key(&self, place: usize) -> (u64, u32) {
        let id = EntryId::new(self.order[place]);
        (self.priorities[id.index()], OLDEST - self.age(id))
    }

    fn swap(&mut self, place: usize, other: usize) {
        let (id, other_id) = (EntryId::new(self.order[place]), EntryId::new(self.order[other]));
        self.put(place, other_id);
        self.put(other, id);
    }

    /// Moves an id up or down to where it belongs.
    fn sift(&mut self, id: EntryId) {
        let Some(mut place) = self.place_of(id) else { return };
        // One round for each level of the heap, at most.
        while place > 0 && self.key(place) < self.key((place - 1) / 2) {
            self.swap(place, (place - 1) / 2);
            place = (place - 1) / 2;
        }
        while let Some(child) = self.lower_child(place).filter(|&child| self.key(child) < self.key(place)) {
            self.swap(place, child);
            place = child;
        }
    }

    fn lower_child(&self, place: usize) -> Option<usize> {
        let children = 2 * place + 1..(2 * place + 3).min(self.len);
        children.min_by_key(|&child| self.key(child))
    }

    /// Returns how many priorities were set since that of an id, at most [`OLDEST`].
    fn age(&self, id: EntryId) -> u32 {
        self.next_stamp.wrapping_sub(self.stamps[id.index()]).min(OLDEST)
    }

    /// Refreshes the stamp of one id. There are fewer ids than 2^31, so each comes before its stamp
    /// has wrapped around. No age changes.
    fn refresh_next(&mut self) {
        if let Some(stamp) = self.stamps.get_mut(self.refreshed) {
            *stamp = self.next_stamp.wrapping_sub(self.next_stamp.wrapping_sub(*stamp).min(OLDEST));
        }
        self.refreshed = if self.refreshed < self.stamps.len() { self.refreshed + 1 } else { 0 };
    }

    /// Gives an id of the heap another one, which is not in it.
    pub(crate) fn rename(&mut self, from: EntryId, to: EntryId) {
        let Some(place) = self.place_of(from) else { return };
        self.places[from.index()] = ABSENT;
        self.put(place, to);
        self.priorities[to.index()] = self.priorities[from.index()];
        self.stamps[to.index()] = self.stamps[from.index()];
    }

    /// Sets the number of ids, and takes a bounded step towards the memory for them. Returns `true`
    /// once that is done. Ids beyond the number are not in the heap.
    #[must_use]
    pub(crate) fn resize(&mut self, ids: usize) -> bool {
        self.order.resize(ids) && self.places.resize(ids) && self.priorities.resize(ids) && self.stamps.resize(ids)
    }

    /// Checks every id's place and order.
    pub(crate) fn validate(&self) {
        for (place, &id) in self.ids().iter().enumerate() {
            assert_eq!(self.place_of(EntryId::new(id)), Some(place));
            assert!(place == 0 || self.key((place - 1) / 2) <= self.key(place), "a parent is above its child");
        }
        assert_eq!(self.places.iter().filter(|&&place| place != ABSENT).count(), self.len);
    }
}

/// The last place in the order in which priorities were set, in a form that outlives the heap.
const ORDERS: u32 = 1 << 24;

/// The age up to which the order of equals is known.
const OLDEST: u32 = 1 << 31;
/// The place of an id that is not in the heap.
const ABSENT: u32 = 0;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_lowest_is_the_one_that_a_search_finds(
            operations in prop::collection::vec((0..4_u8, 0..16_u32, 0..8_u64), 1..300),
        ) {
            let mut heap = Heap::new(16);
            heap.next_stamp = u32::MAX - 100; // Stamps wrap around.
            let mut model: Vec<(u64, usize, u32)> = Vec::new();
            for (step, (operation, id, priority)) in operations.into_iter().enumerate() {
                let is_there = model.iter().any(|entry| entry.2 == id);
                if operation == 3 {
                    let to = (0..16).find(|&to| model.iter().all(|entry| entry.2 != to));
                    if let Some((to, entry)) = to.zip(model.iter_mut().find(|entry| entry.2 == id)) {
                        heap.rename(EntryId::new(id), EntryId::new(to));
                        entry.2 = to;
                    }
                    heap.validate();
                    continue;
                }
                model.retain(|entry| entry.2 != id);
                if operation > 0 {
                    heap.set(EntryId::new(id), priority);
                    model.push((priority, step, id));
                } else if is_there {
                    heap.remove(EntryId::new(id));
                }
                heap.validate();
                let lowest = model.iter().min().map(|&(priority, _, id)| (EntryId::new(id), priority));
                prop_assert_eq!(heap.lowest(), lowest);
            }
        }
    }

    #[test]
    fn stamps_of_old_ids_do_not_wrap_around() {
        let mut heap = Heap::new(8);
        let [old, other, new] = [0, 1, 2].map(EntryId::new);
        heap.set(old, 7);
        heap.set(other, 7);
        // Five times as many changes as there are stamps, in steps in which each id comes once.
        for _ in 0..40 {
            heap.next_stamp = heap.next_stamp.wrapping_add(1 << 29);
            (0..16).for_each(|_| heap.set(new, 7));
            heap.validate();
            assert_ne!(heap.lowest(), Some((new, 7)), "what was set last is the lowest");
        }
        assert_eq!(heap.age(old), OLDEST);
        heap.remove(old);
        assert_eq!(heap.lowest(), Some((other, 7)));
    }
}
