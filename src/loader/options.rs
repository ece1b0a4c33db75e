//! [`LoadOptions`]: the options of all loads of a [`Loader`](super::Loader).

use core::time::Duration;
use std::time::Instant;

use super::{IntoLoaded, Loaded};
use crate::expiry::Lifetime;

/// The time after which a refresh that failed is tried again, without an `error_ttl`.
const RETRY: Duration = Duration::from_secs(1);

/// The longest `error_ttl`: half of the longest time to refresh.
///
/// So a refresh that a failure has delayed counts as near. Entries that are never refreshed have
/// theirs half a year ahead, which does not count as near.
const LONGEST_RETRY: Duration = Duration::from_secs(90 * 24 * 3600);

/// The options of loads, as [`LoaderBuilder`](super::LoaderBuilder) sets them.
#[derive(Clone, Debug)]
pub(super) struct LoadOptions {
    /// The lifetime of values that come without one.
    pub(super) lifetime: Lifetime,
    /// The time to live of negative entries. Zero: there are none.
    pub(super) negative_ttl: Duration,
    pub(super) error_ttl: Option<Duration>,
    /// Loads that fail return the stale value of their key, if there is one.
    pub(super) falls_back_to_stale: bool,
    pub(super) wait_limit: Option<Duration>,
    pub(super) load_timeout: Option<Duration>,
    /// XFetch's beta, above zero, if entries are refreshed early.
    pub(super) early_beta: Option<f64>,
    /// Spans and warnings do not show keys.
    pub(super) hides_keys: bool,
}

impl LoadOptions {
    /// The options of a load without a loader.
    pub(super) const DEFAULT: Self = Self {
        lifetime: Lifetime::new(),
        negative_ttl: Duration::ZERO,
        error_ttl: None,
        falls_back_to_stale: false,
        wait_limit: None,
        load_timeout: None,
        early_beta: None,
        hides_keys: false,
    };

    /// Returns a key for a span, or `None` if keys are hidden.
    pub(super) fn shown<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        (!self.hides_keys).then_some(key)
    }

    /// Returns the value that was loaded and its lifetime.
    ///
    /// # Errors
    ///
    /// The lifetime of the negative entry, if the loader found nothing.
    pub(super) fn with_lifetime<V: IntoLoaded>(&self, loaded: V) -> Result<(V::Value, Lifetime), Lifetime> {
        match loaded.into_loaded() {
            Loaded::Value(value) => Ok((value, self.lifetime)),
            Loaded::ValueFor(value, lifetime) => Ok((value, lifetime.or(self.lifetime))),
            Loaded::Absent => Err(Lifetime::negative(self.negative_ttl)),
            Loaded::AbsentFor(ttl) => Err(Lifetime::negative(ttl)),
        }
    }

    /// Returns how long a failure is recorded, or `None` if it is not.
    pub(super) fn error_ttl(&self) -> Option<Duration> {
        self.error_ttl.filter(|ttl| !ttl.is_zero()).map(|ttl| ttl.min(LONGEST_RETRY))
    }

    /// Returns the time from the begin of a refresh that fails to the next one.
    pub(super) fn retry(&self) -> Duration {
        self.error_ttl().unwrap_or(RETRY)
    }

    /// Returns how long a call waits for a load that runs elsewhere, or `None` if it waits without
    /// a limit.
    pub(super) fn longest_wait(&self) -> Option<Duration> {
        self.wait_limit.into_iter().chain(self.load_timeout).min()
    }

    /// Returns the time until which a call that begins at this moment waits, as
    /// [`longest_wait`](Self::longest_wait) says.
    pub(super) fn wait_until(&self) -> Option<Instant> {
        time_after(self.longest_wait())
    }
}

/// Returns the time at which a limit that begins at this moment is over.
pub(super) fn time_after(limit: Option<Duration>) -> Option<Instant> {
    // A time that an `Instant` cannot represent is as good as no limit.
    limit.and_then(|limit| Instant::now().checked_add(limit))
}
