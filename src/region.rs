//! Zeroed memory for arenas and index tables: mapped where the system can, plain otherwise.
//!
//! The only file that names `memmap2`. Mapped memory is anonymous and private, starts at a 2-MiB border when
//! it is large enough to gain from huge pages, and asks for them when it has earned them (`madvise(MADV_HUGEPAGE)` on Linux;
//! elsewhere the advice does not exist and is left out); what is left after the last whole one lies in small pages. It counts
//! against the process only as it is touched, a whole page at a time.
//!
//! Plain memory serves where mapping fails or would waste most of a page.
//!
//! # Not here
//!
//! What the bytes mean, and every access to them: `ring/memory.rs` and `index/bucket.rs`.

use core::ops::Range;
use std::sync::LazyLock;

use memmap2::MmapMut;

/// Where huge pages begin and end.
const HUGE_PAGE: usize = 2 << 20;

/// In which order a region's bytes are first written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filling {
    /// From the beginning on, and perhaps not all of them.
    InOrder,
    /// Anywhere, and soon everywhere.
    AtRandom,
}

/// The pages that a region is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pages {
    Small,
    Huge,
}

/// A region that is filled in order has earned huge pages when so many of its bytes are in use. The page that is being filled is
/// resident before it is used: half as much again at most.
pub(crate) const HUGE_EARNED: usize = 2 * HUGE_PAGE;

impl Filling {
    /// From this size on a region is mapped rather than taken from the allocator. No arena is smaller, so what an arena has not
    /// been written to, or has given back, takes no memory: rounding to pages costs under an eighth then. Tables are mapped as
    /// soon as they fill a page, as a replaced one keeps its addresses, and gives its memory back.
    fn mapped_from(self) -> usize {
        match self {
            Self::InOrder => 32 << 10,
            Self::AtRandom => PAGE,
        }
    }

    /// From this size on a region may ask for huge pages. In order, it does so when it has earned them ([`HUGE_EARNED`]). At
    /// random, all pages are soon resident anyway. `small` and `uniform` of `benches/compare` measure what it is worth.
    fn huge_from(self) -> usize {
        match self {
            Self::InOrder => 4 * HUGE_PAGE,
            Self::AtRandom => HUGE_PAGE,
        }
    }
}

/// Models and Miri do not map memory.
const IS_INTERPRETED: bool = cfg!(any(bytecache_loom, miri));

/// What a mapping is rounded up to. Systems with larger pages map more than is counted, by under a page for
/// each region.
const PAGE: usize = 4 << 10;

/// The largest page that the system may have.
const MAX_PAGE: usize = if cfg!(target_arch = "x86_64") { 4 << 10 } else { 64 << 10 };

/// One cache line: the unit of plain regions, for its alignment.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line([u8; Line::BYTES]);

impl Line {
    pub(crate) const BYTES: usize = 64;
}

/// Zeroed bytes, aligned to cache lines (to pages when mapped), at a fixed address until dropped.
pub(crate) enum Region {
    /// The region starts so far into the mapping, and nothing comes after it.
    Mapped {
        map: MmapMut,
        start: usize,
        bytes: usize,
    },
    Plain(Vec<Line>),
}

impl Region {
    /// What [`zeroed`](Self::zeroed) allocates for `bytes`.
    pub(crate) fn footprint(bytes: usize, filling: Filling) -> usize {
        if bytes >= filling.mapped_from() { bytes.next_multiple_of(PAGE) } else { bytes.next_multiple_of(Line::BYTES) }
    }

    /// At least `bytes` zero bytes, or `None` if the system refuses them.
    pub(crate) fn zeroed(bytes: usize, filling: Filling) -> Option<Self> {
        if bytes >= filling.mapped_from() && !IS_INTERPRETED {
            if let Some(mapped) = Self::mapped(bytes, filling) {
                return Some(mapped);
            }
        }
        let mut lines = Vec::new();
        let count = bytes.div_ceil(Line::BYTES);
        lines.try_reserve_exact(count).ok()?;
        lines.resize(count, Line([0; Line::BYTES]));
        Some(Self::Plain(lines))
    }

    fn mapped(bytes: usize, filling: Filling) -> Option<Self> {
        if bytes < filling.huge_from() {
            return MmapMut::map_anon(bytes).ok().map(|map| Self::Mapped { map, start: 0, bytes });
        }
        // Address space costs nothing, so one huge page more lets the region start on a border.
        let mut map = MmapMut::map_anon(bytes.checked_add(HUGE_PAGE)?).ok()?;
        let misaligned = map.as_mut_ptr().addr() % HUGE_PAGE;
        let start = (HUGE_PAGE - misaligned) % HUGE_PAGE;
        let region = Self::Mapped { map, start, bytes };
        if filling == Filling::AtRandom {
            region.ask_for_pages(Pages::Huge);
        }
        Some(region)
    }

    /// Asks the system for pages of a kind, for what is touched from now on. Without effect on regions that gain nothing from
    /// huge ones, and where the system has none.
    pub(crate) fn ask_for_pages(&self, pages: Pages) {
        #[cfg(target_os = "linux")]
        if let Self::Mapped { map, start, bytes } = self {
            if map.len() > *bytes {
                let advice = match pages {
                    Pages::Huge => memmap2::Advice::HugePage,
                    Pages::Small => memmap2::Advice::NoHugePage,
                };
                // Refused where the kernel has no huge pages: small ones serve then.
                let _ = map.advise_range(advice, *start, *bytes);
            }
        }
        #[cfg(not(target_os = "linux"))]
        let _ = pages;
    }

    /// The first byte. Valid until the region is dropped.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut u8 {
        match self {
            Self::Mapped { map, start, .. } => map.as_mut_ptr().wrapping_add(*start),
            Self::Plain(lines) => lines.as_mut_ptr().cast(),
        }
    }

    /// Gives the memory of a range back to the system: its whole pages read as zero from then on. Returns `false`, and leaves it as
    /// it is, if the region is plain or the system cannot; and `false` if the range was not made of whole pages.
    ///
    /// # Safety
    ///
    /// Nobody minds if the bytes become zero: they hold nothing, or are accessed as atomics for which zero is right.
    pub(crate) unsafe fn release(&self, range: Range<usize>) -> bool {
        let Self::Mapped { map, start, bytes } = self else { return false };
        // The system would widen the range to whole pages, and what lies there may be in use. Nothing follows a region's last.
        let end = if range.end < *bytes { range.end / MAX_PAGE * MAX_PAGE } else { range.end };
        let pages = range.start.next_multiple_of(MAX_PAGE)..end;
        if pages.is_empty() || !can_release() {
            return false;
        }
        // SAFETY: the pages lie in the mapping, and their bytes may become zero, as the caller says.
        let is_released = unsafe { release_pages(map, start + pages.start..start + pages.end) };
        is_released && pages == range
    }
}

/// Gives pages of a mapping back to the system. Returns `false` if it refuses.
///
/// # Safety
///
/// The range lies in the mapping, is made of whole pages, and nobody minds if its bytes become zero.
#[cfg(any(target_os = "linux", target_os = "android"))]
unsafe fn release_pages(map: &MmapMut, range: Range<usize>) -> bool {
    // SAFETY: as the caller says.
    unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len()) }.is_ok()
}

/// Other systems take the advice without clearing the pages.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
unsafe fn release_pages(_map: &MmapMut, _range: Range<usize>) -> bool {
    false
}

/// Whether pages that are given back read as zero: some emulations of Linux take the advice and keep what was there. Tried once.
fn can_release() -> bool {
    static CAN_RELEASE: LazyLock<bool> = LazyLock::new(|| {
        let Ok(mut map) = MmapMut::map_anon(MAX_PAGE) else { return false };
        map[0] = 1;
        // SAFETY: all of a mapping of one page, whose bytes nobody borrows.
        let is_released = unsafe { release_pages(&map, 0..MAX_PAGE) };
        is_released && map[0] == 0
    });
    *CAN_RELEASE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "Miri maps no memory")]
    fn large_regions_start_on_a_huge_page_and_small_ones_on_a_line() {
        for filling in [Filling::InOrder, Filling::AtRandom] {
            let mut large = Region::zeroed(filling.huge_from() + 1, filling).unwrap();
            assert!(matches!(large, Region::Mapped { .. }));
            assert_eq!(large.as_mut_ptr().addr() % HUGE_PAGE, 0);
        }
        let mut small = Region::zeroed(100, Filling::InOrder).unwrap();
        assert!(matches!(small, Region::Plain(_)));
        assert_eq!(small.as_mut_ptr().addr() % Line::BYTES, 0);
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri maps no memory")]
    fn released_pages_read_as_zero_and_what_lies_beside_them_stays() {
        let mut region = Region::zeroed(4 * MAX_PAGE + 100, Filling::AtRandom).unwrap();
        let bytes = 4 * MAX_PAGE + 100;
        let start = region.as_mut_ptr();
        let write = |at: usize| {
            // SAFETY: within the region, of which there is no borrow.
            unsafe { start.wrapping_add(at).write(7) };
        };
        let read = |at: usize| {
            // SAFETY: as above.
            unsafe { start.wrapping_add(at).read() }
        };
        let all = [0, MAX_PAGE - 1, MAX_PAGE, 2 * MAX_PAGE - 1, 2 * MAX_PAGE, 3 * MAX_PAGE, bytes - 1];
        let left = |region: &Region, range: Range<usize>| {
            all.into_iter().for_each(write);
            // SAFETY: bytes of no borrow.
            let whole = unsafe { region.release(range) };
            (whole, all.map(|at| read(at) == 7))
        };
        if !can_release() {
            return;
        }
        let (yes, no) = (true, false);
        assert_eq!(left(&region, MAX_PAGE..2 * MAX_PAGE), (true, [yes, yes, no, no, yes, yes, yes]));
        // Shrunk to whole pages.
        assert_eq!(left(&region, 1..3 * MAX_PAGE - 1), (false, [yes, yes, no, no, yes, yes, yes]));
        assert_eq!(left(&region, 1..MAX_PAGE), (false, [yes; 7]));
        // To the end of the region, within its last page.
        assert_eq!(left(&region, 3 * MAX_PAGE..bytes), (true, [yes, yes, yes, yes, yes, no, no]));
        assert_eq!(left(&region, 0..bytes), (true, [no; 7]));
    }

    #[test]
    fn what_the_address_space_cannot_hold_is_refused() {
        assert!(Region::zeroed(usize::MAX / 2, Filling::InOrder).is_none());
    }
}
