//! The words of an arena, and what models put in their place: loom does not see accesses to raw
//! memory.
//!
//! In models,
//!
//! * a *word* of a header (an entry's first word, or a stamp) is one of loom's own atomics. It is
//!   made when an entry is written, and removed when its bytes are written again. An access after
//!   that fails the model;
//! * all other bytes stay in the arena. A *cell* for each location unit reports accesses that
//!   nothing orders.
//!
//! In all other builds a word is an atomic in the arena's memory, and the rest does nothing.
//!
//! No code in this file adds an order. The orders of the words are those in `arena.rs` and
//! `relay.rs`. The words of models have no witness (`sync/`): without one, the models find every
//! weaker order in a quarter of the schedules.

#[cfg(bytecache_loom)]
pub(super) use model::{Counts, Shadow, Word};
#[cfg(not(bytecache_loom))]
pub(super) use real::{Counts, Shadow, Word};

#[cfg(not(bytecache_loom))]
mod real {
    use core::ptr::NonNull;
    use core::sync::atomic::{AtomicU32, Ordering};

    /// A word of a header: the first of an entry, or a stamp.
    pub(in crate::ring) type Word<'a> = &'a AtomicU32;

    pub(in crate::ring) struct Shadow;

    impl Shadow {
        pub(in crate::ring) fn new() -> Self {
            Self
        }

        /// Returns the word in `memory`, which is at `offset` in the arena.
        ///
        /// # Safety
        ///
        /// * `memory` is aligned, and initialised.
        /// * It is valid, and only accessed atomically, while the result is used.
        #[inline(always)]
        pub(in crate::ring) unsafe fn word(&self, _offset: usize, memory: NonNull<u32>) -> Word<'_> {
            // SAFETY: the caller's duties are the same.
            unsafe { AtomicU32::from_ptr(memory.as_ptr()) }
        }

        /// Writes the word in `memory`. Relaxed: the location is published with Release after this.
        ///
        /// # Safety
        ///
        /// The duties of [`word`](Self::word).
        #[inline(always)]
        pub(in crate::ring) unsafe fn write_word(&self, offset: usize, memory: NonNull<u32>, word: u32) {
            // SAFETY: the caller's duties are the same.
            unsafe { self.word(offset, memory) }.store(word, Ordering::Relaxed);
        }

        #[inline(always)]
        pub(in crate::ring) fn read(&self, _start: usize, _len: usize) {}

        #[inline(always)]
        pub(in crate::ring) fn write(&self, _start: usize, _len: usize) {}
    }

    pub(in crate::ring) struct Counts;

    impl Counts {
        pub(in crate::ring) fn new() -> Self {
            Self
        }

        #[inline(always)]
        pub(in crate::ring) fn put(&self) {}

        #[inline(always)]
        pub(in crate::ring) fn take(&self) {}
    }
}

#[cfg(bytecache_loom)]
mod model {
    use core::ptr::NonNull;
    use std::collections::BTreeMap;
    use std::marker::PhantomData;
    use std::ops::{Deref, Range};
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

    use loom::cell::UnsafeCell;

    use crate::units::LOCATION_UNIT;
    use loom::sync::atomic::{AtomicU32, Ordering};

    /// A word of a header.
    pub(in crate::ring) struct Word<'a> {
        atomic: Arc<AtomicU32>,
        arena: PhantomData<&'a Shadow>,
    }

    impl Deref for Word<'_> {
        type Target = AtomicU32;

        fn deref(&self) -> &AtomicU32 {
            &self.atomic
        }
    }

    /// The counts of a ring's `Arc` that retired chunks keep for their last value. loom does not
    /// see the counts of the `Arc` itself.
    #[derive(Default)]
    pub(in crate::ring) struct Counts(AtomicU32);

    impl Counts {
        pub(in crate::ring) fn new() -> Self {
            Self::default()
        }

        pub(in crate::ring) fn put(&self) {
            self.0.fetch_add(1, Ordering::Relaxed); // Relaxed, here and below: only the number matters.
        }

        pub(in crate::ring) fn take(&self) {
            assert!(
                self.0.fetch_sub(1, Ordering::Relaxed) > 0,
                "a count that is not there: the ring may be freed too early"
            );
        }
    }

    #[derive(Default)]
    pub(in crate::ring) struct Shadow(Mutex<Memory>);

    #[derive(Default)]
    struct Memory {
        /// Keys are the numbers of location units.
        cells: BTreeMap<usize, UnsafeCell<()>>,
        /// Keys are offsets.
        words: BTreeMap<usize, Arc<AtomicU32>>,
    }

    impl Shadow {
        pub(in crate::ring) fn new() -> Self {
            Self::default()
        }

        fn memory(&self) -> MutexGuard<'_, Memory> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }

        /// Returns the word at `offset`. Panics if there is none.
        ///
        /// # Safety
        ///
        /// None here: the memory is not accessed. The real one has duties.
        pub(in crate::ring) unsafe fn word(&self, offset: usize, _memory: NonNull<u32>) -> Word<'_> {
            let atomic = self.memory().words.get(&offset).map(Arc::clone);
            Word { atomic: atomic.expect("a word that was written, and not overwritten since"), arena: PhantomData }
        }

        /// Makes a word whose bytes have been noted as written.
        ///
        /// # Safety
        ///
        /// None here: the memory is not accessed. The real one has duties.
        pub(in crate::ring) unsafe fn write_word(&self, offset: usize, _memory: NonNull<u32>, word: u32) {
            let before = self.memory().words.insert(offset, Arc::new(AtomicU32::new(word)));
            assert!(before.is_none(), "a word that is written twice");
        }

        /// Notes a read of bytes.
        pub(in crate::ring) fn read(&self, start: usize, len: usize) {
            self.memory().cells.range(units(start, len)).for_each(|(_, cell)| cell.with(|_| ()));
        }

        /// Notes that bytes are written, or given back.
        pub(in crate::ring) fn write(&self, start: usize, len: usize) {
            let memory = &mut *self.memory();
            for unit in units(start, len) {
                // A new cell counts as written by the thread that makes it.
                memory.cells.entry(unit).or_insert_with(|| UnsafeCell::new(())).with_mut(|_| ());
                memory.words.remove(&(unit * LOCATION_UNIT));
            }
        }
    }

    fn units(start: usize, len: usize) -> Range<usize> {
        start / LOCATION_UNIT..(start + len).div_ceil(LOCATION_UNIT)
    }
}
