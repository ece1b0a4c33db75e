//! Turns: the reads of a thread whose keys are counted, one in some number, whatever the key.
//!
//! Each thread counts its reads of caches with an advisor. A read that brings the count to its end
//! has a *turn*. Then the number of reads until the next turn is drawn: from 1 to twice the mean.
//! Traffic with a period would meet turns at a fixed distance with the same few keys.
//!
//! The count is that of the thread, over all these caches. After a turn, the cache that was read
//! sets the mean for the next one. That turn stands for as many reads as this mean.
//!
//! # Synchronization
//!
//! `THREADS` is Relaxed: it only gives each thread another number.

use core::cell::Cell;
use core::sync::atomic::{AtomicU64 as ThreadCount, Ordering};

use crate::policy::spread;

/// The largest mean number of reads to a turn.
pub(super) const MAX_READS: u32 = 1 << 20;

/// The turns of a thread.
#[derive(Clone, Copy)]
struct Turns {
    /// The mean number of reads to the next turn, or 0 before the first turn.
    mean: u32,
    /// The bits that were drawn last, or `None` if the thread has no seed yet.
    drawn: Option<u64>,
}

/// The threads that have had a turn. It is no word of `sync/`, as models have no turns.
static THREADS: ThreadCount = ThreadCount::new(0);

thread_local! {
    static TURNS: Cell<Turns> = const { Cell::new(Turns { mean: 0, drawn: None }) };
    /// The reads before the next turn. It is alone, as each read changes it.
    static READS_LEFT: Cell<u32> = const { Cell::new(0) };
}

/// Counts a read of this thread. Returns `true` if it has a turn: then the caller calls
/// [`end_turn`]. The first read of a thread has one.
#[inline(always)]
pub(crate) fn count_read() -> bool {
    READS_LEFT.with(|left| {
        // Also stored if a turn is due, as one instruction does both. The turn sets another number.
        let (fewer, has_turn) = left.get().overflowing_sub(1);
        left.set(fewer);
        has_turn
    })
}

/// Ends a turn of this thread, in a cache with this mean number of reads to a turn. Returns the
/// number of reads that the read with the turn stands for, which may be 0.
pub(crate) fn end_turn(mean: u32) -> u32 {
    let mut turns = TURNS.get();
    // A number of its own for each thread, as its address may be that of a thread that has ended.
    let (reads, left) = turns.end(mean, || THREADS.fetch_add(1, Ordering::Relaxed));
    TURNS.set(turns);
    READS_LEFT.set(left);
    reads
}

/// Gives the thread the turns that follow from a seed. For [tests](crate::testing).
pub(crate) fn begin_turns(seed: u64) {
    TURNS.set(Turns { mean: 0, drawn: Some(seed) });
    READS_LEFT.set(0);
}

impl Turns {
    /// Ends a turn. Returns the number of reads that it stands for, and the number of reads before
    /// the next turn.
    fn end(&mut self, mean: u32, seed: impl Fn() -> u64) -> (u32, u32) {
        let mean = mean.clamp(1, MAX_READS);
        let mut next = || {
            let drawn = spread(self.drawn.unwrap_or_else(&seed).wrapping_add(1));
            self.drawn = Some(drawn);
            drawn
        };
        // One read after 0 to twice the mean of others has a turn.
        let most = 2 * mean - 1;
        let reads = core::mem::replace(&mut self.mean, mean);
        if reads > 0 {
            return (reads, below(next(), most));
        }
        // The thread begins in the middle of such a distance. The smaller of two numbers is as
        // likely as the rest of a distance. Without that, threads that end soon would count less.
        let bits = next();
        match below(bits, most).min(below(bits.rotate_left(32), most + 1)) {
            0 => (mean, below(next(), most)),
            before => (0, before - 1), // The first read always has a turn, which counts nothing.
        }
    }
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

    /// Returns the reads with a turn, of `reads` reads of a thread, and those that they stand for.
    fn counted(seed: u64, mean: u32, reads: u32) -> Vec<(u32, u32)> {
        begin_turns(seed);
        (0..reads).filter(|_| count_read()).map(|read| (read, end_turn(mean))).collect()
    }

    fn sum(turns: &[(u32, u32)]) -> u32 {
        turns.iter().map(|(_, reads)| reads).sum()
    }

    #[test]
    fn turns_stand_for_all_reads() {
        assert_eq!(counted(1, 1, 1_000).len(), 1_000);
        for mean in [2, 10, 128] {
            let turns = counted(2, mean, 400_000);
            assert!(sum(&turns).abs_diff(400_000) < 20_000, "{} of 400,000 with {mean}", sum(&turns));
            assert!(turns.len() < 440_000 / mean as usize);
        }
    }

    #[test]
    fn reads_at_a_fixed_distance_have_no_more_turns_than_others() {
        let mut turns = [0_u32; 128];
        for (read, reads) in counted(3, 128, 2_000_000) {
            turns[read as usize % 128] += reads;
        }
        // Each of 128 keys is read 15,625 times, in turn.
        assert!(turns.iter().all(|&reads| (7_000..25_000).contains(&reads)), "{turns:?}");
    }

    #[test]
    fn threads_that_read_a_few_times_count_together_and_each_of_their_reads_alike() {
        let mut sums = [0; 5];
        for (read, reads) in (0..50_000).flat_map(|thread| counted(thread, 16, 5)) {
            sums[read as usize] += reads;
        }
        assert!(sums.iter().all(|sum| sum.abs_diff(50_000) < 5_000), "{sums:?} of 50,000 each");
    }

    #[test]
    fn each_thread_has_turns_of_its_own() {
        let drawn = || {
            std::thread::spawn(|| {
                end_turn(MAX_READS);
                TURNS.get().drawn
            })
        };
        let [first, second] = [drawn().join().expect("no panic"), drawn().join().expect("no panic")];
        assert_ne!(first, second);
    }

    #[test]
    fn a_seed_gives_the_same_turns_again() {
        let turns = counted(5, 16, 10_000);
        assert_eq!(turns, counted(5, 16, 10_000));
        assert_ne!(turns, counted(6, 16, 10_000));
    }
}
