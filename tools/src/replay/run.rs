//! Replays one trace through one cache: cache-aside, timed, checked and measured.
//!
//! Each value starts with the mark of its key. A hit whose bytes do not start with it is an error.
//!
//! # Synchronization
//!
//! The trace is divided into blocks. Of `n` threads, the first replays the blocks 0, n, 2n and so
//! on. The second replays 1, n + 1, 2n + 1 and so on. Threads share only the cache, and each has
//! its own counts.
//!
//! Each replay starts new threads, even if it has a single one. A thread's records for the cache's
//! reclamation decide when a chunk is reclaimed, and with it which entries are evicted. So a thread
//! that had done other replays before would get slightly different results.
//!
//! # Measurements
//!
//! Before the cache is built, the buffers for values are filled, and the allocator's free memory is
//! given back to the system. So the growth of the resident set is the cache's. It is read after the
//! last request, before the entries are visited for their sizes.

use std::fmt;
use std::time::{Duration, Instant};

use bytecache::{Cache, Policy, StableHash};
use indicatif::ProgressBar;

use super::resident::{release_free_pages, resident_bytes};
use crate::trace::{Operation, Request, Trace};

/// Number of requests that a thread replays in a row, and between two steps of the progress bar.
const BLOCK_REQUESTS: usize = 4096;

/// The options of the cache, and the number of threads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Memory of the cache in bytes.
    pub(crate) max_bytes: usize,
    /// Shards of the cache.
    pub(crate) shards: usize,
    /// Threads that share the requests.
    pub(crate) threads: usize,
    /// Seed of the cache's hash.
    pub(crate) seed: u64,
}

/// The results of one policy on a trace.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The policy.
    pub(crate) policy: Policy,
    /// The counts of all threads.
    pub(crate) tally: Tally,
    /// Time for all requests.
    pub(crate) elapsed: Duration,
    /// Number of entries at the end.
    pub(crate) entries: usize,
    /// Bytes written to the cache divided by bytes inserted.
    pub(crate) write_amplification: f64,
    /// Growth of the resident set divided by the bytes of keys and values at the end, or `None` if
    /// it is not known.
    pub(crate) resident_per_payload: Option<f64>,
}

/// Counts of requests and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Requests of any kind.
    pub(crate) requests: u64,
    /// Inserts that the cache refused, because they were too large or found no space.
    pub(crate) refused: u64,
    fetches: u64,
    misses: u64,
    fetched_bytes: u64,
    missed_bytes: u64,
}

impl Tally {
    /// Returns misses divided by look-ups.
    pub(crate) fn miss_ratio(&self) -> f64 {
        ratio(self.misses, self.fetches)
    }

    /// Returns missed bytes divided by looked-up bytes.
    pub(crate) fn byte_miss_ratio(&self) -> f64 {
        ratio(self.missed_bytes, self.fetched_bytes)
    }

    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.refused += other.refused;
        self.fetches += other.fetches;
        self.misses += other.misses;
        self.fetched_bytes += other.fetched_bytes;
        self.missed_bytes += other.missed_bytes;
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// A reason why a replay ends early.
#[derive(Debug)]
pub(crate) enum ReplayError {
    /// The cache cannot be built with the settings.
    Build(bytecache::BuildError),
    /// The request of this number hit a value that is not its key's.
    WrongValue(usize),
}

impl fmt::Display for ReplayError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Build(error) => write!(formatter, "{error}"),
            Self::WrongValue(request) => write!(formatter, "request {request} got a value that is not its key's"),
        }
    }
}

impl std::error::Error for ReplayError {}

/// Replays all requests with one policy.
///
/// # Errors
///
/// Returns an error if the cache cannot be built with the settings, or if it returns a value of
/// another key.
pub(crate) fn replay(
    trace: &Trace,
    policy: Policy,
    settings: Settings,
    bar: &ProgressBar,
) -> Result<Outcome, ReplayError> {
    let max_entry_bytes = rehearse(policy, settings)?;
    let mut workers: Vec<_> = (0..settings.threads).map(|_| Worker::new(trace, max_entry_bytes)).collect();
    release_free_pages();
    let resident_before = resident_bytes();
    let cache = build(policy, settings)?;

    let start = Instant::now();
    let tally = drive(&cache, trace, &mut workers, bar)?;
    let elapsed = start.elapsed();

    let growth = resident_bytes().zip(resident_before).map(|(after, before)| after.saturating_sub(before));
    let mut payload_bytes = 0;
    cache.for_each(|key, value| payload_bytes += (key.len() + value.len()) as u64);
    Ok(Outcome {
        policy,
        tally,
        elapsed,
        entries: cache.len(),
        write_amplification: cache.stats().write_amplification(),
        resident_per_payload: growth.filter(|_| payload_bytes > 0).map(|growth| ratio(growth, payload_bytes)),
    })
}

/// Builds a cache that is not used, and returns the largest entry that it would accept.
///
/// Memory that an earlier cache has retired is reclaimed while threads work on any other cache.
/// This call does so, so that no memory is given back while the growth is measured.
fn rehearse(policy: Policy, settings: Settings) -> Result<usize, ReplayError> {
    const RECLAIMING_CALLS: usize = 32;
    let cache = build(policy, settings)?;
    std::thread::scope(|scope| {
        scope.spawn(|| (0..RECLAIMING_CALLS).for_each(|_| _ = cache.maintain()));
    });
    Ok(cache.max_entry_bytes())
}

fn build(policy: Policy, settings: Settings) -> Result<Cache, ReplayError> {
    let mut builder = Cache::builder()
        .max_bytes(settings.max_bytes)
        .shards(settings.shards)
        .policy(policy)
        .hasher(StableHash::with_seed(settings.seed));
    let largest = settings.max_bytes / 8 / settings.shards.max(1);
    if largest > 0 && settings.shards.is_power_of_two() {
        builder = builder.max_entry_bytes(largest); // Traces have objects that are larger than the default.
    }
    builder.build().map_err(ReplayError::Build)
}

fn drive(cache: &Cache, trace: &Trace, workers: &mut [Worker], bar: &ProgressBar) -> Result<Tally, ReplayError> {
    let threads = workers.len();
    std::thread::scope(|scope| {
        let running: Vec<_> = workers
            .iter_mut()
            .enumerate()
            .map(|(first, worker)| scope.spawn(move || worker.replay_blocks(cache, trace, first, threads, bar)))
            .collect();
        running
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    let mut total = Tally::default();
    workers.iter().for_each(|worker| total.add(&worker.tally));
    Ok(total)
}

/// The state of one thread.
struct Worker {
    tally: Tally,
    /// Buffer whose prefixes are the values to insert.
    payload: Vec<u8>,
    /// Buffer to which the values of hits are copied.
    hit: Vec<u8>,
}

impl Worker {
    /// Creates buffers for the values of `trace`, which are resident in full.
    ///
    /// A buffer is at most one byte longer than the largest entry of the cache. A longer value is
    /// cut to this length, and the cache refuses it just the same.
    fn new(trace: &Trace, max_entry_bytes: usize) -> Self {
        let largest_bytes = (trace.largest_bytes() as usize).min(max_entry_bytes + 1);
        let filled = || vec![0x5a; largest_bytes.max(size_of::<u64>())];
        Self { tally: Tally::default(), payload: filled(), hit: filled() }
    }

    fn replay_blocks(
        &mut self,
        cache: &Cache,
        trace: &Trace,
        first: usize,
        threads: usize,
        bar: &ProgressBar,
    ) -> Result<(), ReplayError> {
        let blocks = trace.requests().chunks(BLOCK_REQUESTS).enumerate();
        for (number, block) in blocks.skip(first).step_by(threads) {
            for (offset, request) in block.iter().enumerate() {
                if !self.serve(cache, trace, request) {
                    return Err(ReplayError::WrongValue(number * BLOCK_REQUESTS + offset));
                }
            }
            self.tally.requests += block.len() as u64;
            bar.inc(block.len() as u64);
        }
        Ok(())
    }

    /// Performs a request. Returns `false` if it hit a value that is not its key's.
    fn serve(&mut self, cache: &Cache, trace: &Trace, request: &Request) -> bool {
        let mut number = [0; 8];
        let key = trace.key(request, &mut number);
        match request.operation {
            Operation::Fetch => {
                let size_bytes = u64::from(request.size_bytes);
                self.tally.fetches += 1;
                self.tally.fetched_bytes += size_bytes;
                if cache.get_into(key, &mut self.hit) {
                    return starts_with_mark(&self.hit, request.mark());
                }
                self.tally.misses += 1;
                self.tally.missed_bytes += size_bytes;
                self.insert(cache, key, request);
            }
            Operation::Store => self.insert(cache, key, request),
            Operation::Delete => {
                cache.remove(key);
            }
        }
        true
    }

    fn insert(&mut self, cache: &Cache, key: &[u8], request: &Request) {
        let mark = request.mark();
        self.payload[..mark.len()].copy_from_slice(&mark);
        let length = self.payload.len().min(request.size_bytes as usize);
        if cache.insert(key, &self.payload[..length]).is_err() {
            self.tally.refused += 1;
        }
    }
}

/// Returns `true` if the value starts with the mark of its key. A value shorter than the mark has a
/// part of it.
fn starts_with_mark(value: &[u8], mark: [u8; 8]) -> bool {
    let length = value.len().min(mark.len());
    value[..length] == mark[..length]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mixture::generate;

    const SETTINGS: Settings = Settings { max_bytes: 4 << 20, shards: 1, threads: 1, seed: 1 };

    fn replay_quietly(trace: &Trace, settings: Settings) -> Outcome {
        replay(trace, Policy::ALL[0], settings, &ProgressBar::hidden()).expect("values are their keys'")
    }

    #[test]
    fn a_cache_that_holds_everything_misses_each_key_once() {
        let trace = generate(50_000, 3);
        let outcome = replay_quietly(&trace, Settings { max_bytes: 64 << 20, ..SETTINGS });
        let expected = Tally {
            requests: 50_000,
            refused: 0,
            fetches: 50_000,
            misses: trace.unique_keys(),
            fetched_bytes: trace.requests().iter().map(|request| u64::from(request.size_bytes)).sum(),
            missed_bytes: trace.unique_bytes() - 8 * trace.unique_keys(),
        };
        assert_eq!(outcome.tally, expected);
        assert_eq!(outcome.entries as u64, trace.unique_keys());
    }

    #[test]
    fn a_cache_that_holds_less_misses_more() {
        let trace = generate(50_000, 3);
        let outcome = replay_quietly(&trace, Settings { max_bytes: 1 << 20, ..SETTINGS });
        assert!(outcome.tally.misses > trace.unique_keys());
        assert!(outcome.tally.miss_ratio() < 0.9);
        assert!((outcome.entries as u64) < trace.unique_keys());
    }

    #[test]
    fn threads_replay_every_request_once() {
        let trace = generate(50_001, 3);
        for threads in [2, 3, 64] {
            let outcome = replay_quietly(&trace, Settings { threads, ..SETTINGS });
            assert_eq!((outcome.tally.requests, outcome.tally.fetches), (50_001, 50_001));
        }
    }

    #[test]
    fn a_value_larger_than_the_cache_is_refused_and_counts_as_missed() {
        let mut builder = crate::trace::TraceBuilder::default();
        builder.push_number(1, u32::MAX, Operation::Fetch);
        builder.push_number(2, 100, Operation::Fetch);
        builder.push_number(1, u32::MAX, Operation::Fetch);
        builder.push_number(2, 100, Operation::Fetch);
        let outcome = replay_quietly(&builder.finish(), SETTINGS);
        assert_eq!((outcome.tally.misses, outcome.tally.refused, outcome.entries), (3, 2, 1));
        assert_eq!(outcome.tally.missed_bytes, 2 * u64::from(u32::MAX) + 100);
    }

    #[test]
    fn stores_and_deletes_are_no_look_ups() {
        let mut builder = crate::trace::TraceBuilder::default();
        for operation in [Operation::Store, Operation::Fetch, Operation::Delete, Operation::Delete, Operation::Fetch] {
            builder.push_number(1, 3, operation);
        }
        let tally = replay_quietly(&builder.finish(), SETTINGS).tally;
        assert_eq!((tally.requests, tally.fetches, tally.misses), (5, 2, 1));
    }

    #[test]
    fn the_value_of_another_key_is_an_error() {
        let mut builder = crate::trace::TraceBuilder::default();
        builder.push_number(7, 3, Operation::Fetch);
        let trace = builder.finish();
        let cache = Cache::new(SETTINGS.max_bytes).expect("a cache");
        cache.insert(7u64.to_le_bytes(), b"abc").expect("it fits");
        let driven = drive(&cache, &trace, &mut [Worker::new(&trace, 3)], &ProgressBar::hidden());
        assert!(matches!(driven, Err(ReplayError::WrongValue(0))));
    }
}
