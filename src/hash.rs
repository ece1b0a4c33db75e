//! Hashing of keys: from a key to its shard, bucket and tag, and a hash that is the same
//! everywhere.
//!
//! ```text
//!   63 ......... 64-s | 63-s .......... | 31 .... 16 | 15 ... 8 | 7 ... 0
//!   shard (s bits)    | bucket, from    | extra      |          | tag
//!                     | the top down    |            |          |
//! ```
//!
//! The bits of the shard are shifted out before the bucket and the extra bits are read. The tag is
//! not shifted.
//! The default hasher is ahash with random seeds for each cache, so that nobody can choose keys
//! that collide. The result of a custom hasher is mixed once more, unless it is ahash with seeds of
//! the caller: the fields above demand more of a hash than a `HashMap` does.
//!
//! # Invariants
//!
//! 1. The fields do not overlap if a cache has at most 256 shards, and a shard fewer than 2^32
//!    buckets. With more shards, up to four bits of the tag are extra bits as well. Then the index
//!    compares a few more keys.
//! 2. A tag is never 0.

use core::any::Any;
use core::fmt;
use core::hash::{BuildHasher, Hasher as _};
use std::sync::Arc;

use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

/// The number of bits of a hash that every tag keeps.
const LOW_BITS: u32 = 3;
/// The mask of the low bits of a tag, which are those of the hash.
pub(crate) const LOW_BITS_OF_TAG: u8 = (1 << LOW_BITS) - 1;

/// The hash of a key in one cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyHash(u64);

impl KeyHash {
    /// Returns the hash with these bits.
    pub(crate) fn new(bits: u64) -> Self {
        Self(bits)
    }

    /// Returns the bits of the hash.
    pub(crate) fn get(self) -> u64 {
        self.0
    }

    /// Returns the number of the shard, among `2^shard_bits`.
    #[inline]
    pub(crate) fn shard(self, shard_bits: u32) -> usize {
        // Two shifts, because a shift by 64 would overflow.
        #[allow(clippy::cast_possible_truncation, reason = "at most 16 bits are left")]
        {
            ((self.0 >> 1) >> (63 - shard_bits)) as usize
        }
    }

    /// Returns the hash for use within a shard: without the bits of the shard.
    #[inline]
    pub(crate) fn within_shard(self, shard_bits: u32) -> Self {
        // The tag stays where it is.
        Self((self.0 << shard_bits) & !0xff | (self.0 & 0xff))
    }

    /// Returns the home bucket among `buckets`: the high half of a product. It grows with the hash,
    /// for any number of buckets.
    #[inline]
    pub(crate) fn bucket(self, buckets: usize) -> usize {
        #[allow(clippy::cast_possible_truncation, reason = "the product's top half is below `buckets`")]
        {
            ((u128::from(self.0) * buckets as u128) >> 64) as usize
        }
    }

    /// Returns the smallest hash whose home among `buckets` is `bucket` or a later one, or `None`
    /// if there is none.
    pub(crate) fn first_in(bucket: usize, buckets: usize) -> Option<Self> {
        let first = ((bucket as u128) << 64).div_ceil(buckets as u128);
        u64::try_from(first).ok().map(Self)
    }

    /// Returns 16 more bits of the hash, by which the index distinguishes keys.
    #[inline]
    pub(crate) fn extra(self) -> u16 {
        let [_, _, low, high, ..] = self.0.to_le_bytes();
        u16::from_le_bytes([low, high])
    }

    /// Returns the tag. It is never 0, which marks a free lane. Its low bits are [those of the
    /// hash](Self::low_bits).
    #[inline]
    pub(crate) fn tag(self) -> u8 {
        let [tag, ..] = self.0.to_le_bytes();
        if tag == 0 { 1 << LOW_BITS } else { tag }
    }

    /// Returns the lowest three bits of the hash, which are also those of the tag.
    #[inline]
    pub(crate) fn low_bits(self) -> u8 {
        let [tag, ..] = self.0.to_le_bytes();
        tag & LOW_BITS_OF_TAG
    }
}

/// The seeds of the default hasher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HashSeeds(pub(crate) [u64; 4]);

impl HashSeeds {
    /// Returns seeds that nobody can guess.
    pub(crate) fn random() -> Self {
        Self(core::array::from_fn(|number| ahash::RandomState::new().hash_one(number)))
    }
}

/// A custom hasher, with its type erased.
type HashFn = Arc<dyn Fn(&[u8]) -> u64 + Send + Sync>;

/// The hasher of one cache.
#[derive(Clone)]
pub(crate) enum KeyHasher {
    Ahash(ahash::RandomState),
    /// Hashes a key in one call, which is many times faster than its incremental state.
    Stable(StableHash),
    Custom(HashFn),
}

impl KeyHasher {
    /// Creates the default hasher, with random seeds.
    #[cfg(all(test, not(bytecache_loom)))]
    pub(crate) fn random() -> Self {
        Self::seeded(HashSeeds::random())
    }

    /// Creates the default hasher with these seeds.
    pub(crate) fn seeded(HashSeeds([k0, k1, k2, k3]): HashSeeds) -> Self {
        Self::Ahash(ahash::RandomState::with_seeds(k0, k1, k2, k3))
    }

    /// Returns the hasher that uses `hasher`.
    pub(crate) fn custom<S: BuildHasher + Send + Sync + 'static>(hasher: S) -> Self {
        let any: &dyn Any = &hasher;
        if let Some(stable) = any.downcast_ref::<StableHash>() {
            return Self::Stable(*stable);
        }
        if let Some(random) = any.downcast_ref::<ahash::RandomState>() {
            return Self::Ahash(random.clone());
        }
        Self::Custom(Arc::new(move |key| {
            let mut state = hasher.build_hasher();
            state.write(key);
            mix(state.finish())
        }))
    }

    #[inline(always)]
    pub(crate) fn hash(&self, key: &[u8]) -> KeyHash {
        KeyHash(match self {
            Self::Ahash(random) => {
                let mut state = random.build_hasher();
                state.write(key);
                state.finish()
            }
            Self::Stable(stable) => stable.hash_bytes(key),
            Self::Custom(hash) => hash(key),
        })
    }
}

impl fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ahash(_) => "ahash",
            Self::Stable(_) => "xxh3",
            Self::Custom(_) => "custom",
        })
    }
}

/// Spreads the result of a weak hasher over all 64 bits, by a folded multiply.
fn mix(hash: u64) -> u64 {
    // The first constant is the golden ratio, which has no structure. The second one is odd, so
    // that the low half of the product keeps all bits of the input.
    let product = u128::from(hash ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93_u128;
    #[allow(clippy::cast_possible_truncation, reason = "both halves are folded together")]
    {
        (product as u64) ^ ((product >> 64) as u64)
    }
}

/// A hasher with a fixed seed: xxh3, which is the same on every machine and in every process.
///
/// A cache with this hasher places and evicts the same entries in every run. That suits tests and
/// replays of traces. For keys that others choose, keep the default, whose seeds cannot be guessed.
///
/// ```
/// use bytecache::{Cache, StableHash};
///
/// let cache = Cache::builder().max_bytes(1 << 20).hasher(StableHash::with_seed(7)).build()?;
/// cache.insert("key", "value")?;
/// assert_eq!(StableHash::with_seed(0).hash_bytes(b""), 0x2d06_8005_38d3_94c2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StableHash {
    seed: u64,
}

impl StableHash {
    /// Returns the hasher with this seed.
    ///
    /// ```
    /// use bytecache::StableHash;
    ///
    /// let hasher = StableHash::with_seed(7);
    /// assert_eq!(hasher, StableHash::with_seed(7));
    /// assert_ne!(hasher.hash_bytes(b"key"), StableHash::with_seed(8).hash_bytes(b"key"));
    /// ```
    #[must_use]
    pub const fn with_seed(seed: u64) -> Self {
        Self { seed }
    }

    /// Returns the 64-bit xxh3 hash of `bytes`.
    ///
    /// ```
    /// use bytecache::StableHash;
    /// use std::hash::{BuildHasher, Hasher};
    ///
    /// let hasher = StableHash::with_seed(0);
    /// assert_eq!(hasher.hash_bytes(b""), 0x2d06_8005_38d3_94c2);
    ///
    /// // The incremental state has the same result.
    /// let mut state = hasher.build_hasher();
    /// state.write(b"key");
    /// assert_eq!(state.finish(), hasher.hash_bytes(b"key"));
    /// ```
    #[must_use]
    pub fn hash_bytes(&self, bytes: &[u8]) -> u64 {
        xxh3_64_with_seed(bytes, self.seed)
    }
}

impl BuildHasher for StableHash {
    type Hasher = StableHasher;

    fn build_hasher(&self) -> StableHasher {
        StableHasher(Box::new(Xxh3::with_seed(self.seed)))
    }
}

/// The incremental state of a [`StableHash`].
///
/// ```
/// use bytecache::{StableHash, StableHasher};
/// use std::hash::{BuildHasher, Hasher};
///
/// let mut state: StableHasher = StableHash::with_seed(7).build_hasher();
/// state.write(b"user:");
/// state.write(b"1");
/// assert_eq!(state.finish(), StableHash::with_seed(7).hash_bytes(b"user:1"));
/// ```
pub struct StableHasher(Box<Xxh3>);

impl core::hash::Hasher for StableHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        self.0.digest()
    }
}

impl fmt::Debug for StableHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StableHasher").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shard_bucket_and_tag_use_bits_of_their_own() {
        let hash = KeyHash(0xa000_0000_0000_0042);
        assert_eq!(hash.shard(0), 0);
        assert_eq!(hash.shard(4), 0xa);
        let inner = hash.within_shard(4);
        assert_eq!(inner.tag(), 0x42);
        assert_eq!(inner.bucket(1 << 20), 0);
        assert_eq!(KeyHash(u64::MAX).bucket(1000), 999);
        assert_eq!((KeyHash(0xff00).tag(), KeyHash(0xff00).low_bits()), (8, 0));
        assert!((0..=0xff).map(KeyHash).all(|hash| hash.tag() & LOW_BITS_OF_TAG == hash.low_bits()));
    }

    #[test]
    fn the_first_hash_of_a_bucket_is_the_smallest_that_leads_to_it() {
        for buckets in [1, 4, 5, 7, 1000, (1 << 31) + 1] {
            for bucket in [0, 1, buckets / 2, buckets - 1] {
                let first = KeyHash::first_in(bucket, buckets).filter(|_| bucket < buckets);
                assert!(first.is_none_or(|first| first.bucket(buckets) == bucket));
                assert!(first.is_none_or(|first| first.0 == 0 || KeyHash(first.0 - 1).bucket(buckets) + 1 == bucket));
            }
            assert_eq!(KeyHash::first_in(buckets, buckets), None);
        }
    }

    #[test]
    fn the_hashes_of_a_weak_custom_hasher_spread_over_shards() {
        #[derive(Clone)]
        struct Length;
        struct State(u64);
        impl core::hash::Hasher for State {
            fn finish(&self) -> u64 {
                self.0
            }
            fn write(&mut self, bytes: &[u8]) {
                self.0 = bytes.len() as u64;
            }
        }
        impl BuildHasher for Length {
            type Hasher = State;
            fn build_hasher(&self) -> State {
                State(0)
            }
        }
        let hasher = KeyHasher::custom(Length);
        let mut seen = std::collections::HashSet::new();
        for length in 0..256 {
            seen.insert(hasher.hash(&vec![0; length]).shard(4));
        }
        assert_eq!(seen.len(), 16);
    }

    #[test]
    fn ahash_with_seeds_of_the_caller_hashes_like_the_default() {
        let custom = KeyHasher::custom(ahash::RandomState::with_seeds(1, 2, 3, 4));
        let default = KeyHasher::seeded(HashSeeds([1, 2, 3, 4]));
        assert_eq!(custom.hash(b"key"), default.hash(b"key"));
    }

    #[test]
    fn the_stable_hash_is_the_same_in_every_process() {
        // From the reference implementation of xxh3: XXH3_64bits("", seed 0).
        assert_eq!(StableHash::with_seed(0).hash_bytes(b""), 0x2d06_8005_38d3_94c2);
        let mut state = StableHash::with_seed(9).build_hasher();
        state.write(b"key");
        assert_eq!(state.finish(), StableHash::with_seed(9).hash_bytes(b"key"));
    }
}
