//! Operations on all entries.

use super::Cache;
use crate::expiry::Freshness;
use crate::index::Walk;
use crate::reclaim::Slot;
use crate::shard::{Access, Meeting, Met, Notice, Shard};

/// Values of one key that `keep` of [`Cache::retain`] refuses before the next one may stay. Each but the first was stored
/// after the walk began.
const MAX_REFUSED: usize = 16;

/// All entries.
impl Cache {
    /// Removes all entries. Entries that other threads store meanwhile may stay.
    ///
    /// # Cost
    ///
    /// One pass over the index; the entries' bytes are not touched, unless there is a
    /// [removal listener](crate::CacheBuilder::on_removal).
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
    /// Every entry that is there when this begins, and stays, is shown to `keep`. So when it returns, no value can be read that
    /// `keep` refuses and that was stored before: not if its index grows, or if other threads move, update or remove
    /// entries meanwhile.
    ///
    /// No lock is held while `keep` runs. An entry that is replaced between the call of `keep` and its removal is shown to
    /// `keep` again, up to 16 times. Entries that are stored meanwhile may not be seen. When a shard's index grows meanwhile,
    /// a few entries may be seen twice.
    ///
    /// `keep` is asked about entries in their [stale period](crate::CacheBuilder::stale_for), too. What is remembered of keys
    /// that have [nothing](crate::Loaded::Absent) goes, and the results of loads under way are not stored.
    pub fn retain(&self, mut keep: impl FnMut(&[u8], &[u8]) -> bool) {
        // Nobody can ask `keep` about what is not there yet.
        self.inner.shards.iter().for_each(|shard| shard.write(|writer| writer.detach_flights()));
        self.for_each_met(|shard, met| retain_met(shard, met, &mut keep));
    }

    /// Calls `each` with every entry, shard by shard. Neither the policy nor the statistics learn of it.
    ///
    /// Weakly consistent: no lock is held while `each` runs, and entries that come or go meanwhile may be seen or not. Every
    /// entry that is there throughout is seen; when its shard's index grows meanwhile, a few may be seen twice. An expired entry
    /// is not seen. The entry's chunk is held during each call, as in [`view`](Self::view).
    pub fn for_each(&self, mut each: impl FnMut(&[u8], &[u8])) {
        self.for_each_met(|_, met| {
            if met.freshness.is_served() {
                each(met.key, met.value);
            }
            Notice::default()
        });
    }

    /// Calls `each` with every entry, those that reads miss included. The listener is told of what has left there after the call.
    fn for_each_met<'a>(&'a self, mut each: impl FnMut(&'a Shard, Met<'_>) -> Notice<'a>) {
        for shard in &self.inner.shards {
            let mut walk = Walk::start();
            loop {
                let (mut slot, mut other_slot) = (Slot::take(), None);
                let notice = match shard.meet(&mut walk, |key| self.target(key).hash, &mut slot, &mut other_slot) {
                    Meeting::Entry(met) => each(shard, met),
                    Meeting::Nobody => Notice::default(),
                    Meeting::End => break,
                };
                drop((slot, other_slot));
                drop(notice);
            }
        }
    }
}

/// Removes an entry that a walk has met, unless it is to be kept. Returns what has left.
fn retain_met<'a>(shard: &'a Shard, met: Met<'_>, mut keep: impl FnMut(&[u8], &[u8]) -> bool) -> Notice<'a> {
    let mut slot = Slot::take();
    let Met { hash, key, mut value, mut freshness } = met;
    let (mut notice, mut refused) = (Notice::default(), 0);
    // Ends: each round but the first follows a change of the entry by another thread.
    loop {
        let (is_settled, left) = match freshness {
            // By a clock that was read without the lock: its deadline may have been put off since.
            Freshness::Gone => shard.write_with_notice(|writer| !writer.is_present(hash, key)),
            Freshness::Negative => {
                shard.write_with_notice(|writer| writer.remove_if_same(hash, key, value, true) != Some(false))
            }
            _ if refused == MAX_REFUSED || keep(key, value) => return notice,
            _ => shard.write_with_notice(|writer| writer.remove_if_same(hash, key, value, false) != Some(false)),
        };
        notice.join(left);
        if is_settled {
            return notice;
        }
        refused += usize::from(freshness.is_served() || freshness == Freshness::Stale);
        let found = shard.find(hash, key, Access::Peek, &mut slot).map(|(found, freshness)| (found.value, freshness));
        (value, freshness) = found.unwrap_or((&[], Freshness::Gone));
    }
}

/// Removes all entries of a shard, and tells the listener of some at a time: copies of all might be as large as the cache.
fn clear_step_by_step(shard: &Shard) {
    shard.write(|writer| writer.detach_flights());
    let mut walk = Walk::start();
    // Ends: each step but the last removes entries, and the walk goes ahead.
    while !shard.write(|writer| writer.remove_some(&mut walk)) {}
}
