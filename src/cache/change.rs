//! Atomic changes of one entry of a [`Cache`]: [`update`](Cache::update) and its relatives.
//!
//! An update runs the caller's closure without a lock, on a value that it holds. The result is
//! stored under the lock, if the key still has that value. Otherwise the closure runs again
//! (`shard/change.rs`). The other operations need no closure, and take the lock once.

use super::{Cache, Target};
use crate::error::Error;
use crate::expiry::{Freshness, Lifetime};
use crate::reclaim::Slot;
use crate::ring::Value;
use crate::shard::{Access, Condition, DeadlineRule};

/// The result of the closure of [`Cache::update`]: what happens to the entry.
///
/// ```
/// use bytecache::{Cache, Lifetime, Update};
/// use std::time::Duration;
///
/// let cache = Cache::new(1 << 20)?;
/// // Three attempts in a minute, and none after them.
/// let attempt = || {
///     let mut is_allowed = false;
///     cache.update("attempts", |left| {
///         let left = left.map_or(3, |left| left[0]);
///         is_allowed = left > 0;
///         match left {
///             0 => Update::Keep,
///             3 => Update::StoreFor([2], Lifetime::new().ttl(Duration::from_secs(60))),
///             _ => Update::Store([left - 1]),
///         }
///     })?;
///     Ok::<_, bytecache::Error>(is_allowed)
/// };
/// assert!(attempt()? && attempt()? && attempt()?);
/// assert!(!attempt()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update<V> {
    /// Stores a value.
    ///
    /// The deadlines of the current entry stay as they are, and so does its time to refresh. If
    /// there is no entry, the defaults of the cache apply.
    Store(V),
    /// Stores a value with a lifetime of its own. The defaults of the cache apply to everything
    /// that it does not set.
    StoreFor(V, Lifetime),
    /// Changes nothing.
    Keep,
    /// Removes the entry.
    Remove,
}

/// # Atomic changes
///
/// Each of these operations reads and writes an entry with no other write between. They do not
/// count as reads: neither for the statistics nor for the policy. Storing counts as an update or
/// an insert, as that of [`insert`](Self::insert) does.
///
/// An entry that was evicted, or that is past its deadline, counts as absent. So does a negative
/// entry, which records that a load has found [nothing](crate::Loaded::Absent).
impl Cache {
    /// Calls `update` with the value under `key`, or with `None`, and stores its result. Returns
    /// `true` if an entry was stored or removed.
    ///
    /// The result is stored only if the key still has the same value, or still has none. Otherwise
    /// `update` is called again, with the current value. A value is the same if its bytes are
    /// equal: `update` gets nothing else, so its result is right for each entry with these bytes.
    ///
    /// No lock is held while `update` runs. It may use the cache, but must not change `key` in each
    /// call: it would be called without end. If it panics, the entry stays as it was.
    ///
    /// A result that is stored, or that removes, counts as a write: the result of a load of the key
    /// that is in progress is not stored.
    ///
    /// # Errors
    ///
    /// Like [`insert`](Self::insert): the entry is removed, unless its value has changed meanwhile.
    /// In that case `update` is called again.
    ///
    /// # Cost
    ///
    /// Like [`get`](Self::get) and [`insert`](Self::insert) together. The closure runs again only
    /// after another operation, an eviction or a deadline has changed the entry. So of several
    /// threads that update an entry at the same time, one succeeds in each round.
    ///
    /// ```
    /// use bytecache::{Cache, Update};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let mut append = |word: &str| {
    ///     cache.update("words", |words| {
    ///         Update::Store([words.unwrap_or_default(), word.as_bytes(), b";"].concat())
    ///     })
    /// };
    /// assert!(append("one")? && append("two")?);
    /// assert_eq!(cache.get("words").as_deref(), Some(&b"one;two;"[..]));
    ///
    /// assert!(!cache.update("words", |_| Update::<&str>::Keep)?);
    /// assert!(cache.update("words", |_| Update::<&str>::Remove)?);
    /// assert!(!cache.update("words", |_| Update::<&str>::Remove)?);
    ///
    /// cache.insert("words", "three;")?;
    /// assert!(cache.update("words", |_| Update::Store(vec![0; 1 << 20])).is_err());
    /// assert!(!cache.contains_key("words"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "compute")]
    #[doc(alias = "and_compute_with")]
    pub fn update<V: AsRef<[u8]>>(
        &self,
        key: impl AsRef<[u8]>,
        mut update: impl FnMut(Option<&[u8]>) -> Update<V>,
    ) -> Result<bool, Error> {
        let key = &*self.stored_key(key.as_ref());
        let target = self.target(key);
        // Ends: each round but the first follows a change of the entry, by another thread, by the
        // closure, or because it has left.
        loop {
            let seen = self.hold_served(&target, key);
            let was_present = seen.is_some();
            let (value, deadlines) = match update(seen.as_deref()) {
                Update::Keep => return Ok(false),
                Update::Remove => {
                    if target.shard.write(|writer| writer.remove_if_seen(target.hash, key, seen.as_deref())) {
                        return Ok(was_present);
                    }
                    continue;
                }
                Update::Store(value) => (value, DeadlineRule::Kept { new_entry: Lifetime::new() }),
                Update::StoreFor(value, lifetime) => (value, DeadlineRule::Set(lifetime)),
            };
            let value = value.as_ref();
            let is_done = match self.check_size(key, value) {
                Ok(()) => self.store_if_same(&target, key, seen, value, deadlines)?,
                Err(error) if self.refuse_if_same(&target, key, seen.as_deref()) => return Err(error),
                Err(_) => false,
            };
            if is_done {
                return Ok(true);
            }
        }
    }

    /// Stores `new` under `key` if the current value is `expected`. Returns `true` if it was
    /// stored.
    ///
    /// The deadlines of the entry stay as they are, and so does its time to refresh. If there is no
    /// entry, or if it has another value, nothing changes.
    ///
    /// # Errors
    ///
    /// Like [`insert`](Self::insert): an entry with the expected value is removed. If there is no
    /// such entry, only a key or a value that is too large is an error, and nothing changes.
    ///
    /// # Cost
    ///
    /// Like [`insert`](Self::insert). The values are compared under the lock of the shard.
    ///
    /// ```
    /// use bytecache::Cache;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// cache.insert("leader", "node 1")?;
    /// assert!(!cache.replace_if("leader", "node 2", "node 3")?);
    /// assert!(cache.replace_if("leader", "node 1", "node 2")?);
    /// assert_eq!(cache.get("leader").as_deref(), Some(&b"node 2"[..]));
    /// assert!(!cache.replace_if("absent", "", "node 1")?);
    ///
    /// assert!(cache.replace_if("leader", "node 1", vec![0; 1 << 20]).is_err());
    /// assert!(cache.contains_key("leader"));
    /// assert!(cache.replace_if("leader", "node 2", vec![0; 1 << 20]).is_err());
    /// assert!(!cache.contains_key("leader"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "compare_exchange")]
    #[doc(alias = "compare_and_swap")]
    pub fn replace_if(
        &self,
        key: impl AsRef<[u8]>,
        expected: impl AsRef<[u8]>,
        new: impl AsRef<[u8]>,
    ) -> Result<bool, Error> {
        let (key, expected, new) = (&*self.stored_key(key.as_ref()), expected.as_ref(), new.as_ref());
        let target = self.target(key);
        self.check_size(key, new).inspect_err(|_| {
            self.refuse_if_same(&target, key, Some(expected));
        })?;
        let deadlines = DeadlineRule::Kept { new_entry: Lifetime::new() };
        self.store_if_same(&target, key, Some(expected), new, deadlines)
    }

    /// Removes the entry under `key` if `condition` returns `true` for its value. Returns `true` if
    /// an entry was removed that reads would have found.
    ///
    /// No lock is held while `condition` runs. If the value changes before it is removed,
    /// `condition` is called with the current one. If it panics, the entry stays.
    ///
    /// An entry in its [stale period](crate::CacheBuilder::stale_for) is shown to `condition`, too.
    /// A negative entry, which records that a load has found [nothing](crate::Loaded::Absent), is
    /// removed without a call of `condition`. The result of a load of the key that is in progress
    /// is not stored, even if this returns `false`: `condition` cannot be asked about it.
    ///
    /// # Cost
    ///
    /// A read, and the lock of one shard. If the entry is removed, the lock is taken twice.
    ///
    /// ```
    /// use bytecache::Cache;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// cache.insert("page", "version 2")?;
    /// assert!(!cache.remove_if("page", |page| page.ends_with(b"1")));
    /// assert!(cache.remove_if("page", |page| page.ends_with(b"2")));
    /// assert!(!cache.remove_if("page", |_page| true));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn remove_if(&self, key: impl AsRef<[u8]>, mut condition: impl FnMut(&[u8]) -> bool) -> bool {
        let key = &*self.stored_key(key.as_ref());
        let target = self.target(key);
        // Before the search: a load that ends after it would store what was not asked about.
        target.shard.write(|writer| writer.detach_flight(key));
        // Ends: each round but the first follows a change of the entry.
        loop {
            let mut slot = Slot::take();
            let found = target.shard.find(target.hash, key, Access::Peek, &mut slot);
            let Some((found, freshness)) = found else { return false };
            let is_negative = freshness == Freshness::Negative;
            if !is_negative && !condition(found.value()) {
                return false;
            }
            let (removed, notice) = target
                .shard
                .write_with_notice(|writer| writer.remove_if_same(target.hash, key, found.value(), is_negative));
            // The listener is notified once this thread holds nothing.
            drop(slot);
            drop(notice);
            if removed == Some(true) {
                return freshness.is_served();
            }
        }
    }

    /// Adds `by` to the counter under `key`, and returns the sum.
    ///
    /// A counter is an [`i64`] of 8 bytes, in little-endian order. If there is none, it starts at
    /// `by`, with `lifetime`. The deadlines of a counter stay as they are when it is incremented:
    /// its time to idle does not begin again.
    ///
    /// The defaults of the cache apply to everything that `lifetime` does not set.
    ///
    /// # Errors
    ///
    /// * [`Error::NotACounter`] if the value does not have 8 bytes. The entry stays.
    /// * [`Error::CounterOverflow`] if the sum does not fit into an `i64`. The entry stays.
    /// * Those of [`insert`](Self::insert), which remove the entry.
    ///
    /// # Cost
    ///
    /// Like [`insert`](Self::insert): the lock of one shard, taken once.
    ///
    /// ```
    /// use bytecache::{Cache, Error, Lifetime};
    /// use std::time::Duration;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let minute = Lifetime::new().ttl(Duration::from_secs(60));
    /// assert_eq!(cache.increment("requests", 1, minute)?, 1);
    /// assert_eq!(cache.increment("requests", 5, minute)?, 6);
    /// assert_eq!(cache.increment("requests", -2, minute)?, 4);
    /// let value = cache.get("requests").ok_or("missing")?;
    /// assert_eq!(i64::from_le_bytes(value[..].try_into()?), 4);
    ///
    /// let error = cache.increment("requests", i64::MAX, minute);
    /// assert_eq!(error, Err(Error::CounterOverflow { value: 4, by: i64::MAX }));
    /// assert_eq!(cache.increment("requests", 0, minute)?, 4);
    ///
    /// cache.insert("name", "Ada")?;
    /// assert_eq!(cache.increment("name", 1, minute), Err(Error::NotACounter { bytes: 3 }));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn increment(&self, key: impl AsRef<[u8]>, by: i64, lifetime: Lifetime) -> Result<i64, Error> {
        let key = &*self.stored_key(key.as_ref());
        let target = self.target(key);
        self.check_size(key, &by.to_le_bytes()).inspect_err(|_| self.remove_older(key, Condition::Always))?;
        target.shard.prefetch_to_write(target.hash);
        target.shard.write(|writer| writer.increment(target.hash, key, by, &lifetime))
    }

    /// Stores `value` under `key` like [`insert`](Self::insert), and returns the former value, or
    /// `None` if there was none.
    ///
    /// Of several threads that swap an entry, each gets another value. The returned value holds
    /// memory of the cache, as that of [`get`](Self::get) does.
    ///
    /// # Errors
    ///
    /// Like [`insert`](Self::insert): the former entry is removed, and its value is lost.
    ///
    /// # Cost
    ///
    /// Like [`insert`](Self::insert), and two atomic additions for the value.
    ///
    /// ```
    /// use bytecache::Cache;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// assert_eq!(cache.swap("owner", "Ada")?, None);
    /// let former = cache.swap("owner", "Grace")?;
    /// assert_eq!(former.as_deref(), Some(&b"Ada"[..]));
    /// assert_eq!(cache.get("owner").as_deref(), Some(&b"Grace"[..]));
    ///
    /// assert!(cache.swap("owner", vec![0; 1 << 20]).is_err());
    /// assert!(!cache.contains_key("owner"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "getset")]
    pub fn swap(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<Option<Value>, Error> {
        let (key, value) = (&*self.stored_key(key.as_ref()), value.as_ref());
        let target = self.target(key);
        self.check_size(key, value).inspect_err(|_| self.remove_older(key, Condition::Always))?;
        target.shard.prefetch_to_write(target.hash);
        let former = target.shard.write(|writer| writer.swap(target.hash, key, value, &Lifetime::new()));
        let former = former.map_err(|_| Error::Rejected)?;
        Ok(former.map(|former| self.count_copy(former, self.counts(), Slot::take().stripe())))
    }

    /// Returns the value under `key` if plain reads find it, without counting as a read.
    fn hold_served(&self, target: &Target<'_>, key: &[u8]) -> Option<Value> {
        let mut slot = Slot::take();
        let stripe = slot.stripe();
        let found = target.shard.find_served(target.hash, key, Access::Peek, &mut slot)?;
        let held = target.shard.hold(&found);
        Some(self.count_copy(held, self.counts(), stripe))
    }

    /// Stores `value` if the key still has the value that the caller has seen. Returns `false` if
    /// it has not.
    fn store_if_same(
        &self,
        target: &Target<'_>,
        key: &[u8],
        seen: Option<impl AsRef<[u8]>>,
        value: &[u8],
        deadlines: DeadlineRule,
    ) -> Result<bool, Error> {
        target.shard.prefetch_to_write(target.hash);
        let stored = target.shard.write(|writer| writer.store_if_same(target.hash, key, seen, value, deadlines));
        stored.map_err(|_| Error::Rejected)
    }

    /// Removes what is older than a value that is too large, if the key still has the value that
    /// the caller has seen. Returns `false` if it has not.
    #[cold]
    fn refuse_if_same(&self, target: &Target<'_>, key: &[u8], seen: Option<&[u8]>) -> bool {
        // A key that cannot be stored has neither an entry nor a flight.
        !self.is_storable(key) || target.shard.write(|writer| writer.refuse_if_same(target.hash, key, seen))
    }
}
