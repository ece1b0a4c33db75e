//! [`IdArray`]: an array that is indexed by ids.

use core::fmt::Debug;
use core::ops::{Index, IndexMut};

use super::{EntryId, PolicyContext};

/// A value for each id, for the arrays of a custom policy.
///
/// A policy calls [`rename`](Self::rename) and [`resize`](Self::resize) from its
/// [methods](super::EvictionPolicy) with the same names. Then each value follows its entry.
///
/// ```
/// use bytecache::policy::{EntryId, IdArray, PolicyContext};
///
/// let mut uses = IdArray::<u32>::new(&PolicyContext::new(100, 1 << 20));
/// uses[EntryId::new(7)] += 1;
/// uses.rename(EntryId::new(7), EntryId::new(8));
/// assert_eq!((uses.get(EntryId::new(7)), uses.get(EntryId::new(8))), (0, 1));
/// ```
#[derive(Clone, Debug)]
pub struct IdArray<T> {
    values: Vec<T>,
}

impl<T: Copy + Default> IdArray<T> {
    /// Creates an array with the default value for each of [`PolicyContext::ids`] ids.
    ///
    /// ```
    /// use bytecache::policy::{EntryId, IdArray, PolicyContext};
    ///
    /// let charges = IdArray::<u32>::new(&PolicyContext::new(100, 1 << 20));
    /// assert_eq!(charges.get(EntryId::new(99)), 0);
    /// ```
    #[must_use]
    pub fn new(context: &PolicyContext) -> Self {
        Self::with_ids(context.ids())
    }

    /// Creates an array for `ids` ids.
    pub(crate) fn with_ids(ids: usize) -> Self {
        Self { values: vec![T::default(); ids] }
    }

    /// Returns the value of an id.
    ///
    /// # Panics
    ///
    /// Panics if the array has no such id.
    ///
    /// ```
    /// use bytecache::policy::{EntryId, IdArray, PolicyContext};
    ///
    /// let mut levels = IdArray::<u8>::new(&PolicyContext::new(100, 1 << 20));
    /// levels.set(EntryId::new(7), 3);
    /// assert_eq!(levels.get(EntryId::new(7)), 3);
    /// ```
    #[inline]
    #[must_use]
    pub fn get(&self, id: EntryId) -> T {
        self.values[id.index()]
    }

    /// Sets the value of an id.
    ///
    /// # Panics
    ///
    /// Panics if the array has no such id.
    ///
    /// ```
    /// use bytecache::policy::{EntryId, IdArray, PolicyContext};
    ///
    /// let mut is_hot = IdArray::<bool>::new(&PolicyContext::new(100, 1 << 20));
    /// is_hot.set(EntryId::new(7), true);
    /// assert!(is_hot[EntryId::new(7)]);
    /// ```
    #[inline]
    pub fn set(&mut self, id: EntryId, value: T) {
        self.values[id.index()] = value;
    }

    /// Moves the value of `from` to `to`. `from` gets the default value.
    ///
    /// # Panics
    ///
    /// Panics if the array lacks one of the ids.
    ///
    /// ```
    /// use bytecache::policy::{EntryId, IdArray, PolicyContext};
    ///
    /// let (from, to) = (EntryId::new(7), EntryId::new(8));
    /// let mut levels = IdArray::<u8>::new(&PolicyContext::new(100, 1 << 20));
    /// levels.set(from, 3);
    /// levels.rename(from, to);
    /// assert_eq!((levels.get(from), levels.get(to)), (0, 3));
    /// ```
    #[inline]
    pub fn rename(&mut self, from: EntryId, to: EntryId) {
        let value = core::mem::take(&mut self.values[from.index()]);
        self.values[to.index()] = value;
    }

    /// Returns the number of ids.
    ///
    /// ```
    /// use bytecache::policy::{IdArray, PolicyContext};
    ///
    /// let levels = IdArray::<u8>::new(&PolicyContext::new(100, 1 << 20));
    /// assert_eq!(levels.ids(), 100);
    /// ```
    #[must_use]
    pub fn ids(&self) -> usize {
        self.values.len()
    }

    /// Sets the number of ids. Ids that are not below `ids` are dropped. Ids that are added get the
    /// default value.
    ///
    /// ```
    /// use bytecache::policy::{EntryId, IdArray, PolicyContext};
    ///
    /// let mut levels = IdArray::<u8>::new(&PolicyContext::new(100, 1 << 20));
    /// levels.set(EntryId::new(99), 3);
    /// levels.resize(200);
    /// assert_eq!((levels.get(EntryId::new(99)), levels.get(EntryId::new(199))), (3, 0));
    /// ```
    pub fn resize(&mut self, ids: usize) {
        self.values.resize(ids, T::default());
        self.values.shrink_to_fit();
    }

    /// Returns the bytes that the array has allocated, for
    /// [`EvictionPolicy::bytes`](super::EvictionPolicy::bytes).
    ///
    /// ```
    /// use bytecache::policy::{IdArray, PolicyContext};
    ///
    /// let charges = IdArray::<u32>::new(&PolicyContext::new(100, 1 << 20));
    /// assert_eq!(charges.bytes(), 400);
    /// ```
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.values.capacity() * size_of::<T>()
    }
}

impl<T> Index<EntryId> for IdArray<T> {
    type Output = T;

    #[inline]
    fn index(&self, id: EntryId) -> &T {
        &self.values[id.index()]
    }
}

impl<T> IndexMut<EntryId> for IdArray<T> {
    #[inline]
    fn index_mut(&mut self, id: EntryId) -> &mut T {
        &mut self.values[id.index()]
    }
}
