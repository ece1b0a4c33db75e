//! [`Window`]: the places of ids that are about to be renamed.
//!
//! An id in the middle of a queue can't be found. So before ids of a range are renamed, a *walk*
//! goes through all queues, a few places a call, and records where the ids of the range are. A
//! place that is written meanwhile is recorded, too. So the walk only has to come by the places
//! that stay where they are.
//!
//! Holes are known by id. Under its new number an id would fall for the holes of the entry that had
//! that number before. So the walk turns the holes that it meets into [`HOLE`], and then forgets
//! what is known of holes of those ids. While their places are recorded, new holes are made in the
//! places themselves.

use core::ops::Range;

use super::{Age, HOLE, NONE, Queues, id_of, is_in_next_block, offset_in_block};
use crate::policy::EntryId;
use crate::policy::structures::QueueId;
use crate::units::to_u32;

/// Places that one call walks over, and ids whose holes it forgets.
pub(super) const WALKED_AT_ONCE: usize = 512;

/// The places of the ids in two ranges.
#[derive(Debug)]
pub(super) struct Window {
    announced: [Range<u32>; 2],
    from: Range<u32>,
    /// Empty if `from` includes all of it.
    to: Range<u32>,
    /// The index of the place of each id in `from`, and of each in `to`, or `NONE`.
    indexes: Vec<u32>,
    progress: Progress,
}

/// The work that is left before ids are renamed.
#[derive(Clone, Copy, Debug)]
enum Progress {
    /// Walking over the places of a part.
    Walk(Walk),
    /// Forgetting the holes of ids, by their place in `indexes`.
    Holes(usize),
    Done,
}

/// The next place of a walk.
#[derive(Clone, Copy, Debug)]
struct Walk {
    queue: u8,
    age: Age,
    position: u64,
    /// The block of the place before it.
    block: u32,
    /// The tail of the part when the walk came to it. What is pushed later is recorded at once.
    end: u64,
}

impl Walk {
    /// The walk comes to the older part of a queue.
    fn entering(queue: u8) -> Self {
        Self { queue, age: Age::Older, position: 0, block: NONE, end: u64::MAX }
    }
}

impl Window {
    /// Creates a window in which nothing is recorded, in the memory of a former one.
    fn new(from: Range<u32>, to: Range<u32>, mut indexes: Vec<u32>) -> Self {
        let announced = [from.clone(), to.clone()];
        let to = if from.start <= to.start && to.end <= from.end { 0..0 } else { to };
        indexes.clear();
        indexes.reserve_exact(from.len() + to.len());
        indexes.resize(from.len() + to.len(), NONE);
        Self { announced, from, to, indexes, progress: Progress::Walk(Walk::entering(0)) }
    }

    pub(super) fn allocated(&self) -> usize {
        size_of::<Self>() + self.indexes.capacity() * size_of::<u32>()
    }

    /// Returns the place of an id in `indexes`.
    fn index_of(&self, id: EntryId) -> Option<usize> {
        let id = id.get();
        if self.from.contains(&id) {
            Some((id - self.from.start) as usize)
        } else if self.to.contains(&id) {
            Some(self.from.len() + (id - self.to.start) as usize)
        } else {
            None
        }
    }

    /// Records the index of the place that an id was written to.
    fn record(&mut self, id: EntryId, index: usize) {
        if let Some(at) = self.index_of(id) {
            self.indexes[at] = to_u32(index);
        }
    }

    /// Forgets the place of an id, and returns its index if it was recorded.
    pub(super) fn take(&mut self, id: EntryId) -> Option<usize> {
        let at = self.index_of(id)?;
        let index = core::mem::replace(&mut self.indexes[at], NONE);
        (index != NONE).then_some(index as usize)
    }

    /// Notes that the parts of a queue have changed places, as the newer one was empty.
    pub(super) fn note_swap(&mut self, queue: QueueId) {
        if let Progress::Walk(walk) = &mut self.progress {
            if walk.queue == queue.number() {
                match walk.age {
                    Age::Older => walk.age = Age::Newer,
                    // The walk was through with the part that has become the newer one.
                    Age::Newer => *walk = Walk::entering(walk.queue + 1),
                }
            }
        }
    }

    /// Notes that a part is empty and counts its positions from 0 again.
    pub(super) fn note_emptied(&mut self, queue: QueueId, age: Age) {
        if let Progress::Walk(walk) = &mut self.progress {
            if walk.queue == queue.number() && walk.age == age {
                walk.end = 0;
            }
        }
    }

    /// Checks that a live place is recorded, if it has to be.
    pub(super) fn validate(&self, id: EntryId, index: usize) {
        if let (Progress::Done, Some(at)) = (self.progress, self.index_of(id)) {
            assert_eq!(self.indexes[at] as usize, index, "{id:?} is elsewhere");
        }
    }
}

impl<const N: usize> Queues<N> {
    /// Takes a bounded number of steps towards renames of ids in `from` to ids in `to`. Returns
    /// `true` once they can be renamed.
    pub(crate) fn prepare_renames(&mut self, from: Range<u32>, to: Range<u32>) -> bool {
        self.prepare_in_steps(from, to, WALKED_AT_ONCE)
    }

    /// Is [`prepare_renames`](Self::prepare_renames) for `steps` places and ids.
    pub(super) fn prepare_in_steps(&mut self, from: Range<u32>, to: Range<u32>, steps: usize) -> bool {
        let mut window = match self.window.take() {
            Some(window) if window.announced == [from.clone(), to.clone()] => window,
            former => Box::new(Window::new(from, to, former.map_or_else(Vec::new, |former| former.indexes))),
        };
        let mut left = steps;
        while left > 0 {
            let steps = match window.progress {
                Progress::Walk(walk) => self.walk_on(&mut window, walk, left),
                Progress::Holes(at) => self.forget_holes(&mut window, at),
                Progress::Done => break,
            };
            left = left.saturating_sub(steps);
        }
        let is_done = matches!(window.progress, Progress::Done);
        self.window = Some(window);
        is_done
    }

    /// Gives an id another one, which is in no queue. If this was not prepared, all places are
    /// walked over.
    pub(crate) fn rename(&mut self, from: EntryId, to: EntryId) {
        let is_prepared = self.window.as_ref().is_some_and(|window| {
            matches!(window.progress, Progress::Done)
                && window.index_of(from).is_some()
                && window.index_of(to).is_some()
        });
        let announced = if is_prepared { None } else { self.prepare_alone(from, to) };
        let Some(window) = &mut self.window else { return };
        let index = window.take(from);
        if let Some(index) = index {
            window.record(to, index);
            self.places[index] = self.places[index] & !HOLE | to.get();
        }
        if let Some(mut announced) = announced {
            announced.take(from);
            if let Some(index) = index {
                announced.record(to, index);
            }
            self.window = Some(announced);
        }
    }

    /// Prepares a rename that was not announced. Returns the window of those that were.
    #[cold]
    fn prepare_alone(&mut self, from: EntryId, to: EntryId) -> Option<Box<Window>> {
        let announced = self.window.take();
        let range = |id: EntryId| id.get()..id.get().saturating_add(1);
        // Ends: each call walks on, and nothing is pushed meanwhile.
        while !self.prepare_renames(range(from), range(to)) {}
        announced
    }

    /// Records the place that an id was written to, if it is to be renamed.
    #[cold]
    pub(super) fn record(&mut self, id: EntryId, index: usize) {
        if let Some(window) = &mut self.window {
            window.record(id, index);
        }
    }

    /// Forgets the places of ids: none is renamed until the next preparation.
    pub(crate) fn end_renames(&mut self) {
        self.window = None;
    }

    /// Walks over up to `left` places of a block, or on to the next part. Returns the number of
    /// steps.
    fn walk_on(&mut self, window: &mut Window, mut walk: Walk, left: usize) -> usize {
        if usize::from(walk.queue) >= N {
            window.progress = Progress::Holes(0);
            return 1;
        }
        let queue = QueueId::new(walk.queue);
        let part = *self.part(queue, walk.age);
        if walk.end == u64::MAX {
            walk.end = part.tail;
        }
        if walk.position <= part.head {
            (walk.position, walk.block) = (part.head, part.head_block);
        }
        if walk.position >= walk.end {
            window.progress = Progress::Walk(match walk.age {
                Age::Older => Walk { age: Age::Newer, ..Walk::entering(walk.queue) },
                Age::Newer => Walk::entering(walk.queue + 1),
            });
            return 1;
        }
        if is_in_next_block(walk.position, self.offset_mask) {
            walk.block = self.next_block[walk.block as usize];
        }
        let first = self.place_index(walk.block, walk.position);
        let in_block = (1 << self.block_shift) - offset_in_block(walk.position, self.offset_mask);
        let in_part = usize::try_from(walk.end - walk.position).unwrap_or(usize::MAX);
        let count = left.min(in_block).min(in_part);
        for (position, index) in (walk.position..).zip(first..first + count) {
            let id = id_of(self.places[index]);
            if window.index_of(id).is_none() {
                continue;
            }
            if self.is_hole(queue, walk.age, id, position) {
                self.places[index] = HOLE;
            } else {
                window.record(id, index);
            }
        }
        walk.position += count as u64;
        window.progress = Progress::Walk(walk);
        count
    }

    /// Forgets the holes of an id: all of its places that were holes hold [`HOLE`]. Returns the
    /// number of steps.
    fn forget_holes(&mut self, window: &mut Window, at: usize) -> usize {
        let (from, to) = (&window.from, &window.to);
        let id = if at < from.len() {
            from.start + to_u32(at)
        } else if at < window.indexes.len() {
            to.start + to_u32(at - from.len())
        } else {
            window.progress = Progress::Done;
            return 1;
        };
        for holes in self.holes.iter_mut().flatten().flatten() {
            holes.remove(EntryId::new(id));
        }
        window.progress = Progress::Holes(at + 1);
        1
    }
}
