//! Epoch-based reclamation: when may bytes that a reader could still see be used again?
//!
//! The only file that names `crossbeam_epoch`. The crate has a collector of its own, so that no other crate's
//! pin can hold up a cache's memory. A reader [`pin`]s; what a writer has unlinked goes through
//! [`Pin::defer`] and is let go once every pin that was held at that time has ended.
//!
//! Two proofs are handed out from here. [`Hold`] says that its owner keeps memory from being reused: by an
//! epoch pin, or by the shard's write lock ([`WriteToken`]). [`Live`] is a location together with the hold
//! under which it was read.
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
//! `crossbeam_epoch` gives: an unlink before `defer` happens before the deferred call, and so does everything
//! that a pin which ended before it has read. [`Published::load`] (Acquire) pairs with [`Published::replace`]
//! (AcqRel).
//!
//! # Not here
//!
//! Who holds a chunk beyond a call: the pins of `ring/chunk.rs`.

use core::fmt;
use core::marker::PhantomData;
use core::ptr;
use std::sync::Arc;

use crate::sync::{AtomicPtr, Ordering};
use crate::units::Location;

#[cfg(not(bytecache_loom))]
pub(crate) use epochs::{Pin, collect, pin, thread_is_pinned};
#[cfg(bytecache_loom)]
pub(crate) use model::{Pin, collect, pin, thread_is_pinned};

#[cfg(not(bytecache_loom))]
mod epochs {
    use std::sync::LazyLock;

    use crossbeam_epoch::{Collector, Guard, LocalHandle};
    use parking_lot::Mutex;

    static COLLECTOR: LazyLock<Collector> = LazyLock::new(Collector::new);

    /// The stripes that ended threads have left, and the lowest that was never used.
    static STRIPES: Mutex<(Vec<u32>, u32)> = Mutex::new((Vec::new(), 0));

    thread_local! {
        static PARTICIPANT: Participant = Participant::register();
    }

    /// A thread's place among the readers.
    struct Participant {
        handle: LocalHandle,
        stripe: u32,
    }

    impl Participant {
        fn register() -> Self {
            let mut stripes = STRIPES.lock();
            let stripe = stripes.0.pop().unwrap_or_else(|| {
                stripes.1 += 1;
                stripes.1 - 1
            });
            Self { handle: COLLECTOR.register(), stripe }
        }
    }

    impl Drop for Participant {
        fn drop(&mut self) {
            // The lock hands what this thread wrote to its stripes to the next owner.
            STRIPES.lock().0.push(self.stripe);
        }
    }

    /// While it lives, nothing that this thread can reach through a shard is reused.
    pub(crate) struct Pin {
        guard: Guard,
        stripe: Option<u32>,
    }

    /// Holds up reclamation until the pin is dropped. Never waits.
    #[inline]
    pub(crate) fn pin() -> Pin {
        PARTICIPANT
            .try_with(|participant| Pin { guard: participant.handle.pin(), stripe: Some(participant.stripe) })
            .unwrap_or_else(|_| pin_late())
    }

    /// A pin for a thread whose locals are gone already: a cache may be read in the destructor of another local.
    #[cold]
    fn pin_late() -> Pin {
        Pin { guard: COLLECTOR.register().pin(), stripe: None }
    }

    /// Whether this thread holds a pin, so that waiting for a grace period would be in vain.
    pub(crate) fn thread_is_pinned() -> bool {
        PARTICIPANT.try_with(|participant| participant.handle.is_pinned()).unwrap_or(true)
    }

    /// Runs deferred calls whose time has come, and moves the epoch on by one if no reader lags behind. Never waits.
    ///
    /// A call becomes due two epochs after it was deferred, so it takes at least three of these.
    pub(crate) fn collect() {
        pin().guard.flush();
    }

    impl Pin {
        /// A number that no other living thread has, or `None` on a thread that is about to end.
        #[inline]
        pub(crate) fn stripe(&self) -> Option<u32> {
            self.stripe
        }

        /// Runs `call` once every pin that is held by now has ended, on any thread.
        pub(crate) fn defer(&self, call: impl FnOnce() + Send + 'static) {
            self.guard.defer(call);
            // Without a flush a call could lie in this thread's bag until 63 more have joined it.
            self.guard.flush();
        }
    }
}

/// The contract of the epochs, in a form that loom can explore.
///
/// A deferred call waits for the pins that are held at that time, no others, and runs when a thread that
/// collects has seen the end of each. What is ordered is what an epoch scheme orders, and no more: a pin sees
/// what was unlinked before the calls that were deferred before it; a collecting thread, what the ended pins
/// have read.
#[cfg(bytecache_loom)]
mod model {
    use std::cell::Cell;

    use loom::sync::atomic::{AtomicUsize, Ordering};

    type Call = Box<dyn FnOnce() + Send>;

    /// loom sees the two counters alone. The lists change in one step with a counter, so it finds all their orders.
    struct Epochs {
        /// Pins that began, and calls that were deferred.
        begun: AtomicUsize,
        /// Pins that ended, and collections.
        ended: AtomicUsize,
        lists: std::sync::Mutex<Lists>,
    }

    #[derive(Default)]
    struct Lists {
        held: Vec<usize>,
        deferred: Vec<Deferred>,
    }

    struct Deferred {
        waits_for: Vec<usize>,
        call: Call,
    }

    loom::lazy_static! {
        static ref EPOCHS: Epochs = Epochs {
            begun: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            lists: std::sync::Mutex::default(),
        };
    }

    loom::thread_local! {
        static DEPTH: Cell<usize> = Cell::new(0);
    }

    fn with_lists<R>(work: impl FnOnce(&mut Lists) -> R) -> R {
        work(&mut EPOCHS.lists.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    pub(crate) struct Pin(usize);

    pub(crate) fn pin() -> Pin {
        DEPTH.with(|depth| depth.set(depth.get() + 1));
        // Acquire pairs with the Release of `defer`.
        let number = EPOCHS.begun.fetch_add(1, Ordering::Acquire);
        with_lists(|lists| lists.held.push(number));
        Pin(number)
    }

    impl Drop for Pin {
        fn drop(&mut self) {
            // Release pairs with the Acquire of `collect`.
            EPOCHS.ended.fetch_add(1, Ordering::Release);
            with_lists(|lists| lists.held.retain(|&held| held != self.0));
            DEPTH.with(|depth| depth.set(depth.get() - 1));
        }
    }

    pub(crate) fn thread_is_pinned() -> bool {
        DEPTH.with(|depth| depth.get() > 0)
    }

    pub(crate) fn collect() {
        EPOCHS.ended.fetch_add(1, Ordering::Acquire);
        let due: Vec<Deferred> = with_lists(|Lists { held, deferred }| {
            let (waiting, due) = std::mem::take(deferred)
                .into_iter()
                .partition(|deferred| deferred.waits_for.iter().any(|pin| held.contains(pin)));
            *deferred = waiting;
            due
        });
        due.into_iter().for_each(|deferred| (deferred.call)());
    }

    impl Pin {
        pub(crate) fn stripe(&self) -> Option<u32> {
            None
        }

        pub(crate) fn defer(&self, call: impl FnOnce() + Send + 'static) {
            EPOCHS.begun.fetch_add(1, Ordering::Release);
            with_lists(|Lists { held, deferred }| {
                deferred.push(Deferred { waits_for: held.clone(), call: Box::new(call) });
            });
        }
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin")
    }
}

/// Proof of a shard's write lock: it lies in the locked state, and nowhere else.
#[derive(Debug)]
pub(crate) struct WriteToken(());

impl WriteToken {
    /// To be called once for each shard, for the state that its lock guards.
    pub(crate) fn new() -> Self {
        Self(())
    }
}

/// Proof that for `'a` no bytes of the shard at hand are reused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hold<'a>(PhantomData<&'a ()>);

impl<'a> From<&'a Pin> for Hold<'a> {
    #[inline]
    fn from(_: &'a Pin) -> Self {
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
    /// * `location` was read from an index lane with Acquire while `hold` was held; or `hold` is the shard's
    ///   lock, and a lane points to `location`;
    /// * the ring had published it: all its bytes were written before.
    #[inline]
    pub(crate) unsafe fn new(location: Location, hold: Hold<'a>) -> Self {
        Self { location, _hold: hold }
    }

    #[inline]
    pub(crate) fn location(self) -> Location {
        self.location
    }
}

/// A shared value that readers load without a lock and a writer replaces.
pub(crate) struct Published<T> {
    /// From `Arc::into_raw`; the count that belongs to it is held here.
    current: AtomicPtr<T>,
    owned: PhantomData<Arc<T>>,
}

impl<T: Send + Sync + 'static> Published<T> {
    pub(crate) fn new(value: Arc<T>) -> Self {
        Self { current: AtomicPtr::new(Arc::into_raw(value).cast_mut()), owned: PhantomData }
    }

    /// The present value, for as long as the pin is held.
    #[inline]
    pub(crate) fn load<'a>(&'a self, _pin: &'a Pin) -> &'a T {
        // Acquire pairs with the AcqRel swap of `replace`: the value was complete before it was published.
        let current = self.current.load(Ordering::Acquire);
        // SAFETY:
        // * the pointer came from `Arc::into_raw`, in `new` or `replace`, and its count is let go of only after a grace
        //   period that began when it was no longer to be loaded (invariant 1): this pin prevents its end;
        // * `drop` needs `&mut self`, which the borrow for 'a excludes.
        unsafe { &*current }
    }

    /// Publishes `value` and lets the one before go after a grace period.
    pub(crate) fn replace(&self, value: Arc<T>, pin: &Pin) {
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
    use std::sync::atomic::{AtomicBool, Ordering as StdOrdering};

    struct Flag(Arc<AtomicBool>);
    impl Drop for Flag {
        fn drop(&mut self) {
            self.0.store(true, StdOrdering::SeqCst);
        }
    }

    #[test]
    fn a_replaced_value_outlives_the_pins_that_could_see_it() {
        let dropped = Arc::new(AtomicBool::new(false));
        let published = Published::new(Arc::new(Flag(dropped.clone())));
        let reader = pin();
        let seen = published.load(&reader);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                published.replace(Arc::new(Flag(Arc::default())), &pin());
                (0..10).for_each(|_| collect());
            });
        });
        assert!(!seen.0.load(StdOrdering::SeqCst));
        drop(reader);
        // Other tests of this process pin as well, each for a moment.
        while !dropped.load(StdOrdering::SeqCst) {
            collect();
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_thread_knows_whether_it_is_pinned() {
        assert!(!thread_is_pinned());
        let held = pin();
        assert!(thread_is_pinned());
        drop(held);
        assert!(!thread_is_pinned());
    }
}
