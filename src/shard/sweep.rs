//! Removing outdated entries: those of namespaces that were invalidated since the entries were
//! stored.
//!
//! No key leads to such an entry, so nothing depends on when it leaves. A call of `maintain` looks
//! at a bounded number of lanes. A sweep that has reached the end has seen every entry that was
//! outdated when it began.

use super::writer::Writer;
use crate::removal::RemovalCause;
use crate::units::{EntryId, LANES};

/// The buckets that a call of `maintain` looks at: 4,092 lanes.
const BUCKETS: usize = 341;

/// Where the search for outdated entries is. It is small, as it lies in each shard's state.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// The low half of the number of invalidations that have been swept.
    swept: u32,
    /// The same at the begin of the sweep that is in progress.
    begun_at: u32,
    /// The next bucket to look at.
    bucket: u32,
    /// The buckets of the index in which the sweep began, or 0 if none is in progress.
    buckets: u32,
}

impl Writer<'_> {
    /// Removes some outdated entries. The touches have been drained. Returns `true` if there are
    /// more lanes to look at.
    pub(super) fn sweep(&mut self) -> bool {
        #[allow(clippy::cast_possible_truncation, reason = "compared with numbers of a short time ago")]
        let invalidations = self.shard.registry.invalidations() as u32;
        let Sweep { swept, buckets: before, .. } = self.state.sweep;
        if before == 0 && swept == invalidations || self.state.entries.table().is_sweeping() {
            return false; // While the index changes its size, entries come to other buckets.
        }
        #[allow(clippy::cast_possible_truncation, reason = "a shard has fewer than 2^32 entries")]
        let buckets = self.state.entries.table().buckets() as u32;
        if before != buckets {
            // It begins. Or the index has another size, and entries are in other buckets.
            self.state.sweep = Sweep { swept, begun_at: invalidations, bucket: 0, buckets };
        }
        for _ in 0..BUCKETS {
            let sweep = &mut self.state.sweep;
            if sweep.bucket == buckets {
                *sweep = Sweep { swept: sweep.begun_at, ..Sweep::default() };
                return false;
            }
            let bucket = sweep.bucket as usize;
            sweep.bucket += 1;
            (0..LANES).for_each(|lane| self.remove_if_outdated(EntryId::from_lane(bucket, lane)));
            if self.removals_are_many() {
                return true;
            }
        }
        true
    }

    fn remove_if_outdated(&mut self, id: EntryId) {
        let key = self.state.entries.live(id).map(|live| self.ring().entry(live).key);
        if key.is_some_and(|key| self.shard.registry.is_outdated(key)) {
            self.remove_resident(id, RemovalCause::Removed);
        }
    }
}
