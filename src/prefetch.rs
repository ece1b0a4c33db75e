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

/// Like [`prefetch`], for a line that is read once. It is not to displace lines that other threads
/// use from the caches that the cores share.
#[inline(always)]
pub(crate) fn prefetch_once<T>(address: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use core::arch::x86_64::{_MM_HINT_NTA, _mm_prefetch};
        // SAFETY: the same as for `prefetch`.
        unsafe { _mm_prefetch::<_MM_HINT_NTA>(address.cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
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
