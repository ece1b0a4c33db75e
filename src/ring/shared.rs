//! The part of a ring that readers and values share: the arena, and the pins of its chunks.
//!
//! A value pins the chunk of its entry. Values may pin at most a quarter of the chunks, so a *mark*
//! in each pin word says which chunks are counted. Marks are not always removed with the last
//! value: a reader that finds the limit reached takes over the mark that was set last, or
//! *recounts*, and removes the marks of chunks that no value holds.
//!
//! # Synchronization
//!
//! The protocol of the pins is in `chunk.rs`, and that of the bytes in `arena.rs`. The number of
//! pinned chunks is a Relaxed counter: it bounds them and orders nothing.

use core::ptr::NonNull;
use std::sync::Arc;

use super::RingSize;
use super::arena::{Arena, PREFETCH_LINES};
use super::chunk::{ChunkId, FreedSet, PinWord, Pinned, Unpinned};
use super::header::Alignment;
use super::pins::Pins;
use super::shadow::Counts;
use super::value::Value;
use crate::prefetch::LINE;
use crate::reclaim::Live;
use crate::sync::{AtomicU32, Ordering};
use crate::units::{Location, to_u32};

/// The divisor of a ring's chunks that gives how many of them values may pin.
const PINNED_SHARE: usize = 4;
/// The number of chunks that a recount examines while the ring is crowded. The recount that makes
/// it crowded examines all of them.
const LOOKS: usize = 4;

/// An arena in chunks. It lives as long as its ring or any value that points into it.
pub(crate) struct RingShared {
    arena: Arena,
    chunk_shift: u32,
    size: RingSize,
    pub(super) pins: Pins,
    pub(super) freed: FreedSet,
    /// The number of chunks that are marked as pinned, and its limit.
    pinned: AtomicU32,
    pinned_max: AtomicU32,
    /// Not 0 once a recount has begun: from then on values remove the marks themselves. 0 again if
    /// at most half of the limit is counted when a chunk is marked.
    is_crowded: AtomicU32,
    /// Not 0 once the ring is being dropped: from then on the memory of freed chunks goes back to
    /// the system.
    is_orphan: AtomicU32,
    /// The chunk at which the next recount begins.
    recount_at: AtomicU32,
    /// The chunk that was marked last.
    last_marked: AtomicU32,
    /// The number of cache lines that an entry usually spans.
    usual_lines: AtomicU32,
    /// Counts of the ring's `Arc` that retired chunks keep: for models.
    waiting_counts: Counts,
}

/// A value that its holder may keep: pinned in the ring, or a copy.
pub(crate) enum OwnedValue {
    Pinned(Value),
    Copied(Value),
}

impl OwnedValue {
    /// Returns the value.
    pub(crate) fn into_value(self) -> Value {
        let (Self::Pinned(value) | Self::Copied(value)) = self;
        value
    }
}

impl RingShared {
    pub(super) fn new(size: RingSize, chunk_shift: u32, alignment: Alignment) -> Option<Self> {
        Some(Self {
            arena: Arena::new(size.most << chunk_shift, alignment)?,
            chunk_shift,
            size,
            pins: Pins::new(size.first, size.most)?,
            freed: FreedSet::new(size.most),
            pinned: AtomicU32::new(0),
            pinned_max: AtomicU32::new(to_u32(size.first / PINNED_SHARE)),
            is_crowded: AtomicU32::new(0),
            is_orphan: AtomicU32::new(0),
            recount_at: AtomicU32::new(0),
            last_marked: AtomicU32::new(0),
            usual_lines: AtomicU32::new(1),
            waiting_counts: Counts::new(),
        })
    }

    /// Returns the bytes that a ring with `chunks` known chunks allocates beside its arena.
    pub(super) fn footprint(chunks: usize, size: RingSize) -> usize {
        let pins = Pins::footprint(chunks, size.first, size.most);
        size_of::<Self>() + pins + size.most.div_ceil(64) * size_of::<u64>()
    }

    /// Sets the number of chunks of which values may pin a quarter. For the holder of the write
    /// lock.
    pub(super) fn set_usual_chunks(&self, chunks: usize) {
        // Relaxed: like the number of pinned chunks. Values that hold more already keep them.
        self.pinned_max.store(to_u32(chunks / PINNED_SHARE), Ordering::Relaxed);
    }

    pub(super) fn size(&self) -> RingSize {
        self.size
    }

    /// Returns the arena, which holds the bytes of the entries.
    #[inline(always)]
    pub(crate) fn arena(&self) -> &Arena {
        &self.arena
    }

    /// Asks the processor to fetch the entry at `location`, as far as entries usually reach.
    #[inline]
    pub(crate) fn prefetch(&self, location: Location) {
        self.arena.prefetch(location, self.usual_lines.load(Ordering::Relaxed) as usize);
    }

    /// Asks the processor to fetch the header of the entry at `location`, with a short key after
    /// it.
    #[inline]
    pub(crate) fn prefetch_header(&self, location: Location) {
        self.arena.prefetch(location, 1);
        self.arena.prefetch_from(location.offset() + LINE / 2, 1);
    }

    /// Returns the charge of an entry, in bytes.
    pub(crate) fn charge_of(&self, live: Live<'_>) -> u32 {
        u32::try_from(self.arena.layout(live.location()).charge()).unwrap_or(u32::MAX)
    }

    /// Asks the processor to fetch the lines after an entry at `location`, where the next entry
    /// will be written.
    #[inline(always)]
    pub(super) fn prefetch_after(&self, location: Location, charge: usize) {
        self.arena.prefetch_from(location.offset() + charge + LINE, self.usual_lines.load(Ordering::Relaxed) as usize);
    }

    /// Asks the processor to fetch the lines from `offset` on that an entry is about to be written
    /// to.
    #[inline]
    pub(super) fn prefetch_tail(&self, offset: usize) {
        self.arena.prefetch_from(offset, self.usual_lines.load(Ordering::Relaxed) as usize);
    }

    /// Notes the bytes that an entry usually takes, for prefetching. For the holder of the write
    /// lock.
    pub(crate) fn set_usual_entry(&self, bytes: usize) {
        // An entry may start anywhere in a line. On average it reaches into one line more than its
        // bytes fill.
        #[allow(clippy::cast_possible_truncation, reason = "at most PREFETCH_LINES")]
        let lines = (bytes / LINE + 1).min(PREFETCH_LINES) as u32;
        self.usual_lines.store(lines, Ordering::Relaxed); // Relaxed: only a hint.
    }

    #[inline]
    pub(super) fn chunk_of(&self, location: Location) -> ChunkId {
        #[allow(clippy::cast_possible_truncation, reason = "an arena has fewer than u32::MAX units")]
        ChunkId((location.offset() >> self.chunk_shift) as u32)
    }

    /// Returns the first chunk of the run with the entry at a location: the one that its values
    /// pin.
    #[inline]
    pub(super) fn run_of(&self, location: Location) -> ChunkId {
        let chunk = self.chunk_of(location);
        ChunkId(chunk.0 - self.pins[chunk.index()].back())
    }

    /// Returns the value of the entry at a live location. The caller may keep it beyond the hold.
    pub(crate) fn value(self: &Arc<Self>, live: Live<'_>) -> OwnedValue {
        // SAFETY: these bytes are the value of that entry of this ring.
        unsafe { self.value_found(live, self.arena.entry(live).value) }
    }

    /// Like [`value`](Self::value), for a caller that has found the value already.
    ///
    /// # Safety
    ///
    /// * `live` is a location of this ring.
    /// * `data` is the value of the entry there.
    #[inline(always)]
    pub(crate) unsafe fn value_found(self: &Arc<Self>, live: Live<'_>, data: &[u8]) -> OwnedValue {
        let mut chunk = self.chunk_of(live.location());
        let mut word = &self.pins[chunk.index()];
        // The same as `run_of`. Most entries lie in single chunks, whose word is already loaded.
        if word.back() > 0 {
            chunk = self.run_of(live.location());
            word = &self.pins[chunk.index()];
        }
        match word.pin() {
            Pinned::Marked => {}
            Pinned::Unmarked => {
                if !self.count_as_pinned(word, chunk) {
                    // SAFETY:
                    // * the word is live, as `self` is;
                    // * the caller's pin is the one that was just taken. It is not the last: the
                    //   ring's own pin outlasts `live`.
                    let _ = unsafe { PinWord::unpin(NonNull::from(word)) };
                    return OwnedValue::Copied(self.copied(data));
                }
            }
            Pinned::Full => return OwnedValue::Copied(self.copied(data)),
        }
        // The pointer comes from the `Arc` itself, because the thread that frees the chunk makes an
        // `Arc` from it.
        let Some(ring) = NonNull::new(Arc::as_ptr(self).cast_mut()) else {
            return OwnedValue::Copied(self.copied(data));
        };
        // SAFETY:
        // * one pin was just taken, while the chunk's own pin was there;
        // * `data` was live then, and lies in that chunk: it is the value of the entry at `live`,
        //   by the caller's duty.
        OwnedValue::Pinned(unsafe { Value::pinned(ring, chunk, data) })
    }

    /// Returns a value with its own copy of these bytes, aligned like values in the arena.
    #[inline(never)]
    pub(crate) fn copied(&self, data: &[u8]) -> Value {
        Value::copied(data, self.arena.alignment())
    }

    /// Counts a chunk that has just been pinned. Returns `false` if the limit of pinned chunks is
    /// reached.
    #[inline(never)]
    fn count_as_pinned(&self, word: &PinWord, chunk: ChunkId) -> bool {
        let span = word.span();
        if self.reserve(span) || self.take_over(span) {
            self.mark_counted(word, chunk, span);
            return true;
        }
        self.count_after_recount(word, chunk, span)
    }

    /// Marks a pinned chunk after it was counted.
    #[inline]
    fn mark_counted(&self, word: &PinWord, chunk: ChunkId, span: u32) {
        self.last_marked.store(chunk.0, Ordering::Relaxed); // Relaxed: only a hint.
        if !word.mark(span) {
            self.pinned.fetch_sub(span, Ordering::Relaxed); // Another thread has counted the chunk.
        }
        // Relaxed, both: these are hints. A mark that stays without a value costs a look later. A
        // missing mark lets one more chunk be pinned.
        if self.is_crowded.load(Ordering::Relaxed) != 0
            && self.pinned.load(Ordering::Relaxed) <= self.pinned_max.load(Ordering::Relaxed) / 2
        {
            self.is_crowded.store(0, Ordering::Relaxed);
        }
    }

    /// Counts `span` chunks in place of those that were counted last, if no value holds these any
    /// more. A thread that drops each value before it gets the next one needs no recount.
    #[inline]
    fn take_over(&self, span: u32) -> bool {
        let last = self.last_marked.load(Ordering::Relaxed) as usize;
        let found = self.pins.in_use().get(last).map_or(0, PinWord::unmark);
        // Relaxed, as all of the count. The limit may have become lower since these were counted.
        if found == 0 {
            return false;
        }
        if found == span && self.pinned.load(Ordering::Relaxed) <= self.pinned_max.load(Ordering::Relaxed) {
            return true;
        }
        self.pinned.fetch_sub(found, Ordering::Relaxed);
        self.reserve(span)
    }

    /// Counts a pinned chunk after the limit was reached, if values have left others.
    #[cold]
    #[inline(never)]
    fn count_after_recount(&self, word: &PinWord, chunk: ChunkId, span: u32) -> bool {
        // Ends: each round but the last removes a mark.
        loop {
            let looks = if self.is_crowded.swap(1, Ordering::Relaxed) == 0 { self.pins.in_use().len() } else { LOOKS };
            if !self.recount(looks) {
                return false;
            }
            if self.reserve(span) {
                self.mark_counted(word, chunk, span);
                return true;
            }
        }
    }

    #[inline]
    fn reserve(&self, span: u32) -> bool {
        let most = self.pinned_max.load(Ordering::Relaxed);
        // Ends: a failure means that another thread's change succeeded.
        self.pinned
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |pinned| {
                // A subtraction may be seen before the addition that it belongs to.
                pinned.checked_add(span).filter(|&sum| sum <= most)
            })
            .is_ok()
    }

    /// Examines `looks` chunks, and removes the marks of those that no value holds. Returns `true`
    /// if there were any.
    ///
    /// The recount that makes the ring crowded examines all chunks. From then on values remove the
    /// marks themselves, and a few looks find the marks that values have missed. So a reader that
    /// cannot pin pays for a few cache lines only.
    fn recount(&self, looks: usize) -> bool {
        let mut found = 0;
        let pins = self.pins.in_use();
        let start = self.recount_at.load(Ordering::Relaxed) as usize % pins.len();
        let later = looks.min(pins.len() - start);
        for words in [&pins[start..start + later], &pins[..(looks - later).min(start)]] {
            for word in words {
                // Most have no mark.
                if word.is_marked() {
                    found += word.unmark();
                }
            }
        }
        // Until then, another reader may find the limit reached and no mark, and copies.
        if found > 0 {
            self.pinned.fetch_sub(found, Ordering::Relaxed);
        }
        #[allow(clippy::cast_possible_truncation, reason = "the number of a chunk")]
        self.recount_at.store(((start + looks) % pins.len()) as u32, Ordering::Relaxed);
        found > 0
    }

    /// Returns the bytes of the chunks that values hold, including retired ones.
    pub(crate) fn pinned_bytes(&self) -> usize {
        self.pinned_chunks() << self.chunk_shift
    }

    /// Returns `true` if values hold chunks of at least `bytes` bytes, retired ones included. Looks
    /// at no chunk if fewer are marked.
    pub(crate) fn are_pinned(&self, bytes: usize) -> bool {
        let enough = bytes.div_ceil(1 << self.chunk_shift);
        self.marked_chunks() >= enough && self.pinned_chunks() >= enough
    }

    /// Returns the number of chunks that are counted as pinned: those that values hold, and perhaps
    /// others.
    pub(super) fn marked_chunks(&self) -> usize {
        self.pinned.load(Ordering::Relaxed) as usize // Relaxed: it bounds the chunks and orders nothing.
    }

    /// Returns the number of chunks that values hold, including retired ones.
    pub(super) fn pinned_chunks(&self) -> usize {
        self.pins.in_use().iter().filter(|word| word.has_values()).map(|word| word.span() as usize).sum()
    }

    pub(super) fn pin_again(&self, chunk: ChunkId) -> bool {
        self.pins[chunk.index()].pin_again()
    }

    /// Ends the pin of one value.
    ///
    /// # Safety
    ///
    /// * `ring` is live.
    /// * The caller has a pin on `chunk`, and gives it up with this call.
    #[inline]
    pub(super) unsafe fn unpin(ring: NonNull<Self>, chunk: ChunkId) {
        // SAFETY: `ring` is live by the caller's duty, and stays so until the pin is gone.
        let shared = unsafe { ring.as_ref() };
        let word = &shared.pins[chunk.index()];
        if shared.is_crowded.load(Ordering::Relaxed) != 0 {
            shared.unmark_last(word);
        }
        // SAFETY:
        // * the word is live, as the ring is until the pin is gone;
        // * the pin is the caller's to give up, by its duty.
        //
        // No borrow of the ring is used after this.
        let ended = unsafe { PinWord::unpin(NonNull::from(word)) };
        if let Unpinned::Last { marked } = ended {
            // SAFETY: this thread has just ended the last pin.
            unsafe { Self::free_last(ring, chunk, marked) };
        }
    }

    /// Removes the mark of a chunk if the caller's value is the only one that holds it.
    #[cold]
    #[inline(never)]
    fn unmark_last(&self, word: &PinWord) {
        let marked = word.unmark_last();
        if marked > 0 {
            self.pinned.fetch_sub(marked, Ordering::Relaxed);
        }
    }

    /// Frees a retired chunk after its last value.
    ///
    /// # Safety
    ///
    /// This thread has ended the last pin of the chunk with [`unpin`](Self::unpin).
    #[cold]
    #[inline(never)]
    unsafe fn free_last(ring: NonNull<Self>, chunk: ChunkId, marked: u32) {
        // SAFETY: this thread has ended the last pin, so the chunk's count of the `Arc` is its own
        // to drop (`chunk.rs`, invariants 3 and 4). The pointer came from that `Arc`.
        let ring = unsafe { Arc::from_raw(ring.as_ptr().cast_const()) };
        ring.waiting_counts.take();
        ring.free(chunk, marked);
    }

    fn count_for_last_value(self: &Arc<Self>) -> Arc<Self> {
        self.waiting_counts.put();
        Arc::clone(self)
    }

    /// Ends the ring's own pin on a chunk without live entries that no slot names.
    pub(super) fn drop_own(self: &Arc<Self>, chunk: ChunkId) {
        // Before the pin ends, the count of the `Arc` is there for the last value (`chunk.rs`,
        // invariant 4).
        let count = self.count_for_last_value();
        match self.pins[chunk.index()].drop_own() {
            Unpinned::Last { marked } => {
                self.waiting_counts.take();
                self.free(chunk, marked);
            }
            Unpinned::StillHeld => core::mem::forget(count),
        }
    }

    /// Notes that the ring is being dropped, so that only values are left.
    pub(super) fn outlives_ring(&self) {
        self.is_orphan.store(1, Ordering::Relaxed);
    }

    /// Gives the memory of all chunks that no value holds back to the system.
    ///
    /// # Safety
    ///
    /// The ring is being dropped: no reader is left.
    pub(super) unsafe fn release_unpinned(&self) {
        if self.pinned_chunks() == 0 {
            return; // The whole arena is about to be freed.
        }
        let release = |first: usize, end: usize| {
            // SAFETY: no reader is left, by the caller's duty, and no value holds these chunks.
            // Without a reader, none gets another value.
            unsafe { self.release(ChunkId(to_u32(first)), to_u32(end - first)) };
        };
        let (mut first, mut chunk) = (0, 0);
        while let Some(word) = self.pins.in_use().get(chunk) {
            let next = chunk + word.span() as usize;
            if word.has_values() {
                release(first, chunk);
                first = next;
            }
            chunk = next;
        }
        release(first, chunk);
    }

    /// Gives the memory of chunks back to the system.
    ///
    /// # Safety
    ///
    /// * Nothing in the chunks is live, or no reader is left.
    /// * No slot and no value holds them.
    unsafe fn release(&self, first: ChunkId, count: u32) {
        let start = first.index() << self.chunk_shift;
        // SAFETY: the caller's duties are the same.
        unsafe { self.arena.release(start..start + ((count as usize) << self.chunk_shift)) };
    }

    /// Returns a chunk without pins to its ring.
    fn free(&self, chunk: ChunkId, marked: u32) {
        let span = self.pins[chunk.index()].span();
        if marked > 0 {
            self.pinned.fetch_sub(marked, Ordering::Relaxed);
        }
        self.pins[chunk.index()].renew();
        // Relaxed: if this load misses the store of the ring's drop, the memory is freed with the
        // last value.
        if self.is_orphan.load(Ordering::Relaxed) != 0 {
            // SAFETY: the ring is being dropped or gone, so no reader is left. This thread has
            // ended the last pin, so no value holds the chunk.
            unsafe { self.release(chunk, span) };
        }
        for chunk in chunk.0..chunk.0 + span {
            self.freed.mark(ChunkId(chunk));
        }
    }
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use super::*;

    /// Two of eight chunks may be pinned. A recount would remove both marks.
    #[test]
    fn a_value_takes_over_the_mark_of_the_one_before() {
        let alignment = Alignment::new(1).unwrap();
        let shared = Arc::new(RingShared::new(RingSize::fixed(8), 12, alignment).unwrap());
        let pin = |chunk: u32| {
            let word = &shared.pins[chunk as usize];
            word.pin() == Pinned::Marked || shared.count_as_pinned(word, ChunkId(chunk))
        };
        let marks = || shared.pinned.load(Ordering::Relaxed);
        for (number, chunk) in (0..8).cycle().take(100).enumerate() {
            assert!(pin(chunk));
            assert_eq!(marks(), 2.min(to_u32(number + 1)));
            // SAFETY: the ring is live, and the pin was just taken.
            unsafe { RingShared::unpin(NonNull::from(&*shared), ChunkId(chunk)) };
        }
        // What is held keeps its mark.
        assert!(pin(5) && pin(6) && !pin(7));
        assert_eq!(marks(), 2);
    }
}
