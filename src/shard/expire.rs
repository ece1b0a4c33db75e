//! Expiry: who is due, told by the wheel, and what a store or a caller says of an entry's end.
//!
//! Every write to a shard first takes out what is due, a bounded amount of it: the wheel names a bucket, its entries'
//! headers tell which of them are past their removal, and the bucket is filed anew under the earliest of the others. A
//! shard without deadlines has no wheel, and a wheel with nothing in it never asks for the time.

use super::space::NoSpace;
use super::writer::Writer;
use crate::expiry::{Freshness, HORIZON, Lifetime, Now, Schedule, Wheel};
use crate::hash::KeyHash;
use crate::removal::RemovalCause;
use crate::units::{EntryId, LANES, Tick};

/// What a write does for entries that are due, in steps of the wheel: at most four buckets, so 48 entries.
pub(super) const STEPS: usize = 16;
/// The same for a call of `maintain`: 256 buckets at most, so 3,072 entries.
pub(super) const STEPS_OF_MAINTENANCE: usize = 1024;
/// Steps that it takes to look at a bucket, the one that hands it out included.
const STEPS_OF_A_LOOK: usize = 4;

/// With the memory that the ring gives up for a wheel it still has so many chunks.
const MIN_CHUNKS_WITH_WHEEL: usize = super::MIN_CHUNKS - 2;

/// What there is under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Absent,
    Fresh(EntryId),
    /// In its stale period: reads miss it.
    Stale(EntryId),
    /// Stands for what a load did not find: reads miss it.
    Negative(EntryId),
}

impl Presence {
    pub(super) fn id(self) -> Option<EntryId> {
        match self {
            Self::Absent => None,
            Self::Fresh(id) | Self::Stale(id) | Self::Negative(id) => Some(id),
        }
    }
}

impl Writer<'_> {
    /// Takes out entries that are due, as long as there are steps.
    #[inline]
    pub(super) fn expire_due(&mut self, steps: usize) {
        if !self.state.deadlines.is_empty() {
            self.expire_up_to(steps);
        }
    }

    fn expire_up_to(&mut self, mut steps: usize) {
        let now = self.now();
        while let Some(bucket) = self.state.deadlines.next_due(now.tick(), &mut steps) {
            steps = steps.saturating_sub(STEPS_OF_A_LOOK - 1);
            self.fetch_ahead();
            self.expire_in(bucket, now);
        }
        self.note_reached();
    }

    /// Asks the processor to fetch what will be looked at next, perhaps by the next write: the bucket after the next one, and
    /// the headers of the next, whose lanes have arrived by now.
    fn fetch_ahead(&self) {
        let [next, later] = self.state.deadlines.upcoming();
        if let Some(next) = next {
            self.state.entries.prefetch_headers(next);
        }
        if let Some(later) = later {
            self.state.entries.table().prefetch_lane(EntryId::from_lane(later, 0));
            self.state.deadlines.prefetch(later);
        }
    }

    /// Tells readers what has been taken out.
    pub(super) fn note_reached(&self) {
        if let Some(reached) = self.state.deadlines.elapsed() {
            if reached > self.shard.time.reached() {
                self.shard.time.reach(reached);
            }
        }
    }

    /// Takes out the entries of a bucket that are due, and files it anew for the others.
    fn expire_in(&mut self, bucket: usize, now: Now) {
        self.state.entries.prefetch_headers(bucket);
        let mut next: Option<Tick> = None;
        let mut has_drained = false;
        for id in (0..LANES).map(|lane| EntryId::from_lane(bucket, lane)) {
            match self.claim_if_due(id, now) {
                None => {}
                Some(removal) if removal > now.tick() => next = Some(next.map_or(removal, |next| next.min(removal))),
                Some(_) => {
                    // Once, as the policy is to know what was read before it is told of removals.
                    if !core::mem::replace(&mut has_drained, true) {
                        self.drain_touches();
                    }
                    self.remove_resident(id, RemovalCause::Expired);
                }
            }
        }
        self.state.deadlines.file(EntryId::from_lane(bucket, 0), next);
    }

    /// What becomes of an entry with a lifetime that is stored now. Fails if there is no room for the wheel that it needs.
    pub(super) fn schedule(&mut self, lifetime: &Lifetime, hash: KeyHash) -> Result<Schedule, NoSpace> {
        let rules = &self.shard.rules;
        let now = self.prepare_wheel()?;
        self.state.deadlines.prefetch(self.state.entries.table().home(hash));
        let chance = if rules.need_chance(lifetime) { self.draw(hash) } else { 0.0 };
        Ok(rules.schedule(lifetime, now, self.shard.time.reached(), chance))
    }

    /// A number from 0 to 1, another for each key and each time; nobody can tell it in advance, unless the hasher's seed is
    /// fixed.
    fn draw(&mut self, hash: KeyHash) -> f64 {
        let seed = self.state.deadlines.next_seed(hash);
        self.state.entries.hasher().hash(&seed.to_le_bytes()).get() as f64 / u64::MAX as f64
    }

    /// Sees to it that there is a wheel, and that a removal within the horizon can be recorded. Returns the time, or fails
    /// if there is no room for the wheel.
    pub(super) fn prepare_wheel(&mut self) -> Result<Now, NoSpace> {
        let now = self.now();
        if !self.state.deadlines.has_wheel() {
            let buckets = self.state.entries.table().buckets();
            if !self.take_from_ring(Wheel::footprint(buckets), MIN_CHUNKS_WITH_WHEEL) {
                return Err(NoSpace);
            }
            self.state.deadlines.create_wheel(buckets, now.tick());
            self.update_capacity();
        }
        let reached = self.shard.time.reached();
        if now.tick().get() - reached.get() > u64::from(HORIZON / 2) {
            // The clock has jumped more than a year: what lies so far back cannot wait, or what is stored now could not be told
            // from it.
            self.expire_up_to(usize::MAX);
        } else if self.state.deadlines.is_empty() {
            self.expire_up_to(0);
        }
        Ok(now)
    }

    /// Sees to it that an entry is removed in time.
    #[inline]
    pub(super) fn file(&mut self, id: EntryId, removal: Option<Tick>) {
        self.state.deadlines.file(id, removal);
    }

    /// What there is under a key. An entry past its removal is taken out. Touches are to be drained before.
    #[inline]
    pub(super) fn find_present(&mut self, hash: KeyHash, key: &[u8]) -> Presence {
        let Some((id, live)) = self.state.entries.find(hash, key) else { return Presence::Absent };
        if self.ring().has_stamps(live) { self.presence_of(id) } else { Presence::Fresh(id) }
    }

    fn presence_of(&mut self, id: EntryId) -> Presence {
        let now = self.now();
        if self.claim_if_due(id, now).is_some_and(|removal| removal <= now.tick()) {
            self.remove_resident(id, RemovalCause::Expired);
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
