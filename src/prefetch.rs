//! Prefetching: asking the processor for a cache line before it is needed.
//!
//! Most of the time of an operation goes to waiting for a few lines that no core has touched for
//! long. If it asks for all of them at once, they arrive together. A prefetch reads nothing that
//! the program sees. So it is safe for any address, even one that has been freed or was never
//! mapped.

#![allow(unsafe_code, reason = "the processor prefetches by an intrinsic")]

/// Bytes in a cache line, for prefetching.
pub(crate) const LINE: usize = 64;

/// Asks the processor for the line at `address`, to read from it.
#[inline(always)]
pub(crate) fn prefetch<T>(address: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY:
        // * the instruction belongs to SSE, which is part of x86-64;
        // * it has no effect that the program can see, and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}

/// Like [`prefetch`], but for `lines` lines from `start` on, and at most `MOST`.
///
/// The bound is a constant, so the compiler emits no loop. If there are more than half of `MOST`,
/// one branch is enough for that half.
#[inline(always)]
pub(crate) fn prefetch_lines<const MOST: usize>(start: *const u8, lines: usize) {
    let line = |number: usize| prefetch(start.wrapping_add(number * LINE));
    if lines > MOST / 2 {
        (0..=MOST / 2).for_each(line);
        for number in MOST / 2 + 1..MOST {
            if number >= lines {
                return;
            }
            line(number);
        }
    } else {
        for number in 0..MOST / 2 {
            if number >= lines {
                return;
            }
            line(number);
        }
    }
}

/// Like [`prefetch`], but for all lines of `bytes` bytes from `start` on.
///
/// Also for lines that will be written: not every processor that this is compiled for has a
/// prefetch for writes.
#[inline]
pub(crate) fn prefetch_all<T>(start: *const T, bytes: usize) {
    // A `while` loop: a stepped range takes twice the instructions.
    let mut offset = 0;
    while offset < bytes {
        prefetch(start.cast::<u8>().wrapping_add(offset));
        offset += LINE;
    }
}
