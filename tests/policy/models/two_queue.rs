//! 2Q: Johnson and Shasha, "2Q: a low overhead high performance buffer management replacement
//! algorithm", VLDB 1994. This is the full version.

use bytecache::Policy;
use bytecache::policy::TwoQueueConfig;
use proptest::prelude::*;

use super::{CASES, Model, Queue, compare, percent_of, traces};

struct TwoQueue {
    a1_in: Queue,
    /// Ghosts.
    a1_out: Queue,
    am: Queue,
    in_percent: u64,
    out_percent: u64,
    k_in: u64,
    k_out: u64,
    newcomer_was_out: bool,
}

impl TwoQueue {
    fn new(capacity: u64, in_percent: u64, out_percent: u64) -> Self {
        Self {
            a1_in: Queue::default(),
            a1_out: Queue::default(),
            am: Queue::default(),
            in_percent,
            out_percent,
            k_in: percent_of(capacity, in_percent),
            k_out: percent_of(capacity, out_percent),
            newcomer_was_out: false,
        }
    }

    fn trim(&mut self) {
        while self.a1_out.charge() > self.k_out {
            self.a1_out.pop_oldest();
        }
    }
}

impl Model for TwoQueue {
    fn miss(&mut self, key: u64, _charge: u32) {
        self.newcomer_was_out = self.a1_out.take(key).is_some();
    }

    fn evict(&mut self, _newcomer: Option<u32>) -> Option<u64> {
        if self.a1_in.charge() > self.k_in || self.am.is_empty() {
            let (key, charge) = self.a1_in.pop_oldest()?;
            self.a1_out.push(key, charge);
            self.trim();
            Some(key)
        } else {
            self.am.pop_oldest().map(|(key, _)| key)
        }
    }

    fn place(&mut self, key: u64, charge: u32) {
        let queue = if self.newcomer_was_out { &mut self.am } else { &mut self.a1_in };
        queue.push(key, charge);
    }

    fn hit(&mut self, key: u64) {
        if let Some(charge) = self.am.take(key) {
            self.am.push(key, charge);
        }
    }

    fn recharge(&mut self, key: u64, charge: u32) {
        self.a1_in.recharge(key, charge);
        self.am.recharge(key, charge);
    }

    fn remove(&mut self, key: u64) {
        self.a1_in.take(key).or_else(|| self.am.take(key)).unwrap();
    }

    fn set_capacity(&mut self, capacity: u64) {
        self.k_in = percent_of(capacity, self.in_percent);
        self.k_out = percent_of(capacity, self.out_percent);
        self.trim();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn two_queue_evicts_what_its_model_evicts(trace in traces()) {
        compare(Policy::TwoQueue, |capacity| TwoQueue::new(capacity, 25, 50), &trace);
    }

    #[test]
    fn two_queue_with_any_shares_evicts_what_its_model_evicts(
        trace in traces(), in_percent in 0..=100_u8, out_percent in 0..=200_u8,
    ) {
        let config = TwoQueueConfig::new().in_percent(in_percent).unwrap().out_percent(out_percent).unwrap();
        compare(config, |capacity| TwoQueue::new(capacity, in_percent.into(), out_percent.into()), &trace);
    }
}
