//! The deadlines of a shard: a timing wheel over the buckets of the index, and its part of the
//! account.
//!
//! The wheel files buckets, twelve entries each, and not entries. A bucket that it hands out is
//! searched for the entries that are due, and filed again for the others (`expire.rs`). A shard has
//! no wheel until its first entry with a deadline comes.
//!
//! # Invariants
//!
//! 1. A bucket with an entry that is to be removed at some tick is filed under that tick or an
//!    earlier one.
//! 2. The account holds `bytes` for the wheel: its footprint.

use std::boxed::Box;

use super::account::Account;
use super::entries::Entries;
use crate::expiry::{Rules, Wheel};
use crate::hash::KeyHash;
use crate::units::{EntryId, Tick};

/// The timing wheel of a shard, if it has one.
pub(super) struct Deadlines {
    wheel: Option<Box<Wheel>>,
    /// Bytes that the account holds for the wheel.
    bytes: usize,
    /// Lifetimes that have been left to chance so far.
    draws: u64,
}

impl Deadlines {
    pub(super) fn new() -> Self {
        Self { wheel: None, bytes: 0, draws: 0 }
    }

    /// Returns `true` if there is a wheel.
    #[inline]
    pub(super) fn has_wheel(&self) -> bool {
        self.wheel.is_some()
    }

    /// Returns `true` if no bucket is filed.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.wheel.as_ref().is_none_or(|wheel| wheel.is_empty())
    }

    /// Returns the bytes that the account holds for the wheel.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the bytes that this wheel needs for an index of `buckets`.
    pub(super) fn footprint(&self, buckets: usize) -> usize {
        if self.has_wheel() { Wheel::footprint(buckets) } else { 0 }
    }

    /// Creates the wheel for an index of `buckets`. The caller has taken its
    /// [footprint](Wheel::footprint) from the account.
    pub(super) fn create_wheel(&mut self, buckets: usize, now: Tick) {
        debug_assert!(self.wheel.is_none());
        self.bytes = Wheel::footprint(buckets);
        self.wheel = Some(Box::new(Wheel::new(buckets, now)));
    }

    /// Sets the number of buckets, and takes a bounded step towards the memory for them. Returns
    /// `true` once that is done. The caller has taken the [footprint](Self::footprint) from the
    /// account, or gives the difference back then. Buckets that are dropped have no entries.
    #[must_use]
    pub(super) fn resize(&mut self, buckets: usize) -> bool {
        let is_done = self.wheel.as_mut().is_none_or(|wheel| wheel.resize(buckets));
        if is_done {
            self.bytes = self.footprint(buckets);
        }
        is_done
    }

    /// [Resizes](Self::resize) the wheel to no more buckets than it has. The account gets back what
    /// is free again.
    #[must_use]
    pub(super) fn fit(&mut self, buckets: usize, account: &Account) -> bool {
        let before = self.bytes;
        let is_done = self.resize(buckets);
        account.give(before - self.bytes);
        is_done
    }

    /// Forgets a bucket that is about to be dropped.
    pub(super) fn forget(&mut self, bucket: usize) {
        if let Some(wheel) = &mut self.wheel {
            wheel.forget(bucket);
        }
    }

    /// Takes out the next bucket that is due at `now`, as long as there are `steps`.
    pub(super) fn next_due(&mut self, now: Tick, steps: &mut usize) -> Option<usize> {
        self.wheel.as_mut()?.next_due(now, steps)
    }

    /// Returns the next buckets that will be due, as far as that is known.
    pub(super) fn upcoming(&self) -> [Option<usize>; 2] {
        self.wheel.as_ref().map_or([None, None], |wheel| wheel.upcoming())
    }

    /// Prefetches what [`file`](Self::file) changes for this bucket.
    #[inline]
    pub(super) fn prefetch(&self, bucket: usize) {
        if let Some(wheel) = &self.wheel {
            wheel.prefetch(bucket);
        }
    }

    /// Returns the tick up to which buckets have been taken out.
    pub(super) fn elapsed(&self) -> Option<Tick> {
        self.wheel.as_ref().map(|wheel| wheel.elapsed())
    }

    /// Files the bucket of an entry that is to be removed at `removal`.
    #[inline]
    pub(super) fn file(&mut self, id: EntryId, removal: Option<Tick>) {
        if let (Some(removal), Some(wheel)) = (removal, &mut self.wheel) {
            wheel.file(id.bucket(), removal);
        }
    }

    /// Forgets all buckets.
    pub(super) fn clear(&mut self) {
        if let Some(wheel) = &mut self.wheel {
            wheel.clear();
        }
    }

    /// Returns a seed that differs for each key and each call.
    pub(super) fn next_seed(&mut self, hash: KeyHash) -> u64 {
        self.draws += 1;
        hash.get() ^ self.draws
    }

    /// Recounts what the wheel should know, and panics where it does not. `reached` is the shard's
    /// time.
    pub(super) fn validate(&self, entries: &Entries, rules: &Rules, reached: Tick) {
        let Some(wheel) = &self.wheel else {
            assert_eq!(self.bytes, 0);
            return;
        };
        wheel.validate();
        assert!(wheel.members() >= entries.table().buckets());
        // More while the wheel gives memory back.
        assert!(self.bytes >= Wheel::footprint(wheel.members()));
        assert!(reached <= wheel.elapsed());
        for bucket in 0..entries.table().buckets() {
            for (id, live) in entries.in_bucket(bucket) {
                let Some(removal) = rules.times(&entries.stamps(live), reached).removal else { continue };
                let filed = wheel.filed_under(bucket);
                assert!(filed.is_some_and(|filed| filed <= removal), "{id:?} dies at {removal:?}, filed {filed:?}");
                assert!(removal >= reached, "{id:?} should be gone");
            }
        }
    }
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "Miri maps no memory")]
    fn a_wheel_that_becomes_smaller_is_counted_until_its_memory_is_given_back() {
        const AT_ONCE: usize = 2 * (512 << 10);
        let mut deadlines = Deadlines::new();
        deadlines.create_wheel(500_000, Tick::new(0));
        let (before, mut rounds) = (deadlines.bytes(), 0);
        while !deadlines.resize(1_000) {
            assert_eq!(deadlines.bytes(), before);
            rounds += 1;
        }
        assert_eq!(deadlines.bytes(), Wheel::footprint(1_000));
        assert!(rounds >= before / AT_ONCE, "{rounds} rounds for {before} bytes");
    }
}
