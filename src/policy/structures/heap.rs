//! A priority queue over ids: a binary heap in which every id knows its place.
//!
//! Costs 20 bytes for each id. A change is O(log n), reading the lowest is O(1). Of equals the one
//! is lower whose priority was set first.

use crate::policy::{EntryId, Renumbering};

/// Ids by priority.
#[derive(Debug)]
pub(crate) struct Heap {
    /// No id is lower than its parent, which is at `(place - 1) / 2`.
    order: Vec<EntryId>,
    /// The index in `order` of each id, or `ABSENT`.
    places: Vec<u32>,
    priorities: Vec<u64>,
    stamps: Vec<u32>,
    next_stamp: u32,
}

impl Heap {
    pub(crate) fn new(ids: usize) -> Self {
        Self {
            order: Vec::with_capacity(ids),
            places: vec![ABSENT; ids],
            priorities: vec![0; ids],
            stamps: vec![0; ids],
            next_stamp: 0,
        }
    }

    pub(crate) fn allocated(&self) -> usize {
        self.order.capacity() * size_of::<EntryId>()
            + (self.places.capacity() + self.stamps.capacity()) * size_of::<u32>()
            + self.priorities.capacity() * size_of::<u64>()
    }

    /// Returns the lowest id and its priority.
    pub(crate) fn lowest(&self) -> Option<(EntryId, u64)> {
        self.order.first().map(|&id| (id, self.priorities[id.index()]))
    }

    /// Returns the priority of an id and its place in the order in which priorities were set, from
    /// 0 to [`ORDERS`]. Returns `None` if the id is not there.
    pub(crate) fn get(&self, id: EntryId) -> Option<(u64, u32)> {
        let index = id.index();
        let order = u64::from(self.stamps[index]) * u64::from(ORDERS) / u64::from(self.next_stamp.max(1));
        #[allow(clippy::cast_possible_truncation, reason = "a part of 2^24")]
        (self.places[index] != ABSENT).then_some((self.priorities[index], order as u32))
    }

    /// Adds an id that is not there, with a place in the order that another heap has
    /// [told](Self::get).
    pub(crate) fn restore(&mut self, id: EntryId, priority: u64, order: u32) {
        self.set(id, priority);
        self.stamps[id.index()] = order.min(ORDERS);
        self.next_stamp = self.next_stamp.max(ORDERS + 1);
        self.sift(id);
    }

    /// Sets the priority of an id. Adds the id if it is not there.
    pub(crate) fn set(&mut self, id: EntryId, priority: u64) {
        if self.next_stamp == u32::MAX {
            self.restamp();
        }
        self.priorities[id.index()] = priority;
        self.stamps[id.index()] = self.next_stamp;
        self.next_stamp += 1;
        if self.places[id.index()] == ABSENT {
            self.order.push(id);
            self.put(self.order.len() - 1, id);
        }
        self.sift(id);
    }

    /// Removes an id that is there.
    pub(crate) fn remove(&mut self, id: EntryId) {
        let place = self.places[id.index()] as usize;
        self.places[id.index()] = ABSENT;
        self.order.swap_remove(place);
        if let Some(&moved) = self.order.get(place) {
            self.put(place, moved);
            self.sift(moved);
        }
    }

    fn put(&mut self, place: usize, id: EntryId) {
        self.order[place] = id;
        #[allow(clippy::cast_possible_truncation, reason = "a heap has at most as many places as there are ids")]
        {
            self.places[id.index()] = place as u32;
        }
    }

    fn key(&self, place: usize) -> (u64, u32) {
        let id = self.order[place].index();
        (self.priorities[id], self.stamps[id])
    }

    fn swap(&mut self, place: usize, other: usize) {
        let (id, other_id) = (self.order[place], self.order[other]);
        self.put(place, other_id);
        self.put(other, id);
    }

    /// Moves an id up or down to where it belongs.
    fn sift(&mut self, id: EntryId) {
        let mut place = self.places[id.index()] as usize;
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
        let children = 2 * place + 1..(2 * place + 3).min(self.order.len());
        children.min_by_key(|&child| self.key(child))
    }

    /// Renumbers the stamps in the same order.
    #[cold]
    fn restamp(&mut self) {
        let mut ids = self.order.clone();
        ids.sort_unstable_by_key(|id| self.stamps[id.index()]);
        for (stamp, id) in (0..).zip(&ids) {
            self.stamps[id.index()] = stamp;
        }
        self.next_stamp = (0..).nth(ids.len()).unwrap_or(u32::MAX);
    }

    pub(crate) fn renumber(&mut self, moved: &Renumbering) {
        let mut order = Vec::with_capacity(moved.ids());
        order.extend(self.order.iter().filter_map(|&id| moved.get(id)));
        self.order = order;
        moved.apply(&mut self.priorities);
        moved.apply(&mut self.stamps);
        self.places = vec![ABSENT; moved.ids()];
        for place in 0..self.order.len() {
            self.put(place, self.order[place]);
        }
        // Not all ids may have been resident.
        for place in 0..self.order.len() {
            self.sift(self.order[place]);
        }
    }

    /// Checks every id's place and order.
    pub(crate) fn validate(&self) {
        for (place, id) in self.order.iter().enumerate() {
            assert_eq!(self.places[id.index()] as usize, place);
            assert!(place == 0 || self.key((place - 1) / 2) < self.key(place), "a parent is above its child");
        }
        assert_eq!(self.places.iter().filter(|&&place| place != ABSENT).count(), self.order.len());
    }
}

/// The last place in the order in which priorities were set, in a form that outlives the heap.
const ORDERS: u32 = 1 << 24;

/// The place of an id that is not in the heap.
const ABSENT: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_lowest_is_the_one_that_a_search_finds(
            operations in prop::collection::vec((0..3_u8, 0..16_u32, 0..8_u64), 1..300),
        ) {
            let mut heap = Heap::new(16);
            let mut model: Vec<(u64, usize, u32)> = Vec::new();
            for (step, (operation, id, priority)) in operations.into_iter().enumerate() {
                let is_there = model.iter().any(|entry| entry.2 == id);
                model.retain(|entry| entry.2 != id);
                if operation > 0 {
                    heap.set(EntryId::new(id), priority);
                    model.push((priority, step, id));
                } else if is_there {
                    heap.remove(EntryId::new(id));
                }
                if step % 50 == 49 {
                    heap.restamp();
                }
                heap.validate();
                let lowest = model.iter().min().map(|&(priority, _, id)| (EntryId::new(id), priority));
                prop_assert_eq!(heap.lowest(), lowest);
            }
        }
    }
}
