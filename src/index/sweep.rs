//! Sweeps: an index gets another size in place, a few entries at a time.
//!
//! Home buckets come from a high multiply, so they grow with the hash, for any number of buckets. A
//! larger table keeps the order of a smaller one. So both can share one array. When the table
//! grows, every home becomes the same bucket or a later one, and the entries of the last home move
//! first. When the table shrinks, those of the first home move first. Single entries may move the
//! other way, between home and alternative.
//!
//! ```text
//!   growing     0 ....... position ........ from ............ to     buckets
//!               [ smaller ]               [      larger table     ]
//!                         <- next home     (a gap of free lanes lies between the two)
//!
//!   shrinking   0 ............... to ... position ............ from
//!               [ smaller table ]         [       larger          ]
//!                                          next home ->
//! ```
//!
//! All entries of a home bucket move in one step. The *position* says which homes have moved. It is
//! counted in home buckets of the table before the sweep. So a hash and the position say in which
//! of the two layouts an entry lies.
//!
//! # Invariants
//!
//! 1. Every lane whose tag is not 0 lies in the layout that [`Table::layout`] names for its hash,
//!    or the hash of the entry has changed.
//! 2. `sizes[n % 2]` is the size after sweep `n`, from the beginning of that sweep to the beginning
//!    of sweep `n + 2`.
//!
//! # Synchronization
//!
//! A step stores the new lanes, then the progress word (Release), executes a Release fence, and
//! clears the old lanes. A search loads the word first (Acquire). If it finds nothing, it executes
//! an Acquire fence and loads the word again.
//!
//! * A search that begins with the new word searches the new layout, and sees the new lanes.
//! * A search that begins with an older word and sees a cleared lane sees the new word after its
//!   fence. It then searches again.
//! * Sizes are stored after the word that ended the former sweep, with a Release fence between. So
//!   a search that sees a size of a later sweep sees a later word after its fence. It is repeated.
//!   The comparison of two positions within a sweep needs the sizes, too. So it is followed by a
//!   fence and another look at the word.
//!
//! A search that finds its entry in an old lane needs no second look at the word. The lane is
//! cleared under the writer's lock before the entry's bytes change hands, like that of an entry
//! that is removed.

use super::places::{MARGIN, Way};
use super::{Index, Table};
use crate::hash::KeyHash;
use crate::reclaim::{Live, WriteToken};
use crate::sync::{Ordering, fence, load_own};
use crate::units::{EntryId, LANES, to_u32};

/// The bit of a progress word that says that a sweep is under way.
const IN_SWEEP: u64 = 1 << u32::BITS;

/// Sweeps are counted up to this, and then from 0 again.
const MAX_SWEEP: u32 = u32::MAX >> 1;

/// The state of a table's size: at rest, with a number of buckets, or within a sweep, at a
/// position.
///
/// ```text
///   63 ............ 33 | 32       | 31 ................. 0
///   number of sweep    | sweeping | buckets, or position
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress(u64);

impl Progress {
    pub(super) fn at_rest(sweep: u32, buckets: usize) -> Self {
        Self(u64::from(sweep) << (u32::BITS + 1) | u64::from(to_u32(buckets)))
    }

    fn sweeping(sweep: u32, position: usize) -> Self {
        Self(Self::at_rest(sweep, position).0 | IN_SWEEP)
    }

    pub(super) fn from_word(word: u64) -> Self {
        Self(word)
    }

    pub(super) fn to_word(self) -> u64 {
        self.0
    }

    #[inline(always)]
    pub(super) fn is_sweeping(self) -> bool {
        self.0 & IN_SWEEP != 0
    }

    /// Returns the number of buckets at rest, or the position.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "the low half")]
    pub(super) fn number(self) -> usize {
        self.0 as u32 as usize
    }

    /// Returns the number of the sweep that is under way, or of the last one.
    #[allow(clippy::cast_possible_truncation, reason = "31 bits are left")]
    pub(super) fn sweep(self) -> u32 {
        (self.0 >> (u32::BITS + 1)) as u32
    }
}

/// The arrangement of entries after some sweep: their homes are among this number of buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(super) sweep: u32,
    pub(super) buckets: usize,
}

/// The sizes of a table before and after a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) from: usize,
    pub(crate) to: usize,
}

impl Sizes {
    fn grow(self) -> bool {
        self.to > self.from
    }

    /// Returns `true` if the entries of a hash have moved, with the sweep at `position`.
    fn has_moved(self, position: usize, hash: KeyHash) -> bool {
        let home = hash.bucket(self.from);
        if self.grow() { home >= position } else { home < position }
    }
}

impl Table {
    /// Returns the sizes before and after a sweep.
    fn sizes(&self, sweep: u32) -> Sizes {
        // Relaxed: see the module.
        let size = |sweep: u32| self.sizes[sweep as usize % 2].load(Ordering::Relaxed) as usize;
        Sizes { from: size(sweep.wrapping_add(1)), to: size(sweep) }
    }

    /// Returns the number of buckets among which the home of a hash is.
    #[inline(always)]
    pub(super) fn size_for(&self, seen: Progress, hash: KeyHash) -> usize {
        if seen.is_sweeping() { self.layout_in_sweep(seen, hash).buckets } else { seen.number() }
    }

    #[cold]
    #[inline(never)]
    fn layout_in_sweep(&self, seen: Progress, hash: KeyHash) -> Layout {
        let sizes = self.sizes(seen.sweep());
        if sizes.has_moved(seen.number(), hash) {
            Layout { sweep: seen.sweep(), buckets: sizes.to }
        } else {
            Layout { sweep: seen.sweep().wrapping_sub(1) & MAX_SWEEP, buckets: sizes.from }
        }
    }

    /// Returns the layout in which the entry with some hash lies.
    pub(super) fn layout(&self, seen: Progress, hash: KeyHash) -> Layout {
        if seen.is_sweeping() {
            self.layout_in_sweep(seen, hash)
        } else {
            Layout { sweep: seen.sweep(), buckets: seen.number() }
        }
    }

    /// Returns the smallest hash that belongs to the other side of the position than smaller ones.
    pub(super) fn border(&self, seen: Progress) -> Option<KeyHash> {
        let border = |sizes: Sizes| KeyHash::first_in(seen.number(), sizes.from);
        seen.is_sweeping().then(|| self.sizes(seen.sweep())).and_then(border)
    }

    /// Returns `true` if the entries of a hash may have moved since `seen` was loaded. Then a
    /// search that has found nothing has to be repeated.
    #[inline(always)]
    pub(crate) fn may_have_moved(&self, seen: Progress, hash: KeyHash) -> bool {
        // Acquire: pairs with the Release fences of a sweep, see the module.
        fence(Ordering::Acquire);
        // Relaxed, as the fence comes before it.
        let progress = Progress::from_word(self.progress.load(Ordering::Relaxed));
        progress != seen && self.has_passed(seen, hash)
    }

    #[cold]
    #[inline(never)]
    fn has_passed(&self, seen: Progress, hash: KeyHash) -> bool {
        let sizes = self.sizes(seen.sweep());
        // Acquire: pairs with the Release fences of a sweep. If these are sizes of a later sweep,
        // the load that follows sees that sweep, too.
        fence(Ordering::Acquire);
        // Relaxed, as the fence comes before it.
        let progress = Progress::from_word(self.progress.load(Ordering::Relaxed));
        let is_same_sweep = seen.is_sweeping() && progress.is_sweeping() && seen.sweep() == progress.sweep();
        !is_same_sweep || sizes.has_moved(seen.number(), hash) != sizes.has_moved(progress.number(), hash)
    }

    /// Returns the progress as the holder of the lock sees it.
    #[inline]
    pub(super) fn own_progress(&self) -> Progress {
        Progress::from_word(load_own(&self.progress))
    }

    /// Returns the progress for a search.
    #[inline(always)]
    pub(crate) fn progress(&self) -> Progress {
        // Acquire: pairs with the Release of `Index::sweep_home`. A search in the new layout sees
        // the new lanes.
        Progress::from_word(self.progress.load(Ordering::Acquire))
    }

    fn set_progress(&self, progress: Progress) {
        // Release: pairs with the Acquire of `progress`.
        self.progress.store(progress.to_word(), Ordering::Release);
        // Release: pairs with the Acquire fence of `may_have_moved`. What is stored after it (the
        // cleared lanes, the sizes of the next sweep) is not seen without the word.
        fence(Ordering::Release);
    }

    /// Returns the sizes of the sweep that is under way, for the holder of the lock.
    pub(crate) fn own_sweep(&self) -> Option<Sizes> {
        let progress = self.own_progress();
        progress.is_sweeping().then(|| self.sizes(progress.sweep()))
    }

    /// Returns `true` if a sweep is under way, for the holder of the lock.
    pub(crate) fn is_sweeping(&self) -> bool {
        self.own_progress().is_sweeping()
    }

    /// Returns the size after the sweep that is under way, for the holder of the lock.
    pub(crate) fn sweeps_to(&self) -> usize {
        self.own_sweep().map_or_else(|| self.own_progress().number(), |sizes| sizes.to)
    }

    /// Returns how many buckets may have entries, for the holder of the lock: the larger of both
    /// sizes within a sweep.
    pub(crate) fn buckets(&self) -> usize {
        Self::extent(self.size())
    }

    /// Returns the size of the table, for the holder of the lock: the larger one within a sweep.
    pub(crate) fn size(&self) -> usize {
        match self.own_sweep() {
            Some(sizes) => sizes.from.max(sizes.to),
            None => self.own_progress().number(),
        }
    }
}

/// An entry that a step moves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moving {
    hash: KeyHash,
    from: EntryId,
    /// The same as `from` if the entry stays in its lane.
    to: EntryId,
}

impl Moving {
    /// Returns the id before the step, and the one after it.
    pub(crate) fn ids(&self) -> (EntryId, EntryId) {
        (self.from, self.to)
    }
}

/// The result of [`Index::sweep_home`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Swept {
    /// The entries of a home bucket have moved: this many.
    Home(usize),
    /// The next home bucket has this many entries, and the scratch memory is too small for them.
    /// None has moved.
    Crowded(usize),
    /// All homes have moved, or there is no sweep.
    All,
}

/// A range of home buckets that a sweep comes to, and the ids of their entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// The position at which the sweep has passed the homes.
    pub(crate) end: usize,
    /// The ids that their entries have before and after, except for entries that lie more than
    /// [`MARGIN`] buckets from home.
    pub(crate) from: core::ops::Range<u32>,
    pub(crate) to: core::ops::Range<u32>,
}

impl Index {
    /// Begins a sweep to another size, which is at most [`Table::size_limit`]. No entry has moved
    /// yet. A smaller size must have room for all entries.
    pub(crate) fn begin_sweep(&mut self, to: usize) {
        let table = &*self.table;
        let progress = table.own_progress();
        debug_assert!(!progress.is_sweeping() && to <= table.size_limit());
        let (sweep, from) = ((progress.sweep() + 1) & MAX_SWEEP, progress.number());
        debug_assert!(self.len <= Self::max_len_of(to));
        if to > from {
            table.buckets.ask_for_huge_pages(Table::extent(to));
        }
        // Relaxed: the word that ended the former sweep was stored before, with a fence.
        table.sizes[sweep as usize % 2].store(to_u32(to), Ordering::Relaxed);
        table.sizes[(sweep as usize + 1) % 2].store(to_u32(from), Ordering::Relaxed);
        table.set_progress(Progress::sweeping(sweep, if to > from { from } else { 0 }));
        self.max_len = Self::max_len_of(from.min(to));
    }

    /// Returns the next homes that the sweep comes to, at most `homes`. Returns `None` if all have
    /// moved, or if there is no sweep.
    pub(crate) fn next_stretch(&self, homes: usize) -> Option<Stretch> {
        let sizes = self.table.own_sweep()?;
        let position = self.table.own_progress().number();
        let (first, end, after) = if sizes.grow() {
            let end = position.saturating_sub(homes);
            (end, end, position)
        } else {
            let end = (position + homes).min(sizes.from);
            (position, end, end)
        };
        if first == after {
            return None;
        }
        let home_after = |home: usize| {
            let hash = KeyHash::first_in(home, sizes.from);
            hash.map_or(sizes.to, |hash| hash.bucket(sizes.to))
        };
        let ids = |first: usize, after: usize, size: usize| {
            let extent = Table::extent(size);
            // Alternatives of the last homes are mirrored, so they may lie in front of home.
            let first = first.min(extent.saturating_sub(MARGIN));
            to_u32(first * LANES)..to_u32((after + MARGIN).min(extent) * LANES)
        };
        Some(Stretch {
            end,
            from: ids(first, after, sizes.from),
            to: ids(home_after(first), home_after(after) + 1, sizes.to),
        })
    }

    /// Returns `true` if the sweep has passed the homes of a stretch.
    pub(crate) fn has_swept(&self, stretch: &Stretch) -> bool {
        self.table.own_progress().number() == stretch.end
    }

    /// Moves the entries of the next home bucket, if `moving` has the capacity for all of them.
    ///
    /// `moving` is scratch memory. It has the entries of the home afterwards, or as many of them as
    /// there is room for, and never gets another capacity. `prefetch` is called with entries that
    /// come next. `hash_of` returns the hash of an entry. `moved` is called with the old id, the
    /// new id and the entry, for each that changes its lane. If one of them panics, the index has
    /// to be [cleared](Index::clear).
    pub(crate) fn sweep_home(
        &mut self,
        moving: &mut Vec<Moving>,
        token: &WriteToken,
        prefetch: impl Fn(Live<'_>),
        hash_of: impl Fn(Live<'_>) -> KeyHash,
        mut moved: impl FnMut(EntryId, EntryId, Live<'_>),
    ) -> Swept {
        moving.clear();
        let table = &*self.table;
        let Some(sizes) = table.own_sweep() else { return Swept::All };
        let progress = table.own_progress();
        let position = progress.number();
        let home = if sizes.grow() { position.checked_sub(1) } else { Some(position) };
        let Some(home) = home.filter(|&home| home < sizes.from) else { return Swept::All };
        let after = if sizes.grow() { home } else { home + 1 };
        let next = if sizes.grow() { home.checked_sub(1) } else { Some(after) };
        if let Some(next) = next.filter(|&next| next < sizes.from) {
            let mut way = Way::new(next, sizes.from);
            while let Some((number, lanes)) = way.next_usual(table) {
                table.entries_in(number, lanes, token).for_each(|(_, live)| prefetch(live));
            }
        }
        // Found before any of them moves, as the new lanes may lie on the way.
        let mut left_out = 0;
        let mut way = Way::new(home, sizes.from);
        while let Some((number, lanes)) = way.next(table) {
            for (id, live) in table.entries_in(number, lanes, token) {
                let hash = hash_of(live);
                if hash.bucket(sizes.from) != home {
                    continue;
                }
                if moving.len() < moving.capacity() {
                    moving.push(Moving { hash, from: id, to: id });
                } else {
                    left_out += 1;
                }
            }
        }
        if left_out > 0 {
            return Swept::Crowded(moving.len() + left_out);
        }
        // Entries beyond the end of the smaller table cannot keep their lane, so they come first.
        // No other entry has two lanes then. So at most `len` lanes are in use, and a lane is free.
        let extent = Table::extent(sizes.to);
        for is_beyond in [true, false] {
            for entry in moving.iter_mut().filter(|entry| (entry.from.bucket() >= extent) == is_beyond) {
                let Some(live) = table.live(entry.from, token) else { continue };
                entry.to = table.lane_in(sizes.to, entry.hash, entry.from);
                if entry.to == entry.from {
                    table.count_way(sizes.to, entry.hash, entry.to);
                } else {
                    table.count_way(sizes.to, entry.hash, entry.to);
                    table.occupy(table.bucket(entry.to.bucket()), entry.to.lane(), entry.hash, live.location());
                    table.set_visits(entry.to, table.visits(entry.from));
                    moved(entry.from, entry.to, live);
                }
            }
        }
        table.set_progress(Progress::sweeping(progress.sweep(), after));
        for entry in &*moving {
            table.discount_way(sizes.from, entry.hash, entry.from);
            if entry.to != entry.from {
                table.vacate(entry.from);
            }
        }
        Swept::Home(moving.len())
    }

    /// Takes a sweep back, in a table without entries: it has the size that it had before.
    pub(crate) fn abandon_sweep(&mut self) {
        if let Some(sizes) = self.table.own_sweep() {
            let sweep = self.table.own_progress().sweep();
            self.table.set_progress(Progress::at_rest(sweep, sizes.from));
            self.max_len = Self::max_len_of(sizes.from);
        }
    }

    /// Ends a sweep that has moved all homes. In a table that has shrunk, the caller has removed
    /// the entries beyond the last bucket: those whose hash has changed.
    pub(crate) fn end_sweep(&mut self) {
        let Some(sizes) = self.table.own_sweep() else { return };
        let progress = self.table.own_progress();
        self.table.set_progress(Progress::at_rest(progress.sweep(), sizes.to));
        self.max_len = Self::max_len_of(sizes.to);
        if !sizes.grow() {
            // Their last page, and what visits have brought back.
            self.table.buckets.release(Table::extent(sizes.to)..Table::extent(sizes.from));
        }
    }

    /// Gives the memory of buckets beyond the end of a table that shrinks back to the system, as
    /// far as it fills whole pages. All homes have moved, and these buckets have no entries.
    pub(crate) fn release_swept(&mut self, buckets: core::ops::Range<usize>) {
        let Some(sizes) = self.table.own_sweep().filter(|sizes| !sizes.grow()) else { return };
        if buckets.start == Table::extent(sizes.to) {
            self.table.buckets.ask_for_small_pages_beyond(buckets.start);
        }
        self.table.buckets.release(buckets);
    }
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests;
