//! Atomics whose accesses have a witness.

#[cfg(bytecache_loom)]
use loom::sync::atomic as words;
#[cfg(not(bytecache_loom))]
use std::sync::atomic as words;

use super::Ordering;
#[cfg(bytecache_loom)]
use super::modelled::Witness;
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
                self.witness.of(&self.word, Access::Load, |word| word.load(order))
            }

            #[cfg(bytecache_loom)]
            pub(super) fn load_without_turn(&self) -> $value {
                self.word.load(Ordering::Relaxed)
            }

            pub(crate) fn store(&self, value: $value, order: Ordering) {
                self.witness.of(&self.word, Access::Store, |word| word.store(value, order));
            }

            pub(crate) fn swap(&self, value: $value, order: Ordering) -> $value {
                self.witness.of(&self.word, Access::Change, |word| word.swap(value, order))
            }

            pub(crate) fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.witness.of(&self.word, Access::Change, |word| word.compare_exchange(current, new, success, failure))
            }
        }
    )*};
}

macro_rules! integers {
    ($($name:ident: $value:ty;)*) => {$(
        #[allow(dead_code, reason = "as above")]
        impl $name {
            pub(crate) fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                self.witness.of(&self.word, Access::Change, |word| word.fetch_add(value, order))
            }

            pub(crate) fn fetch_sub(&self, value: $value, order: Ordering) -> $value {
                self.witness.of(&self.word, Access::Change, |word| word.fetch_sub(value, order))
            }

            pub(crate) fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                self.witness.of(&self.word, Access::Change, |word| word.fetch_or(value, order))
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
