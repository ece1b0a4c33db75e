//! Two CLOCKs and a moving border: the default.
//!
//! ```text
//!   new key --> [ window: CLOCK, 2 to 95 % ] -- not visited: evicted --> ( ghosts )
//!                                                                          | missed again
//!               ( ghosts ) <-- not visited: evicted -- [ main: CLOCK ] <---+
//! ```
//!
//! New keys come into a window, and what is not read there leaves. Who is missed again while its ghost is
//! remembered comes into the main part, as in 2Q (Johnson and Shasha, VLDB 1994). Both parts are queues that go
//! round while entries are visited, so a read only counts (CLOCK: Corbató 1968; S3-FIFO: Yang et al., SOSP 2023). What makes it
//! good at everything is the border between the two. It is moved now and then by the sum of two logarithms:
//!
//! * the **density**: how many entries were spared for a visit, by the space and time that the part had, in the window
//!   against main. The climbers of W-TinyLFU (Einziger et al., Middleware 2018) compare hits in this way;
//! * the **regret**: how many ghosts were missed again, by the charge that the part has evicted. ARC (Megiddo and
//!   Modha, FAST 2003) moves its border by ghosts.
//!
//! Either alone is led astray by some traffic, loops or drifting popularity, that the other one sees through.
//!
//! An entry of main that was visited in its last rounds stays for up to three rounds more without: its *level*, which is
//! its mark in the queue.
//!
//! While there is room nothing leaves, and everything comes into the window. What has become too much for it goes to main when
//! room is made again, a few entries with each eviction; until that is done, main's oldest are the ones that leave.
//!
//! **Charges.** A small entry costs little to keep. One that is charged a fraction of what entries are on average
//! starts at a higher level and gains more for a visit, in proportion. Of two entries that were not visited, the window's
//! oldest and main's, the larger leaves. A newcomer above the mean whose key is not known is refused if every entry that it
//! would have to push out of the window was visited; it leaves a ghost, so it comes in when it is wanted again. With
//! equal charges none of this has an effect.
//!
//! The border's rule, the levels, and the treatment of charges are this crate's own; `docs::policies` has what each
//! is worth.
//!
//! Costs 6.8 bytes for each id (3.6 of queues, 3 of ghosts, one bit), and nothing on a hit to a hot key. Operations are
//! O(1) amortised: an eviction sends less than one entry round if charges are equal, and up to six where they vary by
//! orders of magnitude. The wrong choice for keys that are read exactly twice in bursts (ARC), and where bytes count and not
//! hits (S3-FIFO).

use core::mem::offset_of;

use super::algorithm::{Algorithm, Newcomer};
use super::ghost_sets::GhostSets;
use super::id_set::IdSet;
use super::queue::{Queue, Queued, Queues};
use super::{EntryId, PolicyContext, Recency, Renumbering, Residents};
use crate::prefetch::LINE;

const WINDOW: Queue = Queue::new(0);
const MAIN: Queue = Queue::new(1);

/// The window's part of the capacity at first, and its bounds.
const FIRST_SHARE: f64 = 0.1;
const MIN_SHARE: f64 = 0.02;
const MAX_SHARE: f64 = 0.95;
/// The border is moved whenever so much of the capacity has come in.
const STEERING_PERIOD: f64 = 0.5;
/// By how much of the capacity it moves for a ratio of e, and at most.
const GAIN: f64 = 0.0125;
const MAX_STEP: f64 = 0.1;
/// Ghosts for each four resident entries.
const GHOSTS: usize = 7;
/// Rounds without a visit that visits earn an entry of average charge, and any entry.
const MAX_ROUNDS: u8 = 3;
const MAX_LEVEL: u8 = Queued::MAX_MARK;
/// An entry of so much of the mean charge or more is not treated as a small one: it would be at half of this.
const SIZE_FACTOR: f64 = 1.5;
/// The mean charge is over about so many newcomers.
const MEMORY: f64 = 1024.0;
/// How many entries go from the window to main with one eviction, of those that came in while there was room.
const SORTED_AT_ONCE: usize = 32;

/// In this order: what an insert writes to that evicts from the window, the most frequent kind, lies in three cache lines with the
/// newcomer before it.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Adaptive {
    /// What came in since the border was last moved, in charge.
    came_in: f64,
    /// The mean charge of newcomers.
    mean_charge: f64,
    /// The charges of window and main, summed over what came in since the border was last moved.
    space: [f64; 2],
    /// How often an entry was spared while room was made for the newcomer: one of the window, or of main while there are unsorted ones.
    spared_for_newcomer: u32,
    /// Whether room has been made since a newcomer last took its place. While the cache fills, none is.
    is_full: bool,
    window: Part,
    ghosts: GhostSets,
    /// The marks are levels: rounds for which each entry stays without a visit.
    queues: Queues<2>,
    main: Part,
    /// Who is in main; the others are in the window.
    in_main: IdSet,
    capacity: u64,
    /// The charge that the window may have.
    border: f64,
    /// Main's oldest, taken out of its queue, while it is compared with the window's.
    main_oldest: Option<EntryId>,
    /// The charge of what came into the window while there was room; 0 again once the window has no more than it may.
    unsorted: u64,
}

/// The window or main.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    entries: usize,
    charge: u64,
    /// The charge of those that left a ghost since the border was last moved.
    evicted: f64,
    /// Ghosts that were missed again.
    missed: u32,
    /// Entries that were spared for a visit.
    spared: u32,
}

impl Part {
    /// Begins to measure anew.
    fn forget_measures(&mut self) {
        *self = Self { entries: self.entries, charge: self.charge, ..Self::default() };
    }

    fn note_spared(&mut self) {
        self.spared = self.spared.saturating_add(1);
    }
}

impl Adaptive {
    pub(super) fn new(context: &PolicyContext) -> Self {
        Self {
            came_in: 0.0,
            mean_charge: 0.0,
            space: [0.0; 2],
            spared_for_newcomer: 0,
            is_full: false,
            window: Part::default(),
            ghosts: GhostSets::new(max_ghosts(context.max_entries())),
            queues: Queues::new(context.max_entries()),
            main: Part::default(),
            in_main: IdSet::new(context.ids()),
            capacity: context.capacity(),
            border: context.capacity() as f64 * FIRST_SHARE,
            main_oldest: None,
            unsorted: 0,
        }
    }

    fn queue_of(&self, id: EntryId) -> Queue {
        if self.in_main.contains(id) { MAIN } else { WINDOW }
    }

    fn part(&mut self, queue: Queue) -> &mut Part {
        if queue == WINDOW { &mut self.window } else { &mut self.main }
    }

    fn enter(&mut self, queue: Queue, queued: Queued, charge: u32) {
        if queue == MAIN {
            self.in_main.insert(queued.id);
        }
        self.part(queue).entries += 1;
        self.part(queue).charge += u64::from(charge);
        self.queues.push(queue, queued);
    }

    /// Forgets an entry that has left its queue.
    fn leave(&mut self, queue: Queue, id: EntryId, charge: u32) {
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

    /// Moves some of what the window cannot hold, and came in while there was room, to main.
    fn sort(&mut self, residents: &Residents<'_>) {
        for _ in 0..SORTED_AT_ONCE {
            if self.window.charge as f64 <= self.border.max(1.0) || self.window.entries <= 1 {
                self.unsorted = 0;
            }
            if self.unsorted == 0 {
                return;
            }
            self.queues.announce(WINDOW, residents);
            let Some(oldest) = self.queues.pop(WINDOW) else { return };
            let charge = residents.charge(oldest.id);
            self.unsorted = self.unsorted.saturating_sub(u64::from(charge));
            self.move_to_main(oldest, charge);
        }
    }

    /// Counts what came in, and moves the border when its time has come.
    fn note_newcomer(&mut self, charge: u32) {
        let charge = f64::from(charge);
        let memory = if self.mean_charge == 0.0 { 1.0 } else { MEMORY };
        self.mean_charge += (charge - self.mean_charge) / memory;
        self.came_in += charge;
        for (space, part) in self.space.iter_mut().zip([&self.window, &self.main]) {
            *space += part.charge as f64 * charge;
        }
        if self.came_in >= STEERING_PERIOD * self.capacity as f64 {
            self.steer();
        }
        self.ghosts.set_len(max_ghosts(self.window.entries + self.main.entries + 1));
    }

    fn steer(&mut self) {
        let density = |part: &Part, space: f64| (f64::from(part.spared) + 1.0) / space.max(1.0);
        let regret = |part: &Part| (f64::from(part.missed) + 1.0) / (part.evicted + self.mean_charge);
        let [window, main] = self.space;
        if main > 0.0 {
            let gain = (density(&self.window, window) / density(&self.main, main)).ln();
            let loss = (regret(&self.window) / regret(&self.main)).ln();
            let step = (GAIN * (gain + loss)).clamp(-MAX_STEP, MAX_STEP);
            self.set_border(self.border + step * self.capacity as f64);
        }
        self.came_in = 0.0;
        self.space = [0.0; 2];
        self.window.forget_measures();
        self.main.forget_measures();
    }

    fn set_border(&mut self, border: f64) {
        let capacity = self.capacity as f64;
        self.border = border.clamp(capacity * MIN_SHARE, capacity * MAX_SHARE);
    }

    /// Whether the window is too large, with a newcomer in it.
    fn window_overflows(&self, newcomer: u32) -> bool {
        self.window.charge as f64 + f64::from(newcomer) > self.border || self.main.entries == 0
    }

    /// Whether a newcomer is large, and everything that it would have to push out of the window was visited (of main, while that is
    /// where entries leave).
    fn is_refused(&self, newcomer: &Newcomer) -> bool {
        let left = if self.unsorted > 0 { self.main.entries } else { self.window.entries };
        f64::from(newcomer.charge) > self.mean_charge
            && self.spared_for_newcomer as usize >= left.max(1)
            && self.window_overflows(newcomer.charge)
            && !self.ghosts.contains(newcomer.hash)
    }

    /// Forgets a newcomer or an entry that leaves the window for good.
    fn leave_window_ghost(&mut self, hash: u64, charge: u32) {
        self.window.evicted += f64::from(charge);
        self.ghosts.insert(hash, WINDOW);
    }

    /// The window's oldest that was not visited, if that has to leave for a newcomer. One that is smaller than main's
    /// goes there.
    fn evict_window(&mut self, newcomer: u32, residents: &mut Residents<'_>) -> Option<EntryId> {
        while self.window_overflows(newcomer) {
            let Self { queues, window, spared_for_newcomer, .. } = self;
            let id = queues.pop_unless(WINDOW, residents, |queued, residents| {
                let Queued { id, mark: level } = queued;
                let is_visited = take_visits(id, residents);
                if is_visited {
                    window.note_spared();
                }
                let stays_at = if is_visited { Some(level) } else { level.checked_sub(1) };
                *spared_for_newcomer = spared_for_newcomer.saturating_add(u32::from(stays_at.is_some()));
                stays_at
            })?;
            let charge = residents.charge(id);
            if !self.is_smaller_than_mains(charge, residents) {
                self.leave_window_ghost(residents.hash(id), charge);
                self.leave(WINDOW, id, charge);
                return Some(id);
            }
            self.move_to_main(id.into(), charge);
        }
        None
    }

    /// Whether main's oldest, too, was not visited, and is larger. Only asked of entries below the mean.
    fn is_smaller_than_mains(&mut self, charge: u32, residents: &mut Residents<'_>) -> bool {
        if f64::from(charge) >= self.mean_charge {
            return false;
        }
        self.main_oldest = self.find_mains_oldest(residents);
        self.main_oldest.is_some_and(|oldest| charge < residents.charge(oldest))
    }

    /// Main's oldest that was not visited, taken out of its queue.
    fn find_mains_oldest(&mut self, residents: &mut Residents<'_>) -> Option<EntryId> {
        let Self { queues, main, mean_charge, main_oldest, unsorted, spared_for_newcomer, .. } = self;
        let mut stay = |queued: Queued, residents: &mut Residents<'_>| {
            let Queued { id, mark: level } = queued;
            if !take_visits(id, residents) {
                return level.checked_sub(1);
            }
            main.note_spared();
            *spared_for_newcomer = spared_for_newcomer.saturating_add(u32::from(*unsorted > 0));
            let gain = 1 + class(residents.charge(id), *mean_charge);
            Some((level + gain).min(gain * MAX_ROUNDS).min(MAX_LEVEL))
        };
        if let Some(oldest) = main_oldest.take() {
            // A level that it had left when it was taken out, if any, is gone.
            let Some(mark) = stay(oldest.into(), residents) else { return Some(oldest) };
            queues.push(MAIN, Queued { id: oldest, mark });
        }
        queues.pop_unless(MAIN, residents, stay)
    }

    fn evict_main(&mut self, residents: &mut Residents<'_>) -> Option<EntryId> {
        let id = self.find_mains_oldest(residents)?;
        let (hash, charge) = (residents.hash(id), residents.charge(id));
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

/// Whether an entry was visited; it is as if it was not afterwards.
fn take_visits(id: EntryId, residents: &mut Residents<'_>) -> bool {
    let is_visited = residents.visits(id) > 0;
    if is_visited {
        residents.set_visits(id, 0);
    }
    is_visited
}

/// How much smaller than the mean an entry is: 0 at the mean, one more for each time that it fits in there again.
fn class(charge: u32, mean_charge: f64) -> u8 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
    {
        (SIZE_FACTOR * mean_charge / f64::from(charge.max(1)) - 1.0).clamp(0.0, f64::from(MAX_LEVEL - 1)) as u8
    }
}

/// Ghosts for so many entries.
fn max_ghosts(entries: usize) -> usize {
    entries * GHOSTS / 4
}

impl Algorithm for Adaptive {
    fn recency(&self) -> Recency {
        Recency::Counted
    }

    fn miss(&mut self, newcomer: &Newcomer) {
        self.spared_for_newcomer = 0;
        self.prefetch(newcomer);
    }

    fn prefetch(&self, newcomer: &Newcomer) {
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

    fn place(&mut self, newcomer: &Newcomer) {
        let &Newcomer { id, hash, charge } = newcomer;
        self.note_newcomer(charge);
        let level = class(charge, self.mean_charge);
        let ghost_of = self.ghosts.take(hash);
        if let Some(queue) = ghost_of {
            let missed = &mut self.part(queue).missed;
            *missed = missed.saturating_add(1);
        }
        let returns = ghost_of == Some(WINDOW) && f64::from(charge) <= self.mean_charge;
        self.enter(if returns { MAIN } else { WINDOW }, Queued { id, mark: level }, charge);
        let is_full = core::mem::take(&mut self.is_full);
        if !is_full && !returns {
            self.unsorted += u64::from(charge);
        }
    }

    fn update(&mut self, id: EntryId, old_charge: u32, charge: u32) {
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
        let share = self.border / (self.capacity as f64).max(1.0);
        self.capacity = charge;
        self.set_border(share * charge as f64);
    }

    fn renumber(&mut self, moved: &Renumbering) {
        if let Some(oldest) = self.main_oldest.take() {
            self.queues.push(MAIN, oldest);
        }
        self.queues.renumber(moved);
        self.in_main.renumber(moved);
        self.ghosts.resize(max_ghosts(moved.max_entries()));
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
}

const _: () =
    assert!(size_of::<Option<Newcomer>>() + offset_of!(Adaptive, queues) + Queues::<2>::ENDS_BYTES <= 3 * LINE);

#[cfg(test)]
mod tests {
    use super::super::{Policy, Request, Simulator, Unit, simulate};

    fn request(simulator: &mut Simulator, hash: u64, charge: u32) -> bool {
        let is_hit = simulator.request(Request { hash, charge });
        simulator.validate();
        is_hit
    }

    fn misses(policy: Policy, capacity: u64, keys: impl Iterator<Item = u64>) -> f64 {
        let requests = keys.map(|hash| Request { hash, charge: 1 });
        simulate(&policy, capacity, Unit::Entries, requests).miss_ratio()
    }

    #[test]
    fn a_key_that_came_back_outlives_a_scan() {
        let mut simulator = Simulator::new(&Policy::Adaptive, 100, Unit::Entries);
        (0..500).for_each(|key| assert!(!request(&mut simulator, key, 1)));
        let gone = simulator.evicted()[0];
        assert!(!request(&mut simulator, gone, 1));
        (1000..1500).for_each(|key| assert!(!request(&mut simulator, key, 1)));
        assert!(request(&mut simulator, gone, 1));
    }

    #[test]
    fn a_loop_larger_than_the_cache_is_hit_in_part() {
        let keys = || (0..200_000).map(|step| step % 1200);
        assert!(misses(Policy::Lru, 1000, keys()) > 0.99);
        assert!(misses(Policy::Adaptive, 1000, keys()) < 0.5);
    }

    #[test]
    fn what_was_just_used_is_hit_as_by_lru() {
        // Three keys in sixteen are new; the others are among the last 1,200 new ones, the newest most often.
        let keys = || {
            let (mut random, mut newest) = (1_u64, 1_u64 << 32);
            (0..200_000).map(move |_| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                newest += u64::from(random >> 60 < 3);
                newest - (random >> 20) % 1200 * ((random >> 40) % 1000) / 1000
            })
        };
        let [lru, ours] = [Policy::Lru, Policy::Adaptive].map(|policy| misses(policy, 1000, keys()));
        assert!(lru < 0.5 && ours < lru + 0.02, "{lru} and {ours}");
    }

    #[test]
    fn a_large_entry_does_not_push_out_what_was_visited_unless_it_is_wanted_again() {
        let mut simulator = Simulator::new(&Policy::Adaptive, 1000, Unit::Bytes);
        (0..100).for_each(|key| assert!(!request(&mut simulator, key, 10)));
        (0..100).for_each(|key| assert!(request(&mut simulator, key, 10)));
        assert!(!request(&mut simulator, 1000, 600));
        assert!(!simulator.contains(1000) && simulator.len() >= 99);
        assert!(!request(&mut simulator, 1000, 600));
        assert!(simulator.contains(1000));
    }
}
