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
use crate::units::to_u32;

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
    ways: u32,
    /// The largest number of ghosts for which `ways` is right. It is right for as many numbers as
    /// there are sets.
    most: u32,
    sets: Growable<Set>,
    order: HashOrder,
}

/// Ghosts, newest first. 0 is none.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Set([u16; WAYS]);

// SAFETY: it consists of integers.
#[allow(unsafe_code, reason = "elements of a `Growable`")]
unsafe impl Zero for Set {}

/// Sets that are moved in one call of [`GhostSets::resize`].
const MOVED_AT_ONCE: usize = 64;
/// The most sets that a set gets its ghosts from.
const MAX_SOURCES: usize = 4;

/// Ghosts in a word of a snapshot.
const PER_WORD: usize = (u64::BITS / u16::BITS) as usize;

impl Set {
    /// Adds a ghost in front of all others. The last one is forgotten.
    fn push(&mut self, ghost: u16) {
        self.0.copy_within(..WAYS - 1, 1);
        self.0[0] = ghost;
    }

    /// Returns `true` if one of the ghosts equals `wanted` except for its queue. Without a branch
    /// for each, so that the compiler can compare eight at once.
    #[inline(always)]
    fn has(&self, wanted: u16) -> bool {
        let mut found = [0; 8];
        for ghosts in self.0.chunks_exact(found.len()) {
            for (found, ghost) in found.iter_mut().zip(ghosts) {
                *found |= if ghost & !QUEUE == wanted { u16::MAX } else { 0 };
            }
        }
        found.into_iter().fold(0, |any, found| any | found) != 0
    }

    /// Removes the ghost in a way.
    fn remove(&mut self, way: usize) {
        self.0.copy_within(way + 1.., way);
        self.0[WAYS - 1] = 0;
    }

    /// Returns the ghosts as words for a snapshot: the newest in the lowest bits of the first.
    fn to_words(self) -> [u64; WAYS / PER_WORD] {
        core::array::from_fn(|word| {
            let ghosts = &self.0[word * PER_WORD..][..PER_WORD];
            ghosts.iter().rev().fold(0, |word, &ghost| word << u16::BITS | u64::from(ghost))
        })
    }

    /// Returns the set with these words of a snapshot.
    fn from_words(words: [u64; WAYS / PER_WORD]) -> Self {
        Self(core::array::from_fn(|way| {
            let [low, high, ..] = (words[way / PER_WORD] >> (u16::BITS as usize * (way % PER_WORD))).to_le_bytes();
            u16::from_le_bytes([low, high])
        }))
    }
}

impl GhostSets {
    /// Creates a memory with room for at least `max` ghosts.
    pub(crate) fn new(max: usize) -> Self {
        let sets = sets_for(max);
        Self { last: None, ways: to_u32(WAYS), most: u32::MAX, sets: Growable::new(sets), order: HashOrder::new(sets) }
    }

    /// Appends a part of the sets for a snapshot. Returns `false` if there is no such part.
    ///
    /// While the sets are resized, those of the next size are saved.
    pub(crate) fn save(&self, part: usize, bytes: &mut Vec<u8>) -> bool {
        let words_of = |place| {
            let mut set = self.merged(&self.order.move_to(place));
            if let Some((hash, queue)) = self.last.filter(|&(hash, _)| self.order.final_place(hash) == place) {
                set.push(Self::ghost_of(hash, queue));
            }
            set.to_words()
        };
        parts::save(self.order.final_len(), words_of, part, bytes)
    }

    /// Restores a part that another memory has [saved](Self::save). Each set gets the newest ghosts
    /// of the sets that had its hashes, as after a [resize](Self::resize). Bytes that are no part
    /// are ignored.
    pub(crate) fn restore(&mut self, bytes: &[u8]) {
        parts::restore(self.sets.len(), bytes, |step, before, words| {
            let set = &mut self.sets[step.place];
            *set = match before.is_empty() {
                true => Set::from_words(words),
                false => merge(
                    [(*set, step.share_of(before)), (Set::from_words(words), step.share_of(step.sources.clone()))]
                        .into_iter(),
                ),
            };
        });
    }

    pub(crate) fn allocated(&self) -> usize {
        self.sets.allocated()
    }

    /// Sets the number of ghosts that are kept, about, as far as there is room.
    #[inline]
    pub(crate) fn set_len(&mut self, ghosts: usize) {
        // Mostly the ways need not change.
        if (self.most as usize).wrapping_sub(ghosts) >= self.order.len() {
            self.change_ways(ghosts);
        }
    }

    #[cold]
    fn change_ways(&mut self, ghosts: usize) {
        let sets = self.order.len();
        let ways = ghosts.div_ceil(sets).clamp(1, WAYS);
        (self.ways, self.most) = (to_u32(ways), to_u32(sets * ways));
    }

    /// Takes a bounded number of steps towards room for at least `max` ghosts. Returns `true` once
    /// that is done. Most ghosts are kept. In a larger memory they age faster for a while.
    pub(crate) fn resize(&mut self, max: usize) -> bool {
        self.write_last();
        self.most = u32::MAX; // No number, as `sets` changes.
        let sets = sets_for(max);
        for _ in 0..MOVED_AT_ONCE {
            match self.order.advance(sets) {
                Step::Done => return self.sets.resize(sets),
                Step::Allocate(sets) => {
                    if !self.sets.resize(sets) {
                        return false;
                    }
                }
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
        merge(step.sources.clone().map(|source| (self.sets[source], step.share(source))))
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

    /// Returns the ghost of a hash in its queue.
    fn ghost_of(hash: u64, queue: QueueId) -> u16 {
        Self::ghost(hash) | u16::from(queue.number()) & QUEUE
    }

    /// Prefetches the set of a hash.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
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
    #[inline(always)]
    pub(crate) fn insert(&mut self, hash: u64, queue: QueueId) {
        self.write_last();
        self.prefetch(hash);
        self.last = Some((hash, queue));
    }

    #[inline]
    fn write_last(&mut self) {
        let Some((hash, queue)) = self.last.take() else { return };
        let set = self.set_of(hash);
        self.sets[set].push(Self::ghost_of(hash, queue));
    }

    /// Forgets a hash. Returns the queue that it was in, if it was remembered.
    #[inline]
    pub(crate) fn take(&mut self, hash: u64) -> Option<QueueId> {
        self.take_with_age(hash).map(|(queue, _)| queue)
    }

    /// Forgets a hash. Returns the queue that it was in and about how many ghosts have come since,
    /// if it was remembered.
    #[inline(always)]
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
        (way < self.ways as usize).then_some((QueueId::new(number), way * self.order.len()))
    }

    /// Returns `true` if a hash is remembered.
    pub(crate) fn contains(&self, hash: u64) -> bool {
        self.last.is_some_and(|(last, _)| last == hash)
            || Self::find(&self.sets[self.set_of(hash)], hash).is_some_and(|(way, _)| way < self.ways as usize)
    }

    /// Returns the way that a hash is in, and the ghost there. The way may be one that is not in
    /// use.
    #[inline(always)]
    fn find(set: &Set, hash: u64) -> Option<(usize, u16)> {
        let wanted = Self::ghost(hash);
        // Mostly there is none.
        if set.has(wanted) { Self::way_of(set, wanted) } else { None }
    }

    #[inline(never)]
    fn way_of(set: &Set, wanted: u16) -> Option<(usize, u16)> {
        set.0.into_iter().enumerate().find(|&(_, ghost)| ghost & !QUEUE == wanted)
    }
}

/// Returns a set of the newest ghosts of up to [`MAX_SOURCES`] sets, of each by its share.
fn merge(sets: impl Iterator<Item = (Set, u64)>) -> Set {
    let mut sources: [([u16; WAYS], usize, u64, u64); MAX_SOURCES] = [([0; WAYS], WAYS, 0, 0); MAX_SOURCES];
    for (source, (set, share)) in sources.iter_mut().zip(sets) {
        *source = (set.0, 0, 0, share);
    }
    Set(core::array::from_fn(|_| {
        // Each source has its turn as often as its share says.
        let left = sources.iter_mut().filter(|(ghosts, taken, ..)| *taken < WAYS && ghosts[*taken] != 0);
        let next = left.map(|(ghosts, taken, credit, share)| {
            *credit += *share;
            (ghosts, taken, credit)
        });
        let Some((ghosts, taken, credit)) = next.max_by_key(|(_, _, credit)| **credit) else { return 0 };
        *credit = 0;
        *taken += 1;
        ghosts[*taken - 1]
    }))
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
    fn a_snapshot_has_the_newest_ghost_of_a_set_in_its_lowest_bits() {
        let mut set = Set([0; WAYS]);
        (1..=40).for_each(|ghost| set.push(2 * ghost));
        let words = set.to_words();
        assert_eq!((words[0], words[7]), (0x004a_004c_004e_0050, 0x0012_0014_0016_0018));
        assert_eq!(Set::from_words(words).0, set.0);
        set.remove(1);
        assert_eq!((set.0[0], set.0[1], set.0[31], set.has(78), set.has(76)), (80, 76, 0, false, true));
    }

    #[test]
    fn the_ways_follow_the_number_of_ghosts_and_that_of_sets() {
        let mut ghosts = GhostSets::new(100 * WAYS);
        for (len, ways) in [(1600, 16), (1601, 17), (1700, 17), (1600, 16), (1, 1), (0, 1), (9999, 32), (1600, 16)] {
            ghosts.set_len(len);
            assert_eq!(ghosts.ways, ways, "{len}");
        }
        // Ends: each call moves on.
        while !ghosts.resize(200 * WAYS) {}
        ghosts.set_len(1600);
        assert_eq!(ghosts.ways, 8);
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

    /// Returns a memory for `max` ghosts that was restored from another one.
    fn restored(ghosts: &GhostSets, max: usize) -> GhostSets {
        let (mut restored, mut bytes) = (GhostSets::new(max), Vec::new());
        let mut part = 0;
        while ghosts.save(part, &mut bytes) {
            restored.restore(&bytes);
            bytes.clear();
            part += 1;
        }
        restored
    }

    fn known(ghosts: &GhostSets, count: u64) -> usize {
        (0..count).filter(|&number| ghosts.contains(spread(number))).count()
    }

    #[test]
    fn a_memory_of_another_size_restores_what_a_resized_one_keeps() {
        for sets in [600, 601, 1000, 2000, 599, 400, 300, 250, 70] {
            let mut ghosts = GhostSets::new(32 * 600);
            let count = 600 * 8;
            (0..count).for_each(|number| ghosts.insert(spread(number), QUEUES[0]));
            let restored = restored(&ghosts, 32 * sets);
            while !ghosts.resize(32 * sets) {}
            let (expected, still) = (known(&ghosts, count), known(&restored, count));
            assert!(still >= expected * 99 / 100, "{still} of {expected} in {sets} sets");
        }
    }

    #[test]
    fn a_save_at_each_step_of_a_resize_has_all_ghosts() {
        for sets in [1000, 300] {
            let mut ghosts = GhostSets::new(32 * 600);
            let count = 600 * 8;
            (0..count).for_each(|number| ghosts.insert(spread(number), QUEUES[0]));
            let mut calls = 0;
            while !ghosts.resize(32 * sets) {
                ghosts.insert(spread(count + calls), QUEUES[1]);
                let restored = restored(&ghosts, 32 * sets);
                let still = known(&restored, count);
                assert!(still > 600 * 8 * 99 / 100, "{still} after {calls} calls to {sets} sets");
                assert!(restored.contains(spread(count + calls)), "the ghost that came last");
                calls += 1;
            }
            assert!(calls > 3, "{calls} calls");
        }
    }

    #[test]
    fn a_part_of_a_memory_of_any_size_is_restored_at_once() {
        let total: u32 = 1 << 28;
        let part = [&total.to_le_bytes()[..], &(total - 255).to_le_bytes(), &[1; 255 * 64]].concat();
        let mut ghosts = GhostSets::new(32);
        (0..1_000).for_each(|_| ghosts.restore(&part));
        assert!(ghosts.sets[0].0.iter().all(|&ghost| ghost == 0x0101));
    }
}
