//! A set of ids: one bit for each that there is.

use crate::growable::Growable;
use crate::policy::EntryId;

const BITS: usize = u64::BITS as usize;

#[derive(Debug)]
pub(crate) struct IdSet(Growable<u64>);

impl IdSet {
    pub(crate) fn new(ids: usize) -> Self {
        Self(Growable::new(ids.div_ceil(BITS)))
    }

    pub(crate) fn allocated(&self) -> usize {
        self.0.allocated()
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

    /// Gives a member another id, which is no member.
    pub(crate) fn rename(&mut self, from: EntryId, to: EntryId) {
        if self.remove(from) {
            self.insert(to);
        }
    }

    /// Sets the number of ids, and takes a bounded step towards the memory for them. Returns `true`
    /// once that is done. Ids beyond the number are no members.
    #[must_use]
    pub(crate) fn resize(&mut self, ids: usize) -> bool {
        self.0.resize(ids.div_ceil(BITS))
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
    fn a_set_holds_what_was_put_in_and_follows_renames() {
        let mut set = IdSet::new(130);
        [0, 63, 64, 129, 7].into_iter().for_each(|id| set.insert(EntryId::new(id)));
        assert!(set.remove(EntryId::new(7)) && !set.remove(EntryId::new(7)));
        assert_eq!((members(&set, 130), set.len()), (vec![0, 63, 64, 129], 4));
        assert!(set.resize(300));
        for (from, to) in [(64, 1), (0, 299), (7, 8), (1, 0)] {
            set.rename(EntryId::new(from), EntryId::new(to));
        }
        assert_eq!((members(&set, 300), set.len()), (vec![0, 63, 129, 299], 4));
        set.rename(EntryId::new(299), EntryId::new(5));
        assert!(set.resize(130));
        assert_eq!((members(&set, 130), set.len()), (vec![0, 5, 63, 129], 4));
    }
}
