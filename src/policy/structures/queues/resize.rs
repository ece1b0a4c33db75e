//! Another number of blocks in the pool of [`Queues`].
//!
//! A larger pool has more free blocks at its end. For a smaller one the blocks beyond its end have
//! to be emptied. The ids are moved as if there were holes to close, twice: the newer part to the
//! end of the older one, then all of them to fresh blocks. A few places are moved in each call. The
//! lowest free block is used first, so all ids are in low blocks then.

use super::{Age, NONE, Part, Queues};
use crate::policy::structures::QueueId;
use crate::units::to_u32;

/// Bytes of a shard for each unit of a block's length squared. With a quarter of it, queues of
/// large entries cost half a byte more an entry, with four times as much those of small ones do.
const BYTES_PER_SQUARE_PLACE: u64 = 1 << 12;
/// Places that one call moves while the pool is made smaller.
pub(super) const MOVED_AT_ONCE: usize = 512;
/// Passes that take all ids of a queue to other blocks.
const PASSES: u8 = 2;

/// A pool that is being made smaller.
#[derive(Debug)]
pub(super) struct Shrinking<const N: usize> {
    /// Passes that each queue still needs.
    passes: [u8; N],
}

impl<const N: usize> Queues<N> {
    /// Takes a bounded number of steps towards room for `max_ids` ids. Returns `true` once that is
    /// done. At most as many are queued when the room becomes smaller.
    pub(crate) fn resize(&mut self, max_ids: usize) -> bool {
        self.resize_in_steps(max_ids, MOVED_AT_ONCE)
    }

    /// Is [`resize`](Self::resize) for `steps` places.
    pub(super) fn resize_in_steps(&mut self, max_ids: usize, steps: usize) -> bool {
        self.max_holes = max_holes_for(max_ids);
        let blocks = blocks_for::<N>(max_ids, self.block_shift);
        if self.free.len() as usize != blocks {
            self.free.set_len(to_u32(blocks));
            let in_use = self.next_block.len();
            let _is_done = self.fit(in_use.max(blocks));
            self.shrinking = None;
        }
        if self.next_block.len() == blocks {
            return self.fit(blocks);
        }
        if self.free.has_used_beyond() {
            self.empty_blocks(steps);
            return false;
        }
        self.shrinking = None;
        self.free.set_len(to_u32(blocks));
        self.fit(blocks)
    }

    /// Sets the number of blocks, and takes a bounded step towards the memory for them. Returns
    /// `true` once that is done.
    fn fit(&mut self, blocks: usize) -> bool {
        let are_links_done = self.next_block.resize(blocks);
        self.places.resize(blocks << self.block_shift) && are_links_done
    }

    /// Moves up to `steps` places out of the blocks beyond the pool's end.
    fn empty_blocks(&mut self, steps: usize) {
        let passes = self.shrinking.get_or_insert(Box::new(Shrinking { passes: [PASSES; N] })).passes;
        match QueueId::first(N).find(|queue| passes[queue.index()] > 0) {
            Some(queue) => {
                self.empty_part_leaves_its_block(queue, Age::Older);
                self.close_holes(queue, steps);
            }
            // Ids that were pushed meanwhile had to use a block beyond the end.
            None => self.shrinking = None,
        }
    }

    /// Notes that the newer part of a queue was emptied. It is the older one from here on.
    #[cold]
    pub(super) fn note_pass(&mut self, queue: QueueId) {
        if let Some(shrinking) = &mut self.shrinking {
            let passes = &mut shrinking.passes[queue.index()];
            *passes = passes.saturating_sub(1);
        }
        self.empty_part_leaves_its_block(queue, Age::Older);
    }

    /// Takes the blocks beyond the pool's end into use again, as those within it have run out.
    /// Returns `true` if more than `spare` blocks are free. The next [`resize`](Self::resize)
    /// starts from the beginning.
    #[cold]
    pub(super) fn use_blocks_beyond(&mut self, spare: u32) -> bool {
        if self.free.len() as usize != self.next_block.len() {
            self.free.set_len(to_u32(self.next_block.len()));
        }
        self.free.free() > spare
    }

    /// Gives an empty part a block within the pool, if there is one.
    fn empty_part_leaves_its_block(&mut self, queue: QueueId, age: Age) {
        let Part { tail_block, .. } = *self.part(queue, age);
        if self.part(queue, age).len() > 0 || tail_block < self.free.len() {
            return;
        }
        if let Some(block) = self.free.take() {
            self.free.give(tail_block);
            self.next_block[block as usize] = NONE;
            *self.part_mut(queue, age) = Part::starting_with(block);
            self.holes[queue.index()][age as usize] = None;
            self.walk.block = None;
            if let Some(window) = &mut self.window {
                window.note_emptied(queue, age);
            }
        }
    }
}

/// Returns the length of a block, as a power of two.
///
/// It never changes, so it is chosen for the size that the pool will have. Each queue leaves up to
/// four blocks partly used, and each block costs a link. The length with the least of both grows
/// with the root of the ids, of which there are more in a larger shard.
pub(super) fn block_shift_for(max_ids: usize, capacity: u64) -> u32 {
    let len = (capacity / BYTES_PER_SQUARE_PLACE).isqrt().max(max_ids as u64 / 256);
    len.clamp(8, 1024).next_power_of_two().trailing_zeros()
}

/// Returns the number of holes among `max_ids` ids, at most.
pub(super) fn max_holes_for(max_ids: usize) -> usize {
    max_ids / 16 + 8
}

/// Returns the number of blocks for `max_ids` ids and their holes.
pub(super) fn blocks_for<const N: usize>(max_ids: usize, block_shift: u32) -> usize {
    // The first and the last block of each part may be almost empty.
    (max_ids + max_holes_for(max_ids)).div_ceil(1 << block_shift) + 4 * N + Queues::<N>::SPARE_BLOCKS as usize
}
