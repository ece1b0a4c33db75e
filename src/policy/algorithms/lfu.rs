//! LFU, least frequently used, in constant time: Shah, Mitra and Matani, "An O(1) algorithm for
//! implementing the LFU cache eviction scheme", 2010. Two remedies against entries that were
//! popular long ago: halving, as in TinyLFU (Einziger et al. 2017), and LFU with dynamic ageing
//! (Arlitt, Cherkasova, Dilley, Friedrich and Jin, "Evaluating content management techniques for
//! web proxy caches", 2000).
//!
//! ```text
//!   steps    [ 1: e - f - g ] - [ 2: c - d ] - [ 7: b ] - [ 9: a ]      a list for each rank
//!              oldest newest
//! ```
//!
//! Every entry stands on the step of its rank: how often it was used while resident, once for
//! coming in and once for each hit. The oldest entry of the lowest step is evicted: of equals the
//! one that has stood there longest. A hit moves an entry one step up.
//!
//! * With [`Ageing::Halving`] (the default) all ranks are halved once in [`HALVING_PERIOD`]
//!   accesses for each entry. Steps 2k and 2k + 1 become one, the entries of the lower step before
//!   those of the higher.
//! * With [`Ageing::Dynamic`] the rank is the count plus `L`, the rank of the last victim. New
//!   entries overtake those that are not used for long.
//! * With [`Ageing::None`] counts only grow, and an entry that was popular once never leaves. For
//!   comparisons.
//!
//! When two steps become one, the entries of the merged step are not written to. Its number stays
//! as an alias until the last entry that has it was looked up.
//!
//! ```text
//!   a halving under way    [ 0 ] - [ 1 ] - [ 2 ]  |  [ 6 ] - [ 7 ] - [ 11 ]
//!                          halved                 6  read as 3, 3 and 5
//! ```
//!
//! A halving goes through the steps from the lowest to the highest, a few with each access. Ranks
//! from its border on are kept as they were, and read as if they were halved. An entry that comes
//! to such a rank stands on the odd one of its two steps, as the newest of both. So at any moment
//! the entries are in the order that a halving at once would give.
//!
//! Costs 16 bytes for each id, 20 with dynamic ageing. O(1) amortised, but with dynamic ageing a
//! hit may pass several steps. It is the best choice where popularity is stable, and the wrong one
//! where it changes fast, and for scans.

use crate::growable::{Growable, Zero};
use crate::policy::built_in::{BuiltIn, Parameters};
use crate::policy::parameter::{OutOfRange, Parameter};
use crate::policy::standing::{StateReader, StateWriter};
use crate::policy::structures::{IdWords, Links, List};
use crate::policy::{EntryId, EvictionPolicy, Newcomer, PolicyContext, Recency, Residents, Standing};
use crate::units::to_u32;

/// No step.
const NONE: u32 = u32::MAX;
/// Accesses between two halvings, for each resident entry.
const HALVING_PERIOD: usize = 10;
/// Ranks after a halving whose steps an access halves, while a halving is under way. It ends within
/// an eightieth of the period, as there are fewer steps than entries.
const HALVED_AT_ONCE: usize = 4;
/// Steps that are allocated at first, at least. More are allocated if ranks differ more than usual.
const MIN_STEPS: usize = 64;
/// The number of ids for which one more step is allocated at first.
const IDS_PER_STEP: usize = 8;
/// The highest rank that a snapshot restores. Ranks above it would not be far from overflowing.
const MAX_RESTORED_RANK: u64 = u32::MAX as u64;

/// The remedy of [`Policy::Lfu`](crate::Policy::Lfu) against entries that were popular long ago.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ageing {
    /// No remedy: counts only grow.
    None,
    /// All counts are halved after ten times as many accesses as there are entries.
    #[default]
    Halving,
    /// LFU-DA: an entry's count starts where the last victim's ended.
    Dynamic,
}

impl Ageing {
    const ALL: [Self; 3] = [Self::None, Self::Halving, Self::Dynamic];

    const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Halving => "halving",
            Self::Dynamic => "dynamic",
        }
    }
}

/// Parameters of [`Policy::Lfu`](crate::Policy::Lfu).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LfuConfig {
    ageing: Ageing,
}

impl LfuConfig {
    /// Its words are the names of [`Ageing::ALL`].
    const AGEING: Parameter =
        Parameter::word(Lfu::NAME, "ageing", &[Ageing::ALL[0].name(), Ageing::ALL[1].name(), Ageing::ALL[2].name()]);

    /// Returns the default parameters: counts are halved.
    ///
    /// ```
    /// use bytecache::Policy;
    /// use bytecache::policy::LfuConfig;
    ///
    /// assert_eq!(Policy::from(LfuConfig::new()), Policy::Lfu);
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how counts age.
    ///
    /// ```
    /// use bytecache::Policy;
    /// use bytecache::policy::{Ageing, LfuConfig};
    ///
    /// let policy = Policy::from(LfuConfig::new().ageing(Ageing::Dynamic));
    /// assert_eq!(policy.to_string(), "lfu(ageing=dynamic)");
    /// ```
    #[must_use]
    pub fn ageing(mut self, ageing: Ageing) -> Self {
        self.ageing = ageing;
        self
    }
}

impl Parameters for LfuConfig {
    fn values(self) -> Vec<(Parameter, String)> {
        vec![(Self::AGEING, self.ageing.name().to_owned())]
    }

    fn with(self, parameter: &Parameter, value: &str) -> Result<Self, OutOfRange> {
        Ok(self.ageing(Ageing::ALL[parameter.parse_word(value)?]))
    }
}

#[derive(Debug)]
pub(crate) struct Lfu {
    ageing: Ageing,
    links: Links,
    ladder: Ladder,
    /// The step of each id, or the alias of one.
    step_of: IdWords,
    /// The number of uses of each id. Only with dynamic ageing, where the rank does not tell it.
    counts: Option<IdWords>,
    /// The rank of the last victim. Only with dynamic ageing.
    age: u64,
    entries: usize,
    accesses: usize,
    /// The rank of the entry that the walk of a snapshot has shown last.
    walked_rank: Option<u64>,
    /// The step of the entry that was restored last, or `NONE`. It may be another one by now.
    restored_step: u32,
}

impl Lfu {
    /// Counts an access, which may halve all ranks.
    fn count_access(&mut self) {
        self.accesses += 1;
        if self.ageing == Ageing::Halving && self.accesses >= HALVING_PERIOD * self.entries {
            self.accesses = 0;
            self.ladder.begin_halving(&mut self.links);
        }
        self.ladder.halve_some(&mut self.links, HALVED_AT_ONCE);
    }

    /// Counts a use of an id, and returns the rank that follows `rank`. Both are as the ladder
    /// keeps them.
    fn rank_after(&mut self, id: EntryId, rank: u64) -> u64 {
        match &mut self.counts {
            Some(counts) => {
                counts[id] = counts[id].saturating_add(1);
                self.age + u64::from(counts[id])
            }
            None => self.ladder.kept(self.ladder.rank_of(rank) + 1),
        }
    }

    /// Puts an id that is in no list on the step of a rank. That is above the step `below`, or
    /// anywhere if `below` is `NONE`.
    fn put(&mut self, id: EntryId, rank: u64, below: u32) {
        let step = self.ladder.step_of_rank(rank, below);
        self.ladder.steps[step as usize].list.push_newest(&mut self.links, id);
        self.ladder.steps[step as usize].known_to += 1;
        self.step_of[id] = step;
    }

    fn forget(&mut self, id: EntryId) {
        let step = self.step(id);
        self.ladder.steps[step as usize].list.remove(&mut self.links, id);
        self.ladder.release(step);
        self.entries -= 1;
    }

    /// Returns the step that an id stands on.
    fn step(&mut self, id: EntryId) -> u32 {
        let known = self.step_of[id];
        let step = self.ladder.resolve(known);
        if step != known {
            self.step_of[id] = step;
            self.ladder.steps[step as usize].known_to += 1;
            self.ladder.release(known);
        }
        step
    }
}

impl BuiltIn for Lfu {
    const NAME: &'static str = "lfu";
    type Config = LfuConfig;

    fn new(config: LfuConfig, context: &PolicyContext) -> Self {
        Self {
            ageing: config.ageing,
            links: Links::new(context.ids()),
            ladder: Ladder::new(context.ids()),
            step_of: IdWords::new(context.ids()),
            counts: (config.ageing == Ageing::Dynamic).then(|| IdWords::new(context.ids())),
            age: 0,
            entries: 0,
            accesses: 0,
            walked_rank: None,
            restored_step: NONE,
        }
    }
}

impl EvictionPolicy for Lfu {
    fn recency(&self) -> Recency {
        Recency::Ordered
    }

    fn touch(&mut self, id: EntryId) {
        let step = self.step(id);
        let rank = self.rank_after(id, self.ladder.steps[step as usize].rank);
        self.ladder.steps[step as usize].list.remove(&mut self.links, id);
        self.put(id, rank, step);
        self.ladder.release(step);
        self.count_access();
    }

    fn evict(&mut self, _newcomer: Option<&Newcomer>, _residents: &mut Residents<'_>) -> Option<EntryId> {
        let lowest = *self.ladder.steps.get(self.ladder.lowest as usize)?;
        let victim = lowest.list.oldest()?;
        if self.ageing == Ageing::Dynamic {
            self.age = lowest.rank;
        }
        self.forget(victim);
        Some(victim)
    }

    fn insert(&mut self, newcomer: &Newcomer) {
        self.entries += 1;
        if let Some(counts) = &mut self.counts {
            counts[newcomer.id] = 0;
        }
        let rank = self.rank_after(newcomer.id, 0);
        self.put(newcomer.id, rank, NONE);
        self.count_access();
    }

    fn remove(&mut self, id: EntryId, _charge: u32) {
        self.forget(id);
    }

    fn resize(&mut self, ids: usize, _max_entries: usize) -> bool {
        let are_counts_done = self.counts.as_mut().is_none_or(|counts| counts.resize(ids));
        are_counts_done && self.step_of.resize(ids) && self.ladder.reserve(ids) && self.links.resize(ids)
    }

    fn rename(&mut self, from: EntryId, to: EntryId) {
        let step = self.step(from);
        self.ladder.steps[step as usize].list.rename(&mut self.links, from, to);
        self.step_of.rename(from, to);
        if let Some(counts) = &mut self.counts {
            counts.rename(from, to);
        }
    }

    fn bytes(&self) -> usize {
        self.links.allocated()
            + self.step_of.allocated()
            + self.counts.as_ref().map_or(0, IdWords::allocated)
            + self.ladder.steps.allocated()
    }

    fn validate(&self) {
        let mut entries = 0;
        let mut last_rank = None;
        for step in self.ladder.ascending() {
            let Step { rank, list, .. } = &self.ladder.steps[step as usize];
            assert!(last_rank < Some(*rank), "steps ascend");
            assert!(list.validate(&self.links) > 0, "a step without entries is gone");
            last_rank = Some(*rank);
            for id in list.ids(&self.links) {
                assert_eq!(self.ladder.resolve(self.step_of[id]), step);
                entries += 1;
            }
        }
        assert_eq!(entries, self.entries);
    }

    fn snapshot_name(&self) -> &'static str {
        Self::NAME
    }

    fn begin_walk(&mut self) {
        self.links.set_cursor(None);
        self.walked_rank = None;
    }

    /// The rank is the count, or the rank above L.
    fn walk(&mut self, most: usize, show: &mut dyn FnMut(EntryId, Standing)) -> bool {
        for _ in 0..most {
            // At the end of a step, or where its last entry has left it: the next higher one.
            let next = self.links.cursor().or_else(|| {
                let steps = &self.ladder.steps;
                let higher = |&step: &u32| self.walked_rank.is_none_or(|walked| steps[step as usize].rank > walked);
                steps[self.ladder.ascending().find(higher)? as usize].list.oldest()
            });
            let Some(id) = next else { return true };
            let step = self.step(id);
            let Step { rank, above, .. } = self.ladder.steps[step as usize];
            let uses = self.counts.as_ref().map_or(0, |counts| counts[id]);
            show(id, Standing::new().rank(self.ladder.rank_of(rank).saturating_sub(self.age)).uses(uses));
            self.walked_rank = Some(rank);
            self.links.set_cursor(Some(id));
            self.links.advance();
            if self.links.cursor().is_none() && above != NONE {
                self.links.set_cursor(self.ladder.steps[above as usize].list.oldest());
            }
        }
        false
    }

    fn restore(&mut self, newcomer: &Newcomer, standing: Standing) {
        self.entries += 1;
        if let Some(counts) = &mut self.counts {
            counts[newcomer.id] = standing.uses.max(1);
        }
        let rank = self.ladder.kept(self.age.saturating_add(standing.rank.clamp(1, MAX_RESTORED_RANK)));
        // Entries come in ascending order, so mostly the step of the one before is near.
        let from = self.restored_step;
        let is_below = from != NONE && self.ladder.is_in_use(from) && self.ladder.steps[from as usize].rank <= rank;
        self.put(newcomer.id, rank, if is_below { from } else { NONE });
        self.restored_step = self.step_of[newcomer.id];
    }

    /// Appends the accesses since the last halving.
    fn save_state(&self, state: &mut Vec<u8>) {
        StateWriter(state).number(self.accesses as f64);
    }

    fn restore_state(&mut self, state: &[u8]) {
        if let Some(accesses) = StateReader(state).number_in(0.0..=1e12) {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number within bounds")]
            {
                self.accesses = accesses as usize;
            }
        }
    }
}

/// The steps, in ascending order of their ranks.
#[derive(Debug)]
struct Ladder {
    steps: Growable<Step>,
    /// The steps from this one on were never used.
    fresh: usize,
    lowest: u32,
    /// The first step that is not in use. These steps are linked by `above`.
    free: u32,
    halving: Option<Halving>,
}

/// A halving under way.
#[derive(Clone, Copy, Debug)]
struct Halving {
    /// The lowest step that has not been halved, or `NONE`.
    next: u32,
    /// Ranks from this one on have not been halved. It is even.
    border: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Step {
    /// As the ladder keeps it: see [`Ladder::rank_of`].
    rank: u64,
    /// Empty in an alias.
    list: List,
    /// The step into which this one was merged, if it is an alias.
    merged_into: u32,
    below: u32,
    above: u32,
    /// Number of entries and aliases that name this step. At 0 it is not in use.
    known_to: u32,
}

// SAFETY: it consists of integers.
#[allow(unsafe_code, reason = "elements of a `Growable`")]
unsafe impl Zero for Step {}

impl Ladder {
    fn new(ids: usize) -> Self {
        let mut ladder = Self { steps: Growable::new(0), fresh: 0, lowest: NONE, free: NONE, halving: None };
        ladder.reserve(ids);
        ladder
    }

    /// Allocates as many steps as are usual for `ids` ids, so that a hit does not have to. Entries
    /// share most steps. Those in use are kept.
    fn reserve(&mut self, ids: usize) -> bool {
        let usual = MIN_STEPS + ids / IDS_PER_STEP;
        self.steps.resize(usual.max(self.fresh))
    }

    /// Returns the steps from the lowest to the highest.
    fn ascending(&self) -> impl Iterator<Item = u32> + '_ {
        let in_use = |step: u32| (step != NONE).then_some(step);
        core::iter::successors(in_use(self.lowest), move |&step| in_use(self.steps[step as usize].above))
    }

    /// Returns `true` if entries name the step itself.
    fn is_in_use(&self, step: u32) -> bool {
        self.steps.get(step as usize).is_some_and(|step| step.known_to > 0 && step.merged_into == NONE)
    }

    /// Returns the rank that a rank stands for which is kept like this.
    fn rank_of(&self, kept: u64) -> u64 {
        match self.halving {
            Some(Halving { border, .. }) if kept >= border => kept / 2,
            _ => kept,
        }
    }

    /// Returns how a rank is kept to which an entry comes.
    fn kept(&self, rank: u64) -> u64 {
        match self.halving {
            Some(Halving { border, .. }) if rank >= border / 2 => 2 * rank + 1,
            _ => rank,
        }
    }

    /// Returns the step that an alias stands for.
    ///
    /// Follows fewer aliases than a rank has bits, as each of them was merged at half of the rank
    /// of the one before.
    fn resolve(&self, mut step: u32) -> u32 {
        while self.steps[step as usize].merged_into != NONE {
            step = self.steps[step as usize].merged_into;
        }
        step
    }

    /// Returns the step of a rank, searching from the step `from` upwards. Creates it if there is
    /// none. The search passes few steps, as a use raises a rank by one. With dynamic ageing, it
    /// may pass one for each entry.
    fn step_of_rank(&mut self, rank: u64, from: u32) -> u32 {
        let (mut below, mut above) = match from {
            NONE => (NONE, self.lowest),
            from => (from, self.steps[from as usize].above),
        };
        while above != NONE && self.steps[above as usize].rank <= rank {
            (below, above) = (above, self.steps[above as usize].above);
        }
        if below != NONE && self.steps[below as usize].rank == rank {
            return below;
        }
        let step = self.take_free(Step { rank, list: List::new(), merged_into: NONE, below, above, known_to: 0 });
        self.link(below, step);
        self.link(step, above);
        if let Some(halving) = &mut self.halving {
            if above == halving.next && rank >= halving.border {
                halving.next = step;
            }
        }
        step
    }

    /// Makes two steps neighbours. `NONE` is beyond either end.
    fn link(&mut self, below: u32, above: u32) {
        match below {
            NONE => self.lowest = above,
            below => self.steps[below as usize].above = above,
        }
        if above != NONE {
            self.steps[above as usize].below = below;
        }
    }

    fn unlink(&mut self, step: u32) {
        let Step { below, above, .. } = self.steps[step as usize];
        self.link(below, above);
        if let Some(halving) = self.halving.as_mut().filter(|halving| halving.next == step) {
            halving.next = above;
        }
    }

    fn take_free(&mut self, step: Step) -> u32 {
        if self.free == NONE {
            if self.fresh == self.steps.len() {
                let _is_done = self.steps.resize(self.fresh + self.fresh / 4 + 1);
            }
            self.steps[self.fresh] = step;
            self.fresh += 1;
            return to_u32(self.fresh - 1);
        }
        let free = self.free;
        let old = core::mem::replace(&mut self.steps[free as usize], step);
        self.free = old.above;
        free
    }

    /// Notes that an entry or an alias no longer names a step. A step without any becomes free.
    fn release(&mut self, step: u32) {
        let mut next = step;
        while next != NONE {
            let step = core::mem::replace(&mut next, NONE);
            self.steps[step as usize].known_to -= 1;
            if self.steps[step as usize].known_to > 0 {
                return;
            }
            match self.steps[step as usize].merged_into {
                NONE => self.unlink(step),
                merged_into => next = merged_into,
            }
            self.steps[step as usize].above = self.free;
            self.free = step;
        }
    }

    /// Begins to halve all ranks. If a halving is under way, it ends before. Few steps are left
    /// then: a period has passed, so most entries have left since it began.
    fn begin_halving(&mut self, links: &mut Links) {
        self.halve_some(links, usize::MAX);
        self.halving = Some(Halving { next: self.lowest, border: 0 });
    }

    /// Halves the steps of the next `most` ranks of a halving under way. Steps that come to the
    /// same rank become one.
    #[inline]
    fn halve_some(&mut self, links: &mut Links, most: usize) {
        for _ in 0..most {
            let Some(halving) = self.halving else { return };
            self.halve_next(links, halving);
        }
    }

    /// Halves the one or two steps that come to the next rank.
    fn halve_next(&mut self, links: &mut Links, halving: Halving) {
        let mut step = halving.next;
        let Some(Step { rank, .. }) = self.steps.get(step as usize) else {
            self.halving = None;
            return;
        };
        let rank = rank / 2;
        // Ends: two steps at most have this rank.
        while step != NONE && self.steps[step as usize].rank / 2 == rank {
            let above = self.steps[step as usize].above;
            self.halve_step(links, step, rank);
            step = above;
        }
        self.halving = Some(Halving { next: step, border: 2 * rank + 2 });
    }

    fn halve_step(&mut self, links: &mut Links, step: u32, rank: u64) {
        let below = self.steps[step as usize].below;
        self.steps[step as usize].rank = rank;
        if below != NONE && self.steps[below as usize].rank == rank {
            let mut list = core::mem::replace(&mut self.steps[step as usize].list, List::new());
            self.steps[below as usize].list.append(links, &mut list);
            self.steps[below as usize].known_to += 1;
            self.unlink(step);
            self.steps[step as usize].merged_into = below;
        }
    }
}

#[cfg(test)]
mod tests;
