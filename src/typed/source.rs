//! The kinds of loads of a [`Typed`](super::Typed): by tasks, by threads, or none.
//!
//! The loaders of bytes do the work. Their functions are boxed, and convert keys and values.

use core::error::Error;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use std::sync::Arc;

use super::{Codec, OwnedKey, Values};
use crate::expiry::Lifetime;
use crate::loader::{AsyncLoader, Batched, BoxAsyncLoad, LoadError, Loaded, Loader};
use crate::ring::Value;

/// The error of the function that loads the values of a [`Typed`](crate::Typed). A
/// [`LoadError`](crate::LoadError) contains it.
pub type SharedError = Arc<dyn Error + Send + Sync>;

/// The function of a loader for threads.
pub(super) type BoxLoad = Box<dyn Fn(&[u8]) -> Result<Loaded<Vec<u8>>, SharedError> + Send + Sync>;

/// The function of a loader for threads of many keys.
pub(super) type BoxBatchLoad =
    Box<dyn Fn(&[Arc<[u8]>]) -> Result<Vec<Option<Loaded<Vec<u8>>>>, SharedError> + Send + Sync>;

/// The function of a loader for tasks of many keys.
pub(super) type BoxBatch =
    Box<dyn Fn(Vec<Arc<[u8]>>) -> Boxed<Result<Vec<Option<Loaded<Vec<u8>>>>, SharedError>> + Send + Sync>;

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A loader for threads.
#[derive(Clone)]
pub(super) enum ThreadLoader {
    /// A loader whose function loads one key.
    Each(Loader<BoxLoad>),
    /// A loader whose function loads the keys of several calls.
    Batched(Loader<Batched<BoxBatchLoad>>),
}

impl ThreadLoader {
    /// Returns `true` if a hit may load its value again by chance.
    #[inline]
    pub(super) fn refreshes_early(&self) -> bool {
        match self {
            Self::Each(loader) => loader.refreshes_early(),
            Self::Batched(loader) => loader.refreshes_early(),
        }
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Value, LoadError<SharedError>> {
        match self {
            Self::Each(loader) => loader.get(key),
            Self::Batched(loader) => loader.get(key),
        }
    }

    pub(super) fn get_many(&self, keys: &[Vec<u8>]) -> Vec<Result<Value, LoadError<SharedError>>> {
        match self {
            Self::Each(loader) => loader.get_many(keys),
            Self::Batched(loader) => loader.get_many(keys),
        }
    }
}

/// A loader for tasks.
#[derive(Clone)]
pub(super) enum TaskLoader {
    /// A loader whose function loads one key.
    Each(AsyncLoader<BoxAsyncLoad<SharedError>>),
    /// A loader whose function loads the keys of several calls.
    Batched(AsyncLoader<Batched<BoxBatch>>),
}

impl TaskLoader {
    /// Returns `true` if a hit may load its value again by chance.
    #[inline]
    pub(super) fn refreshes_early(&self) -> bool {
        match self {
            Self::Each(loader) => loader.refreshes_early(),
            Self::Batched(loader) => loader.refreshes_early(),
        }
    }

    pub(super) async fn get(&self, key: &[u8]) -> Result<Value, LoadError<SharedError>> {
        match self {
            Self::Each(loader) => loader.get_async(key).await,
            Self::Batched(loader) => loader.get_async(key).await,
        }
    }

    pub(super) async fn get_many(&self, keys: &[Vec<u8>]) -> Vec<Result<Value, LoadError<SharedError>>> {
        match self {
            Self::Each(loader) => loader.get_many_async(keys).await,
            Self::Batched(loader) => loader.get_many_async(keys).await,
        }
    }
}

/// The kind of [`Typed`](crate::Typed) whose values are loaded by tasks.
#[derive(Clone)]
pub struct Tasks(pub(super) TaskLoader);

/// The kind of [`Typed`](crate::Typed) whose values are loaded by threads.
#[derive(Clone)]
pub struct Threads(pub(super) ThreadLoader);

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

/// The part of a load that could not be converted.
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

/// Returns the bytes of what was found under a key, with the idle deadline of the namespace. If
/// the value does not encode, removes the older entry.
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

/// Returns the keys of a batch with their type.
fn typed_keys<K: OwnedKey>(keys: &[Arc<[u8]>]) -> Result<Vec<K>, SharedError> {
    keys.iter().map(|key| K::read(key).ok_or_else(|| shared(Conversion::Key))).collect()
}

/// Like [`to_loaded`], but for the keys of a batch.
fn to_loaded_batch<V, C: Codec<V>>(
    values: &Values<C>,
    keys: &[Arc<[u8]>],
    found: Vec<Option<V>>,
    own: Lifetime,
) -> Result<Vec<Option<Loaded<Vec<u8>>>>, SharedError> {
    if found.len() != keys.len() {
        return Ok(found.iter().map(|_| None).collect()); // The loader refuses the number.
    }
    let convert = |(key, found): (&Arc<[u8]>, _)| to_loaded(values, key, found, own).map(Some);
    keys.iter().zip(found).map(convert).collect()
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

/// Returns the function of a loader for tasks. See [`for_threads`].
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
        }) as Boxed<_>
    })
}

/// Returns the function of a loader for threads of many keys. See [`for_threads`].
pub(super) fn for_batches_on_threads<K, V, C, F, E>(values: &Arc<Values<C>>, own: Lifetime, load: F) -> BoxBatchLoad
where
    K: OwnedKey,
    V: 'static,
    C: Codec<V>,
    F: Fn(Vec<K>) -> Result<Vec<Option<V>>, E> + Send + Sync + 'static,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    let values = Arc::clone(values);
    Box::new(move |keys| {
        let found = load(typed_keys(keys)?).map_err(shared)?;
        to_loaded_batch(&values, keys, found, own)
    })
}

/// Returns the function of a loader for tasks of many keys. See [`for_threads`].
pub(super) fn for_batches<K, V, C, F, T, E>(values: &Arc<Values<C>>, own: Lifetime, load: F) -> BoxBatch
where
    K: OwnedKey,
    V: 'static,
    C: Codec<V>,
    F: Fn(Vec<K>) -> T + Send + Sync + 'static,
    T: Future<Output = Result<Vec<Option<V>>, E>> + Send + 'static,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    let values = Arc::clone(values);
    Box::new(move |keys: Vec<Arc<[u8]>>| {
        let loading = typed_keys(&keys).map(&load);
        let values = Arc::clone(&values);
        Box::pin(async move {
            let found = loading?.await.map_err(shared)?;
            to_loaded_batch(&values, &keys, found, own)
        }) as Boxed<_>
    })
}
