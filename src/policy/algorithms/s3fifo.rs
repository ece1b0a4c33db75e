//! S3-FIFO: Yang, Zhang, Qiu, Yue and Rashmi, "FIFO queues are all you need for cache eviction",
//! SOSP 2023.
//!
//! ```text
//!   new key --------> [ small, 10 % ] -- two visits or more --> [ main, 90 % ] --+
//!   new key, a ghost -----------------------------------------> ^  |             | visited: again,
//!                         | fewer visits                        |  | no visit    | one visit less
//!                         v                                     |  v             |
//!                      evicted, leaves a ghost                  |  evicted       |
//!                                                               +----------------+
//! ```
//!
//! Small is evicted while it holds more than its share, else main. A read counts a visit, up to
//! three, and moves nothing. Visits start at 0 again on the way from small to main. There are as
//! many ghosts as nine tenths of the entries.
//!
//! Where the paper leaves a choice:
//!
//! * An entry is promoted at two visits, as in the paper's pseudo code. Its text says one.
//! * Shares are in charge. An entry larger than small's share is admitted all the same.
//! * Ghosts are limited by number. They are approximate: see `GhostSets`.
//!
//! Costs 5.3 bytes for each id: 3.6 of queues, 1.5 of ghosts, one bit. Operations are O(1)
//! amortised. It is the wrong choice for block traces whose reuse comes just after an entry has
//! left small, and for loops a little larger than the cache.

use core::ops::Range;

use crate::error::BuildError;
use crate::policy::built_in::{BuiltIn, Parameters};
use crate::policy::parameter::{OutOfRange, Parameter};
use crate::policy::structures::{GhostSets, IdSet, QueueId, Queued, Queues};
use crate::policy::{EntryId, EvictionPolicy, Newcomer, PolicyContext, Residents, Standing, Unvisited, percent_of};
use crate::units::MAX_VISITS;

const SMALL: QueueId = QueueId::new(0);
const MAIN: QueueId = QueueId::new(1);

/// Parameters of [`Policy::S3Fifo`](crate::Policy::S3Fifo).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct S3FifoConfig {
    small_percent: u8,
    promotion_visits: u8,
}

impl Default for S3FifoConfig {
    fn default() -> Self {
        Self { small_percent: 10, promotion_visits: 2 }
    }
}

impl S3FifoConfig {
    const SMALL: Parameter = Parameter::number(S3Fifo::NAME, "small", 0..=100);
    const VISITS: Parameter = Parameter::number(S3Fifo::NAME, "visits", 1..=MAX_VISITS);

    /// Returns the default parameters: 10 % small, promoted at two visits.
    ///
    /// ```
    /// use bytecache::Policy;
    /// use bytecache::policy::S3FifoConfig;
    ///
    /// assert_eq!(Policy::from(S3FifoConfig::new()), Policy::S3Fifo);
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how much of the capacity the small queue keeps, in percent: from 0 to 100.
    ///
    /// ```
    /// use bytecache::Policy;
    /// use bytecache::policy::S3FifoConfig;
    ///
    /// let policy = Policy::from(S3FifoConfig::new().small_percent(20)?);
    /// assert_eq!(policy.to_string(), "s3-fifo(small=20,visits=2)");
    /// assert!(S3FifoConfig::new().small_percent(101).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`BuildError::PolicyParameter`] for any other number.
    pub fn small_percent(mut self, percent: u8) -> Result<Self, BuildError> {
        self.small_percent = Self::SMALL.check(percent)?;
        Ok(self)
    }

    /// Sets how many visits take an entry from small to main: from 1 to 3.
    ///
    /// ```
    /// use bytecache::Policy;
    /// use bytecache::policy::S3FifoConfig;
    ///
    /// let policy = Policy::from(S3FifoConfig::new().promotion_visits(1)?);
    /// assert_eq!(policy.to_string(), "s3-fifo(small=10,visits=1)");
    /// assert!(S3FifoConfig::new().promotion_visits(0).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`BuildError::PolicyParameter`] for any other number.
    pub fn promotion_visits(mut self, visits: u8) -> Result<Self, BuildError> {
        self.promotion_visits = Self::VISITS.check(visits)?;
        Ok(self)
    }
}

impl Parameters for S3FifoConfig {
    fn values(self) -> Vec<(Parameter, String)> {
        vec![(Self::SMALL, self.small_percent.to_string()), (Self::VISITS, self.promotion_visits.to_string())]
    }

    fn with(self, parameter: &Parameter, value: &str) -> Result<Self, OutOfRange> {
        let number = parameter.parse_number(value)?;
        Ok(if *parameter == Self::SMALL {
            Self { small_percent: number, ..self }
        } else {
            Self { promotion_visits: number, ..self }
        })
    }
}

/// The fields that each insert writes to come first.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct S3Fifo {
    small_charge: u64,
    entries: usize,
    main_entries: usize,
    ghosts: GhostSets,
    queues: Queues<2>,
    /// The entries of main. The others are in small.
    in_main: IdSet,
    small_target: u64,
    config: S3FifoConfig,
}

impl S3Fifo {
    fn enter_main(&mut self, id: EntryId) {
        self.in_main.insert(id);
        self.main_entries += 1;
        self.queues.push(MAIN, id);
    }

    /// Pops the small queue until an entry has to leave, or the queue is down to its share.
    fn evict_small(&mut self, residents: &mut Residents<'_>) -> Option<EntryId> {
        // Amortised: each round takes an id out of the small queue.
        while self.small_charge >= self.small_target || self.main_entries == 0 {
            let (Queued { id, .. }, later) = self.queues.pop_and_tell(SMALL, |later| residents.expect(later))?;
            let turn = residents.turn(id, later, Unvisited::Leaves);
            if turn.visits < self.config.promotion_visits {
                let (charge, hash) = residents.charge_and_hash_after(turn, id);
                self.ghosts.insert(hash, SMALL);
                self.small_charge -= u64::from(charge);
                self.entries -= 1;
                return Some(id);
            }
            residents.set_visits(id, 0);
            self.small_charge -= u64::from(residents.charge(id));
            self.enter_main(id);
        }
        None
    }

    /// Sends visited entries round until one has to leave.
    fn evict_main(&mut self, residents: &mut Residents<'_>) -> Option<EntryId> {
        // Its hash and its charge are not needed when it leaves.
        let fate = |_| Unvisited::Stays;
        let (id, _) = self.queues.pop_unless(MAIN, residents, fate, |queued, turn, residents| {
            residents.set_visits(queued.id, turn.visits.checked_sub(1)?);
            Some(queued.mark)
        })?;
        self.in_main.remove(id);
        self.main_entries -= 1;
        self.entries -= 1;
        Some(id)
    }
}

/// Returns the number of ghosts that are kept beside `entries` entries: nine tenths of it.
fn max_ghosts(entries: usize) -> usize {
    entries * 9 / 10
}

impl BuiltIn for S3Fifo {
    const NAME: &'static str = "s3-fifo";
    type Config = S3FifoConfig;

    fn new(config: S3FifoConfig, context: &PolicyContext) -> Self {
        Self {
            small_charge: 0,
            entries: 0,
            main_entries: 0,
            ghosts: GhostSets::new(max_ghosts(context.max_entries())),
            queues: Queues::new(context.max_entries(), context.capacity()),
            in_main: IdSet::new(context.ids()),
            small_target: percent_of(context.capacity(), config.small_percent),
            config,
        }
    }
}

impl EvictionPolicy for S3Fifo {
    fn prepare_insert(&mut self, newcomer: &Newcomer) {
        self.ghosts.prefetch(newcomer.hash);
    }

    fn prefetch_insert(&self, newcomer: &Newcomer) {
        self.ghosts.prefetch_to_take(newcomer.hash);
    }

    fn evict(&mut self, _newcomer: Option<&Newcomer>, residents: &mut Residents<'_>) -> Option<EntryId> {
        self.ghosts.set_len(max_ghosts(self.entries));
        self.evict_small(residents).or_else(|| self.evict_main(residents))
    }

    fn insert(&mut self, newcomer: &Newcomer) {
        let &Newcomer { id, hash, charge } = newcomer;
        self.entries += 1;
        if self.ghosts.take(hash).is_some() {
            self.enter_main(id);
        } else {
            self.small_charge += u64::from(charge);
            self.queues.push(SMALL, id);
        }
    }

    fn update(&mut self, id: EntryId, old_charge: u32, charge: u32) {
        if charge != old_charge && !self.in_main.contains(id) {
            self.small_charge = self.small_charge - u64::from(old_charge) + u64::from(charge);
        }
    }

    fn remove(&mut self, id: EntryId, charge: u32) {
        if self.in_main.remove(id) {
            self.queues.remove(MAIN, id);
            self.main_entries -= 1;
        } else {
            self.queues.remove(SMALL, id);
            self.small_charge -= u64::from(charge);
        }
        self.entries -= 1;
    }

    fn set_capacity(&mut self, charge: u64) {
        self.small_target = percent_of(charge, self.config.small_percent);
    }

    fn resize(&mut self, ids: usize, max_entries: usize) -> bool {
        let is_set_done = self.in_main.resize(ids);
        let are_queues_done = self.queues.resize(max_entries);
        self.ghosts.resize(max_ghosts(max_entries)) && are_queues_done && is_set_done
    }

    fn prepare_renames(&mut self, from: Range<u32>, to: Range<u32>) -> bool {
        self.queues.prepare_renames(from, to)
    }

    fn rename(&mut self, from: EntryId, to: EntryId) {
        self.in_main.rename(from, to);
        self.queues.rename(from, to);
    }

    fn end_renames(&mut self) {
        self.queues.end_renames();
    }

    fn bytes(&self) -> usize {
        self.queues.allocated() + self.ghosts.allocated() + self.in_main.allocated()
    }

    fn validate(&self) {
        assert_eq!(self.queues.validate(), self.entries);
        let main = self.queues.ids(MAIN);
        assert!(main.iter().all(|&id| self.in_main.contains(id)));
        assert_eq!((main.len(), self.in_main.len()), (self.main_entries, self.main_entries));
    }

    fn snapshot_name(&self) -> &'static str {
        Self::NAME
    }

    fn begin_walk(&mut self) {
        self.queues.begin_walk();
    }

    fn walk(&mut self, most: usize, show: &mut dyn FnMut(EntryId, Standing)) -> bool {
        self.queues.walk(most, |queue, queued| show(queued.id, Standing::new().class(queue.number())))
    }

    fn restore(&mut self, newcomer: &Newcomer, standing: Standing) {
        self.entries += 1;
        if standing.class == MAIN.number() {
            self.enter_main(newcomer.id);
        } else {
            self.small_charge += u64::from(newcomer.charge);
            self.queues.push(SMALL, newcomer.id);
        }
    }

    fn save_history(&self, part: usize, bytes: &mut Vec<u8>) -> bool {
        self.ghosts.save(part, bytes)
    }

    fn restore_history(&mut self, _part: usize, bytes: &[u8]) {
        self.ghosts.restore(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;
    use crate::policy::tests::Outcome::{Evicts, Hit, Miss};
    use crate::policy::tests::follow;

    #[test]
    fn s3_fifo_on_a_hand_worked_trace() {
        let mut steps: Vec<_> = (0..10).map(|key| (key, Miss)).collect();
        steps.extend([
            (0, Hit),
            (0, Hit),
            (1, Hit),
            // The small queue's share is 1, and it holds all. 0 was visited twice and goes to main.
            // 1 was visited once, which is not enough.
            (10, Evicts(&[1])),
            (11, Evicts(&[2])),
            // 1 is a ghost: it enters main, and the small queue's oldest leaves for it.
            (1, Evicts(&[3])),
            // Small 4 to 11, main 0 1: small is evicted while it is over its share.
            (20, Evicts(&[4])),
            (21, Evicts(&[5])),
            (22, Evicts(&[6])),
            (0, Hit),
            (1, Hit),
        ]);
        follow(Policy::S3Fifo, 10, &steps);
        // The small queue's share is 2. Small | main, each from the oldest to the newest.
        follow(
            S3FifoConfig::new().small_percent(50).unwrap().promotion_visits(1).unwrap(),
            4,
            &[
                (1, Miss),
                (2, Miss),
                (3, Miss),
                (4, Miss),
                (1, Hit),
                (2, Hit),
                (5, Evicts(&[3])), // 4 5 | 1 2
                (1, Hit),
                (6, Evicts(&[4])), // 5 6 | 1 2
                (5, Hit),
                (7, Evicts(&[2])), // 6 7 | 5 1: 5 was promoted, 1 went round
                (3, Evicts(&[6])), // 7 | 5 1 3
                (2, Evicts(&[5])), // 7 2 | 1 3: main leaves no ghosts
                (8, Evicts(&[7])), // 2 8 | 1 3
            ],
        );
    }
}
