//! Operations on all entries.

use super::{Cache, Target};
use crate::expiry::Freshness;
use crate::reclaim::Slot;
use crate::shard::{Position, Progress, Shard, is_served};

/// Values of one key that `keep` of [`Cache::retain`] refuses before the next one may stay. Each but the first was stored
/// after the call began.
const MAX_REFUSED: usize = 16;

/// All entries.
impl Cache {
    /// Removes all entries. Entries that other threads store meanwhile may stay.
    ///
    /// # Cost
    ///
    /// One pass over the index; the entries' bytes are not touched.
    #[doc(alias = "invalidate_all")]
    pub fn clear(&self) {
        for shard in &self.inner.shards {
            if self.inner.listener.is_some() {
                clear_step_by_step(shard);
            } else {
                shard.write(|writer| writer.clear());
            }
        }
    }

    /// Removes the entries for which `keep` returns `false`.
    ///
    /// No lock is held while `keep` runs, and other threads go on: an entry that is replaced between the call
    /// of `keep` and its removal is shown to `keep` again. Entries that are stored meanwhile may not be seen;
    /// an entry may be seen twice.
    ///
    /// `keep` is asked about entries in their [stale period](crate::CacheBuilder::stale_for), too. What is remembered of keys
    /// that have [nothing](crate::Loaded::Absent) goes, and the results of loads under way are not stored.
    pub fn retain(&self, mut keep: impl FnMut(&[u8], &[u8]) -> bool) {
        // Nobody can ask `keep` about what is not there yet.
        self.inner.shards.iter().for_each(|shard| shard.write(|writer| writer.detach_flights()));
        self.for_each_found(|target, key, (value, freshness)| {
            let (mut seen, mut freshness) = (value, freshness);
            let mut slot = Slot::take();
            for _ in 0..MAX_REFUSED {
                if freshness != Freshness::Negative && keep(key, seen) {
                    break;
                }
                let address = seen.as_ptr();
                let removed = target.shard.write(|writer| {
                    // The address is not reused while a slot names it, so it tells the value from any other.
                    writer.remove_if_same(target.hash, key, |value| value.as_ptr() == address)
                });
                if removed != Some(false) {
                    break;
                }
                let Some((found, now)) = target.shard.find_whatever(target.hash, key, &mut slot) else { break };
                (seen, freshness) = (found.value, now);
            }
        });
    }

    /// Calls `each` with every entry, shard by shard. Neither the policy nor the statistics learn of it.
    ///
    /// Weakly consistent: no lock is held while `each` runs; entries that come or go meanwhile may be seen or
    /// not; when a shard's index grows meanwhile, a few may be seen twice. An epoch pin is held during each
    /// call, as in [`get_with`](Self::get_with).
    pub fn for_each(&self, mut each: impl FnMut(&[u8], &[u8])) {
        self.for_each_found(|_, key, (value, freshness)| {
            if is_served(freshness) {
                each(key, value);
            }
        });
    }

    fn for_each_found(&self, mut each: impl FnMut(Target<'_>, &[u8], (&[u8], Freshness))) {
        for shard in &self.inner.shards {
            let mut position = Position::start();
            while shard.for_each_in_bucket(&mut position, |entry, freshness| {
                each(self.target(entry.key), entry.key, (entry.value, freshness));
            }) {}
        }
    }
}

/// Removes all entries of a shard, and tells the listener of some at a time: copies of all might be as large as the cache.
fn clear_step_by_step(shard: &Shard) {
    shard.write(|writer| writer.detach_flights());
    let mut progress = Progress::default();
    // Ends: the index grows only so often.
    while !shard.write(|writer| writer.remove_some(&mut progress)) {}
}
