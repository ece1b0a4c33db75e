//! Removing outdated entries: those of namespaces that were invalidated since the entries were
//! stored.
//!
//! No key leads to such an entry, so nothing depends on when it leaves. A call of `maintain` looks
//! at a bounded number of lanes. A sweep that has reached the end has seen every entry that was
//! outdated when it began.

use super::writer::Writer;
use crate::index::{Step, Walk};
use crate::removal::RemovalCause;
use crate::units::EntryId;

/// The steps that a call of `maintain` takes: at most 4,096 entries.
const STEPS: usize = 4096;

/// Where the search for outdated entries is.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// The number of invalidations that have been swept.
    swept: u64,
    /// The sweep that has begun: the number of invalidations at its begin, and its place.
    place: Option<(u64, Walk)>,
}

impl Writer<'_> {
    /// Removes some outdated entries. The touches have been drained.
    pub(super) fn sweep(&mut self) {
        let invalidations = self.shard.registry.invalidations();
        let sweep = &self.state.sweep;
        if sweep.place.is_none() && sweep.swept == invalidations {
            return;
        }
        let (begun_at, mut walk) = sweep.place.unwrap_or((invalidations, Walk::start()));
        for _ in 0..STEPS {
            if self.removals_are_many() {
                break;
            }
            match self.state.entries.table().step(&mut walk) {
                Step::End => {
                    self.state.sweep = Sweep { swept: begun_at, place: None };
                    return;
                }
                Step::Onward => {}
                Step::Lane(id) => self.remove_if_outdated(id),
            }
        }
        self.state.sweep.place = Some((begun_at, walk));
    }

    fn remove_if_outdated(&mut self, id: EntryId) {
        let key = self.state.entries.live(id).map(|live| self.ring().entry(live).key);
        if key.is_some_and(|key| self.shard.registry.is_outdated(key)) {
            self.remove_resident(id, RemovalCause::Removed);
        }
    }
}
