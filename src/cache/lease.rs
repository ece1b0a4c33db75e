//! [`Lease`]: the permit to store a value that was read elsewhere.

use core::fmt;

use super::Cache;
use crate::error::Error;
use crate::expiry::Lifetime;
use crate::hash::KeyHash;
use crate::namespace::counted_key_bytes;
use crate::shard::LeaseTicket;

/// The permit to store a value under a key, as long as no write to the key has come since
/// [`Cache::lease`].
///
/// It is for callers that read values elsewhere without a [loader](crate::docs::loading): take the
/// lease, read the value, and [`store`](Self::store) it. A value that was read before the key was
/// invalidated is not stored. No other caller waits for a lease.
///
/// It keeps its cache alive.
///
/// ```
/// use bytecache::{Cache, Lifetime};
///
/// let cache = Cache::new(1 << 20)?;
/// let lease = cache.lease("user:1");
/// // ... reads "Ada" from a database. Meanwhile another thread changes it, and invalidates:
/// cache.remove("user:1");
/// assert!(!lease.store("Ada", Lifetime::new())?);
/// assert!(!cache.contains_key("user:1"));
///
/// let lease = cache.lease("user:1");
/// assert!(lease.store("Grace", Lifetime::new())?);
/// assert_eq!(cache.get("user:1").as_deref(), Some(&b"Grace"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Cost
///
/// A lease occupies 160 bytes and its key. The first lease or load of a shard occupies 320 bytes
/// more. Further leases of a key at the same time occupy none. These bytes are part of the cache's
/// memory. Leases and loads together occupy at most an eighth of it.
#[must_use = "a lease that is dropped stores nothing"]
pub struct Lease {
    cache: Cache,
    /// The index of the key's shard, and the hash of the key. They are kept, as a custom hasher
    /// might return another hash next time.
    shard_index: usize,
    hash: KeyHash,
    /// `None` if there was no memory for it, and when it has ended.
    ticket: Option<LeaseTicket>,
    key_bytes: usize,
}

impl Lease {
    /// Stores `value` under the key, if no write to the key has come since the lease began. Returns
    /// `true` if it was stored.
    ///
    /// Every operation that [invalidates a load](crate::docs::loading) is such a write. So is the
    /// end of a load that has stored its result, and the store of another lease. Evictions and
    /// deadlines are none. `lifetime` sets the deadlines. The defaults of the cache apply to
    /// everything that it does not set.
    ///
    /// # Errors
    ///
    /// Like [`insert`](Cache::insert): the older entry is removed. If a write has come between,
    /// only a key or a value that is too large is an error, and nothing changes.
    ///
    /// # Cost
    ///
    /// Like [`insert`](Cache::insert), and a search among the leases of the shard.
    ///
    /// ```
    /// use bytecache::{Cache, Lifetime, Remaining};
    /// use std::time::Duration;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let (first, second) = (cache.lease("rate"), cache.lease("rate"));
    /// assert!(first.store("1.09", Lifetime::new().ttl(Duration::from_secs(60)))?);
    /// assert!(matches!(cache.ttl("rate"), Some(Remaining::For(_))));
    /// assert!(!second.store("1.08", Lifetime::new())?);
    ///
    /// assert!(cache.lease("rate").store(vec![0; 1 << 20], Lifetime::new()).is_err());
    /// assert!(!cache.contains_key("rate"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn store(mut self, value: impl AsRef<[u8]>, lifetime: Lifetime) -> Result<bool, Error> {
        let value = value.as_ref();
        let cache = self.cache.clone();
        let shard = cache.shard(self.shard_index);
        let Some(ticket) = self.ticket.take() else {
            return cache.check_lengths(self.key_bytes, value.len()).map(|()| false);
        };
        let hash = self.hash;
        let stored = match cache.check_size(&ticket.key, value) {
            Ok(()) => {
                shard.write(|writer| writer.store_leased(hash, &ticket, value, &lifetime)).map_err(|_| Error::Rejected)
            }
            Err(error) => {
                shard.write(|writer| writer.refuse_leased(hash, &ticket));
                Err(error)
            }
        };
        shard.end_lease(ticket);
        stored
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.cache.shard(self.shard_index).end_lease(ticket);
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("cache", &self.cache).finish_non_exhaustive()
    }
}

impl Cache {
    /// Returns a lease of `key`: the permit to store a value that is read after this call.
    ///
    /// If there is no memory for the lease, or if the key cannot be stored, the lease has ended
    /// from the start: its [`store`](Lease::store) stores nothing.
    ///
    /// ```
    /// use bytecache::{Cache, Lifetime};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let lease = cache.lease("answer");
    /// let value = 42_u64.to_le_bytes(); // Read from somewhere else.
    /// assert!(lease.store(value, Lifetime::new())?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Cost
    ///
    /// The lock of one shard, and an allocation or two. The policy may have to evict entries.
    pub fn lease(&self, key: impl AsRef<[u8]>) -> Lease {
        let key = &*self.stored_key(key.as_ref());
        let target = self.target(key);
        let can_be_stored = self.is_storable(key);
        let ticket = if can_be_stored { target.shard.write(|writer| writer.lease(key)) } else { None };
        Lease {
            cache: self.clone(),
            shard_index: target.number,
            hash: target.hash,
            ticket,
            key_bytes: counted_key_bytes(key),
        }
    }
}
