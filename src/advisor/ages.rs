//! [`Ages`]: how long entries stay in the cache, and how long they wait for their next read.

use core::fmt;
use core::time::Duration;

use crate::clock::TICK;
use crate::units::is_later;

/// The ages of entries of sampled keys. [`Cache::ages`](crate::Cache::ages) returns them.
///
/// They are counted since the cache was built. `Display` prints them in sentences.
///
/// The advisor follows a read or write a little later: at the next write to the shard, at the next
/// [`maintain`](crate::Cache::maintain), or when 32 events wait. It dates it by that time.
///
/// ```
/// use bytecache::{Advisor, Cache, ManualClock};
/// use std::time::Duration;
///
/// let clock = ManualClock::new();
/// let builder = Cache::builder().max_bytes(16 << 20).clock(clock.clone());
/// let cache = builder.advisor(Advisor::new().share(1.0)).build()?;
/// cache.insert("key", "value")?;
/// cache.maintain(); // The advisor follows the insert.
/// clock.advance(Duration::from_secs(90));
/// assert!(cache.get("key").is_some());
/// let ages = cache.ages();
/// assert_eq!((ages.idle_at_hit.count(), ages.at_eviction.count()), (1, 0));
/// assert_eq!(ages.idle_at_hit.total().as_secs(), 90);
/// println!("{ages}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ages {
    /// The times from the store of an entry to its eviction. If they are short, the cache turns
    /// over fast.
    pub at_eviction: AgeHistogram,
    /// The times from the last store or read of an entry to a read that hits it.
    pub idle_at_hit: AgeHistogram,
}

impl fmt::Display for Ages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sentences = [
            (&self.at_eviction, "evicted entries were younger than"),
            (&self.idle_at_hit, "hits were of entries that had been used within"),
        ];
        for (histogram, text) in sentences {
            for (percent, part) in [(50, 0.5), (90, 0.9)] {
                match histogram.quantile(part) {
                    None => {}
                    Some(Duration::MAX) => writeln!(f, "{percent} % of {text} more than {:?}.", AgeHistogram::LONGEST)?,
                    Some(bound) => writeln!(f, "{percent} % of {text} {bound:?}.")?,
                }
            }
        }
        match self.at_eviction.count() {
            0 => writeln!(f, "No eviction of a sampled key was seen."),
            _ => Ok(()),
        }
    }
}

/// A histogram of times, in classes that double. [`Ages`] has two.
///
/// ```
/// use bytecache::AgeHistogram;
/// use std::time::Duration;
///
/// let histogram = AgeHistogram::default();
/// let bounds: Vec<Duration> = histogram.histogram().map(|(bound, _count)| bound).collect();
/// assert_eq!(bounds[..2], [Duration::from_millis(16), Duration::from_millis(32)]);
/// assert_eq!(bounds.last(), Some(&Duration::MAX));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgeHistogram {
    ticks: u64,
    counts: [u64; Self::CLASSES],
}

impl AgeHistogram {
    /// The number of classes. The last one has no upper bound, and begins at 12 days.
    const CLASSES: usize = 28;
    const LONGEST: Duration = Duration::from_millis(16 << (Self::CLASSES - 2));

    /// Returns the histogram: each item is an upper bound, and the number of times below it.
    ///
    /// A time is counted once, below the smallest bound that is longer. The bounds go from 16 ms to
    /// 12.4 days, each twice the one before. The last item has no bound: it is [`Duration::MAX`].
    ///
    /// ```
    /// use bytecache::AgeHistogram;
    ///
    /// let histogram = AgeHistogram::default();
    /// assert!(histogram.histogram().all(|(_bound, count)| count == 0));
    /// ```
    pub fn histogram(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        self.counts.iter().enumerate().map(|(class, &count)| (Self::bound(class), count))
    }

    /// Returns the number of times.
    ///
    /// ```
    /// use bytecache::AgeHistogram;
    ///
    /// assert_eq!(AgeHistogram::default().count(), 0);
    /// ```
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns the sum of all times, each in whole ticks of 16 ms.
    ///
    /// ```
    /// use bytecache::AgeHistogram;
    /// use std::time::Duration;
    ///
    /// assert_eq!(AgeHistogram::default().total(), Duration::ZERO);
    /// ```
    #[must_use]
    pub fn total(&self) -> Duration {
        let nanos = u128::from(self.ticks) * TICK.as_nanos();
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Returns a quantile: the smallest bound with at least this part of the times below it.
    ///
    /// Returns `None` if there are no times. It is [`Duration::MAX`] if only the last class has as
    /// many.
    ///
    /// Parts outside of 0 to 1 are cut to it.
    ///
    /// ```
    /// use bytecache::AgeHistogram;
    ///
    /// assert_eq!(AgeHistogram::default().quantile(0.5), None);
    /// ```
    #[must_use]
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let count = self.count();
        let (mut below, wanted) = (0, part.clamp(0.0, 1.0) * count as f64);
        let reached = self.histogram().find(|&(_, count)| {
            below += count;
            below > 0 && below as f64 >= wanted
        });
        reached.map(|(bound, _)| bound)
    }

    /// Adds the time from one tick to another. It is 0 if the clock went back.
    pub(super) fn add_since(&mut self, then: u32, now: u32) {
        self.add(if is_later(then, now) { 0 } else { now.wrapping_sub(then) });
    }

    /// Adds a time in ticks.
    fn add(&mut self, ticks: u32) {
        self.ticks = self.ticks.saturating_add(u64::from(ticks));
        let class = (u32::BITS - ticks.leading_zeros()) as usize;
        self.counts[class.min(Self::CLASSES - 1)] += 1;
    }

    /// Returns the upper bound of a class.
    fn bound(class: usize) -> Duration {
        if class + 1 < Self::CLASSES { TICK * (1 << class) } else { Duration::MAX }
    }
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_below_the_bound_of_its_class_and_not_below_the_one_before() {
        for (ticks, bound) in [(0, TICK), (1, TICK * 2), (2, TICK * 4), (3, TICK * 4), (4, TICK * 8)] {
            let mut histogram = AgeHistogram::default();
            histogram.add(ticks);
            assert_eq!(histogram.quantile(1.0), Some(bound), "{ticks}");
            assert_eq!((histogram.count(), histogram.total()), (1, TICK * ticks));
        }
        let mut histogram = AgeHistogram::default();
        for ticks in [(1 << 26) - 1, 1 << 26, u32::MAX] {
            histogram.add(ticks);
        }
        let last: Vec<_> = histogram.histogram().skip(26).collect();
        assert_eq!(last, [(AgeHistogram::LONGEST, 1), (Duration::MAX, 2)]);
    }

    #[test]
    fn a_quantile_is_the_bound_below_which_the_part_is() {
        let mut ages = Ages::default();
        for (ticks, times) in [(0, 5), (100, 4), (u32::MAX, 1)] {
            (0..times).for_each(|_| ages.at_eviction.add(ticks));
        }
        let histogram = ages.at_eviction;
        let quantiles =
            [-1.0, 0.5, 0.51, 0.9, 0.91, 7.0].map(|part| histogram.quantile(part).expect("there are times"));
        assert_eq!(quantiles, [TICK, TICK, TICK * 128, TICK * 128, Duration::MAX, Duration::MAX]);
        assert!(histogram.quantile(f64::NAN).is_none_or(|bound| bound == Duration::MAX));
        assert_eq!(
            ages.to_string(),
            "50 % of evicted entries were younger than 16ms.\n90 % of evicted entries were younger than 2.048s.\n"
        );
        assert_eq!(Ages::default().to_string(), "No eviction of a sampled key was seen.\n");
    }
}
