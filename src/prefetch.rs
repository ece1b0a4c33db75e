//! Prefetching: asking the processor for a cache line before it is needed.
//!
//! Most of what an operation takes is waiting for a few lines that nobody has touched for long; asked for
//! together, they arrive together. A prefetch reads nothing that the program sees, so it is safe for any
//! address, one that has been freed or was never mapped included.

/// Bytes in a cache line, as far as prefetching is concerned.
pub(crate) const LINE: usize = 64;

/// Asks for the line at `address`, to read from it.
#[inline(always)]
pub(crate) fn prefetch<T>(address: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: SSE, which the instruction belongs to, is part of x86-64; it has no effect that the program can see, and
        // never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}

/// As [`prefetch`], for all lines of `bytes` bytes from `start` on.
///
/// Instructions that ask for a line to be written to are not in all processors that this is compiled for by default; where they
/// were, nothing was faster with them.
#[inline]
pub(crate) fn prefetch_all<T>(start: *const T, bytes: usize) {
    // As a loop over a stepped range it took twice the instructions.
    let mut offset = 0;
    while offset < bytes {
        prefetch(start.cast::<u8>().wrapping_add(offset));
        offset += LINE;
    }
}
