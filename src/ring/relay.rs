//! How an idle stamp changes its place: the moments at which readers may move it leave no gap.
//!
//! A reader puts an entry's idle deadline off while the entry is relocated. At each moment one word is *in force*: the stamp
//! at the old place, then the ring's [`Relay`], then the stamp at the new place. Readers look at, and change, that one.
//!
//! ```text
//!   in force     old stamp          relay                                                       new stamp
//!   the cleaner  opens the relay -- old stamp = LEAVING -- publishes the new location -- marks  -- new stamp = what the
//!                                   the old entry dead -- closes the relay                         relay says, not ARRIVING
//!   a reader     changes the stamp  finds LEAVING or ARRIVING: changes the relay                changes the stamp
//! ```
//!
//! # Invariants
//!
//! 1. The relay serves one relocation at a time: the one that the holder of the write lock is at.
//! 2. An old stamp that says `LEAVING` never changes again. A new one says `ARRIVING` until the relocation's end, or until a
//!    reader changes it, and then never again.
//! 3. Each opening and each closing has a turn of its own, so a change of the relay fails if it was meant for an earlier one.
//!
//! # Synchronization
//!
//! A reader that finds `LEAVING` or `ARRIVING` loads the relay, and then makes sure that what it has loaded is its entry's:
//!
//! * By then the old entry is not marked dead. Closing the relay, and opening it for another entry, are Releases after the
//!   mark, and the load of the relay is an Acquire. A reader of a dead entry looks for the key again.
//! * By then the new stamp still says `ARRIVING`. The relay is opened for another entry only after that has changed, and by a
//!   Release; so the second load of the stamp may be Relaxed.
//!
//! All changes of the words in force are AcqRel and their loads Acquire: who sees that an entry was read sees also what that
//! reader had seen and done before.

use super::memory::{Arena, StampsAt, Word};
use crate::reclaim::Live;
use crate::sync::{AtomicU64, Ordering};
use crate::units::{ARRIVING, LEAVING, Location, Stamp};

/// The idle stamp of the entry that is being relocated. On a line of its own, as all that lies about it is only read.
#[repr(align(64))]
pub(super) struct Relay(AtomicU64);

/// The relay's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Handover {
    /// Odd while the relay is open.
    turn: u32,
    stamp: u32,
}

impl Handover {
    fn from_word(word: u64) -> Self {
        #[allow(clippy::cast_possible_truncation, reason = "the two halves")]
        Self { turn: (word >> u32::BITS) as u32, stamp: word as u32 }
    }

    fn to_word(self) -> u64 {
        u64::from(self.turn) << u32::BITS | u64::from(self.stamp)
    }

    fn is_open(self) -> bool {
        self.turn % 2 == 1
    }
}

impl Relay {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    fn load(&self) -> Handover {
        Handover::from_word(self.0.load(Ordering::Acquire)) // See the module.
    }

    /// Changes the stamp if the relay is as it was `seen`; returns `true` if it was.
    fn exchange(&self, seen: Handover, stamp: u32) -> bool {
        let new = Handover { stamp, ..seen };
        // AcqRel: see the module. Relaxed on failure, as nothing is made of that.
        self.0.compare_exchange(seen.to_word(), new.to_word(), Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Begins the next turn.
    fn next_turn(&self) -> u32 {
        // Relaxed: turns change under the write lock alone.
        Handover::from_word(self.0.load(Ordering::Relaxed)).turn.wrapping_add(1)
    }

    fn open(&self, turn: u32, stamp: u32) {
        self.0.store(Handover { turn, stamp }.to_word(), Ordering::Release); // See the module.
    }

    /// Closes the relay and returns its stamp, which stays in it.
    fn close(&self) -> u32 {
        // AcqRel: see the module.
        Handover::from_word(self.0.fetch_add(1 << u32::BITS, Ordering::AcqRel)).stamp
    }
}

/// Whether a word of an idle stamp says that the relay is in force.
#[inline]
fn is_in_relay(word: u32) -> bool {
    word == LEAVING || word == ARRIVING
}

impl Arena {
    /// The idle stamp at `offset` at this moment. Any word if its entry has [left](Arena::has_left).
    #[inline]
    pub(super) fn idle_stamp(&self, offset: usize) -> u32 {
        let seen = self.word(offset).load(Ordering::Acquire); // See the module.
        if is_in_relay(seen) { self.relayed_stamp(offset) } else { seen }
    }

    #[cold]
    fn relayed_stamp(&self, offset: usize) -> u32 {
        let word = self.word(offset);
        // Ends: a stamp changes once from `ARRIVING`, and never from `LEAVING`.
        loop {
            let seen = word.load(Ordering::Acquire);
            if !is_in_relay(seen) {
                return seen;
            }
            let handover = self.relay.load();
            // Relaxed, after the load of the relay: see the module.
            if word.load(Ordering::Relaxed) == seen {
                return handover.stamp;
            }
        }
    }

    /// Changes the idle stamp of a live entry to what `next` makes of it, unless that is nothing. For readers: if the entry has
    /// [left](Arena::has_left), it is to be found again.
    #[inline]
    pub(super) fn change_idle_stamp(&self, live: Live<'_>, stamps: StampsAt, mut next: impl FnMut(u32) -> Option<u32>) {
        let Some(offset) = stamps.offset_of(Stamp::Idle) else { return };
        let word = self.word(offset);
        // Ends: a failure means that another thread has moved the stamp on, or that it has come into force elsewhere.
        loop {
            let seen = word.load(Ordering::Acquire); // See the module, as for the exchange.
            let is_done = if is_in_relay(seen) {
                self.change_in_relay(live, &word, seen, &mut next)
            } else {
                next(seen).is_none_or(|new| exchange(&word, seen, new))
            };
            if is_done {
                return;
            }
        }
    }

    /// Changes an idle stamp that was `seen` as being in the relay; returns `false` if it has to be looked at again.
    #[cold]
    fn change_in_relay(
        &self,
        live: Live<'_>,
        word: &Word<'_>,
        seen: u32,
        next: &mut impl FnMut(u32) -> Option<u32>,
    ) -> bool {
        let handover = self.relay.load();
        // After the load: whose the relay is.
        if seen == LEAVING && self.has_left(live) {
            return true;
        }
        if seen == ARRIVING && word.load(Ordering::Relaxed) != ARRIVING {
            return false;
        }
        let Some(new) = next(handover.stamp) else { return true };
        match handover.is_open() {
            true => self.relay.exchange(handover, new),
            // What has arrived is known, though the cleaner has not stored it yet.
            false => seen == ARRIVING && exchange(word, ARRIVING, new),
        }
    }

    fn idle_word(&self, location: Location) -> Option<Word<'_>> {
        let at = self.layout(location).stamp_at(Stamp::Idle)?;
        Some(self.word(location.offset() + at))
    }

    /// Begins a relocation, before the location `to` is published in the place of `from`: what readers do to the idle stamp of
    /// the old entry from here on counts for the new one. For the holder of the write lock.
    pub(super) fn begin_relocation(&self, from: Location, to: Location) {
        let (Some(old), Some(new)) = (self.idle_word(from), self.idle_word(to)) else { return };
        new.store(ARRIVING, Ordering::Relaxed); // Published with Release after this.
        let turn = self.relay.next_turn();
        let mut seen = old.load(Ordering::Relaxed); // The exchange decides.
        loop {
            self.relay.open(turn, seen);
            // Ends: a failure means that a reader has moved the stamp on. AcqRel: see the module.
            match old.compare_exchange(seen, LEAVING, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(present) => seen = present,
            }
        }
    }

    /// Ends a relocation, after the location `to` was published in the place of `from`: marks the old entry dead, and puts the
    /// idle stamp in its new place. For the holder of the write lock.
    pub(super) fn end_relocation(&self, from: Location, to: Location) {
        self.mark_dead(from);
        let (Some(_), Some(new)) = (self.idle_word(from), self.idle_word(to)) else { return };
        let stamp = self.relay.close();
        // A failure means that a reader has moved the stamp on from what was closed.
        exchange(&new, ARRIVING, stamp);
    }
}

/// Changes a word from `seen` to `new`; returns `false` if it is another.
fn exchange(word: &Word<'_>, seen: u32, new: u32) -> bool {
    // AcqRel: see the module. Relaxed on failure: the word is loaded again.
    word.compare_exchange(seen, new, Ordering::AcqRel, Ordering::Relaxed).is_ok()
}
