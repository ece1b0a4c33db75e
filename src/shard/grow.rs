//! Growth of the index.
//!
//! The ring pays for a larger table. It gives chunks back to the system before the table is
//! allocated, so the shard's budget holds at every instant.
//!
//! While the index grows, both tables, both sets of the policy's arrays and the renumbering exist.
//! So it grows early and in large steps while there is memory that nothing uses yet. The size is
//! the one that a full shard of entries like the present ones needs. When the ring has to pay,
//! steps are small.

use std::sync::Arc;

use super::account::Lent;
use super::expire::MIN_CHUNKS_WITH_WHEEL;
use super::space::Evicted;
use super::writer::Writer;
use super::{MIN_CHUNKS, State, governor, table_bytes};
use crate::expiry::Wheel;
use crate::index::{Index, Table};
use crate::policy::Renumbering;
use crate::units::{LANES, MAX_LOAD_PERCENT};

/// The index grows to this many times its size at most, however small the first entries are.
const MAX_GROWTH: usize = 8;
/// The index grows by at least one part in `MIN_GROWTH` of its entries.
const MIN_GROWTH: usize = 32;
/// The bytes by which a policy's arrays may exceed a proportional size, as it rounds sizes up.
const POLICY_ROUNDING: usize = 1024;

impl Writer<'_> {
    /// Makes room in the index for one more entry.
    pub(super) fn make_index_room(&mut self) {
        if self.state.entries.have_room() {
            return;
        }
        self.grow_index();
        while !self.state.entries.have_room() {
            if self.evict() == Evicted::Nothing {
                return;
            }
        }
    }

    /// Replaces the index by a larger one, if the ring can spare the memory.
    #[cold]
    fn grow_index(&mut self) {
        let buckets = self.state.entries.table().buckets();
        let wanted = self.wanted_buckets();
        // While there is unused memory, one large step: later the ring would have to pay for both
        // tables. Otherwise at most twice the size, and less if the ring cannot pay for that.
        let large = wanted.min(buckets * MAX_GROWTH);
        let unused = self.shard.account.left() / 4 * 3;
        let first = if self.growth_bytes(large) <= unused { large } else { wanted.min(buckets * 2) };
        let least = (buckets + buckets / 8 + 1).min(first);
        let sizes = [first, least + (first - least) / 2, least];
        if sizes.into_iter().any(|size| size > buckets && self.grow_index_to(size)) {
            self.state.deadlines.account_for_growth(&self.shard.account);
            self.account_for_policy();
            self.update_capacity();
        }
    }

    /// Lets the index grow by one bucket: for models.
    #[cfg(all(test, bytecache_loom))]
    pub(crate) fn grow(&mut self) {
        assert!(self.grow_index_to(self.state.entries.table().buckets() + 1), "no room for a larger index");
    }

    /// Returns the bytes that are allocated beside the present table and policy while the index
    /// grows.
    fn growth_bytes(&self, wanted: usize) -> usize {
        table_bytes(wanted) + self.passing_bytes(wanted)
    }

    /// Returns the part of them that is freed afterwards: the policy's new arrays beside its old
    /// ones, the new wheel and the renumbering.
    fn passing_bytes(&self, wanted: usize) -> usize {
        let table = self.state.entries.table();
        let policy =
            self.state.evictor.bytes() / table.buckets() * wanted + self.state.evictor.bytes() / 16 + POLICY_ROUNDING;
        policy + self.state.deadlines.footprint(wanted) + Renumbering::footprint(table.lanes())
    }

    /// Returns `true` if a first entry with a deadline still finds room for its wheel once the
    /// index has `wanted` buckets. Only in the smallest shards it may not.
    fn leaves_room_for_wheel(&self, wanted: usize) -> bool {
        if self.state.deadlines.has_wheel() {
            return true;
        }
        let ring = self.ring();
        let in_use = ring.chunks() - ring.counts().absent;
        let needed = MIN_CHUNKS_WITH_WHEEL * ring.chunk_bytes() + Wheel::footprint(wanted);
        let policy = self.state.evictor.bytes() / self.state.entries.table().buckets() * wanted;
        let more = table_bytes(wanted) + policy.saturating_sub(self.state.evictor.bytes()) + POLICY_ROUNDING;
        self.shard.account.left() + in_use * ring.chunk_bytes() >= needed + more
    }

    /// Replaces the index by one of `wanted` buckets. Returns `false` if there is no memory for it.
    fn grow_index_to(&mut self, wanted: usize) -> bool {
        let passing = self.passing_bytes(wanted);
        if !self.leaves_room_for_wheel(wanted) || !self.take_from_ring(self.growth_bytes(wanted), MIN_CHUNKS) {
            return false;
        }
        // The guards give the bytes back on a panic: the first one if the policy panics, both if a
        // hasher does.
        let _passing = self.shard.account.lend(passing);
        let lent = self.shard.account.lend(table_bytes(wanted));
        let table = Table::new(wanted, self.state.entries.table().bits());
        table.map(|table| self.move_index(Arc::new(table), lent)).is_some()
    }

    fn move_index(&mut self, table: Arc<Table>, lent: Lent) {
        let State { entries, deadlines, .. } = &mut *self.state;
        let (rules, reached) = (&self.shard.rules, self.shard.time.reached());
        let max_entries = Index::max_len_of(table.buckets());
        let mut moved = Renumbering::new(entries.table().lanes(), table.lanes(), max_entries);
        let mut moved_deadlines = deadlines.emptied_for(table.buckets());
        let old = Arc::clone(entries.table());
        entries.move_to(table, |from, to, stamps| {
            moved.set(from, to);
            moved_deadlines.file(to, rules.times(&stamps, reached).removal);
        });
        *deadlines = moved_deadlines;
        // Published before the policy hears of it. If that panics, readers and the writer that
        // empties the shard see one table.
        let table = entries.table();
        self.shard.hint.set(table);
        self.shard.lookup.table.replace(Arc::clone(table));
        lent.keep();
        self.shard.account.note_table(table_bytes(table.buckets()));
        self.shard.account.give_table(old.release());
        let State { evictor, pending, .. } = &mut *self.state;
        evictor.renumber(pending, &moved);
        self.state.counts.index_growths += 1;
    }

    /// Returns the buckets that a full shard of entries like the present ones needs. At least a
    /// little more than at present. Too many cost memory for good, too few another growth.
    fn wanted_buckets(&self) -> usize {
        let state = &*self.state;
        let len = state.entries.len().max(1);
        let lanes = state.entries.table().lanes();
        // Saturating, as other threads may give the bytes of loads back meanwhile.
        let known = state.evictor.bytes() + state.deadlines.bytes() + self.shard.account.index_bytes();
        let others = self.shard.account.allocated().saturating_sub(known);
        let chunks =
            (state.entries.ring().chunks() - state.entries.ring().counts().absent) * state.entries.ring().chunk_bytes();
        let spendable = self.shard.account.budget() - others.saturating_sub(chunks);
        let charge = state.entries.ring().live_bytes() as f64 / len as f64;
        let per_lane = 64.0 / LANES as f64 + (state.evictor.bytes() + state.deadlines.bytes()) as f64 / lanes as f64;
        // The ring is never fuller than its highest target.
        let per_entry = charge / governor::HIGHEST_SHARE + per_lane * 100.0 / MAX_LOAD_PERCENT as f64;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most as many as there are bytes"
        )]
        let entries = ((spendable as f64 / per_entry) as usize).max(len + len / MIN_GROWTH);
        Index::buckets_for(entries + 1).min(Table::max_buckets())
    }
}
