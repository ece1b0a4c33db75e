//! [`Leader`]: the caller that runs a load, from its begin to its end.
//!
//! ```text
//!   new --run the loader--> finish --> store the result --> end the flight --> notify the listener
//!    |          | panic                                        ^
//!    |          +------------> drop: Panicked -----------------+
//!    +-----------------------> drop: Abandoned ----------------+
//! ```
//!
//! A leader that is dropped before it has a result ends its flight. Its followers get an error if
//! user code has panicked. Otherwise they start again.
//!
//! User code that runs for a load could ask for the key of that load, and would wait for itself.
//! So each thread lists the keys that it loads. The keys of a task are in the list while the task
//! is polled.
//!
//! # Invariants
//!
//! 1. All user code of a load runs while its key is in the list of its thread: the loader, its
//!    future, conversions, policies, and the listener if it is notified before the flight ends.
//! 2. A flight ends after its lease. Otherwise a follower that starts again could find the flight,
//!    and follow it once more.

use core::cell::RefCell;
use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Instant;

use super::options::LoadOptions;
use super::outcome::{Answer, Found};
use super::trace::warn_too_large;
use super::{Failure, IntoLoaded, LoadError, Loaded};
use crate::cache::{Cache, Target};
use crate::flight::End;
use crate::hash::KeyHash;
use crate::ring::OwnedValue;
use crate::shard::{KeyFlight, LoadResult, Notice, Outcome, Shard, Ticket};
use crate::stats::{LoadCount, LoadEnd};

/// The leader of a flight, or a caller that loads without one.
pub struct Leader {
    cache: Cache,
    /// The index of the key's shard. It is kept, as a custom hasher might return another hash next
    /// time.
    shard_index: usize,
    hash: KeyHash,
    /// The stored key.
    key: Arc<[u8]>,
    /// The ticket of the flight, or `None` if the load is not shared.
    ticket: Option<Ticket>,
    began: Instant,
    /// User code runs, or has panicked.
    is_in_user_code: bool,
    /// The end of the load, once it is counted and its result is stored.
    end: Option<End<Outcome>>,
}

thread_local! {
    /// The keys that this thread loads, the innermost last.
    static LOADING: RefCell<Vec<LoadingKey>> = const { RefCell::new(Vec::new()) };
}

/// The address of a shard, and a key.
type LoadingKey = (usize, Arc<[u8]>);

/// A guard that keeps a key in this thread's list of keys that it loads.
#[must_use = "the key leaves the list when this is dropped"]
pub(super) struct LoadingGuard;

impl LoadingGuard {
    fn enter(leader: &Leader) -> Self {
        let key = (address(leader.shard()), Arc::clone(&leader.key));
        // A thread that ends has no list left, so `is_loading_here` finds nothing on it.
        let _ = LOADING.try_with(|keys| keys.borrow_mut().push(key));
        Self
    }
}

impl Drop for LoadingGuard {
    fn drop(&mut self) {
        let _ = LOADING.try_with(|keys| keys.borrow_mut().pop());
    }
}

fn address(shard: &Shard) -> usize {
    core::ptr::from_ref(shard).addr()
}

/// Returns `true` if this thread, or the task that it polls, loads the key. Its load could not end
/// while the caller waits for it.
pub(super) fn is_loading_here(target: &Target<'_>, key: &[u8]) -> bool {
    let shard = address(target.shard);
    let is_same = |loading: &LoadingKey| loading.0 == shard && *loading.1 == *key;
    LOADING.try_with(|keys| keys.borrow().iter().any(is_same)).unwrap_or(false)
}

impl Leader {
    /// Creates the leader of a flight.
    pub(super) fn new(cache: &Cache, target: &Target<'_>, ticket: Ticket) -> Self {
        let key = Arc::clone(&ticket.key);
        let mut leader = Self::alone(cache, target, key);
        leader.ticket = Some(ticket);
        leader
    }

    /// Creates a leader without a flight.
    pub(super) fn alone(cache: &Cache, target: &Target<'_>, key: Arc<[u8]>) -> Self {
        Self {
            cache: cache.clone(),
            shard_index: target.number,
            hash: target.hash,
            key,
            ticket: None,
            began: Instant::now(),
            is_in_user_code: false,
            end: None,
        }
    }

    /// Returns the key for the loader: the one that its callers ask for.
    pub(super) fn loaders_key(&self) -> Arc<[u8]> {
        self.cache.loaders_key(&self.key)
    }

    /// Returns the flight of the load, or `None` if the load is not shared.
    pub(super) fn flight(&self) -> Option<Arc<KeyFlight>> {
        self.ticket.as_ref().map(|ticket| Arc::clone(&ticket.flight))
    }

    fn shard(&self) -> &Shard {
        self.cache.shard(self.shard_index)
    }

    /// Counts the time of the load from this moment on, for a load that has waited for others.
    pub(super) fn begin(&mut self) {
        self.began = Instant::now();
    }

    /// Runs user code of the load: the loader, or a part of it.
    pub(super) fn run<R>(&mut self, run: impl FnOnce() -> R) -> R {
        run_all(core::slice::from_mut(self), |leader| leader, run)
    }

    /// Stores the result of the loader, unless the key has changed meanwhile. Then notifies the
    /// followers, and after them the listener.
    pub(super) fn finish<V, E>(mut self, result: Result<V, Failure<E>>, options: &LoadOptions) -> Answer<E>
    where
        V: IntoLoaded,
        E: Send + Sync + 'static,
    {
        let cache = self.cache.clone();
        let shard = cache.shard(self.shard_index);
        let guard = LoadingGuard::enter(&self);
        let (answer, notice) = match result {
            Ok(value) => self.store_value(shard, value, options),
            Err(error) => {
                let notice = self.store_failure(shard, Outcome::Failed(error.to_any()), options);
                (Err(LoadError::Failed(error)), notice)
            }
        };
        drop(guard);
        drop(self);
        drop(notice);
        answer
    }

    /// Ends a load that has taken too long. The followers get the same error.
    pub(super) fn time_out<E>(mut self, options: &LoadOptions) -> Answer<E> {
        let cache = self.cache.clone();
        let shard = cache.shard(self.shard_index);
        let guard = LoadingGuard::enter(&self);
        let notice = self.store_failure(shard, Outcome::TimedOut, options);
        cache.loads().add(LoadCount::TimedOut, 1);
        drop(guard);
        drop(self);
        drop(notice);
        Err(LoadError::TimedOut)
    }

    /// Stores a value that was loaded, unless the key has changed meanwhile. The followers are
    /// notified when the leader is dropped.
    ///
    /// The caller holds a [`LoadingGuard`] of the key, as this runs conversions and custom
    /// policies.
    pub(super) fn store_value<'s, V: IntoLoaded, E>(
        &mut self,
        shard: &'s Shard,
        value: V,
        options: &LoadOptions,
    ) -> (Answer<E>, Notice<'s>) {
        let time = self.began.elapsed();
        self.is_in_user_code = true; // Conversions and policies may panic.
        match options.with_lifetime(value) {
            Ok((value, lifetime)) => {
                let bytes = value.as_ref();
                let is_too_large = self.cache.check_size(&self.key, bytes).is_err();
                let result = if is_too_large {
                    let key = self.loaders_key();
                    warn_too_large(&self.cache, options.shown(&key), key.len().saturating_add(bytes.len()));
                    LoadResult::Oversized
                } else {
                    LoadResult::Value(bytes, lifetime)
                };
                let (held, notice) = self.complete(shard, result, LoadEnd::Found(time));
                let value = self.cache.stored_or_copied(held, bytes);
                self.end = Some(End::Landed(Outcome::Value { value: value.clone(), is_too_large }));
                (Ok(Found::loaded(value, is_too_large)), notice)
            }
            Err(lifetime) => {
                let (_, notice) = self.complete(shard, LoadResult::Absent(lifetime), LoadEnd::Absent(time));
                self.end = Some(End::Landed(Outcome::Absent));
                (Err(LoadError::Absent), notice)
            }
        }
    }

    /// Like [`store_value`](Self::store_value), but for a loader that has failed. The followers get
    /// the outcome.
    fn store_failure<'s>(&mut self, shard: &'s Shard, outcome: Outcome, options: &LoadOptions) -> Notice<'s> {
        let time = self.began.elapsed();
        self.is_in_user_code = true;
        let (_, notice) = self.complete(shard, LoadResult::Failed(options.error_ttl()), LoadEnd::Failed(time));
        self.end = Some(End::Landed(outcome));
        notice
    }

    /// Counts a failure that does not concern the key. The followers get the end.
    fn give_up(mut self, end: End<Outcome>) {
        self.end_without_result(end, LoadEnd::Failed(self.began.elapsed()));
    }

    /// Ends the lease and stores the result. Returns the value as it lies in the cache, if it does.
    fn complete<'s>(&self, shard: &'s Shard, result: LoadResult<'_>, end: LoadEnd) -> (Option<OwnedValue>, Notice<'s>) {
        shard.write_with_notice(|writer| match &self.ticket {
            Some(ticket) => writer.complete(self.hash, ticket, result, end),
            None => {
                writer.complete_unshared(self.hash, &self.key, result, end);
                None
            }
        })
    }

    /// Counts the load, and ends the lease without a result.
    fn end_without_result(&mut self, end: End<Outcome>, counted: LoadEnd) {
        self.shard().end_load(&self.key, self.ticket.as_ref(), counted);
        self.end = Some(end);
    }
}

/// Takes the leader out of a pair with the index of its key.
impl From<(usize, Leader)> for Leader {
    fn from((_, leader): (usize, Leader)) -> Self {
        leader
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if self.end.is_none() {
            match self.is_in_user_code {
                true => self.end_without_result(End::Panicked, LoadEnd::Failed(self.began.elapsed())),
                false => self.end_without_result(End::Abandoned, LoadEnd::Cancelled),
            }
        }
        if let (Some(end), Some(ticket)) = (self.end.take(), &self.ticket) {
            ticket.flight.end(end);
        }
    }
}

/// The end of the flights of a loader that has returned more or fewer values than it got keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterWrongCount {
    /// The followers start again. They have loaders of their own.
    StartAgain,
    /// The followers get the error. Starting again, they would get it again.
    Fail,
}

/// Stores the values that a loader of many keys has returned, in the order of the leaders. Passes
/// the answer for each key to `take`. Then notifies the followers of all keys, and after them the
/// listener. `leader` returns the leader in an element.
///
/// # Errors
///
/// [`LoadError::WrongCount`] if there is not one value for each leader. Then nothing is stored, and
/// no answer is passed on.
pub(super) fn finish_all<L, V, E>(
    mut leaders: Vec<L>,
    leader: fn(&mut L) -> &mut Leader,
    result: Result<Vec<Option<V>>, Failure<E>>,
    options: &LoadOptions,
    after: AfterWrongCount,
    mut take: impl FnMut(&L, Answer<E>),
) -> Result<(), LoadError<E>>
where
    L: Into<Leader>,
    V: IntoLoaded,
    E: Send + Sync + 'static,
{
    let Some(cache) = leaders.first_mut().map(|first| leader(first).cache.clone()) else { return Ok(()) };
    let keys = leaders.len();
    // All keys are in the thread's list until the last one is stored.
    let guards: Vec<_> = leaders.iter_mut().map(|each| LoadingGuard::enter(leader(each))).collect();
    let mut notice = Notice::default();
    let mut add_notice = |more| {
        notice.join(more);
        if notice.is_long() {
            drop(core::mem::take(&mut notice));
        }
    };
    match result {
        Ok(values) if values.len() != keys => {
            let values = values.len();
            drop(guards);
            let end = match after {
                AfterWrongCount::StartAgain => End::Abandoned,
                AfterWrongCount::Fail => End::Landed(Outcome::WrongCount { keys, values }),
            };
            leaders.into_iter().for_each(|each| each.into().give_up(end.clone()));
            return Err(LoadError::WrongCount { keys, values });
        }
        Ok(values) => {
            for (each, value) in leaders.iter_mut().zip(values) {
                let value = value.map_or(Loaded::Absent, IntoLoaded::into_loaded);
                let leader = leader(each);
                let (answer, notice) = leader.store_value(cache.shard(leader.shard_index), value, options);
                take(each, answer);
                add_notice(notice);
            }
        }
        Err(error) => {
            for each in &mut leaders {
                let (leader, outcome) = (leader(each), Outcome::Failed(error.to_any()));
                let notice = leader.store_failure(cache.shard(leader.shard_index), outcome, options);
                take(each, Err(LoadError::Failed(error.clone())));
                add_notice(notice);
            }
        }
    }
    drop(guards);
    drop(leaders);
    drop(notice);
    Ok(())
}

/// Runs user code for the loads of several leaders. `leader` returns the leader in an element.
pub(super) fn run_all<L, R>(leaders: &mut [L], leader: fn(&mut L) -> &mut Leader, run: impl FnOnce() -> R) -> R {
    // This is the same for all of them. It is `true` if this runs because user code has panicked.
    let was_in_user_code = leaders.iter_mut().any(|each| leader(each).is_in_user_code);
    let mut guards = Vec::new();
    for each in leaders.iter_mut() {
        let leader = leader(each);
        leader.is_in_user_code = true;
        guards.push(LoadingGuard::enter(leader));
    }
    let result = run();
    // After a panic it stays `true`, so the drop of the leaders reports the panic.
    leaders.iter_mut().for_each(|each| leader(each).is_in_user_code = was_in_user_code);
    result
}

/// The future of a loader, which is polled and dropped as user code of its leaders' loads.
struct Loading<'a, F, L> {
    future: Pin<&'a mut Option<F>>,
    leaders: &'a mut [L],
    leader: fn(&mut L) -> &mut Leader,
}

impl<F, L> Drop for Loading<'_, F, L> {
    fn drop(&mut self) {
        // Values that the future owns may ask for the key when they are dropped.
        run_all(self.leaders, self.leader, || self.future.set(None));
    }
}

/// Like [`run_all`], but for a loader in a task.
pub(super) async fn run_all_async<F: Future, L>(
    leaders: &mut [L],
    leader: fn(&mut L) -> &mut Leader,
    load: impl FnOnce() -> F,
) -> F::Output {
    let future = pin!(Some(run_all(leaders, leader, load)));
    let mut loading = Loading { future, leaders, leader };
    poll_fn(move |context| {
        let Loading { future, leaders, leader } = &mut loading;
        run_all(leaders, *leader, || match future.as_mut().as_pin_mut() {
            Some(future) => future.poll(context),
            None => unreachable!("the future is dropped with `loading` only"),
        })
    })
    .await
}
