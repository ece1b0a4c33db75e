//! Shrinking: a shard reaches a lower limit, a little with each write.
//!
//! ```text
//!   allocated   |================|=======|======|........|
//!               0             target  allocated budget   former budget
//! ```
//!
//! The budget is lowered to what is allocated after each step, so memory that is given back stays
//! given back. A step does a part of each of these:
//!
//! 1. **Evicting.** The policy evicts until the live bytes are those of a full shard of the target.
//! 2. **The index.** It shrinks to the size for these entries (`resizing.rs`).
//! 3. **Chunks.** One chunk is cleaned, up to a number of bytes, and one free chunk is given back.
//!    No chunk is given back whose bytes the live entries need: the policy evicts first.
//! 4. **The tables.** Chunks that came with a higher limit lie behind the others. They are emptied,
//!    and their places in the ring's tables are given up.
//!
//! While the cache is saved, the index keeps its size. The bytes that it is going to give back
//! count as given back, too, and so does the record of changes. Otherwise the ring would pay for
//! them, with most of the entries if they are small.
//!
//! Chunks that values or readers hold count as given back. They are, once nobody holds them: the
//! next write or call of `maintain` does it. Until then nothing is evicted in their place.
//!
//! # Cost
//!
//! A step evicts at most [`MAX_EVICTIONS`] entries, and fewer if the copies for the removal
//! listener are many. It moves entries of about [`CLEANING`] bytes, and gives one chunk back.
//!
//! # The index
//!
//! The policy needs memory while the index shrinks. The budget keeps a reserve for that, and for a
//! few chunks, so that stores go on. If the memory is missing all the same, all entries are
//! evicted: an index without entries changes its size at once, with another policy.

use super::cleaner::{Cleaned, has_few_chunks};
use super::expire::MIN_CHUNKS_WITH_WHEEL;
use super::space::Evicted;
use super::writer::Writer;
use super::{MIN_CHUNKS, Shard, State, resizing};
use crate::index::{Index, MIN_BUCKETS, Table};
use crate::ring::Ring;

/// The most entries that a step evicts.
const MAX_EVICTIONS: u64 = 32;
/// The bytes of work that a step does in a chunk that it cleans.
const CLEANING: usize = 16 << 10;
/// The fewest chunks that the ring keeps when it pays for renames. It gets some back after them.
const MIN_CHUNKS_FOR_RENAMES: usize = MIN_CHUNKS_WITH_WHEEL - 2;
/// Free chunks that a shrinking ring of small entries keeps: one for fresh entries and one for
/// survivors.
const KEPT_FREE: usize = 2;
/// Steps that a call of `maintain` takes, before the one that each write does.
const STEPS_OF_MAINTENANCE: usize = 31;
/// Entries that fit otherwise are evicted for a smaller index only if that saves more than one part
/// in this.
const WORTH_EVICTING: usize = 256;
/// If less than one part in this is live, the entries do not tell how many a full shard would have.
/// Then the index is to be as large as the present ones need.
const FEW_LIVE: usize = 8;
/// The index shrinks if it is larger than needed by one part in this.
const SLACK: usize = 16;

/// The way to a lower limit. It is small, as it lies in each shard's state.
#[derive(Debug)]
pub(super) struct Shrinking {
    /// The live bytes that stores may fill up to meanwhile, or [`AT_REST`].
    goal: usize,
}

/// The goal of a shard that does not shrink.
const AT_REST: usize = usize::MAX;

impl Shrinking {
    pub(super) fn new() -> Self {
        Self { goal: AT_REST }
    }

    #[inline]
    pub(super) fn is_under_way(&self) -> bool {
        self.goal != AT_REST
    }

    /// Returns how many bytes may be live, of those that the ring has room for.
    pub(super) fn limit(&self, room: usize, live: usize) -> usize {
        if self.is_under_way() { room.min(self.goal).max(live) } else { room }
    }
}

/// The state of a step that has begun.
#[derive(Clone, Copy)]
struct Step {
    /// The number of evictions at its begin.
    evictions: u64,
}

/// Returns the whole part of a number of entries or bytes of the shard.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most as many as the shard has bytes")]
fn whole(number: f64) -> usize {
    number as usize
}

/// Returns the bytes that have to be left while the index is too large: those for renames, and for
/// chunks that the ring cannot do without.
fn reserve(ring: &Ring, rename_bytes: usize) -> usize {
    let chunks = MIN_CHUNKS.saturating_sub(ring.chunks_in_use());
    rename_bytes + chunks * ring.chunk_bytes()
}

/// What a full shard of the target has.
struct Goal {
    live: usize,
    /// The buckets to which the index may shrink with its entries.
    buckets: usize,
    /// The largest index that leaves the ring its smallest size.
    most_buckets: usize,
}

impl Shard {
    /// Sets the shard's share of the limit. `turn` is the number of the call: of two calls the
    /// later one counts.
    ///
    /// Runs no user code, so no panic can keep the limit from the shards after this one. The policy
    /// learns of it by [`Writer::follow_limit`].
    pub(crate) fn set_limit(&self, turn: u64, bytes: usize) {
        let state = &mut *self.state.lock();
        let size = state.entries.table().size();
        let reserve = reserve(state.entries.ring(), resizing::rename_bytes(size, size));
        let Some(before) = self.account.set_target(turn, bytes, reserve) else { return };
        state.entries.ring_mut().set_usual_bytes(bytes);
        state.resizing.look_again(size);
        // A step finds out that nothing is left to do.
        if bytes < before || state.shrinking.is_under_way() {
            state.shrinking.goal = state.evictor.capacity();
        }
        if bytes < before {
            state.resizing.cancel_growth();
            state.entries.ring_mut().expect_fewer_chunks();
        }
    }
}

impl Writer<'_> {
    /// Derives the capacity from the limit. Takes the rest of the shard's share of a higher one
    /// before, if other shards have left it.
    pub(crate) fn follow_limit(&mut self) {
        self.shard.account.raise();
        self.update_capacity();
    }

    /// Does a step of what is left to do for a lower limit.
    #[inline]
    pub(super) fn shrink_after_write(&mut self) {
        if self.state.shrinking.is_under_way() {
            self.shrink_some();
        }
    }

    /// Does several steps of what is left to do for a lower limit. Returns `true` if more could be
    /// done at once.
    pub(super) fn shrink_much(&mut self) -> bool {
        for _ in 0..STEPS_OF_MAINTENANCE {
            if !self.state.shrinking.is_under_way() || !self.shrink_some() {
                return false;
            }
            if self.removals_are_many() {
                break;
            }
        }
        true
    }

    /// Does a step. Returns `false` if there is nothing to do, at present or for good.
    #[cold]
    fn shrink_some(&mut self) -> bool {
        // The policy learns of earlier reads before it evicts.
        self.drain_touches();
        if self.ring().counts().retired > 0 {
            self.ring_mut().reclaim();
        }
        let mut has_progress = self.resize_some();
        let step = Step { evictions: self.state.counts.evictions };
        let is_at_rest = self.state.resizing.is_at_rest();
        let mut goal = self.goal();
        let size = self.state.entries.table().size();
        let can_resize = is_at_rest && !self.is_being_saved();
        let places = self.ring().places_for(self.shard.account.target());
        let (excess, in_use) = (self.excess(places), self.ring().chunks_in_use());
        if excess > 0 && in_use <= MIN_CHUNKS_WITH_WHEEL {
            goal.most_buckets = goal.most_buckets.min((size / 2).max(MIN_BUCKETS));
        }
        let wanted = goal.buckets.min(goal.most_buckets).max(MIN_BUCKETS);
        let is_too_large = wanted + wanted / SLACK < size || goal.most_buckets < size;
        let excess = excess.saturating_sub(self.due_after_save(wanted));
        let shrinks_index = can_resize && is_too_large && size > MIN_BUCKETS;

        let chunk = self.ring().chunk_bytes();
        let held = self.ring().counts().retired * chunk;
        let rename_bytes = resizing::rename_bytes(size, wanted);
        let is_about_to_shrink = shrinks_index && resizing::least_buckets(self.state.entries.len()) <= wanted;
        let lacks_memory = is_about_to_shrink && self.shard.account.left() < rename_bytes;
        if lacks_memory && (in_use <= MIN_CHUNKS_FOR_RENAMES || self.state.entries.len() == 0) {
            return self.shrink_without_renames(step, wanted);
        }
        // As long as the index is to shrink, the ring keeps the chunks that pay for renames.
        let for_renames = if is_too_large { rename_bytes / chunk + 2 } else { 0 };
        let wants_chunk = excess > held && in_use > MIN_CHUNKS_WITH_WHEEL + for_renames
            || lacks_memory && in_use > MIN_CHUNKS_FOR_RENAMES;
        let room = self.state.cleaner.capacity_of(in_use.saturating_sub(1), self.ring());
        if wants_chunk && (is_at_rest || lacks_memory) {
            goal.live = goal.live.min(room);
        }
        if excess == 0 {
            // The capacity afterwards: the next store is to evict no more than for itself.
            let State { cleaner, entries, .. } = &mut *self.state;
            goal.live = goal.live.min(cleaner.derive_capacity(entries.ring(), &self.shard.account));
        }
        self.state.shrinking.goal = goal.live;
        let has_evicted = self.evict_some(step, |state| {
            let is_too_full = shrinks_index && resizing::least_buckets(state.entries.len()) > wanted;
            state.entries.ring().live_bytes() <= goal.live && !is_too_full
        });
        has_progress |= has_evicted;

        if is_about_to_shrink && !lacks_memory {
            has_progress |= self.shrink_index(wanted, rename_bytes);
        }
        if wants_chunk && self.ring().live_bytes() <= room {
            let excess = if lacks_memory { usize::MAX } else { excess };
            has_progress |= self.give_some_back(step, is_at_rest && !has_evicted, excess);
        } else if excess <= held {
            has_progress |= self.give_places_back(step, places, held == 0 && !has_evicted);
        }
        let for_renames = if is_at_rest { rename_bytes } else { 0 };
        let reserve = if is_too_large { reserve(self.ring(), for_renames) } else { 0 };
        let is_settled = self.shard.account.settle(reserve) && !lacks_memory;
        if is_settled && !has_progress && self.is_within(places) {
            self.state.shrinking = Shrinking::new();
        }
        self.update_capacity();
        has_progress
    }

    /// Shrinks the index to `wanted` buckets although the ring cannot pay for the renames: entries
    /// leave until none is left. Returns `false` if none could be evicted.
    fn shrink_without_renames(&mut self, step: Step, wanted: usize) -> bool {
        let has_evicted = self.evict_some(step, |_| false);
        let is_empty = self.state.entries.len() == 0;
        if is_empty {
            self.shrink_empty_index(wanted);
        }
        self.update_capacity();
        has_evicted || is_empty
    }

    /// Returns the bytes that are over the target, without those of places that will be given up
    /// and of the record of changes, which is given back when the save ends.
    fn excess(&self, places: usize) -> usize {
        let account = &self.shard.account;
        let passing = self.places_bytes(places) + account.save_bytes();
        account.allocated().saturating_sub(passing).saturating_sub(account.target())
    }

    /// Returns the bytes that are given back once the save has ended and the index shrinks to
    /// `wanted` buckets. The ring does not pay for them meanwhile.
    fn due_after_save(&self, wanted: usize) -> usize {
        let surplus = self.paid_size().saturating_sub(wanted);
        if self.is_being_saved() { surplus * self.bytes_per_bucket() } else { 0 }
    }

    /// Returns the home buckets for which the account holds the memory. They are more than the
    /// index has if it is about to grow.
    fn paid_size(&self) -> usize {
        let size = self.state.entries.table().size();
        self.state.resizing.target().map_or(size, |to| to.max(size))
    }

    /// Returns the bytes that the index, the policy and the wheel have for each home bucket.
    fn bytes_per_bucket(&self) -> usize {
        let side = self.state.evictor.bytes() + self.state.deadlines.bytes();
        Table::footprint_of_one() + side / self.paid_size()
    }

    /// Returns the bytes that the ring's tables have beyond those of so many places.
    fn places_bytes(&self, places: usize) -> usize {
        let ring = self.ring();
        ring.added_bytes() - ring.added_bytes_with(places.min(ring.chunks()))
    }

    /// Returns `true` if the ring has no more places than that, and no more live bytes than fit.
    fn is_within(&mut self, places: usize) -> bool {
        let State { cleaner, entries, .. } = &mut *self.state;
        let ring = entries.ring();
        ring.chunks() <= places && ring.live_bytes() <= cleaner.derive_capacity(ring, &self.shard.account)
    }

    /// Returns what a full shard of the target has, with entries like the present ones.
    fn goal(&self) -> Goal {
        let State { entries, evictor, deadlines, cleaner, .. } = &*self.state;
        let (account, ring) = (&self.shard.account, entries.ring());
        let chunk = ring.chunk_bytes();
        let side = evictor.bytes() + deadlines.bytes();
        let known = side + account.index_bytes() + account.save_bytes() + ring.chunks_in_use() * chunk;
        // Saturating, as other threads may give the bytes of loads back meanwhile.
        let others = account.allocated().saturating_sub(known);
        let others = others.saturating_sub(self.places_bytes(ring.places_for(account.target())));
        let spendable = account.target().saturating_sub(others);

        let size = entries.table().size();
        let per_bucket = self.bytes_per_bucket();
        let for_index = spendable.saturating_sub(self.shard.min_chunks * chunk);
        let most_buckets = (for_index / per_bucket).max(MIN_BUCKETS);

        if ring.live_bytes() < spendable / FEW_LIVE {
            let buckets = resizing::least_buckets(entries.len());
            let chunks = spendable.saturating_sub(buckets * per_bucket) / chunk;
            return Goal { live: cleaner.capacity_of(chunks, ring), buckets, most_buckets };
        }
        let charge = ring.live_bytes() as f64 / entries.len().max(1) as f64;
        let per_entry = per_bucket as f64 / Index::max_len_of(size) as f64 * size as f64;
        // The index keeps some slack.
        let per_entry = per_entry + per_entry / SLACK as f64;
        let by_target = spendable as f64 / (charge / cleaner.target() + per_entry);
        let unused = cleaner.reserve(whole(by_target * charge) / chunk, ring) * chunk;
        let by_reserve = spendable.saturating_sub(unused) as f64 / (charge + per_entry);
        let entries = whole(by_target.min(by_reserve));
        let live = whole(entries as f64 * charge);
        let tight = Index::buckets_for(entries + 1);
        let tight = tight + tight / SLACK;
        let buckets = resizing::least_buckets(entries).min(tight + spendable / WORTH_EVICTING / per_bucket);
        Goal { live, buckets, most_buckets }
    }

    /// Returns `true` if the step may evict one more entry.
    fn may_evict_in(&self, step: Step) -> bool {
        let evicted = self.state.counts.evictions - step.evictions;
        // One at least, as the write may have filled the listener's share already.
        evicted == 0 || evicted < MAX_EVICTIONS && !self.removals_are_many()
    }

    /// Lets the policy evict until it is enough, but not more than the step may. Returns `true` if
    /// entries have left.
    fn evict_some(&mut self, step: Step, is_enough: impl Fn(&State) -> bool) -> bool {
        let mut has_evicted = false;
        // At most `MAX_EVICTIONS` rounds.
        while self.may_evict_in(step) && !is_enough(&self.state) && self.evict() == Evicted::Entry {
            has_evicted = true;
        }
        has_evicted
    }

    /// Lets the policy evict about a chunk's bytes, or fewer if more than `kept` chunks are free
    /// before. Returns `true` if entries have left.
    fn evict_for_chunk(&mut self, step: Step, kept: usize) -> bool {
        let enough = self.ring().live_bytes().saturating_sub(self.ring().chunk_bytes());
        let mut has_evicted = false;
        // At most `MAX_EVICTIONS` rounds.
        while self.may_evict_in(step)
            && self.ring().live_bytes() > enough
            && !self.ring_mut().has_free(kept + 1)
            && self.evict() == Evicted::Entry
        {
            has_evicted = true;
        }
        has_evicted
    }

    /// Gives a free chunk back, or cleans one for that. If no chunk is worth it, the policy evicts.
    fn give_some_back(&mut self, step: Step, may_evict: bool, excess: usize) -> bool {
        // An entry that has a run for itself leaves its chunks free.
        let kept = if self.ring().has_small() { KEPT_FREE } else { 0 };
        if self.ring_mut().has_free(kept + 1) {
            return self.give_free_chunk_back();
        }
        let State { cleaner, entries, counts, .. } = &mut *self.state;
        match cleaner.clean(entries, counts, CLEANING) {
            Cleaned::Chunk | Cleaned::Some => true,
            Cleaned::NotFound if !self.state.cleaner.is_fruitless() => true,
            Cleaned::Stuck if self.ring().counts().free > 0 => self.give_free_chunk_back(),
            Cleaned::Nothing if self.ring_mut().retire_open() || self.begin_with_spare() => true,
            // Not in place of the chunks that values hold.
            Cleaned::Stuck | Cleaned::Nothing | Cleaned::NotFound
                if may_evict && !self.shard.lookup.ring.are_pinned(excess) =>
            {
                let has_evicted = self.evict_for_chunk(step, kept);
                self.state.shrinking.goal = self.state.shrinking.goal.min(self.ring().live_bytes());
                has_evicted
            }
            Cleaned::NotFound => true,
            Cleaned::Stuck | Cleaned::Nothing => false,
        }
    }

    /// Begins to clean an open chunk whose entries fit into another one, in a ring of few chunks.
    /// Returns `false` if there is none.
    fn begin_with_spare(&mut self) -> bool {
        let State { cleaner, entries, .. } = &mut *self.state;
        let spare = if has_few_chunks(entries.ring()) { entries.ring_mut().seal_spare() } else { None };
        if let Some(spare) = spare {
            cleaner.begin_with(entries.ring_mut(), spare);
        }
        spare.is_some()
    }

    fn give_free_chunk_back(&mut self) -> bool {
        let is_given = self.ring_mut().give_back();
        if is_given {
            self.shard.account.give(self.ring().chunk_bytes());
        }
        is_given
    }

    /// Empties chunks that came with a higher limit, and gives up their places. Entries may have to
    /// be evicted for that.
    fn give_places_back(&mut self, step: Step, places: usize, may_evict: bool) -> bool {
        if self.ring().chunks() <= places {
            return false;
        }
        let freed = self.ring_mut().trim(places);
        self.shard.account.give(freed);
        if freed > 0 || self.ring_mut().lower_free(places) {
            return true;
        }
        if !self.ring().has_free_before(places) {
            // Survivors would go to chunks beyond, again and again.
            return may_evict && (self.ring().counts().absent > 0 && self.put_to_use() || self.make_free(step));
        }
        let State { cleaner, entries, counts, .. } = &mut *self.state;
        let (beyond, retired) = (entries.ring().beyond(places), entries.ring().counts().retired);
        if !cleaner.is_cleaning() {
            let Some(chunk) = entries.ring_mut().sealed_beyond(places) else {
                // An open chunk may have been empty.
                return entries.ring().counts().retired > retired;
            };
            cleaner.begin_with(entries.ring_mut(), chunk);
        }
        match cleaner.clean_out_of(Some(beyond), entries, counts, CLEANING) {
            Cleaned::Chunk | Cleaned::Some | Cleaned::NotFound => true,
            Cleaned::Stuck | Cleaned::Nothing if may_evict => {
                self.evict_what_is_cleaned(|writer| writer.may_evict_in(step));
                true
            }
            Cleaned::Stuck | Cleaned::Nothing => {
                cleaner.set_aside(entries.ring_mut());
                false
            }
        }
    }

    /// Cleans some of a chunk, or evicts if no chunk is worth it.
    fn make_free(&mut self, step: Step) -> bool {
        let State { cleaner, entries, counts, .. } = &mut *self.state;
        match cleaner.clean(entries, counts, CLEANING) {
            Cleaned::Chunk | Cleaned::Some => true,
            Cleaned::NotFound if !self.state.cleaner.is_fruitless() => true,
            Cleaned::Nothing if self.ring_mut().retire_open() => true,
            Cleaned::Stuck | Cleaned::Nothing | Cleaned::NotFound => self.evict_for_chunk(step, 0),
        }
    }
}
