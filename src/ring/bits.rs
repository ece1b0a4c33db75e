//! Sets of a ring's chunks: a bit for each chunk.
//!
//! A search reads a word for 64 chunks. A ring has at most 25,600 chunks, so that is 400 words.

use super::chunk::{ChunkId, ChunkSet};
use crate::units::to_u32;

/// The chunks of a word.
const WORD: usize = u64::BITS as usize;

/// A set of chunks of one ring.
#[derive(Debug)]
pub(super) struct ChunkBits(Box<[u64]>);

impl ChunkBits {
    /// Creates an empty set for a ring of up to `chunks` chunks.
    pub(super) fn new(chunks: usize) -> Self {
        Self(vec![0; chunks.div_ceil(WORD)].into())
    }

    /// Returns the bytes of a set for this number of chunks.
    pub(super) fn footprint(chunks: usize) -> usize {
        chunks.div_ceil(WORD) * size_of::<u64>()
    }

    #[inline]
    pub(super) fn insert(&mut self, chunk: ChunkId) {
        self.0[chunk.index() / WORD] |= 1 << (chunk.index() % WORD);
    }

    #[inline]
    pub(super) fn remove(&mut self, chunk: ChunkId) {
        self.0[chunk.index() / WORD] &= !(1 << (chunk.index() % WORD));
    }

    #[inline]
    pub(super) fn contains(&self, chunk: ChunkId) -> bool {
        self.0[chunk.index() / WORD] & (1 << (chunk.index() % WORD)) != 0
    }

    /// Removes all chunks.
    pub(super) fn clear(&mut self) {
        self.0.fill(0);
    }

    /// Returns the number of words, with the bits of 64 chunks each.
    pub(super) fn words(&self) -> usize {
        self.0.len()
    }

    /// Returns the chunks of a word, as it is now.
    pub(super) fn word(&self, word: usize) -> ChunkSet {
        ChunkSet::of_word(word, self.0[word])
    }

    /// Returns all chunks of the set, in ascending order.
    pub(super) fn iter(&self) -> impl Iterator<Item = ChunkId> + '_ {
        self.0.iter().enumerate().flat_map(|(word, &bits)| ChunkSet::of_word(word, bits))
    }

    /// Returns the first chunk of the set, from `from` on.
    pub(super) fn first_from(&self, from: usize) -> Option<ChunkId> {
        self.find_from(from, 0)
    }

    /// Returns the first number from `from` on that is not in the set, or `end` if that is smaller.
    pub(super) fn end_of_row(&self, from: usize, end: usize) -> usize {
        self.find_from(from, u64::MAX).map_or(end, |chunk| chunk.index().min(end))
    }

    /// Returns the first bit from `from` on that is set, once all bits are combined with `flipped`
    /// by an exclusive or.
    fn find_from(&self, from: usize, flipped: u64) -> Option<ChunkId> {
        let mut words = self.0.iter().enumerate().skip(from / WORD);
        let (at, &first) = words.next()?;
        let first = (first ^ flipped) & (u64::MAX << (from % WORD));
        let rest = words.map(|(at, &bits)| (at, bits ^ flipped));
        let (at, bits) = core::iter::once((at, first)).chain(rest).find(|&(_, bits)| bits != 0)?;
        Some(ChunkId(to_u32(at * WORD) + bits.trailing_zeros()))
    }

    /// Returns the last chunk of the set.
    pub(super) fn last(&self) -> Option<ChunkId> {
        let (at, bits) = self.0.iter().enumerate().rev().find(|&(_, &bits)| bits != 0)?;
        Some(ChunkId(to_u32(at * WORD) + bits.ilog2()))
    }

    /// Returns the number of the last chunk below `end` that is not in the set, plus one, or 0 if
    /// there is none.
    pub(super) fn start_of_last_row(&self, end: usize) -> usize {
        let mut at = end;
        // Ends: each round passes a word, or finds a chunk.
        while at > 0 {
            let word = (at - 1) / WORD;
            let below = u64::MAX >> (WORD - 1 - (at - 1) % WORD);
            let others = !self.0[word] & below;
            if others != 0 {
                return word * WORD + others.ilog2() as usize + 1;
            }
            at = word * WORD;
        }
        0
    }
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use super::*;

    const CHUNKS: usize = 200;

    #[test]
    fn searches_agree_with_a_look_at_each_chunk() {
        for seed in 1..40_usize {
            let is_in = |chunk: usize| match seed {
                1 => true,
                2 => false,
                _ => (chunk / seed + chunk.wrapping_mul(seed) / 64) % 3 == 0,
            };
            let mut bits = ChunkBits::new(CHUNKS);
            (0..to_u32(CHUNKS)).map(ChunkId).for_each(|chunk| bits.insert(chunk));
            (0..CHUNKS).filter(|&chunk| !is_in(chunk)).for_each(|chunk| bits.remove(ChunkId(to_u32(chunk))));
            let all: Vec<_> = (0..CHUNKS).filter(|&chunk| is_in(chunk)).collect();
            assert!(bits.iter().map(ChunkId::index).eq(all.iter().copied()));
            assert_eq!(bits.last().map(ChunkId::index), all.last().copied());
            for at in 0..CHUNKS {
                assert_eq!(bits.contains(ChunkId(to_u32(at))), is_in(at));
                assert_eq!(bits.first_from(at).map(ChunkId::index), (at..CHUNKS).find(|&chunk| is_in(chunk)));
                let end = (at..CHUNKS).find(|&chunk| !is_in(chunk)).unwrap_or(CHUNKS);
                assert_eq!(bits.end_of_row(at, CHUNKS), end);
                let start = (0..at).rfind(|&chunk| !is_in(chunk)).map_or(0, |last| last + 1);
                assert_eq!(bits.start_of_last_row(at), start);
            }
            assert_eq!(bits.first_from(CHUNKS), None);
            bits.clear();
            assert_eq!((bits.last(), bits.iter().count()), (None, 0));
        }
    }
}
