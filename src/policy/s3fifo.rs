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
//! Costs 7.8 bytes for each id: 4.4 of queue, 2 of charge, 1.5 of ghosts. Operations are O(1) amortised.
//! It is the wrong choice for block traces whose reuse comes just after an entry has left the small queue,
//! and for loops a little larger than the cache.

use super::algorithm::{Algorithm, Newcomer};
use super::charges::Charges;
use super::ghost_sets::GhostSets;
use super::queue::{Queue, Queues};
use super::{EntryId, PolicyContext, Recency, Renumbering, Residents, percent_of};

const SMALL: Queue = Queue::new(0);
const MAIN: Queue = Queue::new(1);

/// Parameters of [`Policy::S3Fifo`](super::Policy::S3Fifo).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct S3FifoConfig {
    pub(super) small_percent: u8,
    pub(super) promotion_visits: u8,
}

impl Default for S3FifoConfig {
    fn default() -> Self {
        Self { small_percent: 10, promotion_visits: 2 }
    }
}

impl S3FifoConfig {
    /// 10 % small, promoted at two visits.
    pub fn new() -> Self {
        Self::default()
    }

    /// How much of the capacity the small queue keeps, in percent, at most 100.
    pub fn small_percent(mut self, percent: u8) -> Self {
        self.small_percent = percent.min(100);
        self
    }

    /// How many visits take an entry from small to main, from 1 to 3; other numbers become the nearest of these.
    pub fn promotion_visits(mut self, visits: u8) -> Self {
        self.promotion_visits = visits.clamp(1, 3);
        self
    }
}

#[derive(Debug)]
pub(super) struct S3Fifo {
    config: S3FifoConfig,
    queues: Queues<2>,
    ghosts: GhostSets,
    charges: Charges,
    small_target: u64,
    small_charge: u64,
    entries: usize,
    main_entries: usize,
}

impl S3Fifo {
    pub(super) fn new(config: S3FifoConfig, context: &PolicyContext) -> Self {
        Self {
            config,
            queues: Queues::new(context.ids()),
            ghosts: GhostSets::new(max_ghosts(context.ids())),
            charges: Charges::new(context.ids()),
            small_target: percent_of(context.capacity(), config.small_percent),
            small_charge: 0,
            entries: 0,
            main_entries: 0,
        }
    }

    fn enter_main(&mut self, id: EntryId) {
        self.charges.set_queue(id, MAIN);
        self.main_entries += 1;
        self.queues.push(MAIN, id);
    }

    fn forget(&mut self, id: EntryId) {
        if self.charges.queue(id) == MAIN {
            self.main_entries -= 1;
        } else {
            self.small_charge -= u64::from(self.charges.get(id));
        }
        self.charges.clear(id);
        self.entries -= 1;
    }

    /// Pops the small queue until an entry has to leave, or the queue is down to its share.
    fn evict_small(&mut self, residents: &mut Residents<'_>) -> Option<EntryId> {
        while self.small_charge >= self.small_target || self.main_entries == 0 {
            if let Some(later) = self.queues.announce(SMALL, residents) {
                self.charges.prefetch(later);
            }
            let id = self.queues.pop(SMALL)?;
            if residents.visits(id) < self.config.promotion_visits {
                self.ghosts.insert(residents.hash(id), SMALL);
                return Some(id);
            }
            residents.set_visits(id, 0);
            self.small_charge -= u64::from(self.charges.get(id));
            self.enter_main(id);
        }
        None
    }

    /// Sends visited entries round until one has to leave.
    fn evict_main(&mut self, residents: &mut Residents<'_>) -> Option<EntryId> {
        let later = |id| self.charges.prefetch(id);
        self.queues.pop_unless(MAIN, residents, later, |id, residents| {
            let visits = residents.visits(id);
            if visits > 0 {
                residents.set_visits(id, visits - 1);
            }
            visits > 0
        })
    }
}

/// Ghosts for a table of so many ids, which is at most 85 % full: nine tenths of the entries.
fn max_ghosts(ids: usize) -> usize {
    ids * 9 / 10 * 85 / 100
}

impl Algorithm for S3Fifo {
    fn recency(&self) -> Recency {
        Recency::Counted
    }

    fn miss(&mut self, newcomer: &Newcomer) {
        // Needed when it takes its place.
        self.ghosts.prefetch(newcomer.hash);
        self.charges.prefetch(newcomer.id);
    }

    fn evict(&mut self, _newcomer: Option<&Newcomer>, residents: &mut Residents<'_>) -> Option<EntryId> {
        self.ghosts.set_len(self.entries * 9 / 10);
        let victim = self.evict_small(residents).or_else(|| self.evict_main(residents))?;
        self.forget(victim);
        Some(victim)
    }

    fn place(&mut self, newcomer: &Newcomer) {
        let &Newcomer { id, hash, charge } = newcomer;
        self.entries += 1;
        self.charges.set(id, charge);
        if self.ghosts.take(hash).is_some() {
            self.enter_main(id);
        } else {
            self.charges.set_queue(id, SMALL);
            self.small_charge += u64::from(charge);
            self.queues.push(SMALL, id);
        }
    }

    fn update(&mut self, id: EntryId, charge: u32) {
        if self.charges.queue(id) == SMALL {
            self.small_charge = self.small_charge - u64::from(self.charges.get(id)) + u64::from(charge);
        }
        self.charges.set(id, charge);
    }

    fn remove(&mut self, id: EntryId) {
        self.queues.remove(self.charges.queue(id), id);
        self.forget(id);
    }

    fn set_capacity(&mut self, charge: u64) {
        self.small_target = percent_of(charge, self.config.small_percent);
    }

    fn renumber(&mut self, moved: &Renumbering) {
        self.queues.renumber(moved);
        self.charges.renumber(moved);
        self.ghosts.resize(max_ghosts(moved.ids()));
    }

    fn bytes(&self) -> usize {
        self.queues.allocated() + self.ghosts.allocated() + self.charges.allocated()
    }

    fn validate(&self) {
        assert_eq!(self.queues.validate(), self.entries);
    }
}
