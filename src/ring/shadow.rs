//! What stands in for an arena's memory in models: loom does not see accesses to raw memory.
//!
//! * A *word* of a header (an entry's first word, a stamp) is an atomic of loom's own. It is made where an entry is written
//!   and goes where its bytes are written again; an access beyond that time fails the model.
//! * All other bytes keep lying in the arena. A *cell* for each location unit reports accesses that nothing orders.
//!
//! Nothing here has an order of its own: those of the words are the ones that `memory.rs` and `relay.rs` name. The words have
//! no witness (`sync.rs`): the models see every weaker order without, in a quarter of the schedules.

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

/// The counts of a ring's `Arc` that chunks without a pin of the ring's own keep for their last value. Loom does not see the
/// counts of the `Arc` itself.
#[derive(Default)]
pub(super) struct Counts(AtomicU32);

impl Counts {
    pub(super) fn put(&self) {
        self.0.fetch_add(1, Ordering::Relaxed); // Relaxed, here and below: it is the count alone that matters.
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
    /// By the numbers of location units.
    cells: BTreeMap<usize, UnsafeCell<()>>,
    /// By their offsets.
    words: BTreeMap<usize, Arc<AtomicU32>>,
}

impl Shadow {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The word at `offset`.
    pub(super) fn word(&self, offset: usize) -> Word<'_> {
        let atomic = self.memory().words.get(&offset).map(Arc::clone);
        Word { atomic: atomic.expect("a word that was written, and not overwritten since"), arena: PhantomData }
    }

    /// Makes a word, of which the bytes have been noted as written.
    pub(super) fn write_word(&self, offset: usize, word: u32) {
        let before = self.memory().words.insert(offset, Arc::new(AtomicU32::new(word)));
        assert!(before.is_none(), "a word that is written twice");
    }

    /// Notes that bytes are read.
    pub(super) fn read(&self, start: usize, len: usize) {
        self.memory().cells.range(units(start, len)).for_each(|(_, cell)| cell.with(|_| ()));
    }

    /// Notes that bytes are written, or given back.
    pub(super) fn write(&self, start: usize, len: usize) {
        let memory = &mut *self.memory();
        for unit in units(start, len) {
            // A cell counts as written where it was made.
            memory.cells.entry(unit).or_insert_with(|| UnsafeCell::new(())).with_mut(|_| ());
            memory.words.remove(&(unit * LOCATION_UNIT));
        }
    }
}

fn units(start: usize, len: usize) -> Range<usize> {
    start / LOCATION_UNIT..(start + len).div_ceil(LOCATION_UNIT)
}
