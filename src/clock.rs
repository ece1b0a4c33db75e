//! Clocks: the coarse clock of the system, or one that the user sets.
//!
//! The cache reads its [`Clock`] when it handles an entry that has a deadline, and at each write to
//! a shard that has such entries. An advisor reads it, too.
//! A clock counts from any fixed origin, as the cache uses differences only.
//!
//! # Synchronization
//!
//! The time of a [`ManualClock`] is one Relaxed word: it orders nothing.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::sync::Arc;

/// The unit of deadlines: 16 ms. An entry lives at least as long as was asked for, rounded up to
/// the next tick.
///
/// ```
/// use bytecache::{Cache, ManualClock, TICK};
/// use std::time::Duration;
///
/// let clock = ManualClock::new();
/// let cache = Cache::builder().max_bytes(1 << 20).clock(clock.clone()).build()?;
/// cache.insert_with_ttl("key", "value", Duration::from_millis(20))?;
/// clock.advance(Duration::from_millis(20));
/// assert!(cache.contains_key("key"));
/// clock.advance(TICK);
/// assert!(!cache.contains_key("key"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub const TICK: Duration = Duration::from_millis(16);

/// A source of time, for [`CacheBuilder::clock`](crate::CacheBuilder::clock).
///
/// A clock is read on the hot path, by many threads at once, and by writers under the lock of a
/// shard. It must not use the cache. If it panics under the lock, the shard is emptied.
///
/// A clock may stand still, jump ahead or go back. Every move ahead counts for every deadline, even
/// if it only makes up for a move back.
///
/// ```
/// use bytecache::{Cache, Clock};
/// use std::time::{Duration, Instant};
///
/// /// The precise clock of the system, which takes longer to read.
/// struct Precise {
///     origin: Instant,
/// }
///
/// impl Clock for Precise {
///     fn now(&self) -> Duration {
///         self.origin.elapsed()
///     }
/// }
///
/// let clock = Precise { origin: Instant::now() };
/// let cache = Cache::builder().max_bytes(1 << 20).clock(clock).build()?;
/// cache.insert_with_ttl("token", "abc", Duration::from_secs(3_600))?;
/// assert!(cache.contains_key("token"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Clock: Send + Sync {
    /// Returns the time since a fixed origin.
    ///
    /// ```
    /// use bytecache::{Clock, SystemClock};
    ///
    /// let first = SystemClock.now();
    /// assert!(SystemClock.now() >= first);
    /// ```
    fn now(&self) -> Duration;

    /// Returns the longest time by which [`now`](Self::now) may be behind the true time.
    ///
    /// Deadlines are later by as much, so that no entry expires early. Reads that see the clock
    /// late see the deadlines later again. This is called once for each cache. The default is zero.
    ///
    /// ```
    /// use bytecache::{Clock, ManualClock, SystemClock, TICK};
    /// use std::time::Duration;
    ///
    /// assert_eq!(SystemClock.max_lag(), TICK);
    /// assert_eq!(ManualClock::new().max_lag(), Duration::ZERO);
    /// ```
    fn max_lag(&self) -> Duration {
        Duration::ZERO
    }
}

/// The default clock: the coarse monotonic clock of the system (`CLOCK_MONOTONIC_COARSE` on Linux).
///
/// It moves every few milliseconds. A read takes about 6 ns, where one of `std::time::Instant`
/// takes 23 ns (`cargo bench --bench expiry`). Time in which the machine is suspended does not
/// count.
///
/// ```
/// use bytecache::{Cache, SystemClock};
/// use std::time::Duration;
///
/// let cache = Cache::builder().max_bytes(1 << 20).clock(SystemClock).build()?;
/// cache.insert_with_ttl("token", "abc", Duration::from_secs(3_600))?;
/// assert!(cache.contains_key("token"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[inline]
    fn now(&self) -> Duration {
        Duration::from_nanos(system_nanos())
    }

    /// Returns one [`TICK`]. Linux moves the clock at least every 10 ms, Windows every 15.6 ms.
    fn max_lag(&self) -> Duration {
        TICK
    }
}

#[inline]
fn system_nanos() -> u64 {
    // Without the update of the cached time: that is one word of the process, which all threads
    // would write to.
    let now = coarsetime::Instant::now_without_cache_update();
    coarsetime::Duration::from_ticks(now.as_ticks()).as_nanos()
}

/// A clock for tests, which moves only when it is set or advanced. Clones are the same clock.
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
    /// Not an atomic of loom, so that it works outside of a model. It is one word and orders
    /// nothing.
    nanos: Arc<AtomicU64>,
}

impl ManualClock {
    /// Creates a clock that stands at zero.
    ///
    /// ```
    /// use bytecache::{Clock, ManualClock};
    /// use std::time::Duration;
    ///
    /// assert_eq!(ManualClock::new().now(), Duration::ZERO);
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the clock ahead by `by`. It stops at its end, after 584 years.
    ///
    /// ```
    /// use bytecache::{Clock, ManualClock};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// clock.advance(Duration::from_secs(5));
    /// clock.clone().advance(Duration::from_secs(2));
    /// assert_eq!(clock.now(), Duration::from_secs(7));
    /// ```
    pub fn advance(&self, by: Duration) {
        // Ends: a failure means that another thread has moved the clock.
        let _ = self
            .nanos
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |nanos| Some(nanos.saturating_add(to_nanos(by))));
    }

    /// Sets the clock to `to`, forward or back.
    ///
    /// ```
    /// use bytecache::{Clock, ManualClock};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// clock.advance(Duration::from_secs(60));
    /// clock.set(Duration::from_secs(10));
    /// assert_eq!(clock.now(), Duration::from_secs(10));
    /// ```
    pub fn set(&self, to: Duration) {
        self.nanos.store(to_nanos(to), Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }
}

/// Returns the nanoseconds of a duration, cut to those of 584 years.
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
    /// Returns the time since the origin of the clock, in nanoseconds.
    #[inline]
    pub(crate) fn nanos(&self) -> u64 {
        match self {
            Self::System => system_nanos(),
            Self::Custom(clock) => to_nanos(clock.now()),
        }
    }

    /// Returns the longest lag of the clock, in nanoseconds.
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
    fn a_manual_clock_shows_the_time_that_it_was_set_to() {
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
