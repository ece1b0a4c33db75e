//! The walk through all queues that a snapshot takes, a few places a call.

use super::{Age, Part, Queued, Queues, is_in_next_block};
use crate::policy::structures::QueueId;

/// The place of a walk through all queues: the next position that it looks at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Walk {
    /// Two for each queue: its older part, then its newer one.
    parts_passed: usize,
    position: u64,
    /// The block of the position before, if the walk came from there and the part is the same.
    pub(super) block: Option<u32>,
}

impl<const N: usize> Queues<N> {
    /// Begins a walk through all queues, each from its oldest id to its newest.
    pub(crate) fn begin_walk(&mut self) {
        self.walk = Walk::default();
    }

    /// Shows up to `most` ids of the walk with their queues. Returns `true` at the end.
    ///
    /// An id that is moved within its queue meanwhile may be shown twice, or not at all.
    pub(crate) fn walk(&mut self, most: usize, mut show: impl FnMut(QueueId, Queued)) -> bool {
        let mut left = most;
        while left > 0 {
            let Some(queue) = QueueId::first(N).nth(self.walk.parts_passed / 2) else { return true };
            let age = if self.walk.parts_passed % 2 == 0 { Age::Older } else { Age::Newer };
            let part = *self.part(queue, age);
            let first = self.walk.position.max(part.head);
            let end = part.tail.min(first.saturating_add(left as u64));
            let mut block = self.block_of_walk(&part, first);
            for position in first..end {
                if position > first && is_in_next_block(position, self.offset_mask) {
                    block = self.next_block[block as usize];
                }
                let queued = Queued::from_place(self.places[self.place_index(block, position)]);
                if !self.is_hole(queue, age, queued.id, position) {
                    show(queue, queued);
                }
                left -= 1;
            }
            if end == part.tail {
                self.walk = Walk { parts_passed: self.walk.parts_passed + 1, ..Walk::default() };
            } else {
                self.walk = Walk { position: end, block: Some(block), ..self.walk };
            }
        }
        false
    }

    /// Returns the block of the position at which the walk goes on. Mostly that takes one step.
    fn block_of_walk(&self, part: &Part, position: u64) -> u32 {
        // The head has not passed the position before, so its block is still there.
        let is_known = position == self.walk.position && (part.head + 1..part.tail).contains(&position);
        match self.walk.block.filter(|_| is_known) {
            Some(block) if is_in_next_block(position, self.offset_mask) => self.next_block[block as usize],
            Some(block) => block,
            None => self.block_of(part, position),
        }
    }
}
