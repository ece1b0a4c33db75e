//! [`Lifetime`], the rules that a caller sets for one entry, and [`Remaining`], the rest of its
//! life.

use core::time::Duration;

/// The rules for the deadlines of one entry, for
/// [`Cache::insert_with_lifetime`](crate::Cache::insert_with_lifetime).
///
/// The defaults of the cache, which its [builder](crate::CacheBuilder) was given, apply to
/// everything that is not set.
///
/// ```
/// use std::time::Duration;
/// use bytecache::{Cache, Lifetime};
///
/// let cache = Cache::builder().max_bytes(1 << 20).ttl(Duration::from_secs(60)).build()?;
/// // At most an hour, and ten minutes without a read. `get_or_stale` returns it a minute longer.
/// let session = Lifetime::new()
///     .ttl(Duration::from_secs(3600))
///     .time_to_idle(Duration::from_secs(600))
///     .stale_for(Duration::from_secs(60));
/// cache.insert_with_lifetime("session", "state", session)?;
/// assert!(cache.contains_key("session"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "a lifetime does nothing until an entry is inserted with it"]
pub struct Lifetime {
    pub(super) ttl: Length,
    pub(super) time_to_idle: Length,
    pub(super) stale_for: Option<Duration>,
    pub(super) refresh_after: Option<Duration>,
    pub(super) is_negative: bool,
}

/// A length of time that has a default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Length {
    #[default]
    Default,
    Unlimited,
    Limited(Duration),
}

impl Length {
    /// Returns this length, or `default` if it is not set.
    fn or(self, default: Self) -> Self {
        if self == Self::Default { default } else { self }
    }

    /// Returns the length that counts in a cache with this default, or `None` if it is unlimited.
    pub(super) fn resolve(self, default: Option<Duration>) -> Option<Duration> {
        match self {
            Self::Default => default,
            Self::Unlimited => None,
            Self::Limited(length) => Some(length),
        }
    }
}

impl Lifetime {
    /// Creates a lifetime that sets nothing: all defaults of the cache apply.
    ///
    /// ```
    /// use std::time::Duration;
    /// use bytecache::{Cache, Lifetime, Remaining};
    ///
    /// let cache = Cache::builder().max_bytes(1 << 20).ttl(Duration::from_secs(60)).build()?;
    /// cache.insert_with_lifetime("key", "value", Lifetime::new())?;
    /// assert!(matches!(cache.ttl("key"), Some(Remaining::For(_))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn new() -> Self {
        Self {
            ttl: Length::Default,
            time_to_idle: Length::Default,
            stale_for: None,
            refresh_after: None,
            is_negative: false,
        }
    }

    /// Creates a lifetime without a time to live and without a time to idle, replacing the defaults
    /// of the cache.
    ///
    /// ```
    /// use std::time::Duration;
    /// use bytecache::{Cache, Lifetime, Remaining};
    ///
    /// let cache = Cache::builder().max_bytes(1 << 20).ttl(Duration::from_secs(60)).build()?;
    /// cache.insert_with_lifetime("pi", "3.14", Lifetime::forever())?;
    /// assert_eq!(cache.ttl("pi"), Some(Remaining::Forever));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn forever() -> Self {
        Self { ttl: Length::Unlimited, time_to_idle: Length::Unlimited, ..Self::new() }
    }

    /// Returns `true` if all defaults of the cache apply. The lifetime of a negative entry always
    /// sets a time to live.
    #[inline]
    pub(super) fn sets_nothing(&self) -> bool {
        matches!((self.ttl, self.time_to_idle), (Length::Default, Length::Default))
            && self.stale_for.is_none()
            && self.refresh_after.is_none()
    }

    /// Creates the lifetime of a negative entry.
    pub(crate) const fn negative(ttl: Duration) -> Self {
        Self { is_negative: true, ..Self::forever().ttl(ttl).stale_for(Duration::ZERO) }
    }

    /// Returns this lifetime, with the values of `default` for everything that is not set.
    pub(crate) fn or(self, default: Self) -> Self {
        Self {
            ttl: self.ttl.or(default.ttl),
            time_to_idle: self.time_to_idle.or(default.time_to_idle),
            stale_for: self.stale_for.or(default.stale_for),
            refresh_after: self.refresh_after.or(default.refresh_after),
            is_negative: self.is_negative,
        }
    }

    /// Sets the time to live: the time from the insert to the deadline of the entry.
    ///
    /// With zero, the entry has expired when it is inserted. The longest time to live is two years
    /// and two weeks, including the stale period. A longer one is cut to that.
    ///
    /// ```
    /// use std::time::Duration;
    /// use bytecache::{Cache, Lifetime, ManualClock, TICK};
    ///
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder().max_bytes(1 << 20).clock(clock.clone()).build()?;
    /// let lifetime = Lifetime::new().ttl(Duration::from_secs(30));
    /// cache.insert_with_lifetime("token", "abc", lifetime)?;
    /// clock.advance(Duration::from_secs(29));
    /// assert!(cache.get("token").is_some());
    /// clock.advance(Duration::from_secs(1) + TICK);
    /// assert!(cache.get("token").is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Length::Limited(ttl);
        self
    }

    /// Sets the time to idle: the time from the last read to the deadline of the entry.
    ///
    /// With zero, the entry has expired when it is inserted. The longest time to idle is half a
    /// year. A longer one is cut to that.
    ///
    /// Every read that counts for the statistics extends the deadline, and so does
    /// [`touch`](crate::Cache::touch).
    ///
    /// ```
    /// use std::time::Duration;
    /// use bytecache::{Cache, Lifetime, ManualClock, TICK};
    ///
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder().max_bytes(1 << 20).clock(clock.clone()).build()?;
    /// let lifetime = Lifetime::new().time_to_idle(Duration::from_secs(600));
    /// cache.insert_with_lifetime("session", "state", lifetime)?;
    /// for _ in 0..3 {
    ///     clock.advance(Duration::from_secs(500));
    ///     assert!(cache.get("session").is_some());
    /// }
    /// clock.advance(Duration::from_secs(600) + 2 * TICK);
    /// assert!(cache.get("session").is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn time_to_idle(mut self, idle: Duration) -> Self {
        self.time_to_idle = Length::Limited(idle);
        self
    }

    /// Sets the stale period: the time for which [`get_or_stale`](crate::Cache::get_or_stale)
    /// returns the entry after its deadline.
    ///
    /// The longest stale period is half a year. A longer one is cut to that.
    ///
    /// ```
    /// use std::time::Duration;
    /// use bytecache::{Cache, Lifetime, ManualClock};
    ///
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder().max_bytes(1 << 20).clock(clock.clone()).build()?;
    /// let (ttl, stale) = (Duration::from_secs(30), Duration::from_secs(60));
    /// let lifetime = Lifetime::new().ttl(ttl).stale_for(stale);
    /// cache.insert_with_lifetime("rate", "1.09", lifetime)?;
    /// clock.advance(Duration::from_secs(31));
    /// assert!(cache.get("rate").is_none());
    /// assert!(cache.get_or_stale("rate").is_some_and(|rate| rate.is_stale()));
    /// clock.advance(Duration::from_secs(60));
    /// assert!(cache.get_or_stale("rate").is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn stale_for(mut self, stale: Duration) -> Self {
        self.stale_for = Some(stale);
        self
    }

    /// Sets the time from the insert until the entry is due for a refresh, which
    /// [`get_or_stale`](crate::Cache::get_or_stale) reports.
    ///
    /// The longest time is half a year. A longer one is cut to that. The entry is due up to three
    /// [`TICK`](crate::TICK)s later, and the [lag](crate::docs::expiry) of the clock adds to that.
    ///
    /// ```
    /// use std::time::Duration;
    /// use bytecache::{Cache, Lifetime, ManualClock, TICK};
    ///
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder().max_bytes(1 << 20).clock(clock.clone()).build()?;
    /// let lifetime = Lifetime::new().refresh_after(Duration::from_secs(50));
    /// cache.insert_with_lifetime("rate", "1.09", lifetime)?;
    /// assert!(cache.get_or_stale("rate").is_some_and(|rate| !rate.is_refresh_due()));
    /// clock.advance(Duration::from_secs(50) + 3 * TICK);
    /// assert!(cache.get_or_stale("rate").is_some_and(|rate| rate.is_refresh_due()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn refresh_after(mut self, refresh: Duration) -> Self {
        self.refresh_after = Some(refresh);
        self
    }
}

/// The time that an entry has left, from [`Cache::ttl`](crate::Cache::ttl).
///
/// ```
/// use std::time::Duration;
/// use bytecache::{Cache, ManualClock, Remaining};
///
/// let clock = ManualClock::new();
/// let cache = Cache::builder().max_bytes(1 << 20).clock(clock.clone()).build()?;
/// cache.insert("constant", "3.14")?;
/// cache.insert_with_ttl("token", "abc", Duration::from_secs(32))?;
/// clock.advance(Duration::from_secs(16));
/// assert_eq!(cache.ttl("constant"), Some(Remaining::Forever));
/// assert_eq!(cache.ttl("token"), Some(Remaining::For(Duration::from_secs(16))));
/// assert_eq!(cache.ttl("absent"), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remaining {
    /// The entry has no deadline.
    Forever,
    /// The time until the deadline of the entry: the end of its time to live or of its time to
    /// idle, whichever comes first.
    For(Duration),
}
