//! Runs: adjacent chunks that are used as one.
//!
//! ```text
//!   chunk      | first: open, sealed .. | run      | run      |
//!   entries    | entry      | entry      | entry      | rest |
//! ```
//!
//! An entry that would leave much of a chunk unused goes to a run. It either has the run for
//! itself, or shares a run whose length suits several entries of its size. A run is opened, sealed,
//! cleaned, retired and freed like a chunk. Its first chunk has its counts, its state and its pins.
//! A single chunk is a run of one.
//!
//! Entries of up to an eighth of a chunk are never in a run of several chunks.
//!
//! # Not here
//!
//! The choice of the window to empty, and the relocation of its entries: `shard/runs.rs`.

use super::chunk::{ChunkId, ChunkState, Window};
use super::header::{Draft, Layout};
use super::reuse::is_held;
use super::{Ring, Stream};
use crate::reclaim::WriteToken;
use crate::units::{Location, to_u32};

/// The divisor of a chunk, or run, that gives how much may stay unused at its end. If more would,
/// longer runs are considered.
const MAX_UNUSED: usize = 8;
/// The number of longer runs that are considered, after the shortest that holds an entry.
const MAX_LONGER: usize = 10;
/// Runs of the same length that are in use, but not full of live entries: one that is being filled,
/// one for survivors, and one that is being emptied.
const RUNS_IN_FLUX: usize = 3;
/// The share of the dead bytes in sealed chunks from which on a run is left to empty by itself.
const MOST_DEAD: (usize, usize) = (3, 4);
/// The unit of costs: this many are a whole run.
const WHOLE: u64 = 1 << 12;

/// Where entries of one size go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    /// A chunk, with other entries.
    Chunk,
    /// A run with other entries of about this size, and its number of chunks.
    Shared(usize),
    /// A run for the entry alone, and its number of chunks.
    Alone(usize),
}

impl Home {
    /// Returns where entries of this charge go in a ring of `chunks` chunks. The choice leaves as
    /// little unused as possible.
    pub(crate) fn of(charge: usize, chunk_bytes: usize, chunks: usize) -> Self {
        if chunk_bytes % charge <= chunk_bytes / MAX_UNUSED && charge <= chunk_bytes {
            return if chunk_bytes / charge == 1 { Self::Alone(1) } else { Self::Chunk };
        }
        let shortest = charge.div_ceil(chunk_bytes);
        let cost = |span: usize| {
            let bytes = span * chunk_bytes;
            // In 64 bits, as a remainder may have a megabyte and more.
            let unused = (bytes % charge) as u64 * WHOLE / bytes as u64;
            let in_flux = (RUNS_IN_FLUX * span) as u64 * WHOLE / chunks as u64;
            if bytes / charge == 1 { unused } else { unused + in_flux }
        };
        let span = (shortest..=shortest + MAX_LONGER).min_by_key(|&span| cost(span)).unwrap_or(shortest);
        match span * chunk_bytes / charge {
            _ if span == 1 => Self::Chunk,
            1 => Self::Alone(span),
            _ => Self::Shared(span),
        }
    }
}

/// Returns the largest charge of entries that are only in single chunks of this size.
pub(super) fn small_max(chunk_bytes: usize) -> usize {
    chunk_bytes / MAX_UNUSED
}

impl Ring {
    /// Returns the largest charge of entries that are only in single chunks.
    #[inline]
    pub(crate) fn small_max(&self) -> usize {
        self.small_max
    }

    /// Returns the stream that the entry at a location is relocated to, unless it goes to a run.
    pub(crate) fn stream_after(&self, location: Location) -> Stream {
        self.chunks[self.shared.run_of(location).index()].stream.next()
    }

    /// Returns where entries of this charge go. The choice leaves as little unused as possible.
    pub(crate) fn home(&self, charge: usize) -> Home {
        Home::of(charge, self.chunk_bytes(), self.usual_chunks())
    }

    /// Seals the runs that are being filled with large entries.
    pub(crate) fn seal_large_runs(&mut self) {
        for stream in [Stream::Large, Stream::LargeSurvivors] {
            if let Some(run) = self.open[stream as usize].take() {
                self.seal(run);
            }
        }
    }

    /// Returns the number of chunks that an entry takes if it has them for itself.
    pub(crate) fn span_alone(&self, charge: usize) -> usize {
        charge.div_ceil(self.chunk_bytes())
    }

    /// Returns the charge of an entry that is not marked dead.
    pub(crate) fn charge_of(&self, location: Location) -> usize {
        self.arena().layout(location).charge()
    }

    /// Returns `true` if a chunk is open for entries that share single chunks.
    pub(crate) fn has_small(&self) -> bool {
        Stream::OF_CHUNKS.into_iter().any(|stream| self.open_chunk(stream).is_some())
    }

    /// Returns the length of the run that is being filled with large entries, or 0 if there is
    /// none.
    pub(crate) fn large_span(&self) -> usize {
        self.open_chunk(Stream::Large).map_or(0, |chunk| self.chunks[chunk.index()].span as usize)
    }

    /// Returns `true` if there are `span` adjacent chunks that nobody holds.
    pub(crate) fn could_be_freed(&self, span: usize) -> bool {
        // Goes through the chunks up to the first ones that are enough: all, if none are.
        let mut length = 0;
        let mut at = 0;
        while at < self.chunks() && length < span {
            length = if self.cost_of_emptying(at).is_some() { length + self.length_at(at) } else { 0 };
            at += self.length_at(at);
        }
        length >= span
    }

    /// Returns the first of `span` adjacent chunks that are all free and outside the window.
    pub(crate) fn free_run(&self, span: usize, window: Option<Window>) -> Option<ChunkId> {
        self.free_stretches(window).find(|&(_, length)| length >= span).map(|(first, _)| first)
    }

    /// Returns the first chunk and the length of the longest stretch of free chunks outside the
    /// window.
    pub(crate) fn longest_free(&self, window: Option<Window>) -> Option<(ChunkId, usize)> {
        self.free_stretches(window).max_by_key(|&(_, length)| length)
    }

    /// Returns the number of runs of `span` chunks that could be opened at once.
    pub(crate) fn free_runs(&self, span: usize) -> usize {
        self.free_stretches(None).map(|(_, length)| length / span).sum()
    }

    /// Returns all stretches of free chunks outside the window: their first chunks and their
    /// lengths.
    fn free_stretches(&self, window: Option<Window>) -> impl Iterator<Item = (ChunkId, usize)> + '_ {
        // A window without chunks, at the end, stands for none.
        let window = window.map_or(self.chunks()..self.chunks(), Window::range);
        let mut at = 0;
        core::iter::from_fn(move || {
            let mut first = self.free.first_from(at)?;
            if window.contains(&first.index()) {
                first = self.free.first_from(window.end)?;
            }
            let border = if first.index() < window.start { window.start } else { self.chunks() };
            at = self.free.end_of_row(first.index(), border);
            Some((first, at - first.index()))
        })
    }

    /// Returns the bytes of the run that starts with `first`.
    #[inline]
    pub(super) fn run_bytes(&self, first: ChunkId) -> usize {
        (self.chunks[first.index()].span as usize) << self.chunk_shift
    }

    /// Opens `span` chunks from `first` on as one run. All of them are free.
    pub(super) fn begin_run(&mut self, first: ChunkId, span: usize, stream: Stream) {
        for (back, chunk) in (first.index()..first.index() + span).enumerate() {
            assert_eq!(self.chunks[chunk].state, ChunkState::Free, "a run is made of free chunks");
            self.chunks[chunk].live = 0;
            self.chunks[chunk].fill = 0;
            self.chunks[chunk].stream = stream;
            self.shared.pins[chunk].set_back(to_u32(back));
            self.set_state(ChunkId(to_u32(chunk)), if back == 0 { ChunkState::Open } else { ChunkState::Run });
        }
        self.set_span(first, to_u32(span));
    }

    /// Sets the number of chunks in the run that starts with `first`.
    pub(super) fn set_span(&mut self, first: ChunkId, span: u32) {
        self.chunks[first.index()].span = span;
        self.shared.pins[first.index()].set_span(span);
    }

    /// Returns the location of the first entry of a chunk.
    pub(crate) fn start_of(&self, chunk: ChunkId) -> Option<Location> {
        Location::from_offset(chunk.index() << self.chunk_shift)
    }

    /// Takes the free chunks from `first` on for a single entry.
    fn take_run(&mut self, first: ChunkId, charge: usize) -> Option<Location> {
        let location = self.start_of(first)?;
        self.begin_run(first, self.span_alone(charge), Stream::Large);
        self.chunks[first.index()].fill = to_u32(charge);
        self.chunks[first.index()].live = to_u32(charge);
        self.live_bytes += charge;
        self.set_state(first, ChunkState::Sealed);
        Some(location)
    }

    /// Writes an entry to a run of its own that starts at `first`. All of its chunks are free.
    pub(crate) fn write_run(&mut self, first: ChunkId, layout: &Layout, draft: &Draft<'_>) -> Option<Location> {
        let location = self.take_run(first, layout.charge())?;
        self.arena().write(location, layout, draft);
        Some(location)
    }

    /// Appends a large entry to the run that is being filled. Returns `None` if there is no such
    /// run or it has no room.
    #[inline(never)]
    pub(crate) fn append_large(&mut self, layout: &Layout, draft: &Draft<'_>) -> Option<Location> {
        self.append(Stream::Large, layout, draft)
    }

    /// Like [`relocate`](Self::relocate), but copies the entry to a run of its own that starts at
    /// `first`.
    pub(crate) fn relocate_alone(
        &mut self,
        location: Location,
        first: ChunkId,
        token: &WriteToken,
    ) -> Option<(Location, usize)> {
        let charge = self.arena().layout(self.live_at(location, token)?.location()).charge();
        let to = self.take_run(first, charge)?;
        self.copy_to(location, to, charge, token);
        Some((to, charge))
    }

    /// Returns the adjacent chunks that are the cheapest to empty: those with the fewest live
    /// bytes. There are at least `span` of them, not all free, and none is retired or held. Readers
    /// count with the chunks that they held at the last [`look_at_slots`](Self::look_at_slots).
    pub(crate) fn cheapest_window(&self, span: usize) -> Option<Window> {
        // Goes through all chunks. Only an entry that goes to a run needs it.
        let mut best: Option<Window> = None;
        let (mut start, mut live) = (0, 0);
        let mut at = 0;
        while at < self.chunks() {
            let end = at + self.length_at(at);
            match self.cost_of_emptying(at) {
                Some(cost) => live += cost,
                None => (start, live) = (end, 0),
            }
            at = end;
            // The window has no more chunks than it needs.
            while start < end && end - start - self.length_at(start) >= span {
                live -= self.cost_of_emptying(start).unwrap_or(0);
                start += self.length_at(start);
            }
            if live > 0 && end - start >= span && best.is_none_or(|best| live < best.live) {
                best = Some(Window { first: ChunkId(to_u32(start)), span: to_u32(end - start), live });
            }
        }
        best
    }

    /// Returns `true` if a run has most of the dead bytes of all sealed chunks. Entries die in the
    /// order in which they came, so the next ones to die are in this run, too. Waiting for them
    /// costs less than relocating them.
    pub(super) fn run_empties_by_itself(&self, first: ChunkId) -> bool {
        let run = &self.chunks[first.index()];
        let is_run = run.span > 1 && run.state == ChunkState::Sealed;
        is_run && run.dead() >= self.dead_in_sealed() / MOST_DEAD.1 * MOST_DEAD.0
    }

    /// Returns `true` if a window is a run that [empties by itself](Self::run_empties_by_itself).
    pub(crate) fn empties_by_itself(&self, window: Window) -> bool {
        self.run_empties_by_itself(window.first)
    }

    /// Returns the number of chunks in the run that starts at `chunk`, or 1 if no run does.
    fn length_at(&self, chunk: usize) -> usize {
        match self.chunks[chunk].state {
            ChunkState::Open | ChunkState::Sealed | ChunkState::Cleaning => self.chunks[chunk].span as usize,
            ChunkState::Absent | ChunkState::Free | ChunkState::Retired | ChunkState::Run => 1,
        }
    }

    /// Returns the bytes to be relocated to empty the run that starts at `chunk`. Returns `None` if
    /// it cannot be emptied.
    fn cost_of_emptying(&self, chunk: usize) -> Option<usize> {
        match self.chunks[chunk].state {
            ChunkState::Free => Some(0),
            // It is there for memory that the index may leave later.
            ChunkState::Absent if chunk >= self.usual_chunks() => None,
            // Another chunk has to be emptied and given back in exchange.
            ChunkState::Absent => Some(self.chunk_bytes()),
            ChunkState::Open | ChunkState::Sealed | ChunkState::Cleaning if self.is_run_held(chunk) => None,
            // Its remaining room would be lost.
            ChunkState::Open => Some(self.run_bytes(ChunkId(to_u32(chunk)))),
            ChunkState::Sealed | ChunkState::Cleaning => Some(self.chunks[chunk].live as usize),
            ChunkState::Retired | ChunkState::Run => None,
        }
    }

    /// Returns `true` if there are absent chunks in a window.
    pub(crate) fn absent_in(&self, window: Window) -> bool {
        self.first_absent_in(window).is_some()
    }

    /// Puts an absent chunk of a window to use, and gives a free one outside back in exchange.
    /// Returns `false` if there is no such pair.
    pub(crate) fn exchange_absent(&mut self, window: Window) -> bool {
        let (Some(absent), Some((free, _))) = (self.first_absent_in(window), self.free_stretches(Some(window)).next())
        else {
            return false;
        };
        self.make_absent(free);
        self.set_state(absent, ChunkState::Free);
        true
    }

    fn first_absent_in(&self, window: Window) -> Option<ChunkId> {
        self.absent.first_from(window.range().start).filter(|&chunk| window.contains(chunk))
    }

    /// Returns `true` if a value holds the run that starts at `chunk`, or a reader did at the last
    /// look at the slots.
    fn is_run_held(&self, chunk: usize) -> bool {
        let pins = &self.shared.pins[chunk];
        pins.has_values() || is_held(&self.held, ChunkId(to_u32(chunk)), pins.span())
    }

    /// Returns the first chunk, or run, of a window that has to be emptied. Seals it if it is open.
    pub(crate) fn next_in_window(&mut self, window: Window) -> Option<ChunkId> {
        let states = [ChunkState::Open, ChunkState::Sealed, ChunkState::Cleaning];
        let mut chunks = window.range().map(|chunk| ChunkId(to_u32(chunk)));
        let chunk = chunks.find(|chunk| states.contains(&self.chunks[chunk.index()].state))?;
        if let Some(stream) = Stream::ALL.into_iter().find(|&stream| self.open[stream as usize] == Some(chunk)) {
            self.open[stream as usize] = None;
            self.set_state(chunk, ChunkState::Sealed);
        }
        Some(chunk)
    }
}
