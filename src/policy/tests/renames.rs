//! Renames, and other bounds of ids and entries: they make no difference to which entry leaves.

#[path = "../../../tests/support/twin.rs"]
mod twin;

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};

use proptest::prelude::*;

use self::twin::Twin;
use super::*;
use crate::units::MAX_VISITS;

/// Facts about entries that only a shard knows: hash, charge and visits of each id.
#[derive(Default)]
struct Entries(RefCell<HashMap<EntryId, (u64, u32, u8)>>);

impl Entries {
    fn get(&self, id: EntryId) -> (u64, u32, u8) {
        self.0.borrow().get(&id).copied().unwrap_or_default()
    }
}

impl ResidentSource for Entries {
    fn visits(&self, id: EntryId) -> u8 {
        self.get(id).2
    }
    fn set_visits(&self, id: EntryId, visits: u8) {
        self.0.borrow_mut().get_mut(&id).unwrap().2 = visits.min(MAX_VISITS);
    }
    fn hash(&self, id: EntryId) -> u64 {
        self.get(id).0
    }
    fn charge(&self, id: EntryId) -> u32 {
        self.get(id).1
    }
    fn expect(&self, _id: EntryId) {}
}

/// The change of ids that is under way.
#[derive(Clone, Debug)]
enum Change {
    None,
    /// `resize` was called.
    Resizing,
    /// `prepare_renames` was called.
    Preparing(Range<u32>, Range<u32>),
    /// Renames within the two ranges may follow.
    Ready(Range<u32>, Range<u32>),
}

/// A policy driven as a shard drives it, with changes of ids in between.
struct Driver {
    twin: Twin,
    arrival: Arrival,
    entries: Entries,
    ids: HashMap<u64, EntryId>,
    free: BTreeSet<EntryId>,
    bound: u32,
    /// The bound to come. No entry gets an id beyond it.
    next_bound: u32,
    change: Change,
    capacity: u64,
    random: u64,
}

impl Driver {
    fn new(policy: Policy, ids: u32, capacity: u64) -> Self {
        let context = PolicyContext::for_entries(ids as usize, max_entries(ids), capacity);
        Self {
            twin: Twin::new(&context, |context| policy.build(context)),
            arrival: Arrival::new(),
            entries: Entries::default(),
            ids: HashMap::new(),
            free: (0..ids).map(EntryId::new).collect(),
            bound: ids,
            next_bound: ids,
            change: Change::None,
            capacity,
            random: 1,
        }
    }

    /// Returns a random number below `end`.
    fn random(&mut self, end: u32) -> u32 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from((self.random >> 32) % u64::from(end.max(1))).unwrap()
    }

    fn used(&self) -> u64 {
        self.entries.0.borrow().values().map(|&(_, charge, _)| u64::from(charge)).sum()
    }

    fn read(&mut self, key: u64) {
        match (self.ids.get(&key), self.twin.recency()) {
            (Some(&id), Recency::Counted) => self.entries.set_visits(id, self.entries.visits(id) + 1),
            (Some(&id), Recency::Ordered) => {
                self.arrival.settle(&mut self.twin);
                self.twin.touch(id);
            }
            (None, _) if self.twin.wants_misses() => {
                self.arrival.settle(&mut self.twin);
                self.twin.missed(hash(key));
            }
            (None, _) => (),
        }
    }

    fn take_id(&mut self) -> EntryId {
        let end = self.bound.min(self.next_bound);
        let start = EntryId::new(self.random(end));
        let free = |range: Range<EntryId>| self.free.range(range).next().copied();
        let id = free(start..EntryId::new(end)).or_else(|| free(EntryId::new(0)..start)).unwrap();
        self.free.remove(&id);
        id
    }

    fn write(&mut self, key: u64, charge: u32) {
        if let Some(&id) = self.ids.get(&key) {
            self.entries.set_visits(id, self.entries.visits(id) + 1);
            let old_charge = core::mem::replace(&mut self.entries.0.borrow_mut().get_mut(&id).unwrap().1, charge);
            self.arrival.settle(&mut self.twin);
            self.twin.update(id, old_charge, charge);
        } else {
            let id = self.take_id();
            self.ids.insert(key, id);
            self.entries.0.borrow_mut().insert(id, (hash(key), charge, 0));
            self.arrival.begin(&mut self.twin, Newcomer { id, hash: hash(key), charge });
        }
        while self.used() > self.capacity {
            let residents = &mut Residents::new(&self.entries);
            let (Choice::Resident(victim) | Choice::Newcomer(victim)) =
                self.arrival.evict(&mut self.twin, residents).unwrap();
            let key = *self.ids.iter().find(|&(_, &id)| id == victim).unwrap().0;
            self.forget(key);
        }
        self.arrival.end();
    }

    /// Forgets a key. Returns its id and charge.
    fn forget(&mut self, key: u64) -> Option<(EntryId, u32)> {
        let id = self.ids.remove(&key)?;
        let (_, charge, _) = self.entries.0.borrow_mut().remove(&id)?;
        self.free.insert(id);
        Some((id, charge))
    }

    fn remove(&mut self, key: u64) {
        if let Some((id, charge)) = self.forget(key) {
            self.arrival.remove(&mut self.twin, id, charge);
        }
    }

    /// Begins a change, or goes on with it. There are at least `least` ids and at most `most`.
    fn change(&mut self, least: u32, most: u32) {
        self.arrival.settle(&mut self.twin);
        self.change = match core::mem::replace(&mut self.change, Change::None) {
            Change::None if self.next_bound < self.bound => self.resize(),
            Change::None => match self.random(6) {
                0 | 1 => {
                    self.next_bound = self.bound + self.random(most - self.bound + 1);
                    self.resize()
                }
                2 | 3 => {
                    self.next_bound = least + self.random(self.bound - least + 1);
                    self.resize()
                }
                _ => {
                    let [from, to] = [0; 2].map(|_| {
                        let start = self.random(self.bound);
                        start..self.bound.min(start + 1 + self.random(40))
                    });
                    self.prepare(from, to)
                }
            },
            Change::Resizing => self.resize(),
            Change::Preparing(from, to) => self.prepare(from, to),
            Change::Ready(from, to) => self.rename_some(from, to),
        };
    }

    fn resize(&mut self) -> Change {
        let beyond = self.ids.values().copied().filter(|id| id.get() >= self.next_bound).min();
        if let Some(first) = beyond {
            // All of these are renamed first, in windows.
            let start = first.get();
            return self.prepare(start..self.bound.min(start + 30), 0..self.next_bound);
        }
        let ids = self.next_bound;
        if !self.twin.resize(ids as usize, max_entries(ids)) {
            return Change::Resizing;
        }
        self.free.extend((self.bound..ids).map(EntryId::new));
        let _beyond = self.free.split_off(&EntryId::new(ids));
        self.bound = ids;
        Change::None
    }

    fn prepare(&mut self, from: Range<u32>, to: Range<u32>) -> Change {
        if self.twin.prepare_renames(from.clone(), to.clone()) {
            Change::Ready(from, to)
        } else {
            Change::Preparing(from, to)
        }
    }

    /// Renames some entries in the ranges, and perhaps ends it.
    fn rename_some(&mut self, from: Range<u32>, to: Range<u32>) -> Change {
        for _ in 0..1 + self.random(8) {
            let range = |range: &Range<u32>| EntryId::new(range.start)..EntryId::new(range.end);
            let target = self.free.range(range(&to)).next_back().copied();
            let mut residents: Vec<_> =
                self.ids.iter().filter(|(_, id)| from.contains(&id.get())).map(|(&key, &id)| (id, key)).collect();
            residents.sort_unstable();
            let chosen = self.random(u32::try_from(residents.len()).unwrap()) as usize;
            let Some((&(id, key), target)) = residents.get(chosen).zip(target) else {
                self.twin.end_renames();
                return Change::None;
            };
            self.twin.rename(id, target);
            let facts = self.entries.0.borrow_mut().remove(&id).unwrap();
            self.entries.0.borrow_mut().insert(target, facts);
            self.ids.insert(key, target);
            self.free.insert(id);
            self.free.remove(&target);
        }
        if self.next_bound < self.bound || self.random(4) > 0 {
            return Change::Ready(from, to);
        }
        if self.random(2) == 0 {
            self.twin.end_renames();
        }
        Change::None
    }
}

fn max_entries(ids: u32) -> usize {
    ids as usize * 85 / 100
}

fn hash(key: u64) -> u64 {
    simulator::spread(key)
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    Read(u64),
    Write(u64, u32),
    Remove(u64),
    Capacity(u64),
    Change,
}

/// Returns operations on keys below `keys`.
fn operations(keys: u64, count: usize) -> impl Strategy<Value = Vec<Operation>> {
    let operation = prop_oneof![
        10 => (0..keys).prop_map(Operation::Read),
        10 => (0..keys, 1..20_u32).prop_map(|(key, charge)| Operation::Write(key, charge)),
        2 => (0..keys).prop_map(Operation::Remove),
        1 => (keys * 3..keys * 6).prop_map(Operation::Capacity),
        12 => Just(Operation::Change),
    ];
    prop::collection::vec(operation, count / 2..count)
}

/// Applies the operations on keys below `keys`. The twin panics where victims differ.
fn follow_operations(policy: Policy, keys: u64, operations: &[Operation]) {
    let keys = u32::try_from(keys).unwrap();
    // All keys fit, and there is a free id.
    let (least, most) = (keys * 100 / 85 + 4, keys * 5);
    let mut driver = Driver::new(policy, least, u64::from(keys) * 5);
    for (step, &operation) in operations.iter().enumerate() {
        match operation {
            Operation::Read(key) => driver.read(key),
            Operation::Write(key, charge) => driver.write(key, charge),
            Operation::Remove(key) => driver.remove(key),
            Operation::Capacity(capacity) => {
                driver.capacity = capacity;
                driver.twin.set_capacity(capacity);
            }
            Operation::Change => driver.change(least, most),
        }
        if keys < 100 || step % 64 == 0 {
            driver.twin.validate();
        }
    }
    driver.twin.validate();
}

fn policies() -> impl Iterator<Item = Policy> {
    let ageings = [Ageing::None, Ageing::Dynamic].map(|ageing| LfuConfig::new().ageing(ageing).into());
    Policy::ALL.iter().copied().chain(ageings)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn who_leaves_depends_on_no_id(operations in operations(40, 800)) {
        for policy in policies() {
            follow_operations(policy, 40, &operations);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2, max_shrink_iters: 30, ..ProptestConfig::default() })]

    /// Queues, ghosts and sketches that are too large for one step.
    #[test]
    fn who_leaves_depends_on_no_id_in_a_large_shard(operations in operations(3000, 40_000)) {
        for policy in policies() {
            follow_operations(policy, 3000, &operations);
        }
    }
}
