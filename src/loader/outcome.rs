//! What loaders return, and what their callers get.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use crate::expiry::Lifetime;
use crate::shard::{Negative, Outcome};

/// What a loader found: a value, with a lifetime if it is to have one of its own, or nothing.
///
/// A loader may also return the bytes alone, as anything that is `AsRef<[u8]>`.
///
/// ```
/// use std::time::Duration;
/// use bytecache::{Cache, Lifetime, LoadError, Loaded};
///
/// let cache = Cache::new(1 << 20)?;
/// let row: Option<(String, u64)> = Some(("Ada".to_string(), 60));
/// let user = cache.get_or_load("user:1", || {
///     Ok::<_, std::io::Error>(match row {
///         Some((name, seconds)) => Loaded::ValueFor(name, Lifetime::new().ttl(Duration::from_secs(seconds))),
///         None => Loaded::AbsentFor(Duration::from_secs(5)),
///     })
/// });
/// assert_eq!(user.as_deref().ok(), Some(&b"Ada"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loaded<V> {
    /// A value that lives as long as the loader's, or the cache's, defaults say.
    Value(V),
    /// A value with a lifetime; what that does not say is as the defaults say.
    ValueFor(V, Lifetime),
    /// There is nothing under the key. Remembered as long as [`negative_ttl`](crate::LoaderBuilder::negative_ttl) says, and
    /// not at all without a loader.
    Absent,
    /// There is nothing under the key, which is to be remembered for so long.
    AbsentFor(Duration),
}

/// `None` is [`Absent`](Self::Absent).
impl<V> From<Option<V>> for Loaded<V> {
    fn from(value: Option<V>) -> Self {
        value.map_or(Self::Absent, Self::Value)
    }
}

/// What a loader may return: bytes, or [`Loaded`]. Cannot be implemented elsewhere.
pub trait IntoLoaded: Sealed {
    /// What the value's bytes are in.
    type Value: AsRef<[u8]>;

    /// The value as what was found.
    fn into_loaded(self) -> Loaded<Self::Value>;
}

/// So that the crate may add to [`IntoLoaded`].
pub trait Sealed {}

impl<V: AsRef<[u8]>> Sealed for V {}

impl<V: AsRef<[u8]>> Sealed for Loaded<V> {}

impl<V: AsRef<[u8]>> IntoLoaded for V {
    type Value = V;

    fn into_loaded(self) -> Loaded<V> {
        Loaded::Value(self)
    }
}

impl<V: AsRef<[u8]>> IntoLoaded for Loaded<V> {
    type Value = V;

    fn into_loaded(self) -> Self {
        self
    }
}

/// Why a load brought no value.
///
/// Errors reach all who waited for the load, so they are shared. `E` is the loader's error.
#[derive(Debug)]
#[non_exhaustive]
pub enum LoadError<E> {
    /// The loader returned an error, be it the caller's own or the one that another caller's ran.
    Failed(Arc<E>),
    /// The loader failed a moment ago, and the key is not loaded again for its [`error_ttl`](crate::LoaderBuilder::error_ttl).
    RecentFailure,
    /// The loader found nothing, now or within its negative time to live.
    Absent,
    /// The loader panicked in another thread or task, which this call waited for.
    Panicked,
    /// Another's load took longer than [`wait_limit`](crate::LoaderBuilder::wait_limit). It goes on.
    TimedOut,
    /// The key is being loaded by this very thread or task: waiting for it would never end.
    Reentrant,
    /// The loader of many keys returned another number of values than it was given keys. None of them was stored.
    WrongCount {
        /// How many keys it was given.
        keys: usize,
        /// How many values it returned.
        values: usize,
    },
}

impl<E> LoadError<E> {
    /// Whether the loader said that there is nothing under the key.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// The loader's error, if it returned one.
    #[must_use]
    pub fn failure(&self) -> Option<&E> {
        match self {
            Self::Failed(error) => Some(error),
            _ => None,
        }
    }
}

impl<E> Clone for LoadError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Failed(error) => Self::Failed(Arc::clone(error)),
            Self::RecentFailure => Self::RecentFailure,
            Self::Absent => Self::Absent,
            Self::Panicked => Self::Panicked,
            Self::TimedOut => Self::TimedOut,
            Self::Reentrant => Self::Reentrant,
            &Self::WrongCount { keys, values } => Self::WrongCount { keys, values },
        }
    }
}

impl<E: fmt::Display> fmt::Display for LoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => write!(f, "the loader failed: {error}"),
            Self::RecentFailure => f.write_str("the loader failed a moment ago"),
            Self::Absent => f.write_str("the loader found nothing"),
            Self::Panicked => f.write_str("the loader panicked in another thread or task"),
            Self::TimedOut => f.write_str("the load by another thread or task took too long"),
            Self::Reentrant => f.write_str("the loader asked for the key that it loads"),
            Self::WrongCount { keys, values } => write!(f, "the loader returned {values} values for {keys} keys"),
        }
    }
}

/// For errors of any kind, `Box<dyn Error>` and strings among them: so it has no source, and prints the loader's error itself.
impl<E: fmt::Debug + fmt::Display> core::error::Error for LoadError<E> {}

impl<E> From<Negative> for LoadError<E> {
    fn from(negative: Negative) -> Self {
        match negative {
            Negative::Absent => Self::Absent,
            Negative::Failed => Self::RecentFailure,
        }
    }
}

/// What a follower makes of a leader's outcome; `None` if that is an error of another type, from a call that loads the same
/// key otherwise.
pub(super) fn shared<E: Send + Sync + 'static>(outcome: Outcome) -> Option<super::Answer<E>> {
    match outcome {
        Outcome::Value(value) => Some(Ok(value)),
        Outcome::Absent => Some(Err(LoadError::Absent)),
        Outcome::Failed(error) => error.downcast().ok().map(|error| Err(LoadError::Failed(error))),
    }
}
