//! The window: the part of the cache's counters that the advice is about.
//!
//! All sums are halved once in each half-life, those of the cache and those of the shadows. So they
//! are about the same operations.

use core::time::Duration;

use crate::clock::to_nanos;

/// The counters of a cache: hits, misses, events that were dropped, reads among those, and the time
/// in nanoseconds.
pub(super) type Totals = [u64; 5];

/// The operations of the cache in the window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Seen {
    pub(super) hits: f64,
    pub(super) misses: f64,
    /// Events of which the shadows did not learn.
    pub(super) dropped: f64,
    /// Reads among these.
    pub(super) dropped_reads: f64,
    /// The time that has passed, in nanoseconds.
    pub(super) nanos: f64,
}

/// The counters of a cache, which age.
#[derive(Debug)]
pub(super) struct Window {
    /// The sums up to `last`, halved as often as time demands.
    sums: [f64; 5],
    last: Totals,
    halved_at: u64,
}

impl Window {
    /// Creates a window that begins at a time, in nanoseconds.
    pub(super) fn new(nanos: u64, totals: Totals) -> Self {
        Self { sums: [0.0; 5], last: totals, halved_at: nanos }
    }

    /// Ages the sums. Returns the factor by which other sums have to be multiplied, if half-lives
    /// have passed.
    pub(super) fn age(&mut self, nanos: u64, half_life: Duration, totals: impl FnOnce() -> Totals) -> Option<f64> {
        let half_life = to_nanos(half_life).max(1);
        let halvings = nanos.saturating_sub(self.halved_at) / half_life;
        if halvings == 0 {
            return None;
        }
        self.halved_at += halvings * half_life;
        let factor = 0.5_f64.powi(i32::try_from(halvings).unwrap_or(i32::MAX));
        let totals = totals();
        self.sums = self.sums_at(totals).map(|sum| sum * factor);
        self.last = totals;
        Some(factor)
    }

    /// Returns the operations of the cache.
    pub(super) fn seen(&self, totals: Totals) -> Seen {
        let [hits, misses, dropped, dropped_reads, nanos] = self.sums_at(totals);
        Seen { hits, misses, dropped, dropped_reads, nanos }
    }

    /// Returns the sums with what was added since. A clock that goes back adds no time.
    fn sums_at(&self, totals: Totals) -> [f64; 5] {
        core::array::from_fn(|count| self.sums[count] + totals[count].saturating_sub(self.last[count]) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const NANOS: u64 = 1_000_000_000;

    #[test]
    fn sums_halve_once_in_each_half_life_and_not_before() {
        let mut window = Window::new(5, [10, 0, 0, 0, 5]);
        assert_eq!(window.age(NANOS + 4, SECOND, || [100, 0, 0, 0, 7]), None);
        assert_eq!(
            window.seen([90, 8, 0, 0, 9]),
            Seen { hits: 80.0, misses: 8.0, dropped: 0.0, dropped_reads: 0.0, nanos: 4.0 }
        );
        assert_eq!(window.age(NANOS + 5, SECOND, || [90, 8, 0, 0, 9]), Some(0.5));
        assert_eq!(window.age(NANOS + 6, SECOND, || [90, 8, 0, 0, 9]), None);
        assert_eq!(
            window.seen([91, 8, 2, 2, 17]),
            Seen { hits: 41.0, misses: 4.0, dropped: 2.0, dropped_reads: 2.0, nanos: 10.0 }
        );
        assert_eq!(window.age(3 * NANOS + 5, SECOND, || [91, 8, 2, 2, 17]), Some(0.25));
        assert_eq!(
            window.seen([91, 8, 2, 2, 17]),
            Seen { hits: 10.25, misses: 1.0, dropped: 0.5, dropped_reads: 0.5, nanos: 2.5 }
        );
    }

    #[test]
    fn any_time_and_any_half_life_will_do() {
        let mut window = Window::new(NANOS, [0; 5]);
        assert_eq!(window.age(0, SECOND, || [0; 5]), None);
        assert_eq!(window.age(u64::MAX, Duration::ZERO, || [1; 5]), Some(0.0));
        assert_eq!(window.age(u64::MAX, Duration::MAX, || [1; 5]), None);
        assert_eq!(window.seen([1; 5]), Seen::default());
    }
}
