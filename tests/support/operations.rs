//! Applies any operations to a cache and to a map, and compares them. The cache may forget entries,
//! but every value that it returns is right and on time, and its counters add up.
//!
//! Proptest draws the operations in `tests/api/model.rs`, and libFuzzer in
//! `fuzz/fuzz_targets/operations.rs`.

use std::cell::Cell;
use std::collections::HashMap;
use std::time::Duration;

use bytecache::testing::Inspect;
use bytecache::{
    Cache, Clock, Error, Lifetime, LoadError, Loaded, ManualClock, Policy, ResizeError, StableHash, TICK, Update, Value,
};

/// The ceiling of the limit, as a multiple of the first limit.
const GROWTH: usize = 4;

/// The options of a cache, which is so small that every event occurs.
#[cfg_attr(fuzzing, derive(arbitrary::Arbitrary))]
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// KiB of each shard beyond 68.
    pub(crate) more_kib: u8,
    pub(crate) two_shards: bool,
    pub(crate) alignment: Alignment,
    pub(crate) policy: u8,
    pub(crate) expected_entry_bytes: Option<u16>,
    pub(crate) seed: u8,
    /// The start of the clock in days.
    pub(crate) day: u16,
    pub(crate) listened_to: bool,
}

#[cfg_attr(fuzzing, derive(arbitrary::Arbitrary))]
#[derive(Clone, Copy, Debug)]
pub(crate) enum Alignment {
    One = 1,
    Eight = 8,
    Sixteen = 16,
}

/// The length of a value. Every class of lengths is equally likely.
#[cfg_attr(fuzzing, derive(arbitrary::Arbitrary))]
#[derive(Clone, Copy, Debug)]
pub(crate) enum Len {
    Tiny(u8),
    Small(u16),
    /// A part of the largest entry, in 256ths.
    Part(u8),
    /// A number of bytes below the largest entry, or above it.
    NearMax(i8),
}

/// A length of time: a few ticks, seconds, or hours, up to seven years.
#[cfg_attr(fuzzing, derive(arbitrary::Arbitrary))]
#[derive(Clone, Copy, Debug)]
pub(crate) enum Time {
    Millis(u8),
    Seconds(u8),
    Hours(u16),
}

impl Time {
    fn length(self) -> Duration {
        match self {
            Self::Millis(millis) => Duration::from_millis(millis.into()),
            Self::Seconds(seconds) => Duration::from_secs(seconds.into()),
            Self::Hours(hours) => Duration::from_secs(u64::from(hours) * 3600),
        }
    }
}

/// The result of a loader, if it is called.
#[cfg_attr(fuzzing, derive(arbitrary::Arbitrary))]
#[derive(Clone, Copy, Debug)]
pub(crate) enum Found {
    Value(Len, Option<Time>),
    Nothing(Option<Time>),
    Failure,
}

#[cfg_attr(fuzzing, derive(arbitrary::Arbitrary))]
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    /// Inserts with a time to live, a time to idle, and a stale period.
    InsertWithLifetime(u8, Len, Option<Time>, Option<Time>, Option<Time>),
    SetTtl(u8, Time),
    Persist(u8),
    Touch(u8),
    GetOrStale(u8),
    Load(u8, Found),
    /// Loads several keys. All loads of the call have the same kind of result.
    LoadMany(Vec<u8>, Found),
    Step(Time),
    /// Sets the clock back, by less than a second.
    StepBack(u8),
    Insert(u8, Len),
    InsertIfAbsent(u8, Len),
    Replace(u8, Len),
    /// With a time to live, or with the deadlines of the entry.
    Update(u8, Len, Option<Time>),
    /// Removes or keeps an entry by an update.
    UpdateWithout(u8, bool),
    /// Expects the value, or another one.
    ReplaceIf(u8, Len, bool),
    RemoveIf(u8, bool),
    Swap(u8, Len),
    /// Stores by a lease, after a write to the key or not.
    Lease(u8, Len, bool),
    /// With a time to live.
    Increment(u8, i64, Option<Time>),
    /// Inserts many neighbouring keys.
    Fill(u16, Len),
    Get(u8),
    GetMany(Vec<u8>),
    /// Inserts a key while another one is being read.
    InsertInside(u8, u8, Len),
    Remove(u8),
    Take(u8),
    Retain(u8),
    Clear,
    /// Holds a value for a while.
    Hold(u8),
    LetGo(u8),
    Maintain,
    /// Sets the limit to a part of the ceiling.
    Resize(u16),
}

fn key_bytes(key: u32) -> Vec<u8> {
    let mut bytes = key.to_le_bytes().to_vec();
    bytes.resize(4 + if key % 16 == 5 { 290 } else { key as usize % 13 }, b'k');
    bytes
}

/// Returns a value that repeats its key and its version.
fn value_bytes(key: u32, version: u32, len: usize) -> Vec<u8> {
    let pattern = [key.to_le_bytes(), version.to_le_bytes()].concat();
    pattern.into_iter().cycle().take(len).collect()
}

fn key_of(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes[..4].try_into().unwrap())
}

/// When an entry must have expired: for its time to live, and for its time to idle, with the length
/// of that.
type Ends = (Option<Duration>, Option<(Duration, Duration)>);

/// A stored value, and the times by which it must have expired: for its time to live, and for its
/// time to idle.
struct Known {
    value: Vec<u8>,
    ttl: Option<Duration>,
    idle: Option<(Duration, Duration)>,
}

impl Known {
    fn is_late(&self, now: Duration) -> bool {
        self.ttl.is_some_and(|end| end <= now) || self.idle.is_some_and(|(_, end)| end <= now)
    }

    fn read(&mut self, now: Duration) {
        if let Some((length, end)) = &mut self.idle {
            *end = now + *length + 2 * TICK;
        }
    }
}

struct Run {
    cache: Cache,
    clock: ManualClock,
    /// The latest time that the clock has shown. The cache's time is not later.
    now: Duration,
    alignment: usize,
    ceiling: usize,
    model: HashMap<u32, Known>,
    /// For each negative entry, the time by which it must have expired.
    nothing: HashMap<u32, Duration>,
    held: Vec<(Value, Vec<u8>)>,
    version: u32,
}

impl Run {
    fn new(setup: &Setup) -> Self {
        let shards = 1 << u32::from(setup.two_shards);
        let alignment = setup.alignment as usize;
        let max_bytes = shards * ((68 + usize::from(setup.more_kib)) << 10);
        let clock = ManualClock::new();
        let now = Duration::from_secs(u64::from(setup.day) * 24 * 3600);
        clock.set(now);
        let mut builder = Cache::builder()
            .max_bytes(max_bytes)
            .max_bytes_ceiling(max_bytes * GROWTH)
            .shards(shards)
            .policy(Policy::ALL[usize::from(setup.policy) % Policy::ALL.len()])
            .value_alignment(alignment)
            .hasher(StableHash::with_seed(setup.seed.into()))
            .clock(clock.clone());
        if setup.listened_to {
            builder = builder.on_removal(|key, value, _| {
                // Every value begins with its key, unless it may be a counter.
                assert!(value.len() == 8 || value.iter().zip(key).take(4).all(|(value, key)| value == key));
            });
        }
        if let Some(bytes) = setup.expected_entry_bytes {
            builder = builder.expected_entry_bytes(bytes.into());
        }
        let cache = builder.build().unwrap();
        Self {
            cache,
            clock,
            now,
            alignment,
            ceiling: max_bytes * GROWTH,
            model: HashMap::new(),
            nothing: HashMap::new(),
            held: Vec::new(),
            version: 0,
        }
    }

    fn len(&self, key: u32, len: Len) -> usize {
        let max = self.cache.max_entry_bytes() - key_bytes(key).len();
        match len {
            Len::Tiny(len) => len.into(),
            Len::Small(len) => usize::from(len) % 4_200,
            Len::Part(part) => max * usize::from(part) / 256,
            Len::NearMax(more) => max.saturating_add_signed(more.into()),
        }
    }

    /// Stores a value. Checks that a failed store leaves no older value, unless the store was
    /// declined.
    fn store(
        &mut self,
        (key, len): (u32, Len),
        is_declined: bool,
        (ttl, idle): (Option<Duration>, Option<Duration>),
        store: impl Fn(&Cache, &[u8], &[u8]) -> Result<bool, Error>,
    ) {
        let ttl = ttl.map(|ttl| if ttl.is_zero() { self.now } else { self.now + ttl + TICK });
        let idle = idle.map(|idle| (idle, if idle.is_zero() { self.now } else { self.now + idle + 2 * TICK }));
        self.store_with(key, len, (is_declined, (ttl, idle)), store);
    }

    /// Like [`store`](Self::store), but with the times at which the value will have expired.
    fn store_with(
        &mut self,
        key: u32,
        len: Len,
        (is_declined, (ttl, idle)): (bool, Ends),
        store: impl Fn(&Cache, &[u8], &[u8]) -> Result<bool, Error>,
    ) {
        self.version += 1;
        let was_there = self.cache.contains_key(key_bytes(key));
        let len = self.len(key, len);
        let (name, value) = (key_bytes(key), value_bytes(key, self.version, len));
        let fits = name.len() + len <= self.cache.max_entry_bytes();
        match store(&self.cache, &name, &value) {
            Ok(stored) => {
                assert!(fits);
                if stored {
                    self.model.insert(key, Known { value, ttl, idle });
                    self.nothing.remove(&key);
                }
            }
            Err(error) => {
                match error {
                    Error::TooLarge { .. } => assert!(!fits),
                    Error::Rejected => assert!(!self.held.is_empty(), "rejected although no value is held"),
                    other => panic!("{other:?}"),
                }
                assert_eq!(self.cache.contains_key(&name), was_there && is_declined);
                if !is_declined {
                    self.note_rejected(key);
                }
            }
        }
    }

    /// Returns the value under a key, or another one.
    fn expected(&self, key: u32, is_right: bool) -> Vec<u8> {
        let mut value = self.model.get(&key).map_or_else(Vec::new, |known| known.value.clone());
        if !is_right {
            value.push(0);
        }
        value
    }

    /// Returns when the entry under a key will have expired, if there is one.
    fn ends(&self, key: u32) -> Ends {
        let is_there = self.cache.contains_key(key_bytes(key));
        self.model.get(&key).filter(|_| is_there).map_or((None, None), |known| (known.ttl, known.idle))
    }

    fn update(&mut self, key: u32, len: Len, ttl: Option<Duration>) {
        let is_there = self.cache.contains_key(key_bytes(key));
        let former = self.model.get(&key).filter(|_| is_there).map(|known| known.value.clone());
        let store = |cache: &Cache, key: &[u8], value: &[u8]| {
            cache.update(key, |old| {
                assert_eq!(old, former.as_deref());
                match ttl {
                    Some(ttl) => Update::StoreFor(value.to_vec(), Lifetime::new().ttl(ttl)),
                    None => Update::Store(value.to_vec()),
                }
            })
        };
        match ttl {
            Some(_) => self.store((key, len), false, (ttl, None), store),
            None => self.store_with(key, len, (false, self.ends(key)), store),
        }
    }

    fn increment(&mut self, key: u32, by: i64, ttl: Option<Duration>) {
        let name = key_bytes(key);
        let is_there = self.cache.contains_key(&name);
        let former = self.model.get(&key).filter(|_| is_there).map(|known| known.value.clone());
        let lifetime = ttl.map_or(Lifetime::new(), |ttl| Lifetime::new().ttl(ttl));
        let value = former.as_ref().map(|value| <[u8; 8]>::try_from(&value[..]).map(i64::from_le_bytes));
        match (self.cache.increment(&name, by, lifetime), value) {
            (Ok(sum), None) => {
                assert_eq!(sum, by);
                let ttl = ttl.map(|ttl| if ttl.is_zero() { self.now } else { self.now + ttl + TICK });
                self.model.insert(key, Known { value: sum.to_le_bytes().to_vec(), ttl, idle: None });
                self.nothing.remove(&key);
            }
            (Ok(sum), Some(Ok(value))) => {
                assert_eq!(Some(sum), value.checked_add(by));
                if let Some(known) = self.model.get_mut(&key) {
                    known.value = sum.to_le_bytes().to_vec();
                }
            }
            (Err(Error::NotACounter { bytes }), Some(Err(_))) => {
                assert_eq!(former.map(|value| value.len()), Some(bytes));
                assert!(self.cache.contains_key(&name));
            }
            (Err(Error::CounterOverflow { .. }), Some(Ok(value))) => {
                assert_eq!(value.checked_add(by), None);
                assert!(self.cache.contains_key(&name));
            }
            (Err(Error::Rejected), _) => {
                assert!(!self.held.is_empty(), "rejected although no value is held");
                self.note_rejected(key);
            }
            other => panic!("{other:?}"),
        }
    }

    /// Sets the limit to a part of the ceiling, in 65,536ths.
    fn resize(&mut self, part: u16) {
        let before = (self.cache.max_bytes(), self.cache.memory().max);
        let bytes = self.ceiling / (1 << 16) * usize::from(part);
        match self.cache.set_max_bytes(bytes) {
            Ok(()) => {
                assert_eq!(self.cache.max_bytes(), bytes);
                assert!(self.cache.memory().max <= before.1.max(bytes));
            }
            Err(ResizeError::TooSmall { max_bytes, min_bytes }) => {
                assert!(max_bytes == bytes && min_bytes > bytes && min_bytes <= self.ceiling / GROWTH);
                assert_eq!((self.cache.max_bytes(), self.cache.memory().max), before);
            }
            Err(other) => panic!("{other:?}"),
        }
    }

    /// Notes that a write has failed, and checks that the older entry is gone.
    fn note_rejected(&mut self, key: u32) {
        self.model.remove(&key);
        self.nothing.remove(&key);
        assert!(self.cache.get_or_stale(key_bytes(key)).is_none());
    }

    /// Returns the result of a loader of a key.
    fn found(&mut self, key: u32, found: Found) -> Result<Loaded<Vec<u8>>, u32> {
        self.version += 1;
        match found {
            Found::Value(len, ttl) => {
                let value = value_bytes(key, self.version, self.len(key, len));
                Ok(match ttl {
                    Some(ttl) => Loaded::ValueFor(value, Lifetime::new().ttl(ttl.length())),
                    None => Loaded::Value(value),
                })
            }
            Found::Nothing(Some(ttl)) => Ok(Loaded::AbsentFor(ttl.length())),
            Found::Nothing(None) => Ok(Loaded::Absent),
            Found::Failure => Err(key),
        }
    }

    /// Notes the result of a load.
    fn note_loaded(&mut self, key: u32, found: Found, loaded: Result<Loaded<Vec<u8>>, u32>) {
        let (now, max) = (self.now, self.cache.max_entry_bytes());
        let known = |value: Vec<u8>, ttl: Option<Duration>| {
            let ttl = ttl.map(|ttl| if ttl.is_zero() { now } else { now + ttl + TICK });
            (key_bytes(key).len() + value.len() <= max).then_some(Known { value, ttl, idle: None })
        };
        let known = match loaded {
            Ok(Loaded::Value(value)) => known(value, None),
            Ok(Loaded::ValueFor(value, _)) => match found {
                Found::Value(_, ttl) => known(value, ttl.map(Time::length)),
                _ => unreachable!("a value was found"),
            },
            Ok(Loaded::AbsentFor(ttl)) => {
                self.nothing.insert(key, now + ttl + TICK);
                None
            }
            Ok(Loaded::Absent) => None,
            Ok(other) => panic!("{other:?}"),
            Err(_) => return,
        };
        // The result replaces the earlier value.
        self.model.remove(&key);
        self.model.extend(known.map(|known| (key, known)));
    }

    fn check_nothing(&self, key: u32) {
        let end = self.nothing[&key];
        assert!(self.clock.now() < end, "{key} should be loaded again");
    }

    fn load(&mut self, key: u32, found: Found) {
        let loaded = self.found(key, found);
        let mut was_called = false;
        let answer = self.cache.get_or_load(key_bytes(key), || {
            was_called = true;
            loaded.clone()
        });
        match (answer, was_called) {
            (Ok(value), true) => {
                let (Ok(Loaded::Value(expected)) | Ok(Loaded::ValueFor(expected, _))) = &loaded else {
                    panic!("{value:?}")
                };
                assert_eq!(value, *expected);
            }
            (Ok(value), false) => {
                self.check(key, Some(&value));
                return self.note_read(key);
            }
            (Err(LoadError::Absent), true) => assert!(matches!(loaded, Ok(Loaded::Absent | Loaded::AbsentFor(_)))),
            (Err(LoadError::Absent), false) => return self.check_nothing(key),
            (Err(LoadError::Failed(error)), true) => assert_eq!(*error, key),
            (Err(other), _) => panic!("{other:?}"),
        }
        self.note_loaded(key, found, loaded);
    }

    fn load_many(&mut self, keys: &[u8], found: Found) {
        let names: Vec<_> = keys.iter().map(|&key| key_bytes(key.into())).collect();
        let loaded: HashMap<u32, _> = keys.iter().map(|&key| (key.into(), self.found(key.into(), found))).collect();
        let mut called = Vec::new();
        let answer = self.cache.get_or_load_many(&names, |missing| {
            called = missing.iter().map(|name| key_of(name)).collect();
            called.iter().map(|key| loaded[key].clone().map(Some)).collect()
        });
        match &answer {
            Ok(values) => {
                for (&key, value) in keys.iter().zip(values) {
                    let key = u32::from(key);
                    match (value, called.contains(&key)) {
                        (Some(value), true) => {
                            let (Ok(Loaded::Value(expected)) | Ok(Loaded::ValueFor(expected, _))) = &loaded[&key]
                            else {
                                panic!("{value:?}")
                            };
                            assert_eq!(value, expected);
                        }
                        (Some(value), false) => {
                            self.check(key, Some(value));
                            self.note_read(key);
                        }
                        (None, true) => assert!(matches!(loaded[&key], Ok(Loaded::Absent | Loaded::AbsentFor(_)))),
                        (None, false) => self.check_nothing(key),
                    }
                }
            }
            Err(LoadError::Failed(_)) => assert!(matches!(found, Found::Failure) && !called.is_empty()),
            Err(other) => panic!("{other:?}"),
        }
        for key in called {
            self.note_loaded(key, found, loaded[&key].clone());
        }
    }

    fn insert(&mut self, key: u32, len: Len) {
        self.store((key, len), false, (None, None), |cache, key, value| cache.insert(key, value).map(|()| true));
    }

    /// Notes a read of an entry that is present.
    fn note_read(&mut self, key: u32) {
        let now = self.now;
        if let Some(known) = self.model.get_mut(&key) {
            known.read(now);
        }
    }

    fn check(&self, key: u32, value: Option<&[u8]>) {
        let Some(value) = value else { return };
        let known = &self.model[&key];
        assert_eq!(value, known.value, "another value under {key}");
        // The cache's time is never behind the clock, even if the clock has gone back.
        assert!(!known.is_late(self.clock.now()), "{key} should have expired");
        assert_eq!(value.as_ptr().addr() % self.alignment, 0);
    }

    fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::Insert(key, len) => self.insert(key.into(), len),
            Operation::InsertIfAbsent(key, len) => {
                let is_there = self.cache.contains_key(key_bytes(key.into()));
                self.store((key.into(), len), is_there, (None, None), |cache, key, value| {
                    cache.insert_if_absent(key, value).inspect(|stored| assert_ne!(*stored, is_there))
                });
            }
            Operation::Replace(key, len) => {
                let is_there = self.cache.contains_key(key_bytes(key.into()));
                self.store((key.into(), len), false, (None, None), |cache, key, value| {
                    cache.replace(key, value).inspect(|stored| assert_eq!(*stored, is_there))
                });
            }
            Operation::Update(key, len, ttl) => self.update(key.into(), len, ttl.map(Time::length)),
            Operation::UpdateWithout(key, removes) => {
                let name = key_bytes(key.into());
                let is_there = self.cache.contains_key(&name);
                let changed = self.cache.update(&name, |old| {
                    self.check(key.into(), old);
                    if removes { Update::<&[u8]>::Remove } else { Update::Keep }
                });
                assert_eq!(changed, Ok(is_there && removes));
                if removes {
                    self.note_rejected(key.into());
                }
            }
            Operation::ReplaceIf(key, len, is_right) => {
                let expected = self.expected(key.into(), is_right);
                let is_done = is_right && self.cache.contains_key(key_bytes(key.into()));
                let ends = self.ends(key.into());
                self.store_with(key.into(), len, (!is_done, ends), |cache, key, value| {
                    cache.replace_if(key, &expected, value).inspect(|stored| assert_eq!(*stored, is_done))
                });
            }
            Operation::RemoveIf(key, removes) => {
                let name = key_bytes(key.into());
                let is_there = self.cache.contains_key(&name);
                let removed = self.cache.remove_if(&name, |value| {
                    // It may be stale, and is then late.
                    assert_eq!(value, self.model[&key.into()].value);
                    removes
                });
                assert_eq!(removed, is_there && removes);
                self.nothing.remove(&key.into());
                if removes {
                    self.note_rejected(key.into());
                }
            }
            Operation::Swap(key, len) => {
                let name = key_bytes(key.into());
                let is_there = self.cache.contains_key(&name);
                let former = self.model.get(&key.into()).filter(|_| is_there).map(|known| known.value.clone());
                self.store((key.into(), len), false, (None, None), |cache, key, value| {
                    let swapped = cache.swap(key, value)?;
                    assert_eq!(swapped.as_deref(), former.as_deref());
                    Ok(true)
                });
            }
            Operation::Lease(key, len, has_ended) => {
                let lease = self.cache.lease(key_bytes(key.into()));
                let has_memory = self.cache.memory().flights > 0;
                if has_ended {
                    self.cache.remove(key_bytes(key.into()));
                    self.note_rejected(key.into());
                }
                let is_valid = has_memory && !has_ended;
                let lease = Cell::new(Some(lease));
                self.store_with(key.into(), len, (!is_valid, (None, None)), |_, _, value| {
                    let lease = lease.take().expect("it stores once");
                    lease.store(value, Lifetime::new()).inspect(|stored| assert_eq!(*stored, is_valid))
                });
            }
            Operation::Increment(key, by, ttl) => self.increment(key.into(), by, ttl.map(Time::length)),
            Operation::Fill(from, len) => (0..100).for_each(|key| self.insert(u32::from(from) + key, len)),
            Operation::Get(key) => {
                let value = self.cache.get(key_bytes(key.into()));
                let read = self.cache.view(key_bytes(key.into()), |value| self.check(key.into(), Some(value)));
                assert_eq!(value.is_some(), read.is_some());
                let mut copy = vec![1, 2, 3];
                let copied = self.cache.get_into(key_bytes(key.into()), &mut copy);
                assert_eq!(value.is_some(), copied);
                assert_eq!(copy, value.as_deref().unwrap_or(&[1, 2, 3]));
                if value.is_some() {
                    self.note_read(key.into());
                }
            }
            Operation::GetMany(keys) => {
                let names: Vec<_> = keys.iter().map(|&key| key_bytes(key.into())).collect();
                let mut seen = vec![];
                self.cache.get_many(&names, |index, value| {
                    assert_eq!(index, seen.len());
                    seen.push(value.is_some());
                    self.check(keys[index].into(), value);
                });
                assert_eq!(seen.len(), keys.len());
                for (key, _) in keys.iter().zip(seen).filter(|&(_, seen)| seen) {
                    self.note_read((*key).into());
                }
            }
            Operation::InsertInside(read, key, len) => {
                let cache = self.cache.clone();
                let expected = self.model.get(&read.into()).map(|known| known.value.clone());
                cache.view(key_bytes(read.into()), |value| {
                    // This thread holds space itself, so the insert may be rejected.
                    self.held.push((self.cache.peek(key_bytes(read.into())).unwrap(), value.to_vec()));
                    self.insert(key.into(), len);
                    assert_eq!(Some(value), expected.as_deref(), "the entry was overwritten while it was read");
                    self.held.pop();
                });
                // The order of the read and the insert does not matter to the model.
                self.note_read(read.into());
            }
            Operation::Remove(key) => {
                let is_there = self.cache.contains_key(key_bytes(key.into()));
                assert_eq!(self.cache.remove(key_bytes(key.into())), is_there);
                self.model.remove(&key.into());
                assert!(!self.cache.contains_key(key_bytes(key.into())));
            }
            Operation::Take(key) => {
                let value = self.cache.take(key_bytes(key.into()));
                assert!(value.is_none_or(|value| value == self.model[&key.into()].value));
                self.model.remove(&key.into());
                assert!(!self.cache.contains_key(key_bytes(key.into())));
            }
            Operation::Retain(divisor) => {
                let divisor = u32::from(divisor) + 1;
                self.cache.retain(|key, _| key_of(key) % divisor != 0);
                self.cache.for_each(|key, value| {
                    assert_ne!(key_of(key) % divisor, 0);
                    self.check(key_of(key), Some(value));
                });
                self.model.retain(|key, _| key % divisor != 0);
            }
            Operation::Clear => {
                self.cache.clear();
                self.model.clear();
                assert!(self.cache.is_empty());
            }
            Operation::Hold(key) => {
                if let Some(value) = self.cache.get(key_bytes(key.into())) {
                    self.held.push((value, self.model[&key.into()].value.clone()));
                    self.note_read(key.into());
                }
            }
            Operation::LetGo(index) => {
                if !self.held.is_empty() {
                    self.held.swap_remove(usize::from(index) % self.held.len());
                }
            }
            Operation::Maintain => _ = self.cache.maintain(),
            Operation::Resize(part) => self.resize(part),
            Operation::InsertWithLifetime(key, len, ttl, idle, stale) => {
                let [ttl, idle, stale] = [ttl, idle, stale].map(|time| time.map(Time::length));
                let mut lifetime = stale.map_or(Lifetime::new(), |stale| Lifetime::new().stale_for(stale));
                lifetime = ttl.map_or(lifetime, |ttl| lifetime.ttl(ttl));
                lifetime = idle.map_or(lifetime, |idle| lifetime.time_to_idle(idle));
                self.store((key.into(), len), false, (ttl, idle), |cache, key, value| {
                    cache.insert_with_lifetime(key, value, lifetime).map(|()| true)
                });
            }
            Operation::SetTtl(key, ttl) => {
                let (name, ttl) = (key_bytes(key.into()), ttl.length());
                let is_there = self.cache.contains_key(&name);
                match self.cache.set_ttl(&name, ttl) {
                    // The policy may evict the entry while it is stored again.
                    Ok(set) => assert!(set == is_there || is_there && !self.cache.contains_key(&name)),
                    Err(_) => {
                        assert!(!self.held.is_empty(), "rejected although no value is held");
                        self.note_rejected(key.into());
                    }
                }
                if let Some(known) = self.model.get_mut(&key.into()).filter(|_| is_there) {
                    known.ttl = Some(if ttl.is_zero() { self.now } else { self.now + ttl + TICK });
                }
            }
            Operation::Persist(key) => {
                let is_there = self.cache.contains_key(key_bytes(key.into()));
                assert_eq!(self.cache.persist(key_bytes(key.into())), is_there);
                if let Some(known) = self.model.get_mut(&key.into()).filter(|_| is_there) {
                    (known.ttl, known.idle) = (None, None);
                }
            }
            Operation::Touch(key) => {
                let is_there = self.cache.contains_key(key_bytes(key.into()));
                assert_eq!(self.cache.touch(key_bytes(key.into())), is_there);
                if is_there {
                    self.note_read(key.into());
                }
            }
            Operation::GetOrStale(key) => {
                if let Some(found) = self.cache.get_or_stale(key_bytes(key.into())) {
                    assert_eq!(*found.value(), self.model[&key.into()].value);
                    if !found.is_stale() {
                        self.check(key.into(), Some(found.value()));
                        self.note_read(key.into());
                    }
                }
            }
            Operation::Load(key, found) => self.load(key.into(), found),
            Operation::LoadMany(keys, found) => self.load_many(&keys, found),
            Operation::Step(time) => {
                self.clock.advance(time.length());
                self.now = self.now.max(self.clock.now());
            }
            Operation::StepBack(millis) => {
                self.clock.set(self.clock.now().saturating_sub(Duration::from_millis(millis.into())));
            }
        }
        self.cache.validate();
        let memory = self.cache.memory();
        assert!(memory.allocated <= memory.max);
        for (value, expected) in &self.held {
            assert_eq!(value, expected, "a held value has changed");
        }
    }

    /// Checks the entries and counters at the end, and that held values outlive the cache.
    fn end(self) {
        let seen = Cell::new(0);
        self.cache.for_each(|key, value| {
            self.check(key_of(key), Some(value));
            seen.set(seen.get() + 1);
        });
        // Other entries have expired, and are removed later.
        assert!(seen.get() <= self.cache.len());
        let stats = self.cache.stats();
        let entries = stats.inserts - stats.removals - stats.evictions - stats.expirations;
        assert_eq!(entries, self.cache.len() as u64);
        assert_eq!((stats.listener_panics, stats.discarded_loads), (0, 0));
        assert_eq!((self.cache.loads_under_way(), self.cache.memory().flights), ((0, 0), 0));
        let Self { cache, held, .. } = self;
        drop(cache);
        for (value, expected) in held {
            assert_eq!(value, expected, "a held value did not outlive the cache");
        }
    }
}

/// Applies all operations, and checks each of them and the state after it.
pub(crate) fn run(setup: &Setup, operations: Vec<Operation>) {
    let mut run = Run::new(setup);
    for operation in operations {
        run.apply(operation);
    }
    run.end();
}
