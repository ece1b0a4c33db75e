//! GhostSets: fingerprints of the entries that were evicted last.
//!
//! ```text
//!   set    32 x u16, newest first: one cache line. A ghost goes to the front and pushes the oldest one out.
//! ```
//!
//! A set-associative queue: a hash chooses its set, and each set is a FIFO of its own. That costs 2 bytes for
//! each ghost and one line for each operation, against the 14 of an exact queue (`ghost.rs`). The
//! price: a ghost's lifetime varies with how many ghosts its set happens to get, by about a sixth, and one
//! look-up in 2,000 finds a ghost that is another key's.
//!
//! How many ways of a set count can be chosen at any time, so the number of ghosts follows the number of
//! entries.

use crate::prefetch::prefetch;

const WAYS: usize = 32;

/// A bounded memory of hashes, oldest forgotten first.
#[derive(Debug)]
pub(super) struct GhostSets {
    sets: Vec<Set>,
    /// Ways in which a ghost is still found.
    ways: usize,
}

/// Fingerprints, newest first; 0 is none.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Set([u16; WAYS]);

impl GhostSets {
    /// Room for at least `max` ghosts.
    pub(super) fn new(max: usize) -> Self {
        Self { sets: vec![Set([0; WAYS]); max.div_ceil(WAYS).max(1)], ways: WAYS }
    }

    pub(super) fn allocated(&self) -> usize {
        self.sets.capacity() * size_of::<Set>()
    }

    /// Keeps about `ghosts` of the newest from now on, as far as there is room.
    pub(super) fn set_len(&mut self, ghosts: usize) {
        self.ways = ghosts.div_ceil(self.sets.len()).clamp(1, WAYS);
    }

    fn set_of(&self, hash: u64) -> usize {
        #[allow(clippy::cast_possible_truncation, reason = "the product's top half is below the number of sets")]
        {
            ((u128::from(hash) * self.sets.len() as u128) >> 64) as usize
        }
    }

    fn fingerprint(hash: u64) -> u16 {
        // Not the high bits, which choose the set, nor the lowest, which a shard repeats; 0 stands for none.
        let [_, _, low, high, ..] = hash.to_le_bytes();
        u16::from_le_bytes([low, high]).max(1)
    }

    /// Asks for the set that a hash is looked for in.
    pub(super) fn prefetch(&self, hash: u64) {
        prefetch(&raw const self.sets[self.set_of(hash)]);
    }

    /// Remembers a hash as the newest.
    pub(super) fn insert(&mut self, hash: u64) {
        let set = self.set_of(hash);
        let Set(fingerprints) = &mut self.sets[set];
        fingerprints.copy_within(..WAYS - 1, 1);
        fingerprints[0] = Self::fingerprint(hash);
    }

    /// Forgets a hash; whether it was remembered.
    pub(super) fn take(&mut self, hash: u64) -> bool {
        let set = self.set_of(hash);
        let ways = self.ways;
        let wanted = Self::fingerprint(hash);
        let Set(fingerprints) = &mut self.sets[set];
        let Some(way) = fingerprints[..ways].iter().position(|&fingerprint| fingerprint == wanted) else {
            return false;
        };
        fingerprints.copy_within(way + 1.., way);
        fingerprints[WAYS - 1] = 0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(number: u64) -> u64 {
        number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    #[test]
    fn a_ghost_is_taken_once() {
        let mut ghosts = GhostSets::new(1000);
        ghosts.insert(spread(1));
        assert!(!ghosts.take(spread(2)));
        assert!(ghosts.take(spread(1)));
        assert!(!ghosts.take(spread(1)));
    }

    #[test]
    fn the_newest_are_remembered_and_the_oldest_forgotten() {
        let mut ghosts = GhostSets::new(1000);
        ghosts.set_len(500);
        (0..2000).for_each(|number| ghosts.insert(spread(number)));
        let found =
            |ghosts: &mut GhostSets, range: core::ops::Range<u64>| range.filter(|&n| ghosts.take(spread(n))).count();
        // Older by twice the length than any that is kept: chance finds a few.
        assert!(found(&mut ghosts, 0..500) < 10);
        assert!(found(&mut ghosts, 1800..2000) > 190);
    }
}
