//! The reports of a shard to the advisor: reads, stores and removals of sampled keys.
//!
//! A key is sampled if its hash is below `sampled_below`, which is 0 without an advisor. That is
//! one comparison for each operation. The rest is in functions that are seldom called. Hashes of
//! custom hashers have been mixed, so small ones are not more frequent than others.
//!
//! A writer only adds to the queue, and lets no policy of the advisor run: a custom one may be
//! slow, or panic, which would empty the shard.
//!
//! # Synchronization
//!
//! `sampled_below` is Relaxed. It is a copy of the advisor's threshold, which is renewed with each
//! event. With an earlier one, a shard tells of keys that the advisor ignores.

use core::num::NonZeroU64;

use super::Shard;
use super::expire::Presence;
use super::lookup::FoundEntry;
use super::write::NewEntry;
use super::writer::Writer;
use crate::advisor::{Ends, Event, EventKind, Sampling};
use crate::hash::KeyHash;
use crate::reclaim::Live;
use crate::sync::Ordering;
use crate::units::{EntryId, Stamps};

impl Shard {
    /// Tells the advisor of a read, if the key is sampled: if its hash is less than `below`.
    #[inline(always)]
    pub(crate) fn sample_read(&self, hash: KeyHash, below: NonZeroU64, found: Option<&FoundEntry<'_>>) {
        if hash.get() < below.get() {
            // By value, as a reference would force what was found into memory in every read.
            self.note_sampled_read(hash, found.map(|found| found.live()));
        }
    }

    /// Returns the charge of an entry.
    pub(crate) fn charge_of(&self, live: Live<'_>) -> u32 {
        self.lookup.ring.charge_of(live)
    }

    /// Samples the keys that the advisor wants to know of.
    pub(crate) fn begin_sampling(&self) {
        if let Some(sampling) = &self.sampling {
            self.sampled_below.store(sampling.sampler.threshold(), Ordering::Relaxed); // See the module.
        }
    }

    /// Lets the advisor follow the sampled operations, unless another thread is at work.
    #[inline(always)]
    pub(crate) fn drain_samples(&self) {
        if self.sampling.is_some() {
            self.drain_queue();
        }
    }

    /// Lets the advisor follow the sampled operations. Not inlined, as it would enlarge all writes
    /// of a cache without an advisor.
    #[inline(never)]
    fn drain_queue(&self) {
        if let Some(sampling) = &self.sampling {
            sampling.drain_some();
        }
    }

    /// Returns the hash below which keys are sampled, or `None` if the advisor samples none.
    #[inline(always)]
    pub(crate) fn sampled_below(&self) -> Option<NonZeroU64> {
        NonZeroU64::new(self.sampled_below.load(Ordering::Relaxed)) // See the module.
    }

    #[inline(always)]
    fn is_sampling(&self) -> bool {
        self.sampled_below().is_some()
    }

    #[inline(always)]
    fn is_sampled(&self, hash: KeyHash) -> bool {
        hash.get() < self.sampled_below.load(Ordering::Relaxed) // See the module.
    }

    #[cold]
    #[inline(never)]
    fn note_sampled_read(&self, hash: KeyHash, found: Option<Live<'_>>) {
        let kind = match found {
            None => EventKind::Miss,
            Some(live) => {
                let arena = self.lookup.ring.arena();
                let (_, stamps) = arena.entry_with_stamps(live);
                let (deadline, idle) = self.rules.ends(stamps.set, |stamp| arena.stamp_at(stamps, stamp));
                EventKind::Hit { charge: self.charge_of(live), ends: Ends { deadline, idle } }
            }
        };
        self.renew_threshold_by(|sampling| sampling.note(event(hash, kind)));
    }

    /// Tells the advisor of a write, under the lock.
    #[inline(never)]
    fn note_sampled_write(&self, hash: KeyHash, kind: EventKind) {
        self.renew_threshold_by(|sampling| sampling.note_under_lock(event(hash, kind)));
    }

    fn renew_threshold_by(&self, note: impl FnOnce(&Sampling) -> u64) {
        let Some(sampling) = &self.sampling else { return };
        let threshold = note(sampling);
        if threshold != self.sampled_below.load(Ordering::Relaxed) {
            self.sampled_below.store(threshold, Ordering::Relaxed); // See the module.
        }
    }
}

impl Writer<'_> {
    /// Tells the advisor of an entry that was stored, if the key is sampled. An entry that was only
    /// written again with other stamps is none.
    #[inline(always)]
    pub(super) fn sample_store(&self, entry: &NewEntry<'_>, charge: usize) {
        if self.shard.is_sampled(entry.hash) && self.rewritten.is_none() {
            self.note_sampled_store(entry.hash, &entry.schedule.stamps, charge);
        }
    }

    #[cold]
    #[inline(never)]
    fn note_sampled_store(&self, hash: KeyHash, stamps: &Stamps, charge: usize) {
        let (deadline, idle) = self.shard.rules.ends(stamps.present(), |stamp| stamps.get(stamp));
        let charge = u32::try_from(charge).unwrap_or(u32::MAX);
        self.shard.note_sampled_write(hash, EventKind::Store { charge, ends: Ends { deadline, idle } });
    }

    /// Tells the advisor of the removal of a key that is not there, if the key is sampled: a larger
    /// cache might still have it.
    #[inline]
    pub(super) fn sample_absence(&self, hash: KeyHash, present: Presence) {
        if present == Presence::Absent {
            self.sample_removal(hash);
        }
    }

    /// Tells the advisor that reads of a key are to miss, if the key is sampled.
    #[inline]
    fn sample_removal(&self, hash: KeyHash) {
        if self.shard.is_sampled(hash) {
            self.shard.note_sampled_write(hash, EventKind::Removal);
        }
    }

    /// Tells the advisor of an entry that is about to be removed, if its key is sampled.
    #[inline]
    pub(super) fn sample_removal_of(&self, id: EntryId) {
        if self.shard.is_sampling() {
            self.note_removal_by_id(id);
        }
    }

    /// Tells the advisor of an entry that is about to be evicted, if its key is sampled. Returns
    /// the hash, if it was given or had to be computed.
    #[inline]
    pub(super) fn sample_eviction_of(&self, id: EntryId, hash: Option<KeyHash>) -> Option<KeyHash> {
        if self.shard.is_sampling() { self.note_eviction(id, hash) } else { hash }
    }

    #[inline(never)]
    fn note_eviction(&self, id: EntryId, hash: Option<KeyHash>) -> Option<KeyHash> {
        let entries = &self.state.entries;
        let hash = hash.or_else(|| entries.live(id).map(|live| entries.hash_of(live)))?;
        if self.shard.is_sampled(hash) {
            self.shard.note_sampled_write(hash, EventKind::Eviction);
        }
        Some(hash)
    }

    /// Tells the advisor that an entry ends at another time, if its key is sampled.
    #[inline]
    pub(super) fn sample_change(&self, hash: KeyHash, stamps: &Stamps) {
        if self.shard.is_sampled(hash) {
            let (deadline, idle) = self.shard.rules.ends(stamps.present(), |stamp| stamps.get(stamp));
            self.shard.note_sampled_write(hash, EventKind::Change { ends: Ends { deadline, idle } });
        }
    }

    #[inline(never)]
    fn note_removal_by_id(&self, id: EntryId) {
        if let Some(live) = self.state.entries.live(id) {
            self.sample_removal(self.state.entries.hash_of(live));
        }
    }
}

fn event(hash: KeyHash, kind: EventKind) -> Event {
    Event { hash: hash.get(), kind }
}
