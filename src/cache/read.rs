//! Reads of a [`Cache`]: by key, by many keys, and without a trace.
//!
//! A read takes no lock. It finds the entry, and publishes a hold in a slot of its thread, so that
//! the chunk of the entry is not reused. Then it reports the visit to the policy.

use super::{Cache, Target};
use crate::advisor::count_read;
use crate::hash::KeyHash;
use crate::namespace::{StoredKey, is_marked};
use crate::reclaim::{BATCH, Batch, Slot};
use crate::ring::{OwnedValue, Value};
use crate::shard::{Access, FoundEntry, Guess, Visit};
use crate::stats::{Count, ReadCounts};

/// The choice whether a read that finds nothing counts as a miss.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Misses {
    Counted,
    /// The caller looks again, and counts then.
    Ignored,
}

/// # Reading
impl Cache {
    /// Returns the value under `key` without a copy, or `None` if there is no entry.
    ///
    /// The [`Value`] holds the chunk of its entry until it is dropped. This counts as a read for
    /// the policy and for the statistics.
    ///
    /// # Cost
    ///
    /// One hash, one fence, one cache line of the index, the cache lines of the entry, and two
    /// atomic additions for the value. No lock. The value is a copy, which needs an allocation,
    /// only if values already hold a quarter of the shard's memory.
    ///
    /// ```
    /// use bytecache::Cache;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// cache.insert("user:1", "Ada")?;
    /// let value = cache.get("user:1");
    /// assert_eq!(value.as_deref(), Some(&b"Ada"[..]));
    /// assert!(cache.get("user:2").is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    #[must_use]
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<Value> {
        let key = key.as_ref();
        if is_marked(key) {
            return self.get_converted(key);
        }
        self.get_stored(key, &self.inner.counts)
    }

    /// Calls `read` with the value under `key`, in place, and returns its result.
    ///
    /// Returns `None`, without a call of `read`, if there is no entry. This counts as a read for
    /// the policy and for the statistics.
    ///
    /// While `read` runs, it holds the chunk of the entry and nothing else. Other threads continue,
    /// and may replace or remove the entry. `read` may use the cache, and may store and remove.
    ///
    /// # Cost
    ///
    /// Like [`get`](Self::get), but without the atomic additions, and never with an allocation.
    ///
    /// ```
    /// use bytecache::Cache;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// cache.insert("scores", [3, 1, 2])?;
    /// let best = cache.view("scores", |scores| scores.iter().copied().max());
    /// assert_eq!(best, Some(Some(3)));
    /// assert_eq!(cache.view("other", <[u8]>::len), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn view<R>(&self, key: impl AsRef<[u8]>, read: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let key = key.as_ref();
        if is_marked(key) {
            return self.view_converted(key, read);
        }
        self.view_stored(key, &self.inner.counts, read)
    }

    /// Replaces the contents of `value` with a copy of the value under `key`.
    ///
    /// Returns `true` if there is an entry. Otherwise `value` is unchanged. This counts as a read
    /// for the policy and for the statistics.
    ///
    /// # Cost
    ///
    /// Like [`view`](Self::view), and one copy. Allocates only if the capacity of `value` is too
    /// small.
    ///
    /// ```
    /// use bytecache::Cache;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// cache.insert("user:1", "Ada")?;
    /// let mut buffer = b"earlier contents".to_vec();
    /// assert!(cache.get_into("user:1", &mut buffer));
    /// assert_eq!(buffer, b"Ada");
    /// assert!(!cache.get_into("user:2", &mut buffer));
    /// assert_eq!(buffer, b"Ada");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    #[must_use]
    pub fn get_into(&self, key: impl AsRef<[u8]>, value: &mut Vec<u8>) -> bool {
        let copied = self.view(key, |bytes| {
            value.clear();
            value.extend_from_slice(bytes);
        });
        copied.is_some()
    }

    /// Reads many keys. Calls `each` with every index and the value under that key, in order.
    ///
    /// The value is `None` if there is no entry. Each value was the current one at some time during
    /// the call. Every key counts as a read for the policy and for the statistics.
    ///
    /// Keys are read sixteen at a time. While `each` runs, the chunks of the remaining keys of the
    /// sixteen are held. Like the closure of [`view`](Self::view), `each` may use the cache.
    ///
    /// # Cost
    ///
    /// The cache lines of sixteen keys are fetched together. If they are not in the processor's
    /// caches, this is more than twice as fast as one read after the other.
    ///
    /// ```
    /// use bytecache::Cache;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// cache.insert("a", "1")?;
    /// let mut found = vec![];
    /// cache.get_many(&["a", "b"], |index, value| found.push((index, value.map(<[u8]>::to_vec))));
    /// assert_eq!(found, [(0, Some(b"1".to_vec())), (1, None)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get_many<K: AsRef<[u8]>>(&self, keys: &[K], each: impl FnMut(usize, Option<&[u8]>)) {
        if keys.iter().any(|key| is_marked(key.as_ref())) {
            let keys: Vec<_> = keys.iter().map(|key| StoredKey::plain(key.as_ref())).collect();
            return self.read_many(&keys, each);
        }
        self.read_many(keys, each);
    }

    /// Like [`get_many`](Self::get_many), but for stored keys.
    pub(super) fn read_many<K: AsRef<[u8]>>(&self, keys: &[K], mut each: impl FnMut(usize, Option<&[u8]>)) {
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
                // Within a closure of another `get_many`: the thread has one batch.
                None => (0..).zip(targets).for_each(|(place, (target, key))| {
                    self.read(target, key, self.counts(), |value| each(place, value));
                }),
            }
        }
    }

    /// Returns the value under `key`, or `None` if there is no entry, without counting as a read.
    ///
    /// Like [`get`](Self::get), but the policy and the statistics do not learn of it. An idle
    /// deadline is not extended. The cost is that of `get`.
    ///
    /// ```
    /// use bytecache::Cache;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// cache.insert("user:1", "Ada")?;
    /// assert_eq!(cache.peek("user:1").as_deref(), Some(&b"Ada"[..]));
    /// assert!(cache.peek("user:2").is_none());
    /// assert_eq!((cache.stats().hits, cache.stats().misses), (0, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn peek(&self, key: impl AsRef<[u8]>) -> Option<Value> {
        let key = &*self.stored_key(key.as_ref());
        let target = self.target(key);
        let mut slot = Slot::take();
        let found = target.shard.find_served(target.hash, key, Access::Peek, &mut slot)?;
        let (OwnedValue::Pinned(value) | OwnedValue::Copied(value)) = target.shard.hold(&found);
        Some(value)
    }

    /// Returns `true` if there is an entry under `key`, without counting as a read.
    ///
    /// The policy and the statistics do not learn of it. An idle deadline is not extended.
    ///
    /// # Cost
    ///
    /// Like [`view`](Self::view): no lock, and no write to shared memory.
    ///
    /// ```
    /// use bytecache::Cache;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// cache.insert("user:1", "Ada")?;
    /// assert!(cache.contains_key("user:1"));
    /// assert!(!cache.contains_key("user:2"));
    /// assert_eq!(cache.stats().hits, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn contains_key(&self, key: impl AsRef<[u8]>) -> bool {
        let key = &*self.stored_key(key.as_ref());
        let target = self.target(key);
        target.shard.find_served(target.hash, key, Access::Peek, &mut Slot::take()).is_some()
    }

    /// Like [`get`](Self::get), for a key that is not its own stored key.
    #[cold]
    #[inline(never)]
    fn get_converted(&self, key: &[u8]) -> Option<Value> {
        self.get_stored(&StoredKey::plain(key), &self.inner.counts)
    }

    /// Like [`view`](Self::view), for a key that is not its own stored key.
    #[cold]
    #[inline(never)]
    fn view_converted<R>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> R) -> Option<R> {
        self.view_stored(&StoredKey::plain(key), &self.inner.counts, read)
    }

    /// Like [`get`](Self::get), but for a stored key. `counts` are those of its set.
    #[inline(always)]
    pub(super) fn get_stored(&self, key: &[u8], counts: &ReadCounts) -> Option<Value> {
        self.read_counted(&self.target(key), key, Misses::Counted, counts)
    }

    /// Like [`view`](Self::view), but for a stored key. `counts` are those of its set.
    #[inline(always)]
    pub(super) fn view_stored<R>(&self, key: &[u8], counts: &ReadCounts, read: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let target = self.target(key);
        self.read(&target, key, counts, |value| value.map(read))
    }

    /// Reads the keys of a batch. The chunk of an entry is held from its guess until `each` has
    /// returned.
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
                    self.note_read(target, key, Some(&found), self.counts(), holds.stripe());
                    each(place, Some(found.value()));
                }
                None => self.read(target, key, self.counts(), |value| each(place, value)),
            }
            holds.clear_next();
        }
    }

    /// Finds the entry under `key`, reports the read, and calls `with` with its value in place.
    #[inline(always)]
    fn read<R>(
        &self,
        target: &Target<'_>,
        key: &[u8],
        counts: &ReadCounts,
        with: impl FnOnce(Option<&[u8]>) -> R,
    ) -> R {
        let mut slot = Slot::take();
        let stripe = slot.stripe();
        let found = target.shard.find_served(target.hash, key, Access::Read, &mut slot);
        self.note_read(target, key, found.as_ref(), counts, stripe);
        with(found.map(|found| found.value()))
    }

    /// Returns the value under `key`. Does not call [`read`](Self::read): to pass a `Value` through
    /// its closure takes 10 ns more.
    #[inline(always)]
    pub(crate) fn read_value(&self, target: &Target<'_>, key: &[u8], misses: Misses) -> Option<Value> {
        self.read_counted(target, key, misses, self.counts())
    }

    #[inline(always)]
    fn read_counted(&self, target: &Target<'_>, key: &[u8], misses: Misses, counts: &ReadCounts) -> Option<Value> {
        let mut slot = Slot::take();
        let stripe = slot.stripe();
        let Some(found) = target.shard.find_served(target.hash, key, Access::Read, &mut slot) else {
            if misses == Misses::Counted {
                self.note_read(target, key, None, counts, stripe);
            }
            return None;
        };
        self.note_read(target, key, Some(&found), counts, stripe);
        Some(self.count_copy(target.shard.hold(&found), counts, stripe))
    }

    /// Counts a read, and reports a hit to the policy.
    #[inline(always)]
    pub(super) fn note_read(
        &self,
        target: &Target<'_>,
        key: &[u8],
        found: Option<&FoundEntry<'_>>,
        counts: &ReadCounts,
        stripe: u32,
    ) {
        // One comparison in a cache without an advisor.
        if let Some(below) = target.shard.sampled_below() {
            target.shard.sample_read(target.hash, below, found);
            if count_read() {
                self.count_turn(target.hash, target.number, key, found.map(|found| found.live()));
            }
        }
        let Some(found) = found else {
            counts.add(stripe, Count::Misses, 1);
            target.shard.note_miss(target.hash);
            return;
        };
        counts.add(stripe, Count::Hits, 1);
        self.note_visit(target, found, counts, stripe);
    }

    /// Reports a visit to the policy.
    #[inline(always)]
    pub(super) fn note_visit(&self, target: &Target<'_>, found: &FoundEntry<'_>, counts: &ReadCounts, stripe: u32) {
        if target.shard.visit(found, stripe) == Visit::Dropped {
            counts.add(stripe, Count::DroppedTouches, 1);
        }
    }

    /// Returns the value, and counts it if it is a copy.
    #[inline(always)]
    pub(super) fn count_copy(&self, value: OwnedValue, counts: &ReadCounts, stripe: u32) -> Value {
        match value {
            OwnedValue::Pinned(value) => value,
            OwnedValue::Copied(value) => {
                counts.add(stripe, Count::CopiedValues, 1);
                value
            }
        }
    }
}
