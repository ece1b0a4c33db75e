//! SIEVE: Zhang, Yang, Yue, Vigfusson and Rashmi, "SIEVE is simpler than LRU", NSDI 2024.

use bytecache::Policy;
use proptest::prelude::*;

use super::{CASES, Model, compare, traces};

#[derive(Default)]
struct Sieve {
    /// Keys from the oldest to the newest, each with `true` if it was visited.
    entries: Vec<(u64, bool)>,
    hand: Option<u64>,
}

impl Sieve {
    fn place_of(&self, key: u64) -> usize {
        self.entries.iter().position(|entry| entry.0 == key).unwrap()
    }

    /// Returns the next newer key, or `None` at the newest.
    fn after(&self, place: usize) -> Option<u64> {
        self.entries.get(place + 1).map(|entry| entry.0)
    }
}

impl Model for Sieve {
    fn evict(&mut self, _newcomer: Option<u32>) -> Option<u64> {
        let mut place = self.hand.map_or(0, |hand| self.place_of(hand));
        while self.entries.get(place)?.1 {
            self.entries[place].1 = false;
            place = (place + 1) % self.entries.len();
        }
        self.hand = self.after(place);
        Some(self.entries.remove(place).0)
    }

    fn place(&mut self, key: u64, _charge: u32) {
        self.entries.push((key, false));
    }

    fn hit(&mut self, key: u64) {
        let place = self.place_of(key);
        self.entries[place].1 = true;
    }

    fn recharge(&mut self, _key: u64, _charge: u32) {}

    fn remove(&mut self, key: u64) {
        let place = self.place_of(key);
        if self.hand == Some(key) {
            self.hand = self.after(place);
        }
        self.entries.remove(place);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn sieve_evicts_what_its_model_evicts(trace in traces()) {
        compare(Policy::Sieve, |_| Sieve::default(), &trace);
    }
}
