//! The part of a ring that readers and values share: the arena, and the pins of its chunks.
//!
//! # Synchronization
//!
//! See `chunk.rs` for the pin protocol and `memory.rs` for the bytes. The number of pinned chunks is a
//! Relaxed counter: it bounds them and orders nothing.

use core::ptr::NonNull;
use std::sync::Arc;

use super::chunk::{ChunkId, FreedSet, PinWord, Pinned, Unpinned};
use super::header::Alignment;
use super::memory::{Arena, Entry, PREFETCH_LINES, StampsAt};
use super::to_u32;
use super::value::Value;
use crate::prefetch::LINE;
use crate::reclaim::Live;
use crate::sync::{AtomicU32, Ordering};
use crate::units::{Location, Stamp, Stamps};

/// Chunks that a reader looks at which finds as many marked as may be, again.
const LOOKS: usize = 4;

/// An arena in chunks. Lives as long as its ring or any value that points into it.
pub(crate) struct RingShared {
    pub(super) arena: Arena,
    chunk_shift: u32,
    pub(super) pins: Box<[PinWord]>,
    pub(super) freed: FreedSet,
    /// Chunks that are marked as pinned, and how many may be.
    pinned: AtomicU32,
    pinned_max: u32,
    /// Not 0 from the moment that as many chunks were marked as may be: values take the marks off with them from then on.
    is_crowded: AtomicU32,
    /// Not 0 from the moment that the ring is being dropped: what values free from then on goes back to the system.
    is_orphan: AtomicU32,
    /// Where the next look at marks goes on.
    recount_at: AtomicU32,
    /// Cache lines that an entry usually spans.
    usual_lines: AtomicU32,
    #[cfg(bytecache_loom)]
    waiting_counts: super::shadow::Counts,
}

/// A value that its holder may keep: pinned in the ring, or a copy.
pub(crate) enum OwnedValue {
    Pinned(Value),
    Copied(Value),
}

impl RingShared {
    pub(super) fn new(chunks: u32, chunk_shift: u32, alignment: Alignment) -> Option<Self> {
        let bytes = (chunks as usize) << chunk_shift;
        Some(Self {
            arena: Arena::new(bytes, alignment)?,
            chunk_shift,
            pins: (0..chunks).map(|_| PinWord::new()).collect(),
            freed: FreedSet::new(chunks as usize),
            pinned: AtomicU32::new(0),
            pinned_max: chunks / 4,
            is_crowded: AtomicU32::new(0),
            is_orphan: AtomicU32::new(0),
            recount_at: AtomicU32::new(0),
            usual_lines: AtomicU32::new(1),
            #[cfg(bytecache_loom)]
            waiting_counts: super::shadow::Counts::default(),
        })
    }

    /// What a ring of so many chunks allocates beside its arena.
    pub(super) fn footprint(chunks: usize) -> usize {
        size_of::<Self>() + chunks * size_of::<PinWord>() + chunks.div_ceil(64) * size_of::<u64>()
    }

    /// The entry at a live location.
    #[inline]
    pub(crate) fn entry<'a>(&'a self, live: Live<'a>) -> Entry<'a> {
        self.arena.entry(live)
    }

    /// The entry at a live location, and where its stamps are.
    #[inline(always)]
    pub(crate) fn entry_with_stamps<'a>(&'a self, live: Live<'a>) -> (Entry<'a>, StampsAt) {
        self.arena.entry_with_stamps(live)
    }

    /// A stamp of a live entry, at this moment.
    #[inline]
    pub(crate) fn stamp_at(&self, stamps: StampsAt, stamp: Stamp) -> Option<u32> {
        self.arena.stamp_at(stamps, stamp)
    }

    /// All stamps of a live entry, at this moment.
    pub(crate) fn stamps(&self, live: Live<'_>) -> Stamps {
        self.arena.stamps(live)
    }

    /// Whether the entry at a live location is not there any more: it may be elsewhere.
    #[inline]
    pub(crate) fn has_left(&self, live: Live<'_>) -> bool {
        self.arena.has_left(live)
    }

    /// Changes a stamp of the entry at a live location from `seen` to `word`; `false` if it is another by now. For the holder of
    /// the write lock.
    pub(crate) fn exchange_stamp(&self, live: Live<'_>, stamp: Stamp, seen: u32, word: u32) -> bool {
        self.arena.exchange_stamp(live, stamp, seen, word)
    }

    /// Changes the idle stamp of the entry at a live location to what `next` makes of it, unless that is nothing. For readers.
    #[inline]
    pub(crate) fn change_idle_stamp(&self, live: Live<'_>, stamps: StampsAt, next: impl FnMut(u32) -> Option<u32>) {
        self.arena.change_idle_stamp(live, stamps, next);
    }

    /// Sets a stamp of the entry at a live location; `false` if it has none of this kind. For the holder of the write lock.
    pub(crate) fn set_stamp(&self, live: Live<'_>, stamp: Stamp, word: u32) -> bool {
        self.arena.set_stamp(live, stamp, word)
    }

    /// Asks the processor to fetch the entry at `location`, as far as entries usually reach.
    #[inline]
    pub(crate) fn prefetch(&self, location: Location) {
        self.arena.prefetch(location, self.usual_lines.load(Ordering::Relaxed) as usize);
    }

    /// Asks the processor to fetch the header of the entry at `location`, and a short key after it.
    #[inline]
    pub(crate) fn prefetch_header(&self, location: Location) {
        self.arena.prefetch(location, 1);
        self.arena.prefetch_from(location.offset() + LINE / 2, 1);
    }

    /// Asks for the lines after an entry at `location`: the next one will be written there.
    #[inline]
    pub(super) fn prefetch_after(&self, location: Location, charge: usize) {
        self.arena.prefetch_from(location.offset() + charge + LINE, self.usual_lines.load(Ordering::Relaxed) as usize);
    }

    /// Asks for the lines that an entry is about to be written to, from `offset` on.
    #[inline]
    pub(super) fn prefetch_tail(&self, offset: usize) {
        self.arena.prefetch_from(offset, self.usual_lines.load(Ordering::Relaxed) as usize);
    }

    /// Notes what entries usually take, for prefetching. For the holder of the write lock.
    pub(crate) fn set_usual_entry(&self, bytes: usize) {
        // An entry that starts anywhere in a line reaches into one more, on average, than its bytes fill.
        #[allow(clippy::cast_possible_truncation, reason = "at most PREFETCH_LINES")]
        let lines = (bytes / LINE + 1).min(PREFETCH_LINES) as u32;
        self.usual_lines.store(lines, Ordering::Relaxed); // Only a hint.
    }

    #[inline]
    pub(super) fn chunk_of(&self, location: Location) -> ChunkId {
        #[allow(clippy::cast_possible_truncation, reason = "an arena has fewer than u32::MAX units")]
        ChunkId((location.offset() >> self.chunk_shift) as u32)
    }

    /// The first chunk of the run that the entry at a location lies in: the one that its values pin.
    #[inline]
    pub(super) fn run_of(&self, location: Location) -> ChunkId {
        let chunk = self.chunk_of(location);
        ChunkId(chunk.0 - self.pins[chunk.index()].back())
    }

    /// The value of the entry at a live location, for as long as its holder likes.
    #[inline(always)]
    pub(crate) fn value(self: &Arc<Self>, live: Live<'_>) -> OwnedValue {
        let data = self.arena.entry(live).value;
        let mut chunk = self.chunk_of(live.location());
        let mut word = &self.pins[chunk.index()];
        // As `run_of`, but that most entries lie in single chunks, whose word is at hand.
        if word.back() > 0 {
            chunk = self.run_of(live.location());
            word = &self.pins[chunk.index()];
        }
        match word.pin() {
            Pinned::Marked => {}
            Pinned::Unmarked => {
                if !self.count_as_pinned(chunk) {
                    // SAFETY: live, and the pin that was just taken is given up. The own pin outlasts `live`, so it is not the last.
                    let _ = unsafe { PinWord::unpin(NonNull::from(word)) };
                    return OwnedValue::Copied(self.copied(data));
                }
            }
            Pinned::Full => return OwnedValue::Copied(self.copied(data)),
        }
        // From the `Arc` itself, since whoever frees the chunk makes an `Arc` of it again.
        let Some(ring) = NonNull::new(Arc::as_ptr(self).cast_mut()) else {
            return OwnedValue::Copied(self.copied(data));
        };
        // SAFETY: one pin was just taken, under a live location of the chunk, in which its entry's bytes lie.
        OwnedValue::Pinned(unsafe { Value::pinned(ring, chunk, data) })
    }

    /// A value of its own with these bytes, aligned as those in the arena are.
    #[inline(never)]
    pub(crate) fn copied(&self, data: &[u8]) -> Value {
        Value::copied(data, self.arena.alignment())
    }

    /// Counts a chunk that has just been pinned; `false` if as many are pinned as may be.
    #[cold]
    fn count_as_pinned(&self, chunk: ChunkId) -> bool {
        let word = &self.pins[chunk.index()];
        let span = word.span();
        // Ends: each round but the last takes a mark away.
        while !self.reserve(span) {
            let looks = if self.is_crowded.swap(1, Ordering::Relaxed) == 0 { self.pins.len() } else { LOOKS };
            if !self.recount(looks) {
                return false;
            }
        }
        if !word.mark(span) {
            self.pinned.fetch_sub(span, Ordering::Relaxed); // Another thread counted it.
        }
        // Hints, all of them: marks that stay without a value cost a look later, and one that is missing lets one chunk more be
        // pinned.
        if self.is_crowded.load(Ordering::Relaxed) != 0 && self.pinned.load(Ordering::Relaxed) <= self.pinned_max / 2 {
            self.is_crowded.store(0, Ordering::Relaxed);
        }
        true
    }

    fn reserve(&self, span: u32) -> bool {
        // Ends: a failure means that another thread's change went through.
        self.pinned
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |pinned| {
                (pinned + span <= self.pinned_max).then_some(pinned + span)
            })
            .is_ok()
    }

    /// Looks at so many chunks, and takes the marks off those that are no longer pinned. Returns `true` if there were any.
    ///
    /// All are looked at when as many are marked as may be, once. From then on values take the marks off themselves, and a few
    /// looks find what they have missed: so a reader that cannot pin learns it at the cost of a few cache lines.
    fn recount(&self, looks: usize) -> bool {
        let mut found = false;
        let chunks = self.pins.len();
        let start = self.recount_at.load(Ordering::Relaxed) as usize;
        for at in start..start + looks {
            let marked = self.pins[at % chunks].unmark();
            if marked > 0 {
                self.pinned.fetch_sub(marked, Ordering::Relaxed);
                found = true;
            }
        }
        #[allow(clippy::cast_possible_truncation, reason = "the number of a chunk")]
        self.recount_at.store(((start + looks) % chunks) as u32, Ordering::Relaxed);
        found
    }

    /// Chunks that values hold at this moment, retired ones included.
    pub(super) fn pinned_chunks(&self) -> usize {
        self.pins.iter().filter(|word| word.has_values()).map(|word| word.span() as usize).sum()
    }

    pub(super) fn pin_again(&self, chunk: ChunkId) -> bool {
        self.pins[chunk.index()].pin_again()
    }

    /// Ends one value's pin.
    ///
    /// # Safety
    ///
    /// `ring` is live, and the caller gives up one pin on `chunk` that it holds.
    #[inline]
    pub(super) unsafe fn unpin(ring: NonNull<Self>, chunk: ChunkId) {
        // SAFETY: live by the caller's duty, and until the pin is gone.
        let shared = unsafe { ring.as_ref() };
        let word = &shared.pins[chunk.index()];
        if shared.is_crowded.load(Ordering::Relaxed) != 0 {
            let marked = word.unmark_last();
            if marked > 0 {
                shared.pinned.fetch_sub(marked, Ordering::Relaxed);
            }
        }
        // SAFETY: the word is live, and the pin is the caller's. No borrow of the ring is used after this.
        let ended = unsafe { PinWord::unpin(NonNull::from(word)) };
        if let Unpinned::Last { marked } = ended {
            // SAFETY: the pins have come to zero here, so the count of the retired chunk is ours (chunk.rs, 3 and 4).
            let ring = unsafe { Arc::from_raw(ring.as_ptr().cast_const()) };
            #[cfg(bytecache_loom)]
            ring.waiting_counts.take();
            ring.free(chunk, marked);
        }
    }

    fn count_for_last_value(self: &Arc<Self>) -> Arc<Self> {
        #[cfg(bytecache_loom)]
        self.waiting_counts.put();
        Arc::clone(self)
    }

    /// Ends the ring's own pin on a chunk in which nothing can be found and that no slot names.
    pub(super) fn drop_own(self: &Arc<Self>, chunk: ChunkId) {
        // Before the pin is gone, a count of the `Arc` is there for the value that is last (chunk.rs, 4).
        let count = self.count_for_last_value();
        match self.pins[chunk.index()].drop_own() {
            Unpinned::Last { marked } => {
                #[cfg(bytecache_loom)]
                self.waiting_counts.take();
                self.free(chunk, marked);
            }
            Unpinned::StillHeld => core::mem::forget(count),
        }
    }

    /// Notes that the ring is being dropped: only values are left.
    pub(super) fn outlives_ring(&self) {
        self.is_orphan.store(1, Ordering::Relaxed);
    }

    /// Gives the memory of all chunks back to the system that no value holds. For the ring's drop.
    pub(super) fn release_unpinned(&self) {
        if self.pinned_chunks() == 0 {
            return; // All of it goes in the next moment.
        }
        let (mut first, mut chunk) = (0, 0);
        while let Some(word) = self.pins.get(chunk) {
            let next = chunk + word.span() as usize;
            if word.has_values() {
                self.release(ChunkId(to_u32(first)), to_u32(chunk - first));
                first = next;
            }
            chunk = next;
        }
        self.release(ChunkId(to_u32(first)), to_u32(chunk - first));
    }

    /// Gives the memory of chunks back to the system, in which nothing is live and that nobody holds.
    fn release(&self, first: ChunkId, count: u32) {
        let start = first.index() << self.chunk_shift;
        self.arena.release(start..start + ((count as usize) << self.chunk_shift));
    }

    /// The address of the entry at `location`: by it, a reader's slot names the entry's chunk.
    #[inline(always)]
    pub(crate) fn address_of(&self, location: Location) -> usize {
        self.arena.address_of(location)
    }

    /// Hands a chunk without pins back to its ring.
    fn free(&self, chunk: ChunkId, marked: u32) {
        let span = self.pins[chunk.index()].span();
        if marked > 0 {
            self.pinned.fetch_sub(marked, Ordering::Relaxed);
        }
        self.pins[chunk.index()].renew();
        // Relaxed: if this and the ring's drop miss each other, the chunk's memory goes with the last value.
        if self.is_orphan.load(Ordering::Relaxed) != 0 {
            self.release(chunk, span);
        }
        for chunk in chunk.0..chunk.0 + span {
            self.freed.mark(ChunkId(chunk));
        }
    }
}
