//! Operations on all entries: [`clear`](Cache::clear), [`retain`](Cache::retain),
//! [`for_each`](Cache::for_each) and [`try_for_each`](Cache::try_for_each).
//!
//! A walk visits the buckets of one shard after the other. The caller's closure runs without a
//! lock, while a slot holds the chunk of the entry that it sees.
//!
//! ```text
//!   walk      -> reaches an entry: key, value, freshness        no lock, its chunk is held
//!     closure -> keeps it                                      next entry
//!             -> removes it: lock, is it still this value?
//!                  yes -> removed, unlock, listener            next entry
//!                  no  -> read again, closure again            at most 16 times
//! ```
//!
//! # Invariants
//!
//! 1. An entry that is present throughout a walk is reached, also if the index of its shard grows
//!    or shrinks.
//! 2. An entry is removed only under the lock, and only if it still has the value that the closure
//!    has seen.
//! 3. The listener is notified after the slots of the walk are free, and under no lock.

use core::ops::ControlFlow;

use super::Cache;
use crate::expiry::{Freshness, Remaining};
use crate::index::Walk;
use crate::reclaim::Slot;
use crate::shard::{Access, Advance, Notice, Pass, Shard, WalkedEntry};

/// The number of values of one key that `keep` of [`Cache::retain`] refuses before the next may
/// stay. Each but the first was stored after the walk began.
const MAX_REFUSED: usize = 16;

/// # All entries
impl Cache {
    /// Removes all entries, namespaces included. Entries that other threads store meanwhile may
    /// stay.
    ///
    /// [`Namespace::invalidate_all`](crate::Namespace::invalidate_all) removes those of a
    /// namespace. The results of loads in progress are not stored.
    ///
    /// # Cost
    ///
    /// A pass over all entries. Each is removed by itself, as by [`remove`](Self::remove). At most
    /// 768 entries leave while a lock is held. Other threads read and write in between.
    ///
    /// ```
    /// use bytecache::Cache;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// cache.insert("a", "1")?;
    /// cache.insert("b", "2")?;
    /// cache.clear();
    /// assert!(cache.is_empty() && cache.get("a").is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "invalidate_all")]
    pub fn clear(&self) {
        if let Some(sampler) = &self.inner.sampler {
            // The shadows follow earlier operations first, which came before the clear.
            self.inner.shards.iter().for_each(Shard::drain_samples);
            sampler.note_clear();
        }
        self.inner.shards.iter().for_each(Shard::clear);
    }

    /// Removes the entries for which `keep` returns `false`. `keep` gets the key and the value.
    /// Entries of [namespaces](crate::Namespace) are not shown to it, and stay.
    ///
    /// Every entry that is present when the call begins, and stays, is shown to `keep`. So when the
    /// call returns, no read finds a value that was stored before and that `keep` refuses. This
    /// also holds if an index grows or shrinks, or if other threads move, update or remove entries
    /// meanwhile.
    ///
    /// No lock is held while `keep` runs. If an entry is replaced between the call of `keep` and
    /// its removal, `keep` is called with the new value, up to 16 times. Entries that are stored
    /// meanwhile may not be seen. If the index of a shard grows or shrinks meanwhile, a few entries
    /// may be seen twice.
    ///
    /// Entries in their [stale period](crate::CacheBuilder::stale_for) are shown to `keep`, too.
    /// Negative entries, which record that a key has [no value](crate::Loaded::Absent), are
    /// removed. The results of loads in progress are not stored.
    ///
    /// # Cost
    ///
    /// A pass over all entries of the cache, without a lock: about half a second for a million.
    /// Each removal takes the lock of one shard.
    ///
    /// ```
    /// use bytecache::Cache;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// cache.insert("user:1", "Ada")?;
    /// cache.insert("page:1", "<html>")?;
    /// cache.retain(|key, _value| !key.starts_with(b"page:"));
    /// assert!(cache.contains_key("user:1") && !cache.contains_key("page:1"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn retain(&self, mut keep: impl FnMut(&[u8], &[u8]) -> bool) {
        // `keep` cannot be asked about values that are still being loaded.
        for shard in &self.inner.shards {
            let mut pass = Pass::new();
            // Ends: each step gets further in the order of the keys.
            while shard.write(|writer| writer.detach_some_flights(&mut pass, |key| self.is_own(key))) {}
        }
        let retain = |shard, own_key: &[u8], walked: WalkedEntry<'_>| {
            (retain_walked(shard, own_key, walked, &mut keep), ControlFlow::<()>::Continue(()))
        };
        let _ = self.for_each_walked(retain);
    }

    /// Calls `each` with the key and the value of every entry, shard by shard. Entries of
    /// [namespaces](crate::Namespace) are not seen.
    ///
    /// The policy and the statistics do not learn of it. Expired entries are not seen.
    ///
    /// The iteration is weakly consistent. No lock is held while `each` runs. Every entry that is
    /// present throughout is seen. Entries that are stored or leave meanwhile may be seen or not.
    /// If the index of a shard grows or shrinks meanwhile, a few entries may be seen twice. The
    /// chunk of the entry is held during each call, as in [`view`](Self::view).
    ///
    /// # Cost
    ///
    /// A pass over all entries of the cache, those of namespaces included.
    ///
    /// ```
    /// use bytecache::Cache;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// cache.insert("a", "1")?;
    /// cache.insert("b", "22")?;
    /// let mut entries = vec![];
    /// cache.for_each(|key, value| entries.push((key.to_vec(), value.len())));
    /// entries.sort();
    /// assert_eq!(entries, [(b"a".to_vec(), 1), (b"b".to_vec(), 2)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn for_each(&self, mut each: impl FnMut(&[u8], &[u8])) {
        let _ = self.try_for_each(|key, value, _left| {
            each(key, value);
            ControlFlow::<()>::Continue(())
        });
    }

    /// Calls `each` with the key, the value and the time left of every entry, until it breaks.
    ///
    /// Returns the break of `each`, or [`Continue`](ControlFlow::Continue) if it has seen all
    /// entries. The time left is that of [`ttl`](Self::ttl). Otherwise this is like
    /// [`for_each`](Self::for_each), with the same cost.
    ///
    /// ```
    /// use bytecache::{Cache, Remaining};
    /// use std::ops::ControlFlow;
    /// use std::time::Duration;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// cache.insert("config", "{}")?;
    /// cache.insert_with_ttl("token", "abc", Duration::from_secs(30))?;
    ///
    /// // The first entry with a deadline.
    /// let found = cache.try_for_each(|key, _value, left| match left {
    ///     Remaining::For(_) => ControlFlow::Break(key.to_vec()),
    ///     Remaining::Forever => ControlFlow::Continue(()),
    /// });
    /// assert_eq!(found, ControlFlow::Break(b"token".to_vec()));
    ///
    /// let mut entries = 0;
    /// let all = cache.try_for_each(|_key, _value, _left| {
    ///     entries += 1;
    ///     ControlFlow::<()>::Continue(())
    /// });
    /// assert_eq!((entries, all), (2, ControlFlow::Continue(())));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_for_each<B>(&self, mut each: impl FnMut(&[u8], &[u8], Remaining) -> ControlFlow<B>) -> ControlFlow<B> {
        self.for_each_walked(|_, own_key, walked| {
            let flow = match walked.freshness.is_served() {
                true => each(own_key, walked.value, walked.left),
                false => ControlFlow::Continue(()),
            };
            (Notice::default(), flow)
        })
    }

    /// Removes the entries for whose stored keys `leaves` returns `true`, negative ones and those
    /// of namespaces included.
    pub(crate) fn remove_keys(&self, mut leaves: impl FnMut(&[u8]) -> bool) {
        let _ = self.for_each_stored(|shard, WalkedEntry { hash, key, .. }| {
            let notice = match leaves(key) {
                true => shard.write_with_notice(|writer| writer.remove(hash, key)).1,
                false => Notice::default(),
            };
            (notice, ControlFlow::<()>::Continue(()))
        });
    }

    /// Calls `each` with every entry of this handle's set of keys, also with those that reads miss,
    /// until it breaks. It gets the caller's key and the entry. After each call, the listener is
    /// notified of the entries that the call has removed.
    fn for_each_walked<'a, B>(
        &'a self,
        mut each: impl FnMut(&'a Shard, &[u8], WalkedEntry<'_>) -> (Notice<'a>, ControlFlow<B>),
    ) -> ControlFlow<B> {
        self.for_each_stored(|shard, walked| match self.own_key(walked.key) {
            Some(own_key) => each(shard, own_key, walked),
            None => (Notice::default(), ControlFlow::Continue(())),
        })
    }

    /// Like [`for_each_walked`](Self::for_each_walked), but with the entries of all sets of keys.
    fn for_each_stored<'a, B>(
        &'a self,
        mut each: impl FnMut(&'a Shard, WalkedEntry<'_>) -> (Notice<'a>, ControlFlow<B>),
    ) -> ControlFlow<B> {
        for shard in &self.inner.shards {
            let mut walk = Walk::start();
            loop {
                let (mut slot, mut other_slot) = (Slot::take(), None);
                let (notice, flow) =
                    match shard.advance(&mut walk, |key| self.target(key).hash, &mut slot, &mut other_slot) {
                        Advance::Entry(walked) => each(shard, walked),
                        Advance::NoneYet => (Notice::default(), ControlFlow::Continue(())),
                        Advance::End => break,
                    };
                drop((slot, other_slot));
                drop(notice);
                flow?;
            }
        }
        ControlFlow::Continue(())
    }
}

/// Removes an entry that a walk has reached, unless `keep` returns `true`. Returns the removed
/// entries.
fn retain_walked<'a>(
    shard: &'a Shard,
    own_key: &[u8],
    walked: WalkedEntry<'_>,
    mut keep: impl FnMut(&[u8], &[u8]) -> bool,
) -> Notice<'a> {
    let mut slot = Slot::take();
    let WalkedEntry { hash, key, mut value, mut freshness, .. } = walked;
    let (mut notice, mut refused) = (Notice::default(), 0);
    // Ends: each round but the first follows a change of the entry by another thread.
    loop {
        let (is_settled, removed) = match freshness {
            // The clock was read without the lock: the deadline may have been extended since.
            Freshness::Gone => shard.write_with_notice(|writer| !writer.is_present(hash, key)),
            Freshness::Negative => {
                shard.write_with_notice(|writer| writer.remove_if_same(hash, key, value, true) != Some(false))
            }
            _ if refused == MAX_REFUSED || keep(own_key, value) => return notice,
            _ => shard.write_with_notice(|writer| writer.remove_if_same(hash, key, value, false) != Some(false)),
        };
        notice.join(removed);
        if is_settled {
            return notice;
        }
        refused += usize::from(freshness.is_served() || freshness == Freshness::Stale);
        let found = shard.find(hash, key, Access::Peek, &mut slot).map(|(found, freshness)| (found.value(), freshness));
        (value, freshness) = found.unwrap_or((&[], Freshness::Gone));
    }
}
