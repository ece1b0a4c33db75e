//! What time it is: the system's coarse clock, or one that the user turns.
//!
//! The cache asks a [`Clock`] when it deals with an entry that has a deadline, and never otherwise. Clocks count from
//! any origin that stays the same; the cache only takes differences.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::sync::Arc;

/// The step of deadlines: an entry lives for at least as long as was asked, rounded up to the next of these.
pub const TICK: Duration = Duration::from_millis(16);

/// A source of time, to be given to [`CacheBuilder::clock`](crate::CacheBuilder::clock).
///
/// It is read on the hot path, by many threads at once, and by writers under a shard's lock: it must not use the cache, and if
/// it panics there, the shard is emptied. It may stand still, jump ahead or go back. Every move ahead counts for every
/// deadline, even where it only makes up for a move back.
pub trait Clock: Send + Sync {
    /// Time since some origin that stays the same.
    fn now(&self) -> Duration;

    /// By how much [`now`](Self::now) may lag behind the true time. Deadlines are later by as much, so that no entry
    /// expires early; and reads that see the clock late see them later again. Asked once for each cache.
    fn max_lag(&self) -> Duration {
        Duration::ZERO
    }
}

/// The default: the system's coarse monotonic clock (`CLOCK_MONOTONIC_COARSE` on Linux).
///
/// It moves on every few milliseconds and costs about 6 ns to read, where `std::time::Instant` costs 23 ns (`cargo bench
/// --bench expiry`). It does not count the time for which the machine is suspended.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[inline]
    fn now(&self) -> Duration {
        Duration::from_nanos(system_nanos())
    }

    /// One [`TICK`]: Linux moves the clock every 10 ms at least, Windows every 15.6 ms.
    fn max_lag(&self) -> Duration {
        TICK
    }
}

#[inline]
fn system_nanos() -> u64 {
    // The one that does not share its result with other threads, through a word that all of them would write.
    let now = coarsetime::Instant::now_without_cache_update();
    coarsetime::Duration::from_ticks(now.as_ticks()).as_nanos()
}

/// A clock that moves only when it is told to, for tests. Clones are the same clock.
///
/// ```
/// use std::time::Duration;
/// use bytecache::{Cache, ManualClock, TICK};
///
/// let clock = ManualClock::new();
/// let cache = Cache::builder().max_bytes(1 << 20).clock(clock.clone()).build()?;
/// cache.insert_with_ttl("key", "value", Duration::from_secs(60))?;
/// clock.advance(Duration::from_secs(60) - TICK);
/// assert!(cache.get("key").is_some());
/// clock.advance(2 * TICK);
/// assert!(cache.get("key").is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ManualClock {
    /// Not a loom atomic, so that it works without a model: a single word that orders nothing.
    nanos: Arc<AtomicU64>,
}

impl ManualClock {
    /// A clock that stands at zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the clock ahead; it stops at its end, after 584 years.
    pub fn advance(&self, by: Duration) {
        // Ends: a failure means that another thread has moved the clock.
        let _ = self
            .nanos
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |nanos| Some(nanos.saturating_add(to_nanos(by))));
    }

    /// Sets the clock, forward or back.
    pub fn set(&self, to: Duration) {
        self.nanos.store(to_nanos(to), Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }
}

/// Nanoseconds; no more than there are in 584 years.
#[inline]
pub(crate) fn to_nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The clock of one cache.
#[derive(Clone)]
pub(crate) enum ClockSource {
    System,
    Custom(Arc<dyn Clock>),
}

impl ClockSource {
    #[inline]
    pub(crate) fn nanos(&self) -> u64 {
        match self {
            Self::System => system_nanos(),
            Self::Custom(clock) => to_nanos(clock.now()),
        }
    }

    pub(crate) fn max_lag_nanos(&self) -> u64 {
        to_nanos(match self {
            Self::System => SystemClock.max_lag(),
            Self::Custom(clock) => clock.max_lag(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_moves_on_and_never_back() {
        let first = SystemClock.now();
        let mut last = first;
        while last == first {
            let now = SystemClock.now();
            assert!(now >= last);
            last = now;
        }
    }

    #[test]
    fn a_manual_clock_goes_where_it_is_sent() {
        let clock = ManualClock::new();
        clock.clone().advance(Duration::from_secs(5));
        assert_eq!(clock.now(), Duration::from_secs(5));
        clock.set(Duration::from_secs(1));
        assert_eq!(clock.now(), Duration::from_secs(1));
        clock.advance(Duration::MAX);
        clock.advance(Duration::MAX);
        assert_eq!(clock.now(), Duration::from_nanos(u64::MAX));
        assert_eq!(clock.max_lag(), Duration::ZERO);
    }
}
