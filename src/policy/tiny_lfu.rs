//! W-TinyLFU: Einziger, Friedman and Manes, "TinyLFU: a highly efficient cache admission policy", ACM TOS 2017;
//! its window adapts as in Einziger, Eytan, Friedman and Manes, "Adaptive software cache management", Middleware
//! 2018.
//!
//! ```text
//!   miss -> [ window: LRU, 1 % at first ] -- oldest: candidate --> [ probation: LRU ] <-> [ protected: LRU, 80 % ]
//!                     who was seen more often lately, candidate or probation's oldest, stays
//! ```
//!
//! New entries come into a window. Who falls out of it must have been seen more often lately than the main part's
//! next victim to take its place; how often is asked of a sketch that has counted all accesses (`sketch.rs`). The
//! main part is a segmented LRU. Now and then a popular candidate is let in against the rule, so that nobody can
//! keep keys out by making the sketch's counts of others large.
//!
//! The window climbs: every ten times as many accesses as there are entries it is made larger or smaller, in the
//! direction that last raised the ratio of hits, in steps that become smaller; a large change of the ratio
//! makes them large again.
//!
//! Where the papers leave a choice: shares are of the charge, frequencies are compared entry by entry, and an entry
//! larger than the window stays in it alone until the next comes.
//!
//! Costs 22 bytes for each id, of which 8 are the sketch; every operation is O(1) amortised. It is the wrong
//! choice for small caches of varied sizes, and where popularity changes faster than the sketch forgets.

use super::algorithm::{Algorithm, Newcomer};
use super::list::Lists;
use super::queue::Queue;
use super::sketch::Sketch;
use super::{EntryId, PolicyContext, Recency, Renumbering, Residents, percent_of};

const WINDOW: Queue = Queue::new(0);
const PROBATION: Queue = Queue::new(1);
const PROTECTED: Queue = Queue::new(2);

/// Protected entries may take so much of the main part.
const PROTECTED_PERCENT: u8 = 80;
/// Counters of the sketch for each id.
const COUNTERS: usize = 16;
/// Accesses between two halvings of the sketch, and between two steps of the window, for each entry.
const PERIOD: u64 = 10;
/// A candidate that was seen so often is admitted against the rule once in `1 / LENIENCE` times.
const WARM: u8 = 6;
const LENIENCE: u32 = 128;

/// Parameters of [`Policy::TinyLfu`](super::Policy::TinyLfu).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TinyLfuConfig {
    pub(super) window_percent: u8,
    pub(super) is_adaptive: bool,
}

impl Default for TinyLfuConfig {
    fn default() -> Self {
        Self { window_percent: 1, is_adaptive: true }
    }
}

impl TinyLfuConfig {
    /// A window of 1 %, which adapts.
    pub fn new() -> Self {
        Self::default()
    }

    /// How much of the capacity the window may take at first, in percent, from 1 to 99.
    pub fn window_percent(mut self, percent: u8) -> Self {
        self.window_percent = percent.clamp(1, 99);
        self
    }

    /// Whether the window adapts.
    pub fn adaptive(mut self, is_adaptive: bool) -> Self {
        self.is_adaptive = is_adaptive;
        self
    }
}

#[derive(Debug)]
pub(super) struct TinyLfu {
    config: TinyLfuConfig,
    lists: Lists<3>,
    sketch: Sketch,
    /// The top half of the hash of each id.
    hashes: Vec<u32>,
    capacity: u64,
    window_max: u64,
    protected_max: u64,
    /// Who fell out of the window for the newcomer and has not been turned down.
    candidate: Option<EntryId>,
    climber: Option<Climber>,
    /// Whether the present capacity has been reached: there is nothing to learn before.
    is_full: bool,
    random: u32,
}

impl TinyLfu {
    pub(super) fn new(config: TinyLfuConfig, context: &PolicyContext) -> Self {
        let window_max = percent_of(context.capacity(), config.window_percent).max(1);
        Self {
            config,
            lists: Lists::new(context.ids()),
            sketch: Sketch::new(context.ids() * COUNTERS),
            hashes: vec![0; context.ids()],
            capacity: context.capacity(),
            window_max,
            protected_max: percent_of(context.capacity().saturating_sub(window_max), PROTECTED_PERCENT),
            candidate: None,
            climber: config.is_adaptive.then(|| Climber::new(context.capacity())),
            is_full: false,
            random: 1,
        }
    }

    fn charge(&self) -> u64 {
        Queue::first(3).map(|list| self.lists.charge(list)).sum()
    }

    /// Accesses between two halvings, and between two steps: for each entry that there will be when the cache is full.
    fn period(&self) -> u64 {
        let entries: usize = Queue::first(3).map(|list| self.lists.len(list)).sum();
        let usual_charge = (self.charge() / entries.max(1) as u64).max(1);
        PERIOD * (self.capacity / usual_charge)
    }

    fn hash_of(&self, id: EntryId) -> u64 {
        u64::from(self.hashes[id.index()]) << 32
    }

    fn frequency(&self, id: EntryId) -> u8 {
        self.sketch.frequency(self.hash_of(id))
    }

    fn demote(&mut self) {
        while self.lists.charge(PROTECTED) > self.protected_max && self.lists.len(PROTECTED) > 1 {
            let Some(oldest) = self.lists.oldest(PROTECTED) else { return };
            self.lists.move_to_newest(PROBATION, oldest);
        }
    }

    /// The window's oldest, if it has to make room for `charge` more: it tries to get into the main part.
    fn fall_out(&mut self, charge: u64) -> Option<EntryId> {
        if self.lists.charge(WINDOW) + charge <= self.window_max {
            return None;
        }
        let oldest = self.lists.oldest(WINDOW)?;
        self.lists.move_to_newest(PROBATION, oldest);
        Some(oldest)
    }

    /// Whether the candidate was seen more often than the victim.
    fn is_admitted(&mut self, candidate: EntryId, victim: EntryId) -> bool {
        let frequency = self.frequency(candidate);
        frequency > self.frequency(victim) || (frequency >= WARM && self.is_lenient())
    }

    /// Xorshift (Marsaglia 2003): any sequence that callers do not know will do.
    fn is_lenient(&mut self) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random % LENIENCE == 0
    }

    /// Tells the climber of an access while the cache is full; moves the window if it says so.
    fn climb(&mut self, is_hit: bool) {
        if !self.is_full {
            return;
        }
        let period = self.period();
        let Some(step) = self.climber.as_mut().and_then(|climber| climber.note(is_hit, period)) else { return };
        if step >= 0 {
            let step = step.unsigned_abs().min(self.protected_max);
            self.window_max += step;
            self.protected_max -= step;
            self.demote();
            while self.lists.charge(WINDOW) < self.window_max {
                let Some(oldest) = self.lists.oldest(PROBATION) else { break };
                self.lists.move_to_newest(WINDOW, oldest);
            }
        } else {
            let step = step.unsigned_abs().min(self.window_max - 1);
            self.window_max -= step;
            self.protected_max += step;
            while self.lists.charge(WINDOW) > self.window_max && self.lists.len(WINDOW) > 1 {
                let Some(oldest) = self.lists.oldest(WINDOW) else { break };
                self.lists.move_to_oldest(PROBATION, oldest);
            }
        }
    }
}

impl Algorithm for TinyLfu {
    fn recency(&self) -> Recency {
        Recency::Ordered
    }

    fn miss(&mut self, newcomer: &Newcomer) {
        self.candidate = None;
        self.sketch.set_period(self.period());
        self.sketch.record(newcomer.hash & !u64::from(u32::MAX));
        self.climb(false);
    }

    fn hit(&mut self, id: EntryId) {
        self.sketch.record(self.hash_of(id));
        let list = if self.lists.list_of(id) == WINDOW { WINDOW } else { PROTECTED };
        self.lists.move_to_newest(list, id);
        self.demote();
        self.climb(true);
    }

    fn evict(&mut self, newcomer: Option<&Newcomer>, residents: &mut Residents<'_>) -> Option<EntryId> {
        self.is_full = true;
        let charge = newcomer.map_or(0, |newcomer| u64::from(newcomer.charge));
        self.candidate = self.candidate.or_else(|| self.fall_out(charge));
        let victim = [PROBATION, PROTECTED, WINDOW].into_iter().find_map(|list| self.lists.oldest(list))?;
        let candidate = self.candidate;
        let loser = match candidate {
            Some(candidate) if candidate != victim && !self.is_admitted(candidate, victim) => candidate,
            _ => victim,
        };
        self.candidate = self.candidate.filter(|&candidate| candidate != loser);
        self.lists.evict(loser, residents);
        Some(loser)
    }

    fn place(&mut self, newcomer: &Newcomer) {
        #[allow(clippy::cast_possible_truncation, reason = "the top half is left")]
        {
            self.hashes[newcomer.id.index()] = (newcomer.hash >> 32) as u32;
        }
        while self.fall_out(newcomer.charge.into()).is_some() {}
        self.lists.push_newest(WINDOW, newcomer.id, newcomer.charge);
    }

    fn update(&mut self, id: EntryId, charge: u32) {
        self.candidate = None;
        self.lists.set_charge(id, charge);
        self.hit(id);
    }

    fn remove(&mut self, id: EntryId) {
        self.candidate = self.candidate.filter(|&candidate| candidate != id);
        self.lists.remove(id);
    }

    fn set_capacity(&mut self, charge: u64) {
        let share = charge as f64 / self.capacity.max(1) as f64;
        self.capacity = charge;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of the capacity")]
        let scaled = |max: u64| (max as f64 * share) as u64;
        self.window_max = scaled(self.window_max).max(1);
        self.protected_max = scaled(self.protected_max);
        self.demote();
    }

    fn renumber(&mut self, moved: &Renumbering) {
        self.lists.renumber(moved);
        self.sketch.resize(moved.ids() * COUNTERS);
        moved.apply(&mut self.hashes);
    }

    fn bytes(&self) -> usize {
        self.lists.allocated() + self.sketch.allocated() + self.hashes.capacity() * size_of::<u32>()
    }

    fn validate(&self) {
        self.lists.validate();
        assert!(self.lists.charge(PROTECTED) <= self.protected_max || self.lists.len(PROTECTED) <= 1);
        assert!(self.config.window_percent <= 100);
    }
}

/// Steers the window by what the ratio of hits makes of it.
#[derive(Debug)]
struct Climber {
    hits: u64,
    accesses: u64,
    /// Of the period before.
    hit_ratio: f64,
    /// The next step in charge, and its direction.
    step: f64,
    first_step: f64,
}

impl Climber {
    /// The first step, of the capacity.
    const FIRST_STEP: f64 = 0.0625;
    /// What becomes of a step from one to the next.
    const DECAY: f64 = 0.98;
    /// A change of the hit ratio that says that the traffic has changed.
    const RESTART: f64 = 0.05;

    fn new(capacity: u64) -> Self {
        let first_step = Self::FIRST_STEP * capacity as f64;
        Self { hits: 0, accesses: 0, hit_ratio: 0.0, step: first_step, first_step }
    }

    /// Counts an access; by how much the window is to grow, once in a `period`.
    fn note(&mut self, is_hit: bool, period: u64) -> Option<i64> {
        self.hits += u64::from(is_hit);
        self.accesses += 1;
        if self.accesses < period {
            return None;
        }
        let hit_ratio = self.hits as f64 / self.accesses as f64;
        let change = hit_ratio - self.hit_ratio;
        (self.hits, self.accesses, self.hit_ratio) = (0, 0, hit_ratio);
        let direction = if change < 0.0 { -self.step.signum() } else { self.step.signum() };
        let size = if change.abs() >= Self::RESTART { self.first_step } else { self.step.abs() * Self::DECAY };
        let step = if change < 0.0 { -self.step } else { self.step };
        self.step = direction * size;
        #[allow(clippy::cast_possible_truncation, reason = "a part of the capacity")]
        Some(step.round() as i64)
    }
}
