//! The answers of the advisor, and the reads whose keys it counts.

use super::Cache;
use crate::advisor::{Advice, Ages, HotKey, Sampler, end_batch, note_turn};
use crate::hash::KeyHash;
use crate::reclaim::Live;
use crate::shard::Shard;

/// # Advice
impl Cache {
    /// Returns what the cache would hit with another policy or another size, or `None` if it has no
    /// [advisor](crate::CacheBuilder::advisor) or no read yet.
    ///
    /// It is also `None` in a cache of less than some hundred KiB, whose advisor has too little
    /// memory, and after a custom policy of the advisor has panicked or has kept too much memory.
    ///
    /// # Cost
    ///
    /// Locks the advisor, and reads the counters of the cache. Reads and writes of the cache do not
    /// wait for it. Meanwhile they may drop a few events.
    ///
    /// ```
    /// use bytecache::{Advisor, Cache, Policy};
    ///
    /// let builder = Cache::builder().max_bytes(8 << 20).policy(Policy::Lru);
    /// let cache = builder.advisor(Advisor::new().share(1.0)).build()?;
    /// // A loop over more entries than the cache has room for: LRU evicts each before its next read.
    /// for step in 0..100_000_u32 {
    ///     let key = (step % 20_000).to_le_bytes();
    ///     if cache.get(key).is_none() {
    ///         cache.insert(key, [0; 500])?;
    ///     }
    /// }
    /// let advice = cache.advice().ok_or("there were reads")?;
    /// assert!(advice.better_policy().is_some());
    /// println!("{advice}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn advice(&self) -> Option<Advice> {
        self.inner.shards.iter().for_each(Shard::drain_samples);
        self.inner.sampler.as_ref()?.advice(self.max_bytes())
    }

    /// Returns the `n` keys with the most reads, the most read first. Returns none if the cache has
    /// no [advisor](crate::CacheBuilder::advisor), or if that has stopped.
    ///
    /// Hits and misses count. The keys of some reads are counted. By default it is one read in 32,
    /// and more while the window has fewer than 212,992 reads: see
    /// [`Advisor::share`](crate::Advisor::share). Keys whose error is as large as their number of
    /// reads are left out. Keys of namespaces are included, with the name of the namespace.
    ///
    /// [`docs::advisor`](crate::docs::advisor#hot-keys) says what to do about a hot key.
    ///
    /// # Cost
    ///
    /// Locks the counters of keys and sorts them: there are some thousands at most. Reads do not
    /// wait for it. Meanwhile they may count a few keys less.
    ///
    /// ```
    /// use bytecache::{Advisor, Cache};
    ///
    /// let advisor = Advisor::new().share(1.0); // All reads count.
    /// let cache = Cache::builder().max_bytes(16 << 20).advisor(advisor).build()?;
    /// cache.insert("front page", "<html>")?;
    /// for page in 0..10_000_u32 {
    ///     assert!(cache.get("front page").is_some());
    ///     assert!(cache.get(page.to_le_bytes()).is_none());
    /// }
    /// let hottest = cache.hot_keys(10).into_iter().next().ok_or("there were reads")?;
    /// assert_eq!(hottest.key, b"front page");
    /// assert!((hottest.share - 0.5).abs() < 0.01);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn hot_keys(&self, n: usize) -> Vec<HotKey> {
        self.sampler().map_or_else(Vec::new, |sampler| sampler.hot_keys(n))
    }

    /// Returns two histograms of [sampled](crate::Advisor::share) keys, counted since the cache was
    /// built: the age of entries at their eviction, and their idle time at a hit.
    ///
    /// They tell whether the cache turns over in seconds or in hours. They are empty if the cache
    /// has no [advisor](crate::CacheBuilder::advisor), or if that has stopped. An eviction counts
    /// if the store of the entry was seen, and if an advised size still holds the key.
    ///
    /// # Cost
    ///
    /// Like [`advice`](Self::advice).
    ///
    /// ```
    /// use bytecache::{Advisor, Cache};
    ///
    /// let advisor = Advisor::new().share(1.0);
    /// let cache = Cache::builder().max_bytes(8 << 20).advisor(advisor).build()?;
    /// for key in 0..50_000_u32 {
    ///     cache.insert(key.to_le_bytes(), [0; 300])?;
    /// }
    /// let median = cache.ages().at_eviction.quantile(0.5).ok_or("there were evictions")?;
    /// println!("half of the entries are evicted within {median:?}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn ages(&self) -> Ages {
        self.inner.shards.iter().for_each(Shard::drain_samples);
        self.sampler().map_or_else(Ages::default, Sampler::ages)
    }

    /// Notes the turn of a read. The hash, the number of the shard and the entry that was found are
    /// values, as a reference would force them into memory in every read.
    #[cold]
    #[inline(never)]
    pub(super) fn count_turn(&self, hash: KeyHash, shard: usize, stored_key: &[u8], found: Option<Live<'_>>) {
        let Some(sampler) = self.sampler() else { return };
        if !note_turn(sampler.number(), hash_of_turn(hash, shard)) {
            self.count_batch(hash, shard, stored_key, found);
        }
    }

    /// Counts the keys of a batch if this turn ends it. Not inlined, as most turns only note their
    /// key. It has the arguments of [`count_turn`](Self::count_turn), so the call is a jump, and
    /// turns that only note their key save no registers.
    #[inline(never)]
    fn count_batch(&self, hash: KeyHash, shard: usize, stored_key: &[u8], found: Option<Live<'_>>) {
        let Some(sampler) = self.sampler() else { return };
        end_batch(sampler.number(), hash_of_turn(hash, shard), sampler.pace(), |batch| {
            let charge = found.map(|live| self.shard(shard).charge_of(live));
            sampler.count_batch(batch, stored_key, charge);
        });
    }

    /// Returns the counters of the advisor, or `None` if there is none.
    #[cfg(any(feature = "metrics", feature = "prometheus"))]
    pub(crate) fn advisor_counts(&self) -> Option<crate::advisor::AdvisorCounts> {
        self.sampler().map(Sampler::counts)
    }

    fn sampler(&self) -> Option<&Sampler> {
        self.inner.sampler.as_deref()
    }
}

/// Returns the hash by which a key is counted. The one in the shard lacks the bits that chose that.
fn hash_of_turn(hash: KeyHash, shard: usize) -> u64 {
    hash.get() ^ shard as u64
}
