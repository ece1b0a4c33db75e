//! Loading through the cache: one load of a key at a time, for threads and for tasks.
//!
//! ```text
//!   look up --hit--> answer
//!      | miss
//!    board --Lead----> run the loader --> complete (store, if nothing changed the key) --> end the flight
//!      |   --Follow--> wait for its end: the outcome; or, if it was abandoned, board again
//!      +---Present---> answer
//! ```
//!
//! Threads and tasks differ in how they run the loader and how they wait; all else is shared: `leader.rs` is the leader's
//! part, `flight.rs` the wait, `shard/load.rs` what happens under the lock.
//!
//! # Invariants
//!
//! 1. Who leads ends its flight, whatever happens: [`Leader`] does when it is dropped.
//! 2. Who finds neither an entry nor a flight, under the lock, leads.
//!
//! # Not here
//!
//! Rules for all loads of a kind, and refreshing: `configured.rs`. Many keys at once: `many.rs`.

mod configured;
mod leader;
mod many;
mod outcome;
mod rules;

use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::Poll;
use core::time::Duration;
use std::sync::Arc;
use std::time::Instant;

pub use configured::{AsyncLoader, Loader, LoaderBuilder, Refresh};
use leader::{Leader, as_itself, is_inside, run_all_async};
pub use outcome::{IntoLoaded, LoadError, Loaded};
use rules::Rules;

use crate::cache::{Cache, LookUp, Misses, Target};
use crate::flight::End;
use crate::ring::Value;
use crate::shard::{Boarding, KeyFlight, Notice, Outcome, Waiter};
use crate::stats::LoadCount;

type Answer<E> = Result<Value, LoadError<E>>;

/// A future that ends when a wait should.
type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Makes one.
type Sleeper = dyn Fn(Duration) -> Sleep + Send + Sync;

/// Loading.
///
/// One load of a key runs at a time; who asks for the key meanwhile waits for it and gets what it brings, threads and tasks
/// alike. A load's result is stored unless the key was stored or removed, or the cache cleared, since the load began: then
/// it only goes to those who wait. So after an invalidation that follows a change of what is loaded, nobody reads what was
/// there before. What is promised is in [`docs::loading`](crate::docs::loading).
impl Cache {
    /// The value under `key`; if there is none, what `load` returns, which is stored.
    ///
    /// `load` may use the cache, and load other keys. Two loads that wait for each other's keys never end: use a
    /// [`Loader`] with a limit if yours could.
    ///
    /// ```
    /// use bytecache::Cache;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let value = cache.get_or_load("answer", || Ok::<_, std::io::Error>("42"));
    /// assert_eq!(value.as_deref().ok(), Some(&b"42"[..]));
    /// // It is there: this loader is not called.
    /// let value = cache.get_or_load("answer", || -> Result<&str, std::io::Error> { unreachable!() });
    /// assert_eq!(value.as_deref().ok(), Some(&b"42"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`LoadError`]: `Failed` with what `load` returned, to all who waited, and nothing is stored; `Absent`; `Panicked` if
    /// another's load did, which this one waited for; `Reentrant` if `load`, or what it calls, asks for its own key. If `load`
    /// panics, the panic goes on.
    ///
    /// A value that cannot be stored, because it or its key is too large, is returned all the same, and counted.
    ///
    /// # Cost
    ///
    /// That of [`get`](Self::get) on a hit. On a miss the shard's lock, twice, and some 330 bytes and the key for as long as
    /// the load is under way, which come out of the cache's memory, an eighth of it at most. If they are not to be had the load is
    /// not shared, and its result not stored.
    #[inline]
    pub fn get_or_load<V, E>(&self, key: impl AsRef<[u8]>, load: impl FnOnce() -> Result<V, E>) -> Answer<E>
    where
        V: IntoLoaded,
        E: Send + Sync + 'static,
    {
        let key = key.as_ref();
        let target = self.target(key);
        if let Some(value) = self.read_value(&target, key, Misses::Ignored) {
            return Ok(value); // As fast as `get`: what else there may be is looked for after that.
        }
        self.look_up_or_load(&target, key, load)
    }

    /// As [`get_or_load`](Self::get_or_load), for tasks, on any runtime.
    ///
    /// The future may be dropped at any time. If it was the one that loads, another that waits goes on with its own loader.
    /// While it is not polled, neither is its loader, and those who wait for it do so, too: do not keep one that you do not
    /// poll.
    ///
    /// ```
    /// # fn block_on<T>(future: impl Future<Output = T>) -> T {
    /// #     let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    /// #     let mut future = std::pin::pin!(future);
    /// #     loop {
    /// #         if let std::task::Poll::Ready(value) = future.as_mut().poll(&mut context) { return value }
    /// #     }
    /// # }
    /// # let cache = bytecache::Cache::new(1 << 20)?;
    /// # block_on(async {
    /// let value = cache.get_or_load_async("answer", async || Ok::<_, std::io::Error>("42")).await;
    /// assert_eq!(value.as_deref().ok(), Some(&b"42"[..]));
    /// # });
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`get_or_load`](Self::get_or_load).
    ///
    /// # Cost
    ///
    /// As [`get_or_load`](Self::get_or_load); a task that waits takes 48 bytes of the cache's memory meanwhile.
    pub async fn get_or_load_async<V, E, F>(&self, key: impl AsRef<[u8]>, load: impl FnOnce() -> F) -> Answer<E>
    where
        V: IntoLoaded,
        E: Send + Sync + 'static,
        F: Future<Output = Result<V, E>>,
    {
        let key = key.as_ref();
        let target = self.target(key);
        match self.look_up(&target, key) {
            LookUp::Fresh(value) | LookUp::RefreshDue(value) => Ok(value),
            LookUp::Negative(negative) => Err(negative.into()),
            LookUp::Nothing => self.load_async(&target, key, |_| load(), &Rules::DEFAULT, None).await,
        }
    }

    #[cold]
    fn look_up_or_load<V, E>(&self, target: &Target<'_>, key: &[u8], load: impl FnOnce() -> Result<V, E>) -> Answer<E>
    where
        V: IntoLoaded,
        E: Send + Sync + 'static,
    {
        match self.look_up(target, key) {
            LookUp::Fresh(value) | LookUp::RefreshDue(value) => Ok(value),
            LookUp::Negative(negative) => Err(negative.into()),
            LookUp::Nothing => self.load(target, key, |_| load(), &Rules::DEFAULT),
        }
    }

    /// Leads or follows a load of a key that was not found, on this thread.
    #[cold]
    fn load<V, E>(
        &self,
        target: &Target<'_>,
        key: &[u8],
        load: impl FnOnce(&Arc<[u8]>) -> Result<V, E>,
        rules: &Rules,
    ) -> Answer<E>
    where
        V: IntoLoaded,
        E: Send + Sync + 'static,
    {
        let until = rules.wait_until();
        // Ends: each round but the first follows another's load that was given up, or failed with an error of its own kind.
        loop {
            let end = match self.take_turn(target, key, Waiter::Thread) {
                Turn::Answer(answer) => return answer,
                Turn::Lead(mut leader) => {
                    let key = Arc::clone(leader.key());
                    let result = leader.run(|| load(&key));
                    return leader.finish(result, rules);
                }
                Turn::Follow(flight) => flight.wait(until),
            };
            if let Some(answer) = answer(target, end) {
                return answer;
            }
        }
    }

    /// As [`load`](Self::load), in a task.
    async fn load_async<V, E, F>(
        &self,
        target: &Target<'_>,
        key: &[u8],
        load: impl FnOnce(Arc<[u8]>) -> F,
        rules: &Rules,
        sleeper: Option<&Sleeper>,
    ) -> Answer<E>
    where
        V: IntoLoaded,
        E: Send + Sync + 'static,
        F: Future<Output = Result<V, E>>,
    {
        let mut patience = Patience::new(rules, sleeper);
        // Ends: as in `load`.
        loop {
            let end = match self.take_turn(target, key, Waiter::Task) {
                Turn::Answer(answer) => return answer,
                Turn::Lead(mut leader) => {
                    let result = run_async(&mut leader, load).await;
                    return leader.finish(result, rules);
                }
                Turn::Follow(flight) => patience.follow(flight).await,
            };
            if let Some(answer) = answer(target, end) {
                return answer;
            }
        }
    }

    /// What a caller is to do that has found nothing.
    fn take_turn<E>(&self, target: &Target<'_>, key: &[u8], waiter: Waiter) -> Turn<E> {
        let (mut turn, notice) = self.take_turn_with_notice(target, key, waiter);
        if let Turn::Lead(leader) = &mut turn {
            leader.run(|| drop(notice));
        }
        turn
    }

    /// As [`take_turn`](Self::take_turn), but the listener hears of what had to leave when the second result is dropped. If it
    /// asks for a key that its thread leads, it has to be told so.
    fn take_turn_with_notice<'a, E>(&self, target: &Target<'a>, key: &[u8], waiter: Waiter) -> (Turn<E>, Notice<'a>) {
        if is_inside(target, key) {
            return (Turn::Answer(Err(LoadError::Reentrant)), Notice::default());
        }
        let (boarding, notice) = self.board(target, key, waiter);
        let turn = match boarding {
            Boarding::Present(held) => Turn::Answer(Ok(self.held_or_copied(Some(held), &[]))),
            Boarding::Negative(negative) => Turn::Answer(Err(negative.into())),
            Boarding::Follow(flight) => Turn::Follow(flight),
            Boarding::Lead(ticket) => Turn::Lead(Leader::new(self, target, ticket)),
            Boarding::NoRoom => Turn::Lead(Leader::alone(self, target, key.into())),
        };
        (turn, notice)
    }
}

/// What a caller is to do.
enum Turn<E> {
    Answer(Answer<E>),
    Lead(Leader),
    /// To wait; a task has a seat.
    Follow(Arc<KeyFlight>),
}

/// Runs a leader's loader in a task.
async fn run_async<V, E, F>(leader: &mut Leader, load: impl FnOnce(Arc<[u8]>) -> F) -> Result<V, E>
where
    F: Future<Output = Result<V, E>>,
{
    let key = Arc::clone(leader.key());
    run_all_async(core::slice::from_mut(leader), as_itself, || load(key)).await
}

/// What a follower answers when a flight has ended, or its patience has; `None` if it is to start again.
fn answer<E: Send + Sync + 'static>(target: &Target<'_>, end: Option<End<Outcome>>) -> Option<Answer<E>> {
    let answer = match end {
        None => {
            target.shard.loads().add(LoadCount::TimedOut, 1);
            return Some(Err(LoadError::TimedOut));
        }
        Some(End::Abandoned) => return None,
        Some(End::Panicked) => return Some(Err(LoadError::Panicked)),
        Some(End::Landed(outcome)) => outcome::shared(outcome)?,
    };
    target.shard.loads().add(LoadCount::Followers, 1);
    Some(answer)
}

/// How long a task waits for others.
struct Patience<'a> {
    limit: Option<Duration>,
    until: Option<Instant>,
    sleeper: Option<&'a Sleeper>,
    /// Made with the first wait.
    sleep: Option<Sleep>,
}

impl<'a> Patience<'a> {
    fn new(rules: &Rules, sleeper: Option<&'a Sleeper>) -> Self {
        Self { limit: rules.wait_limit, until: rules.wait_until(), sleeper, sleep: None }
    }

    /// The end of a flight in which this task has a seat, or nothing when patience has come to its own end.
    async fn follow(&mut self, flight: Arc<KeyFlight>) -> Option<End<Outcome>> {
        let mut follow = flight.follow();
        if let (None, Some(limit), Some(sleeper)) = (&self.sleep, self.limit, self.sleeper) {
            self.sleep = Some(sleeper(limit));
        }
        poll_fn(|context| {
            if let Poll::Ready(end) = Pin::new(&mut follow).poll(context) {
                return Poll::Ready(Some(end));
            }
            let is_awake = self.sleep.as_mut().is_some_and(|sleep| sleep.as_mut().poll(context).is_ready());
            let is_over = is_awake || self.until.is_some_and(|until| Instant::now() >= until);
            if is_over { Poll::Ready(None) } else { Poll::Pending }
        })
        .await
    }
}
