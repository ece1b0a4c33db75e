//! The view of a cache that the tests of this crate have beyond its API.
//!
//! Not part of the API: it can change in every version.

use crate::advisor;
use crate::cache::Cache;
use crate::policy::{EntryId, OtherIds, Residents};

/// A view into a cache for tests.
pub trait Inspect {
    /// Recounts all state, and panics if it is inconsistent. Slow.
    fn validate(&self);

    /// Returns how many loads are in progress whose results may be stored, and how many threads and
    /// tasks wait for them.
    fn loads_under_way(&self) -> (usize, usize);

    /// Returns `true` if the index of a shard is getting another size.
    fn is_resizing(&self) -> bool;
}

impl Inspect for Cache {
    fn validate(&self) {
        Self::validate(self);
    }

    fn loads_under_way(&self) -> (usize, usize) {
        Self::loads_under_way(self)
    }

    fn is_resizing(&self) -> bool {
        Self::is_resizing(self)
    }
}

/// Chooses by a seed the reads of this thread whose keys count towards the hot keys, beginning with
/// its next read of a cache with an advisor.
pub fn begin_turns(seed: u64) {
    advisor::begin_turns(seed);
}

/// Calls `run` with the same residents under other ids, which `ids` translates. What `run` sets
/// does not reach the residents.
pub fn with_other_ids<R>(
    residents: &Residents<'_>,
    ids: &dyn Fn(EntryId) -> EntryId,
    run: impl FnOnce(&mut Residents<'_>) -> R,
) -> R {
    run(&mut Residents::new(&OtherIds::new(residents, ids)))
}
