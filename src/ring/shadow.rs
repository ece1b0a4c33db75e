//! The stand-in for an arena's memory in models. loom does not see accesses to raw memory.
//!
//! * A *word* of a header (an entry's first word, or a stamp) is one of loom's own atomics. It is
//!   made when an entry is written, and removed when its bytes are written again. An access after
//!   that fails the model.
//! * All other bytes stay in the arena. A *cell* for each location unit reports accesses that
//!   nothing orders.
//!
//! No code in this file adds an order. The orders of the words are those in `arena.rs` and
//! `relay.rs`. The words have no witness (`sync.rs`): without one, the models find every weaker
//! order in a quarter of the schedules.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::ops::{Deref, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use loom::cell::UnsafeCell;

use crate::units::LOCATION_UNIT;
use loom::sync::atomic::{AtomicU32, Ordering};

/// A word of a header.
pub(super) struct Word<'a> {
    atomic: Arc<AtomicU32>,
    arena: PhantomData<&'a Shadow>,
}

impl Deref for Word<'_> {
    type Target = AtomicU32;

    fn deref(&self) -> &AtomicU32 {
        &self.atomic
    }
}

/// The counts of a ring's `Arc` that retired chunks keep for their last value. loom does not see
/// the counts of the `Arc` itself.
#[derive(Default)]
pub(super) struct Counts(AtomicU32);

impl Counts {
    pub(super) fn put(&self) {
        self.0.fetch_add(1, Ordering::Relaxed); // Relaxed, here and below: only the number matters.
    }

    pub(super) fn take(&self) {
        assert!(
            self.0.fetch_sub(1, Ordering::Relaxed) > 0,
            "a count that is not there: the ring may be freed too early"
        );
    }
}

#[derive(Default)]
pub(super) struct Shadow(Mutex<Memory>);

#[derive(Default)]
struct Memory {
    /// Keys are the numbers of location units.
    cells: BTreeMap<usize, UnsafeCell<()>>,
    /// Keys are offsets.
    words: BTreeMap<usize, Arc<AtomicU32>>,
}

impl Shadow {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the word at `offset`. Panics if there is none.
    pub(super) fn word(&self, offset: usize) -> Word<'_> {
        let atomic = self.memory().words.get(&offset).map(Arc::clone);
        Word { atomic: atomic.expect("a word that was written, and not overwritten since"), arena: PhantomData }
    }

    /// Makes a word whose bytes have been noted as written.
    pub(super) fn write_word(&self, offset: usize, word: u32) {
        let before = self.memory().words.insert(offset, Arc::new(AtomicU32::new(word)));
        assert!(before.is_none(), "a word that is written twice");
    }

    /// Notes a read of bytes.
    pub(super) fn read(&self, start: usize, len: usize) {
        self.memory().cells.range(units(start, len)).for_each(|(_, cell)| cell.with(|_| ()));
    }

    /// Notes that bytes are written, or given back.
    pub(super) fn write(&self, start: usize, len: usize) {
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
