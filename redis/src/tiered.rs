//! [`Tiered`]: a namespace whose values lie in the local cache, and in Redis behind it.

use core::fmt;
use core::future::Future;
use core::time::Duration;
use std::sync::Arc;

use bytecache::{BoxAsyncLoader, Cache, LoadError, Namespace, Value};

use crate::batch::{Batches, LoadMany};
use crate::error::{BoxError, Error, SetupError};
use crate::load::{Load, Source};
use crate::remote::Remote;
use crate::space::{Rules, Space};
use crate::stats::TierStats;

/// A namespace of values in two tiers: a local cache, and Redis behind it.
///
/// A read looks into the local cache, then into Redis, then calls the loader, once for each key in
/// this process. Its result is stored in both tiers. A change of a value in Redis, by any client,
/// removes the value from the local caches of all instances.
///
/// A clone is a handle of the same namespace.
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use bytecache::Cache;
/// use bytecache_redis::{Remote, Tiered};
/// use std::time::Duration;
///
/// let cache = Cache::new(64 << 20)?;
/// let remote = Remote::builder(redis::Client::open("redis://127.0.0.1:6379")?).connect()?;
/// let users = Tiered::builder(&cache, &remote, "users")
///     .ttl(Duration::from_secs(600))
///     .negative_ttl(Duration::from_secs(10))
///     .build(|key| async move {
///         // From a database.
///         Ok::<_, std::io::Error>((&*key == b"1").then(|| b"Ada".to_vec()))
///     })?;
///
/// assert_eq!(users.get("1").await?.as_deref(), Some(&b"Ada"[..]));
/// assert!(users.get("2").await?.is_none()); // Remembered for ten seconds.
/// // After a change in the database:
/// users.remove("1").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Tiered {
    pub(crate) source: Arc<Source>,
    pub(crate) loader: Arc<BoxAsyncLoader<BoxError>>,
    /// Keeps the connection.
    pub(crate) remote: Remote,
}

/// A builder of a [`Tiered`], from [`Tiered::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct TieredBuilder {
    cache: Cache,
    remote: Remote,
    name: String,
    ttl: Duration,
    stale_for: Duration,
    negative_ttl: Duration,
    load_limit: Duration,
    reload_jitter: Duration,
}

impl Tiered {
    /// Returns a builder of the namespace with this name, in `cache` and on the server of `remote`.
    ///
    /// The keys in Redis begin with the name and a colon. In the cache, the entries are those of
    /// the [`Namespace`] of this name. Do not write to it directly.
    ///
    /// ```no_run
    /// # fn example(cache: bytecache::Cache, remote: bytecache_redis::Remote)
    /// # -> Result<(), bytecache_redis::SetupError> {
    /// use bytecache_redis::Tiered;
    ///
    /// let users = Tiered::builder(&cache, &remote, "users").build_without_loader()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder(cache: &Cache, remote: &Remote, name: impl Into<String>) -> TieredBuilder {
        TieredBuilder {
            cache: cache.clone(),
            remote: remote.clone(),
            name: name.into(),
            ttl: Duration::from_secs(300),
            stale_for: Duration::ZERO,
            negative_ttl: Duration::ZERO,
            load_limit: Duration::from_secs(10),
            reload_jitter: Duration::from_millis(10),
        }
    }

    /// Returns the value under `key`, or `None` if there is none: from the local tier, from Redis,
    /// or by the loader.
    ///
    /// If Redis does not answer, the loader is called. If the loader fails and there is a value in
    /// its [stale period](TieredBuilder::stale_for), that is returned.
    ///
    /// # Errors
    ///
    /// [`Error::Load`] if the value could not be loaded.
    ///
    /// # Cost
    ///
    /// A hit in the local tier costs a look at the clock more than in the cache alone. A hit in
    /// Redis takes two round trips: for the value, and for a fence.
    ///
    /// ```no_run
    /// # async fn example(users: bytecache_redis::Tiered) -> Result<(), bytecache_redis::Error> {
    /// if let Some(name) = users.get("1").await? {
    ///     println!("{} bytes", name.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Value>, Error> {
        self.source.space.settle();
        to_option(self.loader.get_async(key.as_ref()).await)
    }

    /// Returns the values under `keys`, in order. Each key is treated like one call of
    /// [`get`](Self::get) would.
    ///
    /// # Errors
    ///
    /// Each key has a result of its own.
    ///
    /// # Cost
    ///
    /// The commands for all missing keys are sent at once, without waiting for answers. So they
    /// take the two round trips of one key together, to each node. Each missing key is a task.
    ///
    /// ```no_run
    /// # async fn example(users: bytecache_redis::Tiered) {
    /// for name in users.get_many(&["1", "2"]).await {
    ///     println!("{}", name.is_ok_and(|name| name.is_some()));
    /// }
    /// # }
    /// ```
    pub async fn get_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Vec<Result<Option<Value>, Error>> {
        self.source.space.settle();
        self.loader.get_many_async(keys).await.into_iter().map(to_option).collect()
    }

    /// Returns the counters of the work beyond the local tier.
    ///
    /// ```no_run
    /// # fn example(users: bytecache_redis::Tiered) {
    /// println!("{} reads of Redis", users.stats().redis_hits);
    /// # }
    /// ```
    #[must_use]
    pub fn stats(&self) -> TierStats {
        self.source.space.counters.read()
    }

    /// Returns the namespace of the local tier, for its counters.
    ///
    /// Reads of it may return entries that are too old, and writes to it are not sent to Redis.
    ///
    /// ```no_run
    /// # fn example(users: bytecache_redis::Tiered) {
    /// println!("{} local hits", users.local().stats().hits);
    /// # }
    /// ```
    #[must_use]
    pub fn local(&self) -> &Namespace {
        &self.source.space.local
    }

    /// Returns the connection.
    ///
    /// ```no_run
    /// # fn example(users: bytecache_redis::Tiered) {
    /// assert!(users.remote().is_connected());
    /// # }
    /// ```
    #[must_use]
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// Returns `true` if the connection was known to deliver the invalidations of this namespace
    /// less than [`max_staleness`](crate::RemoteBuilder::max_staleness) ago.
    ///
    /// ```no_run
    /// # fn example(users: bytecache_redis::Tiered) {
    /// let is_coherent = users.is_tracked();
    /// # }
    /// ```
    #[must_use]
    pub fn is_tracked(&self) -> bool {
        let trust = &self.source.space.trust;
        trust.is_tracked() && trust.may_read()
    }
}

impl fmt::Debug for Tiered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tiered")
            .field("name", &self.source.space.name)
            .field("remote", &self.remote)
            .finish_non_exhaustive()
    }
}

impl TieredBuilder {
    /// Sets the time to live of values that are loaded or inserted. The default is five minutes.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # fn example(builder: bytecache_redis::TieredBuilder) {
    /// let builder = builder.ttl(Duration::from_secs(600));
    /// # }
    /// ```
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Sets for how long a value is kept beyond its time to live, in both tiers. It is returned if
    /// the loader fails. The default is zero.
    ///
    /// All instances must set the same period, as Redis only knows the sum of both times.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # fn example(builder: bytecache_redis::TieredBuilder) {
    /// let builder = builder.stale_for(Duration::from_secs(3_600));
    /// # }
    /// ```
    pub fn stale_for(mut self, stale: Duration) -> Self {
        self.stale_for = stale;
        self
    }

    /// Sets for how long both tiers record that the loader found nothing. The default is zero: they
    /// do not record it.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # fn example(builder: bytecache_redis::TieredBuilder) {
    /// let builder = builder.negative_ttl(Duration::from_secs(10));
    /// # }
    /// ```
    pub fn negative_ttl(mut self, ttl: Duration) -> Self {
        self.negative_ttl = ttl;
        self
    }

    /// Sets the longest time that a load may take. The default is 10 s.
    ///
    /// A load that takes longer has failed. [`remove`](Tiered::remove) keeps results of older loads
    /// out of Redis for this time and the longest time of two commands. All instances must set the
    /// same limit.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # fn example(builder: bytecache_redis::TieredBuilder) {
    /// let builder = builder.load_limit(Duration::from_secs(2));
    /// # }
    /// ```
    pub fn load_limit(mut self, limit: Duration) -> Self {
        self.load_limit = limit;
        self
    }

    /// Sets the longest time that a load waits if its key has just changed: it was
    /// [removed](Tiered::remove), a foreign client has deleted it while this instance had it, or
    /// all were invalidated less than a second ago. The default is 10 ms. Zero turns the wait off.
    ///
    /// Each load waits for a random part of this time, and then looks into Redis again. So few
    /// instances load a hot key after a change, and the others find the result.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # fn example(builder: bytecache_redis::TieredBuilder) {
    /// let builder = builder.reload_jitter(Duration::from_millis(50));
    /// # }
    /// ```
    pub fn reload_jitter(mut self, jitter: Duration) -> Self {
        self.reload_jitter = jitter;
        self
    }

    /// Builds the namespace. `load` loads a missing value from the store. It returns `None` if
    /// there is nothing.
    ///
    /// # Errors
    ///
    /// A [`SetupError`] for a name or an option that is not accepted.
    ///
    /// ```no_run
    /// # fn example(builder: bytecache_redis::TieredBuilder) -> Result<(), bytecache_redis::SetupError> {
    /// let users = builder.build(|key| async move {
    ///     Ok::<_, std::io::Error>((&*key == b"1").then(|| b"Ada".to_vec())) // From a database.
    /// })?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn build<F, T, E>(self, load: F) -> Result<Tiered, SetupError>
    where
        F: Fn(Arc<[u8]>) -> T + Send + Sync + 'static,
        T: Future<Output = Result<Option<Vec<u8>>, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let load: Load = Box::new(move |key| {
            let loading = load(key);
            Box::pin(async move { loading.await.map_err(Into::into) })
        });
        self.build_with(Some(load))
    }

    /// Builds the namespace with a loader of several keys at once, at most `max_keys`. `load`
    /// returns a value, or `None`, for each key, in order.
    ///
    /// A key that is missing while fewer than two batches are being loaded is loaded at once. Keys
    /// that are missing meanwhile gather in the next batch. If the loader fails, returns another
    /// number of values, or takes longer than the [`load_limit`](Self::load_limit), that is the
    /// error of all keys of the batch.
    ///
    /// # Errors
    ///
    /// A [`SetupError`] for a name or an option that is not accepted.
    ///
    /// ```no_run
    /// # fn example(builder: bytecache_redis::TieredBuilder) -> Result<(), bytecache_redis::SetupError> {
    /// let users = builder.build_batched(256, |keys| async move {
    ///     // By one query of a database.
    ///     Ok::<_, std::io::Error>(keys.iter().map(|key| Some(key.to_vec())).collect())
    /// })?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn build_batched<F, T, E>(self, max_keys: usize, load: F) -> Result<Tiered, SetupError>
    where
        F: Fn(Vec<Arc<[u8]>>) -> T + Send + Sync + 'static,
        T: Future<Output = Result<Vec<Option<Vec<u8>>>, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let load: LoadMany = Box::new(move |keys| {
            let loading = load(keys);
            Box::pin(async move { loading.await.map_err(Into::into) })
        });
        let batches = Batches::new(self.remote.shared().handle.clone(), max_keys, self.load_limit, load);
        self.build_with(Some(Box::new(move |key| Box::pin(Arc::clone(&batches).load(key)))))
    }

    /// Builds the namespace without a loader. Keys that are in neither tier are absent.
    ///
    /// # Errors
    ///
    /// A [`SetupError`] for a name or an option that is not accepted.
    ///
    /// ```no_run
    /// # fn example(builder: bytecache_redis::TieredBuilder) -> Result<(), bytecache_redis::SetupError> {
    /// let sessions = builder.build_without_loader()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn build_without_loader(self) -> Result<Tiered, SetupError> {
        self.build_with(None)
    }

    fn build_with(self, load: Option<Load>) -> Result<Tiered, SetupError> {
        if self.name.is_empty() || self.name.contains(':') {
            return Err(SetupError::Name);
        }
        if self.ttl.is_zero() {
            return Err(SetupError::ZeroTtl);
        }
        let shared = Arc::clone(self.remote.shared());
        let options = shared.options;
        let rules = Rules {
            ttl: self.ttl,
            stale_for: self.stale_for,
            negative_ttl: self.negative_ttl,
            load_limit: self.load_limit,
            reload_jitter: self.reload_jitter,
            max_staleness: options.max_staleness,
            tombstone_life: self.load_limit.saturating_add(options.command_timeout.saturating_mul(2)),
        };
        let local = self.cache.namespace(self.name).build().map_err(SetupError::Cache)?;
        let space = Arc::new(Space::new(local, rules));
        // Entries of an earlier owner of the name were not tracked since then.
        space.local.invalidate_all();
        let source = Arc::new(Source { shared, space, load });
        let loads = Arc::clone(&source);
        let handle = source.shared.handle.clone();
        let mut loader = source.space.local.loader().hide_keys().spawner(move |load| drop(handle.spawn(load)));
        if !self.stale_for.is_zero() {
            // A local value in its stale period is returned if Redis does not answer either.
            loader = loader.stale_for(self.stale_for);
        }
        let loader = loader.build_async(move |key| Arc::clone(&loads).load(key)).map_err(SetupError::Cache)?.boxed();
        source.shared.register(&source.space)?;
        Ok(Tiered { source, loader: Arc::new(loader), remote: self.remote })
    }
}

fn to_option(result: Result<Value, LoadError<BoxError>>) -> Result<Option<Value>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(LoadError::Absent) => Ok(None),
        Err(error) => Err(Error::Load(error)),
    }
}
