//! The hand-over of an idle stamp from an entry's old place to its new one, while readers change
//! it.
//!
//! Readers extend an entry's idle deadline while the entry is relocated. At each moment one word is
//! *in force*: the stamp at the old place, then the ring's [`Relay`], then the stamp at the new
//! place. Readers load and change the word in force. There is no moment without one.
//!
//! ```text
//!   the cleaner                  word in force   a reader
//!                                old stamp       changes the old stamp
//!   opens the relay
//!   old stamp = LEAVING          relay           finds LEAVING or ARRIVING: changes the relay
//!   publishes the new location
//!   marks the old entry dead
//!   closes the relay
//!   new stamp = relay's stamp    new stamp       changes the new stamp
//! ```
//!
//! # Invariants
//!
//! 1. The relay serves one relocation at a time: the current one of the holder of the write lock.
//! 2. An old stamp that is `LEAVING` never changes again. A new stamp is `ARRIVING` until the
//!    relocation ends or a reader changes it. After that it is never `ARRIVING` again.
//! 3. Each opening and each closing begins a turn of its own. So a change of the relay fails if it
//!    was meant for an earlier turn.
//!
//! # Synchronization
//!
//! A reader that finds `LEAVING` or `ARRIVING` loads the relay. It then checks that the loaded word
//! belongs to its entry:
//!
//! * After `LEAVING`, it checks that the old entry is not marked dead. The mark is stored before
//!   the relay is closed, or opened for another entry, with Release. The load of the relay is an
//!   Acquire. So if the relay has gone on to another entry, the reader finds the mark and searches
//!   for the key again.
//! * After `ARRIVING`, it checks that the new stamp is still `ARRIVING`. The relay is opened for
//!   another entry, with Release, only after the stamp has changed. So if the relay has gone on,
//!   the reader finds another stamp. The second load of the stamp may be Relaxed.
//!
//! All changes of the words in force are AcqRel, and their loads are Acquire. A thread that sees
//! that an entry was read also sees all that the reader had seen and done before.

use super::arena::{Arena, StampsAt};
use super::shadow::Word;
use crate::reclaim::Live;
use crate::sync::{AtomicU64, Ordering};
use crate::units::{ARRIVING, LEAVING, Location, Stamp};

/// The idle stamp of the entry that is being relocated. It has a cache line of its own, because the
/// words around it are only read.
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
        Handover::from_word(self.0.load(Ordering::Acquire)) // Acquire: see the module.
    }

    /// Changes the stamp if the relay is still `seen`. Returns `false` if it is not.
    fn exchange(&self, seen: Handover, stamp: u32) -> bool {
        let new = Handover { stamp, ..seen };
        // AcqRel: see the module. Relaxed on failure: the loaded word is not used.
        self.0.compare_exchange(seen.to_word(), new.to_word(), Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Returns the number of the next turn.
    fn next_turn(&self) -> u32 {
        // Relaxed: turns change under the write lock alone.
        Handover::from_word(self.0.load(Ordering::Relaxed)).turn.wrapping_add(1)
    }

    fn open(&self, turn: u32, stamp: u32) {
        // Release: see the module.
        self.0.store(Handover { turn, stamp }.to_word(), Ordering::Release);
    }

    /// Closes the relay and returns its stamp. The stamp stays in the relay.
    fn close(&self) -> u32 {
        // AcqRel: see the module.
        Handover::from_word(self.0.fetch_add(1 << u32::BITS, Ordering::AcqRel)).stamp
    }
}

/// Returns `true` if this word of an idle stamp means that the relay is in force.
#[inline]
fn is_in_relay(word: u32) -> bool {
    word == LEAVING || word == ARRIVING
}

impl Arena {
    /// Returns the current idle stamp at `offset`. It may be any word if the entry has
    /// [left](Arena::has_left).
    #[inline]
    pub(super) fn idle_stamp(&self, offset: usize) -> u32 {
        let seen = self.word(offset).load(Ordering::Acquire); // Acquire: see the module.
        if is_in_relay(seen) { self.relayed_stamp(offset) } else { seen }
    }

    #[cold]
    fn relayed_stamp(&self, offset: usize) -> u32 {
        let word = self.word(offset);
        // Ends: a stamp changes from `ARRIVING` once, and never from `LEAVING`.
        loop {
            let seen = word.load(Ordering::Acquire);
            if !is_in_relay(seen) {
                return seen;
            }
            let handover = self.relay.load();
            // Relaxed: it comes after the load of the relay, see the module.
            if word.load(Ordering::Relaxed) == seen {
                return handover.stamp;
            }
        }
    }

    /// Changes the idle stamp of a live entry to the result of `next`, or leaves it if that is
    /// `None`. For readers: if the entry has [left](Arena::has_left), the caller searches for it
    /// again.
    #[inline]
    pub(crate) fn change_idle_stamp(
        &self,
        live: Live<'_>,
        stamps: StampsAt<'_>,
        mut next: impl FnMut(u32) -> Option<u32>,
    ) {
        let Some(offset) = stamps.offset_of(Stamp::Idle) else { return };
        let word = self.word(offset);
        // Ends: a failure means that another thread has moved the stamp on, or that another word is
        // in force.
        loop {
            // Acquire, and AcqRel for the exchange: see the module.
            let seen = word.load(Ordering::Acquire);
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

    /// Changes an idle stamp whose word was `seen` and means that the relay is in force. Returns
    /// `false` if the caller must load the stamp again.
    #[cold]
    fn change_in_relay(
        &self,
        live: Live<'_>,
        word: &Word<'_>,
        seen: u32,
        next: &mut impl FnMut(u32) -> Option<u32>,
    ) -> bool {
        let handover = self.relay.load();
        // These checks come after the load: they decide whose stamp is in the relay.
        if seen == LEAVING && self.has_left(live) {
            return true;
        }
        if seen == ARRIVING && word.load(Ordering::Relaxed) != ARRIVING {
            return false;
        }
        let Some(new) = next(handover.stamp) else { return true };
        match handover.is_open() {
            true => self.relay.exchange(handover, new),
            // The closed relay keeps the stamp that arrives, even if the cleaner has not stored it.
            false => seen == ARRIVING && exchange(word, ARRIVING, new),
        }
    }

    fn idle_word(&self, location: Location) -> Option<Word<'_>> {
        // Most entries have none, as their first word says.
        if !self.stamps_of(location).has(Stamp::Idle) {
            return None;
        }
        let at = self.layout(location).stamp_at(Stamp::Idle)?;
        Some(self.word(location.offset() + at))
    }

    /// Begins a relocation, before the location `to` is published in place of `from`. From here on,
    /// changes that readers make to the idle stamp of the old entry count for the new one. For the
    /// holder of the write lock.
    pub(super) fn begin_relocation(&self, from: Location, to: Location) {
        let (Some(old), Some(new)) = (self.idle_word(from), self.idle_word(to)) else { return };
        new.store(ARRIVING, Ordering::Relaxed); // Relaxed: published with Release after this.
        let turn = self.relay.next_turn();
        let mut seen = old.load(Ordering::Relaxed); // Relaxed: the exchange checks it.
        loop {
            self.relay.open(turn, seen);
            // Ends: a failure means that a reader has moved the stamp on. AcqRel: see the module.
            match old.compare_exchange(seen, LEAVING, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(present) => seen = present,
            }
        }
    }

    /// Ends a relocation, after the location `to` was published in place of `from`. Marks the old
    /// entry dead, and stores the idle stamp in its new place. For the holder of the write lock.
    pub(super) fn end_relocation(&self, from: Location, to: Location) {
        self.mark_dead(from);
        let (Some(_), Some(new)) = (self.idle_word(from), self.idle_word(to)) else { return };
        let stamp = self.relay.close();
        // A failure means that a reader has already moved the stamp on from the one in the closed
        // relay.
        exchange(&new, ARRIVING, stamp);
    }
}

/// Changes a word from `seen` to `new`. Returns `false` if it is not `seen`.
fn exchange(word: &Word<'_>, seen: u32, new: u32) -> bool {
    // AcqRel: see the module. Relaxed on failure: the word is loaded again.
    word.compare_exchange(seen, new, Ordering::AcqRel, Ordering::Relaxed).is_ok()
}
