//! [`CacheBuilder`]: every option, and the checks on it.

use core::hash::BuildHasher;
use core::time::Duration;
use std::sync::Arc;
use std::thread;

use crate::cache::{Cache, CacheConfig, MAX_KEY_BYTES, Sizes};
use crate::clock::{Clock, ClockSource};
use crate::error::BuildError;
use crate::expiry::Rules;
use crate::hash::KeyHasher;
use crate::policy::{EvictionPolicy, Policy, PolicyContext, PolicyFactory};
use crate::removal::{Listener, RemovalCause};
use crate::ring::Alignment;

/// Options for a [`Cache`], from [`Cache::builder`].
///
/// Only [`max_bytes`](Self::max_bytes) has to be set.
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
    max_entry_bytes: Option<usize>,
    shards: Option<usize>,
    factory: PolicyFactory,
    expected_entry_bytes: Option<usize>,
    alignment: usize,
    hasher: Option<KeyHasher>,
    ttl: Option<Duration>,
    time_to_idle: Option<Duration>,
    ttl_jitter: f64,
    stale_for: Duration,
    clock: ClockSource,
    listener: Option<Listener>,
}

/// Returns the builder that [`Cache::builder`] returns.
impl Default for CacheBuilder {
    fn default() -> Self {
        Self {
            max_bytes: None,
            max_entry_bytes: None,
            shards: None,
            factory: Arc::new(|context| Policy::default().build(&context)),
            expected_entry_bytes: None,
            alignment: 1,
            hasher: None,
            ttl: None,
            time_to_idle: None,
            ttl_jitter: 0.0,
            stale_for: Duration::ZERO,
            clock: ClockSource::System,
            listener: None,
        }
    }
}

impl CacheBuilder {
    /// The limit on everything that the cache allocates, in bytes: entries, index, policy, counters.
    ///
    /// Works from 64 KiB up. Memory is taken as entries come in, so an empty cache is small.
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Sets the largest entry, key and value together, in bytes: from 1 to an eighth of `max_bytes`, or of a
    /// shard where 16 GiB are not enough for all.
    ///
    /// By default an eighth of `max_bytes`, 512 KiB at most; with a [number of shards](Self::shards) an eighth of one, 512
    /// KiB at most. It does not depend on the number of cores.
    ///
    /// Every shard holds at least eight entries of this size, so a larger limit leaves fewer shards.
    ///
    /// ```
    /// use bytecache::Cache;
    ///
    /// assert_eq!(Cache::new(64 << 20)?.max_entry_bytes(), 512 << 10);
    /// let cache = Cache::builder().max_bytes(64 << 20).max_entry_bytes(2 << 20).build()?;
    /// cache.insert("image", vec![0; (2 << 20) - 5])?;
    /// assert!(cache.insert("image", vec![0; (2 << 20) - 4]).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn max_entry_bytes(mut self, bytes: usize) -> Self {
        self.max_entry_bytes = Some(bytes);
        self
    }

    /// How many parts the cache is divided into, each with its own write lock: a power of two.
    ///
    /// More shards let more writers work at once; but each has its own share of the memory, an entry is at
    /// most an eighth of it, and small shares are evicted from less evenly. With one shard and one thread the
    /// cache behaves exactly as its policy. By default four for each core, but none smaller than 4 MiB or than eight of the
    /// [largest entries](Self::max_entry_bytes).
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = Some(shards);
        self
    }

    /// Which entries leave when space is wanted. [`Policy::Adaptive`] by default.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.factory = Arc::new(move |context| policy.build(&context));
        self
    }

    /// A policy of your own, in place of a built-in one: see [`EvictionPolicy`].
    ///
    /// `policy` is called once for each shard, and again whenever a shard has been emptied by [`Cache::clear`]
    /// or by a panic of its policy. Policies are made, used and dropped under a shard's lock: they must not use
    /// the cache.
    pub fn custom_policy(
        mut self,
        policy: impl Fn(PolicyContext) -> Box<dyn EvictionPolicy> + Send + Sync + 'static,
    ) -> Self {
        self.factory = Arc::new(policy);
        self
    }

    /// How large entries will be, key and value together, in bytes. Only a hint for the first size of the
    /// index, which spares it from growing while the cache fills.
    pub fn expected_entry_bytes(mut self, bytes: usize) -> Self {
        self.expected_entry_bytes = Some(bytes);
        self
    }

    /// The alignment of values in memory: 1 (the default), 8 or 16 bytes, so that archives (of rkyv, say) can
    /// be read in place. Costs up to as many bytes for each entry.
    ///
    /// It is that of every [`Value`](crate::Value) of the cache: copies and the results of loads that were not stored, too.
    pub fn value_alignment(mut self, bytes: usize) -> Self {
        self.alignment = bytes;
        self
    }

    /// The hasher for keys. By default ahash with seeds that are random for each cache, so that nobody can
    /// choose keys that collide.
    ///
    /// Its result is mixed once more, so a weak one will do; but it must give the same hash for the same
    /// bytes.
    pub fn hasher<S: BuildHasher + Send + Sync + 'static>(mut self, hasher: S) -> Self {
        self.hasher = Some(KeyHasher::custom(hasher));
        self
    }

    /// How long after it was inserted an entry expires, unless its insert says otherwise. By default never.
    ///
    /// Costs four bytes for each entry, and a byte or two for the [timing wheel](crate::docs::expiry). Lengths
    /// beyond two years are cut to that.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// How long after it was last read an entry expires, unless its insert says otherwise. By default never.
    ///
    /// With a time to live as well, what comes first counts. Costs four bytes for each entry, and one write to its
    /// header by the first read in each [`TICK`](crate::TICK). Lengths beyond half a year are cut to that.
    pub fn time_to_idle(mut self, idle: Duration) -> Self {
        self.time_to_idle = Some(idle);
        self
    }

    /// Draws each time to live at random between `(1 - fraction) * ttl` and `ttl`, so that entries that were inserted
    /// together do not expire together, and are not all loaded anew at the same moment. By default 0.
    ///
    /// Applies to the times to live of inserts, the default and those of single entries; not to
    /// [`set_ttl`](Cache::set_ttl).
    pub fn ttl_jitter(mut self, fraction: f64) -> Self {
        self.ttl_jitter = fraction;
        self
    }

    /// How long entries stay readable by [`get_or_stale`](Cache::get_or_stale) after they have expired, unless their insert
    /// says otherwise. By default not at all, at most for half a year. They take up space for as long, and may be evicted as
    /// others may.
    pub fn stale_for(mut self, stale: Duration) -> Self {
        self.stale_for = stale;
        self
    }

    /// The clock that lifetimes go by: [`SystemClock`](crate::SystemClock) by default,
    /// [`ManualClock`](crate::ManualClock) in tests.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = ClockSource::Custom(Arc::new(clock));
        self
    }

    /// Calls `listener` with the key, the value and the cause of every entry that leaves.
    ///
    /// It is called by the thread whose operation made the entry leave, after the shard's lock is free and before the
    /// operation returns; so it may use the cache, and what it does slows that operation down. Entries of
    /// one operation come in the order in which they left; operations of several threads may overtake each other. A
    /// panic in it is caught and counted ([`Stats::listener_panics`](crate::Stats::listener_panics)).
    ///
    /// # Listeners that write
    ///
    /// A listener may write to this cache, and to others. Entries that leave through its writes have left when these return.
    /// Their listeners are not called within the listener, but after it has returned, by the operation on the outside: first
    /// with everything that left in that operation, then with at most 1,000 entries that left through listeners' writes, in
    /// the order in which they left. So the stack stays bounded, and the operation ends.
    ///
    /// What remains waits for the next write to the cache, or for [`maintain`](Cache::maintain), which tells of all of it. Each
    /// entry is told of once. [`clear`](Cache::clear), [`retain`](Cache::retain), `maintain` and loads tell in several steps: each
    /// counts as an operation. What still waits when the last handle is dropped is told then, unless a listener drops it.
    ///
    /// While entries of 256 KiB wait, or of [`max_entry_bytes`](Cache::max_entry_bytes) if that is more, a store by a listener
    /// returns [`Error::Rejected`](crate::Error::Rejected) and removes what is under its key. Each entry
    /// counts 128 bytes beside key and value. Removals by listeners are not limited.
    ///
    /// A handle of the cache that the listener owns keeps the cache, and the listener with it, for good: let it have one that
    /// can be taken away.
    ///
    /// Not told are entries that are there when the cache is dropped, and those that a shard loses when its policy panics.
    /// An entry that has expired leaves when its space is taken back: at a later write to its shard, or in
    /// [`maintain`](Cache::maintain).
    ///
    /// # Cost
    ///
    /// Keys and values are copied as they leave, to memory beyond `max_bytes` that is freed when they have been told.
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    /// use bytecache::{Cache, RemovalCause};
    ///
    /// let seen = Arc::new(Mutex::new(Vec::new()));
    /// let log = Arc::clone(&seen);
    /// let cache = Cache::builder()
    ///     .max_bytes(1 << 20)
    ///     .on_removal(move |key, value, cause| log.lock().unwrap().push((key.to_vec(), value.to_vec(), cause)))
    ///     .build()?;
    /// cache.insert("key", "old")?;
    /// cache.insert("key", "new")?;
    /// assert_eq!(*seen.lock().unwrap(), [(b"key".to_vec(), b"old".to_vec(), RemovalCause::Replaced)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_removal(mut self, listener: impl Fn(&[u8], &[u8], RemovalCause) + Send + Sync + 'static) -> Self {
        self.listener = Some(Arc::new(listener));
        self
    }

    /// Makes the cache.
    ///
    /// # Errors
    ///
    /// * [`BuildError::NoMaxBytes`] if no size was set, [`BuildError::TooSmall`] if it is too small, which
    ///   names the smallest; [`BuildError::TooManyBytes`] if it is above 64 TiB less 4 GiB;
    /// * [`BuildError::MaxEntryBytes`] if the largest entry is of no bytes or above an eighth of `max_bytes`;
    /// * [`BuildError::Shards`] if their number is not a power of two, above 4096, leaves more than 16 GiB to one, or too little
    ///   for eight of the largest entries that were asked for: it names the smallest and largest number;
    /// * [`BuildError::Alignment`] if it is none of 1, 8 and 16;
    /// * [`BuildError::ZeroLifetime`] if the time to live or to idle is zero; [`BuildError::Jitter`] if the jitter is not
    ///   a number from 0 to 1;
    /// * [`BuildError::OutOfMemory`] if the system refuses the address space.
    pub fn build(self) -> Result<Cache, BuildError> {
        self.build_for(cores())
    }

    /// Returns the [`max_bytes`](Self::max_bytes) with which a cache of this builder holds `entries`
    /// entries.
    ///
    /// Each entry has a key of `key_bytes` bytes and a value of `value_bytes` bytes. For entries of
    /// several sizes, pass the means. The result accounts for:
    ///
    /// * headers, [alignment](Self::value_alignment), and the deadlines of
    ///   [`ttl`](Self::ttl) and [`time_to_idle`](Self::time_to_idle);
    /// * the index, the policy, the timing wheel, and the fixed part of each [shard](Self::shards);
    /// * chunks that are kept free, and bytes at the ends of chunks that no entry fits.
    ///
    /// It does not account for lifetimes of single entries, loads under way, and values that callers
    /// hold. The default number of shards depends on the number of cores: set
    /// [`shards`](Self::shards) to get the same result on every machine.
    ///
    /// A full cache of this size holds `entries` entries within 3 % if its shards have 1 MiB or more,
    /// and within 4 % if the entries are larger than 4 KiB. Smaller shards may hold fewer. Keys are
    /// not divided evenly between shards: see [`docs::sizing`](crate::docs::sizing).
    ///
    /// Returns `usize::MAX` if no cache of this builder can hold so many entries of this size. The
    /// builder's own `max_bytes` is ignored.
    ///
    /// # Cost
    ///
    /// Creates a few policies of up to 49,152 ids to measure them, also
    /// [custom ones](Self::custom_policy).
    ///
    /// ```
    /// use bytecache::Cache;
    ///
    /// let builder = Cache::builder().shards(4);
    /// let max_bytes = builder.bytes_for(100_000, 24, 256);
    /// assert!((28 << 20..36 << 20).contains(&max_bytes));
    /// let cache = builder.max_bytes(max_bytes).build()?;
    ///
    /// // No cache can hold so many.
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

    /// As [`build`](Self::build), on a machine of so many cores.
    fn build_for(self, cores: usize) -> Result<Cache, BuildError> {
        let max_bytes = self.max_bytes.ok_or(BuildError::NoMaxBytes)?;
        Cache::from_config(self.config(max_bytes, cores)?)
    }

    /// Checks everything but the sizes.
    fn config(self, max_bytes: usize, cores: usize) -> Result<CacheConfig, BuildError> {
        let alignment = Alignment::new(self.alignment).ok_or(BuildError::Alignment { alignment: self.alignment })?;
        if [self.ttl, self.time_to_idle].contains(&Some(Duration::ZERO)) {
            return Err(BuildError::ZeroLifetime);
        }
        if !(0.0..=1.0).contains(&self.ttl_jitter) {
            return Err(BuildError::Jitter { fraction: self.ttl_jitter });
        }
        Ok(CacheConfig {
            sizes: Sizes { max_bytes, shards: self.shards, max_entry_bytes: self.max_entry_bytes, cores },
            alignment,
            expected_entry_bytes: self.expected_entry_bytes,
            hasher: self.hasher.unwrap_or_else(KeyHasher::random),
            factory: self.factory,
            rules: Rules::new(self.ttl, self.time_to_idle, self.stale_for, self.ttl_jitter),
            clock: self.clock,
            listener: self.listener,
        })
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
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::policy::{EntryId, Recency, Renumbering, Residents};

    const CORES: [usize; 7] = [1, 2, 3, 8, 32, 64, 256];

    /// Checks that entries of the limit can be stored and larger ones not, and returns the limit.
    fn largest_that_fits(builder: &CacheBuilder, cores: usize) -> usize {
        let said = format!("{builder:?}, {cores} cores");
        let mut limits = [(0, false), (300, false), (0, true)].map(|(key_len, has_ttl)| {
            // A new cache each time: what readers of other tests hold up does not matter to it.
            let cache = builder.clone().build_for(cores).unwrap_or_else(|error| panic!("{said}: {error}"));
            let max = cache.max_entry_bytes();
            let key = vec![7; key_len.min(max)];
            let store = |value: &[u8]| match has_ttl {
                true => cache.insert_with_ttl(&key, value, Duration::from_secs(60)),
                false => cache.insert(&key, value),
            };
            let value = vec![8; max - key.len()];
            store(&value).unwrap_or_else(|error| panic!("{said}: {error}"));
            assert!(cache.peek(&key).is_some_and(|found| found == value), "{said}: {max}, {key_len}, {has_ttl}");
            let error = store(&vec![8; value.len() + 1]).unwrap_err();
            assert_eq!(error, Error::TooLarge { bytes: max + 1, max }, "{said}");
            max
        });
        limits.sort_unstable();
        assert_eq!(limits[0], limits[2]);
        limits[0]
    }

    fn builder(max_bytes: usize, policy: Policy, alignment: usize, hint: Option<usize>) -> CacheBuilder {
        let builder = CacheBuilder::default().max_bytes(max_bytes).policy(policy).value_alignment(alignment);
        match hint {
            Some(bytes) => builder.expected_entry_bytes(bytes),
            None => builder,
        }
    }

    #[test]
    fn the_same_entries_fit_on_any_number_of_cores() {
        for max_bytes in [64 << 10, 65_537, 99_999, 1 << 20, (4 << 20) - 1, 4 << 20, 5 << 20, 8 << 20, (33 << 20) + 7] {
            for (number, &policy) in Policy::ALL.iter().enumerate() {
                for hint in [None, Some(0), Some(1), Some(100), Some(usize::MAX)] {
                    for alignment in [1, 8, 16] {
                        let cores = CORES[(number + alignment) % CORES.len()];
                        let max = largest_that_fits(&builder(max_bytes, policy, alignment, hint), cores);
                        assert_eq!(max, (max_bytes / 8).min(512 << 10), "{max_bytes} bytes");
                    }
                }
            }
        }
    }

    #[test]
    fn large_caches_take_the_same_entries_on_any_number_of_cores() {
        for max_bytes in [100 << 20, (1 << 30) + 12_345] {
            for cores in CORES {
                for max_entry_bytes in [None, Some(1), Some(100_000), Some(3 << 20), Some(100 << 17)] {
                    let mut builder = builder(max_bytes, Policy::default(), 16, None);
                    builder.max_entry_bytes = max_entry_bytes;
                    let max = largest_that_fits(&builder, cores);
                    assert_eq!(max, max_entry_bytes.unwrap_or(512 << 10), "{cores} cores");
                }
            }
        }
    }

    /// LRU that says that it takes more memory than it does.
    struct Heavy {
        lru: Box<dyn EvictionPolicy>,
        ids: usize,
        bytes: usize,
        bytes_for_each_id: usize,
    }

    impl EvictionPolicy for Heavy {
        fn recency(&self) -> Recency {
            self.lru.recency()
        }
        fn insert(&mut self, id: EntryId, hash: u64, charge: u32) {
            self.lru.insert(id, hash, charge);
        }
        fn touch(&mut self, id: EntryId) {
            self.lru.touch(id);
        }
        fn update(&mut self, id: EntryId, old_charge: u32, charge: u32) {
            self.lru.update(id, old_charge, charge);
        }
        fn remove(&mut self, id: EntryId, charge: u32) {
            self.lru.remove(id, charge);
        }
        fn evict(&mut self, residents: &mut Residents<'_>) -> Option<EntryId> {
            self.lru.evict(residents)
        }
        fn set_capacity(&mut self, charge: u64) {
            self.lru.set_capacity(charge);
        }
        fn renumber(&mut self, moved: &Renumbering) {
            self.ids = moved.ids();
            self.lru.renumber(moved);
        }
        fn bytes(&self) -> usize {
            (self.lru.bytes() + self.ids * self.bytes_for_each_id).saturating_add(self.bytes)
        }
    }

    fn with_heavy_policy(max_bytes: usize, bytes: usize, bytes_for_each_id: usize) -> CacheBuilder {
        CacheBuilder::default().max_bytes(max_bytes).custom_policy(move |context| {
            Box::new(Heavy { lru: Policy::Lru.build(&context), ids: context.ids(), bytes, bytes_for_each_id })
        })
    }

    #[test]
    fn a_policy_leaves_room_for_the_largest_entry_or_is_refused() {
        for bytes in (0..5 << 20).step_by(100_000) {
            let builder = with_heavy_policy(5 << 20, bytes, 0);
            match builder.clone().build() {
                Ok(_) => assert_eq!(largest_that_fits(&builder, 1), 512 << 10, "{bytes} bytes"),
                Err(error) => {
                    assert!(bytes > 3 << 20 && matches!(error, BuildError::TooSmall { .. }), "{error}")
                }
            }
        }
    }

    #[test]
    fn an_index_that_grows_leaves_room_for_the_largest_entry() {
        for bytes_for_each_id in [0, 30, 100, 300] {
            let cache = with_heavy_policy(1 << 20, 0, bytes_for_each_id).build().unwrap();
            let most = (0..50_000_u32).map(|key| {
                // Rejected while readers of other tests hold up what is to be used again.
                let _ = cache.insert(key.to_le_bytes(), []);
                cache.len()
            });
            assert!(most.max() > Some(400_000 / (50 + bytes_for_each_id)), "{bytes_for_each_id}: it does not grow");
            let value = vec![7; 128 << 10];
            let placed = (0..1_000).any(|_| cache.insert("", &value).is_ok());
            assert!(placed && cache.contains_key(""), "{bytes_for_each_id}: {:?}", cache.memory());
            cache.validate();
        }
    }

    #[test]
    fn a_policy_that_needs_much_has_fewer_shards_and_one_that_needs_too_much_is_the_same_error_on_any_number_of_cores()
    {
        for cores in CORES {
            assert_eq!(largest_that_fits(&with_heavy_policy(64 << 20, 20 << 20, 0), cores), 512 << 10);
            for (bytes, least) in [(70 << 20, 70 << 20), (usize::MAX, 1 << 46)] {
                let error = with_heavy_policy(64 << 20, bytes, 0).build_for(cores).unwrap_err();
                let BuildError::TooSmall { min_bytes, .. } = error else { panic!("{error}") };
                assert!(min_bytes > least && (bytes == usize::MAX || min_bytes < least + (1 << 22)), "{error}");
            }
        }
    }
}
