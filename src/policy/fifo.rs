//! FIFO queues of entry ids that cost 4 bytes for each entry and are read in the order of memory.
//!
//! ```text
//!   pool    | block | block | block | ...      blocks of ids, each in one queue or free
//!   queue   head block -> block -> tail block  popped at the head, pushed at the tail
//! ```
//!
//! A linked list over ids costs a cache miss for each neighbour; a queue's next ids lie side by side, so what
//! will be evicted next can be fetched ahead. The price is that an id in the middle cannot be unlinked: its
//! place becomes a *hole* that is skipped when the head reaches it. Holes are remembered by id and by the
//! queue's tail at the time, since the id may soon be queued again. When the pool is used up, or holes are
//! many, both queues go round once without them: O(1) amortised.
//!
//! # Invariants
//!
//! 1. An id that is not a hole is in at most one place of one queue.
//! 2. A hole's places in a queue are those before the tail that was recorded with it.

use std::collections::HashMap;

use super::EntryId;

const NONE: u32 = u32::MAX;

/// Blocks that only [`Queues::close_holes`] may use: one for each queue, as each may need one before its head has
/// left another, and the first may keep it.
const SPARE_BLOCKS: u32 = 2;

/// Which of a policy's queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Queue {
    Small,
    Main,
}

impl Queue {
    const ALL: [Self; 2] = [Self::Small, Self::Main];
}

/// Two queues that share a pool of blocks.
#[derive(Debug)]
pub(super) struct Queues {
    ids: Vec<u32>,
    /// The block after each in its queue, or in the list of free ones.
    next_block: Vec<u32>,
    free_block: u32,
    free_blocks: u32,
    block_len: u32,
    ends: [Ends; 2],
    /// For each queue: ids with holes, and the tail at the time of the last.
    holes: [HashMap<u32, u64, ahash::RandomState>; 2],
    max_holes: usize,
}

/// The ends of a queue. Positions count all ids that ever went through it.
#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    head_block: u32,
    tail_block: u32,
    head: u64,
    tail: u64,
    /// Where each is in its block.
    head_offset: u32,
    tail_offset: u32,
}

impl Queues {
    /// Queues that can hold `max_ids` together.
    pub(super) fn new(max_ids: usize) -> Self {
        // Small pools get small blocks, as each queue leaves up to two partly used.
        let block_len = (max_ids / 64).next_power_of_two().clamp(8, 1024);
        let max_holes = max_ids / 16 + 8;
        // Each queue's first and last block may be almost empty.
        let blocks = (max_ids + max_holes).div_ceil(block_len) + 2 * Queue::ALL.len() + SPARE_BLOCKS as usize;
        let mut queues = Self {
            ids: vec![NONE; blocks * block_len],
            next_block: (1..).take(blocks).collect(),
            free_block: 0,
            free_blocks: to_u32(blocks),
            block_len: to_u32(block_len),
            ends: [Ends::default(); 2],
            holes: [HashMap::default(), HashMap::default()],
            max_holes,
        };
        for queue in Queue::ALL {
            let block = queues.take_block();
            queues.ends[queue as usize] = Ends { head_block: block, tail_block: block, ..Ends::default() };
        }
        queues
    }

    pub(super) fn bytes(&self) -> usize {
        let holes: usize = self.holes.iter().map(HashMap::capacity).sum();
        self.ids.capacity() * size_of::<u32>()
            + self.next_block.capacity() * size_of::<u32>()
            + holes * (size_of::<(u32, u64)>() + 1) * 8 / 7
    }

    /// Places in a queue, holes included.
    fn len(&self, queue: Queue) -> usize {
        let ends = &self.ends[queue as usize];
        usize::try_from(ends.tail - ends.head).unwrap_or(usize::MAX)
    }

    /// Takes a block from the free ones, of which there is at least one.
    fn take_block(&mut self) -> u32 {
        let block = self.free_block;
        self.free_block = self.next_block[block as usize];
        self.free_blocks -= 1;
        self.next_block[block as usize] = NONE;
        block
    }

    /// Adds an id that is in no queue.
    pub(super) fn push(&mut self, queue: Queue, id: EntryId) {
        if !self.push_place(queue, id.get(), SPARE_BLOCKS) {
            self.close_holes();
            let pushed = self.push_place(queue, id.get(), SPARE_BLOCKS);
            assert!(pushed, "more ids than the pool was made for");
        }
    }

    /// Adds a place at the tail; `false` if that would leave fewer than `spare` free blocks.
    fn push_place(&mut self, queue: Queue, id: u32, spare: u32) -> bool {
        if self.ends[queue as usize].tail_offset == self.block_len {
            if self.free_blocks <= spare {
                return false;
            }
            let block = self.take_block();
            let ends = &mut self.ends[queue as usize];
            self.next_block[ends.tail_block as usize] = block;
            ends.tail_block = block;
            ends.tail_offset = 0;
        }
        let ends = &mut self.ends[queue as usize];
        self.ids[(ends.tail_block * self.block_len + ends.tail_offset) as usize] = id;
        ends.tail_offset += 1;
        ends.tail += 1;
        true
    }

    /// Takes the oldest id out.
    pub(super) fn pop(&mut self, queue: Queue) -> Option<EntryId> {
        loop {
            let (id, position) = self.pop_place(queue)?;
            if !self.is_hole(queue, id, position) {
                return Some(EntryId::new(id));
            }
        }
    }

    fn pop_place(&mut self, queue: Queue) -> Option<(u32, u64)> {
        let ends = &mut self.ends[queue as usize];
        if ends.head == ends.tail {
            return None;
        }
        if ends.head_offset == self.block_len {
            let emptied = ends.head_block;
            ends.head_block = self.next_block[emptied as usize];
            ends.head_offset = 0;
            self.next_block[emptied as usize] = self.free_block;
            self.free_block = emptied;
            self.free_blocks += 1;
        }
        let id = self.ids[(ends.head_block * self.block_len + ends.head_offset) as usize];
        let position = ends.head;
        ends.head_offset += 1;
        ends.head += 1;
        Some((id, position))
    }

    fn is_hole(&mut self, queue: Queue, id: u32, position: u64) -> bool {
        let holes = &mut self.holes[queue as usize];
        if holes.is_empty() {
            return false;
        }
        let Some(&tail) = holes.get(&id) else { return false };
        if position >= tail {
            holes.remove(&id); // All its holes were before this place.
        }
        position < tail
    }

    /// The id that is `ahead` places behind the head, if it is in the head's block and not a hole.
    pub(super) fn peek(&self, queue: Queue, ahead: u32) -> Option<EntryId> {
        let ends = &self.ends[queue as usize];
        let offset = ends.head_offset + ahead;
        let position = ends.head + u64::from(ahead);
        if offset >= self.block_len || position >= ends.tail {
            return None;
        }
        let id = self.ids[(ends.head_block * self.block_len + offset) as usize];
        let holes = &self.holes[queue as usize];
        let is_hole = !holes.is_empty() && holes.get(&id).is_some_and(|&tail| position < tail);
        (!is_hole).then(|| EntryId::new(id))
    }

    /// Makes a hole of an id that is in `queue`.
    pub(super) fn remove(&mut self, queue: Queue, id: EntryId) {
        let tail = self.ends[queue as usize].tail;
        self.holes[queue as usize].insert(id.get(), tail);
        if self.holes[queue as usize].len() > self.max_holes {
            self.close_holes();
        }
    }

    /// Sends both queues round once, which leaves their holes behind.
    fn close_holes(&mut self) {
        for queue in Queue::ALL {
            for _ in 0..self.len(queue) {
                let Some((id, position)) = self.pop_place(queue) else { break };
                if !self.is_hole(queue, id, position) {
                    // By the time that the queue's spare block is full, its head has left a block.
                    let pushed = self.push_place(queue, id, 0);
                    assert!(pushed, "an id would be lost to the policy");
                }
            }
            self.holes[queue as usize].clear();
        }
    }

    /// The queues with other ids, and room for `max_ids` of them. Ids that `map` does not know are left out.
    pub(super) fn renumber(&mut self, max_ids: usize, map: impl Fn(EntryId) -> Option<EntryId>) {
        let mut queues = Self::new(max_ids);
        for queue in Queue::ALL {
            while let Some(id) = self.pop(queue) {
                if let Some(id) = map(id) {
                    queues.push(queue, id);
                }
            }
        }
        *self = queues;
    }
}

/// Blocks and their ids are fewer than the ids of a table, which fit 32 bits.
fn to_u32(number: usize) -> u32 {
    debug_assert!(u32::try_from(number).is_ok());
    #[allow(clippy::cast_possible_truncation, reason = "see above")]
    {
        number as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    fn id(number: u32) -> EntryId {
        EntryId::new(number)
    }

    /// The queues against two plain ones.
    fn check(max_ids: u32, operations: impl IntoIterator<Item = (u8, u32)>) {
        let mut queues = Queues::new(max_ids as usize);
        let mut model = [VecDeque::new(), VecDeque::new()];
        for (operation, number) in operations {
            let queue = Queue::ALL[usize::from(operation % 2)];
            let at = model.iter().position(|ids: &VecDeque<u32>| ids.contains(&number));
            match (operation, at) {
                (4, _) => assert_eq!(queues.pop(queue).map(EntryId::get), model[queue as usize].pop_front()),
                (_, None) => {
                    queues.push(queue, id(number));
                    model[queue as usize].push_back(number);
                }
                (_, Some(at)) => {
                    queues.remove(Queue::ALL[at], id(number));
                    model[at].retain(|&other| other != number);
                }
            }
        }
        for queue in Queue::ALL {
            let ids: Vec<_> = core::iter::from_fn(|| queues.pop(queue)).map(EntryId::get).collect();
            assert_eq!(ids, Vec::from(model[queue as usize].clone()));
        }
    }

    proptest! {
        /// Pushes, pops, removals from anywhere, ids that come back at once.
        #[test]
        fn holes_are_invisible(operations in prop::collection::vec((0..5_u8, 0..20_u32), 1..2000)) {
            check(20, operations);
        }

        /// Ids that stay in both queues, and a few that come and go: their holes use the pool up.
        #[test]
        fn no_id_is_lost_when_the_pool_runs_out(
            small in 0..54_u32,
            main in 0..8_u32,
            busy in prop::collection::vec(62..64_u32, 200..400),
        ) {
            let resting = (0..small).map(|id| (0, id)).chain((54..54 + main).map(|id| (1, id)));
            check(64, resting.chain(busy.into_iter().map(|id| (1, id))));
        }
    }
}
