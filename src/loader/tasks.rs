//! The methods of [`AsyncLoader`]: loads in the calling task, in a batch, or in a task of their
//! own.
//!
//! ```text
//!   in place:        lead -> run -> return the answer
//!   with a spawner:  lead -> spawn a task with the leader --+
//!   in a batch:      lead -> join the queue ----------------+--> wait for the flight, as followers do
//! ```
//!
//! A caller whose load runs elsewhere has a seat in the flight of that load. If it goes away, the
//! load goes on.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::sync::Arc;
use std::time::Instant;

use super::async_load::{AsyncLoad, Place, Purpose};
use super::handles::{AsyncLoader, Cached, Shared, after_refresh};
use super::leader::Leader;
use super::outcome::{Answer, Found};
use super::runtime::Task;
use super::{Failure, LoadError, LoaderError, Origin, Role, TaskWait, Turn, follower_answer};
use crate::cache::{Cache, Target};
use crate::flight::End;
use crate::ring::Value;
use crate::shard::{RefreshPermit, Waiter};

impl<F> AsyncLoader<F> {
    /// Returns `true` if a hit may load its value again by chance, so that each read has to go
    /// through this loader.
    #[inline]
    pub(crate) fn refreshes_early(&self) -> bool {
        self.shared.options.early_beta.is_some()
    }

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
    /// Those of [`Loader::get`](crate::Loader::get).
    ///
    /// # Panics
    ///
    /// If the loader's function, or its future, panics in this call, the panic continues.
    ///
    /// # Cost
    ///
    /// Like [`Cache::get_or_load_async`].
    pub async fn get_async<E, Kind>(&self, key: impl AsRef<[u8]>) -> Result<Value, LoadError<E>>
    where
        F: AsyncLoad<E, Kind>,
        E: Send + Sync + 'static,
        Kind: 'static,
    {
        self.get_found(&self.shared.cache.stored_key(key.as_ref())).await.map(Found::value)
    }

    /// Like [`get_async`](Self::get_async), but also returns where the value came from.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::io;
    /// use bytecache::{Cache, Origin};
    ///
    /// let builder = Cache::new(1 << 20)?.loader();
    /// let loader = builder.build_async(|_| async { Ok::<_, io::Error>("value") })?;
    /// assert_eq!(loader.get_with_origin_async("key").await?.1, Origin::Loaded);
    /// assert_eq!(loader.get_with_origin_async("key").await?.1, Origin::Cached);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Loader::get`](crate::Loader::get).
    ///
    /// # Cost
    ///
    /// Like [`get_async`](Self::get_async).
    pub async fn get_with_origin_async<E, Kind>(&self, key: impl AsRef<[u8]>) -> Result<(Value, Origin), LoadError<E>>
    where
        F: AsyncLoad<E, Kind>,
        E: Send + Sync + 'static,
        Kind: 'static,
    {
        let found = self.get_found(&self.shared.cache.stored_key(key.as_ref())).await?;
        Ok((found.value, found.origin))
    }

    /// Like [`get_async`](Self::get_async), with the origin of the value.
    async fn get_found<E, Kind>(&self, key: &[u8]) -> Answer<E>
    where
        F: AsyncLoad<E, Kind>,
        E: Send + Sync + 'static,
        Kind: 'static,
    {
        let (found, permit) = self.get_with_permit(key).await?;
        match permit {
            None => Ok(found),
            Some(permit) => self.shared.refresh_or_spawn(key, found.value, permit).await,
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
    /// Those of [`Loader::get`](crate::Loader::get).
    ///
    /// # Cost
    ///
    /// Like [`get_async`](Self::get_async).
    pub async fn get_then_refresh<E, Kind>(
        &self,
        key: impl AsRef<[u8]>,
    ) -> Result<(Value, Option<Refresh>), LoadError<E>>
    where
        F: AsyncLoad<E, Kind>,
        E: Send + Sync + 'static,
        Kind: 'static,
    {
        let key = &*self.shared.cache.stored_key(key.as_ref());
        let (found, permit) = self.get_with_permit(key).await?;
        let refresh = permit.map(|permit| {
            let refreshing = Arc::clone(&self.shared).refresh_async(key.into(), permit, Place::Caller);
            Refresh(Box::pin(async { drop(refreshing.await) }))
        });
        Ok((found.value, refresh))
    }

    /// Returns the value under `key`, and the permit to load it again if that is due.
    async fn get_with_permit<E, Kind>(&self, key: &[u8]) -> Result<(Found, Option<RefreshPermit>), LoadError<E>>
    where
        F: AsyncLoad<E, Kind>,
        E: Send + Sync + 'static,
        Kind: 'static,
    {
        let shared = &self.shared;
        let target = shared.cache.target(key);
        match shared.look_up(&target, key) {
            Cached::Fresh(value) => Ok((Found::cached(value), None)),
            Cached::Due(value, reason) => Ok((Found::cached(value), shared.permit(&target, key, reason))),
            Cached::Negative(negative) => Err(negative.into()),
            Cached::Nothing => {
                let answer = match shared.recent_failure(&target, key) {
                    Some(answer) => answer,
                    None => shared.load_or_stale(&target, key).await,
                };
                answer.map(|found| (found, None))
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
        self.shared.plain_cache()
    }
}

impl<F> Shared<F> {
    /// Calls the loader's function.
    pub(super) fn call<T>(&self, key: Arc<[u8]>) -> T
    where
        F: Fn(Arc<[u8]>) -> T,
    {
        (self.load)(key)
    }

    /// Like [`run`](Self::run), but in a task.
    pub(super) async fn run_async<V, E, Kind, T>(&self, key: Arc<[u8]>) -> Result<V, Failure<E>>
    where
        F: Fn(Arc<[u8]>) -> T,
        T: Future<Output = Result<V, E>>,
        E: LoaderError<Kind>,
    {
        let began = Instant::now();
        let result = self.call(key).await;
        self.cost.record(began.elapsed());
        result.map_err(Failure::new)
    }

    /// Returns the limit on the wait of a task for a load that runs elsewhere.
    fn wait(&self) -> TaskWait<'_> {
        TaskWait::new(self.options.longest_wait(), self.runtime.sleeper.as_deref())
    }

    /// Returns the limit on a load that runs in a place.
    pub(super) fn limit(&self, place: Place) -> TaskWait<'_> {
        let limit = self.options.load_timeout.filter(|_| place == Place::Caller);
        TaskWait::new(limit, self.runtime.sleeper.as_deref())
    }

    /// Leads or follows a load of a key that was not found. Returns the stale value if there is one
    /// and the load fails.
    pub(super) async fn load_or_stale<E, Kind>(self: &Arc<Self>, target: &Target<'_>, key: &[u8]) -> Answer<E>
    where
        F: AsyncLoad<E, Kind>,
        E: Send + Sync + 'static,
        Kind: 'static,
    {
        let answer = self.load_async(target, key).await;
        self.or_stale(target, key, answer)
    }

    /// Leads or follows a load of a key that was not found.
    async fn load_async<E, Kind>(self: &Arc<Self>, target: &Target<'_>, key: &[u8]) -> Answer<E>
    where
        F: AsyncLoad<E, Kind>,
        E: Send + Sync + 'static,
        Kind: 'static,
    {
        let mut wait = self.wait();
        let mut has_spawner = self.runtime.spawner.is_some();
        // Ends: every round but the first comes after a load that was given up, or that failed with
        // another type of error. The spawner can drop one task of this call.
        loop {
            let waiter = if has_spawner || F::IS_BATCHED { Waiter::Starter } else { Waiter::Task };
            let (flight, role) = match self.cache.take_turn(target, key, waiter) {
                Turn::Answer(answer) => return answer,
                Turn::Follow(flight) => (flight, Role::Follower),
                Turn::Lead(leader) => match leader.flight().filter(|_| waiter == Waiter::Starter) {
                    None => return F::lead(Arc::clone(self), leader, Purpose::Load, Place::Caller).await,
                    Some(flight) => {
                        self.begin_or_run(leader, Purpose::Load, has_spawner).await;
                        (flight, Role::Starter)
                    }
                },
            };
            let end = wait.follow(flight).await;
            has_spawner &= !(role == Role::Starter && matches!(end, Some(End::Abandoned)));
            if let Some(answer) = follower_answer(&self.cache, end, role) {
                return answer;
            }
        }
    }

    /// Begins the load of a leader. Runs it here to its end if there is no spawner, and if no batch
    /// of another caller takes it.
    async fn begin_or_run<E, Kind>(self: &Arc<Self>, leader: Leader, purpose: Purpose, has_spawner: bool)
    where
        F: AsyncLoad<E, Kind>,
        E: Send + Sync + 'static,
        Kind: 'static,
    {
        let spawner = self.runtime.spawner.as_ref().filter(|_| has_spawner);
        let place = if spawner.is_some() { Place::Elsewhere } else { Place::Caller };
        if let Some(loading) = F::begin(Arc::clone(self), leader, purpose, place) {
            match spawner {
                Some(spawner) => spawner(loading),
                None => loading.await,
            }
        }
    }

    /// Refreshes an entry here, or lets the spawner do so and returns the current value.
    pub(super) async fn refresh_or_spawn<E, Kind>(
        self: &Arc<Self>,
        key: &[u8],
        current: Value,
        permit: RefreshPermit,
    ) -> Answer<E>
    where
        F: AsyncLoad<E, Kind>,
        E: Send + Sync + 'static,
        Kind: 'static,
    {
        let refresh = |place| Arc::clone(self).refresh_async(key.into(), permit, place);
        match &self.runtime.spawner {
            None => after_refresh(current, refresh(Place::Caller).await),
            Some(spawner) => {
                let refreshing = refresh(Place::Elsewhere);
                spawner(Box::pin(async { drop(refreshing.await) }));
                Ok(Found::cached(current))
            }
        }
    }

    /// Like [`refresh`](Self::refresh), but in a task, or in a batch that this task waits for.
    async fn refresh_async<E, Kind>(
        self: Arc<Self>,
        key: Arc<[u8]>,
        permit: RefreshPermit,
        place: Place,
    ) -> Option<Answer<E>>
    where
        F: AsyncLoad<E, Kind>,
        E: Send + Sync + 'static,
        Kind: 'static,
    {
        let waiter = if F::IS_BATCHED { Waiter::Starter } else { Waiter::Task };
        let leader = self.board_refresh(&key, permit, waiter)?;
        let Some(flight) = leader.flight().filter(|_| F::IS_BATCHED) else {
            return Some(F::lead(self, leader, Purpose::Refresh, place).await);
        };
        let mut wait = self.wait();
        self.begin_or_run(leader, Purpose::Refresh, true).await;
        let end = wait.follow(flight).await;
        follower_answer(&self.cache, end, Role::Starter)
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
