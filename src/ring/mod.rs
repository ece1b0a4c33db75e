//! A shard's bytes: fixed chunks that are filled at the tail, cleaned and reused in rotation.
//!
//! ```text
//!   arena   | sealed | open: tail -> .... | free | retired | sealed | survivors -> .. | absent |
//! ```
//!
//! Fresh entries go to one open chunk, and the survivors of cleaned chunks to another. So old
//! entries gather in chunks that rarely have to be cleaned again. Large entries go to runs of
//! adjacent chunks (`runs.rs`).
//!
//! # Invariants
//!
//! 1. `live(run) <= fill(run) <= bytes(run)`, and the sum of `live` is the ring's charge. A run
//!    counts at its first chunk.
//! 2. Only the holder of the shard's lock writes entries, into room that was just taken: past the
//!    former fill mark of a chunk or run.
//! 3. The bytes at a published location stay as they are until the pins of its chunk reach zero.
//! 4. A chunk is retired only when no index lane points into it.
//! 5. While chunks are cleaned, the entries without a dead mark are exactly those that index lanes
//!    point to.
//!
//! # Not here
//!
//! Hashes, policies and time. `shard/space.rs` decides which entries leave and which are relocated.
//! The ring moves lengths and bytes.

#![allow(unsafe_code, reason = "bytes of entries are read while other threads write beside them")]

mod arena;
mod bits;
mod chunk;
mod emptiest;
mod header;
mod pins;
mod relay;
mod reuse;
mod runs;
mod shadow;
mod shared;
mod tables;
mod value;

use core::mem::offset_of;
use std::sync::Arc;

use arena::Arena;
pub(crate) use arena::{Entry, StampsAt};
use bits::ChunkBits;
use chunk::{Chunk, ChunkState};
pub(crate) use chunk::{ChunkId, Window};
pub(crate) use emptiest::{Emptiest, FOUND_AT_ONCE, Found, Search};
pub(crate) use header::{Alignment, Draft, Layout};
pub(crate) use reuse::RELEASED_AT_ONCE;
pub(crate) use runs::Home;
pub(crate) use shared::{OwnedValue, RingShared};
pub use value::Value;

use crate::growable::Growable;
use crate::prefetch::prefetch;
use crate::reclaim::{Live, WriteToken};
use crate::region::Pages;
use crate::units::{Location, MAX_ARENA_BYTES, to_u32};

/// Which open chunk an entry goes to. It depends on how often the entry has been relocated, so that
/// the entries of a chunk die at similar times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stream {
    /// Entries that callers insert.
    Fresh,
    /// Entries that were relocated out of a fresh chunk.
    Survivors,
    /// Entries that were relocated again.
    Elders,
    /// Entries that callers insert and that go to a run.
    Large,
    /// Entries that were relocated and go to a run.
    LargeSurvivors,
}

impl Stream {
    const COUNT: usize = 5;
    const ALL: [Self; Self::COUNT] = [Self::Fresh, Self::Survivors, Self::Elders, Self::Large, Self::LargeSurvivors];
    /// The streams whose runs are single chunks.
    pub(crate) const OF_CHUNKS: [Self; 3] = [Self::Fresh, Self::Survivors, Self::Elders];

    #[inline]
    fn is_large(self) -> bool {
        matches!(self, Self::Large | Self::LargeSurvivors)
    }

    /// Returns the stream that entries of this stream are relocated to, unless they go to a run.
    fn next(self) -> Self {
        match self {
            Self::Fresh | Self::Large | Self::LargeSurvivors => Self::Survivors,
            Self::Survivors | Self::Elders => Self::Elders,
        }
    }
}

/// The numbers of chunks of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RingSize {
    /// The chunks that have a place in its tables for as long as it lives.
    pub(crate) first: usize,
    /// The chunks for which there are addresses.
    pub(crate) most: usize,
}

impl RingSize {
    /// Returns the size of a ring that never has more chunks.
    #[cfg(test)]
    pub(crate) fn fixed(chunks: usize) -> Self {
        Self { first: chunks, most: chunks }
    }
}

/// The writer's side of a ring. The fields that each store writes to come first.
#[repr(C)]
pub(crate) struct Ring {
    live_bytes: usize,
    /// The offset in the arena of the next fresh entry, if an open chunk has room for it. For
    /// prefetching only.
    tail: usize,
    shared: Arc<RingShared>,
    /// The known chunks: those that have a place in the tables. More may come (`tables.rs`).
    chunks: Growable<Chunk>,
    chunk_shift: u32,
    chunk_bytes: usize,
    /// See [`small_max`](Self::small_max).
    small_max: usize,
    open: [Option<ChunkId>; Stream::COUNT],
    /// The number of chunks by which shares of the ring are computed.
    usual_chunks: u32,
    /// Bytes at the ends of sealed chunks. They were too few for the next entry.
    unused_ends: usize,
    counts: ChunkCounts,
    /// The chunks that would fit at first if nothing else were needed, without those of
    /// `usual_chunks`.
    chunks_beside: u32,
    /// The pages that the system was asked for.
    pages: Pages,
    /// The number of chunks in `waiting_set`.
    waiting: usize,
    /// Retired chunks, and first chunks of retired runs, that readers may still see.
    waiting_set: ChunkBits,
    /// The chunks that slots named at the last [`reclaim`](Self::reclaim).
    held: ChunkBits,
    free: ChunkBits,
    /// The absent chunks that have a place in the tables.
    absent: ChunkBits,
}

/// The number of chunks in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChunkCounts {
    pub(crate) absent: usize,
    pub(crate) free: usize,
    pub(crate) retired: usize,
}

impl Ring {
    /// Bytes at the start that each store writes to.
    pub(crate) const WRITTEN_BYTES: usize = offset_of!(Self, shared);

    /// Creates a ring of chunks of `2^chunk_shift` bytes, all absent. Returns `None` if the system
    /// refuses the memory.
    pub(crate) fn new(size: RingSize, chunk_shift: u32, alignment: Alignment) -> Option<Self> {
        debug_assert!((size.most as u64) << chunk_shift <= MAX_ARENA_BYTES && size.first <= size.most);
        let count = size.first;
        let mut chunks = Growable::within(count, size.most)?;
        chunks.fill(Chunk::ABSENT);
        let mut absent = ChunkBits::new(size.most);
        (0..to_u32(count)).map(ChunkId).for_each(|chunk| absent.insert(chunk));
        Some(Self {
            shared: Arc::new(RingShared::new(size, chunk_shift, alignment)?),
            chunk_shift,
            chunk_bytes: 1 << chunk_shift,
            small_max: runs::small_max(1 << chunk_shift),
            chunks,
            open: [None; Stream::COUNT],
            live_bytes: 0,
            tail: 0,
            unused_ends: 0,
            counts: ChunkCounts { absent: count, ..ChunkCounts::default() },
            usual_chunks: to_u32(count),
            chunks_beside: 0,
            pages: Pages::Small,
            waiting: 0,
            waiting_set: ChunkBits::new(size.most),
            held: ChunkBits::new(size.most),
            free: ChunkBits::new(size.most),
            absent,
        })
    }

    pub(crate) fn shared(&self) -> &Arc<RingShared> {
        &self.shared
    }

    /// Returns the arena, which holds the bytes of the entries.
    #[inline(always)]
    pub(crate) fn arena(&self) -> &Arena {
        self.shared.arena()
    }

    pub(crate) fn chunk_bytes(&self) -> usize {
        self.chunk_bytes
    }

    /// Returns the number of whole chunks in `bytes` bytes.
    pub(crate) fn whole_chunks(&self, bytes: usize) -> usize {
        bytes >> self.chunk_shift
    }

    /// Returns the bytes of the chunks by which shares of the ring are computed.
    pub(crate) fn usual_bytes(&self) -> usize {
        self.usual_chunks() << self.chunk_shift
    }

    /// Returns the number of chunks by which shares of the ring are computed: how many a shard that
    /// is almost empty could put to use.
    pub(crate) fn usual_chunks(&self) -> usize {
        self.usual_chunks as usize
    }

    /// Sets the number of chunks by which shares of the ring are computed, of a new ring.
    pub(crate) fn set_usual_chunks(&mut self, chunks: usize) {
        self.chunks_beside = to_u32(self.shared.size().first - chunks);
        self.set_usual(chunks);
    }

    /// Computes shares of the ring for a shard that may have `bytes` bytes.
    pub(crate) fn set_usual_bytes(&mut self, bytes: usize) {
        self.set_usual(self.whole_chunks(bytes).saturating_sub(self.chunks_beside as usize));
    }

    fn set_usual(&mut self, chunks: usize) {
        let chunks = chunks.clamp(1, self.shared.size().most);
        self.usual_chunks = to_u32(chunks);
        self.shared.set_usual_chunks(chunks);
    }

    /// Returns the number of chunks that have a place in the tables. Others are absent.
    pub(crate) fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// Returns the number of chunks in use: those whose memory is counted.
    pub(crate) fn chunks_in_use(&self) -> usize {
        self.chunks() - self.counts.absent
    }

    pub(crate) fn counts(&self) -> ChunkCounts {
        self.counts
    }

    /// Returns the number of retired chunks and runs that readers may still see. Chunks that only
    /// values hold are not among them.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Returns the sum of the charges of all live entries.
    pub(crate) fn live_bytes(&self) -> usize {
        self.live_bytes
    }

    /// Returns the unused bytes at the ends of sealed chunks.
    pub(crate) fn unused_ends(&self) -> usize {
        self.unused_ends
    }

    /// Returns the bytes of dead entries and of the unused ends of sealed chunks.
    pub(crate) fn dead_bytes(&self) -> usize {
        let open = self.open.iter().flatten().map(|chunk| self.chunks[chunk.index()].dead()).sum::<usize>();
        self.dead_in_sealed() + open + self.unused_ends
    }

    /// Returns the bytes of dead entries in chunks, and runs, that are sealed or being cleaned.
    fn dead_in_sealed(&self) -> usize {
        let (mut sealed, mut live) = (self.chunks_in_use() - self.counts.free - self.counts.retired, self.live_bytes);
        for chunk in self.open.iter().flatten().map(|chunk| &self.chunks[chunk.index()]) {
            sealed -= chunk.span as usize;
            live -= chunk.live as usize;
        }
        (sealed << self.chunk_shift) - self.unused_ends - live
    }

    /// Returns the layout of an entry to be written.
    #[inline]
    pub(crate) fn layout(&self, draft: &Draft<'_>) -> Layout {
        Layout::of(draft.key.len(), draft.value.len(), draft.stamps.present(), self.arena().alignment())
    }

    #[inline]
    pub(crate) fn entry<'a>(&'a self, live: Live<'a>) -> Entry<'a> {
        self.arena().entry(live)
    }

    /// Returns the charge of the entry at a live location.
    #[inline]
    pub(crate) fn charge_at(&self, live: Live<'_>) -> usize {
        self.arena().layout(live.location()).charge()
    }

    /// Asks the processor to fetch the lines that the next append of a fresh entry writes to, as
    /// far as entries usually reach.
    #[inline]
    pub(crate) fn prefetch_tail(&self) {
        // The offset is stored apart from the chunk's fill, because the chunk's state is mostly in
        // another core's cache.
        prefetch(self.chunks.as_ptr().wrapping_add(self.tail >> self.chunk_shift));
        self.shared.prefetch_tail(self.tail);
    }

    /// Asks the processor to fetch the lines that the death of the entry at `location` writes to.
    /// Any location is allowed.
    #[inline]
    pub(crate) fn prefetch_death(&self, location: Location) {
        if let Some(chunk) = self.chunks.get(self.shared.chunk_of(location).index()) {
            prefetch(chunk);
        }
        self.shared.prefetch_header(location);
    }

    /// Appends an entry to the open chunk of `stream`. Returns `None` if no chunk is open or the
    /// open one has no room.
    #[inline(always)]
    pub(crate) fn append(&mut self, stream: Stream, layout: &Layout, draft: &Draft<'_>) -> Option<Location> {
        let location = self.take_room(stream, layout.charge())?;
        self.arena().write(location, layout, draft);
        self.shared.prefetch_after(location, layout.charge());
        if stream == Stream::Fresh {
            self.tail = location.offset() + layout.charge();
        }
        Some(location)
    }

    /// Copies an entry that is not dead to the open chunk of a stream, and counts it dead at its
    /// old location. Returns its new location and its charge, or `None` if there is no room. The
    /// caller publishes the new location at once, and then [ends](Self::end_relocation) the
    /// relocation.
    pub(crate) fn relocate(
        &mut self,
        location: Location,
        stream: Stream,
        token: &WriteToken,
    ) -> Option<(Location, usize)> {
        let charge = self.arena().layout(self.live_at(location, token)?.location()).charge();
        let to = self.take_room(stream, charge)?;
        self.copy_to(location, to, charge, token);
        Some((to, charge))
    }

    /// Copies an entry to the room that was taken for it, and counts it dead at its old location.
    fn copy_to(&mut self, location: Location, to: Location, charge: usize, token: &WriteToken) {
        if let Some(live) = self.live_at(location, token) {
            self.arena().relocate(live, to);
        }
        self.count_dead(self.run_at(location, charge), charge);
    }

    /// Begins the relocation of an entry that is stored anew, before the new location is published.
    pub(crate) fn begin_relocation(&self, from: Location, to: Location) {
        self.arena().begin_relocation(from, to);
    }

    /// Ends a relocation, after the new location was published. The old entry is marked dead, and
    /// no change that a reader made to it is lost.
    pub(crate) fn end_relocation(&self, from: Location, to: Location) {
        self.arena().end_relocation(from, to);
    }

    #[inline]
    fn take_room(&mut self, stream: Stream, charge: usize) -> Option<Location> {
        let number = self.open_chunk(stream)?.index();
        let room = self.room_of(stream, number);
        let chunk = &mut self.chunks[number];
        let fill = chunk.fill as usize;
        if charge > room - fill {
            return None;
        }
        chunk.fill += to_u32(charge);
        chunk.live += to_u32(charge);
        self.live_bytes += charge;
        Some(Location::at_offset((number << self.chunk_shift) + fill))
    }

    /// Returns the bytes of an open chunk, or run, of a stream.
    #[inline]
    fn room_of(&self, stream: Stream, chunk: usize) -> usize {
        // Streams of single chunks do not look up the span.
        if stream.is_large() { self.run_bytes(ChunkId(to_u32(chunk))) } else { self.chunk_bytes() }
    }

    /// Returns the bytes that can still be appended to the open chunk, or run, of a stream.
    pub(crate) fn room(&self, stream: Stream) -> usize {
        let room = |chunk: ChunkId| self.room_of(stream, chunk.index()) - self.chunks[chunk.index()].fill as usize;
        self.open_chunk(stream).map_or(0, room)
    }

    #[inline]
    fn open_chunk(&self, stream: Stream) -> Option<ChunkId> {
        self.open[stream as usize]
    }

    /// Returns the first chunk of the run with the entry at a location, which has this charge.
    #[inline]
    fn run_at(&self, location: Location, charge: usize) -> ChunkId {
        // Small entries lie in single chunks, so the run is not looked up.
        if charge <= self.small_max() { self.shared.chunk_of(location) } else { self.shared.run_of(location) }
    }

    /// Seals the open chunk of `stream` and opens a free one outside the window. Returns `false` if
    /// there is none.
    pub(crate) fn open_next(&mut self, stream: Stream, window: Option<Window>) -> bool {
        let is_outside = |chunk: &ChunkId| window.is_none_or(|window| !window.contains(*chunk));
        let next = self.free.iter().find(is_outside);
        if let Some(next) = next {
            self.open_run(stream, next, 1);
        }
        next.is_some()
    }

    /// Seals the open chunk, or run, of `stream`, and opens `span` chunks from `first` on. All of
    /// them are free.
    pub(crate) fn open_run(&mut self, stream: Stream, first: ChunkId, span: usize) {
        self.begin_run(first, span, stream);
        let sealed = self.open[stream as usize].replace(first);
        if stream == Stream::Fresh {
            self.tail = first.index() << self.chunk_shift;
        }
        if let Some(sealed) = sealed {
            self.seal(sealed);
        }
    }

    /// Seals a chunk, or run. Retires it if nothing in it is live.
    fn seal(&mut self, chunk: ChunkId) {
        self.set_state(chunk, ChunkState::Sealed);
        if self.chunks[chunk.index()].live == 0 {
            self.retire(chunk);
        }
    }

    /// Marks a written entry dead. No lane points to it, or none ever did. Retires its chunk if it
    /// is sealed and nothing else in it is live.
    #[inline(always)]
    pub(crate) fn kill(&mut self, location: Location) {
        let first = self.arena().mark_dead(location);
        self.note_death(location, self.arena().charge_after(first, location));
    }

    /// Like [`kill`](Self::kill), for an entry that has this charge. With another one, a chunk
    /// might be retired while an entry in it is live.
    #[inline(always)]
    pub(crate) fn kill_of_charge(&mut self, location: Location, charge: usize) {
        let first = self.arena().mark_dead(location);
        debug_assert_eq!(self.arena().charge_after(first, location), charge);
        self.note_death(location, charge);
    }

    #[inline(always)]
    fn note_death(&mut self, location: Location, charge: usize) {
        let id = self.run_at(location, charge);
        let chunk = self.count_dead(id, charge);
        if chunk.live == 0 && chunk.state == ChunkState::Sealed {
            self.retire(id);
        }
    }

    #[inline]
    fn count_dead(&mut self, id: ChunkId, charge: usize) -> &Chunk {
        let chunk = &mut self.chunks[id.index()];
        chunk.live -= to_u32(charge);
        self.live_bytes -= charge;
        chunk
    }

    /// Marks a sealed chunk as being cleaned. The chunk may already be marked.
    pub(crate) fn begin_cleaning(&mut self, chunk: ChunkId) {
        let state = self.chunks[chunk.index()].state;
        assert!(matches!(state, ChunkState::Sealed | ChunkState::Cleaning), "only sealed chunks are cleaned");
        self.set_state(chunk, ChunkState::Cleaning);
    }

    /// Seals a chunk again whose cleaning has begun.
    pub(crate) fn end_cleaning(&mut self, chunk: ChunkId) {
        self.seal(chunk);
    }

    /// Returns the entry at `at` bytes into the chunk, or `None` if it has a dead mark, and the
    /// start of the entry after it. Returns `None` at the end of the chunk.
    #[inline]
    pub(crate) fn look_at(&self, chunk: ChunkId, at: usize) -> Option<(Option<Location>, usize)> {
        if at >= self.chunks[chunk.index()].fill as usize {
            return None;
        }
        let location = Location::at_offset((chunk.index() << self.chunk_shift) + at);
        let first = self.arena().load_first(location);
        let charge = self.arena().charge_after(first, location);
        Some(((!first.is_dead()).then_some(location), at + charge))
    }

    /// Returns the first entry without a dead mark at or after `from` bytes into the chunk, and the
    /// start of the entry after it. Returns `None` at the end of the chunk.
    pub(crate) fn next_entry(&self, chunk: ChunkId, from: usize) -> Option<(Location, usize)> {
        let mut at = from;
        // Ends: each round passes an entry of the chunk.
        loop {
            let (found, next) = self.look_at(chunk, at)?;
            if let Some(location) = found {
                return Some((location, next));
            }
            at = next;
        }
    }

    /// Returns the entry at a location that came from [`next_entry`](Self::next_entry), or `None`
    /// if it has been marked dead since.
    pub(crate) fn live_at<'a>(&'a self, location: Location, token: &'a WriteToken) -> Option<Live<'a>> {
        if self.arena().is_dead(location) {
            return None;
        }
        // SAFETY:
        // * the token proves the shard's lock, and under it an entry that is written and not dead
        //   has a lane that points to it (invariant 5);
        // * the ring has published the location: its bytes were written before.
        Some(unsafe { Live::new(location, token.into()) })
    }

    fn unused_end(&self, chunk: ChunkId) -> usize {
        self.run_bytes(chunk) - self.chunks[chunk.index()].fill as usize
    }

    /// Recounts everything, and panics where a count differs. `locations` are those of all lanes of
    /// the index.
    pub(crate) fn validate(&self, locations: &[Location]) {
        let mut live = vec![0; self.chunks()];
        for &location in locations {
            let charge = self.arena().layout(location).charge();
            let chunk = self.run_at(location, charge).index();
            assert!(!self.arena().is_dead(location), "a lane points to a dead entry");
            assert!(
                matches!(self.chunks[chunk].state, ChunkState::Open | ChunkState::Sealed | ChunkState::Cleaning),
                "a lane points into a chunk that is {:?}",
                self.chunks[chunk].state
            );
            live[chunk] += to_u32(charge);
        }
        assert_eq!(live.iter().map(|&live| live as usize).sum::<usize>(), self.live_bytes);
        for (number, (live, chunk)) in live.into_iter().zip(self.chunks.iter()).enumerate() {
            if !matches!(chunk.state, ChunkState::Absent | ChunkState::Free | ChunkState::Retired) {
                assert_eq!(live, chunk.live, "live bytes of chunk {number}, {:?}", chunk.state);
                assert!(live <= chunk.fill && chunk.fill as usize <= self.run_bytes(ChunkId(to_u32(number))));
            }
        }
        let count = |wanted| self.chunks.iter().filter(|chunk| chunk.state == wanted).count();
        let counts = ChunkCounts {
            absent: count(ChunkState::Absent),
            free: count(ChunkState::Free),
            retired: count(ChunkState::Retired),
        };
        assert_eq!(self.counts, counts);
        assert!(self.waiting_set.iter().count() == self.waiting && self.waiting <= counts.retired);
        for (set, state) in [(&self.free, ChunkState::Free), (&self.absent, ChunkState::Absent)] {
            let chunks = (0..).map(ChunkId).zip(self.chunks.iter());
            assert!(set.iter().eq(chunks.filter(|(_, chunk)| chunk.state == state).map(|(id, _)| id)), "{state:?}");
        }
        assert_eq!(count(ChunkState::Open), self.open.iter().flatten().count());
        let chunks = (0..).map(ChunkId).zip(self.chunks.iter());
        let sealed = chunks.filter(|(_, chunk)| matches!(chunk.state, ChunkState::Sealed | ChunkState::Cleaning));
        let sums = sealed.fold((0, 0), |sums, (id, chunk)| (sums.0 + self.unused_end(id), sums.1 + chunk.dead()));
        assert_eq!(sums, (self.unused_ends, self.dead_in_sealed()));
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.shared.outlives_ring();
        let chunks = (0..).map(ChunkId).zip(self.chunks.iter());
        let is_empty = |state| matches!(state, ChunkState::Absent | ChunkState::Free | ChunkState::Retired);
        let filled = chunks.filter(|(_, chunk)| !is_empty(chunk.state));
        for chunk in filled.map(|(id, _)| id).chain(self.waiting_set.iter()) {
            // No reader is left, so a chunk without values gets no more of them. Its own pin need
            // not end.
            if self.shared.pins[chunk.index()].has_values() {
                self.shared.drop_own(chunk);
            }
        }
        // SAFETY: the ring's shard is being dropped. Readers borrow the shard, so none is left.
        unsafe { self.shared.release_unpinned() };
    }
}
