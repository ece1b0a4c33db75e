//! [`LoaderBuilder`]: the rules of a loader, and the checks of its options. The options that set
//! where loads run and how long calls wait are in `runtime.rs`.

use core::fmt;
use core::future::Future;
use core::time::Duration;
use std::sync::Arc;

use super::IntoLoaded;
use super::batch::{Batch, Batched};
use super::handles::{AsyncLoader, Loader, Shared};
use super::options::LoadOptions;
use super::runtime::Runtime;
use crate::cache::Cache;
use crate::error::BuildError;
use crate::expiry::Lifetime;

/// A builder of a [`Loader`] or an [`AsyncLoader`], from [`Cache::loader`].
///
/// All options have defaults.
///
/// ```
/// use std::io;
/// use std::time::Duration;
/// use bytecache::Cache;
///
/// let cache = Cache::new(1 << 20)?;
/// let loader = cache
///     .loader()
///     .ttl(Duration::from_secs(60))
///     .negative_ttl(Duration::from_secs(5))
///     .build(|key| Ok::<_, io::Error>(key.to_ascii_uppercase()))?;
/// assert_eq!(loader.get("key")?, "KEY");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct LoaderBuilder {
    cache: Cache,
    pub(super) options: LoadOptions,
    ttl: Option<Duration>,
    refresh_after: Option<Duration>,
    pub(super) runtime: Runtime,
}

impl LoaderBuilder {
    /// Sets the time to live of values, from the end of their load. A value that comes with a
    /// [lifetime](super::Loaded::ValueFor) of its own keeps that.
    ///
    /// By default, the time to live of the cache applies. Zero is an error of
    /// [`build`](Self::build). The cache's [`ttl_jitter`](crate::CacheBuilder::ttl_jitter) applies
    /// to both.
    ///
    /// ```
    /// use std::io;
    /// use std::time::Duration;
    /// use bytecache::{BuildError, Cache, ManualClock};
    ///
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder().max_bytes(1 << 20).clock(clock.clone()).build()?;
    /// let builder = cache.loader().ttl(Duration::from_secs(60));
    /// let loader = builder.build(|_| Ok::<_, io::Error>("value"))?;
    /// assert_eq!(loader.get("key")?, "value");
    /// assert!(cache.contains_key("key"));
    /// clock.advance(Duration::from_secs(61));
    /// assert!(!cache.contains_key("key"));
    ///
    /// let error = cache.loader().ttl(Duration::ZERO).build(|_| Ok::<_, io::Error>("value")).err();
    /// assert_eq!(error, Some(BuildError::ZeroLifetime));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self.options.lifetime = self.options.lifetime.ttl(ttl);
        self
    }

    /// Sets how long the cache records that a load found [nothing](super::Loaded::Absent). Calls
    /// for the key return [`LoadError::Absent`](super::LoadError::Absent) meanwhile.
    ///
    /// By default, that is not recorded, and each call loads again.
    ///
    /// A negative entry records it: an entry without a value, which all reads except those of loads
    /// miss. It counts in [`len`](Cache::len), and may be evicted. An insert under the key or
    /// a removal of the key removes it.
    ///
    /// ```
    /// use std::io;
    /// use std::time::Duration;
    /// use bytecache::{Cache, Loaded, ManualClock};
    ///
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder().max_bytes(1 << 20).clock(clock.clone()).build()?;
    /// let loader = cache
    ///     .loader()
    ///     .negative_ttl(Duration::from_secs(5))
    ///     .build(|_| Ok::<Loaded<&str>, io::Error>(Loaded::Absent))?;
    /// assert!(loader.get("key").is_err_and(|error| error.is_absent()));
    /// assert!(loader.get("key").is_err_and(|error| error.is_absent()));
    /// assert_eq!(cache.stats().loads, 1);
    /// clock.advance(Duration::from_secs(6));
    /// assert!(loader.get("key").is_err_and(|error| error.is_absent()));
    /// assert_eq!(cache.stats().loads, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn negative_ttl(mut self, ttl: Duration) -> Self {
        self.options.negative_ttl = ttl;
        self
    }

    /// Sets how long a key is not loaded again after its load has failed.
    ///
    /// Calls for the key return [`LoadError::RecentFailure`](super::LoadError::RecentFailure)
    /// meanwhile. They return a stale value instead, if there is one and
    /// [`stale_for`](Self::stale_for) is set. The longest time is 90 days. A longer one is cut to
    /// that.
    ///
    /// By default, a key without a value is loaded by each call. A value that is due for a refresh
    /// is due again a second after an attempt that failed.
    ///
    /// ```
    /// use std::io;
    /// use std::time::Duration;
    /// use bytecache::{Cache, LoadError, ManualClock};
    ///
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder().max_bytes(1 << 20).clock(clock.clone()).build()?;
    /// let loader = cache
    ///     .loader()
    ///     .error_ttl(Duration::from_secs(5))
    ///     .build(|_| Err::<String, _>(io::Error::other("the store does not answer")))?;
    /// assert!(matches!(loader.get("key"), Err(LoadError::Failed(_))));
    /// assert!(matches!(loader.get("key"), Err(LoadError::RecentFailure)));
    /// clock.advance(Duration::from_secs(6));
    /// assert!(matches!(loader.get("key"), Err(LoadError::Failed(_))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn error_ttl(mut self, ttl: Duration) -> Self {
        self.options.error_ttl = Some(ttl);
        self
    }

    /// Sets the age from which values are refreshed. The first caller that reads such a value loads
    /// it again, while all others get the current value.
    ///
    /// A thread runs the load in place, or on the [`executor`](Self::executor). A task waits for
    /// the load, unless the [`spawner`](Self::spawner) runs it. With
    /// [`get_then_refresh`](AsyncLoader::get_then_refresh), a task can use the value before the
    /// load. If the load fails, the value stays until its deadline, and the refresh is tried again
    /// after the [`error_ttl`](Self::error_ttl).
    ///
    /// By default, values are not refreshed. An entry takes four bytes for this. An age that is not
    /// below the [`ttl`](Self::ttl) is an error of [`build`](Self::build).
    ///
    /// ```
    /// use std::io;
    /// use std::sync::atomic::{AtomicU64, Ordering};
    /// use std::time::Duration;
    /// use bytecache::{Cache, ManualClock};
    ///
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder().max_bytes(1 << 20).clock(clock.clone()).build()?;
    /// let version = AtomicU64::new(0);
    /// let next_version = move |_: &[u8]| {
    ///     Ok::<_, io::Error>(version.fetch_add(1, Ordering::Relaxed).to_string())
    /// };
    /// let loader = cache.loader().refresh_after(Duration::from_secs(50)).build(next_version)?;
    /// assert_eq!(loader.get("version")?, "0");
    /// assert_eq!(loader.get("version")?, "0");
    /// clock.advance(Duration::from_secs(51));
    /// assert_eq!(loader.get("version")?, "1");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn refresh_after(mut self, age: Duration) -> Self {
        self.refresh_after = Some(age);
        self.options.lifetime = self.options.lifetime.refresh_after(age);
        self
    }

    /// Lets reads refresh values before their deadline, at random.
    ///
    /// The probability of a refresh grows as the deadline comes nearer, and with the duration of
    /// loads. With a `beta` of 1, the time from the refresh to the deadline is about that of a
    /// load. A larger `beta` refreshes the value earlier. So one of many readers of a hot key loads
    /// it, and several processes do so at different times. A refresh that fails or is given up is
    /// tried again like one that is [due](Self::refresh_after).
    ///
    /// This is XFetch, of "Optimal Probabilistic Cache Stampede Prevention" (Vattani, Chierichetti,
    /// Lowenstein, VLDB 2015).
    ///
    /// By default, values are not refreshed early. A `beta` that is not a finite number above zero
    /// is an error of [`build`](Self::build).
    ///
    /// ```
    /// use std::io;
    /// use std::time::Duration;
    /// use bytecache::{BuildError, Cache};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let builder = cache.loader().ttl(Duration::from_secs(60));
    /// let loader = builder.clone().early_refresh(1.0).build(|_| Ok::<_, io::Error>("value"))?;
    /// assert_eq!(loader.get("key")?, "value");
    ///
    /// let error = builder.early_refresh(0.0).build(|_| Ok::<_, io::Error>("value")).err();
    /// assert_eq!(error, Some(BuildError::EarlyRefresh { beta: 0.0 }));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Cost
    ///
    /// Each hit takes a second search. Each entry takes four bytes.
    pub fn early_refresh(mut self, beta: f64) -> Self {
        self.options.early_beta = Some(beta);
        self
    }

    /// Sets the stale period of values: how long they are kept after their deadline, for loads that
    /// fail.
    ///
    /// A call returns the stale value if the load fails, or panics in another thread or task. It
    /// also does so if another caller loads for longer than the [`wait_limit`](Self::wait_limit).
    ///
    /// By default, the stale period of the cache applies, and such calls return the error.
    ///
    /// [`CacheBuilder::stale_for`](crate::CacheBuilder::stale_for) keeps entries in the same way,
    /// for [`get_or_stale`](crate::Cache::get_or_stale).
    ///
    /// ```
    /// use std::io;
    /// use std::sync::atomic::{AtomicBool, Ordering};
    /// use std::time::Duration;
    /// use bytecache::{Cache, ManualClock};
    ///
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder().max_bytes(1 << 20).clock(clock.clone()).build()?;
    /// let is_first = AtomicBool::new(true);
    /// let loader = cache
    ///     .loader()
    ///     .ttl(Duration::from_secs(60))
    ///     .stale_for(Duration::from_secs(600))
    ///     .build(move |_| match is_first.swap(false, Ordering::Relaxed) {
    ///         true => Ok("value"),
    ///         false => Err(io::Error::other("the store does not answer")),
    ///     })?;
    /// assert_eq!(loader.get("key")?, "value");
    /// clock.advance(Duration::from_secs(61));
    /// assert_eq!(loader.get("key")?, "value"); // The load failed.
    /// clock.advance(Duration::from_secs(600));
    /// assert!(loader.get("key").is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stale_for(mut self, stale: Duration) -> Self {
        self.options.lifetime = self.options.lifetime.stale_for(stale);
        self.options.falls_back_to_stale = true;
        self
    }

    /// Creates a loader for threads. `load` gets the key, and returns the value.
    ///
    /// ```
    /// use std::io;
    /// use std::time::Duration;
    /// use bytecache::{BuildError, Cache};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let loader = cache.loader().build(|key| Ok::<_, io::Error>(key.to_ascii_uppercase()))?;
    /// assert_eq!(loader.get("key")?, "KEY");
    ///
    /// let (refresh_after, ttl) = (Duration::from_secs(60), Duration::from_secs(60));
    /// let builder = cache.loader().ttl(ttl).refresh_after(refresh_after);
    /// let error = builder.build(|_| Ok::<_, io::Error>("value")).err();
    /// assert_eq!(error, Some(BuildError::LateRefresh { refresh_after, ttl }));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// * [`BuildError::ZeroLifetime`] if the [`ttl`](Self::ttl) is zero.
    /// * [`BuildError::LateRefresh`] if [`refresh_after`](Self::refresh_after) is not below the
    ///   `ttl`, or below the cache's own if the loader has none.
    /// * [`BuildError::EarlyRefresh`] if the beta of [`early_refresh`](Self::early_refresh) is not
    ///   a finite number above zero.
    /// * [`BuildError::NoExecutor`] if there is a [`load_timeout`](Self::load_timeout) without an
    ///   [`executor`](Self::executor).
    pub fn build<F, V, E>(self, load: F) -> Result<Loader<F>, BuildError>
    where
        F: Fn(&[u8]) -> Result<V, E> + Send + Sync + 'static,
        V: IntoLoaded,
        E: Send + Sync + 'static,
    {
        Ok(Loader::new(self.share_for_threads(load)?))
    }

    /// Creates a loader for threads that loads the keys of several calls at once. `load` gets the
    /// keys, and returns their values, in the same order.
    ///
    /// `None` means that it found nothing, as does [`Loaded::Absent`](super::Loaded::Absent). If
    /// fewer than [`in_flight`](Batch::in_flight) batches are in flight, a key is loaded at once.
    /// Otherwise, it is loaded with the next batch. No call waits for a timer.
    ///
    /// All rules of the loader hold for each key: its lifetime, a negative result, refreshes, and
    /// one load at a time. If `load` fails, that is the error of all keys of the batch.
    ///
    /// A batch runs on the [`executor`](Self::executor). Without an executor, it runs in the call
    /// that opened it, and other calls wait for that call. If `load` asks this loader for another
    /// key, it may wait forever for its own batch.
    ///
    /// ```
    /// use std::io;
    /// use std::sync::Arc;
    /// use bytecache::{Batch, Cache};
    ///
    /// /// A store that is asked for many users at once.
    /// fn read_users(ids: &[Arc<[u8]>]) -> Result<Vec<Option<String>>, io::Error> {
    ///     Ok(ids.iter().map(|id| (**id != *b"3").then(|| format!("user {}", id.escape_ascii()))).collect())
    /// }
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let users = cache.loader().build_batched(Batch::up_to(256).in_flight(2), read_users)?;
    /// assert_eq!(users.get("1")?, "user 1");
    /// let found = users.get_many(&["1", "2", "3"]); // One query, for two keys.
    /// assert!(found[1].as_ref().is_ok_and(|user| *user == "user 2"));
    /// assert!(found[2].as_ref().is_err_and(|error| error.is_absent()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`build`](Self::build), and [`BuildError::EmptyBatch`] if one of the numbers in
    /// `batch` is zero.
    pub fn build_batched<F, V, E>(self, batch: Batch, load: F) -> Result<Loader<Batched<F>>, BuildError>
    where
        F: Fn(&[Arc<[u8]>]) -> Result<Vec<Option<V>>, E> + Send + Sync + 'static,
        V: IntoLoaded,
        E: Send + Sync + 'static,
    {
        if batch.is_empty() {
            return Err(BuildError::EmptyBatch);
        }
        Ok(Loader::new(self.share_for_threads(Batched::new(batch, load))?))
    }

    /// Creates a loader for tasks. `load` gets the key, and returns a future of the value.
    ///
    /// The future cannot borrow from `load`. Clone what it needs:
    /// `move |key| { let db = db.clone(); async move { db.read(&key).await } }`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::io;
    /// use std::time::Duration;
    /// use bytecache::{BuildError, Cache};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let loader = cache
    ///     .loader()
    ///     .build_async(|key| async move { Ok::<_, io::Error>(key.to_ascii_uppercase()) })?;
    /// assert_eq!(loader.get_async("key").await?, "KEY");
    ///
    /// let builder = cache.loader().wait_limit(Duration::from_secs(1));
    /// let error = builder.build_async(|_| async { Ok::<_, io::Error>("value") }).err();
    /// assert_eq!(error, Some(BuildError::NoSleep));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`build`](Self::build) except `NoExecutor`, and [`BuildError::NoSleep`] if there is
    /// a [`wait_limit`](Self::wait_limit) or a [`load_timeout`](Self::load_timeout) without a
    /// [`sleep`](Self::sleep).
    pub fn build_async<F, T, V, E>(self, load: F) -> Result<AsyncLoader<F>, BuildError>
    where
        F: Fn(Arc<[u8]>) -> T + Send + Sync + 'static,
        T: Future<Output = Result<V, E>> + Send + 'static,
        V: IntoLoaded + Send + 'static,
        E: Send + Sync + 'static,
    {
        Ok(AsyncLoader::new(self.share_async(load)?))
    }

    /// Creates a loader for tasks that loads the keys of several calls at once. `load` gets the
    /// keys, and returns a future of their values, in the same order.
    ///
    /// `None` means that it found nothing, as does [`Loaded::Absent`](super::Loaded::Absent). If
    /// fewer than [`in_flight`](Batch::in_flight) batches are in flight, a key is loaded at once.
    /// Otherwise, it is loaded with the next batch. No call waits for a timer.
    ///
    /// All rules of the loader hold for each key: its lifetime, a negative result, refreshes, and
    /// one load at a time. If `load` fails, that is the error of all keys of the batch.
    ///
    /// A batch is a task of the [`spawner`](Self::spawner). Without a spawner, it runs in the call
    /// that opened it, and other calls wait for that call. If that call is dropped, the others load
    /// again.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::io;
    /// use std::sync::Arc;
    /// use bytecache::{Batch, Cache};
    ///
    /// /// A store that is asked for many users at once.
    /// async fn read_users(ids: Vec<Arc<[u8]>>) -> Result<Vec<Option<String>>, io::Error> {
    ///     Ok(ids.iter().map(|id| (**id != *b"3").then(|| format!("user {}", id.escape_ascii()))).collect())
    /// }
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let users = cache
    ///     .loader()
    ///     .spawner(|task| drop(tokio::spawn(task)))
    ///     .build_batched_async(Batch::up_to(256).in_flight(2), read_users)?;
    /// let (first, second) = tokio::join!(users.get_async("1"), users.get_async("2")); // One query.
    /// assert!(first? == "user 1" && second? == "user 2");
    /// assert!(users.get_async("3").await.is_err_and(|error| error.is_absent()));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`build_async`](Self::build_async), and [`BuildError::EmptyBatch`] if one of the
    /// numbers in `batch` is zero.
    pub fn build_batched_async<F, T, V, E>(self, batch: Batch, load: F) -> Result<AsyncLoader<Batched<F>>, BuildError>
    where
        F: Fn(Vec<Arc<[u8]>>) -> T + Send + Sync + 'static,
        T: Future<Output = Result<Vec<Option<V>>, E>> + Send + 'static,
        V: IntoLoaded + Send + 'static,
        E: Send + Sync + 'static,
    {
        if batch.is_empty() {
            return Err(BuildError::EmptyBatch);
        }
        Ok(AsyncLoader::new(self.share_async(Batched::new(batch, load))?))
    }

    /// Checks and combines like [`share`](Self::share), for a loader for threads.
    fn share_for_threads<F>(self, load: F) -> Result<Shared<F>, BuildError> {
        if self.options.load_timeout.is_some() && self.runtime.executor.is_none() {
            return Err(BuildError::NoExecutor);
        }
        self.share(load)
    }

    /// Checks and combines like [`share`](Self::share), for a loader for tasks.
    fn share_async<F>(self, load: F) -> Result<Shared<F>, BuildError> {
        if self.options.longest_wait().is_some() && self.runtime.sleeper.is_none() {
            return Err(BuildError::NoSleep);
        }
        self.share(load)
    }

    /// Checks the options, and combines them with the loader's function.
    fn share<F>(self, load: F) -> Result<Shared<F>, BuildError> {
        if self.ttl == Some(Duration::ZERO) {
            return Err(BuildError::ZeroLifetime);
        }
        let ttl = self.ttl.or_else(|| self.cache.default_ttl());
        if let (Some(refresh_after), Some(ttl)) = (self.refresh_after, ttl) {
            if refresh_after >= ttl {
                return Err(BuildError::LateRefresh { refresh_after, ttl });
            }
        }
        if let Some(beta) = self.options.early_beta.filter(|&beta| !(beta > 0.0 && beta.is_finite())) {
            return Err(BuildError::EarlyRefresh { beta });
        }
        let Self { cache, mut options, runtime, .. } = self;
        if options.early_beta.is_some() || options.error_ttl().is_some() {
            // Entries need a stamp that delays the next load, even if `refresh_after` is not set.
            options.lifetime = options.lifetime.or(Lifetime::new().refresh_after(Duration::MAX));
        }
        Ok(Shared::new(cache, options, runtime, load))
    }
}

impl fmt::Debug for LoaderBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoaderBuilder")
            .field("cache", &self.cache)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Cache {
    /// Returns a builder of a loader: a function that loads missing keys, with options for all of
    /// its loads.
    ///
    /// ```
    /// use std::time::Duration;
    /// use bytecache::Cache;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let squares = cache
    ///     .loader()
    ///     .ttl(Duration::from_secs(60))
    ///     .refresh_after(Duration::from_secs(50))
    ///     .stale_for(Duration::from_secs(600))
    ///     .build(|key| {
    ///         let number: u64 = std::str::from_utf8(key).unwrap_or_default().parse()?;
    ///         Ok::<_, std::num::ParseIntError>((number * number).to_string())
    ///     })?;
    /// assert_eq!(squares.get("12")?, "144");
    /// assert!(squares.get("twelve").is_err_and(|error| error.failure().is_some()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn loader(&self) -> LoaderBuilder {
        LoaderBuilder {
            cache: self.clone(),
            options: LoadOptions::DEFAULT,
            ttl: None,
            refresh_after: None,
            runtime: Runtime::default(),
        }
    }
}
