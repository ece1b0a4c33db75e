//! Random operations on plain keys and on versions of namespaces, compared with a map for each.
//! Nothing is evicted, so a miss where the model has a value is an error as well.

use std::collections::HashMap;
use std::io;

use bytecache::testing::Inspect;
use bytecache::{Cache, Invalidation, Lifetime, Namespace, StableHash, Update};
use proptest::prelude::*;

/// The sets of keys: the plain ones, and these names and versions.
const SPACES: [(&str, u32); 4] = [("a", 0), ("a", 1), ("b", 0), ("", 7)];

/// Keys that look like each other's stored keys, and some that do not.
const KEYS: [&[u8]; 8] =
    [b"", b"key", b"\xfd", b"\xfd\xc1", b"\xfd\xc1\x00", b"\xfd\xc1\x01\x00", b"\xfd\xc1\x01\x00key", &[0xc1; 300]];

#[derive(Clone, Debug)]
enum Operation {
    Insert(usize, usize, u8),
    InsertIfAbsent(usize, usize, u8),
    Replace(usize, usize, u8),
    Update(usize, usize, Option<u8>),
    Remove(usize, usize),
    Take(usize, usize),
    Load(usize, usize, u8),
    /// A load during which a namespace is invalidated.
    LoadAcross(usize, usize, u8, usize),
    /// A lease that is stored after a namespace was invalidated.
    LeaseAcross(usize, usize, u8, usize),
    GetMany(usize),
    Retain(usize, u8),
    Iterate(usize),
    Invalidate(usize),
    ApplyToKey(usize, usize),
    Clear,
    Maintain,
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    use Operation::*;
    let (set, key) = (|| 0..=SPACES.len(), || 0..KEYS.len());
    let operation = prop_oneof![
        10 => (set(), key(), any::<u8>()).prop_map(|(set, key, value)| Insert(set, key, value)),
        3 => (set(), key(), any::<u8>()).prop_map(|(set, key, value)| InsertIfAbsent(set, key, value)),
        3 => (set(), key(), any::<u8>()).prop_map(|(set, key, value)| Replace(set, key, value)),
        3 => (set(), key(), any::<Option<u8>>()).prop_map(|(set, key, value)| Update(set, key, value)),
        3 => (set(), key()).prop_map(|(set, key)| Remove(set, key)),
        2 => (set(), key()).prop_map(|(set, key)| Take(set, key)),
        3 => (set(), key(), any::<u8>()).prop_map(|(set, key, value)| Load(set, key, value)),
        2 => (set(), key(), any::<u8>(), set()).prop_map(|(set, key, value, other)| LoadAcross(set, key, value, other)),
        2 => (set(), key(), any::<u8>(), set()).prop_map(|(set, key, value, other)| LeaseAcross(set, key, value, other)),
        2 => set().prop_map(GetMany),
        1 => (set(), any::<u8>()).prop_map(|(set, value)| Retain(set, value)),
        2 => set().prop_map(Iterate),
        2 => set().prop_map(Invalidate),
        2 => (set(), key()).prop_map(|(set, key)| ApplyToKey(set, key)),
        1 => Just(Clear),
        2 => Just(Maintain),
    ];
    prop::collection::vec(operation, 1..300)
}

type Entries = HashMap<&'static [u8], u8>;

/// A cache with its namespaces, and what each set has to contain.
struct Model {
    cache: Cache,
    spaces: Vec<Namespace>,
    sets: Vec<Entries>,
}

/// Calls a method of the cache for set 0, and of a namespace for the others.
macro_rules! on {
    ($model:ident, $set:expr, $method:ident($($argument:expr),*)) => {
        match $set {
            0 => $model.cache.$method($($argument),*),
            set => $model.spaces[set - 1].$method($($argument),*),
        }
    };
}

impl Model {
    fn new(shards: usize) -> Self {
        let cache =
            Cache::builder().max_bytes(4 << 20).shards(shards).hasher(StableHash::with_seed(3)).build().unwrap();
        let open = |(name, version): (&str, u32)| cache.namespace(name).version(version).build().unwrap();
        let spaces = SPACES.map(open).into();
        Self { cache, spaces, sets: vec![Entries::new(); SPACES.len() + 1] }
    }

    /// Invalidates the name of a set, or clears everything for the plain keys. Returns the sets
    /// that this concerns.
    fn invalidate(&mut self, set: usize) {
        if set == 0 {
            self.cache.apply(Invalidation::Reset);
            return self.sets.iter_mut().for_each(HashMap::clear);
        }
        let name = SPACES[set - 1].0;
        self.spaces[set - 1].invalidate_all();
        self.of_name(name).for_each(HashMap::clear);
    }

    fn of_name(&mut self, name: &str) -> impl Iterator<Item = &mut Entries> {
        self.sets[1..].iter_mut().zip(SPACES).filter(move |(_, space)| space.0 == name).map(|(set, _)| set)
    }

    /// Returns `true` if an invalidation of `other` concerns `set`.
    fn concerns(other: usize, set: usize) -> bool {
        other == 0 || (set > 0 && SPACES[other - 1].0 == SPACES[set - 1].0)
    }

    fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::Insert(set, key, value) => {
                on!(self, set, insert(KEYS[key], [value])).unwrap();
                self.sets[set].insert(KEYS[key], value);
            }
            Operation::InsertIfAbsent(set, key, value) => {
                let is_absent = !self.sets[set].contains_key(KEYS[key]);
                assert_eq!(on!(self, set, insert_if_absent(KEYS[key], [value])), Ok(is_absent));
                self.sets[set].entry(KEYS[key]).or_insert(value);
            }
            Operation::Replace(set, key, value) => {
                let former = self.sets[set].get_mut(KEYS[key]);
                assert_eq!(on!(self, set, replace(KEYS[key], [value])), Ok(former.is_some()));
                former.into_iter().for_each(|former| *former = value);
            }
            Operation::Update(set, key, value) => {
                let expected = self.sets[set].get(KEYS[key]).map(|&value| vec![value]);
                let change = |present: Option<&[u8]>| {
                    assert_eq!(present.map(<[u8]>::to_vec), expected);
                    value.map_or(Update::Remove, |value| Update::Store([value]))
                };
                on!(self, set, update(KEYS[key], change)).unwrap();
                match value {
                    Some(value) => self.sets[set].insert(KEYS[key], value),
                    None => self.sets[set].remove(KEYS[key]),
                };
            }
            Operation::Remove(set, key) => {
                assert_eq!(on!(self, set, remove(KEYS[key])), self.sets[set].remove(KEYS[key]).is_some());
            }
            Operation::Take(set, key) => {
                let taken = on!(self, set, take(KEYS[key])).map(|value| value[0]);
                assert_eq!(taken, self.sets[set].remove(KEYS[key]));
            }
            Operation::Load(set, key, value) => {
                let loaded = on!(self, set, get_or_load(KEYS[key], || Ok::<_, io::Error>([value])));
                assert_eq!(loaded.unwrap(), [*self.sets[set].entry(KEYS[key]).or_insert(value)]);
            }
            Operation::LoadAcross(set, key, value, other) => self.load_across(set, KEYS[key], value, other),
            Operation::LeaseAcross(set, key, value, other) => {
                let lease = on!(self, set, lease(KEYS[key]));
                self.invalidate(other);
                let stays = !Self::concerns(other, set);
                assert_eq!(lease.store([value], Lifetime::new()), Ok(stays));
                if stays {
                    self.sets[set].insert(KEYS[key], value);
                }
            }
            Operation::Invalidate(set) => self.invalidate(set),
            Operation::ApplyToKey(0, key) => {
                self.cache.apply(Invalidation::Key(KEYS[key]));
                self.sets[0].remove(KEYS[key]);
            }
            Operation::ApplyToKey(set, key) => {
                let name = SPACES[set - 1].0;
                self.cache.apply(Invalidation::KeyIn(name, KEYS[key]));
                self.of_name(name).for_each(|set| _ = set.remove(KEYS[key]));
            }
            Operation::Clear => {
                self.cache.clear();
                self.sets.iter_mut().for_each(HashMap::clear);
            }
            Operation::Maintain => _ = self.cache.maintain(),
            Operation::GetMany(_) | Operation::Retain(..) | Operation::Iterate(_) => self.apply_to_all(&operation),
        }
    }

    fn load_across(&mut self, set: usize, key: &'static [u8], value: u8, other: usize) {
        let present = self.sets[set].get(key).copied();
        let invalidate = || match other {
            0 => self.cache.apply(Invalidation::Reset),
            other => self.spaces[other - 1].invalidate_all(),
        };
        let load = || {
            invalidate();
            Ok::<_, io::Error>([value])
        };
        let loaded = on!(self, set, get_or_load(key, load)).unwrap();
        match present {
            Some(present) => assert_eq!(loaded, [present]),
            None => {
                assert_eq!(loaded, [value]);
                self.invalidate(other);
                if !Self::concerns(other, set) {
                    self.sets[set].insert(key, value);
                }
            }
        }
    }

    fn apply_to_all(&mut self, operation: &Operation) {
        match *operation {
            Operation::GetMany(set) => {
                let mut found = vec![];
                on!(self, set, get_many(&KEYS, |_, value| found.push(value.map(|value| value[0]))));
                let expected: Vec<_> = KEYS.iter().map(|key| self.sets[set].get(key).copied()).collect();
                assert_eq!(found, expected);
            }
            Operation::Retain(set, least) => {
                on!(self, set, retain(|_, value| value[0] >= least));
                self.sets[set].retain(|_, value| *value >= least);
            }
            Operation::Iterate(set) => {
                let mut seen = HashMap::new();
                on!(self, set, for_each(|key, value| _ = seen.insert(key.to_vec(), value[0])));
                let expected: HashMap<_, _> =
                    self.sets[set].iter().map(|(key, &value)| (key.to_vec(), value)).collect();
                assert_eq!(seen, expected);
            }
            _ => unreachable!("other operations concern one key"),
        }
    }

    fn check(&self) {
        for (number, set) in self.sets.iter().enumerate() {
            for key in KEYS {
                let found = on!(self, number, peek(key)).map(|value| value[0]);
                assert_eq!(found, set.get(key).copied(), "set {number}, key {key:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn each_set_of_keys_has_what_was_stored_there(two in any::<bool>(), operations in operations()) {
        let mut model = Model::new(if two { 2 } else { 1 });
        for operation in operations {
            model.apply(operation);
            model.check();
        }
        (0..3).for_each(|_| _ = model.cache.maintain());
        model.check();
        assert_eq!(model.cache.len(), model.sets.iter().map(HashMap::len).sum::<usize>());
        model.cache.validate();
    }
}
