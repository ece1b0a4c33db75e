//! Loads of many keys in one call.
//!
//! ```text
//!   look all keys up --misses--> pending <------------------------------+
//!                                  | board                              | flight given up
//!          leads: one call of the loader --> store all --> end flights  |
//!          follows: after that, wait for each flight -------------------+
//! ```
//!
//! The call waits for others only after its own load has ended. So two calls that follow each
//! other's keys do not wait for each other forever.
//!
//! Boarding and storing make entries leave. The listener is notified of the first kind before the
//! load. It is notified of the second kind after the flights have ended, or earlier if they are
//! many. Before the flights have ended, calls of the listener for their keys are refused.

use core::future::Future;
use core::mem;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::leader::{AfterWrongCount, Leader, finish_all, run_all, run_all_async};
use super::options::LoadOptions;
use super::outcome::{Answer, Found};
use super::trace::Span;
use super::{Failure, IntoLoaded, LoadError, LoaderError, Role, Turn, follower_answer};
use crate::cache::{Cache, LookUp};
use crate::flight::End;
use crate::reclaim::BATCH;
use crate::ring::Value;
use crate::shard::{KeyFlight, Negative, Notice, Outcome, Waiter};

/// The values of many keys, in order, with `None` for keys that the loader has not found.
type Answers<E> = Result<Vec<Option<Value>>, LoadError<E>>;

/// Loading many keys.
impl Cache {
    /// Returns the values under `keys`, in order. Calls `load` once with all keys that are missing,
    /// and stores the values that it returns.
    ///
    /// `load` returns as many values as it got keys, in the same order. `None` means that it found
    /// nothing, and the call then returns `None` for that key. A key that comes twice is loaded
    /// once.
    ///
    /// Keys that other callers load are not loaded twice. The call waits for them, after its own
    /// load. So two calls may ask for each other's keys. If the load of another caller is given up,
    /// `load` is called again for the keys that are left.
    ///
    /// ```
    /// use std::io;
    /// use bytecache::{Cache, LoadError};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// cache.insert("1", "one")?;
    /// let values = cache.get_or_load_many(&["1", "2", "3"], |missing| {
    ///     assert_eq!(missing, [&"2", &"3"]);
    ///     Ok::<_, io::Error>(vec![Some("two"), None])
    /// })?;
    /// assert_eq!(values[0].as_deref(), Some(&b"one"[..]));
    /// assert_eq!(values[1].as_deref(), Some(&b"two"[..]));
    /// assert_eq!(values[2], None);
    ///
    /// let one_value = |_: &[&&str]| Ok::<_, io::Error>(vec![Some("four")]);
    /// let result = cache.get_or_load_many(&["4", "5"], one_value);
    /// assert!(matches!(result, Err(LoadError::WrongCount { keys: 2, values: 1 })));
    /// assert!(!cache.contains_key("4"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`get_or_load`](Self::get_or_load) except `Absent`, for all keys together, and
    /// [`LoadError::WrongCount`]. Values that were loaded before the error are stored.
    ///
    /// # Panics
    ///
    /// If `load` panics, the panic continues in this call.
    ///
    /// # Cost
    ///
    /// Like [`get_or_load`](Self::get_or_load) for each key, and a few allocations.
    pub fn get_or_load_many<K, V, E, Kind>(
        &self,
        keys: &[K],
        mut load: impl FnMut(&[&K]) -> Result<Vec<Option<V>>, E>,
    ) -> Answers<E>
    where
        K: AsRef<[u8]>,
        V: IntoLoaded,
        E: LoaderError<Kind>,
    {
        let mut call = Call::new(self, keys)?;
        while call.board(Waiter::Thread, |flight| flight)? {
            let missing = call.missing();
            if !missing.is_empty() {
                let load = || Span::of_many(missing.len()).run(|| load(&missing));
                let result = run_all(&mut call.leaders, leader_of, load);
                call.finish(result.map_err(Failure::new))?;
            }
            for (index, flight) in mem::take(&mut call.follows) {
                call.take_end(index, flight.wait(None))?;
            }
        }
        Ok(call.answers())
    }

    /// Like [`get_or_load_many`](Self::get_or_load_many), but for tasks, on any runtime.
    ///
    /// The future may be dropped at any time, like that of
    /// [`get_or_load_async`](Self::get_or_load_async).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::io;
    /// use bytecache::{Cache, LoadError};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// cache.insert("1", "one")?;
    /// let load = async |missing: Vec<&&str>| {
    ///     assert_eq!(missing, [&"2", &"3"]);
    ///     Ok::<_, io::Error>(vec![Some("two"), None])
    /// };
    /// let values = cache.get_or_load_many_async(&["1", "2", "3"], load).await?;
    /// assert_eq!(values[1].as_deref(), Some(&b"two"[..]));
    /// assert_eq!(values[2], None);
    ///
    /// let load = async |_| Ok::<_, io::Error>(vec![Some("four")]);
    /// let result = cache.get_or_load_many_async(&["4", "5"], load).await;
    /// assert!(matches!(result, Err(LoadError::WrongCount { keys: 2, values: 1 })));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`get_or_load_many`](Self::get_or_load_many).
    ///
    /// # Cost
    ///
    /// Like [`get_or_load_many`](Self::get_or_load_many). A task that waits occupies 48 bytes of
    /// the cache's memory for each key that it waits for.
    pub async fn get_or_load_many_async<'a, K, V, E, Kind, F>(
        &self,
        keys: &'a [K],
        mut load: impl FnMut(Vec<&'a K>) -> F,
    ) -> Answers<E>
    where
        K: AsRef<[u8]>,
        V: IntoLoaded,
        E: LoaderError<Kind>,
        F: Future<Output = Result<Vec<Option<V>>, E>>,
    {
        let mut call = Call::new(self, keys)?;
        while call.board(Waiter::Task, KeyFlight::follow)? {
            let missing = call.missing();
            if !missing.is_empty() {
                let load = || Span::of_many(missing.len()).run_async(|| load(missing));
                let result = run_all_async(&mut call.leaders, leader_of, load).await;
                call.finish(result.map_err(Failure::new))?;
            }
            for (index, follow) in mem::take(&mut call.follows) {
                let end = follow.await;
                call.take_end(index, Some(end))?;
            }
        }
        Ok(call.answers())
    }
}

/// The keys of a call, and the values that it has so far. `W` waits for the flight of another
/// caller.
struct Call<'c, 'a, K, W> {
    cache: &'c Cache,
    keys: &'a [K],
    values: Vec<Option<Value>>,
    /// Keys that came before: their index, and the index of the first one.
    repeated: Vec<(usize, usize)>,
    /// Indexes of keys that are neither found nor loaded yet.
    pending: Vec<usize>,
    /// The leaders of keys to load.
    leaders: Vec<(usize, Leader)>,
    /// The flights of keys that others load.
    follows: Vec<(usize, W)>,
    /// Entries that the listener will be notified of. This is dropped after the leaders, so the
    /// listener may ask for their keys.
    notice: Notice<'c>,
}

impl<'c, 'a, K: AsRef<[u8]>, W> Call<'c, 'a, K, W> {
    /// Looks all keys up.
    ///
    /// # Errors
    ///
    /// [`LoadError::RecentFailure`] if a key has a negative entry that says so.
    fn new<E>(cache: &'c Cache, keys: &'a [K]) -> Result<Self, LoadError<E>> {
        let mut call = Self {
            cache,
            keys,
            values: vec![None; keys.len()],
            repeated: Vec::new(),
            pending: Vec::new(),
            leaders: Vec::new(),
            follows: Vec::new(),
            notice: Notice::default(),
        };
        let mut first: HashMap<&[u8], usize, ahash::RandomState> = HashMap::default();
        for (chunk, keys) in keys.chunks(BATCH).enumerate() {
            for key in keys {
                let target = cache.target(&cache.stored_key(key.as_ref()));
                target.shard.prefetch_bucket(target.hash);
            }
            for (offset, key) in keys.iter().enumerate() {
                let (index, key) = (chunk * BATCH + offset, key.as_ref());
                let stored = &*cache.stored_key(key);
                match cache.look_up(&cache.target(stored), stored) {
                    LookUp::Fresh(value) | LookUp::RefreshDue(value) => call.values[index] = Some(value),
                    LookUp::Negative(negative) => call.take_negative(negative)?,
                    LookUp::Nothing => match first.entry(key) {
                        Entry::Occupied(first) => call.repeated.push((index, *first.get())),
                        Entry::Vacant(first) => {
                            first.insert(index);
                            call.pending.push(index);
                        }
                    },
                }
            }
        }
        Ok(call)
    }

    /// Leaves the value of a key with a negative entry at `None`.
    fn take_negative<E>(&self, negative: Negative) -> Result<(), LoadError<E>> {
        match negative {
            Negative::Absent => Ok(()),
            Negative::Failed => Err(LoadError::RecentFailure),
        }
    }

    /// Lets every pending key lead a flight or follow one. Returns `true` if there were any.
    fn board<E>(&mut self, waiter: Waiter, follow: impl Fn(Arc<KeyFlight>) -> W) -> Result<bool, LoadError<E>> {
        let pending = mem::take(&mut self.pending);
        let mut boarded = Ok(());
        for &index in &pending {
            let key = &*self.cache.stored_key(self.keys[index].as_ref());
            let (turn, notice) = self.cache.take_turn_with_notice(&self.cache.target(key), key, waiter);
            match turn {
                Turn::Answer(answer) => boarded = self.take(index, answer),
                Turn::Lead(leader) => self.leaders.push((index, leader)),
                Turn::Follow(flight) => self.follows.push((index, follow(flight))),
            }
            self.notice.join(notice);
            if self.notice.is_long() {
                self.notify_while_leading();
            }
            if boarded.is_err() {
                break;
            }
        }
        self.notify_while_leading();
        boarded.map(|()| !pending.is_empty())
    }

    /// Notifies the listener. If it asks for a key that this call leads, it gets an error.
    fn notify_while_leading(&mut self) {
        let Self { leaders, notice, .. } = self;
        run_all(leaders, leader_of, || drop(mem::take(notice)));
    }

    /// Returns the keys that this call has to load.
    fn missing(&self) -> Vec<&'a K> {
        self.leaders.iter().map(|&(index, _)| &self.keys[index]).collect()
    }

    /// Stores the values that the loader has returned for the missing keys.
    fn finish<V, E>(&mut self, result: Result<Vec<Option<V>>, Failure<E>>) -> Result<(), LoadError<E>>
    where
        V: IntoLoaded,
        E: Send + Sync + 'static,
    {
        let (leaders, mut finished) = (mem::take(&mut self.leaders), Ok(()));
        let take = |&(index, _): &(usize, Leader), answer| {
            let taken = self.take(index, answer);
            finished = mem::replace(&mut finished, Ok(())).and(taken);
        };
        let after = AfterWrongCount::StartAgain;
        finish_all(leaders, leader_of, result, &LoadOptions::DEFAULT, after, take)?;
        finished
    }

    /// Takes the end of the flight that a key has followed. If there is no result, the key is
    /// pending again.
    fn take_end<E: Send + Sync + 'static>(
        &mut self,
        index: usize,
        end: Option<End<Outcome>>,
    ) -> Result<(), LoadError<E>> {
        match follower_answer(self.cache, end, Role::Follower) {
            Some(answer) => self.take(index, answer),
            None => {
                self.pending.push(index);
                Ok(())
            }
        }
    }

    /// Takes the answer for a key. An absent key has no value.
    fn take<E>(&mut self, index: usize, answer: Answer<E>) -> Result<(), LoadError<E>> {
        match answer {
            Ok(Found { value, .. }) => self.values[index] = Some(value),
            Err(LoadError::Absent) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Returns the values of all keys, in order.
    fn answers(mut self) -> Vec<Option<Value>> {
        for (index, first) in self.repeated {
            self.values[index] = self.values[first].clone();
        }
        self.values
    }
}

/// Returns the leader of a key of a call.
fn leader_of((_, leader): &mut (usize, Leader)) -> &mut Leader {
    leader
}
