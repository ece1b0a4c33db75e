//! [`Advice`]: the answers of the advisor.

use core::fmt;

use super::charges::MeanCharge;
use super::config::{PRESENT, ShadowRow};
use super::engine::{Engine, part_of};
use super::estimate::{Population, byte_miss_ratio, miss_ratio, size_error};
use super::tally::GROUPS;
use super::window::Seen;

/// The gain in hits below which more memory is not worth it, as a share of all reads.
const FLAT: f64 = 0.01;
/// The sampled keys and their reads below which an answer would be chance: one key for each group
/// whose differences show the error, and a thousand reads.
const LEAST_KEYS: usize = GROUPS;
const LEAST_READS: f64 = 1_000.0;

/// Estimates of the hit ratio of a cache with other policies and other sizes.
/// [`Cache::advice`](crate::Cache::advice) returns it.
///
/// `Display` prints the advice in sentences, and `{:#}` prints a table after them.
///
/// ```
/// use bytecache::{Advisor, Cache};
///
/// let advisor = Advisor::new().share(0.5);
/// let cache = Cache::builder().max_bytes(16 << 20).advisor(advisor).build()?;
/// // A loop over twice as many bytes as the cache has.
/// for step in 0..300_000_u32 {
///     let key = (step % 100_000).to_le_bytes();
///     if cache.get(key).is_none() {
///         cache.insert(key, [0; 300])?;
///     }
/// }
/// let advice = cache.advice().ok_or("there were reads")?;
/// let larger = advice.curve().last().ok_or("the largest size")?;
/// assert_eq!(larger.size_percent, 400);
/// assert!(larger.hit_ratio > advice.live_hit_ratio + 0.2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Advice {
    /// The cache's own hit ratio in the window, from 0 to 1.
    pub live_hit_ratio: f64,
    /// The reads in the window. Older ones count less, so this is no whole number.
    pub reads: f64,
    /// The reads of sampled keys in the window.
    pub sampled_reads: f64,
    /// The share of keys that are sampled at present, from 0 to 1.
    pub share: f64,
    /// The sampled keys that are followed at present.
    pub sampled_keys: usize,
    /// Operations on sampled keys in the window of which the advisor did not learn: threads
    /// reported some at the same time, or a write reported more than the queue of its shard takes.
    pub dropped: f64,
    /// The reads among the operations that were dropped.
    pub dropped_reads: f64,
    /// The sizes of the present policy in ascending order, then the other policies.
    pub rows: Vec<AdvisedRow>,
}

/// A policy at some size, and what it would do.
///
/// ```
/// use bytecache::{Advisor, Cache};
///
/// let cache = Cache::builder().max_bytes(64 << 20).advisor(Advisor::new()).build()?;
/// cache.get("key");
/// let advice = cache.advice().ok_or("there was a read")?;
/// for row in &advice.rows {
///     let (ratio, error) = (row.hit_ratio, row.hit_ratio_error);
///     println!("{} with {} bytes: {ratio:.3} ± {error:.3}", row.policy, row.max_bytes);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AdvisedRow {
    /// The name of the policy with its parameters, or `custom`.
    pub policy: String,
    /// The size in percent of that of the cache.
    pub size_percent: u32,
    /// The [`max_bytes`](crate::CacheBuilder::max_bytes) of a cache of this size.
    pub max_bytes: usize,
    /// The sum of the charges of entries that such a cache holds, in bytes: what
    /// [`simulate`](crate::policy::simulate) takes as a capacity.
    pub capacity: u64,
    /// The hits for each read, from 0 to 1.
    pub hit_ratio: f64,
    /// The most by which `hit_ratio` is probably wrong: in 19 of 20 cases.
    pub hit_ratio_error: f64,
    /// The bytes of hits for each byte that was read, from 0 to 1. A miss counts with the charge of
    /// the entry that is stored after it. A miss of an unknown key after which nothing is stored
    /// counts no bytes.
    pub byte_hit_ratio: f64,
    /// The most by which `byte_hit_ratio` is probably wrong: in 19 of 20 cases.
    pub byte_hit_ratio_error: f64,
    is_of_curve: bool,
    /// The most by which the difference to the hits of the largest size of the curve is probably
    /// wrong.
    gain_error: f64,
}

impl Advice {
    /// Returns the advice, or `None` if there was no read.
    pub(super) fn of(
        engine: &Engine,
        rows: &[ShadowRow],
        seen: &Seen,
        charge_of_hits: Option<MeanCharge>,
        max_bytes: usize,
    ) -> Option<Self> {
        let reads = seen.hits + seen.misses;
        if reads <= 0.0 {
            return None;
        }
        let sampled = engine.tally.sampled;
        let population = Population {
            reads,
            misses: seen.misses,
            dropped_factor: if sampled > 0.0 { (sampled + seen.dropped_reads) / sampled } else { 1.0 },
            share: engine.share(),
            charge_of_hits,
        };
        let largest = rows.iter().rposition(|row| row.is_of_curve).unwrap_or(0);
        let row = |(number, row)| AdvisedRow {
            gain_error: gain_error(engine, number, largest, &population),
            ..AdvisedRow::of(engine, number, row, &population, max_bytes)
        };
        let mut advice = Self {
            live_hit_ratio: seen.hits / reads,
            reads,
            sampled_reads: sampled,
            share: population.share,
            sampled_keys: engine.len(),
            dropped: seen.dropped,
            dropped_reads: seen.dropped_reads,
            rows: rows.iter().enumerate().map(row).collect(),
        };
        match advice.has_enough_keys() {
            true => advice.add_errors_of_size(engine, population.share),
            false => advice.rows.iter_mut().for_each(AdvisedRow::know_nothing),
        }
        Some(advice)
    }

    fn has_enough_keys(&self) -> bool {
        self.sampled_keys >= LEAST_KEYS && self.sampled_reads >= LEAST_READS
    }

    /// Adds the errors that come from those of the shadows' sizes.
    fn add_errors_of_size(&mut self, engine: &Engine, share: f64) {
        let curve: Vec<_> = self.curve().cloned().collect();
        for (number, row) in self.rows.iter_mut().enumerate() {
            let error = |ratio: fn(&AdvisedRow) -> f64| {
                size_error(slope_at(&curve, row.size_percent, ratio), engine.len_of(number), share)
            };
            let errors = [error(|row| row.hit_ratio), error(|row| row.byte_hit_ratio)];
            row.hit_ratio_error = (row.hit_ratio_error + errors[0]).min(1.0);
            row.byte_hit_ratio_error = (row.byte_hit_ratio_error + errors[1]).min(1.0);
        }
    }

    /// Returns the rows of the present policy, by ascending size.
    ///
    /// ```
    /// use bytecache::{Advisor, Cache};
    ///
    /// let cache = Cache::builder().max_bytes(64 << 20).advisor(Advisor::new()).build()?;
    /// cache.get("key");
    /// let advice = cache.advice().ok_or("there was a read")?;
    /// assert!(advice.curve().all(|row| row.policy == "adaptive"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn curve(&self) -> impl Iterator<Item = &AdvisedRow> {
        self.rows.iter().filter(|row| row.is_of_curve)
    }

    /// Returns the rows of other policies at the present size.
    ///
    /// ```
    /// use bytecache::{Advisor, Cache};
    ///
    /// let cache = Cache::builder().max_bytes(64 << 20).advisor(Advisor::new()).build()?;
    /// cache.get("key");
    /// let advice = cache.advice().ok_or("there was a read")?;
    /// assert!(advice.other_policies().any(|row| row.policy == "lru"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn other_policies(&self) -> impl Iterator<Item = &AdvisedRow> {
        self.rows.iter().filter(|row| !row.is_of_curve)
    }

    /// Returns the row of the present policy at the present size.
    ///
    /// Its hit ratio is an estimate as well. It may differ from
    /// [`live_hit_ratio`](Self::live_hit_ratio), which is counted: the cache has shards, and was
    /// not always as large as it is. Compare other rows with this one.
    ///
    /// ```
    /// use bytecache::{Advisor, Cache};
    ///
    /// let cache = Cache::builder().max_bytes(64 << 20).advisor(Advisor::new()).build()?;
    /// cache.get("key");
    /// let advice = cache.advice().ok_or("there was a read")?;
    /// assert_eq!(advice.present().map(|row| row.max_bytes), Some(64 << 20));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn present(&self) -> Option<&AdvisedRow> {
        self.curve().find(|row| row.size_percent == PRESENT)
    }

    /// Returns the size at which the curve flattens: the smallest one that comes within one point
    /// of the best hit ratio, errors included.
    ///
    /// Returns `None` if only the largest size is left, or if fewer than 64 keys or 1,000 reads
    /// were sampled.
    ///
    /// ```
    /// use bytecache::{Advisor, Cache};
    ///
    /// let cache = Cache::builder().max_bytes(64 << 20).advisor(Advisor::new()).build()?;
    /// cache.get("key");
    /// let advice = cache.advice().ok_or("there was a read")?;
    /// assert_eq!(advice.flattens_at(), None); // One read says nothing.
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn flattens_at(&self) -> Option<&AdvisedRow> {
        if !self.has_enough_keys() {
            return None;
        }
        let most = self.curve().map(|row| row.hit_ratio).fold(0.0, f64::max);
        let largest = self.curve().last()?;
        self.curve().find(|row| most - row.hit_ratio + row.gain_error < FLAT).filter(|&row| row != largest)
    }

    /// Returns the other policy that hits most, if it hits more than the present one by more than
    /// the larger of their errors.
    ///
    /// Returns `None` if fewer than 64 keys or 1,000 reads were sampled.
    ///
    /// ```
    /// use bytecache::{Advisor, Cache};
    ///
    /// let cache = Cache::builder().max_bytes(64 << 20).advisor(Advisor::new()).build()?;
    /// cache.get("key");
    /// let advice = cache.advice().ok_or("there was a read")?;
    /// assert_eq!(advice.better_policy(), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn better_policy(&self) -> Option<&AdvisedRow> {
        if !self.has_enough_keys() {
            return None;
        }
        let present = self.present()?;
        let best = self.other_policies().max_by(|left, right| left.hit_ratio.total_cmp(&right.hit_ratio))?;
        let error = best.hit_ratio_error.max(present.hit_ratio_error);
        (best.hit_ratio > present.hit_ratio + error).then_some(best)
    }

    fn write_sentences(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(present) = self.present() else { return Ok(()) };
        if !self.has_enough_keys() {
            let (hit, reads) = (percent(self.live_hit_ratio), self.reads);
            writeln!(f, "{} hits {hit:.1} % of {reads:.0} reads.", present.policy)?;
            let (keys, reads) = (self.sampled_keys, self.sampled_reads);
            return writeln!(f, "There are too few sampled keys for advice: {keys}, with {reads:.0} reads.");
        }
        let hit = present.hit_ratio;
        writeln!(
            f,
            "{} hits {:.1} % of {:.0} reads ({:.1} % ± {:.1} by {} sampled keys).",
            present.policy,
            percent(self.live_hit_ratio),
            self.reads,
            percent(hit),
            percent(present.hit_ratio_error),
            self.sampled_keys,
        )?;
        match self.better_policy() {
            Some(row) => writeln!(
                f,
                "{} would hit {:.1} % ± {:.1} instead.",
                row.policy,
                percent(row.hit_ratio),
                percent(row.hit_ratio_error),
            )?,
            None if self.other_policies().next().is_none() => {}
            None => writeln!(f, "No other policy would hit more, beyond the error.")?,
        }
        for row in self.curve().filter(|row| row.size_percent != PRESENT) {
            let points = percent(row.hit_ratio - hit);
            match row.size_percent {
                size if size > PRESENT => write!(f, "{} % more memory: ", size - PRESENT)?,
                size => write!(f, "{} % less memory: ", PRESENT - size)?,
            }
            writeln!(f, "{points:+.1} points.")?;
        }
        match self.flattens_at() {
            Some(row) => writeln!(f, "More than {} bytes ({} %) hardly help.", row.max_bytes, row.size_percent),
            None if self.curve().all(|row| row.size_percent <= PRESENT) => Ok(()),
            None => writeln!(f, "More memory may help, up to the largest size that was simulated."),
        }
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_sentences(f)?;
        if f.alternate() {
            writeln!(f, "\n| policy | size | hit ratio | byte hit ratio |\n|---|---:|---:|---:|")?;
            for row in &self.rows {
                writeln!(
                    f,
                    "| {} | {} % | {:.1} % ± {:.1} | {:.1} % ± {:.1} |",
                    row.policy,
                    row.size_percent,
                    percent(row.hit_ratio),
                    percent(row.hit_ratio_error),
                    percent(row.byte_hit_ratio),
                    percent(row.byte_hit_ratio_error),
                )?;
            }
        }
        Ok(())
    }
}

impl AdvisedRow {
    /// Says that the ratios may be any.
    fn know_nothing(&mut self) {
        self.hit_ratio_error = 1.0;
        self.byte_hit_ratio_error = 1.0;
        self.gain_error = 1.0;
    }

    fn of(engine: &Engine, number: usize, row: &ShadowRow, population: &Population, max_bytes: usize) -> Self {
        let tally = &engine.tally;
        let shadow = &tally.shadows[number];
        let missed = miss_ratio(&shadow.missed, &tally.live_missed, population);
        let missed_bytes = byte_miss_ratio(&shadow.missed_bytes, tally, population);
        Self {
            policy: row.policy.name(),
            size_percent: row.size_percent,
            max_bytes: part_of(max_bytes as u64, row.size()).try_into().unwrap_or(usize::MAX),
            capacity: engine.full_capacity(number),
            hit_ratio: 1.0 - missed.ratio,
            hit_ratio_error: missed.error,
            byte_hit_ratio: 1.0 - missed_bytes.ratio,
            byte_hit_ratio_error: missed_bytes.error,
            is_of_curve: row.is_of_curve,
            gain_error: 1.0,
        }
    }
}

/// Returns the error of the difference between the hit ratios of two shadows. It is smaller than
/// those of both ratios, as they have the same sample.
fn gain_error(engine: &Engine, number: usize, largest: usize, population: &Population) -> f64 {
    let missed = |number: usize| &engine.tally.shadows[number].missed;
    miss_ratio(missed(number), missed(largest), population).error
}

fn percent(ratio: f64) -> f64 {
    ratio * 100.0
}

/// Returns the change of a ratio at a size of the curve for a size that is larger by a factor of e.
/// It is the steepest one beside that size.
fn slope_at(curve: &[AdvisedRow], size_percent: u32, ratio: fn(&AdvisedRow) -> f64) -> f64 {
    let beside = curve.windows(2).filter(|pair| pair.iter().any(|row| row.size_percent == size_percent));
    let slopes = beside.map(|pair| {
        let [smaller, larger] = [&pair[0], &pair[1]];
        let factor = f64::from(larger.size_percent) / f64::from(smaller.size_percent);
        (ratio(larger) - ratio(smaller)).abs() / factor.ln()
    });
    slopes.fold(0.0, f64::max)
}
