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

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::{Alignment, Draft, RingSize, Stream};
    use crate::units::{Location, Stamps};

    /// Fills the next chunk. Returns the locations of its entries.
    fn fill_chunk(ring: &mut Ring) -> Vec<Location> {
        let draft = Draft { key: b"key", value: &[0; 249], stamps: &Stamps::NONE };
        let layout = ring.layout(&draft);
        assert!(ring.open_next(Stream::Fresh, None));
        core::iter::from_fn(|| ring.append(Stream::Fresh, &layout, &draft)).collect()
    }

    #[test]
    fn a_search_of_the_whole_ring_takes_as_many_steps_as_it_needs() {
        let size = RingSize::fixed(2_000);
        let mut ring = Ring::new(size, 12, Alignment::new(1).expect("an alignment")).expect("memory");
        while ring.put_to_use() {}
        let mut entries: Vec<_> = (0..1_500).map(|_| fill_chunk(&mut ring)).collect();
        let mut candidates = Candidates::new();
        assert_eq!(candidates.next(&ring, 0, Reach::Ring), Next::Nothing);
        assert!(candidates.is_fruitless());

        let wanted = 1_300;
        let start = entries[wanted][0];
        entries[wanted].drain(..8).for_each(|location| ring.kill(location));
        assert_eq!(candidates.next(&ring, 0, Reach::Step), Next::NotYet);
        assert!(candidates.is_fruitless(), "nothing was found since");
        let Next::Chunk(chunk) = candidates.next(&ring, 0, Reach::Ring) else { panic!("there is a chunk") };
        assert_eq!(ring.start_of(chunk), Some(start));
        assert!(!candidates.is_fruitless());

        entries.swap_remove(wanted).into_iter().for_each(|location| ring.kill(location));
        assert_eq!(candidates.next(&ring, u64::MAX, Reach::Ring), Next::Nothing);
        assert!(candidates.is_fruitless());
    }
}
