//! The operations of a [`Namespace`] for typed values: reads that decode in place, and removals of
//! values that do not decode.

use super::Namespace;
use crate::cache::Misses;
use crate::error::Error;
use crate::expiry::{Freshness, Lifetime};
use crate::namespace::{KeyBuffer, Origin, WriteCount, origin};
use crate::reclaim::Slot;
use crate::shard::{Access, Condition, Negative};
use crate::stats::Count;

/// A way to read a value in place.
pub(crate) trait Decode: Sized {
    type Output;

    /// Returns what the bytes stand for, or the decoder itself if they are no value.
    fn decode(self, bytes: &[u8]) -> Result<Self::Output, Self>;

    /// Returns `true` if the bytes are a value.
    fn is_value(&self, bytes: &[u8]) -> bool;
}

/// The result of [`Namespace::decode`].
pub(crate) enum Decoded<D: Decode> {
    Value(D::Output),
    /// There is no entry that is served.
    Absent(D),
    /// The value of the entry does not decode.
    Undecodable(D),
}

impl Namespace {
    /// Begins a stored key with the prefix of the current generation.
    #[inline(always)]
    pub(crate) fn begin_key(&self, buffer: &mut KeyBuffer) {
        buffer.begin(self.scope.prefix());
    }

    /// Reads the entry under the key that `write_key` appends to the prefix, and decodes its value
    /// in place.
    ///
    /// With [`Misses::Ignored`], the caller asks a loader if this returns no value. Then entries
    /// that are due to be loaded again are not served.
    #[inline(always)]
    pub(crate) fn decode<D: Decode>(
        &self,
        write_key: impl FnOnce(&mut KeyBuffer),
        misses: Misses,
        decoder: D,
    ) -> Decoded<D> {
        let (cache, scope) = (&self.cache, &*self.scope);
        let mut stored = KeyBuffer::default();
        stored.begin(scope.prefix());
        write_key(&mut stored);
        let key = stored.as_bytes();
        let target = cache.target(key);
        let mut slot = Slot::take();
        let stripe = slot.stripe();
        let is_served = |freshness: Freshness| match misses {
            Misses::Counted => freshness.is_served(),
            Misses::Ignored => freshness == Freshness::Fresh,
        };
        let unread = match target.shard.find(target.hash, key, Access::Read, &mut slot) {
            Some((found, freshness)) if is_served(freshness) => match decoder.decode(found.value()) {
                Ok(value) => {
                    cache.note_read(&target, key, Some(&found), &scope.counts, stripe);
                    return Decoded::Value(value);
                }
                Err(decoder) => Decoded::Undecodable(decoder),
            },
            _ => Decoded::Absent(decoder),
        };
        if misses == Misses::Counted {
            cache.note_read(&target, key, None, &scope.counts, stripe);
        }
        unread
    }

    /// Like [`decode`](Self::decode) with misses counted, but also looks for a negative entry.
    ///
    /// # Errors
    ///
    /// The negative entry, if there is one.
    pub(crate) fn decode_present<R>(
        &self,
        key: &[u8],
        is_undecodable: &mut bool,
        decode: impl FnOnce(&[u8]) -> Option<R>,
    ) -> Result<Option<R>, Negative> {
        let target = self.cache.target(key);
        let mut slot = Slot::take();
        let stripe = slot.stripe();
        let counts = &self.scope.counts;
        let answer = match target.shard.find(target.hash, key, Access::Read, &mut slot) {
            Some((found, Freshness::Negative)) => {
                counts.add(stripe, Count::NegativeHits, 1);
                Some((found, Err(Negative::from_value(found.value()))))
            }
            Some((found, freshness)) if freshness.is_served() => {
                let decoded = decode(found.value());
                *is_undecodable = decoded.is_none();
                decoded.map(|value| (found, Ok(Some(value))))
            }
            _ => None,
        };
        self.cache.note_read(&target, key, answer.as_ref().map(|(found, _)| found), counts, stripe);
        answer.map_or(Ok(None), |(_, answer)| answer)
    }

    /// Removes the entry under `key` if `is_broken` returns `true` for its value, and counts it.
    #[cold]
    pub(crate) fn remove_undecodable(&self, key: &[u8], is_broken: impl FnMut(&[u8]) -> bool) {
        if self.cache.remove_if(key, is_broken) {
            self.scope.count(WriteCount::Undecodable);
        }
    }

    /// Removes the entry that is older than a value that does not encode, and counts the value.
    #[cold]
    pub(crate) fn refuse_unencodable(&self, key: &[u8]) {
        self.count_unencodable();
        self.cache.remove_older(&self.scope.stored_key(key), Condition::Always);
    }

    /// Counts a value that does not encode.
    pub(crate) fn count_unencodable(&self) {
        self.scope.count(WriteCount::Unencodable);
    }

    /// Stores `value` under a stored key.
    pub(crate) fn store(&self, key: &[u8], value: &[u8], lifetime: &Lifetime) -> Result<(), Error> {
        self.cache.store(key, value, Condition::Always, lifetime).map(|_| ())
    }

    /// Returns the key of the namespace in a stored key, which [`begin_key`](Self::begin_key)
    /// began.
    pub(crate) fn key_in(stored: &[u8]) -> &[u8] {
        let (Origin::Plain(key) | Origin::Scoped { key, .. }) = origin(stored);
        key
    }
}
