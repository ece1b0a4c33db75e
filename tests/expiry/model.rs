//! Applies random operations and clock steps to a cache and to a naive map of deadlines. No entry
//! expires early, no read finds one late, and expired entries take no space after maintenance.

use std::collections::HashMap;
use std::time::Duration;

use bytecache::testing::Inspect;
use bytecache::{Cache, Error, Lifetime, ManualClock, Policy, Remaining, StableHash, TICK};
use proptest::prelude::*;

use crate::support::alone;

/// A time in microseconds.
type Micros = u64;

const TICK_MICROS: Micros = 16_000;
const YEAR: Micros = 365 * 24 * 3600 * 1_000_000;
/// Length to which any greater length may be cut, after any jumps of the clock.
const CUT: Micros = 180 * 24 * 3600 * 1_000_000;

#[derive(Clone, Debug)]
struct Setup {
    max_bytes: usize,
    shards: usize,
    policy: Policy,
    ttl: Option<Micros>,
    idle: Option<Micros>,
    stale: Micros,
}

#[derive(Clone, Debug)]
enum Operation {
    Insert(u16),
    InsertWithLifetime(u16, Option<Micros>, Option<Micros>, Option<Micros>),
    InsertIfAbsent(u16, Micros),
    InsertForever(u16),
    /// Stores a value that is too large. The next two do so only if the key is absent, and only if
    /// it is present.
    InsertTooLarge(u16),
    InsertTooLargeIfAbsent(u16),
    ReplaceTooLarge(u16, Micros),
    /// Stores neighbouring keys, so that indexes grow and chunks are cleaned.
    Fill(u16, Option<Micros>),
    Get(u16),
    Peek(u16),
    GetMany(u16),
    GetOrStale(u16),
    Touch(u16),
    SetTtl(u16, Micros),
    Persist(u16),
    Remove(u16),
    Retain(u16),
    Clear,
    Step(Micros),
    Maintain,
}

/// Returns lengths from microseconds to years, all magnitudes equally likely.
fn lengths() -> impl Strategy<Value = Micros> {
    (0..47_u32, any::<u64>()).prop_map(|(bits, random)| random & ((1 << bits) - 1))
}

/// Returns steps near the usual lengths, so that operations come just before and just after
/// deadlines.
fn steps() -> impl Strategy<Value = Micros> {
    prop_oneof![6 => 0..3 * TICK_MICROS, 3 => 0..12_000_000_u64, 1 => lengths()]
}

fn times() -> impl Strategy<Value = Micros> {
    prop_oneof![1 => Just(0), 8 => 1..10_000_000_u64, 3 => 1..5 * TICK_MICROS, 3 => lengths()]
}

fn setups() -> impl Strategy<Value = Setup> {
    let maybe = || prop::option::of(times().prop_map(|time| time.max(1)));
    (
        prop_oneof![1 => Just(64 << 10), 3 => Just(1 << 20)],
        prop_oneof![Just(1), Just(2)],
        prop::sample::select(Policy::ALL),
        maybe(),
        maybe(),
        prop_oneof![2 => Just(0), 1 => times()],
    )
        .prop_map(|(max_bytes, shards, policy, ttl, idle, stale)| Setup {
            max_bytes: max_bytes * shards,
            shards,
            policy,
            ttl,
            idle,
            stale,
        })
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let key = || 0..40_u16;
    let maybe = || prop::option::of(times());
    let operation = prop_oneof![
        6 => key().prop_map(Operation::Insert),
        8 => (key(), maybe(), maybe(), maybe()).prop_map(|(key, ttl, idle, stale)| Operation::InsertWithLifetime(key, ttl, idle, stale)),
        2 => (key(), times()).prop_map(|(key, ttl)| Operation::InsertIfAbsent(key, ttl)),
        1 => key().prop_map(Operation::InsertForever),
        1 => key().prop_map(Operation::InsertTooLarge),
        1 => key().prop_map(Operation::InsertTooLargeIfAbsent),
        1 => (key(), times()).prop_map(|(key, ttl)| Operation::ReplaceTooLarge(key, ttl)),
        2 => (key(), maybe()).prop_map(|(key, ttl)| Operation::Fill(key, ttl)),
        8 => key().prop_map(Operation::Get),
        4 => key().prop_map(Operation::Peek),
        2 => key().prop_map(Operation::GetMany),
        6 => key().prop_map(Operation::GetOrStale),
        3 => key().prop_map(Operation::Touch),
        4 => (key(), times()).prop_map(|(key, ttl)| Operation::SetTtl(key, ttl)),
        2 => key().prop_map(Operation::Persist),
        2 => key().prop_map(Operation::Remove),
        1 => key().prop_map(Operation::Retain),
        1 => Just(Operation::Clear),
        20 => steps().prop_map(Operation::Step),
        2 => Just(Operation::Maintain),
    ];
    prop::collection::vec(operation, 1..250)
}

/// The earliest and the latest time at which something ends.
#[derive(Clone, Copy, Debug)]
struct Window {
    earliest: Micros,
    latest: Micros,
}

impl Window {
    fn of(from: Micros, length: Micros, slack: Micros) -> Self {
        if length == 0 {
            // The length ends at once. A stale period that follows begins with the current tick.
            return Self { earliest: from - from % TICK_MICROS, latest: from };
        }
        Self { earliest: from + length.min(CUT), latest: from.saturating_add(length) + slack }
    }
}

/// The model's knowledge of an entry.
#[derive(Clone, Debug)]
struct Life {
    version: u32,
    ttl: Option<Window>,
    idle: Option<(Micros, Window)>,
    stale: Micros,
    /// `true` if a read has missed the entry.
    is_over: bool,
}

impl Life {
    fn deadline(&self) -> Option<Window> {
        let windows = [self.ttl, self.idle.map(|(_, window)| window)].into_iter().flatten();
        windows.reduce(|a, b| Window { earliest: a.earliest.min(b.earliest), latest: a.latest.min(b.latest) })
    }

    fn must_be_fresh(&self, now: Micros) -> bool {
        !self.is_over && self.deadline().is_none_or(|deadline| now < deadline.earliest)
    }

    fn may_be_fresh(&self, now: Micros) -> bool {
        !self.is_over && self.deadline().is_none_or(|deadline| now < deadline.latest)
    }

    fn must_be_there(&self, now: Micros) -> bool {
        self.deadline().is_none_or(|deadline| now < deadline.earliest + self.stale.min(CUT))
    }

    fn may_be_there(&self, now: Micros) -> bool {
        self.deadline().is_none_or(|deadline| now < deadline.latest.saturating_add(self.stale) + TICK_MICROS)
    }

    fn read(&mut self, now: Micros) {
        if let Some((length, window)) = &mut self.idle {
            *window = Window::of(now, *length, 2 * TICK_MICROS);
        }
    }
}

struct Run {
    setup: Setup,
    clock: ManualClock,
    cache: Cache,
    now: Micros,
    model: HashMap<u16, Life>,
    version: u32,
}

fn micros(micros: Micros) -> Duration {
    Duration::from_micros(micros)
}

fn value_of(key: u16, version: u32) -> Vec<u8> {
    [key.to_le_bytes().as_slice(), &version.to_le_bytes(), &vec![7; usize::from(key) * 10]].concat()
}

impl Run {
    fn new(setup: Setup, start: Micros) -> Self {
        let clock = ManualClock::new();
        clock.set(micros(start));
        let mut builder = Cache::builder()
            .max_bytes(setup.max_bytes)
            .shards(setup.shards)
            .policy(setup.policy)
            .hasher(StableHash::with_seed(1))
            .stale_for(micros(setup.stale))
            .clock(clock.clone());
        if let Some(ttl) = setup.ttl {
            builder = builder.ttl(micros(ttl));
        }
        if let Some(idle) = setup.idle {
            builder = builder.time_to_idle(micros(idle));
        }
        assert_eq!(micros(TICK_MICROS), TICK);
        Self { setup, clock, cache: builder.build().unwrap(), now: start, model: HashMap::new(), version: 0 }
    }

    /// Returns `true` if entries may be missing for another reason than their deadlines.
    fn may_forget(&self) -> bool {
        self.cache.stats().evictions > 0
    }

    fn life(&self, ttl: Option<Micros>, idle: Option<Micros>, stale: Option<Micros>) -> Life {
        Life {
            version: self.version,
            ttl: ttl.map(|ttl| Window::of(self.now, ttl, TICK_MICROS)),
            idle: idle.map(|idle| (idle, Window::of(self.now, idle, 2 * TICK_MICROS))),
            stale: stale.unwrap_or(self.setup.stale),
            is_over: false,
        }
    }

    fn insert(&mut self, key: u16, ttl: Option<Micros>, idle: Option<Micros>, stale: Option<Micros>) {
        self.version += 1;
        let mut lifetime = Lifetime::new();
        for (length, set) in [
            (ttl, Lifetime::ttl as fn(Lifetime, Duration) -> Lifetime),
            (idle, Lifetime::time_to_idle),
            (stale, Lifetime::stale_for),
        ] {
            lifetime = length.map_or(lifetime, |length| set(lifetime, micros(length)));
        }
        self.cache.insert_with_lifetime(key.to_le_bytes(), value_of(key, self.version), lifetime).unwrap();
        let life = self.life(ttl.or(self.setup.ttl), idle.or(self.setup.idle), stale);
        self.model.insert(key, life);
    }

    /// Compares the result of a read with the model.
    fn check(&mut self, key: u16, seen: Option<&[u8]>, counts_as_read: bool) {
        let (now, may_forget) = (self.now, self.may_forget());
        let Some(life) = self.model.get_mut(&key) else {
            assert!(seen.is_none(), "a value under {key}, which was removed");
            return;
        };
        match seen {
            Some(seen) => {
                assert_eq!(seen, value_of(key, life.version));
                assert!(life.may_be_fresh(now), "{key} is late: {life:?}, now {now}");
                if counts_as_read {
                    life.read(now);
                }
            }
            None => {
                assert!(may_forget || !life.must_be_fresh(now), "{key} died early: {life:?}, now {now}");
                life.is_over = true;
            }
        }
    }

    fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::Insert(key) => self.insert(key, None, None, None),
            Operation::InsertWithLifetime(key, ttl, idle, stale) => self.insert(key, ttl, idle, stale),
            Operation::InsertIfAbsent(key, ttl) => {
                let name = key.to_le_bytes();
                let was_there = self.cache.contains_key(name);
                let lifetime = Lifetime::new().ttl(micros(ttl));
                self.version += 1;
                let stored =
                    self.cache.insert_if_absent_with_lifetime(name, value_of(key, self.version), lifetime).unwrap();
                assert_eq!(stored, !was_there);
                if stored {
                    let life = self.life(Some(ttl), self.setup.idle, None);
                    self.model.insert(key, life);
                }
            }
            Operation::InsertForever(key) => {
                self.version += 1;
                self.cache
                    .insert_with_lifetime(key.to_le_bytes(), value_of(key, self.version), Lifetime::forever())
                    .unwrap();
                let life = self.life(None, None, None);
                self.model.insert(key, life);
            }
            Operation::InsertTooLarge(key) => {
                self.fail(key, false, |cache, key, value| cache.insert(key, value).map(|()| true));
            }
            Operation::InsertTooLargeIfAbsent(key) => {
                let was_there = self.cache.contains_key(key.to_le_bytes());
                self.fail(key, was_there, |cache, key, value| cache.insert_if_absent(key, value));
            }
            Operation::ReplaceTooLarge(key, ttl) => {
                let lifetime = Lifetime::new().ttl(micros(ttl));
                self.fail(key, false, |cache, key, value| cache.replace_with_lifetime(key, value, lifetime));
            }
            Operation::Fill(from, ttl) => (from..from + 60).for_each(|key| self.insert(key, ttl, None, None)),
            Operation::Get(key) => {
                let value = self.cache.get(key.to_le_bytes());
                self.check(key, value.as_deref(), true);
            }
            Operation::Peek(key) => {
                let value = self.cache.peek(key.to_le_bytes());
                assert_eq!(self.cache.contains_key(key.to_le_bytes()), value.is_some());
                self.check(key, value.as_deref(), false);
                self.check_ttl(key, value.is_some());
            }
            Operation::GetMany(key) => {
                let keys: Vec<_> = (key..key + 20).map(u16::to_le_bytes).collect();
                let mut seen = Vec::new();
                self.cache.get_many(&keys, |_, value| seen.push(value.map(<[u8]>::to_vec)));
                (key..).zip(seen).for_each(|(key, value)| self.check(key, value.as_deref(), true));
            }
            Operation::GetOrStale(key) => self.get_or_stale(key),
            Operation::Touch(key) => {
                let was_there = self.cache.contains_key(key.to_le_bytes());
                assert_eq!(self.cache.touch(key.to_le_bytes()), was_there);
                let now = self.now;
                if let Some(life) = self.model.get_mut(&key).filter(|_| was_there) {
                    life.read(now);
                }
            }
            Operation::SetTtl(key, ttl) => {
                let was_there = self.cache.contains_key(key.to_le_bytes());
                let is_set = self.cache.set_ttl(key.to_le_bytes(), micros(ttl)).unwrap();
                // The policy may evict the entry while it is stored again.
                assert!(is_set == was_there || was_there && !self.cache.contains_key(key.to_le_bytes()));
                let now = self.now;
                if let Some(life) = self.model.get_mut(&key).filter(|_| is_set) {
                    life.ttl = Some(Window::of(now, ttl, TICK_MICROS));
                }
            }
            Operation::Persist(key) => {
                let was_there = self.cache.contains_key(key.to_le_bytes());
                assert_eq!(self.cache.persist(key.to_le_bytes()), was_there);
                if let Some(life) = self.model.get_mut(&key).filter(|_| was_there) {
                    (life.ttl, life.idle) = (None, None);
                }
            }
            Operation::Remove(key) => {
                let was_there = self.cache.contains_key(key.to_le_bytes());
                assert_eq!(self.cache.remove(key.to_le_bytes()), was_there);
                self.model.remove(&key);
                assert!(self.cache.get_or_stale(key.to_le_bytes()).is_none());
            }
            Operation::Retain(limit) => {
                let number = |key: &[u8]| u16::from_le_bytes(key.try_into().unwrap());
                let mut seen = Vec::new();
                self.cache.retain(|key, value| {
                    seen.push((number(key), value.to_vec()));
                    number(key) >= limit
                });
                for (key, value) in seen {
                    // Some of these entries are stale.
                    let life = &self.model[&key];
                    assert_eq!(value, value_of(key, life.version));
                    assert!(life.may_be_there(self.now), "{life:?}, now {}", self.now);
                }
                self.model.retain(|&key, _| key >= limit);
                self.cache.for_each(|key, _| assert!(number(key) >= limit));
            }
            Operation::Clear => {
                self.cache.clear();
                self.model.clear();
                assert_eq!((self.cache.len(), self.cache.memory().live), (0, 0));
            }
            Operation::Step(step) => {
                self.now += step;
                self.clock.set(micros(self.now));
            }
            Operation::Maintain => self.maintain(),
        }
        self.cache.validate();
        let memory = self.cache.memory();
        assert!(memory.allocated <= memory.max);
    }

    /// Stores a value that is too large. Checks that no older value is left, unless the store was
    /// declined.
    fn fail(&mut self, key: u16, is_declined: bool, store: impl Fn(&Cache, &[u8], &[u8]) -> Result<bool, Error>) {
        let (name, value) = (key.to_le_bytes(), vec![7; self.cache.max_entry_bytes()]);
        let error = store(&self.cache, &name, &value).unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }));
        if !is_declined {
            self.model.remove(&key);
            assert!(self.cache.get_or_stale(name).is_none());
        }
        assert_eq!(self.cache.contains_key(name), is_declined);
    }

    fn get_or_stale(&mut self, key: u16) {
        let found = self.cache.get_or_stale(key.to_le_bytes());
        let (now, may_forget) = (self.now, self.may_forget());
        let Some(life) = self.model.get(&key) else {
            assert!(found.is_none());
            return;
        };
        match found {
            Some(found) if found.is_stale() => {
                assert_eq!(*found.value(), value_of(key, life.version));
                assert!(life.may_be_there(now) && !life.must_be_fresh(now), "{life:?}, now {now}");
            }
            Some(found) => self.check(key, Some(&found.into_value()), true),
            None => assert!(may_forget || !life.must_be_there(now), "{key} is gone early: {life:?}, now {now}"),
        }
    }

    fn check_ttl(&self, key: u16, is_there: bool) {
        let ttl = self.cache.ttl(key.to_le_bytes());
        assert_eq!(ttl.is_some(), is_there);
        let Some((ttl, life)) = ttl.zip(self.model.get(&key)) else { return };
        match (ttl, life.deadline()) {
            (Remaining::Forever, deadline) => assert!(deadline.is_none()),
            (Remaining::For(left), None) => panic!("{left:?} of an entry without a deadline"),
            (Remaining::For(left), Some(Window { earliest, latest })) => {
                let deadline = micros(self.now) + left;
                assert!(micros(earliest) <= deadline && deadline <= micros(latest), "{deadline:?}: {life:?}");
            }
        }
    }

    /// Maintains the cache, and checks that expired entries have left.
    fn maintain(&mut self) {
        self.cache.maintain();
        let now = self.now;
        let len = self.cache.len();
        let most = self.model.values().filter(|life| life.may_be_there(now)).count();
        let least = self.model.values().filter(|life| life.must_be_there(now)).count();
        assert!(len <= most, "{len} of at most {most} entries at {now}");
        assert!(self.may_forget() || least <= len, "{len} of at least {least} entries at {now}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn nobody_dies_early_and_nobody_answers_late(
        setup in setups(),
        start in lengths(),
        operations in operations(),
    ) {
        let _alone = alone();
        let mut run = Run::new(setup, start);
        for operation in operations {
            run.apply(operation);
        }
        // In the end, all entries that can leave do.
        for key in 0..200 {
            run.apply(Operation::SetTtl(key, 1));
        }
        run.apply(Operation::Step(2 * YEAR));
        run.maintain();
        run.apply(Operation::Step(YEAR));
        run.maintain();
        let stats = run.cache.stats();
        prop_assert_eq!(stats.inserts - stats.removals - stats.evictions - stats.expirations, run.cache.len() as u64);
        let stale = run.model.values().filter(|life| life.may_be_there(run.now)).count();
        prop_assert!(run.cache.len() <= stale);
        if run.cache.is_empty() {
            prop_assert_eq!(run.cache.memory().live, 0);
        }
    }
}
