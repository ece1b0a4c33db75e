//! Calls of a loader for many keys, on a thread whose loads run in batches.
//!
//! ```text
//!   for as many keys as a batch takes:
//!     lead, follow or refresh each --> notify the listener --> join the queue --> run the batch, if opened
//!   then wait for all flights; keys of loads that were given up begin again
//! ```
//!
//! No user code runs between joining the queue and running the batch. Otherwise it could ask for a
//! key of the batch, which this thread has to run, and would wait for itself. All keys of one round
//! join under one lock, so at most one batch is opened for them.

use core::mem;
use std::sync::Arc;
use std::time::Instant;

use super::async_load::Purpose;
use super::handles::{Loader, after_refresh};
use super::leader::{Leader, run_all};
use super::many_keys::Job;
use super::outcome::{Answer, Found};
use super::threads::run;
use super::{Load, Role, Turn, follower_answer};
use crate::flight::End;
use crate::ring::Value;
use crate::shard::{KeyFlight, Notice, Waiter};

/// A key that this call loads.
struct Led {
    index: usize,
    leader: Leader,
    /// The value that is refreshed, if there is one.
    current: Option<Value>,
}

/// A key whose load runs in a batch, or in another caller.
struct Waiting {
    index: usize,
    flight: Arc<KeyFlight>,
    role: Role,
    current: Option<Value>,
}

fn leader_of(led: &mut Led) -> &mut Leader {
    &mut led.leader
}

impl<F> Loader<F> {
    /// Loads and refreshes keys, at most `max_batch` in a batch.
    pub(super) fn load_in_batches<K, E, Kind>(
        &self,
        keys: &[K],
        mut jobs: Vec<(usize, Job)>,
        max_batch: usize,
        answers: &mut [Option<Answer<E>>],
    ) where
        K: AsRef<[u8]>,
        F: Load<E, Kind>,
        E: Send + Sync + 'static,
    {
        let until = self.shared.options.wait_until();
        let mut has_executor = true;
        // Ends: see `Shared::load`, for each key.
        while !jobs.is_empty() {
            let mut waiting = Vec::new();
            let mut left = mem::take(&mut jobs).into_iter();
            while left.len() > 0 {
                let mut begun = Vec::new();
                let led = self.board_all(keys, left.by_ref().take(max_batch), &mut begun, answers);
                self.begin_all(keys, led, has_executor, &mut begun, answers);
                // The memory of flights that are over is given back before the next ones begin.
                let (over, others): (Vec<_>, Vec<_>) = begun.into_iter().partition(|each| each.flight.is_over());
                waiting.extend(others);
                self.take_ends(keys, over, until, &mut has_executor, &mut jobs, answers);
            }
            self.take_ends(keys, waiting, until, &mut has_executor, &mut jobs, answers);
        }
    }

    /// Lets this call lead or follow the load of each key, and notifies the listener of entries
    /// that had to leave. Returns the keys that it leads.
    fn board_all<K, E>(
        &self,
        keys: &[K],
        jobs: impl Iterator<Item = (usize, Job)>,
        waiting: &mut Vec<Waiting>,
        answers: &mut [Option<Answer<E>>],
    ) -> Vec<Led>
    where
        K: AsRef<[u8]>,
    {
        let shared = &self.shared;
        let (mut led, mut notice) = (Vec::new(), Notice::default());
        for (index, job) in jobs {
            let key = &*shared.cache.stored_key(keys[index].as_ref());
            let more = match job {
                Job::Load => {
                    let target = shared.cache.target(key);
                    let (turn, more) = shared.cache.take_turn_with_notice(&target, key, Waiter::Thread);
                    match turn {
                        Turn::Answer(answer) => answers[index] = Some(self.answer_for(key, answer, None)),
                        Turn::Lead(leader) => led.push(Led { index, leader, current: None }),
                        Turn::Follow(flight) => {
                            waiting.push(Waiting { index, flight, role: Role::Follower, current: None });
                        }
                    }
                    more
                }
                Job::Refresh(current, permit) => {
                    let (leader, more) = shared.board_refresh_with_notice(key, permit, Waiter::Thread);
                    match leader {
                        None => answers[index] = Some(Ok(Found::cached(current))),
                        Some(leader) => led.push(Led { index, leader, current: Some(current) }),
                    }
                    more
                }
            };
            notice.join(more);
            if notice.is_long() {
                run_all(&mut led, leader_of, || drop(mem::take(&mut notice)));
            }
        }
        run_all(&mut led, leader_of, || drop(notice));
        led
    }

    /// Adds keys to the batches, and runs the batch that this opens. Does not wait for refreshes
    /// that run on the executor.
    fn begin_all<K, E, Kind>(
        &self,
        keys: &[K],
        led: Vec<Led>,
        has_executor: bool,
        waiting: &mut Vec<Waiting>,
        answers: &mut [Option<Answer<E>>],
    ) where
        K: AsRef<[u8]>,
        F: Load<E, Kind>,
        E: Send + Sync + 'static,
    {
        let shared = &self.shared;
        let executor = shared.load_executor().filter(|_| has_executor);
        let (mut batched, mut alone) = (Vec::new(), Vec::new());
        for Led { index, leader, current } in led {
            match (leader.flight(), current) {
                (None, current) => alone.push((index, leader, current)),
                (Some(_), Some(current)) if executor.is_some() => {
                    answers[index] = Some(Ok(Found::cached(current)));
                    batched.push(leader);
                }
                (Some(flight), current) => {
                    waiting.push(Waiting { index, flight, role: Role::Starter, current });
                    batched.push(leader);
                }
            }
        }
        if !batched.is_empty() {
            run(F::begin(shared, batched, Purpose::Load), executor);
        }
        for (index, leader, current) in alone {
            let answer = F::lead(shared, leader, Purpose::Load);
            let key = &*shared.cache.stored_key(keys[index].as_ref());
            answers[index] = Some(self.answer_for(key, answer, current));
        }
    }

    /// Waits for the loads of keys, and takes their answers. Adds a job for each load that was
    /// given up.
    fn take_ends<K, E>(
        &self,
        keys: &[K],
        waiting: Vec<Waiting>,
        until: Option<Instant>,
        has_executor: &mut bool,
        jobs: &mut Vec<(usize, Job)>,
        answers: &mut [Option<Answer<E>>],
    ) where
        K: AsRef<[u8]>,
        E: Send + Sync + 'static,
    {
        let shared = &self.shared;
        for Waiting { index, flight, role, current } in waiting {
            let end = flight.wait(until);
            *has_executor &= !(role == Role::Starter && matches!(end, Some(End::Abandoned)));
            match (follower_answer(&shared.cache, end, role), current) {
                (None, None) => jobs.push((index, Job::Load)),
                (None, Some(current)) => answers[index] = Some(Ok(Found::cached(current))),
                (Some(answer), current) => {
                    let key = &*shared.cache.stored_key(keys[index].as_ref());
                    answers[index] = Some(self.answer_for(key, answer, current));
                }
            }
        }
    }

    /// Returns the answer for a stored key whose load or refresh has ended.
    fn answer_for<E>(&self, key: &[u8], answer: Answer<E>, current: Option<Value>) -> Answer<E> {
        match current {
            None => self.shared.or_stale(&self.shared.cache.target(key), key, answer),
            Some(current) => after_refresh(current, Some(answer)),
        }
    }
}
