//! Idle deadlines: readers move them without the lock, and nobody who holds it loses what they did.
//!
//! # Synchronization
//!
//! The idle stamp is changed by compare-and-exchange, so its changes come one after the other.
//!
//! * *Expiry* makes a stamp whose tick has passed `CLAIMED` before the entry is taken out. Either the reader's change
//!   comes first, and the entry lives on; or the claim does, and the read is a miss.
//! * *Relocation* copies the stamp with the entry, publishes the new location, and looks at the old stamp again
//!   (`ring/memory.rs`, `carry_over`). A reader that has moved the stamp looks for the entry again, after a SeqCst fence,
//!   which pairs with the writer's: if the entry is elsewhere by then, it moves the stamp there too.
//! * An *update* replaces the entry and with it the stamp: it sets a deadline of its own, later than any read before it.
//! * A stamp that says `NEVER` stays as it is: a reader's exchange fails, and it sees why.

use super::read::Found;
use super::write::Writer;
use super::{Shard, State};
use crate::expiry::{CLAIMED, Now, PERSISTENT};
use crate::hash::KeyHash;
use crate::reclaim::{Live, Pin};
use crate::sync::{Ordering, fence};
use crate::units::{EntryId, Stamp, Stamps, Tick};

/// What became of a reader's attempt to move an idle stamp on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moved {
    Yes,
    /// It is late enough as it is.
    No,
    /// The entry has expired.
    Claimed,
}

impl Shard {
    pub(super) fn stamps_of(&self, found: &Found<'_>) -> Stamps {
        self.ring.stamps(&found.entry)
    }

    /// Moves the idle deadline of an entry that is read `now`, when the shard's time has `reached` some tick; whether the entry
    /// is still there.
    pub(super) fn keep_from_idling<'a>(
        &'a self,
        found: &Found<'a>,
        hash: KeyHash,
        key: &[u8],
        (now, reached): (Now, Tick),
        pin: &'a Pin,
    ) -> bool {
        let mut live = found.live;
        // Ends: each round but the first follows a relocation or an update by another thread.
        loop {
            match self.move_idle(live, now, reached) {
                Moved::No => return true,
                Moved::Claimed => return false,
                Moved::Yes => {}
            }
            fence(Ordering::SeqCst);
            // Nothing there: it may have been claimed where it is now. A miss is right for any reason.
            let Some(again) = self.seek(hash, key, pin) else { return false };
            if again.live.location() == live.location() {
                return true;
            }
            live = again.live;
        }
    }

    fn move_idle(&self, live: Live<'_>, now: Now, reached: Tick) -> Moved {
        // Ends: a failure means that another thread has moved the stamp, and they are all about to read the same time.
        loop {
            let stamps = self.ring.stamps(&self.ring.entry(live));
            let Some(seen) = stamps.get(Stamp::Idle) else { return Moved::No };
            if seen == CLAIMED {
                return Moved::Claimed;
            }
            let Some(word) = self.rules.idle_after_read(&stamps, now, reached) else { return Moved::No };
            if self.ring.exchange_stamp(live, Stamp::Idle, seen, word) {
                return Moved::Yes;
            }
        }
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
