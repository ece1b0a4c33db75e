//! The [`Rules`] of a cache for lifetimes: how a lifetime becomes stamps, and how stamps are read.
//!
//! ```text
//!   insert    Lifetime + Rules --schedule--> Schedule: the stamps, and the removal for the wheel
//!   read      stamps + Rules   --times-----> Times --freshness--> Freshness at a tick
//! ```
//!
//! Lengths of time become ticks here. They are rounded up, so an entry expires late and never
//! early. A length of zero ends at the tick that has begun.
//!
//! Removals and refreshes are stored as the low 32 bits of their tick. `Tick::next_with_low`
//! returns the whole tick of a removal: the first one with these bits that is not before the tick
//! that the shard's time has reached (`expiry/mod.rs`, invariant 2).
//!
//! The lowest bit of a refresh stamp records that a load has failed. Refreshes after a failure are
//! on odd ticks, all others on even ones.

use core::time::Duration;

use super::lifetime::Lifetime;
use super::time::{Now, ticks};
use super::{CLAIMED, HORIZON, NEVER, PERIOD_MAX};
use crate::clock::to_nanos;
use crate::units::{LEAVING, Stamp, StampSet, Stamps, Tick, is_later};

/// The defaults of a cache for the lifetimes of its entries.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    ttl: Option<Duration>,
    time_to_idle: Option<Duration>,
    /// The part of a time to live that is random, from 0 to 1.
    jitter: f64,
    /// The time to idle in ticks, or 0 if there is none.
    idle_ticks: u32,
    /// The stale period in ticks.
    stale_ticks: u32,
    /// `true` if the clock must be read to store an entry whose lifetime sets nothing.
    need_time_by_default: bool,
}

/// The stamps and the removal of an entry that is stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    pub(crate) stamps: Stamps,
    /// The tick at which the entry is removed, or `None` if it has no deadline.
    pub(crate) removal: Option<Tick>,
}

impl Schedule {
    /// The schedule of an entry without stamps.
    pub(crate) const ENDLESS: Self = Self { stamps: Stamps::NONE, removal: None };
}

/// The state of an entry at a tick: whether reads return it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    Fresh,
    /// Like `Fresh`, but past its refresh.
    RefreshDue,
    /// Past its deadline, in its stale period.
    Stale,
    /// A negative entry.
    Negative,
    /// Past its removal.
    Gone,
}

impl Freshness {
    /// Returns `true` if plain reads see the entry.
    #[inline]
    pub(crate) fn is_served(self) -> bool {
        matches!(self, Self::Fresh | Self::RefreshDue)
    }
}

/// The removal, stale period and refresh of an entry, read from its stamps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) removal: Option<Tick>,
    stale_ticks: u32,
    /// The low half of the tick of its refresh.
    refresh: Option<u32>,
}

impl Times {
    /// Returns the tick from which reads miss the entry, or `None` if it has no deadline.
    pub(crate) fn deadline(&self) -> Option<Tick> {
        self.removal.map(|removal| removal.before(self.stale_ticks))
    }

    /// Returns `true` if the entry is fresh at all times.
    #[inline]
    pub(crate) fn are_endless(&self) -> bool {
        self.removal.is_none() && self.refresh.is_none()
    }

    /// Returns `true` if a load of the key has failed, and the next one is not due yet.
    pub(crate) fn has_failed(&self, now: Tick) -> bool {
        self.refresh.is_some_and(|refresh| refresh % 2 == FAILED && is_later(refresh, now.low()))
    }

    /// Returns `true` if a refresh is ahead, but not after `latest`.
    pub(crate) fn is_refresh_near(&self, now: Tick, latest: Tick) -> bool {
        self.refresh.is_some_and(|refresh| is_later(refresh, now.low()) && !is_later(refresh, latest.low()))
    }

    /// Returns the state of the entry at `now`. A negative entry counts as fresh here.
    #[inline]
    pub(crate) fn freshness(&self, now: Tick) -> Freshness {
        let is_refresh_due = || self.refresh.is_some_and(|refresh| is_past(refresh, now));
        match self.removal {
            Some(removal) if removal <= now => Freshness::Gone,
            Some(removal) if removal.before(self.stale_ticks) <= now => Freshness::Stale,
            _ if is_refresh_due() => Freshness::RefreshDue,
            _ => Freshness::Fresh,
        }
    }
}

/// The lowest bit of the tick of a refresh after a failure. Other refreshes are on even ticks.
pub(super) const FAILED: u32 = 1;

/// Returns `true` if the tick with the low half `word` has come. The answer is right for 13 months
/// after that tick.
fn is_past(word: u32, now: Tick) -> bool {
    !is_later(word, now.low())
}

/// Returns the tick, or the next one whose low half has no other meaning (`expiry/mod.rs`,
/// invariant 3).
pub(super) fn storable(tick: Tick) -> Tick {
    if tick.low() >= LEAVING { tick.after(u32::MAX - LEAVING + 1) } else { tick }
}

/// Returns a length in ticks, rounded up, and `most` if it is longer.
fn length(duration: Duration, most: u32) -> u32 {
    u32::try_from(ticks(to_nanos(duration))).unwrap_or(most).min(most)
}

impl Rules {
    pub(crate) fn new(ttl: Option<Duration>, time_to_idle: Option<Duration>, stale_for: Duration, jitter: f64) -> Self {
        Self {
            ttl,
            time_to_idle,
            jitter,
            idle_ticks: time_to_idle.map_or(0, |idle| length(idle, PERIOD_MAX)),
            stale_ticks: length(stale_for, PERIOD_MAX),
            need_time_by_default: ttl.is_some() || time_to_idle.is_some(),
        }
    }

    /// Returns the time to live of entries that are stored without one of their own.
    pub(crate) fn default_ttl(&self) -> Option<Duration> {
        self.ttl
    }

    /// Returns the default time to idle in ticks, or 0 if there is none.
    pub(super) fn idle_ticks(&self) -> u32 {
        self.idle_ticks
    }

    /// Returns the stamps of an entry that is stored with the cache's defaults.
    pub(crate) fn usual_stamps(&self) -> StampSet {
        let stamps = [(Stamp::Removal, self.ttl), (Stamp::Idle, self.time_to_idle)];
        stamps
            .into_iter()
            .filter(|(_, length)| length.is_some())
            .fold(StampSet::NONE, |set, (stamp, _)| set.with(stamp))
    }

    /// Returns `true` if the clock must be read to store an entry with this lifetime.
    #[inline]
    pub(crate) fn need_time(&self, lifetime: &Lifetime) -> bool {
        if lifetime.sets_nothing() {
            return self.need_time_by_default;
        }
        lifetime.ttl.resolve(self.ttl).is_some()
            || lifetime.time_to_idle.resolve(self.time_to_idle).is_some()
            || lifetime.refresh_after.is_some()
            || lifetime.stale_for.is_some()
    }

    /// Returns `true` if an entry with this lifetime has expired when it is inserted, and has no
    /// stale period.
    #[inline]
    pub(crate) fn end_at_once(&self, lifetime: &Lifetime) -> bool {
        let is_zero = |length: Option<Duration>| length.is_some_and(|length| length.is_zero());
        let has_ended =
            is_zero(lifetime.ttl.resolve(self.ttl)) || is_zero(lifetime.time_to_idle.resolve(self.time_to_idle));
        has_ended && lifetime.stale_for.map_or(self.stale_ticks == 0, |stale| stale.is_zero())
    }

    /// Returns the stale period of an entry with these stamps, in ticks.
    pub(crate) fn stale_ticks(&self, stamps: &Stamps) -> u32 {
        stamps.get(Stamp::StaleLength).unwrap_or(self.stale_ticks)
    }

    /// Returns `true` if the deadline of an entry with this lifetime is random in part.
    pub(crate) fn need_chance(&self, lifetime: &Lifetime) -> bool {
        self.jitter > 0.0 && lifetime.ttl.resolve(self.ttl).is_some()
    }

    /// Returns the deadline of an entry as the low half of a tick, and its time to idle in ticks.
    /// The entry has the stamps of `set`, and `stamp` returns them. 0 stands for none.
    pub(crate) fn ends(&self, set: StampSet, stamp: impl Fn(Stamp) -> Option<u32>) -> (u32, u32) {
        let stale = stamp(Stamp::StaleLength).unwrap_or(self.stale_ticks);
        let deadline = stamp(Stamp::Removal).map_or(0, |removal| removal.wrapping_sub(stale).max(1));
        let idle = if set.has(Stamp::Idle) { stamp(Stamp::IdleLength).unwrap_or(self.idle_ticks) } else { 0 };
        (deadline, idle)
    }

    /// Returns the schedule of an entry that is inserted at `now`. The shard's time has reached
    /// `reached`. `chance` is a random number from 0 to 1.
    pub(crate) fn schedule(&self, lifetime: &Lifetime, now: Now, reached: Tick, chance: f64) -> Schedule {
        let stale = lifetime.stale_for.map_or(self.stale_ticks, |stale| length(stale, PERIOD_MAX));
        let limit = reached.after(HORIZON - stale);
        let ttl = lifetime.ttl.resolve(self.ttl).map(|ttl| self.end_of_ttl(ttl, now, chance).min(limit));
        let idle_ticks = lifetime.time_to_idle.resolve(self.time_to_idle).map(|idle| length(idle, PERIOD_MAX));
        let idle = idle_ticks.map(|length| end_of_idling(length, now).min(limit));

        let mut stamps = Stamps::NONE;
        let removals = [(Stamp::Removal, ttl), (Stamp::Idle, idle)].map(|(stamp, deadline)| {
            let removal = storable(deadline?.after(stale));
            stamps.set(stamp, removal.low());
            Some(removal)
        });
        if let Some(length) = idle_ticks.filter(|&length| length != self.idle_ticks) {
            stamps.set(Stamp::IdleLength, length);
        }
        if stale != self.stale_ticks {
            stamps.set(Stamp::StaleLength, stale);
        }
        if let Some(refresh) = lifetime.refresh_after {
            stamps.set(Stamp::Refresh, self.refresh_after(now, refresh).low());
        }
        if lifetime.is_negative {
            stamps.mark_negative();
        }
        Schedule { stamps, removal: removals.into_iter().flatten().min() }
    }

    /// Returns the schedule of an entry that has the stamps `current`, if its time to live ends
    /// `ttl` from now instead. Its idle stamp stays, and may end it before.
    pub(crate) fn schedule_with_ttl(&self, current: &Stamps, ttl: Duration, now: Now, reached: Tick) -> Schedule {
        let stale = self.stale_ticks(current);
        let limit = reached.after(HORIZON - stale);
        let deadline = if ttl.is_zero() { now.tick() } else { now.tick_after(to_nanos(ttl)) }.min(limit);
        let mut stamps = *current;
        stamps.set(Stamp::Removal, storable(deadline.after(stale)).low());
        Schedule { stamps, removal: self.times(&stamps, reached).removal }
    }

    /// Returns the tick at which an entry is due for a refresh, `refresh` from now: an even one.
    pub(crate) fn refresh_after(&self, now: Now, refresh: Duration) -> Tick {
        let tick = now.next_tick().after(length(refresh, PERIOD_MAX));
        tick.after(u32::from(tick.low() % 2 == FAILED))
    }

    /// Returns the tick at which an entry whose load has failed is due again, `retry` from now: an
    /// odd one, like no other refresh.
    pub(crate) fn refresh_after_failure(&self, now: Now, retry: Duration) -> Tick {
        let tick = now.next_tick().after(length(retry, PERIOD_MAX));
        tick.after(u32::from(tick.low() % 2 != FAILED))
    }

    /// Returns the deadline of an entry with this time to live. The jitter shortens it by chance.
    fn end_of_ttl(&self, ttl: Duration, now: Now, chance: f64) -> Tick {
        if ttl.is_zero() {
            return now.tick();
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a part of the nanoseconds, from 0 up"
        )]
        let nanos = match self.jitter > 0.0 {
            true => (to_nanos(ttl) as f64 * (1.0 - self.jitter * chance)) as u64,
            false => to_nanos(ttl),
        };
        now.tick_after(nanos)
    }

    /// Returns the times of an entry with these stamps. The shard's time had reached `reached`
    /// before the stamps were read.
    pub(crate) fn times(&self, stamps: &Stamps, reached: Tick) -> Times {
        self.times_by(|stamp| stamps.get(stamp), reached)
    }

    /// Like [`times`](Self::times), but reads the stamps one by one.
    #[inline]
    pub(crate) fn times_by(&self, stamp: impl Fn(Stamp) -> Option<u32>, reached: Tick) -> Times {
        let tick = |word: u32| match word {
            NEVER => None,
            CLAIMED => Some(reached),
            word => Some(reached.next_with_low(word)),
        };
        let removal = stamp(Stamp::Removal).and_then(tick);
        let idle = stamp(Stamp::Idle).and_then(tick);
        Times {
            removal: removal.map_or(idle, |removal| Some(idle.map_or(removal, |idle| idle.min(removal)))),
            stale_ticks: stamp(Stamp::StaleLength).unwrap_or(self.stale_ticks),
            refresh: stamp(Stamp::Refresh),
        }
    }

    /// Returns the idle stamp of an entry after a read at `now`, or `None` if the read leaves it as
    /// it is. Its value before is `current`, and `stamp` returns the other stamps of the entry.
    ///
    /// The shard's time had reached `reached` before the stamps were read.
    #[inline]
    pub(crate) fn idle_after_read(
        &self,
        current: u32,
        stamp: impl Fn(Stamp) -> Option<u32>,
        now: Now,
        reached: Tick,
    ) -> Option<u32> {
        if current == NEVER || current == CLAIMED {
            return None;
        }
        let stale = stamp(Stamp::StaleLength).unwrap_or(self.stale_ticks);
        let length = stamp(Stamp::IdleLength).unwrap_or(self.idle_ticks);
        let removal = end_of_idling(length, now).after(stale).min(reached.after(HORIZON));
        let word = storable(removal).low();
        is_later(word, current).then_some(word)
    }
}

/// Returns the deadline of an entry that is read now and may be idle for `length` ticks after that.
fn end_of_idling(length: u32, now: Now) -> Tick {
    if length == 0 { now.tick() } else { now.next_tick().after(length) }
}

/// The values of the stamps that remove the deadline of an entry.
pub(crate) const PERSISTENT: [(Stamp, u32); 2] = [(Stamp::Removal, NEVER), (Stamp::Idle, NEVER)];

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::{ClockSource, ManualClock, TICK};
    use crate::expiry::ShardTime;

    #[test]
    fn a_refresh_after_a_failure_is_recognized_until_it_is_due() {
        let clock = ManualClock::new();
        let time = ShardTime::new(ClockSource::Custom(Arc::new(clock.clone())));
        let rules = Rules::new(None, None, Duration::ZERO, 0.0);
        for ticks in [0, 1, 2, 7, 1 << 20] {
            let now = time.now(time.reached());
            let after = TICK * ticks;
            for (mark, failed) in
                [(rules.refresh_after(now, after), false), (rules.refresh_after_failure(now, after), true)]
            {
                let least = now.tick().after(ticks);
                assert!(mark == least || mark == least.after(1));
                let mut stamps = Stamps::NONE;
                stamps.set(Stamp::Refresh, mark.low());
                let times = rules.times(&stamps, time.reached());
                assert_eq!(times.has_failed(mark.before(1)), failed && mark > Tick::new(0));
                assert!(!times.has_failed(mark));
                assert!(times.is_refresh_near(mark.before(1), mark) || mark == Tick::new(0));
                assert!(
                    !times.is_refresh_near(mark, mark.after(9))
                        && !times.is_refresh_near(mark.before(9), mark.before(1))
                );
            }
            clock.advance(TICK);
        }
    }
}
