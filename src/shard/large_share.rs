//! How much of what a shard stores is large, and so where large entries go.
//!
//! Where most of it is large, large entries share runs of chunks. Elsewhere small entries fill what
//! large ones leave of their chunks, and a run would have to be emptied of many small ones first.

use crate::ring::{Home, Ring};
use crate::stats::WriteCounts;

/// Large entries share runs where they are at least this part of the bytes that are stored.
const MOSTLY_LARGE: (u64, u64) = (3, 4);
/// The divisor of the ring's bytes that gives how many of them that part is measured over.
const STRETCH_SHARE: u64 = 4;

/// Weighs the large entries among those that are stored.
#[derive(Debug, Default)]
pub(super) struct LargeShare {
    /// The bytes that had been inserted when this stretch began.
    inserted: u64,
    /// Charges of large entries since.
    large: u64,
}

impl LargeShare {
    /// Notes that an entry of this charge, which is not small, is to be stored.
    pub(super) fn note(&mut self, charge: usize, ring: &Ring, counts: &WriteCounts) {
        let stretch_max = ring.usual_bytes() as u64 / STRETCH_SHARE;
        self.large += charge as u64;
        let stretch = counts.inserted_bytes - self.inserted;
        if stretch > stretch_max {
            self.inserted += stretch / 2;
            self.large /= 2;
        }
    }

    /// Returns `true` if most of what is stored is large.
    pub(super) fn is_most(&self, counts: &WriteCounts) -> bool {
        self.large * MOSTLY_LARGE.1 >= (counts.inserted_bytes - self.inserted) * MOSTLY_LARGE.0
    }

    /// Returns where an entry of this charge goes.
    pub(super) fn home(&self, charge: usize, ring: &Ring, counts: &WriteCounts) -> Home {
        match charge {
            _ if charge <= ring.small_max() => Home::Chunk,
            _ if self.is_most(counts) => ring.home(charge),
            _ if charge <= ring.chunk_bytes() => Home::Chunk,
            _ => Home::Alone(ring.span_alone(charge)),
        }
    }
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::{Alignment, RingSize};

    #[test]
    fn large_entries_share_runs_only_where_most_of_what_is_stored_is_large() {
        let ring = Ring::new(RingSize::fixed(64), 12, Alignment::new(1).expect("an alignment")).expect("memory");
        let charge = ring.chunk_bytes() + 40;
        let (mut share, mut counts) = (LargeShare::default(), WriteCounts::default());
        let mut store = |share: &mut LargeShare, small: usize, rounds: usize| {
            for _ in 0..rounds {
                share.note(charge, &ring, &counts);
                counts.inserted_bytes += (charge + small) as u64;
            }
            share.home(charge, &ring, &counts)
        };
        assert!(matches!(store(&mut share, 0, 100), Home::Shared(_)));
        assert_eq!(store(&mut share, 3 * charge, 100), Home::Alone(2));
        assert!(matches!(store(&mut share, charge / 8, 100), Home::Shared(_)));
    }
}
