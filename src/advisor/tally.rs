//! The hits and misses of the shadows, in groups of keys.
//!
//! Each sampled key belongs to one of 64 groups, by its hash. Sums are kept for each group, so the
//! differences between groups show how far the sums of a sample are off: this is the method of
//! random groups (Wolter, Introduction to Variance Estimation).
//!
//! An operation counts with a weight: the number of operations that it stands for. It is one over
//! the share of keys that were sampled at the time. All sums are halved once in a while. So recent
//! traffic counts more than older traffic.

use crate::policy::spread;

/// The number of groups.
pub(super) const GROUPS: usize = 64;

/// One number for each group.
pub(super) type Groups = [f64; GROUPS];

/// The sums of one shadow.
#[derive(Clone, Debug)]
pub(super) struct ShadowTally {
    /// Reads that missed.
    pub(super) missed: Groups,
    /// The charges of entries that reads missed.
    pub(super) missed_bytes: Groups,
}

impl Default for ShadowTally {
    fn default() -> Self {
        Self { missed: [0.0; GROUPS], missed_bytes: [0.0; GROUPS] }
    }
}

/// The sums of all shadows, and of the sampled keys.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    /// Reads of sampled keys.
    pub(super) reads: Groups,
    /// Reads of sampled keys that missed in the cache itself.
    pub(super) live_missed: Groups,
    /// The charges of entries that were read.
    pub(super) read_bytes: Groups,
    /// The charges of entries that reads found in the cache itself.
    pub(super) hit_bytes: Groups,
    pub(super) shadows: Box<[ShadowTally]>,
    /// Reads of sampled keys, each counted as one.
    pub(super) sampled: f64,
}

impl Tally {
    pub(super) fn new(shadows: usize) -> Self {
        Self {
            reads: [0.0; GROUPS],
            live_missed: [0.0; GROUPS],
            read_bytes: [0.0; GROUPS],
            hit_bytes: [0.0; GROUPS],
            shadows: vec![ShadowTally::default(); shadows].into(),
            sampled: 0.0,
        }
    }

    /// Returns the bytes that [`new`](Self::new) allocates.
    pub(super) fn footprint(shadows: usize) -> usize {
        shadows * size_of::<ShadowTally>()
    }

    /// Multiplies all sums by `factor`.
    pub(super) fn scale(&mut self, factor: f64) {
        let shadows = self.shadows.iter_mut().flat_map(|shadow| [&mut shadow.missed, &mut shadow.missed_bytes]);
        let shared = [&mut self.reads, &mut self.live_missed, &mut self.read_bytes, &mut self.hit_bytes];
        shared.into_iter().chain(shadows).flatten().for_each(|sum| *sum *= factor);
        self.sampled *= factor;
    }
}

/// Returns the group of a key. Its bits do not choose which keys are sampled.
#[allow(clippy::cast_possible_truncation, reason = "below GROUPS")]
pub(super) fn group_of(hash: u64) -> usize {
    (spread(hash) >> 3) as usize % GROUPS
}
