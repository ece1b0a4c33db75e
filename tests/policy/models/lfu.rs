//! LFU, least frequently used, with the ageings of the literature. Of entries with equal counts,
//! the one that was used longest ago leaves first.
//!
//! Halving: Einziger, Friedman and Manes, "TinyLFU", ACM TOS 2017. Dynamic: Arlitt et al.,
//! "Evaluating content management techniques for web proxy caches", 2000.

use bytecache::policy::{Ageing, LfuConfig};
use proptest::prelude::*;

use super::{CASES, Model, compare, traces};

struct Entry {
    key: u64,
    count: u64,
    /// The count. With dynamic ageing, the age at the last access is added.
    rank: u64,
}

struct Lfu {
    ageing: Ageing,
    /// Entries in the order in which they leave.
    entries: Vec<Entry>,
    /// The rank of the last victim.
    age: u64,
    accesses: usize,
}

impl Lfu {
    fn new(ageing: Ageing) -> Self {
        Self { ageing, entries: Vec::new(), age: 0, accesses: 0 }
    }

    /// Places an entry behind all others of its rank, and counts the access.
    fn access(&mut self, key: u64, count: u64) {
        let rank = if self.ageing == Ageing::Dynamic { self.age + count } else { count };
        let place = self.entries.iter().position(|other| other.rank > rank).unwrap_or(self.entries.len());
        self.entries.insert(place, Entry { key, count, rank });
        self.accesses += 1;
        if self.ageing == Ageing::Halving && self.accesses >= 10 * self.entries.len() {
            self.accesses = 0;
            for entry in &mut self.entries {
                entry.count /= 2;
                entry.rank = entry.count;
            }
        }
    }

    fn take(&mut self, key: u64) -> Entry {
        let place = self.entries.iter().position(|entry| entry.key == key).unwrap();
        self.entries.remove(place)
    }
}

impl Model for Lfu {
    fn evict(&mut self, _newcomer: Option<u32>) -> Option<u64> {
        let victim = self.entries.first()?.key;
        self.age = self.take(victim).rank;
        Some(victim)
    }

    fn place(&mut self, key: u64, _charge: u32) {
        self.access(key, 1);
    }

    fn hit(&mut self, key: u64) {
        let count = self.take(key).count;
        self.access(key, count + 1);
    }

    fn recharge(&mut self, _key: u64, _charge: u32) {}

    fn remove(&mut self, key: u64) {
        self.take(key);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn lfu_without_ageing_evicts_what_its_model_evicts(trace in traces()) {
        compare(LfuConfig::new().ageing(Ageing::None), |_| Lfu::new(Ageing::None), &trace);
    }

    #[test]
    fn lfu_with_halving_evicts_what_its_model_evicts(trace in traces()) {
        compare(LfuConfig::new().ageing(Ageing::Halving), |_| Lfu::new(Ageing::Halving), &trace);
    }

    #[test]
    fn lfu_with_dynamic_ageing_evicts_what_its_model_evicts(trace in traces()) {
        compare(LfuConfig::new().ageing(Ageing::Dynamic), |_| Lfu::new(Ageing::Dynamic), &trace);
    }
}
