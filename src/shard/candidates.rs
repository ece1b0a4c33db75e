//! The chunks that the cleaner may clean next, as the last step of its search has found them.

use crate::ring::{ChunkId, Emptiest, FOUND_AT_ONCE, Found, Ring, Search};

/// A chunk is worth cleaning if at least this part of it is dead.
pub(super) const WORTH_CLEANING: usize = 8;
/// In a ring of at least this many chunks, one step of the search serves several cleanings. In a
/// smaller ring, a step costs little and the order matters more.
pub(super) const MANY_CHUNKS: usize = 128;

/// The chunk to clean next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Chunk(ChunkId),
    /// The search goes on with the next call.
    NotYet,
    /// No chunk is worth cleaning.
    Nothing,
}

/// The end of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// One step.
    Step,
    /// Until a chunk is found, or all were looked at.
    Ring,
}

/// The search for the emptiest chunks, and those that it has found last.
pub(super) struct Candidates {
    search: Search,
    /// The chunks that were found last and that were not cleaned.
    found: Emptiest,
    /// The inserted bytes at which `found` is out of date.
    found_until: u64,
    /// The search has passed all chunks and found nothing, and has found nothing since.
    is_fruitless: bool,
}

impl Candidates {
    pub(super) fn new() -> Self {
        Self { search: Search::default(), found: [None; FOUND_AT_ONCE], found_until: 0, is_fruitless: false }
    }

    /// Returns `true` if the search has passed all chunks and found nothing, and has found nothing
    /// since.
    pub(super) fn is_fruitless(&self) -> bool {
        self.is_fruitless
    }

    /// Returns the emptiest chunk that is worth cleaning, among those that were found last. Goes on
    /// with the search if none of them is left. `inserted` bytes were inserted so far.
    pub(super) fn next(&mut self, ring: &Ring, inserted: u64, reach: Reach) -> Next {
        if inserted < self.found_until {
            let mut found = self.found.iter_mut().filter_map(Option::take);
            let chunk = found.find(|&chunk| ring.is_worth_cleaning(chunk, WORTH_CLEANING));
            if let Some(chunk) = chunk {
                return Next::Chunk(chunk);
            }
        }
        self.found = [None; FOUND_AT_ONCE];
        // Ends: the search has found nothing once its steps have passed all chunks.
        let found = loop {
            let found = ring.search_emptiest(&mut self.search, WORTH_CLEANING);
            if found != Found::NotYet || reach == Reach::Step {
                break found;
            }
        };
        match found {
            Found::NotYet => Next::NotYet,
            Found::Nothing => {
                self.is_fruitless = true;
                Next::Nothing
            }
            Found::Chunks(found) => {
                let bytes = if ring.chunks() < MANY_CHUNKS { 0 } else { FOUND_AT_ONCE * ring.chunk_bytes() };
                (self.found, self.is_fruitless) = (found, false);
                self.found_until = inserted + bytes as u64;
                self.found[0].take().map_or(Next::Nothing, Next::Chunk)
            }
        }
    }
}
