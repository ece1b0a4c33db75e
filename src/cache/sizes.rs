//! [`Sizes`]: the division of `max_bytes` into shards, and the largest entry that follows.
//!
//! ```text
//!   max_bytes / shards = one shard >= 8 entries of the limit, <= MAX_SHARD_BYTES
//! ```
//!
//! # Invariants
//!
//! 1. The largest entry depends on the caller's options only. The number of cores decides the
//!    number of shards where the caller does not set it, and nothing else.
//! 2. The number of shards is a power of two, and at most [`MAX_SHARDS`].

use crate::error::BuildError;
use crate::shard::MAX_SHARD_BYTES;

/// The largest number of shards.
pub(crate) const MAX_SHARDS: usize = 1 << 12;
/// The largest cache, in bytes.
const MAX_BYTES: u64 = MAX_SHARDS as u64 * MAX_SHARD_BYTES;
/// The divisor of a shard that gives its largest entry.
const ENTRY_SHARE: usize = 8;
/// The default limit for an entry, in bytes, if an eighth of the cache is not less.
const DEFAULT_ENTRY_BYTES: usize = 512 << 10;
/// The smallest shard by default, in bytes: an entry of the default limit fits into it.
const MIN_DEFAULT_SHARD_BYTES: usize = ENTRY_SHARE * DEFAULT_ENTRY_BYTES;
/// The default number of shards for each core: with this many, writers seldom meet.
const SHARDS_PER_CORE: usize = 4;

/// The largest ceiling, as a multiple of `max_bytes`. A chunk is 1/400 to 1/200 of a shard, and a
/// shard of more chunks would take too long to look through them.
const MAX_GROWTH: usize = 64;

/// Returns the fewest shards whose arenas can be addressed, for `max_bytes` bytes.
fn shards_for(max_bytes: usize) -> usize {
    let shards = (max_bytes as u64).div_ceil(MAX_SHARD_BYTES).max(1);
    usize::try_from(shards).map_or(MAX_SHARDS, |shards| shards.next_power_of_two().min(MAX_SHARDS))
}

/// Returns the largest `max_bytes` of a cache.
pub(super) fn largest_max_bytes() -> usize {
    usize::try_from(MAX_BYTES).unwrap_or(usize::MAX)
}

/// The options of the caller that concern sizes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) max_bytes: usize,
    /// The largest `max_bytes` that may be set later, if the caller has set it.
    pub(crate) ceiling: Option<usize>,
    pub(crate) shards: Option<usize>,
    pub(crate) max_entry_bytes: Option<usize>,
    /// The number of cores that threads may run on.
    pub(crate) cores: usize,
}

impl Sizes {
    /// Returns the limit for key and value together, in bytes. It does not depend on the number of
    /// cores.
    pub(super) fn entry_limit(&self) -> usize {
        let share = self.max_bytes / self.shards.unwrap_or(1).max(1) / ENTRY_SHARE;
        self.max_entry_bytes.unwrap_or(share.min(DEFAULT_ENTRY_BYTES))
    }

    /// Returns the fewest shards whose arenas can be addressed. `max_bytes` has been checked.
    pub(super) fn min_shards(&self) -> usize {
        shards_for(self.max_bytes)
    }

    /// Returns the fewest shards whose arenas can be addressed, up to the ceiling.
    pub(super) fn least_shards(&self) -> usize {
        shards_for(self.ceiling())
    }

    /// Returns the largest `max_bytes` that may be set later.
    pub(super) fn ceiling(&self) -> usize {
        self.ceiling.unwrap_or(self.max_bytes)
    }

    /// Returns `true` if the ceiling is not too far above `max_bytes`.
    pub(super) fn reach_ceiling(&self) -> bool {
        self.max_bytes.saturating_mul(MAX_GROWTH) >= self.ceiling()
    }

    /// Returns an error if the ceiling is below `max_bytes`, or above what `max_shards` shards can
    /// address. The result does not depend on the number of cores.
    pub(super) fn check_ceiling(&self) -> Result<(), BuildError> {
        let Some(ceiling) = self.ceiling else { return Ok(()) };
        let shards = self.shards.unwrap_or_else(|| self.max_shards());
        let addressable = usize::try_from(shards as u64 * MAX_SHARD_BYTES).unwrap_or(usize::MAX);
        let largest = self.max_bytes.saturating_mul(MAX_GROWTH).min(addressable);
        if (self.max_bytes..=largest).contains(&ceiling) {
            return Ok(());
        }
        Err(BuildError::Ceiling { max_bytes_ceiling: ceiling, smallest: self.max_bytes, largest })
    }

    /// Returns the most shards that can each hold eight entries of the limit that the caller has
    /// set.
    pub(super) fn max_shards(&self) -> usize {
        let Some(bytes) = self.max_entry_bytes else { return MAX_SHARDS };
        let most = self.max_bytes / bytes.max(1) / ENTRY_SHARE;
        (1 << most.max(1).ilog2()).min(MAX_SHARDS)
    }

    /// Checks the caller's options and returns the number of shards.
    pub(super) fn divide(&self) -> Result<usize, BuildError> {
        let min = self.min_shards();
        if let Some(max_entry_bytes) = self.max_entry_bytes {
            let largest = self.max_bytes / min / ENTRY_SHARE;
            if !(1..=largest).contains(&max_entry_bytes) {
                return Err(BuildError::MaxEntryBytes { max_entry_bytes, largest });
            }
        }
        let max = self.max_shards();
        match self.shards {
            Some(shards) if shards.is_power_of_two() && (min..=max).contains(&shards) => Ok(shards),
            Some(shards) => Err(BuildError::Shards { shards, min, max }),
            // The check of the ceiling comes later, so it may be too large for all shards.
            None => Ok(self.default_shards().clamp(self.least_shards().clamp(min, max), max)),
        }
    }

    /// Returns an error if `max_bytes` is more than the largest number of shards can address.
    pub(super) fn check_max_bytes(&self) -> Result<(), BuildError> {
        if self.max_bytes as u64 <= MAX_BYTES {
            return Ok(());
        }
        Err(BuildError::TooManyBytes { max_bytes: self.max_bytes, largest: largest_max_bytes() })
    }

    /// Returns the number of shards for these cores, or fewer if they would be too small.
    fn default_shards(&self) -> usize {
        let wanted = self.cores.saturating_mul(SHARDS_PER_CORE).min(MAX_SHARDS).next_power_of_two();
        let affordable = (self.max_bytes / MIN_DEFAULT_SHARD_BYTES).max(1);
        wanted.min(1 << affordable.ilog2())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(max_bytes: usize, cores: usize) -> Sizes {
        Sizes { max_bytes, ceiling: None, shards: None, max_entry_bytes: None, cores }
    }

    #[test]
    fn the_default_number_of_shards_fits_the_size_and_the_cores() {
        for (max_bytes, cores, shards) in [
            (64_u64 << 10, 256, 1),
            (9 << 20, 256, 2),
            (1 << 30, 1, 4),
            (1 << 30, 3, 16),
            (1 << 30, 256, 256),
            (1 << 40, 256, 1024),
            (1 << 40, usize::MAX, 4096),
            (40 << 30, 1, 4),
            (100 << 30, 1, 8),
        ] {
            // Not every machine has addresses for the large ones.
            let Ok(max_bytes) = usize::try_from(max_bytes) else { continue };
            assert_eq!(sizes(max_bytes, cores).divide(), Ok(shards), "{max_bytes} bytes, {cores} cores");
        }
    }

    #[test]
    fn the_largest_entry_is_the_same_for_any_number_of_cores() {
        let sizes_of_caches =
            (16..47).flat_map(|shift| [1_u64 << shift, (1 << shift) + 1, (5 << shift) / 4, (7 << shift) / 4]);
        let possible = sizes_of_caches.filter(|&bytes| bytes <= MAX_BYTES);
        for max_bytes in possible.filter_map(|bytes| usize::try_from(bytes).ok()) {
            let eighth = max_bytes / 8;
            let largest = max_bytes / sizes(max_bytes, 1).min_shards() / 8;
            for max_entry_bytes in [None, Some(1), Some(largest / 3), Some(largest)] {
                for cores in 1..=256 {
                    let sizes = Sizes { max_entry_bytes, ..sizes(max_bytes, cores) };
                    assert_eq!(sizes.entry_limit(), max_entry_bytes.unwrap_or(eighth.min(512 << 10)));
                    let shards = sizes.divide().unwrap();
                    assert!(shards.is_power_of_two() && max_bytes / shards / 8 >= sizes.entry_limit());
                    assert!((max_bytes / shards) as u64 <= MAX_SHARD_BYTES);
                }
            }
        }
    }
}
