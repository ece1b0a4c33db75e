//! [`Batches`]: gathers keys for a loader of several keys.
//!
//! # Invariants
//!
//! 1. At most [`IN_FLIGHT`] batches are being loaded. A batch that ends begins the next one if keys
//!    wait. A key that arrives while fewer are being loaded begins one.
//! 2. A batch ends by the load limit. So its place is never lost, also if the loader hangs.
//! 3. A key whose task has given up is not loaded.
//! 4. Each waiting key gets an answer. If its batch is dropped, so is its sender, and the key gets
//!    an error.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::error::BoxError;
use crate::load::Answer;

/// The most batches that are loaded at the same time. With two, the store has work while the values
/// of a batch are passed on.
const IN_FLIGHT: usize = 2;

/// The error of a loader that returned too few or too many values.
pub(crate) const WRONG_NUMBER: &str = "the loader returned another number of values than it got keys";

type Values = Result<Vec<Option<Vec<u8>>>, BoxError>;
pub(crate) type LoadMany = Box<dyn Fn(Vec<Arc<[u8]>>) -> Pin<Box<dyn Future<Output = Values> + Send>> + Send + Sync>;

/// A key, and the task that waits for its value.
type Waiting = (Arc<[u8]>, oneshot::Sender<Answer>);

#[derive(Default)]
struct Queue {
    waiting: Vec<Waiting>,
    in_flight: usize,
}

pub(crate) struct Batches {
    queue: Mutex<Queue>,
    handle: Handle,
    max_keys: usize,
    limit: Duration,
    load: LoadMany,
}

/// Returns `true` if a task still waits for the value.
fn is_awaited((_, sender): &Waiting) -> bool {
    !sender.is_closed()
}

/// The place of a batch in flight. It is given back when it is dropped, also by a panic.
struct Place {
    batches: Arc<Batches>,
    has_begun: bool,
}

/// The error of a batch, which all its keys share.
#[derive(Clone, Debug)]
struct BatchError(Arc<BoxError>);

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the loader of a batch failed")
    }
}

impl core::error::Error for BatchError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(&**self.0)
    }
}

impl Batches {
    pub(crate) fn new(handle: Handle, max_keys: usize, limit: Duration, load: LoadMany) -> Arc<Self> {
        Arc::new(Self { queue: Mutex::default(), handle, max_keys: max_keys.max(1), limit, load })
    }

    /// Loads a key with others.
    pub(crate) async fn load(self: Arc<Self>, key: Arc<[u8]>) -> Answer {
        let (sender, answer) = oneshot::channel();
        let place = {
            let mut queue = self.lock();
            if queue.waiting.len() == queue.waiting.capacity() {
                // Before it grows: keys whose callers have given up leave.
                queue.waiting.retain(is_awaited);
            }
            queue.waiting.push((key, sender));
            (queue.in_flight < IN_FLIGHT).then(|| {
                queue.in_flight += 1;
                Place::of(&self)
            })
        };
        if let Some(place) = place {
            self.handle.spawn(place.run());
        }
        // The sender is dropped if the loader panics, or if the runtime has shut down.
        answer.await.unwrap_or_else(|_| Err("the batch was given up".into()))
    }

    /// Takes the keys of the next batch.
    fn take(&self) -> Vec<Waiting> {
        let mut queue = self.lock();
        queue.waiting.retain(is_awaited);
        let count = queue.waiting.len().min(self.max_keys);
        queue.waiting.drain(..count).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    fn of(batches: &Arc<Batches>) -> Self {
        Self { batches: Arc::clone(batches), has_begun: false }
    }

    async fn run(mut self) {
        self.has_begun = true;
        // Tasks that are ready add their keys first.
        tokio::task::yield_now().await;
        let (keys, senders): (Vec<_>, Vec<_>) = self.batches.take().into_iter().unzip();
        if keys.is_empty() {
            return;
        }
        let loaded = match timeout(self.batches.limit, (self.batches.load)(keys)).await {
            Ok(Ok(values)) if values.len() == senders.len() => Ok(values),
            Ok(Ok(_)) => Err(WRONG_NUMBER.into()),
            Ok(Err(error)) => Err(error),
            Err(_) => Err("the loader took longer than the load limit".into()),
        };
        // A key whose task has given up needs no answer.
        match loaded {
            Ok(values) => senders.into_iter().zip(values).for_each(|(sender, value)| _ = sender.send(Ok(value))),
            Err(error) => {
                let error = BatchError(Arc::new(error));
                senders.into_iter().for_each(|sender| _ = sender.send(Err(Box::new(error.clone()))));
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut queue = self.batches.lock();
        if queue.waiting.is_empty() {
            queue.in_flight -= 1;
        } else if self.has_begun {
            // The place goes on to the next batch.
            drop(queue);
            self.batches.handle.spawn(Self::of(&self.batches).run());
        } else {
            // The runtime has shut down: it drops tasks at once.
            queue.in_flight -= 1;
            let given_up = core::mem::take(&mut queue.waiting);
            drop(queue);
            drop(given_up);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn key_whose_task_has_given_up_is_not_loaded() {
        let gate = Arc::new(Semaphore::new(0));
        let loaded = Arc::new(Mutex::new(Vec::new()));
        let (waiting, log) = (Arc::clone(&gate), Arc::clone(&loaded));
        let load: LoadMany = Box::new(move |keys| {
            let (gate, log) = (Arc::clone(&waiting), Arc::clone(&log));
            Box::pin(async move {
                log.lock().expect("no test panics with it").extend(keys.iter().map(|key| key[0]));
                gate.acquire().await?.forget();
                Ok(vec![None; keys.len()])
            })
        });
        let batches = Batches::new(Handle::current(), 1, Duration::from_secs(60), load);
        let ask = |key: u8| tokio::spawn(Arc::clone(&batches).load(Arc::from([key])));
        let (first, second) = (ask(1), ask(2));
        while loaded.lock().expect("no test panics with it").len() < IN_FLIGHT {
            tokio::task::yield_now().await;
        }
        let given_up: Vec<_> = (10..100).map(ask).collect();
        while batches.lock().waiting.len() < given_up.len() {
            tokio::task::yield_now().await;
        }
        for task in given_up {
            task.abort();
            let _ = task.await;
        }
        let last = ask(3);
        while batches.lock().waiting.last().is_none_or(|(key, _)| **key != [3]) {
            tokio::task::yield_now().await;
        }
        gate.add_permits(200);
        for task in [first, second, last] {
            assert!(matches!(task.await.expect("it ends"), Ok(None)));
        }
        assert_eq!(*loaded.lock().expect("no test panics with it"), [1, 2, 3]);
    }
}
