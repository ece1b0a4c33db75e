//! A mixture of requests like those that caches meet, generated from a seed.
//!
//! Each request comes from one of three sources:
//!
//! | share | source | keys, for n requests |
//! |---|---|---|
//! | 80 % | popular keys, drawn from a Zipf distribution that drifts | n / 10 |
//! | 10 % | scans of neighbouring keys | n / 20 |
//! | 10 % | one-hit wonders, which are requested once | n / 10 |
//!
//! The exponent of the Zipf distribution is 7/8. Every 50 requests, two ranks exchange their keys,
//! so that the popular keys change. Both ranks are equally likely to be any rank.
//!
//! A scan starts at a random key and covers between 1/100 and 1/10 of the scanned keys. Its
//! requests are spread among the others. When it ends, the next one begins.
//!
//! Sizes are nearly log-normal, with a median of 150 bytes and a mean of 310. A key keeps its size,
//! and no size exceeds 256 KiB.
//!
//! # Reproducibility
//!
//! The same count and seed give the same requests on every machine, on which
//! `references/groundtruth.csv` depends. So the generator uses no logarithm and no power, whose
//! last digits differ between systems. Integers, and the square roots and quotients of IEEE 754,
//! are exact.

use crate::trace::{Operation, Trace, TraceBuilder, mix};

const REQUESTS_BETWEEN_SWAPS: usize = 50;
const MAX_SIZE_BYTES: u32 = 1 << 18;
/// The number one, in the fixed-point numbers with which sizes are computed.
const ONE: u64 = 1 << 16;
/// The binary logarithm of the median size. Between powers of two the curve is a line, so 2^7 *
/// 1.17 is 150.
const MEDIAN_LOG: u64 = 717 * ONE / 100;
/// The standard deviation of the binary logarithm of sizes, in percent. That of the natural
/// logarithm is 1.2.
const DEVIATION_PERCENT: u64 = 173;

/// Generates `count` requests.
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

/// A generator of random numbers: the hash of a counter.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0)
    }

    /// Returns a number below `end`, which must not be 0. All are equally likely, to within `end`
    /// in 2^64.
    fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// Returns an index below `len`, which must not be 0.
    fn index(&mut self, len: usize) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "below a usize")]
        let index = self.below(len as u64) as usize;
        index
    }

    /// Returns a size: two to the power of a sum of twelve uniform draws, which is nearly normal.
    fn size_bytes(&mut self) -> u32 {
        let draws = [self.next(), self.next(), self.next()];
        let sum: u64 = draws.iter().flat_map(|draw| [0, 16, 32, 48].map(|shift| (draw >> shift) % ONE)).sum();
        // The sum has a mean of 6 and a standard deviation of 1.
        let log = (MEDIAN_LOG * 100 + sum * DEVIATION_PERCENT).saturating_sub(6 * ONE * DEVIATION_PERCENT) / 100;
        // Between two powers of two, the curve is approximated by a line.
        let size = ((ONE + log % ONE) << (log / ONE)) / ONE;
        u32::try_from(size).unwrap_or(MAX_SIZE_BYTES).min(MAX_SIZE_BYTES)
    }
}

/// Ranks that are drawn by popularity. The weight of rank r, counted from 1, is r to the power of
/// -7/8.
struct Zipf {
    /// For each rank, the sum of the weights up to it.
    sums: Vec<u64>,
}

impl Zipf {
    fn new(ranks: u32) -> Self {
        let mut sum = 0;
        let weight = |rank: f64| {
            let eighth_root = rank.sqrt().sqrt().sqrt();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 1 to 2^31")]
            let weight = ((1_u64 << 31) as f64 * eighth_root / rank) as u64;
            weight.max(1)
        };
        let sums = (1..=ranks).map(|rank| {
            sum += weight(f64::from(rank));
            sum
        });
        Self { sums: sums.collect() }
    }

    /// Returns a rank, counted from 0.
    fn rank(&self, random: &mut Random) -> usize {
        let point = random.below(self.sums.last().copied().unwrap_or(1));
        self.sums.partition_point(|sum| *sum <= point)
    }
}

/// The state of the generator. Keys are positions in `sizes_bytes`: first the popular keys, then
/// the scanned keys, then the one-hit wonders.
struct Mixture {
    random: Random,
    popularity: Zipf,
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
            random: Random(mix(seed)),
            popularity: Zipf::new(popular_keys),
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

    /// Adds a new key with a size of its own, and returns it.
    fn add_key(&mut self) -> usize {
        self.sizes_bytes.push(self.random.size_bytes());
        self.sizes_bytes.len() - 1
    }

    fn drift(&mut self) {
        let ranks = self.key_of_rank.len();
        let (first, second) = (self.random.index(ranks), self.random.index(ranks));
        self.key_of_rank.swap(first, second);
    }

    fn next_key(&mut self) -> usize {
        match self.random.below(10) {
            0 => self.add_key(),
            1 => self.next_of_scan(),
            _ => self.key_of_rank[self.popularity.rank(&mut self.random)] as usize,
        }
    }

    fn next_of_scan(&mut self) -> usize {
        if self.scan_left == 0 {
            self.scan_next = self.random.index(self.scanned_keys);
            let (shortest, longest) = (self.scanned_keys / 100, self.scanned_keys / 10);
            self.scan_left = (shortest + self.random.index(longest - shortest + 1)).max(1);
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

    /// Returns the number of requests for each key.
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
        let mut sizes: Vec<_> = trace.requests().iter().map(|request| (request.key, request.size_bytes)).collect();
        sizes.sort_unstable();
        sizes.dedup();
        let mut sizes: Vec<_> = sizes.into_iter().map(|(_, size)| size).collect();
        sizes.sort_unstable();
        let (median, mean) = (sizes[sizes.len() / 2], trace.unique_bytes() / trace.unique_keys() - 8);
        assert!((140..160).contains(&median), "{median}");
        assert!((260..340).contains(&mean), "{mean}");
        assert!(trace.largest_bytes() > 3_000);
        assert!(trace.largest_bytes() <= MAX_SIZE_BYTES);
    }

    #[test]
    fn small_counts_work() {
        for count in [1, 2, 19, 20, 21] {
            assert_eq!(generate(count, 0).requests().len(), count);
        }
    }

    #[test]
    fn ranks_are_drawn_by_their_weights() {
        const DRAWS: u64 = 100_000;
        let zipf = Zipf::new(256);
        let weights: Vec<_> = [0].iter().chain(&zipf.sums).zip(&zipf.sums).map(|(before, sum)| sum - before).collect();
        // 256 to the power of -7/8 is 1/128.
        assert_eq!((weights[0], weights[255]), (1 << 31, 1 << 24));
        let mut random = Random(0);
        let mut drawn = vec![0_u64; 256];
        (0..DRAWS).for_each(|_| drawn[zipf.rank(&mut random)] += 1);
        for rank in [0, 1, 255] {
            let expected = DRAWS * weights[rank] / zipf.sums[255];
            assert!(drawn[rank].abs_diff(expected) < 30 + expected / 20, "rank {rank}: {}", drawn[rank]);
        }
    }
}
