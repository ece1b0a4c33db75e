//! [`Holes`]: the ids that have left a part of a queue, and how far their places reach.

use std::collections::HashMap;

use crate::policy::EntryId;

/// The binary logarithm of the ids that share a table. A table that grows is copied, so its size
/// has to be bounded.
const IDS_SHIFT: u32 = 14;

/// Ids with holes, and the tail of the part at the time of the last.
type Table = HashMap<EntryId, u64, ahash::RandomState>;

/// The holes of a part: a table for each range of ids that has some.
#[derive(Debug, Default)]
pub(super) struct Holes {
    tables: Vec<Option<Box<Table>>>,
}

impl Holes {
    fn number(id: EntryId) -> usize {
        id.index() >> IDS_SHIFT
    }

    /// Returns the tail that was recorded with the last hole of an id.
    pub(super) fn get(&self, id: EntryId) -> Option<u64> {
        self.tables.get(Self::number(id))?.as_ref()?.get(&id).copied()
    }

    /// Returns `true` if the place of an id at a position is a hole.
    #[inline(never)]
    pub(super) fn include(&self, id: EntryId, position: u64) -> bool {
        self.get(id).is_some_and(|tail| position < tail)
    }

    /// Records a hole of an id. Copies at most the holes of as many ids as share a table.
    pub(super) fn insert(&mut self, id: EntryId, tail: u64) {
        let number = Self::number(id);
        if number >= self.tables.len() {
            self.tables.resize_with(number + 1, || None);
        }
        self.tables[number].get_or_insert_default().insert(id, tail);
    }

    /// Forgets the holes of an id.
    pub(super) fn remove(&mut self, id: EntryId) {
        if let Some(Some(table)) = self.tables.get_mut(Self::number(id)) {
            table.remove(&id);
        }
    }

    pub(super) fn allocated(&self) -> usize {
        let of_table =
            |table: &Table| size_of::<Table>() + table.capacity() * (size_of::<(EntryId, u64)>() + 1) * 8 / 7;
        let tables: usize = self.tables.iter().flatten().map(|table| of_table(table)).sum();
        size_of::<Self>() + self.tables.capacity() * size_of::<Option<Box<Table>>>() + tables
    }
}
