//! What loads ask of the cache.

use super::{Cache, Target};
use crate::expiry::Freshness;
use crate::reclaim::Slot;
use crate::ring::{OwnedValue, Value};
use crate::shard::{Access, Boarding, Negative, Notice, Waiter};
use crate::stats::Count;

/// What there is under a key for a caller that would load what there is not.
pub(crate) enum LookUp {
    Fresh(Value),
    /// As fresh, but to be loaded anew.
    RefreshDue(Value),
    Negative(Negative),
    /// Nothing, or something past its deadline.
    Nothing,
}

impl Cache {
    /// Reads the entry under `key`.
    #[inline(always)]
    pub(crate) fn look_up(&self, target: &Target<'_>, key: &[u8]) -> LookUp {
        target.shard.prefetch_bucket(target.hash);
        let mut slot = Slot::take();
        let stripe = slot.stripe();
        let (found, freshness) = match target.shard.find(target.hash, key, Access::Read, &mut slot) {
            Some((found, freshness)) if freshness != Freshness::Stale => (found, freshness),
            _ => {
                self.note_read(target, None, stripe);
                return LookUp::Nothing;
            }
        };
        self.note_read(target, Some(&found), stripe);
        if freshness == Freshness::Negative {
            self.inner.counts.add(stripe, Count::NegativeHits, 1);
            return LookUp::Negative(Negative::from_value(found.value));
        }
        let value = self.held(target.shard.hold(&found), stripe);
        if freshness == Freshness::RefreshDue { LookUp::RefreshDue(value) } else { LookUp::Fresh(value) }
    }

    /// The value of an entry that is past its deadline, or that came meanwhile: for a caller whose load has failed.
    pub(crate) fn look_up_stale(&self, target: &Target<'_>, key: &[u8]) -> Option<Value> {
        let mut slot = Slot::take();
        let stripe = slot.stripe();
        let (found, freshness) = target.shard.find(target.hash, key, Access::Read, &mut slot)?;
        if freshness == Freshness::Negative {
            return None;
        }
        if freshness == Freshness::Stale {
            self.inner.counts.add(stripe, Count::StaleHits, 1);
        }
        Some(self.held(target.shard.hold(&found), stripe))
    }

    /// Has a caller that has found nothing load, or wait. The listener hears of what had to leave when the second result is
    /// dropped, as it may ask for the same key.
    pub(crate) fn board<'a>(&self, target: &Target<'a>, key: &[u8], waiter: Waiter) -> (Boarding, Notice<'a>) {
        target.shard.prefetch_to_write(target.hash);
        let can_be_stored = self.is_storable(key);
        target.shard.write_with_notice(|writer| writer.board(target.hash, key, can_be_stored, waiter))
    }

    /// Loads under way whose results may be stored, and how many threads and tasks wait for them; for [tests](crate::testing).
    pub(crate) fn loads_under_way(&self) -> (usize, usize) {
        let each = self.inner.shards.iter().map(|shard| shard.loads_under_way());
        each.fold((0, 0), |(loads, waiting), (more, others)| (loads + more, waiting + others))
    }

    /// The value that was stored, or one of its own.
    pub(crate) fn held_or_copied(&self, held: Option<OwnedValue>, bytes: &[u8]) -> Value {
        match held {
            Some(held) => self.held(held, Slot::take().stripe()),
            None => self.inner.shards[0].copied(bytes),
        }
    }
}
