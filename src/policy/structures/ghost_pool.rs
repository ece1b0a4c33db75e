//! [`GhostPool`]: the slots of a ring that can be resized in steps.
//!
//! ```text
//!   slots   | block | block | block | ...      each block in the ring, or free
//!   ring    block -> block -> block            from the head's to the tail's
//! ```
//!
//! Places count on forever. A place lies in the block that the ring has for it. So a larger pool
//! only has more free blocks, and the content of a block can be moved to another one.

use std::collections::VecDeque;

use super::free_blocks::FreeBlocks;
use crate::growable::{Growable, Zero};
use crate::units::to_u32;

/// The most slots of a block. Moving one updates the index for each of its ghosts.
const MAX_BLOCK: u64 = 256;
/// Bytes of a shard for each unit of a block's length squared.
const BYTES_PER_SQUARE_SLOT: u64 = 1 << 12;
/// The blocks of the ring that are examined in a search for one to move.
const EXAMINED_AT_ONCE: u64 = 1024;

/// The slots of a ring of `T`.
#[derive(Debug)]
pub(super) struct GhostPool<T> {
    slots: Growable<T>,
    ring: VecDeque<u32>,
    /// The number of the ring's first block.
    first: u64,
    free: FreeBlocks,
    /// The length of a block, as a power of two.
    block_shift: u32,
    /// Blocks of the ring before this number lie within the pool's length.
    examined: u64,
}

impl<T: Zero + Default> GhostPool<T> {
    /// Creates a pool for `places` places at a time, in a shard of `capacity` bytes.
    pub(super) fn new(places: usize, capacity: u64) -> Self {
        // Small pools get small blocks, as the ring leaves two partly used.
        let block_len = (capacity / BYTES_PER_SQUARE_SLOT).isqrt().max(places as u64 / 256).clamp(8, MAX_BLOCK);
        let block_shift = block_len.next_power_of_two().trailing_zeros();
        let mut pool = Self {
            slots: Growable::new(0),
            ring: VecDeque::new(),
            first: 0,
            free: FreeBlocks::new(0),
            block_shift,
            examined: 0,
        };
        pool.grow(pool.blocks_for(places));
        pool
    }

    pub(super) fn allocated(&self) -> usize {
        self.slots.allocated() + self.free.allocated() + self.ring.capacity() * size_of::<u32>()
    }

    /// Returns the number of slots of a block.
    pub(super) fn block_len(&self) -> usize {
        1 << self.block_shift
    }

    /// Returns the number of blocks for `places` places at a time. The first one may be partly
    /// used.
    pub(super) fn blocks_for(&self, places: usize) -> u32 {
        to_u32(places.div_ceil(self.block_len()) + 1)
    }

    /// Returns the slot of a place of the ring.
    #[inline]
    pub(super) fn slot(&self, place: u64) -> usize {
        #[allow(
            clippy::cast_possible_truncation,
            reason = "the place's block is one of the ring's, the rest below a block"
        )]
        let (block, offset) =
            (((place >> self.block_shift) - self.first) as usize, (place & ((1 << self.block_shift) - 1)) as usize);
        (self.ring[block] as usize) << self.block_shift | offset
    }

    #[inline]
    pub(super) fn get(&self, slot: usize) -> T {
        self.slots[slot]
    }

    #[inline]
    pub(super) fn set(&mut self, slot: usize, value: T) {
        self.slots[slot] = value;
    }

    /// Returns how many places there may be from `tail` on.
    pub(super) fn free_places(&self, tail: u64) -> usize {
        #[allow(clippy::cast_possible_truncation, reason = "the ring has at most as many places as there are slots")]
        let used = (tail - (self.first << self.block_shift)) as usize;
        ((self.ring.len() + self.free.free() as usize) << self.block_shift).saturating_sub(used)
    }

    /// Returns the number of places of which there may be as many at a time.
    pub(super) fn len(&self) -> usize {
        (self.free.len() as usize) << self.block_shift
    }

    /// Makes sure that a place at the ring's end has a slot. Returns `false` if there is no block.
    pub(super) fn extend_to(&mut self, place: u64) -> bool {
        if (place >> self.block_shift) - self.first < self.ring.len() as u64 {
            return true;
        }
        let Some(block) = self.free.take() else { return false };
        self.ring.push_back(block);
        true
    }

    /// Gives the blocks before a place back.
    pub(super) fn release_before(&mut self, place: u64) {
        // A block at a time, as heads move on by a few places in a call.
        while self.first < place >> self.block_shift {
            if let Some(block) = self.ring.pop_front() {
                self.free.give(block);
            }
            self.first += 1;
        }
    }

    /// Returns the number of blocks in the ring.
    pub(super) fn blocks_in_use(&self) -> usize {
        self.ring.len()
    }

    /// Makes the pool `blocks` blocks long. Does nothing if it is longer.
    pub(super) fn grow(&mut self, blocks: u32) {
        if blocks > self.free.len() {
            self.free.set_len(blocks);
            let _is_done = self.slots.resize(self.slots.len().max((blocks as usize) << self.block_shift));
            self.ring.reserve_exact(blocks as usize - self.ring.len());
        }
    }

    /// Moves one block that lies beyond the first `blocks` blocks to a free one among them, and
    /// returns the two. Returns `None` if there is none, or no free block.
    ///
    /// A limited number of blocks is examined, so the next call may find one:
    /// [`truncate`](Self::truncate) tells.
    pub(super) fn move_block_below(&mut self, blocks: u32) -> Option<(usize, usize)> {
        if self.free.len() != blocks {
            self.free.set_len(blocks);
            self.examined = 0;
        }
        let start = self.examined.max(self.first);
        let end = (self.first + self.ring.len() as u64).min(start + EXAMINED_AT_ONCE);
        for number in start..end {
            #[allow(clippy::cast_possible_truncation, reason = "below the ring's length")]
            let at = (number - self.first) as usize;
            let from = self.ring[at];
            if from >= blocks {
                let to = self.free.take()?;
                self.ring[at] = to;
                self.free.give(from);
                let [from, to] = [from, to].map(|block| (block as usize) << self.block_shift);
                let len = self.block_len();
                self.slots.copy_within(from..from + len, to);
                self.slots[from..from + len].fill(T::default());
                return Some((from, to));
            }
            self.examined = number + 1;
        }
        None
    }

    /// Drops all blocks beyond the pool's length, and takes a bounded step towards the memory for
    /// the others. Returns `true` once that is done, and `false` if a block beyond is in use.
    pub(super) fn truncate(&mut self) -> bool {
        if self.free.has_used_beyond() {
            return false;
        }
        self.free.set_len(self.free.len());
        self.ring.shrink_to(self.free.len() as usize);
        self.slots.resize((self.free.len() as usize) << self.block_shift)
    }

    /// Checks that exactly the ring's blocks are in use.
    pub(super) fn validate(&self) {
        assert!(self.ring.iter().all(|&block| self.free.is_used(block)), "a block of the ring is free");
        let beyond = self.ring.iter().filter(|&&block| block >= self.free.len()).count();
        assert_eq!(self.free.free() as usize + self.ring.len() - beyond, self.free.len() as usize);
    }
}
