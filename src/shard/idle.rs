//! Idle deadlines. Readers postpone them without the lock, and no writer loses that.
//!
//! # Synchronization
//!
//! The idle stamp is changed by read-modify-writes only, so its changes come one after the other.
//!
//! * *Expiry* sets a stamp whose tick has passed to `CLAIMED` before it takes the entry out. If a
//!   reader's change comes first, the entry lives on. If the claim comes first, the read is a miss.
//! * *Relocation* hands the stamp over from the old location to the new one, through the ring's
//!   relay (`ring/relay.rs`). At each moment one word is in force, and no reader's change to it is
//!   lost. A reader that finds the old entry after that sees its dead mark, and searches again. So
//!   does a reader that finds an entry past its deadline, as another may have replaced it.
//! * An *update* replaces the entry and with it the stamp. Its deadline is later than that of any
//!   read before it. When [`set_ttl`](Writer::set_ttl) writes an entry again, or when a value keeps
//!   the deadlines of the one before (`change.rs`), that is a relocation.
//! * A stamp that says `NEVER` stays as it is. A reader's exchange fails, and the reader sees why.
//!
//! A reader may be preempted between reading the clock and moving the stamp. It may then move the
//! stamp although another reader has missed the entry meanwhile, if no writer has taken the entry
//! out.

use super::Shard;
use super::read::Access;
use super::writer::Writer;
use crate::expiry::{CLAIMED, Freshness, Now, PERSISTENT};
use crate::reclaim::Live;
use crate::ring::StampsAt;
use crate::units::{EntryId, Stamp, Stamps, Tick};

/// The result of a reader's attempt to postpone an idle deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moved {
    /// The deadline is as late as it should be.
    Enough,
    /// The entry has expired.
    Claimed,
}

impl Shard {
    /// Returns how fresh an entry with stamps is. Returns `None` if it may have been moved or
    /// replaced since it was found. A [read](Access::Read) postpones the idle deadline of a fresh
    /// entry.
    ///
    /// `reached` is the shard's time before the entry was found.
    #[inline(never)]
    pub(super) fn freshness_of(
        &self,
        live: Live<'_>,
        stamps: StampsAt<'_>,
        reached: Tick,
        access: Access,
    ) -> Option<Freshness> {
        let stamp = |stamp| self.lookup.ring.arena().stamp_at(stamps, stamp);
        let times = self.rules.times_by(stamp, reached);
        let is_idling = stamps.set.has(Stamp::Idle);
        if times.are_endless() {
            // Without reading the clock. Negative entries have an end.
            return (!is_idling || !self.lookup.ring.arena().has_left(live)).then_some(Freshness::Fresh);
        }
        let now = self.time.now(reached);
        let mut freshness = times.freshness(now.tick());
        if !freshness.is_served() {
            // What was postponed before the clock was read counts.
            freshness = self.rules.times_by(stamp, reached).freshness(now.tick());
        }
        if is_idling && access == Access::Read && freshness.is_served() {
            if let Moved::Claimed = self.move_idle(live, stamps, now, reached) {
                freshness = Freshness::Gone;
            }
        }
        // A stamp that only writers change is right as it was when the entry was found. If it says
        // that the entry has ended, another may have replaced it before that.
        let may_have_changed = is_idling || !freshness.is_served();
        if stamps.set.is_negative() && freshness.is_served() {
            freshness = Freshness::Negative;
        }
        (!may_have_changed || !self.lookup.ring.arena().has_left(live)).then_some(freshness)
    }

    #[inline]
    fn move_idle(&self, live: Live<'_>, stamps: StampsAt<'_>, now: Now, reached: Tick) -> Moved {
        let stamp = |stamp| self.lookup.ring.arena().stamp_at(stamps, stamp);
        let mut moved = Moved::Enough;
        self.lookup.ring.arena().change_idle_stamp(live, stamps, |seen| {
            moved = if seen == CLAIMED { Moved::Claimed } else { Moved::Enough };
            self.rules.idle_after_read(seen, stamp, now, reached)
        });
        moved
    }
}

impl Writer<'_> {
    /// Returns the tick at which an entry is to be removed, if it has one. If that has passed, the
    /// entry is claimed: no reader can postpone it any more, and the caller takes it out.
    pub(super) fn claim_if_due(&mut self, id: EntryId, now: Now) -> Option<Tick> {
        let live = self.state.entries.live(id)?;
        if !self.state.entries.ring().arena().has_stamps(live) {
            return None;
        }
        // Ends: a failure means that a reader has postponed the deadline.
        loop {
            let stamps = self.state.entries.stamps(live);
            let removal = self.shard.rules.times(&stamps, self.shard.time.reached()).removal?;
            let idle = stamps.get(Stamp::Idle).filter(|_| removal <= now.tick());
            if idle
                .is_none_or(|seen| self.state.entries.ring().arena().exchange_stamp(live, Stamp::Idle, seen, CLAIMED))
            {
                return Some(removal);
            }
        }
    }

    /// Sets the removal of an entry to that of `stamps`.
    pub(super) fn set_removal(&mut self, id: EntryId, stamps: &Stamps) {
        if let Some(word) = stamps.get(Stamp::Removal) {
            self.state.entries.set_stamp(id, Stamp::Removal, word);
        }
    }

    /// Removes the deadlines of an entry.
    pub(super) fn make_persistent(&mut self, id: EntryId) {
        for (stamp, word) in PERSISTENT {
            self.state.entries.set_stamp(id, stamp, word);
        }
    }
}
