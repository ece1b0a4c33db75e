//! The switch between the real primitives and loom's.
//!
//! Everything that threads share goes through these names, so that the models in `loom/` run the code that ships.
//! The one exception is an entry's header word, which lives in raw memory (see `ring/memory.rs`).

#[cfg(not(bytecache_loom))]
mod imp {
    pub(crate) use std::thread::yield_now;
    use std::time::Instant;

    pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
    pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

    /// Waits to be notified, until some moment at the latest. May return for no reason.
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

    /// Where an atomic's accesses take turns.
    ///
    /// loom looks for schedules that swap two accesses of which one is a store, and compares a store only
    /// with the access just before it: a thread that loads and then stores would hide what others loaded
    /// earlier. Here each access is a read-modify-write of a word of its own as well, so that none is hidden.
    /// It is Relaxed and orders nothing.
    #[derive(Debug)]
    struct Turn(loom::sync::atomic::AtomicUsize);

    impl Turn {
        fn new() -> Self {
            Self(loom::sync::atomic::AtomicUsize::new(0))
        }

        fn take(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    macro_rules! atomics {
        ($($name:ident $(<$pointee:ident>)?: $value:ty;)*) => {$(
            #[derive(Debug)]
            pub(crate) struct $name $(<$pointee>)? {
                turn: Turn,
                word: loom::sync::atomic::$name $(<$pointee>)?,
            }

            #[allow(dead_code, reason = "not every width needs every operation")]
            impl $(<$pointee>)? $name $(<$pointee>)? {
                pub(crate) fn new(value: $value) -> Self {
                    Self { turn: Turn::new(), word: loom::sync::atomic::$name::new(value) }
                }

                pub(crate) fn load(&self, order: Ordering) -> $value {
                    self.turn.take();
                    self.word.load(order)
                }

                pub(crate) fn store(&self, value: $value, order: Ordering) {
                    self.turn.take();
                    self.word.store(value, order);
                }

                pub(crate) fn swap(&self, value: $value, order: Ordering) -> $value {
                    self.turn.take();
                    self.word.swap(value, order)
                }

                pub(crate) fn compare_exchange(
                    &self,
                    current: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    self.turn.take();
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
                    self.turn.take();
                    self.word.fetch_add(value, order)
                }

                pub(crate) fn fetch_sub(&self, value: $value, order: Ordering) -> $value {
                    self.turn.take();
                    self.word.fetch_sub(value, order)
                }

                pub(crate) fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                    self.turn.take();
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

pub(crate) use imp::*;
