//! Points in time, and their low halves, which wrap around.

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
}
