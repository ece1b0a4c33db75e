//! Building a cache: from the checked options to shards that fit into `max_bytes`.
//!
//! ```text
//!   max_bytes = overhead                       Inner, counters of reads, of loads, notifier
//!             + shards * (shard's budget)      index, ring, policy, wheel, flights
//! ```
//!
//! The same [`ShardConfig`] answers three questions: what a shard is made from, the smallest
//! `max_bytes` that works, and the `max_bytes` for a number of entries.

use std::sync::Arc;

use super::resize::Limit;
use super::sizes::{Sizes, largest_max_bytes};
use super::{Cache, Inner};
use crate::advisor::{Advisor, PresentPolicy, Sampler, Sampling};
use crate::error::BuildError;
use crate::hash::HashSeeds;
use crate::namespace::Registry;
use crate::removal::{Listener, Notifier};
use crate::shard::{NoShard, Options, PolicyBytes, Room, Shard, ShardConfig};
use crate::stats::ReadCounts;
use crate::sync::Mutex;

/// The divisor of the memory that gives the most bytes for stripes of counters.
const COUNTS_SHARE: usize = 256;
/// The largest number of stripes.
const MAX_STRIPES: usize = 64;
/// The two counts of an `Arc`, in bytes.
const ARC_BYTES: usize = 16;

/// The options of a cache. The builder has checked all but the sizes.
pub(crate) struct CacheConfig {
    pub(crate) sizes: Sizes,
    pub(crate) options: Options,
    pub(crate) listener: Option<Listener>,
    pub(crate) advisor: Option<Advisor>,
    pub(crate) policy: PresentPolicy,
    /// The seeds of the hasher, if it is the default one.
    pub(crate) hash_seeds: Option<HashSeeds>,
    /// The home buckets that each shard of a snapshot's cache had.
    pub(crate) index_sizes: Vec<usize>,
}

/// Returns the number of stripes in which a cache of this size counts its reads.
fn stripes(max_bytes: usize) -> usize {
    (max_bytes / COUNTS_SHARE / 64).clamp(1, MAX_STRIPES)
}

/// Returns the bytes that a cache of this size allocates beside its shards, without an advisor.
fn overhead_without_advisor(max_bytes: usize) -> usize {
    size_of::<Inner>()
        + ReadCounts::footprint(stripes(max_bytes))
        + Registry::footprint(max_bytes)
        + size_of::<Notifier>()
        + size_of::<Room>()
        + 3 * ARC_BYTES
}

/// Returns the share of each of `shards` shards in `max_bytes`.
pub(super) fn shard_budget(max_bytes: usize, overhead: usize, shards: usize) -> usize {
    max_bytes.saturating_sub(overhead) / shards
}

/// The state that all shards of a cache share.
struct Shared {
    registry: Arc<Registry>,
    notifier: Arc<Notifier>,
    sampler: Option<Arc<Sampler>>,
    room: Arc<Room>,
}

impl Shared {
    fn new(listener: Option<Listener>, sizes: Sizes) -> Self {
        let registry = Arc::new(Registry::new(sizes.max_bytes, listener.is_some()));
        let notifier = Arc::new(Notifier::new(listener, Arc::clone(&registry), sizes.entry_limit()));
        Self { registry, notifier, sampler: None, room: Arc::new(Room::new()) }
    }
}

impl CacheConfig {
    /// Returns the bytes that a cache of this size allocates beside its shards.
    fn overhead(&self, max_bytes: usize) -> usize {
        overhead_without_advisor(max_bytes) + self.advisor_bytes(max_bytes)
    }

    fn advisor_bytes(&self, max_bytes: usize) -> usize {
        self.advisor.as_ref().map_or(0, |advisor| advisor.bytes_in(max_bytes))
    }

    /// Returns the bytes of the advisor without those of its parts in the shards.
    fn sampler_bytes(&self, max_bytes: usize, shards: usize) -> usize {
        self.advisor_bytes(max_bytes).saturating_sub(shards * Sampling::footprint())
    }

    /// Creates the advisor, which shards have to know before it runs. Returns `None` if there is
    /// none, or too little memory for one.
    fn make_sampler(&self, shards: usize, counts: &ReadCounts, registry: &Arc<Registry>) -> Option<Arc<Sampler>> {
        let advisor = self.advisor.as_ref()?;
        let (clock, counts) = (self.options.clock.clone(), counts.clone());
        let bytes = self.sampler_bytes(self.sizes.max_bytes, shards);
        let sampler = Sampler::new(advisor, &self.policy, clock, counts, Arc::clone(registry));
        sampler.fits_into(bytes).then(|| Arc::new(sampler))
    }

    /// Returns the configuration of each of `shards` shards.
    fn shard(&self, sizes: Sizes, shards: usize, shared: &Shared) -> ShardConfig {
        ShardConfig {
            budget: shard_budget(sizes.max_bytes, self.overhead(sizes.max_bytes), shards),
            // Sizes that are tried may be above the ceiling.
            ceiling: shard_budget(sizes.ceiling().max(sizes.max_bytes), self.overhead(sizes.max_bytes), shards),
            max_entry_bytes: sizes.entry_limit(),
            shard_bits: shards.ilog2(),
            options: self.options.clone(),
            notifier: Arc::clone(&shared.notifier),
            registry: Arc::clone(&shared.registry),
            sampler: shared.sampler.clone(),
            room: Arc::clone(&shared.room),
        }
    }

    /// Returns the error of a cache that is too small for `shards` shards, or `None` if it is not.
    fn too_small(&self, sizes: Sizes, shards: usize) -> Option<BuildError> {
        let shared = Shared::new(None, Sizes { max_bytes: 0, ..sizes });
        let mut min_bytes = 0;
        // Ends: each round that needs more raises `min_bytes` towards the smallest size, from
        // below, and sizes have an upper bound.
        // Where every size is below that bound, sizes end at `usize::MAX`.
        loop {
            let at = Sizes { max_bytes: min_bytes, ..sizes };
            let shard = self.shard(at, shards, &shared);
            let needed = Shard::min_budget(&shard);
            if needed <= shard.budget || at.check_max_bytes().is_err() || min_bytes == usize::MAX {
                break;
            }
            min_bytes =
                needed.saturating_mul(shards).saturating_add(self.overhead(min_bytes)).max(min_bytes.saturating_add(1));
        }
        let max_bytes = sizes.max_bytes;
        (max_bytes < min_bytes).then_some(BuildError::TooSmall { max_bytes, min_bytes })
    }

    /// Returns the smallest `max_bytes` with which a cache holds `entries` entries of this size, or
    /// `usize::MAX` if there is none.
    ///
    /// The cache is computed and not built. `sizes.max_bytes` is ignored.
    pub(crate) fn bytes_for(&self, entries: usize, key_bytes: usize, value_bytes: usize) -> usize {
        let shared = Shared::new(None, Sizes { max_bytes: 0, ..self.sizes });
        let sizes_of = |max_bytes| Sizes { max_bytes, ..self.sizes };
        let mut policy = PolicyBytes::default();
        let mut suffices = |max_bytes: usize| {
            let sizes = sizes_of(max_bytes);
            let Ok(mut shards) = sizes.divide() else { return false };
            if !sizes.reach_ceiling() {
                return false;
            }
            let mut shard = self.shard(sizes, shards, &shared);
            while !shard.suffices() {
                if sizes.shards.is_some() || shards <= sizes.least_shards() {
                    return false;
                }
                shards /= 2;
                shard = self.shard(sizes, shards, &shared);
            }
            shard.holds(entries.div_ceil(shards), key_bytes, value_bytes, &mut policy)
        };
        // Ends: `high` doubles up to the largest cache. Then the gap to `low` halves.
        let mut high = 1 << 10;
        while !suffices(high) {
            if high >= largest_max_bytes() {
                return usize::MAX;
            }
            high = high.saturating_mul(2).min(largest_max_bytes());
        }
        let mut low = high / 2;
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            *(if suffices(middle) { &mut high } else { &mut low }) = middle;
        }
        high
    }

    /// Checks the sizes and returns the number of shards.
    fn divide(&self) -> Result<usize, BuildError> {
        let sizes = self.sizes;
        sizes.check_max_bytes()?;
        let shards = sizes.divide().map_err(|error| {
            // If fewer shards and smaller entries would not help either, the cache is too small.
            let plain = Sizes { shards: None, max_entry_bytes: None, ..sizes };
            self.too_small(plain, sizes.min_shards()).unwrap_or_else(|| self.within_memory(error))
        })?;
        sizes.check_ceiling()?;
        Ok(shards)
    }

    /// Lowers the largest number of shards in an error to one for which there is enough memory.
    fn within_memory(&self, mut error: BuildError) -> BuildError {
        if let BuildError::Shards { min, max, .. } = &mut error {
            let is_too_small = |shards| self.too_small(Sizes { shards: Some(shards), ..self.sizes }, shards).is_some();
            while *max > *min && is_too_small(*max) {
                *max /= 2;
            }
        }
        error
    }

    /// Creates `shards` shards, or fewer if the caller has not set their number.
    fn make_shards(&self, mut shards: usize, shared: &Shared) -> Result<Box<[Shard]>, BuildError> {
        let out_of_memory = BuildError::OutOfMemory { bytes: self.sizes.max_bytes };
        loop {
            let mut shard = self.shard(self.sizes, shards, shared);
            let made: Result<_, NoShard> = (0..shards)
                .map(|number| {
                    if self.index_sizes.len() == shards {
                        shard.options.expected_buckets = Some(self.index_sizes[number].saturating_mul(shards));
                    }
                    Shard::new(&shard)
                })
                .collect();
            match made {
                Ok(made) => return Ok(made),
                // A policy may need much memory in each shard. An error here would depend on the
                // number of cores, so there are fewer shards.
                Err(NoShard::TooSmall) if self.sizes.shards.is_none() && shards > self.sizes.least_shards() => {
                    shards /= 2
                }
                Err(NoShard::TooSmall) => return Err(self.too_small(self.sizes, shards).unwrap_or(out_of_memory)),
                Err(NoShard::OutOfMemory) => return Err(out_of_memory),
            }
        }
    }
}

impl Cache {
    /// Builds the cache.
    pub(crate) fn from_config(config: CacheConfig) -> Result<Self, BuildError> {
        let sizes = config.sizes;
        let mut shared = Shared::new(config.listener.clone(), sizes);
        let counts = ReadCounts::new(stripes(sizes.max_bytes));
        let number = config.divide()?;
        shared.sampler = config.make_sampler(number, &counts, &shared.registry);
        // Before the shards are made, so that the policies that a factory creates last are theirs.
        let min_budget = Shard::min_budget(&config.shard(sizes, number, &shared));
        let shards = config.make_shards(number, &shared)?;
        let shard_config = config.shard(sizes, shards.len(), &shared);
        let min_budget = if shards.len() == number { min_budget } else { Shard::min_budget(&shard_config) };
        let overhead = config.overhead(sizes.max_bytes);
        if let Some(sampler) = &shared.sampler {
            sampler.start(config.sampler_bytes(sizes.max_bytes, shards.len()));
            shards.iter().for_each(Shard::begin_sampling);
        }
        let inner = Inner {
            hasher: config.options.hasher,
            shard_bits: shards.len().ilog2(),
            shards,
            counts,
            limit: Mutex::new(Limit { max_bytes: sizes.max_bytes, turn: 0 }),
            ceiling: sizes.ceiling(),
            first_budget: shard_config.budget,
            min_budget,
            max_entry_bytes: sizes.entry_limit(),
            alignment: config.options.alignment,
            overhead,
            notifier: shared.notifier,
            registry: shared.registry,
            sampler: shared.sampler,
            hash_seeds: config.hash_seeds,
            #[cfg(feature = "tracing")]
            warned_too_large: std::sync::OnceLock::new(),
        };
        Ok(Self { inner: Arc::new(inner), scope: None })
    }
}
