//! The notices of a write to the listener, once the lock is free.

use std::sync::Arc;

use crate::removal::{Notifier, Removals};

/// Entries that a write has removed. The listener is notified of them when this is dropped, after
/// the unlock.
#[must_use = "the listener is notified when this is dropped"]
#[derive(Default)]
pub(crate) struct Notice<'a> {
    notifier: Option<&'a Arc<Notifier>>,
    removals: Option<Box<Removals>>,
}

impl<'a> Notice<'a> {
    pub(super) fn new(notifier: Option<&'a Arc<Notifier>>, removals: Option<Box<Removals>>) -> Self {
        Self { notifier, removals }
    }

    /// Returns `true` if it is time to notify the listener, although more entries may come.
    pub(crate) fn is_long(&self) -> bool {
        self.removals.as_ref().is_some_and(|removals| removals.are_many())
    }

    /// Adds entries of the same cache that were removed later.
    pub(crate) fn join(&mut self, mut later: Self) {
        self.notifier = self.notifier.or(later.notifier.take());
        match (&mut self.removals, later.removals.take()) {
            (Some(removals), Some(later)) => removals.append(&later),
            (removals @ None, later) => *removals = later,
            (Some(_), None) => {}
        }
    }

    /// Notifies the listener, if there is anything to notify it of.
    #[inline(never)]
    fn notify(&mut self, notifier: &Arc<Notifier>) {
        let removals = self.removals.take();
        if removals.is_some() || notifier.has_deferred() {
            notifier.notify(removals.map(|removals| *removals));
        }
    }

    /// Leaves the notification to the next write.
    pub(super) fn defer(mut self) {
        if let (Some(removals), Some(notifier)) = (self.removals.take(), self.notifier.take()) {
            notifier.defer(*removals);
        }
    }
}

impl Drop for Notice<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(notifier) = self.notifier {
            self.notify(notifier);
        }
    }
}
