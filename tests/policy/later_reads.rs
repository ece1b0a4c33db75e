//! Keys that are read once, some time after they were written: sessions, results, ids. The default
//! policy finds them nearly as often as the better of LRU and S3-FIFO, after a warm-up of three
//! times the entries that fit.

use std::fmt;

use bytecache::policy::{Request, Simulator, Unit};
use bytecache::{Cache, Policy, StableHash};

/// Greatest accepted deficit of the default policy, in percentage points.
pub(crate) const MAX_BEHIND: f64 = 5.0;
/// Operations before reads count, and while they count, as multiples of the entries that fit.
const WARM_UP: u64 = 3;
const COUNTED: u64 = 2;
/// Distances after which keys are read again, in percent of the entries that fit.
const DISTANCES: [u64; 5] = [2, 10, 20, 40, 60];

/// The two uses of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// Read both times, and stored on a miss.
    CacheAside,
    /// Written first and read second. A miss stores nothing.
    Written,
    /// Stored both times, unless it is present.
    SeenBefore,
}

const USES: [Use; 3] = [Use::CacheAside, Use::Written, Use::SeenBefore];

/// The keys that filled the cache before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    Nothing,
    WrittenOnce,
    /// Keys of very different popularity, read, and stored on a miss.
    Popular,
}

#[derive(Clone, Copy, Debug)]
struct Workload {
    usage: Use,
    before: Before,
    /// Number of keys that get half of the requests, in percent of the entries that fit.
    hot: u64,
    distance: u64,
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { usage, before, hot, distance } = self;
        write!(f, "{usage:?} after {distance} %, beside {hot} % hot, before: {before:?}")
    }
}

/// A cache, or the simulator of a policy.
pub(crate) trait Store {
    /// Returns `true` if the key is present. A miss stores nothing.
    fn read(&mut self, key: u64) -> bool;
    fn write(&mut self, key: u64);
    /// Stores a key unless it is present. Returns `true` if it was present.
    fn add(&mut self, key: u64) -> bool;

    fn read_or_write(&mut self, key: u64) -> bool {
        let hit = self.read(key);
        if !hit {
            self.write(key);
        }
        hit
    }
}

impl Store for Simulator {
    fn read(&mut self, key: u64) -> bool {
        Simulator::read(self, key)
    }
    fn write(&mut self, key: u64) {
        self.store(Request { hash: key, charge: 1 });
    }
    fn add(&mut self, key: u64) -> bool {
        let is_there = self.contains(key);
        if !is_there {
            self.write(key);
        }
        is_there
    }
}

impl Store for Cache {
    fn read(&mut self, key: u64) -> bool {
        self.get(key.to_le_bytes()).is_some()
    }
    fn write(&mut self, key: u64) {
        self.insert(key.to_le_bytes(), [0; 100]).unwrap();
    }
    fn add(&mut self, key: u64) -> bool {
        !self.insert_if_absent(key.to_le_bytes(), [0; 100]).unwrap()
    }
}

pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 32) * end) >> 32
    }
}

/// First numbers of the keys of each other kind.
pub(crate) const FIRST_BEFORE: u64 = 1 << 40;
const FIRST_HOT: u64 = 1 << 41;

pub(crate) fn fill(store: &mut impl Store, before: Before, fits: u64, random: &mut Random) {
    match before {
        Before::Nothing => {}
        Before::WrittenOnce => (0..2 * fits).for_each(|number| store.write(FIRST_BEFORE + number)),
        Before::Popular => {
            for _ in 0..8 * fits {
                let octave = random.below(u64::from((10 * fits).ilog2()));
                store.read_or_write(FIRST_BEFORE + random.below(2 << octave));
            }
        }
    }
}

/// Returns the percentage of second uses that find their key.
fn second_uses(store: &mut impl Store, workload: Workload, fits: u64) -> f64 {
    let Workload { usage, before, hot, distance } = workload;
    let mut random = Random(7);
    fill(store, before, fits, &mut random);
    let (distance, hot) = (fits * distance / 100, fits * hot / 100);
    let (mut hits, mut counted) = (0_u32, 0_u32);
    for number in 0..(WARM_UP + COUNTED) * fits {
        let again = number.checked_sub(distance);
        match usage {
            Use::CacheAside => _ = store.read_or_write(number),
            Use::Written => store.write(number),
            Use::SeenBefore => _ = store.add(number),
        }
        let hit = again.is_some_and(|again| match usage {
            Use::CacheAside => store.read_or_write(again),
            Use::Written => store.read(again),
            Use::SeenBefore => store.add(again),
        });
        if number >= WARM_UP * fits {
            (hits, counted) = (hits + u32::from(hit), counted + 1);
        }
        if hot > 0 {
            (0..2).for_each(|_| _ = store.read_or_write(FIRST_HOT + random.below(hot)));
        }
    }
    f64::from(hits) * 100.0 / f64::from(counted)
}

/// Checks that the default policy is at most `MAX_BEHIND` points behind the better of LRU and
/// S3-FIFO.
fn compare<S: Store>(workload: Workload, fits: u64, make: impl Fn(Policy) -> S) {
    let policies = [Policy::Adaptive, Policy::Lru, Policy::S3Fifo];
    let [ours, lru, s3_fifo] = policies.map(|policy| second_uses(&mut make(policy), workload, fits));
    assert!(ours + MAX_BEHIND >= lru.max(s3_fifo), "{workload}: {ours} % found, LRU {lru}, S3-FIFO {s3_fifo}");
}

fn simulate_all(before: Before) {
    const FITS: u64 = 1000;
    for usage in USES {
        for hot in [0, 10, 30] {
            for distance in DISTANCES {
                let workload = Workload { usage, before, hot, distance };
                compare(workload, FITS, |policy| Simulator::new(&policy, FITS, Unit::Entries));
            }
        }
    }
}

#[test]
fn keys_read_once_are_found_from_an_empty_cache_on() {
    simulate_all(Before::Nothing);
}

#[test]
fn keys_read_once_are_found_after_others_were_written() {
    simulate_all(Before::WrittenOnce);
}

#[test]
fn keys_read_once_are_found_after_popular_ones() {
    simulate_all(Before::Popular);
}

/// Number of entries of 100 bytes that fit into a cache of 2 MiB.
const FIT_2_MIB: u64 = 15_000;

fn cache(policy: Policy) -> Cache {
    let builder = Cache::builder().max_bytes(2 << 20).shards(1).policy(policy);
    builder.hasher(StableHash::with_seed(3)).build().unwrap()
}

#[test]
fn a_cache_finds_keys_that_are_read_once() {
    for usage in USES {
        for (before, hot) in [(Before::Nothing, 0), (Before::WrittenOnce, 10)] {
            for distance in [20, 60] {
                compare(Workload { usage, before, hot, distance }, FIT_2_MIB, cache);
            }
        }
    }
}

#[test]
fn a_cache_does_not_keep_the_oldest_of_what_was_only_written() {
    let mut cache = cache(Policy::default());
    let found = second_uses(
        &mut cache,
        Workload { usage: Use::Written, before: Before::Nothing, hot: 0, distance: 20 },
        FIT_2_MIB,
    );
    assert!(found > 95.0, "{found} %");
    let oldest = (0..FIT_2_MIB).map(|key| u64::from(cache.contains_key(key.to_le_bytes()))).sum::<u64>();
    assert!(oldest < FIT_2_MIB / 10, "{oldest} of the oldest keys are present");
}

#[test]
fn reads_that_begin_late_find_the_newest_of_what_was_only_written() {
    let mut cache = cache(Policy::default());
    let mut hits = 0;
    for number in 0..10 * FIT_2_MIB {
        cache.write(number);
        if number >= 9 * FIT_2_MIB {
            hits += u64::from(cache.read(number - FIT_2_MIB / 5));
        }
    }
    assert!(hits * 100 >= 95 * FIT_2_MIB, "{hits} of {FIT_2_MIB}");
}

#[test]
fn a_loop_that_does_not_fit_is_hit_in_part_after_keys_that_were_read_once() {
    const FITS: u64 = 1000;
    let mut simulator = Simulator::new(&Policy::default(), FITS, Unit::Entries);
    let workload = Workload { usage: Use::CacheAside, before: Before::Nothing, hot: 0, distance: 60 };
    assert!(second_uses(&mut simulator, workload, FITS) > 95.0);
    let hits = (0..20 * FITS).filter(|step| simulator.read_or_write(FIRST_HOT + step % 1300)).count();
    assert!(hits as f64 > 0.5 * 20.0 * FITS as f64, "{hits} hits");
}
