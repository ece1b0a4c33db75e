//! Idle deadlines: readers move them without the lock, and nobody who holds it loses what they did.
//!
//! # Synchronization
//!
//! The idle stamp is changed by read-modify-writes alone, so its changes come one after the other.
//!
//! * *Expiry* makes a stamp whose tick has passed `CLAIMED` before the entry is taken out. Either the reader's change
//!   comes first, and the entry lives on; or the claim does, and the read is a miss.
//! * *Relocation* copies the stamp with the entry, publishes the new location, marks the old entry dead, and then takes the
//!   old stamp over (`ring/memory.rs`, `end_relocation`). A reader that has moved the stamp, or found it late enough, looks for the
//!   dead mark after that: if there is none, what it did or saw is taken over; if there is, it finds the entry anew and
//!   moves the stamp there.
//! * An *update* replaces the entry and with it the stamp: it sets a deadline of its own, later than any read before it. When
//!   [`set_ttl`](Writer::set_ttl) stores an entry anew, that is a relocation.
//! * A stamp that says `NEVER` stays as it is: a reader's exchange fails, and it sees why.
//!
//! A reader that finds the new location before the old stamp was taken over may take the entry for one that has expired.
//! It is there again in the next moment. A reader that is put aside between reading the clock and moving the stamp may move
//! it although another one has missed the entry meanwhile, if nobody has taken it out.

use super::read::Found;
use super::write::Writer;
use super::{Shard, State};
use crate::expiry::{CLAIMED, Now, PERSISTENT, Times};
use crate::hash::KeyHash;
use crate::reclaim::Pin;
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
    /// When an entry dies that has stamps. One with an idle stamp is looked for again if it was relocated; `None` if it is not
    /// there any more.
    #[inline]
    pub(super) fn times_of<'a>(
        &'a self,
        found: &mut Found<'a>,
        hash: KeyHash,
        key: &[u8],
        reached: Tick,
        pin: &'a Pin,
    ) -> Option<Times> {
        // Ends: each round follows a change of the entry by a writer.
        loop {
            let times = self.rules.times_by(|stamp| self.ring.stamp_of(&found.entry, stamp), reached);
            if !found.entry.stamps.has(Stamp::Idle) || !self.ring.has_left(found.live) {
                return Some(times);
            }
            *found = self.seek_again(hash, key, pin)?;
        }
    }

    /// Moves the idle deadline of an entry that is read `now`, when the shard's time has `reached` some tick; whether the entry
    /// is still there.
    #[inline]
    pub(super) fn keep_from_idling<'a>(
        &'a self,
        found: &mut Found<'a>,
        hash: KeyHash,
        key: &[u8],
        (now, reached): (Now, Tick),
        pin: &'a Pin,
    ) -> bool {
        // Ends: each round but the first follows a change of the entry by a writer.
        loop {
            if self.move_idle(found, now, reached) == Moved::Claimed {
                return false;
            }
            if !self.ring.has_left(found.live) {
                return true;
            }
            // Nothing there: it may have been claimed where it was last. A miss is right for any reason.
            let Some(again) = self.seek_again(hash, key, pin) else { return false };
            *found = again;
        }
    }

    #[inline]
    fn move_idle(&self, found: &Found<'_>, now: Now, reached: Tick) -> Moved {
        let stamp = |stamp| self.ring.stamp_of(&found.entry, stamp);
        // Ends: a failure means that another thread has moved the stamp, and they are all about to read the same time.
        while let Some(seen) = stamp(Stamp::Idle) {
            if seen == CLAIMED {
                return Moved::Claimed;
            }
            let Some(word) = self.rules.idle_after_read(seen, stamp, now, reached) else { break };
            if self.ring.exchange_stamp(found.live, Stamp::Idle, seen, word) {
                break;
            }
        }
        Moved::Enough
    }
}

impl State {
    fn set_stamp(&self, id: EntryId, stamp: Stamp, word: u32) {
        if let Some(live) = self.live(id) {
            self.ring.shared().set_stamp(live, stamp, word);
        }
    }
}

impl Writer<'_> {
    /// When an entry is to be removed, `None` if at no time or if it is not there. If that has come, no reader can put it off
    /// any more: the entry is to be taken out.
    pub(super) fn claim(&mut self, id: EntryId, now: Now) -> Option<Tick> {
        let live = self.state.live(id)?;
        if self.state.ring.entry(live).stamps.is_empty() {
            return None;
        }
        // Ends: a failure means that a reader has moved the stamp ahead.
        loop {
            let stamps = self.state.stamps(live);
            let removal = self.shard.rules.times(&stamps, self.shard.time.reached()).removal?;
            let idle = stamps.get(Stamp::Idle).filter(|_| removal <= now.tick());
            if idle.is_none_or(|seen| self.state.ring.shared().exchange_stamp(live, Stamp::Idle, seen, CLAIMED)) {
                return Some(removal);
            }
        }
    }

    pub(super) fn set_removal(&mut self, id: EntryId, stamps: &Stamps) {
        if let Some(word) = stamps.get(Stamp::Removal) {
            self.state.set_stamp(id, Stamp::Removal, word);
        }
    }

    pub(super) fn make_persistent(&mut self, id: EntryId) {
        for (stamp, word) in PERSISTENT {
            self.state.set_stamp(id, stamp, word);
        }
    }
}
