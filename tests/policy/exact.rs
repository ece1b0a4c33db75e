//! With one shard and one thread, the cache behaves like the bare policy: the same hits, and the
//! same victims in the same order.
//!
//! Each policy runs twice. In a cache, it runs inside a recorder that notes its victims, capacities
//! and misses. In a simulator, it sees only the operations. The space of a ring may need a victim
//! earlier than the capacity does. So the simulator evicts as often as the cache did, but chooses
//! the victims by itself.

use core::ops::Range;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex};

use bytecache::policy::{
    EntryId, EvictionPolicy, Newcomer, PolicyContext, Recency, Request, Residents, Simulator, Unit,
};
use bytecache::testing::Inspect;
use bytecache::{Cache, Policy, StableHash};
use proptest::prelude::*;

use crate::support::alone;

const MAX_BYTES: usize = 128 << 10;
/// Size of an entry for which the index is so large that it never grows.
const EXPECTED_ENTRY_BYTES: usize = 8;

/// A call of a policy in a cache, or its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Insert {
        hash: u64,
    },
    /// The newcomer gets its place.
    Settled,
    Update,
    Capacity(u64),
    Missed {
        hash: u64,
    },
    Victim {
        hash: u64,
    },
    NoVictim,
}

type Events = Arc<Mutex<VecDeque<Event>>>;

/// A wrapper that notes the calls of a policy in a cache.
struct Recorder {
    policy: Box<dyn EvictionPolicy>,
    ids: usize,
    hashes: HashMap<EntryId, u64>,
    events: Events,
}

impl Recorder {
    fn note(&self, event: Event) {
        self.events.lock().unwrap().push_back(event);
    }
}

impl EvictionPolicy for Recorder {
    fn recency(&self) -> Recency {
        self.policy.recency()
    }
    fn prepare_insert(&mut self, newcomer: &Newcomer) {
        self.note(Event::Insert { hash: newcomer.hash });
        self.hashes.insert(newcomer.id, newcomer.hash);
        self.policy.prepare_insert(newcomer);
    }
    fn prefetch_insert(&self, newcomer: &Newcomer) {
        self.policy.prefetch_insert(newcomer);
    }
    fn insert(&mut self, newcomer: &Newcomer) {
        self.note(Event::Settled);
        self.policy.insert(newcomer);
    }
    fn touch(&mut self, id: EntryId) {
        self.policy.touch(id);
    }
    fn wants_misses(&self) -> bool {
        self.policy.wants_misses()
    }
    fn missed(&mut self, hash: u64) {
        self.note(Event::Missed { hash });
        self.policy.missed(hash);
    }
    fn update(&mut self, id: EntryId, old_charge: u32, charge: u32) {
        self.note(Event::Update);
        self.policy.update(id, old_charge, charge);
    }
    fn remove(&mut self, id: EntryId, charge: u32) {
        self.policy.remove(id, charge);
    }
    fn evict(&mut self, newcomer: Option<&Newcomer>, residents: &mut Residents<'_>) -> Option<EntryId> {
        let victim = self.policy.evict(newcomer, residents);
        self.note(victim.map_or(Event::NoVictim, |victim| Event::Victim { hash: self.hashes[&victim] }));
        victim
    }
    fn set_capacity(&mut self, charge: u64) {
        self.note(Event::Capacity(charge));
        self.policy.set_capacity(charge);
    }
    fn resize(&mut self, ids: usize, _max_entries: usize) -> bool {
        // The index shrinks, and grows again at most. The policy remembers as much as before, like
        // that in the simulator.
        assert!(ids <= self.ids, "the index grows");
        true
    }
    fn prepare_renames(&mut self, from: Range<u32>, to: Range<u32>) -> bool {
        self.policy.prepare_renames(from, to)
    }
    fn rename(&mut self, from: EntryId, to: EntryId) {
        if let Some(hash) = self.hashes.remove(&from) {
            self.hashes.insert(to, hash);
        }
        self.policy.rename(from, to);
    }
    fn end_renames(&mut self) {
        self.policy.end_renames();
    }
    fn bytes(&self) -> usize {
        self.policy.bytes()
    }
    fn validate(&self) {
        self.policy.validate();
    }
}

/// The policy in the simulator. It is notified of capacities and misses between the same calls as
/// the policy in the cache.
struct Twin {
    policy: Box<dyn EvictionPolicy>,
    script: Events,
    /// The newcomer that is prepared, but not inserted yet.
    waiting: Option<Newcomer>,
    /// Hashes that the simulator reported as missed.
    missed: Arc<Mutex<Vec<u64>>>,
}

impl Twin {
    /// Notifies the policy of all capacities and misses up to the next call, and returns the
    /// policy.
    fn told(&mut self) -> &mut dyn EvictionPolicy {
        let mut script = self.script.lock().unwrap();
        while let Some(&event) = script.front() {
            match event {
                Event::Capacity(charge) => self.policy.set_capacity(charge),
                Event::Settled => {
                    if let Some(newcomer) = self.waiting.take() {
                        self.policy.insert(&newcomer);
                    }
                }
                Event::Missed { hash } => {
                    // In the cache, too, the newcomer is inserted before that.
                    if let Some(newcomer) = self.waiting.take() {
                        self.policy.insert(&newcomer);
                    }
                    self.policy.missed(hash);
                }
                _ => break,
            }
            script.pop_front();
        }
        &mut *self.policy
    }

    /// Like [`Self::told`], but also removes the next call from the script.
    fn called(&mut self) -> &mut dyn EvictionPolicy {
        self.told();
        self.script.lock().unwrap().pop_front();
        &mut *self.policy
    }
}

impl EvictionPolicy for Twin {
    fn recency(&self) -> Recency {
        self.policy.recency()
    }
    fn prepare_insert(&mut self, newcomer: &Newcomer) {
        self.called().prepare_insert(newcomer);
        self.waiting = Some(*newcomer);
    }
    fn insert(&mut self, _newcomer: &Newcomer) {
        self.told();
        if let Some(newcomer) = self.waiting.take() {
            self.policy.insert(&newcomer);
        }
    }
    fn touch(&mut self, id: EntryId) {
        self.told().touch(id);
    }
    fn wants_misses(&self) -> bool {
        self.policy.wants_misses()
    }
    fn missed(&mut self, hash: u64) {
        self.missed.lock().unwrap().push(hash);
    }
    fn update(&mut self, id: EntryId, old_charge: u32, charge: u32) {
        self.called().update(id, old_charge, charge);
    }
    fn remove(&mut self, id: EntryId, charge: u32) {
        self.told().remove(id, charge);
    }
    fn evict(&mut self, newcomer: Option<&Newcomer>, residents: &mut Residents<'_>) -> Option<EntryId> {
        let victim = self.called().evict(newcomer, residents);
        self.waiting.take_if(|waiting| Some(waiting.id) == victim);
        victim
    }
    fn set_capacity(&mut self, _charge: u64) {}
    fn resize(&mut self, _ids: usize, _max_entries: usize) -> bool {
        panic!("the simulator grows");
    }
    fn rename(&mut self, _from: EntryId, _to: EntryId) {
        panic!("the simulator grows");
    }
    fn bytes(&self) -> usize {
        self.policy.bytes()
    }
    fn validate(&self) {
        self.policy.validate();
    }
}

/// Returns the name that the simulator's mixing turns into `hash`. With this name the simulator's
/// policy sees the cache's hashes, on which ghosts and sketches depend. Undoes the finalizer of
/// SplitMix64 step by step.
fn unspread(hash: u64) -> u64 {
    let unshift = |bits: u64, by: u32| bits ^ bits >> by ^ bits >> (2 * by) ^ bits.checked_shr(3 * by).unwrap_or(0);
    let mut bits = unshift(hash, 31).wrapping_mul(0x3196_42b2_d24d_8ec3);
    bits = unshift(bits, 27).wrapping_mul(0x96de_1b17_3f11_9089);
    unshift(bits, 30).wrapping_sub(0x9e37_79b9_7f4a_7c15)
}

/// Returns the charge of an entry as documented: header, key and value, rounded up to a multiple of
/// 4.
fn charge(value_len: usize) -> u32 {
    u32::try_from((4 + 4 + value_len).next_multiple_of(4)).unwrap()
}

/// Returns the simulator's name of the key that an event evicted, or `None` for other events.
fn victim(event: &Event) -> Option<u64> {
    if let Event::Victim { hash } = event { Some(unspread(*hash)) } else { None }
}

/// A cache and a simulator that get the same operations.
struct Pair {
    policy: Policy,
    /// `true` if the two cannot be compared any further.
    is_over: bool,
    cache: Cache,
    simulator: Simulator,
    events: Events,
    script: Events,
    /// Hashes that the simulator reported as missed.
    missed: Arc<Mutex<Vec<u64>>>,
    /// Number of misses that were compared.
    misses: usize,
    /// The simulator's names of all keys that were ever stored.
    names: HashMap<u32, u64>,
    charges: HashMap<u64, u32>,
}

impl Pair {
    fn new(policy: Policy) -> Self {
        let events = Events::default();
        let context = Arc::new(Mutex::new(None));
        let cache = Cache::builder()
            .max_bytes(MAX_BYTES)
            .shards(1)
            .hasher(StableHash::with_seed(5))
            .expected_entry_bytes(EXPECTED_ENTRY_BYTES)
            .custom_policy({
                let (events, context) = (Arc::clone(&events), Arc::clone(&context));
                move |given| {
                    *context.lock().unwrap() = Some(given.clone());
                    let policy = policy.build(&given);
                    Box::new(Recorder { policy, ids: given.ids(), hashes: HashMap::new(), events: Arc::clone(&events) })
                }
            })
            .build()
            .unwrap();
        let script = Events::default();
        script.lock().unwrap().append(&mut events.lock().unwrap());
        let context: PolicyContext = context.lock().unwrap().take().unwrap();
        let missed = Arc::<Mutex<Vec<u64>>>::default();
        let twin = Twin {
            policy: policy.build(&context),
            script: Arc::clone(&script),
            waiting: None,
            missed: Arc::clone(&missed),
        };
        let simulator = Simulator::custom(|_| Box::new(twin), MAX_BYTES as u64, Unit::Bytes);
        Self {
            policy,
            is_over: false,
            cache,
            simulator,
            events,
            script,
            missed,
            misses: 0,
            names: HashMap::new(),
            charges: HashMap::new(),
        }
    }

    fn read(&mut self, key: u32) {
        let hit = self.cache.get(key.to_le_bytes()).is_some();
        let name = self.names.get(&key).copied().filter(|&name| self.simulator.contains(name));
        assert_eq!(name.is_some(), hit, "key {key}");
        match (hit, self.names.get(&key)) {
            (true, Some(&hash)) => assert!(self.simulator.request(Request { hash, charge: 1 })),
            // The simulator has no name for a key that was never stored.
            (false, Some(&hash)) => assert!(!self.simulator.read(hash)),
            (_, None) => {}
        }
    }

    /// Passes the events of an operation on `key` in the cache to the policy in the simulator, and
    /// returns them. Checks that both had the same misses of keys that have names.
    fn follow(&mut self, key: u32) -> Vec<Event> {
        let events: Vec<_> = self.events.lock().unwrap().drain(..).collect();
        let named: HashSet<u64> = self.names.values().copied().collect();
        let missed = events.iter().filter_map(|event| match event {
            Event::Missed { hash } => Some(*hash).filter(|&hash| named.contains(&unspread(hash))),
            _ => None,
        });
        let missed: Vec<_> = missed.collect();
        assert_eq!(core::mem::take(&mut *self.missed.lock().unwrap()), missed, "{}: misses", self.policy);
        self.misses += missed.len();
        for event in &events {
            if let Event::Insert { hash } = event {
                self.names.insert(key, unspread(*hash));
            }
        }
        self.script.lock().unwrap().extend(&events);
        events
    }

    fn remove(&mut self, key: u32) {
        let removed = self.cache.remove(key.to_le_bytes());
        self.follow(key);
        let name = self.names.get(&key).copied();
        assert_eq!(name.is_some_and(|name| self.simulator.remove(name)), removed, "key {key}");
    }

    fn decline(&mut self, key: u32) {
        let key = key.to_le_bytes();
        if self.cache.contains_key(key) {
            assert!(!self.cache.insert_if_absent(key, [0; 20]).unwrap());
        }
    }

    fn store(&mut self, key: u32, value_len: usize) {
        self.cache.insert(key.to_le_bytes(), vec![7; value_len]).unwrap();
        let events = self.follow(key);
        let name = self.names[&key];
        let victims: Vec<_> = events.iter().filter_map(victim).collect();
        let there = if self.simulator.contains(name) { self.charges[&name] } else { 0 };
        self.charges.insert(name, charge(value_len));
        // This is the least capacity with which the simulator evicts as much. If the newcomer was
        // refused, it exceeded the capacity.
        let (is_new, refused) = (there == 0, victims.contains(&name));
        let evicted: u64 =
            victims.iter().filter(|&&other| other != name).map(|other| u64::from(self.charges[other])).sum();
        let after = self.simulator.charge() + u64::from(charge(value_len).saturating_sub(there)) - evicted;
        self.simulator.set_capacity(if victims.is_empty() { u64::MAX } else { after - u64::from(refused) });
        if !is_new && refused {
            // The old value was evicted for the new one, which was then inserted. The capacity
            // differs between these steps.
            self.is_over = true;
            return;
        }
        self.simulator.store(Request { hash: name, charge: charge(value_len) });
        assert_eq!(self.simulator.evicted(), victims, "{}: victims for key {key}", self.policy);
    }

    fn check(&self) {
        self.cache.validate();
        self.simulator.validate();
        assert_eq!(self.cache.len(), self.simulator.len());
        assert_eq!(self.cache.stats().dropped_touches, 0);
    }
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    Read(u32),
    /// A read, followed by an insert if it misses.
    Fetch(u32, usize),
    Store(u32, usize),
    /// An `insert_if_absent` of a key that is present, which changes nothing.
    Decline(u32),
    Remove(u32),
}

/// Returns operations, of which `stores` are stores for each 18 others.
fn operations(stores: u32) -> impl Strategy<Value = Vec<Operation>> {
    // Some keys are much more popular than others.
    let key = || prop_oneof![4 => 0..40_u32, 4 => 0..400_u32, 3 => 0..3_000_u32];
    let len = || prop_oneof![6 => 20..300_usize, 1 => 0..1_500_usize];
    let operation = prop_oneof![
        6 => key().prop_map(Operation::Read),
        8 => (key(), len()).prop_map(|(key, len)| Operation::Fetch(key, len)),
        stores => (key(), len()).prop_map(|(key, len)| Operation::Store(key, len)),
        2 => key().prop_map(Operation::Decline),
        2 => key().prop_map(Operation::Remove),
    ];
    prop::collection::vec(operation, 3_000..5_000)
}

/// Applies the operations to both, and returns the number of evictions.
fn check(policy: Policy, operations: &[Operation]) -> u64 {
    let mut pair = Pair::new(policy);
    for &operation in operations {
        match operation {
            Operation::Read(key) => pair.read(key),
            Operation::Fetch(key, len) => {
                pair.read(key);
                if !pair.cache.contains_key(key.to_le_bytes()) {
                    pair.store(key, len);
                }
            }
            // MRU would evict the updated entry itself, because it is the most recently used one.
            Operation::Store(key, len) if policy != Policy::Mru => pair.store(key, len),
            Operation::Store(..) => (),
            Operation::Decline(key) => pair.decline(key),
            Operation::Remove(key) => pair.remove(key),
        }
        if pair.is_over {
            return pair.cache.stats().evictions;
        }
    }
    pair.check();
    assert_eq!(pair.misses > 10, policy == Policy::Adaptive, "{policy}: {} misses were compared", pair.misses);
    pair.cache.stats().evictions
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_policy_evicts_in_the_cache_what_it_evicts_in_the_simulator(operations in operations(0)) {
        let _alone = alone();
        for &policy in Policy::ALL {
            let evictions = check(policy, &operations);
            prop_assert!(evictions > 100, "{policy}: only {evictions} evictions");
        }
    }

    #[test]
    fn also_when_entries_are_updated(operations in operations(2)) {
        let _alone = alone();
        for &policy in Policy::ALL {
            check(policy, &operations);
        }
    }
}

/// Returns the keys that a cache holds after many inserts. After each of them, `use_again` uses an
/// older key.
fn held_after(policy: Policy, use_again: impl Fn(&Cache, [u8; 4])) -> Vec<u32> {
    const KEYS: u32 = 30_000;
    let builder = Cache::builder().max_bytes(1 << 20).shards(1).policy(policy);
    let cache = builder.hasher(StableHash::with_seed(5)).build().unwrap();
    for key in 0..KEYS {
        cache.insert(key.to_le_bytes(), [0; 100]).unwrap();
        let older = (key.saturating_sub(key % 1000)).to_le_bytes();
        if cache.contains_key(older) {
            use_again(&cache, older);
        }
    }
    (0..KEYS).filter(|key| cache.contains_key(key.to_le_bytes())).collect()
}

#[test]
fn a_declined_insert_if_absent_is_no_access() {
    for &policy in Policy::ALL {
        let unused = held_after(policy, |_, _| {});
        let declined = held_after(policy, |cache, key| assert!(!cache.insert_if_absent(key, [1; 100]).unwrap()));
        assert!(declined == unused, "{policy}");
    }
    let read = held_after(Policy::Lru, |cache, key| assert!(cache.get(key).is_some()));
    assert!(read != held_after(Policy::Lru, |_, _| {}));
}
