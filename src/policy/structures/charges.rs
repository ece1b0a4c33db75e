//! The charge of each id, and the queue that it is in: 2 bytes for each id.
//!
//! ```text
//!   u16   charge 14 bits | queue 2 bits
//! ```
//!
//! A charge that does not fit is kept in a map beside the words. Its entry has 16 KiB or more, so
//! its place in the map is small against that.

use std::collections::HashMap;

use super::QueueId;
use crate::growable::Growable;
use crate::policy::EntryId;

const QUEUE_BITS: u32 = QueueId::MAX.ilog2();
const QUEUE: u16 = (1 << QUEUE_BITS) - 1;
/// Stands for a charge that is in the map.
const LARGE: u16 = u16::MAX >> QUEUE_BITS;

/// The charge and the queue of each id.
#[derive(Debug)]
pub(crate) struct Charges {
    words: Growable<u16>,
    large: HashMap<EntryId, u32, ahash::RandomState>,
}

impl Charges {
    pub(crate) fn new(ids: usize) -> Self {
        Self { words: Growable::new(ids), large: HashMap::default() }
    }

    pub(crate) fn allocated(&self) -> usize {
        self.words.allocated() + self.large.capacity() * (size_of::<(EntryId, u32)>() + 1) * 8 / 7
    }

    #[inline]
    pub(crate) fn get(&self, id: EntryId) -> u32 {
        match self.words[id.index()] >> QUEUE_BITS {
            LARGE => self.large_charge(id),
            small => u32::from(small),
        }
    }

    #[cold]
    fn large_charge(&self, id: EntryId) -> u32 {
        self.large.get(&id).copied().unwrap_or(0)
    }

    pub(crate) fn queue(&self, id: EntryId) -> QueueId {
        let [number, _] = (self.words[id.index()] & QUEUE).to_le_bytes();
        QueueId::new(number)
    }

    pub(crate) fn set_queue(&mut self, id: EntryId, queue: QueueId) {
        let word = &mut self.words[id.index()];
        *word = *word & !QUEUE | u16::from(queue.number());
    }

    /// Sets the charge of an id.
    #[inline]
    pub(crate) fn set(&mut self, id: EntryId, charge: u32) {
        let word = &mut self.words[id.index()];
        match u16::try_from(charge) {
            Ok(small) if small < LARGE && *word >> QUEUE_BITS != LARGE => *word = small << QUEUE_BITS | *word & QUEUE,
            _ => self.set_large(id, charge),
        }
    }

    /// Like [`set`](Self::set), but for a charge that is large, or was.
    #[cold]
    fn set_large(&mut self, id: EntryId, charge: u32) {
        let queue = self.words[id.index()] & QUEUE;
        self.clear(id);
        let small = u16::try_from(charge).ok().filter(|&small| small < LARGE);
        if small.is_none() {
            self.large.insert(id, charge);
        }
        self.words[id.index()] = small.unwrap_or(LARGE) << QUEUE_BITS | queue;
    }

    /// Forgets an id.
    #[inline]
    pub(crate) fn clear(&mut self, id: EntryId) {
        let word = core::mem::take(&mut self.words[id.index()]);
        if word >> QUEUE_BITS == LARGE {
            self.large.remove(&id);
        }
    }

    /// Gives what is known of an id to another one, of which nothing is known.
    pub(crate) fn rename(&mut self, from: EntryId, to: EntryId) {
        let word = core::mem::take(&mut self.words[from.index()]);
        self.words[to.index()] = word;
        if word >> QUEUE_BITS == LARGE {
            if let Some(charge) = self.large.remove(&from) {
                self.large.insert(to, charge);
            }
        }
    }

    /// Sets the number of ids, and takes a bounded step towards the memory for them. Returns `true`
    /// once that is done. Nothing is known of ids beyond the number.
    #[must_use]
    pub(crate) fn resize(&mut self, ids: usize) -> bool {
        self.words.resize(ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_of_all_sizes_keep_their_queue() {
        let mut charges = Charges::new(4);
        let id = EntryId::new(2);
        for charge in [0, 4, 16_382, 16_383, 65_536, u32::MAX] {
            for queue in QueueId::first(4) {
                charges.set(id, charge);
                assert_eq!(charges.get(id), charge);
                charges.set_queue(id, queue);
                assert_eq!((charges.get(id), charges.queue(id)), (charge, queue));
                charges.set(id, charge / 2);
                assert_eq!((charges.get(id), charges.queue(id)), (charge / 2, queue));
                charges.clear(id);
                assert_eq!((charges.get(id), charges.large.len()), (0, 0));
            }
        }
    }

    #[test]
    fn a_rename_takes_charge_and_queue_along() {
        let mut charges = Charges::new(2);
        for (id, charge, queue) in [(0, 70_000, 1), (1, 8, 3)] {
            charges.set(EntryId::new(id), charge);
            charges.set_queue(EntryId::new(id), QueueId::new(queue));
        }
        assert!(charges.resize(4));
        for (from, to) in [(0, 3), (1, 0)] {
            charges.rename(EntryId::new(from), EntryId::new(to));
        }
        let found = [3, 0, 1].map(|id| (charges.get(EntryId::new(id)), charges.queue(EntryId::new(id)).number()));
        assert_eq!(found, [(70_000, 1), (8, 3), (0, 0)]);
    }
}
