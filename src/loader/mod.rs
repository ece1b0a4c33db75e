//! Loads through the cache: one load of a key at a time, for threads and tasks.
//!
//! ```text
//!   look up --hit--> return
//!      | miss
//!    board --Lead----> run the loader --> complete: store, unless the key changed --> end flight
//!      |   --Follow--> wait for the end: use the outcome, or board again if there is none
//!      +---Present---> return
//! ```
//!
//! Threads and tasks differ in how they run the loader and how they wait. They share everything
//! else:
//!
//! | file | |
//! |---|---|
//! | `mod.rs` | loads of one key, with the loader of the call |
//! | `many.rs` | loads of many keys in one call, with the loader of the call |
//! | `namespaces.rs` | the same for the keys of a namespace |
//! | `builder.rs`, `options.rs`, `runtime.rs` | the options of a loader |
//! | `handles.rs`, `early.rs`, `boxed.rs` | loaders: refreshes, stale values |
//! | `threads.rs`, `load.rs` | loaders for threads: in place, or on the executor |
//! | `tasks.rs`, `async_load.rs` | loaders for tasks: in place, or by the spawner |
//! | `infallible.rs` | loads of one key that cannot fail |
//! | `present.rs` | calls of a loader that never load |
//! | `many_keys.rs`, `many_in_batches.rs`, `join.rs` | calls of a loader for many keys |
//! | `batch.rs`, `batch_on_threads.rs`, `queue.rs` | loaders of many keys, which gather the keys of several calls |
//! | `on_threads.rs` | loads for threads that wait for their turn |
//! | `warm.rs` | loading many keys before traffic is let in |
//! | `leader.rs` | the leader's part of a load |
//! | `outcome.rs`, `failure.rs` | results of loaders, and of their callers |
//! | `trace.rs` | spans around loads, with the feature `tracing` |
//! | `flight.rs`, `shard/load.rs` | waiting; decisions under the shard's lock |
//!
//! # Invariants
//!
//! 1. A leader ends its flight, however its load ends. The drop of [`Leader`] does so at the
//!    latest.
//! 2. A caller that finds neither an entry nor a flight, under the shard's lock, leads.

mod async_load;
mod batch;
mod batch_on_threads;
mod boxed;
mod builder;
mod early;
mod failure;
mod handles;
mod infallible;
mod join;
mod leader;
mod load;
mod many;
mod many_in_batches;
mod many_keys;
mod namespaces;
mod on_threads;
mod options;
mod outcome;
mod present;
mod queue;
mod runtime;
mod tasks;
mod threads;
mod trace;
mod warm;

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;
use std::sync::Arc;
use std::time::Instant;

pub use async_load::AsyncLoad;
pub use batch::{Batch, Batched};
pub use boxed::{BoxAsyncLoad, BoxAsyncLoader};
pub use builder::LoaderBuilder;
pub use failure::{Failure, HasError, IsBox, IsError, IsPlain, LoaderError};
pub use handles::{AsyncLoader, Loader};
use leader::{Leader, is_loading_here, run_all_async};
pub use load::Load;
use options::LoadOptions;
use outcome::{Answer, Found};
pub use outcome::{IntoLoaded, LoadError, Loaded, Origin};
pub use present::Present;
use runtime::{Sleep, Sleeper};
pub use tasks::Refresh;
use trace::Span;
pub use warm::{WarmOptions, Warmed};

use crate::cache::{Cache, LookUp, Misses, Target};
use crate::flight::End;
use crate::ring::Value;
use crate::shard::{Boarding, KeyFlight, Notice, Outcome, Waiter};
use crate::stats::LoadCount;

/// Loading.
///
/// One load of a key runs at a time. Callers that ask for the key meanwhile, threads or tasks, wait
/// for it and get its result. The result is not stored if the key was stored or removed since the
/// load began, or if the cache was cleared. Then only the callers that wait get it. So write to the
/// store first, and then invalidate: after that, no caller reads the older value. The page
/// [`docs::loading`](crate::docs::loading) has the guarantees.
impl Cache {
    /// Returns the value under `key`. If there is none, calls `load`, and stores and returns its
    /// result.
    ///
    /// `load` may use the cache, and load other keys. Two loads that wait for each other's keys
    /// never end. If your loads could do that, use a [`Loader`] with a
    /// [`wait_limit`](LoaderBuilder::wait_limit).
    ///
    /// ```
    /// use std::io;
    /// use bytecache::{Cache, LoadError};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let value = cache.get_or_load("answer", || Ok::<_, io::Error>("42"))?;
    /// assert_eq!(value, "42");
    ///
    /// // The key is present, so this loader is not called.
    /// let value = cache.get_or_load("answer", || -> Result<&str, io::Error> { unreachable!() })?;
    /// assert_eq!(value, "42");
    ///
    /// let failed = cache.get_or_load("question", || Err::<&str, _>(io::Error::other("unknown")));
    /// assert!(matches!(failed, Err(LoadError::Failed(_))));
    /// assert!(!cache.contains_key("question"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// * [`LoadError::Failed`] if `load` returns an error. Nothing is stored, and all callers that
    ///   wait get the same error.
    /// * [`LoadError::Absent`] if `load` finds nothing, or if a negative entry says so.
    /// * [`LoadError::RecentFailure`] if a loader with an
    ///   [`error_ttl`](LoaderBuilder::error_ttl) has recorded a failure of the key.
    /// * [`LoadError::Panicked`] if this call waited for the load of another caller, and that load
    ///   panicked.
    /// * [`LoadError::Reentrant`] if `load`, or a function that it calls, asks for the key that it
    ///   loads.
    ///
    /// A value that cannot be stored, because it or its key is too large, is returned, and counted
    /// in the [statistics](Self::stats).
    ///
    /// # Panics
    ///
    /// If `load` panics, the panic continues in the call that runs it.
    ///
    /// # Cost
    ///
    /// A hit costs as much as [`get`](Self::get). A miss takes the shard's lock twice. A load in
    /// progress occupies about 240 bytes and its key, and the first one of a shard 320 more. These
    /// bytes are part of the cache's memory. All loads together occupy at most an eighth of it. If
    /// there is no memory for a load, it is not shared, and its result is not stored.
    #[inline]
    pub fn get_or_load<V, E, Kind>(
        &self,
        key: impl AsRef<[u8]>,
        load: impl FnOnce() -> Result<V, E>,
    ) -> Result<Value, LoadError<E>>
    where
        V: IntoLoaded,
        E: LoaderError<Kind>,
    {
        self.with_stored_key(key.as_ref(), |key| {
            let target = self.target(key);
            if let Some(value) = self.read_value(&target, key, Misses::Ignored) {
                return Ok(value); // As fast as `get`. Negative entries are looked for only after a miss.
            }
            self.look_up_or_load(&target, key, || load().map_err(Failure::new))
        })
    }

    /// Like [`get_or_load`](Self::get_or_load), but for tasks, on any runtime.
    ///
    /// The future may be dropped at any time. If it runs the load, another caller that waits then
    /// loads with its own loader. While the future is not polled, its load does not continue, and
    /// the callers that wait for it are delayed. So do not keep the future without polling it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::io;
    /// use bytecache::{Cache, LoadError};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let value = cache.get_or_load_async("answer", async || Ok::<_, io::Error>("42")).await?;
    /// assert_eq!(value, "42");
    ///
    /// let load = async || Err::<&str, _>(io::Error::other("unknown"));
    /// let failed = cache.get_or_load_async("question", load).await;
    /// assert!(matches!(failed, Err(LoadError::Failed(_))));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`get_or_load`](Self::get_or_load).
    ///
    /// # Cost
    ///
    /// Like [`get_or_load`](Self::get_or_load). A task that waits occupies 48 bytes of the cache's
    /// memory.
    pub async fn get_or_load_async<V, E, Kind, F>(
        &self,
        key: impl AsRef<[u8]>,
        load: impl FnOnce() -> F,
    ) -> Result<Value, LoadError<E>>
    where
        V: IntoLoaded,
        E: LoaderError<Kind>,
        F: Future<Output = Result<V, E>>,
    {
        let load = |_| {
            let loading = load();
            async { loading.await.map_err(Failure::new) }
        };
        let key = &*self.stored_key(key.as_ref());
        let target = self.target(key);
        match self.look_up(&target, key) {
            LookUp::Fresh(value) | LookUp::RefreshDue(value) => Ok(value),
            LookUp::Negative(negative) => Err(negative.into()),
            LookUp::Nothing => self.load_async(&target, key, load).await.map(Found::value),
        }
    }

    /// Like [`get_or_load`](Self::get_or_load), after the fast look-up has missed.
    #[cold]
    fn look_up_or_load<V, E>(
        &self,
        target: &Target<'_>,
        key: &[u8],
        load: impl FnOnce() -> Result<V, Failure<E>>,
    ) -> Result<Value, LoadError<E>>
    where
        V: IntoLoaded,
        E: Send + Sync + 'static,
    {
        match self.look_up(target, key) {
            LookUp::Fresh(value) | LookUp::RefreshDue(value) => Ok(value),
            LookUp::Negative(negative) => Err(negative.into()),
            LookUp::Nothing => self.load(target, key, |_| load(), &LoadOptions::DEFAULT).map(Found::value),
        }
    }

    /// Leads or follows a load of a key that was not found, on this thread.
    #[cold]
    fn load<V, E>(
        &self,
        target: &Target<'_>,
        key: &[u8],
        load: impl FnOnce(&Arc<[u8]>) -> Result<V, Failure<E>>,
        options: &LoadOptions,
    ) -> Answer<E>
    where
        V: IntoLoaded,
        E: Send + Sync + 'static,
    {
        let until = options.wait_until();
        // Ends: every round but the first comes after the load of another caller that was given up,
        // or that failed with another type of error.
        loop {
            let end = match self.take_turn(target, key, Waiter::Thread) {
                Turn::Answer(answer) => return answer,
                Turn::Lead(mut leader) => {
                    let key = leader.loaders_key();
                    let result = leader.run(|| Span::of_load(options.shown(&key)).run(|| load(&key)));
                    return leader.finish(result, options);
                }
                Turn::Follow(flight) => flight.wait(until),
            };
            if let Some(answer) = follower_answer(self, end, Role::Follower) {
                return answer;
            }
        }
    }

    /// Like [`load`](Self::load), but in a task, and without a loader's options.
    async fn load_async<V, E, F>(&self, target: &Target<'_>, key: &[u8], load: impl FnOnce(Arc<[u8]>) -> F) -> Answer<E>
    where
        V: IntoLoaded,
        E: Send + Sync + 'static,
        F: Future<Output = Result<V, Failure<E>>>,
    {
        // Ends: see `load`.
        loop {
            let end = match self.take_turn(target, key, Waiter::Task) {
                Turn::Answer(answer) => return answer,
                Turn::Lead(mut leader) => {
                    let span = Span::of_load(Some(&leader.loaders_key()));
                    let result = run_async(&mut leader, |key| span.run_async(|| load(key))).await;
                    return leader.finish(result, &LoadOptions::DEFAULT);
                }
                Turn::Follow(flight) => Some(flight.follow().await),
            };
            if let Some(answer) = follower_answer(self, end, Role::Follower) {
                return answer;
            }
        }
    }

    /// Returns the role of a caller that has found nothing, after notifying the listener of entries
    /// that had to leave.
    fn take_turn<E>(&self, target: &Target<'_>, key: &[u8], waiter: Waiter) -> Turn<E> {
        let (mut turn, notice) = self.take_turn_with_notice(target, key, waiter);
        if let Turn::Lead(leader) = &mut turn {
            leader.run(|| drop(notice));
        }
        turn
    }

    /// Like [`take_turn`](Self::take_turn), but the listener is notified when the second result is
    /// dropped.
    ///
    /// If this thread leads, the notice has to be dropped within [`Leader::run`]. Otherwise a
    /// listener that asks for the key would wait for its own thread.
    fn take_turn_with_notice<'a, E>(&self, target: &Target<'a>, key: &[u8], waiter: Waiter) -> (Turn<E>, Notice<'a>) {
        if is_loading_here(target, key) {
            return (Turn::Answer(Err(LoadError::Reentrant)), Notice::default());
        }
        let (boarding, notice) = self.board(target, key, waiter);
        let turn = match boarding {
            Boarding::Present(held) => Turn::Answer(Ok(Found::cached(self.stored_or_copied(Some(held), &[])))),
            Boarding::Negative(negative) => Turn::Answer(Err(negative.into())),
            Boarding::Follow(flight) => Turn::Follow(flight),
            Boarding::Lead(ticket) => Turn::Lead(Leader::new(self, target, ticket)),
            Boarding::NoRoom => Turn::Lead(Leader::alone(self, target, key.into())),
        };
        (turn, notice)
    }
}

/// The part of a caller that has found nothing.
enum Turn<E> {
    /// It returns this.
    Answer(Answer<E>),
    /// It loads. If it is a [`Starter`](Waiter::Starter), it has a seat in the flight.
    Lead(Leader),
    /// It waits. If it is a task, it has a seat.
    Follow(Arc<KeyFlight>),
}

/// The role of a caller that waits for a flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// It waits for the load of another caller.
    Follower,
    /// It has begun the load, which runs elsewhere.
    Starter,
}

/// Calls and polls the loader of a leader in a task.
async fn run_async<F: Future>(leader: &mut Leader, load: impl FnOnce(Arc<[u8]>) -> F) -> F::Output {
    let key = leader.loaders_key();
    run_all_async(core::slice::from_mut(leader), |leader| leader, || load(key)).await
}

/// Returns the answer of a caller whose flight has ended, or `None` if it has to start again. An
/// `end` of `None` means that it has waited for too long.
fn follower_answer<E>(cache: &Cache, end: Option<End<Outcome>>, role: Role) -> Option<Answer<E>>
where
    E: Send + Sync + 'static,
{
    let answer = match end {
        None | Some(End::Landed(Outcome::TimedOut)) => {
            cache.loads().add(LoadCount::TimedOut, 1);
            return Some(Err(LoadError::TimedOut));
        }
        Some(End::Abandoned) => return None,
        Some(End::Panicked) => return Some(Err(LoadError::Panicked)),
        Some(End::Landed(outcome)) => outcome::to_answer(outcome)?,
    };
    if role == Role::Follower {
        cache.loads().add(LoadCount::Followers, 1);
    }
    Some(answer)
}

/// A limit on the time that a task waits, from its creation on.
struct TaskWait<'a> {
    limit: Option<Duration>,
    until: Option<Instant>,
    sleeper: Option<&'a Sleeper>,
    /// Created with the first wait.
    sleep: Option<Sleep>,
}

impl<'a> TaskWait<'a> {
    fn new(limit: Option<Duration>, sleeper: Option<&'a Sleeper>) -> Self {
        Self { limit, until: options::time_after(limit), sleeper, sleep: None }
    }

    /// Waits for the end of a flight in which this task has a seat. Returns `None` if the limit
    /// comes first.
    async fn follow(&mut self, flight: Arc<KeyFlight>) -> Option<End<Outcome>> {
        self.wait(flight.follow()).await
    }

    /// Waits for a future. Returns `None` if the limit comes first.
    async fn wait<F: Future>(&mut self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        if let (None, Some(limit), Some(sleeper)) = (&self.sleep, self.limit, self.sleeper) {
            self.sleep = Some(sleeper(limit));
        }
        poll_fn(|context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Some(output));
            }
            let is_awake = self.sleep.as_mut().is_some_and(|sleep| sleep.as_mut().poll(context).is_ready());
            let is_over = is_awake || self.until.is_some_and(|until| Instant::now() >= until);
            if is_over { Poll::Ready(None) } else { Poll::Pending }
        })
        .await
    }
}
