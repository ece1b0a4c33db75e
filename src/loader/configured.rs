//! [`Loader`] and [`AsyncLoader`]: a loader with its rules, and how entries are loaded anew before they expire.

use core::cell::Cell;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::sync::Arc;
use std::time::Instant;

use super::leader::Leader;
use super::rules::{LoadCost, Rules};
use super::{Answer, IntoLoaded, LoadError, Sleep, Sleeper, run_async};
use crate::cache::{Cache, LookUp, Target};
use crate::error::BuildError;
use crate::expiry::{Freshness, Lifetime};
use crate::ring::Value;
use crate::shard::{Negative, Reason, RefreshPermit, Writer};

/// A refresh that a thread elsewhere is to run.
type Job = Box<dyn FnOnce() + Send>;
type Executor = dyn Fn(Job) + Send + Sync;
/// One that a task elsewhere is to run.
type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
type Spawner = dyn Fn(Task) + Send + Sync;

/// The rules of a [`Loader`] or an [`AsyncLoader`], from [`Cache::loader`].
///
/// None has to be set.
#[derive(Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct LoaderBuilder {
    cache: Cache,
    rules: Rules,
    ttl: Option<Duration>,
    refresh_after: Option<Duration>,
    executor: Option<Arc<Executor>>,
    spawner: Option<Arc<Spawner>>,
    sleeper: Option<Arc<Sleeper>>,
}

impl LoaderBuilder {
    /// How long after its load a value expires, if it does not come with a lifetime of its own. By default as the cache says.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self.rules.lifetime = self.rules.lifetime.ttl(ttl);
        self
    }

    /// How long it is remembered that a key has [nothing](super::Loaded::Absent): calls for it return
    /// [`LoadError::Absent`] meanwhile. By default not at all.
    ///
    /// It is remembered in the cache, as an entry of the key alone that all reads but those of loaders miss. It counts for
    /// [`len`](Cache::len), is evicted as others are, and goes when the key is stored or removed.
    pub fn negative_ttl(mut self, ttl: Duration) -> Self {
        self.rules.negative_ttl = ttl;
        self
    }

    /// How long a key is not loaded again after a failure: calls for it return [`LoadError::RecentFailure`] meanwhile, or the
    /// value if there is one and [`stale_for`](Self::stale_for) allows it. By default a key that has no value is loaded
    /// by each call, and a value that was due for a refresh is due again a second after that was tried. More than 90 days are
    /// 90 days.
    pub fn error_ttl(mut self, ttl: Duration) -> Self {
        self.rules.error_ttl = Some(ttl);
        self
    }

    /// From which age on a value is loaded anew, by the first who reads it, while all others get what there is.
    ///
    /// A thread loads in place, or on the [`executor`](Self::executor); a task waits for the load, or has the
    /// [`spawner`](Self::spawner) run it, or answers first:
    /// [`get_then_refresh`](AsyncLoader::get_then_refresh). If the load fails, the value stays until its deadline, and
    /// the refresh is tried again after [`error_ttl`](Self::error_ttl). Four bytes an entry. By default never.
    pub fn refresh_after(mut self, age: Duration) -> Self {
        self.refresh_after = Some(age);
        self.rules.lifetime = self.rules.lifetime.refresh_after(age);
        self
    }

    /// Has values loaded anew before their deadline at random, the likelier the nearer it is and the longer loads take: with
    /// `beta` of 1 about as early as a load takes, with more earlier. So of many who read a hot key one loads it, and no two
    /// processes do so at the same moment.
    ///
    /// One that fails or is given up is tried again as a refresh that is due.
    ///
    /// This is XFetch, of "Optimal Probabilistic Cache Stampede Prevention" (Vattani, Chierichetti, Lowenstein, VLDB 2015). A
    /// hit costs a second look-up. By default never.
    pub fn early_refresh(mut self, beta: f64) -> Self {
        self.rules.early = Some(beta);
        self
    }

    /// Keeps values for so long beyond their deadline, and answers with them if a load fails, panics elsewhere, or takes
    /// another longer than the [`wait_limit`](Self::wait_limit). By default not at all.
    pub fn stale_for(mut self, stale: Duration) -> Self {
        self.rules.lifetime = self.rules.lifetime.stale_for(stale);
        self.rules.serves_stale_on_error = true;
        self
    }

    /// How long a call waits for the load of another before it returns [`LoadError::TimedOut`]. The load goes on. By default
    /// without a limit.
    ///
    /// A task needs a timer for that, its [`sleep`](Self::sleep).
    pub fn wait_limit(mut self, limit: Duration) -> Self {
        self.rules.wait_limit = Some(limit);
        self
    }

    /// How tasks wake when the [`wait_limit`](Self::wait_limit) is over: `tokio::time::sleep`, for one.
    pub fn sleep<S, T>(mut self, sleep: S) -> Self
    where
        S: Fn(Duration) -> T + Send + Sync + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        self.sleeper = Some(Arc::new(move |time| Box::pin(sleep(time)) as Sleep));
        self
    }

    /// Where threads have refreshes run: on a thread pool, say. If it drops one, the key is not refreshed this time. By
    /// default the thread that finds an entry due runs it in place.
    pub fn executor(mut self, executor: impl Fn(Box<dyn FnOnce() + Send>) + Send + Sync + 'static) -> Self {
        self.executor = Some(Arc::new(executor));
        self
    }

    /// Where tasks have refreshes run: `|task| drop(tokio::spawn(task))`, say. If it drops one, the key is not refreshed this
    /// time. By default the task that finds an entry due waits for the load.
    pub fn spawner(
        mut self,
        spawner: impl Fn(Pin<Box<dyn Future<Output = ()> + Send>>) + Send + Sync + 'static,
    ) -> Self {
        self.spawner = Some(Arc::new(spawner));
        self
    }

    /// A loader for threads. `load` gets the key.
    ///
    /// # Errors
    ///
    /// [`BuildError::ZeroLifetime`] if the time to live is zero, [`BuildError::LateRefresh`] if a refresh would not come before it
    /// ends; [`BuildError::EarlyRefresh`] if its beta is not a number above zero.
    pub fn build<F, V, E>(self, load: F) -> Result<Loader<F>, BuildError>
    where
        F: Fn(&[u8]) -> Result<V, E> + Send + Sync + 'static,
        V: IntoLoaded,
        E: Send + Sync + 'static,
    {
        Ok(Loader { shared: self.share(load)? })
    }

    /// A loader for tasks. `load` gets the key, and returns a future; if that needs something that `load` owns, give it a
    /// clone: `move |key| { let db = db.clone(); async move { db.read(&key).await } }`.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build); and [`BuildError::NoSleep`] if there is a [`wait_limit`](Self::wait_limit) and no
    /// [`sleep`](Self::sleep) to keep it with.
    pub fn build_async<F, T, V, E>(self, load: F) -> Result<AsyncLoader<F>, BuildError>
    where
        F: Fn(Arc<[u8]>) -> T + Send + Sync + 'static,
        T: Future<Output = Result<V, E>> + Send + 'static,
        V: IntoLoaded + Send + 'static,
        E: Send + Sync + 'static,
    {
        if self.rules.wait_limit.is_some() && self.sleeper.is_none() {
            return Err(BuildError::NoSleep);
        }
        Ok(AsyncLoader { shared: self.share(load)? })
    }

    fn share<F>(self, load: F) -> Result<Arc<Shared<F>>, BuildError> {
        if self.ttl == Some(Duration::ZERO) {
            return Err(BuildError::ZeroLifetime);
        }
        if let (Some(refresh_after), Some(ttl)) = (self.refresh_after, self.ttl) {
            if refresh_after >= ttl {
                return Err(BuildError::LateRefresh { refresh_after, ttl });
            }
        }
        if let Some(beta) = self.rules.early.filter(|&beta| !(beta > 0.0 && beta.is_finite())) {
            return Err(BuildError::EarlyRefresh { beta });
        }
        let Self { cache, mut rules, executor, spawner, sleeper, .. } = self;
        if rules.early.is_some() || rules.error_ttl().is_some() {
            // Entries need a mark that a load was tried, though they are not due for one otherwise.
            rules.lifetime = rules.lifetime.or(Lifetime::new().refresh_after(Duration::MAX));
        }
        Ok(Arc::new(Shared { cache, rules, cost: LoadCost::default(), executor, spawner, sleeper, load }))
    }
}

impl fmt::Debug for LoaderBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoaderBuilder").field("cache", &self.cache).field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl Cache {
    /// Rules for loads, said once: see [`LoaderBuilder`].
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
    /// assert_eq!(squares.get("12").as_deref().ok(), Some(&b"144"[..]));
    /// assert!(squares.get("twelve").is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn loader(&self) -> LoaderBuilder {
        LoaderBuilder {
            cache: self.clone(),
            rules: Rules::DEFAULT,
            ttl: None,
            refresh_after: None,
            executor: None,
            spawner: None,
            sleeper: None,
        }
    }
}

/// A loader with its rules, for threads; from [`LoaderBuilder::build`]. Clones are the same loader.
///
/// It keeps the cache. To name its type in a struct, box its function: `Loader<Box<dyn Fn(&[u8]) -> Result<Vec<u8>, E> + Send +
/// Sync>>`.
pub struct Loader<F> {
    shared: Arc<Shared<F>>,
}

/// A loader with its rules, for tasks on any runtime; from [`LoaderBuilder::build_async`]. Clones are the same loader.
///
/// Its futures may be dropped at any time, as those of [`Cache::get_or_load_async`].
pub struct AsyncLoader<F> {
    shared: Arc<Shared<F>>,
}

struct Shared<F> {
    cache: Cache,
    rules: Rules,
    cost: LoadCost,
    executor: Option<Arc<Executor>>,
    spawner: Option<Arc<Spawner>>,
    sleeper: Option<Arc<Sleeper>>,
    load: F,
}

/// What a loader has found, and what that is worth.
enum Found {
    Fresh(Value),
    /// To be loaded anew.
    Due(Value, Reason),
    Negative(Negative),
    Nothing,
}

impl<F> Shared<F> {
    #[inline]
    fn find(&self, target: &Target<'_>, key: &[u8]) -> Found {
        match self.cache.look_up(target, key) {
            LookUp::Fresh(value) if self.is_early(target, key) => Found::Due(value, Reason::Early),
            LookUp::Fresh(value) => Found::Fresh(value),
            LookUp::RefreshDue(value) => Found::Due(value, Reason::Due),
            LookUp::Negative(negative) => Found::Negative(negative),
            LookUp::Nothing => Found::Nothing,
        }
    }

    #[inline]
    fn is_early(&self, target: &Target<'_>, key: &[u8]) -> bool {
        self.rules.early.is_some_and(|beta| {
            let status = target.shard.status(target.hash, key, self.rules.retry());
            status.is_some_and(|status| !status.is_refresh_near && self.cost.is_early(beta, status.left, chance()))
        })
    }

    /// Claims the load of an entry anew; `None` if another does that, or has done it.
    fn permit(&self, target: &Target<'_>, key: &[u8], reason: Reason) -> Option<RefreshPermit> {
        let retry = self.rules.retry();
        target.shard.write(|writer| writer.permit_refresh(target.hash, key, reason, retry))
    }

    /// Who is to load an entry anew that it has a permit for; `None` if it is another by now.
    fn board_refresh(&self, key: &[u8], permit: RefreshPermit) -> Option<Leader> {
        let target = self.cache.target(key);
        let board = |writer: &mut Writer<'_>| writer.board_refresh(target.hash, key, permit);
        let (ticket, notice) = target.shard.write_with_notice(board);
        let mut leader = Leader::new(&self.cache, &target, ticket?);
        leader.run(|| drop(notice)); // As in `take_turn`.
        Some(leader)
    }

    /// What to answer for a key whose load has failed a moment ago.
    fn put_off<E>(&self, target: &Target<'_>, key: &[u8]) -> Option<Answer<E>> {
        self.rules.error_ttl()?;
        let status = target.shard.status(target.hash, key, Duration::ZERO)?;
        if status.freshness != Freshness::Stale || !status.has_failed {
            return None;
        }
        let value = if self.rules.serves_stale_on_error { self.cache.look_up_stale(target, key) } else { None };
        Some(value.ok_or(LoadError::RecentFailure))
    }

    /// A value that is there in spite of a failed load, if that is wanted.
    fn or_stale<E>(&self, target: &Target<'_>, key: &[u8], answer: Answer<E>) -> Answer<E> {
        match answer {
            Err(LoadError::Failed(_) | LoadError::Panicked | LoadError::TimedOut)
                if self.rules.serves_stale_on_error =>
            {
                self.cache.look_up_stale(target, key).map_or(answer, Ok)
            }
            answer => answer,
        }
    }
}

/// What a caller answers that has loaded an entry anew of which it has the `present` value.
fn after_refresh<E>(present: Value, refreshed: Option<Answer<E>>) -> Answer<E> {
    match refreshed {
        Some(answer @ (Ok(_) | Err(LoadError::Absent))) => answer,
        Some(Err(_)) | None => Ok(present),
    }
}

impl<F> Loader<F> {
    /// The value under `key`, which is loaded if there is none, or if it is due for a refresh.
    ///
    /// # Errors
    ///
    /// As [`Cache::get_or_load`]; and `TimedOut` beyond the [`wait_limit`](LoaderBuilder::wait_limit), `RecentFailure` within
    /// the [`error_ttl`](LoaderBuilder::error_ttl). With [`stale_for`](LoaderBuilder::stale_for) no error but
    /// `Absent` and `Reentrant` as long as there is a value.
    ///
    /// # Cost
    ///
    /// As [`Cache::get_or_load`].
    #[inline]
    pub fn get<V, E>(&self, key: impl AsRef<[u8]>) -> Answer<E>
    where
        F: Fn(&[u8]) -> Result<V, E> + Send + Sync + 'static,
        V: IntoLoaded,
        E: Send + Sync + 'static,
    {
        let key = key.as_ref();
        let shared = &self.shared;
        let target = shared.cache.target(key);
        match shared.find(&target, key) {
            Found::Fresh(value) => Ok(value),
            Found::Due(value, reason) => self.refresh(&target, key, value, reason),
            Found::Negative(negative) => Err(negative.into()),
            Found::Nothing => shared.put_off(&target, key).unwrap_or_else(|| {
                let answer = shared.cache.load(&target, key, |key| shared.run(key), &shared.rules);
                shared.or_stale(&target, key, answer)
            }),
        }
    }

    #[cold]
    fn refresh<V, E>(&self, target: &Target<'_>, key: &[u8], present: Value, reason: Reason) -> Answer<E>
    where
        F: Fn(&[u8]) -> Result<V, E> + Send + Sync + 'static,
        V: IntoLoaded,
        E: Send + Sync + 'static,
    {
        let Some(permit) = self.shared.permit(target, key, reason) else { return Ok(present) };
        match &self.shared.executor {
            None => after_refresh(present, self.shared.refresh(key, permit)),
            Some(executor) => {
                let (shared, key) = (Arc::clone(&self.shared), Arc::<[u8]>::from(key));
                executor(Box::new(move || drop(shared.refresh(&key, permit))));
                Ok(present)
            }
        }
    }

    /// The cache that it loads into.
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.shared.cache
    }
}

impl<F> Shared<F> {
    fn run<V, E>(&self, key: &[u8]) -> Result<V, E>
    where
        F: Fn(&[u8]) -> Result<V, E>,
    {
        let began = Instant::now();
        let result = (self.load)(key);
        self.cost.note(began.elapsed());
        result
    }

    /// Loads an entry anew; `None` if that is not wanted any more.
    fn refresh<V, E>(&self, key: &[u8], permit: RefreshPermit) -> Option<Answer<E>>
    where
        F: Fn(&[u8]) -> Result<V, E>,
        V: IntoLoaded,
        E: Send + Sync + 'static,
    {
        let mut leader = self.board_refresh(key, permit)?;
        let result = leader.run(|| self.run(key));
        Some(leader.finish(result, &self.rules))
    }
}

impl<F> AsyncLoader<F> {
    /// The value under `key`, which is loaded if there is none, or if it is due for a refresh.
    ///
    /// # Errors
    ///
    /// As [`Loader::get`].
    ///
    /// # Cost
    ///
    /// As [`Cache::get_or_load_async`].
    pub async fn get_async<V, E, T>(&self, key: impl AsRef<[u8]>) -> Answer<E>
    where
        F: Fn(Arc<[u8]>) -> T + Send + Sync + 'static,
        T: Future<Output = Result<V, E>> + Send + 'static,
        V: IntoLoaded + Send + 'static,
        E: Send + Sync + 'static,
    {
        let key = key.as_ref();
        let (value, permit) = self.begin(key).await?;
        let Some(permit) = permit else { return Ok(value) };
        let refreshing = Arc::clone(&self.shared).refresh_async(key.into(), permit);
        match &self.shared.spawner {
            None => after_refresh(value, refreshing.await),
            Some(spawner) => {
                spawner(Box::pin(async { drop(refreshing.await) }));
                Ok(value)
            }
        }
    }

    /// As [`get_async`](Self::get_async), but a value that is due for a refresh comes with that, to be awaited after the caller
    /// has answered whoever asked.
    ///
    /// # Errors
    ///
    /// As [`get_async`](Self::get_async).
    pub async fn get_then_refresh<V, E, T>(
        &self,
        key: impl AsRef<[u8]>,
    ) -> Result<(Value, Option<Refresh>), LoadError<E>>
    where
        F: Fn(Arc<[u8]>) -> T + Send + Sync + 'static,
        T: Future<Output = Result<V, E>> + Send + 'static,
        V: IntoLoaded + Send + 'static,
        E: Send + Sync + 'static,
    {
        let key = key.as_ref();
        let (value, permit) = self.begin(key).await?;
        let refresh = permit.map(|permit| {
            let refreshing = Arc::clone(&self.shared).refresh_async(key.into(), permit);
            Refresh(Box::pin(async { drop(refreshing.await) }))
        });
        Ok((value, refresh))
    }

    /// The value under `key`, and the right to load it anew if it is due for that.
    async fn begin<V, E, T>(&self, key: &[u8]) -> Result<(Value, Option<RefreshPermit>), LoadError<E>>
    where
        F: Fn(Arc<[u8]>) -> T,
        T: Future<Output = Result<V, E>>,
        V: IntoLoaded,
        E: Send + Sync + 'static,
    {
        let shared = &self.shared;
        let target = shared.cache.target(key);
        match shared.find(&target, key) {
            Found::Fresh(value) => Ok((value, None)),
            Found::Due(value, reason) => Ok((value, shared.permit(&target, key, reason))),
            Found::Negative(negative) => Err(negative.into()),
            Found::Nothing => {
                if let Some(answer) = shared.put_off(&target, key) {
                    return answer.map(|value| (value, None));
                }
                let load = |key| shared.run_async(key);
                let answer =
                    shared.cache.load_async(&target, key, load, &shared.rules, shared.sleeper.as_deref()).await;
                shared.or_stale(&target, key, answer).map(|value| (value, None))
            }
        }
    }

    /// The cache that it loads into.
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.shared.cache
    }
}

impl<F> Shared<F> {
    async fn run_async<V, E, T>(&self, key: Arc<[u8]>) -> Result<V, E>
    where
        F: Fn(Arc<[u8]>) -> T,
        T: Future<Output = Result<V, E>>,
    {
        let began = Instant::now();
        let result = (self.load)(key).await;
        self.cost.note(began.elapsed());
        result
    }

    /// As [`refresh`](Self::refresh), in a task.
    async fn refresh_async<V, E, T>(self: Arc<Self>, key: Arc<[u8]>, permit: RefreshPermit) -> Option<Answer<E>>
    where
        F: Fn(Arc<[u8]>) -> T,
        T: Future<Output = Result<V, E>>,
        V: IntoLoaded,
        E: Send + Sync + 'static,
    {
        let mut leader = self.board_refresh(&key, permit)?;
        let result = run_async(&mut leader, |key| self.run_async(key)).await;
        Some(leader.finish(result, &self.rules))
    }
}

/// The load of an entry anew, which this is to be awaited for: see [`AsyncLoader::get_then_refresh`].
///
/// Dropped before its end it gives the load up.
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
                let Shared { cache, rules, .. } = &*self.shared;
                f.debug_struct(stringify!($name)).field("cache", cache).field("rules", rules).finish_non_exhaustive()
            }
        }
    )*};
}

handles! { Loader AsyncLoader }

/// A number from 0 to 1, uniform, another each time.
fn chance() -> f64 {
    thread_local! {
        static CHANCE: (ahash::RandomState, Cell<u64>) = (ahash::RandomState::new(), Cell::new(0));
    }
    let draw = |(state, count): &(ahash::RandomState, Cell<u64>)| {
        count.set(count.get() + 1);
        state.hash_one(count.get()) as f64 / u64::MAX as f64
    };
    CHANCE.try_with(draw).unwrap_or(1.0)
}
