//! S3-FIFO: Yang, Zhang, Qiu, Yue and Rashmi, "FIFO queues are all you need for cache eviction",
//! SOSP 2023.
//!
//! The policy's ghosts are approximate if they need more than one set. These caches are so small
//! that one set holds all ghosts, and no two of their keys have the same fingerprint. So the ghosts
//! are a queue of which the newest are found.

use bytecache::Policy;
use bytecache::policy::{S3FifoConfig, Unit};
use proptest::prelude::*;

use super::{CASES, Model, Trace, compare, percent_of, traces_of};

/// Number of ghosts for which a set has room.
const MAX_GHOSTS: usize = 32;

struct Entry {
    key: u64,
    charge: u32,
    visits: u8,
}

struct S3Fifo {
    /// Entries from the oldest to the newest, like all queues here.
    small: Vec<Entry>,
    main: Vec<Entry>,
    ghosts: Vec<u64>,
    /// Number of the newest ghosts that are found.
    max_ghosts: usize,
    small_percent: u64,
    small_target: u64,
    promotion_visits: u8,
}

impl S3Fifo {
    fn new(capacity: u64, small_percent: u64, promotion_visits: u8) -> Self {
        Self {
            small: Vec::new(),
            main: Vec::new(),
            ghosts: Vec::new(),
            max_ghosts: MAX_GHOSTS,
            small_percent,
            small_target: percent_of(capacity, small_percent),
            promotion_visits,
        }
    }

    fn is_small_over_its_share(&self) -> bool {
        let charge: u64 = self.small.iter().map(|entry| u64::from(entry.charge)).sum();
        !self.small.is_empty() && (charge >= self.small_target || self.main.is_empty())
    }

    fn entry(&mut self, key: u64) -> &mut Entry {
        self.small.iter_mut().chain(&mut self.main).find(|entry| entry.key == key).unwrap()
    }

    fn take_ghost(&mut self, key: u64) -> bool {
        let Some(place) = self.ghosts.iter().position(|&ghost| ghost == key) else { return false };
        let is_found = self.ghosts.len() - place <= self.max_ghosts;
        self.ghosts.remove(place);
        is_found
    }
}

impl Model for S3Fifo {
    fn evict(&mut self, _newcomer: Option<u32>) -> Option<u64> {
        self.max_ghosts = ((self.small.len() + self.main.len()) * 9 / 10).clamp(1, MAX_GHOSTS);
        while self.is_small_over_its_share() {
            let entry = self.small.remove(0);
            if entry.visits < self.promotion_visits {
                self.ghosts.push(entry.key);
                self.ghosts.drain(..self.ghosts.len().saturating_sub(MAX_GHOSTS));
                return Some(entry.key);
            }
            self.main.push(Entry { visits: 0, ..entry });
        }
        while self.main.first()?.visits > 0 {
            let Entry { key, charge, visits } = self.main.remove(0);
            self.main.push(Entry { key, charge, visits: visits - 1 });
        }
        Some(self.main.remove(0).key)
    }

    fn place(&mut self, key: u64, charge: u32) {
        let queue = if self.take_ghost(key) { &mut self.main } else { &mut self.small };
        queue.push(Entry { key, charge, visits: 0 });
    }

    fn hit(&mut self, key: u64) {
        let entry = self.entry(key);
        entry.visits = (entry.visits + 1).min(3);
    }

    fn recharge(&mut self, key: u64, charge: u32) {
        self.entry(key).charge = charge;
    }

    fn remove(&mut self, key: u64) {
        self.small.retain(|entry| entry.key != key);
        self.main.retain(|entry| entry.key != key);
    }

    fn set_capacity(&mut self, capacity: u64) {
        self.small_target = percent_of(capacity, self.small_percent);
    }
}

/// Returns traces with at most 34 entries, for which there are 42 ids and 31 ghosts.
fn small_traces() -> impl Strategy<Value = Trace> {
    traces_of(prop_oneof![(Just(Unit::Bytes), 10..=34_u64), (Just(Unit::Entries), 1..=34_u64)], 4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn s3_fifo_evicts_what_its_model_evicts(trace in small_traces()) {
        compare(Policy::S3Fifo, |capacity| S3Fifo::new(capacity, 10, 2), &trace);
    }

    #[test]
    fn s3_fifo_with_any_parameters_evicts_what_its_model_evicts(
        trace in small_traces(), percent in 0..=100_u8, visits in 1..=3_u8,
    ) {
        let config = S3FifoConfig::new().small_percent(percent).unwrap().promotion_visits(visits).unwrap();
        compare(config, |capacity| S3Fifo::new(capacity, percent.into(), visits), &trace);
    }
}
