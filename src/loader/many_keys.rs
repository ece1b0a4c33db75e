//! Calls of a loader for many keys: each key has the rules of a call for one.
//!
//! ```text
//!   look all keys up --> answers   of fresh values and negative entries
//!                    --> due       refreshed, as one call may
//!                    --> missing   loaded: one after the other, all at once in tasks, or in batches
//! ```
//!
//! A thread waits for the loads of others after its own loads have ended. In a task, the loads of
//! all keys go on side by side. So two calls that ask for each other's keys do not wait for each
//! other forever.

use core::mem;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::handles::{AsyncLoader, Cached, Loader, Shared};
use super::join::join_all;
use super::outcome::{Answer, Found};
use super::threads::Begun;
use super::{AsyncLoad, Load, LoadError, Role, follower_answer};
use crate::flight::End;
use crate::reclaim::BATCH;
use crate::ring::Value;
use crate::shard::RefreshPermit;

/// The results of a call for many keys, in the order of the keys.
type Results<E> = Vec<Result<Value, LoadError<E>>>;

/// The keys of a call, after they were looked up.
struct Keys<E> {
    /// The answers so far, in the order of the keys.
    answers: Vec<Option<Answer<E>>>,
    /// Keys that came before: their index, and the index of the first one.
    repeated: Vec<(usize, usize)>,
    /// The work that is left before all answers are there.
    jobs: Vec<(usize, Job)>,
}

/// The load of a key.
pub(super) enum Job {
    /// There is no value.
    Load,
    /// There is a value, and this call has the permit to load it again.
    Refresh(Value, RefreshPermit),
}

impl<E> Keys<E> {
    /// Returns the results, when there is an answer for each key but the repeated ones.
    fn results(mut self) -> Results<E> {
        for (index, first) in self.repeated {
            self.answers[index] = self.answers[first].clone();
        }
        let result = |answer: Option<Answer<E>>| match answer {
            Some(answer) => answer.map(Found::value),
            None => unreachable!("each key has been looked up, loaded, or has come before"),
        };
        self.answers.into_iter().map(result).collect()
    }
}

impl<F> Shared<F> {
    /// Looks all keys up. A key that comes more than once has one job at most.
    fn look_up_all<K: AsRef<[u8]>, E>(&self, keys: &[K]) -> Keys<E> {
        let mut found = Keys { answers: Vec::with_capacity(keys.len()), repeated: Vec::new(), jobs: Vec::new() };
        let mut first: HashMap<&[u8], usize, ahash::RandomState> = HashMap::default();
        for chunk in keys.chunks(BATCH) {
            for key in chunk {
                let target = self.cache.target(&self.cache.stored_key(key.as_ref()));
                target.shard.prefetch_bucket(target.hash);
            }
            for key in chunk {
                let (index, key) = (found.answers.len(), key.as_ref());
                let stored = &*self.cache.stored_key(key);
                let target = self.cache.target(stored);
                let answer = match self.look_up(&target, stored) {
                    Cached::Fresh(value) => Some(Ok(Found::cached(value))),
                    Cached::Negative(negative) => Some(Err(negative.into())),
                    Cached::Due(value, reason) => match self.permit(&target, stored, reason) {
                        None => Some(Ok(Found::cached(value))),
                        Some(permit) => {
                            found.jobs.push((index, Job::Refresh(value, permit)));
                            None
                        }
                    },
                    Cached::Nothing => match first.entry(key) {
                        Entry::Occupied(first) => {
                            found.repeated.push((index, *first.get()));
                            None
                        }
                        Entry::Vacant(place) => {
                            let failure = self.recent_failure(&target, stored);
                            place.insert(index);
                            if failure.is_none() {
                                found.jobs.push((index, Job::Load));
                            }
                            failure
                        }
                    },
                };
                found.answers.push(answer);
            }
        }
        found
    }
}

impl<F> Loader<F> {
    /// Returns the results for `keys`, in order. Each key is treated like one call of
    /// [`get`](Self::get) would, with all rules of the loader.
    ///
    /// Keys that are missing are loaded one after the other. With a
    /// [`load_timeout`](super::LoaderBuilder::load_timeout), the
    /// [`executor`](super::LoaderBuilder::executor) gets the loads of all keys at once, and the
    /// limit holds for the whole call. A key that comes twice is loaded once.
    ///
    /// ```
    /// use std::num::ParseIntError;
    /// use bytecache::{Cache, LoadError};
    ///
    /// let squares = Cache::new(1 << 20)?.loader().build(|key| {
    ///     let number: u64 = std::str::from_utf8(key).unwrap_or_default().parse()?;
    ///     Ok::<_, ParseIntError>((number * number).to_string())
    /// })?;
    /// let results = squares.get_many(&["12", "twelve", "3"]);
    /// assert!(matches!(&results[0], Ok(value) if *value == "144"));
    /// assert!(matches!(&results[1], Err(LoadError::Failed(_))));
    /// assert!(matches!(&results[2], Ok(value) if *value == "9"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Each key has a result of its own, with the errors of [`get`](Self::get).
    ///
    /// # Panics
    ///
    /// If the loader's function panics, the panic continues in this call. Values that were loaded
    /// before are stored.
    ///
    /// # Cost
    ///
    /// Like [`get`](Self::get) for each key, but memory accesses of the look-ups overlap. A few
    /// allocations.
    pub fn get_many<K, E, Kind>(&self, keys: &[K]) -> Vec<Result<Value, LoadError<E>>>
    where
        K: AsRef<[u8]>,
        F: Load<E, Kind>,
        E: Send + Sync + 'static,
    {
        let mut found = self.shared.look_up_all(keys);
        if let Some(max_batch) = self.shared.load.max_batch() {
            self.load_in_batches(keys, mem::take(&mut found.jobs), max_batch, &mut found.answers);
            return found.results();
        }
        let (mut missing, mut due) = (Vec::new(), Vec::new());
        for (index, job) in mem::take(&mut found.jobs) {
            match job {
                Job::Load => missing.push(index),
                Job::Refresh(value, permit) => due.push((index, value, permit)),
            }
        }
        self.load_all(keys, missing, &mut found.answers);
        for (index, value, permit) in due {
            found.answers[index] =
                Some(self.refresh_permitted(&self.shared.cache.stored_key(keys[index].as_ref()), value, permit));
        }
        found.results()
    }

    /// Loads the keys with these indexes, or waits for the loads of others.
    fn load_all<K, E, Kind>(&self, keys: &[K], mut missing: Vec<usize>, answers: &mut [Option<Answer<E>>])
    where
        K: AsRef<[u8]>,
        F: Load<E, Kind>,
        E: Send + Sync + 'static,
    {
        let shared = &self.shared;
        let until = shared.options.wait_until();
        let mut has_executor = true;
        // Ends: see `Shared::load`, for each key.
        while !missing.is_empty() {
            let mut waiting = Vec::new();
            for index in mem::take(&mut missing) {
                let key = &*shared.cache.stored_key(keys[index].as_ref());
                let target = shared.cache.target(key);
                match shared.begin(&target, key, has_executor) {
                    Begun::Answered(answer) => answers[index] = Some(shared.or_stale(&target, key, answer)),
                    Begun::Waits(flight, role) => waiting.push((index, flight, role)),
                }
            }
            for (index, flight, role) in waiting {
                let key = &*shared.cache.stored_key(keys[index].as_ref());
                let target = shared.cache.target(key);
                let end = flight.wait(until);
                has_executor &= !(role == Role::Starter && matches!(end, Some(End::Abandoned)));
                match follower_answer(&shared.cache, end, role) {
                    Some(answer) => answers[index] = Some(shared.or_stale(&target, key, answer)),
                    None => missing.push(index),
                }
            }
        }
    }
}

impl<F> AsyncLoader<F> {
    /// Returns the results for `keys`, in order. Each key is treated like one call of
    /// [`get_async`](Self::get_async) would, with all rules of the loader.
    ///
    /// Keys that are missing are loaded at the same time, each by a call of the loader's function.
    /// A loader of many keys, from
    /// [`build_batched_async`](super::LoaderBuilder::build_batched_async), loads them in batches. A
    /// key that comes twice is loaded once.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::num::ParseIntError;
    /// use bytecache::{Cache, LoadError};
    ///
    /// let squares = Cache::new(1 << 20)?.loader().build_async(|key| async move {
    ///     let number: u64 = std::str::from_utf8(&key).unwrap_or_default().parse()?;
    ///     Ok::<_, ParseIntError>((number * number).to_string())
    /// })?;
    /// let results = squares.get_many_async(&["12", "twelve", "3"]).await;
    /// assert!(matches!(&results[0], Ok(value) if *value == "144"));
    /// assert!(matches!(&results[1], Err(LoadError::Failed(_))));
    /// assert!(matches!(&results[2], Ok(value) if *value == "9"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Each key has a result of its own, with the errors of [`get_async`](Self::get_async).
    ///
    /// # Cost
    ///
    /// Like [`get_async`](Self::get_async) for each key, but memory accesses of the look-ups
    /// overlap. A few allocations, and two for each key that is loaded.
    pub async fn get_many_async<K, E, Kind>(&self, keys: &[K]) -> Vec<Result<Value, LoadError<E>>>
    where
        K: AsRef<[u8]>,
        F: AsyncLoad<E, Kind>,
        E: Send + Sync + 'static,
        Kind: 'static,
    {
        let shared = &self.shared;
        let mut found = shared.look_up_all(keys);
        let jobs = mem::take(&mut found.jobs).into_iter().map(|(index, job)| async move {
            let key = &*shared.cache.stored_key(keys[index].as_ref());
            let answer = match job {
                Job::Load => shared.load_or_stale(&shared.cache.target(key), key).await,
                Job::Refresh(value, permit) => shared.refresh_or_spawn(key, value, permit).await,
            };
            (index, answer)
        });
        for (index, answer) in join_all(jobs).await {
            found.answers[index] = Some(answer);
        }
        found.results()
    }
}
