//! [`Generation`]: what an instance knows of the number of a namespace's generation.
//!
//! The number is a tracked key, so a change of it arrives as an invalidation. A number that was
//! asked for before an invalidation is never kept after it.
//!
//! The number only grows. A server that evicts the key, or that loses a write in a failover, would
//! go back to an older generation, and bring its entries back. An instance that knows a higher
//! number advances such a number beyond it.
//!
//! # Invariants
//!
//! 1. Each invalidation, reset and change by this instance advances `events` before the local
//!    entries are invalidated.
//! 2. A number is kept only if `events` has not advanced since before its command was sent, and if
//!    this instance is not changing the number.
//! 3. A number that is known stays so until the next event. A command may tell a higher one before
//!    its invalidation arrives. Until then, the local tier has entries of the known one, and gets
//!    none of another.

use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
struct State {
    known: Option<i64>,
    /// The highest number that Redis has told.
    highest: i64,
    events: u64,
    /// Calls of `invalidate_all` in progress.
    changes: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Generation {
    state: Mutex<State>,
    /// Held while a number that has gone back is advanced: once for all that have seen it.
    pub(crate) advancing: tokio::sync::Mutex<()>,
}

/// The moment before a command was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    events: u64,
    /// The highest number by then. Answers may be handled in another order than they were given,
    /// so a later one says nothing of this command.
    highest: i64,
}

/// A change of the number by this instance. It is in progress until it is dropped.
#[derive(Debug)]
pub(crate) struct Change<'a> {
    generation: &'a Generation,
    began: Asked,
}

impl Generation {
    /// Returns the number, if it is known.
    pub(crate) fn known(&self) -> Option<i64> {
        self.lock().known
    }

    /// Returns the moment for a later [`learn`](Self::learn).
    pub(crate) fn ask(&self) -> Asked {
        self.lock().asked()
    }

    /// Returns `true` if the number may have changed since a moment.
    pub(crate) fn has_changed_since(&self, asked: Asked) -> bool {
        self.lock().events != asked.events
    }

    /// Keeps an answer of Redis, unless it may be outdated or another number is known. Returns
    /// `true` if it is the known number now.
    pub(crate) fn learn(&self, asked: Asked, number: i64) -> bool {
        let mut state = self.lock();
        state.highest = state.highest.max(number);
        let is_current = state.events == asked.events && state.changes == 0;
        is_current && *state.known.get_or_insert(number) == number
    }

    /// Forgets the number, as it has changed.
    pub(crate) fn forget(&self) {
        Self::advance(&mut self.lock());
    }

    /// Begins a change by this instance. The number is unknown meanwhile.
    pub(crate) fn begin_change(&self) -> Change<'_> {
        let mut state = self.lock();
        Self::advance(&mut state);
        state.changes += 1;
        Change { generation: self, began: state.asked() }
    }

    fn advance(state: &mut State) {
        state.known = None;
        state.events += 1;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn asked(&self) -> Asked {
        Asked { events: self.events, highest: self.highest }
    }
}

impl Asked {
    /// Returns how much has to be added to a number of Redis that has gone back since then, or
    /// `None` if it has not.
    pub(crate) fn lag(&self, number: i64) -> Option<i64> {
        let highest = self.highest;
        (number < highest).then(|| highest.saturating_sub(number).saturating_add(1))
    }
}

impl Change<'_> {
    /// Returns the moment at which the change began.
    pub(crate) fn began(&self) -> Asked {
        self.began
    }

    /// Keeps the number that this instance has set, unless another change came between.
    pub(crate) fn finish(self, number: i64) {
        let mut state = self.generation.lock();
        state.highest = state.highest.max(number);
        let is_current = state.events == self.began.events && state.changes == 1;
        Generation::advance(&mut state);
        state.known = is_current.then_some(number);
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        self.generation.lock().changes -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_from_before_an_invalidation_is_not_kept() {
        let generation = Generation::default();
        let asked = generation.ask();
        generation.forget();
        assert!(!generation.learn(asked, 5));
        assert_eq!(generation.known(), None);
        assert!(generation.learn(generation.ask(), 6));
        assert_eq!(generation.known(), Some(6));
    }

    #[test]
    fn answers_during_an_own_change_are_not_kept() {
        let generation = Generation::default();
        let change = generation.begin_change();
        assert!(!generation.learn(generation.ask(), 5));
        change.finish(6);
        assert_eq!(generation.known(), Some(6));
    }

    #[test]
    fn own_change_that_another_overtook_is_not_kept() {
        let generation = Generation::default();
        let change = generation.begin_change();
        generation.forget();
        change.finish(6);
        assert_eq!(generation.known(), None);
        assert!(generation.learn(generation.ask(), 7));
    }

    #[test]
    fn number_that_has_gone_back_lags_behind() {
        let generation = Generation::default();
        assert_eq!(generation.ask().lag(0), None);
        generation.learn(generation.ask(), 5);
        assert_eq!(generation.ask().lag(5), None);
        assert_eq!(generation.ask().lag(0), Some(6));
        generation.begin_change().finish(8);
        assert_eq!(generation.ask().lag(7), Some(2));
        assert_eq!(generation.ask().lag(i64::MIN), Some(i64::MAX));
    }

    #[test]
    fn number_that_is_handled_late_has_not_gone_back() {
        let generation = Generation::default();
        let (first, change) = (generation.ask(), generation.begin_change());
        generation.learn(generation.ask(), 5);
        assert_eq!(first.lag(4), None);
        assert_eq!(change.began().lag(4), None);
    }

    #[test]
    fn number_that_is_told_before_its_invalidation_waits_for_it() {
        let generation = Generation::default();
        let [early, late] = [generation.ask(), generation.ask()];
        assert!(generation.learn(early, 5) && !generation.learn(late, 6));
        assert_eq!(generation.known(), Some(5));
        assert!(generation.learn(late, 5));
        generation.forget();
        assert!(generation.learn(generation.ask(), 6));
        assert_eq!(generation.known(), Some(6));
    }

    #[test]
    fn two_own_changes_leave_the_number_unknown() {
        let generation = Generation::default();
        let (first, second) = (generation.begin_change(), generation.begin_change());
        second.finish(7);
        first.finish(6);
        assert_eq!(generation.known(), None);
    }
}
