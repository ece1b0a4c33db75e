//! Results: [`Loaded`], which a loader returns, [`LoadError`], which its callers get, and the
//! [`Origin`] of their values.

use core::fmt;
use core::time::Duration;

use super::Failure;
use crate::expiry::Lifetime;
use crate::ring::Value;
use crate::shard::{Negative, Outcome};

/// The result of a loader: a value, which may have a lifetime of its own, or nothing.
///
/// A loader may also return a plain value of any type that is `AsRef<[u8]>`.
///
/// ```
/// use std::io;
/// use std::time::Duration;
/// use bytecache::{Cache, Lifetime, LoadError, Loaded};
///
/// let cache = Cache::new(1 << 20)?;
/// let user = |row: Option<(&'static str, u64)>| {
///     Ok::<_, io::Error>(match row {
///         Some((name, seconds)) => {
///             Loaded::ValueFor(name, Lifetime::new().ttl(Duration::from_secs(seconds)))
///         }
///         None => Loaded::AbsentFor(Duration::from_secs(5)),
///     })
/// };
/// assert_eq!(cache.get_or_load("user:1", || user(Some(("Ada", 60))))?, "Ada");
/// assert!(matches!(cache.get_or_load("user:2", || user(None)), Err(LoadError::Absent)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loaded<V> {
    /// A value with the default lifetime of the loader, or of the cache.
    Value(V),
    /// A value with a lifetime. The defaults apply to everything that it does not set.
    ValueFor(V, Lifetime),
    /// There is nothing under the key.
    ///
    /// The cache records that for the [`negative_ttl`](crate::LoaderBuilder::negative_ttl) of the
    /// loader. Without a loader it does not record it.
    Absent,
    /// There is nothing under the key, and the cache records that for this time.
    AbsentFor(Duration),
}

/// Converts `None` to [`Absent`](Self::Absent).
///
/// ```
/// use std::io;
/// use bytecache::{Cache, Loaded};
///
/// let cache = Cache::new(1 << 20)?;
/// let find = |row: Option<&'static str>| Ok::<_, io::Error>(Loaded::from(row));
/// assert_eq!(cache.get_or_load("user:1", || find(Some("Ada")))?, "Ada");
/// assert!(cache.get_or_load("user:2", || find(None)).is_err_and(|error| error.is_absent()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl<V> From<Option<V>> for Loaded<V> {
    fn from(value: Option<V>) -> Self {
        value.map_or(Self::Absent, Self::Value)
    }
}

/// The types that a loader may return: every `AsRef<[u8]>`, and [`Loaded`].
///
/// An `Option` is none of them. [`Loaded::from`] converts it:
///
/// ```compile_fail,E0277
/// # let cache = bytecache::Cache::new(1 << 20)?;
/// cache.get_or_load("key", || Ok::<Option<&str>, std::io::Error>(None))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// ```
/// use bytecache::{Cache, Loaded};
///
/// let cache = Cache::new(1 << 20)?;
/// let find = || Ok::<Option<&str>, std::io::Error>(None);
/// let answer = cache.get_or_load("key", || find().map(Loaded::from));
/// assert!(answer.is_err_and(|error| error.is_absent()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// This trait is sealed: other crates cannot implement it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the value of a loader",
    label = "neither bytes nor a `Loaded`",
    note = "a loader that may find nothing returns a `Loaded`: `Loaded::from` converts an `Option`",
    note = "the value must be `AsRef<[u8]>`, such as `Vec<u8>`, `String` or `[u8; N]`"
)]
pub trait IntoLoaded: Sealed {
    /// The type that holds the bytes of the value.
    type Value: AsRef<[u8]>;

    /// Converts this into the result of a load.
    ///
    /// ```
    /// use bytecache::{IntoLoaded, Loaded};
    ///
    /// assert_eq!("value".into_loaded(), Loaded::Value("value"));
    /// assert_eq!(Loaded::<&str>::Absent.into_loaded(), Loaded::Absent);
    /// ```
    fn into_loaded(self) -> Loaded<Self::Value>;
}

/// Keeps [`IntoLoaded`] sealed, so that the crate may add methods to it.
pub trait Sealed {}

#[diagnostic::do_not_recommend]
impl<V: AsRef<[u8]>> Sealed for V {}

impl<V: AsRef<[u8]>> Sealed for Loaded<V> {}

#[diagnostic::do_not_recommend]
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

/// The origin of a value that a loader returns, from
/// [`Loader::get_with_origin`](crate::Loader::get_with_origin).
///
/// ```
/// use std::io;
/// use bytecache::{Cache, Origin};
///
/// let cache = Cache::new(1 << 20)?;
/// let loader = cache.loader().build(|_| Ok::<_, io::Error>("value"))?;
/// let (value, origin) = loader.get_with_origin("key")?;
/// assert!(value == "value" && origin == Origin::Loaded);
/// let (_, origin) = loader.get_with_origin("key")?;
/// assert_eq!(origin, Origin::Cached);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// The cache. The value is not past its deadline.
    Cached,
    /// A load, by this call or by one that it waited for.
    Loaded,
    /// A load. The value is too large to be stored, so each call loads it again.
    ///
    /// Key and value together exceed [`Cache::max_entry_bytes`](crate::Cache::max_entry_bytes), or
    /// the key is longer than a key can be. [`Stats::rejected_too_large`](crate::Stats) and
    /// `rejected_key_too_long` count these values.
    TooLarge,
    /// The cache, within the [stale period](crate::LoaderBuilder::stale_for) of the value. Its load
    /// failed or took too long.
    Stale,
}

/// The reason why a load returned no value. `E` is the error of the loader.
///
/// All callers that wait for a load share its error.
///
/// ```
/// use std::io;
/// use bytecache::{Cache, LoadError};
///
/// let cache = Cache::new(1 << 20)?;
/// let result = cache.get_or_load("key", || Err::<&str, _>(io::Error::other("no answer")));
/// let message = match result {
///     Ok(value) => format!("{value:?}"),
///     Err(LoadError::Failed(error)) => error.to_string(),
///     Err(error) => format!("not loaded: {error}"),
/// };
/// assert_eq!(message, "no answer");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum LoadError<E> {
    /// The loader returned this error. It was the loader of this call, or of the caller that this
    /// call waited for.
    Failed(Failure<E>),
    /// The last load of the key failed, less than the
    /// [`error_ttl`](crate::LoaderBuilder::error_ttl) ago. The loader was not called.
    RecentFailure,
    /// The loader found nothing, in this call or less than the
    /// [`negative_ttl`](crate::LoaderBuilder::negative_ttl) ago.
    Absent,
    /// This call waited for another thread or task, whose loader panicked.
    Panicked,
    /// The load took longer than the [`wait_limit`](crate::LoaderBuilder::wait_limit) or the
    /// [`load_timeout`](crate::LoaderBuilder::load_timeout). A load that runs in another thread or
    /// task goes on.
    TimedOut,
    /// This thread or task is loading the key already. Waiting for that load would never end.
    Reentrant,
    /// The loader of many keys returned more or fewer values than it got keys. None of its values
    /// was stored.
    WrongCount {
        /// The number of keys that the loader got.
        keys: usize,
        /// The number of values that it returned.
        values: usize,
    },
}

impl<E> LoadError<E> {
    /// Returns `true` if the loader found nothing under the key.
    ///
    /// ```
    /// use std::io;
    /// use bytecache::{Cache, Loaded};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let absent = cache.get_or_load("key", || Ok::<Loaded<&str>, io::Error>(Loaded::Absent));
    /// assert!(absent.is_err_and(|error| error.is_absent()));
    /// let failed = cache.get_or_load("key", || Err::<&str, _>(io::Error::other("no answer")));
    /// assert!(failed.is_err_and(|error| !error.is_absent()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// Returns the error of the loader, or `None` if the loader returned no error.
    ///
    /// ```
    /// use bytecache::{Cache, Loaded};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let failed = cache.get_or_load("key", || Err::<&str, _>("no answer"));
    /// assert!(failed.is_err_and(|error| error.failure() == Some(&"no answer")));
    /// let absent = cache.get_or_load("key", || Ok::<Loaded<&str>, &str>(Loaded::Absent));
    /// assert!(absent.is_err_and(|error| error.failure().is_none()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
            Self::Failed(error) => Self::Failed(error.clone()),
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
            // The message of a source is printed with the source.
            Self::Failed(error) if error.source().is_some() => f.write_str("the loader failed"),
            Self::Failed(error) => write!(f, "the loader failed: {error}"),
            Self::RecentFailure => f.write_str("the last load of the key failed, and its error_ttl is not over"),
            Self::Absent => f.write_str("the loader found nothing"),
            Self::Panicked => f.write_str("the loader of another thread or task panicked"),
            Self::TimedOut => f.write_str("the load took longer than the wait_limit or the load_timeout"),
            Self::Reentrant => f.write_str("the key is being loaded by this thread or task"),
            Self::WrongCount { keys, values } => write!(f, "the loader returned {values} values for {keys} keys"),
        }
    }
}

/// The source of a [`Failed`](LoadError::Failed) is the error of the loader. For a
/// `Box<dyn Error + Send + Sync>` or an `anyhow::Error` it is the error in it. So a chain of errors
/// goes on, and the loader's error can be found in it by its type.
///
/// As usual for errors with a source, the message does not repeat that of the source. An error that
/// is a text has no source, and is part of the message.
///
/// ```
/// use std::error::Error;
/// use std::io;
/// use bytecache::Cache;
///
/// let cache = Cache::new(1 << 20)?;
/// let load = || Err::<&str, _>(io::Error::other("no answer"));
/// let error: Box<dyn Error> = cache.get_or_load("key", load).unwrap_err().into();
/// assert_eq!(error.to_string(), "the loader failed");
/// let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
/// assert_eq!(source.ok_or("no source")?.to_string(), "no answer");
///
/// let error = cache.get_or_load("key", || Err::<&str, _>("no answer")).unwrap_err();
/// assert_eq!(error.to_string(), "the loader failed: no answer");
/// assert!(error.source().is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl<E: fmt::Debug + fmt::Display> core::error::Error for LoadError<E> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Failed(error) => error.source(),
            _ => None,
        }
    }
}

impl<E> From<Negative> for LoadError<E> {
    fn from(negative: Negative) -> Self {
        match negative {
            Negative::Absent => Self::Absent,
            Negative::Failed => Self::RecentFailure,
        }
    }
}

/// The result of a load for one caller.
pub(super) type Answer<E> = Result<Found, LoadError<E>>;

/// A value, and where it came from.
#[derive(Clone, Debug)]
pub struct Found {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

impl Found {
    pub(super) fn cached(value: Value) -> Self {
        Self { value, origin: Origin::Cached }
    }

    pub(super) fn loaded(value: Value, is_too_large: bool) -> Self {
        Self { value, origin: if is_too_large { Origin::TooLarge } else { Origin::Loaded } }
    }

    pub(super) fn stale(value: Value) -> Self {
        Self { value, origin: Origin::Stale }
    }

    /// Returns the value alone, for a caller that does not ask for its origin.
    pub(super) fn value(self) -> Value {
        self.value
    }
}

/// Returns the answer of a follower to its leader's outcome, or `None` if that is an error of
/// another type. Two calls may load the same key with different types of errors.
pub(super) fn to_answer<E: Send + Sync + 'static>(outcome: Outcome) -> Option<Answer<E>> {
    match outcome {
        Outcome::Value { value, is_too_large } => Some(Ok(Found::loaded(value, is_too_large))),
        Outcome::Absent => Some(Err(LoadError::Absent)),
        Outcome::Failed(error) => Failure::from_any(error).map(|error| Err(LoadError::Failed(error))),
        Outcome::TimedOut => Some(Err(LoadError::TimedOut)),
        Outcome::WrongCount { keys, values } => Some(Err(LoadError::WrongCount { keys, values })),
    }
}
