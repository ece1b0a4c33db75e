//! [`TimesLeft`]: the times of an entry as lengths from some moment on, for snapshots.
//!
//! Stamps are ticks of one cache's clock, which mean nothing to another process. A snapshot keeps
//! the lengths that are left, and another cache makes stamps of them.
//!
//! ```text
//!   stamps + Rules --times_left--> TimesLeft      saved
//!   TimesLeft - time passed + Rules --schedule_restored--> Schedule
//! ```
//!
//! Lengths are rounded down, so no entry outlives its deadline by being saved and restored.

use core::time::Duration;

use super::rules::{FAILED, Rules, Schedule, storable};
use super::time::{Now, TICK_MILLIS};
use super::{HORIZON, PERIOD_MAX};
use crate::units::{Stamp, Stamps, Tick};

/// The times of an entry, from the moment on at which it was saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TimesLeft {
    /// The time until the end of its time to live and its stale period.
    pub(crate) removal_millis: Option<u64>,
    /// The time until the end of its time to idle and its stale period.
    pub(crate) idle_millis: Option<u64>,
    /// Its time to idle, if it has one.
    pub(crate) idle_ticks: u32,
    /// Its stale period.
    pub(crate) stale_ticks: u32,
    /// The time until its refresh, if it has one. Negative if that is due.
    pub(crate) refresh_ticks: Option<i32>,
    /// The last load of it has failed.
    pub(crate) has_failed: bool,
    /// It says that there is no value.
    pub(crate) is_negative: bool,
}

/// The end of an entry that had a deadline when it was saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HasExpired;

impl Rules {
    /// Returns the times that an entry with these stamps has left. The shard's time had reached
    /// `reached` before the stamps were read.
    pub(crate) fn times_left(&self, stamps: &Stamps, now: Now, reached: Tick) -> TimesLeft {
        let left = |stamp: Stamp| {
            // Alone, so that the earlier one does not hide the other.
            let removal = self.times_by(|asked| stamps.get(asked).filter(|_| asked == stamp), reached).removal?;
            Some(u64::try_from(now.until(removal).as_millis()).unwrap_or(u64::MAX))
        };
        TimesLeft {
            removal_millis: left(Stamp::Removal),
            idle_millis: left(Stamp::Idle),
            idle_ticks: stamps.get(Stamp::IdleLength).unwrap_or(self.idle_ticks()),
            stale_ticks: self.stale_ticks(stamps),
            refresh_ticks: stamps.get(Stamp::Refresh).map(|word| signed(word.wrapping_sub(now.tick().low()))),
            has_failed: stamps.get(Stamp::Refresh).is_some_and(|word| word & FAILED != 0),
            is_negative: stamps.present().is_negative(),
        }
    }

    /// Returns the schedule of an entry that had these times left when it was saved, `passed` ago.
    ///
    /// # Errors
    ///
    /// If it has expired since.
    pub(crate) fn schedule_restored(
        &self,
        left: &TimesLeft,
        passed: Duration,
        now: Now,
        reached: Tick,
    ) -> Result<Schedule, HasExpired> {
        let passed_millis = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        let mut stamps = Stamps::NONE;
        let mut removal: Option<Tick> = None;
        for (stamp, millis) in [(Stamp::Removal, left.removal_millis), (Stamp::Idle, left.idle_millis)] {
            let Some(millis) = millis else { continue };
            let millis = millis.checked_sub(passed_millis).ok_or(HasExpired)?;
            let tick = storable(now.tick_within(millis).min(reached.after(HORIZON)));
            if tick <= now.tick() {
                return Err(HasExpired);
            }
            stamps.set(stamp, tick.low());
            removal = Some(removal.map_or(tick, |other| other.min(tick)));
        }
        let idle_ticks = left.idle_ticks.min(PERIOD_MAX);
        if left.idle_millis.is_some() && idle_ticks != self.idle_ticks() {
            stamps.set(Stamp::IdleLength, idle_ticks);
        }
        let stale_ticks = left.stale_ticks.min(PERIOD_MAX);
        if (removal.is_some() || left.refresh_ticks.is_some()) && stale_ticks != self.stale_ticks(&Stamps::NONE) {
            stamps.set(Stamp::StaleLength, stale_ticks);
        }
        if let Some(ticks) = left.refresh_ticks {
            stamps.set(Stamp::Refresh, refresh_word(ticks, passed_millis, now) | u32::from(left.has_failed));
        }
        if left.is_negative {
            stamps.mark_negative();
        }
        Ok(Schedule { stamps, removal })
    }
}

impl TimesLeft {
    /// Returns `true` if the entry has neither a deadline nor a refresh.
    pub(crate) fn are_endless(&self) -> bool {
        self.removal_millis.is_none() && self.idle_millis.is_none() && self.refresh_ticks.is_none() && !self.is_negative
    }
}

/// Returns the low half of the tick of a refresh, an even one.
fn refresh_word(ticks: i32, passed_millis: u64, now: Now) -> u32 {
    let passed = i64::try_from(passed_millis / TICK_MILLIS).unwrap_or(i64::MAX);
    let bound = i64::from(PERIOD_MAX);
    let left = i64::from(ticks).saturating_sub(passed).clamp(-bound, bound);
    let word = now.tick().low().wrapping_add_signed(i32::try_from(left).unwrap_or(0));
    word & !FAILED
}

/// Returns the difference of two low halves of ticks that are less than 2^31 ticks apart.
fn signed(difference: u32) -> i32 {
    i32::from_le_bytes(difference.to_le_bytes())
}
