//! Ghosts at 2 bytes each: fingerprints of the entries that were evicted last, in sets.
//!
//! ```text
//!   set     32 ghosts, newest first: one cache line. A new ghost pushes the oldest one out.
//!   ghost   u16: fingerprint 15 | queue 1
//! ```
//!
//! A set-associative queue: a hash chooses its set, and each set is a FIFO of its own. That costs 2
//! bytes for each ghost, against the 14 of an exact queue ([`GhostQueues`](super::GhostQueues)),
//! and one cache line for each operation. In return a ghost's lifetime varies with the number of
//! ghosts that its set gets, by about a sixth. One look-up in 1,000 finds a ghost of another key.
//!
//! The number of ways in use can be set at any time, so the number of ghosts follows the number of
//! entries.
//!
//! The sets are resized in place, a few at a time ([`HashOrder`]). A ghost does not tell which of
//! two sets its hash belongs to. So a set that took hashes over from several gets the newest ghosts
//! of each, by the share of the hashes. Ghosts that are of no use there leave like others.

use super::hash_order::{HashOrder, Move, Step};
use super::{QueueId, parts};
use crate::growable::{Growable, Zero};
use crate::prefetch::prefetch;

const WAYS: usize = 32;
/// The bit of a ghost that is its queue's number.
const QUEUE: u16 = 1;

/// A bounded memory of hashes. The oldest is forgotten first. The fields that each new one writes
/// to come first.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct GhostSets {
    /// The hash that was inserted last. It is written to its set once that has been prefetched.
    last: Option<(u64, QueueId)>,
    /// Ways in which a ghost is still found.
    ways: usize,
    sets: Growable<Set>,
    order: HashOrder,
}

/// Ghosts in the order of the words and, in a word, from the lowest bits up. The newest comes
/// first. 0 is none.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Set([u64; WAYS / PER_WORD]);

// SAFETY: it consists of integers.
#[allow(unsafe_code, reason = "elements of a `Growable`")]
unsafe impl Zero for Set {}

/// Sets that are moved in one call of [`GhostSets::resize`].
const MOVED_AT_ONCE: usize = 64;
/// The most sets that a set gets its ghosts from.
const MAX_SOURCES: usize = 4;

/// Ghosts in a word.
const PER_WORD: usize = (u64::BITS / u16::BITS) as usize;
/// A 1 in the place of each ghost.
const EACH: u64 = u64::MAX / u16::MAX as u64;
/// The top bit of each.
const TOPS: u64 = EACH << (u16::BITS - 1);

impl Set {
    const EMPTY: Self = Self([0; WAYS / PER_WORD]);

    /// Adds a ghost in front of all others. The last one is forgotten.
    fn push(&mut self, ghost: u16) {
        let mut carried = u64::from(ghost);
        for word in &mut self.0 {
            (*word, carried) = (*word << u16::BITS | carried, *word >> (u64::BITS - u16::BITS));
        }
    }

    /// Returns the ghosts, newest first.
    fn ghosts(&self) -> [u16; WAYS] {
        core::array::from_fn(|way| {
            let [low, high, ..] = (self.0[way / PER_WORD] >> (u16::BITS as usize * (way % PER_WORD))).to_le_bytes();
            u16::from_le_bytes([low, high])
        })
    }

    /// Returns `true` if one of the ghosts equals `wanted` except for its queue. Without a branch
    /// for each.
    fn has(&self, wanted: u16) -> bool {
        let (wanted, fingerprints) = (EACH * u64::from(wanted), !(EACH * u64::from(QUEUE)));
        let found = self.0.iter().fold(0, |found, word| {
            let differing = (word ^ wanted) & fingerprints;
            // A top bit for each ghost that does not differ, and perhaps others above one of those.
            found | differing.wrapping_sub(EACH) & !differing & TOPS
        });
        found != 0
    }

    /// Returns the set of these ghosts, newest first.
    fn of(ghosts: [u16; WAYS]) -> Self {
        let mut set = Self::EMPTY;
        ghosts.into_iter().rev().for_each(|ghost| set.push(ghost));
        set
    }

    /// Removes the ghost in a way.
    fn remove(&mut self, way: usize) {
        let mut ghosts = self.ghosts();
        ghosts.copy_within(way + 1.., way);
        ghosts[WAYS - 1] = 0;
        *self = Self::of(ghosts);
    }
}

impl GhostSets {
    /// Creates a memory with room for at least `max` ghosts.
    pub(crate) fn new(max: usize) -> Self {
        let sets = sets_for(max);
        Self { last: None, ways: WAYS, sets: Growable::new(sets), order: HashOrder::new(sets) }
    }

    /// Appends a part of the sets for a snapshot. Returns `false` if there is no such part.
    pub(crate) fn save(&self, part: usize, bytes: &mut Vec<u8>) -> bool {
        parts::save(&self.sets, |Set(words)| *words, part, bytes)
    }

    /// Restores a part that another memory has [saved](Self::save). Each set gets the ghosts of the
    /// set that had its hashes. Bytes that are no part are ignored.
    pub(crate) fn restore(&mut self, bytes: &[u8]) {
        parts::restore(self.sets.len(), bytes, |at, words| self.sets[at] = Set(words));
    }

    pub(crate) fn allocated(&self) -> usize {
        self.sets.allocated()
    }

    /// Sets the number of ghosts that are kept, about, as far as there is room.
    #[inline]
    pub(crate) fn set_len(&mut self, ghosts: usize) {
        // Mostly the ways need not change, which this finds out without a division.
        let sets = self.order.len();
        if ghosts > sets * self.ways || ghosts <= sets * (self.ways - 1) {
            self.ways = ghosts.div_ceil(sets).clamp(1, WAYS);
        }
    }

    /// Takes a bounded number of steps towards room for at least `max` ghosts. Returns `true` once
    /// that is done. Most ghosts are kept. In a larger memory they age faster for a while.
    pub(crate) fn resize(&mut self, max: usize) -> bool {
        self.write_last();
        let sets = sets_for(max);
        for _ in 0..MOVED_AT_ONCE {
            match self.order.advance(sets) {
                Step::Done => return true,
                Step::Allocate(sets) => self.sets.resize(sets),
                Step::Move(step) => self.sets[step.place] = self.merged(&step),
            }
        }
        false
    }

    /// Returns the set that takes its hashes over from the sources of a step.
    fn merged(&self, step: &Move) -> Set {
        if step.sources.len() == 1 {
            return self.sets[step.sources.start];
        }
        let mut sources: [([u16; WAYS], usize, u64); MAX_SOURCES] = [([0; WAYS], WAYS, 0); MAX_SOURCES];
        for (merged, source) in sources.iter_mut().zip(step.sources.clone()) {
            *merged = (self.sets[source].ghosts(), 0, 0);
        }
        Set::of(core::array::from_fn(|_| {
            // Each source has its turn as often as its share says.
            let left = step
                .sources
                .clone()
                .zip(&mut sources)
                .filter(|(_, (ghosts, taken, _))| *taken < WAYS && ghosts[*taken] != 0);
            let next = left.map(|(at, source)| {
                source.2 += step.share(at);
                source
            });
            let Some((ghosts, taken, credit)) = next.max_by_key(|(_, _, credit)| *credit) else { return 0 };
            *credit = 0;
            *taken += 1;
            ghosts[*taken - 1]
        }))
    }

    fn set_of(&self, hash: u64) -> usize {
        self.order.place(hash)
    }

    /// Returns the ghost of a hash, in the first queue.
    fn ghost(hash: u64) -> u16 {
        // Not the high bits, which choose the set, nor the lowest, which a shard repeats. 0 stands
        // for none.
        let [_, _, low, high, ..] = hash.to_le_bytes();
        (u16::from_le_bytes([low, high]) & !QUEUE).max(QUEUE + 1)
    }

    /// Prefetches the set of a hash.
    fn prefetch(&self, hash: u64) {
        prefetch(&raw const self.sets[self.set_of(hash)]);
    }

    /// Prefetches the memory that [`take`](Self::take) will touch.
    pub(crate) fn prefetch_to_take(&self, hash: u64) {
        self.prefetch(hash);
        if let Some((last, _)) = self.last {
            self.prefetch(last);
        }
    }

    /// Inserts a hash as the newest, with its queue, which is one of the first two.
    pub(crate) fn insert(&mut self, hash: u64, queue: QueueId) {
        self.write_last();
        self.prefetch(hash);
        self.last = Some((hash, queue));
    }

    fn write_last(&mut self) {
        let Some((hash, queue)) = self.last.take() else { return };
        let set = self.set_of(hash);
        self.sets[set].push(Self::ghost(hash) | u16::from(queue.number()) & QUEUE);
    }

    /// Forgets a hash. Returns the queue that it was in, if it was remembered.
    pub(crate) fn take(&mut self, hash: u64) -> Option<QueueId> {
        self.take_with_age(hash).map(|(queue, _)| queue)
    }

    /// Forgets a hash. Returns the queue that it was in and about how many ghosts have come since,
    /// if it was remembered.
    pub(crate) fn take_with_age(&mut self, hash: u64) -> Option<(QueueId, usize)> {
        self.write_last();
        let set = self.set_of(hash);
        let (way, ghost) = Self::find(&self.sets[set], hash)?;
        self.sets[set].remove(way);
        self.remembered(way, ghost)
    }

    /// Returns the queue that a hash was in and about how many ghosts have come since, if it is
    /// remembered. The ghost that came last is not found.
    pub(crate) fn find_with_age(&self, hash: u64) -> Option<(QueueId, usize)> {
        let (way, ghost) = Self::find(&self.sets[self.set_of(hash)], hash)?;
        self.remembered(way, ghost)
    }

    /// Returns the queue and the age of a ghost in a way, or `None` if that way is not in use.
    fn remembered(&self, way: usize, ghost: u16) -> Option<(QueueId, usize)> {
        let [number, _] = (ghost & QUEUE).to_le_bytes();
        // Ghosts spread evenly: each one that came later in its set stands for one in every set.
        (way < self.ways).then_some((QueueId::new(number), way * self.order.len()))
    }

    /// Returns `true` if a hash is remembered.
    pub(crate) fn contains(&self, hash: u64) -> bool {
        self.last.is_some_and(|(last, _)| last == hash)
            || Self::find(&self.sets[self.set_of(hash)], hash).is_some_and(|(way, _)| way < self.ways)
    }

    /// Returns the way that a hash is in, and the ghost there. The way may be one that is not in
    /// use.
    #[inline]
    fn find(set: &Set, hash: u64) -> Option<(usize, u16)> {
        let wanted = Self::ghost(hash);
        // Mostly there is none.
        if !set.has(wanted) {
            return None;
        }
        let mut ghosts = set.ghosts().into_iter().enumerate();
        ghosts.find(|&(_, ghost)| ghost & !QUEUE == wanted)
    }
}

/// Returns the number of sets that have room for at least `max` ghosts.
fn sets_for(max: usize) -> usize {
    max.div_ceil(WAYS).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::simulator::spread;

    const QUEUES: [QueueId; 2] = [QueueId::new(0), QueueId::new(1)];

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
    fn a_memory_of_another_size_still_knows_most_of_what_it_knew() {
        for (max, least) in [(2048, 490), (1280, 400), (1100, 390), (768, 470), (512, 440), (96, 30)] {
            let mut ghosts = GhostSets::new(1024);
            (0..500).for_each(|number| ghosts.insert(spread(number), QUEUES[0]));
            while !ghosts.resize(max) {}
            let still = found(&mut ghosts, 0..500);
            assert!(still > least, "{still} of 500 at {max}");
        }
    }

    #[test]
    fn ghosts_are_found_after_each_step_of_a_resize() {
        let mut ghosts = GhostSets::new(32 * 400);
        (0..400 * 8).for_each(|number| ghosts.insert(spread(number), QUEUES[0]));
        for sets in [800, 400] {
            let mut calls = 1;
            while !ghosts.resize(32 * sets) {
                calls += 1;
                let still = (0..400 * 8).filter(|&number| ghosts.contains(spread(number))).count();
                assert!(still > 400 * 8 * 99 / 100, "{still} after {calls} calls");
            }
            assert!(calls > sets / MOVED_AT_ONCE, "{calls} calls for {sets} sets");
        }
    }
}
