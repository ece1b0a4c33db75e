//! [`Failure`]: the error of a loader, shared by all callers that waited for it, and the
//! [`LoaderError`]s that a loader may return.
//!
//! A chain of errors goes on from a [`LoadError`](super::LoadError) to the error of the loader. For
//! that, a reference to the loader's error becomes a `&dyn Error`. Not all errors implement
//! [`Error`], so the conversion depends on their kind:
//!
//! | error of the loader | kind | source of the `LoadError` |
//! |---|---|---|
//! | a type that implements `Error` | [`IsError`] | the error |
//! | `Box<dyn Error + Send + Sync>` | [`IsBox`] | the error in the box |
//! | `anyhow::Error` | [`HasError`] | the error in it, with its own sources |
//! | a text, a number, `()` | [`IsPlain`] | none |
//!
//! The kind is a parameter of the trait. A blanket implementation for one kind would otherwise
//! exclude the others: the standard library might implement `Error` for `String` one day. The
//! compiler infers the kind, as one implementation fits each type.
//!
//! A failure keeps the conversion beside the error, so that `LoadError` needs no such parameter.

use core::any::Any;
use core::error::Error;
use core::fmt;
use core::ops::Deref;
use std::borrow::Cow;
use std::sync::Arc;

/// The kind of errors that implement [`Error`].
#[derive(Debug)]
pub enum IsError {}

/// The kind of `Box<dyn Error + Send + Sync>`.
#[derive(Debug)]
pub enum IsBox {}

/// The kind of errors that are `AsRef<dyn Error>`, such as `anyhow::Error`.
#[derive(Debug)]
pub enum HasError {}

/// The kind of texts, numbers and `()`, which have no source.
#[derive(Debug)]
pub enum IsPlain {}

/// The types that a loader may return as its error.
///
/// These are all types that implement [`Error`], `Box<dyn Error + Send + Sync>`, texts, numbers,
/// `()`, and types that are `AsRef<dyn Error>`, such as `anyhow::Error`. The compiler infers
/// `Kind`.
///
/// To return an error of another type, implement [`Error`] for it, or this trait with a `Kind` of
/// your own.
///
/// ```
/// use std::error::Error;
/// use bytecache::{Cache, LoaderError};
///
/// #[derive(Debug)]
/// struct Status(u16);
///
/// impl LoaderError<Status> for Status {
///     fn as_error(&self) -> Option<&(dyn Error + 'static)> {
///         None
///     }
/// }
///
/// let cache = Cache::new(1 << 20)?;
/// let failed = cache.get_or_load("page", || Err::<&str, _>(Status(503)));
/// assert!(failed.is_err_and(|error| matches!(error.failure(), Some(Status(503)))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the error of a loader",
    note = "a loader may return every type that implements `std::error::Error` and is `Send + Sync + 'static`, \
            `Box<dyn Error + Send + Sync>`, `anyhow::Error`, texts and numbers"
)]
pub trait LoaderError<Kind>: Send + Sync + 'static {
    /// Returns the error that is the source of the [`LoadError`](crate::LoadError), or `None` if
    /// there is none.
    ///
    /// ```
    /// use std::io;
    /// use bytecache::LoaderError;
    ///
    /// assert!(io::Error::other("no answer").as_error().is_some());
    /// assert!("no answer".as_error().is_none());
    /// ```
    fn as_error(&self) -> Option<&(dyn Error + 'static)>;
}

impl<E: Error + Send + Sync + 'static> LoaderError<IsError> for E {
    fn as_error(&self) -> Option<&(dyn Error + 'static)> {
        // An error like any other. But the chain should go on to the error in it, which it hides.
        let shared = (self as &dyn Any).downcast_ref::<Arc<dyn Error + Send + Sync>>();
        Some(shared.map_or(self, |shared| &**shared))
    }
}

impl LoaderError<IsBox> for Box<dyn Error + Send + Sync> {
    fn as_error(&self) -> Option<&(dyn Error + 'static)> {
        Some(&**self)
    }
}

impl<E: AsRef<dyn Error> + Send + Sync + 'static> LoaderError<HasError> for E {
    fn as_error(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.as_ref())
    }
}

macro_rules! plain {
    ($($error:ty)*) => {$(
        impl LoaderError<IsPlain> for $error {
            fn as_error(&self) -> Option<&(dyn Error + 'static)> {
                None
            }
        }
    )*};
}

plain! { String &'static str Cow<'static, str> Box<str> Arc<str> () bool char }
plain! { u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize }

/// The error of a loader, in a [`LoadError::Failed`](crate::LoadError::Failed).
///
/// It dereferences to the error. All callers that waited for the load share it: a clone is a handle
/// of the same error.
///
/// ```
/// use std::io;
/// use bytecache::{Cache, LoadError};
///
/// let cache = Cache::new(1 << 20)?;
/// let result = cache.get_or_load("key", || Err::<&str, _>(io::Error::other("no answer")));
/// let Err(LoadError::Failed(failure)) = result else { return Err("loaded".into()) };
/// assert_eq!(failure.kind(), io::ErrorKind::Other);
/// assert_eq!(failure.to_string(), "no answer");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Failure<E> {
    shared: Arc<Shared<E>>,
}

/// The parts of a failure that its clones share.
struct Shared<E> {
    error: E,
    as_error: fn(&E) -> Option<&(dyn Error + 'static)>,
}

impl<E> Failure<E> {
    /// Creates the failure of a loader that has returned this error.
    ///
    /// ```
    /// use bytecache::{Failure, LoadError};
    ///
    /// let error = LoadError::Failed(Failure::new("no answer"));
    /// assert_eq!(error.failure(), Some(&"no answer"));
    /// ```
    #[must_use]
    pub fn new<Kind>(error: E) -> Self
    where
        E: LoaderError<Kind>,
    {
        Self { shared: Arc::new(Shared { error, as_error: E::as_error }) }
    }

    /// Returns the source of a [`LoadError`](super::LoadError) with this failure.
    pub(super) fn source(&self) -> Option<&(dyn Error + 'static)> {
        (self.shared.as_error)(&self.shared.error)
    }
}

impl<E: Send + Sync + 'static> Failure<E> {
    /// Returns this failure for followers, which may expect errors of another type.
    pub(super) fn to_any(&self) -> Arc<dyn Any + Send + Sync> {
        Arc::clone(&self.shared) as _
    }

    /// Returns the failure of a leader, or `None` if its error has another type.
    pub(super) fn from_any(any: Arc<dyn Any + Send + Sync>) -> Option<Self> {
        any.downcast().ok().map(|shared| Self { shared })
    }
}

impl<E> Clone for Failure<E> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<E> Deref for Failure<E> {
    type Target = E;

    fn deref(&self) -> &E {
        &self.shared.error
    }
}

impl<E: fmt::Debug> fmt::Debug for Failure<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.error.fmt(f)
    }
}

impl<E: fmt::Display> fmt::Display for Failure<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.error.fmt(f)
    }
}
