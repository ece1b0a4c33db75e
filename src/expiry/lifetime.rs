//! [`Lifetime`]: what a caller says about one entry, and [`Remaining`], what is left of it.

use core::time::Duration;

/// How long one entry lives: for [`Cache::insert_with_lifetime`](crate::Cache::insert_with_lifetime).
///
/// What is not said is the cache's default, as the [builder](crate::CacheBuilder) was given it.
///
/// ```
/// use std::time::Duration;
/// use bytecache::{Cache, Lifetime};
///
/// let cache = Cache::builder().max_bytes(1 << 20).ttl(Duration::from_secs(60)).build()?;
/// // At most an hour, ten minutes without a read, and readable for another minute by `get_or_stale`.
/// let session = Lifetime::new()
///     .ttl(Duration::from_secs(3600))
///     .time_to_idle(Duration::from_secs(600))
///     .stale_for(Duration::from_secs(60));
/// cache.insert_with_lifetime("session", "state", session)?;
/// cache.insert_with_lifetime("constant", "3.14", Lifetime::forever())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "a lifetime does nothing until an entry is inserted with it"]
pub struct Lifetime {
    pub(super) ttl: Length,
    pub(super) idle: Length,
    pub(super) stale: Option<Duration>,
    pub(super) refresh: Option<Duration>,
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
    fn over(self, default: Self) -> Self {
        if self == Self::Default { default } else { self }
    }

    pub(super) fn or(self, default: Option<Duration>) -> Option<Duration> {
        match self {
            Self::Default => default,
            Self::Unlimited => None,
            Self::Limited(length) => Some(length),
        }
    }
}

impl Lifetime {
    /// The cache's defaults, in everything.
    pub const fn new() -> Self {
        Self { ttl: Length::Default, idle: Length::Default, stale: None, refresh: None, is_negative: false }
    }

    /// No time to live and no time to idle, whatever the cache's defaults are.
    pub const fn forever() -> Self {
        Self { ttl: Length::Unlimited, idle: Length::Unlimited, ..Self::new() }
    }

    /// That of an entry which stands for what a load did not find.
    pub(crate) const fn negative(ttl: Duration) -> Self {
        Self { is_negative: true, ..Self::forever().ttl(ttl).stale_for(Duration::ZERO) }
    }

    /// This one, but with `default` wherever it says nothing.
    pub(crate) fn or(self, default: Self) -> Self {
        Self {
            ttl: self.ttl.over(default.ttl),
            idle: self.idle.over(default.idle),
            stale: self.stale.or(default.stale),
            refresh: self.refresh.or(default.refresh),
            is_negative: self.is_negative,
        }
    }

    /// Time to live: how long after it was inserted the entry expires. Zero is "expired already"; more than two years, the
    /// stale period included, are two years.
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Length::Limited(ttl);
        self
    }

    /// Time to idle: how long after it was last read the entry expires. Zero is "expired already"; more than half a year
    /// is half a year.
    ///
    /// Reads that count as such are those that count for the statistics, and [`touch`](crate::Cache::touch).
    pub const fn time_to_idle(mut self, idle: Duration) -> Self {
        self.idle = Length::Limited(idle);
        self
    }

    /// How long the entry stays readable by [`get_or_stale`](crate::Cache::get_or_stale) after it has expired: half a year at
    /// most.
    pub const fn stale_for(mut self, stale: Duration) -> Self {
        self.stale = Some(stale);
        self
    }

    /// How long after it was inserted [`get_or_stale`](crate::Cache::get_or_stale) says that the
    /// entry should be loaded anew: half a year at most, and up to three [`TICK`](crate::TICK)s later, the [lag](crate::docs::expiry) of the clock aside.
    pub const fn refresh_after(mut self, refresh: Duration) -> Self {
        self.refresh = Some(refresh);
        self
    }
}

/// What is left of an entry's life: see [`Cache::ttl`](crate::Cache::ttl).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remaining {
    /// The entry has no deadline.
    Forever,
    /// The time until its deadline, be it the end of its time to live or of its time to idle.
    For(Duration),
}
