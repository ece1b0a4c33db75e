//! Operations that deal with how long entries live.

use core::time::Duration;

use super::Cache;
use crate::error::Error;
use crate::expiry::{Freshness, Lifetime, Remaining};
use crate::reclaim::Slot;
use crate::ring::Value;
use crate::shard::{Access, Condition, Stored};
use crate::stats::Count;

/// What [`Cache::get_or_stale`] found: a value, and whether it should still be used.
#[derive(Clone, Debug)]
pub struct MaybeStale {
    value: Value,
    freshness: Freshness,
}

impl MaybeStale {
    /// The value.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The value.
    #[must_use]
    pub fn into_value(self) -> Value {
        self.value
    }

    /// Whether the entry is past its deadline: plain reads miss it.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.freshness == Freshness::Stale
    }

    /// Whether the entry should be loaded anew: it is past its deadline, or past its [refresh](Lifetime::refresh_after).
    #[must_use]
    pub fn is_refresh_due(&self) -> bool {
        self.freshness != Freshness::Fresh
    }
}

/// Lifetimes.
///
/// An entry has a deadline if the cache has a default ([`ttl`](crate::CacheBuilder::ttl),
/// [`time_to_idle`](crate::CacheBuilder::time_to_idle)), or if it was inserted with one. Reads miss an entry from its
/// deadline on, and its space comes back with the next writes to its shard. What is promised, in numbers, is in
/// [`docs::expiry`](crate::docs::expiry).
impl Cache {
    /// As [`insert`](Self::insert), but the entry expires `ttl` from now, whatever the cache's default is.
    ///
    /// An entry with a `ttl` of zero has expired already: what is under `key` is removed, and a value is kept only if there
    /// is a stale period in which it can be read. Without one it needs no space.
    ///
    /// ```
    /// use std::time::Duration;
    /// use bytecache::{Cache, ManualClock, TICK};
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
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`insert`](Self::insert).
    ///
    /// # Cost
    ///
    /// That of [`insert`](Self::insert), the clock, and a look at the bucket's place in the timing wheel. The first entry
    /// with a deadline makes its shard's wheel, for which the ring may give up a chunk.
    pub fn insert_with_ttl(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>, ttl: Duration) -> Result<(), Error> {
        self.insert_with_lifetime(key, value, Lifetime::new().ttl(ttl))
    }

    /// As [`insert`](Self::insert), with a lifetime for this entry.
    ///
    /// # Errors
    ///
    /// As [`insert`](Self::insert).
    ///
    /// # Cost
    ///
    /// As [`insert_with_ttl`](Self::insert_with_ttl). The entry takes four bytes more for each of: a time to live, a time to
    /// idle, the latter's length if it is not the default, a stale period that is not the default, a refresh.
    pub fn insert_with_lifetime(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        lifetime: Lifetime,
    ) -> Result<(), Error> {
        self.store(key.as_ref(), value.as_ref(), Condition::Always, &lifetime).map(|_| ())
    }

    /// As [`insert_if_absent`](Self::insert_if_absent), with a lifetime for this entry. One that has expired is absent.
    ///
    /// # Errors
    ///
    /// As [`insert_if_absent`](Self::insert_if_absent).
    pub fn insert_if_absent_with_lifetime(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        lifetime: Lifetime,
    ) -> Result<bool, Error> {
        let stored = self.store(key.as_ref(), value.as_ref(), Condition::IfAbsent, &lifetime)?;
        Ok(stored != Stored::Declined)
    }

    /// As [`replace`](Self::replace), with a lifetime for this entry. One that has expired is absent, and goes.
    ///
    /// # Errors
    ///
    /// As [`replace`](Self::replace).
    pub fn replace_with_lifetime(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        lifetime: Lifetime,
    ) -> Result<bool, Error> {
        let stored = self.store(key.as_ref(), value.as_ref(), Condition::IfPresent, &lifetime)?;
        Ok(stored != Stored::Declined)
    }

    /// How long the entry under `key` will live, if it is not read meanwhile; `None` if there is none, or if it is past its
    /// deadline. Neither the policy nor the statistics learn of it, and an idle deadline stays.
    ///
    /// The deadline is rounded up to whole [`TICK`](crate::TICK)s, so this may be a little more than what was asked for.
    #[must_use]
    pub fn ttl(&self, key: impl AsRef<[u8]>) -> Option<Remaining> {
        let target = self.target(key.as_ref());
        target.shard.remaining(target.hash, key.as_ref())
    }

    /// Sets the entry under `key` to expire `ttl` from now, replacing any earlier deadline. Returns `true` if there is one.
    ///
    /// Its value and its idle deadline stay. With a `ttl` of zero it has expired when this returns, which needs no space
    /// unless a stale period keeps the value.
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] as for [`insert`](Self::insert): only for an entry that was stored without a time to live, or if
    /// it is the first in its shard that has one. The entry is removed then, as it must not outlive the deadline.
    ///
    /// # Cost
    ///
    /// One shard's lock. An entry that was stored with a time to live is changed in place. Any other is written again, with
    /// room for a deadline, which its policy and the statistics take for an update. The removal listener is not told of that.
    /// If the policy evicts the entry meanwhile, this returns `false`.
    #[doc(alias = "expire")]
    pub fn set_ttl(&self, key: impl AsRef<[u8]>, ttl: Duration) -> Result<bool, Error> {
        let target = self.target(key.as_ref());
        let set = target.shard.write(|writer| writer.set_ttl(target.hash, key.as_ref(), ttl));
        set.map_err(|_| Error::Rejected)
    }

    /// Has the entry under `key` live until it is evicted or removed: neither its time to live nor its time to idle counts
    /// any more. Whether there is one. Changes it in place.
    pub fn persist(&self, key: impl AsRef<[u8]>) -> bool {
        let target = self.target(key.as_ref());
        target.shard.write(|writer| writer.persist(target.hash, key.as_ref()))
    }

    /// Reads the entry under `key` as far as its idle deadline and the policy are concerned; whether there is one. The
    /// statistics do not learn of it.
    pub fn touch(&self, key: impl AsRef<[u8]>) -> bool {
        let target = self.target(key.as_ref());
        let mut slot = Slot::take();
        let stripe = slot.stripe();
        let found = target.shard.find_served(target.hash, key.as_ref(), Access::Read, &mut slot);
        found.inspect(|found| self.note_visit(&target, found, stripe)).is_some()
    }

    /// As [`get`](Self::get), but an entry past its deadline is found, too, during its
    /// [stale period](crate::CacheBuilder::stale_for).
    ///
    /// Reading a stale entry does not prolong its life. It counts as a hit, and among
    /// [`stale_hits`](crate::Stats::stale_hits).
    ///
    /// ```
    /// use std::time::Duration;
    /// use bytecache::{Cache, ManualClock};
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
    /// let page = cache.get_or_stale("page").expect("stale for a minute");
    /// assert!(page.is_stale());
    /// assert_eq!(*page.value(), *b"<html>");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn get_or_stale(&self, key: impl AsRef<[u8]>) -> Option<MaybeStale> {
        let target = self.target(key.as_ref());
        target.shard.prefetch_bucket(target.hash);
        let mut slot = Slot::take();
        let stripe = slot.stripe();
        let found = target.shard.find(target.hash, key.as_ref(), Access::Read, &mut slot);
        let found = found.filter(|&(_, freshness)| freshness != Freshness::Negative);
        self.note_read(&target, found.as_ref().map(|(found, _)| found), stripe);
        let (found, freshness) = found?;
        if freshness == Freshness::Stale {
            self.inner.counts.add(stripe, Count::StaleHits, 1);
        }
        Some(MaybeStale { value: self.held(target.shard.hold(&found), stripe), freshness })
    }
}
