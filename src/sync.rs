//! The switch between the real primitives, loom's, and those that unit tests observe.
//!
//! Words that threads share go through these names. So the models in `loom/` run the code that
//! ships, and `shared_lines.rs` counts its writes. There are four exceptions:
//!
//! * an entry's first word and its stamps, which lie in raw memory (`ring/arena.rs`). Models
//!   replace them by loom's atomics (`ring/shadow.rs`);
//! * `Record::used` (`reclaim/slots.rs`), which only the owner of the record accesses;
//! * the time of a `ManualClock` (`clock.rs`), which no model uses;
//! * words inside dependencies and inside `Arc`.
//!
//! | build | atomics | locks |
//! |---|---|---|
//! | any but these two | the standard library's | `parking_lot`'s |
//! | unit tests | the same, with a witness that takes no space | the same, noting each locking |
//! | `bytecache_loom` | loom's, with a witness that makes them take turns | loom's |

#[cfg(not(bytecache_loom))]
mod imp {
    pub(crate) use std::thread::yield_now;
    use std::time::Instant;

    #[cfg(not(test))]
    pub(crate) use parking_lot::Mutex;
    pub(crate) use parking_lot::{Condvar, MutexGuard};
    #[cfg(not(test))]
    pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize};
    pub(crate) use std::sync::atomic::{Ordering, fence};

    #[cfg(test)]
    pub(crate) use super::recording::Mutex;
    #[cfg(test)]
    pub(crate) use super::witnessed::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize};

    /// Waits to be notified, but no longer than `until`. May return without a reason.
    pub(crate) fn wait<'a, T>(
        condvar: &Condvar,
        mut guard: MutexGuard<'a, T>,
        until: Option<Instant>,
    ) -> MutexGuard<'a, T> {
        match until {
            None => condvar.wait(&mut guard),
            Some(until) => drop(condvar.wait_until(&mut guard, until)),
        }
        guard
    }
}

#[cfg(bytecache_loom)]
mod imp {
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
    #[derive(Debug)]
    pub(super) struct Witness(loom::sync::atomic::AtomicUsize);

    impl Witness {
        pub(super) fn new() -> Self {
            Self(loom::sync::atomic::AtomicUsize::new(0))
        }

        pub(super) fn note<T>(&self, _word: &T, _access: Access) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits to be notified. Models have no time.
    pub(crate) fn wait<'a, T>(
        condvar: &Condvar,
        guard: MutexGuard<'a, T>,
        _until: Option<Instant>,
    ) -> MutexGuard<'a, T> {
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
}

/// Records the accesses of a thread to the cache lines of shared words.
#[cfg(all(test, not(bytecache_loom)))]
pub(crate) mod recording {
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

        #[inline]
        pub(super) fn note<T>(&self, word: &T, access: Access) {
            note(word, access);
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
}

/// Atomics that note each access before they make it.
#[cfg(any(test, bytecache_loom))]
mod witnessed {
    #[cfg(bytecache_loom)]
    use loom::sync::atomic as words;
    #[cfg(not(bytecache_loom))]
    use std::sync::atomic as words;

    use super::Ordering;
    #[cfg(bytecache_loom)]
    use super::imp::Witness;
    #[cfg(not(bytecache_loom))]
    use super::recording::Witness;

    /// The kind of an access to a word.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Access {
        Load,
        Store,
        /// A read-modify-write, even one that does not store in the end: the core takes the line
        /// for itself either way.
        Change,
    }

    macro_rules! atomics {
        ($($name:ident $(<$pointee:ident>)?: $value:ty;)*) => {$(
            #[derive(Debug)]
            #[cfg_attr(not(bytecache_loom), repr(transparent))]
            pub(crate) struct $name $(<$pointee>)? {
                witness: Witness,
                word: words::$name $(<$pointee>)?,
            }

            #[allow(dead_code, reason = "not every width needs every operation")]
            impl $(<$pointee>)? $name $(<$pointee>)? {
                pub(crate) fn new(value: $value) -> Self {
                    Self { witness: Witness::new(), word: words::$name::new(value) }
                }

                pub(crate) fn load(&self, order: Ordering) -> $value {
                    self.witness.note(&self.word, Access::Load);
                    self.word.load(order)
                }

                pub(crate) fn store(&self, value: $value, order: Ordering) {
                    self.witness.note(&self.word, Access::Store);
                    self.word.store(value, order);
                }

                pub(crate) fn swap(&self, value: $value, order: Ordering) -> $value {
                    self.witness.note(&self.word, Access::Change);
                    self.word.swap(value, order)
                }

                pub(crate) fn compare_exchange(
                    &self,
                    current: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    self.witness.note(&self.word, Access::Change);
                    self.word.compare_exchange(current, new, success, failure)
                }
            }
        )*};
    }

    macro_rules! integers {
        ($($name:ident: $value:ty;)*) => {$(
            #[allow(dead_code, reason = "as above")]
            impl $name {
                pub(crate) fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                    self.witness.note(&self.word, Access::Change);
                    self.word.fetch_add(value, order)
                }

                pub(crate) fn fetch_sub(&self, value: $value, order: Ordering) -> $value {
                    self.witness.note(&self.word, Access::Change);
                    self.word.fetch_sub(value, order)
                }

                pub(crate) fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                    self.witness.note(&self.word, Access::Change);
                    self.word.fetch_or(value, order)
                }

                pub(crate) fn fetch_update(
                    &self,
                    set: Ordering,
                    fetch: Ordering,
                    mut update: impl FnMut($value) -> Option<$value>,
                ) -> Result<$value, $value> {
                    let mut seen = self.load(fetch);
                    while let Some(next) = update(seen) {
                        match self.compare_exchange(seen, next, set, fetch) {
                            Ok(before) => return Ok(before),
                            Err(before) => seen = before,
                        }
                    }
                    Err(seen)
                }
            }
        )*};
    }

    atomics! { AtomicU8: u8; AtomicU32: u32; AtomicU64: u64; AtomicUsize: usize; AtomicPtr<T>: *mut T; }
    integers! { AtomicU8: u8; AtomicU32: u32; AtomicU64: u64; AtomicUsize: usize; }
}

pub(crate) use imp::*;
