//! Grace periods for values behind a pointer that is replaced: the list of threads' records.
//!
//! This is the only file that names `crossbeam_epoch`. The crate has a collector of its own, so
//! that pins of other crates do not delay it. A thread pins only while it scans or replaces the
//! list of records. No closure of a caller runs under a pin.
//!
//! # Synchronization
//!
//! A call that is deferred under a pin runs only after every pin that was held at that time has
//! ended. So a thread that loads a pointer under a pin may use its target until the pin ends.
//! Everything else about the order of accesses is in `mod.rs` and `slots.rs`.

#[cfg(not(bytecache_loom))]
pub(super) use real::{Pin, pin};

#[cfg(bytecache_loom)]
pub(super) use model::{Pin, pin};

#[cfg(not(bytecache_loom))]
mod real {
    use std::sync::LazyLock;

    use crossbeam_epoch::{Collector, Guard, LocalHandle};

    static COLLECTOR: LazyLock<Collector> = LazyLock::new(Collector::new);

    thread_local! {
        static PARTICIPANT: LocalHandle = COLLECTOR.register();
    }

    /// While it lives, no value is dropped that this thread has reached through a
    /// [`Published`](super::super::Published).
    pub(in crate::reclaim) struct Pin(Guard);

    /// Creates a pin. It delays the drop of replaced values until it is dropped. Never waits.
    pub(in crate::reclaim) fn pin() -> Pin {
        // A cache may be used in the destructor of another local, after this one was destroyed.
        Pin(PARTICIPANT.try_with(LocalHandle::pin).unwrap_or_else(|_| COLLECTOR.register().pin()))
    }

    impl Pin {
        /// Runs `call`, on any thread, after all pins that are held at this time have ended.
        pub(in crate::reclaim) fn defer(&self, call: impl FnOnce() + Send + 'static) {
            self.0.defer(call);
            // Without a flush, a call could stay in this thread's bag until 63 more have joined it.
            self.0.flush();
        }
    }
}

/// A stand-in that loom can explore. No replaced value is dropped before the model ends.
///
/// No model relies on an order that the epochs provide. By the fences of both sides, either a scan
/// sees a record, or the record's owner sees the scanner's change.
#[cfg(bytecache_loom)]
mod model {
    pub(in crate::reclaim) struct Pin;

    pub(in crate::reclaim) fn pin() -> Pin {
        Pin
    }

    impl Pin {
        pub(in crate::reclaim) fn defer(&self, call: impl FnOnce() + Send + 'static) {
            std::mem::forget(call);
        }
    }
}
