//! The shadows at work: they follow the operations on sampled keys.
//!
//! ```text
//!   hit     a shadow that holds the key counts nothing. One that does not counts a miss, and
//!           stores the key: its cache would have been told to load and store the entry.
//!   miss    a shadow that does not hold the key counts a miss, and waits for the store.
//!   store   after a miss, the shadows that do not hold the key store it. Otherwise all do.
//! ```
//!
//! # The sample
//!
//! A key is sampled if its hash is below a threshold: SHARDS (Waldspurger et al., FAST 2015). Each
//! shadow has the sampled share of the size that it stands for, and so evicts about what a cache of
//! that size would. The number of sampled keys is limited, and the threshold is lowered when there
//! is no slot for another: see `threshold.rs`.
//!
//! # Invariants
//!
//! 1. Every key in the table is held by a shadow, except while an event is being processed.
//! 2. The policies' ids are below the capacity of the table.

use super::ages::Ages;
use super::awaited::AwaitedStores;
use super::event::{Ends, Event, EventKind};
use super::keys::{Keys, Life, ShadowSet, bits};
use super::limit::Limit;
use super::shadow::{MAX_EVICTIONS, Shadow};
use super::tally::{Tally, group_of};
use super::threshold::Threshold;
use crate::policy::{EntryId, PolicyFactory};

/// A shadow of a sample treats an entry above this share of its memory as the cache did, since
/// a few of them would fill it.
const LARGE_SHARE: u64 = 2;

/// One shadow to make: its policy, and its size as a share of that of the cache.
pub(super) struct ShadowPlan {
    pub(super) factory: PolicyFactory,
    pub(super) size: f64,
}

impl ShadowPlan {
    /// Returns the bytes of the policy and of all that it allocates for `ids` keys.
    pub(super) fn policy_bytes(&self, ids: usize) -> usize {
        Shadow::new(&self.factory, 1, ids, 0).bytes()
    }
}

/// The shadows, and all that they share.
pub(super) struct Engine {
    keys: Keys,
    shadows: Box<[Shadow]>,
    sizes: Box<[f64]>,
    ordered: ShadowSet,
    all: ShadowSet,
    threshold: Threshold,
    live_capacity: u64,
    limit: Limit,
    /// The number of times that all entries were removed.
    generation: u32,
    awaited: AwaitedStores,
    /// Keys that a shadow evicted during this event.
    left: Vec<EntryId>,
    pub(super) tally: Tally,
    pub(super) ages: Ages,
}

impl Engine {
    /// Creates shadows for at most `ids` keys, that sample the hashes below `threshold`.
    pub(super) fn new(plans: &[ShadowPlan], ids: u32, threshold: u64, live_capacity: u64) -> Self {
        let threshold = Threshold::new(threshold, ids as usize);
        let shadow = |(number, plan): (usize, &ShadowPlan)| {
            let capacity = part_of(live_capacity, plan.size * threshold.share());
            Shadow::new(&plan.factory, 1 << number, ids as usize, capacity)
        };
        let shadows: Box<[Shadow]> = plans.iter().enumerate().map(shadow).collect();
        let set =
            |is_in: fn(&Shadow) -> bool| shadows.iter().filter(|shadow| is_in(shadow)).fold(0, |set, s| set | s.bit);
        Self {
            keys: Keys::new(ids),
            ordered: set(Shadow::is_ordered),
            all: set(|_| true),
            sizes: plans.iter().map(|plan| plan.size).collect(),
            threshold,
            live_capacity,
            limit: Limit::new(usize::MAX),
            generation: 0,
            awaited: AwaitedStores::new(),
            left: Vec::with_capacity(Self::most_left(shadows.len())),
            tally: Tally::new(shadows.len()),
            ages: Ages::default(),
            shadows,
        }
    }

    /// Returns the bytes that [`new`](Self::new) allocates, policies excepted.
    pub(super) fn footprint(shadows: usize, ids: usize) -> usize {
        Keys::footprint(ids)
            + shadows * (size_of::<Shadow>() + size_of::<f64>())
            + AwaitedStores::footprint()
            + Self::most_left(shadows) * size_of::<EntryId>()
            + Tally::footprint(shadows)
    }

    /// Returns the most keys that leave during one event.
    fn most_left(shadows: usize) -> usize {
        // An update and an insert in each shadow, and the key itself.
        shadows * 2 * MAX_EVICTIONS + 1
    }

    /// Returns the bytes of the policies and of all that they have allocated.
    pub(super) fn policy_bytes(&self) -> usize {
        self.shadows.iter().map(Shadow::bytes).sum()
    }

    /// Returns the bytes that are allocated.
    pub(super) fn bytes(&self) -> usize {
        Self::footprint(self.shadows.len(), self.keys.capacity()) + self.policy_bytes()
    }

    /// Sets the most bytes that may be allocated.
    pub(super) fn set_max_bytes(&mut self, bytes: usize) {
        self.limit = Limit::new(bytes);
    }

    /// Returns `true` if the policies keep too much memory even for fewer keys.
    pub(super) fn is_too_large(&self) -> bool {
        self.limit.is_hopeless()
    }

    /// Returns the hash below which keys are sampled.
    pub(super) fn threshold(&self) -> u64 {
        self.threshold.get()
    }

    /// Returns the share of keys that are sampled.
    pub(super) fn share(&self) -> f64 {
        self.threshold.share()
    }

    /// Returns the number of keys that a shadow holds.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns the number of entries of a shadow.
    pub(super) fn len_of(&self, shadow: usize) -> usize {
        self.shadows[shadow].len()
    }

    /// Returns the sum of charges that entries may have in a cache of the size of a shadow.
    pub(super) fn full_capacity(&self, shadow: usize) -> u64 {
        part_of(self.live_capacity, self.sizes[shadow])
    }

    /// Sets the sum of charges that entries of the cache may have.
    pub(super) fn set_live_capacity(&mut self, capacity: u64) {
        if capacity != self.live_capacity {
            self.live_capacity = capacity;
            self.set_capacities();
        }
    }

    /// Sets the number of times that all entries were removed.
    pub(super) fn set_clears(&mut self, clears: u32) {
        if clears != self.generation {
            self.generation = clears;
            self.awaited.clear();
        }
    }

    /// Gives each shadow its share of the size that it stands for.
    fn set_capacities(&mut self) {
        let share = self.threshold.share_in_table();
        for (shadow, size) in self.shadows.iter_mut().zip(&self.sizes) {
            shadow.set_capacity(part_of(self.live_capacity, size * share));
        }
    }

    /// Follows an operation of the cache at the tick `now`.
    pub(super) fn follow(&mut self, event: Event, now: u32) {
        let Event { hash, kind } = event;
        if !self.threshold.samples(hash) {
            return;
        }
        self.sweep(now);
        let (mut id, mut charge) = (self.keys.find(hash), None);
        // A hit or a change shows that the entry is alive: an earlier deadline no longer holds.
        let may_end = !matches!(kind, EventKind::Hit { .. } | EventKind::Change { .. });
        if let Some(over) = id.filter(|&id| self.is_cleared(id) || may_end && self.keys.is_over(id, now)) {
            charge = Some(self.keys.get(over).charge.get());
            self.drop_key(over);
            id = None;
        }
        match kind {
            EventKind::Hit { charge, ends } => self.follow_hit(hash, id, charge, ends, now),
            EventKind::Miss => self.follow_miss(hash, id, charge, now),
            EventKind::Store { charge, ends } => self.follow_store(hash, id, charge, ends, now),
            EventKind::Removal => {
                self.awaited.take(hash);
                if let Some(id) = id {
                    self.drop_key(id);
                }
            }
            EventKind::Eviction => {
                if let Some(stored) = id.and_then(|id| self.keys.get(id).stored.take()) {
                    self.ages.at_eviction.add_since(stored, now);
                }
            }
            EventKind::Change { ends } => {
                if let Some(id) = id {
                    let life = &self.keys.get(id).life;
                    life.set(Life { used: life.get().used, ..Life::new(ends, now) });
                }
            }
        }
        self.free_left();
    }

    fn follow_hit(&mut self, hash: u64, id: Option<EntryId>, charge: u32, ends: Ends, now: u32) {
        let (weight, group) = (self.count_read(hash), group_of(hash));
        self.tally.read_bytes[group] += weight * f64::from(charge);
        self.tally.hit_bytes[group] += weight * f64::from(charge);
        if let Some(id) = id {
            self.ages.idle_at_hit.add_since(self.keys.get(id).life.get().used, now);
        }
        let holding = id.map_or(0, |id| self.use_key(id, now));
        let missing = self.all & !holding;
        if missing == 0 {
            return;
        }
        let missing = self.without_large(missing, charge);
        self.count_misses(hash, missing, weight, Some(charge));
        let Some(id) = id.or_else(|| self.new_key(hash, charge, ends, now)) else { return };
        self.insert_into(missing, id);
    }

    /// Follows a read that missed. `ended` is the charge of the key's entry if that has just ended.
    fn follow_miss(&mut self, hash: u64, id: Option<EntryId>, ended: Option<u32>, now: u32) {
        let (weight, group) = (self.count_read(hash), group_of(hash));
        self.tally.live_missed[group] += weight;
        let charge = id.map(|id| self.keys.get(id).charge.get()).or(ended);
        let holding = id.map_or(0, |id| self.use_key(id, now));
        if let Some(charge) = charge {
            self.tally.read_bytes[group] += weight * f64::from(charge);
        }
        self.count_misses(hash, self.all & !holding, weight, charge);
        self.awaited.note(hash, if charge.is_none() { weight } else { 0.0 });
    }

    fn follow_store(&mut self, hash: u64, id: Option<EntryId>, charge: u32, ends: Ends, now: u32) {
        let awaited = self.awaited.take(hash);
        if let Some(unsized_misses) = awaited.filter(|&misses| misses > 0.0) {
            let (group, bytes) = (group_of(hash), unsized_misses * f64::from(charge));
            self.tally.read_bytes[group] += bytes;
            self.tally.shadows.iter_mut().for_each(|shadow| shadow.missed_bytes[group] += bytes);
        }
        let Some(id) = id.or_else(|| self.new_key(hash, charge, ends, now)) else { return };
        let holding = self.keys.get(id).resident.get();
        let former = self.keys.get(id).charge.replace(charge);
        self.keys.get(id).life.set(Life::new(ends, now));
        self.keys.get(id).stored.set(Some(now));
        // A shadow that holds the key after a miss of the cache would not have stored it again,
        // unless the value is another one.
        if holding != 0 && (awaited.is_none() || former != charge) {
            self.keys.visit(id, holding);
            for bit in bits(holding) {
                self.shadows[bit].update(&self.keys, id, former, &mut self.left);
            }
        }
        let missing = self.all & !self.keys.get(id).resident.get();
        self.insert_into(self.without_large(missing, charge), id);
    }

    /// Returns the shadows of `set` in which an entry of this charge is not too large to be
    /// followed.
    fn without_large(&self, set: ShadowSet, charge: u32) -> ShadowSet {
        if self.threshold.samples_all() {
            return set;
        }
        let is_large = |bit: &usize| u64::from(charge) > self.shadows[*bit].capacity() / LARGE_SHARE;
        bits(set).filter(is_large).fold(set, |set, bit| set & !(1 << bit))
    }

    /// Counts a read of a sampled key, and returns its weight.
    fn count_read(&mut self, hash: u64) -> f64 {
        let weight = 1.0 / self.share();
        self.tally.sampled += 1.0;
        self.tally.reads[group_of(hash)] += weight;
        weight
    }

    /// Counts a read in the shadows that hold the key, and returns them.
    fn use_key(&mut self, id: EntryId, now: u32) -> ShadowSet {
        let slot = self.keys.get(id);
        let holding = slot.resident.get();
        slot.life.set(Life { used: now, ..slot.life.get() });
        self.keys.visit(id, holding);
        for bit in bits(holding & self.ordered) {
            self.shadows[bit].touch(id);
        }
        holding
    }

    /// Counts misses of a key in the shadows of `missing`, and tells their policies.
    fn count_misses(&mut self, hash: u64, missing: ShadowSet, weight: f64, charge: Option<u32>) {
        let (group, bytes) = (group_of(hash), weight * f64::from(charge.unwrap_or(0)));
        for bit in bits(missing) {
            let shadow = &mut self.tally.shadows[bit];
            shadow.missed[group] += weight;
            shadow.missed_bytes[group] += bytes;
            self.shadows[bit].missed(hash);
        }
    }

    /// Returns `true` if all entries of the cache were removed after the key came.
    fn is_cleared(&self, id: EntryId) -> bool {
        self.keys.get(id).generation != self.generation
    }

    /// Gives a key a slot, which no shadow holds yet. Returns `None` if there is none: then the
    /// threshold is lowered, and the key is not followed.
    fn new_key(&mut self, hash: u64, charge: u32, ends: Ends, now: u32) -> Option<EntryId> {
        let Some(id) = self.keys.insert(hash, self.generation) else {
            self.threshold.lower();
            return None;
        };
        let slot = self.keys.get(id);
        slot.charge.set(charge);
        slot.life.set(Life::new(ends, now));
        Some(id)
    }

    fn insert_into(&mut self, set: ShadowSet, id: EntryId) {
        for bit in bits(set) {
            self.shadows[bit].insert(&self.keys, id, &mut self.left);
        }
        self.left.push(id); // Its slot is freed if no shadow has taken it.
    }

    /// Removes a key from all shadows, and frees its slot.
    fn drop_key(&mut self, id: EntryId) {
        for bit in bits(self.keys.get(id).resident.get()) {
            self.shadows[bit].remove(&self.keys, id);
        }
        self.keys.free_if_unheld(id);
    }

    /// Frees the slots of keys that no shadow holds any more.
    fn free_left(&mut self) {
        while let Some(id) = self.left.pop() {
            self.keys.free_if_unheld(id);
        }
    }

    /// Looks at a few slots for keys that are above the threshold or that have ended.
    fn sweep(&mut self, now: u32) {
        for _ in 0..self.threshold.slots_per_event() {
            if let Some(id) = self.keys.in_slot(self.threshold.slot()) {
                let is_sampled = self.threshold.samples(self.keys.get(id).hash);
                if !is_sampled || self.is_cleared(id) || self.keys.is_over(id, now) {
                    self.drop_key(id);
                }
            }
            if self.threshold.next_slot() {
                self.set_capacities();
                if !self.limit.holds_for(self.bytes()) {
                    self.threshold.lower();
                }
            }
        }
        if self.threshold.is_at_step() {
            self.set_capacities();
        }
    }
}

/// Returns `share` of some bytes.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "cut to the range of u64")]
pub(super) fn part_of(bytes: u64, share: f64) -> u64 {
    (bytes as f64 * share) as u64
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::config::PresentPolicy;
    use super::super::tally::GROUPS;
    use super::*;

    use crate::clock::TICK;
    use crate::policy::{Policy, Request, Simulator, Unit, spread};

    fn plans(policies: &[(Policy, f64)]) -> Vec<ShadowPlan> {
        let plan =
            |&(policy, size): &(Policy, f64)| ShadowPlan { factory: PresentPolicy::built_in(policy).factory, size };
        policies.iter().map(plan).collect()
    }

    /// Follows a read, and the store after a miss of the cache.
    fn read(engine: &mut Engine, live: &mut Simulator, key: u64, charge: u32) {
        let hash = spread(key);
        let hit = live.request(Request { hash: key, charge });
        let ends = Ends::default();
        let kind = if hit { EventKind::Hit { charge, ends } } else { EventKind::Miss };
        engine.follow(Event { hash, kind }, 0);
        if !hit {
            engine.follow(Event { hash, kind: EventKind::Store { charge, ends } }, 0);
        }
    }

    fn validate(engine: &Engine) {
        engine.shadows.iter().for_each(|shadow| shadow.validate(&engine.keys));
        let held = (0..engine.keys.capacity()).filter(|&slot| engine.keys.in_slot(slot).is_some()).count();
        assert_eq!(held, engine.len());
    }

    fn sum(groups: &[f64; GROUPS]) -> f64 {
        groups.iter().sum()
    }

    /// Skewed keys: the product of two numbers is more often small.
    fn keys(count: u64) -> impl Iterator<Item = u64> {
        (0..count).map(|step| (spread(step) % 300) * (spread(!step) % 300) / 30)
    }

    #[test]
    fn shadows_of_all_keys_miss_what_simulators_miss() {
        let policies =
            [Policy::Lru, Policy::Fifo, Policy::Sieve, Policy::Clock, Policy::Lfu, Policy::TwoQueue, Policy::Arc];
        let plans = plans(&policies.map(|policy| (policy, 0.5)));
        let mut engine = Engine::new(&plans, 20_000, u64::MAX, 20_000);
        let mut live = Simulator::new(&Policy::Lru, 20_000, Unit::Bytes);
        let mut simulators = policies.map(|policy| Simulator::new(&policy, 10_000, Unit::Bytes));
        for key in keys(30_000) {
            let charge = 20 + u32::try_from(key % 50).expect("small");
            read(&mut engine, &mut live, key, charge);
            simulators.iter_mut().for_each(|simulator| _ = simulator.request(Request { hash: spread(key), charge }));
        }
        validate(&engine);
        for ((simulator, tally), policy) in simulators.iter().zip(&engine.tally.shadows).zip(policies) {
            let simulation = simulator.simulation();
            assert_eq!(sum(&tally.missed), simulation.misses as f64, "{policy}");
            assert_eq!(sum(&tally.missed_bytes), simulation.missed_bytes as f64, "{policy}");
        }
        assert_eq!(sum(&engine.tally.reads), 30_000.0);
        assert_eq!(sum(&engine.tally.live_missed), live.simulation().misses as f64);
        assert_eq!(sum(&engine.tally.read_bytes), live.simulation().bytes as f64);
    }

    #[test]
    fn the_share_shrinks_until_the_keys_fit_and_the_ratio_stays() {
        let plans = plans(&[(Policy::Lru, 1.0), (Policy::Sieve, 4.0)]);
        let mut engine = Engine::new(&plans, 500, u64::MAX, 60_000);
        let mut live = Simulator::new(&Policy::Lru, 60_000, Unit::Bytes);
        for key in keys(200_000) {
            read(&mut engine, &mut live, key, 40);
        }
        validate(&engine);
        assert!(
            engine.share() < 0.5 && engine.len() <= 500 && engine.len() > 300,
            "{} {}",
            engine.share(),
            engine.len()
        );
        let misses = live.simulation().misses as f64;
        let estimate = sum(&engine.tally.shadows[0].missed);
        assert!((estimate / misses - 1.0).abs() < 0.15, "{estimate} {misses}");
    }

    #[test]
    fn a_key_that_has_ended_or_was_removed_misses_in_all_shadows() {
        let plans = plans(&[(Policy::Lru, 1.0), (Policy::S3Fifo, 2.0)]);
        let mut engine = Engine::new(&plans, 100, u64::MAX, 1_000);
        let mut hash = 0;
        let mut misses_after = |ends: Ends, then: &[(EventKind, u32)], at: u32| {
            hash += 1 << 20;
            let before = sum(&engine.tally.shadows[1].missed);
            engine.follow(Event { hash, kind: EventKind::Store { charge: 10, ends } }, 5);
            then.iter().for_each(|&(kind, now)| engine.follow(Event { hash, kind }, now));
            engine.follow(Event { hash, kind: EventKind::Miss }, at);
            sum(&engine.tally.shadows[1].missed) - before
        };
        let hit = EventKind::Hit { charge: 10, ends: Ends::default() };
        assert_eq!(misses_after(Ends::default(), &[], 1 << 30), 0.0);
        assert_eq!(misses_after(Ends { deadline: 9, idle: 0 }, &[], 8), 0.0);
        assert_eq!(misses_after(Ends { deadline: 9, idle: 0 }, &[], 9), 1.0);
        assert_eq!(misses_after(Ends { deadline: 0, idle: 3 }, &[(hit, 7)], 9), 0.0);
        assert_eq!(misses_after(Ends { deadline: 0, idle: 3 }, &[(hit, 7)], 10), 1.0);
        assert_eq!(misses_after(Ends::default(), &[(EventKind::Removal, 6)], 7), 1.0);
    }

    #[test]
    fn ages_count_from_the_store_and_from_the_last_use() {
        let plans = plans(&[(Policy::Lru, 1.0)]);
        let mut engine = Engine::new(&plans, 100, u64::MAX, 1_000);
        let ends = Ends::default();
        let (store, hit) = (EventKind::Store { charge: 10, ends }, EventKind::Hit { charge: 10, ends });
        // The second eviction is that of an entry whose store was not seen.
        let events = [(store, 5), (hit, 9), (hit, 25), (EventKind::Eviction, 45), (EventKind::Eviction, 50), (hit, 51)];
        events.iter().for_each(|&(kind, now)| engine.follow(Event { hash: 1, kind }, now));
        let ages = engine.ages;
        assert_eq!((ages.at_eviction.count(), ages.at_eviction.total()), (1, TICK * 40));
        assert_eq!((ages.idle_at_hit.count(), ages.idle_at_hit.total()), (3, TICK * (4 + 16 + 26)));
        // A clock that goes back.
        engine.follow(Event { hash: 1, kind: hit }, 2);
        assert_eq!(engine.ages.idle_at_hit.total(), ages.idle_at_hit.total());
    }

    #[test]
    fn a_key_whose_deadline_was_changed_ends_by_the_later_one() {
        let plans = plans(&[(Policy::Lru, 1.0)]);
        for (ends, at, misses) in [
            (Ends { deadline: 30, idle: 0 }, 29, 0.0),
            (Ends { deadline: 30, idle: 0 }, 30, 1.0),
            (Ends::default(), 1 << 30, 0.0),
            (Ends { deadline: 0, idle: 7 }, 12, 1.0),
        ] {
            let mut engine = Engine::new(&plans, 100, u64::MAX, 1_000);
            let first = Ends { deadline: 9, idle: 0 };
            engine.follow(Event { hash: 1, kind: EventKind::Store { charge: 10, ends: first } }, 5);
            engine.follow(Event { hash: 1, kind: EventKind::Change { ends } }, 9);
            engine.follow(Event { hash: 1, kind: EventKind::Miss }, at);
            assert_eq!(sum(&engine.tally.shadows[0].missed), misses, "{ends:?} {at}");
        }
    }

    #[test]
    fn a_store_after_a_miss_is_no_update_of_a_shadow_that_holds_the_key() {
        // Two keys fit. The second store of the second key makes the first one the older. If the
        // store after the miss were an update, the second key would be evicted instead.
        let plans = plans(&[(Policy::Lru, 1.0)]);
        let mut engine = Engine::new(&plans, 100, u64::MAX, 20);
        let store = EventKind::Store { charge: 10, ends: Ends::default() };
        let misses = |engine: &mut Engine, hash| {
            let before = sum(&engine.tally.shadows[0].missed);
            engine.follow(Event { hash, kind: EventKind::Miss }, 0);
            sum(&engine.tally.shadows[0].missed) - before
        };
        engine.follow(Event { hash: 1, kind: store }, 0);
        engine.follow(Event { hash: 2, kind: store }, 0);
        assert_eq!(misses(&mut engine, 1), 0.0);
        engine.follow(Event { hash: 2, kind: store }, 0);
        engine.follow(Event { hash: 1, kind: store }, 0); // It belongs to the miss before.
        engine.follow(Event { hash: 3, kind: store }, 0);
        assert_eq!((misses(&mut engine, 2), misses(&mut engine, 1)), (0.0, 1.0));
    }

    fn events() -> impl Strategy<Value = Event> {
        let ends = (0..3_u32, 0..3_u32).prop_map(|(deadline, idle)| Ends { deadline: deadline * 40, idle: idle * 30 });
        let charge = prop_oneof![1..60_u32, Just(0), Just(u32::MAX)];
        let kind = (0..44_u8, charge, ends).prop_map(|(kind, charge, ends)| match kind {
            0..15 => EventKind::Miss,
            15..25 => EventKind::Hit { charge, ends },
            25..37 => EventKind::Store { charge, ends },
            37..40 => EventKind::Removal,
            40..42 => EventKind::Change { ends },
            _ => EventKind::Eviction,
        });
        (0..60_u64, kind).prop_map(|(key, kind)| Event { hash: spread(key), kind })
    }

    proptest! {
        #[test]
        fn any_events_leave_consistent_shadows_and_counts_within_what_was_sampled(
            events in proptest::collection::vec(events(), 1..600),
            capacities in proptest::collection::vec(0..2_000_u64, 1..5),
        ) {
            let plans = plans(&Policy::ALL.iter().map(|&policy| (policy, 1.0)).collect::<Vec<_>>());
            let mut engine = Engine::new(&plans, 20, u64::MAX / 4 * 3, 1_000);
            let (mut reads, mut hits, mut evictions) = (0, 0, 0);
            for (now, &event) in (0..).zip(&events) {
                if now % 150 == 149 {
                    engine.set_live_capacity(capacities[now as usize / 150 % capacities.len()]);
                }
                engine.set_clears(now / 37);
                reads += u32::from(event.kind.is_read());
                hits += u64::from(matches!(event.kind, EventKind::Hit { .. }));
                evictions += u64::from(event.kind == EventKind::Eviction);
                engine.follow(event, now);
            }
            validate(&engine);
            let tally = &engine.tally;
            prop_assert!(tally.sampled <= f64::from(reads));
            prop_assert!(engine.ages.idle_at_hit.count() <= hits && engine.ages.at_eviction.count() <= evictions);
            prop_assert!(!engine.ages.to_string().is_empty());
            prop_assert!(sum(&tally.live_missed) <= sum(&tally.reads));
            for shadow in &tally.shadows {
                prop_assert!(sum(&shadow.missed) <= sum(&tally.reads) + 1e-6);
                prop_assert!(sum(&shadow.missed_bytes) <= sum(&tally.read_bytes) + 1e-6);
            }
        }
    }
}
