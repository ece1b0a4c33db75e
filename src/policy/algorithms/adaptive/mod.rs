//! Two CLOCKs and a moving border: the default.
//!
//! ```text
//!   new key --> [ window: CLOCK, 2 to 95 % ] -- not visited: evicted --> ( ghosts )
//!                                                                          | missed again
//!               ( ghosts ) <-- not visited: evicted -- [ main: CLOCK ] <---+
//! ```
//!
//! New keys enter a window, and leave it unless they are read there. A key that is missed again
//! while its ghost is remembered enters the main part, as in 2Q (Johnson and Shasha, VLDB 1994).
//! Both parts are queues in which visited entries go round, so a read only counts (CLOCK: Corbató
//! 1968; S3-FIFO: Yang et al., SOSP 2023).
//!
//! The policy measures two things about the traffic:
//!
//! * **Where the border between the two parts should be** (`border.rs`). The climber of W-TinyLFU
//!   (Einziger et al., Middleware 2018) compares hits by space; ARC (Megiddo and Modha, FAST 2003)
//!   compares ghosts. Each alone is misled by some traffic, so the border follows the sum of the
//!   two. The age of missed ghosts tells at once that the window is too small.
//! * **Whether another round pays** for an entry that was read once (`rounds.rs`). Keys that are
//!   read exactly once are served best by a plain queue.
//!
//! A read that misses also reports the ghost of its key. Sessions, results and ids are written once
//! and read later, and a miss stores nothing. Only the missed reads show that the entries which
//! left the window were wanted.
//!
//! Each entry has a *level*, which is its mark in the queue: the rounds for which it stays without
//! a visit. Visits in main raise it to three for an entry of average charge.
//!
//! While there is room nothing leaves, and every new key enters the window. Once the cache is full,
//! each eviction moves a few entries that the window cannot hold to main. Until that is done, the
//! oldest entries of main leave.
//!
//! **Charges.** A small entry costs little to keep. The more often an entry's charge fits into the
//! mean charge, the higher its first level, and the more a visit adds to it. Of two entries without
//! visits, the window's oldest and main's oldest, the larger one leaves. A newcomer above the mean
//! whose key has no ghost is refused if every entry that it would push out of the window was
//! visited. It leaves a ghost, so it is admitted when it is missed again. For these comparisons, a
//! charge near the mean counts as the mean, the more so the less charges differ ([`TOLERANCE`]).
//! With equal charges, or with [`Favor::Bytes`], none of this has an effect.
//!
//! The rules of the border and of rounds, the levels, and the treatment of charges are this crate's
//! own. `docs::policies` says what each is worth.
//!
//! Costs 6.8 bytes for each id (3.6 of queues, 3 of ghosts, one bit), and nothing on a hit to a hot
//! key. Operations are O(1) amortised: an eviction sends less than one entry round if charges are
//! equal, and up to six where they vary by orders of magnitude. It is the wrong choice for keys
//! that are read exactly twice in bursts (ARC).

mod border;
mod config;
mod rounds;

use core::mem::offset_of;
use core::ops::Range;

use crate::policy::built_in::BuiltIn;
use crate::policy::standing::{StateReader, StateWriter};
use crate::policy::structures::{GhostSets, IdSet, QueueId, Queued, Queues};
use crate::policy::{
    EntryId, EvictionPolicy, MISSES_PER_REPORT, Newcomer, PolicyContext, Residents, Standing, Turn, Unvisited,
    is_miss_reported,
};
use crate::prefetch::LINE;
use border::{Asked, Border, MAIN, MAX_CHARGE, Part, Traffic, WINDOW, float};
pub use config::{AdaptiveConfig, Favor};
use rounds::{Rounds, WindowMark};

/// Ghosts for each four resident entries.
const GHOSTS: usize = 7;
/// The highest level that visits earn an entry of average charge, and the highest of any entry.
const MAX_ROUNDS: u8 = 3;
const MAX_LEVEL: u8 = Queued::MAX_MARK;
/// An entry is small if its charge fits into the mean charge, times this, at least twice.
const SIZE_FACTOR: f64 = 1.5;
/// A charge counts as the mean charge if it differs from it by at most this part of the mean, less
/// [`STRICTNESS`] times the spread of charges. Sizes that differ by less than a quarter say little.
/// Without a tolerance, the half of all entries that is above the mean would be kept out of main
/// even so.
const TOLERANCE: f64 = 0.5;
const STRICTNESS: f64 = 1.5;
/// The least such difference, as a part of the mean. After one charge that differs, the mean of
/// equal ones comes close to them and never reaches them.
const MIN_TOLERANCE: f64 = 1.0 / 64.0;
/// The speed at which the spread falls, as a part of that at which it rises.
const FORGETTING: f32 = 1.0 / 16.0;
/// The number of newcomers over which the mean charge and the spread are taken, roughly.
const MEMORY: f32 = 1024.0;
/// Entries that one eviction moves from the window to main, of those that came in while there was
/// room.
const SORTED_AT_ONCE: usize = 32;

/// The fields are in this order so that the most frequent insert, which evicts from the window,
/// writes to three cache lines.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Adaptive {
    traffic: Traffic,
    /// Entries that were spared while room was made for the newcomer: of the window, or of main
    /// while there are unsorted entries.
    spared_for_newcomer: u32,
    /// Fresh entries of the window whose turn came in this period. See [`Rounds`].
    fresh_seen: u32,
    /// The spread of newcomers' charges: how far they mostly are from the mean.
    spread: f32,
    /// `true` if room has been made since the last newcomer was placed. While the cache fills, none
    /// is.
    is_full: bool,
    window: Part,
    ghosts: GhostSets,
    /// The mark of an entry is its level in main, and a [`WindowMark`] in the window.
    queues: Queues<2>,
    main: Part,
    border: Border,
    rounds: Rounds,
    asked: Asked,
    /// The entries of main. The others are in the window.
    in_main: IdSet,
    /// Main's oldest entry, taken out of its queue while it is compared with the window's.
    main_oldest: Option<EntryId>,
    /// Charge of the entries that entered the window while there was room, and are still there. 0
    /// once the window is within the border.
    unsorted: u64,
    favor: Favor,
    /// The walk of a snapshot has passed main's oldest entry, where that is not in its queue.
    has_shown_oldest: bool,
}

impl Adaptive {
    /// Returns the charge by which an entry is treated: the mean charge where sizes make no
    /// difference.
    fn weight(&self, charge: u32) -> f64 {
        let mean = self.traffic.mean_charge;
        match self.favor {
            Favor::Requests if self.deviation(charge) > self.tolerance() => f64::from(charge),
            _ => mean,
        }
    }

    /// Returns by how much a charge differs from the mean charge.
    fn deviation(&self, charge: u32) -> f64 {
        (f64::from(charge) - self.traffic.mean_charge).abs()
    }

    /// Returns by how much a charge may differ from the mean charge and still count as it.
    fn tolerance(&self) -> f64 {
        let mean = self.traffic.mean_charge;
        (TOLERANCE * mean - STRICTNESS * f64::from(self.spread)).max(MIN_TOLERANCE * mean)
    }

    fn queue_of(&self, id: EntryId) -> QueueId {
        if self.in_main.contains(id) { MAIN } else { WINDOW }
    }

    fn part(&mut self, queue: QueueId) -> &mut Part {
        if queue == WINDOW { &mut self.window } else { &mut self.main }
    }

    #[inline(always)]
    fn enter(&mut self, queue: QueueId, queued: Queued, charge: u32) {
        if queue == MAIN {
            self.in_main.insert(queued.id);
        }
        self.part(queue).entries += 1;
        self.part(queue).charge += u64::from(charge);
        self.queues.push(queue, queued);
    }

    /// Forgets an entry that has left its queue.
    fn leave(&mut self, queue: QueueId, id: EntryId, charge: u32) {
        if queue == MAIN {
            self.in_main.remove(id);
        }
        self.part(queue).entries -= 1;
        self.part(queue).charge -= u64::from(charge);
    }

    /// Moves an entry that has left the window's queue to main.
    fn move_to_main(&mut self, queued: Queued, charge: u32) {
        self.leave(WINDOW, queued.id, charge);
        self.enter(MAIN, queued, charge);
    }

    /// Moves some of the entries that came in while there was room, and that the window cannot
    /// hold, to main.
    fn sort(&mut self, residents: &Residents<'_>) {
        for _ in 0..SORTED_AT_ONCE {
            if float(self.window.charge) <= self.border.charge().max(1.0) || self.window.entries <= 1 {
                self.unsorted = 0;
            }
            if self.unsorted == 0 {
                return;
            }
            let Some(oldest) = self.queues.pop(WINDOW, |later| residents.expect(later)) else { return };
            let charge = residents.charge(oldest.id);
            self.unsorted = self.unsorted.saturating_sub(u64::from(charge));
            let mark = WindowMark::from_bits(oldest.mark).level;
            self.move_to_main(Queued { mark, ..oldest }, charge);
        }
    }

    /// Adds a newcomer's charge to the measures of charges. The spread rises faster than it falls,
    /// so that a run of equal charges among others does not hide that sizes differ.
    #[inline]
    fn note_charge(&mut self, charge: u32) {
        let weight = if self.traffic.mean_charge == 0.0 { 1.0 } else { 1.0 / MEMORY };
        self.traffic.mean_charge += (f64::from(charge) - self.traffic.mean_charge) * f64::from(weight);
        #[allow(clippy::cast_possible_truncation, reason = "a measure")]
        let further = self.deviation(charge) as f32 - self.spread;
        self.spread += further * weight * if further > 0.0 { 1.0 } else { FORGETTING };
    }

    /// Counts a newcomer, and moves the border when it is due.
    fn note_newcomer(&mut self, charge: u32) {
        self.note_charge(charge);
        let Self { traffic, window, main, border, .. } = self;
        traffic.note(charge, window, main);
        if border.is_due(traffic) && border.steer(traffic, window, main) {
            self.rounds.age(&mut self.fresh_seen);
        }
        self.ghosts.set_len(max_ghosts(self.window.entries + self.main.entries + 1));
    }

    /// Returns `true` if the window is too large with a newcomer in it.
    fn window_overflows(&self, newcomer: u32) -> bool {
        float(self.window.charge) + f64::from(newcomer) > self.border.charge() || self.main.entries == 0
    }

    /// Returns `true` if a newcomer is large, and every entry that it would push out was visited.
    /// It would push entries out of the window, or out of main while there are unsorted entries.
    fn is_refused(&self, newcomer: &Newcomer) -> bool {
        let left = if self.unsorted > 0 { self.main.entries } else { self.window.entries };
        self.weight(newcomer.charge) > self.traffic.mean_charge
            && self.spared_for_newcomer as usize >= left.max(1)
            && self.window_overflows(newcomer.charge)
            && !self.ghosts.contains(newcomer.hash)
    }

    /// Inserts the ghost of a refused newcomer, or of an entry that the window evicts.
    fn leave_window_ghost(&mut self, hash: u64, charge: u32) {
        self.window.evicted += f64::from(charge);
        self.ghosts.insert(hash, WINDOW);
    }

    /// Returns the window's oldest entry that does not stay, or `None` if the window has room for
    /// the newcomer. An entry that is smaller than main's oldest moves to main instead.
    fn evict_window(&mut self, newcomer: u32, residents: &mut Residents<'_>) -> Option<EntryId> {
        // Amortised: each round takes an id out of the window.
        while self.window_overflows(newcomer) {
            let Self { queues, window, main, rounds, fresh_seen, spared_for_newcomer, .. } = self;
            let entries = window.entries + main.entries;
            let fate = |mark| unvisited(WindowMark::from_bits(mark).level);
            let (id, turn) = queues.pop_unless(WINDOW, residents, fate, |queued, turn, residents| {
                let visits = take_visits(queued.id, turn, residents);
                if visits > 0 {
                    window.note_visited();
                }
                let stays = rounds.decide(WindowMark::from_bits(queued.mark), visits, fresh_seen, entries);
                *spared_for_newcomer = spared_for_newcomer.saturating_add(u32::from(stays.is_some()));
                stays.map(WindowMark::to_bits)
            })?;
            let (charge, hash) = residents.charge_and_hash_after(turn, id);
            if !self.is_smaller_than_mains(charge, residents) {
                self.leave_window_ghost(hash, charge);
                self.leave(WINDOW, id, charge);
                return Some(id);
            }
            self.move_to_main(id.into(), charge);
        }
        None
    }

    /// Returns `true` if main's oldest entry without visits is larger than this charge. An entry of
    /// the mean charge or more is not compared.
    fn is_smaller_than_mains(&mut self, charge: u32, residents: &mut Residents<'_>) -> bool {
        if self.weight(charge) >= self.traffic.mean_charge {
            return false;
        }
        self.main_oldest = self.find_mains_oldest(residents, |_| Unvisited::Stays).map(|(id, _)| id);
        self.main_oldest.is_some_and(|oldest| charge < residents.charge(oldest))
    }

    /// Takes main's oldest entry that does not stay out of its queue, and returns it and what is
    /// known of it.
    #[inline(always)]
    fn find_mains_oldest(
        &mut self,
        residents: &mut Residents<'_>,
        fate: impl Fn(u8) -> Unvisited,
    ) -> Option<(EntryId, Turn)> {
        let (favor, mean_charge) = (self.favor, self.traffic.mean_charge);
        let Self { queues, main, border, main_oldest, unsorted, spared_for_newcomer, .. } = self;
        let mut stay = |queued: Queued, turn: Turn, residents: &mut Residents<'_>| {
            let Queued { id, mark: level } = queued;
            if take_visits(id, turn, residents) == 0 {
                return level.checked_sub(1);
            }
            main.note_visited();
            let class = class(favor, residents.charge(id), mean_charge);
            if level <= class {
                border.note_came_alive();
            }
            *spared_for_newcomer = spared_for_newcomer.saturating_add(u32::from(*unsorted > 0));
            let gain = 1 + class;
            Some((level + gain).min(gain * MAX_ROUNDS).min(MAX_LEVEL))
        };
        if let Some(oldest) = main_oldest.take() {
            // A level that it had left when it was taken out, if any, is gone.
            let turn = residents.turn(oldest, None, fate(0));
            let Some(mark) = stay(oldest.into(), turn, residents) else { return Some((oldest, turn)) };
            queues.push(MAIN, Queued { id: oldest, mark });
        }
        queues.pop_unless(MAIN, residents, fate, stay)
    }

    fn evict_main(&mut self, residents: &mut Residents<'_>) -> Option<EntryId> {
        let (id, turn) = self.find_mains_oldest(residents, unvisited)?;
        self.border.note_left_main();
        let (charge, hash) = residents.charge_and_hash_after(turn, id);
        // Half of the keys are enough to measure by, and leave the ghosts to the window's.
        if hash >> SAMPLING_BIT & 1 == 0 {
            self.main.evicted += f64::from(charge);
            self.ghosts.insert(hash, MAIN);
        }
        self.leave(MAIN, id, charge);
        Some(id)
    }
}

/// A bit of the hash that neither a set nor a fingerprint of ghosts depends on.
const SAMPLING_BIT: u32 = 36;

/// Returns the visits of an entry whose turn it is, and sets them to 0.
fn take_visits(id: EntryId, turn: Turn, residents: &mut Residents<'_>) -> u8 {
    if turn.visits > 0 {
        residents.set_visits(id, 0);
    }
    turn.visits
}

/// Returns what happens to an entry of this level that has no visits: it stays for a level less.
fn unvisited(level: u8) -> Unvisited {
    if level == 0 { Unvisited::Leaves } else { Unvisited::Stays }
}

/// Returns how often an entry fits into the mean charge once more: 0 at the mean, and where sizes
/// make no difference.
fn class(favor: Favor, charge: u32, mean_charge: f64) -> u8 {
    // Spares about half of the entries a division.
    if favor == Favor::Bytes || f64::from(charge) >= mean_charge {
        return 0;
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the conversion saturates")]
    let class = (SIZE_FACTOR * mean_charge / f64::from(charge.max(1)) - 1.0) as u8;
    class.min(MAX_LEVEL - 1)
}

/// Returns the number of ghosts that are kept beside `entries` entries.
fn max_ghosts(entries: usize) -> usize {
    entries * GHOSTS / 4
}

impl BuiltIn for Adaptive {
    const NAME: &'static str = "adaptive";
    type Config = AdaptiveConfig;

    fn new(config: AdaptiveConfig, context: &PolicyContext) -> Self {
        Self {
            traffic: Traffic::default(),
            spared_for_newcomer: 0,
            fresh_seen: 0,
            spread: 0.0,
            is_full: false,
            window: Part::default(),
            ghosts: GhostSets::new(max_ghosts(context.max_entries())),
            queues: Queues::new(context.max_entries(), context.capacity()),
            main: Part::default(),
            border: Border::new(context.capacity()),
            rounds: Rounds::default(),
            asked: Asked::default(),
            in_main: IdSet::new(context.ids()),
            main_oldest: None,
            unsorted: 0,
            favor: config.favor,
            has_shown_oldest: false,
        }
    }
}

impl EvictionPolicy for Adaptive {
    fn wants_misses(&self) -> bool {
        true
    }

    fn missed(&mut self, hash: u64) {
        self.border.note_reported_miss();
        let Some(hash) = self.asked.note(hash) else { return };
        if let Some((queue @ WINDOW, newer)) = self.ghosts.find_with_age(hash) {
            self.border.note_return(queue, newer, MISSES_PER_REPORT, &self.window, self.traffic.mean_charge);
        }
    }

    fn prepare_insert(&mut self, newcomer: &Newcomer) {
        self.spared_for_newcomer = 0;
        if is_miss_reported(newcomer.hash) {
            self.asked.forget(newcomer.hash);
        }
        self.ghosts.prefetch(newcomer.hash);
    }

    fn prefetch_insert(&self, newcomer: &Newcomer) {
        self.ghosts.prefetch_to_take(newcomer.hash);
    }

    fn evict(&mut self, newcomer: Option<&Newcomer>, residents: &mut Residents<'_>) -> Option<EntryId> {
        self.is_full = true;
        if let Some(newcomer) = newcomer.filter(|newcomer| self.is_refused(newcomer)) {
            self.leave_window_ghost(newcomer.hash, newcomer.charge);
            return Some(newcomer.id);
        }
        if self.unsorted > 0 {
            self.sort(residents);
        }
        let charge = newcomer.map_or(0, |newcomer| newcomer.charge);
        let from_window = if self.unsorted == 0 { self.evict_window(charge, residents) } else { None };
        from_window.or_else(|| self.evict_main(residents))
    }

    fn insert(&mut self, newcomer: &Newcomer) {
        let &Newcomer { id, hash, charge } = newcomer;
        self.note_newcomer(charge);
        let level = class(self.favor, charge, self.traffic.mean_charge);
        let ghost = self.ghosts.take_with_age(hash);
        if let Some((queue, newer)) = ghost {
            self.border.note_return(queue, newer, 1, &self.window, self.traffic.mean_charge);
            self.part(queue).note_missed();
        }
        let returns =
            ghost.is_some_and(|(queue, _)| queue == WINDOW) && self.weight(charge) <= self.traffic.mean_charge;
        let (queue, mark) = if returns { (MAIN, level) } else { (WINDOW, WindowMark::fresh(level).to_bits()) };
        self.enter(queue, Queued { id, mark }, charge);
        let is_full = core::mem::take(&mut self.is_full);
        if !is_full && !returns {
            self.unsorted += u64::from(charge);
        }
    }

    fn update(&mut self, id: EntryId, old_charge: u32, charge: u32) {
        if charge == old_charge {
            return;
        }
        let queue = self.queue_of(id);
        let part = self.part(queue);
        part.charge = part.charge - u64::from(old_charge) + u64::from(charge);
    }

    fn remove(&mut self, id: EntryId, charge: u32) {
        let queue = self.queue_of(id);
        if self.main_oldest == Some(id) {
            self.main_oldest = None;
        } else {
            self.queues.remove(queue, id);
        }
        self.leave(queue, id, charge);
    }

    fn set_capacity(&mut self, charge: u64) {
        self.border.set_capacity(charge);
    }

    fn resize(&mut self, ids: usize, max_entries: usize) -> bool {
        let is_set_done = self.in_main.resize(ids);
        let are_queues_done = self.queues.resize(max_entries);
        self.ghosts.resize(max_ghosts(max_entries)) && are_queues_done && is_set_done
    }

    fn prepare_renames(&mut self, from: Range<u32>, to: Range<u32>) -> bool {
        self.queues.prepare_renames(from, to)
    }

    fn rename(&mut self, from: EntryId, to: EntryId) {
        self.in_main.rename(from, to);
        if self.main_oldest == Some(from) {
            self.main_oldest = Some(to);
        } else {
            self.queues.rename(from, to);
        }
    }

    fn end_renames(&mut self) {
        self.queues.end_renames();
    }

    fn bytes(&self) -> usize {
        self.queues.allocated() + self.in_main.allocated() + self.ghosts.allocated()
    }

    fn validate(&self) {
        let queued = self.queues.validate() + usize::from(self.main_oldest.is_some());
        assert_eq!(queued, self.window.entries + self.main.entries);
        let mut main = self.queues.ids(MAIN);
        main.extend(self.main_oldest);
        assert!(main.iter().all(|&id| self.in_main.contains(id)));
        assert_eq!((main.len(), self.in_main.len()), (self.main.entries, self.main.entries));
    }

    fn snapshot_name(&self) -> &'static str {
        Self::NAME
    }

    fn begin_walk(&mut self) {
        self.queues.begin_walk();
        self.has_shown_oldest = false;
    }

    /// The class is the queue, and the rank the mark.
    fn walk(&mut self, most: usize, show: &mut dyn FnMut(EntryId, Standing)) -> bool {
        if !core::mem::replace(&mut self.has_shown_oldest, true) {
            if let Some(oldest) = self.main_oldest {
                show(oldest, Standing::new().class(MAIN.number()));
            }
        }
        self.queues.walk(most, |queue, Queued { id, mark }| {
            show(id, Standing::new().class(queue.number()).rank(mark.into()));
        })
    }

    fn restore(&mut self, newcomer: &Newcomer, standing: Standing) {
        let queue = if standing.class == MAIN.number() { MAIN } else { WINDOW };
        let [mark, ..] = standing.rank.min(MAX_LEVEL.into()).to_le_bytes();
        self.enter(queue, Queued { id: newcomer.id, mark }, newcomer.charge);
    }

    fn save_state(&self, state: &mut Vec<u8>) {
        let mut numbers = StateWriter(state);
        self.rounds.save(&mut numbers, self.fresh_seen);
        self.border.save(&self.traffic, [&self.window, &self.main], &mut numbers);
        numbers.number(self.border.share_of(self.unsorted)).number(self.spread.into());
    }

    fn restore_state(&mut self, state: &[u8]) {
        let mut state = StateReader(state);
        let Self { rounds, border, traffic, window, main, .. } = self;
        let restored = rounds.restore(&mut state);
        let restored = restored.and_then(|()| border.restore(traffic, [window, main], &mut state));
        self.unsorted = restored.and_then(|()| self.border.charge_of_share(state.number()?)).unwrap_or(0);
        #[allow(clippy::cast_possible_truncation, reason = "a measure")]
        let spread = restored.and_then(|()| state.number_in(0.0..=MAX_CHARGE)).unwrap_or(0.0) as f32;
        self.spread = spread;
    }

    fn save_history(&self, part: usize, bytes: &mut Vec<u8>) -> bool {
        self.ghosts.save(part, bytes)
    }

    fn restore_history(&mut self, _part: usize, bytes: &[u8]) {
        self.ghosts.restore(bytes);
    }
}

const _: () = assert!(offset_of!(Adaptive, queues) + Queues::<2>::ENDS_BYTES <= 3 * LINE);

#[cfg(test)]
mod tests;
