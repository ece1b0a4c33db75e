//! The words of an entry that hold times, and sets of them.

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
}
