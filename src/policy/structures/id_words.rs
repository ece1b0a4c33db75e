//! [`IdWords`]: a word for each id.

use core::ops::{Index, IndexMut};

use crate::growable::Growable;
use crate::policy::EntryId;

/// A word for each id. Costs 4 bytes for each id.
#[derive(Debug)]
pub(crate) struct IdWords(Growable<u32>);

impl IdWords {
    /// Creates a word of 0 for each of `ids` ids.
    pub(crate) fn new(ids: usize) -> Self {
        Self(Growable::new(ids))
    }

    pub(crate) fn ids(&self) -> usize {
        self.0.len()
    }

    /// Gives the word of an id to another one. The former id gets 0.
    pub(crate) fn rename(&mut self, from: EntryId, to: EntryId) {
        self[to] = core::mem::take(&mut self[from]);
    }

    /// Sets the number of ids, and takes a bounded step towards the memory for them. Returns `true`
    /// once that is done. Ids that are added have 0.
    #[must_use]
    pub(crate) fn resize(&mut self, ids: usize) -> bool {
        self.0.resize(ids)
    }

    /// Returns the bytes that the words take.
    pub(crate) fn allocated(&self) -> usize {
        self.0.allocated()
    }
}

impl Index<EntryId> for IdWords {
    type Output = u32;

    #[inline]
    fn index(&self, id: EntryId) -> &u32 {
        &self.0[id.index()]
    }
}

impl IndexMut<EntryId> for IdWords {
    #[inline]
    fn index_mut(&mut self, id: EntryId) -> &mut u32 {
        &mut self.0[id.index()]
    }
}
