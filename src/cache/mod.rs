//! [`Cache`]: the public operations, each routed to its shard.

mod all;
mod build;
mod lifetimes;
mod loads;
mod sizes;

use core::fmt;
use std::sync::Arc;

pub(crate) use build::CacheConfig;
pub use lifetimes::MaybeStale;
pub(crate) use loads::LookUp;
pub(crate) use sizes::Sizes;

use crate::builder::CacheBuilder;
use crate::error::{BuildError, Error};
use crate::expiry::Lifetime;
use crate::hash::{KeyHash, KeyHasher};
use crate::reclaim::{BATCH, Batch, Slot};
use crate::removal::Teller;
use crate::ring::{OwnedValue, Value};
use crate::shard::{Access, Condition, FoundEntry, Guess, Shard, Stored, Visit};
use crate::stats::{Count, LoadCounts, Memory, ReadCounts, Stats};

/// The longest key, in bytes.
pub(crate) const MAX_KEY_BYTES: usize = u16::MAX as usize;

/// A cache from bytes to bytes.
///
/// Entries lie in preallocated rings; `max_bytes` covers everything that the cache allocates. Reads take no
/// lock. A `Cache` is a handle: clones share the entries, and the memory goes with the last of them (and the
/// last [`Value`] out of it).
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
}

struct Inner {
    hasher: KeyHasher,
    shard_bits: u32,
    shards: Box<[Shard]>,
    counts: ReadCounts,
    loads: Arc<LoadCounts>,
    max_bytes: usize,
    max_entry_bytes: usize,
    /// What is allocated beside the shards.
    overhead: usize,
    listener: Option<Arc<Teller>>,
}

/// Whether a read that finds nothing is a miss already, or will look again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Misses {
    Counted,
    Ignored,
}

/// A key's hash, and the shard that it leads to.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) shard: &'a Shard,
    pub(crate) hash: KeyHash,
    /// Which of the shards it is.
    pub(crate) number: usize,
}

impl Cache {
    /// A cache of at most `max_bytes`, with defaults for everything else.
    ///
    /// # Errors
    ///
    /// [`BuildError::TooSmall`] below the smallest size, which is at most 64 KiB; [`BuildError::OutOfMemory`]
    /// if the system refuses the address space.
    pub fn new(max_bytes: usize) -> Result<Self, BuildError> {
        Self::builder().max_bytes(max_bytes).build()
    }

    /// Options for a cache.
    pub fn builder() -> CacheBuilder {
        CacheBuilder::default()
    }

    /// The value under `key`, without a copy: it holds its chunk until it is dropped.
    ///
    /// Counts as a read for the policy and the statistics.
    ///
    /// # Cost
    ///
    /// One hash, a fence, one cache line of the index and those of the entry; two atomic additions for
    /// the value. No lock, and no allocation unless a quarter of the shard's chunks is held by values
    /// already: then the value is a copy.
    #[inline]
    #[must_use]
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<Value> {
        self.read_value(&self.target(key.as_ref()), key.as_ref(), Misses::Counted)
    }

    /// Calls `read` with the value under `key`, in place. Returns what it returns, or `None` if there is no entry.
    ///
    /// While `read` runs it holds the chunk in which the entry lies, and nothing else: other threads go on, and may replace or
    /// remove the entry. The cache may be used inside `read`, also to store and to remove.
    ///
    /// # Cost
    ///
    /// As [`get`](Self::get), without the atomic additions, and never an allocation.
    #[inline]
    pub fn view<R>(&self, key: impl AsRef<[u8]>, read: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let key = key.as_ref();
        let target = self.target(key);
        target.shard.prefetch_bucket(target.hash);
        self.read(&target, key, |value| value.map(read))
    }

    /// Copies the value under `key` to `value`, which is emptied first; whether there was one. On a miss
    /// `value` is left as it was.
    ///
    /// # Cost
    ///
    /// As [`view`](Self::view), and a copy; an allocation only if `value` is too small.
    #[inline]
    #[must_use]
    pub fn get_into(&self, key: impl AsRef<[u8]>, value: &mut Vec<u8>) -> bool {
        let copied = self.view(key, |bytes| {
            value.clear();
            value.extend_from_slice(bytes);
        });
        copied.is_some()
    }

    /// Reads many keys, calling `each` with every index and the value under that key, in order.
    ///
    /// The keys' cache lines are fetched together, sixteen at a time, which is more than twice as fast as one
    /// read after the other when they are not in the processor's caches. While `each` runs, the chunks of the
    /// keys that are still to come of the sixteen are held, as in [`view`](Self::view). Each value was the
    /// present one at some moment of the call.
    ///
    /// ```
    /// # let cache = bytecache::Cache::new(1 << 20)?;
    /// cache.insert("a", "1")?;
    /// let mut found = vec![];
    /// cache.get_many(&["a", "b"], |index, value| found.push((index, value.map(<[u8]>::to_vec))));
    /// assert_eq!(found, [(0, Some(b"1".to_vec())), (1, None)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get_many<K: AsRef<[u8]>>(&self, keys: &[K], mut each: impl FnMut(usize, Option<&[u8]>)) {
        for (number, keys) in keys.chunks(BATCH).enumerate() {
            let none = Target { shard: &self.inner.shards[0], hash: KeyHash::new(0), number: 0 };
            let targets: [(Target<'_>, &[u8]); BATCH] = core::array::from_fn(|place| {
                let Some(key) = keys.get(place).map(K::as_ref) else { return (none, &[][..]) };
                let target = self.target(key);
                target.shard.prefetch_bucket(target.hash);
                (target, key)
            });
            let targets = &targets[..keys.len()];
            let mut each = |place, value: Option<&[u8]>| each(number * BATCH + place, value);
            match Batch::take() {
                Some(batch) => self.read_batch(targets, batch, each),
                // In a closure of another call like this.
                None => (0..).zip(targets).for_each(|(place, (target, key))| {
                    self.read(target, key, |value| each(place, value));
                }),
            }
        }
    }

    /// Reads the keys of a batch, each held from the moment that its entry was guessed until `each` has returned.
    #[inline(always)]
    fn read_batch(
        &self,
        targets: &[(Target<'_>, &[u8])],
        mut batch: Batch,
        mut each: impl FnMut(usize, Option<&[u8]>),
    ) {
        let guesses: [Guess<'_>; BATCH] = core::array::from_fn(|place| {
            targets.get(place).map_or(Guess::NONE, |(target, _)| target.shard.guess(target.hash, &mut batch, place))
        });
        let mut holds = batch.hold();
        for (place, ((target, key), guess)) in targets.iter().zip(&guesses).enumerate() {
            match target.shard.find_guessed(*guess, key, &holds, place) {
                Some(found) => {
                    self.note_read(target, Some(&found), holds.stripe());
                    each(place, Some(found.value));
                }
                None => self.read(target, key, |value| each(place, value)),
            }
            holds.clear_next();
        }
    }

    /// The value under `key`, as [`get`](Self::get), but neither the policy nor the statistics learn of it.
    #[must_use]
    pub fn peek(&self, key: impl AsRef<[u8]>) -> Option<Value> {
        let key = key.as_ref();
        let target = self.target(key);
        let mut slot = Slot::take();
        let found = target.shard.find_served(target.hash, key, Access::Peek, &mut slot)?;
        let (OwnedValue::Pinned(value) | OwnedValue::Copied(value)) = target.shard.hold(&found);
        Some(value)
    }

    /// Whether there is an entry under `key`. Neither the policy nor the statistics learn of it.
    #[must_use]
    pub fn contains_key(&self, key: impl AsRef<[u8]>) -> bool {
        let key = key.as_ref();
        let target = self.target(key);
        target.shard.find_served(target.hash, key, Access::Peek, &mut Slot::take()).is_some()
    }

    /// Stores `value` under `key`, in place of the entry that is there.
    ///
    /// Every read that begins after this returns finds the entry, until it is replaced, removed or evicted,
    /// which may happen at any time; readers of the former value keep it. A policy may evict the new entry at
    /// once.
    ///
    /// # Errors
    ///
    /// * [`Error::KeyTooLong`] if the key has more than 65,535 bytes;
    /// * [`Error::TooLarge`] if key and value together exceed [`max_entry_bytes`](Self::max_entry_bytes);
    /// * [`Error::Rejected`] if readers or values hold the space that it needs: see the
    ///   [limits](crate::docs::limitations).
    ///
    /// A write that fails removes what is older: the entry under `key`, also one that is kept beyond its deadline. The
    /// result of a load that is under way is not stored. So reads miss the key, and never return the older value.
    ///
    /// # Cost
    ///
    /// One hash, one shard's lock, one copy of key and value; evictions and a bounded amount of cleaning as
    /// needed. Allocates nothing in the steady state; the shard's index is rebuilt while its entries become
    /// more.
    pub fn insert(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<(), Error> {
        self.store(key.as_ref(), value.as_ref(), Condition::Always, &Lifetime::new()).map(|_| ())
    }

    /// Stores `value` under `key` if there is no entry. Returns `true` if it did.
    ///
    /// A call that returns `false` is no access: it counts neither as a hit nor as a visit, and the
    /// entry is evicted as if nobody had asked for it. Where a declined call means that the entry is
    /// in use, read it as well.
    ///
    /// # Errors
    ///
    /// As [`insert`](Self::insert), but an entry that is there stays. Then only a key or a value that is too large is an error,
    /// and `Ok(false)` needs no space.
    pub fn insert_if_absent(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<bool, Error> {
        self.insert_if_absent_with_lifetime(key, value, Lifetime::new())
    }

    /// Stores `value` under `key` if there is an entry already. Returns `true` if it did. If not, what was kept of the key
    /// beyond its deadline is removed: it is older than `value`.
    ///
    /// # Errors
    ///
    /// As [`insert`](Self::insert): the entry is removed. Without an entry only a key or a value that is too large is an error.
    pub fn replace(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<bool, Error> {
        self.replace_with_lifetime(key, value, Lifetime::new())
    }

    /// Removes the entry under `key`; whether there was one.
    #[doc(alias = "invalidate")]
    pub fn remove(&self, key: impl AsRef<[u8]>) -> bool {
        let key = key.as_ref();
        let target = self.target(key);
        target.shard.prefetch_bucket(target.hash);
        target.shard.write(|writer| writer.remove(target.hash, key))
    }

    /// Removes the entry under `key` and returns its value.
    pub fn take(&self, key: impl AsRef<[u8]>) -> Option<Value> {
        let key = key.as_ref();
        let target = self.target(key);
        let held = target.shard.write(|writer| writer.take(target.hash, key))?;
        Some(self.held(held, Slot::take().stripe()))
    }

    /// Entries at this moment.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.shards.iter().map(Shard::len).sum()
    }

    /// Whether there is no entry at this moment.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inner.shards.iter().all(|shard| shard.len() == 0)
    }

    /// The limit on everything that the cache allocates, in bytes.
    #[must_use]
    pub fn max_bytes(&self) -> usize {
        self.inner.max_bytes
    }

    /// The largest entry that can be stored: the most that key and value may have together, in bytes. See
    /// [`CacheBuilder::max_entry_bytes`].
    #[must_use]
    pub fn max_entry_bytes(&self) -> usize {
        self.inner.max_entry_bytes
    }

    /// The number of shards.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.inner.shards.len()
    }

    /// What the cache has counted since it was built.
    ///
    /// # Cost
    ///
    /// Each shard's lock is held for a moment, one after the other.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let counts = &self.inner.counts;
        let mut stats = Stats {
            hits: counts.sum(Count::Hits),
            misses: counts.sum(Count::Misses),
            rejected_key_too_long: counts.sum(Count::KeyTooLong),
            rejected_too_large: counts.sum(Count::TooLarge),
            dropped_touches: counts.sum(Count::DroppedTouches),
            copied_values: counts.sum(Count::CopiedValues),
            stale_hits: counts.sum(Count::StaleHits),
            negative_hits: counts.sum(Count::NegativeHits),
            listener_panics: self.inner.listener.as_ref().map_or(0, |teller| teller.panics()),
            ..Stats::default()
        };
        self.inner.loads.add_to(&mut stats);
        let targets: f64 = self.inner.shards.iter().map(|shard| shard.add_stats(&mut stats)).sum();
        stats.live_target = targets / self.shards() as f64;
        stats
    }

    /// Where the cache's memory is.
    ///
    /// # Cost
    ///
    /// As [`stats`](Self::stats).
    #[must_use]
    pub fn memory(&self) -> Memory {
        let mut memory = Memory::default();
        for shard in &self.inner.shards {
            memory.add(&shard.memory());
        }
        memory.max = self.inner.max_bytes;
        memory.allocated += self.inner.overhead;
        memory.overhead += self.inner.overhead;
        memory
    }

    /// Does deferred work, a bounded amount for each shard: takes freed chunks back, cleans ahead, tells
    /// ordered policies of reads. Tells the [removal listener](crate::CacheBuilder::on_removal) of what waits for that.
    ///
    /// Never necessary, unless a listener writes to caches that nothing else writes to. A service that is idle at times can move work from its next inserts here.
    pub fn maintain(&self) {
        for shard in &self.inner.shards {
            shard.write(|writer| writer.maintain());
        }
    }

    /// Recounts all state and panics if it is inconsistent. Slow; for [tests](crate::testing).
    pub(crate) fn validate(&self) {
        for shard in &self.inner.shards {
            shard.validate();
        }
    }

    #[inline(always)]
    pub(crate) fn target(&self, key: &[u8]) -> Target<'_> {
        let hash = self.inner.hasher.hash(key);
        let number = hash.shard(self.inner.shard_bits);
        Target { shard: &self.inner.shards[number], hash: hash.within_shard(self.inner.shard_bits), number }
    }

    /// The shard with a target's number.
    pub(crate) fn shard(&self, number: usize) -> &Shard {
        &self.inner.shards[number]
    }

    /// Finds the entry under `key`, tells of the read, and runs `with` on its value in place.
    #[inline(always)]
    fn read<R>(&self, target: &Target<'_>, key: &[u8], with: impl FnOnce(Option<&[u8]>) -> R) -> R {
        let mut slot = Slot::take();
        let stripe = slot.stripe();
        let found = target.shard.find_served(target.hash, key, Access::Read, &mut slot);
        self.note_read(target, found.as_ref(), stripe);
        with(found.map(|found| found.value))
    }

    /// The value under `key`. Written out, rather than by [`read`](Self::read), as that costs a `Value` 10 ns on its way.
    #[inline(always)]
    pub(crate) fn read_value(&self, target: &Target<'_>, key: &[u8], misses: Misses) -> Option<Value> {
        target.shard.prefetch_bucket(target.hash);
        let mut slot = Slot::take();
        let stripe = slot.stripe();
        let Some(found) = target.shard.find_served(target.hash, key, Access::Read, &mut slot) else {
            if misses == Misses::Counted {
                self.note_read(target, None, stripe);
            }
            return None;
        };
        self.note_read(target, Some(&found), stripe);
        Some(self.held(target.shard.hold(&found), stripe))
    }

    /// Counts a read and tells the policy of a hit.
    #[inline(always)]
    fn note_read(&self, target: &Target<'_>, found: Option<&FoundEntry<'_>>, stripe: u32) {
        let counts = &self.inner.counts;
        let Some(found) = found else {
            counts.add(stripe, Count::Misses, 1);
            target.shard.note_miss(target.hash);
            return;
        };
        counts.add(stripe, Count::Hits, 1);
        self.note_visit(target, found, stripe);
    }

    /// Tells the policy of a visit.
    #[inline(always)]
    fn note_visit(&self, target: &Target<'_>, found: &FoundEntry<'_>, stripe: u32) {
        if target.shard.visit(found, stripe) == Visit::Dropped {
            self.inner.counts.add(stripe, Count::DroppedTouches, 1);
        }
    }

    #[inline(always)]
    fn held(&self, held: OwnedValue, stripe: u32) -> Value {
        match held {
            OwnedValue::Pinned(value) => value,
            OwnedValue::Copied(value) => {
                self.inner.counts.add(stripe, Count::CopiedValues, 1);
                value
            }
        }
    }

    /// Whether there can be an entry under `key`.
    pub(crate) fn is_storable(&self, key: &[u8]) -> bool {
        key.len() <= MAX_KEY_BYTES.min(self.inner.max_entry_bytes)
    }

    /// Whether an entry of this size can be stored. Counts those that cannot.
    pub(crate) fn check_size(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        if key.len() > MAX_KEY_BYTES {
            self.inner.counts.add_shared(Count::KeyTooLong, 1);
            return Err(Error::KeyTooLong { bytes: key.len(), max: MAX_KEY_BYTES });
        }
        let bytes = key.len().saturating_add(value.len());
        if bytes > self.inner.max_entry_bytes {
            self.inner.counts.add_shared(Count::TooLarge, 1);
            return Err(Error::TooLarge { bytes, max: self.inner.max_entry_bytes });
        }
        Ok(())
    }

    fn store(&self, key: &[u8], value: &[u8], condition: Condition, lifetime: &Lifetime) -> Result<Stored, Error> {
        self.check_size(key, value).inspect_err(|_| self.refuse(key, condition))?;
        let target = self.target(key);
        target.shard.prefetch_to_write(target.hash);
        let stored = target.shard.write(|writer| writer.store(target.hash, key, value, condition, lifetime));
        stored.map_err(|_| Error::Rejected)
    }

    /// Removes what is older than a value that is too large.
    #[cold]
    fn refuse(&self, key: &[u8], condition: Condition) {
        // A key that cannot be stored has neither an entry nor a flight.
        if self.is_storable(key) {
            let target = self.target(key);
            target.shard.write(|writer| writer.refuse(target.hash, key, condition));
        }
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("max_bytes", &self.inner.max_bytes)
            .field("shards", &self.inner.shards.len())
            .field("hasher", &self.inner.hasher)
            .finish_non_exhaustive()
    }
}
