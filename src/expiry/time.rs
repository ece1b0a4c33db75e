//! A shard's time: the clock, made fit for 32-bit stamps.
//!
//! It never goes back behind what it has reached. When the clock does, the shard's time stands still there until the next
//! writer sees it, and from then on runs on from where it was.

use core::time::Duration;

use crate::clock::{ClockSource, TICK};
use crate::sync::{AtomicU64, Ordering};
use crate::units::Tick;

#[allow(clippy::cast_possible_truncation, reason = "sixteen million")]
const TICK_NANOS: u64 = TICK.as_nanos() as u64;

/// A clock that is behind by less is not taken to have gone back: threads may read a clock of the user's own in another
/// order than it ran.
const SLACK_NANOS: u64 = 1_000_000_000;

/// The time of one shard, for readers and writers.
pub(crate) struct ShardTime {
    clock: ClockSource,
    lag: u64,
    /// The tick that has been reached (`expiry/mod.rs`, invariant 1).
    reached: AtomicU64,
    /// What is added to the clock because it has gone back, in nanoseconds.
    skew: AtomicU64,
}

/// A reading of a shard's time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    nanos: u64,
    /// By how much the true time may be later.
    lag: u64,
}

impl ShardTime {
    pub(crate) fn new(clock: ClockSource) -> Self {
        let lag = clock.max_lag_nanos();
        let reached = clock.nanos() / TICK_NANOS;
        Self { clock, lag, reached: AtomicU64::new(reached), skew: AtomicU64::new(0) }
    }

    /// What has been reached. To be asked before an entry is looked for.
    #[inline]
    pub(crate) fn reached(&self) -> Tick {
        // Acquire pairs with the Release of `reach`.
        Tick::new(self.reached.load(Ordering::Acquire))
    }

    /// Notes that every entry whose removal lies before `tick` has been taken out. For the holder of the lock.
    pub(crate) fn reach(&self, tick: Tick) {
        // Release pairs with the Acquire of `reached`: the entries' lanes are clear.
        self.reached.store(tick.get(), Ordering::Release);
    }

    /// The time, which is not before `reached`.
    #[inline]
    pub(crate) fn now(&self, reached: Tick) -> Now {
        // Acquire: the clock is read after the skew. The other way round, a clock that goes back in between would be made up
        // for twice. Pairs with the Release of `now_for_writer`, which comes after the clock was seen to be back.
        let skew = self.skew.load(Ordering::Acquire);
        let nanos = self.clock.nanos().saturating_add(skew);
        Now { nanos: nanos.max(nanos_at(reached)), lag: self.lag }
    }

    /// The time, after making up for a clock that has gone back. For the holder of the lock.
    pub(crate) fn now_for_writer(&self) -> Now {
        let reached = nanos_at(self.reached());
        let skew = self.skew.load(Ordering::Relaxed); // Only the lock's holder stores.
        let nanos = self.clock.nanos().saturating_add(skew);
        if nanos.saturating_add(SLACK_NANOS) < reached {
            self.skew.store(skew + (reached - nanos), Ordering::Release); // See `now`.
        }
        Now { nanos: nanos.max(reached), lag: self.lag }
    }
}

fn nanos_at(tick: Tick) -> u64 {
    tick.get().saturating_mul(TICK_NANOS)
}

/// A length in ticks, rounded up.
pub(super) fn ticks(nanos: u64) -> u64 {
    nanos.div_ceil(TICK_NANOS)
}

impl Now {
    /// The last tick that has begun: what lies at or before it has come.
    #[inline]
    pub(crate) fn tick(self) -> Tick {
        Tick::new(self.nanos / TICK_NANOS)
    }

    /// The first tick that is not before the true time.
    #[inline]
    pub(super) fn next_tick(self) -> Tick {
        self.tick_after(0)
    }

    /// The first tick that is `nanos` after the true time or later.
    pub(super) fn tick_after(self, nanos: u64) -> Tick {
        Tick::new(ticks(self.nanos.saturating_add(self.lag).saturating_add(nanos)))
    }

    /// How long it is until `tick`.
    pub(crate) fn until(self, tick: Tick) -> Duration {
        Duration::from_nanos(nanos_at(tick).saturating_sub(self.nanos))
    }
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::{Clock, ManualClock};

    fn time() -> (ManualClock, ShardTime) {
        let clock = ManualClock::new();
        (clock.clone(), ShardTime::new(ClockSource::Custom(Arc::new(clock))))
    }

    #[test]
    fn ticks_begin_at_their_borders_and_deadlines_are_rounded_up_to_them() {
        let (clock, time) = time();
        let now = || time.now(time.reached());
        for (millis, tick, next) in [(0, 0, 0), (1, 0, 1), (15, 0, 1), (16, 1, 1), (17, 1, 2)] {
            clock.set(Duration::from_millis(millis));
            assert_eq!((now().tick(), now().next_tick()), (Tick::new(tick), Tick::new(next)));
        }
        clock.set(Duration::from_millis(5));
        assert_eq!(now().tick_after(11_000_000), Tick::new(1));
        assert_eq!(now().tick_after(11_000_001), Tick::new(2));
        assert_eq!(now().until(Tick::new(1)), Duration::from_millis(11));
        assert_eq!(now().until(Tick::new(0)), Duration::ZERO);
    }

    #[test]
    fn a_lag_makes_deadlines_later_and_nothing_else() {
        struct Late;
        impl Clock for Late {
            fn now(&self) -> Duration {
                Duration::from_millis(16)
            }
            fn max_lag(&self) -> Duration {
                Duration::from_millis(1)
            }
        }
        let time = ShardTime::new(ClockSource::Custom(Arc::new(Late)));
        let now = time.now(time.reached());
        assert_eq!((now.tick(), now.next_tick()), (Tick::new(1), Tick::new(2)));
    }

    #[test]
    fn time_stands_when_the_clock_goes_back_and_runs_on_once_a_writer_has_seen_it() {
        let (clock, time) = time();
        clock.set(Duration::from_secs(1000));
        let before = time.now_for_writer().tick();
        time.reach(before);
        clock.set(Duration::from_secs(10));
        assert_eq!(time.now(time.reached()).tick(), before);
        assert_eq!(time.now_for_writer().tick(), before);
        clock.set(Duration::from_secs(26));
        assert_eq!(time.now(time.reached()).tick(), before.after(1000));
        // A second time, and by less than the slack, which only stops the time.
        time.reach(time.now_for_writer().tick());
        clock.set(Duration::from_secs(10));
        assert_eq!(time.now_for_writer().tick(), before.after(1000));
        clock.set(Duration::from_millis(9_500));
        assert_eq!(time.now_for_writer().tick(), before.after(1000));
        clock.set(Duration::from_secs(26));
        assert_eq!(time.now_for_writer().tick(), before.after(2000));
    }
}
