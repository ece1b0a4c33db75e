//! Every built-in policy against a naive model of it, through the interface that a shard uses.

use std::cell::RefCell;
use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::error::ErrorKind;

/// Stands in for a shard: ids, hashes, charges and visits in maps.
#[derive(Default)]
struct Shard {
    entries: RefCell<HashMap<u32, (u64, u32, u8)>>,
}

impl ResidentSource for Shard {
    fn visits(&self, id: EntryId) -> u8 {
        self.entries.borrow()[&id.get()].2
    }
    fn set_visits(&self, id: EntryId, visits: u8) {
        self.entries.borrow_mut().get_mut(&id.get()).unwrap().2 = visits;
    }
    fn hash(&self, id: EntryId) -> u64 {
        self.entries.borrow()[&id.get()].0
    }
    fn charge(&self, id: EntryId) -> u32 {
        self.entries.borrow()[&id.get()].1
    }
    fn expect(&self, _id: EntryId) {}
}

/// A policy driven as a shard drives it. A key is its own id, as long as the ids have not been renumbered.
struct Driver {
    policy: Box<dyn EvictionPolicy>,
    shard: Shard,
    ids: HashMap<u32, EntryId>,
    next_offset: u32,
    capacity: u64,
}

const KEYS: u32 = 40;

impl Driver {
    fn new(policy: Policy, capacity: u64) -> Self {
        let policy = policy.build(&PolicyContext::new(KEYS as usize, capacity));
        Self { policy, shard: Shard::default(), ids: HashMap::new(), next_offset: 0, capacity }
    }

    fn hash(key: u32) -> u64 {
        u64::from(key + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn used(&self) -> u64 {
        self.shard.entries.borrow().values().map(|&(_, charge, _)| u64::from(charge)).sum()
    }

    /// Evicts until everything fits; returns the keys that left, in order.
    fn evict(&mut self) -> Vec<u32> {
        let mut victims = Vec::new();
        while self.used() > self.capacity {
            let victim = self.policy.evict(&mut Residents::new(&self.shard)).expect("entries are left");
            self.shard.entries.borrow_mut().remove(&victim.get()).expect("a victim is resident");
            let key = *self.ids.iter().find(|&(_, &id)| id == victim).unwrap().0;
            self.ids.remove(&key);
            victims.push(key);
        }
        victims
    }

    fn visit(&mut self, id: EntryId) {
        let mut entries = self.shard.entries.borrow_mut();
        let visits = &mut entries.get_mut(&id.get()).unwrap().2;
        *visits = (*visits + 1).min(3);
    }

    fn read(&mut self, key: u32) {
        let Some(&id) = self.ids.get(&key) else { return };
        match self.policy.recency() {
            Recency::Counted => self.visit(id),
            Recency::Ordered => self.policy.touch(id),
        }
    }

    fn write(&mut self, key: u32, charge: u32) -> Vec<u32> {
        if let Some(&id) = self.ids.get(&key) {
            self.visit(id);
            self.shard.entries.borrow_mut().get_mut(&id.get()).unwrap().1 = charge;
            self.policy.update(id, charge);
        } else {
            let id = EntryId::new(self.next_offset + key);
            self.ids.insert(key, id);
            self.shard.entries.borrow_mut().insert(id.get(), (Self::hash(key), charge, 0));
            self.policy.insert(id, Self::hash(key), charge);
        }
        self.evict()
    }

    fn remove(&mut self, key: u32) {
        if let Some(id) = self.ids.remove(&key) {
            self.shard.entries.borrow_mut().remove(&id.get());
            self.policy.remove(id);
        }
    }

    /// Gives every resident another id.
    fn renumber(&mut self) {
        let offset = self.next_offset + 1;
        let mut moved = Renumbering::new((self.next_offset + KEYS) as usize, (offset + KEYS) as usize);
        let mut entries = HashMap::new();
        for (&key, id) in &mut self.ids {
            let to = EntryId::new(offset + key);
            entries.insert(to.get(), self.shard.entries.borrow_mut().remove(&id.get()).unwrap());
            moved.set(*id, to);
            *id = to;
        }
        self.shard.entries = RefCell::new(entries);
        self.next_offset = offset;
        self.policy.renumber(&moved);
    }
}

/// A policy in the plainest form: who leaves, given what happened.
trait Model {
    fn read(&mut self, key: u32);
    /// The key's charge from now on; returns who leaves, in order.
    fn write(&mut self, key: u32, charge: u32) -> Vec<u32>;
    fn remove(&mut self, key: u32);
    /// Ghosts do not outlive a renumbering.
    fn renumber(&mut self) {}
}

struct LruModel {
    capacity: u64,
    /// From oldest to newest.
    entries: Vec<(u32, u32)>,
}

impl Model for LruModel {
    fn read(&mut self, key: u32) {
        if let Some(at) = self.entries.iter().position(|&(other, _)| other == key) {
            let entry = self.entries.remove(at);
            self.entries.push(entry);
        }
    }
    fn write(&mut self, key: u32, charge: u32) -> Vec<u32> {
        self.remove(key);
        self.entries.push((key, charge));
        let mut victims = Vec::new();
        while self.entries.iter().map(|&(_, charge)| u64::from(charge)).sum::<u64>() > self.capacity {
            victims.push(self.entries.remove(0).0);
        }
        victims
    }
    fn remove(&mut self, key: u32) {
        self.entries.retain(|&(other, _)| other != key);
    }
}

/// Written from the pseudo code of the SOSP paper; the ghosts are exact and without bound here, so traces are
/// kept short enough for none to be forgotten.
struct S3FifoModel {
    capacity: u64,
    /// From oldest to newest: key, charge, visits.
    small: Vec<(u32, u32, u8)>,
    main: Vec<(u32, u32, u8)>,
    ghosts: Vec<u32>,
}

impl S3FifoModel {
    fn bytes(queue: &[(u32, u32, u8)]) -> u64 {
        queue.iter().map(|&(_, charge, _)| u64::from(charge)).sum()
    }

    fn evict(&mut self) -> u32 {
        loop {
            if !self.small.is_empty() && (Self::bytes(&self.small) >= self.capacity / 10 || self.main.is_empty()) {
                let (key, charge, visits) = self.small.remove(0);
                if visits > 1 {
                    self.main.push((key, charge, 0));
                } else {
                    self.ghosts.push(key);
                    return key;
                }
            } else {
                let (key, charge, visits) = self.main.remove(0);
                if visits == 0 {
                    return key;
                }
                self.main.push((key, charge, visits - 1));
            }
        }
    }
}

impl Model for S3FifoModel {
    fn read(&mut self, key: u32) {
        for entry in self.small.iter_mut().chain(&mut self.main) {
            if entry.0 == key {
                entry.2 = (entry.2 + 1).min(3);
            }
        }
    }
    fn write(&mut self, key: u32, charge: u32) -> Vec<u32> {
        let mut victims = Vec::new();
        let present = self.small.iter_mut().chain(&mut self.main).find(|entry| entry.0 == key);
        if let Some(entry) = present {
            entry.1 = charge;
            self.read(key);
            while Self::bytes(&self.small) + Self::bytes(&self.main) > self.capacity {
                victims.push(self.evict());
            }
            return victims;
        }
        let is_ghost = self.ghosts.contains(&key);
        self.ghosts.retain(|&ghost| ghost != key);
        while Self::bytes(&self.small) + Self::bytes(&self.main) + u64::from(charge) > self.capacity {
            victims.push(self.evict());
        }
        if is_ghost { &mut self.main } else { &mut self.small }.push((key, charge, 0));
        victims
    }
    fn remove(&mut self, key: u32) {
        self.small.retain(|&(other, ..)| other != key);
        self.main.retain(|&(other, ..)| other != key);
    }
    fn renumber(&mut self) {
        self.ghosts.clear();
    }
}

#[derive(Clone, Debug)]
enum Operation {
    Read(u32),
    Write(u32, u32),
    Remove(u32),
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

fn check(policy: Policy, capacity: u64, mut model: impl Model, operations: Vec<Operation>) {
    let mut driver = Driver::new(policy, capacity);
    for operation in operations {
        match operation {
            Operation::Read(key) => {
                driver.read(key);
                model.read(key);
            }
            Operation::Write(key, charge) => {
                assert_eq!(driver.write(key, charge), model.write(key, charge), "{operation:?}");
            }
            Operation::Remove(key) => {
                driver.remove(key);
                model.remove(key);
            }
            Operation::Renumber => {
                driver.renumber();
                model.renumber();
            }
        }
        assert!(driver.used() <= capacity);
    }
}

proptest! {
    #[test]
    fn lru_evicts_what_the_model_evicts(operations in operations(), capacity in 20..200_u64) {
        check(Policy::Lru, capacity, LruModel { capacity, entries: Vec::new() }, operations);
    }
}

/// Ghosts are approximate, so equality holds only while none has been pushed out and no fingerprints collide:
/// with 40 keys and room for their ghosts that is so.
fn s3fifo_model(capacity: u64) -> S3FifoModel {
    S3FifoModel { capacity, small: Vec::new(), main: Vec::new(), ghosts: Vec::new() }
}

proptest! {
    #[test]
    fn s3_fifo_evicts_what_the_model_evicts(operations in operations(), capacity in 300..400_u64) {
        check(Policy::S3Fifo, capacity, s3fifo_model(capacity), operations);
    }
}

#[test]
fn s3_fifo_on_a_hand_worked_trace() {
    // Capacity 10, so the small queue's share is 1; every entry counts 1.
    let mut driver = Driver::new(Policy::S3Fifo, 10);
    for key in 0..10 {
        assert_eq!(driver.write(key, 1), [0_u32; 0]);
    }
    driver.read(0);
    driver.read(0);
    driver.read(1);
    // 0 was read twice and goes to main; 1 once, which is not enough.
    assert_eq!(driver.write(10, 1), [1]);
    assert_eq!(driver.write(11, 1), [2]);
    // 1 is a ghost: it comes back straight to main, at the expense of the small queue's oldest.
    assert_eq!(driver.write(1, 1), [3]);
    // The small queue holds 4 to 11 and goes on being evicted from: main is below its share.
    assert_eq!((20..27).flat_map(|key| driver.write(key, 1)).collect::<Vec<_>>(), [4, 5, 6, 7, 8, 9, 10]);
    assert!(driver.ids.contains_key(&0) && driver.ids.contains_key(&1));
}

#[test]
fn every_name_parses_to_its_policy() {
    for &policy in Policy::ALL {
        assert_eq!(policy.to_string().parse::<Policy>().unwrap(), policy);
        assert_eq!(policy.name().to_uppercase().parse::<Policy>().unwrap(), policy);
    }
    assert!(
        matches!("mru?".parse::<Policy>().unwrap_err().kind(), ErrorKind::UnknownPolicy { name } if name == "mru?")
    );
}
