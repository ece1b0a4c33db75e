//! The options of expiry: default lifetimes, and the clock.

use core::time::Duration;
use std::sync::Arc;

use super::CacheBuilder;
use crate::clock::{Clock, ClockSource};

impl CacheBuilder {
    /// Sets the default time to live: the time from the insert of an entry to its deadline.
    ///
    /// An insert with a lifetime of its own may set another. By default there is none. The longest
    /// time is two years and two weeks, including the stale period. A longer one is cut to that.
    /// Zero is an error.
    ///
    /// # Cost
    ///
    /// Four bytes for each entry, and a byte or two for the [timing wheel](crate::docs::expiry).
    ///
    /// ```
    /// use bytecache::{BuildError, Cache, ManualClock};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let ttl = Duration::from_secs(60);
    /// let cache = Cache::builder().max_bytes(1 << 20).ttl(ttl).clock(clock.clone()).build()?;
    /// cache.insert("page", "<html>")?;
    /// clock.advance(Duration::from_secs(61));
    /// assert!(cache.get("page").is_none());
    ///
    /// let error = Cache::builder().max_bytes(1 << 20).ttl(Duration::ZERO).build().unwrap_err();
    /// assert_eq!(error, BuildError::ZeroLifetime);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Sets the default time to idle: the time from the last read of an entry to its deadline.
    ///
    /// An insert with a lifetime of its own may set another. By default there is none. If an entry
    /// also has a time to live, the earlier deadline counts. Times beyond half a year are cut to
    /// that. Zero is an error.
    ///
    /// # Cost
    ///
    /// Four bytes for each entry. The first read in each [`TICK`](crate::TICK) writes to the header
    /// of the entry.
    ///
    /// ```
    /// use bytecache::{BuildError, Cache, ManualClock};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let idle = Duration::from_secs(60);
    /// let builder = Cache::builder().max_bytes(1 << 20);
    /// let cache = builder.clone().time_to_idle(idle).clock(clock.clone()).build()?;
    /// cache.insert("session", "Ada")?;
    /// clock.advance(Duration::from_secs(50));
    /// assert!(cache.get("session").is_some());
    /// clock.advance(Duration::from_secs(50));
    /// assert!(cache.get("session").is_some());
    /// clock.advance(Duration::from_secs(61));
    /// assert!(cache.get("session").is_none());
    ///
    /// let error = builder.time_to_idle(Duration::ZERO).build().unwrap_err();
    /// assert_eq!(error, BuildError::ZeroLifetime);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn time_to_idle(mut self, idle: Duration) -> Self {
        self.time_to_idle = Some(idle);
        self
    }

    /// Sets the fraction by which times to live vary at random, from 0 (the default) to 1.
    ///
    /// Each time to live is drawn between `(1 - fraction) * ttl` and `ttl`. So entries that were
    /// inserted together do not expire together, and are not all loaded again at once.
    ///
    /// It applies to the times to live of inserts: to the default and to those of single entries.
    /// It does not apply to [`set_ttl`](crate::Cache::set_ttl).
    ///
    /// ```
    /// use bytecache::{BuildError, Cache, Remaining};
    /// use std::time::Duration;
    ///
    /// let builder = Cache::builder().max_bytes(1 << 20).ttl(Duration::from_secs(100));
    /// let cache = builder.clone().ttl_jitter(0.5).build()?;
    /// cache.insert("page", "<html>")?;
    /// let left = cache.ttl("page");
    /// assert!(matches!(left, Some(Remaining::For(left)) if (49..=100).contains(&left.as_secs())));
    ///
    /// let error = builder.ttl_jitter(1.5).build().unwrap_err();
    /// assert_eq!(error, BuildError::Jitter { fraction: 1.5 });
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn ttl_jitter(mut self, fraction: f64) -> Self {
        self.ttl_jitter = fraction;
        self
    }

    /// Sets the default stale period: how long after its deadline
    /// [`get_or_stale`](crate::Cache::get_or_stale) still returns an entry.
    ///
    /// An insert with a lifetime of its own may set another. By default it is zero, and it is at
    /// most half a year. A stale entry takes up space for as long, and may be evicted like any
    /// other.
    ///
    /// ```
    /// use bytecache::{Cache, ManualClock};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder()
    ///     .max_bytes(1 << 20)
    ///     .ttl(Duration::from_secs(10))
    ///     .stale_for(Duration::from_secs(60))
    ///     .clock(clock.clone())
    ///     .build()?;
    /// cache.insert("page", "<html>")?;
    /// clock.advance(Duration::from_secs(11));
    /// assert!(cache.get("page").is_none() && cache.get_or_stale("page").is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stale_for(mut self, stale: Duration) -> Self {
        self.stale_for = stale;
        self
    }

    /// Sets the clock of lifetimes.
    ///
    /// The default is [`SystemClock`](crate::SystemClock). Tests use
    /// [`ManualClock`](crate::ManualClock).
    ///
    /// ```
    /// use bytecache::{Cache, ManualClock};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder().max_bytes(1 << 20).clock(clock.clone()).build()?;
    /// cache.insert_with_ttl("token", "abc", Duration::from_secs(3_600))?;
    /// clock.advance(Duration::from_secs(3_601));
    /// assert!(cache.get("token").is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = ClockSource::Custom(Arc::new(clock));
        self
    }
}
