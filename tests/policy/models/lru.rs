//! LRU: Mattson, Gecsei, Slutz and Traiger, "Evaluation techniques for storage hierarchies", IBM
//! Systems Journal 1970. MRU, which evicts from the other end: Chou and DeWitt, VLDB 1985.

use bytecache::Policy;
use proptest::prelude::*;

use super::{CASES, Model, Queue, compare, traces};

#[derive(Clone, Copy)]
enum End {
    Oldest,
    Newest,
}

struct ByRecency {
    queue: Queue,
    leaves_from: End,
}

impl ByRecency {
    fn new(leaves_from: End) -> Self {
        Self { queue: Queue::default(), leaves_from }
    }
}

impl Model for ByRecency {
    fn evict(&mut self, _newcomer: Option<u32>) -> Option<u64> {
        let victim = match self.leaves_from {
            End::Oldest => self.queue.pop_oldest(),
            End::Newest => self.queue.0.pop(),
        };
        victim.map(|(key, _)| key)
    }

    fn place(&mut self, key: u64, charge: u32) {
        self.queue.push(key, charge);
    }

    fn hit(&mut self, key: u64) {
        let charge = self.queue.take(key).unwrap();
        self.queue.push(key, charge);
    }

    fn recharge(&mut self, key: u64, charge: u32) {
        self.queue.recharge(key, charge);
    }

    fn remove(&mut self, key: u64) {
        self.queue.take(key).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn lru_evicts_what_its_model_evicts(trace in traces()) {
        compare(Policy::Lru, |_| ByRecency::new(End::Oldest), &trace);
    }

    #[test]
    fn mru_evicts_what_its_model_evicts(trace in traces()) {
        compare(Policy::Mru, |_| ByRecency::new(End::Newest), &trace);
    }
}
