//! Clearing: all entries of a shard leave, a bounded part of them with each hold of the lock.
//!
//! ```text
//!   Begin -> Entries -> Chunks -> Index -> End -> Absent -> Done
//! ```
//!
//! * **Begin.** Loads in progress are detached.
//! * **Entries.** The entries of some buckets are removed, in the order of the buckets.
//! * **Chunks.** The ring gives free chunks back to the system.
//! * **Index.** So does the index with its memory, unless another thread has stored meanwhile.
//! * **End.** An empty shard gives its last free chunks back. It gets another policy, without
//!   ghosts.
//! * **Absent.** The ring gives the memory back that absent chunks have because they share a huge
//!   page.
//!
//! Other threads read and store between two steps. What they store may be removed or stay.
//! *Absent* comes last, because what they store before *End* may make huge pages resident again.
//!
//! # Invariants
//!
//! 1. An entry that is present at the begin lies in a bucket that the clear has not passed, or has
//!    left. If a sweep moves one to a bucket that was passed, that entry is removed at once
//!    ([`Clears::is_passed_by`]). So nothing depends on the hashes of a custom hasher.

use super::account::Account;
use super::flights::Flights;
use super::writer::Writer;
use super::{Shard, State};
use crate::policy::EvictionPolicy;
use crate::removal::RemovalCause;
use crate::ring::RELEASED_AT_ONCE;
use crate::units::{EntryId, LANES};

/// The units of work in a step. It removes at most as many buckets of entries: 768.
const UNITS: usize = 64;
/// The bytes that are given back to the system for one unit.
const BYTES_OF_A_UNIT: usize = 64 << 10;
/// The units of work for a call to the system that gives back memory of absent chunks. Most of it
/// is not resident, so a megabyte costs one.
const UNITS_OF_A_RELEASE: usize = 16;
const _: () = assert!(RELEASED_AT_ONCE == UNITS_OF_A_RELEASE << 20);
/// The number of buckets by which headers are prefetched ahead.
const AHEAD: usize = 2;

/// The clears in progress: the number of each, and the buckets that it has passed.
#[derive(Debug, Default)]
pub(super) struct Clears {
    begun: u32,
    positions: Vec<(u32, usize)>,
}

impl Clears {
    fn begin(&mut self) -> u32 {
        self.begun = self.begun.wrapping_add(1);
        self.positions.push((self.begun, 0));
        self.begun
    }

    fn pass(&mut self, clear: u32, bucket: usize) {
        let position = self.positions.iter_mut().find(|(number, _)| *number == clear);
        if let Some((_, passed)) = position {
            *passed = bucket;
        }
    }

    /// Forgets a clear, if it is still known.
    fn end(&mut self, clear: u32) {
        self.positions.retain(|&(number, _)| number != clear);
    }

    /// Returns `true` if a clear is in progress.
    pub(super) fn is_any(&self) -> bool {
        !self.positions.is_empty()
    }

    /// Returns `true` if an entry that changes its lane would be missed by a clear in progress.
    #[inline]
    pub(super) fn is_passed_by(&self, from: EntryId, to: EntryId) -> bool {
        self.positions.iter().any(|&(_, passed)| from.bucket() >= passed && to.bucket() < passed)
    }
}

/// The next part of a clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Begin,
    /// The next bucket.
    Entries {
        bucket: usize,
    },
    /// The most chunks that are still given back.
    Chunks {
        left: usize,
    },
    /// The next bucket whose memory is given back.
    Index {
        bucket: usize,
    },
    End,
    /// The next chunk whose memory is given back if it is absent.
    Absent {
        chunk: usize,
    },
    Done,
}

/// A clear of a shard. It may end early by a panic of user code, which empties the shard.
struct Clear<'a> {
    shard: &'a Shard,
    stage: Stage,
    /// Its number among [`Clears`], from its begin on.
    number: u32,
    /// The former policy, and the bytes that the account holds for it. It is dropped without the
    /// lock, as its memory may be large.
    former_policy: Option<(Box<dyn EvictionPolicy>, usize)>,
    /// The loads in progress that were detached. They are dropped without the lock, too.
    detached: Flights,
}

impl<'a> Clear<'a> {
    fn of(shard: &'a Shard) -> Self {
        Self { shard, stage: Stage::Begin, number: 0, former_policy: None, detached: Flights::default() }
    }
}

impl Clear<'_> {
    /// Drops the former policy, if another one has taken its place.
    fn drop_former_policy(&mut self) {
        if let Some((policy, bytes)) = self.former_policy.take() {
            // The account gets the bytes back even if the drop of a custom policy panics.
            let _given = GivenBack { account: &self.shard.account, bytes };
            drop(policy);
        }
    }
}

impl Drop for Clear<'_> {
    fn drop(&mut self) {
        if !matches!(self.stage, Stage::Begin | Stage::Done) {
            self.shard.state.lock().clears.end(self.number);
        }
        self.drop_former_policy();
    }
}

/// Bytes that the account gets back when this is dropped.
struct GivenBack<'a> {
    account: &'a Account,
    bytes: usize,
}

impl Drop for GivenBack<'_> {
    fn drop(&mut self) {
        self.account.give(self.bytes);
    }
}

impl Shard {
    /// Removes all entries that are present. Holds the lock for a bounded part of them at a time.
    pub(crate) fn clear(&self) {
        let mut clear = Clear::of(self);
        // Ends: each step gets further, and an index has a largest size.
        while clear.stage != Stage::Done {
            self.write(|writer| writer.clear_in_steps(&mut clear));
            clear.drop_former_policy();
        }
    }
}

impl Writer<'_> {
    fn clear_in_steps(&mut self, clear: &mut Clear<'_>) {
        self.drain_touches();
        let mut units = UNITS;
        // At least one unit, although expiry alone may have made the removals many.
        while units > 0 && clear.stage != Stage::Done && (units == UNITS || !self.removals_are_many()) {
            let (next, cost) = match clear.stage {
                Stage::Begin => {
                    clear.detached = self.detach_flights();
                    clear.number = self.begin_clear();
                    (Stage::Entries { bucket: 0 }, 0)
                }
                Stage::Entries { bucket } if bucket < self.state.entries.table().buckets() => {
                    self.remove_bucket(bucket);
                    self.state.clears.pass(clear.number, bucket + 1);
                    (Stage::Entries { bucket: bucket + 1 }, 1)
                }
                Stage::Entries { .. } => (Stage::Chunks { left: self.ring().chunks() }, 1),
                Stage::Chunks { left } => self.give_cleared_chunk_back(left),
                Stage::Index { bucket } => self.release_index(bucket),
                Stage::End => (self.end_clear(clear), 1),
                Stage::Absent { chunk } => self.release_absent(chunk),
                Stage::Done => break,
            };
            clear.stage = next;
            units = units.saturating_sub(cost);
        }
    }

    fn begin_clear(&mut self) -> u32 {
        self.note_change_of_all();
        self.state.clears.begin()
    }

    /// Removes the entries of a bucket, also those whose custom hasher has changed their hashes.
    fn remove_bucket(&mut self, bucket: usize) {
        self.state.entries.prefetch_headers_ahead(bucket + AHEAD);
        for id in (0..LANES).map(|lane| EntryId::from_lane(bucket, lane)) {
            if self.state.entries.live(id).is_some() {
                self.remove_expected(id, RemovalCause::Removed);
            }
        }
        self.state.deadlines.forget(bucket);
    }

    /// Gives a free chunk back to the system. Other threads that store meanwhile keep what they
    /// need.
    fn give_cleared_chunk_back(&mut self, left: usize) -> (Stage, usize) {
        let kept = if self.state.entries.len() == 0 { 0 } else { self.state.cleaner.kept_ready() };
        let is_given = left > 0 && self.ring_mut().has_free(kept + 1) && self.ring_mut().give_back();
        if is_given {
            let bytes = self.ring().chunk_bytes();
            self.shard.account.give(bytes);
            return (Stage::Chunks { left: left - 1 }, bytes.div_ceil(BYTES_OF_A_UNIT));
        }
        (Stage::Index { bucket: 0 }, 1)
    }

    /// Gives back some memory that absent chunks have.
    fn release_absent(&mut self, chunk: usize) -> (Stage, usize) {
        match self.ring().release_absent_from(chunk) {
            Some(chunk) => (Stage::Absent { chunk }, UNITS_OF_A_RELEASE),
            None => (Stage::Done, 1),
        }
    }

    /// Gives a part of the memory of an empty index back to the system.
    fn release_index(&mut self, bucket: usize) -> (Stage, usize) {
        let entries = &mut self.state.entries;
        if entries.len() > 0 || bucket >= entries.table().buckets() {
            return (Stage::End, 1);
        }
        let buckets = entries.empty_index_from(bucket, BYTES_OF_A_UNIT);
        (Stage::Index { bucket: bucket + buckets }, 1)
    }

    /// Ends a clear. An empty shard is as it was made, but for the size of its index. Returns the
    /// next stage.
    fn end_clear(&mut self, clear: &mut Clear<'_>) -> Stage {
        self.state.clears.end(clear.number);
        if self.state.entries.len() > 0 {
            self.update_capacity();
        } else {
            self.end_empty(clear);
        }
        if !self.ring().has_huge_pages() {
            return Stage::Done;
        }
        // Before the release, so that no other store makes absent chunks resident after it. A ring
        // of which enough is in use gets huge pages again with its next chunk.
        self.ring_mut().expect_fewer_chunks();
        Stage::Absent { chunk: 0 }
    }

    fn end_empty(&mut self, clear: &mut Clear<'_>) {
        let State { entries, cleaner, pending, deadlines, .. } = &mut *self.state;
        entries.restart();
        cleaner.give_up();
        pending.clear();
        deadlines.clear();
        self.abandon_resizing();
        self.note_reached();
        // Few: those that were freed since the last one was given back.
        let chunks = self.ring_mut().give_all_back();
        self.shard.account.give(chunks * self.ring().chunk_bytes());
        self.replace_policy(&mut clear.former_policy);
    }
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::ClockSource;
    use crate::expiry::{Lifetime, Rules};
    use crate::hash::{KeyHash, KeyHasher, StableHash};
    use crate::namespace::Registry;
    use crate::policy::Policy;
    use crate::removal::Notifier;
    use crate::ring::Alignment;
    use crate::shard::{Condition, Options, Room, ShardConfig, resizing};

    const HASHER: StableHash = StableHash::with_seed(0);

    fn shard(bytes: usize) -> Shard {
        let registry = Arc::new(Registry::new(1 << 16, false));
        let config = ShardConfig {
            budget: bytes,
            ceiling: bytes,
            max_entry_bytes: 1 << 16,
            shard_bits: 0,
            options: Options {
                alignment: Alignment::new(1).expect("an alignment"),
                expected_entry_bytes: None,
                expected_buckets: None,
                hasher: KeyHasher::custom(HASHER),
                factory: Arc::new(|context| Policy::Lru.build(&context)),
                rules: Rules::default(),
                clock: ClockSource::System,
            },
            notifier: Arc::new(Notifier::new(None, Arc::clone(&registry), 1 << 16)),
            registry,
            sampler: None,
            room: Arc::new(Room::new()),
        };
        Shard::new(&config).expect("a shard")
    }

    /// Stores entries until `chunks` chunks are in use, and removes them.
    fn store_and_remove(shard: &Shard, chunks: usize) {
        let keys = || (0_u64..).map(u64::to_le_bytes).map(|key| (KeyHash::new(HASHER.hash_bytes(&key)), key));
        let mut stored = 0;
        for (hash, key) in keys() {
            let in_use = shard.write(|writer| {
                let kept = writer.store(hash, &key, &[7; 1000], Condition::Always, &Lifetime::new());
                kept.expect("space");
                writer.ring().chunks_in_use()
            });
            stored += 1;
            if in_use >= chunks {
                break;
            }
        }
        keys().take(stored).for_each(|(hash, key)| assert!(shard.write(|writer| writer.remove(hash, &key))));
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri maps no memory")]
    fn what_others_store_before_the_end_of_a_clear_leaves_no_absent_chunk_resident() {
        let shard = shard(32 << 20);
        // Of the last huge page, one chunk is in use.
        let chunks = (6 << 20) / shard.state.lock().entries.ring().chunk_bytes() + 1;
        for stage in [Stage::Chunks { left: chunks }, Stage::Index { bucket: 0 }, Stage::End] {
            store_and_remove(&shard, chunks);
            assert!(shard.state.lock().entries.ring().has_huge_pages());
            let mut clear = Clear::of(&shard);
            clear.number = shard.write(|writer| writer.begin_clear());
            clear.stage = stage;
            while clear.stage != Stage::Done {
                shard.write(|writer| writer.clear_in_steps(&mut clear));
            }
            let state = shard.state.lock();
            assert_eq!((state.entries.ring().resident_absent_bytes(), state.entries.ring().chunks_in_use()), (0, 0));
        }
    }

    #[test]
    fn entries_that_move_to_buckets_that_were_passed_are_removed() {
        let shard = shard(4 << 20);
        for key in (0_u32..20_000).map(u32::to_le_bytes) {
            let hash = KeyHash::new(HASHER.hash_bytes(&key));
            shard.write(|writer| writer.store(hash, &key, &[7], Condition::Always, &Lifetime::new())).expect("space");
        }
        shard.write(|writer| while writer.resize_some() {});
        let (size, present) = shard.write(|writer| (writer.state.entries.table().size(), writer.state.entries.len()));
        let mut clear = Clear::of(&shard);
        while !matches!(clear.stage, Stage::Entries { bucket } if bucket > size / 2) {
            shard.write(|writer| writer.clear_in_steps(&mut clear));
        }
        // All entries of a smaller index lie in lower buckets.
        shard.write(|writer| {
            let left = writer.state.entries.len();
            assert!(left > present / 3);
            let to = size / 4 * 3;
            assert!(writer.shrink_index(to, resizing::rename_bytes(size, to)));
            while writer.resize_some() {}
            assert!(writer.state.entries.table().size() == to && writer.state.entries.len() < left);
        });
        while clear.stage != Stage::Done {
            shard.write(|writer| writer.clear_in_steps(&mut clear));
        }
        drop(clear);
        assert_eq!(shard.state.lock().entries.len(), 0);
        shard.validate();
    }
}
