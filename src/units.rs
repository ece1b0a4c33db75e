//! The numbers that cross module borders, each in a type of its own.
//!
//! A location and an entry id are both `u32`, and a mix-up of the two would read another entry's
//! bytes: the types keep them apart. The types convert between forms of a number, keep sets of
//! stamps, and compare and add ticks that wrap around. The meaning of the numbers is decided
//! elsewhere: in `expiry/` for stamps and ticks, in `ring/` and `index/` for locations and ids.

use core::num::NonZeroU32;

/// Lanes in one index bucket; an entry's id is `bucket * LANES + lane`.
pub(crate) const LANES: usize = 12;

/// The bits of an id: policies keep something of their own in the others.
pub(crate) const ID_BITS: u32 = 28;

/// Every id is below this, so a shard has at most so many lanes: 228 million entries.
pub(crate) const MAX_IDS: usize = 1 << ID_BITS;

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
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number, for indexing arrays of [`PolicyContext::ids`](crate::policy::PolicyContext::ids) elements.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The number as it was given to [`new`](Self::new).
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

/// A word of an entry's header that says when something happens to the entry. Unlike everything else in an entry it may
/// change in place.
///
/// `expiry/` gives the words their meaning. The ring keeps them, and copies them when it relocates an
/// entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stamp {
    /// When the entry is removed, unless it is idle for too long before.
    Removal,
    /// When the entry is removed for having been idle. The only one that readers change.
    Idle,
    /// How long the entry may be idle, if not as long as the cache's default.
    IdleLength,
    /// How long the entry is there beyond its deadline, if not as long as the cache's default.
    StaleLength,
    /// When the entry is to be loaded anew; whether that has failed is in its lowest bit.
    Refresh,
}

impl Stamp {
    pub(crate) const ALL: [Self; 5] = [Self::Removal, Self::Idle, Self::IdleLength, Self::StaleLength, Self::Refresh];
}

/// In an idle stamp: the entry is being relocated from here, and its stamp is in the ring's relay.
pub(crate) const LEAVING: u32 = u32::MAX - 3;

/// In an idle stamp: the entry is being relocated to here, and its stamp is in the ring's relay.
pub(crate) const ARRIVING: u32 = u32::MAX - 2;

/// Which stamps an entry has: a bit for each, the first one lowest. The highest bit says that the entry is *negative*: it
/// stands for what a load did not find.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StampSet(u8);

const _: () =
    assert!(StampSet::BITS as usize == Stamp::ALL.len() + 1, "a bit for each stamp, and one for negative entries");

impl StampSet {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const REMOVAL: Self = Self(1 << Stamp::Removal as u8);
    pub(crate) const BITS: u32 = 6;
    const NEGATIVE: u8 = 1 << (Self::BITS - 1);

    pub(crate) fn from_bits(bits: u32) -> Self {
        #[allow(clippy::cast_possible_truncation, reason = "six bits are left")]
        Self((bits & ((1 << Self::BITS) - 1)) as u8)
    }

    pub(crate) const fn bits(self) -> u32 {
        self.0 as u32
    }

    #[inline]
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    #[inline]
    pub(crate) fn is_negative(self) -> bool {
        self.0 & Self::NEGATIVE != 0
    }

    #[inline]
    pub(crate) fn has(self, stamp: Stamp) -> bool {
        self.0 & (1 << stamp as u8) != 0
    }

    #[inline]
    pub(crate) fn with(self, stamp: Stamp) -> Self {
        Self(self.0 | 1 << stamp as u8)
    }

    /// How many stamps there are.
    #[inline]
    pub(crate) fn len(self) -> usize {
        // Not every processor that the crate is built for has an instruction for it, and readers need it.
        const LENS: [u8; 1 << Stamp::ALL.len()] = {
            let mut lens = [0; 1 << Stamp::ALL.len()];
            let mut set = 1;
            while set < lens.len() {
                lens[set] = lens[set / 2] + if set % 2 == 1 { 1 } else { 0 };
                set += 1;
            }
            lens
        };
        LENS[usize::from(self.0) % LENS.len()].into()
    }

    /// How many of the set come before `stamp`.
    #[inline]
    pub(crate) fn before(self, stamp: Stamp) -> usize {
        Self(self.0 & ((1 << stamp as u8) - 1)).len()
    }

    #[inline]
    pub(crate) fn iter(self) -> impl Iterator<Item = Stamp> {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            let stamp = *Stamp::ALL.get(rest.trailing_zeros() as usize)?;
            rest &= rest - 1;
            Some(stamp)
        })
    }
}

/// An entry's stamps, as they are to be or as they were at some moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamps {
    present: StampSet,
    words: [u32; Stamp::ALL.len()],
}

impl Stamps {
    pub(crate) const NONE: Self = Self { present: StampSet::NONE, words: [0; Stamp::ALL.len()] };

    #[inline]
    pub(crate) fn present(&self) -> StampSet {
        self.present
    }

    /// Says that the entry is negative.
    pub(crate) fn mark_negative(&mut self) {
        self.present = StampSet(self.present.0 | StampSet::NEGATIVE);
    }

    #[inline]
    pub(crate) fn get(&self, stamp: Stamp) -> Option<u32> {
        self.present.has(stamp).then_some(self.words[stamp as usize])
    }

    #[inline]
    pub(crate) fn set(&mut self, stamp: Stamp, word: u32) {
        self.present = self.present.with(stamp);
        self.words[stamp as usize] = word;
    }
}

/// Whether of two stamps, or low halves of ticks, the first one is later: right if they lie less than 2^31 ticks apart.
#[inline]
pub(crate) fn is_later(word: u32, than: u32) -> bool {
    word != than && word.wrapping_sub(than) < 1 << (u32::BITS - 1)
}

/// A moment in a shard's time, in steps of 16 ms.
///
/// Stamps hold the low half of one: the other half is known, as no stamp lies far from its shard's time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(u64);

impl Tick {
    pub(crate) const fn new(number: u64) -> Self {
        Self(number)
    }

    #[inline]
    pub(crate) const fn get(self) -> u64 {
        self.0
    }

    #[inline]
    pub(crate) const fn after(self, ticks: u32) -> Self {
        Self(self.0.saturating_add(ticks as u64))
    }

    #[inline]
    pub(crate) const fn before(self, ticks: u32) -> Self {
        Self(self.0.saturating_sub(ticks as u64))
    }

    /// The low half.
    #[inline]
    pub(crate) fn low(self) -> u32 {
        #[allow(clippy::cast_possible_truncation, reason = "the half that is wanted")]
        {
            self.0 as u32
        }
    }

    /// The first moment from `self` on with the low half `low`.
    #[inline]
    pub(crate) fn next_with_low(self, low: u32) -> Self {
        self.after(low.wrapping_sub(self.low()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_have_their_places_in_order() {
        let mut stamps = Stamps::NONE;
        assert!(stamps.present().is_empty());
        stamps.set(Stamp::Refresh, 7);
        stamps.set(Stamp::Idle, 8);
        let present = stamps.present();
        assert_eq!(present.iter().collect::<Vec<_>>(), [Stamp::Idle, Stamp::Refresh]);
        assert_eq!((present.len(), present.before(Stamp::Idle), present.before(Stamp::Refresh)), (2, 0, 1));
        assert_eq!((stamps.get(Stamp::Idle), stamps.get(Stamp::Removal)), (Some(8), None));
        assert_eq!(StampSet::from_bits(present.bits()), present);
    }

    #[test]
    fn the_mark_of_negative_entries_is_no_stamp() {
        let mut stamps = Stamps::NONE;
        stamps.set(Stamp::Removal, 7);
        let plain = stamps.present();
        stamps.mark_negative();
        let negative = stamps.present();
        assert!(negative.is_negative() && !plain.is_negative());
        assert_eq!((negative.len(), negative.iter().collect::<Vec<_>>()), (plain.len(), vec![Stamp::Removal]));
        assert_eq!(StampSet::from_bits(negative.bits()), negative);
    }

    #[test]
    fn of_two_stamps_the_later_one_is_told_across_the_end_of_their_range() {
        for (word, than, expected) in
            [(5, 4, true), (4, 5, false), (4, 4, false), (3, u32::MAX, true), (u32::MAX, 3, false), (1 << 31, 1, true)]
        {
            assert_eq!(is_later(word, than), expected, "{word} and {than}");
        }
    }

    #[test]
    fn the_low_half_of_a_tick_leads_back_to_it() {
        for (base, ahead) in [(0, 0), (5, 1), (u64::from(u32::MAX) - 1, 3), (7 << 32, u32::MAX)] {
            let base = Tick::new(base);
            let tick = base.after(ahead);
            assert_eq!(base.next_with_low(tick.low()), tick);
        }
    }

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

    #[test]
    fn an_id_names_its_bucket_and_lane() {
        let id = EntryId::from_lane(7, 11);
        assert_eq!((id.bucket(), id.lane(), id.index()), (7, 11, 95));
    }
}
