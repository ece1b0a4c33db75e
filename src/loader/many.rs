//! Loading many keys in one call.

use core::future::Future;
use core::mem;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::leader::{Leader, enter_all, run_all, run_all_async};
use super::rules::Rules;
use super::{Answer, IntoLoaded, LoadError, Loaded, Turn, answer};
use crate::cache::{Cache, LookUp};
use crate::flight::End;
use crate::ring::Value;
use crate::shard::{KeyFlight, Negative, Notice, Outcome, Waiter};

/// The values of many keys, in order; `None` for what the loader has not found.
type Answers<E> = Result<Vec<Option<Value>>, LoadError<E>>;

/// Keys whose cache lines are fetched together.
const BATCH: usize = 16;

/// Loading many keys.
impl Cache {
    /// The values under `keys`, in order, `None` where there is none; `load` is called once with all keys that are missing,
    /// and returns as many values, in order.
    ///
    /// Keys that others are loading are waited for, not loaded twice; after this call's own load, so that two calls may ask
    /// for each other's keys. Should such a load be given up, `load` is called again for what is left. A key that comes twice
    /// is loaded once.
    ///
    /// ```
    /// use bytecache::Cache;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// cache.insert("1", "one")?;
    /// let values = cache.get_or_load_many(&["1", "2", "3"], |missing| {
    ///     assert_eq!(missing, [&"2", &"3"]);
    ///     Ok::<_, std::io::Error>(vec![Some("two"), None])
    /// });
    /// let values = values.expect("the loader did not fail");
    /// assert_eq!(values[1].as_deref(), Some(&b"two"[..]));
    /// assert_eq!(values[2], None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`get_or_load`](Self::get_or_load) other than `Absent`, for all keys together; and
    /// [`LoadError::WrongCount`]. What was loaded before that is stored.
    ///
    /// # Cost
    ///
    /// As [`get_or_load`](Self::get_or_load) for each key, and a few allocations.
    pub fn get_or_load_many<K, V, E>(
        &self,
        keys: &[K],
        mut load: impl FnMut(&[&K]) -> Result<Vec<Option<V>>, E>,
    ) -> Answers<E>
    where
        K: AsRef<[u8]>,
        V: IntoLoaded,
        E: Send + Sync + 'static,
    {
        let mut batch = Batch::new(self, keys)?;
        while batch.board(Waiter::Thread, |flight| flight)? {
            let missing = batch.missing();
            if !missing.is_empty() {
                let result = run_all(&mut batch.leaders, |(_, leader)| leader, || load(&missing));
                batch.finish(result)?;
            }
            for (index, flight) in mem::take(&mut batch.follows) {
                batch.take_end(index, flight.wait(None))?;
            }
        }
        Ok(batch.answers())
    }

    /// As [`get_or_load_many`](Self::get_or_load_many), for tasks.
    ///
    /// # Errors
    ///
    /// As [`get_or_load_many`](Self::get_or_load_many).
    pub async fn get_or_load_many_async<'a, K, V, E, F>(
        &self,
        keys: &'a [K],
        mut load: impl FnMut(Vec<&'a K>) -> F,
    ) -> Answers<E>
    where
        K: AsRef<[u8]>,
        V: IntoLoaded,
        E: Send + Sync + 'static,
        F: Future<Output = Result<Vec<Option<V>>, E>>,
    {
        let mut batch = Batch::new(self, keys)?;
        while batch.board(Waiter::Task, KeyFlight::follow)? {
            let missing = batch.missing();
            if !missing.is_empty() {
                let result = run_all_async(&mut batch.leaders, |(_, leader)| leader, || load(missing)).await;
                batch.finish(result)?;
            }
            for (index, follow) in mem::take(&mut batch.follows) {
                let end = follow.await;
                batch.take_end(index, Some(end))?;
            }
        }
        Ok(batch.answers())
    }
}

/// Many keys on their way to their values. `W` is how a caller waits for another's flight.
struct Batch<'c, 'a, K, W> {
    cache: &'c Cache,
    keys: &'a [K],
    values: Vec<Option<Value>>,
    /// Keys that came before, and where.
    repeated: Vec<(usize, usize)>,
    /// Keys that are neither found nor loaded yet.
    pending: Vec<usize>,
    /// Keys to load.
    leaders: Vec<(usize, Leader)>,
    /// Keys that others load.
    follows: Vec<(usize, W)>,
    /// What the listener is still to be told. Dropped after the leaders: then it may ask for their keys.
    notice: Notice<'c>,
}

impl<'c, 'a, K: AsRef<[u8]>, W> Batch<'c, 'a, K, W> {
    /// Looks all keys up.
    fn new<E>(cache: &'c Cache, keys: &'a [K]) -> Result<Self, LoadError<E>> {
        let mut batch = Self {
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
        for (number, keys) in keys.chunks(BATCH).enumerate() {
            for key in keys {
                let target = cache.target(key.as_ref());
                target.shard.prefetch_bucket(target.hash);
            }
            for (place, key) in keys.iter().enumerate() {
                let (index, key) = (number * BATCH + place, key.as_ref());
                match cache.look_up(&cache.target(key), key) {
                    LookUp::Fresh(value) | LookUp::RefreshDue(value) => batch.values[index] = Some(value),
                    LookUp::Negative(negative) => batch.note_negative(negative)?,
                    LookUp::Nothing => match first.entry(key) {
                        Entry::Occupied(first) => batch.repeated.push((index, *first.get())),
                        Entry::Vacant(place) => {
                            place.insert(index);
                            batch.pending.push(index);
                        }
                    },
                }
            }
        }
        Ok(batch)
    }

    fn note_negative<E>(&self, negative: Negative) -> Result<(), LoadError<E>> {
        match negative {
            Negative::Absent => Ok(()),
            Negative::Failed => Err(LoadError::RecentFailure),
        }
    }

    /// Has all pending keys lead a flight, or follow one; whether there are any.
    fn board<E>(&mut self, waiter: Waiter, follow: impl Fn(Arc<KeyFlight>) -> W) -> Result<bool, LoadError<E>> {
        let pending = mem::take(&mut self.pending);
        let mut boarded = Ok(());
        for &index in &pending {
            let key = self.keys[index].as_ref();
            let (turn, notice) = self.cache.take_turn_with_notice(&self.cache.target(key), key, waiter);
            match turn {
                Turn::Answer(answer) => boarded = self.take(index, answer),
                Turn::Lead(leader) => self.leaders.push((index, leader)),
                Turn::Follow(flight) => self.follows.push((index, follow(flight))),
            }
            self.notice.join(notice);
            if self.notice.is_long() {
                self.tell_inside();
            }
            if boarded.is_err() {
                break;
            }
        }
        self.tell_inside();
        boarded.map(|()| !pending.is_empty())
    }

    /// Tells the listener, which is told in turn if it asks for a key that this thread leads.
    fn tell_inside(&mut self) {
        let Self { leaders, notice, .. } = self;
        run_all(leaders, |(_, leader)| leader, || drop(mem::take(notice)));
    }

    fn missing(&self) -> Vec<&'a K> {
        self.leaders.iter().map(|&(index, _)| &self.keys[index]).collect()
    }

    /// Takes what the loader has returned for the missing keys.
    fn finish<V, E>(&mut self, result: Result<Vec<Option<V>>, E>) -> Result<(), LoadError<E>>
    where
        V: IntoLoaded,
        E: Send + Sync + 'static,
    {
        let mut leaders = mem::take(&mut self.leaders);
        let (keys, mut finished) = (leaders.len(), Ok(()));
        // All are led until the last one is concluded; then those who wait hear of it, and then the listener.
        let inside = enter_all(leaders.iter().map(|(_, leader)| leader));
        match result {
            Ok(values) if values.len() != keys => {
                let values = values.len();
                drop(inside);
                leaders.into_iter().for_each(|(_, leader)| leader.refuse());
                return Err(LoadError::WrongCount { keys, values });
            }
            Ok(values) => {
                for ((index, leader), value) in leaders.iter_mut().zip(values) {
                    let value = value.map_or(Loaded::Absent, IntoLoaded::into_loaded);
                    let shard = self.cache.shard(leader.number());
                    let (answer, notice) = leader.conclude(shard, value, &Rules::DEFAULT);
                    finished = finished.and(self.take(*index, answer));
                    self.add_notice(notice);
                }
            }
            Err(error) => {
                let error = Arc::new(error);
                for (_, leader) in &mut leaders {
                    let shard = self.cache.shard(leader.number());
                    let notice = leader.conclude_failed(shard, &error, &Rules::DEFAULT);
                    self.add_notice(notice);
                }
                finished = Err(LoadError::Failed(error));
            }
        }
        drop(inside);
        drop(leaders);
        drop(mem::take(&mut self.notice));
        finished
    }

    /// Notes what had to leave, or tells of it if it is much.
    fn add_notice(&mut self, notice: Notice<'c>) {
        self.notice.join(notice);
        if self.notice.is_long() {
            drop(mem::take(&mut self.notice));
        }
    }

    /// Takes the end of a flight that a key has followed.
    fn take_end<E: Send + Sync + 'static>(
        &mut self,
        index: usize,
        end: Option<End<Outcome>>,
    ) -> Result<(), LoadError<E>> {
        let key = self.keys[index].as_ref();
        match answer(&self.cache.target(key), end) {
            Some(answer) => self.take(index, answer),
            None => {
                self.pending.push(index);
                Ok(())
            }
        }
    }

    fn take<E>(&mut self, index: usize, answer: Answer<E>) -> Result<(), LoadError<E>> {
        match answer {
            Ok(value) => self.values[index] = Some(value),
            Err(LoadError::Absent) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn answers(mut self) -> Vec<Option<Value>> {
        for (index, first) in self.repeated {
            self.values[index] = self.values[first].clone();
        }
        self.values
    }
}
