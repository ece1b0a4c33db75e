//! [`FreeBlocks`]: which blocks of a pool are in use.
//!
//! The lowest free block is used first. So the blocks in use stay near the start of the pool, and a
//! pool that becomes smaller has few to move.

use crate::growable::Growable;
use crate::units::to_u32;

/// A bit for each block of a pool: 1 if it is in use.
#[derive(Debug)]
pub(super) struct FreeBlocks {
    words: Growable<u64>,
    /// The number of blocks that may be taken. Blocks in use may lie beyond.
    blocks: u32,
    /// The number of free blocks among them.
    free: u32,
    /// No word before this one has a free block.
    first: usize,
}

impl FreeBlocks {
    /// Creates the bits of `blocks` free blocks.
    pub(super) fn new(blocks: u32) -> Self {
        Self { words: Growable::new(words_for(blocks)), blocks, free: blocks, first: 0 }
    }

    pub(super) fn allocated(&self) -> usize {
        self.words.allocated()
    }

    /// Returns the number of blocks that may be used.
    pub(super) fn len(&self) -> u32 {
        self.blocks
    }

    /// Returns the number of free blocks.
    #[inline]
    pub(super) fn free(&self) -> u32 {
        self.free
    }

    /// Takes the lowest free block, or returns `None` if there is none.
    pub(super) fn take(&mut self) -> Option<u32> {
        if self.free == 0 {
            return None;
        }
        // Ends: a block is free. There is a word for 64 blocks, so for many ids.
        while self.words[self.first] == u64::MAX {
            self.first += 1;
        }
        let bit = self.words[self.first].trailing_ones();
        self.words[self.first] |= 1 << bit;
        self.free -= 1;
        Some(to_u32(self.first) * u64::BITS + bit)
    }

    /// Gives a block back.
    pub(super) fn give(&mut self, block: u32) {
        let word = (block / u64::BITS) as usize;
        self.words[word] &= !(1 << (block % u64::BITS));
        if block < self.blocks {
            self.free += 1;
            self.first = self.first.min(word);
        }
    }

    /// Returns `true` if a block is in use.
    pub(super) fn is_used(&self, block: u32) -> bool {
        self.words[(block / u64::BITS) as usize] >> (block % u64::BITS) & 1 == 1
    }

    /// Sets the number of blocks that may be taken. Bits are kept for those in use beyond it.
    ///
    /// Goes through a bit for each block, of which there is one for many ids.
    pub(super) fn set_len(&mut self, blocks: u32) {
        let words = words_for(blocks).max(self.words_in_use());
        while !self.words.resize(words) {}
        self.blocks = blocks;
        let used: usize = (0..blocks).step_by(u64::BITS as usize).map(|block| self.used_in_word(block)).sum();
        self.free = blocks - to_u32(used);
        self.first = 0;
    }

    /// Returns `true` if a block that may not be taken is in use.
    pub(super) fn has_used_beyond(&self) -> bool {
        let (word, bit) = ((self.blocks / u64::BITS) as usize, self.blocks % u64::BITS);
        self.words.get(word).is_some_and(|bits| bits >> bit != 0)
            || self.words.iter().skip(word + 1).any(|&bits| bits != 0)
    }

    /// Returns the number of used blocks in the word that begins with `block`, up to the last one
    /// that may be taken.
    fn used_in_word(&self, block: u32) -> usize {
        let bits = self.words[(block / u64::BITS) as usize];
        let left = self.blocks - block;
        let counted = if left < u64::BITS { bits & ((1 << left) - 1) } else { bits };
        counted.count_ones() as usize
    }

    fn words_in_use(&self) -> usize {
        self.words.iter().rposition(|&bits| bits != 0).map_or(0, |last| last + 1)
    }
}

fn words_for(blocks: u32) -> usize {
    blocks.div_ceil(u64::BITS) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_block_is_taken_and_none_beyond_the_length() {
        let mut blocks = FreeBlocks::new(70);
        assert!((0..70).all(|block| blocks.take() == Some(block)) && blocks.take().is_none());
        [69, 3, 65].into_iter().for_each(|block| blocks.give(block));
        assert_eq!((blocks.free(), blocks.take(), blocks.is_used(65)), (3, Some(3), false));
        blocks.set_len(66);
        assert_eq!((blocks.free(), blocks.has_used_beyond()), (1, true));
        [66, 67, 68].into_iter().for_each(|block| blocks.give(block));
        assert_eq!((blocks.take(), blocks.take(), blocks.has_used_beyond()), (Some(65), None, false));
        blocks.set_len(200);
        assert_eq!((blocks.free(), blocks.take(), blocks.len()), (134, Some(66), 200));
    }
}
