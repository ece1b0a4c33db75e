//! Doubly linked lists over entry ids: the queues of ordered policies.
//!
//! One pair of links for each id, shared by all lists of a policy: an id is in one list at a time, so two
//! queues cost no more than one. 8 bytes for each id; every operation is O(1).
//!
//! # Invariants
//!
//! 1. `next` of an id in a list leads towards the newest end, `prev` towards the oldest; `NONE` beyond
//!    either.
//! 2. The links of an id in no list are meaningless.

use super::{EntryId, Renumbering};

const NONE: u32 = u32::MAX;

/// The links of all ids.
#[derive(Debug)]
pub(super) struct Links(Vec<Link>);

#[derive(Clone, Copy, Debug)]
struct Link {
    prev: u32,
    next: u32,
}

impl Links {
    pub(super) fn new(ids: usize) -> Self {
        Self(vec![Link { prev: NONE, next: NONE }; ids])
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<Link>()
    }

    fn get(&self, id: u32) -> Link {
        self.0[id as usize]
    }

    fn at(&mut self, id: u32) -> &mut Link {
        &mut self.0[id as usize]
    }
}

/// A queue, from its oldest to its newest id.
#[derive(Debug)]
pub(super) struct List {
    oldest: u32,
    newest: u32,
}

impl List {
    pub(super) fn new() -> Self {
        Self { oldest: NONE, newest: NONE }
    }

    pub(super) fn oldest(&self) -> Option<EntryId> {
        (self.oldest != NONE).then_some(EntryId::new(self.oldest))
    }

    /// The id that comes after `id`, towards the newest.
    pub(super) fn newer(&self, links: &Links, id: EntryId) -> Option<EntryId> {
        let next = links.get(id.get()).next;
        (next != NONE).then_some(EntryId::new(next))
    }

    /// Adds an id that is in no list at the newest end.
    pub(super) fn push_newest(&mut self, links: &mut Links, id: EntryId) {
        let id = id.get();
        *links.at(id) = Link { prev: self.newest, next: NONE };
        match self.newest {
            NONE => self.oldest = id,
            newest => links.at(newest).next = id,
        }
        self.newest = id;
    }

    /// Takes an id of this list out.
    pub(super) fn remove(&mut self, links: &mut Links, id: EntryId) {
        let Link { prev, next } = links.get(id.get());
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
    pub(super) fn move_to_newest(&mut self, links: &mut Links, id: EntryId) {
        if self.newest != id.get() {
            self.remove(links, id);
            self.push_newest(links, id);
        }
    }

    /// The list with the residents' new ids, in links made for them. Ids that are not resident are left out.
    pub(super) fn renumber(&self, old: &Links, links: &mut Links, moved: &Renumbering) -> Self {
        let mut list = Self::new();
        let mut next = self.oldest();
        while let Some(id) = next {
            if let Some(id) = moved.get(id) {
                list.push_newest(links, id);
            }
            next = self.newer(old, id);
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(list: &List, links: &Links) -> Vec<u32> {
        core::iter::successors(list.oldest(), |&id| list.newer(links, id)).map(EntryId::get).collect()
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
    fn renumbering_keeps_the_order() {
        let mut links = Links::new(4);
        let mut list = List::new();
        for id in [3, 0, 2] {
            list.push_newest(&mut links, EntryId::new(id));
        }
        let mut moved = Renumbering::new(4, 8);
        for (old, new) in [(0, 5), (2, 1), (3, 7)] {
            moved.set(EntryId::new(old), EntryId::new(new));
        }
        let mut new_links = Links::new(8);
        let list = list.renumber(&links, &mut new_links, &moved);
        assert_eq!(ids(&list, &new_links), [7, 5, 1]);
    }
}
