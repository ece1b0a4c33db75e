//! The parts of the cache that loaders use: looking up, joining a load, and counting values.
//!
//! A loader first looks a key up. If it finds nothing, it boards the flight of the key in its
//! shard: it becomes the leader, which loads, or a follower, which waits.

use super::{Cache, Target};
use crate::expiry::Freshness;
use crate::reclaim::Slot;
use crate::ring::{OwnedValue, Value};
use crate::shard::{Access, Boarding, Negative, Notice, Waiter};
use crate::stats::Count;

/// The result of a look-up for a caller that loads what is missing.
pub(crate) enum LookUp {
    Fresh(Value),
    /// Fresh, but due to be loaded again.
    RefreshDue(Value),
    Negative(Negative),
    /// No entry, or one past its deadline.
    Nothing,
}

impl Cache {
    /// Reads the entry under `key`. Counts a hit or a miss.
    #[inline(always)]
    pub(crate) fn look_up(&self, target: &Target<'_>, key: &[u8]) -> LookUp {
        let mut slot = Slot::take();
        let stripe = slot.stripe();
        let (found, freshness) = match target.shard.find(target.hash, key, Access::Read, &mut slot) {
            Some((found, freshness)) if freshness != Freshness::Stale => (found, freshness),
            _ => {
                self.note_read(target, key, None, self.counts(), stripe);
                return LookUp::Nothing;
            }
        };
        self.note_read(target, key, Some(&found), self.counts(), stripe);
        if freshness == Freshness::Negative {
            self.counts().add(stripe, Count::NegativeHits, 1);
            return LookUp::Negative(Negative::from_value(found.value()));
        }
        let value = self.count_copy(target.shard.hold(&found), self.counts(), stripe);
        if freshness == Freshness::RefreshDue { LookUp::RefreshDue(value) } else { LookUp::Fresh(value) }
    }

    /// Returns the value of an entry that is past its deadline, or that was stored meanwhile, for a
    /// caller whose load has failed. Returns `None` for a negative entry.
    pub(crate) fn look_up_stale(&self, target: &Target<'_>, key: &[u8]) -> Option<Value> {
        let mut slot = Slot::take();
        let stripe = slot.stripe();
        let (found, freshness) = target.shard.find(target.hash, key, Access::Read, &mut slot)?;
        if freshness == Freshness::Negative {
            return None;
        }
        if freshness == Freshness::Stale {
            self.counts().add(stripe, Count::StaleHits, 1);
        }
        Some(self.count_copy(target.shard.hold(&found), self.counts(), stripe))
    }

    /// Makes a caller that has found nothing the leader or a follower of the key's flight.
    ///
    /// The listener is notified of evicted entries when the second result is dropped. The caller
    /// drops it once its part in the flight is settled, as the listener may ask for the same key.
    pub(crate) fn board<'a>(&self, target: &Target<'a>, key: &[u8], waiter: Waiter) -> (Boarding, Notice<'a>) {
        target.shard.prefetch_to_write(target.hash);
        let can_be_stored = self.is_storable(key);
        target.shard.write_with_notice(|writer| writer.board(target.hash, key, can_be_stored, waiter))
    }

    /// Returns how many loads are in progress whose results may be stored, and how many threads and
    /// tasks wait for them. For [tests](crate::testing).
    pub(crate) fn loads_under_way(&self) -> (usize, usize) {
        let each = self.inner.shards.iter().map(|shard| shard.loads_under_way());
        each.fold((0, 0), |(loads, waiting), (more, others)| (loads + more, waiting + others))
    }

    /// Returns the value that was stored, or a copy of `bytes` if none was.
    pub(crate) fn stored_or_copied(&self, stored: Option<OwnedValue>, bytes: &[u8]) -> Value {
        match stored {
            Some(value) => self.count_copy(value, self.counts(), Slot::take().stripe()),
            None => self.inner.shards[0].copied(bytes),
        }
    }
}
