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
//! Lengths are rounded down, so no entry outlives its deadline by being saved and restored. A clock
//! that may be behind counts as behind when an entry is saved, and as right when it is restored.
//!
//! Lengths count from one moment for many entries. So the time since that moment is added to what
//! an entry has left when it is saved. A save reads it before the shard's time, and a restore reads
//! the time that has passed after it. So a thread that is preempted makes lengths shorter.

use core::time::Duration;

use super::rules::{FAILED, Rules, Schedule, storable};
use super::time::Now;
use super::{HORIZON, PERIOD_MAX};
use crate::units::{Stamp, Stamps, Tick};

/// The times of an entry, from some moment on.
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
    /// Returns the times that an entry with these stamps has left, from the moment `since` before
    /// `now` on. The shard's time had reached `reached` before the stamps were read.
    pub(crate) fn times_left(&self, stamps: &Stamps, since: Duration, now: Now, reached: Tick) -> TimesLeft {
        let left = |stamp: Stamp| {
            // Alone, so that the earlier one does not hide the other.
            let removal = self.times_by(|asked| stamps.get(asked).filter(|_| asked == stamp), reached).removal?;
            Some(u64::try_from(now.least_until(removal, since).as_millis()).unwrap_or(u64::MAX))
        };
        TimesLeft {
            removal_millis: left(Stamp::Removal),
            idle_millis: left(Stamp::Idle),
            idle_ticks: stamps.get(Stamp::IdleLength).unwrap_or(self.idle_ticks()),
            stale_ticks: self.stale_ticks(stamps),
            refresh_ticks: stamps.get(Stamp::Refresh).map(|word| now.ticks_until(word, since)),
            has_failed: stamps.get(Stamp::Refresh).is_some_and(|word| word & FAILED != 0),
            is_negative: stamps.present().is_negative(),
        }
    }

    /// Returns the schedule of an entry that had these times left `passed` before `now`.
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
        let mut stamps = Stamps::NONE;
        let mut removal: Option<Tick> = None;
        for (stamp, millis) in [(Stamp::Removal, left.removal_millis), (Stamp::Idle, left.idle_millis)] {
            let Some(millis) = millis else { continue };
            let length = Duration::from_millis(millis).checked_sub(passed).ok_or(HasExpired)?;
            let tick = storable(now.tick_within(length).min(reached.after(HORIZON)));
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
            // An even tick, unless a load has failed.
            let word = now.word_in(ticks, passed, PERIOD_MAX) & !FAILED;
            stamps.set(Stamp::Refresh, if left.has_failed { word | FAILED } else { word });
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

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{Lifetime, ShardTime};
    use super::*;
    use crate::clock::{Clock, ClockSource, TICK};

    const LENGTH: Duration = Duration::from_secs(1_000);
    const PASSED: Duration = Duration::from_secs(100);

    /// A clock that stands still, and may be behind by this much.
    struct Late(Duration, Duration);

    impl Clock for Late {
        fn now(&self) -> Duration {
            self.0
        }

        fn max_lag(&self) -> Duration {
            self.1
        }
    }

    /// Returns a time that is within a tick, at some moment.
    fn now_at(begin: Duration) -> (Now, Tick) {
        now_behind(begin, Duration::ZERO)
    }

    /// Returns such a time of a clock that may be behind.
    fn now_behind(begin: Duration, lag: Duration) -> (Now, Tick) {
        let time = ShardTime::new(ClockSource::Custom(Arc::new(Late(begin + TICK / 4, lag))));
        (time.now(time.reached()), time.reached())
    }

    fn rules() -> Rules {
        Rules::new(None, None, Duration::ZERO, 0.0)
    }

    /// Returns the stamps of an entry that is saved `since` after the moment from which its times
    /// count, and restored `since` and `passed` after that by another clock.
    fn restored(stamps: &Stamps, now: Now, reached: Tick, since: Duration, passed: Duration) -> (Stamps, Now) {
        let left = rules().times_left(stamps, since, now, reached);
        let (now, reached) = now_at(Duration::from_secs(77_777));
        let restored = rules().schedule_restored(&left, since + passed, now, reached);
        (restored.expect("an entry that lives").stamps, now)
    }

    /// Returns the ticks until a stamp, from the begin of the current tick.
    fn ticks_to(stamps: &Stamps, stamp: Stamp, now: Now) -> i64 {
        let word = stamps.get(stamp).expect("the stamp");
        i64::from(i32::from_le_bytes(word.wrapping_sub(now.tick().low()).to_le_bytes()))
    }

    #[test]
    fn all_times_lose_what_has_passed_since_an_entry_was_saved_and_nothing_else() {
        let (now, reached) = now_at(Duration::from_secs(5_000));
        let lifetime = Lifetime::new().ttl(LENGTH).time_to_idle(LENGTH).stale_for(LENGTH).refresh_after(LENGTH);
        let stamps = rules().schedule(&lifetime, now, reached, 0.0).stamps;
        for since in [Duration::ZERO, Duration::from_millis(3), Duration::from_millis(400), PASSED] {
            let (restored, later) = restored(&stamps, now, reached, since, PASSED);
            for stamp in [Stamp::Removal, Stamp::Idle, Stamp::Refresh] {
                let passed = i64::try_from(PASSED.as_millis() / TICK.as_millis()).expect("few ticks");
                let lost = ticks_to(&stamps, stamp, now) - ticks_to(&restored, stamp, later) - passed;
                assert!((0..=3).contains(&lost), "{stamp:?} has lost {lost} ticks with {since:?}");
            }
            assert_eq!(restored.get(Stamp::StaleLength), stamps.get(Stamp::StaleLength));
            assert_eq!(restored.get(Stamp::IdleLength), stamps.get(Stamp::IdleLength));
        }
    }

    #[test]
    fn a_clock_that_may_be_behind_makes_no_entry_outlive_its_deadline() {
        let (now, reached) = now_behind(Duration::from_secs(5_000), TICK * 10);
        let mut stamps = Stamps::NONE;
        for stamp in [Stamp::Removal, Stamp::Idle, Stamp::Refresh] {
            stamps.set(stamp, now.tick().after(20_000).low());
        }
        let (restored, later) = restored(&stamps, now, reached, Duration::ZERO, PASSED);
        for stamp in [Stamp::Removal, Stamp::Idle, Stamp::Refresh] {
            let passed = i64::try_from(PASSED.as_millis() / TICK.as_millis()).expect("few ticks");
            let lost = ticks_to(&stamps, stamp, now) - ticks_to(&restored, stamp, later) - passed;
            assert!((10..=13).contains(&lost), "{stamp:?} has lost {lost} ticks");
        }
    }

    #[test]
    fn the_stale_period_of_an_entry_that_only_has_a_refresh_is_restored() {
        let (now, reached) = now_at(Duration::from_secs(5_000));
        let lifetime = Lifetime::forever().refresh_after(LENGTH).stale_for(LENGTH);
        let stamps = rules().schedule(&lifetime, now, reached, 0.0).stamps;
        assert!(stamps.get(Stamp::StaleLength).is_some() && stamps.get(Stamp::Removal).is_none());
        let (restored, _) = restored(&stamps, now, reached, Duration::ZERO, PASSED);
        assert_eq!(restored.get(Stamp::StaleLength), stamps.get(Stamp::StaleLength));
    }

    #[test]
    fn the_mark_of_a_failed_load_is_restored() {
        let (now, reached) = now_at(Duration::from_secs(5_000));
        let marks = [rules().refresh_after_failure(now, LENGTH), rules().refresh_after(now, LENGTH)];
        for (mark, has_failed) in marks.into_iter().zip([true, false]) {
            let mut stamps = Stamps::NONE;
            stamps.set(Stamp::Refresh, mark.low());
            for since in [0, 1, 2, 3].map(|ticks| TICK * ticks) {
                let (restored, later) = restored(&stamps, now, reached, since, PASSED);
                let times = rules().times(&restored, later.tick());
                assert_eq!(times.has_failed(later.tick()), has_failed, "{since:?}");
            }
        }
    }

    #[test]
    fn a_refresh_that_is_long_due_stays_due() {
        let (now, reached) = now_at(Duration::from_secs(500_000));
        let mut stamps = Stamps::NONE;
        stamps.set(Stamp::Refresh, 2);
        let (restored, later) = restored(&stamps, now, reached, Duration::ZERO, Duration::from_secs(1 << 40));
        assert!(ticks_to(&restored, Stamp::Refresh, later) < -1_000_000);
    }
}
