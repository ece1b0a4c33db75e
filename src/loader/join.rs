//! [`join_all`]: runs futures side by side in one task.
//!
//! Each future has a waker of its own, which notes the future's index and wakes the task. So a poll
//! of the task polls only the futures that were woken.
//!
//! # Synchronization
//!
//! One lock guards the indexes and the task's waker. Wakers are called, cloned and dropped without
//! it, as they may run user code.

use core::future::{Future, poll_fn};
use core::mem;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::sync::Arc;
use std::task::Wake;

use crate::sync::Mutex;

/// Futures that were woken since the last poll.
struct Woken {
    state: Mutex<State>,
}

struct State {
    indexes: Vec<usize>,
    /// For each future, whether it is among the indexes.
    is_woken: Vec<bool>,
    /// The task's waker. The first future that is woken takes it.
    task: Option<Waker>,
}

/// The waker of one future.
struct Part {
    index: usize,
    woken: Arc<Woken>,
}

impl Wake for Part {
    fn wake(self: Arc<Self>) {
        let mut state = self.woken.state.lock();
        if mem::replace(&mut state.is_woken[self.index], true) {
            return;
        }
        state.indexes.push(self.index);
        let task = state.task.take();
        drop(state);
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl Woken {
    /// Returns the futures to poll, and registers the task to be woken for the next ones.
    fn take(&self, task: Waker) -> Vec<usize> {
        let mut state = self.state.lock();
        let former = state.task.replace(task);
        let indexes = mem::take(&mut state.indexes);
        for &index in &indexes {
            state.is_woken[index] = false;
        }
        drop(state);
        drop(former);
        indexes
    }
}

/// Runs all futures, and returns their outputs in order.
pub(super) async fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<Option<Pin<Box<F>>>> = futures.map(|future| Some(Box::pin(future))).collect();
    let count = futures.len();
    let state = State { indexes: (0..count).collect(), is_woken: vec![true; count], task: None };
    let woken = Arc::new(Woken { state: Mutex::new(state) });
    let part = |index| Waker::from(Arc::new(Part { index, woken: Arc::clone(&woken) }));
    let wakers: Vec<Waker> = (0..count).map(part).collect();
    let mut outputs: Vec<Option<F::Output>> = (0..count).map(|_| None).collect();
    let mut left = count;
    poll_fn(|context| {
        for index in woken.take(context.waker().clone()) {
            let Some(future) = &mut futures[index] else { continue };
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&wakers[index])) {
                futures[index] = None;
                outputs[index] = Some(output);
                left -= 1;
            }
        }
        if left == 0 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    outputs.into_iter().flatten().collect()
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn only_futures_that_were_woken_are_polled_and_outputs_are_in_order() {
        let (wakers, is_open) = (RefCell::new(vec![None; 3]), Cell::new(false));
        let polls = [const { Cell::new(0) }; 3];
        let (wakers_of, is_open_of, polls_of) = (&wakers, &is_open, &polls);
        let part = |index: usize| {
            poll_fn(move |context| {
                polls_of[index].set(polls_of[index].get() + 1);
                wakers_of.borrow_mut()[index] = Some(context.waker().clone());
                if is_open_of.get() { Poll::Ready(index) } else { Poll::Pending }
            })
        };
        let mut joined = pin!(join_all((0..3).map(part)));
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let mut context = Context::from_waker(&waker);
        assert!(joined.as_mut().poll(&mut context).is_pending());
        assert!(joined.as_mut().poll(&mut context).is_pending());
        assert_eq!(polls.each_ref().map(Cell::get), [1, 1, 1]);

        let wake = |index: usize| {
            let waker: Option<Waker> = wakers.borrow()[index].clone();
            waker.unwrap().wake();
        };
        is_open.set(true);
        [2, 2, 0].into_iter().for_each(wake);
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1, "the task is woken once before it is polled");
        assert!(joined.as_mut().poll(&mut context).is_pending());
        assert_eq!(polls.each_ref().map(Cell::get), [2, 1, 2]);
        wake(1);
        assert_eq!(joined.as_mut().poll(&mut context), Poll::Ready(vec![0, 1, 2]));
    }

    #[test]
    fn no_futures_are_no_wait() {
        let joined = pin!(join_all((0..0).map(std::future::ready)));
        assert_eq!(joined.poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(vec![]));
    }
}
