//! Resizing: the index follows the number of entries, a little with each write.
//!
//! ```text
//!   AtRest -> Taking -> Bounding -> ( Announcing -> Moving )* -> Clearing -> Ending -> AtRest
//! ```
//!
//! * **Taking.** The account has to hold the larger index before anything of it is touched. If it
//!   has too little, the ring gives chunks back, one with each write.
//! * **Bounding.** The policy gets its new bounds. It may need several calls.
//! * **Announcing.** The policy learns which ids change next: those of a stretch of home buckets.
//! * **Moving.** A sweep moves the entries of a stretch, a few home buckets with each write.
//! * **Clearing.** An index that has shrunk gives the rest of its memory back.
//! * **Ending.** So does the timing wheel, after the policy has in *Bounding*.
//!
//! The size to grow to is that of a full shard of entries like the present ones. A growth begins
//! while there is still room for a part of the entries, so that it ends before the index is full.
//!
//! # Cost
//!
//! A write moves at most [`MAX_MOVES`] entries and those of one more home bucket. With a custom
//! hasher that leads many keys to one home, that bucket's entries move in one step. The ring gives
//! chunks back for the scratch memory of such a step.

use super::expire::MIN_CHUNKS_WITH_WHEEL;
use super::space::Evicted;
use super::writer::Writer;
use super::{MIN_CHUNKS, State, governor};
use crate::expiry::Wheel;
use crate::index::{BUCKETS_OF_A_PAGE, Index, MARGIN, MIN_BUCKETS, Moving, Stretch, Swept, Table};
use crate::removal::RemovalCause;
use crate::units::{EntryId, LANES, MAX_LOAD_PERCENT};

/// The index grows to this many times its size at most, however small the first entries are.
const MAX_GROWTH: usize = 8;
/// The index grows by at least one part in `MIN_GROWTH` of its entries.
const MIN_GROWTH: usize = 16;
/// A growth begins when there is room for one part in `EARLY` of the entries, and for `FEW` more. A
/// sweep moves all entries before that room is used up.
const EARLY: usize = 16;
const FEW: usize = 8;
/// The index shrinks if it is larger than needed by one part in `SLACK`.
const SLACK: usize = 4;
/// The index shrinks if that saves at least this part of the shard's budget.
const WORTH_SHRINKING: usize = 128;
/// Entries that a write may move. It then goes on to the end of a home bucket: with a usual
/// hasher, 64 at most, but for one bucket in a million.
const MAX_MOVES: usize = 36;
/// Buckets that a write examines in an index that has shrunk, and whose memory it gives back.
const BUCKETS_PER_CLEARING: usize = 256;
/// Calls to a policy that a write makes while that adapts.
const CALLS: usize = 4;
/// One part in `STRETCHES` of the home buckets is announced at a time, because the policy needs
/// memory for the ids of those: at most 4 % of what index and policy have. More stretches take more
/// writes, as the policy may look through all of its entries for each.
const STRETCHES: usize = 32;
const MIN_STRETCH: usize = 16;
/// The bytes of a policy's memory for each id that is announced, and for the announcement.
const BYTES_PER_RENAME: usize = 4;
const BYTES_PER_STRETCH: usize = 256;
/// Entries of a home bucket for which there is memory while they move, in addition. More have one
/// home only with a poor hasher: see [`Writer::make_moving_room`].
const MOVING: usize = 64;
/// The bytes by which a policy's arrays may exceed a proportional size, as it rounds sizes up.
const POLICY_ROUNDING: usize = 1024;

/// The next part of a change of the index. See the module.
#[derive(Debug)]
enum Stage {
    AtRest,
    Taking { to: usize },
    Bounding { to: usize },
    Announcing(Stretch),
    Moving(Stretch),
    Clearing { next: usize },
    Ending { to: usize },
}

/// The state of the size of a shard's index.
#[derive(Debug)]
pub(super) struct Resizing {
    stage: Stage,
    /// Entries for which there is still room when a growth is considered.
    early: usize,
    /// The entries of a home bucket, while they move. Memory for [`MOVING`] of them is part of
    /// [`rename_bytes`].
    moving: Vec<Moving>,
    /// The bytes of `moving` beyond that, for which the account holds memory.
    more_moving: usize,
}

impl Resizing {
    /// Returns the state of an index of this size that has come to rest.
    pub(super) fn of_size(size: usize) -> Self {
        Self { stage: Stage::AtRest, early: early_of(size), moving: Vec::new(), more_moving: 0 }
    }

    /// Returns the size for which the account holds the memory, if the index gets a larger one.
    pub(super) fn target(&self) -> Option<usize> {
        if let Stage::Bounding { to } = self.stage { Some(to) } else { None }
    }

    /// Considers a growth again when the next entry is stored that has little room.
    pub(super) fn look_again(&mut self, size: usize) {
        self.early = early_of(size);
    }

    /// Gives up a growth that has not begun yet.
    pub(super) fn cancel_growth(&mut self) {
        if let Stage::Taking { .. } = self.stage {
            self.stage = Stage::AtRest;
        }
    }

    #[inline]
    pub(super) fn is_at_rest(&self) -> bool {
        matches!(self.stage, Stage::AtRest)
    }
}

impl Writer<'_> {
    /// Makes room in the index for one more entry.
    #[inline]
    pub(super) fn make_index_room(&mut self) {
        if self.state.entries.room() <= self.state.resizing.early {
            self.consider_growth();
        }
    }

    #[cold]
    fn consider_growth(&mut self) {
        let is_shrinking = self.state.shrinking.is_under_way();
        if self.state.resizing.is_at_rest() && !self.is_being_saved() && !is_shrinking {
            let is_early = self.state.entries.have_room();
            // Chunks that stay retired are held.
            self.ring_mut().reclaim();
            if let Some(to) = self.size_to_grow_to(is_early) {
                self.state.resizing.stage = Stage::Taking { to };
            }
            // Without a growth, the next look is due when the index is full.
            self.state.resizing.early = 0;
        }
        // Mostly one round: an entry that leaves makes room for one.
        while !self.state.entries.have_room() {
            if self.evict() == Evicted::Nothing {
                return;
            }
        }
    }

    /// Returns the buckets that the index is to grow to. `None` if it need not, or has no memory.
    fn size_to_grow_to(&self, is_early: bool) -> Option<usize> {
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

    /// Returns the bytes that the account has to hold before the index grows.
    fn growth_bytes(&self, from: usize, to: usize) -> usize {
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
    fn can_take(&self, bytes: usize, to: usize) -> bool {
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

    /// Returns `true` while the cache is being saved. Entries keep their ids then.
    pub(super) fn is_being_saved(&self) -> bool {
        self.state.recording.is_some()
    }

    /// Takes memory for a growth, if one is to begin. Called while an entry is being stored, as the
    /// policy may have to evict for it: it compares that entry with the others.
    #[inline]
    pub(super) fn take_for_growth(&mut self) {
        if matches!(self.state.resizing.stage, Stage::Taking { .. }) && !self.is_being_saved() {
            self.resize();
        }
    }

    /// Does a bounded part of a change of the index's size for which the memory was taken.
    #[inline]
    pub(super) fn resize_after_store(&mut self) {
        if !matches!(self.state.resizing.stage, Stage::AtRest | Stage::Taking { .. }) && !self.is_being_saved() {
            self.resize();
        }
    }

    /// Does a bounded part of a change of the index's size. Returns `true` if more is left.
    pub(super) fn resize_some(&mut self) -> bool {
        if self.state.resizing.is_at_rest() || self.is_being_saved() {
            return false;
        }
        self.resize();
        !self.state.resizing.is_at_rest()
    }

    #[cold]
    fn resize(&mut self) {
        let stage = core::mem::replace(&mut self.state.resizing.stage, Stage::AtRest);
        self.state.resizing.stage = match stage {
            Stage::AtRest => Stage::AtRest,
            Stage::Taking { to } => self.take_for(to),
            Stage::Bounding { to } => self.bound(to),
            Stage::Announcing(stretch) => self.announce(stretch),
            Stage::Moving(stretch) => self.move_some(stretch),
            Stage::Clearing { next } => self.clear_some(next),
            Stage::Ending { to } => self.end(to),
        };
    }

    /// Takes the memory for a growth, if the account has it. Otherwise the ring gives a chunk back.
    fn take_for(&mut self, to: usize) -> Stage {
        let from = self.state.entries.table().size();
        // For a smaller index, the policy needs memory for renames.
        let bytes = if to > from { self.growth_bytes(from, to) } else { rename_bytes(from, to) };
        if !self.shard.account.take(bytes) {
            // Other needs may have come first.
            let goes_on = self.can_take(bytes, to) && self.give_chunk_back_in_steps();
            return if goes_on { Stage::Taking { to } } else { Stage::AtRest };
        }
        if to < from {
            return self.begin_shrinking(to, bytes);
        }
        let State { deadlines, evictor, .. } = &mut *self.state;
        let index = Table::footprint(to) - Table::footprint(from);
        let wheel = deadlines.footprint(Table::extent(to)) - deadlines.footprint(Table::extent(from));
        self.shard.account.note_index(index);
        let is_done = deadlines.resize(Table::extent(to));
        debug_assert!(is_done, "the wheel has become larger");
        // An estimate, until the policy has its bounds.
        evictor.set_bytes(evictor.bytes() + bytes - index - wheel);
        self.update_capacity();
        Stage::Bounding { to }
    }

    /// Begins to move entries to a smaller index. The account holds `bytes` for renames.
    fn begin_shrinking(&mut self, to: usize, bytes: usize) -> Stage {
        let State { entries, evictor, .. } = &mut *self.state;
        // One place is for the entry that is being stored.
        if entries.len() >= Index::max_len_of(to) {
            self.shard.account.give(bytes);
            return Stage::AtRest; // Entries have come meanwhile.
        }
        evictor.set_bytes(evictor.bytes() + bytes);
        entries.begin_sweep(to);
        self.next_stretch(to)
    }

    /// Tells the policy its bounds.
    fn bound(&mut self, to: usize) -> Stage {
        let State { evictor, pending, entries, .. } = &mut *self.state;
        let is_done = (0..CALLS).any(|_| evictor.resize(pending, Table::extent(to) * LANES, Index::max_len_of(to)));
        if !is_done {
            return Stage::Bounding { to };
        }
        if entries.table().is_sweeping() {
            return self.end(to);
        }
        // What the policy has allocated is known, and what it needs for renames comes on top.
        let needed = evictor.policy().bytes() + rename_bytes(entries.table().size(), to);
        if needed < evictor.bytes() {
            self.shard.account.give(evictor.bytes() - needed);
            evictor.set_bytes(needed);
        }
        entries.begin_sweep(to);
        self.state.counts.index_growths += 1;
        self.next_stretch(to)
    }

    fn next_stretch(&mut self, to: usize) -> Stage {
        let State { evictor, entries, .. } = &mut *self.state;
        let from = entries.table().own_sweep().map_or(to, |sizes| sizes.from);
        match entries.next_stretch(stretch_of(from)) {
            Some(stretch) => Stage::Announcing(stretch),
            None => {
                evictor.end_renames();
                Stage::Clearing { next: Table::extent(to) }
            }
        }
    }

    fn announce(&mut self, stretch: Stretch) -> Stage {
        let State { evictor, pending, .. } = &mut *self.state;
        let is_done = (0..CALLS).any(|_| evictor.prepare_renames(pending, stretch.from.clone(), stretch.to.clone()));
        if is_done { Stage::Moving(stretch) } else { Stage::Announcing(stretch) }
    }

    fn move_some(&mut self, stretch: Stretch) -> Stage {
        // The policy learns of earlier reads under the ids of that time.
        self.drain_touches();
        let (rules, reached) = (&self.shard.rules, self.shard.time.reached());
        let mut moved = 0;
        let State { evictor, pending, resizing, .. } = &mut *self.state;
        evictor.settle(pending);
        resizing.moving.reserve_exact(MOVING);
        // Ends: each round moves the entries of a home, or gets room for them, or evicts some.
        while moved < MAX_MOVES && !self.state.entries.has_swept(&stretch) {
            let State { entries, evictor, deadlines, resizing, .. } = &mut *self.state;
            let swept = entries.sweep_home(&mut resizing.moving, |from, to, stamps| {
                evictor.rename(from, to);
                deadlines.file(to, rules.times(&stamps, reached).removal);
            });
            match swept {
                // A home without entries costs something, too.
                Swept::Home(of_home) => moved += of_home.max(LANES / 4),
                Swept::Crowded(of_home) => {
                    self.make_moving_room(of_home);
                    continue;
                }
                Swept::All => break,
            }
            self.remove_escaped();
            self.free_moving_room();
        }
        self.state.resizing.moving.clear();
        if !self.state.entries.has_swept(&stretch) {
            return Stage::Moving(stretch);
        }
        let to = self.state.entries.table().sweeps_to();
        self.next_stretch(to)
    }

    /// Removes the entries of a step that a clear in progress would miss.
    fn remove_escaped(&mut self) {
        if !self.state.clears.is_any() {
            return;
        }
        for at in 0..self.state.resizing.moving.len() {
            let (from, to) = self.state.resizing.moving[at].ids();
            if self.state.clears.is_passed_by(from, to) {
                self.remove_resident(to, RemovalCause::Removed);
            }
        }
    }

    /// Gets scratch memory for a home with this many entries. If the ring cannot give it, the
    /// entries of the home are evicted for which there is room.
    #[cold]
    fn make_moving_room(&mut self, entries: usize) {
        let more = entries.saturating_sub(MOVING) * size_of::<Moving>();
        // A hasher that changes its hashes may lead to more entries each time.
        let is_first = self.state.resizing.more_moving == 0;
        if is_first && self.take_from_ring(more, MIN_CHUNKS) {
            let resizing = &mut self.state.resizing;
            resizing.more_moving = more;
            // The former memory is freed first.
            resizing.moving = Vec::new();
            resizing.moving.reserve_exact(entries);
            return;
        }
        for at in 0..self.state.resizing.moving.len() {
            let (id, _) = self.state.resizing.moving[at].ids();
            self.evict_resident(id);
        }
    }

    /// Frees the scratch memory for a home with many entries.
    #[inline]
    fn free_moving_room(&mut self) {
        let resizing = &mut self.state.resizing;
        if resizing.more_moving > 0 {
            resizing.moving = Vec::new();
            resizing.moving.reserve_exact(MOVING);
            self.shard.account.give(core::mem::take(&mut resizing.more_moving));
        }
    }

    /// Examines buckets beyond the end of an index that has shrunk. Only entries are left there
    /// whose hash has changed, because of a custom hasher. They are evicted.
    fn clear_some(&mut self, next: usize) -> Stage {
        let buckets = self.state.entries.table().buckets();
        let end = buckets.min(end_of_clearing(next, BUCKETS_OF_A_PAGE));
        for id in (next..end).flat_map(|bucket| (0..LANES).map(move |lane| EntryId::from_lane(bucket, lane))) {
            if self.state.entries.live(id).is_some() {
                self.evict_resident(id);
            }
            self.state.deadlines.forget(id.bucket());
        }
        self.state.entries.release_swept(next..end);
        if end < buckets {
            return Stage::Clearing { next: end };
        }
        let to = self.state.entries.table().sweeps_to();
        if Table::extent(to) < buckets { Stage::Bounding { to } } else { self.end(to) }
    }

    /// Ends a sweep, and gives back what is no longer needed.
    fn end(&mut self, to: usize) -> Stage {
        let State { entries, deadlines, .. } = &mut *self.state;
        if entries.table().is_sweeping() {
            entries.end_sweep();
        }
        if !deadlines.fit(entries.table().buckets(), &self.shard.account) {
            return Stage::Ending { to };
        }
        self.settle_index_account();
        self.state.resizing = Resizing::of_size(to);
        self.account_for_policy();
        self.update_capacity();
        Stage::AtRest
    }

    /// Brings the account of index and wheel in line with the size of the table.
    fn settle_index_account(&mut self) {
        let table = self.state.entries.table();
        let (size, buckets) = (table.size(), table.buckets());
        let known = self.shard.account.index_bytes();
        self.shard.account.give_index(known - Table::footprint(size));
        // One round, unless the shard was emptied while its index changed its size, or gets a
        // smaller index at once.
        while !self.state.deadlines.fit(buckets, &self.shard.account) {}
    }

    /// Forgets a change of the size, for an index that has been emptied. Runs no user code.
    pub(super) fn abandon_resizing(&mut self) {
        self.shard.account.give(self.state.resizing.more_moving);
        self.state.resizing = Resizing::of_size(self.state.entries.table().size());
        self.settle_index_account();
    }

    /// Lets the index shrink if the entries have become larger.
    pub(super) fn consider_shrinking(&mut self) {
        let entries = &self.state.entries;
        let from = entries.table().size();
        // An index that is worth it has at most four fifths of the buckets. Mostly the entries
        // would not fit there.
        if Index::max_len_of(from - from / (SLACK + 1)) < with_room(entries.len()) {
            return;
        }
        let needed = self.buckets_of_full_shard();
        let to = (needed + needed / EARLY).max(least_buckets(entries.len())).max(MIN_BUCKETS);
        let saved = Table::footprint(from).saturating_sub(Table::footprint(to));
        let is_worth_it = to + to / SLACK < from && saved >= self.shard.account.target() / WORTH_SHRINKING;
        let capacity = self.state.evictor.capacity();
        let is_full = self.ring().live_bytes() >= capacity - capacity / 8;
        let is_idle = self.state.resizing.is_at_rest() && !self.is_being_saved();
        // On the way to a lower limit, the index shrinks with the ring: see `shrinking.rs`.
        if is_idle && !self.state.shrinking.is_under_way() && is_full && is_worth_it {
            self.state.resizing.stage = Stage::Taking { to };
        }
    }

    /// Shrinks the index to `to` buckets if the account has the bytes for renames. It is at rest,
    /// and has no more entries than these may have.
    pub(super) fn shrink_index(&mut self, to: usize, bytes: usize) -> bool {
        let is_taken = self.shard.account.take(bytes);
        if is_taken {
            self.state.resizing.stage = self.begin_shrinking(to, bytes);
        }
        is_taken
    }

    /// Gives an index without entries `to` buckets at once, and creates a policy for them. It is at
    /// rest, and ids may change. Needs no memory: the former policy goes first.
    pub(super) fn shrink_empty_index(&mut self, to: usize) {
        let State { entries, pending, deadlines, resizing, .. } = &mut *self.state;
        entries.begin_sweep(to);
        entries.end_sweep();
        pending.clear();
        deadlines.clear();
        *resizing = Resizing::of_size(to);
        self.settle_index_account();
        self.note_reached();
        self.renew_policy();
    }

    /// Lets the index grow by one bucket: for models.
    #[cfg(all(test, bytecache_loom))]
    pub(crate) fn grow(&mut self) {
        let from = self.state.entries.table().size();
        self.state.resizing.stage = Stage::Taking { to: from + 1 };
        while self.resize_some() {}
        assert_eq!(self.state.entries.table().size(), from + 1, "no room for a larger index");
    }

    /// Returns the buckets that a full shard of entries like the present ones needs. Too many cost
    /// memory for good, too few another growth.
    fn buckets_of_full_shard(&self) -> usize {
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

/// Returns the entries for which there is room when a growth from this size is considered.
fn early_of(size: usize) -> usize {
    Index::max_len_of(size) / EARLY + FEW
}

/// Returns the bytes that a sweep between these sizes needs: what the policy may take for renames,
/// and the scratch memory of a step.
pub(super) fn rename_bytes(from: usize, to: usize) -> usize {
    let homes = stretch_of(from).min(from);
    // In 64 bits, as the product of two sizes may not fit into 32. A stretch may begin and end
    // within a home of the other size.
    let homes_after = homes as u64 * to as u64 / from as u64 + 2;
    let buckets_of = |homes: u64, size: usize| (homes + MARGIN as u64).min(Table::extent(size) as u64);
    let buckets = buckets_of(homes as u64, from) + buckets_of(homes_after, to);
    let scratch = MOVING * size_of::<Moving>() + BYTES_PER_STRETCH;
    let bytes = buckets * (LANES * BYTES_PER_RENAME) as u64 + scratch as u64;
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Returns the fewest buckets to which the index may shrink with so many entries. More may come
/// before the sweep is through.
pub(super) fn least_buckets(entries: usize) -> usize {
    Index::buckets_for(with_room(entries))
}

fn with_room(entries: usize) -> usize {
    entries + entries / EARLY + FEW
}

/// Returns the bucket before which a step of clearing from `next` on ends. It ends with a page of
/// `page` buckets and frees at least one, as only whole pages can be given back.
fn end_of_clearing(next: usize, page: usize) -> usize {
    (next.next_multiple_of(page) + BUCKETS_PER_CLEARING.max(page)) / page * page
}

/// Returns how many home buckets are announced at a time, in a sweep of a table of this size.
fn stretch_of(from: usize) -> usize {
    (from / STRETCHES).max(MIN_STRETCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On systems of 32 bits, the product of two such sizes does not fit into a word.
    #[test]
    fn the_bytes_of_renames_are_right_for_large_tables() {
        let scratch = BYTES_PER_STRETCH + MOVING * size_of::<Moving>();
        let bytes_of = |buckets: usize| buckets * LANES * BYTES_PER_RENAME + scratch;
        assert_eq!(rename_bytes(400_000, 800_000), bytes_of(12_500 + MARGIN + 25_002 + MARGIN));
        assert_eq!(rename_bytes(4, 32), bytes_of(4 + 32));
    }

    #[test]
    fn a_step_of_clearing_ends_with_a_page_and_passes_a_whole_one() {
        for page in [64, 1024] {
            for first in [0, 1, 63, 64, 1000, 1024, 5000] {
                let end = end_of_clearing(first, page);
                assert_eq!(end % page, 0, "{page} {first}");
                assert!(end - first.next_multiple_of(page) >= page, "{page} {first}");
                assert!(end - first < BUCKETS_PER_CLEARING.max(page) + page, "{page} {first}");
            }
        }
    }
}
