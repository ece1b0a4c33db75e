//! [`Growable`]: an array of zeros that becomes longer or shorter without a copy. All large arrays
//! of policies and of the timing wheel are one.
//!
//! A large array lies in memory of its own, with addresses for several times its length. The part
//! beyond the length takes no memory until it is touched. When the addresses are used up, the
//! system moves the pages, without a copy where it can. An array [within](Growable::within) a known
//! length never moves, whatever its size.
//!
//! ```text
//!   memory   | elements | dropped elements, for now | zeros, perhaps only addresses |
//!            0          len                         used                            capacity
//! ```
//!
//! An array that becomes shorter gives its memory back in steps, from the end on. Until then it is
//! counted as allocated.
//!
//! # Invariants
//!
//! 1. `first` is the start of `len` elements in `memory`, which no other code accesses.
//! 2. The elements lie before `used`, and the bytes of `memory` behind `used` are zero.

#![allow(unsafe_code, reason = "elements lie in memory from the system")]

use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

use crate::region::{Filling, MAX_PAGE, Pages, Region};

/// Plain data for which zero bytes are a valid value: that of a new element.
///
/// # Safety
///
/// All bytes of the type may be zero, it needs no drop, and it is aligned to 64 bytes at most.
pub(crate) unsafe trait Zero: Copy {}

// SAFETY: an integer.
unsafe impl Zero for u16 {}
// SAFETY: an integer.
unsafe impl Zero for u32 {}
// SAFETY: an integer.
unsafe impl Zero for u64 {}

/// The length in bytes from which on an array has memory of its own from the system. Smaller ones
/// are copied when they grow.
const RESERVED_FROM: usize = 256 << 10;
/// The addresses of an array, as a multiple of its length.
const HEADROOM: usize = 8;
/// The bytes that an array gives back at once. The system takes about 20 microseconds for them.
const RELEASED_AT_ONCE: usize = 512 << 10;

/// An array of plain data whose length can change. New elements are zero.
pub(crate) struct Growable<T> {
    first: NonNull<T>,
    len: usize,
    memory: Box<Memory>,
    elements: PhantomData<T>,
}

/// The memory of an array, apart from what each access reads.
struct Memory {
    region: Region,
    /// Bytes of the region that can be used.
    capacity: usize,
    /// The end of the bytes that are not known to be zero.
    used: usize,
    /// The array never needs more, and stays where it is.
    is_enough: bool,
}

// SAFETY: it owns its elements.
unsafe impl<T: Send> Send for Growable<T> {}
// SAFETY: it owns its elements.
unsafe impl<T: Sync> Sync for Growable<T> {}

impl<T: Zero> Growable<T> {
    /// Creates an array of `len` elements.
    ///
    /// # Panics
    ///
    /// If there is no memory.
    pub(crate) fn new(len: usize) -> Self {
        let bytes = Self::bytes_of(len);
        let mut memory = Box::new(Memory::of(bytes));
        Self { first: memory.first(), len, memory, elements: PhantomData }
    }

    /// Creates an array of `len` elements that never has more than `most`. Returns `None` if the
    /// system refuses the addresses.
    pub(crate) fn within(len: usize, most: usize) -> Option<Self> {
        let capacity = Self::bytes_of(most);
        let region = Region::for_later(Self::bytes_of(len), capacity)?;
        let mut memory = Box::new(Memory { region, capacity, used: Self::bytes_of(len), is_enough: true });
        Some(Self { first: memory.first(), len, memory, elements: PhantomData })
    }

    /// Returns the bytes that an array [within](Self::within) `most` elements allocates, of which
    /// it has `len` and had `first` at first.
    pub(crate) fn footprint_within(len: usize, first: usize, most: usize) -> usize {
        let [len, first, most] = [len, first, most].map(Self::bytes_of);
        size_of::<Memory>() + Region::footprint_for_later(len, first, most)
    }

    /// Returns the bytes of `len` elements.
    fn bytes_of(len: usize) -> usize {
        len.checked_mul(size_of::<T>()).unwrap_or_else(|| panic!("no memory for {len} elements"))
    }

    /// Sets the number of elements. Those at the end are dropped or added. Returns `false` if the
    /// array has become shorter and does not fit its length yet: each call with the same length
    /// gives some more of its memory back.
    ///
    /// # Panics
    ///
    /// If there is no memory, or if there are more than there may be.
    #[must_use]
    pub(crate) fn resize(&mut self, len: usize) -> bool {
        let (before, after) = (Self::bytes_of(self.len), Self::bytes_of(len));
        assert!(!self.memory.is_enough || after <= self.memory.capacity, "more elements than there are addresses for");
        if after > before {
            // Bytes that are still to be given back come into use again, so they become zero now.
            // Mostly there are none.
            self.drop_from(before);
        }
        if after > self.memory.capacity {
            self.move_to(len);
        }
        self.len = len;
        self.memory.used = self.memory.used.max(after);
        if self.memory.region.is_mapped() {
            let least = self.memory.used.saturating_sub(RELEASED_AT_ONCE).next_multiple_of(MAX_PAGE);
            self.drop_from(after.max(least));
        } else {
            self.drop_from(after);
        }
        if after < before {
            self.memory.region.ask_for_small_pages_beyond(after);
        } else if after > before {
            self.memory.region.ask_for_pages(Pages::Huge, after);
        }
        let is_done = self.memory.used == after;
        if is_done && !self.memory.is_enough {
            self.fit();
        }
        is_done
    }

    /// Moves the elements to memory that suits their number, if they are not in it.
    fn fit(&mut self) {
        let is_reserved = self.memory.region.is_mapped();
        let bytes = self.memory.used;
        if is_reserved != (bytes >= RESERVED_FROM) || !is_reserved && self.memory.capacity > bytes {
            self.move_to(self.len);
        }
    }

    /// Moves the elements to memory for `len` of them, at least as many as there are.
    fn move_to(&mut self, len: usize) {
        let bytes = Self::bytes_of(len);
        if bytes > self.memory.capacity && self.memory.extend(bytes) {
            self.first = self.memory.first();
        } else {
            let mut memory = Memory::of(bytes);
            let first = memory.first();
            // SAFETY:
            // * `self.first` is the start of at least this many initialised elements (invariant 1),
            //   and the new memory has room for them;
            // * both are aligned: memory starts on a page or a cache line;
            // * the new memory is another allocation.
            unsafe { first.copy_from_nonoverlapping(self.first, self.len) };
            (self.first, *self.memory) = (first, memory);
        }
    }

    /// Makes the used bytes from `end` on zero. They are those of dropped elements.
    fn drop_from(&mut self, end: usize) {
        let used = self.memory.used;
        if end >= used {
            return;
        }
        let start = self.first.cast::<u8>();
        let whole = end.next_multiple_of(MAX_PAGE).min(used);
        // SAFETY: the range holds elements that were dropped, and behind them zero bytes (invariant
        // 2).
        let is_zero = unsafe { self.memory.region.release(whole..used.next_multiple_of(MAX_PAGE)) };
        let rest = if is_zero { whole } else { used };
        // SAFETY: the bytes lie in the memory, and are those of elements that were dropped.
        unsafe { start.as_ptr().wrapping_add(end).write_bytes(0, rest - end) };
        self.memory.used = end;
    }
}

impl Memory {
    /// Returns zeroed memory of this size, in huge pages where it fills whole ones.
    fn of(bytes: usize) -> Self {
        let reserved = Some(bytes).filter(|&bytes| bytes >= RESERVED_FROM).and_then(with_headroom);
        if let Some((mut region, capacity)) = reserved.and_then(|bytes| Some((Region::reserved(bytes)?, bytes))) {
            // A region that is touched before it gets huge pages can be extended.
            let last = region.as_mut_ptr().wrapping_add(bytes - 1);
            // SAFETY: the byte is within the region, which has no other user yet.
            unsafe { last.write(0) };
            region.ask_for_pages(Pages::Huge, bytes);
            return Self { region, capacity, used: bytes, is_enough: false };
        }
        let region = Region::plain(bytes).unwrap_or_else(|| panic!("no memory for {bytes} bytes"));
        Self { region, capacity: bytes, used: bytes, is_enough: false }
    }

    /// Reserves addresses for more bytes than there are. Returns `false` if the system cannot do
    /// that without a copy.
    fn extend(&mut self, bytes: usize) -> bool {
        let Some(capacity) = with_headroom(bytes) else { return false };
        // SAFETY: the caller takes the address of the first element again.
        let is_extended = unsafe { self.region.extend(capacity) };
        if is_extended {
            self.capacity = capacity;
        }
        is_extended
    }

    fn first<T>(&mut self) -> NonNull<T> {
        NonNull::new(self.region.as_mut_ptr().cast()).unwrap_or(NonNull::dangling())
    }
}

/// Returns the number of addresses to reserve for an array of this size, in bytes.
fn with_headroom(bytes: usize) -> Option<usize> {
    bytes.checked_mul(HEADROOM)
}

impl<T> Growable<T> {
    /// Returns all elements.
    #[inline]
    pub(crate) fn as_slice(&self) -> &[T] {
        // SAFETY: by invariant 1, these elements are initialised, and only `self` accesses them.
        unsafe { core::slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }

    /// Returns the bytes that are allocated, once all elements are touched.
    pub(crate) fn allocated(&self) -> usize {
        let bytes = self.memory.used;
        if self.memory.region.is_mapped() {
            Region::footprint(bytes, Filling::Reserved)
        } else {
            Region::plain_footprint(bytes)
        }
    }
}

impl<T> Deref for Growable<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        self.as_slice()
    }
}

impl<T> DerefMut for Growable<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: by invariant 1, these elements are initialised, and only `self` accesses them,
        // which is borrowed mutably.
        unsafe { core::slice::from_raw_parts_mut(self.first.as_ptr(), self.len) }
    }
}

impl<T: fmt::Debug> fmt::Debug for Growable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.as_slice()).finish()
    }
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_stay_where_they_are_and_those_that_come_back_are_zero() {
        let mut array = Growable::<u32>::new(3);
        array[2] = 7;
        assert!(array.resize(5));
        array[4] = 9;
        assert_eq!(array.as_slice(), [0, 0, 7, 0, 9]);
        assert!(array.resize(4) && array.resize(5));
        assert_eq!((array.as_slice(), array.allocated()), (&[0, 0, 7, 0, 0][..], 64));
    }

    #[test]
    #[cfg(target_os = "linux")]
    #[cfg_attr(miri, ignore = "Miri maps no memory")]
    fn an_array_that_has_become_shorter_gives_a_bounded_part_back_with_each_call() {
        let mut array = Growable::<u64>::new(1 << 20);
        array.fill(7);
        let addresses = array.as_slice().as_ptr_range();
        let addresses = addresses.start.addr()..addresses.end.addr();
        let resident = || crate::region::tests::resident_bytes(addresses.clone());
        let (mut before, mut calls) = (resident(), 0);
        assert_eq!((before, array.allocated()), (8 << 20, 8 << 20));
        loop {
            let is_done = array.resize(300_000);
            let after = resident();
            assert!(before - after <= RELEASED_AT_ONCE, "{} bytes at once", before - after);
            assert_eq!((array.len(), array.allocated()), (300_000, after));
            (before, calls) = (after, calls + 1);
            if is_done {
                break;
            }
        }
        assert_eq!(calls, ((8 << 20) - 2_400_000_usize).div_ceil(RELEASED_AT_ONCE));
        assert!(array.iter().all(|&element| element == 7) && array.resize(300_000));
    }

    #[test]
    fn elements_that_come_back_while_memory_is_given_back_are_zero() {
        let mut array = Growable::<u64>::new(500_000);
        array.fill(7);
        if !array.resize(100_000) {
            assert!(array.allocated() > 3_000_000, "most is left to give back");
        }
        assert!(array.resize(400_000));
        assert!(array[..100_000].iter().all(|&element| element == 7));
        assert!(array[100_000..].iter().all(|&element| element == 0));
        assert!((3_200_000..3_200_000 + MAX_PAGE).contains(&array.allocated()));
    }

    #[test]
    fn an_array_within_a_known_length_stays_where_it_is() {
        for most in [20, 100_000] {
            let mut array = Growable::<u64>::within(10, most).expect("memory");
            let first = array.as_slice().as_ptr();
            array[9] = 7;
            for len in [most, 10, 15, 10, most, 10] {
                let _is_done = array.resize(len);
                assert_eq!((array[9], array.as_slice().as_ptr(), array.len()), (7, first, len));
                assert!(array[10..].iter().all(|&element| element == 0));
                array[10..].fill(9);
            }
        }
    }

    #[test]
    #[should_panic(expected = "more elements than there are addresses for")]
    fn an_array_within_a_known_length_is_not_longer() {
        let _ = Growable::<u64>::within(10, 20).expect("memory").resize(21);
    }

    #[test]
    #[should_panic(expected = "no memory")]
    fn a_length_whose_bytes_overflow_is_refused() {
        let _ = Growable::<u64>::new(3).resize(usize::MAX / 8 + 2);
    }

    #[test]
    #[cfg(target_os = "linux")]
    #[cfg_attr(miri, ignore = "Miri maps no memory")]
    fn the_system_moves_a_large_array_that_has_used_up_its_addresses() {
        let mut memory = Memory::of(5 << 20);
        assert!(memory.region.is_mapped() && memory.extend(41 << 20));
        assert_eq!(memory.capacity, (41 << 20) * HEADROOM);
    }

    #[test]
    #[cfg(target_os = "linux")]
    #[cfg_attr(miri, ignore = "Miri maps no memory")]
    fn an_array_that_has_shrunk_asks_for_no_huge_page_beyond_its_end() {
        let mut array = Growable::<u64>::new(1 << 20);
        while !array.resize(300_000) {}
        let last = array.as_slice().as_ptr_range().end.addr();
        assert!(!crate::region::tests::has_asked_for_huge_pages(last));
    }

    #[test]
    fn arrays_of_all_sizes_keep_their_elements_and_are_zero_behind_them() {
        let mut array = Growable::<u64>::new(10);
        let (mut model, mut sum) = (vec![0; 10], 0);
        for len in
            [1_000, 30_000, 40_000, 39_990, 100_000, 500_000, 2_000_000, 300_000, 300_007, 33_000, 20_000, 40_000]
        {
            // Not always to the end.
            let _is_done = array.resize(len) || len % 3 > 0 && array.resize(len);
            model.resize(len, 0);
            assert!(array.as_slice() == model, "with {len} elements");
            for at in (0..len).step_by(509).chain(len - 5..len) {
                sum += 1;
                (array[at], model[at]) = (sum, sum);
            }
            while !array.resize(len) {}
            assert!((len * 8..len * 8 + MAX_PAGE).contains(&array.allocated()));
        }
    }
}
