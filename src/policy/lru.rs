//! Least recently used: Mattson, Gecsei, Slutz and Traiger, "Evaluation techniques for storage hierarchies",
//! 1970.
//!
//! One list. An access moves the entry to its newest end, the oldest is evicted; nothing is asked of an entry
//! but its id, so any charges will do.
//!
//! Costs 8 bytes for each id; every operation is O(1). It is exact, and the wrong choice where keys are read
//! once in long scans: each of them pushes out an entry that is wanted.

use super::list::{Links, List};
use super::{EntryId, EvictionPolicy, PolicyContext, Recency, Renumbering, Residents};

#[derive(Debug)]
pub(super) struct Lru {
    links: Links,
    list: List,
}

impl Lru {
    pub(super) fn new(context: &PolicyContext) -> Self {
        Self { links: Links::new(context.ids()), list: List::new() }
    }
}

impl EvictionPolicy for Lru {
    fn recency(&self) -> Recency {
        Recency::Ordered
    }

    fn insert(&mut self, id: EntryId, _hash: u64, _charge: u32) {
        self.list.push_newest(&mut self.links, id);
    }

    fn touch(&mut self, id: EntryId) {
        self.list.move_to_newest(&mut self.links, id);
    }

    fn update(&mut self, id: EntryId, _charge: u32) {
        self.touch(id);
    }

    fn remove(&mut self, id: EntryId) {
        self.list.remove(&mut self.links, id);
    }

    fn evict(&mut self, residents: &mut Residents<'_>) -> Option<EntryId> {
        let victim = self.list.oldest()?;
        if let Some(next) = self.list.newer(&self.links, victim) {
            residents.expect(next);
        }
        self.list.remove(&mut self.links, victim);
        Some(victim)
    }

    fn set_capacity(&mut self, _charge: u64) {}

    fn renumber(&mut self, moved: &Renumbering) {
        let mut links = Links::new(moved.ids());
        self.list = self.list.renumber(&self.links, &mut links, moved);
        self.links = links;
    }

    fn bytes(&self) -> usize {
        self.links.bytes()
    }
}
