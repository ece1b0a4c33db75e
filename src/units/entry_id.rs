//! The names of entries for policies, and how many there may be.

/// Lanes in one index bucket. An entry's id is `bucket * LANES + lane`.
pub(crate) const LANES: usize = 12;

/// The bits of an id. Policies use the other bits of a word for their own data.
pub(crate) const ID_BITS: u32 = 28;

/// The limit of ids: every id is below it, so no id has all bits set. A shard has at most this many
/// lanes, which hold up to 228 million entries.
pub(crate) const MAX_IDS: usize = (1 << ID_BITS) - 1;

/// The largest share of a table's lanes that entries may use, in percent. Beyond it, searches past
/// the home bucket become common.
pub(crate) const MAX_LOAD_PERCENT: usize = 85;

/// The bits of an entry's visit counter.
pub(crate) const VISIT_BITS: u32 = 2;

/// The most visits that are counted for an entry.
pub(crate) const MAX_VISITS: u8 = (1 << VISIT_BITS) - 1;
/// Returns how many of `ids` may be in use.
pub(crate) fn max_entries(ids: usize) -> usize {
    // In two parts, as the product may not fit.
    ids / 100 * MAX_LOAD_PERCENT + ids % 100 * MAX_LOAD_PERCENT / 100
}
/// The id of a resident entry for eviction policies: a number below
/// [`PolicyContext::ids`](crate::policy::PolicyContext::ids).
///
/// An id stays with its entry when the bytes of the entry move or change. It is free again when the
/// entry leaves. It may change when the index grows or shrinks (see
/// [`EvictionPolicy::rename`](crate::policy::EvictionPolicy::rename)). After that it may name
/// another entry.
///
/// ```
/// use bytecache::policy::EntryId;
///
/// // An array of a policy, with an element for each id.
/// let mut visits = vec![0_u8; 100];
/// let id = EntryId::new(7);
/// visits[id.index()] += 1;
/// assert_eq!(visits[7], 1);
/// assert_eq!(id.get(), 7);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId(u32);

impl EntryId {
    /// Creates the id with the given number.
    ///
    /// ```
    /// use bytecache::policy::EntryId;
    ///
    /// assert_eq!(EntryId::new(7).get(), 7);
    /// ```
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// Returns the number, as the index into an array of
    /// [`PolicyContext::ids`](crate::policy::PolicyContext::ids) elements.
    ///
    /// ```
    /// use bytecache::policy::EntryId;
    ///
    /// let charges = [40_u32, 80, 120];
    /// assert_eq!(charges[EntryId::new(2).index()], 120);
    /// ```
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Returns the number that was given to [`new`](Self::new).
    ///
    /// ```
    /// use bytecache::policy::EntryId;
    ///
    /// assert_eq!(EntryId::new(7).get(), 7);
    /// assert!(EntryId::new(7) < EntryId::new(8));
    /// ```
    #[inline]
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    #[inline]
    pub(crate) fn from_lane(bucket: usize, lane: usize) -> Self {
        debug_assert!(lane < LANES);
        #[allow(clippy::cast_possible_truncation, reason = "a table has at most MAX_IDS lanes, see Table::max_buckets")]
        Self((bucket * LANES + lane) as u32)
    }

    #[inline]
    pub(crate) fn bucket(self) -> usize {
        self.0 as usize / LANES
    }

    #[inline]
    pub(crate) fn lane(self) -> usize {
        self.0 as usize % LANES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_its_bucket_and_lane() {
        let id = EntryId::from_lane(7, 11);
        assert_eq!((id.bucket(), id.lane(), id.index()), (7, 11, 95));
    }
}
