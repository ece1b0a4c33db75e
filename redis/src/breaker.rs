//! [`Breaker`]: stops reads of a server that does not answer, and tries one from time to time.
//!
//! ```text
//!            failures in a row              the pause is over: one probe
//!   closed ---------------------> open -----------------------------------> half-open
//!     ^                             ^                                           |
//!     |                             +------------ the probe failed -------------+
//!     +--------------------------------- the probe succeeded -------------------+
//! ```

use core::time::Duration;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::chance;

#[derive(Debug)]
enum State {
    Closed {
        failures: u32,
    },
    /// `None` if the pause has no end.
    Open {
        until: Option<Instant>,
    },
    HalfOpen,
}

/// Counts reads that failed in a row.
#[derive(Debug)]
pub(crate) struct Breaker {
    /// The state, and the number of the connection.
    state: Mutex<(State, u64)>,
    max_failures: u32,
    pause: Duration,
}

/// The permit for one read. If a probe is dropped without a result, it has failed. Other dropped
/// permits are ignored.
#[derive(Debug)]
#[must_use]
pub(crate) struct Permit<'a> {
    breaker: &'a Breaker,
    is_probe: bool,
    /// Results of reads over a former connection do not count.
    connection: u64,
}

impl Breaker {
    /// Creates a closed breaker that opens after `max_failures` in a row, for `pause` and up to a
    /// quarter more.
    pub(crate) fn new(max_failures: u32, pause: Duration) -> Self {
        Self { state: Mutex::new((State::Closed { failures: 0 }, 0)), max_failures, pause }
    }

    /// Returns a permit for a read at `now`, or `None` if the breaker is open.
    pub(crate) fn begin(&self, now: Instant) -> Option<Permit<'_>> {
        let (state, connection) = &mut *self.lock();
        let is_probe = match state {
            State::Closed { .. } => false,
            State::Open { until } if until.is_some_and(|until| now >= until) => {
                *state = State::HalfOpen;
                true
            }
            State::Open { .. } | State::HalfOpen => return None,
        };
        Some(Permit { breaker: self, is_probe, connection: *connection })
    }

    /// Returns `true` if reads are stopped, or if a probe is in progress.
    pub(crate) fn is_open(&self) -> bool {
        !matches!(self.lock().0, State::Closed { .. })
    }

    /// Closes the breaker, as there is another connection.
    pub(crate) fn close(&self) {
        let (state, connection) = &mut *self.lock();
        *state = State::Closed { failures: 0 };
        *connection += 1;
    }

    fn lock(&self) -> MutexGuard<'_, (State, u64)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit<'_> {
    /// Records that the server answered.
    pub(crate) fn succeed(mut self) {
        let (state, connection) = &mut *self.breaker.lock();
        if *connection == self.connection && (self.is_probe || matches!(state, State::Closed { .. })) {
            *state = State::Closed { failures: 0 };
        }
        self.is_probe = false;
    }

    /// Records that the server did not answer.
    pub(crate) fn fail(mut self, now: Instant) {
        self.count_failure(now);
        self.is_probe = false;
    }

    fn count_failure(&self, now: Instant) {
        let (state, connection) = &mut *self.breaker.lock();
        if *connection != self.connection {
            return;
        }
        let Breaker { max_failures, pause, .. } = *self.breaker;
        let opens = match state {
            State::Closed { failures } => {
                *failures += 1;
                *failures >= max_failures
            }
            State::HalfOpen => self.is_probe,
            State::Open { .. } => false,
        };
        if opens {
            *state = State::Open { until: now.checked_add(pause.saturating_add(chance::below(pause / 4))) };
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.is_probe {
            self.count_failure(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(100);

    fn open() -> (Breaker, Instant) {
        let (breaker, now) = (Breaker::new(2, PAUSE), Instant::now());
        for _ in 0..2 {
            breaker.begin(now).expect("it is closed").fail(now);
        }
        (breaker, now)
    }

    #[test]
    fn failures_in_a_row_open_it() {
        let (breaker, now) = open();
        assert!(breaker.is_open() && breaker.begin(now).is_none());
        assert!(breaker.begin(now + PAUSE - Duration::from_nanos(1)).is_none());
    }

    #[test]
    fn success_between_failures_keeps_it_closed() {
        let (breaker, now) = (Breaker::new(2, PAUSE), Instant::now());
        for _ in 0..3 {
            breaker.begin(now).expect("it is closed").fail(now);
            breaker.begin(now).expect("it is closed").succeed();
        }
        assert!(!breaker.is_open());
    }

    #[test]
    fn one_probe_after_the_pause_decides() {
        let (breaker, now) = open();
        let later = now + 2 * PAUSE;
        let probe = breaker.begin(later).expect("the pause is over");
        assert!(breaker.begin(later).is_none());
        probe.fail(later);
        assert!(breaker.begin(later).is_none());
        let last = later + 2 * PAUSE;
        breaker.begin(last).expect("the pause is over").succeed();
        assert!(breaker.begin(last).is_some() && !breaker.is_open());
    }

    #[test]
    fn reads_over_a_former_connection_do_not_count() {
        let (breaker, now) = (Breaker::new(1, PAUSE), Instant::now());
        let former = breaker.begin(now).expect("it is closed");
        breaker.close();
        former.fail(now);
        assert!(!breaker.is_open());
        breaker.begin(now).expect("it is closed").fail(now);
        assert!(breaker.is_open());
    }

    #[test]
    fn pause_without_an_end_never_ends() {
        let (breaker, now) = (Breaker::new(1, Duration::MAX), Instant::now());
        breaker.begin(now).expect("it is closed").fail(now);
        assert!(breaker.begin(now + PAUSE).is_none());
    }

    #[test]
    fn probe_that_is_given_up_opens_it_again() {
        let (breaker, now) = open();
        let later = now + 2 * PAUSE;
        drop(breaker.begin(later));
        assert!(breaker.begin(Instant::now()).is_none());
        assert!(breaker.is_open());
    }
}
