//! [`Pins`]: the pin words of a ring's chunks.
//!
//! ```text
//!   words   | in use: accounted for | addresses only, up to the ring's ceiling |
//!           0                       len                                        slice length
//! ```
//!
//! Readers and values index the words without a lock, so a word never moves. A ring that may get
//! more chunks than it begins with reserves addresses for all of their words. Words become memory
//! when the ring first uses their chunks.
//!
//! # Invariants
//!
//! 1. The first `len` words were [initialised](PinWord::init). The others are of chunks without
//!    entries, and hold zero or what they held last.
//!
//! # Synchronization
//!
//! The holder of the shard's lock changes `len`. Relaxed: a reader uses it to choose the words that
//! a recount examines. A word that the reader does not see initialised has no mark, so the recount
//! leaves it as it is.

use core::ops::Deref;
use core::ptr::NonNull;

use super::chunk::PinWord;
use crate::region::Region;
use crate::sync::{AtomicU32, Ordering};
use crate::units::to_u32;

/// The pin words of all chunks that a ring may ever have.
pub(super) struct Pins {
    first: NonNull<PinWord>,
    /// The number of words for which there are addresses.
    count: usize,
    /// The number of words in use.
    len: AtomicU32,
    #[cfg_attr(bytecache_loom, expect(dead_code, reason = "keeps the memory"))]
    memory: Memory,
}

/// The owner of the memory.
enum Memory {
    #[cfg(not(bytecache_loom))]
    Region(Region),
    /// loom's atomics are made one by one.
    #[cfg(bytecache_loom)]
    Made(#[expect(dead_code, reason = "keeps the memory")] Vec<PinWord>),
}

// SAFETY: the words consist of atomics, and `Pins` owns their memory.
unsafe impl Send for Pins {}
// SAFETY: the words consist of atomics, and `Pins` owns their memory.
unsafe impl Sync for Pins {}

impl Pins {
    /// Creates `len` words with addresses for `most`. Returns `None` if the system refuses them.
    #[cfg(not(bytecache_loom))]
    pub(super) fn new(len: usize, most: usize) -> Option<Self> {
        let bytes = most.checked_mul(size_of::<PinWord>())?;
        let mut region = Region::for_later(len * size_of::<PinWord>(), bytes)?;
        // Regions start on a cache line, like words. Zero bytes are valid atomics.
        let first = NonNull::new(region.as_mut_ptr().cast())?;
        let pins = Self { first, count: most, len: AtomicU32::new(to_u32(len)), memory: Memory::Region(region) };
        pins.init(0..len);
        Some(pins)
    }

    /// Creates words that are initialised: each store would be a step that loom examines.
    #[cfg(bytecache_loom)]
    pub(super) fn new(len: usize, most: usize) -> Option<Self> {
        let mut made: Vec<PinWord> = (0..most).map(|_| PinWord::new()).collect();
        let first = NonNull::new(made.as_mut_ptr())?;
        Some(Self { first, count: most, len: AtomicU32::new(to_u32(len)), memory: Memory::Made(made) })
    }

    /// Returns the bytes of `len` words in use, of a ring that began with `base` words and has
    /// addresses for `most`.
    pub(super) fn footprint(len: usize, base: usize, most: usize) -> usize {
        let [len, base, most] = [len, base, most].map(|words| words * size_of::<PinWord>());
        Region::footprint_for_later(len, base, most)
    }

    /// Returns the words in use.
    pub(super) fn in_use(&self) -> &[PinWord] {
        let len = self.len.load(Ordering::Relaxed) as usize; // Relaxed: see the module.
        &self[..len.min(self.count)]
    }

    /// Sets the number of words in use, at most that for which there are addresses. The chunks of
    /// words that are dropped have no entries, no values and no readers. For the holder of the
    /// lock.
    pub(super) fn set_len(&self, len: usize) {
        let before = self.in_use().len();
        if len > before {
            self.init(before..len);
        }
        self.len.store(to_u32(len), Ordering::Relaxed); // Relaxed: see the module.
        #[cfg(not(bytecache_loom))]
        if let (true, Memory::Region(region)) = (len < before, &self.memory) {
            // To the end, as the words before may have left a part of a page.
            let bytes = size_of_val(&self[..len])..size_of_val(&self[..]);
            // SAFETY: the memory is only accessed as atomics, for which zero is valid.
            unsafe { region.release(bytes) };
        }
    }

    fn init(&self, words: core::ops::Range<usize>) {
        self[words].iter().for_each(PinWord::init);
    }
}

impl Deref for Pins {
    type Target = [PinWord];

    #[inline(always)]
    fn deref(&self) -> &[PinWord] {
        // SAFETY:
        // * `first` is the start of `count` words in `memory`, which no other code accesses while
        //   `self` lives;
        // * the words are initialised: they were made, or are zero bytes, which are valid atomics;
        // * they are shared only as atomics.
        unsafe { core::slice::from_raw_parts(self.first.as_ptr(), self.count) }
    }
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_into_use_and_leave_it_where_they_are() {
        let pins = Pins::new(10, 1000).unwrap();
        let first = core::ptr::from_ref(&pins[0]);
        pins.set_len(900);
        assert_eq!((pins.in_use().len(), pins.len()), (900, 1000));
        assert!(pins.in_use().iter().all(|word| word.span() == 1 && !word.has_values()));
        pins[899].set_span(7);
        pins.set_len(10);
        pins.set_len(900);
        assert_eq!((pins[899].span(), core::ptr::from_ref(&pins[0])), (1, first));
    }

    #[test]
    fn words_are_accounted_for_as_they_are_used_if_more_may_come() {
        let line = size_of::<PinWord>();
        assert_eq!(Pins::footprint(100, 100, 100), 100 * line);
        if !cfg!(miri) {
            assert_eq!(Pins::footprint(100, 100, 16_384), 2 * 4096);
            assert_eq!(Pins::footprint(16_384, 100, 16_384), 16_384 * line);
        }
        // Too few for a page of their own.
        assert_eq!(Pins::footprint(10, 10, 20), 20 * line);
    }
}
