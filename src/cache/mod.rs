//! [`Cache`]: the public operations. Each is routed to the shard of its key.
//!
//! | file | operations |
//! |---|---|
//! | `mod.rs` | creating a cache, sizes, statistics, maintenance |
//! | `read.rs` | reads by key |
//! | `write.rs` | stores and removals by key |
//! | `change.rs` | atomic changes of one entry |
//! | `lifetimes.rs` | stores with a lifetime, and changes of deadlines |
//! | `iteration.rs` | operations on all entries |
//! | `namespace/` | handles of namespaces |
//! | `invalidation.rs` | invalidations that come from outside, as values |
//! | `keys.rs` | from the keys of callers to stored keys, and back |
//! | `advice.rs` | the answers of the advisor |
//! | `lease.rs` | stores that a write to the key prevents |
//! | `weak.rs` | handles that do not keep the cache alive |
//! | `loads.rs` | the parts of the cache that the loaders use |
//! | `build.rs`, `sizes.rs` | the division of `max_bytes` among the shards |
//! | `resize.rs` | another `max_bytes` at run time |
//!
//! # Invariants
//!
//! 1. The number of shards is a power of two and does not change. The top bits of a key's hash
//!    choose its shard.
//! 2. The targets of the shards and `overhead` together are at most `max_bytes`. So are their
//!    budgets, unless a shard shrinks: then they are at most what they were.
//!
//! # Synchronization
//!
//! The fields of a cache do not change after it is built, except for the limit, which has a lock.
//! Shards and counters synchronize themselves.

mod advice;
mod build;
mod change;
mod invalidation;
mod iteration;
mod keys;
mod lease;
mod lifetimes;
mod loads;
mod namespace;
mod read;
mod resize;
mod sizes;
mod weak;
mod write;

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

pub(crate) use build::CacheConfig;
pub use change::Update;
pub use invalidation::Invalidation;
pub use lease::Lease;
pub use lifetimes::MaybeStale;
pub(crate) use loads::LookUp;
pub(crate) use namespace::{Decode, Decoded};
pub use namespace::{Namespace, NamespaceBuilder};
pub(crate) use read::Misses;
pub(crate) use sizes::{MAX_SHARDS, Sizes};
pub use weak::WeakCache;

use resize::Limit;

use crate::advisor::Sampler;
use crate::builder::CacheBuilder;
use crate::error::BuildError;
use crate::hash::{HashSeeds, KeyHash, KeyHasher};
use crate::namespace::{Registry, Scope};
use crate::removal::Notifier;
use crate::ring::Alignment;
use crate::shard::Shard;
use crate::stats::{Memory, ReadCounts, Stats};
use crate::sync::Mutex;

/// The longest key, in bytes.
pub(crate) const MAX_KEY_BYTES: usize = u16::MAX as usize;

/// A concurrent cache from bytes to bytes.
///
/// Entries lie in preallocated rings, and `max_bytes` limits everything that the cache allocates.
/// Reads take no lock, except that a thread registers itself under one at its first read.
///
/// A `Cache` is a handle: clones share the entries. The memory is freed when the last handle, and
/// the last [`Value`](crate::Value) that was read, have been dropped. A [`WeakCache`] keeps nothing
/// alive.
///
/// ```
/// use bytecache::Cache;
///
/// let cache = Cache::new(64 << 20)?;
/// cache.insert("user:1", b"Ada")?;
/// assert_eq!(cache.get("user:1").as_deref(), Some(&b"Ada"[..]));
/// assert!(cache.get("user:2").is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Cache {
    inner: Arc<Inner>,
    /// The set of keys that this handle reads and writes: the plain keys, or those of a namespace.
    /// Only a [`Namespace`] and what is made from it have a handle with a scope.
    ///
    /// `get`, `view`, `get_into` and `get_many` do not look at it, as they are the hot path of
    /// plain keys: a namespace has its own.
    scope: Option<Arc<Scope>>,
}

struct Inner {
    hasher: KeyHasher,
    shard_bits: u32,
    shards: Box<[Shard]>,
    /// The counters of plain keys.
    counts: ReadCounts,
    registry: Arc<Registry>,
    limit: Mutex<Limit>,
    /// The largest limit that may be set.
    ceiling: usize,
    /// The share of a shard in the limit with which the cache was built, and the smallest that it
    /// may get.
    first_budget: usize,
    min_budget: usize,
    max_entry_bytes: usize,
    alignment: Alignment,
    /// Bytes that are allocated beside the shards.
    overhead: usize,
    notifier: Arc<Notifier>,
    sampler: Option<Arc<Sampler>>,
    /// The seeds of the hasher, if it is the default one.
    hash_seeds: Option<HashSeeds>,
    /// A loaded value was too large to be stored, and a warning has said so.
    #[cfg(feature = "tracing")]
    warned_too_large: std::sync::OnceLock<()>,
}

/// The hash of a key, and the shard that it leads to.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) shard: &'a Shard,
    pub(crate) hash: KeyHash,
    /// The number of the shard.
    pub(crate) number: usize,
}

impl Cache {
    /// Creates a cache of at most `max_bytes` bytes, with the default options.
    ///
    /// # Errors
    ///
    /// * [`BuildError::TooSmall`] if `max_bytes` is below the smallest size, which is at most
    ///   64 KiB;
    /// * [`BuildError::TooManyBytes`] if it is above the largest size, 64 TiB less 4 GiB;
    /// * [`BuildError::OutOfMemory`] if the system refuses the address space.
    ///
    /// ```
    /// use bytecache::{BuildError, Cache};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// assert_eq!(cache.max_bytes(), 1 << 20);
    ///
    /// let error = Cache::new(100).unwrap_err();
    /// assert!(matches!(error, BuildError::TooSmall { max_bytes: 100, .. }));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(max_bytes: usize) -> Result<Self, BuildError> {
        Self::builder().max_bytes(max_bytes).build()
    }

    /// Returns a builder with the options of a cache.
    ///
    /// ```
    /// use bytecache::{Cache, Policy};
    ///
    /// let cache = Cache::builder().max_bytes(1 << 20).policy(Policy::Lru).build()?;
    /// assert!(cache.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder() -> CacheBuilder {
        CacheBuilder::default()
    }

    /// Returns the number of entries, namespaces included.
    ///
    /// Expired entries count until their space is taken back. So do those of invalidated
    /// namespaces, and negative entries. While other threads write, the result is the sum of the
    /// shards' numbers, read one after the other.
    ///
    /// # Cost
    ///
    /// Locks each shard, one after the other.
    ///
    /// ```
    /// use bytecache::Cache;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// cache.insert("a", "1")?;
    /// cache.insert("b", "2")?;
    /// cache.insert("a", "3")?;
    /// assert_eq!(cache.len(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.shards.iter().map(Shard::len).sum()
    }

    /// Returns `true` if there are no entries, as [`len`](Self::len) counts them. The cost is that
    /// of `len`.
    ///
    /// ```
    /// use bytecache::Cache;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// assert!(cache.is_empty());
    /// cache.insert("a", "1")?;
    /// assert!(!cache.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inner.shards.iter().all(|shard| shard.len() == 0)
    }

    /// Returns the limit on everything that the cache allocates, in bytes.
    ///
    /// [`CacheBuilder::max_bytes`] and [`set_max_bytes`](Self::set_max_bytes) set it. On the way to
    /// a lower limit, [`Memory::max`] is higher.
    ///
    /// ```
    /// use bytecache::Cache;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// assert_eq!(cache.max_bytes(), 1 << 20);
    /// assert!(cache.memory().allocated <= cache.max_bytes());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn max_bytes(&self) -> usize {
        self.inner.limit.lock().max_bytes
    }

    /// Returns the size of the largest entry that can be stored: key and value together, in bytes.
    ///
    /// [`CacheBuilder::max_entry_bytes`] sets it.
    ///
    /// ```
    /// use bytecache::Cache;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let largest = cache.max_entry_bytes();
    /// assert_eq!(largest, 128 << 10);
    /// cache.insert("key", vec![0; largest - 3])?;
    /// assert!(cache.insert("key", vec![0; largest - 2]).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn max_entry_bytes(&self) -> usize {
        self.inner.max_entry_bytes
    }

    /// Returns the number of shards.
    ///
    /// [`CacheBuilder::shards`] sets it.
    ///
    /// ```
    /// use bytecache::Cache;
    ///
    /// let cache = Cache::builder().max_bytes(16 << 20).shards(4).build()?;
    /// assert_eq!(cache.shards(), 4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn shards(&self) -> usize {
        self.inner.shards.len()
    }

    /// Returns the counters of the cache since it was built, namespaces included.
    ///
    /// [`Namespace::stats`] returns those of a namespace.
    ///
    /// # Cost
    ///
    /// Locks each shard, one after the other, to copy its counters.
    ///
    /// ```
    /// use bytecache::Cache;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// cache.insert("a", "1")?;
    /// assert!(cache.get("a").is_some() && cache.get("b").is_none());
    /// let stats = cache.stats();
    /// assert_eq!((stats.inserts, stats.hits, stats.misses), (1, 1, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn stats(&self) -> Stats {
        let Inner { counts, registry, notifier, .. } = &*self.inner;
        let mut stats =
            Stats { listener_panics: notifier.panics(), unknown_namespaces: registry.unknown(), ..Stats::default() };
        counts.add_to(&mut stats);
        registry.loads.add_to(&mut stats);
        registry.scopes().for_each(|scope| scope.add_beside_shards(&mut stats));
        let targets: f64 = self.inner.shards.iter().map(|shard| shard.add_stats(&mut stats)).sum();
        stats.live_target = targets / self.shards() as f64;
        stats
    }

    /// Returns how the cache uses its memory.
    ///
    /// # Cost
    ///
    /// Like [`stats`](Self::stats).
    ///
    /// ```
    /// use bytecache::Cache;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// cache.insert("a", vec![0; 1_000])?;
    /// let memory = cache.memory();
    /// assert!(memory.live > 1_000 && memory.live <= memory.chunks);
    /// assert!(memory.allocated <= memory.max);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn memory(&self) -> Memory {
        let mut memory = Memory::default();
        for shard in &self.inner.shards {
            memory.add(&shard.memory());
        }
        // The division among the shards rounds down. While a shard shrinks, its share is larger.
        memory.max = self.max_bytes().max(memory.max + self.inner.overhead);
        memory.allocated += self.inner.overhead;
        memory.overhead += self.inner.overhead;
        memory
    }

    /// Does a bounded amount of deferred work in each shard.
    ///
    /// It removes expired entries and those of invalidated [namespaces](Namespace), reclaims
    /// retired chunks, cleans chunks ahead of need, and passes reads on to ordered policies. It
    /// goes on with changes of the index's size and [of the limit](Self::set_max_bytes). It
    /// notifies the [removal listener](CacheBuilder::on_removal) of all entries that wait for it.
    ///
    /// Returns `true` if another call at once would do more: remove expired or invalidated entries,
    /// or go on with a change of a size. Work that waits for held values, or for the end of a save,
    /// does not count.
    ///
    /// Writes do the same work, so most caches need no call. There are four uses:
    ///
    /// * a service that is idle at times moves work away from its next inserts;
    /// * a cache that few write to reaches a lower limit soon;
    /// * a cache that is only read gets the space of expired entries back;
    /// * a cache that only removal listeners write to has its own listener notified.
    ///
    /// # Cost
    ///
    /// Locks each shard, one after the other. In each, it removes at most 3,072 expired entries,
    /// looks for invalidated ones in 4,092 places, and takes 32 steps towards a lower limit.
    ///
    /// ```
    /// use bytecache::{Cache, ManualClock};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder().max_bytes(1 << 20).clock(clock.clone()).build()?;
    /// cache.insert_with_ttl("token", "abc", Duration::from_secs(30))?;
    /// clock.advance(Duration::from_secs(31));
    /// assert_eq!(cache.len(), 1);
    /// while cache.maintain() {}
    /// assert_eq!(cache.len(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[allow(clippy::must_use_candidate, reason = "most callers do not wait for the end of all work")]
    pub fn maintain(&self) -> bool {
        let mut has_more = false;
        for shard in &self.inner.shards {
            has_more |= shard.write(|writer| writer.maintain());
        }
        self.raise_limits();
        has_more
    }

    /// Recounts all state and panics if it is inconsistent. Slow; for [tests](crate::testing).
    pub(crate) fn validate(&self) {
        for shard in &self.inner.shards {
            shard.validate();
        }
    }

    /// Returns `true` if the index of a shard is getting another size. For [tests](crate::testing).
    pub(crate) fn is_resizing(&self) -> bool {
        self.inner.shards.iter().any(Shard::is_resizing)
    }

    /// Returns `true` once: for the first loaded value that is too large to be stored.
    #[cfg(feature = "tracing")]
    pub(crate) fn is_first_too_large(&self) -> bool {
        self.inner.warned_too_large.set(()).is_ok()
    }

    /// Returns the alignment of values, in bytes.
    pub(crate) fn value_alignment(&self) -> usize {
        self.inner.alignment.bytes()
    }

    /// Returns the time to live of entries that are stored without one of their own.
    pub(crate) fn default_ttl(&self) -> Option<Duration> {
        self.inner.shards.first().and_then(|shard| shard.rules.default_ttl())
    }

    /// Returns the seeds of the hasher, if it is the default one.
    pub(crate) fn hash_seeds(&self) -> Option<HashSeeds> {
        self.inner.hash_seeds
    }

    /// Returns the hash of an empty key. Other hashers, and other seeds, return another one.
    pub(crate) fn hash_probe(&self) -> u64 {
        self.inner.hasher.hash(&[]).get()
    }

    /// Returns the hash of a stored key and its shard.
    #[inline(always)]
    pub(crate) fn target(&self, key: &[u8]) -> Target<'_> {
        let hash = self.inner.hasher.hash(key);
        let number = hash.shard(self.inner.shard_bits);
        Target { shard: &self.inner.shards[number], hash: hash.within_shard(self.inner.shard_bits), number }
    }

    /// Returns the shard with this number. See [`Target::number`].
    pub(crate) fn shard(&self, number: usize) -> &Shard {
        &self.inner.shards[number]
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("max_bytes", &self.max_bytes())
            .field("shards", &self.inner.shards.len())
            .field("hasher", &self.inner.hasher)
            .finish_non_exhaustive()
    }
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn validate_finds_a_fault_in_any_shard() {
        for faulty in 0..4 {
            let cache = Cache::builder().max_bytes(1 << 20).shards(4).build().expect("a cache");
            cache.validate();
            assert!(cache.shard(faulty).disturb());
            let found = catch_unwind(AssertUnwindSafe(|| cache.validate()));
            assert!(found.is_err(), "in shard {faulty}");
        }
    }
}
