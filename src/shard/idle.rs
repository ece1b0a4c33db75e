//! Idle deadlines: readers move them without the lock, and nobody who holds it loses what they did.
//!
//! # Synchronization
//!
//! The idle stamp is changed by read-modify-writes alone, so its changes come one after the other.
//!
//! * *Expiry* makes a stamp whose tick has passed `CLAIMED` before the entry is taken out. Either the reader's change
//!   comes first, and the entry lives on; or the claim does, and the read is a miss.
//! * *Relocation* hands the stamp over from the old place to the new one, through the ring's relay (`ring/relay.rs`): at each
//!   moment one word is in force, and what a reader does to it is not lost. A reader that finds the old entry after that sees
//!   its dead mark, and looks for the key again. So does a reader that finds an entry past its deadline: another may have
//!   replaced it.
//! * An *update* replaces the entry and with it the stamp: it sets a deadline of its own, later than any read before it. When
//!   [`set_ttl`](Writer::set_ttl) stores an entry anew, that is a relocation.
//! * A stamp that says `NEVER` stays as it is: a reader's exchange fails, and it sees why.
//!
//! A reader that is preempted between reading the clock and moving the stamp may move it although another one has missed the
//! entry meanwhile, if nobody has taken it out.

use super::Shard;
use super::read::Access;
use super::writer::Writer;
use crate::expiry::{CLAIMED, Freshness, Now, PERSISTENT};
use crate::reclaim::Live;
use crate::ring::StampsAt;
use crate::units::{EntryId, Stamp, Stamps, Tick};

/// What became of a reader's attempt to move an idle stamp on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moved {
    /// It is as late as it should be.
    Enough,
    /// The entry has expired.
    Claimed,
}

impl Shard {
    /// How fresh an entry with stamps is, when the shard's time had `reached` some tick before it was found; `None` if it may
    /// be elsewhere by now, or another in its place. A read that counts puts the idle deadline of a fresh entry off.
    #[inline(never)]
    pub(super) fn freshness_of(
        &self,
        live: Live<'_>,
        stamps: StampsAt,
        reached: Tick,
        access: Access,
    ) -> Option<Freshness> {
        let stamp = |stamp| self.lookup.ring.stamp_at(stamps, stamp);
        let times = self.rules.times_by(stamp, reached);
        let is_idling = stamps.set.has(Stamp::Idle);
        if times.are_endless() {
            // Without a look at the clock. Negative entries have an end.
            return (!is_idling || !self.lookup.ring.has_left(live)).then_some(Freshness::Fresh);
        }
        let now = self.time.now(reached);
        let mut freshness = times.freshness(now.tick());
        if !freshness.is_served() {
            // What was moved ahead before the clock was read counts.
            freshness = self.rules.times_by(stamp, reached).freshness(now.tick());
        }
        if is_idling && access == Access::Read && freshness.is_served() {
            if let Moved::Claimed = self.move_idle(live, stamps, now, reached) {
                freshness = Freshness::Gone;
            }
        }
        // A stamp that only writers change is right as it was when the entry was found, unless it says that the entry is over:
        // another may have come into its place before that.
        let may_have_changed = is_idling || !freshness.is_served();
        if stamps.set.is_negative() && freshness.is_served() {
            freshness = Freshness::Negative;
        }
        (!may_have_changed || !self.lookup.ring.has_left(live)).then_some(freshness)
    }

    #[inline]
    fn move_idle(&self, live: Live<'_>, stamps: StampsAt, now: Now, reached: Tick) -> Moved {
        let stamp = |stamp| self.lookup.ring.stamp_at(stamps, stamp);
        let mut moved = Moved::Enough;
        self.lookup.ring.change_idle_stamp(live, stamps, |seen| {
            moved = if seen == CLAIMED { Moved::Claimed } else { Moved::Enough };
            self.rules.idle_after_read(seen, stamp, now, reached)
        });
        moved
    }
}

impl Writer<'_> {
    /// When an entry is to be removed, `None` if at no time or if it is not there. If that has come, no reader can put it off
    /// any more: the entry is to be taken out.
    pub(super) fn claim_if_due(&mut self, id: EntryId, now: Now) -> Option<Tick> {
        let live = self.state.entries.live(id)?;
        if !self.state.entries.ring().has_stamps(live) {
            return None;
        }
        // Ends: a failure means that a reader has moved the stamp ahead.
        loop {
            let stamps = self.state.entries.stamps(live);
            let removal = self.shard.rules.times(&stamps, self.shard.time.reached()).removal?;
            let idle = stamps.get(Stamp::Idle).filter(|_| removal <= now.tick());
            if idle
                .is_none_or(|seen| self.state.entries.ring().shared().exchange_stamp(live, Stamp::Idle, seen, CLAIMED))
            {
                return Some(removal);
            }
        }
    }

    pub(super) fn set_removal(&mut self, id: EntryId, stamps: &Stamps) {
        if let Some(word) = stamps.get(Stamp::Removal) {
            self.state.entries.set_stamp(id, Stamp::Removal, word);
        }
    }

    pub(super) fn make_persistent(&mut self, id: EntryId) {
        for (stamp, word) in PERSISTENT {
            self.state.entries.set_stamp(id, stamp, word);
        }
    }
}
