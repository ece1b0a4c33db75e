//! A mixture of requests such as caches meet, made from a seed.
//!
//! Each request comes from one of three sources:
//!
//! | share | source | keys, for n requests |
//! |---|---|---|
//! | 80 % | popularity: Zipf with exponent 0.9; every 50 requests two ranks, drawn evenly, swap their keys, so that what is popular drifts | n / 10 |
//! | 10 % | scans: runs over neighbouring keys from a random start, of 1/100 to 1/10 of the range, one after the other | n / 20 |
//! | 10 % | one-hit wonders: keys that are never asked for again | n / 10 |
//!
//! The runs of a scan are spread among the other requests. Sizes are log-normal with median 150
//! and mean 308 bytes, a key keeps its own, and none exceeds 256 KiB. The same count and seed give the
//! same requests.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, LogNormal, Zipf};

use super::trace::{Operation, Trace, TraceBuilder};

const ZIPF_EXPONENT: f64 = 0.9;
const REQUESTS_BETWEEN_SWAPS: usize = 50;
const MEDIAN_SIZE_BYTES: f64 = 150.0;
const SIZE_SIGMA: f64 = 1.2;
const MAX_SIZE_BYTES: f64 = 262_144.0;

/// Makes `count` requests.
pub(crate) fn generate(count: usize, seed: u64) -> Trace {
    let mut mixture = Mixture::new(count, seed);
    let mut builder = TraceBuilder::default();
    for index in 0..count {
        if index % REQUESTS_BETWEEN_SWAPS == 0 {
            mixture.drift();
        }
        let key = mixture.next_key();
        builder.push_number(key as u64, mixture.sizes_bytes[key], Operation::Fetch);
    }
    builder.finish()
}

/// Keys are positions in `sizes_bytes`: the popular ones, the scanned ones, then the wonders.
struct Mixture {
    random: StdRng,
    zipf: Zipf<f64>,
    size: LogNormal<f64>,
    key_of_rank: Vec<u32>,
    scanned_keys: usize,
    scan_next: usize,
    scan_left: usize,
    sizes_bytes: Vec<u32>,
}

impl Mixture {
    fn new(count: usize, seed: u64) -> Self {
        let popular_keys = u32::try_from(count / 10).unwrap_or(u32::MAX).max(2);
        let scanned_keys = (count / 20).max(1);
        let mut mixture = Self {
            random: StdRng::seed_from_u64(seed),
            zipf: Zipf::new(f64::from(popular_keys), ZIPF_EXPONENT).expect("two keys or more, a positive exponent"),
            size: LogNormal::new(MEDIAN_SIZE_BYTES.ln(), SIZE_SIGMA).expect("a finite deviation"),
            key_of_rank: (0..popular_keys).collect(),
            scanned_keys,
            scan_next: 0,
            scan_left: 0,
            sizes_bytes: Vec::new(),
        };
        for _ in 0..mixture.key_of_rank.len() + scanned_keys {
            mixture.add_key();
        }
        mixture
    }

    /// A key that did not exist, with a size of its own.
    fn add_key(&mut self) -> usize {
        let size = self.size.sample(&mut self.random).clamp(1.0, MAX_SIZE_BYTES);
        #[expect(clippy::cast_possible_truncation, reason = "clamped to 1..=256 KiB")]
        self.sizes_bytes.push(size as u32);
        self.sizes_bytes.len() - 1
    }

    fn drift(&mut self) {
        let ranks = self.key_of_rank.len();
        let (first, second) = (self.random.random_range(0..ranks), self.random.random_range(0..ranks));
        self.key_of_rank.swap(first, second);
    }

    fn next_key(&mut self) -> usize {
        match self.random.random_range(0..10) {
            0 => self.add_key(),
            1 => self.next_of_scan(),
            _ => {
                #[expect(clippy::cast_possible_truncation, reason = "ranks are 1..=popular_keys")]
                let rank = self.zipf.sample(&mut self.random) as usize;
                self.key_of_rank[rank.clamp(1, self.key_of_rank.len()) - 1] as usize
            }
        }
    }

    fn next_of_scan(&mut self) -> usize {
        if self.scan_left == 0 {
            self.scan_next = self.random.random_range(0..self.scanned_keys);
            self.scan_left = self.random.random_range(self.scanned_keys / 100..=self.scanned_keys / 10).max(1);
        }
        let key = self.key_of_rank.len() + self.scan_next;
        self.scan_next = (self.scan_next + 1) % self.scanned_keys;
        self.scan_left -= 1;
        key
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// How often each key is asked for.
    fn frequencies(trace: &Trace) -> HashMap<Vec<u8>, u32> {
        let mut frequencies = HashMap::new();
        for request in trace.requests() {
            *frequencies.entry(trace.key(request, &mut [0; 8]).to_vec()).or_default() += 1;
        }
        frequencies
    }

    #[test]
    fn a_seed_decides_every_request() {
        let requests = |seed| generate(20_000, seed).requests().to_vec();
        assert_eq!(requests(1), requests(1));
        assert_ne!(requests(1), requests(2));
    }

    #[test]
    fn the_mixture_has_hot_keys_and_wonders() {
        let trace = generate(100_000, 7);
        let frequencies = frequencies(&trace);
        let wonders = frequencies.values().filter(|count| **count == 1).count();
        let hottest = frequencies.values().max().copied().unwrap_or(0);
        assert!(wonders > 9_000, "{wonders}");
        assert!(hottest > 1_000, "{hottest}");
    }

    #[test]
    fn sizes_are_log_normal_and_bounded() {
        let trace = generate(100_000, 7);
        let mean = trace.unique_bytes() / trace.unique_keys() - 8;
        assert!((250..370).contains(&mean), "{mean}");
        assert!(trace.largest_bytes() > 3_000);
        assert!(f64::from(trace.largest_bytes()) <= MAX_SIZE_BYTES);
    }

    #[test]
    fn small_counts_work() {
        for count in [1, 2, 19, 20, 21] {
            assert_eq!(generate(count, 0).requests().len(), count);
        }
    }
}
