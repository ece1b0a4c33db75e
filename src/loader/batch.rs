//! [`Batch`] and [`Batched`]: loaders that load the keys of several calls at once. Those for tasks
//! run here, and those for threads in `batch_on_threads.rs`.
//!
//! Each key has a flight of its own, as in every loader, and its leader joins the
//! [queue](super::queue). The opener of a batch calls the function for all its leaders, and ends
//! their flights. It is a task of the spawner, or the caller whose key opened the batch.
//!
//! An opener yields once before it takes the keys, so that tasks that are ready can add theirs.

use core::fmt;
use core::future::{Future, poll_fn};
use core::task::Poll;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use super::async_load::{AsyncLoad, Leading, Place, Purpose};
use super::handles::Shared;
use super::leader::{AfterWrongCount, Leader, finish_all, run_all_async};
use super::outcome::Answer;
use super::queue::{Opener, Queue};
use super::runtime::Task;
use super::trace::Span;
use super::{Failure, IntoLoaded, LoadError, LoaderError, TaskWait};

/// The size of batches, and how many of them are in flight, for
/// [`LoaderBuilder::build_batched`](crate::LoaderBuilder::build_batched) and
/// [`LoaderBuilder::build_batched_async`](crate::LoaderBuilder::build_batched_async).
///
/// ```
/// use bytecache::Batch;
///
/// // Queries of at most 256 keys, two at a time.
/// let batch = Batch::up_to(256).in_flight(2);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a batch does nothing until it is given to a builder"]
pub struct Batch {
    pub(super) max_keys: usize,
    pub(super) max_in_flight: usize,
}

impl Batch {
    /// Creates batches of at most `max_keys` keys, of which one is in flight at a time.
    ///
    /// Zero keys are an error of [`build_batched`](crate::LoaderBuilder::build_batched) and
    /// [`build_batched_async`](crate::LoaderBuilder::build_batched_async).
    ///
    /// ```
    /// use std::io;
    /// use std::sync::Arc;
    /// use bytecache::{Batch, BuildError, Cache};
    ///
    /// let load = |keys: Vec<Arc<[u8]>>| async move { Ok::<_, io::Error>(vec![Some("value"); keys.len()]) };
    /// let builder = Cache::new(1 << 20)?.loader();
    /// assert!(builder.clone().build_batched_async(Batch::up_to(100), load).is_ok());
    /// let error = builder.build_batched_async(Batch::up_to(0), load).err();
    /// assert_eq!(error, Some(BuildError::EmptyBatch));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn up_to(max_keys: usize) -> Self {
        Self { max_keys, max_in_flight: 1 }
    }

    /// Sets how many batches are in flight at a time. Keys that are asked for meanwhile gather in
    /// the next batch.
    ///
    /// A batch begins as soon as fewer than that are in flight, however few keys it has. So a lower
    /// number makes larger batches. Zero is an error of
    /// [`build_batched`](crate::LoaderBuilder::build_batched) and
    /// [`build_batched_async`](crate::LoaderBuilder::build_batched_async).
    ///
    /// ```
    /// use std::io;
    /// use std::sync::Arc;
    /// use bytecache::{Batch, BuildError, Cache};
    ///
    /// let load = |keys: Vec<Arc<[u8]>>| async move { Ok::<_, io::Error>(vec![Some("value"); keys.len()]) };
    /// let builder = Cache::new(1 << 20)?.loader();
    /// assert!(builder.clone().build_batched_async(Batch::up_to(100).in_flight(2), load).is_ok());
    /// let error = builder.build_batched_async(Batch::up_to(100).in_flight(0), load).err();
    /// assert_eq!(error, Some(BuildError::EmptyBatch));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn in_flight(mut self, batches: usize) -> Self {
        self.max_in_flight = batches;
        self
    }

    /// Returns `true` if no key could ever be loaded.
    pub(super) fn is_empty(self) -> bool {
        self.max_keys == 0 || self.max_in_flight == 0
    }
}

/// The function of a loader of many keys, from
/// [`LoaderBuilder::build_batched`](crate::LoaderBuilder::build_batched) or
/// [`LoaderBuilder::build_batched_async`](crate::LoaderBuilder::build_batched_async).
///
/// To name the type of the loader in a struct, box the function:
///
/// ```
/// use std::future::Future;
/// use std::io;
/// use std::pin::Pin;
/// use std::sync::Arc;
/// use bytecache::{AsyncLoader, Batch, Batched, BuildError, Cache};
///
/// type Rows = Result<Vec<Option<String>>, io::Error>;
/// type Load = Box<dyn Fn(Vec<Arc<[u8]>>) -> Pin<Box<dyn Future<Output = Rows> + Send>> + Send + Sync>;
///
/// struct Users {
///     loader: AsyncLoader<Batched<Load>>,
/// }
///
/// impl Users {
///     fn new(cache: &Cache) -> Result<Self, BuildError> {
///         let load: Load = Box::new(|ids| {
///             Box::pin(async move { Ok(ids.iter().map(|id| Some(format!("user {id:?}"))).collect()) })
///         });
///         Ok(Self { loader: cache.loader().build_batched_async(Batch::up_to(256), load)? })
///     }
/// }
/// # Users::new(&Cache::new(1 << 20)?)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Batched<F> {
    pub(super) load: F,
    pub(super) queue: Arc<Queue<Leader>>,
}

impl<F> Batched<F> {
    pub(super) fn new(batch: Batch, load: F) -> Self {
        Self { load, queue: Arc::new(Queue::new(batch)) }
    }
}

impl<F> fmt::Debug for Batched<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batched").finish_non_exhaustive()
    }
}

impl<F, V, E, K, T> AsyncLoad<E, (V, K, T)> for Batched<F>
where
    F: Fn(Vec<Arc<[u8]>>) -> T + Send + Sync + 'static,
    T: Future<Output = Result<Vec<Option<V>>, E>> + Send + 'static,
    V: IntoLoaded + Send + 'static,
    E: LoaderError<K>,
    K: 'static,
{
    const IS_BATCHED: bool = true;

    fn lead(shared: Arc<Shared<Self>>, leader: Leader, _: Purpose, place: Place) -> Leading<E> {
        Box::pin(async move {
            let mut answer = Err(LoadError::TimedOut);
            let mut limit = shared.limit(place);
            let led = shared.lead_all(vec![leader], &mut limit, |taken| answer = taken).await;
            led.and(answer)
        })
    }

    fn begin(shared: Arc<Shared<Self>>, leader: Leader, _: Purpose, place: Place) -> Option<Task> {
        let opener = shared.load.queue.join(vec![leader])?;
        Some(Box::pin(async move { shared.lead_batch(opener, place).await }))
    }
}

impl<F> Shared<Batched<F>> {
    /// Runs a batch, as soon as it may run.
    async fn lead_batch<V, E, K, T>(&self, mut opener: Opener<Leader>, place: Place)
    where
        F: Fn(Vec<Arc<[u8]>>) -> T,
        T: Future<Output = Result<Vec<Option<V>>, E>>,
        V: IntoLoaded,
        E: LoaderError<K>,
    {
        let mut limit = self.limit(place);
        let is_granted = limit.wait(async {
            opener.granted().await;
            yield_now().await;
        });
        match is_granted.await {
            None => opener.take().into_iter().for_each(|leader| drop(leader.time_out::<E>(&self.options))),
            Some(()) => {
                let leaders = distinct(opener.take());
                // An error that concerns all keys goes to their followers.
                let _ = self.lead_all(leaders, &mut limit, drop).await;
            }
        }
    }

    /// Calls the function for the keys of all leaders, and stores their values. Passes the answer
    /// for each key to `take`.
    ///
    /// # Errors
    ///
    /// [`LoadError::WrongCount`] or [`LoadError::TimedOut`]. Then `take` is not called.
    async fn lead_all<V, E, K, T>(
        &self,
        mut leaders: Vec<Leader>,
        limit: &mut TaskWait<'_>,
        mut take: impl FnMut(Answer<E>),
    ) -> Result<(), LoadError<E>>
    where
        F: Fn(Vec<Arc<[u8]>>) -> T,
        T: Future<Output = Result<Vec<Option<V>>, E>>,
        V: IntoLoaded,
        E: LoaderError<K>,
    {
        leaders.iter_mut().for_each(Leader::begin);
        let keys: Vec<Arc<[u8]>> = leaders.iter().map(Leader::loaders_key).collect();
        let began = Instant::now();
        let load = || limit.wait(Span::of_many(keys.len()).run_async(|| (self.load.load)(keys)));
        let Some(result) = run_all_async(&mut leaders, |leader| leader, load).await else {
            leaders.into_iter().for_each(|leader| drop(leader.time_out::<E>(&self.options)));
            return Err(LoadError::TimedOut);
        };
        self.cost.record(began.elapsed());
        let result = result.map_err(Failure::new);
        finish_all(leaders, |leader| leader, result, &self.options, AfterWrongCount::Fail, |_, answer| take(answer))
    }
}

/// Drops all leaders of a key but the last one.
///
/// A key has more than one if it was written, or its namespace invalidated, since the first one
/// joined. The followers of those that are dropped start again, and follow the last one, whose
/// result may be stored.
pub(super) fn distinct(leaders: Vec<Leader>) -> Vec<Leader> {
    let mut seen: HashSet<Arc<[u8]>, ahash::RandomState> = HashSet::default();
    let is_last: Vec<_> = leaders.iter().rev().map(|leader| seen.insert(leader.loaders_key())).collect();
    leaders
        .into_iter()
        .zip(is_last.into_iter().rev())
        .filter_map(|(leader, is_last)| is_last.then_some(leader))
        .collect()
}

/// Lets other tasks run once.
async fn yield_now() {
    let mut has_yielded = false;
    poll_fn(|context| {
        if has_yielded {
            return Poll::Ready(());
        }
        has_yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
