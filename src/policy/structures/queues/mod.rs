//! FIFO queues of entry ids that cost 4 bytes for each entry and are read in the order of memory.
//!
//! ```text
//!   pool    | block | block | block | ...      blocks of ids, each in one queue or free
//!   queue   head block -> block -> tail block  popped at the head, pushed at the tail
//! ```
//!
//! A linked list over ids costs a cache miss for each neighbour. The next ids of a queue lie side
//! by side, so the next victims can be prefetched. In return an id in the middle cannot be
//! unlinked. Its place becomes a *hole* that is skipped when the head reaches it. Holes are
//! remembered by id and by the tail at the time, as the id may soon be queued again.
//!
//! An id leaves four bits of its place over. They hold a *mark* of the policy, which costs no
//! memory.
//!
//! Many holes are closed little by little. A queue has two parts, an *older* one that is popped and
//! a *newer* one that is pushed to. Each push or removal moves some ids from the newer part to the
//! end of the older one, without their holes. Once the newer part is empty, the older part takes
//! its place.
//!
//! An id can be renamed after its place was recorded (`window.rs`). The pool is resized in steps
//! (`resize.rs`).
//!
//! # Invariants
//!
//! 1. An id that is not a hole is in at most one place of one queue.
//! 2. A hole's places in a part are those before the part's tail that was recorded with it, and
//!    those that hold `HOLE`.
//! 3. The ids of the older part were pushed before those of the newer one.

mod holes;
mod resize;
#[cfg(test)]
mod tests;
mod walk;
mod window;

use std::collections::HashSet;

use self::holes::Holes;
use self::resize::{Shrinking, blocks_for, max_holes_for};
use self::walk::Walk;
use self::window::Window;
use super::QueueId;
use super::free_blocks::FreeBlocks;
use crate::growable::Growable;
use crate::policy::{EntryId, Residents, Turn, Unvisited};
use crate::units::{ID_BITS, MAX_IDS, to_u32};

const NONE: u32 = u32::MAX;
/// A place without an id: no id has this number.
const HOLE: u32 = u32::MAX >> (u32::BITS - ID_BITS);
const _: () = assert!(MAX_IDS == HOLE as usize);
/// The number of places by which victims are announced ahead.
const LOOKAHEAD: usize = 4;
/// The number of places that each push or removal examines while holes are closed. It is large
/// enough that all places are examined before the holes have doubled.
const CLOSING_STEPS: usize = 48;
/// The most rounds of an id: one for each of its three visits, and one more.
const MAX_ROUNDS: usize = 4;

/// An id in a queue, and its mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Queued {
    pub(crate) id: EntryId,
    /// At most [`MAX_MARK`](Self::MAX_MARK).
    pub(crate) mark: u8,
}

impl Queued {
    pub(crate) const MAX_MARK: u8 = (1 << (u32::BITS - ID_BITS)) - 1;

    fn from_place(place: u32) -> Self {
        let [mark, ..] = (place >> ID_BITS).to_le_bytes();
        Self { id: id_of(place), mark }
    }

    fn to_place(self) -> u32 {
        debug_assert!(self.id.index() < MAX_IDS && self.mark <= Self::MAX_MARK);
        u32::from(self.mark) << ID_BITS | self.id.get()
    }
}

impl From<EntryId> for Queued {
    fn from(id: EntryId) -> Self {
        Self { id, mark: 0 }
    }
}

/// Returns the id in a place.
fn id_of(place: u32) -> EntryId {
    EntryId::new(place & HOLE)
}

/// `N` queues that share a pool of blocks. The fields that pushes and pops write to come first.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Queues<const N: usize> {
    newer: [Part; N],
    older: [Part; N],
    places: Growable<u32>,
    /// The block after each in its queue.
    next_block: Growable<u32>,
    free: FreeBlocks,
    /// The length of a block, as a power of two.
    block_shift: u32,
    /// The bits of a position that are its index in a block.
    offset_mask: u64,
    /// The holes of the older and newer part of each queue, from its first removal on.
    holes: [[Option<Box<Holes>>; 2]; N],
    /// The number of holes of each queue.
    hole_counts: [usize; N],
    /// The queues whose holes are being closed.
    is_closing: [bool; N],
    max_holes: usize,
    /// The places of ids that are to be renamed.
    window: Option<Box<Window>>,
    /// The pool is being made smaller.
    shrinking: Option<Box<Shrinking<N>>>,
    /// The place of a walk that a snapshot takes.
    walk: Walk,
}

/// One of the two parts of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    Older,
    Newer,
}

/// A part of a queue. Positions count all ids that ever went through it, from 0 at the start of its
/// first block.
#[derive(Clone, Copy, Debug)]
struct Part {
    head: u64,
    tail: u64,
    /// The blocks of the last place that was popped and the last one that was pushed.
    head_block: u32,
    tail_block: u32,
}

impl Part {
    fn starting_with(block: u32) -> Self {
        Self { head: 0, tail: 0, head_block: block, tail_block: block }
    }

    fn len(&self) -> usize {
        usize::try_from(self.tail - self.head).unwrap_or(usize::MAX)
    }
}

/// Returns the index of a position in its block.
fn offset_in_block(position: u64, offset_mask: u64) -> usize {
    usize::try_from(position & offset_mask).unwrap_or(usize::MAX)
}

/// Returns `true` if a position is in another block than the one before it.
fn is_in_next_block(position: u64, offset_mask: u64) -> bool {
    position > 0 && offset_in_block(position, offset_mask) == 0
}

impl<const N: usize> Queues<N> {
    /// Blocks that only [`close_holes`](Self::close_holes) may use: one for each queue, as each may
    /// need one before its newer part has left another, and those before it may keep theirs.
    #[allow(clippy::cast_possible_truncation, reason = "there are at most four queues")]
    const SPARE_BLOCKS: u32 = N as u32;

    /// Bytes at the start that pushes and pops mostly write to.
    pub(crate) const ENDS_BYTES: usize = N * size_of::<Part>();

    /// Creates queues that can hold `max_ids` together, in a shard of `capacity` bytes.
    pub(crate) fn new(max_ids: usize, capacity: u64) -> Self {
        let block_shift = resize::block_shift_for(max_ids, capacity);
        let blocks = blocks_for::<N>(max_ids, block_shift);
        let mut queues = Self {
            places: Growable::new(blocks << block_shift),
            next_block: Growable::new(blocks),
            free: FreeBlocks::new(to_u32(blocks)),
            block_shift,
            offset_mask: (1 << block_shift) - 1,
            newer: [Part::starting_with(NONE); N],
            older: [Part::starting_with(NONE); N],
            holes: core::array::from_fn(|_| [None, None]),
            hole_counts: [0; N],
            is_closing: [false; N],
            max_holes: max_holes_for(max_ids),
            window: None,
            shrinking: None,
            walk: Walk::default(),
        };
        for queue in QueueId::first(N) {
            for age in [Age::Older, Age::Newer] {
                let block = queues.free.take().unwrap_or(NONE);
                *queues.part_mut(queue, age) = Part::starting_with(block);
            }
        }
        queues
    }

    pub(crate) fn allocated(&self) -> usize {
        let holes = self.holes.iter().flatten().flatten();
        let holes: usize = holes.map(|holes| holes.allocated()).sum();
        let window = self.window.as_ref().map_or(0, |window| window.allocated());
        self.places.allocated() + self.next_block.allocated() + self.free.allocated() + holes + window
    }

    fn part(&self, queue: QueueId, age: Age) -> &Part {
        match age {
            Age::Older => &self.older[queue.index()],
            Age::Newer => &self.newer[queue.index()],
        }
    }

    fn part_mut(&mut self, queue: QueueId, age: Age) -> &mut Part {
        match age {
            Age::Older => &mut self.older[queue.index()],
            Age::Newer => &mut self.newer[queue.index()],
        }
    }

    /// Returns the number of places in a queue, holes included.
    fn len(&self, queue: QueueId) -> usize {
        self.older[queue.index()].len() + self.newer[queue.index()].len()
    }

    /// Returns the index in the pool of a position that lies in `block`.
    fn place_index(&self, block: u32, position: u64) -> usize {
        ((block as usize) << self.block_shift) + offset_in_block(position, self.offset_mask)
    }

    /// Returns `true` if the place of an id is a hole.
    fn is_hole(&self, queue: QueueId, age: Age, id: EntryId, position: u64) -> bool {
        let holes = &self.holes[queue.index()][age as usize];
        id.get() == HOLE || holes.as_ref().is_some_and(|holes| holes.include(id, position))
    }

    /// Like [`is_hole`](Self::is_hole), but for a place that is left behind: a hole is no longer
    /// counted.
    #[inline]
    fn was_hole(&mut self, queue: QueueId, age: Age, id: EntryId, position: u64) -> bool {
        if id.get() != HOLE && self.holes[queue.index()][age as usize].is_none() {
            return false;
        }
        self.leave_place_with_holes(queue, age, id, position)
    }

    /// Is [`was_hole`](Self::was_hole) for a place that is a hole, or in a part that has some.
    #[inline(never)]
    fn leave_place_with_holes(&mut self, queue: QueueId, age: Age, id: EntryId, position: u64) -> bool {
        if id.get() == HOLE {
            self.hole_counts[queue.index()] -= 1;
            return true;
        }
        let Some(holes) = &mut self.holes[queue.index()][age as usize] else { return false };
        let Some(tail) = holes.get(id) else { return false };
        if position >= tail {
            holes.remove(id); // All its holes were before this place.
            return false;
        }
        self.hole_counts[queue.index()] -= 1;
        true
    }

    /// Adds an id that is in no queue.
    #[inline(always)]
    pub(crate) fn push(&mut self, queue: QueueId, queued: impl Into<Queued>) {
        let place = queued.into().to_place();
        self.close_some_holes();
        if !self.push_place(queue, Age::Newer, place, Self::SPARE_BLOCKS) {
            self.push_after_closing(queue, place);
        }
    }

    /// Adds a place where there is no block for it before all holes are closed.
    #[cold]
    fn push_after_closing(&mut self, queue: QueueId, place: u32) {
        self.close_all_holes();
        let pushed = self.push_place(queue, Age::Newer, place, Self::SPARE_BLOCKS);
        assert!(pushed, "more ids than the pool was made for");
    }

    /// Adds a place at the tail of a part. Returns `false` if that would leave fewer than `spare`
    /// free blocks.
    #[inline(always)]
    fn push_place(&mut self, queue: QueueId, age: Age, place: u32, spare: u32) -> bool {
        let tail = self.part(queue, age).tail;
        if is_in_next_block(tail, self.offset_mask) && !self.enter_block(queue, age, spare) {
            return false;
        }
        let index = self.place_index(self.part(queue, age).tail_block, tail);
        self.places[index] = place;
        self.part_mut(queue, age).tail += 1;
        if self.window.is_some() {
            self.record(id_of(place), index);
        }
        true
    }

    /// Gives the tail of a part its next block. Returns `false` if that would leave fewer than
    /// `spare` free blocks.
    #[cold]
    fn enter_block(&mut self, queue: QueueId, age: Age, spare: u32) -> bool {
        if self.free.free() <= spare && !self.use_blocks_beyond(spare) {
            return false;
        }
        let Some(block) = self.free.take() else { return false };
        let tail_block = self.part(queue, age).tail_block as usize;
        self.next_block[tail_block] = block;
        self.part_mut(queue, age).tail_block = block;
        true
    }

    /// Moves the head of a part to its next block, and frees the one before.
    #[cold]
    fn leave_block(&mut self, queue: QueueId, age: Age) {
        let emptied = self.part(queue, age).head_block;
        self.part_mut(queue, age).head_block = self.next_block[emptied as usize];
        self.free.give(emptied);
    }

    /// Removes the oldest id, and returns it. Holes before it are removed, too. For each place that
    /// is removed, calls `announce` with the id that [`later`](Self::later) returns, if any. So the
    /// lines that the eviction of that id will touch can be prefetched.
    #[inline(always)]
    pub(crate) fn pop(&mut self, queue: QueueId, announce: impl Fn(EntryId)) -> Option<Queued> {
        let (oldest, later) = self.pop_and_tell(queue, &announce)?;
        later.into_iter().for_each(announce);
        Some(oldest)
    }

    /// Like [`pop`](Self::pop), but returns what is to be announced for the place of the id itself.
    #[inline(always)]
    pub(crate) fn pop_and_tell(
        &mut self,
        queue: QueueId,
        announce: impl Fn(EntryId),
    ) -> Option<(Queued, Option<EntryId>)> {
        // Only while holes are closed does a queue have an older part.
        if self.part(queue, Age::Older).len() > 0 {
            if let Some(oldest) = self.pop_older(queue, &announce) {
                return Some(oldest);
            }
        }
        self.pop_from(queue, Age::Newer, announce)
    }

    #[inline(never)]
    fn pop_older(&mut self, queue: QueueId, announce: impl Fn(EntryId)) -> Option<(Queued, Option<EntryId>)> {
        self.pop_from(queue, Age::Older, announce)
    }

    #[inline(always)]
    fn pop_from(&mut self, queue: QueueId, age: Age, announce: impl Fn(EntryId)) -> Option<(Queued, Option<EntryId>)> {
        // Ends: each round takes a place out.
        loop {
            let (index, position) = self.pop_place(queue, age)?;
            let place = self.places[index];
            let later = self.later(queue, age, index, position);
            if !self.was_hole(queue, age, id_of(place), position) {
                return Some((Queued::from_place(place), later));
            }
            later.into_iter().for_each(&announce);
        }
    }

    /// Takes the place at the head of a part out. Returns its index in the pool and its position.
    #[inline(always)]
    fn pop_place(&mut self, queue: QueueId, age: Age) -> Option<(usize, u64)> {
        let Part { head, tail, .. } = *self.part(queue, age);
        if head == tail {
            return None;
        }
        if is_in_next_block(head, self.offset_mask) {
            self.leave_block(queue, age);
        }
        let index = self.place_index(self.part(queue, age).head_block, head);
        self.part_mut(queue, age).head += 1;
        Some((index, head))
    }

    /// Returns the id that is [`LOOKAHEAD`] places behind the one at this index and position, or
    /// `None` if that is a hole, in another block or beyond the tail.
    #[inline(always)]
    fn later(&self, queue: QueueId, age: Age, index: usize, position: u64) -> Option<EntryId> {
        let later = position + LOOKAHEAD as u64;
        if later >= self.part(queue, age).tail || offset_in_block(later, self.offset_mask) < LOOKAHEAD {
            return None;
        }
        let id = id_of(self.places[index + LOOKAHEAD]);
        (!self.is_hole(queue, age, id, later)).then_some(id)
    }

    /// Pops ids until `stay` returns `None` for one, and returns that and what is known of it. The
    /// others go round, to the tail, with the mark that `stay` returns. `fate` says what `stay`
    /// does with an id of a mark that has no visits.
    ///
    /// `stay` should take a visit from each id that stays. If readers add visits as fast, an id
    /// leaves all the same after four rounds.
    #[inline(always)]
    pub(crate) fn pop_unless(
        &mut self,
        queue: QueueId,
        residents: &mut Residents<'_>,
        fate: impl Fn(u8) -> Unvisited,
        mut stay: impl FnMut(Queued, Turn, &mut Residents<'_>) -> Option<u8>,
    ) -> Option<(EntryId, Turn)> {
        // Counted from the first id that stays: mostly there is none.
        let mut left = None;
        loop {
            let (queued, later) = self.pop_and_tell(queue, |later| residents.expect(later))?;
            let turn = residents.turn(queued.id, later, fate(queued.mark));
            let Some(mark) = stay(queued, turn, residents) else { return Some((queued.id, turn)) };
            let left = left.get_or_insert_with(|| MAX_ROUNDS * (self.len(queue) + 1));
            if *left == 0 {
                return Some((queued.id, turn));
            }
            *left -= 1;
            self.push(queue, Queued { mark, ..queued });
        }
    }

    /// Removes an id that is in `queue`: its place becomes a hole.
    pub(crate) fn remove(&mut self, queue: QueueId, id: EntryId) {
        if let Some(index) = self.window.as_mut().and_then(|window| window.take(id)) {
            self.places[index] = HOLE;
        } else {
            // It may be in either part. In the other one this makes no holes.
            for age in [Age::Older, Age::Newer] {
                let part = *self.part(queue, age);
                if part.len() > 0 {
                    self.holes[queue.index()][age as usize].get_or_insert_default().insert(id, part.tail);
                }
            }
        }
        self.hole_counts[queue.index()] += 1;
        // Each queue has its share, so that all of them together have fewer than `max_holes`. While
        // one is being closed, fewer holes come than half of that.
        if self.hole_counts[queue.index()] > self.max_holes / (2 * N) {
            self.is_closing[queue.index()] = true;
        }
        self.close_some_holes();
    }

    /// Closes a bounded number of holes, in the queues that have many.
    #[inline]
    fn close_some_holes(&mut self) {
        if self.is_closing == [false; N] {
            return;
        }
        for queue in QueueId::first(N) {
            if self.is_closing[queue.index()] {
                self.close_holes(queue, CLOSING_STEPS);
            }
        }
    }

    /// Closes all holes. Not called while at most as many ids are queued as the pool was made for:
    /// there are enough blocks for them and for `max_holes`.
    #[cold]
    fn close_all_holes(&mut self) {
        for queue in QueueId::first(N) {
            self.close_holes(queue, usize::MAX);
            self.close_holes(queue, usize::MAX); // What was the older part had holes as well.
        }
    }

    /// Moves up to `steps` places from the newer part to the older one, without the holes.
    fn close_holes(&mut self, queue: QueueId, steps: usize) {
        for _ in 0..steps {
            let Some((index, position)) = self.pop_place(queue, Age::Newer) else { break };
            let place = self.places[index];
            if !self.was_hole(queue, Age::Newer, id_of(place), position) {
                // By the time that the queue's spare block is full, the newer part's head has left
                // a block.
                let pushed = self.push_place(queue, Age::Older, place, 0);
                assert!(pushed, "an id would be lost to the policy");
            }
        }
        if self.part(queue, Age::Newer).len() == 0 {
            let [older, newer] = &mut self.holes[queue.index()];
            (*older, *newer) = (None, older.take());
            core::mem::swap(&mut self.older[queue.index()], &mut self.newer[queue.index()]);
            self.walk.block = None;
            self.is_closing[queue.index()] = false;
            if let Some(window) = &mut self.window {
                window.note_swap(queue);
            }
            if self.shrinking.is_some() {
                self.note_pass(queue);
            }
        }
    }

    /// Returns the block of a position between the head and the tail of a part.
    fn block_of(&self, part: &Part, position: u64) -> u32 {
        if position >= part.tail {
            return part.tail_block;
        }
        let head = part.head >> self.block_shift;
        let behind = u64::from(is_in_next_block(part.head, self.offset_mask));
        let steps = (position >> self.block_shift) - head + behind;
        (0..steps).fold(part.head_block, |block, _| self.next_block[block as usize])
    }

    /// Returns the ids of a queue, from the oldest to the newest.
    pub(crate) fn ids(&self, queue: QueueId) -> Vec<EntryId> {
        self.live_places(queue).into_iter().map(|(id, _)| id).collect()
    }

    /// Returns the ids of a queue and the index of the place of each, from the oldest to the
    /// newest.
    fn live_places(&self, queue: QueueId) -> Vec<(EntryId, usize)> {
        let mut live = Vec::new();
        for age in [Age::Older, Age::Newer] {
            let part = self.part(queue, age);
            let mut block = part.head_block;
            for position in part.head..part.tail {
                if is_in_next_block(position, self.offset_mask) {
                    block = self.next_block[block as usize];
                }
                let index = self.place_index(block, position);
                let id = id_of(self.places[index]);
                if !self.is_hole(queue, age, id, position) {
                    live.push((id, index));
                }
            }
        }
        live
    }

    /// Checks that no id is queued twice, and that no block is lost. Returns the number of ids.
    pub(crate) fn validate(&self) -> usize {
        let ids: Vec<_> = QueueId::first(N).flat_map(|queue| self.ids(queue)).collect();
        let different: HashSet<_> = ids.iter().collect();
        assert_eq!(different.len(), ids.len(), "an id is queued twice");
        let used: Vec<_> = QueueId::first(N).flat_map(|queue| self.blocks_of(queue)).collect();
        assert!(used.iter().all(|&block| self.free.is_used(block)), "a block in use is free");
        let used: HashSet<_> = used.into_iter().filter(|&block| block < self.free.len()).collect();
        assert_eq!(used.len() + self.free.free() as usize, self.free.len() as usize, "a block is lost");
        if let Some(window) = &self.window {
            let live = QueueId::first(N).flat_map(|queue| self.live_places(queue));
            live.for_each(|(id, index)| window.validate(id, index));
        }
        for queue in QueueId::first(N) {
            let holes = self.hole_counts[queue.index()];
            assert_eq!(self.ids(queue).len() + holes, self.len(queue), "holes were counted wrongly");
        }
        ids.len()
    }

    /// Returns the blocks that both parts of a queue use.
    fn blocks_of(&self, queue: QueueId) -> Vec<u32> {
        let mut blocks = Vec::new();
        for age in [Age::Older, Age::Newer] {
            let Part { head_block, tail_block, .. } = *self.part(queue, age);
            let next = |&block: &u32| (block != tail_block).then(|| self.next_block[block as usize]);
            blocks.extend(core::iter::successors(Some(head_block), next));
        }
        blocks
    }
}
