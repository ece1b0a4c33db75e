//! Grace periods for what is reached through a pointer that is replaced: the list of threads' records.
//!
//! The only file that names `crossbeam_epoch`. The crate has a collector of its own, so that no other crate's pin delays
//! it. Only writers pin, while they look at the list: no closure of a caller runs under a pin.

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

    /// While it lives, nothing that this thread can reach through a [`Published`](super::super::Published) is dropped.
    pub(in crate::reclaim) struct Pin(Guard);

    /// Delays the end of what is replaced until the pin is dropped. Never waits.
    pub(in crate::reclaim) fn pin() -> Pin {
        // A cache may be used in the destructor of another local, when this one is gone.
        Pin(PARTICIPANT.try_with(LocalHandle::pin).unwrap_or_else(|_| COLLECTOR.register().pin()))
    }

    impl Pin {
        /// Runs `call` once every pin that is held by now has ended, on any thread.
        pub(in crate::reclaim) fn defer(&self, call: impl FnOnce() + Send + 'static) {
            self.0.defer(call);
            // Without a flush a call could lie in this thread's bag until 63 more have joined it.
            self.0.flush();
        }
    }
}

/// A stand-in that loom can explore: nothing that was replaced is dropped before the model ends.
///
/// The epochs order nothing that a model relies on. A scan sees a record, or the record's owner sees the scanner's change, by
/// the fences of both.
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
