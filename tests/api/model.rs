//! Random operations against a map: the cache may forget, but it never lies, and its state always adds up.

use std::collections::HashMap;

use bytecache::testing::Inspect;
use bytecache::{Cache, Error, Policy, StableHash, Value};
use proptest::prelude::*;

use crate::support::alone;

/// Where a cache is made from; small, so that everything happens.
#[derive(Clone, Debug)]
struct Setup {
    max_bytes: usize,
    shards: usize,
    alignment: usize,
    policy: Policy,
}

#[derive(Clone, Debug)]
enum Operation {
    Insert(u16, usize),
    InsertIfAbsent(u16, usize),
    Replace(u16, usize),
    Get(u16),
    GetMany(Vec<u16>),
    Remove(u16),
    Take(u16),
    Retain(u8),
    Clear,
    /// Keeps a value for a while.
    Hold(u16),
    LetGo,
    Maintain,
}

fn setups() -> impl Strategy<Value = Setup> {
    (
        prop_oneof![Just(64 << 10), Just(200 << 10), Just(1 << 20)],
        prop_oneof![Just(1), Just(2)],
        prop_oneof![Just(1), Just(8), Just(16)],
        prop::sample::select(Policy::ALL),
    )
        .prop_map(|(max_bytes, shards, alignment, policy)| Setup {
            max_bytes: max_bytes * shards,
            shards,
            alignment,
            policy,
        })
}

/// Mostly small, sometimes larger than a chunk, now and then larger than an entry may be.
fn lengths() -> impl Strategy<Value = usize> {
    prop_oneof![20 => 0..100_usize, 10 => 100..2_000_usize, 3 => 2_000..9_000_usize, 1 => 9_000..200_000_usize]
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let key = || 0..600_u16;
    let operation = prop_oneof![
        30 => (key(), lengths()).prop_map(|(key, len)| Operation::Insert(key, len)),
        5 => (key(), lengths()).prop_map(|(key, len)| Operation::InsertIfAbsent(key, len)),
        5 => (key(), lengths()).prop_map(|(key, len)| Operation::Replace(key, len)),
        30 => key().prop_map(Operation::Get),
        2 => prop::collection::vec(key(), 0..40).prop_map(Operation::GetMany),
        6 => key().prop_map(Operation::Remove),
        2 => key().prop_map(Operation::Take),
        1 => any::<u8>().prop_map(Operation::Retain),
        1 => Just(Operation::Clear),
        4 => key().prop_map(Operation::Hold),
        3 => Just(Operation::LetGo),
        1 => Just(Operation::Maintain),
    ];
    prop::collection::vec(operation, 1..400)
}

/// A key's bytes: their length differs, so that both headers occur.
fn key_bytes(key: u16) -> Vec<u8> {
    let mut bytes = key.to_le_bytes().to_vec();
    bytes.resize(2 + usize::from(key % 300), b'k');
    bytes
}

/// A value that names its key and its version in every byte that it can.
fn value_bytes(key: u16, version: u32, len: usize) -> Vec<u8> {
    let pattern = [key.to_le_bytes().as_slice(), &version.to_le_bytes()].concat();
    pattern.into_iter().cycle().take(len).collect()
}

struct Run {
    cache: Cache,
    setup: Setup,
    model: HashMap<u16, Vec<u8>>,
    held: Vec<(Value, Vec<u8>)>,
    version: u32,
}

impl Run {
    fn new(setup: Setup) -> Self {
        let cache = Cache::builder()
            .max_bytes(setup.max_bytes)
            .shards(setup.shards)
            .policy(setup.policy)
            .value_alignment(setup.alignment)
            .hasher(StableHash::with_seed(1))
            .build()
            .unwrap();
        Self { cache, setup, model: HashMap::new(), held: Vec::new(), version: 0 }
    }

    /// Whether a store went as it should; remembers the value if it was stored. If it fails nothing older is left, unless
    /// that declines it.
    fn store(
        &mut self,
        (key, len): (u16, usize),
        is_declined: bool,
        store: impl Fn(&Cache, &[u8], &[u8]) -> Result<bool, Error>,
    ) -> Option<bool> {
        self.version += 1;
        let (key_bytes, value) = (key_bytes(key), value_bytes(key, self.version, len));
        let fits = key_bytes.len() + len <= self.cache.max_entry_bytes();
        match store(&self.cache, &key_bytes, &value) {
            Ok(stored) => {
                assert!(fits);
                if stored {
                    self.model.insert(key, value);
                }
                Some(stored)
            }
            Err(error) => {
                match error {
                    Error::TooLarge { .. } => assert!(!fits),
                    Error::Rejected => assert!(!self.held.is_empty(), "nobody holds any space"),
                    other => panic!("{other:?}"),
                }
                if !is_declined {
                    self.model.remove(&key);
                }
                assert_eq!(self.cache.contains_key(key_bytes), is_declined);
                None
            }
        }
    }

    fn check(&self, key: u16, value: Option<&[u8]>) {
        let Some(value) = value else { return };
        assert_eq!(Some(value), self.model.get(&key).map(Vec::as_slice), "another value under {key}");
        let misaligned = value.as_ptr().addr() % self.setup.alignment;
        assert_eq!(misaligned, 0);
    }

    fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::Insert(key, len) => {
                self.store((key, len), false, |cache, key, value| cache.insert(key, value).map(|()| true));
            }
            Operation::InsertIfAbsent(key, len) => {
                let was_there = self.cache.contains_key(key_bytes(key));
                let store = |cache: &Cache, key: &[u8], value: &[u8]| cache.insert_if_absent(key, value);
                let stored = self.store((key, len), was_there, store);
                assert!(stored.is_none_or(|stored| stored != was_there));
            }
            Operation::Replace(key, len) => {
                let was_there = self.cache.contains_key(key_bytes(key));
                let stored = self.store((key, len), false, |cache, key, value| cache.replace(key, value));
                assert!(stored.is_none_or(|stored| stored == was_there));
            }
            Operation::Get(key) => {
                self.cache.view(key_bytes(key), |value| self.check(key, Some(value)));
                let mut copy = vec![1, 2, 3];
                let found = self.cache.get_into(key_bytes(key), &mut copy);
                self.check(key, found.then_some(&copy[..]).filter(|_| self.setup.alignment == 1));
                assert!(found || copy == [1, 2, 3]);
            }
            Operation::GetMany(keys) => {
                let bytes: Vec<_> = keys.iter().copied().map(key_bytes).collect();
                let mut next = 0;
                self.cache.get_many(&bytes, |index, value| {
                    assert_eq!(index, next);
                    next += 1;
                    self.check(keys[index], value);
                });
                assert_eq!(next, keys.len());
            }
            Operation::Remove(key) => {
                let was_there = self.cache.contains_key(key_bytes(key));
                assert_eq!(self.cache.remove(key_bytes(key)), was_there);
                self.model.remove(&key);
                assert!(!self.cache.contains_key(key_bytes(key)));
            }
            Operation::Take(key) => {
                let value = self.cache.take(key_bytes(key));
                self.check(key, value.as_deref().filter(|_| self.setup.alignment == 1));
                self.model.remove(&key);
                assert!(!self.cache.contains_key(key_bytes(key)));
            }
            Operation::Retain(divisor) => {
                let divisor = u16::from(divisor) + 1;
                let number = |key: &[u8]| u16::from_le_bytes([key[0], key[1]]);
                self.cache.retain(|key, _| number(key) % divisor != 0);
                self.cache.for_each(|key, value| {
                    assert_ne!(number(key) % divisor, 0);
                    self.check(number(key), Some(value));
                });
                self.model.retain(|key, _| key % divisor != 0);
            }
            Operation::Clear => {
                self.cache.clear();
                self.model.clear();
                assert!(self.cache.is_empty());
            }
            Operation::Hold(key) => {
                if let Some(value) = self.cache.peek(key_bytes(key)) {
                    self.held.push((value.clone(), self.model[&key].clone()));
                }
            }
            Operation::LetGo => drop(self.held.pop()),
            Operation::Maintain => self.cache.maintain(),
        }
        self.cache.validate();
        for (value, expected) in &self.held {
            assert_eq!(value, expected, "a held value has changed");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn it_may_forget_and_never_lies(setup in setups(), operations in operations()) {
        let _alone = alone();
        let mut run = Run::new(setup);
        for operation in operations {
            run.apply(operation);
        }
        let seen = std::cell::Cell::new(0);
        run.cache.for_each(|key, value| {
            run.check(u16::from_le_bytes([key[0], key[1]]), Some(value));
            seen.set(seen.get() + 1);
        });
        prop_assert_eq!(seen.get(), run.cache.len());
        let Run { cache, held, .. } = run;
        drop(cache);
        for (value, expected) in held {
            prop_assert_eq!(value, expected, "a held value did not outlive the cache");
        }
    }
}
