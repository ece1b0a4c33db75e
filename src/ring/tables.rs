//! The tables of a ring's chunks: their records and their pin words.
//!
//! ```text
//!   chunks   0 ......... first ............ known ............................ most
//!            [ in the tables, for good ]    [ absent, and only addresses ]
//! ```
//!
//! A ring whose shard may get a higher limit has addresses for more chunks than it begins with.
//! Such a chunk gets its place in the tables when it is first needed, together with some after it.
//! When the limit is lower again, the chunks at the end are emptied, and their places are given up.
//! Addresses are reserved for all places, so nothing is copied in either case.
//!
//! The tables take about 80 bytes for each chunk. That is little for large chunks. Of chunks of
//! 4 KiB it is 2 %, so the tables for 64 times as many chunks would be larger than the first limit.
//!
//! # Not here
//!
//! The account, and the decision which chunks to empty: `shard/shrinking.rs`.

use super::bits::ChunkBits;
use super::chunk::{Chunk, ChunkId, ChunkState, PinWord, Window};
use super::shared::RingShared;
use super::{Ring, RingSize, Stream};
use crate::growable::Growable;
use crate::units::to_u32;

/// Places come and go by this many at least: their pin words fill a page.
const PLACES: usize = 64;

/// The sets of chunks that a ring has.
const SETS: usize = 4;

/// The bytes of a place, roughly.
const PLACE_BYTES: usize = size_of::<PinWord>() + size_of::<Chunk>();

/// A growth of the tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extension {
    chunks: usize,
    /// The bytes that it takes.
    pub(crate) bytes: usize,
}

impl Ring {
    /// Returns the bytes that a new ring of this size allocates beside its chunks.
    pub(crate) fn footprint(size: RingSize) -> usize {
        Self::footprint_with(size.first, size)
    }

    fn footprint_with(chunks: usize, size: RingSize) -> usize {
        let records = Growable::<Chunk>::footprint_within(chunks, size.first, size.most);
        RingShared::footprint(chunks, size) + records + SETS * ChunkBits::footprint(size.most)
    }

    /// Returns the bytes by which the tables are larger than they were at first.
    pub(crate) fn added_bytes(&self) -> usize {
        self.added_bytes_with(self.chunks())
    }

    /// Like [`added_bytes`](Self::added_bytes), with places for this number of chunks.
    pub(crate) fn added_bytes_with(&self, chunks: usize) -> usize {
        Self::footprint_with(chunks, self.shared.size()) - Self::footprint(self.shared.size())
    }

    /// Returns the places that a ring needs whose shard may have `bytes` bytes, or those that it
    /// had at first.
    pub(crate) fn places_for(&self, bytes: usize) -> usize {
        let chunks = self.whole_chunks(bytes).next_multiple_of(PLACES);
        chunks.clamp(self.shared.size().first, self.shared.size().most)
    }

    /// Returns how many absent chunks can be put to use with `bytes` bytes.
    #[inline]
    pub(crate) fn affordable(&self, bytes: usize) -> usize {
        // Mostly there is no memory for one.
        if bytes < self.chunk_bytes() { 0 } else { self.affordable_with(bytes) }
    }

    #[inline(always)]
    fn affordable_with(&self, bytes: usize) -> usize {
        let placed = self.whole_chunks(bytes).min(self.counts.absent);
        let (chunk, left) = (self.chunk_bytes(), bytes - (placed << self.chunk_shift));
        let without_place = self.shared.size().most - self.chunks();
        if without_place == 0 || left < chunk { placed } else { self.affordable_beyond(placed, left) }
    }

    /// Is [`affordable`](Self::affordable) if all chunks that have a place, `placed` of them, leave
    /// `left` bytes.
    #[inline(never)]
    fn affordable_beyond(&self, placed: usize, left: usize) -> usize {
        let (chunk, without_place) = (self.chunk_bytes(), self.shared.size().most - self.chunks());
        // The tables grow by many places at once. Those after that cost their share.
        match self.extension().filter(|extension| left >= extension.bytes + chunk) {
            Some(extension) => placed + ((left - extension.bytes) / (chunk + PLACE_BYTES)).clamp(1, without_place),
            None => placed,
        }
    }

    /// Returns the next growth of the tables, or `None` if all chunks have a place.
    pub(crate) fn extension(&self) -> Option<Extension> {
        let chunks = self.chunks();
        let wanted = (chunks + PLACES).next_multiple_of(PLACES).min(self.shared.size().most);
        let bytes = self.added_bytes_with(wanted) - self.added_bytes();
        (wanted > chunks).then_some(Extension { chunks: wanted, bytes })
    }

    /// Lets the tables grow.
    pub(crate) fn extend(&mut self, extension: Extension) {
        let before = self.chunks();
        let is_done = self.chunks.resize(extension.chunks);
        debug_assert!(is_done, "it has become longer");
        self.chunks[before..].fill(Chunk::ABSENT);
        self.shared.pins.set_len(extension.chunks);
        self.counts.absent += extension.chunks - before;
        (to_u32(before)..to_u32(extension.chunks)).map(ChunkId).for_each(|chunk| self.absent.insert(chunk));
    }

    /// Gives up the places at the end whose chunks are absent, down to `chunks`. Returns the bytes
    /// that are free again.
    pub(crate) fn trim(&mut self, chunks: usize) -> usize {
        let before = self.chunks();
        let used = self.absent.start_of_last_row(before);
        let wanted = used.next_multiple_of(PLACES).max(chunks).max(self.shared.size().first);
        if wanted >= before {
            return 0;
        }
        let freed = self.added_bytes() - self.added_bytes_with(wanted);
        let is_done = self.chunks.resize(wanted);
        debug_assert!(is_done, "all records are fewer bytes than are given back at once");
        self.shared.pins.set_len(wanted);
        self.counts.absent -= before - wanted;
        (to_u32(wanted)..to_u32(before)).map(ChunkId).for_each(|chunk| self.absent.remove(chunk));
        freed
    }

    /// Puts the first absent chunk to use in the place of the last free one, if that lies at `end`
    /// or beyond. Returns `false` if there is no such pair.
    pub(crate) fn lower_free(&mut self, end: usize) -> bool {
        match (self.free.last(), self.absent.first_from(0)) {
            (Some(free), Some(absent)) if absent.index() < end && end <= free.index() => {
                self.make_absent(free);
                self.set_state(absent, ChunkState::Free);
                true
            }
            _ => false,
        }
    }

    /// Returns `true` if a chunk before `end` is free.
    pub(crate) fn has_free_before(&self, end: usize) -> bool {
        self.free.first_from(0).is_some_and(|chunk| chunk.index() < end)
    }

    /// Returns the chunks from `end` on, which are to be emptied.
    pub(crate) fn beyond(&self, end: usize) -> Window {
        let end = end.min(self.chunks());
        Window { first: ChunkId(to_u32(end)), span: to_u32(self.chunks() - end), live: 0 }
    }

    /// Returns the last sealed chunk, or run, that reaches beyond `end` and that no value holds.
    /// Seals open ones first.
    pub(crate) fn sealed_beyond(&mut self, end: usize) -> Option<ChunkId> {
        for stream in Stream::ALL {
            let open = self.open[stream as usize];
            if let Some(open) = open.filter(|&open| self.end_of(open) > end) {
                self.open[stream as usize] = None;
                self.seal(open);
            }
        }
        let is_wanted = |&chunk: &ChunkId| {
            let is_sealed = self.chunks[chunk.index()].state == ChunkState::Sealed;
            is_sealed && self.end_of(chunk) > end && !self.shared.pins[chunk.index()].has_values()
        };
        // Goes through all chunks from the end until it finds one, once for each chunk that is
        // emptied. Absent ones at the end have no places any more.
        (0..to_u32(self.chunks())).rev().map(ChunkId).find(is_wanted)
    }

    /// Seals the open chunk of survivors with the fewest live bytes, if they fit into another open
    /// chunk and no value holds it. Returns it, to be cleaned.
    pub(crate) fn seal_spare(&mut self) -> Option<ChunkId> {
        let live = |chunk: ChunkId| self.chunks[chunk.index()].live as usize;
        let open = |stream: Stream| self.open[stream as usize].map(|chunk| (stream, chunk));
        let survivors = [Stream::Survivors, Stream::Elders].into_iter().filter_map(open);
        let (stream, spare) = survivors.min_by_key(|&(_, chunk)| live(chunk))?;
        let needed = live(spare) + self.small_max();
        let has_room = |(_, other): (Stream, ChunkId)| {
            other != spare && self.chunks[other.index()].fill as usize + needed <= self.chunk_bytes()
        };
        let is_spare = live(spare) > 0
            && Stream::OF_CHUNKS.into_iter().filter_map(open).any(has_room)
            && !self.shared.pins[spare.index()].has_values();
        if !is_spare {
            return None;
        }
        self.open[stream as usize] = None;
        self.seal(spare);
        Some(spare)
    }

    /// Returns the end of the run that starts at `first`, in chunks.
    fn end_of(&self, first: ChunkId) -> usize {
        first.index() + self.shared.pins[first.index()].span() as usize
    }
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::Alignment;

    fn ring(first: usize, most: usize) -> Ring {
        Ring::new(RingSize { first, most }, 12, Alignment::new(1).expect("an alignment")).expect("memory")
    }

    #[test]
    fn tables_grow_to_the_last_chunk_and_shrink_to_the_first_size() {
        let mut ring = ring(10, 1000);
        assert_eq!((ring.added_bytes(), ring.affordable(usize::MAX >> 1)), (0, 1000));
        let mut bytes = 0;
        while let Some(extension) = ring.extension() {
            bytes += extension.bytes;
            ring.extend(extension);
            assert_eq!(bytes, ring.added_bytes());
            ring.validate(&[]);
        }
        assert_eq!((ring.chunks(), ring.affordable(usize::MAX >> 1)), (1000, 1000));
        assert_eq!((ring.trim(400), ring.chunks()), (bytes - ring.added_bytes_with(400), 400));
        ring.trim(0);
        assert_eq!((ring.added_bytes(), ring.chunks()), (0, 10));
        ring.validate(&[]);
    }

    #[test]
    fn a_chunk_without_a_place_can_be_afforded_with_the_places_that_come_with_it() {
        let mut ring = ring(10, 1000);
        assert_eq!(ring.affordable((10 << 12) + 4096), 10);
        (0..10).for_each(|_| assert!(ring.put_to_use()));
        let extension = ring.extension().expect("more chunks");
        assert_eq!(ring.affordable(extension.bytes + 4095), 0);
        assert_eq!(ring.affordable(extension.bytes + 4096), 1);
        ring.extend(extension);
        assert_eq!(ring.affordable(2 << 12), 2);
    }

    #[test]
    fn chunks_in_use_keep_their_places() {
        let mut ring = ring(10, 1000);
        let extension = ring.extension().expect("more chunks");
        ring.extend(extension);
        for _ in 0..70 {
            assert!(ring.put_to_use());
        }
        assert_eq!((ring.trim(0), ring.chunks()), (0, 128));
        for _ in 0..10 {
            assert!(ring.give_back());
        }
        assert!(ring.trim(0) > 0 && ring.chunks() == 64);
    }

    #[test]
    fn free_chunks_are_exchanged_for_absent_ones_before_them() {
        let mut ring = ring(10, 1000);
        let extension = ring.extension().expect("more chunks");
        ring.extend(extension);
        (0..70).for_each(|_| assert!(ring.put_to_use()));
        for chunk in 0..20 {
            ring.make_absent(ChunkId(chunk));
        }
        assert!((0..6).all(|_| ring.lower_free(64)) && !ring.lower_free(64));
        assert_eq!(ring.chunks_in_use(), 50);
        ring.trim(0);
        assert_eq!(ring.chunks(), 64);
        ring.validate(&[]);
    }
}
