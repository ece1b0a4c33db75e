use super::resize::MOVED_AT_ONCE;
use super::window::WALKED_AT_ONCE;
use super::*;
use crate::policy::ResidentSource;
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::VecDeque;

fn id(number: u32) -> EntryId {
    EntryId::new(number)
}

struct NoResidents;

impl ResidentSource for NoResidents {
    fn visits(&self, _id: EntryId) -> u8 {
        0
    }
    fn set_visits(&self, _id: EntryId, _visits: u8) {}
    fn hash(&self, _id: EntryId) -> u64 {
        0
    }
    fn charge(&self, _id: EntryId) -> u32 {
        0
    }
    fn expect(&self, _id: EntryId) {}
}

/// The queues against two plain ones.
fn check(max_ids: u32, operations: impl IntoIterator<Item = (u8, u32)>) {
    let mut queues = Queues::<2>::new(max_ids as usize, 0);
    let mut model = [VecDeque::new(), VecDeque::new()];
    for (operation, number) in operations {
        let queue = QueueId::new(operation % 2);
        let at = model.iter().position(|ids: &VecDeque<u32>| ids.contains(&number));
        match (operation, at) {
            (4, _) => {
                assert_eq!(queues.pop(queue, |_| {}).map(|queued| queued.id.get()), model[queue.index()].pop_front())
            }
            (_, None) => {
                queues.push(queue, id(number));
                model[queue.index()].push_back(number);
            }
            (_, Some(at)) => {
                queues.remove(QueueId::first(2).nth(at).unwrap(), id(number));
                model[at].retain(|&other| other != number);
                assert!(queues.hole_counts.iter().sum::<usize>() <= queues.max_holes, "too many for the pool");
            }
        }
    }
    for queue in QueueId::first(2) {
        let ids: Vec<_> = core::iter::from_fn(|| queues.pop(queue, |_| {})).map(|queued| queued.id.get()).collect();
        assert_eq!(ids, Vec::from(model[queue.index()].clone()));
    }
}

#[test]
fn a_pop_announces_the_id_that_is_popped_four_pops_later() {
    let queue = QueueId::new(0);
    let mut queues = Queues::<1>::new(10_000, 0);
    (0..10).for_each(|number| queues.push(queue, id(number)));
    queues.remove(queue, id(6));
    let announced = RefCell::new(Vec::new());
    while queues.pop(queue, |later| announced.borrow_mut().push(later.get())).is_some() {}
    assert_eq!(announced.into_inner(), [4, 5, 7, 8, 9]);
}

#[test]
fn an_id_that_always_stays_leaves_after_four_rounds_of_all() {
    let queue = QueueId::new(0);
    let mut queues = Queues::<1>::new(100, 0);
    (0..10).for_each(|number| queues.push(queue, id(number)));
    let mut stays = 0;
    let fate = |_| Unvisited::Stays;
    let popped = queues.pop_unless(queue, &mut Residents::new(&NoResidents), fate, |queued, _, _| {
        stays += 1;
        Some(queued.mark)
    });
    assert_eq!((popped.map(|(id, _)| id), stays), (Some(id(0)), 41));
}

#[test]
fn holes_are_closed_a_bounded_number_at_a_time() {
    const IDS: u32 = 100_000;
    let queue = QueueId::new(0);
    let mut queues = Queues::<1>::new(IDS as usize, 0);
    (0..IDS).for_each(|number| queues.push(queue, id(number)));
    let mut most = 0;
    // Every third id stays.
    for number in (0..IDS).filter(|number| number % 3 != 0) {
        let before = queues.part(queue, Age::Older).len();
        queues.remove(queue, id(number));
        most = most.max(queues.part(queue, Age::Older).len().saturating_sub(before));
    }
    assert!(most <= CLOSING_STEPS, "{most} places were moved in one call");
    let left: Vec<_> = queues.ids(queue).into_iter().map(EntryId::get).collect();
    assert_eq!(left, (0..IDS).step_by(3).collect::<Vec<_>>());
    assert!(queues.len(queue) < left.len() + IDS as usize / 16, "{} places", queues.len(queue));
    queues.validate();
}

#[test]
fn a_longer_announcement_takes_the_memory_for_its_own_ids() {
    let mut queues = Queues::<1>::new(10_000, 0);
    while !queues.prepare_renames(0..1_000, 5_000..6_000) {}
    let before = queues.allocated();
    while !queues.prepare_renames(1_000..2_001, 6_000..7_000) {}
    assert_eq!(queues.allocated(), before + size_of::<u32>());
}

#[test]
fn holes_of_one_id_are_closed_as_those_of_many_are() {
    const IDS: u32 = 20_000;
    let queue = QueueId::new(0);
    let mut queues = Queues::<1>::new(IDS as usize, 0);
    (0..IDS).for_each(|number| queues.push(queue, id(number)));
    let mut most = 0;
    for _ in 0..3 * IDS {
        let before = queues.part(queue, Age::Older).len();
        queues.remove(queue, id(7));
        queues.push(queue, id(7));
        most = most.max(queues.part(queue, Age::Older).len().saturating_sub(before));
    }
    assert!(most <= 2 * CLOSING_STEPS, "{most} places were moved in two calls");
    let expected = (0..IDS).filter(|&number| number != 7).chain([7]);
    assert!(queues.ids(queue).into_iter().map(EntryId::get).eq(expected));
    assert!(queues.len(queue) <= IDS as usize * 17 / 16, "{} places", queues.len(queue));
    queues.validate();
}

proptest! {
    /// Pushes, pops, removals from anywhere, ids that come back at once.
    #[test]
    fn holes_are_invisible(operations in prop::collection::vec((0..5_u8, 0..20_u32), 1..2000)) {
        check(20, operations);
    }

    /// Ids that stay in both queues, and a few that come and go: their holes use the pool up.
    #[test]
    fn no_id_is_lost_when_the_pool_runs_out(
        small in 0..54_u32,
        main in 0..8_u32,
        busy in prop::collection::vec(62..64_u32, 200..400),
    ) {
        let resting = (0..small).map(|id| (0, id)).chain((54..54 + main).map(|id| (1, id)));
        check(64, resting.chain(busy.into_iter().map(|id| (1, id))));
    }
}

/// An operation on queues whose ids are renamed and whose pool is resized.
#[derive(Clone, Copy, Debug)]
enum Change {
    Push(u8, u32),
    Pop(u8),
    Remove(u32),
    /// Pops all but this many ids of a queue, and pushes them again.
    GoRound(u8, u32),
    Announce(u32, u32),
    Prepare,
    Rename(u32, u32),
    End,
    Bound(usize),
    Resize,
}

/// Queues, and two plain ones with the same ids.
struct Renamed {
    queues: Queues<2>,
    model: [VecDeque<u32>; 2],
    ranges: Option<(u32, u32)>,
    is_ready: bool,
    bound: usize,
}

impl Renamed {
    const WIDTH: u32 = 16;

    fn new(bound: usize) -> Self {
        Self { queues: Queues::new(bound, 0), model: Default::default(), ranges: None, is_ready: false, bound }
    }

    fn len(&self) -> usize {
        self.model.iter().map(VecDeque::len).sum()
    }

    fn queue_of(&self, number: u32) -> Option<usize> {
        self.model.iter().position(|ids| ids.contains(&number))
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Push(queue, number) if self.queue_of(number).is_none() && self.len() < self.bound => {
                self.queues.push(QueueId::new(queue), Queued { id: id(number), mark: mark_of(number) });
                self.model[usize::from(queue)].push_back(number);
            }
            Change::Pop(queue) => {
                let popped = self.queues.pop(QueueId::new(queue), |_| {}).map(|queued| queued.id.get());
                assert_eq!(popped, self.model[usize::from(queue)].pop_front());
            }
            Change::GoRound(queue, left) => {
                for _ in left as usize..self.model[usize::from(queue)].len() {
                    let queued = self.queues.pop(QueueId::new(queue), |_| {}).unwrap();
                    self.queues.push(QueueId::new(queue), queued);
                    self.model[usize::from(queue)].rotate_left(1);
                }
            }
            Change::Remove(number) => {
                let Some(queue) = self.queue_of(number) else { return };
                self.queues.remove(QueueId::first(2).nth(queue).unwrap(), id(number));
                self.model[queue].retain(|&other| other != number);
            }
            Change::Announce(from, to) => (self.ranges, self.is_ready) = (Some((from, to)), false),
            Change::Prepare => {
                let Some((from, to)) = self.ranges else { return };
                self.is_ready = self.queues.prepare_in_steps(from..from + Self::WIDTH, to..to + Self::WIDTH, 11);
            }
            Change::Rename(from, to) => {
                let Some((first, target)) = self.ranges.filter(|_| self.is_ready) else { return };
                let (from, to) = (first + from % Self::WIDTH, target + to % Self::WIDTH);
                if let (Some(queue), None) = (self.queue_of(from), self.queue_of(to)) {
                    self.queues.rename(id(from), id(to));
                    let place = self.model[queue].iter_mut().find(|number| **number == from);
                    *place.unwrap() = to;
                }
            }
            Change::End => {
                self.queues.end_renames();
                (self.ranges, self.is_ready) = (None, false);
            }
            Change::Bound(bound) => self.bound = bound.max(self.len()),
            Change::Resize => _ = self.queues.resize_in_steps(self.bound, 13),
            Change::Push(..) => {}
        }
        assert_eq!(self.queues.validate(), self.len());
        for queue in QueueId::first(2) {
            let ids = self.queues.ids(queue).into_iter().map(EntryId::get);
            assert!(ids.eq(self.model[queue.index()].iter().copied()), "{change:?}");
        }
    }
}

fn mark_of(number: u32) -> u8 {
    (number % 16).try_into().unwrap()
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        12 => (0..2_u8, 0..200_u32).prop_map(|(queue, number)| Change::Push(queue, number)),
        3 => (0..2_u8).prop_map(Change::Pop),
        8 => (0..200_u32).prop_map(Change::Remove),
        1 => (0..2_u8, 0..40_u32).prop_map(|(queue, left)| Change::GoRound(queue, left)),
        1 => (0..180_u32, 0..180_u32).prop_map(|(from, to)| Change::Announce(from, to)),
        9 => Just(Change::Prepare),
        8 => (0..16_u32, 0..16_u32).prop_map(|(from, to)| Change::Rename(from, to)),
        1 => Just(Change::End),
        1 => (1..200_usize).prop_map(Change::Bound),
        6 => Just(Change::Resize),
    ];
    prop::collection::vec(change, 1..600)
}

proptest! {
    #[test]
    fn renames_and_other_bounds_keep_the_order(changes in changes()) {
        let mut renamed = Renamed::new(60);
        changes.into_iter().for_each(|change| renamed.apply(change));
        // What is left is resized to the end.
        let mut calls = 0;
        while !renamed.queues.resize(renamed.bound) {
            calls += 1;
            prop_assert!(calls < 100, "the pool keeps its size");
        }
        prop_assert_eq!(renamed.queues.next_block.len(), blocks_for::<2>(renamed.bound, 3));
        renamed.apply(Change::Remove(0));
    }
}

/// Queues whose ids are spread over both, with some holes: every seventh id is missing.
fn large(ids: u32) -> Queues<2> {
    let mut queues = Queues::<2>::new(ids as usize, 0);
    (0..ids).for_each(|number| queues.push(QueueId::new(u8::from(number % 3 == 0)), id(number)));
    (0..ids).step_by(70).for_each(|number| queues.remove(QueueId::new(u8::from(number % 3 == 0)), id(number)));
    queues
}

#[test]
fn a_walk_takes_as_many_calls_as_the_places_need_and_survives_all_that_happens_meanwhile() {
    const IDS: u32 = 20_000;
    let mut queues = large(IDS);
    let (first, second) = (QueueId::new(0), QueueId::new(1));
    let mut calls = 0;
    let mut newest = 0;
    while !queues.prepare_renames(1000..3000, 2000..4000) {
        calls += 1;
        // Now and then the heads pass the walk.
        for _ in 0..if calls % 8 == 3 { 1500 } else { 20 } {
            let popped = queues.pop(first, |_| {}).unwrap();
            queues.push(second, popped);
        }
        for _ in 0..20 {
            // Ids from the middle of the range leave and come back.
            newest += 7;
            let number = 1000 + newest;
            if let Some(queue) = [first, second].into_iter().find(|&queue| queues.ids(queue).contains(&id(number))) {
                queues.remove(queue, id(number));
                queues.push(first, id(number));
            }
        }
        queues.validate();
    }
    let places = IDS as usize + 4000;
    assert!((places / WALKED_AT_ONCE / 2..2 * places / WALKED_AT_ONCE).contains(&calls), "{calls} calls");
    let window = queues.window.as_ref().unwrap();
    assert!((4 * 4000..4 * 4000 + 200).contains(&window.allocated()));
    queues.end_renames();
    assert!(queues.window.is_none());
}

#[test]
fn a_pool_becomes_smaller_a_bounded_number_of_places_at_a_time() {
    const IDS: u32 = 100_000;
    let queue = QueueId::new(0);
    let mut queues = Queues::<1>::new(IDS as usize, 0);
    (0..IDS).for_each(|number| queues.push(queue, id(number)));
    (0..IDS * 3 / 4).for_each(|number| assert_eq!(queues.pop(queue, |_| {}), Some(id(number).into())));
    let (mut calls, before) = (0, queues.allocated());
    loop {
        let (older, newer) = (queues.older, queues.newer);
        if queues.resize(IDS as usize / 4) {
            break;
        }
        calls += 1;
        let moved = queues.older[0].len().abs_diff(older[0].len());
        assert!(moved.min(queues.older[0].len().abs_diff(newer[0].len())) <= MOVED_AT_ONCE, "{moved} places moved");
        queues.validate();
    }
    assert!(calls > IDS as usize / 4 / MOVED_AT_ONCE && calls < IDS as usize / MOVED_AT_ONCE, "{calls} calls");
    assert!(queues.allocated() * 3 < before);
    assert!(queues.ids(queue).into_iter().map(EntryId::get).eq(IDS * 3 / 4..IDS));
    queues.validate();
}

#[test]
fn a_rename_that_was_not_prepared_finds_its_place() {
    let mut queues = large(2000);
    queues.rename(id(1001), id(2500));
    assert!(queues.ids(QueueId::new(0)).contains(&id(2500)) && !queues.ids(QueueId::new(0)).contains(&id(1001)));
    queues.validate();
}

#[test]
fn a_walk_does_not_begin_again_when_all_holes_are_closed_meanwhile() {
    const IDS: u32 = 20_000;
    let queue = QueueId::new(0);
    // In the older part, and twice in the newer one, which has no places left then.
    for (closes_at, most) in [(5, 42), (25, 28), (35, 38)] {
        let mut queues = Queues::<1>::new(IDS as usize, 0);
        (0..IDS).for_each(|number| queues.push(queue, id(number)));
        queues.close_holes(queue, IDS as usize / 2);
        (0..IDS).step_by(50).for_each(|number| queues.remove(queue, id(number)));
        let mut calls = 0;
        while !queues.prepare_renames(0..100, IDS..IDS + 100) {
            calls += 1;
            if calls == closes_at {
                queues.close_holes(queue, usize::MAX);
            }
        }
        queues.validate();
        assert!(calls <= most, "{calls} calls");
        (0..100).filter(|number| number % 50 != 0).for_each(|number| queues.rename(id(number), id(IDS + number)));
        let expected = (0..IDS).filter(|number| number % 50 != 0).map(|number| number + IDS * u32::from(number < 100));
        assert!(queues.ids(queue).into_iter().map(EntryId::get).eq(expected));
    }
}

#[test]
fn a_walk_goes_on_when_the_part_that_it_is_in_is_emptied_and_gets_another_block() {
    let queue = QueueId::new(0);
    let mut queues = Queues::<1>::new(2000, 0);
    (0..2000).for_each(|number| queues.push(queue, id(number)));
    queues.close_holes(queue, 1000);
    assert!(!queues.prepare_in_steps(1500..1600, 2000..2100, 100));
    (0..1000).for_each(|number| assert_eq!(queues.pop(queue, |_| {}), Some(id(number).into())));
    assert!(!queues.resize_in_steps(1000, 1));
    assert_eq!(queues.older[0].len(), 1);
    let calls = (0..100).take_while(|_| !queues.prepare_in_steps(1500..1600, 2000..2100, 100)).count();
    assert!((10..15).contains(&calls), "{calls} calls");
    queues.validate();
}

#[test]
fn a_walk_for_a_snapshot_shows_what_is_queued_while_the_queues_change() {
    const IDS: u32 = 20_000;
    let queue = QueueId::new(0);
    let mut queues = Queues::<2>::new(2 * IDS as usize, 0);
    (0..IDS).for_each(|number| queues.push(queue, id(number)));
    (0..50).for_each(|number| queues.push(QueueId::new(1), id(2 * IDS - 50 + number)));
    queues.begin_walk();
    let (mut shown, mut calls, mut popped) = (Vec::new(), 0, 0);
    while !queues.walk(64, |queue, queued| shown.push((queue.number(), queued.id.get()))) {
        calls += 1;
        // Now and then the head passes the walk.
        for _ in 0..if calls % 40 == 13 { 3_000 } else { 10 } {
            popped += u32::from(queues.pop(queue, |_| {}).is_some());
        }
        (0..9).for_each(|number| queues.push(queue, id(IDS + (9 * calls + number) % (IDS - 50))));
        assert!(calls < 900, "the walk ends");
    }
    queues.validate();
    assert!(popped > 5_000, "{popped} popped in {calls} calls");
    assert!(shown.windows(2).all(|pair| pair[0] < pair[1]), "each is shown once and in order");
    assert_eq!(shown.iter().filter(|&&(queue, _)| queue == 1).count(), 50);
    // The parts change their roles, and get other blocks.
    let mut queues = Queues::<1>::new(IDS as usize, 0);
    (0..IDS).for_each(|number| queues.push(queue, id(number)));
    queues.begin_walk();
    let (mut shown, mut calls) = (0, 0);
    while !queues.walk(64, |_, queued| shown += u32::from(queued.id.get() < IDS)) {
        calls += 1;
        if [10, 25, 40].contains(&calls) {
            queues.close_holes(queue, usize::MAX);
        }
        assert!(calls < 4_000, "the walk ends");
    }
    queues.validate();
    assert!(shown >= IDS, "{shown} were shown");
}
