//! Stores to a [`Cache`] and removals from it, by key.
//!
//! Each takes the lock of one shard. The sizes of key and value are checked before that.

use super::{Cache, MAX_KEY_BYTES};
use crate::error::Error;
use crate::expiry::Lifetime;
use crate::namespace::counted_key_bytes;
use crate::reclaim::Slot;
use crate::ring::Value;
use crate::shard::{Condition, Stored};
use crate::stats::Count;

/// # Writing
impl Cache {
    /// Stores `value` under `key`, replacing the current entry.
    ///
    /// Every read that begins after this returns finds the entry, until it is replaced, removed or
    /// evicted. Eviction may happen at any time: a policy may evict the new entry at once. Readers
    /// of the older value keep it.
    ///
    /// # Errors
    ///
    /// * [`Error::KeyTooLong`] if the key has more than 65,535 bytes;
    /// * [`Error::TooLarge`] if key and value together exceed
    ///   [`max_entry_bytes`](Self::max_entry_bytes);
    /// * [`Error::Rejected`] if readers or values hold the space that the entry needs: see the
    ///   [limits](crate::docs::limitations).
    ///
    /// A write that fails removes the older entry under `key`, even one that is kept beyond its
    /// deadline. The result of a load of the key that is in progress is not stored. So reads miss
    /// the key, and never return the older value.
    ///
    /// # Cost
    ///
    /// One hash, the lock of one shard, one copy of key and value, and evictions and a bounded
    /// amount of cleaning as needed. Allocates nothing in the steady state. While the index
    /// of the shard grows or shrinks, a write moves some of its entries.
    ///
    /// ```
    /// use bytecache::{Cache, Error};
    ///
    /// let cache = Cache::builder().max_bytes(1 << 20).max_entry_bytes(1_000).build()?;
    /// cache.insert("page", "<html>")?;
    /// cache.insert("page", "<html lang=en>")?;
    /// assert_eq!(cache.get("page").as_deref(), Some(&b"<html lang=en>"[..]));
    ///
    /// // The older page is removed, since the store of the current one failed.
    /// let error = cache.insert("page", [b'a'; 2_000]);
    /// assert_eq!(error, Err(Error::TooLarge { bytes: 2_004, max: 1_000 }));
    /// assert!(cache.get("page").is_none());
    ///
    /// let error = cache.insert([0; 70_000], "");
    /// assert_eq!(error, Err(Error::KeyTooLong { bytes: 70_000, max: 65_535 }));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn insert(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<(), Error> {
        self.with_stored_key(key.as_ref(), |key| self.insert_stored(key, value.as_ref()))
    }

    /// Stores `value` under `key` if there is no entry. Returns `true` if it was stored.
    ///
    /// A call that returns `false` does not count as a read: neither for the statistics nor for the
    /// policy. If such a call means that the entry is in use, read it as well.
    ///
    /// # Errors
    ///
    /// Like [`insert`](Self::insert), but a current entry stays. If there is one, only a key or a
    /// value that is too large is an error: `Ok(false)` needs no space.
    ///
    /// # Cost
    ///
    /// Like [`insert`](Self::insert). A call that returns `false` takes the lock of one shard.
    ///
    /// ```
    /// use bytecache::Cache;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// assert!(cache.insert_if_absent("owner", "Ada")?);
    /// assert!(!cache.insert_if_absent("owner", "Grace")?);
    /// assert_eq!(cache.get("owner").as_deref(), Some(&b"Ada"[..]));
    ///
    /// // The entry stays, also if the other value is too large.
    /// assert!(cache.insert_if_absent("owner", vec![0; 1 << 20]).is_err());
    /// assert_eq!(cache.get("owner").as_deref(), Some(&b"Ada"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn insert_if_absent(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<bool, Error> {
        self.insert_if_absent_with_lifetime(key, value, Lifetime::new())
    }

    /// Stores `value` under `key` if there is an entry to replace. Returns `true` if it was stored.
    ///
    /// If there is no entry, a value of the key that is kept beyond its deadline is removed, since
    /// it is older than `value`.
    ///
    /// # Errors
    ///
    /// Like [`insert`](Self::insert): the entry is removed. If there is no entry, only a key or a
    /// value that is too large is an error.
    ///
    /// # Cost
    ///
    /// Like [`insert`](Self::insert). A call that returns `false` takes the lock of one shard.
    ///
    /// ```
    /// use bytecache::Cache;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// assert!(!cache.replace("owner", "Ada")?);
    /// cache.insert("owner", "Ada")?;
    /// assert!(cache.replace("owner", "Grace")?);
    /// assert_eq!(cache.get("owner").as_deref(), Some(&b"Grace"[..]));
    ///
    /// assert!(cache.replace("owner", vec![0; 1 << 20]).is_err());
    /// assert!(cache.get("owner").is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn replace(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<bool, Error> {
        self.replace_with_lifetime(key, value, Lifetime::new())
    }

    /// Removes the entry under `key`. Returns `true` if there was one.
    ///
    /// Values that were read before keep their bytes. A stale or negative entry of the key is
    /// removed as well, and then this returns `false`. The result of a load of the key that is in
    /// progress is not stored, even if this returns `false`.
    ///
    /// # Cost
    ///
    /// One hash, the lock of one shard, and the cache lines of the entry.
    ///
    /// ```
    /// use bytecache::Cache;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// cache.insert("user:1", "Ada")?;
    /// assert!(cache.remove("user:1"));
    /// assert!(!cache.remove("user:1"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "invalidate")]
    pub fn remove(&self, key: impl AsRef<[u8]>) -> bool {
        let key = &*self.stored_key(key.as_ref());
        let target = self.target(key);
        target.shard.prefetch_bucket(target.hash);
        target.shard.write(|writer| writer.remove(target.hash, key))
    }

    /// Removes the entry under `key` and returns its value, or `None` if there was no entry.
    ///
    /// Like [`remove`](Self::remove) otherwise. Of several threads that take the same entry, one
    /// gets it. The cost is that of `remove`, and two atomic additions for the value.
    ///
    /// ```
    /// use bytecache::Cache;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// cache.insert("job", "resize 7.png")?;
    /// assert_eq!(cache.take("job").as_deref(), Some(&b"resize 7.png"[..]));
    /// assert!(cache.take("job").is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn take(&self, key: impl AsRef<[u8]>) -> Option<Value> {
        let key = &*self.stored_key(key.as_ref());
        let target = self.target(key);
        let value = target.shard.write(|writer| writer.take(target.hash, key))?;
        Some(self.count_copy(value, self.counts(), Slot::take().stripe()))
    }

    /// Returns `true` if an entry under `key` can be stored, were its value empty.
    pub(crate) fn is_storable(&self, key: &[u8]) -> bool {
        counted_key_bytes(key) <= MAX_KEY_BYTES.min(self.inner.max_entry_bytes)
    }

    /// Checks that an entry of this size can be stored, and counts one that cannot.
    #[inline]
    pub(crate) fn check_size(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.check_lengths(counted_key_bytes(key), value.len())
    }

    /// Like [`check_size`](Self::check_size), by the lengths of key and value.
    #[inline]
    pub(super) fn check_lengths(&self, key_bytes: usize, value_bytes: usize) -> Result<(), Error> {
        if key_bytes > MAX_KEY_BYTES {
            self.counts().add_shared(Count::KeyTooLong, 1);
            return Err(Error::KeyTooLong { bytes: key_bytes, max: MAX_KEY_BYTES });
        }
        let bytes = key_bytes.saturating_add(value_bytes);
        if bytes > self.inner.max_entry_bytes {
            self.counts().add_shared(Count::TooLarge, 1);
            return Err(Error::TooLarge { bytes, max: self.inner.max_entry_bytes });
        }
        Ok(())
    }

    /// Stores an entry that has the default lifetime. A function of its own, as most stores are
    /// such: the compiler leaves out what depends on conditions and lifetimes.
    #[inline(never)]
    fn insert_stored(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.store_here(key, value, Condition::Always, const { &Lifetime::new() }).map(|_| ())
    }

    /// Stores an entry if `condition` holds.
    pub(super) fn store(
        &self,
        key: &[u8],
        value: &[u8],
        condition: Condition,
        lifetime: &Lifetime,
    ) -> Result<Stored, Error> {
        self.store_here(key, value, condition, lifetime)
    }

    /// Is [`store`](Self::store), inlined.
    #[inline(always)]
    fn store_here(&self, key: &[u8], value: &[u8], condition: Condition, lifetime: &Lifetime) -> Result<Stored, Error> {
        self.check_size(key, value).inspect_err(|_| self.remove_older(key, condition))?;
        let target = self.target(key);
        target.shard.prefetch_to_write(target.hash);
        let stored = target.shard.write(|writer| writer.store_here(target.hash, key, value, condition, lifetime));
        stored.map_err(|_| Error::Rejected)
    }

    /// Removes what is older than a value that is too large.
    #[cold]
    pub(super) fn remove_older(&self, key: &[u8], condition: Condition) {
        // A key that cannot be stored has neither an entry nor a flight.
        if self.is_storable(key) {
            let target = self.target(key);
            target.shard.write(|writer| writer.refuse(target.hash, key, condition));
        }
    }
}
