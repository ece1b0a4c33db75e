//! The test of a policy by a trace that was worked out by hand, and renumbering, which only a shard
//! does to a policy.

use std::cell::RefCell;
use std::collections::HashMap;

use proptest::prelude::*;

use super::simulator::spread;
use super::*;
use crate::error::ParsePolicyError;
use crate::units::MAX_VISITS;

/// The outcome of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Hit,
    /// There was room.
    Miss,
    /// These left, in this order; the key itself was refused if it is the last.
    Evicts(&'static [u64]),
}

/// Has a policy follow a trace of keys whose entries are charged 1.
pub(super) fn follow(policy: impl Into<Policy>, capacity: u64, steps: &[(u64, Outcome)]) {
    let steps: Vec<_> = steps.iter().map(|(key, outcome)| (*key, 1, outcome.clone())).collect();
    follow_charged(policy, capacity, &steps);
}

/// Like [`follow`], but each step also has a charge.
pub(super) fn follow_charged(policy: impl Into<Policy>, capacity: u64, steps: &[(u64, u32, Outcome)]) {
    let mut simulator = Simulator::new(&policy.into(), capacity, Unit::Bytes);
    for (step, &(hash, charge, ref expected)) in steps.iter().enumerate() {
        let is_hit = simulator.request(Request { hash, charge });
        match expected {
            Outcome::Hit => assert!(is_hit, "step {step}, key {hash}"),
            Outcome::Miss => assert!(!is_hit && simulator.evicted().is_empty(), "step {step}, key {hash}"),
            Outcome::Evicts(victims) => assert_eq!(simulator.evicted(), *victims, "step {step}, key {hash}"),
        }
        simulator.validate();
    }
}

/// Facts about entries that only a shard knows: hash, charge and visits of each id.
#[derive(Default)]
struct Entries(RefCell<HashMap<u32, (u64, u32, u8)>>);

impl ResidentSource for Entries {
    fn visits(&self, id: EntryId) -> u8 {
        self.0.borrow()[&id.get()].2
    }
    fn set_visits(&self, id: EntryId, visits: u8) {
        self.0.borrow_mut().get_mut(&id.get()).unwrap().2 = visits.min(MAX_VISITS);
    }
    fn hash(&self, id: EntryId) -> u64 {
        self.0.borrow()[&id.get()].0
    }
    fn charge(&self, id: EntryId) -> u32 {
        self.0.borrow()[&id.get()].1
    }
    fn expect(&self, _id: EntryId) {}
}

/// A policy driven as a shard drives it.
struct Driver {
    policy: Box<dyn EvictionPolicy>,
    arrival: Arrival,
    entries: Entries,
    ids: HashMap<u64, EntryId>,
    free: Vec<EntryId>,
    all_ids: usize,
}

const KEYS: u64 = 40;
/// One for each key.
const IDS: usize = 40;
const CAPACITY: u64 = 120;

impl Driver {
    fn new(policy: Policy) -> Self {
        let policy = policy.build(&PolicyContext::new(IDS, CAPACITY));
        let free = (0..IDS).map(id).collect();
        Self { policy, arrival: Arrival::new(), entries: Entries::default(), ids: HashMap::new(), free, all_ids: IDS }
    }

    fn used(&self) -> u64 {
        self.entries.0.borrow().values().map(|&(_, charge, _)| u64::from(charge)).sum()
    }

    fn read(&mut self, key: u64) {
        match (self.ids.get(&key), self.policy.recency()) {
            (Some(&id), Recency::Counted) => self.entries.set_visits(id, self.entries.visits(id) + 1),
            (Some(&id), Recency::Ordered) => {
                self.arrival.settle(&mut *self.policy);
                self.policy.touch(id);
            }
            (None, _) => (),
        }
    }

    /// Inserts or updates a key, and returns the keys that leave for it.
    fn write(&mut self, key: u64, charge: u32) -> Vec<u64> {
        let hash = (key + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        if let Some(&id) = self.ids.get(&key) {
            self.entries.set_visits(id, self.entries.visits(id) + 1);
            let old_charge = core::mem::replace(&mut self.entries.0.borrow_mut().get_mut(&id.get()).unwrap().1, charge);
            self.arrival.settle(&mut *self.policy);
            self.policy.update(id, old_charge, charge);
        } else {
            let id = self.free.pop().unwrap();
            self.ids.insert(key, id);
            self.entries.0.borrow_mut().insert(id.get(), (hash, charge, 0));
            self.arrival.begin(&mut *self.policy, Newcomer { id, hash, charge });
        }
        let mut victims = Vec::new();
        while self.used() > CAPACITY {
            let residents = &mut Residents::new(&self.entries);
            let (Choice::Resident(victim) | Choice::Newcomer(victim)) =
                self.arrival.evict(&mut *self.policy, residents).unwrap();
            let key = *self.ids.iter().find(|&(_, &id)| id == victim).unwrap().0;
            self.forget(key);
            victims.push(key);
        }
        self.arrival.end();
        victims
    }

    /// Its id and charge.
    fn forget(&mut self, key: u64) -> Option<(EntryId, u32)> {
        let id = self.ids.remove(&key)?;
        let (_, charge, _) = self.entries.0.borrow_mut().remove(&id.get())?;
        self.free.push(id);
        Some((id, charge))
    }

    fn remove(&mut self, key: u64) {
        if let Some((id, charge)) = self.forget(key) {
            self.arrival.remove(&mut *self.policy, id, charge);
        }
    }

    /// Gives every resident another id, below `all_ids`.
    fn renumber(&mut self, all_ids: usize) {
        let mut moved = Renumbering::new(self.all_ids, all_ids, all_ids);
        self.free = (0..all_ids).map(id).collect();
        let mut old = self.entries.0.take();
        for from in self.ids.values_mut() {
            let to = self.free.pop().unwrap();
            self.entries.0.borrow_mut().insert(to.get(), old.remove(&from.get()).unwrap());
            moved.set(*from, to);
            *from = to;
        }
        self.all_ids = all_ids;
        self.arrival.settle(&mut *self.policy);
        self.policy.renumber(&moved);
    }
}

fn id(number: usize) -> EntryId {
    EntryId::new(u32::try_from(number).unwrap())
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    Read(u64),
    Write(u64, u32),
    Remove(u64),
    Renumber,
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let operation = prop_oneof![
        10 => (0..KEYS).prop_map(Operation::Read),
        10 => (0..KEYS, 1..20_u32).prop_map(|(key, charge)| Operation::Write(key, charge)),
        2 => (0..KEYS).prop_map(Operation::Remove),
        1 => Just(Operation::Renumber),
    ];
    prop::collection::vec(operation, 1..300)
}

/// Two drivers of a policy, of which only one renumbers: `more` ids each time.
fn assert_same_victims(policy: Policy, more: usize, operations: &[Operation]) {
    let [mut renumbered, mut plain] = [0; 2].map(|_| Driver::new(policy));
    let mut newest = 0;
    for &operation in operations {
        let both = [&mut renumbered, &mut plain];
        match operation {
            Operation::Read(key) => both.into_iter().for_each(|driver| driver.read(key)),
            Operation::Remove(key) => both.into_iter().for_each(|driver| driver.remove(key)),
            Operation::Write(key, charge) => {
                let [victims, expected] = both.map(|driver| driver.write(key, charge));
                assert_eq!(victims, expected, "{policy}, {operation:?}");
                newest = key;
            }
            Operation::Renumber => {
                // Renumbering gives the newcomer its place, as an access does: here both have it
                // before.
                for driver in both {
                    driver.write(newest, 1);
                    driver.write(newest, 1);
                }
                renumbered.renumber(renumbered.all_ids + more);
            }
        }
        renumbered.policy.validate();
    }
}

fn policies() -> impl Iterator<Item = Policy> {
    let ageings = [Ageing::None, Ageing::Dynamic].map(|ageing| LfuConfig::new().ageing(ageing).into());
    Policy::ALL.iter().copied().chain(ageings)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn who_leaves_does_not_depend_on_ids(operations in operations()) {
        // The adaptive policy measures its ghosts anew whenever the ids change.
        for policy in policies().filter(|&policy| policy != Policy::Adaptive) {
            assert_same_victims(policy, 0, &operations);
        }
    }

    #[test]
    fn who_leaves_does_not_depend_on_how_many_ids_there_are(operations in operations()) {
        let has_sets = |policy| matches!(policy, Policy::S3Fifo | Policy::TinyLfu | Policy::Adaptive);
        for policy in policies().filter(|&policy| !has_sets(policy)) {
            assert_same_victims(policy, 7, &operations);
        }
    }
}

#[test]
fn every_name_parses_to_its_policy() {
    for &policy in Policy::ALL {
        assert_eq!(policy.to_string().parse::<Policy>().unwrap(), policy);
        assert_eq!(policy.name().to_uppercase().parse::<Policy>().unwrap(), policy);
    }
    assert!(
        matches!("mru?".parse::<Policy>().unwrap_err(), ParsePolicyError::UnknownPolicy { name } if name == "mru?")
    );
}

/// A request for each step: some keys far more often than others, a loop, and sizes that vary.
fn request_at(step: u64) -> Request {
    let random = spread(step);
    let hash = if step % 5 == 0 { 100_000 + step / 5 % 700 } else { random % (1 << (3 + random.rotate_left(9) % 9)) };
    let charge = u32::try_from(spread(hash) % 50).expect("a small number") * 40 + 20;
    Request { hash, charge }
}

#[test]
fn a_restored_policy_goes_on_like_the_saved_one() {
    for (unit, capacity) in [(Unit::Entries, 400), (Unit::Bytes, 400_000)] {
        for policy in Policy::ALL {
            let mut simulator = Simulator::new(policy, capacity, unit);
            (0..20_000).for_each(|step| _ = simulator.request(request_at(step)));
            let mut restarted = simulator.restarted(policy);
            restarted.validate();
            let (mut differing, mut lost) = (0, 0);
            for step in 20_000..40_000 {
                let [before, after] = [&mut simulator, &mut restarted].map(|one| one.request(request_at(step)));
                differing += i32::from(before != after);
                lost += i32::from(before) - i32::from(after);
            }
            restarted.validate();
            println!("{policy} {unit:?}: {differing} of 20,000 hits differ, {lost} are lost");
            let is_exact = matches!(
                policy,
                Policy::Lru
                    | Policy::Fifo
                    | Policy::Mru
                    | Policy::Clock
                    | Policy::Sieve
                    | Policy::Slru
                    | Policy::Lfu
                    | Policy::Gdsf
            );
            assert!(differing == 0 || !is_exact, "{policy} {unit:?}: {differing} of 20,000 hits differ");
            assert!(lost < 100, "{policy} {unit:?}: {lost} of 20,000 hits are lost");
        }
    }
}
