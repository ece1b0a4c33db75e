//! Room for large entries: runs of adjacent chunks, and what stands in their way.
//!
//! Where there is no run of free chunks, adjacent chunks that are cheap to empty are: the entries in them move to other
//! places, and those for which there is none are evicted. Chunks that somebody holds cannot be emptied, and where they
//! leave no window that is wide enough a large entry is refused before anything is evicted for it.

use super::State;
use super::space::MAX_FRUITLESS;
use super::write::Writer;
use crate::ring::{ChunkId, Draft, Home, Layout, Stream, Window};
use crate::units::{EntryId, Location};

/// The part of a window's bytes that may live if moving them is better than evicting.
const WORTH_EMPTYING: (usize, usize) = (7, 8);

/// How much of what is stored is large.
#[derive(Debug, Default)]
pub(super) struct LargeShare {
    /// The bytes that had been inserted when this stretch began.
    inserted: u64,
    /// Charges of large entries since.
    large: u64,
}

/// The part of what is stored that large entries are where they share runs.
const MOSTLY_LARGE: (u64, u64) = (3, 4);
/// A stretch over which that is looked at is this part of the ring.
const STRETCH_SHARE: u64 = 4;

/// What a run is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    OneEntry,
    /// Several, some of which will have to be moved: so another run of this length is wanted.
    SeveralEntries,
}

impl State {
    /// Notes that an entry of this charge, which is not small, is to be stored.
    fn note_large(&mut self, charge: usize) {
        let stretch_max = self.entries.ring().bytes() as u64 / STRETCH_SHARE;
        let share = &mut self.large_share;
        share.large += charge as u64;
        let stretch = self.counts.inserted_bytes - share.inserted;
        if stretch > stretch_max {
            share.inserted += stretch / 2;
            share.large /= 2;
        }
    }

    /// Whether most of what is stored is large. Only then do large entries share runs: elsewhere small ones fill what they
    /// leave of their chunks, and a run would have to be emptied of many.
    fn is_mostly_large(&self) -> bool {
        let LargeShare { inserted, large } = self.large_share;
        large * MOSTLY_LARGE.1 >= (self.counts.inserted_bytes - inserted) * MOSTLY_LARGE.0
    }

    /// Where an entry of this charge goes.
    fn home(&self, charge: usize) -> Home {
        let ring = self.entries.ring();
        match charge {
            _ if charge <= ring.small_max() => Home::Chunk,
            _ if self.is_mostly_large() => ring.home(charge),
            _ if charge <= ring.chunk_bytes() => Home::Chunk,
            _ => Home::Alone(ring.span_alone(charge)),
        }
    }
}

impl Writer<'_> {
    /// Whether an entry can have a place at all, once enough has been evicted: whether there are enough adjacent chunks
    /// that nobody holds.
    #[inline]
    pub(super) fn may_have_place(&mut self, layout: &Layout) -> bool {
        layout.charge() <= self.state.entries.ring().chunk_bytes()
            || self.has_window(self.state.entries.ring().span_alone(layout.charge()))
    }

    #[cold]
    fn has_window(&mut self, span: usize) -> bool {
        let has_window = |writer: &mut Self| {
            writer.state.entries.ring_mut().reclaim();
            writer.state.entries.ring_mut().look_at_slots();
            writer.state.entries.ring().could_be_freed(span)
        };
        has_window(self) || self.yield_to_readers(has_window)
    }

    /// Writes an entry that is not small; `None` if no space can be had.
    #[inline(never)]
    pub(super) fn place_large(&mut self, layout: &Layout, draft: &Draft<'_>) -> Option<Location> {
        self.state.note_large(layout.charge());
        match self.state.home(layout.charge()) {
            Home::Chunk => self.place_in_chunk(layout, draft),
            Home::Alone(span) => self.place_alone(span, layout, draft),
            Home::Shared(span) => {
                if let Some(location) = self.state.entries.ring_mut().append_large(layout, draft) {
                    return Some(location);
                }
                // Entries of other sizes may have the run; then this one is alone if that leaves less unused.
                let alone = self.state.entries.ring().span_alone(layout.charge());
                let unused = alone * self.state.entries.ring().chunk_bytes() - layout.charge();
                if self.state.entries.ring().room(Stream::Large) > unused
                    || !self.free_run(span, Purpose::SeveralEntries)
                {
                    return self.place_alone(alone, layout, draft);
                }
                let first = self.state.entries.ring().free_run(span, None)?;
                self.open_run(Stream::Large, first, span);
                self.after_opening();
                self.state.entries.ring_mut().append_large(layout, draft)
            }
        }
    }

    fn place_alone(&mut self, span: usize, layout: &Layout, draft: &Draft<'_>) -> Option<Location> {
        // First, as it may clean: between the writing and the publishing of an entry nothing may look for its lane.
        self.after_opening();
        let is_free = if span == 1 { self.free_chunk() } else { self.free_run(span, Purpose::OneEntry) };
        if !is_free {
            return None;
        }
        let first = self.state.entries.ring().free_run(span, None)?;
        self.state.entries.ring_mut().write_run(first, layout, draft)
    }

    fn open_run(&mut self, stream: Stream, first: ChunkId, span: usize) {
        if let Some(emptied) = self.state.entries.ring_mut().open_run(stream, first, span) {
            self.state.entries.ring_mut().retire(emptied);
        }
    }

    /// Seals the runs that large entries share, if those are few by now.
    pub(super) fn seal_large_runs(&mut self) {
        if self.state.is_mostly_large() {
            return;
        }
        for chunk in self.state.entries.ring_mut().seal_large_runs().into_iter().flatten() {
            self.state.entries.ring_mut().retire(chunk);
        }
    }

    /// Sees to it that `span` adjacent chunks are free; `false` if they cannot be had without waiting.
    fn free_run(&mut self, span: usize, purpose: Purpose) -> bool {
        let run = span * self.state.entries.ring().chunk_bytes();
        // Before what stands in the way of a shared run is evicted, so much is by the policy's choice.
        let (wanted, by_policy) = match purpose {
            Purpose::OneEntry => (1, 0),
            Purpose::SeveralEntries => (2, run),
        };
        let enough = self.state.entries.ring().live_bytes().saturating_sub(by_policy);
        let mut emptied = 0;
        loop {
            self.state.entries.ring_mut().reclaim();
            self.put_to_use(span, wanted);
            let runs = self.state.entries.ring().free_runs(span);
            if runs >= wanted {
                return true;
            }
            self.state.entries.ring_mut().look_at_slots();
            let Some(window) = self.state.entries.ring().cheapest_window(span) else {
                return self.has_run_in_the_end(span);
            };
            let is_worth_it = window.live() <= run / WORTH_EMPTYING.1 * WORTH_EMPTYING.0;
            // A second one is no more than a precaution.
            if runs > 0
                && (emptied >= MAX_FRUITLESS || !is_worth_it || self.state.entries.ring().empties_by_itself(window))
            {
                return true;
            }
            if emptied >= 2 * MAX_FRUITLESS {
                return self.has_run_in_the_end(span);
            }
            if is_worth_it || self.state.entries.ring().live_bytes() <= enough || !self.evict_chunkful() {
                self.exchange_absent(window, enough);
                self.empty_window(window, enough);
                emptied += 1;
            }
        }
    }

    /// Whether `span` adjacent chunks are free, at once or when readers that are about to finish have done so.
    fn has_run_in_the_end(&mut self, span: usize) -> bool {
        let has_run = |writer: &mut Self| {
            writer.state.entries.ring_mut().reclaim();
            writer.state.entries.ring().free_runs(span) > 0
        };
        has_run(self) || self.yield_to_readers(has_run)
    }

    /// Puts absent chunks to use until so many runs could be opened: they need not be adjacent, but mostly are.
    fn put_to_use(&mut self, span: usize, runs: usize) {
        let chunk = self.state.entries.ring().chunk_bytes();
        while self.state.entries.ring().free_runs(span) < runs
            && self.state.entries.ring().counts().absent > 0
            && self.state.account.take(chunk)
        {
            self.state.entries.ring_mut().put_to_use();
        }
    }

    /// Puts the absent chunks of a window to use, and gives others back for them.
    fn exchange_absent(&mut self, window: Window, enough: usize) {
        // Each second round puts one to use, unless a reader has come to see what was emptied for it.
        for _ in 0..2 * window.chunks() {
            if self.state.entries.ring_mut().exchange_absent(window) {
                continue;
            }
            match self.state.entries.ring().emptiest_outside(window) {
                Some(chunk) if self.state.entries.ring().absent_in(window) => self.vacate(chunk, window, enough),
                _ => return,
            }
            self.state.entries.ring_mut().reclaim();
        }
    }

    /// Empties the chunks of a window.
    fn empty_window(&mut self, window: Window, enough: usize) {
        while let Some(chunk) = self.state.entries.ring_mut().next_in_window(window) {
            self.vacate(chunk, window, enough);
        }
    }

    /// Empties a sealed chunk, or run: relocates what can be moved to places outside the window, evicts the rest. While
    /// more than `enough` bytes are live, the policy's choice is evicted first.
    fn vacate(&mut self, chunk: ChunkId, window: Window, enough: usize) {
        self.state.cleaning = self.state.cleaning.filter(|&(cleaned, _)| cleaned != chunk);
        self.state.entries.ring_mut().begin_cleaning(chunk);
        let mut at = 0;
        while let Some((location, next)) = self.state.entries.ring().next_entry(chunk, at) {
            if self.relocate(location, Some(window)).is_some() {
                at = next;
            } else if self.state.entries.ring().live_bytes() <= enough || !self.evict_chunkful() {
                self.evict_at(location);
                at = next;
            }
        }
        self.state.entries.ring_mut().retire(chunk);
    }

    /// Moves an entry that is not dead to the survivors, out of the window; its charge, or `None` if there is
    /// no chunk for it.
    pub(super) fn relocate(&mut self, location: Location, window: Option<Window>) -> Option<usize> {
        let id = self.state.entries.id_at(location)?;
        let moved = match self.state.home(self.state.entries.ring().charge_of(location)) {
            Home::Chunk => self.relocate_to_chunk(id, location, window),
            Home::Shared(span) => self.relocate_to_run(id, location, span, window),
            Home::Alone(span) => self.relocate_alone(id, location, span, window),
        };
        if let Some(charge) = moved {
            self.state.counts.relocated_bytes += charge as u64;
        }
        moved
    }

    fn relocate_to_chunk(&mut self, id: EntryId, location: Location, window: Option<Window>) -> Option<usize> {
        let stream = self.state.entries.ring().stream_after(location);
        self.state.entries.relocate(id, location, stream).or_else(|| {
            self.has_free(1);
            let opened = self.open_next(stream, window);
            // Rather among entries of another age than not at all.
            let streams = if opened { [stream; 3] } else { Stream::OF_CHUNKS };
            streams.into_iter().find_map(|stream| self.state.entries.relocate(id, location, stream))
        })
    }

    fn relocate_to_run(
        &mut self,
        id: EntryId,
        location: Location,
        span: usize,
        window: Option<Window>,
    ) -> Option<usize> {
        self.state.entries.relocate(id, location, Stream::LargeSurvivors).or_else(|| {
            self.has_free(span);
            let ring = self.state.entries.ring();
            let whole = ring.free_run(span, window).map(|first| (first, span));
            let run = whole.or_else(|| ring.longest_free(window));
            match run {
                Some((first, span)) if span >= ring.span_alone(ring.charge_of(location)) => {
                    self.open_run(Stream::LargeSurvivors, first, span);
                    self.state.entries.relocate(id, location, Stream::LargeSurvivors)
                }
                _ => self.state.entries.relocate(id, location, Stream::Large),
            }
        })
    }

    fn relocate_alone(
        &mut self,
        id: EntryId,
        location: Location,
        span: usize,
        window: Option<Window>,
    ) -> Option<usize> {
        self.has_free(span);
        let first = self.state.entries.ring().free_run(span, window)?;
        self.state.entries.relocate_alone(id, location, first)
    }
}
