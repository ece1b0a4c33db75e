//! Results: [`Loaded`], which a loader returns, and [`LoadError`], which its callers get.

use core::fmt;
use core::time::Duration;

use super::Failure;
use crate::expiry::Lifetime;
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
    /// The load of another caller took longer than the
    /// [`wait_limit`](crate::LoaderBuilder::wait_limit). That load goes on.
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
            Self::TimedOut => f.write_str("the load of another thread or task took longer than the wait_limit"),
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

/// Returns the answer of a follower to its leader's outcome, or `None` if that is an error of
/// another type. Two calls may load the same key with different types of errors.
pub(super) fn to_answer<E: Send + Sync + 'static>(outcome: Outcome) -> Option<super::Answer<E>> {
    match outcome {
        Outcome::Value(value) => Some(Ok(value)),
        Outcome::Absent => Some(Err(LoadError::Absent)),
        Outcome::Failed(error) => Failure::from_any(error).map(|error| Err(LoadError::Failed(error))),
    }
}
