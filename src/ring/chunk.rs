//! Chunks: their states, and the pins that keep a chunk from being reused.
//!
//! ```text
//!   absent -- put_to_use --> free -- open --> open -- seal --> sealed -- retire --> retired
//!      ^                      |  ^                              |                      |   ^
//!      +----- give_back ------+  |                              +-- begin_cleaning     |   |
//!                                |                                    v                |   |
//!                                |                                 cleaning -- retire -+---+
//!                                |                                                     |
//!                                +--- collect_freed: no slot names it, no value pins it
//! ```
//!
//! # Invariants
//!
//! 1. A chunk's pin word counts the values that point into the chunk. Its top bit is the ring's own
//!    pin.
//! 2. A value pins a chunk from a live location only, while a slot names the chunk or the write
//!    lock is held. So the ring's own pin is still there. A copy of a value pins the chunk that
//!    this value has pinned already.
//! 3. The thread that ends the last pin, and no other thread, marks the chunk freed. Only then may
//!    its bytes be written again.
//! 4. A chunk that values hold without the ring's own pin owns one count of the ring's `Arc`. The
//!    thread that frees the chunk drops this count. So pinned chunks outlive the cache.
//!
//! # Synchronization
//!
//! * [`PinWord::unpin`] and [`PinWord::drop_own`] (Release) pair with the Acquire fence of the
//!   thread that ends the last pin. So all reads of the chunk happen before it is freed.
//! * [`FreedSet::mark`] (Release) pairs with [`FreedSet::take`] (Acquire). So these reads also
//!   happen before the next write to the chunk.

use core::ops::Range;
use core::ptr::NonNull;

use super::Stream;
use crate::growable::Zero;
use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};
use crate::units::to_u32;

/// The number of a chunk in its ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ChunkId(pub(super) u32);

impl ChunkId {
    #[inline]
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// The use of a chunk. Only the holder of the write lock knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum ChunkState {
    /// Not in use. Its memory is not counted.
    Absent,
    Free,
    /// Being filled with fresh entries, or with survivors of cleaned chunks.
    Open,
    Sealed,
    /// Being emptied by the cleaner.
    Cleaning,
    /// Empty. Readers may still see it.
    Retired,
    /// A chunk of a run of adjacent chunks, but not the first one.
    Run,
}

/// The state of a chunk that the holder of the write lock keeps. An append, or the death of an
/// entry, uses all of these fields, so they lie side by side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk {
    /// The sum of the charges of its live entries.
    pub(super) live: u32,
    /// Bytes that have been written, from its start on.
    pub(super) fill: u32,
    /// The number of chunks in the run that starts here, as in its pin word. Searches through all
    /// chunks would otherwise read a cache line for each.
    pub(super) span: u32,
    pub(super) state: ChunkState,
    /// The stream that it was last opened for.
    pub(super) stream: Stream,
}

const _: () = assert!(ChunkState::Absent as u8 == 0 && Stream::Fresh as u8 == 0);

// SAFETY: its fields are integers, and enums of one byte with a variant for 0. None needs a drop.
unsafe impl Zero for Chunk {}

impl Chunk {
    pub(super) const ABSENT: Self =
        Self { live: 0, fill: 0, span: 1, state: ChunkState::Absent, stream: Stream::Fresh };

    /// Returns the bytes of dead entries.
    pub(super) fn dead(&self) -> usize {
        (self.fill - self.live) as usize
    }
}

/// Adjacent chunks that are emptied to make room for a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(super) first: ChunkId,
    pub(super) span: u32,
    /// Bytes to be moved to empty it.
    pub(super) live: usize,
}

impl Window {
    /// Returns the number of its chunks.
    pub(crate) fn chunks(self) -> usize {
        self.span as usize
    }

    /// Returns the bytes that have to be moved to empty it.
    pub(crate) fn live(self) -> usize {
        self.live
    }

    /// Returns the numbers of its chunks.
    pub(super) fn range(self) -> Range<usize> {
        self.first.index()..self.first.index() + self.span as usize
    }

    pub(super) fn contains(self, chunk: ChunkId) -> bool {
        self.range().contains(&chunk.index())
    }
}

/// The top bit of the pin word: the ring's own pin.
const OWN: u64 = 1 << 63;
/// The mark: the number of chunks that were counted as pinned with the first value. It is 0 again
/// once a thread has subtracted this number, or has taken it over for another chunk. A thread does
/// so only if no other value holds this chunk. The number is part of the word, so the same number
/// is subtracted as was added, even if the chunk has been put to another use.
const MARK: u64 = 0x7fff_ffff << MARK_SHIFT;
const MARK_SHIFT: u32 = 32;
/// The largest number of values. More would reach into the bits of the mark.
const VALUES_MAX: u64 = 1 << 31;

/// The result of an attempt to pin a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pinned {
    /// The chunk is counted as pinned.
    Marked,
    /// The chunk is not counted yet. The caller must have it counted and [`mark`](PinWord::mark)
    /// it, or give the pin up.
    Unmarked,
    /// The number of values is at its limit, so there is no pin.
    Full,
}

/// The state of a chunk after a pin has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unpinned {
    StillHeld,
    /// The caller must free the chunk.
    Last {
        /// The number of chunks that are counted as pinned.
        marked: u32,
    },
}

/// The pins of one chunk, alone on their cache line.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct PinWord {
    word: AtomicU64,
    /// The number of adjacent chunks in the run that starts with this one. They are used and freed
    /// together.
    span: AtomicU32,
    /// The number of chunks between the first chunk of its run and this one.
    back: AtomicU32,
}

impl PinWord {
    #[cfg(any(test, bytecache_loom))]
    pub(super) fn new() -> Self {
        Self { word: AtomicU64::new(OWN), span: AtomicU32::new(1), back: AtomicU32::new(0) }
    }

    /// Makes this the word of a chunk that is about to be used for the first time. For the holder
    /// of the write lock.
    pub(super) fn init(&self) {
        self.renew();
        self.set_span(1);
        self.set_back(0);
    }

    pub(super) fn span(&self) -> u32 {
        // Relaxed: set before the chunk's first location was published.
        self.span.load(Ordering::Relaxed)
    }

    /// Sets the number of chunks in the run. For the holder of the write lock, while nothing in the
    /// chunk is live.
    pub(super) fn set_span(&self, chunks: u32) {
        self.span.store(chunks, Ordering::Relaxed); // Relaxed: like in `span`.
    }

    #[inline]
    pub(super) fn back(&self) -> u32 {
        self.back.load(Ordering::Relaxed) // Relaxed: like in `span`.
    }

    /// Sets the distance to the first chunk of the run. For the holder of the write lock, while
    /// nothing in the chunk is live.
    pub(super) fn set_back(&self, chunks: u32) {
        self.back.store(chunks, Ordering::Relaxed); // Relaxed: like in `span`.
    }

    /// Adds the pin of a value. The caller has a live location in the chunk.
    #[inline]
    pub(super) fn pin(&self) -> Pinned {
        // Relaxed: the location was loaded with Acquire, and the ring's own pin cannot be dropped
        // before the caller's hold ends.
        let before = self.word.fetch_add(1, Ordering::Relaxed);
        debug_assert!(before & OWN != 0, "pinned without a live location");
        if before & !(OWN | MARK) >= VALUES_MAX {
            // Not the last pin: the ring's own is still there.
            self.word.fetch_sub(1, Ordering::Relaxed);
            Pinned::Full
        } else if before & MARK != 0 {
            Pinned::Marked
        } else {
            Pinned::Unmarked
        }
    }

    /// Marks a pinned chunk as counted, with `chunks` chunks. Returns `false` if another thread has
    /// already marked it.
    #[inline]
    pub(super) fn mark(&self, chunks: u32) -> bool {
        // Relaxed: the mark orders nothing. While the chunk is pinned, all threads mark it with the
        // same number.
        self.word.fetch_or(u64::from(chunks) << MARK_SHIFT, Ordering::Relaxed) & MARK == 0
    }

    /// Adds a pin for a copy of a value. Returns `false` if the number of values is at its limit.
    pub(super) fn pin_again(&self) -> bool {
        // Relaxed: a pin is held already, as in `Arc::clone`.
        let before = self.word.fetch_add(1, Ordering::Relaxed);
        if before & !(OWN | MARK) < VALUES_MAX {
            return true;
        }
        self.word.fetch_sub(1, Ordering::Relaxed);
        false
    }

    /// Removes the mark if the caller's pin is the only one of a value. Returns the number of
    /// chunks that were counted with it, or 0.
    #[cold]
    pub(super) fn unmark_last(&self) -> u32 {
        // Relaxed, and a single attempt, for the reasons in `unmark`.
        let seen = self.word.load(Ordering::Relaxed);
        let is_last = seen & !(OWN | MARK) == 1 && seen & MARK != 0;
        let rest = seen & !MARK;
        let unmarked = is_last && self.word.compare_exchange(seen, rest, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if unmarked { marked(seen) } else { 0 }
    }

    /// Ends the pin of a value.
    ///
    /// # Safety
    ///
    /// * `this` is live.
    /// * The caller has a pin, and gives it up with this call. Once the pin is gone, another thread
    ///   may free the memory.
    #[inline]
    pub(super) unsafe fn unpin(this: NonNull<Self>) -> Unpinned {
        // SAFETY: `this` is live, so the address of its field is in bounds.
        let word = unsafe { &raw const (*this.as_ptr()).word };
        // Release: pairs with the fence in `ended`.
        // SAFETY:
        // * the word is live until the pin is gone;
        // * the borrow covers the atomic only. Another thread may free its memory as soon as this
        //   thread has subtracted, as with the count of an `Arc`.
        let before = unsafe { &*word }.fetch_sub(1, Ordering::Release);
        Self::ended(before - 1)
    }

    /// Ends the ring's own pin. No slot names the chunk any more.
    pub(super) fn drop_own(&self) -> Unpinned {
        // Release: pairs with the fence in `ended`.
        Self::ended(self.word.fetch_sub(OWN, Ordering::Release) - OWN)
    }

    #[inline]
    fn ended(after: u64) -> Unpinned {
        if after & !MARK != 0 {
            return Unpinned::StillHeld;
        }
        // Acquire: pairs with the Release of every pin that has ended. Their reads are over.
        fence(Ordering::Acquire);
        Unpinned::Last { marked: marked(after) }
    }

    /// Resets the word of a freed chunk. For the thread that ended the last pin.
    pub(super) fn renew(&self) {
        // Relaxed: no thread pins the chunk before `FreedSet::mark` (Release). A thread that
        // looks for marks to remove may load the word earlier, and finds none.
        self.word.store(OWN, Ordering::Relaxed);
    }

    pub(super) fn has_values(&self) -> bool {
        // Acquire: pairs with the Release of `unpin`, when a ring is dropped.
        self.word.load(Ordering::Acquire) & !(OWN | MARK) != 0
    }

    #[inline]
    pub(super) fn is_marked(&self) -> bool {
        self.word.load(Ordering::Relaxed) & MARK != 0 // Relaxed: like in `unmark`.
    }

    /// Removes the mark of a chunk that no value holds. Returns the number of chunks that were
    /// counted with it, or 0.
    pub(super) fn unmark(&self) -> u32 {
        // Relaxed: the mark orders nothing. A single attempt is enough: if it fails, another thread
        // has added or ended a pin.
        let seen = self.word.load(Ordering::Relaxed);
        if seen == OWN || seen & !MARK != OWN {
            return 0; // It has no mark, a value holds the chunk, or the chunk is being freed.
        }
        let unmarked = self.word.compare_exchange(seen, OWN, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if unmarked { marked(seen) } else { 0 }
    }
}

/// Returns the number of chunks that are counted with a pin word.
fn marked(word: u64) -> u32 {
    #[allow(clippy::cast_possible_truncation, reason = "the mark has 31 bits")]
    {
        ((word & MARK) >> MARK_SHIFT) as u32
    }
}

/// The chunks that have been freed and that the ring has not taken back: a bit for each.
#[derive(Debug)]
pub(super) struct FreedSet(Box<[AtomicU64]>);

impl FreedSet {
    pub(super) fn new(chunks: usize) -> Self {
        Self((0..chunks.div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
    }

    pub(super) fn mark(&self, chunk: ChunkId) {
        // Release: pairs with the Acquire of `take`.
        self.0[chunk.index() / 64].fetch_or(1 << (chunk.index() % 64), Ordering::Release);
    }

    /// Returns the number of words.
    pub(super) fn words(&self) -> usize {
        self.0.len()
    }

    /// Removes the freed chunks of a word from the set, and returns them.
    #[inline]
    pub(super) fn take(&self, word: usize) -> ChunkSet {
        let bits = &self.0[word];
        // Relaxed: a bit that this load misses is taken the next time.
        let is_empty = bits.load(Ordering::Relaxed) == 0;
        // Acquire: pairs with the Release of `mark`.
        let bits = if is_empty { 0 } else { bits.swap(0, Ordering::Acquire) };
        ChunkSet::of_word(word, bits)
    }
}

/// A set of adjacent chunks.
pub(super) struct ChunkSet {
    first: u32,
    /// A bit for each from the first one on.
    bits: u64,
}

impl ChunkSet {
    /// Returns the chunks of a word of a set that has a bit for each chunk.
    #[inline]
    pub(super) fn of_word(word: usize, bits: u64) -> Self {
        Self { first: to_u32(word * 64), bits }
    }
}

impl Iterator for ChunkSet {
    type Item = ChunkId;

    #[inline]
    fn next(&mut self) -> Option<ChunkId> {
        if self.bits == 0 {
            return None;
        }
        let chunk = self.first + self.bits.trailing_zeros();
        self.bits &= self.bits - 1;
        Some(ChunkId(chunk))
    }
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use super::*;

    fn unpin(word: &PinWord) -> Unpinned {
        // SAFETY: the word is live, and the test gives up a pin that it has taken.
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
        let take = || (0..freed.words()).flat_map(|word| freed.take(word)).map(|chunk| chunk.0).collect::<Vec<_>>();
        assert_eq!(take(), [0, 63, 64, 129]);
        assert_eq!(take(), [0; 0]);
    }
}
