//! How the values of a [`Typed`](super::Typed) are loaded: by tasks, by threads, or not at all.
//!
//! The loaders of bytes do the work. Their functions are boxed, and convert keys and values.

use core::error::Error;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use std::sync::Arc;

use super::{Codec, OwnedKey, Values};
use crate::expiry::Lifetime;
use crate::loader::{AsyncLoader, BoxAsyncLoad, Loaded, Loader};

/// The error of loads of a [`Typed`](crate::Typed), in a [`LoadError`](crate::LoadError): that of
/// the function that loads.
pub type SharedError = Arc<dyn Error + Send + Sync>;

/// The function of a loader for threads.
pub(super) type BoxLoad = Box<dyn Fn(&[u8]) -> Result<Loaded<Vec<u8>>, SharedError> + Send + Sync>;

/// The kind of [`Typed`](crate::Typed) whose values are loaded by tasks.
#[derive(Clone)]
pub struct Tasks(pub(super) AsyncLoader<BoxAsyncLoad<SharedError>>);

/// The kind of [`Typed`](crate::Typed) whose values are loaded by threads.
#[derive(Clone)]
pub struct Threads(pub(super) Loader<BoxLoad>);

/// The kind of [`Typed`](crate::Typed) without a function that loads.
#[derive(Clone)]
pub struct NoLoads(pub(super) ());

macro_rules! debug {
    ($($kind:ident)*) => {$(
        impl fmt::Debug for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!("(", stringify!($kind), ")"))
            }
        }
    )*};
}

debug! { Tasks Threads NoLoads }

/// A load that could not be converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conversion {
    Key,
    Value,
}

impl fmt::Display for Conversion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key => "the bytes of the key are not those of a key of its type",
            Self::Value => "the loaded value does not decode from the bytes that it was encoded to",
        })
    }
}

impl Error for Conversion {}

fn shared(error: impl Into<Box<dyn Error + Send + Sync>>) -> SharedError {
    Arc::from(error.into())
}

/// Returns the bytes of what was found under a key, with the idle deadline of the namespace. If they
/// do not encode, what is older is removed.
fn to_loaded<V, C: Codec<V>>(
    values: &Values<C>,
    key: &[u8],
    found: Option<V>,
    own: Lifetime,
) -> Result<Loaded<Vec<u8>>, SharedError> {
    let Some(value) = found else { return Ok(Loaded::Absent) };
    match values.encode(&value) {
        Ok(bytes) => Ok(Loaded::ValueFor(bytes, own)),
        Err(error) => {
            values.space.refuse_unencodable(key);
            Err(shared(error))
        }
    }
}

/// Returns the function of a loader for threads. `own` is what the loader's builder cannot set.
pub(super) fn for_threads<K, V, C, F, E>(values: &Arc<Values<C>>, own: Lifetime, load: F) -> BoxLoad
where
    K: OwnedKey,
    V: 'static,
    C: Codec<V>,
    F: Fn(K) -> Result<Option<V>, E> + Send + Sync + 'static,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    let values = Arc::clone(values);
    Box::new(move |key| {
        let typed = K::read(key).ok_or_else(|| shared(Conversion::Key))?;
        to_loaded(&values, key, load(typed).map_err(shared)?, own)
    })
}

/// Like [`for_threads`], but for tasks.
pub(super) fn for_tasks<K, V, C, F, T, E>(values: &Arc<Values<C>>, own: Lifetime, load: F) -> BoxAsyncLoad<SharedError>
where
    K: OwnedKey,
    V: 'static,
    C: Codec<V>,
    F: Fn(K) -> T + Send + Sync + 'static,
    T: Future<Output = Result<Option<V>, E>> + Send + 'static,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    let values = Arc::clone(values);
    Box::new(move |key| {
        let loading = K::read(&key).map(&load);
        let values = Arc::clone(&values);
        Box::pin(async move {
            let loading = loading.ok_or_else(|| shared(Conversion::Key))?;
            to_loaded(&values, &key, loading.await.map_err(shared)?, own)
        }) as Pin<Box<dyn Future<Output = _> + Send>>
    })
}
