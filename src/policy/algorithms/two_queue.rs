//! 2Q, the full version: Johnson and Shasha, "2Q: a low overhead high performance buffer management
//! replacement algorithm", VLDB 1994.
//!
//! ```text
//!   miss ------------> [ A1in: FIFO, 25 % ] -- oldest: evicted --> ( A1out: ghosts, 50 % )
//!   miss, in A1out --> [ Am: LRU ] -- oldest: evicted, leaves no ghost
//! ```
//!
//! A new entry enters A1in, where hits change nothing: reads soon after the first one say little.
//! A1in is evicted while it holds more than its share Kin, else Am. A key that is missed again
//! while its ghost is in A1out was wanted for longer, and enters Am.
//!
//! Where the paper leaves a choice:
//!
//! * Kin and Kout are shares of the capacity in charge. A ghost counts with the charge of its
//!   entry.
//! * An entry larger than Kin is admitted all the same.
//! * A returning key leaves A1out before room is made for it.
//!
//! Costs 10 bytes for each id, and 14 for each of half as many ghosts. Every operation is O(1)
//! amortised. It is the wrong choice where keys come back within a short time, or only once, after
//! they have left A1in: the first return is always a miss.

use crate::error::BuildError;
use crate::policy::built_in::{BuiltIn, Parameters};
use crate::policy::parameter::{OutOfRange, Parameter};
use crate::policy::structures::{GhostQueues, Lists, QueueId, SURPLUS_AT_ONCE};
use crate::policy::{EntryId, EvictionPolicy, Newcomer, PolicyContext, Recency, Residents, Standing, percent_of};

const A1_IN: QueueId = QueueId::new(0);
const AM: QueueId = QueueId::new(1);
const A1_OUT: QueueId = QueueId::new(0);

/// Parameters of [`Policy::TwoQueue`](crate::Policy::TwoQueue).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TwoQueueConfig {
    in_percent: u8,
    out_percent: u8,
}

impl Default for TwoQueueConfig {
    fn default() -> Self {
        Self { in_percent: 25, out_percent: 50 }
    }
}

impl TwoQueueConfig {
    const IN: Parameter = Parameter::number(TwoQueue::NAME, "in", 0..=100);
    const OUT: Parameter = Parameter::number(TwoQueue::NAME, "out", 0..=200);

    /// Returns the default parameters: Kin 25 %, Kout 50 %.
    ///
    /// ```
    /// use bytecache::Policy;
    /// use bytecache::policy::TwoQueueConfig;
    ///
    /// assert_eq!(Policy::from(TwoQueueConfig::new()), Policy::TwoQueue);
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets Kin: how much of the capacity A1in keeps, in percent, from 0 to 100.
    ///
    /// ```
    /// use bytecache::Policy;
    /// use bytecache::policy::TwoQueueConfig;
    ///
    /// let policy = Policy::from(TwoQueueConfig::new().in_percent(10)?);
    /// assert_eq!(policy.to_string(), "2q(in=10,out=50)");
    /// assert!(TwoQueueConfig::new().in_percent(101).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`BuildError::PolicyParameter`] for any other number.
    pub fn in_percent(mut self, percent: u8) -> Result<Self, BuildError> {
        self.in_percent = Self::IN.check(percent)?;
        Ok(self)
    }

    /// Sets Kout: the sum of the charges of the ghosts' entries, in percent of the capacity, from 0
    /// to 200.
    ///
    /// ```
    /// use bytecache::Policy;
    /// use bytecache::policy::TwoQueueConfig;
    ///
    /// let policy = Policy::from(TwoQueueConfig::new().out_percent(100)?);
    /// assert_eq!(policy.to_string(), "2q(in=25,out=100)");
    /// assert!(TwoQueueConfig::new().out_percent(201).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`BuildError::PolicyParameter`] for any other number.
    pub fn out_percent(mut self, percent: u8) -> Result<Self, BuildError> {
        self.out_percent = Self::OUT.check(percent)?;
        Ok(self)
    }
}

impl Parameters for TwoQueueConfig {
    fn values(self) -> Vec<(Parameter, String)> {
        vec![(Self::IN, self.in_percent.to_string()), (Self::OUT, self.out_percent.to_string())]
    }

    fn with(self, parameter: &Parameter, value: &str) -> Result<Self, OutOfRange> {
        let percent = parameter.parse_number(value)?;
        Ok(if *parameter == Self::IN {
            Self { in_percent: percent, ..self }
        } else {
            Self { out_percent: percent, ..self }
        })
    }
}

#[derive(Debug)]
pub(crate) struct TwoQueue {
    config: TwoQueueConfig,
    lists: Lists<2>,
    a1_out: GhostQueues<1>,
    k_in: u64,
    /// The charge of the ghosts. More than `k_out_goal` for some calls after the capacity has
    /// become smaller.
    k_out: u64,
    k_out_goal: u64,
    /// The newcomer was in A1out.
    is_known: bool,
}

impl TwoQueue {
    /// Forgets a bounded number of ghosts if there are too many since the capacity has become
    /// smaller.
    #[cold]
    fn approach_goal(&mut self) {
        let mut left = SURPLUS_AT_ONCE;
        while left > 0 && self.a1_out.charge(A1_OUT) > self.k_out_goal {
            self.a1_out.pop(A1_OUT);
            left -= 1;
        }
        self.k_out = self.k_out_goal.max(self.a1_out.charge(A1_OUT));
    }
}

fn max_ghosts(config: TwoQueueConfig, ids: usize) -> usize {
    ids * usize::from(config.out_percent) / 100
}

impl BuiltIn for TwoQueue {
    const NAME: &'static str = "2q";
    type Config = TwoQueueConfig;

    fn new(config: TwoQueueConfig, context: &PolicyContext) -> Self {
        let mut policy = Self {
            config,
            lists: Lists::new(context.ids()),
            a1_out: GhostQueues::new(max_ghosts(config, context.ids()), context.capacity()),
            k_in: 0,
            k_out: 0,
            k_out_goal: 0,
            is_known: false,
        };
        policy.set_capacity(context.capacity());
        policy
    }
}

impl EvictionPolicy for TwoQueue {
    fn recency(&self) -> Recency {
        Recency::Ordered
    }

    fn prepare_insert(&mut self, newcomer: &Newcomer) {
        self.is_known = self.a1_out.take(newcomer.hash).is_some();
    }

    fn touch(&mut self, id: EntryId) {
        if self.lists.list_of(id) == AM {
            self.lists.move_to_newest(AM, id);
        }
    }

    fn evict(&mut self, _newcomer: Option<&Newcomer>, residents: &mut Residents<'_>) -> Option<EntryId> {
        if self.lists.charge(A1_IN) > self.k_in || self.lists.len(AM) == 0 {
            let victim = self.lists.oldest(A1_IN)?;
            self.a1_out.push(A1_OUT, residents.hash(victim), self.lists.charge_of(victim));
            self.a1_out.trim(A1_OUT, self.k_out);
            if self.k_out != self.k_out_goal {
                self.approach_goal();
            }
            self.lists.evict(victim, residents);
            return Some(victim);
        }
        self.lists.evict_oldest(AM, residents)
    }

    fn insert(&mut self, newcomer: &Newcomer) {
        let list = if self.is_known { AM } else { A1_IN };
        self.lists.push_newest(list, newcomer.id, newcomer.charge);
    }

    fn update(&mut self, id: EntryId, _old_charge: u32, charge: u32) {
        self.lists.set_charge(id, charge);
        self.touch(id);
    }

    fn remove(&mut self, id: EntryId, _charge: u32) {
        self.lists.remove(id);
    }

    fn set_capacity(&mut self, charge: u64) {
        self.k_in = percent_of(charge, self.config.in_percent);
        self.k_out_goal = percent_of(charge, self.config.out_percent);
        self.approach_goal();
    }

    fn resize(&mut self, ids: usize, _max_entries: usize) -> bool {
        let are_lists_done = self.lists.resize(ids);
        self.a1_out.resize(max_ghosts(self.config, ids)) && are_lists_done
    }

    fn rename(&mut self, from: EntryId, to: EntryId) {
        self.lists.rename(from, to);
    }

    fn bytes(&self) -> usize {
        self.lists.allocated() + self.a1_out.allocated()
    }

    fn validate(&self) {
        self.lists.validate();
        self.a1_out.validate();
        assert!(self.a1_out.charge(A1_OUT) <= self.k_out);
    }

    fn snapshot_name(&self) -> &'static str {
        Self::NAME
    }

    fn begin_walk(&mut self) {
        self.lists.begin_walk();
    }

    fn walk(&mut self, most: usize, show: &mut dyn FnMut(EntryId, Standing)) -> bool {
        for _ in 0..most {
            let Some(id) = self.lists.walk() else { return true };
            show(id, Standing::new().class(self.lists.list_of(id).number()));
        }
        false
    }

    fn restore(&mut self, newcomer: &Newcomer, standing: Standing) {
        let list = if standing.class == AM.number() { AM } else { A1_IN };
        self.lists.push_newest(list, newcomer.id, newcomer.charge);
    }

    fn save_history(&self, part: usize, bytes: &mut Vec<u8>) -> bool {
        self.a1_out.save(part, bytes)
    }

    fn restore_history(&mut self, _part: usize, bytes: &[u8]) {
        self.a1_out.restore(bytes);
        self.a1_out.trim(A1_OUT, self.k_out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;
    use crate::policy::tests::Outcome::{Evicts, Hit, Miss};
    use crate::policy::tests::follow;

    #[test]
    fn two_queue_forgets_a_bounded_number_of_ghosts_at_once_for_a_smaller_capacity() {
        let mut policy = TwoQueue::new(TwoQueueConfig::new(), &PolicyContext::new(4000, 2000));
        (1..=1000).for_each(|hash| policy.a1_out.push(A1_OUT, crate::policy::spread(hash), 1));
        policy.set_capacity(200);
        for left in [1000 - 256, 1000 - 512, 1000 - 768, 100, 100] {
            assert_eq!(policy.a1_out.charge(A1_OUT), left);
            policy.validate();
            policy.approach_goal();
        }
    }

    #[test]
    fn two_queue_on_a_hand_worked_trace() {
        // Kin is 1 and Kout 2. A1in | Am ( A1out ), each from the oldest to the newest.
        follow(
            Policy::TwoQueue,
            4,
            &[
                (1, Miss),
                (2, Miss),
                (3, Miss),
                (4, Miss),
                (1, Hit),          // 1 2 3 4 | ( )
                (5, Evicts(&[1])), // 2 3 4 5 | ( 1 )
                (6, Evicts(&[2])), // 3 4 5 6 | ( 1 2 )
                (1, Evicts(&[3])), // 4 5 6 | 1 ( 2 3 )
                (7, Evicts(&[4])), // 5 6 7 | 1 ( 3 4 )
                (3, Evicts(&[5])), // 6 7 | 1 3 ( 4 5 )
                (4, Evicts(&[6])), // 7 | 1 3 4 ( 5 6 )
                (1, Hit),          // 7 | 3 4 1 ( 5 6 )
                (8, Evicts(&[3])), // 7 8 | 4 1 ( 5 6 ): A1in is not over its share, and Am leaves no ghost
                (3, Evicts(&[7])), // 8 3 | 4 1 ( 6 7 )
                (2, Evicts(&[8])), // 3 2 | 4 1 ( 7 8 ): 2 was forgotten
            ],
        );
    }
}
