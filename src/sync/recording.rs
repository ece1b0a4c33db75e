//! Records the accesses of a thread to the cache lines of shared words.

use std::cell::RefCell;

use super::MutexGuard;
pub(crate) use super::witnessed::Access;
use crate::prefetch::LINE;

/// The number of a cache line: its address, in lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Line(usize);

thread_local! {
    /// `Some` during a recording.
    static RECORD: RefCell<Option<Vec<(Line, Access)>>> = const { RefCell::new(None) };
}

/// Runs `work`. Returns the accesses of this thread to shared words during it, in order.
pub(crate) fn record(work: impl FnOnce()) -> Vec<(Line, Access)> {
    RECORD.set(Some(Vec::new()));
    work();
    RECORD.take().unwrap_or_default()
}

fn note<T>(word: &T, access: Access) {
    let line = Line(core::ptr::from_ref(word).addr() / LINE);
    // A cache may be used in the destructor of another local, after the record was destroyed.
    // Nothing asks for these accesses.
    let _ = RECORD.try_with(|record| {
        if let Some(accesses) = &mut *record.borrow_mut() {
            accesses.push((line, access));
        }
    });
}

/// Notes accesses in the record. Takes no space, so words are as large as without it.
#[derive(Debug)]
pub(super) struct Witness;

impl Witness {
    pub(super) fn new() -> Self {
        Self
    }

    /// Notes an access, and makes it.
    #[inline]
    pub(super) fn of<T, R>(&self, word: &T, access: Access, make: impl FnOnce(&T) -> R) -> R {
        note(word, access);
        make(word)
    }
}

/// A mutex whose lock and unlock are each recorded as a change of the line that it begins in.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Mutex<T>(parking_lot::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(parking_lot::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        note(self, Access::Change);
        note(self, Access::Change);
        self.0.lock()
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        note(self, Access::Change);
        self.0.try_lock().inspect(|_| note(self, Access::Change))
    }
}
