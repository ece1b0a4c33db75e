//! The methods of [`Loader`]: loads on the calling thread, on the executor, or in a batch.
//!
//! ```text
//!   in place:     lead -> run -> return the answer
//!   executor:     lead -> give the leader to a job -------------------+
//!   in a batch:   lead -> join the queue -> run the batch if opened --+--> wait for the flight
//! ```
//!
//! The executor runs refreshes and batches. It runs other loads only if there is a
//! [`load_timeout`](super::LoaderBuilder::load_timeout), as the caller waits for them otherwise.

use std::sync::Arc;
use std::time::Instant;

use super::async_load::Purpose;
use super::handles::{Cached, Loader, Shared, after_refresh};
use super::leader::Leader;
use super::on_threads::{run_here, run_on};
use super::outcome::{Answer, Found};
use super::runtime::{Executor, Task};
use super::trace::Span;
use super::{Failure, IntoLoaded, Load, LoadError, LoaderError, Origin, Role, Turn, follower_answer};
use crate::cache::{Cache, Target};
use crate::flight::End;
use crate::ring::Value;
use crate::shard::{KeyFlight, Reason, RefreshPermit, Waiter};

/// The state of a call that has found nothing.
pub(super) enum Begun<E> {
    /// It returns this.
    Answered(Answer<E>),
    /// It waits for the flight.
    Waits(Arc<KeyFlight>, Role),
}

impl<F> Loader<F> {
    /// Returns `true` if a hit may load its value again by chance, so that each read has to go
    /// through this loader.
    #[inline]
    pub(crate) fn refreshes_early(&self) -> bool {
        self.shared.options.early_beta.is_some()
    }

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
    /// * [`LoadError::TimedOut`] after the [`wait_limit`](super::LoaderBuilder::wait_limit) or the
    ///   [`load_timeout`](super::LoaderBuilder::load_timeout);
    /// * [`LoadError::WrongCount`] if the function of a loader in batches returns a wrong number of
    ///   values.
    ///
    /// With [`stale_for`](super::LoaderBuilder::stale_for), the only errors are `Absent` and
    /// `Reentrant` while there is a value. A refresh that fails is no error: the call returns the
    /// current value.
    ///
    /// # Panics
    ///
    /// If the loader's function panics in this call, the panic continues.
    ///
    /// # Cost
    ///
    /// Like [`Cache::get_or_load`].
    #[inline]
    pub fn get<E, Kind>(&self, key: impl AsRef<[u8]>) -> Result<Value, LoadError<E>>
    where
        F: Load<E, Kind>,
        E: Send + Sync + 'static,
    {
        self.shared.cache.with_stored_key(key.as_ref(), |key| {
            let target = self.shared.cache.target(key);
            match self.shared.look_up(&target, key) {
                Cached::Fresh(value) => Ok(value),
                other => self.answer(&target, key, other).map(Found::value),
            }
        })
    }

    /// Like [`get`](Self::get), but also returns where the value came from.
    ///
    /// ```
    /// use std::io;
    /// use bytecache::{Cache, Origin};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let loader = cache.loader().build(|key| Ok::<_, io::Error>(vec![0; 1 << key.len()]))?;
    /// assert_eq!(loader.get_with_origin("key")?.1, Origin::Loaded);
    /// assert_eq!(loader.get_with_origin("key")?.1, Origin::Cached);
    /// // Twice the size of the largest entry. Each call loads it again.
    /// let (value, origin) = loader.get_with_origin("0123456789abcdef01")?;
    /// assert!(value.len() == 2 * cache.max_entry_bytes() && origin == Origin::TooLarge);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get).
    ///
    /// # Cost
    ///
    /// Like [`get`](Self::get).
    #[inline]
    pub fn get_with_origin<E, Kind>(&self, key: impl AsRef<[u8]>) -> Result<(Value, Origin), LoadError<E>>
    where
        F: Load<E, Kind>,
        E: Send + Sync + 'static,
    {
        self.shared.cache.with_stored_key(key.as_ref(), |key| {
            let target = self.shared.cache.target(key);
            let found = self.answer(&target, key, self.shared.look_up(&target, key))?;
            Ok((found.value, found.origin))
        })
    }

    /// Answers a call for a key in this state.
    fn answer<E, Kind>(&self, target: &Target<'_>, key: &[u8], state: Cached) -> Answer<E>
    where
        F: Load<E, Kind>,
        E: Send + Sync + 'static,
    {
        let shared = &self.shared;
        match state {
            Cached::Fresh(value) => Ok(Found::cached(value)),
            Cached::Due(value, reason) => self.refresh(target, key, value, reason),
            Cached::Negative(negative) => Err(negative.into()),
            Cached::Nothing => shared.recent_failure(target, key).unwrap_or_else(|| {
                let answer = shared.load(target, key);
                shared.or_stale(target, key, answer)
            }),
        }
    }

    /// Refreshes an entry in place or on the executor, unless another caller has the permit.
    #[cold]
    fn refresh<E, Kind>(&self, target: &Target<'_>, key: &[u8], current: Value, reason: Reason) -> Answer<E>
    where
        F: Load<E, Kind>,
        E: Send + Sync + 'static,
    {
        match self.shared.permit(target, key, reason) {
            None => Ok(Found::cached(current)),
            Some(permit) => self.refresh_permitted(key, current, permit),
        }
    }

    /// Refreshes an entry in place or on the executor.
    pub(super) fn refresh_permitted<E, Kind>(&self, key: &[u8], current: Value, permit: RefreshPermit) -> Answer<E>
    where
        F: Load<E, Kind>,
        E: Send + Sync + 'static,
    {
        match &self.shared.runtime.executor {
            None => after_refresh(current, self.shared.refresh(key, permit)),
            Some(executor) => {
                let (shared, key) = (Arc::clone(&self.shared), Arc::<[u8]>::from(key));
                executor(Box::new(move || shared.refresh_in_job(&key, permit)));
                Ok(Found::cached(current))
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
        self.shared.plain_cache()
    }
}

impl<F> Shared<F> {
    /// Runs the load of one leader with the loader's function, and records how long that took.
    pub(super) fn lead_one<V, E, Kind>(&self, mut leader: Leader, span: Span) -> Answer<E>
    where
        F: Fn(&[u8]) -> Result<V, E>,
        V: IntoLoaded,
        E: LoaderError<Kind>,
    {
        let key = leader.loaders_key();
        let load = || {
            let began = Instant::now();
            let result = (self.load)(&key);
            self.cost.record(began.elapsed());
            result.map_err(Failure::new)
        };
        let result = leader.run(|| span.run(load));
        leader.finish(result, &self.options)
    }

    /// Leads or follows a load of a key that was not found.
    #[cold]
    fn load<E, Kind>(self: &Arc<Self>, target: &Target<'_>, key: &[u8]) -> Answer<E>
    where
        F: Load<E, Kind>,
        E: Send + Sync + 'static,
    {
        let until = self.options.wait_until();
        let mut has_executor = true;
        // Ends: every round but the first comes after a load that was given up, or that failed with
        // another type of error. The executor can drop one job of this call.
        loop {
            match self.begin(target, key, has_executor) {
                Begun::Answered(answer) => return answer,
                Begun::Waits(flight, role) => {
                    let end = flight.wait(until);
                    has_executor &= !(role == Role::Starter && matches!(end, Some(End::Abandoned)));
                    if let Some(answer) = follower_answer(&self.cache, end, role) {
                        return answer;
                    }
                }
            }
        }
    }

    /// Returns the executor if it runs loads that callers wait for: those of batches, and all loads
    /// if there is a load timeout.
    pub(super) fn load_executor<E, Kind>(&self) -> Option<&Arc<Executor>>
    where
        F: Load<E, Kind>,
    {
        let runs_loads = self.options.load_timeout.is_some() || self.load.max_batch().is_some();
        self.runtime.executor.as_ref().filter(|_| runs_loads)
    }

    /// Lets a call lead or follow a load of a key. If it leads, the load runs on the executor, or
    /// in the call before this returns.
    pub(super) fn begin<E, Kind>(self: &Arc<Self>, target: &Target<'_>, key: &[u8], has_executor: bool) -> Begun<E>
    where
        F: Load<E, Kind>,
        E: Send + Sync + 'static,
    {
        let leader = match self.cache.take_turn(target, key, Waiter::Thread) {
            Turn::Answer(answer) => return Begun::Answered(answer),
            Turn::Follow(flight) => return Begun::Waits(flight, Role::Follower),
            Turn::Lead(leader) => leader,
        };
        let executor = self.load_executor().filter(|_| has_executor);
        match leader.flight().filter(|_| executor.is_some() || self.load.max_batch().is_some()) {
            None => Begun::Answered(F::lead(self, leader, Purpose::Load)),
            Some(flight) => {
                run(F::begin(self, vec![leader], Purpose::Load), executor);
                Begun::Waits(flight, Role::Starter)
            }
        }
    }

    /// Loads an entry again. Returns `None` if the entry was replaced or is being loaded, or if the
    /// load was given up.
    fn refresh<E, Kind>(self: &Arc<Self>, key: &[u8], permit: RefreshPermit) -> Option<Answer<E>>
    where
        F: Load<E, Kind>,
        E: Send + Sync + 'static,
    {
        let leader = self.board_refresh(key, permit, Waiter::Thread)?;
        match leader.flight().filter(|_| self.load.max_batch().is_some()) {
            None => Some(F::lead(self, leader, Purpose::Refresh)),
            Some(flight) => {
                run(F::begin(self, vec![leader], Purpose::Refresh), None);
                let end = flight.wait(self.options.wait_until());
                follower_answer(&self.cache, end, Role::Starter)
            }
        }
    }

    /// Like [`refresh`](Self::refresh), but in a job of the executor, which does not wait for a
    /// batch.
    fn refresh_in_job<E, Kind>(self: &Arc<Self>, key: &[u8], permit: RefreshPermit)
    where
        F: Load<E, Kind>,
        E: Send + Sync + 'static,
    {
        let Some(leader) = self.board_refresh(key, permit, Waiter::Thread) else { return };
        let executor = self.runtime.executor.as_ref().filter(|_| self.load.max_batch().is_some());
        match leader.flight().and(executor) {
            None => drop(F::lead(self, leader, Purpose::Refresh)),
            Some(executor) => run(F::begin(self, vec![leader], Purpose::Refresh), Some(executor)),
        }
    }
}

/// Runs the load that a call has begun, if it is the one to run it: on the executor, or in the
/// call.
pub(super) fn run(begun: Option<Task>, executor: Option<&Arc<Executor>>) {
    match (begun, executor) {
        (None, _) => {}
        (Some(task), Some(executor)) => run_on(executor, task),
        (Some(task), None) => run_here(task),
    }
}
