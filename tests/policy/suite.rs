//! Properties that a cache needs of every policy, whatever it prefers. Each policy has one line
//! below.
//!
//! The policies run in a [`Simulator`], inside [`Watched`]. It checks that they name residents
//! only, and name one as long as there is one.

use std::collections::{HashMap, VecDeque};

use bytecache::Policy;
use bytecache::policy::{
    EntryId, EvictionPolicy, Newcomer, PolicyContext, Recency, Request, Residents, Simulator, Unit,
};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use Admission::{All, MayRefuse};
use Memory::{Approximate, Exact, Sketched};

/// Defines the tests of each policy, and one test of the list itself.
macro_rules! suite {
    ($($module:ident: $name:expr, $admission:ident, $memory:ident;)*) => {
        $(mod $module {
            use super::*;

            const SUBJECT: Subject = Subject { name: $name, admission: $admission, memory: $memory };

            #[test]
            fn residents_are_what_came_in_and_did_not_leave() {
                super::residents_are_what_came_in_and_did_not_leave(SUBJECT);
            }

            #[test]
            fn capacities_of_zero_one_and_two_work() {
                super::capacities_of_zero_one_and_two_work(SUBJECT);
            }

            #[test]
            fn an_entry_larger_than_the_capacity_changes_nothing() {
                super::an_entry_larger_than_the_capacity_changes_nothing(SUBJECT);
            }

            #[test]
            fn an_entry_larger_than_any_share_is_admitted() {
                super::an_entry_larger_than_any_share_is_admitted(SUBJECT);
            }

            #[test]
            fn a_removed_key_comes_back_as_one_never_seen() {
                super::a_removed_key_comes_back_as_one_never_seen(SUBJECT);
            }

            #[test]
            fn a_capacity_can_shrink_and_grow() {
                super::a_capacity_can_shrink_and_grow(SUBJECT);
            }

            #[test]
            fn more_ids_do_not_change_who_leaves() {
                super::more_ids_do_not_change_who_leaves(SUBJECT);
            }
        })*

        #[test]
        fn every_built_in_policy_has_a_line() {
            let names = [$($name),*];
            for policy in Policy::ALL {
                assert!(names.contains(&policy.name()), "{policy}");
            }
        }
    };
}

suite! {
    lru: "lru", All, Exact;
    lfu: "lfu", All, Exact;
    lfu_without_ageing: "lfu(ageing=none)", All, Exact;
    lfu_with_dynamic_ageing: "lfu(ageing=dynamic)", All, Exact;
    two_queue: "2q", All, Exact;
    two_queue_of_other_shares: "2q(in=5,out=90)", All, Exact;
    arc: "arc", All, Exact;
    slru: "slru", All, Exact;
    slru_that_protects_nothing: "slru(protected=0)", All, Exact;
    slru_that_protects_all: "slru(protected=100)", All, Exact;
    fifo: "fifo", All, Exact;
    mru: "mru", All, Exact;
    clock: "clock", All, Exact;
    clock_of_three_chances: "clock(chances=3)", All, Exact;
    sieve: "sieve", All, Exact;
    s3_fifo: "s3-fifo", All, Approximate;
    s3_fifo_of_other_parameters: "s3-fifo(small=50,visits=1)", All, Approximate;
    tiny_lfu: "w-tinylfu", All, Sketched;
    tiny_lfu_of_a_fixed_window: "w-tinylfu(window=30,adaptive=false)", All, Sketched;
    gdsf: "gdsf", MayRefuse, Exact;
    adaptive: "adaptive", MayRefuse, Approximate;
    custom: CUSTOM, All, Exact;
}

#[derive(Clone, Copy, PartialEq)]
enum Admission {
    /// Every entry that fits is admitted.
    All,
    MayRefuse,
}

#[derive(Clone, Copy, PartialEq)]
enum Memory {
    /// The keys that it remembers do not depend on the number of ids.
    Exact,
    /// Ghosts are looked up in sets, whose number grows with that of the ids.
    Approximate,
    /// Like `Approximate`, and the frequency of a removed key is not forgotten.
    Sketched,
}

/// The name of [`Queue`].
const CUSTOM: &str = "a user's own";

#[derive(Clone, Copy)]
struct Subject {
    name: &'static str,
    admission: Admission,
    memory: Memory,
}

impl Subject {
    fn simulator(self, capacity: u64, unit: Unit) -> Simulator {
        let watched = |context: PolicyContext| -> Box<dyn EvictionPolicy> {
            let policy = match self.name {
                CUSTOM => Box::new(Queue::default()),
                name => name.parse::<Policy>().unwrap().build(&context),
            };
            Box::new(Watched { policy, charges: vec![None; context.ids()], waiting: None })
        };
        Simulator::custom(watched, capacity, unit)
    }
}

/// First in, first out, as a custom policy.
#[derive(Default)]
struct Queue(VecDeque<EntryId>);

impl EvictionPolicy for Queue {
    fn recency(&self) -> Recency {
        Recency::Ordered
    }

    fn insert(&mut self, newcomer: &Newcomer) {
        self.0.push_back(newcomer.id);
    }

    fn remove(&mut self, id: EntryId, _charge: u32) {
        self.0.retain(|&other| other != id);
    }

    fn evict(&mut self, _newcomer: Option<&Newcomer>, _residents: &mut Residents<'_>) -> Option<EntryId> {
        self.0.pop_front()
    }

    fn resize(&mut self, _ids: usize, _max_entries: usize) -> bool {
        true
    }

    fn rename(&mut self, from: EntryId, to: EntryId) {
        self.0.iter_mut().filter(|id| **id == from).for_each(|id| *id = to);
    }

    fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<EntryId>()
    }
}

/// A wrapper that checks the calls of a policy and its answers. The policy names residents only. It
/// is called in the order of the contract, with the right charges.
struct Watched {
    policy: Box<dyn EvictionPolicy>,
    /// The charge of each resident id.
    charges: Vec<Option<u32>>,
    /// The newcomer that is prepared, but not inserted yet.
    waiting: Option<Newcomer>,
}

impl EvictionPolicy for Watched {
    fn recency(&self) -> Recency {
        self.policy.recency()
    }

    fn prepare_insert(&mut self, newcomer: &Newcomer) {
        assert_eq!(self.waiting.replace(*newcomer), None, "the previous newcomer was not inserted");
        self.charges[newcomer.id.index()] = Some(newcomer.charge);
        self.policy.prepare_insert(newcomer);
    }

    fn prefetch_insert(&self, newcomer: &Newcomer) {
        assert_eq!(self.waiting.as_ref(), Some(newcomer));
        self.policy.prefetch_insert(newcomer);
    }

    fn insert(&mut self, newcomer: &Newcomer) {
        assert_eq!(self.waiting.take().as_ref(), Some(newcomer));
        self.policy.insert(newcomer);
    }

    fn touch(&mut self, id: EntryId) {
        assert_eq!(self.waiting, None);
        self.policy.touch(id);
    }

    fn update(&mut self, id: EntryId, old_charge: u32, charge: u32) {
        assert_eq!(self.waiting, None);
        assert_eq!(self.charges[id.index()].replace(charge), Some(old_charge));
        self.policy.update(id, old_charge, charge);
    }

    fn remove(&mut self, id: EntryId, charge: u32) {
        assert!(self.waiting.is_none_or(|waiting| waiting.id != id));
        assert_eq!(self.charges[id.index()].take(), Some(charge));
        self.policy.remove(id, charge);
    }

    fn evict(&mut self, newcomer: Option<&Newcomer>, residents: &mut Residents<'_>) -> Option<EntryId> {
        assert_eq!(newcomer, self.waiting.as_ref());
        let victim = self.policy.evict(newcomer, residents);
        assert!(victim.is_some() || newcomer.is_some(), "no victim is named although there is a resident");
        let victim = victim?;
        self.waiting.take_if(|waiting| waiting.id == victim);
        assert_eq!(self.charges[victim.index()].take(), Some(residents.charge(victim)), "no resident is named");
        Some(victim)
    }

    fn set_capacity(&mut self, charge: u64) {
        self.policy.set_capacity(charge);
    }

    fn resize(&mut self, ids: usize, max_entries: usize) -> bool {
        assert_eq!(self.waiting, None);
        self.charges.resize(ids, None);
        self.policy.resize(ids, max_entries)
    }

    fn rename(&mut self, _from: EntryId, _to: EntryId) {
        panic!("a simulator's ids stay the same");
    }

    fn bytes(&self) -> usize {
        self.policy.bytes()
    }

    fn validate(&self) {
        self.policy.validate();
    }
}

/// A simulator, and the residents that it should have.
struct Mirrored {
    subject: Subject,
    unit: Unit,
    capacity: u64,
    simulator: Simulator,
    residents: HashMap<u64, u32>,
}

impl Mirrored {
    fn new(subject: Subject, capacity: u64, unit: Unit) -> Self {
        Self { subject, unit, capacity, simulator: subject.simulator(capacity, unit), residents: HashMap::new() }
    }

    fn request(&mut self, request: Request) {
        let found = self.simulator.request(request);
        assert_eq!(found, self.residents.contains_key(&request.hash));
        if found {
            assert_eq!(self.simulator.evicted(), [0_u64; 0], "a hit evicted an entry");
        } else {
            self.note_stored(request);
        }
        self.check();
    }

    fn store(&mut self, request: Request) {
        let found = self.simulator.store(request);
        assert_eq!(found, self.residents.contains_key(&request.hash));
        self.note_stored(request);
        self.check();
    }

    fn remove(&mut self, key: u64) {
        assert_eq!(self.simulator.remove(key), self.residents.remove(&key).is_some());
        self.check();
    }

    fn set_capacity(&mut self, capacity: u64) {
        self.simulator.set_capacity(capacity);
        self.capacity = capacity;
        self.check();
    }

    fn charged(&self, request: Request) -> u32 {
        if self.unit == Unit::Bytes { request.charge } else { 1 }
    }

    fn note_stored(&mut self, request: Request) {
        let charge = self.charged(request);
        if u64::from(charge) > self.capacity {
            assert_eq!(self.simulator.evicted(), [0_u64; 0], "an entry was evicted for one that does not fit");
            return;
        }
        let mut is_refused = false;
        for victim in self.simulator.evicted() {
            if self.residents.remove(victim).is_none() {
                assert!(*victim == request.hash && !is_refused, "{victim} was evicted, but was not present");
                is_refused = true;
            }
        }
        if is_refused {
            assert!(self.subject.admission == MayRefuse, "an entry that fits was refused");
        } else {
            self.residents.insert(request.hash, charge);
            assert!(self.simulator.charge() <= self.capacity);
        }
    }

    fn check(&self) {
        assert_eq!(self.simulator.len(), self.residents.len());
        assert!(self.residents.keys().all(|&key| self.simulator.contains(key)));
        assert_eq!(self.simulator.charge(), self.residents.values().map(|&charge| u64::from(charge)).sum::<u64>());
        self.simulator.validate();
    }
}

/// Returns a random request. Half of the requests are for a tenth of the keys.
fn request(random: &mut SmallRng, keys: u64, charges: std::ops::RangeInclusive<u32>) -> Request {
    let keys = if random.random_bool(0.5) { keys / 10 } else { keys };
    Request { hash: random.random_range(0..=keys), charge: random.random_range(charges) }
}

fn random_step(mirrored: &mut Mirrored, random: &mut SmallRng, keys: u64, max_charge: u32) {
    let request = request(random, keys, 1..=max_charge);
    match random.random_range(0..10) {
        0 => mirrored.remove(request.hash),
        1 | 2 => mirrored.store(request),
        _ => mirrored.request(request),
    }
}

fn residents_are_what_came_in_and_did_not_leave(subject: Subject) {
    let mut random = SmallRng::seed_from_u64(1);
    for (unit, capacity) in [(Unit::Bytes, 200), (Unit::Bytes, 37), (Unit::Entries, 20)] {
        let mut mirrored = Mirrored::new(subject, capacity, unit);
        // Some entries are larger than the capacity of 37.
        (0..1500).for_each(|_| random_step(&mut mirrored, &mut random, 100, 40));
    }
}

fn capacities_of_zero_one_and_two_work(subject: Subject) {
    let mut random = SmallRng::seed_from_u64(2);
    for unit in [Unit::Bytes, Unit::Entries] {
        for capacity in 0..=2 {
            let mut mirrored = Mirrored::new(subject, capacity, unit);
            (0..300).for_each(|_| random_step(&mut mirrored, &mut random, 5, 3));
            mirrored.residents.clone().keys().for_each(|&key| mirrored.remove(key));
            // In an empty cache, every entry that fits is admitted.
            (1..=capacity).for_each(|key| mirrored.request(Request { hash: key, charge: 1 }));
            assert_eq!(mirrored.residents.len() as u64, capacity);
        }
    }
}

fn an_entry_larger_than_the_capacity_changes_nothing(subject: Subject) {
    const CAPACITY: u64 = 100;
    let mut random = SmallRng::seed_from_u64(3);
    let [mut with, mut without] = [0; 2].map(|_| subject.simulator(CAPACITY, Unit::Bytes));
    for _ in 0..1000 {
        let request = request(&mut random, 60, 1..=20);
        let too_large = Request { hash: random.random_range(0..60), charge: 101 };
        let is_there = without.contains(too_large.hash);
        assert_eq!(with.store(too_large), is_there);
        assert_eq!(with.evicted(), [0_u64; 0]);
        if !is_there {
            with.request(too_large);
            assert_eq!(with.evicted(), [0_u64; 0]);
        }
        assert_eq!(with.request(request), without.request(request));
        assert_eq!(with.evicted(), without.evicted());
    }
}

fn an_entry_larger_than_any_share_is_admitted(subject: Subject) {
    let fill = |mirrored: &mut Mirrored| (0..60).for_each(|key| mirrored.request(Request { hash: key, charge: 20 }));
    for charge in [110, 300, 600, 990, 1000] {
        let mut mirrored = Mirrored::new(subject, 1000, Unit::Bytes);
        fill(&mut mirrored);
        mirrored.request(Request { hash: 1000, charge });
        assert!(mirrored.simulator.contains(1000) || subject.admission == MayRefuse);
        // If there is room for the entry, no policy refuses it.
        mirrored.residents.clone().keys().for_each(|&key| mirrored.remove(key));
        mirrored.request(Request { hash: 1001, charge });
        assert!(mirrored.simulator.contains(1001));
        fill(&mut mirrored);
    }
}

/// Checks that a removed key is treated like a key that was never seen. One of two simulators
/// requests a removed key where the other requests a new one. All other hits and victims are the
/// same.
fn a_removed_key_comes_back_as_one_never_seen(subject: Subject) {
    const REMOVED: u64 = 1000;
    const NEW: u64 = 2000;
    if subject.memory == Sketched {
        return;
    }
    for seed in 0..40 {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut simulators = [0; 2].map(|_| subject.simulator(30, Unit::Entries));
        let mut requests = (0..700).map(|_| request(&mut random, 48, 1..=1)).collect::<Vec<_>>();
        // Because of these requests, the key may have become a ghost.
        for step in [50, 150, 151, 280] {
            requests[step].hash = REMOVED;
        }
        for simulator in &mut simulators {
            requests[..300].iter().for_each(|&request| _ = simulator.request(request));
            simulator.request(Request { hash: REMOVED, charge: 1 });
            if seed % 2 == 0 {
                simulator.request(requests[300]);
                simulator.request(Request { hash: REMOVED, charge: 1 });
            }
            simulator.remove(REMOVED);
        }
        for (step, &request) in requests[301..].iter().enumerate() {
            let request_of = |key| if step % 40 == 5 { Request { hash: key, charge: 1 } } else { request };
            let [old, new] = &mut simulators;
            assert_eq!(old.request(request_of(REMOVED)), new.request(request_of(NEW)), "seed {seed}, step {step}");
            let renamed = |&key: &u64| if key == NEW { REMOVED } else { key };
            let left: Vec<u64> = new.evicted().iter().map(renamed).collect();
            assert_eq!(old.evicted(), left, "seed {seed}, step {step}");
        }
    }
}

fn a_capacity_can_shrink_and_grow(subject: Subject) {
    let mut random = SmallRng::seed_from_u64(5);
    for unit in [Unit::Bytes, Unit::Entries] {
        let mut mirrored = Mirrored::new(subject, 100, unit);
        let mut fresh = 10_000..;
        for capacity in [100, 10, 120, 0, 1, 2, 60, 59, 150] {
            mirrored.set_capacity(capacity);
            (0..60).for_each(|_| random_step(&mut mirrored, &mut random, 400, 5));
            // A policy that refuses newcomers may need many requests to fill the capacity.
            for hash in fresh.by_ref().take(1000) {
                if mirrored.simulator.charge() == capacity {
                    break;
                }
                mirrored.request(Request { hash, charge: 1 });
            }
            // At a capacity of 0 no entry fits, so no entry is evicted.
            let charge = mirrored.simulator.charge();
            assert!(charge == capacity || capacity == 0, "{charge} of {capacity} is used");
        }
    }
}

/// Checks that a policy's choices do not depend on its number of ids. One of two simulators begins
/// with a few ids, the other with as many as it needs in the end.
fn more_ids_do_not_change_who_leaves(subject: Subject) {
    let mut random = SmallRng::seed_from_u64(6);
    let [mut grown, mut large] = [4, 600].map(|capacity| subject.simulator(capacity, Unit::Entries));
    let (mut hits, mut large_hits, mut requests) = (0_i32, 0, 0);
    for capacity in [4, 30, 200, 600] {
        grown.set_capacity(capacity);
        large.set_capacity(capacity);
        for _ in 0..capacity * 10 {
            let request = request(&mut random, capacity * 4, 1..=1);
            let (hit, large_hit) = (grown.request(request), large.request(request));
            if subject.memory == Exact {
                assert_eq!((hit, grown.evicted()), (large_hit, large.evicted()), "capacity {capacity}");
            }
            hits += i32::from(hit);
            large_hits += i32::from(large_hit);
            requests += 1;
        }
        grown.validate();
    }
    assert!(grown.policy_bytes().1 > 600, "no ids were added");
    assert!((hits - large_hits).abs() <= requests / 20, "{hits} hits, and {large_hits} with all ids");
}
