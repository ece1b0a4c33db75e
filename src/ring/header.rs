//! The layout of an entry in its chunk.
//!
//! ```text
//!   small   | flags 8 | key length 8 | value length 16 | stamps | key | pad | value | pad
//!   large   | flags 8 | 0 (24 bits) | key length 32 | value length 32 |
//!                                                      stamps | key | pad | value | pad
//! ```
//!
//! The flags name the stamps that follow, a word for each. The highest flag belongs to no stamp: it
//! marks the entry as negative. The lengths of a large header never change.
//!
//! The first word is atomic: the holder of the write lock marks an entry dead in it while readers
//! load the lengths. The stamps are atomic because they change in place.
//!
//! Entries start, and their charges end, at multiples of 4 bytes, or of the alignment of values
//! if that is larger. The pad before the value is empty unless values are aligned.

use crate::units::{LOCATION_UNIT, Stamp, StampSet, Stamps};

const FLAG_LARGE: u32 = 1 << 24;
const FLAG_DEAD: u32 = 1 << 25;
/// Position of the bits that say which stamps the entry has.
const STAMPS_SHIFT: u32 = 26;
const _: () = assert!(STAMPS_SHIFT + StampSet::BITS <= u32::BITS, "the flags have room for all stamps");
const LENGTHS: u32 = FLAG_LARGE - 1;
const KEY_SHIFT: u32 = 16;
const SMALL_KEY_MAX: usize = 0xff;
const SMALL_VALUE_MAX: usize = 0xffff;

/// Bytes of the two headers, without the stamps.
const SMALL_HEADER: usize = 4;
pub(super) const LARGE_HEADER: usize = 12;
const STAMP_BYTES: usize = size_of::<u32>();

/// An entry that is to be written.
#[derive(Clone, Copy)]
pub(crate) struct Draft<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
    pub(crate) stamps: &'a Stamps,
}

/// The first word of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FirstWord(pub(super) u32);

impl FirstWord {
    /// Returns `true` if the header is small and has no stamps.
    #[inline]
    pub(super) fn is_plain(self) -> bool {
        self.0 & !(LENGTHS | FLAG_DEAD) == 0
    }

    /// Returns `true` if the header is small and its only stamp is the removal. Most entries with a
    /// deadline have such a header.
    #[inline]
    pub(super) fn has_removal_alone(self) -> bool {
        self.0 & !(LENGTHS | FLAG_DEAD) == StampSet::REMOVAL.bits() << STAMPS_SHIFT
    }

    #[inline]
    pub(super) fn is_large(self) -> bool {
        self.0 & FLAG_LARGE != 0
    }

    #[inline]
    pub(super) fn stamps(self) -> StampSet {
        StampSet::from_bits(self.0 >> STAMPS_SHIFT)
    }

    pub(super) fn is_dead(self) -> bool {
        self.0 & FLAG_DEAD != 0
    }

    pub(super) fn as_dead(self) -> Self {
        Self(self.0 | FLAG_DEAD)
    }

    /// Returns the lengths of key and value in a small header.
    #[inline]
    pub(super) fn small_lengths(self) -> (usize, usize) {
        (((self.0 >> KEY_SHIFT) & 0xff) as usize, (self.0 & 0xffff) as usize)
    }
}

/// The alignment of values, and the sizes that follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Alignment {
    of_values: Rounding,
    of_entries: Rounding,
}

/// A power of two, in the form in which numbers are rounded up to its multiples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rounding {
    /// One less than the power.
    rest: usize,
    /// The bits that a multiple may have.
    mask: usize,
}

impl Rounding {
    fn to(power: usize) -> Self {
        Self { rest: power - 1, mask: !(power - 1) }
    }

    /// Returns the first multiple that is not below `number`. Masks that are ready keep this short
    /// on the read path.
    #[inline]
    fn up(self, number: usize) -> usize {
        (number + self.rest) & self.mask
    }

    fn power(self) -> usize {
        self.rest + 1
    }
}

impl Alignment {
    /// Creates an alignment of 1, 8 or 16 bytes. Returns `None` for other numbers.
    pub(crate) fn new(alignment: usize) -> Option<Self> {
        matches!(alignment, 1 | 8 | 16).then(|| Self {
            of_values: Rounding::to(alignment),
            of_entries: Rounding::to(alignment.max(LOCATION_UNIT)),
        })
    }

    /// Returns the number that divides the address of every value.
    pub(crate) fn bytes(self) -> usize {
        self.of_values.power()
    }

    /// Returns the most bytes that an entry needs beyond its key and value.
    pub(crate) fn max_overhead(self) -> usize {
        LARGE_HEADER + Stamp::ALL.len() * STAMP_BYTES + self.of_values.rest + self.of_entries.rest
    }
}

/// The places of an entry's parts, in bytes from its start. The key comes before the value, and
/// both are within the charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(super) key_start: usize,
    pub(super) key_len: usize,
    pub(super) value_start: usize,
    pub(super) value_len: usize,
    pub(super) stamps: StampSet,
    charge: usize,
}

/// The result of a call that returns a layout and is not inlined.
///
/// Such a result goes through memory. With the type [`Layout`], the layout of the inlined path
/// would be kept in memory, too.
#[derive(Clone, Copy)]
pub(super) struct OutOfLineLayout {
    key: (usize, usize),
    value: (usize, usize),
    stamps: StampSet,
    charge: usize,
}

impl From<Layout> for OutOfLineLayout {
    #[inline]
    fn from(layout: Layout) -> Self {
        let Layout { key_start, key_len, value_start, value_len, stamps, charge } = layout;
        Self { key: (key_start, key_len), value: (value_start, value_len), stamps, charge }
    }
}

impl From<OutOfLineLayout> for Layout {
    #[inline]
    fn from(parts: OutOfLineLayout) -> Self {
        let ((key_start, key_len), (value_start, value_len)) = (parts.key, parts.value);
        Self { key_start, key_len, value_start, value_len, stamps: parts.stamps, charge: parts.charge }
    }
}

impl Layout {
    /// Returns the layout of an entry to be written. The lengths must fit 32 bits.
    #[inline]
    pub(super) fn of(key_len: usize, value_len: usize, stamps: StampSet, alignment: Alignment) -> Self {
        let small = key_len <= SMALL_KEY_MAX && value_len <= SMALL_VALUE_MAX;
        let header = if small { SMALL_HEADER } else { LARGE_HEADER };
        Self::with_header(header, key_len, value_len, stamps, alignment)
    }

    /// Returns the layout that a small header without stamps describes.
    #[inline]
    pub(super) fn plain(first: FirstWord, alignment: Alignment) -> Self {
        let (key, value) = first.small_lengths();
        Self::with_header(SMALL_HEADER, key, value, StampSet::NONE, alignment)
    }

    /// Returns the layout that a small header with a removal and no other stamp describes.
    #[inline]
    pub(super) fn with_removal(first: FirstWord, alignment: Alignment) -> Self {
        let (key, value) = first.small_lengths();
        Self::with_header(SMALL_HEADER, key, value, StampSet::REMOVAL, alignment)
    }

    /// Returns the layout that any header describes. `lengths` returns those of a large header.
    #[inline]
    pub(super) fn any(first: FirstWord, lengths: impl FnOnce() -> (usize, usize), alignment: Alignment) -> Self {
        let (header, (key, value)) =
            if first.is_large() { (LARGE_HEADER, lengths()) } else { (SMALL_HEADER, first.small_lengths()) };
        Self::with_header(header, key, value, first.stamps(), alignment)
    }

    #[inline]
    fn with_header(header: usize, key_len: usize, value_len: usize, stamps: StampSet, alignment: Alignment) -> Self {
        let key_start = header + stamps.len() * STAMP_BYTES;
        let value_start = alignment.of_values.up(key_start + key_len);
        debug_assert!(key_start + key_len <= value_start);
        Self {
            key_start,
            key_len,
            value_start,
            value_len,
            stamps,
            charge: alignment.of_entries.up(value_start + value_len),
        }
    }

    /// Returns the charge of an entry with such a key, value and stamps. The lengths must fit 32
    /// bits.
    pub(crate) fn charge_for(key_len: usize, value_len: usize, stamps: StampSet, alignment: Alignment) -> usize {
        Self::of(key_len, value_len, stamps, alignment).charge
    }

    /// Returns the bytes that the entry takes in its ring.
    #[inline]
    pub(crate) fn charge(&self) -> usize {
        self.charge
    }

    /// Returns the end of the value, in bytes from the start of the entry. No part comes after it.
    #[inline]
    pub(super) fn end(&self) -> usize {
        self.value_start + self.value_len
    }

    /// Returns the header if it is small and without stamps.
    #[inline]
    pub(super) fn plain_word(&self) -> Option<FirstWord> {
        #[allow(clippy::cast_possible_truncation, reason = "a small header has room for both lengths")]
        let word = || FirstWord((self.key_len as u32) << KEY_SHIFT | self.value_len as u32);
        (self.key_start == SMALL_HEADER && self.stamps.is_empty()).then(word)
    }

    /// Returns the words of the header. A small header has only the first one.
    pub(super) fn words(&self) -> (FirstWord, u32, u32) {
        #[allow(clippy::cast_possible_truncation, reason = "the ring admits no entry of 4 GiB")]
        let (key, value) = (self.key_len as u32, self.value_len as u32);
        let stamps = self.stamps.bits() << STAMPS_SHIFT;
        if self.stamps_start() == SMALL_HEADER {
            (FirstWord(stamps | key << KEY_SHIFT | value), 0, 0)
        } else {
            (FirstWord(stamps | FLAG_LARGE), key, value)
        }
    }

    /// Returns where the stamps begin, in bytes from the start of the entry.
    #[inline]
    pub(super) fn stamps_start(&self) -> usize {
        self.key_start - self.stamps.len() * STAMP_BYTES
    }

    /// Returns where a stamp is, or `None` if the entry does not have it.
    #[inline]
    pub(super) fn stamp_at(&self, stamp: Stamp) -> Option<usize> {
        let at = self.stamps_start() + self.stamps.before(stamp) * STAMP_BYTES;
        self.stamps.has(stamp).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unaligned() -> Alignment {
        Alignment::new(1).expect("an alignment")
    }

    fn plain(key: usize, value: usize, alignment: Alignment) -> Layout {
        Layout::of(key, value, StampSet::NONE, alignment)
    }

    /// Returns the layout that is read back from the header of `layout`.
    fn read_back(layout: &Layout) -> Layout {
        let (first, key, value) = layout.words();
        assert_eq!(first.as_dead().is_plain(), first.is_plain());
        if first.is_plain() {
            return Layout::plain(first.as_dead(), unaligned());
        }
        Layout::any(first.as_dead(), || (key as usize, value as usize), unaligned())
    }

    #[test]
    fn a_header_tells_the_layout_that_it_was_made_from() {
        let sets = [0, 1, 2, 0b10011, 0b11111, 0b10_0001].map(StampSet::from_bits);
        for (key, value) in [(0, 0), (255, 65_535), (24, 100), (256, 0), (0, 65_536), (65_535, 1 << 31)] {
            for stamps in sets {
                let layout = Layout::of(key, value, stamps, unaligned());
                assert_eq!(read_back(&layout), layout);
                let (first, ..) = layout.words();
                assert!(!first.is_dead() && first.as_dead().is_dead());
                assert_eq!(first.is_plain(), stamps.is_empty() && key < 256 && value < 65_536);
                assert_eq!(layout.plain_word(), first.is_plain().then_some(first));
            }
        }
    }

    #[test]
    fn longer_keys_and_values_take_the_large_header() {
        for (key, value, header) in [(255, 65_535, 4), (256, 0, 12), (0, 65_536, 12)] {
            let layout = plain(key, value, unaligned());
            assert_eq!(layout.words().0.is_large(), header == 12);
            assert_eq!(layout.charge(), (header + key + value).next_multiple_of(4));
        }
    }

    #[test]
    fn stamps_lie_between_lengths_and_key_and_cost_four_bytes_each() {
        let stamps = StampSet::NONE.with(Stamp::Idle).with(Stamp::Refresh);
        for (key, header) in [(8, 4), (300, 12)] {
            let layout = Layout::of(key, 10, stamps, unaligned());
            assert_eq!(layout.stamp_at(Stamp::Idle), Some(header));
            assert_eq!(layout.stamp_at(Stamp::Refresh), Some(header + 4));
            assert_eq!(layout.stamp_at(Stamp::Removal), None);
            assert_eq!(layout.key_start, header + 8);
            assert_eq!(layout.charge(), plain(key, 10, unaligned()).charge() + 8);
        }
    }

    #[test]
    fn charges_and_values_are_aligned() {
        assert_eq!(plain(24, 100, unaligned()).charge(), 128);
        assert_eq!(plain(0, 0, unaligned()).charge(), 4);
        for alignment in [8, 16] {
            let alignment = Alignment::new(alignment).unwrap();
            for key in 0..40 {
                let layout = Layout::of(key, 5, StampSet::from_bits(0b11111), alignment);
                assert_eq!(layout.value_start % alignment.bytes(), 0);
                assert_eq!(layout.charge() % alignment.bytes(), 0);
                assert!(layout.charge() <= key + 5 + alignment.max_overhead());
            }
        }
        assert_eq!(Alignment::new(4), None);
    }
}
