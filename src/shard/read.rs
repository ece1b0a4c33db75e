//! What readers do: find an entry under an epoch pin, mark its visit, and hand out its bytes.
//!
//! Two dependent cache misses for a hit (bucket, entry), one for most misses; no lock, no allocation, and no
//! shared write for a key whose visits are at their top.

use super::{Shard, State};
use crate::expiry::Freshness;
use crate::hash::KeyHash;
use crate::index::{Lane, Table};
use crate::prefetch::prefetch_all;
use crate::reclaim::{Live, Pin};
use crate::ring::{Entry, Held, StampsAt};
use crate::units::EntryId;

/// An entry that a reader has found.
#[derive(Clone, Copy)]
pub(crate) struct Found<'a> {
    lane: Lane<'a>,
    pub(super) live: Live<'a>,
    pub(crate) value: &'a [u8],
}

/// Where the entry with some hash may be: its key was not looked at.
#[derive(Clone, Copy)]
pub(crate) struct Guess<'a>(Option<(&'a Table, Lane<'a>, Live<'a>)>);

impl Guess<'_> {
    pub(crate) const NONE: Self = Self(None);
}

/// An entry that was found, and how fresh it is: what functions that are not inlined return, in place of a tuple. As a type of its
/// own it does not drag the tuple of those that are inlined into memory.
struct Judged<'a> {
    found: Found<'a>,
    freshness: Freshness,
}

/// Whether a read puts an idle deadline off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    Counts,
    Looks,
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
        self.hint.prefetch_with_next(hash);
        prefetch_all(&raw const self.state, State::WRITTEN_BYTES);
        self.policy_hint.prefetch();
    }

    /// Asks the processor to fetch the bucket of `hash`; the shard need not be pinned.
    #[inline]
    pub(crate) fn prefetch_bucket(&self, hash: KeyHash) {
        self.hint.prefetch(hash);
    }

    /// Where the entry with `hash` probably is, after asking the processor to fetch it.
    #[inline(always)]
    pub(crate) fn guess<'a>(&'a self, hash: KeyHash, pin: &'a Pin) -> Guess<'a> {
        let table = self.table.load(pin);
        let guess = table.candidates(hash, pin.into()).next();
        if let Some((_, live)) = guess {
            self.ring.prefetch(live.location());
        }
        Guess(guess.map(|(lane, live)| (table, lane, live)))
    }

    /// As [`find_to_read`](Self::find_to_read), with a look first at where the entry was a moment ago.
    #[inline(always)]
    pub(crate) fn find_guessed<'a>(
        &'a self,
        guess: Guess<'a>,
        hash: KeyHash,
        key: &[u8],
        pin: &'a Pin,
    ) -> Option<Found<'a>> {
        // In a table that was replaced meanwhile nothing would ever change.
        let is_present = |table| core::ptr::eq(table, self.table.load(pin));
        if let Some((_, lane, live)) = guess.0.filter(|(table, lane, live)| is_present(*table) && lane.holds(*live)) {
            let (entry, stamps) = self.ring.entry_with_stamps(live);
            // Stamps are judged by the time that was reached before the entry was found.
            if stamps.set.is_empty() && is_same(entry.key, key) {
                return Some(Found { lane, live, value: entry.value });
            }
        }
        self.find_unguessed(hash, key, pin).map(|Judged { found, .. }| found)
    }

    /// Not inlined, as most guesses are right, but those of entries with stamps.
    #[inline(never)]
    fn find_unguessed<'a>(&'a self, hash: KeyHash, key: &[u8], pin: &'a Pin) -> Option<Judged<'a>> {
        let (found, freshness) = self.find_with(hash, key, Reading::Counts, pin)?;
        is_served(freshness).then_some(Judged { found, freshness })
    }

    /// The entry under `key`, whatever its deadline, for as long as the pin is held, and where its stamps are.
    #[inline(always)]
    pub(super) fn seek<'a>(&'a self, hash: KeyHash, key: &[u8], pin: &'a Pin) -> Option<(Found<'a>, StampsAt)> {
        for (lane, live) in self.table.load(pin).candidates(hash, pin.into()) {
            // All lines of the entry at once: where its value is depends on the first one.
            self.ring.prefetch(live.location());
            let (entry, stamps) = self.ring.entry_with_stamps(live);
            if is_same(entry.key, key) {
                return Some((Found { lane, live, value: entry.value }, stamps));
            }
        }
        None
    }

    /// The entry under `key` and how fresh it is, unless it is past its removal.
    #[inline(always)]
    fn find_with<'a>(
        &'a self,
        hash: KeyHash,
        key: &[u8],
        reading: Reading,
        pin: &'a Pin,
    ) -> Option<(Found<'a>, Freshness)> {
        let reached = self.time.reached(); // Before the entry is looked for: see `expiry/mod.rs`.
        let (found, stamps) = self.seek(hash, key, pin)?;
        if stamps.set.is_empty() {
            return Some((found, Freshness::Fresh));
        }
        match self.judge(found.live, stamps, reached, reading) {
            Some(Freshness::Gone) => None,
            Some(freshness) => Some((found, freshness)),
            None => self.find_again(hash, key, reading, pin).map(|Judged { found, freshness }| (found, freshness)),
        }
    }

    /// As [`find_with`](Self::find_with), after an entry was found that may be elsewhere by now, or another in its place.
    #[cold]
    fn find_again<'a>(&'a self, hash: KeyHash, key: &[u8], reading: Reading, pin: &'a Pin) -> Option<Judged<'a>> {
        // Ends: each round but the first follows a change of the entry by a writer.
        loop {
            let reached = self.time.reached(); // As in `find_with`.
            let (found, stamps) = self.seek(hash, key, pin)?;
            if let Some(freshness) = self.judge(found.live, stamps, reached, reading) {
                return (freshness != Freshness::Gone).then_some(Judged { found, freshness });
            }
        }
    }

    /// The entry under `key`, unless it is past its deadline.
    #[inline(always)]
    pub(crate) fn find<'a>(&'a self, hash: KeyHash, key: &[u8], pin: &'a Pin) -> Option<Found<'a>> {
        let (found, freshness) = self.find_with(hash, key, Reading::Looks, pin)?;
        is_served(freshness).then_some(found)
    }

    /// As [`find`](Self::find), for a read that puts the entry's idle deadline off.
    #[inline(always)]
    pub(crate) fn find_to_read<'a>(&'a self, hash: KeyHash, key: &[u8], pin: &'a Pin) -> Option<Found<'a>> {
        let (found, freshness) = self.find_with(hash, key, Reading::Counts, pin)?;
        is_served(freshness).then_some(found)
    }

    /// As [`find_to_read`](Self::find_to_read), but with negative entries and with those in their stale period, which stay as
    /// they are.
    #[inline(always)]
    pub(crate) fn find_any<'a>(&'a self, hash: KeyHash, key: &[u8], pin: &'a Pin) -> Option<(Found<'a>, Freshness)> {
        self.find_with(hash, key, Reading::Counts, pin)
    }

    /// As [`find_any`](Self::find_any), for one who only looks.
    pub(crate) fn find_whatever<'a>(
        &'a self,
        hash: KeyHash,
        key: &[u8],
        pin: &'a Pin,
    ) -> Option<(Found<'a>, Freshness)> {
        self.find_with(hash, key, Reading::Looks, pin)
    }

    /// Tells the policy that an entry was read.
    #[inline(always)]
    pub(crate) fn visit(&self, found: &Found<'_>, pin: &Pin) -> Visit {
        match &self.touches {
            None => {
                found.lane.visit();
                Visit::Noted
            }
            Some(touches) if touches.push(pin.stripe(), found.lane.id()) => Visit::Noted,
            Some(_) => self.touch_after_draining(found.lane.id(), pin),
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
    #[inline(always)]
    pub(crate) fn hold(&self, found: &Found<'_>) -> Held {
        self.ring.value(found.live)
    }

    /// Calls `each` with the entries of the bucket at `position`, those that reads miss included, and moves on; `false` after the
    /// last bucket.
    pub(crate) fn for_each_in_bucket<'a>(
        &'a self,
        position: &mut Position,
        pin: &'a Pin,
        mut each: impl FnMut(Entry<'a>, Freshness),
    ) -> bool {
        let reached = self.time.reached(); // As in `find`.
        let table = self.table.load(pin);
        let bucket = position.bucket_in(table.buckets());
        if bucket >= table.buckets() {
            return false;
        }
        *position = Position { next: bucket + 1, of: table.buckets() };
        for (_, live) in table.entries(bucket, pin.into()) {
            let (entry, stamps) = self.ring.entry_with_stamps(live);
            let freshness = match stamps.set {
                set if set.is_empty() => Freshness::Fresh,
                set if set.is_negative() => Freshness::Negative,
                // One that was moved or replaced meanwhile is shown as it was.
                _ => self.judge(live, stamps, reached, Reading::Looks).unwrap_or(Freshness::Fresh),
            };
            if freshness != Freshness::Gone {
                each(entry, freshness);
            }
        }
        true
    }
}

/// Whether two keys are the same. Short ones, as most are, are compared in place.
#[inline(always)]
fn is_same(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    match left.len() {
        8..=16 => left.first_chunk::<8>() == right.first_chunk() && left.last_chunk::<8>() == right.last_chunk(),
        17..=32 => left.first_chunk::<16>() == right.first_chunk() && left.last_chunk::<16>() == right.last_chunk(),
        _ => left == right,
    }
}

/// Whether plain reads see an entry.
#[inline]
pub(crate) fn is_served(freshness: Freshness) -> bool {
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
