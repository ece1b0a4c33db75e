//! The bucket, one cache line, and the memory of a table of buckets.
//!
//! ```text
//!  0..12   tag[12]       u8 each: 0 = free, else 8 bits of the hash; one u64 and one u32
//! 12..15   visits[3]     u8 each: 2-bit visit counters of four lanes
//! 15       overflow      u8: how many strays went past this bucket (`places.rs`)
//! 16..64   location[12]  u32 each: 0 = none; the bits that locations of this arena do not need
//!                        hold more of the hash
//! ```
//!
//! # Invariants
//!
//! 1. Only the holder of the shard's lock stores tags, locations and the overflow count.
//! 2. A location is stored only after all bytes of its entry were written. It is replaced or
//!    cleared before its chunk is retired.
//! 3. A lane whose tag is not 0 keeps its key until the tag is 0 again. An update stores another
//!    location in the same lane. During a step of a sweep, a second lane has the same key and
//!    location (`sweep.rs`).
//!
//! # Synchronization
//!
//! * [`Bucket::set_location`] and [`Bucket::move_location`] (Release) pair with
//!   [`Bucket::live_again`] (Acquire). So a reader that gets a location sees the bytes of its
//!   entry.
//! * Tags are Relaxed. A reader may see a new tag with an old location, or an old tag with a new
//!   location. It compares the key. Either the key is another one, or the entry was present at some
//!   time during the read.
//! * The overflow count is Relaxed, like the tags. It is raised before the entry that it counts is
//!   published.
//! * Visits are Relaxed loads and stores, by readers and by the holder of the lock. Visits may be
//!   lost or come late, and guard nothing. With one thread they are exact.

use core::ops::Range;
use core::ptr::NonNull;

use crate::prefetch::prefetch;
use crate::reclaim::{Hold, Live, WriteToken};
#[cfg(not(bytecache_loom))]
use crate::region::Pages;
use crate::region::{Filling, MAX_PAGE, Region};
use crate::sync::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use crate::units::{LANES, LOCATION_UNIT, Location, MAX_VISITS, VISIT_BITS};

/// The bytes of a bucket: a cache line. In models it is larger.
pub(super) const BUCKET_BYTES: usize = 64;
/// The buckets of the largest page that this processor may have.
pub(crate) const BUCKETS_OF_A_PAGE: usize = MAX_PAGE / BUCKET_BYTES;
const LOW_LANES: usize = 8;
/// The number of lanes whose visits share a byte.
const VISIT_LANES: usize = (u8::BITS / VISIT_BITS) as usize;

const _: () = assert!(LANES % VISIT_LANES == 0, "visit counters tile their bytes");
#[cfg(not(bytecache_loom))]
const _: () = assert!(size_of::<Bucket>() == BUCKET_BYTES && align_of::<Bucket>() == 64, "a bucket is a cache line");

/// Twelve lanes of the index.
#[repr(C, align(64))]
pub(super) struct Bucket {
    tags_low: AtomicU64,
    tags_high: AtomicU32,
    visits: [AtomicU8; LANES / VISIT_LANES],
    overflow: AtomicU8,
    locations: [AtomicU32; LANES],
}

/// The division of a location word. An arena of less than 16 GiB leaves the top bits of the word to
/// the hash.
///
/// With eight bits of tag alone, every eighth search for an absent key would examine another entry,
/// which is a cache miss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LocationBits {
    /// The mask of the location.
    mask: u32,
}

impl LocationBits {
    /// Returns the division for locations in an arena of `bytes` bytes.
    pub(crate) fn for_arena(bytes: usize) -> Self {
        let units = (bytes / LOCATION_UNIT) as u64 + 1;
        // The location takes at least half of the word: there are only 16 more bits of the hash.
        let bits = (u64::BITS - units.leading_zeros()).clamp(u32::BITS - u16::BITS, u32::BITS);
        Self { mask: u32::MAX >> (u32::BITS - bits) }
    }

    #[inline]
    pub(super) fn location(self, word: u32) -> u32 {
        word & self.mask
    }

    /// Returns `true` if a word has these bits of a hash, as far as it has room for them.
    #[inline]
    pub(super) fn has_extra(self, word: u32, extra: u16) -> bool {
        // One comparison: a bit that differs above the location makes the number larger than it.
        word ^ (u32::from(extra) << u16::BITS) <= self.mask
    }

    /// Returns the bits of the hash in a word, in their place.
    #[inline]
    fn extra(self, word: u32) -> u32 {
        word & !self.mask
    }

    /// Returns the bits of `extra` that a word has room for, in their place.
    #[inline]
    fn kept(self, extra: u16) -> u32 {
        // Shifted to the top first, because the location may take all bits.
        (u32::from(extra) << u16::BITS) & !self.mask
    }

    #[inline]
    fn word(self, location: Location, extra: u16) -> u32 {
        debug_assert_eq!(location.to_word() & !self.mask, 0, "a location beyond the arena");
        location.to_word() | self.kept(extra)
    }

    #[inline]
    fn moved(self, word: u32, location: Location) -> u32 {
        location.to_word() | self.extra(word)
    }
}

/// The tags of a bucket, as they were loaded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tags(u64, u32);

/// A set of lanes, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lanes(u16);

impl Iterator for Lanes {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let lane = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(lane)
    }
}

impl Lanes {
    pub(super) const NONE: Self = Self(0);

    #[inline]
    pub(super) fn are_none(self) -> bool {
        self == Self::NONE
    }

    /// Returns `true` if there are two lanes or more.
    #[inline]
    pub(super) fn are_several(self) -> bool {
        self.0 & self.0.wrapping_sub(1) != 0
    }

    #[inline]
    pub(super) fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }
}

impl Tags {
    /// Returns the lanes with this tag.
    #[inline]
    pub(super) fn matching(self, tag: u8) -> Lanes {
        Lanes(self.equal_to(tag) & ((1 << LANES) - 1))
    }

    /// Returns a bit for each lane with this tag. Bits above the lanes may be set, too.
    #[cfg(all(target_arch = "x86_64", target_feature = "sse2", not(miri)))]
    #[inline(always)]
    fn equal_to(self, tag: u8) -> u16 {
        use core::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi8};
        // SAFETY:
        // * the processor has SSE2, which these instructions belong to;
        // * they work on registers alone.
        #[allow(clippy::multiple_unsafe_ops_per_block, reason = "one reason for all")]
        #[allow(clippy::cast_possible_wrap, reason = "the instructions have signed types for any bits")]
        let mask = unsafe {
            let tags = _mm_set_epi64x(i64::from(self.1), self.0 as i64);
            _mm_movemask_epi8(_mm_cmpeq_epi8(tags, _mm_set1_epi8(tag as i8)))
        };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the upper half is zero")]
        {
            mask as u16
        }
    }

    #[cfg(not(all(target_arch = "x86_64", target_feature = "sse2", not(miri))))]
    #[inline(always)]
    fn equal_to(self, tag: u8) -> u16 {
        self.equal_by_words(tag)
    }

    /// Like [`equal_to`](Self::equal_to), but for any processor.
    #[cfg(any(all(test, not(bytecache_loom)), not(all(target_arch = "x86_64", target_feature = "sse2", not(miri)))))]
    #[inline]
    fn equal_by_words(self, tag: u8) -> u16 {
        let low = zero_bytes(self.0 ^ u64::from_ne_bytes([tag; 8]));
        let high = zero_bytes(u64::from(self.1 ^ u32::from_ne_bytes([tag; 4])));
        low | high << LOW_LANES
    }

    /// Returns the free lanes.
    #[inline]
    pub(super) fn free(self) -> Lanes {
        self.matching(0)
    }

    /// Returns the used lanes whose tags have these bits under `mask`.
    #[inline]
    pub(super) fn with_low_bits(self, mask: u8, bits: u8) -> Lanes {
        let masked = Self(self.0 & u64::from_ne_bytes([mask; 8]), self.1 & u32::from_ne_bytes([mask; 4]));
        masked.matching(bits).without(self.free())
    }

    /// Returns the used lanes.
    #[inline]
    pub(super) fn used(self) -> Lanes {
        Lanes(!self.free().0 & ((1 << LANES) - 1))
    }
}

/// Returns a bit for each byte that is zero, from the least significant byte on.
#[cfg(any(all(test, not(bytecache_loom)), not(all(target_arch = "x86_64", target_feature = "sse2", not(miri)))))]
#[inline]
fn zero_bytes(word: u64) -> u16 {
    const LOW_BITS: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    // The top bit of each zero byte of `word`. Exact, as no carry leaves a byte.
    let zero = !(((word & LOW_BITS) + LOW_BITS) | word | LOW_BITS);
    // The multiply gathers bits 7, 15, .. 63 in the top byte.
    ((zero >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u16
}

impl Bucket {
    #[cfg(any(test, bytecache_loom))]
    fn new() -> Self {
        Self {
            tags_low: AtomicU64::new(0),
            tags_high: AtomicU32::new(0),
            visits: core::array::from_fn(|_| AtomicU8::new(0)),
            overflow: AtomicU8::new(0),
            locations: core::array::from_fn(|_| AtomicU32::new(0)),
        }
    }

    #[inline]
    pub(super) fn tags(&self) -> Tags {
        Tags(self.tags_low.load(Ordering::Relaxed), self.tags_high.load(Ordering::Relaxed))
    }

    #[cfg(all(test, not(bytecache_loom)))]
    pub(super) fn tag(&self, lane: usize) -> u8 {
        let Tags(low, high) = self.tags();
        if lane < LOW_LANES { low.to_ne_bytes()[lane] } else { high.to_ne_bytes()[lane - LOW_LANES] }
    }

    /// Stores a lane's tag. For the holder of the lock.
    #[inline(always)]
    pub(super) fn set_tag(&self, lane: usize, tag: u8) {
        // A plain load and store: only the holder of the lock stores tags.
        let Tags(low, high) = self.tags();
        if lane < LOW_LANES {
            let shift = lane * 8;
            let low = low & !(0xff << shift) | u64::from(tag) << shift;
            self.tags_low.store(low, Ordering::Relaxed);
        } else {
            let shift = (lane - LOW_LANES) * 8;
            let high = high & !(0xff << shift) | u32::from(tag) << shift;
            self.tags_high.store(high, Ordering::Relaxed);
        }
    }

    /// Returns the location of a lane and its bits of the hash, as a reader first sees them.
    #[inline]
    pub(super) fn word(&self, lane: usize) -> u32 {
        // Relaxed: a reader loads the lane again (`live_again`) before it reads the entry. The bits
        // of the hash in a key's lane stay the same while the key is there.
        self.locations[lane].load(Ordering::Relaxed)
    }

    /// Returns the entry in a lane. For the holder of the lock.
    #[inline]
    pub(super) fn live<'a>(&'a self, lane: usize, bits: LocationBits, token: &'a WriteToken) -> Option<Live<'a>> {
        // Relaxed: only the holder of the lock stores.
        let word = self.locations[lane].load(Ordering::Relaxed);
        let location = Location::from_word(bits.location(word))?;
        // SAFETY:
        // * the token proves the lock, and a lane points to the location;
        // * the ring had published the location (invariant 2).
        Some(unsafe { Live::new(location, token.into()) })
    }

    /// Returns the entry at `location`, or `None` if the lane does not point to it any more.
    ///
    /// # Safety
    ///
    /// * `hold` is a slot that names the entry at `location`. It names nothing else while the
    ///   result is used.
    #[inline(always)]
    pub(super) unsafe fn live_again<'a>(
        &'a self,
        lane: usize,
        bits: LocationBits,
        location: Location,
        hold: Hold<'a>,
    ) -> Option<Live<'a>> {
        // Acquire: pairs with the Release of `set_location`.
        let word = self.locations[lane].load(Ordering::Acquire);
        if bits.location(word) != location.to_word() {
            return None;
        }
        // SAFETY:
        // * the slot names the entry, by the caller's duty;
        // * after that, the lane points to the entry. So the writer that changes the lane checks
        //   the slot before it reuses the chunk;
        // * the ring had published the location (invariant 2), which was loaded with Acquire.
        Some(unsafe { Live::new(location, hold) })
    }

    /// Publishes an entry whose bytes are written. For the holder of the lock.
    #[inline]
    pub(super) fn set_location(&self, lane: usize, bits: LocationBits, location: Location, extra: u16) {
        // Release: pairs with the Acquire of `live_again`.
        self.locations[lane].store(bits.word(location, extra), Ordering::Release);
    }

    /// Publishes the new location of a lane's entry, or the location of the entry that replaces it.
    /// For the holder of the lock.
    #[inline]
    pub(super) fn move_location(&self, lane: usize, bits: LocationBits, location: Location) {
        // Relaxed: only the holder of the lock stores.
        let word = self.locations[lane].load(Ordering::Relaxed);
        // Release: pairs with the Acquire of `live_again`.
        self.locations[lane].store(bits.moved(word, location), Ordering::Release);
    }

    /// Removes the entry from a lane. For the holder of the lock.
    #[inline]
    pub(super) fn clear_location(&self, lane: usize) {
        self.locations[lane].store(0, Ordering::Relaxed); // Relaxed: publishes nothing.
    }

    /// Returns the byte with the visits of a lane, and their shift in it.
    #[inline]
    fn visits_at(&self, lane: usize) -> (&AtomicU8, u32) {
        #[allow(clippy::cast_possible_truncation, reason = "below VISIT_LANES")]
        let shift = (lane % VISIT_LANES) as u32 * VISIT_BITS;
        (&self.visits[lane / VISIT_LANES], shift)
    }

    #[inline]
    pub(super) fn visits(&self, lane: usize) -> u8 {
        let (byte, shift) = self.visits_at(lane);
        (byte.load(Ordering::Relaxed) >> shift) & MAX_VISITS
    }

    /// Counts a visit. Writes nothing if the counter is at its maximum.
    #[inline]
    pub(super) fn visit(&self, lane: usize) {
        let (byte, shift) = self.visits_at(lane);
        let seen = byte.load(Ordering::Relaxed);
        if (seen >> shift) & MAX_VISITS < MAX_VISITS {
            // A load and a store, not one step. A visit that another thread counts in these four
            // lanes in between is lost. That costs less than a locked instruction in every read.
            byte.store(seen + (1 << shift), Ordering::Relaxed);
        }
    }

    #[inline(always)]
    pub(super) fn set_visits(&self, lane: usize, visits: u8) {
        let (byte, shift) = self.visits_at(lane);
        let seen = byte.load(Ordering::Relaxed);
        let wanted = seen & !(MAX_VISITS << shift) | visits.min(MAX_VISITS) << shift;
        if seen != wanted {
            byte.store(wanted, Ordering::Relaxed); // A load and a store, for the reason in `visit`.
        }
    }

    /// Returns `true` if strays whose search passes here may lie in the next bucket.
    #[inline]
    pub(super) fn has_overflowed(&self) -> bool {
        self.overflow() > 0
    }

    /// Counts a stray that is placed past this bucket. For the holder of the lock.
    pub(super) fn add_overflow(&self) {
        self.overflow.store(self.overflow().saturating_add(1), Ordering::Relaxed);
    }

    /// Subtracts one such entry from the count. A count that has reached its maximum stays there.
    /// For the holder of the lock.
    pub(super) fn remove_overflow(&self) {
        // Never below 0: with a hasher whose hashes change, the count must not wrap around to a
        // large one.
        let overflow = self.overflow();
        if (1..u8::MAX).contains(&overflow) {
            self.overflow.store(overflow - 1, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(super) fn overflow(&self) -> u8 {
        self.overflow.load(Ordering::Relaxed)
    }

    /// Empties the bucket. For the holder of the lock.
    pub(super) fn wipe(&self) {
        self.tags_low.store(0, Ordering::Relaxed);
        self.tags_high.store(0, Ordering::Relaxed);
        for location in &self.locations {
            location.store(0, Ordering::Relaxed);
        }
        for visits in &self.visits {
            visits.store(0, Ordering::Relaxed);
        }
        self.overflow.store(0, Ordering::Relaxed);
    }
}

/// The memory of a table: addresses for all buckets that it may ever have. They are all free at
/// first, and take no memory until they are touched.
pub(super) struct Buckets {
    first: NonNull<Bucket>,
    count: usize,
    memory: Memory,
}

/// The owner of the memory.
enum Memory {
    /// Zeroed memory is a valid bucket.
    #[cfg(not(bytecache_loom))]
    Region(Region),
    /// loom's atomics are made one by one.
    #[cfg(bytecache_loom)]
    Made(#[expect(dead_code, reason = "keeps the memory")] Vec<Bucket>),
}

// SAFETY: the table consists of atomics, and owns its memory.
unsafe impl Send for Buckets {}
// SAFETY: the table consists of atomics, and owns its memory.
unsafe impl Sync for Buckets {}

impl Buckets {
    /// Returns the bytes that the first `count` buckets take once all of them are touched.
    pub(super) fn footprint(count: usize) -> usize {
        Region::footprint(count * BUCKET_BYTES, Filling::Reserved)
    }

    /// Reserves `count` free buckets. Returns `None` if the system refuses the addresses.
    #[cfg(not(bytecache_loom))]
    pub(super) fn reserve(count: usize) -> Option<Self> {
        let mut region = Region::zeroed(count.checked_mul(BUCKET_BYTES)?, Filling::Reserved)?;
        // Regions start on a cache line, like buckets. Zero bytes are a bucket whose lanes are all
        // free.
        let first = NonNull::new(region.as_mut_ptr().cast())?;
        Some(Self { first, count, memory: Memory::Region(region) })
    }

    #[cfg(bytecache_loom)]
    pub(super) fn reserve(count: usize) -> Option<Self> {
        let mut made: Vec<Bucket> = (0..count).map(|_| Bucket::new()).collect();
        Some(Self { first: NonNull::new(made.as_mut_ptr())?, count, memory: Memory::Made(made) })
    }

    #[inline]
    pub(super) fn as_slice(&self) -> &[Bucket] {
        // SAFETY:
        // * `first` is the start of `count` buckets in `memory`, which no other code accesses while
        //   `self` lives;
        // * the buckets are initialised: they were made, or are zero bytes, which are valid
        //   atomics;
        // * they are shared only as atomics.
        unsafe { core::slice::from_raw_parts(self.first.as_ptr(), self.count) }
    }

    /// Gives the whole pages of buckets whose lanes are all free back to the system, where the
    /// system can take them. Returns `true` if all buckets of the range were given back.
    pub(super) fn release(&self, range: Range<usize>) -> bool {
        match &self.memory {
            // The call has the effect of stores of zero. When it returns, no processor sees the
            // former bytes.
            #[cfg(not(bytecache_loom))]
            Memory::Region(region) => {
                // SAFETY: the memory is only accessed as atomics. Zero is valid for all of them,
                // and means a free lane.
                unsafe { region.release(range.start * BUCKET_BYTES..range.end * BUCKET_BYTES) }
            }
            #[cfg(bytecache_loom)]
            Memory::Made(_) => {
                let _ = range;
                false
            }
        }
    }

    /// Frees the lanes of some buckets, and gives their memory back to the system, where the system
    /// can take it. The range begins with a page. For the holder of the lock.
    ///
    /// Needs no fence: a search that misses a lane that was cleared here is right.
    pub(super) fn empty(&self, range: Range<usize>) {
        let whole = range.start..range.end / BUCKETS_OF_A_PAGE * BUCKETS_OF_A_PAGE;
        // The last buckets share a page with others that stay.
        let wiped = if self.release(whole.clone()) { whole.end..range.end } else { range };
        self.as_slice()[wiped].iter().for_each(Bucket::wipe);
    }

    /// Asks the system for huge pages, for buckets that have not been touched. Only whole pages
    /// that lie before `end` are meant, so that nothing beyond it becomes resident.
    pub(super) fn ask_for_huge_pages(&self, end: usize) {
        match &self.memory {
            #[cfg(not(bytecache_loom))]
            Memory::Region(region) => region.ask_for_pages(Pages::Huge, end * BUCKET_BYTES),
            #[cfg(bytecache_loom)]
            Memory::Made(_) => {
                let _ = end;
            }
        }
    }

    /// Asks for no huge page beyond the whole ones before `end`, for a table that has shrunk.
    pub(super) fn ask_for_small_pages_beyond(&self, end: usize) {
        match &self.memory {
            #[cfg(not(bytecache_loom))]
            Memory::Region(region) => region.ask_for_small_pages_beyond(end * BUCKET_BYTES),
            #[cfg(bytecache_loom)]
            Memory::Made(_) => {
                let _ = end;
            }
        }
    }

    /// Asks the processor to fetch a bucket. Any number is allowed.
    #[inline]
    pub(super) fn prefetch(&self, bucket: usize) {
        prefetch(self.first.as_ptr().wrapping_add(bucket));
    }
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests;
