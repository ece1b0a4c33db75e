//! Space for large entries: runs of adjacent chunks.
//!
//! If there is no run of free chunks, adjacent chunks that are cheap to empty are emptied. Their
//! entries move to other chunks. Those that find no room are evicted. Chunks that a reader or a
//! value holds cannot be emptied. If they leave no window that is wide enough, the large entry is
//! refused before anything is evicted for it.

use super::State;
use super::space::{MAX_FRUITLESS, yield_to_readers};
use super::writer::Writer;
use crate::ring::{ChunkId, Draft, Home, Layout, Ring, Stream, Window};
use crate::units::{Location, Stamps};

/// The largest part of a window's bytes that may be live if moving them is to be better than
/// evicting.
const WORTH_EMPTYING: (usize, usize) = (7, 8);

/// The purpose of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    OneEntry,
    /// Some of its entries will have to be relocated, so a second run of this length is wanted.
    SeveralEntries,
}

impl Writer<'_> {
    /// Returns `true` if the entry fits once enough has been evicted: if there are enough adjacent
    /// chunks that nobody holds.
    #[inline]
    pub(super) fn may_fit(&mut self, layout: &Layout) -> bool {
        layout.charge() <= self.ring().chunk_bytes() || self.has_window(self.ring().span_alone(layout.charge()))
    }

    #[cold]
    fn has_window(&mut self, span: usize) -> bool {
        let has_window = |ring: &mut Ring| {
            ring.reclaim();
            ring.look_at_slots();
            ring.could_be_freed(span)
        };
        has_window(self.ring_mut()) || yield_to_readers(self.ring_mut(), has_window)
    }

    /// Writes an entry that is not small. Returns `None` if no space can be had.
    #[inline(never)]
    pub(super) fn write_large(&mut self, key: &[u8], value: &[u8], stamps: &Stamps) -> Option<Location> {
        let draft = &Draft { key, value, stamps };
        let layout = &self.ring().layout(draft);
        let State { cleaner, entries, counts, .. } = &mut *self.state;
        match cleaner.home_of_large(layout.charge(), entries.ring(), counts) {
            Home::Chunk => self.write_to_chunk(layout, draft),
            Home::Alone(span) => self.write_alone(span, layout, draft),
            Home::Shared(span) => self.write_shared(span, layout, draft),
        }
    }

    /// Writes an entry to the run that is being filled, or to a new one of `span` chunks.
    fn write_shared(&mut self, span: usize, layout: &Layout, draft: &Draft<'_>) -> Option<Location> {
        if let Some(location) = self.ring_mut().append_large(layout, draft) {
            return Some(location);
        }
        // The run may be too short for this one. It goes to a run of its own if that leaves less
        // unused.
        let alone = self.ring().span_alone(layout.charge());
        let unused = alone * self.ring().chunk_bytes() - layout.charge();
        if self.ring().room(Stream::Large) > unused {
            return self.write_alone(alone, layout, draft);
        }
        // Before the run is opened, as this may clean. Survivors would take the room of the run.
        self.after_opening();
        if !self.free_run(span, Purpose::SeveralEntries) {
            return self.write_to_run(alone, layout, draft);
        }
        let first = self.ring().free_run(span, None)?;
        self.ring_mut().open_run(Stream::Large, first, span);
        // The capacity depends on the length of the open run.
        self.update_capacity();
        self.ring_mut().append_large(layout, draft)
    }

    fn write_alone(&mut self, span: usize, layout: &Layout, draft: &Draft<'_>) -> Option<Location> {
        // Before the entry is written, as this may clean. Cleaning looks up lanes, and an entry has
        // none until it is published.
        self.after_opening();
        self.write_to_run(span, layout, draft)
    }

    /// Frees a run for an entry alone, and writes the entry to it.
    fn write_to_run(&mut self, span: usize, layout: &Layout, draft: &Draft<'_>) -> Option<Location> {
        let is_free = if span == 1 { self.free_chunk() } else { self.free_run(span, Purpose::OneEntry) };
        if !is_free {
            return None;
        }
        let first = self.ring().free_run(span, None)?;
        self.ring_mut().write_run(first, layout, draft)
    }

    /// Frees `span` adjacent chunks. Returns `false` if that needs waiting.
    fn free_run(&mut self, span: usize, purpose: Purpose) -> bool {
        let run = span * self.ring().chunk_bytes();
        // The policy evicts this many bytes before entries in the way of a shared run are evicted.
        let (wanted, by_policy) = match purpose {
            Purpose::OneEntry => (1, 0),
            Purpose::SeveralEntries => (2, run),
        };
        let enough = self.ring().live_bytes().saturating_sub(by_policy);
        let mut emptied = 0;
        // Ends: a few windows are emptied. In the other rounds the policy evicts, down to `enough`.
        loop {
            self.ring_mut().reclaim();
            self.put_runs_to_use(span, wanted);
            let runs = self.ring().free_runs(span);
            if runs >= wanted {
                return true;
            }
            self.ring_mut().look_at_slots();
            let Some(window) = self.ring().cheapest_window(span) else {
                return self.has_run_in_the_end(span);
            };
            let is_worth_it = window.live() <= run / WORTH_EMPTYING.1 * WORTH_EMPTYING.0;
            // A second run is a precaution only.
            if runs > 0 && (emptied >= MAX_FRUITLESS || !is_worth_it || self.ring().empties_by_itself(window)) {
                return true;
            }
            if emptied >= 2 * MAX_FRUITLESS {
                return self.has_run_in_the_end(span);
            }
            if is_worth_it || self.ring().live_bytes() <= enough || !self.evict_chunkful() {
                self.exchange_absent(window, enough);
                self.empty_window(window, enough);
                emptied += 1;
            }
        }
    }

    /// Returns `true` if `span` adjacent chunks are free, at once or after readers that are about
    /// to finish.
    fn has_run_in_the_end(&mut self, span: usize) -> bool {
        let has_run = |ring: &mut Ring| {
            ring.reclaim();
            ring.free_runs(span) > 0
        };
        has_run(self.ring_mut()) || yield_to_readers(self.ring_mut(), has_run)
    }

    /// Puts absent chunks to use until `runs` runs could be opened. They are mostly adjacent.
    fn put_runs_to_use(&mut self, span: usize, runs: usize) {
        // Ends: each round puts a chunk to use. Adjacent ones come one after the other.
        while self.ring().free_runs(span) < runs && self.put_to_use() {}
    }

    /// Puts the absent chunks of a window to use, and gives others back for them.
    fn exchange_absent(&mut self, window: Window, enough: usize) {
        // Each second round puts one to use, unless a reader holds the chunk that was emptied for
        // it.
        for _ in 0..2 * window.chunks() {
            if self.ring_mut().exchange_absent(window) {
                continue;
            }
            match self.ring().emptiest_outside(window) {
                Some(chunk) if self.ring().absent_in(window) => self.vacate(chunk, window, enough),
                _ => return,
            }
            self.ring_mut().reclaim();
        }
    }

    /// Empties the chunks of a window.
    fn empty_window(&mut self, window: Window, enough: usize) {
        // Ends: each round empties a chunk, or run, of the window.
        while let Some(chunk) = self.ring_mut().next_in_window(window) {
            self.vacate(chunk, window, enough);
        }
    }

    /// Empties a sealed chunk, or run. Relocates entries to chunks outside the window, and evicts
    /// those that find no room. While more than `enough` bytes are live, the policy evicts first.
    fn vacate(&mut self, chunk: ChunkId, window: Window, enough: usize) {
        self.state.cleaner.give_up_chunk(chunk);
        self.ring_mut().begin_cleaning(chunk);
        let mut at = 0;
        // Ends: each round passes an entry of the chunk, or the policy evicts, down to `enough`.
        while let Some((location, next)) = self.ring().next_entry(chunk, at) {
            if self.relocate(location, Some(window)) {
                at = next;
            } else if self.ring().live_bytes() <= enough || !self.evict_chunkful() {
                self.evict_at(location);
                at = next;
            }
        }
        self.ring_mut().retire(chunk);
    }
}
