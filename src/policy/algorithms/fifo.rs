//! FIFO, first in, first out.
//!
//! One queue. The entry that came in first leaves first. Reads and updates change nothing.
//!
//! Costs 3.6 bytes for each id, as nothing ever moves. Every operation is O(1) amortised. It is the
//! baseline of the literature. It is the wrong choice where some keys are read more than others: it
//! misses more than any policy that looks at reads, except on loops and scans, where nothing helps.

use core::ops::Range;

use crate::policy::built_in::{BuiltIn, NoParameters};
use crate::policy::structures::{QueueId, Queues};
use crate::policy::{EntryId, EvictionPolicy, Newcomer, PolicyContext, Residents, Standing};

const ALL: QueueId = QueueId::new(0);

#[derive(Debug)]
pub(crate) struct Fifo {
    queue: Queues<1>,
}

impl BuiltIn for Fifo {
    const NAME: &'static str = "fifo";
    type Config = NoParameters;

    fn new(_parameters: NoParameters, context: &PolicyContext) -> Self {
        Self { queue: Queues::new(context.max_entries(), context.capacity()) }
    }
}

impl EvictionPolicy for Fifo {
    fn evict(&mut self, _newcomer: Option<&Newcomer>, residents: &mut Residents<'_>) -> Option<EntryId> {
        self.queue.pop(ALL, |later| residents.expect(later)).map(|queued| queued.id)
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
    use crate::policy::Policy;
    use crate::policy::tests::Outcome::{Evicts, Hit, Miss};
    use crate::policy::tests::follow;

    #[test]
    fn fifo_on_a_hand_worked_trace() {
        follow(
            Policy::Fifo,
            3,
            &[
                (1, Miss),
                (2, Miss),
                (3, Miss),
                (1, Hit),          // oldest 1 2 3 newest
                (4, Evicts(&[1])), // 2 3 4
                (2, Hit),
                (5, Evicts(&[2])), // 3 4 5
                (1, Evicts(&[3])), // 4 5 1
            ],
        );
    }
}
