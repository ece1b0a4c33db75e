//! Zeroed memory for arenas and index tables: mapped where the system can, plain otherwise.
//!
//! This is the only file that names `memmap2`. Mapped memory is anonymous and private. It counts
//! against the process only once it is touched, a page at a time.
//!
//! A mapping that is large enough to gain from huge pages starts at a 2-MiB border. It asks for
//! huge pages when it has earned them, by `madvise(MADV_HUGEPAGE)` on Linux. Other systems do not
//! have this advice, so it is left out. The bytes after the last whole huge page lie in small
//! pages.
//!
//! Plain memory is used where mapping fails or would waste most of a page.
//!
//! # Not here
//!
//! The meaning of the bytes, and every access to them: `ring/arena.rs` and `index/bucket.rs`.

#![allow(unsafe_code, reason = "memory comes from the system")]

use core::ops::Range;
use std::sync::LazyLock;

use memmap2::MmapMut;

/// The size of a huge page, in bytes.
const HUGE_PAGE: usize = 2 << 20;

/// The order in which the bytes of a region are first written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filling {
    /// From the start on, and perhaps not all of them.
    InOrder,
    /// Addresses for later: a part from the start on is in use, and written in any order.
    Reserved,
}

/// The kind of pages of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pages {
    Small,
    Huge,
}

/// Bytes in use from which on a region that is filled in order has earned huge pages. The page that
/// is being filled is resident before all of it is used. That adds half of this size at most.
pub(crate) const HUGE_EARNED: usize = 2 * HUGE_PAGE;

impl Filling {
    /// Returns the size from which on a region is mapped instead of allocated.
    ///
    /// No arena is smaller, so parts of an arena that are unwritten or given back take no memory.
    /// Rounding to pages then costs less than an eighth. Reserved addresses are mapped from one
    /// page on, because most of them may never be used.
    fn mapped_from(self) -> usize {
        match self {
            Self::InOrder => 32 << 10,
            Self::Reserved => PAGE,
        }
    }

    /// Returns the size from which on a region may ask for huge pages.
    ///
    /// A region that is filled in order asks when it has earned them ([`HUGE_EARNED`]). In the part
    /// of reserved addresses that is in use, all pages are soon resident anyway. `small` and
    /// `uniform` of `benches/compare` measure the gain.
    fn huge_from(self) -> usize {
        match self {
            Self::InOrder => 4 * HUGE_PAGE,
            Self::Reserved => HUGE_PAGE,
        }
    }
}

/// Models and Miri do not map memory.
const IS_INTERPRETED: bool = cfg!(any(bytecache_loom, miri));

/// The unit that mappings are rounded up to, in bytes. On systems with larger pages, each region
/// maps up to a page more than is counted.
const PAGE: usize = 4 << 10;

/// The largest page that the system may have, in bytes.
pub(crate) const MAX_PAGE: usize = if cfg!(target_arch = "x86_64") { 4 << 10 } else { 64 << 10 };

/// One cache line: the unit of plain regions, for its alignment.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line([u8; Line::BYTES]);

impl Line {
    pub(crate) const BYTES: usize = 64;
}

/// Zeroed bytes at a fixed address until dropped. Aligned to cache lines, or to pages if mapped.
pub(crate) enum Region {
    /// The region starts `start` bytes into the mapping. Nothing follows it.
    Mapped {
        map: MmapMut,
        start: usize,
        bytes: usize,
    },
    Plain(Vec<Line>),
}

impl Region {
    /// Returns the bytes that [`zeroed`](Self::zeroed) allocates for `bytes`. If its addresses are
    /// [reserved](Filling::Reserved): the bytes of the part in use, of this size.
    pub(crate) fn footprint(bytes: usize, filling: Filling) -> usize {
        let is_mapped = filling == Filling::Reserved && !IS_INTERPRETED || bytes >= filling.mapped_from();
        bytes.next_multiple_of(if is_mapped { PAGE } else { Line::BYTES })
    }

    /// Creates a region of at least `bytes` zero bytes. Returns `None` if the system refuses them.
    pub(crate) fn zeroed(bytes: usize, filling: Filling) -> Option<Self> {
        Self::mapped(bytes, filling).or_else(|| Self::plain(bytes))
    }

    /// Reserves addresses for `bytes` zero bytes, which take no memory until they are touched.
    /// Returns `None` if the system refuses that, or if there are too few bytes for a mapping.
    pub(crate) fn reserved(bytes: usize) -> Option<Self> {
        Self::mapped(bytes, Filling::Reserved)
    }

    /// Creates a region of zero bytes of which `first` are in use at first, and up to `most` later.
    /// Returns `None` if the system refuses them.
    ///
    /// If more may come and all of them fill a page, only their addresses are taken. Otherwise all
    /// of them are allocated.
    pub(crate) fn for_later(first: usize, most: usize) -> Option<Self> {
        if is_reserved(first, most) { Self::reserved(most) } else { Self::plain(most) }
    }

    /// Returns the bytes that a region [for later](Self::for_later) allocates while `used` of its
    /// bytes are in use.
    pub(crate) fn footprint_for_later(used: usize, first: usize, most: usize) -> usize {
        if is_reserved(first, most) { Self::footprint(used, Filling::Reserved) } else { Self::plain_footprint(most) }
    }

    /// Creates a region of at least `bytes` zero bytes from the allocator. Returns `None` if the
    /// allocator refuses them.
    pub(crate) fn plain(bytes: usize) -> Option<Self> {
        let mut lines = Vec::new();
        let count = bytes.div_ceil(Line::BYTES);
        lines.try_reserve_exact(count).ok()?;
        lines.resize(count, Line([0; Line::BYTES]));
        Some(Self::Plain(lines))
    }

    /// Returns the bytes that [`plain`](Self::plain) allocates for `bytes`.
    pub(crate) fn plain_footprint(bytes: usize) -> usize {
        bytes.next_multiple_of(Line::BYTES)
    }

    /// Returns `true` if the memory comes from the system, page by page.
    pub(crate) fn is_mapped(&self) -> bool {
        matches!(self, Self::Mapped { .. })
    }

    /// Makes a mapped region larger, so that it has `wanted` bytes. The former bytes stay as they
    /// are, and may get other addresses. The added ones are zero, if those in the last page of the
    /// region were. [Pages](Self::ask_for_pages) have to be asked for again.
    ///
    /// Returns `false` if the system cannot do that without a copy. Then the addresses stay the
    /// same. On Linux it can, if a byte of the region was written before huge pages were asked for
    /// the first time.
    ///
    /// # Safety
    ///
    /// No address in the region is used after this call, if it was taken before.
    pub(crate) unsafe fn extend(&mut self, wanted: usize) -> bool {
        #[cfg(target_os = "linux")]
        if let Self::Mapped { map, start, bytes } = self {
            // As in `mapped`: `start` is below this.
            let Some(len) = wanted.checked_add(HUGE_PAGE).filter(|_| wanted > *bytes) else { return false };
            // The kernel does not extend a mapping of which only a part has huge pages, because it
            // keeps the parts as mappings of their own. After this advice they are the same, and
            // become one. They do not if each of them was first touched by itself. The kernel
            // refuses the advice where it has no huge pages.
            let _ = map.advise(memmap2::Advice::NoHugePage);
            // SAFETY: nothing refers to the former addresses, by the caller's duty and because the
            // region is borrowed mutably.
            let is_moved = unsafe { map.remap(len, memmap2::RemapOptions::new().may_move(true)) }.is_ok();
            if is_moved {
                *bytes = wanted;
                debug_assert!(*start < HUGE_PAGE);
            }
            return is_moved;
        }
        let _ = wanted;
        false
    }

    fn mapped(bytes: usize, filling: Filling) -> Option<Self> {
        if bytes < filling.mapped_from() || IS_INTERPRETED {
            return None;
        }
        if bytes < filling.huge_from() {
            return MmapMut::map_anon(bytes).ok().map(|map| Self::Mapped { map, start: 0, bytes });
        }
        // Address space costs nothing. With one more huge page of it, the region can start on a
        // border.
        let mut map = MmapMut::map_anon(bytes.checked_add(HUGE_PAGE)?).ok()?;
        let misaligned = map.as_mut_ptr().addr() % HUGE_PAGE;
        let start = (HUGE_PAGE - misaligned) % HUGE_PAGE;
        Some(Self::Mapped { map, start, bytes })
    }

    /// Asks the system for pages of a kind, in the whole huge pages before `end`. They apply to
    /// memory that is touched after this call. Has no effect on regions that gain nothing from huge
    /// pages, and on systems without them.
    pub(crate) fn ask_for_pages(&self, pages: Pages, end: usize) {
        #[cfg(target_os = "linux")]
        if let Self::Mapped { map, start, bytes } = self {
            let len = end.min(*bytes) / HUGE_PAGE * HUGE_PAGE;
            if map.len() > *bytes && len > 0 {
                let advice = match pages {
                    Pages::Huge => memmap2::Advice::HugePage,
                    Pages::Small => memmap2::Advice::NoHugePage,
                };
                // The kernel refuses this where it has no huge pages. Small pages are used then.
                let _ = map.advise_range(advice, *start, len);
            }
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (pages, end);
    }

    /// Takes the request for huge pages back for what lies beyond the whole huge pages before
    /// `end`. Otherwise the first byte that is touched there would take a huge page again.
    pub(crate) fn ask_for_small_pages_beyond(&self, end: usize) {
        #[cfg(target_os = "linux")]
        if let Self::Mapped { map, start, bytes } = self {
            let from = end.min(*bytes) / HUGE_PAGE * HUGE_PAGE;
            if map.len() > *bytes {
                // The kernel refuses this where it has no huge pages.
                let _ = map.advise_range(memmap2::Advice::NoHugePage, start + from, map.len() - start - from);
            }
        }
        #[cfg(not(target_os = "linux"))]
        let _ = end;
    }

    /// Returns the address of the first byte. It is valid until the region is dropped or
    /// [extended](Self::extend).
    pub(crate) fn as_mut_ptr(&mut self) -> *mut u8 {
        match self {
            Self::Mapped { map, start, .. } => map.as_mut_ptr().wrapping_add(*start),
            Self::Plain(lines) => lines.as_mut_ptr().cast(),
        }
    }

    /// Gives the memory of a range back to the system. Its whole pages read as zero from then on.
    /// The part of a range that lies beyond the region is left out.
    ///
    /// Returns `false` if the region is plain or the system cannot take the memory: then all bytes
    /// stay as they are. Also returns `false` if the range was not made of whole pages.
    ///
    /// # Safety
    ///
    /// The bytes of the range may become zero: they hold nothing, or are accessed as atomics for
    /// which zero is valid.
    pub(crate) unsafe fn release(&self, range: Range<usize>) -> bool {
        let Self::Mapped { map, start, bytes } = self else { return false };
        // What follows the region may be no part of the mapping.
        let range = range.start..range.end.min(*bytes);
        // The system would widen the range to whole pages, whose other bytes may be in use. The
        // last page of a region holds nothing else.
        let end = if range.end < *bytes { range.end / MAX_PAGE * MAX_PAGE } else { range.end };
        let pages = range.start.next_multiple_of(MAX_PAGE)..end;
        if pages.is_empty() || !can_release() {
            return false;
        }
        // SAFETY:
        // * the range lies in the region, so in the mapping. It is made of whole pages, or goes on
        //   to the end of the region, whose last page holds nothing else;
        // * its bytes may become zero, by the caller's duty.
        let is_released = unsafe { release_pages(map, start + pages.start..start + pages.end) };
        is_released && pages == range
    }
}

/// Returns `true` if only the addresses are taken of bytes that are in use later.
fn is_reserved(first: usize, most: usize) -> bool {
    most > first && most >= Filling::Reserved.mapped_from() && !IS_INTERPRETED
}

/// Gives pages of a mapping back to the system. Returns `false` if the system refuses.
///
/// # Safety
///
/// * The range lies in the mapping, and begins on a page. It ends with a page, or the rest of its
///   last page holds nothing.
/// * Its bytes may become zero.
#[cfg(any(target_os = "linux", target_os = "android"))]
unsafe fn release_pages(map: &MmapMut, range: Range<usize>) -> bool {
    // SAFETY: the caller's duties are the same.
    unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len()) }.is_ok()
}

/// Returns `false`: other systems accept the advice without clearing the pages.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
unsafe fn release_pages(_map: &MmapMut, _range: Range<usize>) -> bool {
    false
}

/// Returns `true` if pages that are given back read as zero. Some emulations of Linux accept the
/// advice and keep the bytes. Tried once.
fn can_release() -> bool {
    static CAN_RELEASE: LazyLock<bool> = LazyLock::new(|| {
        let Ok(mut map) = MmapMut::map_anon(MAX_PAGE) else { return false };
        map[0] = 1;
        // SAFETY: the range is a whole mapping of one page, whose bytes are not borrowed.
        let is_released = unsafe { release_pages(&map, 0..MAX_PAGE) };
        is_released && map[0] == 0
    });
    *CAN_RELEASE
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "Miri maps no memory")]
    fn large_regions_start_on_a_huge_page_and_small_ones_on_a_line() {
        for filling in [Filling::InOrder, Filling::Reserved] {
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
        let mut region = Region::zeroed(4 * MAX_PAGE + 100, Filling::Reserved).unwrap();
        let bytes = 4 * MAX_PAGE + 100;
        let start = region.as_mut_ptr();
        let write = |at: usize| {
            // SAFETY: the byte is within the region, which is not borrowed.
            unsafe { start.wrapping_add(at).write(7) };
        };
        let read = |at: usize| {
            // SAFETY: the byte is within the region, which is not borrowed.
            unsafe { start.wrapping_add(at).read() }
        };
        let all = [0, MAX_PAGE - 1, MAX_PAGE, 2 * MAX_PAGE - 1, 2 * MAX_PAGE, 3 * MAX_PAGE, bytes - 1];
        let left = |region: &Region, range: Range<usize>| {
            all.into_iter().for_each(write);
            // SAFETY: the bytes are not borrowed, and may become zero.
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

    /// A part of the mapping has huge pages, so it consists of several to the system.
    #[test]
    #[cfg(target_os = "linux")]
    #[cfg_attr(miri, ignore = "Miri maps no memory")]
    fn a_region_with_huge_pages_is_extended_without_a_copy() {
        let mut region = Region::reserved(4 * HUGE_PAGE + 100).unwrap();
        for at in [4 * HUGE_PAGE + 99, 0, 3 * HUGE_PAGE] {
            // SAFETY: the byte is within the region, which is not borrowed.
            unsafe { region.as_mut_ptr().wrapping_add(at).write(7) };
            region.ask_for_pages(Pages::Huge, 3 * HUGE_PAGE);
        }
        // SAFETY: no address is kept.
        assert!(unsafe { region.extend(40 * HUGE_PAGE) });
        region.ask_for_pages(Pages::Huge, 39 * HUGE_PAGE);
        for (at, expected) in [(0, 7), (4 * HUGE_PAGE + 99, 7), (4 * HUGE_PAGE + 100, 0), (40 * HUGE_PAGE - 1, 0)] {
            // SAFETY: the byte is within the region, which is not borrowed.
            assert_eq!(unsafe { region.as_mut_ptr().wrapping_add(at).read() }, expected, "at {at}");
        }
        // SAFETY: no address is kept.
        assert!(!unsafe { region.extend(HUGE_PAGE) }, "made smaller");
    }

    /// Returns `true` if huge pages are asked for at an address, as the kernel tells.
    #[cfg(target_os = "linux")]
    pub(crate) fn has_asked_for_huge_pages(address: usize) -> bool {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut is_within = false;
        for line in maps.lines() {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            let range = range.and_then(|(from, to)| {
                Some(usize::from_str_radix(from, 16).ok()?..usize::from_str_radix(to, 16).ok()?)
            });
            if let Some(range) = range {
                is_within = range.contains(&address);
            } else if let (true, Some(flags)) = (is_within, line.strip_prefix("VmFlags:")) {
                return flags.split(' ').any(|flag| flag == "hg");
            }
        }
        false
    }

    /// Returns the bytes of a range of addresses that are resident, as the kernel tells.
    #[cfg(all(target_os = "linux", not(bytecache_loom)))]
    pub(crate) fn resident_bytes(range: Range<usize>) -> usize {
        use std::os::unix::fs::FileExt;
        // A word of eight bytes for each page. Its top bit says whether the page is resident.
        let pages = range.start / MAX_PAGE..range.end.div_ceil(MAX_PAGE);
        let mut words = vec![0; 8 * pages.len()];
        let map = std::fs::File::open("/proc/self/pagemap").unwrap();
        map.read_exact_at(&mut words, 8 * pages.start as u64).unwrap();
        words.chunks_exact(8).filter(|word| u64::from_ne_bytes((*word).try_into().unwrap()) >> 63 == 1).count()
            * MAX_PAGE
    }

    #[test]
    #[cfg(target_os = "linux")]
    #[cfg_attr(miri, ignore = "Miri maps no memory")]
    fn huge_pages_are_no_longer_asked_for_beyond_the_whole_ones_in_use() {
        let mut region = Region::reserved(5 * HUGE_PAGE).unwrap();
        let first = region.as_mut_ptr().addr();
        region.ask_for_pages(Pages::Huge, 4 * HUGE_PAGE);
        let has_huge_pages = has_asked_for_huge_pages(first + HUGE_PAGE);
        region.ask_for_small_pages_beyond(2 * HUGE_PAGE + 100);
        let asked = [0, 1, 2, 3].map(|page| has_asked_for_huge_pages(first + page * HUGE_PAGE));
        assert_eq!(asked, [has_huge_pages, has_huge_pages, false, false]);
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri maps no memory")]
    fn a_range_beyond_the_region_is_given_back_as_far_as_the_region_goes() {
        let region = Region::reserved(2 * MAX_PAGE + 100).unwrap();
        // SAFETY: the bytes are not borrowed, and may become zero.
        let is_whole = unsafe { region.release(MAX_PAGE..1 << 30) };
        assert_eq!(is_whole, can_release());
        // SAFETY: the same.
        assert!(!unsafe { region.release(1 << 29..1 << 30) });
    }

    #[test]
    fn what_the_address_space_cannot_hold_is_refused() {
        assert!(Region::zeroed(usize::MAX / 2, Filling::InOrder).is_none());
    }
}
