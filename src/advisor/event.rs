//! What the cache tells the advisor of a sampled key.

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
    /// All entries were removed.
    Clear,
}

/// When an entry ends. Ticks are low halves, and 0 stands for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ends {
    /// The tick from which reads miss the entry.
    pub(crate) deadline: u32,
    /// The ticks without a read after which reads miss the entry.
    pub(crate) idle: u32,
}
