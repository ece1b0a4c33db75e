//! [`Queue`]: the keys that wait for a batch, and the batches that are in flight.
//!
//! ```text
//!   join --no batch is open--> open a batch --a place is free--> granted --take--> in flight --drop--> the place
//!     |                            | all are taken                  ^                                  is free
//!     |                            +------> waits ----- granted ----+                                     |
//!     |                                       ^                                                           |
//!     +--a batch is open--> joins it          +-- granted in the order of opening ------------------------+
//! ```
//!
//! The caller that opens a batch gets an [`Opener`]. It waits until the batch may run, takes its
//! members, and runs it. A batch is open until its members are taken, so it gathers keys while it
//! waits. If an opener is dropped before that, its members are dropped too.
//!
//! # Invariants
//!
//! 1. At most `in_flight` batches are granted or in flight.
//! 2. A batch that waits is granted when a place becomes free. The drop of an opener sees to it.
//! 3. Members are dropped, and openers are woken, without the lock. Both run user code.
//!
//! # Synchronization
//!
//! One lock guards the state. An opener waits for a [`Flight`] without a result, which has its own
//! lock (`flight.rs`).

use core::mem;
use std::collections::VecDeque;
use std::sync::Arc;

use super::batch::Batch;
use crate::flight::{End, Flight};
use crate::sync::Mutex;

/// The signal that a batch may run.
type Grant = Flight<(), ()>;

/// Batches that are open, and the number of those that run.
pub(super) struct Queue<T> {
    batch: Batch,
    state: Mutex<State<T>>,
}

struct State<T> {
    /// Batches that are granted or in flight.
    granted: usize,
    /// Batches whose members are not taken yet, in the order of opening.
    open: VecDeque<Open<T>>,
}

struct Open<T> {
    members: Vec<T>,
    is_granted: bool,
    grant: Arc<Grant>,
}

/// The right to run a batch, and the duty to do so.
pub(super) struct Opener<T> {
    queue: Arc<Queue<T>>,
    grant: Arc<Grant>,
    /// The members were taken, and the batch counts as granted.
    is_in_flight: bool,
}

impl<T> Queue<T> {
    pub(super) fn new(batch: Batch) -> Self {
        Self { batch, state: Mutex::new(State { granted: 0, open: VecDeque::new() }) }
    }

    /// Returns the most members of a batch.
    pub(super) fn max_keys(&self) -> usize {
        self.batch.max_keys
    }

    /// Adds members to the open batch, at most as many as a batch may have. If there is none with
    /// room for all, opens one for the others, and returns its opener.
    pub(super) fn join(self: &Arc<Self>, members: Vec<T>) -> Option<Opener<T>> {
        debug_assert!(members.len() <= self.batch.max_keys, "one batch takes them");
        let mut members = members.into_iter();
        let mut state = self.state.lock();
        if let Some(last) = state.open.back_mut() {
            let room = self.batch.max_keys - last.members.len();
            last.members.extend(members.by_ref().take(room));
        }
        let members: Vec<T> = members.collect();
        if members.is_empty() {
            return None;
        }
        let grant = Arc::new(Grant::new(()));
        state.open.push_back(Open { members, is_granted: false, grant: Arc::clone(&grant) });
        let granted = state.grant(&self.batch);
        drop(state);
        granted.iter().for_each(|grant| grant.end(End::Landed(())));
        Some(Opener { queue: Arc::clone(self), grant, is_in_flight: false })
    }
}

impl<T> State<T> {
    /// Grants as many batches as there are free places. Returns the signals to give.
    fn grant(&mut self, batch: &Batch) -> Vec<Arc<Grant>> {
        let mut grants = Vec::new();
        for open in self.open.iter_mut().filter(|open| !open.is_granted) {
            if self.granted >= batch.max_in_flight {
                break;
            }
            self.granted += 1;
            open.is_granted = true;
            grants.push(Arc::clone(&open.grant));
        }
        grants
    }

    /// Takes an open batch out.
    fn take(&mut self, grant: &Arc<Grant>) -> Option<Open<T>> {
        let place = self.open.iter().position(|open| Arc::ptr_eq(&open.grant, grant))?;
        self.open.remove(place)
    }
}

impl<T> Opener<T> {
    /// Waits until the batch may run.
    pub(super) async fn granted(&self) {
        self.grant.take_seat();
        Arc::clone(&self.grant).follow().await;
    }

    /// Takes the members of the batch. After that, nobody joins it.
    pub(super) fn take(&mut self) -> Vec<T> {
        let open = self.queue.state.lock().take(&self.grant);
        self.is_in_flight |= open.as_ref().is_some_and(|open| open.is_granted);
        open.map(|open| open.members).unwrap_or_default()
    }
}

impl<T> Drop for Opener<T> {
    fn drop(&mut self) {
        let members = self.take();
        let mut state = self.queue.state.lock();
        state.granted -= usize::from(mem::take(&mut self.is_in_flight));
        let granted = state.grant(&self.queue.batch);
        drop(state);
        granted.iter().for_each(|grant| grant.end(End::Landed(())));
        drop(members);
    }
}
