//! The bucket, one cache line, and the table of buckets.
//!
//! ```text
//!  0..12   tag[12]       u8 each: 0 = free, else 8 bits of the hash; accessed as one u64 and one u32
//! 12..15   visits[3]     u8 each: 2-bit visit counters of four lanes
//! 15       overflow      u8: how many entries overflowed past this bucket
//! 16..64   location[12]  u32 each, 0 = none; the bits that locations of this arena do not need hold more of the hash
//! ```
//!
//! # Invariants
//!
//! 1. Tags, locations and the overflow count are stored only by the holder of the shard's lock.
//! 2. A location is stored only after all bytes of its entry were written, and replaced or cleared before its
//!    chunk is retired.
//! 3. A lane whose tag is not 0 keeps its key until the tag is 0 again: an update stores another location in
//!    the same lane.
//!
//! # Synchronization
//!
//! * [`Bucket::set_location`] (Release) pairs with [`Bucket::live_again`] (Acquire): the entry's bytes are visible.
//! * Tags are Relaxed. A reader that sees a new tag with an old location, or the other way round, compares
//!   another entry's key and finds it different, or an entry that was there when the read began.
//! * The overflow count is Relaxed, like the tags. It is raised before the entry that it counts is published.
//! * Visits are Relaxed loads and stores, by readers and by the lock's holder: counts may be lost or come a
//!   moment late, and guard nothing. With one thread they are exact.

use core::ptr::NonNull;

use crate::prefetch::{LINE, prefetch};
use crate::reclaim::{Hold, Live, WriteToken};
#[cfg(not(bytecache_loom))]
use crate::region::Pages;
use crate::region::{Filling, Region};
#[cfg(bytecache_loom)]
use crate::sync::fence;
use crate::sync::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use crate::units::{LANES, LOCATION_UNIT, Location};

const LOW_LANES: usize = 8;
const VISIT_BITS: u32 = 2;
/// The lanes that share a byte of visits.
const VISIT_LANES: usize = (u8::BITS / VISIT_BITS) as usize;

/// The most that a visit counter holds.
const VISITS_MAX: u8 = (1 << VISIT_BITS) - 1;

const _: () = assert!(LANES % VISIT_LANES == 0, "visit counters tile their bytes");
#[cfg(not(bytecache_loom))]
const _: () = assert!(size_of::<Bucket>() == 64 && align_of::<Bucket>() == 64, "a bucket is a cache line");

/// Twelve lanes of the index.
#[repr(C, align(64))]
pub(super) struct Bucket {
    tags_low: AtomicU64,
    tags_high: AtomicU32,
    visits: [AtomicU8; LANES / VISIT_LANES],
    overflow: AtomicU8,
    locations: [AtomicU32; LANES],
}

/// How the words of locations are divided: an arena of less than 16 GiB leaves their top bits to the hash.
///
/// Eight bits of tag would have every eleventh search for a key that is not there look at another entry,
/// which is a cache miss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LocationBits(u32);

impl LocationBits {
    /// For locations in an arena of `bytes`.
    pub(crate) fn for_arena(bytes: usize) -> Self {
        let units = (bytes / LOCATION_UNIT) as u64 + 1;
        // At least as many as leave 16 bits, which is all that there is of the hash.
        Self((u64::BITS - units.leading_zeros()).clamp(u32::BITS - u16::BITS, u32::BITS))
    }

    #[inline]
    fn mask(self) -> u32 {
        u32::MAX >> (u32::BITS - self.0)
    }

    #[inline]
    pub(super) fn location(self, word: u32) -> u32 {
        word & self.mask()
    }

    /// The hash's part of a word, where it lies.
    #[inline]
    pub(super) fn extra(self, word: u32) -> u32 {
        word & !self.mask()
    }

    /// The part of `extra` for which there is room, where it lies.
    #[inline]
    pub(super) fn kept(self, extra: u16) -> u32 {
        // Shifted to the top first: the location may take all bits.
        (u32::from(extra) << u16::BITS) & !self.mask()
    }

    #[inline]
    fn word(self, location: Location, extra: u16) -> u32 {
        debug_assert_eq!(location.to_word() & !self.mask(), 0, "a location beyond the arena");
        location.to_word() | self.kept(extra)
    }

    #[inline]
    fn moved(self, word: u32, location: Location) -> u32 {
        location.to_word() | self.extra(word)
    }
}

/// The tags of a bucket, as they were read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tags(u64, u32);

/// A set of lanes: one bit each.
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

impl Tags {
    /// The lanes with this tag.
    #[inline]
    pub(super) fn matching(self, tag: u8) -> Lanes {
        Lanes(self.equal_to(tag) & ((1 << LANES) - 1))
    }

    /// A bit for each lane with this tag, and perhaps others above them.
    #[cfg(all(target_arch = "x86_64", target_feature = "sse2", not(miri)))]
    #[inline(always)]
    fn equal_to(self, tag: u8) -> u16 {
        use core::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi8};
        // SAFETY: there is SSE2, which these instructions belong to; they work on registers alone.
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

    /// As [`equal_to`](Self::equal_to), on any machine.
    #[cfg(any(all(test, not(bytecache_loom)), not(all(target_arch = "x86_64", target_feature = "sse2", not(miri)))))]
    #[inline]
    fn equal_by_words(self, tag: u8) -> u16 {
        let low = zero_bytes(self.0 ^ u64::from_ne_bytes([tag; 8]));
        let high = zero_bytes(u64::from(self.1 ^ u32::from_ne_bytes([tag; 4])));
        low | high << LOW_LANES
    }

    /// The lanes that are free.
    #[inline]
    pub(super) fn free(self) -> Lanes {
        self.matching(0)
    }

    /// The lanes that are not.
    #[inline]
    pub(super) fn used(self) -> Lanes {
        Lanes(!self.free().0 & ((1 << LANES) - 1))
    }
}

/// A bit for each byte that is zero, in the order of the bytes' significance.
#[cfg(any(all(test, not(bytecache_loom)), not(all(target_arch = "x86_64", target_feature = "sse2", not(miri)))))]
#[inline]
fn zero_bytes(word: u64) -> u16 {
    const LOW_BITS: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    // The top bit of each byte of `word` that is zero; exact, as no carry leaves a byte.
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

    /// Stores a lane's tag. For the holder of the lock.
    #[inline]
    pub(super) fn set_tag(&self, lane: usize, tag: u8) {
        // Plain load and store: only the lock's holder stores tags.
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

    /// A lane's location and part of the hash, as a reader first sees them.
    #[inline]
    pub(super) fn word(&self, lane: usize) -> u32 {
        // Relaxed: a reader looks again (`live_again`) before it reads what the location leads to. The key's lane has the same
        // bits of the hash as long as the key is there.
        self.locations[lane].load(Ordering::Relaxed)
    }

    /// The entry in a lane. For the holder of the lock.
    #[inline]
    pub(super) fn live<'a>(&'a self, lane: usize, bits: LocationBits, token: &'a WriteToken) -> Option<Live<'a>> {
        let word = self.locations[lane].load(Ordering::Relaxed); // Only the lock's holder stores.
        let location = Location::from_word(bits.location(word))?;
        // SAFETY: a lane points to the location while the lock is held; the ring had published it (invariant 2).
        Some(unsafe { Live::new(location, token.into()) })
    }

    /// The entry at `location`, if a lane points to it still.
    ///
    /// # Safety
    ///
    /// * `hold` is a slot that names the entry at `location`, and names nothing else for as long as the result is used;
    /// * this bucket's table was the present one at some moment after the slot named the entry.
    #[inline(always)]
    pub(super) unsafe fn live_again<'a>(
        &'a self,
        lane: usize,
        bits: LocationBits,
        location: Location,
        hold: Hold<'a>,
    ) -> Option<Live<'a>> {
        // Acquire pairs with the Release of `set_location`.
        let word = self.locations[lane].load(Ordering::Acquire);
        if bits.location(word) != location.to_word() {
            return None;
        }
        // SAFETY:
        // * the slot names the entry, as the caller says, and a lane of the table, which was the present one after that, points
        //   there: so the writer that changes the lane looks at the slot before it reuses the chunk;
        // * the ring had published the location (invariant 2), which was read with Acquire.
        Some(unsafe { Live::new(location, hold) })
    }

    /// Publishes an entry whose bytes are written. For the holder of the lock.
    #[inline]
    pub(super) fn set_location(&self, lane: usize, bits: LocationBits, location: Location, extra: u16) {
        // Release pairs with the Acquire of `live_again`.
        self.locations[lane].store(bits.word(location, extra), Ordering::Release);
    }

    /// Publishes where a lane's entry has moved to, or the one that replaces it. For the holder of the lock.
    #[inline]
    pub(super) fn move_location(&self, lane: usize, bits: LocationBits, location: Location) {
        let word = self.locations[lane].load(Ordering::Relaxed); // Only the lock's holder stores.
        self.locations[lane].store(bits.moved(word, location), Ordering::Release); // As `set_location`.
    }

    /// Takes the entry out of a lane. For the holder of the lock.
    #[inline]
    pub(super) fn clear_location(&self, lane: usize) {
        self.locations[lane].store(0, Ordering::Relaxed); // Publishes nothing.
    }

    /// Where a lane's visits are: the byte, and the shift in it.
    #[inline]
    fn visits_at(&self, lane: usize) -> (&AtomicU8, u32) {
        #[allow(clippy::cast_possible_truncation, reason = "below VISIT_LANES")]
        let shift = (lane % VISIT_LANES) as u32 * VISIT_BITS;
        (&self.visits[lane / VISIT_LANES], shift)
    }

    #[inline]
    pub(super) fn visits(&self, lane: usize) -> u8 {
        let (byte, shift) = self.visits_at(lane);
        (byte.load(Ordering::Relaxed) >> shift) & VISITS_MAX
    }

    /// Counts a visit, unless the counter is at its top: then nothing is written.
    #[inline]
    pub(super) fn visit(&self, lane: usize) {
        let (byte, shift) = self.visits_at(lane);
        let seen = byte.load(Ordering::Relaxed);
        if (seen >> shift) & VISITS_MAX < VISITS_MAX {
            // Load and store, not one step: what another thread counts in between in these four lanes is lost, which is less than
            // the locked instruction would cost every reader.
            byte.store(seen + (1 << shift), Ordering::Relaxed);
        }
    }

    pub(super) fn set_visits(&self, lane: usize, visits: u8) {
        let (byte, shift) = self.visits_at(lane);
        let seen = byte.load(Ordering::Relaxed);
        let wanted = seen & !(VISITS_MAX << shift) | visits.min(VISITS_MAX) << shift;
        if seen != wanted {
            byte.store(wanted, Ordering::Relaxed); // As in `visit`.
        }
    }

    /// Whether entries whose search passes here may lie in the next bucket.
    #[inline]
    pub(super) fn has_overflowed(&self) -> bool {
        self.overflow() > 0
    }

    /// Counts an entry that is placed past this bucket. For the holder of the lock.
    pub(super) fn add_overflow(&self) {
        self.overflow.store(self.overflow().saturating_add(1), Ordering::Relaxed);
    }

    /// Takes one such entry off the count, which stays once it has reached its end. For the holder of the lock.
    pub(super) fn remove_overflow(&self) {
        // Not below 0: a hasher that does not keep to its hashes must not turn the count into a large one.
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

/// Whether a table whose memory is given back is used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    GoesOn,
    HasEnded,
}

/// The memory of a table: buckets, all free at first.
pub(super) struct Buckets {
    first: NonNull<Bucket>,
    count: usize,
    memory: Memory,
}

/// What the buckets lie in.
enum Memory {
    /// Zeroed memory is a bucket already.
    #[cfg(not(bytecache_loom))]
    Region(Region),
    /// loom's atomics are made one by one.
    #[cfg(bytecache_loom)]
    Made(#[expect(dead_code, reason = "keeps the memory")] Vec<Bucket>),
}

// SAFETY: a table of atomics that owns its memory.
unsafe impl Send for Buckets {}
// SAFETY: as above.
unsafe impl Sync for Buckets {}

impl Buckets {
    /// What [`new`](Self::new) allocates.
    pub(super) fn footprint(count: usize) -> usize {
        Region::footprint(count * 64, Filling::AtRandom)
    }

    /// `count` free buckets, or `None` if the system refuses the memory.
    #[cfg(not(bytecache_loom))]
    pub(super) fn new(count: usize) -> Option<Self> {
        let mut region = Region::zeroed(count.checked_mul(size_of::<Bucket>())?, Filling::AtRandom)?;
        // Regions start on a cache line, as buckets do, and zero bytes are a bucket with all lanes free.
        let first = NonNull::new(region.as_mut_ptr().cast())?;
        Some(Self { first, count, memory: Memory::Region(region) })
    }

    #[cfg(bytecache_loom)]
    pub(super) fn new(count: usize) -> Option<Self> {
        let mut made: Vec<Bucket> = (0..count).map(|_| Bucket::new()).collect();
        Some(Self { first: NonNull::new(made.as_mut_ptr())?, count, memory: Memory::Made(made) })
    }

    #[inline]
    pub(super) fn as_slice(&self) -> &[Bucket] {
        // SAFETY:
        // * `first` starts `count` buckets that live in `memory`, which is not touched otherwise while `self` lives;
        // * they are initialised: made so, or zero bytes, which are valid atomics;
        // * they are shared only as atomics.
        unsafe { core::slice::from_raw_parts(self.first.as_ptr(), self.count) }
    }

    /// Gives the memory back to the system, where it can be: all lanes are free then. Returns the bytes of the footprint that
    /// this frees. For a table that was replaced or is cleared, by the holder of the lock.
    pub(super) fn release(&self, usage: Use) -> usize {
        match &self.memory {
            // As stores of zero and a fence: when it returns, no processor sees what was there before, and a reader that sees
            // zero sees also what this thread had stored until then.
            #[cfg(not(bytecache_loom))]
            Memory::Region(region) => {
                if usage == Use::HasEnded {
                    // A late visit brings no more than a small page back.
                    region.ask_for_pages(Pages::Small);
                }
                // SAFETY: the memory is only accessed as atomics, for all of which zero is valid and means a free lane.
                if unsafe { region.release(0..self.count * size_of::<Bucket>()) } {
                    Self::footprint(self.count)
                } else {
                    0
                }
            }
            #[cfg(bytecache_loom)]
            Memory::Made(_) => {
                let _ = usage;
                fence(Ordering::Release);
                self.as_slice().iter().for_each(Bucket::wipe);
                Self::footprint(self.count)
            }
        }
    }

    /// Asks the processor to fetch a bucket and the one before it. Any number will do.
    #[inline]
    pub(super) fn prefetch_pair(&self, bucket: usize) {
        let address = self.first.as_ptr().wrapping_add(bucket);
        prefetch(address);
        prefetch(address.wrapping_sub(1));
    }

    /// Where the buckets are, for a prefetch by those who do not hold the table.
    pub(super) fn address(&self) -> usize {
        self.first.as_ptr().expose_provenance()
    }
}

/// Asks the processor to fetch the line of the bucket with this number in a table at `address`, which may be gone.
#[inline]
pub(super) fn prefetch_at(address: usize, bucket: usize) {
    prefetch(core::ptr::without_provenance::<Bucket>(address.wrapping_add(bucket * LINE)));
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_found_in_every_lane_and_nowhere_else() {
        for lane in 0..LANES {
            let bucket = Bucket::new();
            bucket.set_tag(lane, 0x80);
            let tags = bucket.tags();
            assert_eq!(tags.matching(0x80).collect::<Vec<_>>(), [lane]);
            assert_eq!(tags.matching(0x81).count(), 0);
            assert_eq!(tags.used().collect::<Vec<_>>(), [lane]);
            assert_eq!(tags.free().count(), LANES - 1);
        }
        let bucket = Bucket::new();
        (0..LANES).for_each(|lane| bucket.set_tag(lane, if lane % 2 == 0 { 1 } else { 0xff }));
        assert_eq!(bucket.tags().matching(1).collect::<Vec<_>>(), [0, 2, 4, 6, 8, 10]);
        for tag in [0, 1, 2, 0x7f, 0xff] {
            let by_words = Lanes(bucket.tags().equal_by_words(tag) & ((1 << LANES) - 1));
            assert_eq!(by_words, bucket.tags().matching(tag));
        }
        assert_eq!(bucket.tags().free().count(), 0);
    }

    #[test]
    fn locations_and_hashes_share_a_word_in_arenas_of_any_size() {
        for (bytes, bits) in [(64_u64 << 10, 16), (1 << 20, 19), (16 << 30, 32)] {
            // Not every machine has addresses for the largest arena.
            let Ok(bytes) = usize::try_from(bytes) else { continue };
            let divided = LocationBits::for_arena(bytes);
            assert_eq!(divided, LocationBits(bits));
            let last = Location::from_offset(bytes - 8).unwrap();
            let word = divided.word(last, 0xffff);
            assert_eq!(divided.location(word), last.to_word());
            assert_eq!(divided.extra(word), divided.kept(0xffff));
            let moved = divided.moved(word, Location::from_offset(0).unwrap());
            assert_eq!((divided.location(moved), divided.extra(moved)), (1, divided.kept(0xffff)));
        }
    }

    #[test]
    fn visits_stop_at_their_top_and_leave_their_neighbours_alone() {
        let bucket = Bucket::new();
        for lane in 0..LANES {
            (0..5).for_each(|_| bucket.visit(lane));
            assert_eq!(bucket.visits(lane), VISITS_MAX);
        }
        assert!(!bucket.has_overflowed());
        bucket.set_visits(5, 1);
        let visits: Vec<_> = (0..LANES).map(|lane| bucket.visits(lane)).collect();
        assert_eq!(visits, [3, 3, 3, 3, 3, 1, 3, 3, 3, 3, 3, 3]);
    }

    #[test]
    fn the_overflow_count_stays_once_it_is_full() {
        let bucket = Bucket::new();
        bucket.add_overflow();
        bucket.remove_overflow();
        assert!(!bucket.has_overflowed());
        (0..300).for_each(|_| bucket.add_overflow());
        (0..300).for_each(|_| bucket.remove_overflow());
        assert!(bucket.has_overflowed());
    }
}
