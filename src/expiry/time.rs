//! The time of a shard: a clock that does not go back behind the tick that it has reached.
//!
//! ```text
//!   clock    ----1000 s| 10 s ---- 26 s ---->     goes back by 990 s
//!   skew     ----0-----| 0  | 990 s -------->     set by the first writer after that
//!   time     ----1000 s| 1000 s -- 1016 s -->     stands still until then, and continues
//! ```
//!
//! Stamps hold the low 32 bits of a tick. They can be read because the time never falls behind the
//! tick that it has reached (`expiry/mod.rs`, invariant 2). If the clock goes back, the time stands
//! still until the next write. The writer adds the difference to the *skew*, and the time continues
//! from there.
//!
//! # Invariants
//!
//! 1. A reading is not before the tick in `reached` that its caller has loaded.
//! 2. `reached` and `skew` are stored by the holder of the shard's lock only.
//!
//! # Synchronization
//!
//! `reached` is stored (Release) after the entries with earlier removals have been taken out, and
//! loaded (Acquire) before an entry is looked for. `skew` is stored (Release) after the clock was
//! seen to be back, and loaded (Acquire) before the clock is read. The section "A shard's time" of
//! `docs/internals/ordering.rs` has the proofs.

use core::time::Duration;

use crate::clock::{ClockSource, TICK, to_nanos};
use crate::sync::{AtomicU64, Ordering};
use crate::units::Tick;

#[allow(clippy::cast_possible_truncation, reason = "16 million nanoseconds")]
const TICK_NANOS: u64 = TICK.as_nanos() as u64;

/// The distance up to which a clock that is behind counts as standing still, in nanoseconds.
///
/// Threads may read a custom clock in another order than it ran. Adding such a difference to the
/// skew would move the time ahead of the clock.
const SLACK_NANOS: u64 = 1_000_000_000;

/// The time of one shard, for readers and writers.
pub(crate) struct ShardTime {
    clock: ClockSource,
    /// The most by which the clock is behind the true time, in nanoseconds.
    lag: u64,
    /// The tick that has been reached (`expiry/mod.rs`, invariant 1).
    reached: AtomicU64,
    /// The nanoseconds that are added to the clock because it has gone back.
    skew: AtomicU64,
}

/// A reading of a shard's time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    nanos: u64,
    /// The most by which the true time may be later, in nanoseconds.
    lag: u64,
}

impl ShardTime {
    /// Creates a time that begins at the current reading of the clock.
    pub(crate) fn new(clock: ClockSource) -> Self {
        let lag = clock.max_lag_nanos();
        let reached = clock.nanos() / TICK_NANOS;
        Self { clock, lag, reached: AtomicU64::new(reached), skew: AtomicU64::new(0) }
    }

    /// Returns the tick that the time has reached. Call it before looking for an entry.
    #[inline]
    pub(crate) fn reached(&self) -> Tick {
        // Acquire pairs with the Release of `reach`.
        Tick::new(self.reached.load(Ordering::Acquire))
    }

    /// Records that every entry with a removal before `tick` has been taken out. Only the holder of
    /// the shard's lock calls this.
    pub(crate) fn reach(&self, tick: Tick) {
        // Release pairs with the Acquire of `reached`: the entries' lanes are clear.
        self.reached.store(tick.get(), Ordering::Release);
    }

    /// Returns the time, which is not before `reached`.
    #[inline]
    pub(crate) fn now(&self, reached: Tick) -> Now {
        // Acquire pairs with the Release of `now_for_writer`, which comes after the clock was seen
        // to be back. So the clock is read after the skew. In the other order, the reading could be
        // from before the clock went back, and the skew from after that. Their sum would be too
        // late.
        let skew = self.skew.load(Ordering::Acquire);
        let nanos = self.clock.nanos().saturating_add(skew);
        Now { nanos: nanos.max(nanos_at(reached)), lag: self.lag }
    }

    /// Returns the time, after adding to the skew if the clock has gone back. Only the holder of
    /// the shard's lock calls this.
    pub(crate) fn now_for_writer(&self) -> Now {
        let reached = nanos_at(self.reached());
        let skew = self.skew.load(Ordering::Relaxed); // Only the holder of the lock stores it.
        let nanos = self.clock.nanos().saturating_add(skew);
        if nanos.saturating_add(SLACK_NANOS) < reached {
            // Release pairs with the Acquire of `now`: the clock was read before this.
            self.skew.store(skew + (reached - nanos), Ordering::Release);
        }
        Now { nanos: nanos.max(reached), lag: self.lag }
    }
}

/// Returns the time at which a tick begins, in nanoseconds.
fn nanos_at(tick: Tick) -> u64 {
    tick.get().saturating_mul(TICK_NANOS)
}

/// Returns the whole ticks in `ticks` ticks and `nanos` nanoseconds, rounded down.
fn whole_ticks(ticks: i32, nanos: i64) -> i64 {
    let tick = signed(TICK_NANOS);
    (i64::from(ticks) * tick).saturating_add(nanos).div_euclid(tick)
}

fn signed_nanos(length: Duration) -> i64 {
    signed(to_nanos(length))
}

fn signed(nanos: u64) -> i64 {
    i64::try_from(nanos).unwrap_or(i64::MAX)
}

/// Returns a length in ticks, rounded up.
pub(super) fn ticks(nanos: u64) -> u64 {
    nanos.div_ceil(TICK_NANOS)
}

impl Now {
    /// Returns the last tick that has begun. A deadline at or before it has passed.
    #[inline]
    pub(crate) fn tick(self) -> Tick {
        Tick::new(self.nanos / TICK_NANOS)
    }

    /// Returns the first tick that is not before the true time.
    #[inline]
    pub(super) fn next_tick(self) -> Tick {
        self.tick_after(0)
    }

    /// Returns the first tick that is at least `nanos` after the true time.
    pub(super) fn tick_after(self, nanos: u64) -> Tick {
        Tick::new(ticks(self.nanos.saturating_add(self.lag).saturating_add(nanos)))
    }

    /// Returns the last tick that begins within `length` from now.
    pub(super) fn tick_within(self, length: Duration) -> Tick {
        Tick::new(self.nanos.saturating_add(to_nanos(length)) / TICK_NANOS)
    }

    /// Returns the whole ticks from the moment `since` before now until the tick whose low half is
    /// `word`, which is less than 2^31 ticks away from now. Negative if it lies before that moment.
    /// Counts from the latest true time that now may be.
    pub(super) fn ticks_until(self, word: u32, since: Duration) -> i32 {
        let ticks = i32::from_le_bytes(word.wrapping_sub(self.tick().low()).to_le_bytes());
        let late = self.nanos_of_tick().saturating_add(signed(self.lag));
        let whole = whole_ticks(ticks, signed_nanos(since).saturating_sub(late));
        i32::try_from(whole).unwrap_or(if whole < 0 { i32::MIN } else { i32::MAX })
    }

    /// Returns the low half of the last tick that begins within `ticks` ticks from the moment
    /// `passed` before now. It is at most `most` ticks away from now.
    pub(super) fn word_in(self, ticks: i32, passed: Duration, most: u32) -> u32 {
        let most = i64::from(most);
        let ticks = whole_ticks(ticks, self.nanos_of_tick() - signed_nanos(passed)).clamp(-most, most);
        self.tick().low().wrapping_add_signed(i32::try_from(ticks).unwrap_or(0))
    }

    /// Returns the part of the current tick that has passed, in nanoseconds.
    fn nanos_of_tick(self) -> i64 {
        signed(self.nanos % TICK_NANOS)
    }

    /// Returns the time until `tick` begins, or zero if it has begun.
    pub(crate) fn until(self, tick: Tick) -> Duration {
        Duration::from_nanos(nanos_at(tick).saturating_sub(self.nanos))
    }

    /// Returns the time from the moment `since` before now until `tick` begins, or zero if it has
    /// begun. Counts from the latest true time that now may be.
    pub(super) fn least_until(self, tick: Tick, since: Duration) -> Duration {
        self.until(tick).saturating_add(since).saturating_sub(Duration::from_nanos(self.lag))
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
    fn a_tick_begins_every_16_ms_and_deadlines_are_rounded_up_to_ticks() {
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
    fn a_lag_makes_deadlines_later_and_leaves_the_time_as_it_is() {
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
    fn time_stands_still_when_the_clock_goes_back_and_continues_after_the_next_write() {
        let (clock, time) = time();
        clock.set(Duration::from_secs(1000));
        let before = time.now_for_writer().tick();
        time.reach(before);
        clock.set(Duration::from_secs(10));
        assert_eq!(time.now(time.reached()).tick(), before);
        assert_eq!(time.now_for_writer().tick(), before);
        clock.set(Duration::from_secs(26));
        assert_eq!(time.now(time.reached()).tick(), before.after(1000));
        // The clock goes back again. A step back of less than the slack only stops the time.
        time.reach(time.now_for_writer().tick());
        clock.set(Duration::from_secs(10));
        assert_eq!(time.now_for_writer().tick(), before.after(1000));
        clock.set(Duration::from_millis(9_500));
        assert_eq!(time.now_for_writer().tick(), before.after(1000));
        clock.set(Duration::from_secs(26));
        assert_eq!(time.now_for_writer().tick(), before.after(2000));
    }
}
