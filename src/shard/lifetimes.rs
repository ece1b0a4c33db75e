//! Deadlines of entries that are present: reading, changing and removing them.

use core::time::Duration;

use super::Shard;
use super::expire::Presence;
use super::lookup::FoundEntry;
use super::space::NoSpace;
use super::write::{NewEntry, Stored};
use super::writer::Writer;
use crate::expiry::{Freshness, Remaining, Schedule};
use crate::hash::KeyHash;
use crate::reclaim::{Live, Slot};
use crate::removal::RemovalCause;
use crate::ring::{OwnedValue, StampsAt};
use crate::units::{EntryId, Stamp, Stamps, Tick};

/// The state of an entry at some moment, as far as time is concerned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Status {
    pub(crate) freshness: Freshness,
    /// The time until its deadline.
    pub(crate) left: Remaining,
    /// `true` if a load of it has failed, and the next one is postponed.
    pub(crate) has_failed: bool,
    /// `true` if its refresh is near.
    pub(crate) is_refresh_near: bool,
}

impl Status {
    const ENDLESS: Self =
        Self { freshness: Freshness::Fresh, left: Remaining::Forever, has_failed: false, is_refresh_near: false };

    /// The status of an entry that has left.
    pub(super) const GONE: Self =
        Self { freshness: Freshness::Gone, left: Remaining::For(Duration::ZERO), ..Self::ENDLESS };
}

impl Shard {
    /// Returns how long the entry under `key` will live, or `None` if reads would not find it.
    pub(crate) fn remaining(&self, hash: KeyHash, key: &[u8]) -> Option<Remaining> {
        let status = self.status(hash, key, Duration::ZERO)?;
        status.freshness.is_served().then_some(status.left)
    }

    /// Returns the status of the entry under `key`, unless it is past its removal. A refresh is
    /// near if it is no further ahead than `near`.
    pub(crate) fn status(&self, hash: KeyHash, key: &[u8], near: Duration) -> Option<Status> {
        let mut slot = Slot::take();
        let (_, status) = self.find_with_status(hash, key, near, &mut slot)?;
        (status.freshness != Freshness::Gone).then_some(status)
    }

    /// Returns the entry under `key`, whatever its deadline, with its [status](Self::status).
    pub(super) fn find_with_status<'a>(
        &'a self,
        hash: KeyHash,
        key: &[u8],
        near: Duration,
        slot: &'a mut Slot,
    ) -> Option<(FoundEntry<'a>, Status)> {
        // The time is reached before the entry is looked for: see `expiry/mod.rs`.
        let reached = || self.time.reached();
        self.lookup.find(hash, key, slot, reached, |live, stamps, reached| self.status_of(live, stamps, reached, near))
    }

    /// Returns the status of an entry, or `None` if it may have been moved or replaced since it was
    /// found. `reached` is the shard's time before the entry was found.
    pub(super) fn status_of(
        &self,
        live: Live<'_>,
        stamps: StampsAt<'_>,
        reached: Tick,
        near: Duration,
    ) -> Option<Status> {
        if stamps.set.is_empty() {
            return Some(Status::ENDLESS);
        }
        let now = self.time.now(reached); // First, as what was postponed before counts.
        let times = self.rules.times_by(|stamp| self.lookup.ring.arena().stamp_at(stamps, stamp), reached);
        let left = times.deadline().map_or(Remaining::Forever, |deadline| Remaining::For(now.until(deadline)));
        let may_have_changed = left != Remaining::Forever || stamps.set.has(Stamp::Idle);
        if may_have_changed && self.lookup.ring.arena().has_left(live) {
            return None;
        }
        let mut freshness = times.freshness(now.tick());
        if stamps.set.is_negative() && freshness.is_served() {
            freshness = Freshness::Negative;
        }
        let has_failed = times.has_failed(now.tick());
        let is_refresh_near = times.is_refresh_near(now.tick(), self.rules.refresh_after(now, near));
        Some(Status { freshness, left, has_failed, is_refresh_near })
    }
}

impl Writer<'_> {
    /// Sets the entry under `key` to expire after `ttl`. Returns `true` if there is one that reads
    /// find. Its idle deadline stays.
    ///
    /// An entry without the stamp for it is written again. One that cannot get its deadline is
    /// removed.
    pub(crate) fn set_ttl(&mut self, hash: KeyHash, key: &[u8], ttl: Duration) -> Result<bool, NoSpace> {
        self.drain_touches();
        let present = self.find_present(hash, key);
        if ttl.is_zero() {
            // The entry has ended, and so has what is older.
            self.detach_flight(key);
            if let Presence::Negative(_) = present {
                self.remove_present(present, RemovalCause::Expired);
            }
        }
        let Presence::Fresh(id) = present else { return Ok(false) };
        self.note_change(key);
        if ttl.is_zero() && !self.has_stale_period(id) {
            self.remove_resident(id, RemovalCause::Expired); // Needs no wheel.
            return Ok(true);
        }
        self.set_deadline(hash, key, id, ttl).map_err(|NoSpace| self.reject(hash, key))
    }

    fn has_stale_period(&self, id: EntryId) -> bool {
        let stamps = self.state.entries.live(id).map_or(Stamps::NONE, |live| self.state.entries.stamps(live));
        self.shard.rules.stale_ticks(&stamps) > 0
    }

    /// Sets a deadline in the future, or the removal of an entry with a stale period.
    fn set_deadline(&mut self, hash: KeyHash, key: &[u8], id: EntryId, ttl: Duration) -> Result<bool, NoSpace> {
        let now = self.prepare_wheel()?;
        // Creating the wheel may have evicted it.
        let Some(live) = self.state.entries.live(id) else { return Ok(false) };
        let present = self.state.entries.stamps(live);
        let Schedule { stamps, removal } =
            self.shard.rules.schedule_with_ttl(&present, ttl, now, self.shard.time.reached());
        self.sample_change(hash, &stamps);
        if stamps.present() == present.present() {
            self.set_removal(id, &stamps);
            self.file(id, removal);
        } else {
            // Held, as making room may evict the entry whose bytes are copied.
            let (OwnedValue::Pinned(value) | OwnedValue::Copied(value)) = self.shard.lookup.ring.value(live);
            let (value, schedule) = (&*value, &Schedule { stamps, removal });
            let entry = NewEntry { hash, lane: None, key, value, schedule, keeps_idle_stamp: true };
            return self.rewrite(id, &entry);
        }
        Ok(true)
    }

    /// Writes an entry again with other stamps. Returns `false` if the policy has evicted it
    /// meanwhile. The listener is notified only if the entry is lost.
    fn rewrite(&mut self, id: EntryId, entry: &NewEntry<'_>) -> Result<bool, NoSpace> {
        self.rewritten = Some(id);
        let stored = self.store_entry(entry, Presence::Fresh(id));
        self.rewritten = None;
        let is_stored = stored.map(|stored| stored == Stored::Updated);
        if is_stored != Ok(true) && self.state.entries.find(entry.hash, entry.key).is_none() {
            self.note_removal(&entry.draft());
        }
        is_stored
    }

    /// Removes the deadlines of the entry under `key`. Returns `true` if there is one that reads
    /// find.
    pub(crate) fn persist(&mut self, hash: KeyHash, key: &[u8]) -> bool {
        self.drain_touches();
        let Presence::Fresh(id) = self.find_present(hash, key) else { return false };
        self.note_change(key);
        self.make_persistent(id);
        self.sample_change(hash, &Stamps::NONE);
        true
    }
}
