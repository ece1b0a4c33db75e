//! What readers do: find an entry under an epoch pin, mark its visit, and hand out its bytes.
//!
//! Two dependent cache misses for a hit (bucket, entry), one for most misses; no lock, no allocation, and no
//! shared write for a key whose visits are at their top.

use super::Shard;
use crate::expiry::Freshness;
use crate::hash::KeyHash;
use crate::index::Table;
use crate::prefetch::prefetch_to_write;
use crate::reclaim::{Live, Pin};
use crate::ring::{Entry, Held};
use crate::units::{EntryId, Stamp, StampSet, Tick};

/// An entry that a reader has found.
#[derive(Clone, Copy)]
pub(crate) struct Found<'a> {
    table: &'a Table,
    id: EntryId,
    pub(super) live: Live<'a>,
    pub(crate) entry: Entry<'a>,
}

/// Whether the policy learned of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visit {
    Noted,
    Dropped,
}

impl Shard {
    /// Asks the processor for what a writer to `hash` will touch, before the lock is taken.
    #[inline]
    pub(crate) fn prefetch_to_write(&self, hash: KeyHash) {
        prefetch_to_write(&self.state);
        self.prefetch_bucket(hash);
    }

    /// Asks the processor to fetch the bucket of `hash`; the shard need not be pinned.
    #[inline]
    pub(crate) fn prefetch_bucket(&self, hash: KeyHash) {
        self.hint.prefetch(hash);
    }

    /// Asks the processor to fetch the beginning of the entry that `hash` probably has.
    #[inline]
    pub(crate) fn prefetch_entry(&self, hash: KeyHash, pin: &Pin) {
        if let Some(location) = self.table.load(pin).guess(hash, pin.into()) {
            self.ring.prefetch(location);
        }
    }

    /// As [`seek`](Self::seek), for an entry that was found already: rarely needed, and so kept out of the way.
    #[cold]
    pub(super) fn seek_again<'a>(&'a self, hash: KeyHash, key: &[u8], pin: &'a Pin) -> Option<Found<'a>> {
        self.seek(hash, key, pin)
    }

    /// The entry under `key`, whatever its deadline, for as long as the pin is held.
    #[inline(always)]
    pub(super) fn seek<'a>(&'a self, hash: KeyHash, key: &[u8], pin: &'a Pin) -> Option<Found<'a>> {
        let table = self.table.load(pin);
        let (id, (live, entry)) = table.find(hash, pin.into(), |live| {
            // All lines of the entry at once: where its value is depends on the first one.
            self.ring.prefetch(live.location());
            let entry = self.ring.entry(live);
            (entry.key == key).then_some((live, entry))
        })?;
        Some(Found { table, id, live, entry })
    }

    /// The entry under `key`, unless it is past its deadline.
    #[inline]
    pub(crate) fn find<'a>(&'a self, hash: KeyHash, key: &[u8], pin: &'a Pin) -> Option<Found<'a>> {
        let reached = self.time.reached(); // Before the entry is looked for: see `expiry/mod.rs`.
        let mut found = self.seek(hash, key, pin)?;
        if found.entry.stamps.is_empty() {
            return Some(found);
        }
        let times = self.times_of(&mut found, hash, key, reached, pin)?;
        is_served(times.freshness(self.time.now(reached).tick())).then_some(found)
    }

    /// As [`find`](Self::find), for a read that puts the entry's idle deadline off.
    #[inline]
    pub(crate) fn find_to_read<'a>(&'a self, hash: KeyHash, key: &[u8], pin: &'a Pin) -> Option<Found<'a>> {
        let reached = self.time.reached(); // As above.
        let mut found = self.seek(hash, key, pin)?;
        if found.entry.stamps.is_empty() {
            return Some(found);
        }
        is_served(self.read_with_stamps(&mut found, hash, key, reached, pin)).then_some(found)
    }

    /// As [`find_to_read`](Self::find_to_read), but with entries in their stale period, which stay as they are.
    pub(crate) fn find_stale<'a>(&'a self, hash: KeyHash, key: &[u8], pin: &'a Pin) -> Option<(Found<'a>, Freshness)> {
        let reached = self.time.reached(); // As above.
        let mut found = self.seek(hash, key, pin)?;
        if found.entry.stamps.is_empty() {
            return Some((found, Freshness::Fresh));
        }
        let freshness = self.read_with_stamps(&mut found, hash, key, reached, pin);
        (freshness != Freshness::Gone).then_some((found, freshness))
    }

    /// Reads an entry with stamps: if it is fresh, its idle deadline is put off.
    #[inline]
    fn read_with_stamps<'a>(
        &'a self,
        found: &mut Found<'a>,
        hash: KeyHash,
        key: &[u8],
        reached: Tick,
        pin: &'a Pin,
    ) -> Freshness {
        let now = self.time.now(reached);
        if found.entry.stamps == StampSet::REMOVAL {
            let removal = self.ring.stamp_of(&found.entry, Stamp::Removal);
            return self.rules.freshness_by_removal(removal, now.tick(), reached);
        }
        let Some(times) = self.times_of(found, hash, key, reached, pin) else { return Freshness::Gone };
        let freshness = times.freshness(now.tick());
        let is_kept = !found.entry.stamps.has(Stamp::Idle)
            || !is_served(freshness)
            || self.keep_from_idling(found, hash, key, (now, reached), pin);
        if is_kept { freshness } else { Freshness::Gone }
    }

    /// Tells the policy that an entry was read.
    #[inline]
    pub(crate) fn visit(&self, found: &Found<'_>, pin: &Pin) -> Visit {
        match &self.touches {
            None => {
                found.table.visit(found.id);
                Visit::Noted
            }
            Some(touches) if touches.push(pin.stripe(), found.id) => Visit::Noted,
            Some(_) => self.touch_after_draining(found.id, pin),
        }
    }

    /// Drains the full log, if the lock is free, and logs the touch after it.
    #[cold]
    fn touch_after_draining(&self, id: EntryId, pin: &Pin) -> Visit {
        let drained = self.try_write(|writer| writer.drain_touches()).is_some();
        let touches = self.touches.as_ref().filter(|_| drained);
        match touches.is_some_and(|touches| touches.push(pin.stripe(), id)) {
            true => Visit::Noted,
            false => Visit::Dropped,
        }
    }

    /// The found entry's value, for as long as its holder likes.
    #[inline]
    pub(crate) fn hold(&self, found: &Found<'_>) -> Held {
        self.ring.value(found.live)
    }

    fn is_fresh(&self, entry: &Entry<'_>, reached: Tick) -> bool {
        let times = self.rules.times_by(|stamp| self.ring.stamp_of(entry, stamp), reached);
        is_served(times.freshness(self.time.now(reached).tick()))
    }

    /// Calls `each` with the entries of the bucket at `position`, and moves on; `false` after the last bucket.
    pub(crate) fn for_each_in_bucket<'a>(
        &'a self,
        position: &mut Position,
        pin: &'a Pin,
        mut each: impl FnMut(Entry<'a>),
    ) -> bool {
        let reached = self.time.reached(); // As in `find`.
        let table = self.table.load(pin);
        let bucket = position.bucket_in(table.buckets());
        if bucket >= table.buckets() {
            return false;
        }
        *position = Position { next: bucket + 1, of: table.buckets() };
        for (_, live) in table.entries(bucket, pin.into()) {
            let entry = self.ring.entry(live);
            if entry.stamps.is_empty() || self.is_fresh(&entry, reached) {
                each(entry);
            }
        }
        true
    }
}

/// Whether plain reads see an entry.
#[inline]
fn is_served(freshness: Freshness) -> bool {
    matches!(freshness, Freshness::Fresh | Freshness::RefreshDue)
}

/// How far an iteration over a shard's buckets has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Position {
    next: usize,
    of: usize,
}

impl Position {
    pub(crate) fn start() -> Self {
        Self { next: 0, of: 0 }
    }

    /// The same place in a table of `buckets`. Buckets keep their order when the index grows; the few that
    /// are looked at again then hold the entries that were displaced before.
    fn bucket_in(self, buckets: usize) -> usize {
        const AGAIN: usize = 4;
        match self.of {
            0 => 0,
            of if of == buckets => self.next,
            of => (self.next * buckets / of).saturating_sub(AGAIN),
        }
    }
}
