//! Expiry: taking out what is due, finding what is present, and scheduling what is stored.
//!
//! Every write to a shard first takes out a bounded number of entries that are due. The wheel names
//! a bucket. The headers of its entries say which of them are past their removal. The bucket is
//! filed again under the earliest removal of the others.
//!
//! A shard without deadlines has no wheel, and an empty wheel never asks for the time.

use super::entries::Found;
use super::space::NoSpace;
use super::writer::Writer;
use crate::expiry::{Freshness, HORIZON, Lifetime, Now, Schedule, Wheel};
use crate::hash::KeyHash;
use crate::index::{FreeLane, Table};
use crate::removal::RemovalCause;
use crate::units::{EntryId, LANES, Tick};

/// The steps of the wheel that a write takes: at most four buckets, so 48 entries.
pub(super) const STEPS: usize = 16;
/// The steps that a call of `maintain` takes: at most 256 buckets, so 3,072 entries.
pub(super) const STEPS_OF_MAINTENANCE: usize = 1024;
/// The steps that a store with a deadline takes after the clock has jumped by more than a year: at
/// most 1,024 buckets, so 12,288 entries.
const STEPS_AFTER_JUMP: usize = 4096;
/// The steps that a bucket costs, including the one in which the wheel returns it.
const STEPS_OF_A_LOOK: usize = 4;

/// The fewest chunks that the ring keeps when it gives up memory for a wheel.
pub(super) const MIN_CHUNKS_WITH_WHEEL: usize = super::MIN_CHUNKS - 2;

/// The entry under a key, as a writer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Absent,
    Fresh(EntryId),
    /// In its stale period. Reads miss it.
    Stale(EntryId),
    /// Says that a load has found nothing. Reads miss it.
    Negative(EntryId),
}

impl Presence {
    /// Returns the id of the entry, if there is one.
    pub(super) fn id(self) -> Option<EntryId> {
        match self {
            Self::Absent => None,
            Self::Fresh(id) | Self::Stale(id) | Self::Negative(id) => Some(id),
        }
    }
}

impl Writer<'_> {
    /// Takes out entries that are due, in at most `steps` steps of the wheel. Returns `true` if it
    /// took all of them, so that more entries may be due.
    #[inline]
    pub(super) fn expire_due(&mut self, steps: usize) -> bool {
        !self.state.deadlines.is_empty() && self.expire_up_to(steps)
    }

    fn expire_up_to(&mut self, mut steps: usize) -> bool {
        let now = self.now();
        while let Some(bucket) = self.state.deadlines.next_due(now.tick(), &mut steps) {
            steps = steps.saturating_sub(STEPS_OF_A_LOOK - 1);
            self.prefetch_upcoming();
            self.expire_in(bucket, now);
        }
        self.note_reached();
        steps == 0
    }

    /// Prefetches what this or the next write will look at: the headers of the next bucket, whose
    /// lanes have arrived by now, and the bucket after it.
    fn prefetch_upcoming(&self) {
        let [next, later] = self.state.deadlines.upcoming();
        if let Some(next) = next {
            self.state.entries.prefetch_headers(next);
        }
        if let Some(later) = later {
            self.state.entries.table().prefetch_lane(EntryId::from_lane(later, 0));
            self.state.deadlines.prefetch(later);
        }
    }

    /// Tells readers up to which tick entries have been taken out.
    pub(super) fn note_reached(&self) {
        if let Some(reached) = self.state.deadlines.elapsed() {
            if reached > self.shard.time.reached() {
                self.shard.time.reach(reached);
            }
        }
    }

    /// Takes out the entries of a bucket that are due, and files it again for the others.
    fn expire_in(&mut self, bucket: usize, now: Now) {
        self.state.entries.prefetch_headers(bucket);
        let mut next: Option<Tick> = None;
        let mut has_drained = false;
        for id in (0..LANES).map(|lane| EntryId::from_lane(bucket, lane)) {
            match self.claim_if_due(id, now) {
                None => {}
                Some(removal) if removal > now.tick() => next = Some(next.map_or(removal, |next| next.min(removal))),
                Some(_) => {
                    // Once: the policy learns of reads before it learns of removals.
                    if !core::mem::replace(&mut has_drained, true) {
                        self.drain_touches();
                    }
                    self.remove_expected(id, RemovalCause::Expired);
                }
            }
        }
        self.state.deadlines.file(EntryId::from_lane(bucket, 0), next);
    }

    /// Returns the stamps and the removal of an entry that is stored now with this lifetime.
    ///
    /// # Errors
    ///
    /// If there is no memory for the wheel that it needs.
    pub(super) fn schedule(&mut self, lifetime: &Lifetime, hash: KeyHash) -> Result<Schedule, NoSpace> {
        let rules = &self.shard.rules;
        let now = self.prepare_wheel()?;
        self.state.deadlines.prefetch(self.state.entries.table().home(hash));
        let chance = if rules.need_chance(lifetime) { self.draw(hash) } else { 0.0 };
        Ok(rules.schedule(lifetime, now, self.shard.time.reached(), chance))
    }

    /// Returns a number from 0 to 1 that differs for each key and each call. It cannot be predicted
    /// unless the hasher's seed is fixed.
    fn draw(&mut self, hash: KeyHash) -> f64 {
        let seed = self.state.deadlines.next_seed(hash);
        self.state.entries.hasher().hash(&seed.to_le_bytes()).get() as f64 / u64::MAX as f64
    }

    /// Creates the wheel if there is none, and lets it catch up with the clock in bounded steps.
    /// Returns the time.
    ///
    /// A removal is filed within the horizon of what the wheel has reached: see
    /// [`Rules::schedule`](crate::expiry::Rules::schedule).
    ///
    /// # Errors
    ///
    /// If there is no memory for the wheel.
    pub(super) fn prepare_wheel(&mut self) -> Result<Now, NoSpace> {
        let now = self.now();
        if !self.state.deadlines.has_wheel() {
            let buckets = self.buckets_of_wheel();
            if !self.take_from_ring(Wheel::footprint(buckets), MIN_CHUNKS_WITH_WHEEL) {
                return Err(NoSpace);
            }
            self.state.deadlines.create_wheel(buckets, now.tick());
            self.update_capacity();
        }
        let reached = self.shard.time.reached();
        if now.tick().get() - reached.get() > u64::from(HORIZON / 2) {
            // The clock has jumped by more than a year. Until the entries that are due have been
            // taken out, the stamps of new ones cannot be as late as usual: they would be the same.
            self.expire_up_to(STEPS_AFTER_JUMP);
        } else if self.state.deadlines.is_empty() {
            self.expire_up_to(0);
        }
        Ok(now)
    }

    /// Returns how many buckets the wheel has to know.
    fn buckets_of_wheel(&self) -> usize {
        let target = self.state.resizing.target().map_or(0, Table::extent);
        self.state.entries.table().buckets().max(target)
    }

    /// Files the bucket of an entry, so that it is removed in time.
    #[inline]
    pub(super) fn file(&mut self, id: EntryId, removal: Option<Tick>) {
        self.state.deadlines.file(id, removal);
    }

    /// Returns what is present under a key. An entry past its removal is taken out. The caller has
    /// drained the touches.
    #[inline(always)]
    pub(super) fn find_present(&mut self, hash: KeyHash, key: &[u8]) -> Presence {
        self.find_present_or_lane(hash, key).0
    }

    /// Is [`find_present`](Self::find_present). If there is no entry, it also returns the lane that
    /// a new one gets, if that was found on the way.
    #[inline(always)]
    pub(super) fn find_present_or_lane(&mut self, hash: KeyHash, key: &[u8]) -> (Presence, Option<FreeLane>) {
        match self.state.entries.find_or_lane(hash, key) {
            Found::Absent(lane) => (Presence::Absent, lane),
            Found::Entry(id, stamps) if stamps.is_empty() => (Presence::Fresh(id), None),
            Found::Entry(id, _) => (self.presence_of(id), None),
        }
    }

    fn presence_of(&mut self, id: EntryId) -> Presence {
        let now = self.now();
        if self.claim_if_due(id, now).is_some_and(|removal| removal <= now.tick()) {
            self.remove_expected(id, RemovalCause::Expired);
            return Presence::Absent;
        }
        let stamps = self.state.entries.live(id).map(|live| self.state.entries.stamps(live));
        let times = stamps.map(|stamps| self.shard.rules.times(&stamps, self.shard.time.reached()));
        match times.map(|times| times.freshness(now.tick())) {
            None | Some(Freshness::Gone) => Presence::Absent,
            Some(_) if stamps.is_some_and(|stamps| stamps.present().is_negative()) => Presence::Negative(id),
            Some(Freshness::Stale) => Presence::Stale(id),
            Some(_) => Presence::Fresh(id),
        }
    }
}
