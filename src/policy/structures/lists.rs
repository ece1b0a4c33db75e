//! Doubly linked lists over entry ids: the queues of ordered policies.
//!
//! All lists of a policy share one pair of links for each id. An id is in one list at a time, so
//! two lists cost no more than one. They cost 8 bytes for each id. Every operation is O(1).
//!
//! # Invariants
//!
//! 1. `next` of an id in a list leads towards the newest end, `prev` towards the oldest; `NONE`
//!    beyond either.
//! 2. The links of an id in no list are meaningless.
//! 3. The cursor is an id in a list, or `NONE`. An id that leaves its list moves the cursor on to
//!    the next newer one.
//!
//! The cursor is the place of a walk that a snapshot takes in steps, while entries come and go.

use super::Charges;
use super::QueueId;
use crate::growable::{Growable, Zero};
use crate::policy::{EntryId, Residents};

const NONE: u32 = u32::MAX;

/// The links of all ids, and the cursor of a walk.
#[derive(Debug)]
pub(crate) struct Links {
    links: Growable<Link>,
    /// The next id that a walk shows, or `NONE`.
    cursor: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Link {
    prev: u32,
    next: u32,
}

// SAFETY: it consists of integers.
#[allow(unsafe_code, reason = "elements of a `Growable`")]
unsafe impl Zero for Link {}

impl Links {
    pub(crate) fn new(ids: usize) -> Self {
        Self { links: Growable::new(ids), cursor: NONE }
    }

    pub(crate) fn allocated(&self) -> usize {
        self.links.allocated()
    }

    /// Sets the number of ids, and takes a bounded step towards the memory for them. Returns `true`
    /// once that is done. Ids beyond the number are in no list.
    #[must_use]
    pub(crate) fn resize(&mut self, ids: usize) -> bool {
        self.links.resize(ids)
    }

    fn get(&self, id: u32) -> Link {
        self.links[id as usize]
    }

    fn at(&mut self, id: u32) -> &mut Link {
        &mut self.links[id as usize]
    }

    /// Returns the next id that a walk shows, or `None` if its list has no more.
    pub(crate) fn cursor(&self) -> Option<EntryId> {
        (self.cursor != NONE).then_some(EntryId::new(self.cursor))
    }

    /// Moves the cursor to an id in a list, or to no id.
    pub(crate) fn set_cursor(&mut self, id: Option<EntryId>) {
        self.cursor = id.map_or(NONE, EntryId::get);
    }

    /// Returns the id at the cursor, and moves the cursor on to the next newer one.
    pub(crate) fn advance(&mut self) -> Option<EntryId> {
        let id = self.cursor()?;
        self.cursor = self.get(id.get()).next;
        Some(id)
    }
}

/// A queue, from its oldest to its newest id.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct List {
    oldest: u32,
    newest: u32,
}

impl List {
    pub(crate) fn new() -> Self {
        Self { oldest: NONE, newest: NONE }
    }

    pub(crate) fn oldest(&self) -> Option<EntryId> {
        (self.oldest != NONE).then_some(EntryId::new(self.oldest))
    }

    pub(crate) fn newest(&self) -> Option<EntryId> {
        (self.newest != NONE).then_some(EntryId::new(self.newest))
    }

    /// Returns the id after `id`, towards the newest.
    pub(crate) fn newer(&self, links: &Links, id: EntryId) -> Option<EntryId> {
        let next = links.get(id.get()).next;
        (next != NONE).then_some(EntryId::new(next))
    }

    /// Adds an id that is in no list at the newest end.
    pub(crate) fn push_newest(&mut self, links: &mut Links, id: EntryId) {
        let id = id.get();
        *links.at(id) = Link { prev: self.newest, next: NONE };
        match self.newest {
            NONE => self.oldest = id,
            newest => links.at(newest).next = id,
        }
        self.newest = id;
    }

    /// Adds an id that is in no list at the oldest end.
    pub(crate) fn push_oldest(&mut self, links: &mut Links, id: EntryId) {
        let id = id.get();
        *links.at(id) = Link { prev: NONE, next: self.oldest };
        match self.oldest {
            NONE => self.newest = id,
            oldest => links.at(oldest).prev = id,
        }
        self.oldest = id;
    }

    /// Moves all of another list's ids to the newest end.
    pub(crate) fn append(&mut self, links: &mut Links, other: &mut Self) {
        let other = core::mem::replace(other, Self::new());
        if other.oldest == NONE {
            return;
        }
        match self.newest {
            NONE => self.oldest = other.oldest,
            newest => {
                links.at(newest).next = other.oldest;
                links.at(other.oldest).prev = newest;
            }
        }
        self.newest = other.newest;
    }

    /// Removes an id of this list.
    pub(crate) fn remove(&mut self, links: &mut Links, id: EntryId) {
        let Link { prev, next } = links.get(id.get());
        if links.cursor == id.get() {
            links.cursor = next;
        }
        match prev {
            NONE => self.oldest = next,
            prev => links.at(prev).next = next,
        }
        match next {
            NONE => self.newest = prev,
            next => links.at(next).prev = prev,
        }
    }

    /// Makes an id of this list the newest.
    pub(crate) fn move_to_newest(&mut self, links: &mut Links, id: EntryId) {
        if self.newest != id.get() {
            self.remove(links, id);
            self.push_newest(links, id);
        }
    }

    /// Returns the ids, from the oldest to the newest.
    pub(crate) fn ids<'a>(&'a self, links: &'a Links) -> impl Iterator<Item = EntryId> + 'a {
        core::iter::successors(self.oldest(), |&id| self.newer(links, id))
    }

    /// Checks that the links lead through the list both ways. Returns the number of ids.
    pub(crate) fn validate(&self, links: &Links) -> usize {
        let mut before = NONE;
        let mut count = 0;
        for id in self.ids(links) {
            assert_eq!(links.get(id.get()).prev, before, "the way back differs");
            before = id.get();
            count += 1;
            assert!(count <= links.links.len(), "the list goes round");
        }
        assert_eq!(self.newest, before);
        count
    }

    /// Gives an id of this list another one, which is in no list.
    pub(crate) fn rename(&mut self, links: &mut Links, from: EntryId, to: EntryId) {
        let link = links.get(from.get());
        *links.at(to.get()) = link;
        if links.cursor == from.get() {
            links.cursor = to.get();
        }
        match link.prev {
            NONE => self.oldest = to.get(),
            prev => links.at(prev).next = to.get(),
        }
        match link.next {
            NONE => self.newest = to.get(),
            next => links.at(next).prev = to.get(),
        }
    }
}

/// One list with links of its own: the queue of a policy that has no other.
#[derive(Debug)]
pub(crate) struct OneList {
    links: Links,
    list: List,
}

impl OneList {
    pub(crate) fn new(ids: usize) -> Self {
        Self { links: Links::new(ids), list: List::new() }
    }

    pub(crate) fn allocated(&self) -> usize {
        self.links.allocated()
    }

    pub(crate) fn oldest(&self) -> Option<EntryId> {
        self.list.oldest()
    }

    pub(crate) fn newest(&self) -> Option<EntryId> {
        self.list.newest()
    }

    pub(crate) fn newer(&self, id: EntryId) -> Option<EntryId> {
        self.list.newer(&self.links, id)
    }

    /// Begins a walk at the oldest id.
    pub(crate) fn begin_walk(&mut self) {
        self.links.set_cursor(self.list.oldest());
    }

    /// Returns the next id of the walk, towards the newest.
    pub(crate) fn walk(&mut self) -> Option<EntryId> {
        self.links.advance()
    }

    pub(crate) fn push_newest(&mut self, id: EntryId) {
        self.list.push_newest(&mut self.links, id);
    }

    pub(crate) fn move_to_newest(&mut self, id: EntryId) {
        self.list.move_to_newest(&mut self.links, id);
    }

    pub(crate) fn remove(&mut self, id: EntryId) {
        self.list.remove(&mut self.links, id);
    }

    /// Gives an id of the list another one, which is not in it.
    pub(crate) fn rename(&mut self, from: EntryId, to: EntryId) {
        self.list.rename(&mut self.links, from, to);
    }

    /// Sets the number of ids, and takes a bounded step towards the memory for them. Returns `true`
    /// once that is done. Ids beyond the number are not in the list.
    #[must_use]
    pub(crate) fn resize(&mut self, ids: usize) -> bool {
        self.links.resize(ids)
    }

    pub(crate) fn validate(&self) {
        self.list.validate(&self.links);
    }
}

/// `N` lists, with the number of entries and the charge of each: the queues of a policy that has
/// several.
///
/// Costs 10 bytes for each id.
#[derive(Debug)]
pub(crate) struct Lists<const N: usize> {
    links: Links,
    charges: Charges,
    lists: [List; N],
    held: [Held; N],
    /// The number of lists that a walk has begun.
    walked: usize,
}

/// The entries and the charge of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    entries: usize,
    charge: u64,
}

impl<const N: usize> Lists<N> {
    pub(crate) fn new(ids: usize) -> Self {
        Self {
            links: Links::new(ids),
            charges: Charges::new(ids),
            lists: core::array::from_fn(|_| List::new()),
            held: [Held::default(); N],
            walked: 0,
        }
    }

    /// Begins a walk through all lists, each from its oldest id to its newest.
    pub(crate) fn begin_walk(&mut self) {
        self.links.set_cursor(None);
        self.walked = 0;
    }

    /// Returns the next id of the walk.
    pub(crate) fn walk(&mut self) -> Option<EntryId> {
        // Ends: each round but the first goes on to another list.
        loop {
            if let Some(id) = self.links.advance() {
                return Some(id);
            }
            let oldest = self.lists.get(self.walked)?.oldest();
            self.walked += 1;
            self.links.set_cursor(oldest);
        }
    }

    pub(crate) fn allocated(&self) -> usize {
        self.links.allocated() + self.charges.allocated()
    }

    /// Returns the number of entries of a list.
    pub(crate) fn len(&self, list: QueueId) -> usize {
        self.held[list.index()].entries
    }

    /// Returns the charge of all entries of a list.
    pub(crate) fn charge(&self, list: QueueId) -> u64 {
        self.held[list.index()].charge
    }

    pub(crate) fn charge_of(&self, id: EntryId) -> u32 {
        self.charges.get(id)
    }

    /// Returns the list that an id is in.
    pub(crate) fn list_of(&self, id: EntryId) -> QueueId {
        self.charges.queue(id)
    }

    pub(crate) fn oldest(&self, list: QueueId) -> Option<EntryId> {
        self.lists[list.index()].oldest()
    }

    /// Adds an id that is in no list at the newest end.
    pub(crate) fn push_newest(&mut self, list: QueueId, id: EntryId, charge: u32) {
        self.enter(list, id, charge);
        self.lists[list.index()].push_newest(&mut self.links, id);
    }

    /// Removes an id from its list.
    pub(crate) fn remove(&mut self, id: EntryId) {
        self.leave(id);
        self.charges.clear(id);
    }

    /// Makes an id of any list the newest of `list`.
    pub(crate) fn move_to_newest(&mut self, list: QueueId, id: EntryId) {
        if self.list_of(id) == list {
            self.lists[list.index()].move_to_newest(&mut self.links, id);
        } else {
            self.leave(id);
            self.push_newest(list, id, self.charge_of(id));
        }
    }

    /// Makes an id of any list the oldest of `list`.
    pub(crate) fn move_to_oldest(&mut self, list: QueueId, id: EntryId) {
        self.leave(id);
        self.enter(list, id, self.charge_of(id));
        self.lists[list.index()].push_oldest(&mut self.links, id);
    }

    /// Removes the oldest id from a list, and announces the one after it.
    pub(crate) fn evict_oldest(&mut self, list: QueueId, residents: &Residents<'_>) -> Option<EntryId> {
        let id = self.oldest(list)?;
        self.evict(id, residents);
        Some(id)
    }

    /// Removes an id from its list, and announces the one after it.
    pub(crate) fn evict(&mut self, id: EntryId, residents: &Residents<'_>) {
        if let Some(next) = self.lists[self.list_of(id).index()].newer(&self.links, id) {
            residents.expect(next);
        }
        self.remove(id);
    }

    /// Sets the charge of an id where it is.
    pub(crate) fn set_charge(&mut self, id: EntryId, charge: u32) {
        let held = &mut self.held[self.charges.queue(id).index()];
        held.charge = held.charge - u64::from(self.charges.get(id)) + u64::from(charge);
        self.charges.set(id, charge);
    }

    fn enter(&mut self, list: QueueId, id: EntryId, charge: u32) {
        self.charges.set(id, charge);
        self.charges.set_queue(id, list);
        let held = &mut self.held[list.index()];
        held.entries += 1;
        held.charge += u64::from(charge);
    }

    fn leave(&mut self, id: EntryId) {
        let list = self.list_of(id);
        self.lists[list.index()].remove(&mut self.links, id);
        let held = &mut self.held[list.index()];
        held.entries -= 1;
        held.charge -= u64::from(self.charges.get(id));
    }

    /// Gives an id of any list another one, which is in none.
    pub(crate) fn rename(&mut self, from: EntryId, to: EntryId) {
        let list = self.list_of(from);
        self.lists[list.index()].rename(&mut self.links, from, to);
        self.charges.rename(from, to);
    }

    /// Sets the number of ids, and takes a bounded step towards the memory for them. Returns `true`
    /// once that is done. Ids beyond the number are in no list.
    #[must_use]
    pub(crate) fn resize(&mut self, ids: usize) -> bool {
        self.links.resize(ids) && self.charges.resize(ids)
    }

    /// Recounts each list, and panics where a count differs.
    pub(crate) fn validate(&self) {
        for list in QueueId::first(N) {
            let held = Held {
                entries: self.lists[list.index()].validate(&self.links),
                charge: self.ids(list).map(|id| u64::from(self.charge_of(id))).sum(),
            };
            assert_eq!(self.held[list.index()], held, "list {list:?}");
            assert!(self.ids(list).all(|id| self.list_of(id) == list));
        }
    }

    fn ids(&self, list: QueueId) -> impl Iterator<Item = EntryId> + '_ {
        self.lists[list.index()].ids(&self.links)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(list: &List, links: &Links) -> Vec<u32> {
        list.ids(links).map(EntryId::get).collect()
    }

    #[test]
    fn entries_leave_and_move_wherever_they_are() {
        let mut links = Links::new(8);
        let mut list = List::new();
        (0..5).for_each(|id| list.push_newest(&mut links, EntryId::new(id)));
        list.move_to_newest(&mut links, EntryId::new(0));
        list.move_to_newest(&mut links, EntryId::new(3));
        list.move_to_newest(&mut links, EntryId::new(3));
        assert_eq!(ids(&list, &links), [1, 2, 4, 0, 3]);
        for id in [1, 4, 3] {
            list.remove(&mut links, EntryId::new(id));
        }
        assert_eq!(ids(&list, &links), [2, 0]);
        list.remove(&mut links, EntryId::new(0));
        list.remove(&mut links, EntryId::new(2));
        assert_eq!(list.oldest(), None);
    }

    #[test]
    fn two_lists_share_their_links() {
        let mut links = Links::new(4);
        let (mut first, mut second) = (List::new(), List::new());
        first.push_newest(&mut links, EntryId::new(0));
        second.push_newest(&mut links, EntryId::new(1));
        first.push_newest(&mut links, EntryId::new(2));
        second.push_newest(&mut links, EntryId::new(3));
        first.remove(&mut links, EntryId::new(0));
        second.push_newest(&mut links, EntryId::new(0));
        assert_eq!((ids(&first, &links), ids(&second, &links)), (vec![2], vec![1, 3, 0]));
    }

    #[test]
    fn a_list_takes_another_ones_ids_over() {
        let mut links = Links::new(6);
        let (mut first, mut second, mut third) = (List::new(), List::new(), List::new());
        [0, 1].into_iter().for_each(|id| first.push_newest(&mut links, EntryId::new(id)));
        [2, 3].into_iter().for_each(|id| second.push_oldest(&mut links, EntryId::new(id)));
        first.append(&mut links, &mut second);
        first.append(&mut links, &mut third);
        assert_eq!((ids(&first, &links), first.validate(&links)), (vec![0, 1, 3, 2], 4));
        second.append(&mut links, &mut first);
        assert_eq!((ids(&first, &links), ids(&second, &links)), (vec![], vec![0, 1, 3, 2]));
    }

    #[test]
    fn lists_know_what_they_hold_wherever_ids_move() {
        let [old, young] = [QueueId::new(0), QueueId::new(1)];
        let mut lists = Lists::<2>::new(4);
        for (id, charge) in [(0, 10), (1, 70_000), (2, 30)] {
            lists.push_newest(young, EntryId::new(id), charge);
        }
        lists.move_to_newest(old, EntryId::new(1));
        lists.move_to_oldest(old, EntryId::new(2));
        lists.set_charge(EntryId::new(1), 40);
        assert_eq!((lists.charge(old), lists.len(old), lists.charge(young)), (70, 2, 10));
        assert_eq!(lists.ids(old).map(EntryId::get).collect::<Vec<_>>(), [2, 1]);
        lists.validate();
        lists.remove(EntryId::new(2));
        lists.remove(EntryId::new(1));
        assert_eq!((lists.charge(old), lists.oldest(old)), (0, None));
        lists.validate();
    }

    #[test]
    fn a_rename_keeps_the_order_at_the_ends_and_between_them() {
        let mut lists = Lists::<2>::new(8);
        let [first, second] = [QueueId::new(0), QueueId::new(1)];
        for (list, id) in [(first, 3), (second, 6), (first, 0), (first, 2)] {
            lists.push_newest(list, EntryId::new(id), 70_000 + id);
        }
        assert!(lists.resize(16));
        for (from, to) in [(3, 15), (0, 3), (2, 0), (6, 2)] {
            lists.rename(EntryId::new(from), EntryId::new(to));
            lists.validate();
        }
        let held = [first, second].map(|list| lists.ids(list).map(EntryId::get).collect::<Vec<_>>());
        assert_eq!(held, [vec![15, 3, 0], vec![2]]);
        assert_eq!([15, 3, 0, 2].map(|id| lists.charge_of(EntryId::new(id)) - 70_000), [3, 0, 2, 6]);
        lists.rename(EntryId::new(15), EntryId::new(4));
        assert!(lists.resize(8));
        lists.validate();
    }
}
