//! A hierarchical timing wheel: it finds the next bucket to check in constant time, for deadlines
//! up to two years ahead.
//!
//! ```text
//!   level 0    64 slots of a tick each     ticks that share all digits but the last with `elapsed`
//!   level 1    64 slots of 64 ticks        ticks that share all digits but the last two
//!   ...
//!   level 5    64 slots of 2^30 ticks
//! ```
//!
//! The *members* of a wheel are the buckets of the shard's index. A bucket is filed under the
//! earliest removal among its twelve entries, or under an earlier tick. When that tick comes, the
//! shard checks all twelve entries, takes out those that are due, and files the bucket again.
//! So the wheel takes 12 bytes for twelve entries. An insert mostly finds its bucket filed already.
//! Removing, evicting or replacing an entry costs nothing.
//!
//! Ticks are numbers in base 64. A member is on the level of the highest digit in which its tick
//! differs from `elapsed`, in the slot of that digit. When `elapsed` comes to a slot of a higher
//! level, the members of the slot move down to lower levels. Each member moves five times at most.
//! A bit for each slot lets the wheel skip empty stretches of any length.
//!
//! The idea is from Varghese and Lauck, "Hashed and Hierarchical Timing Wheels" (SOSP 1987), scheme
//! 7.
//!
//! # Invariants
//!
//! 1. All lists are circular lists of nodes in `links`: the head of a slot and its members. The
//!    link of a member that is not filed is all zeros.
//! 2. A member with tick `t` is in the slot of `t` as seen from `elapsed`, and
//!    `elapsed <= t <= elapsed + u32::MAX`. The members of the slot that is being drained are
//!    excepted.
//! 3. The bit of a slot is set if and only if the slot has members.
//!
//! # Cost
//!
//! [`Wheel::file`] accesses four links at most. [`Wheel::next_due`] does as much for each step that
//! it is given.

use crate::growable::{Growable, Zero};
use crate::prefetch::prefetch;
use crate::units::{Tick, to_u32};

const DIGIT_BITS: u32 = 6;
const DIGITS: u32 = 1 << DIGIT_BITS;
const LEVELS: usize = 6;
const TOP: usize = LEVELS - 1;
const SLOTS: usize = LEVELS << DIGIT_BITS;

/// The node of a slot's head: an index of `links`. The nodes of members come after all heads.
type Slot = usize;

/// The neighbours of a node in its list, each as its number plus one. All zeros for a member that
/// is not filed, so that memory of zeros is a wheel's.
#[derive(Clone, Copy, Debug, Default)]
struct Link {
    prev: u32,
    next: u32,
}

// SAFETY: it consists of integers.
#[allow(unsafe_code, reason = "elements of a `Growable`")]
unsafe impl Zero for Link {}

impl Link {
    fn new(prev: usize, next: usize) -> Self {
        Self { prev: to_u32(prev + 1), next: to_u32(next + 1) }
    }

    fn prev(self) -> usize {
        self.prev as usize - 1
    }

    fn next(self) -> usize {
        self.next as usize - 1
    }

    fn set_prev(&mut self, node: usize) {
        self.prev = to_u32(node + 1);
    }

    fn set_next(&mut self, node: usize) {
        self.next = to_u32(node + 1);
    }
}

/// A timing wheel of buckets: each is filed under the tick at which it has to be checked.
#[derive(Debug)]
pub(crate) struct Wheel {
    links: Growable<Link>,
    /// The low half of the tick that each member is filed under.
    ticks: Growable<u32>,
    /// A bit for each slot that has members, a word for each level.
    occupied: [u64; LEVELS],
    elapsed: Tick,
    /// The slot whose members are being returned or moved down.
    draining: Option<Slot>,
    /// The number of members that are filed.
    filed: usize,
}

/// Returns the digit of a tick on a level.
fn digit(tick: Tick, level: usize) -> u32 {
    #[allow(clippy::cast_possible_truncation, reason = "a digit is below 64")]
    {
        ((tick.get() >> shift(level)) % u64::from(DIGITS)) as u32
    }
}

/// Returns the number of bits below the digit of a level.
fn shift(level: usize) -> u32 {
    DIGIT_BITS * to_u32(level)
}

/// Returns the bit of a slot in its word of `occupied`.
fn bit(slot: Slot) -> u64 {
    1 << (slot % DIGITS as usize)
}

impl Wheel {
    /// Creates a wheel for `members` members, none of which is filed.
    pub(crate) fn new(members: usize, now: Tick) -> Self {
        let mut wheel = Self {
            links: Growable::new(SLOTS + members),
            ticks: Growable::new(members),
            occupied: [0; LEVELS],
            elapsed: now,
            draining: None,
            filed: 0,
        };
        wheel.empty_slots();
        wheel
    }

    /// Sets the number of members, and takes a bounded step towards the memory for them. Returns
    /// `true` once that is done. Members at the end are dropped, and must not be filed, or added.
    #[must_use]
    pub(crate) fn resize(&mut self, members: usize) -> bool {
        let are_links_done = self.links.resize(SLOTS + members);
        self.ticks.resize(members) && are_links_done
    }

    /// Takes a member out of its slot, if it is filed.
    pub(crate) fn forget(&mut self, member: usize) {
        if self.is_filed(member) {
            self.unlink(member);
        }
    }

    /// Removes all members from their slots. Allocates nothing. Examines no member if none is
    /// filed.
    pub(crate) fn clear(&mut self) {
        if self.filed > 0 {
            self.links[SLOTS..].fill(Link::default());
        }
        self.empty_slots();
    }

    /// Makes each slot an empty list. The links of members are zeros.
    fn empty_slots(&mut self) {
        (0..SLOTS).for_each(|head| self.links[head] = Link::new(head, head));
        self.occupied = [0; LEVELS];
        self.draining = None;
        self.filed = 0;
    }

    /// Returns the bytes of a wheel for `members` members, its allocations included.
    pub(crate) fn footprint(members: usize) -> usize {
        size_of::<Self>() + (SLOTS + members) * size_of::<Link>() + members * size_of::<u32>()
    }

    /// Returns the number of members, filed or not.
    pub(crate) fn members(&self) -> usize {
        self.ticks.len()
    }

    /// Returns the tick up to which the wheel has come. All members with earlier ticks have been
    /// returned.
    pub(crate) fn elapsed(&self) -> Tick {
        self.elapsed
    }

    /// Returns `true` if no member is filed.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.filed == 0
    }

    /// Files a member under a tick, unless it is filed under that or an earlier one.
    #[inline]
    pub(crate) fn file(&mut self, member: usize, tick: Tick) {
        let tick = tick.max(self.elapsed); // An earlier tick would never come.
        if self.is_filed(member) {
            if self.tick_of(member) <= tick {
                return;
            }
            self.unlink(member);
        }
        self.link(member, tick);
    }

    /// Takes out the next member whose tick is not after `now`, and returns it. Returns `None` if
    /// there is none, or if `steps` are used up.
    ///
    /// Each member that is returned or moved down takes one of the `steps`.
    pub(crate) fn next_due(&mut self, now: Tick, steps: &mut usize) -> Option<usize> {
        loop {
            if let Some(slot) = self.draining {
                while let Some(member) = self.first_in(slot) {
                    *steps = steps.checked_sub(1)?;
                    let tick = self.tick_of(member);
                    self.unlink(member);
                    if tick <= self.elapsed {
                        return Some(member);
                    }
                    self.link(member, tick);
                }
                self.draining = None;
            }
            let next = self.next_slot().filter(|&(_, start)| start <= now);
            self.elapsed = self.elapsed.max(next.map_or(now, |(_, start)| start));
            self.draining = Some(next?.0);
        }
    }

    /// Returns the members that are probably returned next, for prefetching.
    pub(crate) fn upcoming(&self) -> [Option<usize>; 2] {
        let member = |node: usize| node.checked_sub(SLOTS);
        let next = self.draining.and_then(|slot| member(self.links[slot].next()));
        [next, next.and_then(|next| member(self.links[SLOTS + next].next()))]
    }

    /// Prefetches the words that filing a member accesses.
    #[inline]
    pub(crate) fn prefetch(&self, member: usize) {
        prefetch(self.ticks.as_ptr().wrapping_add(member));
        prefetch(self.links.as_ptr().wrapping_add(SLOTS + member));
    }

    /// Returns the first slot that has members and the tick at which it begins, or `None` if no
    /// member is filed.
    fn next_slot(&self) -> Option<(Slot, Tick)> {
        // All slots of a lower level come before the next slot of a higher one.
        let level = self.occupied.iter().position(|&slots| slots != 0)?;
        let current = digit(self.elapsed, level);
        // The digits above are those of `elapsed`. This digit is larger than that of `elapsed`, or
        // equal on the lowest level. The top level has no digits above, so it may have wrapped.
        let next = match level {
            TOP => current + self.occupied[TOP].rotate_right(current).trailing_zeros(),
            _ => self.occupied[level].trailing_zeros(),
        };
        let above = self.elapsed.get() >> shift(level) >> DIGIT_BITS << DIGIT_BITS << shift(level);
        Some((slot(level, next % DIGITS), Tick::new(above + (u64::from(next) << shift(level)))))
    }

    /// Returns the slot of a tick as seen from `elapsed` (invariant 2).
    fn slot_of(&self, tick: Tick) -> Slot {
        let differing = tick.get() ^ self.elapsed.get();
        let level = (differing.checked_ilog2().unwrap_or(0) / DIGIT_BITS) as usize;
        let level = level.min(TOP);
        slot(level, digit(tick, level))
    }

    fn is_filed(&self, member: usize) -> bool {
        self.links[SLOTS + member].next != 0
    }

    fn tick_of(&self, member: usize) -> Tick {
        self.elapsed.next_with_low(self.ticks[member])
    }

    fn first_in(&self, slot: Slot) -> Option<usize> {
        self.links[slot].next().checked_sub(SLOTS)
    }

    /// Adds a member that is not filed to the end of the slot of `tick`.
    fn link(&mut self, member: usize, tick: Tick) {
        let (slot, node) = (self.slot_of(tick), SLOTS + member);
        let last = self.links[slot].prev();
        self.links[node] = Link::new(last, slot);
        self.links[last].set_next(node);
        self.links[slot].set_prev(node);
        self.occupied[slot >> DIGIT_BITS] |= bit(slot);
        self.ticks[member] = tick.low();
        self.filed += 1;
    }

    /// Takes a filed member out of its slot.
    fn unlink(&mut self, member: usize) {
        let node = SLOTS + member;
        let (prev, next) = (self.links[node].prev(), self.links[node].next());
        self.links[prev].set_next(next);
        self.links[next].set_prev(prev);
        self.links[node] = Link::default();
        if prev == next && next < SLOTS {
            self.occupied[next >> DIGIT_BITS] &= !bit(next);
        }
        self.filed -= 1;
    }

    /// Returns the tick that a member is filed under, or `None` if it is not filed.
    pub(crate) fn filed_under(&self, member: usize) -> Option<Tick> {
        self.is_filed(member).then(|| self.tick_of(member))
    }

    /// Recounts all state, and panics if it is inconsistent.
    pub(crate) fn validate(&self) {
        let mut filed = 0;
        for slot in 0..SLOTS {
            let mut node = self.links[slot].next();
            let is_occupied = self.occupied[slot >> DIGIT_BITS] & bit(slot) != 0;
            assert_eq!(is_occupied, node != slot, "the bit of slot {slot}");
            while node != slot {
                let link = self.links[node];
                assert_eq!(self.links[link.next()].prev(), node, "links of {node}");
                assert_eq!(self.links[link.prev()].next(), node, "links of {node}");
                let tick = self.tick_of(node - SLOTS);
                if self.draining != Some(slot) {
                    assert!(tick >= self.elapsed, "a member is late");
                    assert_eq!(self.slot_of(tick), slot, "{tick:?} at {:?}", self.elapsed);
                }
                node = link.next();
                filed += 1;
            }
        }
        assert_eq!(filed, self.filed);
        assert_eq!((0..self.members()).filter(|&member| self.is_filed(member)).count(), filed);
    }
}

/// Returns the slot of a digit on a level.
fn slot(level: usize, digit: u32) -> Slot {
    level << DIGIT_BITS | digit as usize
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Returns all members that are due, in the order in which the wheel returns them.
    fn due(wheel: &mut Wheel, now: Tick) -> Vec<usize> {
        let mut steps = usize::MAX;
        let due = std::iter::from_fn(|| wheel.next_due(now, &mut steps)).collect();
        wheel.validate();
        due
    }

    #[test]
    fn a_member_is_due_at_its_tick_and_not_before_on_every_level() {
        for level in 0..to_u32(LEVELS) {
            for ahead in [1, 63, 64, 65, (1 << (DIGIT_BITS * level)) - 1, 1 << (DIGIT_BITS * level), u32::MAX - 1] {
                for start in [0, 1, 63, 4095, u64::from(u32::MAX) - 1, (1 << 36) - 1, 77 << 33] {
                    let start = Tick::new(start);
                    let mut wheel = Wheel::new(3, start);
                    let tick = start.after(ahead.max(1));
                    wheel.file(1, tick);
                    wheel.validate();
                    assert_eq!(due(&mut wheel, tick.before(1)), [], "{start:?} + {ahead}");
                    assert_eq!(wheel.filed_under(1), Some(tick));
                    assert_eq!(due(&mut wheel, tick), [1]);
                    assert!(wheel.is_empty() && wheel.elapsed() == tick);
                }
            }
        }
    }

    #[test]
    fn a_member_is_filed_once_under_its_earliest_tick() {
        let mut wheel = Wheel::new(2, Tick::new(0));
        for tick in [500, 70, 900] {
            wheel.file(0, Tick::new(tick));
        }
        wheel.file(1, Tick::new(80));
        assert_eq!(due(&mut wheel, Tick::new(1000)), [0, 1]);
        assert_eq!(due(&mut wheel, Tick::new(2000)), []);
        // A tick that has passed is due at once.
        wheel.file(0, Tick::new(5));
        assert_eq!(due(&mut wheel, Tick::new(2001)), [0]);
    }

    #[test]
    fn no_call_takes_more_steps_than_its_limit_and_a_linear_number_of_calls_suffices() {
        const MEMBERS: usize = 1000;
        let mut wheel = Wheel::new(MEMBERS, Tick::new(3));
        let tick = Tick::new(3 + (1 << 20));
        (0..MEMBERS).for_each(|member| wheel.file(member, tick));
        let (mut returned, mut calls) = (Vec::new(), 0);
        while !wheel.is_empty() {
            let mut steps = 7;
            returned.extend(std::iter::from_fn(|| wheel.next_due(tick, &mut steps)));
            wheel.validate();
            calls += 1;
        }
        returned.sort_unstable();
        assert_eq!(returned, (0..MEMBERS).collect::<Vec<_>>());
        // Each member moves down three levels at most, and is returned.
        assert!(calls <= MEMBERS * 5 / 7, "{calls} calls");
    }

    #[derive(Clone, Debug)]
    enum Step {
        File(usize, u32),
        Advance(u64, usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        // All magnitudes are equally likely.
        let length = |bits: u32| (0..bits, any::<u64>()).prop_map(|(bits, random)| random & ((2 << bits) - 1));
        let file = (0..40_usize, length(31))
            .prop_map(|(member, ahead)| Step::File(member, u32::try_from(ahead.max(1)).unwrap_or(u32::MAX)));
        let advance = (length(33), prop_oneof![0..10_usize, Just(usize::MAX)])
            .prop_map(|(ahead, steps)| Step::Advance(ahead, steps));
        prop::collection::vec(prop_oneof![3 => file, 1 => advance], 1..200)
    }

    proptest! {
        /// Compares the wheel with a map of ticks: no member is early, and none is forgotten.
        #[test]
        fn it_returns_the_same_members_as_a_sorted_map(start in any::<u32>(), steps in steps()) {
            let mut now = Tick::new(u64::from(start));
            let mut wheel = Wheel::new(40, now);
            let mut model: BTreeMap<usize, Tick> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::File(member, ahead) => {
                        // At most as far from `elapsed` as invariant 2 allows.
                        let tick = now.after(ahead).min(wheel.elapsed().after(u32::MAX)).max(wheel.elapsed().after(1));
                        wheel.file(member, tick);
                        let filed = model.entry(member).or_insert(tick);
                        *filed = tick.min(*filed);
                    }
                    Step::Advance(ahead, mut steps) => {
                        now = Tick::new(now.get() + ahead);
                        let is_unbounded = steps == usize::MAX;
                        while let Some(member) = wheel.next_due(now, &mut steps) {
                            let tick = model.remove(&member);
                            prop_assert!(tick.is_some_and(|tick| tick <= now), "{member} at {tick:?}, now {now:?}");
                        }
                        let late = model.values().filter(|&&tick| tick <= now).count();
                        prop_assert!(!is_unbounded || late == 0, "{late} are late");
                    }
                }
                wheel.validate();
                for (&member, &tick) in &model {
                    prop_assert_eq!(wheel.filed_under(member), Some(tick));
                }
            }
        }
    }
}
