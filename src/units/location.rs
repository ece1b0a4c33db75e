//! The location of an entry in its shard's arena.

use core::num::NonZeroU32;

use super::to_u32;

/// Bytes in one step of a [`Location`].
pub(crate) const LOCATION_UNIT: usize = 4;

/// The largest arena that locations can address, in bytes. It is one step short of 16 GiB, because
/// 0 means "none".
pub(crate) const MAX_ARENA_BYTES: u64 = (u32::MAX as u64 - 1) * LOCATION_UNIT as u64;
/// The start of an entry in its shard's arena.
///
/// The unit is [`LOCATION_UNIT`] bytes. Counting starts from 1, so that 0 means "no entry" in the
/// index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Location(NonZeroU32);

impl Location {
    /// Returns the location `offset` bytes into the arena. Returns `None` if `offset` is not a
    /// multiple of the unit or cannot be addressed.
    pub(crate) fn from_offset(offset: usize) -> Option<Self> {
        if offset % LOCATION_UNIT != 0 {
            return None;
        }
        let units = u32::try_from(offset / LOCATION_UNIT).ok()?;
        Some(Self(NonZeroU32::new(units.checked_add(1)?)?))
    }

    /// Returns the location `offset` bytes into the arena, a multiple of the unit that can be
    /// addressed.
    #[inline]
    pub(crate) fn at_offset(offset: usize) -> Self {
        debug_assert!(Self::from_offset(offset).is_some(), "{offset} is no location");
        Self(NonZeroU32::MIN.saturating_add(to_u32(offset / LOCATION_UNIT)))
    }

    /// Returns the bytes from the start of the arena.
    #[inline]
    pub(crate) fn offset(self) -> usize {
        (self.0.get() - 1) as usize * LOCATION_UNIT
    }

    /// Returns the word that the index stores.
    #[inline]
    pub(crate) fn to_word(self) -> u32 {
        self.0.get()
    }

    /// Returns the location in a word of the index, or `None` for 0, which means "no entry".
    #[inline]
    pub(crate) fn from_word(word: u32) -> Option<Self> {
        NonZeroU32::new(word).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_cover_the_arena_and_refuse_what_lies_beyond() {
        assert_eq!(Location::from_offset(0).unwrap().to_word(), 1);
        assert_eq!(Location::from_offset(2), None);
        assert_eq!(Location::from_word(0), None);
        // Not every machine has addresses for the largest arena.
        let end = usize::try_from(MAX_ARENA_BYTES).unwrap_or(usize::MAX / LOCATION_UNIT * LOCATION_UNIT);
        let last = Location::from_offset(end).unwrap();
        assert_eq!(last.offset(), end);
        assert_eq!(end.checked_add(LOCATION_UNIT).and_then(Location::from_offset), None);
        assert_eq!(Location::from_word(last.to_word()), Some(last));
    }
}
