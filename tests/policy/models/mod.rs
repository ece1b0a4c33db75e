//! Compares policies with naive models of them: the same hits, and the same victims in the same
//! order, for any requests.
//!
//! The models are written from the papers. Where a paper counts pages of one size, the models count
//! charges. [`Reference`] defines the order of events:
//!
//! * A look-up comes first.
//! * On a miss, ghosts are looked up. Then room is made, and then the newcomer is placed.
//! * An update is an access, and room is made after it.
//! * A removal leaves no ghost.
//! * An entry that is larger than the capacity changes nothing.
//!
//! The models limit the ghosts of 2Q and ARC by charge. The policies limit them by the number of
//! ids as well. A simulator has ids for as many entries as its first capacity allows. Traces begin
//! with the largest capacity that they may set, and charges are 10 on average. So this second limit
//! is never reached.

mod arc;
mod clock;
mod lfu;
mod lru;
mod s3fifo;
mod sieve;
mod slru;
mod two_queue;

use std::collections::HashMap;

use bytecache::Policy;
use bytecache::policy::{Request, Simulator, Unit};
use proptest::prelude::*;

/// An eviction policy in its simplest form.
trait Model {
    /// Notes the miss of a key, before room is made for it.
    fn miss(&mut self, _key: u64, _charge: u32) {}

    /// Returns the next victim, or `None` if there is none. `newcomer` is the charge of the entry
    /// that needs room, if there is one.
    fn evict(&mut self, newcomer: Option<u32>) -> Option<u64>;

    /// Places the missed key, after room was made.
    fn place(&mut self, key: u64, charge: u32);

    fn hit(&mut self, key: u64);

    /// Changes the charge of a resident.
    fn recharge(&mut self, key: u64, charge: u32);

    fn remove(&mut self, key: u64);

    fn set_capacity(&mut self, _capacity: u64) {}
}

/// A model and its residents.
struct Reference<M> {
    model: M,
    capacity: u64,
    residents: HashMap<u64, u32>,
    /// The victims of the last operation.
    evicted: Vec<u64>,
}

impl<M: Model> Reference<M> {
    fn new(model: M, capacity: u64) -> Self {
        Self { model, capacity, residents: HashMap::new(), evicted: Vec::new() }
    }

    fn charge(&self) -> u64 {
        self.residents.values().map(|&charge| u64::from(charge)).sum()
    }

    fn request(&mut self, key: u64, charge: u32) -> bool {
        if self.residents.contains_key(&key) {
            self.model.hit(key);
            return true;
        }
        if u64::from(charge) <= self.capacity {
            self.insert(key, charge);
        }
        false
    }

    fn store(&mut self, key: u64, charge: u32) -> bool {
        let Some(&old) = self.residents.get(&key) else { return self.request(key, charge) };
        if u64::from(charge) > self.capacity {
            return true;
        }
        self.model.recharge(key, charge);
        self.model.hit(key);
        self.make_room(charge.saturating_sub(old), None);
        match self.residents.get_mut(&key) {
            Some(old) => *old = charge,
            None => self.insert(key, charge),
        }
        true
    }

    fn remove(&mut self, key: u64) -> bool {
        let was_there = self.residents.remove(&key).is_some();
        if was_there {
            self.model.remove(key);
        }
        was_there
    }

    fn set_capacity(&mut self, capacity: u64) {
        self.capacity = capacity;
        self.model.set_capacity(capacity);
    }

    fn insert(&mut self, key: u64, charge: u32) {
        self.model.miss(key, charge);
        self.make_room(charge, Some(charge));
        self.model.place(key, charge);
        self.residents.insert(key, charge);
    }

    fn make_room(&mut self, charge: u32, newcomer: Option<u32>) {
        while self.charge() + u64::from(charge) > self.capacity {
            let victim = self.model.evict(newcomer).unwrap();
            self.residents.remove(&victim).unwrap();
            self.evicted.push(victim);
        }
    }
}

/// Keys and charges from the oldest to the newest.
#[derive(Default)]
struct Queue(Vec<(u64, u32)>);

impl Queue {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn charge(&self) -> u64 {
        self.0.iter().map(|&(_, charge)| u64::from(charge)).sum()
    }

    fn push(&mut self, key: u64, charge: u32) {
        self.0.push((key, charge));
    }

    fn pop_oldest(&mut self) -> Option<(u64, u32)> {
        if self.is_empty() { None } else { Some(self.0.remove(0)) }
    }

    /// Removes a key. Returns its charge, or `None` if the key is absent.
    fn take(&mut self, key: u64) -> Option<u32> {
        let place = self.0.iter().position(|&(other, _)| other == key)?;
        Some(self.0.remove(place).1)
    }

    fn recharge(&mut self, key: u64, charge: u32) {
        for entry in self.0.iter_mut().filter(|entry| entry.0 == key) {
            entry.1 = charge;
        }
    }
}

/// Returns a share of a capacity, rounded down.
fn percent_of(capacity: u64, percent: u64) -> u64 {
    capacity * percent / 100
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    Request(u64, u32),
    Store(u64, u32),
    Remove(u64),
    /// A capacity in percent of the first one.
    SetCapacity(u64),
}

#[derive(Clone, Debug)]
struct Trace {
    unit: Unit,
    capacity: u64,
    operations: Vec<Operation>,
}

/// Number of traces in each test.
const CASES: u32 = 48;
const MAX_CHARGE: u32 = 20;

fn traces() -> impl Strategy<Value = Trace> {
    traces_of(prop_oneof![(Just(Unit::Bytes), 50..400_u64), (Just(Unit::Entries), 1..40_u64)], MAX_CHARGE)
}

fn traces_of(capacities: impl Strategy<Value = (Unit, u64)>, max_charge: u32) -> impl Strategy<Value = Trace> {
    // Half of the requests are for a tenth of the keys.
    let keys = || prop_oneof![0..8_u64, 8..80_u64];
    let operation = prop_oneof![
        40 => (keys(), 1..=max_charge).prop_map(|(key, charge)| Operation::Request(key, charge)),
        6 => (keys(), 1..=max_charge).prop_map(|(key, charge)| Operation::Store(key, charge)),
        3 => keys().prop_map(Operation::Remove),
        1 => (0..=100_u64).prop_map(Operation::SetCapacity),
    ];
    (capacities, prop::collection::vec(operation, 1..400)).prop_map(|((unit, capacity), operations)| Trace {
        unit,
        capacity,
        operations,
    })
}

/// A policy and its model, which get the same operations.
struct Pair<M> {
    unit: Unit,
    first_capacity: u64,
    simulator: Simulator,
    reference: Reference<M>,
    /// The last new entry that was stored.
    newcomer: Option<Request>,
}

impl<M: Model> Pair<M> {
    fn run(&mut self, operation: Operation) {
        match operation {
            Operation::Request(hash, charge) => {
                let request = Request { hash, charge };
                let found = self.simulator.request(request);
                self.check(found, |reference, charge| reference.request(hash, charge), request);
            }
            Operation::Store(hash, charge) => {
                let request = Request { hash, charge };
                let found = self.simulator.store(request);
                self.check(found, |reference, charge| reference.store(hash, charge), request);
            }
            Operation::Remove(key) => {
                self.settle();
                assert_eq!(self.simulator.remove(key), self.reference.remove(key));
            }
            Operation::SetCapacity(percent) => {
                self.settle();
                let capacity = percent_of(self.first_capacity, percent);
                self.simulator.set_capacity(capacity);
                self.reference.set_capacity(capacity);
            }
        }
        assert_eq!(self.simulator.len(), self.reference.residents.len());
        assert_eq!(self.simulator.charge(), self.reference.charge());
        self.simulator.validate();
    }

    /// Applies to the model an access that was applied to the policy, and compares the results.
    fn check(&mut self, found: bool, access: impl FnOnce(&mut Reference<M>, u32) -> bool, request: Request) {
        let charge = if self.unit == Unit::Bytes { request.charge } else { 1 };
        self.reference.evicted.clear();
        assert_eq!(found, access(&mut self.reference, charge), "hit or miss");
        assert_eq!(self.simulator.evicted(), self.reference.evicted, "victims");
        if !found && self.reference.residents.contains_key(&request.hash) {
            self.newcomer = Some(request);
        }
    }

    /// Stores the newcomer again. Policies leave open whether a newcomer has its place before the
    /// next access.
    fn settle(&mut self) {
        let newcomer = self.newcomer.take();
        if let Some(Request { hash, charge }) = newcomer.filter(|new| self.reference.residents.contains_key(&new.hash))
        {
            self.run(Operation::Store(hash, charge));
        }
    }
}

/// Runs a trace through a policy and its model, and compares them.
fn compare<M: Model>(policy: impl Into<Policy>, model: impl FnOnce(u64) -> M, trace: &Trace) {
    let &Trace { unit, capacity, .. } = trace;
    let mut pair = Pair {
        unit,
        first_capacity: capacity,
        simulator: Simulator::new(&policy.into(), capacity, unit),
        reference: Reference::new(model(capacity), capacity),
        newcomer: None,
    };
    trace.operations.iter().for_each(|&operation| pair.run(operation));
}
