//! The configuration of a shard, and how its budget is divided at first.

use std::sync::Arc;

use super::Shard;
use super::account::{Account, Room};
use super::evictor::NoPolicy;
use super::misses::MissLog;
use super::touch::TouchLog;
use crate::advisor::Sampler;
use crate::clock::ClockSource;
use crate::expiry::{Rules, Wheel};
use crate::hash::KeyHasher;
use crate::index::{Index, MIN_BUCKETS, Table};
use crate::namespace::{MAX_PREFIX_BYTES, Registry};
use crate::policy::{EvictionPolicy, PolicyContext, PolicyFactory, Recency};
use crate::removal::Notifier;
use crate::ring::{Alignment, Ring, RingSize};
use crate::units::{LANES, MAX_ARENA_BYTES};

/// A ring has at least this many chunks, if they can be so small, and less than twice as many:
/// fewer make space coarse, more make the unused ends of chunks cost. A shard of a little less than
/// a power of two gets 255.
const CHUNKS: usize = 200;
/// Smaller in models and under Miri, so that a few entries fill a chunk.
const MIN_CHUNK_SHIFT: u32 = if cfg!(any(bytecache_loom, miri)) { 8 } else { 12 };
const MAX_CHUNK_SHIFT: u32 = 20;
/// Fewer chunks than this leave the cleaner no choice.
pub(super) const MIN_CHUNKS: usize = 8;
/// The number of largest entries whose chunks a ring has at least, as chunks in use lie between
/// free ones.
const MIN_LARGEST: usize = 2;
/// Chunks beside those of a largest entry: to write to, to keep ready, and two that a small ring
/// gives up for its wheel.
const MIN_OTHERS: usize = 5;
/// The largest budget whose arena locations can address.
pub(crate) const MAX_SHARD_BYTES: u64 = MAX_ARENA_BYTES >> MAX_CHUNK_SHIFT << MAX_CHUNK_SHIFT;

/// The options that are the same for every shard.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) alignment: Alignment,
    pub(crate) expected_entry_bytes: Option<usize>,
    /// The buckets that all shards together need for the entries of a snapshot.
    pub(crate) expected_buckets: Option<usize>,
    pub(crate) hasher: KeyHasher,
    pub(crate) factory: PolicyFactory,
    pub(crate) rules: Rules,
    pub(crate) clock: ClockSource,
}

/// The logs by which readers tell a policy of reads. A shard has those that its policy reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Logs {
    pub(super) has_touches: bool,
    pub(super) has_misses: bool,
}

impl Logs {
    pub(super) fn of(policy: &dyn EvictionPolicy) -> Self {
        Self { has_touches: policy.recency() == Recency::Ordered, has_misses: policy.wants_misses() }
    }
}

/// The configuration of a shard.
#[derive(Clone)]
pub(crate) struct ShardConfig {
    pub(crate) budget: usize,
    /// The largest budget that the shard may get later. Only addresses depend on it.
    pub(crate) ceiling: usize,
    /// The largest sum of key and value, in bytes.
    pub(crate) max_entry_bytes: usize,
    pub(crate) shard_bits: u32,
    pub(crate) options: Options,
    pub(crate) notifier: Arc<Notifier>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) sampler: Option<Arc<Sampler>>,
    /// The memory that budgets may be raised by, of all shards of the cache.
    pub(crate) room: Arc<Room>,
}

impl ShardConfig {
    /// Returns the binary logarithm of the size of a chunk.
    pub(super) fn chunk_shift(&self) -> u32 {
        (self.budget / CHUNKS).max(1).ilog2().clamp(MIN_CHUNK_SHIFT, MAX_CHUNK_SHIFT)
    }

    /// Returns the number of chunks that would fit if nothing else were needed.
    pub(super) fn max_chunks(&self) -> usize {
        self.budget >> self.chunk_shift()
    }

    /// Returns the numbers of chunks of the ring. As many have a place in its tables as would fit
    /// if nothing else were needed, because the index may become smaller than it is at first.
    pub(super) fn ring_size(&self) -> RingSize {
        let first = self.max_chunks();
        RingSize { first, most: first.max(self.ceiling >> self.chunk_shift()) }
    }

    /// Returns the places of the miss log. Batches of reads fill it, and a larger shard sees larger
    /// batches.
    pub(super) fn miss_places(&self) -> usize {
        if self.budget < 1 << 20 { 31 } else { 127 }
    }

    /// Returns the stripes and places of the touch log: under a hundredth of a small shard.
    pub(super) fn touch_log(&self) -> (usize, u32) {
        if self.budget < 1 << 20 { (1, 64) } else { (4, 128) }
    }

    /// Returns the bytes that a shard with these logs allocates whatever it holds.
    pub(super) fn overhead(&self, logs: Logs) -> usize {
        let (stripes, capacity) = self.touch_log();
        let touches = if logs.has_touches { TouchLog::footprint(stripes, capacity) } else { 0 };
        let misses = if logs.has_misses { MissLog::footprint(self.miss_places()) } else { 0 };
        let table = size_of::<Table>() + 2 * size_of::<usize>();
        size_of::<Shard>() + size_of::<Account>() + table + Ring::footprint(self.ring_size()) + touches + misses
    }

    /// Returns the number of chunks that the ring needs, so that the largest entry fits. A growing
    /// index leaves it as many.
    pub(super) fn min_chunks(&self) -> usize {
        // A prefix comes on top only for plain keys that are escaped.
        let largest = self.max_entry_bytes + MAX_PREFIX_BYTES + self.options.alignment.max_overhead();
        let span = largest.div_ceil(1 << self.chunk_shift());
        MIN_CHUNKS.max(MIN_LARGEST * span).max(span + MIN_OTHERS)
    }

    /// Creates a policy for `buckets` buckets.
    pub(super) fn policy(&self, buckets: usize) -> Box<dyn EvictionPolicy> {
        let max_entries = Index::max_len_of(buckets);
        (self.options.factory)(PolicyContext::for_entries(
            Table::extent(buckets) * LANES,
            max_entries,
            self.budget as u64,
        ))
    }

    /// Returns the bytes that the shard allocates beside its ring's chunks while it is empty.
    pub(super) fn taken(&self, buckets: usize, policy: &dyn EvictionPolicy) -> usize {
        (self.overhead(Logs::of(policy)) + Table::footprint(buckets)).saturating_add(policy.bytes())
    }

    /// Returns the budget that is needed with `buckets` buckets, for a ring that can hold the
    /// largest entry.
    pub(super) fn needed(&self, buckets: usize, policy: &dyn EvictionPolicy) -> usize {
        // Policies grow with what they remember.
        let usual = self.taken(MIN_BUCKETS, &NoPolicy) + 2 * MIN_BUCKETS * LANES * 16 + 4096;
        // The chunks that are given up for a wheel are enough for that of the smallest index.
        let wheel = if buckets == MIN_BUCKETS { 0 } else { Wheel::footprint(Table::extent(buckets)) };
        let taken = self.taken(buckets, policy).saturating_add(wheel).max(usual);
        taken.saturating_add(self.min_chunks() << self.chunk_shift())
    }

    /// Returns the largest size that an index of `first` buckets may ever have, up to the ceiling.
    /// With entries of a few bytes, it takes less than half of the budget, as each bucket brings
    /// its part of the policy and the ring.
    pub(super) fn max_size(&self, first: usize) -> usize {
        let half = self.budget.max(self.ceiling) / 2 / Table::footprint_of_one();
        // Models make each word of the table anew for each schedule.
        let most = if cfg!(bytecache_loom) { half.min(MAX_MODELLED_SIZE) } else { half };
        most.clamp(first, Table::max_size())
    }

    /// Returns the number of buckets to start with: that of a snapshot's cache, or for the entries
    /// that are expected, or for a few.
    pub(super) fn first_buckets(&self) -> usize {
        if let Some(buckets) = self.options.expected_buckets {
            // A snapshot may say anything. No index with its policy is larger than the shard.
            let measured = Table::footprint(MEASURED_BUCKETS) + self.policy(MEASURED_BUCKETS).bytes();
            let most = (self.budget / measured).saturating_mul(MEASURED_BUCKETS).min(Table::max_size());
            return (buckets >> self.shard_bits).min(most).max(MIN_BUCKETS);
        }
        let entries = match self.options.expected_entry_bytes {
            Some(bytes) => self.budget / bytes.saturating_add(HEADER_BYTES).saturating_add(self.side_of_entry()),
            None => self.budget / 16_384,
        };
        Index::buckets_for(entries).min(Table::max_size())
    }

    /// Returns the bytes that index and policy have for an entry of a full shard.
    fn side_of_entry(&self) -> usize {
        let of = |buckets| Table::footprint(buckets).saturating_add(self.policy(buckets).bytes());
        let [less, more] = [MEASURED_BUCKETS, 2 * MEASURED_BUCKETS].map(of);
        more.saturating_sub(less).div_ceil(Index::max_len_of(MEASURED_BUCKETS))
    }
}

/// The size of the index by which a policy is measured.
const MEASURED_BUCKETS: usize = 64;
/// The largest size of an index in models, unless it starts with a larger one.
const MAX_MODELLED_SIZE: usize = 8;
/// The bytes that an entry has in the ring beyond key and value, with what the ring keeps free.
const HEADER_BYTES: usize = 12;
