//! [`GhostIndex`]: from the fingerprint of a ghost to its slot in the pool of [`GhostQueues`].
//!
//! ```text
//!   index     | segment | segment | ...     the fingerprint's high bits choose the segment
//!   segment   up to 256 places of a u32     open addressing inside of it, from the low bits
//! ```
//!
//! Segments let the index be resized in place, one at a time ([`HashOrder`]). An index of one
//! segment may have a shorter one.
//!
//! Fingerprints are spread evenly. Of a million segments of an index that is as full as it gets,
//! one or two cannot hold their ghosts. A ghost that finds no place is forgotten.
//!
//! [`GhostQueues`]: super::GhostQueues

use super::hash_order::{HashOrder, Move, Step};
use crate::growable::Growable;

/// Places of a segment, if there are several.
const SEGMENT: usize = 256;
/// The bits of a fingerprint.
pub(super) const FINGERPRINT_BITS: u32 = 38;
/// The low bits of a fingerprint that choose the place in a segment.
const HOME_BITS: u32 = 16;

/// The slots of ghosts, + 1, by fingerprint. 0 is a free place.
#[derive(Debug)]
pub(super) struct GhostIndex {
    places: Growable<u32>,
    segments: HashOrder,
    /// Places of each segment.
    segment_len: usize,
}

impl GhostIndex {
    /// Creates an index with room for `max` ghosts.
    pub(super) fn new(max: usize) -> Self {
        let (segments, segment_len) = shape_for(max);
        Self { places: Growable::new(segments * segment_len), segments: HashOrder::new(segments), segment_len }
    }

    pub(super) fn allocated(&self) -> usize {
        self.places.allocated()
    }

    /// Returns the number of ghosts. Goes through all places.
    pub(super) fn len(&self) -> usize {
        self.places.iter().filter(|&&place| place != 0).count()
    }

    /// Returns the slot of the ghost at a place, or `None` if the place is free.
    #[inline]
    pub(super) fn slot(&self, at: usize) -> Option<usize> {
        (self.places[at] as usize).checked_sub(1)
    }

    /// Sets the slot of the ghost at a place.
    pub(super) fn set_slot(&mut self, at: usize, slot: usize) {
        #[allow(clippy::cast_possible_truncation, reason = "there are fewer slots than ids, times 9 / 8")]
        {
            self.places[at] = slot as u32 + 1;
        }
    }

    /// Returns the place of a fingerprint. `fingerprint_of` returns the one of the ghost in a slot.
    #[inline]
    pub(super) fn find(&self, fingerprint: u64, fingerprint_of: impl Fn(usize) -> u64) -> Option<usize> {
        let start = self.segment_of(fingerprint) * self.segment_len;
        let mut at = home(fingerprint, self.segment_len);
        let segment = &self.places[start..start + self.segment_len];
        // Bounded by the segment. Mostly the place is near its home.
        for _ in 0..segment.len() {
            let slot = (segment[at] as usize).checked_sub(1)?;
            if fingerprint_of(slot) == fingerprint {
                return Some(start + at);
            }
            at = if at + 1 == segment.len() { 0 } else { at + 1 };
        }
        None
    }

    /// Sets the slot of a ghost that has moved from another one.
    pub(super) fn replace_slot(&mut self, fingerprint: u64, from: usize, to: usize) {
        if let Some(at) = self.probe(fingerprint).find(|&at| self.slot(at) == Some(from)) {
            self.set_slot(at, to);
        }
    }

    /// Returns the free place for a fingerprint, which is not in the index, or `None` if its
    /// segment is full.
    pub(super) fn find_free(&self, fingerprint: u64) -> Option<usize> {
        self.probe(fingerprint).find(|&at| self.places[at] == 0)
    }

    /// Makes a place free, and moves ghosts of the segment so that none gets lost.
    pub(super) fn free(&mut self, at: usize, fingerprint_of: impl Fn(usize) -> u64) {
        self.places[at] = 0;
        // Only the first segment may have another length.
        let start = at / SEGMENT * SEGMENT;
        let distance = |from: usize, to: usize| if to >= from { to - from } else { to + self.segment_len - from };
        // Ghosts that were displaced past this place move up, so that no search for them ends here.
        let (mut free, mut next) = (at - start, at - start);
        for _ in 1..self.segment_len {
            next = if next + 1 == self.segment_len { 0 } else { next + 1 };
            let Some(slot) = self.slot(start + next) else { return };
            let home = home(fingerprint_of(slot), self.segment_len);
            if distance(home, next) >= distance(free, next) {
                self.places[start + free] = core::mem::take(&mut self.places[start + next]);
                free = next;
            }
        }
    }

    /// Takes a bounded number of steps towards room for `max` ghosts. Returns `true` once that is
    /// done. The slots of ghosts that find no room are added to `lost`.
    pub(super) fn resize(&mut self, max: usize, lost: &mut Vec<usize>, fingerprint_of: impl Fn(usize) -> u64) -> bool {
        let (segments, segment_len) = shape_for(max);
        if segments == 1 && self.places.len() <= SEGMENT {
            self.resize_segment(segment_len, lost, fingerprint_of);
            return self.places.resize(segment_len);
        }
        if self.segment_len < SEGMENT {
            self.resize_segment(SEGMENT, lost, &fingerprint_of);
        }
        match self.segments.advance(segments) {
            Step::Done => return segments > 1 && self.places.resize(segments * SEGMENT),
            Step::Allocate(segments) => {
                let _is_done = self.places.resize(segments * SEGMENT);
            }
            Step::Move(step) => self.move_segment(&step, lost, fingerprint_of),
        }
        false
    }

    /// Gives the only segment another length.
    fn resize_segment(&mut self, len: usize, lost: &mut Vec<usize>, fingerprint_of: impl Fn(usize) -> u64) {
        if len == self.segment_len {
            return;
        }
        let slots = self.take_all(0);
        self.segment_len = len;
        let _is_done = self.places.resize(len);
        self.insert_all(slots, lost, fingerprint_of);
    }

    /// Moves the ghosts of a segment in the new layout there.
    fn move_segment(&mut self, step: &Move, lost: &mut Vec<usize>, fingerprint_of: impl Fn(usize) -> u64) {
        let mut moved = Vec::new();
        for source in step.sources.clone() {
            let slots = self.take_all(source);
            let goes = |&slot: &usize| self.segment_of(fingerprint_of(slot)) == step.place;
            let (go, stay): (Vec<_>, Vec<_>) = slots.into_iter().partition(goes);
            moved.extend(go);
            self.insert_all(stay, lost, &fingerprint_of);
        }
        self.insert_all(moved, lost, fingerprint_of);
    }

    /// Empties a segment, and returns its ghosts' slots.
    fn take_all(&mut self, segment: usize) -> Vec<usize> {
        let places = segment * self.segment_len..(segment + 1) * self.segment_len;
        let slots = places.clone().filter_map(|at| self.slot(at)).collect();
        self.places[places].fill(0);
        slots
    }

    fn insert_all(&mut self, slots: Vec<usize>, lost: &mut Vec<usize>, fingerprint_of: impl Fn(usize) -> u64) {
        for slot in slots {
            match self.find_free(fingerprint_of(slot)) {
                Some(at) => self.set_slot(at, slot),
                None => lost.push(slot),
            }
        }
    }

    fn segment_of(&self, fingerprint: u64) -> usize {
        self.segments.place(fingerprint << (u64::BITS - FINGERPRINT_BITS))
    }

    /// Returns the places where a fingerprint may be, in the order of the search.
    #[inline]
    fn probe(&self, fingerprint: u64) -> impl Iterator<Item = usize> + use<> {
        let start = self.segment_of(fingerprint) * self.segment_len;
        let (home, end) = (start + home(fingerprint, self.segment_len), start + self.segment_len);
        (home..end).chain(start..home)
    }
}

/// Returns where in its segment the search for a fingerprint begins.
#[inline]
fn home(fingerprint: u64, segment_len: usize) -> usize {
    #[allow(clippy::cast_possible_truncation, reason = "16 bits")]
    let low = (fingerprint & ((1 << HOME_BITS) - 1)) as usize;
    (low * segment_len) >> HOME_BITS
}

/// Returns the number of segments with room for `max` ghosts, and the places of each.
fn shape_for(max: usize) -> (usize, usize) {
    let places = max + max / 3 + 8;
    if places <= SEGMENT { (1, places) } else { (places.div_ceil(SEGMENT), SEGMENT) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fingerprint of the ghost in a slot.
    fn fingerprint(slot: usize) -> u64 {
        crate::policy::simulator::spread(slot as u64) >> (u64::BITS - FINGERPRINT_BITS)
    }

    fn check(index: &GhostIndex, slots: core::ops::Range<usize>) {
        assert_eq!(index.len(), slots.len());
        for slot in slots {
            let found = index.find(fingerprint(slot), fingerprint).and_then(|at| index.slot(at));
            assert_eq!(found, Some(slot));
        }
    }

    #[test]
    fn every_ghost_is_found_after_each_step_of_a_resize_while_others_come_and_go() {
        let mut index = GhostIndex::new(100);
        let (mut oldest, mut newest) = (0, 0);
        let mut lost = Vec::new();
        for (max, steps) in [(100, 0), (150, 0), (1000, 4), (2500, 9), (5000, 10), (4000, 10), (900, 10), (60, 4)] {
            let mut calls = 0;
            while newest - oldest > max * 9 / 10 {
                let at = index.find(fingerprint(oldest), fingerprint).unwrap();
                index.free(at, fingerprint);
                oldest += 1;
            }
            while !index.resize(max, &mut lost, fingerprint) {
                calls += 1;
                check(&index, oldest..newest);
                if newest > oldest {
                    let at = index.find(fingerprint(oldest), fingerprint).unwrap();
                    index.free(at, fingerprint);
                    oldest += 1;
                    let at = index.find_free(fingerprint(newest)).unwrap();
                    index.set_slot(at, newest);
                    newest += 1;
                }
                check(&index, oldest..newest);
            }
            assert!(calls >= steps, "{calls} calls to {max}");
            while newest - oldest < max * 9 / 10 {
                let at = index.find_free(fingerprint(newest)).unwrap();
                index.set_slot(at, newest);
                newest += 1;
            }
            check(&index, oldest..newest);
            assert!(lost.is_empty());
            assert_eq!(index.places.len(), shape_for(max).0 * shape_for(max).1);
        }
    }
}
