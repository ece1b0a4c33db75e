//! The numbers that cross module borders, each in a type of its own.
//!
//! A location and an entry id are both `u32`. Mixing them up would read the bytes of another entry,
//! so the types keep them apart. The types convert between forms of a number, keep sets of stamps,
//! and compare and add ticks that wrap around.
//!
//! # Not here
//!
//! The meaning of the numbers: `expiry/` for stamps and ticks, `ring/` and `index/` for locations
//! and ids.

use core::num::NonZeroU32;

/// Lanes in one index bucket. An entry's id is `bucket * LANES + lane`.
pub(crate) const LANES: usize = 12;

/// The bits of an id. Policies use the other bits of a word for their own data.
pub(crate) const ID_BITS: u32 = 28;

/// The limit of ids: every id is below it. So a shard has at most so many lanes, or 228 million
/// entries.
pub(crate) const MAX_IDS: usize = 1 << ID_BITS;

/// The largest share of a table's lanes that entries may use, in percent. Beyond it, searches past
/// the home bucket become common.
pub(crate) const MAX_LOAD_PERCENT: usize = 85;

/// The bits of an entry's visit counter.
pub(crate) const VISIT_BITS: u32 = 2;

/// The most visits that are counted for an entry.
pub(crate) const MAX_VISITS: u8 = (1 << VISIT_BITS) - 1;

/// Bytes in one step of a [`Location`].
pub(crate) const LOCATION_UNIT: usize = 4;

/// The largest arena that locations can address, in bytes. It is one step short of 16 GiB, because
/// 0 means "none".
pub(crate) const MAX_ARENA_BYTES: u64 = (u32::MAX as u64 - 1) * LOCATION_UNIT as u64;

/// Returns how many of `ids` may be in use.
pub(crate) fn max_entries(ids: usize) -> usize {
    // In two parts, as the product may not fit.
    ids / 100 * MAX_LOAD_PERCENT + ids % 100 * MAX_LOAD_PERCENT / 100
}

/// Converts a number that fits 32 bits, such as an id, a chunk or a charge.
#[inline]
pub(crate) fn to_u32(number: usize) -> u32 {
    debug_assert!(u32::try_from(number).is_ok());
    #[allow(clippy::cast_possible_truncation, reason = "the caller's duty")]
    {
        number as u32
    }
}

/// Where an entry starts in its shard's arena.
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

/// The id of a resident entry for eviction policies: a number below
/// [`PolicyContext::ids`](crate::policy::PolicyContext::ids).
///
/// An id stays with its entry when the bytes of the entry move or change. It is free again when the
/// entry leaves, and changes when the index grows (see
/// [`EvictionPolicy::renumber`](crate::policy::EvictionPolicy::renumber)). After that it may name
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

/// A word of an entry's header that holds a time, or a length of time. Unlike all other parts of an
/// entry, it may change in place.
///
/// `expiry/` gives the words their meaning. The ring keeps them, and copies them when it relocates
/// an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stamp {
    /// The time at which the entry is removed, unless it is idle for too long before.
    Removal,
    /// The time at which the entry is removed for having been idle. The only stamp that readers
    /// change.
    Idle,
    /// The time to idle of the entry, if it is not the cache's default.
    IdleLength,
    /// The stale period of the entry, if it is not the cache's default.
    StaleLength,
    /// The time at which the entry is to be loaded again. The lowest bit says whether that load has
    /// failed.
    Refresh,
}

impl Stamp {
    pub(crate) const ALL: [Self; 5] = [Self::Removal, Self::Idle, Self::IdleLength, Self::StaleLength, Self::Refresh];
}

/// In an idle stamp: the entry is being relocated from this place, and its stamp is in the ring's
/// relay.
pub(crate) const LEAVING: u32 = u32::MAX - 3;

/// In an idle stamp: the entry is being relocated to this place, and its stamp is in the ring's
/// relay.
pub(crate) const ARRIVING: u32 = u32::MAX - 2;

/// The stamps that an entry has: a bit for each, the first one lowest. The highest bit says that
/// the entry is *negative*: it records that the store has no value for the key.
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

    /// Returns the number of stamps.
    #[inline]
    pub(crate) fn len(self) -> usize {
        // A table, as not every processor that the crate is built for has an instruction for this,
        // and readers need it.
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

    /// Returns the number of stamps in the set that come before `stamp`.
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

/// The stamps of an entry, to be written or as they were loaded.
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

    /// Marks the entry as negative.
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

/// Returns `true` if the first of two stamps, or low halves of ticks, is later. The result is right
/// if they are less than 2^31 ticks apart.
#[inline]
pub(crate) fn is_later(word: u32, than: u32) -> bool {
    word != than && word.wrapping_sub(than) < 1 << (u32::BITS - 1)
}

/// A point in a shard's time, in steps of 16 ms.
///
/// Stamps hold the low half of one. The high half follows from the shard's time, because no stamp
/// is far from it.
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

    /// Returns the low half.
    #[inline]
    pub(crate) fn low(self) -> u32 {
        #[allow(clippy::cast_possible_truncation, reason = "the half that is wanted")]
        {
            self.0 as u32
        }
    }

    /// Returns the first tick from `self` on with the low half `low`.
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
