//! Shared writes: how often an operation writes to a cache line that other threads use.
//!
//! A line that one core writes and another one uses travels between them each time. This keeps
//! operations from running in parallel. A clock shows it only on a machine with many cores, so
//! these tests count it. Two threads call operations in turns. Every access that they make to a
//! word of `sync/` is recorded with its line. A *shared write* is a store or a read-modify-write
//! to a line that the other thread has read or written, anywhere in the run.
//!
//! The numbers are exact, as they do not depend on the order of the threads. An operation that met
//! another one midway would do the same, except for a reader that finds the touch log full or its
//! entry replaced. `docs/internals/design.rs` has the numbers in a table.
//!
//! # Not counted
//!
//! * An entry's first word and its stamps (`ring/arena.rs`). Readers only load them, except for an
//!   idle stamp, which a read changes once a tick. Writers mark the entry dead that they replace or
//!   remove.
//! * Memory that is not atomic: entries' bytes, the handle, and the state behind a shard's lock.
//!   The state is nine lines and those of the policy and the ring, which only the holder of the
//!   lock uses. The lock itself is counted: locking and unlocking each change its line.
//! * The counts of an `Arc`. Reads change none. Writes change them when they retire a chunk or
//!   replace a table.

use std::collections::BTreeSet;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use crate::cache::Cache;
use crate::clock::ManualClock;
use crate::hash::StableHash;
use crate::policy::{Policy, PolicyContext, Recency, is_miss_reported};
use crate::reclaim::Slot;
use crate::sync::recording::{Access, Line, record};

type Operation = fn(&Cache, &[u8]);
type Accesses = Vec<(Line, Access)>;

/// Threads with lower numbers have counters of their own in any cache of a megabyte or more.
const OWN_STRIPES: u32 = 63;
/// Stripes of the touch log of a shard of a megabyte or more. The numbers of threads spread them
/// over the stripes.
const TOUCH_STRIPES: u32 = 4;

/// A thread that runs the jobs it is sent.
struct Worker {
    /// No other living thread has this number.
    number: u32,
    jobs: mpsc::Sender<Box<dyn FnOnce() + Send>>,
    thread: thread::JoinHandle<()>,
}

impl Worker {
    fn hire() -> Self {
        let (jobs, queue) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        let (answer, number) = mpsc::channel();
        let thread = thread::spawn(move || {
            // A thread registers with its first read: here, where nothing is recorded.
            answer.send(Slot::take().stripe()).unwrap();
            queue.into_iter().for_each(|job| job());
        });
        Self { number: number.recv().unwrap(), jobs, thread }
    }

    /// Creates two workers whose numbers fit.
    fn hire_two(fits: fn(u32, u32) -> bool) -> [Self; 2] {
        let mut others: Vec<Self> = Vec::new();
        // Workers that do not fit are kept for a while, so that the next one has another number.
        // Tests that run beside this one have numbers, too, and give them back.
        for _ in 0..500 {
            let worker = Self::hire();
            if let Some(at) = others.iter().position(|other| fits(other.number, worker.number)) {
                let pair = [others.swap_remove(at), worker];
                others.into_iter().for_each(Self::dismiss);
                return pair;
            }
            others.push(worker);
            thread::yield_now();
        }
        panic!("no two threads have numbers that fit");
    }

    /// Ends the thread, which gives its number back.
    fn dismiss(self) {
        drop(self.jobs);
        self.thread.join().unwrap();
    }

    /// Returns the accesses of `operation` to shared words on this thread.
    fn record(&self, operation: Operation, cache: &Cache, key: &[u8]) -> Accesses {
        let (answer, accesses) = mpsc::channel();
        let (cache, key) = (cache.clone(), key.to_vec());
        let job = move || answer.send(record(|| operation(&cache, &key))).unwrap();
        self.jobs.send(Box::new(job)).unwrap();
        accesses.recv().expect("the operation panicked")
    }
}

/// Returns `true` if both threads have counters of their own, which lie side by side, and different
/// stripes of touch logs.
fn neighbours(a: u32, b: u32) -> bool {
    a.max(b) < OWN_STRIPES && a.abs_diff(b) == 1
}

/// Returns `true` if both threads have counters of their own, and the same stripe of touch logs.
fn companions(a: u32, b: u32) -> bool {
    a.max(b) < OWN_STRIPES && a % TOUCH_STRIPES == b % TOUCH_STRIPES
}

/// The shared writes of one call, and the number of their lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cost {
    writes: usize,
    lines: usize,
}

/// Returns the costs of a thread whose calls all cost the same.
fn always(writes: usize, lines: usize) -> BTreeSet<Cost> {
    BTreeSet::from([Cost { writes, lines }])
}

static TURN: Mutex<()> = Mutex::new(());

/// The accesses of each call of two threads to shared words.
struct Run([Vec<Accesses>; 2]);

impl Run {
    /// Runs two threads that fit. They call an operation each, in turns: both with the first pair
    /// of keys, then with the next.
    fn of(
        cache: &Cache,
        operations: [Operation; 2],
        keys: impl IntoIterator<Item = [u32; 2]>,
        fits: fn(u32, u32) -> bool,
    ) -> Self {
        // One run at a time: runs would keep low numbers from each other.
        let _turn = TURN.lock();
        let threads = Worker::hire_two(fits);
        let mut calls = [Vec::new(), Vec::new()];
        for keys in keys {
            for thread in [0, 1] {
                calls[thread].push(threads[thread].record(operations[thread], cache, &key(keys[thread])));
            }
        }
        threads.into_iter().for_each(Worker::dismiss);
        Self(calls)
    }

    /// Returns the shared writes of each call of a thread.
    fn shared(&self, thread: usize) -> impl Iterator<Item = Accesses> {
        let used: BTreeSet<Line> = self.0[1 - thread].iter().flatten().map(|&(line, _)| line).collect();
        let is_shared = move |&(line, access): &(Line, Access)| access != Access::Load && used.contains(&line);
        self.0[thread].iter().map(move |call| call.iter().copied().filter(&is_shared).collect())
    }

    /// Returns the costs of the calls of each thread.
    fn costs(&self) -> [BTreeSet<Cost>; 2] {
        [0, 1].map(|thread| {
            let lines = |call: &Accesses| call.iter().map(|&(line, _)| line).collect::<BTreeSet<_>>().len();
            self.shared(thread).map(|call| Cost { writes: call.len(), lines: lines(&call) }).collect()
        })
    }
}

fn key(number: u32) -> Vec<u8> {
    format!("key-{number:06}").into_bytes()
}

/// The number of keys that are present. So few that no touch log and no chunk is filled.
const KEYS: u32 = 24;

/// Returns the same keys for both threads.
fn same_keys() -> impl Iterator<Item = [u32; 2]> {
    (0..KEYS).map(|key| [key; 2])
}

/// Creates a cache whose index is so large that no two of the few keys share a bucket.
fn cache(policy: Policy) -> Cache {
    let builder = Cache::builder().max_bytes(8 << 20).shards(4).expected_entry_bytes(64);
    let cache = builder.policy(policy).hasher(StableHash::with_seed(0)).clock(ManualClock::new()).build().unwrap();
    (0..KEYS).for_each(|number| insert(&cache, &key(number)));
    cache
}

/// Creates a cache after three visits to each entry, which ordered policies have applied, and the
/// first value of each chunk.
fn warm_cache(policy: Policy) -> Cache {
    let cache = cache(policy);
    for number in 0..KEYS {
        (0..3).for_each(|_| get(&cache, &key(number)));
    }
    cache.maintain();
    cache
}

fn policies(recency: Recency) -> impl Iterator<Item = Policy> {
    let context = PolicyContext::new(1000, 1 << 20);
    Policy::ALL.iter().copied().filter(move |policy| policy.build(&context).recency() == recency)
}

fn view(cache: &Cache, key: &[u8]) {
    cache.view(key, |_| ()).unwrap();
}

fn get_into(cache: &Cache, key: &[u8]) {
    assert!(cache.get_into(key, &mut Vec::new()));
}

/// Reads two batches.
fn get_many(cache: &Cache, key: &[u8]) {
    cache.get_many(&[key; 20], |_, value| assert!(value.is_some()));
}

fn contains_key(cache: &Cache, key: &[u8]) {
    assert!(cache.contains_key(key));
}

fn get(cache: &Cache, key: &[u8]) {
    cache.get(key).unwrap();
}

fn peek(cache: &Cache, key: &[u8]) {
    cache.peek(key).unwrap();
}

fn miss(cache: &Cache, key: &[u8]) {
    assert!(cache.get(key).is_none());
}

fn insert(cache: &Cache, key: &[u8]) {
    cache.insert(key, [0; 64]).unwrap();
}

fn insert_with_ttl(cache: &Cache, key: &[u8]) {
    cache.insert_with_ttl(key, [0; 64], Duration::from_secs(60)).unwrap();
}

fn remove(cache: &Cache, key: &[u8]) {
    assert!(cache.remove(key));
}

#[test]
fn hits_share_no_write_once_visits_are_at_their_top() {
    for policy in policies(Recency::Counted) {
        for hit in [view, get_into, get_many, contains_key] {
            let run = Run::of(&warm_cache(policy), [hit; 2], same_keys(), neighbours);
            assert_eq!(run.costs(), [always(0, 0), always(0, 0)], "{policy}");
        }
    }
}

#[test]
fn a_hit_on_an_entry_with_a_deadline_shares_no_write_either() {
    let cache = cache(Policy::default());
    (0..KEYS).for_each(|number| insert_with_ttl(&cache, &key(number)));
    (0..3 * KEYS).for_each(|number| get(&cache, &key(number % KEYS)));
    for hit in [view, get_many] {
        let run = Run::of(&cache, [hit; 2], same_keys(), neighbours);
        assert_eq!(run.costs(), [always(0, 0), always(0, 0)]);
    }
}

#[test]
fn a_visit_below_the_top_writes_to_its_bucket() {
    for policy in policies(Recency::Counted) {
        let cache = cache(policy);
        let costs = || Run::of(&cache, [view; 2], same_keys(), neighbours).costs();
        // The first two of three visits, one by each thread. Then the last one, by the first
        // thread.
        assert_eq!(costs(), [always(1, 1), always(1, 1)], "{policy}");
        assert_eq!(costs(), [always(1, 1), always(0, 0)], "{policy}");
        assert_eq!(costs(), [always(0, 0), always(0, 0)], "{policy}");
    }
}

#[test]
fn a_hit_executes_no_locked_instruction_but_its_pins() {
    for cache in [cache(Policy::default()), warm_cache(Policy::default())] {
        let Run(calls) = Run::of(&cache, [view, miss], (0..KEYS).map(|key| [key, KEYS + key]), neighbours);
        assert!(calls.iter().flatten().flatten().all(|&(_, access)| access != Access::Change));
    }
}

#[test]
fn a_value_is_two_changes_of_its_chunks_pin_word() {
    for policy in policies(Recency::Counted) {
        for hit in [get, peek] {
            let run = Run::of(&warm_cache(policy), [hit; 2], same_keys(), neighbours);
            assert_eq!(run.costs(), [always(2, 1), always(2, 1)], "{policy}");
        }
    }
}

#[test]
fn misses_share_no_write_but_of_the_keys_that_a_policy_wants_to_know_of() {
    let context = PolicyContext::new(1000, 1 << 20);
    for policy in Policy::ALL {
        let cache = warm_cache(*policy);
        let wants = policy.build(&context).wants_misses();
        let is_reported = |number: &u32| wants && is_miss_reported(cache.target(&key(*number)).hash.get());
        let (reported, others): (Vec<_>, Vec<_>) = (KEYS..3 * KEYS).partition(is_reported);
        assert_eq!(reported.is_empty(), !wants, "{policy}");
        // The log's count and a place. It is far from full.
        for (numbers, cost) in [(others, always(0, 0)), (reported, always(2, 2))] {
            let run = Run::of(&cache, [miss; 2], numbers.iter().map(|&number| [number; 2]), neighbours);
            let nothing = if numbers.is_empty() { BTreeSet::new() } else { cost };
            assert_eq!(run.costs(), [nothing.clone(), nothing], "{policy}");
        }
    }
}

#[test]
fn a_hit_of_an_ordered_policy_writes_to_its_stripe_of_the_touch_log() {
    for policy in policies(Recency::Ordered) {
        // The stripe's count and a place, which lie in different lines. With `get`, also the pin
        // word, twice.
        let run = Run::of(&warm_cache(policy), [view; 2], same_keys(), companions);
        assert_eq!(run.costs(), [always(2, 2), always(2, 2)], "{policy}");
        let run = Run::of(&warm_cache(policy), [get; 2], same_keys(), companions);
        assert_eq!(run.costs(), [always(4, 3), always(4, 3)], "{policy}");

        // Threads with different stripes do not meet at the counts. Their places may share lines
        // with other memory, as the allocator decides.
        let run = Run::of(&warm_cache(policy), [view; 2], same_keys(), neighbours);
        let shared = [0, 1].map(|thread| run.shared(thread).flatten().filter(|call| call.1 == Access::Change).count());
        assert_eq!(shared, [0, 0], "{policy}");
    }
}

#[test]
fn threads_without_counters_of_their_own_share_the_first_ones() {
    let cache = Cache::builder().max_bytes(64 << 10).shards(1).hasher(StableHash::with_seed(0)).build().unwrap();
    (0..KEYS).for_each(|number| insert(&cache, &key(number)));
    (0..3 * KEYS).for_each(|number| get(&cache, &key(number % KEYS)));
    // Four stripes, because a cache of this size spends a 256th of its memory on them.
    let run = Run::of(&cache, [view; 2], same_keys(), |a, b| a.min(b) >= 3);
    assert_eq!(run.costs(), [always(1, 1), always(1, 1)]);
}

#[test]
fn a_write_shares_the_lock_and_its_bucket() {
    for policy in Policy::ALL {
        // An update writes the lock, the location and the lock again.
        for update in [insert, insert_with_ttl] {
            let cache = warm_cache(*policy);
            (0..3 * KEYS).for_each(|number| update(&cache, &key(number % KEYS)));
            let run = Run::of(&cache, [update; 2], same_keys(), companions);
            assert_eq!(run.costs(), [always(3, 2), always(3, 2)], "{policy}");
        }
        // An insert of an absent key, or a removal, also writes the tag.
        let fresh = (KEYS..2 * KEYS).map(|key| [key; 2]);
        let run = Run::of(&warm_cache(*policy), [insert, remove], fresh, companions);
        assert_eq!(run.costs(), [always(4, 2), always(4, 2)], "{policy}");
    }
}

#[test]
fn a_write_to_an_ordered_policy_shares_what_readers_have_logged() {
    for policy in policies(Recency::Ordered) {
        let cache = warm_cache(policy);
        (0..3 * KEYS).for_each(|number| insert(&cache, &key(number % KEYS)));
        // Shared are the count of the stripe, twice, the touch, and the location. The reader does
        // not use the lock.
        let run = Run::of(&cache, [view, insert], same_keys(), companions);
        assert_eq!(run.costs(), [always(2, 2), always(4, 3)], "{policy}");
    }
}

#[test]
fn a_write_shares_nothing_with_readers_of_other_buckets() {
    for policy in policies(Recency::Counted) {
        let keys = || (0..KEYS / 2).map(|key| [key, KEYS / 2 + key]);
        let run = Run::of(&warm_cache(policy), [insert, view], keys(), neighbours);
        assert_eq!(run.costs(), [always(0, 0), always(0, 0)], "{policy}");
        // But readers of the same bucket share the location.
        let run = Run::of(&warm_cache(policy), [insert, view], same_keys(), neighbours);
        assert_eq!(run.costs(), [always(1, 1), always(0, 0)], "{policy}");
    }
}

#[test]
fn a_get_that_may_pin_no_more_chunks_looks_at_few_of_them() {
    let cache = Cache::builder().max_bytes(4 << 20).shards(1).hasher(StableHash::with_seed(0)).build().unwrap();
    (0..20_000).for_each(|number| cache.insert(key(number), [0; 128]).unwrap());
    let held: Vec<_> = (0..20_000).filter_map(|number| cache.get(key(number))).collect();
    assert!(cache.stats().copied_values > 1_000);
    for number in (0..20_000).rev().filter(|&number| cache.contains_key(key(number))).take(100) {
        let accesses = record(|| get(&cache, &key(number))).len();
        assert!(accesses < 50, "{accesses} accesses to words of a ring of 256 chunks");
    }
    // Marks are removed with the values.
    drop(held);
    let copied = cache.stats().copied_values;
    (0..20_000).for_each(|number| drop(cache.get(key(number))));
    assert_eq!(cache.stats().copied_values, copied);
}
