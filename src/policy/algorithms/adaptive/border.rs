//! Moves the border between the window and the main part of the default policy.
//!
//! The border moves in three ways.
//!
//! **Gradually**, each time that half of the capacity has come in. Two measures of the window are
//! divided by those of main, and the border moves by the sum of the two logarithms:
//!
//! * *density*: entries found visited, per charge and time that the part had. A denser part should
//!   grow.
//! * *regret*: ghosts that were missed again, per charge that the part evicted. A part with more
//!   regret should grow.
//!
//! **At once**, each time that a quarter of the capacity has come in, where many of the misses
//! agree. The age of a ghost that is missed tells how large a window would have kept the entry:
//!
//! ```text
//!   age at the miss,     0 ........ window ........ 0.9 ... 1.1 ................. forgotten
//!   in capacities        a hit      near: a larger          far: no window is large enough,
//!                                   window has it           but main can keep some of them
//! ```
//!
//! * Many *near* misses of the window's ghosts and few of main's: the window grows, in one or two
//!   steps to almost everything. The last three looks have to agree. It grows slowly where main's
//!   entries are visited for the first time after they came there: those keys are read more than
//!   twice, so main serves them.
//! * Many *far* misses, as in a loop over more than fits: the window shrinks.
//! * Many near misses of main's ghosts: the window shrinks.
//!
//! **By age**, where nothing tells: several capacities have come in, no ghosts were missed, and no
//! entry of main was seen to be visited. Then the newer entries are the better guess. The window
//! grows a little, so that main's oldest entries have their turn. The fewer of them were visited,
//! the faster the window grows then, to almost everything.
//!
//! Fewer capacities are enough where nothing was read at all: no miss was reported, and no entry of
//! the window was visited. Visits in main are no sign of reads then. They may be old, as main's
//! entries have had no turn.
//!
//! A miss is learned of when its key is stored again. A read that misses and is followed by no
//! store is learned of through [`Asked`].

use crate::policy::standing::{StateReader, StateWriter};
use crate::policy::structures::QueueId;

pub(super) const WINDOW: QueueId = QueueId::new(0);
pub(super) const MAIN: QueueId = QueueId::new(1);

/// The window's first share of the capacity, and the bounds of its share.
const FIRST_SHARE: f64 = 0.1;
const MIN_SHARE: f64 = 0.02;
const MAX_SHARE: f64 = 0.95;
/// The share of the capacity that comes in between two gradual moves.
const PERIOD: f64 = 0.5;
/// Looks at the misses in each period. With one, the window grows too late for keys that are read
/// once.
const LOOKS: f64 = 2.0;
/// The share of the capacity by which the border moves gradually for a ratio of e.
const GAIN: f64 = 0.01;
/// The most evictions that are assumed before there are any. In a small shard it is as many as the
/// smallest window holds entries. A part that evicts little says little.
const REGRET_PRIOR: f64 = 6.0;
/// Misses that move the border at once, as shares of the newcomers.
const MANY_NEAR: f64 = 0.15;
const MANY_FAR: f64 = 0.1;
/// The shares of the capacity by which the border then moves, for each share of the newcomers above
/// these.
const GROWTH: f64 = 2.0;
const SHRINKING: f64 = 1.0;
/// Newcomers that are assumed before any came. In a shard of a hundred entries, four misses are no
/// trend.
const NEWCOMERS_PRIOR: f64 = 20.0;
/// The power of the share of main's entries that were never visited by which the window's growth is
/// slowed down, and the slowest growth. Without the latter a main that was filled by other traffic
/// holds keys that nobody reads for ever.
const SLOWING: i32 = 10;
const LEAST_GROWTH: f64 = 0.3;
/// Missed ghosts, as a share of the newcomers, below which they are chance: fingerprints that
/// agree.
const FEW: f64 = 0.01;
/// Capacities that come in without a sign that main is of use before the window grows all the same.
/// With 3 the recorded traces of long loops lose main too early.
const QUIET: f64 = 5.0;
/// Capacities that come in without a sign that anything is read before the window grows. With 2 a
/// shard of 500 entries grows its window too late (`tests/policy/pure_writes.rs`). Recorded traces
/// don't depend on it, as their misses are reported.
const UNREAD: f64 = 1.5;
/// The newcomers that this takes at least. One key in eight is reported, and a small shard may miss
/// the same few keys again and again. With 100 newcomers, two cells of the recorded traces differ.
const UNREAD_NEWCOMERS: f64 = 500.0;
/// The shares of the capacity by which it then grows at each look: at first to see whether main's
/// oldest entries were visited, and once none of them was.
const PROBE: f64 = 0.02;
const IDLE_STEP: f64 = 0.2;
/// The ages up to which a ghost is near and from which it is far, in capacities.
const NEAR: f64 = 0.9;
const FAR: f64 = 1.1;
/// The highest mean charge that a snapshot restores: no charge is higher.
pub(super) const MAX_CHARGE: f64 = u32::MAX as f64;
/// The most capacities that may have come in since something, in a state that is restored.
const MAX_CAPACITIES: f64 = 1e9;

/// Converts a charge, which is below 2^63: through a signed number, as many processors convert only
/// those in one instruction.
#[inline]
pub(super) fn float(charge: u64) -> f64 {
    charge as i64 as f64
}

/// The entries of the window or of main, and what was measured of them since the last gradual move.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Part {
    pub(super) entries: usize,
    pub(super) charge: u64,
    /// Charge of the entries that left a ghost.
    pub(super) evicted: f64,
    /// Ghosts that were missed again.
    pub(super) missed: u32,
    /// Entries that were visited when their turn came.
    pub(super) visited: u32,
}

impl Part {
    pub(super) fn note_visited(&mut self) {
        self.visited = self.visited.saturating_add(1);
    }

    pub(super) fn note_missed(&mut self) {
        self.missed = self.missed.saturating_add(1);
    }

    fn forget_measures(&mut self) {
        *self = Self { entries: self.entries, charge: self.charge, ..Self::default() };
    }
}

/// The charge that came in since the last gradual move. Every insert writes to it.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    pub(super) came_in: f64,
    /// Mean charge of newcomers.
    pub(super) mean_charge: f64,
    /// Charge of the window and of main, integrated over what came in.
    pub(super) space: [f64; 2],
}

impl Traffic {
    pub(super) fn note(&mut self, charge: u32, window: &Part, main: &Part) {
        let charge = f64::from(charge);
        self.came_in += charge;
        for (space, part) in self.space.iter_mut().zip([window, main]) {
            *space += float(part.charge) * charge;
        }
    }

    fn forget_measures(&mut self) {
        *self = Self { mean_charge: self.mean_charge, ..Self::default() };
    }
}

/// The border, and what was seen of ghosts and of main since misses were last looked at.
#[derive(Debug)]
pub(super) struct Border {
    capacity: f64,
    /// Charge that the window may have.
    charge: f64,
    /// Near misses of the window's ghosts, and of main's.
    near: [u32; 2],
    /// Far misses of the window's ghosts.
    far: u32,
    /// Entries of main that were visited for the first time there.
    came_alive: u32,
    /// Entries that main evicted.
    left_main: u32,
    /// Shares of near misses at the two looks before, the later one first.
    near_before: [f64; 2],
    /// The charge that came in since a sign that main is of use.
    quiet: f64,
    /// The charge that came in since a sign that anything was read.
    unread: f64,
    /// `true` if a miss was reported since the last look.
    was_miss_reported: bool,
    /// `came_in` at the last look.
    looked_at: f64,
    /// Newcomers that come while an entry passes through the window, for each entry that it holds.
    /// Below 1 where entries stay for further rounds.
    trip: f64,
}

impl Border {
    pub(super) fn new(capacity: u64) -> Self {
        let capacity = capacity as f64;
        Self {
            capacity,
            charge: capacity * FIRST_SHARE,
            near: [0; 2],
            far: 0,
            came_alive: 0,
            left_main: 0,
            near_before: [0.0; 2],
            quiet: 0.0,
            unread: 0.0,
            was_miss_reported: false,
            looked_at: 0.0,
            trip: 1.0,
        }
    }

    /// Returns the charge that the window may have.
    pub(super) fn charge(&self) -> f64 {
        self.charge
    }

    pub(super) fn set_capacity(&mut self, capacity: u64) {
        let share = self.charge / self.capacity.max(1.0);
        self.capacity = capacity as f64;
        self.set(share * self.capacity);
    }

    /// Appends the state of the border, and what was measured since the last gradual move. Charges
    /// are saved as shares of the capacity.
    pub(super) fn save(&self, traffic: &Traffic, parts: [&Part; 2], state: &mut StateWriter<'_>) {
        let capacity = self.capacity.max(1.0);
        let [before, before_that] = self.near_before;
        state.number(traffic.mean_charge);
        state.number(self.charge / capacity).number(before).number(before_that);
        state.number(self.quiet / capacity).number(self.unread / capacity).number(self.trip);
        state.number(traffic.came_in / capacity).number(self.looked_at / capacity);
        traffic.space.iter().for_each(|space| _ = state.number(space / capacity / capacity));
        for part in parts {
            state.number(part.evicted / capacity).number(part.missed.into()).number(part.visited.into());
        }
        let [near_window, near_main] = self.near;
        for count in [near_window, near_main, self.far, self.came_alive, self.left_main] {
            state.number(count.into());
        }
    }

    /// Restores what [`save`](Self::save) has appended, up to the first number that cannot be one.
    pub(super) fn restore(
        &mut self,
        traffic: &mut Traffic,
        parts: [&mut Part; 2],
        state: &mut StateReader<'_>,
    ) -> Option<()> {
        let capacity = self.capacity;
        traffic.mean_charge = state.number_in(0.0..=MAX_CHARGE)?;
        let share = state.number_in(0.0..=1.0)?;
        self.set(share * capacity);
        self.near_before = [state.number_in(0.0..=1.0)?, state.number_in(0.0..=1.0)?];
        self.quiet = state.number_in(0.0..=MAX_CAPACITIES)? * capacity;
        self.unread = state.number_in(0.0..=MAX_CAPACITIES)? * capacity;
        self.trip = state.number_in(0.0..=1.0)?;
        traffic.came_in = state.number_in(0.0..=PERIOD)? * capacity;
        self.looked_at = state.number_in(0.0..=PERIOD)? * capacity;
        for space in &mut traffic.space {
            *space = state.number_in(0.0..=MAX_CAPACITIES)? * capacity * capacity;
        }
        for part in parts {
            part.evicted = state.number_in(0.0..=MAX_CAPACITIES)? * capacity;
            (part.missed, part.visited) = (state.count()?, state.count()?);
        }
        self.near = [state.count()?, state.count()?];
        (self.far, self.came_alive, self.left_main) = (state.count()?, state.count()?, state.count()?);
        Some(())
    }

    /// Returns a charge as a share of the capacity.
    pub(super) fn share_of(&self, charge: u64) -> f64 {
        charge as f64 / self.capacity.max(1.0)
    }

    /// Returns the charge of a share of the capacity, or `None` if it cannot be one.
    pub(super) fn charge_of_share(&self, share: f64) -> Option<u64> {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the capacity")]
        (0.0..=1.0).contains(&share).then_some((share * self.capacity).round() as u64)
    }

    fn set(&mut self, charge: f64) {
        self.charge = charge.clamp(self.capacity * MIN_SHARE, self.capacity * MAX_SHARE);
    }

    /// Counts `misses` of a ghost of `queue`, after which about `newer` other ghosts came.
    pub(super) fn note_return(&mut self, queue: QueueId, newer: usize, misses: u32, window: &Part, mean_charge: f64) {
        let age = newer as f64 * mean_charge + self.trip * window.charge as f64;
        if age <= (NEAR * self.capacity).max(self.trip * window.charge as f64) {
            self.near[queue.index()] = self.near[queue.index()].saturating_add(misses);
        } else if age > FAR * self.capacity && queue == WINDOW {
            self.far = self.far.saturating_add(misses);
        }
    }

    /// Notes that a read missed, whether its key has a ghost or not.
    pub(super) fn note_reported_miss(&mut self) {
        self.was_miss_reported = true;
    }

    /// Counts an entry of main that was visited for the first time there.
    pub(super) fn note_came_alive(&mut self) {
        self.came_alive = self.came_alive.saturating_add(1);
    }

    /// Counts an entry that main has evicted.
    pub(super) fn note_left_main(&mut self) {
        self.left_main = self.left_main.saturating_add(1);
    }

    /// Returns `true` if it is time to look at the misses.
    pub(super) fn is_due(&self, traffic: &Traffic) -> bool {
        traffic.came_in >= self.looked_at + PERIOD / LOOKS * self.capacity
    }

    /// Looks at the misses and moves the border. Returns `true` if a new period begins.
    pub(super) fn steer(&mut self, traffic: &mut Traffic, window: &mut Part, main: &mut Part) -> bool {
        let is_over = traffic.came_in >= PERIOD * self.capacity;
        self.note_unread(traffic, window);
        if traffic.space[MAIN.index()] > 0.0 {
            let gradual = if is_over { self.gradual_step(traffic, window, main) } else { 0.0 };
            let sudden = self.sudden_step(traffic);
            match self.idle_step(traffic, window, main) {
                // From the window's charge if that is above the border: otherwise main would evict
                // nothing.
                Some(step) => self.set(self.charge.max(window.charge as f64) + step * self.capacity),
                None => self.set(self.charge + (gradual + sudden) * self.capacity),
            }
        }
        (self.near, self.far, self.came_alive, self.left_main) = ([0; 2], 0, 0, 0);
        self.looked_at = traffic.came_in;
        if is_over {
            let rounds = f64::from(window.visited) * traffic.mean_charge / traffic.came_in.max(1.0);
            self.trip = 1.0 / (1.0 + rounds);
            self.looked_at = 0.0;
            traffic.forget_measures();
            window.forget_measures();
            main.forget_measures();
        }
        is_over
    }

    /// Counts what came in while nothing was read.
    fn note_unread(&mut self, traffic: &Traffic, window: &Part) {
        let is_read = core::mem::take(&mut self.was_miss_reported) || window.visited > 0;
        self.unread = if is_read { 0.0 } else { self.unread + traffic.came_in - self.looked_at };
    }

    /// Returns the step for traffic that says nothing of main, as a share of the capacity. Returns
    /// `None` if it does: ghosts are missed, or main's oldest entries were visited and something
    /// else is read.
    fn idle_step(&mut self, traffic: &Traffic, window: &Part, main: &Part) -> Option<f64> {
        let reported: u32 = self.near.iter().sum::<u32>() + self.far;
        let missed = f64::from(window.missed + main.missed) + f64::from(reported);
        let are_missed = missed * traffic.mean_charge >= FEW * traffic.came_in;
        let is_quiet = !are_missed && main.visited == 0;
        self.quiet = if is_quiet { self.quiet + traffic.came_in - self.looked_at } else { 0.0 };
        let enough = (UNREAD * self.capacity).max(UNREAD_NEWCOMERS * traffic.mean_charge);
        let is_unread = !are_missed && self.unread >= enough;
        let step = match f64::from(self.left_main) {
            0.0 => PROBE,
            left => IDLE_STEP * left / (left + f64::from(main.visited)),
        };
        (is_unread || self.quiet >= QUIET * self.capacity).then_some(step)
    }

    /// Returns the step that density and regret ask for, as a share of the capacity.
    fn gradual_step(&self, traffic: &Traffic, window: &Part, main: &Part) -> f64 {
        let entry = traffic.mean_charge;
        let prior = (MIN_SHARE * self.capacity).clamp(entry, REGRET_PRIOR * entry).max(1.0);
        let density = |part: &Part, space: f64| (f64::from(part.visited) + 1.0) / space.max(1.0);
        let regret = |part: &Part| (f64::from(part.missed) + 1.0) / (part.evicted + prior);
        let [window_space, main_space] = traffic.space;
        let gain = (density(window, window_space) / density(main, main_space)).ln();
        let loss = (regret(window) / regret(main)).ln();
        GAIN * (gain + loss)
    }

    /// Returns the step that the misses ask for, as a share of the capacity.
    fn sudden_step(&mut self, traffic: &Traffic) -> f64 {
        let newcomers = traffic.came_in - self.looked_at + NEWCOMERS_PRIOR * traffic.mean_charge;
        let share = |misses: u32| (f64::from(misses) * traffic.mean_charge / newcomers).min(1.0);
        let [near_now, regretted] = self.near.map(share);
        let near = self.near_before.iter().copied().fold(near_now, f64::min);
        self.near_before.rotate_right(1);
        self.near_before[0] = near_now;
        let regretted = 2.0 * regretted; // Half of main's ghosts are kept.
        let above = |share: f64, many: f64| (share - many).max(0.0);
        let growth = above(near - regretted, MANY_NEAR) * self.slowdown();
        let far = above(share(self.far), MANY_FAR);
        GROWTH * growth - SHRINKING * (far + above(regretted - near, MANY_NEAR))
    }

    /// Returns the factor of the window's growth: 1 if no entry of main was visited for the first
    /// time, and less the more were.
    fn slowdown(&self) -> f64 {
        match self.left_main + self.came_alive {
            0 => 1.0,
            seen => (f64::from(self.left_main) / f64::from(seen)).powi(SLOWING).max(LEAST_GROWTH),
        }
    }
}

/// Keys that were missed last. A key that is stored soon after is learned of by its store; the
/// others are misses that store nothing.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// 0 marks an empty place.
    hashes: [u64; Self::KEYS],
    next: usize,
}

impl Asked {
    /// The number of keys. More threads than this are seldom between a miss and its store.
    const KEYS: usize = 8;

    /// Notes a miss. Returns the miss that was noted longest ago, if no store came after it.
    pub(super) fn note(&mut self, hash: u64) -> Option<u64> {
        if self.hashes.contains(&hash) {
            return None;
        }
        self.next = (self.next + 1) % Self::KEYS;
        let oldest = core::mem::replace(&mut self.hashes[self.next], hash);
        (oldest != 0).then_some(oldest)
    }

    /// Forgets a key that is stored.
    pub(super) fn forget(&mut self, hash: u64) {
        for asked in &mut self.hashes {
            if *asked == hash {
                *asked = 0;
            }
        }
    }
}
