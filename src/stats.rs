//! Counters of a cache, and the reports that are made from them: [`Stats`] and [`Memory`].
//!
//! ```text
//!   reads    first stripe      | stripe 1 | stripe 2 | ...   one cache line each: ReadCounts
//!            all other threads   thread 0   thread 1
//!   writes   a struct in each shard, under its lock       WriteCounts
//!   loads    one array for each set of keys               LoadCounts
//! ```
//!
//! A thread counts its reads in a stripe of its own, with a plain load and store. So counting needs
//! no locked instruction and no shared cache line. Threads beyond the number of stripes share the
//! first one, and add atomically.
//!
//! # Invariants
//!
//! 1. At most one living thread owns each stripe but the first.
//!
//! # Synchronization
//!
//! All counters are Relaxed, as they order nothing. A sum over them is not a snapshot of one
//! instant.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use crate::sync::{AtomicU64, Ordering};

/// The counters of a cache since it was built. [`Cache::stats`](crate::Cache::stats) returns them.
///
/// Counters are read one after the other while other threads change them. So sums of them may be
/// off by the operations in progress.
///
/// ```
/// use bytecache::Cache;
///
/// let cache = Cache::new(1 << 20)?;
/// cache.insert("a", "1")?;
/// cache.insert("a", "2")?;
/// cache.remove("a");
/// let stats = cache.stats();
/// assert_eq!((stats.inserts, stats.updates, stats.removals), (1, 1, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// Reads that found their key. [`peek`](crate::Cache::peek) and
    /// [`contains_key`](crate::Cache::contains_key) are not counted.
    pub hits: u64,
    /// Reads that did not find their key.
    pub misses: u64,
    /// Entries stored under a key that had no entry.
    pub inserts: u64,
    /// Entries stored in place of another entry with the same key. Also entries that
    /// [`set_ttl`](crate::Cache::set_ttl) has stored again.
    pub updates: u64,
    /// Entries that a caller removed: by `remove`, `take`, `remove_if`, `update`, `retain` or
    /// `clear`, by an insert with a lifetime of zero, or by a write that failed. Also entries of a
    /// namespace that `maintain` removed after an invalidation. Negative and stale entries count,
    /// too.
    pub removals: u64,
    /// Entries that left because the eviction policy chose them, or because their space was needed.
    pub evictions: u64,
    /// Entries that were removed after their deadline and their stale period. Reads miss an entry
    /// from its deadline on, before it is counted here.
    pub expirations: u64,
    /// Reads of an entry past its deadline. Those by
    /// [`get_or_stale`](crate::Cache::get_or_stale) are also in `hits`. Those by a
    /// [`Loader`](crate::Loader) whose load failed are not.
    pub stale_hits: u64,
    /// Loads that ended: the loader returned or panicked. Each key of
    /// [`get_or_load_many`](crate::Cache::get_or_load_many) counts as one.
    pub loads: u64,
    /// Loads among `loads` that returned an error or panicked.
    pub load_failures: u64,
    /// Loads among `loads` that found no value.
    pub loads_not_found: u64,
    /// Loads that were given up before the loader returned, mostly because their task was dropped.
    /// They are not in `loads`.
    pub load_cancellations: u64,
    /// Loads among `loads` whose result was discarded because the key was stored, removed or
    /// invalidated meanwhile.
    pub discarded_loads: u64,
    /// Loads of keys whose entry was present and due to be loaded again, including those that
    /// failed.
    pub refreshes: u64,
    /// Calls that waited for the load of another call and got its result.
    pub followers: u64,
    /// Calls that a load kept for longer than their
    /// [`wait_limit`](crate::LoaderBuilder::wait_limit) or
    /// [`load_timeout`](crate::LoaderBuilder::load_timeout).
    pub load_timeouts: u64,
    /// Loads that were not shared, and whose result was not stored, for lack of memory.
    pub unshared_loads: u64,
    /// Reads among `hits` that were answered by an earlier load: it had found no value, or failed.
    pub negative_hits: u64,
    /// The times that `loads` took.
    pub load_times: LoadTimes,
    /// Calls of the removal listener that panicked.
    pub listener_panics: u64,
    /// Inserts that returned [`Error::KeyTooLong`](crate::Error::KeyTooLong), and loaded values
    /// that were not stored for the same reason.
    pub rejected_key_too_long: u64,
    /// Inserts that returned [`Error::TooLarge`](crate::Error::TooLarge), and loaded values that
    /// were not stored for the same reason.
    pub rejected_too_large: u64,
    /// Writes that returned [`Error::Rejected`](crate::Error::Rejected), and results of loads that
    /// were not stored for the same reason.
    pub rejected_no_space: u64,
    /// Charges of all stored entries, in bytes.
    pub inserted_bytes: u64,
    /// Charges of entries that were relocated to free their chunk, in bytes.
    pub relocated_bytes: u64,
    /// Reads that the policy did not learn of, because the touch log of their shard was full and
    /// its lock was taken.
    pub dropped_touches: u64,
    /// Values that were copies, because the limit on pinned chunks was reached.
    pub copied_values: u64,
    /// Growths of a shard's index that have begun.
    pub index_growths: u64,
    /// Invalidations of all entries of a [namespace](crate::Namespace), counted once for each of
    /// its versions.
    pub invalidations: u64,
    /// Values of typed namespaces that did not decode. They were removed, and the reads are misses.
    pub undecodable: u64,
    /// Values of typed namespaces that did not encode. They were not stored, and the entries under
    /// their keys were removed.
    pub unencodable: u64,
    /// [Invalidations](crate::Invalidation) of names that have no namespace.
    pub unknown_namespaces: u64,
    /// The share of the rings that live entries may fill at present, from 0 to 1: the mean over the
    /// shards.
    pub live_target: f64,
}

impl Stats {
    /// Returns the share of hits among the reads, from 0 to 1. It is 0 before the first read.
    ///
    /// ```
    /// use bytecache::Cache;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// assert_eq!(cache.stats().hit_ratio(), 0.0);
    /// cache.insert("a", "1")?;
    /// for key in ["a", "a", "a", "b"] {
    ///     cache.view(key, |_value| ());
    /// }
    /// assert_eq!(cache.stats().hit_ratio(), 0.75);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn hit_ratio(&self) -> f64 {
        let reads = self.hits + self.misses;
        if reads == 0 { 0.0 } else { self.hits as f64 / reads as f64 }
    }

    /// Returns the bytes written to the rings for each byte stored: 1 or more.
    ///
    /// It is 1 if no entry was relocated, and before the first insert.
    ///
    /// ```
    /// use bytecache::Cache;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// assert_eq!(cache.stats().write_amplification(), 1.0);
    /// for key in 0..100_000_u32 {
    ///     cache.insert(key.to_le_bytes(), [0; 100])?;
    /// }
    /// assert!(cache.stats().write_amplification() >= 1.0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn write_amplification(&self) -> f64 {
        if self.inserted_bytes == 0 {
            return 1.0;
        }
        (self.inserted_bytes + self.relocated_bytes) as f64 / self.inserted_bytes as f64
    }
}

/// The memory of a cache, in bytes. [`Cache::memory`](crate::Cache::memory) returns it.
///
/// ```
/// use bytecache::Cache;
///
/// let cache = Cache::new(1 << 20)?;
/// let memory = cache.memory();
/// let parts = memory.chunks + memory.index + memory.policy + memory.wheels + memory.flights;
/// assert_eq!(memory.allocated, parts + memory.overhead);
/// assert!(memory.allocated <= memory.max);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Memory {
    /// The bound of the moment. While the cache shrinks, it is above the limit that was set last.
    /// It never rises to more than that. Bytes that move between shards meanwhile may count twice.
    pub max: usize,
    /// Everything that the cache has allocated: never more than `max`. It is the sum of `chunks`,
    /// `index`, `policy`, `wheels`, `flights` and `overhead`, if no other thread writes meanwhile.
    pub allocated: usize,
    /// Chunks of the rings that have been put to use, in any state.
    pub chunks: usize,
    /// Tables of the indexes. While a table grows or shrinks, this is the larger of its two sizes.
    pub index: usize,
    /// State of the policies: for each entry, and for ghosts.
    pub policy: usize,
    /// Loads in progress, their keys and the tasks that wait for them. Also [leases](crate::Lease)
    /// and [namespaces](crate::Namespace).
    pub flights: usize,
    /// Timing wheels. A shard has one from its first entry with a deadline on.
    pub wheels: usize,
    /// The fixed part: shards, chunk tables, counters, logs of touches and misses. While the cache
    /// is [saved](crate::Cache::save), also the record of the keys that change.
    pub overhead: usize,
    /// Charges of present entries: header, key and value, rounded up. Part of `chunks`.
    pub live: usize,
    /// Bytes of entries that have left and have not been cleaned. Part of `chunks`.
    pub dead: usize,
    /// Retired chunks, which wait until no reader can see them. Part of `chunks`.
    pub retired: usize,
    /// Chunks that [`Value`](crate::Value)s pin. Part of `chunks`.
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

/// The counters of a shard, under its lock. The counters of an insert come first, on one cache
/// line.
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

/// The times that loads took: their sum and a histogram. See [`Stats::load_times`].
///
/// ```
/// use bytecache::Cache;
///
/// let cache = Cache::new(1 << 20)?;
/// cache.get_or_load("a", || Ok::<_, std::io::Error>("1"))?;
/// let times = cache.stats().load_times;
/// assert_eq!(times.histogram().map(|(_bound, count)| count).sum::<u64>(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// `Debug` prints the bounds below which there are loads:
///
/// ```
/// # use bytecache::Stats;
/// assert_eq!(format!("{:?}", Stats::default().load_times), "LoadTimes { total: 0ns, loads: {} }");
/// // With loads: LoadTimes { total: 1.3ms, loads: {< 256µs: 4, < 1.024ms: 1} }
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct LoadTimes {
    total_nanos: u64,
    counts: [u64; Self::CLASSES],
}

impl LoadTimes {
    /// The number of classes of the histogram. The last one has no upper bound.
    const CLASSES: usize = 14;

    /// Returns the sum of the times of all loads.
    ///
    /// ```
    /// use bytecache::Cache;
    /// use std::time::Duration;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// assert_eq!(cache.stats().load_times.total(), Duration::ZERO);
    /// let sum = || Ok::<_, std::io::Error>((0..100_000_u64).sum::<u64>().to_le_bytes());
    /// cache.get_or_load("sum", sum)?;
    /// let stats = cache.stats();
    /// let mean = stats.load_times.total() / u32::try_from(stats.loads)?;
    /// assert!(mean <= stats.load_times.total());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.total_nanos)
    }

    /// Returns a histogram: each item is an upper bound, and the number of loads below it.
    ///
    /// A load is counted once, below the smallest bound that is longer than it took. The bounds go
    /// from 1 us to 16.8 s, each four times the one before. The last item has no bound: it is
    /// [`Duration::MAX`].
    ///
    /// ```
    /// use bytecache::Cache;
    /// use std::time::Duration;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let times = cache.stats().load_times;
    /// let bounds: Vec<Duration> = times.histogram().map(|(bound, _count)| bound).collect();
    /// assert_eq!(bounds[..2], [Duration::from_micros(1), Duration::from_micros(4)]);
    /// assert_eq!(bounds.last(), Some(&Duration::MAX));
    /// let slow = times.histogram().filter(|(bound, _count)| bound.as_secs() >= 1);
    /// assert_eq!(slow.map(|(_bound, count)| count).sum::<u64>(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn histogram(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        self.counts.iter().enumerate().map(|(class, &count)| (Self::bound(class), count))
    }

    /// Returns the upper bound of a class.
    fn bound(class: usize) -> Duration {
        match u32::try_from(class) {
            Ok(power) if class + 1 < Self::CLASSES => Duration::from_micros(4_u64.pow(power)),
            _ => Duration::MAX,
        }
    }

    /// Returns the class of a load that took `time`.
    fn class(time: Duration) -> usize {
        (0..Self::CLASSES - 1).find(|&class| time < Self::bound(class)).unwrap_or(Self::CLASSES - 1)
    }
}

impl fmt::Debug for LoadTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadTimes").field("total", &self.total()).field("loads", &Loads(self)).finish()
    }
}

/// The classes of loads that have any, for `Debug`.
struct Loads<'a>(&'a LoadTimes);

impl fmt::Debug for Loads<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let longest = LoadTimes::bound(LoadTimes::CLASSES - 2);
        let mut map = f.debug_map();
        for (bound, count) in self.0.histogram().filter(|&(_, count)| count > 0) {
            match bound {
                Duration::MAX => map.entry(&format_args!(">= {longest:?}"), &count),
                _ => map.entry(&format_args!("< {bound:?}"), &count),
            };
        }
        map.finish()
    }
}

/// The end of a load, for the counters.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LoadEnd {
    Found(Duration),
    Absent(Duration),
    Failed(Duration),
    Cancelled,
}

/// Defines the kinds of a counter, and how many there are.
macro_rules! kinds {
    ($(#[$meta:meta])* $name:ident { $($kind:ident,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug)]
        pub(crate) enum $name {
            $($kind,)*
        }

        impl $name {
            const KINDS: usize = [$(Self::$kind),*].len();
        }
    };
}

/// The counters of loads of one set of keys, shared by all shards: a load costs more than a shared
/// cache line.
#[derive(Debug)]
pub(crate) struct LoadCounts([AtomicU64; LoadCount::KINDS + LoadTimes::CLASSES]);

kinds! {
    /// A counter of loads.
    LoadCount {
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

    /// Counts a load that has ended.
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

kinds! {
    /// A counter that is changed outside of the locks.
    Count {
        Hits,
        Misses,
        DroppedTouches,
        CopiedValues,
        StaleHits,
        KeyTooLong,
        TooLarge,
        NegativeHits,
    }
}

/// The counters of one thread, alone on their cache line.
#[derive(Debug)]
#[repr(align(64))]
struct Stripe([AtomicU64; Count::KINDS]);

/// The striped counters of one cache. Clones are the same counters.
#[derive(Clone, Debug)]
pub(crate) struct ReadCounts {
    stripes: Arc<[Stripe]>,
}

impl ReadCounts {
    /// Creates counters with `stripes` stripes, at least one.
    pub(crate) fn new(stripes: usize) -> Self {
        let stripe = || Stripe(core::array::from_fn(|_| AtomicU64::new(0)));
        Self { stripes: (0..stripes.max(1)).map(|_| stripe()).collect() }
    }

    /// Returns the bytes that [`new`](Self::new) allocates.
    pub(crate) fn footprint(stripes: usize) -> usize {
        // With the two counts of an `Arc`, which has the alignment of a stripe.
        (stripes.max(1) + 1) * size_of::<Stripe>()
    }

    /// Adds `amount` for the thread with this number. Its stripe is the one after, as the first one
    /// is shared.
    #[inline]
    pub(crate) fn add(&self, thread: u32, count: Count, amount: u64) {
        let Some(Stripe(counters)) = self.stripes.get(thread as usize + 1) else {
            return self.add_shared(count, amount);
        };
        let counter = &counters[count as usize];
        // Invariant 1: no other thread adds between the load and the store.
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    /// Adds `amount` for any thread, to the first stripe.
    pub(crate) fn add_shared(&self, count: Count, amount: u64) {
        self.stripes[0].0[count as usize].fetch_add(amount, Ordering::Relaxed);
    }

    /// Adds the sums over all stripes to `stats`.
    pub(crate) fn add_to(&self, stats: &mut Stats) {
        stats.hits += self.sum(Count::Hits);
        stats.misses += self.sum(Count::Misses);
        stats.rejected_key_too_long += self.sum(Count::KeyTooLong);
        stats.rejected_too_large += self.sum(Count::TooLarge);
        stats.dropped_touches += self.sum(Count::DroppedTouches);
        stats.copied_values += self.sum(Count::CopiedValues);
        stats.stale_hits += self.sum(Count::StaleHits);
        stats.negative_hits += self.sum(Count::NegativeHits);
    }

    /// Returns the numbers of hits and misses.
    pub(crate) fn reads(&self) -> [u64; 2] {
        [self.sum(Count::Hits), self.sum(Count::Misses)]
    }

    /// Returns the sum over all stripes.
    fn sum(&self, count: Count) -> u64 {
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
        assert_eq!(
            format!("{times:?}"),
            "LoadTimes { total: 61.000001999s, loads: {< 1µs: 2, < 4µs: 1, < 1.048576s: 1, >= 16.777216s: 1} }"
        );
    }

    #[test]
    fn ratios_of_nothing_are_defined() {
        let stats = Stats::default();
        assert_eq!((stats.hit_ratio(), stats.write_amplification()), (0.0, 1.0));
    }
}
