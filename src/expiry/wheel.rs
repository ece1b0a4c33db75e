//! A hierarchical timing wheel: whose turn is it next, in constant time, for two years ahead.
//!
//! ```text
//!   level 0    64 slots of a tick each          the ticks that share all but their last digit with the present one
//!   level 1    64 slots of 64 ticks             those that share all but the last two
//!   ...
//!   level 5    64 slots of 2^30 ticks
//! ```
//!
//! Its *members* are the buckets of the shard's index. A bucket is filed under the earliest removal among its twelve
//! entries, or an earlier tick; when its turn comes, the shard looks at all of them, takes out those that are due, and
//! files the bucket again. So the wheel costs 12 bytes for twelve entries, inserting an entry mostly finds its bucket
//! filed already, and removing, evicting or replacing one costs nothing.
//!
//! Ticks are numbers of base 64. A member lies on the level of the highest digit in which its tick differs from the
//! present one, in the slot of that digit. When the present comes to a slot of a higher level, its members go down to
//! lower ones; each does so five times at most. Empty stretches are skipped by a bit for each slot, however long they are.
//!
//! The idea is of Varghese and Lauck, "Hashed and Hierarchical Timing Wheels" (SOSP 1987), scheme 7.
//!
//! # Invariants
//!
//! 1. All lists are rings of `links`: a slot's head and its members, or a member alone if it is not filed.
//! 2. Members of the slot that is being drained aside, a member with tick `t` lies in the slot that `t` has from
//!    `elapsed`, and `elapsed <= t <= elapsed + u32::MAX`.
//! 3. A slot's bit is set if and only if the slot has members.
//!
//! # Cost
//!
//! [`Wheel::file`] touches four links at most; [`Wheel::next_due`] does as much for each step that it is given.

use crate::prefetch::prefetch;
use crate::units::Tick;

const DIGIT_BITS: u32 = 6;
const DIGITS: u32 = 1 << DIGIT_BITS;
const LEVELS: usize = 6;
const TOP: usize = LEVELS - 1;
const SLOTS: usize = LEVELS << DIGIT_BITS;

/// The place of a slot's head in `links`; those of members come after all heads.
type Slot = usize;

#[derive(Clone, Copy, Debug)]
struct Link {
    prev: u32,
    next: u32,
}

/// When to look at which bucket.
#[derive(Debug)]
pub(crate) struct Wheel {
    links: Vec<Link>,
    /// The low half of the tick that each member is filed under.
    ticks: Vec<u32>,
    occupied: [u64; LEVELS],
    elapsed: Tick,
    /// The slot whose members are being handed out or sent down.
    draining: Option<Slot>,
    filed: usize,
}

/// A tick's digit on a level.
fn digit(tick: Tick, level: usize) -> u32 {
    #[allow(clippy::cast_possible_truncation, reason = "a digit is below 64")]
    {
        ((tick.get() >> shift(level)) % u64::from(DIGITS)) as u32
    }
}

/// How many bits a level's digit has below it.
fn shift(level: usize) -> u32 {
    DIGIT_BITS * to_u32(level)
}

/// A slot's bit in `occupied`.
fn bit(slot: Slot) -> u64 {
    1 << (slot % DIGITS as usize)
}

/// Levels, slots and, below `u32::MAX / 12` members, all places fit.
fn to_u32(place: usize) -> u32 {
    debug_assert!(u32::try_from(place).is_ok());
    #[allow(clippy::cast_possible_truncation, reason = "see above")]
    {
        place as u32
    }
}

impl Wheel {
    /// A wheel for `members`, none of which is filed.
    pub(crate) fn new(members: usize, now: Tick) -> Self {
        let alone = |place| Link { prev: place, next: place };
        Self {
            links: (0..to_u32(SLOTS + members)).map(alone).collect(),
            ticks: vec![0; members],
            occupied: [0; LEVELS],
            elapsed: now,
            draining: None,
            filed: 0,
        }
    }

    /// Files no member any more. Allocates nothing.
    pub(crate) fn clear(&mut self) {
        (0..).zip(&mut self.links).for_each(|(place, link)| *link = Link { prev: place, next: place });
        self.occupied = [0; LEVELS];
        self.draining = None;
        self.filed = 0;
    }

    /// What a wheel for `members` allocates.
    pub(crate) fn footprint(members: usize) -> usize {
        size_of::<Self>() + (SLOTS + members) * size_of::<Link>() + members * size_of::<u32>()
    }

    pub(crate) fn members(&self) -> usize {
        self.ticks.len()
    }

    /// What has been handed out: all members that were filed under ticks before this one.
    pub(crate) fn elapsed(&self) -> Tick {
        self.elapsed
    }

    /// Whether no member is filed.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.filed == 0
    }

    /// Files a member under a tick, unless it is filed under an earlier one.
    #[inline]
    pub(crate) fn file(&mut self, member: usize, tick: Tick) {
        let tick = tick.max(self.elapsed); // What lies before would never come.
        if self.is_filed(member) {
            if self.tick_of(member) <= tick {
                return;
            }
            self.unlink(member);
        }
        self.link(member, tick);
    }

    /// The next member whose tick is not after `now`; it is not filed any more. `None` if there is none, or after so
    /// many `steps`.
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

    /// The members that are probably handed out next, for prefetching.
    pub(crate) fn upcoming(&self) -> [Option<usize>; 2] {
        let member = |place: u32| (place as usize).checked_sub(SLOTS);
        let next = self.draining.and_then(|slot| member(self.links[slot].next));
        [next, next.and_then(|next| member(self.links[SLOTS + next].next))]
    }

    /// Asks the processor to fetch what filing a member will look at.
    #[inline]
    pub(crate) fn prefetch(&self, member: usize) {
        prefetch(self.ticks.as_ptr().wrapping_add(member));
        prefetch(self.links.as_ptr().wrapping_add(SLOTS + member));
    }

    /// The first slot that has members, and the tick at which it begins.
    fn next_slot(&self) -> Option<(Slot, Tick)> {
        // A lower level's slots all come before the next slot of a higher one.
        let level = self.occupied.iter().position(|&slots| slots != 0)?;
        let present = digit(self.elapsed, level);
        // Digits above are those of the present, and this one is larger, or the same on the lowest level; but on the top level,
        // which has none above, it may have come round.
        let next = match level {
            TOP => present + self.occupied[TOP].rotate_right(present).trailing_zeros(),
            _ => self.occupied[level].trailing_zeros(),
        };
        let above = self.elapsed.get() >> shift(level) >> DIGIT_BITS << DIGIT_BITS << shift(level);
        Some((slot(level, next % DIGITS), Tick::new(above + (u64::from(next) << shift(level)))))
    }

    fn slot_of(&self, tick: Tick) -> Slot {
        let differing = tick.get() ^ self.elapsed.get();
        let level = (differing.checked_ilog2().unwrap_or(0) / DIGIT_BITS) as usize;
        let level = level.min(TOP);
        slot(level, digit(tick, level))
    }

    fn is_filed(&self, member: usize) -> bool {
        let place = SLOTS + member;
        self.links[place].next as usize != place
    }

    fn tick_of(&self, member: usize) -> Tick {
        self.elapsed.next_with_low(self.ticks[member])
    }

    fn first_in(&self, slot: Slot) -> Option<usize> {
        (self.links[slot].next as usize).checked_sub(SLOTS)
    }

    /// Adds a member that is not filed at the end of its slot.
    fn link(&mut self, member: usize, tick: Tick) {
        let (slot, place) = (self.slot_of(tick), SLOTS + member);
        let last = self.links[slot].prev;
        self.links[place] = Link { prev: last, next: to_u32(slot) };
        self.links[last as usize].next = to_u32(place);
        self.links[slot].prev = to_u32(place);
        self.occupied[slot >> DIGIT_BITS] |= bit(slot);
        self.ticks[member] = tick.low();
        self.filed += 1;
    }

    fn unlink(&mut self, member: usize) {
        let place = SLOTS + member;
        let Link { prev, next } = self.links[place];
        self.links[prev as usize].next = next;
        self.links[next as usize].prev = prev;
        self.links[place] = Link { prev: to_u32(place), next: to_u32(place) };
        let neighbour = next as usize;
        if prev == next && neighbour < SLOTS {
            self.occupied[neighbour >> DIGIT_BITS] &= !bit(neighbour);
        }
        self.filed -= 1;
    }

    /// The tick that a member is filed under.
    pub(crate) fn filed_under(&self, member: usize) -> Option<Tick> {
        self.is_filed(member).then(|| self.tick_of(member))
    }

    /// Recounts everything and panics where it differs.
    pub(crate) fn validate(&self) {
        let mut filed = 0;
        for slot in 0..SLOTS {
            let mut place = self.links[slot].next as usize;
            let is_occupied = self.occupied[slot >> DIGIT_BITS] & bit(slot) != 0;
            assert_eq!(is_occupied, place != slot, "the bit of slot {slot}");
            while place != slot {
                let link = self.links[place];
                assert_eq!(self.links[link.next as usize].prev as usize, place, "links of {place}");
                assert_eq!(self.links[link.prev as usize].next as usize, place, "links of {place}");
                let tick = self.tick_of(place - SLOTS);
                if self.draining != Some(slot) {
                    assert!(tick >= self.elapsed, "a member was passed by");
                    assert_eq!(self.slot_of(tick), slot, "{tick:?} at {:?}", self.elapsed);
                }
                place = link.next as usize;
                filed += 1;
            }
        }
        assert_eq!(filed, self.filed);
        assert_eq!((0..self.members()).filter(|&member| self.is_filed(member)).count(), filed);
    }
}

fn slot(level: usize, digit: u32) -> Slot {
    level << DIGIT_BITS | digit as usize
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Everything that is due, in the order in which it is handed out.
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
        // What lies behind comes next.
        wheel.file(0, Tick::new(5));
        assert_eq!(due(&mut wheel, Tick::new(2001)), [0]);
    }

    #[test]
    fn no_call_takes_more_steps_than_it_may_and_all_of_them_together_suffice() {
        const MEMBERS: usize = 1000;
        let mut wheel = Wheel::new(MEMBERS, Tick::new(3));
        let tick = Tick::new(3 + (1 << 20));
        (0..MEMBERS).for_each(|member| wheel.file(member, tick));
        let (mut handed_out, mut calls) = (Vec::new(), 0);
        while !wheel.is_empty() {
            let mut steps = 7;
            handed_out.extend(std::iter::from_fn(|| wheel.next_due(tick, &mut steps)));
            wheel.validate();
            calls += 1;
        }
        handed_out.sort_unstable();
        assert_eq!(handed_out, (0..MEMBERS).collect::<Vec<_>>());
        // Each member goes down three levels at most, and is handed out.
        assert!(calls <= MEMBERS * 5 / 7, "{calls} calls");
    }

    #[derive(Clone, Debug)]
    enum Step {
        File(usize, u32),
        Advance(u64, usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        // Every magnitude is as likely as any other.
        let length = |bits: u32| (0..bits, any::<u64>()).prop_map(|(bits, random)| random & ((2 << bits) - 1));
        let file = (0..40_usize, length(31))
            .prop_map(|(member, ahead)| Step::File(member, u32::try_from(ahead.max(1)).unwrap_or(u32::MAX)));
        let advance = (length(33), prop_oneof![0..10_usize, Just(usize::MAX)])
            .prop_map(|(ahead, steps)| Step::Advance(ahead, steps));
        prop::collection::vec(prop_oneof![3 => file, 1 => advance], 1..200)
    }

    proptest! {
        /// Against a map of ticks: nothing is early, nothing is forgotten.
        #[test]
        fn it_does_what_a_sorted_map_does(start in any::<u32>(), steps in steps()) {
            let mut now = Tick::new(u64::from(start));
            let mut wheel = Wheel::new(40, now);
            let mut model: BTreeMap<usize, Tick> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::File(member, ahead) => {
                        // No farther than may be told apart from what has elapsed.
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
