//! segcache: segments that are filled and evicted as a whole, and an index that neither grows nor
//! chains.

use super::{Contender, copy_into};
use crate::works::{Kind, Work};
use ::segcache::{Policy, Value};
use std::time::Duration;

/// Bytes of a segment: the crate's default. If a heap would have few of them, its segments are
/// smaller, so that eviction has a choice.
const SEGMENT_BYTES: usize = 1 << 20;
const FEW_SEGMENTS: usize = 64;
const SMALL_SEGMENT_BYTES: usize = 128 << 10;

/// Bytes of the header, the checksum and the rounding of one item.
const ITEM_OVERHEAD_BYTES: usize = 20;

/// Share of the index's slots that can be used before too many inserts are refused.
const INDEX_LOAD: f64 = 0.5;

pub struct Segcache(::segcache::Segcache);

impl Segcache {
    /// Creates a cache with merging eviction, which the Segcache paper describes.
    pub fn merging(work: &Work) -> Self {
        Self::with_policy(work, Policy::Merge { max: 8, merge: 4, compact: 2 })
    }

    /// Creates a cache with segcache's S3-FIFO. Its admission pool evicts even if there are free
    /// segments. So the pool is as large as the cache in works in which everything has to fit.
    ///
    /// With a dozen segments it copies popular items almost without end, so its races must not be
    /// scaled down.
    pub fn s3_fifo(work: &Work) -> Self {
        let admission_ratio = if work.kind.fits() { 1.0 } else { 0.1 };
        Self::with_policy(work, Policy::S3Fifo { admission_ratio })
    }

    fn with_policy(work: &Work, policy: Policy) -> Self {
        // The heap is populated at once, so it is only as large as the work needs. Updates leave
        // dead items behind, which take room.
        let heap_bytes = if matches!(work.kind, Kind::Read | Kind::ReadMany) {
            let item_bytes = work.payload_bytes() + ITEM_OVERHEAD_BYTES;
            work.expected_entries * item_bytes / 8 * 9 + 16 * SEGMENT_BYTES
        } else {
            work.max_bytes
        };
        let segment_bytes = if heap_bytes < FEW_SEGMENTS * SEGMENT_BYTES { SMALL_SEGMENT_BYTES } else { SEGMENT_BYTES };
        let slots = work.expected_entries as f64 / INDEX_LOAD;
        let cache = ::segcache::Segcache::builder()
            .heap_size(heap_bytes.next_multiple_of(segment_bytes))
            .segment_size(segment_bytes as i32)
            .hash_power(slots.log2().ceil() as u8)
            .eviction(policy)
            .build()
            .expect("the works' limits are valid");
        Self(cache)
    }
}

impl Contender for Segcache {
    #[inline(always)]
    fn get_into(&self, key: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(item) = self.0.get(key) else { return false };
        let Value::Bytes(value) = item.value() else { return false };
        copy_into(value, out);
        true
    }

    #[inline(always)]
    fn insert(&self, key: &[u8], value: &[u8]) -> bool {
        self.0.insert(key, value, None, Duration::ZERO).is_ok()
    }

    fn insert_expiring(&self, key: &[u8], value: &[u8], ttl: Duration) -> bool {
        self.0.insert(key, value, None, ttl).is_ok()
    }

    fn clear(&self) -> bool {
        self.0.clear();
        true
    }

    fn contains(&self, key: &[u8]) -> bool {
        self.0.get_no_freq_incr(key).is_some()
    }
}
