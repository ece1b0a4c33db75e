//! Reclamation: when bytes that a reader may still see can be overwritten.
//!
//! ```text
//!   memory            who may still see it                   when it is free again
//!   chunks of rings   readers whose slots name them          when no slot names them
//!                     (slots.rs)                             and no value pins them
//!   lists of records  threads that scan or replace them      after a grace period (epochs.rs)
//! ```
//!
//! This module hands out two proofs. A [`Hold`] proves that bytes are not overwritten: those of one
//! chunk by a [`Slot`], or those of a shard by its write lock ([`WriteToken`]). A [`Live`] is a
//! location together with the hold under which it was loaded.
//!
//! # Invariants
//!
//! 1. A value that a deferred call drops was unlinked before the call was deferred. So a pin that
//!    starts later cannot reach it.
//! 2. A [`Live`] is made only for a location that an index lane points to, under the hold that it
//!    names.
//! 3. Only the holder of a shard's lock can reach its [`WriteToken`].
//!
//! # Synchronization
//!
//! * [`Published::replace`] (AcqRel) pairs with [`Published::load`] (Acquire).
//! * The protocol of the slots is in `slots.rs`.
//!
//! # Not here
//!
//! Holds on a chunk beyond a call: the pins of `ring/chunk.rs`.

#![allow(unsafe_code, reason = "slots and lists of records are shared by address")]

mod epochs;
mod slots;

use core::fmt;
use core::marker::PhantomData;
use core::ptr;
use std::sync::Arc;

pub(crate) use slots::{BATCH, Batch, Holds, Slot, SlotName, for_each_hold, thread_is_reading};

use crate::sync::{AtomicPtr, Ordering};
use crate::units::Location;
use epochs::Pin;

/// Proof of a shard's write lock. It lies in the state that the lock guards, and nowhere else.
#[derive(Debug)]
pub(crate) struct WriteToken(());

impl WriteToken {
    /// Creates the token of a shard.
    ///
    /// # Safety
    ///
    /// This is called once for each shard, for the state that its lock guards.
    pub(crate) unsafe fn new() -> Self {
        Self(())
    }
}

/// Proof that bytes are not overwritten during `'a`: those of the shard whose lock is held, or
/// those of the chunk that a slot names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hold<'a>(PhantomData<&'a ()>);

impl<'a> From<SlotName<'a>> for Hold<'a> {
    #[inline]
    fn from(_: SlotName<'a>) -> Self {
        Self(PhantomData)
    }
}

impl<'a> From<&'a Holds> for Hold<'a> {
    #[inline]
    fn from(_: &'a Holds) -> Self {
        Self(PhantomData)
    }
}

impl<'a> From<&'a WriteToken> for Hold<'a> {
    #[inline]
    fn from(_: &'a WriteToken) -> Self {
        Self(PhantomData)
    }
}

/// The location of an entry whose bytes stay readable for `'a`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Live<'a> {
    location: Location,
    _hold: Hold<'a>,
}

impl<'a> Live<'a> {
    /// Creates the proof that the entry at `location` stays readable.
    ///
    /// # Safety
    ///
    /// * Either `hold` is the shard's lock, and a lane points to `location`. Or `hold` is a slot
    ///   that names the entry at `location`, and after that a lane of the table was seen,
    ///   with Acquire, to point there.
    /// * A slot names nothing else while the result is used.
    /// * The ring had published the location: all its bytes were written before.
    #[inline]
    pub(crate) unsafe fn new(location: Location, hold: Hold<'a>) -> Self {
        Self { location, _hold: hold }
    }

    #[inline]
    pub(crate) fn location(self) -> Location {
        self.location
    }
}

/// A shared value that is loaded without a lock and replaced as a whole. A replaced value is
/// dropped after a grace period.
struct Published<T> {
    /// From `Arc::into_raw`. The `Published` owns the count that belongs to it.
    current: AtomicPtr<T>,
    owned: PhantomData<Arc<T>>,
}

impl<T: Send + Sync + 'static> Published<T> {
    fn new(value: Arc<T>) -> Self {
        Self { current: AtomicPtr::new(Arc::into_raw(value).cast_mut()), owned: PhantomData }
    }

    /// Returns the current value, for as long as the pin is held.
    #[inline]
    fn load<'a>(&'a self, _pin: &'a Pin) -> &'a T {
        // Acquire: pairs with the AcqRel swap of `replace`. The value was complete before it was
        // published.
        let current = self.current.load(Ordering::Acquire);
        // SAFETY:
        // * the pointer came from `Arc::into_raw`, in `new` or `replace`;
        // * its count is dropped only after a grace period that began when the pointer could no
        //   longer be loaded (invariant 1). This pin keeps the grace period from ending;
        // * `drop` needs `&mut self`, which the borrow for `'a` excludes.
        unsafe { &*current }
    }

    /// Publishes `value`. Drops the former value after a grace period.
    fn replace(&self, value: Arc<T>, pin: &Pin) {
        let old = self.current.swap(Arc::into_raw(value).cast_mut(), Ordering::AcqRel);
        // SAFETY:
        // * the pointer came from `Arc::into_raw`;
        // * the swap has taken it out of reach, so its count belongs to this call.
        let old = unsafe { Arc::from_raw(old.cast_const()) };
        pin.defer(move || drop(old));
    }
}

impl<T> Drop for Published<T> {
    fn drop(&mut self) {
        // Relaxed: `&mut self`, so no other thread is left.
        let current = self.current.swap(ptr::null_mut(), Ordering::Relaxed);
        // SAFETY:
        // * the pointer came from `Arc::into_raw`, in `new` or `replace`;
        // * the swap has taken it out of reach, and no thread can load any more.
        drop(unsafe { Arc::from_raw(current.cast_const()) });
    }
}

impl<T> fmt::Debug for Published<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Published")
    }
}

// SAFETY: it is an `Arc<T>` behind an atomic. Sharing it hands out `&T`, and moving it may drop a
// `T` on another thread.
unsafe impl<T: Send + Sync> Send for Published<T> {}
// SAFETY: see `Send`.
unsafe impl<T: Send + Sync> Sync for Published<T> {}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_value_is_dropped_when_no_pin_can_see_it() {
        let values: [Arc<u32>; 2] = [Arc::new(1), Arc::new(2)];
        let published = Published::new(Arc::clone(&values[0]));
        let reader = epochs::pin();
        let seen = published.load(&reader);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                published.replace(Arc::clone(&values[1]), &epochs::pin());
                (0..10).for_each(|_| epochs::pin().defer(|| {}));
            });
        });
        assert_eq!((*seen, Arc::strong_count(&values[0])), (1, 2));
        drop(reader);
        // Each call advances the epoch, unless another thread of this process is pinned.
        while Arc::strong_count(&values[0]) > 1 {
            epochs::pin().defer(|| {});
            std::thread::yield_now();
        }
        assert_eq!(*published.load(&epochs::pin()), 2);
    }
}
