//! SLRU: Karedla, Love and Wherry, "Caching strategies to improve disk system performance", IEEE
//! Computer 1994.

use bytecache::Policy;
use bytecache::policy::SlruConfig;
use proptest::prelude::*;

use super::{CASES, Model, Queue, compare, percent_of, traces};

struct Slru {
    probation: Queue,
    protected: Queue,
    protected_percent: u64,
    protected_max: u64,
}

impl Slru {
    fn new(capacity: u64, protected_percent: u64) -> Self {
        Self {
            probation: Queue::default(),
            protected: Queue::default(),
            protected_percent,
            protected_max: percent_of(capacity, protected_percent),
        }
    }

    /// Moves the oldest protected entries to probation until the limit holds. A single entry that
    /// is larger than the limit stays.
    fn demote(&mut self) {
        while self.protected.charge() > self.protected_max && self.protected.len() > 1 {
            let (key, charge) = self.protected.pop_oldest().unwrap();
            self.probation.push(key, charge);
        }
    }
}

impl Model for Slru {
    fn evict(&mut self, _newcomer: Option<u32>) -> Option<u64> {
        self.probation.pop_oldest().or_else(|| self.protected.pop_oldest()).map(|(key, _)| key)
    }

    fn place(&mut self, key: u64, charge: u32) {
        self.probation.push(key, charge);
    }

    fn hit(&mut self, key: u64) {
        let charge = self.probation.take(key).or_else(|| self.protected.take(key)).unwrap();
        self.protected.push(key, charge);
        self.demote();
    }

    fn recharge(&mut self, key: u64, charge: u32) {
        self.probation.recharge(key, charge);
        self.protected.recharge(key, charge);
    }

    fn remove(&mut self, key: u64) {
        self.probation.take(key).or_else(|| self.protected.take(key)).unwrap();
    }

    fn set_capacity(&mut self, capacity: u64) {
        self.protected_max = percent_of(capacity, self.protected_percent);
        self.demote();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn slru_evicts_what_its_model_evicts(trace in traces()) {
        compare(Policy::Slru, |capacity| Slru::new(capacity, 80), &trace);
    }

    #[test]
    fn slru_with_any_share_evicts_what_its_model_evicts(trace in traces(), percent in 0..=100_u8) {
        let config = SlruConfig::new().protected_percent(percent).unwrap();
        compare(config, |capacity| Slru::new(capacity, percent.into()), &trace);
    }
}
