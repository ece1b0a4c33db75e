//! [`TypedBuilder`]: the options of a [`Typed`].

use core::error::Error;
use core::fmt;
use core::future::Future;
use core::marker::PhantomData;
use core::time::Duration;
use std::sync::Arc;

use super::source::{TaskLoader, ThreadLoader, for_batches, for_batches_on_threads, for_tasks, for_threads};
use super::{Codec, NoLoads, OwnedKey, Tasks, Threads, Typed, Values};
use crate::cache::NamespaceBuilder;
use crate::error::BuildError;
use crate::expiry::Lifetime;
use crate::loader::{Batch, LoaderBuilder};

/// A change of the options of a loader.
type Options = Box<dyn FnOnce(LoaderBuilder) -> LoaderBuilder>;

/// A builder of a [`Typed`], from [`NamespaceBuilder::typed`].
///
/// ```
/// use bytecache::typed::Utf8;
/// use bytecache::{Cache, Typed};
/// use std::time::Duration;
///
/// let cache = Cache::new(1 << 20)?;
/// let names: Typed<u64, String, _, _> =
///     cache.namespace("names").typed(Utf8).ttl(Duration::from_secs(60)).build()?;
/// names.insert(&1, &"Ada".to_string())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a builder does nothing until `build`"]
pub struct TypedBuilder<C> {
    space: NamespaceBuilder,
    codec: C,
    lifetime: Lifetime,
    idle: Option<Duration>,
    is_zero: bool,
    options: Vec<Options>,
}

/// An opened namespace.
struct Opened<C, B> {
    values: Arc<Values<C>>,
    /// The part of loaded values' lifetime that a loader's builder cannot set.
    own: Lifetime,
    /// A function that returns the builder of the loader.
    loader: B,
}

impl NamespaceBuilder {
    /// Returns a builder of a [`Typed`]: the namespace with typed keys, and with typed values that
    /// `codec` converts.
    ///
    /// ```
    /// use bytecache::typed::Utf8;
    /// use bytecache::{Cache, Typed};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let names: Typed<u64, String, _, _> = cache.namespace("names").typed(Utf8).build()?;
    /// assert_eq!(names.namespace().name(), "names");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn typed<C>(self, codec: C) -> TypedBuilder<C> {
        TypedBuilder { space: self, codec, lifetime: Lifetime::new(), idle: None, is_zero: false, options: Vec::new() }
    }
}

impl<C> TypedBuilder<C> {
    /// Sets the time to live of values. By default, that of the cache applies. Zero is an error of
    /// [`build`](Self::build).
    ///
    /// ```
    /// use bytecache::typed::Utf8;
    /// use bytecache::{BuildError, Cache};
    /// use std::time::Duration;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let builder = cache.namespace("names").typed(Utf8).ttl(Duration::ZERO);
    /// assert_eq!(builder.build::<u64, String>().unwrap_err(), BuildError::ZeroLifetime);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.lifetime = self.lifetime.ttl(ttl);
        self.is_zero |= ttl.is_zero();
        self.loads(move |loads| loads.ttl(ttl))
    }

    /// Sets the time to idle of values. By default, that of the cache applies. Zero is an error of
    /// [`build`](Self::build).
    ///
    /// ```
    /// use bytecache::typed::Utf8;
    /// use bytecache::{Cache, ManualClock, Typed};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder().max_bytes(1 << 20).clock(clock.clone()).build()?;
    /// let sessions: Typed<u64, String, _, _> =
    ///     cache.namespace("sessions").typed(Utf8).time_to_idle(Duration::from_secs(60)).build()?;
    /// sessions.insert(&1, &"Ada".to_string())?;
    /// clock.advance(Duration::from_secs(61));
    /// assert!(sessions.get(&1).is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn time_to_idle(mut self, idle: Duration) -> Self {
        self.lifetime = self.lifetime.time_to_idle(idle);
        self.idle = Some(idle);
        self.is_zero |= idle.is_zero();
        self
    }

    /// Sets the stale period of values. If a load fails, the call returns a value in its stale
    /// period. See [`LoaderBuilder::stale_for`].
    ///
    /// ```
    /// use bytecache::typed::Utf8;
    /// use bytecache::{Cache, ManualClock};
    /// use std::io::Error;
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder().max_bytes(1 << 20).clock(clock.clone()).build()?;
    /// let builder = cache.namespace("names").typed(Utf8).ttl(Duration::from_secs(60));
    /// let names = builder
    ///     .stale_for(Duration::from_secs(600))
    ///     .build_loader(|_: u64| Err::<Option<String>, _>(Error::other("down")))?;
    /// names.insert(&1, &"Ada".to_string())?;
    /// clock.advance(Duration::from_secs(61));
    /// assert_eq!(names.get(&1)?.as_deref(), Some("Ada"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stale_for(mut self, stale: Duration) -> Self {
        self.lifetime = self.lifetime.stale_for(stale);
        self.loads(move |loads| loads.stale_for(stale))
    }

    /// Sets the age from which a read loads a value again. See
    /// [`LoaderBuilder::refresh_after`].
    ///
    /// ```
    /// use bytecache::typed::Utf8;
    /// use bytecache::{Cache, ManualClock};
    /// use std::io::Error;
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder().max_bytes(1 << 20).clock(clock.clone()).build()?;
    /// let names = cache
    ///     .namespace("names")
    ///     .typed(Utf8)
    ///     .refresh_after(Duration::from_secs(60))
    ///     .build_loader(|_: u64| Ok::<_, Error>(Some("Grace".to_string())))?;
    /// names.insert(&1, &"Ada".to_string())?;
    /// assert_eq!(names.get(&1)?.as_deref(), Some("Ada"));
    /// clock.advance(Duration::from_secs(61));
    /// assert_eq!(names.get(&1)?.as_deref(), Some("Grace"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn refresh_after(mut self, age: Duration) -> Self {
        self.lifetime = self.lifetime.refresh_after(age);
        self.loads(move |loads| loads.refresh_after(age))
    }

    /// Sets how long the cache records that a load found nothing. By default that is not recorded,
    /// and each read loads again. See [`LoaderBuilder::negative_ttl`].
    ///
    /// ```
    /// use bytecache::typed::Utf8;
    /// use bytecache::Cache;
    /// use std::io::Error;
    /// use std::time::Duration;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let names = cache
    ///     .namespace("names")
    ///     .typed(Utf8)
    ///     .negative_ttl(Duration::from_secs(30))
    ///     .build_loader(|_: u64| Ok::<_, Error>(None::<String>))?;
    /// assert_eq!((names.get(&1)?, names.get(&1)?), (None, None));
    /// assert_eq!(names.stats().loads, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn negative_ttl(self, ttl: Duration) -> Self {
        self.loads(move |loads| loads.negative_ttl(ttl))
    }

    /// Changes other options of loads by a closure, which gets the builder of the loader and
    /// returns it. [`build`](Self::build) does not call the closure, since it builds no loader.
    ///
    /// ```
    /// use bytecache::typed::Utf8;
    /// use bytecache::Cache;
    /// use std::io::Error;
    /// use std::time::Duration;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let names = cache
    ///     .namespace("names")
    ///     .typed(Utf8)
    ///     .loads(|loads| loads.error_ttl(Duration::from_secs(5)))
    ///     .build_loader(|_: u64| Err::<Option<String>, _>(Error::other("down")))?;
    /// assert!(names.get(&1).is_err() && names.get(&1).is_err());
    /// assert_eq!(names.stats().loads, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn loads(mut self, change: impl FnOnce(LoaderBuilder) -> LoaderBuilder + 'static) -> Self {
        self.options.push(Box::new(change));
        self
    }

    /// Opens the namespace without a function that loads.
    ///
    /// # Errors
    ///
    /// * [`BuildError::CodecAlignment`] if the codec needs a larger
    ///   [`value_alignment`](crate::CacheBuilder::value_alignment);
    /// * [`BuildError::ZeroLifetime`] if the time to live or to idle is zero;
    /// * those of [`NamespaceBuilder::build`].
    ///
    /// ```
    /// use bytecache::typed::Utf8;
    /// use bytecache::{Cache, Typed};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let names: Typed<String, String, _, _> = cache.namespace("names").typed(Utf8).build()?;
    /// names.insert("ada", &"Ada".to_string())?;
    /// assert_eq!(names.get("ada").as_deref(), Some("Ada"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn build<K, V>(self) -> Result<Typed<K, V, C, NoLoads>, BuildError>
    where
        K: OwnedKey,
        C: Codec<V>,
    {
        let Opened { values, .. } = self.open()?;
        Ok(Typed { values, loads: NoLoads(()), types: PhantomData })
    }

    /// Opens the namespace with a function for threads that loads a missing value. It runs on the
    /// thread that reads, or on the [`executor`](Self::executor).
    ///
    /// `load` returns `None` if there is no value.
    ///
    /// # Errors
    ///
    /// Those of [`build`](Self::build) and of [`LoaderBuilder::build`].
    ///
    /// ```
    /// use bytecache::typed::{Threads, Utf8};
    /// use bytecache::{Cache, Typed};
    /// use std::io::Error;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let names: Typed<u64, String, Utf8, Threads> = cache
    ///     .namespace("names")
    ///     .typed(Utf8)
    ///     .build_loader(|id| Ok::<_, Error>((id == 1).then(|| "Ada".to_string())))?;
    /// assert_eq!(names.get(&1)?.as_deref(), Some("Ada"));
    /// assert_eq!(names.get(&2)?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn build_loader<K, V, E, F>(self, load: F) -> Result<Typed<K, V, C, Threads>, BuildError>
    where
        K: OwnedKey,
        V: 'static,
        C: Codec<V>,
        F: Fn(K) -> Result<Option<V>, E> + Send + Sync + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let Opened { values, own, loader } = self.open()?;
        let loader = loader().build(for_threads(&values, own, load))?;
        Ok(Typed { values, loads: Threads(ThreadLoader::Each(loader)), types: PhantomData })
    }

    /// Opens the namespace with a function for threads that loads the missing values of several
    /// calls at once. See [`LoaderBuilder::build_batched`].
    ///
    /// `load` gets the keys, and returns their values in the same order, with `None` where there is
    /// none. If a value does not encode, that is the error of all keys of its batch.
    ///
    /// # Errors
    ///
    /// Those of [`build`](Self::build) and of [`LoaderBuilder::build_batched`].
    ///
    /// ```
    /// use bytecache::typed::{Threads, Utf8};
    /// use bytecache::{Batch, Cache, Typed};
    /// use std::io::Error;
    ///
    /// /// Reads names from a database, by one query.
    /// fn names_of(ids: Vec<u64>) -> Result<Vec<Option<String>>, Error> {
    ///     Ok(ids.iter().map(|&id| (id == 1).then(|| "Ada".to_string())).collect())
    /// }
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let names: Typed<u64, String, Utf8, Threads> = cache
    ///     .namespace("names")
    ///     .typed(Utf8)
    ///     .build_batched_loader(Batch::up_to(256).in_flight(2), names_of)?;
    /// let found = names.get_many(&[1, 2]); // One query.
    /// assert!(matches!(&found[..], [Ok(Some(name)), Ok(None)] if name == "Ada"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn build_batched_loader<K, V, E, F>(self, batch: Batch, load: F) -> Result<Typed<K, V, C, Threads>, BuildError>
    where
        K: OwnedKey,
        V: 'static,
        C: Codec<V>,
        F: Fn(Vec<K>) -> Result<Vec<Option<V>>, E> + Send + Sync + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let Opened { values, own, loader } = self.open()?;
        let loader = loader().build_batched(batch, for_batches_on_threads(&values, own, load))?;
        Ok(Typed { values, loads: Threads(ThreadLoader::Batched(loader)), types: PhantomData })
    }

    /// Opens the namespace with a function for tasks that loads a missing value.
    ///
    /// The future of `load` returns `None` if there is no value.
    ///
    /// # Errors
    ///
    /// Those of [`build`](Self::build) and of [`LoaderBuilder::build_async`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use bytecache::typed::Utf8;
    /// use bytecache::{Cache, Typed};
    /// use std::io::Error;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let names: Typed<u64, String, Utf8> = cache
    ///     .namespace("names")
    ///     .typed(Utf8)
    ///     .build_async(|id| async move { Ok::<_, Error>((id == 1).then(|| "Ada".to_string())) })?;
    /// assert_eq!(names.get(&1).await?.as_deref(), Some("Ada"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn build_async<K, V, E, F, T>(self, load: F) -> Result<Typed<K, V, C>, BuildError>
    where
        K: OwnedKey,
        V: 'static,
        C: Codec<V>,
        F: Fn(K) -> T + Send + Sync + 'static,
        T: Future<Output = Result<Option<V>, E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let Opened { values, own, loader } = self.open()?;
        let loader = loader().build_async(for_tasks(&values, own, load))?;
        Ok(Typed { values, loads: Tasks(TaskLoader::Each(loader)), types: PhantomData })
    }

    /// Opens the namespace with a function for tasks that loads the missing values of several calls
    /// at once. See [`LoaderBuilder::build_batched_async`].
    ///
    /// `load` gets the keys. Its future returns their values in the same order, with `None` where
    /// there is none. If a value does not encode, that is the error of all keys of its batch.
    ///
    /// # Errors
    ///
    /// Those of [`build`](Self::build) and of [`LoaderBuilder::build_batched_async`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use bytecache::typed::Utf8;
    /// use bytecache::{Batch, Cache, Typed};
    /// use std::io::Error;
    ///
    /// /// Reads names from a database, by one query.
    /// async fn names_of(ids: Vec<u64>) -> Result<Vec<Option<String>>, Error> {
    ///     Ok(ids.iter().map(|&id| (id == 1).then(|| "Ada".to_string())).collect())
    /// }
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let names: Typed<u64, String, Utf8> = cache
    ///     .namespace("names")
    ///     .typed(Utf8)
    ///     .spawner(|batch| drop(tokio::spawn(batch)))
    ///     .build_batched_async(Batch::up_to(256).in_flight(2), names_of)?;
    /// let (first, second) = tokio::join!(names.get(&1), names.get(&2)); // One query.
    /// assert_eq!((first?.as_deref(), second?), (Some("Ada"), None));
    /// # Ok(())
    /// # }
    /// ```
    pub fn build_batched_async<K, V, E, F, T>(self, batch: Batch, load: F) -> Result<Typed<K, V, C>, BuildError>
    where
        K: OwnedKey,
        V: 'static,
        C: Codec<V>,
        F: Fn(Vec<K>) -> T + Send + Sync + 'static,
        T: Future<Output = Result<Vec<Option<V>>, E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let Opened { values, own, loader } = self.open()?;
        let loader = loader().build_batched_async(batch, for_batches(&values, own, load))?;
        Ok(Typed { values, loads: Tasks(TaskLoader::Batched(loader)), types: PhantomData })
    }

    /// Checks the options and opens the namespace.
    fn open<V>(self) -> Result<Opened<C, impl FnOnce() -> LoaderBuilder>, BuildError>
    where
        C: Codec<V>,
    {
        let Self { space, codec, lifetime, idle, is_zero, options } = self;
        if is_zero {
            return Err(BuildError::ZeroLifetime);
        }
        let (needed, alignment) = (codec.alignment(), space.value_alignment());
        if needed > alignment {
            return Err(BuildError::CodecAlignment { needed, alignment });
        }
        let own = idle.map_or(Lifetime::new(), |idle| Lifetime::new().time_to_idle(idle));
        let values = Arc::new(Values { space: space.build()?, codec, lifetime });
        let loader = values.space.loader();
        let loader = || options.into_iter().fold(loader, |loader, change| change(loader));
        Ok(Opened { values, own, loader })
    }
}

impl<C> fmt::Debug for TypedBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedBuilder")
            .field("namespace", &self.space)
            .field("lifetime", &self.lifetime)
            .finish_non_exhaustive()
    }
}
