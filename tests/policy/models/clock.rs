//! CLOCK: Corbató, "A paging experiment with the Multics system", 1968. With counters: Smith, ACM
//! TODS 1978. Without counters it is FIFO.

use bytecache::Policy;
use bytecache::policy::ClockConfig;
use proptest::prelude::*;

use super::{CASES, Model, compare, traces};

struct Clock {
    /// Keys and the rounds that they have left, from the oldest to the newest.
    entries: Vec<(u64, u8)>,
    max_rounds: u8,
}

impl Clock {
    fn new(max_rounds: u8) -> Self {
        Self { entries: Vec::new(), max_rounds }
    }
}

impl Model for Clock {
    fn evict(&mut self, _newcomer: Option<u32>) -> Option<u64> {
        while self.entries.first()?.1 > 0 {
            let (key, rounds) = self.entries.remove(0);
            self.entries.push((key, rounds - 1));
        }
        Some(self.entries.remove(0).0)
    }

    fn place(&mut self, key: u64, _charge: u32) {
        self.entries.push((key, 0));
    }

    fn hit(&mut self, key: u64) {
        let (_, rounds) = self.entries.iter_mut().find(|entry| entry.0 == key).unwrap();
        *rounds = (*rounds + 1).min(self.max_rounds);
    }

    fn recharge(&mut self, _key: u64, _charge: u32) {}

    fn remove(&mut self, key: u64) {
        self.entries.retain(|entry| entry.0 != key);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn fifo_evicts_what_its_model_evicts(trace in traces()) {
        compare(Policy::Fifo, |_| Clock::new(0), &trace);
    }

    #[test]
    fn clock_evicts_what_its_model_evicts(trace in traces()) {
        compare(Policy::Clock, |_| Clock::new(1), &trace);
    }

    #[test]
    fn clock_with_more_chances_evicts_what_its_model_evicts(trace in traces(), chances in 2..=3_u8) {
        compare(ClockConfig::new().chances(chances).unwrap(), |_| Clock::new(chances), &trace);
    }
}
