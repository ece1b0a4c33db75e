//! The sampler: the state that the shards of a cache share with its advisor.
//!
//! ```text
//!   reads, writes --hash below the threshold--> EventQueue of the shard
//!   writes, maintain, a read that finds the queue full --try_lock--> Engine
//!   advice --lock--> Engine, counters of the cache --> Advice
//!   reads with the last turn of a batch --try_lock--> HotKeys
//! ```
//!
//! A thread that finds the engine locked goes on: another thread is at work. An event that finds no
//! place is dropped and counted. So neither readers nor writers wait.
//!
//! # Invariants
//!
//! 1. The bytes of the engine, the queues, the counters of hot keys and the state that they share
//!    are at most [`Advisor::bytes_in`] of the cache. Policies that grow may exceed that for a pass
//!    over the keys, by the bytes beyond the reserve. Then fewer keys are sampled, or the advisor
//!    stops.
//! 2. A custom policy that panics stops the advisor for good: no engine is left.
//!
//! # Synchronization
//!
//! All atomics are Relaxed. A thread that sees an earlier `below` pushes events that the engine
//! ignores, or misses a few. An earlier `capacity`, `reads_to_turn` or number of `clears` is that
//! of a moment ago. The others are counters.

use std::sync::Arc;

use super::advice::Advice;
use super::ages::Ages;
use super::charges::MeanCharge;
use super::config::{Advisor, PresentPolicy, ShadowRow};
use super::engine::Engine;
use super::event::Event;
use super::hot_keys::{HotKey, HotKeys, Traffic};
use super::queue::{EventQueue, Push};
use super::turns::{Batch, Pace, number_cache};
use super::window::{Seen, Totals, Window};
use crate::clock::{ClockSource, TICK};
use crate::namespace::Registry;
use crate::stats::ReadCounts;
use crate::sync::{AtomicU32, AtomicU64, AtomicUsize, Mutex, Ordering};

/// With fewer keys, ratios say nothing.
const MIN_KEYS: usize = 64;
/// The bytes of the function that makes a built-in policy, at most.
const FACTORY_BYTES: usize = 64;
/// The turns between two looks at the clock and at the mean number of reads to a turn.
const TURNS_TO_RENEW: u64 = 128;
/// The numbers of ids by which the memory of policies is measured.
const MEASURED_KEYS: [usize; 2] = [1 << 10, 1 << 12];

/// The part of an advisor that belongs to a shard.
pub(crate) struct Sampling {
    pub(crate) sampler: Arc<Sampler>,
    queue: EventQueue,
}

impl Sampling {
    pub(crate) fn new(sampler: Arc<Sampler>) -> Self {
        Self { sampler, queue: EventQueue::new() }
    }

    /// Returns the bytes that [`new`](Self::new) allocates.
    pub(crate) fn footprint() -> usize {
        size_of::<Self>() + EventQueue::footprint()
    }

    /// Tells the advisor of an event. Returns the present threshold.
    pub(crate) fn note(&self, event: Event) -> u64 {
        let mut push = self.queue.push(event);
        if push == Push::Full {
            self.drain();
            push = self.queue.push(event);
        }
        self.end(event, push)
    }

    /// Like [`note`](Self::note), for the holder of the shard's lock: runs no policy. An event that
    /// finds the queue full is dropped.
    pub(crate) fn note_under_lock(&self, event: Event) -> u64 {
        self.end(event, self.queue.push(event))
    }

    /// Counts the event if it was dropped. Returns the present threshold.
    fn end(&self, event: Event, push: Push) -> u64 {
        if push != Push::Done {
            self.sampler.dropped.fetch_add(1, Ordering::Relaxed); // A counter.
            self.sampler.dropped_reads.fetch_add(u64::from(event.kind.is_read()), Ordering::Relaxed); // A counter.
        }
        self.sampler.threshold()
    }

    /// Lets the engine follow the events of the shard, unless another thread is at work.
    #[inline]
    pub(crate) fn drain_some(&self) {
        if !self.queue.is_empty() {
            self.drain();
        }
    }

    #[cold]
    fn drain(&self) {
        self.sampler.follow(&self.queue);
    }
}

/// The counters of an advisor since the cache was built.
#[cfg(any(feature = "metrics", feature = "prometheus"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AdvisorCounts {
    /// Operations on sampled keys that the engine followed, and those that were dropped.
    pub(crate) followed: u64,
    pub(crate) dropped: u64,
    /// Turns of reads whose keys were counted, and those that were dropped.
    pub(crate) counted_reads: u64,
    pub(crate) dropped_turns: u64,
}

/// The advisor of one cache.
pub(crate) struct Sampler {
    /// Keys whose hash is below it are sampled.
    below: AtomicU64,
    /// Events that the engine followed.
    followed: AtomicU64,
    /// Events that found no place, and the reads among them.
    dropped: AtomicU64,
    dropped_reads: AtomicU64,
    /// The number of times that all entries were removed.
    clears: AtomicU32,
    /// The bytes that may be live in all shards.
    capacity: AtomicUsize,
    running: Mutex<Option<Running>>,
    hot_keys: Mutex<Option<HotKeys>>,
    /// Turns whose keys were counted. Only the holder of the lock of `hot_keys` stores to it.
    counted_turns: AtomicU64,
    /// Turns whose keys were not counted, as another thread had that lock.
    dropped_turns: AtomicU64,
    /// The mean number of reads to a turn, which grows with the reads of the window.
    reads_to_turn: AtomicU32,
    /// The turns of a batch.
    turns_of_batch: u32,
    /// A number that no other cache has.
    number: u64,
    advisor: Advisor,
    rows: Vec<ShadowRow>,
    clock: ClockSource,
    counts: ReadCounts,
    registry: Arc<Registry>,
}

/// The state of an advisor that runs.
struct Running {
    engine: Engine,
    window: Window,
}

/// The holder of the engine while policies run. If one panics, no engine is left.
struct AtWork<'a> {
    sampler: &'a Sampler,
    running: &'a mut Option<Running>,
    has_finished: bool,
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        if !self.has_finished {
            *self.running = None;
            self.sampler.below.store(0, Ordering::Relaxed); // See the module.
        }
    }
}

impl Sampler {
    /// Creates an advisor that does not run yet.
    pub(crate) fn new(
        advisor: &Advisor,
        present: &PresentPolicy,
        clock: ClockSource,
        counts: ReadCounts,
        registry: Arc<Registry>,
    ) -> Self {
        Self {
            below: AtomicU64::new(0),
            followed: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            dropped_reads: AtomicU64::new(0),
            clears: AtomicU32::new(0),
            capacity: AtomicUsize::new(0),
            running: Mutex::new(None),
            hot_keys: Mutex::new(None),
            counted_turns: AtomicU64::new(0),
            dropped_turns: AtomicU64::new(0),
            reads_to_turn: AtomicU32::new(advisor.pace(0.0).reads_to_turn),
            turns_of_batch: advisor.pace(0.0).turns,
            number: number_cache(),
            rows: advisor.rows(present),
            advisor: advisor.clone(),
            clock,
            counts,
            registry,
        }
    }

    /// Begins to run in `bytes` bytes of memory. Shards have been made. Does nothing if the memory
    /// is too small.
    pub(crate) fn start(&self, bytes: usize) {
        let Some(engine) = self.engine_in(bytes.saturating_sub(self.bytes_beside_engine(bytes))) else { return };
        let window = || Window::new(self.clock.nanos(), self.totals());
        *self.hot_keys.lock() = Some(HotKeys::new(bytes, window()));
        self.below.store(engine.threshold(), Ordering::Relaxed); // See the module.
        *self.running.lock() = Some(Running { engine, window: window() });
    }

    /// Returns `true` if an engine with the fewest keys fits into `bytes`.
    pub(crate) fn fits_into(&self, bytes: usize) -> bool {
        let policies: usize = self.rows.iter().map(|row| row.plan().policy_bytes(MIN_KEYS)).sum();
        self.bytes_beside_engine(bytes) + with_reserve(Engine::footprint(self.rows.len(), MIN_KEYS) + policies) <= bytes
    }

    /// Returns the bytes that an advisor of `bytes` allocates beside its engine.
    fn bytes_beside_engine(&self, bytes: usize) -> usize {
        size_of::<Self>()
            + HotKeys::footprint(bytes)
            + self.advisor.heap_bytes()
            + self.rows.capacity() * (size_of::<ShadowRow>() + FACTORY_BYTES)
    }

    /// Creates the largest engine that fits into `bytes`.
    fn engine_in(&self, bytes: usize) -> Option<Engine> {
        let plans: Vec<_> = self.rows.iter().map(ShadowRow::plan).collect();
        let [few, many] = MEASURED_KEYS.map(|keys| {
            Engine::footprint(plans.len(), keys) + plans.iter().map(|plan| plan.policy_bytes(keys)).sum::<usize>()
        });
        let [few_keys, many_keys] = MEASURED_KEYS;
        // Saturating, as a custom policy may report any bytes.
        let bytes_for_each = (many.saturating_sub(few) / (many_keys - few_keys)).max(1);
        let fixed = few.saturating_sub(few_keys * bytes_for_each);
        let mut keys = bytes.saturating_sub(fixed) / bytes_for_each;
        // Ends: the number of keys falls.
        while keys >= MIN_KEYS {
            let threshold = self.advisor.first_threshold();
            let capacity = self.capacity.load(Ordering::Relaxed) as u64; // See the module.
            let mut engine = Engine::new(&plans, u32::try_from(keys).ok()?, threshold, capacity);
            if with_reserve(engine.bytes()) <= bytes {
                engine.set_max_bytes(bytes);
                return Some(engine);
            }
            keys -= keys / 16 + 1;
        }
        None
    }

    /// Returns the frequency of turns.
    pub(crate) fn pace(&self) -> Pace {
        let reads_to_turn = self.reads_to_turn.load(Ordering::Relaxed); // See the module.
        Pace { reads_to_turn, turns: self.turns_of_batch }
    }

    /// Returns a number that no other cache has.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Returns the counters of the advisor.
    #[cfg(any(feature = "metrics", feature = "prometheus"))]
    pub(crate) fn counts(&self) -> AdvisorCounts {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed); // Counters.
        AdvisorCounts {
            followed: load(&self.followed),
            dropped: load(&self.dropped),
            counted_reads: load(&self.counted_turns),
            dropped_turns: load(&self.dropped_turns),
        }
    }

    /// Returns the ages of sampled entries. They are all zero if the advisor does not run.
    pub(crate) fn ages(&self) -> Ages {
        self.running.lock().as_ref().map_or_else(Ages::default, |running| running.engine.ages)
    }

    /// Counts the keys of a batch, the last of which is `stored_key`, unless another thread has the
    /// lock. `charge` is that of the entry that the last turn found.
    pub(crate) fn count_batch(&self, batch: &Batch<'_>, stored_key: &[u8], charge: Option<u32>) {
        let turns = batch.turns() as u64;
        let Some(mut hot_keys) = self.hot_keys.try_lock() else {
            self.dropped_turns.fetch_add(turns, Ordering::Relaxed); // A counter.
            return;
        };
        let Some(hot_keys) = hot_keys.as_mut() else { return };
        // No other thread stores to it, so a load and a store do. They take less than an addition.
        let counted = self.counted_turns.load(Ordering::Relaxed);
        self.counted_turns.store(counted + turns, Ordering::Relaxed); // A counter.
        if counted % TURNS_TO_RENEW < turns {
            self.age_hot_keys(hot_keys, self.clock.nanos());
            let Pace { reads_to_turn, .. } = self.advisor.pace(hot_keys.reads());
            self.reads_to_turn.store(reads_to_turn, Ordering::Relaxed); // See the module.
        }
        hot_keys.count(batch, stored_key);
        if let Some(charge) = charge {
            hot_keys.charges.add(charge, batch.mean_reads);
        }
    }

    /// Returns the mean charge of all hits in the window, or `None` if it is unknown.
    fn mean_charge_of_hits(&self) -> Option<MeanCharge> {
        let mut hot_keys = self.hot_keys.lock();
        let hot_keys = hot_keys.as_mut()?;
        self.age_hot_keys(hot_keys, self.clock.nanos());
        hot_keys.charges.mean()
    }

    /// Returns the `n` keys that are read most.
    pub(crate) fn hot_keys(&self, n: usize) -> Vec<HotKey> {
        if self.threshold() == 0 {
            return Vec::new(); // No read is counted any more.
        }
        let nanos = self.clock.nanos();
        let mut hot_keys = self.hot_keys.lock();
        let Some(hot_keys) = hot_keys.as_mut() else { return Vec::new() };
        self.age_hot_keys(hot_keys, nanos);
        let Seen { hits, misses, nanos, .. } = hot_keys.window.seen(self.totals());
        let seen = Traffic { reads: hits + misses, nanos, reads_to_turn: self.pace().reads_to_turn };
        hot_keys.hottest(n, seen, &self.registry)
    }

    fn age_hot_keys(&self, hot_keys: &mut HotKeys, nanos: u64) {
        let factor = hot_keys.window.age(nanos, self.advisor.half_life_time(), || self.totals());
        if let Some(factor) = factor {
            hot_keys.scale(factor);
        }
    }

    /// Returns the hash below which keys are sampled.
    pub(crate) fn threshold(&self) -> u64 {
        self.below.load(Ordering::Relaxed) // See the module.
    }

    /// Notes that the bytes that may be live in a shard have changed.
    pub(crate) fn note_capacity(&self, from: usize, to: usize) {
        self.capacity.fetch_add(to.wrapping_sub(from), Ordering::Relaxed); // Wraps around to the sum.
    }

    /// Notes that all entries are about to be removed.
    pub(crate) fn note_clear(&self) {
        self.clears.fetch_add(1, Ordering::Relaxed); // See the module.
    }

    /// Lets the engine follow the events of a queue, unless another thread is at work.
    fn follow(&self, queue: &EventQueue) {
        let Some(mut running) = self.running.try_lock() else { return };
        let mut at_work = AtWork { sampler: self, running: &mut running, has_finished: false };
        let Some(running) = at_work.running.as_mut() else {
            // Nobody follows these any more.
            drop(queue.take());
            at_work.has_finished = true;
            return;
        };
        let nanos = self.clock.nanos();
        self.age(running, nanos);
        running.engine.set_live_capacity(self.capacity.load(Ordering::Relaxed) as u64); // See the module.
        running.engine.set_clears(self.clears.load(Ordering::Relaxed)); // See the module.
        let mut followed = 0;
        for event in queue.take() {
            running.engine.follow(event, tick(nanos));
            followed += 1;
        }
        self.followed.fetch_add(followed, Ordering::Relaxed); // A counter.
        let threshold = if running.engine.is_too_large() {
            *at_work.running = None;
            0
        } else {
            running.engine.threshold()
        };
        self.below.store(threshold, Ordering::Relaxed); // See the module.
        at_work.has_finished = true;
    }

    /// Halves the sums once for each half-life that has passed.
    fn age(&self, running: &mut Running, nanos: u64) {
        let half_life = self.advisor.half_life_time();
        let factor = running.window.age(nanos, half_life, || self.totals());
        if let Some(factor) = factor {
            running.engine.tally.scale(factor);
        }
    }

    /// Returns the reads of the cache that hit and that missed, the events that were dropped, and
    /// the time.
    fn totals(&self) -> Totals {
        let namespaces = self.registry.scopes().map(|scope| scope.counts.reads());
        let [hits, misses] = namespaces.fold(self.counts.reads(), |[hits, misses], [more_hits, more_misses]| {
            [hits.wrapping_add(more_hits), misses.wrapping_add(more_misses)]
        });
        let dropped = [&self.dropped, &self.dropped_reads].map(|count| count.load(Ordering::Relaxed)); // Counters.
        [hits, misses, dropped[0], dropped[1], self.clock.nanos()]
    }

    /// Returns the advice, or `None` if the advisor does not run or there was no read.
    pub(crate) fn advice(&self, max_bytes: usize) -> Option<Advice> {
        let charge_of_hits = self.mean_charge_of_hits();
        let mut running = self.running.lock();
        let running = running.as_mut()?;
        self.age(running, self.clock.nanos());
        let seen = running.window.seen(self.totals());
        Advice::of(&running.engine, &self.rows, &seen, charge_of_hits, max_bytes)
    }
}

/// Returns some bytes and a reserve: the queues and tables of policies grow while they run.
fn with_reserve(bytes: usize) -> usize {
    bytes + bytes / 16
}

/// Returns the low half of a tick.
fn tick(nanos: u64) -> u32 {
    #[allow(clippy::cast_possible_truncation, reason = "the half that is wanted")]
    {
        (nanos / TICK.as_nanos() as u64) as u32
    }
}
