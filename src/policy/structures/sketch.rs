//! A count-min sketch (Cormode and Muthukrishnan, 2005): about how often keys were seen lately. Its
//! 4-bit counters are halved from time to time, as in TinyLFU (Einziger, Friedman and Manes, ACM
//! TOS 2017).
//!
//! ```text
//!   table   | block | block | ...     a block: one cache line of 8 words of 16 counters
//!   key     one block; in it four counters, each in a pair of words of its own
//! ```
//!
//! A key's frequency is the least of its four counters, which other keys can only raise. All four
//! are in one cache line. After a number of accesses that the policy sets, every counter is halved.
//! So the sketch forgets: this is TinyLFU's reset.

use super::parts;

/// The highest count of a counter.
pub(crate) const MAX_FREQUENCY: u8 = 15;
const WORDS: usize = 8;
const ROWS: usize = 4;
/// All bits but the highest of each nibble, and the lowest bit of each.
const LOW_BITS: u64 = 0x7777_7777_7777_7777;
const ODD: u64 = 0x1111_1111_1111_1111;

/// The counters.
#[derive(Debug)]
pub(crate) struct Sketch {
    blocks: Vec<Block>,
    /// Increments since the last halving, and the number that leads to the next.
    recorded: u64,
    period: u64,
}

#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Block([u64; WORDS]);

impl Block {
    /// Returns the larger of both, counter by counter.
    fn max(&self, other: &Self) -> Self {
        let nibble = |word: u64, at: u32| word >> (4 * at) & 15;
        let larger = |a: u64, b: u64| (0..16).map(|at| nibble(a, at).max(nibble(b, at)) << (4 * at)).sum();
        Self(core::array::from_fn(|word| larger(self.0[word], other.0[word])))
    }
}

impl Sketch {
    /// Creates a sketch of at least `counters` counters.
    pub(crate) fn new(counters: usize) -> Self {
        let blocks = counters.div_ceil(WORDS * 16).max(1);
        Self { blocks: vec![Block([0; WORDS]); blocks], recorded: 0, period: u64::MAX }
    }

    pub(crate) fn allocated(&self) -> usize {
        self.blocks.capacity() * size_of::<Block>()
    }

    /// Appends a part of the counters for a snapshot. Returns `false` if there is no such part.
    pub(crate) fn save(&self, part: usize, bytes: &mut Vec<u8>) -> bool {
        parts::save(&self.blocks, |Block(words)| *words, part, bytes)
    }

    /// Restores a part that another sketch has [saved](Self::save). Bytes that are no part are
    /// ignored.
    pub(crate) fn restore(&mut self, bytes: &[u8]) {
        parts::restore(self.blocks.len(), bytes, |at, words| self.blocks[at] = Block(words));
    }

    /// Returns the increments since the last halving.
    pub(crate) fn recorded(&self) -> u64 {
        self.recorded
    }

    /// Sets the increments since the last halving to those of another sketch.
    pub(crate) fn set_recorded(&mut self, recorded: u64) {
        self.recorded = recorded;
    }

    /// Sets the number of increments after which all counters are halved. It is at least one for
    /// each word, so that a halving is amortised in a small cache, too.
    pub(crate) fn set_period(&mut self, increments: u64) {
        self.period = increments.max((self.blocks.len() * WORDS) as u64);
    }

    /// Resizes the sketch to at least `counters` counters. It keeps its counts.
    pub(crate) fn resize(&mut self, counters: usize) {
        let old = core::mem::replace(&mut self.blocks, Self::new(counters).blocks);
        let count = self.blocks.len();
        for (at, block) in self.blocks.iter_mut().enumerate() {
            // The hashes of this block were in these blocks, mostly in one.
            let before = at * old.len() / count..((at + 1) * old.len()).div_ceil(count);
            *block = old[before].iter().fold(*block, |block, other| block.max(other));
        }
    }

    fn block_of(&self, hash: u64) -> usize {
        #[allow(clippy::cast_possible_truncation, reason = "the product's top half is below the number of blocks")]
        {
            ((u128::from(hash) * self.blocks.len() as u128) >> 64) as usize
        }
    }

    /// Returns the word in the block for each row, and the counter's shift in the word.
    fn places(hash: u64) -> [(usize, u32); ROWS] {
        // The block is chosen by the high bits, so these come from a product with other ones on
        // top.
        let mixed = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        core::array::from_fn(|row| {
            let byte = mixed.to_le_bytes()[row];
            (2 * row + usize::from(byte >> 4 & 1), u32::from(byte & 15) * 4)
        })
    }

    /// Returns about how often `hash` was recorded lately, at most [`MAX_FREQUENCY`].
    pub(crate) fn frequency(&self, hash: u64) -> u8 {
        let Block(words) = &self.blocks[self.block_of(hash)];
        let counts = Self::places(hash).map(|(word, shift)| words[word] >> shift & 15);
        let [least, ..] = counts.into_iter().min().unwrap_or(0).to_le_bytes();
        least
    }

    /// Records an access.
    pub(crate) fn record(&mut self, hash: u64) {
        let block = self.block_of(hash);
        let Block(words) = &mut self.blocks[block];
        let mut is_counted = false;
        for (word, shift) in Self::places(hash) {
            if words[word] >> shift & 15 < u64::from(MAX_FREQUENCY) {
                words[word] += 1 << shift;
                is_counted = true;
            }
        }
        self.recorded += u64::from(is_counted);
        if self.recorded >= self.period {
            self.halve();
        }
    }

    /// Raises the count of a key to `frequency`, or to the highest. Records no access.
    pub(crate) fn raise(&mut self, hash: u64, frequency: u64) {
        let block = self.block_of(hash);
        let Block(words) = &mut self.blocks[block];
        for (word, shift) in Self::places(hash) {
            let count = words[word] >> shift & 15;
            let raised = count.max(frequency.min(MAX_FREQUENCY.into()));
            words[word] += (raised - count) << shift;
        }
    }

    /// The counts that rounding loses had been recorded, too: a quarter of the odd counters, as
    /// each key has four.
    fn halve(&mut self) {
        let mut odd = 0;
        for Block(words) in &mut self.blocks {
            for word in words {
                odd += u64::from((*word & ODD).count_ones());
                *word = *word >> 1 & LOW_BITS;
            }
        }
        self.recorded = self.recorded.saturating_sub(odd / 4) / 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::simulator::spread;

    #[test]
    fn a_key_is_never_seen_less_often_than_it_was() {
        let mut sketch = Sketch::new(4096);
        for key in 0..300 {
            (0..key % 20).for_each(|_| sketch.record(spread(key)));
        }
        let exact = (0..300).filter(|&key| u64::from(sketch.frequency(spread(key))) == (key % 20).min(15)).count();
        assert!((0..300).all(|key| u64::from(sketch.frequency(spread(key))) >= (key % 20).min(15)));
        assert!(exact > 280, "{exact}");
    }

    #[test]
    fn a_larger_sketch_remembers_what_a_smaller_one_recorded() {
        for counters in [2048, 2600, 9000] {
            let mut sketch = Sketch::new(2048);
            (0..100).for_each(|key| (0..key % 9).for_each(|_| sketch.record(spread(key))));
            let before: Vec<_> = (0..100).map(|key| sketch.frequency(spread(key))).collect();
            sketch.resize(counters);
            let after: Vec<_> = (0..100).map(|key| sketch.frequency(spread(key))).collect();
            assert!(before.iter().zip(&after).all(|(before, after)| after >= before));
            let same = before.iter().zip(&after).filter(|(before, after)| before == after).count();
            assert!(same > 90, "{same} at {counters}");
        }
    }

    #[test]
    fn halving_halves_and_goes_on_counting() {
        let mut sketch = Sketch::new(128);
        sketch.set_period(12);
        (0..11).for_each(|_| sketch.record(7));
        assert_eq!(sketch.frequency(7), 11);
        sketch.record(7);
        assert_eq!(sketch.frequency(7), 6);
        // 6 are recorded, so the next halving is 6 accesses away.
        (0..5).for_each(|_| sketch.record(7));
        assert_eq!(sketch.frequency(7), 11);
        sketch.record(7);
        assert_eq!(sketch.frequency(7), 6);
    }
}
