//! [`Renumbering`]: the new ids of all residents.

use super::EntryId;

/// In the place of a new number: no table has this many lanes.
const NOT_RESIDENT: u32 = u32::MAX;

/// The new ids of all residents, after the index has grown.
#[derive(Debug)]
pub struct Renumbering {
    /// The new number of each old id, or `NOT_RESIDENT`.
    moves: Vec<u32>,
    ids: usize,
    max_entries: usize,
}

impl Renumbering {
    /// Creates a renumbering without residents, from `old_ids` ids to `ids` ids, of which
    /// `max_entries` may be resident.
    pub(crate) fn new(old_ids: usize, ids: usize, max_entries: usize) -> Self {
        Self { moves: vec![NOT_RESIDENT; old_ids], ids, max_entries }
    }

    /// Returns the bytes that a renumbering of `old_ids` ids allocates.
    pub(crate) fn footprint(old_ids: usize) -> usize {
        old_ids * size_of::<u32>()
    }

    pub(crate) fn set(&mut self, old: EntryId, new: EntryId) {
        self.moves[old.index()] = new.get();
    }

    /// Returns the new id of the resident that had the id `old`, or `None` if there was none.
    ///
    /// ```
    /// # use bytecache::policy::{EntryId, Renumbering};
    /// fn renumber(residents: &mut Vec<EntryId>, moved: &Renumbering) {
    ///     for id in residents {
    ///         *id = moved.get(*id).expect("a resident has a new id");
    ///     }
    /// }
    /// ```
    pub fn get(&self, old: EntryId) -> Option<EntryId> {
        let new = self.moves.get(old.index()).copied();
        new.filter(|&new| new != NOT_RESIDENT).map(EntryId::new)
    }

    /// Returns the number of ids. Every new id is below it.
    ///
    /// ```
    /// # use bytecache::policy::Renumbering;
    /// fn renumber(marks: &mut Vec<bool>, moved: &Renumbering) {
    ///     *marks = vec![false; moved.ids()];
    /// }
    /// ```
    #[must_use]
    pub fn ids(&self) -> usize {
        self.ids
    }

    /// Returns the most ids that are resident at a time: see
    /// [`PolicyContext::max_entries`](super::PolicyContext::max_entries).
    ///
    /// ```
    /// # use bytecache::policy::{EntryId, Renumbering};
    /// fn renumber(queue: &mut Vec<EntryId>, moved: &Renumbering) {
    ///     queue.reserve_exact(moved.max_entries() - queue.len());
    /// }
    /// ```
    #[must_use]
    pub fn max_entries(&self) -> usize {
        self.max_entries
    }

    /// Moves the values of an array that is indexed by ids to the new ids. An id that is not
    /// resident gets the default value.
    ///
    /// ```
    /// # use bytecache::policy::Renumbering;
    /// fn renumber(counts: &mut Vec<u8>, moved: &Renumbering) {
    ///     moved.apply(counts);
    ///     assert_eq!(counts.len(), moved.ids());
    /// }
    /// ```
    pub fn apply<T: Copy + Default>(&self, values: &mut Vec<T>) {
        let mut moved = vec![T::default(); self.ids];
        for (&new, &value) in self.moves.iter().zip(values.iter()) {
            if new != NOT_RESIDENT {
                moved[new as usize] = value;
            }
        }
        *values = moved;
    }
}
