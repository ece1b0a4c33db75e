//! Custom policies that misbehave. The cache stays consistent, whatever they do.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use bytecache::policy::{EntryId, EvictionPolicy, Newcomer, PolicyContext, Recency, Residents};
use bytecache::testing::Inspect;
use bytecache::{Cache, StableHash};

use crate::support::{alone, assert_counts_add_up};

const SHARDS: usize = 4;
/// The shard of the keys that a test works on.
const SHARD: u64 = 2;
const SEED: u64 = 1;
const PANIC: &str = "the policy has panicked";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    New,
    Recency,
    PrepareInsert,
    Insert,
    Touch,
    Update,
    Remove,
    Evict,
    SetCapacity,
    Resize,
    Rename,
    Bytes,
}

/// The method whose next call panics. It panics once.
#[derive(Clone, Default)]
struct Fuse(Arc<Mutex<Option<Method>>>);

impl Fuse {
    fn arm(&self, method: Method) {
        *self.0.lock().unwrap() = Some(method);
    }

    fn is_armed(&self) -> bool {
        self.0.lock().unwrap().is_some()
    }

    fn blow(&self, method: Method) {
        let blows = self.0.lock().unwrap().take_if(|armed| *armed == method).is_some();
        if blows {
            panic!("{PANIC}");
        }
    }
}

/// The victim that `evict` names.
#[derive(Clone, Copy, Debug)]
enum Choice {
    Oldest,
    Newest,
    Nobody,
    /// Ids of no entry, just beyond the index or far beyond it.
    Strangers,
    /// The first id that the policy ever saw, in every call.
    TheFirst,
}

/// First in, first out, except for its choice and its fuse.
struct Queue {
    /// Ids and charges of the residents.
    residents: VecDeque<(EntryId, u32)>,
    ids: usize,
    max_entries: usize,
    first: Option<EntryId>,
    recency: Recency,
    choice: Choice,
    fuse: Fuse,
}

impl Queue {
    fn new(context: &PolicyContext, recency: Recency, choice: Choice, fuse: Fuse) -> Self {
        fuse.blow(Method::New);
        let residents = VecDeque::with_capacity(context.ids());
        let max_entries = context.max_entries();
        Self { residents, ids: context.ids(), max_entries, first: None, recency, choice, fuse }
    }

    fn forget(&mut self, id: EntryId, charge: u32) {
        let place = self.residents.iter().rposition(|&resident| resident == (id, charge));
        self.residents.remove(place.expect("every removed id is a resident with its charge"));
    }
}

impl EvictionPolicy for Queue {
    fn recency(&self) -> Recency {
        self.fuse.blow(Method::Recency);
        self.recency
    }

    fn prepare_insert(&mut self, newcomer: &Newcomer) {
        self.fuse.blow(Method::PrepareInsert);
        assert!(newcomer.id.index() < self.ids && newcomer.charge > 0);
        self.first.get_or_insert(newcomer.id);
    }

    fn insert(&mut self, newcomer: &Newcomer) {
        self.fuse.blow(Method::Insert);
        self.residents.push_back((newcomer.id, newcomer.charge));
        assert!(self.residents.len() <= self.max_entries);
    }

    fn touch(&mut self, id: EntryId) {
        self.fuse.blow(Method::Touch);
        assert!(self.residents.iter().any(|&(resident, _)| resident == id), "an id without an entry was touched");
    }

    fn update(&mut self, id: EntryId, old_charge: u32, charge: u32) {
        self.fuse.blow(Method::Update);
        let updated = self.residents.iter_mut().find(|resident| **resident == (id, old_charge));
        updated.expect("every updated id is a resident with its charge").1 = charge;
    }

    fn remove(&mut self, id: EntryId, charge: u32) {
        self.fuse.blow(Method::Remove);
        self.forget(id, charge);
    }

    fn evict(&mut self, newcomer: Option<&Newcomer>, residents: &mut Residents<'_>) -> Option<EntryId> {
        self.fuse.blow(Method::Evict);
        let known = |&(id, charge): &(EntryId, u32)| {
            assert_eq!(residents.charge(id), charge);
            id
        };
        match self.choice {
            Choice::Oldest => self.residents.pop_front().as_ref().map(known),
            Choice::Newest => {
                newcomer.map(|newcomer| newcomer.id).or_else(|| self.residents.pop_back().as_ref().map(known))
            }
            Choice::Nobody => None,
            Choice::Strangers => {
                let id = EntryId::new(if self.residents.len() % 2 == 0 {
                    u32::MAX
                } else {
                    u32::try_from(self.ids).unwrap()
                });
                residents.set_visits(id, 3);
                residents.expect(id);
                assert_eq!((residents.visits(id), residents.hash(id), residents.charge(id)), (0, 0, 0));
                Some(id)
            }
            Choice::TheFirst => {
                let first = self.first?;
                self.residents.retain(|&(resident, _)| resident != first);
                Some(first)
            }
        }
    }

    fn set_capacity(&mut self, _charge: u64) {
        self.fuse.blow(Method::SetCapacity);
    }

    fn resize(&mut self, ids: usize, max_entries: usize) -> bool {
        self.fuse.blow(Method::Resize);
        self.residents.reserve_exact(ids.saturating_sub(self.residents.len()));
        (self.ids, self.max_entries) = (ids, max_entries);
        true
    }

    fn rename(&mut self, from: EntryId, to: EntryId) {
        self.fuse.blow(Method::Rename);
        assert!(from.index() < self.ids && to.index() < self.ids);
        let renamed = self.residents.iter_mut().find(|resident| resident.0 == from);
        renamed.expect("every renamed id is a resident").0 = to;
        if self.first == Some(from) {
            self.first = Some(to);
        }
    }

    fn bytes(&self) -> usize {
        self.fuse.blow(Method::Bytes);
        self.residents.capacity() * size_of::<(EntryId, u32)>()
    }
}

fn cache(recency: Recency, choice: Choice, fuse: &Fuse) -> Cache {
    let fuse = fuse.clone();
    Cache::builder()
        .max_bytes(SHARDS * (100 << 10))
        .shards(SHARDS)
        .hasher(StableHash::with_seed(SEED))
        .custom_policy(move |context| Box::new(Queue::new(&context, recency, choice, fuse.clone())))
        .build()
        .unwrap()
}

/// Returns the shard of a key, which is in the top bits of its hash.
fn shard_of(key: &[u8]) -> u64 {
    StableHash::with_seed(SEED).hash_bytes(key) >> (64 - SHARDS.ilog2())
}

/// Returns the keys that belong to [`SHARD`] if `in_shard` is `true`, and all others if not.
fn keys(in_shard: bool) -> impl Iterator<Item = [u8; 8]> {
    (0..u64::MAX).map(u64::to_le_bytes).filter(move |key| (shard_of(key) == SHARD) == in_shard)
}

fn value(key: &[u8]) -> Vec<u8> {
    key.iter().copied().cycle().take(40 + usize::from(key[0]) % 30).collect()
}

fn insert(cache: &Cache, key: &[u8]) {
    cache.insert(key, value(key)).unwrap();
}

/// Works so that the cache calls `method` sooner or later. `step` numbers the attempts.
fn provoke(cache: &Cache, method: Method, step: usize) {
    let known = keys(true).next().unwrap();
    match method {
        Method::Update => insert(cache, &known),
        Method::Remove => assert!(cache.remove(known)),
        Method::Bytes => _ = cache.maintain(),
        // The reader that fills the touch log drains it, without any store.
        Method::Touch => assert!(cache.get(known).is_some()),
        Method::New => cache.clear(),
        Method::PrepareInsert
        | Method::Insert
        | Method::Evict
        | Method::SetCapacity
        | Method::Resize
        | Method::Rename => {
            insert(cache, &keys(true).nth(10 + step).unwrap());
        }
        Method::Recency => unreachable!("asked once, before there is a cache"),
    }
}

/// Arms the fuse for `method`, works until it blows, and checks that only its shard lost entries.
fn a_panic_empties_only_its_shard(recency: Recency, method: Method) {
    let fuse = Fuse::default();
    let cache = cache(recency, Choice::Oldest, &fuse);
    let others: Vec<_> = keys(false).take(300).collect();
    for key in &others {
        insert(&cache, key);
    }
    keys(true).take(10).for_each(|key| insert(&cache, &key));

    fuse.arm(method);
    let mut steps = 0..20_000;
    while fuse.is_armed() {
        let step = steps.next().unwrap_or_else(|| panic!("{method:?} was never called"));
        let outcome = catch_unwind(AssertUnwindSafe(|| provoke(&cache, method, step)));
        match outcome {
            Ok(()) => assert!(fuse.is_armed(), "the panic in {method:?} was swallowed"),
            Err(panic) => assert_eq!(panic.downcast_ref::<String>().map(String::as_str), Some(PANIC)),
        }
    }

    cache.validate();
    // `clear` and `maintain` work on all shards, and the panic was in the first one.
    if method != Method::New && method != Method::Bytes {
        assert!(keys(true).take(20_010).all(|key| !cache.contains_key(key)), "the shard was not emptied");
        for key in &others {
            assert!(cache.peek(key).is_some_and(|found| found == value(key)), "another shard's entry was lost");
        }
        assert_eq!(cache.len(), others.len());
    }
    works(&cache);
}

/// Fills a shard with more than its size, and checks the cache.
fn works(cache: &Cache) {
    let evictions = cache.stats().evictions;
    for key in keys(true).skip(50_000).take(3_000) {
        insert(cache, &key);
        assert!(cache.view(key, |found| found == value(&key)).is_some_and(|same| same));
    }
    cache.validate();
    assert!(cache.stats().evictions > evictions);
    let memory = cache.memory();
    assert_eq!(memory.allocated, memory.chunks + memory.index + memory.policy + memory.overhead);
    cache.clear();
    assert!(cache.is_empty());
    cache.validate();
}

#[test]
fn a_panic_in_prepare_insert_empties_only_its_shard() {
    let _alone = alone();
    a_panic_empties_only_its_shard(Recency::Counted, Method::PrepareInsert);
}

#[test]
fn a_panic_in_insert_empties_only_its_shard() {
    let _alone = alone();
    a_panic_empties_only_its_shard(Recency::Counted, Method::Insert);
}

#[test]
fn a_panic_in_evict_empties_only_its_shard() {
    let _alone = alone();
    a_panic_empties_only_its_shard(Recency::Counted, Method::Evict);
}

#[test]
fn a_panic_in_update_empties_only_its_shard() {
    let _alone = alone();
    a_panic_empties_only_its_shard(Recency::Counted, Method::Update);
}

#[test]
fn a_panic_in_remove_empties_only_its_shard() {
    let _alone = alone();
    a_panic_empties_only_its_shard(Recency::Counted, Method::Remove);
}

#[test]
fn a_panic_in_touch_empties_only_its_shard() {
    let _alone = alone();
    a_panic_empties_only_its_shard(Recency::Ordered, Method::Touch);
}

#[test]
fn a_panic_in_set_capacity_empties_only_its_shard() {
    let _alone = alone();
    a_panic_empties_only_its_shard(Recency::Counted, Method::SetCapacity);
}

#[test]
fn a_panic_in_resize_empties_only_its_shard() {
    let _alone = alone();
    a_panic_empties_only_its_shard(Recency::Counted, Method::Resize);
}

#[test]
fn a_panic_in_rename_empties_only_its_shard() {
    let _alone = alone();
    a_panic_empties_only_its_shard(Recency::Counted, Method::Rename);
}

#[test]
fn a_panic_in_bytes_empties_its_shard() {
    let _alone = alone();
    a_panic_empties_only_its_shard(Recency::Counted, Method::Bytes);
}

#[test]
fn a_panic_where_a_policy_is_made_leaves_an_empty_shard() {
    let _alone = alone();
    a_panic_empties_only_its_shard(Recency::Counted, Method::New);
}

#[test]
fn a_panic_in_recency_or_in_the_constructor_reaches_the_builder() {
    let _alone = alone();
    for method in [Method::New, Method::Recency, Method::Bytes, Method::SetCapacity] {
        let fuse = Fuse::default();
        fuse.arm(method);
        let built = catch_unwind(AssertUnwindSafe(|| cache(Recency::Counted, Choice::Oldest, &fuse)));
        assert!(built.is_err(), "{method:?}");
        works(&cache(Recency::Counted, Choice::Oldest, &fuse));
    }
}

#[test]
fn a_panic_on_the_way_to_another_limit_keeps_it_from_no_shard() {
    let _alone = alone();
    for method in [Method::SetCapacity, Method::Evict] {
        for (from, to) in [(10, 9), (9, 10)] {
            let fuse = Fuse::default();
            let cache = cache(Recency::Counted, Choice::Oldest, &fuse);
            let [from, to] = [from, to].map(|tenths| SHARDS * (10 << 10) * tenths);
            cache.set_max_bytes(from).unwrap();
            for key in [true, false].into_iter().flat_map(|in_shard| keys(in_shard).take(6_000)) {
                insert(&cache, &key);
            }
            fuse.arm(method);
            let outcome = catch_unwind(AssertUnwindSafe(|| cache.set_max_bytes(to).unwrap()));
            assert_eq!(outcome.is_err(), !fuse.is_armed(), "the panic in {method:?} was swallowed");
            assert!(outcome.is_err() || to > from && method == Method::Evict, "{method:?} was not called");
            fuse.0.lock().unwrap().take();
            while cache.maintain() {}
            assert_eq!((cache.memory().max, cache.max_bytes()), (to, to), "{method:?}");
            works(&cache);
            for key in [true, false].into_iter().flat_map(|in_shard| keys(in_shard).take(6_000)) {
                insert(&cache, &key);
            }
            let memory = cache.memory();
            assert!(memory.allocated > to / 10 * 8 && memory.allocated <= to, "{method:?}: {memory:?}");
        }
    }
}

#[test]
fn readers_of_other_threads_see_a_whole_entry_or_none_while_policies_panic() {
    let _alone = alone();
    let fuse = Fuse::default();
    let cache = cache(Recency::Counted, Choice::Oldest, &fuse);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 0..40 {
                fuse.arm(if round % 2 == 0 { Method::Evict } else { Method::Rename });
                for key in keys(true).take(2_500) {
                    let _ = catch_unwind(AssertUnwindSafe(|| cache.insert(key, value(&key))));
                    if !fuse.is_armed() {
                        break;
                    }
                }
                fuse.arm(Method::Insert);
                fuse.0.lock().unwrap().take();
            }
        });
        while !writer.is_finished() {
            for key in keys(true).take(100) {
                cache.view(key, |found| assert_eq!(found, value(&key)));
            }
        }
    });
    cache.validate();
    works(&cache);
}

#[test]
fn a_policy_that_names_nobody_has_victims_chosen_for_it() {
    let _alone = alone();
    let cache = cache(Recency::Counted, Choice::Nobody, &Fuse::default());
    works(&cache);
    assert_counts_add_up(&cache);
}

#[test]
fn a_policy_that_names_strangers_has_victims_chosen_for_it() {
    let _alone = alone();
    let cache = cache(Recency::Counted, Choice::Strangers, &Fuse::default());
    works(&cache);
    assert_counts_add_up(&cache);
}

#[test]
fn a_policy_that_names_the_first_for_ever_has_victims_chosen_for_it() {
    let _alone = alone();
    let cache = cache(Recency::Counted, Choice::TheFirst, &Fuse::default());
    for key in keys(true).take(5_000) {
        insert(&cache, &key);
    }
    cache.validate();
    assert!(cache.stats().evictions > 1_000);
    assert_counts_add_up(&cache);
}

#[test]
fn a_policy_that_names_an_entry_during_its_update_finds_it_charged_what_it_was_told() {
    let _alone = alone();
    let cache = cache(Recency::Counted, Choice::Newest, &Fuse::default());
    let keys: Vec<_> = keys(true).take(5_000).collect();
    keys.iter().for_each(|key| insert(&cache, key));
    let newest = keys.iter().rfind(|key| cache.contains_key(key)).unwrap();
    cache.insert(newest, vec![7; 8_000]).unwrap(); // The policy names the entry itself first, and checks its charge.
    cache.validate();
}

#[test]
fn a_policy_that_names_the_newest_refuses_it_without_an_error() {
    let _alone = alone();
    let cache = cache(Recency::Counted, Choice::Newest, &Fuse::default());
    let keys: Vec<_> = keys(true).take(5_000).collect();
    for key in &keys[..4_000] {
        insert(&cache, key);
    }
    let stored_bytes = cache.stats().inserted_bytes;
    for key in &keys[4_000..] {
        insert(&cache, key);
    }
    assert_eq!(cache.stats().inserted_bytes, stored_bytes, "refused bytes were counted as stored");
    cache.validate();
    let stored = keys.iter().take_while(|key| cache.contains_key(key)).count();
    assert!((100..4_000).contains(&stored), "{stored}");
    // The index may have taken space from the first entries, but every later entry is refused.
    assert!(keys[4_000..].iter().all(|key| !cache.contains_key(key)));
    assert_eq!(cache.stats().inserts, 5_000);
    assert_counts_add_up(&cache);
}

#[test]
fn an_entry_that_its_policy_evicts_while_it_is_updated_gets_its_new_value_or_leaves() {
    let _alone = alone();
    let cache = cache(Recency::Counted, Choice::Newest, &Fuse::default());
    for key in keys(true).take(3_000) {
        insert(&cache, &key);
    }
    for key in keys(true).take(3_000) {
        let longer = [value(&key), value(&key)].concat();
        cache.insert(key, &longer).unwrap();
        assert!(cache.peek(key).is_none_or(|found| found == longer), "an old value came back");
        cache.validate();
    }
    assert_counts_add_up(&cache);
}

#[test]
fn counts_add_up_when_the_policy_drops_what_comes_while_a_reader_holds_a_chunk() {
    let _alone = alone();
    let cache = cache(Recency::Counted, Choice::Newest, &Fuse::default());
    let keys: Vec<_> = keys(true).take(4_000).collect();
    let (first, rest) = keys.split_at(600);
    first.iter().for_each(|key| insert(&cache, key));
    cache.view(first[0], |_| {
        for (step, key) in rest.iter().enumerate() {
            cache.insert(key, value(key)).unwrap();
            cache.remove(keys[1 + step * 7 % 2_000]);
            assert_counts_add_up(&cache);
        }
    });
    cache.validate();
}
