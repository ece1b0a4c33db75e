//! Taking: the size that the index gets next, and the memory for it.
//!
//! The size to grow to is that of a full shard of entries like the present ones. The account has to
//! hold the bytes of the larger index, of the wheel, and of what the policy will need. The ring
//! gives back what the account lacks, and the account takes each part at once.
//!
//! While entries become smaller, each store brings more of them than it evicts. So the ring gives
//! back as much as these replace. If the number of entries does not rise, the growth is given up:
//! the index would be larger than the rest of the ring can use.

use super::super::expire::MIN_CHUNKS_WITH_WHEEL;
use super::super::governor;
use super::super::writer::Writer;
use super::{Stage, early_of, rename_bytes};
use crate::expiry::Wheel;
use crate::index::{Index, Table};
use crate::units::{LANES, MAX_LOAD_PERCENT};

/// The index grows to this many times its size at most, however small the first entries are.
const MAX_GROWTH: usize = 8;
/// The index grows by at least one part in `MIN_GROWTH` of its entries.
const MIN_GROWTH: usize = 16;
/// While the ring gives chunks back, the number of entries falls by at most one part in this, and
/// by those of a chunk.
pub(super) const MAX_FALL: usize = 128;
/// The bytes by which a policy's arrays may exceed a proportional size, as it rounds sizes up.
const POLICY_ROUNDING: usize = 1024;

/// The memory that another size of the index needs, and what the account holds of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taking {
    pub(super) to: usize,
    /// The bytes that the account holds already, as a part of the index.
    pub(super) taken: usize,
    /// The ring gives nothing back while there are no more entries than these.
    least_entries: usize,
    /// The writes that may still pass without progress. Then the change is given up.
    patience: usize,
}

impl Writer<'_> {
    /// Returns the number of buckets that the index is to grow to, or `None` if it need not, or if
    /// there is no memory.
    pub(super) fn size_to_grow_to(&self, is_early: bool) -> Option<usize> {
        let entries = &self.state.entries;
        let from = entries.table().size();
        let needed = self.buckets_of_full_shard();
        if is_early && needed < from + from / (2 * MIN_GROWTH) {
            return None;
        }
        let least = from + from / MIN_GROWTH + 1;
        let capacity = entries.table().size_limit();
        // While there is unused memory, one large step. Otherwise at most twice the size, and less
        // if the ring cannot pay for that.
        let large = needed.clamp(least, from * MAX_GROWTH).min(capacity);
        let unused = self.shard.account.left() / 4 * 3;
        let first = if self.growth_bytes(from, large) <= unused { large } else { large.min(from * 2) };
        let sizes = [first, least + first.saturating_sub(least) / 2, least];
        sizes.into_iter().find(|&to| to > from && to <= capacity && self.can_take(self.growth_bytes(from, to), to))
    }

    /// Returns `true` if the memory for a growth is there, or if the ring has not failed to give it
    /// for entries like the present ones.
    pub(super) fn may_take_for(&self, to: usize) -> bool {
        let charge = self.mean_charge();
        let has_failed = self.state.resizing.given_up_at.is_some_and(|before| charge + charge / MIN_GROWTH >= before);
        !has_failed || self.growth_bytes(self.state.entries.table().size(), to) <= self.shard.account.left()
    }

    fn mean_charge(&self) -> usize {
        self.ring().live_bytes() / self.state.entries.len().max(1)
    }

    /// Returns the bytes that the account has to hold before the index grows.
    pub(super) fn growth_bytes(&self, from: usize, to: usize) -> usize {
        let wheel = |size| self.state.deadlines.footprint(Table::extent(size));
        let wheel = wheel(to) - wheel(from);
        Table::footprint(to) - Table::footprint(from) + wheel + self.policy_growth(from, to)
    }

    /// Returns the bytes that the policy needs for a growth, renames included.
    fn policy_growth(&self, from: usize, to: usize) -> usize {
        let known = self.state.evictor.bytes();
        known / from * (to - from) + known / 64 + POLICY_ROUNDING + rename_bytes(from, to)
    }

    /// Returns `true` if the ring can give the `bytes` that an index of size `to` needs: chunks for
    /// the largest entry are left, and a first entry with a deadline still finds room for its
    /// wheel.
    pub(super) fn can_take(&self, bytes: usize, to: usize) -> bool {
        let chunk = self.ring().chunk_bytes();
        let in_use = self.ring().chunks_in_use();
        let ring = self.shard.min_chunks * chunk;
        let left = if self.state.deadlines.has_wheel() {
            ring
        } else {
            ring.max(MIN_CHUNKS_WITH_WHEEL * chunk + Wheel::footprint(Table::extent(to)))
        };
        self.shard.account.left() + in_use * chunk >= left + bytes
    }

    /// Takes memory for a growth, if one is to begin. Called while an entry is being stored, as the
    /// policy may have to evict for it: it compares that entry with the others.
    #[inline]
    pub(in crate::shard) fn take_for_growth(&mut self) {
        if matches!(self.state.resizing.stage, Stage::Taking(_)) && !self.is_being_saved() {
            self.resize();
        }
    }

    pub(super) fn begin_taking(&mut self, to: usize, least_entries: usize) {
        let patience = early_of(self.state.entries.table().size());
        self.state.resizing.stage = Stage::Taking(Taking { to, taken: 0, least_entries, patience });
    }

    /// Gives up a change of the size that has not begun yet.
    pub(in crate::shard) fn cancel_growth(&mut self) {
        if let Stage::Taking(Taking { taken, .. }) = self.state.resizing.stage {
            self.shard.account.give_index(taken);
            self.state.resizing.stage = Stage::AtRest;
        }
    }

    /// Takes a part of the `missing` bytes that the ring gives back. Returns `false` if it gives
    /// none.
    pub(super) fn take_part(&mut self, taking: &mut Taking, missing: usize) -> bool {
        let len = self.state.entries.len();
        // What the last chunk has cost is evicted by the next stores.
        let is_over = self.ring().live_bytes() > self.state.evictor.capacity();
        if len <= taking.least_entries || is_over {
            taking.patience = taking.patience.saturating_sub(1);
            if taking.patience == 0 {
                self.state.resizing.given_up_at = Some(self.mean_charge());
            }
            return taking.patience > 0;
        }
        if !self.give_chunk_back_in_steps(len - taking.least_entries) {
            return false;
        }
        let bytes = self.shard.account.left().min(missing);
        if bytes > 0 && self.shard.account.take(bytes) {
            self.shard.account.note_index(bytes);
            taking.taken += bytes;
            taking.patience = early_of(self.state.entries.table().size());
            self.update_capacity();
        }
        true
    }

    /// Returns the buckets that a full shard of entries like the present ones needs. Too many cost
    /// memory for good, too few another growth.
    pub(super) fn buckets_of_full_shard(&self) -> usize {
        let state = &*self.state;
        let len = state.entries.len().max(1);
        let lanes = state.entries.table().lanes();
        // Saturating, as other threads may give the bytes of loads back meanwhile.
        let known = state.evictor.bytes() + state.deadlines.bytes() + self.shard.account.index_bytes();
        let others = self.shard.account.allocated().saturating_sub(known);
        let ring = state.entries.ring();
        // Retired chunks are what readers and values hold. They may do so for long.
        let usable = ring.chunks_in_use() - ring.counts().retired;
        // By the target, as the budget is on its way there.
        let spendable = self.shard.account.target().saturating_sub(others.saturating_sub(usable * ring.chunk_bytes()));
        let charge = ring.live_bytes() as f64 / len as f64;
        let per_lane = 64.0 / LANES as f64 + (state.evictor.bytes() + state.deadlines.bytes()) as f64 / lanes as f64;
        // The ring is never fuller than its highest target.
        let per_entry = charge / governor::HIGHEST_SHARE + per_lane * 100.0 / MAX_LOAD_PERCENT as f64;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most as many as there are bytes"
        )]
        let entries = (spendable as f64 / per_entry) as usize;
        Index::buckets_for(entries + 1).min(state.entries.table().size_limit())
    }
}
