//! The operations on sampled keys that the cache tells its advisor of.

/// An operation on a sampled key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// The hash of the key within its shard.
    pub(crate) hash: u64,
    pub(crate) kind: EventKind,
}

/// The kind of an operation. Charges are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventKind {
    /// A read that found an entry of this charge.
    Hit { charge: u32, ends: Ends },
    /// A read that found nothing.
    Miss,
    /// A store of an entry of this charge. One that the policy refused counts, too.
    Store { charge: u32, ends: Ends },
    /// A removal, or a write that failed.
    Removal,
    /// An eviction. The shadows evict on their own, and learn nothing from it.
    Eviction,
    /// A change of the time at which the entry ends.
    Change { ends: Ends },
}

impl EventKind {
    /// Returns `true` if it is a read.
    pub(super) fn is_read(self) -> bool {
        matches!(self, Self::Hit { .. } | Self::Miss)
    }
}

/// When an entry ends. Ticks are low halves, and 0 stands for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ends {
    /// The tick from which reads miss the entry.
    pub(crate) deadline: u32,
    /// The ticks without a read after which reads miss the entry.
    pub(crate) idle: u32,
}
