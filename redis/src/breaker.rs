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
    Closed { failures: u32 },
    Open { until: Instant },
    HalfOpen,
}

/// Counts reads that failed in a row.
#[derive(Debug)]
pub(crate) struct Breaker {
    state: Mutex<State>,
    max_failures: u32,
    pause: Duration,
}

/// The permit for one read. A permit that is dropped without a result counts as a failure of a
/// probe, and as nothing otherwise.
#[derive(Debug)]
#[must_use]
pub(crate) struct Permit<'a> {
    breaker: &'a Breaker,
    is_probe: bool,
}

impl Breaker {
    /// Creates a closed breaker that opens after `max_failures` in a row, for `pause` and up to a
    /// quarter more.
    pub(crate) fn new(max_failures: u32, pause: Duration) -> Self {
        Self { state: Mutex::new(State::Closed { failures: 0 }), max_failures, pause }
    }

    /// Returns a permit for a read at `now`, or `None` if the breaker is open.
    pub(crate) fn begin(&self, now: Instant) -> Option<Permit<'_>> {
        let mut state = self.lock();
        match *state {
            State::Closed { .. } => Some(Permit { breaker: self, is_probe: false }),
            State::Open { until } if now >= until => {
                *state = State::HalfOpen;
                Some(Permit { breaker: self, is_probe: true })
            }
            State::Open { .. } | State::HalfOpen => None,
        }
    }

    /// Returns `true` if reads are stopped, or if a probe is in progress.
    pub(crate) fn is_open(&self) -> bool {
        !matches!(*self.lock(), State::Closed { .. })
    }

    /// Closes the breaker, as there is another connection.
    pub(crate) fn close(&self) {
        *self.lock() = State::Closed { failures: 0 };
    }

    fn fail(&self, is_probe: bool, now: Instant) {
        let mut state = self.lock();
        let opens = match &mut *state {
            State::Closed { failures } => {
                *failures += 1;
                *failures >= self.max_failures
            }
            State::HalfOpen => is_probe,
            State::Open { .. } => false,
        };
        if opens {
            *state = State::Open { until: now + self.pause + chance::below(self.pause / 4) };
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit<'_> {
    /// Records that the server answered.
    pub(crate) fn succeed(mut self) {
        let mut state = self.breaker.lock();
        if self.is_probe || matches!(*state, State::Closed { .. }) {
            *state = State::Closed { failures: 0 };
        }
        self.is_probe = false;
    }

    /// Records that the server did not answer.
    pub(crate) fn fail(mut self, now: Instant) {
        self.breaker.fail(self.is_probe, now);
        self.is_probe = false;
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.is_probe {
            self.breaker.fail(true, Instant::now());
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
    fn probe_that_is_given_up_opens_it_again() {
        let (breaker, now) = open();
        let later = now + 2 * PAUSE;
        drop(breaker.begin(later));
        assert!(breaker.begin(Instant::now()).is_none());
        assert!(breaker.is_open());
    }
}
