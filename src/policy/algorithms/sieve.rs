//! SIEVE: Zhang, Yang, Yue, Vigfusson and Rashmi, "SIEVE is simpler than LRU: an efficient turn-key
//! eviction algorithm for web caches", NSDI 2024.
//!
//! ```text
//!   newest [ C ] [ B* ] [ A* ] [ . ] [ . ] oldest       * visited
//!                         ^ hand: walks from the oldest to the newest;
//!                           clears A, clears B, evicts C, begins again
//! ```
//!
//! One list in the order of insertion. A read marks the entry as visited. A hand walks over the
//! list, clears the marks that it finds, and evicts the first entry without one. Unlike CLOCK it
//! leaves the survivors where they are, so new entries are examined soon after they came in.
//!
//! Costs 8 bytes for each id, and nothing on a hit to a visited key. Operations are O(1) amortised.
//! It is excellent on web and key-value traffic. It is the wrong choice for block traces and for
//! scans, which clear the marks.

use crate::policy::built_in::{BuiltIn, NoParameters};
use crate::policy::structures::OneList;
use crate::policy::{EntryId, EvictionPolicy, Newcomer, PolicyContext, Residents, Standing};

#[derive(Debug)]
pub(crate) struct Sieve {
    entries: OneList,
    /// The entry at which the next search begins: the oldest one if this is `None`.
    hand: Option<EntryId>,
    /// The walk of a snapshot has reached the hand.
    is_walk_past_hand: bool,
}

/// The class of entries that the hand reaches in its present round. The others are behind it.
const FROM_HAND_ON: u8 = 1;

impl Sieve {
    /// Removes an entry. A hand on it moves to the next newer one.
    fn unlink(&mut self, id: EntryId) {
        if self.hand == Some(id) {
            self.hand = self.entries.newer(id);
        }
        self.entries.remove(id);
    }
}

impl BuiltIn for Sieve {
    const NAME: &'static str = "sieve";
    type Config = NoParameters;

    fn new(_parameters: NoParameters, context: &PolicyContext) -> Self {
        Self { entries: OneList::new(context.ids()), hand: None, is_walk_past_hand: false }
    }
}

impl EvictionPolicy for Sieve {
    fn evict(&mut self, _newcomer: Option<&Newcomer>, residents: &mut Residents<'_>) -> Option<EntryId> {
        let mut id = self.hand.or(self.entries.oldest())?;
        // Ends: a second round finds the marks that it cleared itself, unless readers set them as
        // fast. Then the rounds run out.
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

    fn insert(&mut self, newcomer: &Newcomer) {
        self.entries.push_newest(newcomer.id);
    }

    fn remove(&mut self, id: EntryId, _charge: u32) {
        self.unlink(id);
    }

    fn resize(&mut self, ids: usize, _max_entries: usize) -> bool {
        self.entries.resize(ids)
    }

    fn rename(&mut self, from: EntryId, to: EntryId) {
        self.entries.rename(from, to);
        if self.hand == Some(from) {
            self.hand = Some(to);
        }
    }

    fn bytes(&self) -> usize {
        self.entries.allocated()
    }

    fn validate(&self) {
        self.entries.validate();
    }

    fn snapshot_name(&self) -> &'static str {
        Self::NAME
    }

    fn begin_walk(&mut self) {
        self.entries.begin_walk();
        self.is_walk_past_hand = false;
    }

    fn walk(&mut self, most: usize, show: &mut dyn FnMut(EntryId, Standing)) -> bool {
        for _ in 0..most {
            let Some(id) = self.entries.walk() else { return true };
            self.is_walk_past_hand |= self.hand == Some(id);
            show(id, Standing::new().class(if self.is_walk_past_hand { FROM_HAND_ON } else { 0 }));
        }
        false
    }

    fn restore(&mut self, newcomer: &Newcomer, standing: Standing) {
        self.insert(newcomer);
        if standing.class == FROM_HAND_ON && self.hand.is_none() {
            self.hand = Some(newcomer.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::policy::tests::Outcome::{Evicts, Hit, Miss};
    use crate::policy::tests::follow;
    use crate::policy::{Policy, Request, Simulator, Unit};

    #[test]
    fn sieve_on_the_example_of_its_authors() {
        // A is 1, B is 2 ..., from the oldest to the newest. A star is a visit, and ^ the hand.
        follow(
            Policy::Sieve,
            7,
            &[
                (1, Miss),
                (1, Hit),
                (2, Miss),
                (2, Hit),
                (3, Miss),
                (4, Miss),
                (5, Miss),
                (6, Miss),
                (7, Miss),
                (7, Hit),           // ^A* B* C D E F G*
                (8, Evicts(&[3])),  // A B ^D E F G* H
                (1, Hit),           // A* B ^D E F G* H
                (4, Hit),           // A* B ^D* E F G* H
                (9, Evicts(&[5])),  // A* B D ^F G* H I
                (2, Hit),           // A* B* D ^F G* H I
                (10, Evicts(&[6])), // A* B* D ^G* H I J
                (11, Evicts(&[8])), // A* B* D G ^I J K
            ],
        );
    }

    #[test]
    fn a_hand_on_a_removed_entry_goes_to_the_next_newer_one() {
        let mut simulator = Simulator::new(&Policy::Sieve, 5, Unit::Entries);
        let request = |simulator: &mut Simulator, hash| {
            simulator.request(Request { hash, charge: 1 });
            simulator.evicted().to_vec()
        };
        (1..=5).for_each(|key| _ = request(&mut simulator, key));
        request(&mut simulator, 1);
        assert_eq!(request(&mut simulator, 6), [2]); // 1 ^3 4 5 6
        simulator.remove(3); // 1 ^4 5 6
        assert_eq!(request(&mut simulator, 7), [0; 0]); // 1 ^4 5 6 7
        assert_eq!(request(&mut simulator, 8), [4]); // 1 ^5 6 7 8
    }
}
