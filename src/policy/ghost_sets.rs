//! Ghosts at 2 bytes each: fingerprints of the entries that were evicted last, in sets.
//!
//! ```text
//!   set     32 ghosts, newest first: one cache line. A ghost goes to the front and pushes the oldest one out.
//!   ghost   u16: fingerprint 15 | queue 1
//! ```
//!
//! A set-associative queue: a hash chooses its set, and each set is a FIFO of its own. That costs 2 bytes for
//! each ghost and one line for each operation, against the 14 of an exact queue (`ghost.rs`). The price: a
//! ghost's lifetime varies with how many ghosts its set happens to get, by about a sixth, and one look-up in
//! 1,000 finds a ghost that is another key's.
//!
//! How many ways of a set count can be chosen at any time, so the number of ghosts follows the number of
//! entries.

use super::queue::Queue;
use crate::prefetch::prefetch;

const WAYS: usize = 32;
/// The bit of a ghost that is its queue's number.
const QUEUE: u16 = 1;

/// A bounded memory of hashes, oldest forgotten first.
#[derive(Debug)]
pub(super) struct GhostSets {
    sets: Vec<Set>,
    /// Ways in which a ghost is still found.
    ways: usize,
    /// Remembered last, and written to its set when that has been fetched.
    last: Option<(u64, Queue)>,
}

/// Ghosts, newest first; 0 is none.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Set([u16; WAYS]);

impl GhostSets {
    /// Room for at least `max` ghosts.
    pub(super) fn new(max: usize) -> Self {
        Self { sets: vec![Set([0; WAYS]); max.div_ceil(WAYS).max(1)], ways: WAYS, last: None }
    }

    pub(super) fn allocated(&self) -> usize {
        self.sets.capacity() * size_of::<Set>()
    }

    /// Keeps about `ghosts` of the newest from now on, as far as there is room.
    pub(super) fn set_len(&mut self, ghosts: usize) {
        self.ways = ghosts.div_ceil(self.sets.len()).clamp(1, WAYS);
    }

    /// Makes room for at least `max` ghosts. Most of those that are remembered stay so, and age faster for a while.
    pub(super) fn resize(&mut self, max: usize) {
        self.write_last();
        let mut resized = Self { ways: self.ways, ..Self::new(max) };
        let sets = resized.sets.len();
        for (at, set) in resized.sets.iter_mut().enumerate() {
            // The hashes of a set were in this one, mostly.
            *set = self.sets[at * self.sets.len() / sets];
        }
        *self = resized;
    }

    fn set_of(&self, hash: u64) -> usize {
        #[allow(clippy::cast_possible_truncation, reason = "the product's top half is below the number of sets")]
        {
            ((u128::from(hash) * self.sets.len() as u128) >> 64) as usize
        }
    }

    /// The ghost of a hash, in the first queue.
    fn ghost(hash: u64) -> u16 {
        // Not the high bits, which choose the set, nor the lowest, which a shard repeats; 0 stands for none.
        let [_, _, low, high, ..] = hash.to_le_bytes();
        (u16::from_le_bytes([low, high]) & !QUEUE).max(QUEUE + 1)
    }

    /// Asks for the set that a hash is looked for in.
    pub(super) fn prefetch(&self, hash: u64) {
        prefetch(&raw const self.sets[self.set_of(hash)]);
    }

    /// Remembers a hash as the newest, and that it was in one of the first two queues.
    pub(super) fn insert(&mut self, hash: u64, queue: Queue) {
        self.write_last();
        self.prefetch(hash);
        self.last = Some((hash, queue));
    }

    fn write_last(&mut self) {
        let Some((hash, queue)) = self.last.take() else { return };
        let set = self.set_of(hash);
        let Set(ghosts) = &mut self.sets[set];
        ghosts.copy_within(..WAYS - 1, 1);
        ghosts[0] = Self::ghost(hash) | u16::from(queue.number()) & QUEUE;
    }

    /// Forgets a hash; the queue that it was in, if it was remembered.
    pub(super) fn take(&mut self, hash: u64) -> Option<Queue> {
        self.write_last();
        let way = self.way_of(hash)?;
        let (set, is_remembered) = (self.set_of(hash), way < self.ways);
        let Set(ghosts) = &mut self.sets[set];
        let [number, _] = (ghosts[way] & QUEUE).to_le_bytes();
        ghosts.copy_within(way + 1.., way);
        ghosts[WAYS - 1] = 0;
        is_remembered.then_some(Queue::new(number))
    }

    /// Whether a hash is remembered.
    pub(super) fn contains(&self, hash: u64) -> bool {
        self.last.is_some_and(|(last, _)| last == hash) || self.way_of(hash).is_some_and(|way| way < self.ways)
    }

    /// The way that a hash is in, be it one in which it is not found any more.
    fn way_of(&self, hash: u64) -> Option<usize> {
        let Set(ghosts) = &self.sets[self.set_of(hash)];
        let wanted = Self::ghost(hash);
        let is_wanted = |&ghost: &u16| ghost & !QUEUE == wanted;
        // Mostly there is none, which is seen without a branch for each way.
        let is_there = ghosts.iter().fold(false, |found, ghost| found | is_wanted(ghost));
        if is_there { ghosts.iter().position(is_wanted) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUES: [Queue; 2] = [Queue::new(0), Queue::new(1)];

    fn spread(number: u64) -> u64 {
        number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn found(ghosts: &mut GhostSets, range: core::ops::Range<u64>) -> usize {
        range.filter(|&number| ghosts.take(spread(number)).is_some()).count()
    }

    #[test]
    fn a_ghost_is_taken_once() {
        let mut ghosts = GhostSets::new(1000);
        ghosts.insert(spread(1), QUEUES[0]);
        assert_eq!(ghosts.take(spread(2)), None);
        assert_eq!(ghosts.take(spread(1)), Some(QUEUES[0]));
        assert_eq!(ghosts.take(spread(1)), None);
    }

    #[test]
    fn the_newest_are_remembered_and_the_oldest_forgotten() {
        let mut ghosts = GhostSets::new(1000);
        ghosts.set_len(500);
        (0..2000).for_each(|number| ghosts.insert(spread(number), QUEUES[0]));
        // Older by twice the length than any that is kept: chance finds a few.
        assert!(found(&mut ghosts, 0..500) < 10);
        assert!(found(&mut ghosts, 1800..2000) > 190);
    }

    #[test]
    fn a_ghost_knows_its_queue() {
        let mut ghosts = GhostSets::new(1000);
        (0..100).for_each(|number| ghosts.insert(spread(number), QUEUES[usize::from(number > 30)]));
        for number in 0..100 {
            assert_eq!(ghosts.take(spread(number)), Some(QUEUES[usize::from(number > 30)]));
        }
    }

    #[test]
    fn a_larger_memory_still_knows_most_of_what_it_knew() {
        for (max, least) in [(2048, 490), (1280, 330)] {
            let mut ghosts = GhostSets::new(1024);
            (0..500).for_each(|number| ghosts.insert(spread(number), QUEUES[0]));
            ghosts.resize(max);
            let still = found(&mut ghosts, 0..500);
            assert!(still > least, "{still} after growing to {max}");
        }
    }
}
