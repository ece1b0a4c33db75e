//! Decides whether an entry of the default policy's window that was read once stays for another
//! round.
//!
//! A clock keeps an entry that was visited. That is right for keys that are read again and again.
//! For keys that are read exactly once, such as a fetched job or a resumed session, it keeps what
//! nobody wants and halves the window. So the policy measures which kind of traffic it has. An
//! entry has one of three *standings*:
//!
//! ```text
//!   fresh --- visited twice or more ----------------------------> proven --- visited ---> proven
//!     |                                                             ^  |
//!     +------ visited once --> on trial, if it pays --- visited ----+  +--- not visited: leaves
//! ```
//!
//! A trial *pays* while entries on trial are visited at least [`WORTH`] times as often as fresh
//! entries. One entry in [`TRIED_ONE_IN`] is put on trial in any case, so that a change of the
//! traffic is noticed.

use crate::policy::standing::{StateReader, StateWriter};

/// The standing of a window's entry when its turn comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// On its first round.
    Fresh,
    /// On its second round, after a single visit.
    OnTrial,
    /// Visited at least twice.
    Proven,
}

/// The mark of an entry in the window's queue.
///
/// ```text
///   u4    standing 2 | level 2
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WindowMark {
    /// Rounds for which the entry stays without a visit.
    pub(super) level: u8,
    pub(super) standing: Standing,
}

impl WindowMark {
    pub(super) const MAX_LEVEL: u8 = 3;

    /// Creates the mark of a newcomer. A level that is too high is lowered to the highest.
    pub(super) fn fresh(level: u8) -> Self {
        Self { level: level.min(Self::MAX_LEVEL), standing: Standing::Fresh }
    }

    pub(super) fn from_bits(bits: u8) -> Self {
        let standing = match bits >> 2 {
            0 => Standing::Fresh,
            1 => Standing::OnTrial,
            _ => Standing::Proven,
        };
        Self { level: bits & Self::MAX_LEVEL, standing }
    }

    pub(super) fn to_bits(self) -> u8 {
        let standing = match self.standing {
            Standing::Fresh => 0,
            Standing::OnTrial => 1,
            Standing::Proven => 2,
        };
        standing << 2 | self.level
    }

    /// Returns the mark for a round that the entry's level pays for, or `None` at level 0.
    fn unearned(self) -> Option<Self> {
        Some(Self::fresh(self.level.checked_sub(1)?))
    }
}

/// Visits that entries on trial need for each visit of as many fresh ones. A trial costs a
/// newcomer's place.
const WORTH: f64 = 0.4;
/// Failed trials that are assumed at first, as a share of the entries. Without it, one early
/// success lets every entry stay.
const DOUBT: f64 = 0.02;
/// Of this many entries that were visited once, one is put on trial in any case.
const TRIED_ONE_IN: u32 = 16;
/// The highest count that is restored.
const MAX_COUNT: f64 = 1e15;
/// The share of a period's counts that is kept for the next one.
const MEMORY: f64 = 0.5;

/// Counts of what became of entries of each standing. Older periods weigh less.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    /// Fresh entries whose turn came in earlier periods. The policy counts those of this period
    /// beside what each insert writes.
    fresh: f64,
    fresh_visited: f64,
    tried: f64,
    tried_visited: f64,
    /// Entries that were visited once.
    singles: u32,
}

impl Rounds {
    /// Returns the mark with which an entry stays whose turn has come, or `None` if it leaves.
    ///
    /// `fresh_seen` counts the fresh entries of this period. `entries` is the number of residents.
    pub(super) fn decide(
        &mut self,
        mark: WindowMark,
        visits: u8,
        fresh_seen: &mut u32,
        entries: usize,
    ) -> Option<WindowMark> {
        let is_visited = f64::from(u8::from(visits > 0));
        match mark.standing {
            Standing::Fresh => *fresh_seen = fresh_seen.saturating_add(1),
            Standing::OnTrial => {
                self.tried += 1.0;
                self.tried_visited += is_visited;
            }
            Standing::Proven => {}
        }
        if visits == 0 {
            return mark.unearned();
        }
        let mut standing = Standing::Proven;
        if mark.standing == Standing::Fresh {
            self.fresh_visited += 1.0;
            if visits == 1 {
                self.singles = self.singles.wrapping_add(1);
                if self.singles % TRIED_ONE_IN != 0 && !self.pays(*fresh_seen, entries) {
                    return mark.unearned();
                }
                standing = Standing::OnTrial;
            }
        }
        Some(WindowMark { standing, ..mark })
    }

    /// Returns `true` if entries on trial are visited often enough.
    fn pays(&self, fresh_seen: u32, entries: usize) -> bool {
        let of_tried = (self.tried_visited + 1.0) / (self.tried + 1.0 + DOUBT * entries as f64);
        of_tried >= WORTH * self.fresh_visited / (self.fresh + f64::from(fresh_seen))
    }

    /// Appends the counts. `fresh_seen` counts the fresh entries of this period.
    pub(super) fn save(&self, state: &mut StateWriter<'_>, fresh_seen: u32) {
        state.number(self.fresh + f64::from(fresh_seen)).number(self.fresh_visited);
        state.number(self.tried).number(self.tried_visited);
    }

    /// Restores the counts. Returns `None` if one of them cannot be one.
    pub(super) fn restore(&mut self, state: &mut StateReader<'_>) -> Option<()> {
        let mut count = || state.number_in(0.0..=MAX_COUNT);
        let (fresh, fresh_visited, tried, tried_visited) = (count()?, count()?, count()?, count()?);
        *self = Self { fresh, fresh_visited, tried, tried_visited, singles: self.singles };
        Some(())
    }

    /// Ends a period.
    pub(super) fn age(&mut self, fresh_seen: &mut u32) {
        self.fresh += f64::from(core::mem::take(fresh_seen));
        for count in [&mut self.fresh, &mut self.fresh_visited, &mut self.tried, &mut self.tried_visited] {
            *count *= MEMORY;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Judges a thousand fresh entries that were visited once, each with one on trial before it.
    /// Returns how many stay.
    fn stay(are_trials_visited: bool) -> usize {
        let (mut rounds, mut fresh_seen) = (Rounds::default(), 0);
        let on_trial = WindowMark { standing: Standing::OnTrial, ..WindowMark::fresh(0) };
        let judged = (0..1000).map(|_| {
            rounds.decide(on_trial, u8::from(are_trials_visited), &mut fresh_seen, 100);
            rounds.decide(WindowMark::fresh(0), 1, &mut fresh_seen, 100)
        });
        judged.flatten().count()
    }

    #[test]
    fn an_entry_visited_once_stays_where_trials_succeed() {
        assert!(stay(true) > 900);
    }

    #[test]
    fn an_entry_visited_once_leaves_where_trials_fail_but_some_are_tried() {
        let tried = 1000 / TRIED_ONE_IN as usize;
        assert!((tried..tried + 20).contains(&stay(false)), "{}", stay(false));
    }

    #[test]
    fn a_mark_survives_its_bits() {
        for level in 0..=WindowMark::MAX_LEVEL {
            for standing in [Standing::Fresh, Standing::OnTrial, Standing::Proven] {
                let mark = WindowMark { level, standing };
                assert_eq!(WindowMark::from_bits(mark.to_bits()), mark);
            }
        }
    }

    #[test]
    fn an_entry_without_visits_stays_as_long_as_its_level_says() {
        let (mut rounds, mut fresh_seen) = (Rounds::default(), 0);
        let once = rounds.decide(WindowMark::fresh(1), 0, &mut fresh_seen, 10);
        assert_eq!(once, Some(WindowMark::fresh(0)));
        assert_eq!(rounds.decide(WindowMark::fresh(0), 0, &mut fresh_seen, 10), None);
    }
}
