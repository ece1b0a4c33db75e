//! Turns: the reads of a thread whose keys are counted, one in some number, whatever the key.
//!
//! Each thread counts its reads of caches with an advisor. A read that brings the count to its end
//! has a *turn*. Then the number of reads until the next turn is drawn: from 1 to twice the mean.
//! Traffic with a period would meet turns at a fixed distance with the same few keys.
//!
//! ```text
//!   reads  . . . * . . * . . . . . * . . * . * . . . . *
//!   batch        |     |           |     |   |         last: tells the cache of all their hashes,
//!                                                      and of the key of this read
//! ```
//!
//! Some turns in a row are a *batch*. All but its last turn only note the hash of their key, in the
//! thread: that takes 36 instructions. So threads meet at the counters of a cache once in a batch.
//! The number of turns in a batch is drawn, too: the last turns of batches of one length would meet
//! traffic with a period at the same few keys.
//!
//! The count is that of the thread, over all caches. A thread that turns to another cache leaves
//! its batch unfinished, and begins one there at a random place. The turns of an unfinished batch
//! do not count. Those of the rest of a batch stand for a whole one that is at least as long. So on
//! average, all reads are stood for, however often a thread turns to another cache, or ends.
//!
//! # Synchronization
//!
//! `THREADS` and `CACHES` are Relaxed: they only give each thread and each cache another number.

use core::cell::Cell;
use core::sync::atomic::{AtomicU64 as Count, Ordering};

use crate::policy::spread;

/// The largest mean number of reads to a turn.
pub(super) const MAX_READS: u32 = 1 << 20;
/// The largest mean number of turns in a batch. With more, a turn takes less. But a key without a
/// counter only gets one by the last turn of a batch.
pub(super) const MAX_TURNS: u32 = 9;
/// The places for hashes: a power of two, so that no place has to be checked.
const PLACES: usize = 32;
const _: () = assert!(2 * MAX_TURNS as usize - 1 <= PLACES);
/// The linear congruential generator of Knuth's MMIX. The high half of its numbers is random enough
/// for distances.
const FACTOR: u64 = 6_364_136_223_846_793_005;
const STEP: u64 = 1_442_695_040_888_963_407;

/// The frequency of turns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pace {
    /// The mean number of reads to a turn.
    pub(crate) reads_to_turn: u32,
    /// The mean number of turns in a batch.
    pub(crate) turns: u32,
}

/// The turns of a batch that has ended. The hashes stay in the thread, as a copy would take longer
/// than all else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch<'a> {
    /// The hash of the last turn.
    pub(super) last: u64,
    /// The hashes of the other turns, the latest first.
    pub(super) others: &'a [Cell<u64>],
    /// The reads that all turns stand for together.
    pub(super) reads: u32,
    /// The reads that a batch of the mean length stands for, and so the last turn among all turns.
    pub(super) mean_reads: u32,
}

impl Batch<'_> {
    /// Returns the number of turns.
    #[inline(always)]
    pub(super) fn turns(&self) -> usize {
        self.others.len() + 1
    }
}

/// The turns of a thread.
struct Turns {
    /// The number of the cache that has the batch, or 0 before the first turn.
    cache: Cell<u64>,
    /// The turns of the batch before the last one, and those of them that are to come.
    before_last: Cell<u32>,
    left: Cell<u32>,
    /// The number of distances to the next turn that may be drawn.
    distances: Cell<u32>,
    /// The reads that the batch stands for, and those of a batch of the mean length.
    reads: Cell<u32>,
    mean_reads: Cell<u32>,
    /// The number that was drawn last, or 0 if the thread has no seed yet.
    drawn: Cell<u64>,
    /// The hashes of turns, from the place `before_last` down to 1.
    hashes: [Cell<u64>; PLACES],
}

/// The threads that have had a turn, and the caches. They are no words of `sync/`, as models have
/// no turns.
static THREADS: Count = Count::new(0);
static CACHES: Count = Count::new(1);

thread_local! {
    static TURNS: Turns = const {
        Turns {
            cache: Cell::new(0),
            before_last: Cell::new(0),
            left: Cell::new(0),
            distances: Cell::new(0),
            reads: Cell::new(0),
            mean_reads: Cell::new(0),
            drawn: Cell::new(0),
            hashes: [const { Cell::new(0) }; PLACES],
        }
    };
    /// The reads before the next turn. It is alone, as each read changes it.
    static READS_LEFT: Cell<u32> = const { Cell::new(0) };
}

/// Counts a read of this thread. Returns `true` if it has a turn: then the caller calls
/// [`note_turn`]. The first read of a thread has one.
#[inline(always)]
pub(crate) fn count_read() -> bool {
    READS_LEFT.with(|left| {
        // Also stored if a turn is due, as one instruction does both. The turn sets another number.
        let (fewer, has_turn) = left.get().overflowing_sub(1);
        left.set(fewer);
        has_turn
    })
}

/// Notes a turn of this thread, in the cache with this number. Returns `false` if the batch is one
/// of another cache, or if this is its last turn: then the caller calls [`end_batch`].
#[inline(always)]
pub(crate) fn note_turn(cache: u64, hash: u64) -> bool {
    TURNS.with(|turns| {
        let left = turns.left.get();
        if turns.cache.get() != cache || left == 0 {
            return false;
        }
        turns.hashes[left as usize % PLACES].set(hash);
        turns.left.set(left - 1);
        READS_LEFT.set(turns.draw_distance());
        true
    })
}

/// Ends the batch of this thread with the present turn, in a cache with this pace, and calls
/// `count` with it. Calls nothing if the batch was one of another cache, unless one of this cache
/// ends at once.
#[inline(always)]
pub(crate) fn end_batch(cache: u64, hash: u64, pace: Pace, count: impl FnOnce(&Batch<'_>)) {
    TURNS.with(|turns| {
        if turns.cache.get() != cache && !turns.turn_to(cache, hash, pace) {
            return;
        }
        let batch = Batch {
            last: hash,
            // Never cut, as there is a place for each turn: it spares a branch that panics.
            others: &turns.hashes[1..][..(turns.before_last.get() as usize).min(PLACES - 1)],
            reads: turns.reads.get(),
            mean_reads: turns.mean_reads.get(),
        };
        // The next batch begins before `count`, which runs the clock of the caller, and may panic.
        turns.begin_batch(pace);
        READS_LEFT.set(turns.draw_distance());
        count(&batch);
    });
}

/// Returns a number for a cache, which no other one has.
pub(super) fn number_cache() -> u64 {
    CACHES.fetch_add(1, Ordering::Relaxed)
}

/// Gives the thread the turns that follow from a seed. For [tests](crate::testing).
pub(crate) fn begin_turns(seed: u64) {
    TURNS.with(|turns| {
        turns.cache.set(0);
        turns.drawn.set(spread(seed));
    });
    READS_LEFT.set(0);
}

impl Turns {
    /// Begins a batch in another cache at a random place, as if the thread had read it before.
    /// Returns `true` if the present turn is its last one.
    #[cold]
    #[inline(never)]
    fn turn_to(&self, cache: u64, hash: u64, pace: Pace) -> bool {
        let is_first = self.cache.get() == 0;
        if self.drawn.get() == 0 {
            // A number of its own for each thread, as its address may be that of a thread that has
            // ended.
            self.drawn.set(spread(THREADS.fetch_add(1, Ordering::Relaxed)));
        }
        self.cache.set(cache);
        self.begin_batch(pace);
        // The smaller of two numbers is as likely as the rest of a batch. A whole batch with such a
        // rest may have any number of turns from there on. With the mean number instead, batches
        // that end before the thread leaves would stand for too few reads, as they are the short
        // ones.
        let most = 2 * pace.turns - 1;
        let before_last = self.draw_below(most).min(self.draw_below(most + 1));
        self.before_last.set(before_last);
        self.left.set(before_last);
        self.reads.set(pace.reads_to_turn * (before_last + 1 + self.draw_below(most - before_last)));
        !(is_first && self.begin_within_distance() || note_turn(cache, hash))
    }

    fn begin_batch(&self, pace: Pace) {
        // One read after 0 to twice the mean of others has a turn, and one such turn ends a batch.
        let before_last = self.draw_below(2 * pace.turns - 1);
        self.before_last.set(before_last);
        self.left.set(before_last);
        self.distances.set(2 * pace.reads_to_turn - 1);
        self.reads.set(pace.reads_to_turn * (before_last + 1));
        self.mean_reads.set(pace.reads_to_turn * pace.turns);
    }

    /// Begins the turns of a thread in the middle of a distance. Returns `false` if its first read
    /// has a turn that counts.
    fn begin_within_distance(&self) -> bool {
        // The smaller of two numbers is as likely as the rest of a distance. Without that, threads
        // that end soon would count less.
        let distances = self.distances.get();
        let before = self.draw_below(distances).min(self.draw_below(distances + 1));
        READS_LEFT.set(before.saturating_sub(1));
        before > 0
    }

    #[inline(always)]
    fn draw_distance(&self) -> u32 {
        self.draw_below(self.distances.get())
    }

    /// Draws a number below `bound`.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "the top half of a product is below `bound`")]
    fn draw_below(&self, bound: u32) -> u32 {
        let drawn = self.drawn.get().wrapping_mul(FACTOR).wrapping_add(STEP);
        self.drawn.set(drawn);
        (((drawn >> 32) * u64::from(bound)) >> 32) as u32
    }
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "small numbers")]
mod tests {
    use super::*;

    /// A batch that has ended, with the hashes of all turns, the latest first.
    #[derive(Debug)]
    struct Ended {
        hashes: Vec<u64>,
        reads: u32,
        mean_reads: u32,
    }

    impl Ended {
        fn of(batch: &Batch<'_>) -> Self {
            let hashes: Vec<u64> = core::iter::once(batch.last).chain(batch.others.iter().map(Cell::get)).collect();
            assert_eq!(hashes.len(), batch.turns());
            Self { hashes, reads: batch.reads, mean_reads: batch.mean_reads }
        }
    }

    /// The batches of a thread, and the numbers of the reads that have their turns.
    fn batches(seed: u64, pace: Pace, reads: u32) -> Vec<Ended> {
        begin_turns(seed);
        let mut batches = Vec::new();
        let turns = (0..u64::from(reads)).filter(|_| count_read()).filter(|&read| !note_turn(1, read));
        turns.for_each(|read| end_batch(1, read, pace, |batch| batches.push(Ended::of(batch))));
        batches
    }

    /// Returns the reads with a turn that counts, and those that they stand for.
    fn counted(seed: u64, pace: Pace, reads: u32) -> Vec<(u64, f64)> {
        let batches = batches(seed, pace, reads).into_iter();
        let turns = |Ended { hashes, reads, .. }: Ended| {
            let each = f64::from(reads) / hashes.len() as f64;
            hashes.into_iter().map(move |read| (read, each))
        };
        batches.flat_map(turns).collect()
    }

    fn pace(reads_to_turn: u32, turns: u32) -> Pace {
        Pace { reads_to_turn, turns }
    }

    fn sum(turns: &[(u64, f64)]) -> f64 {
        turns.iter().map(|(_, reads)| reads).sum()
    }

    #[test]
    fn turns_stand_for_all_reads() {
        assert!(counted(1, pace(1, 1), 1_000).into_iter().eq((0..1_000).map(|read| (read, 1.0))));
        for (mean, turns) in [(1, 8), (2, 1), (10, 8), (128, 1), (128, 8)] {
            let counted = counted(2, pace(mean, turns), 400_000);
            assert!((sum(&counted) - 400_000.0).abs() < 20_000.0, "{} of 400,000 with {mean}", sum(&counted));
            assert!(counted.len() < 440_000 / mean as usize);
        }
    }

    #[test]
    fn a_batch_has_the_hashes_of_its_turns_and_any_number_of_them() {
        let mut lengths = [0; 15];
        let (mut first, mut whole) = (lengths, 0);
        for seed in 0..1_500 {
            let batches = batches(seed, pace(1, 8), 50);
            let mut turns = 0;
            for Ended { hashes, .. } in &batches {
                let reads = turns..turns + hashes.len() as u64;
                assert!(hashes.iter().copied().eq(reads.clone().rev()));
                turns = reads.end;
            }
            assert!(batches.iter().all(|batch| batch.mean_reads == 8));
            let [rest, next] = [&batches[0], &batches[1]];
            assert_eq!(next.reads as usize, next.hashes.len());
            assert!((rest.hashes.len()..16).contains(&(rest.reads as usize)));
            whole += rest.reads;
            first[rest.hashes.len() - 1] += 1;
            lengths[next.hashes.len() - 1] += 1;
        }
        assert!(lengths.iter().all(|threads| (60..150).contains(threads)), "{lengths:?}");
        // The rest of a batch has one turn in an eighth of threads, and 15 in one of 120.
        assert!((140..240).contains(&first[0]) && (1..40).contains(&first[14]), "{first:?}");
        // A batch that a thread begins in has 10.3 turns: the longer, the likelier.
        assert!((15_000..16_000).contains(&whole), "{whole}");
    }

    #[test]
    fn a_thread_whose_clock_panics_goes_on_with_the_next_batch() {
        begin_turns(8);
        let (pace, mut ended) = (pace(1, 1), 0);
        for read in 0..10_u64 {
            assert!(count_read() && !note_turn(1, read));
            let counts = || {
                end_batch(1, read, pace, |_| {
                    ended += 1;
                    assert_ne!(ended, 3, "the clock panics");
                });
            };
            assert_eq!(std::panic::catch_unwind(core::panic::AssertUnwindSafe(counts)).is_err(), read == 2);
        }
        assert_eq!(ended, 10);
    }

    #[test]
    fn the_last_turns_of_batches_are_at_no_fixed_distance() {
        let mut last = [0; 8];
        batches(7, pace(1, 8), 80_000).iter().for_each(|batch| last[batch.hashes[0] as usize % 8] += 1);
        assert!(last.iter().all(|turns| (1_000..1_500).contains(turns)), "{last:?}");
    }

    #[test]
    fn reads_at_a_fixed_distance_have_no_more_turns_than_others() {
        for turns in [1, 8] {
            let mut sums = [0.0; 128];
            for (read, reads) in counted(3, pace(128, turns), 2_000_000) {
                sums[read as usize % 128] += reads;
            }
            // Each of 128 keys is read 15,625 times, in turn.
            assert!(sums.iter().all(|reads| (7_000.0..25_000.0).contains(reads)), "{sums:?}");
        }
    }

    #[test]
    fn threads_that_read_a_few_times_count_together_and_each_of_their_reads_alike() {
        for turns in [1, 8] {
            let mut sums = [0.0; 5];
            for (read, reads) in (0..100_000).flat_map(|thread| counted(thread, pace(16, turns), 5)) {
                sums[read as usize] += reads;
            }
            assert!(sums.iter().all(|sum: &f64| (sum - 100_000.0).abs() < 15_000.0), "{sums:?} of 100,000 each");
        }
    }

    #[test]
    fn a_thread_that_turns_to_another_cache_begins_a_batch_there() {
        begin_turns(4);
        let (pace, mut sums, mut last) = (pace(1, 8), [0; 2], 0);
        for read in 0..80_000_u64 {
            // Four reads of each cache, in turn.
            let cache = 1 + read / 4 % 2;
            if !count_read() || note_turn(cache, cache) {
                continue;
            }
            end_batch(cache, cache, pace, |batch| {
                let batch = Ended::of(batch);
                assert!(batch.hashes.iter().all(|&hash| hash == cache), "{batch:?} after {last}");
                sums[cache as usize - 1] += batch.reads;
                last = read;
            });
        }
        assert!(sums.iter().all(|sum| (38_000..=42_000).contains(sum)), "{sums:?}");
        assert!(sums[0].abs_diff(sums[1]) < 1_500, "{sums:?}");
    }

    #[test]
    fn each_thread_has_turns_of_its_own() {
        let drawn = || {
            std::thread::spawn(|| {
                end_batch(1, 0, pace(MAX_READS, MAX_TURNS), |_| ());
                TURNS.with(|turns| turns.drawn.get())
            })
        };
        let [first, second] = [drawn().join().expect("no panic"), drawn().join().expect("no panic")];
        assert_ne!(first, second);
    }

    #[test]
    fn a_seed_gives_the_same_turns_again() {
        let pace = pace(16, 8);
        let turns = counted(5, pace, 10_000);
        assert_eq!(turns, counted(5, pace, 10_000));
        assert_ne!(turns, counted(6, pace, 10_000));
    }
}
