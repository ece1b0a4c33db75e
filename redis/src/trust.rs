//! [`Trust`]: until when the local entries of a namespace may be served.
//!
//! Local entries are coherent while their invalidations arrive. An answered ping proves that all
//! changes before the ping was sent have been applied: Redis sends invalidations and answers in
//! one stream. So local entries may be served until `max_staleness` after the last answered ping
//! was sent. Each read compares the clock with that moment. No task has to be on time for it.
//!
//! ```text
//!             attach: reset                     past the moment, or a lost fence: reset
//!   detached ---------------> tracked until t -----------------------------------------> detached
//!                              ^     | an answered ping moves t
//!                              +-----+
//! ```
//!
//! # Invariants
//!
//! 1. Each change between the states resets the namespace while the state is `CHANGING`. Reads wait
//!    for the end of a change.
//! 2. A load asks for the state after its flight has begun. If it reads a state, and the namespace
//!    is reset after that, its result is not stored. So an entry that was stored as a tracked one
//!    is never served as a detached one.
//!
//! # Synchronization
//!
//! `until` is written under `changes`. A Release store of a state after the reset pairs with the
//! Acquire load of a reader: the reader finds the namespace reset. `CHANGING` is stored before the
//! reset, so a flight that began after the reset reads it, or a later state. The models in `loom`
//! check both.

use core::sync::atomic::Ordering;
use core::time::Duration;
use std::sync::PoisonError;
use std::time::Instant;

use crate::sync::{AtomicU64, Mutex};

#[cfg(all(test, bytecache_loom))]
mod loom;

/// No invalidations arrive. Local entries have short lifetimes of their own.
const DETACHED: u64 = u64::MAX;
/// The namespace is being reset.
const CHANGING: u64 = u64::MAX - 1;

#[derive(Debug)]
pub(crate) struct Trust {
    base: Instant,
    /// Nanoseconds from `base` until which local entries may be served, or a state.
    until: AtomicU64,
    changes: Mutex<()>,
    max_staleness: Duration,
}

impl Trust {
    /// Creates a detached state.
    pub(crate) fn new(max_staleness: Duration) -> Self {
        Self { base: Instant::now(), until: AtomicU64::new(DETACHED), changes: Mutex::new(()), max_staleness }
    }

    /// Returns `true` if local entries may be served without [`settle`](Self::settle).
    pub(crate) fn may_read(&self) -> bool {
        match self.until.load(Ordering::Acquire) {
            DETACHED => true,
            CHANGING => false,
            until => self.nanos(Instant::now()) < until,
        }
    }

    /// Returns `true` if invalidations arrive, or did until a short time ago. A load asks after its
    /// flight has begun.
    pub(crate) fn is_tracked(&self) -> bool {
        self.until.load(Ordering::Acquire) < CHANGING
    }

    /// Begins to serve entries whose invalidations arrive since `sent`, after `reset`.
    pub(crate) fn attach(&self, sent: Instant, reset: impl FnOnce()) {
        let _changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        self.change_locked(reset, self.nanos(sent + self.max_staleness));
    }

    /// Records that all invalidations before `sent` have arrived. Returns `false` if the namespace
    /// is detached.
    pub(crate) fn extend(&self, sent: Instant) -> bool {
        let until = self.nanos(sent + self.max_staleness);
        let _changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        // Relaxed: all writes are under the lock.
        let current = self.until.load(Ordering::Relaxed);
        let is_tracked = current < CHANGING;
        if is_tracked {
            // Release keeps the pairing of `attach`; a reader that sees this moment sees its reset.
            self.until.store(u64::max(current, until), Ordering::Release);
        }
        is_tracked
    }

    /// Detaches the namespace after `reset` if local entries may not be served any longer. Returns
    /// `true` if it did.
    pub(crate) fn settle(&self, reset: impl FnOnce()) -> bool {
        let _changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = !self.may_read();
        if is_due {
            self.change_locked(reset, DETACHED);
        }
        is_due
    }

    /// Detaches the namespace after `reset`, as invalidations are known to be lost. Does nothing if
    /// it is detached: entries of that state have short lifetimes, and never count as tracked.
    /// Returns `true` if it did.
    pub(crate) fn detach(&self, reset: impl FnOnce()) -> bool {
        let _changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        // Relaxed: all writes are under the lock.
        let was_tracked = self.until.load(Ordering::Relaxed) != DETACHED;
        if was_tracked {
            self.change_locked(reset, DETACHED);
        }
        was_tracked
    }

    /// Changes the state. The caller holds the lock.
    fn change_locked(&self, reset: impl FnOnce(), next: u64) {
        // SeqCst, as nothing weaker is needed on this rare path.
        self.until.store(CHANGING, Ordering::SeqCst);
        reset();
        self.until.store(next, Ordering::SeqCst);
    }

    fn nanos(&self, at: Instant) -> u64 {
        let nanos = at.saturating_duration_since(self.base).as_nanos();
        u64::try_from(nanos).unwrap_or(u64::MAX).min(CHANGING - 1)
    }
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    fn passed() -> Instant {
        Instant::now().checked_sub(2 * LONG).unwrap_or_else(Instant::now)
    }

    #[test]
    fn answered_ping_extends_trust_and_never_shortens_it() {
        let trust = Trust::new(LONG);
        trust.attach(Instant::now(), || ());
        assert!(trust.may_read() && trust.is_tracked());
        assert!(trust.extend(passed()));
        assert!(trust.may_read());
    }

    #[test]
    fn namespace_past_its_moment_is_reset_once_and_detached() {
        let trust = Trust::new(Duration::ZERO);
        trust.attach(Instant::now(), || ());
        assert!(!trust.may_read() && trust.is_tracked());
        let resets = Cell::new(0);
        assert!(trust.settle(|| resets.set(resets.get() + 1)));
        assert!(!trust.settle(|| resets.set(resets.get() + 1)));
        assert_eq!(resets.get(), 1);
        assert!(trust.may_read() && !trust.is_tracked());
    }

    #[test]
    fn detached_namespace_is_not_reset_again() {
        let trust = Trust::new(LONG);
        trust.attach(Instant::now(), || ());
        let resets = Cell::new(0);
        for _ in 0..2 {
            trust.detach(|| resets.set(resets.get() + 1));
        }
        assert_eq!(resets.get(), 1);
        assert!(!trust.is_tracked());
    }

    #[test]
    fn late_ping_does_not_attach() {
        let trust = Trust::new(LONG);
        assert!(!trust.extend(Instant::now()));
        assert!(!trust.is_tracked());
    }

    #[test]
    fn nothing_is_served_or_tracked_during_a_reset() {
        let trust = Trust::new(LONG);
        trust.attach(Instant::now(), || assert!(!trust.may_read() && !trust.is_tracked()));
    }
}
