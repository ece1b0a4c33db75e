//! Measures to the nanosecond how late each promise about deadlines may come true, and compares it
//! with the table of `docs::expiry`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytecache::{Cache, CacheBuilder, Clock, Lifetime, ManualClock, TICK};

use crate::support::alone;

const NANO: Duration = Duration::from_nanos(1);

/// A clock that is behind a true time. The test sets its lag, which is at most `max_lag`.
#[derive(Clone)]
struct Lagging {
    truth: ManualClock,
    lag_nanos: Arc<AtomicU64>,
    max_lag: Duration,
}

impl Lagging {
    fn new(max_lag: Duration) -> Self {
        Self { truth: ManualClock::new(), lag_nanos: Arc::default(), max_lag }
    }

    fn set(&self, truth: Duration, lag: Duration) {
        self.truth.set(truth);
        self.lag_nanos.store(u64::try_from(lag.as_nanos()).unwrap(), Ordering::Relaxed);
    }
}

impl Clock for Lagging {
    fn now(&self) -> Duration {
        self.truth.now() - Duration::from_nanos(self.lag_nanos.load(Ordering::Relaxed))
    }

    fn max_lag(&self) -> Duration {
        self.max_lag
    }
}

/// A promise about an entry that is stored with a length of time. It says how to store the entry,
/// and how to see that the time has come.
struct Promise {
    name: &'static str,
    build: fn(CacheBuilder, Duration) -> CacheBuilder,
    store: fn(&Cache, Duration),
    has_come: fn(&Cache) -> bool,
    /// Most ticks by which the promise is late, without the clock's lags.
    ticks: u32,
}

const OTHER: Duration = Duration::from_secs(7);

const PROMISES: [Promise; 6] = [
    Promise {
        name: "time to live",
        build: |builder, _| builder,
        store: |cache, ttl| cache.insert_with_ttl("key", "value", ttl).unwrap(),
        has_come: |cache| cache.get("key").is_none(),
        ticks: 1,
    },
    Promise {
        name: "the cache's time to live",
        build: CacheBuilder::ttl,
        store: |cache, _| cache.insert("key", "value").unwrap(),
        has_come: |cache| cache.get("key").is_none(),
        ticks: 1,
    },
    Promise {
        name: "set_ttl",
        build: |builder, _| builder.ttl(OTHER),
        store: |cache, ttl| {
            cache.insert("key", "value").unwrap();
            cache.set_ttl("key", ttl).unwrap();
        },
        has_come: |cache| !cache.contains_key("key"),
        ticks: 1,
    },
    Promise {
        name: "time to idle, after a read",
        build: CacheBuilder::time_to_idle,
        store: |cache, _| {
            cache.insert("key", "value").unwrap();
            assert!(cache.get("key").is_some());
        },
        has_come: |cache| !cache.contains_key("key"),
        ticks: 2,
    },
    Promise {
        name: "stale period, after the deadline has come",
        build: |builder, stale| builder.stale_for(stale),
        store: |cache, _| cache.insert_with_ttl("key", "value", TICK).unwrap(),
        has_come: |cache| cache.get_or_stale("key").is_none(),
        ticks: 2,
    },
    Promise {
        name: "refresh",
        build: |builder, _| builder,
        store: |cache, refresh| {
            cache.insert_with_lifetime("key", "value", Lifetime::new().refresh_after(refresh)).unwrap();
        },
        has_come: |cache| cache.get_or_stale("key").unwrap().is_refresh_due(),
        ticks: 3,
    },
];

/// Returns the first moment after `since` at which a promise has come true.
fn first_moment(
    clock: &Lagging,
    lag: Duration,
    since: Duration,
    until: Duration,
    has_come: impl Fn() -> bool,
) -> Duration {
    let (mut before, mut after) = (since, until);
    clock.set(after, lag);
    assert!(has_come(), "not within {:?}", until - since);
    while after - before > NANO {
        let middle = before + (after - before) / 2;
        clock.set(middle, lag);
        *(if has_come() { &mut after } else { &mut before }) = middle;
    }
    after
}

/// Returns the least and the greatest lateness of a promise, with a clock that lags by at most
/// `max_lag`.
fn lateness(promise: &Promise, max_lag: Duration) -> (Duration, Duration) {
    let (mut least, mut most) = (Duration::MAX, Duration::ZERO);
    // Lengths and times of storing lie around the borders of ticks, where rounding has its
    // extremes.
    let parts = [Duration::ZERO, NANO, TICK / 2, TICK - NANO];
    for (ticks, part) in [(1, 0), (2, 1), (20, 0), (20, 1), (20, 2), (20, 3), (21, 0), (21, 1)] {
        let asked = TICK * ticks + parts[part];
        for (start, part) in (100..102).flat_map(|start| parts.map(|part| (start, part))) {
            for phase in [Duration::ZERO, max_lag, max_lag * 2] {
                for (lag_of_store, lag_of_read) in [(Duration::ZERO, max_lag), (max_lag, Duration::ZERO)] {
                    let clock = Lagging::new(max_lag);
                    // Either the clock's reading or the latest true time that it may stand for is
                    // at a border.
                    let stored = TICK * start + part + max_lag + (TICK * 10 - phase);
                    clock.set(stored, lag_of_store);
                    let builder = Cache::builder().max_bytes(64 << 10).clock(clock.clone());
                    let cache = (promise.build)(builder, asked).build().unwrap();
                    (promise.store)(&cache, asked);
                    let due = stored + asked + if promise.name.starts_with("stale") { TICK } else { Duration::ZERO };
                    let until = due + TICK * 4 + max_lag * 2;
                    let came = first_moment(&clock, lag_of_read, stored, until, || (promise.has_come)(&cache));
                    let late = came.checked_sub(due);
                    let late = late.unwrap_or_else(|| panic!("{}: {:?} early", promise.name, due - came));
                    (least, most) = (least.min(late), most.max(late));
                }
            }
        }
    }
    (least, most)
}

#[test]
fn promises_come_true_not_before_their_time_and_at_most_as_late_as_is_documented() {
    let _alone = alone();
    for promise in &PROMISES {
        for max_lag in [Duration::ZERO, Duration::from_millis(4), TICK] {
            let (least, most) = lateness(promise, max_lag);
            assert_eq!(least, Duration::ZERO, "{}, {max_lag:?}", promise.name);
            let bound = TICK * promise.ticks + max_lag * 2;
            assert!(most < bound, "{}: {most:?} late, with a clock that lags by {max_lag:?}", promise.name);
            // The greatest lateness is a nanosecond below the bound for each length that is rounded
            // up to a tick.
            assert!(most + NANO * 2 >= bound, "{}: {most:?} late at most, but {bound:?} is documented", promise.name);
        }
    }
}

#[test]
fn the_system_clock_says_a_tick_for_its_lag() {
    assert_eq!(bytecache::SystemClock.max_lag(), TICK);
}
