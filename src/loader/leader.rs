//! [`Leader`]: who runs a load, until it has come to an end, however that comes.

use core::cell::RefCell;
use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Instant;

use super::{Answer, IntoLoaded, LoadError, Rules};
use crate::cache::{Cache, Target};
use crate::flight::End;
use crate::hash::KeyHash;
use crate::ring::OwnedValue;
use crate::shard::{LoadResult, Notice, Outcome, Shard, Ticket};
use crate::stats::LoadEnd;

/// The leader of one flight, or one who loads without. Dropped before it has finished, it lets its followers go: they are
/// told of a panic if it was in user code, and start again if not.
pub(super) struct Leader {
    cache: Cache,
    /// Which shard the key is of; kept, as a hasher of the user's own need not say the same again.
    number: usize,
    hash: KeyHash,
    key: Arc<[u8]>,
    /// `None` if others do not share the load.
    ticket: Option<Ticket>,
    began: Instant,
    /// User code runs, or has panicked.
    is_inside: bool,
    /// What the load has come to, once that is counted and stored.
    end: Option<End<Outcome>>,
}

thread_local! {
    /// The keys whose loaders run on this thread, the innermost last. A task's are here while it is polled.
    static INSIDE: RefCell<Vec<Note>> = const { RefCell::new(Vec::new()) };
}

/// A key, and the address of its shard.
type Note = (usize, Arc<[u8]>);

/// While it is there, a key's loader runs on this thread.
#[must_use = "it ends when it is dropped"]
pub(super) struct Inside;

impl Inside {
    fn enter(leader: &Leader) -> Self {
        let note = (address(leader.shard()), Arc::clone(&leader.key));
        // A thread that ends has no list any more, and nothing is found in it.
        let _ = INSIDE.try_with(|inside| inside.borrow_mut().push(note));
        Self
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let _ = INSIDE.try_with(|inside| inside.borrow_mut().pop());
    }
}

fn address(shard: &Shard) -> usize {
    core::ptr::from_ref(shard).addr()
}

/// Whether the caller is within the loader of a key, which could not end while it waits.
pub(super) fn is_inside(target: &Target<'_>, key: &[u8]) -> bool {
    let shard = address(target.shard);
    let is_note = |note: &Note| note.0 == shard && *note.1 == *key;
    INSIDE.try_with(|inside| inside.borrow().iter().any(is_note)).unwrap_or(false)
}

impl Leader {
    pub(super) fn new(cache: &Cache, target: &Target<'_>, ticket: Ticket) -> Self {
        let key = Arc::clone(&ticket.key);
        let mut leader = Self::alone(cache, target, key);
        leader.ticket = Some(ticket);
        leader
    }

    /// One who loads without a flight.
    pub(super) fn alone(cache: &Cache, target: &Target<'_>, key: Arc<[u8]>) -> Self {
        Self {
            cache: cache.clone(),
            number: target.number,
            hash: target.hash,
            key,
            ticket: None,
            began: Instant::now(),
            is_inside: false,
            end: None,
        }
    }

    pub(super) fn key(&self) -> &Arc<[u8]> {
        &self.key
    }

    fn shard(&self) -> &Shard {
        self.cache.shard(self.number)
    }

    /// Runs the loader, or a part of it.
    pub(super) fn run<R>(&mut self, run: impl FnOnce() -> R) -> R {
        run_all(core::slice::from_mut(self), as_itself, run)
    }

    /// Stores what the loader brought, unless the key was changed meanwhile, and tells those who wait; then the listener.
    pub(super) fn finish<V, E>(mut self, result: Result<V, E>, rules: &Rules) -> Answer<E>
    where
        V: IntoLoaded,
        E: Send + Sync + 'static,
    {
        let cache = self.cache.clone();
        let shard = cache.shard(self.number);
        let inside = Inside::enter(&self);
        let (answer, notice) = match result {
            Ok(value) => self.conclude(shard, value, rules),
            Err(error) => {
                let error = Arc::new(error);
                let notice = self.conclude_failed(shard, &error, rules);
                (Err(LoadError::Failed(error)), notice)
            }
        };
        drop(inside);
        drop(self);
        drop(notice);
        answer
    }

    /// Stores what was loaded, unless the key was changed meanwhile. Those who wait hear of it when the leader is dropped. To be
    /// called inside, as it runs conversions and policies of the user's own.
    pub(super) fn conclude<'s, V: IntoLoaded, E>(
        &mut self,
        shard: &'s Shard,
        value: V,
        rules: &Rules,
    ) -> (Answer<E>, Notice<'s>) {
        let time = self.began.elapsed();
        self.is_inside = true; // They may panic.
        match rules.settle(value) {
            Ok((value, lifetime)) => {
                let bytes = value.as_ref();
                let result = match self.cache.check_size(&self.key, bytes) {
                    Ok(()) => LoadResult::Value(bytes, lifetime),
                    Err(_) => LoadResult::Oversized,
                };
                let (held, notice) = self.complete(shard, result, LoadEnd::Found(time));
                let value = self.cache.held_or_copied(held, bytes);
                self.end = Some(End::Landed(Outcome::Value(value.clone())));
                (Ok(value), notice)
            }
            Err(lifetime) => {
                let (_, notice) = self.complete(shard, LoadResult::Absent(lifetime), LoadEnd::Absent(time));
                self.end = Some(End::Landed(Outcome::Absent));
                (Err(LoadError::Absent), notice)
            }
        }
    }

    /// As [`conclude`](Self::conclude), for a loader that has failed.
    pub(super) fn conclude_failed<'s, E: Send + Sync + 'static>(
        &mut self,
        shard: &'s Shard,
        error: &Arc<E>,
        rules: &Rules,
    ) -> Notice<'s> {
        let time = self.began.elapsed();
        self.is_inside = true;
        let (_, notice) = self.complete(shard, LoadResult::Failed(rules.error_ttl()), LoadEnd::Failed(time));
        self.end = Some(End::Landed(Outcome::Failed(Arc::clone(error) as _)));
        notice
    }

    /// Counts a failure that is none of the key's, and has those who wait start again.
    pub(super) fn refuse(mut self) {
        self.let_go(End::Abandoned, LoadEnd::Failed(self.began.elapsed()));
    }

    /// The value as it was stored, if it was.
    fn complete<'s>(&self, shard: &'s Shard, result: LoadResult<'_>, end: LoadEnd) -> (Option<OwnedValue>, Notice<'s>) {
        shard.write_with_notice(|writer| match &self.ticket {
            Some(ticket) => writer.complete(self.hash, ticket, result, end),
            None => {
                writer.complete_unshared(self.hash, &self.key, result, end);
                None
            }
        })
    }

    /// Ends the lease without a result.
    fn let_go(&mut self, end: End<Outcome>, counted: LoadEnd) {
        self.shard().end_load(self.ticket.as_ref(), counted);
        self.end = Some(end);
    }

    /// The number of the key's shard.
    pub(super) fn number(&self) -> usize {
        self.number
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if self.end.is_none() {
            match self.is_inside {
                true => self.let_go(End::Panicked, LoadEnd::Failed(self.began.elapsed())),
                false => self.let_go(End::Abandoned, LoadEnd::Cancelled),
            }
        }
        if let (Some(end), Some(ticket)) = (self.end.take(), &self.ticket) {
            ticket.flight.end(end);
        }
    }
}

/// Notes that the loaders of all of them run on this thread, until that is dropped.
pub(super) fn enter_all<'l>(leaders: impl Iterator<Item = &'l Leader>) -> Vec<Inside> {
    leaders.map(Inside::enter).collect()
}

/// For leaders that come alone.
pub(super) fn as_itself(leader: &mut Leader) -> &mut Leader {
    leader
}

/// Runs one loader, or a part of it, for several leaders.
pub(super) fn run_all<L, R>(leaders: &mut [L], leader: fn(&mut L) -> &mut Leader, run: impl FnOnce() -> R) -> R {
    // They are all inside or none is; inside already if this runs because they have panicked.
    let was_inside = leaders.iter_mut().any(|each| leader(each).is_inside);
    let mut notes = Vec::new();
    for each in leaders.iter_mut() {
        let leader = leader(each);
        leader.is_inside = true;
        notes.push(Inside::enter(leader));
    }
    let result = run();
    // Not if it panics.
    leaders.iter_mut().for_each(|each| leader(each).is_inside = was_inside);
    result
}

/// A loader's future, which is polled and dropped as part of its leaders' load.
struct Loading<'a, F, L> {
    future: Pin<&'a mut Option<F>>,
    leaders: &'a mut [L],
    leader: fn(&mut L) -> &mut Leader,
}

impl<F, L> Drop for Loading<'_, F, L> {
    fn drop(&mut self) {
        // What it owns may ask for the key, too.
        run_all(self.leaders, self.leader, || self.future.set(None));
    }
}

/// Runs a loader in a task, for several leaders.
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
            None => unreachable!("it is dropped with `loading`"),
        })
    })
    .await
}
