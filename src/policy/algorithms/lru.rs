//! LRU, least recently used: Mattson, Gecsei, Slutz and Traiger, "Evaluation techniques for storage
//! hierarchies", 1970.
//!
//! One list. An access moves the entry to the newest end, and the oldest entry is evicted. Charges
//! make no difference.
//!
//! Costs 8 bytes for each id. Every operation is O(1). It is exact, and the wrong choice where keys
//! are read once in long scans: each of them pushes out an entry that is wanted.

use crate::policy::built_in::{BuiltIn, NoParameters};
use crate::policy::structures::OneList;
use crate::policy::{EntryId, EvictionPolicy, Newcomer, PolicyContext, Recency, Residents, Standing};

#[derive(Debug)]
pub(crate) struct Lru {
    entries: OneList,
}

impl BuiltIn for Lru {
    const NAME: &'static str = "lru";
    type Config = NoParameters;

    fn new(_parameters: NoParameters, context: &PolicyContext) -> Self {
        Self { entries: OneList::new(context.ids()) }
    }
}

impl EvictionPolicy for Lru {
    fn recency(&self) -> Recency {
        Recency::Ordered
    }

    fn touch(&mut self, id: EntryId) {
        self.entries.move_to_newest(id);
    }

    fn evict(&mut self, _newcomer: Option<&Newcomer>, residents: &mut Residents<'_>) -> Option<EntryId> {
        let victim = self.entries.oldest()?;
        if let Some(next) = self.entries.newer(victim) {
            residents.expect(next);
        }
        self.entries.remove(victim);
        Some(victim)
    }

    fn insert(&mut self, newcomer: &Newcomer) {
        self.entries.push_newest(newcomer.id);
    }

    fn remove(&mut self, id: EntryId, _charge: u32) {
        self.entries.remove(id);
    }

    fn resize(&mut self, ids: usize, _max_entries: usize) -> bool {
        self.entries.resize(ids)
    }

    fn rename(&mut self, from: EntryId, to: EntryId) {
        self.entries.rename(from, to);
    }

    fn bytes(&self) -> usize {
        self.entries.allocated()
    }

    fn validate(&self) {
        self.entries.validate();
    }

    fn snapshot_name(&self) -> &'static str {
        Self::NAME
    }

    fn begin_walk(&mut self) {
        self.entries.begin_walk();
    }

    fn walk(&mut self, most: usize, show: &mut dyn FnMut(EntryId, Standing)) -> bool {
        for _ in 0..most {
            let Some(id) = self.entries.walk() else { return true };
            show(id, Standing::new());
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use crate::policy::Policy;
    use crate::policy::tests::Outcome::{Evicts, Hit, Miss};
    use crate::policy::tests::follow;

    #[test]
    fn lru_on_a_hand_worked_trace() {
        follow(
            Policy::Lru,
            3,
            &[
                (1, Miss),
                (2, Miss),
                (3, Miss),
                (1, Hit),          // oldest 2 3 1 newest
                (4, Evicts(&[2])), // 3 1 4
                (2, Evicts(&[3])), // 1 4 2
                (1, Hit),          // 4 2 1
                (3, Evicts(&[4])), // 2 1 3
            ],
        );
    }
}
