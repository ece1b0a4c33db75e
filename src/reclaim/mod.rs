//! Reclamation: when may bytes that a reader could still see be overwritten?
//!
//! ```text
//!   what                   who may still see it                       comes back
//!   chunks of rings        readers whose slots name them (slots.rs)   when no slot does, and no value pins them
//!   replaced tables        anybody, for as long as the shard lives    their pages at once, their addresses never
//!   lists of records       writers that look at the slots             after a grace period (epochs.rs)
//! ```
//!
//! Two proofs are handed out from here. [`Hold`] says that its owner keeps bytes from being overwritten: those of one chunk
//! by a [`Slot`], or those of a shard by its write lock ([`WriteToken`]). [`Live`] is a location together with the hold under
//! which it was read.
//!
//! # Invariants
//!
//! 1. What a deferred call lets go was unlinked before the call was deferred: a pin that starts later cannot
//!    reach it.
//! 2. A [`Live`] is made only of what an index lane points to, under the hold that it names.
//! 3. A shard's [`WriteToken`] is reachable only by the holder of its lock.
//!
//! # Synchronization
//!
//! [`Kept::load`] and [`Kept::is_current`] (Acquire) pair with [`Kept::replace`] (Release), and [`Published::load`] (Acquire)
//! with [`Published::replace`] (AcqRel).
//! The protocol of the slots is in `slots.rs`.
//!
//! # Not here
//!
//! Who holds a chunk beyond a call: the pins of `ring/chunk.rs`.

mod epochs;
mod slots;

use core::fmt;
use core::marker::PhantomData;
use core::ptr;
use std::sync::Arc;

pub(crate) use slots::{BATCH, Batch, Holds, Slot, for_each_hold, thread_is_reading};

use crate::sync::{AtomicPtr, Mutex, Ordering};
use crate::units::Location;
use epochs::Pin;

/// Proof of a shard's write lock: it lies in the locked state, and nowhere else.
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

/// Proof that for `'a` bytes are not overwritten: those of the shard whose lock is held, or those of the chunk that a slot
/// names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hold<'a>(PhantomData<&'a ()>);

impl<'a> From<&'a Slot> for Hold<'a> {
    #[inline]
    fn from(_: &'a Slot) -> Self {
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
    /// # Safety
    ///
    /// * `hold` is the shard's lock, and a lane points to `location`; or `hold` is a slot that names the entry at `location`,
    ///   and after that a lane of the present table was seen to point there, with Acquire;
    /// * a slot names nothing else for as long as the result is used;
    /// * the ring had published the location: all its bytes were written before.
    #[inline]
    pub(crate) unsafe fn new(location: Location, hold: Hold<'a>) -> Self {
        Self { location, _hold: hold }
    }

    #[inline]
    pub(crate) fn location(self) -> Location {
        self.location
    }
}

/// A shared value that readers load at any time and a writer replaces. The replaced ones are kept as long as this lives.
pub(crate) struct Kept<T> {
    /// The last of `all`.
    current: AtomicPtr<T>,
    all: Mutex<Vec<Arc<T>>>,
}

impl<T> Kept<T> {
    /// What each value takes, itself and its two counts included. The list of them grows by doubling.
    pub(crate) const BYTES: usize = size_of::<T>() + 2 * size_of::<usize>() + 2 * size_of::<Arc<T>>();

    pub(crate) fn new(value: Arc<T>) -> Self {
        Self { current: AtomicPtr::new(Arc::as_ptr(&value).cast_mut()), all: Mutex::new(vec![value]) }
    }

    /// Returns the present value. It stays where it is also when it is replaced.
    #[inline]
    pub(crate) fn load(&self) -> &T {
        // Acquire pairs with the Release of `replace`: the value was complete before it was published.
        let current = self.current.load(Ordering::Acquire);
        // SAFETY: the pointer is that of an `Arc` in `all`, which loses none while `self` lives, and the result borrows `self`.
        unsafe { &*current }
    }

    /// Returns `true` if `value` has not been replaced.
    #[inline]
    pub(crate) fn is_current(&self, value: &T) -> bool {
        // Acquire pairs with the Release of `replace`, as in `load`.
        ptr::eq(self.current.load(Ordering::Acquire), value)
    }

    /// Publishes `value` in the place of the present one. For one thread at a time.
    pub(crate) fn replace(&self, value: Arc<T>) {
        let current = Arc::as_ptr(&value).cast_mut();
        self.all.lock().push(value);
        self.current.store(current, Ordering::Release); // See `load`.
    }
}

impl<T> fmt::Debug for Kept<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kept")
    }
}

/// A shared value that is loaded without a lock and replaced as a whole; a replaced one goes after a grace period.
struct Published<T> {
    /// From `Arc::into_raw`; the count that belongs to it is held here.
    current: AtomicPtr<T>,
    owned: PhantomData<Arc<T>>,
}

impl<T: Send + Sync + 'static> Published<T> {
    fn new(value: Arc<T>) -> Self {
        Self { current: AtomicPtr::new(Arc::into_raw(value).cast_mut()), owned: PhantomData }
    }

    /// Returns the present value, for as long as the pin is held.
    #[inline]
    fn load<'a>(&'a self, _pin: &'a Pin) -> &'a T {
        // Acquire pairs with the AcqRel swap of `replace`: the value was complete before it was published.
        let current = self.current.load(Ordering::Acquire);
        // SAFETY:
        // * the pointer came from `Arc::into_raw`, in `new` or `replace`, and its count is let go of only after a grace
        //   period that began when it was no longer to be loaded (invariant 1): this pin prevents its end;
        // * `drop` needs `&mut self`, which the borrow for 'a excludes.
        unsafe { &*current }
    }

    /// Publishes `value`, and drops the one before after a grace period.
    fn replace(&self, value: Arc<T>, pin: &Pin) {
        let old = self.current.swap(Arc::into_raw(value).cast_mut(), Ordering::AcqRel);
        // SAFETY: the pointer came from `Arc::into_raw` and the swap took it out of reach, so its count is ours.
        let old = unsafe { Arc::from_raw(old.cast_const()) };
        pin.defer(move || drop(old));
    }
}

impl<T> Drop for Published<T> {
    fn drop(&mut self) {
        let current = self.current.swap(ptr::null_mut(), Ordering::Relaxed); // `&mut self`: no other thread is left.
        // SAFETY: as in `replace`; nobody can load any more.
        drop(unsafe { Arc::from_raw(current.cast_const()) });
    }
}

impl<T> fmt::Debug for Published<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Published")
    }
}

// SAFETY: it is an `Arc<T>` behind an atomic; sharing it hands out `&T` and moving it may drop a `T` elsewhere.
unsafe impl<T: Send + Sync> Send for Published<T> {}
// SAFETY: as above.
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
        // Each call moves the epoch on, unless another thread of this process is pinned for the moment.
        while Arc::strong_count(&values[0]) > 1 {
            epochs::pin().defer(|| {});
            std::thread::yield_now();
        }
        assert_eq!(*published.load(&epochs::pin()), 2);
    }

    #[test]
    fn a_kept_value_stays_readable_after_it_was_replaced() {
        let kept = Kept::new(Arc::new(1));
        let first = kept.load();
        assert!(kept.is_current(first));
        kept.replace(Arc::new(2));
        assert_eq!((*first, *kept.load()), (1, 2));
        assert!(!kept.is_current(first) && kept.is_current(kept.load()));
    }
}
