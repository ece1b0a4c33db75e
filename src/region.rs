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
        if bytes >= filling.mapped_from() && !cfg!(bytecache_loom) {
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

    /// Gives the memory of a range back to the system, and reads as zero from then on. Returns `false`, and leaves it as it is,
    /// if the region is plain, the system cannot, or the range is not made of whole pages.
    ///
    /// # Safety
    ///
    /// Nobody minds if the bytes become zero: they hold nothing, or are accessed as atomics for which zero is right.
    pub(crate) unsafe fn release(&self, range: Range<usize>) -> bool {
        let Self::Mapped { map, start, bytes } = self else { return false };
        // The system would widen the range to whole pages, and what lies there may be in use.
        if range.start % MAX_PAGE != 0 || (range.end % MAX_PAGE != 0 && range.end < *bytes) {
            return false;
        }
        #[cfg(unix)]
        {
            let advice = memmap2::UncheckedAdvice::DontNeed;
            // SAFETY: the range lies in the mapping, in whole pages, and its bytes may become zero, as the caller says. Private
            // anonymous memory does so.
            unsafe { map.unchecked_advise_range(advice, start + range.start, range.len()) }.is_ok()
        }
        #[cfg(not(unix))]
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
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
    fn what_the_address_space_cannot_hold_is_refused() {
        assert!(Region::zeroed(1 << 60, Filling::InOrder).is_none());
    }
}
