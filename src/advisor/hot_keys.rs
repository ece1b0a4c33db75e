//! [`HotKey`]: the keys that are read most.
//!
//! The keys of some reads are counted, whatever the key: see `turns.rs`. They are counted by
//! Space-Saving (Metwally, Agrawal and El Abbadi, Efficient Computation of Frequent and Top-k
//! Elements in Data Streams, ICDT 2005). A key without a counter takes over the counter with the
//! smallest count. That count becomes the *floor* of the new key. A count is too large by its floor
//! at most, and never too small. HeavyKeeper (2018) needs fewer counters for the same keys, but has
//! no bound for each.
//!
//! Of a batch of turns, only the last one may take over a counter. Its read stands for the reads of
//! a mean batch. The other turns count if their keys have counters. That is sample and hold (Estan
//! and Varghese, New Directions in Traffic Measurement and Accounting, SIGCOMM 2002): a key that is
//! read often soon gets a counter. From then on, all of its turns count.
//!
//! A key looks for its counter, and for the smallest one, in a set of 8. A byte of each hash tells
//! most keys without a counter. So the cost has a bound, and there is no heap.
//!
//! All counts are halved once in each half-life, as those of the shadows are.

use core::fmt;

use super::charges::HitCharges;
use super::turns::Batch;
use super::window::Window;
use crate::namespace::{Origin, Registry, origin};

/// The counters in a set.
const PLACES: usize = 8;
/// The bytes of a stored key that are kept. The rest of a longer one is cut.
const KEY_BYTES: usize = 64;
/// The part of the advisor's memory that the counters take, and the most sets.
const SHARE: usize = 16;
const MAX_SETS: usize = 512;
/// The standard errors in a bound.
const STANDARD_ERRORS: f64 = 2.0;
/// The lowest bit of each byte, and the highest one.
const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = LOW_BITS << 7;

/// A key that is read often. [`Cache::hot_keys`](crate::Cache::hot_keys) returns it.
///
/// `Display` prints it in a line, with bytes of the key that are no ASCII escaped.
///
/// ```
/// use bytecache::{Advisor, Cache};
///
/// let advisor = Advisor::new().share(1.0);
/// let cache = Cache::builder().max_bytes(16 << 20).advisor(advisor).build()?;
/// for _ in 0..1_000 {
///     assert!(cache.get("user:1").is_none());
/// }
/// let hottest = cache.hot_keys(1).pop().ok_or("there were reads")?;
/// println!("{hottest}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct HotKey {
    /// The key that the cache or its namespace was asked for. Only about the first 50 bytes of a
    /// longer key are kept: see [`is_cut`](Self::is_cut).
    pub key: Vec<u8>,
    /// The length of the whole key, in bytes.
    pub key_bytes: usize,
    /// The name of the namespace of the key, or `None` for a plain key.
    pub namespace: Option<String>,
    /// The reads of the key in the window, hits and misses. Older ones count less, so this is no
    /// whole number.
    pub reads: f64,
    /// The most by which `reads` is probably wrong: in 19 of 20 cases.
    pub reads_error: f64,
    /// The share of the key in all reads of the window, from 0 to 1.
    pub share: f64,
    /// The reads of the key in a second, on average over the window. It is `None` if no time has
    /// passed.
    pub reads_per_second: Option<f64>,
}

impl HotKey {
    /// Returns `true` if `key` has only the first bytes of a longer key.
    ///
    /// ```
    /// use bytecache::{Advisor, Cache};
    ///
    /// let advisor = Advisor::new().share(1.0);
    /// let cache = Cache::builder().max_bytes(16 << 20).advisor(advisor).build()?;
    /// assert!(cache.get("k".repeat(500)).is_none());
    /// let key = cache.hot_keys(1).pop().ok_or("there was a read")?;
    /// assert!(key.is_cut() && key.key_bytes == 500 && key.key.len() >= 50);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.key.len() < self.key_bytes
    }
}

impl fmt::Display for HotKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.key.escape_ascii())?;
        if self.is_cut() {
            write!(f, "... ({} bytes)", self.key_bytes)?;
        }
        if let Some(namespace) = &self.namespace {
            write!(f, " in {namespace}")?;
        }
        write!(f, ": {:.0} ± {:.0} reads, {:.2} %", self.reads, self.reads_error, self.share * 100.0)?;
        self.reads_per_second.map_or(Ok(()), |reads| write!(f, ", {reads:.1} in a second"))
    }
}

/// A set of counters.
#[derive(Clone)]
struct Set {
    /// The low byte of each hash.
    tags: [u8; PLACES],
    hashes: [u64; PLACES],
    reads: [f64; PLACES],
    floors: [f64; PLACES],
    /// The variances of `reads` that come from the choice of turns.
    variances: [f64; PLACES],
    /// The lengths of whole keys.
    lengths: [u32; PLACES],
    keys: [[u8; KEY_BYTES]; PLACES],
}

impl Set {
    /// Counts a turn that stands for `reads` reads. Returns `false` if its key has no counter.
    #[inline]
    fn count(&mut self, hash: u64, reads: f64) -> bool {
        // The bytes that are equal become zero. Above one of these, a byte of 1 is found as well.
        let differences = u64::from_le_bytes(self.tags) ^ ((hash & 0xff) * LOW_BITS);
        let mut equal = differences.wrapping_sub(LOW_BITS) & !differences & HIGH_BITS;
        // Ends: one bit less each time.
        while equal != 0 {
            let place = (equal.trailing_zeros() / 8) as usize;
            // A counter that was never used has counted nothing.
            if self.hashes[place] == hash && self.reads[place] > 0.0 {
                self.reads[place] += reads;
                self.variances[place] += variance(reads);
                return true;
            }
            equal &= equal - 1;
        }
        false
    }

    /// Gives the smallest counter to another key, whose turn stands for `reads` reads.
    #[allow(clippy::cast_possible_truncation, reason = "keys are shorter, and the low byte is wanted")]
    fn replace_smallest(&mut self, hash: u64, stored_key: &[u8], reads: f64) {
        let (mut smallest, mut least) = (0, self.reads[0]);
        for (place, &reads) in self.reads.iter().enumerate() {
            if reads < least {
                (smallest, least) = (place, reads);
            }
        }
        self.tags[smallest] = hash as u8;
        self.hashes[smallest] = hash;
        self.reads[smallest] = least + reads;
        self.floors[smallest] = least;
        self.variances[smallest] = variance(reads);
        self.lengths[smallest] = stored_key.len() as u32;
        let kept = stored_key.len().min(KEY_BYTES);
        self.keys[smallest][..kept].copy_from_slice(&stored_key[..kept]);
    }
}

/// Returns the variance of a count of turns, of which each stands for `reads` reads, for each turn.
///
/// The number of turns of a key that has one in `reads` varies by about its root. It does not vary
/// if all reads have turns.
fn variance(reads: f64) -> f64 {
    reads * (reads - 1.0)
}

/// The counters of keys.
pub(super) struct HotKeys {
    sets: Box<[Set]>,
    /// The reads that all turns stand for.
    reads: f64,
    /// The charges of hits among the last turns of batches.
    pub(super) charges: HitCharges,
    pub(super) window: Window,
}

impl HotKeys {
    /// Creates counters in the memory of an advisor that has `bytes`.
    pub(super) fn new(bytes: usize, window: Window) -> Self {
        let set = Set {
            tags: [0; PLACES],
            hashes: [0; PLACES],
            reads: [0.0; PLACES],
            floors: [0.0; PLACES],
            variances: [0.0; PLACES],
            lengths: [0; PLACES],
            keys: [[0; KEY_BYTES]; PLACES],
        };
        Self { sets: vec![set; Self::sets_in(bytes)].into(), reads: 0.0, charges: HitCharges::default(), window }
    }

    /// Returns the bytes that [`new`](Self::new) allocates.
    pub(super) fn footprint(bytes: usize) -> usize {
        Self::sets_in(bytes) * size_of::<Set>()
    }

    fn sets_in(bytes: usize) -> usize {
        (bytes / SHARE / size_of::<Set>()).clamp(1, MAX_SETS)
    }

    /// Returns the reads that all turns stand for.
    pub(super) fn reads(&self) -> f64 {
        self.reads
    }

    /// Counts the turns of a batch, the last of which read `stored_key`.
    pub(super) fn count(&mut self, batch: &Batch<'_>, stored_key: &[u8]) {
        let reads = f64::from(batch.reads);
        self.reads += reads;
        let each = reads / batch.turns() as f64;
        for hash in batch.others {
            self.set_of(hash.get()).count(hash.get(), each);
        }
        let set = self.set_of(batch.last);
        if !set.count(batch.last, each) {
            set.replace_smallest(batch.last, stored_key, f64::from(batch.mean_reads));
        }
    }

    fn set_of(&mut self, hash: u64) -> &mut Set {
        #[allow(clippy::cast_possible_truncation, reason = "the top half of a product is below the number of sets")]
        let set = ((u128::from(hash) * self.sets.len() as u128) >> 64) as usize;
        &mut self.sets[set]
    }

    /// Multiplies all counts by `factor`.
    pub(super) fn scale(&mut self, factor: f64) {
        self.reads *= factor;
        self.charges.scale(factor);
        for set in &mut self.sets {
            set.reads.iter_mut().chain(&mut set.floors).for_each(|count| *count *= factor);
            set.variances.iter_mut().for_each(|variance| *variance *= factor * factor);
        }
    }

    /// Returns the `n` keys with the most reads.
    pub(super) fn hottest(&self, n: usize, seen: Traffic, registry: &Registry) -> Vec<HotKey> {
        let Traffic { reads, nanos, reads_to_turn } = seen;
        if self.reads <= 0.0 {
            return Vec::new();
        }
        // Turns are a share of all reads, and some of them were dropped.
        let scale = reads / self.reads;
        // One turn more, as few may be none by chance.
        let one_more = variance((f64::from(reads_to_turn) * scale).max(1.0));
        let each = self.sets.iter().flat_map(|set| (0..PLACES).map(move |place| (set, place)));
        let mut counted: Vec<_> = each
            .map(|(set, place)| {
                // The middle between the most and the least that the key may have.
                let error = set.floors[place] / 2.0;
                // A turn counts with one chance in `scale`, and then stands for more reads.
                let chance = (set.reads[place] - set.floors[place]) * variance(scale);
                let variance = set.variances[place] * scale * scale + chance + one_more;
                let error_of_sample = STANDARD_ERRORS * variance.max(0.0).sqrt();
                let reads = (set.reads[place] - error) * scale;
                (Estimate { reads, error: error * scale + error_of_sample }, set, place)
            })
            .filter(|(estimate, ..)| estimate.reads > estimate.error)
            .collect();
        counted.sort_by(|(left, ..), (right, ..)| right.reads.total_cmp(&left.reads));
        let hot = |(estimate, set, place): (Estimate, &Set, usize)| {
            let length = set.lengths[place] as usize;
            let stored = &set.keys[place][..length.min(KEY_BYTES)];
            if registry.is_outdated(stored) {
                return None; // No later read asks for it.
            }
            let (Origin::Plain(key) | Origin::Scoped { key, .. }) = origin(stored);
            let (counted, seconds) = (estimate.reads.min(reads), nanos / 1e9);
            Some(HotKey {
                key: key.to_vec(),
                key_bytes: length - (stored.len() - key.len()),
                namespace: registry.scope_of(stored).map(|scope| scope.name().to_string()),
                reads: counted,
                reads_error: estimate.error,
                share: counted / reads,
                reads_per_second: (seconds > 0.0).then(|| counted / seconds),
            })
        };
        counted.into_iter().filter_map(hot).take(n).collect()
    }
}

/// The reads of a cache in the window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traffic {
    pub(super) reads: f64,
    pub(super) nanos: f64,
    /// The mean number of reads to a turn at present.
    pub(super) reads_to_turn: u32,
}

/// A number of reads, and the most by which it is probably wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Estimate {
    reads: f64,
    error: f64,
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use core::cell::Cell;
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::policy::spread;

    fn hot_keys(bytes: usize) -> HotKeys {
        HotKeys::new(bytes, Window::new(0, [0; 5]))
    }

    fn count(hot_keys: &mut HotKeys, key: u16, reads: u32) {
        count_batch(hot_keys, &[key], reads);
    }

    /// Counts a batch, whose last turn is the first one of `keys`.
    fn count_batch(hot_keys: &mut HotKeys, keys: &[u16], reads: u32) {
        let hashes: Vec<_> = keys.iter().map(|&key| Cell::new(spread(u64::from(key)))).collect();
        let batch = Batch { last: hashes[0].get(), others: &hashes[1..], reads, mean_reads: reads };
        hot_keys.count(&batch, &keys[0].to_le_bytes());
    }

    fn hottest(keys: &HotKeys, n: usize, reads: f64, reads_to_turn: u32) -> Vec<HotKey> {
        keys.hottest(n, Traffic { reads, nanos: 3e9, reads_to_turn }, &Registry::new(1 << 20, false))
    }

    #[test]
    fn a_key_that_takes_a_counter_has_its_count_as_the_floor() {
        let mut set = hot_keys(0);
        (0..8).for_each(|key| count(&mut set, key, 10 + u32::from(key)));
        count(&mut set, 99, 1);
        let Set { reads, floors, hashes, .. } = &set.sets[0];
        assert_eq!((hashes[0], reads[0], floors[0]), (spread(99), 11.0, 10.0));
        assert_eq!((reads[1], floors[1]), (11.0, 0.0));
    }

    #[test]
    fn only_the_last_key_of_a_batch_takes_a_counter_and_stands_for_all_reads() {
        let mut keys = hot_keys(0);
        count_batch(&mut keys, &[1, 2, 3, 3], 32);
        let counted =
            |keys: &HotKeys| keys.sets[0].hashes[..2].iter().copied().zip(keys.sets[0].reads).collect::<Vec<_>>();
        assert_eq!(counted(&keys), [(spread(1), 32.0), (0, 0.0)]);
        // The other turns count if their keys have counters: each of four for eight reads.
        count_batch(&mut keys, &[2, 1, 1, 3], 32);
        assert_eq!(counted(&keys), [(spread(1), 48.0), (spread(2), 32.0)]);
        count_batch(&mut keys, &[1, 2, 3, 3], 32);
        assert_eq!((counted(&keys), keys.reads), (vec![(spread(1), 56.0), (spread(2), 40.0)], 96.0));
        assert_eq!(keys.sets[0].variances[..2], [32.0 * 31.0 + 3.0 * 56.0, 32.0 * 31.0 + 56.0]);
    }

    #[test]
    fn keys_whose_hashes_have_the_same_low_byte_have_counters_of_their_own() {
        let mut set = hot_keys(0).sets[0].clone();
        let hashes = || (0..9_u64).map(|key| key << 8 | 0x7f);
        assert!(hashes().all(|hash| !set.count(hash, 1.0)), "no counter was used yet");
        assert!(!set.count(0, 1.0), "no counter was used yet");
        hashes().take(8).for_each(|hash| set.replace_smallest(hash, b"key", 1.0));
        assert_eq!(
            hashes().map(|hash| set.count(hash, 2.0)).collect::<Vec<_>>(),
            [[true; 8].as_slice(), &[false]].concat()
        );
        assert_eq!(set.reads, [3.0; 8]);
        // A low byte that differs by one is not taken for an equal one.
        assert!(!set.count(7 << 8 | 0x7e, 1.0) && !set.count(7 << 8 | 0x80, 1.0));
    }

    #[test]
    fn counts_are_halved_with_the_sums() {
        let mut keys = hot_keys(0);
        count(&mut keys, 1, 8);
        keys.scale(0.5);
        count(&mut keys, 2, 8);
        let hottest = hottest(&keys, 9, 12.0, 8);
        let shares: Vec<f64> = hottest.iter().map(|key| key.share).collect();
        // With turns that stand for eight reads, one of them says nothing.
        assert_eq!(shares, [0.0; 0]);
        assert_eq!((keys.reads, keys.sets[0].reads[..2].to_vec()), (12.0, vec![4.0, 8.0]));
    }

    #[test]
    fn rates_are_those_of_the_window() {
        let mut keys = hot_keys(0);
        (0..30).for_each(|_| count(&mut keys, 1, 1));
        (0..10).for_each(|_| count(&mut keys, 2, 1));
        // Half of the turns were dropped.
        let hottest = hottest(&keys, 1, 80.0, 1);
        let [hot] = &hottest[..] else { panic!("{hottest:?}") };
        assert_eq!((&hot.key[..], hot.reads, hot.share), (&[1, 0][..], 60.0, 0.75));
        // Each read had a turn that counts with one chance in two.
        assert_eq!(hot.reads_error, 2.0 * 62_f64.sqrt());
        assert_eq!(hot.reads_per_second, Some(20.0));
        assert_eq!(hot.to_string(), "\"\\x01\\x00\": 60 ± 16 reads, 75.00 %, 20.0 in a second");
    }

    #[test]
    fn the_error_of_a_key_that_became_hot_late_is_that_of_the_present_turns() {
        let mut keys = hot_keys(0);
        (0..4_000).for_each(|_| count(&mut keys, 1, 1));
        (0..30).for_each(|_| count(&mut keys, 2, 200));
        let [late, early] = &hottest(&keys, 9, 10_000.0, 200)[..] else { panic!("two keys") };
        assert_eq!((&late.key[..], late.reads), (&[2, 0][..], 6_000.0));
        assert_eq!(late.reads_error, 2.0 * (6_200.0 * 199.0_f64).sqrt());
        assert!(early.reads_error > 0.0);
    }

    proptest! {
        #[test]
        fn a_count_is_too_large_by_its_floor_at_most(
            turns in proptest::collection::vec((0..300_u16, 1..50_u32), 1..2_000),
            bytes in 0..100_000_usize,
        ) {
            let mut keys = hot_keys(bytes);
            let mut truth = HashMap::new();
            for &(key, reads) in &turns {
                count(&mut keys, key, reads);
                *truth.entry(spread(u64::from(key))).or_insert(0.0) += f64::from(reads);
            }
            let mut guaranteed = 0.0;
            for set in &keys.sets {
                for place in (0..PLACES).filter(|&place| set.reads[place] > 0.0) {
                    let true_reads: f64 = truth[&set.hashes[place]];
                    prop_assert!(true_reads <= set.reads[place]);
                    prop_assert!(true_reads >= set.reads[place] - set.floors[place]);
                    guaranteed += set.reads[place] - set.floors[place];
                }
            }
            prop_assert!(guaranteed <= keys.reads);
            for hot in hottest(&keys, usize::MAX, keys.reads, 1) {
                prop_assert!(hot.share <= 1.0 && hot.reads <= keys.reads && hot.reads_error >= 0.0);
                prop_assert!(!hot.to_string().is_empty());
            }
        }
    }
}
