//! Prefetches of a store.
//!
//! With several writers, the lines that they share were mostly last written by another core: the
//! lock, the state, the policy, the end of the ring, the next victims. Each takes as long as a line
//! from memory (`docs::internals::design`, "Several writers"). A store prefetches what has a fixed
//! address before it takes the lock, and the rest after that. The store before it may have
//! prefetched the same lines to another core.

use core::cell::Cell;

use crate::policy::EvictionPolicy;
use crate::prefetch::prefetch_all;
use crate::sync::{AtomicUsize, Ordering};
use crate::units::{EntryId, Location};

/// The address of the policy, for prefetches only. It may be out of date at any time.
pub(super) struct PolicyHint {
    address: AtomicUsize,
    bytes: AtomicUsize,
}

impl PolicyHint {
    pub(super) fn new(policy: &dyn EvictionPolicy) -> Self {
        let hint = Self { address: AtomicUsize::new(0), bytes: AtomicUsize::new(0) };
        hint.set(policy);
        hint
    }

    pub(super) fn set(&self, policy: &dyn EvictionPolicy) {
        // Relaxed: a prefetch of other lines than the right ones is merely useless.
        self.address.store(core::ptr::from_ref(policy).cast::<u8>().addr(), Ordering::Relaxed);
        self.bytes.store(size_of_val(policy).min(MAX_POLICY_BYTES), Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn prefetch(&self) {
        let start = core::ptr::without_provenance::<u8>(self.address.load(Ordering::Relaxed));
        prefetch_all(start, self.bytes.load(Ordering::Relaxed));
    }
}

/// The most bytes of a policy's own object that are prefetched. A custom one may be large, and what
/// the default one writes to comes first.
const MAX_POLICY_BYTES: usize = 256;

/// The number of victims that policies announce ahead.
const AHEAD: usize = 4;

/// The entries that the policy announced last as future victims. They are mostly the next to leave.
#[derive(Debug)]
pub(super) struct Announced {
    victims: [Cell<AnnouncedEntry>; AHEAD],
    /// The index of the one that was announced first, which the next one replaces.
    next: Cell<usize>,
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
        let before = &self.victims[(next + AHEAD - 1) % AHEAD];
        let known = before.get().id;
        before.set(AnnouncedEntry { id: known, location: locate(known) });
        self.victims[next].set(AnnouncedEntry { id, location: None });
        self.next.set((next + 1) % AHEAD);
    }

    /// Returns the one that was announced last.
    #[inline]
    pub(super) fn newest(&self) -> EntryId {
        self.victims[(self.next.get() + AHEAD - 1) % AHEAD].get().id
    }

    /// Returns the one that was announced first.
    #[inline]
    pub(super) fn oldest(&self) -> AnnouncedEntry {
        self.victims[self.next.get()].get()
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
