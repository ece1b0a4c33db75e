//! The numbers that cross module borders, each in a type of its own.
//!
//! A location and an entry id are both `u32`, and a mix-up of the two would read another entry's bytes:
//! the types keep them apart. Nothing here has behaviour beyond conversion.

use core::num::NonZeroU32;

/// Lanes in one index bucket; an entry's id is `bucket * LANES + lane`.
pub(crate) const LANES: usize = 12;

/// Bytes that one step of a [`Location`] stands for.
pub(crate) const LOCATION_UNIT: usize = 4;

/// The largest arena that locations can address, in bytes: one step short of 16 GiB, because 0 means "none".
pub(crate) const MAX_ARENA_BYTES: u64 = (u32::MAX as u64 - 1) * LOCATION_UNIT as u64;

/// Where an entry starts in its shard's arena.
///
/// Counted in units of [`LOCATION_UNIT`] bytes from 1, so that 0 can stand for "no entry" in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Location(NonZeroU32);

impl Location {
    /// The location `offset` bytes into the arena, if it is a multiple of the unit and addressable.
    pub(crate) fn from_offset(offset: usize) -> Option<Self> {
        if offset % LOCATION_UNIT != 0 {
            return None;
        }
        let units = u32::try_from(offset / LOCATION_UNIT).ok()?;
        Some(Self(NonZeroU32::new(units.checked_add(1)?)?))
    }

    /// Bytes from the start of the arena.
    #[inline]
    pub(crate) fn offset(self) -> usize {
        (self.0.get() - 1) as usize * LOCATION_UNIT
    }

    /// The word that the index stores.
    #[inline]
    pub(crate) fn to_word(self) -> u32 {
        self.0.get()
    }

    /// Reads a word of the index back; 0 is "no entry".
    #[inline]
    pub(crate) fn from_word(word: u32) -> Option<Self> {
        NonZeroU32::new(word).map(Self)
    }
}

/// The name of a resident entry for eviction policies: a dense number below
/// [`PolicyContext::ids`](crate::policy::PolicyContext::ids).
///
/// An id stays with its entry, whatever happens to the bytes, until the entry leaves or the index grows
/// (see [`EvictionPolicy::renumber`](crate::policy::EvictionPolicy::renumber)). After that it may name another entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId(u32);

impl EntryId {
    /// The id with the given number.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number, for indexing arrays of [`PolicyContext::ids`](crate::policy::PolicyContext::ids) elements.
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The number as it was given to [`new`](Self::new).
    #[inline]
    pub const fn get(self) -> u32 {
        self.0
    }

    #[inline]
    pub(crate) fn from_lane(bucket: usize, lane: usize) -> Self {
        debug_assert!(lane < LANES);
        #[allow(
            clippy::cast_possible_truncation,
            reason = "a table has at most u32::MAX lanes, see Table::max_buckets"
        )]
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
    fn locations_cover_the_arena_and_refuse_what_lies_beyond() {
        assert_eq!(Location::from_offset(0).unwrap().to_word(), 1);
        assert_eq!(Location::from_offset(2), None);
        let end = usize::try_from(MAX_ARENA_BYTES).unwrap();
        let last = Location::from_offset(end).unwrap();
        assert_eq!(last.offset(), end);
        assert_eq!(Location::from_offset(end + 4), None);
        assert_eq!(Location::from_word(0), None);
        assert_eq!(Location::from_word(last.to_word()), Some(last));
    }

    #[test]
    fn an_id_names_its_bucket_and_lane() {
        let id = EntryId::from_lane(7, 11);
        assert_eq!((id.bucket(), id.lane(), id.index()), (7, 11, 95));
    }
}
