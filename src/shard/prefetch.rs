//! Prefetches of a store.
//!
//! With several writers, the lines that they share were mostly last written by another core: the
//! lock, the state, the policy, the end of the ring, the next victims. Each takes as long as a line
//! from memory (`docs::internals::design`, "Several writers"). A store prefetches what has a fixed
//! address before it takes the lock, and the rest after that. The store before it may have
//! prefetched the same lines to another core. If the same thread did that store, they are mostly in
//! this core's cache, and the rest is left out.

use core::cell::Cell;
use core::ptr;

use crate::policy::EvictionPolicy;
use crate::prefetch::{LINE, prefetch_lines};
use crate::sync::{AtomicUsize, Ordering};
use crate::units::{EntryId, Location};

/// The address of the policy, for prefetches only. It may be out of date at any time.
pub(super) struct PolicyHint {
    address: AtomicUsize,
    /// The number of lines that are prefetched.
    lines: AtomicUsize,
}

impl PolicyHint {
    pub(super) fn new(policy: &dyn EvictionPolicy) -> Self {
        let hint = Self { address: AtomicUsize::new(0), lines: AtomicUsize::new(0) };
        hint.set(policy);
        hint
    }

    pub(super) fn set(&self, policy: &dyn EvictionPolicy) {
        // Relaxed: a prefetch of other lines than the right ones is merely useless.
        self.address.store(ptr::from_ref(policy).cast::<u8>().addr(), Ordering::Relaxed);
        self.lines.store(size_of_val(policy).div_ceil(LINE).min(MAX_POLICY_LINES), Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn prefetch(&self) {
        let start = ptr::without_provenance::<u8>(self.address.load(Ordering::Relaxed));
        prefetch_lines::<MAX_POLICY_LINES>(start, self.lines.load(Ordering::Relaxed));
    }
}

/// The most lines of a policy's own object that are prefetched. A custom one may be large, and what
/// the default one writes to comes first.
const MAX_POLICY_LINES: usize = 4;

/// The thread that wrote last, for prefetches only. If two threads have the same number, a few
/// prefetches are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LastWriter(u32);

impl LastWriter {
    pub(super) const NONE: Self = Self(0);
    /// The bits of an address in a page, of the smallest size.
    const PAGE_BITS: u32 = 12;

    /// Returns the current thread.
    #[inline]
    pub(super) fn this_thread() -> Self {
        thread_local!(static LOCAL: u8 = const { 0 });
        // The locals of two threads lie on different pages.
        let address = LOCAL.try_with(|local| ptr::from_ref(local).addr()).unwrap_or(0);
        #[allow(clippy::cast_possible_truncation, reason = "the low half")]
        Self((address >> Self::PAGE_BITS) as u32)
    }
}

/// The number of victims that policies announce ahead.
const AHEAD: usize = 4;

/// The entries that the policy announced last as future victims. They are mostly the next to leave.
#[derive(Debug)]
pub(super) struct Announced {
    victims: [Cell<AnnouncedEntry>; AHEAD],
    /// The number of the next one, which replaces the one that was announced first. Wraps around.
    next: Cell<u32>,
}

/// An entry that the policy announced.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnnouncedEntry {
    pub(super) id: EntryId,
    /// Its location when the one after it was announced.
    pub(super) location: Option<Location>,
}

impl Announced {
    pub(super) fn new() -> Self {
        let none = || Cell::new(AnnouncedEntry { id: EntryId::new(0), location: None });
        Self { victims: core::array::from_fn(|_| none()), next: Cell::new(0) }
    }

    /// Notes an entry, and the location of the one before, for which `locate` is called.
    #[inline]
    pub(super) fn push(&self, id: EntryId, locate: impl FnOnce(EntryId) -> Option<Location>) {
        let next = self.next.get();
        let before = self.at(next.wrapping_sub(1));
        let known = before.get().id;
        before.set(AnnouncedEntry { id: known, location: locate(known) });
        self.at(next).set(AnnouncedEntry { id, location: None });
        self.next.set(next.wrapping_add(1));
    }

    /// Returns the one that was announced last.
    #[inline]
    pub(super) fn newest(&self) -> EntryId {
        self.at(self.next.get().wrapping_sub(1)).get().id
    }

    /// Returns the one that was announced first.
    #[inline]
    pub(super) fn oldest(&self) -> AnnouncedEntry {
        self.at(self.next.get()).get()
    }

    /// Returns the place of the announcement with a number.
    #[inline]
    fn at(&self, number: u32) -> &Cell<AnnouncedEntry> {
        &self.victims[number as usize % AHEAD]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_announcement_is_the_fourth_last_with_its_location() {
        let announced = Announced::new();
        let locate = |id: EntryId| Location::from_offset(id.index() * 4);
        for number in 1..20 {
            announced.push(EntryId::new(number), locate);
            if number >= 4 {
                let oldest = announced.oldest();
                let id = EntryId::new(number - 3);
                assert_eq!((oldest.id, oldest.location), (id, locate(id)));
            }
        }
    }
}
