//! What holds for all loads of a [`Loader`](super::Loader); the defaults are those of a load without one.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::time::Instant;

use super::{IntoLoaded, Loaded};
use crate::expiry::{Lifetime, Remaining};

/// How long after a refresh that failed the next one is tried, by default.
const RETRY: Duration = Duration::from_secs(1);

/// Half of the longest refresh, so that one that was put off is told from one that never was near.
const LONGEST_RETRY: Duration = Duration::from_secs(90 * 24 * 3600);

#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// What values get that do not come with a lifetime.
    pub(super) lifetime: Lifetime,
    /// How long it is remembered that there is nothing.
    pub(super) negative_ttl: Duration,
    pub(super) error_ttl: Option<Duration>,
    pub(super) serves_stale_on_error: bool,
    pub(super) wait_limit: Option<Duration>,
    /// XFetch's beta, above zero.
    pub(super) early: Option<f64>,
}

impl Rules {
    pub(super) const DEFAULT: Self = Self {
        lifetime: Lifetime::new(),
        negative_ttl: Duration::ZERO,
        error_ttl: None,
        serves_stale_on_error: false,
        wait_limit: None,
        early: None,
    };

    /// What is to be stored: a value and its lifetime, or the lifetime of an entry for nothing.
    pub(super) fn settle<V: IntoLoaded>(&self, loaded: V) -> Result<(V::Value, Lifetime), Lifetime> {
        match loaded.into_loaded() {
            Loaded::Value(value) => Ok((value, self.lifetime)),
            Loaded::ValueFor(value, lifetime) => Ok((value, lifetime.or(self.lifetime))),
            Loaded::Absent => Err(Lifetime::negative(self.negative_ttl)),
            Loaded::AbsentFor(ttl) => Err(Lifetime::negative(ttl)),
        }
    }

    /// How long a failure is remembered.
    pub(super) fn error_ttl(&self) -> Option<Duration> {
        self.error_ttl.filter(|ttl| !ttl.is_zero()).map(|ttl| ttl.min(LONGEST_RETRY))
    }

    /// How long after a refresh began the next one may, if it did not succeed.
    pub(super) fn retry(&self) -> Duration {
        self.error_ttl().unwrap_or(RETRY)
    }

    /// Until when a call that begins now waits for others.
    pub(super) fn wait_until(&self) -> Option<Instant> {
        // Later than an `Instant` can say is without a limit.
        self.wait_limit.and_then(|limit| Instant::now().checked_add(limit))
    }
}

/// How long loads took of late, for [`is_early`](Self::is_early).
#[derive(Debug, Default)]
pub(super) struct LoadCost {
    nanos: AtomicU64,
}

impl LoadCost {
    /// Notes a load; the last eight or so make up most of the mean.
    pub(super) fn note(&self, time: Duration) {
        let new = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        // A load that two threads note at once counts for one of them: it is an estimate.
        let mean = self.nanos.load(Ordering::Relaxed);
        let next = if mean == 0 { new } else { mean - mean / 8 + new / 8 };
        self.nanos.store(next, Ordering::Relaxed);
    }

    /// Whether an entry with so much time left is to be loaded anew already, by a `chance` from 0 to 1, uniform.
    ///
    /// XFetch, of "Optimal Probabilistic Cache Stampede Prevention", Vattani, Chierichetti and Lowenstein, VLDB 2015: if the
    /// time that a load takes, times beta, times an exponentially distributed number with mean 1, reaches the deadline.
    pub(super) fn is_early(&self, beta: f64, left: Remaining, chance: f64) -> bool {
        let Remaining::For(left) = left else { return false };
        let cost = self.nanos.load(Ordering::Relaxed) as f64;
        cost * beta * -chance.max(f64::MIN_POSITIVE).ln() >= left.as_nanos() as f64
    }
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn early_refreshes_come_as_often_as_the_paper_says() {
        let cost = LoadCost::default();
        cost.note(Duration::from_millis(10));
        let shares = |beta, left| {
            let early = (0..10_000).filter(|n| cost.is_early(beta, left, (f64::from(*n) + 0.5) / 10_000.0)).count();
            early as f64 / 10_000.0
        };
        // With probability exp(-left / (cost * beta)).
        for (beta, millis, expected) in [(1.0, 10, 0.3679), (1.0, 50, 0.0067), (2.0, 50, 0.0821), (1.0, 0, 1.0)] {
            let share: f64 = shares(beta, Remaining::For(Duration::from_millis(millis)));
            assert!((share - expected).abs() < 0.001, "{share} at {millis} ms");
        }
        assert!(shares(100.0, Remaining::Forever) == 0.0);
    }

    #[test]
    fn the_cost_of_loads_follows_what_they_take() {
        let cost = LoadCost::default();
        cost.note(Duration::from_nanos(100));
        assert_eq!(cost.nanos.load(Ordering::Relaxed), 100);
        (0..100).for_each(|_| cost.note(Duration::from_nanos(100_000)));
        let mean = cost.nanos.load(Ordering::Relaxed);
        assert!((99_000..=100_000).contains(&mean), "{mean}");
    }
}
