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
//! So the sketch forgets: this is TinyLFU's reset. A halving is done a few blocks at a time. A
//! block that it has not come to yet is read as if it were halved.
//!
//! The sketch is resized in place, a few blocks at a time ([`HashOrder`]). Every key keeps its
//! counts.

use super::hash_order::{HashOrder, Step};
use crate::growable::{Growable, Zero};

use super::parts;

/// The highest count of a counter.
pub(crate) const MAX_FREQUENCY: u8 = 15;
const WORDS: usize = 8;
const ROWS: usize = 4;
/// All bits but the highest of each nibble, and the lowest bit of each.
const LOW_BITS: u64 = 0x7777_7777_7777_7777;
const ODD: u64 = 0x1111_1111_1111_1111;
/// Blocks that are halved with each access while a halving is under way. It ends within a
/// sixty-fourth of the shortest period.
const HALVED_AT_ONCE: usize = 8;
/// Blocks that are halved or moved in one call of [`Sketch::resize`].
const MOVED_AT_ONCE: usize = 64;

/// The counters.
#[derive(Debug)]
pub(crate) struct Sketch {
    blocks: Growable<Block>,
    order: HashOrder,
    halving: Option<Halving>,
    /// Increments since the last halving, and the number that leads to the next.
    recorded: u64,
    period: u64,
}

/// A halving under way.
#[derive(Clone, Copy, Debug)]
struct Halving {
    /// The first block that has not been halved.
    next: usize,
    /// Odd counters of those that have.
    odd: u64,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Block([u64; WORDS]);

// SAFETY: it consists of integers.
#[allow(unsafe_code, reason = "elements of a `Growable`")]
unsafe impl Zero for Block {}

impl Block {
    /// Adds `unit` to four counters, except for those that are too high. Returns `true` if one was
    /// not.
    #[inline]
    fn count(&mut self, unit: u64, places: [(usize, u32); ROWS]) -> bool {
        let Self(words) = self;
        let mut is_counted = false;
        for (word, shift) in places {
            if words[word] >> shift & 15 <= u64::from(MAX_FREQUENCY) - unit {
                words[word] += unit << shift;
                is_counted = true;
            }
        }
        is_counted
    }

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
        let blocks = blocks_for(counters);
        Self {
            blocks: Growable::new(blocks),
            order: HashOrder::new(blocks),
            halving: None,
            recorded: 0,
            period: u64::MAX,
        }
    }

    pub(crate) fn allocated(&self) -> usize {
        self.blocks.allocated()
    }

    /// Appends a part of the counters for a snapshot. Returns `false` if there is no such part.
    ///
    /// While the sketch is resized, the counters of the next size are saved.
    pub(crate) fn save(&self, part: usize, bytes: &mut Vec<u8>) -> bool {
        let words_of = |place| {
            let sources = self.order.move_to(place).sources.map(|block| self.read(block));
            let Block(words) = sources.fold(Block::default(), |block, other| block.max(&other));
            words
        };
        parts::save(self.order.final_len(), words_of, part, bytes)
    }

    /// Restores a part that another sketch has [saved](Self::save), as after a
    /// [resize](Self::resize). Bytes that are no part are ignored.
    pub(crate) fn restore(&mut self, bytes: &[u8]) {
        parts::restore(self.blocks.len(), bytes, |step, _, words| {
            self.blocks[step.place] = self.blocks[step.place].max(&Block(words));
        });
    }

    /// Returns a block as it is read.
    fn read(&self, block: usize) -> Block {
        let Block(words) = self.blocks[block];
        if self.is_to_be_halved(block) { Block(words.map(|word| word >> 1 & LOW_BITS)) } else { Block(words) }
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
        self.period = increments.max((self.order.len() * WORDS) as u64);
    }

    /// Takes a bounded number of steps towards at least `counters` counters. Returns `true` once
    /// that is done.
    pub(crate) fn resize(&mut self, counters: usize) -> bool {
        let blocks = blocks_for(counters);
        // A halving goes through the blocks in the order of one layout.
        if self.halving.is_some() {
            self.halve_some(MOVED_AT_ONCE);
            return self.halving.is_none() && self.order.len() == blocks && self.blocks.resize(blocks);
        }
        for _ in 0..MOVED_AT_ONCE {
            match self.order.advance(blocks) {
                Step::Done => return self.blocks.resize(blocks),
                Step::Allocate(blocks) => {
                    if !self.blocks.resize(blocks) {
                        return false;
                    }
                }
                Step::Move(step) => {
                    let sources = &self.blocks[step.sources];
                    self.blocks[step.place] = sources.iter().fold(Block::default(), |block, other| block.max(other));
                }
            }
        }
        false
    }

    /// Returns the word in the block for each row, and the counter's shift in the word.
    #[inline(always)]
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
        let block = self.order.place(hash);
        let Block(words) = &self.blocks[block];
        let counts = Self::places(hash).map(|(word, shift)| words[word] >> shift & 15);
        let [least, ..] = counts.into_iter().min().unwrap_or(0).to_le_bytes();
        if self.is_to_be_halved(block) { least / 2 } else { least }
    }

    /// Records an access.
    pub(crate) fn record(&mut self, hash: u64) {
        let block = self.order.place(hash);
        // An increment of a block that is read as if it were halved counts twice.
        let (unit, places) = (if self.is_to_be_halved(block) { 2 } else { 1 }, Self::places(hash));
        let is_counted = self.blocks[block].count(unit, places);
        self.recorded += u64::from(is_counted);
        if self.halving.is_some() {
            self.halve_some(HALVED_AT_ONCE);
        } else if self.recorded >= self.period && !self.order.is_moving() {
            self.halving = Some(Halving { next: 0, odd: 0 });
            self.recorded /= 2;
            self.halve_some(HALVED_AT_ONCE);
        }
    }

    /// Raises the count of a key to `frequency`, or to the highest. Records no access.
    pub(crate) fn raise(&mut self, hash: u64, frequency: u64) {
        self.halve_some(usize::MAX);
        let block = self.order.place(hash);
        let Block(words) = &mut self.blocks[block];
        for (word, shift) in Self::places(hash) {
            let count = words[word] >> shift & 15;
            let raised = count.max(frequency.min(MAX_FREQUENCY.into()));
            words[word] += (raised - count) << shift;
        }
    }

    #[inline]
    fn is_to_be_halved(&self, block: usize) -> bool {
        self.halving.is_some_and(|halving| block >= halving.next)
    }

    /// Halves the counters of up to `count` more blocks.
    #[cold]
    fn halve_some(&mut self, count: usize) {
        let Some(Halving { next, odd }) = &mut self.halving else { return };
        let end = self.blocks.len().min(*next + count);
        for Block(words) in &mut self.blocks[*next..end] {
            for word in words {
                *odd += u64::from((*word & ODD).count_ones());
                *word = *word >> 1 & LOW_BITS;
            }
        }
        *next = end;
        if end == self.blocks.len() {
            // The counts that rounding loses had been recorded, too: half of a quarter of the odd
            // counters, as each key has four.
            self.recorded = self.recorded.saturating_sub(*odd / 8);
            self.halving = None;
        }
    }
}

/// Returns the number of blocks that have at least `counters` counters.
fn blocks_for(counters: usize) -> usize {
    counters.div_ceil(WORDS * 16).max(1)
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
    fn a_sketch_of_another_size_remembers_what_was_recorded() {
        for counters in [2048, 2600, 9000, 1100] {
            let mut sketch = Sketch::new(2048);
            (0..100).for_each(|key| (0..key % 9).for_each(|_| sketch.record(spread(key))));
            let before: Vec<_> = (0..100).map(|key| sketch.frequency(spread(key))).collect();
            while !sketch.resize(counters) {}
            let after: Vec<_> = (0..100).map(|key| sketch.frequency(spread(key))).collect();
            assert!(before.iter().zip(&after).all(|(before, after)| after >= before));
            let same = before.iter().zip(&after).filter(|(before, after)| before == after).count();
            assert!(same > 90, "{same} at {counters}");
        }
    }

    #[test]
    fn a_smaller_sketch_gives_its_memory_back_although_a_halving_begins_meanwhile() {
        let (large, small) = (1 << 23, 1 << 21);
        let mut sketch = Sketch::new(large);
        sketch.set_period(1);
        // A halving is due, and begins once nothing is moved any more.
        sketch.set_recorded(1 << 40);
        let mut key = 0;
        while !sketch.resize(small) {
            sketch.record(spread(key));
            key += 1;
        }
        assert!(sketch.recorded() < 1 << 40);
        assert_eq!(sketch.allocated(), Sketch::new(small).allocated());
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

    #[test]
    fn counts_survive_every_step_of_a_resize_and_of_a_halving() {
        let mut sketch = Sketch::new(100 * 128);
        let keys: Vec<_> = (0..400).map(|key| (spread(key), u8::try_from(key % 7).unwrap())).collect();
        keys.iter().for_each(|&(hash, count)| (0..count).for_each(|_| sketch.record(hash)));
        let are_kept = |sketch: &Sketch, by: u8| {
            assert!(keys.iter().all(|&(hash, count)| sketch.frequency(hash) >= count / by));
            let exact = keys.iter().filter(|&&(hash, count)| sketch.frequency(hash) == count / by).count();
            assert!(exact > 380, "{exact}");
        };
        are_kept(&sketch, 1);
        for blocks in [250, 140, 70, 90] {
            let mut calls = 1;
            while !sketch.resize(blocks * 128) {
                are_kept(&sketch, 1);
                calls += 1;
            }
            assert!(calls > blocks / MOVED_AT_ONCE, "{calls} calls for {blocks} blocks");
            are_kept(&sketch, 1);
        }
        sketch.set_period(0);
        assert!(sketch.recorded >= sketch.period);
        let other = spread(1000);
        sketch.record(other);
        are_kept(&sketch, 2);
        assert!(sketch.halving.is_some(), "some blocks are left");
        let is_last = |&&(hash, _): &&(u64, u8)| sketch.order.place(hash) == sketch.order.len() - 1;
        let &(last, count) = keys.iter().find(is_last).expect("a key in the block that is halved last");
        sketch.record(last);
        assert!(sketch.is_to_be_halved(sketch.order.len() - 1) && sketch.frequency(last) > count / 2);
        while sketch.halving.is_some() {
            sketch.record(other);
            are_kept(&sketch, 2);
        }
        assert!(sketch.frequency(other) >= 5);
    }

    /// Returns a sketch of `counters` counters that was restored from another one.
    fn restored(sketch: &Sketch, counters: usize) -> Sketch {
        let (mut restored, mut bytes) = (Sketch::new(counters), Vec::new());
        let mut part = 0;
        while sketch.save(part, &mut bytes) {
            restored.restore(&bytes);
            bytes.clear();
            part += 1;
        }
        restored
    }

    #[test]
    fn a_restored_sketch_of_any_size_has_the_counts_also_amid_a_resize_and_a_halving() {
        let keys: Vec<_> = (0..400).map(|key| (spread(key), u8::try_from(key % 7).unwrap())).collect();
        let check = |sketch: &Sketch, by: u8| {
            assert!(keys.iter().all(|&(hash, count)| sketch.frequency(hash) >= count / by));
            let exact = keys.iter().filter(|&&(hash, count)| sketch.frequency(hash) == count / by).count();
            assert!(exact > 360, "{exact} at {} blocks", sketch.order.len());
        };
        let mut sketch = Sketch::new(400 * 128);
        keys.iter().for_each(|&(hash, count)| (0..count).for_each(|_| sketch.record(hash)));
        [400, 401, 1000, 399, 300, 130].into_iter().for_each(|blocks| check(&restored(&sketch, blocks * 128), 1));
        for blocks in [700, 350, 100] {
            while !sketch.resize(blocks * 128) {
                check(&restored(&sketch, blocks * 128), 1);
            }
        }
        sketch.set_period(0);
        sketch.record(spread(1000));
        assert!(sketch.halving.is_some(), "some blocks are left");
        check(&restored(&sketch, 100 * 128), 2);
    }
}
