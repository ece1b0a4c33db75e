//! How an entry lies in its chunk.
//!
//! ```text
//!   small   | flags 8 | key length 8 | value length 16 |                                  key | pad | value | pad
//!   large   | flags 8 |      0       |       0         | key length 32 | value length 32 | key | pad | value | pad
//! ```
//!
//! The first word is atomic, because its holder of the write lock marks an entry dead in it while readers
//! look at the lengths. The others never change. Entries start, and their charges end, at multiples of the
//! granule (4 bytes, or the alignment of values if that is more); the pad before the value is empty unless
//! values are aligned.

use crate::units::LOCATION_UNIT;

const FLAG_LARGE: u32 = 1 << 24;
const FLAG_DEAD: u32 = 1 << 25;
const KEY_SHIFT: u32 = 16;
const SMALL_KEY_MAX: usize = 0xff;
const SMALL_VALUE_MAX: usize = 0xffff;

/// Bytes of the two headers.
const SMALL_HEADER: usize = 4;
pub(crate) const LARGE_HEADER: usize = 12;

/// The first word of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FirstWord(pub(super) u32);

impl FirstWord {
    pub(super) fn is_large(self) -> bool {
        self.0 & FLAG_LARGE != 0
    }

    pub(super) fn is_dead(self) -> bool {
        self.0 & FLAG_DEAD != 0
    }

    pub(super) fn as_dead(self) -> Self {
        Self(self.0 | FLAG_DEAD)
    }

    /// The lengths in a small header.
    #[inline]
    pub(super) fn small_lengths(self) -> (usize, usize) {
        (((self.0 >> KEY_SHIFT) & 0xff) as usize, (self.0 & 0xffff) as usize)
    }
}

/// The alignment of values, and what follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Alignment(usize);

impl Alignment {
    /// 1, 8 or 16; nothing else.
    pub(crate) fn new(alignment: usize) -> Option<Self> {
        matches!(alignment, 1 | 8 | 16).then_some(Self(alignment))
    }

    /// What every entry's start and charge is a multiple of.
    pub(crate) fn granule(self) -> usize {
        self.0.max(LOCATION_UNIT)
    }

    /// What an entry can need beyond key and value.
    pub(crate) fn max_overhead(self) -> usize {
        LARGE_HEADER + (self.0 - 1) + (self.granule() - 1)
    }
}

/// Where the parts of one entry lie, in bytes from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(super) key_start: usize,
    pub(super) key_len: usize,
    pub(super) value_start: usize,
    pub(super) value_len: usize,
    charge: usize,
}

impl Layout {
    /// The layout of an entry to be written. The lengths must fit 32 bits.
    #[inline]
    pub(crate) fn of(key_len: usize, value_len: usize, alignment: Alignment) -> Self {
        let small = key_len <= SMALL_KEY_MAX && value_len <= SMALL_VALUE_MAX;
        Self::with_header(if small { SMALL_HEADER } else { LARGE_HEADER }, key_len, value_len, alignment)
    }

    #[inline]
    pub(super) fn small(key_len: usize, value_len: usize, alignment: Alignment) -> Self {
        Self::with_header(SMALL_HEADER, key_len, value_len, alignment)
    }

    #[inline]
    pub(super) fn large(key_len: usize, value_len: usize, alignment: Alignment) -> Self {
        Self::with_header(LARGE_HEADER, key_len, value_len, alignment)
    }

    #[inline]
    fn with_header(header: usize, key_len: usize, value_len: usize, alignment: Alignment) -> Self {
        // Alignments are powers of two; rounding by masks keeps divisions out of the read path.
        let value_start = (header + key_len + alignment.0 - 1) & !(alignment.0 - 1);
        let granule = alignment.granule();
        Self {
            key_start: header,
            key_len,
            value_start,
            value_len,
            charge: (value_start + value_len + granule - 1) & !(granule - 1),
        }
    }

    /// Bytes that the entry takes in its ring.
    #[inline]
    pub(crate) fn charge(&self) -> usize {
        self.charge
    }

    /// The header's words; only the first counts when it is small.
    pub(super) fn words(&self) -> (FirstWord, u32, u32) {
        #[allow(clippy::cast_possible_truncation, reason = "the ring admits no entry of 4 GiB")]
        let (key, value) = (self.key_len as u32, self.value_len as u32);
        if self.key_start == SMALL_HEADER {
            (FirstWord(key << KEY_SHIFT | value), 0, 0)
        } else {
            (FirstWord(FLAG_LARGE), key, value)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_headers_carry_their_lengths() {
        for (key, value) in [(0, 0), (255, 65_535), (24, 100)] {
            let layout = Layout::of(key, value, Alignment(1));
            let (first, _, _) = layout.words();
            assert!(!first.is_large() && !first.is_dead());
            assert_eq!(first.small_lengths(), (key, value));
            assert_eq!(first.as_dead().small_lengths(), (key, value));
            assert!(first.as_dead().is_dead());
            assert_eq!(layout, Layout::small(key, value, Alignment(1)));
        }
    }

    #[test]
    fn longer_keys_and_values_take_the_large_header() {
        for (key, value) in [(256, 0), (0, 65_536)] {
            let layout = Layout::of(key, value, Alignment(1));
            let (first, words_key, words_value) = layout.words();
            assert!(first.is_large());
            assert_eq!((words_key as usize, words_value as usize), (key, value));
            assert_eq!(layout.charge(), 12 + (key + value).next_multiple_of(4));
        }
    }

    #[test]
    fn charges_and_values_are_aligned() {
        assert_eq!(Layout::of(24, 100, Alignment(1)).charge(), 128);
        assert_eq!(Layout::of(0, 0, Alignment(1)).charge(), 4);
        for alignment in [8, 16] {
            let alignment = Alignment::new(alignment).unwrap();
            for key in 0..40 {
                let layout = Layout::of(key, 5, alignment);
                assert_eq!(layout.value_start % alignment.0, 0);
                assert_eq!(layout.charge() % alignment.0, 0);
                assert!(layout.charge() <= key + 5 + alignment.max_overhead());
            }
        }
        assert_eq!(Alignment::new(4), None);
    }
}
