//! Early refreshes: entries are loaded again before their deadline, at random.
//!
//! This is XFetch, of "Optimal Probabilistic Cache Stampede Prevention" (Vattani, Chierichetti,
//! Lowenstein, VLDB 2015). A read of an entry refreshes it if
//!
//! ```text
//!   cost * beta * -ln(chance) >= time until the deadline
//! ```
//!
//! `cost` is the time that a load takes, and `chance` a uniform random number from 0 to 1. So
//! `-ln(chance)` is exponentially distributed with mean 1, and the probability of a refresh is
//! `exp(-left / (cost * beta))`.
//!
//! # Synchronization
//!
//! The mean is Relaxed: it is an estimate, and orders nothing. If two threads record a load at the
//! same time, one of the two may be lost.

use core::cell::Cell;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use crate::expiry::Remaining;

/// A running mean of the time that loads take, for [`is_early`](Self::is_early).
#[derive(Debug, Default)]
pub(super) struct LoadCost {
    /// The mean, or 0 before the first load.
    nanos: AtomicU64,
}

impl LoadCost {
    /// Adds the time of a load. About the last eight loads make up most of the mean.
    pub(super) fn record(&self, time: Duration) {
        let new = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let mean = self.nanos.load(Ordering::Relaxed);
        let next = if mean == 0 { new } else { mean - mean / 8 + new / 8 };
        self.nanos.store(next, Ordering::Relaxed);
    }

    /// Returns `true` if an entry with this time left is refreshed by a read that drew `chance`.
    pub(super) fn is_early(&self, beta: f64, left: Remaining, chance: f64) -> bool {
        let Remaining::For(left) = left else { return false };
        let cost = self.nanos.load(Ordering::Relaxed) as f64;
        cost * beta * -chance.max(f64::MIN_POSITIVE).ln() >= left.as_nanos() as f64
    }
}

/// Returns a uniform random number from 0 to 1, a different one for each call.
pub(super) fn chance() -> f64 {
    thread_local! {
        static CHANCE: (ahash::RandomState, Cell<u64>) = (ahash::RandomState::new(), Cell::new(0));
    }
    let draw = |(state, count): &(ahash::RandomState, Cell<u64>)| {
        count.set(count.get() + 1);
        state.hash_one(count.get()) as f64 / u64::MAX as f64
    };
    // A thread that ends has no state left. With 1, nothing is refreshed early.
    CHANCE.try_with(draw).unwrap_or(1.0)
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn early_refreshes_are_as_frequent_as_in_the_paper() {
        let cost = LoadCost::default();
        cost.record(Duration::from_millis(10));
        let share_of_early = |beta, left| {
            let early = (0..10_000).filter(|n| cost.is_early(beta, left, (f64::from(*n) + 0.5) / 10_000.0)).count();
            early as f64 / 10_000.0
        };
        // The probability is exp(-left / (cost * beta)).
        for (beta, millis, expected) in [(1.0, 10, 0.3679), (1.0, 50, 0.0067), (2.0, 50, 0.0821), (1.0, 0, 1.0)] {
            let share: f64 = share_of_early(beta, Remaining::For(Duration::from_millis(millis)));
            assert!((share - expected).abs() < 0.001, "{share} at {millis} ms");
        }
        assert!(share_of_early(100.0, Remaining::Forever) == 0.0);
    }

    #[test]
    fn the_cost_of_loads_follows_their_times() {
        let cost = LoadCost::default();
        cost.record(Duration::from_nanos(100));
        assert_eq!(cost.nanos.load(Ordering::Relaxed), 100);
        (0..100).for_each(|_| cost.record(Duration::from_nanos(100_000)));
        let mean = cost.nanos.load(Ordering::Relaxed);
        assert!((99_000..=100_000).contains(&mean), "{mean}");
    }
}
