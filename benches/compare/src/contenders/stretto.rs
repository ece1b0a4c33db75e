//! stretto: TinyLFU admission and sampled LFU behind locked hash tables. A read returns a guard of
//! the value, so the value needs no count of its own and is a `Box<[u8]>`.
//!
//! It stores two 64-bit hashes in place of the key and compares nothing else.
//!
//! An insert is in its table at once. A thread of stretto admits the entry later or removes it
//! again, and another thread counts the reads. In races with fewer threads than cores, these
//! threads have cores of their own.
//!
//! # Not in races that evict
//!
//! Each eviction goes through all entries to draw five of them (`SampledLFU::fill_sample` in
//! 0.9.0). This takes 10 us with 1,000 entries, 0.1 ms with 10,000, and 3 ms with 400,000. Up to
//! 131,000 inserts wait for it in a queue, and their entries are in the cache meanwhile. An insert
//! that finds the queue full is dropped.
//!
//! With room for 25,000 entries, and with new keys as fast as it accepts them, it held 156,000. So
//! it hit 0.76 to 0.84 in `aside --scale 16`, where moka hit 0.66. It took 93 s to come to rest
//! before it could be measured, and the full `aside` has room for 16 times as many entries.
//!
//! Waiting after every few inserts keeps it within its limit. But then a replay of `hit-ratio`
//! takes minutes to an hour. So it does not race against caches that keep within their limits.
//!
//! If everything fits, it is filled with pauses (`race::fill`), and then keeps every entry.

use super::{Contender, copy_into};
use crate::works::{KEY_LEN, Work};
use ::stretto::{Cache, CacheBuilder, DefaultCacheCallback, DefaultCoster, DefaultUpdateValidator, KeyBuilder};
use std::borrow::Borrow;
use std::hash::Hash;
use std::time::Duration;

/// Number of counters for each entry that fits, as its documentation recommends.
const COUNTERS_PER_ENTRY: usize = 10;

/// A key as an array. It hashes like a slice and costs no allocation, because the cache does not
/// keep it.
type Key = [u8; KEY_LEN];
type Value = Box<[u8]>;

/// aHash in place of SeaHash and XXH64.
struct Hashes {
    index: ahash::RandomState,
    conflict: ahash::RandomState,
}

impl KeyBuilder for Hashes {
    type Key = Key;

    #[inline(always)]
    fn hash_index<Q>(&self, key: &Q) -> u64
    where
        Key: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.index.hash_one(key)
    }

    #[inline(always)]
    fn hash_conflict<Q>(&self, key: &Q) -> u64
    where
        Key: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.conflict.hash_one(key)
    }
}

type Inner = Cache<
    Key,
    Value,
    Hashes,
    DefaultCoster<Value>,
    DefaultUpdateValidator<Value>,
    DefaultCacheCallback<Value>,
    ahash::RandomState,
>;

pub struct Stretto(Inner);

impl Stretto {
    pub fn for_work(work: &Work) -> Self {
        let hashes = Hashes { index: ahash::RandomState::new(), conflict: ahash::RandomState::new() };
        let counters = COUNTERS_PER_ENTRY * work.expected_entries;
        let cache = CacheBuilder::new_with_key_builder(counters, work.max_bytes as i64, hashes)
            .set_hasher(ahash::RandomState::new())
            .finalize()
            .expect("the works' limits are valid");
        Self(cache)
    }
}

/// Returns the key as the type that the cache accepts.
#[inline(always)]
fn sized(key: &[u8]) -> Key {
    key.try_into().expect("keys of 24 bytes")
}

impl Contender for Stretto {
    #[inline(always)]
    fn get_into(&self, key: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(value) = self.0.get(key) else { return false };
        copy_into(value.value(), out);
        true
    }

    #[inline(always)]
    fn insert(&self, key: &[u8], value: &[u8]) -> bool {
        self.insert_expiring(key, value, Duration::ZERO)
    }

    /// Stores an entry that expires after `ttl`, or never if `ttl` is zero.
    #[inline(always)]
    fn insert_expiring(&self, key: &[u8], value: &[u8], ttl: Duration) -> bool {
        let cost = (key.len() + value.len()) as i64;
        self.0.try_insert_with_ttl(sized(key), Box::from(value), cost, ttl).unwrap_or(false)
    }

    fn clear(&self) -> bool {
        self.0.clear().is_ok()
    }

    /// Returns `true` if the key is present. The call counts as a use, which changes later
    /// evictions, but not the contents.
    fn contains(&self, key: &[u8]) -> bool {
        self.0.get(key).is_some()
    }

    fn settle(&self) {
        self.0.wait().expect("its threads run");
    }
}
