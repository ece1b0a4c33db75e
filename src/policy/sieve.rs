//! SIEVE: Zhang, Yang, Yue, Vigfusson and Rashmi, "SIEVE is simpler than LRU: an efficient turn-key eviction
//! algorithm for web caches", NSDI 2024.
//!
//! ```text
//!   newest [ C ] [ B* ] [ A* ] [ . ] [ . ] oldest       * visited
//!                         ^ hand: walks from the oldest to the newest; clears A, clears B, evicts C, begins again
//! ```
//!
//! One list in the order of insertion. A read marks the entry as visited. A hand walks over the list, clears the
//! marks that it finds, and evicts the first entry without one. Unlike CLOCK it leaves the survivors where they
//! are, so new entries are judged soon after they came in.
//!
//! Costs 8 bytes for each id, and nothing on a hit to a visited key; operations are O(1) amortised. Excellent on
//! web and key-value traffic; the wrong choice for block traces and for scans, which strip the marks.

use super::algorithm::{Algorithm, Newcomer};
use super::list::OneList;
use super::{EntryId, PolicyContext, Recency, Renumbering, Residents};

#[derive(Debug)]
pub(super) struct Sieve {
    entries: OneList,
    /// Where the next search begins; at the oldest if it is nowhere.
    hand: Option<EntryId>,
}

impl Sieve {
    pub(super) fn new(context: &PolicyContext) -> Self {
        Self { entries: OneList::new(context.ids()), hand: None }
    }

    /// Takes an entry out; a hand on it moves on.
    fn unlink(&mut self, id: EntryId) {
        if self.hand == Some(id) {
            self.hand = self.entries.newer(id);
        }
        self.entries.remove(id);
    }
}

impl Algorithm for Sieve {
    fn recency(&self) -> Recency {
        Recency::Counted
    }

    fn evict(&mut self, _newcomer: Option<&Newcomer>, residents: &mut Residents<'_>) -> Option<EntryId> {
        let mut id = self.hand.or(self.entries.oldest())?;
        // Ends: a second round meets the marks that it cleared itself, unless readers set them as fast.
        let mut rounds_left = 2;
        while residents.visits(id) > 0 && rounds_left > 0 {
            residents.set_visits(id, 0);
            id = self.entries.newer(id).or_else(|| {
                rounds_left -= 1;
                self.entries.oldest()
            })?;
        }
        self.hand = Some(id);
        self.unlink(id);
        if let Some(next) = self.hand {
            residents.expect(next);
        }
        Some(id)
    }

    fn place(&mut self, newcomer: &Newcomer) {
        self.entries.push_newest(newcomer.id);
    }

    fn update(&mut self, _id: EntryId, _charge: u32) {}

    fn remove(&mut self, id: EntryId) {
        self.unlink(id);
    }

    fn renumber(&mut self, moved: &Renumbering) {
        self.entries.renumber(moved);
        self.hand = self.hand.and_then(|hand| moved.get(hand));
    }

    fn bytes(&self) -> usize {
        self.entries.allocated()
    }

    fn validate(&self) {
        self.entries.validate();
    }
}
