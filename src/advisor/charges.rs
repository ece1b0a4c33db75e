//! The mean charge of all hits, from the reads with the last turn of a batch.
//!
//! A sample of keys lacks most of the few keys that are read most, so the mean charge of its hits
//! may be far from that of all hits. Turns fall on reads, whatever their keys: see `turns.rs`.

/// The standard errors in a bound.
const STANDARD_ERRORS: f64 = 2.0;
/// The hits below which their mean is unknown: a few may all lack the largest charges.
const LEAST_HITS: f64 = 32.0;

/// A mean charge, and the most by which it is probably wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct MeanCharge {
    pub(super) bytes: f64,
    pub(super) error: f64,
}

/// The charges of some hits.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct HitCharges {
    /// The hits that those which were seen stand for, and the sum of their charges.
    hits: f64,
    bytes: f64,
    /// The variance of `hits` that comes from the choice of turns: its sum, and those of its
    /// products with the charge, and with the square of the charge.
    variances: [f64; 3],
}

impl HitCharges {
    /// Adds a hit that stands for `hits` of them.
    pub(super) fn add(&mut self, charge: u32, hits: u32) {
        let (charge, hits) = (f64::from(charge), f64::from(hits));
        self.hits += hits;
        self.bytes += hits * charge;
        // It does not vary if all reads have turns.
        let variance = hits * (hits - 1.0);
        let products = [variance, variance * charge, variance * charge * charge];
        self.variances.iter_mut().zip(products).for_each(|(sum, product)| *sum += product);
    }

    /// Multiplies all sums by `factor`.
    pub(super) fn scale(&mut self, factor: f64) {
        self.hits *= factor;
        self.bytes *= factor;
        self.variances.iter_mut().for_each(|sum| *sum *= factor * factor);
    }

    /// Returns the mean charge of all hits, or `None` if it is unknown.
    pub(super) fn mean(&self) -> Option<MeanCharge> {
        let [ones, charges, squares] = self.variances;
        // The sum of squares of the hits that each one stands for. So many hits that stand for the
        // same number would say as much.
        let of_each = ones + self.hits;
        if self.hits * self.hits < LEAST_HITS * of_each || of_each <= 0.0 {
            return None;
        }
        let mean = self.bytes / self.hits;
        // The differences of the charges from their mean, squared.
        let variance = (squares - 2.0 * mean * charges + mean * mean * ones).max(0.0);
        Some(MeanCharge { bytes: mean, error: STANDARD_ERRORS * variance.sqrt() / self.hits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_of_all_hits_is_exact_and_that_of_some_has_an_error() {
        let mut all = HitCharges::default();
        (0..100).for_each(|hit| all.add(if hit % 4 == 0 { 500 } else { 100 }, 1));
        assert_eq!(all.mean(), Some(MeanCharge { bytes: 200.0, error: 0.0 }));
        let mut some = HitCharges::default();
        (0..100).for_each(|hit| some.add(if hit % 4 == 0 { 500 } else { 100 }, 5));
        let MeanCharge { bytes, error } = some.mean().expect("there were hits");
        // The standard deviation of the charges is the root of 30,000.
        let expected = 2.0 * (30_000.0_f64 / 100.0).sqrt() * (4.0_f64 / 5.0).sqrt();
        assert!(bytes == 200.0 && (error - expected).abs() < 1e-9, "{bytes} {error} {expected}");
    }

    #[test]
    fn a_few_hits_have_no_mean() {
        let mut few = HitCharges::default();
        assert_eq!(few.mean(), None);
        (0..31).for_each(|_| few.add(100, 9));
        assert_eq!(few.mean(), None);
        // One that stands for as many as all others adds nothing.
        few.add(100, 31 * 9);
        assert_eq!(few.mean(), None);
        (0..31).for_each(|_| few.add(100, 300));
        assert_eq!(few.mean(), Some(MeanCharge { bytes: 100.0, error: 0.0 }));
    }

    #[test]
    fn older_hits_count_less() {
        let mut hits = HitCharges::default();
        (0..1_000).for_each(|_| hits.add(100, 2));
        let error = |hits: &HitCharges| hits.mean().map(|mean| mean.error);
        hits.add(300, 2);
        let before = error(&hits).expect("there were hits");
        hits.scale(0.5);
        assert!((error(&hits).expect("there were hits") - before).abs() < 1e-9);
        (0..1_000).for_each(|_| hits.add(400, 2));
        assert!((hits.mean().expect("there were hits").bytes - 300.0).abs() < 0.1);
    }
}
