//! Exact queues of ghosts: the hashes and charges of entries that were evicted.
//!
//! ```text
//!   ring     | hole | B1 k | B2 x | hole | B1 y | ...     u64: fingerprint 38 | charge 24 | queue 2
//!   index    fingerprint -> slot of the ring's pool       u32 each
//! ```
//!
//! Up to four queues share one ring. A ghost of any queue is added at its tail. It is forgotten by
//! its key, or because it is its queue's oldest. Each queue has a head of its own that skips the
//! ghosts of others. When the ring is almost used up, a sweep closes its holes, a few with each
//! ghost that comes in, so no call waits for all of it.
//!
//! The ring lies in the blocks of a pool ([`GhostPool`]), and the index in segments
//! ([`GhostIndex`]). Both are resized in steps.
//!
//! Every operation is O(1) amortised. A queue costs 14.3 bytes for each ghost that there is room
//! for.
//!
//! A key is known by 38 bits of its hash. Of a million look-ups among a million ghosts, about four
//! find a ghost of another key. A charge of 16 MiB or more is remembered as 16 MiB.
//!
//! # Invariants
//!
//! 1. A ghost lies between its queue's head and the ring's tail, and the index finds it.
//! 2. No two ghosts have the same fingerprint.

use super::QueueId;
use super::ghost_index::{FINGERPRINT_BITS, GhostIndex};
use super::ghost_pool::GhostPool;
use crate::growable::Zero;

const CHARGE_BITS: u32 = 24;
const MAX_CHARGE: u32 = (1 << CHARGE_BITS) - 1;
const QUEUE_BITS: u32 = QueueId::MAX.ilog2();
const FINGERPRINT_SHIFT: u32 = CHARGE_BITS + QUEUE_BITS;
const _: () = assert!(FINGERPRINT_SHIFT + FINGERPRINT_BITS == u64::BITS);

/// A place of the ring: a ghost, or 0 for a hole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ghost(u64);

// SAFETY: it is an integer.
#[allow(unsafe_code, reason = "elements of a `Growable`")]
unsafe impl Zero for Ghost {}

impl Ghost {
    const HOLE: Self = Self(0);

    fn new(hash: u64, charge: u32, queue: QueueId) -> Self {
        let charge = u64::from(charge.min(MAX_CHARGE));
        Self(Self::fingerprint(hash) << FINGERPRINT_SHIFT | charge << QUEUE_BITS | u64::from(queue.number()))
    }

    /// Returns the fingerprint of a hash. It is never 0, so that no ghost is a hole. A product's
    /// top bits depend on all bits of the hash.
    fn fingerprint(hash: u64) -> u64 {
        (hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> FINGERPRINT_SHIFT).max(1)
    }

    /// Returns the fingerprint.
    fn known_by(self) -> u64 {
        self.0 >> FINGERPRINT_SHIFT
    }

    fn charge(self) -> u64 {
        self.0 >> QUEUE_BITS & u64::from(MAX_CHARGE)
    }

    fn queue(self) -> QueueId {
        let [low, ..] = self.0.to_le_bytes();
        QueueId::new(low % QueueId::MAX)
    }
}

/// The queue of a key that has come back, and the charges at that time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Remembered<const N: usize> {
    pub(crate) queue: QueueId,
    /// The charge of all ghosts of each queue, while this one was among them.
    pub(crate) charges: [u64; N],
}

/// `N` queues of ghosts.
#[derive(Debug)]
pub(crate) struct GhostQueues<const N: usize> {
    pool: GhostPool<Ghost>,
    /// The places in use go from the head to before the tail. They count on forever.
    head: u64,
    tail: u64,
    /// No ghost of the queue lies before this place.
    heads: [u64; N],
    sweep: Option<Sweep>,
    index: GhostIndex,
    charges: [u64; N],
    counts: [usize; N],
    max: usize,
}

/// A sweep that closes holes from the tail to the head: it writes the ghosts that it has read
/// again, without holes between them.
#[derive(Clone, Copy, Debug)]
struct Sweep {
    /// Places before this one have not been read.
    read: u64,
    /// Places from this one on have been written.
    written: u64,
}

/// The places whose ghosts are saved together: 2 KiB. A writer that has to wait for that does so
/// without going to sleep.
const PLACES_IN_A_PART: u64 = 256;

/// Places that a sweep reads for each ghost that comes in. It ends before a part of the ring's
/// slack is used up.
const SWEEP_STEPS: usize = 32;
/// Holes at the head that a call skips.
const SKIPPED_AT_ONCE: u64 = 64;
/// Places that a sweep reads in one call of [`GhostQueues::resize`], and those that are forgotten.
const RESIZE_STEPS: usize = 256;

impl<const N: usize> GhostQueues<N> {
    /// Creates queues with room for `max` ghosts in all, in a shard of `capacity` bytes.
    pub(crate) fn new(max: usize, capacity: u64) -> Self {
        let max = max.max(1);
        Self {
            pool: GhostPool::new(places_for(max), capacity),
            head: 0,
            tail: 0,
            heads: [0; N],
            sweep: None,
            index: GhostIndex::new(max),
            charges: [0; N],
            counts: [0; N],
            max,
        }
    }

    pub(crate) fn allocated(&self) -> usize {
        self.pool.allocated() + self.index.allocated()
    }

    /// Returns the charge of all ghosts of a queue.
    pub(crate) fn charge(&self, queue: QueueId) -> u64 {
        self.charges[queue.index()]
    }

    fn len(&self) -> usize {
        self.counts.iter().sum()
    }

    /// Adds a key as the newest of a queue. If there is no room, the oldest of this queue is
    /// forgotten, or the oldest of another.
    pub(crate) fn push(&mut self, queue: QueueId, hash: u64, charge: u32) {
        self.take(hash);
        self.add(Ghost::new(hash, charge, queue));
    }

    /// Adds a ghost that is not there as the newest of its queue.
    fn add(&mut self, ghost: Ghost) {
        if self.len() >= self.max && !self.pop(ghost.queue()) {
            let _other = QueueId::first(N).any(|other| self.pop(other));
        }
        self.make_place();
        self.append(ghost);
    }

    /// Forgets a key. Returns its queue, or `None` if it is not there.
    pub(crate) fn take(&mut self, hash: u64) -> Option<Remembered<N>> {
        let fingerprint = Ghost::fingerprint(hash);
        let at = self.find(fingerprint)?;
        let queue = self.pool.get(self.index.slot(at)?).queue();
        let remembered = Remembered { queue, charges: self.charges };
        self.forget(at);
        Some(remembered)
    }

    /// Forgets the oldest of a queue. Returns `false` if it has none.
    pub(crate) fn pop(&mut self, queue: QueueId) -> bool {
        if self.counts[queue.index()] == 0 {
            return false;
        }
        let mut head = self.heads[queue.index()].max(self.head);
        // Ends: the queue has a ghost. Amortised: the head of a queue only moves on.
        while self.ghost(head) == Ghost::HOLE || self.ghost(head).queue() != queue {
            head += 1;
        }
        self.heads[queue.index()] = head;
        let oldest = self.ghost(head);
        if let Some(at) = self.find(oldest.known_by()) {
            self.forget(at);
        }
        true
    }

    /// Forgets the oldest of a queue until its charge is at most `charge`.
    pub(crate) fn trim(&mut self, queue: QueueId, charge: u64) {
        // As many as the bytes that were pushed.
        while self.charge(queue) > charge {
            self.pop(queue);
        }
    }

    /// Takes a bounded number of steps towards room for `max` ghosts. Returns `true` once that is
    /// done. The newest ghosts are kept.
    pub(crate) fn resize(&mut self, max: usize) -> bool {
        let max = max.max(1);
        self.max = self.max.min(max);
        if !self.forget_surplus() || !self.resize_pool(max) || !self.resize_index(max) {
            return false;
        }
        self.max = max;
        true
    }

    /// Forgets the oldest ghosts while there are more than there is room for, some of them a call.
    /// Returns `true` once there are not.
    fn forget_surplus(&mut self) -> bool {
        if self.len() <= self.max {
            return true;
        }
        for _ in 0..RESIZE_STEPS {
            // A sweep ends at the head, so the head stays where it is meanwhile.
            if self.sweep_on() {
                continue;
            }
            let oldest = self.ghost(self.head);
            if let Some(at) = self.find(oldest.known_by()).filter(|_| oldest != Ghost::HOLE) {
                self.forget(at);
            }
            self.set_head(self.head + 1);
            if self.len() <= self.max {
                return true;
            }
        }
        false
    }

    /// Takes a step towards a ring for `max` ghosts. Returns `true` once that is done.
    fn resize_pool(&mut self, max: usize) -> bool {
        let blocks = self.pool.blocks_for(places_for(max));
        self.pool.grow(blocks);
        if self.pool.blocks_in_use() > blocks as usize {
            self.sweep.get_or_insert(Sweep { read: self.tail, written: self.tail });
            let _is_swept = (0..RESIZE_STEPS).any(|_| !self.sweep_on());
            return false;
        }
        if let Some((from, to)) = self.pool.move_block_below(blocks) {
            for slot in to..to + self.pool.block_len() {
                let ghost = self.pool.get(slot);
                if ghost == Ghost::HOLE {
                    continue;
                }
                // The index still has the former slot, which is empty.
                self.index.replace_slot(ghost.known_by(), from + (slot - to), slot);
            }
            return false;
        }
        self.pool.truncate()
    }

    /// Takes a step towards an index for `max` ghosts. Returns `true` once that is done.
    fn resize_index(&mut self, max: usize) -> bool {
        let (mut lost, pool) = (Vec::new(), &self.pool);
        let is_done = self.index.resize(max, &mut lost, |slot| pool.get(slot).known_by());
        for slot in lost {
            self.clear(slot);
        }
        is_done
    }

    /// Appends the ghosts of a part of the ring for a snapshot. Returns `false` if there is no such
    /// part. A sweep between two parts may move ghosts from one to the other.
    pub(crate) fn save(&self, part: usize, bytes: &mut Vec<u8>) -> bool {
        let first = self.head.saturating_add((part as u64).saturating_mul(PLACES_IN_A_PART));
        let places = first..self.tail.min(first.saturating_add(PLACES_IN_A_PART));
        if places.is_empty() {
            return false;
        }
        let ghosts = places.map(|place| self.ghost(place)).filter(|&ghost| ghost != Ghost::HOLE);
        ghosts.for_each(|Ghost(word)| bytes.extend_from_slice(&word.to_le_bytes()));
        true
    }

    /// Restores ghosts that other queues have [saved](Self::save), as the newest. If there is no
    /// room, the oldest are forgotten.
    pub(crate) fn restore(&mut self, bytes: &[u8]) {
        let words = bytes.chunks_exact(size_of::<u64>()).filter_map(|bytes| bytes.try_into().ok());
        for ghost in words.map(|bytes| Ghost(u64::from_le_bytes(bytes))) {
            let is_one = ghost.known_by() != 0 && ghost.queue().index() < N;
            if is_one && self.find(ghost.known_by()).is_none() {
                self.add(ghost);
            }
        }
    }

    fn ghost(&self, place: u64) -> Ghost {
        self.pool.get(self.pool.slot(place))
    }

    /// Sets the first place in use.
    fn set_head(&mut self, head: u64) {
        self.head = head;
        self.pool.release_before(head);
    }

    /// Makes sure that there is a free place.
    fn make_place(&mut self) {
        if self.sweep.is_none() {
            let mut head = self.head;
            // The next call skips what is left, or a sweep closes it.
            let end = self.tail.min(head + SKIPPED_AT_ONCE);
            while head < end && self.ghost(head) == Ghost::HOLE {
                head += 1;
            }
            self.set_head(head);
            if self.pool.free_places(self.tail) > self.pool.len() / 16 {
                return;
            }
            self.sweep = Some(Sweep { read: self.tail, written: self.tail });
        }
        let mut steps = 0;
        // A sixteenth of the places is free when a sweep begins, so it ends before they are used
        // up.
        while steps < SWEEP_STEPS || self.pool.free_places(self.tail) == 0 {
            if !self.sweep_on() {
                return;
            }
            steps += 1;
        }
    }

    /// Reads one more place. Returns `false` at the end.
    fn sweep_on(&mut self) -> bool {
        let Some(Sweep { read, written }) = &mut self.sweep else { return false };
        if *read == self.head {
            let written = *written;
            self.sweep = None;
            self.set_head(written);
            return false;
        }
        *read -= 1;
        let from = *read;
        let ghost = self.ghost(from);
        if ghost == Ghost::HOLE {
            return true;
        }
        let Some(Sweep { written, .. }) = &mut self.sweep else { return false };
        *written -= 1;
        let to = *written;
        if let Some(at) = self.find(ghost.known_by()).filter(|_| from != to) {
            self.pool.set(self.pool.slot(from), Ghost::HOLE);
            self.write(at, to, ghost);
        }
        true
    }

    /// Writes a ghost to a place, and its slot to the index.
    fn write(&mut self, at: usize, place: u64, ghost: Ghost) {
        let slot = self.pool.slot(place);
        self.pool.set(slot, ghost);
        self.index.set_slot(at, slot);
    }

    /// Writes a ghost to the tail, if there is room in the index.
    fn append(&mut self, ghost: Ghost) {
        let Some(at) = self.index.find_free(ghost.known_by()) else { return };
        if !self.pool.extend_to(self.tail) {
            return;
        }
        self.write(at, self.tail, ghost);
        self.tail += 1;
        self.charges[ghost.queue().index()] += ghost.charge();
        self.counts[ghost.queue().index()] += 1;
    }

    /// Forgets the ghost that the index has at `at`.
    fn forget(&mut self, at: usize) {
        let Some(slot) = self.index.slot(at) else { return };
        let pool = &self.pool;
        self.index.free(at, |slot| pool.get(slot).known_by());
        self.clear(slot);
    }

    /// Makes the slot of a ghost that is not in the index a hole.
    fn clear(&mut self, slot: usize) {
        let ghost = self.pool.get(slot);
        self.pool.set(slot, Ghost::HOLE);
        self.charges[ghost.queue().index()] -= ghost.charge();
        self.counts[ghost.queue().index()] -= 1;
    }

    /// Returns the place of the index that has a fingerprint.
    fn find(&self, fingerprint: u64) -> Option<usize> {
        self.index.find(fingerprint, |slot| self.pool.get(slot).known_by())
    }

    /// Recounts everything, and panics where it differs.
    pub(crate) fn validate(&self) {
        let mut charges = [0; N];
        let mut counts = [0; N];
        for (place, ghost) in (self.head..self.tail).map(|place| (place, self.ghost(place))) {
            if ghost == Ghost::HOLE {
                continue;
            }
            let found = self.find(ghost.known_by()).and_then(|at| self.index.slot(at));
            assert_eq!(found, Some(self.pool.slot(place)), "the index does not find a ghost");
            assert!(self.heads[ghost.queue().index()] <= place);
            charges[ghost.queue().index()] += ghost.charge();
            counts[ghost.queue().index()] += 1;
        }
        assert_eq!((self.charges, self.counts), (charges, counts));
        assert_eq!(self.index.len(), self.len());
        self.pool.validate();
    }
}

/// Returns the number of the ring's places for `max` ghosts. After a sweep has closed all holes,
/// enough are free until the next one has to begin.
fn places_for(max: usize) -> usize {
    max + max / 9 + 8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::simulator::spread;
    use proptest::prelude::*;

    const QUEUES: [QueueId; 2] = [QueueId::new(0), QueueId::new(1)];

    /// Queue, key and charge, from the oldest to the newest.
    type Model = Vec<(usize, u64, u32)>;

    fn charge(model: &Model, queue: usize) -> u64 {
        model.iter().filter(|ghost| ghost.0 == queue).map(|ghost| u64::from(ghost.2)).sum()
    }

    proptest! {
        #[test]
        fn two_queues_in_one_ring_are_two_queues(
            max in 1..12_usize,
            operations in prop::collection::vec((0..6_u8, 0..2_usize, 0..20_u64, 0..50_u32), 1..400),
        ) {
            let mut max = max;
            let mut ghosts = GhostQueues::<2>::new(max, 0);
            let mut model = Model::new();
            for (operation, queue, key, size) in operations {
                let oldest = |model: &Model, queue| model.iter().position(|ghost| ghost.0 == queue);
                match operation {
                    0..3 => {
                        ghosts.push(QUEUES[queue], spread(key), size);
                        model.retain(|ghost| ghost.1 != key);
                        if model.len() == max {
                            let out = oldest(&model, queue).or(oldest(&model, 0)).or(oldest(&model, 1));
                            model.remove(out.unwrap());
                        }
                        model.push((queue, key, size));
                    }
                    3 => {
                        let expected = model.iter().find(|ghost| ghost.1 == key).map(|ghost| ghost.0);
                        let charges = [charge(&model, 0), charge(&model, 1)];
                        let found = ghosts.take(spread(key));
                        prop_assert_eq!(found, expected.map(|q| Remembered { queue: QUEUES[q], charges }));
                        model.retain(|ghost| ghost.1 != key);
                    }
                    4 => {
                        let out = oldest(&model, queue);
                        prop_assert_eq!(ghosts.pop(QUEUES[queue]), out.is_some());
                        out.map(|out| model.remove(out));
                    }
                    _ => {
                        max = size as usize % 12 + 1;
                        while !ghosts.resize(max) {}
                        model.drain(..model.len().saturating_sub(max));
                    }
                }
                ghosts.validate();
                prop_assert_eq!(QUEUES.map(|queue| ghosts.charge(queue)), [charge(&model, 0), charge(&model, 1)]);
            }
        }
    }

    #[test]
    fn a_charge_that_is_too_large_to_remember_counts_the_same_both_ways() {
        let mut ghosts = GhostQueues::<1>::new(4, 0);
        ghosts.push(QUEUES[0], spread(1), u32::MAX);
        assert_eq!(ghosts.charge(QUEUES[0]), u64::from(MAX_CHARGE));
        assert!(ghosts.take(spread(1)).is_some());
        assert_eq!(ghosts.charge(QUEUES[0]), 0);
    }

    #[test]
    fn ghosts_keep_their_order_through_every_step_of_a_resize() {
        let mut ghosts = GhostQueues::<2>::new(300, 0);
        let mut model = Model::new();
        let mut key = 0;
        let push = |ghosts: &mut GhostQueues<2>, model: &mut Model, key: u64| {
            ghosts.push(QUEUES[usize::from(key % 3 == 0)], spread(key), 1);
            model.push((usize::from(key % 3 == 0), key, 1));
        };
        for (max, steps) in [(300, 0), (2000, 4), (5000, 10), (1000, 20), (40, 3), (3000, 8)] {
            let mut calls = 0;
            while !ghosts.resize(max) {
                calls += 1;
                if model.len() > max.min(ghosts.max) {
                    model.drain(..model.len() - ghosts.len());
                }
                if calls % 3 == 0 {
                    assert!(ghosts.take(spread(key - 5)).is_some());
                    model.retain(|ghost| ghost.1 != key - 5);
                    push(&mut ghosts, &mut model, key);
                    key += 1;
                }
                ghosts.validate();
            }
            assert!(calls >= steps, "{calls} calls to {max}");
            model.drain(..model.len().saturating_sub(max));
            while model.len() < max * 7 / 8 {
                push(&mut ghosts, &mut model, key);
                key += 1;
            }
            ghosts.validate();
            assert_eq!(ghosts.len(), model.len());
            let held = |queue: usize| charge(&model, queue);
            assert_eq!(QUEUES.map(|queue| ghosts.charge(queue)), [held(0), held(1)]);
        }
        for queue in [0, 1] {
            for &(_, key, _) in model.iter().filter(|ghost| ghost.0 == queue) {
                assert!(ghosts.find(Ghost::fingerprint(spread(key))).is_some());
                assert!(ghosts.pop(QUEUES[queue]));
                assert!(ghosts.find(Ghost::fingerprint(spread(key))).is_none(), "{key} is not the oldest");
            }
        }
    }
}
