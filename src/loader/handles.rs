//! [`Loader`] and [`AsyncLoader`]: handles of a function that loads, with the options of its loads.
//! Refreshes begin here.
//!
//! ```text
//!   look up --Fresh----> return
//!      |  \---Due------> ask for a permit --no--> return the current value
//!      |                      | yes
//!      |                      +--> lead a load: in place, or on the executor or spawner
//!      +------Nothing--> recent failure? --yes--> stale value or error
//!                             | no
//!                             +--> lead or follow a load --error--> stale value or error
//! ```
//!
//! One caller gets the permit to refresh an entry. The permit moves the time of the entry's
//! refresh, so other callers find the entry fresh (`shard/load.rs`).
//!
//! # Not here
//!
//! The options and their checks: `builder.rs`. Loads without a loader: `mod.rs`.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::sync::Arc;
use std::time::Instant;

use super::early::{LoadCost, chance};
use super::leader::Leader;
use super::options::LoadOptions;
use super::runtime::{Runtime, Task};
use super::trace::Span;
use super::{Answer, Failure, IntoLoaded, LoadError, LoaderError, run_async};
use crate::cache::{Cache, LookUp, Target};
use crate::expiry::Freshness;
use crate::ring::Value;
use crate::shard::{Negative, Reason, RefreshPermit, Writer};

/// A loader for threads, from [`LoaderBuilder::build`](super::LoaderBuilder::build): a function
/// that loads missing keys, with options.
///
/// A clone is a handle of the same loader. A loader keeps its cache alive. To name its type in a
/// struct, box its function:
///
/// ```
/// use std::io;
/// use bytecache::{Cache, Loader};
///
/// type Load = Box<dyn Fn(&[u8]) -> Result<Vec<u8>, io::Error> + Send + Sync>;
///
/// struct Pages {
///     loader: Loader<Load>,
/// }
///
/// let load: Load = Box::new(|path| Ok([b"<h1>", path].concat()));
/// let pages = Pages { loader: Cache::new(1 << 20)?.loader().build(load)? };
/// assert_eq!(pages.loader.get("index")?, "<h1>index");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Loader<F> {
    shared: Arc<Shared<F>>,
}

/// A loader for tasks on any runtime, from
/// [`LoaderBuilder::build_async`](super::LoaderBuilder::build_async): a function that loads missing
/// keys, with options.
///
/// A clone is a handle of the same loader. A loader keeps its cache alive. Its futures may be
/// dropped at any time, like those of [`Cache::get_or_load_async`]. To name its type in a struct,
/// [box](Self::boxed) its function.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::io;
/// use bytecache::Cache;
///
/// let loader = Cache::new(1 << 20)?
///     .loader()
///     .build_async(|key| async move { Ok::<_, io::Error>(key.to_ascii_uppercase()) })?;
/// assert_eq!(loader.get_async("key").await?, "KEY");
/// # Ok(())
/// # }
/// ```
pub struct AsyncLoader<F> {
    shared: Arc<Shared<F>>,
}

/// The parts of a loader that its clones share.
pub(super) struct Shared<F> {
    cache: Cache,
    options: LoadOptions,
    cost: LoadCost,
    runtime: Runtime,
    load: F,
}

/// The state of a key, for a loader.
enum Cached {
    Fresh(Value),
    /// To be loaded again.
    Due(Value, Reason),
    Negative(Negative),
    Nothing,
}

impl<F> Shared<F> {
    pub(super) fn new(cache: Cache, options: LoadOptions, runtime: Runtime, load: F) -> Self {
        Self { cache, options, cost: LoadCost::default(), runtime, load }
    }

    /// Looks a key up, and decides whether this read should refresh it.
    #[inline]
    fn look_up(&self, target: &Target<'_>, key: &[u8]) -> Cached {
        match self.cache.look_up(target, key) {
            LookUp::Fresh(value) if self.is_early(target, key) => Cached::Due(value, Reason::Early),
            LookUp::Fresh(value) => Cached::Fresh(value),
            LookUp::RefreshDue(value) => Cached::Due(value, Reason::Due),
            LookUp::Negative(negative) => Cached::Negative(negative),
            LookUp::Nothing => Cached::Nothing,
        }
    }

    /// Returns `true` if an entry is refreshed by this read, by chance.
    #[inline]
    fn is_early(&self, target: &Target<'_>, key: &[u8]) -> bool {
        self.options.early_beta.is_some_and(|beta| {
            let status = target.shard.status(target.hash, key, self.options.retry());
            status.is_some_and(|status| !status.is_refresh_near && self.cost.is_early(beta, status.left, chance()))
        })
    }

    /// Returns the permit to load an entry again, or `None` if another caller has it, or if the
    /// entry has stopped being due.
    fn permit(&self, target: &Target<'_>, key: &[u8], reason: Reason) -> Option<RefreshPermit> {
        let retry = self.options.retry();
        target.shard.write(|writer| writer.permit_refresh(target.hash, key, reason, retry))
    }

    /// Returns the leader of the load that a permit is for, or `None` if the entry was replaced or
    /// is being loaded.
    fn board_refresh(&self, key: &[u8], permit: RefreshPermit) -> Option<Leader> {
        let target = self.cache.target(key);
        let board = |writer: &mut Writer<'_>| writer.board_refresh(target.hash, key, permit);
        let (ticket, notice) = target.shard.write_with_notice(board);
        let mut leader = Leader::new(&self.cache, &target, ticket?);
        leader.run(|| drop(notice)); // The listener may ask for the key, as in `take_turn`.
        Some(leader)
    }

    /// Returns the answer for a key whose load has failed within the `error_ttl`, or `None` if the
    /// key has to be loaded.
    fn recent_failure<E>(&self, target: &Target<'_>, key: &[u8]) -> Option<Answer<E>> {
        self.options.error_ttl()?;
        let status = target.shard.status(target.hash, key, Duration::ZERO)?;
        if status.freshness != Freshness::Stale || !status.has_failed {
            return None;
        }
        let value = if self.options.falls_back_to_stale { self.cache.look_up_stale(target, key) } else { None };
        Some(value.ok_or(LoadError::RecentFailure))
    }

    /// Returns the stale value of a key instead of the error of its load, if there is one and the
    /// options allow it.
    fn or_stale<E>(&self, target: &Target<'_>, key: &[u8], answer: Answer<E>) -> Answer<E> {
        match answer {
            Err(LoadError::Failed(_) | LoadError::Panicked | LoadError::TimedOut)
                if self.options.falls_back_to_stale =>
            {
                self.cache.look_up_stale(target, key).map_or(answer, Ok)
            }
            answer => answer,
        }
    }
}

/// Returns the answer of a caller that has refreshed an entry with the value `current`.
fn after_refresh<E>(current: Value, refreshed: Option<Answer<E>>) -> Answer<E> {
    match refreshed {
        Some(answer @ (Ok(_) | Err(LoadError::Absent))) => answer,
        Some(Err(_)) | None => Ok(current),
    }
}

impl<F> Loader<F> {
    pub(super) fn new(shared: Shared<F>) -> Self {
        Self { shared: Arc::new(shared) }
    }

    /// Returns the value under `key`, loading it if it is absent or due for a refresh.
    ///
    /// ```
    /// use std::num::ParseIntError;
    /// use bytecache::{Cache, LoadError};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let squares = cache.loader().build(|key| {
    ///     let number: u64 = std::str::from_utf8(key).unwrap_or_default().parse()?;
    ///     Ok::<_, ParseIntError>((number * number).to_string())
    /// })?;
    /// assert_eq!(squares.get("12")?, "144");
    /// assert_eq!(cache.get("12").as_deref(), Some(&b"144"[..]));
    /// assert!(matches!(squares.get("twelve"), Err(LoadError::Failed(_))));
    /// assert!(cache.get("twelve").is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Cache::get_or_load`], and:
    ///
    /// * [`LoadError::TimedOut`] after the [`wait_limit`](super::LoaderBuilder::wait_limit).
    /// * [`LoadError::RecentFailure`] within the [`error_ttl`](super::LoaderBuilder::error_ttl).
    ///
    /// With [`stale_for`](super::LoaderBuilder::stale_for), the only errors are `Absent` and
    /// `Reentrant` while there is a value. A refresh that fails is no error: the call returns the
    /// current value.
    ///
    /// # Cost
    ///
    /// Like [`Cache::get_or_load`].
    #[inline]
    pub fn get<V, E, Kind>(&self, key: impl AsRef<[u8]>) -> Answer<E>
    where
        F: Fn(&[u8]) -> Result<V, E> + Send + Sync + 'static,
        V: IntoLoaded,
        E: LoaderError<Kind>,
    {
        let key = key.as_ref();
        let shared = &self.shared;
        let target = shared.cache.target(key);
        match shared.look_up(&target, key) {
            Cached::Fresh(value) => Ok(value),
            Cached::Due(value, reason) => self.refresh(&target, key, value, reason),
            Cached::Negative(negative) => Err(negative.into()),
            Cached::Nothing => shared.recent_failure(&target, key).unwrap_or_else(|| {
                let answer = shared.cache.load(&target, key, |key| shared.run(key), &shared.options);
                shared.or_stale(&target, key, answer)
            }),
        }
    }

    /// Refreshes an entry in place or on the executor, unless another caller has the permit.
    #[cold]
    fn refresh<V, E, Kind>(&self, target: &Target<'_>, key: &[u8], current: Value, reason: Reason) -> Answer<E>
    where
        F: Fn(&[u8]) -> Result<V, E> + Send + Sync + 'static,
        V: IntoLoaded,
        E: LoaderError<Kind>,
    {
        let Some(permit) = self.shared.permit(target, key, reason) else { return Ok(current) };
        match &self.shared.runtime.executor {
            None => after_refresh(current, self.shared.refresh(key, permit)),
            Some(executor) => {
                let (shared, key) = (Arc::clone(&self.shared), Arc::<[u8]>::from(key));
                executor(Box::new(move || drop(shared.refresh(&key, permit))));
                Ok(current)
            }
        }
    }

    /// Returns the cache that this loader stores values in.
    ///
    /// ```
    /// use std::io;
    /// use bytecache::Cache;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let loader = cache.loader().build(|_| Ok::<_, io::Error>("value"))?;
    /// loader.get("key")?;
    /// assert!(loader.cache().remove("key"));
    /// assert!(cache.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.shared.cache
    }
}

impl<F> Shared<F> {
    /// Runs the loader's function, and records how long it took.
    fn run<V, E, Kind>(&self, key: &[u8]) -> Result<V, Failure<E>>
    where
        F: Fn(&[u8]) -> Result<V, E>,
        E: LoaderError<Kind>,
    {
        let began = Instant::now();
        let result = (self.load)(key);
        self.cost.record(began.elapsed());
        result.map_err(Failure::new)
    }

    /// Loads an entry again. Returns `None` if the entry was replaced or is being loaded.
    fn refresh<V, E, Kind>(&self, key: &[u8], permit: RefreshPermit) -> Option<Answer<E>>
    where
        F: Fn(&[u8]) -> Result<V, E>,
        V: IntoLoaded,
        E: LoaderError<Kind>,
    {
        let mut leader = self.board_refresh(key, permit)?;
        let result = leader.run(|| Span::of_refresh(key).run(|| self.run(key)));
        Some(leader.finish(result, &self.options))
    }
}

impl<F> AsyncLoader<F> {
    pub(super) fn new(shared: Shared<F>) -> Self {
        Self { shared: Arc::new(shared) }
    }

    /// Returns a loader with the same options and the function that `load` makes of this one.
    pub(super) fn map<G>(self, load: impl FnOnce(Arc<Shared<F>>) -> G) -> AsyncLoader<G> {
        let Shared { cache, options, runtime, .. } = &*self.shared;
        let (cache, options, runtime) = (cache.clone(), options.clone(), runtime.clone());
        AsyncLoader::new(Shared::new(cache, options, runtime, load(self.shared)))
    }

    /// Returns the value under `key`, loading it if it is absent or due for a refresh.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::num::ParseIntError;
    /// use bytecache::{Cache, LoadError};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let squares = cache.loader().build_async(|key| async move {
    ///     let number: u64 = std::str::from_utf8(&key).unwrap_or_default().parse()?;
    ///     Ok::<_, ParseIntError>((number * number).to_string())
    /// })?;
    /// assert_eq!(squares.get_async("12").await?, "144");
    /// assert!(matches!(squares.get_async("twelve").await, Err(LoadError::Failed(_))));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Loader::get`].
    ///
    /// # Cost
    ///
    /// Like [`Cache::get_or_load_async`].
    pub async fn get_async<V, E, Kind, T>(&self, key: impl AsRef<[u8]>) -> Answer<E>
    where
        F: Fn(Arc<[u8]>) -> T + Send + Sync + 'static,
        T: Future<Output = Result<V, E>> + Send + 'static,
        V: IntoLoaded + Send + 'static,
        E: LoaderError<Kind>,
        Kind: 'static,
    {
        let key = key.as_ref();
        let (value, permit) = self.get_with_permit(key).await?;
        let Some(permit) = permit else { return Ok(value) };
        let refreshing = Arc::clone(&self.shared).refresh_async(key.into(), permit);
        match &self.shared.runtime.spawner {
            None => after_refresh(value, refreshing.await),
            Some(spawner) => {
                spawner(Box::pin(async { drop(refreshing.await) }));
                Ok(value)
            }
        }
    }

    /// Returns the value under `key`, and a future of its refresh if that is due. If the value is
    /// absent, loads it first.
    ///
    /// The caller can use the value before it awaits the refresh. If it drops the [`Refresh`], the
    /// value is due again after the [`error_ttl`](super::LoaderBuilder::error_ttl), or after a
    /// second without one.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::io;
    /// use std::sync::atomic::{AtomicU64, Ordering};
    /// use std::time::Duration;
    /// use bytecache::{Cache, LoadError, ManualClock};
    ///
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder().max_bytes(1 << 20).clock(clock.clone()).build()?;
    /// let version = AtomicU64::new(0);
    /// let builder = cache.loader().refresh_after(Duration::from_secs(50));
    /// let loader = builder.build_async(move |key| {
    ///     let version = version.fetch_add(1, Ordering::Relaxed);
    ///     async move {
    ///         match &*key {
    ///             b"version" => Ok(version.to_string()),
    ///             _ => Err(io::Error::other("no such key")),
    ///         }
    ///     }
    /// })?;
    /// let (value, refresh) = loader.get_then_refresh("version").await?;
    /// assert!(value == "0" && refresh.is_none());
    ///
    /// clock.advance(Duration::from_secs(51));
    /// let (value, refresh) = loader.get_then_refresh("version").await?;
    /// assert_eq!(value, "0");
    /// if let Some(refresh) = refresh {
    ///     refresh.await;
    /// }
    /// assert_eq!(loader.get_async("version").await?, "1");
    ///
    /// let result = loader.get_then_refresh("unknown").await;
    /// assert!(matches!(result, Err(LoadError::Failed(_))));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Loader::get`].
    ///
    /// # Cost
    ///
    /// Like [`get_async`](Self::get_async).
    pub async fn get_then_refresh<V, E, Kind, T>(
        &self,
        key: impl AsRef<[u8]>,
    ) -> Result<(Value, Option<Refresh>), LoadError<E>>
    where
        F: Fn(Arc<[u8]>) -> T + Send + Sync + 'static,
        T: Future<Output = Result<V, E>> + Send + 'static,
        V: IntoLoaded + Send + 'static,
        E: LoaderError<Kind>,
        Kind: 'static,
    {
        let key = key.as_ref();
        let (value, permit) = self.get_with_permit(key).await?;
        let refresh = permit.map(|permit| {
            let refreshing = Arc::clone(&self.shared).refresh_async(key.into(), permit);
            Refresh(Box::pin(async { drop(refreshing.await) }))
        });
        Ok((value, refresh))
    }

    /// Returns the value under `key`, and the permit to load it again if that is due.
    async fn get_with_permit<V, E, Kind, T>(&self, key: &[u8]) -> Result<(Value, Option<RefreshPermit>), LoadError<E>>
    where
        F: Fn(Arc<[u8]>) -> T,
        T: Future<Output = Result<V, E>>,
        V: IntoLoaded,
        E: LoaderError<Kind>,
    {
        let shared = &self.shared;
        let target = shared.cache.target(key);
        match shared.look_up(&target, key) {
            Cached::Fresh(value) => Ok((value, None)),
            Cached::Due(value, reason) => Ok((value, shared.permit(&target, key, reason))),
            Cached::Negative(negative) => Err(negative.into()),
            Cached::Nothing => {
                if let Some(answer) = shared.recent_failure(&target, key) {
                    return answer.map(|value| (value, None));
                }
                let load = |key| shared.run_async(key);
                let sleeper = shared.runtime.sleeper.as_deref();
                let answer = shared.cache.load_async(&target, key, load, &shared.options, sleeper).await;
                shared.or_stale(&target, key, answer).map(|value| (value, None))
            }
        }
    }

    /// Returns the cache that this loader stores values in.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::io;
    /// use bytecache::Cache;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let loader = cache.loader().build_async(|_| async { Ok::<_, io::Error>("value") })?;
    /// loader.get_async("key").await?;
    /// assert!(loader.cache().remove("key"));
    /// assert!(cache.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.shared.cache
    }
}

impl<F> Shared<F> {
    /// Calls the loader's function.
    pub(super) fn load<T>(&self, key: Arc<[u8]>) -> T
    where
        F: Fn(Arc<[u8]>) -> T,
    {
        (self.load)(key)
    }

    /// Like [`run`](Self::run), but in a task.
    async fn run_async<V, E, Kind, T>(&self, key: Arc<[u8]>) -> Result<V, Failure<E>>
    where
        F: Fn(Arc<[u8]>) -> T,
        T: Future<Output = Result<V, E>>,
        E: LoaderError<Kind>,
    {
        let began = Instant::now();
        let result = self.load(key).await;
        self.cost.record(began.elapsed());
        result.map_err(Failure::new)
    }

    /// Like [`refresh`](Self::refresh), but in a task.
    async fn refresh_async<V, E, Kind, T>(self: Arc<Self>, key: Arc<[u8]>, permit: RefreshPermit) -> Option<Answer<E>>
    where
        F: Fn(Arc<[u8]>) -> T,
        T: Future<Output = Result<V, E>>,
        V: IntoLoaded,
        E: LoaderError<Kind>,
    {
        let mut leader = self.board_refresh(&key, permit)?;
        let result = run_async(&mut leader, Span::of_refresh, |key| self.run_async(key)).await;
        Some(leader.finish(result, &self.options))
    }
}

/// A future that loads an entry again, from [`AsyncLoader::get_then_refresh`].
///
/// The load begins when the future is first polled. Dropping the future cancels the load.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::io;
/// use std::time::Duration;
/// use bytecache::{Cache, ManualClock};
///
/// let clock = ManualClock::new();
/// let cache = Cache::builder().max_bytes(1 << 20).clock(clock.clone()).build()?;
/// let builder = cache.loader().refresh_after(Duration::from_secs(50));
/// let loader = builder.build_async(|_| async { Ok::<_, io::Error>("value") })?;
/// loader.get_async("key").await?;
/// clock.advance(Duration::from_secs(51));
/// let (value, refresh) = loader.get_then_refresh("key").await?;
/// assert_eq!(value, "value");
/// if let Some(refresh) = refresh {
///     tokio::spawn(refresh).await?;
/// }
/// assert_eq!(cache.stats().refreshes, 1);
/// # Ok(())
/// # }
/// ```
#[must_use = "a future does nothing until it is awaited"]
pub struct Refresh(Task);

impl Future for Refresh {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(context)
    }
}

impl fmt::Debug for Refresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refresh").finish_non_exhaustive()
    }
}

macro_rules! handles {
    ($($name:ident)*) => {$(
        impl<F> Clone for $name<F> {
            fn clone(&self) -> Self {
                Self { shared: Arc::clone(&self.shared) }
            }
        }

        impl<F> fmt::Debug for $name<F> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let Shared { cache, options, .. } = &*self.shared;
                f.debug_struct(stringify!($name))
                    .field("cache", cache)
                    .field("options", options)
                    .finish_non_exhaustive()
            }
        }
    )*};
}

handles! { Loader AsyncLoader }
