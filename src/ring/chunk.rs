//! Chunks: their states, and the pins that keep one from being reused.
//!
//! ```text
//!             open               seal               retire              grace period over,
//!   free ------------> open ------------> sealed ------------> retired    all values dropped
//!    ^ ^                                                           |             |
//!    | +-- put_to_use -- absent                                    +-------------+
//!    +------------------------------- collect_freed <--------------+
//! ```
//!
//! # Invariants
//!
//! 1. A chunk's pin word counts the values that point into it; its top bit is the ring's own pin.
//! 2. Values pin a chunk only under an epoch pin or the write lock, from a live location: never one whose own pin is gone.
//! 3. Whoever brings the word to zero, and nobody else, marks the chunk freed. Only then may its bytes be written again.
//! 4. A retired chunk owns one count of the ring's `Arc`, which whoever frees it lets go: chunks outlive the cache while
//!    they are pinned.
//!
//! # Synchronization
//!
//! * [`PinWord::unpin`] (Release) pairs with the Acquire fence of the thread that finds the word at zero: all reads of the
//!   chunk happen before it is freed.
//! * [`FreedSet::mark`] (Release) pairs with [`FreedSet::take`] (Acquire): they happen before the next write, too.

use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};

/// The number of a chunk in its ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ChunkId(pub(super) u32);

impl ChunkId {
    #[inline]
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a chunk is used for. Known to the holder of the write lock alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChunkState {
    /// Not put to use: its memory is not counted.
    Absent,
    Free,
    /// Being filled with fresh entries, or with survivors of cleaned chunks.
    Open,
    Sealed,
    /// Being emptied by the cleaner.
    Cleaning,
    /// Empty, and not yet known to be out of every reader's sight.
    Retired,
    /// One of the adjacent chunks that hold a single large entry.
    Run,
}

/// The top bit of the pin word: the ring's own pin.
const OWN: u32 = 1 << 31;
/// Set with the first value, cleared when a count of the pinned chunks finds no value left.
const MARKED: u32 = 1 << 30;
/// Values may not come near the flags.
const VALUES_MAX: u32 = MARKED / 2;

/// What became of an attempt to pin a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pinned {
    /// The chunk is counted among the pinned ones.
    Marked,
    /// It is not: the caller must have it counted and [`mark`](PinWord::mark) it, or give the pin up.
    Unmarked,
    /// So many values hold it that no pin could be had.
    Full,
}

/// Whether a pin that ended was the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unpinned {
    StillHeld,
    /// The caller must free the chunk.
    Last {
        marked: bool,
    },
}

/// The pins of one chunk, alone on their cache line.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct PinWord {
    word: AtomicU32,
    /// How many adjacent chunks are freed with this one: more than one for a large entry.
    span: AtomicU32,
}

impl PinWord {
    pub(super) fn new() -> Self {
        Self { word: AtomicU32::new(OWN), span: AtomicU32::new(1) }
    }

    pub(super) fn span(&self) -> u32 {
        self.span.load(Ordering::Relaxed) // Set before the chunk's first location was published.
    }

    /// For the holder of the write lock, while nothing in the chunk is live.
    pub(super) fn set_span(&self, chunks: u32) {
        self.span.store(chunks, Ordering::Relaxed); // As above.
    }

    /// Adds a value's pin. The caller holds a live location in the chunk.
    #[inline]
    pub(super) fn pin(&self) -> Pinned {
        // Relaxed: the location was loaded with Acquire, and the own pin cannot be dropped before this hold ends.
        let before = self.word.fetch_add(1, Ordering::Relaxed);
        debug_assert!(before & OWN != 0, "pinned without a live location");
        if before & !(OWN | MARKED) >= VALUES_MAX {
            self.word.fetch_sub(1, Ordering::Relaxed); // The own pin is there: this is not the last.
            Pinned::Full
        } else if before & MARKED != 0 {
            Pinned::Marked
        } else {
            Pinned::Unmarked
        }
    }

    /// Marks a pinned chunk as counted; `false` if another thread did so first.
    pub(super) fn mark(&self) -> bool {
        self.word.fetch_or(MARKED, Ordering::Relaxed) & MARKED == 0 // Relaxed: the mark orders nothing.
    }

    /// Adds a pin for a copy of a value that holds one; `false` if the count is at its end.
    pub(super) fn pin_again(&self) -> bool {
        let before = self.word.fetch_add(1, Ordering::Relaxed); // As for `Arc::clone`: a pin is held already.
        if before & !(OWN | MARKED) < VALUES_MAX {
            return true;
        }
        self.word.fetch_sub(1, Ordering::Relaxed);
        false
    }

    /// Ends a value's pin.
    #[inline]
    pub(super) fn unpin(&self) -> Unpinned {
        // Release pairs with the fence in `ended`, on whichever thread is last.
        Self::ended(self.word.fetch_sub(1, Ordering::Release) - 1)
    }

    /// Ends the ring's own pin, after the grace period.
    pub(super) fn drop_own(&self) -> Unpinned {
        Self::ended(self.word.fetch_sub(OWN, Ordering::Release) - OWN)
    }

    #[inline]
    fn ended(after: u32) -> Unpinned {
        if after & !MARKED != 0 {
            return Unpinned::StillHeld;
        }
        // Acquire pairs with the Release of every pin that ended before: their reads are over.
        fence(Ordering::Acquire);
        Unpinned::Last { marked: after & MARKED != 0 }
    }

    /// Makes a freed chunk's word new. For the thread that found it at zero.
    pub(super) fn renew(&self) {
        self.word.store(OWN, Ordering::Relaxed); // Nobody looks before `FreedSet::mark`, which is a Release.
    }

    pub(super) fn has_values(&self) -> bool {
        // Acquire pairs with the Release of `unpin`, for a ring that is dropped.
        self.word.load(Ordering::Acquire) & !(OWN | MARKED) != 0
    }

    /// Takes the mark off a chunk that no value holds; whether it did.
    pub(super) fn unmark(&self) -> bool {
        // Relaxed: as in `pin`. One attempt: a failure means that a value has just come or gone.
        self.word.compare_exchange(OWN | MARKED, OWN, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// The chunks that have been freed and that the ring has not yet taken back: a bit for each.
#[derive(Debug)]
pub(super) struct FreedSet(Box<[AtomicU64]>);

impl FreedSet {
    pub(super) fn new(chunks: usize) -> Self {
        Self((0..chunks.div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
    }

    pub(super) fn mark(&self, chunk: ChunkId) {
        // Release pairs with the Acquire of `take`.
        self.0[chunk.index() / 64].fetch_or(1 << (chunk.index() % 64), Ordering::Release);
    }

    /// Takes all freed chunks out of the set.
    pub(super) fn take(&self, mut each: impl FnMut(ChunkId)) {
        for (index, word) in (0..).zip(&self.0) {
            if word.load(Ordering::Relaxed) == 0 {
                continue; // A bit that comes a moment later is seen the next time.
            }
            // Acquire pairs with the Release of `mark`.
            let mut bits = word.swap(0, Ordering::Acquire);
            while bits != 0 {
                each(ChunkId(index * 64 + bits.trailing_zeros()));
                bits &= bits - 1;
            }
        }
    }
}

#[cfg(all(test, not(bytecache_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_own_pin_and_values_frees_the_chunk() {
        let word = PinWord::new();
        assert_eq!(word.pin(), Pinned::Unmarked);
        assert!(word.mark() && !word.mark());
        assert_eq!(word.pin(), Pinned::Marked);
        assert_eq!(word.unpin(), Unpinned::StillHeld);
        assert_eq!(word.drop_own(), Unpinned::StillHeld);
        assert!(word.pin_again());
        assert_eq!(word.unpin(), Unpinned::StillHeld);
        assert_eq!(word.unpin(), Unpinned::Last { marked: true });
        word.renew();
        assert_eq!(word.drop_own(), Unpinned::Last { marked: false });
    }

    #[test]
    fn a_chunk_is_unmarked_only_when_no_value_holds_it() {
        let word = PinWord::new();
        assert!(!word.unmark());
        word.pin();
        word.mark();
        assert!(!word.unmark() && word.has_values());
        word.unpin();
        assert!(word.unmark() && !word.has_values());
        assert_eq!(word.pin(), Pinned::Unmarked);
    }

    #[test]
    fn freed_chunks_are_taken_once() {
        let freed = FreedSet::new(130);
        for chunk in [0, 63, 64, 129] {
            freed.mark(ChunkId(chunk));
        }
        let mut taken = Vec::new();
        freed.take(|chunk| taken.push(chunk.0));
        assert_eq!(taken, [0, 63, 64, 129]);
        freed.take(|chunk| panic!("{chunk:?} was taken twice"));
    }
}
