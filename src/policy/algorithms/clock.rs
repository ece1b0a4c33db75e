//! CLOCK, or second chance: Corbató, "A paging experiment with the Multics system", 1968.
//!
//! One queue. A read sets the entry's reference bit. If the bit of the oldest entry is clear, it is
//! evicted. If not, the bit is cleared and the entry goes round once more, as the newest. The bit
//! of a new entry is clear.
//!
//! With more than one chance (generalised CLOCK: Smith, ACM TODS 1978) the bit is a counter up to
//! that number, and each round takes one from it.
//!
//! Costs 3.6 bytes for each id, and nothing on a hit to a key whose bit is set. Operations are O(1)
//! amortised. It is close to LRU, which it replaces where reads must stay cheap. It has LRU's
//! weakness, and is the wrong choice for scans: a scan empties it.

use core::ops::Range;

use crate::error::BuildError;
use crate::policy::built_in::{BuiltIn, Parameters};
use crate::policy::parameter::{OutOfRange, Parameter};
use crate::policy::structures::{QueueId, Queues};
use crate::policy::{EntryId, EvictionPolicy, Newcomer, PolicyContext, Residents, Standing, Unvisited};
use crate::units::MAX_VISITS;

const ALL: QueueId = QueueId::new(0);

/// Parameters of [`Policy::Clock`](crate::Policy::Clock).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClockConfig {
    chances: u8,
}

impl Default for ClockConfig {
    fn default() -> Self {
        Self { chances: 1 }
    }
}

impl ClockConfig {
    const CHANCES: Parameter = Parameter::number(Clock::NAME, "chances", 1..=MAX_VISITS);

    /// Returns the default parameters: one chance.
    ///
    /// ```
    /// use bytecache::Policy;
    /// use bytecache::policy::ClockConfig;
    ///
    /// assert_eq!(Policy::from(ClockConfig::new()), Policy::Clock);
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how many rounds reads can earn an entry: from 1 to 3.
    ///
    /// ```
    /// use bytecache::Policy;
    /// use bytecache::policy::ClockConfig;
    ///
    /// let policy = Policy::from(ClockConfig::new().chances(2)?);
    /// assert_eq!(policy.to_string(), "clock(chances=2)");
    /// assert!(ClockConfig::new().chances(4).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`BuildError::PolicyParameter`] for any other number.
    pub fn chances(mut self, chances: u8) -> Result<Self, BuildError> {
        self.chances = Self::CHANCES.check(chances)?;
        Ok(self)
    }
}

impl Parameters for ClockConfig {
    fn values(self) -> Vec<(Parameter, String)> {
        vec![(Self::CHANCES, self.chances.to_string())]
    }

    fn with(self, parameter: &Parameter, value: &str) -> Result<Self, OutOfRange> {
        Ok(Self { chances: parameter.parse_number(value)? })
    }
}

#[derive(Debug)]
pub(crate) struct Clock {
    queue: Queues<1>,
    chances: u8,
}

impl BuiltIn for Clock {
    const NAME: &'static str = "clock";
    type Config = ClockConfig;

    fn new(config: ClockConfig, context: &PolicyContext) -> Self {
        Self { queue: Queues::new(context.max_entries(), context.capacity()), chances: config.chances }
    }
}

impl EvictionPolicy for Clock {
    fn evict(&mut self, _newcomer: Option<&Newcomer>, residents: &mut Residents<'_>) -> Option<EntryId> {
        let chances = self.chances;
        // Its hash and its charge are not needed when it leaves.
        let fate = |_| Unvisited::Stays;
        let victim = self.queue.pop_unless(ALL, residents, fate, |queued, turn, residents| {
            residents.set_visits(queued.id, turn.visits.min(chances).checked_sub(1)?);
            Some(queued.mark)
        });
        victim.map(|(id, _)| id)
    }

    fn insert(&mut self, newcomer: &Newcomer) {
        self.queue.push(ALL, newcomer.id);
    }

    fn remove(&mut self, id: EntryId, _charge: u32) {
        self.queue.remove(ALL, id);
    }

    fn resize(&mut self, _ids: usize, max_entries: usize) -> bool {
        self.queue.resize(max_entries)
    }

    fn prepare_renames(&mut self, from: Range<u32>, to: Range<u32>) -> bool {
        self.queue.prepare_renames(from, to)
    }

    fn rename(&mut self, from: EntryId, to: EntryId) {
        self.queue.rename(from, to);
    }

    fn end_renames(&mut self) {
        self.queue.end_renames();
    }

    fn bytes(&self) -> usize {
        self.queue.allocated()
    }

    fn validate(&self) {
        self.queue.validate();
    }

    fn snapshot_name(&self) -> &'static str {
        Self::NAME
    }

    fn begin_walk(&mut self) {
        self.queue.begin_walk();
    }

    fn walk(&mut self, most: usize, show: &mut dyn FnMut(EntryId, Standing)) -> bool {
        self.queue.walk(most, |_, queued| show(queued.id, Standing::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;
    use crate::policy::tests::Outcome::{Evicts, Hit, Miss};
    use crate::policy::tests::follow;

    #[test]
    fn clock_on_a_hand_worked_trace() {
        // From the oldest to the newest; a star is a set bit.
        follow(
            Policy::Clock,
            3,
            &[
                (1, Miss),
                (2, Miss),
                (3, Miss),
                (1, Hit),
                (1, Hit),          // 1* 2 3
                (4, Evicts(&[2])), // 3 1 4
                (3, Hit),
                (1, Hit),          // 3* 1* 4
                (5, Evicts(&[4])), // 3 1 5
                (6, Evicts(&[3])), // 1 5 6
                (1, Hit),
                (5, Hit),
                (6, Hit),          // 1* 5* 6*
                (7, Evicts(&[1])), // 5 6 7: all bits were cleared on the way round
            ],
        );
    }

    #[test]
    fn two_chances_last_for_two_rounds() {
        follow(
            ClockConfig::new().chances(2).unwrap(),
            2,
            &[
                (1, Miss),
                (1, Hit),
                (1, Hit),
                (1, Hit), // Only two of them count.
                (2, Miss),
                (3, Evicts(&[2])), // 1 went round with one chance left, and is the oldest again.
                (4, Evicts(&[3])), // It has none left.
                (5, Evicts(&[1])),
            ],
        );
    }
}
