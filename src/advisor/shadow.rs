//! A shadow: a policy at some size, run over the sampled keys.
//!
//! It calls its policy as a shard does, through an [`Arrival`]. It stores no bytes, and what it
//! knows of keys lies in [`Keys`], which all shadows share.

use super::keys::{Held, Keys, ShadowSet};
use crate::policy::{
    Arrival, Choice, EntryId, EvictionPolicy, MAX_UNKNOWN, Newcomer, PolicyContext, PolicyFactory, Recency, Residents,
    is_miss_reported, spread,
};

/// The most entries that one call evicts. A shadow whose capacity has become smaller gets there in
/// several calls, so each of them is bounded.
pub(super) const MAX_EVICTIONS: usize = 32;

/// One policy at one size.
pub(super) struct Shadow {
    policy: Box<dyn EvictionPolicy>,
    arrival: Arrival,
    /// The bit of this shadow.
    pub(super) bit: ShadowSet,
    is_ordered: bool,
    wants_misses: bool,
    capacity: u64,
    charge: u64,
    len: usize,
}

impl Shadow {
    /// Creates the shadow of the bit `bit`, for `ids` keys.
    pub(super) fn new(factory: &PolicyFactory, bit: ShadowSet, ids: usize, capacity: u64) -> Self {
        let mut policy = factory(PolicyContext::for_entries(ids, ids, capacity));
        policy.set_capacity(capacity);
        Self {
            is_ordered: policy.recency() == Recency::Ordered,
            wants_misses: policy.wants_misses(),
            policy,
            arrival: Arrival::new(),
            bit,
            capacity,
            charge: 0,
            len: 0,
        }
    }

    /// Returns the bytes of the policy and of all that it has allocated.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.policy) + self.policy.bytes()
    }

    /// Returns `true` if the policy is to be told of reads, instead of looking at visits.
    pub(super) fn is_ordered(&self) -> bool {
        self.is_ordered
    }

    /// Returns the number of entries.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Returns the sum of charges that entries may have.
    pub(super) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Sets the sum of charges that entries may have.
    pub(super) fn set_capacity(&mut self, capacity: u64) {
        if capacity != self.capacity {
            self.capacity = capacity;
            self.policy.set_capacity(capacity);
        }
    }

    /// Tells the policy of a read of an entry.
    pub(super) fn touch(&mut self, id: EntryId) {
        self.arrival.settle(&mut *self.policy);
        self.policy.touch(id);
    }

    /// Tells the policy of a read that found nothing, if it wants to know.
    pub(super) fn missed(&mut self, hash: u64) {
        if self.wants_misses && is_miss_reported(spread(hash)) {
            self.arrival.settle(&mut *self.policy);
            self.policy.missed(spread(hash));
        }
    }

    /// Adds a key, whose charge is known, and evicts others for it. Keys that left are appended to
    /// `left`. A key that does not fit changes nothing.
    pub(super) fn insert(&mut self, keys: &Keys, id: EntryId, left: &mut Vec<EntryId>) {
        let slot = keys.get(id);
        let charge = slot.charge.get();
        if u64::from(charge) > self.capacity {
            return;
        }
        keys.enter(id, self.bit);
        self.arrival.begin(&mut *self.policy, Newcomer { id, hash: spread(slot.hash), charge });
        if self.make_room(keys, charge, left) {
            self.charge += u64::from(charge);
            self.len += 1;
            self.arrival.end();
        }
    }

    /// Tells the policy that an entry has another value. The charge is the former one, and `keys`
    /// has the present one.
    pub(super) fn update(&mut self, keys: &Keys, id: EntryId, former: u32, left: &mut Vec<EntryId>) {
        let charge = keys.get(id).charge.get();
        self.arrival.settle(&mut *self.policy);
        self.policy.update(id, former, charge);
        self.charge = self.charge + u64::from(charge) - u64::from(former);
        self.make_room(keys, 0, left);
    }

    /// Removes an entry.
    pub(super) fn remove(&mut self, keys: &Keys, id: EntryId) {
        let charge = keys.get(id).charge.get();
        self.arrival.remove(&mut *self.policy, id, charge);
        self.charge -= u64::from(charge);
        self.len -= 1;
        keys.leave(id, self.bit);
    }

    /// Evicts until `charge` more fits. Returns `false` if the newcomer was refused.
    fn make_room(&mut self, keys: &Keys, charge: u32, left: &mut Vec<EntryId>) -> bool {
        for _ in 0..MAX_EVICTIONS {
            if self.charge + u64::from(charge) <= self.capacity {
                break;
            }
            match self.choose(keys) {
                Some(Choice::Newcomer(refused)) => {
                    keys.leave(refused, self.bit);
                    left.push(refused);
                    return false;
                }
                Some(Choice::Resident(victim)) => {
                    self.charge -= u64::from(keys.get(victim).charge.get());
                    self.len -= 1;
                    keys.leave(victim, self.bit);
                    left.push(victim);
                }
                // A custom policy that names none. What is too much stays until it names some.
                None => break,
            }
        }
        true
    }

    /// Returns the choice of the policy, or `None` if it names no entry.
    fn choose(&mut self, keys: &Keys) -> Option<Choice> {
        let held = Held { keys, shadow: self.bit };
        for _ in 0..MAX_UNKNOWN {
            match self.arrival.evict(&mut *self.policy, &mut Residents::new(&held))? {
                Choice::Resident(victim) if held.slot(victim).is_none() => {}
                choice => return Some(choice),
            }
        }
        None
    }

    /// Recounts the charges, and panics where they differ. For tests.
    #[cfg(all(test, not(bytecache_loom)))]
    pub(super) fn validate(&self, keys: &Keys) {
        self.policy.validate();
        let ids = (0..keys.capacity()).filter_map(|slot| keys.in_slot(slot));
        let held = ids.filter(|&id| keys.get(id).resident.get() & self.bit != 0);
        assert_eq!(held.map(|id| u64::from(keys.get(id).charge.get())).sum::<u64>(), self.charge);
    }
}
