//! loom's atomics and locks.

use std::time::Instant;

pub(crate) use loom::sync::atomic::{Ordering, fence};
pub(crate) use loom::sync::{Condvar, MutexGuard};
pub(crate) use loom::thread::yield_now;

use super::witnessed::Access;
pub(crate) use super::witnessed::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize};

/// A word that puts the accesses of an atomic in turns.
///
/// loom looks for schedules that swap two accesses of which one is a store. It compares a store
/// only with the access just before it. A thread that loads and then stores would therefore
/// hide earlier loads by other threads. With the witness, each access is also a
/// read-modify-write of a separate word, so none is hidden. The witness is Relaxed and orders
/// nothing.
///
/// A thread is not preempted between the access and that of the witness: no schedule would differ
/// by it for the words themselves, but loom would explore several times as many. A swap that the
/// witness asks for is explored before the access.
#[derive(Debug)]
pub(super) struct Witness(loom::sync::atomic::AtomicUsize);

impl Witness {
    pub(super) fn new() -> Self {
        Self(loom::sync::atomic::AtomicUsize::new(0))
    }

    /// Makes an access, and then that of the witness.
    pub(super) fn of<T, R>(&self, word: &T, _access: Access, make: impl FnOnce(&T) -> R) -> R {
        let result = make(word);
        loom::stop_exploring();
        self.0.fetch_add(1, Ordering::Relaxed);
        loom::explore();
        result
    }
}

/// Waits to be notified. Models have no time.
pub(crate) fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>, _until: Option<Instant>) -> MutexGuard<'a, T> {
    condvar.wait(guard).unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// loom's mutex with parking_lot's signatures.
#[derive(Debug)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock().ok()
    }
}

/// Loads a word that only this thread stores. No schedule differs by the moment of this load, so it
/// takes no turn.
pub(crate) fn load_own(word: &AtomicU64) -> u64 {
    word.load_without_turn()
}

/// Stores a word with Release, and executes a SeqCst fence.
pub(crate) fn store_and_fence(word: &AtomicUsize, value: usize) {
    word.store(value, Ordering::Release);
    fence(Ordering::SeqCst);
}
