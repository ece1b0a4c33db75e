//! GDSF, GreedyDual-Size with frequency: Cherkasova, "Improving WWW proxies performance with
//! Greedy-Dual-Size-Frequency caching policy", HP Labs 1998.
//!
//! Each entry has a priority `H = L + frequency / charge`. The entry with the lowest priority is
//! evicted, and `L`, the age of the cache, becomes its priority. A read raises the frequency and
//! computes `H` with the current `L`. So small entries stay before large ones, and popular ones
//! before others. Entries that were popular age as `L` grows.
//!
//! Where the paper leaves a choice:
//!
//! * The newcomer is compared like all others. It is refused if its priority is the lowest, as in
//!   libCacheSim.
//! * Of entries with equal priorities, the one leaves that was used longest ago.
//! * Priorities are fixed-point numbers, as `L` grows for ever.
//!
//! Costs 26 bytes for each id, and O(log n) for every access and eviction: a binary heap. It is by
//! far the best for the ratio of hits where sizes vary much. It is the wrong choice where bytes
//! count, not hits: large entries hardly stay.

use crate::policy::built_in::{BuiltIn, NoParameters};
use crate::policy::structures::{Charges, Heap, IdWords};
use crate::policy::{EntryId, EvictionPolicy, Newcomer, PolicyContext, Recency, Residents, Standing};
use crate::units::to_u32;

/// 1 as a priority.
const ONE: u64 = 1 << 32;
/// The highest rank that a snapshot restores. Priorities above it would not be far from the
/// highest.
const MAX_RESTORED_RANK: u64 = 1 << 62;

#[derive(Debug)]
pub(crate) struct Gdsf {
    heap: Heap,
    charges: Charges,
    frequencies: IdWords,
    /// L of the paper, the age of the cache.
    age: u64,
    /// The newcomer's priority, from the age at which it was announced.
    newcomer: u64,
    /// The walk of a snapshot.
    walk: Walk,
}

/// The place of a walk, which passes all ids several times. Each pass shows the entries whose
/// priorities lie between two bounds. So entries that leave at similar times are saved together.
#[derive(Debug, Default)]
struct Walk {
    /// The number of ids that were looked at in this pass.
    passed: usize,
    /// The upper bounds of this pass and the later ones, the highest first.
    bounds: Vec<u64>,
    /// The upper bound of the pass before.
    from: u64,
}

/// Passes of a walk, and the priorities from which their bounds are taken.
const PASSES: usize = 16;
const SAMPLES: usize = 512;
/// Ids that are looked at in each step of a walk for each entry that it may show.
const IDS_PER_ENTRY: usize = 16;

impl Gdsf {
    fn priority(&self, frequency: u32, charge: u32) -> u64 {
        self.age.saturating_add(u64::from(frequency) * ONE / u64::from(charge.max(1)))
    }

    fn forget(&mut self, id: EntryId) {
        self.heap.remove(id);
        self.charges.clear(id);
    }
}

impl BuiltIn for Gdsf {
    const NAME: &'static str = "gdsf";
    type Config = NoParameters;

    fn new(_parameters: NoParameters, context: &PolicyContext) -> Self {
        Self {
            heap: Heap::new(context.ids()),
            charges: Charges::new(context.ids()),
            frequencies: IdWords::new(context.ids()),
            age: 0,
            newcomer: 0,
            walk: Walk::default(),
        }
    }
}

impl EvictionPolicy for Gdsf {
    fn recency(&self) -> Recency {
        Recency::Ordered
    }

    fn prepare_insert(&mut self, newcomer: &Newcomer) {
        self.newcomer = self.priority(1, newcomer.charge);
    }

    fn touch(&mut self, id: EntryId) {
        let frequency = self.frequencies[id].saturating_add(1);
        self.frequencies[id] = frequency;
        self.heap.set(id, self.priority(frequency, self.charges.get(id)));
    }

    fn evict(&mut self, newcomer: Option<&Newcomer>, _residents: &mut Residents<'_>) -> Option<EntryId> {
        let (victim, lowest) = self.heap.lowest()?;
        if let Some(newcomer) = newcomer.filter(|_| self.newcomer < lowest) {
            self.age = self.newcomer;
            return Some(newcomer.id);
        }
        self.age = lowest;
        self.forget(victim);
        Some(victim)
    }

    fn insert(&mut self, newcomer: &Newcomer) {
        self.charges.set(newcomer.id, newcomer.charge);
        self.frequencies[newcomer.id] = 1;
        self.heap.set(newcomer.id, self.newcomer);
    }

    fn update(&mut self, id: EntryId, _old_charge: u32, charge: u32) {
        self.charges.set(id, charge);
        self.touch(id);
    }

    fn remove(&mut self, id: EntryId, _charge: u32) {
        self.forget(id);
    }

    fn resize(&mut self, ids: usize, _max_entries: usize) -> bool {
        // The walk goes through the ids of the frequencies, so these come first.
        self.frequencies.resize(ids) && self.charges.resize(ids) && self.heap.resize(ids)
    }

    fn rename(&mut self, from: EntryId, to: EntryId) {
        self.heap.rename(from, to);
        self.charges.rename(from, to);
        self.frequencies.rename(from, to);
    }

    fn bytes(&self) -> usize {
        self.heap.allocated() + self.charges.allocated() + self.frequencies.allocated()
    }

    fn validate(&self) {
        self.heap.validate();
    }

    fn snapshot_name(&self) -> &'static str {
        Self::NAME
    }

    fn begin_walk(&mut self) {
        let ids = self.frequencies.ids();
        let sampled = (0..SAMPLES).map(|sample| EntryId::new(to_u32(sample * ids / SAMPLES)));
        let mut priorities: Vec<_> = sampled.filter_map(|id| self.heap.get(id)).map(|(priority, _)| priority).collect();
        priorities.sort_unstable();
        let bounds = (1..PASSES).rev().filter_map(|pass| priorities.get(pass * priorities.len() / PASSES));
        self.walk = Walk { passed: 0, bounds: core::iter::once(u64::MAX).chain(bounds.copied()).collect(), from: 0 };
    }

    /// Shows the entries of a pass in the order of their ids. The rank is the priority above L.
    fn walk(&mut self, most: usize, show: &mut dyn FnMut(EntryId, Standing)) -> bool {
        let Some(&until) = self.walk.bounds.last() else { return true };
        let ids = self.walk.passed..self.frequencies.ids().min(self.walk.passed + most * IDS_PER_ENTRY);
        let mut shown = 0;
        for id in ids {
            self.walk.passed = id + 1;
            let id = EntryId::new(to_u32(id));
            let Some((priority, order)) = self.heap.get(id) else { continue };
            let is_next = priority >= self.walk.from && (priority < until || until == u64::MAX);
            if is_next {
                let standing = Standing::new().rank(priority.saturating_sub(self.age)).order(order);
                show(id, standing.uses(self.frequencies[id]));
                shown += 1;
            }
            if shown == most {
                break;
            }
        }
        if self.walk.passed >= self.frequencies.ids() {
            self.walk.bounds.pop();
            self.walk.from = until;
            self.walk.passed = 0;
        }
        self.walk.bounds.is_empty()
    }

    fn restore(&mut self, newcomer: &Newcomer, standing: Standing) {
        self.charges.set(newcomer.id, newcomer.charge);
        self.frequencies[newcomer.id] = standing.uses.max(1);
        let priority = self.age.saturating_add(standing.rank.min(MAX_RESTORED_RANK));
        self.heap.restore(newcomer.id, priority, standing.order);
    }
}

#[cfg(test)]
mod tests {
    use crate::policy::Policy;
    use crate::policy::tests::Outcome::{Evicts, Hit, Miss};
    use crate::policy::tests::follow_charged;

    #[test]
    fn gdsf_on_a_hand_worked_trace() {
        // Keys and priorities, in the order in which they leave, and L. Halves and quarters are not
        // rounded.
        follow_charged(
            Policy::Gdsf,
            8,
            &[
                (1, 4, Miss),               // 1: 1/4, 0
                (2, 2, Miss),               // 1: 1/4, 2: 1/2, 0
                (3, 2, Miss),               // 1: 1/4, 2: 1/2, 3: 1/2, 0
                (4, 1, Evicts(&[1])),       // 2: 1/2, 3: 1/2, 4: 1, 1/4: L was 0 when 4 was missed
                (2, 2, Hit),                // 3: 1/2, 4: 1, 2: 5/4, 1/4
                (5, 8, Evicts(&[5])),       // The same, 3/8: 5 would have had that.
                (5, 8, Evicts(&[3, 5])), // 4: 1, 2: 5/4, 1/2: 5 is the equal of 3, which is older, and below the others
                (6, 4, Miss),            // 6: 3/4, 4: 1, 2: 5/4, 1/2
                (7, 2, Evicts(&[6])),    // 4: 1, 7: 1, 2: 5/4, 3/4
                (8, 4, Evicts(&[4])),    // 7: 1, 8: 1, 2: 5/4, 1
                (9, 8, Evicts(&[7, 8, 9])), // 2: 5/4, 9/8
            ],
        );
    }
}
