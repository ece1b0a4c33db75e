//! Chunks: their states, and the pins that keep one from being reused.
//!
//! ```text
//!             open               seal               retire              no slot names it,
//!   free ------------> open ------------> sealed ------------> retired    all values dropped
//!    ^ ^                                                           |             |
//!    | +-- put_to_use -- absent                                    +-------------+
//!    +------------------------------- collect_freed <--------------+
//! ```
//!
//! # Invariants
//!
//! 1. A chunk's pin word counts the values that point into it; its top bit is the ring's own pin.
//! 2. Values pin a chunk only while a slot names it or the write lock is held, from a live location: never one whose own
//!    pin is gone. A copy of a value pins what that value has pinned already.
//! 3. Whoever brings the word to zero, and nobody else, marks the chunk freed. Only then may its bytes be
//!    written again.
//! 4. A chunk whose own pin is gone and that values hold owns one count of the ring's `Arc`. The thread that frees the chunk
//!    drops it: chunks outlive the cache while they are pinned.
//!
//! # Synchronization
//!
//! * [`PinWord::unpin`] (Release) pairs with the Acquire fence of the thread that finds the word at zero: all
//!   reads of the chunk happen before it is freed.
//! * [`FreedSet::mark`] (Release) pairs with [`FreedSet::take`] (Acquire): they happen before the next write,
//!   too.

use core::ptr::NonNull;

use super::Stream;
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
    /// One of the adjacent chunks that are used as one, and not the first of them.
    Run,
}

/// What the holder of the write lock knows of a chunk: side by side, as an append or a death looks at all of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk {
    /// The charges of its live entries.
    pub(super) live: u32,
    /// How far it has been written.
    pub(super) fill: u32,
    pub(super) state: ChunkState,
    /// What it was last opened for.
    pub(super) stream: Stream,
}

impl Chunk {
    /// Bytes of entries that are dead.
    pub(super) fn dead(&self) -> usize {
        (self.fill - self.live) as usize
    }
}

/// Adjacent chunks that are to make room for a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(super) first: ChunkId,
    pub(super) span: u32,
    /// Bytes that would have to be moved.
    pub(super) live: usize,
}

impl Window {
    /// How many chunks are in it.
    pub(crate) fn chunks(self) -> usize {
        self.span as usize
    }

    /// Bytes that would have to be moved to empty it.
    pub(crate) fn live(self) -> usize {
        self.live
    }

    pub(super) fn contains(self, chunk: ChunkId) -> bool {
        (self.first.0..self.first.0 + self.span).contains(&chunk.0)
    }
}

/// The top bit of the pin word: the ring's own pin.
const OWN: u64 = 1 << 63;
/// The mark: how many chunks were counted as pinned with the first value; 0 again when a recount finds no value left.
/// In the word itself, so that what is taken off the count is what was added, whatever the chunk is used for by then.
const MARK: u64 = 0x7fff_ffff << MARK_SHIFT;
const MARK_SHIFT: u32 = 32;
/// Values may not come near the mark.
const VALUES_MAX: u64 = 1 << 31;

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
        /// So many chunks are counted as pinned.
        marked: u32,
    },
}

/// The pins of one chunk, alone on their cache line.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct PinWord {
    word: AtomicU64,
    /// How many adjacent chunks are used and freed with this one, which is the first of its run.
    span: AtomicU32,
    /// How many chunks before this one its run begins.
    back: AtomicU32,
}

impl PinWord {
    pub(super) fn new() -> Self {
        Self { word: AtomicU64::new(OWN), span: AtomicU32::new(1), back: AtomicU32::new(0) }
    }

    pub(super) fn span(&self) -> u32 {
        self.span.load(Ordering::Relaxed) // Set before the chunk's first location was published.
    }

    /// For the holder of the write lock, while nothing in the chunk is live.
    pub(super) fn set_span(&self, chunks: u32) {
        self.span.store(chunks, Ordering::Relaxed); // As above.
    }

    #[inline]
    pub(super) fn back(&self) -> u32 {
        self.back.load(Ordering::Relaxed) // As `span`.
    }

    /// For the holder of the write lock, while nothing in the chunk is live.
    pub(super) fn set_back(&self, chunks: u32) {
        self.back.store(chunks, Ordering::Relaxed); // As above.
    }

    /// Adds a value's pin. The caller holds a live location in the chunk.
    #[inline]
    pub(super) fn pin(&self) -> Pinned {
        // Relaxed: the location was loaded with Acquire, and the own pin cannot be dropped before this hold ends.
        let before = self.word.fetch_add(1, Ordering::Relaxed);
        debug_assert!(before & OWN != 0, "pinned without a live location");
        if before & !(OWN | MARK) >= VALUES_MAX {
            self.word.fetch_sub(1, Ordering::Relaxed); // The own pin is there: this is not the last.
            Pinned::Full
        } else if before & MARK != 0 {
            Pinned::Marked
        } else {
            Pinned::Unmarked
        }
    }

    /// Marks a pinned chunk as counted, for `chunks` chunks; `false` if another thread did so first.
    pub(super) fn mark(&self, chunks: u32) -> bool {
        // Relaxed: the mark orders nothing. While the chunk is pinned, all threads mark it with the same number.
        self.word.fetch_or(u64::from(chunks) << MARK_SHIFT, Ordering::Relaxed) & MARK == 0
    }

    /// Adds a pin for a copy of a value that holds one; `false` if the count is at its end.
    pub(super) fn pin_again(&self) -> bool {
        let before = self.word.fetch_add(1, Ordering::Relaxed); // As for `Arc::clone`: a pin is held already.
        if before & !(OWN | MARK) < VALUES_MAX {
            return true;
        }
        self.word.fetch_sub(1, Ordering::Relaxed);
        false
    }

    /// Takes the mark off, if the caller's pin is the only value's. Returns how many chunks were counted with it, or 0.
    #[cold]
    pub(super) fn unmark_last(&self) -> u32 {
        // Relaxed, and one attempt: as in `unmark`.
        let seen = self.word.load(Ordering::Relaxed);
        let is_last = seen & !(OWN | MARK) == 1 && seen & MARK != 0;
        let rest = seen & !MARK;
        let unmarked = is_last && self.word.compare_exchange(seen, rest, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if unmarked { marked(seen) } else { 0 }
    }

    /// Ends a value's pin.
    ///
    /// # Safety
    ///
    /// `this` is live, and the caller gives up one pin that it holds. When the pin is gone another thread may free the memory.
    #[inline]
    pub(super) unsafe fn unpin(this: NonNull<Self>) -> Unpinned {
        // SAFETY: a field of a live value.
        let word = unsafe { &raw const (*this.as_ptr()).word };
        // SAFETY: live until the pin is gone. The borrow is of the atomic alone, as that of `Arc`'s count is: its memory may be
        // freed by another thread as soon as this one has subtracted.
        let before = unsafe { &*word }.fetch_sub(1, Ordering::Release); // Release pairs with the fence in `ended`.
        Self::ended(before - 1)
    }

    /// Ends the ring's own pin, when no slot names the chunk any more.
    pub(super) fn drop_own(&self) -> Unpinned {
        Self::ended(self.word.fetch_sub(OWN, Ordering::Release) - OWN)
    }

    #[inline]
    fn ended(after: u64) -> Unpinned {
        if after & !MARK != 0 {
            return Unpinned::StillHeld;
        }
        // Acquire pairs with the Release of every pin that ended before: their reads are over.
        fence(Ordering::Acquire);
        Unpinned::Last { marked: marked(after) }
    }

    /// Makes a freed chunk's word new. For the thread that found it at zero.
    pub(super) fn renew(&self) {
        self.word.store(OWN, Ordering::Relaxed); // Nobody looks before `FreedSet::mark`, which is a Release.
    }

    pub(super) fn has_values(&self) -> bool {
        // Acquire pairs with the Release of `unpin`, for a ring that is dropped.
        self.word.load(Ordering::Acquire) & !(OWN | MARK) != 0
    }

    /// Takes the mark off a chunk that no value holds; how many chunks were counted with it, or 0.
    pub(super) fn unmark(&self) -> u32 {
        // Relaxed: as in `pin`. One attempt: a failure means that a value has just come or gone.
        let seen = self.word.load(Ordering::Relaxed);
        let is_idle = seen & !MARK == OWN;
        let unmarked = is_idle && self.word.compare_exchange(seen, OWN, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if unmarked { marked(seen) } else { 0 }
    }
}

/// How many chunks are counted with a pin word.
fn marked(word: u64) -> u32 {
    #[allow(clippy::cast_possible_truncation, reason = "the mark has 31 bits")]
    {
        ((word & MARK) >> MARK_SHIFT) as u32
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

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use super::*;

    fn unpin(word: &PinWord) -> Unpinned {
        // SAFETY: live, and with one pin that the test has taken.
        unsafe { PinWord::unpin(NonNull::from(word)) }
    }

    #[test]
    fn the_last_of_own_pin_and_values_frees_the_chunk() {
        let word = PinWord::new();
        assert_eq!(word.pin(), Pinned::Unmarked);
        assert!(word.mark(3) && !word.mark(3));
        assert_eq!(word.pin(), Pinned::Marked);
        assert_eq!(unpin(&word), Unpinned::StillHeld);
        assert_eq!(word.drop_own(), Unpinned::StillHeld);
        assert!(word.pin_again());
        assert_eq!(unpin(&word), Unpinned::StillHeld);
        assert_eq!(unpin(&word), Unpinned::Last { marked: 3 });
        word.renew();
        assert_eq!(word.drop_own(), Unpinned::Last { marked: 0 });
    }

    #[test]
    fn a_chunk_is_unmarked_only_when_no_value_holds_it() {
        let word = PinWord::new();
        assert_eq!(word.unmark(), 0);
        word.pin();
        word.mark(2);
        assert!(word.unmark() == 0 && word.has_values());
        unpin(&word);
        assert!(word.unmark() == 2 && !word.has_values());
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
