//! Requests for those who have no traces: three in four for popular keys, one in eight of a scan, the rest for
//! keys that are never asked for again.

use bytecache::policy::Request;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, LogNormal, Zipf};

const POPULAR_KEYS: u32 = 100_000;
const SCANNED_KEYS: u64 = 20_000;
/// Scanned keys, and those that come once, have numbers from here on.
const FIRST_SCANNED: u64 = 1 << 32;
const FIRST_SINGLE: u64 = 1 << 33;

/// The same `count` requests each time. A key keeps its size: 150 bytes in the median.
pub(crate) fn generate(count: usize) -> Vec<Request> {
    let mut random = SmallRng::seed_from_u64(1);
    let popularity = Zipf::new(f64::from(POPULAR_KEYS), 0.9).expect("keys, and a positive exponent");
    let mut scanned = 0;
    let key = |number: usize| match random.random_range(0..8) {
        0 => FIRST_SINGLE + number as u64,
        1 => {
            scanned += 1;
            FIRST_SCANNED + scanned % SCANNED_KEYS
        }
        #[allow(clippy::cast_possible_truncation, reason = "ranks are whole numbers up to the number of keys")]
        _ => popularity.sample(&mut random) as u64,
    };
    (0..count).map(key).map(|hash| Request { hash, charge: size_of(hash) }).collect()
}

fn size_of(key: u64) -> u32 {
    let sizes = LogNormal::new(150_f64.ln(), 1.2).expect("a finite deviation");
    #[allow(clippy::cast_possible_truncation, reason = "clamped")]
    let size = sizes.sample(&mut SmallRng::seed_from_u64(key)).clamp(1.0, 65_536.0) as u32;
    size
}
