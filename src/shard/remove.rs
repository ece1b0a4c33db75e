//! Taking entries out of a shard: from the policy, the index and the ring, with a copy for the
//! listener.

use super::State;
use super::entries::Known;
use super::expire::Presence;
use super::flights::{Flights, Pass};
use super::touch::TouchLog;
use super::writer::Writer;
use crate::namespace::WriteCount;
use crate::removal::RemovalCause;
use crate::ring::Draft;
use crate::units::EntryId;

impl Writer<'_> {
    /// Brings the policy up to date with what readers did.
    #[inline]
    pub(crate) fn drain_touches(&mut self) {
        if let Some(touches) = self.shard.touches.as_ref().filter(|touches| touches.has_any()) {
            self.drain(touches);
        }
        if let Some(misses) = &self.shard.misses {
            let State { evictor, pending, .. } = &mut *self.state;
            misses.drain(|hash| evictor.missed(pending, hash));
        }
    }

    #[inline(never)]
    fn drain(&mut self, touches: &TouchLog) {
        let State { evictor, pending, entries, .. } = &mut *self.state;
        touches.drain(|id| {
            // The id may belong to another entry by now, or to none: entries leave, and a larger
            // index gives them other ids.
            if entries.live(id).is_some() {
                evictor.touch(pending, id);
            }
        });
    }

    /// Detaches the flight of a key, so that its result is not stored. The result may be older than
    /// this write.
    #[inline]
    pub(crate) fn detach_flight(&mut self, key: &[u8]) {
        if !self.state.flights.is_empty() {
            self.state.flights.remove(key);
        }
    }

    /// Detaches all flights, and returns them. They are many, so they are to be dropped without the
    /// lock.
    pub(super) fn detach_flights(&mut self) -> Flights {
        core::mem::take(&mut self.state.flights)
    }

    /// Detaches the flights of the keys that satisfy `is_meant`, among the next ones of a pass.
    /// Returns `true` if more are left.
    pub(crate) fn detach_some_flights(&mut self, pass: &mut Pass, is_meant: impl Fn(&[u8]) -> bool) -> bool {
        self.state.flights.remove_some(pass, is_meant)
    }

    /// Removes the entry that is present, if one is. Its touches have been drained.
    pub(super) fn remove_present(&mut self, present: Presence, cause: RemovalCause) {
        if let Some(id) = present.id() {
            self.remove_resident(id, cause);
        }
    }

    /// Removes an entry whose touches have been drained.
    pub(super) fn remove_resident(&mut self, id: EntryId, cause: RemovalCause) {
        self.sample_removal_of(id);
        self.remove_expected(id, cause);
    }

    /// Like [`remove_resident`](Self::remove_resident), for an entry of which the advisor knows in
    /// another way that it leaves: its deadline has passed, or all entries are removed.
    pub(super) fn remove_expected(&mut self, id: EntryId, cause: RemovalCause) {
        self.count_departure(
            id,
            if cause == RemovalCause::Expired { WriteCount::Expirations } else { WriteCount::Removals },
        );
        self.forget(id);
        self.unlink(id, Known::default(), cause);
        match cause {
            RemovalCause::Expired => self.state.counts.expirations += 1,
            _ => self.state.counts.removals += 1,
        }
    }

    /// Removes a resident from the policy that the policy has not chosen.
    pub(super) fn forget(&mut self, id: EntryId) {
        let State { evictor, pending, entries, .. } = &mut *self.state;
        evictor.forget(pending, entries, id);
    }

    /// Takes an entry, which the policy has forgotten, out of the index and the ring.
    #[inline(always)]
    pub(super) fn unlink(&mut self, id: EntryId, known: Known, cause: RemovalCause) {
        self.note_removal_of(id, cause);
        self.note_departure(id);
        self.state.entries.unlink(id, known);
    }

    /// Counts an entry of a namespace that is about to leave.
    #[inline]
    pub(super) fn count_departure(&self, id: EntryId, count: WriteCount) {
        if !self.shard.registry.is_empty() {
            self.count_departure_of_scope(id, count);
        }
    }

    #[inline(never)]
    fn count_departure_of_scope(&self, id: EntryId, count: WriteCount) {
        if let Some(live) = self.state.entries.live(id) {
            self.shard.registry.count(self.ring().entry(live).key, count);
        }
    }

    /// Notes an entry for the listener that the policy evicted before it was published.
    #[inline]
    pub(super) fn note_removal(&mut self, draft: &Draft<'_>) {
        self.shard.registry.count(draft.key, WriteCount::Evictions);
        let is_noted = self.shard.registry.has_listeners() && self.shard.notifier.wants(draft.key);
        if is_noted && !draft.stamps.present().is_negative() {
            self.removals.get_or_insert_default().push(draft.key, draft.value, RemovalCause::Evicted);
        }
    }

    /// Notes an entry for the listener that is about to be unlinked or replaced.
    #[inline]
    pub(super) fn note_removal_of(&mut self, id: EntryId, cause: RemovalCause) {
        if self.shard.registry.has_listeners() {
            self.note_for_listener(id, cause);
        }
    }

    fn note_for_listener(&mut self, id: EntryId, cause: RemovalCause) {
        if self.rewritten != Some(id) {
            if let Some(live) = self.state.entries.live(id) {
                let (entry, stamps) = self.state.entries.ring().arena().entry_with_stamps(live);
                // There never was a value under the key of a negative entry.
                if !stamps.set.is_negative() && self.shard.notifier.wants(entry.key) {
                    self.removals.get_or_insert_default().push(entry.key, entry.value, cause);
                }
            }
        }
    }

    /// Returns `true` if it is time to notify the listener, although more entries may leave.
    pub(super) fn removals_are_many(&self) -> bool {
        self.removals.as_ref().is_some_and(|removals| removals.are_many())
    }
}
