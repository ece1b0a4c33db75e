//! A set of ids: one bit for each that there is.

use crate::policy::{EntryId, Renumbering};

const BITS: usize = u64::BITS as usize;

#[derive(Debug)]
pub(crate) struct IdSet(Vec<u64>);

impl IdSet {
    pub(crate) fn new(ids: usize) -> Self {
        Self(vec![0; ids.div_ceil(BITS)])
    }

    pub(crate) fn allocated(&self) -> usize {
        self.0.capacity() * size_of::<u64>()
    }

    pub(crate) fn contains(&self, id: EntryId) -> bool {
        let (word, bit) = place_of(id);
        self.0[word] & bit != 0
    }

    pub(crate) fn insert(&mut self, id: EntryId) {
        let (word, bit) = place_of(id);
        self.0[word] |= bit;
    }

    /// Removes an id. Returns `true` if it was there.
    pub(crate) fn remove(&mut self, id: EntryId) -> bool {
        let (word, bit) = place_of(id);
        let was_there = self.0[word] & bit != 0;
        self.0[word] &= !bit;
        was_there
    }

    pub(crate) fn renumber(&mut self, moved: &Renumbering) {
        let mut renumbered = Self::new(moved.ids());
        for (number, &word) in (0..).zip(&self.0) {
            let mut left = word;
            while left != 0 {
                let old = EntryId::new(number * u64::BITS + left.trailing_zeros());
                left &= left - 1;
                if let Some(new) = moved.get(old) {
                    renumbered.insert(new);
                }
            }
        }
        *self = renumbered;
    }

    /// Returns the number of ids in the set. Goes through all of it.
    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }
}

/// Returns the word of an id, and its bit there.
#[inline]
fn place_of(id: EntryId) -> (usize, u64) {
    (id.index() / BITS, 1 << (id.index() % BITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(set: &IdSet, ids: u32) -> Vec<u32> {
        (0..ids).filter(|&id| set.contains(EntryId::new(id))).collect()
    }

    #[test]
    fn a_set_holds_what_was_put_in_and_follows_new_numbers() {
        let mut set = IdSet::new(130);
        [0, 63, 64, 129, 7].into_iter().for_each(|id| set.insert(EntryId::new(id)));
        assert!(set.remove(EntryId::new(7)) && !set.remove(EntryId::new(7)));
        assert_eq!((members(&set, 130), set.len()), (vec![0, 63, 64, 129], 4));
        let mut moved = Renumbering::new(130, 300, 300);
        [(0, 299), (64, 0), (129, 65)]
            .into_iter()
            .for_each(|(old, new)| moved.set(EntryId::new(old), EntryId::new(new)));
        set.renumber(&moved);
        assert_eq!((members(&set, 300), set.len()), (vec![0, 65, 299], 3));
    }
}
