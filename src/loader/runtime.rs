//! The functions of the caller's runtime that a loader uses: where refreshes run, and how a task
//! sleeps.

use core::future::Future;
use core::pin::Pin;
use core::time::Duration;
use std::sync::Arc;

/// A refresh for a thread to run.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// A refresh for a task to run.
pub(super) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A future that ends when a task has waited long enough.
pub(super) type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Creates a [`Sleep`] of a length.
pub(super) type Sleeper = dyn Fn(Duration) -> Sleep + Send + Sync;

/// The functions that the caller has set. Without them, refreshes run in place, and tasks wait
/// without a limit.
#[derive(Clone, Default)]
pub(super) struct Runtime {
    pub(super) executor: Option<Arc<dyn Fn(Job) + Send + Sync>>,
    pub(super) spawner: Option<Arc<dyn Fn(Task) + Send + Sync>>,
    pub(super) sleeper: Option<Arc<Sleeper>>,
}
