//! Tasks of loaders for threads: in jobs of an executor, or in the thread that calls.
//!
//! Such a task waits for its turn only: for the end of other batches. Then it runs the loader,
//! which blocks its thread.
//!
//! # Synchronization
//!
//! A job polls under the lock of its task. The lock keeps a job that comes while another one polls
//! waiting, so no wake-up is lost. A task wakes its own jobs only while it waits for its turn, so a
//! job never waits for itself.

use core::task::{Context, Waker};
use std::sync::Arc;
use std::task::Wake;
use std::thread::{self, Thread};

use super::runtime::{Executor, Task};
use crate::sync::Mutex;

/// A task that an executor runs: a job each time that the task is woken.
struct InJobs {
    executor: Arc<Executor>,
    task: Mutex<Option<Task>>,
}

impl Wake for InJobs {
    fn wake(self: Arc<Self>) {
        let executor = Arc::clone(&self.executor);
        executor(Box::new(move || self.poll()));
    }
}

impl InJobs {
    fn poll(self: &Arc<Self>) {
        let mut task = self.task.lock();
        let Some(waiting) = &mut *task else { return };
        let waker = Waker::from(Arc::clone(self));
        if waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            *task = None;
        }
    }
}

/// Runs a task on an executor, without blocking a thread of it while the task waits. The task is
/// dropped if the executor drops a job of it.
pub(super) fn run_on(executor: &Arc<Executor>, task: Task) {
    Arc::new(InJobs { executor: Arc::clone(executor), task: Mutex::new(Some(task)) }).wake();
}

/// A thread that waits for a task.
struct Parked(Thread);

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a task in this thread.
pub(super) fn run_here(mut task: Task) {
    let waker = Waker::from(Arc::new(Parked(thread::current())));
    let mut context = Context::from_waker(&waker);
    while task.as_mut().poll(&mut context).is_pending() {
        thread::park();
    }
}
