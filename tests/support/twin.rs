//! [`Twin`]: two objects of one policy, of which only one follows renames.

use core::ops::Range;
use std::collections::{BTreeSet, HashMap};

use bytecache::policy::{EntryId, EvictionPolicy, Newcomer, PolicyContext, Recency, Residents};
use bytecache::testing::with_other_ids;

/// A policy that gets the ids of its caller with all renames, and another object of it whose ids
/// stay the same. Both get the same calls. Panics if they name different victims.
pub(crate) struct Twin {
    renamed: Box<dyn EvictionPolicy>,
    steady: Box<dyn EvictionPolicy>,
    /// The ids of the steady one, by those of the caller.
    steady_ids: HashMap<EntryId, EntryId>,
    /// And the other way round.
    ids: HashMap<EntryId, EntryId>,
    /// Ids of the steady one that are not in use.
    free: BTreeSet<EntryId>,
    bound: u32,
}

impl Twin {
    /// Makes both objects with `policy`.
    pub(crate) fn new(context: &PolicyContext, policy: impl Fn(&PolicyContext) -> Box<dyn EvictionPolicy>) -> Self {
        let bound = u32::try_from(context.ids()).unwrap();
        Self {
            renamed: policy(context),
            steady: policy(context),
            steady_ids: HashMap::new(),
            ids: HashMap::new(),
            free: (0..bound).map(EntryId::new).collect(),
            bound,
        }
    }

    fn steady_id(&self, id: EntryId) -> EntryId {
        self.steady_ids[&id]
    }

    /// Returns a newcomer under the id that the steady object knows it by.
    fn steady_newcomer(&self, newcomer: &Newcomer) -> Newcomer {
        let mut steady = *newcomer;
        steady.id = self.steady_id(newcomer.id);
        steady
    }

    fn forget(&mut self, id: EntryId) {
        let steady = self.steady_ids.remove(&id).unwrap();
        self.ids.remove(&steady);
        self.free.insert(steady);
    }

    /// Sets the bound of the steady object's ids. Those of residents that are beyond it are the
    /// only ones that ever change.
    fn set_bound(&mut self, bound: u32) {
        self.free.extend((self.bound..bound).map(EntryId::new));
        let _beyond = self.free.split_off(&EntryId::new(bound));
        if bound < self.bound {
            let beyond: Vec<_> = self.ids.keys().copied().filter(|id| id.get() >= bound).collect();
            while !beyond.is_empty() && !self.steady.prepare_renames(0..self.bound, 0..bound) {}
            for from in beyond {
                let to = self.free.pop_first().unwrap();
                self.steady.rename(from, to);
                let id = self.ids.remove(&from).unwrap();
                self.ids.insert(to, id);
                self.steady_ids.insert(id, to);
            }
            self.steady.end_renames();
        }
        self.bound = bound;
    }
}

impl EvictionPolicy for Twin {
    fn recency(&self) -> Recency {
        self.steady.recency()
    }
    fn prepare_insert(&mut self, newcomer: &Newcomer) {
        let steady = self.free.pop_last().unwrap();
        assert!(self.steady_ids.insert(newcomer.id, steady).is_none(), "a newcomer has the id of a resident");
        self.ids.insert(steady, newcomer.id);
        self.steady.prepare_insert(&self.steady_newcomer(newcomer));
        self.renamed.prepare_insert(newcomer);
    }
    fn prefetch_insert(&self, newcomer: &Newcomer) {
        self.steady.prefetch_insert(&self.steady_newcomer(newcomer));
        self.renamed.prefetch_insert(newcomer);
    }
    fn insert(&mut self, newcomer: &Newcomer) {
        self.steady.insert(&self.steady_newcomer(newcomer));
        self.renamed.insert(newcomer);
    }
    fn touch(&mut self, id: EntryId) {
        self.steady.touch(self.steady_id(id));
        self.renamed.touch(id);
    }
    fn wants_misses(&self) -> bool {
        self.steady.wants_misses()
    }
    fn missed(&mut self, hash: u64) {
        self.steady.missed(hash);
        self.renamed.missed(hash);
    }
    fn update(&mut self, id: EntryId, old_charge: u32, charge: u32) {
        self.steady.update(self.steady_id(id), old_charge, charge);
        self.renamed.update(id, old_charge, charge);
    }
    fn remove(&mut self, id: EntryId, charge: u32) {
        self.steady.remove(self.steady_id(id), charge);
        self.renamed.remove(id, charge);
        self.forget(id);
    }
    fn evict(&mut self, newcomer: Option<&Newcomer>, residents: &mut Residents<'_>) -> Option<EntryId> {
        let steady_newcomer = newcomer.map(|newcomer| self.steady_newcomer(newcomer));
        let (steady, ids) = (&mut self.steady, &self.ids);
        let id_of = |steady: EntryId| ids.get(&steady).copied().unwrap_or(EntryId::new(u32::MAX));
        // The steady one comes first: what it sets does not reach the residents.
        let expected =
            with_other_ids(residents, &id_of, |residents| steady.evict(steady_newcomer.as_ref(), residents)).map(id_of);
        let victim = self.renamed.evict(newcomer, residents);
        assert_eq!(victim, expected, "the victims differ");
        self.forget(victim?);
        victim
    }
    fn set_capacity(&mut self, charge: u64) {
        self.steady.set_capacity(charge);
        self.renamed.set_capacity(charge);
    }
    fn resize(&mut self, ids: usize, max_entries: usize) -> bool {
        let bound = u32::try_from(ids).unwrap();
        if bound < self.bound {
            self.set_bound(bound);
        }
        let are_done = [&mut self.steady, &mut self.renamed].map(|policy| policy.resize(ids, max_entries));
        if are_done != [true; 2] {
            return false;
        }
        self.set_bound(bound);
        true
    }
    fn prepare_renames(&mut self, from: Range<u32>, to: Range<u32>) -> bool {
        self.renamed.prepare_renames(from, to)
    }
    fn rename(&mut self, from: EntryId, to: EntryId) {
        self.renamed.rename(from, to);
        let steady = self.steady_ids.remove(&from).unwrap();
        assert!(self.steady_ids.insert(to, steady).is_none(), "{to:?} is a resident");
        self.ids.insert(steady, to);
    }
    fn end_renames(&mut self) {
        self.renamed.end_renames();
    }
    fn bytes(&self) -> usize {
        self.renamed.bytes()
    }
    fn validate(&self) {
        self.steady.validate();
        self.renamed.validate();
    }
}
