//! [`CacheBuilder`]: every option, and the checks on it.

use core::hash::BuildHasher;
use core::time::Duration;
use std::sync::Arc;
use std::thread;

use crate::cache::{Cache, CacheConfig};
use crate::clock::{Clock, ClockSource};
use crate::error::{Error, ErrorKind};
use crate::expiry::Rules;
use crate::hash::KeyHasher;
use crate::policy::{EvictionPolicy, Policy, PolicyContext, PolicyFactory};
use crate::removal::{Listener, RemovalCause};
use crate::ring::Alignment;
use crate::shard::MAX_SHARD_BYTES;

/// The most shards that a cache can have.
const MAX_SHARDS: usize = 1 << 12;
/// By default no shard is smaller than this, so that the largest entry is at least an eighth of it.
const MIN_DEFAULT_SHARD_BYTES: usize = 4 << 20;
/// Shards for each core, by default: with so many, writers seldom meet.
const SHARDS_PER_CORE: usize = 4;

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
/// # Ok::<(), bytecache::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct CacheBuilder {
    max_bytes: Option<usize>,
    shards: Option<usize>,
    factory: PolicyFactory,
    expected_entry_bytes: Option<usize>,
    alignment: usize,
    hasher: Option<KeyHasher>,
    time_to_live: Option<Duration>,
    time_to_idle: Option<Duration>,
    ttl_jitter: f64,
    stale_for: Duration,
    clock: ClockSource,
    listener: Option<Listener>,
}

impl CacheBuilder {
    pub(crate) fn new() -> Self {
        let builder = Self {
            max_bytes: None,
            shards: None,
            factory: Arc::new(|context| Policy::default().build(&context)),
            expected_entry_bytes: None,
            alignment: 1,
            hasher: None,
            time_to_live: None,
            time_to_idle: None,
            ttl_jitter: 0.0,
            stale_for: Duration::ZERO,
            clock: ClockSource::System,
            listener: None,
        };
        builder.policy(Policy::default())
    }

    /// The limit on everything that the cache allocates, in bytes: entries, index, policy, counters.
    ///
    /// Works from 64 KiB up. Memory is taken as entries come in, so an empty cache is small.
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// How many parts the cache is divided into, each with its own write lock: a power of two.
    ///
    /// More shards let more writers work at once; but each has its own share of the memory, an entry is at
    /// most an eighth of it, and small shares are evicted from less evenly. With one shard and one thread the
    /// cache behaves exactly as its policy. By default four for each core, but none smaller than 4 MiB.
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
    pub fn time_to_live(mut self, ttl: Duration) -> Self {
        self.time_to_live = Some(ttl);
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

    /// How long entries stay readable by [`get_stale`](Cache::get_stale) after they have expired, unless their insert
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
    /// A handle of the cache that the listener owns keeps the cache, and the listener with it, for good: let it have one that
    /// can be taken away.
    ///
    /// Not told are entries that are there when the cache is dropped, and those that a shard loses when its policy panics.
    /// An entry that has expired leaves when its space is taken back: at a later write to its shard, or in
    /// [`maintain`](Cache::maintain).
    ///
    /// # Cost
    ///
    /// Keys and values are copied as they leave, to memory beyond `max_bytes` that is freed when the operation ends.
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
    /// # Ok::<(), bytecache::Error>(())
    /// ```
    pub fn on_removal(mut self, listener: impl Fn(&[u8], &[u8], RemovalCause) + Send + Sync + 'static) -> Self {
        self.listener = Some(Arc::new(listener));
        self
    }

    /// Makes the cache.
    ///
    /// # Errors
    ///
    /// * [`ErrorKind::NoMaxBytes`] if no size was set, [`ErrorKind::TooSmall`] if it is too small, which
    ///   names the smallest;
    /// * [`ErrorKind::Shards`] if their number is not a power of two, above 4096, or leaves more than 16 GiB
    ///   to one (so the largest cache has 64 TiB);
    /// * [`ErrorKind::Alignment`] if it is none of 1, 8 and 16;
    /// * [`ErrorKind::ZeroLifetime`] if the time to live or to idle is zero; [`ErrorKind::Jitter`] if the jitter is not
    ///   a number from 0 to 1;
    /// * [`ErrorKind::OutOfMemory`] if the system refuses the address space.
    pub fn build(self) -> Result<Cache, Error> {
        let max_bytes = self.max_bytes.ok_or(ErrorKind::NoMaxBytes)?;
        let alignment = Alignment::new(self.alignment).ok_or(ErrorKind::Alignment { alignment: self.alignment })?;
        if [self.time_to_live, self.time_to_idle].contains(&Some(Duration::ZERO)) {
            return Err(ErrorKind::ZeroLifetime.into());
        }
        if !(0.0..=1.0).contains(&self.ttl_jitter) {
            return Err(ErrorKind::Jitter { fraction: self.ttl_jitter.to_string() }.into());
        }
        let shards = match self.shards {
            Some(shards) => checked_shards(shards, max_bytes)?,
            None => checked_shards(default_shards(max_bytes), max_bytes)?,
        };
        Cache::from_config(CacheConfig {
            max_bytes,
            shards,
            alignment,
            expected_entry_bytes: self.expected_entry_bytes,
            hasher: self.hasher.unwrap_or_else(KeyHasher::random),
            factory: self.factory,
            rules: Rules::new(self.time_to_live, self.time_to_idle, self.stale_for, self.ttl_jitter),
            clock: self.clock,
            listener: self.listener,
        })
    }
}

impl core::fmt::Debug for CacheBuilder {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("CacheBuilder")
            .field("max_bytes", &self.max_bytes)
            .field("shards", &self.shards)
            .field("expected_entry_bytes", &self.expected_entry_bytes)
            .field("value_alignment", &self.alignment)
            .field("hasher", &self.hasher)
            .field("time_to_live", &self.time_to_live)
            .field("time_to_idle", &self.time_to_idle)
            .field("ttl_jitter", &self.ttl_jitter)
            .field("stale_for", &self.stale_for)
            .finish_non_exhaustive()
    }
}

/// The fewest shards whose arenas can be addressed.
fn min_shards(max_bytes: usize) -> usize {
    let shards = (max_bytes as u64).div_ceil(MAX_SHARD_BYTES).max(1);
    usize::try_from(shards).unwrap_or(usize::MAX).checked_next_power_of_two().unwrap_or(usize::MAX)
}

fn checked_shards(shards: usize, max_bytes: usize) -> Result<usize, ErrorKind> {
    let min = min_shards(max_bytes);
    if shards.is_power_of_two() && (min..=MAX_SHARDS).contains(&shards) {
        Ok(shards)
    } else {
        Err(ErrorKind::Shards { shards, min, max: MAX_SHARDS })
    }
}

fn default_shards(max_bytes: usize) -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let wanted = (cores * SHARDS_PER_CORE).next_power_of_two();
    let most = (max_bytes / MIN_DEFAULT_SHARD_BYTES).max(1);
    let affordable = 1 << most.ilog2();
    wanted.min(affordable).max(min_shards(max_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_number_of_shards_fits_the_size() {
        assert_eq!(default_shards(64 << 10), 1);
        assert_eq!(default_shards(9 << 20), 2);
        assert!(default_shards(1 << 40) >= 64);
    }
}
