//! [`QueueId`]: the number of a policy's queue, list or ghost queue.

/// One of a policy's queues or lists, of which it has up to four. An enum, so that an `Option` of
/// it takes no more space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum QueueId {
    First,
    Second,
    Third,
    Fourth,
}

impl QueueId {
    const ALL: [Self; Self::MAX as usize] = [Self::First, Self::Second, Self::Third, Self::Fourth];
    pub(crate) const MAX: u8 = 4;

    /// Returns the queue with a number below [`MAX`](Self::MAX).
    pub(crate) const fn new(number: u8) -> Self {
        Self::ALL[number as usize]
    }

    pub(crate) fn index(self) -> usize {
        self as usize
    }

    pub(crate) fn number(self) -> u8 {
        self as u8
    }

    /// Returns the first `count` queues.
    pub(crate) fn first(count: usize) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().take(count)
    }
}
