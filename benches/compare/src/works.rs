//! The works of the contenders: their keys and values, and the order of the requests.
//!
//! A key has 24 bytes, which a few multiplications make from its index. Keys are the same for all
//! contenders, and cheap enough to be made inside the measured loop. The indices are drawn before
//! the race into an array for each thread, so that no contender pays for the distribution.

use rand::{Rng, SeedableRng, rngs::SmallRng};
use rand_distr::{Distribution, Zipf};
use std::sync::Arc;

/// Length of every key in bytes.
pub const KEY_LEN: usize = 24;

/// Number of keys in one call of `get_many`.
pub const BATCH: usize = 16;

/// Number of requests for each thread. It is a power of two and a multiple of every block length.
const SAMPLES: usize = 1 << 22;

/// Byte limit of the cache in the work `insert`.
const INSERT_LIMIT_BYTES: usize = 256 << 20;

/// Bytes for each entry beyond key and value, in works in which everything has to fit.
const FITS_OVERHEAD_BYTES: usize = 64;

/// The operation of a work.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A read of a key that is present.
    Read,
    /// A read of sixteen keys that are present. Each key counts as an operation.
    ReadMany,
    /// A read of a key that is present, by the call that would load it.
    Load,
    /// Nine reads, then an update of the same size.
    Mixed,
    /// A read, then an update of the same size.
    Half,
    /// An update of the same size.
    Update,
    /// A read, and an insert after a miss.
    Aside,
    /// An insert of a new key.
    Insert,
}

impl Kind {
    /// Returns `true` if every key is inserted before the race and has to stay.
    pub fn fits(self) -> bool {
        !matches!(self, Kind::Aside | Kind::Insert)
    }
}

/// The distribution of the requested keys.
#[derive(Clone, Copy)]
pub enum Skew {
    Uniform,
    Zipf(f64),
}

/// One race: the entries, the requests, and the limit.
#[derive(Clone)]
pub struct Work {
    pub name: &'static str,
    pub kind: Kind,
    pub skew: Skew,
    /// The number of distinct keys that are requested. For `insert`, the number of entries that
    /// fit.
    pub keys: usize,
    pub value_len: usize,
    /// The limit of the contenders, in bytes of keys and values.
    pub max_bytes: usize,
    /// The number of entries that a contender may expect to hold, or 0 if it is told nothing of
    /// them.
    pub expected_entries: usize,
}

impl Work {
    /// The names of all works but [`VAST`](Self::VAST), in the order in which they are raced.
    pub const NAMES: [&str; 10] =
        ["hot", "uniform", "small", "large", "mixed", "aside", "insert", "hot-many", "uniform-many", "hot-load"];

    /// The name of the work with the most entries. It only runs if it is asked for: each contender
    /// takes 5 GiB or more.
    pub const VAST: &str = "vast";

    /// Returns the work called `name`, with its number of keys divided by `scale`. Returns `None`
    /// if there is no such work.
    pub fn named(name: &str, scale: usize) -> Option<Work> {
        use Kind::{Aside, Insert, Load, Mixed, Read, ReadMany};
        use Skew::{Uniform, Zipf};
        let work = match name {
            "hot" => Work::fitting("hot", Read, Zipf(0.99), 1_000_000, 256, scale),
            "uniform" => Work::fitting("uniform", Read, Uniform, 4_000_000, 256, scale),
            "small" => Work::fitting("small", Read, Uniform, 8_000_000, 16, scale),
            Work::VAST => Work::fitting(Work::VAST, Read, Uniform, 80_000_000, 8, scale),
            "large" => Work::fitting("large", Read, Zipf(0.99), 65_536, 8192, scale),
            "mixed" => Work::fitting("mixed", Mixed, Zipf(0.99), 1_000_000, 256, scale),
            "hot-many" => Work::fitting("hot-many", ReadMany, Zipf(0.99), 1_000_000, 256, scale),
            "uniform-many" => Work::fitting("uniform-many", ReadMany, Uniform, 4_000_000, 256, scale),
            "hot-load" => Work::fitting("hot-load", Load, Zipf(0.99), 1_000_000, 256, scale),
            "aside" => {
                let keys = 4_000_000 / scale;
                let max_bytes = keys / 10 * (KEY_LEN + 256);
                Work::bounded("aside", Aside, Zipf(0.9), keys, 256, max_bytes)
            }
            "insert" => {
                let max_bytes = INSERT_LIMIT_BYTES / scale;
                let keys = max_bytes / (KEY_LEN + 256);
                Work::bounded("insert", Insert, Uniform, keys, 256, max_bytes)
            }
            _ => return None,
        };
        Some(work)
    }

    /// Creates a work whose contenders have room for every key.
    pub fn fitting(name: &'static str, kind: Kind, skew: Skew, keys: usize, value_len: usize, scale: usize) -> Work {
        let keys = keys / scale;
        let max_bytes = keys * (KEY_LEN + value_len + FITS_OVERHEAD_BYTES) / 4 * 5;
        Work { name, kind, skew, keys, value_len, max_bytes, expected_entries: keys }
    }

    /// Creates a work whose contenders have to evict.
    pub fn bounded(
        name: &'static str,
        kind: Kind,
        skew: Skew,
        keys: usize,
        value_len: usize,
        max_bytes: usize,
    ) -> Work {
        let expected_entries = max_bytes / (KEY_LEN + value_len);
        Work { name, kind, skew, keys, value_len, max_bytes, expected_entries }
    }

    /// Returns the key and value bytes of one entry.
    pub fn payload_bytes(&self) -> usize {
        KEY_LEN + self.value_len
    }

    /// Returns a description of the work for the heading of its tables.
    pub fn describe(&self) -> String {
        let skew = match self.skew {
            _ if self.kind == Kind::Insert => String::from("new keys only"),
            Skew::Uniform => String::from("uniform"),
            Skew::Zipf(exponent) => format!("Zipf {exponent}"),
        };
        let doing = match self.kind {
            Kind::Read => "reads",
            Kind::ReadMany => "reads of 16 keys at once",
            Kind::Load => "reads that would load what is not there",
            Kind::Mixed => "reads and 10 % updates",
            Kind::Half => "reads and 50 % updates",
            Kind::Update => "updates",
            Kind::Aside => "reads, misses filled",
            Kind::Insert => "inserts",
        };
        format!(
            "{} keys of 24 B, values of {} B, {skew}, {doing}, limit {} MiB",
            self.keys,
            self.value_len,
            self.max_bytes >> 20
        )
    }

    /// Returns the requests of one thread in one round, as indices of keys. Popular keys are
    /// scattered. Each number of `draw` has requests of its own.
    pub fn samples(&self, draw: usize) -> Arc<[u32]> {
        if self.kind == Kind::Insert {
            return Arc::from([]);
        }
        let mut rng = SmallRng::seed_from_u64(0x5eed + draw as u64);
        let keys = self.keys as u64;
        let draw: Box<dyn FnMut() -> u64> = match self.skew {
            Skew::Uniform => Box::new(move || rng.random_range(0..keys)),
            Skew::Zipf(exponent) => {
                let zipf = Zipf::new(keys as f64, exponent).expect("a valid Zipf distribution");
                Box::new(move || scattered(zipf.sample(&mut rng) as u64 - 1, keys))
            }
        };
        std::iter::repeat_with(draw).take(SAMPLES).map(|index| index as u32).collect()
    }
}

/// Returns the key with this index. Different indices have different keys.
#[inline(always)]
pub fn key_of(index: u64) -> [u8; KEY_LEN] {
    let a = index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let b = (a ^ (a >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    let c = a.rotate_left(23) ^ b;
    let mut key = [0; KEY_LEN];
    key[..8].copy_from_slice(&a.to_le_bytes());
    key[8..16].copy_from_slice(&b.to_le_bytes());
    key[16..].copy_from_slice(&c.to_le_bytes());
    key
}

/// Returns a value of `len` bytes, which [`stamp`] assigns to a key.
pub fn blank_value(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + 3) as u8).collect()
}

/// Turns `value` into the value of the key with this index.
#[inline(always)]
pub fn stamp(value: &mut [u8], index: u64) {
    value[..8].copy_from_slice(&index.to_le_bytes());
}

/// Maps `rank` by a permutation of `0..n` that leaves neighbours far apart.
///
/// Mixes within the next power of two, again and again until the result is inside `0..n`. The loop
/// ends because the mixing is a permutation there.
fn scattered(rank: u64, n: u64) -> u64 {
    let bits = (64 - (n - 1).leading_zeros()).max(2);
    let mask = (1u64 << bits) - 1;
    let half = bits / 2;
    let mut x = rank;
    loop {
        x = x.wrapping_mul(0x9e37_79b9_7f4a_7c15) & mask;
        x ^= x >> half;
        x = x.wrapping_mul(0xd6e8_feb8_6659_fd93) & mask;
        x ^= x >> half;
        if x < n {
            return x;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn scattering_is_a_permutation() {
        for n in [3, 64, 1000, 4097] {
            let seen: HashSet<u64> = (0..n).map(|rank| scattered(rank, n)).collect();
            assert_eq!(seen.len() as u64, n);
            assert!(seen.iter().all(|&index| index < n));
        }
    }

    #[test]
    fn keys_of_different_indices_differ() {
        let keys: HashSet<[u8; KEY_LEN]> = (0..10_000).map(key_of).collect();
        assert_eq!(keys.len(), 10_000);
    }

    #[test]
    fn every_name_is_a_work() {
        for name in Work::NAMES.into_iter().chain([Work::VAST]) {
            assert_eq!(Work::named(name, 8).map(|work| work.name), Some(name));
        }
        assert!(Work::named("hit", 1).is_none());
    }
}
