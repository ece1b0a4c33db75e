//! Operations that deal with the lifetimes of entries: stores with a lifetime, changes of
//! deadlines, and reads of stale entries.

use core::time::Duration;

use super::Cache;
use crate::error::Error;
use crate::expiry::{Freshness, Lifetime, Remaining};
use crate::reclaim::Slot;
use crate::ring::Value;
use crate::shard::{Access, Condition, Stored};
use crate::stats::Count;

/// The result of [`Cache::get_or_stale`]: a value, and whether it is stale or due for a refresh.
///
/// ```
/// use bytecache::{Cache, Lifetime, ManualClock};
/// use std::time::Duration;
///
/// let clock = ManualClock::new();
/// let cache = Cache::builder().max_bytes(1 << 20).clock(clock.clone()).build()?;
/// let lifetime = Lifetime::new().ttl(Duration::from_secs(10)).stale_for(Duration::from_secs(60));
/// cache.insert_with_lifetime("page", "<html>", lifetime)?;
/// clock.advance(Duration::from_secs(11));
/// let page = cache.get_or_stale("page").ok_or("missing")?;
/// assert!(page.is_stale() && page.is_refresh_due());
/// assert_eq!(page.into_value(), *b"<html>");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct MaybeStale {
    value: Value,
    freshness: Freshness,
}

impl MaybeStale {
    /// Returns the value.
    ///
    /// ```
    /// use bytecache::Cache;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// cache.insert("page", "<html>")?;
    /// let page = cache.get_or_stale("page").ok_or("missing")?;
    /// assert_eq!(*page.value(), *b"<html>");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Returns the value, and consumes the result.
    ///
    /// ```
    /// use bytecache::{Cache, Value};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// cache.insert("page", "<html>")?;
    /// let page: Value = cache.get_or_stale("page").ok_or("missing")?.into_value();
    /// assert_eq!(page, *b"<html>");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn into_value(self) -> Value {
        self.value
    }

    /// Returns `true` if the entry is past its deadline. Other reads miss it.
    ///
    /// ```
    /// use bytecache::{Cache, ManualClock};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder()
    ///     .max_bytes(1 << 20)
    ///     .ttl(Duration::from_secs(10))
    ///     .stale_for(Duration::from_secs(60))
    ///     .clock(clock.clone())
    ///     .build()?;
    /// cache.insert("page", "<html>")?;
    /// assert!(!cache.get_or_stale("page").ok_or("missing")?.is_stale());
    /// clock.advance(Duration::from_secs(11));
    /// assert!(cache.get_or_stale("page").ok_or("missing")?.is_stale());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.freshness == Freshness::Stale
    }

    /// Returns `true` if the entry should be loaded again.
    ///
    /// That is so if it is past its deadline, or past its [refresh](Lifetime::refresh_after).
    ///
    /// ```
    /// use bytecache::{Cache, Lifetime, ManualClock};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder().max_bytes(1 << 20).clock(clock.clone()).build()?;
    /// let lifetime =
    ///     Lifetime::new().ttl(Duration::from_secs(60)).refresh_after(Duration::from_secs(50));
    /// cache.insert_with_lifetime("page", "<html>", lifetime)?;
    /// assert!(!cache.get_or_stale("page").ok_or("missing")?.is_refresh_due());
    /// clock.advance(Duration::from_secs(55));
    /// let page = cache.get_or_stale("page").ok_or("missing")?;
    /// assert!(page.is_refresh_due() && !page.is_stale());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_refresh_due(&self) -> bool {
        self.freshness != Freshness::Fresh
    }
}

/// # Lifetimes
///
/// An entry has a deadline if the cache has a default ([`ttl`](crate::CacheBuilder::ttl),
/// [`time_to_idle`](crate::CacheBuilder::time_to_idle)), or if it was inserted with one. Reads miss
/// an entry from its deadline on. Later writes to its shard take its space back.
/// [`docs::expiry`](crate::docs::expiry) states the guarantees in numbers.
impl Cache {
    /// Stores `value` under `key` like [`insert`](Self::insert), to expire after `ttl`.
    ///
    /// `ttl` replaces the default time to live of the cache. An entry with a `ttl` of zero has
    /// expired at once: the older entry under `key` is removed. `value` is kept only if there
    /// is a stale period in which it can be read. Without one, the call needs no space.
    ///
    /// # Errors
    ///
    /// Like [`insert`](Self::insert).
    ///
    /// # Cost
    ///
    /// Like [`insert`](Self::insert), and one read of the clock and of the bucket's place in the
    /// timing wheel. The first entry of a shard with a deadline creates the wheel of the shard. The
    /// ring may give up a chunk for it.
    ///
    /// ```
    /// use bytecache::{Cache, Error, ManualClock, TICK};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder().max_bytes(1 << 20).clock(clock.clone()).build()?;
    /// cache.insert_with_ttl("token", "abc", Duration::from_secs(30))?;
    /// clock.advance(Duration::from_secs(30) + TICK);
    /// assert!(cache.get("token").is_none());
    ///
    /// cache.insert("token", "def")?;
    /// cache.insert_with_ttl("token", "ghi", Duration::ZERO)?;
    /// assert!(cache.get("token").is_none());
    ///
    /// let error = cache.insert_with_ttl("token", vec![0; 1 << 20], Duration::from_secs(30));
    /// assert!(matches!(error, Err(Error::TooLarge { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn insert_with_ttl(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>, ttl: Duration) -> Result<(), Error> {
        self.insert_with_lifetime(key, value, Lifetime::new().ttl(ttl))
    }

    /// Stores `value` under `key` like [`insert`](Self::insert), with a lifetime of its own.
    ///
    /// Where `lifetime` sets nothing, the defaults of the cache apply.
    ///
    /// # Errors
    ///
    /// Like [`insert`](Self::insert).
    ///
    /// # Cost
    ///
    /// Like [`insert_with_ttl`](Self::insert_with_ttl). The entry takes four bytes for its time to
    /// live, four for its time to idle, and four for its refresh. It takes four more if its time to
    /// idle is not the default of the cache, and four more if its stale period is not.
    ///
    /// ```
    /// use bytecache::{Cache, Lifetime, ManualClock};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder().max_bytes(1 << 20).clock(clock.clone()).build()?;
    /// let minute = Duration::from_secs(60);
    /// let session = Lifetime::new().ttl(60 * minute).time_to_idle(10 * minute);
    /// cache.insert_with_lifetime("session", "Ada", session)?;
    /// clock.advance(9 * minute);
    /// assert!(cache.get("session").is_some());
    /// clock.advance(11 * minute);
    /// assert!(cache.get("session").is_none());
    ///
    /// assert!(cache.insert_with_lifetime("session", vec![0; 1 << 20], session).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn insert_with_lifetime(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        lifetime: Lifetime,
    ) -> Result<(), Error> {
        self.with_stored_key(key.as_ref(), |key| self.store(key, value.as_ref(), Condition::Always, &lifetime))
            .map(|_| ())
    }

    /// Stores `value` under `key` if there is no entry, with a lifetime of its own. Returns `true`
    /// if it was stored.
    ///
    /// Like [`insert_if_absent`](Self::insert_if_absent) otherwise. An expired entry counts as
    /// absent.
    ///
    /// # Errors
    ///
    /// Like [`insert_if_absent`](Self::insert_if_absent).
    ///
    /// # Cost
    ///
    /// Like [`insert_with_lifetime`](Self::insert_with_lifetime).
    ///
    /// ```
    /// use bytecache::{Cache, Lifetime, ManualClock};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder().max_bytes(1 << 20).clock(clock.clone()).build()?;
    /// let lease = Lifetime::new().ttl(Duration::from_secs(10));
    /// assert!(cache.insert_if_absent_with_lifetime("lease", "worker 1", lease)?);
    /// assert!(!cache.insert_if_absent_with_lifetime("lease", "worker 2", lease)?);
    /// clock.advance(Duration::from_secs(11));
    /// assert!(cache.insert_if_absent_with_lifetime("lease", "worker 2", lease)?);
    ///
    /// assert!(cache.insert_if_absent_with_lifetime("lease", vec![0; 1 << 20], lease).is_err());
    /// assert!(cache.contains_key("lease"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn insert_if_absent_with_lifetime(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        lifetime: Lifetime,
    ) -> Result<bool, Error> {
        let stored =
            self.with_stored_key(key.as_ref(), |key| self.store(key, value.as_ref(), Condition::IfAbsent, &lifetime))?;
        Ok(stored != Stored::Declined)
    }

    /// Stores `value` under `key` if there is an entry to replace, with a lifetime of its own.
    /// Returns `true` if it was stored.
    ///
    /// Like [`replace`](Self::replace) otherwise. An expired entry counts as absent, and is
    /// removed.
    ///
    /// # Errors
    ///
    /// Like [`replace`](Self::replace).
    ///
    /// # Cost
    ///
    /// Like [`insert_with_lifetime`](Self::insert_with_lifetime).
    ///
    /// ```
    /// use bytecache::{Cache, Lifetime, Remaining};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// assert!(!cache.replace_with_lifetime("config", "{}", Lifetime::forever())?);
    /// cache.insert("config", "{}")?;
    /// assert!(cache.replace_with_lifetime("config", "[]", Lifetime::forever())?);
    /// assert_eq!(cache.ttl("config"), Some(Remaining::Forever));
    ///
    /// let error = cache.replace_with_lifetime("config", vec![0; 1 << 20], Lifetime::forever());
    /// assert!(error.is_err() && !cache.contains_key("config"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn replace_with_lifetime(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        lifetime: Lifetime,
    ) -> Result<bool, Error> {
        let stored =
            self.with_stored_key(key.as_ref(), |key| self.store(key, value.as_ref(), Condition::IfPresent, &lifetime))?;
        Ok(stored != Stored::Declined)
    }

    /// Returns the time until the deadline of the entry under `key`, if it is not read meanwhile.
    ///
    /// Returns `None` if there is no entry, or if it is past its deadline. The policy and the
    /// statistics do not learn of it, and an idle deadline is not extended.
    ///
    /// Deadlines are rounded up to whole [`TICK`](crate::TICK)s. So the result may be a little more
    /// than the time that was asked for.
    ///
    /// # Cost
    ///
    /// Like [`contains_key`](Self::contains_key), and one read of the clock if the entry has a
    /// deadline.
    ///
    /// ```
    /// use bytecache::{Cache, Remaining};
    /// use std::time::Duration;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// cache.insert("config", "{}")?;
    /// cache.insert_with_ttl("token", "abc", Duration::from_secs(30))?;
    /// assert_eq!(cache.ttl("config"), Some(Remaining::Forever));
    /// assert!(matches!(cache.ttl("token"), Some(Remaining::For(left)) if left.as_secs() <= 30));
    /// assert_eq!(cache.ttl("other"), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn ttl(&self, key: impl AsRef<[u8]>) -> Option<Remaining> {
        let key = &*self.stored_key(key.as_ref());
        let target = self.target(key);
        target.shard.remaining(target.hash, key)
    }

    /// Sets the entry under `key` to expire after `ttl`, replacing any earlier deadline. Returns
    /// `true` if there is an entry.
    ///
    /// The value and an idle deadline stay. With a `ttl` of zero, the entry has expired when this
    /// returns. That needs no space, unless a stale period keeps the value.
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] if the entry needs space for its deadline and readers or values hold it.
    /// Only an entry that was stored without a time to live needs space, or the first entry of its
    /// shard with a deadline. The entry is removed then, as it must not outlive the deadline.
    ///
    /// # Cost
    ///
    /// The lock of one shard. An entry that was stored with a time to live is changed in place. Any
    /// other is written again, with room for a deadline. The policy and the statistics count that
    /// as an update, and the removal listener is not notified of it. If the policy evicts the entry
    /// meanwhile, this returns `false`.
    ///
    /// ```
    /// use bytecache::{Cache, ManualClock};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder().max_bytes(1 << 20).clock(clock.clone()).build()?;
    /// cache.insert("session", "Ada")?;
    /// assert!(cache.set_ttl("session", Duration::from_secs(60))?);
    /// assert!(!cache.set_ttl("other", Duration::from_secs(60))?);
    /// clock.advance(Duration::from_secs(61));
    /// assert!(!cache.set_ttl("session", Duration::from_secs(60))?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "expire")]
    pub fn set_ttl(&self, key: impl AsRef<[u8]>, ttl: Duration) -> Result<bool, Error> {
        let key = &*self.stored_key(key.as_ref());
        let target = self.target(key);
        let set = target.shard.write(|writer| writer.set_ttl(target.hash, key, ttl));
        set.map_err(|_| Error::Rejected)
    }

    /// Removes the deadlines of the entry under `key`. Returns `true` if there is an entry.
    ///
    /// The entry then lives until it is evicted or removed: it has neither a time to live nor a
    /// time to idle.
    ///
    /// # Cost
    ///
    /// The lock of one shard. The entry is changed in place.
    ///
    /// ```
    /// use bytecache::{Cache, Remaining};
    /// use std::time::Duration;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// cache.insert_with_ttl("draft", "text", Duration::from_secs(60))?;
    /// assert!(cache.persist("draft"));
    /// assert_eq!(cache.ttl("draft"), Some(Remaining::Forever));
    /// assert!(!cache.persist("other"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn persist(&self, key: impl AsRef<[u8]>) -> bool {
        let key = &*self.stored_key(key.as_ref());
        let target = self.target(key);
        target.shard.write(|writer| writer.persist(target.hash, key))
    }

    /// Marks the entry under `key` as read, and extends its idle deadline. Returns `true` if there
    /// is an entry.
    ///
    /// The policy learns of it, as of any read. The statistics do not.
    ///
    /// # Cost
    ///
    /// Like [`view`](Self::view): no lock.
    ///
    /// ```
    /// use bytecache::{Cache, ManualClock};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let idle = Duration::from_secs(60);
    /// let cache =
    ///     Cache::builder().max_bytes(1 << 20).time_to_idle(idle).clock(clock.clone()).build()?;
    /// cache.insert("session", "Ada")?;
    /// clock.advance(Duration::from_secs(50));
    /// assert!(cache.touch("session"));
    /// clock.advance(Duration::from_secs(50));
    /// assert!(cache.contains_key("session"));
    /// assert!(!cache.touch("other"));
    /// assert_eq!(cache.stats().hits, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn touch(&self, key: impl AsRef<[u8]>) -> bool {
        let key = &*self.stored_key(key.as_ref());
        let target = self.target(key);
        let mut slot = Slot::take();
        let stripe = slot.stripe();
        let found = target.shard.find_served(target.hash, key, Access::Read, &mut slot);
        found.inspect(|found| self.note_visit(&target, found, self.counts(), stripe)).is_some()
    }

    /// Returns the value under `key` like [`get`](Self::get), also if its entry is stale.
    ///
    /// An entry is stale past its deadline, for its
    /// [stale period](crate::CacheBuilder::stale_for). Reading a stale entry does not extend its
    /// life. It counts as a hit, and in [`stale_hits`](crate::Stats::stale_hits).
    ///
    /// # Cost
    ///
    /// Like [`get`](Self::get).
    ///
    /// ```
    /// use bytecache::{Cache, ManualClock};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder()
    ///     .max_bytes(1 << 20)
    ///     .ttl(Duration::from_secs(10))
    ///     .stale_for(Duration::from_secs(60))
    ///     .clock(clock.clone())
    ///     .build()?;
    /// cache.insert("page", "<html>")?;
    /// clock.advance(Duration::from_secs(11));
    /// assert!(cache.get("page").is_none());
    /// let page = cache.get_or_stale("page").ok_or("missing")?;
    /// assert!(page.is_stale());
    /// assert_eq!(*page.value(), *b"<html>");
    ///
    /// clock.advance(Duration::from_secs(61));
    /// assert!(cache.get_or_stale("page").is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn get_or_stale(&self, key: impl AsRef<[u8]>) -> Option<MaybeStale> {
        let key = &*self.stored_key(key.as_ref());
        let target = self.target(key);
        let mut slot = Slot::take();
        let stripe = slot.stripe();
        let found = target.shard.find(target.hash, key, Access::Read, &mut slot);
        let found = found.filter(|&(_, freshness)| freshness != Freshness::Negative);
        self.note_read(&target, key, found.as_ref().map(|(found, _)| found), self.counts(), stripe);
        let (found, freshness) = found?;
        if freshness == Freshness::Stale {
            self.counts().add(stripe, Count::StaleHits, 1);
        }
        Some(MaybeStale { value: self.count_copy(target.shard.hold(&found), self.counts(), stripe), freshness })
    }
}
