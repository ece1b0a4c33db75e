//! Zeroed memory for arenas and index tables: mapped where the system can, plain otherwise.
//!
//! The only file that names `memmap2`. Mapped memory is anonymous and private, starts at a 2-MiB border when
//! it is large enough to gain from huge pages, and asks for them (`madvise(MADV_HUGEPAGE)` on Linux;
//! elsewhere the advice does not exist and is left out); what is left after the last whole one lies in small pages. It counts
//! against the process only as it is touched, a whole page at a time.
//!
//! Plain memory serves where mapping fails or would waste most of a page.
//!
//! # Not here
//!
//! What the bytes mean, and every access to them: `ring/memory.rs` and `index/bucket.rs`.

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

impl Filling {
    /// From this size on a region asks for huge pages. In order, the page that is being filled is resident before it is used: it should
    /// be a quarter of the region at most. At random, all pages are soon resident anyway. `small` and `uniform` of `benches/compare`
    /// measure what it is worth.
    fn huge_from(self) -> usize {
        match self {
            Self::InOrder => 4 * HUGE_PAGE,
            Self::AtRandom => HUGE_PAGE,
        }
    }
}

/// From this size on a region is mapped rather than taken from the allocator. No arena is smaller, so what an
/// arena has not been written to, or has given back, takes no memory. Rounding to pages costs under an eighth
/// then.
const MAPPED_FROM: usize = 32 << 10;

/// What a mapping is rounded up to. Systems with larger pages map more than is counted, by under a page for
/// each region.
const PAGE: usize = 4 << 10;

/// One cache line: the unit of plain regions, for its alignment.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line([u8; Line::BYTES]);

impl Line {
    pub(crate) const BYTES: usize = 64;
}

/// Zeroed bytes, aligned to cache lines (to pages when mapped), at a fixed address until dropped.
pub(crate) enum Region {
    /// The mapping, and how far into it the region starts.
    Mapped(MmapMut, usize),
    Plain(Vec<Line>),
}

impl Region {
    /// What [`zeroed`](Self::zeroed) allocates for `bytes`.
    pub(crate) fn footprint(bytes: usize) -> usize {
        if bytes >= MAPPED_FROM { bytes.next_multiple_of(PAGE) } else { bytes.next_multiple_of(Line::BYTES) }
    }

    /// At least `bytes` zero bytes, or `None` if the system refuses them.
    pub(crate) fn zeroed(bytes: usize, filling: Filling) -> Option<Self> {
        if bytes >= MAPPED_FROM && !cfg!(bytecache_loom) {
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
            return MmapMut::map_anon(bytes).ok().map(|map| Self::Mapped(map, 0));
        }
        // Address space costs nothing, so one huge page more lets the region start on a border.
        let mut map = MmapMut::map_anon(bytes.checked_add(HUGE_PAGE)?).ok()?;
        let misaligned = map.as_mut_ptr().addr() % HUGE_PAGE;
        let start = (HUGE_PAGE - misaligned) % HUGE_PAGE;
        #[cfg(target_os = "linux")]
        {
            // Refused where the kernel has no huge pages: small ones serve then.
            let _ = map.advise_range(memmap2::Advice::HugePage, start, bytes);
        }
        Some(Self::Mapped(map, start))
    }

    /// The first byte. Valid until the region is dropped.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut u8 {
        match self {
            Self::Mapped(map, start) => map.as_mut_ptr().wrapping_add(*start),
            Self::Plain(lines) => lines.as_mut_ptr().cast(),
        }
    }

    /// The mapping and the region's start in it, for advice to the system; `None` when plain.
    pub(crate) fn mapping(&self) -> Option<(&MmapMut, usize)> {
        match self {
            Self::Mapped(map, start) => Some((map, *start)),
            Self::Plain(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_regions_start_on_a_huge_page_and_small_ones_on_a_line() {
        for filling in [Filling::InOrder, Filling::AtRandom] {
            let mut large = Region::zeroed(filling.huge_from() + 1, filling).unwrap();
            assert!(large.mapping().is_some());
            assert_eq!(large.as_mut_ptr().addr() % HUGE_PAGE, 0);
        }
        let mut small = Region::zeroed(100, Filling::InOrder).unwrap();
        assert!(small.mapping().is_none());
        assert_eq!(small.as_mut_ptr().addr() % Line::BYTES, 0);
    }

    #[test]
    fn what_the_address_space_cannot_hold_is_refused() {
        assert!(Region::zeroed(1 << 60, Filling::InOrder).is_none());
    }
}
