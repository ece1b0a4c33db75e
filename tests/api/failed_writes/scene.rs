//! Caches in which a write fails for a given reason, with a given state of its key before the
//! write.

use core::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytecache::policy::{EntryId, EvictionPolicy, Newcomer, PolicyContext, Recency, Residents};
use bytecache::testing::Inspect;
use bytecache::{Cache, CacheBuilder, Lifetime, LoadError, Loaded, ManualClock, Memory, Policy, RemovalCause, Value};

use crate::support::{Gate, Hand, assert_nothing_is_left};

pub(crate) const KEY: &str = "key";
pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
/// Distance in bytes between held values. No larger entry finds a place between two of them.
const HELD_EVERY: usize = 48 << 10;

type Told = (Vec<u8>, RemovalCause);
pub(crate) type Answer = Result<Value, LoadError<&'static str>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Key and value exceed the largest entry.
    TooLarge,
    /// Held values leave no room for a large entry.
    NoRun,
    /// The ring cannot give up the chunks that a timing wheel needs.
    NoWheel,
}

/// The state of the key before the write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Present {
    Nothing,
    Fresh,
    Stale,
    Negative,
}

/// A policy that is LRU, but takes extra memory, evicts updated entries, or panics.
struct Awkward {
    policy: Box<dyn EvictionPolicy>,
    /// Bytes that it reports beyond those of LRU. They grow with each entry, up to `most`.
    more: usize,
    most: usize,
    /// `true` if an updated entry is the next victim.
    evicts_updated: bool,
    updated: Option<EntryId>,
    /// While `true`, an insert into the policy panics.
    panics: Arc<AtomicBool>,
}

impl EvictionPolicy for Awkward {
    fn recency(&self) -> Recency {
        self.policy.recency()
    }
    fn prepare_insert(&mut self, newcomer: &Newcomer) {
        self.more = (self.more + 64).min(self.most);
        self.policy.prepare_insert(newcomer);
    }
    fn insert(&mut self, newcomer: &Newcomer) {
        assert!(!self.panics.load(Ordering::Relaxed), "on purpose");
        self.policy.insert(newcomer);
    }
    fn touch(&mut self, id: EntryId) {
        self.policy.touch(id);
    }
    fn update(&mut self, id: EntryId, old_charge: u32, charge: u32) {
        self.policy.update(id, old_charge, charge);
        self.updated = self.evicts_updated.then_some(id);
    }
    fn remove(&mut self, id: EntryId, charge: u32) {
        self.policy.remove(id, charge);
    }
    fn evict(&mut self, newcomer: Option<&Newcomer>, residents: &mut Residents<'_>) -> Option<EntryId> {
        if let Some(id) = self.updated.take() {
            self.policy.remove(id, residents.charge(id));
            return Some(id);
        }
        self.policy.evict(newcomer, residents)
    }
    fn set_capacity(&mut self, charge: u64) {
        self.policy.set_capacity(charge);
    }
    fn resize(&mut self, ids: usize, max_entries: usize) -> bool {
        self.policy.resize(ids, max_entries)
    }
    fn prepare_renames(&mut self, from: Range<u32>, to: Range<u32>) -> bool {
        self.policy.prepare_renames(from, to)
    }
    fn rename(&mut self, from: EntryId, to: EntryId) {
        self.policy.rename(from, to);
    }
    fn end_renames(&mut self) {
        self.policy.end_renames();
    }
    fn bytes(&self) -> usize {
        self.policy.bytes() + self.more
    }
}

fn awkward(context: &PolicyContext, most: usize, evicts_updated: bool) -> Awkward {
    let policy = Policy::Lru.build(context);
    Awkward { policy, more: 0, most, evicts_updated, updated: None, panics: Arc::default() }
}

/// Returns an LRU policy that panics in `insert` while `panics` is set. A cache calls `insert` when
/// the next store begins.
pub(crate) fn panicking(context: &PolicyContext, panics: &Arc<AtomicBool>) -> Box<dyn EvictionPolicy> {
    Box::new(Awkward { panics: Arc::clone(panics), ..awkward(context, 0, false) })
}

fn fill(cache: &Cache) {
    for number in 0..16_000_u32 {
        cache.insert(number.to_le_bytes(), [7; 100]).unwrap();
    }
    assert!(cache.stats().evictions > 0, "the cache is not full");
}

/// Builds a cache whose policy has taken all memory except the fewest chunks that a ring keeps. No
/// memory is left for a wheel.
pub(crate) fn without_room_for_a_wheel(options: impl Fn() -> CacheBuilder) -> Cache {
    /// Bytes left for a load in progress. With two chunks, they are less than a wheel takes.
    const SPARE: core::ops::Range<usize> = 700..1_100;
    // The policy's memory grows with its entries, because a policy that takes this much at once is
    // refused.
    let build = |expected: usize, most: usize| {
        let policy = move |context: PolicyContext| Box::new(awkward(&context, most, false)) as Box<dyn EvictionPolicy>;
        let cache = options().expected_entry_bytes(expected).custom_policy(policy).build().unwrap();
        fill(&cache);
        cache
    };
    let has_spare = |cache: &Cache| {
        let Memory { chunks, index, max, allocated, .. } = cache.memory();
        // A wheel has 12 bytes for each bucket. The index is rounded up to a page.
        let wheel = 3_000 + (index / 64 - 63) * 12;
        let spare = max - allocated;
        chunks == 8 << 12 && SPARE.contains(&spare) && 2 * 4096 + spare < wheel
    };
    // How far the index shrinks while the policy grows depends on its first size.
    let mut sizes = [100, 90, 80].into_iter().flat_map(|expected| {
        let (modest, greedy) = (build(expected, 0).memory(), build(expected, usize::MAX).memory());
        // The index of a cache with few entries shrinks, and so does what LRU takes.
        let most = greedy.policy - modest.policy + greedy.max - greedy.allocated;
        (most..most + (64 << 10)).step_by(256).map(move |most| (expected, most))
    });
    let cache = sizes.find_map(|(expected, most)| Some(build(expected, most)).filter(has_spare));
    let cache = cache.expect("a size that leaves memory for a load");
    assert_eq!(cache.memory().wheels, 0);
    cache
}

/// Builds a full cache that has a wheel, and memory for a load.
fn full(options: impl Fn(usize) -> CacheBuilder) -> Cache {
    let sizes = (1 << 20..).step_by(512);
    let caches = sizes.map(|max_bytes| {
        // The index is made at once, so the ring has not given up any chunks for its growth.
        let cache = options(max_bytes).expected_entry_bytes(60).build().unwrap();
        cache.insert_with_ttl("another", "value", HOUR).unwrap();
        fill(&cache);
        cache
    });
    let has_spare = |cache: &Cache| cache.memory().max - cache.memory().allocated > 1500;
    caches.take(20).find(has_spare).expect("no size leaves memory for a load")
}

/// Holds values that lie so far apart that no large entry has a place between two of them.
fn hold_here_and_there(cache: &Cache) -> Vec<Value> {
    let mut places = Vec::new();
    cache.for_each(|key, value| {
        if value.len() == 100 {
            places.push((value.as_ptr().addr(), key.to_vec()));
        }
    });
    places.sort();
    let (mut held, mut next) = (Vec::new(), 0);
    for (address, key) in places {
        if address >= next {
            held.push(cache.peek(key).unwrap());
            next = address + HELD_EVERY;
        }
    }
    assert_eq!(cache.stats().copied_values, 0);
    held
}

pub(crate) struct Scene {
    pub(crate) cache: Cache,
    pub(crate) clock: ManualClock,
    pub(crate) told: Arc<Mutex<Vec<Told>>>,
    pub(crate) old: Vec<u8>,
    pub(crate) new: Vec<u8>,
}

impl Scene {
    pub(crate) fn new(failure: Failure) -> Self {
        Self::with(failure, false, false)
    }

    /// Creates a scene. If `is_old_large`, the old entry is large. If `evicts_updated`, the policy
    /// evicts updated entries.
    pub(crate) fn with(failure: Failure, is_old_large: bool, evicts_updated: bool) -> Self {
        let clock = ManualClock::new();
        let told = Arc::<Mutex<Vec<Told>>>::default();
        let options = |max_bytes| {
            let told = Arc::clone(&told);
            let listener = move |key: &[u8], value: &[u8], cause| {
                if key == KEY.as_bytes() {
                    told.lock().unwrap().push((value.to_vec(), cause));
                }
            };
            let policy =
                move |context: PolicyContext| Box::new(awkward(&context, 0, evicts_updated)) as Box<dyn EvictionPolicy>;
            let builder = Cache::builder().max_bytes(max_bytes).shards(1).custom_policy(policy);
            builder.clock(clock.clone()).on_removal(listener)
        };
        let cache = match failure {
            Failure::TooLarge => options(1 << 20).build().unwrap(),
            Failure::NoRun => full(options),
            Failure::NoWheel => without_room_for_a_wheel(|| options(1 << 20)),
        };
        let large = vec![1; cache.max_entry_bytes() - 100];
        let new = match failure {
            Failure::TooLarge => vec![1; cache.max_entry_bytes()],
            Failure::NoRun => large.clone(),
            Failure::NoWheel => b"new".to_vec(),
        };
        let old = if is_old_large { large } else { b"old".to_vec() };
        Self { cache, clock, told, old, new }
    }

    /// Brings the key into the state `present`. Returns values that make the write fail while they
    /// are held.
    pub(crate) fn prepare(&self, failure: Failure, present: Present) -> Vec<Value> {
        let mut held = Vec::new();
        if self.old.len() < 100 && failure == Failure::NoRun {
            held = hold_here_and_there(&self.cache);
        }
        match present {
            Present::Nothing => {}
            Present::Fresh if failure == Failure::NoWheel => self.cache.insert(KEY, &self.old).unwrap(),
            Present::Fresh => self.insert(Lifetime::forever().refresh_after(SECOND)),
            Present::Stale => self.insert(Lifetime::new().ttl(SECOND).stale_for(HOUR)),
            Present::Negative => {
                let answer = self.cache.get_or_load(KEY, || Ok::<_, &str>(Loaded::<&str>::AbsentFor(HOUR)));
                assert!(answer.unwrap_err().is_absent());
            }
        }
        if self.old.len() >= 100 && failure == Failure::NoRun {
            held = hold_here_and_there(&self.cache);
        }
        self.clock.advance(3 * SECOND);
        assert_eq!(self.cache.contains_key(KEY), present == Present::Fresh);
        let is_found = self.cache.get_or_stale(KEY).is_some();
        assert_eq!(is_found, matches!(present, Present::Fresh | Present::Stale));
        assert!(failure != Failure::NoWheel || self.cache.memory().wheels == 0);
        self.told.lock().unwrap().clear();
        held
    }

    fn insert(&self, lifetime: Lifetime) {
        self.cache.insert_with_lifetime(KEY, &self.old, lifetime).unwrap();
    }

    /// Begins a load of the key, which ends after the gate is opened.
    pub(crate) fn load(&self, given: Loaded<Vec<u8>>, gate: &Gate) -> Hand<'static, Answer> {
        let gate = gate.clone();
        let loader = self.cache.loader().refresh_after(SECOND).build_async(move |_| {
            let (gate, given) = (gate.clone(), given.clone());
            async move {
                gate.await;
                Ok::<_, &str>(given)
            }
        });
        let loader = loader.unwrap();
        let mut load = Hand::new(async move { loader.get_async(KEY).await });
        assert!(load.poll().is_pending());
        assert_eq!(self.cache.loads_under_way().0, 1, "there was no memory for the load");
        load
    }

    /// Checks that nothing older is left, and that the listener was notified of the old entry once.
    #[track_caller]
    pub(crate) fn assert_gone(&self, failure: Failure, present: Present, what: &str) {
        assert!(!self.cache.contains_key(KEY) && self.cache.get_or_stale(KEY).is_none(), "{what}: an entry is left");
        let told = std::mem::take(&mut *self.told.lock().unwrap());
        if matches!(present, Present::Fresh | Present::Stale) {
            let [(value, cause)] = &told[..] else { panic!("{what}: notified of {} entries", told.len()) };
            assert!(*value == self.old, "{what}: notified of another value");
            // Only the search for adjacent chunks evicts.
            let may_be_evicted = failure == Failure::NoRun && *cause == RemovalCause::Evicted;
            assert!(may_be_evicted || *cause == RemovalCause::Replaced, "{what}: {cause:?}");
        } else {
            assert!(told.is_empty(), "{what}: notified of an absent entry");
        }
    }

    pub(crate) fn assert_sound(&self) {
        let stats = self.cache.stats();
        let left = stats.removals + stats.evictions + stats.expirations;
        assert_eq!(stats.inserts - left, self.cache.len() as u64, "{stats:?}");
        assert_eq!(stats.listener_panics, 0);
        assert_nothing_is_left(&self.cache);
    }
}
