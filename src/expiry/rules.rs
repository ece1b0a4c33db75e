//! A cache's rules on lifetimes, and how they become stamps and are read back.

use core::time::Duration;

use super::lifetime::Lifetime;
use super::time::{Now, ticks};
use super::{CLAIMED, HORIZON, NEVER, PERIOD_MAX};
use crate::clock::to_nanos;
use crate::units::{LEAVING, Stamp, StampSet, Stamps, Tick, is_later};

/// What an entry of a cache is subject to unless its insert says otherwise.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    ttl: Option<Duration>,
    idle: Option<Duration>,
    /// The part of a time to live that is left to chance, from 0 to 1.
    jitter: f64,
    /// `idle` in ticks, and the stale period.
    idle_ticks: u32,
    stale_ticks: u32,
}

/// What becomes of an entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    pub(crate) stamps: Stamps,
    /// When it is to be removed; `None` if at no time.
    pub(crate) removal: Option<Tick>,
}

/// Whether an entry is still to be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    Fresh,
    /// As fresh, but to be loaded anew.
    RefreshDue,
    /// Past its deadline, in its stale period.
    Stale,
    /// Stands for what a load did not find.
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

/// When an entry dies, read from its stamps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) removal: Option<Tick>,
    stale: u32,
    refresh: Option<u32>,
}

impl Times {
    /// From when on reads miss the entry.
    pub(crate) fn deadline(&self) -> Option<Tick> {
        self.removal.map(|removal| removal.before(self.stale))
    }

    /// Whether the entry is fresh at all times.
    #[inline]
    pub(crate) fn are_endless(&self) -> bool {
        self.removal.is_none() && self.refresh.is_none()
    }

    /// Whether the entry is not to be loaded because that has failed.
    pub(crate) fn has_failed(&self, now: Tick) -> bool {
        self.refresh.is_some_and(|refresh| refresh % 2 == FAILED && is_later(refresh, now.low()))
    }

    /// Whether a refresh lies ahead, but not after `latest`.
    pub(crate) fn is_refresh_near(&self, now: Tick, latest: Tick) -> bool {
        self.refresh.is_some_and(|refresh| is_later(refresh, now.low()) && !is_later(refresh, latest.low()))
    }

    #[inline]
    pub(crate) fn freshness(&self, now: Tick) -> Freshness {
        let is_refresh_due = || self.refresh.is_some_and(|refresh| is_past(refresh, now));
        match self.removal {
            Some(removal) if removal <= now => Freshness::Gone,
            Some(removal) if removal.before(self.stale) <= now => Freshness::Stale,
            _ if is_refresh_due() => Freshness::RefreshDue,
            _ => Freshness::Fresh,
        }
    }
}

/// Refreshes after a failure are on odd ticks, all others on even ones.
const FAILED: u32 = 1;

/// Whether the tick with the low half `word` has come: not again until 13 months later.
fn is_past(word: u32, now: Tick) -> bool {
    !is_later(word, now.low())
}

/// The tick itself, or if its low half means something else, the next one without a meaning.
fn storable(tick: Tick) -> Tick {
    if tick.low() >= LEAVING { tick.after(u32::MAX - LEAVING + 1) } else { tick }
}

/// A length in ticks, rounded up, at most `most`.
fn length(duration: Duration, most: u32) -> u32 {
    u32::try_from(ticks(to_nanos(duration))).unwrap_or(most).min(most)
}

impl Rules {
    pub(crate) fn new(ttl: Option<Duration>, idle: Option<Duration>, stale: Duration, jitter: f64) -> Self {
        Self {
            ttl,
            idle,
            jitter,
            idle_ticks: idle.map_or(0, |idle| length(idle, PERIOD_MAX)),
            stale_ticks: length(stale, PERIOD_MAX),
        }
    }

    /// Returns the stamps of an entry that is stored with the cache's defaults.
    pub(crate) fn usual_stamps(&self) -> StampSet {
        let stamps = [(Stamp::Removal, self.ttl), (Stamp::Idle, self.idle)];
        stamps
            .into_iter()
            .filter(|(_, length)| length.is_some())
            .fold(StampSet::NONE, |set, (stamp, _)| set.with(stamp))
    }

    /// Whether an entry of this lifetime needs to know the time.
    #[inline]
    pub(crate) fn need_time(&self, lifetime: &Lifetime) -> bool {
        lifetime.ttl.or(self.ttl).is_some()
            || lifetime.idle.or(self.idle).is_some()
            || lifetime.refresh.is_some()
            || lifetime.stale.is_some()
    }

    /// Whether an entry of this lifetime has expired when it is inserted, and is not kept for a stale period.
    #[inline]
    pub(crate) fn end_at_once(&self, lifetime: &Lifetime) -> bool {
        let is_zero = |length: Option<Duration>| length.is_some_and(|length| length.is_zero());
        let has_ended = is_zero(lifetime.ttl.or(self.ttl)) || is_zero(lifetime.idle.or(self.idle));
        has_ended && lifetime.stale.map_or(self.stale_ticks == 0, |stale| stale.is_zero())
    }

    /// How long a present entry is kept beyond its deadline.
    pub(crate) fn stale_ticks(&self, present: &Stamps) -> u32 {
        present.get(Stamp::StaleLength).unwrap_or(self.stale_ticks)
    }

    /// Whether a draw of chance goes into a lifetime.
    pub(crate) fn need_chance(&self, lifetime: &Lifetime) -> bool {
        self.jitter > 0.0 && lifetime.ttl.or(self.ttl).is_some()
    }

    /// What becomes of an entry that is inserted now, when the shard's time has reached `reached`. `chance` is from 0 to 1.
    pub(crate) fn schedule(&self, lifetime: &Lifetime, now: Now, reached: Tick, chance: f64) -> Schedule {
        let stale = lifetime.stale.map_or(self.stale_ticks, |stale| length(stale, PERIOD_MAX));
        let limit = reached.after(HORIZON - stale);
        let ttl = lifetime.ttl.or(self.ttl).map(|ttl| self.end_of_ttl(ttl, now, chance).min(limit));
        let idle_ticks = lifetime.idle.or(self.idle).map(|idle| length(idle, PERIOD_MAX));
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
        if let Some(refresh) = lifetime.refresh {
            stamps.set(Stamp::Refresh, self.refresh_after(now, refresh).low());
        }
        if lifetime.is_negative {
            stamps.mark_negative();
        }
        Schedule { stamps, removal: removals.into_iter().flatten().min() }
    }

    /// What becomes of a present entry, if it expires `ttl` from now instead of what was said before.
    pub(crate) fn schedule_with_ttl(&self, present: &Stamps, ttl: Duration, now: Now, reached: Tick) -> Schedule {
        let stale = self.stale_ticks(present);
        let limit = reached.after(HORIZON - stale);
        let deadline = if ttl.is_zero() { now.tick() } else { now.tick_after(to_nanos(ttl)) }.min(limit);
        let mut stamps = *present;
        stamps.set(Stamp::Removal, storable(deadline.after(stale)).low());
        Schedule { stamps, removal: self.times(&stamps, reached).removal }
    }

    /// When an entry is to be loaded anew, so long from now.
    pub(crate) fn refresh_after(&self, now: Now, refresh: Duration) -> Tick {
        let tick = now.next_tick().after(length(refresh, PERIOD_MAX));
        tick.after(u32::from(tick.low() % 2 == FAILED))
    }

    /// When an entry whose load has failed is to be loaded again, so long from now: no other refresh is on such a tick.
    pub(crate) fn refresh_after_failure(&self, now: Now, retry: Duration) -> Tick {
        let tick = now.next_tick().after(length(retry, PERIOD_MAX));
        tick.after(u32::from(tick.low() % 2 != FAILED))
    }

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

    /// When an entry with these stamps dies. The shard's time had reached `reached` before they were read.
    pub(crate) fn times(&self, stamps: &Stamps, reached: Tick) -> Times {
        self.times_by(|stamp| stamps.get(stamp), reached)
    }

    /// As [`times`](Self::times), of stamps that are read one by one.
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
            stale: stamp(Stamp::StaleLength).unwrap_or(self.stale_ticks),
            refresh: stamp(Stamp::Refresh),
        }
    }

    /// The word that a read at `now` makes of an idle stamp that is `present`; `None` if it leaves it as it is. `stamp` gives
    /// the entry's others. The shard's time had reached `reached` before.
    #[inline]
    pub(crate) fn idle_after_read(
        &self,
        present: u32,
        stamp: impl Fn(Stamp) -> Option<u32>,
        now: Now,
        reached: Tick,
    ) -> Option<u32> {
        if present == NEVER || present == CLAIMED {
            return None;
        }
        let stale = stamp(Stamp::StaleLength).unwrap_or(self.stale_ticks);
        let length = stamp(Stamp::IdleLength).unwrap_or(self.idle_ticks);
        let removal = end_of_idling(length, now).after(stale).min(reached.after(HORIZON));
        let word = storable(removal).low();
        is_later(word, present).then_some(word)
    }
}

/// When an entry expires that is read now and may then be idle for `length` ticks.
fn end_of_idling(length: u32, now: Now) -> Tick {
    if length == 0 { now.tick() } else { now.next_tick().after(length) }
}

/// The stamps that take an entry's deadline away.
pub(crate) const PERSISTENT: [(Stamp, u32); 2] = [(Stamp::Removal, NEVER), (Stamp::Idle, NEVER)];

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::{ClockSource, ManualClock, TICK};
    use crate::expiry::ShardTime;

    #[test]
    fn a_refresh_after_a_failure_is_told_from_others_until_its_time() {
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
