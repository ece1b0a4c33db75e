//! The newcomer between the search for its room and its place in the policy.
//!
//! A shard and the simulator call a policy through an [`Arrival`], so both call in the same order.
//! The newcomer gets its place late: when the next access begins. By then the memory that this
//! touches has been prefetched, and the memory of the next access is on its way.
//!
//! ```text
//!   begin(x)      insert(w), the newcomer before x, if it waits; then prepare_insert(x)
//!   evict() ...   evict(Some(x)) until there is room
//!   end()         x is stored, and waits
//!   settle()      insert(x)
//! ```
//!
//! # Invariants
//!
//! 1. Each `prepare_insert(x)` is followed by one `insert(x)`, unless the policy evicts `x` first.
//! 2. `evict` gets the newcomer until it has its place.

use core::cell::Cell;

use super::{EntryId, EvictionPolicy, Newcomer, Residents};

/// The entry that came last, while it is being stored or waits for its place.
///
/// The flags are cells, because a policy may ask for the newcomer's charge while it evicts, which
/// borrows the arrival.
#[derive(Debug)]
pub(crate) struct Arrival {
    newcomer: Newcomer,
    /// Room is being made for the newcomer.
    is_being_stored: Cell<bool>,
    /// The policy has not inserted the newcomer.
    is_waiting: Cell<bool>,
}

impl Arrival {
    pub(crate) fn new() -> Self {
        let newcomer = Newcomer { id: EntryId::new(0), hash: 0, charge: 0 };
        Self { newcomer, is_being_stored: Cell::new(false), is_waiting: Cell::new(false) }
    }

    /// Announces a key that comes in. The newcomer before it gets its place.
    #[inline]
    pub(crate) fn begin(&mut self, policy: &mut dyn EvictionPolicy, newcomer: Newcomer) {
        self.settle(policy);
        self.newcomer = newcomer;
        self.is_being_stored.set(true);
        self.is_waiting.set(true);
        policy.prepare_insert(&self.newcomer);
    }

    /// Gives the newcomer its place, if it waits for that.
    #[inline]
    pub(crate) fn settle(&self, policy: &mut dyn EvictionPolicy) {
        if self.is_waiting.get() {
            self.is_waiting.set(false);
            policy.insert(&self.newcomer);
        }
    }

    /// Prefetches what [`settle`](Self::settle) will touch.
    #[inline]
    pub(crate) fn prefetch(&self, policy: &dyn EvictionPolicy) {
        if let Some(newcomer) = self.waiting() {
            policy.prefetch_insert(newcomer);
        }
    }

    /// Asks the policy for a victim. The newcomer, too, may be one.
    #[inline]
    pub(crate) fn evict(&self, policy: &mut dyn EvictionPolicy, residents: &mut Residents<'_>) -> Option<Choice> {
        let victim = match policy.evict(self.waiting(), residents) {
            Some(victim) => victim,
            None => self.evict_last(policy, residents)?,
        };
        if victim == self.newcomer.id {
            self.is_waiting.set(false);
            if self.is_being_stored.replace(false) {
                return Some(Choice::Newcomer(victim));
            }
        }
        Some(Choice::Resident(victim))
    }

    /// Asks for a victim when nothing but the newcomer is left: it leaves like any other entry.
    #[cold]
    fn evict_last(&self, policy: &mut dyn EvictionPolicy, residents: &mut Residents<'_>) -> Option<EntryId> {
        self.waiting()?;
        self.settle(policy);
        policy.evict(None, residents)
    }

    /// Removes an entry from the policy. The newcomer gets its place before that, so that it leaves
    /// no more behind than others.
    #[inline]
    pub(crate) fn remove(&self, policy: &mut dyn EvictionPolicy, id: EntryId, charge: u32) {
        if id == self.newcomer.id {
            self.settle(policy);
        }
        policy.remove(id, charge);
    }

    /// Ends the store of the newcomer. Returns `true` if the policy has not evicted it meanwhile.
    #[inline]
    pub(crate) fn end(&self) -> bool {
        self.is_being_stored.replace(false)
    }

    /// Takes back the store of the newcomer. Returns `true` if the policy has not evicted it
    /// meanwhile.
    pub(crate) fn cancel(&self, policy: &mut dyn EvictionPolicy) -> bool {
        let was_being_stored = self.is_being_stored.replace(false);
        if was_being_stored {
            self.remove(policy, self.newcomer.id, self.newcomer.charge);
        }
        was_being_stored
    }

    /// Returns the newcomer while room is made for it, or `None` if no entry is being stored.
    #[inline]
    pub(crate) fn being_stored(&self) -> Option<&Newcomer> {
        self.is_being_stored.get().then_some(&self.newcomer)
    }

    /// Returns the newcomer that has no place yet.
    #[inline]
    fn waiting(&self) -> Option<&Newcomer> {
        self.is_waiting.get().then_some(&self.newcomer)
    }
}

/// The entry that a policy has chosen to evict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// An entry that the policy takes for a resident.
    Resident(EntryId),
    /// The entry that is being stored.
    Newcomer(EntryId),
}

#[cfg(test)]
mod tests {
    use super::super::ResidentSource;
    use super::*;

    /// Notes its calls, and evicts what it is told to.
    #[derive(Default)]
    struct Recorder {
        calls: Vec<String>,
        victims: Vec<Option<u32>>,
    }

    impl EvictionPolicy for Recorder {
        fn prepare_insert(&mut self, newcomer: &Newcomer) {
            self.calls.push(format!("prepare {}", newcomer.id.get()));
        }
        fn insert(&mut self, newcomer: &Newcomer) {
            self.calls.push(format!("insert {}", newcomer.id.get()));
        }
        fn remove(&mut self, id: EntryId, _charge: u32) {
            self.calls.push(format!("remove {}", id.get()));
        }
        fn evict(&mut self, newcomer: Option<&Newcomer>, _residents: &mut Residents<'_>) -> Option<EntryId> {
            self.calls.push(format!("evict {:?}", newcomer.map(|newcomer| newcomer.id.get())));
            self.victims.pop().flatten().map(EntryId::new)
        }
        fn resize(&mut self, _ids: usize, _max_entries: usize) -> bool {
            true
        }
        fn rename(&mut self, _from: EntryId, _to: EntryId) {}
        fn bytes(&self) -> usize {
            0
        }
    }

    struct NoResidents;

    impl ResidentSource for NoResidents {
        fn visits(&self, _id: EntryId) -> u8 {
            0
        }
        fn set_visits(&self, _id: EntryId, _visits: u8) {}
        fn hash(&self, _id: EntryId) -> u64 {
            0
        }
        fn charge(&self, _id: EntryId) -> u32 {
            0
        }
        fn expect(&self, _id: EntryId) {}
    }

    fn newcomer(id: u32) -> Newcomer {
        Newcomer { id: EntryId::new(id), hash: 0, charge: 8 }
    }

    fn evict(arrival: &Arrival, policy: &mut Recorder, victims: &[Option<u32>]) -> Option<Choice> {
        policy.victims = victims.iter().rev().copied().collect();
        arrival.evict(policy, &mut Residents::new(&NoResidents))
    }

    #[test]
    fn a_newcomer_gets_its_place_when_the_next_access_begins() {
        let (mut arrival, mut policy) = (Arrival::new(), Recorder::default());
        arrival.begin(&mut policy, newcomer(1));
        assert!(arrival.end() && arrival.being_stored().is_none());
        arrival.begin(&mut policy, newcomer(2));
        assert_eq!(evict(&arrival, &mut policy, &[Some(1)]), Some(Choice::Resident(EntryId::new(1))));
        assert!(arrival.end());
        arrival.remove(&mut policy, EntryId::new(3), 8);
        arrival.settle(&mut policy);
        arrival.settle(&mut policy);
        let calls = ["prepare 1", "insert 1", "prepare 2", "evict Some(2)", "remove 3", "insert 2"];
        assert_eq!(policy.calls, calls);
    }

    #[test]
    fn a_refused_newcomer_gets_no_place() {
        let (mut arrival, mut policy) = (Arrival::new(), Recorder::default());
        arrival.begin(&mut policy, newcomer(1));
        assert_eq!(evict(&arrival, &mut policy, &[Some(1)]), Some(Choice::Newcomer(EntryId::new(1))));
        assert!(!arrival.end() && !arrival.cancel(&mut policy));
        arrival.begin(&mut policy, newcomer(2));
        assert!(arrival.end());
        // It is resident, and leaves like any other entry.
        assert_eq!(evict(&arrival, &mut policy, &[Some(2)]), Some(Choice::Resident(EntryId::new(2))));
        arrival.settle(&mut policy);
        assert_eq!(policy.calls, ["prepare 1", "evict Some(1)", "prepare 2", "evict Some(2)"]);
    }

    #[test]
    fn a_newcomer_that_is_the_only_entry_gets_its_place_and_may_be_evicted() {
        let (mut arrival, mut policy) = (Arrival::new(), Recorder::default());
        arrival.begin(&mut policy, newcomer(1));
        assert_eq!(evict(&arrival, &mut policy, &[None, Some(1)]), Some(Choice::Newcomer(EntryId::new(1))));
        assert_eq!(policy.calls, ["prepare 1", "evict Some(1)", "insert 1", "evict None"]);
    }

    #[test]
    fn an_insert_that_is_taken_back_is_inserted_and_removed() {
        let (mut arrival, mut policy) = (Arrival::new(), Recorder::default());
        arrival.begin(&mut policy, newcomer(1));
        assert!(arrival.cancel(&mut policy) && !arrival.end());
        arrival.settle(&mut policy);
        assert_eq!(policy.calls, ["prepare 1", "insert 1", "remove 1"]);
    }
}
