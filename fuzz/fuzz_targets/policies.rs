//! Applies any operations to any policy with any parameters. The policy's own checks hold, its
//! residents match a map, and it stays within its capacity.
#![no_main]

use std::collections::HashMap;

use arbitrary::Arbitrary;
use bytecache::Policy;
use bytecache::policy::{
    Ageing, ClockConfig, LfuConfig, Request, S3FifoConfig, Simulator, SlruConfig, TinyLfuConfig, TwoQueueConfig, Unit,
};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Choice {
    Plain(u8),
    Lfu(u8),
    TwoQueue(u8, u8),
    Slru(u8),
    Clock(u8),
    S3Fifo(u8, u8),
    TinyLfu(u8, bool),
}

impl Choice {
    fn policy(&self) -> Policy {
        match *self {
            Self::Plain(number) => Policy::ALL[usize::from(number) % Policy::ALL.len()],
            Self::Lfu(number) => {
                let ageings = [Ageing::None, Ageing::Halving, Ageing::Dynamic];
                LfuConfig::new().ageing(ageings[usize::from(number) % 3]).into()
            }
            Self::TwoQueue(in_percent, out_percent) => {
                let config = TwoQueueConfig::new().in_percent(in_percent);
                config.and_then(|config| config.out_percent(out_percent)).unwrap_or_default().into()
            }
            Self::Slru(percent) => SlruConfig::new().protected_percent(percent).unwrap_or_default().into(),
            Self::Clock(chances) => ClockConfig::new().chances(chances).unwrap_or_default().into(),
            Self::S3Fifo(percent, visits) => {
                let config = S3FifoConfig::new().small_percent(percent);
                config.and_then(|config| config.promotion_visits(visits)).unwrap_or_default().into()
            }
            Self::TinyLfu(percent, adaptive) => {
                TinyLfuConfig::new().window_percent(percent).unwrap_or_default().adaptive(adaptive).into()
            }
        }
    }
}

#[derive(Arbitrary, Debug)]
enum Operation {
    Request(u8, u8),
    Store(u8, u8),
    /// Stores an entry that may be larger than the cache.
    StoreLarge(u8, u32),
    Remove(u8),
    Capacity(u16),
    /// Stores many new keys of the smallest charge, so that the ids run out.
    Scan(u16),
}

#[derive(Arbitrary, Debug)]
struct Input {
    choice: Choice,
    capacity: u16,
    in_entries: bool,
    operations: Vec<Operation>,
}

fuzz_target!(|input: Input| {
    let policy = input.choice.policy();
    assert_eq!(policy.to_string().parse(), Ok(policy));
    let unit = if input.in_entries { Unit::Entries } else { Unit::Bytes };
    let mut simulator = Simulator::new(&policy, input.capacity.into(), unit);
    let mut capacity = u64::from(input.capacity);
    let mut scanned = 1 << 32;
    // The present keys, according to the simulator's answers.
    let mut there: HashMap<u64, ()> = HashMap::new();
    for operation in input.operations {
        let mut stored = None;
        match operation {
            Operation::Request(key, charge) => {
                let hit = simulator.request(Request { hash: key.into(), charge: charge.into() });
                assert_eq!(hit, there.contains_key(&key.into()));
                stored = Some(u64::from(key));
            }
            Operation::Store(key, charge) => {
                simulator.store(Request { hash: key.into(), charge: charge.into() });
                stored = Some(u64::from(key));
            }
            Operation::StoreLarge(key, charge) => {
                simulator.store(Request { hash: key.into(), charge });
                stored = Some(u64::from(key));
            }
            Operation::Remove(key) => {
                assert_eq!(simulator.remove(key.into()), there.remove(&key.into()).is_some());
            }
            Operation::Capacity(to) => {
                capacity = to.into();
                simulator.set_capacity(capacity);
            }
            Operation::Scan(length) => {
                for _ in 0..length % 2_000 {
                    scanned += 1;
                    simulator.request(Request { hash: scanned, charge: 1 });
                    for key in simulator.evicted() {
                        there.remove(key);
                    }
                    if simulator.contains(scanned) {
                        there.insert(scanned, ());
                    }
                }
            }
        }
        if let Some(key) = stored {
            for evicted in simulator.evicted() {
                // The key's old value may be evicted for its new one, which is then stored.
                assert!(there.remove(evicted).is_some() || *evicted == key, "a victim that was not present");
            }
            if simulator.contains(key) {
                there.insert(key, ());
            }
            let is_stored = simulator.contains(key) && !simulator.evicted().is_empty();
            assert!(!is_stored || simulator.charge() <= capacity, "evictions did not free enough space");
        }
        assert_eq!(simulator.len(), there.len());
        simulator.validate();
    }
});
