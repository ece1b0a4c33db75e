//! Turns: the reads of a thread whose keys are counted, one in some number, whatever the key.
//!
//! Each thread counts its reads of caches with an advisor in its record (`reclaim/slots.rs`). A
//! read that brings the count to its end has a *turn*. Then the number of reads until the next turn
//! is drawn: from 1 to twice the mean. Traffic with a period would meet turns at a fixed distance
//! with the same few keys.
//!
//! The count is that of the thread, over all these caches. The cache that has a turn sets the mean
//! of the next one. So a read counts with the mean that was valid for it: one turn in `n` reads
//! stands for `n` reads.

use core::cell::Cell;

use crate::policy::spread;
use crate::reclaim::set_turn;

/// The largest mean number of reads to a turn.
pub(super) const MAX_READS: u32 = 1 << 20;

/// The turns of a thread.
#[derive(Clone, Copy)]
struct Turns {
    /// The mean number of reads to the next turn, or 0 before the first turn.
    mean: u32,
    drawn: u64,
}

thread_local! {
    static TURNS: Cell<Turns> = const { Cell::new(Turns { mean: 0, drawn: 0 }) };
}

/// Ends a turn of this thread, in a cache with this mean number of reads to a turn. Returns the
/// number of reads that the read with the turn stands for, which may be 0.
pub(crate) fn end_turn(mean: u32) -> u32 {
    let mean = mean.clamp(1, MAX_READS);
    let drawn = |turns: &Cell<Turns>| {
        let former = turns.get();
        // The address of the cell tells threads apart.
        let seed = if former.mean == 0 { spread(core::ptr::from_ref(turns).addr() as u64) } else { former.drawn };
        let drawn = spread(seed.wrapping_add(1));
        turns.set(Turns { mean, drawn });
        set_turn(below(drawn, 2 * mean - 1));
        match former.mean {
            // The first read of a thread always has a turn.
            0 if below(drawn.rotate_left(32), mean) == 0 => mean,
            reads => reads,
        }
    };
    TURNS.try_with(drawn).unwrap_or(0)
}

/// Returns a number below `bound` from random bits.
#[allow(clippy::cast_possible_truncation, reason = "the top half of a product is below `bound`")]
fn below(bits: u64, bound: u32) -> u32 {
    (((bits >> 32) * u64::from(bound)) >> 32) as u32
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::reclaim::count_read;

    /// Returns the reads that turns stand for, of `reads` reads of a thread.
    fn counted(mean: u32, reads: u32) -> Vec<u32> {
        let turns = move || (0..reads).filter(|_| count_read()).map(|_| end_turn(mean)).collect();
        std::thread::spawn(turns).join().expect("no panic")
    }

    #[test]
    fn turns_stand_for_all_reads() {
        assert_eq!(counted(1, 1_000).len(), 1_000);
        for mean in [2, 10, 128] {
            let turns = counted(mean, 400_000);
            let sum: u32 = turns.iter().sum();
            assert!(sum.abs_diff(400_000) < 20_000, "{sum} of 400,000 with {mean}");
            assert!(turns.len() < 440_000 / mean as usize);
        }
    }

    #[test]
    fn reads_at_a_fixed_distance_have_no_more_turns_than_others() {
        let turns = std::thread::spawn(|| {
            let mut turns = [0_u32; 128];
            for read in 0..2_000_000 {
                if count_read() {
                    turns[read % 128] += end_turn(128);
                }
            }
            turns
        });
        let turns = turns.join().expect("no panic");
        // Each of 128 keys is read 15,625 times, in turn.
        assert!(turns.iter().all(|&reads| (7_000..25_000).contains(&reads)), "{turns:?}");
    }
}
