//! From sums over sampled keys to ratios of the whole cache.
//!
//! The misses of sampled keys, times one over the share that was sampled, estimate the misses of
//! all keys. But the sample may have more or fewer keys than its share, and it may lack a key that
//! is read very often. Two corrections use numbers that are known exactly:
//!
//! 1. The reads of the whole cache, instead of those of sampled keys, are the divisor. This is
//!    SHARDS-adj: a key that is read very often hits in any case.
//! 2. The cache itself is a shadow of which all misses are known. If the sampled keys missed more
//!    often in the cache than their share of its misses, they did so in the shadows, too:
//!
//! ```text
//!   misses = sampled misses of the shadow / share + (misses - sampled misses / share) of the cache
//! ```
//!
//! This is the difference estimator of survey sampling (Cochran, Sampling Techniques, 1977).
//!
//! The same holds for bytes. The bytes that the cache read are its hits and its misses, each times
//! their mean charge. The sample lacks most keys that are read very often, so its hits may have
//! another mean charge than all hits. Theirs comes from a sample of reads: see `charges.rs`.
//!
//! # Errors
//!
//! The bound is twice the standard error, which the differences between groups of keys show. To it
//! come the error of the shadow's size, since the sampled keys fill a share of the memory that is
//! not exactly theirs, and [`ROUNDING`]. For bytes, the error of the mean charge of hits is added.

use super::charges::MeanCharge;
use super::tally::{GROUPS, Groups, Tally};

/// The standard errors in a bound.
const STANDARD_ERRORS: f64 = 2.0;
/// The error of a shadow that samples all keys: its policy has parameters that depend on the number
/// of ids, and the cache has shards.
const ROUNDING: f64 = 0.005;

/// A ratio, and the most by which it is probably wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Estimate {
    pub(super) ratio: f64,
    pub(super) error: f64,
}

/// The facts that all estimates of misses need.
pub(super) struct Population {
    /// Reads, and those among them that missed, in the whole cache.
    pub(super) reads: f64,
    pub(super) misses: f64,
    /// The number of events for each one that was not dropped.
    pub(super) dropped_factor: f64,
    /// The share of keys that are sampled.
    pub(super) share: f64,
    /// The mean charge of the reads that hit in the whole cache, if it is known.
    pub(super) charge_of_hits: Option<MeanCharge>,
}

/// Returns the misses of a shadow for each read. `live` has those of sampled keys in the cache.
pub(super) fn miss_ratio(missed: &Groups, live: &Groups, of: &Population) -> Estimate {
    let differences = core::array::from_fn(|group| (missed[group] - live[group]) * of.dropped_factor);
    let misses = of.misses + sum(&differences);
    let error = STANDARD_ERRORS * standard_error(&differences, of.share);
    Estimate { ratio: ratio(misses, of.reads), error: unit(error / of.reads) }
}

/// Returns the bytes that a shadow missed for each byte that was read.
///
/// The bytes that the whole cache read are not counted. Its hits have the mean charge that reads
/// with a turn have shown, and its misses that of the misses of sampled keys. If the mean charge of
/// hits is unknown, it is that of sampled keys. Then it may be anything up to twice that, which is
/// part of the error.
pub(super) fn byte_miss_ratio(missed: &Groups, sample: &Tally, of: &Population) -> Estimate {
    let live: Groups = core::array::from_fn(|group| sample.read_bytes[group] - sample.hit_bytes[group]);
    let live_misses = sum(&sample.live_missed);
    let of_sample = quotient(sum(&sample.hit_bytes), sum(&sample.reads) - live_misses);
    let hit = of.charge_of_hits.unwrap_or(MeanCharge { bytes: of_sample, error: of_sample });
    let hits = of.reads - of.misses;
    let mean_miss = quotient(sum(&live), live_misses);
    let missed_by_cache = of.misses * mean_miss;
    let read_sum = hits * hit.bytes + missed_by_cache;
    let difference = (sum(missed) - sum(&live)) * of.dropped_factor;
    let ratio = ratio(missed_by_cache + difference, read_sum);
    // The misses of the cache are in both parts of the ratio.
    let factor = (1.0 - ratio) * quotient(of.misses, live_misses);
    let differences = core::array::from_fn(|group| {
        let of_charges = live[group] - mean_miss * sample.live_missed[group];
        (missed[group] - live[group]) * of.dropped_factor + factor * of_charges
    });
    let error_of_sample = STANDARD_ERRORS * standard_error(&differences, of.share);
    let error_of_hits = ratio * hits * hit.error;
    Estimate { ratio, error: unit((error_of_sample + error_of_hits) / read_sum) }
}

/// Returns the error of a ratio that comes from the error of the shadow's size, and the rounding.
/// `slope` is the change of the ratio for a size that is larger by a factor of e.
///
/// Of the entries that fit into a shadow, a sample has a number that varies by its root.
pub(super) fn size_error(slope: f64, entries: usize, share: f64) -> f64 {
    STANDARD_ERRORS * slope.abs() * ((1.0 - share) / entries.max(1) as f64).sqrt() + ROUNDING
}

/// Returns the standard error of the sum over all groups, of which a share of keys was sampled.
fn standard_error(groups: &Groups, share: f64) -> f64 {
    let count = GROUPS as f64;
    let mean = sum(groups) / count;
    let squares: f64 = groups.iter().map(|group| (group - mean) * (group - mean)).sum();
    (squares * count / (count - 1.0) * (1.0 - share)).sqrt()
}

fn sum(groups: &Groups) -> f64 {
    groups.iter().sum()
}

/// Returns a ratio from 0 to 1, and 0 for one of nothing.
fn ratio(part: f64, whole: f64) -> f64 {
    unit(quotient(part, whole))
}

/// Returns a quotient, and 0 for one of nothing.
fn quotient(sum: f64, count: f64) -> f64 {
    if count > 0.0 { sum / count } else { 0.0 }
}

/// Returns a number from 0 to 1.
fn unit(number: f64) -> f64 {
    if number.is_nan() { 1.0 } else { number.clamp(0.0, 1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POPULATION: Population =
        Population { reads: 6_400.0, misses: 640.0, dropped_factor: 1.0, share: 0.1, charge_of_hits: None };

    #[test]
    fn a_shadow_that_misses_as_the_cache_did_has_its_ratio_whatever_the_sample() {
        let live = core::array::from_fn(|group| group as f64);
        let estimate = miss_ratio(&live, &live, &POPULATION);
        assert_eq!(estimate, Estimate { ratio: 0.1, error: 0.0 });
    }

    #[test]
    fn a_difference_counts_and_one_between_groups_is_the_error() {
        let (live, missed) = ([10.0; GROUPS], [20.0; GROUPS]);
        assert_eq!(miss_ratio(&missed, &live, &POPULATION), Estimate { ratio: 0.2, error: 0.0 });
        let missed = core::array::from_fn(|group| if group % 2 == 0 { 10.0 } else { 30.0 });
        let Estimate { ratio, error } = miss_ratio(&missed, &live, &POPULATION);
        // The standard error of the sum is 80: the root of 64 groups times 10. The share that was
        // sampled lowers it.
        assert!((ratio - 0.2).abs() < 1e-9 && (error - 2.0 * 80.0 * 0.9_f64.sqrt() / 6_400.0).abs() < 5e-4, "{error}");
    }

    /// A sample of half of the reads: for each group, 40 hits of 100 bytes and 10 misses of 50.
    fn sample() -> Tally {
        Tally {
            reads: [50.0; GROUPS],
            live_missed: [10.0; GROUPS],
            read_bytes: [4_500.0; GROUPS],
            hit_bytes: [4_000.0; GROUPS],
            ..Tally::new(0)
        }
    }

    #[test]
    fn hits_of_all_keys_have_the_charge_that_turns_have_shown() {
        let charge_of_hits = Some(MeanCharge { bytes: 20.0, error: 1.0 });
        let all = Population { charge_of_hits, ..POPULATION };
        // For each group, the cache had 90 hits of 20 bytes and 10 misses of 50.
        let Estimate { ratio, error } = byte_miss_ratio(&[500.0; GROUPS], &sample(), &all);
        assert!((ratio - 500.0 / 2_300.0).abs() < 1e-9, "{ratio}");
        assert!((error - ratio * 90.0 / 2_300.0).abs() < 1e-9, "{error}");
        // A shadow that missed more, or less, did so in the cache, too.
        for missed in [300.0, 900.0] {
            let ratio = byte_miss_ratio(&[missed; GROUPS], &sample(), &all).ratio;
            assert!((ratio - missed / 2_300.0).abs() < 1e-9, "{ratio}");
        }
    }

    #[test]
    fn hits_of_an_unknown_charge_have_that_of_the_sample_and_an_error_as_large() {
        let Estimate { ratio, error } = byte_miss_ratio(&[500.0; GROUPS], &sample(), &POPULATION);
        assert!((ratio - 500.0 / 9_500.0).abs() < 1e-9, "{ratio}");
        assert!((error - ratio * 9_000.0 / 9_500.0).abs() < 1e-9, "{error}");
    }

    #[test]
    fn a_sample_with_fewer_misses_than_its_share_has_the_byte_ratio_of_the_cache() {
        let all =
            Population { misses: 1_280.0, charge_of_hits: Some(MeanCharge { bytes: 50.0, error: 0.0 }), ..POPULATION };
        let Estimate { ratio, error } = byte_miss_ratio(&[500.0; GROUPS], &sample(), &all);
        assert!((ratio - 0.2).abs() < 1e-9 && error < 1e-9, "{ratio} {error}");
    }

    #[test]
    fn ratios_of_nothing_are_defined() {
        let nothing = Population { reads: 0.0, misses: 0.0, share: 0.0, ..POPULATION };
        let none = [0.0; GROUPS];
        for estimate in [miss_ratio(&none, &none, &nothing), byte_miss_ratio(&none, &Tally::new(0), &nothing)] {
            assert_eq!(estimate.ratio, 0.0);
            assert!((0.0..=1.0).contains(&estimate.error));
        }
    }
}
