//! Counters, and what a cache tells of itself.
//!
//! Reads count in stripes: a thread adds to a cache line of its own with a plain load and store, so that
//! counting costs a reader no locked instruction and no shared line. Threads beyond the number of stripes
//! share the last one and add atomically. Writes count under their shard's lock, in [`WriteCounts`].
//!
//! # Synchronization
//!
//! All counters are Relaxed: they order nothing, and a sum over them is as of no single instant.

use core::time::Duration;

use crate::sync::{AtomicU64, Ordering};

/// What a cache has counted since it was built: see [`Cache::stats`](crate::Cache::stats).
///
/// Counters are read one after the other while the cache goes on, so they need not add up to the last one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// Reads that found their key. [`peek`](crate::Cache::peek) and
    /// [`contains_key`](crate::Cache::contains_key) are not counted.
    pub hits: u64,
    /// Reads that did not find their key.
    pub misses: u64,
    /// Entries stored under a key that was not there.
    pub inserts: u64,
    /// Entries stored in the place of another with the same key.
    pub updates: u64,
    /// Entries that a caller removed: by `remove`, `take`, `retain` or `clear`, by inserting one that had expired already, or
    /// by a write that failed.
    pub removals: u64,
    /// Entries that left because the eviction policy, or the want of space, chose them.
    pub evictions: u64,
    /// Entries that were taken out after their deadline, and their stale period, had passed. One that has expired and was
    /// not taken out yet is a miss to readers already.
    pub expirations: u64,
    /// Reads of an entry past its deadline: by [`get_or_stale`](crate::Cache::get_or_stale), which are among `hits`, and by a
    /// [`Loader`](crate::Loader) whose load had failed, which are not.
    pub stale_hits: u64,
    /// Loads that came to an end: the loader returned or panicked. With [`get_or_load_many`](crate::Cache::get_or_load_many)
    /// each key is one.
    pub loads: u64,
    /// Among `loads`, those that returned an error or panicked.
    pub load_failures: u64,
    /// Among `loads`, those that found nothing.
    pub loads_not_found: u64,
    /// Loads that were given up before the loader returned, mostly of tasks that were dropped; not among `loads`.
    pub load_cancellations: u64,
    /// Among `loads`, those whose result was refused because the key was stored or removed meanwhile.
    pub discarded_loads: u64,
    /// Loads of keys whose entry was there and due to be loaded anew; those that failed included.
    pub refreshes: u64,
    /// Calls that waited for the load of another and got what it brought.
    pub followers: u64,
    /// Calls that waited for the load of another for longer than their [limit](crate::LoaderBuilder::wait_limit).
    pub load_timeouts: u64,
    /// Loads that others did not share, and whose result was not stored, for want of memory.
    pub unshared_loads: u64,
    /// Among `hits`, loads that were spared because an earlier one had found nothing, or failed.
    pub negative_hits: u64,
    /// How long `loads` took.
    pub load_times: LoadTimes,
    /// Calls of the removal listener that panicked.
    pub listener_panics: u64,
    /// Inserts refused with [`Error::KeyTooLong`](crate::Error::KeyTooLong), and loaded values that were not stored for
    /// the same reason.
    pub rejected_key_too_long: u64,
    /// Inserts refused with [`Error::TooLarge`](crate::Error::TooLarge), and loaded values that were not stored for the
    /// same reason.
    pub rejected_too_large: u64,
    /// Writes refused with [`Error::Rejected`](crate::Error::Rejected), and results of loads that were not stored for the
    /// same reason.
    pub rejected_no_space: u64,
    /// Charges of all entries stored, in bytes.
    pub inserted_bytes: u64,
    /// Charges of entries that were copied to free their chunk, in bytes.
    pub relocated_bytes: u64,
    /// Reads that the policy did not learn of, because their shard's touch log was full and its lock taken.
    pub dropped_touches: u64,
    /// Values handed out as copies, because as many chunks were pinned as may be.
    pub copied_values: u64,
    /// Times that a shard's index was replaced by a larger one.
    pub index_growths: u64,
    /// The share of the rings that live entries may fill at present, from 0 to 1, on average over the shards.
    pub live_target: f64,
}

impl Stats {
    /// Hits among reads, from 0 to 1; 0 before the first read.
    #[must_use]
    pub fn hit_ratio(&self) -> f64 {
        let reads = self.hits + self.misses;
        if reads == 0 { 0.0 } else { self.hits as f64 / reads as f64 }
    }

    /// Bytes written to the rings for each byte stored, from 1 on; 1 before the first insert.
    #[must_use]
    pub fn write_amplification(&self) -> f64 {
        if self.inserted_bytes == 0 {
            return 1.0;
        }
        (self.inserted_bytes + self.relocated_bytes) as f64 / self.inserted_bytes as f64
    }
}

/// Where a cache's memory is: see [`Cache::memory`](crate::Cache::memory). All in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Memory {
    /// The limit: what the builder was given.
    pub max: usize,
    /// Everything that the cache has allocated; at no instant more than `max`.
    /// The sum of `chunks`, `index`, `policy`, `wheels`, `flights` and `overhead` (which are read a moment later).
    pub allocated: usize,
    /// Chunks of the rings that have been put to use, whatever state they are in.
    pub chunks: usize,
    /// Index tables; those that were replaced count only where the system does not take their memory back.
    pub index: usize,
    /// What the policies keep for each entry, and ghosts.
    pub policy: usize,
    /// Loads under way, their keys and the tasks that wait for them.
    pub flights: usize,
    /// Timing wheels, which a shard has from its first entry with a deadline on.
    pub wheels: usize,
    /// The fixed rest: shards, chunk tables, counters, touch logs.
    pub overhead: usize,
    /// Charges of the present entries: header, key and value, rounded up. Part of `chunks`.
    pub live: usize,
    /// Bytes of entries that have left, not yet cleaned away. Part of `chunks`.
    pub dead: usize,
    /// Chunks that wait until no reader can see them. Part of `chunks`.
    pub retired: usize,
    /// Chunks that [`Value`](crate::Value)s hold. Part of `chunks`.
    pub pinned: usize,
}

impl Memory {
    pub(crate) fn add(&mut self, other: &Self) {
        self.max += other.max;
        self.allocated += other.allocated;
        self.chunks += other.chunks;
        self.index += other.index;
        self.policy += other.policy;
        self.wheels += other.wheels;
        self.flights += other.flights;
        self.overhead += other.overhead;
        self.live += other.live;
        self.dead += other.dead;
        self.retired += other.retired;
        self.pinned += other.pinned;
    }
}

/// What a shard counts under its lock. What each insert counts comes first.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct WriteCounts {
    pub(crate) inserts: u64,
    pub(crate) evictions: u64,
    pub(crate) inserted_bytes: u64,
    pub(crate) updates: u64,
    pub(crate) removals: u64,
    pub(crate) expirations: u64,
    pub(crate) rejected_no_space: u64,
    pub(crate) relocated_bytes: u64,
    pub(crate) index_growths: u64,
}

impl WriteCounts {
    pub(crate) fn add_to(&self, stats: &mut Stats) {
        stats.inserts += self.inserts;
        stats.updates += self.updates;
        stats.removals += self.removals;
        stats.evictions += self.evictions;
        stats.expirations += self.expirations;
        stats.rejected_no_space += self.rejected_no_space;
        stats.inserted_bytes += self.inserted_bytes;
        stats.relocated_bytes += self.relocated_bytes;
        stats.index_growths += self.index_growths;
    }
}

/// How long loads took: see [`Stats::load_times`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadTimes {
    total_nanos: u64,
    counts: [u64; Self::CLASSES],
}

impl LoadTimes {
    /// The last one has no upper bound.
    const CLASSES: usize = 14;

    /// The sum over all loads.
    #[must_use]
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.total_nanos)
    }

    /// A histogram: upper bounds, of which each is four times the one before, from 1 us to 16.8 s, and how many loads took
    /// less than that and not less than the bound before. The last one has no bound, and says [`Duration::MAX`].
    ///
    /// ```
    /// # let cache = bytecache::Cache::new(1 << 20)?;
    /// let times = cache.stats().load_times;
    /// let slow: u64 = times.histogram().filter(|(bound, _)| bound.as_secs() >= 1).map(|(_, count)| count).sum();
    /// assert_eq!(slow, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn histogram(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        self.counts.iter().enumerate().map(|(class, &count)| (Self::bound(class), count))
    }

    fn bound(class: usize) -> Duration {
        match u32::try_from(class) {
            Ok(power) if class + 1 < Self::CLASSES => Duration::from_micros(4_u64.pow(power)),
            _ => Duration::MAX,
        }
    }

    /// The class of a load that took so long.
    fn class(time: Duration) -> usize {
        (0..Self::CLASSES - 1).find(|&class| time < Self::bound(class)).unwrap_or(Self::CLASSES - 1)
    }
}

/// How a load ended, as far as it is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LoadEnd {
    Found(Duration),
    Absent(Duration),
    Failed(Duration),
    Cancelled,
}

/// What is counted of loads, by all shards together: a load costs more than the line that they share.
#[derive(Debug)]
pub(crate) struct LoadCounts([AtomicU64; LoadCount::KINDS + LoadTimes::CLASSES]);

#[derive(Clone, Copy, Debug)]
pub(crate) enum LoadCount {
    Refused,
    Refreshes,
    Unshared,
    Followers,
    TimedOut,
    Loads,
    Failures,
    Absences,
    Cancellations,
    Nanos,
}

impl LoadCount {
    const KINDS: usize = 10;
}

impl LoadCounts {
    pub(crate) fn new() -> Self {
        Self(core::array::from_fn(|_| AtomicU64::new(0)))
    }

    pub(crate) fn add(&self, count: LoadCount, amount: u64) {
        self.0[count as usize].fetch_add(amount, Ordering::Relaxed);
    }

    fn get(&self, count: LoadCount) -> u64 {
        self.0[count as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn note(&self, end: LoadEnd) {
        let time = match end {
            LoadEnd::Cancelled => return self.add(LoadCount::Cancellations, 1),
            LoadEnd::Found(time) => time,
            LoadEnd::Absent(time) => {
                self.add(LoadCount::Absences, 1);
                time
            }
            LoadEnd::Failed(time) => {
                self.add(LoadCount::Failures, 1);
                time
            }
        };
        self.add(LoadCount::Loads, 1);
        self.add(LoadCount::Nanos, u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        self.0[LoadCount::KINDS + LoadTimes::class(time)].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_to(&self, stats: &mut Stats) {
        stats.loads += self.get(LoadCount::Loads);
        stats.load_failures += self.get(LoadCount::Failures);
        stats.loads_not_found += self.get(LoadCount::Absences);
        stats.load_cancellations += self.get(LoadCount::Cancellations);
        stats.discarded_loads += self.get(LoadCount::Refused);
        stats.refreshes += self.get(LoadCount::Refreshes);
        stats.unshared_loads += self.get(LoadCount::Unshared);
        stats.followers += self.get(LoadCount::Followers);
        stats.load_timeouts += self.get(LoadCount::TimedOut);
        stats.load_times.total_nanos += self.get(LoadCount::Nanos);
        let classes = self.0[LoadCount::KINDS..].iter().map(|class| class.load(Ordering::Relaxed));
        stats.load_times.counts.iter_mut().zip(classes).for_each(|(sum, count)| *sum += count);
    }
}

/// What is counted outside of the locks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Count {
    Hits,
    Misses,
    DroppedTouches,
    CopiedValues,
    StaleHits,
    KeyTooLong,
    TooLarge,
    NegativeHits,
}

impl Count {
    const KINDS: usize = 8;
}

/// One thread's counters, alone on their cache line.
#[derive(Debug)]
#[repr(align(64))]
struct Stripe([AtomicU64; Count::KINDS]);

/// The striped counters of one cache.
#[derive(Debug)]
pub(crate) struct ReadCounts {
    stripes: Box<[Stripe]>,
}

impl ReadCounts {
    /// Counters with `stripes` stripes, at least one.
    pub(crate) fn new(stripes: usize) -> Self {
        let stripe = || Stripe(core::array::from_fn(|_| AtomicU64::new(0)));
        Self { stripes: (0..stripes.max(1)).map(|_| stripe()).collect() }
    }

    /// What [`new`](Self::new) allocates.
    pub(crate) fn footprint(stripes: usize) -> usize {
        stripes.max(1) * size_of::<Stripe>()
    }

    /// Adds `amount` for the thread that owns `stripe`.
    #[inline]
    pub(crate) fn add(&self, stripe: u32, count: Count, amount: u64) {
        let own = stripe as usize;
        if own >= self.stripes.len() - 1 {
            return self.add_shared(count, amount);
        }
        let counter = &self.stripes[own].0[count as usize];
        // No other living thread has this stripe, so nothing is added between the two.
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    /// Adds `amount` for any thread, to the last stripe.
    pub(crate) fn add_shared(&self, count: Count, amount: u64) {
        self.stripes[self.stripes.len() - 1].0[count as usize].fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn sum(&self, count: Count) -> u64 {
        self.stripes.iter().map(|stripe| stripe.0[count as usize].load(Ordering::Relaxed)).fold(0, u64::wrapping_add)
    }
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owned_and_shared_stripes_add_up() {
        let counts = ReadCounts::new(3);
        std::thread::scope(|scope| {
            for stripe in [0, 1, 2, 9] {
                let counts = &counts;
                scope.spawn(move || {
                    for _ in 0..1000 {
                        counts.add(stripe, Count::Hits, 1);
                    }
                });
            }
            (0..1000).for_each(|_| counts.add_shared(Count::Hits, 1));
        });
        assert_eq!((counts.sum(Count::Hits), counts.sum(Count::Misses)), (5000, 0));
    }

    #[test]
    fn a_load_falls_below_the_bound_of_its_class_and_not_below_the_one_before() {
        let (counts, mut stats) = (LoadCounts::new(), Stats::default());
        let seconds = Duration::from_secs(1);
        for time in [Duration::ZERO, Duration::from_nanos(999), Duration::from_micros(1), seconds, 60 * seconds] {
            counts.note(LoadEnd::Found(time));
        }
        counts.add_to(&mut stats);
        let times = stats.load_times;
        let counts: Vec<_> = times.histogram().filter(|&(_, count)| count > 0).collect();
        let micros = Duration::from_micros;
        assert_eq!(counts, [(micros(1), 2), (micros(4), 1), (micros(1 << 20), 1), (Duration::MAX, 1)]);
        assert_eq!(times.total(), Duration::from_nanos(999) + micros(1) + 61 * seconds);
    }

    #[test]
    fn ratios_of_nothing_are_defined() {
        let stats = Stats::default();
        assert_eq!((stats.hit_ratio(), stats.write_amplification()), (0.0, 1.0));
    }
}
