//! MRU, most recently used: Chou and DeWitt, "An evaluation of buffer management strategies for
//! relational database systems", VLDB 1985.
//!
//! One list, as for LRU, but its newest entry is evicted. In a full cache, an entry that comes in
//! takes the place of the one that was used just before. The others stay for ever.
//!
//! Costs 8 bytes for each id. Every operation is O(1). It is right for a loop over more keys than
//! the cache holds, where LRU hits nothing. It is the wrong choice for almost everything else.

use crate::policy::built_in::{BuiltIn, NoParameters};
use crate::policy::structures::OneList;
use crate::policy::{EntryId, EvictionPolicy, Newcomer, PolicyContext, Recency, Residents, Standing};

#[derive(Debug)]
pub(crate) struct Mru {
    entries: OneList,
}

impl BuiltIn for Mru {
    const NAME: &'static str = "mru";
    type Config = NoParameters;

    fn new(_parameters: NoParameters, context: &PolicyContext) -> Self {
        Self { entries: OneList::new(context.ids()) }
    }
}

impl EvictionPolicy for Mru {
    fn recency(&self) -> Recency {
        Recency::Ordered
    }

    fn touch(&mut self, id: EntryId) {
        self.entries.move_to_newest(id);
    }

    fn evict(&mut self, _newcomer: Option<&Newcomer>, _residents: &mut Residents<'_>) -> Option<EntryId> {
        let victim = self.entries.newest()?;
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
    fn mru_on_a_hand_worked_trace() {
        follow(
            Policy::Mru,
            3,
            &[
                (1, Miss),
                (2, Miss),
                (3, Miss),         // oldest 1 2 3 newest
                (4, Evicts(&[3])), // 1 2 4
                (1, Hit),          // 2 4 1
                (5, Evicts(&[1])), // 2 4 5
                (2, Hit),          // 4 5 2
                (1, Evicts(&[2])), // 4 5 1
                (5, Hit),          // 4 1 5
                (2, Evicts(&[5])), // 4 1 2
            ],
        );
    }
}
