//! A simulator: the hits and misses of a policy, without a cache.
//!
//! The simulator calls a policy as a shard does, through an [`Arrival`]. It keeps what only a shard
//! knows: charges, visits and hashes. It stores no bytes.

use std::collections::HashMap;

use slots::{Slot, Slots};

pub use self::requests::{Request, Simulation, Unit};
use super::{
    Arrival, Choice, EntryId, EvictionPolicy, Newcomer, Policy, PolicyContext, Recency, Residents, is_miss_reported,
};
use crate::units::{MAX_IDS, MAX_LOAD_PERCENT, max_entries};

mod requests;
mod slots;

/// Runs a built-in policy over requests, and returns the counts of its misses. Every request is a
/// look-up and, if it misses, an insert.
///
/// `capacity` is in the unit that `unit` names. All misses count, those of keys that come for the
/// first time too. A request that is larger than the capacity is a miss and changes nothing.
///
/// With one thread and one shard a cache does the same, as far as its capacity is the same. Like a
/// shard, the simulator keeps at most 228 million entries.
///
/// ```
/// use bytecache::Policy;
/// use bytecache::policy::{Request, Unit, simulate};
///
/// // A loop over four keys in a cache of three: LRU evicts each key just before it comes again.
/// let requests = || (0..100).map(|step| Request { hash: step % 4, charge: 1 });
/// assert_eq!(simulate(&Policy::Lru, 3, Unit::Entries, requests()).misses, 100);
/// assert!(simulate(&Policy::Mru, 3, Unit::Entries, requests()).misses < 50);
/// ```
///
/// # Cost
///
/// About 50 bytes for each resident entry; most policies take 30 to 200 ns a request.
#[must_use]
pub fn simulate(policy: &Policy, capacity: u64, unit: Unit, requests: impl IntoIterator<Item = Request>) -> Simulation {
    Simulator::new(policy, capacity, unit).run(requests)
}

/// Runs a custom policy over requests: like [`simulate`], but `policy` makes the policy.
///
/// ```
/// use bytecache::Policy;
/// use bytecache::policy::{Request, Unit, simulate, simulate_custom};
///
/// let requests = || (0..100).map(|step| Request { hash: step % 4, charge: 1 });
/// let mru = |context| Policy::Mru.build(&context);
/// let custom = simulate_custom(mru, 3, Unit::Entries, requests());
/// assert_eq!(custom, simulate(&Policy::Mru, 3, Unit::Entries, requests()));
/// ```
#[must_use]
pub fn simulate_custom(
    policy: impl FnOnce(PolicyContext) -> Box<dyn EvictionPolicy>,
    capacity: u64,
    unit: Unit,
    requests: impl IntoIterator<Item = Request>,
) -> Simulation {
    Simulator::custom(policy, capacity, unit).run(requests)
}

/// Runs a policy step by step. [`simulate`] is made of it.
///
/// ```
/// use bytecache::Policy;
/// use bytecache::policy::{Request, Simulator, Unit};
///
/// let mut simulator = Simulator::new(&Policy::Lru, 100, Unit::Bytes);
/// assert!(!simulator.request(Request { hash: 1, charge: 60 }));
/// assert!(!simulator.request(Request { hash: 2, charge: 30 }));
/// assert!(simulator.request(Request { hash: 1, charge: 60 }));
/// simulator.request(Request { hash: 3, charge: 20 });
/// assert_eq!(simulator.evicted(), [2]);
/// assert_eq!((simulator.len(), simulator.charge()), (2, 80));
/// ```
pub struct Simulator {
    policy: Box<dyn EvictionPolicy>,
    arrival: Arrival,
    recency: Recency,
    wants_misses: bool,
    capacity: u64,
    unit: Unit,
    max_ids: usize,
    slots: Slots,
    /// Ids that are not in use. Those from `fresh` on have never been.
    free: Vec<EntryId>,
    fresh: usize,
    ids: HashMap<u64, EntryId, ahash::RandomState>,
    charge: u64,
    /// The entry that is being updated, and its old charge, which counts until there is room for
    /// the new one.
    updated: Option<(EntryId, u32)>,
    /// The keys that left during the last operation.
    evicted: Vec<u64>,
    total: Simulation,
}

/// The most ids to start with. Growing is cheap.
const MAX_FIRST_IDS: u64 = 1 << 14;
/// Victims from the policy that may be unknown before one is chosen for it.
pub(crate) const MAX_UNKNOWN: usize = 8;

impl Simulator {
    /// Creates a simulator of a built-in policy. `capacity` is in the unit that `unit` names.
    ///
    /// ```
    /// use bytecache::Policy;
    /// use bytecache::policy::{Simulator, Unit};
    ///
    /// assert!(Simulator::new(&Policy::Lru, 1 << 20, Unit::Bytes).is_empty());
    /// ```
    #[must_use]
    pub fn new(policy: &Policy, capacity: u64, unit: Unit) -> Self {
        Self::custom(|context| policy.build(&context), capacity, unit)
    }

    /// Creates a simulator of the policy that `policy` makes.
    ///
    /// ```
    /// use bytecache::Policy;
    /// use bytecache::policy::{Simulator, Unit};
    ///
    /// let sieve = |context| Policy::Sieve.build(&context);
    /// let simulator = Simulator::custom(sieve, 100, Unit::Entries);
    /// assert_eq!(simulator.len(), 0);
    /// ```
    #[must_use]
    pub fn custom(policy: impl FnOnce(PolicyContext) -> Box<dyn EvictionPolicy>, capacity: u64, unit: Unit) -> Self {
        #[allow(clippy::cast_possible_truncation, reason = "far below any usize")]
        let ids = (capacity.min(MAX_FIRST_IDS) as usize + 1) * 100 / MAX_LOAD_PERCENT + 1;
        let policy = policy(PolicyContext::for_entries(ids, max_entries(ids), capacity));
        Self {
            recency: policy.recency(),
            wants_misses: policy.wants_misses(),
            policy,
            arrival: Arrival::new(),
            capacity,
            unit,
            max_ids: MAX_IDS,
            slots: Slots(vec![Slot::default(); ids]),
            free: Vec::new(),
            fresh: 0,
            ids: HashMap::default(),
            charge: 0,
            updated: None,
            evicted: Vec::new(),
            total: Simulation::default(),
        }
    }

    fn run(mut self, requests: impl IntoIterator<Item = Request>) -> Simulation {
        for request in requests {
            self.request(request);
        }
        self.total
    }

    /// Looks a key up, and inserts it if it is not there. Returns `true` if it was there.
    ///
    /// ```
    /// use bytecache::Policy;
    /// use bytecache::policy::{Request, Simulator, Unit};
    ///
    /// let mut simulator = Simulator::new(&Policy::Lru, 2, Unit::Entries);
    /// assert!(!simulator.request(Request { hash: 1, charge: 1 }));
    /// assert!(simulator.request(Request { hash: 1, charge: 1 }));
    /// ```
    pub fn request(&mut self, request: Request) -> bool {
        self.evicted.clear();
        self.total.requests += 1;
        self.total.bytes += u64::from(request.charge);
        if self.find(request.hash) {
            return true;
        }
        self.total.misses += 1;
        self.total.missed_bytes += u64::from(request.charge);
        let charge = self.charge_of(request);
        if self.fits(charge) {
            self.arrival.settle(&mut *self.policy);
            self.insert(request.hash, charge);
        }
        false
    }

    /// Reads a key without storing it on a miss. Returns `true` if the key was there.
    ///
    /// The read is no request: it does not count in [`simulation`](Self::simulation).
    ///
    /// ```
    /// use bytecache::Policy;
    /// use bytecache::policy::{Request, Simulator, Unit};
    ///
    /// let mut simulator = Simulator::new(&Policy::Lru, 2, Unit::Entries);
    /// assert!(!simulator.read(1));
    /// simulator.store(Request { hash: 1, charge: 1 });
    /// assert!(simulator.read(1));
    /// assert!(!simulator.read(2));
    /// ```
    pub fn read(&mut self, hash: u64) -> bool {
        self.evicted.clear();
        self.find(hash)
    }

    fn find(&mut self, key: u64) -> bool {
        let id = self.ids.get(&key).copied();
        match id {
            Some(id) if self.recency == Recency::Ordered => {
                self.arrival.settle(&mut *self.policy);
                self.policy.touch(id);
            }
            Some(id) => self.slots.visit(id),
            None if self.wants_misses && is_miss_reported(spread(key)) => {
                self.arrival.settle(&mut *self.policy);
                self.policy.missed(spread(key));
            }
            None => {}
        }
        id.is_some()
    }

    /// Stores a new value under a key, perhaps of another charge. Returns `true` if the key was
    /// there. A value larger than the capacity changes nothing.
    ///
    /// ```
    /// use bytecache::Policy;
    /// use bytecache::policy::{Request, Simulator, Unit};
    ///
    /// let mut simulator = Simulator::new(&Policy::Lru, 100, Unit::Bytes);
    /// assert!(!simulator.store(Request { hash: 1, charge: 10 }));
    /// assert!(simulator.store(Request { hash: 1, charge: 30 }));
    /// assert_eq!(simulator.charge(), 30);
    /// ```
    pub fn store(&mut self, request: Request) -> bool {
        self.evicted.clear();
        let charge = self.charge_of(request);
        let found = self.ids.get(&request.hash).copied();
        if !self.fits(charge) {
            return found.is_some();
        }
        self.arrival.settle(&mut *self.policy);
        let Some(id) = found else {
            self.insert(request.hash, charge);
            return false;
        };
        self.slots.visit(id);
        let old = core::mem::replace(&mut self.slots.get_mut(id).charge, charge);
        self.policy.update(id, old, charge);
        // As a cache does, which keeps the old value until there is room for the new one.
        self.updated = Some((id, old));
        self.make_room(charge.saturating_sub(old));
        self.updated = None;
        if self.ids.contains_key(&request.hash) {
            self.charge = self.charge - u64::from(old) + u64::from(charge);
        } else {
            self.insert(request.hash, charge);
        }
        true
    }

    /// Removes a key. Returns `true` if it was there.
    ///
    /// ```
    /// use bytecache::Policy;
    /// use bytecache::policy::{Request, Simulator, Unit};
    ///
    /// let mut simulator = Simulator::new(&Policy::Lru, 2, Unit::Entries);
    /// simulator.request(Request { hash: 1, charge: 10 });
    /// assert!(simulator.remove(1) && !simulator.remove(1));
    /// ```
    pub fn remove(&mut self, hash: u64) -> bool {
        self.evicted.clear();
        let Some(&id) = self.ids.get(&hash) else { return false };
        self.arrival.remove(&mut *self.policy, id, self.slots.get(id).charge);
        self.forget(id);
        true
    }

    /// Sets the capacity. If there are more entries, later operations evict them.
    ///
    /// ```
    /// use bytecache::Policy;
    /// use bytecache::policy::{Request, Simulator, Unit};
    ///
    /// let mut simulator = Simulator::new(&Policy::Lru, 2, Unit::Entries);
    /// (1..=2).for_each(|hash| _ = simulator.request(Request { hash, charge: 1 }));
    /// simulator.set_capacity(1);
    /// simulator.request(Request { hash: 3, charge: 1 });
    /// assert_eq!(simulator.evicted(), [1, 2]);
    /// ```
    pub fn set_capacity(&mut self, capacity: u64) {
        self.capacity = capacity;
        self.policy.set_capacity(capacity);
    }

    /// Returns the keys that the last operation evicted, in order. The key itself is among them if
    /// the policy refused it.
    ///
    /// ```
    /// use bytecache::Policy;
    /// use bytecache::policy::{Request, Simulator, Unit};
    ///
    /// let mut simulator = Simulator::new(&Policy::Lru, 2, Unit::Entries);
    /// (1..=3).for_each(|hash| _ = simulator.request(Request { hash, charge: 1 }));
    /// assert_eq!(simulator.evicted(), [1]);
    /// ```
    #[must_use]
    pub fn evicted(&self) -> &[u64] {
        &self.evicted
    }

    /// Returns `true` if a key is there. This is no access.
    ///
    /// ```
    /// use bytecache::Policy;
    /// use bytecache::policy::{Request, Simulator, Unit};
    ///
    /// let mut simulator = Simulator::new(&Policy::Lru, 2, Unit::Entries);
    /// simulator.request(Request { hash: 1, charge: 10 });
    /// assert!(simulator.contains(1) && !simulator.contains(2));
    /// ```
    #[must_use]
    pub fn contains(&self, hash: u64) -> bool {
        self.ids.contains_key(&hash)
    }

    /// Returns the number of entries.
    ///
    /// ```
    /// use bytecache::Policy;
    /// use bytecache::policy::{Request, Simulator, Unit};
    ///
    /// let mut simulator = Simulator::new(&Policy::Lru, 2, Unit::Entries);
    /// simulator.request(Request { hash: 1, charge: 10 });
    /// assert_eq!(simulator.len(), 1);
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Returns `true` if there are no entries.
    ///
    /// ```
    /// use bytecache::Policy;
    /// use bytecache::policy::{Request, Simulator, Unit};
    ///
    /// let mut simulator = Simulator::new(&Policy::Lru, 2, Unit::Entries);
    /// assert!(simulator.is_empty());
    /// simulator.request(Request { hash: 1, charge: 10 });
    /// assert!(!simulator.is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Returns the sum of the charges of all entries, in the unit of the capacity.
    ///
    /// ```
    /// use bytecache::Policy;
    /// use bytecache::policy::{Request, Simulator, Unit};
    ///
    /// let mut simulator = Simulator::new(&Policy::Lru, 2, Unit::Entries);
    /// simulator.request(Request { hash: 1, charge: 10 });
    /// assert_eq!(simulator.charge(), 1); // Each entry counts as one.
    /// ```
    #[must_use]
    pub fn charge(&self) -> u64 {
        self.charge
    }

    /// Returns the counts of the requests so far.
    ///
    /// ```
    /// use bytecache::Policy;
    /// use bytecache::policy::{Request, Simulator, Unit};
    ///
    /// let mut simulator = Simulator::new(&Policy::Lru, 2, Unit::Entries);
    /// simulator.request(Request { hash: 1, charge: 10 });
    /// simulator.read(2);
    /// assert_eq!(simulator.simulation().requests, 1);
    /// ```
    #[must_use]
    pub fn simulation(&self) -> Simulation {
        self.total
    }

    /// Returns the bytes that the policy has allocated, and the number of ids for which it has
    /// room.
    ///
    /// ```
    /// use bytecache::Policy;
    /// use bytecache::policy::{Simulator, Unit};
    ///
    /// let simulator = Simulator::new(&Policy::Lru, 2, Unit::Entries);
    /// let (bytes, ids) = simulator.policy_bytes();
    /// assert!(bytes >= 8 * ids);
    /// ```
    #[must_use]
    pub fn policy_bytes(&self) -> (usize, usize) {
        (self.policy.bytes(), self.slots.0.len())
    }

    /// Calls [`EvictionPolicy::validate`], and recounts the charges. For tests.
    ///
    /// # Panics
    ///
    /// Panics if the policy's state contradicts itself, or if the charges do not add up.
    ///
    /// ```
    /// use bytecache::Policy;
    /// use bytecache::policy::{Request, Simulator, Unit};
    ///
    /// let mut simulator = Simulator::new(&Policy::Lru, 2, Unit::Entries);
    /// simulator.request(Request { hash: 1, charge: 10 });
    /// simulator.validate();
    /// ```
    pub fn validate(&self) {
        self.policy.validate();
        let charges = self.ids.values().map(|&id| u64::from(self.slots.get(id).charge));
        assert_eq!(charges.sum::<u64>(), self.charge);
    }

    /// Returns a simulator of the same policy that begins with the entries of this one, as after a
    /// snapshot.
    #[cfg(test)]
    pub(crate) fn restarted(&mut self, policy: &Policy) -> Self {
        self.arrival.settle(&mut *self.policy);
        let (mut state, mut shown) = (Vec::new(), Vec::new());
        self.policy.save_state(&mut state);
        self.policy.begin_walk();
        while !self.policy.walk(7, &mut |id, standing| shown.push((id, standing))) {}
        assert_eq!(shown.len(), self.len(), "each entry is shown once");
        let mut next = Self::new(policy, self.capacity, self.unit);
        // The index of a restored cache has the size that it had.
        while next.slots.0.len() < self.slots.0.len() && next.grow() {}
        next.policy.restore_state(&state);
        let (mut part, mut history) = (0, Vec::new());
        while self.policy.save_history(part, &mut history) {
            next.policy.restore_history(part, &history);
            history.clear();
            part += 1;
        }
        for (id, standing) in shown {
            let slot = self.slots.get(id).clone();
            let (key, charge) = (slot.key, slot.charge);
            let id = next.take_id().expect("as many ids as before");
            *next.slots.get_mut(id) = slot;
            next.policy.restore(&Newcomer { id, hash: spread(key), charge }, standing);
            next.ids.insert(key, id);
            next.charge += u64::from(charge);
        }
        next
    }

    fn charge_of(&self, request: Request) -> u32 {
        match self.unit {
            Unit::Entries => 1,
            Unit::Bytes => request.charge.max(1),
        }
    }

    fn fits(&self, charge: u32) -> bool {
        u64::from(charge) <= self.capacity
    }

    fn insert(&mut self, key: u64, charge: u32) {
        let Some(id) = self.take_id() else { return };
        *self.slots.get_mut(id) = Slot { key, charge, is_used: true, ..Slot::default() };
        self.arrival.begin(&mut *self.policy, Newcomer { id, hash: spread(key), charge });
        if self.make_room(charge) {
            self.arrival.end();
            self.ids.insert(key, id);
            self.charge += u64::from(charge);
        } else {
            self.slots.get_mut(id).is_used = false;
            self.free.push(id);
        }
    }

    /// Evicts until `charge` more fits. Returns `false` if the newcomer was refused.
    fn make_room(&mut self, charge: u32) -> bool {
        while self.charge + u64::from(charge) > self.capacity {
            match self.evict() {
                None => return true,
                Some(Choice::Newcomer(refused)) => {
                    self.evicted.push(self.slots.get(refused).key);
                    return false;
                }
                Some(Choice::Resident(victim)) => {
                    self.evicted.push(self.slots.get(victim).key);
                    self.forget(victim);
                }
            }
        }
        true
    }

    /// Returns the policy's victim, or one in its place if the policy names none.
    fn evict(&mut self) -> Option<Choice> {
        for _ in 0..MAX_UNKNOWN {
            let residents = &mut Residents::new(&self.slots);
            match self.arrival.evict(&mut *self.policy, residents) {
                None => break,
                Some(Choice::Resident(victim)) if self.slots.entry(victim).is_none() => {}
                evicted => return evicted,
            }
        }
        let stray = self.ids.values().copied().min()?;
        self.arrival.remove(&mut *self.policy, stray, self.slots.get(stray).charge);
        Some(Choice::Resident(stray))
    }

    fn forget(&mut self, id: EntryId) {
        let slot = self.slots.get_mut(id);
        slot.is_used = false;
        let old = self.updated.filter(|&(updated, _)| updated == id).map(|(_, old)| old);
        self.charge -= u64::from(old.unwrap_or(slot.charge));
        self.ids.remove(&slot.key);
        self.free.push(id);
    }

    /// Returns the id of a new entry, or `None` if there are no more and nothing can be evicted for
    /// one.
    fn take_id(&mut self) -> Option<EntryId> {
        if self.ids.len() >= max_entries(self.slots.0.len()) && !self.grow() {
            // No entry is being stored yet.
            let Choice::Resident(victim) = self.evict()? else { return None };
            self.evicted.push(self.slots.get(victim).key);
            self.forget(victim);
        }
        Some(self.free.pop().unwrap_or_else(|| {
            self.fresh += 1;
            id_of(self.fresh - 1)
        }))
    }

    /// Doubles the number of ids, if there may be more. Returns `true` if there are more. Ids in
    /// use do not change.
    fn grow(&mut self) -> bool {
        let old_ids = self.slots.0.len();
        let ids = (old_ids * 2).min(self.max_ids);
        if ids <= old_ids {
            return false;
        }
        self.slots.0.resize(ids, Slot::default());
        self.arrival.settle(&mut *self.policy);
        // Ends: the bounds stay the same, and a policy takes a limited number of calls for them.
        while !self.policy.resize(ids, max_entries(ids)) {}
        true
    }
}

impl core::fmt::Debug for Simulator {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Simulator")
            .field("capacity", &self.capacity)
            .field("unit", &self.unit)
            .field("len", &self.len())
            .field("charge", &self.charge)
            .field("total", &self.total)
            .finish_non_exhaustive()
    }
}

fn id_of(number: usize) -> EntryId {
    #[allow(clippy::cast_possible_truncation, reason = "below MAX_IDS")]
    EntryId::new(number as u32)
}

/// Spreads keys that were numbered over all bits: the finalizer of SplitMix64 (Steele, Lea and
/// Flood 2014), which takes different keys to different hashes.
pub(crate) fn spread(key: u64) -> u64 {
    let mut bits = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

#[cfg(test)]
mod tests;
