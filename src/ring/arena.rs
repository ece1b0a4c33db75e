//! A shard's arena: the bytes of its entries, and every raw access to them.
//!
//! # Invariants
//!
//! 1. Every byte of the arena is initialised at all times. It starts as zero, and only bytes are
//!    written to it.
//! 2. No access goes beyond the arena's end. Such an access would panic.
//! 3. Only the holder of the shard's write lock writes bytes, and only where no [`Live`] location
//!    points: into room that was just taken in a chunk. The exceptions are an entry's first word
//!    and its stamps, which are always accessed atomically. Memory that is given back to the system
//!    becomes zero: [`Arena::release`] has its own duties.
//!
//! # Synchronization
//!
//! * Key and value bytes are written before their location is published (Release, in the index) and
//!   read after it was loaded (Acquire). They are overwritten only after the chunk's pins have
//!   reached zero (see `chunk.rs`).
//! * The lengths in the first word never change, so their loads are Relaxed.
//! * The dead mark in the first word is for readers that change a stamp. It is stored with Release
//!   after the lane has changed. This pairs with the fence of the reader's next hold.
//! * Changes of a stamp are AcqRel, and its loads are Acquire: see [`Arena::set_stamp`], and
//!   `relay.rs` for the idle stamp.
//!
//! In models, a word is one of loom's own atomics, behind the same function and with the same
//! orders. A cell for each location unit reports any access that these rules do not order
//! (`shadow.rs`).

use core::marker::PhantomData;
use core::ops::Range;
use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use super::header::{Alignment, Draft, FirstWord, Layout, OutOfLineLayout};
use super::relay::Relay;
use super::shadow::{Shadow, Word};
use crate::namespace::copy_short;
use crate::prefetch::{LINE, prefetch, prefetch_lines};
use crate::reclaim::Live;
use crate::region::{Filling, Pages, Region};
use crate::units::{LOCATION_UNIT, Location, Stamp, StampSet, Stamps};

/// The most lines of an entry that a prefetch asks for. The processor detects a longer copy by
/// itself.
pub(super) const PREFETCH_LINES: usize = 6;

/// The memory of one shard's ring.
pub(crate) struct Arena {
    base: NonNull<u8>,
    bytes: usize,
    alignment: Alignment,
    region: Region,
    pub(super) relay: Relay,
    shadow: Shadow,
}

// SAFETY:
// * the arena owns its region;
// * all access to the bytes follows invariant 3, on any thread.
unsafe impl Send for Arena {}
// SAFETY: see `Send`.
unsafe impl Sync for Arena {}

/// The parts of an entry in the arena.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
}

impl Entry<'_> {
    /// Returns `true` if this is the entry's key. Keys of 8 to 32 bytes are
    /// compared in place.
    #[inline(always)]
    pub(crate) fn has_key(&self, key: &[u8]) -> bool {
        if self.key.len() != key.len() {
            return false;
        }
        match key.len() {
            8..=16 => {
                self.key.first_chunk::<8>() == key.first_chunk() && self.key.last_chunk::<8>() == key.last_chunk()
            }
            17..=32 => {
                self.key.first_chunk::<16>() == key.first_chunk() && self.key.last_chunk::<16>() == key.last_chunk()
            }
            _ => self.key == key,
        }
    }
}

/// Which stamps a live entry has, and where they are.
#[derive(Clone, Copy)]
pub(crate) struct StampsAt<'a> {
    pub(crate) set: StampSet,
    /// The offset of the end of the last stamp from the start of the arena. A reader of an entry
    /// without stamps does not need the first one.
    end: usize,
    /// The entry keeps its place for as long as its [`Live`].
    of: PhantomData<Live<'a>>,
}

impl StampsAt<'_> {
    /// Returns the offset of a stamp from the start of the arena, or `None` if the entry does not
    /// have it.
    #[inline]
    pub(super) fn offset_of(self, stamp: Stamp) -> Option<usize> {
        let after = self.set.len() - self.set.before(stamp);
        self.set.has(stamp).then(|| self.end - after * size_of::<u32>())
    }
}

/// Panics. A function without arguments: a reader needs its registers for other things.
#[cold]
#[inline(never)]
fn beyond_the_arena() -> ! {
    panic!("access beyond the arena")
}

/// Returns the word at an address. Panics unless that is aligned.
#[inline(always)]
fn aligned_word(memory: NonNull<u8>) -> NonNull<u32> {
    let word = memory.cast::<u32>();
    if !word.is_aligned() {
        between_words();
    }
    word
}

/// Panics, like [`beyond_the_arena`].
#[cold]
#[inline(never)]
fn between_words() -> ! {
    panic!("a word between words")
}

impl Arena {
    /// Creates an arena of `bytes` zero bytes. Returns `None` if the system refuses the memory.
    pub(super) fn new(bytes: usize, alignment: Alignment) -> Option<Self> {
        let mut region = Region::zeroed(bytes, Filling::InOrder)?;
        Some(Self {
            base: NonNull::new(region.as_mut_ptr())?,
            bytes,
            alignment,
            region,
            relay: Relay::new(),
            shadow: Shadow::new(),
        })
    }

    /// Returns the addresses of the arena.
    pub(super) fn addresses(&self) -> Range<usize> {
        let start = self.base.addr().get();
        start..start + self.bytes
    }

    /// Returns the address of the entry at `location`. A reader's slot names the entry's chunk by
    /// it.
    #[inline(always)]
    pub(crate) fn address_of(&self, location: Location) -> usize {
        self.base.addr().get() + location.offset()
    }

    pub(super) fn alignment(&self) -> Alignment {
        self.alignment
    }

    /// Returns the address of `offset`. Panics unless at least `len` bytes of the arena follow.
    #[inline]
    fn at(&self, offset: usize, len: usize) -> NonNull<u8> {
        // The end is compared. If `len` is a constant, that takes one comparison.
        if offset.checked_add(len).is_none_or(|end| end > self.bytes) {
            beyond_the_arena();
        }
        // SAFETY: the end was just checked. So `offset` is at most the length of the allocation
        // that starts at `base`.
        unsafe { self.base.add(offset) }
    }

    /// Returns the memory of the word at `offset`: the first of an entry, or a stamp.
    #[inline(always)]
    fn word_memory(&self, offset: usize) -> NonNull<u32> {
        aligned_word(self.at(offset, size_of::<u32>()))
    }

    /// Returns the atomic word at `offset`: the first of an entry, or a stamp.
    #[inline]
    pub(super) fn word(&self, offset: usize) -> Word<'_> {
        // SAFETY:
        // * the word lies in the arena, is initialised (invariants 1 and 2) and aligned;
        // * first words and stamps are only accessed atomically while they are such (invariant 3);
        // * the arena outlives the borrow.
        unsafe { self.shadow.word(offset, self.word_memory(offset)) }
    }

    /// Writes a word where nothing is live.
    #[inline(always)]
    fn write_word(&self, offset: usize, word: u32) {
        // SAFETY:
        // * the word lies in the arena, is initialised (invariants 1 and 2) and aligned;
        // * it is only accessed atomically from here on, as it becomes a first word or a stamp
        //   (invariant 3).
        unsafe { self.shadow.write_word(offset, self.word_memory(offset), word) };
    }

    #[inline]
    fn first_word(&self, location: Location) -> Word<'_> {
        self.word(location.offset())
    }

    /// Returns the layout of the entry at `location`.
    #[inline]
    pub(super) fn layout(&self, location: Location) -> Layout {
        self.layout_after(self.load_first(location), location)
    }

    /// Returns the first word of the entry at `location`.
    #[inline]
    pub(super) fn load_first(&self, location: Location) -> FirstWord {
        FirstWord(self.first_word(location).load(Ordering::Relaxed))
    }

    /// Returns the layout of the entry at `location` that begins with this word.
    #[inline]
    fn layout_after(&self, first: FirstWord, location: Location) -> Layout {
        if first.is_plain() {
            return Layout::plain(first, self.alignment);
        }
        self.layout_with_stamps(first, location).into()
    }

    /// Returns the layout of an entry with a large header or stamps. Not inlined, so that readers
    /// of other entries do not pay for it.
    #[inline(never)]
    fn layout_with_stamps(&self, first: FirstWord, location: Location) -> OutOfLineLayout {
        if first.has_removal_alone() {
            return Layout::with_removal(first, self.alignment).into();
        }
        Layout::any(first, || self.large_lengths(location), self.alignment).into()
    }

    #[cold]
    fn large_lengths(&self, location: Location) -> (usize, usize) {
        let words = self.at(location.offset() + LOCATION_UNIT, 2 * LOCATION_UNIT).cast::<[u32; 2]>();
        // SAFETY:
        // * the two words are in the arena, initialised (invariant 1) and aligned;
        // * they never change while the entry is there.
        let [key, value] = unsafe { words.read() };
        (key as usize, value as usize)
    }

    /// Returns `true` if a live entry has stamps.
    #[inline]
    pub(crate) fn has_stamps(&self, live: Live<'_>) -> bool {
        !self.stamps_of(live.location()).is_empty()
    }

    /// Returns which stamps the entry at `location` has.
    #[inline]
    pub(super) fn stamps_of(&self, location: Location) -> StampSet {
        self.load_first(location).stamps()
    }

    /// Returns `true` if the entry at `location` is marked dead. For the holder of the write lock.
    #[inline]
    pub(super) fn is_dead(&self, location: Location) -> bool {
        self.load_first(location).is_dead()
    }

    /// Returns `true` if a live entry has been marked dead. A reader that sees the mark finds the
    /// changed lane when it searches again.
    #[inline]
    pub(crate) fn has_left(&self, live: Live<'_>) -> bool {
        // Relaxed: if the mark is set, the reader uses nothing that it has found so far, and
        // searches again. The fence of its next hold pairs with the Release of `mark_dead`. So its
        // second look at the lane does not find the dead entry.
        self.load_first(live.location()).is_dead()
    }

    /// Marks the entry at `location` dead, and returns its first word. No lane points to it any
    /// more. For the holder of the write lock.
    #[inline]
    pub(super) fn mark_dead(&self, location: Location) -> FirstWord {
        let word = self.first_word(location);
        // Once the entry is published, only the holder of the lock stores to this word. So no other
        // store comes between this load and the next store.
        let first = FirstWord(word.load(Ordering::Relaxed));
        word.store(first.as_dead().0, Ordering::Release); // Release: see `has_left`.
        first
    }

    /// Returns the charge of the entry at `location` that begins with this word.
    #[inline]
    pub(super) fn charge_after(&self, first: FirstWord, location: Location) -> usize {
        self.layout_after(first, location).charge()
    }

    /// Returns the entry at a live location.
    #[inline]
    pub(crate) fn entry<'a>(&'a self, live: Live<'a>) -> Entry<'a> {
        self.entry_with_stamps(live).0
    }

    /// Returns the entry at a live location, and its charge.
    #[inline]
    pub(crate) fn entry_with_charge<'a>(&'a self, live: Live<'a>) -> (Entry<'a>, usize) {
        let (entry, layout) = self.entry_with_layout(live);
        (entry, layout.charge())
    }

    /// Returns the entry at a live location, and where its stamps are.
    #[inline(always)]
    pub(crate) fn entry_with_stamps<'a>(&'a self, live: Live<'a>) -> (Entry<'a>, StampsAt<'a>) {
        let (entry, layout) = self.entry_with_layout(live);
        let end = live.location().offset() + layout.key_start;
        (entry, StampsAt { set: layout.stamps, end, of: PhantomData })
    }

    #[inline(always)]
    fn entry_with_layout<'a>(&'a self, live: Live<'a>) -> (Entry<'a>, Layout) {
        let layout = self.layout(live.location());
        let start = live.location().offset();
        self.shadow.read(start, layout.charge());
        let whole = self.at(start, layout.end());
        // SAFETY:
        // * `whole` is the start of an entry that was live when `live` was made;
        // * the result is bound to `'a`, like the hold of `live`;
        // * the key lies before the end of the value (see `Layout`), which was just checked to be
        //   in the arena.
        let key = unsafe { self.part(whole, layout.key_start, layout.key_len) };
        // SAFETY:
        // * the entry and the lifetime are those of the key;
        // * the end of the value was just checked to be in the arena.
        let value = unsafe { self.part(whole, layout.value_start, layout.value_len) };
        (Entry { key, value }, layout)
    }

    /// Returns the current word of a stamp of a live entry, or `None` if the entry does not have
    /// the stamp. The idle stamp may be any word if the entry has [left](Self::has_left).
    #[inline]
    pub(crate) fn stamp_at(&self, stamps: StampsAt<'_>, stamp: Stamp) -> Option<u32> {
        let offset = stamps.offset_of(stamp)?;
        // Acquire: see `relay.rs` for the idle stamp, and `set_stamp` for the others.
        Some(if stamp == Stamp::Idle { self.idle_stamp(offset) } else { self.word(offset).load(Ordering::Acquire) })
    }

    /// Returns the current stamps of a live entry.
    pub(crate) fn stamps(&self, live: Live<'_>) -> Stamps {
        let mut stamps = Stamps::NONE;
        if !self.has_stamps(live) {
            return stamps;
        }
        let (_, at) = self.entry_with_stamps(live);
        for stamp in at.set.iter() {
            if let Some(word) = self.stamp_at(at, stamp) {
                stamps.set(stamp, word);
            }
        }
        if at.set.is_negative() {
            stamps.mark_negative();
        }
        stamps
    }

    /// Changes a stamp of a live entry from `seen` to `word`. Returns `false` if the stamp is not
    /// `seen`, or if the entry does not have it. For the holder of the write lock.
    pub(crate) fn exchange_stamp(&self, live: Live<'_>, stamp: Stamp, seen: u32, word: u32) -> bool {
        let start = live.location().offset();
        let at = self.layout(live.location()).stamp_at(stamp);
        at.is_some_and(|at| {
            let stamp = self.word(start + at);
            // AcqRel: see `relay.rs`.
            stamp.compare_exchange(seen, word, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        })
    }

    /// Sets a stamp of a live entry. Returns `false` if the entry does not have it. For the holder
    /// of the write lock.
    pub(crate) fn set_stamp(&self, live: Live<'_>, stamp: Stamp, word: u32) -> bool {
        let at = self.layout(live.location()).stamp_at(stamp);
        // A swap, like the exchanges of readers: each change of a stamp reads the one before it.
        // Release: pairs with the Acquire of `stamp_at`. A thread that sees the change also sees
        // all that was written before it.
        at.map(|at| self.word(live.location().offset() + at).swap(word, Ordering::AcqRel)).is_some()
    }

    /// Returns the key or the value of an entry.
    ///
    /// # Safety
    ///
    /// * `entry` is the start of an entry that was live when its `Live` was made.
    /// * The result is not used after the hold of that `Live` ends. Until then no thread writes to
    ///   the key or the value (invariant 3).
    /// * `at` and `len` are those of the key or the value, and these bytes are in the arena.
    #[inline(always)]
    unsafe fn part(&self, entry: NonNull<u8>, at: usize, len: usize) -> &[u8] {
        // SAFETY: `at` is in the arena, by the caller's duty.
        let start = unsafe { entry.add(at) };
        // SAFETY:
        // * the `len` bytes are in the arena, by the caller's duty, and initialised (invariant 1);
        // * no thread writes to them while the result is used, by the caller's duty.
        unsafe { core::slice::from_raw_parts(start.as_ptr(), len) }
    }

    /// Writes an entry at `location`, where nothing is live. For the holder of the write lock.
    #[inline(always)]
    pub(super) fn write(&self, location: Location, layout: &Layout, draft: &Draft<'_>) {
        let Draft { key, value, stamps } = draft;
        assert!(key.len() == layout.key_len && value.len() == layout.value_len, "another entry's layout");
        debug_assert_eq!(stamps.present(), layout.stamps, "another entry's layout");
        let start = location.offset();
        self.shadow.write(start, layout.charge());
        // Without a reference to the layout, which would lie in memory otherwise.
        let lengths = (key.len(), value.len());
        let first = layout.plain_word().unwrap_or_else(|| self.write_header(start, lengths, layout.stamps, stamps));
        let whole = self.at(start, layout.charge());
        // SAFETY:
        // * the whole charge is in the arena, as was just checked, in room that was just taken;
        // * the key lies within the charge (see `Layout`), and has the layout's length.
        unsafe { self.copy_key_in(whole, layout.key_start, key) };
        // SAFETY: like for the key.
        unsafe { self.copy_in(whole, layout.value_start, value) };
        let word = aligned_word(whole);
        // SAFETY:
        // * the word is the start of the charge, which is at least a header, so it lies in the
        //   arena, is initialised (invariant 1) and aligned;
        // * it is only accessed atomically from here on, as it becomes a first word (invariant 3).
        unsafe { self.shadow.write_word(start, word, first.0) };
    }

    /// Writes what a header has after its first word, which it returns: the lengths of a large
    /// header, and stamps.
    #[inline(never)]
    fn write_header(&self, start: usize, lengths: (usize, usize), set: StampSet, stamps: &Stamps) -> FirstWord {
        assert!(stamps.present() == set, "another entry's layout");
        let layout = Layout::of(lengths.0, lengths.1, set, self.alignment);
        let (first, key_word, value_word) = layout.words();
        if first.is_large() {
            let words = self.at(start + LOCATION_UNIT, 2 * LOCATION_UNIT).cast::<[u32; 2]>();
            // SAFETY:
            // * the two words are in the arena and aligned;
            // * they are in room that was just taken: nothing in it is live (invariant 3).
            unsafe { words.write([key_word, value_word]) };
        }
        let words = layout.stamps.iter().filter_map(|stamp| stamps.get(stamp));
        for (number, word) in words.enumerate() {
            self.write_word(start + layout.stamps_start() + number * size_of::<u32>(), word);
        }
        first
    }

    /// Copies a key into an entry that is being written. The usual lengths need no `memcpy`.
    ///
    /// # Safety
    ///
    /// Like for [`copy_in`](Self::copy_in).
    #[inline(always)]
    unsafe fn copy_key_in(&self, entry: NonNull<u8>, at: usize, key: &[u8]) {
        // SAFETY: `at` is in the arena, by the caller's duties.
        let to = unsafe { entry.add(at) };
        // SAFETY:
        // * these bytes are in the arena, in room that was just taken, by the caller's duties, and
        //   initialised (invariant 1);
        // * no thread reads or writes them while the slice is used (invariant 3): `key` borrows
        //   from outside that range, as the arena hands out live bytes only.
        let place = unsafe { core::slice::from_raw_parts_mut(to.as_ptr(), key.len()) };
        copy_short(place, key);
    }

    /// Copies a value into an entry that is being written.
    ///
    /// # Safety
    ///
    /// * `entry` is the start of room that was just taken, and all of its charge is in the arena.
    /// * The `bytes.len()` bytes from `at` on lie within the charge.
    #[inline(always)]
    unsafe fn copy_in(&self, entry: NonNull<u8>, at: usize, bytes: &[u8]) {
        // SAFETY: `at` is in the arena, by the caller's duties.
        let to = unsafe { entry.add(at) };
        // SAFETY:
        // * the target is in the arena, in room that was just taken, by the caller's duties: no
        //   thread reads or writes it (invariant 3);
        // * `bytes` borrows from outside that range: the arena hands out live bytes only.
        unsafe { to.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
    }

    /// Copies the entry at `from` to `to`, where nothing is live, and begins its relocation. For
    /// the holder of the write lock.
    pub(super) fn relocate(&self, from: Live<'_>, to: Location) {
        let first = self.load_first(from.location());
        if first.is_plain() {
            let charge = Layout::plain(first, self.alignment).charge();
            self.copy_rest(from, to, charge);
            self.write_word(to.offset(), first.0);
        } else {
            self.relocate_with_stamps(from, to);
        }
    }

    /// Is [`relocate`](Self::relocate) for an entry with a large header or stamps.
    #[inline(never)]
    fn relocate_with_stamps(&self, from: Live<'_>, to: Location) {
        let (Entry { key, value }, layout) = self.entry_with_layout(from);
        self.write(to, &layout, &Draft { key, value, stamps: &self.stamps(from) });
        self.begin_relocation(from.location(), to);
    }

    /// Copies all but the first word of an entry that has neither stamps nor a large header.
    #[inline]
    fn copy_rest(&self, from: Live<'_>, to: Location, charge: usize) {
        let (from, to, rest) = (from.location().offset(), to.offset(), charge - LOCATION_UNIT);
        self.shadow.read(from, charge);
        self.shadow.write(to, charge);
        let source = self.at(from + LOCATION_UNIT, rest);
        let target = self.at(to + LOCATION_UNIT, rest);
        // SAFETY:
        // * both ranges are in the arena, and initialised (invariant 1);
        // * no thread writes to the source: it belongs to a live entry, of which nothing changes
        //   but the first word, as it has no stamps (invariant 3);
        // * the target is in room that was just taken: no thread reads or writes it (invariant 3).
        //   So it is apart from the source, which is live.
        unsafe { target.copy_from_nonoverlapping(source, rest) };
    }

    /// Asks the processor to fetch the first lines of the entry at `location`.
    #[inline]
    pub(super) fn prefetch(&self, location: Location, lines: usize) {
        let start = self.base.as_ptr().wrapping_add(location.offset());
        // Line by line: with `prefetch_lines`, a read executes more instructions.
        for line in (0..PREFETCH_LINES).take_while(|&line| line < lines) {
            prefetch(start.wrapping_add(line * LINE));
        }
    }

    /// Asks the processor to fetch `lines` lines from `offset` on, but at most [`PREFETCH_LINES`].
    /// They may be beyond the arena.
    #[inline]
    pub(super) fn prefetch_from(&self, offset: usize, lines: usize) {
        prefetch_lines::<PREFETCH_LINES>(self.base.as_ptr().wrapping_add(offset), lines);
    }

    /// Asks the system for pages of a kind. They apply to memory that is touched after this call.
    pub(super) fn ask_for_pages(&self, pages: Pages) {
        self.region.ask_for_pages(pages, self.bytes);
    }

    /// Gives the memory of `range` back to the system, where the system can take it.
    ///
    /// # Safety
    ///
    /// * Nothing in the range is live, or no reader is left.
    /// * No slot and no value holds the chunks of the range.
    pub(super) unsafe fn release(&self, range: Range<usize>) {
        assert!(range.start <= range.end && range.end <= self.bytes, "range beyond the arena");
        self.shadow.write(range.start, range.len());
        // SAFETY:
        // * no thread reads the range before it is written again, by the caller's duties;
        // * zero bytes keep invariant 1.
        let _ = unsafe { self.region.release(range) };
    }

    /// Notes that bytes of the arena were read through a pointer.
    #[inline(always)]
    pub(super) fn note_read_at(&self, data: NonNull<[u8]>) {
        self.shadow.read(data.addr().get() - self.base.addr().get(), data.len());
    }
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use crate::reclaim::WriteToken;
    use crate::ring::{Alignment, Draft, Ring, RingSize, Stream};
    use crate::units::Stamps;

    /// Keys of all lengths modulo 16, so that the pad before the value has all lengths.
    #[test]
    fn a_relocated_entry_has_the_same_bytes_at_the_same_alignment() {
        // SAFETY: the test's only token, and no other thread has the ring.
        let token = unsafe { WriteToken::new() };
        for alignment in [1, 8, 16] {
            let alignment = Alignment::new(alignment).expect("an alignment");
            let mut ring = Ring::new(RingSize::fixed(4), 12, alignment).expect("memory");
            while ring.put_to_use() {}
            assert!(ring.open_next(Stream::Fresh, None) && ring.open_next(Stream::Survivors, None));
            for (length, value) in (3..19).zip([0, 1, 15, 16, 100].into_iter().cycle()) {
                let bytes: Vec<u8> = (1..=128).collect();
                let draft =
                    Draft { key: &bytes[..length], value: &bytes[length..length + value], stamps: &Stamps::NONE };
                let layout = ring.layout(&draft);
                let from = ring.append(Stream::Fresh, &layout, &draft).expect("room");
                let (to, charge) = ring.relocate(from, Stream::Survivors, &token).expect("room");
                ring.end_relocation(from, to);
                assert!(ring.live_at(from, &token).is_none(), "dead at its old location");
                let moved = ring.entry(ring.live_at(to, &token).expect("an entry"));
                assert_eq!((moved.key, moved.value, charge), (draft.key, draft.value, layout.charge()));
                assert_eq!(moved.value.as_ptr().addr() % alignment.bytes(), 0);
            }
        }
    }
}
