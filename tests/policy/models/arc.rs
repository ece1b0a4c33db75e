//! ARC: Megiddo and Modha, "ARC: a self-tuning, low overhead replacement cache", FAST 2003.
//!
//! The paper's condition "the directory L1 is full" means here that the newcomer's charge would
//! exceed the capacity.

use bytecache::Policy;
use proptest::prelude::*;

use super::{CASES, Model, Queue, compare, traces};

#[derive(Clone, Copy, PartialEq)]
enum Ghost {
    None,
    InB1,
    InB2,
}

struct Arc {
    capacity: u64,
    t1: Queue,
    t2: Queue,
    b1: Queue,
    b2: Queue,
    p: f64,
    newcomer: Ghost,
}

impl Arc {
    fn new(capacity: u64) -> Self {
        Self {
            capacity,
            t1: Queue::default(),
            t2: Queue::default(),
            b1: Queue::default(),
            b2: Queue::default(),
            p: 0.0,
            newcomer: Ghost::None,
        }
    }

    fn l1(&self) -> u64 {
        self.t1.charge() + self.b1.charge()
    }

    fn l2(&self) -> u64 {
        self.t2.charge() + self.b2.charge()
    }

    /// Case IV: forgets ghosts until `charge` more fits into L1, and into both directories
    /// together.
    fn forget(&mut self, charge: u64) {
        while self.l1() + charge > self.capacity && self.b1.pop_oldest().is_some() {}
        while self.l1() + self.l2() + charge > 2 * self.capacity && self.b2.pop_oldest().is_some() {}
    }

    fn replace(&mut self, is_in_b2: bool) -> Option<u64> {
        let t1 = self.t1.charge() as f64;
        let is_t1 = t1 > self.p || is_in_b2 && t1 == self.p;
        let (from, to) = if !self.t1.is_empty() && (is_t1 || self.t2.is_empty()) {
            (&mut self.t1, &mut self.b1)
        } else {
            (&mut self.t2, &mut self.b2)
        };
        let (key, charge) = from.pop_oldest()?;
        to.push(key, charge);
        Some(key)
    }
}

impl Model for Arc {
    fn miss(&mut self, key: u64, charge: u32) {
        let (b1, b2) = (self.b1.charge() as f64, self.b2.charge() as f64);
        if self.b1.take(key).is_some() {
            let delta = (b2 / b1).max(1.0) * f64::from(charge);
            self.p = (self.p + delta).min(self.capacity as f64);
            self.newcomer = Ghost::InB1;
        } else if self.b2.take(key).is_some() {
            let delta = (b1 / b2).max(1.0) * f64::from(charge);
            self.p = (self.p - delta).max(0.0);
            self.newcomer = Ghost::InB2;
        } else {
            self.newcomer = Ghost::None;
            self.forget(charge.into());
        }
    }

    fn evict(&mut self, newcomer: Option<u32>) -> Option<u64> {
        let known = if newcomer.is_some() { self.newcomer } else { Ghost::None };
        let coming = newcomer.filter(|_| known == Ghost::None).unwrap_or(0);
        // Case IV A: if ghosts were not enough, T1's oldest entry leaves without a ghost.
        if self.l1() + u64::from(coming) > self.capacity && !self.t1.is_empty() {
            return self.t1.pop_oldest().map(|(key, _)| key);
        }
        self.replace(known == Ghost::InB2)
    }

    fn place(&mut self, key: u64, charge: u32) {
        let queue = if self.newcomer == Ghost::None { &mut self.t1 } else { &mut self.t2 };
        queue.push(key, charge);
    }

    fn hit(&mut self, key: u64) {
        let charge = self.t1.take(key).or_else(|| self.t2.take(key)).unwrap();
        self.t2.push(key, charge);
    }

    fn recharge(&mut self, key: u64, charge: u32) {
        self.t1.recharge(key, charge);
        self.t2.recharge(key, charge);
    }

    fn remove(&mut self, key: u64) {
        self.t1.take(key).or_else(|| self.t2.take(key)).unwrap();
    }

    fn set_capacity(&mut self, capacity: u64) {
        self.capacity = capacity;
        self.p = self.p.min(capacity as f64);
        self.forget(0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn arc_evicts_what_its_model_evicts(trace in traces()) {
        compare(Policy::Arc, Arc::new, &trace);
    }
}
