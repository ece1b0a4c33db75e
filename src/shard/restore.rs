//! Restoring the entries of a snapshot into a shard.
//!
//! A restored entry is written like a new one. It keeps its place in the policy and its visits.

use core::time::Duration;

use super::save::SavedEntry;
use super::write::NewEntry;
use super::writer::Writer;
use super::{Shard, State};
use crate::expiry::{HasExpired, Schedule};
use crate::hash::KeyHash;
use crate::namespace::WriteCount;
use crate::units::MAX_VISITS;

/// The result of restoring an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RestoredEntry {
    Stored,
    /// It has expired since it was saved.
    Expired,
    /// There is no space for it.
    NoSpace,
    /// There is an entry under its key.
    Present,
}

impl Shard {
    /// Restores the policy's state, before the first entry.
    pub(crate) fn restore_policy(&self, state: &[u8]) {
        self.write(|writer| writer.state.evictor.restore_state(state));
    }

    /// Restores a part of what the policy remembers of keys, before the first entry.
    pub(crate) fn restore_history(&self, part: usize, bytes: &[u8]) {
        self.write(|writer| writer.state.evictor.restore_history(part, bytes));
    }

    /// Restores how full the ring may be. Called before the first entry and after the last.
    /// Restoring looks like traffic in which nothing dies, and would move the target.
    pub(crate) fn restore_live_target(&self, target: u32) {
        self.write(|writer| {
            writer.state.cleaner.set_target(target);
            writer.update_capacity();
        });
    }
}

impl Writer<'_> {
    /// Restores an entry. `passed` returns the time since the moment from which its times left
    /// count. `knows_standing` says that the policy is of the kind that has given the standing.
    pub(crate) fn restore(
        &mut self,
        hash: KeyHash,
        entry: &SavedEntry<'_>,
        passed: impl FnOnce() -> Duration,
        knows_standing: bool,
    ) -> RestoredEntry {
        let schedule = match self.schedule_restored(entry, passed) {
            Ok(Ok(schedule)) => schedule,
            Ok(Err(HasExpired)) => return RestoredEntry::Expired,
            Err(NoWheel) => return RestoredEntry::NoSpace,
        };
        if self.state.entries.find(hash, entry.key).is_some() {
            return RestoredEntry::Present;
        }
        let (key, value, schedule) = (entry.key, entry.value, &schedule);
        let new = NewEntry { hash, lane: None, key, value, schedule, keeps_idle_stamp: false };
        match self.restore_entry(&new, entry, knows_standing) {
            Some(()) => RestoredEntry::Stored,
            None => RestoredEntry::NoSpace,
        }
    }

    fn schedule_restored(
        &mut self,
        entry: &SavedEntry<'_>,
        passed: impl FnOnce() -> Duration,
    ) -> Result<Result<Schedule, HasExpired>, NoWheel> {
        if entry.times.are_endless() {
            return Ok(Ok(Schedule::ENDLESS));
        }
        let now = self.prepare_wheel().map_err(|_| NoWheel)?;
        // After the shard's time: see `expiry/left.rs`.
        Ok(self.shard.rules.schedule_restored(&entry.times, passed(), now, self.shard.time.reached()))
    }

    /// Writes an entry whose key is absent, and gives it its place in the policy. Returns `None` if
    /// there is no space.
    fn restore_entry(&mut self, new: &NewEntry<'_>, entry: &SavedEntry<'_>, knows_standing: bool) -> Option<()> {
        let (hash, draft, removal) = (new.hash, &new.draft(), new.schedule.removal);
        let layout = self.ring().layout(draft);
        let charge = layout.charge();
        if !self.may_fit(&layout) {
            return None;
        }
        self.make_index_room();
        // The policy has no newcomer while room is made, so the entries that it knows leave.
        let State { evictor, pending, .. } = &mut *self.state;
        evictor.settle(pending);
        self.take_for_growth();
        self.evict_down_to_fit(charge);
        let location = self.write_entry(&layout, draft)?;
        let Some(lane) = self.state.entries.free_lane(hash) else {
            self.state.entries.discard(location);
            return None;
        };
        self.state.counts.inserts += 1;
        self.shard.registry.count(draft.key, WriteCount::Inserts);
        self.state.counts.inserted_bytes += charge as u64;
        let id = lane.id();
        self.state.entries.publish(lane, hash, location);
        self.state.entries.table().set_visits(id, entry.visits.min(MAX_VISITS));
        let standing = knows_standing.then_some(entry.standing);
        let State { evictor, pending, .. } = &mut *self.state;
        evictor.restore(pending, id, hash, charge, standing);
        self.file(id, removal);
        self.after_store(layout.charge());
        Some(())
    }
}

/// There is no memory for the wheel that an entry with a deadline needs.
struct NoWheel;
