//! The reuse of chunks: retire, check the readers' slots, take back, release to the system, and put
//! to use again.
//!
//! A chunk in which nothing is live is *retired*. It waits until no reader's slot names it. Then
//! the ring's own pin ends. If values still hold the chunk, the last one frees it. Only free chunks
//! are written to, or given back to the system.
//!
//! ```text
//!   nothing live     no slot names it      no value pins it
//!   retire  -------> reclaim  -----------> freed -- collect_freed --> free -- give_back --> absent
//!                                                                     ^                       |
//!                                                                     +------ put_to_use -----+
//! ```
//!
//! # Not here
//!
//! The states and pins of a chunk: `chunk.rs`. The protocol of the slots: `reclaim/slots.rs`.

use super::bits::ChunkBits;
use super::chunk::{Chunk, ChunkId, ChunkState};
use super::{Ring, Stream};
use crate::reclaim;
use crate::region::{HUGE_EARNED, Pages};
use crate::units::to_u32;

/// The most bytes of absent chunks that are given back at once. Mostly, few of their pages are
/// resident.
pub(crate) const RELEASED_AT_ONCE: usize = 16 << 20;

impl Ring {
    /// Sets the state of a chunk, and counts it.
    pub(super) fn set_state(&mut self, chunk: ChunkId, state: ChunkState) {
        let before = core::mem::replace(&mut self.chunks[chunk.index()].state, state);
        match (before, state) {
            (ChunkState::Open, ChunkState::Sealed) => self.unused_ends += self.unused_end(chunk),
            (ChunkState::Sealed | ChunkState::Cleaning, ChunkState::Retired) => {
                self.unused_ends -= self.unused_end(chunk);
            }
            _ => {}
        }
        for (state, step) in [(before, -1), (state, 1)] {
            let count = match state {
                ChunkState::Absent => &mut self.counts.absent,
                ChunkState::Free => &mut self.counts.free,
                ChunkState::Retired => &mut self.counts.retired,
                ChunkState::Open | ChunkState::Sealed | ChunkState::Cleaning | ChunkState::Run => continue,
            };
            *count = count.wrapping_add_signed(step);
        }
        match (before, state) {
            (ChunkState::Absent, ChunkState::Free) => {
                self.absent.remove(chunk);
                self.free.insert(chunk);
            }
            (ChunkState::Free, ChunkState::Absent) => {
                self.free.remove(chunk);
                self.absent.insert(chunk);
            }
            (_, ChunkState::Free) => self.free.insert(chunk),
            (ChunkState::Free, _) => self.free.remove(chunk),
            _ => {}
        }
    }

    /// Retires an empty chunk, or run of chunks. It is free again when no reader and no value holds
    /// it.
    pub(crate) fn retire(&mut self, chunk: ChunkId) {
        assert!(self.chunks[chunk.index()].live == 0, "a chunk with live entries was retired");
        for chunk in chunk.0..chunk.0 + self.shared.pins[chunk.index()].span() {
            self.set_state(ChunkId(chunk), ChunkState::Retired);
        }
        self.waiting_set.insert(chunk);
        self.waiting += 1;
    }

    /// Retires the open chunks and runs whose entries are all dead, and that no value holds.
    /// Returns `true` if there were any.
    pub(crate) fn retire_open(&mut self) -> bool {
        let mut has_retired = false;
        for stream in Stream::ALL {
            // One that was just opened is about to be written to.
            let is_dead = |chunk: &Chunk| chunk.live == 0 && chunk.fill > 0;
            let dead = self.open[stream as usize]
                .filter(|open| is_dead(&self.chunks[open.index()]) && !self.shared.pins[open.index()].has_values());
            if let Some(dead) = dead {
                self.open[stream as usize] = None;
                self.seal(dead);
                has_retired = true;
            }
        }
        has_retired
    }

    /// Takes back the retired chunks that neither a reader nor a value holds.
    ///
    /// The slots of all threads are scanned once, however many chunks wait.
    pub(crate) fn reclaim(&mut self) {
        if self.waiting > 0 {
            self.look_at_slots();
            // Those that slots named at the last look, and those that were retired since.
            for word in 0..self.waiting_set.words() {
                for chunk in self.waiting_set.word(word) {
                    // A slot names the chunk in which its entry begins.
                    if !is_held(&self.held, chunk, self.shared.pins[chunk.index()].span()) {
                        self.waiting_set.remove(chunk);
                        self.waiting -= 1;
                        self.shared.drop_own(chunk);
                    }
                }
            }
        }
        self.collect_freed();
    }

    /// Returns `true` if at least `wanted` chunks are free. Chunks that nobody holds any more are
    /// taken back first if too few are free.
    pub(crate) fn has_free(&mut self, wanted: usize) -> bool {
        if self.counts.free < wanted {
            self.reclaim();
        }
        self.counts.free >= wanted
    }

    /// Notes which chunks readers' slots name.
    pub(crate) fn look_at_slots(&mut self) {
        self.held.clear();
        let arena = self.arena().addresses();
        reclaim::for_each_hold(|address| {
            if arena.contains(&address) {
                self.held.insert(ChunkId(to_u32((address - arena.start) >> self.chunk_shift)));
            }
        });
    }

    /// Takes back the chunks that have been freed.
    pub(crate) fn collect_freed(&mut self) {
        // A word for 64 chunks.
        for word in 0..self.shared.freed.words() {
            for chunk in self.shared.freed.take(word) {
                self.set_span(chunk, 1);
                self.shared.pins[chunk.index()].set_back(0);
                self.set_state(chunk, ChunkState::Free);
            }
        }
    }

    /// Puts an absent chunk to use. Returns `false` if there is none. The caller has accounted for
    /// its memory.
    pub(crate) fn put_to_use(&mut self) -> bool {
        let absent = self.absent.first_from(0);
        if let Some(chunk) = absent {
            self.set_state(chunk, ChunkState::Free);
            let in_use = self.chunks_in_use() << self.chunk_shift;
            if in_use >= HUGE_EARNED && self.pages == Pages::Small {
                self.pages = Pages::Huge;
                self.arena().ask_for_pages(Pages::Huge);
            }
        }
        absent.is_some()
    }

    /// Gives the memory of all free chunks back to the system. Returns how many there were.
    pub(crate) fn give_all_back(&mut self) -> usize {
        let free = self.counts.free;
        while self.give_back() {}
        free
    }

    /// Returns `true` if the system was asked for huge pages. Only they make absent chunks resident
    /// with their neighbours.
    pub(crate) fn has_huge_pages(&self) -> bool {
        self.pages == Pages::Huge
    }

    /// Takes back the request for huge pages, for a ring that is about to have fewer chunks. A huge
    /// page would be resident as a whole while some of its chunks are absent. Huge pages have to be
    /// earned again.
    pub(crate) fn expect_fewer_chunks(&mut self) {
        self.pages = Pages::Small;
        self.arena().ask_for_pages(Pages::Small);
    }

    /// Gives the memory of a free chunk back to the system. Returns `false` if none is free.
    pub(crate) fn give_back(&mut self) -> bool {
        let last = self.free.last();
        if let Some(chunk) = last {
            self.make_absent(chunk);
        }
        last.is_some()
    }

    /// Gives the memory of a free chunk back to the system.
    pub(super) fn make_absent(&mut self, chunk: ChunkId) {
        assert_eq!(self.chunks[chunk.index()].state, ChunkState::Free, "only free chunks are given back");
        let start = chunk.index() << self.chunk_shift;
        // SAFETY: a free chunk was retired, so that nothing in it is live, and then freed: no slot
        // named it, and its last pin has ended.
        unsafe { self.arena().release(start..start + self.chunk_bytes()) };
        self.set_state(chunk, ChunkState::Absent);
    }

    /// Returns the number of chunks that are absent, including those without a place in the tables.
    pub(crate) fn absent(&self) -> usize {
        self.counts.absent + self.shared.size().most - self.chunks()
    }

    /// Gives back the memory of some adjacent absent chunks that became resident with their
    /// neighbours, as a huge page is resident as a whole. They are the first ones from the chunk
    /// `from` on. Returns the end of this part, or `None` if there are no more of them.
    pub(crate) fn release_absent_from(&self, from: usize) -> Option<usize> {
        let known = self.chunks();
        // Chunks without a place are absent, too.
        let (first, end) = match self.absent.first_from(from) {
            Some(first) => (first.index(), self.absent.end_of_row(first.index(), known)),
            None => (from.max(known), self.shared.size().most),
        };
        // Rows are divided between pages, as only whole pages can be given back.
        let most = self.whole_chunks(RELEASED_AT_ONCE).max(1);
        let end = end.min((first + most) / most * most);
        if first >= end {
            return None;
        }
        // SAFETY: absent chunks were free, or never in use: nothing in them is live, and no slot or
        // value holds them.
        unsafe { self.arena().release(first << self.chunk_shift..end << self.chunk_shift) };
        Some(end)
    }

    /// Returns the bytes of absent chunks that are resident.
    #[cfg(all(test, not(bytecache_loom), target_os = "linux"))]
    pub(crate) fn resident_absent_bytes(&self) -> usize {
        let first = self.arena().addresses().start;
        let bytes = |chunk: ChunkId| {
            let start = first + (chunk.index() << self.chunk_shift);
            crate::region::tests::resident_bytes(start..start + self.chunk_bytes())
        };
        self.absent.iter().map(bytes).sum()
    }

    /// Empties the whole ring. No lane of the index may point into it.
    pub(crate) fn clear(&mut self) {
        self.open = [None; Stream::COUNT];
        self.live_bytes = 0;
        for chunk in 0..self.chunks() {
            self.chunks[chunk].live = 0;
            // Retiring the first chunk of a run also retires the other ones.
            if !matches!(self.chunks[chunk].state, ChunkState::Absent | ChunkState::Free | ChunkState::Retired) {
                self.retire(ChunkId(to_u32(chunk)));
            }
        }
        self.reclaim();
    }
}

/// Returns `true` if a slot named one of the `span` chunks from `first` on.
pub(super) fn is_held(held: &ChunkBits, first: ChunkId, span: u32) -> bool {
    (first.0..first.0 + span).any(|chunk| held.contains(ChunkId(chunk)))
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::{Alignment, RingSize};

    #[test]
    fn absent_chunks_are_given_back_in_parts_of_a_bounded_size() {
        let most = RELEASED_AT_ONCE >> 16;
        let size = RingSize { first: 2 * most + 10, most: 3 * most };
        let mut ring = Ring::new(size, 16, Alignment::new(1).expect("an alignment")).expect("memory");
        (0..most / 2).for_each(|_| assert!(ring.put_to_use()));
        let parts = |ring: &Ring| {
            let mut ends: Vec<usize> = Vec::new();
            while let Some(end) = ring.release_absent_from(ends.last().map_or(0, |&end| end)) {
                ends.push(end);
            }
            ends
        };
        // The chunks without a place are a part of their own.
        assert_eq!(parts(&ring), [most, 2 * most, 2 * most + 10, 3 * most]);
        ring.make_absent(ChunkId(7));
        ring.make_absent(ChunkId(8));
        assert_eq!(parts(&ring), [9, most, 2 * most, 2 * most + 10, 3 * most]);
    }
}
