//! S3-FIFO: Yang, Zhang, Qiu, Yue and Rashmi, "FIFO queues are all you need for cache eviction", SOSP 2023.
//!
//! ```text
//!   new key -----------> small (10 %) --- two visits or more ---> main (90 %) --+
//!   new key, a ghost ------------------------------------------>   ^            | visited: round again, one visit less
//!                            |  fewer: evicted, a ghost is left    +------------+
//!                            v                                     |  not visited: evicted, no ghost
//! ```
//!
//! The small queue is evicted from while it holds more than its share, else the main one. A read counts a
//! visit, up to three, and moves nothing. Visits start anew on the way from small to main. There are as many
//! ghosts as nine tenths of the entries.
//!
//! Where the paper leaves a choice: promoted at two visits (its pseudo code; its text says one); shares in
//! bytes of charge, and an entry larger than the small queue's share is taken all the same; ghosts by number.
//! The ghosts are approximate, see `ghost.rs`.
//!
//! Costs for each id: 4 bytes of queue, 2 of charge, 1 bit, 2 bytes of ghosts. Operations are O(1) amortised.
//! It is the wrong choice for block traces whose reuse comes just after an entry has left the small queue,
//! and for loops a little larger than the cache.

use std::collections::HashMap;

use super::fifo::{Queue, Queues};
use super::ghost::Ghosts;
use super::{EntryId, EvictionPolicy, PolicyContext, Recency, Renumbering, Residents};
use crate::prefetch::prefetch;

/// The small queue's share of the capacity is one part in this many.
const SMALL_SHARE: u64 = 10;
/// Visits that take an entry from small to main.
const PROMOTION_VISITS: u8 = 2;
/// The most visits that are counted for an entry.
const MAX_VISITS: u8 = 3;
/// How far ahead victims are announced.
const LOOKAHEAD: u32 = 4;

#[derive(Debug)]
pub(super) struct S3Fifo {
    queues: Queues,
    ghosts: Ghosts,
    charges: Charges,
    small_target: u64,
    small_bytes: u64,
    residents: usize,
    main_residents: usize,
    /// The entry that came last. It takes its place after its own victims have been chosen, as in the paper;
    /// and by then the lines that this touches have arrived.
    newcomer: Option<Newcomer>,
    /// The next in the small queue, and its hash: found while its set of ghosts is on its way.
    next: Option<(EntryId, u64)>,
}

#[derive(Clone, Copy, Debug)]
struct Newcomer {
    id: EntryId,
    hash: u64,
    charge: u32,
}

impl S3Fifo {
    pub(super) fn new(context: &PolicyContext) -> Self {
        let mut policy = Self {
            queues: Queues::new(context.ids()),
            ghosts: Ghosts::new(max_ghosts(context.ids())),
            charges: Charges::new(context.ids()),
            small_target: 0,
            small_bytes: 0,
            residents: 0,
            main_residents: 0,
            newcomer: None,
            next: None,
        };
        policy.set_capacity(context.capacity());
        policy
    }

    fn queue_of(&self, id: EntryId) -> Queue {
        if self.charges.is_main(id) { Queue::Main } else { Queue::Small }
    }

    /// Gives the newcomer its place.
    fn settle(&mut self) {
        let Some(Newcomer { id, hash, charge }) = self.newcomer.take() else { return };
        self.residents += 1;
        self.charges.set(id, charge);
        if self.ghosts.take(hash) {
            self.enter_main(id);
        } else {
            self.small_bytes += u64::from(charge);
            self.queues.push(Queue::Small, id);
        }
    }

    fn enter_main(&mut self, id: EntryId) {
        self.charges.set_main(id);
        self.main_residents += 1;
        self.queues.push(Queue::Main, id);
    }

    fn forget(&mut self, id: EntryId) {
        if self.charges.is_main(id) {
            self.main_residents -= 1;
        } else {
            self.small_bytes -= u64::from(self.charges.get(id));
        }
        self.charges.clear(id);
        self.residents -= 1;
    }

    /// Has the lines fetched that the eviction of a later entry of the queue will touch.
    fn announce(&self, queue: Queue, residents: &Residents<'_>) {
        if let Some(id) = self.queues.peek(queue, LOOKAHEAD) {
            self.charges.prefetch(id);
            residents.expect(id);
        }
    }

    /// Pops the small queue until an entry has to leave, or the queue is down to its share.
    fn evict_small(&mut self, residents: &mut Residents<'_>) -> Option<EntryId> {
        while self.small_bytes >= self.small_target || self.main_residents == 0 {
            self.announce(Queue::Small, residents);
            let id = self.queues.pop(Queue::Small)?;
            if residents.visits(id) < PROMOTION_VISITS {
                self.leave_ghost(id, residents);
                return Some(id);
            }
            residents.set_visits(id, 0);
            self.forget_next(id);
            self.small_bytes -= u64::from(self.charges.get(id));
            self.enter_main(id);
        }
        None
    }

    /// An id that leaves the small queue without a ghost may soon be another key's.
    fn forget_next(&mut self, id: EntryId) {
        self.next = self.next.filter(|&(next, _)| next != id);
    }

    fn leave_ghost(&mut self, id: EntryId, residents: &Residents<'_>) {
        let known = self.next.filter(|&(next, _)| next == id).map(|(_, hash)| hash);
        self.ghosts.insert(known.unwrap_or_else(|| residents.hash(id)));
        self.next = self.queues.peek(Queue::Small, 0).map(|next| (next, residents.hash(next)));
        if let Some((_, hash)) = self.next {
            self.ghosts.prefetch(hash);
        }
    }

    /// Sends visited entries round until one has to leave.
    fn evict_main(&mut self, residents: &mut Residents<'_>) -> Option<EntryId> {
        // Each round takes a visit away, and there are at most three for each entry; but readers add others meanwhile.
        let mut rounds = self.main_residents * usize::from(MAX_VISITS);
        loop {
            self.announce(Queue::Main, residents);
            let id = self.queues.pop(Queue::Main)?;
            let visits = residents.visits(id);
            if visits == 0 || rounds == 0 {
                return Some(id);
            }
            rounds -= 1;
            residents.set_visits(id, visits - 1);
            self.queues.push(Queue::Main, id);
        }
    }

    fn choose(&mut self, residents: &mut Residents<'_>) -> Option<EntryId> {
        self.evict_small(residents).or_else(|| self.evict_main(residents))
    }
}

/// Ghosts for a table of so many ids, which is at most 85 % full: nine tenths of the entries.
fn max_ghosts(ids: usize) -> usize {
    ids * 9 / 10 * 85 / 100
}

impl EvictionPolicy for S3Fifo {
    fn recency(&self) -> Recency {
        Recency::Counted
    }

    fn insert(&mut self, id: EntryId, hash: u64, charge: u32) {
        self.settle();
        self.ghosts.prefetch(hash);
        self.charges.prefetch(id);
        self.newcomer = Some(Newcomer { id, hash, charge });
    }

    fn touch(&mut self, _id: EntryId) {}

    fn update(&mut self, id: EntryId, charge: u32) {
        self.settle();
        if !self.charges.is_main(id) {
            self.small_bytes = self.small_bytes - u64::from(self.charges.get(id)) + u64::from(charge);
        }
        self.charges.replace(id, charge);
    }

    fn remove(&mut self, id: EntryId) {
        self.settle();
        self.queues.remove(self.queue_of(id), id);
        self.forget(id);
        self.forget_next(id);
    }

    fn evict(&mut self, residents: &mut Residents<'_>) -> Option<EntryId> {
        self.ghosts.set_len(self.residents * 9 / 10);
        let mut victim = self.choose(residents);
        if victim.is_none() {
            // Nothing but the newcomer is left.
            self.settle();
            victim = self.choose(residents);
        }
        self.forget(victim?);
        victim
    }

    fn set_capacity(&mut self, charge: u64) {
        self.small_target = charge / SMALL_SHARE;
    }

    fn renumber(&mut self, moved: &Renumbering) {
        self.settle();
        self.queues.renumber(moved.ids(), |id| moved.get(id));
        self.charges.renumber(moved);
        self.ghosts = Ghosts::new(max_ghosts(moved.ids()));
        self.next = None;
    }

    fn bytes(&self) -> usize {
        self.queues.bytes() + self.ghosts.bytes() + self.charges.bytes()
    }
}

/// The charge of each id, and whether it is in the main queue: 15 bits and one.
///
/// A charge that does not fit is kept in a map beside them.
#[derive(Debug)]
struct Charges {
    words: Vec<u16>,
    large: HashMap<EntryId, u32, ahash::RandomState>,
}

const MAIN: u16 = 1 << 15;
const LARGE: u16 = MAIN - 1;

impl Charges {
    fn new(ids: usize) -> Self {
        Self { words: vec![0; ids], large: HashMap::default() }
    }

    fn bytes(&self) -> usize {
        self.words.capacity() * size_of::<u16>() + self.large.capacity() * (size_of::<(EntryId, u32)>() + 1) * 8 / 7
    }

    fn prefetch(&self, id: EntryId) {
        prefetch(&raw const self.words[id.index()]);
    }

    fn get(&self, id: EntryId) -> u32 {
        match self.words[id.index()] & LARGE {
            LARGE => self.large.get(&id).copied().unwrap_or(0),
            small => u32::from(small),
        }
    }

    fn is_main(&self, id: EntryId) -> bool {
        self.words[id.index()] & MAIN != 0
    }

    fn set_main(&mut self, id: EntryId) {
        self.words[id.index()] |= MAIN;
    }

    /// Sets the charge of an id that had none.
    fn set(&mut self, id: EntryId, charge: u32) {
        self.words[id.index()] = match u16::try_from(charge) {
            Ok(small) if small < LARGE => small,
            _ => {
                self.large.insert(id, charge);
                LARGE
            }
        };
    }

    fn clear(&mut self, id: EntryId) {
        if self.words[id.index()] & LARGE == LARGE {
            self.large.remove(&id);
        }
        self.words[id.index()] = 0;
    }

    fn replace(&mut self, id: EntryId, charge: u32) {
        let main = self.words[id.index()] & MAIN;
        self.clear(id);
        self.set(id, charge);
        self.words[id.index()] |= main;
    }

    fn renumber(&mut self, moved: &Renumbering) {
        let old = core::mem::replace(self, Self::new(moved.ids()));
        for (id, word) in (0..).map(EntryId::new).zip(&old.words) {
            if let Some(to) = moved.get(id) {
                self.set(to, old.get(id));
                self.words[to.index()] |= word & MAIN;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_of_all_sizes_keep_their_queue() {
        let mut charges = Charges::new(4);
        let id = EntryId::new(2);
        for charge in [0, 4, 32_766, 32_767, 65_536, u32::MAX] {
            charges.set(id, charge);
            assert_eq!((charges.get(id), charges.is_main(id)), (charge, false));
            charges.set_main(id);
            charges.replace(id, charge / 2);
            assert_eq!((charges.get(id), charges.is_main(id)), (charge / 2, true));
            charges.clear(id);
            assert_eq!((charges.get(id), charges.is_main(id), charges.large.len()), (0, false, 0));
        }
    }
}
