//! SLRU, segmented LRU: Karedla, Love and Wherry, "Caching strategies to improve disk system
//! performance", IEEE Computer 1994.
//!
//! ```text
//!   miss -> [ probation: LRU ] -- hit --> [ protected: LRU, at most 80 % ] <- hit
//!               | oldest: evicted  ^                    | oldest, while there are too many
//!               v                  +--------------------+
//! ```
//!
//! Two LRU lists. A new entry enters probation. A hit moves it to protected, whose oldest entries
//! return to the newest end of probation. Probation is evicted first, so an entry that was read
//! once leaves before one that was read twice. Probation has no limit of its own: it has the space
//! that protected leaves.
//!
//! Where the paper leaves a choice:
//!
//! * The limit is 80 % of the capacity by default, in charge. One entry that is larger than the
//!   limit stays protected alone.
//! * New entries enter probation while the cache fills, too. libCacheSim puts them into protected
//!   then.
//!
//! Costs 10 bytes for each id. Every operation is O(1). It is the wrong choice for pure recency,
//! where both reads of a key have to fall into the short time in probation, and where popularity
//! changes: entries stay protected for long.

use crate::error::BuildError;
use crate::policy::built_in::{BuiltIn, Parameters};
use crate::policy::parameter::{OutOfRange, Parameter};
use crate::policy::structures::{Lists, QueueId, SURPLUS_AT_ONCE};
use crate::policy::{EntryId, EvictionPolicy, Newcomer, PolicyContext, Recency, Residents, Standing, percent_of};

const PROBATION: QueueId = QueueId::new(0);
const PROTECTED: QueueId = QueueId::new(1);

/// Parameters of [`Policy::Slru`](crate::Policy::Slru).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlruConfig {
    protected_percent: u8,
}

impl Default for SlruConfig {
    fn default() -> Self {
        Self { protected_percent: 80 }
    }
}

impl SlruConfig {
    const PROTECTED: Parameter = Parameter::number(Slru::NAME, "protected", 0..=100);

    /// Returns the default parameters: 80 % protected.
    ///
    /// ```
    /// use bytecache::Policy;
    /// use bytecache::policy::SlruConfig;
    ///
    /// assert_eq!(Policy::from(SlruConfig::new()), Policy::Slru);
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how much of the capacity the protected list may take, in percent: from 0 to 100.
    ///
    /// ```
    /// use bytecache::Policy;
    /// use bytecache::policy::SlruConfig;
    ///
    /// let policy = Policy::from(SlruConfig::new().protected_percent(50)?);
    /// assert_eq!(policy.to_string(), "slru(protected=50)");
    /// assert!(SlruConfig::new().protected_percent(101).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`BuildError::PolicyParameter`] for any other number.
    pub fn protected_percent(mut self, percent: u8) -> Result<Self, BuildError> {
        self.protected_percent = Self::PROTECTED.check(percent)?;
        Ok(self)
    }
}

impl Parameters for SlruConfig {
    fn values(self) -> Vec<(Parameter, String)> {
        vec![(Self::PROTECTED, self.protected_percent.to_string())]
    }

    fn with(self, parameter: &Parameter, value: &str) -> Result<Self, OutOfRange> {
        Ok(Self { protected_percent: parameter.parse_number(value)? })
    }
}

#[derive(Debug)]
pub(crate) struct Slru {
    lists: Lists<2>,
    protected_percent: u8,
    /// The charge that may be protected. More than `protected_goal` for some calls after the
    /// capacity has become smaller.
    protected_max: u64,
    protected_goal: u64,
}

impl Slru {
    /// Moves protected entries back to probation while there are too many: as many bytes as have
    /// become protected, and those of a bounded number of entries if the capacity has become
    /// smaller.
    fn demote(&mut self) {
        while self.has_more_than(self.protected_max) {
            self.demote_oldest();
        }
        if self.protected_max != self.protected_goal {
            self.approach_goal();
        }
    }

    #[cold]
    fn approach_goal(&mut self) {
        let mut left = SURPLUS_AT_ONCE;
        while left > 0 && self.has_more_than(self.protected_goal) {
            self.demote_oldest();
            left -= 1;
        }
        let is_reached = !self.has_more_than(self.protected_goal);
        self.protected_max = if is_reached { self.protected_goal } else { self.lists.charge(PROTECTED) };
    }

    fn has_more_than(&self, charge: u64) -> bool {
        self.lists.charge(PROTECTED) > charge && self.lists.len(PROTECTED) > 1
    }

    fn demote_oldest(&mut self) {
        if let Some(oldest) = self.lists.oldest(PROTECTED) {
            self.lists.move_to_newest(PROBATION, oldest);
        }
    }
}

impl BuiltIn for Slru {
    const NAME: &'static str = "slru";
    type Config = SlruConfig;

    fn new(config: SlruConfig, context: &PolicyContext) -> Self {
        let protected_max = percent_of(context.capacity(), config.protected_percent);
        let protected_percent = config.protected_percent;
        Self { lists: Lists::new(context.ids()), protected_percent, protected_max, protected_goal: protected_max }
    }
}

impl EvictionPolicy for Slru {
    fn recency(&self) -> Recency {
        Recency::Ordered
    }

    fn touch(&mut self, id: EntryId) {
        self.lists.move_to_newest(PROTECTED, id);
        self.demote();
    }

    fn evict(&mut self, _newcomer: Option<&Newcomer>, residents: &mut Residents<'_>) -> Option<EntryId> {
        self.lists.evict_oldest(PROBATION, residents).or_else(|| self.lists.evict_oldest(PROTECTED, residents))
    }

    fn insert(&mut self, newcomer: &Newcomer) {
        self.lists.push_newest(PROBATION, newcomer.id, newcomer.charge);
    }

    fn update(&mut self, id: EntryId, _old_charge: u32, charge: u32) {
        self.lists.set_charge(id, charge);
        self.touch(id);
    }

    fn remove(&mut self, id: EntryId, _charge: u32) {
        self.lists.remove(id);
    }

    fn set_capacity(&mut self, charge: u64) {
        self.protected_goal = percent_of(charge, self.protected_percent);
        self.approach_goal();
    }

    fn resize(&mut self, ids: usize, _max_entries: usize) -> bool {
        self.lists.resize(ids)
    }

    fn rename(&mut self, from: EntryId, to: EntryId) {
        self.lists.rename(from, to);
    }

    fn bytes(&self) -> usize {
        self.lists.allocated()
    }

    fn validate(&self) {
        self.lists.validate();
        assert!(self.lists.charge(PROTECTED) <= self.protected_max || self.lists.len(PROTECTED) <= 1);
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
        let list = if standing.class == PROTECTED.number() { PROTECTED } else { PROBATION };
        self.lists.push_newest(list, newcomer.id, newcomer.charge);
        self.demote();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::Outcome::{Evicts, Hit, Miss};
    use crate::policy::tests::follow;

    #[test]
    fn slru_demotes_a_bounded_number_of_entries_at_once_for_a_smaller_capacity() {
        let mut slru = Slru::new(SlruConfig::new(), &PolicyContext::new(2000, 1000));
        for number in 0..1000 {
            slru.insert(&Newcomer { id: EntryId::new(number), hash: number.into(), charge: 1 });
            slru.touch(EntryId::new(number));
        }
        assert_eq!(slru.lists.len(PROTECTED), 800);
        slru.set_capacity(100);
        for left in [800 - SURPLUS_AT_ONCE, 800 - 2 * SURPLUS_AT_ONCE, 80, 80] {
            assert_eq!(slru.lists.len(PROTECTED), left);
            slru.validate();
            slru.touch(EntryId::new(999));
        }
    }

    #[test]
    fn slru_on_a_hand_worked_trace() {
        // Two of five may be protected. Probation | protected, each from the oldest to the newest.
        follow(
            SlruConfig::new().protected_percent(40).unwrap(),
            5,
            &[
                (1, Miss),
                (2, Miss),
                (3, Miss),
                (1, Hit), // 2 3 | 1
                (2, Hit), // 3 | 1 2
                (3, Hit), // 1 | 2 3
                (4, Miss),
                (5, Miss),          // 1 4 5 | 2 3
                (6, Evicts(&[1])),  // 4 5 6 | 2 3
                (4, Hit),           // 5 6 2 | 3 4
                (7, Evicts(&[5])),  // 6 2 7 | 3 4
                (3, Hit),           // 6 2 7 | 4 3
                (2, Hit),           // 6 7 4 | 3 2
                (8, Evicts(&[6])),  // 7 4 8 | 3 2
                (9, Evicts(&[7])),  // 4 8 9 | 3 2
                (10, Evicts(&[4])), // 8 9 10 | 3 2
            ],
        );
    }
}
