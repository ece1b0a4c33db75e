//! The search for the chunks to clean: those with the fewest live bytes.
//!
//! ```text
//!   chunks   0 ........ | looked at by this step | ........ the last
//!                       next, before             next, after
//! ```
//!
//! A step of a search looks at a bounded number of chunks, and goes on after the last one where the
//! step before it ended. It finds the emptiest of those. That is as good as the emptiest of all: of
//! hundreds of chunks, some are among the emptiest percent. Most rings have fewer chunks than that.
//!
//! # Not here
//!
//! The decision when to clean: `shard/cleaner.rs`.

use core::ops::Range;

use super::Ring;
use super::chunk::{Chunk, ChunkId, ChunkState, Window};
use crate::units::to_u32;

/// Chunks that a step looks at: 8 KiB in the order of memory. Most rings have at most 400.
const STEP: usize = 512;

/// The chunks that a step finds at once.
pub(crate) const FOUND_AT_ONCE: usize = 4;

/// The emptiest chunks, or runs: the emptiest first.
pub(crate) type Emptiest = [Option<ChunkId>; FOUND_AT_ONCE];

/// The result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// At least one chunk.
    Chunks(Emptiest),
    /// There was none among those that the step has looked at.
    NotYet,
    /// No chunk is worth cleaning.
    Nothing,
}

/// A search for the emptiest chunks. It never ends: each step goes on where the last one ended.
#[derive(Debug, Default)]
pub(crate) struct Search {
    /// The chunk that is looked at next.
    next: usize,
    /// The chunks that steps have looked at since one of them found something.
    passed: usize,
    /// The run that the last step has left to empty by itself.
    left: Option<ChunkId>,
}

/// The emptiest chunks that were seen so far, with their live bytes for each chunk of a run.
struct Best([(u64, Option<ChunkId>); FOUND_AT_ONCE]);

impl Best {
    /// Returns the best of nothing, in a ring of chunks of this size.
    fn none(chunk_bytes: usize) -> Self {
        // A share that is above that of any chunk stands for none.
        Self([(chunk_bytes as u64 + 1, None); FOUND_AT_ONCE])
    }

    fn has_any(&self) -> bool {
        self.0[0].1.is_some()
    }

    fn chunks(&self) -> Emptiest {
        self.0.map(|(_, id)| id)
    }

    fn add(&mut self, share: u64, id: ChunkId) {
        let mut next = (share, Some(id));
        for place in &mut self.0 {
            if next.0 < place.0 {
                core::mem::swap(&mut next, place);
            }
        }
    }
}

impl Ring {
    /// Takes a step of a search for the sealed chunks, or runs, with the smallest live shares. The
    /// first one is [worth cleaning](Self::is_worth_cleaning). The caller asks for the others when
    /// their turn comes.
    pub(crate) fn search_emptiest(&self, search: &mut Search, share: usize) -> Found {
        let mut best = Best::none(self.chunk_bytes());
        // One step may look at all chunks, and then comes to this one itself.
        let left = search.left.filter(|&run| self.chunks() > STEP && self.is_left_to_empty(run));
        if let Some(run) = left {
            best.add(self.live_share(run), run);
        }
        search.passed += self.look_from(&mut search.next, &mut best, |id, chunk| self.has_dead_share(id, chunk, share));
        search.left = best.chunks()[0].filter(|&id| self.run_empties_by_itself(id));
        let is_over = search.passed >= self.chunks();
        if is_over || (search.left.is_none() && best.has_any()) {
            search.passed = 0;
        }
        match search.left {
            None if best.has_any() => Found::Chunks(best.chunks()),
            _ if is_over => Found::Nothing,
            _ => Found::NotYet,
        }
    }

    /// Returns the sealed chunk, or run, outside a window with the smallest live share of those
    /// that a step looks at, from the end of the window on. More are looked at if none of those is
    /// sealed.
    pub(crate) fn emptiest_outside(&self, window: Window) -> Option<ChunkId> {
        let (mut best, mut next) = (Best::none(self.chunk_bytes()), window.range().end);
        let mut passed = 0;
        // Ends: each round passes some of the chunks.
        while !best.has_any() && passed < self.chunks() {
            passed += self.look_from(&mut next, &mut best, |id, _| !window.contains(id));
        }
        best.chunks()[0]
    }

    /// Looks at the chunks of a step, from `next` on and then from the first chunk on. Returns how
    /// many these are.
    fn look_from(&self, next: &mut usize, best: &mut Best, is_wanted: impl Fn(ChunkId, &Chunk) -> bool) -> usize {
        let [before, after] = self.next_step(next);
        let passed = before.len() + after.len();
        self.look_at_all(before, best, &is_wanted);
        self.look_at_all(after, best, &is_wanted);
        passed
    }

    /// Returns the chunks of a step from `next` on, and those from the first chunk on.
    fn next_step(&self, next: &mut usize) -> [Range<usize>; 2] {
        let all = self.chunks();
        // The tables may have become shorter.
        let first = if *next < all { *next } else { 0 };
        let end = first + STEP.min(all);
        *next = if end < all { end } else { end - all };
        [first..end.min(all), 0..end.saturating_sub(all)]
    }

    /// Adds the sealed chunks of a range that are wanted and that no value holds. The pins of those
    /// that are among the emptiest so far are read, too.
    fn look_at_all(&self, range: Range<usize>, best: &mut Best, is_wanted: &impl Fn(ChunkId, &Chunk) -> bool) {
        let mut least = best.0[FOUND_AT_ONCE - 1].0;
        let first = range.start;
        for (at, chunk) in self.chunks[range].iter().enumerate() {
            // Most chunks are passed here, without a division.
            if u64::from(chunk.live) >= least * u64::from(chunk.span) {
                continue;
            }
            let id = ChunkId(to_u32(first + at));
            let is_candidate = chunk.state == ChunkState::Sealed && is_wanted(id, chunk);
            if is_candidate && !self.shared.pins[id.index()].has_values() {
                best.add(self.live_share(id), id);
                least = best.0[FOUND_AT_ONCE - 1].0;
            }
        }
    }

    /// Returns `true` if a chunk, or run, is sealed, no value holds it, and at least one part in
    /// `share` of it is dead. The unused end of a chunk does not count as dead: relocating its live
    /// entries would leave another unused end.
    pub(crate) fn is_worth_cleaning(&self, id: ChunkId, share: usize) -> bool {
        // The tables may have become shorter since the chunk was found.
        self.chunks.get(id.index()).is_some_and(|chunk| self.has_dead_share(id, chunk, share))
            && !self.shared.pins[id.index()].has_values()
            && !self.run_empties_by_itself(id)
    }

    /// Returns the live bytes of a chunk, or run, for each of its chunks.
    #[inline]
    fn live_share(&self, id: ChunkId) -> u64 {
        let chunk = &self.chunks[id.index()];
        u64::from(chunk.live / chunk.span)
    }

    /// Returns `true` if a run still empties by itself and no value holds it.
    fn is_left_to_empty(&self, run: ChunkId) -> bool {
        run.index() < self.chunks() && !self.shared.pins[run.index()].has_values() && self.run_empties_by_itself(run)
    }

    /// Returns `true` if a chunk, or run, is sealed and at least one part in `share` of it is dead.
    #[inline]
    fn has_dead_share(&self, id: ChunkId, chunk: &Chunk, share: usize) -> bool {
        chunk.state == ChunkState::Sealed && chunk.dead() * share >= self.run_bytes(id)
    }

    /// Returns `true` if values hold at least `enough` sealed chunks and runs of which at least one
    /// part in `share` is dead. In a large ring, a step from `next` on stands for all chunks. If
    /// values hold fewer chunks than `enough` in all, none is looked at.
    pub(crate) fn are_held_by_values(&self, next: &mut usize, enough: usize, share: usize) -> bool {
        if self.shared.marked_chunks() < enough {
            return false;
        }
        let chunks = self.next_step(next).into_iter().flatten();
        let worth_it = chunks.filter(|&at| self.has_dead_share(ChunkId(to_u32(at)), &self.chunks[at], share));
        let held = worth_it.filter(|&at| self.shared.pins[at].has_values());
        let enough = (enough * STEP.min(self.chunks())).div_ceil(self.chunks());
        held.take(enough).count() == enough
    }
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::reclaim::WriteToken;
    use crate::ring::{Alignment, Draft, OwnedValue, RingSize, Stream};
    use crate::units::{Location, Stamps};

    fn ring(chunks: usize) -> Ring {
        let mut ring =
            Ring::new(RingSize::fixed(chunks), 12, Alignment::new(1).expect("an alignment")).expect("memory");
        while ring.put_to_use() {}
        ring
    }

    /// Fills the open chunk, or run, of a stream, and kills all entries but the first `live` ones.
    /// Returns the chunk and the locations of the live ones.
    fn fill(ring: &mut Ring, stream: Stream, charge: usize, live: usize) -> (ChunkId, Vec<Location>) {
        let chunk = ring.open_chunk(stream).expect("an open chunk");
        let draft = Draft { key: b"key", value: &vec![0; charge - 7], stamps: &Stamps::NONE };
        let layout = ring.layout(&draft);
        assert_eq!(layout.charge(), charge);
        let mut alive: Vec<_> = core::iter::from_fn(|| ring.append(stream, &layout, &draft)).collect();
        alive.drain(live..).for_each(|location| ring.kill(location));
        (chunk, alive)
    }

    /// Fills all chunks of a ring, and kills the entries of chunk `n` but for `live(n)` of 16.
    fn fill_all(ring: &mut Ring, live: impl Fn(usize) -> usize) {
        for number in 0..ring.chunks() {
            assert!(ring.open_next(Stream::Fresh, None));
            assert_eq!(fill(ring, Stream::Fresh, 256, live(number)).0.index(), number);
        }
    }

    fn hold(ring: &Ring, location: Location) -> OwnedValue {
        // SAFETY: the test is the only writer.
        let token = unsafe { WriteToken::new() };
        ring.shared.value(ring.live_at(location, &token).expect("an entry"))
    }

    /// Returns what each step finds, up to the first one that finds chunks or nothing.
    fn steps(ring: &Ring, search: &mut Search) -> Vec<Found> {
        let mut found = Vec::new();
        while found.last().is_none_or(|&last| last == Found::NotYet) {
            found.push(ring.search_emptiest(search, 8));
        }
        found
    }

    #[test]
    fn the_emptiest_is_the_one_with_the_fewest_live_bytes_for_each_of_its_chunks() {
        let mut ring = ring(8);
        let first = |ring: &Ring| match ring.search_emptiest(&mut Search::default(), 8) {
            Found::Chunks(found) => found[0],
            Found::NotYet | Found::Nothing => None,
        };
        assert_eq!(first(&ring), None);
        assert!(ring.open_next(Stream::Fresh, None));
        let (most_dead, mut alive) = fill(&mut ring, Stream::Fresh, 256, 6);
        assert!(ring.open_next(Stream::Fresh, None));
        let (fuller, _) = fill(&mut ring, Stream::Fresh, 256, 10);
        assert!(ring.open_next(Stream::Fresh, None));
        assert_eq!(first(&ring), Some(most_dead));
        // 2,048 live bytes in two chunks are less than 1,536 in one.
        let run_at = ring.free_run(2, None).expect("two free chunks");
        ring.open_run(Stream::Large, run_at, 2);
        let (run, _) = fill(&mut ring, Stream::Large, 2048, 1);
        ring.seal_large_runs();
        assert_eq!(first(&ring), Some(run));
        // 768 are less than that.
        alive.drain(3..).for_each(|location| ring.kill(location));
        let all = [Some(most_dead), Some(run), Some(fuller), None];
        assert_eq!(ring.search_emptiest(&mut Search::default(), 8), Found::Chunks(all));
        assert!(ring.is_worth_cleaning(fuller, 8) && !ring.is_worth_cleaning(fuller, 2));
        ring.begin_cleaning(fuller);
        assert!(!ring.is_worth_cleaning(fuller, 8));
    }

    #[test]
    fn a_step_looks_at_a_bounded_number_of_chunks() {
        let mut ring = ring(4 * STEP + 100);
        let wanted = 3 * STEP + 7;
        fill_all(&mut ring, |number| if number == wanted { 1 } else { 16 });
        let mut search = Search::default();
        let found = Found::Chunks([Some(ChunkId(to_u32(wanted))), None, None, None]);
        assert_eq!(steps(&ring, &mut search), [Found::NotYet, Found::NotYet, Found::NotYet, found]);
        // Once around, from the chunk after those of the last step.
        assert_eq!(steps(&ring, &mut search), [Found::NotYet, Found::NotYet, Found::NotYet, found]);
        ring.begin_cleaning(ChunkId(to_u32(wanted)));
        let mut nothing = [Found::NotYet; 5];
        nothing[4] = Found::Nothing;
        assert_eq!(steps(&ring, &mut search), nothing);
        assert_eq!(steps(&ring, &mut search), nothing);
    }

    #[test]
    fn a_run_that_empties_by_itself_is_waited_for_wherever_the_next_step_looks() {
        let mut ring = ring(2 * STEP);
        ring.open_run(Stream::Large, ChunkId(0), 4);
        fill(&mut ring, Stream::Large, 2048, 1);
        ring.seal_large_runs();
        while ring.open_next(Stream::Fresh, None) {
            let number = ring.open_chunk(Stream::Fresh).map_or(0, ChunkId::index);
            fill(&mut ring, Stream::Fresh, 256, if number == STEP + 9 { 14 } else { 16 });
        }
        let mut search = Search::default();
        assert_eq!(steps(&ring, &mut search), [Found::NotYet, Found::Nothing]);
        assert_eq!(steps(&ring, &mut search), [Found::NotYet, Found::Nothing]);
        // A search that does not know of it comes to another chunk first.
        let mut other = Search { next: STEP, ..Search::default() };
        assert_eq!(steps(&ring, &mut other), [Found::Chunks([Some(ChunkId(to_u32(STEP + 9))), None, None, None])]);
    }

    #[test]
    fn a_ring_of_a_few_hundred_chunks_is_searched_in_one_step() {
        let mut ring = ring(400);
        fill_all(&mut ring, |number| if number % 100 == 98 { number / 100 + 1 } else { 16 });
        let mut search = Search::default();
        let all = [98, 198, 298, 398].map(|chunk| Some(ChunkId(chunk)));
        assert_eq!(steps(&ring, &mut search), [Found::Chunks(all)]);
        assert_eq!(steps(&ring, &mut search), [Found::Chunks(all)]);
    }

    #[test]
    fn a_look_for_chunks_that_values_hold_is_bounded() {
        let mut ring = ring(4 * STEP);
        let mut entries = Vec::new();
        for _ in 0..ring.chunks() {
            assert!(ring.open_next(Stream::Fresh, None));
            entries.push(fill(&mut ring, Stream::Fresh, 256, 4).1[0]);
        }
        // A quarter of the chunks may be pinned: a half of each of the first two steps.
        let held: Vec<_> = (0..2 * STEP).filter(|at| at % 2 == 0).map(|at| hold(&ring, entries[at])).collect();
        assert_eq!((held.len(), ring.shared.pinned_chunks()), (STEP, STEP));
        let look = |next: &mut usize, enough: usize| ring.are_held_by_values(next, enough, 8);
        let mut next = 0;
        assert!(!look(&mut next, STEP + 1) && next == 0);
        let found: Vec<_> = (0..4).map(|_| look(&mut next, STEP)).collect();
        assert_eq!((found, next), (vec![true, true, false, false], 0));
    }

    #[test]
    fn a_step_goes_on_with_the_first_chunk_after_the_last_one() {
        let mut ring = ring(STEP + 100);
        fill_all(&mut ring, |number| if number == 7 { 1 } else { 16 });
        let found = [Found::Chunks([Some(ChunkId(7)), None, None, None])];
        // Also after a ring that had more chunks.
        for next in [STEP, 4 * STEP] {
            assert_eq!(steps(&ring, &mut Search { next, ..Search::default() }), found);
        }
    }

    #[test]
    fn a_run_that_a_value_holds_is_not_waited_for() {
        let mut ring = ring(2 * STEP);
        ring.open_run(Stream::Large, ChunkId(0), 4);
        let (_, alive) = fill(&mut ring, Stream::Large, 2048, 1);
        ring.seal_large_runs();
        while ring.open_next(Stream::Fresh, None) {
            let number = ring.open_chunk(Stream::Fresh).map_or(0, ChunkId::index);
            fill(&mut ring, Stream::Fresh, 256, if number == STEP + 9 { 14 } else { 16 });
        }
        let mut search = Search::default();
        assert_eq!(ring.search_emptiest(&mut search, 8), Found::NotYet);
        let _held = hold(&ring, alive[0]);
        let found = Found::Chunks([Some(ChunkId(to_u32(STEP + 9))), None, None, None]);
        assert_eq!(ring.search_emptiest(&mut search, 8), found);
    }

    #[test]
    fn a_chunk_outside_a_window_is_found_wherever_it_is() {
        let mut ring = ring(4 * STEP);
        let window = Window { first: ChunkId(0), span: 2, live: 0 };
        assert_eq!(ring.emptiest_outside(window), None);
        let wanted = ChunkId(to_u32(3 * STEP + 7));
        ring.open_run(Stream::Fresh, wanted, 1);
        fill(&mut ring, Stream::Fresh, 256, 16);
        assert!(ring.open_next(Stream::Fresh, None));
        assert_eq!(ring.emptiest_outside(window), Some(wanted));
    }
}
