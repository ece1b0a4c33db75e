//! [`CacheBuilder`]: the options of a cache, and the checks on them.
//!
//! [`CacheBuilder::build`] checks all options that do not concern sizes. The sizes depend on each
//! other and on the policy: `cache/sizes.rs` and `cache/build.rs` check them.

mod expiry;

use core::hash::BuildHasher;
use core::time::Duration;
use std::sync::Arc;
use std::thread;

use crate::advisor::{Advisor, PresentPolicy};
use crate::cache::{Cache, CacheConfig, MAX_KEY_BYTES, Sizes};
use crate::clock::ClockSource;
use crate::error::BuildError;
use crate::expiry::Rules;
use crate::hash::{HashSeeds, KeyHasher};
use crate::policy::{EvictionPolicy, Policy, PolicyContext};
use crate::removal::{Listener, RemovalCause};
use crate::ring::Alignment;
use crate::shard::Options;

/// The options of a [`Cache`]. [`Cache::builder`] returns them.
///
/// Only [`max_bytes`](Self::max_bytes) has to be set. Errors are reported by
/// [`build`](Self::build).
///
/// ```
/// use bytecache::{Cache, Policy};
///
/// let cache = Cache::builder()
///     .max_bytes(256 << 20)
///     .shards(16)
///     .policy(Policy::Lru)
///     .expected_entry_bytes(300)
///     .build()?;
/// assert_eq!(cache.shards(), 16);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct CacheBuilder {
    max_bytes: Option<usize>,
    max_bytes_ceiling: Option<usize>,
    max_entry_bytes: Option<usize>,
    shards: Option<usize>,
    policy: PresentPolicy,
    advisor: Option<Advisor>,
    expected_entry_bytes: Option<usize>,
    alignment: usize,
    hasher: Option<KeyHasher>,
    ttl: Option<Duration>,
    time_to_idle: Option<Duration>,
    ttl_jitter: f64,
    stale_for: Duration,
    clock: ClockSource,
    listener: Option<Listener>,
    /// See [`resume`](Self::resume).
    former: Option<FormerCache>,
}

/// The cache of which a snapshot was made.
#[derive(Clone, Debug)]
pub(crate) struct FormerCache {
    pub(crate) max_bytes: u64,
    /// The home buckets of all shards.
    pub(crate) buckets: u64,
    /// The home buckets of each shard, if they are known.
    pub(crate) index_sizes: Vec<u64>,
    /// The seeds of its hasher, if that was the default one.
    pub(crate) seeds: Option<HashSeeds>,
}

/// Returns the builder that [`Cache::builder`] returns.
impl Default for CacheBuilder {
    fn default() -> Self {
        Self {
            max_bytes: None,
            max_bytes_ceiling: None,
            max_entry_bytes: None,
            shards: None,
            policy: PresentPolicy::built_in(Policy::default()),
            advisor: None,
            expected_entry_bytes: None,
            alignment: 1,
            hasher: None,
            ttl: None,
            time_to_idle: None,
            ttl_jitter: 0.0,
            stale_for: Duration::ZERO,
            clock: ClockSource::System,
            listener: None,
            former: None,
        }
    }
}

impl CacheBuilder {
    /// Sets the limit on everything that the cache allocates, in bytes: entries, index, policy and
    /// counters.
    ///
    /// It has no default. With a built-in policy, 64 KiB suffice for each [shard](Self::shards) if
    /// [`max_entry_bytes`](Self::max_entry_bytes) is not set. Memory is taken as entries come in,
    /// so an empty cache is small.
    ///
    /// ```
    /// use bytecache::{BuildError, Cache};
    ///
    /// let cache = Cache::builder().max_bytes(1 << 20).build()?;
    /// assert!(cache.memory().allocated < 1 << 20);
    /// assert_eq!(Cache::builder().build().unwrap_err(), BuildError::NoMaxBytes);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Sets the highest limit that [`Cache::set_max_bytes`] can set later, in bytes.
    ///
    /// The default is [`max_bytes`](Self::max_bytes). It is at most 64 times `max_bytes`, and at
    /// most what the shards can address: 16 GiB each. If the number of shards is not set, there are
    /// enough for the ceiling. The size of chunks and the largest entry follow from `max_bytes`, so
    /// entries are not larger after a growth.
    ///
    /// # Cost
    ///
    /// Address space, and at most 16 KiB of memory for each shard. Searches for absent keys examine
    /// another key a little more often, because locations in a larger ring leave fewer bits of a
    /// word to the hash.
    ///
    /// ```
    /// use bytecache::{BuildError, Cache};
    ///
    /// let builder = Cache::builder().max_bytes(1 << 20);
    /// let cache = builder.clone().max_bytes_ceiling(4 << 20).build()?;
    /// cache.set_max_bytes(4 << 20)?;
    /// assert_eq!(cache.max_bytes(), 4 << 20);
    ///
    /// let error = builder.max_bytes_ceiling(65 << 20).build().unwrap_err();
    /// let expected =
    ///     BuildError::Ceiling { max_bytes_ceiling: 65 << 20, smallest: 1 << 20, largest: 64 << 20 };
    /// assert_eq!(error, expected);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn max_bytes_ceiling(mut self, bytes: usize) -> Self {
        self.max_bytes_ceiling = Some(bytes);
        self
    }

    /// Sets the size of the largest entry, key and value together, in bytes.
    ///
    /// It is from 1 to an eighth of `max_bytes`, or to an eighth of a shard if `max_bytes` is more
    /// than the 16 GiB of one shard. The default is an eighth of `max_bytes`, and at most 512 KiB.
    /// With a [number of shards](Self::shards), it is an eighth of a shard, and at most 512 KiB. It
    /// does not depend on the number of cores.
    ///
    /// Every shard has room for eight entries of this size when the cache is built, so a larger
    /// limit leaves fewer shards.
    ///
    /// ```
    /// use bytecache::{BuildError, Cache};
    ///
    /// assert_eq!(Cache::new(64 << 20)?.max_entry_bytes(), 512 << 10);
    /// let cache = Cache::builder().max_bytes(64 << 20).max_entry_bytes(2 << 20).build()?;
    /// cache.insert("image", vec![0; (2 << 20) - 5])?;
    /// assert!(cache.insert("image", vec![0; (2 << 20) - 4]).is_err());
    ///
    /// let builder = Cache::builder().max_bytes(1 << 20).max_entry_bytes(1 << 18);
    /// let error = builder.build().unwrap_err();
    /// let expected = BuildError::MaxEntryBytes { max_entry_bytes: 1 << 18, largest: 1 << 17 };
    /// assert_eq!(error, expected);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn max_entry_bytes(mut self, bytes: usize) -> Self {
        self.max_entry_bytes = Some(bytes);
        self
    }

    /// Sets the number of shards, each with a write lock of its own: a power of two.
    ///
    /// More shards let more writers work at once. But each shard has its own share of the memory:
    /// an entry is at most an eighth of it, and keys are not divided quite evenly. With one shard
    /// and one thread, the cache evicts as its policy does by itself. The
    /// [exceptions](crate::docs::limitations) concern large entries, held values and a lowered
    /// limit.
    ///
    /// The default is four for each core, rounded up to a power of two. There are fewer if shards
    /// would be smaller than 4 MiB, or than eight of the [largest entries](Self::max_entry_bytes).
    ///
    /// ```
    /// use bytecache::{BuildError, Cache};
    ///
    /// let cache = Cache::builder().max_bytes(64 << 20).shards(8).build()?;
    /// assert_eq!(cache.shards(), 8);
    /// let error = Cache::builder().max_bytes(64 << 20).shards(6).build().unwrap_err();
    /// assert!(matches!(error, BuildError::Shards { shards: 6, .. }));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = Some(shards);
        self
    }

    /// Sets the policy, which chooses the entries to evict. The default is [`Policy::Adaptive`].
    ///
    /// The policy may also be parsed from a text, with its parameters.
    ///
    /// ```
    /// use bytecache::{Cache, Policy};
    ///
    /// let lru = Cache::builder().max_bytes(1 << 20).policy(Policy::Lru).build()?;
    /// let policy = "s3-fifo(small=20)".parse()?;
    /// let s3_fifo = Cache::builder().max_bytes(1 << 20).policy(policy).build()?;
    /// assert!(lru.is_empty() && s3_fifo.is_empty());
    /// assert!("s3-fifo(small=200)".parse::<Policy>().is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = PresentPolicy::built_in(policy);
        self
    }

    /// Sets a custom policy instead of a built-in one: see [`EvictionPolicy`].
    ///
    /// `policy` is called once for each shard. It is called again when a shard has been emptied: by
    /// [`Cache::clear`], by a panic of its policy, or on the way to a lower limit. Further calls
    /// make policies that are only measured, for the smallest `max_bytes` and by
    /// [`bytes_for`](Self::bytes_for). The policy of a shard is used under the lock of the shard:
    /// it must not use the cache.
    ///
    /// ```
    /// use bytecache::{Cache, Policy};
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicUsize, Ordering};
    ///
    /// // Counts the policies that are created, and builds LRU for each shard.
    /// let created = Arc::new(AtomicUsize::new(0));
    /// let counter = Arc::clone(&created);
    /// let builder = Cache::builder().max_bytes(16 << 20).shards(4).custom_policy(move |context| {
    ///     counter.fetch_add(1, Ordering::Relaxed);
    ///     Policy::Lru.build(&context)
    /// });
    /// let cache = builder.build()?;
    /// cache.insert("key", "value")?;
    /// assert!(created.load(Ordering::Relaxed) >= 4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn custom_policy(
        mut self,
        policy: impl Fn(PolicyContext) -> Box<dyn EvictionPolicy> + Send + Sync + 'static,
    ) -> Self {
        self.policy = PresentPolicy::custom(Arc::new(policy));
        self
    }

    /// Turns the advisor on, which estimates the hits of the cache with other policies and sizes.
    ///
    /// [`Cache::advice`] returns its answers. By default it is off. Its memory is part of
    /// [`max_bytes`](Self::max_bytes). A [custom policy](Self::custom_policy) is also created for
    /// each size that the advisor simulates, and used and dropped under a lock of the advisor. If
    /// such a policy panics, the advisor stops for good, and the panic continues in the thread that
    /// used the cache.
    ///
    /// # Cost
    ///
    /// See [`docs::advisor`](crate::docs::advisor).
    ///
    /// ```
    /// use bytecache::{Advisor, Cache};
    ///
    /// let cache = Cache::builder().max_bytes(64 << 20).advisor(Advisor::new()).build()?;
    /// cache.insert("key", "value")?;
    /// cache.get("key");
    /// let advice = cache.advice().ok_or("there was a read")?;
    /// assert_eq!(advice.live_hit_ratio, 1.0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn advisor(mut self, advisor: Advisor) -> Self {
        self.advisor = Some(advisor);
        self
    }

    /// Sets the expected mean size of entries, key and value together, in bytes.
    ///
    /// It is a hint for the first size of the index. With it, the index need not grow while the
    /// cache fills. Entries of any other size work as well.
    ///
    /// ```
    /// use bytecache::Cache;
    ///
    /// let builder = Cache::builder().max_bytes(1 << 20).shards(1);
    /// let cache = builder.clone().expected_entry_bytes(100).build()?;
    /// let without_hint = builder.build()?;
    /// for key in 0..5_000_u32 {
    ///     cache.insert(key.to_le_bytes(), [0; 96])?;
    ///     without_hint.insert(key.to_le_bytes(), [0; 96])?;
    /// }
    /// assert_eq!(cache.stats().index_growths, 0);
    /// assert!(without_hint.stats().index_growths > 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn expected_entry_bytes(mut self, bytes: usize) -> Self {
        self.expected_entry_bytes = Some(bytes);
        self
    }

    /// Sets the alignment of values in memory: 1 (the default), 8 or 16 bytes.
    ///
    /// Aligned archives, for example of rkyv, can be read in place. An alignment of `bytes` costs
    /// up to as many bytes for each entry. It applies to every [`Value`](crate::Value) of the
    /// cache, to copies and results of loads that were not stored, too.
    ///
    /// ```
    /// use bytecache::{BuildError, Cache};
    ///
    /// let cache = Cache::builder().max_bytes(1 << 20).value_alignment(16).build()?;
    /// cache.insert("archive", [7; 40])?;
    /// let value = cache.get("archive").ok_or("missing")?;
    /// assert_eq!(value.as_ptr().addr() % 16, 0);
    ///
    /// let error = Cache::builder().max_bytes(1 << 20).value_alignment(4).build().unwrap_err();
    /// assert_eq!(error, BuildError::Alignment { alignment: 4 });
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn value_alignment(mut self, bytes: usize) -> Self {
        self.alignment = bytes;
        self
    }

    /// Sets the hasher of keys.
    ///
    /// The default is ahash with random seeds for each cache, so that nobody can choose keys that
    /// collide. The result of a custom hasher is mixed once more, so a weak one suffices. That of
    /// ahash needs no mixing. A hasher must return the same hash for the same bytes. Otherwise
    /// reads miss keys that are present.
    ///
    /// ```
    /// use bytecache::Cache;
    /// use std::collections::hash_map::RandomState;
    ///
    /// let cache = Cache::builder().max_bytes(1 << 20).hasher(RandomState::new()).build()?;
    /// cache.insert("key", "value")?;
    /// assert!(cache.contains_key("key"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn hasher<S: BuildHasher + Send + Sync + 'static>(mut self, hasher: S) -> Self {
        self.hasher = Some(KeyHasher::custom(hasher));
        self
    }

    /// Sets the removal listener: it is called with the key, the value and the cause of every entry
    /// that leaves.
    ///
    /// The thread whose operation made the entry leave calls it, after the lock of the shard is
    /// free and before the operation returns. So the listener may use the cache, and it delays that
    /// operation. Entries of one operation come in the order in which they left. Operations of
    /// several threads may overtake each other. A panic of the listener is caught and counted
    /// ([`Stats::listener_panics`](crate::Stats::listener_panics)).
    ///
    /// The listener is not notified of entries that are present when the cache is dropped, and of
    /// those that a shard loses when its policy panics. An expired entry leaves when its space is
    /// taken back: at a later write to its shard, or in [`maintain`](Cache::maintain).
    ///
    /// # Listeners that write
    ///
    /// A listener may write to this cache and to others. Entries that leave through its writes have
    /// left when the writes return. Their listeners are called after the listener has returned, by
    /// the outermost operation. So the stack stays bounded, and the operation ends. It notifies:
    ///
    /// 1. of everything that left in the operation itself;
    /// 2. of at most 1,000 entries that left through writes of listeners, in the order in which
    ///    they left.
    ///
    /// Further entries wait for the next write to the cache, or for [`maintain`](Cache::maintain),
    /// which notifies of all of them. Each entry is notified once. [`clear`](Cache::clear),
    /// [`retain`](Cache::retain), `maintain` and loads notify in several steps, and each step
    /// counts as an operation. Entries that still wait when the last handle is dropped are notified
    /// then, unless a listener drops it.
    ///
    /// While entries of 256 KiB wait, a store by a listener returns
    /// [`Error::Rejected`](crate::Error::Rejected), and removes the entry under its key. The limit
    /// is [`max_entry_bytes`](Cache::max_entry_bytes) if that is more. Each entry counts 128 bytes
    /// beside key and value. Removals by listeners are not limited.
    ///
    /// A listener that owns a handle of its cache keeps both alive forever. Give it a
    /// [`WeakCache`](crate::WeakCache).
    ///
    /// # Cost
    ///
    /// Keys and values are copied as they leave. The copies are memory beyond `max_bytes`, which is
    /// freed after the call of the listener.
    ///
    /// ```
    /// use bytecache::{Cache, RemovalCause};
    /// use std::sync::{Arc, Mutex};
    ///
    /// let seen = Arc::new(Mutex::new(Vec::new()));
    /// let log = Arc::clone(&seen);
    /// let cache = Cache::builder()
    ///     .max_bytes(1 << 20)
    ///     .on_removal(move |key, value, cause| {
    ///         log.lock().unwrap().push((key.to_vec(), value.to_vec(), cause));
    ///     })
    ///     .build()?;
    /// cache.insert("key", "old")?;
    /// cache.insert("key", "new")?;
    /// let replaced = (b"key".to_vec(), b"old".to_vec(), RemovalCause::Replaced);
    /// assert_eq!(*seen.lock().unwrap(), [replaced]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_removal(mut self, listener: impl Fn(&[u8], &[u8], RemovalCause) + Send + Sync + 'static) -> Self {
        self.listener = Some(Arc::new(listener));
        self
    }

    /// Builds the cache.
    ///
    /// # Errors
    ///
    /// * [`BuildError::NoMaxBytes`] if `max_bytes` is not set;
    /// * [`BuildError::TooSmall`] if `max_bytes` is too small: it names the smallest;
    /// * [`BuildError::TooManyBytes`] if `max_bytes` is above 64 TiB less 4 GiB;
    /// * [`BuildError::Ceiling`] if the ceiling is below `max_bytes`, above 64 times `max_bytes`,
    ///   or above what the shards can address: it names the bounds;
    /// * [`BuildError::MaxEntryBytes`] if the largest entry has no bytes, or more than an eighth of
    ///   `max_bytes`;
    /// * [`BuildError::Shards`] if the number of shards is not a power of two, is above 4,096,
    ///   leaves more than 16 GiB to one, or leaves too little for eight of the largest entries that
    ///   were asked for: it names the smallest and the largest number;
    /// * [`BuildError::Alignment`] if the alignment is none of 1, 8 and 16;
    /// * [`BuildError::ZeroLifetime`] if the time to live or to idle is zero;
    /// * [`BuildError::Jitter`] if the jitter is not a number from 0 to 1;
    /// * [`BuildError::OutOfMemory`] if the system refuses the address space.
    ///
    /// ```
    /// use bytecache::{BuildError, Cache};
    ///
    /// let builder = Cache::builder().shards(4);
    /// let cache = match builder.clone().max_bytes(1_000).build() {
    ///     Err(BuildError::TooSmall { min_bytes, .. }) => builder.max_bytes(min_bytes).build()?,
    ///     other => other?,
    /// };
    /// assert_eq!(cache.shards(), 4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn build(self) -> Result<Cache, BuildError> {
        self.build_for(cores())
    }

    /// Returns the [`max_bytes`](Self::max_bytes) with which a cache of this builder holds
    /// `entries` entries.
    ///
    /// Each entry has a key of `key_bytes` bytes and a value of `value_bytes` bytes. For entries of
    /// several sizes, pass the means. The result accounts for:
    ///
    /// * headers, [alignment](Self::value_alignment), and the deadlines of
    ///   [`ttl`](Self::ttl) and [`time_to_idle`](Self::time_to_idle);
    /// * the index, the policy, the timing wheel, and the fixed part of each [shard](Self::shards);
    /// * chunks that are kept free, and bytes at the ends of chunks that no entry fits.
    ///
    /// It does not account for lifetimes of single entries, loads in progress, and values that
    /// callers hold. The default number of shards depends on the number of cores: set
    /// [`shards`](Self::shards) to get the same result on every machine.
    ///
    /// A full cache of this size holds `entries` entries within 3 %, or within 4 % if they are
    /// larger than 4 KiB. Shards of less than 1 MiB may hold fewer.
    /// Keys are not divided evenly between shards: see [`docs::sizing`](crate::docs::sizing).
    ///
    /// Returns `usize::MAX` if no cache of this builder can hold `entries` entries of this size.
    /// The builder's own `max_bytes` is ignored.
    ///
    /// # Cost
    ///
    /// Creates a few policies of up to 49,152 ids to measure them. This also holds for
    /// [custom policies](Self::custom_policy).
    ///
    /// ```
    /// use bytecache::Cache;
    ///
    /// let builder = Cache::builder().shards(4);
    /// let max_bytes = builder.bytes_for(100_000, 24, 256);
    /// assert!((28 << 20..36 << 20).contains(&max_bytes));
    /// let cache = builder.max_bytes(max_bytes).build()?;
    ///
    /// // No cache can hold that many entries.
    /// assert_eq!(Cache::builder().bytes_for(usize::MAX, 24, 256), usize::MAX);
    /// # Ok::<(), bytecache::BuildError>(())
    /// ```
    #[must_use]
    pub fn bytes_for(&self, entries: usize, key_bytes: usize, value_bytes: usize) -> usize {
        match self.clone().config(0, cores()) {
            Ok(config) if key_bytes <= MAX_KEY_BYTES => config.bytes_for(entries, key_bytes, value_bytes),
            _ => usize::MAX,
        }
    }

    /// Lets the cache begin where a former one has ended.
    ///
    /// The index begins with the same size, or a smaller one if this cache is smaller. So it need
    /// not grow while entries are stored. The default hasher gets the same seeds. So each key is in
    /// the same shard.
    pub(crate) fn resume(mut self, former: FormerCache) -> Self {
        self.former = Some(former);
        self
    }

    /// Builds the cache like [`build`](Self::build), but for a machine with `cores` cores.
    fn build_for(self, cores: usize) -> Result<Cache, BuildError> {
        let max_bytes = self.max_bytes.ok_or(BuildError::NoMaxBytes)?;
        Cache::from_config(self.config(max_bytes, cores)?)
    }

    /// Checks all options but the sizes.
    fn config(self, max_bytes: usize, cores: usize) -> Result<CacheConfig, BuildError> {
        let alignment = Alignment::new(self.alignment).ok_or(BuildError::Alignment { alignment: self.alignment })?;
        if [self.ttl, self.time_to_idle].contains(&Some(Duration::ZERO)) {
            return Err(BuildError::ZeroLifetime);
        }
        if !(0.0..=1.0).contains(&self.ttl_jitter) {
            return Err(BuildError::Jitter { fraction: self.ttl_jitter });
        }
        let former_seeds = self.former.as_ref().and_then(|former| former.seeds);
        let (hasher, hash_seeds) = match self.hasher {
            Some(hasher) => (hasher, None),
            None => {
                let seeds = former_seeds.unwrap_or_else(HashSeeds::random);
                (KeyHasher::seeded(seeds), Some(seeds))
            }
        };
        Ok(CacheConfig {
            sizes: Sizes {
                max_bytes,
                ceiling: self.max_bytes_ceiling,
                shards: self.shards,
                max_entry_bytes: self.max_entry_bytes,
                cores,
            },
            options: Options {
                alignment,
                expected_entry_bytes: self.expected_entry_bytes,
                expected_buckets: self.former.as_ref().map(|former| former.within(max_bytes, former.buckets)),
                hasher,
                factory: Arc::clone(&self.policy.factory),
                rules: Rules::new(self.ttl, self.time_to_idle, self.stale_for, self.ttl_jitter),
                clock: self.clock,
            },
            listener: self.listener,
            advisor: self.advisor,
            policy: self.policy,
            hash_seeds,
            index_sizes: self.former.map(|former| former.index_sizes_within(max_bytes)).unwrap_or_default(),
        })
    }
}

impl FormerCache {
    /// Returns the part of `buckets` for a cache of `max_bytes`.
    fn within(&self, max_bytes: usize, buckets: u64) -> usize {
        let (max_bytes, whole) = (max_bytes as u128, u128::from(self.max_bytes.max(1)));
        let buckets = u128::from(buckets) * max_bytes.min(whole) / whole;
        usize::try_from(buckets).unwrap_or(usize::MAX)
    }

    /// Returns the home buckets of each shard for a cache of `max_bytes`.
    fn index_sizes_within(self, max_bytes: usize) -> Vec<usize> {
        self.index_sizes.iter().map(|&buckets| self.within(max_bytes, buckets)).collect()
    }
}

/// Returns the number of cores that threads may run on.
fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

impl core::fmt::Debug for CacheBuilder {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("CacheBuilder")
            .field("max_bytes", &self.max_bytes)
            .field("max_bytes_ceiling", &self.max_bytes_ceiling)
            .field("max_entry_bytes", &self.max_entry_bytes)
            .field("shards", &self.shards)
            .field("expected_entry_bytes", &self.expected_entry_bytes)
            .field("value_alignment", &self.alignment)
            .field("hasher", &self.hasher)
            .field("ttl", &self.ttl)
            .field("time_to_idle", &self.time_to_idle)
            .field("ttl_jitter", &self.ttl_jitter)
            .field("stale_for", &self.stale_for)
            .finish_non_exhaustive()
    }
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests;
